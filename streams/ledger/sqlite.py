"""The ledger of the single-machine mode: entries in the transaction that writes their documents, in the same file.

    ledger = LocalLedger(connection)
    before = ledger.mark(); record.write(documents); ledger.cover(before, now)      inside one transaction
    ledger.seal(sealer, places, now)                                               bounds, then checkpoint, then places

Nothing is done until a ledger was begun in this file. What is hashed is what was stored, read back from the file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

import msgspec
import orjson

from streams.codec import decode, encode
from streams.engine.port import Output, Record
from streams.engine.reading import Unreadable, read
from streams.events import DecisionObserved, LedgerEntry, LedgerSealed, LedgerSigned, LedgerWritten
from streams.ledger.chain import Chain
from streams.ledger.entries import entry_of, packed
from streams.ledger.port import Kept
from streams.ledger.sealing import Sealer
from streams.sinks.document import Document
from streams.sinks.fields import HISTORY, HISTORY_PREFIX
from streams.sinks.sqlite import COPIED, Briefs, Copies, body_text
from streams.sqlite import NOTHING_RECORDED, explained, transaction
from streams.topics import LEDGER, OBSERVATIONS
from verifier.errors import InputError
from verifier.models import Micros

_UNUSABLE: Final = "the ledger cannot be read or written"
_HOMES: Final = tuple(HISTORY_PREFIX + name for name in HISTORY)
_IN_HISTORY: Final = f"home IN ({','.join('?' * len(_HOMES))})"

Event = LedgerWritten | LedgerSealed | LedgerSigned


class SqliteLedgerLog:
    """Implements `LedgerLog` over the rows of a state file."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def read(self, after: int = -1) -> Iterator[Record]:
        """See `LedgerLog`."""
        asked = (
            "SELECT position, topic, 0, key, id, value, time FROM log WHERE topic = ? AND position > ?"
            " ORDER BY position"
        )
        with _explained():
            for row in self._connection.execute(asked, (LEDGER, after)):
                yield Record(*row)


class SqliteStore:
    """Implements `KeptStore` over the record of a state file; looks at every copy that searches go by."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def scan(self, since: Micros | None, until: Micros | None) -> Iterator[Kept]:
        """See `KeptStore`."""
        # Everything with a version is current state, unless it says of itself that it is history.
        test, values = f"({_IN_HISTORY} OR version IS NULL)", list[object](_HOMES)
        if since is not None:
            test, values = f"{test} AND time >= ?", [*values, since]
        if until is not None:
            test, values = f"{test} AND time < ?", [*values, until]
        with _explained():
            copies, briefs = Copies(self._connection), Briefs(self._connection)
        for row in self._found(test, values):
            yield Kept(row[1], row[2], row[4], None, _stray(row, copies, briefs), row[-1])
        with _explained():
            for home, number, time in briefs.alone():
                if home in _HOMES and (since is None or since <= time) and (until is None or time < until):
                    yield Kept(home, f"brief of row {number}", time, {}, "a brief without its document")

    def lookup(self, ids: Iterable[tuple[str, str]]) -> Iterator[Kept]:
        """See `KeptStore`."""
        with _explained():
            copies, briefs = Copies(self._connection, terms=False), Briefs(self._connection)
        for home, id_ in ids:
            for row in self._found("home = ? AND id = ?", [home, id_]):
                yield Kept(home, id_, row[4], None, _stray(row, copies, briefs), row[-1])

    def _found(self, test: str, values: Sequence[object]) -> Iterator[tuple[Any, ...]]:
        columns = ", ".join(COPIED[:-1])  # the body as bytes: it is hashed, and may be no text at all
        asked = f"SELECT {columns}, CAST(ifnull(body, '') AS BLOB) FROM record WHERE {test}"  # noqa: S608  # our own names
        with _explained():
            yield from self._connection.execute(asked, values)


def _stray(row: tuple[Any, ...], copies: Copies, briefs: Briefs) -> str:
    """What beside the body of a row says something else; empty: nothing does."""
    with _explained():
        return copies.stray(row) or ("its brief" if briefs.stray(row) else "")


class LocalLedger:
    """The ledger of one file. Whoever drives the file has one."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._log = SqliteLedgerLog(connection)
        self.chain = Chain()
        self._position = -1
        self._begun = False

    @property
    def is_begun(self) -> bool:
        """Was a ledger begun in this file, perhaps by another process?"""
        if not self._begun:
            with _explained():
                asked = "SELECT 1 FROM log WHERE topic = ? LIMIT 1"
                self._begun = self._connection.execute(asked, (LEDGER,)).fetchone() is not None
        return self._begun

    def mark(self) -> int:
        """Where the record ends now, for `cover`; inside the caller's transaction."""
        (row,) = self._connection.execute("SELECT max(row) FROM record").fetchone()
        return int(row or 0)

    def cover(self, mark: int, now: Micros) -> int:
        """Make entries of the history that was written since `mark`; inside the caller's transaction. Gives how many.

        Raises:
            PlaceUnavailable: the file cannot be written.
        """
        asked = "SELECT home, id, time, body FROM record WHERE row > ? AND version IS NULL ORDER BY row"
        with _explained():
            rows = self._connection.execute(asked, (mark,))
            entries = (entry_of(Document(home, id_, at, orjson.loads(body))) for home, id_, at, body in rows)
            return self.append_entries(entries, now)

    def append_entries(self, entries: Iterable[LedgerEntry], now: Micros) -> int:
        """Entries, inside the caller's transaction. Gives how many."""
        number = 0
        for pack in packed(entries, now):
            self._append(pack)
            number += len(pack.entries)
        return number

    def follow(self) -> Chain:
        """The chain as the log has it now. Raises PlaceUnavailable; NewerSchemaError as `read`."""
        for record in self._log.read(self._position):
            event = read(record)
            self.chain.take(None if isinstance(event, Unreadable) else event)
            self._position = record.position
        return self.chain

    def seal(self, sealer: Sealer, now: Micros, *, force: bool = False) -> list[LedgerSigned]:
        """Close what is due, then sign; each durable before the next. Gives the checkpoints made.

        A crash in between is mended by the next call: a batch without a checkpoint is signed then.

        Raises:
            PlaceUnavailable: the file cannot be written.
        """
        made: list[LedgerSigned] = []
        while True:
            header = sealer.batch(self.follow(), now, force=force)
            if header is not None:
                with _transaction(self._connection):
                    self._append(header)
            signed = sealer.checkpoint(self.follow())
            if signed is not None:
                with _transaction(self._connection):
                    self._append(signed)
                made.append(signed)
                self.follow()
            if header is None:
                return made

    def _append(self, event: Event) -> None:
        with _explained():
            self._connection.execute(
                "INSERT OR IGNORE INTO log (topic, key, id, time, value) VALUES (?, '', ?, ?, ?)",
                (LEDGER, event.id, event.time, encode(event)),
            )


def begin(connection: sqlite3.Connection, act: LedgerEntry, now: Micros) -> int:
    """Begin a ledger: the act, and an entry for every document that is there already. Gives how many entries.

    Raises:
        InputError: there is one already. PlaceUnavailable: the file cannot be written.
    """
    ledger = LocalLedger(connection)
    with _transaction(connection):
        if ledger.is_begun:
            raise InputError("there is a ledger in this file already; `revet ledger rotate` changes its key")
        return ledger.append_entries([act], now) + ledger.cover(0, now)


def append_act(connection: sqlite3.Connection, act: LedgerEntry, now: Micros) -> None:
    """One more act. Raises PlaceUnavailable."""
    with _transaction(connection):
        LocalLedger(connection).append_entries([act], now)


def append_event(connection: sqlite3.Connection, made: Output) -> None:
    """An event for whoever reads the log. Raises PlaceUnavailable."""
    with _transaction(connection):
        row = (made.topic, made.key, made.id, made.time, encode(made.event))
        connection.execute("INSERT OR IGNORE INTO log (topic, key, id, time, value) VALUES (?, ?, ?, ?, ?)", row)


def put_in_place(connection: sqlite3.Connection, document: Document, act: LedgerEntry, now: Micros) -> bool:
    """Put a document in the place of the one with its dataset and id, and say so in the ledger, in one transaction.
    What was there is overwritten in the file. False: there is no such document.

    Raises:
        PlaceUnavailable: the file cannot be written.
    """
    with _transaction(connection):
        connection.execute("PRAGMA secure_delete = ON")
        where = (document.home, document.id)
        row = connection.execute("SELECT row FROM record WHERE home = ? AND id = ?", where).fetchone()
        if row is None:
            return False
        connection.execute("DELETE FROM record_terms WHERE row = ?", row)
        columns = [column for column in COPIED if column not in ("row", "home", "id", "version", "time", "body")]
        emptied = ", ".join(f"{column} = NULL" for column in columns)
        body = body_text(document)
        connection.execute(f"UPDATE record SET {emptied}, body = ? WHERE row = ?", (body, *row))  # noqa: S608  # our own names
        _forget_persons(connection, document.id)
        LocalLedger(connection).append_entries([act], now)
        return True


def _forget_persons(connection: sqlite3.Connection, id_: str) -> None:
    """The observation a document was made of stands in the log: the same without whom it names."""
    asked = "SELECT value FROM log WHERE topic = ? AND id = ?"
    row = connection.execute(asked, (OBSERVATIONS, id_)).fetchone()
    event = decode(row[0]) if row is not None else None
    if isinstance(event, DecisionObserved):
        nobody = msgspec.structs.replace(
            event, user="", groups=(), user_agent="", impersonated_by="", source_ips=(), message="", reason=""
        )
        connection.execute("UPDATE log SET value = ? WHERE topic = ? AND id = ?", (encode(nobody), OBSERVATIONS, id_))


def _explained() -> AbstractContextManager[None]:
    return explained(_UNUSABLE, missing=NOTHING_RECORDED)


def _transaction(connection: sqlite3.Connection) -> AbstractContextManager[None]:
    return transaction(connection, _UNUSABLE, missing=NOTHING_RECORDED)


__all__ = ["LocalLedger", "SqliteLedgerLog", "SqliteStore", "append_act", "append_event", "begin", "put_in_place"]
