"""Decisions on their way: into the spool before the answer, out of it to whoever keeps them, at least once.

    async with Spooling(spool, outlet, told) as spooling:
        kept = await spooling.keep(decision, seconds)      True: on disk. False: not within the time
        spooling.later(outputs)                            what nobody waits for

Decisions that wait at the same time become durable together. Where the disk is full, or slower than the answer may
wait, a decision is held in memory, up to `HELD`, and tried again: the answer is not late for it. What the outlet does
not take stays in the spool and is offered again, without end; ids are of the requests, so twice is once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Final, Protocol, Self

from streams.admission.sqlite import Kept, Spool
from streams.engine.port import Output
from verifier.errors import PlaceError, RevetError

HELD: Final = 10_000
"""Outputs held in memory while the spool cannot be written; beyond, the oldest is lost, and counted."""
UNAWAITED: Final = 1_000
"""Of these, outputs that nobody waits for, such as facts: others can find those again."""
BATCH: Final = 200
"""Outputs that are offered to the outlet together."""
BACK_OFF: Final = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds before the spool or the outlet is tried again; the last one repeats."""


GATHER_SECONDS: Final = 0.05
"""What is written within is offered together: a write of the outlet costs as much for many as for one."""
FLUSH_SECONDS: Final = 2.0
"""At the end: for the outlet to take what it can."""


class Outlet(Protocol):
    """Who keeps decisions in the end."""

    async def deliver(self, kept: Sequence[Kept]) -> None:
        """Durable when this returns.

        Raises:
            PlaceError: it is not, or not known to be; it is offered again.
        """
        ...


class Told(Protocol):
    """Who hears how it goes."""

    def trouble(self, what: str, message: str) -> None:
        """`spool` or `outlet` does not do what it should."""

    def well(self, what: str) -> None:
        """It does again."""

    def lost(self, number: int) -> None:
        """So many outputs were neither written nor could be held."""

    def waits(self, number: int) -> None:
        """So many are in the spool."""

    def delivered(self, kept: Sequence[Kept]) -> None:
        """These are durable elsewhere."""


class Spooling:
    """One per process, in one event loop."""

    def __init__(self, spool: Spool, outlet: Outlet, told: Told) -> None:
        self._spool, self._outlet, self._told = spool, outlet, told
        self._waiting: deque[tuple[Output, asyncio.Future[None] | None]] = deque()
        self._stirred = asyncio.Event()
        self._written = asyncio.Event()
        self._empty = asyncio.Event()
        """Nothing is in the spool, as far as is known."""
        self._tasks: list[asyncio.Task[None]] = []
        self._closing = False
        self._failing = False
        """The last write failed: nobody waits for the next one."""

    async def __aenter__(self) -> Self:
        """Begun; what a former process left in the spool is offered first."""
        self._written.set()
        self._tasks = [asyncio.create_task(self._write()), asyncio.create_task(self._relay())]
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """What is held is written; what the outlet does not take within moments waits for the next start."""
        self._closing = True
        self._stirred.set()
        writer, relay = self._tasks
        await asyncio.wait([writer], timeout=BACK_OFF[-1])
        with suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_SECONDS):
                await self._empty.wait()
        if self._waiting:
            self._told.lost(len(self._waiting))
        for task in (writer, relay):
            task.cancel()
        await asyncio.wait([writer, relay])
        for task in (writer, relay):
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error

    @property
    def held(self) -> int:
        """Outputs that are not on disk."""
        return len(self._waiting)

    async def watch(self) -> None:
        """Back when writing or relaying has ended, which they do not by themselves. Raises what they raised."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if not task.cancelled():
                task.result()

    async def keep(self, made: Output, seconds: float) -> bool:
        """Write one output; True once it is on disk, False when it was not within the time. It is tried on."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._put(made, future)
        await asyncio.wait([future], timeout=0.0 if self._failing else max(0.0, seconds))
        return future.done() and not future.cancelled() and future.exception() is None

    def later(self, outputs: Sequence[Output]) -> None:
        """Write outputs that nobody waits for."""
        for made in outputs:
            if len(self._waiting) < UNAWAITED:
                self._put(made, None)
            else:
                self._told.lost(1)

    def _put(self, made: Output, future: asyncio.Future[None] | None) -> None:
        self._waiting.append((made, future))
        while len(self._waiting) > HELD:
            self._waiting.popleft()
            self._told.lost(1)
        self._stirred.set()

    async def _write(self) -> None:
        """Everything that waits, in one transaction each time."""
        attempt = 0
        while not (self._closing and not self._waiting):
            await self._stirred.wait()
            self._stirred.clear()
            taken = list(self._waiting)
            if not taken:
                continue
            try:
                await asyncio.to_thread(self._spool.add, [made for made, _ in taken])
            except PlaceError as error:
                self._failing = True
                self._told.trouble("spool", str(error))
                self._answer(taken, error)
                await asyncio.sleep(BACK_OFF[min(attempt, len(BACK_OFF) - 1)])
                attempt += 1
                self._stirred.set()
                continue
            attempt, self._failing = 0, False
            self._told.well("spool")
            self._forget(taken)
            self._answer(taken, None)
            self._empty.clear()
            self._written.set()

    def _forget(self, taken: Sequence[tuple[Output, asyncio.Future[None] | None]]) -> None:
        """Those were the first; some of them may have been given up meanwhile."""
        names = {id(made) for made, _ in taken}
        while self._waiting and id(self._waiting[0][0]) in names:
            self._waiting.popleft()

    def _answer(self, taken: Sequence[tuple[Output, asyncio.Future[None] | None]], error: PlaceError | None) -> None:
        for _, future in taken:
            if future is None or future.done():
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)
                future.exception()  # heard here: who waits looks at it, if anybody still does

    async def _relay(self) -> None:
        """Offer the oldest, remove what was taken, without end."""
        attempt = 0
        while True:
            await self._written.wait()
            if not self._closing:
                await asyncio.sleep(GATHER_SECONDS)
            self._written.clear()
            try:
                while kept := await asyncio.to_thread(self._spool.oldest, BATCH):
                    self._told.waits(len(kept) if len(kept) < BATCH else await asyncio.to_thread(self._spool.waiting))
                    await self._outlet.deliver(kept)
                    self._told.delivered(kept)
                    await asyncio.to_thread(self._spool.remove, kept)
                    self._told.well("outlet")
                    attempt = 0
                self._told.waits(0)
                if not self._written.is_set():
                    self._empty.set()
            except RevetError as error:  # also what a newer revet left in the spool: held, never dropped
                self._told.trouble("outlet", str(error))
                await asyncio.sleep(BACK_OFF[min(attempt, len(BACK_OFF) - 1)])
                attempt += 1
                self._written.set()


__all__ = ["Outlet", "Spooling", "Told"]
