"""Leader election against a real API server: the requests behind `Election`.

leader = Leadership(server, Election(me, 15), ("revet", "revet-pods"))
await leader.win()         back when this one leads
await leader.hold()        back when it does not any more
await leader.release()     so that the next one need not wait
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from streams.clock import wall_clock
from streams.collectors.apiserver import ApiServer
from streams.collectors.election import Election, Lease, read_lease

LEASES: Final = "/apis/coordination.k8s.io/v1/namespaces/{}/leases"
_FINE: Final = (200, 201)


def _ignored(_detail: str) -> None:
    """For who hears nothing."""


class Leadership:
    """One candidate's requests. `told` hears why the lease cannot be read or written; empty: it can."""

    def __init__(
        self, server: ApiServer, election: Election, place: tuple[str, str], told: Callable[[str], None] = _ignored
    ) -> None:
        self._server, self._election, self._place, self._told = server, election, place, told
        self._folder = LEASES.format(place[0])
        self._path = f"{self._folder}/{place[1]}"

    async def win(self) -> None:
        """Back when this one leads. Raises InputError: who asks cannot be read."""
        while True:
            if await self._try():
                return
            await asyncio.sleep(self._election.pause)

    async def hold(self) -> None:
        """Renew; back when this one leads no more. Raises InputError as `win`."""
        while self._election.leads(time.monotonic()):
            await asyncio.sleep(self._election.pause)
            await self._try()

    async def release(self) -> None:
        """Let go, if it is ours. A failure costs the next one some seconds, no more. Raises InputError as `win`."""
        found, known = await self._read()
        if known and found is not None and found.spec.holder_identity == self._election.me:
            await self._server.exchange("PUT", self._path, self._election.released(found, wall_clock()))

    async def _try(self) -> bool:
        began = time.monotonic()
        found, known = await self._read()
        if not known:
            return self._election.leads(time.monotonic())
        if self._election.act(found, began) == "wait":
            self._election.lost()
            self._told("")
            return False
        body = self._election.document(found, self._place, wall_clock())
        status, _ = await self._server.exchange(
            "POST" if found is None else "PUT", self._folder if found is None else self._path, body
        )
        if status in _FINE:
            self._election.written(began)
        self._told("" if status in (*_FINE, 409) else self._server.detail or f"HTTP {status}")
        return self._election.leads(time.monotonic())

    async def _read(self) -> tuple[Lease | None, bool]:
        """The lease, None where there is none, and whether that is known."""
        status, body = await self._server.exchange("GET", self._path)
        found = read_lease(body) if status == 200 else None
        known = status == 404 or found is not None
        if not known:
            self._told(self._server.detail or f"HTTP {status}")
        return found, known
