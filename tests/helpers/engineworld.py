"""A place to run workers of the engine in, for contract tests: on the broker in memory, or on a real one by an engine.

    async with a_place("faust", bootstrap, shards=2) as place:
        await place.append(many("a", 10))
        async with place.worker() as one: await place.all_said(10)
        assert place.said() ...

The processor is `Tally`: it counts per key, and says so loudly when a record is missing or comes before its turn. What
it says is a document per record, whose newest version per key has to be the last record; so a lost record, a stale
owner that wins, or state that is ahead of outputs all show in `audit`.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol, TypeVar

from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.structs import TopicPartition

from alerting.models import IncidentAction
from streams.clock import wall_clock
from streams.codec import NewerSchemaError, decode
from streams.engine.aiokafka import AiokafkaSource
from streams.engine.broker import Followed, Link, Listener, Slot, Source
from streams.engine.faust import FaustSource
from streams.engine.lanes import LaneOptions, Meter, NoMeter, ShardSpec
from streams.engine.link import KafkaLink, group_positions
from streams.engine.memory_broker import MemoryBroker, MemoryLink, MemorySource
from streams.engine.port import Effects, Output, Processor, Record
from streams.engine.reading import Unreadable, held, read
from streams.engine.view import BroadcastView
from streams.engine.wire import WireRecord, partition_of, to_wire
from streams.engine.worker import ShardWorker
from streams.outputs import output
from streams.settings import KafkaSettings
from streams.topics import CLUSTER_SIGHT, DEADLETTERS, FACTS, OBSERVATIONS, REQUESTS, STATE, TOPICS, VERDICTS
from tests.helpers.fresh import fresh_prefix
from verifier.errors import InputError

PART: Final = "judge"
MADE: Final = (OBSERVATIONS, REQUESTS, VERDICTS, STATE, FACTS, CLUSTER_SIGHT, DEADLETTERS)
"""Topics there are."""
ENGINES: Final = ("memory", "aiokafka", "faust")
T = TypeVar("T")


# ---------------------------------------------------------------------------------------------------------- a processor


def item(key: str, number: int, topic: str = OBSERVATIONS) -> Output:
    """Record `number` of a key; they begin with 1."""
    return Output(topic, key, f"{key}/{number}", 0, IncidentAction(f"{key}/{number}", 0, key, "note", "", str(number)))


def many(keys: Collection[str], each: int, start: int = 1) -> list[Output]:
    """Records of several keys, interleaved."""
    return [item(key, number) for number in range(start, start + each) for key in keys]


class Tally:
    """Per key the number of the newest record, in a row; one document per record. What comes again says nothing new."""

    def __init__(self, shard: int = 0, topics: Sequence[str] = (OBSERVATIONS,)) -> None:
        self.shard = shard
        self.topics = tuple(topics)
        self.newest: dict[str, int] = {}
        self.handled: list[str] = []
        self.batches: list[list[str]] = []
        self.ticks: list[int] = []
        self.restores = 0
        self.breaks: set[str] = set()
        """Ids at which it raises."""

    def restore(self, state: Iterable[tuple[str, str, bytes]]) -> Effects:
        self.restores += 1
        self.newest = {key: int(value) for kind, key, value in state if kind == "newest"}
        return Effects()

    def process(self, records: Sequence[Record]) -> Effects:
        self.batches.append([record.id for record in records])
        outputs: list[Output] = []
        keys: dict[str, None] = {}
        taken = 0
        for taken, (record, event) in enumerate(held(records, _event), start=1):  # noqa: B007  # its last value is the answer
            outputs += self._take(record, event)
            keys[record.key] = None
        rows = tuple(("newest", key, b"%d" % self.newest[key]) for key in keys if key in self.newest)
        return Effects(tuple(outputs), rows, taken)

    def _take(self, record: Record, event: IncidentAction | Unreadable) -> Iterable[Output]:
        if record.id in self.breaks:
            raise Broken(record.id)
        self.handled.append(record.id)
        if isinstance(event, Unreadable):
            yield output(event.letter)
            return
        number, newest = int(event.text), self.newest.get(record.key, 0)
        if number > newest + 1:
            yield said(record.key, f"{record.id}: came after {newest}")
        elif number == newest + 1:
            self.newest[record.key] = number
            yield said(record.key, record.id)

    def tick(self, now: int) -> Effects:
        self.ticks.append(now)
        return Effects()

    def idle(self) -> Effects | None:
        return None


class Broken(Exception):
    """A defect of a processor, planted."""


def _event(record: Record) -> tuple[Record, IncidentAction | Unreadable]:
    """What is in a record. An engine does not look into events, so one kind does for all topics."""
    try:
        event = decode(record.value)
    except NewerSchemaError as error:
        raise NewerSchemaError(f"{record.topic}/{record.partition}:{record.position}: {error}") from error
    except InputError:
        letter = read(record)
        assert isinstance(letter, Unreadable)
        return record, letter
    assert isinstance(event, IncidentAction), event
    return record, event


def said(key: str, name: str) -> Output:
    return Output(VERDICTS, key, name, 0, IncidentAction(name, 0, key, "note", "", ""))


# ------------------------------------------------------------------------------------------------------------- a death

Edge = Literal["before-outputs", "after-outputs", "after-state", "after-position"]
EDGES: Final[tuple[Edge, ...]] = ("before-outputs", "after-outputs", "after-state", "after-position")


class Died(BaseException):
    """The process died here. No handler of ordinary errors may catch it."""


@dataclass
class Death:
    """Where a worker dies; from then on nothing that it does reaches the broker."""

    edge: Edge | None = None
    after: int = 0
    """How many times it passes the edge before."""
    is_dead: bool = False
    error: BaseException = field(default_factory=lambda: RuntimeError("the process died"))

    def at(self, edge: Edge) -> None:
        self.alive()
        if edge == self.edge:
            self.after -= 1
            if self.after < 0:
                self.is_dead = True
                self.alive()

    def alive(self) -> None:
        if self.is_dead:
            raise self.error


class MortalLink:
    """A link of a worker that dies."""

    def __init__(self, link: Link, death: Death) -> None:
        self._link, self._death = link, death

    async def start(self) -> None:
        await self._link.start()

    async def stop(self) -> None:
        await self._link.stop()

    async def send(self, record: WireRecord) -> asyncio.Future[int]:
        is_claim = record.topic == STATE and b"\0claim\0" in record.key
        if not is_claim:
            self._death.at("after-outputs" if record.topic == STATE else "before-outputs")
        self._death.alive()
        return await self._link.send(record)

    async def ends(self, slots: Collection[Slot]) -> dict[Slot, int]:
        self._death.alive()
        return await self._link.ends(slots)

    def read(self, slot: Slot, start: int, end: int) -> AsyncIterator[Sequence[Record]]:
        return self._link.read(slot, start, end)

    def follow(self, slots: Collection[Slot], start: Mapping[Slot, int] | None = None) -> AsyncIterator[Followed]:
        return self._link.follow(slots, start)


class MortalSource:
    """A source of a worker that dies."""

    def __init__(self, source: Source, death: Death) -> None:
        self._source, self._death = source, death

    async def start(self, listener: Listener) -> None:
        await self._source.start(listener)

    async def stop(self) -> None:
        await self._source.stop()

    def ack(self, slot: Slot, position: int) -> None:
        self._death.at("after-state")
        self._source.ack(slot, position)
        self._death.at("after-position")

    def pause(self, slot: Slot) -> None:
        self._source.pause(slot)

    def resume(self, slot: Slot) -> None:
        self._source.resume(slot)

    def again(self, slot: Slot, position: int) -> None:
        self._source.again(slot, position)

    async def committed(self, slots: Collection[Slot]) -> dict[Slot, int | None]:
        return await self._source.committed(slots)


# ------------------------------------------------------------------------------------------------------------ a worker


class Heard(NoMeter):
    """Remembers what a worker told."""

    def __init__(self) -> None:
        self.helds: list[tuple[Slot, str]] = []
        self.skips: list[tuple[Slot, int, int, bool]] = []
        self.restores: list[tuple[int, int]] = []
        self.positions: dict[Slot, int | None] = {}
        self.ours: set[Slot] = set()
        self.times_assigned = 0

    def assigned(self, slot: Slot, position: int | None) -> None:
        self.times_assigned += 1
        self.ours.add(slot)
        self.positions[slot] = position

    def revoked(self, slot: Slot) -> None:
        self.ours.discard(slot)

    def handled(self, slot: Slot, records: int, position: int, seconds: float) -> None:
        self.positions[slot] = position

    def restored(self, shard: int, rows: int, seconds: float) -> None:
        self.restores.append((shard, rows))

    def held(self, slot: Slot, why: str) -> None:
        self.helds.append((slot, why))

    def skipped(self, slot: Slot, wanted: int, found: int, is_gone: bool) -> None:
        self.skips.append((slot, wanted, found, is_gone))


@dataclass
class Worker:
    """One worker and what a test wants to see of it."""

    worker: ShardWorker
    link: Link
    source: Source
    made: dict[int, list[Tally]]
    heard: Heard
    stop: asyncio.Event
    task: asyncio.Task[None]
    is_over: bool = False
    """Its end was seen; before that, a worker that ends fails the test that waits."""

    def handled(self) -> list[str]:
        """Ids in the order in which each shard handled them, shard after shard."""
        return [name for shard in sorted(self.made) for tally in self.made[shard] for name in tally.handled]

    async def end(self) -> None:
        """Ends decently, or with its error."""
        self.is_over = True
        self.stop.set()
        await asyncio.wait_for(self.task, 40)


class Place(Protocol):
    """Where workers run."""

    kind: str
    shards: int

    def link(self) -> Link: ...
    def source(self, topics: Sequence[str]) -> Source: ...
    async def send(self, records: Sequence[WireRecord]) -> list[int]: ...
    async def log(self, topic: str) -> list[Record]: ...
    async def positions(self, topic: str) -> dict[Slot, int]: ...
    async def delete(self, slot: Slot, before: int) -> None: ...


class MemoryPlace:
    def __init__(self, shards: int) -> None:
        self.kind, self.shards = "memory", shards
        self.broker = MemoryBroker(shards)

    def link(self) -> Link:
        return MemoryLink(self.broker)

    def source(self, topics: Sequence[str]) -> Source:
        return MemorySource(self.broker, PART, topics)

    async def send(self, records: Sequence[WireRecord]) -> list[int]:
        return [self.broker.append(record) for record in records]

    async def log(self, topic: str) -> list[Record]:
        return [r for n in range(TOPICS[topic].partitions(self.shards)) for r in self.broker.records(Slot(topic, n))]

    async def positions(self, topic: str) -> dict[Slot, int]:
        return {slot: at for slot, at in self.broker.positions(PART).items() if slot.topic == topic}

    async def delete(self, slot: Slot, before: int) -> None:
        self.broker.delete(slot, before)


class KafkaPlace:
    def __init__(self, kind: str, settings: KafkaSettings) -> None:
        self.kind, self.settings = kind, settings
        self.shards = settings.partitions
        self.outside = KafkaLink(settings)

    def link(self) -> Link:
        return KafkaLink(self.settings, MADE)

    def source(self, topics: Sequence[str]) -> Source:
        return (FaustSource if self.kind == "faust" else AiokafkaSource)(self.settings, PART, topics)

    async def send(self, records: Sequence[WireRecord]) -> list[int]:
        return [await future for future in [await self.outside.send(record) for record in records]]

    async def log(self, topic: str) -> list[Record]:
        slots = [Slot(topic, n) for n in range(TOPICS[topic].partitions(self.shards))]
        found: list[Record] = []
        for slot, end in sorted((await self.outside.ends(slots)).items()):
            if end:
                async for records in self.outside.read(slot, 0, end):
                    found += records
        return found

    async def positions(self, topic: str) -> dict[Slot, int]:
        slots = [Slot(topic, n) for n in range(TOPICS[topic].partitions(self.shards))]
        found = await group_positions(self.settings, self.settings.group(PART), slots)
        return {slot: at for slot, at in found.items() if at is not None}

    async def delete(self, slot: Slot, before: int) -> None:
        async with _admin(self.settings.bootstrap) as admin:
            partition = TopicPartition(self.settings.topic(slot.topic), slot.partition)
            await admin.delete_records({partition: RecordsToDelete(before_offset=before)})


@asynccontextmanager
async def _admin(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def make_topics(settings: KafkaSettings, topics: Sequence[str] = MADE) -> None:
    """Create topics under the settings' prefix."""
    async with _admin(settings.bootstrap) as admin:
        wanted = [NewTopic(settings.topic(t), TOPICS[t].partitions(settings.partitions), 1) for t in topics]
        answer = await admin.create_topics(wanted)
        wrong = [error for error in answer.topic_errors if error[1] not in {0, 36}]
        assert not wrong, wrong


def kafka_settings(bootstrap: str, shards: int) -> KafkaSettings:
    """Topics and groups nobody else has."""
    return KafkaSettings(
        bootstrap=bootstrap, prefix=fresh_prefix(bootstrap), partitions=shards, session_timeout_seconds=6
    )


@asynccontextmanager
async def a_place(kind: str, bootstrap: str, shards: int = 2) -> AsyncIterator[World]:
    """A broker with topics of its own, and whatever ran on it ended when this ends."""
    if kind == "memory":
        place: Place = MemoryPlace(shards)
        async with World(place).open() as world:
            yield world
        return
    settings = kafka_settings(bootstrap, shards)
    await make_topics(settings)
    kafka = KafkaPlace(kind, settings)
    await kafka.outside.start()
    try:
        async with World(kafka).open() as world:
            yield world
    finally:
        await kafka.outside.stop()


def _as_it_is(one: T) -> T:
    return one


class World:
    """A place, the workers on it, and what came of them."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.kind, self.shards = place.kind, place.shards
        self._workers: list[Worker] = []

    @asynccontextmanager
    async def open(self) -> AsyncIterator[World]:
        try:
            yield self
        finally:
            for one in self._workers:
                one.stop.set()
            await asyncio.wait_for(asyncio.gather(*(w.task for w in self._workers), return_exceptions=True), 60)

    # ---------------------------------------------------------------- in

    async def append(self, outputs: Sequence[Output]) -> list[int]:
        return await self.place.send([to_wire(out, self.shards) for out in outputs])

    async def plant(self, topic: str, partition: int, value: bytes, key: str = "planted") -> int:
        """Bytes of whatever kind."""
        wire = WireRecord(topic, partition, key.encode(), value, (("id", b"planted"), ("time", b"0")))
        return (await self.place.send([wire]))[0]

    def key_in(self, shard: int, name: str = "k") -> str:
        """A key of a shard."""
        return next(k for n in range(10_000) if partition_of(k := f"{name}{n}", self.shards) == shard)

    def start(
        self, *, make: Callable[[int], Tally] = Tally, death: Death | None = None, options: LaneOptions | None = None,
        topics: Sequence[str] = (OBSERVATIONS,), view: Callable[[Link], BroadcastView] | None = None,
        accept_gaps: bool = False, clock: Callable[[], int] = wall_clock, stale_seconds: float = 30.0,
        wrap: Callable[[Source], Source] = _as_it_is, through: Callable[[Link], Link] = _as_it_is,
    ) -> Worker:  # fmt: skip
        """A worker that runs; see `ShardWorker`."""
        link, source = through(self.place.link()), wrap(self.place.source(topics))
        if death is not None:
            link, source = MortalLink(link, death), MortalSource(source, death)
        made: dict[int, list[Tally]] = defaultdict(list)

        def make_one(shard: int) -> Processor:
            made[shard].append(make(shard))
            return made[shard][-1]

        heard, stop = Heard(), asyncio.Event()
        name = f"{self.kind}-{secrets.token_hex(3)}"
        worker = ShardWorker(
            ShardSpec(tuple(topics), STATE, self.shards, name, accept_gaps), link, source, make_one,
            view=view(link) if view is not None else None, options=options or LaneOptions(tick_seconds=None),
            meter=_as_meter(heard), clock=clock, stale_seconds=stale_seconds,
        )  # fmt: skip
        one = Worker(worker, link, source, made, heard, stop, asyncio.create_task(worker.run(stop)))
        self._workers.append(one)
        return one

    # --------------------------------------------------------------- out

    async def said(self) -> list[Record]:
        """What the workers said, partition by partition."""
        return await self.place.log(VERDICTS)

    async def until(self, condition: Callable[[], bool], seconds: float = 30.0, *watched: Worker) -> None:
        """Wait; a worker that failed meanwhile fails the test."""
        async with asyncio.timeout(seconds):
            while not condition():
                for one in watched or self._workers:
                    if one.task.done() and not one.is_over:
                        one.task.result()
                await asyncio.sleep(0.02)

    async def finished(self, inputs: Sequence[Output], seconds: float = 40.0) -> None:
        """Until the positions are behind everything that was appended; then `audit`."""
        ends: dict[Slot, int] = defaultdict(int)
        for out in inputs:
            ends[Slot(out.topic, partition_of(out.key, self.shards))] += 1
        async with asyncio.timeout(seconds):
            while True:
                found = await self.place.positions(OBSERVATIONS)
                if all(found.get(slot, 0) >= end for slot, end in ends.items()):
                    break
                for one in self._workers:
                    if one.task.done() and not one.is_over:
                        one.task.result()
                await asyncio.sleep(0.1)
        await self.audit(inputs)

    async def audit(self, inputs: Sequence[Output]) -> None:
        """Every input accounted for exactly once in what is folded by id; of each key the newest version is the last
        record; every shard's state says the same.
        """
        audit(inputs, await self.said())


def audit(inputs: Sequence[Output], found: Sequence[Record]) -> None:
    """See `World.audit`."""
    wanted = {out.id for out in inputs}
    there = {record.id for record in found}
    assert sorted(wanted - there) == [], "inputs that were lost"
    assert not there - wanted, f"what nobody said, or came before its turn: {sorted(there - wanted)[:10]}"
    newest: dict[str, Record] = {}
    for record in found:
        assert record.version > 0
        if record.key not in newest or newest[record.key].version < record.version:
            newest[record.key] = record
    last: dict[str, str] = {out.key: out.id for out in inputs}
    assert {key: record.id for key, record in newest.items()} == last, "a document that is not the newest won"


def numbers(found: Iterable[Record]) -> dict[str, list[int]]:
    """Per key the numbers of what was said, in the order of the log."""
    said_of: dict[str, list[int]] = defaultdict(list)
    for record in found:
        event = decode(record.value)
        assert isinstance(event, IncidentAction)
        said_of[record.key].append(int(event.id.rpartition("/")[2]))
    return dict(said_of)


def _as_meter(heard: Heard) -> Meter:
    return heard


async def ended_with(one: Worker, seconds: float = 30.0) -> BaseException | None:
    """How a worker ended by itself."""
    one.is_over = True
    async with asyncio.timeout(seconds):
        await asyncio.wait([one.task])
    return one.task.exception()


async def killed(one: Worker) -> None:
    """End a worker of this process without a word, as far as that goes; see `Death` and the real processes."""
    one.is_over = True
    one.task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await one.task
