"""Keys kept elsewhere, watched: a folder, a Secret of a real API server, Vault's transit engine by its contract."""

from __future__ import annotations

import asyncio
import json
import os
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import SecretStr

from streams.cli.changing import reading
from streams.cli.serve_keys import sources_of, watch
from streams.collectors.keysources import KeyAccess, KeyFolder, source_of
from streams.serving.process import Process
from streams.settings import KeySettings, Settings
from tests.helpers.watchedcluster import WatchedCluster
from tests.integration.test_list_pods_kube import cluster
from verifier.errors import InputError, PlaceRefused, PlaceUnavailable
from verifier.evidence.keys import load_public_key
from verifier.testing import Signer
from verifier.trust.state import TrustState

__all__ = ["cluster"]

ONE, TWO = Signer("one"), Signer("two")
TOKEN = "hvs.planted-token-0d1e"


class Watched:
    """One look after another at the sources of some settings, and the ring that comes of it."""

    def __init__(self, folder: Path, **keys: Any) -> None:
        self.settings = Settings(state=folder / "revet.sqlite", keys=KeySettings(**keys))
        self.process = Process("keys", self.settings)
        self.sources = sources_of(self.settings)

    def look(self) -> TrustState:
        asyncio.run(watch(self.process, self.sources, once=True))
        return self.trust()

    def trust(self) -> TrustState:
        assert self.settings.state is not None
        return reading(self.settings.state, create=True).trust


# -------------------------------------------------------------------------------------------------------------- folders


def test_a_folder_is_followed_into_the_trust_log(tmp_path):
    folder = tmp_path / "keys"
    folder.mkdir()
    (folder / "release.pub").write_text(ONE.pem)
    (folder / "cosign.key").write_text("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nplanted\n")
    watched = Watched(tmp_path, sources={"corp": f"files:{folder}"})
    assert watched.look().names == {"corp.release": ONE.key_id}
    epoch = watched.look().epoch
    assert epoch == 1, "the same folder changes nothing"
    (folder / "release.pub").write_text(TWO.pem)
    trust = watched.look()
    assert trust.names == {"corp.release": TWO.key_id}
    assert trust.keys[ONE.key_id].superseded_at is not None
    (folder / "other.pub").write_text(ONE.pem.replace("A", "B", 3))
    (folder / "ci.pub").write_text(Signer("three").pem)
    (folder / "release.pub").unlink()
    trust = watched.look()
    assert sorted(name for name, key in trust.names.items() if trust.keys[key].removed_at is None) == ["corp.ci"]
    entry = reading(watched.settings.state).entries[0].record  # type: ignore[arg-type]  # set above
    assert (entry.origin, entry.note) == ("keys:corp", "what key source corp has now")


@pytest.mark.parametrize("what", ["missing", "empty", "file"])
def test_a_folder_that_is_not_there_takes_no_key_away(tmp_path, what):
    folder = tmp_path / "keys"
    folder.mkdir()
    (folder / "release.pub").write_text(ONE.pem)
    watched = Watched(tmp_path, sources={"corp": f"files:{folder}"})
    watched.look()
    (folder / "release.pub").unlink()
    if what != "empty":
        folder.rmdir()
    if what == "file":
        folder.write_text("no folder")
    with pytest.raises(PlaceUnavailable):
        watched.look()
    assert watched.trust().names == {"corp.release": ONE.key_id}


@pytest.mark.asyncio
async def test_what_is_no_file_is_no_key_and_holds_nobody_up(tmp_path):
    (tmp_path / "good.pub").write_text(ONE.pem)
    (tmp_path / "folder.pub").mkdir()
    os.mkfifo(tmp_path / "pipe.pub")
    with pytest.raises(PlaceUnavailable):  # a folder under the name of a key cannot be read
        await KeyFolder(tmp_path).read()
    (tmp_path / "folder.pub").rmdir()
    found = await KeyFolder(tmp_path).read()
    assert found == {"good.pub": ONE.pem, "pipe.pub": ""}


def test_one_source_that_fails_keeps_no_other_from_being_followed(tmp_path):
    folder = tmp_path / "keys"
    folder.mkdir()
    (folder / "release.pub").write_text(ONE.pem)
    watched = Watched(tmp_path, sources={"gone": f"files:{tmp_path / 'none'}", "corp": f"files:{folder}"})
    with pytest.raises(PlaceUnavailable):
        watched.look()
    assert watched.trust().names == {"corp.release": ONE.key_id}
    assert [trouble.what for trouble in watched.process.health.report().troubles] == ["keys-gone"]


# ----------------------------------------------------------------------------------------------------------- Kubernetes


def keys_of(secret: dict[str, str]) -> dict[str, str]:
    return {name: b64encode(text.encode()).decode() for name, text in secret.items()}


@pytest.mark.needs("kube")
def test_a_secret_and_a_configmap_of_a_real_api_server_are_followed(cluster: WatchedCluster, tmp_path):
    config = cluster.kubeconfig("keys", "--token=admin-token")
    core = "/api/v1/namespaces/default"
    body = {"metadata": {"name": "release-keys"}, "data": keys_of({"cosign.pub": ONE.pem, "cosign.key": "planted"})}
    cluster.ask("POST", f"{core}/secrets", {"apiVersion": "v1", "kind": "Secret", **body})
    kept = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "keys"},
        "data": {"ci.pub": TWO.pem, "x": "y"},
    }
    cluster.ask("POST", f"{core}/configmaps", kept)
    sources = {"kyverno": "kubernetes:secret/default/release-keys", "ci": "kubernetes:configmap/default/keys"}
    watched = Watched(tmp_path, sources=sources, kubeconfig=config)
    assert watched.look().names == {"kyverno.cosign": ONE.key_id, "ci.ci": TWO.key_id}
    three = Signer("three")
    change = {"data": keys_of({"cosign.pub": three.pem})}
    cluster.ask("PATCH", f"{core}/secrets/release-keys", change, "application/merge-patch+json")
    trust = watched.look()
    assert trust.names["kyverno.cosign"] == three.key_id
    assert trust.keys[ONE.key_id].superseded_at is not None
    cluster.ask("DELETE", f"{core}/secrets/release-keys")
    trust = watched.look()
    assert trust.keys[three.key_id].removed_at is not None
    assert trust.keys[TWO.key_id].removed_at is None


@pytest.mark.needs("kube")
def test_who_may_not_read_a_secret_changes_nothing(cluster: WatchedCluster, tmp_path):
    config = cluster.kubeconfig("nobody-keys", "--token=nobody-token")
    watched = Watched(tmp_path, sources={"corp": "kubernetes:secret/default/none"}, kubeconfig=config)
    with pytest.raises(PlaceRefused, match="may not read it"):
        watched.look()
    assert watched.trust().epoch == 0


# ---------------------------------------------------------------------------------------------------------------- Vault


class Vault:
    """Transit's "read key" (GET /v1/:mount/keys/:name), with the errors of Vault's API."""

    def __init__(self) -> None:
        self.versions: list[str] = [ONE.pem]
        self.type = "ecdsa-p256"
        self.status = 200
        self.tokens: list[str] = []
        self.address = ""

    async def handle(self, request: web.Request) -> web.Response:
        self.tokens.append(request.headers.get("X-Vault-Token", ""))
        if self.tokens[-1] != TOKEN:
            return web.json_response({"errors": ["permission denied"]}, status=403)
        if self.status != 200:
            return web.json_response({"errors": ["planted"]}, status=self.status)
        keys = {
            str(number): {"name": "P-256", "public_key": key, "creation_time": "2026-01-01T00:00:00Z"}
            for number, key in enumerate(self.versions, start=1)
        }
        data = {
            "name": "release", "type": self.type, "latest_version": len(keys), "min_decryption_version": 1,
            "min_encryption_version": 0, "exportable": False, "deletion_allowed": False, "keys": keys,
        }  # fmt: skip
        return web.json_response({"request_id": "r", "lease_id": "", "renewable": False, "data": data})

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        app = web.Application()
        app.router.add_get("/v1/transit/keys/release", self.handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield
        finally:
            await runner.cleanup()


@pytest.mark.asyncio
async def test_a_key_of_vault_is_followed_through_its_versions(tmp_path):
    vault = Vault()
    async with vault.serving():
        token = tmp_path / "token"
        token.write_text(TOKEN + "\n")
        keys = {"sources": {"hsm": "vault:transit/release"}, "vault_address": vault.address, "vault_token_file": token}
        watched = Watched(tmp_path, **keys)
        await watch(watched.process, watched.sources, once=True)
        assert watched.trust().names == {"hsm.release": ONE.key_id}
        vault.versions.append(TWO.pem)
        await watch(watched.process, watched.sources, once=True)
        trust = watched.trust()
        assert trust.names == {"hsm.release": TWO.key_id}
        assert trust.keys[ONE.key_id].superseded_at is not None
        for status, error in ((503, PlaceUnavailable), (500, PlaceUnavailable), (302, PlaceUnavailable)):
            vault.status = status
            with pytest.raises(error):
                await watch(watched.process, watched.sources, once=True)
        token.write_text("a-token-that-ended")
        with pytest.raises(PlaceRefused) as refused:
            await watch(watched.process, watched.sources, once=True)
        assert "token" not in str(refused.value)
        assert watched.trust().epoch == trust.epoch
        token.write_text(TOKEN)
        vault.status = 404
        await watch(watched.process, watched.sources, once=True)
        assert watched.trust().keys[TWO.key_id].removed_at is not None


@pytest.mark.asyncio
async def test_an_ed25519_key_of_vault_is_bare_bytes():
    vault = Vault()
    public = Ed25519PrivateKey.from_private_bytes(b"x" * 32).public_key()
    vault.type = "ed25519"
    vault.versions = [b64encode(public.public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()]
    async with vault.serving():
        access = KeyAccess(vault=vault.address, token=lambda: TOKEN)
        found = await source_of("vault:transit/release", access).read()
        expected = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        assert load_public_key(found["release"]).key_id == load_public_key(expected).key_id


SYMMETRIC = b'{"data": {"type": "aes256-gcm96", "latest_version": 1, "keys": {"1": 1767225600}}}'


@pytest.mark.parametrize("body", [b"", b"[]", b'{"data": 1}', SYMMETRIC])
@pytest.mark.asyncio
async def test_what_is_no_key_of_transit_is_an_error_and_no_removal(body):
    vault = Vault()

    async def handle(request: web.Request) -> web.Response:
        return web.Response(body=body)

    vault.handle = handle  # type: ignore[method-assign]  # a server that answers with something else
    async with vault.serving():
        with pytest.raises(PlaceRefused):
            await source_of("vault:transit/release", KeyAccess(vault=vault.address, token=lambda: TOKEN)).read()


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("vault:transit/release", ""),
        ("vault:transit/release", "http://vault.corp.example:8200"),
        ("vault:transit/release", "https://u:p@vault.example"),
        ("vault:release", "https://vault.example"),
        ("vault:transit/../sys", "https://vault.example"),
        ("files:", ""),
        ("kubernetes:secret/default", ""),
        ("kubernetes:pod/default/x", ""),
        ("kubernetes:secret/../x/y", ""),
        ("s3:bucket", ""),
    ],
)
def test_a_place_that_is_none_is_named(written, address):
    with pytest.raises(InputError, match=r"keys\."):
        source_of(written, KeyAccess(vault=address))


def test_the_token_is_shown_nowhere():
    settings = Settings(keys=KeySettings(sources={"a": "files:/x"}, vault_token=SecretStr(TOKEN)))
    source = source_of(
        "vault:transit/release", KeyAccess(vault="https://v.example", token=settings.keys.vault_token_text)
    )
    for thing in (settings, settings.keys, source):
        assert TOKEN not in repr(thing)
        assert TOKEN not in str(thing)
    assert TOKEN not in json.dumps(settings.model_dump(mode="json"))


def test_no_source_and_no_key_to_sign_with_are_named():
    with pytest.raises(InputError, match=r"keys\.sources"):
        sources_of(Settings())
    with pytest.raises(InputError, match=r"keys\.sign_with"):
        sources_of(Settings.model_validate({"keys": {"sources": {"a": "files:/x"}}, "kafka": {"bootstrap": "k:9092"}}))
