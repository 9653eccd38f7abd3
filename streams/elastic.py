"""The one place that speaks to Elasticsearch through its client, and translates what goes wrong.

    with connect(settings.elasticsearch) as server:
        server.call("GET", "/_resolve/index/logs-revet.*").body

Every answer is a status and parsed JSON; every failure is one of three errors that say what was asked, where, and what
to do: `InputError` (a setting), `PlaceUnavailable` (worth asking again), `PlaceRefused` (somebody has to act). Names
and secrets of the settings are in no message, and retrying is the caller's: the client itself never asks twice.
"""

from __future__ import annotations

import ssl
import warnings
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, NoReturn, Self
from urllib.parse import quote

import elastic_transport
from elasticsearch import AsyncElasticsearch, Elasticsearch, OrjsonSerializer
from elasticsearch import exceptions as client_errors

from streams.settings import ElasticsearchSettings
from verifier.errors import InputError, PlaceError, PlaceRefused, PlaceUnavailable

UNAVAILABLE: Final = "record-unavailable"
REFUSED: Final = "record-refused"

TIMEOUT_SECONDS: Final = 60.0
"""For one request. A bulk that takes longer is sent again; ids make that safe."""
CONNECTIONS: Final = 8
"""Kept open to each node."""
SHOWN: Final = 300
"""Characters of a server's reason that an error repeats."""

_RETRYABLE: Final = frozenset({408, 429, 502, 503, 504})
_ANY: Final = tuple(range(300, 600))
"""Statuses are judged here, so the client must not."""

Body = Mapping[str, Any] | Sequence[bytes]
"""A tree of JSON, or ready lines of NDJSON."""


class Answer(NamedTuple):
    """What the server said."""

    status: int
    body: Any
    """Parsed JSON; a text where the server sent none."""


class Server:
    """A cluster, asked one request at a time."""

    def __init__(self, client: Elasticsearch, where: str) -> None:
        self._client = client.options(ignore_status=_ANY)
        self.where = where
        """Its addresses, for messages."""

    def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Body | None = None,
        accept: Collection[int] = (),
    ) -> Answer:
        """Ask, and take any 2xx or a status in `accept`; `path` as `url_path` makes it.

        Raises:
            PlaceUnavailable: no answer, 429 or 5xx.
            PlaceRefused: 401, 403, a TLS failure, any other status, or what answers is no Elasticsearch.
        """
        try:
            found = self._client.perform_request(method, path, params=params, headers=_headers(body), body=body)
        except (elastic_transport.TransportError, client_errors.UnsupportedProductError) as error:
            raise _failed(error, f"{method} {path}", self.where) from error
        return _taken(found, accept, f"{method} {path}", self.where)

    def close(self) -> None:
        """End every connection."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Server({self.where!r})"


class AsyncServer:
    """The same, awaited."""

    def __init__(self, client: AsyncElasticsearch, where: str) -> None:
        self._client = client.options(ignore_status=_ANY)
        self.where = where

    async def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Body | None = None,
        accept: Collection[int] = (),
    ) -> Answer:
        """See `Server.call`."""
        try:
            found = await self._client.perform_request(method, path, params=params, headers=_headers(body), body=body)
        except (elastic_transport.TransportError, client_errors.UnsupportedProductError) as error:
            raise _failed(error, f"{method} {path}", self.where) from error
        return _taken(found, accept, f"{method} {path}", self.where)

    async def close(self) -> None:
        """End every connection."""
        await self._client.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"AsyncServer({self.where!r})"


# ----------------------------------------------------------------------------------------------------------- settings


def connect(settings: ElasticsearchSettings, timeout: float = TIMEOUT_SECONDS) -> Server:
    """A client of the cluster in the settings. Nothing is asked yet. `timeout`: seconds for one request.

    Raises:
        InputError: no url, or a file of the settings cannot be used.
    """
    options, tls = _options(settings) | {"request_timeout": timeout}, _tls(settings)
    if tls is not None and settings.verify:
        options["ca_certs"] = str(tls.authorities)
    elif tls is not None:
        options |= {"verify_certs": False, "ssl_show_warn": False}
    return Server(Elasticsearch(**options), _where(settings))


def connect_async(settings: ElasticsearchSettings) -> AsyncServer:
    """The same for coroutines; to be made inside the running loop. Raises as `connect`."""
    # The client hands over bytes, and aiohttp warns of more than a megabyte of them. Copying five takes a millisecond.
    warnings.filterwarnings("ignore", "Sending a large body directly", ResourceWarning)
    options, tls = _options(settings), _tls(settings)
    if tls is not None:
        # A context of our own: that of the client takes a certificate for any name when the url has an IP address.
        options["ssl_context"] = tls.context
    return AsyncServer(AsyncElasticsearch(**options), _where(settings))


def _options(settings: ElasticsearchSettings) -> dict[str, Any]:  # Any: keyword arguments of the client
    if not settings.nodes:
        raise InputError("elasticsearch.url: no Elasticsearch is named; example: https://es-1:9200")
    options: dict[str, Any] = {
        "hosts": [_with_port(node) for node in settings.nodes],
        "serializer": OrjsonSerializer(),
        "request_timeout": TIMEOUT_SECONDS,
        "connections_per_node": CONNECTIONS,
        "max_retries": 0,
        "retry_on_timeout": False,
        "retry_on_status": (),
    }
    password, api_key = settings.password_text(), settings.api_key_text()
    if api_key is not None:
        options["api_key"] = api_key
    elif password is not None:
        options["basic_auth"] = (settings.username, password)
    return options


def _where(settings: ElasticsearchSettings) -> str:
    return ", ".join(settings.nodes)


def _with_port(node: str) -> str:
    """The client wants every port said; people leave out those of the scheme."""
    scheme, _, rest = node.partition("://")
    host, slash, path = rest.partition("/")
    if ":" in host.rpartition("]")[2]:
        return node
    return f"{scheme}://{host}:{443 if scheme == 'https' else 80}{slash}{path}"


class _Tls(NamedTuple):
    """What https is checked with: each of the two HTTP libraries below the clients takes another form of it."""

    context: ssl.SSLContext
    authorities: Path


def _tls(settings: ElasticsearchSettings) -> _Tls | None:
    if not settings.nodes or not settings.nodes[0].startswith("https:"):
        return None
    trusted = settings.ca_file or _system_authorities()
    try:
        context = ssl.create_default_context(cafile=trusted)
    except ssl.SSLError as error:
        raise InputError(f"elasticsearch.ca_file: {trusted}: not a PEM bundle of certificates") from error
    except OSError as error:
        raise InputError(f"elasticsearch.ca_file: {trusted}: {error.strerror or error}") from error
    if not settings.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return _Tls(context, trusted)


def _system_authorities() -> Path:
    """The system's bundle as one file.

    Raises:
        InputError: it is in no place where systems have it.
    """
    named = (ssl.get_default_verify_paths().cafile, "/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/cert.pem")
    for path in map(Path, filter(None, named)):
        if path.is_file():
            return path
    raise InputError("elasticsearch.ca_file: this system has no bundle of authorities; example: /etc/ssl/es-ca.pem")


def url_path(*parts: str) -> str:
    """A path of these segments, each escaped: `url_path("_resolve", "index", name)`."""
    return "/" + "/".join(quote(part, safe=",*@") for part in parts)


# ------------------------------------------------------------------------------------------------------------- errors


def _headers(body: Body | None) -> dict[str, str]:
    headers = {"accept": "application/json"}
    if body is not None:
        headers["content-type"] = "application/json" if isinstance(body, Mapping) else "application/x-ndjson"
    return headers


def _taken(found: elastic_transport.ApiResponse[Any], accept: Collection[int], asked: str, where: str) -> Answer:
    status = found.meta.status
    if 200 <= status < 300 or status in accept:
        return Answer(status, found.body)
    raise refusal(Answer(status, found.body), asked, where)


def refusal(answer: Answer, asked: str, where: str) -> PlaceError:
    """The error for an answer that is none of those expected."""
    kind, reason = reason_of(answer.body)
    said = f"{where}: {asked}: {answer.status} {kind}" + (f": {reason}" if reason else "")
    if answer.status in _RETRYABLE or answer.status >= 500:
        return PlaceUnavailable(UNAVAILABLE, said)
    if answer.status == 401:
        return PlaceRefused(REFUSED, f"{said}; check elasticsearch.username and password_file, or api_key_file")
    if answer.status == 403 and kind == "security_exception":
        return PlaceRefused(REFUSED, f"{said}; give the account the role `revet index setup` makes for it")
    return PlaceRefused(REFUSED, said)


def _failed(error: Exception, asked: str, where: str) -> PlaceError:
    if isinstance(error, client_errors.UnsupportedProductError):
        return PlaceRefused(REFUSED, f"{where}: what answers is no Elasticsearch; check elasticsearch.url")
    if isinstance(error, elastic_transport.TlsError):
        return PlaceRefused(
            REFUSED,
            f"{where}: TLS: {_short(error)}; check elasticsearch.ca_file, and that the url names the certificate",
        )
    if isinstance(error, elastic_transport.ConnectionTimeout):
        return PlaceUnavailable(UNAVAILABLE, f"{where}: {asked}: no answer within {TIMEOUT_SECONDS:.0f} s")
    return PlaceUnavailable(UNAVAILABLE, f"{where}: {asked}: {_short(error)}")


def _short(error: Exception) -> str:
    return " ".join(str(getattr(error, "message", error)).split())[:SHOWN]


def reason_of(body: object) -> tuple[str, str]:
    """Type and reason of an error, cut short. A preview of a field's value, which may be anything, is left out."""
    error = body.get("error") if isinstance(body, dict) else None
    if isinstance(error, str):
        return "", error[:SHOWN]
    if not isinstance(error, dict):
        return "", ""
    causes = error.get("root_cause")
    vague = "reason" not in error or error.get("type") == "search_phase_execution_exception"  # "all shards failed"
    if vague and isinstance(causes, list) and causes and isinstance(causes[0], dict):
        error = causes[0]
    reason = " ".join(str(error.get("reason") or "").split())
    return str(error.get("type") or "")[:80], reason.partition(" Preview of field's value")[0][:SHOWN]


def impossible(what: str) -> NoReturn:
    """Raise for an answer that the protocol does not allow."""
    raise PlaceRefused(REFUSED, f"an answer that Elasticsearch does not give: {what}")
