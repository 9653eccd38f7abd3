"""Pods watched by the single-machine mode: the loop of `revet serve pods`, with the state file in the place of Kafka.

    async with watching(service, settings.pods, say): await service.run(stop)

Observations go the way of a receiver's batches. What was told of each pod, and how far its cluster was read, is kept
beside the progress of recordings, so the next run goes on from there and finds what ended meanwhile.
"""

from __future__ import annotations

import asyncio
import random
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

import msgspec

from streams.collectors.apiserver import ApiServer
from streams.collectors.bodies import Batch
from streams.collectors.clusters import finder
from streams.collectors.namespacelook import NamespaceLook
from streams.collectors.podloop import LoopOptions, NamespaceLoop, PodLoop
from streams.collectors.podwatch import GONE, Ending, Known, PodWatch, Position, Step
from streams.events import NamespaceObserved
from streams.local.service import Service
from streams.settings import PodsSettings, WatchedCluster
from verifier.errors import InputError, PlaceError

WATCH: Final = "watch:"
"""Before CLUSTER/UID among the sources; `watch:CLUSTER/` has the position."""
AGAIN_SECONDS: Final = 15.0

Say = Callable[[str], None]


class LocalKeeper:
    """Of one cluster. Implements `streams.collectors.podloop.Keeper`."""

    def __init__(self, service: Service, cluster: str) -> None:
        self._service, self._cluster = service, cluster
        self._prefix = f"{WATCH}{cluster}/"

    async def load(self) -> tuple[dict[str, Known], Position]:
        """See `Keeper`."""
        known: dict[str, Known] = {}
        position = Position()
        for source, text in self._service.node.engine.progress_below(self._prefix):
            uid = source.removeprefix(self._prefix)
            try:
                if uid:
                    known[uid] = msgspec.msgpack.decode(b64decode(text), type=Known)
                else:
                    position = msgspec.json.decode(text, type=Position)
            except (msgspec.MsgspecError, ValueError):
                continue  # its pod is told of anew
        return known, position

    async def tell(self, step: Step) -> None:
        """See `Keeper`."""
        told = [step.first_sign, *step.observations] if step.first_sign is not None else step.observations
        if told:
            await self._service.accept(Batch(self._cluster, told, step.originals, observed=len(told)))

    async def keep(self, step: Step) -> None:
        """See `Keeper`."""
        progress = {self._prefix: msgspec.json.encode(step.position).decode()}
        for uid, row in step.rows.items():
            progress[self._prefix + uid] = "" if row is None else b64encode(msgspec.msgpack.encode(row)).decode()
        self._service.node.ingest([step.sign] if step.sign is not None else [], progress)


class _Told:
    """Says what people want to know, once. Implements `streams.collectors.podloop.Told`."""

    def __init__(self, cluster: str, say: Say) -> None:
        self._cluster, self._say = cluster, say
        self._trouble = ""

    def ended(self, ending: Ending, detail: str, pause: float) -> None:
        """See `Told`."""
        if ending.how in ("unreachable", "too-large") or (ending.how == "status" and ending.status != GONE):
            self.trouble(f"{detail or ending.how}; again in {pause:.0f} s")

    def trouble(self, message: str) -> None:
        """It does not work."""
        if not self._trouble:
            self._say(f"revet: cluster {self._cluster}: {message}")
        self._trouble = message

    def heard(self) -> None:
        """See `Told`."""
        if self._trouble:
            self._say(f"revet: cluster {self._cluster}: heard again")
            self._trouble = ""

    def durable(self, step: Step) -> None:
        """See `Told`."""

    def not_durable(self, error: PlaceError) -> None:
        """See `Told`."""
        self.trouble(str(error))


@asynccontextmanager
async def watching(service: Service, settings: PodsSettings, say: Say) -> AsyncIterator[None]:
    """Watch the clusters of the settings while the block runs. One that cannot be watched is told, and tried again."""
    tasks = [asyncio.create_task(_cluster(service, settings, place, say)) for place in settings.places()]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


async def _cluster(service: Service, settings: PodsSettings, place: WatchedCluster, say: Say) -> None:
    told = _Told(place.name, say)
    keeper = LocalKeeper(service, place.name)
    options = _options(settings)
    say(f"revet: watching the pods of {place.name}")
    while True:
        server = ApiServer(finder(place.kubeconfig, place.context), settings.connect_seconds)
        loop = PodLoop(
            PodWatch(place.name, *await keeper.load(), settings.exclude_namespaces), server, keeper, told, options
        )
        look = asyncio.create_task(_namespaces(service, settings, place, told))
        try:
            await loop.run()
        except (InputError, PlaceError) as error:
            told.trouble(str(error))
        finally:
            look.cancel()
            await asyncio.wait([look])
            await server.close()
        await asyncio.sleep(AGAIN_SECONDS * random.uniform(0.5, 1.0))  # noqa: S311  # spreads tries over time


def _options(settings: PodsSettings) -> LoopOptions:
    return LoopOptions(float(settings.silence_seconds), settings.watch_seconds)


async def _namespaces(service: Service, settings: PodsSettings, place: WatchedCluster, told: _Told) -> None:
    """Namespaces beside the pods; pods are watched all the same where they cannot be listed."""
    if not settings.namespaces_seconds:
        return
    server = ApiServer(finder(place.kubeconfig, place.context), settings.connect_seconds)

    async def tell(found: list[NamespaceObserved]) -> None:
        await service.accept(Batch(place.name, found, observed=len(found)))

    try:
        while True:
            with suppress(InputError, PlaceError):  # told by the loop, which asks in the same way
                look, every = NamespaceLook(place.name), float(settings.namespaces_seconds)
                await NamespaceLoop(look, server, every, tell, told.trouble, _options(settings)).run()
            await asyncio.sleep(AGAIN_SECONDS)
    finally:
        await server.close()
