"""SPDX licence expressions: read as the specification says (SPDX 2.3 Annex D), then asked whether a list allows them.

    expression = parse_licence("MIT OR (GPL-2.0-only WITH Classpath-exception-2.0 AND Apache-2.0)")
    Licensing(allowed=("MIT",)).accepts(expression)         True: one alternative of an OR suffices

Ids are compared without regard to capitals. An id that no list knows is not allowed; whether SPDX has ever registered
it makes no difference. A text that is no expression is None, never a guess.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final, Literal, NamedTuple

MAX_LICENCE_CHARACTERS: Final = 4096
"""Characters of one expression. Real ones of whole distributions reach some hundred."""

MAX_LICENCE_DEPTH: Final = 32
"""Parentheses inside each other; reading recurses."""

_TOKEN: Final = re.compile(r"\s*(?:([()])|([A-Za-z0-9.:-]+\+?))", re.ASCII)
_ID: Final = re.compile(
    r"(?:DocumentRef-[A-Za-z0-9.-]+:)?[A-Za-z0-9][A-Za-z0-9.-]*\+?(?: WITH [A-Za-z0-9][A-Za-z0-9.-]*)?", re.ASCII
)
_OPERATORS: Final = frozenset({"AND", "OR", "WITH", "and", "or", "with"})
_NO_LICENCE: Final = frozenset({"none", "noassertion"})
_GNU: Final = re.compile(r"((?:a|l)?gpl-\d+(?:\.\d+)*|gfdl-\d+(?:\.\d+)*)(\+?)", re.ASCII)
"""Ids SPDX deprecated for saying `-only` or `-or-later` nowhere."""


class Licence(NamedTuple):
    """A leaf: lower case, GNU ids in their present spelling."""

    id: str
    later: bool = False
    """`X+`: version X or a later one, as the recipient likes."""
    exception: str = ""


class Compound(NamedTuple):
    """AND or OR of two or more."""

    operator: Literal["AND", "OR"]
    parts: tuple[Expression, ...]


Expression = Licence | Compound


class _NotAnExpressionError(ValueError):
    """Ends the reading of a text; never leaves this module."""


def check_licence_id(text: str) -> str:
    """One id a person lists: `MIT`, `GPL-2.0-only`, `GPL-2.0-only WITH Classpath-exception-2.0`, `LicenseRef-x`.

    Raises:
        ValueError: it is not one; an expression with AND or OR belongs into two entries.
    """
    if _ID.fullmatch(text) is None or text.casefold() in _NO_LICENCE or text in _OPERATORS:
        raise ValueError("expected one SPDX licence id such as MIT or AGPL-3.0-only, optionally WITH an exception")
    return text


def parse_licence(text: str) -> Expression | None:
    """The expression in `text`; None for NONE, NOASSERTION, text that follows no grammar, and text over the limits."""
    if len(text) > MAX_LICENCE_CHARACTERS:
        return None
    tokens = _tokens(text)
    if tokens is None:
        return None
    try:
        expression, end = _read_or(tokens, 0, 0)
    except _NotAnExpressionError:
        return None
    return expression if end == len(tokens) else None


class Licensing:
    """Allowed and forbidden ids, ready to be asked."""

    def __init__(self, allowed: Iterable[str] | None, forbidden: Iterable[str] | None) -> None:
        self._allowed = None if allowed is None else _entries(allowed)
        self._forbidden = _entries(forbidden or ())

    def accepts(self, expression: Expression) -> bool:
        """True when the recipient can comply: every part of an AND, one alternative of an OR."""
        if isinstance(expression, Compound):
            accepted = (self.accepts(part) for part in expression.parts)
            return all(accepted) if expression.operator == "AND" else any(accepted)
        if any(licence in self._forbidden for licence in _readings(expression)):
            return False
        return self._allowed is None or any(licence in self._allowed for licence in _readings(expression))


def _entries(ids: Iterable[str]) -> frozenset[Licence]:
    found = (parse_licence(licence) for licence in ids)
    return frozenset(licence for licence in found if isinstance(licence, Licence))


def _readings(licence: Licence) -> Iterator[Licence]:
    """The entries that speak of this licence, itself first.

    With an exception it permits more than without, so an entry for the bare licence speaks of it too; "this version or
    later" may be used as this version.
    """
    for exception in dict.fromkeys((licence.exception, "")):
        for later in dict.fromkeys((licence.later, False)):
            yield Licence(licence.id, later, exception)
            if licence.id.endswith("-or-later"):
                yield Licence(licence.id.removesuffix("-or-later") + "-only", later, exception)


def _tokens(text: str) -> list[str] | None:
    tokens, position, stripped = [], 0, text.rstrip()
    while position < len(stripped):
        found = _TOKEN.match(stripped, position)
        if found is None:
            return None
        tokens.append(found[1] or found[2])
        position = found.end()
    return tokens


def _read_or(tokens: list[str], at: int, depth: int) -> tuple[Expression, int]:
    parts, at = _read_list(tokens, at, depth, "OR")
    return (parts[0] if len(parts) == 1 else Compound("OR", tuple(parts))), at


def _read_list(tokens: list[str], at: int, depth: int, operator: Literal["AND", "OR"]) -> tuple[list[Expression], int]:
    """Operands with the same operator between them; AND binds closer than OR."""
    parts: list[Expression] = []
    while True:
        if operator == "OR":
            inner, at = _read_list(tokens, at, depth, "AND")
            parts.append(inner[0] if len(inner) == 1 else Compound("AND", tuple(inner)))
        else:
            operand, at = _read_operand(tokens, at, depth)
            parts.append(operand)
        if at >= len(tokens) or tokens[at] not in {operator, operator.lower()}:
            return parts, at
        at += 1


def _read_operand(tokens: list[str], at: int, depth: int) -> tuple[Expression, int]:
    if at >= len(tokens) or tokens[at] in _OPERATORS or tokens[at] == ")":
        raise _NotAnExpressionError
    if tokens[at] != "(":
        return _read_licence(tokens, at)
    if depth >= MAX_LICENCE_DEPTH:
        raise _NotAnExpressionError
    expression, at = _read_or(tokens, at + 1, depth + 1)
    if at >= len(tokens) or tokens[at] != ")":
        raise _NotAnExpressionError
    return expression, at + 1


def _read_licence(tokens: list[str], at: int) -> tuple[Licence, int]:
    name, at = tokens[at].casefold(), at + 1
    if name in _NO_LICENCE:
        raise _NotAnExpressionError
    exception = ""
    if at < len(tokens) and tokens[at] in {"WITH", "with"}:
        if at + 1 >= len(tokens) or tokens[at + 1] in _OPERATORS or tokens[at + 1] in "()":
            raise _NotAnExpressionError
        exception, at = tokens[at + 1].casefold(), at + 2
    gnu = _GNU.fullmatch(name)
    if gnu is not None:
        return Licence(f"{gnu[1]}-or-later" if gnu[2] else f"{gnu[1]}-only", exception=exception), at
    return Licence(name.removesuffix("+"), name.endswith("+"), exception), at
