"""`revet serve hub` on a real broker, in the place of Azure Event Hubs: batches of records, killed, whole."""

from __future__ import annotations

import asyncio
import json
import random
import time
import uuid
from collections.abc import Callable

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from streams.topics import DEADLETTERS, OBSERVATIONS
from tests.helpers.cluster import demo_images, write_recording
from tests.helpers.kafkatopics import Place, audit_ids
from tests.helpers.process import ROOT, Revet
from tests.helpers.servers import KafkaServer

pytestmark = [pytest.mark.needs("kafka"), pytest.mark.timeout(300)]


@pytest.fixture
def place(kafka_server: KafkaServer) -> Place:
    return Place(kafka_server.bootstrap).prepare()


@pytest.fixture
def topic(kafka_server: KafkaServer) -> str:
    """As Azure calls it, with two partitions."""
    name = f"insights-logs-kube-audit-{uuid.uuid4().hex[:8]}"

    async def create() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka_server.bootstrap)
        await admin.start()
        await admin.create_topics([NewTopic(name, 2, 1)])
        await admin.close()

    asyncio.run(create())
    return name


def reader(place: Place, topic: str, **extra: str) -> Revet:
    hub = {"REVET_HUB_BOOTSTRAP": place.settings.bootstrap, "REVET_HUB_SECURITY": "plaintext", "REVET_HUB_TOPIC": topic}
    return Revet("serve", "hub", cwd=ROOT, **place.environment(REVET_HUB_CLUSTER="c1", **hub, **extra))


def record(line: bytes, number: int) -> dict[str, object]:
    log = line.decode() if number % 2 else json.loads(line)
    return {"category": "kube-audit-admin", "properties": {"log": log, "pod": "kube-apiserver-1"}, "resourceId": "/X"}


def deliver(place: Place, topic: str, lines: list[bytes], size: int = 20) -> None:
    bodies = [
        json.dumps(
            {"records": [record(line, start + n) for n, line in enumerate(lines[start : start + size])]}
        ).encode()
        for start in range(0, len(lines), size)
    ]

    async def send() -> None:
        async with AIOKafkaProducer(bootstrap_servers=place.settings.bootstrap) as producer:
            for body in (*bodies, b'{"records": [{"category":"guard","properties":{}}, 7]} garbage'):
                await producer.send_and_wait(topic, body)

    asyncio.run(send())


def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 90
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.3)


@pytest.mark.kill
@pytest.mark.slow
def test_what_a_hub_delivers_is_whole_through_kills(place, topic, tmp_path):
    recording = write_recording(tmp_path / "r", events=2_000, images=demo_images(), seed=11)
    lines = recording.audit.read_bytes().splitlines()
    chance, expected = random.Random(5), set(recording.audit_ids)
    deliver(place, topic, lines[:1000])
    for _ in range(2):
        with reader(place, topic) as process:
            process.said("(reading)")
            time.sleep(chance.uniform(0.5, 2.0))
            process.kill()
    deliver(place, topic, lines[1000:])
    with reader(place, topic) as process:
        process.said("(reading)")  # before it listens to signals it would just end
        until(lambda: expected <= audit_ids(place.read(OBSERVATIONS)).keys())
        assert process.end() == 0, process.err
    found = place.read(OBSERVATIONS)
    assert audit_ids(found).keys() == expected
    assert {r.key.partition("/")[0] for r in found} == {"c1"}
    assert place.read(DEADLETTERS)
    before = len(found)
    with reader(place, topic) as process:  # what was committed does not come again
        process.said("(reading)")
        time.sleep(6)
        assert process.end() == 0, process.err
    assert len(place.read(OBSERVATIONS)) == before


def test_a_hub_that_is_not_named_and_one_that_is_not_there(place):
    with Revet("serve", "hub", cwd=ROOT, **place.environment()) as process:
        assert process.wait() == 2
    assert "hub.topic" in process.err
    with reader(place, "nowhere") as process:
        assert process.wait() == 4
    assert "there is no topic nowhere" in process.err
    assert "Traceback" not in process.err
