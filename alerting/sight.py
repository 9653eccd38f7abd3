"""Which shards are in sight: they gave a sign of life within a bound. Pure.

    sight = Sight(stale_after)
    sight.heard(shard, now)
    sight.changed(shards, now)          looks; True when the answers below are others than before
    sight.blind                         some shard is out of sight: nothing may be resolved
    sight.is_lost(3)                    it had the time to speak, and is silent for longer than the bound

After a restart nobody was heard, so `blind` is true until each has spoken; `is_lost` gives each the bound to speak, so
that a restart does not make every total preliminary for a moment. Without a bound (one process) all are in sight.
"""

from __future__ import annotations


class Sight:
    """Signs of life by shard."""

    def __init__(self, stale_after: int | None) -> None:
        self._after = stale_after
        self._heard: dict[int, int] = {}
        self._since: int | None = None
        """When this life began: the first instant it was told of."""
        self._lost: frozenset[int] = frozenset()
        self.blind = stale_after is not None
        """Some shard is out of sight."""

    def heard(self, shard: int, now: int) -> None:
        """A sign of life."""
        self._begin(now)
        self._heard[shard] = max(now, self._heard.get(shard, now))

    def is_lost(self, shard: int) -> bool:
        """Was it silent for longer than the bound, when it was looked last?"""
        return shard in self._lost

    def changed(self, shards: int, now: int) -> bool:
        """Look at `now`."""
        if self._after is None:
            return False
        start = self._begin(now)
        blind = any(now - self._heard.get(shard, now - self._after - 1) > self._after for shard in range(shards))
        lost = frozenset(shard for shard in range(shards) if now - self._heard.get(shard, start) > self._after)
        before = (self.blind, self._lost)
        self.blind, self._lost = blind, lost
        return before != (blind, lost)

    def next_due(self, shards: int) -> int | None:
        """When somebody may be lost who is not yet; None: nobody."""
        if self._after is None or self._since is None:
            return None
        times = [self._heard.get(shard, self._since) for shard in range(shards) if shard not in self._lost]
        return min(times) + self._after + 1 if times else None

    def _begin(self, now: int) -> int:
        if self._since is None:
            self._since = now
        return self._since
