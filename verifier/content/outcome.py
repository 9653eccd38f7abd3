"""What a rule's module answers, and the size limits that all of them share.

    raise Mismatch(f"builder.id is {excerpt(found)}, expected {listed(patterns)}")     the rule does not hold
    return Outcome(time=finished, max_age=rule.max_age)                                it holds; how old is for later

A date is the predicate's own word. Whether it is recent enough is a question of the verdict, which has a clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeVar

import msgspec

from verifier.errors import InputError
from verifier.evidence.content import excerpt
from verifier.models import Micros
from verifier.times import parse_instant

T = TypeVar("T")

DETAIL_CHARACTERS: Final = 500
"""Characters of the sentence that says why a rule does not hold. Every worker keeps it in memory."""

LISTED: Final = 3
"""Patterns or ids quoted in one sentence; the rest is counted."""


class Mismatch(InputError):
    """The predicate is not what its type demands, or not what the rule demands. The text is the result's detail."""


class Outcome(msgspec.Struct, frozen=True):
    """The rule holds; these instants still bound for how long."""

    time: Micros | None = None
    """The predicate's own date, when the rule bounds its age."""
    max_age: Micros | None = None
    """Longest age of `time`, microseconds."""
    until: Micros | None = None
    """Last instant (closed) at which the rule holds: an exception it needs ends then."""


def typed(value: object, model: type[T], what: str) -> T:
    """`value` (decoded JSON) as a struct: members a struct does not know are ignored, wrong types are not.

    Raises:
        Mismatch: a member is missing or of another type; the message says where.
    """
    try:
        return msgspec.convert(value, model)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Mismatch(f"not {what}: {str(error)[:200]}") from error


def instant_of(text: str | None, what: str) -> Micros:
    """The date a predicate states.

    Raises:
        Mismatch: there is none, or it is no RFC 3339 time.
    """
    if not text:
        raise Mismatch(f"{what} is missing, and the rule bounds the age")
    try:
        return parse_instant(text)
    except (ValueError, OverflowError) as error:
        raise Mismatch(f"{what} is {excerpt(text)}, expected an RFC 3339 time") from error


def show(value: object) -> str:
    """A value of a predicate, quoted and cut; what is inside an object or a list is not looked at."""
    if isinstance(value, dict):
        return f"an object of {len(value)}"
    return f"a list of {len(value)}" if isinstance(value, list) else excerpt(value)


def listed(names: Iterable[object]) -> str:
    """The first few, quoted, and how many more."""
    shown = list(names)
    text = ", ".join(excerpt(name) for name in shown[:LISTED])
    return f"{text} and {len(shown) - LISTED} more" if len(shown) > LISTED else text or "none"
