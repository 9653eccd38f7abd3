"""An id is unique in one backing index only. Over rollovers, replays and crashes every document is there once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from streams.elastic import AsyncServer, url_path
from streams.sinks import guard as guarding
from streams.sinks.bulk import Versioned
from streams.sinks.elasticsearch import ElasticRecord, Limits
from tests.helpers.elasticspace import QUICK, Space, history, versioned

pytestmark = pytest.mark.needs("elasticsearch")


@pytest.fixture(scope="module")
def space(elastic_server) -> Iterator[Space]:
    made = Space.fresh(elastic_server.url)
    made.set_up()
    yield made
    made.close()


def doubled(space: Space, home: str) -> dict[str, list[str]]:
    return {id_: indices for id_, indices in space.copies(home).items() if len(indices) > 1}


def test_the_server_itself_takes_an_id_again_after_a_rollover(space):
    """What the guard is for; if this fails one day, the guard can go."""
    stream = space.names.target("namespace")
    space.write([history("a", "namespace")])
    space.roll_over("namespace")
    body = {"@timestamp": "2026-11-21T00:00:00Z"}
    assert space.server.call("PUT", f"/{stream}/_create/a", body=body).status == 201
    space.server.call("POST", url_path(stream, "_refresh"))
    assert set(doubled(space, "namespace")) == {"a"}


@pytest.mark.parametrize("rollovers", [1, 3])
def test_a_replay_from_the_beginning_after_rollovers_adds_nothing(space, rollovers):
    """A new process, which knows nothing of what was."""
    home = {1: "admission", 3: "lifecycle"}[rollovers]
    documents = [history(f"d{n:03}", home) for n in range(300)]
    for part in range(rollovers):
        assert space.write(documents[part * 60 : (part + 1) * 60]).stored == 60
        space.roll_over(home)
    written = space.write(documents)
    assert (written.stored, written.duplicate) == (300 - 60 * rollovers, 60 * rollovers)
    again = space.write(documents)
    assert (again.stored, again.duplicate) == (0, 300)
    assert doubled(space, home) == {}
    assert space.count(home) == 300


def test_a_rollover_between_two_chunks_is_noticed_by_the_answers(space):
    """The writer believes the older index is written; what lands elsewhere is looked for, and taken back."""
    documents = versioned([history(f"m{n:03}", "verification") for n in range(200)])

    async def work(record: ElasticRecord) -> tuple[int, int]:
        assert (await record.write(documents)).stored == 200
        space.roll_over("verification")  # behind the writer's back
        written = await record.write(documents)
        return written.stored, written.duplicate

    limits = Limits(documents=40, first_wait=0.01, patience=60)
    assert asyncio.run(space.writing(work, limits)) == (0, 200)
    assert doubled(space, "verification") == {}
    assert space.count("verification") == 200


class RollsOver(AsyncServer):
    """A server on which a rollover happens just before the third bulk request arrives."""

    def __init__(self, inner: AsyncServer, space: Space, home: str) -> None:
        self._inner, self._space, self._home = inner, space, home
        self.where = inner.where
        self._bulks = 0

    async def call(self, method: str, path: str, **more: Any) -> Any:
        if path == "/_bulk":
            self._bulks += 1
            if self._bulks == 3:
                await asyncio.to_thread(self._space.roll_over, self._home)
        return await self._inner.call(method, path, **more)


def test_a_rollover_in_the_middle_of_a_replay(space):
    """Some chunks are answered by the old index, some by the new one, two are under way."""
    documents = versioned([history(f"x{n:03}", "finding") for n in range(300)])
    space.write(documents[:150])

    async def work(record: ElasticRecord) -> Any:
        record._server = RollsOver(record._server, space, "finding")
        return await record.write(documents)

    written = asyncio.run(space.writing(work, Limits(documents=30, first_wait=0.01, patience=60)))
    assert (written.stored, written.duplicate) == (150, 150)
    assert doubled(space, "finding") == {}
    assert space.count("finding") == 300


def test_two_writers_and_a_rollover(space):
    """The old owner of a partition and the new one write the same; each notices."""
    documents = versioned([history(f"t{n:03}", "incident") for n in range(200)])

    async def one(record: ElasticRecord) -> None:
        await record.write(documents[:100])

    def replay(record: ElasticRecord) -> Any:
        return record.write(documents)

    async def both() -> tuple[Any, Any]:
        return await asyncio.gather(space.writing(replay), space.writing(replay))

    asyncio.run(space.writing(one))
    space.roll_over("incident")
    first, second = asyncio.run(both())
    assert first.stored + second.stored == 100
    assert doubled(space, "incident") == {}
    assert space.count("incident") == 200


def test_a_second_copy_left_by_a_crash_is_taken_back_by_the_replay(space):
    """Killed between the bulk's answer and the look for older copies."""
    documents = [history(f"k{n}", "evidence") for n in range(20)]
    space.write(documents)
    space.roll_over("evidence")
    stream = space.names.target("evidence")
    for made in documents[:5]:
        space.server.call("PUT", f"/{stream}/_create/{made.id}", body=made.body)
    space.server.call("POST", url_path(stream, "_refresh"))
    assert len(doubled(space, "evidence")) == 5
    assert space.write(documents).duplicate == 20
    assert doubled(space, "evidence") == {}
    assert space.count("evidence") == 20


def test_what_is_new_costs_no_look(space, monkeypatch):
    """Records produced well after the rollover can be in no older index; without a rollover nothing can."""

    async def work(record: ElasticRecord) -> tuple[int, int]:
        await record.write(versioned([history(f"n{n}", "trust") for n in range(50)]))
        await record.write(versioned([history(f"n{n}", "trust") for n in range(50)]))
        before = record.guard.looks
        space.roll_over("trust")
        record.guard._streams.clear()  # as a process that starts now
        later = 2**45  # milliseconds: far behind any rollover
        fresh = [Versioned(history(f"later{n}", "trust"), timestamp_ms=later) for n in range(50)]
        assert (await record.write(fresh)).stored == 50
        return before, record.guard.looks

    assert asyncio.run(space.writing(work)) == (0, 0)


def test_the_write_index_is_looked_up_again_after_a_while(space, monkeypatch):
    """So that a rollover is known before documents land elsewhere."""
    monkeypatch.setattr(guarding, "LOOK_SECONDS", 0.0)
    documents = versioned([history(f"w{n}", "configuration") for n in range(10)])

    async def work(record: ElasticRecord) -> tuple[int, int]:
        await record.write(documents)
        space.roll_over("configuration")
        await record.write(documents)
        return record.guard.looks, record.guard.removed

    assert asyncio.run(space.writing(work, QUICK)) == (1, 0)
    assert doubled(space, "configuration") == {}
