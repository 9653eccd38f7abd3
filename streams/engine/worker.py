"""A worker: the lanes of the shards that are its own, behind a source and a link. The same for every engine.

    worker = ShardWorker(spec, link, source, make, view=view)
    await worker.run(stop)           # until `stop` is set, or something failed

Start: connect, read broadcast topics whole, join the group. A shard restores its rows before it handles anything. Stop:
take nothing new, finish what is under way, store positions, leave.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from typing import Any

from streams.engine.broker import Link, Slot, Source
from streams.engine.lanes import Clock, LaneOptions, Meter, NoMeter, ShardLane, ShardSpec
from streams.engine.port import Processor, Record
from streams.engine.view import BroadcastView


def wall_clock() -> int:
    """Microseconds since the Unix epoch."""
    return time.time_ns() // 1000


class ShardWorker:
    """Implements `Listener`; one per process."""

    def __init__(
        self, spec: ShardSpec, link: Link, source: Source, make: Callable[[int], Processor], *,
        view: BroadcastView | None = None, options: LaneOptions | None = None, meter: Meter | None = None,
        clock: Clock = wall_clock, stale_seconds: float = 30.0,
    ) -> None:  # fmt: skip
        self._spec = spec
        self._link, self._source, self._make = link, source, make
        self._view = view
        self._options = options or LaneOptions()
        self._meter = meter or NoMeter()
        self._clock = clock
        self._stale = stale_seconds
        self.lanes: dict[int, ShardLane] = {}
        """Shards that are ours."""
        self._parked: dict[int, ShardLane] = {}
        """Shards that were ours: what is in memory is used again when nobody wrote meanwhile."""
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._failure: asyncio.Future[None] | None = None
        self.prepare: Callable[[ShardLane, bool], None] = _nothing
        """Called with every lane before it works, and whether it was parked and missed broadcast records."""

    # ------------------------------------------------------------------ life

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set.

        Raises:
            RecordsLost: a partition goes on behind records nobody handled.
            ShardTaken: somebody else owns a shard that was not taken from us.
            PlaceUnavailable, PlaceRefused: the broker is gone, or does not let us.
            Exception: whatever a processor raised; nothing of that batch was acknowledged.
        """
        self._failure = failure = asyncio.get_running_loop().create_future()
        await self._link.start()
        following: asyncio.Task[None] | None = None
        try:
            if self._view is not None:
                following = asyncio.create_task(self._view.run())
                following.add_done_callback(self._ended)
                await first_of(stop, failure, self._view.whole.wait())
            if not stop.is_set():
                await self._source.start(self)
                await first_of(stop, failure)
        finally:
            await self._down(following)

    async def _down(self, following: asyncio.Task[None] | None) -> None:
        """End everything; what goes wrong now is not worse than being killed, and hides no earlier error."""
        await self._give_up(list(self.lanes))
        await stopped(self._source.stop, 2 * self._options.close_seconds)
        if following is not None:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
        await stopped(self._link.stop, 2 * self._options.close_seconds)
        if self._failure is not None and self._failure.done():
            self._failure.exception()  # heard, even when something else ended us first

    # ------------------------------------------------------------------ Listener

    async def assigned(self, slots: Collection[Slot]) -> None:
        """See `Listener`."""
        shards = sorted({slot.partition for slot in slots} - self.lanes.keys())
        await self._forget_touched()
        for shard in shards:
            self.lanes[shard] = self._lane(shard)
        for slot, position in (await self._source.committed(slots)).items():
            lane = self.lanes[slot.partition]
            known = lane.expect(slot, position)
            if known is not None and known != position:
                self._source.ack(slot, known)
            self._meter.assigned(slot, known)
        for shard in shards:
            self._tasks[shard] = task = asyncio.create_task(self.lanes[shard].run())
            task.add_done_callback(self._ended)

    async def _forget_touched(self) -> None:
        """What others wrote to since is of no use any more."""
        if self._parked:
            ends = await self._link.ends([lane.log.slot for lane in self._parked.values()])
            self._parked = {n: lane for n, lane in self._parked.items() if lane.log.is_untouched(ends[lane.log.slot])}

    def _lane(self, shard: int) -> ShardLane:
        lane = self._parked.pop(shard, None)
        parked = lane is not None
        if lane is not None:
            lane.reopen()
        else:
            lane = ShardLane(
                shard, self._spec, self._make, self._link, self._source, self._clock, self._options, self._meter
            )
            lane.may_work = self._is_fresh
        self.prepare(lane, parked)
        return lane

    async def revoked(self, slots: Collection[Slot]) -> None:
        """See `Listener`."""
        await self._give_up({slot.partition for slot in slots})
        for slot in slots:
            self._meter.revoked(slot)

    async def _give_up(self, shards: Collection[int]) -> None:
        going = {shard: self._tasks.pop(shard) for shard in shards if shard in self._tasks}
        for shard, task in going.items():
            task.remove_done_callback(self._ended)
            self.lanes[shard].close()
        if going:
            await asyncio.wait(going.values(), timeout=self._options.close_seconds)
        for shard, task in going.items():
            lane = self.lanes.pop(shard)
            is_well = task.done() and not task.cancelled() and task.exception() is None
            if is_well and lane.is_restored:
                self._parked[shard] = lane
            else:
                lane.abandon()
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    def deliver(self, slot: Slot, records: Sequence[Record]) -> None:
        """See `Listener`."""
        lane = self.lanes.get(slot.partition)
        if lane is not None:
            lane.deliver(slot, records)

    def failed(self, error: BaseException) -> None:
        """See `Listener`."""
        if self._failure is not None and not self._failure.done():
            self._failure.set_exception(error)

    def broadcast(self, records: Sequence[Record]) -> None:
        """Hand broadcast records to every lane."""
        for lane in self.lanes.values():
            lane.control(records)

    # ------------------------------------------------------------------ small things

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.failed(single(error))

    def _is_fresh(self) -> bool:
        return not self.is_stale()

    def is_stale(self) -> bool:
        """Is work held up because broadcast topics could not be read?"""
        return self._view is not None and self._view.lag() > self._stale


async def first_of(stop: asyncio.Event, failure: asyncio.Future[None], *others: Coroutine[Any, Any, Any]) -> None:
    """Until one of them is over. Raises what `failure` has."""
    waiting: list[asyncio.Future[Any]] = [asyncio.ensure_future(stop.wait()), *map(asyncio.ensure_future, others)]
    try:
        await asyncio.wait([*waiting, failure], return_when=asyncio.FIRST_COMPLETED)
        if failure.done():
            failure.result()
    finally:
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def stopped(stop: Callable[[], Awaitable[None]], seconds: float) -> None:
    """Stop something at the end: it gets so long, and what goes wrong is not worse than being killed."""
    with contextlib.suppress(Exception):
        async with asyncio.timeout(seconds):
            await stop()


def single(error: BaseException) -> BaseException:
    """The one error inside a group of one."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _nothing(lane: ShardLane, parked: bool) -> None:
    """A lane without broadcast records misses none."""
