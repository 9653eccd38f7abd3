"""What every process reads whole before it works: broadcast topics, from the oldest record to the newest, and then on.

    view = BroadcastView(link, (TRUST, FACTS), take, clock)
    task = asyncio.create_task(view.run())
    await view.whole.wait()      # everything that was there at the start is taken
    view.lag()                   # how old the view may be, in seconds

A view that cannot be brought up to date says so, and nobody judges by it beyond the bound that the worker sets.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from streams.clock import steady_clock
from streams.codec import NewerSchemaError
from streams.engine.broker import Followed, Link, Slot
from streams.engine.port import Record
from streams.engine.reading import refuse_newer
from verifier.errors import PlaceError

Take = Callable[[Sequence[Record]], None]
"""Called with records in the order of their partition. An error that leaves it ends the process."""

LOOK_EVERY: Final = 2.0
"""Seconds between two looks at where the partitions end."""
LOOKS: Final = 100
"""Looks that are remembered until they are reached; beyond, the oldest are given up."""


class BroadcastView:
    """Follows broadcast topics. Topics have one partition each."""

    def __init__(self, link: Link, topics: Sequence[str], take: Take, clock: Callable[[], int] | None = None) -> None:
        self._link = link
        self._slots = [Slot(topic, 0) for topic in topics]
        self._take = take
        self._clock = clock or steady_clock
        self.held = ""
        """Which record waits for a newer program; empty: none. Nothing behind it is taken, and the view grows old."""
        self.positions: dict[str, int] = dict.fromkeys(topics, 0)
        """Topic -> position behind the newest record taken."""
        self._up_to_date: int = 0
        """When (microseconds) everything there was had been taken."""
        self._looks: deque[tuple[int, dict[Slot, int]]] = deque(maxlen=LOOKS)
        """When it was looked where partitions end, and where they did, for looks that are not reached yet."""
        self.whole = asyncio.Event()
        """Set once everything that was there at the start is taken."""
        if not topics:
            self.whole.set()

    @property
    def is_whole(self) -> bool:
        """Everything that was there at the start is taken."""
        return self.whole.is_set()

    async def run(self) -> None:
        """Take what is there and what comes, without end.

        Raises:
            PlaceUnavailable, PlaceRefused: as `Link.follow`. Later, what cannot be asked is waited for.
            Exception: whatever left `take`.
        """
        if not self._slots:
            await asyncio.Event().wait()
        self._looks.append((self._clock(), await self._link.ends(self._slots)))
        async with asyncio.TaskGroup() as both:
            both.create_task(self._follow())
            both.create_task(self._look())

    def lag(self, now: int | None = None) -> float:
        """Seconds for which it is not known that nothing newer is there; 0 without topics."""
        now = self._clock() if now is None else now
        return max(0, now - self._up_to_date) / 1e6 if self._slots else 0.0

    async def _follow(self) -> None:
        self._reach()
        async for found in self._link.follow(self._slots):
            try:
                self._fold(found)
            except NewerSchemaError as error:
                self.held = str(error)
                await asyncio.Event().wait()  # until the process is ended, and a newer one reads on
            self._reach()

    def _fold(self, found: Followed) -> None:
        for record in found.records:
            refuse_newer(record)
            self._take([record])
            self.positions[record.topic] = record.position + 1
        for slot, position in found.positions.items():
            self.positions[slot.topic] = max(self.positions[slot.topic], position)

    def _reach(self) -> None:
        """Which looks have been reached? Whatever stood there at the newest of these is taken."""
        while self._looks and all(self.positions[slot.topic] >= end for slot, end in self._looks[0][1].items()):
            self._up_to_date, _ = self._looks.popleft()
            self.whole.set()

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            begun = self._clock()
            with contextlib.suppress(PlaceError):  # the view grows old, and says so
                self._looks.append((begun, await self._link.ends(self._slots)))
                self._reach()
