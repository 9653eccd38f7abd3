"""Of history the first document of an id stays: two writes that hold one are sent one after the other."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from streams.elastic import Answer
from streams.sinks.document import Document
from streams.sinks.elasticsearch import ElasticRecord, Versioned
from streams.sinks.fields import HOMES
from streams.sinks.mapping import Names


class SlowServer:
    """Answers every bulk request once it is told to; there is no data stream yet."""

    where = "http://record"

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.answers: list[asyncio.Event] = []

    async def call(
        self, _method: str, path: str, *, params: object = None, body: Sequence[bytes] = (), accept: object = ()
    ) -> Answer:
        del params, accept
        if not path.endswith("_bulk"):
            return Answer(404, {})
        heads = [json.loads(line.split(b"\n")[0]) for line in body]
        self.asked.append([next(iter(head.values()))["_id"] for head in heads])
        go = asyncio.Event()
        self.answers.append(go)
        await go.wait()
        return Answer(200, {"items": [{next(iter(head)): {"status": 201, "_index": "i"}} for head in heads]})


def written(home: str, *names: str) -> list[Versioned]:
    return [Versioned(Document(HOMES[home], name, 1, {"message": name}, None)) for name in names]


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  # what is waited for tells nobody
            await asyncio.sleep(0.001)


def test_a_second_write_of_an_id_waits_for_the_first_and_another_does_not():
    async def played() -> None:
        server = SlowServer()
        record = ElasticRecord(server, Names("t"))  # type: ignore[arg-type]  # as much of it as is asked
        first = asyncio.create_task(record.write(written("incident", "a", "b")))
        await until(lambda: len(server.asked) == 1)
        second = asyncio.create_task(record.write(written("incident", "b", "c")))
        other = asyncio.create_task(record.write(written("incident", "d")))
        await until(lambda: len(server.asked) == 2)
        await asyncio.sleep(0.05)
        assert [len(ids) for ids in server.asked] == [2, 1], "b is under way; d is nobody's"
        server.answers[1].set()
        await other
        assert not second.done()
        server.answers[0].set()
        await until(lambda: len(server.asked) == 3)
        server.answers[2].set()
        assert [(await task).stored for task in (first, second)] == [2, 2]

    asyncio.run(played())


def test_a_write_that_is_given_up_lets_the_next_one_go():
    async def played() -> None:
        server = SlowServer()
        record = ElasticRecord(server, Names("t"))  # type: ignore[arg-type]  # as above
        first = asyncio.create_task(record.write(written("incident", "a")))
        await until(lambda: len(server.asked) == 1)
        second = asyncio.create_task(record.write(written("incident", "a")))
        first.cancel()
        await until(lambda: len(server.asked) == 2)
        server.answers[1].set()
        assert (await second).stored == 1

    asyncio.run(played())
