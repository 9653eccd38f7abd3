"""What checks of the ledger found: one finding for the record, open while something is not as it was sealed. Pure.

    integrity = Integrity()
    told = integrity.checked(check, now)

A check is of a window. What was found in one is only taken back by a later check that covers it and finds nothing: that
the last hour is fine says nothing about a document of last year.
"""

from __future__ import annotations

from typing import Final

import msgspec

from alerting.ownfindings import OneRow, Own, Standing, Told, told
from alerting.text import count

CODE: Final = "ledger-broken"
RECORD: Final = "the record"


class Check(msgspec.Struct, frozen=True):
    """What one check came to."""

    scope: str
    """What kind of window: each kind has a newest check of its own."""
    time: int
    since: int
    until: int
    problems: int
    worst: str


class _Kept(msgspec.Struct):
    """What has to survive a restart."""

    opened: int = 0
    """0: it is closed."""
    since: int = 0
    until: int = 0
    problems: int = 0
    worst: str = ""
    newest: dict[str, int] = {}
    """Scope -> time of the newest check that was taken; what was taken before comes again after a restart."""
    sequence: int = 0


class Integrity(OneRow[_Kept]):
    """What was found so far."""

    def __init__(self) -> None:
        super().__init__(_Kept())

    def checked(self, check: Check, now: int) -> Told:
        """One check. One that was taken before is no news."""
        kept = self._kept
        if check.time <= kept.newest.get(check.scope, 0):
            return Told()
        kept.newest[check.scope], self._changed = check.time, True
        if check.problems:
            since, until = (kept.since, kept.until) if kept.opened else (check.since, check.until)
            before = (kept.opened, kept.problems, kept.worst)
            kept.opened = kept.opened or now
            kept.since, kept.until = min(since, check.since), max(until, check.until)
            kept.problems, kept.worst = max(kept.problems, check.problems), check.worst
            return Told() if before == (kept.opened, kept.problems, kept.worst) else self._tell(now)
        if not kept.opened or check.since > kept.since or check.until < kept.until:
            return Told()
        made = self._tell(now, "valid-again")
        kept.opened = kept.problems = 0
        return made

    def _tell(self, now: int, why: str = "") -> Told:
        kept = self._kept
        kept.sequence = max(kept.sequence + 1, now)
        detail = (("component", RECORD), ("count", count(kept.problems, "place")), ("reason", kept.worst))
        own = Own(CODE, "record", "", RECORD, "critical", RECORD, detail)
        finding, part = told(own, Standing(kept.opened, kept.sequence, not why, why, kept.problems), now)
        return Told((finding,), (part,))
