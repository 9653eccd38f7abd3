"""Conditions as queries of Elasticsearch over the mappings of `streams.sinks.mapping`. Pure: nothing is asked.

    compiled(is_("pod", "api-1"))  ->  Compiled({"term": {"kubernetes.pod.name": "api-1"}}, exact=True)

A compiled query finds every document that fulfils the condition. Nearly always it finds nothing else (`exact`); what
the store cannot say in full (a wildcard within a map's member, a text too long for its automata, a tree too deep) is
found a little too widely, and whoever asks looks through the answer with `conditions.matches`. So both stores answer
alike, always. Keywords are compared as UTF-8 bytes there, which is the order of code points here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Final, Literal, NamedTuple

from streams.queries.conditions import (
    AllOf,
    AnyOf,
    Compare,
    Condition,
    Everything,
    Exists,
    Is,
    Like,
    Not,
    OneOf,
    Says,
    resolve,
)
from streams.sinks.document import LAST_TIME, Scalar, address, clean
from streams.sinks.fields import FIELDS, FieldType
from streams.sinks.mapping import RAW
from verifier.models import Micros
from verifier.times import parse_instant

Json = dict[str, Any]  # Any: a tree of JSON

DEEPEST: Final = 20
"""Levels of `and` and `or` that are asked for; Elasticsearch takes 30 levels of query, and a leaf has up to three."""
LONGEST: Final = 80
"""Characters of a pattern: its automaton must stay far below the 10,000 states of work that Lucene spends on one."""


class Compiled(NamedTuple):
    """What to ask."""

    query: Json
    exact: bool = True
    """It finds nothing beside what fulfils the condition."""


Kind = Literal["text", "time", "long", "boolean", "ip", "member"]
"""What can be asked of a field: `text` of everything that is indexed as one keyword, `member` of a map's members."""


class Asked(NamedTuple):
    """A field as the index has it."""

    name: str
    kind: Kind


ALL: Final = Compiled({"match_all": {}})
NONE: Final = Compiled({"match_none": {}})


def compiled(condition: Condition) -> Compiled:
    """The query for a condition."""
    return _made(condition, wanted=True, depth=0)


def asked(field: str) -> Asked:
    """Where in the index the values of a field (by full name) are found as they were written.

    Raises:
        InputError: there is no such field, or it cannot be searched.
    """
    if field not in FIELDS:
        resolve(field)  # says what is wrong with it
        return Asked(field, "member")
    if field == "@timestamp":
        return Asked(field, "time")
    kind = FIELDS[field].type
    return Asked(f"{field}.{RAW}" if kind in _RAW else field, _KINDS.get(kind, "text"))


_RAW: Final = frozenset({"text", "date"})
_KINDS: Final[dict[FieldType, Kind]] = {"long": "long", "boolean": "boolean", "ip": "ip"}


# ------------------------------------------------------------------------------------------------ and, or, not


def _made(condition: Condition, *, wanted: bool, depth: int) -> Compiled:
    """The query for a condition, or for its opposite. A `not` moves down to what it denies, so it adds no level."""
    if isinstance(condition, Not):
        return _made(condition.of, wanted=not wanted, depth=depth)
    if not isinstance(condition, (AllOf, AnyOf)):
        leaf = _LEAVES[type(condition)](condition)
        return leaf if wanted else _denied(leaf)
    if depth == DEEPEST:
        return ALL._replace(exact=False)
    parts = [_made(one, wanted=wanted, depth=depth + 1) for one in condition.of]
    return _every(parts) if isinstance(condition, AllOf) == wanted else _any(parts)


def _denied(leaf: Compiled) -> Compiled:
    """The opposite of what finds too much would find too little; so everything is looked through."""
    if leaf == ALL:
        return NONE
    if leaf == NONE:
        return ALL
    return Compiled({"bool": {"must_not": [leaf.query]}}) if leaf.exact else ALL._replace(exact=False)


def _every(parts: Iterable[Compiled]) -> Compiled:
    made = [part for part in parts if part != ALL]
    if NONE in made:
        return NONE
    exact = all(part.exact for part in made)
    queries = [part.query for part in made if part.query != ALL.query]
    if len(queries) < 2:
        return Compiled(queries[0] if queries else ALL.query, exact)
    return Compiled({"bool": {"filter": queries}}, exact)


def _any(parts: Iterable[Compiled]) -> Compiled:
    made = [part for part in parts if part != NONE]
    if ALL in made:
        return ALL
    exact = all(part.exact for part in made)
    if any(part.query == ALL.query for part in made):
        return ALL._replace(exact=exact)
    if len(made) < 2:
        return made[0] if made else NONE
    return Compiled({"bool": {"should": [part.query for part in made], "minimum_should_match": 1}}, exact)


# ------------------------------------------------------------------------------------------------ leaves


def _equal(field: str, values: Iterable[Scalar]) -> Compiled:
    place = asked(field)
    found = [stored for value in values if (stored := _stored(place.kind, value)) is not None]
    if not found:
        return NONE
    if place.kind == "time":
        return _any(_range(place, gte=value, lte=value) for value in found)
    return Compiled({"terms": {place.name: found}} if len(found) > 1 else {"term": {place.name: found[0]}})


def _stored(kind: Kind, value: Scalar) -> Scalar | None:
    """A value as the index has it; None when no document can have it."""
    if kind == "long":
        return int(value) if isinstance(value, int) else None
    if kind == "boolean":
        return value if isinstance(value, bool) else None
    if not isinstance(value, str) or clean(value) != value:
        return None
    if kind == "time":
        return _nanos(value) if 0 <= _instant(value) <= LAST_TIME else None
    return value if kind != "ip" or _is_address(value) else None


def _is_address(text: str) -> bool:
    """Documents have addresses in one form; the index would find one in any form."""
    try:
        return address(text) == text
    except ValueError:
        return False


def _exists(field: str) -> Compiled:
    return Compiled({"exists": {"field": asked(field).name}})


def _range(place: Asked, **bounds: Scalar) -> Compiled:
    return Compiled({"range": {place.name: bounds}})


def _compare(condition: Compare) -> Compiled:
    place, value = asked(condition.field), condition.value
    if place.kind == "boolean" or (place.kind == "long") == isinstance(value, str):
        return _exists(condition.field)._replace(exact=False)  # nobody asks this; an order nobody defined
    if place.kind == "ip" or (isinstance(value, str) and clean(value) != value):
        return _exists(condition.field)._replace(exact=False)  # ordered as texts here, as numbers there
    if place.kind == "member":
        return _compare_member(place, condition)
    if place.kind == "time":
        return _compare_time(place, condition)
    return _range(place, **{_BOUNDS[condition.operator]: value})


_BOUNDS: Final = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}


def _compare_member(place: Asked, condition: Compare) -> Compiled:
    """A range over one member needs both ends. It has one value at most, so "more than" is "there, and not up to"."""
    if condition.operator in ("<", "<="):
        return _range(place, gte="", **{_BOUNDS[condition.operator]: condition.value})
    upto = "lte" if condition.operator == ">" else "lt"
    return _every([_exists(condition.field), _denied(_range(place, gte="", **{upto: condition.value}))])


def _compare_time(place: Asked, condition: Compare) -> Compiled:
    """Documents have times of 1970 to 2262; the index refuses to be asked of others."""
    time = _instant(str(condition.value))
    if not 0 <= time <= LAST_TIME:
        before = condition.operator in ("<", "<=")
        return _exists(condition.field) if before == (time > LAST_TIME) else NONE
    return _range(place, **{_BOUNDS[condition.operator]: _nanos(str(condition.value))})


def _instant(text: str) -> Micros:
    try:
        return parse_instant(text)
    except ValueError:
        return -1  # no document has such a time


def _nanos(instant: str) -> str:
    """All nine digits, so that nothing is rounded up to the end of a microsecond."""
    return f"{instant.removesuffix('Z')}000Z"


def _like(condition: Like) -> Compiled:
    place, parts = asked(condition.field), condition.parts
    if place.kind in ("long", "boolean") or any(clean(part) != part for part in parts):
        return NONE
    if len(parts) == 1:
        return _equal(condition.field, parts)
    if not any(parts):
        return _exists(condition.field)
    if place.kind in ("time", "ip"):
        return _exists(condition.field)._replace(exact=False)
    if not any(parts[1:]):
        return Compiled({"prefix": {place.name: {"value": parts[0]}}})
    if sum(map(len, parts)) > LONGEST:
        return Compiled({"prefix": {place.name: {"value": parts[0]}}}, exact=False)
    pattern = "*".join(map(_escaped, parts))
    return _in_map(condition.field, pattern) if place.kind == "member" else _pattern(place.name, pattern)


def _says(condition: Says) -> Compiled:
    place, words = asked(condition.field), condition.words
    if place.kind in ("long", "boolean") or clean(words) != words:
        return NONE
    if not words:
        return _exists(condition.field)
    if place.kind in ("time", "ip"):
        return _exists(condition.field)._replace(exact=False)
    pattern = f"*{_escaped(words[:LONGEST])}*"
    if place.kind == "member":
        return _in_map(condition.field, pattern, case_insensitive=True)
    found = _pattern(place.name, pattern, case_insensitive=True)
    return found._replace(exact=len(words) <= LONGEST)


def _in_map(field: str, pattern: str, **options: bool) -> Compiled:
    """Patterns can be asked of a whole map alone: the member is there, and some member is like it."""
    some = _pattern(resolve(field).field.name, pattern, **options)
    return _every([_exists(field), some._replace(exact=False)])


def _pattern(name: str, pattern: str, **options: bool) -> Compiled:
    return Compiled({"wildcard": {name: {"value": pattern, **options}}})


def _escaped(text: str) -> str:
    """Characters that mean something in a pattern lose it."""
    return re.sub(r"([*?\\])", r"\\\1", text)


_LEAVES: Final[dict[type, Callable[[Any], Compiled]]] = {
    Everything: lambda _: ALL,
    Is: lambda c: _equal(c.field, (c.value,)),
    OneOf: lambda c: _equal(c.field, c.values),
    Like: _like,
    Exists: lambda c: _exists(c.field),
    Compare: _compare,
    Says: _says,
}
