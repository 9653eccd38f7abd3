"""Dated first observations that come with a recording: when each piece of evidence was first seen, by its bytes.

A recording's evidence lies in a place of today, so finding it proves nothing about then; the dates its recorder wrote
down do. One JSON object per line, with `time` (RFC 3339), `layer` (digest of the evidence bytes) and
`annotation_signature_sha256` (hex SHA-256 of the signature annotation's text, empty when there is none).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from verifier.errors import InputError
from verifier.models import Evidence

SIGNATURE_ANNOTATION: Final = "dev.cosignproject.cosign/signature"

Mark = tuple[str, str]
"""(layer digest, hex SHA-256 of the signature annotation or empty)"""


class Dates(dict[Mark, int]):
    """Mark -> microseconds UTC; the earliest date of a mark wins."""


class _Line(msgspec.Struct):
    time: datetime
    layer: str
    annotation_signature_sha256: str = ""


def mark_of(evidence: Evidence) -> Mark:
    """What a dated observation names a piece of evidence by."""
    signature = evidence.annotations.get(SIGNATURE_ANNOTATION, "")
    hashed = hashlib.sha256(signature.encode()).hexdigest() if signature else ""
    return "sha256:" + hashlib.sha256(evidence.payload).hexdigest(), hashed


def read_dates(lines: Iterable[bytes], source: str) -> Dates:
    """Read dated observations.

    Raises:
        InputError: a line that is none, with its number.
    """
    dates = Dates()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = msgspec.json.decode(line, type=_Line)
        except msgspec.MsgspecError as error:
            raise InputError(f"{source}:{number}: not a dated first observation: {error}") from error
        if row.time.tzinfo is None:
            raise InputError(f"{source}:{number}: time has no zone")
        mark = (row.layer, row.annotation_signature_sha256)
        at = int(row.time.timestamp() * 1_000_000)
        dates[mark] = min(at, dates.get(mark, at))
    return dates


def first_seen_dates(path: Path | None) -> Dates:
    """Dated first observations that came with a recording.

    Raises:
        InputError: the file cannot be read, or holds something else.
    """
    if path is None:
        return Dates()
    try:
        with path.open("rb") as lines:
            return read_dates(lines, str(path))
    except OSError as error:
        raise InputError(f"first_seen: {path}: {error.strerror or error}") from error
