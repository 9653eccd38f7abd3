"""The door of collectors into Kafka, and `revet serve files` (recordings).

Records are handed to one producer, which goes on; a thread waits for the brokers' answers in order. A recording's
progress is kept when its records are durable. What is sent twice has the same ids, and is on record once.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Final

from streams.clock import wall_clock
from streams.engine.wire import WireRecord, to_wire
from streams.events import ProgressSeen
from streams.kafka.admin import KafkaAdmin
from streams.kafka.producer import KafkaDoor, Sending
from streams.kafka.records import COLLECTED
from streams.local.replay import ReplaySource
from streams.outputs import output
from streams.serving.filesprogress import FilesProgress
from streams.serving.metrics import OUTPUTS
from streams.serving.process import Process
from streams.serving.recordings import RecordingReader, Step
from streams.settings import KafkaSettings
from verifier.errors import PlaceError

BEAT_SECONDS: Final = 5.0
"""How often a collector says that it lives, and how many records it has made durable."""
IN_FLIGHT: Final = 8
"""Batches of a recording that are on their way at a time."""
TELL_SECONDS: Final = 5.0
"""How often the log says how far a recording is."""


class DurableDoor:
    """A producer for an event loop: records are handed over at once, futures tell when they are durable."""

    def __init__(self, door: KafkaDoor) -> None:
        self._door = door
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[tuple[Sending, asyncio.Future[None]] | None] = SimpleQueue()
        self.waiting = 0
        """Batches that were handed over and are not acknowledged."""
        self.durable = 0
        """Batches that were acknowledged."""
        self._thread = threading.Thread(target=self._wait_for_all, name="kafka-acknowledgements", daemon=True)
        self._thread.start()

    def begin(self, records: Iterable[WireRecord]) -> asyncio.Future[None]:
        """Hand records over, in the order of the calls. The future has a result once all of them are durable.

        Raises:
            PlaceError, InputError: as `KafkaDoor.begin`; the future as `Sending.wait`.
        """
        sending = self._door.begin(records)
        future: asyncio.Future[None] = self._loop.create_future()
        self.waiting += 1
        self._queue.put((sending, future))
        return future

    def _wait_for_all(self) -> None:
        while (entry := self._queue.get()) is not None:
            sending, future = entry
            error: Exception | None = None
            try:
                sending.wait()
            except Exception as caught:  # noqa: BLE001  # whatever it is, who waits for the future has to hear it
                error = caught
            with suppress(RuntimeError):  # the loop has ended; nobody waits
                self._loop.call_soon_threadsafe(self._settle, future, error)

    def _settle(self, future: asyncio.Future[None], error: Exception | None) -> None:
        self.waiting -= 1
        self.durable += error is None
        if future.done():  # who waited has gone
            return
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    async def close(self) -> None:
        """Send what waits, and disconnect."""
        self._queue.put(None)
        await asyncio.to_thread(self._door.close)


@asynccontextmanager
async def collector_door(process: Process, part: str, topics: Sequence[str] = COLLECTED) -> AsyncIterator[DurableDoor]:
    """`connected_door` of a collector that says that it lives, and ends with its door. Raises as that does."""
    async with connected_door(process, part, topics) as door:
        beating = process.spawn("beats", _beats(process, door, _instance(part)))
        try:
            yield door
        finally:
            process.end()  # a collector without its door has nothing left to do: the end of the beats is no surprise
            beating.cancel()


@asynccontextmanager
async def collector_beats(process: Process, door: DurableDoor, part: str) -> AsyncIterator[None]:
    """Signs of life while this door is open; another one may follow."""
    beating = asyncio.create_task(_beats(process, door, _instance(part)))
    try:
        yield
    finally:
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)


def _instance(part: str) -> str:
    return f"{part}-{secrets.token_hex(4)}"


@asynccontextmanager
async def connected_door(process: Process, part: str, topics: Sequence[str] = COLLECTED) -> AsyncIterator[DurableDoor]:
    """Connected, with every topic a collector writes, or those that are named.

    Raises:
        PlaceError: no broker answers or lets us in, or a topic is missing; says what to do.
    """

    def counted(topic: str, outcome: str, records: int, size: int) -> None:
        del size
        if outcome == "acknowledged":
            process.metrics.add(OUTPUTS, records, "collector", topic)

    def connect() -> KafkaDoor:
        made = KafkaDoor(process.settings.kafka, part=part, counted=counted)
        try:
            made.require(*topics)
        except BaseException:
            made.close()
            raise
        return made

    door = DurableDoor(await asyncio.to_thread(connect))
    try:
        yield door
    finally:
        await door.close()


async def _beats(process: Process, door: DurableDoor, instance: str) -> None:
    """Tell health, and everybody who reads `revet.heartbeats`, how far this collector is."""
    while True:
        await asyncio.sleep(BEAT_SECONDS)
        _tell(process, door)
        now = wall_clock()
        said = ProgressSeen(
            id=f"progress:{instance}:-1:{now}",
            time=now,
            component="collector",
            instance=instance,
            position=door.durable,
            lag=door.waiting,
        )
        try:
            await door.begin([to_wire(output(said), process.settings.kafka.partitions)])
        except PlaceError as error:
            process.health.trouble("kafka", str(error))
        else:
            process.health.well("kafka")


def _tell(process: Process, door: DurableDoor) -> None:
    process.health.waiting(door.waiting, "collector")
    process.health.progress("collector", "", door.durable)


# ------------------------------------------------------------------------------------------------------------- files


class UnderWay:
    """Steps of recordings that were handed over, in order."""

    def __init__(self, process: Process, door: DurableDoor, kept: FilesProgress) -> None:
        self._process, self._door, self._kept = process, door, kept
        self._steps: deque[tuple[asyncio.Future[None], Mapping[str, str]]] = deque()

    def send(self, step: Step) -> None:
        """Hand a step over."""
        if step.records:
            self._steps.append((self._door.begin(step.records), step.progress))

    async def settle(self, left: int) -> None:
        """Wait until no more than `left` steps are under way; keep the progress of those that are durable.

        Raises:
            PlaceError: a step is not durable; progress stands before it.
        """
        while len(self._steps) > left or (self._steps and self._steps[0][0].done()):
            future, progress = self._steps[0]
            await future
            self._steps.popleft()
            self._kept.advance(progress)
        _tell(self._process, self._door)


async def files(process: Process, sources: Sequence[ReplaySource], progress: Path, *, look_back: bool = False) -> None:
    """Send recordings, from where the last run was; back when all of them are durable. With `look_back` as history.

    Raises:
        InputError: a file cannot be read; PlaceError: as `collector_door`, or the brokers went away for too long.
    """
    kafka = process.settings.kafka
    async with collector_door(process, "files") as door:
        kept = FilesProgress.open(progress, await asyncio.to_thread(destination_of, kafka))
        process.health.ready()
        way, told = UnderWay(process, door, kept), _Told(process)
        try:
            asked = wall_clock() if look_back else 0
            async with RecordingReader(sources, kept.of, kafka.partitions, asked) as reader:
                async for step in reader:
                    way.send(step)
                    await way.settle(IN_FLIGHT)
                    told.step(step)
                    if process.stop.is_set():
                        break
            await way.settle(0)
        finally:
            kept.save()
        told.end()


class _Told:
    """What the log says about recordings on their way."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._began = self._last = 0.0
        self._items = self._observed = 0
        self._ignored: dict[str, int] = {}

    def step(self, step: Step) -> None:
        self._began = self._began or time.monotonic()  # the other process has started
        self._items += step.items
        self._observed += step.observed
        self._ignored = step.ignored or self._ignored
        if time.monotonic() - self._last > TELL_SECONDS:
            self._last = time.monotonic()
            self._process.log.info("progress", items=self._items, sent=self._observed)

    def end(self) -> None:
        part = "part" if self._process.stop.is_set() else "all"
        seconds = round(time.monotonic() - self._began, 3) if self._began else 0.0
        self._process.log.info(
            "sent", of=part, items=self._items, observations=self._observed, ignored=self._ignored, seconds=seconds
        )


def destination_of(settings: KafkaSettings) -> str:
    """What tells these brokers and this prefix from others. Raises PlaceError as `KafkaAdmin`."""
    with KafkaAdmin(settings) as admin:
        return f"{admin.cluster_id()}/{settings.prefix}"
