"""Did everything arrive? What an API server says it sent, compared with what a receiver says it got. Pure.

    before, after = read_counters(metrics_then), read_counters(metrics_now)        GET /metrics of one API server
    compare(before, after, received=after_count - before_count, under_way=400)     Delivery(missing=0, given_up=0, …)
    Compared().look(read_counters(metrics_now), received=count)                    the same since the first look

An API server gives events up silently: after five tries (75 to 100 s), when its buffer is full, when it dies.
`apiserver_audit_error_total` counts the first two; a process that started anew counts from 0, and what its old buffer
held is unknown. So a restart is said, and never taken for a gap or for none.
"""

from __future__ import annotations

import math
import re
from typing import Final, Literal

import msgspec

MAX_METRICS: Final = 64 * 1024 * 1024
"""Characters of a page of metrics; that of a large API server has some 10 million."""
UNDER_WAY: Final = 400 * 2
"""Events that may be in the API server's buffer and on the wire: two full batches."""

_SAMPLE: Final = re.compile(
    r"^(apiserver_audit_event_total|apiserver_audit_error_total|process_start_time_seconds)(\{[^}\n]*\})? (\S+)",
    re.MULTILINE,
)


class Counters(msgspec.Struct, frozen=True):
    """Of one API server process."""

    sent: int
    """`apiserver_audit_event_total`: events made, of which each backend was given a copy."""
    given_up: int
    """`apiserver_audit_error_total` of all plugins: events that no backend will see."""
    started: float | None
    """Seconds: when the process began; None where it does not say."""


Word = Literal["whole", "missing", "given-up", "restarted", "unknown"]


class Delivery(msgspec.Struct, frozen=True):
    """What became of the events between two looks."""

    word: Word
    sent: int
    received: int
    missing: int
    """Events that should have come and did not, beyond what may be under way; of these `given_up` are known lost."""
    given_up: int


def read_counters(text: str) -> Counters | None:
    """The counters of a page in Prometheus' text format; None when it is not an API server's. Raises nothing."""
    sent = given_up = 0
    started: float | None = None
    found = False
    for name, _labels, value in _SAMPLE.findall(text[:MAX_METRICS]):
        try:
            number = float(value)
        except ValueError:
            return None
        if not math.isfinite(number) or number < 0:
            return None
        if name == "apiserver_audit_event_total":
            found, sent = True, sent + int(number)
        elif name == "apiserver_audit_error_total":
            given_up += int(number)
        else:
            started = number
    return Counters(sent, given_up, started) if found else None


def compare(before: Counters | None, after: Counters | None, received: int, under_way: int = UNDER_WAY) -> Delivery:
    """What was sent between two looks at one API server, and what of it came.

    Args:
        before: the earlier look.
        after: the later one; None when the server could not be asked.
        received: events of that server that the receiver took between the looks.
        under_way: events that may be late without being lost.
    """
    if before is None or after is None:
        return Delivery("unknown", 0, received, 0, 0)
    anew = before.started != after.started or after.sent < before.sent or after.given_up < before.given_up
    if anew:
        return Delivery("restarted", after.sent, received, 0, after.given_up)
    sent, given_up = after.sent - before.sent, after.given_up - before.given_up
    missing = max(0, sent - received - under_way)
    if given_up:
        return Delivery("given-up", sent, received, max(missing, given_up), given_up)
    return Delivery("missing" if missing else "whole", sent, received, missing, 0)


class Compared:
    """One API server process since it was first looked at. What is late is missing for as long as it is late."""

    def __init__(self) -> None:
        self._first: Counters | None = None
        self._before = 0

    def look(self, counters: Counters | None, received: int) -> Delivery:
        """What became of the events since the first look.

        Args:
            counters: of now; None when the server could not be asked: the next look says what is known by then.
            received: events of that server that the receiver took since it was started.
        """
        if self._first is None or counters is None:
            self._begin(counters, received)
            return Delivery("unknown", 0, 0, 0, 0)
        found = compare(self._first, counters, received - self._before)
        if found.word == "restarted":  # what its old buffer held nobody knows
            self._begin(counters, received)
        return found

    def _begin(self, counters: Counters | None, received: int) -> None:
        if counters is not None:
            self._first, self._before = counters, received
