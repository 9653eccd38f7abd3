"""Writes records to Kafka so that returning means durable: `acks=all`, and an answer of the broker for every record.

    door = KafkaDoor(settings.kafka, part="audit")
    door.send([output(observation)])                 back once every record was acknowledged
    sending = door.begin(records)                    handed over in order; `sending.wait()` is back when all are durable

Records of one key become durable in the order of the calls; the client's retries keep it. A call that fails may have
written some of its records: sending them again is harmless, ids are deterministic. The door creates no topic, and a
missing one is told at once instead of waited for.
"""

from __future__ import annotations

import gc
import importlib.util
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final

from kafka import KafkaAdminClient, KafkaProducer, errors

from streams.engine.port import Output
from streams.engine.wire import WireRecord, to_wire
from streams.kafka.connecting import (
    CONNECT_SECONDS,
    MISSING,
    REQUEST_SECONDS,
    UNAVAILABLE,
    connected,
    connection,
    in_words,
    told,
)
from streams.settings import KafkaSettings
from streams.topics import TOPICS
from verifier.errors import InputError, PlaceRefused, PlaceUnavailable

DELIVERY_SECONDS: Final = 25
"""How long a record may take, retries and all. A sender over HTTP gives up after 30."""
BATCH_BYTES: Final = 128 * 1024
"""Records of a partition that travel together, at most."""
LOOK_SECONDS: Final = 2
"""How long a failure looks for its reason."""
LINGER_MS: Final = 5
"""How long a record waits for company."""
MAX_RECORD: Final = 900 * 1024
"""Bytes of one record at most: a batch of one has to fit into what `revet topics apply` lets a topic take (1 MiB)."""

Counted = Callable[[str, str, int, int], None]
"""(topic, `acknowledged` or `failed`, records, bytes), called once per topic of a `Sending`."""


def _not_counted(_topic: str, _outcome: str, _records: int, _size: int) -> None:
    """For who counts nothing."""


class _Producer(KafkaProducer):  # type: ignore[misc]  # untyped
    def __del__(self) -> None:
        """The base class waits for a broker while the interpreter ends; the door closes instead."""


class Sending:
    """Records that were handed over."""

    def __init__(self, door: KafkaDoor, records: Sequence[WireRecord], futures: Sequence[Any]) -> None:
        self._door, self._records, self._futures = door, records, futures

    def wait(self) -> None:
        """Back when every record is durable. Also when one is not, the others were waited for: what is sent again
        comes after them.

        Raises:
            PlaceUnavailable: the broker did not take a record in time; PlaceRefused: it will not.
        """
        deadline = time.monotonic() + DELIVERY_SECONDS + REQUEST_SECONDS
        failed: list[tuple[WireRecord, BaseException]] = []
        for record, future in zip(self._records, self._futures, strict=True):
            if future.is_done and future.exception is None:
                continue
            try:
                future.get(max(0.0, deadline - time.monotonic()))
            except errors.KafkaError as error:
                failed.append((record, error))
        self._door.account(self._records, failed)


class KafkaDoor:
    """A producer. Safe to use from several threads; `close` it."""

    def __init__(self, settings: KafkaSettings, *, part: str = "writer", counted: Counted = _not_counted) -> None:
        """Connect.

        Raises:
            InputError: a setting is wrong, or the C checksum is not installed.
            PlaceUnavailable: no broker answers; PlaceRefused: none lets us in.
        """
        needs_checksum()
        self._settings, self._part, self._counted = settings, part, counted
        self._names: dict[str, str] = {}
        """Topics that are known to be there -> name on the broker."""
        self._producer = self._connected()

    def _connected(self) -> KafkaProducer:
        settings = self._settings
        options = connection(settings, self._part)
        writing = {
            "acks": "all",
            # kafka-python 3.0.12: after an outage longer than the delivery time its idempotent producer neither fails
            # what waits nor ever sends again (tested). One request at a time keeps the order as well; what a retry
            # writes twice has the same id.
            "enable_idempotence": False,
            "max_in_flight_requests_per_connection": 1,
            "delivery_timeout_ms": DELIVERY_SECONDS * 1000,
            "max_block_ms": REQUEST_SECONDS * 1000,
            "linger_ms": LINGER_MS,
            "batch_size": BATCH_BYTES,
            "allow_auto_create_topics": False,
            "metrics_enabled": False,
        }
        return connected(settings, _Producer, options | writing)

    # ------------------------------------------------------------------ topics

    def require(self, *topics: str) -> None:
        """Make sure that these topics are there with as many partitions as the settings say.

        Raises:
            PlaceRefused: one is missing, or has another number; says which command mends it.
            PlaceUnavailable: the broker does not answer.
        """
        unknown = [topic for topic in topics if topic not in self._names]
        if unknown:
            self._look(unknown, CONNECT_SECONDS)

    def _look(self, topics: Iterable[str], seconds: int) -> None:
        for topic, found in partition_counts(self._settings, topics, seconds).items():
            name = self._settings.topic(topic)
            self._require(topic, found)
            with told(self._settings, f"topic {name} cannot be written", name):
                self._producer.partitions_for(name)  # so that no `send` waits for it
            self._names[topic] = name

    def _require(self, topic: str, found: int) -> None:
        name, wanted = self._settings.topic(topic), TOPICS[topic].partitions(self._settings.partitions)
        if not found:
            raise PlaceRefused(
                MISSING, f"there is no topic {name} on {self._settings.bootstrap}; create it: revet topics apply"
            )
        if found != wanted:
            raise PlaceRefused(
                "partitions-differ",
                f"topic {name} has {found} partitions, kafka.partitions says {wanted}: records of one workload would be"
                " spread over two shards; set kafka.partitions to what the topic has, or reshard: docs/operations.md",
            )

    # ------------------------------------------------------------------ records

    def send(self, outputs: Sequence[Output]) -> None:
        """Back once every output is durable. Raises as `begin` and `Sending.wait`."""
        self.begin(to_wire(out, self._settings.partitions) for out in outputs).wait()

    def begin(self, records: Iterable[WireRecord]) -> Sending:
        """Hand records over, in order. How much is under way at a time is bounded by the caller.

        Raises:
            InputError: a record is longer than a topic takes.
            PlaceRefused: a topic is missing; PlaceUnavailable: the producer cannot take more.
        """
        taken = list(records)
        self.require(*{record.topic for record in taken})
        futures: list[Any] = []  # Any: the client has no types
        try:
            for record in taken:
                futures.append(self._hand_over(record))
        except errors.KafkaError as error:
            self._names.pop(record.topic, None)  # the next call asks whether it is still there
            name = self._settings.topic(record.topic)
            raise in_words(self._settings, error, f"topic {name} cannot be written", name) from error
        return Sending(self, taken, futures)

    def _hand_over(self, record: WireRecord) -> Any:  # noqa: ANN401  # as above
        size = len(record.key) + len(record.value or b"")
        if size > MAX_RECORD:
            raise InputError(f"a record of {record.topic} has {size:,} bytes; a topic takes {MAX_RECORD:,} at most")
        return self._producer.send(
            self._names[record.topic],
            value=record.value,
            key=record.key,
            headers=list(record.headers),
            partition=record.partition,
            timestamp_ms=record.written,
        )

    def account(self, records: Sequence[WireRecord], failed: Sequence[tuple[WireRecord, BaseException]]) -> None:
        """Count what became of records; raise for the first that failed. For `Sending`."""
        sums: dict[tuple[str, str], list[int]] = {}
        lost = {id(record) for record, _ in failed}
        for record in records:
            outcome = "failed" if id(record) in lost else "acknowledged"
            entry = sums.setdefault((record.topic, outcome), [0, 0])
            entry[0] += 1
            entry[1] += len(record.key) + len(record.value or b"")
        for (topic, outcome), (number, size) in sums.items():
            self._counted(topic, outcome, number, size)
        if failed:
            gc.collect()  # in an outage the client leaves a socket behind every second, in cycles nobody else breaks
            self._raise(*failed[0])

    def _raise(self, record: WireRecord, error: BaseException) -> None:
        name = self._settings.topic(record.topic)
        if not isinstance(error, errors.KafkaTimeoutError):
            raise in_words(self._settings, error, f"topic {name} cannot be written", name) from error
        try:  # the client repeats what fails until its time is up, and does not tell why
            self._look([record.topic], LOOK_SECONDS)
        except PlaceRefused:
            self._names.pop(record.topic, None)
            raise
        except PlaceUnavailable:
            pass  # what is told below
        where = f"topic {name} at {self._settings.bootstrap}"
        advice = "does the broker run, and is kafka.bootstrap right? Check with `revet doctor`"
        message = f"{where}: nothing was acknowledged for {DELIVERY_SECONDS} s; {advice}"
        raise PlaceUnavailable(UNAVAILABLE, message) from error

    # ------------------------------------------------------------------ end

    def flush(self) -> None:
        """Send what waits, without telling what became of it (`Sending.wait` does). Raises PlaceUnavailable."""
        with told(self._settings, "records that wait cannot be written"):
            self._producer.flush(DELIVERY_SECONDS)

    def close(self) -> None:
        """Send what waits, and disconnect. What a broker does not take within ten seconds is given up."""
        with suppress(errors.KafkaTimeoutError):
            self._producer.close(timeout=REQUEST_SECONDS)


def needs_checksum() -> None:
    """kafka-python computes checksums in Python when crc32c is not installed: ten times slower, without a word.

    Raises:
        InputError: it is not installed.
    """
    if importlib.util.find_spec("crc32c") is None:
        raise InputError(
            "the package crc32c is missing, without which Kafka is ten times slower; install revet[cluster]"
        )


def partition_counts(settings: KafkaSettings, topics: Iterable[str], seconds: int = CONNECT_SECONDS) -> dict[str, int]:
    """Topic (as `streams.topics` calls it) -> partitions on the broker; 0: there is none.

    Raises:
        PlaceUnavailable: no broker answers; PlaceRefused: we may not ask.
    """
    names = {settings.topic(topic): topic for topic in topics}
    options = connection(settings, "topics") | {"bootstrap_timeout_ms": seconds * 1000}
    client = connected(settings, KafkaAdminClient, options)
    with told(settings, f"topics cannot be looked up at {settings.bootstrap}"):
        try:
            found = client.describe_topics(list(names))
        finally:
            client.close()
    counts = dict.fromkeys(names.values(), 0)
    for described in found:
        code = described["error_code"]
        kind = errors.for_code(code)
        if kind is errors.UnknownTopicOrPartitionError:
            continue
        if code:
            raise in_words(settings, kind(described["name"]), "topics cannot be looked up", described["name"])
        counts[names[described["name"]]] = len(described["partitions"])
    return counts
