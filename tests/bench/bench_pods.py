"""The pod watcher, from an API server's bytes to records ready for brokers, beside a bare JSON parse of those bytes.

    python -m tests.bench.bench_pods [PODS]

A child serves one snapshot as the API server streams it (`sendInitialEvents`; pods of 9 KB: a recorded one, with the
`managedFields` of several controllers), then changes of all pods, over HTTP on loopback. Another child watches: the
loop, the client and the state machine as they are, with a keeper that makes every record and row that Kafka would get.
The bare parse is `msgspec.json.decode` of each line into plain objects, in a child of its own. Seconds run from the
request; memory is the peak of the watching process, all of Python and its libraries in it.
"""

import asyncio
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
from aiohttp import web

from streams.collectors.apiserver import ApiServer
from streams.collectors.kubeconfig import Access, Login
from streams.collectors.lines import Lines
from streams.collectors.podloop import PodLoop
from streams.collectors.podwatch import Ending, Known, PodWatch, Position, Step
from streams.garbage import settle_collector
from streams.kafka.records import records_of
from tests.helpers.cluster import DEMO_DATA
from tests.helpers.process import ROOT

PODS = 20_000
POD_BYTES = 9_000
LISTED_SECONDS = 10.0
MEMORY_MIB = 300
CHANGES = 3_000
"""Per second."""
ROUNDS = 2
PIECE = 256 * 1024


def template() -> str:
    """A recorded pod that runs, brought to 9 KB by what controllers write into `managedFields`."""
    lines = (DEMO_DATA / "clusters" / "prod-eu" / "pods.jsonl").read_text().splitlines()
    pod = max((json.loads(line)["object"] for line in lines if "imageID" in line), key=lambda pod: len(json.dumps(pod)))
    pod["metadata"] |= {"name": "pod-@N@", "uid": "00000000-0000-4000-8000-@N@", "resourceVersion": "@V@"}
    pod["metadata"]["labels"] = pod["metadata"].get("labels", {})
    pod["status"]["containerStatuses"][0]["restartCount"] = 987_654_321
    fields = pod["metadata"].setdefault("managedFields", [])
    number = 0
    while len(json.dumps(pod, separators=(",", ":"))) < POD_BYTES:
        number += 1
        owned: dict[str, object] = {f"f:key-{number}-{part}": {".": {}, "f:value": {}} for part in range(8)}
        fields.append({"manager": f"controller-{number}", "operation": "Update", "fieldsV1": {"f:metadata": owned}})
    return json.dumps(pod, separators=(",", ":"))


def lines_of(kind: str, pods: int, base: int, restarts: int) -> Iterator[bytes]:
    text = f'{{"type":"{kind}","object":{template()}}}\n'.replace("987654321", str(restarts))
    for number in range(pods):
        yield text.replace("@N@", f"{number:012d}").replace('"@V@"', f'"{base + number}"').encode()


def bookmark(version: int) -> bytes:
    notes = '"annotations":{"k8s.io/initial-events-end":"true"}'
    meta = f'{{"resourceVersion":"{version}",{notes}}}'
    return f'{{"type":"BOOKMARK","object":{{"kind":"Pod","apiVersion":"v1","metadata":{meta}}}}}\n'.encode()


def snapshot(pods: int) -> Iterator[bytes]:
    yield from lines_of("ADDED", pods, 1_000, 0)
    yield bookmark(1_000 + pods)


# ------------------------------------------------------------------------------------------------------------ children


def serve() -> None:
    """Argument: pods. Prints its port; the changes come when the second path is asked for."""
    pods = int(sys.argv[1])
    go = asyncio.Event()

    async def watch(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "application/json"})
        await answer.prepare(request)
        for chunk in pieces(snapshot(pods)):
            await answer.write(chunk)
        await go.wait()
        for chunk in pieces(lines_of("MODIFIED", pods, 1_000_000, 1)):
            await answer.write(chunk)
        await asyncio.sleep(600)
        return answer

    async def change(_request: web.Request) -> web.Response:
        go.set()
        return web.Response()

    async def main() -> None:
        app = web.Application()
        app.router.add_get("/api/v1/pods", watch)
        app.router.add_get("/change", change)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        print(runner.addresses[0][1], flush=True)
        await asyncio.sleep(3600)

    asyncio.run(main())


def pieces(lines: Iterator[bytes]) -> Iterator[bytes]:
    waiting = bytearray()
    for line in lines:
        waiting += line
        if len(waiting) >= PIECE:
            yield bytes(waiting)
            waiting.clear()
    yield bytes(waiting)


class Made:
    """Makes every record, and counts them. Implements Keeper and Told."""

    def __init__(self) -> None:
        self.told = self.bytes = 0

    async def load(self) -> tuple[dict[str, Known], Position]:
        return {}, Position()

    async def tell(self, step: Step) -> None:
        records = records_of(step.observations, step.originals, source="watch:c1", cluster="c1", shards=24)
        self.bytes += sum(len(record.value or b"") for record in records)

    async def keep(self, step: Step) -> None:
        for row in step.rows.values():
            self.bytes += len(msgspec.msgpack.encode(row))
        self.told += len(step.observations)

    def ended(self, ending: Ending, detail: str, pause: float) -> None:
        raise AssertionError((ending, detail, pause))

    def heard(self) -> None:
        pass

    def durable(self, step: Step) -> None:
        pass

    def not_durable(self, error: Exception) -> None:
        raise error


def watch() -> None:
    """Arguments: pods, port. Prints seconds and CPU seconds of the snapshot and of the changes, and the peak in MiB."""
    pods, port = map(int, sys.argv[1:])
    settle_collector()

    async def main() -> list[float]:
        server = ApiServer(lambda: (Access("bench", f"http://127.0.0.1:{port}", Login()), Path()))
        made = Made()
        state = PodWatch("c1")
        running = asyncio.create_task(PodLoop(state, server, made, made).run())
        found = []
        for wanted in (pods, 2 * pods):
            began, cpu = time.perf_counter(), time.process_time()
            if wanted > pods:
                other = ApiServer(lambda: (Access("bench", f"http://127.0.0.1:{port}", Login()), Path()))
                await other.exchange("GET", "/change")
                await other.close()
            while made.told < wanted:  # noqa: ASYNC110  # looked at from outside: nobody sets an event
                await asyncio.sleep(0.01)
            found += [time.perf_counter() - began, time.process_time() - cpu]
        running.cancel()
        await asyncio.wait([running])
        await server.close()
        assert len(state.known) == pods
        return found

    found = asyncio.run(main())
    print(*found, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def bare() -> None:
    """Argument: pods. Prints CPU seconds of a parse of every line of the snapshot, and of splitting it into lines."""
    pods = int(sys.argv[1])
    chunks = list(pieces(snapshot(pods)))
    settle_collector()
    decode = msgspec.json.decode
    cpu = time.process_time()
    lines = Lines()
    for chunk in chunks:
        for line in lines.feed(chunk):
            decode(line)  # type: ignore[arg-type]  # none is too long
    print(time.process_time() - cpu)


def _child(function: str, *arguments: object) -> list[float]:
    code = f"from tests.bench.bench_pods import {function}; {function}()"
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [float(text) for text in done.stdout.split()]


# --------------------------------------------------------------------------------------------------------------- rows


def run(pods: int = PODS) -> list[dict[str, object]]:
    """Two rows: a snapshot listed and in state, and changes of it."""
    seconds, cpu, changing, changing_cpu, peak = (float("inf"),) * 4 + (0.0,)
    parse = float("inf")
    for _ in range(ROUNDS):
        code = "from tests.bench.bench_pods import serve; serve()"
        with subprocess.Popen(
            [sys.executable, "-c", code, str(pods)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        ) as server:
            try:
                assert server.stdout is not None
                found = _child("watch", pods, int(server.stdout.readline()))
            finally:
                server.kill()
        seconds, cpu, changing, changing_cpu = map(min, (seconds, cpu, changing, changing_cpu), found[:4])
        peak = max(peak, found[4])
        parse = min(parse, _child("bare", pods)[0])
    size = len(next(lines_of("ADDED", 1, 1_000, 0)))
    shared = {"unit": f"pods/s, {pods:,} pods of {size:,} bytes", "peak_mib": round(peak)}
    listed = {
        "name": "serve pods: a snapshot, told and in state",
        "ours_per_s": round(pods / seconds),
        "reference_per_s": round(pods / parse),
        "ratio": round(parse / cpu, 3),
        "goal": round(PODS / LISTED_SECONDS),
        "met": pods / seconds >= PODS / LISTED_SECONDS and (peak <= MEMORY_MIB or pods > PODS),
        "cpu_us": round(cpu / pods * 1e6, 1),
        "bare_parse_cpu_us": round(parse / pods * 1e6, 1),
        **shared,
    }
    changed = {
        "name": "serve pods: changes, told and in state",
        "ours_per_s": round(pods / changing),
        "reference_per_s": round(pods / parse),
        "ratio": round(parse / changing_cpu, 3),
        "goal": CHANGES,
        "met": pods / changing >= CHANGES,
        "cpu_us": round(changing_cpu / pods * 1e6, 1),
        **shared,
    }
    return [listed, changed]


if __name__ == "__main__":
    for row in run(*map(int, sys.argv[1:2])):
        print(json.dumps(row))
