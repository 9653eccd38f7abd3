"""How far recordings are sent, in a small JSON file: durable after the brokers acknowledged, never before.

    kept = FilesProgress.open(path, destination="cluster-id/prefix")
    kept.of("prod-eu=audit.jsonl")           "" or what `streams.local.replay` wrote
    kept.advance({...}); kept.save()

Progress counts for one destination: brokers that were made anew have nothing of what others were sent. To lose the
file, or to send twice, costs time and nothing else: ids are deterministic.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from streams.files import replace_file
from verifier.errors import InputError, PlaceUnavailable

SCHEMA: Final = "revet.files/v1"
SAVE_SECONDS: Final = 1.0
"""How often it is written at most."""


class _Kept(msgspec.Struct):
    schema: str
    destination: str
    sources: dict[str, str]


class FilesProgress:
    """Progress by source."""

    def __init__(self, path: Path, destination: str, sources: dict[str, str]) -> None:
        self._path, self._destination, self._sources = path, destination, sources
        self._saved = time.monotonic()
        self._changed = False

    @classmethod
    def open(cls, path: Path, destination: str) -> FilesProgress:
        """What was kept for this destination; nothing, where something else was.

        Raises:
            InputError: the file is there and is something else, or cannot be read.
        """
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return cls(path, destination, {})
        except OSError as error:
            raise InputError(f"{path}: {error.strerror or error}; name another file with --progress") from error
        try:
            kept = msgspec.json.decode(data, type=_Kept)
        except (msgspec.MsgspecError, ValueError):
            kept = None
        if kept is None or kept.schema != SCHEMA:
            raise InputError(f"{path}: not a file with progress; name another one with --progress, or remove it")
        return cls(path, destination, kept.sources if kept.destination == destination else {})

    def of(self, source: str) -> str:
        """How far a source is; empty when nothing of it was sent."""
        return self._sources.get(source, "")

    def advance(self, progress: Mapping[str, str]) -> None:
        """These sources are durable so far. Written now and then."""
        self._sources.update(progress)
        self._changed = True
        if time.monotonic() - self._saved > SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Write it: whole or not at all.

        Raises:
            PlaceUnavailable: it cannot be written.
        """
        if not self._changed:
            return
        data = msgspec.json.format(msgspec.json.encode(_Kept(SCHEMA, self._destination, self._sources)), indent=1)
        try:
            replace_file(self._path, data + b"\n")
        except OSError as error:
            message = f"{self._path}: {error.strerror or error}; name a file that can be written with --progress"
            raise PlaceUnavailable("state-unavailable", message) from error
        self._saved, self._changed = time.monotonic(), False
