"""When to tell: first post, edits, hold before resolved. All of it stored due-times over a given clock.

Waiting a little before the first post turns many parts into one message; editing less and less often keeps within what
a chat service allows; holding before `resolved` keeps rollouts from flapping.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from alerting.models import Severity
from verifier.times import DAY, MINUTE, SECOND

ROW_DELAY: Final = SECOND
"""Changed totals are gathered this long before the incident's row is written again."""

SAME_THREAD: Final = DAY
"""Reopened within this time after it was resolved: the same message; later: a new one. The incident is the same."""

KEEP_RESOLVED: Final = 90 * DAY
"""A resolved incident is forgotten after this time; its record stays."""


class Timing(NamedTuple):
    """Delays in microseconds."""

    from_cause: int
    """First post, when a trust event caused the incident."""
    first_post: int
    edits: tuple[int, int, int]
    """Least time between edits when the incident is younger than 2 minutes, than 30 minutes, older."""
    hold: int
    """How long nothing must be left before it is resolved."""


TIMINGS: Final[dict[Severity, Timing]] = {
    "critical": Timing(0, 5 * SECOND, (3 * SECOND, 30 * SECOND, 5 * MINUTE), 10 * MINUTE),
    "high": Timing(20 * SECOND, 20 * SECOND, (15 * SECOND, MINUTE, 5 * MINUTE), 10 * MINUTE),
    "medium": Timing(MINUTE, MINUTE, (MINUTE, 5 * MINUTE, 30 * MINUTE), 30 * MINUTE),
    "low": Timing(MINUTE, MINUTE, (MINUTE, 5 * MINUTE, 30 * MINUTE), 30 * MINUTE),
    "info": Timing(MINUTE, MINUTE, (MINUTE, 5 * MINUTE, 30 * MINUTE), 30 * MINUTE),
}


def earlier(due: int | None, other: int) -> int:
    """The earlier of two instants, of which the first may be never."""
    return other if due is None else min(due, other)


def has_come(due: int | None, now: int) -> bool:
    """Is it time? None: never."""
    return due is not None and due <= now


def first_post_delay(severity: Severity, *, caused: bool, paging: bool) -> int:
    """Delay of the first post; what wakes nobody is never in a hurry."""
    timing = TIMINGS[severity if paging else "low"]
    return timing.from_cause if caused else timing.first_post


def edit_interval(severity: Severity, age: int) -> int:
    """Least time between two edits of a message `age` microseconds after the incident opened."""
    young, middle, old = TIMINGS[severity].edits
    if age < 2 * MINUTE:
        return young
    return middle if age < 30 * MINUTE else old
