"""The reconciler: does the record hold what stands in the topics? It trusts neither engine nor indexer.

    report = await reconcile(settings, since, until, mend=True, tell=print)

Every record between two times is read again, outside of every group, up to where the indexer says it has come; its
documents are made again and looked up by id. Ids derive from content, so what is missing can simply be written:
harmless where it was there after all. Documents of current state are compared by version.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

from streams.codec import NewerSchemaError
from streams.elastic import AsyncServer, connect_async, url_path
from streams.engine.broker import Slot
from streams.engine.link import KafkaLink, group_positions
from streams.engine.port import Record
from streams.engine.view import BroadcastView
from streams.serving.documenting import Documenting
from streams.serving.entering import Entering
from streams.serving.indexing import INDEXED
from streams.settings import Settings
from streams.shared import Shared
from streams.sinks.bulk import newest
from streams.sinks.elasticsearch import ElasticRecord, Versioned
from streams.sinks.mapping import Names, record_id
from streams.topics import CLUSTER_SIGHT, LEDGER, TOPICS, TRUST
from streams.trustlog import gate_of
from verifier.models import Micros

CHUNK: Final = 1000
"""Documents looked up at a time."""

Tell = Callable[[str], None]


class Reconciled(msgspec.Struct, frozen=True):
    """One partition."""

    topic: str
    partition: int
    records: int
    """Read again."""
    documents: int
    missing: int
    """Documents that were not there, or only in an older version."""
    mended: int
    """Of these, written now."""
    gap: int
    """Positions before the oldest record that is still there: removed by retention; nothing can be said of them."""


async def reconcile(
    settings: Settings, since: Micros | None, until: Micros | None, *, mend: bool, tell: Tell
) -> tuple[Reconciled, ...]:
    """Compare the record with the topics, for records first written in [since, until) (None: no bound).

    Raises:
        InputError: settings that name no brokers, no Elasticsearch or nobody who may change trust.
        PlaceUnavailable, PlaceRefused: a server does not answer, or refuses.
        NewerSchemaError: a record was written by a newer revet.
    """
    shared = Shared(gate_of(settings.administrators))
    link = KafkaLink(settings.kafka, (*INDEXED, LEDGER))
    made = Documenting(shared, settings.owners.routes())
    names = Names(settings.elasticsearch.namespace)

    def take(records: Sequence[Record]) -> None:
        shared.take(records)
        made.learn(records)

    await link.start()
    try:
        await _read_whole(BroadcastView(link, (TRUST, CLUSTER_SIGHT), take))
        async with connect_async(settings.elasticsearch) as server:
            looker = _Looker(server, names, Entering(link, enabled=settings.ledger.enabled), mend=mend)
            found = []
            for slot, end in (await _reached(settings, link)).items():
                found.append(await _partition(link, slot, end, (since, until), made, looker))
                tell(f"{slot}: {found[-1].records} records, {found[-1].missing} documents missing")
    finally:
        await link.stop()
    return tuple(found)


async def _read_whole(view: BroadcastView) -> None:
    following = asyncio.create_task(view.run())
    try:
        while not view.is_whole:
            if following.done():
                following.result()
            if view.held:
                raise NewerSchemaError(view.held)
            await asyncio.sleep(0.05)
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def _reached(settings: Settings, link: KafkaLink) -> dict[Slot, int]:
    """Partition -> where the indexer has come; what lies behind that is not written yet, and no loss."""
    topics = [TOPICS[name] for name in INDEXED]
    slots = [Slot(t.name, number) for t in topics for number in range(t.partitions(settings.kafka.partitions))]
    ends = await link.ends(slots)
    positions = await group_positions(settings.kafka, settings.kafka.group("index"), slots)
    return {slot: min(ends[slot], positions[slot] or 0) for slot in slots}


Window = tuple[Micros | None, Micros | None]


async def _partition(
    link: KafkaLink, slot: Slot, end: int, window: Window, made: Documenting, looker: _Looker
) -> Reconciled:
    records = documents = missing = mended = 0
    first: int | None = None
    if not end:
        return Reconciled(slot.topic, slot.partition, 0, 0, 0, 0, 0)
    async for batch in link.read(slot, 0, end):
        first = batch[0].position if first is None else first
        wanted = [record for record in batch if _within(record, window)]
        records += len(wanted)
        for chunk in _chunks([one for record in wanted for one in made.of(record)]):
            documents += len(chunk)
            gone = await looker.missing(newest(chunk)[0])  # each once: what is covered by another is not missing
            missing += len(gone)
            mended += await looker.mended(gone)
    dense = TOPICS[slot.topic].keep != "newest"
    return Reconciled(slot.topic, slot.partition, records, documents, missing, mended, (first or 0) if dense else 0)


def _within(record: Record, window: Window) -> bool:
    since, until = window
    at = record.written * 1000
    return (since is None or at >= since) and (until is None or at < until)


def _chunks(documents: Sequence[Versioned]) -> Iterator[Sequence[Versioned]]:
    for start in range(0, len(documents), CHUNK):
        yield documents[start : start + CHUNK]


class _Looker:
    """Looks documents up by id and writes what is missing."""

    def __init__(self, server: AsyncServer, names: Names, entering: Entering, *, mend: bool) -> None:
        self._server, self._names, self._mend = server, names, mend
        self._record = ElasticRecord(server, names)
        self._entering = entering
        self._refreshed: set[str] = set()

    async def missing(self, documents: Sequence[Versioned]) -> list[Versioned]:
        """Those that are not there, or only in an older version."""
        by_target: dict[str, list[Versioned]] = {}
        for one in documents:
            by_target.setdefault(self._names.target(one.document.home), []).append(one)
        gone: list[Versioned] = []
        for target, own in by_target.items():
            there = await self._versions(target, [record_id(one.document.id) for one in own])
            gone += [one for one in own if _is_older(there.get(record_id(one.document.id)), one)]
        return gone

    async def mended(self, documents: Sequence[Versioned]) -> int:
        """Write them; returns how many are there now that were not, whoever was faster."""
        if not self._mend or not documents:
            return 0
        await self._entering.before(documents)  # names may be others now, so it may be another document
        return len(documents) - len((await self._record.write(documents)).refused)

    async def _versions(self, target: str, ids: Sequence[str]) -> dict[str, int]:
        """Id -> version of what is there."""
        if target not in self._refreshed:  # a search sees what was refreshed; once is enough, writing goes on behind it
            await self._server.call("POST", url_path(target, "_refresh"), accept=(404,))
            self._refreshed.add(target)
        wanted = {"ids": {"values": list(dict.fromkeys(ids))}}
        body = {"size": len(ids), "_source": False, "version": True, "query": wanted}
        answer = await self._server.call("POST", url_path(target, "_search"), body=body, accept=(404,))
        hits = answer.body.get("hits", {}).get("hits", []) if answer.status == 200 else []
        return {str(hit["_id"]): int(hit.get("_version", 0)) for hit in hits}


def _is_older(there: int | None, wanted: Versioned) -> bool:
    if there is None:
        return True
    if wanted.document.version is None:
        return False
    return there < (wanted.version if wanted.version is not None else wanted.document.version)
