"""The operations server of a process: health, readiness, metrics. A door of `aiohttp`.

    operations = Operations(health, metrics)
    with operations.listening("127.0.0.1:9890") as address: ...

    GET /healthz    200, or 503 when work waits and nothing moves; JSON that names what
    GET /livez      the same, but 200 while a dependency's trouble explains it: to restart would not help
    GET /readyz     200 once the process can do its work and what it needs works, else 503 with what is missing
    GET /metrics    numbers for Prometheus

It runs on a thread with a loop of its own: a process that is busy for seconds still answers, and one whose loop hangs
says so instead of letting the asker wait. Nothing it answers is secret, and it takes nothing from the asker but the
path. Keep it off the internet all the same: it tells what is broken.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Final, NamedTuple

import msgspec
from aiohttp import web

from streams.collectors.listening import Limits, listening
from streams.serving.health import Health, Report
from streams.serving.metrics import LAG, READY, STALLED, TROUBLE, Metrics, Values
from streams.settings import host_and_port, shown_address
from verifier.errors import PlaceUnavailable

MAX_LINE: Final = 4096
"""Bytes of a request line or a header."""
START_SECONDS: Final = 30.0
"""How long the thread may take to listen."""
STOP_SECONDS: Final = 2.0
"""How long answers that were begun may take at the end."""


class _Bound(NamedTuple):
    """What the thread listens on, and how to end it."""

    port: int
    loop: asyncio.AbstractEventLoop
    ending: asyncio.Event


class Operations:
    """Answers whoever asks how the process is doing."""

    def __init__(self, health: Health, metrics: Metrics) -> None:
        self._health = health
        self._metrics = metrics
        metrics.watch(LAG, health.lag)
        metrics.watch(STALLED, health.stalls)
        metrics.watch(READY, self._ready)
        metrics.watch(TROUBLE, self._troubles)

    @contextmanager
    def listening(self, address: str) -> Iterator[str]:
        """Answer until the block ends; gives HOST:PORT as it is bound.

        Raises:
            PlaceUnavailable: the address cannot be listened on.
        """
        host, port = host_and_port(address)
        bound: Future[_Bound] = Future()
        thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(host, port, bound)), name="operations", daemon=True
        )
        thread.start()
        found = bound.result(START_SECONDS)
        try:
            yield shown_address(host, found.port)
        finally:
            found.loop.call_soon_threadsafe(found.ending.set)
            thread.join(STOP_SECONDS * 2)

    async def _serve(self, host: str, port: int, bound: Future[_Bound]) -> None:
        limits = Limits(max_header=MAX_LINE, stop_seconds=STOP_SECONDS)
        try:
            async with listening(self.application(), "serve.operations", host, port, limits=limits) as port_:
                ending = asyncio.Event()
                bound.set_result(_Bound(port_, asyncio.get_running_loop(), ending))
                await ending.wait()
        except PlaceUnavailable as error:
            bound.set_exception(error)

    def application(self) -> web.Application:
        """The routes."""
        app = web.Application(client_max_size=MAX_LINE)
        for path, answer in (
            ("/healthz", self._healthz),
            ("/livez", self._livez),
            ("/readyz", self._readyz),
            ("/metrics", self._exposition),
        ):
            app.router.add_get(path, answer)
        return app

    # ------------------------------------------------------------------ answers

    async def _healthz(self, _request: web.Request) -> web.Response:
        report = self._health.report()
        return _answer(report, ok=report.status == "ok")

    async def _livez(self, _request: web.Request) -> web.Response:
        report = self._health.report()
        return _answer(report, ok=report.status == "ok" or report.blames_others)

    async def _readyz(self, _request: web.Request) -> web.Response:
        report = self._health.report()
        return _answer(report, ok=report.ready and not report.troubles and not report.failed)

    async def _exposition(self, request: web.Request) -> web.Response:
        body, content_type = self._metrics.exposition(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    # ------------------------------------------------------------------ what health tells the metrics

    def _ready(self) -> Values:
        return {(): float(self._health.report().ready)}

    def _troubles(self) -> Values:
        return {(trouble.what,): trouble.seconds for trouble in self._health.report().troubles}


def _answer(report: Report, *, ok: bool) -> web.Response:
    return web.Response(
        status=200 if ok else 503,
        body=msgspec.json.encode(report) + b"\n",
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )
