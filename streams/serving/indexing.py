"""`revet serve index`: what was decided and seen, written to Elasticsearch; positions move once it is acknowledged."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

from streams.clock import wall_clock
from streams.collectors.deadletters import dead_letter
from streams.collectors.framing import refused
from streams.elastic import connect_async
from streams.engine.batches import BatchOptions, BatchWorker
from streams.engine.link import KafkaLink
from streams.engine.port import Output, Record
from streams.engine.reading import read, refuse_newer
from streams.engine.view import BroadcastView
from streams.outputs import output
from streams.serving.documenting import Documenting
from streams.serving.entering import Entering
from streams.serving.metrics import BULK_ITEMS, BULK_SECONDS, DEADLETTERS, PAUSED, SEARCHABLE_DELAY
from streams.serving.process import Process
from streams.serving.wiring import Beats, ProcessMeter, new_instance, serve, source_of
from streams.shared import Shared
from streams.sinks.elasticsearch import ElasticRecord, Refused, Versioned, Written
from streams.sinks.mapping import Names
from streams.topics import CLUSTER_SIGHT, TOPICS, TRUST
from streams.topics import DEADLETTERS as LETTERS
from streams.trustlog import gate_of

INDEXED: Final = tuple(t.name for t in TOPICS.values() if "indexer" in t.readers)
"""Topics with something for the record, be it that something cannot be read."""
NEEDED: Final = tuple(dict.fromkeys((*INDEXED, *(t.name for t in TOPICS.values() if "indexer" in t.writers))))

AT_ONCE: Final = 50
"""Records made into documents before whatever waits gets its turn, so that no request to the record waits for us."""


async def index(process: Process) -> None:
    """Until the process is told to stop. Raises as `BatchWorker.run`, and as `ElasticRecord.write`."""
    settings = process.settings
    shared = Shared(gate_of(settings.administrators))
    made = Documenting(shared, settings.owners.routes())
    link = KafkaLink(settings.kafka, NEEDED)
    instance, meter = new_instance("index"), ProcessMeter(process, "index")

    def take(records: Sequence[Record]) -> None:
        shared.take(records)
        made.learn(records)

    view = BroadcastView(link, (TRUST, CLUSTER_SIGHT), take)

    def paused(why: str) -> None:
        process.metrics.set(PAUSED, float(bool(why)), "index")
        if why:
            process.health.trouble("elasticsearch", why)
            process.log.warning("record-waits", reason=why)
        else:
            process.health.well("elasticsearch")
            process.log.info("record-goes-on")

    async with connect_async(settings.elasticsearch) as server:
        record = ElasticRecord(server, Names(settings.elasticsearch.namespace), paused=paused)
        indexer = Indexer(record, shared, made, process, Entering(link, enabled=settings.ledger.enabled))
        worker = BatchWorker(
            link, source_of(settings.kafka, "index", INDEXED), indexer, shards=settings.kafka.partitions, view=view,
            options=BatchOptions(), meter=meter, accept_gaps=settings.serve.accept_gaps,
        )  # fmt: skip
        beats = Beats(process, "index", instance, link, meter, settings.kafka.partitions, view, shared.gate)
        await serve(process, worker.run, beats, view)


class Indexer:
    """Records in, documents written. Implements `BatchHandler`."""

    def __init__(
        self, record: ElasticRecord, shared: Shared, made: Documenting, process: Process, entering: Entering,
        clock: Callable[[], int] = wall_clock,
    ) -> None:  # fmt: skip
        self._record = record
        self._entering = entering
        self._shared = shared
        self._made = made
        self._process = process
        self._clock = clock
        self._making = asyncio.Lock()
        self._turn = asyncio.Event()
        """Set once the batch before has begun to be written."""
        self._turn.set()

    def check(self, record: Record) -> None:
        """See `BatchHandler`. Only of a trust record the version does not tell; reading the others twice would cost."""
        if record.topic == TRUST:
            read(record)
        else:
            refuse_newer(record)

    async def handle(self, records: Sequence[Record]) -> Sequence[Output]:
        """See `BatchHandler`. Gives a dead letter for every document that no store takes."""
        async with self._making:  # batches are made, and begun to be written, in their order
            made = await self._documents(records)
            before, self._turn = self._turn, asyncio.Event()
            mine = self._turn
        try:
            await self._entering.before(made)
            await before.wait()
        finally:
            mine.set()  # whoever waits for it runs when we wait for the record
        began = time.monotonic()
        written = await self._record.write(made)
        if made:
            self._process.metrics.observe(BULK_SECONDS, time.monotonic() - began)
        self._count(written)
        now = self._clock()
        self._process.metrics.observe_all(SEARCHABLE_DELAY, [max(0, now - r.time) / 1e6 for r in records])
        # A dead letter that cannot be stored itself is in the log, and ends there.
        letters = [self._letter(one) for one in written.refused if not one.item.source.startswith(LETTERS)]
        return [*letters, *self._entering.refused(written.refused)]

    async def _documents(self, records: Sequence[Record]) -> list[Versioned]:
        made: list[Versioned] = []
        for number, record in enumerate(records, start=1):
            if record.topic == TRUST:
                await self._trust_is_read(record)
            made.extend(self._made.of(record))
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
        return made

    def _count(self, written: Written) -> None:
        metrics = self._process.metrics
        for outcome, number in (("stored", written.stored), ("duplicate", written.duplicate), ("stale", written.stale)):
            if number:
                metrics.add(BULK_ITEMS, number, outcome)
        for one in written.refused:
            metrics.add(BULK_ITEMS, 1, one.outcome)
            metrics.add(DEADLETTERS, 1, "index", one.code)
            self._process.log.warning("document-refused", source=one.item.source, code=one.code, reason=one.reason)

    async def _trust_is_read(self, record: Record) -> None:
        """What counts in the trust log is told by the view that reads it in order; a group may be ahead of it."""
        while self._shared.positions().get(TRUST, 0) <= record.position:  # noqa: ASYNC110  # the view tells nobody
            await asyncio.sleep(0.05)

    def _letter(self, one: Refused) -> Output:
        found = refused(one.code, one.item.document.id.encode(), "", detail=one.reason[:500])
        return output(dead_letter(found, source=one.item.source, time=self._clock()))


__all__ = ["INDEXED", "NEEDED", "Indexer", "index"]
