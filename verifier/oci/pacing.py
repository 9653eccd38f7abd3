"""How often a host is asked: a rate, and a budget of what it counts as pulls. Pure; the instant is an argument.

    pace = Pace(per_second=20)
    pace.wait(now)                            seconds to wait before the request that is made now
    budget = Budget(parse_quota("50/6h"))
    if not budget.blocked(now): budget.spend(now)
    budget.learn(reply.headers, now)          what the host itself says is left

Docker Hub counts GETs of manifests against an account or an address (100 in six hours without an account), says what is
left in `ratelimit-remaining`, and counts no HEAD. The nodes that pull images live on the same budget: revet takes its
own share at most, and leaves the last tenth of the host's count alone.
"""

from __future__ import annotations

import re
from collections import deque
from typing import Final, NamedTuple, Protocol

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_QUOTA: Final = re.compile(r"([0-9]{1,7})/([0-9]{1,4})?([smhd])")
_COUNT: Final = re.compile(r"\s*([0-9]{1,9})\s*(?:;.*)?")
ASK_AGAIN: Final = 900.0
"""Longest wait that a spent budget asks for, seconds: then a HEAD, which costs nothing, says how it stands."""
RESERVED: Final = 10
"""One of so many pulls that a host grants is left to those who pull images."""


class Quota(NamedTuple):
    """So many in so many seconds."""

    most: int
    seconds: int


def parse_quota(text: str) -> Quota:
    """`100/6h`, `5000/d`, `10/30m`.

    Raises:
        ValueError: it is none.
    """
    found = _QUOTA.fullmatch(text.strip())
    if found is None:
        raise ValueError("expected NUMBER/TIME, such as 100/6h")
    return Quota(int(found[1]), int(found[2] or 1) * _UNITS[found[3]])


class Allowance(Protocol):
    """Who else has a say in what a registry may cost: the other processes that spend of the same budget."""

    async def take(self, registry: str) -> float:
        """Take one pull of a registry: seconds to wait before it is asked for again; 0: it is taken, and has to be
        made now. A registry without a budget is never waited for. Raises nothing.
        """


class Pace:
    """A rate with a burst of one second."""

    def __init__(self, per_second: float) -> None:
        self._gap = 1.0 / per_second if per_second else 0.0
        self._next = 0.0

    def wait(self, now: float) -> float:
        """Takes the next place in the row; seconds until it is reached."""
        if not self._gap:
            return 0.0
        place = max(self._next, now - 1.0)
        self._next = place + self._gap
        return max(0.0, place - now)

    def has_room(self, now: float) -> bool:
        """Takes the next place if it is reached already; else leaves it."""
        if self._gap and max(self._next, now - 1.0) > now:
            return False
        self.wait(now)
        return True


class Budget:
    """What may be spent of a quota, counted here, and held against what the host says."""

    def __init__(self, quota: Quota | None = None) -> None:
        self._quota = quota
        self._spent: deque[float] = deque()
        self._remaining: int | None = None
        self._limit = 0
        self._told = float("-inf")

    @property
    def counts(self) -> bool:
        """Whether anything limits this host."""
        return self._quota is not None or self._remaining is not None

    def blocked(self, now: float) -> float:
        """Seconds to wait before the next one that counts; 0: now."""
        self._forget(now)
        waits = [0.0]
        if self._quota is not None and len(self._spent) >= self._quota.most:
            first = self._spent[0] if self._spent else now
            waits.append(first + self._quota.seconds - now)
        if self._remaining is not None and self._remaining <= self._limit // RESERVED:
            waits.append(self._told + ASK_AGAIN - now)
        return min(max(waits), ASK_AGAIN)

    def spend(self, now: float) -> None:
        """One that counts is being made."""
        if self._quota is not None:
            self._spent.append(now)
        if self._remaining is not None:
            self._remaining -= 1

    def learn(self, limit: str, remaining: str, now: float) -> None:
        """From an answer's `ratelimit-limit` and `ratelimit-remaining`; empty where it had none."""
        left, whole = _COUNT.fullmatch(remaining), _COUNT.fullmatch(limit)
        if left is None:
            return
        self._remaining = int(left[1])
        self._limit = int(whole[1]) if whole else self._limit
        self._told = now

    def _forget(self, now: float) -> None:
        if self._quota is not None:
            while self._spent and self._spent[0] <= now - self._quota.seconds:
                self._spent.popleft()
        if self._remaining is not None and now - self._told >= ASK_AGAIN:
            # Nobody knows any more: one may be tried, behind a HEAD that says how it stands.
            self._remaining, self._told = max(self._remaining, self._limit // RESERVED + 1), now
