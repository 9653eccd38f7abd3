"""What a trust change would do to what runs now, worked out by the judge itself on a copy that is thrown away.

    state = shard_copy(entries, trust)                      # stored rows of a shard, trust at the epoch it has reached
    found = preview(state, [record], at=now)
    found.violating                                         containers, workloads … that would begin to violate
    signatures_hit(state, record)                           signed before, after, time unknown; by image

Nothing is estimated: the same handlers take the same records, so what is foretold is what happens when the records are
applied at that instant (a property under test). What runs by then may differ; nothing here is stored or said to anyone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal

import msgspec

from alerting.models import Finding
from alerting.routing import UNOWNED
from streams.alerter import KINDS
from streams.events import EvidenceFound, EvidenceWanted, Tick, TrustChanged
from streams.handlers import finish_sweep, handle, restored
from streams.state import Class, Image, ShardState
from verifier.adapters.fetch import rekey
from verifier.canonical import stable_id
from verifier.impact import Impact, of_revocation, touched
from verifier.models import Micros, Outcome
from verifier.oci.port import EvidenceStore
from verifier.trust.changes import revocation_split
from verifier.trust.records import TRUST_RECORD, RevocationPut, TrustRecord
from verifier.trust.sources import proven_time, sound_times
from verifier.trust.state import Applied, TrustState
from verifier.verify import worst

Answer = Callable[[ShardState, EvidenceWanted], EvidenceFound | None]
"""What the fetcher would answer; None: nothing by then."""
Teams = Mapping[tuple[str, str], str]
"""(cluster, namespace) -> team."""
Part = Literal["before", "after", "unknown"]


class Counts(msgspec.Struct, frozen=True):
    """Running containers by outcome. Of one policy, `ungoverned` are those it does not govern."""

    valid: int = 0
    violates: int = 0
    unverifiable: int = 0
    ungoverned: int = 0


class Reach(msgspec.Struct, frozen=True):
    """How far something reaches."""

    containers: int = 0
    workloads: int = 0
    namespaces: int = 0
    clusters: int = 0
    teams: tuple[tuple[str, int, int], ...] = ()
    """(team, containers, workloads), largest first; `unowned` for namespaces of which nobody is known."""


class ClassChange(msgspec.Struct, frozen=True):
    """One (class, policy) whose answer would differ. `before` or `after` empty: the policy does not govern it then."""

    class_id: str
    cluster: str
    namespace: str
    workloads: tuple[str, ...]
    """`kind/name`, sorted."""
    image: str
    digest: str
    containers: int
    policy: str
    mode: str
    before: str
    after: str
    codes: tuple[str, ...]
    exempted_by: str
    breaks: bool
    """Valid under every policy that acts now, and would violate this one without an exemption."""


class PolicyCounts(msgspec.Struct, frozen=True):
    """One policy's containers before and after; empty id: all policies together, the worst outcome of a container."""

    policy: str
    before: Counts
    after: Counts


class NamespaceCounts(msgspec.Struct, frozen=True):
    """The containers of a namespace, the worst outcome of each."""

    cluster: str
    namespace: str
    team: str
    before: Counts
    after: Counts


OUTCOMES: Final[tuple[Outcome, ...]] = ("valid", "violates", "unverifiable", "ungoverned")
"""In the order that counts are shown in."""


def differences(row: PolicyCounts | NamespaceCounts) -> list[str]:
    """Counts by outcome as people read them: `12`, or `12 → 3`."""
    pairs = ((getattr(row.before, outcome), getattr(row.after, outcome)) for outcome in OUTCOMES)
    return [f"{old:,}" if old == new else f"{old:,} → {new:,}" for old, new in pairs]


class Preview(msgspec.Struct, frozen=True):
    """What the records would come to, had they been applied at `at`."""

    at: Micros
    epoch: int
    """Trust epoch after them."""
    ignored: tuple[tuple[str, str], ...]
    """(code, why) of each record that no reader would apply."""
    touched: int
    """Classes that would be judged again."""
    changes: tuple[ClassChange, ...]
    policies: tuple[PolicyCounts, ...]
    """All together first, then the policies whose counts or answers differ, by id."""
    namespaces: tuple[NamespaceCounts, ...]
    """Those that differ, by cluster and name."""
    violating: Reach
    """What would begin to violate."""
    opened: tuple[Finding, ...]
    closed: tuple[Finding, ...]

    @property
    def breaks(self) -> bool:
        """Would something that is valid now violate?"""
        return any(change.breaks for change in self.changes)


class SignatureHit(msgspec.Struct, frozen=True):
    """One signature that a revocation hits, on one image."""

    part: Part
    evidence: str
    repository: str
    digest: str
    image: str
    """A reference it runs under; `repository@digest` when it does not run now."""
    time: Micros | None
    """Proven to exist by then."""
    containers: int


class Hit(msgspec.Struct, frozen=True):
    """What a revocation's subject is on, before anything is judged."""

    before: int
    after: int
    unknown: int
    signatures: tuple[SignatureHit, ...]
    uses: Reach
    """What runs with such a signature, or is the digest; whether it violates is another matter."""


# ---------------------------------------------------------------------------------------------------- a copy of a shard


def shard_copy(entries: Iterable[tuple[str, str, bytes]], trust: TrustState) -> ShardState:
    """A shard restored from its stored rows (`ShardState.take_dirty`) under `trust`; what it says again is dropped.

    Raises:
        msgspec.DecodeError: a row is not what a shard stores.
    """
    state = ShardState()
    state.restore(entry for entry in entries if entry[0] not in KINDS)
    state.trust = trust
    for _ in restored(state):
        pass
    return state


def stored_answers(store: EvidenceStore) -> Answer:
    """The fetcher's answer to an added key: facts of what is in the evidence store, under the new keys.

    Nothing else is answered: to look at registries is not the business of a preview. Raises what the store raises.
    """

    def answer(state: ShardState, wanted: EvidenceWanted) -> EvidenceFound | None:
        evidence = state.images[(wanted.repository, wanted.digest)].evidence
        known = evidence.set
        if known is None or wanted.why != "keys-added":
            return None
        trust = state.trust
        now = max(state.now, wanted.time, known.fetched_at + 1)  # newer than what it replaces, in frozen time too
        found = rekey(store, known, trust.candidate_set(), now, evidence.facts)
        name = stable_id("evidence-found", wanted.repository, wanted.digest, found.set.version, now)
        return EvidenceFound(name, now, found.set, found.facts, found.first_seen)

    return answer


# --------------------------------------------------------------------------------------------------------- the preview


def preview(
    state: ShardState,
    records: Sequence[TrustRecord],
    at: Micros,
    answer: Answer | None = None,
    teams: Teams | None = None,
) -> Preview:
    """Feed records to a copy of a shard and compare. The copy is used up.

    What is due by `at` anyway happens first and belongs to neither side. Raises what `answer` raises.
    """
    _feed(state, Tick(id="", time=at), None)
    before, open_before = _answers(state), _open(state)
    touched_classes: set[str] = set()
    ignored: list[tuple[str, str]] = []
    for record in records:
        old = state.trust
        new, applied = old.apply(record, old.epoch + 1)
        if not applied.applied:
            ignored.append(_why(applied))
        impact = touched(old, new, record)
        touched_classes.update(_touched(state, impact))
        _feed(state, _entry(record, old.epoch + 1, at), answer)
        touched_classes.update(_touched(state, impact))
    after = _answers(state)
    changes = tuple(_changes(state, before, after))
    return Preview(
        at=at,
        epoch=state.trust.epoch,
        ignored=tuple(ignored),
        touched=len(touched_classes),
        changes=changes,
        policies=tuple(_by_policy(state, before, after)),
        namespaces=tuple(_by_namespace(state, before, after, teams or {})),
        violating=reach(state, _begin_to_violate(before, after), teams),
        opened=tuple(f for key, f in _open(state).items() if key not in open_before),
        closed=tuple(state.findings.get(key, f) for key, f in open_before.items() if key not in _open(state)),
    )


def catch_up(state: ShardState, records: Iterable[TrustRecord], answer: Answer | None = None) -> None:
    """Apply entries of the log that the shard has not come to yet, so that nothing of them is foretold as new."""
    for record in records:
        _feed(state, _entry(record, state.trust.epoch + 1, max(record.at, state.now)), answer)


class _Now(msgspec.Struct, frozen=True):
    """One policy's answer for a class."""

    outcome: Outcome
    codes: tuple[str, ...]
    exempted_by: str
    mode: str


_Answers = dict[str, dict[str, _Now]]
"""class id -> policy id -> answer; running classes only."""


def _entry(record: TrustRecord, epoch: int, at: Micros) -> TrustChanged:
    value = TRUST_RECORD.dump_json(record)
    return TrustChanged(stable_id("trust", epoch, value.decode()), at, epoch, value)


def _feed(state: ShardState, event: Tick | TrustChanged | EvidenceFound, answer: Answer | None) -> None:
    for out in [*handle(state, event), *finish_sweep(state)]:
        if isinstance(out, EvidenceWanted) and answer is not None:
            found = answer(state, out)
            if found is not None:
                _feed(state, found, answer)


def _why(applied: Applied) -> tuple[str, str]:
    return applied.code, applied.message


def _answers(state: ShardState) -> _Answers:
    policies = state.trust.policies
    return {
        cls.id: {
            name: _Now(
                judged.decided.outcome,
                judged.codes,
                judged.exempted_by,
                policies[name].policy.mode if name in policies else "audit",
            )
            for name, judged in cls.judged.items()
        }
        for cls in state.classes.values()
        if cls.members
    }


def _open(state: ShardState) -> dict[str, Finding]:
    return {key: f for key, f in sorted(state.findings.items()) if f.state == "open"}


def _touched(state: ShardState, impact: Impact) -> Iterator[str]:
    """Running classes that an impact names, as `handlers.trust` finds them."""
    if not impact:
        return
    for image in state.images.values():
        hit = impact.hits_image(image.evidence.closure, image.evidence.facts)
        for class_id in image.classes:
            cls = state.classes[class_id]
            named = not impact.policies.isdisjoint(cls.policies) or cls.row.scope.cluster in impact.clusters
            if cls.members and (hit or named or impact.everything):
                yield class_id


# ---------------------------------------------------------------------------------------------------- what is different


def _changes(state: ShardState, before: _Answers, after: _Answers) -> Iterator[ClassChange]:
    for class_id in sorted(before, key=lambda c: _place(state, c)):
        old, new = before[class_id], after.get(class_id, {})
        sound = _worst(now for now in old.values() if now.mode != "trial") == "valid"
        for policy in sorted(p for p in old.keys() | new.keys() if p and old.get(p) != new.get(p)):
            yield _change(state.classes[class_id], policy, old.get(policy), new.get(policy), sound=sound)


def _change(cls: Class, policy: str, old: _Now | None, new: _Now | None, *, sound: bool) -> ClassChange:
    told = new or old
    violates = new is not None and new.outcome == "violates" and not new.exempted_by
    return ClassChange(
        class_id=cls.id,
        cluster=cls.row.scope.cluster,
        namespace=cls.row.scope.namespace,
        workloads=tuple(sorted(f"{kind}/{name}" for _, _, kind, name in cls.workloads)),
        image=str(cls.row.scope.image),
        digest=cls.row.digest,
        containers=cls.members,
        policy=policy,
        mode=told.mode if told is not None else "",
        before=old.outcome if old is not None else "",
        after=new.outcome if new is not None else "",
        codes=new.codes if new is not None else (),
        exempted_by=new.exempted_by if new is not None else "",
        breaks=sound and violates and (old is None or old.outcome != "violates"),
    )


def _place(state: ShardState, class_id: str) -> tuple[str, str, str, str]:
    scope = state.classes[class_id].row.scope
    return scope.cluster, scope.namespace, str(scope.image), class_id


def _worst(answers: Iterable[_Now]) -> Outcome:
    return worst([now.outcome for now in answers])


def _by_policy(state: ShardState, before: _Answers, after: _Answers) -> Iterator[PolicyCounts]:
    members = {c: state.classes[c].members for c in before}
    yield PolicyCounts("", _counts(before, members), _counts(after, members))
    names = {p for side in (before, after) for answers in side.values() for p in answers if p}
    for name in sorted(names):
        sides = [{c: {name: a[name]} if name in a else {} for c, a in side.items()} for side in (before, after)]
        if sides[0] != sides[1]:
            yield PolicyCounts(name, _counts(sides[0], members), _counts(sides[1], members))


def _counts(answers: _Answers, members: Mapping[str, int]) -> Counts:
    found: Counter[str] = Counter()
    for class_id, count in members.items():
        found[_worst(answers.get(class_id, {}).values())] += count
    return Counts(**found)


def _by_namespace(state: ShardState, before: _Answers, after: _Answers, teams: Teams) -> Iterator[NamespaceCounts]:
    spaces: dict[tuple[str, str], dict[str, int]] = {}
    for class_id in before:
        cls = state.classes[class_id]
        spaces.setdefault((cls.row.scope.cluster, cls.row.scope.namespace), {})[class_id] = cls.members
    for (cluster, namespace), members in sorted(spaces.items()):
        old, new = _counts(before, members), _counts(after, members)
        if old != new:
            yield NamespaceCounts(cluster, namespace, teams.get((cluster, namespace), UNOWNED), old, new)


def _begin_to_violate(before: _Answers, after: _Answers) -> list[str]:
    return [c for c in before if _worst(before[c].values()) != "violates" == _worst(after.get(c, {}).values())]


def reach(state: ShardState, class_ids: Iterable[str], teams: Teams | None = None) -> Reach:
    """Containers, workloads, namespaces, clusters and teams of classes."""
    owned = teams or {}
    containers = 0
    keys: set[tuple[str, str, str, str]] = set()
    by_team: Counter[str] = Counter()
    for class_id in class_ids:
        cls = state.classes[class_id]
        containers += cls.members
        for key, count in cls.workloads.items():
            keys.add(key)
            by_team[owned.get(key[:2], UNOWNED)] += count
    workloads = Counter(owned.get(key[:2], UNOWNED) for key in keys)
    rows = sorted((-count, team) for team, count in by_team.items())
    return Reach(
        containers=containers,
        workloads=len(keys),
        namespaces=len({key[:2] for key in keys}),
        clusters=len({key[0] for key in keys}),
        teams=tuple((team, -count, workloads[team]) for count, team in rows),
    )


# ------------------------------------------------------------------------------------ what a revocation's subject is on


def signatures_hit(state: ShardState, record: RevocationPut, teams: Teams | None = None) -> Hit:
    """The split of a revocation over every image the shard knows, and what runs with its subject. Changes nothing.

    A digest is revoked whole: it has no signatures to split, only a reach.
    """
    impact = of_revocation(record, state.trust)
    hit = [image for image in state.images.values() if impact.hits_image(image.evidence.closure, image.evidence.facts)]
    found = [] if record.subject_kind == "digest" else [s for image in hit for s in _signatures(state, image, record)]
    found.sort(key=lambda s: (_PARTS.index(s.part), -s.containers, s.repository, s.digest, s.evidence))
    parts = Counter(part for part, _ in {(s.part, s.evidence) for s in found})
    classes = sorted(c for image in hit for c in image.classes if state.classes[c].members)
    return Hit(parts["before"], parts["after"], parts["unknown"], tuple(found), reach(state, classes, teams))


_PARTS: Final[tuple[Part, ...]] = ("after", "unknown", "before")


def _signatures(state: ShardState, image: Image, record: RevocationPut) -> Iterator[SignatureHit]:
    evidence = image.evidence
    split = revocation_split(evidence.facts, evidence.first_seen, record, state.trust)
    facts = {fact.evidence_id: fact for fact in evidence.facts}
    running = [state.classes[c] for c in sorted(image.classes) if state.classes[c].members]
    shown = str(running[0].row.scope.image) if running else f"{evidence.repository}@{evidence.digest}"
    for part in _PARTS:
        ids: tuple[str, ...] = getattr(split, part)
        for evidence_id in ids:
            sound, _ = sound_times(facts[evidence_id], state.trust, record.at)
            proven = proven_time(sound, evidence.first_seen.get(evidence_id), state.trust, record.at)
            yield SignatureHit(
                part=part,
                evidence=evidence_id,
                repository=evidence.repository,
                digest=evidence.digest,
                image=shown,
                time=proven.time,
                containers=sum(cls.members for cls in running),
            )
