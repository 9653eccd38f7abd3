"""Quiet hours: what is not urgent waits for their end. Pure; the zone's rules come from the time zone database.

quiet = Quiet.read("22:00-07:00 Europe/Berlin", below="high")
quiet.wait(rank, now)        microseconds until it may make a noise; 0: now
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from alerting.findings import severity_rank
from alerting.models import Severity
from verifier.times import SECOND

_FORM: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)(?: ([A-Za-z0-9_+/-]+))?")


class Quiet:
    """Hours of every day, minutes since midnight in a zone; over midnight where the end is not behind the begin."""

    def __init__(self, begin: int, end: int, zone: ZoneInfo, below: Severity) -> None:
        """`below`: from this severity on nothing waits; `critical` never does."""
        self._begin, self._end, self._zone = begin, end, zone
        self._rank = min(severity_rank(below), severity_rank("critical"))

    @classmethod
    def read(cls, text: str, below: Severity = "high") -> Quiet:
        """Read `HH:MM-HH:MM ZONE`; without a zone UTC.

        Raises:
            ValueError: it is none, or the zone is unknown.
        """
        found = _FORM.fullmatch(text)
        if found is None:
            raise ValueError("expected HH:MM-HH:MM and a time zone")
        hours = [int(part) for part in found.groups()[:4]]
        begin, end = hours[0] * 60 + hours[1], hours[2] * 60 + hours[3]
        if begin == end:
            raise ValueError("expected two different times: a whole day of quiet would be silence")
        try:
            zone = ZoneInfo(found[5] or "UTC")
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError("the time zone is not known here") from None
        return cls(begin, end, zone, below)

    def wait(self, rank: int, now: int) -> int:
        """Microseconds until a message of this severity may make a noise."""
        if rank >= self._rank:
            return 0
        local = datetime.fromtimestamp(now / SECOND, UTC).astimezone(self._zone)
        minute = local.hour * 60 + local.minute
        if not self._holds(minute):
            return 0
        end = local.replace(hour=self._end // 60, minute=self._end % 60, second=0, microsecond=0)
        if minute >= self._end:
            end += timedelta(days=1)
        return max(1, int(end.timestamp() * SECOND) - now)

    def _holds(self, minute: int) -> bool:
        if self._begin < self._end:
            return self._begin <= minute < self._end
        return minute >= self._begin or minute < self._end
