"""`revet serve audit`: the receiver of the API servers' webhook, into Kafka.

A sender is answered when its records are durable: acknowledged by the brokers, so that many requests share the
producer's batches, or in the spool of this process (`listen.spool`). What is sent twice has the same ids.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from streams.collectors.bodies import Batch, BodyKind
from streams.collectors.server import MIB, Intake, Progress, Reading, Receiver, ReceiverOptions
from streams.engine.wire import WireRecord
from streams.serving.buffering import BufferedIntake, buffered
from streams.serving.collecting import DurableDoor, collector_door
from streams.serving.comparing import comparing
from streams.serving.parsing import Parsers, batch_records
from streams.serving.process import Process
from streams.serving.receiving import receiver_options, senders_text
from streams.settings import Settings, host_and_port, shown_address
from verifier.errors import InputError, PlaceError


class KafkaIntake:
    """Where the receiver's batches go. Implements `streams.collectors.server.Intake`."""

    def __init__(self, process: Process, door: DurableDoor) -> None:
        self._process, self._door = process, door
        self._shards = process.settings.kafka.partitions

    async def accept(self, batch: Batch) -> int:
        """See `Intake.accept`. Nobody can say here which of the observations are new: all are counted."""
        try:
            await self.send(batch_records(batch, self._shards))
        except PlaceError as error:
            self._process.health.trouble("kafka", str(error))
            self._process.log.warning("not-durable", cluster=batch.cluster, error=str(error))
            raise
        return batch.observed

    async def send(self, records: Sequence[WireRecord]) -> None:
        """Have records written; back when the brokers acknowledged them. Raises PlaceError when they did not."""
        await self._door.begin(records)

    def progress(self) -> Progress:
        """See `Intake.progress`."""
        report = self._process.health.report()
        stalled = max((stall.seconds for stall in report.stalled), default=0.0)
        return Progress(report.ready and not report.troubles, self._door.waiting, stalled, epoch=0)


async def audit(process: Process) -> None:
    """Take audit events until the process is told to stop.

    Raises:
        InputError: a setting is wrong; PlaceError: as `collector_door`, or the address cannot be listened on.
    """
    address = listen_address(process.settings)
    options = receiver_options(process.settings)
    async with (
        _intake(process) as intake,
        parsing(process, options.max_body) as reading,
        receiving(process, intake, options, address, "audit", reading) as receiver,
    ):
        counters = process.spawn("counters", comparing(process, receiver.received, intake.send))
        process.health.ready()
        await process.stopping()
        counters.cancel()


@asynccontextmanager
async def receiving(
    process: Process,
    intake: Intake,
    options: ReceiverOptions,
    address: tuple[str, int],
    path: BodyKind,
    reading: Reading | None = None,
) -> AsyncIterator[Receiver]:
    """Listen until the block ends. `path`: what the log names as the place to send to.

    Raises:
        PlaceError: the address cannot be listened on.
    """
    host, port = address
    receiver = Receiver(intake, options, reading, _Stale(process))
    async with receiver.listening(host, port) as bound:
        shown = shown_address(host, bound)
        scheme = "https" if options.tls else "http"
        process.log.info("listening", url=f"{scheme}://{shown}/{path}", senders=senders_text(options))
        yield receiver


@asynccontextmanager
async def _intake(process: Process) -> AsyncIterator[KafkaIntake | BufferedIntake]:
    """Where batches go: to the brokers, or first onto the disk where the settings have a spool."""
    listen = process.settings.listen
    if listen.spool is not None:
        async with buffered(process, listen.spool, listen.spool_mib * MIB) as intake:
            yield intake
        return
    async with collector_door(process, "audit") as door:
        yield KafkaIntake(process, door)


class _Stale:
    """Says once that a certificate, key or token cannot be read again. What was in force still is: no reason to stop
    taking events, so health is noted and not troubled.
    """

    def __init__(self, process: Process) -> None:
        self._process, self._said = process, ""

    def __call__(self, problem: str) -> None:
        if problem == self._said:
            return
        self._said = problem
        self._process.health.note("listen_files", problem or "ok")
        if problem:
            self._process.log.warning("not-read-again", error=problem)
        else:
            self._process.log.info("read-again")


@asynccontextmanager
async def parsing(process: Process, max_body: int) -> AsyncIterator[Parsers | None]:
    """The processes that parse, watched; None: bodies are parsed where they are received."""
    if not process.settings.listen.parsers:
        yield None
        return
    async with Parsers(process.settings.listen.parsers, max_body, process.settings.kafka.partitions) as parsers:
        process.spawn("parsers", parsers.watch())
        yield parsers


def listen_address(settings: Settings) -> tuple[str, int]:
    """HOST and PORT of `listen.address`. Raises InputError when there is none."""
    if not settings.listen.address:
        raise InputError("listen.address: nothing to listen on; example: listen.address: 127.0.0.1:9880")
    return host_and_port(settings.listen.address)
