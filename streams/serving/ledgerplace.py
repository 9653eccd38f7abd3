"""The ledger of a cluster, for commands and for checks: the topic `revet.ledger`, and the record in Elasticsearch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, islice

from streams.elastic import Server, connect, url_path
from streams.engine.port import Record
from streams.engine.reading import Unreadable, read
from streams.events import LedgerChecked, LedgerEntry
from streams.kafka.producer import KafkaDoor
from streams.kafka.reading import KafkaLog
from streams.ledger.chain import Chain
from streams.ledger.checking import AHEAD
from streams.ledger.entries import entry_of, packed
from streams.ledger.place import LedgerPlace, name_of
from streams.ledger.places import Folder
from streams.ledger.port import Kept, KeptStore, LedgerLog, ReaderStore
from streams.ledger.sealing import Sealer
from streams.outputs import output
from streams.queries.elasticsearch import ElasticsearchReader
from streams.settings import LedgerSettings, Settings
from streams.sinks.document import Document
from streams.sinks.mapping import Names, record_id
from streams.topics import LEDGER
from verifier.errors import InputError, PlaceRefused
from verifier.models import Micros


class KafkaLedgerLog:
    """Implements `LedgerLog` over the topic."""

    def __init__(self, settings: Settings) -> None:
        self._log = KafkaLog(settings.kafka)

    def read(self, after: int = -1) -> Iterator[Record]:
        """See `LedgerLog`."""
        return self._log.read(LEDGER, {0: after + 1} if after >= 0 else None)


class ClusterPlace(LedgerPlace):
    """The ledger that the settings name."""

    ahead = AHEAD

    def __init__(self, settings: Settings, ledger: LedgerSettings | None = None) -> None:
        own = settings.ledger if ledger is None else ledger
        super().__init__(own, own.key_file, Folder(own.directory) if own.directory is not None else None)
        self._settings = settings
        self._names = Names(settings.elasticsearch.namespace)

    @contextmanager
    def reading(self) -> Iterator[tuple[LedgerLog, KeptStore]]:
        """See `LedgerPlace`. What was written a moment ago is made searchable first."""
        with connect(self._settings.elasticsearch) as server:
            reader = ElasticsearchReader(server, self._names)
            yield KafkaLedgerLog(self._settings), ReaderStore(reader)

    def begin(self, entry: LedgerEntry, now: Micros) -> int:
        """See `LedgerPlace`. What indexers write has its entry already; what was there before gets it now."""
        try:
            name_of(KafkaLedgerLog(self._settings))
        except InputError:
            pass
        else:
            raise InputError("there is a ledger in this topic already; `revet ledger rotate` changes its key")
        with self.reading() as (_, store):
            found = store.scan(None, None)
            first = [_entry(kept) for kept in islice(found, 1)]  # is there a record at all, before anything is written
            entries, number = chain((entry,), first, map(_entry, found)), 0
            for pack in packed(entries, now):
                self._send(pack)
                number += len(pack.entries)
        return number

    def append(self, entry: LedgerEntry, now: Micros) -> None:
        """See `LedgerPlace`."""
        name_of(KafkaLedgerLog(self._settings))
        self._send(*packed([entry], now))

    def seal(self, sealer: Sealer, now: Micros) -> int:
        """See `LedgerPlace`. Beside a `serve ledger` that runs: of two headers the first in the topic counts."""
        log, chain, position, signed = KafkaLedgerLog(self._settings), Chain(), -1, 0
        while True:
            position = follow(log, chain, position)
            header = sealer.batch(chain, now, force=True)
            if header is not None:
                self._send(header)
                position = follow(log, chain, position)
                if chain.number == header.number:  # nobody's counts: another would not, either
                    raise PlaceRefused("ledger-stuck", f"the header of batch {header.number} does not fit its entries")
            checkpoint = sealer.checkpoint(chain)
            if checkpoint is not None:
                self._send(checkpoint)
                signed += 1
                position = follow(log, chain, position)
            if header is None:
                if not chain.name:
                    raise InputError("there is no ledger here: begin one with `revet ledger init`")
                self._publish(chain)
                return signed

    def _publish(self, chain: Chain) -> None:
        for notes in chain.checkpoints.values() if self.folder is not None else ():
            for note in notes:
                if self.folder is not None:
                    self.folder.publish(note.note)

    def put(self, document: Document, entry: LedgerEntry, now: Micros) -> bool:
        """See `LedgerPlace`. The act comes first: a crash between leaves a content that a check calls not erased."""
        with connect(self._settings.elasticsearch) as server:
            found = self._found(server, document)
            if not found:
                return False
            self._send(*packed([entry], now))
            for hit in found:
                path = url_path(hit["_index"], "_doc", hit["_id"])
                version = {"if_seq_no": hit["_seq_no"], "if_primary_term": hit["_primary_term"], "refresh": "true"}
                server.call("PUT", path, params=version, body=document.body)
            for hit in found:  # deleted content is on disk until segments are merged
                server.call("POST", url_path(hit["_index"], "_forcemerge"), params={"only_expunge_deletes": "true"})
        return True

    def _found(self, server: Server, document: Document) -> list[dict[str, str]]:
        wanted = {"ids": {"values": [record_id(document.id)]}}
        body = {"query": wanted, "seq_no_primary_term": True, "_source": False}
        answer = server.call("POST", url_path(self._names.target(document.home), "_search"), body=body)
        hits: list[dict[str, str]] = answer.body["hits"]["hits"]
        return hits

    def tell(self, event: LedgerChecked) -> None:
        """See `LedgerPlace`."""
        self._send(event)

    def _send(self, *events: object) -> None:
        door = KafkaDoor(self._settings.kafka, part="ledger")
        try:
            door.send([output(event) for event in events])
        finally:
            door.close()


def _entry(kept: Kept) -> LedgerEntry:
    return entry_of(Document(kept.home, kept.id, kept.time, kept.body))


def follow(log: LedgerLog, chain: Chain, position: int) -> int:
    """Fold what is behind a position; gives the position of the newest record."""
    for record in log.read(position):
        event = read(record)
        chain.take(None if isinstance(event, Unreadable) else event)
        position = record.position
    return position


__all__ = ["ClusterPlace", "KafkaLedgerLog", "follow"]
