"""Recordings, read and parsed in a process of their own; see `streams.serving.parsing` for why.

    async with RecordingReader(sources, kept.of, shards) as reader:
        async for step in reader: ...             records ready for the brokers, and the progress they stand for

The other process writes on its standard output as fast as it is read; standard input is left to a recording called `-`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import BinaryIO, Final, Self

import msgspec

from streams.garbage import settle_collector
from streams.kafka.records import records_of
from streams.local.replay import LookBacks, Replay, ReplayBatch, ReplaySource
from streams.serving.pipes import WIDE, PackedRecord, packed, read_frame, widen, write_frame
from verifier.errors import InputError, PlaceUnavailable

BATCH: Final = 200
"""Items that travel together."""
ENDED: Final = "parser-ended"
_CODE: Final = "from streams.serving.recordings import main; main()"


class _Given(msgspec.Struct):
    """What the other process is told."""

    sources: list[tuple[str, str]]
    """(cluster, path)."""
    kept: dict[str, str]
    shards: int
    look_back: int = 0
    """When a look-back asks for evidence, microseconds; 0: it is a replay."""


class Step(msgspec.Struct, array_like=True):
    """Items that were read together."""

    items: int = 0
    observed: int = 0
    """Observations among `records`."""
    records: list[PackedRecord] = []
    progress: dict[str, str] = {}
    """Source -> what to keep for it once `records` are durable."""
    ignored: dict[str, int] = {}
    """Of all that was read so far: reason -> items that asked for nothing."""
    last: bool = False
    problem: str = ""
    """Why reading ended early."""


_ENCODER: Final = msgspec.msgpack.Encoder()
_STEP: Final = msgspec.msgpack.Decoder(Step)


# ------------------------------------------------------------------------------------------------- in the other process


def main() -> None:
    """The other process; its argument is the open file that holds `_Given` as JSON: a look-back may name many files."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # who started us hears them too, and ends us
    settle_collector()
    widen(sys.stdout.fileno())
    with os.fdopen(int(sys.argv[1]), "rb") as told:
        given = msgspec.json.decode(told.read(), type=_Given)
    try:
        tell_all(given, sys.stdout.buffer)
    except BrokenPipeError:
        sys.stderr.close()  # nobody reads any more: not ours to complain about


def tell_all(given: _Given, out: BinaryIO) -> None:
    """Every step of the recordings, and how it ended."""
    sources = [ReplaySource(cluster, Path(path)) for cluster, path in given.sources]
    clusters = {source.name: source.cluster for source in sources}
    recording = Replay(sources, look_back=LookBacks(given.look_back) if given.look_back else None)
    end = Step(last=True)
    try:
        for taken in recording.batches(lambda name: given.kept.get(name, ""), BATCH):
            write_frame(out, _ENCODER.encode(step_of(taken, clusters, given.shards)))
    except InputError as error:
        end.problem = str(error)
    end.ignored = dict(recording.ignored)
    write_frame(out, _ENCODER.encode(end))


def step_of(taken: ReplayBatch, clusters: dict[str, str], shards: int) -> Step:
    """The records of a batch; of each source the originals are kept apart."""
    step = Step(items=taken.items, progress=taken.progress)
    for source, items in groupby(taken.fresh, lambda item: item.source):
        of_source = list(items)
        observations = [observation for item in of_source for observation in item.observations]
        originals = [item.original for item in of_source if item.original]
        step.observed += len(observations)
        made = records_of(observations, originals, source=source, cluster=clusters[source], shards=shards)
        step.records += [packed(record) for record in made]
    return step


# ------------------------------------------------------------------------------------------------- in the first process


class RecordingReader:
    """The other process, as an iterator."""

    def __init__(
        self, sources: Sequence[ReplaySource], kept: Callable[[str], str], shards: int, look_back: int = 0
    ) -> None:
        """`look_back`: when evidence is asked for, microseconds; 0: it is a replay."""
        named = [(source.cluster, str(source.path)) for source in sources]
        self._given = _Given(named, {source.name: kept(source.name) for source in sources}, shards, look_back)
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        """Started."""
        with tempfile.TemporaryFile() as told:
            told.write(msgspec.json.encode(self._given))
            told.seek(0)
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", _CODE, str(told.fileno()), pass_fds=(told.fileno(),),
                stdout=asyncio.subprocess.PIPE, limit=4 * WIDE,
            )  # fmt: skip
        return self

    async def __aexit__(self, *_: object) -> None:
        """Ended; whatever it had read and nobody took is read again another time."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def __aiter__(self) -> AsyncIterator[Step]:
        """Every step, the last one with what was ignored.

        Raises:
            InputError: a recording cannot be read.
            PlaceUnavailable: the other process has ended before its work was done.
        """
        out = self._process.stdout if self._process is not None else None
        step = Step()
        while out is not None and not step.last:
            try:
                step = _STEP.decode(await read_frame(out))
            except asyncio.IncompleteReadError as error:
                message = "the process that reads recordings has ended; was it out of memory? Run it again: it goes on"
                raise PlaceUnavailable(ENDED, message) from error
            if step.problem:
                raise InputError(step.problem)
            yield step
