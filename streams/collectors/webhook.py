"""The server of the validating webhook: AdmissionReviews in over HTTPS, answers out. A door of `aiohttp`.

    server = WebhookServer(decide, WebhookOptions(cluster="prod-eu"), certificates.front)
    async with server.listening("0.0.0.0", 9443) as port: ...

    POST /admit            an AdmissionReview of admission.k8s.io/v1; ?timeout=5s is what the API server waits
    GET /healthz, /readyz  for the kubelet

What is no review is 400 with a named code: the API server then does what the webhook's failurePolicy says. While the
process is not ready it answers 503, to the same effect. Nothing of a body or a header is ever logged.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, Protocol

import msgspec
from aiohttp import web

from streams.clock import wall_clock
from streams.collectors.admission import Asked, answer_json, read_review
from streams.collectors.deadletters import CODES, Problem
from streams.collectors.listening import Limits, listening

MIB: Final = 1024 * 1024
MAX_BODY: Final = 8 * MIB
"""Bytes of a review: an object has at most 3 MiB with its managed fields, and an update has it twice."""
KEEP_ALIVE: Final = 120.0
"""Seconds a connection may be idle; the API server keeps its own for 90."""
BODY_SECONDS: Final = 5.0
"""For a body to come; the API server gives up long before most slow senders do."""
MARGIN: Final = 0.5
"""Seconds of what the API server waits that are left for the way back."""

_LIMITS: Final = Limits(
    stop_seconds=BODY_SECONDS,
    keep_alive=KEEP_ALIVE,
    decompress=False,  # the API server never compresses what it asks
)
_TIMEOUT: Final = re.compile(r"([0-9]{1,4})(ms|s)")


class Answered(Protocol):
    """What is told to the API server."""

    @property
    def allowed(self) -> bool: ...  # noqa: D102  # a protocol's member

    @property
    def message(self) -> str: ...  # noqa: D102  # as above

    @property
    def warnings(self) -> tuple[str, ...]: ...  # noqa: D102  # as above

    @property
    def annotations(self) -> dict[str, str]: ...  # noqa: D102  # as above


class Deciding(Protocol):
    """Who decides."""

    async def decide(self, asked: Asked, seconds: float | None) -> Answered:
        """The answer, within `seconds` (None: within the budget)."""
        ...

    def refused(self, problem: Problem, body: bytes) -> None:
        """A body was no review."""

    def failed(self, error: Exception) -> None:
        """A review could not be decided, by a fault of ours."""


class WebhookOptions(msgspec.Struct, frozen=True):
    """Limits and names of a server."""

    cluster: str = "local"
    """Stable id of the cluster whose API server may reach the address."""
    max_body: int = MAX_BODY


class WebhookServer:
    """Takes reviews over HTTPS."""

    def __init__(
        self,
        deciding: Deciding,
        options: WebhookOptions,
        tls: ssl.SSLContext,
        ready: Callable[[], bool],
        ending: Callable[[], bool],
    ) -> None:
        """`ready`: requests can be answered; `ending`: they still are, and new ones had better go elsewhere."""
        self._deciding, self._options, self._tls = deciding, options, tls
        self._ready, self._ending = ready, ending

    @asynccontextmanager
    async def listening(self, host: str, port: int) -> AsyncIterator[int]:
        """Listen until the block ends; gives the port. Requests that were begun are finished first.

        Raises:
            PlaceUnavailable: the address cannot be listened on.
        """
        app = self.application()
        async with listening(app, "admission.address", host, port, tls=self._tls, limits=_LIMITS) as bound:
            yield bound

    def application(self) -> web.Application:
        """The routes."""
        app = web.Application(client_max_size=self._options.max_body)
        app.router.add_post("/admit", self._admit)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        return app

    async def _admit(self, request: web.Request) -> web.Response:
        received = wall_clock()
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return _text(413, f"a review has at most {self._options.max_body} bytes")
        except TimeoutError:
            return _text(408, f"a review has to come within {BODY_SECONDS:.0f} s")
        asked = read_review(body, self._options.cluster, received)
        if isinstance(asked, Problem):
            self._deciding.refused(asked, body)
            return _text(400, f"{asked.code}: {CODES[asked.code]}" + (f" ({asked.detail})" if asked.detail else ""))
        if not self._ready():
            return _text(503, "not ready: trust and facts are not read whole yet")
        try:
            said = await self._deciding.decide(asked, patience(request.query.get("timeout", "")))
        except Exception as error:  # noqa: BLE001  # whatever it is: the API server goes by its failurePolicy
            self._deciding.failed(error)
            return _text(500, "revet failed; its log says why")
        answer = answer_json(
            asked.uid,
            allowed=said.allowed,
            message=said.message,
            warnings=said.warnings,
            annotations=said.annotations,
        )
        return web.Response(body=answer, content_type="application/json")

    async def _healthz(self, _request: web.Request) -> web.Response:
        return _text(200, "ok")

    async def _readyz(self, _request: web.Request) -> web.Response:
        ready = self._ready() and not self._ending()
        return _text(200, "ready") if ready else _text(503, "not ready")


def patience(text: str) -> float | None:
    """Seconds that may be used of what the API server waits, as it says it (`5s`); None: it does not say."""
    found = _TIMEOUT.fullmatch(text)
    if found is None:
        return None
    seconds = int(found[1]) / (1000 if found[2] == "ms" else 1)
    return max(seconds - MARGIN, seconds / 2)


def _text(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=text + "\n")


__all__ = ["MAX_BODY", "Answered", "Deciding", "WebhookOptions", "WebhookServer", "patience"]
