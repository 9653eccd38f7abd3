"""Buttons of Slack without an open port: Socket Mode, over a connection that this side opens. A door of `slack_sdk`.

    async with SlackSocket(SocketOptions(app_token=…, token=…), listener, observer) as socket:
        await socket.run()                        without end

1. `apps.connections.open` gives an address that is good for one connection. A connection that does not come about is
   followed by a new address: the SDK's own client would knock at the old one for ever.
2. The service asks for a change of connection (`disconnect`). The new one is there before the old one goes, so that no
   click falls between them.
3. An envelope is acknowledged once its listener has made durable what it asks for; what could not be made durable in
   time is not acknowledged, and the service shows that to whoever pressed. An envelope that comes twice is answered
   twice and done once.
4. A form is opened, and a word said to whoever pressed, after the acknowledgement.

One connection lost is nothing: `revet incident` does all that buttons do. So nothing here ends the process.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, NamedTuple, Protocol, Self

from slack_sdk.socket_mode.aiohttp import SocketModeClient
from slack_sdk.socket_mode.async_client import AsyncBaseSocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.socket_mode.response import SocketModeResponse

from alerting.adapters.slackanswers import SlackAnswers
from alerting.adapters.slackclient import Body, Failure, SlackWeb, is_here, quiet_logger
from alerting.presses import Reaction
from verifier.times import SECOND

CONNECT_SECONDS: Final = 10.0
"""Longest wait for a connection, and then for its `hello`."""
CALL_SECONDS: Final = 5.0
PING_SECONDS: Final = 5.0
LOOK_SECONDS: Final = 0.25
"""How often it is looked whether the connection still stands."""
BACKOFF: Final = (0.2, 1.0, 5.0, 15.0, 60.0)
"""Seconds between attempts; the last one repeats."""
SETTLED_SECONDS: Final = 30.0
"""A connection that stood for so long counts as one: losing it is no reason to wait before the next."""
KEPT_ENVELOPES: Final = 1_000
AT_ONCE: Final = 20
"""Envelopes under way; more wait."""
GHOSTS: Final = 6
"""More connections of one app than this: some are the remains of lost ones, and swallow every click that goes there."""


class SocketOptions(NamedTuple):
    """What the adapter is made of."""

    app_token: str
    """App-level token, with the scope `connections:write`."""
    token: str
    """Bot token, for forms and answers."""
    base_url: str
    proxy: str = ""

    def __repr__(self) -> str:
        """Without the tokens."""
        return f"SocketOptions(base_url={self.base_url!r})"


class Listener(Protocol):
    """Who does what was pressed."""

    async def pressed(self, payload: Body, team: str) -> Reaction:
        """Do what an interactive payload asks for. Never raises. `team`: our own workspace; empty: nobody could say."""


class SocketObserver(Protocol):
    """Who is told how the connection fares; counts and logs."""

    def connection(self, what: str, connections: int) -> None:
        """`open`, `refresh`, `lost`, `ghosts`, or an error's name; connections of the app as the service counts them,
        -1 where it says nothing.
        """

    def envelope(self, outcome: str) -> None:
        """`done`, `again` (it came twice), `not-durable`, `unanswered` (the connection went before), `ignored`."""

    def called(self, method: str, outcome: str) -> None:
        """One HTTP call and what came of it."""


class _Connection(SocketModeClient):
    """One WebSocket, which never makes another one by itself."""

    def __init__(self, app_token: str, web: SlackWeb, proxy: str, *, here: bool) -> None:
        super().__init__(
            app_token=app_token,
            logger=quiet_logger(),
            web_client=web.client(),
            proxy=proxy or None,
            auto_reconnect_enabled=False,
            ping_interval=PING_SECONDS,
        )
        if here and not proxy:
            self.proxy = None  # the client reads HTTPS_PROXY, and does not know NO_PROXY
        self.refresh = asyncio.Event()
        self.hello = asyncio.Event()
        self.connections = -1
        self.message_listeners.append(self._heard)

    async def connect_to_new_endpoint(self, force: bool = False) -> None:  # as the SDK has it
        """The service, or the SDK, wants another connection: whoever keeps this one makes it."""
        del force
        self.refresh.set()

    async def _heard(self, _client: AsyncBaseSocketModeClient, message: dict[str, Any], _raw: str | None) -> None:
        if message.get("type") == "hello":
            number = message.get("num_connections")
            self.connections = number if isinstance(number, int) else -1
            self.hello.set()

    async def is_over(self) -> bool:
        """Is nothing more to come?"""
        return not await self.is_connected()


class SlackSocket:
    """Keeps a connection, and hands what comes over it to a listener."""

    def __init__(
        self,
        options: SocketOptions,
        listener: Listener,
        observer: SocketObserver,
        sleep: Callable[[float], Any] = asyncio.sleep,  # Any: an awaitable
    ) -> None:
        self._options, self._listener, self._observer, self._sleep = options, listener, observer, sleep
        called = observer.called
        self._app = SlackWeb(options.app_token, options.base_url, options.proxy, CALL_SECONDS, called)
        self._bot = SlackWeb(options.token, options.base_url, options.proxy, CALL_SECONDS, called)
        self._answers = SlackAnswers(self._bot)
        self._done: OrderedDict[str, asyncio.Task[Reaction]] = OrderedDict()
        self._room = asyncio.Semaphore(AT_ONCE)

    def __repr__(self) -> str:
        """Without the tokens."""
        return f"SlackSocket({self._options!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._app.close()
        await self._bot.close()

    # ------------------------------------------------------------------ connections

    async def run(self) -> None:
        """Keep a connection, without end."""
        failures = 0
        standing: _Connection | None = None
        try:
            while True:
                try:
                    fresh = await self._opened()
                except Exception as error:  # noqa: BLE001  # whatever the SDK raises: buttons must not be dead for it
                    self._observer.connection(type(error).__name__, -1)
                    fresh = None
                if fresh is not None:
                    await _closed(standing)
                    standing, began = fresh, time.monotonic()
                    standing = await self._kept(fresh)
                    if standing is not None or time.monotonic() - began > SETTLED_SECONDS:
                        failures = 0
                        continue
                elif standing is not None and await standing.is_over():
                    await _closed(standing)
                    standing = None
                await self._sleep(BACKOFF[min(failures, len(BACKOFF) - 1)])
                failures += 1
        finally:
            await _closed(standing)

    async def _kept(self, connection: _Connection) -> _Connection | None:
        """Until it is lost, or to be replaced; then it stays open until another one is there."""
        while not connection.refresh.is_set():
            if await connection.is_over():
                self._observer.connection("lost", -1)
                await _closed(connection)
                return None
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await connection.refresh.wait()
        self._observer.connection("refresh", -1)
        return connection

    async def _opened(self) -> _Connection | None:
        """A connection that said `hello`; None: there is none now."""
        address = await self._app.ask("apps.connections.open", {})
        if isinstance(address, Failure):
            self._observer.connection(address.code, -1)
            if address.retry_after:
                await self._sleep(address.retry_after / SECOND)
            return None
        here = is_here(self._options.base_url)
        connection = _Connection(self._options.app_token, self._app, self._options.proxy, here=here)
        connection.wss_uri = str(address.get("url") or "")
        connection.socket_mode_request_listeners.append(self._heard)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await connection.connect()  # type: ignore[no-untyped-call]  # the SDK's
                await connection.hello.wait()
        except TimeoutError:
            self._observer.connection("no-connection", -1)
            await _closed(connection)
            return None
        except BaseException:
            await _closed(connection)
            raise
        self._observer.connection("open", connection.connections)
        if connection.connections > GHOSTS:
            self._observer.connection("ghosts", connection.connections)
        return connection

    # ------------------------------------------------------------------ envelopes

    async def _heard(self, client: AsyncBaseSocketModeClient, request: SocketModeRequest) -> None:
        if request.type != "interactive" or not isinstance(request.envelope_id, str):
            self._observer.envelope("ignored")
            await self._answered(client, request, Reaction())
            return
        known = self._done.get(request.envelope_id)
        if known is not None:
            self._observer.envelope("again")
            await self._answered(client, request, await asyncio.shield(known))
            return
        work = self._done[request.envelope_id] = asyncio.get_running_loop().create_task(self._one(request))
        while len(self._done) > KEPT_ENVELOPES:
            self._done.popitem(last=False)
        reaction = await asyncio.shield(work)
        if not reaction.acknowledge:
            self._done.pop(request.envelope_id, None)  # pressed again, it is tried again
            self._observer.envelope("not-durable")
        elif await self._answered(client, request, reaction):
            self._observer.envelope("done")
        else:
            self._observer.envelope("unanswered")
        await self._answers.follow(reaction)

    async def _one(self, request: SocketModeRequest) -> Reaction:
        async with self._room:
            return await self._listener.pressed(request.payload, await self._answers.team())

    async def _answered(
        self, client: AsyncBaseSocketModeClient, request: SocketModeRequest, reaction: Reaction
    ) -> bool:
        """Acknowledge; False: the connection did not take it."""
        if not reaction.acknowledge:
            return False
        payload = reaction.payload if request.accepts_response_payload else None
        try:
            await client.send_socket_mode_response(SocketModeResponse(request.envelope_id, payload))
        except Exception:  # noqa: BLE001  # whatever a connection that breaks raises; the service then says so
            return False
        return True


async def _closed(connection: _Connection | None) -> None:
    """Close it, whatever state it is in."""
    if connection is not None:
        with suppress(Exception):
            await connection.close()  # type: ignore[no-untyped-call]  # the SDK's
        # Also where saying good-bye failed before it came to these.
        for task in (connection.message_processor, connection.current_session_monitor, connection.message_receiver):
            if task is not None:
                task.cancel()
        await connection.aiohttp_client_session.close()
