"""What a check of the ledger comes to: problems with a name and a place, and counts. Pure data.

The names are fixed, one sentence each: `KINDS`. Every problem says where: a batch, a sequence, a document.
"""

from __future__ import annotations

from typing import Final

import msgspec

from streams.ledger.restoring import Restore
from verifier.models import Micros

KINDS: Final[dict[str, str]] = {
    "record-changed": "a document is not the one that was sealed",
    "record-moved": "a document has another time than the one that was sealed",
    "record-missing": "a sealed document is not there",
    "record-inserted": "a document is there that was never written by revet",
    "records-swapped": "two documents have each other's content",
    "record-beside": "a copy that searches use says something else than the document",
    "erasure-undone": "a document that was erased is there again",
    "restored": "everything written after some point is missing: a copy of the record from then was put back",
    "entries-changed": "entries of the ledger are not those that were sealed",
    "header-broken": "a signed batch does not continue the chain before it",
    "checkpoint-forked": "a trusted checkpoint names another batch than the one in the log",
    "checkpoint-foreign": "a checkpoint is signed by a key that does not count",
    "tail-cut": "a trusted checkpoint is ahead of the log",
    "unsigned": "batches are covered by no trusted checkpoint",
    "restore-forged": "an act that accepts a restore is signed by no key that counts",
    "not-a-ledger": "the log is not one of this ledger",
}


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that is not as it was sealed."""

    kind: str
    """A name of `KINDS`."""
    detail: str
    batch: int | None = None
    sequence: int | None = None
    """Of its entry, from 0."""
    home: str = ""
    id: str = ""
    time: Micros | None = None
    """Of the entry: when it happened."""


class Report(msgspec.Struct, frozen=True):
    """What was checked, and what came of it."""

    ledger: str
    """Its name; empty: there is none."""
    since: Micros | None
    until: Micros | None
    batches: int
    entries: int
    """In closed batches, of the whole ledger."""
    signed: int
    """Newest batch that a trusted checkpoint covers; -1: none."""
    keys: tuple[str, ...]
    """Whose checkpoints count."""
    records: int
    """Documents in the window that are as they were sealed, or written."""
    repeated: int
    """Entries of documents that were written again and had an entry already (`duplicate-of`)."""
    erased: int
    expired: int
    """Removed by retention, as the ledger says."""
    refused: int
    """Documents that no store took."""
    waiting: int
    """Entries in no batch yet."""
    under_way: int
    """Entries whose documents are not there yet, younger than five minutes or in no batch yet."""
    counts: dict[str, int]
    """Problems by name, also of those that are not listed."""
    problems: tuple[Problem, ...]
    """At most `MAX_LISTED`."""
    seconds: float = 0.0
    lost: int = 0
    """Documents of the window that are not there, which a signed act accepts as lost in a restore."""
    restores: tuple[Restore, ...] = ()
    """Every such act, of the whole ledger: whoever reads a report knows that something was lost."""

    @property
    def fine(self) -> bool:
        """Everything is as it was sealed."""
        return not self.counts


MAX_LISTED: Final = 1000
