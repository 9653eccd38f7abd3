"""The loop around `ReportWatch`: asks the API server, and makes durable what comes of it before it reads on.

    loop = ReportLoop(watch, server, tell, told)
    await loop.run()                       until it is cancelled

Nothing is kept: who starts anew lists anew, with the same ids. What cannot be made durable is told again, from a new
list.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from streams.clock import wall_clock
from streams.collectors.apiserver import ApiServer
from streams.collectors.lines import Lines
from streams.collectors.podloop import LoopOptions
from streams.collectors.podwatch import Ending
from streams.collectors.reportwatch import ReportWatch
from streams.events import ClaimObserved, DeadLetter
from verifier.errors import PlaceError

Told = Sequence[ClaimObserved | DeadLetter]
AT_ONCE: Final = 1_000
"""Observations that are made durable together, at most."""
RETRY_SECONDS: Final = 5.0
"""Before the next request where something could not be made durable."""


class ReportLoop:
    """One kind of reports in one cluster, read for as long as `run` runs."""

    def __init__(
        self,
        watch: ReportWatch,
        server: ApiServer,
        tell: Callable[[Told], Awaitable[None]],
        ended: Callable[[ReportWatch, Ending, str, PlaceError | None], None],
        options: LoopOptions | None = None,
    ) -> None:
        """Go on with `watch`.

        Args:
            watch: what to ask and what is known.
            server: used by nobody else.
            tell: back when what it was given is durable; raises PlaceError when it will not become so.
            ended: hears how a request ended, a detail, and what could not be made durable.
            options: how patiently.
        """
        self.watch = watch
        self._server, self._tell, self._ended = server, tell, ended
        self._options = options or LoopOptions()
        self._chance = random.Random()  # noqa: S311  # spreads requests over time, keeps nothing secret

    async def run(self) -> None:
        """Without end.

        Raises:
            InputError: who asks cannot be read (a kubeconfig or a file it names, a credential command).
        """
        while True:
            pause = await self._once()
            await asyncio.sleep(pause)

    async def _once(self) -> float:
        """One request; returns seconds until the next one."""
        ask = self.watch.ask(self._chance.random(), self._options.watch)
        try:
            ending = await (self._streamed if ask.watch else self._read)(ask.path, ask.query)
        except PlaceError as error:
            self.watch.lost()
            self._ended(self.watch, Ending("cut"), self._server.detail, error)
            return RETRY_SECONDS
        pause = self.watch.ended(ending, self._chance.random())
        self._ended(self.watch, ending, self._server.detail, None)
        return pause

    async def _streamed(self, path: str, query: dict[str, str]) -> Ending:
        lines = Lines()

        async def taken(chunk: bytes) -> None:
            lines.give(chunk, self.watch, wall_clock())
            await self._durable()

        return await self._server.stream(path, query, self._options.silence, taken)

    async def _read(self, path: str, query: dict[str, str]) -> Ending:
        finding = self.watch.phase == "find"
        ending, body = await self._server.body(path, query, self._options.page_silence)
        if ending.how == "clean" and finding:
            self.watch.found(body)
        elif ending.how == "clean":
            self.watch.page(body, wall_clock())
            await self._durable()
        return ending

    async def _durable(self) -> None:
        told = self.watch.take()
        for start in range(0, len(told), AT_ONCE):
            await self._tell(told[start : start + AT_ONCE])
