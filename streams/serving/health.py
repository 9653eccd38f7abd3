"""How a process is doing: progress, not just life.

    health = Health("judge", stalled_seconds=60)
    health.ready(False, "trust")                  not ready before trust is read whole
    health.waiting(1200, "judge", shard=3)        after each poll, with 0 too
    health.progress("judge", 3, position)         after each batch that is durable
    health.trouble("kafka", "no broker answers")  and health.well("kafka")

A process is stalled when something waits and its position does not move, or when a loop that used to report says
nothing any more. Troubles name the cause and do not make it stalled by themselves: without work nothing is lost.
Safe to call from any thread; each call takes some microseconds, so once per batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock
from typing import Final, Literal

import msgspec

Status = Literal["ok", "stalled", "failed"]

MESSAGE: Final = 500
"""Characters of a trouble's message that are kept: it may repeat what a server answered."""


class Stall(msgspec.Struct, frozen=True):
    """One place where nothing moves."""

    component: str
    shard: str
    waiting: int
    """Records that wait; -1: a loop that does not report any more, so nobody knows."""
    seconds: float
    """Since when."""
    position: str


class Trouble(msgspec.Struct, frozen=True):
    """A dependency that does not do what it should."""

    what: str
    message: str
    seconds: float


class Report(msgspec.Struct, frozen=True):
    """The answer of `/healthz`."""

    status: Status
    component: str
    ready: bool
    waits_for: tuple[str, ...]
    """What is missing until it is ready."""
    waiting: int
    """Records that wait, all shards together."""
    stalled: tuple[Stall, ...]
    troubles: tuple[Trouble, ...]
    failed: dict[str, str]
    """Worker -> the error it ended with."""
    notes: dict[str, str | float]

    @property
    def blames_others(self) -> bool:
        """It is stalled, and a dependency's trouble explains it: to start the process anew would not help."""
        return self.status == "stalled" and bool(self.troubles)


class _Row:
    __slots__ = ("moved", "position", "since", "waiting")

    def __init__(self, now: float) -> None:
        self.moved, self.since, self.waiting, self.position = now, now, 0, ""

    def stalled_for(self, now: float) -> float:
        return now - max(self.moved, self.since) if self.waiting > 0 else 0.0


class Health:
    """What the parts of a process say about themselves."""

    def __init__(
        self, component: str, *, stalled_seconds: float = 60.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.component = component
        self._limit = stalled_seconds
        self._clock = clock
        self._lock = Lock()
        self._rows: dict[tuple[str, str], _Row] = {}
        self._beats: dict[str, float] = {}
        self._closed: dict[str, None] = {"start": None}
        """Gates that are not open yet."""
        self._troubles: dict[str, tuple[str, float]] = {}
        self._failed: dict[str, str] = {}
        self._notes: dict[str, str | float] = {}

    # ------------------------------------------------------------------ what the parts say

    def progress(self, component: str, shard: int | str, position: int | str) -> None:
        """`shard` of `component` has reached `position`, durably. The same position again is no progress."""
        now = self._clock()
        text = str(position)
        with self._lock:
            row = self._row(component, str(shard), now)
            if row.position != text:
                row.position, row.moved = text, now
                self._row(component, "", now).moved = now

    def waiting(self, records: int, component: str = "", shard: int | str = "") -> None:
        """So many records wait (0: none). Without a shard: for the component as a whole."""
        now = self._clock()
        with self._lock:
            row = self._row(component or self.component, str(shard), now)
            if records > 0 and row.waiting <= 0:
                row.since = now
            row.waiting = records

    def beat(self, component: str) -> None:
        """A loop of `component` goes round. After the first call, silence counts as a stall."""
        with self._lock:
            self._beats[component] = self._clock()

    def ends(self, component: str) -> None:
        """The loop of `component` has ended as it should: silence is fine from now on."""
        with self._lock:
            self._beats.pop(component, None)

    def gone(self, component: str, shard: int | str) -> None:
        """The shard belongs to another process now."""
        with self._lock:
            self._rows.pop((component, str(shard)), None)

    def ready(self, ok: bool = True, gate: str = "start") -> None:
        """Open or close a gate; the process is ready when all are open. `start` is closed until somebody opens it."""
        with self._lock:
            if ok:
                self._closed.pop(gate, None)
            else:
                self._closed[gate] = None

    def trouble(self, what: str, message: str) -> None:
        """`what` (kafka, elasticsearch, registry …) does not work. Said again, it keeps its beginning."""
        with self._lock:
            begun = self._troubles.get(what, ("", self._clock()))[1]
            self._troubles[what] = (message[:MESSAGE], begun)

    def well(self, what: str) -> None:
        """`what` works again."""
        with self._lock:
            self._troubles.pop(what, None)

    def failed(self, worker: str, message: str) -> None:
        """A worker has ended with an error; the process is about to end."""
        with self._lock:
            self._failed[worker] = message[:MESSAGE]

    def note(self, name: str, value: str | float) -> None:
        """A fact for whoever looks, such as the trust epoch."""
        with self._lock:
            self._notes[name] = value

    def _row(self, component: str, shard: str, now: float) -> _Row:
        key = (component, shard)
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = _Row(now)
        return row

    # ------------------------------------------------------------------ what comes of it

    def report(self) -> Report:
        """How the process is doing now."""
        now = self._clock()
        with self._lock:
            stalled = (*self._stalled(now), *self._silent(now))
            return Report(
                status="failed" if self._failed else "stalled" if stalled else "ok",
                component=self.component,
                ready=not self._closed,
                waits_for=tuple(self._closed),
                waiting=sum(self._waiting().values()),
                stalled=stalled,
                troubles=tuple(
                    Trouble(what, message, round(now - begun, 3)) for what, (message, begun) in self._troubles.items()
                ),
                failed=dict(self._failed),
                notes=dict(self._notes),
            )

    def lag(self) -> dict[tuple[str, ...], float]:
        """(component, shard) -> records that wait; for `revet_lag`."""
        with self._lock:
            return {key: float(row.waiting) for key, row in self._rows.items() if row.waiting or key[1]}

    def stalls(self) -> dict[tuple[str, ...], float]:
        """(component,) -> longest time without progress although something waits, seconds; for the metric."""
        now = self._clock()
        with self._lock:
            found: dict[tuple[str, ...], float] = {}
            for (component, _), row in self._rows.items():
                seconds = row.stalled_for(now)
                found[component,] = max(found.get((component,), 0.0), seconds)
            return found

    def _waiting(self) -> dict[tuple[str, str], int]:
        return {key: max(row.waiting, 0) for key, row in self._rows.items()}

    def _stalled(self, now: float) -> tuple[Stall, ...]:
        found = [
            Stall(component, shard, row.waiting, round(seconds, 3), row.position)
            for (component, shard), row in self._rows.items()
            if (seconds := row.stalled_for(now)) > self._limit
        ]
        return tuple(sorted(found, key=lambda stall: (-stall.seconds, stall.component, stall.shard)))

    def _silent(self, now: float) -> tuple[Stall, ...]:
        return tuple(
            Stall(component, "", -1, round(now - heard, 3), "")
            for component, heard in sorted(self._beats.items())
            if now - heard > self._limit
        )
