"""Whole topics for commands: from the oldest record to what was the newest when reading began, outside every group.

    log = KafkaLog(settings.kafka)
    for record in log.read(TRUST): ...
    log.end_offsets(TRUST)                 {0: 17}: the position behind the newest record of each partition

Nothing is committed, and nobody else's reading is disturbed.
"""

from __future__ import annotations

import time
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from kafka import KafkaConsumer, TopicPartition

from streams.engine.port import Record
from streams.engine.wire import from_wire
from streams.kafka.connecting import MISSING, UNAVAILABLE, connected, connection, told
from streams.kafka.producer import needs_checksum, partition_counts
from streams.settings import KafkaSettings
from verifier.errors import PlaceRefused, PlaceUnavailable

SILENT_SECONDS: Final = 30
"""After so long without a record although some are left, reading ends with an error."""
POLL_MS: Final = 500
POLL_RECORDS: Final = 2000
_READING: Final = {
    "group_id": None,
    "enable_auto_commit": False,
    "auto_offset_reset": "earliest",
    "fetch_max_wait_ms": 100,
    "allow_auto_create_topics": False,
    "metrics_enabled": False,
}


class KafkaLog:
    """Reads topics whole. Each call connects anew, so that commands hold no connection."""

    def __init__(self, settings: KafkaSettings) -> None:
        needs_checksum()
        self._settings = settings

    def end_offsets(self, topic: str) -> dict[int, int]:
        """Partition -> the position behind its newest record.

        Raises:
            PlaceRefused: there is no such topic, or we may not read it; PlaceUnavailable: no broker answers.
        """
        with self._consumer(topic) as (consumer, partitions):
            return self._ends(consumer, topic, partitions)

    def read(
        self, topic: str, start: Mapping[int, int] | None = None, only: Container[int] | None = None
    ) -> Iterator[Record]:
        """Every record that was there when reading began; records of one partition in order.

        Args:
            topic: as `streams.topics` calls it.
            start: partition -> position to begin at; the oldest record of those that are not named.
            only: partitions that are read; None: all.

        Raises:
            PlaceRefused, PlaceUnavailable: as `end_offsets`, also in the middle.
        """
        with self._consumer(topic) as (consumer, partitions):
            ends = self._ends(consumer, topic, partitions)
            left = {p: end for p, end in ends.items() if end > 0 and (only is None or p in only)}
            name = self._settings.topic(topic)
            with told(self._settings, f"topic {name} cannot be read", name):
                consumer.assign([TopicPartition(name, p) for p in left])
                for partition in left:
                    self._seek(consumer, TopicPartition(name, partition), (start or {}).get(partition))
            yield from self._until(consumer, topic, left)

    def _until(self, consumer: Any, topic: str, left: dict[int, int]) -> Iterator[Record]:  # noqa: ANN401  # untyped
        name = self._settings.topic(topic)
        heard = time.monotonic()
        while True:
            with told(self._settings, f"topic {name} cannot be read", name):
                for slot in [slot for slot in consumer.assignment() if _reached(consumer, slot, left)]:
                    left.pop(slot.partition, None)
                    consumer.pause(slot)
                if not left:
                    return
                batches = consumer.poll(timeout_ms=POLL_MS, max_records=POLL_RECORDS)
            for slot, messages in batches.items():
                heard = time.monotonic()
                end = left.get(slot.partition, 0)
                for found in messages:
                    if found.offset < end:  # later ones came while we read
                        yield from_wire(
                            topic, slot.partition, found.offset, found.key, found.value, found.headers, found.timestamp
                        )
            if time.monotonic() - heard > SILENT_SECONDS:
                message = f"topic {name}: nothing was read for {SILENT_SECONDS} s although records are left; try again"
                raise PlaceUnavailable(UNAVAILABLE, message)

    @contextmanager
    def _consumer(self, topic: str) -> Iterator[tuple[Any, int]]:
        settings, name = self._settings, self._settings.topic(topic)
        count = partition_counts(settings, [topic])[topic]
        if not count:
            raise PlaceRefused(MISSING, f"there is no topic {name} on {settings.bootstrap}; create: revet topics apply")
        options = connection(settings, "reader")
        consumer = connected(settings, KafkaConsumer, options | _READING)
        try:
            yield consumer, count
        finally:
            consumer.close()

    def _ends(self, consumer: Any, topic: str, partitions: int) -> dict[int, int]:  # noqa: ANN401  # untyped
        name = self._settings.topic(topic)
        with told(self._settings, f"topic {name} cannot be read", name):
            found = consumer.end_offsets([TopicPartition(name, p) for p in range(partitions)])
        return {slot.partition: int(end) for slot, end in found.items()}

    @staticmethod
    def _seek(consumer: Any, slot: TopicPartition, start: int | None) -> None:  # noqa: ANN401  # untyped
        if start is None:
            consumer.seek_to_beginning(slot)
        else:
            consumer.seek(slot, start)


def _reached(consumer: Any, slot: TopicPartition, left: Mapping[int, int]) -> bool:  # noqa: ANN401  # untyped
    """Read up to its end: also over what compaction or retention removed, where no record ever comes."""
    return slot.partition in left and int(consumer.position(slot)) >= left[slot.partition]
