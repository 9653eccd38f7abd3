"""A lane: one shard of a worker. Restores, handles records in order, and makes their effects durable in order.

The order of effects is all that at-least-once needs: outputs acknowledged, then rows of state, then the position.
Several batches may be under way (`LaneOptions.window`); each waits for the one before it. A crash at any edge repeats a
batch, whose outputs have the same ids; a former owner's late writes lose (`streams.engine.staterows`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from streams.codec import NewerSchemaError
from streams.engine.broker import Link, ShardTaken, Slot
from streams.engine.contiguity import Contiguity
from streams.engine.port import Effects, Processor, Record
from streams.engine.shardlog import ShardLog
from streams.engine.wire import to_wire

Clock = Callable[[], int]
"""Microseconds since the Unix epoch."""


class LaneOptions(msgspec.Struct, frozen=True):
    """How a lane works."""

    batch: int = 200
    """Records handled at once; also the longest a broadcast record waits."""
    window: int = 8
    """Batches whose effects are under way."""
    queue: int = 2000
    """Records that wait before the partition is paused."""
    tick_seconds: float | None = 1.0
    """How often the clock is told to the processor; None: never, time comes with the records alone."""
    close_seconds: float = 5.0
    """How long a lane that is given up may take to finish what is under way; below the session timeout."""
    taken_seconds: float = 20.0
    """How long a lane whose shard somebody else claimed waits to be given up, before its process ends."""


class Meter(Protocol):
    """Who is told how it goes; nothing here depends on it."""

    def assigned(self, slot: Slot, position: int | None) -> None:
        """A partition is ours from a stored position on."""

    def revoked(self, slot: Slot) -> None:
        """A partition is not ours any more."""

    def handled(self, slot: Slot, records: int, position: int, seconds: float) -> None:
        """A batch is durable up to before `position`."""

    def restored(self, shard: int, rows: int, seconds: float) -> None:
        """A shard is back."""

    def held(self, slot: Slot, why: str) -> None:
        """A partition waits for a newer program."""

    def skipped(self, slot: Slot, wanted: int, found: int, is_gone: bool) -> None:
        """Records from `wanted` up to before `found` did not come. They are read again, or are gone from the log."""


class NoMeter:
    """Tells nobody."""

    def assigned(self, slot: Slot, position: int | None) -> None:
        """See `Meter`."""

    def revoked(self, slot: Slot) -> None:
        """See `Meter`."""

    def handled(self, slot: Slot, records: int, position: int, seconds: float) -> None:
        """See `Meter`."""

    def restored(self, shard: int, rows: int, seconds: float) -> None:
        """See `Meter`."""

    def held(self, slot: Slot, why: str) -> None:
        """See `Meter`."""

    def skipped(self, slot: Slot, wanted: int, found: int, is_gone: bool) -> None:
        """See `Meter`."""


class Flow(Protocol):
    """What a lane may ask of the source."""

    def ack(self, slot: Slot, position: int) -> None:
        """See `Source.ack`."""

    def pause(self, slot: Slot) -> None:
        """See `Source.pause`."""

    def resume(self, slot: Slot) -> None:
        """See `Source.resume`."""

    def again(self, slot: Slot, position: int) -> None:
        """See `Source.again`."""


class ShardSpec(msgspec.Struct, frozen=True):
    """What shards of a worker have in common."""

    topics: tuple[str, ...]
    """Keyed topics the worker reads; a shard reads the partition of its number of each."""
    state: str
    """Topic of its rows."""
    shards: int
    instance: str
    """Names this process in claims."""
    accept_gaps: bool = False
    """Go on behind records that are gone, after an operator said so."""


class ShardLane:
    """One shard. `run` is its only task; everything else is called from the same event loop."""

    def __init__(
        self, shard: int, spec: ShardSpec, make: Callable[[int], Processor], link: Link, flow: Flow,
        clock: Clock, options: LaneOptions, meter: Meter,
    ) -> None:  # fmt: skip
        self.shard = shard
        self.processor: Processor = make(shard)
        self.log = ShardLog(link, spec.state, shard, spec.instance, clock)
        self._spec = spec
        self._link, self._flow, self._clock, self._meter = link, flow, clock, meter
        self._options = options
        self._data: dict[Slot, deque[Record]] = {}
        """Per partition what waits, in the order in which partitions get their turn."""
        self._waiting = 0
        self._control: deque[Record] = deque()
        self._monitor = Contiguity(flow.again, meter.skipped, spec.accept_gaps)
        self._paused: set[Slot] = set()
        self._held: set[Slot] = set()
        self._done: dict[Slot, int] = {}
        """Position behind what is durable."""
        self._stirred = asyncio.Event()
        self._tail: asyncio.Task[None] | None = None
        self._under_way: set[asyncio.Task[None]] = set()
        self._space = asyncio.Event()
        self._closing = asyncio.Event()
        self._is_abandoned = False
        self._next_tick = 0.0
        self.is_restored = False
        self.may_work: Callable[[], bool] = _always
        """False while what everybody must have read may be too old."""
        self.after: Callable[[ShardLane], Awaitable[None]] | None = None
        """Awaited between two pieces of work: what somebody outside has to be told, by state that is durable."""
        self.finish: Callable[[ShardLane], Awaitable[None]] | None = None
        """Awaited once when the lane is closed and may still write: what somebody outside has answered meanwhile. It
        bounds its own time."""
        self.missed: Callable[[Processor], Effects] | None = None
        """Taken and called once before work goes on: what was broadcast while others held the shard. Runs in a thread,
        as `Processor.restore` does; nothing else touches the processor meanwhile."""

    # ------------------------------------------------------------------ in

    def expect(self, slot: Slot, position: int | None) -> int | None:
        """Delivery of a partition begins here (None: with the oldest record there is). Gives the position from which
        on records are new: one that was parked may have handled more than was stored.
        """
        if position is not None:
            position = max(position, self._done.get(slot, 0))
        self._monitor.expect(slot, position)
        return position

    def deliver(self, slot: Slot, records: Sequence[Record]) -> None:
        """Take records in; over the limit the partition is paused.

        Raises:
            RecordsLost: records are missing before these.
        """
        if self._closing.is_set() or slot in self._held:
            return
        fresh = self._monitor.new(slot, records)
        if not fresh:
            return
        self._data.setdefault(slot, deque()).extend(fresh)
        self._waiting += len(fresh)
        self._stirred.set()
        if self._waiting > self._options.queue and slot not in self._paused:
            self._paused.add(slot)
            self._flow.pause(slot)

    def control(self, records: Sequence[Record]) -> None:
        """Broadcast records: handled before everything that waits."""
        self._control.extend(records)
        self._stirred.set()

    @property
    def waiting(self) -> int:
        """Records that were delivered and not handled."""
        return self._waiting

    # ------------------------------------------------------------------ life

    async def run(self) -> None:
        """Restore, then work until closed.

        Raises:
            ShardTaken: somebody else claimed the shard, and nobody took it from us within `taken_seconds`.
            PlaceUnavailable, PlaceRefused: an effect could not be made durable.
            Exception: whatever the processor raised.
        """
        try:
            await self._begin()
            while not self._closing.is_set():
                await self._turn()
        except NewerSchemaError as error:  # broadcast or state: nothing of this shard may be decided without it
            self.is_restored = False
            self._meter.held(self.log.slot, str(error))
            await self._closing.wait()
        except ShardTaken:
            self.is_restored = False
            if not await self._is_closed_within(self._options.taken_seconds):
                raise
        else:
            if self.finish is not None and self.is_restored and not self._is_abandoned:
                await self.finish(self)
            await self._drained()

    async def _is_closed_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closing.wait()
        return self._closing.is_set()

    async def persist(self, rows: Sequence[tuple[str, str, bytes | None]]) -> None:
        """Make rows durable now, behind everything that is under way. Only for `after` and `finish`."""
        await self._emit(Effects(state=tuple(rows)))
        await self._drained()

    def stir(self) -> None:
        """There may be something to do for `after`."""
        self._stirred.set()

    def close(self) -> None:
        """Stop taking work; `run` then finishes what is under way and returns."""
        self._closing.set()
        self._stirred.set()
        self._space.set()

    def abandon(self) -> None:
        """Nothing of what is under way is acknowledged any more: somebody else may own the shard by now."""
        self._is_abandoned = True
        self.is_restored = False
        for task in self._under_way:
            task.cancel()

    def reopen(self) -> None:
        """The shard is ours again and nobody wrote meanwhile: go on with what is in memory."""
        self._closing.clear()
        self._data.clear()
        self._control.clear()
        self._waiting = 0
        self._paused.clear()
        self._held.clear()

    async def _begin(self) -> None:
        if not self.is_restored:
            await self._restore()
        missed, self.missed = self.missed, None
        if missed is not None:
            await self._emit(await asyncio.to_thread(missed, self.processor))

    async def _restore(self) -> None:
        started = self._clock()
        rows = list((await self.log.claim()).rows())
        # In a thread: seconds in which a worker says nothing to its group would cost it all of its partitions.
        await self._emit(await asyncio.to_thread(self.processor.restore, rows))
        await self._drained()
        self.is_restored = True
        self._meter.restored(self.shard, len(rows), (self._clock() - started) / 1e6)

    # ------------------------------------------------------------------ work

    async def _turn(self) -> None:
        if not self.may_work():
            self._stirred.clear()
            await self._pass(STALE_LOOK)
            return
        await self._room()
        did = await self._work()
        if self.after is not None:
            await self.after(self)
        if did:
            await self._company()
        elif not await self.log.sweep(self._options.batch):
            await self._rest()

    async def _work(self) -> bool:
        """One unit of work; False when there was none."""
        did = False
        if self._control:
            await self._handle_control()
            did = True
        elif self._data:
            did = await self._handle_data()
        if self._tick_is_due():
            await self._emit(self.processor.tick(self._clock()))
            did = True
        slice_ = self.processor.idle()  # between batches too: a backlog does not hold up a sweep
        if slice_ is not None:
            await self._emit(slice_)
            did = True
        return did

    async def _handle_control(self) -> None:
        records = [self._control.popleft() for _ in range(min(len(self._control), self._options.batch))]
        effects = self.processor.process(records)
        self._control.extendleft(reversed(records[effects.taken(len(records)) :]))
        await self._emit(effects)

    async def _handle_data(self) -> bool:
        slot = next(iter(self._data))
        waiting = self._data.pop(slot)
        batch = [waiting.popleft() for _ in range(min(len(waiting), self._options.batch))]
        try:
            effects = self.processor.process(batch)
        except NewerSchemaError as error:
            self._waiting -= len(batch) + len(waiting)  # it comes again, from the stored position, to a newer program
            self._hold(slot, error)
            return False
        taken = effects.taken(len(batch))
        waiting.extendleft(reversed(batch[taken:]))
        if waiting:
            self._data[slot] = waiting  # behind the others
        self._waiting -= taken
        if taken:
            await self._emit(effects, slot, taken, batch[taken - 1].position + 1)
        self._relax()
        return taken > 0

    def _hold(self, slot: Slot, error: NewerSchemaError) -> None:
        self._held.add(slot)
        self._flow.pause(slot)
        self._meter.held(slot, str(error))
        self._relax()

    def _relax(self) -> None:
        if self._paused and self._waiting < self._options.queue // 2:
            for slot in self._paused - self._held:
                self._flow.resume(slot)
            self._paused &= self._held

    def _tick_is_due(self) -> bool:
        every = self._options.tick_seconds
        if every is None:
            return False
        now = asyncio.get_running_loop().time()
        if now < self._next_tick:
            return False
        self._next_tick = now + every
        return True

    async def _company(self) -> None:
        """Between two pieces of work: others get their turn. While effects are under way a small batch waits for more,
        since each costs the broker a round.
        """
        small = self._under_way and not self._control and self._waiting < self._options.batch // 4
        await asyncio.sleep(COMPANY if small else 0)

    async def _rest(self) -> None:
        """Until something comes in, or the clock has to be told."""
        self._stirred.clear()
        if self._control or self._closing.is_set():
            return
        # The processor took nothing of what is there: not now.
        await self._pass(NOT_NOW if self._data else self._options.tick_seconds or 5.0)

    async def _pass(self, seconds: float) -> None:
        """Let time pass; something that comes in, or a close, ends it early."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):  # `asyncio.wait_for` may swallow a cancellation (Python 3.11)
                await self._stirred.wait()

    # ------------------------------------------------------------------ out

    async def _emit(self, effects: Effects, slot: Slot | None = None, records: int = 0, position: int = 0) -> None:
        """Begin to make effects durable; `_finish` ends it, in the order of the calls."""
        rows = effects.newest()
        if not effects.outputs and not rows and slot is None:
            return
        started, written = self._clock(), self._clock() // 1000
        sent = []
        for out in effects.outputs:
            wire = to_wire(out, self._spec.shards, self.log.next_version(), written)
            sent.append(await self._link.send(wire))
        done = (slot, records, position, started)
        self._tail = task = asyncio.create_task(self._finish(self._tail, sent, rows, done))
        self._under_way.add(task)
        task.add_done_callback(self._finished)

    async def _finish(
        self, before: asyncio.Task[None] | None, sent: Sequence[asyncio.Future[int]],
        rows: Mapping[tuple[str, str], bytes | None], done: tuple[Slot | None, int, int, int],
    ) -> None:  # fmt: skip
        await asyncio.gather(*sent)
        if before is not None:
            await before
        if rows:
            await self.log.write(rows)
        slot, records, position, started = done
        if slot is None or self._is_abandoned:
            return
        self._done[slot] = position
        self._flow.ack(slot, position)
        self._meter.handled(slot, records, position, (self._clock() - started) / 1e6)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._space.set()
        if not task.cancelled():
            task.exception()  # told by `_room` or `_drained`; whoever abandons the lane wants to hear no more

    async def _room(self) -> None:
        while len(self._under_way) >= self._options.window:
            self._space.clear()
            await self._space.wait()
        if self._tail is not None and self._tail.done():
            tail, self._tail = self._tail, None
            await tail  # raises what went wrong

    async def _drained(self) -> None:
        tail, self._tail = self._tail, None
        if tail is not None:
            await tail


def _always() -> bool:
    """Nothing to wait for."""
    return True


NOT_NOW: Final = 0.05
"""Seconds before a processor that took nothing is asked again."""
STALE_LOOK: Final = 0.2
"""Seconds between two looks whether work may go on."""
COMPANY: Final = 0.002
"""Seconds for which a record may wait for others."""
