"""One consumer of the engine benchmark, in a process of its own: what costs what is told by the CPU time of a process.

    python -m tests.bench.engine_child KIND BOOTSTRAP PREFIX SHARDS EVENTS GROUP

KIND: getmany, aiokafka, agent, faust. Prints one line of JSON: events, seconds and CPU seconds from the first record
that was handed over to the moment when the last position is stored at the broker. Or restore: how long a judge with one
shard needs until it may judge.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any

import faust
from aiokafka import AIOKafkaConsumer
from mode.supervisors import CrashingSupervisor

from streams.clock import wall_clock
from streams.clustered import ClusterJudge
from streams.engine.aiokafka import AiokafkaSource
from streams.engine.broker import Slot
from streams.engine.faust import FETCH_AT_ONCE, FaustSource
from streams.engine.lanes import LaneOptions, NoMeter, ShardSpec
from streams.engine.link import RANGE, KafkaLink, group_positions
from streams.engine.port import Effects, Record
from streams.engine.view import BroadcastView
from streams.engine.worker import ShardWorker
from streams.garbage import settle_collector
from streams.settings import KafkaSettings
from streams.shared import Shared
from streams.topics import FACTS, OBSERVATIONS, STATE, TRUST
from tests.helpers.trustadmins import ALICE, gate


class Count:
    """When the first came, and how many did."""

    def __init__(self, settings: KafkaSettings, part: str, events: int) -> None:
        self.settings, self.part, self.events = settings, part, events
        self.seen = 0
        self.began: tuple[float, float] | None = None

    def add(self, number: int) -> None:
        if self.began is None:
            self.began = (time.monotonic(), time.process_time())
        self.seen += number

    async def done(self) -> str:
        """Until all are handled and their positions stored."""
        while self.seen < self.events:  # noqa: ASYNC110  # nothing is measured by how soon this is noticed
            await asyncio.sleep(0.05)
        cpu = time.process_time()  # the question below is none of the engine's work
        slots = [Slot(OBSERVATIONS, n) for n in range(self.settings.partitions)]
        while True:
            found = await group_positions(self.settings, self.settings.group(self.part), slots)
            if sum(at or 0 for at in found.values()) >= self.events:
                break
            await asyncio.sleep(0.2)
        assert self.began is not None
        began, cpu_began = self.began
        return json.dumps({"events": self.seen, "seconds": time.monotonic() - began, "cpu": cpu - cpu_began})


class Nothing:
    """A processor that does nothing."""

    topics = (OBSERVATIONS,)

    def __init__(self, count: Count) -> None:
        self._count = count

    def restore(self, state: Iterable[tuple[str, str, bytes]]) -> Effects:
        return Effects()

    def process(self, records: Sequence[Record]) -> Effects:
        self._count.add(len(records))
        return Effects()

    def tick(self, now: int) -> Effects:
        return Effects()

    def idle(self) -> Effects | None:
        return None


async def ours(kind: str, settings: KafkaSettings, events: int) -> str:
    count = Count(settings, kind, events)
    source = AiokafkaSource if kind == "aiokafka" else FaustSource
    worker = ShardWorker(
        ShardSpec((OBSERVATIONS,), STATE, settings.partitions, "bench"), KafkaLink(settings, (OBSERVATIONS, STATE)),
        source(settings, kind, (OBSERVATIONS,)), lambda _: Nothing(count), options=LaneOptions(tick_seconds=None),
    )  # fmt: skip
    stop = asyncio.Event()
    running = asyncio.create_task(worker.run(stop))
    done = asyncio.create_task(count.done())
    await asyncio.wait([done, running], return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        running.result()
    found = await done
    stop.set()
    await running
    return found


async def getmany(settings: KafkaSettings, events: int) -> str:
    """The bare loop of aiokafka: fetch, look at every record, store the positions of the batch."""
    count = Count(settings, "getmany", events)
    consumer = AIOKafkaConsumer(
        settings.topic(OBSERVATIONS), bootstrap_servers=settings.bootstrap, group_id=settings.group("getmany"),
        enable_auto_commit=False, auto_offset_reset="earliest", partition_assignment_strategy=(RANGE,),
    )  # fmt: skip
    await consumer.start()
    done = asyncio.create_task(count.done())
    while count.seen < events:
        found = await consumer.getmany(timeout_ms=1000, max_records=2000)
        for batch in found.values():
            for record in batch:
                assert record.value is not None
            count.add(len(batch))
        if found:
            await consumer.commit({tp: batch[-1].offset + 1 for tp, batch in found.items()})
    answer = await done
    await consumer.stop()
    return answer


async def agent(settings: KafkaSettings, events: int) -> str:
    """The bare loop of Faust that loses nothing: every event acknowledged in order after it was handled."""
    count = Count(settings, "agent", events)
    app = faust.App(
        settings.group("agent"), broker=f"kafka://{settings.bootstrap}", agent_supervisor=CrashingSupervisor,
        stream_wait_empty=False, topic_disable_leader=True, topic_allow_declare=False, web_enabled=False,
        broker_commit_interval=1.0, broker_max_poll_records=FETCH_AT_ONCE, consumer_auto_offset_reset="earliest",
        table_standby_replicas=0, autodiscover=False, store="memory://",
    )  # fmt: skip
    topic = app.topic(settings.topic(OBSERVATIONS), value_type=bytes, value_serializer="raw", key_serializer="raw")

    async def body(stream) -> None:  # a stream of Faust's
        async for event in stream.noack().events():
            count.add(1)
            event.ack()

    app.agent(topic, concurrency=1)(body)
    await app.start()
    answer = await count.done()
    await app.stop()
    return answer


class Restored(NoMeter):
    """Tells when a shard is back."""

    def __init__(self) -> None:
        self.done = asyncio.Event()
        self.rows = 0

    def restored(self, shard: int, rows: int, seconds: float) -> None:
        self.rows = rows
        self.done.set()

    def held(self, slot: Slot, why: str) -> None:
        sys.exit(f"{slot} is held: {why}")

    def skipped(self, slot: Slot, wanted: int, found: int, is_gone: bool) -> None:
        sys.exit(f"{slot} goes on at {found}, expected {wanted}")


async def _while_running(wanted: Coroutine[Any, Any, Any], running: asyncio.Task[None]) -> None:
    """Wait; a worker that ends meanwhile ends the benchmark with its error."""
    waiting = asyncio.ensure_future(wanted)
    await asyncio.wait([waiting, running], return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        running.result()
    await waiting


async def restore(settings: KafkaSettings) -> str:
    """A judge, from its start to a shard that may judge."""
    settle_collector()  # as every process does
    shared, meter, stop = Shared(gate(ALICE)), Restored(), asyncio.Event()
    link = KafkaLink(settings)
    view = BroadcastView(link, (TRUST, FACTS), shared.take, wall_clock)
    worker = ShardWorker(
        ShardSpec((OBSERVATIONS,), STATE, 1, "bench"), link, AiokafkaSource(settings, "judge", (OBSERVATIONS,)),
        lambda shard: ClusterJudge(shard, 1, shared), view=view, meter=meter, options=LaneOptions(tick_seconds=None),
    )  # fmt: skip
    began, cpu = time.monotonic(), time.process_time()
    running = asyncio.create_task(worker.run(stop))
    await _while_running(view.whole.wait(), running)
    whole = time.monotonic() - began
    await _while_running(meter.done.wait(), running)
    found = {"restored": time.monotonic() - began, "whole": whole, "rows": meter.rows}
    found["cpu"] = time.process_time() - cpu
    stop.set()
    await running
    return json.dumps(found)


def main(kind: str, bootstrap: str, prefix: str, shards: str, events: str, group: str) -> None:
    settings = KafkaSettings(bootstrap=bootstrap, prefix=prefix, partitions=int(shards), group_prefix=group)
    if kind == "restore":
        print(asyncio.run(restore(settings)))
        return
    runs = {"getmany": getmany, "agent": agent}
    bare = runs.get(kind)
    print(asyncio.run(bare(settings, int(events)) if bare else ours(kind, settings, int(events))))


if __name__ == "__main__":
    main(*sys.argv[1:])
