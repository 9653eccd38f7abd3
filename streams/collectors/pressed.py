"""Where Slack sends what is pressed when it may reach us: an HTTP server for signed requests. A door of `aiohttp`.

    server = PressServer(listener, answers, secret, told)
    async with server.listening("0.0.0.0", 9883) as port: ...

    POST /slack      200 once what was pressed is durable; 503: it could not be made so, and the service shows that

A request counts when its signature is over its very bytes, made within five minutes, and was not seen before. Anything
else is 401, what is too large 413, what is signed and reads as nothing 400. The signature is compared before a byte of
the body is understood. TLS ends in front of it.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import re
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol
from urllib.parse import parse_qs

from aiohttp import web

from alerting.presses import Reaction
from streams.collectors.listening import listening
from verifier.oci.pacing import Pace

BODY_BYTES: Final = 256 * 1024
"""A press holds the whole message it was in; those are below 50 KiB."""
SKEW_SECONDS: Final = 300
"""How old a signature may be, as the service asks it to be checked."""
REMEMBERED: Final = 10_000
"""Signatures that are known as used; more than can come in twice the skew at the rate that is taken."""
PER_SECOND: Final = 10
_SIGNATURE: Final = re.compile(r"v0=[0-9a-f]{64}")
_TIMESTAMP: Final = re.compile(r"[0-9]{1,12}")


class Listener(Protocol):
    """Who does what was pressed (`alerting.adapters.slacksocket.Listener`)."""

    async def pressed(self, payload: Mapping[str, Any], team: str) -> Reaction:
        """Do it. Never raises."""


class Answers(Protocol):
    """What follows (`alerting.adapters.slackanswers`)."""

    async def team(self) -> str:
        """Our workspace."""

    async def follow(self, reaction: Reaction) -> None:
        """Say what is left to say."""


class PressServer:
    """Takes presses over HTTP."""

    def __init__(
        self,
        listener: Listener,
        answers: Answers,
        secret: str,
        told: Callable[[str], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`secret`: the app's signing secret; it never leaves this object. `told` hears what became of each request:
        `done`, `not-durable`, `refused` (signature), `again`, `garbage`, `limited`.
        """
        self._listener, self._answers, self._told, self._clock = listener, answers, told, clock
        self._secret = secret.encode()
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._pace = Pace(PER_SECOND)
        self._following: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        """Without the secret."""
        return "PressServer()"

    @asynccontextmanager
    async def listening(self, host: str, port: int) -> AsyncIterator[int]:
        """Listen until the block ends; gives the port.

        Raises:
            PlaceUnavailable: the address cannot be listened on.
        """
        app = web.Application(client_max_size=BODY_BYTES)
        app.router.add_post("/slack", self._answer)
        async with listening(app, "slack.listen", host, port) as bound:
            yield bound

    async def _answer(self, request: web.Request) -> web.Response:
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return self._refused("garbage", 413)
        trouble = self._trouble(request.headers, body)
        if trouble:
            return self._refused(trouble, 401)
        if not self._pace.has_room(time.monotonic()):
            return self._refused("limited", 429)
        payload = _payload(body)
        if payload is None:
            return self._refused("garbage", 400)
        reaction = await self._listener.pressed(payload, await self._answers.team())
        follow = asyncio.get_running_loop().create_task(self._answers.follow(reaction))
        self._following.add(follow)
        follow.add_done_callback(self._following.discard)
        if not reaction.acknowledge:
            return self._refused("not-durable", 503)
        self._told("done")
        return web.Response() if reaction.payload is None else web.json_response(reaction.payload)

    def _refused(self, result: str, status: int) -> web.Response:
        self._told(result)
        return web.Response(status=status)

    def _trouble(self, headers: Mapping[str, str], body: bytes) -> str:
        """Why it does not count; empty: it does, and will not count again."""
        signature, made = headers.get("X-Slack-Signature", ""), headers.get("X-Slack-Request-Timestamp", "")
        if not _SIGNATURE.fullmatch(signature) or not _TIMESTAMP.fullmatch(made):
            return "refused"
        if abs(self._clock() - int(made)) > SKEW_SECONDS:
            return "refused"
        wanted = hmac.new(self._secret, b"v0:" + made.encode() + b":" + body, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(f"v0={wanted}", signature):
            return "refused"
        if signature in self._seen:
            return "again"
        self._seen[signature] = None
        while len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return ""


def _payload(body: bytes) -> Mapping[str, Any] | None:
    """The payload of a form; None: it is none."""
    try:
        fields = parse_qs(body.decode("utf-8"), max_num_fields=10, errors="strict")
        found = json.loads(fields["payload"][0])
    except (ValueError, KeyError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
