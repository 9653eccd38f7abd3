"""Who is told where, put together from the settings. Pure wiring, for every mode.

channels = channels_of(settings)                       None: no Slack; messages go to the terminal
alerter = Alerter(routes_of(settings), channels=channels)
with telling(settings, channels, console, clock, observer) as teller: …
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from alerting.adapters.webhook import Every, alertmanager, pagerduty, ping, webhook
from alerting.blocks import Links
from alerting.calls import AsyncNotifier, StepKind
from alerting.channels import Channels
from alerting.pacing import Pacing
from alerting.routing import Routes, team_of_destination
from streams.collectors.pressed import PressServer
from streams.pressing import Pressing, Take
from streams.settings import Settings, host_and_port
from streams.sinks.mapping import Names
from streams.telling import Courier, Switch
from verifier.errors import InputError

if TYPE_CHECKING:  # an extra: imported where somebody wants it
    from alerting.adapters.slack import SlackNotifier
    from alerting.adapters.slackclient import Access

Clock = Callable[[], int]
"""Microseconds UTC."""
_NOT_INSTALLED: Final = "slack: the client is not installed; example: pip install 'revet[slack]'"


class Counter:
    """What is counted of calls; nothing here."""

    def called(self, method: str, outcome: str) -> None:
        """One HTTP call of a method, and what came of it."""

    def limited(self, method: str) -> None:
        """The service said: too often."""

    def degraded(self, step: str) -> None:
        """Something simpler was sent, or elsewhere."""

    def connection(self, what: str, connections: int) -> None:
        """See `alerting.adapters.slacksocket.SocketObserver`."""

    def envelope(self, outcome: str) -> None:
        """See `alerting.adapters.slacksocket.SocketObserver`."""

    def pressed(self, what: str, outcome: str) -> None:
        """A button, and what came of it."""


class _Watching:
    """Observes the adapter: paces, and counts."""

    def __init__(self, pacing: Pacing, clock: Clock, counter: Counter) -> None:
        self._pacing, self._clock, self._counter = pacing, clock, counter

    def called(self, method: str, outcome: str) -> None:
        self._counter.called(method, outcome)

    def limited(self, kind: StepKind, channel: str, retry_after: int) -> None:
        self._pacing.limited(kind, channel, self._clock(), retry_after)
        self._counter.limited(kind)

    def degraded(self, step: str) -> None:
        self._counter.degraded(step)


def channels_of(settings: Settings) -> Channels | None:
    """The channels of Slack; None where nobody is told there."""
    if not settings.slack.wanted:
        return None
    return Channels(settings.slack.channels, settings.owners.security)


def routes_of(settings: Settings) -> Routes:
    """Who is told. Where Slack is, every team that has a channel is told its part."""
    routes = settings.owners.routes()
    if not settings.slack.wanted:
        return routes
    beside = any(team_of_destination(name) or name != routes.security for name in settings.slack.channels)
    alerting = settings.alerting
    aside = (alerting.webhook_url, alerting.webhook_url_file, alerting.pagerduty_key, alerting.pagerduty_key_file)
    escalates = bool(alerting.alertmanager_url) or any(place is not None for place in aside)
    return routes.model_copy(
        update={
            "team_slices": routes.team_slices or beside,
            "reminders": True,
            "escalates": escalates,
            "storm_after": alerting.digest_after,
            "checkpoints": settings.ledger.slack,
        }
    )


def links_of(settings: Settings) -> Links:
    """Addresses that messages link to."""
    names = Names(settings.elasticsearch.namespace)
    return Links(
        docs=settings.alerting.docs_url,
        kibana=settings.alerting.kibana_url,
        kibana_version=settings.alerting.kibana_version,
        members=names.target("findings"),
        timeline=names.target("incident"),
    )


def aside_of(settings: Settings, terminal: AsyncNotifier, clock: Clock) -> AsyncNotifier:
    """Where it goes when it cannot be told where it belongs: the services of the settings, else the terminal.

    Raises:
        InputError: a file with a secret cannot be read.
    """
    alerting, links = settings.alerting, links_of(settings)
    places: list[AsyncNotifier] = []
    address, key = alerting.webhook_text(), alerting.pagerduty_text()
    if address:
        places.append(webhook(address, links, clock))
    if key:
        places.append(pagerduty(alerting.pagerduty_url, key, links, clock))
    if alerting.alertmanager_url:
        places.append(alertmanager(alerting.alertmanager_url, links, clock))
    return Every(places) if places else terminal


@asynccontextmanager
async def trial_of(settings: Settings, channels: Channels, clock: Clock) -> AsyncIterator[AsyncNotifier]:
    """Slack alone, for one test. Raises InputError as `courier_of`."""
    async with _slack(settings, channels, clock, Pacing(channels.of), Counter()) as slack:
        yield slack


def heart_of(settings: Settings) -> Callable[[], Awaitable[bool]] | None:
    """What calls the watchman; None: there is none. Raises InputError: the file with its address cannot be read."""
    address = settings.alerting.heartbeat_text()
    return None if address is None else partial(ping, address)


async def access_of(settings: Settings, channels: Channels, clock: Clock) -> Access:
    """Who the token of Slack is, and what it may. Raises InputError as `courier_of`."""
    async with _slack(settings, channels, clock, Pacing(channels.of), Counter()) as slack:
        return await slack.access()


@asynccontextmanager
async def _slack(
    settings: Settings, channels: Channels, clock: Clock, pacing: Pacing, counter: Counter
) -> AsyncIterator[SlackNotifier]:
    try:
        from alerting.adapters.slack import SlackNotifier, SlackOptions  # noqa: PLC0415  # an extra: only who wants it
    except ImportError as error:
        raise InputError(_NOT_INSTALLED) from error
    token = settings.slack.token_text()
    if token is None:
        raise InputError("slack.token: there is none; example: token_file: /run/secrets/slack-token")
    slack_ = settings.slack
    options = SlackOptions(
        token, slack_.api, slack_.proxy, links_of(settings), slack_.mentions, slack_.groups, pressable=slack_.hears
    )
    async with SlackNotifier(options, channels, clock, _Watching(pacing, clock, counter)) as slack:
        yield slack


@asynccontextmanager
async def pressing_of(
    settings: Settings, take: Take, clock: Clock, counter: Counter | None = None
) -> AsyncIterator[tuple[str, int] | None]:
    """What hears buttons until the block ends, where the settings want any; gives the address it listens on, if any.

    Raises:
        InputError: the client is not installed, or a file with a secret cannot be read.
        PlaceUnavailable: the address cannot be listened on.
    """
    slack, told = settings.slack, counter or Counter()
    token = slack.token_text()
    if not slack.hears or token is None:
        yield None
        return
    try:
        from alerting.adapters.slackanswers import SlackAnswers  # noqa: PLC0415  # an extra, as above
        from alerting.adapters.slackclient import SlackWeb  # noqa: PLC0415  # as above
        from alerting.adapters.slacksocket import CALL_SECONDS, SlackSocket, SocketOptions  # noqa: PLC0415  # as above
    except ImportError as error:
        raise InputError(_NOT_INSTALLED) from error
    pressing = Pressing(slack.people, take, clock, told.pressed)
    app_token, secret = slack.app_token_text(), slack.signing_secret_text()
    async with AsyncExitStack() as stack:
        if app_token is not None:
            options = SocketOptions(app_token, token, slack.api, slack.proxy)
            socket = await stack.enter_async_context(SlackSocket(options, pressing, told))
            await stack.enter_async_context(_running(socket.run()))
        if secret is None:
            yield None
            return
        web = SlackWeb(token, slack.api, slack.proxy, CALL_SECONDS, told.called)
        stack.push_async_callback(web.close)
        server = PressServer(pressing, SlackAnswers(web), secret, told.envelope)
        host, port = host_and_port(slack.listen)
        yield host, await stack.enter_async_context(server.listening(host, port))


async def try_buttons(settings: Settings) -> list[tuple[str, str]]:
    """Would buttons be heard? (step, error's name; empty: it works) of each way of the settings. Nothing stays open.

    Raises:
        InputError: the client is not installed, or a file with a secret cannot be read.
    """
    slack = settings.slack
    app_token, secret = slack.app_token_text(), slack.signing_secret_text()
    tried = [("listen", "")] if secret is not None else []
    if app_token is not None:
        try:
            from alerting.adapters.slackclient import Failure, SlackWeb  # noqa: PLC0415  # an extra, as above
        except ImportError as error:
            raise InputError(_NOT_INSTALLED) from error
        web = SlackWeb(app_token, slack.api, slack.proxy, 10.0, Counter().called)
        try:
            found = await web.ask("apps.connections.open", {})
        finally:
            await web.close()
        tried.append(("connect", found.code if isinstance(found, Failure) else ""))
    return tried


@asynccontextmanager
async def _running(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Work beside the block, and no longer than it."""
    task = asyncio.get_running_loop().create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


@asynccontextmanager
async def courier_of(
    settings: Settings, channels: Channels, terminal: AsyncNotifier, clock: Clock, counter: Counter | None = None,
    keep: Callable[[AsyncNotifier], AsyncNotifier] | None = None,
) -> AsyncIterator[Courier]:  # fmt: skip
    """What tells people in Slack, and elsewhere when it must. `keep` stands in front of Slack.

    Raises:
        InputError: there is no token, the client is not installed, or a file with a secret cannot be read.
    """
    pacing = Pacing(channels.of, settings.alerting.quiet())
    async with _slack(settings, channels, clock, pacing, counter or Counter()) as slack:
        main: AsyncNotifier = slack if keep is None else keep(slack)
        courier = Courier(Switch(main, aside_of(settings, terminal, clock)), pacing)
        try:
            yield courier
        finally:
            courier.cancel()
