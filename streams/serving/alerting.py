"""`revet serve alert`: one process decides what people are told, and tells them; others stand by."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

from alerting.adapters.console import ConsoleNotifier
from alerting.calls import Answer, Call, Failed, Find
from alerting.channels import Channels
from alerting.delivery import FALLBACK, Notifier, deliver
from alerting.routing import Routes
from streams.canary import CANARY as CANARY_CHANNEL
from streams.canary import Canary
from streams.clock import wall_clock
from streams.clustered import ClusterAlerter
from streams.engine.lanes import LaneOptions, ShardLane, ShardSpec
from streams.engine.link import KafkaLink
from streams.engine.port import Effects, Processor, Record
from streams.engine.view import BroadcastView
from streams.engine.worker import ShardWorker
from streams.knowing import Knowing
from streams.serving.asking import Take, knowing_of, taking
from streams.serving.metrics import (
    ALERT_DELAY,
    CANARY,
    MESSAGES,
    SLACK_CALLS,
    SLACK_CONNECTIONS,
    SLACK_DEGRADED,
    SLACK_ENVELOPES,
    SLACK_HEARD,
    SLACK_LIMITED,
    SLACK_PRESSES,
    SLACK_SOCKET,
    Metrics,
)
from streams.serving.process import Process
from streams.serving.wiring import Beats, ProcessMeter, new_instance, serve, source_of
from streams.shared import Shared
from streams.tellers import Counter, channels_of, courier_of, heart_of, pressing_of, routes_of, trial_of
from streams.telling import Courier, Direct
from streams.topics import ACTIONS, ALERTS, PARTS, TOPICS
from streams.trustlog import gate_of
from verifier.times import SECOND

NEEDED: Final = tuple(t.name for t in TOPICS.values() if "alerter" in t.readers + t.writers)
CALLS_AT_ONCE: Final = 100
"""Messages between two looks at what came in."""
ACTIVE_SECONDS: Final = 15.0
"""A process that has not come to its work for so long does not count as active."""
FINISH_SECONDS: Final = 3.0
"""How long a lane that is given up waits for answers; what is not answered then is looked for by whoever comes next."""


async def alert(process: Process) -> None:
    """Until the process is told to stop. Raises as `ShardWorker.run`; InputError for settings that name nobody."""
    settings = process.settings
    shared = Shared(gate_of(settings.administrators))
    link = KafkaLink(settings.kafka, NEEDED)
    instance, meter = new_instance("alert"), ProcessMeter(process, "alert")
    shards = settings.kafka.partitions
    wall = settings.serve.clock == "wall"
    stalled = settings.serve.stalled_seconds * SECOND if wall else None
    channels = channels_of(settings)
    spec = ShardSpec((PARTS, ACTIONS), ALERTS, shards, instance, settings.serve.accept_gaps)

    def take(records: Sequence[Record]) -> None:
        shared.take(records)
        worker.broadcast(records)

    view = BroadcastView(link, Shared.topics, take)
    worker = ShardWorker(
        spec, link, source_of(settings.kafka, "alert", (PARTS, ACTIONS)),
        lambda _: _Timed(shared, routes_of(settings), stalled, channels, process.metrics),
        view=view, options=LaneOptions(tick_seconds=0.5 if wall else None), meter=meter,
        stale_seconds=settings.serve.stale_trust_seconds,
    )  # fmt: skip
    beats = Beats(process, "alert", instance, link, meter, shards, view, shared.gate)
    await _telling(process, worker, beats, view, channels, taking(link, shards), wall=wall)


async def _telling(
    process: Process, worker: ShardWorker, beats: Beats, view: BroadcastView, channels: Channels | None, take: Take,
    *, wall: bool,
) -> None:  # fmt: skip
    """Work, and tell people on standard output or in Slack."""
    terminal = ConsoleNotifier(sys.stdout)
    if channels is None:
        worker.prepare = Teller(process, terminal, wall=wall).prepare
        await serve(process, worker.run, beats, view)
        return
    now = _Now(wall=wall)
    settings, counted = process.settings, Counted(process)
    async with (
        courier_of(settings, channels, Direct(terminal), now, counted) as courier,
        knowing_of(settings, take, now, lambda why: process.log.warning("record-not-asked", why=why)) as knowing,
        pressing_of(settings, take, wall_clock, counted),  # also who stands by: a press goes to any connection
    ):
        teller = SlackTeller(process, courier, now, knowing)
        worker.prepare = teller.prepare
        async with canary_of(process, channels, teller) as singing:
            try:
                await serve(process, worker.run, beats, view)
            finally:
                singing.cancel()


@asynccontextmanager
async def canary_of(process: Process, channels: Channels, teller: SlackTeller) -> AsyncIterator[asyncio.Task[None]]:
    """The canary, beside the work; where the settings have no channel for it, nothing that ends at once."""
    settings, loop = process.settings, asyncio.get_running_loop()
    if not channels.of(CANARY_CHANNEL):
        yield loop.create_task(asyncio.sleep(0))
        return

    def tell(outcome: str, detail: str) -> None:
        process.metrics.add(CANARY, 1, outcome)
        if outcome not in ("ok", "standby"):
            process.log.warning("canary-failed", outcome=outcome, detail=detail)

    async with trial_of(settings, channels, wall_clock) as slack:
        canary = Canary(slack, heart_of(settings), teller.is_active, wall_clock, tell)
        yield loop.create_task(canary.run(settings.alerting.canary_seconds))


class _Timed(ClusterAlerter):
    """The same, which measures how old a part of an incident is when it has been decided on."""

    def __init__(
        self, shared: Shared, routes: Routes, stalled_after: int | None, channels: Channels | None, metrics: Metrics
    ) -> None:
        super().__init__(shared, routes, stalled_after, channels)
        self._metrics = metrics

    def process(self, records: Sequence[Record]) -> Effects:
        """See `ClusterAlerter.process`."""
        made = super().process(records)
        now = wall_clock()
        ages = [max(0, now - record.time) / SECOND for record in records if record.topic == PARTS]
        self._metrics.observe_all(ALERT_DELAY, ages)
        return made


class Teller:
    """Sends what the delivery ledger says is due. Every step is durable before the next."""

    def __init__(self, process: Process, notifier: Notifier, *, wall: bool) -> None:
        self._process = process
        self._notifier = notifier
        self._wall = wall

    def prepare(self, lane: ShardLane, parked: bool) -> None:
        """See `ShardWorker.prepare`."""
        if parked:
            lane.missed = _catch_up
        lane.after = self._tell

    async def _tell(self, lane: ShardLane) -> None:
        processor = _alerter(lane.processor)
        due = processor.alerter.ledger.next_due()
        if due is None or due > self._now(processor):
            return
        loop = asyncio.get_running_loop()

        def save(_rows: Mapping[str, bytes]) -> None:
            rows = processor.alerter.take_ledger()
            asyncio.run_coroutine_threadsafe(lane.persist(rows), loop).result()

        await lane.persist(())  # what made it due is durable first
        made = await asyncio.to_thread(  # the lane waits: nobody else touches the ledger meanwhile
            deliver, processor.alerter.ledger, self._notifier, processor.alerter.message, save,
            lambda: self._now(processor), limit=CALLS_AT_ONCE,
        )  # fmt: skip
        self._process.metrics.add(MESSAGES, made, "console", "made")

    def _now(self, processor: ClusterAlerter) -> int:
        return max(wall_clock(), processor.now) if self._wall else processor.now


class _Now:
    """What time it is for messages: the wall clock, but never before what was read; or the records' time alone."""

    def __init__(self, *, wall: bool) -> None:
        self._wall = wall
        self.processor: ClusterAlerter | None = None

    def __call__(self) -> int:
        read = self.processor.now if self.processor is not None else 0
        return max(wall_clock(), read) if self._wall else read


class Counted(Counter):
    """Counts calls in the process's metrics, and logs what went wrong by its name."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def called(self, method: str, outcome: str) -> None:
        """See `Counter`."""
        self._process.metrics.add(SLACK_CALLS, 1, method, outcome)
        if outcome != "ok":
            self._process.log.warning("slack-call-failed", method=method, outcome=outcome)

    def limited(self, method: str) -> None:
        """See `Counter`."""
        self._process.metrics.add(SLACK_LIMITED, 1, method)

    def degraded(self, step: str) -> None:
        """See `Counter`."""
        self._process.metrics.add(SLACK_DEGRADED, 1, step)

    def connection(self, what: str, connections: int) -> None:
        """See `Counter`."""
        metrics = self._process.metrics
        metrics.add(SLACK_SOCKET, 1, what)
        if connections >= 0:
            metrics.set(SLACK_CONNECTIONS, connections)
            metrics.set(SLACK_HEARD, wall_clock() / SECOND)
        if what not in ("open", "refresh"):
            self._process.log.warning("slack-socket", what=what, connections=connections)

    def envelope(self, outcome: str) -> None:
        """See `Counter`."""
        self._process.metrics.add(SLACK_ENVELOPES, 1, outcome)
        self._process.metrics.set(SLACK_HEARD, wall_clock() / SECOND)

    def pressed(self, what: str, outcome: str) -> None:
        """See `Counter`."""
        self._process.metrics.add(SLACK_PRESSES, 1, what, outcome)
        if outcome in ("refused", "not-durable"):
            self._process.log.warning("button-not-done", what=what, outcome=outcome)


class SlackTeller:
    """Sends what the delivery ledger says is due, and waits for no answer: the lane goes on, and is woken by each."""

    def __init__(self, process: Process, courier: Courier, now: _Now, knowing: Knowing | None = None) -> None:
        """`knowing`: asks the record what messages add; None: there is none to ask."""
        self._process = process
        self._courier = courier
        self._now = now
        self._knowing = knowing
        self._worked = 0.0

    def is_active(self) -> bool:
        """Does this process hold the shard, and work?"""
        return self._worked > 0 and time.monotonic() - self._worked < ACTIVE_SECONDS

    def prepare(self, lane: ShardLane, parked: bool) -> None:
        """See `ShardWorker.prepare`."""
        if parked:
            lane.missed = _catch_up
        lane.after = self._tell
        lane.finish = self._finish
        self._courier.wake = lane.stir

    async def _tell(self, lane: ShardLane) -> None:
        processor = self._now.processor = _alerter(lane.processor)
        self._worked = time.monotonic()
        ledger, now = processor.alerter.ledger, self._now()
        self._count(self._courier.settle(ledger, now))
        if self._knowing is not None:
            processor.alerter.record_is_down = self._knowing.is_down
        calls = self._courier.take(ledger, processor.alerter.message, now)
        self._consider(processor, calls)
        if calls or ledger.is_dirty:
            # What is about to be done is durable before it is done, and so is what made it due.
            await lane.persist(processor.alerter.take_ledger())
        self._courier.begin(ledger, calls)

    def _consider(self, processor: ClusterAlerter, calls: Sequence[Call]) -> None:
        """What is told now, the record may add to."""
        if self._knowing is not None:
            for call in calls:
                self._knowing.consider(processor.alerter.book.incident(_incident_of(call)))

    async def _finish(self, lane: ShardLane) -> None:
        """Answers that are under way are worth waiting for: what is known needs no search."""
        processor = _alerter(lane.processor)
        await self._courier.drained(FINISH_SECONDS)
        self._count(self._courier.settle(processor.alerter.ledger, self._now()))
        await lane.persist(processor.alerter.take_ledger())

    def _count(self, settled: Sequence[tuple[Call, Answer]]) -> None:
        for call, answer in settled:
            outcome = answer.kind if isinstance(answer, Failed) else "made"
            place = FALLBACK if call.destination == FALLBACK else "slack"
            self._process.metrics.add(MESSAGES, 1, place, outcome)
            if isinstance(answer, Failed):
                self._process.log.warning(
                    "message-not-sent", destination=call.destination, outcome=answer.kind, detail=answer.detail
                )


def _incident_of(call: Call) -> str:
    """The incident a call tells of; empty: it only looks."""
    return "" if isinstance(call, Find) else call.message.incident


def _alerter(processor: Processor) -> ClusterAlerter:
    if not isinstance(processor, ClusterAlerter):
        raise TypeError(type(processor).__name__)
    return processor


def _catch_up(processor: Processor) -> Effects:
    return _alerter(processor).catch_up()
