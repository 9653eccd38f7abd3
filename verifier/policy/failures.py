"""Why a leaf is not met: the closest candidate, and every value its sentence in `verifier.reasons` needs.

Of several candidates the nearest names the leaf's reason: it says what would have to be different for the leaf to hold.
Nothing is decided here; `verifier.policy.requirement` has decided already.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

import msgspec

from verifier.models import DigestClosure, LeafCertificate, Micros, Scope, SignatureState, Standing
from verifier.policy.attestors import Attestor
from verifier.policy.identity import show_identity
from verifier.policy.model import Requirement
from verifier.policy.signers import content_shortfall, is_signer, unmet_demand
from verifier.times import show_instant


class LeafFailure(msgspec.Struct, frozen=True):
    """Why one leaf is not met. `data` fills the sentence of `code` in `verifier.reasons` (places and digest apart)."""

    code: str
    attestor: str
    data: dict[str, str]
    standing: Standing | None = None
    """The closest candidate, from which a caller that knows trust can say more (since when, by which revocation)."""


class LeafCase(NamedTuple):
    """A leaf that names an attestor, and what it is judged over."""

    leaf: Requirement
    signer: str
    attestor: Attestor
    ids: Collection[str]
    scope: Scope
    closure: DigestClosure
    instant: Micros


NOT_READ: Final = frozenset({"unsupported-evidence", "limit-exceeded"})
"""Evidence of a kind this version does not read may be a sound signature by somebody else: no sign of tampering."""

BY_SOURCES: Final = frozenset({"log-entry-missing", "sct-missing", "time-unproven"})
"""Demands that fail when a log or a timestamp authority is revoked."""

_CODE_OF: Final[dict[SignatureState, str]] = {
    "retired-late": "retired-key",
    "retired-unproven": "retired-key",
    "outside-window": "outside-key-window",
    "expired": "signature-expired",
    "suspended": "key-suspended",
    "not-authorised": "key-removed",
    "revoked-time-unknown": "key-revoked-time-unknown",
    "revoked": "key-revoked",
    "subject-mismatch": "subject-mismatch",
    "unknown-key": "wrong-signer",
}
"""Reason code of a state that does not count."""

CLOSENESS: Final = (
    "content-pending",
    "attestation-stale",
    "attestation-violates",
    "annotation-mismatch",
    "repository-mismatch",
    "delegation-missing",
    "sct-missing",
    "log-entry-missing",
    "time-unproven",
    "source-revoked",
    "outside-key-window",
    "outside-certificate-window",
    "signature-expired",
    "retired-key",
    "key-suspended",
    "certificate-revoked",
    "key-revoked-time-unknown",
    "key-revoked",
    "key-removed",
    "subject-mismatch",
    "signature-invalid",
    "wrong-signer",
    "invalid-of-others",
    "attestation-only",
)
"""What a candidate misses, nearest first. `invalid-of-others` is `signature-invalid` by no key of the attestor."""


def code_of(s: Standing) -> str:
    """Reason code of a standing whose state does not count."""
    if s.authority:
        if s.state == "outside-window":
            # What dated it no longer counts: say why, not only that nothing does.
            return "source-revoked" if s.source_revocation and not s.attested else "outside-certificate-window"
        if s.state == "revoked" and not s.revocation:
            return "certificate-revoked"
    return _CODE_OF[s.state]


def closest(case: LeafCase, judged: Sequence[tuple[Standing, str]]) -> LeafFailure:
    """The failure of the leaf: that of its nearest candidate, or that there is none."""
    absent = "unsigned" if case.leaf.attested_by is None else "attestation-missing"
    if not judged:
        data = {"expected": expected(case), "type": case.leaf.predicate_type, "found": "none"}
        return LeafFailure(absent, case.signer, data)
    nearest, code = min(judged, key=lambda pair: (CLOSENESS.index(pair[1]), *_cause(pair[0]), *order(pair[0])))
    found = _found([s for s, other in judged if other == code], code)
    if case.leaf.attested_by is not None and code in {"wrong-signer", "invalid-of-others"}:
        code = "attestation-missing"
    return leaf_failure("signature-invalid" if code == "invalid-of-others" else code, case, nearest, found)


def order(s: Standing) -> tuple[str, ...]:
    """Decides between equals, so that the order in which evidence was found cannot be seen."""
    return s.evidence, s.key_id, s.authority, s.kind, s.state


def _cause(s: Standing) -> tuple[bool, str, str]:
    """Of two that miss the same, the one that was revoked: what is named as the cause must not hang on an id."""
    return not (s.revocation or s.source_revocation), s.revocation, s.source_revocation


def _found(same: Sequence[Standing], code: str) -> str:
    """All candidates that miss the same, for the sentence."""
    if code == "attestation-only":
        return ", ".join(sorted({s.predicate_type or "no predicate type" for s in same}))
    return ", ".join(sorted({key_text(s) for s in same}))


def leaf_failure(code: str, case: LeafCase, s: Standing, found: str = "") -> LeafFailure:
    """The failure with every value its sentence needs. What only trust knows (since when) is given by record id."""
    since = f"the time in revocation {s.revocation}" if s.revocation else "an earlier time"
    specific = _specific(case, s)
    signer = person(s.certificate) if s.certificate is not None and s.authority else case.signer
    data = {
        "expected": expected(case),
        "found": found,
        "signer": signer,
        "since": since,
        "retired": since,
        "type": case.leaf.predicate_type,
    }
    return LeafFailure(code, case.signer, {**data, **specific.get(code, {})}, s)


def _specific(case: LeafCase, s: Standing) -> dict[str, dict[str, str]]:
    signed, wanted = dict(s.annotations), sorted(case.leaf.annotations.items())
    name, value = next(((k, v) for k, v in wanted if signed.get(k) != v), ("", ""))
    content = content_shortfall(s, case.leaf, case.instant)
    window = _window_text(case.attestor) if s.state != "outside-window" else "(the key's own)"
    specific = {
        "annotation-mismatch": {"annotation": name, "expected": value, "found": signed.get(name, "not there")},
        "repository-mismatch": {
            "found": "another one" if s.repository_claim is False else "none at all",
            "expected": case.scope.image.repository,
        },
        "subject-mismatch": {"found": "another image", "expected": case.closure.running},
        "signature-invalid": {
            "claimed": case.signer if _is_ours(case, s) else key_text(s),
            "detail": s.problem or "the signature does not fit the signed bytes",
        },
        "outside-key-window": {"window": window},
        "outside-certificate-window": {"window": _chain_text(s), "timing": _timing(s)},
        "signature-expired": {"until": show_instant(s.expires) if s.expires is not None else "an earlier time"},
        "key-revoked": {"reason": s.revocation or "revoked", "timing": _timing(s)},
        "certificate-revoked": {"detail": "its CA's revocation list names it"},
        "attestation-violates": {"detail": content.detail},
        "attestation-stale": {"detail": content.detail},
    }
    for code, values in _of_demand(case, s).items():
        specific[code] = {**specific.get(code, {}), **values}
    return specific


def _of_demand(case: LeafCase, s: Standing) -> dict[str, dict[str, str]]:
    unmet = unmet_demand(s, case.attestor, case.ids, case.instant) if _is_ours(case, s) else None
    return {unmet.code: {"window": _chain_text(s), "timing": _timing(s), **unmet.data}} if unmet is not None else {}


def _is_ours(case: LeafCase, s: Standing) -> bool:
    return is_signer(s, case.attestor, case.ids)


def expected(case: LeafCase) -> str:
    """The attestor, who it is where the policy says so, and the annotations asked for."""
    annotations = ", ".join(f"{key}={value}" for key, value in sorted(case.leaf.annotations.items()))
    identities = _identities(case.attestor)
    text = f"{case.signer} ({identities})" if identities else case.signer
    return f"{text} with {annotations}" if annotations else text


def _identities(attestor: Attestor) -> str:
    for kind in (attestor.keyless, attestor.certificates):
        if kind is not None:
            return " or ".join(show_identity(identity) for identity in kind.identities[:3])
    return ", ".join(attestor.notary.identities[:3]) if attestor.notary is not None else ""


def person(leaf: LeafCertificate) -> str:
    """A certificate's holder for people."""
    name = ", ".join(leaf.sans) or leaf.subject or f"certificate:{leaf.sha256[:12]}"
    return f"{name} ({leaf.issuer})" if leaf.issuer else name


def key_text(s: Standing) -> str:
    """A signer that the requirement tree knows by key or certificate only."""
    if s.problem in NOT_READ:
        return "evidence of a kind that is not read"
    if s.certificate is not None:
        return person(s.certificate) + ("" if s.authority else ", of an authority that is not known here")
    return f"key:{s.key_id[:12]}" if s.key_id else "an unknown key"


def _timing(s: Standing) -> str:
    if s.time is None:
        return "nothing proves when this signature was made"
    return f"the earliest proof of the signature is of {show_instant(s.time)} ({s.time_kind})"


def _chain_text(s: Standing) -> str:
    if s.chain is None:
        return "(unknown)"
    return f"from {show_instant(s.chain.valid_from)} until {show_instant(s.chain.valid_until)}"


def _window_text(attestor: Attestor) -> str:
    start = "any time" if attestor.valid_from is None else show_instant(attestor.valid_from)
    end = "any time" if attestor.valid_until is None else show_instant(attestor.valid_until)
    return f"from {start} until {end}"
