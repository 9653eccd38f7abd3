"""Replay of mixed events (audit and pods) into the state file, beside a bare loop that inserts as much.

    python -m tests.bench.bench_replay [EVENTS]

Events of a synthetic cluster that runs real, signed images (one in ten violates) go through the whole of `revet run
--replay`: parsed, made durable, judged under two policies, told, and written to the record. Reported: events per second
of wall time and of CPU time (a busy machine slows the first only), what each part took, and two ratios of the same run:
to the physical limit, a loop that inserts the same number of rows of the same size in as many transactions with
`synchronous=FULL` and does nothing else; and to `orjson.loads` of the same lines, which tells how fast the machine is.
"""

import asyncio
import json
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import orjson

from alerting.routing import Routes
from streams.cli.changing import read_documents
from streams.engine.port import Output
from streams.engine.sqlite import SqliteEngine
from streams.garbage import settle_collector
from streams.local.dated import read_dates
from streams.local.node import LocalNode, NodeSettings
from streams.local.plan import plan
from streams.local.processor import RECORD
from streams.local.replay import Replay, ReplaySource, read_items
from tests.helpers.cluster import (
    BROKEN,
    DEMO_DATA,
    TRUSTED,
    Image,
    Recording,
    demo_images,
    write_recording,
    write_trust,
)
from verifier.adapters.ocilayout import OciLayoutPlace
from verifier.trust import changes

GOAL = 5_000
"""Events per second, durable, judged and on record."""

BATCH = 500
VIOLATING = 10
"""Percent of the images that violate a policy."""


class Meter:
    """Seconds and numbers by name."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - began  # type: ignore[assignment]  # a Counter of seconds


class MeteredEngine(SqliteEngine):
    """The real engine, with a watch."""

    meter: Meter

    @contextmanager
    def transaction(self) -> Iterator[None]:
        MeteredEngine.meter.counts["transactions"] += 1
        with super().transaction():
            yield

    def append_inside(self, outputs: Sequence[Output]) -> int:
        MeteredEngine.meter.counts["log rows"] += len(outputs)
        with MeteredEngine.meter.timed("sqlite: log"):
            return super().append_inside(outputs)

    def store(self, rows: Sequence[tuple[str, str, bytes | None]]) -> None:
        MeteredEngine.meter.counts["state rows"] += len(rows)
        MeteredEngine.meter.counts["state bytes"] += sum(len(value or b"") for _, _, value in rows)
        with MeteredEngine.meter.timed("sqlite: state"):
            super().store(rows)


def run(events: int = 100_000) -> list[dict[str, object]]:
    """The benchmark; rows for the report."""
    with tempfile.TemporaryDirectory(prefix="revet-bench-") as name:
        folder = Path(name)
        recording = write_recording(folder, events=events, images=_images(), namespaces=40)
        trust = write_trust(folder / "trust")
        meter = Meter()
        settle_collector()  # as `revet run` does
        parse, loads = _parse_only(recording), _loads_only(recording)
        wall, cpu, items = asyncio.run(_replay(folder / "state.sqlite", recording, trust, meter))
        limit, rows = _bare(folder, folder / "state.sqlite", meter)
        size = (recording.audit.stat().st_size + recording.pods.stat().st_size) // items
        mix = f"events per second, {items:,} events, {VIOLATING} % of images violate"
        return [
            {"name": "replay to durable record", "ours_per_s": round(items / wall), "goal": GOAL,
             "met": items / wall >= GOAL, "unit": mix},
            _row("... beside a bare insert of as many rows", items, wall, limit, f"events per second; {rows:,} rows"),
            _row("... beside orjson.loads of its lines", items, cpu, loads, f"events of {size:,} bytes per CPU second"),
            _shares(items, wall, parse, meter),
        ]  # fmt: skip


def _images() -> list[Image]:
    """Images that pass, and some that do not."""
    rows = json.loads((DEMO_DATA / "images.json").read_text())
    ring = {path.name.removesuffix(".pub") for path in (DEMO_DATA / "keys").glob("*.pub")} & TRUSTED
    good = {r["reference"] for r in rows for s in r["signers"]
            if s["good"] and s["key"] in ring and not s["format"].endswith("attestation")}  # fmt: skip
    passing = [image for image in demo_images() if image.reference in good]
    failing = [image for image in demo_images() if image.reference not in good]
    return (passing * 100)[: 100 - VIOLATING] + failing[:VIOLATING]


def _loads_only(recording: Recording) -> float:
    """CPU seconds of `orjson.loads` over the same lines."""
    lines = [line for path in (recording.audit, recording.pods) for line in path.read_bytes().splitlines()]
    began = time.process_time()
    for line in lines:
        if not line.startswith(BROKEN):
            orjson.loads(line)
    return time.process_time() - began


def _parse_only(recording: Recording) -> float:
    """Seconds for reading both files into observations and reduced originals, nothing else."""
    began = time.perf_counter()
    for source in _sources(recording):
        for _ in read_items(source, Counter()):
            pass
    return time.perf_counter() - began


def _sources(recording: Recording) -> list[ReplaySource]:
    return [ReplaySource("c1", recording.audit), ReplaySource("c1", recording.pods)]


async def _replay(path: Path, recording: Recording, trust: Path, meter: Meter) -> tuple[float, float, int]:
    with (DEMO_DATA / "first-observations.jsonl").open("rb") as lines:
        dates = read_dates(lines, "first-observations.jsonl")
    place = OciLayoutPlace(DEMO_DATA / "oci")
    settings = NodeSettings(place=place, replay=True, dates=dates, routes=Routes(team_slices=False), batch=BATCH)
    node = LocalNode.open(path, settings)
    node.keep_messages(None)
    _attach(node, meter)
    played = Replay(_sources(recording))
    node.tick((played.begins() or 0) - 1)
    documents, _ = read_documents([str(trust)])
    node.change_trust(plan(node.trust, documents, changes.By("bench", node.now)).records)
    wall, cpu = time.perf_counter(), time.process_time()
    items = 0
    async for progress in played.play(node, BATCH):
        items = progress.items
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    node.close()
    return wall, cpu, items


def _attach(node: LocalNode, meter: Meter) -> None:
    MeteredEngine.meter = meter
    node.engine.__class__ = MeteredEngine
    write, documents, process = node.record.write, node.processor._documents, node.processor.process

    def timed_write(made: Any) -> None:
        kept = list(made)
        meter.counts["documents"] += len(kept)
        with meter.timed("sqlite: record"):
            write(kept)

    def timed_documents(event: object) -> Iterator[Any]:
        with meter.timed("documents"):
            return iter(list(documents(event)))

    def timed_process(records: Any) -> Any:
        with meter.timed("judge and documents"):
            return process(records)

    attributes: list[tuple[object, str, Callable[..., Any]]] = [
        (node.record, "write", timed_write),
        (node.processor, "_documents", timed_documents),
        (node.processor, "process", timed_process),
    ]
    for owner, name, function in attributes:
        setattr(owner, name, function)
    assert RECORD in node.engine._sinks


def _bare(folder: Path, state: Path, meter: Meter) -> tuple[float, int]:
    """Seconds to insert as many rows of the same mean sizes in as many transactions, and the number of rows."""
    with closing(sqlite3.connect(state)) as connection:
        (log,) = connection.execute(
            "SELECT avg(length(value) + length(id) + length(key) + length(topic)) FROM log"
        ).fetchone()
        (body,) = connection.execute("SELECT avg(length(body) + length(id) + length(home)) FROM record").fetchone()
        (raw,) = connection.execute("SELECT sum(length(data)) FROM raw").fetchone()
    counts = meter.counts
    transactions = counts["transactions"]
    kept = counts["state bytes"] / max(counts["state rows"], 1)
    kinds = [
        (counts["log rows"], log),
        (counts["documents"], body),
        (counts["state rows"], kept),
        (transactions, raw / transactions),
    ]
    with closing(sqlite3.connect(folder / "bare.sqlite", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE bare (row INTEGER PRIMARY KEY, data BLOB)")
        began = time.perf_counter()
        for _ in range(transactions):
            connection.execute("BEGIN IMMEDIATE")
            for number, size in kinds:
                data = bytes(int(size))
                connection.executemany("INSERT INTO bare (data) VALUES (?)", [(data,)] * round(number / transactions))
            connection.execute("COMMIT")
        return time.perf_counter() - began, sum(number for number, _ in kinds)


def _row(name: str, items: int, ours: float, reference: float, unit: str) -> dict[str, object]:
    return {
        "name": name,
        "ours_per_s": round(items / ours),
        "reference_per_s": round(items / reference),
        "ratio": round(reference / ours, 3),
        "goal": None,
        "met": None,
        "unit": unit,
    }


def _shares(items: int, wall: float, parse: float, meter: Meter) -> dict[str, object]:
    """Milliseconds per 1,000 events of each part."""
    seconds = meter.seconds
    sqlite = sum(seconds[name] for name in ("sqlite: log", "sqlite: state", "sqlite: record"))
    parts = {
        "parse": parse,
        "judge and tell": seconds["judge and documents"] - seconds["documents"],
        "documents": seconds["documents"],
        **{name: seconds[name] for name in ("sqlite: log", "sqlite: state", "sqlite: record")},
        "commit, fetch, the rest": wall - parse - seconds["judge and documents"] - sqlite,
    }
    shown = {name: round(value / items * 1e6) for name, value in parts.items()}
    counts = ", ".join(f"{name} {number:,}" for name, number in meter.counts.items())
    return {"name": "what bounds it, microseconds per event", **shown, "unit": counts}


if __name__ == "__main__":
    for row in run(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000):
        print(json.dumps(row))
