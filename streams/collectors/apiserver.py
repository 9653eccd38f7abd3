"""One API server for somebody who reads it for days: a door of `aiohttp`.

    server = ApiServer(lambda: (access, folder), connect_seconds=10)
    ending = await server.stream(path, query, silence=100, on_chunk=taken)     a watch: chunks as they come
    ending, body = await server.body(path, query, silence=60)                  a page
    status, body = await server.exchange("PUT", path, document)                a lease

What a kubeconfig or a pod's own credentials say is read anew for every connection: tokens and certificates that are
renewed in their files count within a minute, and at once after a 401. No error carries a header or a body; redirects
are not followed, proxies and `.netrc` of the environment are not used. One request at a time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

import aiohttp

from streams.clock import wall_clock
from streams.collectors.kubeconfig import Access, Credential, Login
from streams.collectors.login import asks_command, fetched, tls_of, token_of, with_credential
from streams.collectors.podwatch import Ending
from verifier.errors import InputError

Find = Callable[[], tuple[Access, Path]]
"""Who to ask and how, read now; files that the access names are relative to the folder. Raises InputError."""

FRESH_SECONDS: Final = 60.0
"""How long a connection is used for further requests: then who asks is read anew."""
MARGIN_US: Final = 60_000_000
"""Microseconds before its end at which a fetched credential is fetched again."""
MAX_PAGE_BYTES: Final = 64 * 1024 * 1024
"""Bytes of one page. 500 pods of 9 KB have 4.5 MB; longer pages are asked for with fewer pods."""
MAX_ANSWER_BYTES: Final = 256 * 1024
"""Bytes of an answer that is no list."""
BUFFER: Final = 1024 * 1024
_HEADERS: Final = {"User-Agent": "revet", "Accept": "application/json", "Accept-Encoding": "identity"}
_CUT: Final = (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError, ConnectionError)


class _TooLargeError(Exception):
    pass


class ApiServer:
    """Requests to one API server. `close` it."""

    def __init__(self, find: Find, connect_seconds: float = 10.0) -> None:
        self._find = find
        self._connect = connect_seconds
        self._credential: Credential | None = None
        self._session: aiohttp.ClientSession | None = None
        self._access: Access | None = None
        self._made = 0.0
        self.detail = ""
        """What the last request met, in a word: `HTTP 403`, `ClientConnectorError`. Never text of the other side."""

    async def close(self) -> None:
        """Disconnect."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    # ------------------------------------------------------------------ requests

    async def stream(
        self, path: str, query: Mapping[str, str], silence: float, on_chunk: Callable[[bytes], Awaitable[None]]
    ) -> Ending:
        """Chunks of an answer until it ends. `silence`: seconds without a byte after which it is given up.

        Raises:
            InputError: who asks cannot be read.
        """
        connected = False
        self.detail = ""
        try:
            async with asyncio.timeout(silence) as limit:
                session, access = await self._ready()
                async with session.get(
                    access.server + path,
                    params=query,
                    allow_redirects=False,
                    server_hostname=access.server_name or None,
                ) as answer:
                    connected = True
                    if answer.status != 200:
                        return await self._refused(answer)
                    while True:
                        limit.reschedule(asyncio.get_running_loop().time() + silence)
                        chunk = await answer.content.readany()
                        if not chunk:
                            return Ending("clean")
                        limit.reschedule(None)  # how long we take for it is not the server's silence
                        await on_chunk(chunk)
        except TimeoutError:
            self.detail = self.detail or ("silent" if connected else "no connection in time")
            await self.close()
            return Ending("silent" if connected else "unreachable")
        except _CUT as error:
            self.detail = type(error).__name__
            await self.close()
            return Ending("cut" if connected else "unreachable")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            self.detail = type(error).__name__  # its text may quote headers
            await self.close()
            return Ending("unreachable")

    async def body(self, path: str, query: Mapping[str, str], silence: float) -> tuple[Ending, bytes]:
        """An answer as a whole; empty unless it ended well. Raises InputError as `stream`."""
        found = bytearray()

        async def taken(chunk: bytes) -> None:
            found.extend(chunk)
            if len(found) > MAX_PAGE_BYTES:
                raise _TooLargeError

        try:
            ending = await self.stream(path, query, silence, taken)
        except _TooLargeError:
            await self.close()
            return Ending("too-large"), b""
        return ending, bytes(found) if ending.how == "clean" else b""

    async def exchange(self, method: str, path: str, document: bytes = b"", seconds: float = 5.0) -> tuple[int, bytes]:
        """One small request and its answer; status 0: none came.

        Raises:
            InputError: as `stream`.
        """
        self.detail = ""
        headers = {"Content-Type": "application/json"} if document else {}
        try:
            async with asyncio.timeout(seconds):
                session, access = await self._ready()
                async with session.request(
                    method,
                    access.server + path,
                    data=document or None,
                    headers=headers,
                    allow_redirects=False,
                    server_hostname=access.server_name or None,
                ) as answer:
                    if answer.status == 401:
                        await self._refused(answer)
                        return 401, b""
                    return answer.status, await answer.content.read(MAX_ANSWER_BYTES)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            self.detail = type(error).__name__
            await self.close()
            return 0, b""

    async def _refused(self, answer: aiohttp.ClientResponse) -> Ending:
        self.detail = f"HTTP {answer.status}"
        if answer.status == 401:  # the next request shows what is in the files then
            self._credential = None
            self._made = 0.0
        asked = answer.headers.get("Retry-After", "")
        return Ending("status", answer.status, float(asked) if asked.isdecimal() and len(asked) < 6 else 0.0)

    # ------------------------------------------------------------------ who asks

    async def _ready(self) -> tuple[aiohttp.ClientSession, Access]:
        """A session whose credentials were read within the last minute."""
        if self._session is not None and self._access is not None and time.monotonic() - self._made < FRESH_SECONDS:
            return self._session, self._access
        await self.close()
        access, folder = self._find()
        login = await self._login(access, folder)
        token = token_of(login, folder)
        plain = access.server.startswith("http:")
        if token is not None and plain:
            raise InputError(f"{access.context}: a token is not sent to {access.server}, which speaks no TLS")
        headers = _HEADERS | ({"Authorization": f"Bearer {token.value}"} if token is not None else {})
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=True if plain else tls_of(access, login, folder), limit=2),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect),
            headers=headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,  # would read proxies and passwords (.netrc) that nobody named
            read_bufsize=BUFFER,
        )
        self._access, self._made = access, time.monotonic()
        return self._session, access

    async def _login(self, access: Access, folder: Path) -> Login:
        if not asks_command(access):
            return access.user
        found = self._credential
        if found is None or (found.expires is not None and wall_clock() > found.expires - MARGIN_US):
            found = self._credential = await fetched(access, folder)
        return with_credential(access.user, found)
