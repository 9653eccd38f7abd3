"""What commands that change trust know of the log before, and say of a change afterwards, wherever the log is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

import msgspec
from pydantic import ValidationError

from streams.local.sqlite import Came
from verifier.errors import InputError
from verifier.models import Micros
from verifier.trust.describe import describe
from verifier.trust.records import TRUST_RECORD, TrustRecord
from verifier.trust.state import Applied, TrustState


class Entry(NamedTuple):
    """One entry of the trust log and what became of it."""

    epoch: int
    record: TrustRecord
    applied: Applied
    after: TrustState
    signed: tuple[str, ...] = ()
    """Administrators who signed it; on one machine nobody does."""


class Reading(NamedTuple):
    """Trust as the whole log says, judged or not yet, and the instant a change made now takes place at."""

    trust: TrustState
    now: Micros
    entries: tuple[Entry, ...] = ()
    author: str = ""
    """Who asks for changes, when it is proven by a key; empty: the local user."""
    uncounted: tuple[int, int] = (0, 0)
    """Entries in the log of a cluster that were ignored, and that were refused."""


def folded(log: Iterable[tuple[int, bytes]], start: TrustState | None = None) -> Iterable[Entry]:
    """Every entry with what became of it.

    Raises:
        InputError: an entry was written by a newer revet.
    """
    trust = start or TrustState.empty()
    for epoch, value in log:
        try:
            record = TRUST_RECORD.validate_json(value)
        except ValidationError as error:
            raise InputError(f"entry {epoch} of the trust log cannot be read: made by a newer revet?") from error
        trust, applied = trust.apply(record, epoch)
        yield Entry(epoch, record, applied, trust)


class Line(msgspec.Struct, frozen=True):
    """One entry that was appended."""

    epoch: int
    kind: str
    sentence: str
    applied: bool
    code: str = ""
    why: str = ""
    signed: tuple[str, ...] = ()


class Proposed(msgspec.Struct, frozen=True):
    """A change that was written to a file, for another administrator to sign."""

    file: str
    missing: int
    """Administrators who still have to sign."""


JudgedBy = Literal["service", "command", "cluster", "nobody"]


class Outcome(msgspec.Struct, frozen=True):
    """What came of a change."""

    entries: tuple[Line, ...]
    judged_by: JudgedBy
    judged: bool
    """False: the entries are durable, and whoever drives the state has not judged them in time."""
    came: Came
    waiting: int = 0
    """Requests for evidence that nobody could answer yet."""
    proposed: Proposed | None = None


def line_of(entry: Entry) -> Line:
    """An entry as it is told."""
    sentence, applied = describe(entry.record), entry.applied
    kind = entry.record.kind
    return Line(entry.epoch, kind, sentence, applied.applied, applied.code, applied.message, entry.signed)
