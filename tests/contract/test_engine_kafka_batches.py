"""Workers without shards on three adapters: what a handler that waits must be able to rely on (fetcher, indexer)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from streams.codec import SCHEMA_VERSION
from streams.engine.batches import BatchOptions, BatchWorker
from streams.engine.broker import RecordsLost, Slot
from streams.engine.port import Output, Record
from streams.engine.reading import refuse_newer
from streams.topics import OBSERVATIONS
from tests.helpers.enginefixture import ENGINES, Open, opener
from tests.helpers.engineworld import Broken, Heard, World, item, many, said

pytestmark = pytest.mark.asyncio

KEYS = ["a", "b", "c"]


@pytest.fixture(params=ENGINES)
def world(request: pytest.FixtureRequest) -> Open:
    return opener(request)


class Handler:
    """Says each record; an id in `breaks` raises, one in `waits` takes until it is let go."""

    def __init__(self) -> None:
        self.handled: list[str] = []
        self.breaks: set[str] = set()
        self.gate = asyncio.Event()
        self.gate.set()

    def check(self, record: Record) -> None:
        refuse_newer(record)

    async def handle(self, records: Sequence[Record]) -> Sequence[Output]:
        await self.gate.wait()
        for record in records:
            if record.id in self.breaks:
                raise Broken(record.id)
        self.handled += [record.id for record in records]
        return [said(record.key, record.id) for record in records]


class Batches:
    """A worker that runs."""

    def __init__(self, one: World, handler: Handler, **options: float) -> None:
        self.handler, self.heard, self.stop = handler, Heard(), asyncio.Event()
        self.worker = BatchWorker(
            one.place.link(), one.place.source((OBSERVATIONS,)), handler, shards=one.shards, meter=self.heard,
            options=BatchOptions(**{"batch": 10, "flush_seconds": 0.02, "close_seconds": 1.0, **options}),  # type: ignore[arg-type]  # tests write what the fields take
        )  # fmt: skip
        self.task = asyncio.create_task(self.worker.run(self.stop))

    async def end(self) -> None:
        self.stop.set()
        async with asyncio.timeout(30):
            await self.task


async def reached(one: World, inputs: Sequence[Output], *running: Batches) -> None:
    ends = len(inputs)
    async with asyncio.timeout(30):
        while sum((await one.place.positions(OBSERVATIONS)).values()) < ends:
            for worker in running:
                if worker.task.done():
                    worker.task.result()
            await asyncio.sleep(0.1)


async def test_every_record_is_handled_in_order_per_key_and_a_stop_repeats_nothing(world: Open) -> None:
    async with world() as one:
        first, second = many(KEYS, 30), many(KEYS, 30, start=31)
        await one.append(first)
        worker = Batches(one, Handler())
        await reached(one, first, worker)
        await worker.end()
        await one.append(second)
        another = Batches(one, Handler())
        await reached(one, first + second, another)
        await another.end()
        handled = worker.handler.handled + another.handler.handled
        assert sorted(handled) == sorted(out.id for out in first + second)
        for key in KEYS:
            mine = [int(name.partition("/")[2]) for name in handled if name.startswith(f"{key}/")]
            assert mine == sorted(mine)
        assert {record.id for record in await one.said()} == set(handled)


async def test_a_handler_that_raises_acknowledges_nothing_of_its_batch_or_behind(world: Open) -> None:
    async with world(shards=1) as one:
        inputs = [item("a", n) for n in range(1, 61)]
        await one.append(inputs)
        broken = Handler()
        broken.breaks = {"a/25"}
        worker = Batches(one, broken)
        with pytest.raises(Broken, match="a/25"):
            await worker.task
        assert (await one.place.positions(OBSERVATIONS)).get(Slot(OBSERVATIONS, 0), 0) <= 24
        another = Batches(one, Handler())
        await reached(one, inputs, another)
        await another.end()
        assert {record.id for record in await one.said()} == {out.id for out in inputs}


async def test_a_handler_that_waits_holds_no_more_than_it_can(world: Open) -> None:
    """As while a store is away for long: what waits is bounded, and everything comes, once, when it is back."""
    async with world() as one:
        inputs = many(KEYS, 6000)
        await one.append(inputs)
        handler = Handler()
        handler.gate.clear()
        worker = Batches(one, handler, queue=300, batch=100)
        async with asyncio.timeout(20):
            while worker.worker.waiting <= 100:  # noqa: ASYNC110  # a figure that grows, no event
                await asyncio.sleep(0.05)
        await asyncio.sleep(1)
        assert worker.worker.waiting < len(inputs) // 2
        assert handler.handled == []
        handler.gate.set()
        await reached(one, inputs, worker)
        assert sorted(handler.handled) == sorted(out.id for out in inputs)
        await worker.end()


async def test_a_newer_record_holds_its_partition_and_no_other(world: Open) -> None:
    async with world() as one:
        held, free = one.key_in(0), one.key_in(1)
        await one.append([item(held, 1)])
        await one.plant(OBSERVATIONS, 0, bytes((0x92, SCHEMA_VERSION + 1, 0x80)), held)
        inputs = [item(free, n) for n in range(1, 100)]
        await one.append([item(held, 2), *inputs])
        worker = Batches(one, Handler())
        await reached(one, [item(held, 1), *inputs], worker)
        await worker.end()
        assert await one.place.positions(OBSERVATIONS) == {Slot(OBSERVATIONS, 0): 1, Slot(OBSERVATIONS, 1): 99}
        assert f"{held}/2" not in worker.handler.handled
        assert worker.heard.helds[0][0] == Slot(OBSERVATIONS, 0)


async def test_records_that_retention_took_are_noticed(world: Open) -> None:
    async with world(shards=1) as one:
        inputs = [item("a", n) for n in range(1, 11)]
        await one.append(inputs)
        worker = Batches(one, Handler())
        await reached(one, inputs, worker)
        await worker.end()
        await one.append([item("a", n) for n in range(11, 31)])
        await one.place.delete(Slot(OBSERVATIONS, 0), 20)
        with pytest.raises(RecordsLost, match="goes on at 20, expected 10"):
            async with asyncio.timeout(30):
                await Batches(one, Handler()).task
