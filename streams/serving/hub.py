"""`revet serve hub`: audit events that a cloud delivers into a topic (Azure Event Hubs for AKS), into our own.

Progress is committed once all that was polled is durable with us, so a kill has it come again, with the same ids.
"""

from __future__ import annotations

import asyncio

from streams.clock import wall_clock
from streams.collectors.bodies import Bodies
from streams.kafka.deliveries import Deliveries
from streams.serving.collecting import DurableDoor, collector_door
from streams.serving.parsing import batch_records
from streams.serving.process import Process
from verifier.errors import InputError


async def hub(process: Process) -> None:
    """Take what is delivered until the process is told to stop.

    Raises:
        InputError: a setting is missing or wrong; PlaceError: as `collector_door`, or the hub cannot be read.
    """
    settings = process.settings.hub
    if not settings.topic or not settings.bootstrap:
        raise InputError("hub.topic: nothing to read; example: hub: {bootstrap: 'ns.servicebus.windows.net:9093', …}")
    cluster = settings.cluster or process.settings.cluster
    async with collector_door(process, "hub") as door:
        found = await asyncio.to_thread(Deliveries, settings.kafka(), settings.topic, settings.group)
        try:
            process.log.info("reading", topic=settings.topic, cluster=cluster)
            process.health.ready()
            bodies = Bodies()
            while not process.stop.is_set():
                await _take(process, door, found, bodies, cluster)
        finally:
            await asyncio.to_thread(found.__exit__, None, None, None)


async def _take(process: Process, door: DurableDoor, found: Deliveries, bodies: Bodies, cluster: str) -> None:
    values = await asyncio.to_thread(found.poll)
    under_way = []
    for value in values:
        batch = bodies.read(cluster, value, wall_clock())
        if records := batch_records(batch, process.settings.kafka.partitions):
            under_way.append(door.begin(records))
    for future in under_way:
        await future
    if values and not await asyncio.to_thread(found.commit):
        process.log.info("handed-over", records=len(values))
