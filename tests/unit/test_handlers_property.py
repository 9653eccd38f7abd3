"""Order must not matter: with order kept within one key and within the trust log, any permutation and any duplication
of the rest gives the same containers, verdicts, open findings and counts. A restart says nothing new."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.events import EvidenceFound, FeedSeen, TrustChanged
from streams.handlers import finish_sweep, handle, restored
from streams.state import ShardState
from streams.topics import TRUST, key_of, topic_of
from tests.helpers.world import MINUTE, START, World, packed, policy
from verifier.trust import changes
from verifier.trust.records import TRUST_RECORD


def _by(world: World) -> changes.By:
    return changes.By("t", world.now)


def story() -> tuple[World, list[object]]:
    """A day with everything in it; returns the world and its inputs in order."""
    world = World(keys=())
    inputs: list[object] = []
    original = world.send

    def recorded(*events: object) -> list[object]:
        inputs.extend(events)
        return original(*events)

    world.send = recorded  # type: ignore[method-assign]  # listens in, and passes on
    for name in ("dev", "ops", "build", "extra"):
        world.add_key(name)
    world.trust(policy("shop", signed_by=("build",), images=("r.example/shop/**",)))
    world.feeds()
    world.now += MINUTE
    good = world.image("r.example/shop/good:1", signed_by=("build",))
    bad = world.image("r.example/shop/bad:1", signed_by=("extra",))
    unsigned = world.image("r.example/shop/none:1")
    pods = []
    for number, image in enumerate((good, bad, unsigned, good)):
        pod = world.pod(f"ns{number % 2}", f"w{number}-1", {"app": image})
        pods.append(pod)
        world.send(world.decision(pod), pod)
    world.now += MINUTE
    moved = world.image("r.example/shop/good:1", content="moved", signed_by=("build",))
    world.send(world.pod("ns0", "w0-2", {"app": moved}))
    world.trust(policy("all", signed_by=("dev",), mode="trial"))
    world.now += MINUTE
    world.record(
        changes.revoke(
            world.state.trust, _by(world), subject_kind="key", subject="build", reason="keyCompromise",
            compromised_since=START + MINUTE + 1,
        )
    )  # fmt: skip
    world.send(world.pod("ns1", "w3-1", {"app": good}, gone=True))
    world.feeds("audit", since=START)
    world.wait(10 * MINUTE)
    world.send(world.pod("ns1", "w5-1", {"app": unsigned}))
    return world, [e for e in inputs if type(e).__name__ != "Tick"]


def _lane(event: object) -> str:
    """What keeps its order: one key; the trust log; the evidence of one digest."""
    return f"{topic_of(event)}:{'' if isinstance(event, TrustChanged) else key_of(event)}"


def shuffled(events: Sequence[object], seed: int, copies: int) -> list[object]:
    """A random interleaving that keeps the order within each lane, with some events sent again later or at once."""
    chance = random.Random(seed)
    lanes: dict[str, list[object]] = {}
    for event in events:
        lanes.setdefault(_lane(event), []).append(event)
    out: list[object] = []
    while lanes:
        lane = chance.choice(sorted(lanes))
        event = lanes[lane].pop(0)
        out.append(event)
        out.extend(event for _ in range(copies) if chance.random() < 0.2)
        if not lanes[lane]:
            del lanes[lane]
    return out


def replay(events: Sequence[object], end: int) -> World:
    """Handle events on an empty shard, answering nothing (evidence is among the events), then let time pass."""
    world = World(keys=())
    world.auto_fetch = False
    for event in events:
        world.send(event)
    world.now = end
    world.wait(60 * MINUTE)
    return world


STORY, EVENTS = story()
EXPECTED = replay(EVENTS, STORY.now).summary()


def test_the_story_has_something_to_say() -> None:
    """Guard: the property below is not about an empty state."""
    codes = {f[1] for f in EXPECTED[2]}  # type: ignore[attr-defined]  # a list of findings
    assert {"wrong-signer", "unsigned", "key-revoked", "tag-moved"} <= codes
    assert any(isinstance(e, EvidenceFound) for e in EVENTS)


@settings(max_examples=120)
@given(seed=st.integers(0, 2**32), copies=st.integers(0, 2))
def test_any_permutation_and_duplication_gives_the_same_state(seed: int, copies: int) -> None:
    """Same inputs, other order: same containers, verdicts, open findings, counts."""
    assert replay(shuffled(EVENTS, seed, copies), STORY.now).summary() == EXPECTED


@pytest.mark.parametrize("cut", [3, 7, 11, 15, 19, 23])
def test_restart_in_the_middle_says_nothing_new_and_ends_the_same(cut: int) -> None:
    """State is stored, thrown away and restored: no output on restore, the same end."""
    first = World(keys=())
    first.auto_fetch = False
    stored: dict[tuple[str, str], bytes] = {}

    def keep(state: ShardState) -> None:
        for kind, key, value in state.take_dirty():
            if value is None:
                stored.pop((kind, key), None)
            else:
                stored[(kind, key)] = value

    for event in EVENTS[:cut]:
        first.send(event)
        keep(first.state)
    second = World(keys=())
    second.auto_fetch = False
    second.state.restore((kind, key, value) for (kind, key), value in stored.items())
    second.state.trust = first.state.trust
    said = [o for slice_ in restored(second.state) for o in slice_]
    quiet = [o for o in said if type(o).__name__ not in ("ShardReached", "EvidenceWanted")]
    assert quiet == []
    second.outputs = list(first.outputs)
    for event in EVENTS[cut:]:
        second.send(event)
    second.now = STORY.now
    second.wait(60 * MINUTE)
    assert second.summary() == EXPECTED


def test_an_event_for_an_unswept_class_judges_it_at_once() -> None:
    """A sweep runs in slices between live events; the event does not wait for it."""
    world = World(keys=("dev",))
    world.trust(policy("signed", signed_by=("dev",)))
    world.now += MINUTE
    image = world.image("r.example/a:1", signed_by=("dev",))
    world.send(world.pod("p", "a-1", {"app": image}))
    record = changes.revoke(
        world.state.trust, _by(world), subject_kind="key", subject="dev", reason="keyCompromise", all_signatures=True
    )
    event = TrustChanged("t", world.now, world.state.trust.epoch + 1, TRUST_RECORD.dump_json(record))
    list(handle(world.state, event))
    assert world.state.sweep is not None
    list(handle(world.state, world.pod("p", "a-2", {"app": image})))
    (cls,) = world.state.classes.values()
    assert cls.judged["signed"].codes == ("key-revoked",)
    list(finish_sweep(world.state))
    assert [f.members for f in world.open()] == [2]


def test_packed_state_is_small() -> None:
    """Guard against storing what can be rebuilt."""
    world, _ = story()
    kinds = {kind for kind, _, _ in packed(world.state)}
    assert kinds <= {"pod", "class", "workload", "finding", "part", "feed", "image", "meta"}
    assert TRUST not in kinds
    assert FeedSeen is not None
