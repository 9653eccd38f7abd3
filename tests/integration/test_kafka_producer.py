"""The door for writing, on a real broker: durable when it returns, in order, and told at once what is wrong."""

import gc
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.engine.port import Output
from streams.engine.wire import WireRecord, partition_of
from streams.events import FeedSeen
from streams.kafka import producer as producing
from streams.kafka.producer import KafkaDoor, partition_counts
from streams.kafka.reading import KafkaLog
from streams.outputs import output
from streams.topics import CLUSTER_SIGHT, OBSERVATIONS, TRUST
from tests.helpers.kafkatopics import Place
from tests.helpers.servers import KafkaServer
from verifier.errors import InputError, PlaceRefused, PlaceUnavailable

pytestmark = [pytest.mark.needs("kafka"), pytest.mark.timeout(300)]


@pytest.fixture
def sockets_left() -> Iterator[None]:
    """kafka-python does not close the sockets of connections that fail; the collector does, and warns."""
    yield
    gc.collect()


def leaves_sockets(test):
    ignored = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    return pytest.mark.usefixtures("sockets_left")(ignored(test))


@pytest.fixture
def place(kafka_server: KafkaServer) -> Place:
    return Place(kafka_server.bootstrap).prepare()


def numbered(count: int, keys: int = 7, size: int = 20) -> list[WireRecord]:
    return [
        WireRecord(
            OBSERVATIONS, partition_of(f"k{n % keys}", 4), b"k%d" % (n % keys), b"%d" % n + b" " * size,
            (("id", b"%d" % n), ("time", b"%d" % (n + 5))), 1_795_000_000_000 + n,
        )
        for n in range(count)
    ]  # fmt: skip


def feed(time_: int) -> Output:
    return output(FeedSeen(f"f{time_}", time_, "c1", "audit", 1))


def test_what_was_sent_stands_there_in_order(place):
    counted: list[tuple[str, str, int, int]] = []
    door = KafkaDoor(place.settings, counted=lambda *what: counted.append(what))
    records = numbered(5_000)
    door.begin(records).wait()
    door.close()
    found = place.read(OBSERVATIONS)
    assert sorted(record.id for record in found) == sorted(str(n) for n in range(5_000))
    by_key: dict[str, list[int]] = defaultdict(list)
    for record in found:
        by_key[record.key].append(int(record.id))
        assert record.partition == partition_of(record.key, 4)
        assert (record.time, record.written) == (int(record.id) + 5, 1_795_000_000_000 + int(record.id))
    assert all(numbers == sorted(numbers) for numbers in by_key.values())
    assert counted == [(OBSERVATIONS, "acknowledged", 5_000, sum(len(r.key) + len(r.value or b"") for r in records))]


def test_outputs_are_events_of_their_topics(place):
    door = KafkaDoor(place.settings)
    door.send([feed(5), feed(6)])
    door.close()
    assert [(r.topic, r.key, r.time) for r in place.read(CLUSTER_SIGHT)] == [
        (CLUSTER_SIGHT, "c1/feed/audit", 5), (CLUSTER_SIGHT, "c1/feed/audit", 6),
    ]  # fmt: skip


def test_several_threads_share_a_door(place):
    door = KafkaDoor(place.settings)
    records = numbered(4_000)
    threads = [threading.Thread(target=lambda part=part: door.begin(part).wait()) for part in
               (records[at::8] for at in range(8))]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    door.close()
    assert len({record.id for record in place.read(OBSERVATIONS)}) == 4_000


def test_a_missing_topic_is_told_at_once(kafka_server):
    bare = Place(kafka_server.bootstrap)
    door = KafkaDoor(bare.settings)
    began = time.monotonic()
    with pytest.raises(PlaceRefused, match="revet topics apply") as told:
        door.send([feed(1)])
    assert time.monotonic() - began < producing.DELIVERY_SECONDS
    assert told.value.code == "topic-missing"
    door.close()
    assert partition_counts(bare.settings, [CLUSTER_SIGHT]) == {CLUSTER_SIGHT: 0}  # asking has made none


def test_another_number_of_partitions_than_the_settings_say_is_told(place):
    door = KafkaDoor(place.other(partitions=8).settings)
    with pytest.raises(PlaceRefused, match=r"has 4 partitions, kafka\.partitions says 8"):
        door.require(OBSERVATIONS)
    door.close()


def test_a_record_beyond_every_limit_is_told(place):
    door = KafkaDoor(place.settings)
    with pytest.raises(InputError, match="bytes"):
        door.begin(numbered(1, size=producing.MAX_RECORD + 1))
    door.close()
    assert place.read(OBSERVATIONS) == []


@leaves_sockets
def test_no_broker_is_told(monkeypatch, kafka_server, caplog):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr("streams.kafka.connecting.CONNECT_SECONDS", 1)
    with pytest.raises(PlaceUnavailable, match=r"127\.0\.0\.1:1"):
        KafkaDoor(Place("127.0.0.1:1").settings)
    assert [record for record in caplog.records if record.name.startswith("kafka")] == []


def test_without_the_checksum_in_c_nothing_starts(monkeypatch, place):
    with monkeypatch.context() as patched:
        patched.setattr("importlib.util.find_spec", lambda _name: None)
        with pytest.raises(InputError, match="crc32c"):
            KafkaDoor(place.settings)


# ----------------------------------------------------------------------------------------------------------- reading


def test_reading_ends_where_it_was_when_it_began(place):
    door = KafkaDoor(place.settings)
    door.begin(numbered(300)).wait()
    log = KafkaLog(place.settings)
    reading = log.read(OBSERVATIONS)
    first = next(reading)
    door.begin(numbered(300)).wait()
    assert len([first, *reading]) == 300
    assert sum(log.end_offsets(OBSERVATIONS).values()) == 600
    half = {partition: end // 2 for partition, end in log.end_offsets(OBSERVATIONS).items()}
    assert len(list(log.read(OBSERVATIONS, half))) == 600 - sum(half.values())
    assert list(log.read(TRUST)) == []
    door.close()


def test_reading_what_is_not_there_is_told(kafka_server):
    with pytest.raises(PlaceRefused, match="revet topics apply"):
        list(KafkaLog(Place(kafka_server.bootstrap).settings).read(TRUST))


# ------------------------------------------------------------------------------------------------- a broker that ends


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@leaves_sockets
@pytest.mark.kill
def test_a_broker_that_is_killed_and_comes_back_loses_nothing_that_was_acknowledged(kafka_broker):
    broker = kafka_broker()
    place = Place(broker.bootstrap).prepare()
    door = KafkaDoor(place.settings)
    records, acknowledged = numbered(6_000), 0
    breaking = threading.Timer(0.3, lambda: (broker.kill(), broker.start()))
    breaking.start()
    for at in range(0, len(records), 20):
        part = records[at : at + 20]
        while True:
            try:
                door.begin(part).wait()
                break
            except PlaceUnavailable:
                continue
        acknowledged += len(part)
        time.sleep(0.002)
    breaking.join()
    door.close()
    found = [record.id for record in place.read(OBSERVATIONS)]
    assert acknowledged == len(records)
    assert set(found) == {str(n) for n in range(len(records))}


@leaves_sockets
@pytest.mark.kill
def test_after_an_outage_longer_than_its_patience_the_door_works_again(kafka_broker, monkeypatch):
    """The client's own idempotent producer does not: it never sends again."""
    monkeypatch.setattr(producing, "DELIVERY_SECONDS", 12)
    broker = kafka_broker()
    place = Place(broker.bootstrap).prepare()
    door = KafkaDoor(place.settings)
    door.begin(numbered(100)).wait()
    files = open_files()
    broker.kill()
    began = time.monotonic()
    with pytest.raises(PlaceUnavailable, match="nothing was acknowledged for 12 s"):
        door.begin(numbered(200)).wait()
    assert 10 < time.monotonic() - began < 60
    assert open_files() < files + 10
    broker.start()
    door.begin(numbered(300)).wait()
    door.close()
    assert {record.id for record in place.read(OBSERVATIONS)} == {str(n) for n in range(300)}
