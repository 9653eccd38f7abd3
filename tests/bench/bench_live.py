"""The live page while events come in: how long a page takes, and what it costs those who send.

    python -m tests.bench.bench_live [CONTAINERS]

The record is that of `bench_report`, with so many containers; a real `revet run` drives it, takes audit events over
HTTP from two senders, and serves the page. Rounds without anybody looking alternate with rounds in which four pages
are open (each asks every two seconds, as the script does) and a fifth reader loads page after page. The reference is
the intake of the rounds without readers, on the same process in the same minutes.
"""

from __future__ import annotations

import http.client
import json
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import cycle
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from tests.bench.bench_report import write_record
from tests.helpers.cluster import audit_batches, demo_images, write_recording, write_trust
from tests.helpers.process import EVIDENCE, Revet

GOAL_SECONDS: Final = 1.0
"""p95 of a page of 10,000 containers."""
GOAL_SHARE: Final = 0.8
"""Of the events a second that are taken while nobody looks."""
PAGES: Final = ("/", "/incidents", "/signers", "/trust", "/changes", "/search?q=verdict:violates")
BODY: Final = 50
ROUNDS: Final = 3


class Load:
    """Threads that repeat something until the block ends."""

    def __init__(self) -> None:
        self._ending = threading.Event()

    @contextmanager
    def of(self, *works: Callable[[], None]) -> Iterator[None]:
        threads = [threading.Thread(target=self._repeat, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._ending.set()
            for thread in threads:
                thread.join(60)

    def _repeat(self, work: Callable[[], None]) -> None:
        while not self._ending.is_set():
            work()


def _asked(host: str, path: str, tag: str = "") -> tuple[float, int, str]:
    """(seconds, status, tag) of one page, over a connection of its own."""
    began = time.perf_counter()
    with closing(http.client.HTTPConnection(host, timeout=60)) as connection:
        connection.request("GET", path, headers={"If-None-Match": tag} if tag else {})
        answer = connection.getresponse()
        answer.read()
        return time.perf_counter() - began, answer.status, answer.headers.get("ETag", "")


class Senders:
    """Posts bodies one after the other; what was answered 200 counts."""

    def __init__(self, host: str, bodies: list[bytes]) -> None:
        self._host = host
        self._bodies = iter(bodies)
        self._lock = threading.Lock()
        self.seconds: list[float] = []

    def send(self) -> None:
        with self._lock:
            body = next(self._bodies, None)
        if body is None:
            time.sleep(0.05)
            return
        began = time.perf_counter()
        with closing(http.client.HTTPConnection(self._host, timeout=60)) as connection:
            connection.request("POST", "/audit", body)
            assert connection.getresponse().status == 200
        self.seconds.append(time.perf_counter() - began)


def run(containers: int = 10_000, seconds: float = 12.0) -> list[dict[str, object]]:
    """Two rows: pages, and intake beside them."""
    with tempfile.TemporaryDirectory(prefix="revet-bench-") as name:
        folder = Path(name)
        state = folder / "state.sqlite"
        with closing(sqlite3.connect(state, isolation_level=None)) as connection:
            write_record(connection, containers)
        recording = write_recording(folder, events=400_000, images=demo_images(), seed=3)
        bodies = list(audit_batches(recording, BODY))
        args = ("run", "--listen", "127.0.0.1:0", "--ui", "127.0.0.1:0", "--cluster", "c1", "--quiet")
        with Revet(*args, "--trust", str(write_trust(folder / "trust")), *EVIDENCE, "--state", str(state)) as process:
            page = urlsplit(process.said(r"live page: (\S+)", 120)).netloc
            senders = Senders(f"127.0.0.1:{process.port(120)}", bodies)
            process.until(lambda: _up(page), 60)
            return _measured(page, senders, seconds, state)


def _up(page: str) -> bool:
    try:
        return _asked(page, "/healthz")[1] == 200
    except OSError:
        return False


def _measured(page: str, senders: Senders, seconds: float, state: Path) -> list[dict[str, object]]:
    taken: dict[bool, list[float]] = {False: [], True: []}
    waited: dict[bool, list[float]] = {False: [], True: []}
    loads: list[float] = []
    paths = cycle(PAGES)

    def look() -> None:
        loads.append(_asked(page, next(paths))[0])
        time.sleep(0.2)

    def keep_open() -> Callable[[], None]:
        held = [""]

        def again() -> None:
            held[0] = _asked(page, "/", held[0])[2]
            time.sleep(2)

        return again

    for looked in [False, True] * ROUNDS:
        before = len(senders.seconds)
        works = (senders.send, senders.send, *((look, *(keep_open() for _ in range(4))) if looked else ()))
        began = time.perf_counter()
        with Load().of(*works):
            time.sleep(seconds)
        sent = senders.seconds[before:]
        taken[looked].append(len(sent) * BODY / (time.perf_counter() - began))
        waited[looked] += sent
    alone, beside = (statistics.median(taken[looked]) for looked in (False, True))
    wal = Path(f"{state}-wal")
    return [
        {
            "name": "live page, p95 seconds while events come in",
            "ours_per_s": None,
            "pages": len(loads),
            "p50_s": _percentile(loads, 50),
            "p95_s": _percentile(loads, 95),
            "wal_mib": wal.stat().st_size / 1024 / 1024 if wal.exists() else 0,
            "goal": GOAL_SECONDS,
            "met": _percentile(loads, 95) <= GOAL_SECONDS,
        },
        {
            "name": "intake with five readers, of that without",
            "ours_per_s": beside,
            "reference_per_s": alone,
            "ratio": beside / alone,
            "p95_s": _percentile(waited[True], 95),
            "p95_alone_s": _percentile(waited[False], 95),
            "goal": GOAL_SHARE,
            "met": beside / alone >= GOAL_SHARE,
        },
    ]


def _percentile(values: list[float], share: int) -> float:
    return statistics.quantiles(values, n=100)[share - 1]


if __name__ == "__main__":
    for line in run(int(sys.argv[1].replace("_", "")) if len(sys.argv) > 1 else 10_000):
        print(json.dumps(line), flush=True)
