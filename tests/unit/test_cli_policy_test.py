"""`revet policy test`: what is as expected, what differs, and what would test nothing."""

from xml.etree import ElementTree as ET

import pytest
import yaml

from streams.local.policytests import MAX_CASES, read_tests
from tests.helpers.command import DEMO, revet

API = "registry.example.com/payments/api:1.4.2"
UNSIGNED = "registry.example.com/inventory/scraper:0.3"
AGENT = "registry.example.com/platform/node-agent:2.0"
POLICY = """\
apiVersion: revet/v1
kind: Policy
metadata: {name: signed}
spec:
  match: [{images: ["registry.example.com/**"], namespaces: [shop]}]
  attestors: {dev: {keys: [dev]}}
  require: {signedBy: dev}
"""
SECOND = POLICY.replace("name: signed", "name: by-sec").replace("dev", "sec").replace("[shop]", "[sec]")
CLUSTER = """\
apiVersion: revet/v1
kind: Cluster
metadata: {name: prod-eu}
spec: {id: 5f0c8a1e, labels: {env: prod}}
"""
EXEMPTION = """\
apiVersion: revet/v1
kind: Exemption
metadata: {name: scraper}
spec: {policy: signed, images: ["registry.example.com/inventory/**"], why: it goes away, owner: x,
       starts: 2026-11-01T00:00:00Z, expires: 2026-12-01T00:00:00Z}
"""


def case(name: str = "a case", image: str = API, expect: str = "valid", **members: object) -> dict:
    return {"name": name, "image": image, "expect": expect, "scope": {"namespace": "shop"}, **members}


def document(*cases: dict, **spec: object) -> str:
    given = {"documents": ["policies"], "evidence": f"oci-layout:{DEMO / 'oci'}", "at": "2026-11-21T14:00:00Z"}
    return yaml.safe_dump(
        {
            "apiVersion": "revet/v1",
            "kind": "PolicyTest",
            "metadata": {"name": "shop"},
            "spec": {**given, "cases": list(cases), **spec},
        }
    )


@pytest.fixture
def folder(tmp_path):
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "p.yaml").write_text(f"{POLICY}---\n{SECOND}---\n{CLUSTER}---\n{EXEMPTION}")
    for name in ("dev", "sec"):
        (policies / f"{name}.pub").write_text((DEMO / "keys" / f"{name}.pub").read_text())
    return tmp_path


def tried(folder, *cases: dict, **spec: object):
    (folder / "test.yaml").write_text(document(*cases, **spec))
    return revet("policy", "test", folder / "test.yaml", "-o", "json")


@pytest.mark.parametrize(
    "given",
    [
        case(),
        case(image=UNSIGNED, expect="violates", reasons=["unsigned"]),
        case(image=UNSIGNED, expect="violates", exempted=True),
        case(image=UNSIGNED, expect="violates", exempted=False, at="2026-12-24T00:00:00Z"),
        case(expect="ungoverned", scope={"namespace": "elsewhere"}),
        case(image="registry.example.com/payments/gone:1", expect="unverifiable", reasons=["registry-not-found"]),
        case(image="NOT A REFERENCE", expect="unverifiable", reasons=["reference-unparsable"]),
        case(image=AGENT, platform="linux/amd64"),
        case(image=AGENT, expect="violates"),
        case(expect="violates", scope={"namespace": "sec"}, policy="by-sec", reasons=["wrong-signer"]),
        case(scope={"namespace": "shop", "cluster": "prod-eu", "labels": {"a": "b"}, "serviceAccount": "x"}),
    ],
    ids=lambda c: f"{c['expect']}-{c['image'][-12:]}-{len(c)}",
)
def test_as_expected(folder, given):
    ran = tried(folder, given)
    assert ran.code == 0, ran.out
    assert (ran.json["schema"], ran.json["passed"], ran.json["cases"][0]["differs"]) == (
        "revet.policy-test/v1",
        True,
        [],
    )


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (case(expect="violates"), "expected violates, found valid (satisfied: "),
        (case(image=UNSIGNED), "expected valid, found violates (unsigned: "),
        (
            case(image=UNSIGNED, expect="violates", reasons=["wrong-signer"]),
            "expected the reasons wrong-signer, found unsigned",
        ),
        (case(image=UNSIGNED, expect="violates", exempted=False), "expected no exemption to cover it"),
        (case(exempted=True), "expected an exemption to cover it"),
        (case(policy="by-sec", expect="ungoverned"), "the policy by-sec does not govern it"),
    ],
    ids=["valid", "violates", "reason", "exempted", "nothing-to-exempt", "another-policy"],
)
def test_what_differs_is_told(folder, given, says):
    ran = tried(folder, given)
    assert ran.code == 1
    assert says in ran.json["cases"][0]["differs"][0]


def test_the_table_says_where_the_case_stands(folder):
    (folder / "test.yaml").write_text(document(case("good"), case("bad", UNSIGNED)))
    ran = revet("policy", "test", folder)
    assert ran.code == 1
    assert ran.out.splitlines()[0].split() == ["TEST", "CASE", "IMAGE", "FOUND"]
    assert ran.out.splitlines()[-1] == "2 cases, 1 not as expected"
    lines = (folder / "test.yaml").read_text().splitlines()
    (named,) = (number for number, line in enumerate(lines, start=1) if "name: bad" in line)
    (begins,) = (n for n, line in enumerate(lines, start=1) if line.startswith("  - ") and named - 4 < n <= named)
    assert f"test.yaml:{begins}: bad: " in ran.err
    assert "bad: expected valid, found violates" in ran.err


def test_junit_has_a_case_per_case(folder):
    (folder / "test.yaml").write_text(document(case("good"), case("bad", UNSIGNED)))
    ran = revet("policy", "test", folder / "test.yaml", "-o", "junit")
    (suite,) = ET.fromstring(ran.out)
    assert [(c.get("name"), c.get("classname"), c[0].tag) for c in suite] == [
        ("good", "shop", "system-out"),
        ("bad", "shop", "failure"),
    ]


def test_a_folder_holds_other_documents_too(folder):
    (folder / "policies" / "t.yaml").write_text("kind: Deployment\n")
    (folder / "one.yaml").write_text(
        document(case("one"), documents=["policies/p.yaml", "policies/dev.pub", "policies/sec.pub"])
    )
    (folder / "two.yaml").write_text(
        document(case("two"), documents=["policies/p.yaml", "policies/dev.pub", "policies/sec.pub"])
    )
    ran = revet("policy", "test", folder, "-o", "json")
    assert [c["name"] for c in ran.json["cases"]] == ["one", "two"]


def test_the_clock_of_the_machine_does_not_matter(folder):
    """A window that is over by now is judged at the instant of the test."""
    (folder / "policies" / "key.yaml").write_text(
        "apiVersion: revet/v1\nkind: Key\nmetadata: {name: dev}\n"
        "spec: {file: dev.pem, validUntil: 2020-01-01T00:00:00Z}\n"
    )
    (folder / "policies" / "dev.pub").rename(folder / "policies" / "dev.pem")
    assert tried(folder, case(), at="2019-06-01T00:00:00Z").code == 0
    assert tried(folder, case(expect="violates", reasons=["outside-key-window"])).code == 0


# ----------------------------------------------------------------------------------------------------- wrong documents


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (document(case(expected="valid")), "spec.cases[0].expected: unknown member"),
        (document(case(expect="denied")), "spec.cases[0].expect: "),
        (document(case(reasons=["unsinged"])), "'unsinged' is no reason"),
        (document(), "at least 1 item"),
        (document(case("a"), case("a")), "two cases are named 'a'"),
        (document(case(), evidence="registry"), "expected oci-layout:DIR"),
        (document(case(evidence="oci-layout:")), "expected oci-layout:DIR"),
        (document(case(), documents=[]), "nothing would be tested"),
        (document(case(), at=2026), "expected a time with zone"),
        (document(case(), at="yesterday"), "spec.at"),
        (document(case(), more=1), "unknown member"),
        ("kind: Policy\n", "expected kind: PolicyTest"),
        ("a: [", "not readable as YAML"),
        ("a: 1\na: 2\n", "t.yaml:2"),
        ("", "no document of kind PolicyTest"),
        (document(*(case(str(n)) for n in range(MAX_CASES + 1))), "at most 2000 items"),
        (document(case(), documents=["nowhere"]), "nowhere"),
        (document(case(), documents=["policies/dev.pub"]), "no policy in"),
    ],
    ids=lambda v: v[:40] if " " in v[:10] else None,
)
def test_what_would_test_nothing_is_refused(folder, text, says):
    (folder / "t.yaml").write_text(text)
    ran = revet("policy", "test", folder / "t.yaml")
    assert ran.code == 2, ran.out
    assert says in ran.err


def test_a_layout_that_is_not_there_is_a_needed_service(folder):
    assert tried(folder, case(), evidence="oci-layout:nowhere").code == 4


def test_a_folder_without_tests_is_an_error(folder):
    assert revet("policy", "test", folder / "policies").code == 2


def test_every_error_of_every_file_is_told(folder):
    (folder / "a.yaml").write_text(document(case(expect="x")))
    (folder / "b.yaml").write_text(document(case(image="")))
    ran = revet("policy", "test", folder)
    assert "a.yaml" in ran.err
    assert "b.yaml" in ran.err


HOSTILE = "x\x1b[2J\u202ey"


@pytest.mark.parametrize("output", ["table", "json", "junit"])
def test_hostile_text_never_reaches_the_terminal_raw(folder, output):
    (folder / "t.yaml").write_text(document(case("\u202ename", f"registry.example.com/\u202e{'x' * 300}")))
    ran = revet("policy", "test", folder / "t.yaml", "-o", output)
    assert ran.code == 1
    assert "\u202e" not in ran.out + ran.err


@pytest.mark.parametrize(
    "text", ["", "kind: PolicyTest", "kind: PolicyTest\nspec: 5", "- 1", "\x00", "[" * 5000, HOSTILE]
)
def test_reading_raises_nothing(text):
    tests, errors = read_tests("f", text, named=True)
    assert tests == []
    assert all(error.file == "f" for error in errors)
