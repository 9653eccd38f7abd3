"""A headless Chromium, spoken to over its own debugging pipe: no port, no driver, no further package.

with Browser.started(chromium, tmp_path) as browser:
    page = browser.opened("file:///tmp/report.html", dark=True)
    page.said        console messages, errors, refused loads
    page.requests    every address it asked for
    page.told("document.title")
"""

from __future__ import annotations

import base64
import json
import os
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SECONDS = 60.0
"""How long one answer may take on a busy machine."""
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--disable-extensions"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
    *("--remote-debugging-pipe", "--force-color-profile=srgb"),
)


class Browser:
    """One process; pages are opened in it one after the other."""

    def __init__(self, to: int, back: int) -> None:
        self._to, self._back = to, back
        self._number = 0
        self._left = b""

    @classmethod
    @contextmanager
    def started(cls, program: Path, folder: Path) -> Iterator[Browser]:
        """Runs until the block ends; what it keeps goes below `folder`."""
        theirs, ours = os.pipe()
        mine, yours = os.pipe()
        command = f'exec "$0" "$@" 3<&{theirs} 4>&{yours}'
        flags = (*FLAGS, f"--user-data-dir={folder / 'profile'}")
        process = subprocess.Popen(
            ["bash", "-c", command, str(program), *flags, "about:blank"],
            pass_fds=(theirs, yours),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": str(folder)},
        )
        os.close(theirs)
        os.close(yours)
        try:
            yield cls(ours, mine)
        finally:
            process.terminate()
            process.wait(20)
            os.close(ours)
            os.close(mine)

    def opened(self, url: str, *, dark: bool = False, width: int = 1280, height: int = 900) -> Page:
        """A page that has been loaded whole."""
        target = self.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        session = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        page = Page(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(f"{domain}.enable")
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        page.call("Emulation.setEmulatedMedia", {"features": [scheme]})
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        page.call("Emulation.setDeviceMetricsOverride", size)
        page.call("Page.navigate", {"url": url})
        page.wait("Page.loadEventFired")
        page.told("new Promise(done => setTimeout(done, 100))")  # what a page starts behind its load is heard too
        return page

    def call(self, method: str, given: dict[str, Any] | None = None, page: Page | None = None) -> dict[str, Any]:
        """The answer to one command; what happens meanwhile goes to the page."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": given or {}}
        if page is not None:
            message["sessionId"] = page.session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            found = self.read()
            if found.get("id") == self._number:
                assert "error" not in found, found
                result: dict[str, Any] = found["result"]
                return result
            if page is not None:
                page.happened(found)

    def read(self) -> dict[str, Any]:
        """The next message."""
        end = time.monotonic() + SECONDS
        while b"\0" not in self._left:
            ready, _, _ = select.select([self._back], [], [], max(0.0, end - time.monotonic()))
            assert ready, "Chromium does not answer"
            data = os.read(self._back, 1 << 20)
            assert data, "Chromium ended"
            self._left += data
        text, _, self._left = self._left.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        return message


class Page:
    """One loaded page, and what it said and asked for."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser, self.session = browser, session
        self.said: list[str] = []
        self.requests: list[str] = []
        self._seen: set[str] = set()

    def call(self, method: str, given: dict[str, Any] | None = None) -> dict[str, Any]:
        return self._browser.call(method, given, self)

    def wait(self, event: str) -> None:
        while event not in self._seen:
            self.happened(self._browser.read())

    def happened(self, message: dict[str, Any]) -> None:
        name, given = message.get("method", ""), message.get("params", {})
        self._seen.add(name)
        if name == "Network.requestWillBeSent":
            self.requests.append(given["request"]["url"])
        elif name == "Runtime.consoleAPICalled":
            self.said.append(f"console: {given['args']}")
        elif name == "Runtime.exceptionThrown":
            self.said.append(f"exception: {given['exceptionDetails']}")
        elif name == "Log.entryAdded":
            self.said.append(f"{given['entry']['level']}: {given['entry']['text']}")
        elif name == "Page.javascriptDialogOpening":
            self.said.append(f"dialog: {given['message']}")
            self.call("Page.handleJavaScriptDialog", {"accept": True})

    def told(self, script: str) -> Any:
        """The value of an expression in the page."""
        given = {"expression": script, "returnByValue": True, "awaitPromise": True}
        return self.call("Runtime.evaluate", given)["result"].get("value")

    def pressed(self, key: str) -> None:
        """One key, as a person presses it."""
        code = {"Tab": 9, "Enter": 13}[key]
        given = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        text = {"text": "\r"} if key == "Enter" else {}  # without it a form is not sent
        self.call("Input.dispatchKeyEvent", {"type": "keyDown", **given, **text})
        self.call("Input.dispatchKeyEvent", {"type": "keyUp", **given})

    def typed(self, text: str) -> None:
        """Text into what has the focus."""
        self.call("Input.insertText", {"text": text})

    def until(self, script: str, seconds: float = SECONDS) -> None:
        """Wait until an expression is true in the page; navigations in between are fine."""
        end = time.monotonic() + seconds
        while not self.told(script):
            assert time.monotonic() < end, (script, self.said, self.told("document.body.innerText.slice(0, 2000)"))
            time.sleep(0.05)

    def drawn(self, top: int = 0, height: int = 900, width: int = 1280) -> bytes:
        """A PNG of a part of the page."""
        clip = {"x": 0, "y": top, "width": width, "height": height, "scale": 1}
        found = self.call("Page.captureScreenshot", {"format": "png", "clip": clip, "captureBeyondViewport": True})
        return base64.b64decode(found["data"])

    def printed(self) -> bytes:
        """A PDF of the page, as paper has it."""
        return base64.b64decode(self.call("Page.printToPDF", {"printBackground": False})["data"])
