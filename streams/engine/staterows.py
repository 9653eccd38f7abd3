"""Rows of state on a topic that keeps the newest record of a key; partition i holds shard i. Pure.

    fold = StateFold()
    for record in partition: fold.take(record)          # in order, from the beginning
    fold.rows()                                         # (kind, key, value) as it is now
    owner = fold.next_owner(now)                        # generation of a new owner
    wire = row_record(STATE, shard, owner, "pod", key, value)

The generation of the owner is part of the key: what a former owner, that does not know yet that it lost the shard,
writes late stands beside what the new owner wrote, and never in its place. Of equal (kind, key) the highest generation
counts. A removed row is a mark and not a tombstone, for the same reason; marks and superseded rows are removed for good
once no former owner can be alive any more (`StateFold.rubbish`).

A generation grows with the log and, should the log be lost, with the clock; versions of documents are made of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from streams.codec import NewerSchemaError
from streams.engine.port import Record
from streams.engine.wire import WireRecord

ROW_VERSION: Final = 1
"""First byte of every value. A reader holds what a newer program wrote."""

_ROW: Final = 1
_REMOVED: Final = 0
_CLAIM: Final = 2
_SEPARATOR: Final = "\0"

GENERATION_SECONDS: Final = 16
GENERATION_EPOCH: Final = 1_700_000_000
"""Seconds since the Unix epoch at which generations by the clock begin."""
COUNTER_BITS: Final = 36
"""Of a version; the generation stands above. 2^27 generations and 2^36 outputs of one owner stay below 2^63."""
GENERATIONS: Final = 2**27 - 2**20
"""What stands under a higher generation is none of ours: it would leave no room for the owners to come."""

RUBBISH_AFTER: Final = 3_600_000
"""Milliseconds after which no former owner is alive: far beyond every session timeout."""


class Owner(msgspec.Struct, frozen=True):
    """Whoever owns a shard now."""

    generation: int
    instance: str

    def version(self, count: int) -> int:
        """Version of the owner's `count`-th output; above every version of every former owner."""
        return (self.generation << COUNTER_BITS) + count


class _Kept(msgspec.Struct, gc=False):
    generation: int
    value: bytes | None
    written: int


class StateFold:
    """One partition of a state topic, folded. Feed it in the order of the log."""

    def __init__(self) -> None:
        self.generation = 0
        """Highest generation anybody claimed or wrote under."""
        self.end = 0
        """Position behind the newest record."""
        self._rows: dict[tuple[str, str], _Kept] = {}
        self._claims: dict[int, str] = {}
        self._old: dict[str, int] = {}
        """Keys of superseded rows and old claims -> when they were written."""

    def take(self, record: Record) -> None:
        """One record.

        Raises:
            NewerSchemaError: written by a newer revet.
        """
        self.end = record.position + 1
        head, _, rest = record.key.partition(_SEPARATOR)
        kind, separator, key = rest.partition(_SEPARATOR)
        if not _is_generation(head) or not separator or len(record.value) < 2:
            return  # a tombstone, or none of ours: what was there before is what counts
        if record.value[0] > ROW_VERSION:
            raise NewerSchemaError(
                f"{record.topic}/{record.partition}:{record.position}: a row of state has version {record.value[0]},"
                f" this program reads up to {ROW_VERSION}: upgrade first"
            )
        generation, what, value = int(head), record.value[1], bytes(record.value[2:])
        if what not in {_ROW, _REMOVED, _CLAIM}:
            return
        self.generation = max(self.generation, generation)
        if what == _CLAIM:
            self._claims.setdefault(generation, value.decode("utf-8", "replace"))
            self._old[record.key] = record.written
        else:
            self._put((kind, key), _Kept(generation, value if what == _ROW else None, record.written))

    def _put(self, slot: tuple[str, str], new: _Kept) -> None:
        known = self._rows.get(slot)
        if known is not None and known.generation != new.generation:
            older = min(known, new, key=lambda kept: kept.generation)
            self._old[_key(older.generation, *slot)] = older.written
        if known is None or known.generation <= new.generation:
            self._rows[slot] = new

    def rows(self) -> Iterator[tuple[str, str, bytes]]:
        """(kind, key, value) of every row there is."""
        for (kind, key), kept in self._rows.items():
            if kept.value is not None:
                yield kind, key, kept.value

    def claimed_by(self, generation: int) -> str:
        """Who was the first to claim a generation; empty when nobody did."""
        return self._claims.get(generation, "")

    def next_owner(self, instance: str, now: int) -> Owner:
        """A new owner, at `now` (milliseconds since the Unix epoch)."""
        by_clock = (now // 1000 - GENERATION_EPOCH) // GENERATION_SECONDS
        return Owner(max(self.generation + 1, by_clock), instance)

    def rubbish(self, now: int) -> list[str]:
        """Keys that can be removed for good at `now` (milliseconds), in the order in which to remove them.

        A mark that says "removed" stays until nothing is left that it hides, and the newest claim stays always: no
        later owner may take an earlier generation.
        """
        newest = f"{self.generation}{_SEPARATOR}"
        old = {k: at for k, at in self._old.items() if at + RUBBISH_AFTER < now and not k.startswith(newest)}
        hidden = {_slot(key) for key in self._old.keys() - old.keys()}
        marks = {
            _key(kept.generation, *slot)
            for slot, kept in self._rows.items()
            if kept.value is None and kept.written + RUBBISH_AFTER < now and slot not in hidden
        }
        return [*old, *sorted(marks)]


def row_record(topic: str, shard: int, owner: Owner, kind: str, key: str, value: bytes | None) -> WireRecord:
    """One row; value None: it is gone."""
    head = bytes((ROW_VERSION, _REMOVED)) if value is None else bytes((ROW_VERSION, _ROW)) + value
    return WireRecord(topic, shard, _key(owner.generation, kind, key).encode(), head)


def claim_record(topic: str, shard: int, owner: Owner) -> WireRecord:
    """The owner's claim; the first one of a generation in the log counts."""
    value = bytes((ROW_VERSION, _CLAIM)) + owner.instance.encode()
    return WireRecord(topic, shard, _key(owner.generation, "claim", owner.instance).encode(), value)


def tombstone(topic: str, shard: int, key: str) -> WireRecord:
    """Remove a key for good."""
    return WireRecord(topic, shard, key.encode(), None)


def _key(generation: int, kind: str, key: str) -> str:
    return f"{generation}{_SEPARATOR}{kind}{_SEPARATOR}{key}"


def _is_generation(head: str) -> bool:
    return head.isascii() and head.isdigit() and len(head) <= 9 and int(head) < GENERATIONS


def _slot(key: str) -> tuple[str, str]:
    _, kind, rest = key.split(_SEPARATOR, 2)
    return kind, rest
