"""Does the record hold what was sealed? One pass over the log, one over the record.

    report = Checker(log, store, pinned, notes).check(since, until, now)

 1. checkpoints and keys      every note of the log and of the other places; who may have signed them
 2. the chain                 entries lead to the roots, headers to each other, a trusted checkpoint covers them
 3. the record                every document of the window against its entry: changed, moved, beside its copy, inserted
 4. what is left              entries without a document: erased, expired, refused, under way, or missing
 5. names and places          where each problem stands, swapped documents, a record put back from an older copy

What the store says is never believed, nor what the log says without a checkpoint of a key that a person named. The
memory of a check grows with the entries of the window, some 150 bytes each.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Final

from streams.engine.reading import Unreadable, read
from streams.events import LedgerEntry, LedgerSealed, LedgerSigned, LedgerWritten
from streams.ledger.chain import Chain, Closed, header_hash
from streams.ledger.entries import body_hash
from streams.ledger.found import MAX_LISTED, Problem, Report
from streams.ledger.merkle import HASH_BYTES
from streams.ledger.naming import Naming, Suspect
from streams.ledger.notes import Checkpoint, LedgerKey, read_note
from streams.ledger.port import Kept, KeptStore, LedgerLog
from streams.ledger.restoring import Losses
from streams.ledger.vouching import Vouching, vouched
from verifier.errors import InputError
from verifier.models import Micros
from verifier.times import MINUTE

AHEAD: Final = 5 * MINUTE
"""In the clustered mode an entry is written before its document, so a document may be missing for so long."""
TELL_EVERY: Final = 5_000
"""Documents and entries between two words of progress."""
MAX_SUSPECTS: Final = 100_000
"""Documents of which the names are looked up; beyond they are only counted."""

Progress = Callable[[str, int, int], None]
"""Step (`ledger`, `record`), how many are done, how many there are."""


def silent(step: str, done: int, of: int) -> None:
    """For who wants no word of progress."""
    del step, done, of


class Checker:
    """One check. Not used twice."""

    def __init__(
        self, log: LedgerLog, store: KeptStore, pinned: Iterable[LedgerKey], notes: Iterable[Checkpoint] = (),
        progress: Progress = silent, *, ahead: Micros = 0,
    ) -> None:  # fmt: skip
        """`pinned`: keys that a person named. `notes`: checkpoints from other places than the log. `ahead`: how long
        after its entry a document may come (`AHEAD` where the two are not written at once).
        """
        self._ahead = ahead
        self._log, self._store, self._progress = log, store, progress
        self._pinned, self._notes = tuple(pinned), list(notes)
        self._known: dict[int, bytes] = {}
        """Key of a document -> hashes it may have, one behind the other; empty: it was seen."""
        self._optional: set[int] = set()
        """Keys of documents that no store took."""
        self._erased: dict[int, bytes] = {}
        self._expired: dict[str, Micros] = {}
        self._counts: Counter[str] = Counter()
        self._problems: list[Problem] = []
        self._suspects: list[Suspect] = []
        self._chain = Chain()
        self._position = -1
        self._young: set[int] = set()
        """Keys of entries whose documents may be under way."""
        self.losses = Losses(0)
        """What is missing and may have been lost in a restore, after `check`."""

    def check(self, since: Micros | None, until: Micros | None, now: Micros) -> Report:
        """Compare documents with a time in [since, until), and the whole chain.

        Raises:
            InputError: there is no ledger, or no record. PlaceUnavailable: one of them cannot be read.
            NewerSchemaError: a newer revet wrote into the log.
        """
        began = time.perf_counter()
        vouching = self._follow(since, until, now)
        self._scan(since, until)
        left = self._left()
        naming = Naming(self._log, self._store, self._expired, vouching.restores)
        for problem in naming.named(self._suspects, left):
            self._tell(problem)
        chain, counts = self._chain, self._counts
        self.losses = _losses(chain, vouching, naming)
        return Report(
            ledger=chain.name, since=since, until=until, batches=chain.number, entries=chain.size,
            signed=vouching.signed, keys=tuple(vouching.keys), records=counts.pop("_fine", 0),
            repeated=counts.pop("_repeated", 0), erased=len(self._erased), expired=naming.expired,
            refused=len(self._optional), waiting=chain.pending, under_way=counts.pop("_under_way", 0),
            counts=dict(counts), problems=tuple(self._problems), seconds=time.perf_counter() - began,
            lost=naming.lost, restores=vouching.restores.acts,
        )  # fmt: skip

    def _tell(self, problem: Problem, number: int = 1) -> None:
        self._counts[problem.kind] += number
        if len(self._problems) < MAX_LISTED:
            self._problems.append(problem)

    # ------------------------------------------------------------------------------------------ 1, 2: the chain

    def _follow(self, since: Micros | None, until: Micros | None, now: Micros) -> Vouching:
        acts, notes = self._first_look()
        vouching = Vouching(self._pinned, notes)
        heads = set(vouched(self._pinned, acts, notes))
        self._chain = chain = Chain(heads)
        done = 0
        for record in self._log.read():
            self._position = record.position
            event = read(record)
            if isinstance(event, LedgerWritten):
                self._expect(event, since, until, now, record.written * 1000 or event.time)
                done += len(event.entries)
                self._progress("ledger", done, 0)
            closed = chain.take(None if isinstance(event, Unreadable) else event)
            if closed is not None:
                self._closed(closed, vouching)
        if not chain.name and not chain.number and not chain.pending:
            raise InputError("there is no ledger here: begin one with `revet ledger init`")
        for header in chain.passed_over:
            self._passed_over(header, heads)
        vouching.ended(chain, now)
        for problem in vouching.problems:
            self._tell(problem)
        return vouching

    def _first_look(self) -> tuple[list[LedgerEntry], list[Checkpoint]]:
        """Keys that the log introduces, and every checkpoint there is."""
        acts: list[LedgerEntry] = []
        notes = list(self._notes)
        for record in self._log.read():
            if b"ledger-checkpoint" not in record.value and b"\xa3key" not in record.value:
                continue  # a hint, as the names of kinds stand in the bytes: reading everything twice would cost
            event = read(record)
            if isinstance(event, LedgerWritten):
                acts += [entry for entry in event.entries if entry.kind == "key"]
            elif isinstance(event, LedgerSigned):
                try:
                    notes.append(read_note(event.note))
                except InputError:
                    self._tell(Problem("checkpoint-foreign", "a checkpoint in the log is none", batch=event.number))
        return acts, notes

    def _closed(self, closed: Closed, vouching: Vouching) -> None:
        vouching.closed(closed)
        if closed.problem:
            self._tell(Problem("entries-changed", closed.problem, closed.header.number, closed.header.first))

    def _passed_over(self, header: LedgerSealed, heads: set[bytes]) -> None:
        """A sealer that was second is no news; a header that a key vouches for and that fits nowhere is."""
        if header_hash(header) in heads:
            text = f"batch {header.number} is signed, and does not continue what stands before it in the log"
            self._tell(Problem("header-broken", text, header.number, header.first))

    def _expect(
        self, event: LedgerWritten, since: Micros | None, until: Micros | None, now: Micros, written: Micros
    ) -> None:
        """Remember what the documents of these entries must be."""
        known, young = self._known, bool(self._ahead) and written > now - self._ahead
        for entry in event.entries:
            outside = (since is not None and entry.time < since) or (until is not None and entry.time >= until)
            if outside and entry.kind != "expired":
                continue
            key = hash((entry.home, entry.id))
            if entry.kind == "record":
                before = known.get(key)
                if before is None:
                    known[key] = entry.sha256
                else:
                    self._counts["_repeated"] += 1
                    if entry.sha256 not in _hashes(before):
                        known[key] = before + entry.sha256
                if young:
                    self._young.add(key)
            else:
                self._act(entry, key)

    def _act(self, entry: LedgerEntry, key: int) -> None:
        if entry.kind == "erased":
            self._erased[key] = entry.sha256
        elif entry.kind == "refused":
            self._optional.add(key)
        elif entry.kind == "expired":
            self._expired[entry.home] = max(entry.time, self._expired.get(entry.home, 0))

    # ------------------------------------------------------------------------------------------ 3: the record

    def _scan(self, since: Micros | None, until: Micros | None) -> None:
        known, erased = self._known, self._erased
        of = len(known)
        fine = 0
        for number, kept in enumerate(self._store.scan(since, until)):
            key = hash((kept.home, kept.id))
            hashes = known.get(key)
            is_text = bool(hashes) and sha256(kept.text).digest() == hashes
            if is_text and not kept.differs and key not in erased:
                known[key] = b""
                fine += 1
            else:
                fine += self._looked_at(kept, key, hashes)
            if number % TELL_EVERY == 0:
                self._progress("record", number, of)
        self._progress("record", of, of)
        self._counts["_fine"] += fine

    def _looked_at(self, kept: Kept, key: int, hashes: bytes | None) -> bool:
        """Is a document as it was sealed, whose text does not say so by itself?"""
        found = body_hash(kept.body)
        if hashes is None or key in self._erased or kept.differs or found not in _hashes(hashes):
            self._odd(kept, key, found)
            return False
        self._known[key] = b""
        return True

    def _odd(self, kept: Kept, key: int, found: bytes) -> None:
        """A document that is not simply as it was sealed."""
        hashes = self._known.get(key)
        if key in self._erased:
            self._known[key] = b""
            if found != self._erased[key]:
                self._suspect("erasure-undone", kept)
        elif hashes is None or hashes == b"":
            self._suspect("record-inserted", kept)
        elif found in _hashes(hashes):
            self._known[key] = b""
            self._suspect("record-beside", kept)
        else:
            self._known[key] = b""
            self._suspect("record-changed", kept)

    def _suspect(self, kind: str, kept: Kept) -> None:
        if len(self._suspects) < MAX_SUSPECTS:
            self._suspects.append(Suspect(kind, kept))
        else:
            self._counts[kind] += 1

    # ------------------------------------------------------------------------------------------ 4: what is left

    def _left(self) -> dict[int, bytes]:
        """Key -> hashes of documents that should be there and were not. What came meanwhile is taken in first."""
        written = self._since_then()
        self._suspects = [s for s in self._suspects if s.kind != "record-inserted" or s.key not in written]
        left: dict[int, bytes] = {}
        pending = {hash((e.home, e.id)) for e in self._chain.pending_entries()} if self._ahead else set()
        for key, hashes in self._known.items():
            if hashes and key not in self._erased and key not in self._optional:
                if key in self._young or key in pending:
                    self._counts["_under_way"] += 1
                else:
                    left[key] = hashes
        return left

    def _since_then(self) -> set[int]:
        """Keys of entries that were written while the record was looked through: whatever is in the record has one."""
        found: set[int] = set()
        for record in self._log.read(self._position):
            event = read(record)
            if isinstance(event, LedgerWritten):
                found |= {hash((e.home, e.id)) for e in event.entries if e.kind == "record"}
        return found


def _losses(chain: Chain, vouching: Vouching, naming: Naming) -> Losses:
    """What is missing, and what the log was cut by."""
    gone = vouching.abandoned
    ahead = max((note.size for note in gone), default=0) - chain.size
    heads = tuple(dict.fromkeys((note.number, note.head.hex()) for note in gone))
    return Losses(chain.size + chain.pending, tuple(naming.missing), heads, max(0, ahead))


def _hashes(joined: bytes) -> tuple[bytes, ...]:
    """Hashes that stand one behind the other."""
    if len(joined) == HASH_BYTES:
        return (joined,)
    return tuple(joined[n : n + HASH_BYTES] for n in range(0, len(joined), HASH_BYTES))
