"""The engine of the single-machine mode: log, state and position in one SQLite file (WAL), one transaction per batch.

Outputs, state and position are committed together, so that a `kill -9` at any instant loses and doubles nothing.
Nothing is acknowledged before `COMMIT` with `synchronous=FULL` returned.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from streams.codec import encode
from streams.engine.port import Effects, Output, Processor, Record
from streams.engine.reading import Unreadable, read
from streams.events import TrustChanged
from streams.sqlite import transaction
from streams.topics import ACTIONS, DEADLETTERS, FACTS, TRUST
from verifier.canonical import stable_id
from verifier.errors import InputError, PlaceUnavailable, TrustError

FILE_VERSION: Final = 1
BUSY_MS: Final = 10_000
"""How long a command waits for a batch of the running service to commit."""
CACHE_KIB: Final = 64 * 1024
"""Memory for pages, taken as needed: indexes by hash are touched everywhere, and 2 MiB, the default, thrash."""
CHECKPOINT_PAGES: Final = 4000
"""Pages in the write-ahead log before they are moved into the file (16 MiB): a page that is written again and again is
moved once."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS log (
  position INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, key TEXT NOT NULL, id TEXT NOT NULL,
  time INTEGER NOT NULL, value BLOB NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS log_id ON log (topic, id);
CREATE INDEX IF NOT EXISTS log_topic ON log (topic, position);
CREATE TABLE IF NOT EXISTS state (
  place INTEGER PRIMARY KEY, kind TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, UNIQUE (kind, key));
CREATE TABLE IF NOT EXISTS positions (reader TEXT PRIMARY KEY, position INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS raw (batch INTEGER PRIMARY KEY AUTOINCREMENT, data BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS sources (source TEXT PRIMARY KEY, progress TEXT NOT NULL) WITHOUT ROWID;
"""

_STORE: Final = (
    "INSERT INTO state (kind, key, value) VALUES (?, ?, ?)"
    " ON CONFLICT (kind, key) DO UPDATE SET value = excluded.value"  # keeps its place, as a dictionary does
)

UNWRITABLE: Final = "the state file cannot be written"

Connection = sqlite3.Connection
"""What `connect` gives; the only name of the database that leaves files named sqlite.py."""

Sink = Callable[[Sequence[Output]], None]


def connect(path: Path, *, create: bool) -> sqlite3.Connection:
    """Open the state file.

    Raises:
        InputError: the file is not there (and `create` is False), is no state file, or is of a newer version.
        PlaceUnavailable: it is locked or cannot be written.
    """
    if not create and not path.exists():
        raise InputError(f"no state at {path}: start with `revet demo` or `revet run`, or name it with --state")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.touch(mode=0o600)  # names and findings of a fleet: for its owner only
        connection = sqlite3.connect(path, isolation_level=None, timeout=BUSY_MS / 1000, check_same_thread=False)
        connection.execute(f"PRAGMA busy_timeout={BUSY_MS}")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA cache_size=-65536")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
        connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        connection.executescript(_SCHEMA)
        _check_version(connection, path)
    except (sqlite3.DatabaseError, OSError) as error:
        raise _explained(error, path) from error
    return connection


def _check_version(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("INSERT OR IGNORE INTO meta VALUES ('file-version', ?)", (str(FILE_VERSION),))
    (found,) = connection.execute("SELECT value FROM meta WHERE key = 'file-version'").fetchone()
    if int(found) > FILE_VERSION:
        raise InputError(f"{path} was written by a newer revet (file version {found}, this one reads {FILE_VERSION})")


def _explained(error: Exception, path: Path) -> Exception:
    if isinstance(error, sqlite3.OperationalError):
        return PlaceUnavailable("state-unavailable", f"{path}: {error}")
    return InputError(f"{path} is not a revet state file: {error}")


class SqliteEngine:
    """Drives one processor over the log of one file."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        processor: Processor,
        sinks: dict[str, Sink] | None = None,
        batch: int = 500,
    ) -> None:
        self.connection = connection
        self.processor = processor
        self._sinks = sinks or {}
        self._batch = batch
        self._ahead: dict[str, list[Record]] = {}
        """Per lane, records that were read and not handled yet; a log only grows, so they stay the next ones."""
        self._seen = _NEVER
        """(version of the file as others wrote it, rows written here) when nothing was left to do."""

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside is durable when this returns, or did not happen.

        After an error inside, a processor may know what the file does not: whoever drives it ends, and starts anew.

        Raises:
            PlaceUnavailable: the file is locked, full, or cannot be written.
        """
        try:
            with transaction(self.connection, UNWRITABLE):
                yield
        except BaseException:
            self._ahead.clear()  # what was read ahead may be ahead of a position that was taken back
            raise

    def restore(self) -> None:
        """Load stored state into the processor; what must be said again is said.

        Entries come in the order they were first stored: a dictionary filled from them has the order of the one that
        was lost, so that whatever follows comes out in the same order as without a crash.
        """
        with self.transaction():
            entries = self.connection.execute("SELECT kind, key, value FROM state ORDER BY place")
            self.apply(self.processor.restore(entries))

    def append(self, outputs: Sequence[Output]) -> int:
        """Append in one transaction; returns how many were new."""
        with self.transaction():
            return self.append_inside(outputs)

    def append_inside(self, outputs: Sequence[Output]) -> int:
        """Append inside the caller's transaction."""
        before = self.connection.total_changes
        self.connection.executemany(
            "INSERT OR IGNORE INTO log (topic, key, id, time, value) VALUES (?, ?, ?, ?, ?)",
            [(o.topic, o.key, o.id, o.time, encode(o.event)) for o in outputs],
        )
        return self.connection.total_changes - before

    def keep_originals(self, originals: Sequence[bytes]) -> None:
        """Keep reduced originals (`revet.raw`) inside the running transaction, one compressed blob per batch."""
        if originals:
            self.connection.execute("INSERT INTO raw (data) VALUES (?)", (zlib.compress(b"\n".join(originals), 1),))

    def originals(self) -> Iterator[bytes]:
        """Every reduced original in the order of arrival."""
        for (data,) in self.connection.execute("SELECT data FROM raw ORDER BY batch"):
            yield from zlib.decompress(data).split(b"\n")

    def keep_progress(self, source: str, position: str) -> None:
        """Remember how far a source was read, inside the running transaction; empty: forget it."""
        if position:
            self.connection.execute("INSERT OR REPLACE INTO sources VALUES (?, ?)", (source, position))
        else:
            self.connection.execute("DELETE FROM sources WHERE source = ?", (source,))

    def progress_below(self, prefix: str) -> list[tuple[str, str]]:
        """(source, how far) of every source whose name begins with `prefix`."""
        asked = "SELECT source, progress FROM sources WHERE source >= ? AND source < ? ORDER BY source"
        return [(str(s), str(p)) for s, p in self.connection.execute(asked, (prefix, prefix + "\U0010ffff"))]

    def progress(self, source: str) -> str:
        """How far a source was read; empty when it never was."""
        row = self.connection.execute("SELECT progress FROM sources WHERE source = ?", (source,)).fetchone()
        return str(row[0]) if row is not None else ""

    def run_once(self) -> bool:
        """One batch and one slice of background work, in one transaction.

        Control topics (trust, evidence, actions) come before data topics: a revocation does not queue behind a backlog.
        """
        with self.transaction():
            return self.step()

    def step(self) -> bool:
        """`run_once` inside the caller's transaction."""
        did = any(self._work_on(lane) for lane in _LANES)  # the first lane that has something
        if not did:
            (version,) = self.connection.execute("PRAGMA data_version").fetchone()
            self._seen = (version, self.connection.total_changes)
        slice_ = self.processor.idle()  # between batches too: a backlog does not hold up a sweep
        if slice_ is not None:
            self.apply(slice_)
            self._seen = _NEVER
        return did or slice_ is not None

    def _work_on(self, lane: str) -> bool:
        records = self._ahead.pop(lane, None) or self._next(lane)
        if not records:
            return False
        effects = self.processor.process(records)
        taken = effects.taken(len(records))
        self.apply(effects)
        self._ahead[lane] = records[taken:]
        if taken:
            self.move(lane, records[taken - 1].position)
        return taken > 0

    def tick(self, now: int) -> None:
        """Let time reach `now`, in one transaction."""
        with self.transaction():
            self.apply(self.processor.tick(now))

    def pending(self) -> int:
        """Records that wait to be processed."""
        return sum(self._waiting(lane) for lane in _LANES)

    def _waiting(self, lane: str) -> int:
        topics = _lane_topics(lane, self.processor.topics)
        row = self.connection.execute(
            f"SELECT count(*) FROM log WHERE position > ? AND topic IN ({_marks(topics)})",  # noqa: S608  # placeholders
            (self.position(lane), *topics),
        ).fetchone()
        return int(row[0])

    def apply(self, effects: Effects) -> None:
        """Store effects inside the running transaction: sinks and log, then state."""
        routed: dict[str, list[Output]] = {}
        for out in effects.outputs:
            routed.setdefault(out.topic, []).append(out)
        for topic, outputs in routed.items():
            sink = self._sinks.get(topic)
            if sink is not None:
                sink(outputs)
            else:
                self.append_inside(outputs)
        self.store(effects.state)

    def store(self, rows: Sequence[tuple[str, str, bytes | None]]) -> None:
        """Store state rows inside the running transaction; the newest wins, None deletes."""
        newest = Effects(state=tuple(rows)).newest()
        kept = [(*slot, value) for slot, value in newest.items() if value is not None]
        gone = [slot for slot, value in newest.items() if value is None]
        self.connection.executemany(_STORE, kept)
        self.connection.executemany("DELETE FROM state WHERE kind = ? AND key = ?", gone)

    def _next(self, lane: str) -> list[Record]:
        topics = _lane_topics(lane, self.processor.topics)
        rows = self.connection.execute(
            "SELECT position, topic, 0, key, id, value, time FROM log"  # noqa: S608  # placeholders only
            f" WHERE position > ? AND topic IN ({_marks(topics)}) ORDER BY position LIMIT ?",
            (self.position(lane), *topics, self._batch),
        )
        return [Record(*row) for row in rows]

    def position(self, reader: str) -> int:
        """How far a reader (a lane of the processor, or the fetcher) has come."""
        row = self.connection.execute("SELECT position FROM positions WHERE reader = ?", (reader,)).fetchone()
        return int(row[0]) if row is not None else 0

    def move(self, reader: str, position: int) -> None:
        """Store how far a reader has come."""
        self.connection.execute("INSERT OR REPLACE INTO positions VALUES (?, ?)", (reader, position))

    def waiting(self, topic: str, reader: str, limit: int) -> list[Record]:
        """Records of one topic that `reader` has not handled yet."""
        return self.after(topic, self.position(reader), limit)

    def after(self, topic: str, position: int, limit: int) -> list[Record]:
        """Records of one topic behind a position."""
        rows = self.connection.execute(
            "SELECT position, topic, 0, key, id, value, time FROM log WHERE position > ? AND topic = ?"
            " ORDER BY position LIMIT ?",
            (position, topic, limit),
        )
        return [Record(*row) for row in rows]

    def count(self, topic: str) -> int:
        """Records of one topic."""
        (found,) = self.connection.execute("SELECT count(*) FROM log WHERE topic = ?", (topic,)).fetchone()
        return int(found)

    def stirred(self) -> bool:
        """May there be something to do? False only when nothing was written, here or by another process, since the last
        time `run_once` found nothing. Takes no lock.
        """
        (version,) = self.connection.execute("PRAGMA data_version").fetchone()
        if (version, self.connection.total_changes) == self._seen:
            return False
        self._seen = _NEVER
        return True


_NEVER: Final = (-1, -1)
CONTROL: Final = "control"
DATA: Final = "data"
_LANES: Final = (CONTROL, DATA)
_CONTROL_TOPICS: Final = frozenset({TRUST, FACTS, ACTIONS})


def _lane_topics(lane: str, topics: Sequence[str]) -> tuple[str, ...]:
    return tuple(t for t in topics if (t in _CONTROL_TOPICS) == (lane == CONTROL))


def _marks(values: Sequence[str]) -> str:
    return ",".join("?" * len(values))


# ------------------------------------------------------------------------------------------------ the trust log


def trust_log(connection: sqlite3.Connection, *, seen_by: str = "") -> list[tuple[int, bytes]]:
    """(epoch, canonical record) of every entry; with `seen_by` (`CONTROL`), only what that reader has handled.

    What cannot be read is left out where its dead letter is known, or is still to be made.

    Raises:
        NewerSchemaError: an entry was written by a newer revet.
        TrustError: an entry was read once and cannot be read now: trust without it would not be what was judged by.
    """
    limit = ""
    values: tuple[object, ...] = (TRUST,)
    if seen_by:
        limit = " AND position <= coalesce((SELECT position FROM positions WHERE reader = ?), 0)"
        values = (TRUST, seen_by)
    found = []
    for row in connection.execute(_TRUST_ROWS + limit + " ORDER BY position", values):
        record = Record(*row)
        event = read(record)
        if isinstance(event, Unreadable):
            _refuse_damaged(connection, record, event)
        elif isinstance(event, TrustChanged):
            found.append((event.epoch, event.record))
    return found


_TRUST_ROWS: Final = "SELECT position, topic, 0, key, id, value, time FROM log WHERE topic = ?"
_HANDLED_AND_NOT_TOLD: Final = (
    "SELECT 1 FROM positions WHERE reader = ? AND position >= ?"
    " AND NOT EXISTS (SELECT 1 FROM log WHERE topic = ? AND id = ?)"
)


def _refuse_damaged(connection: sqlite3.Connection, record: Record, found: Unreadable) -> None:
    """Whoever read it when it was new, and could not, left a dead letter of these very bytes."""
    values = (CONTROL, record.position, DEADLETTERS, found.letter.id)
    if connection.execute(_HANDLED_AND_NOT_TOLD, values).fetchone() is not None:
        raise TrustError(
            f"the trust log was damaged: {found.letter.source} was read once and cannot be read now;"
            " go on with an undamaged copy of the state file"
        )


def append_trust(connection: sqlite3.Connection, records: Sequence[bytes], at: int, expects: int | None) -> list[int]:
    """Append records to the trust log in one transaction; returns their epochs.

    Raises:
        TrustError: the log is no longer at `expects` (compare-and-set), so nothing was written.
        NewerSchemaError: the newest entry was written by a newer revet, so nothing was written.
        PlaceUnavailable: the file is locked, full, or cannot be written.
    """
    with transaction(connection, UNWRITABLE):
        reached = _newest_epoch(connection)
        if expects is not None and reached != expects:
            raise TrustError(
                f"trust is at epoch {reached}, this change was prepared at {expects}: look again, then repeat it"
            )
        (entries,) = connection.execute("SELECT count(*) FROM log WHERE topic = ?", (TRUST,)).fetchone()
        return [_append_entry(connection, entries + n, record, at) for n, record in enumerate(records, start=1)]


def _newest_epoch(connection: sqlite3.Connection) -> int:
    """The epoch whoever folds the log comes to: that of the newest entry that can be read."""
    for row in connection.execute(_TRUST_ROWS + " ORDER BY position DESC", (TRUST,)):
        event = read(Record(*row))
        if isinstance(event, TrustChanged):
            return event.epoch
    return 0


def _append_entry(connection: sqlite3.Connection, epoch: int, record: bytes, at: int) -> int:
    event = TrustChanged(id=stable_id("trust", epoch, record.decode()), time=at, epoch=epoch, record=record)
    connection.execute(
        "INSERT INTO log (topic, key, id, time, value) VALUES (?, '', ?, ?, ?)", (TRUST, event.id, at, encode(event))
    )
    return epoch
