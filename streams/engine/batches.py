"""A worker without shards: batches of records of many partitions go to a handler that may wait (a registry, a store).

    worker = BatchWorker(link, source, handler, view=view)
    await worker.run(stop)

Positions are acknowledged in order and only after the handler is done and what it gave is durable. Handlers must bear
being given the same records again. A record of a newer program holds its partition, not the others.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Collection, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from streams.clock import wall_clock
from streams.codec import NewerSchemaError
from streams.engine.broker import Link, Slot, Source
from streams.engine.contiguity import Contiguity
from streams.engine.lanes import Meter, NoMeter
from streams.engine.port import Output, Record
from streams.engine.running import Running
from streams.engine.view import BroadcastView
from streams.engine.wire import to_wire


class BatchHandler(Protocol):
    """What a batch is given to."""

    def check(self, record: Record) -> None:
        """Raises NewerSchemaError for a record that a newer program has to read."""

    async def handle(self, records: Sequence[Record]) -> Sequence[Output]:
        """Do what the records ask for, in order per partition. An error ends the process; nothing is acknowledged."""


class BatchOptions(msgspec.Struct, frozen=True):
    """How batches are made."""

    batch: int = 1000
    """Records at once."""
    flush_seconds: float = 0.2
    """How long a batch that is not full waits for more."""
    window: int = 2
    """Batches under way."""
    queue: int = 8000
    """Records that wait before partitions are paused."""
    close_seconds: float = 5.0


class BatchWorker(Running):
    """Implements `Listener`; one per process."""

    def __init__(
        self, link: Link, source: Source, handler: BatchHandler, *, shards: int, view: BroadcastView | None = None,
        options: BatchOptions | None = None, meter: Meter | None = None, accept_gaps: bool = False,
    ) -> None:  # fmt: skip
        self._options = options or BatchOptions()
        super().__init__(link, source, view, self._options.close_seconds)
        self._handler = handler
        self._shards = shards
        self._meter = meter or NoMeter()
        self._monitor = Contiguity(source.again, self._meter.skipped, accept_gaps)
        self._waiting: deque[tuple[Slot, Record]] = deque()
        self._ours: set[Slot] = set()
        self._paused: set[Slot] = set()
        self._held: set[Slot] = set()
        self._stirred = asyncio.Event()
        self._tail: asyncio.Task[None] | None = None
        self._under_way: set[asyncio.Task[None]] = set()

    def _beside(self) -> Iterable[Coroutine[Any, Any, None]]:
        return (self._work(),)

    async def _let_go(self) -> None:
        self._ours.clear()
        self._waiting.clear()
        await self._settled()

    # ------------------------------------------------------------------ Listener

    async def assigned(self, slots: Collection[Slot]) -> None:
        """See `Listener`."""
        for slot, position in (await self._source.committed(slots)).items():
            self._monitor.expect(slot, position)
            self._meter.assigned(slot, position)
            self._ours.add(slot)
            self._held.discard(slot)

    async def revoked(self, slots: Collection[Slot]) -> None:
        """See `Listener`."""
        gone = set(slots)
        self._ours -= gone
        self._paused -= gone
        self._waiting = deque(entry for entry in self._waiting if entry[0] not in gone)
        await self._settled()
        for slot in slots:
            self._meter.revoked(slot)

    def deliver(self, slot: Slot, records: Sequence[Record]) -> None:
        """See `Listener`."""
        if slot not in self._ours or slot in self._held:
            return
        for record in self._monitor.new(slot, records):
            try:
                self._handler.check(record)
            except NewerSchemaError as error:
                self._held.add(slot)
                self._source.pause(slot)
                self._meter.held(slot, str(error))
                break
            self._waiting.append((slot, record))
        self._stirred.set()
        if len(self._waiting) > self._options.queue and slot not in self._paused:
            self._paused.add(slot)
            self._source.pause(slot)

    @property
    def waiting(self) -> int:
        """Records that were delivered and not begun."""
        return len(self._waiting)

    # ------------------------------------------------------------------ work

    async def _work(self) -> None:
        while True:
            await self._stirred.wait()
            if len(self._waiting) < self._options.batch:
                await asyncio.sleep(self._options.flush_seconds)
            while len(self._under_way) >= self._options.window:
                await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
            self._begin()

    def _begin(self) -> None:
        taken = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._options.batch))]
        if not self._waiting:
            self._stirred.clear()
        if self._paused and len(self._waiting) < self._options.queue // 2:
            for slot in self._paused - self._held:
                self._source.resume(slot)
            self._paused &= self._held
        if not taken:
            return
        self._tail = task = self._watched(self._one(self._tail, taken))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _one(self, before: asyncio.Task[None] | None, taken: Sequence[tuple[Slot, Record]]) -> None:
        started = time.monotonic()
        written = wall_clock() // 1000
        outputs = await self._handler.handle([record for _, record in taken])
        await asyncio.gather(*[await self._link.send(to_wire(out, self._shards, 0, written)) for out in outputs])
        if before is not None:
            await before
        seconds = time.monotonic() - started
        for slot, (records, position) in _reached(taken).items():
            self._source.ack(slot, position)
            self._meter.handled(slot, records, position, seconds)

    async def _settled(self) -> None:
        """Wait, within bounds, for what is under way; what does not end is repeated by whoever comes next."""
        if self._under_way:
            await asyncio.wait(set(self._under_way), timeout=self._options.close_seconds)


def _reached(taken: Sequence[tuple[Slot, Record]]) -> Mapping[Slot, tuple[int, int]]:
    """Per partition: how many records, and the position behind the last."""
    found: dict[Slot, tuple[int, int]] = {}
    for slot, record in taken:
        found[slot] = (found.get(slot, (0, 0))[0] + 1, record.position + 1)
    return found
