"""The engine contract on three adapters: order per key, at least once at every edge, hand-over, poison, back-pressure.

`memory` is the broker in memory; `aiokafka` and `faust` run on a real one. What needs real processes (TERM, KILL, a
broker that is killed) is in test_engine_kafka_chaos.py.
"""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from streams.codec import SCHEMA_VERSION
from streams.engine.broker import RecordsLost, Slot
from streams.engine.lanes import LaneOptions
from streams.topics import DEADLETTERS, OBSERVATIONS
from tests.helpers.enginefixture import ENGINES, Open, opener
from tests.helpers.engineworld import EDGES, Broken, Death, Edge, Tally, ended_with, item, many, numbers

pytestmark = pytest.mark.asyncio

KEYS = ["a", "b", "c", "d", "e"]


@pytest.fixture(params=ENGINES)
def world(request: pytest.FixtureRequest) -> Open:
    return opener(request)


# ---------------------------------------------------------------------------------------------------------------- order


async def test_records_of_a_key_stay_in_order_and_each_is_handled_once(world: Open) -> None:
    async with world() as one:
        inputs = many(KEYS, 60)
        await one.append(inputs)
        worker = one.start()
        await one.finished(inputs)
        assert numbers(await one.said()) == {key: list(range(1, 61)) for key in KEYS}
        await worker.end()
        assert len(worker.handled()) == len(inputs)


async def test_a_worker_goes_on_where_it_stopped(world: Open) -> None:
    """A decent stop stores positions: nothing is handled twice, and state is there again."""
    async with world() as one:
        first, second = many(KEYS, 20), many(KEYS, 20, start=21)
        await one.append(first)
        worker = one.start()
        await one.until(lambda: len(worker.handled()) == len(first))
        await worker.end()
        await one.append(second)
        another = one.start()
        await one.finished(first + second)
        await another.end()
        assert len(another.handled()) == len(second)
        assert another.heard.restores
        assert sum(rows for _, rows in another.heard.restores) == len(KEYS)


# -------------------------------------------------------------------------------------------------------------- crashes


@pytest.mark.parametrize("after", [0, 3])
@pytest.mark.parametrize("edge", EDGES)
async def test_a_crash_at_any_edge_loses_and_doubles_nothing(world: Open, edge: Edge, after: int) -> None:
    """Die between outputs, state and position, early or with several batches under way; another goes on."""
    async with world() as one:
        inputs = many(KEYS, 40)
        await one.append(inputs)
        options = LaneOptions(tick_seconds=None, batch=7, window=4)
        victim = one.start(death=Death(edge, after), options=options)
        assert isinstance(await ended_with(victim), RuntimeError)
        one.start(options=options)
        await one.finished(inputs)


async def test_a_processor_that_raises_ends_the_worker_and_loses_nothing(world: Open) -> None:
    async with world() as one:
        inputs = many(KEYS, 20)
        await one.append(inputs)

        def make(shard: int) -> Tally:
            made = Tally(shard)
            made.breaks = {"c/11"}
            return made

        broken = one.start(make=make, options=LaneOptions(tick_seconds=None, batch=3))
        error = await ended_with(broken)
        assert isinstance(error, Broken)
        assert str(error) == "c/11"
        one.start()
        await one.finished(inputs)


# --------------------------------------------------------------------------------------------------------------- poison


async def test_a_record_nobody_can_read_is_put_aside_and_the_next_goes_on(world: Open) -> None:
    async with world() as one:
        shard, key = 1, one.key_in(1)
        await one.append([item(key, 1)])
        for garbage in (b"", b"\xc1garbage", b"\x92\x01\x80"):
            await one.plant(OBSERVATIONS, shard, garbage, key)
        inputs = [item(key, n) for n in (1, 2, 3)]
        await one.append(inputs[1:])
        worker = one.start()
        await one.finished(inputs)
        await one.until(lambda: worker.heard.positions.get(Slot(OBSERVATIONS, shard)) == 6)
        assert len(await one.place.log(DEADLETTERS)) == 3


def newer() -> bytes:
    return msgspec.msgpack.encode([SCHEMA_VERSION + 1, {"type": "whatever", "comes": "next"}])


async def test_a_record_of_a_newer_program_holds_its_partition_and_no_other(world: Open) -> None:
    """Nothing behind it is handled or acknowledged; the other partition, of the same worker, goes on for long."""
    async with world() as one:
        held, free = one.key_in(0), one.key_in(1)
        await one.append([item(held, 1)])
        await one.plant(OBSERVATIONS, 0, newer(), held)
        await one.append([item(held, n) for n in range(2, 400)])
        worker = one.start(options=LaneOptions(tick_seconds=None, queue=50))
        inputs = [item(free, n) for n in range(1, 600)]
        await one.append(inputs)
        await one.until(lambda: worker.heard.positions.get(Slot(OBSERVATIONS, 1)) == len(inputs))
        await one.until(lambda: bool(worker.heard.helds))  # which of the two is read first, nobody says
        assert [slot for slot, _ in worker.heard.helds] == [Slot(OBSERVATIONS, 0)]
        assert "revet.observations/0:1" in worker.heard.helds[0][1]
        assert "upgrade" in worker.heard.helds[0][1]
        await worker.end()
        assert (await one.place.positions(OBSERVATIONS)) == {Slot(OBSERVATIONS, 0): 1, Slot(OBSERVATIONS, 1): 599}
        assert [name for name in worker.handled() if name.startswith(f"{held}/")] == [f"{held}/1"]


# ----------------------------------------------------------------------------------------------------------- hand-over


async def test_workers_that_come_and_go_lose_and_double_nothing(world: Open) -> None:
    async with world(shards=4) as one:
        inputs = many([*KEYS, "f", "g", "h"], 50)
        options = LaneOptions(tick_seconds=None, batch=5)
        await one.append(inputs[:100])
        first = one.start(options=options)
        await one.until(lambda: len(first.handled()) > 20)
        second = one.start(options=options)
        await one.append(inputs[100:200])
        await one.until(lambda: bool(second.heard.ours) and len(first.heard.ours) < 4)
        third = one.start(options=options)
        await one.append(inputs[200:300])
        await one.until(lambda: bool(third.heard.ours))
        await first.end()
        await one.append(inputs[300:])
        await second.end()
        await one.finished(inputs)
        assert third.heard.ours == {Slot(OBSERVATIONS, n) for n in range(4)}


async def test_a_shard_nobody_touched_is_used_again_and_one_that_was_is_restored(world: Open) -> None:
    """Two join and leave. The first gets its shards back: those that somebody claimed meanwhile it reads anew."""
    async with world() as one:
        inputs = many(KEYS, 20)
        await one.append(inputs)
        first = one.start()
        await one.finished(inputs)
        assert {n: len(made) for n, made in first.made.items()} == {0: 1, 1: 1}
        second = one.start()
        await one.until(lambda: bool(second.heard.ours) and bool(second.heard.restores))
        moved = {slot.partition for slot in second.heard.ours}
        more = many(KEYS, 5, start=21)
        await one.append(more)
        await one.finished(inputs + more)
        await second.end()
        await one.until(lambda: len(first.heard.ours) == 2)
        last = many(KEYS, 5, start=26)
        await one.append(last)
        await one.finished(inputs + more + last)
        kept = set(first.made) - moved
        assert {n: len(made) for n, made in first.made.items()} == {**dict.fromkeys(kept, 1), **dict.fromkeys(moved, 2)}


# ----------------------------------------------------------------------------------------------------- back-pressure


async def test_a_slow_processor_is_given_no_more_than_it_can_hold(world: Open) -> None:
    """Partitions are paused and resumed many times: memory stays bounded, nothing is skipped, nothing comes twice."""
    async with world() as one:
        inputs = many(KEYS, 1200)
        await one.append(inputs)
        most = 0
        worker = one.start(options=LaneOptions(tick_seconds=None, queue=200, batch=50, window=1))
        paused: list[Slot] = []
        pause = worker.source.pause

        def pause_and_tell(slot: Slot) -> None:
            paused.append(slot)
            pause(slot)

        worker.source.pause = pause_and_tell  # type: ignore[method-assign]  # watched, and done all the same

        def look() -> bool:
            nonlocal most
            most = max([most, *(lane.waiting for lane in worker.worker.lanes.values())])
            return len(worker.handled()) == len(inputs)

        await one.until(look, 60)
        await one.finished(inputs)
        assert paused
        assert most <= 200 + 2 * 2000 + 4096
        assert len(worker.handled()) == len(inputs)


async def test_a_processor_that_never_takes_holds_up_nobody_else(world: Open) -> None:
    class Never(Tally):
        def process(self, records):
            return super().process(records) if self.shard else msgspec.structs.replace(super().process([]), consumed=0)

    async with world() as one:
        stuck, free = one.key_in(0), one.key_in(1)
        await one.append([item(stuck, n) for n in range(1, 3000)])
        await one.append([item(free, n) for n in range(1, 3000)])
        worker = one.start(make=Never, options=LaneOptions(tick_seconds=None, queue=100))
        await one.until(lambda: worker.heard.positions.get(Slot(OBSERVATIONS, 1)) == 2999)
        assert worker.worker.lanes[0].waiting <= 100 + 2000 + 4096


# --------------------------------------------------------------------------------------------------------------- losses


async def test_records_that_retention_took_are_noticed(world: Open) -> None:
    """The group is at 10, the log begins at 25: the worker ends with a name for it, and handles nothing behind."""
    async with world(shards=1) as one:
        inputs = [item("a", n) for n in range(1, 41)]
        await one.append(inputs[:10])
        worker = one.start()
        await one.finished(inputs[:10])
        await worker.end()
        await one.append(inputs[10:])
        await one.place.delete(Slot(OBSERVATIONS, 0), 25)
        another = one.start()
        error = await ended_with(another)
        assert isinstance(error, RecordsLost)
        assert "revet.observations/0 goes on at 25, expected 10: 15 records" in str(error)
        assert another.handled() == []
        accepting = one.start(accept_gaps=True)
        await one.until(lambda: accepting.heard.positions.get(Slot(OBSERVATIONS, 0)) == 40)


class Skipping:
    """An engine that loses a stretch of records of the first partition so many times, as engines do."""

    def __init__(self, source, skipped: range, times: int) -> None:
        self._source, self._skipped, self._times = source, skipped, times

    def __getattr__(self, name: str):
        return getattr(self._source, name)

    async def start(self, listener) -> None:
        deliver = listener.deliver

        def lossy(slot, records):
            left = [record for record in records if record.position not in self._skipped]
            if slot.partition or len(left) == len(records) or not self._times:
                deliver(slot, records)
                return
            self._times -= records[-1].position >= self._skipped[-1]
            deliver(slot, left)

        class Lossy:
            def __getattr__(self, name: str):
                return lossy if name == "deliver" else getattr(listener, name)

        await self._source.start(Lossy())


async def test_records_the_engine_skips_are_read_again_by_the_shard_alone(world: Open) -> None:
    """More than one answer of the broker lies on its way when the gap is noticed; another shard goes on meanwhile."""
    async with world(shards=2) as one:
        keys = [one.key_in(0), one.key_in(1)]
        inputs = many(keys, 3000)
        await one.append(inputs)
        worker = one.start(wrap=lambda source: Skipping(source, range(117, 240), times=2))
        await one.finished(inputs)
        assert worker.heard.skips == [(Slot(OBSERVATIONS, 0), 117, 240, False)] * 2
        assert len(worker.handled()) == len(set(worker.handled())) == len(inputs)


async def test_records_the_engine_never_gives_are_lost(world: Open) -> None:
    async with world(shards=1) as one:
        await one.append([item("a", n) for n in range(1, 31)])
        worker = one.start(wrap=lambda source: Skipping(source, range(17, 18), times=99))
        error = await ended_with(worker)
        assert isinstance(error, RecordsLost)
        assert "goes on at 18, expected 17: 1 records" in str(error)
        assert (await one.place.positions(OBSERVATIONS)).get(Slot(OBSERVATIONS, 0), 0) <= 17
        one.start()
        await one.finished([item("a", n) for n in range(1, 31)])


# ---------------------------------------------------------------------------------------------------------------- time


async def test_the_wall_clock_ticks_and_the_recorded_one_does_not(world: Open) -> None:
    async with world(shards=1) as one:
        wall = one.start(options=LaneOptions(tick_seconds=0.05))
        await one.until(lambda: 0 in wall.made and len(wall.made[0][0].ticks) >= 3)
        await wall.end()
        assert wall.made[0][0].ticks == sorted(wall.made[0][0].ticks)
        recorded = one.start(options=LaneOptions(tick_seconds=None))
        inputs = many(["a"], 5)
        await one.append(inputs)
        await one.finished(inputs)
        await asyncio.sleep(0.2)
        assert recorded.made[0][0].ticks == []
