"""A state file as text that can be compared: everything in it but the places of rows, in one order."""

from __future__ import annotations

import hashlib
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from streams.sinks.briefs import BRIEFS, told

PLACES = frozenset({"row", "position", "place", "batch"})
"""Columns that number rows in the order of writing."""
BRIEFLY = {"record_words", *(brief.table for brief in BRIEFS.values())}
APART = frozenset({"raw", "record_terms", "positions", "state", "sqlite_sequence", "meta", *BRIEFLY})
"""Tables that are dumped in a way of their own, or hold only how far somebody has come."""


def dump(path: Path, *, working: bool = False) -> dict[str, list[str]]:
    """Table -> its rows as text, sorted; `working` adds the state of judge and alerter."""
    with closing(sqlite3.connect(path)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found = {name: sorted(_rows(connection, name)) for name in tables if name not in APART}
        if "record_terms" in tables:
            found["record_terms"] = sorted(_terms(connection))
            found |= briefs(connection)
        found["raw"] = list(_originals(connection))
        if working:
            kept = "kind <> 'alert-expiry' AND key NOT LIKE '[\"reached%'"
            query = f"SELECT kind, key, hex(value) FROM state WHERE {kept}"
            found["state"] = sorted(map(repr, connection.execute(query)))
        return found


def columns(connection: sqlite3.Connection, table: str) -> list[str]:
    return [row[1] for row in connection.execute(f"PRAGMA table_info({table})") if row[1] not in PLACES]


def _rows(connection: sqlite3.Connection, table: str) -> Iterator[str]:
    yield from map(repr, connection.execute(f"SELECT {', '.join(columns(connection, table))} FROM {table}"))


def _terms(connection: sqlite3.Connection) -> Iterator[str]:
    own = ", ".join(f"t.{name}" for name in columns(connection, "record_terms"))
    query = f"SELECT {own}, r.home, r.id FROM record_terms t JOIN record r ON r.row = t.row"
    yield from map(repr, connection.execute(query))


def briefs(connection: sqlite3.Connection) -> dict[str, list[str]]:
    """Table -> every brief with the id of its document, words as texts."""
    return {
        brief.table: sorted(
            repr((id_, *(connection.execute(told(brief), (row,)).fetchone() or ())))
            for id_, row in connection.execute("SELECT id, row FROM record WHERE home = ?", (home,)).fetchall()
        )
        for home, brief in BRIEFS.items()
    }


def _originals(connection: sqlite3.Connection) -> Iterator[str]:
    """In order: a restart neither repeats nor reorders what was received."""
    for (data,) in connection.execute("SELECT data FROM raw ORDER BY batch"):
        for line in zlib.decompress(data).split(b"\n"):
            yield hashlib.sha256(line).hexdigest()


def differences(one: dict[str, list[str]], other: dict[str, list[str]], limit: int = 5) -> list[str]:
    """What differs, as readable lines; empty when nothing does."""
    lines = []
    for table in sorted(one.keys() | other.keys()):
        left, right = one.get(table, []), other.get(table, [])
        if left == right:
            continue
        lines.append(f"{table}: {len(left)} rows against {len(right)}")
        missing, added = set(left) - set(right), set(right) - set(left)
        lines += [f"  - {row[:600]}" for row in sorted(missing)[:limit]]
        lines += [f"  + {row[:600]}" for row in sorted(added)[:limit]]
        if not missing and not added:
            lines.append("  the same rows in another number or order")
    return lines
