"""The port of a store that answers. Every question is defined once over it; one contract suite runs on every store.

page = reader.find("revet-state-containers", is_("namespace", "shop"), limit=50)
more = reader.find("revet-state-containers", is_("namespace", "shop"), limit=50, after=page.after)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

import msgspec

from streams.queries.conditions import Condition
from streams.sinks.document import Body
from verifier.models import Micros

MAX_PAGE: Final = 10_000
"""Documents of one answer; Elasticsearch has the same limit."""
ALL_HISTORY: Final = ""
"""As a home: every dataset."""


class Hit(msgspec.Struct, frozen=True):
    """A document that was found."""

    home: str
    id: str
    time: Micros
    body: Body


class Page(msgspec.Struct, frozen=True):
    """Some of what was found."""

    hits: tuple[Hit, ...]
    after: str = ""
    """Where the next page begins; empty when this is the last one. Opaque: only the store that gave it reads it."""


class Group(msgspec.Struct, frozen=True):
    """How many documents share these values; a missing value is an empty text."""

    values: tuple[str, ...]
    count: int


class RecordReader(Protocol):
    """What a store can be asked."""

    def find(
        self, home: str, where: Condition, *, newest_first: bool = False, limit: int = 100, after: str = ""
    ) -> Page:
        """Documents of a dataset or index in the order of (time, id); `ALL_HISTORY` for every dataset.

        Raises:
            InputError: no record here, a limit outside 1 to MAX_PAGE, or an `after` that this store did not give.
            PlaceUnavailable: the store does not answer.
        """

    def groups(self, home: str, where: Condition, by: tuple[str, ...]) -> list[Group]:
        """How many documents there are for each combination of values of `by` (full names of fields with at most one
        value), sorted by these values.

        Raises:
            InputError: no record here.
            PlaceUnavailable: the store does not answer.
        """


def every(reader: RecordReader, home: str, where: Condition, *, newest_first: bool = False) -> Iterator[Hit]:
    """All that is found, page by page. Raises as `RecordReader.find`."""
    after = ""
    while True:
        page = reader.find(home, where, newest_first=newest_first, limit=1000, after=after)
        yield from page.hits
        after = page.after
        if not after:
            return


def one(reader: RecordReader, home: str, where: Condition, *, newest: bool = True) -> Hit | None:
    """The newest (or the oldest) that is found. Raises as `RecordReader.find`."""
    hits = reader.find(home, where, newest_first=newest, limit=1).hits
    return hits[0] if hits else None
