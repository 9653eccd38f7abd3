"""Audit log files that grow and are rotated, read line by line, from where the last run was.

    tail = Tail(Path("/var/log/kubernetes/audit.log"), kept)
    for piece in tail.read():  ...                    whole lines, and the place they end at
    kept = piece.place.text()                         once they are durable

Rotation by rename (kube-apiserver's own, logrotate) and by copy and truncation are followed: what was written between
the last look and the rotation is read from the rotated file, compressed or not. A file is known by its first
line, which no other audit log has, so a place stands for the same bytes whatever the file is called now. What was
rotated away and deleted before it was read is a gap, and is said.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Final

import msgspec

PIECE: Final = 4 * 1024 * 1024
"""Bytes that are handed over at a time, and a little more: up to the end of a line."""
MARKED: Final = 4096
"""Bytes of a first line that tell one file from another."""
LINE: Final = 64 * 1024 * 1024
"""A line without an end in so many bytes is handed over as it is; it is refused by its size."""


_Bytes = gzip.GzipFile | BufferedReader


class Place(msgspec.Struct, frozen=True):
    """How far somebody has read."""

    mark: str = ""
    """Of the file; empty: nothing was read yet."""
    offset: int = 0
    """Bytes, after decompression."""
    line: int = 0
    """Lines before the offset."""

    def text(self) -> str:
        """For whoever keeps it; `place_of` reads it."""
        return f"{self.mark} {self.offset} {self.line}"


def place_of(text: str) -> Place:
    """What `Place.text` wrote; the beginning for everything else."""
    parts = text.split(" ")
    if len(parts) == 3 and parts[1].isdecimal() and parts[2].isdecimal():
        return Place(parts[0], int(parts[1]), int(parts[2]))
    return Place()


class Piece(msgspec.Struct, frozen=True):
    """Lines that belong together."""

    data: bytes
    first: int
    """Number of the first line in its file, from 1."""
    place: Place
    """Where the piece ends."""


class Tail:
    """One log file and those it was rotated into. `path` need not be there yet."""

    def __init__(self, path: Path, kept: str = "") -> None:
        self._path = path
        self._place = place_of(kept)
        self.gaps = 0
        """How often a file was gone before it was read to its end."""

    def read(self) -> Iterator[Piece]:
        """Every whole line that was written since. Call it again and again.

        Raises:
            OSError: a file cannot be read.
        """
        while True:
            # Marks are looked at before anything is read: a rotation while reading is found the next time round.
            if not self._place.mark or _mark(self._path) == self._place.mark:
                yield from self._of(self._path, ended=False)
                if not self._place.mark or _mark(self._path) in ("", self._place.mark):
                    return
            yield from self._rest()
            if not _mark(self._path):
                return  # the newest file has no line yet; the place stays at the end of the one before

    def _rest(self) -> Iterator[Piece]:
        """The file that was read last has been rotated: its rest, and whole files between it and the newest."""
        rotated = self._rotated()
        at = next((n for n, file in enumerate(rotated) if _mark(file) == self._place.mark), None)
        if at is None:
            self.gaps += 1
            newer = []
        else:
            yield from self._of(rotated[at], ended=True)
            newer = rotated[at + 1 :]
        current = _mark(self._path)
        for file in newer:
            if (mark := _mark(file)) and mark not in (current, self._place.mark):
                self._place = Place(mark)
                yield from self._of(file, ended=True)
        if current or at is None:
            self._place = Place(current)

    def _rotated(self) -> list[Path]:
        """Files this one was rotated into, oldest first. A compressed one is left out while the plain one is there."""
        path = self._path
        names = [f"{path.name}.", f"{path.stem}-"]
        found = [
            file
            for file in (path.parent.iterdir() if path.parent.is_dir() else ())
            if file != path and file.is_file() and any(map(file.name.startswith, names))
        ]
        plain = {file.name for file in found}
        found = [file for file in found if not (file.suffix == ".gz" and file.name.removesuffix(".gz") in plain)]
        return sorted(found, key=lambda file: (file.stat().st_mtime_ns, file.name))

    def _of(self, path: Path, *, ended: bool) -> Iterator[Piece]:
        """From the place on. An unfinished last line waits, unless nobody writes to the file any more."""
        try:
            with _opened(path) as file:
                if (mark := _mark_of(file)) == "" and not ended:
                    return
                if self._place.mark not in ("", mark):
                    return  # rotated since somebody looked; found the next time
                file.seek(self._place.offset)
                self._place = msgspec.structs.replace(self._place, mark=mark)
                yield from self._pieces(file, ended=ended)
        except FileNotFoundError:
            return
        except (EOFError, zlib.error, gzip.BadGzipFile):
            self.gaps += 1  # a compressed file that is damaged: what came before was read

    def _pieces(self, file: _Bytes, *, ended: bool) -> Iterator[Piece]:
        held = b""
        while data := file.read(PIECE):
            held += data
            end = held.rfind(b"\n") + 1
            if not end and len(held) > LINE:
                end = len(held)
            if end:
                yield self._piece(held[:end])
                held = held[end:]
        if ended and held:
            yield self._piece(held)

    def _piece(self, data: bytes) -> Piece:
        before = self._place
        lines = data.count(b"\n") + (not data.endswith(b"\n"))
        self._place = Place(before.mark, before.offset + len(data), before.line + lines)
        return Piece(data, before.line + 1, self._place)


def _opened(path: Path) -> _Bytes:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")


def _mark(path: Path) -> str:
    """What tells a file from others; empty while it has no whole first line, or is not there."""
    try:
        with _opened(path) as file:
            return _mark_of(file)
    except (FileNotFoundError, EOFError, zlib.error, gzip.BadGzipFile):
        return ""


def _mark_of(file: _Bytes) -> str:
    line = file.readline(MARKED)
    file.seek(0)
    whole = line.endswith(b"\n") or len(line) == MARKED
    return hashlib.sha256(line.rstrip(b"\n")).hexdigest()[:24] if whole else ""
