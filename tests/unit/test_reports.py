"""SARIF and JUnit: what other tools demand of them, what is an error there, and text from strangers."""

import json
from typing import Any
from xml.etree import ElementTree as ET

import jsonschema  # type: ignore[import-untyped]  # ships no types
import pytest

from streams.local.reports import Case, Checked, Silenced, cases_of, junit, sarif
from verifier.models import Reason
from verifier.reasons import REASONS

IMAGE = "registry.example.com/payments/api:1"
DIGEST = "sha256:" + "a" * 64
UNSIGNED = Reason("unsigned", "expected a signature of dev; found none", "signed")
SATISFIED = Reason("satisfied", "every requirement is met: dev", "signed")
GONE = Reason("registry-not-found", "registry: the image is not there", "signed")

_TEXT = {"type": "object", "required": ["text"], "properties": {"text": {"type": "string", "minLength": 1}}}
LEVELS = {"enum": ["none", "note", "warning", "error"]}
SCHEMA = {
    "type": "object",
    "required": ["version", "runs"],
    "additionalProperties": False,
    "properties": {
        "$schema": {"type": "string", "format": "uri"},
        "version": {"enum": ["2.1.0"]},
        "runs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["tool"],
                "properties": {
                    "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
                    "tool": {
                        "type": "object",
                        "required": ["driver"],
                        "properties": {
                            "driver": {
                                "type": "object",
                                "required": ["name"],
                                "properties": {
                                    "rules": {
                                        "type": "array",
                                        "uniqueItems": True,
                                        "items": {
                                            "type": "object",
                                            "required": ["id"],
                                            "properties": {
                                                "shortDescription": _TEXT,
                                                "fullDescription": _TEXT,
                                                "help": _TEXT,
                                                "defaultConfiguration": {"properties": {"level": LEVELS}},
                                            },
                                        },
                                    }
                                },
                            }
                        },
                    },
                    "invocations": {"type": "array", "items": {"type": "object", "required": ["executionSuccessful"]}},
                    "results": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["message"],
                            "properties": {
                                "level": LEVELS,
                                "message": _TEXT,
                                "ruleIndex": {"type": "integer", "minimum": -1},
                                "locations": {
                                    "type": "array",
                                    "items": {
                                        "type": "object",
                                        "properties": {
                                            "physicalLocation": {
                                                "type": "object",
                                                "required": ["artifactLocation"],
                                                "properties": {"region": {"properties": {"startLine": {"minimum": 1}}}},
                                            },
                                            "logicalLocations": {"type": "array", "minItems": 1},
                                        },
                                    },
                                },
                                "suppressions": {
                                    "type": "array",
                                    "items": {
                                        "type": "object",
                                        "required": ["kind"],
                                        "properties": {
                                            "kind": {"enum": ["inSource", "external"]},
                                            "status": {"enum": ["accepted", "underReview", "rejected"]},
                                        },
                                    },
                                },
                            },
                        },
                    },
                },
            },
        },
    },
}
"""What the published schema of SARIF 2.1.0 requires, and the values it lists, of the members that are written."""


def one(*reasons: Reason, verdict: Any = "violates", passes: bool = False, **members: Any) -> Checked:
    return Checked(IMAGE, DIGEST, verdict, passes, reasons, **members)


def log(*checked: Checked) -> dict:
    made = json.loads(json.dumps(sarif(checked, "0.1.0")))
    jsonschema.validate(made, SCHEMA)
    (run,) = made["runs"]
    assert all(run["tool"]["driver"]["rules"][r["ruleIndex"]]["id"] == r["ruleId"] for r in run["results"])
    return run


# --------------------------------------------------------------------------------------------------------------- SARIF


def test_what_passes_for_good_is_no_result():
    run = log(one(SATISFIED, verdict="valid", passes=True))
    assert (run["results"], run["tool"]["driver"]["rules"]) == ([], [])


@pytest.mark.parametrize(
    ("checked", "level"),
    [
        (one(UNSIGNED), "error"),
        (one(GONE, verdict="unverifiable"), "warning"),
        (one(UNSIGNED, passes=True, silenced={"signed": Silenced(trial=True)}), "note"),
        (one(UNSIGNED, passes=True, silenced={"signed": Silenced(exempted_by="x")}), "note"),
        (one(UNSIGNED, silenced={"signed": Silenced(trial=True), "other": Silenced()}), "note"),
        (one(Reason("ungoverned", "no policy matches"), verdict="ungoverned"), "warning"),
    ],
)
def test_only_what_fails_the_gate_is_an_error_or_a_warning(checked, level):
    (result,) = log(checked)["results"]
    assert result["level"] == level


def test_an_exempted_violation_is_suppressed_and_says_by_what():
    (result,) = log(one(UNSIGNED, passes=True, silenced={"signed": Silenced(exempted_by="v1:abc")}))["results"]
    assert result["suppressions"] == [{"kind": "external", "status": "accepted", "justification": "exemption v1:abc"}]


def test_rules_are_reasons_with_what_to_do():
    (rule,) = log(one(UNSIGNED), one(UNSIGNED))["tool"]["driver"]["rules"]
    assert rule["id"] == "unsigned"
    assert REASONS["unsigned"].todo in rule["help"]["text"]
    assert rule["defaultConfiguration"] == {"level": "error"}


@pytest.mark.parametrize("code", REASONS)
def test_every_reason_makes_a_sound_rule(code):
    run = log(one(Reason(code, "because", "p")))
    assert len(run["results"]) == (REASONS[code].effect != "valid")


def test_the_place_is_the_line_of_the_manifest():
    given = one(UNSIGNED, container="shop/Deployment/web: app", file="./deploy/a b.yaml", line=17)
    (location,) = log(given)["results"][0]["locations"]
    assert location["physicalLocation"] == {
        "artifactLocation": {"uri": "deploy/a%20b.yaml"},
        "region": {"startLine": 17},
    }
    assert location["logicalLocations"][0]["fullyQualifiedName"] == "shop/Deployment/web: app"
    absolute = log(one(UNSIGNED, file="/srv/x.yaml"))["results"][0]["locations"][0]["physicalLocation"]
    assert absolute == {"artifactLocation": {"uri": "file:///srv/x.yaml"}}


def test_an_image_of_the_command_line_is_a_logical_place():
    (location,) = log(one(UNSIGNED))["results"][0]["locations"]
    assert location == {"logicalLocations": [{"fullyQualifiedName": IMAGE, "kind": "resource"}]}


def test_a_finding_keeps_its_fingerprint_when_its_line_moves():
    prints = [
        log(one(UNSIGNED, container="c", file="x.yaml", line=n))["results"][0]["partialFingerprints"] for n in (1, 9)
    ]
    assert prints[0] == prints[1]
    assert prints[0] != log(one(UNSIGNED, container="d"))["results"][0]["partialFingerprints"]


HOSTILE = "x\x1b[2J\u202e]]></failure><failure/>\x00\udcff\n::error::"


def test_hostile_text_is_escaped():
    run = log(one(Reason("unsigned", HOSTILE, "p"), container=HOSTILE))
    text = json.dumps(run, ensure_ascii=False)
    assert not any(c in text for c in ("\x1b", "\u202e", "\x00", "\udcff"))
    assert len(log(one(Reason("unsigned", "x" * 100_000)))["results"][0]["message"]["text"]) <= 2_000


# --------------------------------------------------------------------------------------------------------------- JUnit


def suite(*checked: Checked) -> ET.Element:
    text = junit("revet verify", cases_of(checked))
    assert text.startswith("<?xml")
    root = ET.fromstring(text)
    (found,) = root
    assert (root.tag, found.tag) == ("testsuites", "testsuite")
    return found


@pytest.mark.parametrize(
    ("checked", "child", "kind"),
    [
        (one(SATISFIED, verdict="valid", passes=True), "system-out", None),
        (one(UNSIGNED), "failure", "unsigned"),
        (one(SATISFIED, UNSIGNED), "failure", "unsigned"),
        (one(GONE, verdict="unverifiable"), "error", "registry-not-found"),
        (one(Reason("ungoverned", "no policy matches"), verdict="ungoverned"), "error", "ungoverned"),
        (one(UNSIGNED, passes=True, silenced={"signed": Silenced(trial=True)}), "system-out", None),
        (one(verdict="violates"), "failure", "violates"),
    ],
)
def test_cases(checked, child, kind):
    (case,) = suite(checked)
    (inner,) = case
    assert (inner.tag, inner.get("type")) == (child, kind)


def test_the_counts_are_those_of_the_cases():
    found = suite(one(UNSIGNED), one(GONE, verdict="unverifiable"), one(SATISFIED, verdict="valid", passes=True))
    assert [found.get(name) for name in ("tests", "failures", "errors", "skipped")] == ["3", "1", "1", "0"]


def test_a_case_says_where_it_stands():
    (case,) = suite(one(UNSIGNED, container="shop/Deployment/web: app", file="a.yaml", line=3))
    assert (case.get("name"), case.get("classname")) == ("shop/Deployment/web: app", "shop/Deployment/web")
    assert (case.get("file"), case.get("line")) == ("a.yaml", "3")


def test_hostile_text_cannot_leave_its_element():
    (case,) = suite(Checked(HOSTILE, "", "violates", passes=False, reasons=(Reason("unsigned", HOSTILE),)))
    assert [c.tag for c in case] == ["failure"]
    raw = junit("s", [Case(HOSTILE, HOSTILE, "failure", HOSTILE, output=HOSTILE)])
    assert not any(c in raw for c in ("\x1b", "\u202e", "\x00", "\udcff"))


def test_no_case_is_a_suite_all_the_same():
    assert suite().get("tests") == "0"
