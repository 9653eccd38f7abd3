"""The engine as a port: append durably, hand records to a processor in order, store its effects, then move on.

Order of effects: outputs acknowledged, then state, then position. An adapter that has a transaction may do all three
at once; one that has not does them in this order, so that a crash between two steps repeats, never loses.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

from verifier.errors import RevetError


class Record(msgspec.Struct, frozen=True, gc=False):
    """One durable input."""

    position: int
    """Grows within a partition."""
    topic: str
    partition: int
    key: str
    id: str
    """Deterministic; the same id is the same record."""
    value: bytes
    time: int
    version: int = 0
    """Of documents of current state: grows with whoever owns the shard, so that a former owner's late write loses."""
    written: int = 0
    """When it was first produced, milliseconds since the Unix epoch; 0 where nobody says."""


class Output(msgspec.Struct, frozen=True):
    """One event to append to a topic; the engine encodes it (`streams.codec`)."""

    topic: str
    key: str
    id: str
    time: int
    event: object


class Effects(msgspec.Struct, frozen=True):
    """What processing a batch comes to."""

    outputs: tuple[Output, ...] = ()
    state: tuple[tuple[str, str, bytes | None], ...] = ()
    """(kind, key, value or None to delete); the newest wins."""
    consumed: int | None = None
    """How many of the records were handled; None: all. The rest comes again in the next batch. 0: not now."""

    def taken(self, given: int) -> int:
        """How many of `given` records are done with.

        Raises:
            RevetError: more than were given, or fewer than none; moving on by that number would lose records.
        """
        taken = given if self.consumed is None else self.consumed
        if not 0 <= taken <= given:
            raise RevetError(f"a processor says it took {taken} of {given} records")
        return taken

    def newest(self) -> dict[tuple[str, str], bytes | None]:
        """(kind, key) -> the value that counts, in the order in which they are first named."""
        return {(kind, key): value for kind, key, value in self.state}


class Processor(Protocol):
    """Deterministic given its inputs. One instance per shard, driven by one engine.

    An error that leaves it ends the engine's work with nothing of the batch stored: whoever drives them starts both
    anew. A record that has to wait for a newer program is such an error (`streams.engine.reading`).
    """

    @property
    def topics(self) -> tuple[str, ...]:
        """What it reads, in the order in which topics are read."""

    def restore(self, state: Iterable[tuple[str, str, bytes]]) -> Effects:
        """Load stored state; what must be said again comes back as effects."""

    def process(self, records: Sequence[Record]) -> Effects:
        """Handle records in order."""

    def tick(self, now: int) -> Effects:
        """Time is an input: let it reach `now` (microseconds UTC)."""

    def idle(self) -> Effects | None:
        """One slice of background work (a sweep); None when there is none."""


class Engine(Protocol):
    """What moves records."""

    def append(self, outputs: Sequence[Output]) -> int:
        """Make records durable; returns how many were new. An id seen before on its topic is not appended again."""

    def run_once(self) -> bool:
        """One batch or one slice of background work per processor; False when there was nothing to do."""

    def tick(self, now: int) -> None:
        """Let time reach `now` (microseconds UTC) in every processor."""
