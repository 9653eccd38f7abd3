"""How much one source may ask for: a rate, bodies at a time, and connections. Too much waits before it is refused.

    budget = Budget(rate=100, burst=200, patience=20)
    budget.take("10.0.0.7", now)         0.0 at once, 1.5 after so many seconds, or Later(30): not at all, ask again

The API server sends a batch again five times and then drops it, so a slow answer is always better than a refusal; only
what would wait longer than a sender does is told when to come back (429, Retry-After). One source never takes the last
place from the others.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import msgspec

MAX_SOURCES: Final = 10_000
"""Sources that are remembered; beyond it those that were quiet longest are forgotten."""


class Later(msgspec.Struct, frozen=True):
    """Too much: ask again after so many seconds."""

    seconds: float


class _Bucket(msgspec.Struct):
    level: float
    """Requests that may come at once; below 0 they are promised to those who wait."""
    at: float


class Budget:
    """Requests per second and source, as a bucket that fills at `rate` and holds `burst`."""

    def __init__(self, rate: float, burst: float, patience: float) -> None:
        """A request waits `patience` seconds at most."""
        self._rate, self._burst, self._patience = rate, burst, patience
        self._buckets: dict[str, _Bucket] = {}

    def take(self, source: str, now: float) -> float | Later:
        """Seconds to wait before one more request; `now` in seconds of a clock that never goes back."""
        bucket = self._buckets.pop(source, None) or _Bucket(self._burst, now)
        if len(self._buckets) >= MAX_SOURCES:
            del self._buckets[next(iter(self._buckets))]
        self._buckets[source] = bucket  # behind all others: the first one is the one that was quiet longest
        bucket.level = min(self._burst, bucket.level + (now - bucket.at) * self._rate)
        bucket.at = now
        wait = max(0.0, (1 - bucket.level) / self._rate)
        if wait > self._patience:
            return Later(wait - self._patience)
        bucket.level -= 1
        return wait


class Places:
    """Bodies that are read at a time: so many in all, one less for any single source, and a bounded number waiting."""

    def __init__(self, places: int, waiting: int) -> None:
        self._all = asyncio.Semaphore(places)
        self._each = max(1, places - 1)
        self._waiting = waiting
        self._of: dict[str, asyncio.Semaphore] = {}
        self._users: Counter[str] = Counter()

    def full(self, source: str) -> bool:
        """Whether too many of this source wait already."""
        return self._users[source] >= self._each + self._waiting

    @asynccontextmanager
    async def place(self, source: str) -> AsyncIterator[None]:
        """One place, once there is one."""
        self._users[source] += 1
        own = self._of.setdefault(source, asyncio.Semaphore(self._each))
        try:
            async with own, self._all:
                yield
        finally:
            self._users[source] -= 1
            if not self._users[source]:
                del self._users[source], self._of[source]


class Doorkeeper:
    """A factory of protocols that lets in so many connections in all, and so many of one address.

    The others are closed at once: an answer would cost more than it tells, and senders try again after a cut.
    """

    def __init__(
        self, make: Callable[[], asyncio.Protocol], most: int, of_one: int, turned: Callable[[], None]
    ) -> None:
        self._make, self._most, self._of_one, self._turned = make, most, of_one, turned
        self._open: Counter[str] = Counter()
        self._all = 0

    def __call__(self) -> asyncio.Protocol:
        """One more connection, not yet made."""
        return _Guest(self, self._make)

    def enters(self, address: str) -> bool:
        """Whether a connection from here may stay."""
        if self._all >= self._most or self._open[address] >= self._of_one:
            self._turned()
            return False
        self._all += 1
        self._open[address] += 1
        return True

    def leaves(self, address: str) -> None:
        """A connection that had entered has ended."""
        self._all -= 1
        self._open[address] -= 1
        if not self._open[address]:
            del self._open[address]


class _Guest(asyncio.Protocol):
    """Hands everything on to the protocol behind it, once the connection may stay."""

    def __init__(self, keeper: Doorkeeper, make: Callable[[], asyncio.Protocol]) -> None:
        self._keeper, self._make = keeper, make
        self._behind: asyncio.Protocol | None = None
        self._address = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        peer = transport.get_extra_info("peername")
        self._address = str(peer[0]) if isinstance(peer, tuple) and peer else ""
        if not self._keeper.enters(self._address):
            if isinstance(transport, asyncio.Transport):
                transport.abort()
            return
        self._behind = self._make()
        self._behind.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._behind is not None:
            self._keeper.leaves(self._address)
            self._behind.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._behind is not None:
            self._behind.data_received(data)

    def eof_received(self) -> bool | None:
        return self._behind.eof_received() if self._behind is not None else None

    def pause_writing(self) -> None:
        if self._behind is not None:
            self._behind.pause_writing()

    def resume_writing(self) -> None:
        if self._behind is not None:
            self._behind.resume_writing()
