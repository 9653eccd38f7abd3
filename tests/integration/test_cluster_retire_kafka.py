"""`revet cluster retire` on real brokers: what ran there has ended, with that as the reason, and nothing else has."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from alerting.models import Finding
from streams.codec import decode
from streams.events import ContainerChanged
from streams.kafka.reading import KafkaLog
from streams.outputs import output
from streams.topics import CONTAINERS, FINDINGS
from tests.helpers.command import Ran, revet
from tests.helpers.pipeline import Cluster
from tests.helpers.servers import KafkaServer
from tests.helpers.trustadmins import ALICE
from tests.helpers.world import START, World, policy
from verifier.reference import parse_reference
from verifier.times import MINUTE
from verifier.trust.records import KeyPut, PolicyPut

pytestmark = [pytest.mark.needs("kafka"), pytest.mark.timeout(180)]

GONE, STAYS = "1f3c9f0e-2a6b-4f0e-8a51-0f3d9b3c7a11", "2f3c9f0e-2a6b-4f0e-8a51-0f3d9b3c7a22"
PODS = 9
"""Of each cluster, over three namespaces; every third of an image that nobody signed."""


@pytest.fixture
def cluster(kafka_server: KafkaServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    made = Cluster(kafka_server.bootstrap, "", tmp_path, shards=3)
    made.prepare()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REVET_STATE", raising=False)
    for name, value in made.environ.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "alice.pem").touch(mode=0o600)
    (tmp_path / "alice.pem").write_bytes(ALICE.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    monkeypatch.setenv("REVET_TRUST_KEY", str(tmp_path / "alice.pem"))
    return made


def asked(*args: object) -> Ran:
    ran = revet(*args)
    assert ran.code == 0, (args, ran.out, ran.err)
    return ran


async def fed(cluster: Cluster, world: World) -> None:
    key = KeyPut(author="t", at=START, name="dev", key_id=world.signer("dev").key_id, pem=world.signer("dev").pem)
    put = PolicyPut(author="t", at=START, policy=policy("signed", signed_by=("dev",)))
    world.record(put)
    await cluster.trust([key, put], START)
    images = [
        world.image(f"registry.example.com/app-{number}:1", signed_by=("dev",) if number % 3 else (), seen=None)
        for number in range(PODS)
    ]
    found = [output(world.fetch(parse_reference(reference).repository, digest)) for reference, digest in images]
    await cluster.send(found)
    pods = [pod(world, at, number, image) for at in (GONE, STAYS) for number, image in enumerate(images)]
    await cluster.send([output(one) for one in pods])
    await cluster.quiet()


def pod(world: World, at: str, number: int, image: tuple[str, str]) -> object:
    owner = ("Deployment", f"app-{number}")
    return world.pod(f"team-{number % 3}", f"app-{number}-x", {"app": image}, cluster=at, owner=owner)


def containers(cluster: Cluster) -> dict[str, ContainerChanged]:
    """The newest document of each instance."""
    read = [decode(record.value) for record in KafkaLog(cluster.settings.kafka).read(CONTAINERS)]
    told = sorted((one for one in read if isinstance(one, ContainerChanged)), key=lambda one: one.sequence)
    return {one.id: one for one in told}


def ends(cluster: Cluster) -> Counter[tuple[str, str, bool]]:
    return Counter((c.cluster, c.end_reason, c.ended is not None) for c in containers(cluster).values())


def findings(cluster: Cluster) -> Counter[tuple[str, str, str]]:
    found = [decode(record.value) for record in KafkaLog(cluster.settings.kafka).read(FINDINGS)]
    newest = {event.id: event for event in found if isinstance(event, Finding) and event.code == "unsigned"}
    return Counter((event.cluster, event.state, event.close_reason) for event in newest.values())


def test_intervals_of_a_retired_cluster_close_with_that_reason_on_every_shard(cluster: Cluster) -> None:
    async def story() -> None:
        world = World(keys=("dev",))
        async with cluster.running("judge"):
            await fed(cluster, world)
            await asyncio.to_thread(asked, "cluster", "enroll", "prod-eu", "--id", GONE)
            await asyncio.to_thread(asked, "cluster", "enroll", "prod-us", "--id", STAYS)
            await cluster.quiet()
            assert ends(cluster) == {(GONE, "", False): PODS, (STAYS, "", False): PODS}
            assert findings(cluster) == {(GONE, "open", ""): 3, (STAYS, "open", ""): 3}
            said = await asyncio.to_thread(asked, "cluster", "retire", "prod-eu", "--yes")
            assert "prod-eu" in said.out + said.err
            await cluster.quiet()
            assert ends(cluster) == {(GONE, "cluster-retired", True): PODS, (STAYS, "", False): PODS}
            assert findings(cluster) == {(GONE, "closed", "cluster-retired"): 3, (STAYS, "open", ""): 3}
        cluster.meters.clear()
        async with cluster.running("judge"):  # whoever takes over says nothing else
            await cluster.quiet()
            assert ends(cluster) == {(GONE, "cluster-retired", True): PODS, (STAYS, "", False): PODS}
            world.now += MINUTE
            await cluster.send([output(pod(world, GONE, 0, world.image("registry.example.com/app-0:1")))])
            await cluster.quiet()
            assert ends(cluster) == {(GONE, "cluster-retired", True): PODS, (STAYS, "", False): PODS}, "nothing follows"

    asyncio.run(story())
