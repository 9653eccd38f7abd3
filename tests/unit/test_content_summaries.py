"""Verification summaries, test results, OpenVEX; and which predicate type means which."""

import json

import pytest

from verifier.content.evaluate import evaluate
from verifier.content.model import ContentRule
from verifier.content.predicates import (
    ALIASES,
    CYCLONEDX,
    OPENVEX,
    SLSA_V02,
    SLSA_V1,
    SPDX,
    TEST_RESULT,
    VSA,
    predicate_uri,
    same_type,
)
from verifier.times import parse_instant

WHEN = "2026-01-02T03:04:05Z"


def judge(member, predicate, **rule):
    return evaluate(ContentRule.model_validate({member: rule}), VSA + "/v1", json.dumps(predicate).encode())


# ---------------------------------------------------------------------------------------------------------------- VSA


def summary(**changes):
    return {
        "verifier": {"id": "https://example.com/verifier", "version": {}},
        "timeVerified": WHEN,
        "resourceUri": "pkg:oci/app@sha256:00",
        "policy": {"uri": "https://example.com/policy", "digest": {}},
        "verificationResult": "PASSED",
        "verifiedLevels": ["SLSA_BUILD_LEVEL_3", "ACME_REVIEWED"],
    } | changes


VERIFIERS = ["https://example.com/*"]


@pytest.mark.parametrize(
    ("predicate", "rule", "says"),
    [
        (summary(), {}, ""),
        (summary(), {"verifiers": ["https://example.com"]}, "verifier.id is"),
        (summary(), {"resources": ["pkg:oci/app@*"], "policies": ["https://example.com/policy"]}, ""),
        (summary(resourceUri=None), {"resources": ["**"]}, ""),
        (summary(resourceUri=None), {"resources": ["pkg:**"]}, "resourceUri is 'None'"),
        (summary(policy=None), {"policies": ["https://**"]}, "policy.uri is"),
        (summary(verificationResult="FAILED"), {}, "verificationResult is 'FAILED'"),
        (summary(verificationResult="passed"), {}, "verificationResult is 'passed'"),
        (summary(), {"levels": ["SLSA_BUILD_LEVEL_2"]}, ""),
        (summary(), {"levels": ["SLSA_BUILD_LEVEL_3", "ACME_REVIEWED"]}, ""),
        (summary(), {"levels": ["SLSA_BUILD_LEVEL_4"]}, "expected 'SLSA_BUILD_LEVEL_4'"),
        (summary(), {"levels": ["SLSA_SOURCE_LEVEL_1"]}, "expected 'SLSA_SOURCE_LEVEL_1'"),
        (summary(), {"levels": ["ACME"]}, "expected 'ACME'"),
        (summary(verifiedLevels=["FAILED"]), {"levels": ["SLSA_BUILD_LEVEL_1"]}, "verifiedLevels are 'FAILED'"),
        (summary(verifiedLevels=None), {"levels": ["SLSA_BUILD_LEVEL_0"]}, "verifiedLevels are none"),
        (summary(timeVerified=None), {"maxAge": "1d"}, "timeVerified is missing"),
        (summary(verifier="https://example.com/verifier"), {}, "not an SLSA verification summary"),
        ({"verificationResult": "PASSED"}, {}, "missing required field `verifier`"),
        ([], {}, "Expected `object`"),
    ],
)
def test_summary(predicate, rule, says):
    result = judge("vsa", predicate, **{"verifiers": VERIFIERS, **rule})
    assert result.holds is (says == ""), result.detail
    assert says in result.detail


def test_a_summary_in_the_older_spelling():
    old = {
        "verifier": {"id": "https://example.com/verifier"},
        "time_verified": WHEN,
        "resource_uri": "x",
        "policy": {"uri": "y"},
        "verification_result": "PASSED",
        "policy_level": "SLSA_LEVEL_3",
    }
    result = judge("vsa", old, verifiers=VERIFIERS, levels=["SLSA_LEVEL_2"], maxAge="1d")
    assert result.holds, result.detail
    assert result.time == parse_instant(WHEN)
    both = old | {"verificationResult": "FAILED"}
    assert not judge("vsa", both, verifiers=VERIFIERS).holds


# -------------------------------------------------------------------------------------------------------- test result


def suite(**changes):
    return {
        "result": "PASSED",
        "configuration": [{"name": "unit tests"}, {"uri": "https://example.com/e2e.yml", "digest": {}}],
        "passedTests": ["login works", "pay works"],
        "failedTests": [],
    } | changes


@pytest.mark.parametrize(
    ("predicate", "rule", "says"),
    [
        (suite(), {"configurations": ["unit tests", "https://example.com/*"]}, ""),
        (suite(), {"configurations": ["e2e"]}, "no configuration matches 'e2e'"),
        (suite(result="FAILED"), {}, "result is 'FAILED'"),
        (suite(result="WARNED"), {}, "result is 'WARNED', expected 'PASSED'"),
        (suite(result="WARNED"), {"results": ["PASSED", "WARNED"]}, ""),
        (suite(), {"passedTests": ["pay *"]}, ""),
        (suite(), {"passedTests": ["refund *"]}, "no passed test matches"),
        (suite(failedTests=["pay works"]), {"passedTests": ["pay *"]}, "has failed"),
        (suite(configuration=None, passedTests=None), {"configurations": ["**"]}, "found none"),
        ({}, {}, "not an in-toto test result"),
    ],
)
def test_test_result(predicate, rule, says):
    result = judge("testResult", predicate, **rule)
    assert result.holds is (says == ""), result.detail
    assert says in result.detail


# ------------------------------------------------------------------------------------------------------------ OpenVEX


def statement(name, status, when=None, product="pkg:oci/app", **more):
    times = {"timestamp": when} if when else {}
    return {"vulnerability": {"name": name}, "products": [{"@id": product}], "status": status, **times, **more}


def vex(*statements, **changes):
    return {
        "@context": "https://openvex.dev/ns/v0.2.0",
        "@id": "https://example.com/vex",
        "author": "Acme Security",
        "timestamp": WHEN,
        "version": 1,
        "statements": list(statements),
    } | changes


LATE, LATER = "2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z"
ONE = "CVE-2026-1"


@pytest.mark.parametrize(
    ("predicate", "rule", "says"),
    [
        (vex(statement(ONE, "not_affected")), {"require": [{"id": "cve-2026-1"}]}, ""),
        (vex(statement(ONE, "affected")), {"require": [{"id": ONE}]}, "is stated 'affected'"),
        (vex(), {"require": [{"id": ONE}]}, "is stated none"),
        (vex(statement("CVE-2026-11", "fixed")), {"require": [{"id": ONE}]}, "is stated none"),
        (vex(statement(ONE, "affected")), {"forbidStatuses": ["affected"]}, "'affected' is stated of 'cve-2026-1'"),
        (vex(statement(ONE, "affected", LATE), statement(ONE, "fixed", LATER)), {"forbidStatuses": ["affected"]}, ""),
        (vex(statement(ONE, "fixed", LATER), statement(ONE, "affected", LATE)), {"forbidStatuses": ["affected"]}, ""),
        (vex(statement(ONE, "affected"), statement(ONE, "fixed")), {"forbidStatuses": ["affected"]}, ""),
        (vex(statement(ONE, "affected", LATE), statement(ONE, "fixed", "x")), {"forbidStatuses": ["affected"]}, "of"),
        (
            vex(statement(ONE, "affected", LATE), statement(ONE, "fixed", LATER, "pkg:oci/other")),
            {"forbidStatuses": ["affected"]},
            "is stated of",
        ),
        (
            vex(statement(ONE, "affected"), statement(ONE, "fixed", product="pkg:oci/other")),
            {"require": [{"id": ONE}]},
            "is stated 'affected', 'fixed'",
        ),
        (
            vex(statement(ONE, "affected", product="pkg:oci/other"), statement(ONE, "fixed")),
            {"require": [{"id": ONE}], "products": ["pkg:oci/app"]},
            "",
        ),
        (vex(), {"authors": ["Acme *"]}, ""),
        (vex(), {"authors": ["Evil *"]}, "author is 'Acme Security'"),
        (vex(statement(ONE, "fine")), {"authors": ["**"]}, "status 'fine' is none of OpenVEX"),
        (vex(**{"@context": "https://evil.example/ns"}), {"authors": ["**"]}, "@context is"),
        (vex(timestamp=None), {"maxAge": "1d"}, "timestamp of the document is missing"),
        (
            vex({"vulnerability": ONE, "products": ["pkg:oci/app"], "status": "fixed"}),
            {"require": [{"id": ONE}], "products": ["pkg:oci/*"]},
            "",
        ),
    ],
)
def test_vex(predicate, rule, says):
    result = judge("vex", predicate, **rule)
    assert result.holds is (says == ""), result.detail
    assert says in result.detail


def test_vex_finds_aliases_and_purls():
    said = statement("GHSA-x", "fixed")
    said["vulnerability"]["aliases"] = [ONE]
    said["products"] = [{"@id": "urn:x", "identifiers": {"purl": "pkg:oci/app"}}]
    assert judge("vex", vex(said), require=[{"id": ONE}], products=["pkg:oci/app"], maxAge="9d").time == parse_instant(
        WHEN
    )


# ---------------------------------------------------------------------------------------------------- predicate types


@pytest.mark.parametrize(
    ("wanted", "found", "same"),
    [
        (SPDX, SPDX, True),
        (SPDX, SPDX + "/v2.3", True),
        (SPDX, SPDX + "s", False),
        (SPDX, SPDX + "/evil", False),
        (SPDX, SPDX + "/v2.3/evil", False),
        (SPDX, "https://spdx.dev", False),
        (CYCLONEDX, CYCLONEDX + "/1.5", True),
        (OPENVEX, OPENVEX + "/v0.2.0", True),
        (VSA, VSA + "/v1", True),
        (TEST_RESULT, TEST_RESULT + "/v0.1", True),
        (SLSA_V1, SLSA_V1 + ".1", True),
        (SLSA_V1, SLSA_V1 + ".0?draft", True),
        (SLSA_V1, SLSA_V1 + "?draft", True),
        (SLSA_V1, SLSA_V1 + "0", False),
        (SLSA_V1, SLSA_V1 + ".", False),
        (SLSA_V1, SLSA_V02, False),
        (SLSA_V02, "https://slsa.dev/provenance/v0.1", False),
        (SLSA_V02, "https://slsa.dev/provenance/v0.20", False),
        (SLSA_V1, SLSA_V1 + "\n", False),
        (SLSA_V1, SLSA_V1 + "." + "1" * 2000, False),
    ],
)
def test_versions_of_a_type(wanted, found, same):
    assert same_type(wanted, found) is same


def test_names():
    assert {predicate_uri(name) for name in ALIASES} == set(ALIASES.values())
    assert predicate_uri("slsaprovenance1") == SLSA_V1
    assert predicate_uri("urn:acme:review") == "urn:acme:review"
    for wrong in ("slsa", "", "https://a b", "x" * 2000, "https://ä"):
        with pytest.raises(ValueError, match="is a URI or one of"):
            predicate_uri(wrong)
