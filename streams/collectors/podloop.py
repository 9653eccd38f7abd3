"""The loop around `PodWatch`: asks the API server, and makes durable what comes of it, step by step.

    loop = PodLoop(watch, server, keeper, options, told)
    await loop.run()                       until it is cancelled
    await loop.finish()                    what was read becomes durable; then the next life goes on from there

Reading goes on while a step is on its way, up to `MOST_PENDING` observations; then the stream waits, and the API server
with it. Steps become durable one after the other: observations first, then what is known and the position, so that a
crash repeats a step and never leaves one out. A step that cannot be made durable is tried until it can.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import msgspec

from streams.clock import wall_clock
from streams.collectors.apiserver import ApiServer
from streams.collectors.lines import Lines
from streams.collectors.namespacelook import PATH as NAMESPACES
from streams.collectors.namespacelook import NamespaceLook
from streams.collectors.podwatch import GONE, Ending, Known, PodWatch, Position, Step
from streams.events import NamespaceObserved
from verifier.errors import PlaceError

PATH: Final = "/api/v1/pods"
MOST_PENDING: Final = 2_000
"""Observations that wait to become durable; some megabytes."""
AT_LEAST: Final = 1.0
"""Seconds between two watches of namespaces, and before a list that follows one."""
AGAIN: Final = 10.0
"""Seconds before namespaces are listed again where a list failed, or a watch was answered with an error."""
_NO_WATCH: Final = frozenset({403, 404, 405})
"""Answers of who may list, and not watch. A 401 is none: a token that was renewed is read with the next request."""
RETRY_SECONDS: Final = 5.0
"""Between two tries to make a step durable. A try itself takes up to half a minute."""


class LoopOptions(msgspec.Struct, frozen=True):
    """Times, seconds."""

    silence: float = 100.0
    """Without a byte of a watch; the API server sends a bookmark every minute."""
    watch: int = 300
    """A watch lasts so long at most."""
    page_silence: float = 60.0
    """Without a byte of a page."""


class NamespaceLoop:
    """Namespaces of one cluster: listed, then watched from there, so that a change is told at once."""

    def __init__(
        self,
        look: NamespaceLook,
        server: ApiServer,
        every: float,
        tell: Callable[[list[NamespaceObserved]], Awaitable[None]],
        failed: Callable[[str], None],
        options: LoopOptions | None = None,
    ) -> None:
        """Go on with `look`.

        Args:
            look: what is known.
            server: used by nobody else.
            every: seconds between two lists where watching is refused, and at most until one is tried again.
            tell: back when what it was given is durable; raises PlaceError when it will not become so.
            failed: hears what does not work, in a word or two.
            options: how patiently.
        """
        self._look, self._server, self._every = look, server, every
        self._tell, self._failed = tell, failed
        self._options = options or LoopOptions()

    async def run(self) -> None:
        """Without end.

        Raises:
            InputError: who asks cannot be read; PlaceError: what `tell` raised.
        """
        while True:
            pause = await self._watched() if await self._listed() else AGAIN
            await asyncio.sleep(min(pause, self._every))

    async def _listed(self) -> bool:
        """The whole list; False: it did not come."""
        while True:
            ending, body = await self._server.body(NAMESPACES, self._look.ask(), self._options.page_silence)
            told = self._look.page(body, wall_clock()) if ending.how == "clean" else None
            if told is None:
                self._look.failed()
                self._failed(self._server.detail or "no list of namespaces")
                return False
            if told:
                await self._tell(told)
            if self._look.whole:
                return True

    async def _watched(self) -> float:
        """Watch on for as long as that goes; seconds until the next list."""
        while self._look.version:
            begun = time.monotonic()
            query = self._look.watch(self._options.watch)
            ending = await self._server.stream(NAMESPACES, query, self._options.silence, self._taking())
            if ending.status in _NO_WATCH:
                self._failed(f"watching is refused (HTTP {ending.status}); listed every {self._every:g} s")
                return self._every
            if ending.status and ending.status != GONE:
                return AGAIN
            if ending.how != "clean" or self._look.forgotten:
                break
            await asyncio.sleep(max(0.0, AT_LEAST - (time.monotonic() - begun)))  # of one that ends each at once
        return AT_LEAST

    def _taking(self) -> Callable[[bytes], Awaitable[None]]:
        lines = Lines()

        async def taken(chunk: bytes) -> None:
            lines.give(chunk, self._look, wall_clock())
            if told := self._look.take():
                await self._tell(told)

        return taken


class Keeper(Protocol):
    """Where steps become durable, and what is known outlives the process."""

    async def load(self) -> tuple[dict[str, Known], Position]:
        """What was known when the last step became durable. Raises PlaceError."""
        ...

    async def tell(self, step: Step) -> None:
        """The first sign of life, then observations and originals: back when they are durable. Raises PlaceError."""
        ...

    async def keep(self, step: Step) -> None:
        """Rows, position and sign of life, after `tell`. Raises PlaceError."""
        ...


class Told(Protocol):
    """Who hears how it goes."""

    def ended(self, ending: Ending, detail: str, pause: float) -> None:
        """A request is over; the next one comes after `pause` seconds."""
        ...

    def heard(self) -> None:
        """Something was read."""
        ...

    def durable(self, step: Step) -> None:
        """A step is durable."""
        ...

    def not_durable(self, error: PlaceError) -> None:
        """A step is not, and is tried again."""
        ...


class PodLoop:
    """One cluster, read for as long as `run` runs."""

    def __init__(
        self, watch: PodWatch, server: ApiServer, keeper: Keeper, told: Told, options: LoopOptions | None = None
    ) -> None:
        self.watch = watch
        self._server, self._keeper, self._told = server, keeper, told
        self._options = options or LoopOptions()
        self._stirred, self._room = asyncio.Event(), asyncio.Event()
        self._chance = random.Random()  # noqa: S311  # spreads requests over time, keeps nothing secret
        self._under_way: tuple[Step, bool] | None = None
        """The step that is becoming durable; whether its observations are."""

    async def run(self) -> None:
        """Without end.

        Raises:
            InputError: who asks cannot be read (a kubeconfig or a file it names, a credential command).
        """
        reading = asyncio.create_task(self._read(), name=f"read {self.watch.cluster}")
        delivering = asyncio.create_task(self._deliver(), name=f"deliver {self.watch.cluster}")
        try:
            await asyncio.wait((reading, delivering), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (reading, delivering):
                task.cancel()
            await asyncio.wait((reading, delivering))
            for task in (reading, delivering):
                if not task.cancelled() and (error := task.exception()) is not None:
                    raise error

    async def finish(self) -> None:
        """Make durable what was read. For as long as it takes; cancel it, and it comes again in the next life."""
        if self._under_way is not None:
            await self._durable(*self._under_way)
        await self._durable(self.watch.take(), False)  # at least the position

    # ------------------------------------------------------------------ reading

    async def _read(self) -> None:
        while True:
            ask = self.watch.ask(self._chance.random(), self._options.watch)
            ending = await (self._streamed(ask.query) if ask.watch else self._page(ask.query))
            pause = self.watch.ended(ending, wall_clock(), self._chance.random())
            self._told.ended(ending, self._server.detail, pause)
            self._stirred.set()
            await asyncio.sleep(pause)

    async def _streamed(self, query: dict[str, str]) -> Ending:
        lines = Lines()

        async def taken(chunk: bytes) -> None:
            lines.give(chunk, self.watch, wall_clock())
            self._told.heard()
            await self._give_way()

        return await self._server.stream(PATH, query, self._options.silence, taken)

    async def _page(self, query: dict[str, str]) -> Ending:
        ending, body = await self._server.body(PATH, query, self._options.page_silence)
        if ending.how != "clean":
            return ending
        if not self.watch.page(body, wall_clock()):
            return Ending("cut")
        self._told.heard()
        await self._give_way()
        return ending

    async def _give_way(self) -> None:
        """Let the others have their turn; where too much waits, until it is durable."""
        if self.watch.stirred:
            self._stirred.set()
        await asyncio.sleep(0)
        while self.watch.pending >= MOST_PENDING:
            self._room.clear()
            await self._room.wait()

    # ------------------------------------------------------------------ durable

    async def _deliver(self) -> None:
        while True:
            await self._stirred.wait()
            self._stirred.clear()
            while self.watch.stirred:
                await self._durable(self.watch.take(), False)
                self._room.set()

    async def _durable(self, step: Step, told: bool) -> None:
        self._under_way = (step, told)
        if not told:
            await self._insist(self._keeper.tell, step)
            self._under_way = (step, True)
        await self._insist(self._keeper.keep, step)
        self._under_way = None
        self._told.durable(step)

    async def _insist(self, act: Callable[[Step], Awaitable[None]], step: Step) -> None:
        while True:
            try:
                await act(step)
            except PlaceError as error:
                self._told.not_durable(error)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return
