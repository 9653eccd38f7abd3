"""The two clocks of a process. What decides is given an instant; these are read at the edges alone."""

from __future__ import annotations

import time


def wall_clock() -> int:
    """Microseconds since the Unix epoch."""
    return time.time_ns() // 1000


def steady_clock() -> int:
    """Microseconds that only grow: what must not depend on a clock that somebody sets back."""
    return time.monotonic_ns() // 1000
