"""A consumer group on Faust, in the one narrow way that loses nothing. No other file may use Faust's decorators.

Used as in its tutorials, Faust acknowledges what failed, commits past what is unfinished, drops what was cancelled. So:

* one agent per topic, `concurrency=1`, over `stream.noack().events()`; never `take`, `group_by`, tables, sinks
* Faust acknowledges and commits nothing: we store positions, in order, once effects are durable (`Positions`)
* values are raw bytes; nothing in an agent's body can fail for what is in them
* `CrashingSupervisor`, `stream_wait_empty=False`: a failure ends the process; a stop waits for nothing it cancels
* every send goes through `streams.engine.link`, never through Faust's producer
* a monitor that does not trust any of this checks that positions are contiguous (`streams.engine.lanes`)

Its consumer has defects that settings do not reach; `_Consumer` and `_Thread` mend them, and say which. Figures and the
experiments behind these rules: docs/decisions/0019-faust-narrowly.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import faust
from faust.transport.drivers import aiokafka as driver
from mode.supervisors import CrashingSupervisor

from streams.engine.broker import Listener, Slot
from streams.engine.link import RANGE, ConsumerStoppedError, KafkaError, connection, explained, store_positions
from streams.engine.port import Record
from streams.engine.positions import Positions
from streams.engine.wire import from_wire
from streams.settings import KafkaSettings
from streams.topics import TOPICS
from verifier.errors import PlaceUnavailable

BUFFER: Final = 4096
"""Events between the consumer and an agent."""
FETCH_AT_ONCE: Final = 2000
"""Records per answer."""
FETCH_SECONDS: Final = 0.2
"""How long an answer may wait for records; also how soon a partition that is resumed is fetched again."""
LOOK_EVERY: Final = 0.5
"""Seconds between two looks at whether Faust is still alive."""


class FaustSource:
    """Implements `Source`."""

    def __init__(self, settings: KafkaSettings, part: str, topics: Sequence[str]) -> None:
        self._settings = settings
        self._group = settings.group(part)
        self._topics = tuple(topics)
        self._app: Any = None
        self._listener: Listener | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._positions = Positions(self._commit)
        self._arranged = asyncio.Event()
        """Partitions are handed out and whoever owns them knows."""
        self._arrived: dict[Slot, list[Record]] = {}
        """Events of this round of the loop, to be handed over together."""
        self._last: dict[Slot, int] = {}
        """Newest position handed over of each partition."""
        self._stale: dict[Slot, _Stale] = {}
        """Partitions that are read again -> which events are still those of the first reading."""

    async def start(self, listener: Listener) -> None:
        """See `Source.start`."""
        self._listener = listener
        self._app = app = self._make_app()
        app.transport.Consumer = partial(_Consumer, has_holes=self._has_holes)
        app.on_partitions_assigned.connect(self._given, weak=False)
        app.on_partitions_revoked.connect(self._taken, weak=False)
        for name in self._topics:
            full = self._settings.topic(name)
            topic = app.topic(full, value_type=bytes, value_serializer="raw", key_serializer="raw")
            app.agent(topic, concurrency=1, name=f"revet.{name}")(self._body(name))
        try:
            await app.start()
        except Exception as error:
            raise explained(error, f"joining {self._group}") from error
        self._tasks = [asyncio.create_task(work) for work in (self._watch(), self._positions.run())]
        for task in self._tasks:
            task.add_done_callback(self._ended)

    def _make_app(self) -> Any:  # noqa: ANN401  # the library is not typed
        timeout = self._settings.session_timeout_seconds
        return faust.App(
            self._group,
            broker=[f"kafka://{broker}" for broker in self._settings.brokers],
            broker_credentials=_credentials(connection(self._settings)),
            agent_supervisor=CrashingSupervisor,
            stream_wait_empty=False,
            topic_disable_leader=True,
            topic_allow_declare=False,
            web_enabled=False,
            broker_session_timeout=timeout,
            broker_request_timeout=max(90.0, 2.0 * timeout),
            broker_heartbeat_interval=timeout / 4,
            broker_max_poll_interval=600.0,
            broker_max_poll_records=FETCH_AT_ONCE,
            consumer_auto_offset_reset="earliest",
            stream_buffer_maxsize=BUFFER,
            table_standby_replicas=0,
            autodiscover=False,
            store="memory://",
            datadir=Path(tempfile.gettempdir()) / "revet-faust",  # made, never used: there are no tables
        )

    async def stop(self) -> None:
        """See `Source.stop`."""
        for task in self._tasks:
            task.remove_done_callback(self._ended)
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._app is None:
            return
        try:
            with contextlib.suppress(Exception):  # repeated by whoever reads on
                await self._positions.store()
        finally:
            await self._app.stop()

    def ack(self, slot: Slot, position: int) -> None:
        """See `Source.ack`."""
        self._positions.ack(slot, position)

    def pause(self, slot: Slot) -> None:
        """See `Source.pause`."""
        self._app.consumer.pause_partitions({self._partition(slot)})

    def resume(self, slot: Slot) -> None:
        """See `Source.resume`."""
        if (partition := self._partition(slot)) in self._app.consumer.assignment():
            self._app.consumer.resume_partitions({partition})

    def again(self, slot: Slot, position: int) -> None:
        """See `Source.again`."""
        self._stale[slot] = stale = _Stale(self._last[slot])
        self._app.consumer.read_again(self._partition(slot), position, stale.ends)

    async def committed(self, slots: Collection[Slot]) -> dict[Slot, int | None]:
        """See `Source.committed`."""
        try:
            found = await self._app.consumer.committed([self._partition(slot) for slot in slots])
        except Exception as error:
            raise explained(error, f"asking how far {self._group} is") from error
        return dict(zip(slots, found, strict=True))

    async def _commit(self, positions: Mapping[Slot, int]) -> bool:
        stored: bool = await self._app.consumer.store({self._partition(s): at for s, at in positions.items()})
        return stored

    # ------------------------------------------------------------------ Faust's side

    def _body(self, name: str) -> Callable[[Any], Awaitable[None]]:
        """The body of a topic's agent: hands events over, acknowledges nothing, and never raises for an event."""

        async def body(stream: Any) -> None:  # noqa: ANN401  # the library is not typed
            async for event in stream.noack().events():
                if not self._arranged.is_set():
                    await self._arranged.wait()
                self._take(name, event.message)

        return body

    def _take(self, name: str, message: Any) -> None:  # noqa: ANN401  # the library is not typed
        if message.generation_id != self._app.consumer_generation_id:
            return  # its partition changed hands meanwhile, and it comes again to whoever owns it
        slot = Slot(name, message.partition)
        if (stale := self._stale.get(slot)) is not None:
            if stale.covers(message.offset):
                return
            del self._stale[slot]
        if not self._arrived:
            asyncio.get_running_loop().call_soon(self._hand_over)
        self._arrived.setdefault(slot, []).append(_record(name, message))

    def _hand_over(self) -> None:
        arrived, self._arrived = self._arrived, {}
        if self._listener is None or not self._arranged.is_set():
            return
        try:
            for slot, records in arrived.items():
                self._last[slot] = records[-1].position
                self._listener.deliver(slot, records)
        except Exception as error:  # noqa: BLE001  # the loop would log it and go on
            self._failed(error)

    async def _given(self, _app: Any, assigned: Collection[Any], **_: Any) -> None:  # noqa: ANN401  # as above
        slots = [self._slot(tp) for tp in assigned]
        self._positions.begin(slots)
        self._stale.clear()  # every partition is read again from what is stored
        try:
            if self._listener is not None and slots:
                await self._listener.assigned(slots)
        except Exception as error:  # noqa: BLE001  # Faust would log it and go on
            self._failed(error)
            return
        self._arranged.set()

    async def _taken(self, _app: Any, revoked: Collection[Any], **_: Any) -> None:  # noqa: ANN401  # as above
        self._arranged.clear()
        slots = [self._slot(tp) for tp in revoked]
        try:
            if self._listener is not None and slots:
                await self._listener.revoked(slots)
                await self._positions.store()
        except Exception as error:  # noqa: BLE001  # as above
            self._failed(error)
        self._positions.end()

    async def _watch(self) -> None:
        while not self._app.should_stop and self._app.crash_reason is None:  # noqa: ASYNC110  # it offers no event
            await asyncio.sleep(LOOK_EVERY)
        reason = self._app.crash_reason
        said = f": {type(reason).__name__}: {reason}" if reason is not None else ""
        raise PlaceUnavailable("kafka-unavailable", f"the consumers of {self._group} ended{said}")

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(explained(error, f"group {self._group}"))

    def _failed(self, error: BaseException) -> None:
        if self._listener is not None:
            self._listener.failed(error)

    def _has_holes(self, tp: Any) -> bool:  # noqa: ANN401  # as above
        return TOPICS[self._slot(tp).topic].keep == "newest"

    def _slot(self, tp: Any) -> Slot:  # noqa: ANN401  # as above
        return Slot(tp.topic.removeprefix(self._settings.prefix), tp.partition)

    def _partition(self, slot: Slot) -> Any:  # noqa: ANN401  # as above
        return faust.types.TP(self._settings.topic(slot.topic), slot.partition)


class _Stale:
    """Which events of a partition come from before it was read again: they are on their way in order, and nothing that
    was fetched before goes beyond `high`.
    """

    def __init__(self, last: int) -> None:
        self._last = last
        self._high: int | None = None

    def ends(self, high: int) -> None:
        """The first reading ended with this position; what comes behind it in the queue is of the second."""
        self._high = high

    def covers(self, position: int) -> bool:
        """Is this event, the next of the queue, of the first reading?"""
        if position <= self._last or (self._high is not None and position > self._high):
            return False
        self._last = position
        return True


class _Thread(driver.AIOKafkaConsumerThread):
    """The thread that speaks to the broker."""

    def _create_worker_consumer(self, transport: Any) -> Any:  # noqa: ANN401  # as above
        """Without tables Faust spreads every topic for itself; shards need partition i of all topics in one place."""
        consumer = super()._create_worker_consumer(transport)
        consumer._partition_assignment_strategy = (RANGE,)  # noqa: SLF001  # Faust has no setting for it
        return consumer

    async def _fetch_records(
        self,
        consumer: Any,  # noqa: ANN401  # as above
        active_partitions: set[Any],
        timeout: float | None = None,  # noqa: ASYNC109  # Faust's
        max_records: int | None = None,
    ) -> Any:  # noqa: ANN401  # as above
        """Faust never asks how the group is: after an error in it the consumer would be silent for ever. And while
        everything was paused it fetched nothing, which after a while costs the membership.
        """
        consumer._coordinator.check_errors()  # noqa: SLF001  # what `getmany` does
        if active_partitions:
            return await super()._fetch_records(consumer, active_partitions, timeout, max_records)
        with consumer._fetcher._subscriptions.fetch_context():  # noqa: SLF001  # as above
            await asyncio.sleep(FETCH_SECONDS / 4)
        return {}


class _Consumer(driver.Consumer):
    """Faust's consumer, where it would lose or forget something.

    * It would commit what streams acknowledge, which they also do with events of a former assignment they skip.
    * What was fetched of a partition that is then paused was dropped, and reading went on behind it.
    * A partition that was paused went on once its buffer ran empty.
    * What was fetched before a rebalance and arrives after it was taken for news.
    """

    def __init__(self, *given: Any, has_holes: Callable[[Any], bool], **named: Any) -> None:  # noqa: ANN401  # as above
        super().__init__(*given, **named)
        self._has_holes = has_holes
        self._next: dict[Any, int] = {}
        """Partition -> the offset that has to come next."""
        self._reread: dict[Any, int] = {}
        """Partition -> where it was read again, for a hole that was not in the log."""
        self._asked: dict[Any, tuple[int, Callable[[int], None]]] = {}
        """Partition -> from where somebody wants it again, and whom to tell the end of what was handed over before."""

    def _new_consumer_thread(self) -> _Thread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)

    # ---- what the source asks

    async def committed(self, partitions: Sequence[Any]) -> list[int | None]:
        """Stored positions of partitions that are ours."""
        client = self._thread._ensure_consumer()  # noqa: SLF001  # Faust has no call for it
        asked = (self._thread.call_thread(client.committed, driver.ensure_aiokafka_TP(tp)) for tp in partitions)
        return list(await asyncio.gather(*asked))

    async def store(self, positions: Mapping[Any, int]) -> bool:
        """Store positions; see `streams.engine.link.store_positions`."""
        client = self._thread._ensure_consumer()  # noqa: SLF001  # Faust's own commit ends the thread on every error
        wanted = {driver.ensure_aiokafka_TP(tp): at for tp, at in positions.items()}
        stored: bool = await self._thread.call_thread(store_positions, client, wanted)
        return stored

    def read_again(self, tp: Any, position: int, ends: Callable[[int], None]) -> None:  # noqa: ANN401  # as above
        """Go back before the next fetch; `ends` hears the last position handed over before it."""
        self._asked[tp] = (position, ends)

    # ---- what Faust asks

    def ack(self, _message: Any) -> bool:  # noqa: ANN401  # as above
        """Nothing is acknowledged to Faust."""
        return False

    async def commit(self, *_: Any, **__: Any) -> bool:  # noqa: ANN401  # as above
        """Nothing is committed by Faust."""
        return False

    def on_buffer_drop(self, tp: Any) -> None:  # noqa: ANN401  # as above
        """A buffer has room again; a partition that we paused stays so."""
        if tp in self._paused_partitions:
            self._buffered_partitions.discard(tp)
        else:
            super().on_buffer_drop(tp)

    async def perform_seek(self) -> None:
        """Reading begins at what is stored: after every rebalance."""
        await super().perform_seek()
        self._next = {tp: at for tp, at in self._read_offset.items() if at is not None}
        self._reread.clear()
        self._asked.clear()

    async def _drain_messages(self, fetcher: Any) -> None:  # noqa: ANN401  # as above
        """Fetch, and hand over, until stopped. Also spares the two tasks that Faust makes for every message."""
        try:
            while not (self._stopped.is_set() or fetcher._stopped.is_set()):  # noqa: SLF001  # as in what this replaces
                if self.flow_active:
                    await self._fetch_and_hand_over()
                else:
                    await self.wait(self.can_resume_flow.wait())
        except (ConsumerStoppedError, asyncio.CancelledError):
            if not self.app.should_stop:
                raise

    async def _go_back(self) -> None:
        for tp, (position, ends) in list(self._asked.items()):
            with contextlib.suppress(TimeoutError, KafkaError):  # tried again, or a rebalance began and seeks itself
                await self.seek_wait({tp: position})
                if self._asked.pop(tp, None) is not None:
                    ends(self._next.get(tp, position) - 1)
                    self._next[tp] = position

    async def _fetch_and_hand_over(self) -> None:
        await self._go_back()
        found = await self._getmany(active_partitions=set(self._get_active_partitions()), timeout=FETCH_SECONDS)
        ours = self.assignment() if found else ()
        for tp, records in found.items():
            if tp not in ours:
                continue
            for record in await self._in_order(tp, records):
                if not self.flow_active:
                    return
                await self.callback(self._to_message(tp, record))
                self._next[tp] = record.offset + 1
            await asyncio.sleep(0)

    async def _in_order(self, tp: Any, records: Sequence[Any]) -> Sequence[Any]:  # noqa: ANN401  # as above
        """Those that come next. A hole is read once more: only when it is still there it is one of the log."""
        expected, first = self._next.get(tp), records[0].offset
        if expected is None or first == expected:
            return records
        if first < expected:
            return [record for record in records if record.offset >= expected]
        if self._has_holes(tp) or self._reread.get(tp) == expected:
            return records
        with contextlib.suppress(TimeoutError, KafkaError):  # a rebalance began: everything is read again
            await self.seek_wait({tp: expected})
            self._reread[tp] = expected
        return ()


def _record(name: str, message: Any) -> Record:  # noqa: ANN401  # as above
    headers = message.headers.items() if isinstance(message.headers, dict) else message.headers or ()
    return from_wire(
        name, message.partition, message.offset, message.key, message.value, headers, int(message.timestamp * 1000)
    )


def _credentials(options: dict[str, Any]) -> Any:  # noqa: ANN401  # as above
    context = options.get("ssl_context")
    if "sasl_mechanism" in options:
        return faust.SASLCredentials(
            username=options["sasl_plain_username"],
            password=options["sasl_plain_password"],
            mechanism=options["sasl_mechanism"],
            ssl_context=context,
        )
    return faust.SSLCredentials(context=context) if context is not None else None
