"""Elasticsearch that is killed, that is full, that refuses large requests: nothing is lost, nothing is there twice."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from scripts.servers.elasticsearch import Node
from streams.sinks.bulk import Versioned
from streams.sinks.elasticsearch import ElasticRecord, Limits, Written
from tests.helpers.elasticspace import Space, history, state, versioned
from tests.helpers.servers import private_node

pytestmark = [pytest.mark.needs("elasticsearch"), pytest.mark.slow, pytest.mark.timeout(1200)]

SMALL = {"http.max_content_length": "100kb", "indexing_pressure.memory.limit": "300kb"}
"""Less than a chunk of ours is refused as too large, two at a time as too much."""
PATIENT = Limits(documents=500, first_wait=0.05, longest_wait=1.0, patience=1000)


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with private_node(settings=SMALL) as running:
        yield running


@pytest.fixture
def space(node) -> Iterator[Space]:
    made = Space.fresh(node.url)
    made.set_up()
    yield made
    made.close()


def test_a_request_that_is_too_large_is_halved_until_it_fits(space):
    """413: no item was looked at. A document that is too large by itself is a dead letter, the rest is stored."""
    filler = "x" * 4000
    documents = [history(f"d{n}", message=filler) for n in range(200)]
    huge = history("huge", "trust")
    huge.body["event.original"] = "y" * 200_000
    written = space.write([*documents, huge, history("small", "trust")])
    (refused,) = written.refused
    assert (written.stored, refused.item.document.id) == (201, "huge")
    assert refused.reason.startswith("413")
    assert space.count("admission") == 200


def test_back_pressure_is_waited_out_and_told(space):
    """429 for the whole request: the window shrinks, the caller is told that it waits and that it goes on."""
    filler = "x" * 2000
    said: list[str] = []
    windows: list[int] = []

    async def work(record: ElasticRecord) -> list[Written]:
        def batch(part: int) -> Sequence[Versioned]:
            return versioned([history(f"b{part}-{n}", message=filler) for n in range(300)])

        def paused(reason: str) -> None:
            said.append(reason)
            windows.append(record._window.documents)

        record._paused = paused
        return list(await asyncio.gather(*(record.write(batch(part)) for part in range(8))))

    limits = Limits(documents=45, in_flight=12, least=10, first_wait=0.02, longest_wait=0.5, patience=300)
    written = asyncio.run(space.writing(work, limits))
    assert sum(one.stored + one.duplicate for one in written) == 2400
    assert space.count("admission") == 2400
    assert any("429 es_rejected_execution_exception" in reason for reason in said)
    assert said[-1] == ""
    assert min(windows) < 45 * 12


def killed_while(node: Node, times: int, seed: int) -> threading.Thread:
    """Kills the node at random instants and starts it again."""
    chance = random.Random(seed)
    gone = threading.Event()

    def run() -> None:
        for _ in range(times):
            gone.wait(chance.uniform(0.3, 1.5))
            node.kill()
            node.start(seconds=400)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@pytest.mark.kill
def test_killed_in_the_middle_of_bulks_every_document_is_there_once(node, space):
    """kill -9, twice, under writing; events and versioned states. What is sent again is told as known."""
    events = [history(f"e{n:05}", message=f"event {n}") for n in range(6_000)]
    states = [state(f"s{n:04}", version, message=f"version {version}") for version in range(1, 5) for n in range(800)]
    random.Random(7).shuffle(states)
    parts = [[*events[n::8], *states[n::8]] for n in range(8)]
    said: list[str] = []

    async def work(record: ElasticRecord) -> Counter[str]:
        total: Counter[str] = Counter()
        for part in parts * 2:  # twice, so that it lasts as long as the kills
            written = await record.write(versioned(part))
            assert written.refused == ()
            total.update(stored=written.stored, duplicate=written.duplicate, stale=written.stale)
        return total

    killer = killed_while(node, 2, seed=11)
    total = asyncio.run(space.writing(work, PATIENT, paused=said.append))
    killer.join()
    assert total.total() == 2 * (len(events) + len(states))
    assert space.count("admission") == 6_000
    assert {id_ for id_, copies in space.copies("admission").items() if len(copies) > 1} == set()
    found: dict[str, Any] = {hit["_id"]: hit for hit in space.hits("containers")}
    assert set(found) == {f"s{n:04}" for n in range(800)}
    assert {(hit["_version"], hit["_source"]["message"]) for hit in found.values()} == {(4, "version 4")}
    assert said  # it was felt
    assert said[-1] == ""


def test_a_node_that_comes_late_is_waited_for(node, space):
    """Down before the first request; the write ends when it is back."""
    node.kill()
    starter = threading.Timer(1.0, node.start)
    starter.start()
    written = space.write([history("late")], PATIENT)
    starter.join()
    assert written.stored + written.duplicate == 1
    assert space.count("admission") == 1
