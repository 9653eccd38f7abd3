"""What a ledger is checked against: its log, and a store that keeps documents. Ports, and the store over any reader."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Protocol

import msgspec
import orjson

from streams.engine.port import Record
from streams.queries.conditions import EVERYTHING, Condition, at_time, both, one_of
from streams.queries.port import ALL_HISTORY, Hit, RecordReader, every
from streams.sinks.document import Body, instant
from verifier.models import Micros

AT_ONCE: Final = 500
"""Ids that are looked up at once."""


class Kept(msgspec.Struct, frozen=True, gc=False):
    """A document of history as a store has it."""

    home: str
    id: str
    time: Micros
    parsed: Body | None
    """What it says; None: `text` says it."""
    differs: str = ""
    """Which copy of a value, kept beside the body for searching, says something else than the body; empty: none."""
    text: bytes = b""
    """The body as the store keeps it, where it keeps text. Where its hash is the one that was sealed, these are the
    canonical bytes, and nobody has to read them."""

    @property
    def body(self) -> Body:
        """What it says. Text that is no JSON object is a body that nobody sealed."""
        if self.parsed is not None:
            return self.parsed
        try:
            found = orjson.loads(self.text)
        except orjson.JSONDecodeError:
            found = None
        return found if isinstance(found, dict) else {"event.original": self.text[:64].decode("utf-8", "replace")}


class LedgerLog(Protocol):
    """The log of a ledger: `revet.ledger`, or its rows in the state file."""

    def read(self, after: int = -1) -> Iterator[Record]:
        """Records behind a position, in their order, up to where the log ends now. May be called again.

        Raises:
            PlaceUnavailable: it cannot be read.
        """


class KeptStore(Protocol):
    """A record, to be looked through whole."""

    def scan(self, since: Micros | None, until: Micros | None) -> Iterator[Kept]:
        """Every document of history with a time in [since, until), in no order.

        Raises:
            InputError: there is no record here. PlaceUnavailable: it cannot be read.
        """

    def lookup(self, ids: Iterable[tuple[str, str]]) -> Iterator[Kept]:
        """The documents of these (dataset, id) that are there. Raises as `scan`."""


class ReaderStore:
    """Implements `KeptStore` over a `RecordReader`: Elasticsearch, memory."""

    def __init__(self, reader: RecordReader) -> None:
        self._reader = reader

    def scan(self, since: Micros | None, until: Micros | None) -> Iterator[Kept]:
        """See `KeptStore`."""
        return map(_kept, every(self._reader, ALL_HISTORY, within(since, until)))

    def lookup(self, ids: Iterable[tuple[str, str]]) -> Iterator[Kept]:
        """See `KeptStore`."""
        by_home: dict[str, list[str]] = {}
        for home, id_ in ids:
            by_home.setdefault(home, []).append(id_)
        for home, wanted in by_home.items():
            for start in range(0, len(wanted), AT_ONCE):
                yield from map(_kept, every(self._reader, home, one_of("event.id", wanted[start : start + AT_ONCE])))


def within(since: Micros | None, until: Micros | None) -> Condition:
    """Documents with a time in [since, until)."""
    return both(
        EVERYTHING if since is None else at_time("@timestamp", ">=", since),
        EVERYTHING if until is None else at_time("@timestamp", "<", until),
    )


def _kept(hit: Hit) -> Kept:
    return Kept(hit.home, hit.id, hit.time, hit.body, _identity(hit))


def _identity(hit: Hit) -> str:
    """Does the document say itself what it is and when?"""
    body = hit.body
    if body.get("event.id") != hit.id:
        return "event.id"
    if body.get("event.dataset") != hit.home:
        return "event.dataset"
    return "" if body.get("@timestamp") == instant(hit.time) else "@timestamp"


class MemoryLog:
    """A log in memory: records as they would stand in a file. For tests, exports and look-backs."""

    def __init__(self, records: Sequence[Record] = ()) -> None:
        self.records = list(records)

    def read(self, after: int = -1) -> Iterator[Record]:
        """See `LedgerLog`."""
        return (record for record in list(self.records) if record.position > after)
