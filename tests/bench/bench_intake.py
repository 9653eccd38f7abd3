"""Collectors into Kafka, beside a bare producer of the same client on the same broker in the same run.

    python -m tests.bench.bench_intake [EVENTS]

The bare producer is kafka-python with the door's own options in a process of its own; it sends every event as it was
received, one record each, and waits for all acknowledgements. `serve audit` gets the same events over HTTP, 400 to a
body from eight senders, `serve files` the same as a file; both parse, reduce and write observations and compressed
originals, and count as done when the last is durable. Rounds alternate and the best of each counts, so that a busy
machine slows neither more than the other. The second row compares with a bare producer of the very records ours write.

The last row is about answers: bodies are sent when they are due, at 5,000 events/s, whoever has not answered yet, as an
API server does; and an answer is timed from that instant, not from when it could be sent. So a receiver that stands
still for a second is charged with everything that would have come in that second.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp

from streams.collectors import Refused, Stream, read_stream, reduced_original
from streams.engine.wire import WireRecord, partition_of
from streams.kafka.admin import KafkaAdmin
from streams.kafka.plan import compare, wanted_topics
from streams.kafka.producer import KafkaDoor
from streams.kafka.records import records_of
from streams.settings import KafkaSettings
from streams.topics import OBSERVATIONS
from tests.helpers.cluster import Recording, audit_batches, demo_images, write_recording
from tests.helpers.process import ROOT, Revet
from tests.helpers.servers import private_broker

GOAL = 0.7
"""Of the bare producer's events per second."""
ACCEPTED = 5_000
"""Events per second over HTTP, durable."""
ANSWERED = 200
"""Milliseconds, p99 of an answer at that rate."""
LONGER = 6
"""Times `EVENTS` are written for it, of which a third are audit events: p99 of some 280 answers."""
EVENTS = 60_000
BODY = 400
"""Events of a body: the API server's own default (`--audit-webhook-batch-max-size`)."""
SENDERS = 8
ROUNDS = 3
CHUNK = 500
"""Records the bare producer hands over at a time; four such groups are on their way, as with ours."""


class Made:
    """What is sent, made once."""

    def __init__(self, folder: Path, events: int) -> None:
        self.recording: Recording = write_recording(folder, events=events, images=demo_images(), seed=3)
        self.bodies = list(audit_batches(self.recording, BODY))
        self.events = sum(body.count(b'"auditID"') for body in self.bodies)
        self.in_file = self.recording.audit.read_bytes().count(b'"auditID"')

    def raw(self) -> list[WireRecord]:
        """Every event as it was received, spread over the partitions as ours are."""
        items = [item for body in self.bodies for item in read_stream([body], kind="audit")]
        return [
            WireRecord(OBSERVATIONS, partition_of(f"key {number % 500}", 24), b"key %d" % (number % 500), item.data)
            for number, item in enumerate(items)
            if not isinstance(item, Refused)
        ]

    def ours(self) -> list[WireRecord]:
        """The very records that ours writes."""
        stream = Stream(cluster="c1", source="audit:c1")
        found: list[WireRecord] = []
        for body in self.bodies:
            items = list(read_stream([body], kind="audit"))
            observations = [o for item in items for o in stream.observe(item)]
            originals = [o for item in items if (o := reduced_original(item))]
            found += records_of(observations, originals, source="audit:c1", cluster="c1", shards=24)
        return found


def bare(settings: KafkaSettings, records: list[WireRecord]) -> tuple[float, float]:
    """(seconds, CPU seconds) until all are acknowledged."""
    door = KafkaDoor(settings, part="bare")
    door.require(*{record.topic for record in records})
    began, cpu = time.perf_counter(), time.process_time()
    under_way = []
    for at in range(0, len(records), CHUNK):
        under_way.append(door.begin(records[at : at + CHUNK]))
        if len(under_way) > 4:
            under_way.pop(0).wait()
    for sending in under_way:
        sending.wait()
    took = time.perf_counter() - began, time.process_time() - cpu
    door.close()
    return took


def in_child(settings: KafkaSettings, folder: Path, what: str, events: int) -> tuple[float, float]:
    """`bare` in a process of its own, as ours is."""
    code = "from tests.bench.bench_intake import child; child()"
    arguments = [settings.bootstrap, settings.prefix, str(folder), what, str(events)]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    seconds, cpu = map(float, done.stdout.split()[-2:])
    return seconds, cpu


def child() -> None:
    bootstrap, prefix, folder, what, events = sys.argv[1:]
    made = Made(Path(folder), int(events))
    records = made.raw() if what == "raw" else made.ours()
    print(*bare(KafkaSettings(bootstrap=bootstrap, prefix=prefix), records))


def over_http(environment: dict[str, str], made: Made) -> tuple[float, float]:
    """(seconds, CPU seconds) of `serve audit` until every body was answered 200."""
    with Revet("serve", "audit", cwd=ROOT, **environment) as process:
        address = process.said(r"url=(http://\S+/audit)", 120)
        return asyncio.run(_post(f"{address}/c1", made.bodies, process.process.pid))


async def _post(url: str, bodies: list[bytes], process: int) -> tuple[float, float]:
    waiting = iter(bodies)

    async def sender(session: aiohttp.ClientSession) -> None:
        for body in waiting:
            async with session.post(url, data=body) as answer:
                assert answer.status == 200, answer.status

    async with aiohttp.ClientSession() as session:
        async with session.post(url, data=b"") as answer:  # connected, and everything imported
            assert answer.status == 200
        began, cpu = time.perf_counter(), cpu_of(process)
        await asyncio.gather(*(sender(session) for _ in range(SENDERS)))
        return time.perf_counter() - began, cpu_of(process) - cpu


def at_rate(environment: dict[str, str], bodies: list[bytes]) -> list[float]:
    """Seconds until each body was answered 200, when one is due every `BODY / ACCEPTED` seconds."""
    with Revet("serve", "audit", cwd=ROOT, **environment) as process:
        address = process.said(r"url=(http://\S+/audit)", 120)
        return asyncio.run(_when_due(f"{address}/c1", bodies))


async def _when_due(url: str, bodies: list[bytes]) -> list[float]:
    clock = asyncio.get_running_loop().time

    async def one(session: aiohttp.ClientSession, due: float, body: bytes) -> float:
        await asyncio.sleep(max(0.0, due - clock()))
        async with session.post(url, data=body) as answer:
            assert answer.status == 200, answer.status
        return clock() - due

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        async with session.post(url, data=b"") as answer:  # everything imported
            assert answer.status == 200
        began = clock() + 0.1
        return await asyncio.gather(*(one(session, began + n * BODY / ACCEPTED, b) for n, b in enumerate(bodies)))


def _answered(times: list[float]) -> dict[str, object]:
    found = sorted(times)
    p50, p99 = (1000 * found[int(len(found) * share)] for share in (0.5, 0.99))
    return {"name": f"serve audit: answer at {ACCEPTED:,} events/s, p99 in ms, {len(found)} bodies of {BODY}",
            "ours_per_s": None, "reference_per_s": None, "ratio": None, "goal": ANSWERED, "met": p99 <= ANSWERED,
            "p50_ms": round(p50, 1), "p99_ms": round(p99, 1), "slowest_ms": round(1000 * found[-1], 1)}  # fmt: skip


def from_file(environment: dict[str, str], made: Made, folder: Path) -> tuple[float, float]:
    """(seconds `serve files` says its work took, CPU seconds of all of it)."""
    before = os.times()
    progress = folder / "progress.json"
    progress.unlink(missing_ok=True)
    with Revet(
        "serve", "files", f"c1={made.recording.audit}", "--progress", str(progress), cwd=ROOT, **environment
    ) as process:
        assert process.wait() == 0, process.err
        seconds = float(process.said(r"files sent .*seconds=([0-9.]+)"))
    after = os.times()
    return seconds, after.children_user + after.children_system - before.children_user - before.children_system


def cpu_of(process: int) -> float:
    """CPU seconds of a process and the children it waited for."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK") + sum(map(_own, children_of(process)))


def children_of(process: int) -> list[int]:
    return [int(n) for n in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def _own(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def prepared(bootstrap: str) -> Iterator[tuple[KafkaSettings, dict[str, str]]]:
    """Topics of its own."""
    settings = KafkaSettings(bootstrap=bootstrap, prefix=f"bench{os.getpid()}.")
    wanted = wanted_topics(settings)
    with KafkaAdmin(settings) as admin:
        admin.apply(compare(wanted, admin.topics([topic.name for topic in wanted])))
    yield (
        settings,
        {
            "REVET_KAFKA_BOOTSTRAP": bootstrap,
            "REVET_KAFKA_PREFIX": settings.prefix,
            "REVET_LISTEN_ADDRESS": "127.0.0.1:0",
            "REVET_SERVE_OPERATIONS": "",
        },
    )


def run(events: int = EVENTS) -> list[dict[str, object]]:
    """Two rows per collector: beside a producer of the events, and of the same records."""
    given = os.environ.get("REVET_TEST_KAFKA")
    if given:
        return _rows(given, events)
    with private_broker(heap="512m") as broker:
        return _rows(broker.bootstrap, events)


def _rows(bootstrap: str, events: int) -> list[dict[str, object]]:
    best: dict[str, tuple[float, float]] = {}

    def keep(name: str, took: tuple[float, float], count: int) -> None:
        """Microseconds of wall time and of CPU time for an event, each the best of all rounds."""
        each = took[0] / count * 1e6, took[1] / count * 1e6
        best[name] = tuple(map(min, each, best.get(name, each)))  # type: ignore[assignment]  # of two

    with tempfile.TemporaryDirectory() as folder, prepared(bootstrap) as (settings, environment):
        made = Made(Path(folder) / "r", events)
        records = len(made.ours())
        for _ in range(ROUNDS):
            keep("raw", in_child(settings, Path(folder) / "a", "raw", events), made.events)
            keep("http", over_http(environment, made), made.events)
            keep("ours", in_child(settings, Path(folder) / "b", "ours", events), made.events)
            keep("file", from_file(environment, made, Path(folder)), made.in_file)
        more = write_recording(Path(folder) / "more", events=LONGER * events, images=demo_images(), seed=4)
        answered = at_rate(environment, list(audit_batches(more, BODY)))
    size = sum(map(len, made.bodies)) // made.events
    unit = f"events/s, {made.events:,} events of {size} bytes in {records:,} records"
    rows = [
        _row("serve audit: HTTP -> Kafka, durable", best["http"], best["raw"], GOAL),
        _row("... beside a producer of the same records", best["http"], best["ours"], None),
        _row("serve files: file -> Kafka, durable", best["file"], best["raw"], GOAL),
        _row("... beside a producer of the same records", best["file"], best["ours"], None),
    ]
    rate = 1e6 / best["http"][0]
    accepted = {"name": "serve audit, accepted and durable", "ours_per_s": round(rate), "reference_per_s": None,
                "ratio": None, "goal": ACCEPTED, "met": rate >= ACCEPTED}  # fmt: skip
    return [*({**row, "unit": unit} for row in rows), accepted, _answered(answered)]


def _row(name: str, ours: tuple[float, float], reference: tuple[float, float], goal: float | None) -> dict[str, object]:
    ratio = reference[0] / ours[0]
    return {
        "name": name,
        "ours_per_s": round(1e6 / ours[0]),
        "reference_per_s": round(1e6 / reference[0]),
        "ratio": round(ratio, 3),
        "goal": goal,
        "met": None if goal is None else ratio >= goal,
        "ours_cpu_us": round(ours[1], 1),
        "reference_cpu_us": round(reference[1], 1),
    }


if __name__ == "__main__":
    for row in run(*map(int, sys.argv[1:2])):
        print(json.dumps(row))
