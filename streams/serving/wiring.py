"""What processes of the clustered mode are made of: a source for the engine in the settings, a meter, signs of life."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Literal

from streams.clock import wall_clock
from streams.engine.broker import Link, Slot, Source
from streams.engine.view import BroadcastView
from streams.engine.wire import to_wire
from streams.events import ProgressSeen
from streams.outputs import output
from streams.serving.metrics import (
    BATCH_SECONDS,
    BROADCAST_LAG,
    REBALANCES,
    RECORDS,
    RESTORE_SECONDS,
    STATE_ROWS,
    TRUST_EPOCH,
    TRUST_REFUSED,
)
from streams.serving.process import Process
from streams.settings import KafkaSettings
from streams.trustlog import TrustGate
from verifier.errors import InputError, PlaceError

Component = Literal["judge", "fetch", "index", "alert"]

BEAT_SECONDS: Final = 5.0
"""How often a process says how far it is."""


def source_of(settings: KafkaSettings, component: Component, topics: Sequence[str]) -> Source:
    """The consumer group of a part of the program, on the engine the settings name.

    Raises:
        InputError: no brokers are named.
    """
    if not settings.brokers:
        raise InputError("kafka.bootstrap: no brokers are named; example: kafka.bootstrap: kafka-1:9092,kafka-2:9092")
    if settings.engine == "faust":
        from streams.engine.faust import FaustSource  # noqa: PLC0415  # half a second that the other engine need not pay

        return FaustSource(settings, component, topics)
    from streams.engine.aiokafka import AiokafkaSource  # noqa: PLC0415  # as above

    return AiokafkaSource(settings, component, topics)


def new_instance(component: Component) -> str:
    """A name for this start of a process: `judge-7f3a91c2`."""
    return f"{component}-{secrets.token_hex(4)}"


class ProcessMeter:
    """Tells health and metrics how it goes. Implements `Meter`."""

    def __init__(self, process: Process, component: Component) -> None:
        self._process = process
        self._component = component
        self.positions: dict[Slot, int] = {}
        """Partitions that are ours -> position behind what is durable."""
        self._rows: dict[int, int] = {}

    def assigned(self, slot: Slot, position: int | None) -> None:
        """See `Meter`."""
        self.positions[slot] = position or 0
        self._process.metrics.add(REBALANCES, 1, self._component)

    def revoked(self, slot: Slot) -> None:
        """See `Meter`."""
        self.positions.pop(slot, None)
        self._process.health.gone(self._component, str(slot))

    def handled(self, slot: Slot, records: int, position: int, seconds: float) -> None:
        """See `Meter`."""
        if slot in self.positions:
            self.positions[slot] = position
        self._process.health.progress(self._component, str(slot), position)
        self._process.metrics.add(RECORDS, records, self._component, slot.topic)
        self._process.metrics.observe(BATCH_SECONDS, seconds, self._component)

    def restored(self, shard: int, rows: int, seconds: float) -> None:
        """See `Meter`."""
        self._rows[shard] = rows
        self._process.metrics.observe(RESTORE_SECONDS, seconds, self._component)
        self._process.metrics.set(STATE_ROWS, sum(self._rows.values()), self._component)
        self._process.log.info("restored", shard=shard, rows=rows, seconds=round(seconds, 3))

    def held(self, slot: Slot, why: str) -> None:
        """See `Meter`."""
        self._process.health.trouble("schema", why)
        self._process.log.error("held", partition=str(slot), why=why)

    def skipped(self, slot: Slot, wanted: int, found: int, is_gone: bool) -> None:
        """See `Meter`."""
        say = self._process.log.error if is_gone else self._process.log.warning
        say("records-lost" if is_gone else "records-read-again", partition=str(slot), begin=wanted, end=found)


class Beats:
    """Says every few seconds, to health and to everybody, how far each partition of this process is."""

    def __init__(
        self, process: Process, component: Component, instance: str, link: Link, meter: ProcessMeter, shards: int,
        view: BroadcastView | None, gate: TrustGate | None,
    ) -> None:  # fmt: skip
        self._process, self._component, self._instance = process, component, instance
        self._link, self._meter, self._shards = link, meter, shards
        self._view, self._gate = view, gate

    async def run(self) -> None:
        """Without end."""
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            try:
                await self._beat(stopping=False)
            except PlaceError as error:
                self._process.health.trouble("kafka", str(error))
            else:
                self._process.health.well("kafka")

    async def good_bye(self) -> None:
        """The last word of a process that was asked to stop."""
        await self._beat(stopping=True)

    async def _beat(self, *, stopping: bool) -> None:
        now = wall_clock()
        self._tell_view()
        positions = dict(self._meter.positions)
        ends = await self._link.ends(list(positions)) if positions else {}
        lags = {slot: max(0, ends.get(slot, 0) - position) for slot, position in positions.items()}
        for slot, lag in lags.items():
            self._process.health.waiting(lag, self._component, str(slot))
        numbers = sorted({slot.partition for slot in positions})
        said = [self._progress(now, -1, sum(positions.values()), sum(lags.values()), stopping=stopping)]
        for number in numbers:  # one word for each number, whatever topics it stands for
            at = sum(position for slot, position in positions.items() if slot.partition == number)
            lag = sum(lag for slot, lag in lags.items() if slot.partition == number)
            said.append(self._progress(now, number, at, lag, stopping=stopping))
        for future in [await self._link.send(to_wire(output(one), self._shards, 0, now // 1000)) for one in said]:
            await future

    def _progress(self, now: int, shard: int, position: int, lag: int, *, stopping: bool) -> ProgressSeen:
        return ProgressSeen(
            id=f"progress:{self._instance}:{shard}:{now}",
            time=now,
            component=self._component,
            instance=self._instance,
            shard=shard,
            position=position,
            lag=lag,
            epoch=self._gate.reached if self._gate is not None else 0,
            gate=self._gate.fingerprint if self._gate is not None else "",
            stopping=stopping,
        )

    def _tell_view(self) -> None:
        if self._view is None:
            return
        health, metrics = self._process.health, self._process.metrics
        for topic in self._view.positions:
            metrics.set(BROADCAST_LAG, self._view.lag(), topic)
        if self._gate is not None:
            metrics.set(TRUST_EPOCH, self._gate.reached)
            metrics.set(TRUST_REFUSED, self._gate.counts["refused"])
        if self._view.held:
            health.trouble("schema", self._view.held)
        if self._view.lag() > self._process.settings.serve.stale_trust_seconds:
            health.trouble("trust", f"what every process must have read is {self._view.lag():.0f} s old; work waits")
        else:
            health.well("trust")


async def serve(
    process: Process, run: Callable[[asyncio.Event], Awaitable[None]], beats: Beats, view: BroadcastView | None
) -> None:
    """Run a worker with its signs of life until the process is told to stop. Raises what the worker raised."""
    beating = process.spawn("beats", _after_start(beats, view, process))
    try:
        await run(process.stop)
    finally:
        process.end()  # or the end of the beats would be told in the place of what the worker raised
        beating.cancel()


async def _after_start(beats: Beats, view: BroadcastView | None, process: Process) -> None:
    """Ready once broadcast topics are read whole; then beat."""
    started = time.monotonic()
    while view is not None and not view.is_whole:  # told to nobody but this
        if view.held:
            process.health.trouble("schema", view.held)
        await asyncio.sleep(0.1)
    process.health.ready()
    process.log.info("ready", seconds=round(time.monotonic() - started, 3))
    await beats.run()
