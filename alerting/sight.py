"""Which shards, and which clusters, are in sight: they gave a sign of life within a bound. Pure.

    sight = Sight(stale_after)
    sight.heard(shard, now)
    sight.changed(shards, now)          looks; True when the answers below are others than before
    sight.blind                         some shard is out of sight: nothing may be resolved
    sight.is_lost(3)                    it had the time to speak, and is silent for longer than the bound

After a restart nobody was heard, so `blind` is true until each has spoken; `is_lost` gives each the bound to speak, so
that a restart does not make every total preliminary for a moment. Without a bound (one process) all are in sight.

    feeds = Feeds(FEED_AFTER)
    feeds.seen("prod", at)
    feeds.changed(now, retired)         looks; True when `lost` is another than before
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from alerting.models import IncidentPart, ShardReached
from alerting.tally import is_live
from verifier.times import HOUR, MINUTE

FEED_AFTER: Final = 5 * MINUTE
"""A cluster whose pods were not heard of for so long is out of sight; its watcher speaks twice a minute."""


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

    @property
    def lost(self) -> frozenset[int]:
        """Shards that were silent for longer than the bound, when it was looked last."""
        return self._lost

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


class Reach:
    """The newest word of each shard about the trust epoch it has judged under."""

    def __init__(self) -> None:
        self.newest: dict[int, ShardReached] = {}

    def take(self, reached: ShardReached) -> bool:
        """Is it news?"""
        known = self.newest.get(reached.shard)
        if known is not None and (known.epoch, known.time) >= (reached.epoch, reached.time):
            return False
        self.newest[reached.shard] = reached
        return True

    def shards(self) -> int:
        """How many there are, as the newest word of any of them has it."""
        if not self.newest:
            return 0
        return max(self.newest.values(), key=lambda reached: (reached.time, reached.epoch, reached.shards)).shards

    def all_at(self, epoch: int, sight: Sight) -> bool:
        """Every shard is there. One that is not heard is unknown, never zero."""
        return bool(self.newest) and all(
            shard in self.newest and self.newest[shard].epoch >= epoch and not sight.is_lost(shard)
            for shard in range(self.shards())
        )


class Feeds:
    """When the pods of clusters were heard of last. A cluster that never was has no watcher, and is not missed."""

    def __init__(self, after: int) -> None:
        self._after = after
        self._last: dict[str, int] = {}
        self._silent: dict[str, int] = {}
        self._due: int | None = None
        self.lost: dict[str, int] = {}
        """Cluster -> when it was heard of last."""

    def seen(self, cluster: str, at: int) -> None:
        """A sign of life."""
        self._last[cluster] = max(at, self._last.get(cluster, at))
        if cluster in self._silent:
            self._due = 0
        elif self._due is None:
            self._due = at + self._after + 1

    def look_again(self) -> None:
        """Which clusters are retired may have changed."""
        self._due = 0 if self._last else None

    def changed(self, now: int, is_retired: Callable[[str], bool]) -> bool:
        """Look at `now`, when there may be something new to see. A cluster that is retired is not missed."""
        if self._due is None or now < self._due:
            return False
        before = self.lost
        for name, at in self._last.items():
            if at > now + HOUR:  # a clock that is wrong must not keep a cluster in sight
                self._last[name] = now
        self._silent = {name: at for name, at in self._last.items() if now - at > self._after}
        self.lost = {name: at for name, at in self._silent.items() if not is_retired(name)}
        spoken = (at for name, at in self._last.items() if name not in self._silent)
        oldest = min(spoken, default=None)
        self._due = None if oldest is None else oldest + self._after + 1
        return self.lost != before

    def next_due(self) -> int | None:
        """When there may be something new to see."""
        return self._due


class Unseen(NamedTuple):
    """What of an incident is out of sight."""

    clusters: tuple[tuple[str, int, int], ...] = ()
    """(cluster, last heard of, containers there)."""
    all: bool = False
    """Nothing of it is in sight."""


def unseen_of(parts: Iterable[IncidentPart], lost: Mapping[str, int], *, blind: bool) -> Unseen:
    """`lost`: clusters out of sight; `blind`: a shard is, which may hold anything of it."""
    if not lost:
        return Unseen(all=blind)
    containers, live = dict[str, int](), set[str]()
    for part in parts:
        live.update(_alive(part))
        if part.cluster in lost:
            containers[part.cluster] = containers.get(part.cluster, 0) + part.containers
    found = tuple((cluster, lost[cluster], number) for cluster, number in sorted(containers.items()))
    return Unseen(found, all=blind or (bool(found) and live <= containers.keys()))


def _alive(part: IncidentPart) -> Iterator[str]:
    if is_live(part):
        yield part.cluster
