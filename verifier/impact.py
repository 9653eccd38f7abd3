"""What a trust change touches: the narrowest description of the facts and classes that have to be judged again.

| change                                      | touched                                              | cryptography |
|---------------------------------------------|------------------------------------------------------|--------------|
| key revoked, withdrawn, removed, new window | facts verified by it, or dated by it as a source     | none         |
| identity, CA, builder, commit, log revoked  | facts that rest on it (`trust.hits`)                 | none         |
| root put, removed; CA's list                | facts that rest on its authorities and logs          | new ones     |
| key rotated                                 | both keys' facts, policies that name it              | the new key  |
| key added                                   | policies that name it                                | the new key  |
| digest or evidence revoked, withdrawn       | closures with the digest; that evidence              | none         |
| policy put, removed                         | classes the policy governs now, or governed before   | inline keys  |
| exemption put, ended                        | its digests, else its policy, else everything        | none         |
| cluster put, retired                        | classes of the cluster                               | none         |

A class is touched when any member names it. Everything else stands as it did: a property under test.

    impact = touched(before, after, record)
    if impact.needs_crypto: ...            # work for the fetcher, from stored evidence
    if impact.hits_image(closure, facts): ...
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import assert_never

from verifier.content.predicates import same_type
from verifier.evidence.x509 import ca_keys
from verifier.facts.candidates import may_say_more
from verifier.models import DigestClosure, Fact, is_undecided
from verifier.trust.hits import hits
from verifier.trust.records import (
    ClusterPut,
    ClusterRetired,
    ExemptionEnded,
    ExemptionPut,
    KeyPut,
    KeyRemoved,
    KeyRotated,
    PolicyPut,
    PolicyRemoved,
    RevocationPut,
    RevocationWithdrawn,
    RootPut,
    RootRemoved,
    StatusListPut,
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
    records: tuple[RevocationPut, ...] = ()
    """Revocations whose subject is found by looking into facts: identities, builders …"""
    anchors: frozenset[str] = frozenset()
    """Authorities and logs (by id) that a root brought, took away or gave other windows."""
    everything: bool = False
    """No narrower description: sweep every class."""
    needs_crypto: tuple[str, ...] = ()
    """Candidate keys, authorities and logs that are new, sorted: evidence that they may decide has to be checked
    against them."""
    new_rules: tuple[str, ...] = ()
    """Predicate types (URIs) of content rules that are new: attestations of these types have to be read again."""

    after: TrustState | None = field(default=None, compare=False, repr=False)
    """Trust after the change: it knows what the candidates may say more about."""

    def __bool__(self) -> bool:
        return self != NOTHING

    def hits_fact(self, fact: Fact) -> bool:
        """Does this fact stand differently now?"""
        return (
            self.everything
            or fact.evidence_id in self.evidence
            or (bool(self.key_ids) and not self.key_ids.isdisjoint(rests_on(fact)))
            or any(hits(record, fact) for record in self.records)
            or (bool(self.anchors) and not self.anchors.isdisjoint(anchors_of(fact)))
        )

    def hits_closure(self, closure: DigestClosure) -> bool:
        """Does a container of this closure run something that is denied, or no longer denied?"""
        return self.everything or not self.digests.isdisjoint((closure.running, *closure.indexes, *closure.children))

    def hits_image(self, closure: DigestClosure, facts: Iterable[Fact]) -> bool:
        """Does an image of this closure and these facts stand differently now, or may it once a new key is tried?"""
        known = tuple(facts)
        if self.hits_closure(closure) or any(map(self.hits_fact, known)):
            return True
        return self.wants_crypto(known)

    def wants_crypto(self, facts: Iterable[Fact]) -> bool:
        """Is there evidence that what is new may say more about? Everything else keeps its facts."""
        return any(
            (bool(self.needs_crypto) and self._may_say_more(fact))
            or (fact.kind == "attestation" and any(same_type(rule, fact.predicate_type) for rule in self.new_rules))
            for fact in facts
        )

    def _may_say_more(self, fact: Fact) -> bool:
        if self.after is None:
            return is_undecided(fact)
        return may_say_more(fact, self.after.candidates, self.after.anchors.material)


def outdated(facts: Iterable[Fact], trust: TrustState) -> bool:
    """Was some evidence checked under other candidates than those of `trust`, which may say more about it?"""
    keys, material = trust.candidates, trust.anchors.material
    return any(
        may_say_more(fact, keys, material) or _unread(fact, trust) for fact in facts if fact.keyset != trust.keyset_id
    )


def _unread(fact: Fact, trust: TrustState) -> bool:
    """An attestation of a type with a content rule that nobody asked about it."""
    if fact.kind != "attestation":
        return False
    known = {claim.rule for claim in fact.rules}
    return any(
        name not in known and same_type(rule.predicate_type, fact.predicate_type) for name, rule in trust.rules.items()
    )


def rests_on(fact: Fact) -> Iterator[str]:
    """Ids of everything a fact rests on: keys, authorities, logs. An index by these finds what a change touches."""
    yield from fact.verified_by
    if fact.certificate is not None and fact.chains:
        yield fact.certificate.key_id
    yield from (key_id for chain in fact.chains for key_id in chain.key_ids)
    yield from anchors_of(fact)


def anchors_of(fact: Fact) -> Iterator[str]:
    """Ids of the authorities and logs a fact rests on."""
    for chain in fact.chains:
        yield chain.authority
        yield from (sct.log for sct in chain.scts)
    yield from (claim.log for claim in fact.logs)
    for claim in fact.times:
        yield from (name for name in (claim.authority, claim.source_key) if name)


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
        case RootPut() | RootRemoved() | StatusListPut():
            return _of_roots(before, after)
        case RevocationPut():
            return NOTHING if before.revocations is after.revocations else of_revocation(record, after)
        case RevocationWithdrawn():
            if before.revocations is after.revocations:
                return NOTHING
            return of_revocation(after.revocations[record.revocation_id].record, after)
        case ExemptionPut() | ExemptionEnded():
            exemption_id = record.id if isinstance(record, ExemptionPut) else record.exemption_id
            return NOTHING if before.exemptions is after.exemptions else _of_exemption(after, exemption_id)
        case ClusterPut() | ClusterRetired():
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
    rules = sorted({rule.predicate_type for name, rule in after.rules.items() if name not in before.rules})
    return Impact(
        key_ids=flipped,
        policies=frozenset({policy_id}),
        # So do the authorities that only the text of a policy brings.
        anchors=frozenset(_differing(before.anchors.authorities, after.anchors.authorities)),
        needs_crypto=_new_candidates(before, after),
        new_rules=tuple(rules),
        after=after,
    )


def _of_keys(before: TrustState, after: TrustState) -> Impact:
    """From what differs in the ring: changed keys, and policies whose attestors now stand for other keys."""
    if before.keys is after.keys:
        return NOTHING
    changed = frozenset(key_id for key_id, key in after.keys.items() if before.keys.get(key_id) != key)
    names = {name for name, keys in after.named.items() if before.named.get(name) != keys}
    names |= before.named.keys() - after.named.keys()
    new = _new_candidates(before, after)
    return Impact(key_ids=changed, policies=_naming(after, names), needs_crypto=new, after=after)


def of_revocation(record: RevocationPut, trust: TrustState | None = None) -> Impact:
    """What a revocation touches, whether it is in force already or only asked about. Raises nothing.

    Only with `trust` are facts found that an authority dates whose CA, not its own leaf, the record is about.
    """
    hit = frozenset({record.subject})
    known = trust.anchors.material.authorities.values() if trust is not None else ()
    dating = frozenset(a.id for a in known if a.use == "timestamping" and record.subject in ca_keys(a))
    match record.subject_kind:
        case "key":
            return Impact(key_ids=hit, anchors=dating)
        case "digest":
            return Impact(digests=hit)
        case "evidence":
            return Impact(evidence=hit)
        case "ca":
            return Impact(records=(record,), anchors=dating)
        case "identity" | "builder" | "commit" | "log":
            return Impact(records=(record,))
    assert_never(record.subject_kind)


def _of_roots(before: TrustState, after: TrustState) -> Impact:
    """From what differs: authorities and logs that came, went or have another window, and policies that name a root."""
    old, new = before.anchors, after.anchors
    if old is new:
        return NOTHING
    authorities = _differing(old.authorities, new.authorities)
    logs = {name.partition(":")[2] for name in _differing(old.logs, new.logs)}
    names = _differing(old.roots, new.roots)
    issuers = frozenset(name.partition(":")[0] for name in _differing(old.lists, new.lists))
    policies = frozenset(
        policy_id
        for policy_id, entry in after.policies.items()
        if any(not names.isdisjoint(attestor.root_texts) for attestor in entry.policy.attestors.values())
    )
    return Impact(
        key_ids=issuers,  # every chain through such a CA, whatever authority it leads to
        anchors=frozenset(authorities | logs),
        policies=policies,
        needs_crypto=_new_candidates(before, after),
        after=after,
    )


def _differing(old: Mapping[str, object], new: Mapping[str, object]) -> set[str]:
    return {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}


def _of_exemption(after: TrustState, exemption_id: str) -> Impact:
    record = after.exemptions[exemption_id].record
    if record.digests:
        return Impact(digests=frozenset(record.digests))
    if record.policy:
        return Impact(policies=frozenset({record.policy}))
    return Impact(everything=True)


def _new_candidates(before: TrustState, after: TrustState) -> tuple[str, ...]:
    """Keys, authorities and logs that evidence was never checked against."""
    pairs = (
        (before.candidates, after.candidates),
        (before.anchors.material.authorities, after.anchors.material.authorities),
        (before.anchors.material.logs, after.anchors.material.logs),
    )
    return tuple(sorted(name for old, new in pairs if old is not new for name in new.keys() - old.keys()))


def _naming(state: TrustState, names: Iterable[str]) -> frozenset[str]:
    wanted = set(names)
    return frozenset(
        policy_id
        for policy_id, entry in state.policies.items()
        if any(not wanted.isdisjoint(attestor.keys) for attestor in entry.policy.attestors.values())
    )
