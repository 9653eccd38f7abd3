"""The link to Kafka: an idempotent producer, and readers outside every group (aiokafka). Both engines use it.

link = KafkaLink(settings, needed=("revet.state", "revet.trust"))
await link.start()                       # a missing topic is an error now, not a hang at the first record
position = await (await link.send(record))
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    CommitFailedError,
    ConsumerStoppedError,
    GroupAuthorizationFailedError,
    IllegalStateError,
    KafkaError,
    RecordTooLargeError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)
from aiokafka.structs import ConsumerRecord

from streams.engine.broker import Followed, Slot
from streams.engine.port import Record
from streams.engine.wire import WireRecord, from_wire
from streams.settings import KafkaSettings
from streams.settings.tls import tls_context
from streams.topics import TOPICS
from verifier.errors import PlaceRefused, PlaceUnavailable, RevetError

T = TypeVar("T")

RANGE: Final = RangePartitionAssignor
"""Gives partition i of every topic to the same worker, when all read the same topics."""
REQUEST_MS: Final = 30_000
"""How long one request to a broker may take."""
GIVE_UP_MS: Final = 120_000
"""How long a record is sent again before its process gives up and is started anew."""
LINGER_MS: Final = 5
"""How long a record waits for company."""
BATCH_BYTES: Final = 256 * 1024
READ_AT_ONCE: Final = 5000
"""Records per answer of a reader."""


def connection(settings: KafkaSettings) -> dict[str, Any]:  # Any: keyword arguments of a client
    """How a client connects, as aiokafka's classes take it.

    Raises:
        InputError: a certificate or a password file cannot be read.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": list(settings.brokers),
        "security_protocol": settings.security.upper(),
        "request_timeout_ms": REQUEST_MS,
    }
    if settings.uses_tls:
        options["ssl_context"] = tls_context(settings)
    if settings.uses_sasl:
        options["sasl_mechanism"] = settings.sasl_mechanism
        options["sasl_plain_username"] = settings.username
        options["sasl_plain_password"] = settings.password_text()
    return options


_DENIED: Final = (ClusterAuthorizationFailedError, GroupAuthorizationFailedError, TopicAuthorizationFailedError)


def explained(error: BaseException, what: str) -> RevetError:
    """A client's error in words: what was tried, what the broker said, what to do."""
    if isinstance(error, RevetError):
        return error
    said = str(error) or type(error).__name__
    if isinstance(error, _DENIED):
        return PlaceRefused("kafka-refused", f"{what}: not allowed ({said}); `revet topics apply --acls` grants it")
    if isinstance(error, SaslAuthenticationFailed):
        return PlaceRefused("kafka-refused", f"{what}: the broker does not accept kafka.username and its password")
    if isinstance(error, UnknownTopicOrPartitionError):
        return PlaceRefused("kafka-topic-missing", f"{what}: a topic is missing; `revet topics apply` makes it")
    if isinstance(error, RecordTooLargeError):
        return PlaceRefused("kafka-record-too-large", f"{what}: {said}")
    return PlaceUnavailable("kafka-unavailable", f"{what}: {type(error).__name__}: {said}; is kafka.bootstrap right?")


async def store_positions(consumer: AIOKafkaConsumer, positions: Mapping[TopicPartition, int]) -> bool:
    """Store positions of a group from within it. False: the group is being arranged anew, or the broker does not answer
    now; what is not stored is repeated by whoever reads on.

    Raises:
        KafkaError: the broker does not let us, or does not understand.
    """
    ours = {tp: at for tp, at in positions.items() if tp in consumer.assignment()}
    try:
        await consumer.commit(ours)
    except (CommitFailedError, IllegalStateError):
        return False
    except KafkaError as error:
        if not error.retriable:
            raise
        return False
    return True


async def group_positions(settings: KafkaSettings, group: str, slots: Collection[Slot]) -> dict[Slot, int | None]:
    """Stored positions of a consumer group, from outside of it; None where there is none.

    Raises:
        PlaceUnavailable, PlaceRefused: the broker does not answer, or does not let us ask.
    """
    admin = AIOKafkaAdminClient(**connection(settings))
    asked = {TopicPartition(settings.topic(slot.topic), slot.partition): slot for slot in slots}
    try:
        await admin.start()
        found = await _asked_again(lambda: admin.list_consumer_group_offsets(group, partitions=list(asked)))
    except KafkaError as error:
        raise explained(error, f"asking how far {group} is") from error
    finally:
        await admin.close()
    positions = {asked[tp]: at.offset for tp, at in found.items() if tp in asked}
    return {slot: at if (at := positions.get(slot, -1)) >= 0 else None for slot in slots}


async def _asked_again(ask: Callable[[], Awaitable[T]]) -> T:
    """The answer; a broker that has just begun, or lost the group to another, is asked again for a while."""
    until = asyncio.get_running_loop().time() + REQUEST_MS / 1000
    while True:
        try:
            return await ask()
        except KafkaError as error:
            if not error.retriable or asyncio.get_running_loop().time() > until:
                raise
        await asyncio.sleep(0.2)


def records_of(found: Sequence[ConsumerRecord], prefix: str) -> list[Record]:
    """Records of one partition as the rest of the program knows them: under the topic's own name."""
    topic = found[0].topic.removeprefix(prefix) if found else ""
    return [from_wire(topic, r.partition, r.offset, r.key, r.value, r.headers, r.timestamp) for r in found]


class KafkaLink:
    """Implements `Link`."""

    def __init__(self, settings: KafkaSettings, needed: Sequence[str] = ()) -> None:
        self._settings = settings
        self._needed = tuple(needed)
        self._options = connection(settings)
        self._producer: AIOKafkaProducer | None = None
        self._asker: AIOKafkaConsumer | None = None

    async def start(self) -> None:
        """See `Link.start`."""
        producer = AIOKafkaProducer(
            **self._options | {"request_timeout_ms": GIVE_UP_MS},
            acks="all",
            enable_idempotence=True,
            linger_ms=LINGER_MS,
            max_batch_size=BATCH_BYTES,
        )
        asker = AIOKafkaConsumer(**self._options, enable_auto_commit=False)
        try:
            await producer.start()
            self._producer = producer
            await asker.start()
            self._asker = asker
            await self._check_topics()
        except BaseException as error:
            await self.stop()
            if isinstance(error, KafkaError):
                raise explained(error, f"kafka at {self._settings.bootstrap}") from error
            raise

    async def _check_topics(self) -> None:
        """Whatever is missing would be a silent wait later."""
        admin = AIOKafkaAdminClient(**self._options)
        names = {self._settings.topic(name): name for name in self._needed}
        try:
            await admin.start()
            found = {t["topic"]: len(t["partitions"]) for t in await admin.describe_topics(list(names)) if names}
        finally:
            await admin.close()
        for full, name in names.items():
            wanted = TOPICS[name].partitions(self._settings.partitions)
            if not found.get(full):
                raise PlaceRefused("kafka-topic-missing", f"topic {full} is missing; `revet topics apply` makes it")
            if found[full] != wanted:
                raise PlaceRefused(
                    "kafka-partitions",
                    f"topic {full} has {found[full]} partitions, kafka.partitions says {wanted}: set it to what is"
                    " there, or reshard (docs/operations.md)",
                )

    async def stop(self) -> None:
        """See `Link.stop`."""
        for client in (self._producer, self._asker):
            if client is not None:
                await client.stop()
        self._producer = self._asker = None

    async def send(self, record: WireRecord) -> asyncio.Future[int]:
        """See `Link.send`."""
        if self._producer is None:
            raise PlaceUnavailable("kafka-unavailable", "not connected to kafka")
        try:
            sent = await self._producer.send(
                self._settings.topic(record.topic),
                record.value,
                record.key,
                partition=record.partition,
                timestamp_ms=record.written,
                headers=list(record.headers),
            )
        except KafkaError as error:
            raise explained(error, f"writing to {record.topic}") from error
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def tell(result: asyncio.Future[Any]) -> None:
            if result.cancelled():
                done.cancel()
            elif (error := result.exception()) is not None:
                if not done.done():
                    done.set_exception(explained(error, f"writing to {record.topic}"))
                    done.exception()  # heard: one error ends the process, the rest need not be told
            elif not done.done():
                done.set_result(int(result.result().offset))

        sent.add_done_callback(tell)
        return done

    async def ends(self, slots: Collection[Slot]) -> dict[Slot, int]:
        """See `Link.ends`."""
        if self._asker is None:
            raise PlaceUnavailable("kafka-unavailable", "not connected to kafka")
        asked = {self._partition(slot): slot for slot in slots}
        try:
            found = await self._asker.end_offsets(list(asked))
        except (KafkaError, ValueError) as error:
            raise explained(error, "asking where topics end") from error
        return {asked[tp]: offset for tp, offset in found.items()}

    async def read(self, slot: Slot, start: int, end: int) -> AsyncIterator[Sequence[Record]]:
        """See `Link.read`."""
        async with self._reader([slot]) as reader:
            partition = self._partition(slot)
            reader.seek(partition, start)
            while await reader.position(partition) < end:
                found = await reader.getmany(timeout_ms=1000, max_records=READ_AT_ONCE)
                records = records_of([r for r in found.get(partition, ()) if r.offset < end], self._settings.prefix)
                if records:
                    yield records

    async def follow(self, slots: Collection[Slot], start: Mapping[Slot, int] | None = None) -> AsyncIterator[Followed]:
        """See `Link.follow`."""
        async with self._reader(slots) as reader:
            partitions = {self._partition(slot): slot for slot in slots}
            for partition, slot in partitions.items():
                reader.seek(partition, (start or {}).get(slot, 0))
            while True:
                found = await reader.getmany(timeout_ms=500, max_records=READ_AT_ONCE)
                records = [record for batch in found.values() for record in records_of(batch, self._settings.prefix)]
                yield Followed(records, {slot: await reader.position(p) for p, slot in partitions.items()})

    @asynccontextmanager
    async def _reader(self, slots: Collection[Slot]) -> AsyncIterator[AIOKafkaConsumer]:
        reader = AIOKafkaConsumer(
            **self._options,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=4 * 1024 * 1024,
        )
        try:
            await reader.start()
            reader.assign([self._partition(slot) for slot in slots])
            yield reader
        except KafkaError as error:
            raise explained(error, f"reading {', '.join(map(str, slots))}") from error
        finally:
            await reader.stop()

    def _partition(self, slot: Slot) -> TopicPartition:
        return TopicPartition(self._settings.topic(slot.topic), slot.partition)


__all__ = [
    "RANGE",
    "ConsumerStoppedError",
    "KafkaError",
    "KafkaLink",
    "connection",
    "explained",
    "group_positions",
    "records_of",
    "store_positions",
]
