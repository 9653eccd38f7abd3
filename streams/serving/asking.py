"""What `revet serve alert` writes beside its shard, and what it asks: acts of people, and what the record adds.

take = taking(link, shards)                      durable on the topic of actions, where the commands write too
async with knowing_of(settings, take, now) as knowing: …
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from alerting.models import Incident, IncidentAction, IncidentContext
from streams.clock import wall_clock
from streams.elastic import Server, connect
from streams.engine.broker import Link
from streams.engine.wire import to_wire
from streams.knowing import Knowing
from streams.outputs import output
from streams.queries.conditions import EVERYTHING
from streams.queries.context import context_of
from streams.queries.elasticsearch import ElasticsearchReader
from streams.settings import Settings
from streams.sinks.fields import HOMES
from streams.sinks.mapping import Names
from verifier.errors import InputError

RECORD_SECONDS: Final = 5.0
"""For one request to the record, for what a message adds."""

Take = Callable[[IncidentAction | IncidentContext], Awaitable[None]]
"""Makes it durable. Raises PlaceError."""


def taking(link: Link, shards: int) -> Take:
    """What makes an act durable: the topic of actions, where the commands write too."""

    async def take(event: IncidentAction | IncidentContext) -> None:
        await (await link.send(to_wire(output(event), shards, 0, wall_clock() // 1000)))

    return take


def _record(settings: Settings, told: Callable[[str], None]) -> Server | None:
    if not settings.elasticsearch.nodes:
        return None
    try:
        return connect(settings.elasticsearch, RECORD_SECONDS)
    except InputError as error:  # a file that is not mounted for this process
        told(str(error))
        return None


@asynccontextmanager
async def knowing_of(
    settings: Settings, take: Take, now: Callable[[], int], told: Callable[[str], None]
) -> AsyncIterator[Knowing | None]:
    """What asks Elasticsearch for what messages add; None where the settings name none, or none that can be asked: then
    `told` hears why, and messages say that it is not known. Nobody is left untold for that.
    """
    server = _record(settings, told)
    if server is None:
        yield None
        return
    with server:
        reader = ElasticsearchReader(server, Names(settings.elasticsearch.namespace))

        async def ask(incident: Incident) -> IncidentContext:
            return await asyncio.to_thread(context_of, reader, incident, now())

        async def probe() -> None:
            await asyncio.to_thread(reader.find, HOMES["incidents"], EVERYTHING, limit=1)

        knowing = Knowing(ask, take, probe)
        looking = asyncio.get_running_loop().create_task(knowing.run())
        try:
            yield knowing
        finally:
            looking.cancel()
            knowing.cancel()
            await asyncio.wait([looking])
