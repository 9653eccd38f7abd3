"""Evidence from OCI registries over HTTP: the door of `aiohttp`.

    async with RegistryPlace(RegistryOptions(docker_config=Path("~/.docker/config.json").expanduser())) as place:
        collected = await place.collect(parse_reference("registry.example.com/payments/api:1.4.2"), digest)

It moves bytes and decides nothing: which question comes next is `verifier.oci.collect`'s, what an answer means is
`verifier.oci.http`'s. Kept here: time-outs, the byte cap while reading, requests at a time per host, repeating what a
short fault broke, and waiting as long as a registry asks. A place only ever sends GET; what is written to a registry,
by `verifier.adapters.oci_store`, goes through the same client. No proxy and no `.netrc` of the environment is used.
Every request, of redirects and token services too, is held against `verifier.oci.addresses`: its host before it is
made, and the addresses its name resolves to in the moment of connecting. How often a host is asked says
`verifier.oci.pacing`.
"""

from __future__ import annotations

import asyncio
import io
import re
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Generator, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self, TypeVar
from urllib.parse import urlsplit

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from verifier.errors import InputError, PlaceRefused
from verifier.models import ImageReference
from verifier.oci.addresses import NOT_LISTED, Reach
from verifier.oci.auth import CredentialBook, parse_docker_config
from verifier.oci.collect import collect, place_error, resolve
from verifier.oci.http import (
    ITSELF,
    SECOND,
    Endpoint,
    HttpFailure,
    HttpReply,
    HttpRequest,
    Login,
    Outcome,
    agreed,
    asked_for,
    endpoint_of,
    endpoints_of,
    exchange,
    origin_of,
)
from verifier.oci.limits import DOCKER_CONFIG_BYTES, ERROR_BYTES, Limits
from verifier.oci.pacing import Allowance, Budget, Pace, Quota
from verifier.oci.port import Collected
from verifier.oci.remembered import Remembered
from verifier.oci.wire import Failed, Found, Request, Response, run_async

T = TypeVar("T")

_CHUNK: Final = 64 * 1024
_HOSTS: Final = 4096
"""Hosts that something is remembered of; strangers choose their names."""
_BACK_OFF: Final = (0.2, 0.8)
"""Seconds before a GET is repeated: three tries over one second ride out a restart, not an outage."""
_REPEATED: Final = frozenset({500, 502, 503, 504})
_USER_AGENT: Final = "revet"
_MANIFEST: Final = re.compile(r"/v2/.+/manifests/[^/]+")
"""Paths whose GET a host may count as a pull."""
_DOCKER_HUB: Final = "registry-1.docker.io"
_DEFAULT_PORT: Final = {"http": 80, "https": 443}


class Timeouts(msgspec.Struct, frozen=True):
    """Seconds."""

    connect: float = 10.0
    read: float = 15.0
    """Longest silence while an answer is read."""
    request: float = 60.0
    """One request with its whole answer."""
    collect: float = 120.0
    """One round about one digest; what has not been asked by then counts as not answered."""


class RegistryOptions(msgspec.Struct, frozen=True):
    """How registries are spoken to. Holds no secret itself, and may be printed."""

    docker_config: Path | None = None
    """Docker `config.json` or a mounted `.dockerconfigjson`; None: anonymous."""
    ca_file: Path | None = None
    """PEM bundle of a private CA, trusted beside the system's."""
    plain_http: frozenset[str] = frozenset()
    """Registries (`host[:port]`) without TLS; `*` for all."""
    mirrors: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Registry -> origins asked in its place, e.g. `registry.example.com` -> `http://127.0.0.1:5000`; several with a
    space between, tried in order. `itself` among them is the registry (`verifier.oci.http.asked_for`)."""
    reach: Reach = Reach()
    """Hosts that may be asked; those of mirrors are listed by being mirrors."""
    per_host: int = 8
    """Requests at a time to one host."""
    per_second: float = 0.0
    """Requests a second to one host; 0: as many as it answers."""
    budgets: Mapping[str, Quota] = msgspec.field(default_factory=dict)
    """Registry -> pulls (GETs of manifests) that revet may make."""
    timeouts: Timeouts = Timeouts()
    limits: Limits = Limits()


class _Host(NamedTuple):
    """How often one host may be asked."""

    registry: str
    """As `RegistryOptions.budgets` names it."""
    pace: Pace
    budget: Budget

    async def held(self, request: HttpRequest, allowance: Allowance | None) -> float:
        """Seconds for which a request that counts has to wait; 0: it is counted now, and may be made."""
        if request.method != "GET" or not _MANIFEST.fullmatch(urlsplit(request.url).path):
            return 0.0
        if left := self.budget.blocked(time.monotonic()):
            return left
        if allowance is not None and (left := await allowance.take(self.registry)):
            return left
        self.budget.spend(time.monotonic())
        return 0.0

    def learn(self, outcome: Outcome) -> Outcome:
        """From what the host says of itself; gives the answer back."""
        if isinstance(outcome, HttpReply):
            limit, remaining = outcome.first("ratelimit-limit"), outcome.first("ratelimit-remaining")
            self.budget.learn(limit, remaining, time.monotonic())
        return outcome


class RegistryClient:
    """Machines of `verifier.oci.http` and `verifier.oci.writing`, driven over HTTP. Used and closed in one event loop.

    Raises:
        PlaceRefused: `registry-unauthorized`, the Docker configuration cannot be read.
        InputError: a mirror is no origin, or the CA file cannot be read.
    """

    def __init__(
        self, options: RegistryOptions | None = None, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._options = options or RegistryOptions()
        self._login = Login(_credentials(self._options.docker_config))
        self._ssl = _ssl_context(self._options.ca_file)
        self._sleep = sleep
        self._session: aiohttp.ClientSession | None = None
        self._gates: dict[str, asyncio.Semaphore] = {}
        self._paused: dict[str, float] = {}
        self._hosts: dict[str, _Host] = {}
        self._remembered = Remembered()
        self._allowance: Allowance | None = None
        self._reach = self._options.reach.with_hosts(_mirror_hosts(self._options.mirrors))

    def lend(self, book: CredentialBook) -> None:
        """Credentials beside those of the Docker configuration, in the place of those that were lent before."""
        self._login.lend(book)

    def share(self, allowance: Allowance) -> None:
        """Budgets are those of several processes from here on."""
        self._allowance = allowance

    async def close(self) -> None:
        """Closes all connections; the client may be used again."""
        if self._session is not None:
            await self._session.close()
            self._session = None
            self._gates.clear()  # they belong to the event loop that ends

    def deadline(self) -> float:
        """When a round that begins now has to be over, on the monotonic clock (seconds)."""
        return time.monotonic() + self._options.timeouts.collect

    async def drive(
        self, registry: str, machine: Callable[[Endpoint, Login], Generator[HttpRequest, Outcome, T]], deadline: float
    ) -> T | Failed:
        """What a machine that speaks to `registry` comes to, or why it could not be asked. Raises nothing."""
        return await self._driven(
            endpoint_of(registry, self._options.mirrors, self._options.plain_http), machine, deadline
        )

    async def read(self, request: Request, deadline: float) -> Response:
        """The answer to a request, of the registry or of its mirrors. Raises nothing."""
        registry = request.registry
        if not self._reach.others and not self._reach.lists(*_host_and_port(f"https://{registry}")):
            return Failed("registry-not-allowed", f"{registry} is {NOT_LISTED}")
        answers: list[Response] = []
        for endpoint in asked_for(request, endpoints_of(registry, self._options.mirrors, self._options.plain_http)):
            # What was read before is of use where reading is counted; elsewhere a HEAD would be one question more.
            remembered = self._remembered if self._host(endpoint.origin).budget.counts else None
            machine = partial(exchange, request, remembered=remembered)
            answers.append(await self._driven(endpoint, machine, deadline))
            if isinstance(answers[-1], Found):
                break
        return agreed(tuple(answers))

    async def _driven(
        self,
        endpoint: Endpoint,
        machine: Callable[[Endpoint, Login], Generator[HttpRequest, Outcome, T]],
        deadline: float,
    ) -> T | Failed:
        left = deadline - time.monotonic()
        if left <= 0:
            return Failed("registry-unavailable", f"no time left after {self._options.timeouts.collect:g} s", True)
        waiting = self._pause_left(endpoint)
        if waiting is not None:
            return waiting
        try:
            async with asyncio.timeout(left):
                response = await run_async(machine(endpoint, self._login), self._send)
        except TimeoutError:
            return Failed("registry-unavailable", f"no time left after {self._options.timeouts.collect:g} s", True)
        if isinstance(response, Failed) and response.code == "registry-rate-limited" and response.retry_after:
            self._paused[endpoint.origin] = time.monotonic() + response.retry_after / SECOND
        return response

    def _pause_left(self, endpoint: Endpoint) -> Failed | None:
        """A registry that asked to be left alone is not asked meanwhile."""
        left = self._paused.get(endpoint.origin, 0.0) - time.monotonic()
        if left <= 0:
            self._paused.pop(endpoint.origin, None)
            return None
        detail = f"asked to wait {left:.0f} s longer"
        return Failed("registry-rate-limited", detail, retryable=True, retry_after=int(left * SECOND))

    async def _send(self, request: HttpRequest) -> Outcome:
        """One request, repeated after a short fault: every one that is sent may be."""
        host = urlsplit(request.url).netloc
        gate = self._gates.setdefault(host, asyncio.Semaphore(self._options.per_host))
        for delay in _BACK_OFF:
            async with gate:
                outcome = await self._request(request)
            if not _worth_repeating(outcome):
                return outcome
            await self._sleep(delay)
        async with gate:
            return await self._request(request)

    async def _request(self, request: HttpRequest) -> Outcome:
        url = URL(request.url, encoded=True)
        name = url.host or ""
        host = self._host(request.url)
        # The host that is connected to, read by the client that connects: two readers of a URL may differ.
        if why := self._reach.refuses_host(name, url.port or 0):
            return HttpFailure("registry-not-allowed", f"{name}: {why}", False)
        if left := await host.held(request, self._allowance):
            told = f"{name}: the budget of pulls is used up; the next in {left:.0f} s at most"
            return HttpFailure("registry-rate-limited", told, retry_after=int(left * SECOND))
        if wait := host.pace.wait(time.monotonic()):
            await self._sleep(wait)
        headers = {"Accept": ", ".join(request.accept), "Accept-Encoding": "identity"}
        if request.authorization is not None:
            headers["Authorization"] = request.authorization.reveal()
        if request.content_type:
            headers["Content-Type"] = request.content_type
        try:
            async with self._opened_session().request(
                request.method,
                url,
                headers=headers,
                data=io.BytesIO(request.body) if request.method in {"POST", "PUT"} else None,
                allow_redirects=False,
            ) as answer:
                return host.learn(await _read(answer, request.limit))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            # The error's own text may quote the URL with its signature; the type says enough.
            return _failure(error, name)

    def _host(self, url: str) -> _Host:
        host = urlsplit(url).netloc
        if host not in self._hosts:
            if len(self._hosts) >= _HOSTS:
                self._hosts = {name: kept for name, kept in self._hosts.items() if kept.budget.counts}
            budgets = self._options.budgets
            registry = "docker.io" if host == _DOCKER_HUB else host
            self._hosts[host] = _Host(registry, Pace(self._options.per_second), Budget(budgets.get(registry)))
        return self._hosts[host]

    def _opened_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            times = self._options.timeouts
            timeout = aiohttp.ClientTimeout(total=times.request, sock_connect=times.connect, sock_read=times.read)
            connector = aiohttp.TCPConnector(ssl=self._ssl, resolver=_GuardedResolver(self._reach), limit=0)
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=timeout,
                headers={"User-Agent": _USER_AGENT},
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,  # digests are over the bytes received
                trust_env=False,  # would read proxies and passwords (.netrc) nobody configured for revet
            )
        return self._session


class RegistryPlace:
    """An `EvidencePlace` over HTTP. One per process is enough; used and closed in one event loop.

    Raises what its client raises.
    """

    def __init__(
        self, options: RegistryOptions | None = None, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._options = options or RegistryOptions()
        self._client = RegistryClient(self._options, sleep=sleep)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def lend(self, book: CredentialBook) -> None:
        """Credentials beside those of the Docker configuration, in the place of what was lent before. Each counts
        for its own host and below its own path, and the longest path wins; of equal ones the configuration's.
        """
        self._client.lend(book)

    def share(self, allowance: Allowance) -> None:
        """Have what registries may cost counted over several processes."""
        self._client.share(allowance)

    async def close(self) -> None:
        """Closes all connections; the place may be used again."""
        await self._client.close()

    async def collect(
        self,
        reference: ImageReference,
        digest: str,
        platform: str | None = None,
        indexes: tuple[str, ...] = (),
        names: tuple[str, ...] = (),
    ) -> Collected:
        """See `EvidencePlace.collect`.

        Raises:
            ImageReferenceError: the reference or the digest cannot be asked for.
        """
        machine = collect(reference, digest, platform, indexes, names, self._options.limits)
        return await run_async(machine, self._answering())

    async def resolve(self, reference: ImageReference) -> str:
        """See `EvidencePlace.resolve`.

        Raises:
            PlaceUnavailable, PlaceRefused, ImageReferenceError: as the port says.
        """
        answer = await run_async(resolve(reference, self._options.limits), self._answering())
        if isinstance(answer, str):
            return answer
        raise place_error(answer, str(reference))

    def _answering(self) -> Callable[[Request], Awaitable[Response]]:
        """The answers of one round, which end together at the round's deadline."""
        deadline = self._client.deadline()
        return lambda request: self._client.read(request, deadline)


async def _read(answer: aiohttp.ClientResponse, limit: int) -> Outcome:
    """The answer, read up to its limit: an error's body is cut there, a good one's is refused."""
    good = answer.status == 200
    headed = answer.method == "HEAD"  # its Content-Length is of a body that does not come
    limit = limit if good else ERROR_BYTES
    body = bytearray()
    if good and not headed and (answer.content_length or 0) > limit:
        return HttpFailure("limit-exceeded", f"an answer of {answer.content_length} bytes, limit {limit}", False)
    async for chunk in answer.content.iter_chunked(_CHUNK):
        body += chunk
        if len(body) > limit:
            if good:
                return HttpFailure("limit-exceeded", f"an answer of more than {limit} bytes", False)
            break
    headers = tuple((name.lower(), value) for name, value in answer.headers.items())
    return HttpReply(answer.status, headers, bytes(body[:limit]))


class _RefusedAddressError(OSError):
    """A name that resolves to an address revet does not speak to."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class _Row(NamedTuple):
    error: type[Exception]
    detail: str
    retryable: bool = True
    repeat: bool = False


_FAILURES: Final = (
    _Row(aiohttp.ClientConnectorCertificateError, "its certificate is not trusted (see the CA file option)", False),
    _Row(aiohttp.ClientSSLError, "no TLS connection", False),
    _Row(aiohttp.ClientConnectorDNSError, "its name does not resolve"),
    _Row(TimeoutError, "no answer in time"),
    _Row(aiohttp.ClientConnectorError, "no connection", repeat=True),
    _Row(aiohttp.InvalidURL, "a URL that cannot be asked", False),
    _Row(aiohttp.ClientPayloadError, "the answer broke off", repeat=True),
    _Row(aiohttp.ServerDisconnectedError, "the connection broke off", repeat=True),
    _Row(aiohttp.ClientResponseError, "an answer that is no HTTP", False),
    _Row(Exception, "no answer"),
)
"""Error of the client -> what is told, and what helps. The first row that fits counts."""


def _failure(error: Exception, host: str) -> HttpFailure:
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, _RefusedAddressError):
        return HttpFailure("registry-not-allowed", f"{host}: resolves to {cause.why}", False)
    row = next(row for row in _FAILURES if isinstance(error, row.error) or isinstance(cause, row.error))
    return HttpFailure("registry-unavailable", f"{host}: {row.detail}", row.retryable, row.repeat)


def _worth_repeating(outcome: Outcome) -> bool:
    """Faults that are over in a second. A time-out is none: it has waited long enough."""
    return outcome.status in _REPEATED if isinstance(outcome, HttpReply) else outcome.repeat


class _GuardedResolver(AbstractResolver):
    """The system's resolver, without the addresses that are not spoken to. The client connects to what this gives it,
    so a name that means another address a moment later gains nothing.
    """

    def __init__(self, reach: Reach) -> None:
        self._resolver = aiohttp.ThreadedResolver()
        self._reach = reach

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        for result in found:
            if why := self._reach.refuses_address(host, port, result["host"]):
                raise _RefusedAddressError(why)
        return found

    async def close(self) -> None:
        await self._resolver.close()


def _host_and_port(origin: str) -> tuple[str, int]:
    parts = urlsplit(origin)
    return parts.hostname or "", parts.port or _DEFAULT_PORT.get(parts.scheme, 0)


def _mirror_hosts(mirrors: Mapping[str, str]) -> tuple[str, ...]:
    """`host:port` of every mirror: whoever wrote it there wants it asked.

    Raises:
        InputError: one is no origin.
    """
    hosts = []
    for origin in (name for written in mirrors.values() for name in written.split() or [""]):
        if origin == ITSELF:
            continue
        if origin_of(origin) is None or "@" in origin:
            raise InputError("a mirror is given as http(s)://host[:port], without user and password, or as `itself`")
        host, port = _host_and_port(origin)
        hosts.append(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    return tuple(hosts)


def _credentials(path: Path | None) -> CredentialBook:
    if path is None:
        return CredentialBook()
    try:
        with path.open("rb") as file:
            data = file.read(DOCKER_CONFIG_BYTES + 1)
    except OSError as error:
        raise PlaceRefused("registry-unauthorized", f"cannot read the Docker configuration {path}") from error
    return parse_docker_config(data)


def _ssl_context(ca_file: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            raise InputError(f"CA file {ca_file}: expected certificates in PEM") from error
    return context
