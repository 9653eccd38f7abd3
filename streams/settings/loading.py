"""Settings out of a file, the environment and the command line, and what is wrong with them in words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, NamedTuple

from pydantic import ValidationError

from streams.settings.tree import PREFIX, Leaf, Settings, leaves, sections
from verifier.errors import InputError, PolicyError
from verifier.policy.yamltree import Tree, field_text, read_trees

FILE: Final = "revet.yaml"
"""Read from the working folder when no other file is named."""
SHOWN: Final = 80
"""Characters of a wrong value that an error repeats."""
OUTSIDE: Final = frozenset({"REVET_PROFILE", "REVET_DEBUG"})
"""Variables that are no settings."""

Values = Mapping[tuple[str, ...], object]
"""Place in the tree -> value."""


class Loaded(NamedTuple):
    """Settings, and where each value came from."""

    settings: Settings
    origins: dict[tuple[str, ...], str]
    """Place -> `default`, `revet.yaml:3`, `REVET_…`, or `command line`."""


def load_settings(file: Path | None, environ: Mapping[str, str], given: Values) -> Settings:
    """Settings of a file (None: `revet.yaml` where it exists), the environment, and what was given by hand.

    Raises:
        InputError: the file cannot be read, or a setting is unknown or wrong; all that is wrong is in the message.
    """
    return load(file, environ, given).settings


def load(file: Path | None, environ: Mapping[str, str], given: Values) -> Loaded:
    """As `load_settings`, with the origin of each value. Raises InputError as it does."""
    named = file if file is not None else Path(FILE)
    tree = _read(named) if file is not None or named.exists() else None
    found: dict[tuple[str, ...], object] = dict(_of_environment(environ))
    by_variable = set(found)
    found.update(given)
    data = _merged(tree.data if tree is not None and isinstance(tree.data, dict) else {}, found)
    try:
        settings = Settings.model_validate(data)
    except ValidationError as error:
        problems = [_explained(detail, data, tree, set(found)) for detail in error.errors(include_url=False)]
        raise InputError("; ".join(problems)) from None  # the error below holds values, which may be secrets
    origins = {leaf.place: _origin(leaf, tree, by_variable, given) for leaf in leaves()}
    return Loaded(settings, origins)


def _origin(leaf: Leaf, tree: Tree | None, by_variable: set[tuple[str, ...]], given: Values) -> str:
    if leaf.place in given:
        return "command line"
    if leaf.place in by_variable:
        return leaf.variable
    if tree is not None and _has(tree.data, leaf.place):
        return f"{tree.file}:{tree.place(leaf.place).line}"
    return "default"


def _read(file: Path) -> Tree | None:
    try:
        trees, errors = read_trees(str(file), file.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: {getattr(error, 'strerror', '') or 'not UTF-8 text'}") from error
    if errors:
        raise errors[0]
    if len(trees) > 1 or (trees and not isinstance(trees[0].data, dict)):
        raise PolicyError(
            "expected one document with settings, such as `listen: {address: 127.0.0.1:9880}`", file=str(file)
        )
    return trees[0] if trees else None


# ------------------------------------------------------------------------------------------------------- environment

FILE_ONLY: Final = {
    ("owners", "table"): "the owner table",
    ("owners", "also"): "the table of further routes",
    ("listen", "senders"): "the table of senders",
}
"""Tables that no variable can hold."""


def _of_environment(environ: Mapping[str, str]) -> Iterator[tuple[tuple[str, ...], object]]:
    known = {leaf.variable: leaf for leaf in leaves()}
    ours = tuple(f"{PREFIX}{name.upper()}_" for name in sections())
    for name, text in sorted(environ.items()):
        leaf = known.get(name)
        if leaf is not None:
            yield leaf.place, _typed(leaf, text)
        elif name.startswith(ours) and name not in OUTSIDE:
            near = get_close_matches(name, known, n=1)
            raise InputError(f"{name}: no such setting{f'; did you mean {near[0]}?' if near else ''}")


def _typed(leaf: Leaf, text: str) -> object:
    """Lists are written a,b and mappings a=b,c=d; the model reads the rest out of text."""
    kind = str(leaf.field.annotation)
    if leaf.place in FILE_ONLY:
        what = FILE_ONLY[leaf.place]
        raise InputError(f"{leaf.variable}: {what} is read from a settings file only; example: {leaf.example}")
    if kind.startswith("tuple"):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if kind.startswith("dict"):
        return dict(part.strip().partition("=")[::2] for part in text.split(",") if part.strip())
    return text


def _merged(data: Mapping[str, Any], found: Values) -> dict[str, Any]:  # Any: settings before they are checked
    merged: dict[str, Any] = {name: dict(value) if isinstance(value, dict) else value for name, value in data.items()}
    for place, value in found.items():
        inner = merged
        for name in place[:-1]:
            below = inner.setdefault(name, {})
            if not isinstance(below, dict):
                below = inner[name] = {}
            inner = below
        inner[place[-1]] = value
    return merged


# -------------------------------------------------------------------------------------------------- errors in words


def _explained(
    detail: Any,  # noqa: ANN401  # pydantic's description of an error, a TypedDict it does not export
    data: Mapping[str, Any],
    tree: Tree | None,
    by_hand: set[tuple[str, ...]],
) -> str:
    place = tuple(detail["loc"])
    name = field_text(place) or "settings"
    where = ""
    if tree is not None and place not in by_hand and _has(tree.data, place[:1]):
        where = f"{tree.file}:{tree.place(place).line}: "
    if detail["type"] == "extra_forbidden":
        near = get_close_matches(str(place[-1]), _names(), n=1)
        return f"{where}{name}: no such setting{f'; did you mean {near[0]}?' if near else ''}"
    leaf = next((leaf for leaf in leaves() if leaf.place == place[: len(leaf.place)]), None)
    got = f", got {_shown(_value_at(data, place))}" if leaf is not None and leaf.is_told else ""
    message = str(detail.get("ctx", {}).get("error") or detail["msg"])
    example = f"; example: {leaf.example}" if leaf is not None else ""
    return f"{where}{name}: {message[:1].lower()}{message[1:]}{got}{example}"


_USER: Final = re.compile(r"[^/,\s'\"]*@")


def _shown(value: object) -> str:
    """A wrong value as an error repeats it; name and password of an address are left out of it."""
    return _USER.sub("…@", repr(value))[:SHOWN]


def _has(data: object, place: tuple[str | int, ...]) -> bool:
    for part in place:
        if not isinstance(data, Mapping) or part not in data:
            return False
        data = data[part]
    return True


def _value_at(data: Any, place: tuple[str | int, ...]) -> object:  # noqa: ANN401  # settings before they are checked
    for part in place:
        try:
            data = data[part]
        except (LookupError, TypeError):
            return None
    return data


def _names() -> list[str]:
    return sorted({part for leaf in leaves() for part in leaf.place})
