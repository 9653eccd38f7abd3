"""A record that lives in memory: implements the sink and the reader, and asks documents the plain way.

For tests of ours and of others, and for look-backs over a handful of files. It keeps to the same contract as the real
stores, so an answer it gives is the answer they give.

    record = MemoryRecord(); record.write(documents(event)); record.find(home, EVERYTHING)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from streams.queries.conditions import Condition, matches, values_of
from streams.queries.port import ALL_HISTORY, MAX_PAGE, Group, Hit, Page
from streams.sinks.document import Document
from streams.sinks.fields import is_current
from verifier.errors import InputError


class MemoryRecord:
    """Implements `RecordSink` and `RecordReader`."""

    def __init__(self) -> None:
        self._homes: dict[str, dict[str, Document]] = {}

    def write(self, documents: Iterable[Document]) -> None:
        """See `RecordSink.write`."""
        for document in documents:
            home = self._homes.setdefault(document.home, {})
            known = home.get(document.id)
            if known is None or (document.version is not None and document.version >= (known.version or 0)):
                home[document.id] = document

    def find(
        self, home: str, where: Condition, *, newest_first: bool = False, limit: int = 100, after: str = ""
    ) -> Page:
        """See `RecordReader.find`."""
        if not 1 <= limit <= MAX_PAGE:
            raise InputError(f"a page has 1 to {MAX_PAGE} documents, not {limit}")
        found = sorted(self._matching(home, where), key=lambda d: (d.time, d.id), reverse=newest_first)
        start = int(after) if after.isdigit() else 0
        hits = tuple(Hit(d.home, d.id, d.time, d.body) for d in found[start : start + limit])
        more = start + limit < len(found)
        return Page(hits, str(start + limit) if more else "")

    def groups(self, home: str, where: Condition, by: tuple[str, ...]) -> list[Group]:
        """See `RecordReader.groups`."""
        counts = Counter(tuple(_first(field, d) for field in by) for d in self._matching(home, where))
        return [Group(values, number) for values, number in sorted(counts.items())]

    def _matching(self, home: str, where: Condition) -> list[Document]:
        homes = [h for h in self._homes if h == home or (home == ALL_HISTORY and not is_current(h))]
        return [d for h in homes for d in self._homes[h].values() if matches(where, d.body)]


def _first(field: str, document: Document) -> str:
    values = values_of(field, document.body)
    return str(values[0]) if values else ""
