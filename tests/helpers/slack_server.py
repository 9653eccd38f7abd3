"""A Slack workspace to test with: the published contract of its Web API over HTTP, limits and faults included.

    async with serving(Workspace(clock)) as slack:
        slack.fault("chat.postMessage", "drop-after")
        ...                                          # a client speaks to slack.url with the token slack.token
        assert slack.parents("C0SEC0001")

It keeps what a channel shows, because that is what people see; calls are counted beside. Time is given, so that rate
limits need no waiting. Faults, once each and in order, by method: `drop-before` (the request is read, nothing stored),
`drop-after` (stored, the answer lost), `429`, `429-stored`, `500`, `503-html`, `504`, `200-html`, `bad-json`, `text`,
`slow` (answers only when `release` is called), `lost-slow` (stored, then slow), or an error's name.
"""

import asyncio
import json
import re
import threading
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

SECOND = 1_000_000
BLOCKS = frozenset(
    {"header", "context", "section", "rich_text", "table", "actions", "divider", "image", "markdown", "input"}
)
RICH = frozenset({"rich_text_section", "rich_text_preformatted", "rich_text_list", "rich_text_quote"})
RICH_ELEMENTS = frozenset({"text", "link", "user", "usergroup", "broadcast", "emoji", "date", "channel"})
CONTROL = re.compile(r"<([^<>]*)>")


class Bucket:
    def __init__(self, rate: float, burst: float, now: int) -> None:
        self.rate, self.burst, self.tokens, self.at = rate, burst, burst, now

    def take(self, now: int) -> float:
        """Seconds to wait; 0: taken."""
        self.tokens = min(self.burst, self.tokens + max(0, now - self.at) / SECOND * self.rate)
        self.at = max(self.at, now)
        if self.tokens < 1 - 1e-9:
            return (1 - self.tokens) / self.rate
        self.tokens -= 1
        return 0.0


@dataclass
class Shown:
    """One message as the channel keeps it."""

    ts: str
    text: str
    blocks: list[dict[str, Any]]
    metadata: dict[str, Any] | None
    thread: str = ""
    broadcast: bool = False
    bot: str = "B0REVET01"
    edits: int = 0
    client_msg_id: str = ""

    def as_json(self, metadata: bool) -> dict[str, Any]:
        shown: dict[str, Any] = {"type": "message", "ts": self.ts, "text": self.text, "bot_id": self.bot}
        if self.thread:
            shown["thread_ts"] = self.thread
        if metadata and self.metadata is not None:
            shown["metadata"] = self.metadata
        return shown


@dataclass
class Channel:
    member: bool = True
    archived: bool = False
    messages: list[Shown] = field(default_factory=list)


class Refused(Exception):
    def __init__(self, error: str, *messages: str) -> None:
        super().__init__(error)
        self.error, self.messages = error, messages


class Workspace:
    """Channels, limits, faults. `clock`: microseconds UTC."""

    def __init__(self, clock: Callable[[], int], *, tables: bool = True, history: bool = True) -> None:
        self.clock = clock
        self.tables, self.history = tables, history
        self.token = "xoxb-0000-secret-of-the-test"
        self.app_token = "xapp-0000-secret-of-the-test"
        self.token_error = ""
        self.url = ""
        self.channels: dict[str, Channel] = defaultdict(Channel)
        self.calls: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        self.limited: Counter[str] = Counter()
        self.warnings: Counter[str] = Counter()
        self.refused: list[tuple[str, str]] = []
        self.faults: dict[str, deque[str]] = defaultdict(deque)
        self.down = False
        self.unwanted = ""
        """Type of a block that this workspace does not have."""
        self.released = asyncio.Event()
        self.stored = asyncio.Event()
        """Set when the fault `lost-slow` has stored its message."""
        self.whispers: list[tuple[str, str, str]] = []
        """(channel, user, text) of lines that one person sees."""
        self.methods: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "chat.postMessage": self.post, "chat.update": self.update, "chat.postEphemeral": self.whisper,
            "conversations.history": self.history_of, "conversations.replies": self.replies_of, "auth.test": self.auth,
        }  # fmt: skip
        self._buckets: dict[str, Bucket] = {}
        self._last = 0

    # ------------------------------------------------------------------ what a test says and sees

    def fault(self, method: str, *kinds: str) -> None:
        self.faults[method].extend(kinds)

    def know(self, *names: str) -> None:
        for name in names:
            self.channels[name] = Channel()

    def parents(self, channel: str) -> list[Shown]:
        return [shown for shown in self.channels[channel].messages if not shown.thread]

    def replies(self, channel: str, parent: str = "") -> list[Shown]:
        return [s for s in self.channels[channel].messages if s.thread and (not parent or s.thread == parent)]

    def everything(self) -> list[Shown]:
        return [shown for channel in self.channels.values() for shown in channel.messages]

    def delete(self, channel: str, ts: str) -> None:
        """A person deletes a message."""
        self.channels[channel].messages = [s for s in self.channels[channel].messages if s.ts != ts]

    # ------------------------------------------------------------------ limits

    def _limit(self, name: str, rate: float, burst: float, kind: str) -> None:
        bucket = self._buckets.setdefault(name, Bucket(rate, burst, self.clock()))
        wait = bucket.take(self.clock())
        if wait:
            self.limited[kind] += 1
            raise web.HTTPTooManyRequests(
                headers={"Retry-After": str(max(1, int(wait + 0.999)))},
                text='{"ok":false,"error":"ratelimited"}',
                content_type="application/json",
            )

    # ------------------------------------------------------------------ methods

    def post(self, given: dict[str, Any]) -> dict[str, Any]:
        name, channel = self._channel(given)
        self._limit(f"post/{name}", 1.0, 4.0, "post")
        self._limit("posts", 5.0, 100.0, "post")
        self._content(given)
        thread = str(given.get("thread_ts") or "")
        if thread and not any(s.ts == thread for s in channel.messages):
            raise Refused("thread_not_found")
        shown = Shown(
            self._ts(), given["text"], given.get("blocks") or [], given.get("metadata"), thread,
            bool(given.get("reply_broadcast")), client_msg_id=str(given.get("client_msg_id") or ""),
        )  # fmt: skip
        channel.messages.append(shown)
        return {"channel": name, "ts": shown.ts, "message": shown.as_json(True)}

    def update(self, given: dict[str, Any]) -> dict[str, Any]:
        name, channel = self._channel(given)
        self._limit("update", 50 / 60, 20.0, "edit")
        shown = next((s for s in channel.messages if s.ts == given.get("ts")), None)
        if shown is None:
            raise Refused("message_not_found")
        if shown.bot != "B0REVET01":
            raise Refused("cant_update_message")
        self._content(given)
        shown.text, shown.blocks = given["text"], given.get("blocks") or []
        shown.metadata = given.get("metadata", shown.metadata)
        shown.edits += 1
        return {"channel": name, "ts": shown.ts, "text": shown.text}

    def history_of(self, given: dict[str, Any]) -> dict[str, Any]:
        _, channel = self._channel(given)
        self._may_search()
        found = [s for s in channel.messages if not s.thread or s.broadcast]
        return self._page(sorted(found, key=lambda s: float(s.ts), reverse=True), given)

    def replies_of(self, given: dict[str, Any]) -> dict[str, Any]:
        _, channel = self._channel(given)
        self._may_search()
        parent = str(given.get("ts") or "")
        found = [s for s in channel.messages if parent in (s.ts, s.thread)]
        if not any(s.ts == parent for s in found):
            raise Refused("thread_not_found")
        return self._page(found, given)

    def _may_search(self) -> None:
        if not self.history:
            raise Refused("missing_scope")
        self._limit("search", 50 / 60, 20.0, "find")

    def _page(self, found: list[Shown], given: dict[str, Any]) -> dict[str, Any]:
        oldest, limit = float(given.get("oldest") or 0), min(int(given.get("limit") or 100), 999)
        inclusive = str(given.get("inclusive")).lower() == "true"
        metadata = str(given.get("include_all_metadata")).lower() == "true"
        found = [s for s in found if float(s.ts) > oldest or (inclusive and float(s.ts) == oldest)]
        start = int(given.get("cursor") or 0)
        more = len(found) > start + limit
        return {
            "messages": [s.as_json(metadata) for s in found[start : start + limit]],
            "has_more": more,
            "response_metadata": {"next_cursor": str(start + limit) if more else ""},
        }

    def auth(self, _given: dict[str, Any]) -> dict[str, Any]:
        return {"team": "Test", "user": "revet", "bot_id": "B0REVET01", "team_id": "T0TEST001"}

    def whisper(self, given: dict[str, Any]) -> dict[str, Any]:
        name, _ = self._channel(given)
        if not given.get("text"):
            raise Refused("no_text")
        if not given.get("user"):
            raise Refused("user_not_in_channel")
        self.whispers.append((name, str(given["user"]), str(given["text"])))
        return {"message_ts": self._ts()}

    def _channel(self, given: dict[str, Any]) -> tuple[str, Channel]:
        name = str(given.get("channel") or "")
        if name not in self.channels:
            raise Refused("channel_not_found")
        channel = self.channels[name]
        if channel.archived:
            raise Refused("is_archived")
        if not channel.member:
            raise Refused("not_in_channel")
        return name, channel

    def _ts(self) -> str:
        self._last = max(self._last + 1, self.clock())
        return f"{self._last // SECOND}.{self._last % SECOND:06d}"

    # ------------------------------------------------------------------ content

    def _content(self, given: dict[str, Any]) -> None:
        text, blocks = given.get("text"), given.get("blocks")
        if not isinstance(text, str) or (not text and not blocks):
            raise Refused("no_text")
        if len(text) > 40_000:
            self.warnings["message_truncated"] += 1
            given["text"] = text[:40_000]
        if blocks is not None:
            if not isinstance(blocks, list):
                raise Refused("invalid_blocks_format")
            if len(blocks) > 50:
                raise Refused("invalid_blocks", "no more than 50 items allowed [json-pointer:/blocks]")
            for index, block in enumerate(blocks):
                for trouble in block_trouble(block, tables=self.tables, unwanted=self.unwanted):
                    raise Refused("invalid_blocks", f"[ERROR] {trouble[0]} [json-pointer:/blocks/{index}{trouble[1]}]")
            if len(json.dumps(blocks)) > 200_000:
                raise Refused("msg_blocks_too_long")
        metadata = given.get("metadata")
        if metadata is not None and (
            not isinstance(metadata, dict)
            or not isinstance(metadata.get("event_type"), str)
            or not isinstance(metadata.get("event_payload"), dict)
        ):
            raise Refused("invalid_metadata_format")
        if metadata is not None and len(json.dumps(metadata)) > 16_000:
            raise Refused("metadata_too_large")

    # ------------------------------------------------------------------ HTTP

    async def handle(self, request: web.Request) -> web.StreamResponse:
        method = request.match_info["method"]
        self.calls[method] += 1
        if self.down:
            return _cut(request)
        given: dict[str, Any] = dict(request.query) if request.method == "GET" else await _body(request)
        kind = self.faults[method].popleft() if self.faults[method] else ""
        if kind == "drop-before":
            return _cut(request)
        if kind in FAULTY:
            status, body, content_type = FAULTY[kind]
            return web.Response(status=status, text=body, content_type=content_type)
        if kind == "429":
            self.limited["scripted"] += 1
            return _too_often()
        if kind == "slow":
            await self.released.wait()
            return _cut(request)
        answer = self._answer(method, request, given, "" if kind in STORED else kind)
        if kind == "drop-after":
            return _cut(request)
        if kind == "429-stored":
            self.limited["scripted"] += 1
            return _too_often()
        if kind == "lost-slow":
            self.stored.set()
            await self.released.wait()
            return _cut(request)
        return answer

    def _answer(self, method: str, request: web.Request, given: dict[str, Any], error: str) -> web.Response:
        token = self.app_token if method.startswith("apps.") else self.token
        try:
            if request.headers.get("Authorization") != f"Bearer {token}":
                raise Refused("invalid_auth")
            if self.token_error:
                raise Refused(self.token_error)
            if error:
                raise Refused(error)
            if method not in self.methods:
                raise Refused("unknown_method")
            found = self.methods[method](given)
        except Refused as refused:
            self.answers[refused.error] += 1
            self.refused.append((method, refused.error))
            body: dict[str, Any] = {"ok": False, "error": refused.error}
            if refused.messages:
                body["response_metadata"] = {"messages": list(refused.messages)}
            return web.json_response(body)
        except web.HTTPTooManyRequests as limited:
            self.answers["ratelimited"] += 1
            return web.Response(status=429, text=limited.text, headers=limited.headers)
        self.answers["ok"] += 1
        return web.json_response({"ok": True, **found})


FAULTY = {
    "500": (500, '{"ok":false,"error":"internal_error"}', "application/json"),
    "503-html": (503, "<html>upstream</html>", "text/html"),
    "504": (504, "", "text/html"),
    "200-html": (200, "<html>please log in</html>", "text/html"),
    "bad-json": (200, "{not json", "application/json"),
    "text": (200, "ok", "text/plain"),
}
STORED = frozenset({"drop-after", "429-stored", "lost-slow"})


def _cut(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _too_often() -> web.Response:
    body = '{"ok":false,"error":"ratelimited"}'
    return web.Response(status=429, text=body, headers={"Retry-After": "3"}, content_type="application/json")


async def _body(request: web.Request) -> dict[str, Any]:
    if request.content_type == "application/json":
        found = await request.json()
        return found if isinstance(found, dict) else {}
    return {str(k): v for k, v in (await request.post()).items()}


# ------------------------------------------------------------------------------------------------- the block contract


def block_trouble(block: dict[str, Any], *, tables: bool = True, unwanted: str = "") -> list[tuple[str, str]]:
    """(what is wrong, where), as the documentation has the limits."""
    kind = block.get("type")
    if kind not in BLOCKS or kind == unwanted or (kind == "table" and not tables):
        return [(f"unsupported type: {kind}", "/type")]
    if kind == "header":
        return _text(block.get("text"), "plain_text", 150)
    if kind == "section":
        return _text(block.get("text"), "mrkdwn", 3000) if "text" in block else []
    if kind == "context":
        elements = block.get("elements") or []
        if not 0 < len(elements) <= 10:
            return [("must have 1 to 10 elements", "/elements")]
        return [t for e in elements for t in _text(e, e.get("type", ""), 3000)]
    if kind == "actions":
        return _actions(block.get("elements") or [])
    if kind == "table":
        rows = block.get("rows") or []
        if not 0 < len(rows) <= 100 or any(not 0 < len(row) <= 20 for row in rows):
            return [("must have 1 to 100 rows of 1 to 20 cells", "/rows")]
        bad = [c for row in rows for c in row if c.get("type") != "raw_text" or not c.get("text")]
        return [("cells must be raw_text with text", "/rows")] if bad else []
    return _rich(block.get("elements") or []) if kind == "rich_text" else []


def _text(text: Any, kind: str, limit: int) -> list[tuple[str, str]]:
    if not isinstance(text, dict) or text.get("type") not in ("plain_text", "mrkdwn") or text["type"] != kind:
        return [(f"must be {kind}", "/text/type")]
    if not isinstance(text.get("text"), str) or not 0 < len(text["text"]) <= limit:
        return [(f"must be 1 to {limit} characters", "/text/text")]
    return []


def _actions(elements: list[dict[str, Any]]) -> list[tuple[str, str]]:
    if not 0 < len(elements) <= 25:
        return [("must have 1 to 25 elements", "/elements")]
    ids = [e.get("action_id") for e in elements]
    if len(set(ids)) < len(ids):
        return [("action_id must be unique", "/elements")]
    for e in elements:
        if _text(e.get("text"), "plain_text", 75) or len(e.get("url", "")) > 3000 or len(e.get("value", "")) > 2000:
            return [("button too long", "/elements")]
    return []


def _rich(elements: list[dict[str, Any]]) -> list[tuple[str, str]]:
    if not elements:
        return [("must not be empty", "/elements")]
    for element in elements:
        inner = element.get("elements")
        if element.get("type") not in RICH or not isinstance(inner, list):
            return [("unsupported element", "/elements")]
        for one in inner:
            if one.get("type") not in RICH_ELEMENTS or (one["type"] == "text" and not one.get("text")):
                return [("text must not be empty", "/elements")]
    return []


def controls(shown: Shown) -> list[str]:
    """What Slack would act on in a message: control sequences in text that is parsed, links, mentions."""
    parsed = [shown.text]
    acted: list[str] = []
    for block in shown.blocks:
        for value in walk(block):
            if value.get("type") == "mrkdwn":
                parsed.append(value["text"])
            if value.get("type") in ("user", "usergroup", "broadcast", "channel", "emoji"):
                acted.append(json.dumps(value, sort_keys=True))
            if value.get("type") == "link" or "url" in value:
                acted.append(str(value.get("url")))
    return acted + [found for text in parsed for found in CONTROL.findall(text)]


def walk(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, dict):
        return [value, *(inner for v in value.values() for inner in walk(v))]
    return [inner for v in value for inner in walk(v)] if isinstance(value, list) else []


def words(shown: Shown) -> str:
    """Everything a reader sees, in order."""
    return "\n".join(
        [shown.text, *(str(v["text"]) for b in shown.blocks for v in walk(b) if isinstance(v.get("text"), str))]
    )


@asynccontextmanager
async def serving(workspace: Workspace, *more: web.AbstractRouteDef) -> AsyncIterator[Workspace]:
    """The workspace on a port of loopback, `more` routes beside its methods."""
    app = web.Application(client_max_size=4 * 1024 * 1024)
    app.router.add_routes(more)
    app.router.add_route("*", "/api/{method}", workspace.handle)
    runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    workspace.url = f"http://127.0.0.1:{port}/api/"
    try:
        yield workspace
    finally:
        workspace.released.set()
        await runner.cleanup()


@contextmanager
def threaded(workspace: Workspace, *more: web.AbstractRouteDef) -> Iterator[asyncio.AbstractEventLoop]:
    """The same for a command, which brings an event loop of its own. Gives that of the workspace."""
    ready, stop = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with serving(workspace, *more):
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    ready.wait(10)
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()
