"""Pods asked of an API server: a small one in this process, with tokens, certificates, pages and faults."""

import asyncio
import json
import ssl
import sys
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from streams.collectors import login, watch
from streams.collectors.deadletters import Problem
from streams.collectors.kubeconfig import read_kubeconfig
from streams.collectors.watch import list_pods
from streams.events import Pod
from tests.helpers.command import DEMO, revet
from verifier.errors import InputError, PlaceRefused, PlaceUnavailable

TOKEN = "a-secret-token"
API = "registry.example.com/payments/api"
DIGEST = "sha256:df5aa0f8edba1670736b443b968cbf29911b4ac7e10de5a5fb8704a458f4418f"


# ------------------------------------------------------------------------------------------------------ the other side


class Pki:
    """One CA, a server on 127.0.0.1, a client."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test ca")])
        self.ca = self._sign(self._name, self._key.public_key(), x509.BasicConstraints(ca=True, path_length=None))
        self.server = self._pair("apiserver", ExtendedKeyUsageOID.SERVER_AUTH)
        self.client = self._pair("revet", ExtendedKeyUsageOID.CLIENT_AUTH)

    def _sign(self, subject: x509.Name, key: Any, *extensions: x509.ExtensionType) -> str:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(self._name, subject, key, x509.random_serial_number())
        builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        issuer = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), critical=False
        )
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()

    def _pair(self, name: str, usage: x509.ObjectIdentifier) -> tuple[str, str]:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        host = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
        certificate = self._sign(subject, key.public_key(), x509.ExtendedKeyUsage([usage]), host)
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        return certificate, secret


@pytest.fixture(scope="module")
def pki() -> Pki:
    return Pki()


def a_pod(number: int) -> dict:
    return {
        "metadata": {"name": f"p{number}", "namespace": "shop", "uid": f"uid-{number}"},
        "spec": {"containers": [{"name": "app", "image": f"{API}:1.4.2"}]},
        "status": {"phase": "Running", "containerStatuses": [{"name": "app", "imageID": f"{API}@{DIGEST}"}]},
    }


class ApiServer:
    """Answers `/api/v1/pods` page by page, and keeps what it was asked."""

    def __init__(self, pods: int = 3, page: int = 2) -> None:
        self.pods = [a_pod(n) for n in range(pods)]
        self.page = page
        self.expire_once = False
        self.always_expired = False
        self.answer: web.Response | None = None
        self.asked: list[dict[str, str]] = []
        self.authorizations: list[str | None] = []
        self.peers: list[Any] = []

    async def handle(self, request: web.Request) -> web.Response:
        self.asked.append(dict(request.query))
        self.authorizations.append(request.headers.get("Authorization"))
        assert request.transport is not None
        self.peers.append(request.transport.get_extra_info("peercert"))
        if self.answer is not None:
            return web.Response(status=self.answer.status, body=self.answer.body, headers=self.answer.headers)
        start = int(request.query.get("continue", "0"))
        if start and (self.expire_once or self.always_expired):
            self.expire_once = False
            return web.json_response({"kind": "Status", "code": 410, "reason": "Expired"}, status=410)
        shown = self.pods[start : start + self.page]
        after = str(start + self.page) if start + self.page < len(self.pods) else ""
        return web.json_response({"kind": "PodList", "metadata": {"continue": after}, "items": shown})


@asynccontextmanager
async def serving(server: ApiServer, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/api/v1/pods", server.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


def server_tls(pki: Pki, folder: Path, *, ask_client: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pair = folder / "server.pem"
    pair.write_text("".join(pki.server))
    context.load_cert_chain(pair)
    if ask_client:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=pki.ca)
    return context


def b64(text: str) -> str:
    return b64encode(text.encode()).decode()


def kubeconfig(server: str, user: dict | None = None, **cluster: object) -> str:
    return yaml.safe_dump(
        {
            "kind": "Config",
            "current-context": "x",
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": server, **cluster}}],
            "users": [{"name": "u", "user": user or {}}],
        }
    )


async def listed(text: str, folder: Path) -> list[Pod | Problem]:
    return [pod async for pod in list_pods(read_kubeconfig(text, "k"), folder)]


# --------------------------------------------------------------------------------------------------------------- pages


async def plain(server: ApiServer, folder: Path) -> list[Pod | Problem]:
    async with serving(server) as url:
        return await listed(kubeconfig(url), folder)


def names(pods: list[Pod | Problem]) -> list[str]:
    return [pod.name for pod in pods if isinstance(pod, Pod)]


def test_every_page_is_read(tmp_path):
    server = ApiServer(pods=5)
    found = asyncio.run(plain(server, tmp_path))
    assert names(found) == ["p0", "p1", "p2", "p3", "p4"]
    assert server.asked == [{"limit": "500"}, {"limit": "500", "continue": "2"}, {"limit": "500", "continue": "4"}]
    assert server.authorizations == [None, None, None]
    first = found[0]
    assert isinstance(first, Pod)
    assert (first.cluster, first.containers[0].digest) == ("x", DIGEST)


def test_a_list_that_expired_is_read_from_the_start_once(tmp_path):
    server = ApiServer(pods=3)
    server.expire_once = True
    assert set(names(asyncio.run(plain(server, tmp_path)))) == {"p0", "p1", "p2"}
    server.always_expired = True
    with pytest.raises(PlaceUnavailable, match="410"):
        asyncio.run(plain(server, tmp_path))


def test_an_item_that_is_no_pod_is_told(tmp_path):
    server = ApiServer(pods=1)
    server.pods.append({"metadata": {"name": "x"}})
    found = asyncio.run(plain(server, tmp_path))
    assert [type(f) for f in found] == [Pod, Problem]


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (web.Response(status=401), PlaceRefused, "HTTP 401"),
        (web.Response(status=403), PlaceRefused, "may not list pods"),
        (web.Response(status=404), PlaceRefused, "HTTP 404"),
        (web.Response(status=429), PlaceUnavailable, "429"),
        (web.Response(status=503), PlaceUnavailable, "503"),
        (web.Response(status=302, headers={"Location": "http://192.0.2.1/"}), PlaceRefused, "HTTP 302"),
        (web.Response(body=b"not json"), PlaceRefused, "no list of pods"),
        (web.Response(body=b"[" * 50_000), PlaceRefused, "no list of pods"),
        (web.Response(body=b'{"items":[{"metadata":5}]}'), PlaceRefused, "no list of pods"),
    ],
    ids=["401", "403", "404", "429", "503", "redirect", "not-json", "deep", "wrong-types"],
)
def test_answers_that_are_no_list(tmp_path, answer, error, says):
    server = ApiServer()
    server.answer = answer
    with pytest.raises(error, match=says):
        asyncio.run(plain(server, tmp_path))


def test_a_page_without_end_is_not_read_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(watch, "MAX_PAGE_BYTES", 1000)
    with pytest.raises(PlaceRefused, match="a page of more than 1000 bytes"):
        asyncio.run(plain(ApiServer(pods=50, page=50), tmp_path))


def test_a_list_without_end_is_not_read_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(watch, "MAX_PODS", 3)
    with pytest.raises(PlaceRefused, match="more than 3 pods"):
        asyncio.run(plain(ApiServer(pods=50), tmp_path))


def test_nobody_answers(tmp_path):
    with pytest.raises(PlaceUnavailable, match=r"127\.0\.0\.1:1"):
        asyncio.run(listed(kubeconfig("http://127.0.0.1:1"), tmp_path))


# ---------------------------------------------------------------------------------------------------------- who asks


def test_a_token_goes_over_tls_to_a_server_that_is_proven(tmp_path, pki):
    server = ApiServer()

    async def ask() -> None:
        async with serving(server, server_tls(pki, tmp_path)) as url:
            text = kubeconfig(url, {"token": TOKEN}, **{"certificate-authority-data": b64(pki.ca)})
            assert len(await listed(text, tmp_path)) == 3

    asyncio.run(ask())
    assert server.authorizations == [f"Bearer {TOKEN}"] * 2


def test_a_token_is_never_sent_without_tls(tmp_path):
    server = ApiServer()

    async def ask() -> None:
        async with serving(server) as url:
            with pytest.raises(InputError, match="speaks no TLS"):
                await listed(kubeconfig(url, {"token": TOKEN}), tmp_path)

    asyncio.run(ask())
    assert server.asked == []


def test_a_server_that_is_not_proven_gets_no_token(tmp_path, pki):
    server = ApiServer()

    async def ask() -> None:
        async with serving(server, server_tls(pki, tmp_path)) as url:
            with pytest.raises(PlaceRefused, match="certificate is not trusted"):
                await listed(kubeconfig(url, {"token": TOKEN}), tmp_path)

    asyncio.run(ask())
    assert server.asked == []


def test_a_client_certificate_is_shown_and_leaves_no_file_behind(tmp_path, pki, monkeypatch):
    server = ApiServer()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    certificate, key = pki.client

    async def ask() -> None:
        async with serving(server, server_tls(pki, tmp_path, ask_client=True)) as url:
            user = {"client-certificate-data": b64(certificate), "client-key-data": b64(key)}
            text = kubeconfig(url, user, **{"certificate-authority-data": b64(pki.ca)})
            assert len(await listed(text, tmp_path)) == 3

    asyncio.run(ask())
    assert server.peers[0]["subject"] == ((("commonName", "revet"),),)
    assert [f.name for f in tmp_path.iterdir()] == ["server.pem"]


def test_files_are_relative_to_the_kubeconfig(tmp_path, pki):
    server = ApiServer()
    (tmp_path / "ca.crt").write_text(pki.ca)
    (tmp_path / "token").write_text(f"{TOKEN}\n")

    async def ask() -> None:
        async with serving(server, server_tls(pki, tmp_path)) as url:
            text = kubeconfig(url, {"tokenFile": "token"}, **{"certificate-authority": "ca.crt"})
            assert len(await listed(text, tmp_path)) == 3

    asyncio.run(ask())
    assert server.authorizations[0] == f"Bearer {TOKEN}"


@pytest.mark.parametrize(
    ("user", "cluster", "says"),
    [
        ({"token": "a\r\nX-Forged: 1"}, {}, "one line of ASCII"),
        ({"tokenFile": "no-such-file"}, {}, "cannot be read"),
        ({}, {"certificate-authority": "no-such-file"}, "cannot be read"),
        ({}, {"certificate-authority-data": b64("no PEM")}, "not usable PEM"),
        ({"client-certificate-data": b64("no PEM"), "client-key-data": b64("no PEM")}, {}, "not usable PEM"),
    ],
)
def test_what_cannot_be_used_is_an_input_error(tmp_path, user, cluster, says):
    with pytest.raises(InputError, match=says) as caught:
        asyncio.run(listed(kubeconfig("https://127.0.0.1:1", user, **cluster), tmp_path))
    assert "X-Forged" not in str(caught.value)


# ---------------------------------------------------------------------------------------------------------------- exec


def command(folder: Path, program: str) -> dict:
    """A credential command that runs a Python program; its file is named relative to the kubeconfig."""
    script = folder / "credential"
    script.write_text(f"#!{sys.executable}\n{program}\n")
    script.chmod(0o700)
    return {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": "./credential",
            "env": [{"name": "WHICH", "value": "prod"}],
            "provideClusterInfo": True,
        }
    }


PRINTS = """
import json, os
info = json.loads(os.environ["KUBERNETES_EXEC_INFO"])
assert info["spec"]["cluster"]["server"].startswith("https://127.0.0.1:")
print(json.dumps({"status": {"token": os.environ["WHICH"] + "-token"}}))
"""


def test_a_command_fetches_the_token(tmp_path, pki):
    server = ApiServer()

    async def ask() -> None:
        async with serving(server, server_tls(pki, tmp_path)) as url:
            text = kubeconfig(url, command(tmp_path, PRINTS), **{"certificate-authority-data": b64(pki.ca)})
            assert len(await listed(text, tmp_path)) == 3

    asyncio.run(ask())
    assert server.authorizations[0] == "Bearer prod-token"


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("import sys; sys.exit(3)", "ended with 3"),
        ("print('secret-rubbish')", "printed no ExecCredential"),
        ("import sys\nwhile True: sys.stdout.write('x' * 65536)", "printed more than"),
        ("import time; time.sleep(60)", "gave no credential within 0 seconds"),
    ],
    ids=["fails", "rubbish", "endless", "slow"],
)
def test_a_command_that_gives_nothing_is_ended_and_told(tmp_path, monkeypatch, program, says):
    if "sleep" in program:
        monkeypatch.setattr(login, "EXEC_SECONDS", 0.2)
    text = kubeconfig("https://127.0.0.1:1", command(tmp_path, program))
    with pytest.raises(InputError, match=says) as caught:
        asyncio.run(listed(text, tmp_path))
    assert "secret-rubbish" not in str(caught.value)


def test_a_command_that_is_not_there(tmp_path):
    user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "./no-such-program"}}
    with pytest.raises(InputError, match="cannot run no-such-program"):
        asyncio.run(listed(kubeconfig("https://127.0.0.1:1", user), tmp_path))


# --------------------------------------------------------------------------------------------------------- the command


def test_survey_asks_the_cluster_of_a_kubeconfig(tmp_path, pki):
    server = ApiServer()

    async def ask() -> object:
        async with serving(server, server_tls(pki, tmp_path)) as url:
            file = tmp_path / "config"
            file.write_text(kubeconfig(url, {"token": TOKEN}, **{"certificate-authority-data": b64(pki.ca)}))
            options = ("--trust", DEMO / "keys", "--evidence", f"oci-layout:{DEMO / 'oci'}", "-o", "json")
            return await asyncio.to_thread(revet, "survey", "--kubeconfig", file, *options)

    ran: Any = asyncio.run(ask())
    assert (ran.code, ran.json["pods"], ran.json["digests"]["signed"]) == (0, 3, 1)
    assert TOKEN not in ran.out + ran.err


def test_survey_says_when_the_server_is_not_proven_and_when_it_refuses(tmp_path, pki):
    server = ApiServer()
    server.answer = web.Response(status=403)

    async def ask() -> object:
        async with serving(server, server_tls(pki, tmp_path)) as url:
            file = tmp_path / "config"
            file.write_text(kubeconfig(url, {"token": TOKEN}, **{"insecure-skip-tls-verify": True}))
            return await asyncio.to_thread(revet, "survey", "--kubeconfig", file, "--evidence", "registry")

    ran: Any = asyncio.run(ask())
    assert ran.code == 4
    assert "is believed without proof" in ran.err
    assert "may not list pods" in ran.err
    assert json.dumps(TOKEN)[1:-1] not in ran.out + ran.err
