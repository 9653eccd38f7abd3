"""What a finding is called, how bad it is, which incident it belongs to, and its sentence. Looks nothing up.

    code     = finding_code_for(reason.code for reason in verdict.reasons)
    severity = severity_of(code, cluster_labels)
    key      = incident_of(code, cluster=…, namespace=…, …, cause=cause, detail=detail)
    message  = sentence_of(code, {"image": …, "policy": …})

The rows themselves stand in `alerting.table`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

from alerting.models import Cause, Finding, Severity
from alerting.table import FINDINGS, REASON_FINDINGS, SEVERITIES, FindingRow, SubjectRule
from alerting.text import short_digest
from verifier.canonical import stable_id

__all__ = [
    "CAUSE_KINDS",
    "CODE_PRECEDENCE",
    "FINDINGS",
    "REASON_FINDINGS",
    "ROOT_CAUSE",
    "SEVERITIES",
    "FindingRow",
    "IncidentKey",
    "environment_of",
    "finding_code_for",
    "incident_of",
    "message_of",
    "sentence_of",
    "severity_of",
    "severity_rank",
    "worse_kind",
]


class IncidentKey(NamedTuple):
    """Which incident a finding belongs to."""

    id: str
    kind: str
    """Finding code, or `policy-changed` / `baseline` when that is the cause."""
    subject: str
    """What the incident is about, for people; holds untrusted text."""


CODE_PRECEDENCE: Final = (
    "digest-denied", "key-revoked", "identity-revoked", "signature-invalid",
    "attestation-violates", "wrong-signer", "untrusted-registry", "unsigned", "attestation-missing", "expired",
)  # fmt: skip
"""Proof of compromise first; then the more severe, and of those what is wrong before what is missing."""

_KIND_RANK: Final = {code: rank for rank, code in enumerate(FINDINGS)}

_ENVIRONMENT_LABELS: Final = ("env", "environment")
_ENVIRONMENT_STEP: Final = {"prod": 1, "production": 1, "sandbox": -1}

CAUSE_KINDS: Final = {"policy-change": "policy-changed", "baseline-policy": "baseline", "baseline-cluster": "baseline"}
"""Incident kind where the cause, not the finding, says what the incident is. A revocation keeps the finding's code. A
changed trust root is a policy change whose cause id begins with `ROOT_CAUSE`."""

ROOT_CAUSE: Final = "root:"
"""`root:NAME@EPOCH`: the cause id of a trust root that was narrowed, replaced or taken away at that trust epoch."""


def finding_code_for(reason_codes: Iterable[str]) -> str | None:
    """The finding a `violates` verdict with these reasons becomes; None when none of them argues for a violation."""
    found = {REASON_FINDINGS[code] for code in reason_codes if code in REASON_FINDINGS}
    return next((code for code in CODE_PRECEDENCE if code in found), None)


def severity_of(
    code: str, cluster_labels: Mapping[str, str] | Iterable[tuple[str, str]] = (), cause: Cause | None = None
) -> Severity:
    """Severity of a finding: the default of its row (of its cause's row for policy changes and baselines), moved by the
    cluster's label `env` or `environment`: `prod`, `production` one up, `sandbox` one down, within info … critical.

    Raises:
        KeyError: the code has no row.
    """
    row = FINDINGS[_kind_of(code, cause or Cause())]
    labels = dict(cluster_labels)
    rank = SEVERITIES.index(row.severity) + _ENVIRONMENT_STEP.get(environment_of(labels).lower(), 0)
    return SEVERITIES[max(0, min(rank, len(SEVERITIES) - 1))]


def environment_of(labels: Mapping[str, str]) -> str:
    """What the labels of a cluster call its environment (`env`, else `environment`); empty when neither is there."""
    return next((labels[name] for name in _ENVIRONMENT_LABELS if name in labels), "")


def severity_rank(severity: Severity) -> int:
    """0 for `info` … 4 for `critical`."""
    return SEVERITIES.index(severity)


def worse_kind(one: str, other: str) -> str:
    """Of two incident kinds the one that stands first in the table; unknown kinds last."""
    last = len(_KIND_RANK)
    return min((one, other), key=lambda kind: (_KIND_RANK.get(kind, last), kind))


def incident_of(
    code: str,
    *,
    cluster: str,
    namespace: str,
    owner_kind: str,
    owner_name: str,
    policy: str,
    policy_version: str,
    repository: str,
    digest: str,
    cause: Cause,
    detail: tuple[tuple[str, str], ...] = (),
) -> IncidentKey:
    """The incident a finding belongs to: its cause when there is one, else the subject rule of its row.

    A revocation always wins. A policy change (a changed trust root among them) and a baseline win unless the finding is
    proof of compromise: that is told on its own. A finding of a revoked thing without a cause (a pod that starts after
    the revocation) names the thing in its detail `revoked`, as a cause would (`key:<id>`, `identity:<JSON>`), and so
    meets the revocation's incident.

    Raises:
        KeyError: the code has no row.
    """
    row = FINDINGS[code]
    kind = _kind_of(code, cause)
    if cause.kind == "revocation" or (cause.kind in CAUSE_KINDS and not row.proof_of_compromise):
        return IncidentKey(stable_id("incident", cause.kind, [cause.id]), kind, cause.id)
    facts = {
        "code": code, "cluster": cluster, "namespace": namespace, "owner_kind": owner_kind, "owner_name": owner_name,
        "policy": policy, "policy_version": policy_version, "repository": repository, "digest": digest, **dict(detail),
    }  # fmt: skip
    family, subject = _SUBJECTS[row.subject](facts)
    return IncidentKey(stable_id("incident", family, list(subject)), kind, " ".join(subject))


def sentence_of(code: str, values: Mapping[str, str]) -> str:
    """The sentence of a finding; a value nobody gave reads `unknown`. The result holds untrusted text.

    Raises:
        KeyError: the code has no row.
    """
    return FINDINGS[code].sentence.format_map(_Known(values))


def message_of(finding: Finding) -> str:
    """The sentence of a finding, from its own fields and details."""
    values = {
        "workload": f"{finding.namespace}/{finding.owner_kind}/{finding.owner_name}", "cluster": finding.cluster,
        "namespace": finding.namespace, "container": finding.container, "image": finding.image,

        "repository": finding.repository,
        "digest": short_digest(finding.digest), "policy": finding.policy, "policy_version": finding.policy_version[:12],
    }  # fmt: skip
    return sentence_of(finding.code, {**values, **dict(finding.detail)})


class _Known(dict[str, str]):
    """Values by name; one that is missing or empty reads `unknown`."""

    def __getitem__(self, key: str) -> str:
        return self.get(key) or "unknown"

    def __missing__(self, key: str) -> str:
        return "unknown"


def _kind_of(code: str, cause: Cause) -> str:
    if FINDINGS[code].proof_of_compromise:
        return code
    return CAUSE_KINDS.get(cause.kind, code)


_Subject = Callable[[Mapping[str, str]], tuple[str, tuple[str, ...]]]


def _named(*names: str) -> _Subject:
    return lambda facts: (facts["code"], tuple(facts.get(name, "") for name in names))


def _revoked_thing(facts: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    """The revoked thing as the detail names it; a denied digest is its own name; else the policy and repository."""
    if not facts.get("revoked") and facts["code"] != "digest-denied":
        return facts["code"], (facts["policy"], facts["repository"])
    return "revocation", (facts.get("revoked") or f"digest:{facts['digest']}",)


_SUBJECTS: Final[dict[SubjectRule, _Subject]] = {
    "revoked-thing": _revoked_thing,
    "policy-version": lambda facts: ("policy-change", (f"{facts['policy']}@{facts['policy_version']}",)),
    "digest": _named("digest"),
    "policy-repository": _named("policy", "repository"),
    "workload": _named("cluster", "namespace", "owner_kind", "owner_name"),
    "cluster-webhook": _named("cluster", "webhook"),
    "expiring-thing": _named("expiring"),
    "baseline": lambda facts: ("baseline-policy", (facts["policy"],)),
    "repository-identity": _named("repository", "signer"),
    "component": _named("component"),
    "audit-feed": _named("component"),
}
"""Subject rule -> (family of the id, parts of the subject). The parts stay apart in the id: no name can imitate two."""
