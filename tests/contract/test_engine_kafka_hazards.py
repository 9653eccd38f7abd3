"""The engine where it is tempted to decide too early or too late: broadcast, windows, stale owners, refused outputs.

On three adapters, as test_engine_kafka_contract.py.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence

import msgspec
import pytest

from alerting.models import IncidentAction
from streams.clock import wall_clock
from streams.codec import SCHEMA_VERSION, encode
from streams.engine.broker import Followed, Link, ShardTaken, Slot
from streams.engine.lanes import LaneOptions
from streams.engine.port import Effects, Output, Record
from streams.engine.staterows import COUNTER_BITS, Owner, StateFold, claim_record
from streams.engine.view import BroadcastView
from streams.engine.wire import WireRecord
from streams.topics import FACTS, OBSERVATIONS, STATE, VERDICTS
from tests.helpers.enginefixture import ENGINES, Open, opener
from tests.helpers.engineworld import Tally, World, a_place, ended_with, item, many
from verifier.errors import PlaceError, PlaceUnavailable

pytestmark = pytest.mark.asyncio

KEYS = ["a", "b", "c", "d", "e"]
QUIET = LaneOptions(tick_seconds=None)


@pytest.fixture(params=ENGINES)
def world(request: pytest.FixtureRequest) -> Open:
    return opener(request)


class AnyLink:
    """A link in between; what is not named here goes through."""

    def __init__(self, link: Link) -> None:
        self.link = link

    async def start(self) -> None:
        await self.link.start()

    async def stop(self) -> None:
        await self.link.stop()

    async def send(self, record: WireRecord) -> asyncio.Future[int]:
        return await self.link.send(record)

    async def ends(self, slots: Collection[Slot]) -> dict[Slot, int]:
        return await self.link.ends(slots)

    def read(self, slot: Slot, start: int, end: int) -> AsyncIterator[Sequence[Record]]:
        return self.link.read(slot, start, end)

    def follow(self, slots: Collection[Slot], start: Mapping[Slot, int] | None = None) -> AsyncIterator[Followed]:
        return self.link.follow(slots, start)


class SlowLink(AnyLink):
    """After so many outputs it hands nothing on, as a process that is stopped, or a broker that does not answer."""

    def __init__(self, link: Link, outputs: int) -> None:
        super().__init__(link)
        self.outputs = outputs
        self.held: list[tuple[WireRecord, asyncio.Future[int]]] = []

    async def send(self, record: WireRecord) -> asyncio.Future[int]:
        self.outputs -= record.topic == VERDICTS
        if self.outputs >= 0:
            return await self.link.send(record)
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.held.append((record, done))
        return done


# ------------------------------------------------------------------------------------------------------------ broadcast


def facts(number: int) -> list[WireRecord]:
    value = encode(IncidentAction("fact", 0, "i", "note", ""))
    return [WireRecord(FACTS, 0, b"image-%d" % n, value, (("id", b"fact"), ("time", b"0"))) for n in range(number)]


async def test_broadcast_topics_are_read_whole_before_work_begins(world: Open) -> None:
    """50,000 records are there before; of the data no record is handled before the last of them was taken."""
    async with world() as one:
        await one.place.send(facts(50_000))
        inputs = many(KEYS, 20)
        await one.append(inputs)
        taken: list[str] = []
        seen_at: list[int] = []

        class Looking(Tally):
            def process(self, records: Sequence[Record]) -> Effects:
                seen_at.append(len(taken))
                return super().process([record for record in records if record.topic == OBSERVATIONS])

        def view(link: Link) -> BroadcastView:
            return BroadcastView(link, (FACTS,), lambda records: taken.extend(r.key for r in records), wall_clock)

        worker = one.start(make=Looking, view=view, options=QUIET)
        await one.finished(inputs)
        assert min(seen_at) == 50_000
        assert taken == [f"image-{n}" for n in range(50_000)]
        await one.place.send(facts(1))
        await one.until(lambda: len(taken) == 50_001)
        assert worker.worker._view is not None
        assert worker.worker._view.positions == {FACTS: 50_001}


async def test_a_broadcast_record_of_a_newer_program_stops_all_work_and_says_so(world: Open) -> None:
    async with world() as one:
        await one.place.send(facts(3))
        await one.plant(FACTS, 0, msgspec.msgpack.encode([SCHEMA_VERSION + 1, {}]))
        await one.append(many(KEYS, 2))
        taken: list[Record] = []
        views: list[BroadcastView] = []

        def view(link: Link) -> BroadcastView:
            views.append(BroadcastView(link, (FACTS,), taken.extend, wall_clock))
            return views[0]

        worker = one.start(view=view, options=QUIET)
        await one.until(lambda: bool(views and views[0].held))
        assert "revet.facts/0:3" in views[0].held
        await asyncio.sleep(0.3)
        assert (len(taken), worker.handled(), views[0].is_whole) == (3, [], False)
        began = time.monotonic()
        await worker.end()
        assert time.monotonic() - began < 10


class NoEnds(AnyLink):
    """A broker that hands out data, and does not tell where broadcast topics end."""

    is_silent = False

    async def ends(self, slots: Collection[Slot]) -> dict[Slot, int]:
        if self.is_silent and any(slot.topic == FACTS for slot in slots):
            raise PlaceUnavailable("kafka-unavailable", "silent")
        return await self.link.ends(slots)


async def test_a_stale_view_stops_work_and_a_fresh_one_lets_it_go_on(world: Open) -> None:
    """Nothing is judged by what may be older than the bound; the lag says how old it is."""
    async with world() as one:
        first, second = many(KEYS, 3), many(KEYS, 3, start=4)
        await one.append(first)
        links: list[NoEnds] = []

        def view(link: Link) -> BroadcastView:
            links.append(NoEnds(link))
            return BroadcastView(links[0], (FACTS,), lambda _: None, wall_clock)

        worker = one.start(view=view, options=QUIET, stale_seconds=3)
        await one.finished(first)
        assert not worker.worker.is_stale()
        links[0].is_silent = True
        await one.until(worker.worker.is_stale)
        await one.append(second)
        await asyncio.sleep(1)
        assert len(worker.handled()) == len(first)
        assert worker.worker._view is not None
        assert worker.worker._view.lag(wall_clock()) > 3
        links[0].is_silent = False
        await one.finished(first + second)


# -------------------------------------------------------------------------------------------------------------- windows


class RefusesOne(AnyLink):
    """One output is taken and never becomes durable; those behind it do."""

    refused = ""

    async def send(self, record: WireRecord) -> asyncio.Future[int]:
        if record.topic == VERDICTS and (("id", self.refused.encode())) in record.headers:
            done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            done.set_exception(PlaceUnavailable("kafka-unavailable", "not taken"))
            done.exception()
            return done
        return await self.link.send(record)


async def test_behind_an_output_that_fails_nothing_is_acknowledged(world: Open) -> None:
    """Eight batches are under way; the third has an output that the broker does not take."""
    async with world(shards=1) as one:
        inputs = [item("a", n) for n in range(1, 101)]
        await one.append(inputs)

        def wrap(link: Link) -> Link:
            middle = RefusesOne(link)
            middle.refused = "a/25"
            return middle

        worker = one.start(through=wrap, options=LaneOptions(tick_seconds=None, batch=10, window=8))
        error = await ended_with(worker)
        assert isinstance(error, PlaceError)
        assert (await one.place.positions(OBSERVATIONS)).get(Slot(OBSERVATIONS, 0), 0) <= 20
        fold = await state_of(one, 0)
        assert all(int(value) <= 20 for _, _, value in fold.rows())
        one.start(options=QUIET)
        await one.finished(inputs)


async def test_a_stop_does_not_wait_for_an_output_without_end_and_acknowledges_nothing_of_it(world: Open) -> None:
    async with world(shards=1) as one:
        inputs = [item("a", n) for n in range(1, 31)]
        await one.append(inputs)
        links: list[SlowLink] = []

        def wrap(link: Link) -> Link:
            links.append(SlowLink(link, outputs=12))
            return links[-1]

        worker = one.start(through=wrap, options=LaneOptions(tick_seconds=None, batch=5, close_seconds=0.5))
        await one.until(lambda: bool(links[0].held))
        began = time.monotonic()
        await worker.end()
        assert time.monotonic() - began < 15
        assert (await one.place.positions(OBSERVATIONS)).get(Slot(OBSERVATIONS, 0), 0) < 30
        one.start(options=QUIET)
        await one.finished(inputs)


async def test_an_output_no_broker_takes_ends_the_worker_and_keeps_the_input(world: Open) -> None:
    """Two megabytes in one record: refused by the client or the broker, never dropped with a line in a log."""

    class Loud(Tally):
        def process(self, records: Sequence[Record]) -> Effects:
            effects = super().process(records)
            big = IncidentAction("big", 0, "a", "note", "", "x" * 2_000_000)
            return msgspec.structs.replace(effects, outputs=(*effects.outputs, Output(VERDICTS, "a", "big", 0, big)))

    async with world(shards=1) as one:
        if one.kind == "memory":
            return  # takes everything
        await one.append(many(["a"], 3))
        error = await ended_with(one.start(make=Loud, options=QUIET))
        assert isinstance(error, PlaceError)
        assert "2" in str(error)
        assert (await one.place.positions(OBSERVATIONS)).get(Slot(OBSERVATIONS, 0), 0) == 0


# --------------------------------------------------------------------------------------------------------- stale owners


async def state_of(one: World, shard: int) -> StateFold:
    fold = StateFold()
    for record in await one.place.log(STATE):
        if record.partition == shard:
            fold.take(record)
    return fold


def generations(found: Sequence[Record]) -> set[int]:
    return {record.version >> COUNTER_BITS for record in found}


async def test_what_a_former_owner_writes_late_replaces_nothing(world: Open) -> None:
    """Its outputs and rows are on their way while another takes the shard, and become durable long after.

    The versions of the new owner's outputs are all higher, and of every row the new owner's counts.
    """
    async with world(shards=1) as one:
        inputs = [item(key, n) for n in range(1, 21) for key in KEYS]
        await one.append(inputs)
        links: list[SlowLink] = []

        def wrap(link: Link) -> Link:
            links.append(SlowLink(link, outputs=12))
            return links[-1]

        options = LaneOptions(tick_seconds=None, batch=10, close_seconds=0.3)
        stale = one.start(through=wrap, options=options)
        await one.until(lambda: len(links[0].held) > 3)
        await stale.end()
        one.start(options=QUIET)
        await one.finished(inputs)
        before = await state_of(one, 0)
        early = max(generations(await one.said()))
        owner = Owner(early - 1, "whoever")
        late = [record for record, _ in links[0].held]
        late += [
            WireRecord(STATE, 0, b"%d\0newest\0%s" % (owner.generation, key.encode()), b"\x01\x01999") for key in KEYS
        ]
        assert any(record.topic == VERDICTS for record in late)
        await one.place.send(late)
        await one.audit(inputs)
        after = await state_of(one, 0)
        assert dict(rows(after)) == dict(rows(before)) == dict.fromkeys(KEYS, b"20")
        late_versions = [int(dict(r.headers)["v"]) for r in late if r.topic == VERDICTS]
        assert max(late_versions) < min(r.version for r in await one.said() if r.version >> COUNTER_BITS == early)


def rows(fold: StateFold) -> list[tuple[str, bytes]]:
    return [(key, value) for _, key, value in fold.rows()]


async def test_an_owner_that_was_overtaken_acknowledges_nothing_and_ends(world: Open) -> None:
    """Somebody stopped before its claim and goes on with it now: the log says who is the owner, not the group."""
    async with world(shards=1) as one:
        first, second = many(["a"], 5), many(["a"], 5, start=6)
        await one.append(first)
        options = LaneOptions(tick_seconds=None, taken_seconds=0.5)
        worker = one.start(options=options)
        await one.finished(first)
        fold = await state_of(one, 0)
        await one.place.send([claim_record(STATE, 0, Owner(fold.generation + 1, "zombie"))])
        await one.append(second)
        error = await ended_with(worker)
        assert isinstance(error, ShardTaken)
        assert "zombie" in str(error)
        assert (await one.place.positions(OBSERVATIONS)) == {Slot(OBSERVATIONS, 0): 5}
        another = one.start(options=options)
        await one.finished(first + second)
        assert (await state_of(one, 0)).generation == fold.generation + 2
        assert another.made[0][0].newest == {"a": 10}


async def test_an_owner_that_was_overtaken_and_loses_its_partitions_does_not_end(world: Open) -> None:
    """The one that had been stopped: it notices by the log before its group tells it."""
    async with world(shards=1) as one:
        first = many(["a"], 5)
        await one.append(first)
        zombie = one.start(options=LaneOptions(tick_seconds=None, taken_seconds=30))
        await one.finished(first)
        fold = await state_of(one, 0)
        await one.place.send([claim_record(STATE, 0, Owner(fold.generation + 1, "owner"))])
        second = many(["a"], 5, start=6)
        await one.append(second)
        await asyncio.sleep(0.5)
        assert not zombie.task.done()
        assert (await one.place.positions(OBSERVATIONS)) == {Slot(OBSERVATIONS, 0): 5}
        await zombie.end()
        one.start(options=QUIET)
        await one.finished(first + second)


async def test_a_row_of_a_newer_program_holds_its_shard_and_no_other(world: Open) -> None:
    async with world() as one:
        held, free = one.key_in(0), one.key_in(1)
        await one.place.send([WireRecord(STATE, 0, b"7\0newest\0x", b"\x02\x01whatever")])
        await one.append([item(held, n) for n in (1, 2)])
        inputs = [item(free, n) for n in range(1, 50)]
        await one.append(inputs)
        worker = one.start(options=QUIET)
        await one.until(lambda: worker.heard.positions.get(Slot(OBSERVATIONS, 1)) == len(inputs))
        await one.until(lambda: bool(worker.heard.helds))
        assert worker.heard.helds[0][0] == Slot(STATE, 0)
        assert "upgrade" in worker.heard.helds[0][1]
        await worker.end()
        assert Slot(OBSERVATIONS, 0) not in await one.place.positions(OBSERVATIONS)


@pytest.mark.parametrize(
    "key", [b"", b"\xff\xfe", b"x", b"\xc2\xb2\0newest\0a", b"999999999999\0newest\0a", b"5", b"5\0newest", b"5\0claim"]
)
@pytest.mark.parametrize("value", [b"", b"\x01", b"\x01\x02", b"\x01\x07x", b"\x01\x01"])
async def test_garbage_among_rows_of_state_stops_nothing(key: bytes, value: bytes) -> None:
    """Whatever stands there, a worker restores, goes on, and its versions stay below 2^63."""
    async with a_place("memory", "", shards=1) as one:
        await one.place.send([WireRecord(STATE, 0, key, value)])
        inputs = many(["b"], 3)
        await one.append(inputs)
        one.start(options=QUIET)
        await one.finished(inputs)
        assert max(r.version for r in await one.said()) < 2**63
