"""Rules for predicates that only their author knows: CEL expressions and JSONPath queries. The door to both libraries.

    check_cel("predicate.reviewers.exists(r, r == 'alice')")       at policy time: compiles, is boolean, is affordable
    holds_cel("predicate.reviewers.exists(r, r == 'alice')", predicate)
    select("$.reviewers[?@.role == 'owner'].name", predicate)      the values selected (RFC 9535)

An expression is written by a person, the predicate by whoever made the attestation, perhaps to stop the verifier. CEL
runs in the CEL project's own evaluator (C++), which cannot be interrupted: what an expression may cost is worked out
before, from its tree and the predicate's size (`celcost`), and refused when too much. JSONPath counts the nodes it
visits. Neither has access to anything but the predicate; no date, no file, no network.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from cel_expr_python import cel  # type: ignore[import-untyped]  # has stubs, but no py.typed marker
from jsonpath import JSONPath, JSONPathEnvironment, JSONPathMatch
from jsonpath.exceptions import JSONPathError
from jsonpath.filter import BaseExpression, FilterQuery
from jsonpath.parse import Parser
from jsonpath.stream import TokenStream

from verifier.content.celcost import Cost, CostError, cost_of
from verifier.content.document import Predicate, document
from verifier.content.outcome import Mismatch
from verifier.evidence.content import excerpt

MAX_EXPRESSION_CHARACTERS: Final = 2_000
"""Characters of a CEL expression. Compiling is linear; the tree's depth is bounded by the compiler (32)."""

MAX_PATH_CHARACTERS: Final = 500
"""Characters of a JSONPath query."""

CEL_STEPS: Final = 300_000
"""Most steps an expression may take on a predicate: some 0.1 µs each, measured on the worst of them."""

CEL_UNITS: Final = 30_000
"""Size of a predicate that CEL looks at: values, and each 64 characters of text. All of it is handed over (0.3 µs per
value) before the first step."""

PATH_NODES: Final = 10_000
"""Nodes and sub-queries of one JSONPath query, about 5 µs each."""

_COMPILED: Final = 1_024
"""Expressions and queries kept, compiled."""

_CHARACTERS_PER_UNIT: Final = 64

# ---------------------------------------------------------------------------------------------------------------- CEL

_ENVIRONMENT: Final = cel.NewEnv(variables={"predicate": cel.Type.DYN, "predicateType": cel.Type.STRING})


class _Compiled(NamedTuple):
    expression: Any
    cost: Cost


def check_cel(expression: str) -> str:
    """An expression that compiles to a boolean and that some predicate is small enough for.

    Raises:
        ValueError: it is not; the message is the compiler's, or says what costs too much.
    """
    if len(expression) > MAX_EXPRESSION_CHARACTERS:
        raise ValueError(f"a CEL expression has at most {MAX_EXPRESSION_CHARACTERS} characters")
    _compile_cel(expression)
    return expression


def holds_cel(expression: str, predicate: Predicate) -> bool:
    """Whether the expression is true of `predicate` (the document, unwrapped) and `predicateType`.

    Raises:
        Mismatch: it fails on this predicate (a member is missing, types differ), or the predicate is too large for it.
    """
    compiled = _compile_cel(expression)
    size = predicate.view(_units)
    if size > CEL_UNITS or compiled.cost.steps(size) > CEL_STEPS:
        raise Mismatch(f"a predicate of {size} units is too large for {excerpt(expression)}")
    data = {"predicate": document(predicate), "predicateType": predicate.type}
    try:
        result = compiled.expression.eval(data=data)
        value, kind = result.value(), result.type()
    except Exception as error:  # native code: whatever it raises is an answer
        raise Mismatch(f"{excerpt(expression)} fails: {excerpt(error)}") from error
    if kind != cel.Type.BOOL:
        raise Mismatch(f"{excerpt(expression)} fails: {excerpt(value)}")
    return value is True


@lru_cache(maxsize=_COMPILED)
def _compile_cel(expression: str) -> _Compiled:
    try:
        compiled = _ENVIRONMENT.compile(expression)
        kind, tree = compiled.return_type(), compiled.serialize()
    except Exception as error:
        said = " ".join(str(error).split())[:300]  # it quotes the expression, which may hold anything
        shown = said if said.isprintable() else ascii(said)[1:-1]
        raise ValueError(f"not a CEL expression: {shown}") from error
    if kind not in (cel.Type.BOOL, cel.Type.DYN):
        raise ValueError("the expression must be true or false, this one is neither")
    try:
        return _Compiled(compiled, cost_of(tree))
    except CostError as error:
        raise ValueError(f"this expression {error}") from error


def _units(predicate: Predicate) -> int:
    """The size of a document: its values and member names, long texts counting for more."""
    units, waiting = 0, [document(predicate)]
    while waiting and units <= CEL_UNITS:
        value = waiting.pop()
        units += 1
        if isinstance(value, str):
            units += len(value) // _CHARACTERS_PER_UNIT
        elif isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, dict):
            waiting.extend(value.values())
            units += sum(1 + len(name) // _CHARACTERS_PER_UNIT for name in value)
    return units + len(waiting)


# ----------------------------------------------------------------------------------------------------------- JSONPath


class _OverBudgetError(Exception):
    """Ends a query; never leaves this module."""


class _Node(JSONPathMatch):
    """A node that is counted, and does not build the text of its path: names may be long and levels many."""

    def __init__(self, **parts: Any) -> None:  # noqa: ANN401 - the library's own, handed on
        _spend(parts["filter_context"])
        super().__init__(**parts)

    def new_child(self, obj: object, key: int | str) -> _Node:  # noqa: ARG002 - the library's signature
        context = self._filter_context
        return _Node(filter_context=context, obj=obj, parent=None, parts=(), path="", root=self.root)

    def add_child(self, *children: JSONPathMatch) -> None:
        """Nodes are forgotten as soon as they are looked at."""


class _Query(JSONPath):
    """A query, or one inside a filter, all of whose nodes are counted."""

    __slots__ = ()

    def finditer(self, data: Any, *, filter_context: Any = None) -> Iterable[JSONPathMatch]:  # noqa: ANN401 - the library's
        start = _Node(filter_context=filter_context, obj=data, parent=None, path="", parts=(), root=data)
        matches: Iterable[JSONPathMatch] = (start,)
        for segment in self.segments:
            matches = segment.resolve(matches)
        return matches


class _Parser(Parser):
    """Makes the queries inside filters counted ones too."""

    def parse_absolute_query(self, stream: TokenStream) -> BaseExpression:
        return self._counted(super().parse_absolute_query(stream))

    def parse_relative_query(self, stream: TokenStream) -> BaseExpression:
        return self._counted(super().parse_relative_query(stream))

    def _counted(self, query: BaseExpression) -> BaseExpression:
        if not isinstance(query, FilterQuery):
            raise TypeError("a query inside a filter has a form that is not known")
        query.path = _Query(env=self.env, segments=query.path.segments)
        return query


class _Environment(JSONPathEnvironment):
    """RFC 9535 to the letter, less `match` and `search`: their engine's time is not bounded. CEL has `matches`."""

    parser_class = _Parser

    def __init__(self) -> None:
        super().__init__(strict=True)

    def setup_function_extensions(self) -> None:
        super().setup_function_extensions()
        for name in ("match", "search"):
            del self.function_extensions[name]

    def compare(self, left: object, operator: str, right: object) -> bool:
        """Objects and lists are equal to nothing here: comparing them takes as long as they are large."""
        if operator in {"==", "!="} and (_is_container(left) or _is_container(right)):
            return operator == "!="
        return super().compare(left, operator, right)


def _is_container(value: object) -> bool:
    """A list or object, also as the only node of a list of nodes."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], JSONPathMatch):
        value = value[0].obj
    return isinstance(value, Mapping) or (isinstance(value, Sequence) and not isinstance(value, str) and bool(value))


_PATHS: Final = _Environment()


def check_path(path: str) -> str:
    """A query that follows RFC 9535, without `match` and `search`.

    Raises:
        ValueError: it does not, or is longer than `MAX_PATH_CHARACTERS`.
    """
    if len(path) > MAX_PATH_CHARACTERS:
        raise ValueError(f"a JSONPath query of {len(path)} characters, limit {MAX_PATH_CHARACTERS}")
    _compile_path(path)
    return path


def select(path: str, predicate: Predicate) -> list[object]:
    """The values that the query selects from the document, in its order.

    Raises:
        Mismatch: the query would visit more than `PATH_NODES` nodes, or fails.
    """
    if ("?" in path or ".." in path) and predicate.view(_units) > CEL_UNITS:
        raise Mismatch(f"a predicate of more than {CEL_UNITS} units is too large for {excerpt(path)}")
    budget = {"left": [PATH_NODES]}
    try:
        return [match.obj for match in _matches(path, document(predicate), budget)]
    except _OverBudgetError as error:
        raise Mismatch(f"{excerpt(path)} visits more than {PATH_NODES} nodes of this predicate") from error
    except (JSONPathError, RecursionError, TypeError, ValueError, ArithmeticError) as error:
        raise Mismatch(f"{excerpt(path)} fails: {excerpt(_message(error))}") from error


def _matches(path: str, value: object, budget: Mapping[str, Any]) -> Iterator[JSONPathMatch]:
    if not isinstance(value, (dict, list)):  # text would be taken for a document to parse
        raise Mismatch("a JSONPath looks at an object or a list, found neither")
    yield from _compile_path(path).finditer(value, filter_context=budget)


def _spend(budget: Mapping[str, Any]) -> None:
    left = budget["left"]
    left[0] -= 1
    if left[0] < 0:
        raise _OverBudgetError


@lru_cache(maxsize=_COMPILED)
def _compile_path(path: str) -> _Query:
    try:
        compiled = _PATHS.compile(path)
        if not isinstance(compiled, JSONPath):
            raise TypeError("a union of queries")
    except (JSONPathError, RecursionError, ValueError, TypeError, ArithmeticError) as error:
        raise ValueError(f"not a JSONPath query (RFC 9535): {_message(error)}") from error
    return _Query(env=_PATHS, segments=compiled.segments)


def _message(error: Exception) -> str:
    """What an error says, without the excerpt of the query that the library draws (and may fail to draw)."""
    return " ".join(str(error.args[0] if error.args else type(error).__name__).split())[:200]
