"""The receiver of the API server's audit webhook: HTTP bodies in, durable observations, 200. The door of `aiohttp`.

    receiver = Receiver(intake, ReceiverOptions(cluster="prod-eu"))
    async with receiver.listening("127.0.0.1", 9880) as port: ...

    POST /audit, /audit/CLUSTER    Event, EventList, array or JSON lines, gzip or not; envelopes of cloud providers
    POST /reports, /reports/CLUSTER    what other engines say; see `reports`
    POST /pubsub, /firehose        pushes of Google Pub/Sub (GKE) and Amazon Data Firehose (EKS); see `pushes`
    GET /healthz, /readyz          progress; ready to take events
    GET /metrics                   counters for Prometheus

The API server repeats every answer but 2xx five times and then drops the batch (audit webhook backend), so 200 means
durable, one bad event is a dead letter and never an error, and what takes long is slow instead of a 5xx. Only who may
not send (401, 403), a wrong path (404), what is too large (413) and what would wait too long (429) is turned away.
Which cluster events belong to is said by the certificate or secret of the sender (`senders`), and where nobody has one,
by the path; never by the payload. Nothing of a body or a header is ever logged.
"""

from __future__ import annotations

import asyncio
import hmac
import math
import re
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Final, Protocol

import msgspec
from aiohttp import web

from streams.clock import wall_clock
from streams.collectors.bodies import Batch, Bodies, BodyKind
from streams.collectors.limits import Budget, Doorkeeper, Later, Places
from streams.collectors.pushes import PushKeys, firehose_answer, push_account
from streams.collectors.senders import CLUSTER_NAME, Refusal, Sender, Senders, Shown, names_in
from streams.collectors.tls import ServerTls
from verifier.errors import InputError, PlaceError, PlaceUnavailable

CLUSTER: Final = re.compile(CLUSTER_NAME)
MAX_CLUSTERS: Final = 500
"""Distinct cluster names one process takes: each costs a little memory, and a sender chooses them."""
MAX_HEADER: Final = 8190
"""Bytes of a request line or a header."""
KEEP_ALIVE: Final = 120.0
"""Seconds a connection may be idle; the API server keeps a few open for 90."""
HANDSHAKE: Final = 10.0
"""Seconds a sender may take for its side of TLS."""
PATIENCE: Final = 20.0
"""Seconds a request waits for its turn: the API server gives up after 30, and everything else takes time too."""
WAITING: Final = 64
"""Requests of one source that may wait for a place. An API server at its defaults has a few under way."""
WAIT_FULL: Final = 5
"""Seconds after which a source whose requests wait in numbers is told to come back."""
LOOK_SECONDS: Final = 10.0
"""How often files with certificates, keys and tokens are looked at."""
BACKLOG: Final = 128
"""Connections that may wait to be accepted."""
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

    async def read(self, cluster: str, body: bytes, received: int, kind: BodyKind = "audit") -> Batch:
        """What a body came to; see `Bodies.read`.

        Raises:
            PlaceError: it cannot be read now.
        """
        ...


class _Here:
    """Bodies are read in this process."""

    def __init__(self, max_body: int) -> None:
        self._bodies = Bodies(max_body)

    async def read(self, cluster: str, body: bytes, received: int, kind: BodyKind = "audit") -> Batch:
        return self._bodies.read(cluster, body, received, kind)


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
    requests_per_second: float = 100.0
    """Of one source; twice as many at once."""
    max_connections: int = 1000
    max_connections_each: int = 200
    """Of one address."""
    senders: Senders | None = None
    """Who may send, and for which cluster; none: whoever has `token`, for the cluster the path names."""
    tls: ServerTls | None = None
    push_keys: PushKeys | None = None
    """Who signs pushes of Pub/Sub."""
    look_seconds: float = LOOK_SECONDS

    def __repr__(self) -> str:
        senders, token = "set" if self.senders else "none", "set" if self.token else "none"
        return f"ReceiverOptions(cluster={self.cluster!r}, senders={senders}, token={token})"


class Receiver:
    """Takes audit events over HTTP."""

    def __init__(
        self,
        intake: Intake,
        options: ReceiverOptions,
        reading: Reading | None = None,
        stale: Callable[[str], None] | None = None,
    ) -> None:
        """`stale` is told when a certificate or token cannot be read again, and with "" when all can."""
        self._intake = intake
        self._options = options
        self._reading = reading or _Here(options.max_body)
        self._stale = stale
        self._clusters: set[str] = set()
        self._places = Places(options.max_requests, WAITING)
        self._budget = Budget(options.requests_per_second, 2 * options.requests_per_second, PATIENCE)
        self._counts: Counter[tuple[str, str]] = Counter()
        """(metric, label value) -> count since the start of the process."""
        self._last_batch = 0.0
        self._in_flight = 0
        self.quiet = asyncio.Event()
        """Set while no body is being read, parsed or written."""
        self.quiet.set()

    def received(self, cluster: str, server: str = "") -> int:
        """Audit events of a cluster, or of one of its API servers, since the start of the process."""
        return self._counts[("servers", f"{cluster}/{server}") if server else ("events", cluster)]

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
        if runner.server is None:
            raise RuntimeError("a runner that is set up has a server")
        most, each = self._options.max_connections, self._options.max_connections_each
        door = Doorkeeper(runner.server, most, each, self._turned_away)
        tls = self._options.tls
        looking = asyncio.create_task(self._look())
        server: asyncio.Server | None = None
        try:
            try:
                server = await asyncio.get_running_loop().create_server(
                    door,
                    host,
                    port,
                    ssl=tls.context if tls else None,
                    ssl_handshake_timeout=HANDSHAKE if tls else None,
                    backlog=BACKLOG,
                )
            except OSError as error:
                message = f"cannot listen on {host}:{port}: {error.strerror or error}"
                raise PlaceUnavailable("listen-unavailable", message) from error
            yield int(server.sockets[0].getsockname()[1])
        finally:
            looking.cancel()
            if server is not None:
                server.close()
            await runner.cleanup()

    def _turned_away(self) -> None:
        self._counts["refused", "connections"] += 1

    async def _look(self) -> None:
        """Take over certificates, keys and tokens that changed."""
        while True:
            await asyncio.sleep(self._options.look_seconds)
            self.refresh()

    def refresh(self) -> str:
        """Read what changed of certificates, keys and tokens. Returns why something could not be read; then what was
        in force stays in force.
        """
        options, problems = self._options, list[str]()
        for part in (options.tls, options.senders, options.push_keys):
            try:
                if part is not None and part.refresh():
                    self._counts["reloads", "done"] += 1
            except InputError as error:
                self._counts["reloads", "failed"] += 1
                problems.append(str(error))
        if self._stale is not None:
            self._stale("; ".join(problems))
        return "; ".join(problems)

    def application(self) -> web.Application:
        """The routes."""
        app = web.Application(client_max_size=self._options.max_body)
        app.router.add_post("/audit", self._audit)
        app.router.add_post(f"/audit/{{cluster:{CLUSTER.pattern}}}", self._audit)
        app.router.add_post("/reports", self._reports)
        app.router.add_post(f"/reports/{{cluster:{CLUSTER.pattern}}}", self._reports)
        app.router.add_post("/pubsub", self._pubsub)
        app.router.add_post("/firehose", self._firehose)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        return app

    # ------------------------------------------------------------------ who sends

    def _sender(self, request: web.Request, shown: Shown) -> Sender | Refusal:
        """Whoever shows this, for the cluster of the path where there is one."""
        asked = request.match_info.get("cluster", "")
        if not self._options.senders:
            if self._options.token and not hmac.compare_digest(shown.token, self._options.token):
                return Refusal("token-unknown" if shown.token else "no-credentials")
            return Sender(asked or self._options.cluster)
        found = self._options.senders.of(shown)
        if isinstance(found, Sender) and asked and asked != found.cluster:
            return Refusal("other-cluster")
        return found

    def _refused(self, refusal: Refusal) -> web.Response:
        self._counts["refused", refusal.reason] += 1
        return self._answer(refusal.status, refusal.text)

    # ------------------------------------------------------------------ audit

    async def _audit(self, request: web.Request) -> web.Response:
        return await self._from(request, self._sender(request, _shown(request)))

    async def _reports(self, request: web.Request) -> web.Response:
        """What other engines say: the same senders, places, limits and answers as for audit events."""
        return await self._from(request, self._sender(request, _shown(request)), "reports")

    async def _pubsub(self, request: web.Request) -> web.Response:
        """A push of Google Pub/Sub; 2xx acknowledges its message, everything else has it sent again."""
        shown = _shown(request)
        keys = self._options.push_keys
        if keys is not None and (account := push_account(shown.token, keys, wall_clock())):
            shown = Shown(names=shown.names, push_account=account)
        return await self._from(request, self._sender(request, shown))

    async def _firehose(self, request: web.Request) -> web.Response:
        """A delivery of Amazon Data Firehose; its answer has to repeat the id of the request, as JSON."""
        shown = Shown(token=request.headers.get("X-Amz-Firehose-Access-Key", "").encode("utf-8", "surrogateescape"))
        answer = await self._from(request, self._sender(request, shown))
        text = "" if answer.status == 200 else answer.text or ""
        body = firehose_answer(request.headers.get("X-Amz-Firehose-Request-Id", ""), wall_clock() // 1000, text.strip())
        retry = answer.headers.get("Retry-After")
        headers = {"Retry-After": retry} if retry else {}
        return web.Response(status=answer.status, body=body, content_type="application/json", headers=headers)

    async def _from(self, request: web.Request, sender: Sender | Refusal, kind: BodyKind = "audit") -> web.Response:
        """What somebody sends, once it is their turn."""
        if isinstance(sender, Refusal):
            return self._refused(sender)
        if sender.cluster not in self._clusters and len(self._clusters) >= MAX_CLUSTERS:
            return self._answer(404, f"more than {MAX_CLUSTERS} clusters")
        if (request.content_length or 0) > self._options.max_body:
            return self._answer(413, f"a body has at most {self._options.max_body} bytes")
        source = f"{sender.cluster}/{sender.server}" if self._options.senders else request.remote or ""
        if isinstance(wait := self._turn(source), web.Response):
            return wait
        await asyncio.sleep(wait)
        self._in_flight += 1
        self.quiet.clear()
        try:
            async with self._places.place(source):
                return await self._take(request, sender, kind)
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self.quiet.set()

    def _turn(self, source: str) -> float | web.Response:
        """Seconds until the turn of a request, or the answer that says when to come back."""
        if self._places.full(source):
            self._counts["refused", "waiting"] += 1
            return self._answer(429, "too many requests wait", {"Retry-After": str(WAIT_FULL)})
        wait = self._budget.take(source, time.monotonic())
        if isinstance(wait, Later):
            self._counts["refused", "rate"] += 1
            return self._answer(429, "too many requests", {"Retry-After": str(math.ceil(wait.seconds))})
        return wait

    async def _take(self, request: web.Request, sender: Sender, kind: BodyKind) -> web.Response:
        try:
            async with asyncio.timeout(self._options.body_seconds):
                body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return self._answer(413, f"a body has at most {self._options.max_body} bytes")
        except TimeoutError:
            return self._answer(408, f"a body has to come within {self._options.body_seconds:.0f} s")
        try:
            batch = await self._reading.read(sender.cluster, body, wall_clock(), kind)
            self._count(batch, len(body), kind)
            new = await self._intake.accept(batch)
        except PlaceError:
            return self._answer(503, "not durable; send it again")  # whoever drives the receiver has the reason
        if kind == "reports":  # the rest is compared with what API servers say they sent
            return self._answer(200, "")
        self._counts["new", sender.cluster] += new
        if sender.server:
            self._counts["servers", f"{sender.cluster}/{sender.server}"] += batch.events
        self._last_batch = time.monotonic()
        return self._answer(200, "")

    def _count(self, batch: Batch, size: int, kind: BodyKind) -> None:
        self._clusters.add(batch.cluster)
        if kind == "reports":
            self._counts["claims", batch.cluster] += batch.observed - sum(batch.letters.values())
        else:
            self._counts["events", batch.cluster] += batch.events
            self._counts["bytes", batch.cluster] += size
        for metric, counted in (("ignored", batch.ignored), ("deadletters", batch.letters)):
            for value, number in counted.items():
                self._counts[metric, value] += number

    def _answer(self, status: int, text: str, more: Mapping[str, str] | None = None) -> web.Response:
        self._counts["requests", str(status)] += 1
        headers = {"WWW-Authenticate": "Bearer"} if status == 401 else more
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
        if isinstance(found := self._sender(request, _shown(request)), Refusal):
            return self._refused(found)
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


def _shown(request: web.Request) -> Shown:
    """What the sender shows: a certificate that was verified, a bearer token."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    bearer = token.strip().encode("utf-8", "surrogateescape") if scheme.lower() == "bearer" else b""
    connection = request.transport.get_extra_info("ssl_object") if request.transport is not None else None
    if not isinstance(connection, ssl.SSLObject):
        return Shown(token=bearer)
    with suppress(ValueError):  # the handshake is not over; then nothing was verified
        return Shown(names_in(connection.getpeercert(), connection.getpeercert(binary_form=True)), bearer)
    return Shown(token=bearer)


_COUNTERS: Final[dict[str, tuple[str, str, str]]] = {
    "requests": ("revet_audit_requests_total", "code", "Requests with audit events or reports, by answer."),
    "events": ("revet_audit_events_total", "cluster", "Events received; compare with apiserver_audit_event_total."),
    "new": ("revet_audit_observations_total", "cluster", "Observations that were new."),
    "claims": ("revet_reports_received_total", "cluster", "Claims of other engines that came over HTTP."),
    "bytes": ("revet_audit_bytes_total", "cluster", "Bytes of bodies, as received."),
    "ignored": ("revet_audit_ignored_total", "reason", "Events that ask for nothing, by reason."),
    "servers": ("revet_audit_server_events_total", "source", "Events received, by cluster and API server."),
    "refused": ("revet_audit_refused_total", "reason", "Requests and connections that were turned away, by reason."),
    "reloads": ("revet_audit_reloads_total", "outcome", "Certificates, keys and tokens that were read again."),
    "deadletters": ("revet_audit_deadletters_total", "code", "Events that could not be read, by reason."),
}
_GAUGES: Final = (
    ("revet_backlog", "Durable records that are not judged yet."),
    ("revet_stalled_seconds", "Seconds without progress although something waits."),
    ("revet_trust_epoch", "Trust epoch the judge has reached."),
    ("revet_audit_requests_in_flight", "Bodies that are being read, parsed or written."),
    ("revet_audit_last_batch_age_seconds", "Seconds since the last batch became durable."),
)
