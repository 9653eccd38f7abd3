"""The fold of a ledger's log: entries, headers of batches, checkpoints. Pure, the same in every process.

    chain = Chain()
    for event in log: closed = chain.take(event)         a batch that was closed, with its entries

A header counts when it continues the chain: the next number, the next entries, whole packs, their root, the header
before. The first in the log wins, so of two sealers one loses and is passed over. Only whoever checks a ledger that may
have been changed goes on behind a batch whose entries do not fit: when a trusted checkpoint vouches for its header, the
batch is closed with a `problem`, and what lies behind it can be checked still.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from hashlib import sha256
from typing import Final

import msgspec

from streams.events import LedgerEntry, LedgerSealed, LedgerSigned, LedgerWritten
from streams.ledger.entries import entry_bytes
from streams.ledger.merkle import leaf_hash, tree_root
from streams.ledger.notes import Checkpoint, read_note
from verifier.canonical import canonical_json
from verifier.errors import InputError
from verifier.models import Micros

HEADER: Final = b"revet ledger batch v1\n"


def header_bytes(header: LedgerSealed) -> bytes:
    """What is hashed of a header: canonical JSON behind a line that says what it is."""
    return HEADER + canonical_json(
        {
            "count": header.count,
            "earliest": header.earliest,
            "first": header.first,
            "latest": header.latest,
            "number": header.number,
            "pack": header.pack,
            "previous": header.previous.hex(),
            "root": header.root.hex(),
            "time": header.time,
        }
    )


def header_hash(header: LedgerSealed) -> bytes:
    """SHA-256 of `header_bytes`: `previous` of the header behind, and what a checkpoint names."""
    return sha256(header_bytes(header)).digest()


class Closed(msgspec.Struct, frozen=True):
    """A batch and what is in it."""

    header: LedgerSealed
    head: bytes
    entries: tuple[LedgerEntry, ...]
    problem: str = ""
    """Why its entries are not those that were sealed; empty: they are."""


class Tip(msgspec.Struct, frozen=True):
    """What is kept of a chain so that another process can go on with it: everything but the packs that wait."""

    name: str
    number: int
    size: int
    head: bytes
    time: Micros
    last: LedgerSealed | None
    first_time: Micros
    latest: Micros
    expired: dict[str, Micros]
    notes: tuple[str, ...]
    """Checkpoints that were not forgotten."""


class _Pack(msgspec.Struct):
    id: str
    time: Micros
    entries: tuple[LedgerEntry, ...]
    leaves: list[bytes]


class Chain:
    """What a log comes to. Keeps the entries of no closed batch."""

    def __init__(self, vouched: Collection[bytes] = ()) -> None:
        """`vouched`: hashes of headers that trusted checkpoints name."""
        self._vouched = frozenset(vouched)
        self.name = ""
        """Of the ledger, from the act that began it."""
        self.number = 0
        """Of the batch to come."""
        self.size = 0
        """Entries in closed batches."""
        self.head = b""
        self.time: Micros = 0
        """Of the newest header."""
        self.last: LedgerSealed | None = None
        self.first_time: Micros = 0
        """The earliest time of an entry in a closed batch."""
        self.latest: Micros = 0
        """The latest."""
        self.expired: dict[str, Micros] = {}
        """Dataset -> up to when retention may have removed it, as acts say."""
        self.checkpoints: dict[int, list[Checkpoint]] = {}
        """Batch -> notes in the log that name this number, whoever signed them and whatever they say."""
        self.passed_over: list[LedgerSealed] = []
        """Headers that continue nothing: of a sealer that was second, or of somebody who may not."""
        self._packs: deque[_Pack] = deque()

    # ------------------------------------------------------------------------------------------------ going on

    def tip(self) -> Tip:
        """What `resumed` goes on from."""
        notes = tuple(dict.fromkeys(note.note for found in self.checkpoints.values() for note in found))
        return Tip(
            self.name, self.number, self.size, self.head, self.time, self.last, self.first_time, self.latest,
            dict(self.expired), notes,
        )  # fmt: skip

    @classmethod
    def resumed(cls, tip: Tip) -> Chain:
        """The chain behind its newest header; the packs that waited have to be taken again.

        Raises:
            InputError: one of its notes is none.
        """
        made = cls()
        made.name, made.number, made.size, made.head, made.time = tip.name, tip.number, tip.size, tip.head, tip.time
        made.last, made.first_time, made.latest, made.expired = tip.last, tip.first_time, tip.latest, dict(tip.expired)
        for note in map(read_note, tip.notes):
            made.checkpoints.setdefault(note.number, []).append(note)
        return made

    def forget(self, before: int) -> None:
        """Keep no checkpoints of batches before this one, nor of such as are not there, and nothing that was passed
        over: whoever only seals needs neither, and must not grow with the log.
        """
        self.checkpoints = {n: notes for n, notes in self.checkpoints.items() if before <= n < self.number}
        self.passed_over.clear()

    @property
    def packs(self) -> int:
        """Packs that are in no batch yet."""
        return len(self._packs)

    @property
    def pending(self) -> int:
        """Entries that are in no batch yet."""
        return sum(len(pack.entries) for pack in self._packs)

    @property
    def waiting_since(self) -> Micros | None:
        """When the oldest entry that is in no batch was written; None: there is none."""
        return self._packs[0].time if self._packs else None

    def pending_entries(self) -> list[LedgerEntry]:
        """Entries that are in no batch yet, in their order."""
        return [entry for pack in self._packs for entry in pack.entries]

    def take(self, event: object) -> Closed | None:
        """The next event of the log; a batch when this closes one. What is no part of a ledger is passed over."""
        if isinstance(event, LedgerWritten):
            leaves = [leaf_hash(entry_bytes(entry)) for entry in event.entries]
            self._packs.append(_Pack(event.id, event.time, event.entries, leaves))
            if not self.name:
                self.name = name_in(event.entries)
            for entry in event.entries:
                if entry.kind == "expired":
                    self.expired[entry.home] = max(entry.time, self.expired.get(entry.home, 0))
        elif isinstance(event, LedgerSealed):
            return self._sealed(event)
        elif isinstance(event, LedgerSigned):
            try:
                self.checkpoints.setdefault(event.number, []).append(read_note(event.note))
            except InputError:
                return None  # says nothing of any batch
        return None

    def next_header(self, now: Micros, most: int) -> LedgerSealed | None:
        """A header over what waits, at most `most` entries and at least one pack; None when nothing waits."""
        count = packs = 0
        leaves: list[bytes] = []
        times: list[int] = []
        for pack in self._packs:
            if packs and count + len(pack.entries) > most:
                break
            packs, count = packs + 1, count + len(pack.entries)
            leaves += pack.leaves
            times += [entry.time for entry in pack.entries]
        if not packs:
            return None
        made = LedgerSealed(
            "", max(now, self.time), self.number, self.size, count, tree_root(leaves), self.head,
            min(times), max(times), self._packs[packs - 1].id,
        )  # fmt: skip
        return msgspec.structs.replace(made, id=f"ledger-batch:{self.number}:{header_hash(made).hex()[:24]}")

    def _sealed(self, header: LedgerSealed) -> Closed | None:
        """Continue with this header, or pass it over."""
        fits = (header.number, header.first, header.previous) == (self.number, self.size, self.head)
        if not fits or header.time < self.time or header.count < 1:
            self.passed_over.append(header)
            return None
        head = header_hash(header)
        packs = self._packs_up_to(header.pack, header.count)
        problem = _mismatch(header, packs)
        if problem and head not in self._vouched:
            self.passed_over.append(header)
            return None
        for _ in packs:
            self._packs.popleft()
        self.number, self.time, self.last, self.head = header.number + 1, header.time, header, head
        self.first_time = min(self.first_time or header.earliest, header.earliest)
        self.latest = max(self.latest, header.latest)
        self.size = header.first + header.count
        return Closed(header, head, tuple(entry for pack in packs for entry in pack.entries), problem)

    def _packs_up_to(self, last: str, entries: int) -> list[_Pack]:
        """The packs of a batch; none when its last pack is not there. A pack that was written twice has one id, so the
        number of entries says which of the two is meant.
        """
        found: list[_Pack] = []
        count = there = 0
        for pack in self._packs:
            found.append(pack)
            count += len(pack.entries)
            if pack.id == last:
                there = len(found)
                if count >= entries:
                    break
        return found[:there]


def _mismatch(header: LedgerSealed, packs: Sequence[_Pack]) -> str:
    """Why these packs are not what the header is over; empty when they are."""
    count = sum(len(pack.entries) for pack in packs)
    if not packs:
        return "its last pack of entries is not there"
    if count != header.count:
        return f"it has {count} entries, {header.count} were sealed"
    times = [entry.time for pack in packs for entry in pack.entries]
    root = tree_root([leaf for pack in packs for leaf in pack.leaves])
    if (root, min(times), max(times)) != (header.root, header.earliest, header.latest):
        return "its entries do not lead to the root that was sealed"
    return ""


def name_in(entries: Sequence[LedgerEntry]) -> str:
    """The name that a ledger was begun with, where the act is among these entries."""
    for entry in entries:
        if entry.kind == "key":
            try:
                return str(msgspec.json.decode(entry.note)["ledger"])
            except (msgspec.DecodeError, KeyError, TypeError):
                continue
    return ""
