"""What a trust change would do, and what it did, on a running cluster: foretold from the topics, then judged by all."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from streams.engine.port import Output
from streams.outputs import output
from tests.helpers.command import Ran, revet
from tests.helpers.pipeline import Cluster
from tests.helpers.servers import KafkaServer
from tests.helpers.trustadmins import ALICE
from tests.helpers.world import START, World, policy
from verifier.reference import parse_reference
from verifier.trust.records import KeyPut, PolicyPut

pytestmark = [pytest.mark.needs("kafka"), pytest.mark.timeout(180)]

PODS = 12


async def fed(cluster: Cluster) -> None:
    """A key, a policy that asks for it, and twelve pods of signed images in three namespaces."""
    world = World(keys=("dev",))
    key = KeyPut(author="t", at=START, name="dev", key_id=world.signer("dev").key_id, pem=world.signer("dev").pem)
    put = PolicyPut(author="t", at=START, policy=policy("signed", signed_by=("dev",)))
    world.record(put)
    await cluster.trust([key, put], START)
    out: list[Output] = []
    for number in range(PODS):
        reference, digest = world.image(f"registry.example.com/app-{number}:1", signed_by=("dev",), seen=None)
        out.append(output(world.fetch(parse_reference(reference).repository, digest)))
        out.append(output(world.pod(f"team-{number % 3}", f"pod-{number}", {"app": (reference, digest)})))
    await cluster.send(out)
    await cluster.quiet()


def asked(*args: object) -> Ran:
    ran = revet(*args)
    assert ran.code == 0, (args, ran.out, ran.err)
    return ran


def test_a_revocation_is_foretold_then_judged_by_every_shard(
    kafka_server: KafkaServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster(kafka_server.bootstrap, "", tmp_path, shards=3)
    cluster.prepare()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REVET_STATE", raising=False)
    for name, value in cluster.environ.items():
        monkeypatch.setenv(name, value)
    pem = ALICE.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "alice.pem").write_bytes(pem)
    (tmp_path / "alice.pem").chmod(0o600)
    monkeypatch.setenv("REVET_TRUST_KEY", str(tmp_path / "alice.pem"))
    revoke = ("revoke", "key", "dev", "--reason", "keyCompromise", "--all-signatures", "-o", "json")

    async def story() -> None:
        async with cluster.running("judge"):
            await fed(cluster)
            dry = (await asyncio.to_thread(asked, *revoke, "--dry-run")).json
            assert (dry["preview"]["violating"]["containers"], dry["preview"]["violating"]["namespaces"]) == (PODS, 3)
            assert dry["split"]["unknown"] == PODS
            done = (await asyncio.to_thread(asked, *revoke, "--yes")).json
            assert done["preview"] == {
                **dry["preview"],
                "at": done["preview"]["at"],
                "opened": done["preview"]["opened"],
            }
            outcome = done["outcome"]
            assert (outcome["judged_by"], outcome["judged"]) == ("cluster", True)
            assert [(i["kind"], i["containers"]) for i in outcome["came"]["incidents"]] == [("key-revoked", PODS)]
            again = (await asyncio.to_thread(asked, "revocation", "list", "-o", "json")).json
            withdrawn = await asyncio.to_thread(asked, "revocation", "withdraw", again["revocations"][0]["id"])
            assert "every shard has judged under it" in withdrawn.out
            assert "nothing is left in it" in withdrawn.out

    asyncio.run(story())
