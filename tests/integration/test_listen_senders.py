"""Who may send audit events, over real TLS: certificates, tokens, pushes; what changes on disk; what is too much."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from streams.collectors.pushes import PushKeys
from streams.collectors.senders import SenderRule, Senders
from streams.collectors.server import Receiver, ReceiverOptions
from streams.collectors.tls import ServerTls
from tests.helpers.servingpki import Pair, ServingCa
from tests.integration.test_listen import Taken, event
from verifier.errors import InputError

pytestmark = pytest.mark.asyncio

TOKEN_EU, TOKEN_US = "eu-" + "a" * 32, "us-" + "b" * 32


class Place:
    """A CA, a server's and two clients' certificates, two tokens."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = ServingCa("senders")
        (folder / "ca.crt").write_bytes(self.ca.pem)
        self.server = self.ca.pair(folder, "server")
        self.one = self.ca.pair(folder, "cp-1", client=True)
        self.two = self.ca.pair(folder, "cp-2", x509.UniformResourceIdentifier("spiffe://eu/cp-2"), client=True)
        (folder / "eu").write_text(TOKEN_EU + "\n")
        (folder / "us").write_text(TOKEN_US)

    def tls(self) -> ServerTls:
        return ServerTls(self.server.certificate, self.server.key, self.folder / "ca.crt")

    def senders(self) -> Senders:
        return Senders(
            (
                SenderRule(cluster="prod-eu", certificate="cn:cp-1", server="cp-1"),
                SenderRule(cluster="prod-eu", certificate="uri:spiffe://eu/cp-2", server="cp-2"),
                SenderRule(cluster="prod-eu", token_file=self.folder / "eu"),
                SenderRule(cluster="prod-us", token_file=self.folder / "us"),
            )
        )

    def client(self, pair: Pair | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.folder / "ca.crt"))
        if pair is not None:
            context.load_cert_chain(pair.certificate, pair.key)
        return context


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@asynccontextmanager
async def receiving(receiver: Receiver, scheme: str = "https") -> AsyncIterator[str]:
    async with receiver.listening("127.0.0.1", 0) as port:
        yield f"{scheme}://127.0.0.1:{port}"


async def post(
    url: str, body: bytes, context: ssl.SSLContext | None = None, headers: dict[str, str] | None = None
) -> tuple[int, str, dict[str, str]]:
    """One request on a connection of its own."""
    connector = aiohttp.TCPConnector(ssl=context if context is not None else True)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.post(url, data=body, headers=headers) as answer,
    ):
        return answer.status, await answer.text(), dict(answer.headers)


async def metrics(url: str, **more: object) -> str:
    async with aiohttp.ClientSession() as session, session.get(f"{url}/metrics", **more) as answer:  # type: ignore[arg-type]  # options of one request
        return await answer.text()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


CASES = {
    "a certificate by its name": ("one", "", "/audit", 200, "prod-eu"),
    "a certificate by its URI": ("two", "", "/audit", 200, "prod-eu"),
    "a token": ("", TOKEN_US, "/audit", 200, "prod-us"),
    "a token, and the path agrees": ("", TOKEN_US, "/audit/prod-us", 200, "prod-us"),
    "a token of another cluster than the path": ("", TOKEN_US, "/audit/prod-eu", 403, "another cluster"),
    "certificate and token of one cluster": ("one", TOKEN_EU, "/audit", 200, "prod-eu"),
    "certificate and token of two": ("one", TOKEN_US, "/audit", 403, "more than one cluster"),
    "a good certificate, a wrong token": ("one", "x" * 32, "/audit", 401, "belongs to no cluster"),
    "nothing at all": ("", "", "/audit/prod-eu", 401, "is needed"),
}


@pytest.mark.parametrize("name", CASES)
async def test_the_cluster_is_the_senders(place: Place, name: str) -> None:
    pair, token, path, status, said = CASES[name]
    taken = Taken()
    receiver = Receiver(taken, ReceiverOptions(senders=place.senders(), tls=place.tls()))
    lying = event("a").replace(b"{", b'{"cluster":"prod-us","clusterName":"prod-us",', 1)
    async with receiving(receiver) as url:
        context = place.client(getattr(place, pair) if pair else None)
        got, text, _ = await post(url + path, lying, context, headers=bearer(token) if token else {})
        counted = await metrics(url, headers=bearer(TOKEN_EU), ssl=place.client())
    assert got == status
    if status == 200:
        assert {b.cluster for b in taken.batches} == {said}
    else:
        assert (said in text, taken.batches) == (True, [])
        assert "revet_audit_refused_total{reason=" in counted
        assert token not in text or not token


async def test_every_api_server_of_a_cluster_is_counted_by_itself(place: Place) -> None:
    receiver = Receiver(Taken(), ReceiverOptions(senders=place.senders(), tls=place.tls()))
    async with receiving(receiver) as url:
        await post(url + "/audit", event("a") + b"\n" + event("b"), place.client(place.one))
        await post(url + "/audit", event("c"), place.client(place.two))
        counted = await metrics(url, headers=bearer(TOKEN_EU), ssl=place.client())
    assert 'revet_audit_server_events_total{source="prod-eu/cp-1"} 2' in counted
    assert 'revet_audit_server_events_total{source="prod-eu/cp-2"} 1' in counted


async def test_a_stranger_with_a_certificate_of_the_ca_is_told_so(place: Place) -> None:
    stranger = place.ca.pair(place.folder, "stranger", client=True)
    receiver = Receiver(Taken(), ReceiverOptions(senders=place.senders(), tls=place.tls()))
    async with receiving(receiver) as url:
        status, text, _ = await post(url + "/audit", event("a"), place.client(stranger))
    assert (status, "listen.senders names this certificate" in text) == (403, True)


async def test_a_certificate_of_another_ca_never_gets_in(place: Place) -> None:
    """The name is right, the CA is not: the handshake fails."""
    other = ServingCa("other").pair(place.folder, "cp-1", client=True)
    taken = Taken()
    receiver = Receiver(taken, ReceiverOptions(senders=place.senders(), tls=place.tls()))
    async with receiving(receiver) as url:
        with pytest.raises((aiohttp.ClientError, ssl.SSLError, ConnectionError)):
            await post(url + "/audit", event("a"), place.client(other))
    assert taken.batches == []


async def test_clear_text_is_not_spoken_where_tls_is(place: Place) -> None:
    receiver = Receiver(Taken(), ReceiverOptions(senders=place.senders(), tls=place.tls()))
    async with receiving(receiver, "http") as url:
        with pytest.raises((aiohttp.ClientError, ConnectionError)):
            await post(url + "/audit", event("a"), headers=bearer(TOKEN_EU))


# ------------------------------------------------------------------------------------------------ what changes on disk


async def serial_shown(url: str, context: ssl.SSLContext) -> int:
    host, port = url.removeprefix("https://").split(":")
    _reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return x509.load_der_x509_certificate(der).serial_number


async def test_a_renewed_certificate_is_shown_to_new_connections(place: Place) -> None:
    receiver = Receiver(Taken(), ReceiverOptions(senders=place.senders(), tls=place.tls(), look_seconds=0.05))
    async with receiving(receiver) as url:
        before = await serial_shown(url, place.client())
        place.ca.pair(place.folder, "server")
        for _ in range(100):
            if (after := await serial_shown(url, place.client())) != before:
                break
            await asyncio.sleep(0.05)
        assert after != before
        status, _, _ = await post(url + "/audit", event("a"), place.client(place.one))
    assert status == 200


async def test_senders_of_a_new_ca_are_believed_and_those_of_the_old_one_no_longer(place: Place) -> None:
    receiver = Receiver(Taken(), ReceiverOptions(senders=place.senders(), tls=place.tls()))
    old = place.client(place.one)
    async with receiving(receiver) as url:
        assert (await post(url + "/audit", event("a"), old))[0] == 200
        new = ServingCa("new senders")
        fresh = new.pair(place.folder, "cp-1", client=True)
        trusted = place.client(fresh)  # the server's own certificate still is of the old CA
        (place.folder / "ca.crt").write_bytes(new.pem)
        assert receiver.refresh() == ""
        assert (await post(url + "/audit", event("b"), trusted))[0] == 200
        with pytest.raises((aiohttp.ClientError, ssl.SSLError, ConnectionError)):
            await post(url + "/audit", event("c"), old)


async def test_what_cannot_be_read_again_changes_nothing_and_is_said(place: Place) -> None:
    said: list[str] = []
    options = ReceiverOptions(senders=place.senders(), tls=place.tls())
    receiver = Receiver(Taken(), options, stale=said.append)
    async with receiving(receiver) as url:
        place.server.key.write_text("-----BEGIN PRIVATE KEY-----\nhunter2hunter2\n-----END PRIVATE KEY-----\n")
        (place.folder / "eu").write_text("short-hunter2")
        problem = receiver.refresh()
        assert (await post(url + "/audit", event("a"), place.client(place.one)))[0] == 200
        assert (await post(url + "/audit", event("b"), place.client(), headers=bearer(TOKEN_EU)))[0] == 200
    assert "listen.certificate_file and listen.key_file" in problem
    assert "at least 16 characters" in problem
    assert said == [problem]
    assert "hunter2" not in problem


async def test_a_rotated_token_counts_and_the_old_one_does_not(place: Place) -> None:
    receiver = Receiver(Taken(), ReceiverOptions(senders=place.senders()))
    async with receiving(receiver, "http") as url:
        assert (await post(url + "/audit", event("a"), headers=bearer(TOKEN_EU)))[0] == 200
        (place.folder / "eu").write_text("rotated-" + "c" * 32)
        receiver.refresh()
        assert (await post(url + "/audit", event("b"), headers=bearer("rotated-" + "c" * 32)))[0] == 200
        assert (await post(url + "/audit", event("c"), headers=bearer(TOKEN_EU)))[0] == 401


async def test_secrets_are_in_no_text(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    options = ReceiverOptions(senders=place.senders(), token=b"", tls=place.tls())
    receiver = Receiver(Taken(), options)
    async with receiving(receiver) as url:
        texts = [
            (await post(url + "/audit", event("a"), place.client(), headers=bearer(t)))[1] for t in (TOKEN_EU, "z" * 40)
        ]
        counted = await metrics(url, headers=bearer(TOKEN_EU), ssl=place.client())
    for text in (*texts, counted, caplog.text, repr(options), repr(options.senders)):
        assert not any(secret in text for secret in (TOKEN_EU, TOKEN_US, "z" * 40))


@pytest.mark.parametrize("same", ["token", "certificate"])
async def test_two_rows_known_by_one_thing_are_refused(place: Place, same: str) -> None:
    if same == "token":
        (place.folder / "us").write_text(TOKEN_EU)
        with pytest.raises(InputError, match="two rows have the same token"):
            place.senders()
    else:
        rules = [SenderRule(cluster=c, certificate="cn:x") for c in ("a", "b")]
        with pytest.raises(InputError, match="two rows have certificate cn:x"):
            Senders(rules)


# ---------------------------------------------------------------------------------------------------- what is too much


async def test_too_many_requests_wait_and_only_then_are_told_when_to_come_back(place: Place) -> None:
    """Ten at once of a burst of two: slow. Far beyond what anybody waits for: 429 with Retry-After, never a 5xx."""
    taken = Taken()
    receiver = Receiver(taken, ReceiverOptions(senders=place.senders(), requests_per_second=10.0))
    async with receiving(receiver, "http") as url:
        began = time.monotonic()
        answers = await asyncio.gather(
            *(post(url + "/audit", event(str(n)), headers=bearer(TOKEN_EU)) for n in range(30))
        )
        assert [status for status, _, _ in answers] == [200] * 30
        assert time.monotonic() - began > 0.5  # twenty at once, the others at ten a second
    assert len(taken.batches) == 30
    receiver = Receiver(taken, ReceiverOptions(senders=place.senders(), requests_per_second=0.04))
    async with receiving(receiver, "http") as url:
        (status, text, headers) = await post(url + "/audit", event("x"), headers=bearer(TOKEN_EU))
        assert (status, text, int(headers["Retry-After"]) >= 1) == (429, "too many requests\n", True)
        counted = await metrics(url, headers=bearer(TOKEN_EU))
    assert 'revet_audit_refused_total{reason="rate"} 1' in counted


async def test_one_sender_leaves_a_place_for_the_others(place: Place) -> None:
    """Every body of one cluster hangs; another cluster is still served."""
    taken = Taken()
    receiver = Receiver(taken, ReceiverOptions(senders=place.senders(), max_requests=3, body_seconds=30))

    async def never() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(60)

    async with receiving(receiver, "http") as url, aiohttp.ClientSession() as session:
        hanging = [
            asyncio.create_task(session.post(f"{url}/audit", data=never(), headers=bearer(TOKEN_EU))) for _ in range(6)
        ]
        await asyncio.sleep(0.3)
        async with asyncio.timeout(10):
            assert (await post(url + "/audit", event("a"), headers=bearer(TOKEN_US)))[0] == 200
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)
    assert {b.cluster for b in taken.batches} == {"prod-us"}


async def test_only_so_many_connections_of_one_address(place: Place) -> None:
    receiver = Receiver(Taken(), ReceiverOptions(senders=place.senders(), max_connections_each=3))
    async with receiver.listening("127.0.0.1", 0) as port:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with suppress(ConnectionError):
            assert await reader.read(1) == b""  # closed at once
        writer.close()
        held[0][1].close()
        await held[0][1].wait_closed()
        await asyncio.sleep(0.05)
        url = f"http://127.0.0.1:{port}"
        assert (await post(url + "/audit", event("a"), headers=bearer(TOKEN_EU)))[0] == 200
        counted = await metrics(url, headers=bearer(TOKEN_EU))
        for _, other in held:
            other.close()
    assert 'revet_audit_refused_total{reason="connections"} 1' in counted


# --------------------------------------------------------------------------------------------------------------- pushes

KEY = rsa.generate_private_key(65537, 2048)
AUDIENCE, ACCOUNT = "https://revet.example.com/pubsub", "push@project.iam.gserviceaccount.com"


def part(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


def jwt(key: rsa.RSAPrivateKey = KEY, algorithm: str = "RS256", **changed: object) -> str:
    now = int(time.time())
    claims = {"iss": "https://accounts.google.com", "aud": AUDIENCE, "email": ACCOUNT, "email_verified": True}
    claims |= {"iat": now, "exp": now + 3600, **changed}
    signed = part(json.dumps({"alg": algorithm, "kid": "k1", "typ": "JWT"}).encode())
    signed += b"." + part(json.dumps(claims).encode())
    return (signed + b"." + part(key.sign(signed, PKCS1v15(), SHA256()))).decode()


def push_keys(folder: Path) -> PushKeys:
    numbers = KEY.public_key().public_numbers()
    n, e = (part(v.to_bytes((v.bit_length() + 7) // 8, "big")).decode() for v in (numbers.n, numbers.e))
    document = {"keys": [{"kty": "RSA", "kid": "k1", "use": "sig", "alg": "RS256", "n": n, "e": e}, {"kty": "EC"}]}
    (folder / "jwks.json").write_text(json.dumps(document))
    return PushKeys(folder / "jwks.json", AUDIENCE)


PUSHES = {
    "signed for us": ({}, 200),
    "for another audience": ({"aud": "https://elsewhere"}, 401),
    "of another account": ({"email": "other@project.iam.gserviceaccount.com"}, 401),
    "by another issuer": ({"iss": "https://evil.example"}, 401),
    "an address that nobody verified": ({"email_verified": False}, 401),
    "too old": ({"exp": 1_700_000_000}, 401),
    "of the future": ({"iat": 4_000_000_000, "exp": 4_000_003_600}, 401),
    "by another key": ({"key": rsa.generate_private_key(65537, 2048)}, 401),
    "with an algorithm of its own choice": ({"algorithm": "none"}, 401),
}


@pytest.mark.parametrize("name", PUSHES)
async def test_a_push_is_believed_when_google_signed_it_for_us(tmp_path: Path, name: str) -> None:
    changed, status = PUSHES[name]
    taken = Taken()
    senders = Senders((SenderRule(cluster="gke-1", push_account=ACCOUNT),))
    receiver = Receiver(taken, ReceiverOptions(senders=senders, push_keys=push_keys(tmp_path)))
    async with receiving(receiver, "http") as url:
        got, _, _ = await post(url + "/pubsub", event("a"), headers=bearer(jwt(**changed)))  # type: ignore[arg-type]  # a table
    assert got in ((200,) if status == 200 else (401, 403))
    assert {b.cluster for b in taken.batches} == ({"gke-1"} if status == 200 else set())


@pytest.mark.parametrize("garbage", ["", "a.b.c", "....", "x" * 9000, "e30.e30.e30", "é.é.é"])
async def test_garbage_in_place_of_a_signed_push(tmp_path: Path, garbage: str) -> None:
    senders = Senders((SenderRule(cluster="gke-1", push_account=ACCOUNT),))
    receiver = Receiver(Taken(), ReceiverOptions(senders=senders, push_keys=push_keys(tmp_path)))
    async with receiving(receiver, "http") as url:
        try:
            assert (await post(url + "/pubsub", event("a"), headers=bearer(garbage)))[0] in (400, 401)
        except aiohttp.ClientError:
            assert len(garbage) > 8000  # a header beyond the limit


async def test_firehose_gets_the_answer_it_waits_for(place: Place) -> None:
    taken = Taken()
    receiver = Receiver(taken, ReceiverOptions(senders=place.senders()))
    headers = {"X-Amz-Firehose-Request-Id": "ed4acda5", "X-Amz-Firehose-Protocol-Version": "1.0"}
    async with receiving(receiver, "http") as url:
        key = {"X-Amz-Firehose-Access-Key": TOKEN_EU}
        status, text, got = await post(url + "/firehose", event("a"), headers={**headers, **key})
        refused, why, _ = await post(url + "/firehose", event("b"), headers=headers)
        taken.broken = True
        failed, _, _ = await post(url + "/firehose", event("c"), headers={**headers, **key})
    answer = json.loads(text)
    assert (status, answer["requestId"], got["Content-Type"]) == (200, "ed4acda5", "application/json")
    assert isinstance(answer["timestamp"], int)
    assert "errorMessage" not in answer
    assert (refused, json.loads(why)["requestId"], "is needed" in json.loads(why)["errorMessage"]) == (
        401,
        "ed4acda5",
        True,
    )
    assert failed == 503
    assert {b.cluster for b in taken.batches} == {"prod-eu"}
