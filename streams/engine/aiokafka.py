"""A consumer group on plain aiokafka: the lighter of the two engines.

One loop fetches for all partitions; a partition whose lane has enough is paused. Positions are stored every second,
before a partition is given up, and at the end; never earlier than they were acknowledged.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError

from streams.engine.broker import Listener, Slot
from streams.engine.link import RANGE, connection, explained, records_of, store_positions
from streams.engine.positions import Positions
from streams.settings import KafkaSettings

FETCH_AT_ONCE: Final = 2000
"""Records per answer."""
LONGEST_POLL_MS: Final = 600_000
"""A process may be busy this long between two fetches: longer than any restore."""


class AiokafkaSource:
    """Implements `Source`."""

    def __init__(self, settings: KafkaSettings, part: str, topics: Sequence[str]) -> None:
        self._settings = settings
        self._group = settings.group(part)
        self._topics = tuple(topics)
        self._consumer: AIOKafkaConsumer | None = None
        self._listener: Listener | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._positions = Positions(self._commit)
        self._arranged = asyncio.Event()
        """Partitions are handed out and whoever owns them knows."""
        self._arrangement = 0
        """Counts rebalances: what was fetched before one is stale after it."""
        self._stopping = False

    async def start(self, listener: Listener) -> None:
        """See `Source.start`."""
        self._listener = listener
        session_ms = self._settings.session_timeout_seconds * 1000
        self._consumer = AIOKafkaConsumer(
            **connection(self._settings),
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=session_ms,
            heartbeat_interval_ms=session_ms // 4,
            max_poll_interval_ms=LONGEST_POLL_MS,
            partition_assignment_strategy=(RANGE,),
        )
        names = [self._settings.topic(topic) for topic in self._topics]
        try:
            self._consumer.subscribe(names, listener=_Rebalance(self))
            await self._consumer.start()
        except KafkaError as error:
            raise explained(error, f"joining {self._group}") from error
        self._tasks = [asyncio.create_task(work) for work in (self._fetch(), self._positions.run())]
        for task in self._tasks:
            task.add_done_callback(self._ended)

    async def stop(self) -> None:
        """See `Source.stop`."""
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._consumer is not None:
            try:
                with contextlib.suppress(KafkaError):
                    await self._positions.store()
            finally:
                await self._consumer.stop()
                self._consumer = None

    def ack(self, slot: Slot, position: int) -> None:
        """See `Source.ack`."""
        self._positions.ack(slot, position)

    def pause(self, slot: Slot) -> None:
        """See `Source.pause`."""
        if self._consumer is not None and (partition := self._partition(slot)) in self._consumer.assignment():
            self._consumer.pause(partition)

    def resume(self, slot: Slot) -> None:
        """See `Source.resume`."""
        if self._consumer is not None and (partition := self._partition(slot)) in self._consumer.assignment():
            self._consumer.resume(partition)

    def again(self, slot: Slot, position: int) -> None:
        """See `Source.again`. The client drops what it fetched ahead of a seek."""
        if self._consumer is not None and (partition := self._partition(slot)) in self._consumer.assignment():
            self._consumer.seek(partition, position)

    async def committed(self, slots: Collection[Slot]) -> dict[Slot, int | None]:
        """See `Source.committed`."""
        consumer, _ = self._parts()
        try:
            found = await asyncio.gather(*(consumer.committed(self._partition(slot)) for slot in slots))
        except KafkaError as error:
            raise explained(error, f"asking how far {self._group} is") from error
        return dict(zip(slots, found, strict=True))

    # ------------------------------------------------------------------ tasks

    async def _fetch(self) -> None:
        consumer, listener = self._parts()
        while True:
            found = await consumer.getmany(timeout_ms=1000, max_records=FETCH_AT_ONCE)
            arrangement = self._arrangement
            await self._arranged.wait()  # the client hands out records of partitions before it says that they are ours
            if arrangement != self._arrangement:
                continue
            for partition, batch in found.items():  # nothing is awaited here, so no rebalance comes between
                listener.deliver(self._slot(partition), records_of(batch, self._settings.prefix))
            await asyncio.sleep(0)  # what waits may be handled before more of it is fetched

    async def _commit(self, positions: Mapping[Slot, int]) -> bool:
        consumer, _ = self._parts()
        return await store_positions(consumer, {self._partition(slot): at for slot, at in positions.items()})

    def _ended(self, task: asyncio.Task[None]) -> None:
        if self._stopping or task.cancelled() or self._listener is None:
            return
        error = task.exception()
        if error is not None:
            known = isinstance(error, KafkaError)
            self._listener.failed(explained(error, f"group {self._group}") if known else error)

    # ------------------------------------------------------------------ rebalance

    async def taken(self, partitions: Collection[TopicPartition]) -> None:
        """Partitions go to others: finish, store, forget."""
        _, listener = self._parts()
        self._arranged.clear()
        self._arrangement += 1
        if partitions:
            await listener.revoked([self._slot(p) for p in partitions])
            await self._positions.store()
        self._positions.end()

    async def given(self, partitions: Collection[TopicPartition]) -> None:
        """Partitions are ours."""
        _, listener = self._parts()
        slots = [self._slot(p) for p in partitions]
        self._positions.begin(slots)
        if slots:
            await listener.assigned(slots)
        self._arranged.set()

    def failed(self, error: BaseException) -> None:
        """What went wrong while partitions changed hands ends the process."""
        _, listener = self._parts()
        listener.failed(error)

    def _parts(self) -> tuple[AIOKafkaConsumer, Listener]:
        if self._consumer is None or self._listener is None:
            raise RuntimeError("start comes first")
        return self._consumer, self._listener

    def _partition(self, slot: Slot) -> TopicPartition:
        return TopicPartition(self._settings.topic(slot.topic), slot.partition)

    def _slot(self, partition: TopicPartition) -> Slot:
        return Slot(partition.topic.removeprefix(self._settings.prefix), partition.partition)


class _Rebalance(ConsumerRebalanceListener):  # type: ignore[misc]  # the client is not typed
    """Passes on what changes hands. The client swallows errors of a listener; ours must not be lost."""

    def __init__(self, source: AiokafkaSource) -> None:
        self._source = source

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """See `AiokafkaSource.taken`."""
        try:
            await self._source.taken(revoked)
        except Exception as error:  # noqa: BLE001  # whatever it was, it ends the process
            self._source.failed(error)

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """See `AiokafkaSource.given`."""
        try:
            await self._source.given(assigned)
        except Exception as error:  # noqa: BLE001  # as above
            self._source.failed(error)
