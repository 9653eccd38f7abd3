"""A ledger and its documents in one file, for who has no access to anything else: JSON lines, `.gz` where so named.

    {"revet": "ledger-export/v1", "ledger": NAME, "since": …, "until": …, "keys": ["NAME=KEY"]}      first
    {"entries": [[kind, dataset, id, time, sha256, note], …], "pack": ID, "time": …}                 the log, in order
    {"batch": {number, first, count, root, previous, earliest, latest, pack, time}}
    {"checkpoint": NOTE}
    {"document": {…}}                                                                                 as they are kept

Entries are those of the whole ledger, documents those of the window. `streams/ledger/checker.py` reads the file with
nothing of ours; `revet ledger verify --export` reads it here. The keys in it say whose checkpoints to expect, and are
no reason to believe them.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Final, cast

import msgspec
import orjson

from streams.codec import encode
from streams.engine.port import Record
from streams.engine.reading import read
from streams.events import LedgerEntry, LedgerSealed, LedgerSigned, LedgerWritten
from streams.ledger.chain import header_hash
from streams.ledger.notes import LedgerKey
from streams.ledger.port import Kept, KeptStore, LedgerLog
from streams.sinks.document import Body
from streams.topics import LEDGER
from verifier.errors import InputError, PlaceUnavailable
from verifier.models import Micros
from verifier.times import parse_instant

FORMAT: Final = "ledger-export/v1"
MAX_LINE: Final = 64 * 1024 * 1024
"""Bytes of a line that is read."""
Json = dict[str, Any]  # Any: a tree of JSON


class Window(msgspec.Struct, frozen=True):
    """Of what an export has the documents."""

    ledger: str
    since: Micros | None
    until: Micros | None
    keys: tuple[str, ...] = ()


class Exported(msgspec.Struct, frozen=True):
    """What was written."""

    entries: int
    batches: int
    checkpoints: int
    documents: int


def entry_json(entry: LedgerEntry) -> list[object]:
    """An entry as files have it."""
    return [entry.kind, entry.home, entry.id, entry.time, entry.sha256.hex(), entry.note]


def header_json(header: LedgerSealed) -> Json:
    """A header as files have it: the members that are hashed."""
    return {
        "count": header.count, "earliest": header.earliest, "first": header.first, "latest": header.latest,
        "number": header.number, "pack": header.pack, "previous": header.previous.hex(), "root": header.root.hex(),
        "time": header.time,
    }  # fmt: skip


def export(
    file: Path, log: LedgerLog, store: KeptStore, keys: Iterable[LedgerKey], since: Micros | None, until: Micros | None,
    name: str,
) -> Exported:  # fmt: skip
    """Write a file, whole or not at all: under another name first. Documents come first out of the store, so that each
    has its entry.

    Raises:
        PlaceUnavailable: the file cannot be written, or log or store cannot be read. InputError: there is no record.
    """
    beside = file.with_name(f".{file.name}.part")
    window = Window(name, since, until, tuple(key.line() for key in keys))
    try:
        with _opened(beside, file.suffix == ".gz") as out:
            out.write(orjson.dumps({"revet": FORMAT, **msgspec.to_builtins(window)}) + b"\n")
            documents = 0
            for kept in store.scan(since, until):
                out.write(b'{"document":' + orjson.dumps(kept.body) + b"}\n")
                documents += 1
            counts = _log(out, log)
        beside.replace(file)
    except OSError as error:
        raise PlaceUnavailable("export-unavailable", f"{file}: {error.strerror or error}") from error
    finally:
        beside.unlink(missing_ok=True)
    return Exported(counts["entries"], counts["batch"], counts["checkpoint"], documents)


def _opened(file: Path, compressed: bool) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(file, "wb", 6) if compressed else file.open("wb"))


def _log(out: IO[bytes], log: LedgerLog) -> dict[str, int]:
    counts = {"entries": 0, "batch": 0, "checkpoint": 0}
    for record in log.read():
        event = read(record)
        if isinstance(event, LedgerWritten):
            counts["entries"] += len(event.entries)
            line: Json = {"entries": [entry_json(e) for e in event.entries], "pack": event.id, "time": event.time}
        elif isinstance(event, LedgerSealed):
            counts["batch"] += 1
            line = {"batch": header_json(event)}
        elif isinstance(event, LedgerSigned):
            counts["checkpoint"] += 1
            line = {"checkpoint": event.note, "number": event.number}
        else:
            continue  # what cannot be read is not there; the batch that lacks it says so
        out.write(orjson.dumps(line) + b"\n")
    return counts


# ------------------------------------------------------------------------------------------------------- read again


class ExportFile:
    """An export. Implements `LedgerLog` and `KeptStore`; reads the file anew each time and keeps nothing of it."""

    def __init__(self, file: Path) -> None:
        """Open it.

        Raises:
            InputError: it cannot be read, or is no export.
        """
        self._file = file
        first = next(self._lines(), {})
        if first.get("revet") != FORMAT:
            raise InputError(f"{file} is no export of a ledger ({FORMAT}); `revet ledger export` makes one")
        try:
            self.window = msgspec.convert(first, Window)
        except msgspec.ValidationError as error:
            raise InputError(f"{file}: the first line is not that of an export: {error}") from error

    def read(self, after: int = -1) -> Iterator[Record]:
        """See `LedgerLog`."""
        for number, line in enumerate(self._lines()):
            event = None if "document" in line or "revet" in line else self._event(line, number)
            if event is not None and number > after:
                yield Record(number, LEDGER, 0, "", event.id, encode(event), event.time)

    def scan(self, since: Micros | None, until: Micros | None) -> Iterator[Kept]:
        """See `KeptStore`."""
        for kept in self._documents():
            if (since is None or kept.time >= since) and (until is None or kept.time < until):
                yield kept

    def lookup(self, ids: Iterable[tuple[str, str]]) -> Iterator[Kept]:
        """See `KeptStore`."""
        wanted = set(ids)
        return (kept for kept in self._documents() if (kept.home, kept.id) in wanted)

    def _documents(self) -> Iterator[Kept]:
        for line in self._lines():
            body = line.get("document")
            if isinstance(body, dict):
                yield _kept(body)

    def _event(self, line: Json, number: int) -> LedgerWritten | LedgerSealed | LedgerSigned | None:
        try:
            if "entries" in line:
                entries = tuple(LedgerEntry(k, h, i, t, bytes.fromhex(d), n) for k, h, i, t, d, n in line["entries"])
                return LedgerWritten(line["pack"], line["time"], entries)
            if "batch" in line:
                raw = dict(line["batch"])
                raw |= {name: bytes.fromhex(raw[name]) for name in ("root", "previous")}
                made = LedgerSealed(id="", **raw)
                return msgspec.structs.replace(made, id=f"ledger-batch:{made.number}:{header_hash(made).hex()[:24]}")
            if "checkpoint" in line:
                return LedgerSigned(f"ledger-checkpoint:{number}", 0, line["number"], line["checkpoint"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{self._file}: line {number + 1} is not one of an export") from error
        return None

    def _lines(self) -> Iterator[Json]:
        number = 0
        try:
            with (gzip.open if self._file.suffix == ".gz" else open)(self._file, "rb") as lines:
                while data := lines.readline(MAX_LINE):
                    number += 1
                    line = orjson.loads(data)
                    if not isinstance(line, dict):
                        raise InputError(f"{self._file}: line {number} is no object")
                    yield line
        except (OSError, EOFError) as error:
            raise InputError(f"{self._file}: {getattr(error, 'strerror', '') or error}") from error
        except json.JSONDecodeError as error:
            raise InputError(f"{self._file}: line {number} is no JSON: {error.msg}") from error


def _kept(body: Body) -> Kept:
    """A document of the file; one that does not say what it is has another hash, so it is told as inserted."""
    try:
        time = parse_instant(str(body["@timestamp"]))
    except (KeyError, ValueError):
        time = 0
    return Kept(str(body.get("event.dataset", "")), str(body.get("event.id", "")), time, body)
