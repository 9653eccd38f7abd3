"""A shard that stores two things more than it must, so that a restart in the middle of a recording changes nothing.

What is due can be derived from pods and classes, but only nearly: an empty class would be kept ten minutes from the
restart instead of from its emptying. And how often evidence was asked for decides when it is asked for again. A cluster
of workers does with the derived times; one file can keep the exact ones for a few bytes each.

    state = KeptState()
    state.restore(entries)                 # any order; entries of other kinds are `ShardState`'s
    state.load_asked(entries)
    said = restored(state)                 # derives due times ...
    state.load_due(entries)                # ... which the stored ones replace
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from streams.state import Dirty, ShardState
from verifier.models import Micros

DUE: Final = "local-due"
ASKED: Final = "local-asked"
KEPT_KINDS: Final = frozenset({DUE, ASKED})

_Due = tuple[Micros, str, str]
_MADE: Final = frozenset({"class", "sweep", "stale"})
"""Kinds of due times that judging and settings make; what a restore makes anew may not have been stored yet."""


class KeptState(ShardState):
    """A shard's state with stored due times and requests for evidence."""

    def __init__(self) -> None:
        super().__init__()
        self._moved: dict[_Due, bool] = {}
        """Due times that came (True) or went since the last `take_dirty`."""
        self._asked: dict[tuple[str, str], None] = {}

    def schedule(self, at: Micros, kind: str, key: str) -> None:
        """See `ShardState.schedule`."""
        if (at, kind, key) not in self.due_set:
            self._moved[(at, kind, key)] = True
            super().schedule(at, kind, key)

    def due_until(self, now: Micros) -> Iterator[_Due]:
        """See `ShardState.due_until`."""
        for entry in super().due_until(now):
            self._moved[entry] = False
            yield entry

    def asked(self, repository: str, digest: str) -> None:
        """Evidence of an image was asked for."""
        self._asked[(repository, digest)] = None

    def take_dirty(self) -> list[Dirty]:
        """See `ShardState.take_dirty`."""
        rows = super().take_dirty()
        rows += [(DUE, _text(entry), b"" if there else None) for entry, there in self._moved.items()]
        rows += [(ASKED, f"{r}\0{d}", self._packed_request(r, d)) for r, d in self._asked]
        self._moved.clear()
        self._asked.clear()
        return rows

    def _packed_request(self, repository: str, digest: str) -> bytes | None:
        image = self.images.get((repository, digest))
        return None if image is None else msgspec.msgpack.encode((image.asked, image.attempts))

    def load_asked(self, entries: Iterable[Dirty]) -> None:
        """Put back how often evidence was asked for; call it between `restore` and `handlers.restored`."""
        for kind, key, value in entries:
            if kind != ASKED or value is None:
                continue
            repository, _, digest = key.rpartition("\0")
            image = self.images.get((repository, digest))
            if image is None:
                self.asked(repository, digest)  # forgotten meanwhile: its row goes with the next batch
            else:
                image.asked, image.attempts = msgspec.msgpack.decode(value, type=tuple[Micros | None, int])

    def load_due(self, entries: Iterable[Dirty]) -> None:
        """Put the stored due times in the place of those that `handlers.restored` derived."""
        stored = {_due(key) for kind, key, _ in entries if kind == DUE}
        made = {entry for entry in self.due_set if entry[1] in _MADE} - stored
        self.due_set = stored | made
        self.due = list(self.due_set)
        heapq.heapify(self.due)
        self._moved = dict.fromkeys(made, True)


def _text(entry: _Due) -> str:
    at, kind, key = entry
    return f"{at}\0{kind}\0{key}"


def _due(text: str) -> _Due:
    at, kind, key = text.split("\0", 2)
    return int(at), kind, key
