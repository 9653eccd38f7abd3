"""The validating webhook of the clustered mode: trust and facts from a real broker, decisions to it, and without it."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from streams.codec import decode
from streams.engine.broker import Slot
from streams.events import DecisionObserved, EvidenceFound
from streams.topics import FACTS, OBSERVATIONS, TOPICS
from tests.helpers.command import DEMO
from tests.helpers.pipeline import Cluster
from tests.helpers.process import Revet
from tests.helpers.registry_server import push, running
from tests.helpers.webhook import SIGNED, UNSIGNED, Authority, Running, pod, review
from tests.helpers.world import START, policy
from verifier.evidence.keys import load_public_key
from verifier.trust.records import KeyPut, PolicyPut

pytestmark = [pytest.mark.asyncio, pytest.mark.needs("kafka"), pytest.mark.slow, pytest.mark.timeout(240)]

STALE = 4
PAYMENTS = "registry.example.com/payments/**"


class Webhook:
    """A cluster with trust in it, and the webhook beside it."""

    def __init__(self, cluster: Cluster, authority: Authority) -> None:
        self.cluster, self._authority = cluster, authority

    @contextmanager
    def started(self) -> Iterator[Running]:
        with Revet("serve", "admission", **self.cluster.environ, cwd=self.cluster.folder) as process:
            port = int(process.said(r"listening.*https://127\.0\.0\.1:(\d+)/admit", 60))
            made = Running(process, port, self._authority.pem)
            made.ready()
            yield made

    async def events(self, topic: str) -> list[Any]:
        slots = [Slot(topic, n) for n in range(TOPICS[topic].partitions(self.cluster.shards))]
        ends = await self.cluster.link.ends(slots)
        found: list[Any] = []
        for slot in slots:
            if ends[slot]:
                async for records in self.cluster.link.read(slot, 0, ends[slot]):
                    found += [decode(record.value) for record in records]
        return found

    async def decisions(self, *names: str, seconds: float = 60) -> Sequence[DecisionObserved]:
        """Each once, as soon as those of these names are there."""
        deadline = time.monotonic() + seconds
        while True:
            found = {e.id: e for e in await self.events(OBSERVATIONS) if isinstance(e, DecisionObserved)}
            if set(names) <= {decision.name for decision in found.values()}:
                return list(found.values())
            assert time.monotonic() < deadline, found
            await asyncio.sleep(0.2)


@asynccontextmanager
async def prepared(bootstrap: str, folder: Path, registry: Path) -> AsyncIterator[Webhook]:
    authority = Authority()
    authority.write(folder)
    async with running(registry) as origin:
        await push(DEMO / "oci", origin)
        environ = {
            "REVET_CLUSTER": "prod-eu",
            "REVET_EVIDENCE_MIRRORS": f"registry.example.com={origin}",
            "REVET_ADMISSION_ADDRESS": "127.0.0.1:0",
            "REVET_ADMISSION_CERTIFICATE_FILE": str(folder / "tls.crt"),
            "REVET_ADMISSION_KEY_FILE": str(folder / "tls.key"),
            "REVET_ADMISSION_SPOOL": str(folder / "spool.sqlite"),
            "REVET_ADMISSION_MODE": "enforce",
            "REVET_SERVE_STALE_TRUST_SECONDS": str(STALE),
        }
        cluster = Cluster(bootstrap, "", folder / "cluster", shards=2, **environ)
        await asyncio.to_thread(cluster.prepare)
        await cluster.link.start()
        try:
            pem = (DEMO / "keys" / "dev.pub").read_text()
            key = KeyPut(author="test", at=START, name="dev", key_id=load_public_key(pem).key_id, pem=pem)
            signed = policy("payments-signed", signed_by=("dev",), images=(PAYMENTS,), mode="enforce")
            await cluster.trust([key, PolicyPut(author="test", at=START, policy=signed)], START)
            yield Webhook(cluster, authority)
        finally:
            await cluster.link.stop()


async def admitted(webhook: Running, name: str, image: str) -> dict[str, Any]:
    return await asyncio.to_thread(webhook.admit, review(pod(name, image)))


async def test_trust_and_facts_come_from_the_topics_and_what_is_found_goes_to_them(kafka_broker, tmp_path, require):
    broker = kafka_broker()
    async with prepared(broker.bootstrap, tmp_path, require("registry")) as world:
        with world.started() as webhook:
            assert (await admitted(webhook, "good", SIGNED))["allowed"]
            denied = await admitted(webhook, "bad", UNSIGNED)
            assert not denied["allowed"]
            assert denied["auditAnnotations"]["epoch"] == "2"
            found = {decision.name: decision for decision in await world.decisions("good", "bad")}
            assert {name: decision.outcome for name, decision in found.items()} == {"good": "admitted", "bad": "denied"}
            facts = [event for event in await world.events(FACTS) if isinstance(event, EvidenceFound)]
            assert {f"{e.set.repository}@{e.set.digest}" for e in facts} == {SIGNED, UNSIGNED}
        await world.cluster.link.stop()
        async with world.cluster.running("judge", "fetch"):  # whoever reads the topics reads these too
            await world.cluster.quiet()


async def test_without_brokers_answers_come_in_time_and_decisions_go_out_when_they_are_back(
    kafka_broker, tmp_path, require
):
    broker = kafka_broker()
    async with prepared(broker.bootstrap, tmp_path, require("registry")) as world:
        with world.started() as webhook:
            assert (await admitted(webhook, "warm", SIGNED))["allowed"]
            await world.decisions("warm")
            os.kill(broker.pid, signal.SIGSTOP)
            try:
                begun = time.monotonic()
                for number in range(10):
                    await admitted(webhook, f"p{number}", SIGNED)
                assert time.monotonic() - begun < 10 * 3
                deadline = time.monotonic() + 30
                while "trust-stale" not in (said := await admitted(webhook, "stale", UNSIGNED))["auditAnnotations"].get(
                    "reasons", ""
                ):
                    assert time.monotonic() < deadline
                    await asyncio.sleep(0.5)
                assert said["allowed"]  # admission.unverifiable: admit
                webhook.process.kill()
            finally:
                os.kill(broker.pid, signal.SIGCONT)
        with world.started() as webhook:
            assert not (await admitted(webhook, "after", UNSIGNED))["allowed"]
            names = [f"p{number}" for number in range(10)]
            found = await world.decisions("warm", "stale", "after", *names)
        counted = Counter(decision.name for decision in found if decision.name != "stale")
        assert counted == Counter(["warm", "after", *names])
