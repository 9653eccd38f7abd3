"""What is due, most urgent first: a queue of keys that wait for their time and then for their turn.

schedule.put("row", due=now + 5 * SECOND, urgency=(-4, "row"))   # replaces what was said about "row"
schedule.pop(now)          # the most urgent key whose time has come; it is out until it is put again
"""

from __future__ import annotations

import heapq
from typing import NamedTuple

Urgency = tuple[int, bool, bool, str]
"""Smallest first."""


class _Place(NamedTuple):
    stamp: int
    due: int
    urgency: Urgency


class Schedule:
    """Two heaps with lazy removal: by due time what waits, by urgency what is due."""

    def __init__(self) -> None:
        self._places: dict[str, _Place] = {}
        self._waiting: list[tuple[int, int, str]] = []
        self._ready: list[tuple[Urgency, int, str]] = []
        self._stamp = 0

    def put(self, key: str, due: int | None, urgency: Urgency) -> None:
        """Say when a key is due; None: never."""
        if due is None:
            self._places.pop(key, None)
            return
        self._stamp += 1
        self._places[key] = _Place(self._stamp, due, urgency)
        heapq.heappush(self._waiting, (due, self._stamp, key))

    def pop(self, now: int) -> str | None:
        """The most urgent key that is due; None when there is none."""
        while self._waiting and self._waiting[0][0] <= now:
            _, stamp, key = heapq.heappop(self._waiting)
            if self._is_current(key, stamp):
                heapq.heappush(self._ready, (self._places[key].urgency, stamp, key))
        while self._ready:
            _, stamp, key = heapq.heappop(self._ready)
            if self._is_current(key, stamp):
                del self._places[key]
                return key
        return None

    def next_due(self) -> int | None:
        """When `pop` has something to give."""
        while self._waiting and not self._is_current(self._waiting[0][2], self._waiting[0][1]):
            heapq.heappop(self._waiting)
        while self._ready and not self._is_current(self._ready[0][2], self._ready[0][1]):
            heapq.heappop(self._ready)
        waiting = [self._waiting[0][0]] if self._waiting else []
        ready = [self._places[self._ready[0][2]].due] if self._ready else []
        return min(waiting + ready, default=None)

    def _is_current(self, key: str, stamp: int) -> bool:
        place = self._places.get(key)
        return place is not None and place.stamp == stamp


class Agenda:
    """What is due, the earliest first: one instant per key; of one instant the keys in their order."""

    def __init__(self) -> None:
        self._due: dict[str, int] = {}
        self._heap: list[tuple[int, str]] = []

    def put(self, key: str, due: int | None) -> None:
        """Say when a key is due; None: never."""
        if due is None:
            self._due.pop(key, None)
        elif due != self._due.get(key):
            self._due[key] = due
            heapq.heappush(self._heap, (due, key))

    def pop(self, now: int) -> str | None:
        """The key that is due first, if its time has come; it is out until it is put again."""
        due = self.next_due()
        if due is None or due > now:
            return None
        _, key = heapq.heappop(self._heap)
        del self._due[key]
        return key

    def next_due(self) -> int | None:
        """When `pop` has something to give."""
        while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None
