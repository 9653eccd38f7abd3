"""The ledger of a cluster, on a real broker and a real Elasticsearch: entries before documents, two that seal, a hand
that changes the record, erasure, a check that tells people.
"""

from __future__ import annotations

import asyncio
import functools
import json
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from streams.codec import decode
from streams.elastic import connect, url_path
from streams.engine.port import Output
from streams.events import DecisionObserved, LedgerChecked, LedgerDay, LedgerSealed, LedgerSigned, LedgerWritten, Owner
from streams.kafka.reading import KafkaLog
from streams.ledger import checker
from streams.ledger.chain import Chain
from streams.ledger.checking import AHEAD
from streams.outputs import output
from streams.serving import ledgering
from streams.serving.ledgerplace import ClusterPlace, KafkaLedgerLog, follow
from streams.serving.process import Process
from streams.settings import Settings
from streams.sinks.mapping import Names
from streams.topics import CLUSTER_SIGHT, LEDGER
from tests.helpers.command import Ran, revet
from tests.helpers.pipeline import Cluster
from verifier.canonical import stable_id
from verifier.times import DAY, SECOND

pytestmark = [pytest.mark.needs("kafka", "elasticsearch"), pytest.mark.slow]
T = TypeVar("T")
NOW = time.time_ns() // 1000


def in_loop(test: Callable[..., Coroutine[None, None, None]]) -> Callable[..., None]:
    """A test that is a coroutine, run in a loop of its own."""

    @functools.wraps(test)
    def run(*args: object, **named: object) -> None:
        asyncio.run(test(*args, **named))

    return run


@pytest.fixture
def cluster(kafka_server, elastic_server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    own = {
        "REVET_LEDGER_ENABLED": "true",
        "REVET_LEDGER_KEY_FILE": str(tmp_path / "ledger.pem"),
        "REVET_LEDGER_DIRECTORY": str(tmp_path / "checkpoints"),
        "REVET_LEDGER_SECONDS": "1",
        "REVET_LEDGER_VERIFY_MINUTES": "0",
        "REVET_LEDGER_STATE": str(tmp_path / "ledger.state"),
        "REVET_LEDGER_SLACK": "audit",
    }
    made = Cluster(kafka_server.bootstrap, elastic_server.url, tmp_path, 2, **own)
    made.prepare()
    for name, value in made.environ.items():
        monkeypatch.setenv(name, value)
    return made


def ran(*args: object, code: int = 0) -> Ran:
    """A command that ends with this code."""
    done = revet(*args)
    assert done.code == code, done.err
    return done


def decisions(number: int, first: int = 0) -> list[Output]:
    return [
        output(
            DecisionObserved(
                id=stable_id("admission", "c1", str(n)), time=NOW + n * SECOND // 100, cluster="c1", namespace="shop",
                owner=Owner("Deployment", "api"), outcome="admitted", operation="create", resource="pods",
                name=f"api-{n}", user="ann@example.com",
            )
        )
        for n in range(first, first + number)
    ]  # fmt: skip


def id_of(number: int) -> str:
    return stable_id("admission", "c1", str(number))


def chain_of(settings: Settings) -> Chain:
    chain = Chain()
    follow(KafkaLedgerLog(settings), chain, -1)
    return chain


async def sealed(settings: Settings, entries: int) -> Chain:
    """Wait until so many entries are closed and signed."""
    async with asyncio.timeout(60):
        while True:
            chain = await asyncio.to_thread(chain_of, settings)
            if chain.size >= entries and not chain.pending and chain.number - 1 in chain.checkpoints:
                return chain
            await asyncio.sleep(0.3)


async def until(found: Callable[[], T]) -> T:
    """What is found at last."""
    async with asyncio.timeout(60):
        while True:
            value = await asyncio.to_thread(found)
            if value:
                return value
            await asyncio.sleep(0.3)


async def played(cluster: Cluster, number: int, *more: str) -> None:
    async with cluster.running("index", *more):
        await cluster.send(decisions(number))
        await cluster.quiet()


def refreshed(cluster: Cluster) -> None:
    with cluster.reader():
        pass


@in_loop
async def test_entries_come_before_documents_and_what_is_written_is_sealed(cluster: Cluster, tmp_path: Path) -> None:
    key = ran("ledger", "init", "-o", "json").json["key"]
    process = Process("ledger", cluster.settings)
    task = asyncio.create_task(process.watched(ledgering.ledger))
    await played(cluster, 300)
    chain = await sealed(cluster.settings, 301)
    process.stop.set()
    await task
    refreshed(cluster)
    done = ran("ledger", "verify", "--key", key, "-o", "json")
    found = done.json
    assert (found["fine"], found["records"], found["counts"]) == (True, 300, {})
    assert found["signed"] == chain.number - 1
    assert len(list((tmp_path / "checkpoints").glob("*.txt"))) >= 1

    file, copy = tmp_path / "e.jsonl.gz", tmp_path / "check.py"
    ran("ledger", "export", str(file), "--checker", str(copy))
    assert checker.main([str(file), "--key", key]) == 0
    assert ran("ledger", "verify", "--export", str(file), "--key", key, "-o", "json").json["records"] == 300
    proof = tmp_path / "p.json"
    proof.write_text(ran("ledger", "prove", id_of(17)).out)
    assert checker.main([str(proof), "--key", key]) == 0


@in_loop
async def test_two_that_seal_make_one_chain(cluster: Cluster) -> None:
    """Both hold the key, as two replicas do: one header of each number counts, and everything is sealed once."""
    ran("ledger", "init")
    processes = [Process("ledger", cluster.settings) for _ in range(2)]
    tasks = [asyncio.create_task(one.watched(ledgering.ledger)) for one in processes]
    async with cluster.running("index"):
        for first in range(0, 400, 100):
            await cluster.send(decisions(100, first))
            await asyncio.sleep(1.2)
        await cluster.quiet()
    await sealed(cluster.settings, 401)
    for one in processes:
        one.stop.set()
    await asyncio.gather(*tasks)
    events = [decode(record.value) for record in KafkaLog(cluster.settings.kafka).read(LEDGER)]
    headers = [event for event in events if isinstance(event, LedgerSealed)]
    chain = chain_of(cluster.settings)
    assert chain.number + len(chain.passed_over) == len(headers)
    assert {h.number for h in headers} == set(range(chain.number))
    assert {e.number for e in events if isinstance(e, LedgerSigned)} == set(range(chain.number))
    sight = [decode(record.value) for record in KafkaLog(cluster.settings.kafka).read(CLUSTER_SIGHT)]
    days = {event.id for event in sight if isinstance(event, LedgerDay)}
    assert len(days) == 1, "both say it, under one id"
    refreshed(cluster)
    assert ran("ledger", "verify", "-o", "json").json["fine"]


@in_loop
async def test_a_hand_in_the_store_is_found_and_told(cluster: Cluster) -> None:
    """The standing job says so on the topic that the alerter reads."""
    ran("ledger", "init")
    await played(cluster, 50)
    place = ClusterPlace(cluster.settings)
    place.seal(place.sealer(), NOW)
    refreshed(cluster)
    _change(cluster, id_of(17))
    done = ran("ledger", "verify", "-o", "json", code=1)
    (problem,) = done.json["problems"]
    assert (problem["kind"], problem["id"], problem["batch"]) == ("record-changed", id_of(17), 1)
    ledger = cluster.settings.ledger.model_copy(update={"verify_minutes": 1})
    process = Process("ledger", cluster.settings.model_copy(update={"ledger": ledger}))
    task = asyncio.create_task(process.watched(ledgering.ledger))
    told = await until(lambda: _told(cluster))
    process.stop.set()
    await task
    assert told[0].problems == 1
    assert id_of(17) in told[0].worst


@in_loop
async def test_documents_from_before_the_ledger_get_their_entries_when_it_begins(cluster: Cluster) -> None:
    """An upgrade: the topic is younger than the record."""
    await played(cluster, 40)
    assert list(KafkaLog(cluster.settings.kafka).read(LEDGER))
    refreshed(cluster)
    assert json.loads(ran("ledger", "init", "-o", "json").out)["entries"] == 41
    assert ran("ledger", "init", code=2).err.count("there") >= 1


@in_loop
async def test_an_indexer_that_writes_again_repeats_and_changes_nothing(cluster: Cluster) -> None:
    ran("ledger", "init")
    await played(cluster, 20)
    cluster.meters.clear()  # of the process that ended
    async with cluster.running("index"):
        await cluster.send(decisions(20))  # the same ids at new positions, as a replay has them
        await cluster.quiet()
    ran("ledger", "seal")
    refreshed(cluster)
    found = ran("ledger", "verify", "-o", "json").json
    assert (found["fine"], found["records"], found["repeated"]) == (True, 20, 20)


@in_loop
async def test_a_document_that_no_store_took_is_refused_not_missing(cluster: Cluster) -> None:
    """It has an entry, and an act that excuses it."""
    ran("ledger", "init")
    good = decisions(3)
    event = good[1].event
    assert isinstance(event, DecisionObserved)
    bad = msgspec.structs.replace(event, id="", audit_id="x")
    async with cluster.running("index"):
        await cluster.send([good[0], output(bad), good[2]])
        await cluster.quiet()
    ran("ledger", "seal")
    refreshed(cluster)
    found = ran("ledger", "verify", "-o", "json").json
    assert (found["counts"], found["refused"]) == ({}, 1)


@in_loop
async def test_erasure(cluster: Cluster) -> None:
    """The content is gone, the entry is there, the act says who and why; a content put back is found."""
    ran("ledger", "init")
    await played(cluster, 10)
    refreshed(cluster)
    before = _source(cluster, id_of(4))
    assert "ann@example.com" in json.dumps(before)
    ran("ledger", "erase", id_of(4), "--reason", "request 4711", "--yes")
    ran("ledger", "seal")
    assert "ann@example.com" not in json.dumps(_source(cluster, id_of(4)))
    found = ran("ledger", "verify", "-o", "json").json
    assert (found["fine"], found["erased"]) == (True, 1)
    acts = [e for r in KafkaLog(cluster.settings.kafka).read(LEDGER) if isinstance(e := decode(r.value), LedgerWritten)]
    (act,) = [entry for pack in acts for entry in pack.entries if entry.kind == "erased"]
    assert json.loads(act.note)["reason"] == "request 4711"
    _put(cluster, id_of(4), before)
    assert ran("ledger", "verify", "-o", "json", code=1).json["counts"] == {"erasure-undone": 1}


@in_loop
async def test_retention_is_an_act(cluster: Cluster) -> None:
    """What is older than the record keeps may be gone, and that is written down."""
    ran("ledger", "init")
    old = [
        output(msgspec.structs.replace(one.event, id=f"v1:old{n}", time=NOW - 500 * DAY))  # type: ignore[type-var]  # decisions
        for n, one in enumerate(decisions(5))
    ]
    async with cluster.running("index"):
        await cluster.send([*old, *decisions(5)])
        await cluster.quiet()
    process = Process("ledger", cluster.settings)
    task = asyncio.create_task(process.watched(ledgering.ledger))
    await until(lambda: chain_of(cluster.settings).expired.get("revet.admission"))
    process.stop.set()
    await task
    refreshed(cluster)
    for hit in [_hit(cluster, f"v1:old{n}") for n in range(5)]:
        with connect(cluster.settings.elasticsearch) as server:
            where = url_path(str(hit["_index"]), "_doc", str(hit["_id"]))
            server.call("DELETE", where, params={"refresh": "true"})
    found = ran("ledger", "verify", "-o", "json").json
    assert (found["counts"], found["records"], found["under_way"]) == ({}, 5, 5)  # too young to be missed
    place = ClusterPlace(cluster.settings)
    place.seal(place.sealer(), NOW)  # the act itself may wait for its batch
    report = place.check(place.pinned(), None, None, time.time_ns() // 1000 + AHEAD + SECOND)
    assert (report.counts, report.records, report.under_way, report.expired) == ({}, 5, 0, 5)


def _told(cluster: Cluster) -> list[LedgerChecked]:
    events = [decode(record.value) for record in KafkaLog(cluster.settings.kafka).read(CLUSTER_SIGHT)]
    return [event for event in events if isinstance(event, LedgerChecked)]


def _hit(cluster: Cluster, id_: str) -> dict[str, object]:
    with connect(cluster.settings.elasticsearch) as server:
        target = Names(cluster.settings.elasticsearch.namespace).target("admission")
        body = {"query": {"ids": {"values": [id_]}}, "seq_no_primary_term": True}
        found: dict[str, object] = server.call("POST", url_path(target, "_search"), body=body).body["hits"]["hits"][0]
        return found


def _source(cluster: Cluster, id_: str) -> dict[str, object]:
    return _hit(cluster, id_)["_source"]  # type: ignore[return-value]  # a document


def _put(cluster: Cluster, id_: str, body: dict[str, object]) -> None:
    hit = _hit(cluster, id_)
    with connect(cluster.settings.elasticsearch) as server:
        params = {"if_seq_no": hit["_seq_no"], "if_primary_term": hit["_primary_term"], "refresh": "true"}
        server.call("PUT", url_path(str(hit["_index"]), "_doc", id_), params=params, body=body)


def _change(cluster: Cluster, id_: str) -> None:
    _put(cluster, id_, _source(cluster, id_) | {"provenance.admission.decision": "denied"})
