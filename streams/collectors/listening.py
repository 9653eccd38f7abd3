"""Listening over HTTP until a block ends: how every server of aiohttp here begins and ends. A door of `aiohttp`.

    async with listening(app, "slack.listen", "0.0.0.0", 9883) as port: ...

Paths and headers are the sender's text, so nothing is logged of a request. Requests that were begun are finished first.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import msgspec
from aiohttp import web

from verifier.errors import PlaceUnavailable

MAX_HEADER: Final = 8190
"""Bytes of a request line or a header."""
STOP_SECONDS: Final = 5.0
"""How long requests that were begun may take at the end."""
KEEP_ALIVE: Final = 3630.0
"""Seconds a connection may be idle: longer than any balancer in front of it waits, which then closes it and not we."""


class Limits(msgspec.Struct, frozen=True):
    """What a server takes."""

    max_header: int = MAX_HEADER
    stop_seconds: float = STOP_SECONDS
    keep_alive: float = KEEP_ALIVE
    decompress: bool = True
    """Read bodies that are sent compressed; without it they come as they are."""


@asynccontextmanager
async def listening(
    app: web.Application,
    setting: str,
    host: str,
    port: int,
    *,
    tls: ssl.SSLContext | None = None,
    limits: Limits = Limits(),  # noqa: B008  # frozen
) -> AsyncIterator[int]:
    """Listen until the block ends; gives the port. `setting`: its place in the settings, which the error names.

    Raises:
        PlaceUnavailable: the address cannot be listened on.
    """
    runner = web.AppRunner(
        app,
        access_log=None,
        auto_decompress=limits.decompress,
        max_line_size=limits.max_header,
        max_field_size=limits.max_header,
        keepalive_timeout=limits.keep_alive,
        shutdown_timeout=limits.stop_seconds,
    )
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port, ssl_context=tls).start()
        except OSError as error:
            where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            message = f"{setting}: cannot listen on {where}: {error.strerror or error}"
            raise PlaceUnavailable("listen-unavailable", message) from error
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
