"""The top owner of a pod, computed from the pod alone.

A look-up of the ReplicaSet would need the API server, at a time when it may be gone; names tell the same:

    Deployment `web` -> ReplicaSet `web-7d4b9c6f5d` -> pod `web-7d4b9c6f5d-xxdwh`
    CronJob `settle` -> Job `settle-29472159`       -> pod `settle-29472159-q4smw`

Refuses to guess where a name could have been chosen by a person: the alphabets and ranges below are those of the
controllers, and everything that does not fit keeps its name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from streams.collectors.wire import OwnerRef
from streams.events import Owner

NAME_ALPHABET: Final = "bcdfghjklmnpqrstvwxz2456789"
"""Characters of generated names (k8s.io/apimachinery `util/rand`): no vowels, so that no words come out."""

TEMPLATE_HASH_ALPHABET: Final = "456789bcdf"
"""What `SafeEncodeString` makes of the ten digits of a template hash: digit d becomes NAME_ALPHABET[(48 + d) % 27]."""

ROLLOUT_LABELS: Final = frozenset(
    {
        "pod-template-hash",
        "rollouts-pod-template-hash",
        "controller-revision-hash",
        "pod-template-generation",
        "statefulset.kubernetes.io/pod-name",
        "apps.kubernetes.io/pod-index",
        "controller-uid",
        "batch.kubernetes.io/controller-uid",
        "job-name",
        "batch.kubernetes.io/job-name",
        "batch.kubernetes.io/job-completion-index",
    }
)
"""Labels that differ per pod or per rollout; with them no two pods would be of one class."""

ARGO_HASH_LABEL: Final = "rollouts-pod-template-hash"
"""Set by Argo Rollouts, whose ReplicaSets are named like those of a Deployment."""

_HASHED: Final = re.compile(rf"(.+)-[{TEMPLATE_HASH_ALPHABET}]{{5,10}}")
"""A hash is a 32-bit number: ten digits mostly, fewer than five once in 400,000."""

_SCHEDULED: Final = re.compile(r"(.+)-(\d{8}|\d{10})")
_MINUTES: Final = range(23_000_000, 60_000_000)
"""Suffix of a CronJob's Job since 1.21: minutes since 1970 (2013-2084). A date such as 20260101 is below."""
_SECONDS: Final = range(1_400_000_000, 2_000_000_000)
"""Suffix before 1.21: seconds since 1970."""

_SUFFIX: Final = re.compile(rf"(.+)-[{NAME_ALPHABET}]{{5}}")
_GENERATED: Final = re.compile(rf"[{NAME_ALPHABET}]{{5}}")


def _matched(pattern: re.Pattern[str], name: str) -> str:
    found = pattern.fullmatch(name)
    return found[1] if found else ""


def _cron_job(name: str) -> str:
    """The CronJob a Job's name stems from, or empty."""
    found = _SCHEDULED.fullmatch(name)
    if found and int(found[2]) in (_MINUTES if len(found[2]) == 8 else _SECONDS):
        return found[1]
    return ""


def _of_replica_set(name: str, template_hash: str, argo: bool) -> Owner:
    kind = "Rollout" if argo else "Deployment"
    if template_hash and name.endswith("-" + template_hash):  # the sure way
        return Owner(kind, name[: -len(template_hash) - 1])
    # Servers before 1.16 labelled the number and named the encoded one; a ReplicaSet of its own has neither.
    if stem := _matched(_HASHED, name):
        return Owner(kind, stem)
    return Owner("ReplicaSet", name)


def stable_labels(labels: dict[str, str] | None) -> tuple[tuple[str, str], ...]:
    """Labels that all pods of a workload share, sorted."""
    return tuple(sorted(item for item in (labels or {}).items() if item[0] not in ROLLOUT_LABELS))


def controller_of(references: Iterable[OwnerRef] | None) -> OwnerRef | None:
    """The managing owner: the one marked `controller`, else the first. None without owners."""
    first = None
    for reference in references or ():
        if reference.controller:
            return reference
        first = first or reference
    return first


def top_owner(reference: OwnerRef, template_hash: str = "", *, argo: bool = False) -> Owner:
    """The top owner behind a pod's direct owner. Kinds without a rule (StatefulSet, Node, a CRD) are their own."""
    kind, name = reference.kind or "", reference.name or ""
    if kind == "ReplicaSet":
        return _of_replica_set(name, template_hash, argo)
    if kind == "Job" and (cron_job := _cron_job(name)):
        return Owner("CronJob", cron_job)
    return Owner(kind, name)


def naked_owner(name: str, generate_name: str) -> Owner:
    """A pod without owner is its own; when the API server generated the end of its name, that end is left out."""
    stem = generate_name.rstrip("-")
    if stem and (not name or (name.startswith(generate_name[:58]) and _GENERATED.fullmatch(name[-5:]))):
        return Owner("Pod", stem)  # 58: the API server shortens the prefix so that five characters fit into 63
    return Owner("Pod", name)


def owner_of_name(name: str) -> Owner:
    """The best guess when nothing but a pod's name is known (audit level Metadata)."""
    if stem := _matched(_SUFFIX, name):
        if deployment := _matched(_HASHED, stem):
            return Owner("Deployment", deployment)
        if cron_job := _cron_job(stem):
            return Owner("CronJob", cron_job)
    return Owner("Pod", name)
