"""The server of the live page on a thread, over real pages or made ones.

with served(LivePages(Place(str(state), names=False, days=7))) as address: ...
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from dashboards.live import CONTENT_SECURITY_POLICY, ICON, SCRIPT, STYLE, Shown, page
from streams.local.page import PageAnswer, PageAsked, PageOptions, Pages, PageServer
from streams.queries.report.model import Section


@contextmanager
def served(pages: Pages, *hosts: str) -> Iterator[str]:
    """Its address, while it answers."""
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port = bound.getsockname()[1]
        loop = asyncio.new_event_loop()
        ending = asyncio.Event()
        listens = threading.Event()

        async def serve() -> None:
            async with PageServer(pages, PageOptions(hosts), port).listening(bound):
                listens.set()
                await ending.wait()

        thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
        thread.start()
        try:
            assert listens.wait(20)
            yield f"http://127.0.0.1:{port}"
        finally:
            loop.call_soon_threadsafe(ending.set)
            thread.join()
            loop.close()


class MadePages:
    """Implements `Pages`: what a test puts here."""

    policy = CONTENT_SECURITY_POLICY

    def __init__(self, *sections: Section) -> None:
        self.sections = sections
        self.made: list[str] = []
        """Paths of pages in the order they were made."""
        self.status = 200

    def version(self) -> str:
        return str(hash(self.sections) if self.status == 200 else self.status)

    def fixed(self, path: str) -> PageAnswer | None:
        kinds = {"/live.css": (STYLE, "text/css"), "/live.js": (SCRIPT, "text/javascript")}
        if path == "/icon.svg":
            return PageAnswer(200, ICON.encode(), "image/svg+xml")
        return PageAnswer(200, kinds[path][0].encode(), kinds[path][1]) if path in kinds else None

    def page(self, asked: PageAsked) -> PageAnswer:
        self.made.append(asked.path)
        shown = Shown(title="A page", path=asked.path, sections=self.sections, about="state <x>")
        return PageAnswer(self.status, page(shown).encode("utf-8", "replace"))
