"""What is wrong with a document, and where it stands in the ledger. Only asked when something is wrong.

naming = Naming(log, store, expired)
for problem in naming.named(suspects, left): ...       naming.expired: how many of `left` retention removed
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from streams.engine.reading import read
from streams.events import LedgerEntry, LedgerSealed, LedgerWritten
from streams.ledger.beside import beside_original
from streams.ledger.entries import body_hash
from streams.ledger.found import Problem
from streams.ledger.port import Kept, KeptStore, LedgerLog
from streams.ledger.restoring import Lost, Restores
from streams.sinks.document import Body, instant
from verifier.models import Micros

MAX_SWAPPED: Final = 500
"""Changed documents of a dataset among which swapped ones are looked for, pair by pair."""
_LOOKED_UP: Final = 500


class Suspect(msgspec.Struct, frozen=True):
    """A document that is not as it should be."""

    kind: str
    kept: Kept

    @property
    def key(self) -> int:
        """As the checker keeps it."""
        return hash((self.kept.home, self.kept.id))


class _Place(msgspec.Struct):
    """Where an entry stands."""

    sequence: int
    entry: LedgerEntry
    hashes: list[bytes]
    newest: int
    """Sequence of the last entry about it."""


class Naming:
    """One check's names."""

    def __init__(
        self, log: LedgerLog, store: KeptStore, expired: Mapping[str, Micros], restores: Restores | None = None
    ) -> None:
        """`expired`: dataset -> documents before this time may have been removed by retention. `restores`: what was
        accepted as lost.
        """
        self._log, self._store, self._until = log, store, expired
        self._restores = restores or Restores()
        self._places: dict[int, _Place] = {}
        self._ends: list[int] = []
        """Behind each batch, its last sequence."""
        self._last_there = -1
        """Sequence of the newest entry whose document is there."""
        self.expired = self.lost = 0
        self.missing: list[Lost] = []
        """Every document that is missing, also of those that are not listed."""

    def named(self, suspects: Sequence[Suspect], left: Mapping[int, bytes]) -> Iterator[Problem]:
        """Every problem, by name and place. Raises as the log and the store."""
        if not suspects and not left:
            return
        self._locate({s.key for s in suspects}, left)
        changed = [s for s in suspects if s.kind == "record-changed"]
        swapped = dict(self._swapped(changed))
        for suspect in suspects:
            other = swapped.get(id(suspect))
            yield self._suspect(suspect) if other is None else self._of_swapped(suspect, other)
        yield from self._missing(left)

    # ------------------------------------------------------------------------------------------------ places

    def _locate(self, wanted: set[int], left: Mapping[int, bytes]) -> None:
        sequence = 0
        for record in self._log.read():
            event = read(record)
            if isinstance(event, LedgerSealed) and event.number == len(self._ends):
                self._ends.append(event.first + event.count)
            if not isinstance(event, LedgerWritten):
                continue
            for entry in event.entries:
                key = hash((entry.home, entry.id))
                if entry.kind == "record":
                    if key in wanted or key in left:
                        place = self._places.setdefault(key, _Place(sequence, entry, [], sequence))
                        place.hashes.append(entry.sha256)
                        place.newest = sequence
                    if key not in left:
                        self._last_there = sequence
                sequence += 1

    def _at(self, kind: str, detail: str, key: int, kept: Kept | None = None) -> Problem:
        place = self._places.get(key)
        if place is None:
            home, id_, time = (kept.home, kept.id, kept.time) if kept is not None else ("", "", None)
            return Problem(kind, detail, None, None, home, id_, time)
        entry, batch = place.entry, bisect_right(self._ends, place.sequence)
        where = batch if batch < len(self._ends) else None
        return Problem(kind, detail, where, place.sequence, entry.home, entry.id, entry.time)

    # ------------------------------------------------------------------------------------------------ documents

    def _suspect(self, suspect: Suspect) -> Problem:
        kept, place = suspect.kept, self._places.get(suspect.key)
        if suspect.kind == "record-inserted":
            return self._inserted(suspect, place)
        said = kept.body.get("@timestamp")
        if place is not None and isinstance(said, str) and (kept.time, said) != _when(place.entry):
            text = f"it was sealed at {instant(place.entry.time)} and is now at {said}"
            if kept.differs:
                text += f"; {kept.differs} and the document differ"
            return self._at("record-moved", text, suspect.key)
        if suspect.kind == "record-beside":
            text = f"{kept.differs}: searches go by it, and it differs from the document, which is as it was sealed"
            return self._at("record-beside", text, suspect.key)
        if suspect.kind == "erasure-undone":
            return self._at(
                suspect.kind, "its content was erased, and something else than the mark is there", suspect.key
            )
        return self._at(suspect.kind, _changes(kept), suspect.key)

    def _inserted(self, suspect: Suspect, place: _Place | None) -> Problem:
        kept = suspect.kept
        if place is None:
            return self._at("record-inserted", "no entry of the ledger is about it", suspect.key, kept)
        if kept.time != place.entry.time:
            text = f"it was sealed at {instant(place.entry.time)} and is now at {instant(kept.time)}"
            return self._at("record-moved", text, suspect.key)
        return self._at("record-inserted", "a second document of an id that is there already", suspect.key, kept)

    def _swapped(self, changed: Sequence[Suspect]) -> Iterator[tuple[int, Suspect]]:
        """Changed documents that have the content of another one."""
        for n, one in enumerate(changed[:MAX_SWAPPED]):
            for other in changed[n + 1 : MAX_SWAPPED]:
                if one.kept.home == other.kept.home and self._is(one, other) and self._is(other, one):
                    yield id(one), other
                    yield id(other), one

    def _is(self, one: Suspect, other: Suspect) -> bool:
        """Is the content of `one` what `other` was sealed with, but perhaps for id and time?"""
        place = self._places.get(other.key)
        if place is None:
            return False
        renamed: Body = {**one.kept.body, "event.id": other.kept.id, "@timestamp": instant(place.entry.time)}
        return any(body_hash(body) in place.hashes for body in (one.kept.body, renamed))

    def _of_swapped(self, suspect: Suspect, other: Suspect) -> Problem:
        return self._at("records-swapped", f"it has the content of {other.kept.id}, which has its", suspect.key)

    # ------------------------------------------------------------------------------------------------ missing

    def _missing(self, left: Mapping[int, bytes]) -> Iterator[Problem]:
        gone = [key for key in left if not self._is_expired(key) and not self._is_lost(key)]
        there = self._elsewhere(gone)
        missing = [key for key in gone if key not in there]
        places = map(self._places.__getitem__, missing)
        self.missing = [Lost(place.sequence, place.entry.home, place.entry.time) for place in places]
        for key, kept in there.items():
            place = self._places[key]
            if kept.time != place.entry.time or kept.differs:
                at = f"{instant(kept.time)}" + (f" ({kept.differs} differs)" if kept.differs else "")
                text = f"it was sealed at {instant(place.entry.time)} and is now at {at}"
                yield self._at("record-moved", text, key)
            elif body_hash(kept.body) not in place.hashes:
                yield self._at("record-changed", _changes(kept), key)
        first = min((self._places[key].sequence for key in missing), default=-1)
        if len(missing) > 1 and first > self._last_there:
            entry = next(p.entry for p in self._places.values() if p.sequence == first)
            text = (
                f"all {len(missing)} documents written from {instant(entry.time)} on are missing: the record looks"
                " like a copy from before, put back"
            )
            key = hash((entry.home, entry.id))
            yield self._at("restored", text, key)
        for key in missing:
            yield self._at("record-missing", "no document of this id is there", key)

    def _is_expired(self, key: int) -> bool:
        place = self._places.get(key)
        gone = place is not None and place.entry.time < self._until.get(place.entry.home, -1)
        self.expired += gone
        return gone

    def _is_lost(self, key: int) -> bool:
        """Was it accepted as lost, and not written again since?"""
        place = self._places.get(key)
        gone = place is not None and self._restores.has_lost(place.sequence, place.newest)
        self.lost += gone
        return gone

    def _elsewhere(self, keys: Sequence[int]) -> dict[int, Kept]:
        """Documents that are there after all: at another time, or only now."""
        found: dict[int, Kept] = {}
        for start in range(0, len(keys), _LOOKED_UP):
            wanted = [(e.home, e.id) for e in (self._places[key].entry for key in keys[start : start + _LOOKED_UP])]
            found |= {hash((kept.home, kept.id)): kept for kept in self._store.lookup(_unique(wanted))}
        return found


def _when(entry: LedgerEntry) -> tuple[Micros, str]:
    return entry.time, instant(entry.time)


def _unique(ids: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return list(dict.fromkeys(ids))


def _changes(kept: Kept) -> str:
    """What is known of a change: the ledger has a hash, the original beside some documents has more."""
    fields = beside_original(kept.home, kept.id, kept.time, kept.body)
    if fields == ("event.original",):
        return "event.original itself cannot be read any more"
    if fields:
        return f"beside its original, which says something else: {', '.join(fields)}"
    if "event.original" in kept.body:
        return "its fields agree with event.original, which was changed, or a field that the original does not have"
    return "some of its fields are not as they were"
