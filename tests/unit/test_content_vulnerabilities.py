"""Scan results of every shape; severities, counts, exceptions that end, and the age of a scan."""

import json

import pytest

from verifier.content.evaluate import evaluate
from verifier.content.model import ContentRule
from verifier.content.predicates import COSIGN_CUSTOM, COSIGN_VULN, IN_TOTO_VULNS
from verifier.content.scan import severity_of
from verifier.times import parse_instant

FINDINGS = [
    ("CVE-2026-0001", "CRITICAL", "1.1", "pkg:npm/a@1.0", "a", "1.0"),
    ("CVE-2026-0002", "HIGH", "", "pkg:npm/b@1.0", "b", "1.0"),
    ("CVE-2026-0003", "MEDIUM", "2.0", "pkg:npm/b@1.0", "b", "1.0"),
    ("CVE-2026-0004", "UNKNOWN", "2.0", "pkg:npm/c@1.0", "c", "1.0"),
]
SCANNED = "2026-03-01T00:00:00Z"
LATER = "2026-03-02T00:00:00Z"


def trivy(findings=FINDINGS, created=SCANNED):
    vulnerabilities = [
        {
            "VulnerabilityID": i,
            "Severity": s,
            "FixedVersion": f,
            "PkgName": n,
            "InstalledVersion": v,
            "PkgIdentifier": {"PURL": p},
        }
        for i, s, f, p, n, v in findings
    ]
    results = [{"Target": "debian", "Vulnerabilities": None}, {"Target": "npm", "Vulnerabilities": vulnerabilities}]
    return {"SchemaVersion": 2, "CreatedAt": created, "ArtifactName": "image", "Results": results}


def grype(findings=FINDINGS, timestamp=SCANNED):
    matches = [
        {
            "vulnerability": {
                "id": "GHSA-" + i[4:],
                "severity": s.title(),
                "fix": {"state": "fixed" if f else "unknown"},
            },
            "relatedVulnerabilities": [{"id": i, "severity": "Low"}],
            "artifact": {"name": n, "version": v, "purl": p},
        }
        for i, s, f, p, n, v in findings
    ]
    return {"matches": matches, "descriptor": {"name": "grype", "timestamp": timestamp}}


def clair(findings=FINDINGS):
    return {
        "manifest_hash": "sha256:" + "0" * 64,
        "packages": {str(k): {"name": n, "version": v} for k, (_, _, _, _, n, v) in enumerate(findings)},
        "vulnerabilities": {
            i: {"name": i, "normalized_severity": s.title(), "fixed_in_version": f} for i, s, f, *_ in findings
        },
        "package_vulnerabilities": {str(k): [row[0]] for k, row in enumerate(findings)},
    }


def clair_scanner(findings=FINDINGS):
    rows = [
        {"vulnerability": i, "severity": s.title(), "fixedby": f, "featurename": n, "featureversion": v}
        for i, s, f, _, n, v in findings
    ]
    return {"image": "x", "vulnerabilities": rows, "unapproved": []}


def cosign(report, finished=SCANNED):
    return {
        "invocation": {"uri": "", "event_id": "", "builder.id": ""},
        "scanner": {"uri": "pkg:github/aquasecurity/trivy@0.60.0", "version": "0.60.0", "result": report},
        "metadata": {"scanStartedOn": finished, "scanFinishedOn": finished},
    }


def in_toto(findings=FINDINGS):
    rows = [
        {"id": i, "severity": [{"method": "nvd", "score": s.lower()}] if s != "UNKNOWN" else []}
        for i, s, *_ in findings
    ]
    return cosign(rows)


SHAPES = {
    "trivy": trivy,
    "grype": grype,
    "clair": clair,
    "clair-scanner": clair_scanner,
    "cosign-trivy": lambda findings=FINDINGS: cosign(trivy(findings)),
    "cosign-grype": lambda findings=FINDINGS: cosign(grype(findings)),
    "in-toto": in_toto,
}


def judge(report, predicate_type=COSIGN_VULN, **rule):
    return evaluate(ContentRule.model_validate({"vulnerabilities": rule}), predicate_type, json.dumps(report).encode())


def accept(number, until=None, **more):
    return {"id": f"CVE-2026-000{number}", "reason": "seen", **({"until": until} if until else {}), **more}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ({"maxSeverity": "high"}, "2 findings worse than high, at most 0"),
        ({"maxSeverity": "high", "unknownAs": "low"}, "1 findings worse than high"),
        ({"maxSeverity": "medium", "unknownAs": "low"}, "2 findings worse than medium"),
        ({"maxSeverity": "none"}, "4 findings worse than none"),
        ({"maxSeverity": "none", "unknownAs": "unknown"}, "4 findings worse than none"),
        ({"maxSeverity": "high", "unknownAs": "high", "exceptions": [accept(1)]}, ""),
        ({"maxCounts": {"critical": 2}}, ""),
        ({"maxCounts": {"critical": 1}}, "2 findings critical, at most 1"),
        ({"maxCounts": {"critical": 2, "medium": 0}}, "1 findings medium"),
        ({"maxCounts": {"unknown": 0}}, "1 findings unknown, at most 0: "),
        ({"maxCounts": {"low": 0, "negligible": 0}}, ""),
    ],
)
def test_rule_in_every_shape(shape, rule, says):
    result = judge(SHAPES[shape](), **rule)
    assert result.holds is (says == ""), result.detail
    assert says in result.detail


@pytest.mark.parametrize("shape", [name for name in SHAPES if name != "in-toto"])
def test_without_a_fix(shape):
    rule = {"maxCounts": {"high": 0}}
    assert not judge(SHAPES[shape](), **rule).holds
    assert judge(SHAPES[shape](), ignoreUnfixed=True, **rule).holds


def test_a_report_that_says_nothing_of_fixes_is_not_taken_for_unfixable():
    assert not judge(in_toto(), maxCounts={"high": 0}, ignoreUnfixed=True).holds
    report = grype()
    del report["matches"][1]["vulnerability"]["fix"]
    assert not judge(report, maxCounts={"high": 0}, ignoreUnfixed=True).holds


@pytest.mark.parametrize("shape", SHAPES)
def test_an_empty_scan_holds(shape):
    assert judge(SHAPES[shape]([]), maxSeverity="none").holds


# --------------------------------------------------------------------------------------------------------- exceptions

T1, T2, T3 = (f"2026-0{month}-01T00:00:00Z" for month in (6, 7, 8))


@pytest.mark.parametrize(
    ("rule", "until"),
    [
        ({"maxSeverity": "high", "unknownAs": "low", "exceptions": [accept(1, T1)]}, T1),
        ({"maxSeverity": "high", "unknownAs": "low", "exceptions": [accept(1)]}, None),
        ({"maxSeverity": "high", "unknownAs": "low", "exceptions": [accept(1, T1), accept(1, T2)]}, T2),
        ({"maxSeverity": "high", "unknownAs": "low", "exceptions": [accept(1, T1), accept(1)]}, None),
        ({"maxSeverity": "medium", "unknownAs": "low", "exceptions": [accept(1, T2), accept(2, T1)]}, T1),
        ({"maxSeverity": "high", "exceptions": [accept(1, T2), accept(4, T3)]}, T2),
        ({"maxCounts": {"critical": 1}, "exceptions": [accept(1, T1), accept(4, T3)]}, T3),
        ({"maxCounts": {"critical": 2}, "exceptions": [accept(1, T1), accept(4, T3)]}, None),
        ({"maxCounts": {"critical": 1}, "exceptions": [accept(4, T3)]}, T3),
        ({"maxCounts": {"critical": 1, "high": 0}, "exceptions": [accept(4, T3), accept(2, T1)]}, T1),
        ({"maxCounts": {"critical": 5}, "exceptions": [accept(1, T1)]}, None),
        ({"maxSeverity": "high", "unknownAs": "low", "exceptions": [accept(1, T1, packages=["pkg:npm/a@*"])]}, T1),
        ({"maxSeverity": "high", "unknownAs": "low", "exceptions": [{**accept(1, T1), "id": "cve-2026-0001"}]}, T1),
    ],
)
def test_until_is_the_instant_at_which_too_many_findings_are_left(rule, until):
    result = judge(trivy(), **rule)
    assert result.holds, result.detail
    assert result.until == (None if until is None else parse_instant(until))


def test_until_agrees_with_judging_at_every_instant():
    """The answer in one number, against leaving out what has ended, at each instant that matters."""
    exceptions = [accept(1, T1), accept(2, T2), accept(4, T3), accept(3)]
    for rule in ({"maxSeverity": "medium"}, {"maxCounts": {"critical": 1, "high": 0}}, {"maxCounts": {"critical": 1}}):
        result = judge(trivy(), exceptions=exceptions, **rule)
        for instant in (0, *(parse_instant(t) + step for t in (T1, T2, T3) for step in (0, 1))):
            live = [e for e in exceptions if "until" not in e or instant <= parse_instant(e["until"])]
            now = judge(trivy(), exceptions=live, **rule).holds
            assert now is (result.until is None or instant <= result.until)


@pytest.mark.parametrize(
    "exception", [accept(2), accept(1, packages=["pkg:npm/z@*"]), {"id": "CVE-2026-00", "reason": "x"}, accept(9)]
)
def test_an_exception_for_something_else_excepts_nothing(exception):
    assert not judge(trivy(), maxSeverity="high", unknownAs="low", exceptions=[exception]).holds


def test_an_exception_counts_for_an_alias():
    assert judge(grype(), maxSeverity="high", unknownAs="low", exceptions=[accept(1)]).holds


# ------------------------------------------------------------------------------------------------------ age, scanners


def test_the_oldest_date_counts():
    for report in (trivy(), grype(), cosign(trivy(), LATER), cosign(trivy(created=LATER)), in_toto()):
        result = judge(report, maxAge="7d")
        assert result.holds
        assert result.time == parse_instant(SCANNED)
        assert result.max_age == 7 * 86_400_000_000


@pytest.mark.parametrize("report", [clair(), clair_scanner(), trivy(created=None)])
def test_a_report_without_date_has_no_age(report):
    assert "no date" in judge(report, maxAge="7d").detail


def test_dates_that_are_none():
    assert "RFC 3339" in judge(trivy(created="2026-03-01"), maxAge="7d").detail
    assert judge(trivy(created="2026-03-01"), maxSeverity="high", unknownAs="low", exceptions=[accept(1)]).holds


def test_scanners():
    assert judge(cosign(trivy()), scanners=["pkg:github/aquasecurity/trivy@*"]).holds
    assert judge(trivy(), scanners=["trivy"]).holds
    assert "scanner is 'grype', expected 'trivy'" in judge(grype(), scanners=["trivy"]).detail
    assert not judge(cosign(trivy()), scanners=["trivy"]).holds


def test_a_report_inside_cosigns_custom_predicate():
    wrapped = {"Data": json.dumps(trivy(created=LATER)), "Timestamp": SCANNED}
    assert judge(wrapped, COSIGN_CUSTOM, maxAge="1d").time == parse_instant(SCANNED)
    assert not judge(wrapped, COSIGN_CUSTOM, maxSeverity="high").holds
    assert "no scan report" in judge(wrapped, IN_TOTO_VULNS, maxSeverity="high").detail


@pytest.mark.parametrize(
    "report",
    [
        {},
        [],
        None,
        "scan",
        {"matches": None},
        {"matches": {}},
        {"scanner": {}},
        {"scanner": {"result": None}},
        {"scanner": {"result": {}}},
        {"scanner": {"result": {"scanner": {"result": []}}}},
        {"scanner": {"uri": 1, "result": []}},
        {"SchemaVersion": 2, "Results": {}},
        {"SchemaVersion": 2, "Results": [{"Vulnerabilities": [{}]}]},
        {"manifest_hash": "x", "vulnerabilities": None},
        {"manifest_hash": "x", "vulnerabilities": {}, "package_vulnerabilities": {"1": ["gone"]}},
        {"image": "x", "vulnerabilities": [{"severity": "Low"}]},
    ],
)
def test_what_is_no_report_never_passes_for_a_clean_one(report):
    result = judge(report, maxSeverity="high")
    assert not result.holds
    assert result.detail


@pytest.mark.parametrize(
    ("scores", "holds"),
    [
        (["9.8"], False),
        ([9.0], False),
        ([8.9, 3], True),
        ([3, "critical"], False),
        (["NaN"], False),
        (["-1"], False),
        (["0.0"], True),
        (["Infinity"], False),
        (["Important"], True),
        ([None], False),
        ([], False),
    ],
)
def test_scores_of_in_toto_vulns(scores, holds):
    report = cosign([{"id": "CVE-1", "severity": [{"method": "x", "score": score} for score in scores]}])
    assert judge(report, maxSeverity="high").holds is holds


@pytest.mark.parametrize(
    ("word", "severity"),
    [("Defcon1", "critical"), ("Moderate", "medium"), ("none", "negligible"), ("Lοw", "unknown"), (None, "unknown")],
)
def test_words(word, severity):
    assert severity_of(word) == severity
