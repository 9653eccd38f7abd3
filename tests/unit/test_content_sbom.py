"""Bills of material in every format that is read, and SPDX licence expressions."""

import json

import pytest

from verifier.content.bom import read_bom
from verifier.content.document import Predicate
from verifier.content.evaluate import evaluate
from verifier.content.licences import Compound, Licence, Licensing, parse_licence
from verifier.content.model import ContentRule
from verifier.content.predicates import CYCLONEDX, SPDX
from verifier.times import parse_instant

COMPONENTS = [
    ("event-stream", "3.3.6", "pkg:npm/event-stream@3.3.6", "MIT"),
    ("log4j-core", "2.14.1", "pkg:maven/org.apache.logging.log4j/log4j-core@2.14.1?type=jar", "Apache-2.0"),
    ("readline", "8.2", "pkg:deb/debian/readline@8.2?arch=amd64", "GPL-3.0-or-later"),
]
CREATED = "2026-02-03T04:05:06Z"


def cyclonedx(version="1.6", components=COMPONENTS):
    inner = [
        {"type": "library", "name": n, "version": v, "purl": p, "licenses": [{"license": {"id": x}}] if x else []}
        for n, v, p, x in components
    ]
    nested = [{"type": "application", "name": "app", "licenses": [{"expression": "MIT"}], "components": inner}]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": version,
        "metadata": {"timestamp": CREATED, "component": {"type": "container", "name": "image"}},
        "components": nested,
    }


def spdx2(version="SPDX-2.3", components=COMPONENTS):
    packages = [
        {
            "SPDXID": f"SPDXRef-{n}",
            "name": n,
            "versionInfo": v,
            "licenseConcluded": "NOASSERTION",
            "licenseDeclared": x or "NOASSERTION",
            "externalRefs": [
                {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": p},
                {"referenceCategory": "SECURITY", "referenceType": "cpe23Type", "referenceLocator": "cpe:2.3:a:b"},
            ],
        }
        for n, v, p, x in components
    ]
    app = {"SPDXID": "SPDXRef-app", "name": "app", "licenseConcluded": "MIT"}
    image = {"SPDXID": "SPDXRef-image", "name": "image", "licenseDeclared": "NOASSERTION"}
    described = {"spdxElementId": "SPDXRef-DOCUMENT", "relatedSpdxElement": "SPDXRef-image"}
    return {
        "spdxVersion": version,
        "creationInfo": {"created": CREATED},
        "packages": [image, app, *packages],
        "relationships": [described | {"relationshipType": "DESCRIBES"}],
    }


def spdx3(components=COMPONENTS):
    graph: list[dict[str, object]] = [
        {"type": "CreationInfo", "@id": "_:c", "specVersion": "3.0.1", "created": CREATED}
    ]
    for name, version, purl, licence in [*components, ("app", "1", "pkg:generic/app@1", "MIT")]:
        graph.append(
            {
                "type": "software_Package",
                "spdxId": f"urn:{name}",
                "name": name,
                "software_packageVersion": version,
                "externalIdentifier": [{"externalIdentifierType": "packageUrl", "identifier": purl}],
            }
        )
        if licence:
            graph += [
                {
                    "type": "simplelicensing_LicenseExpression",
                    "spdxId": f"urn:licence:{name}",
                    "simplelicensing_licenseExpression": licence,
                },
                {
                    "type": "Relationship",
                    "relationshipType": "hasDeclaredLicense",
                    "from": f"urn:{name}",
                    "to": [f"urn:licence:{name}"],
                },
            ]
    return {"@context": "https://spdx.org/rdf/3.0.1/spdx-context.jsonld", "@graph": graph}


DOCUMENTS = {
    "cyclonedx-1.4": (CYCLONEDX, cyclonedx("1.4")),
    "cyclonedx-1.5": (CYCLONEDX + "/v1.5", cyclonedx("1.5")),
    "cyclonedx-1.6": (CYCLONEDX, cyclonedx("1.6")),
    "cyclonedx-1.7": (CYCLONEDX, cyclonedx("1.7")),
    "spdx-2.2": (SPDX, spdx2("SPDX-2.2")),
    "spdx-2.3": (SPDX + "/v2.3", spdx2("SPDX-2.3")),
    "spdx-3.0": (SPDX + "/v3.0", spdx3()),
}


def judge(document, predicate_type="https://example.com/any", **rule):
    return evaluate(
        ContentRule.model_validate({"sbom": rule}), predicate_type, json.dumps(document, ensure_ascii=False).encode()
    )


@pytest.mark.parametrize("name", DOCUMENTS)
@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ({"minComponents": 4}, ""),
        ({"minComponents": 5}, "4 components, expected at least 5"),
        ({"forbidComponents": ["pkg:npm/event-stream@3.3.6"]}, "1 forbidden components"),
        ({"forbidComponents": ["pkg:npm/event-stream@3.3.7"]}, ""),
        ({"forbidComponents": ["pkg:*/log4j-core@2.1*"]}, "log4j-core"),
        ({"forbidComponents": ["pkg:*/log4j-core@2.2*"]}, ""),
        ({"forbidComponents": ["LOG4J-core@2.*"]}, "log4j-core"),
        ({"forbidComponents": ["log4j-core"]}, "log4j-core"),
        ({"forbidComponents": ["pkg:npm/*"]}, "event-stream"),
        ({"requireComponents": ["pkg:deb/debian/readline", "app"]}, ""),
        ({"requireComponents": ["pkg:deb/debian/openssl"]}, "no component matches 'pkg:deb/debian/openssl'"),
        ({"allowedLicences": ["MIT", "Apache-2.0", "GPL-3.0-only"]}, ""),
        ({"allowedLicences": ["MIT", "Apache-2.0"]}, "GPL-3.0-or-later"),
        ({"forbiddenLicences": ["AGPL-3.0-only"]}, ""),
        ({"forbiddenLicences": ["gpl-3.0-OR-LATER"]}, "1 components under licences"),
        ({"maxUnlicensed": 0}, ""),
    ],
)
def test_rule_in_every_format(name, rule, says):
    result = judge(*reversed(DOCUMENTS[name]), **rule)
    assert result.holds is (says == ""), result.detail
    assert says in result.detail


@pytest.mark.parametrize("name", DOCUMENTS)
def test_format_and_date(name):
    predicate_type, document = DOCUMENTS[name]
    wanted, other = ("cyclonedx", "spdx") if name.startswith("cyc") else ("spdx", "cyclonedx")
    assert judge(document, predicate_type, formats=[wanted]).holds
    assert "expected " + other in judge(document, predicate_type, formats=[other]).detail
    assert judge(document, predicate_type, maxAge="1d").time == parse_instant(CREATED)


@pytest.mark.parametrize(
    ("predicate_type", "document", "says"),
    [
        (SPDX, cyclonedx(), "but the document is cyclonedx"),
        (CYCLONEDX, spdx2(), "but the document is spdx"),
        (CYCLONEDX, cyclonedx("1.3"), "CycloneDX '1.3'"),
        (SPDX, spdx2("SPDX-2.1"), "'SPDX-2.1'"),
        (SPDX, spdx3() | {"@graph": []}, "expected 3.0"),
        (SPDX, {"bomFormat": "cyclonedx"}, "neither bomFormat"),
        (SPDX, "SPDXVersion: SPDX-2.3", "SPDX is read in JSON"),
        (CYCLONEDX, json.dumps(cyclonedx()), "is an object, found str"),
        (SPDX, '{"spdxVersion": "SPDX-2.3", "spdxVersion": "SPDX-2.2"}', "twice"),
        (CYCLONEDX, cyclonedx() | {"components": [{"type": "library", "name": 7}]}, "Expected `str`"),
    ],
)
def test_what_is_no_sbom_of_its_type(predicate_type, document, says):
    result = judge(document, predicate_type, minComponents=0)
    assert not result.holds
    assert says in result.detail


def test_components_without_licence_are_counted_and_not_allowed():
    components = [
        *COMPONENTS[:2],
        ("secret", "1", "pkg:npm/secret@1", ""),
        ("odd", "1", "pkg:npm/odd@1", "see LICENSE"),
    ]
    for document in (cyclonedx(components=components), spdx2(components=components), spdx3(components)):
        assert "2 components without a known licence, at most 0" in judge(document, maxUnlicensed=0).detail
        assert judge(document, maxUnlicensed=2).holds
        assert judge(document, forbiddenLicences=["GPL-3.0-only"]).holds
        assert "without a known licence" in judge(document, allowedLicences=["MIT", "Apache-2.0"]).detail
        assert judge(document, allowedLicences=["MIT", "Apache-2.0"], maxUnlicensed=2).holds


def test_a_document_that_describes_everything_hides_nothing():
    document = spdx2()
    document["documentDescribes"] = [package["SPDXID"] for package in document["packages"]]
    assert "GPL-3.0-or-later" in judge(document, forbiddenLicences=["GPL-3.0-or-later"]).detail
    alone = spdx2(components=[])
    alone["packages"] = [{"SPDXID": "SPDXRef-image", "name": "image", "licenseDeclared": "AGPL-3.0-only"}]
    assert not judge(alone, forbiddenLicences=["AGPL-3.0-only"]).holds


@pytest.mark.parametrize(
    "purl",
    [
        "pkg:npm/event%2Dstream@3.3.6",
        "PKG:NPM/Event-Stream@3.3.6",
        "pkg:npm/event-stream@3.3.6?x=y#sub",
        "pkg://npm/event-stream@3.3.6",
        "pkg:npm/event-stream/@3.3.6/",
    ],
)
def test_another_spelling_of_a_forbidden_component_is_found(purl):
    document = cyclonedx(components=[("x", "0", purl, "MIT")])
    assert not judge(document, forbidComponents=["pkg:npm/event-stream@3.3.6"]).holds
    assert not judge(document, forbidComponents=["pkg:npm/event-*"]).holds


def test_files_need_no_licence_but_those_they_have_count():
    file: dict[str, object] = {"type": "file", "name": "/etc/x"}
    document = cyclonedx()
    document["components"].append(file)
    assert judge(document, maxUnlicensed=0).holds
    file["licenses"] = [{"license": {"id": "AGPL-3.0-only"}}]
    assert not judge(document, forbiddenLicences=["AGPL-3.0-only"]).holds


def test_concluded_wins_over_declared():
    document = spdx2()
    document["packages"][2] |= {"licenseConcluded": "AGPL-3.0-only", "licenseDeclared": "MIT"}
    assert not judge(document, forbiddenLicences=["AGPL-3.0-only"]).holds


@pytest.mark.parametrize("kind", ["software_Package", "ai_AIPackage", "dataset_DatasetPackage"])
def test_every_class_of_packages_of_spdx_3_is_a_component(kind):
    document = spdx3(components=[])
    element = {"type": kind, "spdxId": "urn:m", "name": "m", "software_packageUrl": "pkg:huggingface/evil/m@1"}
    document["@graph"].append(element)
    assert not judge(document, forbidComponents=["pkg:huggingface/evil/*"]).holds


def test_cosigns_spdx_type_carries_the_document_as_text():
    assert judge(json.dumps(spdx2()), SPDX, forbidComponents=["pkg:npm/nothing"]).holds
    assert not judge(json.dumps(spdx2()), SPDX, forbidComponents=["pkg:npm/event-stream"]).holds


def test_components_keep_the_order_of_the_document():
    assert [item.name for item in read_bom(Predicate(CYCLONEDX, cyclonedx())).items][:2] == ["app", "event-stream"]


# ---------------------------------------------------------------------------------------------------------- licences

MIT, APACHE = Licence("mit"), Licence("apache-2.0")


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("MIT", MIT),
        (" mit ", MIT),
        ("MIT OR Apache-2.0", Compound("OR", (MIT, APACHE))),
        ("MIT or Apache-2.0", Compound("OR", (MIT, APACHE))),
        ("MIT AND Apache-2.0 OR MIT", Compound("OR", (Compound("AND", (MIT, APACHE)), MIT))),
        ("MIT AND (Apache-2.0 OR MIT)", Compound("AND", (MIT, Compound("OR", (APACHE, MIT))))),
        ("((MIT))", MIT),
        ("GPL-2.0", Licence("gpl-2.0-only")),
        ("GPL-2.0+", Licence("gpl-2.0-or-later")),
        ("LGPL-2.1+", Licence("lgpl-2.1-or-later")),
        ("Apache-2.0+", Licence("apache-2.0", later=True)),
        ("GPL-2.0 WITH GCC-exception-2.0", Licence("gpl-2.0-only", exception="gcc-exception-2.0")),
        ("LicenseRef-Acme", Licence("licenseref-acme")),
        ("DocumentRef-x:LicenseRef-y", Licence("documentref-x:licenseref-y")),
        ("", None),
        ("NONE", None),
        ("NOASSERTION", None),
        ("MIT OR NOASSERTION", None),
        ("MIT Apache-2.0", None),
        ("MIT OR", None),
        ("OR MIT", None),
        ("(MIT", None),
        ("MIT)", None),
        ("()", None),
        ("MIT WITH", None),
        ("MIT WITH (x)", None),
        ("MIT Or Apache-2.0", None),
        ("MIT/Apache-2.0", None),
        ("MIT, Apache", None),
        ("ＭＩＴ", None),
        ("(" * 33 + "MIT" + ")" * 33, None),
        ("MIT " * 2000, None),
    ],
)
def test_expressions_are_read(text, expression):
    assert parse_licence(text) == expression


@pytest.mark.parametrize(
    ("text", "allowed", "forbidden", "accepted"),
    [
        ("MIT OR AGPL-3.0-only", ["MIT"], [], True),
        ("MIT OR AGPL-3.0-only", None, ["AGPL-3.0-only"], True),
        ("MIT AND AGPL-3.0-only", None, ["AGPL-3.0-only"], False),
        ("MIT AND AGPL-3.0-only", ["MIT"], [], False),
        ("MIT AND (BSD-2-Clause OR AGPL-3.0-only)", ["MIT", "BSD-2-Clause"], [], True),
        ("Unheard-Of-1.0", ["MIT"], [], False),
        ("Unheard-Of-1.0", None, ["MIT"], True),
        ("GPL-2.0 WITH Classpath-exception-2.0", ["GPL-2.0-only WITH Classpath-exception-2.0"], [], True),
        ("GPL-2.0", ["GPL-2.0-only WITH Classpath-exception-2.0"], [], False),
        ("GPL-2.0 WITH Classpath-exception-2.0", ["GPL-2.0"], [], True),
        ("GPL-2.0 WITH Classpath-exception-2.0", None, ["GPL-2.0-only"], False),
        ("GPL-2.0+", ["GPL-2.0-only"], [], True),
        ("GPL-2.0-only", ["GPL-2.0-or-later"], [], False),
        ("Apache-2.0+", ["Apache-2.0"], [], True),
        ("Apache-2.0", ["Apache-2.0+"], [], False),
        ("MIT", ["MIT"], ["MIT"], False),
    ],
)
def test_lists_are_asked(text, allowed, forbidden, accepted):
    expression = parse_licence(text)
    assert expression is not None
    assert Licensing(allowed, forbidden).accepts(expression) is accepted
