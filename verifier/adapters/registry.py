"""Evidence from OCI registries over HTTP: the door of `aiohttp`.

    async with RegistryPlace(RegistryOptions(docker_config=Path("~/.docker/config.json").expanduser())) as place:
        collected = await place.collect(parse_reference("registry.example.com/payments/api:1.4.2"), digest)

It moves bytes and decides nothing: which question comes next is `verifier.oci.collect`'s, what an answer means is
`verifier.oci.http`'s. Kept here: time-outs, the byte cap while reading, requests at a time per host, repeating what a
short fault broke, and waiting as long as a registry asks. A place only ever sends GET; what is written to a registry,
by `verifier.adapters.oci_store`, goes through the same client. No proxy and no `.netrc` of the environment is used;
cloud metadata and other link-local addresses are not spoken to, whatever a name resolves to.
"""

from __future__ import annotations

import asyncio
import io
import ipaddress
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
from verifier.oci.auth import CredentialBook, parse_docker_config
from verifier.oci.collect import collect, place_error, resolve
from verifier.oci.http import (
    SECOND,
    Endpoint,
    HttpFailure,
    HttpReply,
    HttpRequest,
    Login,
    Outcome,
    endpoint_of,
    exchange,
    origin_of,
)
from verifier.oci.limits import DOCKER_CONFIG_BYTES, ERROR_BYTES, Limits
from verifier.oci.port import Collected
from verifier.oci.wire import Failed, Request, Response, run_async

T = TypeVar("T")

_CHUNK: Final = 64 * 1024
_BACK_OFF: Final = (0.2, 0.8)
"""Seconds before a GET is repeated: three tries over one second ride out a restart, not an outage."""
_REPEATED: Final = frozenset({500, 502, 503, 504})
_USER_AGENT: Final = "revet"

REFUSED_NETWORKS: Final = tuple(
    map(ipaddress.ip_network, ("169.254.0.0/16", "fe80::/10", "fd00:ec2::/32", "100.100.100.200/32", "192.0.0.192/32"))
)
"""Link-local networks and the metadata services of clouds that lie elsewhere: an image name must not make revet read
the credentials of the machine it runs on."""


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
    """Registry -> origin asked in its place, e.g. `registry.example.com` -> `http://127.0.0.1:5000`."""
    allowed: frozenset[str] | None = None
    """Registries that may be asked at all; None: every one."""
    per_host: int = 8
    """Requests at a time to one host."""
    timeouts: Timeouts = Timeouts()
    limits: Limits = Limits()


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
        for origin in self._options.mirrors.values():
            if origin_of(origin) is None or "@" in origin:
                raise InputError("a mirror is given as http(s)://host[:port], without user and password")

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
        if self._options.allowed is not None and registry not in self._options.allowed:
            return Failed("registry-unauthorized", f"{registry} is not among the registries revet may ask")
        endpoint = endpoint_of(registry, self._options.mirrors, self._options.plain_http)
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
        host = urlsplit(request.url).hostname or ""
        if _is_refused(host):
            return HttpFailure("registry-unavailable", f"{host} is a link-local or metadata address, not asked", False)
        headers = {"Accept": ", ".join(request.accept), "Accept-Encoding": "identity"}
        if request.authorization is not None:
            headers["Authorization"] = request.authorization.reveal()
        if request.content_type:
            headers["Content-Type"] = request.content_type
        try:
            async with self._opened_session().request(
                request.method,
                URL(request.url, encoded=True),
                headers=headers,
                data=io.BytesIO(request.body) if request.method in {"POST", "PUT"} else None,
                allow_redirects=False,
            ) as answer:
                return await _read(answer, request.limit)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            # The error's own text may quote the URL with its signature; the type says enough.
            return _failure(error, host)

    def _opened_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            times = self._options.timeouts
            timeout = aiohttp.ClientTimeout(total=times.request, sock_connect=times.connect, sock_read=times.read)
            connector = aiohttp.TCPConnector(ssl=self._ssl, resolver=_GuardedResolver(), limit=0)
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
        return lambda request: self._client.drive(request.registry, partial(exchange, request), deadline)


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


class _Row(NamedTuple):
    error: type[Exception]
    detail: str
    retryable: bool = True
    repeat: bool = False


_FAILURES: Final = (
    _Row(aiohttp.ClientConnectorCertificateError, "its certificate is not trusted (see the CA file option)", False),
    _Row(aiohttp.ClientSSLError, "no TLS connection", False),
    _Row(_RefusedAddressError, "resolves to a link-local or metadata address, not asked", False),
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
    row = next(row for row in _FAILURES if isinstance(error, row.error) or isinstance(cause, row.error))
    return HttpFailure("registry-unavailable", f"{host}: {row.detail}", row.retryable, row.repeat)


def _worth_repeating(outcome: Outcome) -> bool:
    """Faults that are over in a second. A time-out is none: it has waited long enough."""
    return outcome.status in _REPEATED if isinstance(outcome, HttpReply) else outcome.repeat


def _is_refused(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return False  # a name: its addresses are looked at when it is resolved
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address.sixtofour or address
    return any(address.version == network.version and address in network for network in REFUSED_NETWORKS)


class _GuardedResolver(AbstractResolver):
    """The system's resolver, without the addresses that are not spoken to."""

    def __init__(self) -> None:
        self._resolver = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        if any(_is_refused(result["host"]) for result in found):
            raise _RefusedAddressError(f"{host} resolves to an address that is not asked")
        return found

    async def close(self) -> None:
        await self._resolver.close()


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
