"""Who vouches for a chain: keys that a person named, keys these introduced, and the checkpoints they signed. Pure.

    vouching = Vouching(pinned, notes)
    vouching.closed(closed)                after each batch, in order; `problems` grows
    vouching.ended(chain, now)             after the last one

A key is introduced by an act that a key which counts has signed, and counts once a checkpoint over that batch is signed
by such a key too. So nobody who may write entries can bring a key along. A ledger whose key was lost goes on under a
new one that a person has to name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Final

import msgspec

from streams.events import LedgerEntry
from streams.ledger.chain import Chain, Closed
from streams.ledger.custody import ROTATION
from streams.ledger.found import Problem
from streams.ledger.notes import Checkpoint, LedgerKey, read_keys, read_statement, signer
from streams.ledger.restoring import KIND, Restore, Restores, read_restore
from verifier.errors import InputError
from verifier.models import Micros
from verifier.times import MINUTE

UNSIGNED_AFTER: Final = 10 * MINUTE
"""A batch that is older than this and that no checkpoint covers is a problem."""


def introduced(entry: LedgerEntry, keys: Collection[LedgerKey]) -> tuple[LedgerKey, str] | None:
    """The key that an act introduces, and the name of the one it retires; None where it does not, or none of these keys
    says so: a key that begins a ledger, or goes on after a loss, has to be named by a person.
    """
    try:
        act = msgspec.json.decode(entry.note, type=dict[str, str])
        said = read_statement(act["statement"], ROTATION, keys)
        note = msgspec.json.decode(said[0], type=dict[str, str]) if said is not None else {}
        (key,) = read_keys([note["key"]])
    except (msgspec.DecodeError, KeyError, InputError):
        return None
    return key, note.get("retires", "")


class Vouching:
    """Follows a chain and says what of it is vouched for."""

    def __init__(self, pinned: Iterable[LedgerKey], notes: Iterable[Checkpoint]) -> None:
        """`notes`: every checkpoint there is, of the log and of other places, by whomever."""
        self._active: dict[bytes, LedgerKey] = {key.key: key for key in pinned}
        self._named = frozenset(self._active)
        self._notes: dict[int, dict[str, Checkpoint]] = {}
        for note in notes:
            self._notes.setdefault(note.number, {})[note.note] = note
        self._acts: list[LedgerEntry] = []
        self._restores: list[Restore] = []
        self._contradicting: list[tuple[Checkpoint, LedgerKey]] = []
        """Trusted checkpoints that name another batch than the log has."""
        self.restores = Restores()
        """Acts that accept a restore and count; whole after `ended`."""
        self.abandoned: tuple[Checkpoint, ...] = ()
        """Trusted checkpoints of no batch of this log that no act has given up; after `ended`."""
        self.problems: list[Problem] = []
        self.signed = -1
        """Newest batch that a trusted checkpoint names; it covers all before."""
        self.keys: list[str] = []
        """Names of the keys whose checkpoints count, in the order of their first."""

    def closed(self, closed: Closed) -> None:
        """The next batch."""
        self._acts += [entry for entry in closed.entries if entry.kind == "key"]
        self._accept(closed.entries)
        number = closed.header.number
        for note in self._notes.pop(number, {}).values():
            key = signer(note.note, self._active.values())
            if key is None:
                self._foreign(note)
            elif note.head != closed.head or note.size != closed.header.first + closed.header.count:
                self._contradicting.append((note, key))
            else:
                self._signed(number, key)

    def ended(self, chain: Chain, now: Micros) -> None:
        """There are no more batches: what is ahead of the log, and what nobody signed?"""
        self._accept(chain.pending_entries())
        self.restores = Restores([one for one in self._restores if one.ledger == chain.name])
        forked = [pair for pair in self._contradicting if not self.restores.has_abandoned(pair[0])]
        for forked_note, by in forked:
            text = f"{by.name} signed another batch {forked_note.number} than the one in the log: the log was rewritten"
            self.problems.append(Problem("checkpoint-forked", text, batch=forked_note.number))
        ahead = [
            (note, key) for notes in self._notes.values() for note in notes.values()
            if (key := signer(note.note, self._active.values())) is not None
            and not self.restores.has_abandoned(note)
        ]  # fmt: skip
        self.abandoned = tuple(pair[0] for pair in (*forked, *ahead))
        if ahead:
            note, key = max(ahead, key=lambda pair: pair[0].number)
            have = f"batch {chain.number - 1}" if chain.number else "nothing"
            text = (
                f"{key.name} signed batch {note.number} with {note.size} entries, the log ends with {have}"
                f" and {chain.size}: its tail was cut, or it was restored from an older copy"
            )
            self.problems.append(Problem("tail-cut", text, batch=chain.number))
        for notes in self._notes.values():
            for note in notes.values():
                if signer(note.note, self._active.values()) is None:
                    self._foreign(note)
        unsigned = chain.number - 1 - self.signed
        if unsigned > 0 and chain.last is not None and chain.last.time < now - UNSIGNED_AFTER:
            text = f"{unsigned} batches from {self.signed + 1} on are covered by no checkpoint of a key that counts"
            self.problems.append(Problem("unsigned", text, batch=self.signed + 1))

    def _signed(self, number: int, key: LedgerKey) -> None:
        self.signed = number
        if key.name not in self.keys:
            self.keys.append(key.name)
        for entry in self._acts:
            found = introduced(entry, tuple(self._active.values()))
            if found is not None:
                fresh, retires = found
                self._active[fresh.key] = fresh
                self._active = {data: known for data, known in self._active.items() if known.name != retires}
        self._acts.clear()

    def _accept(self, entries: Iterable[LedgerEntry]) -> None:
        """Acts that accept a restore, each signed by a key that counts where it stands."""
        for entry in entries:
            if entry.kind == KIND:
                found = read_restore(entry, tuple(self._active.values()))
                if found is None:
                    text = "an act says that a restore was accepted, and no key that counts there has signed it"
                    self.problems.append(Problem("restore-forged", text, time=entry.time))
                else:
                    self._restores.append(found)

    def _foreign(self, note: Checkpoint) -> None:
        text = f"a checkpoint of batch {note.number} is signed by no key that counts there"
        self.problems.append(Problem("checkpoint-foreign", text, batch=note.number))


def vouched(pinned: Iterable[LedgerKey], acts: Iterable[LedgerEntry], notes: Iterable[Checkpoint]) -> Iterator[bytes]:
    """Hashes of headers that some key which may come to count has signed: behind these a damaged chain goes on."""
    keys = list(pinned)
    for entry in acts:
        found = introduced(entry, keys)
        if found is not None:
            keys.append(found[0])
    return (note.head for note in notes if signer(note.note, keys) is not None)
