"""The validating webhook over HTTPS: with facts at hand, and cold from a local registry, beside a bare aiohttp handler.

    python -m tests.bench.bench_admission [REQUESTS [COLD]]

`revet serve admission` is a process of its own beside a state file; a decision is on disk before it is answered. The
bare handler decodes the same reviews and says yes, over the same TLS. Both are asked by the same client, `AT_ONCE`
requests at a time over connections that stay, in turns. Cold images are asked about once each.
"""

import asyncio
import itertools
import json
import os
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import aiohttp

from tests.bench.bench_fetch import signed
from tests.conftest import ORACLES
from tests.helpers.process import ROOT, environment
from tests.helpers.registry_server import push, running
from tests.helpers.webhook import WebhookWorld, pod, review
from verifier.testing import Signer

REQUESTS: Final = 20_000
COLD: Final = 500
WARM_IMAGES: Final = 200
AT_ONCE: Final = 8
COLD_AT_ONCE: Final = 4
TURNS: Final = 2
WARM_GOAL: Final = 0.05
COLD_GOAL: Final = 1.5
RATIO_GOAL: Final = 0.2
"""Of the bare handler's rate. The handler writes nothing; a decision costs a write to the disk."""

Row = dict[str, object]

POLICY = """
apiVersion: revet/v1
kind: Policy
metadata: {name: bench}
spec:
  mode: enforce
  match: [{images: ["127.0.0.1:*/**"]}]
  attestors: {bench: {keys: [bench]}}
  require: {signedBy: bench}
"""


def run(requests: int = REQUESTS, cold: int = COLD) -> list[Row]:
    """Two rows."""
    name = f"admission: {requests:,} reviews with facts at hand / bare aiohttp handler"
    if not os.access(ORACLES / "registry", os.X_OK):
        return [{"name": name, "skipped": "registry not built (make oracles)"}]
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(measured(name, Path(folder), requests, cold))


async def measured(name: str, folder: Path, requests: int, cold: int) -> list[Row]:
    signer = Signer("bench fetch")
    async with running(ORACLES / "registry") as origin:
        host = origin.removeprefix("http://")
        references = signed(folder / "layout", host, WARM_IMAGES + cold, signer)
        await push(folder / "layout", origin)
        world = await asyncio.to_thread(world_of, folder / "world", host, signer)
        warm, rest = references[:WARM_IMAGES], references[WARM_IMAGES:]
        with world.started(mode="enforce") as webhook, bare(world) as port:
            async with client(world) as session:
                url, reference = webhook.url, f"https://127.0.0.1:{port}/admit"
                cold_times = await asked(session, url, rest, len(rest), COLD_AT_ONCE)
                await asked(session, url, warm, len(warm), AT_ONCE)
                ours, theirs = await turns(session, url, reference, warm, requests)
    return [warm_row(name, ours, theirs), cold_row(cold_times)]


def world_of(folder: Path, host: str, signer: Signer) -> WebhookWorld:
    folder.mkdir()
    world = WebhookWorld(folder, host)
    (folder / "trust" / "bench.pub").write_text(signer.pem)
    (folder / "trust" / "bench.yaml").write_text(POLICY)
    world.apply()
    world.evidence = {"plain_http": True}
    return world


@contextmanager
def bare(world: WebhookWorld) -> Iterator[int]:
    files = [str(world.folder / name) for name in ("tls.crt", "tls.key")]
    command = [sys.executable, "-m", "tests.bench.admission_child", *files]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment()
    ) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.communicate()


@asynccontextmanager
async def client(world: WebhookWorld) -> AsyncIterator[aiohttp.ClientSession]:
    context = ssl.create_default_context(cadata=world.authority.pem.decode())
    connector = aiohttp.TCPConnector(limit=AT_ONCE, ssl=context)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield session


async def asked(
    session: aiohttp.ClientSession, url: str, images: Sequence[str], requests: int, at_once: int
) -> list[float]:
    """Seconds of each request; every answer is a yes."""
    times: list[float] = []
    turn = itertools.islice(enumerate(itertools.cycle(images)), requests)

    async def worker() -> None:
        for number, image in turn:
            body = json.dumps(review(pod(f"p{number}", image))).encode()
            began = time.perf_counter()
            async with session.post(url, data=body, headers={"Content-Type": "application/json"}) as answer:
                said = await answer.read()
            times.append(time.perf_counter() - began)
            if answer.status != 200 or b'"allowed":true' not in said.replace(b" ", b""):
                raise RuntimeError(f"{answer.status}: {said[:500]!r}")

    await asyncio.gather(*(worker() for _ in range(at_once)))
    return times


async def turns(
    session: aiohttp.ClientSession, ours: str, theirs: str, images: Sequence[str], requests: int
) -> tuple[tuple[float, list[float]], tuple[float, list[float]]]:
    """(requests per second, times) of both: the best of some turns."""
    best: dict[str, tuple[float, list[float]]] = {}
    for _ in range(TURNS):
        for url in (ours, theirs):
            began = time.perf_counter()
            times = await asked(session, url, images, requests // TURNS, AT_ONCE)
            rate = len(times) / (time.perf_counter() - began)
            best[url] = max(best.get(url, (0.0, [])), (rate, times))
    return best[ours], best[theirs]


def p99(times: Sequence[float]) -> float:
    return statistics.quantiles(times, n=100)[98]


def warm_row(name: str, ours: tuple[float, list[float]], theirs: tuple[float, list[float]]) -> Row:
    ratio = ours[0] / theirs[0]
    return {
        "name": name,
        "ours_per_s": round(ours[0]),
        "reference_per_s": round(theirs[0]),
        "ratio": round(ratio, 2),
        "goal": RATIO_GOAL,
        "met": ratio >= RATIO_GOAL and p99(ours[1]) <= WARM_GOAL,
        "p50_ms": round(statistics.median(ours[1]) * 1000, 2),
        "p99_ms": round(p99(ours[1]) * 1000, 2),
        "p99_goal_ms": WARM_GOAL * 1000,
        "reference_p99_ms": round(p99(theirs[1]) * 1000, 2),
        "at_a_time": AT_ONCE,
    }


def cold_row(times: Sequence[float]) -> Row:
    return {
        "name": f"admission: {len(times):,} cold images from a local registry, p99 in seconds",
        "ours_per_s": None,
        "ratio": None,
        "goal": COLD_GOAL,
        "met": p99(times) <= COLD_GOAL,
        "p50_ms": round(statistics.median(times) * 1000, 1),
        "p99_ms": round(p99(times) * 1000, 1),
        "slowest_ms": round(max(times) * 1000, 1),
        "at_a_time": COLD_AT_ONCE,
    }


if __name__ == "__main__":
    for line in run(*map(int, sys.argv[1:])):
        print(line)
