"""What registries say of themselves, in a cluster: a notification becomes requests for evidence on their topic."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

from streams.clock import wall_clock
from streams.collectors.notifications import NotificationOptions, NotificationServer
from streams.collectors.notified import Changed, KnownImage, requests
from streams.engine.broker import Link
from streams.engine.wire import to_wire
from streams.events import EvidenceFound
from streams.outputs import output
from streams.serving.metrics import NOTIFICATIONS
from streams.serving.process import Process
from streams.settings import host_and_port, shown_address
from streams.shared import Shared


@asynccontextmanager
async def notified(process: Process, shared: Shared, link: Link) -> AsyncIterator[None]:
    """Hear registries until the block ends, where the settings say so.

    Raises:
        PlaceUnavailable: the address cannot be listened on. InputError: the token cannot be read.
    """
    settings = process.settings.notifications
    if not settings.address:
        yield
        return

    async def take(said: tuple[Changed, ...]) -> int:
        now = wall_clock()
        wanted = list(requests(said, known_images(shared, said), now, shared.trust.epoch))
        shards = process.settings.kafka.partitions
        for future in [await link.send(to_wire(output(one), shards, 0, now // 1000)) for one in wanted]:
            await future
        return len(wanted)

    options = NotificationOptions(settings.token_bytes(), settings.per_second)
    server = NotificationServer(take, options, told=lambda result: process.metrics.add(NOTIFICATIONS, 1, result))
    host, port = host_and_port(settings.address)
    async with server.listening(host, port) as bound:
        shown = shown_address(host, bound)
        process.log.info("listening", url=f"http://{shown}/registry")
        yield


def known_images(shared: Shared, said: tuple[Changed, ...]) -> Iterator[KnownImage]:
    """Images of the repositories that something was said about."""
    for path in dict.fromkeys(change.path for change in said):
        yield from map(known_image, shared.images_of(path))


def known_image(found: EvidenceFound) -> KnownImage:
    """An answer about an image as the image that is known."""
    content = found.set
    related = (*content.closure.indexes, *content.closure.children)
    return KnownImage(content.repository, content.digest, content.names, related)
