"""Socket Mode of the workspace to test with: the published protocol over a real WebSocket, with what goes wrong in it.

    sockets = Sockets(workspace)
    async with serving(workspace, *sockets.routes()):
        click = sockets.press(SECURITY, "Acknowledge")     a person presses what stands there; KeyError: it does not
        await click.settled()                              acknowledged, or not within three seconds
        await sockets.refresh()                            `disconnect`: come back on another connection
        await sockets.cut()                                the network is gone

Addresses of `apps.connections.open` are good once. A click goes to any one of the connections; `hello` says how many
there are, ghosts with them: those are the remains of lost connections, to which clicks go and are never heard of.
Triggers open one form, within three seconds. What the documentation does not promise is not there: an envelope is sent
again only where a test says so.
"""

import asyncio
import itertools
import json
import time
from typing import Any

from aiohttp import WSMsgType, web

from tests.helpers.slack_server import Refused, Shown, Workspace, walk

ANN, BEN = "U0ANN0001", "U0BEN0001"
TEAM = "T0TEST001"
TRIGGER_SECONDS = 3.0
ACK_SECONDS = 3.0
MOST = 10
"""Connections of one app."""


class Click:
    """Something a person did, and what came of it."""

    def __init__(self, envelope: dict[str, Any], at: float) -> None:
        self.envelope, self.at = envelope, at
        self.acks: list[dict[str, Any]] = []
        self.acked = asyncio.Event()
        self.after = 0.0

    def answered(self, message: dict[str, Any]) -> None:
        self.acks.append(message.get("payload") or {})
        if not self.acked.is_set():
            self.after = time.monotonic() - self.at
            self.acked.set()

    async def settled(self, seconds: float = ACK_SECONDS) -> bool:
        """Acknowledged in time? Else the person sees a warning."""
        try:
            async with asyncio.timeout(max(0.0, self.at + seconds - time.monotonic())):
                await self.acked.wait()
        except TimeoutError:
            return False
        return True


class Sockets:
    """The connections of one app."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.live: list[web.WebSocketResponse] = []
        self.ghosts = 0
        self.opened = 0
        self.dead_tickets = 0
        """So many of the next addresses lead nowhere."""
        self.deaf = False
        """Acknowledgements are read and forgotten, as of a connection that is half open."""
        self.clicks: dict[str, Click] = {}
        self.views: list[dict[str, Any]] = []
        self.strange: list[str] = []
        """What a client said that the protocol does not have."""
        self._tickets: set[str] = set()
        self._triggers: dict[str, float] = {}
        self._number = itertools.count(1)
        workspace.methods["apps.connections.open"] = self._open
        workspace.methods["views.open"] = self._view

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/link", self._link)]

    # ------------------------------------------------------------------ what people do

    def button(self, channel: str, label: str, shown: Shown | None = None) -> dict[str, Any]:
        """A button that stands in a message; KeyError: there is none called so."""
        found = shown or self.workspace.parents(channel)[-1]
        for block in found.blocks:
            for one in walk(block):
                if one.get("type") == "button" and one["text"]["text"] == label:
                    return one
        raise KeyError(label)

    def press(
        self, channel: str, label: str, user: str = ANN, team: str = TEAM, shown: Shown | None = None, to: int = -1
    ) -> Click:
        button = self.button(channel, label, shown)
        found = shown or self.workspace.parents(channel)[-1]
        action = {"type": "button", "action_id": button["action_id"], "action_ts": self._ts()}
        payload = {
            "type": "block_actions",
            "team": {"id": TEAM, "domain": "test"},
            "user": {"id": user, "username": "somebody", "team_id": team},
            "channel": {"id": channel, "name": "somewhere"},
            "message": found.as_json(False),
            "trigger_id": self._trigger(),
            "actions": [{**action, **({"value": button["value"]} if "value" in button else {})}],
        }
        return self.send(payload, to=to)

    def submit(self, user: str = ANN, team: str = TEAM, **values: str) -> Click:
        """Send the form that was opened last."""
        view = self.views[-1]
        state: dict[str, Any] = {}
        for block in (b for b in view["blocks"] if b["type"] == "input"):
            name, element = block["block_id"], block["element"]
            given = values.get(name)
            if element["type"] == "static_select":
                option = {"value": given} if given is not None else element.get("initial_option")
                state[name] = {name: {"type": element["type"], "selected_option": option}}
            else:
                state[name] = {name: {"type": element["type"], "value": given}}
        payload = {
            "type": "view_submission",
            "team": {"id": TEAM},
            "user": {"id": user, "team_id": team},
            "view": {**view, "state": {"values": state}},
        }
        return self.send(payload, accepts=True)

    def send(self, payload: object, *, accepts: bool = False, kind: str = "interactive", to: int = -1) -> Click:
        """An envelope to one of the connections (`to`: which), or into a ghost."""
        identity = f"e-{next(self._number)}"
        envelope = {
            "type": kind, "envelope_id": identity, "payload": payload, "accepts_response_payload": accepts,
        }  # fmt: skip
        click = self.clicks[identity] = Click(envelope, time.monotonic())
        if not self.ghosts:  # else it goes to one, and nobody hears it
            self.again(click, to=to)
        return click

    def again(self, click: Click, to: int = -1) -> None:
        """The same envelope once more, on one of the connections."""
        self._say(self.live[to], click.envelope)

    def _say(self, socket: web.WebSocketResponse, message: object) -> None:
        text = message if isinstance(message, str) else json.dumps(message)
        task = asyncio.get_running_loop().create_task(socket.send_str(text))
        task.add_done_callback(lambda done: done.exception())

    def raw(self, text: str) -> None:
        """Anything at all."""
        self._say(self.live[-1], text)

    # ------------------------------------------------------------------ what goes wrong

    async def refresh(self, close_after: float = 0.5) -> None:
        """The service wants another connection, and then closes this one."""
        socket = self.live[-1]
        await socket.send_json({"type": "disconnect", "reason": "refresh_requested", "debug_info": {}})

        async def close() -> None:
            await asyncio.sleep(close_after)
            await socket.close()

        self._closing = asyncio.get_running_loop().create_task(close())

    async def cut(self) -> None:
        """Every connection is gone without a word."""
        for socket in self.live:
            transport = socket._req.transport if socket._req is not None else None  # nothing public aborts
            if transport is not None:
                transport.abort()
        await asyncio.sleep(0)

    # ------------------------------------------------------------------ the protocol

    def _open(self, _given: dict[str, Any]) -> dict[str, Any]:
        ticket = f"t{next(self._number)}-secret-ticket"
        if self.dead_tickets:
            self.dead_tickets -= 1
        else:
            self._tickets.add(ticket)
        return {"url": self.workspace.url.replace("http:", "ws:").replace("/api/", f"/link?ticket={ticket}")}

    async def _link(self, request: web.Request) -> web.StreamResponse:
        ticket = request.query.get("ticket", "")
        if ticket not in self._tickets:
            return web.Response(status=404)
        self._tickets.discard(ticket)  # good once
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.live.append(socket)
        self.opened += 1
        try:
            number = len(self.live) + self.ghosts
            if number > MOST:
                await socket.send_json({"type": "disconnect", "reason": "too_many_websockets"})
                return socket
            info = {"type": "hello", "num_connections": number, "connection_info": {"app_id": "A0TEST001"}}
            await socket.send_json(info)
            async for message in socket:
                if message.type is WSMsgType.TEXT and not self.deaf:
                    self._heard(message.data)
        finally:
            self.live.remove(socket)
        return socket

    def _heard(self, text: str) -> None:
        try:
            found = json.loads(text)
            self.clicks[found["envelope_id"]].answered(found)
        except (ValueError, KeyError, TypeError):
            self.strange.append(text)

    def _view(self, given: dict[str, Any]) -> dict[str, Any]:
        made = self._triggers.pop(str(given.get("trigger_id")), None)
        if made is None:
            raise Refused("exchanged_trigger_id")
        if time.monotonic() - made > TRIGGER_SECONDS:
            raise Refused("expired_trigger_id")
        view = given.get("view")
        for trouble in _view_trouble(view):
            raise Refused("invalid_arguments", trouble)
        assert isinstance(view, dict)
        self.views.append({**view, "id": f"V{next(self._number):09}", "hash": "1.a"})
        return {"view": self.views[-1]}

    def expire(self) -> None:
        """Time passes for triggers."""
        self._triggers = {name: made - 2 * TRIGGER_SECONDS for name, made in self._triggers.items()}

    def _trigger(self) -> str:
        name = f"{next(self._number)}.1.abc"
        self._triggers[name] = time.monotonic()
        return name

    def _ts(self) -> str:
        now = self.workspace.clock() + next(self._number)
        return f"{now // 1_000_000}.{now % 1_000_000:06d}"


def _view_trouble(view: Any) -> list[str]:
    """As the documentation has the limits of forms."""
    if not isinstance(view, dict) or view.get("type") != "modal":
        return ["type"]
    found = [name for name in ("title", "submit", "close") if not 0 < len(view.get(name, {}).get("text", "x")) <= 24]
    if len(view.get("private_metadata", "")) > 3000 or len(view.get("callback_id", "")) > 255:
        found.append("metadata")
    blocks = view.get("blocks") or []
    if not 0 < len(blocks) <= 100:
        found.append("blocks")
    for block in (b for b in blocks if b["type"] == "input"):
        if not 0 < len(block["label"]["text"]) <= 2000 or len(block["block_id"]) > 255:
            found.append(block["block_id"])
        if block["element"]["type"] not in ("plain_text_input", "static_select"):
            found.append(block["element"]["type"])
        if block["element"].get("max_length", 1) > 3000:
            found.append("max_length")
    if any(b["type"] == "input" for b in blocks) and "submit" not in view:
        found.append("submit")
    return found
