"""Positions of a consumer group on their way to the broker: acknowledged, and not stored yet. Both engines use it.

    positions = Positions(commit)
    positions.begin(slots)                    # these partitions are ours
    positions.ack(slot, 18)                   # everything before 18 is done with
    await positions.store()                   # now; `run` does it every second
    positions.end()                           # nothing is ours any more

Only what was acknowledged under the present arrangement of the group is stored: a position from before a rebalance
would set back whoever owns the partition now.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final

from streams.engine.broker import Slot

COMMIT_SECONDS: Final = 1.0
"""Between two stores; also what a killed process repeats at most, beside what was under way."""

Commit = Callable[[Mapping[Slot, int]], Awaitable[bool]]
"""Stores positions at the broker. False: not now, or not ours any more. Raises for what ends the process."""


class Positions:
    """One per source."""

    def __init__(self, commit: Commit) -> None:
        self._commit = commit
        self._ours: frozenset[Slot] = frozenset()
        self._done: dict[Slot, int] = {}
        self._arrangement = 0
        self._storing = asyncio.Lock()

    def begin(self, slots: Collection[Slot]) -> None:
        """These are ours, and no others."""
        self._arrangement += 1
        self._ours = frozenset(slots)
        self._done.clear()

    def end(self) -> None:
        """Nothing is ours."""
        self.begin(())

    def ack(self, slot: Slot, position: int) -> None:
        """See `Source.ack`."""
        if slot in self._ours:
            self._done[slot] = position

    async def store(self) -> None:
        """Store what was acknowledged. Raises as `Commit`."""
        async with self._storing:
            done, self._done = self._done, {}
            if not done:
                return
            arrangement = self._arrangement
            is_stored = False
            try:
                is_stored = await self._commit(done)
            finally:
                if not is_stored and arrangement == self._arrangement:
                    self._done = done | self._done

    async def run(self) -> None:
        """Store every second, without end. Raises as `Commit`."""
        while True:
            await asyncio.sleep(COMMIT_SECONDS)
            await self.store()
