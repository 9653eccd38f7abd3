"""The act that accepts a restore: what was lost is named, by whom and why, and signed by the ledger's own key. Pure.

    for entry in restored(losses, ledger, by, reason, now, signing): append it
    restore = read_restore(entry, keys)         None: no key of these signed it
    Restores([restore]).has_lost(first, last)   was this document accepted as lost?

Entries are sealed and signed by whoever keeps the ledger, without a look at what they say; whoever may write entries
could otherwise excuse what is missing. So the statement in this act is signed by itself. It says, by sequence, which
documents were missing when it was made, and which checkpoints are of a history that the log no longer has: nothing
else is excused, and nothing that was written, or written again, later on.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec

from streams.events import LedgerEntry
from streams.ledger.entries import act
from streams.ledger.notes import Checkpoint, LedgerKey, Signing, read_statement, signed_statement
from verifier.models import Micros

KIND: Final = "restored"
FORM: Final = "revet ledger restore v1"
"""First line of what is signed."""
RANGES_AT_ONCE: Final = 1200
ABANDONED_AT_ONCE: Final = 250
"""What one act holds at most, so that it fits a record of a broker; more of it makes more acts."""

Range = tuple[int, int]
"""First and last sequence."""


class Lost(msgspec.Struct, frozen=True):
    """A document that is not there."""

    sequence: int
    """Of its first entry."""
    home: str
    time: Micros


class Losses(msgspec.Struct, frozen=True):
    """What a check missed, as far as a restore explains it."""

    size: int
    """Entries of the log, in batches or not: what comes behind them is not excused."""
    documents: tuple[Lost, ...] = ()
    abandoned: tuple[tuple[int, str], ...] = ()
    """(batch, header hash in hex) of trusted checkpoints that are not of this log."""
    entries: int = 0
    """How many entries the newest of these was ahead of the log: nobody knows any more what they were about."""

    @property
    def homes(self) -> dict[str, int]:
        """Dataset -> documents."""
        return dict(sorted(Counter(lost.home for lost in self.documents).items()))


class Restore(msgspec.Struct, frozen=True):
    """One act, as it was signed."""

    ledger: str
    by: str
    """Untrusted text, as the reason."""
    reason: str
    time: Micros
    size: int
    lost: tuple[Range, ...]
    homes: dict[str, int]
    abandoned: tuple[tuple[int, str], ...]
    entries: int
    key: str = ""
    """Name of the key that signed."""

    @property
    def documents(self) -> int:
        """How many it accepts as lost."""
        return sum(last - first + 1 for first, last in self.lost)


def ranges(sequences: Iterable[int]) -> list[Range]:
    """Sequences as ranges without gaps, in their order."""
    found: list[Range] = []
    for one in sorted(set(sequences)):
        if found and found[-1][1] == one - 1:
            found[-1] = (found[-1][0], one)
        else:
            found.append((one, one))
    return found


def restored(losses: Losses, ledger: str, by: str, reason: str, now: Micros, signing: Signing) -> Iterator[LedgerEntry]:
    """The acts that accept losses: one, or several where they do not fit into one."""
    homes = {lost.sequence: lost.home for lost in losses.documents}
    lost, gone = ranges(homes), losses.abandoned
    acts = max(-(-len(lost) // RANGES_AT_ONCE), -(-len(gone) // ABANDONED_AT_ONCE))
    for n in range(acts):
        part = tuple(lost[n * RANGES_AT_ONCE : (n + 1) * RANGES_AT_ONCE])
        named = Counter(homes[s] for first, last in part for s in range(first, last + 1))
        heads = gone[n * ABANDONED_AT_ONCE : (n + 1) * ABANDONED_AT_ONCE]
        ahead = 0 if n else losses.entries
        said = Restore(ledger, by, reason, now, losses.size, part, dict(sorted(named.items())), heads, ahead)
        yield act(KIND, {"act": KIND, "statement": signed_statement(FORM, _plain(said), signing)}, now)


def read_restore(entry: LedgerEntry, keys: Collection[LedgerKey]) -> Restore | None:
    """What an act says; None where it is none, or none of these keys signed it."""
    try:
        said = read_statement(msgspec.json.decode(entry.note, type=dict[str, str])["statement"], FORM, keys)
        if said is None:
            return None
        return msgspec.structs.replace(msgspec.json.decode(said[0], type=Restore), key=said[1].name)
    except (msgspec.DecodeError, KeyError):
        return None


def _plain(said: Restore) -> dict[str, Any]:  # Any: a tree of JSON
    made: dict[str, Any] = msgspec.to_builtins(said)
    del made["key"]
    return made


class Restores:
    """Every act that counts."""

    def __init__(self, acts: Sequence[Restore] = ()) -> None:
        self.acts = tuple(acts)
        self._abandoned = {gone for one in acts for gone in one.abandoned}

    def has_lost(self, first: int, last: int) -> bool:
        """Was the document with its first and its newest entry there accepted as lost?"""
        return any(last < one.size and _holds(one.lost, first) for one in self.acts)

    def has_abandoned(self, note: Checkpoint) -> bool:
        """Is this a checkpoint of a history that was given up?"""
        return (note.number, note.head.hex()) in self._abandoned


def _holds(found: Sequence[Range], sequence: int) -> bool:
    at = bisect_right(found, sequence, key=lambda one: one[0]) - 1
    return at >= 0 and sequence <= found[at][1]
