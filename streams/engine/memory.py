"""The engine in memory: partitions, shards, crashes at every edge. For tests and for reading how an engine must behave.

engine = MemoryEngine(lambda shard: JudgeProcessor(shard, shards=4), shards=4)
engine.append([...]); engine.drain()
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Final, Literal

from streams.codec import encode
from streams.engine.port import Effects, Output, Processor, Record
from streams.engine.reading import read
from streams.events import TrustChanged
from streams.topics import TOPICS, TRUST

Edge = Literal["before-outputs", "after-outputs", "after-state", "after-position"]
EDGES: Final[tuple[Edge, ...]] = ("before-outputs", "after-outputs", "after-state", "after-position")


class Crash(Exception):  # an event of a test, not an error of ours
    """The process died at this edge; only what was durable before survives."""


class MemoryEngine:
    """Topics as lists; state and positions survive a crash, processors do not."""

    def __init__(self, make: Callable[[int], Processor], shards: int = 1, batch: int = 100) -> None:
        self._make = make
        self._shards = shards
        self._batch = batch
        self._logs: dict[tuple[str, int], list[Record]] = {}
        self._ids: dict[str, set[str]] = {}
        self._state: list[dict[tuple[str, str], bytes]] = [{} for _ in range(shards)]
        self._positions: list[dict[tuple[str, int], int]] = [{} for _ in range(shards)]
        self.crash_at: Edge | None = None
        """Die at this edge of the next batch."""
        self._processors: list[Processor] = []
        self.restart()

    def restart(self) -> None:
        """Throw the processors away and restore them from what is durable."""
        self._processors = [self._make(shard) for shard in range(self._shards)]
        for shard, processor in enumerate(self._processors):
            entries = [(kind, key, value) for (kind, key), value in self._state[shard].items()]
            self._apply(shard, processor.restore(entries), {})

    def append(self, outputs: Sequence[Output]) -> int:
        """Append to the partitions of each topic; broadcast topics have one partition that every shard reads."""
        new = 0
        for out in outputs:
            new += self.append_bytes(out.topic, out.key, out.id, encode(out.event), out.time)
        return new

    def append_bytes(self, topic: str, key: str, name: str, value: bytes, time: int) -> bool:
        """Append what some program wrote, perhaps a newer or a broken one; False when its id is there already."""
        seen = self._ids.setdefault(topic, set())
        if name in seen:
            return False
        seen.add(name)
        partition = self.partition(topic, key)
        log = self._logs.setdefault((topic, partition), [])
        log.append(Record(len(log), topic, partition, key, name, value, time))
        return True

    def log(self, topic: str) -> list[Record]:
        """Every record of a topic, partition by partition."""
        return [r for (name, _), records in sorted(self._logs.items()) if name == topic for r in records]

    def processors(self) -> list[Processor]:
        """The living processors, by shard."""
        return list(self._processors)

    def trust_seen(self, shard: int) -> list[tuple[int, bytes]]:
        """(epoch, record) of the trust log up to where this shard has come, for a processor that is restored.

        Without records that cannot be read: of those there is a dead letter, and their epoch is nothing.
        """
        seen = self._positions[shard].get((TRUST, 0), 0)
        events = [read(record) for record in self._logs.get((TRUST, 0), [])[:seen]]
        return [(e.epoch, e.record) for e in events if isinstance(e, TrustChanged)]

    def tick(self, now: int) -> None:
        """Let time reach `now` in every shard."""
        for shard, processor in enumerate(self._processors):
            self._apply(shard, processor.tick(now), {})

    def step(self) -> bool:
        """`run_once`, with a planted crash answered by a restart."""
        try:
            return self.run_once()
        except Crash:
            self.restart()
            return True

    def redeliver(self, shard: int, back: int) -> None:
        """Move every position of a shard back by up to `back` records, as an unclean hand-over would."""
        positions = self._positions[shard]
        for slot in positions:
            positions[slot] = max(0, positions[slot] - back)

    def partition(self, topic: str, key: str) -> int:
        """Partition of a key; one partition per shard on keyed topics."""
        return zlib.crc32(key.encode()) % self._shards if TOPICS[topic].spread == "keyed" else 0

    def run_once(self) -> bool:
        """One batch per shard, then one slice of background work where nothing came in."""
        done = [self._run_shard(shard) for shard in range(self._shards)]  # every shard gets its turn
        return any(done)

    def drain(self) -> None:
        """Run until nothing is left to do; a planted crash restarts the processors and goes on."""
        while self.step():
            pass

    def _run_shard(self, shard: int) -> bool:
        processor = self._processors[shard]
        for topic in processor.topics:
            partition = shard if TOPICS[topic].spread == "keyed" else 0
            position = self._positions[shard].get((topic, partition), 0)
            records = self._logs.get((topic, partition), [])[position : position + self._batch]
            if records:
                effects = processor.process(records)
                taken = effects.taken(len(records))
                self._apply(shard, effects, {(topic, partition): position + taken})
                if taken:
                    return True
        slice_ = processor.idle()
        if slice_ is None:
            return False
        self._apply(shard, slice_, {})
        return True

    def _apply(self, shard: int, effects: Effects, positions: dict[tuple[str, int], int]) -> None:
        self._maybe_crash("before-outputs")
        self.append(effects.outputs)
        self._maybe_crash("after-outputs")
        for slot, value in effects.newest().items():
            if value is None:
                self._state[shard].pop(slot, None)
            else:
                self._state[shard][slot] = value
        self._maybe_crash("after-state")
        self._positions[shard].update(positions)
        self._maybe_crash("after-position")

    def _maybe_crash(self, edge: Edge) -> None:
        if self.crash_at == edge:
            self.crash_at = None
            raise Crash(edge)
