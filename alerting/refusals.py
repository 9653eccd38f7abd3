"""Entries of the trust log that were refused: one finding for the log, however many there are. Pure.

    refusals = Refusals()
    told = refusals.refused(position, place, reason, now)
    told = refusals.tick(now)                   closes it when 24 hours were quiet

The log is read whole at every start; positions tell what was told already. Many refused entries are one incident, so
that a flood of forged ones hides nothing else; each is a dead letter of its own.
"""

from __future__ import annotations

from typing import Final

import msgspec

from alerting.ownfindings import OneRow, Own, Standing, Told, told
from alerting.text import count
from verifier.times import DAY

CODE: Final = "trust-refused"
LOG: Final = "the trust log"
QUIET: Final = DAY
"""Time without a refused entry after which the finding closes."""


class _Kept(msgspec.Struct):
    """What has to survive a restart."""

    position: int = -1
    """Of the newest that was told."""
    opened: int = 0
    last: int = 0
    number: int = 0
    """Since it opened; 0: it is closed."""
    place: str = ""
    reason: str = ""
    sequence: int = 0


class Refusals(OneRow[_Kept]):
    """What was refused so far."""

    def __init__(self) -> None:
        super().__init__(_Kept())

    def refused(self, position: int, place: str, reason: str, now: int) -> Told:
        """One refused entry. What was told before is no news. Its time is not asked: whoever forged it chose it."""
        kept = self._kept
        if position <= kept.position:
            return Told()
        kept.position, self._changed = position, True
        if not kept.number:
            kept.opened = now
        kept.number += 1
        kept.last, kept.place, kept.reason = max(kept.last, now), place, reason
        return self._tell(now)

    def tick(self, now: int) -> Told:
        """Close it when it was quiet for long enough."""
        if not self._kept.number or now - self._kept.last <= QUIET:
            return Told()
        made = self._tell(now, "quiet")
        self._kept.number = 0
        return made

    def next_due(self) -> int | None:
        """When `tick` has something to do."""
        return self._kept.last + QUIET + 1 if self._kept.number else None

    def _tell(self, now: int, why: str = "") -> Told:
        kept = self._kept
        kept.sequence, self._changed = max(kept.sequence + 1, now), True
        detail = (
            ("component", LOG), ("count", count(kept.number, "entry", "entries")),
            ("place", kept.place), ("reason", kept.reason),
        )  # fmt: skip
        own = Own(CODE, "trust log", "", LOG, "critical", LOG, detail)
        finding, part = told(own, Standing(kept.opened, kept.sequence, not why, why, kept.number), now)
        return Told((finding,), (part,))
