"""The live page's server: who may ask, for what, and how much. A door of `aiohttp`.

    server = PageServer(pages, PageOptions(hosts=("revet.example.com",)))
    async with server.listening(socket): ...

    GET, HEAD /…       pages, their style, script and icon
    POST /compose      renders and foretells a policy; stores nothing; of this origin alone
    GET  /healthz      200 while it answers

It asks nobody who they are, so it answers only what is asked for under a name that it was told (DNS rebinding), only
on the socket it was given, and changes nothing. Pages are made one at a time, each at most once for all who ask at the
same time, and not again while nothing has changed: many readers cost as much as one. Nothing of a request is logged.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Final, Protocol

import msgspec
from aiohttp import web

from streams.collectors.limits import Doorkeeper

MAX_LINE: Final = 8190
"""Bytes of a request line or a header."""
MAX_FORM: Final = 512 * 1024
"""Bytes of what the composer sends; a policy has a few hundred."""
CONNECTIONS: Final = 200
"""Open connections; further ones are closed."""
WAITING: Final = 16
"""Pages that wait to be made; further ones are told to come back."""
KEPT: Final = 64
"""Pages that are kept for the next who asks."""
FRESH: Final = 1.0
"""Seconds for which a page is good although something has changed since."""
SHARE: Final = 4.0
"""A page that took long (in seconds of a core) is good this many times as long: it takes a fifth of a core at most."""
STOP_SECONDS: Final = 1.0
HTML: Final = "text/html"


Pairs = tuple[tuple[str, str], ...]
"""(name, the first value of that name), sorted."""


class PageAsked(msgspec.Struct, frozen=True):
    """What is asked for."""

    path: str
    query: Pairs = ()
    form: Pairs | None = None
    """What the composer sent."""

    def value(self, name: str) -> str:
        """A value of the query; empty where there is none."""
        return dict(self.query).get(name, "")


class PageAnswer(msgspec.Struct, frozen=True):
    """What it is answered."""

    status: int
    body: bytes
    kind: str = HTML


class Pages(Protocol):
    """Who makes pages. A thread of their own asks for them, another one for what the composer sends."""

    policy: str
    """What a browser may do with them (Content-Security-Policy)."""

    def version(self) -> str:
        """Differs when pages may differ. Cheap. Raises nothing."""
        ...

    def fixed(self, path: str) -> PageAnswer | None:
        """What never changes: style, script, icon. Called from the server's own thread."""
        ...

    def page(self, asked: PageAsked) -> PageAnswer:
        """A page; what goes wrong is a page that says so. Raises nothing."""
        ...


class PageOptions(msgspec.Struct, frozen=True):
    """How it is asked."""

    hosts: tuple[str, ...] = ()
    """Names beside those of this machine, HOST or HOST:PORT, in small letters."""


class _Made(msgspec.Struct, frozen=True):
    """A page that is kept."""

    answer: PageAnswer
    tag: str
    version: str
    until: float
    """On the steady clock; before it the page is good whatever has changed."""


class PageServer:
    """Answers browsers."""

    def __init__(self, pages: Pages, options: PageOptions, port: int) -> None:
        self._pages = pages
        own = ("127.0.0.1", "localhost", "[::1]")
        self._hosts = frozenset([*options.hosts, *(f"{name}:{port}" for name in own), *(own if port == 80 else ())])
        self._kept: OrderedDict[PageAsked, _Made] = OrderedDict()
        self._making: dict[PageAsked, asyncio.Task[_Made]] = {}
        self._thread = ThreadPoolExecutor(1, "pages")
        self._composer = ThreadPoolExecutor(1, "composer")
        self._composing = asyncio.Lock()

    @asynccontextmanager
    async def listening(self, bound: socket.socket) -> AsyncIterator[None]:
        """Answer on a socket that listens, until the block ends."""
        app = web.Application(client_max_size=MAX_FORM)
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(
            app, access_log=None, max_line_size=MAX_LINE, max_field_size=MAX_LINE, shutdown_timeout=STOP_SECONDS
        )
        await runner.setup()
        if runner.server is None:
            raise RuntimeError("a runner that is set up has a server")
        door = Doorkeeper(runner.server, CONNECTIONS, CONNECTIONS, lambda: None)
        server = await asyncio.get_running_loop().create_server(door, sock=bound)
        try:
            yield
        finally:
            server.close()
            await runner.cleanup()
            for thread in (self._thread, self._composer):
                thread.shutdown(wait=False, cancel_futures=True)

    # ------------------------------------------------------------------ who may ask

    async def _answer(self, request: web.Request) -> web.Response:
        try:
            response = self._refused(request) or await self._allowed(request)
        except Exception as error:  # noqa: BLE001  # the boundary: named here, or the framework logs the request
            told = f"this page could not be made: an internal error of revet ({type(error).__name__}), please report it"
            response = _text(500, told)
        response.headers.update(
            {
                "Content-Security-Policy": self._pages.policy,
                "X-Content-Type-Options": "nosniff",
                "X-Frame-Options": "DENY",
                "Referrer-Policy": "no-referrer",
                "Cross-Origin-Opener-Policy": "same-origin",
                "Cross-Origin-Resource-Policy": "same-origin",
                "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
                "Cache-Control": "no-store",
                "Server": "revet",
            }
        )
        return response

    def _refused(self, request: web.Request) -> web.Response | None:
        """None, or why not."""
        named = request.headers.getall("Host", [])
        if len(named) != 1 or named[0].lower() not in self._hosts:
            told = "this page is not known by that name; ask for the address that `revet run` printed, or start it"
            return _text(421, f"{told} with --ui-host NAME")
        if _from_elsewhere(request):
            return _text(403, "another web page asked for this one; open it by itself")
        if request.method == "POST" and request.path == "/compose":
            return None if _same_origin(request) else _text(403, "a policy is composed on the page itself")
        if request.method not in ("GET", "HEAD"):
            allowed = "GET, HEAD, POST" if request.path == "/compose" else "GET, HEAD"
            return _text(405, "nothing can be changed here: trust is changed with `revet trust apply`", Allow=allowed)
        return None

    # ------------------------------------------------------------------ what is answered

    async def _allowed(self, request: web.Request) -> web.Response:
        if request.path == "/healthz":
            return _text(200, "ok")
        if (fixed := self._pages.fixed(request.path)) is not None:
            return _tagged(request, fixed, _tag(fixed))
        if request.method == "POST":
            return await self._composed(request)
        return await self._page(request, PageAsked(request.path, _pairs(request.query)))

    async def _composed(self, request: web.Request) -> web.Response:
        if self._composing.locked():
            return _text(429, "another policy is being looked at; try again in a moment", Retry_After="2")
        async with self._composing:
            try:
                sent = await request.post()
            except web.HTTPRequestEntityTooLarge:
                return _text(413, f"a policy has at most {MAX_FORM // 1024} KiB here")
            except ValueError:
                return _text(400, "that is no form of this page")
            made = PageAsked(request.path, (), _pairs(sent))
            return _response(await asyncio.get_running_loop().run_in_executor(self._composer, self._pages.page, made))

    async def _page(self, request: web.Request, key: PageAsked) -> web.Response:
        kept = self._kept.get(key)
        if kept is None or time.monotonic() >= kept.until:
            making = self._making.get(key)
            if making is None:
                if len(self._making) >= WAITING:
                    return _text(503, "too many pages are being made; try again in a moment", Retry_After="2")
                making = self._making[key] = asyncio.create_task(self._make(key, kept))
                making.add_done_callback(lambda _: self._making.pop(key, None))
            kept = await asyncio.shield(making)
        return _tagged(request, kept.answer, kept.tag)

    async def _make(self, asked: PageAsked, kept: _Made | None) -> _Made:
        """The page as it is now, or the one that is kept, when nothing has changed since."""
        version = await asyncio.get_running_loop().run_in_executor(self._thread, self._pages.version)
        if kept is not None and kept.version == version:
            made = msgspec.structs.replace(kept, until=time.monotonic() + FRESH)
        else:
            answer, cost = await asyncio.get_running_loop().run_in_executor(self._thread, self._costed, asked)
            made = _Made(answer, _tag(answer), version, time.monotonic() + max(FRESH, SHARE * cost))
        self._kept[asked] = made
        self._kept.move_to_end(asked)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return made

    def _costed(self, asked: PageAsked) -> tuple[PageAnswer, float]:
        """A page, and the seconds of a core that it took."""
        before = time.thread_time()
        return self._pages.page(asked), time.thread_time() - before


def _pairs(values: Mapping[str, object]) -> Pairs:
    """As text that can be written anywhere. Files that somebody sends are no values."""
    return tuple(sorted((name, _clean(value)) for name in values if isinstance(value := values[name], str)))


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _from_elsewhere(request: web.Request) -> bool:
    """A page of somebody else has a browser ask: it may lead here, and nothing else. It could read nothing of the
    answer, but have work done, and tell from its time what there is.
    """
    site, dest = (request.headers.get(f"Sec-Fetch-{name}", "") for name in ("Site", "Dest"))
    return site in ("cross-site", "same-site") and dest != "document"


def _same_origin(request: web.Request) -> bool:
    """Sent by a page of this server. A browser says where a request comes from, and no page can have it say otherwise;
    where it does not (no TLS, and not this machine) it names the origin.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:  # `Origin` is then `null`, as Referrer-Policy has it
        return site == "same-origin"
    host = request.headers["Host"].lower()
    return request.headers.get("Origin", "").lower() in (f"http://{host}", f"https://{host}")


def _tag(answer: PageAnswer) -> str:
    return f'"{sha256(answer.body).hexdigest()[:32]}"'


def _tagged(request: web.Request, answer: PageAnswer, tag: str) -> web.Response:
    if answer.status == 200 and request.headers.get("If-None-Match") == tag:
        return web.Response(status=304, headers={"ETag": tag})
    response = _response(answer)
    response.headers["ETag"] = tag
    return response


def _response(answer: PageAnswer) -> web.Response:
    return web.Response(status=answer.status, body=answer.body, content_type=answer.kind, charset="utf-8")


def _text(status: int, text: str, **headers: str) -> web.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return web.Response(status=status, text=text + "\n", headers=named)
