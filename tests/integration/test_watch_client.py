"""The client of the pod watch, on a small API server in this process: who asks is read anew, and how requests end."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography.x509.oid import ExtendedKeyUsageOID

from streams.collectors import apiserver
from streams.collectors.apiserver import ApiServer
from streams.collectors.clusters import finder
from streams.collectors.podloop import PATH
from streams.collectors.podwatch import Ending
from tests.integration import test_list_pods as listing
from tests.integration.test_list_pods import Pki, b64, command, kubeconfig, server_tls, serving
from verifier.errors import InputError

TOKEN = "a-secret-token"

COUNTS = """
import json, pathlib
file = pathlib.Path(__file__).with_name("count")
number = int(file.read_text()) + 1 if file.exists() else 1
file.write_text(str(number))
print(json.dumps({"status": {"token": f"token-{number}", "expirationTimestamp": "EXPIRES"}}))
"""


@pytest.fixture(scope="module")
def pki() -> Pki:
    return Pki()


async def asked(
    folder: Path, pki: Pki, user: dict, act: Callable[[ApiServer, Any], Any], *, client: bool = False
) -> Any:
    """`act` on a client whose kubeconfig is a file, and on the server it speaks to."""
    there = listing.ApiServer()
    async with serving(there, server_tls(pki, folder, ask_client=client)) as url:
        file = folder / "config"
        file.write_text(kubeconfig(url, user, **{"certificate-authority-data": b64(pki.ca)}))
        here = ApiServer(finder(file), 5)
        try:
            return await act(here, there)
        finally:
            await here.close()


@pytest.mark.parametrize(("expires", "tokens"), [("2100-01-01T00:00:00Z", 1), ("2020-01-01T00:00:00Z", 3)])
def test_a_fetched_credential_is_fetched_again_when_it_ends_and_not_before(tmp_path, pki, monkeypatch, expires, tokens):
    monkeypatch.setattr(apiserver, "FRESH_SECONDS", 0.0)

    async def three(here: ApiServer, there: Any) -> list[str]:
        for _ in range(3):
            assert (await here.body(PATH, {}, 5))[0] == Ending("clean")
        found: list[str] = there.authorizations
        return found

    user = command(tmp_path, COUNTS.replace("EXPIRES", expires))
    found = asyncio.run(asked(tmp_path, pki, user, three))
    assert len(set(found)) == tokens
    assert found[0] == "Bearer token-1"


def test_a_fetched_credential_that_is_refused_is_fetched_again(tmp_path, pki):
    async def refused(here: ApiServer, there: Any) -> list[str]:
        there.answer = web.Response(status=401)
        assert (await here.body(PATH, {}, 5))[0] == Ending("status", 401)
        there.answer = None
        assert (await here.body(PATH, {}, 5))[0] == Ending("clean")
        found: list[str] = there.authorizations
        return found

    user = command(tmp_path, COUNTS.replace("EXPIRES", "2100-01-01T00:00:00Z"))
    assert asyncio.run(asked(tmp_path, pki, user, refused)) == ["Bearer token-1", "Bearer token-2"]


def test_a_client_certificate_that_is_renewed_in_its_file_is_shown(tmp_path, pki, monkeypatch):
    monkeypatch.setattr(apiserver, "FRESH_SECONDS", 0.0)

    def put(pair: tuple[str, str]) -> None:
        for name, text in zip(("client.crt", "client.key"), pair, strict=True):
            (tmp_path / name).write_text(text)

    async def twice(here: ApiServer, there: Any) -> list[str]:
        put(pki.client)
        assert (await here.body(PATH, {}, 5))[0] == Ending("clean")
        put(pki._pair("renewed", ExtendedKeyUsageOID.CLIENT_AUTH))
        assert (await here.body(PATH, {}, 5))[0] == Ending("clean")
        return [dict(part[0] for part in peer["subject"])["commonName"] for peer in there.peers]

    user = {"client-certificate": "client.crt", "client-key": "client.key"}
    assert asyncio.run(asked(tmp_path, pki, user, twice, client=True)) == ["revet", "renewed"]


@pytest.mark.parametrize(
    ("status", "headers", "ending"),
    [
        (429, {"Retry-After": "17"}, Ending("status", 429, 17.0)),
        (503, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, Ending("status", 503)),
        (503, {"Retry-After": "9" * 400}, Ending("status", 503)),
        (302, {"Location": "https://elsewhere.example/"}, Ending("status", 302)),
        (403, {}, Ending("status", 403)),
    ],
)
def test_how_a_refusal_is_told(tmp_path, pki, status, headers, ending):
    async def refused(here: ApiServer, there: Any) -> Ending:
        there.answer = web.Response(status=status, headers=headers, text=TOKEN)
        ended, body = await here.body(PATH, {}, 5)
        assert (body, here.detail) == (b"", f"HTTP {status}")
        assert len(there.asked) == 1, "nobody is asked elsewhere"
        return ended

    assert asyncio.run(asked(tmp_path, pki, {"token": TOKEN}, refused)) == ending


def test_a_page_that_is_too_large_is_given_up(tmp_path, pki, monkeypatch):
    monkeypatch.setattr(apiserver, "MAX_PAGE_BYTES", 200)

    async def large(here: ApiServer, there: Any) -> tuple[Ending, bytes]:
        del there
        return await here.body(PATH, {}, 5)

    assert asyncio.run(asked(tmp_path, pki, {"token": TOKEN}, large)) == (Ending("too-large"), b"")


def test_nobody_there_and_a_server_that_is_not_believed_are_unreachable(tmp_path, pki):
    async def wrong(here: ApiServer, there: Any) -> str:
        del there
        file = tmp_path / "config"
        file.write_text(file.read_text().replace(b64(pki.ca), b64(Pki().ca)))
        assert (await here.body(PATH, {}, 5))[0] == Ending("unreachable")
        first = here.detail
        file.write_text(kubeconfig("https://127.0.0.1:1", {"token": TOKEN}))
        assert (await here.body(PATH, {}, 5))[0] == Ending("unreachable")
        return first + here.detail

    detail = asyncio.run(asked(tmp_path, pki, {"token": TOKEN}, wrong))
    assert "Certificate" in detail
    assert TOKEN not in detail


def test_a_token_is_not_sent_without_tls(tmp_path):
    file = tmp_path / "config"
    file.write_text(kubeconfig("http://127.0.0.1:1", {"token": TOKEN}))

    async def ask() -> None:
        with pytest.raises(InputError, match="speaks no TLS") as caught:
            await ApiServer(finder(file), 5).body(PATH, {}, 5)
        assert TOKEN not in str(caught.value)

    asyncio.run(ask())
