"""`revet` as a process of its own: started, killed, asked where it listens."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from tests.helpers.cluster import DEMO_DATA

ROOT = Path(__file__).resolve().parents[2]
FIRST_SEEN = DEMO_DATA / "first-observations.jsonl"
EVIDENCE = ("--evidence", f"oci-layout:{DEMO_DATA / 'oci'}", "--first-seen", str(FIRST_SEEN))


def command(*args: str) -> list[str]:
    return [sys.executable, "-c", "from streams.cli import main; main()", *args]


def environment(**extra: str) -> dict[str, str]:
    """The environment without settings of whoever runs the tests."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("REVET_")}
    return {**own, "PYTHONPATH": str(ROOT), **extra}


def run(*args: str, timeout: float = 110, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run to its end."""
    return subprocess.run(
        command(*args), capture_output=True, text=True, timeout=timeout, check=False, cwd=ROOT, env=environment(**extra)
    )


class Revet:
    """One running process; what it prints is kept."""

    def __init__(self, *args: str, cwd: Path = ROOT, **extra: str) -> None:
        self.process = subprocess.Popen(
            command(*args), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd, env=environment(**extra)
        )
        self._out: list[str] = []
        self._err: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, args=pair, daemon=True)
            for pair in ((self.process.stdout, self._out), (self.process.stderr, self._err))
        ]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _read(stream, lines: list[str]) -> None:
        lines.extend(iter(stream.readline, ""))

    @property
    def out(self) -> str:
        return "".join(self._out)

    @property
    def err(self) -> str:
        return "".join(self._err)

    def port(self, timeout: float = 90) -> int:
        """Where it listens, once it does."""
        return int(self.said(r"listening on http://\S*:(\d+)/audit", timeout))

    def said(self, pattern: str, timeout: float = 90) -> str:
        """The first group of what it says on standard error, once it does."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            ended = self.process.poll() is not None
            if found := re.search(pattern, self.err):
                return found[1]
            if ended:
                break
            time.sleep(0.02)
        raise AssertionError(f"never said {pattern}; said: {self.err}")

    def until(self, so: Callable[[], object], timeout: float = 60) -> None:
        """Wait for something while it runs."""
        end = time.monotonic() + timeout
        while not so():
            assert time.monotonic() < end, self.err
            assert self.process.poll() is None, self.err
            time.sleep(0.2)

    def operations(self, path: str) -> str:
        """What it answers at `serve.operations`."""
        address = self.said(r"operations=(\S+)")
        with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
            text: str = answer.read().decode()
            return text

    def kill(self) -> None:
        """As power loss would: no handler runs."""
        self.process.send_signal(signal.SIGKILL)
        self.wait()

    def wait(self, timeout: float = 110) -> int:
        """Its exit code, with everything it said read."""
        code = self.process.wait(timeout)
        for reader in self._readers:
            reader.join(timeout=10)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        return code

    def end(self, timeout: float = 60) -> int:
        """Ask it to end, and wait."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.wait(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.wait()


def run_args(state: Path, audit: Path, pods: Path, trust: Path, *more: str) -> Sequence[str]:
    """A replay of both files with real evidence."""
    sources = ("--replay", str(audit), "--replay", str(pods), "--cluster", "c1")
    return ("run", *sources, "--trust", str(trust), *EVIDENCE, "--state", str(state), *more)
