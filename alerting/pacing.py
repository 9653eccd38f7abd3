"""How often a chat service is spoken to: token buckets over a given clock, so that it never has to say no. Pure.

    pacing = Pacing(channel_of)
    ledger.next_call(now, content, pacing)           what has no room now is put off, and rendered when it goes
    pacing.limited("post", "C0123", now, seconds)    the service said no all the same: half the rate for five minutes

A service that is spoken to too often hides messages without saying so, and may switch the sender off: so the limits are
kept on this side. Edits of one workspace share one budget; a part of it is kept for what resolves or is critical.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from alerting.calls import Step, StepKind
from alerting.quiet import Quiet
from alerting.routing import FALLBACK, team_of_destination
from verifier.times import MINUTE, SECOND

POSTS_PER_SECOND: Final = 0.9
"""New messages of one channel; the documented limit is about 1."""
POST_BURST: Final = 3.0
WORKSPACE_POSTS_PER_SECOND: Final = 4.0
"""New messages of all channels; the documented limit is several hundred a minute."""
WORKSPACE_BURST: Final = 60.0
WHOLE_EDITS: Final = (20 / 60, 5.0)
"""Edits of whole incidents: (per second, burst). The documented limit of all edits is 50 a minute and more."""
SLICE_EDITS: Final = (22 / 60, 7.0)
"""Edits of teams' slices."""
RESERVED_EDITS: Final = (8 / 60, 4.0)
"""Edits kept for what resolves, and for what is critical and finds its own budget empty."""
SEARCHES: Final = (40 / 60, 10.0)
"""Searches of channels (Tier 3)."""
FALLBACK_EDITS: Final = (1 / 60, 1.0)
"""News of one incident where it is told elsewhere: each is a message there."""
HALVED_FOR: Final = 5 * MINUTE
_RESERVED_RANK: Final = 4
_FORGET_OVER: Final = 2_000
"""Buckets of channels kept; full ones are forgotten first, for they know nothing."""


class Bucket:
    """Tokens that come back at a rate. Times in microseconds."""

    def __init__(self, rate: float, burst: float, now: int) -> None:
        self._rate, self._burst = rate, burst
        self._tokens, self._at = burst, now
        self._blocked_until = 0
        self._halved_until = 0

    def wait(self, now: int) -> int:
        """Microseconds until there is a token."""
        self._refill(now)
        short = 1.0 - self._tokens
        missing = 0 if short <= 1e-9 else int(short / self._pace(now) * SECOND) + 1
        return max(missing, self._blocked_until - now, 0)

    def take(self) -> None:
        """Use one; only after `wait` was 0."""
        self._tokens = max(0.0, self._tokens - 1.0)

    def limited(self, now: int, retry_after: int) -> None:
        """The service said no: nothing before `retry_after` is over, and then slowly."""
        self._refill(now)
        self._tokens = min(self._tokens, 1.0)
        self._blocked_until = max(self._blocked_until, now + retry_after)
        self._halved_until = max(self._halved_until, now + HALVED_FOR)

    def is_full(self, now: int) -> bool:
        """Nothing would be lost by forgetting it."""
        self._refill(now)
        return self._tokens >= self._burst and now >= max(self._blocked_until, self._halved_until)

    def _pace(self, now: int) -> float:
        return self._rate / 2 if now < self._halved_until else self._rate

    def _refill(self, now: int) -> None:
        passed = max(0, now - self._at)
        self._at = max(self._at, now)
        self._tokens = min(self._burst, self._tokens + passed / SECOND * self._pace(now))


class Pacing:
    """Implements `Pace` with the budgets of one workspace."""

    def __init__(self, channel_of: Callable[[str], str], quiet: Quiet | None = None) -> None:
        """`channel_of`: destination -> the channel it is told in. `quiet`: hours in which what is not urgent waits."""
        self._channel_of = channel_of
        self._quiet = quiet
        self._buckets: dict[tuple[str, str], Bucket] = {}

    def wait(self, step: Step, now: int) -> int:
        """See `Pace.wait`."""
        if step.destination == FALLBACK:
            return self._fallback(step, now)
        hush = self._hush(step, now)
        if hush:
            return hush
        if step.kind == "edit":
            return self._edit(step, now)
        return _take_all(self._needed(step, now), now)

    def limited(self, kind: StepKind, channel: str, now: int, retry_after: int) -> None:
        """The service said no to a step of this kind."""
        if kind in ("post", "reply"):
            names = [("channel", channel), ("posts", "")]
        elif kind == "edit":
            names = [("edit", "whole"), ("edit", "slice"), ("edit", "reserved")]
        else:
            names = [("find", "")]
        for name in names:
            self._bucket(name, now).limited(now, retry_after)

    def _hush(self, step: Step, now: int) -> int:
        """New messages wait for the morning; edits make no noise."""
        if self._quiet is None or step.kind not in ("post", "reply"):
            return 0
        return self._quiet.wait(step.rank, now)

    def _needed(self, step: Step, now: int) -> list[Bucket]:
        if step.kind == "find":
            return [self._bucket(("find", ""), now)]
        channel = step.channel or self._channel_of(step.destination)
        return [self._bucket(("channel", channel), now), self._bucket(("posts", ""), now)]

    def _edit(self, step: Step, now: int) -> int:
        own = self._bucket(("edit", "slice" if team_of_destination(step.destination) else "whole"), now)
        wait = _take_all([own], now)
        if wait and (step.resolved or step.rank >= _RESERVED_RANK):
            return min(wait, _take_all([self._bucket(("edit", "reserved"), now)], now))
        return wait

    def _fallback(self, step: Step, now: int) -> int:
        if step.kind == "edit" and not step.resolved:
            return _take_all([self._bucket(("fallback", step.delivery), now)], now)
        return 0

    def _bucket(self, name: tuple[str, str], now: int) -> Bucket:
        found = self._buckets.get(name)
        if found is None:
            self._forget(now)
            rate, burst = _RATES.get(name) or _RATES[name[0], ""]
            found = self._buckets[name] = Bucket(rate, burst, now)
        return found

    def _forget(self, now: int) -> None:
        if len(self._buckets) >= _FORGET_OVER:
            self._buckets = {name: bucket for name, bucket in self._buckets.items() if not bucket.is_full(now)}


_RATES: Final = {
    ("channel", ""): (POSTS_PER_SECOND, POST_BURST),
    ("posts", ""): (WORKSPACE_POSTS_PER_SECOND, WORKSPACE_BURST),
    ("edit", "whole"): WHOLE_EDITS,
    ("edit", "slice"): SLICE_EDITS,
    ("edit", "reserved"): RESERVED_EDITS,
    ("find", ""): SEARCHES,
    ("fallback", ""): FALLBACK_EDITS,
}


def _take_all(buckets: list[Bucket], now: int) -> int:
    wait = max(bucket.wait(now) for bucket in buckets)
    if wait == 0:
        for bucket in buckets:
            bucket.take()
    return wait
