"""Other services as places where people look: one HTTP request per event, and a key by which repetitions are one thing.

    aside = Every((WebhookNotifier(url, links, clock), PagerDutyNotifier(key, links, clock)))
    answer = await aside.answer(call)

None of them can be searched, and none needs to be: what comes twice carries the same key. So an answer that was lost is
settled by sending again. Addresses and keys may be secrets: they are in no answer and no `repr`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import aiohttp

from alerting.blocks import Links
from alerting.calls import Answer, AsyncNotifier, Call, Failed, Find, Found, Posted
from alerting.delivery import ANSWER_TIMEOUT
from alerting.elsewhere import Event, alertmanager_body, pagerduty_body, webhook_body
from verifier.times import SECOND

CONNECT_SECONDS: Final = 4.0
ALERTS_PATH: Final = "/api/v2/alerts"
_CERTAINLY_NOT_SENT: Final = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL)
_LONGEST_WAIT: Final = 15 * 60


class HttpNotifier:
    """Implements `AsyncNotifier`: posts the body that `make` gives of an event."""

    def __init__(
        self, name: str, url: str, make: Callable[[Event], object], clock: Callable[[], int], timeout: float = 0.0
    ) -> None:
        """`name` for people. `clock`: microseconds UTC. `timeout`: seconds; 0: as long as the ledger believes."""
        self.name = name
        self._url = url
        self._make = make
        self._clock = clock
        self._timeout = aiohttp.ClientTimeout(total=timeout or ANSWER_TIMEOUT / SECOND, sock_connect=CONNECT_SECONDS)

    def __repr__(self) -> str:
        """Without the address."""
        return f"HttpNotifier({self.name!r})"

    async def answer(self, call: Call) -> Answer:
        """See `AsyncNotifier.answer`."""
        if isinstance(call, Find):
            return Found((), certain=True)
        if self._clock() > call.deadline:
            return Failed("not-sent", "the deadline was over")
        key = f"{call.delivery}/{call.message.revision}"
        try:
            async with (
                aiohttp.ClientSession(timeout=self._timeout, trust_env=True) as session,
                session.post(
                    self._url, json=self._make(call), headers={"Idempotency-Key": key}, allow_redirects=False
                ) as response,
            ):
                return self._answered(call, response.status, response.headers.get("Retry-After", ""))
        except _CERTAINLY_NOT_SENT as error:
            return Failed("not-sent", f"{self.name}: {type(error).__name__}")
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            return Failed("ambiguous", f"{self.name}: {type(error).__name__}")

    def _answered(self, call: Event, status: int, retry_after: str) -> Posted | Failed:
        detail = f"{self.name}: HTTP {status}"
        if 200 <= status < 300:
            return Posted(self.name, call.delivery)
        if status == 429 or status >= 500:
            given = int(retry_after[:6]) if retry_after.isascii() and retry_after.isdigit() else 0
            return Failed("not-sent", detail, min(given, _LONGEST_WAIT) * SECOND)
        return Failed("stopped" if status in (401, 403) else "refused", detail)


def webhook(url: str, links: Links, clock: Callable[[], int]) -> HttpNotifier:
    """A generic webhook."""
    return HttpNotifier("webhook", url, lambda event: webhook_body(event, links), clock)


def pagerduty(url: str, key: str, links: Links, clock: Callable[[], int]) -> HttpNotifier:
    """PagerDuty Events API v2."""
    return HttpNotifier("pagerduty", url, lambda event: pagerduty_body(event, links, key), clock)


def alertmanager(url: str, links: Links, clock: Callable[[], int]) -> HttpNotifier:
    """Alertmanager API v2."""
    base = url.rstrip("/")
    return HttpNotifier("alertmanager", base + ALERTS_PATH, lambda event: alertmanager_body(event, links), clock)


async def ping(url: str, seconds: float = 10.0) -> bool:
    """Call an address; did it answer with 2xx? Its text is in no error."""
    timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=CONNECT_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=True) as session,
            session.post(url, allow_redirects=False) as response,
        ):
            return 200 <= response.status < 300
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
        return False


class Every:
    """Implements `AsyncNotifier`: tells all of them. What one did not take is sent to all again, and known by its key.

    One that refuses for good holds up nobody, as long as another took it.
    """

    def __init__(self, notifiers: Sequence[AsyncNotifier]) -> None:
        """In this order; at least one."""
        self._notifiers = tuple(notifiers)

    async def answer(self, call: Call) -> Answer:
        """See `AsyncNotifier.answer`."""
        answers = [await notifier.answer(call) for notifier in self._notifiers]
        failed = [answer for answer in answers if isinstance(answer, Failed)]
        again = [answer for answer in failed if answer.kind in ("not-sent", "ambiguous")]
        taken = [answer for answer in answers if not isinstance(answer, Failed)]
        return (again or taken or failed)[0]
