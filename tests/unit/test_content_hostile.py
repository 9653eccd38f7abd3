"""Predicates made to stop or to mislead: every rule answers every one of them, soon, and does not hold by accident."""

import json
import random
from time import process_time

import pytest

from verifier.content import bom, openvex, scan, testresult
from verifier.content.builder import build_of, builder_of, commits_of
from verifier.content.document import MAX_PREDICATE_BYTES, Predicate, read_predicate
from verifier.content.evaluate import evaluate
from verifier.content.model import ContentRule
from verifier.content.outcome import DETAIL_CHARACTERS, Mismatch
from verifier.content.predicates import COSIGN_CUSTOM, CYCLONEDX, SLSA_V1

RULES = {
    "slsa": {"slsa": {"builders": ["https://good/*"], "sources": ["https://good/*"], "parameters": {"a.b": "c"}}},
    "sbom": {"sbom": {"forbidComponents": ["pkg:*/bad*"], "allowedLicences": ["MIT"], "maxUnlicensed": 0}},
    "vulnerabilities": {"vulnerabilities": {"maxSeverity": "low", "maxAge": "7d"}},
    "vsa": {"vsa": {"verifiers": ["https://good/*"], "levels": ["SLSA_BUILD_LEVEL_2"]}},
    "testResult": {"testResult": {"configurations": ["unit"]}},
    "vex": {"vex": {"require": [{"id": "CVE-1"}]}},
    "cel": {"cel": [{"expression": "predicate.approved == true"}]},
    "jsonPath": {"jsonPath": [{"path": "$..approved", "oneOf": [True]}]},
}
RULE = {name: ContentRule.model_validate(rule) for name, rule in RULES.items()}

TEXTS = {
    "nothing": b"",
    "not JSON": b"approved",
    "a member twice": b'{"approved": false, "approved": true}',
    "a member twice, far inside": b'{"a": [{"b": {"approved": 1, "approved": true}}]}',
    "bytes that are no UTF-8": b'{"approved": "\xff"}',
    "a lone surrogate": b'{"approved": "\\ud800"}',
    "a byte-order mark": b'\xef\xbb\xbf{"approved": true}',
    "two documents": b'{"approved": true}{"approved": false}',
    "NaN": b'{"approved": NaN}',
    "a number out of range": b'{"approved": 1e999}',
    "brackets without end": b"[" * 100_000,
    "brackets closed": b"[" * 50_000 + b"]" * 50_000,
    "objects without end": b'{"a":' * 20_000,
    "too many bytes": b" " * (MAX_PREDICATE_BYTES + 1),
    "null": b"null",
    "a list": b"[]",
    "a string": b'"approved"',
    "true": b"true",
    "an empty object": b"{}",
}


@pytest.mark.parametrize("rule", RULE)
@pytest.mark.parametrize("text", TEXTS)
def test_no_rule_holds_and_none_raises(rule, text):
    start = process_time()
    result = evaluate(RULE[rule], "https://example.com/x", TEXTS[text])
    assert process_time() - start < 1
    assert not result.holds
    assert result.detail
    assert len(result.detail) <= DETAIL_CHARACTERS
    assert result.detail.isascii()
    assert result.detail.isprintable()


MEMBERS = [
    *("builder", "id", "buildType", "buildDefinition", "runDetails", "externalParameters", "metadata", "materials"),
    *("bomFormat", "specVersion", "components", "licenses", "license", "name", "type", "purl", "spdxVersion"),
    *("packages", "SPDXID", "externalRefs", "@graph", "@context", "externalIdentifier", "to", "from"),
    *("scanner", "result", "matches", "vulnerability", "artifact", "SchemaVersion", "Results", "Vulnerabilities"),
    *("manifest_hash", "vulnerabilities", "package_vulnerabilities", "image", "severity", "score", "descriptor"),
    *("verifier", "verificationResult", "verifiedLevels", "timeVerified", "configuration", "passedTests"),
    *("statements", "status", "products", "author", "approved", "Data", "Timestamp", "uri", "digest", "workflow"),
]
WORDS = [
    *(
        "CycloneDX",
        "1.6",
        "SPDX-2.3",
        "PASSED",
        "MIT",
        "pkg:npm/x@1",
        "https://openvex.dev/ns",
        "",
        "x" * 2000,
        "affected",
    ),
    *("https://spdx.org/x", "CreationInfo", "3.0.1", "software_Package", "CVE-1", "HIGH", "2026-01-01T00:00:00Z", "{}"),
]


def grow(chance: random.Random, depth: int) -> object:
    kind = chance.random()
    if depth == 0 or kind < 0.35:
        return chance.choice([None, True, 0, -1, 2.5, 10**30, *WORDS])
    if kind < 0.6:
        return [grow(chance, depth - 1) for _ in range(chance.randrange(4))]
    return {chance.choice(MEMBERS): grow(chance, depth - 1) for _ in range(chance.randrange(1, 7))}


@pytest.mark.parametrize("seed", range(12))
def test_documents_that_look_like_predicates_never_raise(seed):
    chance = random.Random(seed)
    for _ in range(60):
        value = grow(chance, 6)
        kind = chance.choice(["https://example.com/x", SLSA_V1, CYCLONEDX, COSIGN_CUSTOM])
        predicate = Predicate(kind, value)
        for rule in RULE.values():
            result = evaluate(rule, kind, predicate)
            assert result.holds or result.detail
        builder_of(SLSA_V1, json.dumps(value).encode())
        commits_of(SLSA_V1, json.dumps(value).encode())
        build_of(SLSA_V1, json.dumps(value).encode())


def test_detail_quotes_nothing_that_a_terminal_obeys():
    evil = "\x1b[2J\u202eevil\n\r" * 500
    predicate = {"buildDefinition": {"buildType": evil}, "runDetails": {"builder": {"id": evil[:900]}}}
    result = evaluate(RULE["slsa"], SLSA_V1, Predicate(SLSA_V1, predicate))
    assert not result.holds
    assert result.detail.isascii()
    assert result.detail.isprintable()
    assert len(result.detail) <= DETAIL_CHARACTERS


# ------------------------------------------------------------------------------------------------------------- limits


def cyclonedx(components):
    return Predicate(CYCLONEDX, {"bomFormat": "CycloneDX", "specVersion": "1.6", "components": components})


LIBRARY = {"type": "library", "name": "x", "purl": "pkg:npm/x@1", "licenses": [{"license": {"id": "MIT"}}]}


def detail(rule, predicate):
    result = evaluate(ContentRule.model_validate(rule), predicate.type, predicate)
    return "" if result.holds else result.detail


def test_counts_are_limited(monkeypatch):
    monkeypatch.setattr(bom, "MAX_COMPONENTS", 10)
    assert "11 components, limit 10" in detail({"sbom": {"minComponents": 1}}, cyclonedx([LIBRARY] * 11))
    assert detail({"sbom": {"minComponents": 1}}, cyclonedx([LIBRARY] * 10)) == ""
    monkeypatch.setattr(scan, "MAX_FINDINGS", 1)
    two = {"matches": [{"vulnerability": {"id": "a"}, "artifact": {}}] * 2}
    assert "2 findings, limit 1" in detail({"vulnerabilities": {"scanners": ["**"]}}, Predicate("x", two))
    monkeypatch.setattr(testresult, "MAX_NAMES", 1)
    tests = {"result": "PASSED", "passedTests": ["a", "b"]}
    assert "limit 1" in detail({"testResult": {}}, Predicate("x", tests))
    monkeypatch.setattr(openvex, "MAX_STATEMENTS", 1)
    said = {"vulnerability": "CVE-1", "status": "fixed", "products": ["a", "b"]}
    vex = {"@context": "https://openvex.dev/ns", "author": "a", "statements": [said]}
    assert "more than 1 statements" in detail({"vex": {"require": [{"id": "CVE-1"}]}}, Predicate("x", vex))


def test_components_times_patterns_are_limited():
    predicate = cyclonedx([LIBRARY] * 15_000)
    tests = Predicate("x", {"result": "PASSED", "passedTests": ["t"] * 15_000})
    assert "too many to compare" in detail({"testResult": {"passedTests": [f"x{n}" for n in range(200)]}}, tests)
    assert "too many to compare" in detail({"sbom": {"requireComponents": ["pkg:npm/x"] * 200}}, predicate)
    levels = {"verifier": {"id": "v"}, "verificationResult": "PASSED", "verifiedLevels": ["x"] * 1_001}
    assert "limit 1000" in detail({"vsa": {"verifiers": ["v"]}}, Predicate("x", levels))
    patterns = [f"pkg:npm/*{n}*" for n in range(200)]
    start = process_time()
    assert "too many to compare" in detail({"sbom": {"forbidComponents": patterns}}, predicate)
    assert process_time() - start < 1.5
    assert detail({"sbom": {"forbidComponents": [f"pkg:npm/y{n}" for n in range(200)]}}, predicate) == ""


def test_a_long_name_does_not_slip_past_a_forbidden_one():
    sly = LIBRARY | {"purl": "pkg:npm/bad" + "d" * 3_000}
    assert "limit 1024" in detail({"sbom": {"forbidComponents": ["pkg:npm/bad*"]}}, cyclonedx([LIBRARY, sly]))


def test_deep_and_long_licences_are_read_once_and_are_unknown():
    deep = LIBRARY | {"licenses": [{"expression": "(" * 3_000}]}
    start = process_time()
    assert "without a known licence" in detail({"sbom": {"maxUnlicensed": 0}}, cyclonedx([deep] * 20_000))
    assert process_time() - start < 1.5


def test_components_inside_components_are_all_seen():
    nested = LIBRARY
    for _ in range(20):
        nested = {"type": "library", "name": "y", "licenses": [{"license": {"id": "MIT"}}], "components": [nested]}
    assert "'pkg:npm/x@1'" in detail({"sbom": {"forbidComponents": ["pkg:npm/x"]}}, cyclonedx([nested]))


def test_a_document_is_read_once_for_all_rules(monkeypatch):
    count = []
    read = bom._read

    def counting(value):
        count.append(1)
        return read(value)

    monkeypatch.setattr(bom, "_read", counting)
    predicate = cyclonedx([LIBRARY])
    for rule in ({"minComponents": 1}, {"forbidComponents": ["pkg:*/y"]}, {"maxUnlicensed": 0}):
        assert detail({"sbom": rule}, predicate) == ""
    assert len(count) == 1
    broken = Predicate(CYCLONEDX, {"bomFormat": "CycloneDX"})
    for _ in range(2):
        assert "specVersion" in detail({"sbom": {"minComponents": 1}}, broken)
    assert len(count) == 2


def test_the_largest_sbom_takes_time_in_proportion():
    text = b'{"bomFormat":"CycloneDX","specVersion":"1.6","components":['
    text += b",".join(b'{"type":"library","name":"n%d","purl":"pkg:npm/n%d@1"}' % (n, n) for n in range(120_000))
    text += b"]}"
    assert 6_000_000 < len(text) < MAX_PREDICATE_BYTES
    start = process_time()
    predicate = read_predicate(CYCLONEDX, text)
    assert "'pkg:npm/n119999@1'" in detail({"sbom": {"forbidComponents": ["pkg:npm/n119999", "pkg:*/zz*"]}}, predicate)
    assert process_time() - start < 6


def test_data_beyond_the_limit_inside_a_wrapper():
    with pytest.raises(Mismatch, match="nested deeper than 64"):
        Predicate(COSIGN_CUSTOM, {"Data": "[" * 200}).view(bom.read_bom)
