"""Worker processes under a seeded storm: ended decently or at once, stopped for longer than their session, joined.

    crew = Crew(place, folder, seed=1)
    await crew.storm(inputs, seconds=20, kills=3, broker=broker)
    await crew.drain(inputs); await crew.home()

A process that ends by itself is started again, as whoever runs it would; it may end so only for a reason that says
"start me again" (`MAY_END`).
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from scripts.servers.kafka import Broker
from streams.engine.port import Output
from streams.engine.wire import to_wire
from streams.topics import VERDICTS
from tests.helpers.engineworld import KafkaPlace, audit

MAY_END: Final = ("well", "PlaceUnavailable", "ShardTaken")
STOPPED_SECONDS: Final = 8.0
"""Longer than the session timeout of `kafka_settings`."""
ROOT: Final = Path(__file__).parents[2]


@dataclass
class Child:
    """One process."""

    process: subprocess.Popen
    log: Path
    is_stopped: bool = False
    is_ended_by_us: bool = False

    def reason(self) -> str:
        """How it ended, in its own words; empty when it had no time for any."""
        lines = [line for line in self.log.read_text().splitlines() if line.startswith("ended ")]
        return lines[-1].removeprefix("ended ") if lines else ""


@dataclass
class Crew:
    """Some worker processes of one engine."""

    place: KafkaPlace
    folder: Path
    seed: int
    size: int = 3
    did: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)
        self._children: list[Child] = []
        self._number = 0
        self._tasks: set[asyncio.Task[None]] = set()

    # ------------------------------------------------------------------ processes

    def start(self) -> Child:
        self._number += 1
        log = self.folder / f"worker-{self._number}.log"
        settings = self.place.settings
        command = [
            sys.executable, "-m", "tests.helpers.engine_worker", self.place.kind, settings.bootstrap, settings.prefix,
            str(settings.partitions), f"{self.place.kind}-{self._number}",
        ]  # fmt: skip
        with log.open("wb") as out:
            process = subprocess.Popen(
                command, stdout=out, stderr=subprocess.STDOUT, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}
            )
        child = Child(process, log)
        self._children.append(child)
        return child

    def look(self) -> None:
        """Start again whatever ended; fails when one ended for a reason that nobody should answer by a restart."""
        for child in list(self._children):
            if child.process.poll() is None:
                continue
            self._children.remove(child)
            reason = child.reason()
            if not child.is_ended_by_us:
                self.did[f"ended by itself: {reason.partition(':')[0]}"] += 1
                assert reason.startswith(MAY_END), f"{child.log}: {reason or child.log.read_text()[-3000:]}"
            elif reason:
                assert reason.startswith(MAY_END), f"{child.log}: {reason}"
        while len(self._children) < self.size:
            self.start()

    def _running(self) -> list[Child]:
        """Those that have something to lose."""
        return [
            child
            for child in self._children
            if child.process.poll() is None
            and not (child.is_stopped or child.is_ended_by_us)
            and b"restored" in child.log.read_bytes()
        ]

    # ---------------------------------------------------------------------- storm

    async def storm(self, inputs: Sequence[Output], seconds: float, kills: int, broker: Broker | None = None) -> None:
        """Feed `inputs` evenly over `seconds`, or longer until so many processes were killed; meanwhile end and stop
        processes every now and then, and kill the broker once in the middle.
        """
        began = asyncio.get_running_loop().time()
        feeding = asyncio.create_task(self._feed(inputs, seconds))
        self.look()
        broker_at = began + seconds * 0.45
        while not feeding.done() or self.did["kill"] < kills:
            await asyncio.sleep(self._chance.uniform(0.5, 2.5))
            self.look()
            if broker is not None and asyncio.get_running_loop().time() > broker_at:
                await self._restart_broker(broker)
                broker = None
            else:
                self._strike()
        await feeding

    async def _feed(self, inputs: Sequence[Output], seconds: float) -> None:
        began, loop = asyncio.get_running_loop().time(), asyncio.get_running_loop()
        sent = []
        for number, out in enumerate(inputs):
            due = began + seconds * number / len(inputs)
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
            sent.append(await self.place.outside.send(to_wire(out, self.place.shards)))
        for future in sent:
            await future

    def _strike(self) -> None:
        running = self._running()
        if not running:
            return
        victim = self._chance.choice(running)
        act = self._chance.choices(("kill", "term", "stop"), (5, 3, 2))[0]
        if act == "stop" and any(child.is_stopped for child in self._children):
            act = "kill"
        self.did[act] += 1
        if act == "stop":
            victim.is_stopped = True
            victim.process.send_signal(signal.SIGSTOP)
            task = asyncio.create_task(self._wake(victim))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            victim.is_ended_by_us = True
            victim.process.send_signal(signal.SIGKILL if act == "kill" else signal.SIGTERM)

    async def _wake(self, child: Child) -> None:
        await asyncio.sleep(STOPPED_SECONDS)
        child.process.send_signal(signal.SIGCONT)
        child.is_stopped = False

    async def _restart_broker(self, broker: Broker) -> None:
        self.did["broker killed"] += 1
        broker.kill()
        await asyncio.sleep(self._chance.uniform(0.5, 3))
        await asyncio.to_thread(broker.start)

    # ---------------------------------------------------------------------- after

    async def drain(self, inputs: Sequence[Output], seconds: float = 120.0) -> int:
        """Until all is handled, without faults; then every input is accounted for. Gives how many were said again."""
        await asyncio.gather(*self._tasks)
        ends = Counter(to_wire(out, self.place.shards).partition for out in inputs)
        async with asyncio.timeout(seconds):
            while True:
                self.look()
                found = {slot.partition: at for slot, at in (await self.place.positions(inputs[0].topic)).items()}
                if all(found.get(partition, 0) >= end for partition, end in ends.items()):
                    break
                await asyncio.sleep(0.5)
        said = await self.place.log(VERDICTS)
        audit(inputs, said)
        return len(said) - len(inputs)

    async def home(self, seconds: float = 30.0) -> None:
        """All end decently, within bounds."""
        for child in self._children:
            child.process.send_signal(signal.SIGTERM)
        for child in self._children:
            code = await asyncio.to_thread(child.process.wait, seconds)
            if (code, child.log.read_bytes()) == (-signal.SIGTERM, b""):
                continue  # started a moment ago: it was not yet listening to signals, and held nothing
            assert (code, child.reason()) == (0, "well"), f"{child.log}: {code}, {child.log.read_text()[-3000:]}"

    def kill_all(self) -> None:
        """Nothing is left behind."""
        for child in self._children:
            child.process.kill()
            child.process.wait()
