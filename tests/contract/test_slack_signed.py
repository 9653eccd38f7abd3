"""Buttons over signed HTTP: only what Slack signed just now, once, is understood; nothing makes it fail."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
from pydantic import ValidationError

from alerting.models import IncidentAction
from streams.collectors.pressed import BODY_BYTES, PressServer
from streams.pressing import REFUSED
from streams.settings import Settings
from streams.tellers import Counter, pressing_of
from tests.helpers.slack_server import Workspace, serving
from tests.helpers.slack_socket import ANN, BEN, Sockets
from tests.helpers.slackserving import until, wall
from tests.helpers.slackworld import SECURITY
from verifier.errors import PlaceUnavailable

pytestmark = pytest.mark.asyncio

SECRET = "0123456789abcdef-secret-of-the-test"
LATE = "seven minutes ago"


def press(user: str = ANN, name: str = "revet-ack") -> dict[str, Any]:
    action = {"type": "button", "action_id": name, "action_ts": "1.000001", "value": "1 v1:inc 1"}
    who = {"id": user, "team_id": "T0TEST001"}
    return {"type": "block_actions", "user": who, "actions": [action], "channel": {"id": SECURITY}, "trigger_id": "1.a"}


def form(payload: object) -> bytes:
    return urlencode({"payload": json.dumps(payload)}).encode()


class Counted(Counter):
    def __init__(self) -> None:
        self.said: list[str] = []

    def envelope(self, outcome: str) -> None:
        self.said.append(outcome)


class Door:
    """The server, as Slack sees it."""

    def __init__(self, url: str, session: aiohttp.ClientSession, slack: Workspace, counted: Counted) -> None:
        self.url, self.session, self.slack, self.counted = url, session, slack, counted
        self.taken: list[IncidentAction] = []
        self.down = False

    async def take(self, action: IncidentAction) -> None:
        if self.down:
            raise PlaceUnavailable("kafka-unavailable", "down")
        self.taken.append(action)

    async def send(
        self, body: bytes, *, at: float | str | None = None, secret: str = SECRET, signature: str | None = None
    ) -> tuple[int, str]:
        made = str(int(time.time())) if at is None else str(at)
        signed = hmac.new(secret.encode(), f"v0:{made}:".encode() + body, hashlib.sha256).hexdigest()
        headers = {"X-Slack-Request-Timestamp": made, "X-Slack-Signature": signature or f"v0={signed}"}
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        async with self.session.post(self.url, data=body, headers=headers) as response:
            return response.status, await response.text()


@asynccontextmanager
async def door() -> AsyncIterator[Door]:
    slack = Workspace(wall)
    slack.know(SECURITY)
    sockets = Sockets(slack)
    async with serving(slack, *sockets.routes()), aiohttp.ClientSession() as session:
        given = Settings.model_validate(
            {
                "slack": {
                    "token": slack.token, "api": slack.url, "channels": {"security": SECURITY},
                    "signing_secret": SECRET, "listen": "127.0.0.1:0", "people": {ANN: "ann"},
                }
            }
        )  # fmt: skip
        counted = Counted()
        made = Door("", session, slack, counted)
        async with pressing_of(given, made.take, wall, counted) as bound:
            assert bound is not None
            made.url = f"http://127.0.0.1:{bound[1]}/slack"
            yield made


async def test_what_slack_signed_is_done() -> None:
    async with door() as d:
        assert await d.send(form(press())) == (200, "")
        assert [(a.action, a.incident, a.by) for a in d.taken] == [("ack", "v1:inc", f"ann (slack:{ANN})")]
        assert d.counted.said == ["done"]


async def test_who_is_not_named_is_told_so() -> None:
    async with door() as d:
        assert (await d.send(form(press(BEN))))[0] == 200
        await until(lambda: bool(d.slack.whispers))
        assert d.slack.whispers == [(SECURITY, BEN, REFUSED)]
        assert d.taken == []


async def test_a_form_with_errors_gets_them_back() -> None:
    async with door() as d:
        view = {"callback_id": "revet-proposal", "id": "V1", "private_metadata": f"1 v1:inc 1\n{SECURITY}"}
        payload = {"type": "view_submission", "user": {"id": ANN, "team_id": "T0TEST001"}, "view": view}
        status, text = await d.send(form({**payload, "view": {**view, "state": {"values": {}}}}))
        assert (status, json.loads(text)["response_action"]) == (200, "errors")


async def test_what_is_not_durable_is_not_acknowledged() -> None:
    async with door() as d:
        d.down = True
        assert (await d.send(form(press())))[0] == 503
        assert d.counted.said == ["not-durable"]


@pytest.mark.parametrize(
    "at",
    [
        "",
        "now",
        "1e9",
        "-1",
        "9" * 400,
        "１２３４５６７８９",
        "0x10",
        " 1 ",
        "1.5",
        LATE,
        "99999999999",
    ],
)
async def test_15_a_bad_timestamp_is_401(at: str) -> None:
    at = str(int(time.time()) - 400) if at == LATE else at  # now: a name of a test must not tell the time
    async with door() as d:
        if not at.isascii():
            at = at.encode().decode("latin-1")
        assert (await d.send(form(press()), at=at))[0] == 401
        assert d.taken == []


@pytest.mark.parametrize(
    "signature",
    ["", "v0=", "v1=" + "0" * 64, "v0=" + "0" * 64, "v0=" + "G" * 64, "v0=\xe9" + "0" * 63, "v0=" + "0" * 5000],
)
async def test_15_a_bad_signature_is_401(signature: str) -> None:
    async with door() as d:
        assert (await d.send(form(press()), signature=signature or "x"))[0] == 401
        assert (await d.send(form(press()), secret="another"))[0] == 401
        assert d.taken == []


async def test_15_no_headers_at_all_are_401() -> None:
    async with door() as d, d.session.post(d.url, data=b"payload={}") as response:
        assert response.status == 401


async def test_15_a_replay_is_401() -> None:
    async with door() as d:
        body, now = form(press()), int(time.time())
        assert (await d.send(body, at=now))[0] == 200
        assert (await d.send(body, at=now))[0] == 401
        assert len(d.taken) == 1
        assert d.counted.said == ["done", "again"]


async def test_15_what_is_not_utf8_is_401_unsigned_and_400_signed() -> None:
    async with door() as d:
        assert (await d.send(b"payload=\xff\xfe", secret="another"))[0] == 401
        assert (await d.send(b"payload=\xff\xfe"))[0] == 400
        assert (await d.send(b"payload=%ff%fe"))[0] == 400


async def test_15_what_is_too_large_is_413() -> None:
    async with door() as d:
        assert (await d.send(b"payload=" + b"x" * BODY_BYTES))[0] == 413


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"payload",
        b"payload=",
        b"payload=[]",
        b"payload=7",
        b"payload=" + b"[" * 100_000,
        b"&" * 1000,
        b"a=1&" * 50,
    ],
)
async def test_15_signed_nonsense_is_400(body: bytes) -> None:
    async with door() as d:
        assert (await d.send(body))[0] == 400


async def test_15_nothing_makes_it_fail() -> None:
    """Random bytes, bodies and headers: never 500, and the next press is done."""
    chance = random.Random(7)
    async with door() as d:
        for _ in range(40):
            body = chance.randbytes(chance.randrange(300))
            at = chance.choice([None, chance.randrange(10**12), "x" * chance.randrange(1, 50)])
            status, _ = await d.send(body, at=at, secret=chance.choice([SECRET, "another"]))
            assert status in (400, 401, 429)
            await asyncio.sleep(0.05)
        await asyncio.sleep(1.0)
        assert (await d.send(form(press())))[0] == 200


async def test_more_than_people_can_press_is_429() -> None:
    async with door() as d:
        found = [(await d.send(form({**press(), "n": n})))[0] for n in range(30)]
        assert 429 in found
        assert 500 not in found


async def test_the_secret_is_nowhere() -> None:
    server = PressServer(None, None, SECRET, print)  # type: ignore[arg-type]  # nobody is asked
    assert SECRET not in repr(server) + repr(vars(Settings()))


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ({"signing_secret": "x"}, "listen"),
        ({"listen": "127.0.0.1:1", "people": {ANN: "ann"}}, "listen"),
        ({"app_token": "xapp-1"}, "people"),
        ({"app_token": "xapp-1", "people": {"ann": "ann"}}, "user IDs"),
        ({"app_token": "xapp-1", "app_token_file": "/x", "people": {ANN: "ann"}}, "app_token"),
    ],
)
async def test_settings_that_cannot_work_are_refused(more: dict[str, Any], word: str) -> None:
    given = {"token": "xoxb-1", "channels": {"security": SECURITY}, **more}
    with pytest.raises(ValidationError, match=word) as caught:
        Settings.model_validate({"slack": given})
    assert "xapp-1" not in str(caught.value)
