"""Instants as people write them: RFC 3339 in, integer microseconds since the Unix epoch out, and back.

    parse_instant("2026-01-01T00:00:00Z")       1767225600000000
    parse_instant("2026-01-01T01:00:00+01:00")  1767225600000000
    format_instant(1767225600000000)            "2026-01-01T00:00:00Z"

It refuses what leaves a question open: a date without a time (start or end of the day?) and a time without a zone.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from verifier.models import Micros

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_RFC3339: Final = re.compile(
    r"(?P<date>\d{4}-\d{2}-\d{2})[Tt ](?P<time>\d{2}:\d{2}:\d{2})(?:\.(?P<fraction>\d{1,9}))?"
    r"(?P<zone>[Zz]|[+-]\d{2}:\d{2})",
    re.ASCII,
)
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def parse_instant(text: str) -> Micros:
    """The instant an RFC 3339 text names, in microseconds UTC; digits finer than a microsecond are cut off.

    Raises:
        ValueError: not RFC 3339, or without time of day, or without zone; the message says what to write.
    """
    found = _RFC3339.fullmatch(text.strip())
    if found is None:
        raise ValueError(_advice(text.strip()))
    zone = found["zone"].upper().replace("Z", "+00:00")
    try:
        moment = datetime.fromisoformat(f"{found['date']}T{found['time']}{zone}")
    except ValueError as error:
        raise ValueError(f"{text.strip()[:40]!r} is not a time that exists") from error
    micros = (found["fraction"] or "0").ljust(6, "0")[:6]
    return (moment - _EPOCH) // timedelta(microseconds=1) + int(micros)


def format_instant(instant: Micros) -> str:
    """RFC 3339 in UTC, without needless digits.

    Raises:
        OverflowError: the instant is outside the years 1 to 9999.
    """
    moment = _EPOCH + timedelta(microseconds=instant)
    text = moment.isoformat().removesuffix("+00:00")
    return (text.rstrip("0") if moment.microsecond else text) + "Z"


def show_instant(instant: Micros) -> str:
    """As `format_instant`, for people: outside the years 1 to 9999 the bare number. Raises nothing."""
    try:
        return format_instant(instant)
    except OverflowError:
        return f"{instant} µs"


def _advice(text: str) -> str:
    if _DATE.fullmatch(text):
        return f"{text} names a day, not an instant; write {text}T00:00:00Z (its start) or {text}T23:59:59Z (its end)"
    return "expected a time with zone, as RFC 3339 writes it, such as 2026-01-31T12:00:00Z"
