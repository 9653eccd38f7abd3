"""A record with a ledger, on SQLite and on Elasticsearch, and a hand that changes it behind revet's back.

place = ledgered("sqlite", tmp_path)
place.write(decisions(100)); place.seal()
place.change("revet.admission", id_, {"event.reason": "fine"})
place.check().counts                    {"record-changed": 1}
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson

from streams.codec import decode, encode
from streams.elastic import url_path
from streams.engine.port import Record
from streams.engine.sqlite import connect
from streams.events import DecisionObserved, ImageAsked, LedgerEntry, Owner
from streams.ledger.chain import Chain
from streams.ledger.checking import AHEAD, Checker
from streams.ledger.custody import begun, new_key
from streams.ledger.entries import entries_of, packed
from streams.ledger.found import Report
from streams.ledger.notes import LedgerKey, Signing
from streams.ledger.places import Folder
from streams.ledger.port import KeptStore, LedgerLog, MemoryLog, ReaderStore
from streams.ledger.sealing import Pace, Sealer
from streams.ledger.sqlite import LocalLedger, SqliteLedgerLog, SqliteStore, begin
from streams.queries.elasticsearch import ElasticsearchReader
from streams.sinks.document import Body, Document
from streams.sinks.documents import documents
from streams.sinks.mapping import record_id
from streams.sinks.sqlite import SqliteRecord
from streams.topics import LEDGER
from tests.helpers import elastic
from verifier.canonical import stable_id
from verifier.times import HOUR, SECOND

START = 1_795_000_000_000_000
"""2026-11-18, in microseconds."""
NAME = "revet-ledger/test"


def decisions(number: int, first: int = 0, cluster: str = "c1") -> Iterator[Document]:
    """Documents of admission decisions, one a second, each its own."""
    for n in range(first, first + number):
        yield from documents(
            DecisionObserved(
                id=stable_id("admission", cluster, str(n)), time=START + n * SECOND, cluster=cluster, namespace="shop",
                owner=Owner("Deployment", f"api-{n % 7}"), outcome="denied" if n % 5 == 0 else "admitted",
                operation="create", resource="pods", name=f"api-{n}", user=f"person-{n % 11}@example.com",
                source_ips=("10.0.0.7",), code=201, reason="schön, 100 %",
                images=(ImageAsked("app", "main", f"registry.example.com/shop/api:{n % 9}"),),
            )
        )  # fmt: skip


class _Place:
    """What both have in common."""

    folder: Folder
    key: Signing
    now: int = START + 10 * HOUR

    def change(self, home: str, id_: str, fields: Body) -> None:
        """Change fields of a document, behind revet's back."""
        self.replace(home, id_, self.body(home, id_) | fields)  # type: ignore[attr-defined]  # of the protocol

    def log(self) -> LedgerLog:
        raise NotImplementedError

    def store(self) -> KeptStore:
        raise NotImplementedError

    ahead = 0

    def check(
        self, since: int | None = None, until: int | None = None, keys: Sequence[LedgerKey] | None = None
    ) -> Report:
        """A check by somebody who wrote the first key down, later."""
        pinned = (self.key.key,) if keys is None else keys
        checker = Checker(self.log(), self.store(), pinned, self.folder.notes(), ahead=self.ahead)
        return checker.check(since, until, self.now + HOUR)


class SqlitePlace(_Place):
    """A state file."""

    def __init__(self, base: Path, pace: Pace | None = None) -> None:
        self.path = base / "state.sqlite"
        self.connection = connect(self.path, create=True)
        self.record = SqliteRecord(self.connection)
        self.folder = Folder(base / "checkpoints")
        self.key = new_key(base / "ledger.pem")
        self.sealer = Sealer(self.key, pace or Pace(entries=1000))
        begin(self.connection, begun(NAME, self.key.key, "test", START), START)
        self.ledger = LocalLedger(self.connection)

    def write(self, made: Iterable[Document]) -> None:
        self.connection.execute("BEGIN IMMEDIATE")
        mark = self.ledger.mark()
        self.record.write(made)
        self.ledger.cover(mark, self.now)
        self.connection.execute("COMMIT")

    def act(self, entry: LedgerEntry) -> None:
        self.ledger.append_entries([entry], self.now)

    def seal(self) -> None:
        for signed in self.ledger.seal(self.sealer, self.now, force=True):
            self.folder.publish(signed.note)

    def log(self) -> LedgerLog:
        return SqliteLedgerLog(self.connection)

    def store(self) -> KeptStore:
        return SqliteStore(self.connection)

    def sql(self, statement: str, *values: object) -> None:
        """Whoever can write the file can write anything."""
        assert self.connection.execute(statement, values).rowcount

    def body(self, home: str, id_: str) -> Body:
        row = self.connection.execute("SELECT body FROM record WHERE home = ? AND id = ?", (home, id_)).fetchone()
        found: Body = orjson.loads(row[0])
        return found

    def replace(self, home: str, id_: str, body: Body) -> None:
        self.sql("UPDATE record SET body = ? WHERE home = ? AND id = ?", orjson.dumps(body).decode(), home, id_)

    def delete(self, home: str, ids: Sequence[str]) -> None:
        for id_ in ids:
            self.sql("DELETE FROM record WHERE home = ? AND id = ?", home, id_)

    def insert(self, document: Document) -> None:
        self.record.write([document])

    def copy(self, to: Path) -> None:
        """The whole file, as a backup has it."""
        self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copy(self.path, to)

    def put_back(self, copy: Path) -> None:
        """The whole file from an older copy."""
        self.connection.close()
        for suffix in ("-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        shutil.copy(copy, self.path)
        self.connection = connect(self.path, create=False)
        self.record = SqliteRecord(self.connection)
        self.ledger = LocalLedger(self.connection)


class ElasticPlace(_Place):
    """Elasticsearch, with the log of the ledger in memory, as a topic would hold it."""

    ahead = AHEAD

    def __init__(self, base: Path, pace: Pace | None = None) -> None:
        self.sink, reader = elastic.elastic_record()
        assert isinstance(self.sink, elastic.Space)
        assert isinstance(reader, ElasticsearchReader)
        self.space, self.reader = self.sink, reader
        self.folder = Folder(base / "checkpoints")
        self.key = new_key(base / "ledger.pem")
        self.sealer = Sealer(self.key, pace or Pace(entries=1000))
        self.memory = MemoryLog()
        self.act(begun(NAME, self.key.key, "test", START))

    def append(self, event: Any) -> None:
        """One more record of the topic."""
        records = self.memory.records
        made = Record(len(records), LEDGER, 0, "", event.id, encode(event), event.time, 0, self.now // 1000)
        records.append(made)

    def write(self, made: Iterable[Document]) -> None:
        kept = list(made)
        for pack in packed(entries_of(kept), self.now):
            self.append(pack)
        for start in range(0, len(kept), 5000):
            self.space.write(kept[start : start + 5000])

    def act(self, entry: LedgerEntry) -> None:
        for pack in packed([entry], self.now):
            self.append(pack)

    def seal(self) -> None:
        while True:
            chain = chain_of(self.memory)
            header = self.sealer.batch(chain, self.now, force=True)
            if header is not None:
                self.append(header)
            signed = self.sealer.checkpoint(chain_of(self.memory))
            if signed is not None:
                self.append(signed)
                self.folder.publish(signed.note)
            if header is None:
                return

    def log(self) -> LedgerLog:
        return self.memory

    def store(self) -> KeptStore:
        return ReaderStore(self.reader)

    def _hit(self, home: str, id_: str) -> dict[str, Any]:
        target = self.space.names.target(home)
        body = {"query": {"ids": {"values": [record_id(id_)]}}}
        hits = self.space.server.call("POST", url_path(target, "_search"), body=body).body["hits"]["hits"]
        found: dict[str, Any] = hits[0]
        return found

    def body(self, home: str, id_: str) -> Body:
        found: Body = self._hit(home, id_)["_source"]
        return found

    def replace(self, home: str, id_: str, body: Body) -> None:
        hit = self._hit(home, id_)
        path = url_path(hit["_index"], "_doc", hit["_id"])
        self.space.server.call("PUT", path, params={"refresh": "true", **_version(self.space, path)}, body=body)

    def delete(self, home: str, ids: Sequence[str]) -> None:
        for id_ in ids:
            hit = self._hit(home, id_)
            self.space.server.call("DELETE", url_path(hit["_index"], "_doc", hit["_id"]), params={"refresh": "true"})

    def insert(self, document: Document) -> None:
        self.space.write([document])


def _version(space: elastic.Space, path: str) -> dict[str, Any]:
    """A backing index takes an overwriting document only with the version it is about."""
    found = space.server.call("GET", path).body
    return {"if_seq_no": found["_seq_no"], "if_primary_term": found["_primary_term"]}


def chain_of(log: LedgerLog) -> Chain:
    """The chain, folded anew from a log."""
    chain = Chain()
    for record in log.read():
        chain.take(decode(record.value))
    return chain


def ledgered(store: str, base: Path, pace: Pace | None = None) -> SqlitePlace | ElasticPlace:
    """A place with a ledger just begun."""
    return SqlitePlace(base, pace) if store == "sqlite" else ElasticPlace(base, pace)


__all__ = ["START", "chain_of", "decisions", "ledgered"]
