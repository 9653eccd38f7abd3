"""One budget of pulls for all fetchers: who may pull is decided by the order of one topic. Pure, but for `SharedPulls`.

    pulls = Pulls({"docker.io": parse_quota("50/6h")})
    pulls.fold(taken)                           every entry, in the order of the topic: is it granted?
    shared = SharedPulls(pulls, send, clock)    an `Allowance` for `RegistryPlace.share`

Before it pulls a fetcher writes that it takes some pulls, and waits until it has read its own entry. An entry counts
when what was granted within the window before it leaves room for it; else it is void. So the registry's limit holds
however many fetchers there are, over restarts, and wherever partitions move meanwhile; what was taken and not used in
time lapses, and counts as used. Clocks of fetchers have to agree within `USE_WITHIN`.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple

from streams.events import PullsTaken
from verifier.canonical import stable_id
from verifier.errors import PlaceError
from verifier.oci.pacing import ASK_AGAIN, Quota
from verifier.times import SECOND

USE_WITHIN: Final = 60 * SECOND
"""Pulls that were taken are made within this time or not at all."""
AT_A_TIME: Final = 8
"""Pulls that are taken by one entry, at most."""
SHARE: Final = 20
"""One entry takes no more than one of so many pulls of a quota: little lapses."""
HEARD_SECONDS: Final = 10.0
"""How long one's own entry is waited for."""
NOT_HEARD: Final = 30.0
"""Seconds after which it is tried again when the brokers did not take an entry, or did not show it."""


class _Grant(NamedTuple):
    time: int
    number: int
    id: str


class Pulls:
    """What was granted of each quota."""

    def __init__(self, quotas: Mapping[str, Quota]) -> None:
        self.quotas = quotas
        self._grants: dict[str, deque[_Grant]] = {registry: deque() for registry in quotas}
        self._last: dict[str, int] = dict.fromkeys(quotas, 0)

    def fold(self, taken: PullsTaken) -> bool:
        """Take the next entry; is it granted? Of a registry without a quota nothing is kept."""
        quota = self.quotas.get(taken.registry)
        if quota is None or taken.number < 1:
            return False
        # The order is the topic's: a clock that is behind does not put an entry before those that stand before it.
        now = self._last[taken.registry] = max(taken.time, self._last[taken.registry])
        grants = self._grants[taken.registry]
        while grants and grants[0].time <= now - _window(quota):
            grants.popleft()
        if any(one.id == taken.id for one in grants):
            return False  # written twice
        if sum(one.number for one in grants) + taken.number > quota.most:
            return False
        grants.append(_Grant(now, taken.number, taken.id))
        return True

    def room(self, registry: str, now: int) -> int:
        """Pulls that may be taken now."""
        quota = self.quotas[registry]
        used = sum(one.number for one in self._grants[registry] if one.time > now - _window(quota))
        return max(0, quota.most - used)

    def wait(self, registry: str, now: int) -> float:
        """Seconds until there may be room for one more; 0: there is."""
        quota = self.quotas[registry]
        if self.room(registry, now) or not self._grants[registry]:
            return 0.0 if quota.most else ASK_AGAIN
        oldest = next(one.time for one in self._grants[registry] if one.time > now - _window(quota))
        return min((oldest + _window(quota) - now) / SECOND, ASK_AGAIN)


def _window(quota: Quota) -> int:
    return quota.seconds * SECOND + USE_WITHIN


class _Held:
    """Pulls that this process has taken and not made."""

    def __init__(self) -> None:
        self.left, self.until = 0, 0
        self.lock = asyncio.Lock()


class SharedPulls:
    """Implements `verifier.oci.pacing.Allowance` for one process. Used in one event loop."""

    def __init__(
        self, pulls: Pulls, send: Callable[[PullsTaken], Awaitable[None]], clock: Callable[[], int], instance: str
    ) -> None:
        """`send`: writes an entry; back when it is durable. Raises PlaceError. `clock`: microseconds."""
        self._pulls, self._send, self._clock, self._instance = pulls, send, clock, instance
        self._held: defaultdict[str, _Held] = defaultdict(_Held)
        self._unheard: dict[str, asyncio.Future[bool]] = {}
        self._number = 0

    def fold(self, taken: PullsTaken) -> None:
        """The next entry of the topic, whoever wrote it."""
        granted = self._pulls.fold(taken)
        unheard = self._unheard.pop(taken.id, None)
        if unheard is not None and not unheard.done():
            unheard.set_result(granted)

    async def take(self, registry: str) -> float:
        """See `Allowance.take`."""
        if registry not in self._pulls.quotas:
            return 0.0
        held = self._held[registry]
        async with held.lock:
            now = self._clock()
            if not (held.left and now < held.until):
                held.left = 0
                if wait := self._pulls.wait(registry, now):
                    return wait
                number = min(AT_A_TIME, max(1, self._pulls.quotas[registry].most // SHARE))
                number = min(number, self._pulls.room(registry, now))
                granted = await self._take(registry, number, now)
                if granted is None:
                    return NOT_HEARD
                if not granted:
                    return self._pulls.wait(registry, self._clock()) or 1.0
                held.left, held.until = number, now + USE_WITHIN
            held.left -= 1
            return 0.0

    async def _take(self, registry: str, number: int, now: int) -> bool | None:
        """Whether an entry was granted; None: nobody knows, and what it took lapses."""
        self._number += 1
        id_ = stable_id("pulls", self._instance, registry, self._number, now)
        heard: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._unheard[id_] = heard
        try:
            async with asyncio.timeout(HEARD_SECONDS):
                await self._send(PullsTaken(id_, now, registry, number, self._instance))
                return await heard
        except (PlaceError, TimeoutError):
            return None
        finally:
            self._unheard.pop(id_, None)
