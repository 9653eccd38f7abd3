"""A state file as text that can be compared: everything in it but the places of rows, in one order."""

from __future__ import annotations

import hashlib
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

_QUERIES = {
    "record": "SELECT home, id, version, time, body FROM record",
    "terms": "SELECT t.field, t.value, r.home, r.id FROM record_terms t JOIN record r ON r.row = t.row",
    "log": "SELECT topic, key, id, time, hex(value) FROM log",
    "messages": "SELECT delivery, kind, part, ts, destination, time, headline, text, printed FROM messages",
    "sources": "SELECT source, progress FROM sources",
    "evidence": "SELECT * FROM evidence",
}
"""What people and queries are answered from. Rows of shards (`state`) are working memory and compared apart."""

_WORKING = "SELECT kind, key, hex(value) FROM state WHERE kind <> 'alert-expiry' AND key NOT LIKE '[\"reached%'"


def dump(path: Path, *, working: bool = False) -> dict[str, list[str]]:
    """Table -> its rows as text, sorted; `working` adds the state of judge and alerter."""
    with closing(sqlite3.connect(path)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        found = {
            name: sorted(map(repr, connection.execute(query)))
            for name, query in _QUERIES.items()
            if name in tables or name == "terms"
        }
        found["originals"] = list(_originals(connection))
        if working:
            found["state"] = sorted(map(repr, connection.execute(_WORKING)))
        return found


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
