"""What a trust change touches: the narrowest description of the facts and classes that have to be judged again.

| change                                      | touched                                              | cryptography |
|---------------------------------------------|------------------------------------------------------|--------------|
| key revoked, withdrawn, removed, new window | facts verified by it, or dated by it as a source     | none         |
| key rotated                                 | both keys' facts, policies that name it              | the new key  |
| key added                                   | policies that name it                                | the new key  |
| digest or evidence revoked, withdrawn       | closures with the digest; that evidence              | none         |
| policy put, removed                         | classes the policy governs now, or governed before   | inline keys  |
| exemption put, ended                        | its digests, else its policy, else everything        | none         |
| cluster put                                 | classes of the cluster                               | none         |

A class is touched when any member names it. Everything else stands as it did: a property under test.
(The table of verification 2.5, without what needs certificates or logs.)

    impact = touched(before, after, record)
    if impact.needs_crypto: ...            # work for the fetcher, from stored evidence
    if impact.hits_image(closure, facts): ...
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import assert_never

from verifier.models import DigestClosure, Fact
from verifier.trust.records import (
    ClusterPut,
    ExemptionEnded,
    ExemptionPut,
    KeyPut,
    KeyRemoved,
    KeyRotated,
    PolicyPut,
    PolicyRemoved,
    RevocationPut,
    RevocationWithdrawn,
    TrustRecord,
)
from verifier.trust.state import TrustState


@dataclass(frozen=True, slots=True)
class Impact:
    """Touched things, as a union: a class is judged again when one member names it. Empty: nothing changed."""

    key_ids: frozenset[str] = frozenset()
    """Facts verified by these keys, and facts dated by them as time sources."""
    digests: frozenset[str] = frozenset()
    """Classes with one of these anywhere in their closure."""
    evidence: frozenset[str] = frozenset()
    policies: frozenset[str] = frozenset()
    """Classes these policies govern, under the old or the new version."""
    clusters: frozenset[str] = frozenset()
    """Classes of these clusters (by id)."""
    everything: bool = False
    """No narrower description: sweep every class."""
    needs_crypto: tuple[str, ...] = ()
    """Candidate keys that are new, sorted: evidence that no key matched has to be checked against them."""

    def __bool__(self) -> bool:
        return self != NOTHING

    def hits_fact(self, fact: Fact) -> bool:
        """Does this fact stand differently now?"""
        return (
            self.everything
            or fact.evidence_id in self.evidence
            or any(key_id in self.key_ids for key_id in fact.verified_by)
            or any(claim.source_key in self.key_ids for claim in fact.times)
        )

    def hits_closure(self, closure: DigestClosure) -> bool:
        """Does a container of this closure run something that is denied, or no longer denied?"""
        return self.everything or not self.digests.isdisjoint((closure.running, *closure.indexes, *closure.children))

    def hits_image(self, closure: DigestClosure, facts: Iterable[Fact]) -> bool:
        """Does an image of this closure and these facts stand differently now, or may it once a new key is tried?"""
        known = tuple(facts)
        if self.hits_closure(closure) or any(map(self.hits_fact, known)):
            return True
        return bool(self.needs_crypto) and unmatched(known)


def unmatched(facts: Iterable[Fact]) -> bool:
    """Is there evidence that was read well and that no key matched so far? A new key may change its answer."""
    return any(not fact.verified_by and not fact.problem for fact in facts)


NOTHING = Impact()


def touched(before: TrustState, after: TrustState, record: TrustRecord) -> Impact:
    """What has to be judged again after `record` led from `before` to `after`; nothing when it was ignored.

    Raises nothing.
    """
    match record:
        case PolicyPut() | PolicyRemoved():
            policy_id = record.policy.id if isinstance(record, PolicyPut) else record.policy_id
            return _of_policy(before, after, policy_id)
        case KeyPut() | KeyRotated() | KeyRemoved():
            return _of_keys(before, after)
        case RevocationPut():
            return NOTHING if before.revocations is after.revocations else _of_revocation(record)
        case RevocationWithdrawn():
            if before.revocations is after.revocations:
                return NOTHING
            return _of_revocation(after.revocations[record.revocation_id].record)
        case ExemptionPut() | ExemptionEnded():
            exemption_id = record.id if isinstance(record, ExemptionPut) else record.exemption_id
            return NOTHING if before.exemptions is after.exemptions else _of_exemption(after, exemption_id)
        case ClusterPut():
            same = before.clusters is after.clusters
            return NOTHING if same else Impact(clusters=frozenset({record.cluster_id}))
    assert_never(record)


def _of_policy(before: TrustState, after: TrustState, policy_id: str) -> Impact:
    if before.policies is after.policies:
        return NOTHING
    versions = [state.policies[policy_id] for state in (before, after) if policy_id in state.policies]
    inline = {key_id for entry in versions for key_id in entry.inline}
    # A key known only from policies stands or falls with them.
    flipped = frozenset(key_id for key_id in inline if before.authorised(key_id) != after.authorised(key_id))
    return Impact(key_ids=flipped, policies=frozenset({policy_id}), needs_crypto=_new_candidates(before, after))


def _of_keys(before: TrustState, after: TrustState) -> Impact:
    """From what differs in the ring: changed keys, and policies whose attestors now stand for other keys."""
    if before.keys is after.keys:
        return NOTHING
    changed = frozenset(key_id for key_id, key in after.keys.items() if before.keys.get(key_id) != key)
    names = {name for name, keys in after.named.items() if before.named.get(name) != keys}
    names |= before.named.keys() - after.named.keys()
    return Impact(key_ids=changed, policies=_naming(after, names), needs_crypto=_new_candidates(before, after))


def _of_revocation(record: RevocationPut) -> Impact:
    hit = frozenset({record.subject})
    match record.subject_kind:
        case "key":
            return Impact(key_ids=hit)
        case "digest":
            return Impact(digests=hit)
        case "evidence":
            return Impact(evidence=hit)
    assert_never(record.subject_kind)


def _of_exemption(after: TrustState, exemption_id: str) -> Impact:
    record = after.exemptions[exemption_id].record
    if record.digests:
        return Impact(digests=frozenset(record.digests))
    if record.policy:
        return Impact(policies=frozenset({record.policy}))
    return Impact(everything=True)


def _new_candidates(before: TrustState, after: TrustState) -> tuple[str, ...]:
    return tuple(sorted(after.candidates.keys() - before.candidates.keys()))


def _naming(state: TrustState, names: Iterable[str]) -> frozenset[str]:
    wanted = set(names)
    return frozenset(
        policy_id
        for policy_id, entry in state.policies.items()
        if any(not wanted.isdisjoint(attestor.keys) for attestor in entry.policy.attestors.values())
    )
