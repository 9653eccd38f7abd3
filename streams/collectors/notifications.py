"""Where registries say that something was pushed: an HTTP server for their webhooks. A door of `aiohttp`.

    server = NotificationServer(take, NotificationOptions(token=b"..."))
    async with server.listening("0.0.0.0", 9881) as port: ...

    POST /registry      a notification of distribution, Harbor or Quay; 202 once what it asks for is durable

Whoever sends shows the token (`Authorization: Bearer`, or bare, as Harbor sends it). 400: nothing that is known, which
says what was expected; 429: more than it takes, which registries repeat; 503: not durable, send it again. Nothing of a
body or a header is logged or given back.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import msgspec
from aiohttp import web

from streams.collectors.listening import listening
from streams.collectors.notified import BODY_BYTES, Changed, NotificationError, read_notification
from verifier.errors import PlaceError
from verifier.oci.pacing import Pace

Take = Callable[[tuple[Changed, ...]], Awaitable[int]]
"""Makes what was said durable; gives the number of images that are asked about again. Raises PlaceError."""


class NotificationOptions(msgspec.Struct, frozen=True):
    """Limits of the server. `token` never leaves it."""

    token: bytes
    per_second: int = 20
    """Notifications a second that are taken, after a burst of one second."""

    def __repr__(self) -> str:
        return f"NotificationOptions(token={'set' if self.token else 'none'}, per_second={self.per_second})"


class NotificationServer:
    """Takes notifications over HTTP."""

    def __init__(
        self,
        take: Take,
        options: NotificationOptions,
        *,
        told: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`told` hears what became of each: `taken`, `refused` (token), `garbage`, `limited`, `failed`."""
        self._take = take
        self._options = options
        self._told = told
        self._clock = clock
        self._pace = Pace(options.per_second)

    @asynccontextmanager
    async def listening(self, host: str, port: int) -> AsyncIterator[int]:
        """Listen until the block ends; gives the port.

        Raises:
            PlaceUnavailable: the address cannot be listened on.
        """
        app = web.Application(client_max_size=BODY_BYTES)
        app.router.add_post("/registry", self._answer)
        async with listening(app, "notifications.address", host, port) as bound:
            yield bound

    async def _answer(self, request: web.Request) -> web.Response:
        result, status, text = await self._taken(request)
        self._told(result)
        headers = {401: {"WWW-Authenticate": "Bearer"}, 429: {"Retry-After": "5"}}.get(status, {})
        return web.Response(status=status, text=text + "\n", headers=headers)

    async def _taken(self, request: web.Request) -> tuple[str, int, str]:
        if not self._allowed(request):
            return "refused", 401, "a token is needed, and this is not it"
        if not self._pace.has_room(self._clock()):
            return "limited", 429, f"more than {self._options.per_second} a second"
        try:
            said = read_notification(await request.read())
            images = await self._take(said) if said else 0
        except web.HTTPRequestEntityTooLarge:
            return "garbage", 413, f"a body has at most {BODY_BYTES} bytes"
        except NotificationError as error:
            return "garbage", 400, str(error)
        except PlaceError:
            return "failed", 503, "not durable; send it again"
        return "taken", 202, f"{images} images are asked about again"

    def _allowed(self, request: web.Request) -> bool:
        """The token, as Bearer or bare: Harbor sends its secret as the whole header."""
        shown = request.headers.get("Authorization", "").strip()
        scheme, _, rest = shown.partition(" ")
        token = rest.strip() if scheme.lower() == "bearer" else shown
        same = hmac.compare_digest(token.encode("utf-8", "surrogateescape"), self._options.token)
        return same and bool(self._options.token)
