"""Standings: every fact under every key and authority that vouches for it, as trust sees it at an instant.

The state of a standing, the first rule that holds:

    1  the evidence itself is broken                                    invalid
    2  the signed bytes name no digest of the closure                   subject-mismatch when a known signer made them,
                                                                        else unknown-key
    3  no known signer made it, and it names a known key                invalid
    4  no known signer made it                                          unknown-key
    5  removal, rotation, window and revocations of the key, and
       revocations of this evidence, its builder and its commits, at
       the proven time: the worst                                       trusted … revoked
    6  for certificates, in the place of 5: `trust.chains`              trusted … revoked

Proven time: the earliest time of an *accepted* source (`trust.sources`). A time the signer claims is never looked at.

Everything here is set logic over facts; nothing is verified again. A sweep over a million containers asks `key_state`
for few keys and many times, so its answers are compiled per key into a `KeyTimeline`: a short sorted list of the proven
times at which the answer changes. `standings` keeps these in a mapping the caller may pass in and keep; entries that no
longer hold (another trust state, an instant beyond their validity) are made anew, so there is nothing to invalidate.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass

from verifier.errors import ImageReferenceError
from verifier.models import ChainClaim, DigestClosure, Fact, ListStatus, Micros, Standing, Via
from verifier.reference import parse_reference
from verifier.trust.chains import chain_key, judge_chain
from verifier.trust.hits import OF_CONTENT, matching
from verifier.trust.records import RevocationPut
from verifier.trust.revocation import (
    DELISTED,
    TRUSTED,
    Judgement,
    TimeProof,
    earliest,
    judge,
    judge_rules,
    judge_window,
    worst_of,
)
from verifier.trust.sources import (
    NO_SOURCES,
    ProvenTime,
    Sources,
    accepted_sources,
    key_rules,
    lost_source,
    proven_time,
    sound_times,
)
from verifier.trust.state import TrustState

KeyState = Judgement
"""State of a good signature by one key: `state`, the deciding `revocation`, `valid_until`."""


# ---------------------------------------------------------------------------------------------------------- one key


def key_state(key_id: str, t_le: Micros | None, t_kind: TimeProof, trust: TrustState, instant: Micros) -> KeyState:
    """What trust says of a good signature by this key, proven by `t_le`; depends on nothing else.

    The answer holds for every instant up to its `valid_until`, as long as the trust state is the same.
    """
    rules = key_rules(key_id, trust)
    key = trust.keys.get(key_id)
    if key is None:
        # known only from a policy: in trust as long as some policy in force carries it
        return judge_rules(rules if trust.authorised(key_id) else (*rules, DELISTED), t_le, t_kind, instant)
    window = judge_window(key.valid_from, key.valid_until, t_le, instant)
    return worst_of((judge_rules(rules, t_le, t_kind, instant), window))


@dataclass(frozen=True, slots=True, eq=False)
class KeyTimeline:
    """`key_state` of one key for every possible proven time: piecewise constant, so a few cuts and a look-up."""

    trust: TrustState
    since: Micros | None
    """First instant at which it holds; None: always, while trust is the same."""
    until: Micros | None
    """First instant at which it no longer holds; None: never."""
    cuts: tuple[Micros, ...]
    """Proven times at which the answer changes: part i holds for cuts[i-1] <= t < cuts[i]."""
    attested: tuple[KeyState, ...]
    observed: tuple[KeyState, ...]
    unproven: KeyState

    def at(self, t_le: Micros | None, t_kind: TimeProof) -> KeyState:
        """The same as `key_state` with these arguments."""
        if t_le is None:
            return self.unproven
        parts = self.attested if t_kind == "attested" else self.observed
        return parts[bisect_right(self.cuts, t_le)]

    def holds(self, trust: TrustState, instant: Micros) -> bool:
        """May it be asked on behalf of this trust state and instant?"""
        return (
            self.trust is trust
            and (self.since is None or self.since <= instant)
            and (self.until is None or instant < self.until)
        )


def compile_key(key_id: str, trust: TrustState, instant: Micros) -> KeyTimeline:
    """The timeline of a key; cost and size grow with the records on this key only."""
    key, rules = trust.keys.get(key_id), key_rules(key_id, trust)
    cuts = {rule.pivot + 1 if rule.row == "soft" else rule.pivot for rule in rules}  # R is still good, C is not
    turns = {rule.effective for rule in rules if rule.effective is not None}
    if key is not None:
        window = {edge for edge in (key.valid_from, _after(key.valid_until)) if edge is not None}
        cuts |= window
        turns |= window
    ordered = tuple(sorted(cuts))
    samples = (ordered[0] - 1, *ordered) if ordered else (instant,)
    return KeyTimeline(
        trust=trust,
        since=max((turn for turn in turns if turn <= instant), default=None),
        until=min((turn for turn in turns if turn > instant), default=None),
        cuts=ordered,
        attested=tuple(key_state(key_id, t, "attested", trust, instant) for t in samples),
        observed=tuple(key_state(key_id, t, "observed", trust, instant) for t in samples),
        unproven=key_state(key_id, None, "none", trust, instant),
    )


def _after(end: Micros | None) -> Micros | None:
    return None if end is None else end + 1


# -------------------------------------------------------------------------------------------------------- standings


def standings(
    facts: Iterable[Fact],
    closure: DigestClosure,
    first_seen: Mapping[str, Micros],
    trust: TrustState,
    instant: Micros,
    timelines: MutableMapping[str, KeyTimeline] | None = None,
) -> tuple[Standing, ...]:
    """One standing per (fact, known key that verified it), or one per fact that none did; in the order of the facts.

    `first_seen` maps evidence ids to the microseconds revet first saw these bytes; what is missing there has no
    observed time. `timelines` may be any mapping the caller keeps between calls; it only makes them quicker.
    Raises nothing.
    """
    kept = {} if timelines is None else timelines
    return tuple(standing for fact in facts for standing in _of_fact(fact, closure, first_seen, trust, instant, kept))


def _of_fact(
    fact: Fact,
    closure: DigestClosure,
    first_seen: Mapping[str, Micros],
    trust: TrustState,
    instant: Micros,
    timelines: MutableMapping[str, KeyTimeline],
) -> Iterator[Standing]:
    seen = first_seen.get(fact.evidence_id)
    times, until = sound_times(fact, trust, instant)
    proven = proven_time(times, seen, trust, instant)
    proven = proven._replace(valid_until=earliest(until, proven.valid_until))
    via = _via(fact.subjects, closure)
    known = [key_id for key_id in fact.verified_by if key_id in trust.candidates]
    chains = [chain for chain in fact.chains if chain.authority in trust.anchors.material.authorities]
    if fact.problem or not (known or chains):
        # 1, 3, 4 and the second half of 2
        hinted = fact.key_hint if fact.key_hint in trust.candidates else ""
        broken = bool(fact.problem) or (via is not None and bool(hinted))
        state = Judgement("invalid" if broken else "unknown-key")
        yield _standing(fact, hinted if broken else "", state, via, proven)
        return
    sourced = fact.logs or fact.times
    accepted = accepted_sources(fact, None, trust, instant, (), seen) if known and sourced else NO_SOURCES
    if accepted.valid_until is not None:
        proven = proven._replace(valid_until=earliest(proven.valid_until, accepted.valid_until))
    lost = lost_source(fact, None, trust, instant) if known and fact.logs else ""
    for key_id in known:
        # 2, and 5
        judged = _judged(fact, key_id, proven, trust, instant, timelines) if via else Judgement("subject-mismatch")
        yield _standing(fact, key_id, judged, via, proven, accepted, lost=lost)
    for chain in chains:
        # 2, and 6
        stands = judge_chain(fact, chain, seen, trust, instant)
        judged = stands.judged if via else Judgement("subject-mismatch")
        who = chain_key(fact, chain, trust)
        yield _standing(fact, who, judged, via, stands.proven, stands.sources, chain, stands.lists, stands.lost)


def _judged(
    fact: Fact,
    key_id: str,
    proven: ProvenTime,
    trust: TrustState,
    instant: Micros,
    timelines: MutableMapping[str, KeyTimeline],
) -> Judgement:
    timeline = timelines.get(key_id)
    if timeline is None or not timeline.holds(trust, instant):
        timeline = timelines[key_id] = compile_key(key_id, trust, instant)
    of_key = timeline.at(proven.time, proven.kind)
    records = _of_content(fact, trust)
    if not records and proven.valid_until is None:
        return of_key
    of_evidence = judge(records, proven.time, proven.kind, instant) if records else TRUSTED
    return worst_of((of_key, of_evidence, Judgement("trusted", "", proven.valid_until)))


def _of_content(fact: Fact, trust: TrustState) -> tuple[RevocationPut, ...]:
    """Revocations of this evidence, of the builder it names and of the commits it names."""
    found = trust.by_subject["evidence"].get(fact.evidence_id, ())
    for kind in OF_CONTENT:
        if trust.by_subject[kind]:
            found = (*found, *matching(trust.by_subject[kind], fact))
    return found


def _standing(
    fact: Fact,
    key_id: str,
    judged: Judgement,
    via: Via | None,
    proven: ProvenTime,
    sources: Sources = NO_SOURCES,
    chain: ChainClaim | None = None,
    lists: tuple[ListStatus, ListStatus] | None = None,
    lost: str = "",
) -> Standing:
    return Standing(
        evidence=fact.evidence_id,
        fact=fact.id,
        format=fact.format,
        kind=fact.kind,
        key_id=key_id,
        state=judged.state,
        via=via,
        annotations=fact.annotations,
        predicate_type=fact.predicate_type,
        repository_claim=repository_claim(fact),
        time=proven.time,
        time_kind=proven.kind,
        problem=fact.problem,
        revocation=judged.revocation,
        valid_until=judged.valid_until,
        authority=chain.authority if chain is not None else "",
        chain=chain,
        certificate=fact.certificate if chain is not None or not key_id else None,
        logs=sources.logs,
        scts=sources.scts,
        attested=sources.times,
        rules=fact.rules,
        scheme=fact.scheme,
        expires=fact.expires,
        undecided=fact.undecided,
        list_status=lists,
        source_revocation=lost,
    )


def _via(subjects: tuple[str, ...], closure: DigestClosure) -> Via | None:
    """The closest way in which signed bytes reach the running container."""
    if closure.running in subjects:
        return "exact"
    found = {closure.via(subject) for subject in subjects}
    return "index_of" if "index_of" in found else "child_of" if "child_of" in found else None


def repository_claim(fact: Fact) -> bool | None:
    """Does the signed payload name the repository it was found in? None: it names none."""
    claimed = fact.signed_repository
    if not claimed or claimed == fact.repository:
        return True if claimed else None
    try:
        # cosign writes Docker Hub as index.docker.io, and other signers add the tag they were given
        return parse_reference(claimed).repository == parse_reference(fact.repository).repository
    except ImageReferenceError:
        return False  # a claim that names no repository names no repository of ours
