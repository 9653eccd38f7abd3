"""A receiver with a disk in front of the brokers: what a sender gave is durable here, and sent on from here.

    async with buffered(process, path, max_bytes) as intake: ...      an `Intake` for the receiver

For receivers far from the brokers, such as those of a watched cluster (`listen.spool`): API servers give events up
after 75 to 100 s without an answer, and the way to the hub may be away for longer. Batches are sent on in order, some
at a time, and removed once all of their records are acknowledged: at least once, with the same ids. While the spool is
full senders wait, and are then refused with 503; nothing that was answered 200 is dropped for what comes later.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from streams.collectors.bodies import Batch
from streams.collectors.server import Progress
from streams.engine.wire import WireRecord
from streams.serving.collecting import DurableDoor, collector_beats, connected_door
from streams.serving.metrics import LISTEN_SPOOL
from streams.serving.parsing import batch_records
from streams.serving.process import Process
from streams.serving.sqlite import BatchSpool, Waiting, opened_batches
from verifier.errors import PlaceError

IN_FLIGHT: Final = 8
"""Batches that are on their way to the brokers at a time."""
BACK_OFF: Final = (0.5, 1.0, 2.0, 5.0, 10.0)
"""Seconds before the brokers are tried again; the last one repeats."""
ROOM_SECONDS: Final = 20.0
"""How long a sender waits for room in a full spool, before it is told to come back."""


class BufferedIntake:
    """Where the receiver's batches go. Implements `streams.collectors.server.Intake`."""

    def __init__(self, process: Process, spool: BatchSpool) -> None:
        self._process, self._spool = process, spool
        self._shards = process.settings.kafka.partitions
        self._stirred = asyncio.Event()
        self._room = asyncio.Event()
        self._waiting = 0
        self._sent = 0

    async def accept(self, batch: Batch) -> int:
        """See `Intake.accept`."""
        if records := batch_records(batch, self._shards):
            await self.send(records)
        return batch.observed

    async def send(self, records: Sequence[WireRecord]) -> None:
        """Have records sent on, behind what waits; back when they are on this disk.

        Raises:
            PlaceUnavailable: the spool is full, or cannot be written.
        """
        await self._keep(records)
        self._waiting += 1
        self._stirred.set()

    async def _keep(self, records: Sequence[WireRecord]) -> None:
        deadline = asyncio.get_running_loop().time() + ROOM_SECONDS
        while True:
            self._room.clear()
            try:
                await asyncio.to_thread(self._spool.add, records)
            except PlaceError as error:
                self._process.health.trouble("spool", str(error))
                left = deadline - asyncio.get_running_loop().time()
                if left <= 0:
                    self._process.log.warning("not-durable", error=str(error))
                    raise
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(left, 1.0)):
                        await self._room.wait()
            else:
                self._process.health.well("spool")
                return

    def progress(self) -> Progress:
        """See `Intake.progress`. Brokers that are away are no reason to send events elsewhere; a full spool is."""
        report = self._process.health.report()
        well = all(trouble.what != "spool" for trouble in report.troubles)
        return Progress(report.ready and well, self._waiting, 0.0, epoch=0)

    # ------------------------------------------------------------------ on to the brokers

    async def relay(self) -> None:
        """Send on what waits, without end.

        Raises:
            InputError: no broker will ever take a record; it stays in the spool.
        """
        attempt = 0
        while True:
            await self._count()
            try:
                async with connected_door(self._process, "audit") as door:
                    attempt = 0
                    self._process.health.well("kafka")
                    async with collector_beats(self._process, door, "audit"):
                        await self._drain(door)
            except PlaceError as error:
                self._process.health.trouble("kafka", str(error))
                self._process.log.warning("brokers-away", error=str(error), batches=self._waiting)
            await asyncio.sleep(BACK_OFF[min(attempt, len(BACK_OFF) - 1)])
            attempt += 1

    async def _drain(self, door: DurableDoor) -> None:
        way: deque[tuple[Waiting, asyncio.Future[None]]] = deque()
        behind = 0
        try:
            while True:
                self._stirred.clear()
                for waiting in await asyncio.to_thread(self._spool.oldest, behind, IN_FLIGHT - len(way)):
                    way.append((waiting, door.begin(waiting.records)))
                    behind = waiting.position
                if not way:
                    await self._stirred.wait()
                    continue
                waiting, future = way.popleft()
                await future
                await self._done(waiting)
        finally:
            for _, future in way:  # sent again from the spool; what became of them need not be heard
                future.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def _done(self, waiting: Waiting) -> None:
        await asyncio.to_thread(self._spool.remove, waiting.position)
        self._waiting = max(0, self._waiting - 1)
        self._sent += 1
        self._room.set()
        self._process.health.progress("collector", "spool", self._sent)
        if not self._waiting or self._sent % 100 == 0:
            await self._count()

    async def _count(self) -> None:
        self._waiting, size = await asyncio.to_thread(self._spool.waiting)
        self._process.metrics.set(LISTEN_SPOOL, size)
        self._process.health.waiting(self._waiting, "collector")


@asynccontextmanager
async def buffered(process: Process, path: Path, max_bytes: int) -> AsyncIterator[BufferedIntake]:
    """An intake with this file. What a former process left in it is sent on first.

    Raises:
        PlaceUnavailable: the file cannot be written, or another process has it.
    """
    with opened_batches(path, max_bytes) as spool:
        intake = BufferedIntake(process, spool)
        relay = process.spawn("relay", intake.relay())
        try:
            yield intake
        finally:
            process.end()  # the relay has no end of its own
            relay.cancel()
            await asyncio.gather(relay, return_exceptions=True)
