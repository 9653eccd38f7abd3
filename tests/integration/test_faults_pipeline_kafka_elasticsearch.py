"""The cluster under what does not kill it: rebalances, a full disk, poison in every topic, partitions delivered again.

As in `test_kill_pipeline_kafka_elasticsearch`, real processes on real servers must come to what one undisturbed process
says of the same input.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.elastic import connect, url_path
from streams.engine.link import connection
from streams.engine.wire import WireRecord
from streams.sinks.fields import HISTORY, HOMES
from streams.sinks.mapping import Names
from streams.topics import TOPICS
from tests.helpers.crew import FULL, READS, Crew, Member, settled, until
from tests.helpers.disturbed import Run, cluster_of, play
from tests.helpers.load import documents, told
from tests.helpers.pipeline import Cluster

pytestmark = [
    pytest.mark.needs("kafka", "elasticsearch"),
    pytest.mark.kill,
    pytest.mark.slow,
    pytest.mark.timeout(3600 if FULL else 900),
]


async def nothing(_crew: Crew, _chance: random.Random) -> None:
    """Undisturbed."""


# ---------------------------------------------------------------------------------------------------------- rebalances


def test_a_rebalance_every_few_seconds(kafka_server, elastic_server, tmp_path):
    """A judge, a fetcher and an indexer come and go: every shard changes hands while its records flow."""
    rounds = 20 if FULL else 4
    run = Run(cluster_of(kafka_server.bootstrap, elastic_server.url, tmp_path), tmp_path, seed=21)
    guests: list[Member] = []

    async def come_and_go(crew: Crew, chance: random.Random) -> None:
        if guests:
            guest = guests.pop()
            code = await asyncio.to_thread(guest.end, signal.SIGTERM)
            assert code == 0, guest.err()
        else:
            part = chance.choice(("judge", "judge", "fetch", "index"))
            guests.append(Member(part, len(crew.members) + crew.kills, crew.cluster.folder, crew.cluster.environ))
            crew.kills += 1  # a number of its own for everybody
            guests[0].start()
            await until(guests[0].is_ready, 240, crew.told, crew.tend)
        await asyncio.sleep(chance.uniform(0.5, 3.0))

    play(run, 2 * rounds, come_and_go)
    assert all(member.ends == [] for member in run.crew.members), run.crew.told()
    assert guests == []


# ----------------------------------------------------------------------------------------------------------- full disk


@contextmanager
def flooded(cluster: Cluster) -> Iterator[None]:
    """What Elasticsearch does at its flood stage: nothing of ours may be written."""
    names = Names(cluster.settings.elasticsearch.namespace)
    paths = [url_path(names.all_history, "_settings"), url_path(names.all_state, "_settings")]
    with connect(cluster.settings.elasticsearch) as server:
        for path in paths:
            server.call("PUT", path, body={"index.blocks.read_only_allow_delete": True})
        try:
            yield
        finally:
            for path in paths:
                server.call("PUT", path, body={"index.blocks.read_only_allow_delete": None})


def test_a_full_disk_delays_the_record_and_loses_nothing(kafka_server, elastic_server, tmp_path):
    """Nobody steps over a document; once there is room again everything is written."""
    cluster = cluster_of(kafka_server.bootstrap, elastic_server.url, tmp_path)
    run = Run(cluster, tmp_path, seed=22)
    full = ExitStack()
    steps = iter(("empty", "full", "noticed", "empty again"))

    async def fill(crew: Crew, _chance: random.Random) -> None:
        step = next(steps)
        if step == "full":
            await settled(cluster, crew)  # so that there is something to block
            await asyncio.to_thread(full.enter_context, flooded(cluster))
        if step == "noticed":
            index = crew.of("index")[0]
            await until(
                lambda: any("record-blocked" in log.with_suffix(".err").read_text() for log in index.logs),
                120, crew.told, crew.tend,
            )  # fmt: skip
            await asyncio.sleep(120 if FULL else 1)
            await asyncio.to_thread(full.close)

    with full:
        play(run, 4, fill)
    assert all(member.ends == [] for member in run.crew.members), run.crew.told()


# -------------------------------------------------------------------------------------------------------------- poison

ROLES = {"judge", "fetcher", "indexer", "alerter"}
"""Of the crew. Another part's garbage is its own tests' business: the ledger's in test_ledger_kill_kafka."""
POISON = (b"\x00\xff garbage", b"", b"null", b'{"type":"verdict"}', b"[" * 3000)


async def plant(cluster: Cluster) -> int:
    """Bytes that nobody can read, into every partition of every topic, under keys that nobody uses."""
    sent = []
    for topic in TOPICS.values():
        for number in range(topic.partitions(cluster.shards)):
            for at, value in enumerate(POISON):
                record = WireRecord(topic.name, number, b"poison-%d" % at, value, (("id", b"\xff"), ("time", b"-1")))
                sent.append(await cluster.link.send(record))
    for future in sent:
        await future
    return len(sent)


def test_poison_in_every_topic(kafka_server, elastic_server, tmp_path):
    """A dead letter for each, told apart by its place; what stands behind it is handled."""
    cluster = cluster_of(kafka_server.bootstrap, elastic_server.url, tmp_path)
    run = Run(cluster, tmp_path, seed=23)

    async def poison(_crew: Crew, _chance: random.Random) -> None:
        await plant(cluster)

    async def letters() -> None:
        read = {t.name for t in TOPICS.values() if t.holds and ROLES & set(t.readers)}

        def missing() -> set[str]:
            with cluster.reader() as reader:
                sources = [str(hit.body) for hit in documents(reader, "deadletter").values()]
            return {topic for topic in read if not any(topic in source for source in sources)}

        await until(lambda: not missing(), 60, lambda: str(missing()), run.crew.tend, pause=1.0)

    play(run, 3, poison, letters)
    assert all(member.ends == [] for member in run.crew.members), run.crew.told()


# ------------------------------------------------------------------------------------------------------ delivered again


async def rewind(cluster: Cluster) -> None:
    """Every group begins again with the oldest record of every partition."""
    for part, topics in READS.items():
        settings = cluster.settings.kafka
        consumer = AIOKafkaConsumer(**connection(settings), group_id=settings.group(part), enable_auto_commit=False)
        await consumer.start()
        slots = [
            TopicPartition(settings.topic(name), number)
            for name in topics
            for number in range(TOPICS[name].partitions(cluster.shards))
        ]
        consumer.assign(slots)
        await consumer.commit(dict.fromkeys(slots, 0))
        await consumer.stop()


def ids(cluster: Cluster) -> Mapping[str, set[str]]:
    """Every document of history."""
    with cluster.reader() as reader:
        return {home: set(documents(reader, home)) for home in HISTORY if home in HOMES}


def test_whole_partitions_delivered_again_change_nothing(kafka_server, elastic_server, tmp_path):
    """Every partition of every group from its first record on: no new history, the same state, nothing told again."""
    cluster = cluster_of(kafka_server.bootstrap, elastic_server.url, tmp_path)
    run = Run(cluster, tmp_path, seed=24)

    async def again() -> None:
        await run.told_once()
        with cluster.reader() as reader:
            before = told(reader)
        history = ids(cluster)
        codes = await asyncio.to_thread(run.crew.stop)
        assert codes == [0] * len(codes), run.crew.told()
        await rewind(cluster)
        run.crew.start()
        await run.crew.ready()
        await settled(cluster, run.crew)
        await asyncio.sleep(5)
        with cluster.reader() as reader:
            assert told(reader).against(before) == []
        now = ids(cluster)
        new = {home: now[home] - history[home] for home in now if now[home] - history[home]}
        assert new == {}
        await run.told_once()

    play(run, 3, nothing, again)
