"""Replaying recordings: several files, one order of time, resumable at any item.

    sources = [ReplaySource("prod-eu", Path("audit.jsonl")), ReplaySource("prod-eu", Path("pods.jsonl"))]
    async for progress in replay(node, sources): ...

Items of all sources are merged by the newest time each source has told so far; in a look-back, where order means
nothing, one file is read after the other, however many there are. How many items of a source are durable
is stored with them, together with a mark of the file's beginning: a replay that was killed goes on where it stood, one
that is run again adds nothing, a file that grew is read on, and another file under an old name is read from its start.
"""

from __future__ import annotations

import hashlib
import heapq
import sys
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from itertools import chain, islice, takewhile
from pathlib import Path
from typing import Final, Literal

import msgspec

from streams.collectors import Raw, Stream, read_stream, reduced_original
from streams.collectors.lookback import LookBack
from streams.events import EvidenceWanted, Observation
from streams.local.node import LocalNode
from verifier.errors import InputError
from verifier.times import parse_instant

CHUNK: Final = 1 << 20
"""Bytes read from a file at once."""
STDIN: Final = Path("-")
MARKED: Final = 4096
"""Bytes of a file's first line that tell it from another file of the same name."""
PEEKED: Final = 10_000
"""Items looked at to find the first time a recording tells."""


class ReplaySource(msgspec.Struct, frozen=True):
    """One recording of one cluster."""

    cluster: str
    path: Path
    kind: Literal["auto", "audit", "pods"] = "auto"

    @property
    def name(self) -> str:
        """Name under which progress is kept and dead letters are reported."""
        return f"{self.cluster}={self.path}"


class LookBacks:
    """What a look-back has told so far, of every cluster; the files of one cluster share it."""

    def __init__(self, asked: int) -> None:
        """`asked`: microseconds UTC, when evidence is asked for."""
        self.asked = asked
        self._of: dict[str, LookBack] = {}

    def of(self, cluster: str) -> LookBack:
        """That of a cluster."""
        return self._of.setdefault(cluster, LookBack(cluster, self.asked))


class ReplayItem(msgspec.Struct, frozen=True):
    """One item of one source with what it says."""

    time: int
    source: str
    place: int
    """Twice the number of the item; one more for what is said at the end, so that a file that grew is read on."""
    observations: tuple[Observation | EvidenceWanted, ...]
    original: bytes


class ReplayBatch(msgspec.Struct, frozen=True):
    """Items that are taken together."""

    items: int
    """How many were read, with those that were durable already."""
    fresh: tuple[ReplayItem, ...]
    """Those that were not."""
    progress: dict[str, str]
    """Source -> what to keep for it once `fresh` is durable."""
    time: int


class Progress(msgspec.Struct, frozen=True):
    """Where a replay stands."""

    items: int
    new: int
    time: int
    ignored: dict[str, int] = {}


def read_items(source: ReplaySource, ignored: Counter[str], look_back: LookBack | None = None) -> Iterator[ReplayItem]:
    """The items of one source in order, the last sign of life of its feeds at the end; time never goes back within it.

    With `look_back` audit events are history, whose originals stay in the archive they come from.

    Raises:
        InputError: the file cannot be read.
    """
    stream = Stream(cluster=source.cluster, source=source.name)
    newest = number = 0
    arrivals = _arrivals(source.path)
    raws: Iterator[Raw] = read_stream(_chunks(source.path), source=source.name, kind=source.kind)
    for number, raw in enumerate(raws, start=1):
        observed = stream.observe(raw, received=arrivals.get(_line(raw)))
        newest = max([newest, *(o.time for o in observed)])
        event = stream.decoded
        if look_back is None:
            yield ReplayItem(newest, source.name, 2 * number, tuple(observed), reduced_original(raw, event))
        else:
            original = reduced_original(raw, None) if event is None else b""
            yield ReplayItem(newest, source.name, 2 * number, tuple(look_back.of(event, observed)), original)
    last = tuple(stream.close()) if look_back is None else tuple(look_back.of(None, stream.close()))
    ignored.update({reason: count for reason, count in stream.ignored.items() if reason != "read"})
    if last:
        yield ReplayItem(max([newest, *(o.time for o in last)]), source.name, 2 * number + 1, last, b"")


def _arrivals(path: Path) -> dict[int, int]:
    """Line -> microseconds at which it arrived, from the file of the same name ending in `.times` (an RFC 3339 time per
    line), when the recorder kept one: a watch event has no time of its own.

    Raises:
        InputError: the file is there and holds something else.
    """
    times = path.with_suffix(".times")
    if path in (STDIN, times) or not times.exists():
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
    return parse_instant(text)


def _line(raw: Raw) -> int:
    return int(raw.position.partition("[")[0] or 0)


def _chunks(path: Path) -> Iterator[bytes]:
    try:
        with sys.stdin.buffer if path == STDIN else path.open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error


class Replay:
    """Several recordings as one, while it is played. It can be played once."""

    def __init__(
        self, sources: Sequence[ReplaySource], until: int | None = None, look_back: LookBacks | None = None
    ) -> None:
        """Up to and with `until` (microseconds) where it is given; later items stay unread for another time.

        With `look_back` audit events are history (`streams.collectors.lookback`).
        """
        self._sources = sources
        self._until = until
        self.ignored: Counter[str] = Counter()
        """Items that asked for nothing, by reason; whole when everything was played."""
        self._items: Iterator[ReplayItem]
        if look_back is None:
            self._items = heapq.merge(*(read_items(s, self.ignored) for s in sources), key=lambda item: item.time)
        else:
            self._items = chain.from_iterable(read_items(s, self.ignored, look_back.of(s.cluster)) for s in sources)

    def begins(self) -> int | None:
        """The first time the recordings tell; None when they tell none.

        Raises:
            InputError: a file cannot be read.
        """
        looked: list[ReplayItem] = []
        while len(looked) < PEEKED and (item := next(self._items, None)) is not None:
            looked.append(item)
            if item.time:
                break
        self._items = chain(looked, self._items)
        return looked[-1].time or None if looked else None

    async def play(self, node: LocalNode, batch: int = 500) -> AsyncGenerator[Progress, None]:
        """Play into a node, a batch at a time; yields after each batch is durable and worked off.

        Raises:
            InputError: a file cannot be read.
        """
        await node.drain()  # what a killed replay left: batches end where they would have ended
        items = new = 0
        for taken in self.batches(node.progress, batch):
            items += taken.items
            if taken.fresh:
                originals = [item.original for item in taken.fresh if item.original]
                new += node.ingest([o for item in taken.fresh for o in item.observations], taken.progress, originals)
                await node.drain()
            yield Progress(items, new, taken.time, dict(self.ignored))

    def batches(self, progress: Callable[[str], str], batch: int = 500) -> Iterator[ReplayBatch]:
        """The recordings in order; `progress` tells what was kept for a source.

        Raises:
            InputError: a file cannot be read.
        """
        marks = {source.name: _mark(source.path) for source in self._sources}
        done = {name: _done(progress(name), mark) for name, mark in marks.items()}
        wanted = takewhile(lambda item: self._until is None or item.time <= self._until, self._items)
        while taken := list(islice(wanted, batch)):
            fresh = tuple(item for item in taken if item.place > done[item.source])
            kept = {item.source: f"{item.place} {marks[item.source]}" for item in fresh}
            yield ReplayBatch(len(taken), fresh, kept, taken[-1].time)


async def replay(node: LocalNode, sources: Sequence[ReplaySource], batch: int = 500) -> AsyncIterator[Progress]:
    """`Replay(sources).play(node)`.

    Raises:
        InputError: a file cannot be read.
    """
    async for progress in Replay(sources).play(node, batch):
        yield progress


def _mark(path: Path) -> str:
    """What tells a file from another one of the same name: a hash of how it begins. A pipe is always another one."""
    if path == STDIN:
        return ""
    try:
        with path.open("rb") as file:
            return hashlib.sha256(file.readline(MARKED)).hexdigest()[:16]
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error


def _done(progress: str, mark: str) -> int:
    """The last place of a source that is durable already."""
    place, _, known = progress.partition(" ")
    return int(place) if mark and known == mark else 0
