"""The one place that speaks to Kibana, and translates what goes wrong.

    async with connect(settings.kibana) as kibana:
        (await kibana.call("GET", "/api/status")).body

As `streams.elastic` for Elasticsearch: every answer is a status and parsed JSON, every failure one of three errors.
Addresses are told, names and secrets never. A redirect is not followed: it would carry the secret elsewhere.
"""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

import aiohttp

from streams.settings import KibanaSettings
from verifier.errors import InputError, PlaceRefused, PlaceUnavailable

UNAVAILABLE: Final = "kibana-unavailable"
REFUSED: Final = "kibana-refused"
TIMEOUT_SECONDS: Final = 60.0
MAX_ANSWER: Final = 32 * 1024 * 1024
"""Bytes of an answer: a dashboard is a hundredth of it."""
SHOWN: Final = 300
"""Characters of a reason that an error repeats."""

_HEADERS: Final = {"kbn-xsrf": "true", "accept": "application/json"}
"""Kibana refuses a write without the first (its protection against forged requests of browsers)."""
_RETRYABLE: Final = frozenset({408, 425, 429, 502, 503, 504})


class Answer(NamedTuple):
    """What Kibana said."""

    status: int
    body: Any
    """Parsed JSON; a text where it sent none."""


class KibanaClient:
    """Implements `dashboards.installing.Kibana`."""

    def __init__(self, session: aiohttp.ClientSession, where: str) -> None:
        self._session = session
        self.where = where
        """Its address, for messages."""

    def __repr__(self) -> str:
        return f"KibanaClient({self.where!r})"

    async def call(
        self, method: str, path: str, *, body: object = None, lines: str = "", accept: Collection[int] = ()
    ) -> Answer:
        """See `dashboards.installing.Kibana.call`."""
        asked = f"{method} {path}"
        sent: dict[str, Any] = {"json": body} if body is not None else {}
        if lines:
            form = aiohttp.FormData()
            form.add_field("file", lines.encode(), filename="revet.ndjson", content_type="application/ndjson")
            sent = {"data": form}
        try:
            async with self._session.request(
                method, f"{self.where}{path}", headers=_HEADERS, allow_redirects=False, **sent
            ) as response:
                data = await response.content.read(MAX_ANSWER + 1)
                status = response.status
        except aiohttp.ClientConnectorCertificateError as error:
            raise PlaceRefused(REFUSED, f"{self.where}: TLS: {_short(error)}; check kibana.ca_file") from error
        except TimeoutError as error:
            raise PlaceUnavailable(
                UNAVAILABLE, f"{self.where}: {asked}: no answer in {TIMEOUT_SECONDS:.0f} s"
            ) from error
        except aiohttp.ClientError as error:
            raise PlaceUnavailable(UNAVAILABLE, f"{self.where}: {asked}: {_short(error)}") from error
        if len(data) > MAX_ANSWER:
            raise PlaceRefused(REFUSED, f"{self.where}: {asked}: an answer of more than {MAX_ANSWER} bytes")
        answer = Answer(status, _parsed(data))
        if 200 <= status < 300 or status in accept:
            return answer
        raise self._refusal(asked, answer)

    def _refusal(self, asked: str, answer: Answer) -> PlaceRefused | PlaceUnavailable:
        said = f"{self.where}: {asked}: {answer.status} {_reason(answer.body)}".rstrip()
        if answer.status in _RETRYABLE or answer.status >= 500:
            return PlaceUnavailable(UNAVAILABLE, said)
        if answer.status == 401:
            return PlaceRefused(REFUSED, f"{said}; check kibana.username and password_file, or api_key_file")
        if answer.status == 403:
            return PlaceRefused(REFUSED, f"{said}; the account needs `all` on Dashboard, Discover and saved objects")
        if 300 <= answer.status < 400:
            return PlaceRefused(
                REFUSED, f"{said}; a redirect: give kibana.url as Kibana's own address, with its base path"
            )
        return PlaceRefused(REFUSED, said)


@asynccontextmanager
async def connect(settings: KibanaSettings) -> AsyncIterator[KibanaClient]:
    """A client of the Kibana in the settings. Nothing is asked yet.

    Raises:
        InputError: no url, or a file of the settings cannot be used.
    """
    if not settings.url:
        raise InputError("kibana.url: no Kibana is named; example: https://kibana.example.com:5601")
    headers: dict[str, str] = {}
    key, password = settings.api_key_text(), settings.password_text()
    if key is not None:
        headers["authorization"] = f"ApiKey {key}"
    elif password is not None:
        pair = base64.b64encode(f"{settings.username}:{password}".encode()).decode()
        headers["authorization"] = f"Basic {pair}"
    connector = aiohttp.TCPConnector(ssl=_tls(settings)) if settings.url.startswith("https:") else None
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
    async with aiohttp.ClientSession(headers=headers, connector=connector, timeout=timeout, trust_env=True) as session:
        yield KibanaClient(session, settings.url)


def _tls(settings: KibanaSettings) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=settings.ca_file)
    except ssl.SSLError as error:
        raise InputError(f"kibana.ca_file: {settings.ca_file}: not a PEM bundle of certificates") from error
    except OSError as error:
        raise InputError(f"kibana.ca_file: {settings.ca_file}: {error.strerror or error}") from error


def _parsed(data: bytes) -> object:
    """JSON, or the text where it is none (an export is lines of JSON)."""
    try:
        return json.loads(data)
    except ValueError:
        return data.decode("utf-8", "replace")


def _reason(body: object) -> str:
    """What Kibana says of an error, cut short: it may repeat what was sent, which holds no secret of ours."""
    said = body.get("message", "") if isinstance(body, dict) else "" if body is None else str(body)
    return " ".join(str(said).split())[:SHOWN]


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:SHOWN]
