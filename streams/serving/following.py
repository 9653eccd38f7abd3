"""`revet serve files --follow`: audit logs on disk, read as they grow and through their rotations, into Kafka.

The replay source after an outage of the webhook, and the source where an API server has no webhook at all. What the
brokers acknowledged is kept with its place (file, byte, line), so a restart goes on there; ids derive from content, so
what the webhook had delivered already is on record once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from streams.collectors import Raw, Stream, read_stream, reduced_original
from streams.collectors.framing import Refused
from streams.collectors.tailing import Piece, Tail
from streams.kafka.records import records_of
from streams.local.replay import ReplaySource
from streams.serving.collecting import IN_FLIGHT, UnderWay, collector_door, destination_of
from streams.serving.filesprogress import FilesProgress
from streams.serving.pipes import packed
from streams.serving.process import Process
from streams.serving.recordings import Step

LOOK_SECONDS: Final = 1.0
"""How often files are looked at."""
KEPT: Final = "tail:"
"""Before the name of a source in the file with progress: its place is of another kind than a recording's."""


class Followed:
    """One log that is followed."""

    def __init__(self, source: ReplaySource, kept: str, shards: int) -> None:
        self.name = KEPT + source.name
        self._source, self._shards = source, shards
        self._tail = Tail(source.path, kept)
        self._stream = Stream(cluster=source.cluster, source=source.name)

    @property
    def gaps(self) -> int:
        """How often a file was gone before it was read."""
        return self._tail.gaps

    def steps(self) -> Iterator[Step]:
        """What was written since the last time; see `Tail.read`. Raises OSError."""
        for piece in self._tail.read():
            yield self.step(piece)

    def step(self, piece: Piece) -> Step:
        """The records of a piece, and the place it stands for."""
        observations, originals, items = [], [], 0
        for raw in read_stream([piece.data], source=self._stream.source, kind="audit"):
            items += 1
            placed = _placed(raw, piece.first)
            observations += self._stream.observe(placed)
            if not isinstance(raw, Refused) and (original := reduced_original(placed, self._stream.decoded)):
                originals.append(original)
        name, cluster = self._source.name, self._source.cluster
        made = records_of(observations, originals, source=name, cluster=cluster, shards=self._shards)
        return Step(items, len(observations), [packed(record) for record in made], {self.name: piece.place.text()})


def _placed(raw: Raw, first: int) -> Raw:
    """With the line of the file in place of the line of the piece, so that a dead letter has the same id every time."""
    line, bracket, rest = raw.position.partition("[")
    number = int(line) if line.isdecimal() else 1
    return msgspec.structs.replace(raw, position=f"{first + number - 1}{bracket}{rest}")


async def follow(process: Process, sources: Sequence[ReplaySource], progress: Path) -> None:
    """Send what is written to logs, until the process is told to stop.

    Raises:
        InputError: the file with progress is something else; PlaceError: as `collector_door`, or the brokers went away.
    """
    kafka = process.settings.kafka
    async with collector_door(process, "files") as door:
        kept = FilesProgress.open(progress, await asyncio.to_thread(destination_of, kafka))
        logs = [Followed(source, kept.of(KEPT + source.name), kafka.partitions) for source in sources]
        process.health.ready()
        process.log.info("following", files=len(logs))
        way = UnderWay(process, door, kept)
        try:
            while not process.stop.is_set():
                for log in logs:
                    await _take(process, log, way)
                await way.settle(0)
                with suppress(TimeoutError):
                    await asyncio.wait_for(process.stop.wait(), LOOK_SECONDS)
        finally:
            kept.save()


async def _take(process: Process, log: Followed, way: UnderWay) -> None:
    steps, gaps = log.steps(), log.gaps
    try:
        while (step := await asyncio.to_thread(next, steps, None)) is not None:
            way.send(step)
            await way.settle(IN_FLIGHT)
            if process.stop.is_set():
                break
    except OSError as error:
        process.health.note(log.name, error.strerror or "cannot be read")
        process.log.warning("log-unreadable", source=log.name, error=error.strerror or "cannot be read")
        return
    process.health.note(log.name, "ok")
    if log.gaps > gaps:
        process.log.warning("log-gap", source=log.name, gaps=log.gaps)
