"""What API servers say they sent, beside what came: `listen.counters` of `revet serve audit`.

An API server gives events up silently, and only a counter tells (`apiserver_audit_error_total`). So each server that is
named is asked for its metrics now and then. What is told is metrics, a line in the log, and a record for the alerter,
which makes a loss a finding (`alerting.losses`); it does not end the sight of the audit feed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from streams.clock import wall_clock
from streams.collectors.apiserver import ApiServer
from streams.collectors.clusters import finder
from streams.collectors.delivery import Compared, Counters, Delivery, read_counters
from streams.engine.wire import WireRecord, to_wire
from streams.events import AuditCounted
from streams.outputs import output
from streams.serving.metrics import AUDIT_COMPARED, AUDIT_GIVEN_UP, AUDIT_MISSING
from streams.serving.process import Process
from streams.settings import WatchedCluster
from verifier.errors import InputError, PlaceError
from verifier.times import SECOND

PATH: Final = "/metrics"
CONNECT_SECONDS: Final = 10.0
SILENCE_SECONDS: Final = 30.0

Received = Callable[[str, str], int]
"""(cluster, server) -> events that came since the start of the process."""
Send = Callable[[Sequence[WireRecord]], Awaitable[None]]
"""Have records written. Raises PlaceError when nobody takes them now."""


async def comparing(process: Process, received: Received, send: Send) -> None:
    """Compare every server, without end."""
    looks = [Look(process, place, received, send) for place in process.settings.listen.compared()]
    await asyncio.gather(*(look.run(float(process.settings.listen.counters_seconds)) for look in looks))
    await process.stopping()  # no server is named


class Look:
    """One API server."""

    def __init__(self, process: Process, place: WatchedCluster, received: Received, send: Send) -> None:
        self._process, self._source = process, place.name
        self._cluster, _, self._server_name = place.name.partition("/")
        self._find = finder(place.kubeconfig, place.context, "listen.counters")
        self._received, self._send = received, send
        self._compared = Compared()
        self._told = (0, 0)

    async def run(self, every: float) -> None:
        """Look every so many seconds, without end."""
        server = ApiServer(self._find, CONNECT_SECONDS)
        try:
            while True:
                counters = await self._counters(server)
                found = self._compared.look(counters, self._received(self._cluster, self._server_name))
                self._tell(found)
                if counters is not None:
                    await self._record(counters, found)
                await asyncio.sleep(every)
        finally:
            await server.close()

    async def _counters(self, server: ApiServer) -> Counters | None:
        try:
            ending, body = await server.body(PATH, {}, SILENCE_SECONDS)
            why = server.detail or ending.how
        except InputError as error:
            body, why = b"", str(error)
        counters = read_counters(body.decode("utf-8", "replace")) if body else None
        if counters is None:
            why = "no counters of an audit backend in its metrics" if body else why
            self._process.log.warning("counters-not-read", source=self._source, why=why)
        return counters

    def _tell(self, found: Delivery) -> None:
        metrics = self._process.metrics
        metrics.add(AUDIT_COMPARED, 1, self._source, found.word)
        if found.word == "unknown":
            return
        metrics.set(AUDIT_MISSING, found.missing, self._source)
        metrics.set(AUDIT_GIVEN_UP, found.given_up, self._source)
        if found.word == "restarted":
            self._told = (0, 0)
            self._process.log.info("api-server-restarted", source=self._source)
        elif found.missing > self._told[0] or found.given_up > self._told[1]:
            self._told = (found.missing, found.given_up)
            self._process.log.warning(
                "audit-events-lost" if found.given_up else "audit-events-missing",
                source=self._source,
                missing=found.missing,
                given_up=found.given_up,
                sent=found.sent,
                received=found.received,
            )

    async def _record(self, counters: Counters, found: Delivery) -> None:
        """The counters are absolute: what nobody took now, the next look says too."""
        now = wall_clock()
        seen = AuditCounted(
            id=f"audit-counted:{self._source}:{now}",
            time=now,
            cluster=self._cluster,
            server=self._server_name,
            started=round((counters.started or 0.0) * SECOND),
            given_up=counters.given_up,
            missing=max(0, found.missing - found.given_up),
        )
        try:
            await self._send([to_wire(output(seen), self._process.settings.kafka.partitions)])
        except PlaceError as error:
            self._process.log.warning("counters-not-told", source=self._source, error=str(error))
