"""The whole pipeline with every process and server on this machine: indexing, latency, sustained load, one revocation.

    python -m tests.bench.bench_pipeline index [RECORDS]              `serve index`, beside a bare bulk loop
    python -m tests.bench.bench_pipeline flow [EVENTS/S] [SECONDS]    lag under load; HTTP in -> decided, -> searchable;
                                                                      on aiokafka, and on Faust for comparison
    python -m tests.bench.bench_pipeline revocation [CONTAINERS]      one key, so many containers: when are people told?

Servers are started for it, or those that REVET_TEST_KAFKA and REVET_TEST_ELASTICSEARCH name. Every row says how busy
the machine was (`load1`, beside `cores`): a figure of a machine that others use says little about revet.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any, Final, NamedTuple

import aiohttp
import msgspec
from kafka.admin import KafkaAdminClient

from alerting.models import Incident
from streams.clustered import ClusterJudge
from streams.codec import decode, encode
from streams.collectors import Refused, Stream, read_stream
from streams.elastic import AsyncServer, connect, connect_async, url_path
from streams.engine.broker import Slot
from streams.engine.link import KafkaLink
from streams.engine.port import Output, Record
from streams.engine.staterows import StateFold, row_record
from streams.engine.wire import partition_of
from streams.events import ContainerChanged, EvidenceFound
from streams.kafka.plan import wanted_topics
from streams.outputs import output
from streams.shared import Shared
from streams.sinks.document import Document
from streams.sinks.documents import documents
from streams.sinks.mapping import Names
from streams.topics import FACTS, INCIDENTS, OBSERVATIONS, STATE, TRUST
from tests.bench import bench_index
from tests.bench.bench_fleet import Fleet, _policy
from tests.bench.bench_intake import children_of, cpu_of
from tests.helpers.cluster import _Cluster, demo_images
from tests.helpers.crew import Crew, behind, settled, until
from tests.helpers.disturbed import cluster_of
from tests.helpers.elasticspace import Space
from tests.helpers.pipeline import Cluster
from tests.helpers.process import ROOT, Revet
from tests.helpers.servers import private_broker, private_node
from verifier.trust import changes
from verifier.trust.records import KeyPut, PolicyPut, TrustRecord

Row = dict[str, object]

INDEXING_GOAL: Final = 0.7
RATE: Final = 2000
"""Events per second that the whole has to keep up with."""
DECIDED_GOAL, SEARCHABLE_GOAL, FIRST_ALERT_GOAL = 2.0, 2.5, 2.0
"""Seconds, p99 at half load; seconds from a revocation to the first alert."""
BODY: Final = 100
WARM: Final = 12
"""Seconds of the same load before anything is measured."""
PROBE_EVERY: Final = 0.25
PER_DIGEST: Final = 100


@contextmanager
def installation(name: str) -> Iterator[tuple[Cluster, Path]]:
    """Topics and indices of its own, and a folder."""
    kafka, elastic = os.environ.get("REVET_TEST_KAFKA"), os.environ.get("REVET_TEST_ELASTICSEARCH")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"revet-{name}-")))
        if not kafka:
            kafka = stack.enter_context(private_broker(heap="512m", quick=False)).bootstrap
        if not elastic:
            elastic = stack.enter_context(private_node(heap="1g", quick=False)).url
        yield cluster_of(kafka, elastic, folder), folder


def row(name: str, ours: float, reference: float | None, goal: float | None, **more: object) -> Row:
    """One row; with a reference the ratio is what the goal is about."""
    ratio = ours / reference if reference else None
    judged = ratio if ratio is not None else ours
    return {
        "name": name, "ours_per_s": ours, "reference_per_s": reference, "ratio": ratio, "goal": goal,
        "met": None if goal is None else judged >= goal, **more, **busy(),
    }  # fmt: skip


def seconds_row(name: str, seconds: float, goal: float, **more: object) -> Row:
    """A row whose figure is a time; less is better."""
    return {"name": name, "seconds": round(seconds, 3), "goal": goal, "met": seconds <= goal, **more, **busy()}


def busy() -> Row:
    """What else the machine was doing."""
    return {"load1": round(os.getloadavg()[0], 1), "cores": os.cpu_count()}


def percentile(values: Sequence[float], part: float) -> float:
    """Of sorted values; infinite when there are none."""
    kept = sorted(values)
    return kept[min(len(kept) - 1, int(len(kept) * part))] if kept else float("inf")


# ------------------------------------------------------------------------------------------------------------ indexing


def containers(number: int, mark: str) -> list[ContainerChanged]:
    """As the judge says them when pods start."""
    return [
        msgspec.structs.replace(bench_index.CONTAINER, id=f"{mark}{n:07}", pod_uid=f"{mark}uid-{n}", pod=f"api-{n}")
        for n in range(number)
    ]


def run_index(records: int = 50_000) -> list[Row]:
    """`serve index` from the first record on the topic to the last one in Elasticsearch, beside a bare bulk loop that
    has the documents already.
    """
    with installation("index") as (cluster, _):
        bare_bulk(cluster.settings.elasticsearch.nodes[0], [d for e in containers(10_000, "w") for d in documents(e)])
        made = [document for event in containers(records, "b") for document in documents(event)]
        seconds, cpu = asyncio.run(_indexed(cluster, records))
        bare, bare_cpu = bare_bulk(cluster.settings.elasticsearch.nodes[0], made)
    rate = len(made) / seconds
    note = {"documents": len(made), "cpu_us_per_document": round(cpu / len(made) * 1e6, 1)}
    return [
        row(
            "serve index: Kafka -> acknowledged documents", rate, bare, INDEXING_GOAL,
            **note, bare_cpu_us_per_document=round(bare_cpu / len(made) * 1e6, 1),
        ),
    ]  # fmt: skip


def bare_bulk(url: str, made: list[Document]) -> tuple[float, float]:
    """(documents per second, CPU seconds) of a loop that does nothing but send them."""
    space = Space.fresh(url)
    space.set_up()
    began, cpu = time.perf_counter(), time.process_time()
    asyncio.run(bench_index.bare(space, made))
    seconds, spent = time.perf_counter() - began, time.process_time() - cpu
    space.close()
    return len(made) / seconds, spent


async def _indexed(cluster: Cluster, records: int) -> tuple[float, float]:
    """(seconds, CPU seconds) in which the indexer wrote what lay on the topic."""
    await cluster.link.start()
    await send(cluster, [output(event) for event in containers(records, "a")])
    await cluster.link.stop()
    began, cpu = time.perf_counter(), time.process_time()
    async with cluster.running("index"):
        (meter,) = cluster.meters
        handled = 0
        while handled < records:
            handled = sum(at for slot, at in meter.positions.items() if slot.topic != "revet.heartbeats")
            if not handled:
                began, cpu = time.perf_counter(), time.process_time()
            await asyncio.sleep(0.01)
        return time.perf_counter() - began, time.process_time() - cpu


async def send(cluster: Cluster, outputs: Sequence[Output], at_once: int = 5000) -> None:
    """Many records, some at a time."""
    for start in range(0, len(outputs), at_once):
        await cluster.send(outputs[start : start + at_once])


# ---------------------------------------------------------------------------------------------------------------- flow


class Fed(NamedTuple):
    """What a cluster says within a second: bodies for the webhook, and what its watch comes to."""

    bodies: tuple[bytes, ...]
    pods: tuple[Output, ...]
    events: int


def seconds_of(rate: int, seconds: int) -> list[Fed]:
    """A cluster that says `rate` things every second, audit events and pod changes in the proportion of a real one."""
    audit, watch = BytesIO(), BytesIO()
    now = time.time()
    made = _Cluster(audit, watch, demo_images(), random.Random(4), 12, seconds / (rate * seconds), now=now)
    made.begin()
    stream = Stream(cluster="c1", source="watch:c1")
    found: list[Fed] = []
    for number in range(seconds):
        while made.items < rate * (number + 1):
            made.step()
        lines = [line for line in audit.getvalue().splitlines() if line.startswith(b'{"kind":"Event","apiVersion"')]
        whole = [line for line in lines if line.endswith(b"}")]
        bodies = tuple(body_of(whole[n : n + BODY]) for n in range(0, len(whole), BODY))
        seen = [i for i in read_stream([watch.getvalue()], kind="pods") if not isinstance(i, Refused)]
        pods = tuple(output(o) for item in seen for o in stream.observe(item))
        found.append(Fed(bodies, pods, len(whole) + len(seen)))
        for file in (audit, watch):
            file.seek(0)
            file.truncate()
    return found


def body_of(lines: Sequence[bytes]) -> bytes:
    """What an API server posts."""
    return b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[' + b",".join(lines) + b"]}"


def probe_body(number: int) -> bytes:
    """One admission that a webhook of its own let through unchecked: an incident of its own."""
    audit = BytesIO()
    made = _Cluster(audit, BytesIO(), demo_images(), random.Random(f"probe {number}"), 12, 1.0, now=time.time())
    made.serial = 90_000_000 + number
    made.failed_open()
    return body_of([audit.getvalue().strip().replace(b"verify.example.com", probe_name(number).encode())])


def probe_name(number: int) -> str:
    return f"probe-{number:05}.example.com"


class Probes:
    """When each was sent, decided and found."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.sent: dict[str, float] = {}
        self.decided: dict[str, float] = {}
        self.found: dict[str, float] = {}

    async def watch_incidents(self, link: KafkaLink) -> None:
        """The alerter's decisions, as they come."""
        async for some in link.follow([Slot(INCIDENTS, 0)]):
            for record in some.records:
                event = decode(record.value)
                name = (
                    re.search(r"probe-\d{5}\.example\.com", f"{event.subject} {event.message}")
                    if isinstance(event, Incident)
                    else None
                )
                if name is not None:
                    self.decided.setdefault(name[0], time.perf_counter())

    async def watch_record(self, server: AsyncServer) -> None:
        """What a search finds, asked ten times a second."""
        target = url_path(Names(self._cluster.settings.elasticsearch.namespace).target("admission"), "_search")
        while True:
            await asyncio.sleep(0.1)
            waiting = [name for name in self.sent if name not in self.found][:200]
            query = {"terms": {"provenance.admission.failed_open": waiting}}
            body = {"size": 200, "query": query, "_source": ["provenance.admission.failed_open"]}
            answer = await server.call("POST", target, body=body, accept=(404,))
            for hit in answer.body["hits"]["hits"] if answer.status == 200 else ():
                value = hit["_source"]["provenance.admission.failed_open"]
                for name in [value] if isinstance(value, str) else value:
                    self.found.setdefault(name, time.perf_counter())

    def took(self, ends: dict[str, float]) -> list[float]:
        """Seconds from sending; those that never came count as infinite."""
        return [ends.get(name, float("inf")) - at for name, at in self.sent.items()]


class Cost(NamedTuple):
    """What a part of it cost, from the first event to the last document."""

    cpu_us: float
    """Microseconds of CPU time for an event that came in."""
    memory_mb: float
    """Resident at the end."""


class Flow(NamedTuple):
    """What was seen."""

    events: int
    seconds: float
    lags: list[int]
    """Records that waited, each second."""
    drained: float
    """Seconds after the last event until all was in the record."""
    probes: Probes
    costs: dict[str, Cost]
    """Of each process."""
    kafka_bytes: float
    """In the logs of all topics, for an event; without copies."""
    record_bytes: float
    """In the indices, for an event; without copies."""


def run_flow(rate: int = RATE, seconds: int = 15) -> list[Row]:
    """Sustained at `rate`, then latency at half of it; on the engine for busy clusters, and on the default one."""
    return [*_flow_rows("aiokafka", rate, seconds, judged=True), *_flow_rows("faust", rate, seconds, judged=False)]


def _flow_rows(engine: str, rate: int, seconds: int, *, judged: bool) -> list[Row]:
    full = _flow(engine, rate, seconds, probing=False)
    half = _flow(engine, rate // 2, seconds, probing=True)
    middle, last = max(full.lags[: len(full.lags) // 2], default=0), full.lags[-1] if full.lags else 0
    growing = max(last - middle, 0) / seconds
    sustained = row(
        f"sustained {rate:,} events/s on {engine}: in, judged, alerted, in the record",
        full.events / (full.seconds + full.drained), None, rate * 0.98 if judged else None,
        sent_per_s=round(full.events / full.seconds),
        lag_middle=middle, lag_end=last, drained_s=round(full.drained, 1), seconds=round(full.seconds, 1),
        bounded=growing < rate * 0.05,
    )  # fmt: skip
    costs: Row = {f"{part}_cpu_us": round(cost.cpu_us, 1) for part, cost in full.costs.items()}
    costs |= {f"{part}_mb": round(cost.memory_mb) for part, cost in full.costs.items()}
    sizes: Row = {"kafka_bytes": round(full.kafka_bytes), "record_bytes": round(full.record_bytes)}
    costed = row(f"what an event costs on {engine}", full.events / full.seconds, None, None, **costs, **sizes)
    decided, found = half.probes.took(half.probes.decided), half.probes.took(half.probes.found)
    return [
        sustained,
        costed,
        seconds_row(
            f"HTTP in -> alert decided, p99 at half load, {engine}", percentile(decided, 0.99), DECIDED_GOAL,
            p50=round(percentile(decided, 0.5), 3), probes=len(decided), rate=round(half.events / half.seconds),
        ),
        seconds_row(
            f"HTTP in -> searchable, p99 at half load, {engine}", percentile(found, 0.99), SEARCHABLE_GOAL,
            p50=round(percentile(found, 0.5), 3), probes=len(found), rate=round(half.events / half.seconds),
        ),
    ]  # fmt: skip


def _flow(engine: str, rate: int, seconds: int, *, probing: bool) -> Flow:
    fed = seconds_of(rate, WARM + seconds)
    environ = {"REVET_KAFKA_ENGINE": engine}
    with installation("flow") as (cluster, _), Crew(cluster, "judge", "fetch", "index", "alert", **environ) as crew:
        listening = {**cluster.environ, **environ, "REVET_LISTEN_ADDRESS": "127.0.0.1:0", "REVET_CLUSTER": "c1"}
        with Revet("serve", "audit", cwd=ROOT, **listening) as collector:
            address = collector.said(r"url=(http://\S+/audit)", 120)
            pids = {member.part: member.pid for member in crew.members} | {"audit": collector.process.pid}
            return asyncio.run(_flowing(cluster, crew, f"{address}/c1", fed, pids, probing=probing))


async def _flowing(
    cluster: Cluster, crew: Crew, url: str, fed: Sequence[Fed], pids: dict[str, int], *, probing: bool
) -> Flow:
    probes, lags = Probes(cluster), [0]
    await cluster.link.start()
    await crew.ready()
    async with aiohttp.ClientSession() as session, connect_async(cluster.settings.elasticsearch) as server:
        # Servers on a virtual machine that compiles itself begin slowly.
        await _paced(cluster, session, url, fed[:WARM])
        await settled(cluster, crew, looks=1, seconds=600)
        everything = sum(second.events for second in fed)
        fed = fed[WARM:]
        before = {part: cpu_of(pid) for part, pid in pids.items()}
        async with beside(probes.watch_incidents(cluster.link), probes.watch_record(server), _lags(cluster, lags)):
            began = time.perf_counter()
            probing_task = asyncio.create_task(_probe(session, url, probes, len(fed))) if probing else None
            await _paced(cluster, session, url, fed)
            took = max(time.perf_counter() - began, float(len(fed)))
            if probing_task is not None:
                await probing_task
                with suppress(AssertionError):
                    await until(lambda: len(probes.decided) == len(probes.sent) == len(probes.found), 60, str)
        ended = time.perf_counter()
        await settled(cluster, crew, looks=1, seconds=600)
        drained = time.perf_counter() - ended
    await cluster.link.stop()
    events = sum(second.events for second in fed)
    costs = {part: Cost((cpu_of(pid) - before[part]) / events * 1e6, memory_of(pid)) for part, pid in pids.items()}
    kafka, record = await asyncio.to_thread(stored_bytes, cluster)
    return Flow(events, took, lags, drained, probes, costs, kafka / everything, record / everything)


def memory_of(process: int) -> float:
    """Megabytes resident, of a process and its children."""
    pages = [int(Path(f"/proc/{one}/statm").read_text().split()[1]) for one in (process, *children_of(process))]
    return sum(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6


def sizes_in(found: Any) -> Iterator[int]:
    """Every partition's size in an answer of DescribeLogDirs, wherever its client puts it."""
    if isinstance(found, dict):
        if "partition_size" in found:
            yield int(found["partition_size"])
        found = list(found.values())
    if isinstance(found, list | tuple):
        for one in found:
            yield from sizes_in(one)


def stored_bytes(cluster: Cluster) -> tuple[int, int]:
    """Bytes in the logs of the topics, and in the indices once they are merged to what they would be at rest."""
    settings = cluster.settings
    client = KafkaAdminClient(bootstrap_servers=settings.kafka.bootstrap)
    found = client.describe_log_dirs([topic.name for topic in wanted_topics(settings.kafka)])
    client.close()
    kafka = sum(sizes_in(found))
    names = Names(settings.elasticsearch.namespace)
    everything = f"{names.all_history},{names.all_state}"
    with connect(settings.elasticsearch) as server:
        server.call("POST", url_path(everything, "_forcemerge"), params={"max_num_segments": "1"})
        answer = server.call("GET", url_path(everything, "_stats", "store"))
    return kafka, int(answer.body["_all"]["primaries"]["store"]["size_in_bytes"])


async def _paced(cluster: Cluster, session: aiohttp.ClientSession, url: str, fed: Sequence[Fed]) -> None:
    """A second's worth every second, or as fast as it is taken."""
    began = time.perf_counter()
    for number, second in enumerate(fed):
        await asyncio.sleep(max(0.0, began + number - time.perf_counter()))
        await asyncio.gather(cluster.send(second.pods), *(post(session, url, body) for body in second.bodies))


@asynccontextmanager
async def beside(*works: Coroutine[object, object, None]) -> AsyncIterator[None]:
    """Work that goes on meanwhile."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def post(session: aiohttp.ClientSession, url: str, body: bytes) -> None:
    """Until it is durable."""
    async with session.post(url, data=body) as answer:
        assert answer.status == 200, answer.status


async def _probe(session: aiohttp.ClientSession, url: str, probes: Probes, seconds: int) -> None:
    for number in range(int(seconds / PROBE_EVERY)):
        body = probe_body(number)
        probes.sent[probe_name(number)] = time.perf_counter()
        await post(session, url, body)
        await asyncio.sleep(PROBE_EVERY)


async def _lags(cluster: Cluster, lags: list[int]) -> None:
    """Every second: what the groups have not done with."""

    while True:
        waiting, _ = await behind(cluster)
        lags.append(sum(waiting.values()))
        await asyncio.sleep(1)


# ---------------------------------------------------------------------------------------------------------- revocation


def run_revocation(number: int = 100_000) -> list[Row]:
    """State of so many containers is put where the judge restores it from; then their common key is revoked."""
    with installation("revocation") as (cluster, folder):
        del folder
        fleet = Fleet(max(1, number // PER_DIGEST))
        with Crew(cluster, "judge", "index", "alert") as crew:
            for member in crew.members:  # they start when everything lies where they look for it
                member.end(signal.SIGKILL)
            alerted, done = asyncio.run(_revoked(cluster, crew, fleet))
        made = [document for event in containers(number, "b") for document in documents(event)][: 2 * number : 2]
        bare, _ = bare_bulk(cluster.settings.elasticsearch.nodes[0], made)
    total = fleet.digests * PER_DIGEST
    return [
        seconds_row("one revocation: first alert decided", alerted, FIRST_ALERT_GOAL, containers=total),
        row(
            "one revocation: containers rewritten in the record", total / done, bare, None,
            seconds=round(done, 1), containers=total,
        ),
    ]  # fmt: skip


async def _revoked(cluster: Cluster, crew: Crew, fleet: Fleet) -> tuple[float, float]:
    """(seconds to the first alert, seconds until the record shows all of it)."""
    await cluster.link.start()
    now = time.time_ns() // 1000
    kept = [r for r in _trust_of(fleet) if isinstance(r, KeyPut) or (isinstance(r, PolicyPut) and r.policy.id == "all")]
    await cluster.trust(kept, now)
    await preload(cluster, fleet)
    crew.start()
    await crew.ready(600)
    log = crew.of("judge")[0]
    await until(lambda: log.err().count(" restored ") == cluster.shards, 600, crew.told)
    await settled(cluster, crew, seconds=600)
    seen: list[float] = []
    trust = cluster.gate.trust
    by = changes.By("alice", time.time_ns() // 1000)
    act = changes.revoke(trust, by, "key", "common", reason="keyCompromise", all_signatures=True)
    async with beside(_first_alert(cluster.link, seen)):
        await asyncio.sleep(2)
        began = time.perf_counter()
        await cluster.trust([act], by.at)
        await until(lambda: bool(seen), 600, crew.told, pause=0.02)
    await settled(cluster, crew, looks=1, seconds=1200)
    done = time.perf_counter() - began
    await cluster.link.stop()
    return seen[0] - began, done


def _trust_of(fleet: Fleet) -> list[TrustRecord]:
    """What the fleet's trust was made of, as far as one policy needs it."""
    at = 1_795_000_000_000_000
    keys = [KeyPut(author="alice", at=at, name=n, key_id=s.key_id, pem=s.pem) for n, s in fleet.signers.items()]

    return [*keys, PolicyPut(author="alice", at=at, policy=_policy("all", "r.example/**", ("common",)))]


async def _first_alert(link: KafkaLink, seen: list[float]) -> None:
    async for some in link.follow([Slot(INCIDENTS, 0)]):
        if any(isinstance(e := decode(r.value), Incident) and e.kind == "key-revoked" for r in some.records):
            seen.append(time.perf_counter())
            return


async def preload(cluster: Cluster, fleet: Fleet) -> None:
    """Facts on their topic, rows of every shard on theirs: as if it had run for long."""
    shared = Shared(cluster.gate)
    async for batch in cluster.link.read(
        Slot(TRUST, 0), 0, (await cluster.link.ends([Slot(TRUST, 0)]))[Slot(TRUST, 0)]
    ):
        shared.take(batch)
    facts = [_fact(fleet, number, cluster) for number in range(fleet.digests)]
    for position, event in enumerate(facts):
        made = output(event)
        shared.take([Record(position, FACTS, 0, made.key, made.id, encode(event), event.time)])
    await send(cluster, [output(event) for event in facts])
    judges = [ClusterJudge(shard, cluster.shards, shared) for shard in range(cluster.shards)]
    for judge in judges:
        judge.restore(())
    rows: list[dict[tuple[str, str], bytes | None]] = [{} for _ in judges]
    for number in range(fleet.digests):
        pods = [fleet.pod(number, replica) for replica in range(PER_DIGEST)]
        made_of = [output(pod) for pod in pods]
        shard = partition_of(made_of[0].key, cluster.shards)
        given = [Record(n, OBSERVATIONS, shard, o.key, o.id, encode(o.event), o.time) for n, o in enumerate(made_of)]
        rows[shard].update(judges[shard].process(given).newest())
    now = time.time_ns() // 1_000_000
    for shard, kept in enumerate(rows):
        owner = StateFold().next_owner("preload", now - 60_000)
        wires = [row_record(STATE, shard, owner, *key, value) for key, value in kept.items()]
        for start in range(0, len(wires), 5000):
            for future in [await cluster.link.send(wire) for wire in wires[start : start + 5000]]:
                await future


def _fact(fleet: Fleet, number: int, cluster: Cluster) -> EvidenceFound:
    """The fleet's evidence, under the candidates of this installation's trust."""
    found = fleet.evidence(number)
    keyset = cluster.gate.trust.keyset_id
    facts = tuple(msgspec.structs.replace(fact, keyset=keyset) for fact in found.facts)
    return msgspec.structs.replace(found, set=msgspec.structs.replace(found.set, keyset=keyset), facts=facts)


def run(records: int = 50_000, rate: int = RATE, seconds: int = 15, number: int = 100_000) -> list[Row]:
    """All of it."""
    return [*run_index(records), *run_flow(rate, seconds), *run_revocation(number)]


def quick() -> list[Row]:
    """Small enough to see that it works; the figures say little."""
    return run(5_000, 200, 5, 2_000)


PARTS: Final[dict[str, Callable[..., list[Row]]]] = {
    "index": run_index, "flow": run_flow, "revocation": run_revocation, "all": run,
}  # fmt: skip

if __name__ == "__main__":
    chosen, *sizes = sys.argv[1:] or ["all"]
    for line in PARTS[chosen](*map(int, sizes)):
        print(json.dumps(line))
