"""Content rules as they are written: what is refused, what a rule's id depends on, and the schema for editors."""

import json
from time import process_time

import pytest
from pydantic import ValidationError

from verifier.content.evaluate import rule_id
from verifier.content.model import MAX_ENTRIES, MEMBERS, ContentRule
from verifier.content.outcome import Mismatch
from verifier.content.patterns import MAX_TEXT_CHARACTERS, any_of, components, named_component, package_url
from verifier.times import DAY, parse_instant
from verifier.written import DOCUMENT

SLSA = {"builders": ["https://x/*"]}
EXCEPTION = {"id": "CVE-1", "reason": "r"}


def rule(**members):
    return ContentRule.model_validate(members)


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ({}, "an empty rule would accept every predicate"),
        ({"slsa": SLSA, "sbom": {"minComponents": 1}}, "stand side by side"),
        ({"slsa": {}}, "a rule that names nothing"),
        ({"sbom": {}}, "a rule that names nothing"),
        ({"vulnerabilities": {}}, "a rule that names nothing"),
        ({"vulnerabilities": {"maxCounts": {}}}, "a rule that names nothing"),
        ({"vex": {}}, "a rule that names nothing"),
        ({"vsa": {}}, "Field required"),
        ({"vsa": {"verifiers": []}}, "at least 1 item"),
        ({"cel": []}, "at least 1 item"),
        ({"jsonPath": []}, "at least 1 item"),
        ({"nope": 1}, "Extra inputs"),
        ({"slsa": {"builder": "x"}}, "Extra inputs"),
        ({"slsa": {"builders": []}}, "at least 1 item"),
        ({"slsa": {"builders": [""]}}, "a pattern has 1 to"),
        ({"slsa": {"builders": ["a b"]}}, "no spaces"),
        ({"slsa": {"builders": ["x" * 513]}}, "has 513"),
        ({"slsa": {"builders": ["x"] * (MAX_ENTRIES + 1)}}, "at most 200"),
        ({"slsa": {"minLevel": 3}}, "minLevel and levels stand together"),
        ({"slsa": {"levels": [{"builder": "x", "level": 3}]}}, "minLevel and levels stand together"),
        ({"slsa": {"parameters": {"a": []}}}, "can never match"),
        ({"slsa": {"maxAge": "0d"}}, "longer than nothing"),
        ({"slsa": {"maxAge": "7"}}, "expected a length of time"),
        ({"slsa": {"maxAge": "99999d"}}, "less than or equal"),
        ({"vulnerabilities": {"ignoreUnfixed": True}}, "only relaxes"),
        ({"vulnerabilities": {"exceptions": [EXCEPTION]}}, "only relaxes"),
        ({"vulnerabilities": {"maxSeverity": "critical"}}, "Input should be"),
        ({"vulnerabilities": {"maxSeverity": "high", "exceptions": [{"id": "CVE-1"}]}}, "Field required"),
        ({"vulnerabilities": {"maxSeverity": "high", "exceptions": [{**EXCEPTION, "until": "2026-01-01"}]}}, "a day"),
        ({"vulnerabilities": {"maxCounts": {"high": -1}}}, "greater than or equal to 0"),
        ({"vulnerabilities": {"maxCounts": {"high": True}}}, "valid integer"),
        ({"vulnerabilities": {"maxSeverity": "high", "ignoreUnfixed": "yes"}}, "valid boolean"),
        ({"sbom": {"allowedLicences": ["MIT OR Apache-2.0"]}}, "one SPDX licence id"),
        ({"sbom": {"allowedLicences": ["NOASSERTION"]}}, "one SPDX licence id"),
        ({"sbom": {"formats": ["syft"]}}, "Input should be"),
        ({"testResult": {"results": ["FAILED"]}}, "Input should be"),
        ({"cel": [{"expression": "1 + 1"}]}, "neither"),
        ({"jsonPath": [{"path": "$.a[?match(@.b, 'x')]"}]}, "not a JSONPath query"),
        ({"jsonPath": [{"path": "$.a", "minCount": 0}]}, "alone accepts everything"),
        ({"jsonPath": [{"path": "$.a", "minCount": 2, "maxCount": 1}]}, "no predicate can meet both"),
        ({"jsonPath": [{"path": "$.a", "oneOf": []}]}, "at least 1 item"),
    ],
)
def test_what_is_refused(written, says):
    with pytest.raises(ValidationError, match=says):
        rule(**written)


def test_a_wrong_value_is_not_echoed():
    with pytest.raises(ValidationError) as caught:
        rule(slsa={"builders": ["secret \x1b[31m"]})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("number", [7, 1_700_000_000_000_000])
def test_in_a_document_a_bare_number_is_no_time(number):
    excepted = {"maxSeverity": "low", "exceptions": [{**EXCEPTION, "until": number}]}
    for written in ({"slsa": {"maxAge": number}}, {"vulnerabilities": excepted}):
        with pytest.raises(ValidationError, match="expected a"):
            ContentRule.model_validate(written, context=DOCUMENT)


def test_what_is_written_is_read_again():
    written = {
        "vulnerabilities": {
            "maxSeverity": "high",
            "maxAge": "36h",
            "exceptions": [{**EXCEPTION, "until": "2026-12-31T00:00:00Z"}],
        }
    }
    read = rule(**written)
    assert read.vulnerabilities is not None
    assert read.vulnerabilities.max_age == 1.5 * DAY
    assert read.vulnerabilities.exceptions[0].until == parse_instant("2026-12-31T00:00:00Z")
    for context in (DOCUMENT, None):
        text = read.model_dump_json(by_alias=True, exclude_defaults=True, context=context)
        assert ContentRule.model_validate_json(text) == read
    assert json.loads(read.model_dump_json(by_alias=True, exclude_defaults=True, context=DOCUMENT)) == written


def test_exactly_one_member_stands_in_the_schema():
    schema = ContentRule.model_json_schema(by_alias=True)
    assert [row["required"] for row in schema["oneOf"]] == [[member] for member in MEMBERS]
    assert set(schema["properties"]) == set(MEMBERS)
    assert schema["additionalProperties"] is False


# ------------------------------------------------------------------------------------------------------------- the id


def test_the_id_is_that_of_the_content():
    types = ("https://slsa.dev/provenance/v1",)
    one = rule(sbom={"formats": ["spdx"]})
    assert rule_id(one, types) == rule_id(rule(sbom={"formats": ["spdx"], "minComponents": 1}), types)
    assert rule_id(one, types) == rule_id(one, types * 2)
    assert rule_id(one, ("a", "b")) == rule_id(one, ("b", "a"))
    different = [rule(sbom={"formats": ["cyclonedx"]}), rule(sbom={"formats": ["spdx"], "minComponents": 2})]
    ids = {rule_id(one, types), rule_id(one, ()), *(rule_id(other, types) for other in different)}
    assert len(ids) == 4
    assert all(name.startswith("v1:") and len(name) == 30 for name in ids)


def test_the_id_does_not_change_with_the_code():
    """A pinned value: another one would re-evaluate every attestation of every user."""
    assert rule_id(rule(slsa=SLSA), ("https://slsa.dev/provenance/v1",)) == "v1:5dzsOz1ZT9Z4HnIanxRptFXeB2I"


# ----------------------------------------------------------------------------------------------------------- patterns


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("a/*", "a/b", True),
        ("a/*", "a/b/c", False),
        ("a/*", "a/", True),
        ("a/**", "a/b/c", True),
        ("**/c", "a/b/c", True),
        ("a*c", "abbc", True),
        ("a*c", "ab/c", False),
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
        ("a.c", "abc", False),
        ("a", "A", False),
        ("a", "aa", False),
        ("**a*b", "xaxa/b", False),
        ("**a*b", "x/a/ab", True),
        ("*a*b", "caab", True),
        ("a**b**c", "a1b2b3c", True),
        ("a**b*c", "ab/bc", True),
        ("a|b", "a", False),
        ("(a)", "a", False),
        ("a", "a\n", False),
        ("a*", "a\nb", True),
    ],
)
def test_patterns(pattern, text, matches):
    assert any_of((pattern,)).matches(text) is matches
    assert any_of(("never-this", pattern, "nor*this")).matches(text) is matches


@pytest.mark.parametrize("pattern", ["**a*b*c", "**a*b**a*b**a*b", "*a*a*a*a*a*b", "**a*a*a*a*a*b", "**" * 40 + "b"])
def test_no_text_makes_a_pattern_slow(pattern):
    start = process_time()
    assert not any_of((pattern,)).matches("a" * MAX_TEXT_CHARACTERS)
    assert not components((pattern,)).matches(named_component("a" * MAX_TEXT_CHARACTERS, ""))
    assert process_time() - start < 0.5


def test_a_text_over_the_limit_is_an_answer_of_its_own():
    with pytest.raises(Mismatch, match="limit 1024"):
        any_of(("**",)).matches("a" * (MAX_TEXT_CHARACTERS + 1))
    with pytest.raises(Mismatch, match="limit 1024"):
        components(("*",)).matches(package_url("pkg:npm/" + "a" * MAX_TEXT_CHARACTERS))


@pytest.mark.parametrize(
    ("pattern", "purl", "matches"),
    [
        ("pkg:npm/x", "pkg:npm/x@1", True),
        ("pkg:npm/x@*", "pkg:npm/x@1", True),
        ("pkg:npm/x@*", "pkg:npm/x", True),
        ("pkg:npm/x@1", "pkg:npm/x", False),
        ("pkg:npm/x@1?", "pkg:npm/x@12", True),
        ("pkg:npm/x@1?arch=all", "pkg:npm/x@1?arch=arm64", True),
        ("pkg:npm/@scope/x", "pkg:npm/%40scope/x@1", True),
        ("pkg:npm/%40scope/*", "pkg:npm/@scope/x", True),
        ("pkg:pypi/My_Pkg", "pkg:pypi/my-pkg@1", True),
        ("pkg:*/x@1*", "pkg:golang/github.com/a/x@1.0", True),
        ("pkg:*/x", "pkg:golang/github.com/a/xx@1.0", False),
        ("x@1", "pkg:npm/x@1", False),
        ("pkg:**", "pkg:npm/x@1", True),
    ],
)
def test_component_patterns(pattern, purl, matches):
    assert components((pattern,)).matches(package_url(purl)) is matches
