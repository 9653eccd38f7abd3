"""A worker: the lanes of the shards that are its own, behind a source and a link. The same for every engine.

    worker = ShardWorker(spec, link, source, make, view=view)
    await worker.run(stop)           # until `stop` is set, or something failed

Start: connect, read broadcast topics whole, join the group. A shard restores its rows before it handles anything. Stop:
take nothing new, finish what is under way, store positions, leave.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence

from streams.clock import wall_clock
from streams.engine.broker import Link, Slot, Source
from streams.engine.lanes import Clock, LaneOptions, Meter, NoMeter, ShardLane, ShardSpec
from streams.engine.port import Processor, Record
from streams.engine.running import Running
from streams.engine.view import BroadcastView


class ShardWorker(Running):
    """Implements `Listener`; one per process."""

    def __init__(
        self, spec: ShardSpec, link: Link, source: Source, make: Callable[[int], Processor], *,
        view: BroadcastView | None = None, options: LaneOptions | None = None, meter: Meter | None = None,
        clock: Clock = wall_clock, stale_seconds: float = 30.0,
    ) -> None:  # fmt: skip
        self._spec = spec
        self._options = options or LaneOptions()
        super().__init__(link, source, view, self._options.close_seconds)
        self._make = make
        self._meter = meter or NoMeter()
        self._clock = clock
        self._stale = stale_seconds
        self.lanes: dict[int, ShardLane] = {}
        """Shards that are ours."""
        self._parked: dict[int, ShardLane] = {}
        """Shards that were ours: what is in memory is used again when nobody wrote meanwhile."""
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self.prepare: Callable[[ShardLane, bool], None] = _nothing
        """Called with every lane before it works, and whether it was parked and missed broadcast records."""

    async def _let_go(self) -> None:
        await self._give_up(list(self.lanes))

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

    def broadcast(self, records: Sequence[Record]) -> None:
        """Hand broadcast records to every lane."""
        for lane in self.lanes.values():
            lane.control(records)

    # ------------------------------------------------------------------ small things

    def _is_fresh(self) -> bool:
        return not self.is_stale()

    def is_stale(self) -> bool:
        """Is work held up because broadcast topics could not be read?"""
        return self._view is not None and self._view.lag() > self._stale


def _nothing(lane: ShardLane, parked: bool) -> None:
    """A lane without broadcast records misses none."""
