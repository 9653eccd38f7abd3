"""`revet serve alert`: one process decides what people are told, and tells them; others stand by."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from alerting.adapters.console import ConsoleNotifier
from alerting.delivery import Notifier, deliver
from alerting.routing import Routes
from streams.clock import wall_clock
from streams.clustered import ClusterAlerter
from streams.engine.lanes import LaneOptions, ShardLane, ShardSpec
from streams.engine.link import KafkaLink
from streams.engine.port import Effects, Processor, Record
from streams.engine.view import BroadcastView
from streams.engine.worker import ShardWorker
from streams.serving.metrics import ALERT_DELAY, MESSAGES, Metrics
from streams.serving.process import Process
from streams.serving.wiring import Beats, ProcessMeter, new_instance, serve, source_of
from streams.shared import Shared
from streams.topics import ACTIONS, ALERTS, PARTS, TOPICS
from streams.trustlog import gate_of
from verifier.times import SECOND

NEEDED: Final = tuple(t.name for t in TOPICS.values() if "alerter" in t.readers + t.writers)
CALLS_AT_ONCE: Final = 100
"""Messages between two looks at what came in."""


async def alert(process: Process) -> None:
    """Until the process is told to stop. Raises as `ShardWorker.run`; InputError for settings that name nobody."""
    settings = process.settings
    shared = Shared(gate_of(settings.administrators))
    link = KafkaLink(settings.kafka, NEEDED)
    instance, meter = new_instance("alert"), ProcessMeter(process, "alert")
    shards = settings.kafka.partitions
    wall = settings.serve.clock == "wall"
    stalled = settings.serve.stalled_seconds * SECOND if wall else None
    spec = ShardSpec((PARTS, ACTIONS), ALERTS, shards, instance, settings.serve.accept_gaps)

    def take(records: Sequence[Record]) -> None:
        shared.take(records)
        worker.broadcast(records)

    view = BroadcastView(link, Shared.topics, take)
    worker = ShardWorker(
        spec, link, source_of(settings.kafka, "alert", (PARTS, ACTIONS)),
        lambda _: _Timed(shared, settings.owners.routes(), stalled, process.metrics),
        view=view, options=LaneOptions(tick_seconds=0.5 if wall else None), meter=meter,
        stale_seconds=settings.serve.stale_trust_seconds,
    )  # fmt: skip
    teller = Teller(process, ConsoleNotifier(sys.stdout), wall=wall)
    worker.prepare = teller.prepare
    beats = Beats(process, "alert", instance, link, meter, shards, view, shared.gate)
    await serve(process, worker.run, beats, view)


class _Timed(ClusterAlerter):
    """The same, which measures how old a part of an incident is when it has been decided on."""

    def __init__(self, shared: Shared, routes: Routes, stalled_after: int | None, metrics: Metrics) -> None:
        super().__init__(shared, routes, stalled_after)
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


def _alerter(processor: Processor) -> ClusterAlerter:
    if not isinstance(processor, ClusterAlerter):
        raise TypeError(type(processor).__name__)
    return processor


def _catch_up(processor: Processor) -> Effects:
    return _alerter(processor).catch_up()
