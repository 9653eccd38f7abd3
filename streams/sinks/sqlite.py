"""The record of the single-machine mode: documents in the state file, inside the caller's transaction.

One table holds history and state. What queries ask for most has a column (`fields.COLUMNS`) or rows in the term table
(`fields.TERM_FIELDS`); the whole document stands beside it as JSON. Indexes hold small numbers (`fields.mark`) instead
of digests and names, so that a batch touches few pages; the text itself is compared afterwards. What is counted over a
fleet stands in narrow tables besides (`streams.sinks.briefs`). Only the node writes.

    record = SqliteRecord(connection)
    connection.execute("BEGIN IMMEDIATE"); record.write(documents); connection.execute("COMMIT")
"""

from __future__ import annotations

import secrets
import sqlite3
from array import array
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final

import msgspec
import orjson

from streams.sinks.briefs import BRIEFS, WORDS, Brief, filling, statements, told
from streams.sinks.document import Document
from streams.sinks.fields import COLUMNS, INDEXED, TERM_FIELDS, mark, term_mark
from verifier.errors import PlaceUnavailable

_OWN: Final = {"@timestamp": "time", "event.id": "id"}
"""Fields whose column every row has; they come from the document itself."""

_HOT: Final[dict[str, str]] = {name: column for name, column in COLUMNS.items() if name not in _OWN}

_MARKED: Final = tuple((name, column) for name, column in _HOT.items() if column in INDEXED)

_STATEMENTS: Final = (
    f"""CREATE TABLE IF NOT EXISTS record (
  row INTEGER PRIMARY KEY, home TEXT NOT NULL, id TEXT NOT NULL, version INTEGER, time INTEGER NOT NULL,
  {", ".join(f"{column} TEXT" for column in _HOT.values())},
  {", ".join(f"{column}_mark INTEGER" for _, column in _MARKED)}, body TEXT NOT NULL)""",
    "CREATE UNIQUE INDEX IF NOT EXISTS record_id ON record (id, home)",
    "CREATE INDEX IF NOT EXISTS record_time ON record (home, time)",
    *(f"CREATE INDEX IF NOT EXISTS record_{c} ON record ({c}_mark) WHERE {c}_mark IS NOT NULL" for _, c in _MARKED),
    """CREATE TABLE IF NOT EXISTS record_terms (
  mark INTEGER NOT NULL, row INTEGER NOT NULL, PRIMARY KEY (mark, row)) WITHOUT ROWID""",
)

_COLUMNS: Final = ("home", "id", "version", "time", *_HOT.values(), *(f"{c}_mark" for _, c in _MARKED), "body")
_MARKS: Final = ", ".join("?" * len(_COLUMNS))
_NEWER: Final = ", ".join(f"{c} = excluded.{c}" for c in _COLUMNS[2:])
_NAMES: Final = ", ".join(_COLUMNS)
_INSERT: Final = f"INSERT INTO record ({_NAMES}) VALUES ({_MARKS}) ON CONFLICT (home, id)"  # noqa: S608  # our own names
_KEEP: Final = f"{_INSERT} DO NOTHING"
_REPLACE: Final = f"{_INSERT} DO UPDATE SET {_NEWER} WHERE excluded.version >= version"
_TERM: Final = "INSERT OR IGNORE INTO record_terms SELECT ?, row FROM record WHERE id = ? AND home = ?"
"""A replaced document may leave a term behind; readers look into the body as well (`streams.queries.sql`)."""

_VALUES: Final = tuple(_HOT)
_MARKED_VALUES: Final = itemgetter(*(_VALUES.index(name) for name, _ in _MARKED))


class SqliteRecord:
    """Implements `RecordSink` on a connection that the caller owns."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        create_record_tables(connection)

    def write(self, documents: Iterable[Document]) -> None:
        """See `RecordSink.write`. Documents of one id must come in the order they were made.

        Raises:
            PlaceUnavailable: the file cannot be written.
        """
        kept: list[tuple[Any, ...]] = []
        replaced: list[tuple[Any, ...]] = []
        terms: list[tuple[int, str, str]] = []
        for document in documents:
            (kept if document.version is None else replaced).append(_row(document))
            body = document.body
            for field in TERM_FIELDS:
                if field in body:
                    terms += _terms(field, document)
        try:
            self._connection.executemany(_KEEP, kept)
            self._connection.executemany(_REPLACE, replaced)
            self._connection.executemany(_TERM, terms)
        except sqlite3.Error as error:
            raise PlaceUnavailable("state-unavailable", f"the record cannot be written: {error}") from error


COPIED: Final = ("row", *_COLUMNS)
"""Columns of a row as `Copies` takes them, the body last."""
_BODY: Final = tuple(dict.fromkeys(("event.dataset", "event.id", "@timestamp", *_VALUES, *TERM_FIELDS)))
"""Members of a body that something is copied from."""
_Looked: Final = msgspec.defstruct(
    "_Looked", [(f"m{n}", object, msgspec.field(default=None, name=name)) for n, name in enumerate(_BODY)], gc=False
)
_LOOK: Final = msgspec.json.Decoder(_Looked)
_COPIED_VALUES: Final = itemgetter(*map(_BODY.index, _VALUES))
_TERMS_AT: Final = tuple((_BODY.index(field), field) for field in TERM_FIELDS)
_PRIME: Final = 2**61 - 1
_KNOWN: Final = 65_536
"""Values of a field that are remembered."""


class Copies:
    """What stands beside bodies, for searching: does it say what the body says? Asked of every row of a record, so only
    the members that something is copied from are read.

    The term table is one walk, eight bytes for each row of the record: a sum of a polynomial in its marks with
    coefficients by chance, so that nobody can put other terms there that come to the same.
    """

    def __init__(self, connection: sqlite3.Connection, *, terms: bool = True) -> None:
        """`terms`: compare them, too; for a few rows the walk is not worth it."""
        self._terms = terms
        self._first, self._second = secrets.randbelow(_PRIME), secrets.randbelow(_PRIME)
        self._known: dict[str, dict[str, tuple[int, int]]] = {field: {} for field in TERM_FIELDS}
        """Field -> value -> its mark and weight: most values come again and again."""
        (last,) = connection.execute("SELECT max(row) FROM record").fetchone() if terms else (0,)
        self._sums = sums = array("Q", bytes(8 * (int(last or 0) + 1)))
        for term, row in connection.execute("SELECT mark, row FROM record_terms") if terms else ():
            if 0 <= row < len(sums):
                sums[row] = (sums[row] + self._weight(term)) % _PRIME

    def stray(self, row: tuple[Any, ...]) -> str:
        """What beside a body says something else; empty: nothing does. `row` has the values of `COPIED`."""
        try:
            found = msgspec.structs.astuple(_LOOK.decode(row[-1]))
            time = (datetime.fromisoformat(found[2]) - _EPOCH) // _MICROSECOND
        except (msgspec.DecodeError, TypeError, ValueError):
            return "body"
        values = _COPIED_VALUES(found)
        marks = [_known_mark(value) if type(value) is str else None for value in _MARKED_VALUES(values)]
        wanted = (found[0], found[1], None, time, *values, *marks)
        if row[1:-1] != wanted:
            return next(f"column {c}" for c, has, w in zip(_COLUMNS, row[1:-1], wanted, strict=False) if has != w)
        if not self._terms:
            return ""
        there = self._sums[row[0]] if row[0] < len(self._sums) else 0
        return "its terms" if there != self._wanted(found) else ""

    def _wanted(self, found: tuple[Any, ...]) -> int:
        """The sum that a row with these members has."""
        weights = dict[int, int]()
        for at, field in _TERMS_AT:
            value = found[at]
            if value is not None:
                known = self._known[field]
                for text in value if type(value) is list else (value,):
                    if type(text) is str:
                        pair = known.get(text) or self._learn(field, text, known)
                        weights[pair[0]] = pair[1]
        return sum(weights.values()) % _PRIME

    def _learn(self, field: str, text: str, known: dict[str, tuple[int, int]]) -> tuple[int, int]:
        if len(known) >= _KNOWN:
            known.clear()
        term = term_mark(field, text)
        pair = known[text] = (term, self._weight(term))
        return pair

    def _weight(self, term: int) -> int:
        return term * (term * self._first + self._second) % _PRIME + 1


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class Briefs:
    """The briefs of a file, as far as they are there: whether each says what its document says."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._there = {
            home: (told(brief), _looking(brief)) for home, brief in BRIEFS.items() if has_brief(connection, brief)
        }

    def stray(self, row: tuple[Any, ...]) -> bool:
        """Says the brief of this row something else than its body, or is it missing? `row` as for `Copies`."""
        there = self._there.get(row[1])
        if there is None:
            return False
        asked, look = there
        brief, found = BRIEFS[row[1]], msgspec.structs.astuple(look.decode(row[-1]))
        flags_at = len(found) - len(brief.flags)
        texts = (value if isinstance(value, str) else None for value in found[:flags_at])
        wanted = (row[4], *texts, *(None if value is msgspec.UNSET else 1 for value in found[flags_at:]))
        return bool(self._connection.execute(asked, (row[0],)).fetchone() != wanted)

    def alone(self) -> Iterator[tuple[str, int, int]]:
        """Briefs that are counted and have no document: (home, row, time)."""
        for home in self._there:
            without = "NOT EXISTS (SELECT 1 FROM record WHERE record.row = b.row AND home = ?)"
            asked = f"SELECT ?, row, time FROM {BRIEFS[home].table} b WHERE {without}"  # noqa: S608  # our own names
            yield from self._connection.execute(asked, (home, home))


def _looking(brief: Brief) -> msgspec.json.Decoder[Any]:  # Any: a struct of the brief's own
    """Reads of a body what its brief is made of, in the order of the brief."""
    names = (*brief.words, *brief.dates, *brief.flags)
    members = [(f"m{n}", object, msgspec.field(default=msgspec.UNSET, name=name)) for n, name in enumerate(names)]
    return msgspec.json.Decoder(msgspec.defstruct("_Brief", members, gc=False))


@lru_cache(maxsize=65_536)
def _known_mark(value: str) -> int:
    return mark(value)


def create_record_tables(connection: sqlite3.Connection) -> None:
    """Make the tables where they are missing. Briefs that are missing, or that another version of revet made in
    another way, are made of the documents, which takes some seconds for a million of them.

    Raises:
        PlaceUnavailable: the file cannot be written.
    """
    try:
        for statement in _STATEMENTS:
            connection.execute(statement)
        _make_briefs(connection)
    except sqlite3.Error as error:
        raise PlaceUnavailable("state-unavailable", f"the record cannot be made: {error}") from error


def has_brief(connection: sqlite3.Connection, brief: Brief) -> bool:
    """Is the brief there as this version makes it?"""
    asked = "SELECT name, sql FROM sqlite_master WHERE substr(name, 1, ?) = ?"
    made = dict(connection.execute(asked, (len(brief.table), brief.table)).fetchall())
    return _BRIEFLY[brief.home] <= made.items()


_BRIEFLY: Final = {home: statements(brief).items() for home, brief in BRIEFS.items()}
"""Home -> names and statements of what makes its brief."""


def _make_briefs(connection: sqlite3.Connection) -> None:
    """Each whole or not at all, also when the process is killed meanwhile."""
    connection.execute(WORDS)
    for brief in BRIEFS.values():
        if has_brief(connection, brief):
            continue
        connection.execute("SAVEPOINT briefs")
        try:
            for event in ("insert", "update", "delete"):
                connection.execute(f"DROP TRIGGER IF EXISTS {brief.table}_{event}")
            connection.execute(f"DROP TABLE IF EXISTS {brief.table}")
            for statement in (*(made for _, made in _BRIEFLY[brief.home]), *filling(brief)):
                connection.execute(statement)
        except BaseException:
            connection.execute("ROLLBACK TO briefs")
            raise
        finally:
            connection.execute("RELEASE briefs")


def _row(document: Document) -> tuple[Any, ...]:
    values = tuple(map(document.body.get, _VALUES))
    # Columns hold texts; whatever else somebody put there has no mark.
    marks = [mark(value) if isinstance(value, str) else None for value in _MARKED_VALUES(values)]
    return (document.home, document.id, document.version, document.time, *values, *marks, body_text(document))


def body_text(document: Document) -> str:
    """A body as it is kept: JSON with sorted members, whose hash is the one that the ledger seals."""
    return orjson.dumps(document.body, option=orjson.OPT_SORT_KEYS).decode()


def _terms(field: str, document: Document) -> list[tuple[int, str, str]]:
    value = document.body[field]
    values = value if isinstance(value, list) else [value]
    return [(term_mark(field, v), document.id, document.home) for v in values if isinstance(v, str)]
