"""`revet serve fetch`: requests for evidence, answered once for every shard."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from streams.clock import wall_clock
from streams.engine.batches import BatchOptions, BatchWorker
from streams.engine.link import KafkaLink
from streams.engine.port import Output, Record
from streams.engine.reading import read
from streams.engine.view import BroadcastView
from streams.fetcher import FetchOptions, FetchWorker, Outcome
from streams.fetching import EvidenceAnswerer
from streams.local.dated import Dates, first_seen_dates, mark_of
from streams.places import open_store, opened, registry_options, source_of
from streams.serving import wiring
from streams.serving.lending import lending
from streams.serving.metrics import FETCH_SECONDS, FETCHES
from streams.serving.notifying import notified
from streams.serving.process import Process
from streams.serving.pulling import Pulling
from streams.serving.wiring import Beats, ProcessMeter, new_instance, serve
from streams.shared import Shared
from streams.topics import PULLS, REQUESTS, TOPICS, TRUST
from streams.trustlog import gate_of
from verifier.adapters.registry import RegistryPlace
from verifier.models import Evidence, Micros
from verifier.oci.port import EvidencePlace

NEEDED: Final = tuple(t.name for t in TOPICS.values() if "fetcher" in t.readers + t.writers)
OPTIONS: Final = BatchOptions(batch=32, flush_seconds=0.01, window=16, queue=2000)
"""Small batches, many of them: a registry that does not answer delays only what came with it."""
RECORDED: Final = FetchOptions(recorded=True, again_seconds=0.0, down_after=1_000_000)
"""In a recording minutes pass in an instant: nothing may depend on how long something took."""


async def fetch(process: Process) -> None:
    """Until the process is told to stop.

    Raises:
        RecordsLost, PlaceUnavailable, PlaceRefused: as `BatchWorker.run`; the evidence store failed.
        InputError: settings that name no store, no source or nobody who may change trust.
    """
    settings = process.settings
    shared = Shared(gate_of(settings.administrators))
    link = KafkaLink(settings.kafka, NEEDED)
    instance, meter = new_instance("fetch"), ProcessMeter(process, "fetch")
    recorded = settings.serve.clock == "recorded"
    dates = first_seen_dates(settings.first_seen) if recorded else Dates()

    def clock() -> Micros:
        return 0 if recorded else wall_clock()  # in a recording it is as late as whoever asks says

    def date_of(evidence: Evidence) -> Micros | None:
        return dates.get(mark_of(evidence))

    registry = registry_options(settings.evidence)
    pulling = Pulling(registry.budgets, link, settings.kafka.partitions, instance)
    with open_store(settings.evidence.store, registry) as store:
        async with _opened(process, pulling) as place:
            answerer = EvidenceAnswerer(
                place, store, lambda: shared.trust, clock, platform=settings.evidence.platform,
                date_of=date_of if recorded else None,
            )  # fmt: skip
            options = RECORDED if recorded else FetchOptions()
            fetcher = FetchWorker(answerer, shared, options, meter=FetchMeter(process), clock=clock)

            def take(records: Sequence[Record]) -> None:
                shared.take(records)
                pulling.take(records)
                if any(record.topic == TRUST for record in records):
                    fetcher.trust_moved()

            view = BroadcastView(link, (*Shared.topics, PULLS), take)
            worker = BatchWorker(
                link, wiring.source_of(settings.kafka, "fetch", (REQUESTS,)), Fetching(fetcher),
                shards=settings.kafka.partitions, view=view, options=OPTIONS, meter=meter,
                accept_gaps=settings.serve.accept_gaps,
            )  # fmt: skip
            beats = Beats(process, "fetch", instance, link, meter, settings.kafka.partitions, view, shared.gate)
            try:
                async with notified(process, shared, link):
                    await serve(process, worker.run, beats, view)
            finally:
                fetcher.close()


@asynccontextmanager
async def _opened(process: Process, pulling: Pulling) -> AsyncIterator[EvidencePlace]:
    """Where evidence is looked for, with the credentials and the budgets that are not of this process alone."""
    registries: list[RegistryPlace] = []
    async with opened(source_of(process.settings.evidence), registries.append) as place:
        for one in registries:
            one.share(pulling.allowance)
        async with lending(process, registries[0].lend if registries else None):
            yield place


class Fetching:
    """A fetcher behind batches. Implements `BatchHandler`; requests of one partition stay in order."""

    def __init__(self, fetcher: FetchWorker) -> None:
        self._fetcher = fetcher
        self._turns: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)

    def check(self, record: Record) -> None:
        """See `BatchHandler`."""
        read(record)

    async def handle(self, records: Sequence[Record]) -> Sequence[Output]:
        """See `BatchHandler`."""
        by_partition: dict[int, list[Record]] = {}
        for record in records:
            by_partition.setdefault(record.partition, []).append(record)
        answered = await asyncio.gather(*(self._in_turn(number, own) for number, own in by_partition.items()))
        return [out for outputs in answered for out in outputs]

    async def _in_turn(self, partition: int, records: Sequence[Record]) -> Sequence[Output]:
        async with self._turns[partition]:
            return (await self._fetcher.handle(records)).outputs


class FetchMeter:
    """Tells metrics how fetches go. Implements `streams.fetcher.Meter`."""

    def __init__(self, process: Process) -> None:
        self._metrics = process.metrics

    def fetched(self, outcome: Outcome, seconds: float, registry: str) -> None:
        """See `streams.fetcher.Meter`."""
        del registry  # no label: whoever names images would choose how many there are
        self._metrics.add(FETCHES, 1, outcome)
        self._metrics.observe(FETCH_SECONDS, seconds)
