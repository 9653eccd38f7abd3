"""Audit events that an API server gave up, or that never came: one finding per API server. Pure.

    losses = Losses()
    told = losses.counted(Counted("prod-eu", "cp-1", time, started, given_up, missing), now)
    told = losses.tick(now)                     closes it when an hour was quiet

What an API server gave up is its own absolute count, so that a receiver that was away, or a new one, misses none of it
and counts none twice. A process that starts anew counts from 0: that is no loss, and what it gives up from then on is.
The first word of a process that was there before anybody looked is where counting begins.

What is only missing may be late: it is lost when it has been missing without a break for `LATE`, at several looks.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from alerting.ownfindings import Own, Standing, Told, told
from alerting.text import count, utc
from verifier.canonical import canonical_json
from verifier.times import HOUR, MINUTE

CODE: Final = "visibility-lost"
QUIET: Final = HOUR
"""Time without a further loss after which the finding closes."""
LATE: Final = 5 * MINUTE
"""An API server gives a batch up after 75 to 100 seconds; what is still on its way after this time is not."""
LOOKS: Final = 3
"""Looks that have to agree: two of them alone may each have met another delay."""
MAX_SOURCES: Final = 10_000
"""API servers that are followed; more come from somebody who makes names up."""
MAX_STARTS: Final = 8
"""Processes of one API server that are remembered, the newest ones."""

_GIVEN_UP: Final = "were given up by the API server"
_MISSING: Final = "were sent and never came"


class Counted(msgspec.Struct, frozen=True):
    """One look at the counters of an API server."""

    cluster: str
    server: str
    time: int
    """Of the look, by the clock of whoever looked."""
    started: int
    """When that process began; 0: it does not say."""
    given_up: int
    missing: int


class _Kept(msgspec.Struct):
    """What has to survive a restart."""

    cluster: str
    server: str
    time: int
    starts: dict[int, int]
    """When a process began -> what it had given up."""
    late_since: int = 0
    """Of the look at which something began to be missing; 0: nothing is."""
    late_looks: int = 0
    late_least: int = 0
    late_told: int = 0
    """How many of what is missing now were told."""
    opened: int = 0
    last: int = 0
    number: int = 0
    """Lost since it opened; 0: it is closed."""
    occasions: int = 0
    """Looks since it opened at which more was lost."""
    reason: str = ""
    sequence: int = 0


class Losses:
    """Every API server whose counters were ever told. One owner drives it."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}
        self._dirty: set[str] = set()

    def counted(self, seen: Counted, now: int) -> Told:
        """A look. One that is behind what is known changes nothing: it was told before."""
        key = canonical_json([seen.cluster, seen.server]).decode()
        kept = self._kept.get(key)
        if kept is None:
            if len(self._kept) < MAX_SOURCES:
                self._kept[key] = _Kept(seen.cluster, seen.server, seen.time, {seen.started: seen.given_up})
                self._dirty.add(key)
            return Told()
        if seen.time <= kept.time:
            return Told()
        gone, late = _given_up(kept, seen), _never_came(kept, seen)
        kept.time = seen.time
        self._dirty.add(key)
        if not gone and not late:
            return Told()
        if not kept.number:
            kept.opened = now
        kept.number += gone + late
        kept.occasions += 1
        kept.last = max(kept.last, now)
        kept.reason = _GIVEN_UP if gone else kept.reason or _MISSING
        return _tell(kept, now)

    def tick(self, now: int) -> Told:
        """Close what was quiet for long enough."""
        made = []
        for key in sorted(self._kept):
            kept = self._kept[key]
            if kept.number and now - kept.last > QUIET:
                made.append(_tell(kept, now, "quiet"))
                kept.number, kept.occasions, kept.reason = 0, 0, ""
                self._dirty.add(key)
        return Told(tuple(f for one in made for f in one.findings), tuple(p for one in made for p in one.parts))

    def next_due(self) -> int | None:
        """When `tick` has something to do."""
        return min((kept.last + QUIET + 1 for kept in self._kept.values() if kept.number), default=None)

    def dirty(self) -> dict[str, bytes]:
        """Rows that changed since `saved`."""
        return {key: msgspec.msgpack.encode(self._kept[key]) for key in sorted(self._dirty)}

    def saved(self) -> None:
        """What `dirty` gave is stored."""
        self._dirty.clear()

    def load(self, rows: Iterable[tuple[str, bytes]]) -> None:
        """What `dirty` once gave.

        Raises:
            msgspec.DecodeError: it is something else.
        """
        self._kept = {key: msgspec.msgpack.decode(value, type=_Kept) for key, value in rows}


def _given_up(kept: _Kept, seen: Counted) -> int:
    """How many more were given up. A process that was not known, and was there when somebody looked before, is another
    one behind the same name: what it gave up is not of now.
    """
    before = kept.starts.pop(seen.started, None)
    if before is None:
        before = 0 if seen.started > kept.time else seen.given_up
    kept.starts[seen.started] = seen.given_up
    while len(kept.starts) > MAX_STARTS:
        del kept.starts[next(iter(kept.starts))]
    return max(0, seen.given_up - before)


def _never_came(kept: _Kept, seen: Counted) -> int:
    """How many more of what is missing are lost, not late."""
    if not seen.missing:
        kept.late_since = kept.late_looks = kept.late_least = kept.late_told = 0
        return 0
    if not kept.late_looks:
        kept.late_since, kept.late_least = seen.time, seen.missing
    kept.late_looks += 1
    kept.late_least = min(kept.late_least, seen.missing)
    if kept.late_looks < LOOKS or seen.time - kept.late_since < LATE:
        return 0
    lost = max(0, kept.late_least - kept.late_told)
    kept.late_told += lost
    kept.late_since, kept.late_looks, kept.late_least = seen.time, 1, seen.missing
    return lost


def _tell(kept: _Kept, now: int, why: str = "") -> Told:
    kept.sequence = max(kept.sequence + 1, now)
    name = f"{kept.cluster}/{kept.server}" if kept.server else kept.cluster
    detail = (
        ("component", name), ("count", count(kept.number, "event")),
        ("reason", kept.reason), ("since", utc(kept.opened)),
    )  # fmt: skip
    own = Own(CODE, "audit feed", name, name, "high", name, detail, cluster=kept.cluster)
    finding, part = told(own, Standing(kept.opened, kept.sequence, not why, why, kept.occasions), now)
    return Told((finding,), (part,))
