"""Is this signature an attestor's, and does it bring what the attestor demands beside a good signature?

    is_signer(standing, attestor, ids)              the key, authority and identity are the attestor's
    unmet_demand(standing, attestor, ids, instant)  None, or the first demand it misses
    demands_due(standing, attestor, ids, instant)   when that may change by itself

| attestor     | whose                                           | demands                                            |
|--------------|-------------------------------------------------|----------------------------------------------------|
| keys         | one of its keys                                 | a log entry, if asked for                          |
| keyless      | authority of its roots, one of its identities   | an attested time, log entry, SCT (unless optional) |
| certificates | authority of its roots, identity or fingerprint | log entry, timestamp, SCT, if asked for            |
| notary       | authority of a store of the scheme, identity    | the five validations of its level                  |
| openpgp      | a key of its rings, or the fingerprints named   | none                                               |
| trustData    | a pinned root key                               | every delegation asked for                         |

`ids` are those of `TrustState.resolve_keys`. Window, revocation and expiry were judged before, by `verifier.trust`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import lru_cache
from typing import Final, NamedTuple

from verifier.content.evaluate import rule_id
from verifier.content.predicates import predicate_uri
from verifier.evidence.crl import RevocationStatus
from verifier.models import LeafCertificate, ListStatus, Micros, Standing
from verifier.policy import notary
from verifier.policy.attestors import Attestor, Certificates, Demand, Keyless, Notary, TrustData
from verifier.policy.identity import Identity, matches
from verifier.policy.model import Requirement
from verifier.times import show_instant

_RULES_CACHED: Final = 1_024
"""Compiled Notary rules kept; one per attestor."""

_STORE_OF_SCHEME: Final = {"notary.x509": "ca", "notary.x509.signingAuthority": "signingAuthority"}


class Unmet(NamedTuple):
    """A demand that is not met: a reason code, and values for its sentence."""

    code: str
    data: dict[str, str]
    valid_until: Micros | None = None


def is_signer(s: Standing, attestor: Attestor, ids: Collection[str]) -> bool:
    """Was this made by the attestor? A bare key never stands for a certificate, nor the reverse. Raises nothing."""
    if attestor.keys:
        return s.authority == "" and s.key_id != "" and s.key_id in ids
    if not s.authority:
        return False
    if attestor.notary is not None:
        return _is_notary(s, attestor.notary, ids)
    if s.authority not in ids or s.scheme:
        return False
    if s.certificate is None:  # of an OpenPGP attestor's fingerprints, `ids` has only those
        return attestor.openpgp is not None or attestor.trust_data is not None
    if attestor.keyless is not None:
        return _has_identity(attestor.keyless.identities, s.certificate)
    return attestor.certificates is not None and _is_certified(attestor.certificates, s.certificate)


def _has_identity(identities: Collection[Identity], leaf: LeafCertificate) -> bool:
    return any(matches(identity, leaf) for identity in identities)


def _is_certified(wanted: Certificates, leaf: LeafCertificate) -> bool:
    if wanted.fingerprints and leaf.sha256 not in wanted.fingerprints:
        return False
    return not wanted.identities or _has_identity(wanted.identities, leaf)


def _is_notary(s: Standing, wanted: Notary, ids: Collection[str]) -> bool:
    store = _STORE_OF_SCHEME.get(s.scheme)
    if store is None or s.certificate is None or f"{store}:{s.authority}" not in ids:
        return False
    subject = s.certificate.subject
    return any(identity.any or _has_subject(identity, subject) for identity in notary_rules(wanted).identities)


def _has_subject(identity: notary.TrustedIdentity, subject: str) -> bool:
    try:
        return identity.matches(notary.parse_subject(subject))
    except ValueError:
        return False  # a name that cannot be compared is nobody's


def unmet_demand(s: Standing, attestor: Attestor, ids: Collection[str], instant: Micros) -> Unmet | None:
    """The first demand of the attestor that this signature, which is its, misses. Raises nothing."""
    if attestor.keys:
        return _logged(s, attestor.log)
    kinds: tuple[tuple[object, Callable[[], Unmet | None]], ...] = (
        (attestor.keyless, lambda: _keyless(s, attestor.keyless)),
        (attestor.certificates, lambda: _certificates(s, attestor.certificates)),
        (attestor.notary, lambda: _notary(s, attestor.notary, ids, instant)),
        (attestor.trust_data, lambda: _delegated(s, attestor.trust_data)),
    )
    return next((check() for kind, check in kinds if kind is not None), None)


def demands_due(s: Standing, attestor: Attestor, ids: Collection[str], instant: Micros) -> Micros | None:
    """The next instant at which `unmet_demand` may answer otherwise by itself; None: never. Raises nothing.

    Chains and expiry are judged with the trust state, and wake it; those of Notary Project signatures are judged here.
    """
    if attestor.notary is None or s.chain is None or s.certificate is None:
        return None
    return _notary_judgement(s, attestor.notary, ids, instant).valid_until


def _logged(s: Standing, demand: Demand) -> Unmet | None:
    return None if demand == "optional" or s.logs else Unmet("log-entry-missing", {"found": _unknown(s, "log")})


def _certified(s: Standing, demand: Demand) -> Unmet | None:
    return None if demand == "optional" or s.scts else Unmet("sct-missing", {})


def _stamped(s: Standing, source: str = "") -> Unmet | None:
    """Is there an attested time that is accepted, of this kind of source if one is named?"""
    found = any(not source or claim.source == source for claim in s.attested)
    return None if found else Unmet("time-unproven", {"found": _unknown(s, "timestamp")})


def _keyless(s: Standing, wanted: Keyless | None) -> Unmet | None:
    if wanted is None:
        return None
    return _stamped(s) or _logged(s, wanted.log) or _certified(s, wanted.sct)


def _certificates(s: Standing, wanted: Certificates | None) -> Unmet | None:
    if wanted is None:
        return None
    stamped = _stamped(s, "tsa") if wanted.timestamp == "required" else None
    return stamped or _logged(s, wanted.log) or _certified(s, wanted.sct)


def _unknown(s: Standing, what: str) -> str:
    """What is there and could not be decided, for the sentence."""
    found = [name for name in s.undecided if name.startswith(what)]
    return f"only of an unknown source ({', '.join(found)})" if found else "none"


def _notary_judgement(s: Standing, wanted: Notary, ids: Collection[str], instant: Micros) -> notary.NotaryJudgement:
    """The five validations, with the times of the stores that the attestor names and no others.

    An invalidity date may be compared with such a time only: a token of somebody else's store saves no certificate.
    """
    window = (s.chain.valid_from, s.chain.valid_until) if s.chain is not None else (1, 0)
    times = tuple(t for t in s.attested if t.source != "tsa" or f"tsa:{t.authority}" in ids)
    specification, notation = s.list_status or (ListStatus("good"), ListStatus("good"))
    status = notation if wanted.revocation_mode == "notation" or not times else specification
    signature = notary.NotarySignature(
        good=True,
        scheme=s.scheme,
        subject=s.certificate.subject if s.certificate is not None else "",
        windows=(window,),
        untrusted_window=window,
        times=times,
        expires=s.expires,
        revocation=RevocationStatus(status.state, status.detail, valid_until=status.valid_until),
    )
    return notary.judge(notary_rules(wanted), signature, instant)


def _notary(s: Standing, wanted: Notary | None, ids: Collection[str], instant: Micros) -> Unmet | None:
    if wanted is None:
        return None
    judged = _notary_judgement(s, wanted, ids, instant)
    if judged.ok:
        return None
    failure = judged.failures[0]
    return Unmet(NOTARY_CODES[failure.validation], {"detail": failure.sentence}, judged.valid_until)


@lru_cache(maxsize=_RULES_CACHED)
def _compiled(
    level: str, override: tuple[tuple[str, str], ...], identities: tuple[str, ...], timestamped: bool, when: str
) -> notary.NotaryRules:
    return notary.NotaryRules(
        actions=notary.actions_of(level, dict(override)),
        identities=tuple(notary.parse_trusted_identity(text) for text in identities),
        timestamped=timestamped,
        verify_timestamp="always" if when == "always" else "afterCertExpiry",
    )


def notary_rules(wanted: Notary) -> notary.NotaryRules:
    """What a Notary attestor asks, compiled."""
    timestamped = any(store.startswith("tsa:") for store in wanted.stores)
    override = tuple(sorted(wanted.override.items()))
    return _compiled(wanted.level, override, wanted.identities, timestamped, wanted.verify_timestamp)


NOTARY_CODES: Final = {
    "integrity": "signature-invalid",
    "authenticity": "wrong-signer",
    "authenticTimestamp": "outside-certificate-window",
    "expiry": "signature-expired",
    "revocation": "certificate-revoked",
}
"""Reason codes of the five validations of the Notary Project's trust policy."""


def _delegated(s: Standing, wanted: TrustData | None) -> Unmet | None:
    roles = {name for name, _ in s.annotations}
    missing = [role for role in (wanted.delegations if wanted is not None else ()) if f"role:{role}" not in roles]
    return Unmet("delegation-missing", {"expected": ", ".join(missing)}) if missing else None


# ----------------------------------------------------------------------------------------------------------- content


class ContentShortfall(NamedTuple):
    """What an attestation's content lacks; `code` is empty when the rule holds."""

    code: str = ""
    detail: str = ""
    valid_until: Micros | None = None
    """The answer changes by itself at this instant: the statement gets too old, an exception ends."""


HOLDS: Final = ContentShortfall()


def content_shortfall(s: Standing, leaf: Requirement, instant: Micros) -> ContentShortfall:
    """Does the leaf's rule hold for this attestation, as it was evaluated when the evidence was verified?

    A rule that was not evaluated yet (the policy is newer than the facts) is `content-pending`.
    """
    if leaf.rule is None:
        return HOLDS
    wanted = rule_id(leaf.rule, (predicate_uri(leaf.predicate_type),))
    claim = next((claim for claim in s.rules if claim.rule == wanted), None)
    if claim is None:
        return ContentShortfall("content-pending", "not evaluated yet")
    if not claim.holds:
        return ContentShortfall("attestation-violates", claim.detail)
    ends = [claim.until] if claim.until is not None else []
    if claim.time is not None and claim.max_age is not None:
        ends.append(claim.time + claim.max_age)
    last = min(ends, default=None)
    if last is None:
        return HOLDS
    if instant > last:
        return ContentShortfall("attestation-stale", f"it counted until {show_instant(last)}")
    return ContentShortfall(valid_until=last + 1)
