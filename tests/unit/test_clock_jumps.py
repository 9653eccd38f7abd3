"""A clock that jumps: a day ahead, a day back. What was decided stays in order, and silence is never taken for an end.

Covered here: judge, alerter and the generations of owners, each by the clock it is given. Not covered: a broker or a
node whose clock jumps; they date nothing of ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import msgspec
import pytest

from alerting.models import Cause, Finding, Incident, IncidentPart, ShardReached
from streams.clustered import ClusterAlerter, ClusterJudge
from streams.codec import encode
from streams.engine.port import Effects, Record
from streams.engine.staterows import Owner, StateFold, claim_record
from streams.events import ContainerChanged, ProgressSeen, VerdictReached
from streams.outputs import output
from streams.shared import Shared
from streams.topics import STATE, TRUST
from tests.helpers.load import load
from tests.helpers.trustadmins import ALICE, gate, key_put, next_of, policy_put
from verifier.times import DAY, HOUR, MINUTE, SECOND
from verifier.trust.records import PolicyPut, TrustRecord

T0 = 1_795_000_000 * SECOND


def record(event: object, position: int = 0) -> Record:
    made = output(event)
    return Record(position, made.topic, 0, made.key, made.id, encode(event), made.time)


def events(effects: Effects) -> list[object]:
    return [out.event for out in effects.outputs]


# ------------------------------------------------------------------------------------------------------------- alerter


class Told:
    """An alerter of two shards, and everything it said."""

    def __init__(self) -> None:
        self.alerter = ClusterAlerter(Shared(gate(ALICE)), stalled_after=MINUTE)
        self.alerter.restore(())
        self.said: list[object] = []

    def heard(self, *shards: int, at: int) -> None:
        """These shards live, by their own clock and by ours."""
        self._take(self.alerter.tick(at))
        self._process([ProgressSeen(f"p{s}-{at}", at, "judge", f"judge-{s}", s, position=at) for s in shards])

    def parts(self, containers: int, at: int, sequence: int) -> None:
        """What shard 0 has of the incident; both shards have come to epoch 1."""
        part = IncidentPart(
            "incident", "unsigned", "app", Cause(), "signed", "critical", 0, "c1", "shop", 1, sequence, at,
            containers, min(containers, 1), T0,
        )  # fmt: skip
        self._process([part, *(ShardReached(shard, 2, 1, at) for shard in (0, 1))])

    def tick(self, at: int) -> None:
        self._take(self.alerter.tick(at))

    def _process(self, of: Sequence[object]) -> None:
        self._take(self.alerter.process([record(event) for event in of]))

    def _take(self, effects: Effects) -> None:
        self.said += events(effects)

    @property
    def states(self) -> list[str]:
        return [out.state for out in self.said if isinstance(out, Incident) and out.id == "incident"]

    @property
    def stalled(self) -> list[tuple[str, str]]:
        return [(f.state, f.message) for f in self.said if isinstance(f, Finding) and f.code == "pipeline-stalled"]


@pytest.fixture
def told() -> Told:
    """An incident that was open and of which nothing is left, with both shards in sight."""
    made = Told()
    made.heard(0, 1, at=T0)
    made.parts(3, T0, 1)
    made.heard(0, 1, at=T0 + 30 * SECOND)
    made.parts(0, T0 + 30 * SECOND, 2)
    assert made.states[-1] == "open"
    return made


def steps(start: int, until: int) -> Iterator[int]:
    return iter(range(start, until, 20 * SECOND))


@pytest.mark.scenario("pipeline-stalled")
def test_no_incident_is_resolved_while_a_shard_is_not_heard(told):
    """The hold is over ten times; the judge of shard 1 is gone. It comes back: then it is resolved."""
    for at in steps(T0 + MINUTE, T0 + 100 * MINUTE):
        told.heard(0, at=at)
    assert set(told.states) == {"open"}
    assert [state for state, _ in told.stalled] == ["open"]
    assert "shard 1" in told.stalled[0][1]
    for at in steps(T0 + 100 * MINUTE, T0 + 102 * MINUTE):
        told.heard(0, 1, at=at)
    assert told.states[-1] == "resolved"
    assert told.stalled[-1][0] == "closed"


def test_a_day_ahead_resolves_nothing_before_every_shard_spoke_again(told):
    told.tick(T0 + DAY)
    assert told.states[-1] == "open"
    told.heard(0, at=T0 + DAY + SECOND)
    told.tick(T0 + DAY + 2 * SECOND)
    assert told.states[-1] == "open"
    told.heard(1, at=T0 + DAY + 3 * SECOND)
    told.tick(T0 + DAY + 5 * SECOND)
    assert told.states[-1] == "resolved"


def test_a_day_back_the_alerters_clock_stands_still_and_goes_on(told):
    """What was due stays due at its own time; nothing is said twice, nothing is dated before what was said."""
    before = len(told.said)
    for at in steps(T0 - DAY, T0 - DAY + HOUR):
        told.heard(0, 1, at=at)
    assert told.alerter.now >= T0 + 30 * SECOND
    assert told.said[before:] == []
    for at in steps(T0 + MINUTE, T0 + 20 * MINUTE):
        told.heard(0, 1, at=at)
    assert told.states[-1] == "resolved"
    times = [out.changed for out in told.said if isinstance(out, Incident)]
    assert times == sorted(times)


# --------------------------------------------------------------------------------------------------------------- judge


def judge(clock: Callable[[], int] | None = None) -> ClusterJudge:
    """One shard under a policy that nothing satisfies."""
    shared = Shared(gate(ALICE))
    entries = next_of(gate(ALICE), key_put(1), policy_put(), time=T0)
    shared.take([Record(at, TRUST, 0, "", entry.id, encode(entry), entry.time) for at, entry in enumerate(entries)])
    made = ClusterJudge(0, 1, shared, clock)
    made.restore(())
    return made


@pytest.mark.parametrize("jump", [DAY, -DAY])
def test_verdicts_and_containers_stay_in_order_over_a_jump(jump):
    """Half of the pods before it, half after it: times never go back, and the newest document of each is the last."""
    made = load(workloads=8, pods=2, seed=5, at=T0).events
    later = [msgspec.structs.replace(event, time=event.time + jump) for event in made[len(made) // 2 :]]
    under_test, said = judge(), []
    for number, event in enumerate([*made[: len(made) // 2], *later]):
        if number == len(made) // 2:
            said += events(under_test.tick(T0 + jump))
        said += events(under_test.process([record(event, number)]))
    said += events(under_test.tick(max(T0, T0 + jump) + SECOND))
    verdicts = [out.time for out in said if isinstance(out, VerdictReached)]
    assert len(verdicts) > 4
    assert verdicts == sorted(verdicts)
    containers = [out for out in said if isinstance(out, ContainerChanged)]
    assert [out.sequence for out in containers] == sorted({out.sequence for out in containers})
    newest = {out.id: out for out in containers}
    running = {one.id for one in newest.values() if one.ended is None}
    assert running == load_running(made)


def load_running(made: Sequence[object]) -> set[str]:
    """Ids of the containers that never ended."""
    reference, said = judge(), []
    for number, event in enumerate(made):
        said += events(reference.process([record(event, number)]))
    newest = {out.id: out for out in said if isinstance(out, ContainerChanged)}
    return {one.id for one in newest.values() if one.ended is None}


def test_a_shard_restored_under_an_earlier_clock_does_not_judge_in_the_past():
    first = judge()
    effects = [first.process([record(event)]) for event in load(workloads=2, pods=1, seed=6, at=T0).events]
    effects.append(first.tick(T0 + DAY))
    rows = {(kind, key): value for one in effects for kind, key, value in one.state}
    again = judge()
    again.restore([(kind, key, value) for (kind, key), value in rows.items() if value is not None])
    before = max(out.time for one in effects for out in one.outputs)
    said = [
        out
        for event in load(workloads=3, pods=1, seed=7, at=T0 - DAY).events
        for out in again.process([record(event)]).outputs
        if isinstance(out.event, VerdictReached)
    ]
    assert said
    assert min(out.time for out in said) >= before


def test_who_takes_over_from_a_dead_judge_says_nothing_dated_before_it():
    """The dead one had said its verdicts, and died before it stored that it did: they are said again, as later ones."""
    made = load(workloads=6, pods=1, seed=8, at=T0).events
    dead = judge(lambda: T0)
    said = [out.event for event in made for out in dead.process([record(event)]).outputs]
    before = [out.time for out in said if isinstance(out, VerdictReached)]
    successor = judge(lambda: T0 + 10 * SECOND)
    again = [out.event for event in made for out in successor.process([record(event)]).outputs]
    after = [out.time for out in again if isinstance(out, VerdictReached)]
    assert len(before) == len(after) > 4
    assert max(before) < min(after)


def changed(version: str) -> PolicyPut:
    """Another version of the policy."""
    put = policy_put()
    return put.model_copy(update={"policy": put.policy.model_copy(update={"version": version})})


def test_verdicts_of_a_class_have_times_in_their_order_whoever_held_the_shard_and_whatever_clocks_say():
    """The record orders them by nothing else. All is heard at one instant of the shard: an administrator's clock is
    behind, and what was broadcast while the shard was parked is read at once.
    """
    shared_instant = [msgspec.structs.replace(e, time=T0) for e in load(workloads=6, pods=1, seed=9, at=T0).events]
    shared = Shared(gate(ALICE))

    def trust(*changes: TrustRecord) -> list[Record]:
        entries = next_of(shared.gate, *changes, time=T0 - HOUR)
        at = len(shared.trust_entries())
        records = [Record(at + n, TRUST, 0, "", e.id, encode(e), e.time) for n, e in enumerate(entries)]
        shared.take(records)
        return records

    trust(key_put(1), policy_put())
    under_test = ClusterJudge(0, 1, shared, lambda: T0)
    under_test.restore(())
    said = [out for event in shared_instant for out in events(under_test.process([record(event)]))]
    said += events(under_test.process(trust(changed("v:2"))))
    while (slice_ := under_test.idle()) is not None:
        said += events(slice_)
    trust(changed("v:3"))
    said += events(under_test.catch_up())
    times: dict[tuple[str, str], list[int]] = {}
    for out in said:
        if isinstance(out, VerdictReached):
            times.setdefault((out.class_id, out.verdict.policy), []).append(out.time)
            assert out.read, "a verdict says what had been read"
    assert len(times) > 4
    assert {len(each) for each in times.values()} == {3}
    assert all(each == sorted(set(each)) for each in times.values())
    assert max(max(each) for each in times.values()) < T0 + MINUTE


# -------------------------------------------------------------------------------------------------------------- owners


def test_versions_of_a_new_owner_are_above_the_old_ones_whatever_the_clock_says():
    fold, newest = StateFold(), 0
    now = T0 // 1000
    for position, jump in enumerate((0, DAY, -DAY, -30 * DAY, 0, 30 * DAY, 0)):
        owner: Owner = fold.next_owner(f"judge-{position}", now + jump // 1000)
        assert owner.version(1) > newest
        newest = owner.version(10_000_000)
        claim = claim_record(STATE, 0, owner)
        fold.take(Record(position, STATE, 0, claim.key.decode(), "", claim.value or b"", 0))
