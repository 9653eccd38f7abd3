"""One input, both modes, the same answers: the recorded day through one process, and through Kafka and Elasticsearch.

The recorded day, a revocation, a rotation and the roll-out after them are played to the single-machine mode. What it
took in (observations, trust, the passing of time) is then fed, in the same order, to judge, fetcher, alerter, indexer
on a real broker, which fetch the evidence themselves and write to a real Elasticsearch. Both records hold the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from streams.codec import decode
from streams.engine.reading import trust_record
from streams.engine.sqlite import connect
from streams.events import Tick, TrustChanged
from streams.local.demo import DATA, Story
from streams.local.node import LocalNode
from streams.outputs import output
from streams.queries.conditions import EVERYTHING
from streams.queries.port import Hit, RecordReader, every
from streams.queries.sqlite import SqliteReader
from streams.sinks.fields import CURRENT, HISTORY, HOMES
from streams.topics import ACTIONS, CLUSTER_SIGHT, OBSERVATIONS, TRUST
from tests.helpers import parity
from tests.helpers.crew import FULL
from tests.helpers.pipeline import Cluster

pytestmark = [pytest.mark.needs("kafka", "elasticsearch"), pytest.mark.slow, pytest.mark.timeout(600)]

SOME = 5
"""Every fifth question: equal documents give equal answers, and test_parity_elasticsearch asks all of them."""
FED = (OBSERVATIONS, CLUSTER_SIGHT, TRUST, ACTIONS)


class Played(NamedTuple):
    """What one process did."""

    state: Path
    ticks: list[tuple[int, int]]
    """(newest position of the log, the time that was reached then)"""


def played(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Played:
    """The story on one process, with every passing of time written down."""
    told = Played(folder / "one.sqlite", [])
    tick = LocalNode.tick

    def noted(node: LocalNode, now: int | None = None) -> None:
        (newest,) = node.connection.execute("SELECT coalesce(max(position), 0) FROM log").fetchone()
        told.ticks.append((newest, node.now if now is None else now))
        tick(node, now)

    monkeypatch.setattr(LocalNode, "tick", noted)
    asyncio.run(_story(told.state))
    return told


async def _story(state: Path) -> None:
    story = Story.open(state)
    await story.trust()
    await story.play("", lambda *_: None)
    await story.settle(story.timeline.revoked_at)
    await story.apply(story.revocation())
    await story.rotate()
    await story.play("-after", lambda *_: None)
    story.node.close()


async def feed(cluster: Cluster, one: Played) -> None:
    """Everything one process took in, in its order: what one input comes to is there before the next."""
    with closing(connect(one.state, create=False)) as connection:
        rows = list(connection.execute("SELECT position, topic, time, value FROM log ORDER BY position"))
    ticks = list(one.ticks)
    for position, topic, time, value in rows:
        while ticks and ticks[0][0] < position:
            await passing(cluster, ticks.pop(0)[1])
        if topic not in FED:
            continue
        event = decode(value)
        if isinstance(event, TrustChanged):
            await cluster.trust([trust_record(event.epoch, event.record)], time)
        else:
            await cluster.send([output(event), output(Tick("", time))])  # one clock for every shard
        await cluster.quiet()
    for _, time in ticks:
        await passing(cluster, time)


async def passing(cluster: Cluster, time: int) -> None:
    await cluster.send([output(Tick("", time))])
    await cluster.quiet()


async def play(cluster: Cluster, one: Played) -> None:
    async with cluster.running("judge", "fetch", "index", "alert"):
        await feed(cluster, one)
        await cluster.quiet(still=20)


# The default engine; the other one, which the engine's own suite compares with it, where there is time (`make faults`).
@pytest.mark.parametrize("engine", ["faust", *([pytest.param("aiokafka", marks=pytest.mark.kill)] if FULL else [])])
def test_both_modes_answer_the_same(engine, kafka_server, elastic_server, tmp_path, monkeypatch):
    one = played(tmp_path, monkeypatch)
    cluster = Cluster(
        kafka_server.bootstrap, elastic_server.url, tmp_path / "cluster",
        REVET_KAFKA_ENGINE=engine, REVET_SERVE_CLOCK="recorded", REVET_EVIDENCE_PLATFORM="linux/amd64",
        REVET_EVIDENCE_SOURCE=f"oci-layout:{DATA / 'oci'}", REVET_FIRST_SEEN=str(DATA / "first-observations.jsonl"),
    )  # fmt: skip
    cluster.prepare()
    asyncio.run(play(cluster, one))
    with closing(connect(one.state, create=False)) as connection, cluster.reader() as there:
        here = SqliteReader(connection)
        told = {home: differences(here, there, home) for home in (*CURRENT, *HISTORY)}
        asked = parity.questions(here)[::SOME]
    assert not any(told.values()), {home: found[:3] for home, found in told.items() if found}
    search = cluster.settings.elasticsearch
    other = parity.elastic_mode(search.url, search.namespace, REVET_SERVE_CLOCK="recorded")
    assert parity.compare(asked, parity.state_mode(one.state), other) >= len(asked) > 20


def differences(here: RecordReader, there: RecordReader, home: str) -> list[str]:
    one, other = documents(here, home), documents(there, home)
    found = [f"only in one process: {name} {shown(one[name])}" for name in one.keys() - other.keys()]
    found += [f"only in the cluster: {name} {shown(other[name])}" for name in other.keys() - one.keys()]
    for name in one.keys() & other.keys():
        mine, its = one[name].body, other[name].body
        for field in sorted(mine.keys() | its.keys()):
            if mine.get(field) != its.get(field) and field not in APART:
                found.append(f"{name} {field}: {mine.get(field)!r} / {its.get(field)!r}"[:400])
    return found


APART = {"event.sequence", "provenance.evaluation.read"}
"""Counters of a shard and positions of topics."""


def documents(reader: RecordReader, home: str) -> Mapping[str, Hit]:
    return {hit.id: hit for hit in every(reader, HOMES[home], EVERYTHING)}


def shown(hit: Hit) -> str:
    return f"{hit.body.get('@timestamp')} {hit.body.get('message')}"[:300]
