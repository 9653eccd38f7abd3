"""Where checkpoints are put beside the log: a folder that is only ever added to.

    folder = Folder(Path("/mnt/worm/revet-checkpoints"))
    folder.publish(note)                  batch-00000017-3f2a9c01.txt, durable when this returns
    folder.notes()

One file per checkpoint, never written again: the folder may lie on storage that is write-once, be copied by anything
that copies files, and be owned by somebody else than the record. That it is, is what makes it worth something.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from streams.ledger.notes import MAX_NOTE, Checkpoint, read_note
from verifier.errors import InputError, PlaceUnavailable

UNAVAILABLE: Final = "ledger-place-unavailable"


class Folder:
    """Checkpoints as files."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def publish(self, note: str) -> bool:
        """Put a checkpoint there; False when it was there already.

        Raises:
            PlaceUnavailable: it cannot be written. InputError: the note is none.
        """
        found = read_note(note)
        name = f"batch-{found.number:010d}-{found.head.hex()[:16]}.txt"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            return self._written(self.path / name, note.encode())
        except OSError as error:
            raise PlaceUnavailable(UNAVAILABLE, f"ledger.directory {self.path}: {error.strerror or error}") from error

    def notes(self) -> Iterator[Checkpoint]:
        """Every checkpoint that can be read, oldest batch first; other files are passed over.

        Raises:
            PlaceUnavailable: the folder cannot be read.
        """
        try:
            files = sorted(self.path.glob("batch-*.txt")) if self.path.is_dir() else []
            texts = [(file, file.read_bytes()[: MAX_NOTE + 1]) for file in files]
        except OSError as error:
            raise PlaceUnavailable(UNAVAILABLE, f"ledger.directory {self.path}: {error.strerror or error}") from error
        for _, data in texts:
            try:
                yield read_note(data.decode())
            except (InputError, UnicodeDecodeError):
                continue  # half a file of a crash, or somebody else's

    @staticmethod
    def _written(file: Path, data: bytes) -> bool:
        """Whole or not at all: written beside, made durable, then linked under its name, which never replaces one."""
        if file.exists():
            return False
        beside = file.with_name(f".{file.name}.{os.getpid()}")
        with beside.open("wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        try:
            os.link(beside, file)
        except FileExistsError:
            return False
        finally:
            beside.unlink()
        folder = os.open(file.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return True
