"""Instants and lengths of time: integer microseconds since the Unix epoch inside, RFC 3339 outside. Pure.

    parse_instant("2026-01-01T00:00:00Z")       1767225600000000
    parse_instant("2026-01-01T01:00:00+01:00")  1767225600000000
    format_instant(1767225600000000)            "2026-01-01T00:00:00Z"
    parse_age("90s")                            90000000

Three readers, because three kinds of text may leave different questions open:

* `parse_instant`: what is kept and acted on later (policies, queries, records). It refuses a date without a time
  (start or end of the day?) and a time without a zone.
* `parse_utc`: what a person types at a prompt whose help says that UTC and midnight are meant.
* `streams.collectors.wire`: what Kubernetes wrote; there a text that is no time is an absent time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from verifier.models import Micros

SECOND: Final[Micros] = 1_000_000
MINUTE: Final[Micros] = 60 * SECOND
HOUR: Final[Micros] = 60 * MINUTE
DAY: Final[Micros] = 24 * HOUR

UNITS: Final[Mapping[str, Micros]] = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}
"""Letter of an age -> its length."""

FIRST: Final[Micros] = -62_135_596_800 * SECOND
"""0001-01-01T00:00:00Z, the first instant that RFC 3339 can be sure to write."""
LAST: Final[Micros] = 253_402_300_800 * SECOND - 1
"""9999-12-31T23:59:59.999999Z."""

Precision = Literal["shortest", "seconds", "microseconds"]
"""Digits of a second: as many as are needed, none (cut off), or always six, so that texts sort as times."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_RFC3339: Final = re.compile(
    r"(?P<date>\d{4}-\d{2}-\d{2})[Tt ](?P<time>\d{2}:\d{2}:\d{2})(?:\.(?P<fraction>\d{1,9}))?"
    r"(?P<zone>[Zz]|[+-]\d{2}:\d{2})",
    re.ASCII,
)
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_AGE: Final = re.compile(r"(\d{1,15})([smhd])", re.ASCII)


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
    return since_epoch(moment) + int((found["fraction"] or "0").ljust(6, "0")[:6])


def parse_utc(text: str) -> Micros:
    """As `parse_instant` for any ISO 8601 text, where UTC and midnight stand for what is left out.

    Raises:
        ValueError: it is no date and no time.
    """
    moment = datetime.fromisoformat(text)
    return since_epoch(moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC))


def parse_age(text: str) -> Micros | None:
    """The length that `90s`, `15m`, `2h` or `3d` names; None for any other text."""
    found = _AGE.fullmatch(text)
    return None if found is None else int(found[1]) * UNITS[found[2]]


def since_epoch(moment: datetime) -> Micros:
    """Microseconds from the epoch to a moment that has a zone."""
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * SECOND + since.microseconds


def format_instant(instant: Micros, precision: Precision = "shortest") -> str:
    """RFC 3339 in UTC.

    Raises:
        OverflowError: the instant is outside the years 1 to 9999.
    """
    moment = _EPOCH + timedelta(microseconds=instant)
    if precision != "shortest":
        return moment.isoformat(timespec=precision)[:-6] + "Z"  # less "+00:00"
    text = moment.isoformat()[:-6]
    return (text.rstrip("0") if moment.microsecond else text) + "Z"


def show_instant(instant: Micros, precision: Precision = "shortest") -> str:
    """As `format_instant`, for people: outside the years 1 to 9999 the bare number. Raises nothing."""
    try:
        return format_instant(instant, precision)
    except OverflowError:
        return f"{instant} µs"


def earliest(times: Iterable[Micros | None]) -> Micros | None:
    """The first of these instants; those that are None never come."""
    return min((time for time in times if time is not None), default=None)


def _advice(text: str) -> str:
    if _DATE.fullmatch(text):
        return f"{text} names a day, not an instant; write {text}T00:00:00Z (its start) or {text}T23:59:59Z (its end)"
    return "expected a time with zone, as RFC 3339 writes it, such as 2026-01-31T12:00:00Z"
