"""YAML or JSON text to plain values that remember where they stood, within limits, and without YAML's surprises.

    trees, errors = read_trees("policies/a.yaml", text)
    trees[0].data["spec"]["mode"]                    "audit"
    trees[0].place(("spec", "mode"))                 Position(line=5, column=9)

Refused, each with file, line, column and field: member names twice or not text, merge keys, tags beyond plain data,
empty values, and text beyond the limits. Times stay text: what they mean is the business of the model that reads them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, Protocol

import yaml
from yaml.constructor import SafeConstructor

from verifier.errors import PolicyError

MAX_TEXT_BYTES: Final = 1_048_576
"""Bytes of one file. A policy is some kilobytes; parsing is linear, so this bounds it to well under a second."""

MAX_DOCUMENTS: Final = 500
"""Documents in one file."""

MAX_DEPTH: Final = 32
"""Levels of nesting. A requirement tree of full depth takes 24; composing recurses."""

MAX_VALUES: Final = 50_000
"""Values in one document after aliases are followed: stops a bomb of anchors that refer to anchors."""

MAX_ALIASES: Final = 100
"""Aliases in one file. People use them to repeat a key; a hundred uses is plenty."""

Path = tuple[str | int, ...]
"""Where a value stands: member names and list positions from the top."""

_LOADER: Final[type[yaml.SafeLoader | yaml.CSafeLoader]] = (
    yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
)
_NOT_TEXT: Final = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ufeff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Everything outside YAML 1.1's printable set, lone surrogates included."""

_TAG: Final = "tag:yaml.org,2002:"
_SHOWN_AS: Final = {"int": "a number", "float": "a number", "bool": "true or false", "null": "nothing"}


class _Mark(Protocol):
    """What both of PyYAML's parsers say of a place."""

    line: int
    column: int


class Position(NamedTuple):
    """Line and column, counted from 1."""

    line: int
    column: int


class Tree(NamedTuple):
    """One document: its data (dict, tuple, str, int, float, bool) and where each value and each member name stood."""

    file: str
    data: object
    values: dict[Path, Position]
    names: dict[Path, Position]
    refused: frozenset[Path]
    """Values already reported; nothing further need be said about what stands at or below them."""

    def place(self, path: Path) -> Position:
        """Position of the member name (or list entry) at `path`, or of the nearest thing above it."""
        while path and path not in self.names and path not in self.values:
            path = path[:-1]
        return self.names.get(path) or self.values[path]

    def error(self, message: str, path: Path) -> PolicyError:
        """An error about what stands at `path`."""
        line, column = self.place(path)
        return PolicyError(message, file=self.file, line=line, column=column, field=field_text(path))


def field_text(path: Path) -> str:
    """`spec.match[0].images[1]`; at most 160 characters, and odd ones among them escaped."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    shown = text[:160]
    return shown if shown.isprintable() else ascii(shown)[1:-1]


def read_trees(file: str, text: str, *, empty_values: bool = False) -> tuple[list[Tree], list[PolicyError]]:
    """Every document of a text, and everything that is wrong with the text as YAML. Empty documents are left out.

    `empty_values`: a member without a value is None rather than an error (other people's formats).
    Raises nothing: a text that cannot be read at all gives no tree and one error.
    """
    try:
        _check_limits(file, text)
        nodes = list(yaml.compose_all(text, _LOADER))
    except PolicyError as error:
        return [], [error]
    except yaml.YAMLError as error:
        return [], [_broken(file, error)]
    trees, errors = [], []
    for node in nodes:
        if not _is_null(node):
            reader = _Reader(file, empty_values=empty_values)
            try:
                trees.append(reader.read(node))
            except PolicyError as error:
                errors.append(error)
            errors += reader.errors
    return trees, errors


def _check_limits(file: str, text: str) -> None:
    odd = _NOT_TEXT.search(text)
    if odd is not None:
        line, column = text.count("\n", 0, odd.start()) + 1, odd.start() - text.rfind("\n", 0, odd.start())
        message = f"a character YAML does not allow: U+{ord(odd[0]):04X}"
        raise PolicyError(message, file=file, line=line, column=column)
    size = len(text.encode())
    if size > MAX_TEXT_BYTES:
        raise PolicyError(f"{size} bytes; the limit is {MAX_TEXT_BYTES}", file=file)
    depth = documents = aliases = 0
    for event in yaml.parse(text, _LOADER):
        aliases += isinstance(event, yaml.AliasEvent)
        documents += isinstance(event, yaml.DocumentStartEvent)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        for what, count, limit in (
            ("levels of nesting", depth, MAX_DEPTH),
            ("documents", documents, MAX_DOCUMENTS),
            ("aliases", aliases, MAX_ALIASES),
        ):
            if count > limit:
                line, column = _position(event.start_mark)
                raise PolicyError(f"more than {limit} {what}", file=file, line=line, column=column)


def _broken(file: str, error: yaml.YAMLError) -> PolicyError:
    mark = getattr(error, "problem_mark", None)
    line, column = (0, 0) if mark is None else _position(mark)
    problem = getattr(error, "problem", None) or "broken off"
    return PolicyError(f"not readable as YAML or JSON: {problem}", file=file, line=line, column=column)


def _position(mark: _Mark | None) -> Position:
    return Position(0, 0) if mark is None else Position(mark.line + 1, mark.column + 1)


def _is_null(node: yaml.Node) -> bool:
    return node.tag == _TAG + "null"


class _Reader:
    """One document's nodes to values. Keeps going after an error, so that all of them are reported at once."""

    def __init__(self, file: str, *, empty_values: bool) -> None:
        self.file = file
        self._empty_values = empty_values
        self.errors: list[PolicyError] = []
        self._values: dict[Path, Position] = {}
        self._names: dict[Path, Position] = {}
        self._refused: set[Path] = set()
        self._scalars = SafeConstructor()
        self._count = 0

    def read(self, node: yaml.Node) -> Tree:
        """The tree of a document.

        Raises:
            PolicyError: the document is larger than the limits once its aliases are followed.
        """
        data = self._value(node, ())
        return Tree(self.file, data, self._values, self._names, frozenset(self._refused))

    def _value(self, node: yaml.Node, path: Path) -> object:
        self._values[path] = _position(node.start_mark)
        self._count += 1
        # A recursive alias (`&a [*a]`) is endless depth: the composer has no other defence against it.
        if self._count > MAX_VALUES or len(path) > MAX_DEPTH:
            line, column = _position(node.start_mark)
            message = f"more than {MAX_VALUES} values or {MAX_DEPTH} levels, counting every use of an alias"
            raise PolicyError(message, file=self.file, line=line, column=column, field=field_text(path))
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return dict(self._members(node, path))
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return tuple(self._value(child, (*path, i)) for i, child in enumerate(node.value))
        return self._scalar(node, path)

    def _members(self, node: yaml.MappingNode, path: Path) -> Iterator[tuple[str, object]]:
        for key, value in node.value:
            name = self._name(key, path)
            if name is None:
                continue
            here = (*path, name)
            if here in self._names:
                self._refuse(f"the member {name[:80]!r} stands here twice", key, here)
                continue
            self._names[here] = _position(key.start_mark)
            yield name, self._value(value, here)

    def _name(self, key: yaml.Node, path: Path) -> str | None:
        if isinstance(key, yaml.ScalarNode) and key.tag == _TAG + "str":
            return str(key.value)
        found = _SHOWN_AS.get(key.tag.removeprefix(_TAG))
        if key.tag == _TAG + "merge":
            self._refuse("merge keys (<<) are not used here; write the members out", key, path)
        elif found:
            self._refuse(f"a member name is text, this is read as {found}; put it in quotes", key, path)
        else:
            self._refuse("a member name is text", key, path)
        return None

    def _scalar(self, node: yaml.Node, path: Path) -> object:
        kind = node.tag.removeprefix(_TAG)
        if kind == "null":
            if not self._empty_values:
                self._refuse("has no value", node, path)
            return None
        if not isinstance(node, yaml.ScalarNode) or kind not in _SCALARS:
            self._refuse(f"the tag {node.tag[:80]} is not used here", node, path)
            return None
        try:
            return _SCALARS[kind](self._scalars, node)
        except ValueError:  # forms such as 0b_ that the resolver takes for a number and the constructor does not
            self._refuse("not a number; put it in quotes if it is text", node, path)
            return None

    def _refuse(self, message: str, node: yaml.Node, path: Path) -> None:
        line, column = _position(node.start_mark)
        self.errors.append(PolicyError(message, file=self.file, line=line, column=column, field=field_text(path)))
        self._refused.add(path)


_SCALARS: Final[dict[str, Callable[[SafeConstructor, yaml.ScalarNode], object]]] = {
    "str": lambda _, node: str(node.value),
    "timestamp": lambda _, node: str(node.value),
    "value": lambda _, node: str(node.value),
    "int": SafeConstructor.construct_yaml_int,
    "float": SafeConstructor.construct_yaml_float,
    "bool": SafeConstructor.construct_yaml_bool,
}
"""How a scalar of each tag becomes a value."""
