"""Processes of a cluster that are killed and started again, servers that misbehave, and how to see that all is done.

crew = Crew(cluster, "judge", "judge", "fetch", "index", "alert")
crew.start(); await crew.ready()
crew.kill(member); crew.tend()            whoever ended is started again, as an orchestrator would
await settled(cluster, crew)              everything that was sent has been handled
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final, NamedTuple, Self
from urllib.parse import urlsplit

from streams.engine.broker import Slot
from streams.engine.link import group_positions
from streams.serving.indexing import INDEXED
from streams.topics import ACTIONS, ALERTS, CLUSTER_SIGHT, OBSERVATIONS, PARTS, REQUESTS, TOPICS
from tests.helpers.pipeline import Cluster
from tests.helpers.process import command, environment
from verifier.errors import PlaceError

EXPECTED_ENDS: Final = frozenset({4})
"""Exit codes of a process whose dependency failed; anything else is a defect."""
READS: Final[Mapping[str, Sequence[str]]] = {
    "judge": (OBSERVATIONS,),
    "fetch": (REQUESTS,),
    "index": tuple(topic for topic in INDEXED if topic != CLUSTER_SIGHT),  # signs of life never end
    "alert": (PARTS, ACTIONS),
}
"""Part -> the topics its group reads to their ends."""


class Member:
    """One place of the crew; whoever fills it."""

    def __init__(self, part: str, number: int, folder: Path, environ: Mapping[str, str]) -> None:
        self.part, self.number = part, number
        self._folder, self._environ = folder, environ
        self._process: subprocess.Popen[bytes] | None = None
        self.logs: list[Path] = []
        self.is_killed = False
        self.ends: list[int] = []
        """Exit codes of those that ended by themselves."""

    def start(self) -> None:
        said = self._folder / f"{self.part}-{self.number}-{len(self.logs)}"
        self.logs.append(said)
        with said.with_suffix(".out").open("wb") as out, said.with_suffix(".err").open("wb") as err:
            self._process = subprocess.Popen(
                command("serve", self.part), stdout=out, stderr=err, cwd=self._folder, env=environment(**self._environ)
            )

    @property
    def pid(self) -> int:
        """Of whoever fills it now."""
        assert self._process is not None
        return self._process.pid

    def is_ready(self) -> bool:
        return " ready " in self.err() and self.poll() is None

    def err(self) -> str:
        """What this life of it said so far."""
        return self.logs[-1].with_suffix(".err").read_text(errors="replace")

    def poll(self) -> int | None:
        return self._process.poll() if self._process is not None else 0

    def end(self, number: signal.Signals, seconds: float = 60) -> int:
        """Send a signal and wait for the end."""
        if self._process is None:
            return 0
        self._process.send_signal(number)
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise


class Crew:
    """Every process of a cluster."""

    def __init__(self, cluster: Cluster, *parts: str, **environ: str) -> None:
        self.cluster = cluster
        env = {**cluster.environ, **environ}
        self.members = [Member(part, number, cluster.folder, env) for number, part in enumerate(parts)]
        self.parts = frozenset(part for part in parts if part in READS)
        self.kills = 0

    def start(self) -> None:
        for member in self.members:
            member.start()

    def kill(self, member: Member) -> None:
        """As power loss would, and at once somebody new."""
        if member.poll() is None:
            member.end(signal.SIGKILL)
            self.kills += 1
        member.start()

    def tend(self) -> None:
        """Start again whoever ended; a defect fails the test."""
        for member in self.members:
            code = member.poll()
            if code is not None:
                assert code in EXPECTED_ENDS, f"{member.part} ended with {code}:\n{member.err()[-4000:]}"
                member.ends.append(code)
                member.start()

    async def ready(self, seconds: float = 240) -> None:
        """Every one of them."""
        await until(lambda: all(member.is_ready() for member in self.members), seconds, self.told, self.tend)

    def of(self, part: str) -> list[Member]:
        return [member for member in self.members if member.part == part]

    def stop(self) -> list[int]:
        """Ask all to end; their exit codes."""
        running = [member for member in self.members if member.poll() is None]
        return [member.end(signal.SIGTERM) for member in running]

    def shown(self) -> str:
        """Everything the alerters printed, in order."""
        return "\n".join(path.with_suffix(".out").read_text() for member in self.of("alert") for path in member.logs)

    def told(self) -> str:
        """The end of what everybody said, for a failure."""
        ends = [f"--- {m.part}-{m.number} ({m.poll()})\n{m.err()[-1500:]}" for m in self.members if m.logs]
        return "\n".join(ends)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        for member in self.members:
            if member.poll() is None:
                member.end(signal.SIGKILL)


async def until(
    is_so: Callable[[], object], seconds: float, why: Callable[[], str], meanwhile: Callable[[], None] = lambda: None,
    pause: float = 0.2,
) -> None:  # fmt: skip
    """Wait for something; `why` says what was seen when it does not come."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, why()
        meanwhile()
        await asyncio.sleep(pause)


async def settled(cluster: Cluster, crew: Crew | None = None, *, looks: int = 4, seconds: float = 300) -> None:
    """Wait until every group has come to every end, and nothing is written any more but signs of life. Without a crew
    the processes run inside this one.
    """
    deadline = time.monotonic() + seconds
    last: dict[Slot, int] = {}
    same = 0
    while same < looks:
        if crew is not None:
            crew.tend()
        waiting, ends = await behind(cluster, crew.parts if crew is not None else READS)
        same = same + 1 if ends == last and not waiting else 0
        last = ends
        assert time.monotonic() < deadline, f"still waiting: {waiting}\n{crew.told() if crew is not None else ''}"
        await asyncio.sleep(0.7)


async def behind(cluster: Cluster, parts: Iterable[str] = READS) -> tuple[dict[str, int], dict[Slot, int]]:
    """Part -> records its group has not done with; the ends of all topics that tell of work. What is written for a part
    that nobody plays is not waited for.
    """
    settings = cluster.settings.kafka
    watched = [topic for topic in TOPICS.values() if topic.name not in {CLUSTER_SIGHT, ALERTS}]  # these never rest
    slots = [Slot(topic.name, number) for topic in watched for number in range(topic.partitions(cluster.shards))]
    try:
        ends = await cluster.link.ends(slots)
        waiting: dict[str, int] = {}
        for part in parts:
            own = [slot for slot in slots if slot.topic in READS[part]]
            stored = await group_positions(settings, settings.group(part), own)
            left = sum(ends[slot] - (stored[slot] or 0) for slot in own)
            if left:
                waiting[part] = left
    except PlaceError as error:
        return {str(error): 1}, {}
    return waiting, ends


_POST: Final = re.compile(r"^to (\S[^\n]*)\n─+\n(.*?)\n─{20,}\n(\(perhaps shown before\))?", re.MULTILINE | re.DOTALL)


class Posts(NamedTuple):
    """(incident, destination) -> how often it was told anew."""

    plain: Counter[tuple[str, str]]
    perhaps: Counter[tuple[str, str]]
    """Those that say of themselves that they may be repeated."""


def posts(shown: str) -> Posts:
    """What was told, read from what was printed."""
    found = Posts(Counter(), Counter())
    for destination, text, perhaps in _POST.findall(shown):
        incident = re.search(r"INC-[0-9A-Z]+", text)
        if incident is not None:
            found[bool(perhaps)][incident[0], destination] += 1
    return found


class Moody:
    """Stands before Elasticsearch and answers what it is told to, instead of asking it.

    with Moody(url) as moody: moody.answer = 429; …; moody.answer = None
    """

    def __init__(self, behind: str) -> None:
        self._behind = urlsplit(behind).netloc
        self.answer: int | None = None
        """Status of every answer; None: the server's own."""
        self.cut = False
        """Forward the request, and never answer: whoever asks does not know whether it was done."""
        self.refused: Counter[int] = Counter()
        self.forwarded = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        moody = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                try:
                    moody._serve(self, body)
                except (OSError, HTTPException):
                    self.close_connection = True

            do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = _any  # noqa: N815  # names of the library

            def log_message(self, *_: object) -> None: ...

        return Handler

    def _serve(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        if self.answer is not None:
            self.refused[self.answer] += 1
            error = b'{"error":{"type":"es_rejected_execution_exception","reason":"planted"}}'
            return self._tell(handler, self.answer, {"Content-Type": "application/json"}, error)
        connection = HTTPConnection(self._behind, timeout=60)
        kept = {n: v for n, v in handler.headers.items() if n.lower() not in {"host", "connection", "content-length"}}
        connection.request(handler.command, handler.path, body, kept)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        self.forwarded += 1
        if self.cut:
            self.refused[0] += 1
            handler.close_connection = True
            return None
        told = {n: v for n, v in answer.getheaders() if n.lower() not in {"transfer-encoding", "content-length"}}
        return self._tell(handler, answer.status, told, content)

    @staticmethod
    def _tell(handler: BaseHTTPRequestHandler, status: int, headers: Mapping[str, str], body: bytes) -> None:
        handler.send_response_only(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body)


FULL: Final = os.environ.get("REVET_FAULTS") == "full"
