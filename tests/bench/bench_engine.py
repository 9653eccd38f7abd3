"""The engine on Kafka beside bare loops of its own kinds, and a shard of 300,000 containers brought back.

    python -m tests.bench.bench_engine [EVENTS [CONTAINERS]]

A worker that hands every record to a processor that does nothing, against the least that loses nothing with the same
client: `getmany` with a commit for each answer, and an agent of Faust that acknowledges every event in order. Each in a
process of its own, over the same records; rounds alternate and the best of each counts. The ratio is that of CPU time,
which a busy machine distorts least; events per second are told beside. What the judge's handlers cost is a row apart.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from streams.clustered import REACHED, ClusterJudge
from streams.codec import encode
from streams.engine.link import KafkaLink
from streams.engine.port import Record
from streams.engine.staterows import Owner, row_record
from streams.engine.wire import WireRecord, partition_of, to_wire
from streams.events import EvidenceWanted, TrustChanged
from streams.handlers import handle
from streams.outputs import output
from streams.settings import KafkaSettings
from streams.shared import Shared
from streams.topics import OBSERVATIONS, STATE, TOPICS, TRUST
from streams.trustlog import TrustGate
from tests.bench.bench_fleet import Fleet
from tests.helpers.engineworld import kafka_settings, make_topics
from tests.helpers.servers import private_broker
from tests.helpers.trustadmins import ALICE, gate, next_of
from verifier.trust.records import TrustRecord

GOAL = 0.8
"""Of the bare loop's events per CPU second."""
RESTORE_SECONDS = 15.0
EVENTS = 100_000
CONTAINERS = 300_000
SHARDS = 8
ROUNDS = 3
BYTES = 1000
PAIRS = (("aiokafka", "getmany"), ("faust", "agent"))
ROOT = Path(__file__).parents[2]

Row = dict[str, object]


def child(kind: str, settings: KafkaSettings, events: int) -> dict[str, float]:
    """One run of one loop; a group of its own, so that it begins with the oldest record."""
    command = [
        sys.executable, "-m", "tests.bench.engine_child", kind, settings.bootstrap, settings.prefix,
        str(settings.partitions), str(events), f"g{time.monotonic_ns()}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, timeout=600)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


async def write(settings: KafkaSettings, records: Iterable[WireRecord]) -> None:
    link = KafkaLink(settings)
    await link.start()
    waiting: list[asyncio.Future[int]] = []
    for record in records:
        waiting.append(await link.send(record))
        if len(waiting) >= 2000:
            await asyncio.gather(*waiting)
            waiting.clear()
    await asyncio.gather(*waiting)
    await link.stop()


def observations(events: int) -> Iterator[WireRecord]:
    """Records of a thousand bytes, spread over the partitions."""
    value = b"x" * BYTES
    for number in range(events):
        key = f"c1/team-{number % 50}/Deployment/app-{number % 500}"
        headers = (("id", b"event-%d" % number), ("time", b"1795000000000000"))
        yield WireRecord(OBSERVATIONS, partition_of(key, SHARDS), key.encode(), value, headers)


def engines(bootstrap: str, events: int) -> list[Row]:
    settings = kafka_settings(bootstrap, SHARDS)
    asyncio.run(make_topics(settings, (OBSERVATIONS, STATE)))
    asyncio.run(write(settings, observations(events)))
    best: dict[str, tuple[float, float]] = {}
    for _ in range(ROUNDS):
        for kind in (kind for pair in PAIRS for kind in pair):
            took = child(kind, settings, events)
            each = took["cpu"] / took["events"], took["seconds"] / took["events"]
            best[kind] = min(each[0], best.get(kind, each)[0]), min(each[1], best.get(kind, each)[1])
    return [_row(ours, bare, best) for ours, bare in PAIRS]


def _row(ours: str, bare: str, best: dict[str, tuple[float, float]]) -> Row:
    ratio = best[bare][0] / best[ours][0]
    return {
        "name": f"engine on {ours} / bare {bare}, events per CPU second",
        "ours_per_s": 1 / best[ours][0], "reference_per_s": 1 / best[bare][0],
        "ratio": ratio, "goal": GOAL, "met": ratio >= GOAL,
        "CPU us/event": best[ours][0] * 1e6, "bare CPU us/event": best[bare][0] * 1e6,
        "events/s": 1 / best[ours][1], "bare events/s": 1 / best[bare][1],
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ a fleet


class Kept(Fleet):
    """A fleet that keeps what a shard stores of it."""

    def __init__(self, digests: int) -> None:
        self.rows: dict[tuple[str, str], bytes | None] = {}
        self.log: list[TrustRecord] = []
        super().__init__(digests)

    def change(self, record: TrustRecord) -> None:
        self.log.append(record)
        super().change(record)

    def settle(self, replicas: int) -> None:
        for number in range(self.digests):
            for replica in range(replicas):
                for out in handle(self.state, self.pod(number, replica)):
                    if isinstance(out, EvidenceWanted):
                        list(handle(self.state, self.evidence(number)))
            self.rows.update({(kind, key): value for kind, key, value in self.state.take_dirty()})


def trust_log(fleet: Kept) -> list[TrustChanged]:
    """The records of a fleet's trust, signed."""
    return next_of(gate(ALICE), *fleet.log)


def gate_of(fleet: Kept) -> TrustGate:
    """A gate that has taken them."""
    found = gate(ALICE)
    for number, event in enumerate(trust_log(fleet)):
        found.take(Record(number, TRUST, 0, "", event.id, encode(event), event.time))
    return found


# ------------------------------------------------------------------------------------------------------------- handlers


def handlers(events: int) -> Row:
    """What the judge does with an observation of a pod: decoding, joining, judging, encoding rows and outputs."""
    fleet = Kept(500)
    judge = ClusterJudge(0, 1, Shared(gate_of(fleet)))
    judge.state = fleet.state
    made = [output(fleet.pod(number % 500, number // 500)) for number in range(events)]
    records = [Record(n, OBSERVATIONS, 0, out.key, out.id, encode(out.event), out.time) for n, out in enumerate(made)]
    for number in range(500):
        list(handle(fleet.state, fleet.evidence(number)))
    gc.collect()
    began = time.process_time()
    said = rows = 0
    for at in range(0, len(records), 200):
        effects = judge.process(records[at : at + 200])
        said, rows = said + len(effects.outputs), rows + len(effects.newest())
    each = (time.process_time() - began) / len(records)
    return {
        "name": "handlers of the judge, per observation of a new pod", "ours_per_s": 1 / each,
        "CPU us/event": each * 1e6, "outputs/event": said / len(records), "rows/event": rows / len(records),
    }  # fmt: skip


# -------------------------------------------------------------------------------------------------------------- restore


def restore(bootstrap: str, containers: int) -> Row:
    """From the start of the worker to a shard that may judge: broadcast read whole, rows read and folded, judged."""
    digests = max(1, containers // 20)
    fleet = Kept(digests)
    fleet.settle(20)
    settings = kafka_settings(bootstrap, 1)
    asyncio.run(make_topics(settings, tuple(TOPICS)))
    asyncio.run(write(settings, fleet_records(fleet)))
    del fleet
    took = child("restore", settings, containers)
    return {
        "name": f"a shard of {containers:,} containers restored, seconds", "goal": RESTORE_SECONDS,
        "met": took["restored"] <= RESTORE_SECONDS, "seconds": took["restored"], "CPU seconds": took["cpu"],
        "of which broadcast": took["whole"], "rows": took["rows"],
    }  # fmt: skip


def fleet_records(fleet: Kept) -> Iterator[WireRecord]:
    for event in trust_log(fleet):
        yield to_wire(output(event), 1)
    for number in range(fleet.digests):
        yield to_wire(output(fleet.evidence(number)), 1)
    owner = Owner(1, "bench")
    rows = {key: value for key, value in fleet.rows.items() if key[0] != "image"}
    rows[REACHED, ""] = msgspec.msgpack.encode(fleet.epoch)
    for (kind, key), value in rows.items():
        yield row_record(STATE, 0, owner, kind, key, value)


def run(events: int = EVENTS, containers: int = CONTAINERS) -> list[Row]:
    """Rows for the report."""
    given = os.environ.get("REVET_TEST_KAFKA")
    if given:
        return _rows(given, events, containers)
    with private_broker(heap="512m") as broker:
        return _rows(broker.bootstrap, events, containers)


def _rows(bootstrap: str, events: int, containers: int) -> list[Row]:
    return [*engines(bootstrap, events), handlers(min(events, 20_000)), restore(bootstrap, containers)]


if __name__ == "__main__":
    for line in run(*map(int, sys.argv[1:])):
        print(json.dumps(line))
