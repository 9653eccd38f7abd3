"""Conditions over documents: one small tree that every store can answer. Pure.

    where = both(is_("verdict", "violates"), is_("namespace", "shop"))
    matches(where, document.body)

Fields are named in full or short. A field with several values matches when one of them does; a field without a value
matches nothing, so `not verdict:valid` holds for a document that has no verdict. Every node is true or false, never
"null".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal

import msgspec

from streams.sinks.document import Scalar, Value, instant
from streams.sinks.fields import FIELDS, Resolved, field_of, similar_names
from verifier.errors import InputError

Operator = Literal["<", "<=", ">", ">="]


class Everything(msgspec.Struct, frozen=True):
    """Every document."""


class Is(msgspec.Struct, frozen=True):
    """One value of the field equals `value` (dates as `instant` writes them)."""

    field: str
    value: Scalar


class OneOf(msgspec.Struct, frozen=True):
    """One value of the field is in `values`; what a query over many digests is made of."""

    field: str
    values: tuple[Scalar, ...]


class Like(msgspec.Struct, frozen=True):
    """One value of the field has `parts` in order with anything between: `("pay", "")` is `pay*`."""

    field: str
    parts: tuple[str, ...]


class Exists(msgspec.Struct, frozen=True):
    """The field has a value."""

    field: str


class Compare(msgspec.Struct, frozen=True):
    """One value of the field stands in this order to `value`; texts by code point."""

    field: str
    operator: Operator
    value: Scalar


class Says(msgspec.Struct, frozen=True):
    """The text of the field contains `words`, whatever the case of ASCII letters."""

    field: str
    words: str


class Not(msgspec.Struct, frozen=True):
    """The opposite."""

    of: Condition


class AllOf(msgspec.Struct, frozen=True):
    """Every one of them; all of nothing is everything."""

    of: tuple[Condition, ...]


class AnyOf(msgspec.Struct, frozen=True):
    """At least one of them; any of nothing is nothing."""

    of: tuple[Condition, ...]


Condition = Everything | Is | OneOf | Like | Exists | Compare | Says | Not | AllOf | AnyOf

EVERYTHING: Final = Everything()
NOTHING: Final = AnyOf(())


# ------------------------------------------------------------------------------------------------ making them


def is_(field: str, value: Scalar) -> Is:
    """`field:value`. Raises InputError for a field that cannot be searched."""
    return Is(full_name(field), value)


def one_of(field: str, values: Iterable[Scalar]) -> OneOf:
    """`field:(a or b)`, without repetitions and in order. Raises InputError for a field that cannot be searched."""
    return OneOf(full_name(field), tuple(sorted(set(values), key=str)))


def exists(field: str) -> Exists:
    """`field:*`. Raises InputError for a field that cannot be searched."""
    return Exists(full_name(field))


def compare(field: str, operator: Operator, value: Scalar) -> Compare:
    """`field < value`. Raises InputError for a field that cannot be searched."""
    return Compare(full_name(field), operator, value)


def at_time(field: str, operator: Operator, time: int) -> Compare:
    """A date field against an instant in microseconds. Raises InputError for a field that cannot be searched."""
    return Compare(full_name(field), operator, instant(time))


def both(*conditions: Condition) -> Condition:
    """All of them, without needless nesting."""
    flat: list[Condition] = []
    for one in conditions:
        flat.extend(one.of if isinstance(one, AllOf) else () if isinstance(one, Everything) else (one,))
    return flat[0] if len(flat) == 1 else AllOf(tuple(flat)) if flat else EVERYTHING


def either(*conditions: Condition) -> Condition:
    """One of them, without needless nesting."""
    flat: list[Condition] = []
    for one in conditions:
        flat.extend(one.of if isinstance(one, AnyOf) else (one,))
    return flat[0] if len(flat) == 1 else AnyOf(tuple(flat))


def full_name(field: str) -> str:
    """The full name of a searchable field (`labels.app` -> `kubernetes.labels.app`).

    Raises:
        InputError: there is no such field, or it is kept for reading only.
    """
    found = resolve(field)
    return f"{found.field.name}.{found.inner}" if found.inner else found.field.name


def resolve(field: str) -> Resolved:
    """The searchable field a name stands for. Raises InputError as `full_name`."""
    found = field_of(field)
    if found is None:
        near = similar_names(field)
        hint = f"; did you mean {' or '.join(near)}?" if near else "; docs/fields.md lists them"
        raise InputError(f"no field {field[:80]!r}{hint}")
    if found.field.type in ("object", "unindexed"):
        raise InputError(f"{found.field.name} is kept for reading and cannot be searched")
    if found.field.type == "flattened" and not found.inner:
        raise InputError(f"{field} is a map: name a member, such as {field}.env")
    return found


# ------------------------------------------------------------------------------------------------ asking them


def matches(condition: Condition, body: Mapping[str, Value]) -> bool:
    """Does a document's body fulfil the condition?"""
    return _MATCH[type(condition)](condition, body)


def values_of(field: str, body: Mapping[str, Value]) -> list[Scalar]:
    """The values a document has for a field, by full name; a member of a map is named behind the map's name."""
    if field in FIELDS:
        found = body.get(field)
        if isinstance(found, list):
            return [v for v in found if not isinstance(v, dict)]
        return [] if found is None or isinstance(found, dict) else [found]
    resolved = resolve(field)
    held = body.get(resolved.field.name)
    return [held[resolved.inner]] if isinstance(held, dict) and resolved.inner in held else []


def like(parts: tuple[str, ...], text: str) -> bool:
    """Does `text` have the parts in order, the first at its start and the last at its end?"""
    if len(parts) == 1:
        return text == parts[0]
    head, *middle, tail = parts
    if len(text) < len(head) + len(tail) or not text.startswith(head) or not text.endswith(tail):
        return False
    at, end = len(head), len(text) - len(tail)
    for part in middle:
        found = text.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


def ascii_lower(text: str) -> str:
    """Lower case of ASCII letters alone, as SQLite's `lower`."""
    return text.translate(_LOWER)


_LOWER: Final = {ord(c): c.lower() for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}

_COMPARE: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}

_MATCH: Final[dict[type, Callable[[Any, Mapping[str, Value]], bool]]] = {
    Everything: lambda _, body: True,  # noqa: ARG005  # every entry takes both
    Is: lambda c, body: c.value in values_of(c.field, body),
    OneOf: lambda c, body: any(v in c.values for v in values_of(c.field, body)),
    Like: lambda c, body: any(isinstance(v, str) and like(c.parts, v) for v in values_of(c.field, body)),
    Exists: lambda c, body: bool(values_of(c.field, body)),
    Compare: lambda c, body: any(_COMPARE[c.operator](v, c.value) for v in values_of(c.field, body)),
    Says: lambda c, body: any(
        isinstance(v, str) and ascii_lower(c.words) in ascii_lower(v) for v in values_of(c.field, body)
    ),
    Not: lambda c, body: not matches(c.of, body),
    AllOf: lambda c, body: all(matches(one, body) for one in c.of),
    AnyOf: lambda c, body: any(matches(one, body) for one in c.of),
}
