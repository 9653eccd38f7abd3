"""`revet serve judge`: the shards of the judge that are given to this process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from streams.clock import wall_clock
from streams.clustered import ClusterJudge
from streams.engine.lanes import LaneOptions, ShardLane, ShardSpec
from streams.engine.link import KafkaLink
from streams.engine.port import Effects, Processor, Record
from streams.engine.view import BroadcastView
from streams.engine.worker import ShardWorker
from streams.serving.process import Process
from streams.serving.wiring import Beats, ProcessMeter, new_instance, serve, source_of
from streams.shared import Shared
from streams.topics import OBSERVATIONS, STATE, TOPICS
from streams.trustlog import gate_of
from verifier.times import HOUR

NEEDED: Final = tuple(t.name for t in TOPICS.values() if "judge" in t.readers + t.writers)
"""Topics without which a judge does not start."""


async def judge(process: Process) -> None:
    """Until the process is told to stop. Raises as `ShardWorker.run`; InputError for settings that name nobody."""
    settings = process.settings
    shared = Shared(gate_of(settings.administrators))
    link = KafkaLink(settings.kafka, NEEDED)
    instance, meter = new_instance("judge"), ProcessMeter(process, "judge")
    shards = settings.kafka.partitions
    clock = wall_clock if settings.serve.clock == "wall" else None
    max_age = 0 if clock is None else settings.evidence.max_age_hours * HOUR
    options = LaneOptions(tick_seconds=None if clock is None else 1.0)
    spec = ShardSpec((OBSERVATIONS,), STATE, shards, instance, settings.serve.accept_gaps)

    def take(records: Sequence[Record]) -> None:
        shared.take(records)
        worker.broadcast(records)

    view = BroadcastView(link, Shared.topics, take)
    worker = ShardWorker(
        spec, link, source_of(settings.kafka, "judge", (OBSERVATIONS,)),
        lambda shard: ClusterJudge(shard, shards, shared, clock, max_age),
        view=view, options=options, meter=meter, stale_seconds=settings.serve.stale_trust_seconds,
    )  # fmt: skip
    worker.prepare = _prepare
    beats = Beats(process, "judge", instance, link, meter, shards, view, shared.gate)
    await serve(process, worker.run, beats, view)


def _prepare(lane: ShardLane, parked: bool) -> None:
    if parked:
        lane.missed = _catch_up


def _catch_up(processor: Processor) -> Effects:
    if not isinstance(processor, ClusterJudge):
        raise TypeError(type(processor).__name__)
    return processor.catch_up()
