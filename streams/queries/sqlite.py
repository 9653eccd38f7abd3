"""Answers out of the state file: conditions become SQL, documents come back as they were written.

reader = SqliteReader(connect(path, create=False))
"""

# ruff: noqa: S608  # names in statements are of the field table, everything else is a parameter
from __future__ import annotations

import sqlite3
from typing import Any, Final

import orjson

from streams.queries.conditions import Condition
from streams.queries.port import ALL_HISTORY, MAX_PAGE, Group, Hit, Page
from streams.queries.sql import Parameter, covers, names_fields, narrows, pins, where
from streams.sinks.briefs import BRIEFS, Brief
from streams.sinks.fields import FIELDS, HISTORY, HISTORY_PREFIX
from streams.sinks.sqlite import has_brief
from streams.sqlite import NOTHING_RECORDED, explained
from verifier.errors import InputError

_UNREADABLE: Final = "the record cannot be read"
_HISTORY: Final = tuple(HISTORY_PREFIX + name for name in HISTORY)
WALKED: Final = 1000
"""A page of so many is one of many: the index by time goes on where it ended, a brief would be looked through anew."""


class SqliteReader:
    """Implements `RecordReader` on a connection that the caller owns; never writes."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def find(
        self, home: str, where: Condition, *, newest_first: bool = False, limit: int = 100, after: str = ""
    ) -> Page:
        """See `RecordReader.find`."""
        if not 1 <= limit <= MAX_PAGE:
            raise InputError(f"a page has 1 to {MAX_PAGE} documents, not {limit}")
        position = _position(after) if after else []
        by_index = narrows(where) or not names_fields(where) or (after and limit >= WALKED)
        with explained(_UNREADABLE, missing=NOTHING_RECORDED):
            brief = None if by_index else self._brief(home, where)
            if brief is not None:
                rows = self._briefly(brief, where, position, limit + 1, newest_first=newest_first)
            else:
                test, parameters = self._where(home, where)
                query = f"SELECT home, id, time, body FROM record WHERE {test}"
                rows = self._ordered(query, parameters, position, limit + 1, newest_first=newest_first)
        hits = tuple(Hit(h, i, t, orjson.loads(body)) for h, i, t, body in rows[:limit])
        return Page(hits, f"{hits[-1].time}:{hits[-1].id}" if len(rows) > limit else "")

    def groups(self, home: str, where: Condition, by: tuple[str, ...]) -> list[Group]:
        """See `RecordReader.groups`."""
        with explained(_UNREADABLE, missing=NOTHING_RECORDED):
            brief = None if pins(where) else self._brief(home, where)
            if brief is not None and brief.words.keys() >= set(by):
                return self._counted(brief, where, by)
            test, parameters = self._where(home, where)
            values = ", ".join(f"coalesce({_value(field)}, '')" for field in by)
            numbers = ", ".join(str(n) for n in range(1, len(by) + 1))
            query = f"SELECT {values}, count(*) FROM record WHERE {test} GROUP BY {numbers} ORDER BY {numbers}"
            rows = self._connection.execute(query, parameters).fetchall()
        return [Group(tuple(map(str, row[:-1])), row[-1]) for row in rows]

    def _brief(self, home: str, where: Condition) -> Brief | None:
        """The brief that a condition can be asked of; None: there is none, or this file was last written without."""
        brief = BRIEFS.get(home)
        usable = brief is not None and covers(brief, where) and has_brief(self._connection, brief)
        return brief if usable else None

    def _counted(self, brief: Brief, condition: Condition, by: tuple[str, ...]) -> list[Group]:
        """Groups out of a brief: counted by numbers, each of which becomes a text once."""
        made = where(condition, brief)
        columns = [brief.words[field] for field in by]
        named = ", ".join(columns)
        counted = f"SELECT {named}, count(*) AS number FROM {brief.table} WHERE {made.text} GROUP BY {named}"
        texts = ", ".join(f"coalesce((SELECT text FROM record_words WHERE word = {c}), '')" for c in columns)
        rows = self._connection.execute(f"SELECT {texts}, number FROM ({counted})", made.parameters).fetchall()
        rows.sort()
        return [Group(row[:-1], row[-1]) for row in rows]

    def _briefly(
        self, brief: Brief, condition: Condition, position: list[Parameter], limit: int, *, newest_first: bool
    ) -> list[tuple[Any, ...]]:
        """Rows of a page, found by their briefs: first how far the page reaches in time, then the documents of it."""
        test, parameters = where(condition, brief)
        order, beyond = ("DESC", "<") if newest_first else ("ASC", ">")
        further, at = (f"{test} AND time {beyond} ?", position[:1]) if position else (test, [])
        query = f"SELECT time FROM {brief.table} WHERE {further} ORDER BY time {order} LIMIT 1 OFFSET ?"
        last = self._connection.execute(query, [*parameters, *at, limit - 1]).fetchone()
        within = [f"time {beyond}= ?" for _ in at] + [f"? {beyond}= time" for _ in last or ()]
        found = f"SELECT row FROM {brief.table} WHERE {' AND '.join([test, *within])}"
        query = f"SELECT home, id, time, body FROM record WHERE row IN ({found})"
        return self._ordered(query, [*parameters, *at, *(last or ())], position, limit, newest_first=newest_first)

    def _ordered(
        self, query: str, parameters: list[Parameter], position: list[Parameter], limit: int, *, newest_first: bool
    ) -> list[tuple[Any, ...]]:
        """The first rows of a query in the order of (time, id), behind a position."""
        order, beyond = ("DESC", "<") if newest_first else ("ASC", ">")
        behind = f" AND (time, id) {beyond} (?, ?)" if position else ""
        query = f"{query}{behind} ORDER BY time {order}, id {order} LIMIT ?"
        return self._connection.execute(query, [*parameters, *position, limit]).fetchall()

    @staticmethod
    def _where(home: str, condition: Condition) -> tuple[str, list[Parameter]]:
        """The test and its parameters. Where the index of a value finds documents, that of home and time is hidden."""
        made = where(condition)
        name = "+home" if narrows(condition) else "home"
        homes = _HISTORY if home == ALL_HISTORY else (home,)
        return f"{name} IN ({','.join('?' * len(homes))}) AND {made.text}", [*homes, *made.parameters]


def _value(field: str) -> str:
    if field == "event.dataset":  # every document says where it stands
        return "home"
    row = FIELDS[field]
    return row.column or f"""json_extract(body, '$."{row.name}"')"""


def _position(after: str) -> list[Parameter]:
    time, colon, id_ = after.partition(":")
    if not colon or not time.removeprefix("-").isdigit():
        raise InputError(f"{after[:60]!r} is no position of this record")
    return [int(time), id_]
