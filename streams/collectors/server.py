"""The receiver of the API server's audit webhook: HTTP bodies in, durable observations, 200. The door of `aiohttp`.

    receiver = Receiver(intake, ReceiverOptions(cluster="prod-eu"))
    async with receiver.listening("127.0.0.1", 9880) as port: ...

    POST /audit, /audit/CLUSTER    Event, EventList, array or JSON lines, gzip or not
    GET /healthz, /readyz          progress; ready to take events
    GET /metrics                   counters for Prometheus

The API server repeats every answer but 2xx five times and then drops the batch (audit webhook backend), so 200 means
durable, one bad event is a dead letter and never an error, and what takes long is slow instead of a 5xx. Only who may
not send (401), a wrong path (404) and what is too large (413) is turned away. Which cluster events belong to is said by
the path, never by the payload. Nothing of a body or a header is ever logged.
"""

from __future__ import annotations

import asyncio
import hmac
import re
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Protocol

import msgspec
from aiohttp import web

from streams.clock import wall_clock
from streams.collectors.bodies import Batch, Bodies
from verifier.errors import PlaceError, PlaceUnavailable

CLUSTER: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
MAX_CLUSTERS: Final = 500
"""Distinct cluster names one process takes: each costs a little memory, and a sender chooses them."""
MAX_HEADER: Final = 8190
"""Bytes of a request line or a header."""
KEEP_ALIVE: Final = 120.0
"""Seconds a connection may be idle; the API server keeps a few open for 90."""
MIB: Final = 1024 * 1024


class Progress(msgspec.Struct, frozen=True):
    """How the process behind the receiver is doing."""

    ready: bool
    backlog: int
    """Durable records that are not judged yet."""
    stalled_seconds: float
    """Seconds since anything was judged although something waits; 0 when nothing waits."""
    epoch: int


class Intake(Protocol):
    """Where batches go."""

    async def accept(self, batch: Batch) -> int:
        """Make a batch durable; returns how many of its observations were new.

        Raises:
            PlaceError: it is not durable, and will not become so here.
        """
        ...

    def progress(self) -> Progress:
        """How it is doing."""
        ...


class Reading(Protocol):
    """Who reads bodies, in this process or in another one."""

    async def read(self, cluster: str, body: bytes, received: int) -> Batch:
        """What a body came to; see `Bodies.read`.

        Raises:
            PlaceError: it cannot be read now.
        """
        ...


class _Here:
    """Bodies are read in this process."""

    def __init__(self, max_body: int) -> None:
        self._bodies = Bodies(max_body)

    async def read(self, cluster: str, body: bytes, received: int) -> Batch:
        return self._bodies.read(cluster, body, received)


class ReceiverOptions(msgspec.Struct, frozen=True):
    """Limits and defaults of a receiver. `token` never leaves it."""

    cluster: str = "local"
    """Cluster of `POST /audit` without a name."""
    token: bytes = b""
    """Bearer token; empty: everybody who can reach the address may send."""
    max_body: int = 32 * MIB
    """Bytes of a body, also of each document in it after decompression."""
    max_requests: int = 8
    """Bodies read and parsed at a time."""
    body_seconds: float = 60.0
    stall_seconds: float = 60.0
    """After so long without progress `/healthz` says 503."""

    def __repr__(self) -> str:
        return f"ReceiverOptions(cluster={self.cluster!r}, token={'set' if self.token else 'none'})"


class Receiver:
    """Takes audit events over HTTP."""

    def __init__(self, intake: Intake, options: ReceiverOptions, reading: Reading | None = None) -> None:
        self._intake = intake
        self._options = options
        self._reading = reading or _Here(options.max_body)
        self._clusters: set[str] = set()
        self._slots = asyncio.Semaphore(options.max_requests)
        self._counts: Counter[tuple[str, str]] = Counter()
        """(metric, label value) -> count since the start of the process."""
        self._last_batch = 0.0
        self._in_flight = 0
        self.quiet = asyncio.Event()
        """Set while no body is being read, parsed or written."""
        self.quiet.set()

    @asynccontextmanager
    async def listening(self, host: str, port: int) -> AsyncIterator[int]:
        """Listen until the block ends; gives the port. Requests that were begun are finished first.

        Raises:
            PlaceUnavailable: the address cannot be listened on.
        """
        runner = web.AppRunner(
            self.application(),
            access_log=None,  # paths and headers are the sender's text
            auto_decompress=False,  # broken or hostile gzip is the parser's business, and a dead letter
            max_line_size=MAX_HEADER,
            max_field_size=MAX_HEADER,
            keepalive_timeout=KEEP_ALIVE,
            shutdown_timeout=self._options.body_seconds,
        )
        await runner.setup()
        try:
            site = web.TCPSite(runner, host, port)
            try:
                await site.start()
            except OSError as error:
                message = f"cannot listen on {host}:{port}: {error.strerror or error}"
                raise PlaceUnavailable("listen-unavailable", message) from error
            yield int(runner.addresses[0][1])
        finally:
            await runner.cleanup()

    def application(self) -> web.Application:
        """The routes."""
        app = web.Application(client_max_size=self._options.max_body)
        app.router.add_post("/audit", self._audit)
        app.router.add_post(f"/audit/{{cluster:{CLUSTER.pattern}}}", self._audit)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        return app

    # ------------------------------------------------------------------ audit

    async def _audit(self, request: web.Request) -> web.Response:
        if not self._allowed(request):
            return self._answer(401, "a bearer token is needed, and this is not it")
        cluster = request.match_info.get("cluster", self._options.cluster)
        if cluster not in self._clusters and len(self._clusters) >= MAX_CLUSTERS:
            return self._answer(404, f"more than {MAX_CLUSTERS} clusters")
        if (request.content_length or 0) > self._options.max_body:
            return self._answer(413, f"a body has at most {self._options.max_body} bytes")
        self._in_flight += 1
        self.quiet.clear()
        try:
            async with self._slots:
                return await self._take(request, cluster)
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self.quiet.set()

    async def _take(self, request: web.Request, cluster: str) -> web.Response:
        try:
            async with asyncio.timeout(self._options.body_seconds):
                body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return self._answer(413, f"a body has at most {self._options.max_body} bytes")
        except TimeoutError:
            return self._answer(408, f"a body has to come within {self._options.body_seconds:.0f} s")
        try:
            batch = await self._reading.read(cluster, body, wall_clock())
            self._count(batch, len(body))
            new = await self._intake.accept(batch)
        except PlaceError:
            return self._answer(503, "not durable; send it again")  # whoever drives the receiver has the reason
        self._counts["new", cluster] += new
        self._last_batch = time.monotonic()
        return self._answer(200, "")

    def _count(self, batch: Batch, size: int) -> None:
        self._clusters.add(batch.cluster)
        self._counts["events", batch.cluster] += batch.events
        self._counts["bytes", batch.cluster] += size
        for metric, counted in (("ignored", batch.ignored), ("deadletters", batch.letters)):
            for value, number in counted.items():
                self._counts[metric, value] += number

    def _allowed(self, request: web.Request) -> bool:
        if not self._options.token:
            return True
        scheme, _, shown = request.headers.get("Authorization", "").partition(" ")
        same = hmac.compare_digest(shown.strip().encode("utf-8", "surrogateescape"), self._options.token)
        return same and scheme.lower() == "bearer"

    def _answer(self, status: int, text: str) -> web.Response:
        self._counts["requests", str(status)] += 1
        headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
        return web.Response(status=status, text=text + "\n" if text else "", headers=headers)

    # ------------------------------------------------------------------ how it is doing

    async def _healthz(self, _request: web.Request) -> web.Response:
        progress = self._intake.progress()
        age = time.monotonic() - self._last_batch if self._last_batch else None
        stalled = progress.stalled_seconds > self._options.stall_seconds
        body = {
            "status": "stalled" if stalled else "ok",
            "backlog": progress.backlog,
            "stalled_seconds": round(progress.stalled_seconds, 3),
            "last_batch_age_seconds": None if age is None else round(age, 3),
            "trust_epoch": progress.epoch,
        }
        return web.Response(
            status=503 if stalled else 200, body=msgspec.json.encode(body), content_type="application/json"
        )

    async def _readyz(self, _request: web.Request) -> web.Response:
        ready = self._intake.progress().ready
        return web.Response(status=200 if ready else 503, text="ready\n" if ready else "not ready\n")

    async def _metrics(self, request: web.Request) -> web.Response:
        if not self._allowed(request):
            return self._answer(401, "a bearer token is needed, and this is not it")
        return web.Response(
            text=self._exposition(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )

    def _exposition(self) -> str:
        """Prometheus' text format. Label values are names that passed `CLUSTER`, and codes: nothing to escape."""
        progress = self._intake.progress()
        counts = self._counts
        lines: list[str] = []
        for metric, (name, label, help_) in _COUNTERS.items():
            lines += [f"# HELP {name} {help_}", f"# TYPE {name} counter"]
            values = sorted((value, number) for (kind, value), number in counts.items() if kind == metric)
            lines += [f'{name}{{{label}="{value}"}} {number}' for value, number in values]
        age = time.monotonic() - self._last_batch if self._last_batch else float("nan")
        gauges = (progress.backlog, progress.stalled_seconds, progress.epoch, self._in_flight, age)
        for (name, help_), gauge in zip(_GAUGES, gauges, strict=True):
            lines += [f"# HELP {name} {help_}", f"# TYPE {name} gauge", f"{name} {gauge}"]
        return "\n".join(lines) + "\n"


_COUNTERS: Final[dict[str, tuple[str, str, str]]] = {
    "requests": ("revet_audit_requests_total", "code", "Requests with audit events, by answer."),
    "events": ("revet_audit_events_total", "cluster", "Events received; compare with apiserver_audit_event_total."),
    "new": ("revet_audit_observations_total", "cluster", "Observations that were new."),
    "bytes": ("revet_audit_bytes_total", "cluster", "Bytes of bodies, as received."),
    "ignored": ("revet_audit_ignored_total", "reason", "Events that ask for nothing, by reason."),
    "deadletters": ("revet_audit_deadletters_total", "code", "Events that could not be read, by reason."),
}
_GAUGES: Final = (
    ("revet_backlog", "Durable records that are not judged yet."),
    ("revet_stalled_seconds", "Seconds without progress although something waits."),
    ("revet_trust_epoch", "Trust epoch the judge has reached."),
    ("revet_audit_requests_in_flight", "Bodies that are being read, parsed or written."),
    ("revet_audit_last_batch_age_seconds", "Seconds since the last batch became durable."),
)
