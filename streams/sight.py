"""When a feed of a cluster was seen, and when revet was blind. Pure.

    row = FeedRow.begun(since, time); row = row.seen(since, time)
    row.around(instant)          the stretch of sight it lies in; None: before the first one, or between two

A collector says "seen without a break since A, now is B" now and then (`FeedSeen`), and several of them may see one
feed: what they saw together is the union of their stretches.
"""

from __future__ import annotations

from typing import Final

import msgspec

from verifier.models import Micros
from verifier.times import MINUTE

BRIDGED: Final[Micros] = MINUTE
"""A shorter break loses nothing: an API server tries to deliver for 75 s and more, and a watch that begins anew lists
everything."""
DELIVERED: Final[Micros] = MINUTE // 2
"""With the feed alive, an audit event is here so long after its instant: the API server collects a batch for 30 s at
most (`--audit-webhook-batch-max-wait`). Sight that ended before may have missed it."""
STRETCHES_KEPT: Final = 64
"""Of one feed. The first is always kept: it tells since when the cluster is known at all."""

Stretch = tuple[Micros, Micros]


class FeedRow(msgspec.Struct, array_like=True, frozen=True):
    """Sight of one feed of one cluster: the newest stretch, and those before it."""

    since: Micros
    last: Micros
    earlier: tuple[Stretch, ...] = ()
    """Oldest first; each ended more than `BRIDGED` before the next began."""

    @property
    def first(self) -> Micros:
        """The first sight of this feed ever."""
        return self.earlier[0][0] if self.earlier else self.since

    def seen(self, since: Micros, time: Micros) -> FeedRow:
        """With what one collector saw: unbroken from `since` until `time`. They may tell in any order."""
        joined: list[Stretch] = []
        for begin, end in sorted([*self.earlier, (self.since, self.last), (since, max(since, time))]):
            if joined and begin <= joined[-1][1] + BRIDGED:
                joined[-1] = (joined[-1][0], max(joined[-1][1], end))
            else:
                joined.append((begin, end))
        if len(joined) > STRETCHES_KEPT:
            del joined[1 : 1 + len(joined) - STRETCHES_KEPT]
        return FeedRow(*joined[-1], tuple(joined[:-1]))

    def around(self, instant: Micros) -> Stretch | None:
        """The stretch an instant lies in; the newest has no end yet. None: nothing was seen then."""
        for begin, end in ((self.since, None), *reversed(self.earlier)):
            if begin <= instant:
                return (begin, self.last if end is None else end) if end is None or instant <= end else None
        return None
