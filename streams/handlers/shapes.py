"""Shapes: what of a fact can change an answer, as one small number, so that equal facts are judged once.

A keyed signature has few shapes: its keys, what it covers, how trust sees each key at its proven time. A signature with
a certificate, a log entry or a timestamp (a *rich* fact) is nearly always one of its kind: its own key, serial, commit
and times. Yet policies and trust see little of that:

    1  what they can name: identity, authorities, logs, sources, annotations, rules      a number, once per fact
    2  how its instants lie among themselves                                             part of that number
    3  where each instant lies among those of trust (windows, compromises, rotations)    a rank, once per trust epoch
    4  what is singled out: this certificate, commit, builder, log index, extension      nearly always nothing

Two facts that agree in these get one answer: every comparison the verifier makes is among the instants of 2 and 3, and
an instant not yet past (it may be the answer's own end) is kept as it is. What this cannot say in a few
numbers, Notary Project signatures and chains while CAs' revocation lists are in trust, is judged one by one.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from streams.state import ShardState
from verifier.models import Fact, Micros
from verifier.policy.identity import Identity
from verifier.trust.hits import builders, commits, hits, identity_of
from verifier.trust.records import RevocationPut
from verifier.trust.revocation import rule_of
from verifier.trust.standing import repository_claim
from verifier.trust.state import TrustState
from verifier.verify import ImageEvidence

_NEVER: Final = -1
"""Stands for an instant that a fact does not have; real ones are positive."""


class RichShape(NamedTuple):
    """What of a rich fact no trust change touches."""

    instants: tuple[Micros, ...]
    """Everything that may be compared with an instant of trust, always in the same order for one static part."""
    fact: Fact


def is_rich(fact: Fact) -> bool:
    """Does more than keys and revet's own first sight of it decide how the fact stands?"""
    proven = fact.chains or fact.logs or fact.times or fact.certificate or fact.expires is not None
    return bool(proven or fact.rules or fact.builder or fact.commits)


def plain_part(fact: Fact, evidence: ImageEvidence) -> tuple[object, ...]:
    """What policies can see of any fact, times apart."""
    covers = tuple(sorted({evidence.closure.via(d) or "" for d in fact.subjects}))
    hint = "" if fact.verified_by else fact.key_hint
    return (
        fact.kind, fact.format, fact.verified_by, covers, fact.annotations, repository_claim(fact), fact.problem, hint,
        fact.predicate_type,
    )  # fmt: skip


def rich_part(fact: Fact, first_seen: Micros | None) -> tuple[tuple[object, ...], RichShape]:
    """What policies and trust can see of a rich fact beyond the plain part, and its instants."""
    instants = tuple(_NEVER if t is None else t for t in _instants(fact, first_seen))
    places = {t: n for n, t in enumerate(sorted(set(instants)))}
    leaf = fact.certificate
    who: tuple[object, ...] = ()
    if leaf is not None:
        who = (leaf.issuer, leaf.sans, leaf.subject, "" if leaf.sans or leaf.subject else leaf.key_id)
    seen = (
        who,
        fact.scheme,
        fact.undecided,
        tuple((c.authority, c.key_ids, bool(c.revocable), tuple(s.log for s in c.scts)) for c in fact.chains),
        tuple((e.log, e.kind, e.included, e.promised) for e in fact.logs),
        tuple((t.source, t.kind, t.source_key, t.authority) for t in fact.times),
        tuple((r.rule, r.holds) for r in fact.rules),
        tuple(places[t] for t in instants),
    )
    return seen, RichShape(instants, fact)


def _instants(fact: Fact, first_seen: Micros | None) -> Iterator[Micros | None]:
    yield first_seen
    yield fact.expires
    for chain in fact.chains:
        yield from (chain.valid_from, chain.valid_until, *(sct.time for sct in chain.scts))
    for claim in fact.times:
        yield from (claim.time, claim.time - claim.accuracy)
    yield from (entry.time for entry in fact.logs)
    for rule in fact.rules:
        yield rule.until
        yield None if rule.time is None or rule.max_age is None else rule.time + rule.max_age


class TrustShape:
    """What of trust tells rich facts apart: its instants, and the things it singles out. One per trust epoch."""

    def __init__(self, trust: TrustState) -> None:
        self._trust = trust
        self._cuts = sorted(set(_cuts(trust)))
        identities = [identity_of(subject) for subject in trust.by_subject["identity"]]
        self._fingerprints: set[str] = set()
        for entry in trust.policies.values():
            for attestor in entry.policy.attestors.values():
                for part in (attestor.keyless, attestor.certificates):
                    identities += part.identities if part is not None else ()
                if attestor.certificates is not None:
                    self._fingerprints.update(attestor.certificates.fingerprints)
        self._extensions = _named_extensions(identities)
        self._lists = bool(trust.anchors.lists)
        self._indexes = {
            log: sorted(r.last_good_index for r in records if r.last_good_index is not None)
            for log, records in trust.by_subject["log"].items()
        }

    def key(self, rich: RichShape, now: Micros) -> tuple[object, ...]:
        """Equal for rich facts of one static part that this trust cannot tell apart at `now`."""
        fact = rich.fact
        if fact.scheme or self._lists:
            return (fact.id,)
        cuts = self._cuts
        ranks = tuple(t if t >= now else _rank(cuts, t) for t in rich.instants)  # closed intervals end at now, too
        return (ranks, *self._singled_out(fact))

    def _singled_out(self, fact: Fact) -> Iterator[object]:
        trust, leaf = self._trust, fact.certificate
        if leaf is not None:
            if leaf.key_id in trust.by_subject["key"] or leaf.key_id in trust.keys:
                yield leaf.key_id
            if leaf.sha256 in self._fingerprints:
                yield leaf.sha256
            if self._extensions:
                yield tuple(pair for pair in leaf.extensions if pair[0] in self._extensions)
        if trust.by_subject["builder"]:
            yield ("builder", *(name for name in builders(fact) if name in trust.by_subject["builder"]))
        if trust.by_subject["commit"]:
            yield ("commit", *(name for name in commits(fact) if name in trust.by_subject["commit"]))
        if self._indexes:
            yield tuple(bisect_left(self._indexes.get(entry.log, ()), entry.index) for entry in fact.logs)


def _rank(cuts: list[Micros], time: Micros) -> int:
    """Where a time lies: before, at or after each cut. Negative, so that it is never taken for a time."""
    return -1 - bisect_left(cuts, time) - bisect_right(cuts, time)


def _named_extensions(identities: Iterable[Identity]) -> frozenset[str]:
    return frozenset(name for identity in identities for name in identity.extensions)


def _cuts(trust: TrustState) -> Iterator[Micros]:
    """Every instant of trust that a fact's instant may be compared with."""
    for by_kind in trust.by_subject.values():
        for records in by_kind.values():
            for record in records:
                yield from (rule_of(record).pivot, record.effective)
    for key in trust.keys.values():
        yield from (t for t in (key.valid_from, key.valid_until, key.superseded_at) if t is not None)
    for anchors in trust.anchors.authorities.values():
        for anchor in anchors:
            ends = (anchor.authority.valid_from, anchor.authority.valid_until)
            yield from (t for t in (*ends, *(pivot for _, pivot in anchor.authority.revoked)) if t is not None)
    for logs in trust.anchors.logs.values():
        yield from (t for entry in logs for t in (entry.log.valid_from, entry.log.valid_until) if t is not None)


_GROUP: Final = "identity\0"


def identity_groups(facts: Iterable[Fact]) -> Iterator[str]:
    """Names under which images of one certificate identity are kept together."""
    return (_group(fact) for fact in facts if fact.certificate is not None and fact.chains)


def _group(fact: Fact) -> str:
    leaf = fact.certificate
    return _GROUP if leaf is None else f"{_GROUP}{(leaf.issuer, leaf.sans)!r}"


def found_by_index(state: ShardState, record: RevocationPut) -> set[tuple[str, str]] | None:
    """Images whose evidence a revocation is about, without a look at every fact; None: that needs such a look.

    One fact stands for all of its identity, as long as the record asks for nothing else of a certificate.
    """
    if record.subject_kind in ("ca", "log"):
        return state.key_images.get(record.subject, set())
    if record.subject_kind != "identity" or identity_of(record.subject).extensions:
        return None
    found: set[tuple[str, str]] = set()
    for group, slots in state.key_images.items():
        if group.startswith(_GROUP) and slots and _is_hit(state, record, group, min(slots)):
            found |= slots
    return found


def _is_hit(state: ShardState, record: RevocationPut, group: str, slot: tuple[str, str]) -> bool:
    image = state.images.get(slot)
    facts = image.evidence.facts if image is not None else ()
    return any(hits(record, fact) for fact in facts if fact.chains and _group(fact) == group)
