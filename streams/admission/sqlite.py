"""Where decisions wait until they are durable elsewhere: one SQLite file. And the state file of one machine.

    with opened_spool(path, max_bytes) as spool:
        spool.add(outputs)              durable when this returns; the same id is kept once
        kept = spool.oldest(100)
        spool.remove(kept)              after whoever takes them has acknowledged

A spool is bounded: where the file may not grow any more, `add` says so, and what is kept stays. What is removed makes
room. Both classes are for threads: calls wait for the disk.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from streams.codec import encode
from streams.engine.port import Output, Record
from streams.engine.reading import read, trust_record
from streams.engine.sqlite import connect
from streams.events import EvidenceFound, TrustChanged
from streams.sqlite import explained, transaction
from streams.topics import FACTS, TRUST
from verifier.errors import PlaceUnavailable
from verifier.trust.state import TrustState

Connection = sqlite3.Connection
UNWRITABLE: Final = "spool-unavailable"
"""Code of what `add` raises."""
_STATE: Final = "the state file cannot be written"
PAGE: Final = 4096
WAL_PAGES: Final = 256
"""Pages of the write-ahead log before they are moved into the file: 1 MiB, so that the file stays near its bound."""
BUSY_SECONDS: Final = 10.0

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS spool (
  position INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, key TEXT NOT NULL, id TEXT NOT NULL,
  time INTEGER NOT NULL, value BLOB NOT NULL, UNIQUE (topic, id));
"""


class Kept(NamedTuple):
    """One output that waits."""

    position: int
    topic: str
    key: str
    id: str
    time: int
    value: bytes

    def record(self) -> Record:
        """As a record of its topic, to be read."""
        return Record(self.position, self.topic, 0, self.key, self.id, self.value, self.time)


class Spool:
    """Outputs that wait, in one file. Safe to use from several threads."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def add(self, outputs: Sequence[Output]) -> int:
        """Make outputs durable, all or none; returns how many were new.

        Raises:
            PlaceUnavailable: the disk, or the spool, is full, or the file cannot be written.
        """
        rows = [(o.topic, o.key, o.id, o.time, encode(o.event)) for o in outputs]
        with self._alone() as connection:
            before = connection.total_changes
            connection.executemany(
                "INSERT OR IGNORE INTO spool (topic, key, id, time, value) VALUES (?, ?, ?, ?, ?)", rows
            )
            return connection.total_changes - before

    def oldest(self, limit: int) -> list[Kept]:
        """Outputs in the order in which they came. Raises as `add`."""
        with self._alone() as connection:
            rows = connection.execute(
                "SELECT position, topic, key, id, time, value FROM spool ORDER BY position LIMIT ?", (limit,)
            ).fetchall()
        return [Kept(*row) for row in rows]

    def remove(self, kept: Sequence[Kept]) -> None:
        """Forget what is durable elsewhere. Raises as `add`."""
        with self._alone() as connection:
            connection.executemany("DELETE FROM spool WHERE position = ?", [(one.position,) for one in kept])

    def waiting(self) -> int:
        """How many wait. Raises as `add`."""
        with self._alone() as connection:
            (found,) = connection.execute("SELECT count(*) FROM spool").fetchone()
        return int(found)

    @contextmanager
    def _alone(self) -> Iterator[sqlite3.Connection]:
        with alone(self._connection, self._lock, "the spool") as connection:
            yield connection


@contextmanager
def alone(connection: Connection, lock: threading.Lock, what: str) -> Iterator[Connection]:
    """A transaction that no other thread of this connection is in.

    Raises:
        PlaceUnavailable: `what` is full, or cannot be written.
    """
    with lock, transaction(connection, f"{what} cannot be written", code=UNWRITABLE):
        yield connection


@contextmanager
def opened_spool(path: Path, max_bytes: int) -> Iterator[Spool]:
    """The file, made when missing, for its owner only. Raises as `bounded_file`."""
    with bounded_file(path, max_bytes, _SCHEMA) as connection:
        yield Spool(connection)


@contextmanager
def bounded_file(path: Path, max_bytes: int, schema: str) -> Iterator[Connection]:
    """A database that may grow to so many bytes, made when missing, for its owner only.

    Raises:
        PlaceUnavailable: it cannot be written, is locked by another process, or is no SQLite file.
    """
    unwritable = f"the spool {path} cannot be written"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600, exist_ok=True)  # names of a fleet
    except OSError as error:
        raise PlaceUnavailable(UNWRITABLE, f"{unwritable}: {error}") from error
    with explained(unwritable, code=UNWRITABLE):
        connection = sqlite3.connect(path, isolation_level=None, timeout=BUSY_SECONDS, check_same_thread=False)
    with closing(connection):
        with explained(unwritable, code=UNWRITABLE):
            connection.execute(f"PRAGMA page_size={PAGE}")
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute(f"PRAGMA wal_autocheckpoint={WAL_PAGES}")
            connection.execute(f"PRAGMA max_page_count={max(16, max_bytes // PAGE)}")
            connection.executescript(schema)
        yield connection


# ------------------------------------------------------------------------------------------------ the single machine


class StateFile:
    """Trust and facts of a state file as another process writes them, and its log. Implements `View`.

    `look` and `append` may be called from threads.
    """

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            InputError: it is no state file, or of a newer version.
            PlaceUnavailable: it is locked or cannot be written.
        """
        self._connection = connect(path, create=True)
        self._writing = connect(path, create=True)
        """A writer may wait for the service's batch; meanwhile reading goes on."""
        self._lock, self._write_lock = threading.Lock(), threading.Lock()
        self._position = 0
        self._version = -1
        self._facts: dict[str, Record] = {}
        self.trust = TrustState.empty()
        """At the epoch reached."""

    def close(self) -> None:
        """Close the file; a connection that a thread waits with is left to the end of the process."""
        for lock, connection in ((self._lock, self._connection), (self._write_lock, self._writing)):
            if lock.acquire(timeout=1.0):
                connection.close()

    def look(self) -> bool:
        """Read what others have written since; False when nothing was.

        Raises:
            PlaceUnavailable: the file cannot be read now.
            NewerSchemaError: an entry was written by a newer revet.
            TrustError: the trust log is out of order.
        """
        with self._lock, explained(_STATE, code=UNWRITABLE):
            (version,) = self._connection.execute("PRAGMA data_version").fetchone()
            if version == self._version:
                return False
            rows = self._connection.execute(
                "SELECT position, topic, 0, key, id, value, time FROM log"
                " WHERE position > ? AND topic IN (?, ?) ORDER BY position",
                (self._position, TRUST, FACTS),
            ).fetchall()
            for row in rows:
                self._take(Record(*row))
            self._version = version
        return bool(rows)

    def _take(self, record: Record) -> None:
        if record.topic == FACTS:
            self._facts[record.key] = record
        else:
            found = read(record)
            if isinstance(found, TrustChanged):
                self.trust, _ = self.trust.apply(trust_record(found.epoch, found.record), found.epoch)
        self._position = record.position

    def evidence(self, repository: str, digest: str) -> EvidenceFound | None:
        """The newest answer about an image; None when nobody asked yet.

        Raises:
            NewerSchemaError: it was written by a newer revet.
        """
        record = self._facts.get(f"{repository}@{digest}")
        found = read(record) if record is not None else None
        return found if isinstance(found, EvidenceFound) else None

    def append(self, kept: Sequence[Kept]) -> None:
        """Put outputs into the log; what is there by its id stays as it is.

        Raises:
            PlaceUnavailable: the file is locked, full, or cannot be written.
        """
        with alone(self._writing, self._write_lock, "the state file") as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO log (topic, key, id, time, value) VALUES (?, ?, ?, ?, ?)",
                [(k.topic, k.key, k.id, k.time, k.value) for k in kept],
            )


__all__ = ["Kept", "Spool", "StateFile", "opened_spool"]
