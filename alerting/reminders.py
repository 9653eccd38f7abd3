"""When an incident that nobody takes is said again, and when it goes further. Pure; all of it stored due-times.

begin(head, now)          somebody was told, or it became worse: ask again later
take(head, now)           somebody acknowledged: leave them alone, but not for ever
fire(head, now)           it is due: what to say, and when again
"""

from __future__ import annotations

from typing import Final, NamedTuple

from alerting.held import Head
from alerting.models import Severity
from verifier.times import HOUR, MINUTE

FIRST: Final[dict[Severity, int]] = {"critical": 15 * MINUTE, "high": HOUR}
"""Unacknowledged for so long: said again below the message. Other severities are not."""
LONGEST: Final[dict[Severity, int]] = {"critical": 4 * HOUR, "high": 8 * HOUR}
"""Each wait is twice the one before, up to this."""
ACKNOWLEDGED_FOR: Final[dict[Severity, int]] = {"critical": 8 * HOUR, "high": 24 * HOUR}
"""An acknowledgement holds so long while anything is left."""
ESCALATE_AT: Final = 2
"""The reminder with which a critical incident goes to the fallback as well."""


class Reminder(NamedTuple):
    """What is due."""

    number: int
    escalates: bool


def begin(head: Head, now: int) -> None:
    """Somebody was told. What runs already goes on: news must not put a reminder off."""
    if head.remind_due is None:
        head.reminded = 0
        head.remind_due = _after(head, now, FIRST)


def restart(head: Head, now: int, *, wanted: bool) -> None:
    """It became worse, or came back: from the beginning."""
    head.remind_due = None
    if wanted:
        begin(head, now)


def take(head: Head, now: int, *, wanted: bool) -> None:
    """Somebody acknowledged."""
    head.reminded = 0
    head.remind_due = _after(head, now, ACKNOWLEDGED_FOR) if wanted else None


def stop(head: Head) -> None:
    """It is over."""
    head.remind_due = None


def fire(head: Head, now: int) -> Reminder:
    """It is due: once, also when it is late. An acknowledgement that is over counts no more."""
    if head.state == "acknowledged":
        head.state, head.acknowledged_by, head.void_before = "open", "", now
        head.reminded = 0
    head.reminded += 1
    first, longest = FIRST.get(head.severity, HOUR), LONGEST.get(head.severity, HOUR)
    head.remind_due = now + min(first * 2 ** min(head.reminded, 16), longest)
    return Reminder(head.reminded, head.severity == "critical" and head.reminded >= ESCALATE_AT)


def _after(head: Head, now: int, waits: dict[Severity, int]) -> int | None:
    wait = waits.get(head.severity)
    return None if wait is None else now + wait
