"""The clustered mode on real servers for tests: topics and indices of its own, processes in this process or beside it.

cluster = Cluster(bootstrap, url, tmp_path)
cluster.prepare()
async with cluster.running("judge", "fetch", "index", "alert"):
    await cluster.send(outputs); await cluster.quiet()
with cluster.reader() as reader: ...
"""

from __future__ import annotations

import asyncio
import base64
import os
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

from streams.codec import encode
from streams.elastic import connect
from streams.engine.broker import Slot
from streams.engine.link import KafkaLink
from streams.engine.port import Output, Record
from streams.engine.wire import WireRecord, to_wire
from streams.events import TrustChanged
from streams.kafka.admin import KafkaAdmin
from streams.kafka.plan import compare, wanted_topics
from streams.queries.elasticsearch import ElasticsearchReader
from streams.queries.port import RecordReader
from streams.serving import alerting, fetching, indexing, judging, wiring
from streams.serving.process import Process
from streams.settings import Settings, load_settings
from streams.sinks.mapping import Names
from streams.sinks.setup import setup
from streams.topics import CLUSTER_SIGHT, TOPICS, TRUST
from streams.trustlog import TrustGate, gate_of
from tests.helpers.fresh import fresh_namespace, fresh_prefix
from tests.helpers.trustadmins import ALICE, signed
from verifier.trust.records import TrustRecord

MAINS: Final = {
    "judge": judging.judge,
    "fetch": fetching.fetch,
    "index": indexing.index,
    "alert": alerting.alert,
}
_MODULES: Final = {"judge": judging, "fetch": fetching, "index": indexing, "alert": alerting}
KEY: Final = base64.b64encode(ALICE.administrator.key).decode()


class Cluster:
    """One installation: a topic prefix and a namespace nobody else has."""

    def __init__(self, bootstrap: str, url: str, folder: Path, shards: int = 4, **environ: str) -> None:
        self.folder = folder
        self.shards = shards
        self.environ = {
            "REVET_KAFKA_BOOTSTRAP": bootstrap,
            "REVET_KAFKA_PREFIX": fresh_prefix(bootstrap),
            "REVET_KAFKA_PARTITIONS": str(shards),
            "REVET_KAFKA_ENGINE": "aiokafka",
            "REVET_KAFKA_SESSION_TIMEOUT_SECONDS": "6",
            "REVET_ELASTICSEARCH_URL": url,
            "REVET_ELASTICSEARCH_NAMESPACE": fresh_namespace(url, "t"),
            "REVET_ELASTICSEARCH_REPLICAS": "0",
            "REVET_ADMINISTRATORS_KEYS": f"alice={KEY}",
            "REVET_SERVE_OPERATIONS": "",
            "REVET_EVIDENCE_STORE": f"directory:{folder / 'evidence'}",
            **environ,
        }
        self.settings: Settings = load_settings(self._file(), self.environ, {})
        self.gate: TrustGate = gate_of(self.settings.administrators)
        self.link = KafkaLink(self.settings.kafka)
        self.meters: list[wiring.ProcessMeter] = []
        self._epoch_at = 0

    def _file(self) -> Path:
        file = self.folder / "cluster.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("{}\n")
        return file

    # ------------------------------------------------------------------ servers

    def prepare(self) -> None:
        """Topics and indices."""
        with KafkaAdmin(self.settings.kafka) as admin:
            wanted = wanted_topics(self.settings.kafka)
            admin.apply(compare(wanted, admin.topics([topic.name for topic in wanted])))
        if self.settings.elasticsearch.nodes:
            with connect(self.settings.elasticsearch) as server:
                setup(server, self.settings.elasticsearch)

    @contextmanager
    def reader(self) -> Iterator[RecordReader]:
        """The record, with everything that was written."""
        with connect(self.settings.elasticsearch) as server:
            reader = ElasticsearchReader(server, Names(self.settings.elasticsearch.namespace))
            reader.refresh()
            yield reader

    # ------------------------------------------------------------------ in

    async def send(self, outputs: Sequence[Output]) -> None:
        """Durable when this returns."""
        now = time.time_ns() // 1_000_000
        for future in [await self.link.send(to_wire(out, self.shards, 0, now)) for out in outputs]:
            await future

    async def trust(self, records: Sequence[TrustRecord], at: int) -> list[TrustChanged]:
        """Append signed entries to the trust log, and fold them here."""
        events = [signed(prepared.entry, ALICE) for prepared in self.gate.prepare(records, at)]
        for event in events:
            head = (("id", event.id.encode()), ("time", b"%d" % event.time))
            position = await (await self.link.send(WireRecord(TRUST, 0, b"", encode(event), head)))
            found = self.gate.take(Record(position, TRUST, 0, "", event.id, encode(event), event.time))
            assert isinstance(found, TrustChanged), found
        return events

    # ------------------------------------------------------------------ processes

    @asynccontextmanager
    async def running(self, *names: str) -> AsyncIterator[list[Process]]:
        """Processes of the clustered mode inside this one, and a link to write with."""
        await self.link.start()
        made: list[Process] = []
        tasks: list[asyncio.Task[None]] = []
        patched = {name: vars(_MODULES[name])["ProcessMeter"] for name in names}
        try:
            for name in names:
                vars(_MODULES[name])["ProcessMeter"] = self._meter
                made.append(Process(name, self.settings))
                tasks.append(asyncio.create_task(made[-1].watched(MAINS[name])))
            await self._ready(made, tasks)
            self._running = tasks
            yield made
        finally:
            for process in made:
                process.stop.set()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            for name, meter in patched.items():
                vars(_MODULES[name])["ProcessMeter"] = meter
            await self.link.stop()
        for one in ended:
            if isinstance(one, BaseException):
                raise one

    def _meter(self, process: Process, component: wiring.Component) -> wiring.ProcessMeter:
        meter = wiring.ProcessMeter(process, component)
        self.meters.append(meter)
        return meter

    @staticmethod
    async def _ready(made: Sequence[Process], tasks: Sequence[asyncio.Task[None]]) -> None:
        async with asyncio.timeout(60):
            while not all(process.health.report().ready for process in made):
                _raise_ended(tasks)
                await asyncio.sleep(0.05)

    async def quiet(self, still: int = 3, pause: float = 0.02) -> dict[Slot, int]:
        """Wait until nothing moves any more: every reader is at every end, several looks long."""
        topics = [topic for topic in TOPICS.values() if topic.name != CLUSTER_SIGHT]
        slots = [Slot(topic.name, number) for topic in topics for number in range(topic.partitions(self.shards))]
        last: dict[Slot, int] = {}
        looks = 0
        async with asyncio.timeout(60):
            while looks < still:
                _raise_ended(self._running)
                ends = await self.link.ends(slots)
                behind = any(
                    position < ends.get(slot, 0) for meter in self.meters for slot, position in meter.positions.items()
                )
                looks = looks + 1 if ends == last and not behind else 0
                last = ends
                await asyncio.sleep(pause)
        return last

    def start(self, *arguments: str, **environ: str) -> subprocess.Popen[bytes]:
        """`revet serve …` beside this process, its output in a file of the folder."""
        log = (self.folder / f"{arguments[0]}-{uuid.uuid4().hex[:6]}.log").open("wb")
        command = [sys.executable, "-c", "from streams.cli import main; main()", "serve", *arguments]
        whole: Mapping[str, Any] = {**os.environ, **self.environ, **environ}
        return subprocess.Popen(command, env=dict(whole), stdout=log, stderr=subprocess.STDOUT, cwd=self.folder)

    def logs(self) -> str:
        """What started processes wrote."""
        return "\n".join(f"--- {path.name}\n{path.read_text()}" for path in sorted(self.folder.glob("*.log")))


def _raise_ended(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        if task.done():
            task.result()
            raise AssertionError("a process ended")
