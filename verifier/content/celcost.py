"""What a CEL expression can cost at most, from its syntax tree alone: a polynomial in the size of the predicate.

    cost = cost_of(serialised)            the CheckedExpr that the compiler writes (google/api/expr, syntax.proto)
    cost.steps(1_000)                     the most a predicate of that size can take

An expression is written by a person, the predicate by whoever made the attestation. The evaluator bounds iterations
but not what one iteration costs, so `predicate.a.all(x, x in predicate.b)` may take minutes on a predicate made for it.
Here each node of the tree gets an exponent: how many times over the predicate can be gone through for it. A node that
looks only at what its loops range over is linear, however deep the loops; each look at something else adds one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

MAX_EXPONENT: Final = 3
"""Highest exponent of an expression that is accepted at all: with more, no predicate worth the name is small enough."""

_BYTES_FIELD: Final = 2
_BOOLEAN: Final = frozenset(
    {
        *("_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_", "_&&_", "_||_", "!_", "@in", "_in_", "in"),
        *("contains", "startsWith", "endsWith", "matches", "@not_strictly_false", "size"),
        *("int", "uint", "double", "bool", "timestamp", "duration", "type"),
    }
)
"""Functions whose result is a scalar, whatever they are given."""

_PRODUCT: Final = frozenset({"contains"})
"""Functions that may take one argument's length times the other's."""

_PRODUCT_WEIGHT: Final = 4
"""Steps of those per pair of units, 64 times 64 characters: measured 0.03 µs, and never met so bad."""


class CostError(ValueError):
    """The tree costs too much for any predicate, or is not one that this module reads."""


class Cost(NamedTuple):
    """Nodes by exponent."""

    nodes: tuple[int, ...]
    """At position e: how many nodes are evaluated size**e times at most."""

    def steps(self, size: int) -> int:
        """Most steps for a predicate of `size` units."""
        return sum(count * size**exponent for exponent, count in enumerate(self.nodes))


class _Value(NamedTuple):
    """What is known of a value's size: summed over the loops in `within` it is at most predicate**degree."""

    degree: int = 0
    within: frozenset[int] = frozenset()


class _Loop(NamedTuple):
    number: int
    degree: int
    runs: int
    """Exponent of how often the body runs, all loops around it included."""


_SCALAR: Final = _Value()


def cost_of(serialised: bytes) -> Cost:
    """The cost of a compiled expression.

    Raises:
        CostError: over `MAX_EXPONENT`, or not a tree of known nodes.
    """
    try:
        walk = _Walk()
        walk.visit(_expression_of(serialised), {"predicate": _Value(1)}, ())
    except (IndexError, KeyError, UnicodeDecodeError, RecursionError) as error:
        raise CostError("the compiled expression has a form that is not known") from error
    highest = max(walk.nodes, default=0)
    if highest > MAX_EXPONENT:
        raise CostError(f"goes through the predicate {highest} times over, at most {MAX_EXPONENT} are accepted")
    return Cost(tuple(walk.nodes[exponent] for exponent in range(highest + 1)))


class _Walk:
    """One pass over the tree, counting nodes by exponent."""

    def __init__(self) -> None:
        self.nodes: Counter[int] = Counter()
        self._loops = 0

    def visit(self, node: bytes, names: Mapping[str, _Value], loops: tuple[_Loop, ...]) -> _Value:
        """The value of an Expr, in the scope of `names` and inside `loops`, outermost first."""
        fields = _fields(node)
        for number, visit in (
            (4, self._identifier),
            (5, self._select),
            (6, self._call),
            (7, self._list),
            (8, self._struct),
            (9, self._comprehension),
        ):
            if number in fields:
                return visit(_fields(fields[number][0]), names, loops)
        if set(fields) <= {2, 3}:  # id, constant
            return self._count(_SCALAR, 0, loops)
        raise CostError("the compiled expression has a node that is not known")

    def _count(self, value: _Value, degree: int, loops: tuple[_Loop, ...]) -> _Value:
        """Counts one node that looks at `degree` predicates' worth of what `value.within` does not yet sum over."""
        runs = loops[-1].runs if loops else 0
        repeated = 0
        if degree:
            missed = sum(loop.degree for loop in loops if loop.number not in value.within)
            repeated = missed if value.within else runs
        self.nodes[max(degree + repeated, runs)] += 1
        return value

    def _identifier(
        self, fields: dict[int, list[bytes]], names: Mapping[str, _Value], loops: tuple[_Loop, ...]
    ) -> _Value:
        value = names.get(fields[1][0].decode(), _SCALAR)
        return self._count(value, value.degree, loops)

    def _select(self, fields: dict[int, list[bytes]], names: Mapping[str, _Value], loops: tuple[_Loop, ...]) -> _Value:
        value = self.visit(fields[1][0], names, loops)
        self._count(value, value.degree, loops)
        return _SCALAR if 3 in fields else value  # field 3: has()

    def _call(self, fields: dict[int, list[bytes]], names: Mapping[str, _Value], loops: tuple[_Loop, ...]) -> _Value:
        function = fields[2][0].decode()
        given = [self.visit(node, names, loops) for node in (*fields.get(1, ()), *fields.get(3, ()))]
        whole = _together(given)
        if function == "matches" and len(given) > 1 and given[-1].degree:
            raise CostError("takes a regular expression from the predicate; write it into the expression")
        product = sum(value.degree for value in given) if function in _PRODUCT else whole.degree
        for _ in range(_PRODUCT_WEIGHT if product > whole.degree else 1):
            self._count(whole, product, loops)
        return _SCALAR if function in _BOOLEAN else whole

    def _list(self, fields: dict[int, list[bytes]], names: Mapping[str, _Value], loops: tuple[_Loop, ...]) -> _Value:
        whole = _together([self.visit(node, names, loops) for node in fields.get(1, ())])
        return self._count(whole, whole.degree, loops)

    def _struct(self, fields: dict[int, list[bytes]], names: Mapping[str, _Value], loops: tuple[_Loop, ...]) -> _Value:
        entries = [_fields(entry) for entry in fields.get(2, ())]
        parts = [part for entry in entries for number in (3, 4) for part in entry.get(number, ())]
        whole = _together([self.visit(part, names, loops) for part in parts])
        return self._count(whole, whole.degree, loops)

    def _comprehension(
        self, fields: dict[int, list[bytes]], names: Mapping[str, _Value], loops: tuple[_Loop, ...]
    ) -> _Value:
        """A macro (`all`, `exists`, `map`, `filter` …): fields 2 range, 4 start, 5 condition, 6 step, 7 result."""
        range_ = self.visit(fields[2][0], names, loops)
        self._loops += 1
        outer = frozenset(loop.number for loop in loops)
        before = loops[-1].runs if loops else 0
        runs = max(range_.degree, before) if range_.within >= outer else before + range_.degree
        inner = (*loops, _Loop(self._loops, range_.degree, runs))
        item = range_._replace(within=range_.within | {self._loops})
        # The step copies the list it adds to: what has been gathered is looked at again in each iteration.
        gathers = 7 in _fields(fields[4][0])
        gathered = _Value(max(range_.degree, 1)) if gathers else _SCALAR
        scope = dict(names) | {fields[1][0].decode(): item, fields[3][0].decode(): gathered}
        if 8 in fields:
            scope[fields[8][0].decode()] = item
        self.visit(fields[4][0], names, loops)
        self.visit(fields[5][0], scope, inner)
        step = self.visit(fields[6][0], scope, inner)
        self.visit(fields[7][0], scope, loops)
        return _gathered(step, range_) if gathers else _SCALAR


def _gathered(step: _Value, range_: _Value) -> _Value:
    """The list that `map` or `filter` makes: at most one element of the step's size per iteration."""
    return _Value(step.degree + range_.degree) if step.degree > 1 else _Value(max(step.degree, range_.degree) + 1)


def _together(values: list[_Value]) -> _Value:
    """Several values: the largest degree, and only the loops over which all of them sum."""
    large = [value for value in values if value.degree]
    if not large:
        return _SCALAR
    within = frozenset.intersection(*(value.within for value in large))
    return _Value(max(value.degree for value in large), within)


# ----------------------------------------------------------------------------------------------------- protobuf, read


def _expression_of(serialised: bytes) -> bytes:
    """google.protobuf.Any {1: type, 2: message}; CheckedExpr has its Expr in field 4."""
    return _fields(_fields(serialised)[_BYTES_FIELD][0])[4][0]


def _fields(message: bytes) -> dict[int, list[bytes]]:
    """The fields of a protobuf message; numbers are kept as their encoded bytes."""
    found: dict[int, list[bytes]] = {}
    for number, content in _split(message):
        found.setdefault(number, []).append(content)
    return found


def _split(message: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        start = at
        match tag & 7:
            case 0:
                _, at = _varint(message, at)
            case 1:
                at += 8
            case 2:
                length, start = _varint(message, at)
                at = start + length
            case 5:
                at += 4
            case _:
                raise CostError("the compiled expression is not protobuf")
        yield tag >> 3, message[start:at]


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
