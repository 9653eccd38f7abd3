"""The state of one shard on the broker, as its owner sees it: claim it, read it, write rows, notice who else writes.

    log = ShardLog(link, STATE, 3, "judge-7f3a", clock)
    fold = await log.claim()                 # everything that stands before our claim
    await log.write(rows)                    # durable; raises ShardTaken when somebody claimed after us

One writer means that what we write stands right behind what we wrote before. Where it does not, somebody else wrote:
a former owner that is late does no harm (`streams.engine.staterows`), a later claim ends our work on the shard.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping

from streams.codec import NewerSchemaError
from streams.engine.broker import Link, ShardTaken, Slot
from streams.engine.staterows import Owner, StateFold, claim_record, row_record, tombstone
from streams.engine.wire import WireRecord


class ShardLog:
    """One partition of a topic of state. One per lane; calls of `write` do not overlap."""

    def __init__(self, link: Link, topic: str, shard: int, instance: str, clock: Callable[[], int]) -> None:
        self._link = link
        self._slot = Slot(topic, shard)
        self._clock = clock
        self._owner = Owner(0, instance)
        self._count = 0
        self._end = 0
        """Behind what we wrote last, and everything before it is known to us."""
        self._rubbish: deque[str] = deque()

    @property
    def slot(self) -> Slot:
        """Where the rows are."""
        return self._slot

    def next_version(self) -> int:
        """Version of our next output; above all of our former ones, and all of every former owner."""
        self._count += 1
        return self._owner.version(self._count)

    async def claim(self) -> StateFold:
        """State as it is behind our own claim. Two who claim the same generation: the first in the log has it.

        Raises:
            NewerSchemaError: a newer program wrote some of it.
            PlaceUnavailable, PlaceRefused: as `Link.send`.
        """
        fold, start = StateFold(), 0
        while True:
            start = await self._read(fold, start, (await self._link.ends([self._slot]))[self._slot])
            self._owner = fold.next_owner(self._owner.instance, self._clock() // 1000)
            position = await (await self._link.send(claim_record(*self._slot, self._owner)))
            start = await self._read(fold, start, position + 1)
            if fold.claimed_by(self._owner.generation) == self._owner.instance:
                self._count, self._end = 0, start
                self._rubbish = deque(fold.rubbish(self._clock() // 1000))
                return fold

    async def write(self, rows: Mapping[tuple[str, str], bytes | None]) -> None:
        """Make rows durable, in their order.

        Raises:
            ShardTaken: somebody claimed the shard after us.
            PlaceUnavailable, PlaceRefused: as `Link.send`.
        """
        await self._append([row_record(*self._slot, self._owner, *key, value) for key, value in rows.items()])

    async def sweep(self, most: int) -> bool:
        """Remove up to `most` rows for good that no former owner can miss; False when there are none. Raises as
        `write`.
        """
        keys = [self._rubbish.popleft() for _ in range(min(most, len(self._rubbish)))]
        await self._append([tombstone(*self._slot, key) for key in keys])
        return bool(keys)

    def is_untouched(self, end: int) -> bool:
        """Did nobody write since we did, when the log ends at `end`?"""
        return self._end > 0 and end == self._end

    async def _append(self, records: list[WireRecord]) -> None:
        for at in await asyncio.gather(*[await self._link.send(record) for record in records]):
            if at != self._end:
                await self._look_who_writes(at)
            self._end = max(self._end, at) + 1

    async def _look_who_writes(self, at: int) -> None:
        """Something stands between what we wrote before and what we wrote at `at` (-1: the broker does not say)."""
        fold = StateFold()
        try:
            end = at if at > self._end else (await self._link.ends([self._slot]))[self._slot]
            await self._read(fold, self._end, end)
        except NewerSchemaError as error:
            raise ShardTaken(f"{self._slot}: a newer program owns this shard now: {error}") from error
        if fold.generation > self._owner.generation:
            raise ShardTaken(
                f"{self._slot}: claimed by {fold.claimed_by(fold.generation) or 'somebody else'} (generation"
                f" {fold.generation}) after {self._owner.instance} (generation {self._owner.generation})"
            )

    async def _read(self, fold: StateFold, start: int, end: int) -> int:
        if end > start:
            async for records in self._link.read(self._slot, start, end):
                for record in records:
                    fold.take(record)
        return max(start, end)
