"""Two fetchers on real brokers and one budget: the registry grants no more than that to both of them together."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from streams.codec import decode
from streams.events import EvidenceFound, EvidenceWanted, PullsTaken
from streams.kafka.reading import KafkaLog
from streams.outputs import output
from streams.topics import FACTS, PULLS
from tests.helpers.pipeline import Cluster
from tests.helpers.registry_server import Behaviour, Layout, serving
from tests.helpers.servers import KafkaServer

pytestmark = [pytest.mark.needs("kafka"), pytest.mark.timeout(180), pytest.mark.asyncio]

IMAGES, BUDGET = 24, 20


async def test_two_fetchers_and_one_that_is_started_later_stay_within_one_budget(
    kafka_server: KafkaServer, tmp_path: Path
) -> None:
    layout = Layout(tmp_path / "oci")
    repositories = [f"registry.example.com/app-{number}" for number in range(IMAGES)]
    digests = [layout.image(repository, "1", seed=repository) for repository in repositories]
    layout.close()
    async with serving(layout.root, Behaviour(budget=1_000)) as registry:
        cluster = Cluster(
            kafka_server.bootstrap, "", tmp_path / "cluster",
            REVET_EVIDENCE_MIRRORS=f"registry.example.com=http://{registry.host}",
            REVET_EVIDENCE_BUDGETS=f"{registry.host}={BUDGET}/6h",
        )  # fmt: skip
        cluster.prepare()
        images = list(zip(repositories, digests, strict=True))
        async with cluster.running("fetch", "fetch"):
            for sent in range(2, IMAGES // 2 + 1, 2):  # in turns: a group of two is not shared out at once
                await cluster.send([output(wanted(*image)) for image in images[sent - 2 : sent]])
                await answered(cluster, sent)
        first = registry.pulls
        assert len({one.instance for one in taken(cluster)}) == 2, "both had a part in it"
        cluster.meters.clear()
        async with cluster.running("fetch", "fetch"):  # who is started anew knows what was spent
            await cluster.send([output(wanted(*image)) for image in images[IMAGES // 2 :]])
            await answered(cluster, IMAGES)
        assert 0 < first <= registry.pulls <= BUDGET
        assert registry.pulls >= BUDGET // 2, "most of it was of use"
        assert sum(one.number for one in taken(cluster)) >= registry.pulls


def wanted(repository: str, digest: str) -> EvidenceWanted:
    now = time.time_ns() // 1000
    return EvidenceWanted(f"wanted:{digest}", now, repository, digest, f"{repository}:1@{digest}")


def taken(cluster: Cluster) -> list[PullsTaken]:
    found = [decode(record.value) for record in KafkaLog(cluster.settings.kafka).read(PULLS)]
    return [event for event in found if isinstance(event, PullsTaken)]


async def answered(cluster: Cluster, number: int) -> None:
    """Wait until so many images have an answer, whatever it is."""

    def answers() -> set[str]:
        found = [decode(record.value) for record in KafkaLog(cluster.settings.kafka).read(FACTS)]
        return {event.set.digest for event in found if isinstance(event, EvidenceFound)}

    deadline = time.monotonic() + 90
    while len(await asyncio.to_thread(answers)) < number:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.3)
