"""Conditions as SQL over the SQLite record (`streams.sinks.sqlite`). Pure: text and parameters, nothing is run.

    where(is_("pod", "api-1"))  ->  Sql("(pod_mark IN (?) AND (pod IS NOT NULL AND pod = ?))", [123, "api-1"])

A field with a column is asked there (and by its index of marks); one with terms through the term table; every other one
in the body. The same conditions can be asked of a brief (`streams.sinks.briefs`) that covers them. Names in the text
come from the field table alone; everything from a query is a parameter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

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
from streams.sinks.briefs import TIME, Brief
from streams.sinks.document import Scalar
from streams.sinks.fields import FIELDS, INDEXED, mark, term_mark
from verifier.times import parse_instant

Parameter = str | int


class Sql(NamedTuple):
    """A fragment that is always true or false, and its parameters in order."""

    text: str
    parameters: list[Parameter]


def where(condition: Condition, brief: Brief | None = None) -> Sql:
    """The fragment for a condition: over the record, or over a brief that covers it."""
    return _COMPILE[type(condition)](condition, brief)


def covers(brief: Brief, condition: Condition) -> bool:
    """Has the brief all that the condition asks for?"""
    if isinstance(condition, Everything):
        return True
    if isinstance(condition, Not):
        return covers(brief, condition.of)
    if isinstance(condition, (AllOf, AnyOf)):
        return all(covers(brief, one) for one in condition.of)
    if condition.field == TIME:
        return isinstance(condition, (Compare, Exists))
    if condition.field in brief.flags:
        return isinstance(condition, Exists)
    return condition.field in brief.words or condition.field in brief.dates


def names_fields(condition: Condition) -> bool:
    """Does it ask for anything but the time?"""
    if isinstance(condition, (AllOf, AnyOf)):
        return any(map(names_fields, condition.of))
    if isinstance(condition, Not):
        return names_fields(condition.of)
    return not isinstance(condition, Everything) and condition.field != TIME


def _tested(field: str, test: str, parameters: list[Parameter], brief: Brief | None) -> Sql:
    """One value of the field passes `test`, in which `{}` stands for the value."""
    if brief is not None:
        return Sql(_in_brief(field, test, brief), parameters)
    if field not in FIELDS:
        found = resolve(field)
        return Sql(_IN_BODY.format(found.field.name, f"key = ? AND {test.format('value')}"), [found.inner, *parameters])
    row = FIELDS[field]
    if row.column:
        return Sql(f"({row.column} IS NOT NULL AND {test.format(row.column)})", parameters)
    if row.type in _SINGLE:  # read once for a document, where a walk over values reads it anew for each test
        value = _VALUE.format(row.name)
        return Sql(f"({value} IS NOT NULL AND {test.format(value)})", parameters)
    return Sql(_IN_BODY.format(row.name, test.format("value")), parameters)


def _in_brief(field: str, test: str, brief: Brief) -> str:
    column = "time" if field == TIME else {**brief.words, **brief.dates, **brief.flags}[field]
    if field in brief.words and test != _IS_THERE:
        return _IN_WORDS.format(column, column, test.format("text"))
    return f"({column} IS NOT NULL AND {test.format(column)})"


_SINGLE: Final = frozenset({"date", "boolean", "long"})
"""Types of which a document has one value at most; a test holds the makers to it."""
_VALUE: Final = """json_extract(body, '$."{}"')"""
_IN_BODY: Final = """EXISTS (SELECT 1 FROM json_each(body, '$."{}"') WHERE {})"""
_IN_TERMS: Final = "row IN (SELECT row FROM record_terms WHERE mark IN ({}))"
_IN_WORDS: Final = "({} IS NOT NULL AND {} IN (SELECT word FROM record_words WHERE {}))"
_IS_THERE: Final = "{} IS NOT NULL"


def _equal(field: str, values: list[Parameter], brief: Brief | None) -> Sql:
    """One value of the field is one of these; where there are marks they narrow, and the text decides."""
    marks = ",".join("?" * len(values))
    exact = _tested(field, f"{{}} IN ({marks})" if len(values) != 1 else "{} = ?", values, brief)
    row = FIELDS.get(field)
    if brief is not None or row is None:
        return exact
    texts = [str(v) for v in values]
    if row.column in INDEXED:
        return Sql(f"({row.column}_mark IN ({marks}) AND {exact.text})", [*map(mark, texts), *exact.parameters])
    if row.terms:
        narrowed = [term_mark(field, v) for v in texts]
        return Sql(f"({_IN_TERMS.format(marks)} AND {exact.text})", [*narrowed, *exact.parameters])
    return exact


def narrows(condition: Condition) -> bool:
    """Does an index of a column or the term table find the documents, so that no order should lure SQLite elsewhere?"""
    if isinstance(condition, AllOf):
        return any(map(narrows, condition.of))
    if isinstance(condition, AnyOf):
        return bool(condition.of) and all(map(narrows, condition.of))
    if not isinstance(condition, (Is, OneOf)) or condition.field not in FIELDS:
        return False
    row = FIELDS[condition.field]
    return row.terms or row.column in INDEXED or row.column == "id"


def pins(condition: Condition) -> bool:
    """Does an index find so few documents that nothing is faster, not even to look through a brief?"""
    if isinstance(condition, AllOf):
        return any(map(pins, condition.of))
    if isinstance(condition, AnyOf):
        return bool(condition.of) and all(map(pins, condition.of))
    if not isinstance(condition, (Is, OneOf)) or condition.field not in FIELDS:
        return False
    few = not isinstance(condition, OneOf) or len(condition.values) <= FEW
    return few and FIELDS[condition.field].column in _PINNED


FEW: Final = 50
_PINNED: Final = (INDEXED | {"id"}) - {"namespace", "repository"}
"""Columns of which one value is of a handful of documents; a namespace may be half of a fleet."""


def _is(condition: Is, brief: Brief | None) -> Sql:
    return _equal(condition.field, [_stored(condition.field, condition.value)], brief)


def _one_of(condition: OneOf, brief: Brief | None) -> Sql:
    if not condition.values:
        return Sql("0", [])
    return _equal(condition.field, [_stored(condition.field, v) for v in condition.values], brief)


def _like(condition: Like, brief: Brief | None) -> Sql:
    return _tested(condition.field, "{} GLOB ?", ["*".join(map(_no_glob, condition.parts))], brief)


def _exists(condition: Exists, brief: Brief | None) -> Sql:
    """Empty values are never stored, so a field that is there has one."""
    row = FIELDS.get(condition.field)
    if brief is not None or row is None or row.column:
        return _tested(condition.field, _IS_THERE, [], brief)
    return Sql(f"(json_type(body, '$.\"{row.name}\"') IS NOT NULL)", [])


def _compare(condition: Compare, brief: Brief | None) -> Sql:
    test = f"{{}} {condition.operator} ?"
    return _tested(condition.field, test, [_stored(condition.field, condition.value)], brief)


def _says(condition: Says, brief: Brief | None) -> Sql:
    return _tested(condition.field, "instr(lower({}), lower(?)) > 0", [condition.words], brief)


def _many(conditions: tuple[Condition, ...], brief: Brief | None, word: str, empty: str) -> Sql:
    made = [where(one, brief) for one in conditions]
    if not made:
        return Sql(empty, [])
    return Sql(f"({word.join(m.text for m in made)})", [p for m in made for p in m.parameters])


def _not(condition: Not, brief: Brief | None) -> Sql:
    inner = where(condition.of, brief)
    return Sql(f"NOT {inner.text}", inner.parameters)


def _stored(field: str, value: Scalar) -> Parameter:
    """A value as the record holds it: time is a number in its column, truth is 1 or 0 in JSON."""
    if field == "@timestamp" and isinstance(value, str):
        return parse_instant(value)
    return int(value) if isinstance(value, bool) else value


def _no_glob(text: str) -> str:
    """`?` and `[` have a meaning in GLOB that they do not have in a query."""
    return text.replace("[", "[[]").replace("?", "[?]").replace("*", "[*]")


_COMPILE: Final[dict[type, Callable[[Any, Brief | None], Sql]]] = {
    Everything: lambda _c, _b: Sql("1", []),
    Is: _is,
    OneOf: _one_of,
    Like: _like,
    Exists: _exists,
    Compare: _compare,
    Says: _says,
    Not: _not,
    AllOf: lambda c, b: _many(c.of, b, " AND ", "1"),
    AnyOf: lambda c, b: _many(c.of, b, " OR ", "0"),
}
