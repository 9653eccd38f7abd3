"""What every part of the recording needs: the tools' folder, the work folder, the clock, processes that end with us."""

import datetime as dt
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from cosign_matrix import tools_folder

HERE = Path(__file__).parent
MANIFESTS = HERE / "manifests"
RESULTS = Path(os.environ.get("REVET_RECORD_RESULTS") or HERE.parent.parent / "streams" / "demo_data")
WORK = Path(os.environ.get("REVET_RECORD_DIR") or Path(tempfile.gettempdir()) / "revet-record")
"""Private keys, certificates, databases and logs: everything that is not a result. Keys in it are used again."""

# Fixed ports, away from the usual ones, so that a recording does not disturb a registry or a cluster at work here.
REGISTRY_PORT = 5961
WEBHOOK_PORT = 19444
ETCD_PORTS = {"prod-eu": (23791, 23792), "staging": (23793, 23794)}
API_PORTS = {"prod-eu": 16443, "staging": 16444}


def tool(name: str) -> Path:
    path = tools_folder() / name
    if not os.access(path, os.X_OK):
        sys.exit(f"record: {path} is missing; `make oracles` builds it, REVET_ORACLES names another folder")
    return path


def now() -> str:
    """The wall clock as RFC 3339 with microseconds, the resolution of audit events."""
    return rfc3339(dt.datetime.now(dt.UTC))


def rfc3339(moment: dt.datetime) -> str:
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def say(text: str) -> None:
    print(f"{dt.datetime.now(dt.UTC):%H:%M:%S} {text}", flush=True)


Command = Sequence[str | Path]


def run(
    command: Command, *, stdin: str | None = None, env: Mapping[str, str] | None = None, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run to its end; a failure prints what the tool said, since a recording cannot be debugged afterwards."""
    done = subprocess.run(
        [str(part) for part in command], input=stdin, env=env, capture_output=True, text=True, check=False, timeout=120
    )
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: rc {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


class Processes:
    """Background processes, each with a log of its own; all of them end with the block, whatever ends it."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that `finally` and __exit__ run
        self._logs.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        for name in reversed(list(self._running)):
            self.stop(name)

    def start(self, name: str, command: Command, env: Mapping[str, str] | None = None) -> None:
        with (self._logs / f"{name}.log").open("ab") as log:
            process = subprocess.Popen([str(part) for part in command], stdout=log, stderr=log, env=env)
        self._running[name] = process

    def check(self, name: str) -> None:
        if self._running[name].poll() is not None:
            tail = (self._logs / f"{name}.log").read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{name} ended by itself:\n{tail}")

    def stop(self, name: str, *, grace: float = 5) -> None:
        """TERM, then KILL: an API server with an open watch takes a minute to go, and has nothing left to write."""
        process = self._running.pop(name)
        process.terminate()
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def wait_until(moment: float) -> None:
    """Sleep until a time of the monotonic clock; late already is fine."""
    time.sleep(max(0.0, moment - time.monotonic()))
