"""What commands read of a state file beside the running service: its clock, its shard, and what came of a change.

Nothing here writes, except `note_clock`. Reading goes over connections of its own (`open_reading`), so that a command
never holds the writer up.
"""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import orjson

from alerting.held import OWNER, REACHED, read_key
from alerting.models import ShardReached
from streams.alerter import BOOK
from streams.engine.sqlite import CONTROL
from streams.sinks.fields import HOMES
from streams.topics import FACTS, REQUESTS
from verifier.errors import InputError, PlaceUnavailable
from verifier.models import Micros

_CLOCK: Final = "clock"
_RECORDED: Final = "recorded"
_WALL: Final = "wall"
_BECAUSE: Final = frozenset({"trust", "evidence"})
"""Triggers of verdicts that a trust change has: its sweep, and evidence checked against an added key."""
_RECENT: Final = 2_000
"""Entries of the log looked at for its newest time; inputs come nearly in the order of time."""


@contextmanager
def open_reading(path: Path, seconds: float | None = None) -> Iterator[sqlite3.Connection]:
    """A read-only connection in one read transaction: what is read belongs together. A question that is not answered
    `seconds` from now on ends as if the place did not answer.

    Raises:
        InputError: there is no state file, or it is something else.
        PlaceUnavailable: it cannot be read now.
    """
    if not path.exists():
        raise InputError(f"no state at {path}: start with `revet demo` or `revet run`, or name it with --state")
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)) as found:
            found.execute("PRAGMA busy_timeout=10000")
            if seconds is not None:
                end = time.monotonic() + seconds
                found.set_progress_handler(lambda: time.monotonic() > end, _STEPS)
            found.execute("BEGIN")
            yield found
    except sqlite3.OperationalError as error:
        raise PlaceUnavailable("state-unavailable", f"{path}: {error}") from error
    except sqlite3.DatabaseError as error:
        raise InputError(f"{path} is not a revet state file: {error}") from error


_STEPS: Final = 20_000
"""Instructions of SQLite between two looks at the clock: a millisecond or less."""


class Changes:
    """Whether a state file has changed since somebody looked, at the cost of looking at one page of it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._file = (0, 0)

    def mark(self) -> str:
        """Differs from the one before when the file may have changed; of one thread. Raises nothing."""
        try:
            found = self._path.stat()
            if self._connection is None or (found.st_dev, found.st_ino) != self._file:
                self.close()
                self._file = (found.st_dev, found.st_ino)
                where = f"{self._path.absolute().as_uri()}?mode=ro"
                self._connection = sqlite3.connect(where, uri=True, isolation_level=None)
            (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        except (OSError, sqlite3.Error):
            self.close()
            return f"unreadable/{time.monotonic_ns()}"
        return f"{self._file}/{version}/{id(self._connection)}"

    def close(self) -> None:
        """Let go of the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


# ------------------------------------------------------------------------------------------------------------ the clock


def note_clock(connection: sqlite3.Connection, *, recorded: bool) -> None:
    """Remember whose time a state lives in: that of a recording, or the wall clock. The driver says it at start."""
    value = _RECORDED if recorded else _WALL
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_CLOCK, value))


def recorded_clock(connection: sqlite3.Connection) -> bool:
    """Does this state live in a recording's time? Where nobody noted it: a state that read files does."""
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (_CLOCK,)).fetchone()
    if row is not None:
        return str(row[0]) == _RECORDED
    return connection.execute("SELECT 1 FROM sources LIMIT 1").fetchone() is not None


def judged_time(connection: sqlite3.Connection) -> Micros:
    """The judge's clock as it was stored last; 0 before anything was judged."""
    row = connection.execute("SELECT value FROM state WHERE kind = 'meta' AND key = ''").fetchone()
    return msgspec.msgpack.decode(row[0], type=tuple[int, int])[0] if row is not None else 0


def newest_time(connection: sqlite3.Connection) -> Micros:
    """The newest instant this state has heard of, judged or not; 0 when it has heard of none."""
    recent = "SELECT max(time) FROM (SELECT time FROM log ORDER BY position DESC LIMIT ?)"
    (logged,) = connection.execute(recent, (_RECENT,)).fetchone()
    return max(int(logged or 0), judged_time(connection))


def state_now(connection: sqlite3.Connection, wall: Micros) -> Micros:
    """The instant at which a change that is made now takes place, on the state's own clock.

    In a recording's time that is the judge's clock: a change dated later would not be in force when it is judged.
    """
    newest = newest_time(connection)
    if recorded_clock(connection) and newest:
        return judged_time(connection) or newest
    return max(newest, wall)


# ------------------------------------------------------------------------------------------------------------ the shard


def stored_shard(connection: sqlite3.Connection) -> list[tuple[str, str, bytes]]:
    """Every stored row of the shard (for `streams.local.preview.shard_copy`)."""
    return connection.execute(
        "SELECT kind, key, value FROM state WHERE kind NOT LIKE 'alert-%' AND kind NOT LIKE 'local-%' ORDER BY place"
    ).fetchall()


def team_names(connection: sqlite3.Connection) -> dict[tuple[str, str], str]:
    """(cluster, namespace) -> team, as the alerter knows them."""
    found: dict[tuple[str, str], str] = {}
    for key, value in connection.execute("SELECT key, value FROM state WHERE kind = ?", (BOOK,)):
        name, *rest = read_key(key)
        if name == OWNER:
            found[rest[0], rest[1]] = msgspec.json.decode(value, type=str)
    return found


# ------------------------------------------------------------------------------------------------ what came of a change


class Progress(msgspec.Struct, frozen=True):
    """How far the driver has come."""

    epoch: int
    """Trust epoch under which everything was judged and counted."""
    requests: int
    """Position of the newest request for evidence, and how far the fetcher has come."""
    fetched: int
    facts: int
    """Position of the newest answer, and how far the judge has come."""
    judged: int
    unanswered: int
    """Requests the fetcher has not come to."""


def progress(connection: sqlite3.Connection) -> Progress:
    """How far the driver has come."""
    reached = [
        msgspec.json.decode(value, type=ShardReached).epoch
        for key, value in connection.execute("SELECT key, value FROM state WHERE kind = ?", (BOOK,))
        if read_key(key)[0] == REACHED
    ]
    positions: dict[str, int] = dict(connection.execute("SELECT reader, position FROM positions"))
    fetched = positions.get("fetcher", 0)
    waiting = "SELECT count(*) FROM log WHERE topic = ? AND position > ?"
    return Progress(
        epoch=min(reached, default=0),
        requests=_newest(connection, REQUESTS),
        fetched=fetched,
        facts=_newest(connection, FACTS),
        judged=positions.get(CONTROL, 0),
        unanswered=int(connection.execute(waiting, (REQUESTS, fetched)).fetchone()[0]),
    )


def _newest(connection: sqlite3.Connection, topic: str) -> int:
    (found,) = connection.execute("SELECT max(position) FROM log WHERE topic = ?", (topic,)).fetchone()
    return int(found or 0)


def record_mark(connection: sqlite3.Connection) -> int:
    """Where the record's history stands; 0 when there is no record yet."""
    if not _has_record(connection):
        return 0
    (found,) = connection.execute("SELECT max(row) FROM record").fetchone()
    return int(found or 0)


class Told(msgspec.Struct, frozen=True):
    """One incident that a change touched, as it stands."""

    short_id: str
    kind: str
    subject: str
    state: str
    containers: int
    """As it was told last; what has closed is counted out of it after a quiet while."""
    opened: int
    """Findings of it that this change opened, and closed."""
    closed: int


class Came(msgspec.Struct, frozen=True):
    """What the record says came of trust epochs."""

    classes: int = 0
    """Classes with a verdict that differs from the one before."""
    verdicts: dict[str, int] = {}
    """Outcome -> verdicts reached."""
    opened: dict[str, int] = {}
    """Finding code -> findings opened."""
    closed: dict[str, int] = {}
    """Close reason -> findings closed."""
    incidents: tuple[Told, ...] = ()


def came_of(connection: sqlite3.Connection, mark: int, epochs: Iterable[int]) -> Came:
    """What was recorded since `mark` under these epochs, because of a trust change."""
    wanted = set(epochs)
    verdicts: Counter[str] = Counter()
    opened: Counter[str] = Counter()
    closed: Counter[str] = Counter()
    classes: set[str] = set()
    incidents: dict[str, Counter[str]] = {}
    for home, body in _since(connection, mark):
        if body.get("provenance.trust.epoch") not in wanted:
            continue
        if home == HOMES["verification"]:
            if body.get("provenance.evaluation.trigger") in _BECAUSE:
                classes.add(body["provenance.class.id"])
                verdicts[body["provenance.verdict"]] += 1
            continue
        action = body["event.action"]
        if action == "finding-closed":
            closed[body.get("provenance.finding.close_reason", "")] += 1
        elif action == "finding-opened":
            opened[body["event.code"]] += 1
        if action != "finding-updated":
            incidents.setdefault(body["provenance.incident.id"], Counter())[action] += 1
    told = tuple(t for name, counts in incidents.items() if (t := _told(connection, name, counts)) is not None)
    return Came(len(classes), dict(verdicts), dict(opened), dict(closed), told)


_Body = dict[str, Any]  # Any: a document of the record is JSON; its members are those of the field table


def _since(connection: sqlite3.Connection, mark: int) -> Iterator[tuple[str, _Body]]:
    if not _has_record(connection):
        return
    homes = (HOMES["verification"], HOMES["finding"])
    query = "SELECT home, body FROM record WHERE row > ? AND home IN (?, ?) ORDER BY row"
    for home, body in connection.execute(query, (mark, *homes)):
        yield home, orjson.loads(body)


def _told(connection: sqlite3.Connection, incident: str, counts: Counter[str]) -> Told | None:
    """The incident as it stands; None while nobody was to hear of it."""
    query = "SELECT body FROM record WHERE home = ? AND id = ?"
    row = connection.execute(query, (HOMES["incidents"], incident)).fetchone()
    if row is None:
        return None
    body = orjson.loads(row[0])
    return Told(
        short_id=body["provenance.incident.short_id"],
        kind=body["provenance.incident.kind"],
        subject=body.get("provenance.cause.label") or body.get("provenance.incident.subject", ""),
        state=body["provenance.incident.state"],
        containers=body.get("provenance.incident.containers", 0),
        opened=counts["finding-opened"],
        closed=counts["finding-closed"],
    )


def _has_record(connection: sqlite3.Connection) -> bool:
    query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'record'"
    return connection.execute(query).fetchone() is not None
