r"""The query language: a strict subset of the Kibana Query Language. What is accepted here means the same there. Pure.

    parse('verdict:violates and namespace:(shop or pay*) and not owner:"web"')
    parse('@timestamp >= "2026-11-20T00:00:00Z" and key:dev')
    render(condition)     ->  the same query with full names, ready for Kibana

    query      = or ;  or = and { "or" and } ;  and = not { "and" not } ;  not = [ "not" ] primary
    primary    = "(" query ")" | field ":" values | field ( "<" | "<=" | ">" | ">=" ) value | value
    values     = value | "(" the same with or, and, not, without fields ")"
    value      = "quoted, with \" and \\" | bare, with * for anything and \ before a character that has a meaning

Left out, each with an error that says so: two words side by side (Kibana reads them differently for different fields),
wildcards in field names and in texts, `{}` of nested fields, and date rounding. A bare word is searched in `message`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, Literal, NamedTuple, NoReturn

from streams.queries.conditions import (
    EVERYTHING,
    NOTHING,
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
    Operator,
    Says,
    both,
    either,
    full_name,
    resolve,
)
from streams.sinks.document import Scalar, address, instant
from streams.sinks.fields import FIELDS, TERMINAL_ONLY, FieldType, Resolved
from verifier.errors import InputError
from verifier.models import Micros
from verifier.times import DAY, UNITS, parse_instant

MAX_QUERY: Final = 8192
"""Characters of a query."""
MAX_DEPTH: Final = 40
"""Parentheses and `not` inside each other; the stores have limits of their own."""
MAX_TERMS: Final = 512
"""Conditions in one query."""

TEXT_FIELD: Final = "message"
"""Where words without a field are looked for (`index.query.default_field` in Elasticsearch)."""


class QueryError(InputError):
    """A query that is not one of ours; says where, what is there and what is expected."""

    def __init__(self, query: str, column: int, message: str) -> None:
        super().__init__(f"query, column {column + 1}: {message}")
        self.query, self.column, self.message = query, column + 1, message


# ------------------------------------------------------------------------------------------------ words

Kind = Literal["word", "quoted", "(", ")", ":", "<", "<=", ">", ">=", "and", "or", "not", "end"]


class _Token(NamedTuple):
    kind: Kind
    column: int
    parts: tuple[str, ...] = ()
    """Of a word or quotation: its text, cut at each wildcard."""

    @property
    def text(self) -> str:
        return "*".join(self.parts)


_UNWRITABLE: Final = re.compile("[\0\ud800-\udfff]")
"""NUL and lone surrogates (bytes of a command line that are no text); documents have neither."""

_SYMBOL: Final = re.compile(r"<=|>=|[():<>]")
_SPECIAL: Final = frozenset('\\():<>"*{}')
_ESCAPES: Final = {"t": "\t", "r": "\r", "n": "\n"}
_KEYWORDS: Final = ("and", "or", "not")


def _tokens(query: str) -> list[_Token]:
    if len(query) > MAX_QUERY:
        raise QueryError(query, MAX_QUERY, f"a query has at most {MAX_QUERY} characters, this one {len(query)}")
    wrong = _UNWRITABLE.search(query)
    if wrong is not None:
        raise QueryError(query, wrong.start(), "a character that no document can hold")
    tokens, at = [], 0
    while at < len(query):
        if query[at].isspace():
            at += 1
            continue
        token, at = _token(query, at)
        tokens.append(token)
    return [*tokens, _Token("end", len(query))]


def _token(query: str, at: int) -> tuple[_Token, int]:
    symbol = _SYMBOL.match(query, at)
    if symbol is not None:
        return _Token(symbol[0], at), symbol.end()  # type: ignore[arg-type]  # the pattern's alternatives are kinds
    if query[at] == '"':
        return _quoted(query, at)
    if query[at] in "{}":
        raise QueryError(query, at, "nested fields ({ }) are not part of this subset; write field:value")
    return _word(query, at)


def _quoted(query: str, start: int) -> tuple[_Token, int]:
    out: list[str] = []
    at = start + 1
    while at < len(query):
        if query[at] == '"':
            return _Token("quoted", start, ("".join(out),)), at + 1
        if query[at] == "\\" and at + 1 < len(query):
            out.append(_ESCAPES.get(query[at + 1], query[at + 1]))
            at += 2
            continue
        out.append(query[at])
        at += 1
    raise QueryError(query, start, 'a quotation that does not end; expected a closing "')


def _word(query: str, start: int) -> tuple[_Token, int]:
    parts, at, escaped = [""], start, False
    while at < len(query) and not query[at].isspace() and (query[at] not in _SPECIAL or query[at] in "\\*"):
        if query[at] == "\\":
            at, text = _escape(query, at)
            parts[-1] += text
            escaped = True
        elif query[at] == "*":
            parts.append("")
            at += 1
        else:
            parts[-1] += query[at]
            at += 1
    if at < len(query) and query[at] in '"{}':
        raise QueryError(query, at, f"{query[at]} inside a word; put the whole value in quotation marks")
    keyword = parts[0].lower()
    if len(parts) == 1 and not escaped and keyword in _KEYWORDS:
        return _Token(keyword, start), at  # type: ignore[arg-type]  # the keywords are kinds
    return _Token("word", start, tuple(parts)), at


def _escape(query: str, at: int) -> tuple[int, str]:
    rest = query[at + 1 : at + 4].lower()
    keyword = next((k for k in _KEYWORDS if rest.startswith(k)), "")
    if keyword:
        return at + 1 + len(keyword), query[at + 1 : at + 1 + len(keyword)]
    if at + 1 == len(query):
        raise QueryError(query, at, "a \\ with nothing behind it; write \\\\ for a backslash")
    character = query[at + 1]
    if character in _SPECIAL or character.isspace():
        return at + 2, character
    if character in _ESCAPES:
        return at + 2, _ESCAPES[character]
    raise QueryError(query, at, f'\\{character} means nothing; write \\\\ for a backslash, or quote the value with "')


# ------------------------------------------------------------------------------------------------ sentences


class _Parser:
    def __init__(self, query: str, now: Micros | None) -> None:
        self.query, self.now = query, now
        self.tokens = _tokens(query)
        self.at = self.terms = self.depth = 0

    def peek(self) -> _Token:
        return self.tokens[self.at]

    def take(self) -> _Token:
        token = self.tokens[self.at]
        self.at += 1
        return token

    def fail(self, expected: str, token: _Token | None = None) -> NoReturn:
        token = token or self.peek()
        got = "the end" if token.kind == "end" else f"`{token.text or token.kind}`"
        raise QueryError(self.query, token.column, f"expected {expected}, got {got}")

    def whole(self) -> Condition:
        if self.peek().kind == "end":
            return EVERYTHING
        condition = self.any_of(self.primary)
        if self.peek().kind in ("word", "quoted"):
            self.fail("`and` or `or` between two conditions (or quotation marks around several words)")
        if self.peek().kind != "end":
            self.fail("`and`, `or` or the end")
        return condition

    def any_of(self, one: Callable[[], Condition]) -> Condition:
        found = [self.all_of(one)]
        while self.peek().kind == "or":
            self.take()
            found.append(self.all_of(one))
        return either(*found) if len(found) > 1 else found[0]

    def all_of(self, one: Callable[[], Condition]) -> Condition:
        found = [self.negated(one)]
        while self.peek().kind == "and":
            self.take()
            found.append(self.negated(one))
        return both(*found) if len(found) > 1 else found[0]

    def negated(self, one: Callable[[], Condition]) -> Condition:
        if self.peek().kind != "not":
            return self.grouped(one)
        self.deeper()
        self.take()
        condition = Not(self.negated(one))
        self.depth -= 1
        return condition

    def grouped(self, one: Callable[[], Condition]) -> Condition:
        if self.peek().kind != "(":
            return one()
        self.deeper()
        opened = self.take()
        condition = self.any_of(one)
        if self.peek().kind != ")":
            where = f"a closing ) for the one in column {opened.column + 1}"
            self.fail(where + " (or `and`, `or` before it)")
        self.take()
        self.depth -= 1
        return condition

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise QueryError(self.query, self.peek().column, f"nested deeper than {MAX_DEPTH} levels")

    def primary(self) -> Condition:
        token = self.take()
        if token.kind not in ("word", "quoted"):
            self.fail("a field, a value or (", token)
        self.terms += 1
        if self.terms > MAX_TERMS:
            raise QueryError(self.query, token.column, f"more than {MAX_TERMS} conditions")
        if self.peek().kind == ":":
            self.take()
            return self.field_values(token)
        if self.peek().kind in ("<", "<=", ">", ">="):
            return self.compared(token)
        return self.words(token)

    def field_values(self, name: _Token) -> Condition:
        if name.text == "*" and self.peek().text == "*":
            self.take()
            return EVERYTHING
        found = self.field(name)
        return self.grouped(lambda: self.value(found))

    def field(self, name: _Token) -> Resolved:
        if len(name.parts) > 1:
            raise QueryError(self.query, name.column, "wildcards in field names are not part of this subset")
        try:
            return resolve(name.text)
        except InputError as error:
            raise QueryError(self.query, name.column, str(error)) from error

    def value(self, found: Resolved) -> Condition:
        token = self.take()
        if token.kind not in ("word", "quoted"):
            self.fail(f"a value of {found.field.name} or (", token)
        if self.peek().kind == ":":
            advice = f'a : inside a value; write "{token.text}:…" in quotation marks'
            raise QueryError(self.query, self.peek().column, advice)
        return _condition(self, found, token)

    def compared(self, name: _Token) -> Condition:
        found = self.field(name)
        operator: Operator = self.take().kind  # type: ignore[assignment]  # one of the four, the caller looked
        token = self.take()
        if token.kind not in ("word", "quoted") or len(token.parts) > 1:
            self.fail("one value without wildcards", token)
        if found.field.type in ("text", "boolean", "ip"):
            raise QueryError(self.query, name.column, f"{found.field.name} has no order; use {found.field.name}:value")
        return Compare(_name(found), operator, _typed(self, found, token))

    def words(self, token: _Token) -> Condition:
        if token.kind == "word" and token.parts == ("", ""):
            return EVERYTHING
        return _condition(self, resolve(TEXT_FIELD), token)


def _name(found: Resolved) -> str:
    return f"{found.field.name}.{found.inner}" if found.inner else found.field.name


def _condition(parser: _Parser, found: Resolved, token: _Token) -> Condition:
    name, kind = _name(found), found.field.type
    if token.kind == "word" and token.parts == ("", ""):
        return Exists(name)
    if kind == "text":
        if len(token.parts) > 1:
            raise QueryError(parser.query, token.column, "a wildcard in a text; write whole words, or quote them")
        if not token.text.strip():
            raise QueryError(parser.query, token.column, "nothing to look for")
        return Says(name, token.text)
    if len(token.parts) == 1:
        return Is(name, _typed(parser, found, token))
    if kind not in ("keyword", "flattened"):
        raise QueryError(parser.query, token.column, f"{name} is a {kind}; a wildcard needs a keyword (or * alone)")
    return Like(name, _squeezed(token.parts))


def _squeezed(parts: tuple[str, ...]) -> tuple[str, ...]:
    """`a**b` is `a*b`."""
    return (parts[0], *(p for p in parts[1:-1] if p), parts[-1])


# ------------------------------------------------------------------------------------------------ values

_BOOLEANS: Final = {"true": True, "false": False}
_AGE: Final = re.compile(r"now(?:([+-])(\d{1,6})([smhdw]))?")
_UNITS: Final = {**UNITS, "w": 7 * DAY}


def _typed(parser: _Parser, found: Resolved, token: _Token) -> Scalar:
    return _TYPES.get(found.field.type, _as_text)(parser, token)


def _as_text(_parser: _Parser, token: _Token) -> Scalar:
    return token.text


def _as_integer(parser: _Parser, token: _Token) -> Scalar:
    if re.fullmatch(r"-?\d{1,18}", token.text) is None:
        parser.fail("a whole number", token)
    return int(token.text)


def _as_boolean(parser: _Parser, token: _Token) -> Scalar:
    if token.text not in _BOOLEANS:
        parser.fail("true or false", token)
    return _BOOLEANS[token.text]


def _as_date(parser: _Parser, token: _Token) -> Scalar:
    age = _AGE.fullmatch(token.text)
    if age is not None:
        if parser.now is None:
            raise QueryError(parser.query, token.column, "`now` cannot be used here; write the time")
        shift = int(age[2]) * _UNITS[age[3]] if age[1] else 0
        return instant(parser.now - shift if age[1] == "-" else parser.now + shift)
    try:
        return instant(parse_instant(token.text))
    except ValueError as error:
        raise QueryError(parser.query, token.column, f'{error}, in quotation marks, or now, "now-15m"') from error


def _as_address(parser: _Parser, token: _Token) -> Scalar:
    try:
        return address(token.text)
    except ValueError:
        parser.fail("one address (networks are not part of this subset)", token)


_TYPES: Final[dict[FieldType, Callable[[_Parser, _Token], Scalar]]] = {
    "ip": _as_address,
    "long": _as_integer,
    "boolean": _as_boolean,
    "date": _as_date,
}


def parse(query: str, now: Micros | None = None) -> Condition:
    """The condition a query stands for; an empty one matches everything.

    Raises:
        QueryError: with the column and what is expected there.
    """
    return _Parser(query, now).whole()


# ------------------------------------------------------------------------------------------------ back to text


def render(condition: Condition) -> str:
    """The query for a condition, with full names: `parse(render(c))` asks the same as `c`."""
    return _render(condition, top=True)


def quoted(text: str) -> str:
    """A value in quotation marks, as a query holds it."""
    return f'"{text.translate(_QUOTED)}"'


_QUOTED: Final = {ord("\\"): "\\\\", ord('"'): '\\"', ord("\n"): "\\n", ord("\t"): "\\t", ord("\r"): "\\r"}


def _render(condition: Condition, *, top: bool = False) -> str:
    if isinstance(condition, (AllOf, AnyOf)):
        return _joined(condition, top=top)
    if isinstance(condition, Everything):
        return "*"
    if isinstance(condition, Not):
        return f"not {_render(condition.of)}"
    if isinstance(condition, OneOf):
        values = " or ".join(_value(v) for v in condition.values)
        return f"{condition.field}:({values})" if condition.values else _render(NOTHING)
    if isinstance(condition, Exists):
        return f"{condition.field}:*"
    if isinstance(condition, Like):
        return f"{condition.field}:{'*'.join(map(_bare, condition.parts))}"
    if isinstance(condition, Compare):
        return f"{condition.field} {condition.operator} {_value(condition.value)}"
    if isinstance(condition, Says):
        return f"{condition.field}:{quoted(condition.words)}"
    return f"{condition.field}:{_value(condition.value)}"


def _joined(condition: AllOf | AnyOf, *, top: bool) -> str:
    if not condition.of:
        return "*" if isinstance(condition, AllOf) else "not *"
    text = (" and " if isinstance(condition, AllOf) else " or ").join(_render(one) for one in condition.of)
    return text if top or len(condition.of) == 1 else f"({text})"


def _value(value: Scalar) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else quoted(value)


def _bare(text: str) -> str:
    """A piece of a word: every character with a meaning loses it."""
    escaped = "".join(f"\\{c}" if c in _SPECIAL or c.isspace() else c for c in text)
    return re.sub(r"(?i)^(and|or|not)", r"\\\1", escaped)


__all__ = ["FIELDS", "TERMINAL_ONLY", "QueryError", "full_name", "parse", "quoted", "render"]
