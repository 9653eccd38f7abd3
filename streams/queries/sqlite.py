"""Answers out of the state file: conditions become SQL, documents come back as they were written.

reader = SqliteReader(connect(path, create=False))
"""

from __future__ import annotations

import sqlite3
from typing import Final

import orjson

from streams.queries.conditions import Condition
from streams.queries.port import ALL_HISTORY, MAX_PAGE, Group, Hit, Page
from streams.queries.sql import Parameter, narrows, where
from streams.sinks.fields import FIELDS, HISTORY, HISTORY_PREFIX
from streams.sqlite import NOTHING_RECORDED, explained
from verifier.errors import InputError

_UNREADABLE: Final = "the record cannot be read"
_HISTORY: Final = tuple(HISTORY_PREFIX + name for name in HISTORY)


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
        order = "DESC" if newest_first else "ASC"
        test, parameters = self._where(home, where)
        if after:
            test += f" AND (time, id) {'<' if newest_first else '>'} (?, ?)"
            parameters += _position(after)
        query = f"SELECT home, id, time, body FROM record WHERE {test} ORDER BY time {order}, id {order} LIMIT ?"  # noqa: S608  # names of the field table, parameters for the rest
        with explained(_UNREADABLE, missing=NOTHING_RECORDED):
            rows = self._connection.execute(query, [*parameters, limit + 1]).fetchall()
        hits = tuple(Hit(h, i, t, orjson.loads(body)) for h, i, t, body in rows[:limit])
        return Page(hits, f"{hits[-1].time}:{hits[-1].id}" if len(rows) > limit else "")

    def groups(self, home: str, where: Condition, by: tuple[str, ...]) -> list[Group]:
        """See `RecordReader.groups`."""
        test, parameters = self._where(home, where)
        values = ", ".join(f"coalesce({_value(field)}, '')" for field in by)
        numbers = ", ".join(str(n) for n in range(1, len(by) + 1))
        query = f"SELECT {values}, count(*) FROM record WHERE {test} GROUP BY {numbers} ORDER BY {numbers}"  # noqa: S608  # as above
        with explained(_UNREADABLE, missing=NOTHING_RECORDED):
            rows = self._connection.execute(query, parameters).fetchall()
        return [Group(tuple(map(str, row[:-1])), row[-1]) for row in rows]

    @staticmethod
    def _where(home: str, condition: Condition) -> tuple[str, list[Parameter]]:
        """The test and its parameters. Where the index of a value finds documents, that of home and time is hidden."""
        made = where(condition)
        name = "+home" if narrows(condition) else "home"
        homes = _HISTORY if home == ALL_HISTORY else (home,)
        return f"{name} IN ({','.join('?' * len(homes))}) AND {made.text}", [*homes, *made.parameters]


def _value(field: str) -> str:
    row = FIELDS[field]
    return row.column or f"""json_extract(body, '$."{row.name}"')"""


def _position(after: str) -> list[Parameter]:
    time, colon, id_ = after.partition(":")
    if not colon or not time.removeprefix("-").isdigit():
        raise InputError(f"{after[:60]!r} is no position of this record")
    return [int(time), id_]
