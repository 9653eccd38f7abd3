"""Exemptions: a violation that somebody accepted, for a time, with a name beside it.

An exemption never changes a verdict; it is named in `exempted_by`. It covers a verdict when it is in force, its policy
and scope match, and it covers *every* reason of the verdict: a second, uncovered reason keeps the finding open.

    covering(trust.exemptions.values(), "payments-signed", ["unsigned"], scope, digest, instant)  ->  entry or None

Three rules that cannot be configured away: at most 180 days; one that matches everything is refused; proof of
compromise (a revoked key, a forged signature, a denied digest) is covered only when its code is written out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final, NamedTuple

from verifier.models import Micros, Scope
from verifier.policy.globs import Over, compile_glob
from verifier.times import DAY
from verifier.trust.records import ExemptionPut
from verifier.trust.revocation import earliest

DEFAULT_DURATION: Final[Micros] = 30 * DAY
"""What an exemption without a stated expiry gets."""

MAX_DURATION: Final[Micros] = 180 * DAY
"""Longest time from start to expiry: an exemption is looked at twice a year or it ends."""

PROOF_OF_COMPROMISE: Final[frozenset[str]] = frozenset(
    {
        "key-revoked",
        "key-revoked-time-unknown",
        "signature-invalid",
        "subject-mismatch",
        "digest-denied",
        "evidence-revoked",
        "identity-revoked",
        "source-revoked",
        "certificate-revoked",
    }
)
"""Reason codes that an exemption covers only when it names them."""

_PROBES: Final[dict[Over, tuple[tuple[str, ...], ...]]] = {
    "image": (
        ("q.invalid/a:1", f"q.invalid/a@sha256:{'0' * 64}"),
        ("zz-9.invalid:5/b/c/d:v2", f"zz-9.invalid:5/b/c/d@sha256:{'f' * 64}"),
    ),
    "namespace": (("q",), ("zz-9",)),
    "name": (("q",), ("zz-9",)),
}
"""Unrelated things that exist nowhere, each by its names. A pattern that matches all of them leaves nothing out."""


class ExemptionEntry(NamedTuple):
    """An exemption and, when it was ended before its expiry, since when."""

    record: ExemptionPut
    epoch: int
    ended_at: Micros | None = None
    ended_epoch: int | None = None
    ended_by: str = ""

    @property
    def id(self) -> str:
        """Id of the record."""
        return self.record.id

    @property
    def starts(self) -> Micros:
        """First instant at which it covers."""
        return self.record.starts

    @property
    def expires(self) -> Micros:
        """First instant at which it no longer covers."""
        return self.record.expires

    def in_force(self, instant: Micros) -> bool:
        """Half-open [starts, expires), unless ended. Ending holds for all instants judged from then on."""
        return self.ended_epoch is None and self.starts <= instant < self.expires


def covering(
    exemptions: Iterable[ExemptionEntry],
    policy_id: str,
    reason_codes: Collection[str],
    scope: Scope,
    digest: str,
    instant: Micros,
) -> ExemptionEntry | None:
    """The exemption in force that covers all these reasons of a verdict, or None.

    Of several the one that lasts longest (then the smaller id): the finding reopens only when nothing covers it.
    """
    found: ExemptionEntry | None = None
    for entry in exemptions:
        if entry.in_force(instant) and _covers(entry.record, policy_id, reason_codes, scope, digest):
            found = entry if found is None else min(found, entry, key=lambda e: (-e.expires, e.id))
    return found


def covering_due(
    exemptions: Iterable[ExemptionEntry],
    policy_id: str,
    reason_codes: Collection[str],
    scope: Scope,
    digest: str,
    instant: Micros,
) -> Micros | None:
    """The next instant at which an exemption for this verdict starts or expires, so that `covering` may answer anew."""
    due: Micros | None = None
    for entry in exemptions:
        ahead = entry.starts if instant < entry.starts else entry.expires
        if (
            entry.ended_epoch is None
            and instant < ahead
            and _covers(entry.record, policy_id, reason_codes, scope, digest)
        ):
            due = earliest(due, ahead)
    return due


def exemption_problem(record: ExemptionPut) -> str:
    """Why no reader may honour this exemption; empty when it is sound."""
    if record.expires <= record.starts:
        return f"exemption {record.id} expires before it starts"
    if record.expires - record.starts > MAX_DURATION:
        days = -(-(record.expires - record.starts) // DAY)
        return f"exemption {record.id} lasts {days} days, at most {MAX_DURATION // DAY}"
    try:
        everything = matches_everything(record)
    except ValueError as error:
        return f"exemption {record.id} has a pattern that cannot be used: {error}"
    if everything:
        return f"exemption {record.id} matches everything; name a policy, or a scope that leaves something out"
    return ""


def matches_everything(record: ExemptionPut) -> bool:
    """No policy named, and no member of the scope leaves anything out.

    Raises:
        ValueError: a pattern is empty, too long or holds invisible characters.
    """
    universal = [[_universal(pattern, over) for pattern in patterns] for patterns, over in _patterns(record)]
    return not record.policy and not record.digests and all(any(member) or not member for member in universal)


def _patterns(record: ExemptionPut) -> tuple[tuple[tuple[str, ...], Over], ...]:
    return ((record.clusters, "name"), (record.namespaces, "namespace"), (record.images, "image"))


def _universal(pattern: str, over: Over) -> bool:
    matches = compile_glob(pattern, "native", over)
    return all(any(map(matches, names)) for names in _PROBES[over])


def _covers(record: ExemptionPut, policy_id: str, codes: Collection[str], scope: Scope, digest: str) -> bool:
    return (
        record.policy in ("", policy_id)
        and all(_covers_code(record.reasons, code) for code in codes)
        and (not record.digests or digest in record.digests)
        and _any_match(record.clusters, (scope.cluster, scope.cluster_name), "name")
        and _any_match(record.namespaces, (scope.namespace,), "namespace")
        and _any_match(record.images, _image_names(scope, digest), "image")
    )


def _covers_code(reasons: Sequence[str], code: str) -> bool:
    return code in reasons if reasons else code not in PROOF_OF_COMPROMISE


def _image_names(scope: Scope, digest: str) -> tuple[str, ...]:
    """Running images are known by digest: a pattern may match the reference of the spec or `repository@digest`."""
    return (str(scope.image), f"{scope.image.repository}@{digest}")


def _any_match(patterns: Sequence[str], names: Iterable[str], over: Over) -> bool:
    if not patterns:
        return True
    given = [name for name in names if name]
    return any(compile_glob(pattern, "native", over)(name) for pattern in patterns for name in given)
