"""The verdict: is this image, running in this scope, trusted by this policy, as of this instant?

A pure function of evidence set, facts, policy, trust, scope and time. The steps, in order:

    1  a denied digest violates, whatever is signed
    2  every fact becomes standings: who signed which digest, proven by when, and what trust says of that key now
    3  the requirement tree is evaluated over the standings that count
    4  satisfied: valid, even when some place did not answer (presence is proof, absence is not)
    5  not satisfied, and no evidence could change that (a list leaf fails): violates
    6  not satisfied, evidence not fetched yet, or not checked against every candidate key, root or content rule:
       unverifiable, pending
    7  not satisfied, and some place did not answer: unverifiable, with that place's reason
    8  otherwise the set is complete and evaluated under this key set: violates, with the reason of each failing leaf
    9  an exemption never changes the outcome; it is named beside it
    10 the verdict says until when it holds by itself

What it refuses to do: fetch, read a clock, verify a signature again, or turn "could not tell" into pass or fail.

    verdict = verify(compiled, scope, image, trust, instant)
"""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Final

import msgspec

from verifier.canonical import stable_id
from verifier.facts.candidates import may_say_more
from verifier.models import (
    DigestClosure,
    EvidenceSet,
    Fact,
    Micros,
    Outcome,
    Reason,
    Scope,
    SignatureView,
    Standing,
    Verdict,
)
from verifier.policy.failures import LeafFailure
from verifier.policy.model import SoftUnproven
from verifier.policy.requirement import RequirementResult, could_hold, evaluate
from verifier.policy.selection import CompiledPolicy
from verifier.reasons import reason
from verifier.times import earliest, show_instant
from verifier.trust.describe import revoked_text
from verifier.trust.exemptions import covering, covering_due
from verifier.trust.revocation import counts
from verifier.trust.standing import KeyTimeline, standings
from verifier.trust.state import TrustState


class ImageEvidence(msgspec.Struct, frozen=True):
    """All that is known about one running digest in one repository; `set` is None until the fetcher has answered."""

    repository: str
    digest: str
    set: EvidenceSet | None = None
    facts: tuple[Fact, ...] = ()
    first_seen: dict[str, Micros] = {}
    problem: Reason | None = None
    """Why nothing can be asked at all (no digest, a configuration digest, an unreadable reference)."""

    @property
    def closure(self) -> DigestClosure:
        """The digest closure the evidence set was collected for; the bare digest before that."""
        return self.set.closure if self.set is not None else DigestClosure(running=self.digest)


class Decided(msgspec.Struct, frozen=True):
    """Steps 1-8 without identity and exemption: what the judge memoises across images of the same shape."""

    outcome: Outcome
    failures: tuple[LeafFailure, ...] = ()
    result: RequirementResult | None = None
    valid_until: Micros | None = None
    revocations: tuple[str, ...] = ()
    """Revocation records that decided a failing leaf (the cause a finding is filed under)."""
    why: str = ""
    """For `unverifiable`: a reason code."""


def decide(
    compiled: CompiledPolicy,
    scope: Scope,
    image: ImageEvidence,
    trust: TrustState,
    instant: Micros,
    stands: Sequence[Standing],
) -> Decided:
    """Steps 1 and 3-8 over given standings. Raises nothing."""
    policy = compiled.policy
    closure = image.closure
    # 1 a denied digest violates
    denials = trust.digest_denials((closure.running, *closure.indexes, *closure.children), instant)
    if denials:
        data = {"digest": image.digest, "reason": denials[0].reason}
        failure = LeafFailure(code="digest-denied", attestor="", data=data)
        return Decided("violates", (failure,), revocations=tuple(d.id for d in denials))
    # 3 the requirement tree
    complete = image.set is not None and image.set.complete
    result = evaluate(compiled, stands, scope, closure, trust.resolve_keys(policy), complete, instant)
    due = trust.denials_due((closure.running, *closure.indexes, *closure.children), instant)
    valid_until = earliest([due, result.valid_until, *(s.valid_until for s in stands)])
    # 4 presence is proof
    if result.satisfied:
        return Decided("valid", (), result, valid_until)
    failures = tuple(_told(f, trust) for f in result.failures)
    # 5 no evidence could change it
    revocations = tuple(dict.fromkeys(record for f in failures if f.code in _BY_REVOCATION and (record := _record(f))))
    if not could_hold(policy.require, scope, closure):
        return Decided("violates", failures, result, valid_until, revocations)
    # 6 pending work
    if image.problem is not None:
        return Decided("unverifiable", (), result, valid_until, why=image.problem.code)
    if image.set is None:
        return Decided("unverifiable", (), result, valid_until, why="evidence-pending")
    if _pending(image, trust) or any(f.code == "content-pending" for f in failures):
        return Decided("unverifiable", (), result, valid_until, why="keys-pending")
    # 7 some place did not answer
    if not complete:
        failed = next(p for p in image.set.places if p.outcome == "error")
        return Decided("unverifiable", (), result, valid_until, why=failed.code)
    # 8 complete, and evaluated under this key set
    return Decided("violates", failures, result, valid_until, revocations)


def verify(
    compiled: CompiledPolicy,
    scope: Scope,
    image: ImageEvidence,
    trust: TrustState,
    instant: Micros,
    timelines: MutableMapping[str, KeyTimeline] | None = None,
) -> Verdict:
    """The whole verdict of one governing policy, steps 1-10. Raises nothing: a failed check is a result.

    `timelines` may be any mapping the caller keeps between calls under one trust state; it only makes them quicker.
    """
    # 2 standings
    stands = standings(image.facts, image.closure, image.first_seen, trust, instant, timelines)
    decided = decide(compiled, scope, image, trust, instant, stands)
    reasons = reasons_of(decided, compiled, scope, image)
    # 9 exemptions
    exempted, until = "", decided.valid_until
    if decided.outcome == "violates":
        codes = [r.code for r in reasons]
        asked = (trust.exemptions.values(), compiled.policy.id, codes, scope, image.digest, instant)
        entry = covering(*asked)
        exempted = entry.id if entry is not None else ""
        until = earliest([until, covering_due(*asked)])
    return _verdict(compiled, scope, image, trust, instant, decided, reasons, stands, exempted, until)


def ungoverned(scope: Scope, image: ImageEvidence, trust: TrustState, instant: Micros) -> Verdict:
    """The verdict when no policy matches: facts are shown, nothing is asked."""
    stands = standings(image.facts, image.closure, image.first_seen, trust, instant)
    return Verdict(
        id=_verdict_id("", "", scope, image, trust, instant),
        policy="",
        policy_version="",
        mode="audit",
        outcome="ungoverned",
        reasons=(reason("ungoverned"),),
        signatures=_views(stands, trust, "warn"),
        exempted_by="",
        epoch=trust.epoch,
        evidence_set=image.set.version if image.set else "",
        facts=tuple(f.id for f in image.facts),
        scope=scope,
        closure=image.closure,
        instant=instant,
        valid_until=None,
    )


def verify_all(
    policies: Mapping[str, CompiledPolicy], scope: Scope, image: ImageEvidence, trust: TrustState, instant: Micros
) -> tuple[Verdict, ...]:
    """One verdict per governing policy (all must hold), or the single `ungoverned` verdict."""
    verdicts = tuple(
        verify(p, scope, image, trust, instant) for p in policies.values() if p.governs(scope, image.digest)
    )
    return verdicts or (ungoverned(scope, image, trust, instant),)


SEVERITY_OF_OUTCOME: Mapping[Outcome, int] = {"valid": 0, "ungoverned": 1, "unverifiable": 2, "violates": 3}


def worst(outcomes: Sequence[Outcome]) -> Outcome:
    """The outcome of an image under several policies: a violation beats could-not-tell beats ungoverned beats valid."""
    return max(outcomes, key=lambda o: SEVERITY_OF_OUTCOME[o], default="ungoverned")


# ---------------------------------------------------------------------------------------------- the parts


def reasons_of(decided: Decided, compiled: CompiledPolicy, scope: Scope, image: ImageEvidence) -> tuple[Reason, ...]:
    """The named reasons of a decision: what was expected, what was found."""
    policy = compiled.policy.id
    if decided.outcome == "valid" and decided.result is not None:
        code = "satisfied-by-list" if decided.result.list_only else "satisfied"
        by = ", ".join(decided.result.by)
        return (reason(code, policy, by=by), *(_leaf_reason(w, policy, scope, image) for w in decided.result.warnings))
    if decided.outcome == "violates":
        return tuple(_leaf_reason(f, policy, scope, image) for f in decided.failures)
    return (_could_not_tell(decided.why, policy, image),)


_KEY_TOKEN: Final = re.compile(r"key:([0-9a-f]{12})")
"""How the requirement tree, which knows no trust, writes a key."""


_BY_REVOCATION: Final = frozenset(
    {
        *("key-revoked", "key-revoked-time-unknown", "evidence-revoked", "key-suspended"),
        *("identity-revoked", "source-revoked"),
    }
)
"""Reasons that a revocation record decided."""

_OF_IDENTITIES: Final = frozenset({"identity", "ca", "builder", "commit", "log"})
"""Subjects of revocations that are about who or what signed, beside its key."""


def _record(failure: LeafFailure) -> str:
    """Id of the revocation behind a failure; empty when there is none."""
    standing = failure.standing
    if standing is None:
        return ""
    return standing.source_revocation if failure.code == "source-revoked" else standing.revocation


def _told(failure: LeafFailure, trust: TrustState) -> LeafFailure:
    """The failure with what only trust knows: names of keys, which revocation, since when."""
    names = {key_id[:12]: key.name for key_id, key in trust.keys.items()}
    data = {k: _KEY_TOKEN.sub(lambda m: names.get(m[1], m[0]), v) for k, v in failure.data.items()}
    code = failure.code
    entry = trust.revocations.get(_record(failure))
    if entry is not None and failure.code in _BY_REVOCATION:
        record = entry.record
        data["reason"] = record.reason
        since = record.compromised_since
        data["since"] = show_instant(record.effective if since is None else since)
        data["what"] = revoked_text(record, trust)
        if record.subject_kind == "evidence":
            code = "evidence-revoked"
        elif record.subject_kind in _OF_IDENTITIES and code not in {"key-suspended", "source-revoked"}:
            extent = "all of it" if since is None else f"compromised since {data['since']}"
            code, data["timing"] = "identity-revoked", f"{extent}; {data['timing']}" if data.get("timing") else extent
        elif code == "key-revoked":
            extent = "all signatures" if since is None else f"compromised since {data['since']}"
            data["timing"] = f"{extent}; {data['timing']}" if data.get("timing") else extent
    return LeafFailure(code, failure.attestor, data, failure.standing)


def _leaf_reason(failure: LeafFailure, policy: str, scope: Scope, image: ImageEvidence) -> Reason:
    places = "no place" if image.set is None else ", ".join(sorted({p.place for p in image.set.places})) or "no place"
    values: dict[str, object] = {
        "expected": failure.attestor or "the policy",
        "found": scope.image.repository,
        "places": places,
        "digest": image.digest,
        **failure.data,
    }
    return reason(failure.code, policy, **values)


def _could_not_tell(code: str, policy: str, image: ImageEvidence) -> Reason:
    if image.problem is not None:
        return Reason(code=image.problem.code, message=image.problem.message, policy=policy)
    place = detail = ""
    if image.set is not None:
        failed = next((p for p in image.set.places if p.outcome == "error"), None)
        if failed is not None:
            place, detail = f"{image.repository} ({failed.place})", failed.detail
    return reason(
        code, policy, digest=image.digest, place=place, detail=detail, what="evidence", found=detail, limit=""
    )


def _pending(image: ImageEvidence, trust: TrustState) -> bool:
    """A fact made before a key or root was added may still turn out good, if the new one can say more about it."""
    known, material = trust.candidates, trust.anchors.material
    return any(fact.keyset != trust.keyset_id and may_say_more(fact, known, material) for fact in image.facts)


def _views(stands: Sequence[Standing], trust: TrustState, soft: SoftUnproven) -> tuple[SignatureView, ...]:
    return tuple(
        SignatureView(
            evidence=s.evidence,
            fact=s.fact,
            format=s.format,
            kind=s.kind,
            signer=_signer(s, trust),
            key_id=s.key_id,
            status=s.state,
            counts=s.via is not None and s.kind == "signature" and counts(s.state, soft),
            via=s.via,
            time=s.time,
            time_kind=s.time_kind,
            issuer=s.certificate.issuer if s.certificate is not None else "",
            predicate_type=s.predicate_type,
        )
        for s in stands
    )


def _signer(s: Standing, trust: TrustState) -> str:
    """Who signed, for people: the name of the key, or whom the certificate was made for."""
    leaf = s.certificate
    if leaf is None or (s.key_id in trust.keys and not s.authority):
        return trust.name_of(s.key_id)
    return ", ".join(leaf.sans) or leaf.subject or f"certificate:{leaf.sha256[:12]}"


def _verdict(
    compiled: CompiledPolicy,
    scope: Scope,
    image: ImageEvidence,
    trust: TrustState,
    instant: Micros,
    decided: Decided,
    reasons: tuple[Reason, ...],
    stands: Sequence[Standing],
    exempted: str,
    until: Micros | None,
) -> Verdict:
    policy = compiled.policy
    return Verdict(
        id=_verdict_id(policy.id, policy.version, scope, image, trust, instant),
        policy=policy.id,
        policy_version=policy.version,
        mode=policy.mode,
        outcome=decided.outcome,
        reasons=reasons,
        signatures=_views(stands, trust, policy.soft_unproven),
        exempted_by=exempted,
        epoch=trust.epoch,
        evidence_set=image.set.version if image.set else "",
        facts=tuple(f.id for f in image.facts),
        scope=scope,
        closure=image.closure,
        instant=instant,
        valid_until=until,
    )


def class_id(scope: Scope, digest: str) -> str:
    """Identity of the unit that is judged: containers that share digest and everything policies can see."""
    return stable_id(
        "class", scope.cluster, scope.namespace, scope.service_account, scope.labels, str(scope.image), digest
    )


def _verdict_id(
    policy: str, version: str, scope: Scope, image: ImageEvidence, trust: TrustState, instant: Micros
) -> str:
    evidence_set = image.set.version if image.set else ""
    facts = [f.id for f in image.facts]
    return stable_id(
        "verdict", class_id(scope, image.digest), policy, version, trust.epoch, evidence_set, facts, instant
    )
