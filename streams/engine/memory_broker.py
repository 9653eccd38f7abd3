"""A broker in memory: topics, consumer groups and their rebalances for several workers of one process. For tests.

    broker = MemoryBroker(shards=4)
    worker = ShardWorker(spec, MemoryLink(broker), MemorySource(broker, "judge", (OBSERVATIONS,)), make)

It implements `Link` and `Source` as the adapters of real brokers do, and is driven by the same contract tests. What a
real one does only by accident can be asked for: records that become durable late (`MemoryLink.hold`), a member that is
not told (`MemorySource.freeze`), redelivery (`MemoryBroker.rewind`), retention (`delete`), compaction (`compact`).
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import suppress

from streams.engine.broker import Followed, Listener, Slot
from streams.engine.port import Record
from streams.engine.wire import WireRecord, from_wire
from streams.topics import TOPICS
from verifier.errors import PlaceUnavailable

FETCH_AT_ONCE = 500
SIGN_OF_LIFE = 0.05
"""Seconds after which a reader that finds nothing says so."""


class MemoryBroker:
    """Logs and groups; survives the workers."""

    def __init__(self, shards: int = 1) -> None:
        self.shards = shards
        self.is_down = False
        """Nobody is answered while this is set."""
        self._logs: dict[Slot, list[Record]] = defaultdict(list)
        self._ends: dict[Slot, int] = defaultdict(int)
        self._groups: dict[str, _Group] = {}
        self._written = asyncio.Event()

    def append(self, wire: WireRecord) -> int:
        """Make a record durable; gives its position."""
        slot = Slot(wire.topic, wire.partition)
        if not 0 <= wire.partition < TOPICS[wire.topic].partitions(self.shards):
            raise PlaceUnavailable("kafka-unavailable", f"{slot}: there is no such partition")
        position = self._ends[slot]
        self._ends[slot] += 1
        written = wire.written if wire.written is not None else time.time_ns() // 1_000_000
        self._logs[slot].append(from_wire(*slot, position, wire.key, wire.value, wire.headers, written))
        written_before, self._written = self._written, asyncio.Event()
        written_before.set()
        return position

    def records(self, slot: Slot, start: int = 0, end: int | None = None) -> list[Record]:
        """What is there, of these positions."""
        until = self._ends[slot] if end is None else end
        return [record for record in self._logs[slot] if start <= record.position < until]

    def end(self, slot: Slot) -> int:
        """The position behind the newest record."""
        self.answer()
        return self._ends[slot]

    def delete(self, slot: Slot, before: int) -> None:
        """Records before a position are gone, as by retention."""
        self._logs[slot] = self.records(slot, before)

    def compact(self, slot: Slot) -> None:
        """Only the newest record of a key stays; of tombstones, none but the last record of the log."""
        newest = {record.key: record.position for record in self._logs[slot]}
        last = self._ends[slot] - 1
        self._logs[slot] = [
            record
            for record in self._logs[slot]
            if newest[record.key] == record.position and (record.value or record.position == last)
        ]

    def positions(self, group: str) -> dict[Slot, int]:
        """Stored positions of a group."""
        return dict(self.group(group).positions)

    def rewind(self, group: str, slot: Slot, position: int) -> None:
        """The group's next owner of this partition begins here."""
        self.group(group).positions[slot] = position

    def group(self, name: str) -> _Group:
        """A consumer group; the first who asks makes it."""
        return self._groups.setdefault(name, _Group(self))

    def answer(self) -> None:
        """Raises PlaceUnavailable while the broker is down."""
        if self.is_down:
            raise PlaceUnavailable("kafka-unavailable", "the broker is down")

    async def news(self) -> None:
        """Until something was written, or a moment has passed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(SIGN_OF_LIFE):
                await self._written.wait()


class MemoryLink:
    """Implements `Link`."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self._waiting: list[tuple[WireRecord, asyncio.Future[int]]] = []
        self._is_held = False

    async def start(self) -> None:
        """See `Link.start`."""
        self._broker.answer()

    async def stop(self) -> None:
        """See `Link.stop`."""
        self.release()

    async def send(self, record: WireRecord) -> asyncio.Future[int]:
        """See `Link.send`. Durable in the next round of the loop, never at once, as with a real broker."""
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append((record, done))
        if not self._is_held:
            asyncio.get_running_loop().call_soon(self._write)
        await asyncio.sleep(0)
        return done

    def hold(self) -> None:
        """Records are handed over from now on and become durable only when released, as those of a stopped process."""
        self._is_held = True

    def release(self) -> None:
        """What was held becomes durable now."""
        self._is_held = False
        self._write()

    def _write(self) -> None:
        if self._is_held:
            return
        waiting, self._waiting = self._waiting, []
        for record, done in waiting:
            try:
                self._broker.answer()
                position = self._broker.append(record)
            except PlaceUnavailable as error:
                if not done.done():
                    done.set_exception(error)
                    done.exception()
            else:
                if not done.done():
                    done.set_result(position)

    async def ends(self, slots: Collection[Slot]) -> dict[Slot, int]:
        """See `Link.ends`."""
        await asyncio.sleep(0)
        return {slot: self._broker.end(slot) for slot in slots}

    async def read(self, slot: Slot, start: int, end: int) -> AsyncIterator[Sequence[Record]]:
        """See `Link.read`."""
        self._broker.answer()
        await asyncio.sleep(0)
        found = self._broker.records(slot, start, end)
        if found:
            yield found

    async def follow(self, slots: Collection[Slot], start: Mapping[Slot, int] | None = None) -> AsyncIterator[Followed]:
        """See `Link.follow`."""
        at = dict.fromkeys(slots, 0) | dict(start or {})
        while True:
            if self._broker.is_down:
                yield Followed([], dict(at))
                await asyncio.sleep(SIGN_OF_LIFE)
                continue
            found = [record for slot in slots for record in self._broker.records(slot, at[slot])]
            at = {slot: self._broker.end(slot) for slot in slots}
            yield Followed(found, dict(at))
            if not found:
                await self._broker.news()


class MemorySource:
    """Implements `Source`."""

    def __init__(self, broker: MemoryBroker, group: str, topics: Sequence[str]) -> None:
        self.topics = tuple(topics)
        self.listener: Listener | None = None
        self.ours: set[Slot] = set()
        """What this member believes to own."""
        self.is_frozen = False
        self._broker = broker
        self._group = broker.group(group)
        self._next: dict[Slot, int] = {}
        self._paused: set[Slot] = set()
        self._fetching: asyncio.Task[None] | None = None

    async def start(self, listener: Listener) -> None:
        """See `Source.start`."""
        self._broker.answer()
        self.listener = listener
        self._fetching = asyncio.create_task(self._fetch())
        await self._group.join(self)

    async def stop(self) -> None:
        """See `Source.stop`."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)
        await self._group.leave(self)

    def ack(self, slot: Slot, position: int) -> None:
        """See `Source.ack`. One that the group put out is not heard."""
        self._group.store(self, slot, position)

    def pause(self, slot: Slot) -> None:
        """See `Source.pause`."""
        self._paused.add(slot)

    def resume(self, slot: Slot) -> None:
        """See `Source.resume`."""
        self._paused.discard(slot)

    def again(self, slot: Slot, position: int) -> None:
        """See `Source.again`."""
        self._next[slot] = position

    async def committed(self, slots: Collection[Slot]) -> dict[Slot, int | None]:
        """See `Source.committed`."""
        self._broker.answer()
        await asyncio.sleep(0)
        return {slot: self._group.positions.get(slot) for slot in slots}

    # ------------------------------------------------------------------ what the group does

    async def take(self, slots: Collection[Slot]) -> None:
        """These are ours now."""
        self._paused.clear()
        self._next = {slot: self._group.positions.get(slot, 0) for slot in slots}
        try:
            await self._listener().assigned(sorted(slots))
        except Exception as error:  # noqa: BLE001  # it ends this worker, not the group
            self._listener().failed(error)
        else:
            self.ours = set(slots)

    async def give(self) -> None:
        """Nothing is ours any more once this returns."""
        if self.ours:
            gone, self.ours = self.ours, set()
            try:
                await self._listener().revoked(sorted(gone))
            except Exception as error:  # noqa: BLE001  # as above
                self._listener().failed(error)

    async def freeze(self) -> None:
        """Stopped, as by a signal, for longer than its session: others get its partitions, and it is not told."""
        self.is_frozen = True
        await self._group.put_out(self)

    async def thaw(self) -> None:
        """Goes on: hears that it was put out, and joins again."""
        self.is_frozen = False
        await self.give()
        await self._group.join(self)

    async def _fetch(self) -> None:
        while True:
            if not (self.is_frozen or self._broker.is_down) and self._deliver():
                await asyncio.sleep(0)
            else:
                await self._broker.news()

    def _deliver(self) -> bool:
        delivered = False
        for slot in sorted(self.ours - self._paused):
            found = self._broker.records(slot, self._next[slot])[:FETCH_AT_ONCE]
            if found:
                self._next[slot] = found[-1].position + 1
                try:
                    self._listener().deliver(slot, found)
                except Exception as error:  # noqa: BLE001  # whatever it is ends the worker
                    self._listener().failed(error)
                    self.ours.clear()
                    return False
                delivered = True
        return delivered

    def _listener(self) -> Listener:
        if self.listener is None:
            raise RuntimeError("start comes first")
        return self.listener


class _Group:
    """Who reads what, and how far they are. Every change takes everything from everybody first."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self._members: list[MemorySource] = []
        self._changing = asyncio.Lock()
        self.positions: dict[Slot, int] = {}

    async def join(self, member: MemorySource) -> None:
        async with self._changing:
            await self._take_all()
            self._members.append(member)
            await self._hand_out()

    async def leave(self, member: MemorySource) -> None:
        async with self._changing:
            if member in self._members:
                await self._take_all()
                self._members.remove(member)
                await self._hand_out()

    async def put_out(self, member: MemorySource) -> None:
        async with self._changing:
            self._members.remove(member)
            await self._take_all()
            await self._hand_out()

    def store(self, member: MemorySource, slot: Slot, position: int) -> None:
        if member in self._members and not member.is_frozen:
            self.positions[slot] = position

    async def _take_all(self) -> None:
        for member in self._members:
            await member.give()

    async def _hand_out(self) -> None:
        shares: dict[int, set[Slot]] = defaultdict(set)
        for topic in {topic for member in self._members for topic in member.topics}:
            readers = [n for n, member in enumerate(self._members) if topic in member.topics]
            partitions = TOPICS[topic].partitions(self._broker.shards)
            for partition in range(partitions):  # whole ranges, so that partition i of all topics meets in one place
                shares[readers[partition * len(readers) // partitions]].add(Slot(topic, partition))
        for number, member in enumerate(self._members):
            await member.take(shares[number])
