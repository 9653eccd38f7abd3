"""The engine contract on the memory engine: crash at every edge, redelivery, shards.

The same on SQLite, with real processes: tests/integration/test_kill_replay.py.
"""

from __future__ import annotations

import random

import pytest

from alerting.models import IncidentPart
from streams.codec import decode
from streams.engine.memory import EDGES, Edge, MemoryEngine
from streams.events import ContainerChanged, EvidenceFound, FeedSeen, TrustChanged
from streams.outputs import output
from streams.processors import JudgeProcessor
from streams.topics import CONTAINERS, PARTS, TRUST
from tests.helpers.world import MINUTE
from tests.unit.test_handlers_property import EVENTS, STORY


def engine(shards: int = 1, batch: int = 3) -> MemoryEngine:
    """Judges over the events of the story; trust is folded from the engine's own log on restore."""
    made: list[MemoryEngine] = []

    def judge(shard: int) -> JudgeProcessor:
        log = made[0].trust_seen(shard) if made else ()
        return JudgeProcessor(shard, shards, log)

    one = MemoryEngine(judge, shards, batch)
    made.append(one)
    one.append([output(e) for e in EVENTS if isinstance(e, (TrustChanged, FeedSeen))])
    one.append([output(e) for e in EVENTS if not isinstance(e, (TrustChanged, FeedSeen, EvidenceFound))])
    one.append([output(e) for e in EVENTS if isinstance(e, EvidenceFound)])
    return one


def result(one: MemoryEngine) -> tuple[object, object]:
    """Newest container documents and the sums of incident parts over shards, an hour later."""
    one.tick(STORY.now + 60 * MINUTE)
    one.drain()
    newest: dict[str, ContainerChanged] = {}
    for record in one.log(CONTAINERS):
        event = decode(record.value)
        assert isinstance(event, ContainerChanged)
        newest[event.id] = event
    parts: dict[tuple[str, int, str, str], IncidentPart] = {}
    for record in one.log(PARTS):
        part = decode(record.value)
        if isinstance(part, IncidentPart):
            parts[(part.incident, part.shard, part.cluster, part.namespace)] = part
    sums: dict[str, tuple[int, int]] = {}
    for part in parts.values():
        containers, workloads = sums.get(part.incident, (0, 0))
        sums[part.incident] = (containers + part.containers, workloads + part.workloads)
    documents = sorted(
        (c.id, c.ended is None, tuple((v.policy, v.outcome, v.codes) for v in c.verdicts) if c.ended is None else ())
        for c in newest.values()
    )
    return documents, sorted((k, v) for k, v in sums.items() if any(v))


@pytest.fixture(scope="module")
def undisturbed() -> tuple[object, object]:
    one = engine()
    one.drain()
    return result(one)


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("batch", [1, 4, 50])
def test_kill_at_every_edge_loses_and_doubles_nothing(
    edge: Edge, batch: int, undisturbed: tuple[object, object]
) -> None:
    """Die at this edge of every third batch; the end is the same as without."""
    one = engine(batch=batch)
    chance = random.Random(batch)
    for _ in range(200):
        if chance.random() < 0.3:
            one.crash_at = edge
        if not one.step():
            break
    one.crash_at = None
    one.drain()
    assert result(one) == undisturbed


@pytest.mark.parametrize("back", [1, 5, 100])
def test_redelivery_of_a_partition_changes_nothing(back: int, undisturbed: tuple[object, object]) -> None:
    """Positions moved back: everything comes again, nothing changes."""
    one = engine()
    one.drain()
    one.redeliver(0, back)
    one.drain()
    assert result(one) == undisturbed


@pytest.mark.parametrize("shards", [2, 3, 7])
def test_shards_add_up_to_one(shards: int, undisturbed: tuple[object, object]) -> None:
    """The same counts and documents however the workloads are spread."""
    one = engine(shards)
    one.drain()
    assert result(one) == undisturbed


def test_trust_is_one_partition_read_by_all() -> None:
    """Every shard reaches the same epoch."""
    one = engine(3)
    one.drain()
    epochs = {p.state.trust.epoch for p in one.processors() if isinstance(p, JudgeProcessor)}
    assert epochs == {len(one.log(TRUST))}
