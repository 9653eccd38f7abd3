"""Judging classes: which policies govern, what each says, memoised so that a revocation over a fleet is set logic.

Two images with the same *shape* (who signed, what trust says of each signature, how the evidence set stands) get the
same decision from a policy that looks at nothing else. Shapes are interned to small integers per epoch; the memo maps
(policy, shape, completeness) to one shared `Judged`. The full verdict with its texts is only built when it is spoken.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from alerting.findings import FINDINGS, REASON_FINDINGS, finding_code_for
from streams.events import PolicyVerdict
from streams.handlers.shapes import RichShape, TrustShape, is_rich, plain_part, rich_part
from streams.state import Class, Image, Judged, ShardState
from verifier.models import Fact, Micros, is_undecided
from verifier.policy.model import Policy, Requirement
from verifier.policy.selection import CompiledPolicy, PolicyIndex, compile_policy
from verifier.times import MINUTE
from verifier.trust.exemptions import covering, covering_due
from verifier.trust.sources import ProvenTime, proven_time
from verifier.trust.standing import (
    KeyState,
    KeyTimeline,
    compile_key,
    standings,
)
from verifier.trust.state import TrustState
from verifier.verify import Decided, ImageEvidence, decide

UNVERIFIABLE_AFTER: Final = 30 * MINUTE
"""How long could-not-tell may last before a person hears of it."""

UNGOVERNED: Final = Judged(
    decided=Decided(outcome="ungoverned"), codes=("ungoverned",), exempted_by="", valid_until=None
)


class FactShape(NamedTuple):
    """What of a fact never changes with trust, as one number, and what has to be looked up again under each epoch."""

    number: int
    key_ids: tuple[str, ...]
    proven: ProvenTime
    keyset: str
    """Empty when something vouches for the fact or it is broken: another key set cannot change it then."""
    rich: RichShape | None = None
    """For a fact on which more than keys decides (`handlers.shapes`)."""


class Rules:
    """Compiled policies of one trust epoch and what was already decided under them."""

    def __init__(self, trust: TrustState, previous: Rules | None = None) -> None:
        self.trust = trust
        self.compiled: dict[str, CompiledPolicy] = {}
        for policy_id, entry in trust.policies.items():
            kept = previous.compiled.get(policy_id) if previous is not None else None
            same = kept is not None and kept.policy.version == entry.policy.version
            self.compiled[policy_id] = kept if kept is not None and same else compile_policy(entry.policy)
        self.special = {policy_id for policy_id, c in self.compiled.items() if looks_at_image(c.policy)}
        self.index = PolicyIndex(tuple(self.compiled.values()))
        self.timelines: dict[str, KeyTimeline] = {}
        self.revoked_evidence = trust.by_subject["evidence"]
        self.memo: dict[tuple[object, ...], Judged] = {}
        self.same: dict[tuple[object, ...], Judged] = previous.same if previous is not None else {}
        """Equal answers are one object over all epochs, so that `unchanged` is a comparison of identities."""
        self.sets: dict[tuple[object, ...], dict[str, Judged]] = previous.sets if previous is not None else {}
        self._shapes: dict[tuple[object, ...], int] = {}
        self.static: dict[tuple[object, ...], int] = previous.static if previous is not None else {}
        self.seen_by_trust = TrustShape(trust)

    def one(self, judged: Judged) -> Judged:
        """The one object that stands for this answer."""
        decided = judged.decided
        key = (decided.outcome, decided.revocations, decided.why, judged.codes, judged.exempted_by, judged.valid_until)
        return self.same.setdefault(key, judged)

    def together(self, judged: dict[str, Judged]) -> dict[str, Judged]:
        """The one dictionary that stands for these answers: a fleet has many classes and few sets of answers."""
        return self.sets.setdefault((*judged, *map(id, judged.values())), judged)

    def fact_shape(self, fact: Fact, evidence: ImageEvidence, now: Micros) -> FactShape:
        """The part of a fact that no trust change touches."""
        first_seen = evidence.first_seen.get(fact.evidence_id)
        proven = proven_time(fact.times, first_seen, self.trust, now)
        key, rich = plain_part(fact, evidence), None
        if is_rich(fact):
            more, rich = rich_part(fact, first_seen)
            key = (*key, *more)
        number = self.static.setdefault(key, len(self.static))
        pending = fact.keyset if is_undecided(fact) else ""
        return FactShape(number, fact.verified_by, proven, pending, rich)

    def shape(self, shape: FactShape, evidence_id: str, now: Micros) -> int:
        """A small integer that is equal for facts no ordinary policy can tell apart under this epoch."""
        pending = shape.keyset not in ("", self.trust.keyset_id)
        own = evidence_id if evidence_id in self.revoked_evidence else ""
        if shape.rich is not None:
            key = (shape.number, pending, own, *self.seen_by_trust.key(shape.rich, now))
        else:
            proven = shape.proven
            states = [self._key_state(key_id, proven, now) for key_id in shape.key_ids]
            key = (shape.number, *states, pending, own, proven.valid_until)
        return self._shapes.setdefault(key, len(self._shapes))

    def _key_state(self, key_id: str, proven: ProvenTime, now: Micros) -> KeyState:
        timeline = self.timelines.get(key_id)
        if timeline is None or not timeline.holds(self.trust, now):
            timeline = self.timelines[key_id] = compile_key(key_id, self.trust, now)
        return timeline.at(proven.time, proven.kind)

    def forget_times(self) -> None:
        """Time passed an instant at which something changes by itself: nothing derived from `now` may be kept."""
        self.memo.clear()
        self.timelines.clear()


def looks_at_image(policy: Policy) -> bool:
    """Does the policy look at more than a shape holds (digest or registry lists, attestor windows)?"""
    if any(a.valid_from is not None or a.valid_until is not None for a in policy.attestors.values()):
        return True
    return _has_list(policy.require)


def _has_list(node: Requirement) -> bool:
    if node.digest_in is not None or node.registry_in is not None:
        return True
    children = node.all or node.any or (node.at_least.of if node.at_least is not None else ())
    return any(_has_list(child) for child in children)


def rules(state: ShardState) -> Rules:
    """The rules of the current epoch."""
    known = state.memory.get("rules")
    if not isinstance(known, Rules) or known.trust is not state.trust:
        known = state.memory["rules"] = Rules(state.trust, known if isinstance(known, Rules) else None)
    return known


def govern(state: ShardState, cls: Class, only: Iterable[str] | None = None) -> None:
    """Find the policies that govern a class; with `only`, look at those policies again and keep the others."""
    current = rules(state)
    compiled = current.compiled
    scope, digest = cls.row.scope, cls.row.digest
    if only is None:
        cls.policies = tuple(sorted(c.policy.id for c in current.index.governing(scope, digest)))
        return
    looked = set(only)
    kept = [p for p in cls.policies if p not in looked]
    kept += [p for p in looked if p in compiled and compiled[p].governs(scope, digest)]
    cls.policies = tuple(sorted(kept))


def judge(state: ShardState, cls: Class, now: Micros) -> bool:
    """Judge a class under the current epoch; True when what it holds differs from before."""
    current = rules(state)
    image = cls.image
    epoch = state.trust.epoch
    if image.key_epoch != epoch:
        _reshape(state, current, image, now)
    judged = {}
    uncertain = False
    for policy_id in cls.policies:
        answer = judged[policy_id] = _judge_one(state, current, cls, policy_id, now)
        uncertain = uncertain or answer.decided.outcome == "unverifiable"
        if answer.valid_until is not None:
            state.schedule(max(answer.valid_until, now + 1), "class", cls.id)
    if not judged:
        judged[""] = UNGOVERNED
    answers = current.together(judged)
    changed = answers is not cls.judged and answers != cls.judged
    cls.judged = answers
    cls.epoch = epoch
    if uncertain != (cls.row.uncertain_since is not None):
        _note_uncertainty(state, cls, now, uncertain=uncertain)
    return changed


def _reshape(state: ShardState, current: Rules, image: Image, now: Micros) -> None:
    """Find the image's shape under this epoch; what does not depend on trust is worked out once per evidence set."""
    evidence = image.evidence
    if image.shapes_of is not evidence:
        image.shapes = tuple(current.fact_shape(f, evidence, now) for f in evidence.facts)
        image.shapes_of = evidence
    facts = evidence.facts
    image.key = tuple(sorted([current.shape(s, facts[n].evidence_id, now) for n, s in enumerate(image.shapes)]))
    image.key_epoch = state.trust.epoch


def _judge_one(state: ShardState, current: Rules, cls: Class, policy_id: str, now: Micros) -> Judged:
    evidence = cls.image.evidence
    standing: object
    if evidence.set is None:
        standing = evidence.problem.code if evidence.problem is not None else None
    elif evidence.set.complete:
        standing = True
    else:
        standing = evidence.set.version  # the failing place decides the reason
    alone = policy_id in current.special or bool(state.trust.by_subject["digest"])
    own = (cls.row.scope.image, evidence.closure) if alone else None
    key = (policy_id, cls.image.key, standing, own)
    found = current.memo.get(key)
    if found is None:
        found = current.memo[key] = _decide(state, current.compiled[policy_id], cls, now)
    if found.decided.outcome == "violates" and state.trust.exemptions:
        return _exempted(state, found, cls, policy_id, now)
    return found


def _decide(state: ShardState, compiled: CompiledPolicy, cls: Class, now: Micros) -> Judged:
    evidence, trust = cls.image.evidence, state.trust
    stands = standings(evidence.facts, evidence.closure, evidence.first_seen, trust, now, rules(state).timelines)
    decided = decide(compiled, cls.row.scope, evidence, trust, now, stands)
    codes = tuple(dict.fromkeys(f.code for f in decided.failures)) if decided.outcome == "violates" else (decided.why,)
    if decided.outcome == "valid":
        codes = ()
    # Texts of failures belong to this image; what is shared is the outcome and what decided it.
    revocations = tuple(_in_order(decided, finding_code_for(codes)))
    bare = Decided(decided.outcome, (), None, decided.valid_until, revocations, decided.why)
    return rules(state).one(Judged(bare, codes, "", decided.valid_until))


def _in_order(decided: Decided, code: str | None) -> Iterable[str]:
    """The revocations of a decision, those behind the finding first: a key that is on hold beside it is no cause. A log
    or timestamp authority that was revoked is one where nothing that signed was.
    """
    own: list[str] = []
    for failure in decided.failures:
        standing = failure.standing
        if standing is not None and code is not None and REASON_FINDINGS.get(failure.code) == code:
            source = standing.source_revocation if FINDINGS[code].proof_of_compromise else ""
            own.append(standing.revocation or source)
    return dict.fromkeys(record for record in (*own, *decided.revocations) if record)


def _exempted(state: ShardState, found: Judged, cls: Class, policy_id: str, now: Micros) -> Judged:
    asked = (state.trust.exemptions.values(), policy_id, found.codes, cls.row.scope, cls.row.digest, now)
    entry, due = covering(*asked), covering_due(*asked)
    if entry is None and due is None:
        return found
    until = min((t for t in (found.valid_until, due) if t is not None), default=None)
    return rules(state).one(Judged(found.decided, found.codes, entry.id if entry is not None else "", until))


def _note_uncertainty(state: ShardState, cls: Class, now: Micros, *, uncertain: bool) -> None:
    """Since when could this class not be told; drives `unverifiable-too-long`."""
    cls.row.uncertain_since = now if uncertain else None
    if uncertain:
        state.schedule(now + UNVERIFIABLE_AFTER, "uncertain", cls.id)
    state.touch("class", cls.id)


def policy_verdicts(state: ShardState, cls: Class) -> tuple[PolicyVerdict, ...]:
    """What goes into the documents of a class's containers."""
    out = []
    for policy_id, judged in sorted(cls.judged.items()):
        entry = state.trust.policies.get(policy_id)
        out.append(
            PolicyVerdict(
                policy=policy_id,
                version=entry.policy.version if entry is not None else "",
                outcome=judged.decided.outcome,
                codes=judged.codes,
                exempted_by=judged.exempted_by,
                mode=entry.policy.mode if entry is not None else "audit",
            )
        )
    return tuple(out)
