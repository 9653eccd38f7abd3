"""Replaying recordings: several files, one order of time, resumable at any item.

    sources = [ReplaySource("prod-eu", Path("audit.jsonl")), ReplaySource("prod-eu", Path("pods.jsonl"))]
    async for progress in replay(node, sources): ...

Items of all sources are merged by the newest time each source has told so far. How many items of a source are durable
is stored with them, so a replay that was killed goes on where it stood, and one that is run again adds nothing.
"""

from __future__ import annotations

import heapq
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Final, Literal

import msgspec

from streams.collectors import Raw, Stream, read_stream, reduced_original
from streams.local.node import LocalNode
from verifier.errors import InputError

CHUNK: Final = 1 << 20
"""Bytes read from a file at once."""
STDIN: Final = Path("-")


class ReplaySource(msgspec.Struct, frozen=True):
    """One recording of one cluster."""

    cluster: str
    path: Path
    kind: Literal["auto", "audit", "pods"] = "auto"

    @property
    def name(self) -> str:
        """Name under which progress is kept and dead letters are reported."""
        return f"{self.cluster}={self.path}"


class ReplayItem(msgspec.Struct, frozen=True):
    """One item of one source with what it says."""

    time: int
    source: str
    number: int
    observations: tuple[object, ...]
    original: bytes


class Progress(msgspec.Struct, frozen=True):
    """Where a replay stands."""

    items: int
    new: int
    time: int
    ignored: dict[str, int] = {}


def read_items(source: ReplaySource, ignored: Counter[str]) -> Iterator[ReplayItem]:
    """The items of one source, numbered from 1; time never goes back within a source.

    Raises:
        InputError: the file cannot be read.
    """
    stream = Stream(cluster=source.cluster, source=source.name)
    newest = number = 0
    arrivals = _arrivals(source.path)
    raws: Iterator[Raw] = read_stream(_chunks(source.path), source=source.name, kind=source.kind)
    for number, raw in enumerate(raws, start=1):
        observations = tuple(stream.observe(raw, received=arrivals.get(_line(raw))))
        newest = max([newest, *(o.time for o in observations)])
        yield ReplayItem(newest, source.name, number, observations, reduced_original(raw))
    last = tuple(stream.close())
    ignored.update({reason: count for reason, count in stream.ignored.items() if reason != "read"})
    if last:
        yield ReplayItem(max([newest, *(o.time for o in last)]), source.name, number + 1, last, b"")


def _arrivals(path: Path) -> dict[int, int]:
    """Line -> microseconds at which it arrived, from the file of the same name ending in `.times` (one RFC 3339 time per
    line), when the recorder kept one: a watch event has no time of its own.

    Raises:
        InputError: the file is there and holds something else.
    """
    times = path.with_suffix(".times")
    if path == STDIN or times == path or not times.exists():
        return {}
    arrivals = {}
    for number, text in enumerate(times.read_text().splitlines(), start=1):
        try:
            arrivals[number] = instant(text)
        except ValueError as error:
            raise InputError(f"{times}:{number}: {text[:40]!r} is no time; expected RFC 3339") from error
    return arrivals


def instant(text: str) -> int:
    """Microseconds UTC of an RFC 3339 time. Raises ValueError."""
    return round(datetime.fromisoformat(text).timestamp() * 1_000_000)


def _line(raw: Raw) -> int:
    return int(raw.position.partition("[")[0] or 0)


def _chunks(path: Path) -> Iterator[bytes]:
    try:
        with sys.stdin.buffer if path == STDIN else path.open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error


async def replay(node: LocalNode, sources: list[ReplaySource], batch: int = 500) -> AsyncIterator[Progress]:
    """Play sources into a node, a batch at a time; yields after each batch is durable and worked off.

    Raises:
        InputError: a file cannot be read.
    """
    ignored: Counter[str] = Counter()
    done = {source.name: int(node.progress(source.name) or 0) for source in sources if source.path != STDIN}
    merged = heapq.merge(*(read_items(s, ignored) for s in sources), key=lambda item: item.time)
    items = new = time = 0
    while taken := list(islice(merged, batch)):
        fresh = [item for item in taken if item.number > done.get(item.source, 0)]
        items += len(taken)
        time = taken[-1].time
        if fresh:
            progress = {item.source: str(item.number) for item in fresh}
            originals = [item.original for item in fresh if item.original]
            new += node.ingest([o for item in fresh for o in item.observations], progress, originals)
            await node.drain()
        yield Progress(items, new, time, dict(ignored))
