"""A topic of somebody else's brokers, from which audit events are taken: Azure Event Hubs and the like.

    with Deliveries(kafka, topic, group) as found:
        for value in found.poll(): ...
        found.commit()                   once all of it is durable with us

Nothing is committed by itself: what was polled and not committed comes again, and has the same ids.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Final, Self

from kafka import KafkaConsumer, errors

from streams.kafka.connecting import MISSING, connected, connection, in_words, told
from streams.settings import KafkaSettings
from verifier.errors import PlaceRefused

POLL_MS: Final = 1000
POLL_RECORDS: Final = 100
"""Records taken together: of Event Hubs each is a batch of up to 1 MiB."""
FETCH_BYTES: Final = 32 * 1024 * 1024


class Deliveries:
    """One member of a consumer group. Its methods block; one thread at a time may use it."""

    def __init__(self, settings: KafkaSettings, topic: str, group: str) -> None:
        """Connect and join.

        Raises:
            InputError: a setting is wrong; PlaceUnavailable: no broker answers; PlaceRefused: none lets us in, or
                there is no such topic.
        """
        self._settings, self._topic = settings, topic
        options: dict[str, Any] = connection(settings, "hub") | {
            "group_id": group,
            "enable_auto_commit": False,
            "auto_offset_reset": "earliest",
            "allow_auto_create_topics": False,
            "max_poll_records": POLL_RECORDS,
            "fetch_max_bytes": FETCH_BYTES,
            "max_partition_fetch_bytes": FETCH_BYTES,
            "session_timeout_ms": settings.session_timeout_seconds * 1000,
            "metrics_enabled": False,
        }
        self._consumer = connected(settings, KafkaConsumer, options)
        try:
            with told(settings, f"topic {topic} cannot be read", topic):
                if not self._consumer.partitions_for_topic(topic):
                    raise PlaceRefused(MISSING, f"there is no topic {topic} on {settings.bootstrap}; see hub.topic")
                self._consumer.subscribe([topic])
        except BaseException:
            self._consumer.close()
            raise

    def __enter__(self) -> Self:
        """Connected."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Left the group."""
        self._consumer.close()

    def poll(self) -> list[bytes]:
        """What came, in order within a partition; empty after a second of silence.

        Raises:
            PlaceError: it cannot be read.
        """
        with told(self._settings, f"topic {self._topic} cannot be read", self._topic):
            batches = self._consumer.poll(timeout_ms=POLL_MS)
        return [found.value for messages in batches.values() for found in messages if found.value]

    def commit(self) -> bool:
        """Everything that was polled is done. False: somebody else has those partitions now, and takes it again.

        Raises:
            PlaceError: it cannot be kept.
        """
        try:
            self._consumer.commit()
        except (errors.CommitFailedError, errors.IllegalGenerationError, errors.RebalanceInProgressError):
            return False
        except errors.KafkaError as error:
            what = f"progress in topic {self._topic} cannot be kept"
            raise in_words(self._settings, error, what, self._topic) from error
        return True
