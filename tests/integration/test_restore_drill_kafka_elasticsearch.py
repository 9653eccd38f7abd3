"""Drills: the record is lost, a part of it is lost, all of Kafka is lost. What the operations manual says is done.

The processes run inside the test on real servers; commands are those an operator types.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from alerting.models import IncidentAction
from streams.elastic import Server, connect, url_path
from streams.engine import staterows
from streams.outputs import output
from streams.queries.port import Hit, RecordReader
from streams.sinks.fields import CURRENT, HISTORY
from streams.sinks.mapping import Names, record_id
from tests.helpers.command import Ran, revet
from tests.helpers.crew import settled
from tests.helpers.disturbed import cluster_of
from tests.helpers.load import Load, Told, documents, first_trust, judged_by_one, load, revocation, told
from verifier.times import MINUTE
from verifier.trust.state import TrustState

pytestmark = [pytest.mark.needs("kafka", "elasticsearch"), pytest.mark.slow, pytest.mark.timeout(900)]

ALL = ("judge", "fetch", "index", "alert")
Step = Callable[[], Awaitable[None]]


class Installation:
    """A cluster, what it was fed, and how to be its operator."""

    def __init__(self, bootstrap: str, url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder, self._monkeypatch = folder, monkeypatch
        self._references = 0
        self._at = time.time_ns() // 1000
        self.load: Load = load(workloads=12, pods=2, seed=31, at=self._at)
        self.cluster = cluster_of(bootstrap, url, folder)

    def operator(self, *arguments: str, **environ: str) -> Ran:
        """A command under the settings of the cluster."""
        with self._monkeypatch.context() as patch:
            for name, value in {**self.cluster.environ, **environ}.items():
                patch.setenv(name, value)
            return revet(*arguments)

    async def fed(self, *then: Step) -> None:
        """Everything is sent and handled; then some more steps, while the processes run."""
        cluster = self.cluster
        async with cluster.running(*ALL):
            await cluster.trust(first_trust(cluster.gate.trust, self._at), self._at)
            await cluster.send([output(event) for event in self.load.events])
            await settled(cluster)
            for step in then:
                await step()
                await settled(cluster)

    async def acknowledged(self) -> None:
        """Somebody acknowledges every incident."""
        with self.cluster.reader() as reader:
            names = list(told(reader).incidents)
        assert names
        now = time.time_ns() // 1000
        await self.cluster.send([output(IncidentAction(f"ack:{name}", now, name, "ack", "bob")) for name in names])

    async def revoked(self) -> None:
        """A key is revoked."""
        await self.cluster.trust(revocation(self.cluster.gate.trust, self._at), self._at)

    def expected(self, *, revoked: bool) -> Told:
        """What one process says of the same."""
        self._references += 1
        folder = self._folder / f"reference-{self._references}"
        folder.mkdir()
        trust = TrustState.empty()
        first = first_trust(trust, self._at)
        for record in first:
            trust, _ = trust.apply(record, trust.epoch + 1)
        later = [revocation(trust, self._at)] if revoked else []
        return asyncio.run(judged_by_one(folder, self.load.events, [first, *later], self._at + MINUTE))

    def namespace(self, name: str) -> None:
        """From now on the record is kept under another name, where nothing is."""
        settings = self.cluster.settings
        elastic = settings.elasticsearch.model_copy(update={"namespace": name})
        self.cluster.environ["REVET_ELASTICSEARCH_NAMESPACE"] = name
        self.cluster.settings = settings.model_copy(update={"elasticsearch": elastic})

    def server(self) -> Server:
        return connect(self.cluster.settings.elasticsearch)


@pytest.fixture
def installation(kafka_server, elastic_server, tmp_path, monkeypatch) -> Installation:
    monkeypatch.setattr(staterows, "GENERATION_SECONDS", 1)  # a pipeline that is made anew is at least so much later
    return Installation(kafka_server.bootstrap, elastic_server.url, tmp_path, monkeypatch)


def everything(reader: RecordReader) -> dict[tuple[str, str], dict[str, Any]]:
    """(home, id) -> document."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for home in (*HISTORY, *CURRENT):
        hits: dict[str, Hit] = documents(reader, home)
        found.update({(home, id_): hit.body for id_, hit in hits.items()})
    return found


def test_all_of_elasticsearch_is_lost(installation):
    """`index setup`, then `index reconcile`: every document is there again, and is what it was."""
    asyncio.run(installation.fed(installation.revoked))
    with installation.cluster.reader() as reader:
        before = everything(reader)
        assert told(reader).against(installation.expected(revoked=True)) == []
    installation.namespace(f"{installation.cluster.settings.elasticsearch.namespace}b")
    assert installation.operator("index", "setup").code == 0
    missing = installation.operator("index", "reconcile", "--check", "-o", "json")
    assert missing.code == 1, missing.err
    assert sum(one["missing"] for one in missing.json["partitions"]) >= len(before)
    mended = installation.operator("index", "reconcile", "-o", "json")
    assert mended.code == 0, mended.err + mended.out
    with installation.cluster.reader() as reader:
        after = everything(reader)
    assert after.keys() == before.keys()
    differs = {key: _changed(before[key], after[key]) for key in before if before[key] != after[key]}
    assert differs == {}
    again = installation.operator("index", "reconcile", "--check", "-o", "json")
    assert (again.code, sum(one["missing"] for one in again.json["partitions"])) == (0, 0)


def _changed(one: dict[str, Any], other: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {k: (one.get(k), other.get(k)) for k in one.keys() | other.keys() if one.get(k) != other.get(k)}


def test_a_planted_loss_is_found_and_mended(installation):
    """One document of history and one of state are deleted behind everybody's back."""
    asyncio.run(installation.fed())
    cluster = installation.cluster
    with cluster.reader() as reader:
        before = everything(reader)
    lost = [next(key for key in before if key[0] == home) for home in ("admission", "containers", "verification")]
    with installation.server() as server:
        for home, id_ in lost:
            _delete(server, Names(cluster.settings.elasticsearch.namespace), home, id_)
    found = installation.operator("index", "reconcile", "--check", "-o", "json")
    assert (found.code, sum(one["missing"] for one in found.json["partitions"])) == (1, 3), found.err
    mended = installation.operator("index", "reconcile", "-o", "json")
    assert (mended.code, sum(one["mended"] for one in mended.json["partitions"])) == (0, 3), mended.out
    with cluster.reader() as reader:
        assert everything(reader) == before


def _delete(server: Server, names: Names, home: str, id_: str) -> None:
    target = names.target(home)
    if home in CURRENT:  # or the server remembers the version of what is gone for a minute
        server.call("PUT", url_path(target, "_settings"), body={"index.gc_deletes": "0s"})
    query = {"query": {"ids": {"values": [record_id(id_)]}}}
    hits = server.call("POST", url_path(target, "_search"), body=query).body["hits"]["hits"]
    (hit,) = hits
    server.call("DELETE", url_path(hit["_index"], "_doc", hit["_id"]), params={"refresh": "true"})
    time.sleep(1.1)


def test_all_of_kafka_is_lost(installation, elastic_server, kafka_server, tmp_path):
    """Topics, trust and inputs again: the record holds no input twice, and what comes now replaces what was there.

    What nobody sent again is gone: the acknowledgement. The record still tells that somebody gave it.
    """
    asyncio.run(installation.fed(installation.acknowledged))
    with installation.cluster.reader() as reader:
        before = everything(reader)
    assert {body["provenance.state"] for (home, _), body in before.items() if home == "incidents"} == {"acknowledged"}
    lost = installation.cluster
    installation.cluster = cluster_of(kafka_server.bootstrap, elastic_server.url, tmp_path / "again")
    installation.namespace(lost.settings.elasticsearch.namespace)
    assert installation.operator("topics", "apply").code == 0
    asyncio.run(installation.fed(installation.revoked))
    with installation.cluster.reader() as reader:
        after, now = everything(reader), told(reader)
    assert now.against(installation.expected(revoked=True)) == []
    assert before.keys() - after.keys() == set()
    assert _ids(after, "admission") == _ids(before, "admission") == installation.load.decisions
    assert _ids(after, "containers") == _ids(before, "containers") == installation.load.containers
    transitions = {body["provenance.incident.transition"] for (home, _), body in after.items() if home == "incident"}
    assert "acknowledged" in transitions


def _ids(found: dict[tuple[str, str], dict[str, Any]], home: str) -> set[str]:
    return {id_ for at, id_ in found if at == home}
