"""Slack's Web API, one call at a time. A door of `slack_sdk`.

    web = SlackWeb(token, base_url, proxy, timeout, called)
    found = await web.ask("chat.postMessage", {...})       what the service says, or a `Failure` in our words

The client's own retries are off: with its defaults a dropped connection posts twice. Neither a token nor the text of an
exception leaves this object.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import aiohttp
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from alerting.slackwords import Meaning, error_code, meaning, named_block
from verifier.times import SECOND

CONNECT_SECONDS: Final = 4.0
DEFAULT_WAIT: Final = 30 * SECOND
"""After a refusal for rate without a readable Retry-After."""
LONGEST_WAIT: Final = 15 * 60 * SECOND
_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
_CERTAINLY_NOT_SENT: Final = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL)

Body = Mapping[str, Any]  # Any: JSON of the service


class Failure(NamedTuple):
    """What went wrong in one HTTP call, in our words."""

    meaning: Meaning | None
    """None: certainly not sent."""
    code: str
    retry_after: int = 0
    block: int | None = None


class SlackWeb:
    """One token's calls."""

    def __init__(
        self, token: str, base_url: str, proxy: str, timeout: float, called: Callable[[str, str], None]
    ) -> None:
        """`timeout`: seconds one call may take. `called` hears of each: its method, and `ok` or an error's name."""
        self._token, self._base_url, self._proxy, self._timeout = token, base_url, proxy, timeout
        self._called = called
        self._session: aiohttp.ClientSession | None = None
        self._client: AsyncWebClient | None = None

    def __repr__(self) -> str:
        """Without the token."""
        return f"SlackWeb({self._base_url!r})"

    async def ask(self, method: str, given: Body, *, get: bool = False) -> Body | Failure:
        """Call a method; every way in which it can fail becomes a `Failure`."""
        client = self.client()
        try:
            if get:
                response = await client.api_call(method, http_verb="GET", params=_query(given))
            else:
                response = await client.api_call(method, json={k: v for k, v in given.items() if v is not None})
        except Exception as error:  # noqa: BLE001  # the client raises anything: of aiohttp, of itself, of a parser
            failure = _failure(error)
            self._called(method, failure.code)
            return failure
        self._called(method, "ok")
        data = response.data
        return data if isinstance(data, dict) else Failure(Meaning.AMBIGUOUS, "unreadable answer")

    def client(self) -> AsyncWebClient:
        """The client, connected to nothing yet."""
        if self._client is None or self._session is None or self._session.closed:
            timeout = aiohttp.ClientTimeout(total=self._timeout, sock_connect=CONNECT_SECONDS)
            # A connection for each call: one that was kept and is dead would make every outcome ambiguous.
            connector = aiohttp.TCPConnector(force_close=True)
            self._session = aiohttp.ClientSession(timeout=timeout, connector=connector)
            client = AsyncWebClient(
                token=self._token,
                base_url=self._base_url,
                proxy=self._proxy or None,
                session=self._session,
                retry_handlers=[],
                logger=quiet_logger(),
            )
            if not self._proxy and is_here(self._base_url):
                client.proxy = None  # the client reads HTTPS_PROXY, and does not know NO_PROXY
            self._client = client
        return self._client

    async def close(self) -> None:
        """Let go of the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = self._client = None


def is_here(url: str) -> bool:
    """Is it on this machine?"""
    return urlsplit(url).hostname in _LOOPBACK


def quiet_logger() -> logging.Logger:
    """Says nothing: below warning the client logs whole requests, and above it exceptions with addresses in them."""
    made = logging.getLogger("slack_sdk.revet")
    made.disabled = True
    return made


def _query(given: Body) -> dict[str, str]:
    shown = {True: "true", False: "false"}
    return {k: shown[v] if isinstance(v, bool) else str(v) for k, v in given.items()}


def _failure(error: Exception) -> Failure:
    """Of an exception what may be told: a word of the service, or the exception's kind, never its text."""
    if isinstance(error, _CERTAINLY_NOT_SENT):
        return Failure(None, type(error).__name__)
    if not isinstance(error, SlackApiError):
        return Failure(Meaning.AMBIGUOUS, type(error).__name__)
    response = error.response
    status = getattr(response, "status_code", None) or getattr(response, "status", 0)
    headers = getattr(response, "headers", None) or {}
    data = getattr(response, "data", None)
    data = data if isinstance(data, dict) else {}
    if status == 429:
        return Failure(Meaning.RATE, "ratelimited", _retry_after(headers))
    code = error_code(data.get("error")) if data else f"HTTP {status}"
    found = meaning(code)
    if found is Meaning.RATE:
        return Failure(found, code, _retry_after(headers))
    if isinstance(status, int) and status >= 500:
        return Failure(Meaning.AMBIGUOUS, code, _retry_after(headers) if headers.get("Retry-After") else 0)
    about = data.get("response_metadata")
    return Failure(found, code, block=named_block(about.get("messages") if isinstance(about, dict) else None))


def _retry_after(headers: Mapping[str, str]) -> int:
    text = str(headers.get("Retry-After", ""))
    if not text.isascii() or not text.isdigit():
        return DEFAULT_WAIT
    return max(SECOND, min(int(text[:9]) * SECOND, LONGEST_WAIT))
