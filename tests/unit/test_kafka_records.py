"""What collectors write to Kafka: never longer than a record may be, nothing lost on the way, the partition everybody
else would choose.
"""

import hashlib
import importlib
import random
import string
import zlib

import msgspec
import pytest
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.partitioner import murmur2 as aiokafka_murmur2
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.codec import decode, encode
from streams.engine.wire import MAX_RECORD_BYTES, WireRecord, partition_of
from streams.events import (
    DeadLetter,
    DecisionObserved,
    ImageAsked,
    NamespaceObserved,
    ObservedContainer,
    Owner,
    Pod,
    PodObserved,
    RunState,
)
from streams.kafka.bounds import LIMIT, fit
from streams.kafka.records import originals_of, records_of
from streams.topics import DEADLETTERS, OBSERVATIONS, RAW
from verifier.errors import InputError

SOURCE = "audit:c1"
KAFKA_PARTITIONER = importlib.import_module("kafka.partitioner.default")
"""Not by `import`, which would come before streams.kafka and show the client's own warning."""


def records(observations=(), originals=()) -> list[WireRecord]:
    return records_of(observations, originals, source=SOURCE, cluster="c1", shards=24)


def size(record: WireRecord) -> int:
    return len(record.key) + len(record.value or b"") + sum(len(k) + len(v) for k, v in record.headers)


def pod(containers: int, image: int = 60, labels: int = 3, state: RunState = "running") -> PodObserved:
    made = tuple(
        ObservedContainer("main", f"c{n}", "r/" + "x" * image, f"sha256:{n:064x}", "repo-digest", "r/x", state)
        for n in range(containers)
    )
    named = tuple((f"label-{n:05}", "v" * 63) for n in range(labels))
    return PodObserved("id", 7, "watch", Pod("c1", "ns", "p", "uid", Owner("Pod", "p"), labels=named, containers=made))


def decision(**members) -> DecisionObserved:
    return DecisionObserved(
        "id", 7, "c1", "ns", Owner("Pod", "p"), "denied", "create", "pods", source=SOURCE, **members
    )


def images(count: int, length: int) -> tuple[ImageAsked, ...]:
    return tuple(ImageAsked(f"c{n}", "main", "x" * length, "y" * length) for n in range(count))


OVERLONG: dict[str, PodObserved | DecisionObserved | NamespaceObserved] = {
    "labels": pod(5, labels=2_000),
    "image references": pod(20, image=50_000),
    "containers": pod(5_000),
    "containers and labels": pod(5_000, labels=5_000),
    "texts beyond ASCII": decision(audited=("ü" * 2048,) * 50, message="ß" * 2048),
    "images": decision(images=images(3_000, 100)),
    "image texts": decision(images=images(10, 100_000)),
    "webhooks": decision(failed_open=("w" * 3_000,) * 500, mutated_by=("w" * 3_000,) * 500),
    "groups": decision(groups=("g" * 100_000,) * 64),
    "a namespace": NamespaceObserved("id", 7, "c1", "ns", tuple((f"team-{n}", "t" * 250_000) for n in range(4))),
    "a namespace of many labels": NamespaceObserved(
        "id", 7, "c1", "ns", tuple((f"k{n}", "v" * 60) for n in range(5000))
    ),
}


@pytest.mark.parametrize("name", OVERLONG)
def test_what_is_too_long_is_cut_and_told(name):
    event = OVERLONG[name]
    assert len(encode(event)) > MAX_RECORD_BYTES
    letter, cut = records([event])
    assert [size(record) <= MAX_RECORD_BYTES for record in (letter, cut)] == [True, True]
    assert (letter.topic, cut.topic) == (DEADLETTERS, OBSERVATIONS if not name.startswith("a namespace") else cut.topic)
    said = decode(letter.value or b"")
    assert isinstance(said, DeadLetter)
    assert (said.code, said.sha256) == ("record-too-large", hashlib.sha256(encode(event)).hexdigest())
    left = decode(cut.value or b"")
    assert isinstance(left, type(event))
    assert (left.id, left.time) == (event.id, event.time)
    assert getattr(left, "truncated", True) is True


def test_what_is_usual_is_not_touched():
    event = pod(30, image=200, labels=20)
    (record,) = records([event])
    assert decode(record.value or b"") == event
    assert fit(event) == (event, None)


def test_the_dead_letter_repeats_nothing_of_the_input():
    secret = "hunter2"
    letter, _ = records([decision(message="m", groups=(secret * 20_000,))])
    assert secret.encode() not in (letter.value or b"")


def test_containers_that_run_are_kept_before_those_that_do_not():
    waiting, running = pod(2_000, state="waiting").pod.containers, pod(3).pod.containers
    event = msgspec.structs.replace(pod(0), pod=msgspec.structs.replace(pod(0).pod, containers=waiting + running))
    cut, _ = fit(event)
    assert isinstance(cut, PodObserved)
    assert set(running) <= set(cut.pod.containers)
    assert len(cut.pod.containers) > 100


texts = st.text(max_size=3000)


@settings(max_examples=60)
@given(st.lists(texts, max_size=60), st.lists(texts, max_size=60), st.lists(texts, max_size=40), st.integers(1, 40))
def test_any_decision_fits(audited, groups, failed, times):
    event = decision(
        audited=tuple(audited * times), groups=tuple(groups * times), failed_open=tuple(failed * times),
        images=tuple(ImageAsked(text, "main", text, text) for text in failed * times),
    )  # fmt: skip
    assert len(encode(fit(event)[0])) <= LIMIT


# --------------------------------------------------------------------------------------------------------- originals


def in_partition(made: list[WireRecord]) -> list[tuple[bytes, dict[str, bytes]]]:
    return [(record.value or b"", dict(record.headers)) for record in made if record.topic == RAW]


def noise(length: int, seed: int = 1) -> bytes:
    """What does not shrink."""
    return "".join(random.Random(seed).choices(string.ascii_letters + string.digits, k=length)).encode()


@pytest.mark.parametrize(
    "originals",
    [
        [b'{"a":1}'],
        [b'{"n":%d}' % n for n in range(20_000)],
        [noise(60_000, n) for n in range(8)],
        [noise(2 * 1024 * 1024)],
        [b"{}", noise(700_000), b"{}", noise(500_000, 2), b"{}"],
    ],
    ids=["one", "many short ones", "ones that do not shrink", "a longest one", "long between short"],
)
def test_originals_come_back_in_order(originals):
    made = records((), originals)
    assert max(map(size, made)) <= MAX_RECORD_BYTES
    assert {record.key for record in made} == {SOURCE.encode()}
    assert len({record.partition for record in made}) == 1
    assert list(originals_of(in_partition(made))) == originals


def test_parts_of_two_writers_may_be_mixed():
    one, other = [noise(300_000)], [noise(300_000, 2)]
    mixed = [entry for pair in zip(in_partition(records((), one)), in_partition(records((), other)), strict=True)
             for entry in pair]  # fmt: skip
    assert sorted(originals_of(mixed)) == sorted(one + other)


def test_what_is_damaged_or_not_whole_is_left_out():
    made = in_partition(records((), [noise(300_000)]))
    whole = in_partition(records((), [b"{}"]))
    assert list(originals_of(made[1:] + whole)) == [b"{}"]
    assert list(originals_of(made[:-1] + whole)) == [b"{}"]
    assert list(originals_of([(b"no zlib", {}), *whole])) == [b"{}"]
    bomb = zlib.compress(b" " * (64 * 1024 * 1024), 9)
    assert list(originals_of([(bomb, {}), *whole])) == [b"{}"]


# -------------------------------------------------------------------------------------------------------- partitions


def kafka_python_murmur2(data: bytes) -> int:
    return int(KAFKA_PARTITIONER.murmur2(data))


@given(st.one_of(st.text(), st.text(alphabet="äöü€𝄞\x00", max_size=40)), st.integers(2, 1000))
def test_every_client_chooses_the_same_partition(key, partitions):
    data = key.encode()
    ours = partition_of(key, partitions)
    assert ours == (aiokafka_murmur2(data) & 0x7FFFFFFF) % partitions
    assert ours == (kafka_python_murmur2(data) & 0x7FFFFFFF) % partitions


def test_the_default_partitioners_of_both_clients_agree_with_ours():
    """Through the partitioners themselves, for keys such as ours."""

    class Cluster:
        def topics(self):
            return {"t"}

        def partitions_for_topic(self, _topic):
            return set(range(24))

        available_partitions_for_topic = partitions_for_topic

    of_aiokafka, of_kafka_python = DefaultPartitioner(), KAFKA_PARTITIONER.DefaultPartitioner()
    slots = list(range(24))
    for number in range(500):
        key = f"prod-eu/payments-{number % 7}/Deployment/api-{number}"
        ours = partition_of(key, 24)
        assert of_aiokafka(key.encode(), slots, slots) == ours
        assert of_kafka_python.partition("t", None, key.encode(), None, None, Cluster()) == ours
    assert partition_of("", 24) == of_aiokafka(b"", slots, slots)


def test_an_unknown_kind_of_record_is_no_surprise():
    with pytest.raises((KeyError, InputError)):
        records([object()])
