"""A folder for a case file: what an answer said, the documents behind it, evidence bytes, and a hash of each file.

    with CaseFile(folder) as case:
        case.answer("timeline.json", plain); case.table("members.csv", columns, rows); case.evidence(found)
        case.close_with(readme)

It can be read and checked without revet: JSON, CSV, bytes, and `sha256sum -c SHA256SUMS`. Nothing is overwritten.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec
import orjson

from streams.queries.port import Hit
from verifier.errors import InputError, PlaceUnavailable
from verifier.models import Evidence

SUMS: Final = "SHA256SUMS"
README: Final = "README.md"

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""What spreadsheets take for the beginning of a formula: names come from clusters and registries."""


class CaseFile:
    """Writes one folder, once. Only its owner may read it: it holds names of people and of what runs."""

    def __init__(self, folder: Path) -> None:
        """Make the folder.

        Raises:
            InputError: it is there and holds something, or is no folder.
            PlaceUnavailable: it cannot be made.
        """
        self.folder = folder
        self._sums: dict[str, str] = {}
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            filled = any(folder.iterdir())
        except (FileExistsError, NotADirectoryError) as error:
            raise InputError(f"{folder} is no folder; name one that is empty, or not there yet") from error
        except OSError as error:
            raise PlaceUnavailable("export-unavailable", f"{folder}: {error.strerror or error}") from error
        if filled:
            raise InputError(f"{folder} is not empty; nothing is overwritten: name another folder")

    def write(self, name: str, data: bytes) -> None:
        """One file, by its path below the folder.

        Raises:
            PlaceUnavailable: it cannot be written.
        """
        path = self.folder / name
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(data)
        except OSError as error:
            raise PlaceUnavailable("export-unavailable", f"{path}: {error.strerror or error}") from error
        self._sums[name] = hashlib.sha256(data).hexdigest()

    def answer(self, name: str, plain: object) -> None:
        """An answer as `-o json` prints it. Raises as `write`."""
        self.write(name, msgspec.json.format(msgspec.json.encode(plain), indent=2) + b"\n")

    def table(self, name: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> int:
        """RFC 4180; returns how many rows there are. Raises as `write`."""
        text, number = io.StringIO(), 0
        writer = csv.writer(text, lineterminator="\r\n")
        writer.writerow(columns)
        for row in rows:
            writer.writerow([field(value) for value in row])
            number += 1
        self.write(name, text.getvalue().encode())
        return number

    def documents(self, name: str, hits: Iterable[Hit]) -> int:
        """Documents as the record holds them, one per line; returns how many. Raises as `write`."""
        lines = [orjson.dumps({"home": hit.home, "id": hit.id, "body": hit.body}) + b"\n" for hit in hits]
        self.write(name, b"".join(lines))
        return len(lines)

    def evidence(self, found: Evidence) -> None:
        """The bytes as they were found, and beside them the annotations and the place. Raises as `write`."""
        name = "evidence/" + found.id.replace(":", "-").replace("/", "-")
        self.write(f"{name}.payload", found.payload)
        told = {**msgspec.to_builtins(msgspec.structs.replace(found, payload=b"")), "payload": f"{name}.payload"}
        self.answer(f"{name}.json", {**told, "payload_sha256": hashlib.sha256(found.payload).hexdigest()})

    def finish(self, readme: str) -> None:
        """The page that explains the folder, and the hashes of everything in it. Raises as `write`."""
        self.write(README, readme.encode())
        lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(self._sums.items()))
        self.write(SUMS, lines.encode())

    def files(self) -> list[str]:
        """What was written so far, sorted."""
        return sorted(self._sums)


def field(value: object) -> str:
    """A value of a CSV file: no spreadsheet takes it for a formula."""
    if isinstance(value, int):
        return str(value)
    text = "" if value is None else str(value).replace("\0", "\ufffd")
    return f"'{text}" if text.startswith(_FORMULA) else text
