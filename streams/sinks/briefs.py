"""Briefs: the few values of each document that counts are made of, in narrow tables of the SQLite record. Pure.

A question about a fleet counts hundreds of thousands of documents by a handful of values; to read whole documents for
that takes seconds. So for some homes these values stand beside the record once more, one row per document, every text
as a small number (`record_words`). Triggers keep them: whatever writes a document, of whatever version of revet, writes
its brief in the same statement. They hold nothing that the documents do not, and can be made anew from them.

    statements(BRIEFS["revet-state-containers"])    what makes the table and its triggers
"""

# ruff: noqa: S608  # every name in a statement is of the field table; values are none
from __future__ import annotations

from typing import Final, NamedTuple

from streams.sinks.fields import FIELDS, HOMES, SHORT_NAMES

TIME: Final = "@timestamp"
"""The field that every brief has as a number of microseconds."""


class Brief(NamedTuple):
    """One narrow table. Fields by full name, each with its column."""

    home: str
    table: str
    words: dict[str, str]
    """Keywords of which a document has one value at most, as numbers of `record_words`."""
    dates: dict[str, str]
    """As they are written: such texts sort as times."""
    flags: dict[str, str]
    """Whether a document has any value: 1, or nothing."""

    @property
    def columns(self) -> tuple[str, ...]:
        """All of them, in their order in the table, behind `row` and `time`."""
        return (*self.words.values(), *self.dates.values(), *self.flags.values())


def _brief(home: str, words: str, dates: str = "", flags: str = "") -> Brief:
    named = ({SHORT_NAMES.get(name, name): _column(name) for name in of.split()} for of in (words, dates, flags))
    return Brief(HOMES[home], f"record_brief_{home}", *named)


def _column(name: str) -> str:
    return name.rpartition(".")[2]


BRIEFS: Final = {
    brief.home: brief
    for brief in (
        _brief(
            "containers",
            "cluster cluster_name namespace workload_id repository digest image class verdict node state",
            "started ended",
            "decision unverifiable",
        ),
        _brief("incidents", "incident short_id"),
        _brief("verification", "cluster class policy verdict previous"),
        _brief("admission", "cluster admission"),
        _brief("finding", "cluster provenance.finding.status"),
    )
}
"""Home -> its brief."""

WORDS: Final = "CREATE TABLE IF NOT EXISTS record_words (word INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE)"
"""Every text of every brief, once."""


def statements(brief: Brief) -> dict[str, str]:
    """Name of a table, index or trigger -> the statement that makes it."""
    table = brief.table
    columns = [f"{name} {'TEXT' if name in brief.dates.values() else 'INTEGER'}" for name in brief.columns]
    gone = f"DELETE FROM {table} WHERE row = old.row;"
    made = f"{_new_words(brief)} INSERT INTO {table} VALUES ({_row(brief, 'new')});"
    new, old = f"WHEN new.home = '{brief.home}'", f"WHEN old.home = '{brief.home}'"
    return {
        table: f"CREATE TABLE {table} (row INTEGER PRIMARY KEY, time INTEGER NOT NULL, {', '.join(columns)})",
        f"{table}_time": f"CREATE INDEX {table}_time ON {table} (time)",
        f"{table}_insert": f"CREATE TRIGGER {table}_insert AFTER INSERT ON record {new} BEGIN {made} END",
        f"{table}_update": f"CREATE TRIGGER {table}_update AFTER UPDATE ON record {new} BEGIN {gone} {made} END",
        f"{table}_delete": f"CREATE TRIGGER {table}_delete AFTER DELETE ON record {old} BEGIN {gone} END",
    }


def filling(brief: Brief) -> tuple[str, ...]:
    """Statements that make the briefs of what was written before there were any; each document is read once."""
    values = ", ".join(f"{_value(brief, column, 'record')} AS {column}" for column in brief.columns)
    staged = f"SELECT row, time, {values} FROM record WHERE home = '{brief.home}'"
    words = (
        f"INSERT OR IGNORE INTO record_words (text) SELECT DISTINCT {column} FROM temp.briefs"
        for column in brief.words.values()
    )
    row = ", ".join(_word(c) if c in brief.words.values() else c for c in brief.columns)
    filled = f"INSERT INTO {brief.table} SELECT row, time, {row} FROM temp.briefs"
    return (f"CREATE TEMP TABLE briefs AS {staged}", *words, filled, "DROP TABLE temp.briefs")


def told(brief: Brief) -> str:
    """The statement that reads the brief of one row (its parameter) with texts for words, in the order of columns; no
    row where there is none.
    """
    texts = (f"(SELECT text FROM record_words WHERE word = {c})" for c in brief.words.values())
    columns = ", ".join((*texts, *brief.dates.values(), *brief.flags.values()))
    return f"SELECT time, {columns} FROM {brief.table} WHERE row = ?"


def _new_words(brief: Brief) -> str:
    """The texts that are new. An `OR IGNORE` would not do: in a trigger the statement outside has the say."""
    values = " UNION ALL SELECT ".join(f"{_value(brief, column, 'new')} AS text" for column in brief.words.values())
    found = f"SELECT text FROM (SELECT {values}) WHERE text IS NOT NULL"
    return f"INSERT INTO record_words (text) {found} ON CONFLICT DO NOTHING;"


def _row(brief: Brief, of: str) -> str:
    values = {column: _value(brief, column, of) for column in brief.columns}
    row = (_word(value) if column in brief.words.values() else value for column, value in values.items())
    return f"{of}.row, {of}.time, {', '.join(row)}"


def _word(value: str) -> str:
    return f"(SELECT word FROM record_words WHERE text = {value})"


def _value(brief: Brief, column: str, of: str) -> str:
    """What a column of a brief is made of, in a row of the record."""
    fields = {c: f for named in (brief.words, brief.dates, brief.flags) for f, c in named.items()}
    row = FIELDS[fields[column]]
    if row.column:
        return f"{of}.{row.column}"
    if column in brief.flags.values():
        return f"CASE WHEN json_valid({of}.body) AND json_type({of}.body, '$.\"{row.name}\"') IS NOT NULL THEN 1 END"
    return f"CASE WHEN json_valid({of}.body) THEN json_extract({of}.body, '$.\"{row.name}\"') END"
