"""The findings table: complete, consistent, and the only place where codes live."""

from __future__ import annotations

import ast
import string
from itertools import permutations
from pathlib import Path

import pytest

from alerting.findings import (
    CODE_PRECEDENCE as PRECEDENCE,
)
from alerting.findings import (
    FINDINGS,
    REASON_FINDINGS,
    finding_code_for,
    incident_of,
    message_of,
    sentence_of,
    severity_of,
    severity_rank,
    worse_kind,
)
from alerting.models import Cause, Finding
from verifier.reasons import REASONS
from verifier.trust.exemptions import PROOF_OF_COMPROMISE

ROOT = Path(__file__).resolve().parents[2]

CLOSE_REASONS = {
    "replaced",
    "ended",
    "valid-again",
    "exempted",
    "policy-removed",
    "withdrawn",
    "converged",
    "admission-found",
    "cluster-retired",
    "quiet",
}

TAKES_A_CODE = {"FINDINGS", "incident_of", "severity_of", "sentence_of", "finding_page", "Suspect", "Slot", "Finding"}


def _constants(node: ast.AST) -> list[str]:
    return [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []


def _used_codes(tree: ast.AST) -> set[str]:
    """String literals that stand where a finding code goes."""
    used: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and getattr(node.value, "id", "") == "FINDINGS":
            used += _constants(node.slice)
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if name in TAKES_A_CODE:
                used += [
                    text for keyword in node.keywords if keyword.arg == "code" for text in _constants(keyword.value)
                ]
            if name in TAKES_A_CODE - {"Finding"} and node.args:
                used += _constants(node.args[0])
    return set(used)


@pytest.mark.parametrize("folder", ["alerting", "streams"])
def test_every_code_used_in_the_tree_has_a_row(folder):
    for path in sorted((ROOT / folder).rglob("*.py")):
        unknown = _used_codes(ast.parse(path.read_text(encoding="utf-8"))) - FINDINGS.keys()
        assert not unknown, f"{path.relative_to(ROOT)} uses {sorted(unknown)}, which alerting/table.py does not know"


def test_the_search_for_codes_finds_them():
    tree = ast.parse("FINDINGS['a']; incident_of('b', cluster=''); Finding(code='c'); y = 'other'")
    assert _used_codes(tree) == {"a", "b", "c"}


def test_every_violating_reason_of_the_verifier_becomes_a_finding():
    violating = {code for code, row in REASONS.items() if row.effect == "violates"}
    assert violating == set(REASON_FINDINGS)
    for code in violating:
        assert finding_code_for([code]) == REASON_FINDINGS[code]


@pytest.mark.parametrize("code", sorted(set(REASONS) - set(REASON_FINDINGS)))
def test_a_reason_that_does_not_argue_for_a_violation_is_no_finding(code):
    assert finding_code_for([code]) is None


@pytest.mark.parametrize(
    ("reasons", "code"),
    [
        (("unsigned", "key-revoked"), "key-revoked"),
        (("unsigned", "signature-invalid"), "signature-invalid"),
        (("key-revoked", "digest-denied"), "digest-denied"),
        (("key-revoked-time-unknown", "wrong-signer", "unsigned"), "key-revoked"),
        (("attestation-only", "repository-mismatch"), "wrong-signer"),
        (("unsigned", "digest-not-listed"), "untrusted-registry"),
        (("subject-mismatch", "wrong-signer"), "signature-invalid"),
        (("evidence-revoked", "unsigned"), "key-revoked"),
        (("identity-revoked", "key-revoked"), "key-revoked"),
        (("source-revoked", "signature-invalid", "attestation-violates"), "identity-revoked"),
        (("attestation-violates", "wrong-signer", "unsigned"), "attestation-violates"),
        (("attestation-missing", "unsigned", "attestation-stale"), "unsigned"),
        (("signature-expired", "attestation-missing"), "attestation-missing"),
        (("denied-by-policy", "unsigned"), "untrusted-registry"),
    ],
)
def test_proof_of_compromise_comes_first_in_any_order(reasons, code):
    assert {finding_code_for(order) for order in permutations(reasons)} == {code}


@pytest.mark.parametrize(("code", "row"), FINDINGS.items())
def test_rows_are_whole(code, row):
    assert set(row.closes) <= CLOSE_REASONS
    assert row.closes
    for text in (row.title, row.sentence, row.meaning, row.benign, row.todo, row.closes_when):
        assert text
        assert text == text.strip()
    assert len(row.title) <= 60
    names = {name for _, name, _, _ in string.Formatter().parse(row.sentence) if name}
    own = {"workload", "cluster", "namespace", "container", "image", "repository", "digest", "policy", "policy_version"}
    assert names <= own | set(row.detail)


def test_proof_of_compromise_is_critical_and_pages():
    proof = {code for code, row in FINDINGS.items() if row.proof_of_compromise}
    assert proof == {"key-revoked", "identity-revoked", "digest-denied", "signature-invalid"}
    assert all(FINDINGS[code].severity == "critical" and FINDINGS[code].paging for code in proof)


def test_of_several_reasons_the_more_severe_finding_is_told():
    """A medium finding never stands in front of a high one that the same verdict argues for."""
    ranks = [(FINDINGS[code].proof_of_compromise, severity_rank(FINDINGS[code].severity)) for code in PRECEDENCE]
    assert ranks == sorted(ranks, reverse=True)
    assert set(PRECEDENCE) == set(REASON_FINDINGS.values())


def test_proof_of_compromise_is_exempted_only_by_name():
    """What an exemption covers without saying so, and what is proof, are the same question."""
    assert {code for code, finding in REASON_FINDINGS.items() if FINDINGS[finding].proof_of_compromise} == (
        PROOF_OF_COMPROMISE
    )


@pytest.mark.parametrize(
    ("code", "labels", "cause", "severity"),
    [
        ("unsigned", {}, "none", "high"),
        ("unsigned", {"env": "prod"}, "none", "critical"),
        ("unsigned", {"environment": "Production"}, "none", "critical"),
        ("unsigned", {"env": "sandbox"}, "none", "medium"),
        ("unsigned", {"env": "staging", "environment": "prod"}, "none", "high"),
        ("key-revoked", {"env": "prod"}, "revocation", "critical"),
        ("key-revoked", {"env": "sandbox"}, "revocation", "high"),
        ("key-revoked", {}, "baseline-policy", "critical"),
        ("unsigned", {"env": "prod"}, "baseline-policy", "medium"),
        ("unsigned", {}, "policy-change", "medium"),
        ("tag-moved", {"env": "sandbox"}, "none", "info"),
        ("identity-revoked", {}, "baseline-policy", "critical"),
        ("attestation-violates", {}, "none", "high"),
        ("attestation-missing", {}, "none", "high"),
        ("expired", {}, "none", "medium"),
        ("signer-changed", {"env": "prod"}, "none", "high"),
    ],
)
def test_severity_follows_row_cause_and_environment(code, labels, cause, severity):
    assert severity_of(code, labels, Cause(kind=cause, id="x")) == severity
    assert severity_of(code, tuple(labels.items()), Cause(kind=cause, id="x")) == severity


def _incident(code, cause=None, **changes):
    facts = {
        "cluster": "c1",
        "namespace": "pay",
        "owner_kind": "Deployment",
        "owner_name": "api",
        "policy": "p",
        "policy_version": "v1",
        "repository": "r/a",
        "digest": "sha256:aa",
        "detail": (),
    } | changes
    return incident_of(code, cause=cause or Cause(), **facts)


REVOCATION = Cause("revocation", "key:aa", "ops", 5, 3)
POLICY = Cause("policy-change", "p@v2", "p", 5, 3)
BASELINE = Cause("baseline-policy", "p", "p", 5, 3)


@pytest.mark.parametrize(
    ("name", "one", "other", "same"),
    [
        (
            "a revocation gathers policies",
            ("key-revoked", REVOCATION, {}),
            ("key-revoked", REVOCATION, {"policy": "q"}),
            True,
        ),
        ("a revocation gathers codes", ("key-revoked", REVOCATION, {}), ("wrong-signer", REVOCATION, {}), True),
        (
            "a pod that starts later meets the revocation",
            ("key-revoked", REVOCATION, {}),
            ("key-revoked", None, {"detail": (("revoked", "key:aa"),)}),
            True,
        ),
        (
            "a denied digest names itself",
            ("digest-denied", Cause("revocation", "digest:sha256:aa"), {}),
            ("digest-denied", None, {}),
            True,
        ),
        (
            "a policy change gathers namespaces",
            ("unsigned", POLICY, {}),
            ("policy-changed", POLICY, {"namespace": "x"}),
            True,
        ),
        (
            "a policy change without a cause is found by its version",
            ("policy-changed", POLICY, {}),
            ("policy-changed", None, {"policy_version": "v2"}),
            True,
        ),
        (
            "a baseline gathers repositories",
            ("unsigned", BASELINE, {}),
            ("wrong-signer", BASELINE, {"repository": "q"}),
            True,
        ),
        ("a baseline hides no proof", ("unsigned", BASELINE, {}), ("signature-invalid", BASELINE, {}), False),
        ("a policy change hides no proof", ("unsigned", POLICY, {}), ("signature-invalid", POLICY, {}), False),
        (
            "a policy's baseline is not a cluster's",
            ("unsigned", BASELINE, {}),
            ("unsigned", Cause("baseline-cluster", "p"), {}),
            False,
        ),
        ("absence ignores rollouts", ("unsigned", None, {}), ("unsigned", None, {"digest": "sha256:bb"}), True),
        ("absence ignores the cluster", ("unsigned", None, {}), ("unsigned", None, {"cluster": "c2"}), True),
        ("absence knows its repository", ("unsigned", None, {}), ("unsigned", None, {"repository": "q"}), False),
        ("absence knows its policy", ("unsigned", None, {}), ("unsigned", None, {"policy": "q"}), False),
        ("absence is not a wrong signer", ("unsigned", None, {}), ("wrong-signer", None, {}), False),
        (
            "a bad digest is one everywhere",
            ("signature-invalid", None, {}),
            ("signature-invalid", None, {"cluster": "c2"}),
            True,
        ),
        (
            "another bad digest is another",
            ("signature-invalid", None, {}),
            ("signature-invalid", None, {"digest": "sha256:bb"}),
            False,
        ),
        ("a workload is one", ("unadmitted", None, {}), ("unadmitted", None, {"digest": "sha256:bb"}), True),
        ("another workload is another", ("unadmitted", None, {}), ("unadmitted", None, {"owner_name": "web"}), False),
        (
            "whatever is revoked gathers",
            ("identity-revoked", Cause("revocation", "ca:aa", "corp", 5, 3), {}),
            ("identity-revoked", None, {"detail": (("revoked", "ca:aa"),), "repository": "q"}),
            True,
        ),
        (
            "a CA and a log of one id are two things",
            ("identity-revoked", Cause("revocation", "ca:aa", "corp", 5, 3), {}),
            ("identity-revoked", Cause("revocation", "log:aa", "corp", 5, 3), {}),
            False,
        ),
        (
            "a trust root that changed gathers codes",
            ("expired", Cause("policy-change", "root:corp@7", "corp", 5, 7), {}),
            ("wrong-signer", Cause("policy-change", "root:corp@7", "corp", 5, 7), {"policy": "q"}),
            True,
        ),
        (
            "a changed signer gathers workloads",
            ("signer-changed", None, {"detail": (("signer", "ci"), ("before", "dev"))}),
            ("signer-changed", None, {"detail": (("signer", "ci"), ("before", "ops")), "owner_name": "web"}),
            True,
        ),
        (
            "another new signer is another matter",
            ("signer-changed", None, {"detail": (("signer", "ci"),)}),
            ("signer-changed", None, {"detail": (("signer", "mallory"),)}),
            False,
        ),
        (
            "names cannot run into each other",
            ("unadmitted", None, {"namespace": "a b", "owner_kind": "c"}),
            ("unadmitted", None, {"namespace": "a", "owner_kind": "b c"}),
            False,
        ),
        (
            "a webhook is one per cluster",
            ("failed-open", None, {"detail": (("webhook", "w"),)}),
            ("failed-open", None, {"detail": (("webhook", "w"),), "namespace": "x", "owner_name": "y"}),
            True,
        ),
    ],
)
def test_incidents_gather_what_belongs_together(name, one, other, same):
    first, second = (_incident(code, cause, **changes) for code, cause, changes in (one, other))
    assert (first.id == second.id) is same, name


@pytest.mark.parametrize(
    ("code", "cause", "kind"),
    [
        ("unsigned", None, "unsigned"),
        ("unsigned", POLICY, "policy-changed"),
        ("unsigned", BASELINE, "baseline"),
        ("signature-invalid", BASELINE, "signature-invalid"),
        ("key-revoked", REVOCATION, "key-revoked"),
    ],
)
def test_the_kind_is_the_code_or_the_cause(code, cause, kind):
    assert _incident(code, cause).kind == kind


@pytest.mark.parametrize("code", FINDINGS)
def test_every_code_names_an_incident_and_says_a_sentence(code):
    assert _incident(code).id.startswith("v1:")
    assert "unknown" in sentence_of(code, {})


def test_a_message_keeps_braces_of_names_as_text():
    finding = Finding(
        id="f",
        code="unsigned",
        state="open",
        severity="high",
        cluster="c",
        namespace="{policy}",
        owner_kind="Pod",
        owner_name="{0}",
        container="m",
        policy="p",
        digest="sha256:" + "ab" * 32,
        image="{image.__class__}",
        repository="r",
        cause=Cause(),
        incident="i",
        opened=0,
        changed=0,
        detail=(("reason", "{x}"),),
    )
    assert (
        message_of(finding) == "{image.__class__} runs in {policy}/Pod/{0} without the signature that p asks for: {x}"
    )


def test_of_two_kinds_the_worse_is_kept_whatever_the_order():
    for one, other in permutations([*FINDINGS, "no-such-kind"], 2):
        assert worse_kind(one, other) == worse_kind(other, one)
    assert worse_kind("unsigned", "key-revoked") == "key-revoked"
