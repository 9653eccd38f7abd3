"""Bytes of a stream in chunks of any size, out of it whole lines."""

from __future__ import annotations

from typing import Final, Protocol

MAX_LINE: Final = 8 * 1024 * 1024
"""Bytes of one event. etcd refuses objects of more than 1.5 MiB by default; as JSON, and where it is told otherwise,
they are longer."""
BEGINNING: Final = 1024
"""Bytes that are kept of a line that is too long."""


class LineTaker(Protocol):
    """Who reads lines."""

    def line(self, data: bytes, now: int, /) -> None:
        """One that is whole."""

    def too_long(self, size: int, beginning: bytes, now: int, /) -> None:
        """One that was measured and not kept."""


class Lines:
    """What is left of a stream between chunks. A line that is too long is measured, not kept."""

    def __init__(self, most: int = MAX_LINE) -> None:
        self._most = most
        self._parts: list[bytes] = []
        self._size = 0
        self._passed = 0
        """Bytes of a line that is too long, so far."""

    def feed(self, chunk: bytes) -> list[bytes | tuple[int, bytes]]:
        """Lines that are whole now; (size, beginning) of one that was too long."""
        *ends, rest = chunk.split(b"\n")
        found: list[bytes | tuple[int, bytes]] = []
        for end in ends:
            self._add(end)
            found.append(self._close())
        self._add(rest)
        return found

    def give(self, chunk: bytes, to: LineTaker, now: int) -> None:
        """`feed`, handed over one by one."""
        for line in self.feed(chunk):
            if isinstance(line, bytes):
                to.line(line, now)
            else:
                to.too_long(*line, now)

    @property
    def left(self) -> int:
        """Bytes of a line that has no end yet."""
        return self._size + self._passed

    def _add(self, part: bytes) -> None:
        if self._passed:
            self._passed += len(part)
        elif self._size + len(part) > self._most:
            self._passed = self._size + len(part)
            self._parts, self._size = [b"".join([*self._parts, part])[:BEGINNING]], 0
        elif part:
            self._parts.append(part)
            self._size += len(part)

    def _close(self) -> bytes | tuple[int, bytes]:
        data, passed = b"".join(self._parts), self._passed
        self._parts, self._size, self._passed = [], 0, 0
        return (passed, data) if passed else data
