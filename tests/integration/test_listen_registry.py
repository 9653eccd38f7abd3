"""Webhooks of registries over real sockets: tokens, rates, what is durable, and a push that is judged at once."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from pydantic import SecretStr

from streams.codec import decode, encode
from streams.collectors.notifications import NotificationOptions, NotificationServer
from streams.collectors.notified import BODY_BYTES, Changed
from streams.engine.broker import Slot
from streams.engine.memory_broker import MemoryBroker, MemoryLink
from streams.engine.port import Record
from streams.events import EvidenceWanted
from streams.fetcher import FetchOptions
from streams.local.node import LocalNode, NodeSettings
from streams.serving.metrics import NOTIFICATIONS
from streams.serving.notifying import notified
from streams.serving.process import Process
from streams.settings import KafkaSettings, NotificationSettings, Settings
from streams.shared import Shared
from streams.topics import FACTS, REQUESTS
from tests.helpers.fetching import Bench, digest
from tests.helpers.registry_server import Layout, serving
from tests.helpers.trustadmins import gate
from tests.helpers.world import World
from verifier.adapters.registry import RegistryOptions, RegistryPlace
from verifier.errors import PlaceUnavailable
from verifier.testing import Signer

pytestmark = pytest.mark.asyncio

TOKEN = b"planted-token-77aa"
PUSH = json.dumps({"events": [{"action": "push", "target": {"repository": "payments/api", "tag": "1"}}]}).encode()


class Taken:
    def __init__(self) -> None:
        self.said: list[Changed] = []
        self.told: list[str] = []
        self.broken = False

    async def __call__(self, said: tuple[Changed, ...]) -> int:
        if self.broken:
            raise PlaceUnavailable("kafka-unavailable", "planted-detail")
        self.said.extend(said)
        return len(said)


@asynccontextmanager
async def listening(taken: Taken, **options: object) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    made = NotificationOptions(TOKEN, **options)  # type: ignore[arg-type]  # a table of options
    server = NotificationServer(taken, made, told=taken.told.append)
    async with server.listening("127.0.0.1", 0) as port, aiohttp.ClientSession() as session:
        yield session, f"http://127.0.0.1:{port}/registry"


def shown(token: str) -> dict[str, str]:
    return {"Authorization": token}


@pytest.mark.parametrize("header", ["Bearer planted-token-77aa", "bearer  planted-token-77aa", "planted-token-77aa"])
async def test_who_shows_the_token_is_heard(header):
    taken = Taken()
    async with listening(taken) as (session, url), session.post(url, data=PUSH, headers=shown(header)) as answer:
        assert (answer.status, await answer.text()) == (202, "1 images are asked about again\n")
    assert taken.said == [Changed("payments/api", "1")]
    assert taken.told == ["taken"]


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer x", "Basic planted-token-77aa", "Bearer planted-token-77a"])
async def test_who_does_not_is_turned_away_before_a_body_is_read(header):
    taken = Taken()
    async with listening(taken) as (session, url), session.post(url, data=b"garbage", headers=shown(header)) as answer:
        assert answer.status == 401
        assert "planted" not in await answer.text()
    assert (taken.said, taken.told) == ([], ["refused"])


async def test_garbage_a_long_body_and_what_is_not_durable_have_answers_of_their_own(caplog):
    taken = Taken()
    async with listening(taken) as (session, url):
        statuses = []
        for body, broken in ((b"planted-body", False), (b" " * (BODY_BYTES + 1), False), (PUSH, True), (PUSH, False)):
            taken.broken = broken
            async with session.post(url, data=body, headers=shown("Bearer planted-token-77aa")) as answer:
                statuses.append(answer.status)
                assert "planted" not in await answer.text()
    assert statuses == [400, 413, 503, 202]
    assert taken.told == ["garbage", "garbage", "failed", "taken"]
    assert "planted" not in caplog.text
    assert "planted" not in repr(NotificationOptions(TOKEN))


async def test_more_than_the_rate_is_sent_back_and_may_come_again():
    taken = Taken()
    async with listening(taken, per_second=1) as (session, url):
        statuses = []
        for _ in range(6):
            async with session.post(url, data=PUSH, headers=shown("Bearer planted-token-77aa")) as answer:
                statuses.append(answer.status)
                retry = answer.headers.get("Retry-After", "")
    assert statuses[0] == 202
    assert statuses[-1] == 429
    assert retry
    assert len(taken.said) == statuses.count(202) <= 3


async def test_a_push_is_asked_about_however_lately_the_registry_was_asked():
    bench = Bench()
    key, image, repository = Signer("dev"), digest(1), "r.example/payments/api"
    bench.add_key(key)
    worker = bench.worker(FetchOptions(threads=1, budget_seconds=0.5))
    try:
        bench.seen.take(await worker.handle(bench.records(bench.wanted(repository, image))))
        bench.publish(key.sign_simple(repository, image, {}))
        await worker.handle(bench.records(bench.wanted(repository, image, "stale")))
        assert len(bench.place.asked) == 1, "a sweep just after it needs no question"
        told = EvidenceWanted("n", bench.now + 1, repository, image, why="notified")
        (found,) = bench.seen.take(await worker.handle(bench.records(told)))
        assert len(found.set.evidence) == 1
    finally:
        bench.close()


async def test_a_signature_pushed_after_the_pod_is_judged_when_the_registry_says_so(tmp_path):
    """One machine: the pod runs unsigned; the signature comes; the webhook brings the verdict."""
    layout = Layout(tmp_path / "layout")
    repository = "registry.example.com/payments/api"
    image = layout.image(repository, "1")
    layout.close()
    world = World()
    async with serving(layout.root) as registry:
        options = RegistryOptions(mirrors={"registry.example.com": registry.origin})
        async with RegistryPlace(options) as place:
            node = LocalNode.open(tmp_path / "revet.sqlite", NodeSettings(place=place, clock=lambda: world.now))
            try:
                node.ingest([world.pod("payments", "api-1", {"app": (f"{repository}:1", image)})])
                await node.drain()
                asked = len(registry.asked)
                assert node.look_again([Changed("orders/api", "1")]) == 0
                assert node.look_again([Changed("payments/api", f"sha256-{image[7:]}.sig")]) == 1
                layout.signatures(repository, image, [b"signed"])
                layout.close()
                world.now += 1
                await node.drain()
                (found,) = node.processor.state.images.values()
                assert len(registry.asked) > asked
                assert found.evidence.set is not None
                assert len(found.evidence.set.evidence) == 1
            finally:
                node.close()


async def test_nothing_listens_where_the_address_is_taken():
    taken = Taken()
    async with listening(taken) as (_, url):
        server = NotificationServer(taken, NotificationOptions(TOKEN))
        with pytest.raises(PlaceUnavailable, match=r"notifications\.address"):
            async with server.listening("127.0.0.1", int(url.split(":")[2].split("/")[0])):
                await asyncio.sleep(0)


async def test_in_a_cluster_what_a_registry_says_is_a_durable_request_before_it_is_answered():
    """The same webhook beside a fetcher: known images out of the topic of facts, requests onto theirs."""
    bench, broker = Bench(), MemoryBroker(shards=4)
    worker, link, image = bench.worker(), MemoryLink(broker), digest(1)
    shared = Shared(gate())
    effects = await worker.handle(bench.records(bench.wanted("r.example/payments/api", image)))
    bench.close()
    shared.take([Record(0, FACTS, 0, out.key, out.id, encode(out.event), out.time) for out in effects.outputs])
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    settings = Settings(
        notifications=NotificationSettings(address=f"127.0.0.1:{port}", token=SecretStr("planted-token-77aa")),
        kafka=KafkaSettings(bootstrap="nobody:9092", partitions=4),
    )
    process = Process("fetch", settings)
    await link.start()
    async with notified(process, shared, link), aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{port}/registry"
        for body, expected in ((PUSH.replace(b'"1"', f'"sha256-{image[7:]}.sig"'.encode()), "1 images"), (PUSH, "0 ")):
            async with session.post(url, data=body, headers=shown("planted-token-77aa")) as answer:
                assert answer.status == 202
                assert (await answer.text()).startswith(expected)
    written = [record for number in range(4) for record in broker.records(Slot(REQUESTS, number))]
    await link.stop()
    wanted = [event for record in written if isinstance(event := decode(record.value), EvidenceWanted)]
    assert [(each.repository, each.digest, each.why) for each in wanted] == [
        ("r.example/payments/api", image, "notified")
    ]
    assert process.metrics.value(NOTIFICATIONS, "taken") == 2
