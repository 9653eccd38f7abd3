"""What messages add from the record: asked beside the work, and written down before it is said.

    knowing = Knowing(ask, take, clock)
    knowing.consider(incident)           whoever is about to tell of it; never waits
    knowing.is_down                      the record did not answer when it was asked last

What is found becomes a record itself (`alerting.models.IncidentContext`), so that a replay says the same and whoever
takes over knows it. The record is behind events by seconds: what it lacks is asked again, later and later, a few times.
An incident is told at once, whatever the record does.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final

from alerting.models import Incident, IncidentContext
from verifier.errors import InputError, PlaceError

WAITS: Final = (0.0, 3.0, 15.0, 60.0, 300.0)
"""Seconds before each look for one incident's largest member; then it is left."""
AT_ONCE: Final = 2
MOST: Final = 500
"""Incidents that are asked about at a time; of more the message says that it is not known."""
KEPT: Final = 5_000
PROBE_SECONDS: Final = 15.0

Ask = Callable[[Incident], Awaitable[IncidentContext]]
"""Raises InputError, PlaceError."""
Take = Callable[[IncidentContext], Awaitable[None]]
"""Makes it durable. Raises PlaceError."""
Probe = Callable[[], Awaitable[None]]
"""Asks the record anything at all. Raises as `Ask`."""


class Knowing:
    """Asks the record for the incidents that are told of. One event loop."""

    def __init__(self, ask: Ask, take: Take, probe: Probe, waits: tuple[float, ...] = WAITS) -> None:
        self._ask, self._take, self._probe, self._waits = ask, take, probe, waits
        self._asked: OrderedDict[str, str] = OrderedDict()
        """Incident -> digest of the member that was asked about."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(AT_ONCE)
        self.is_down = False
        """The record did not answer when it was asked last."""

    def consider(self, incident: Incident | None) -> None:
        """It is told of: what does the record add? Asked once for each largest member."""
        if incident is None or incident.state == "resolved" or not incident.examples:
            return
        member = incident.examples[0]
        about = f"{member.cluster}/{member.namespace}/{member.owner}@{member.digest}"
        if self._asked.get(incident.id) == about or len(self._tasks) >= MOST:
            return
        self._asked[incident.id] = about
        while len(self._asked) > KEPT:
            self._asked.popitem(last=False)
        task = asyncio.get_running_loop().create_task(self._look(incident))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def run(self) -> None:
        """Look whether the record answers, without end."""
        while True:
            await self._is_up()
            await asyncio.sleep(PROBE_SECONDS)

    def cancel(self) -> None:
        """Let go of what is under way."""
        for task in list(self._tasks):
            task.cancel()

    async def _is_up(self) -> None:
        try:
            await self._probe()
        except (InputError, PlaceError):
            self.is_down = True
        else:
            self.is_down = False

    async def _look(self, incident: Incident) -> None:
        said = (incident.deployed_by, incident.good_image)
        for wait in self._waits:
            await asyncio.sleep(wait)
            found = await self._found(incident)
            if found is None:
                continue
            known = (found.deployed_by, found.good_image)
            if known != said and any(known):
                try:
                    await self._take(found)
                except PlaceError:
                    continue
                said = known
            if all(said):
                return

    async def _found(self, incident: Incident) -> IncidentContext | None:
        try:
            async with self._room:
                found = await self._ask(incident)
        except (InputError, PlaceError):
            self.is_down = True
            return None
        self.is_down = False
        return found
