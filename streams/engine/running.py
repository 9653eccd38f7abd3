"""The life of a worker, whatever it does with records: connect, read broadcast topics whole, join the group; at the end
let go of everything, in the opposite order.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

from streams.engine.broker import Link, Listener, Source
from streams.engine.view import BroadcastView


class Running(Listener):
    """Base of every worker; one per process. A worker says what runs beside the source, and how it lets go."""

    def __init__(self, link: Link, source: Source, view: BroadcastView | None, close_seconds: float) -> None:
        self._link, self._source, self._view = link, source, view
        self._close_seconds = close_seconds
        self._background: set[asyncio.Task[None]] = set()
        """Everything `_watched` started that is not over."""
        self._failure: asyncio.Future[None] | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set.

        Raises:
            RecordsLost: a partition goes on behind records nobody handled.
            ShardTaken: somebody else owns a shard that was not taken from us.
            PlaceUnavailable, PlaceRefused: the broker is gone, or does not let us.
            Exception: whatever a processor or handler raised; nothing of that batch was acknowledged.
        """
        self._failure = failure = asyncio.get_running_loop().create_future()
        await self._link.start()
        try:
            for work in self._beside():
                self._watched(work)
            if self._view is not None:
                self._watched(self._view.run())
                await first_of(stop, failure, self._view.whole.wait())
            if not stop.is_set():
                await self._source.start(self)
                await first_of(stop, failure)
        finally:
            await self._down(failure)

    def _beside(self) -> Iterable[Coroutine[Any, Any, None]]:
        """What runs beside the source from the start."""
        return ()

    async def _let_go(self) -> None:
        """Take nothing new, and finish, within bounds, what is under way."""
        raise NotImplementedError

    async def _down(self, failure: asyncio.Future[None]) -> None:
        """End everything; what goes wrong now is not worse than being killed, and hides no earlier error."""
        await self._let_go()
        await stopped(self._source.stop, 2 * self._close_seconds)
        left = list(self._background)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await stopped(self._link.stop, 2 * self._close_seconds)
        if failure.done():
            failure.exception()  # heard, even when something else ended us first

    def failed(self, error: BaseException) -> None:
        """See `Listener`."""
        if self._failure is not None and not self._failure.done():
            self._failure.set_exception(error)

    def _watched(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run work beside the rest: its error is the worker's, and it ends with the worker."""
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.failed(single(error))


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
