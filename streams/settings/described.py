"""What each setting means, read from the text below its field: for `docs/settings.md` and `revet config show`.

pydantic can do that when a class is made (`use_attribute_docstrings`), at a tenth of a second for every command.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import sys
from collections.abc import Iterator

from pydantic import BaseModel

from streams.settings.tree import Settings, leaves, sections


def descriptions() -> dict[str, str]:
    """Setting (`listen.token_file`) -> what it means, one paragraph of Markdown.

    Raises:
        ValueError: a field has no text below it.
    """
    of_section = {name: dict(_texts(model)) for name, model in sections().items()}
    of_section[""] = dict(_texts(Settings))
    found = {leaf.name: of_section[".".join(leaf.place[:-1])].get(leaf.place[-1], "") for leaf in leaves()}
    missing = [name for name, text in found.items() if not text]
    if missing:
        raise ValueError(f"no text below {', '.join(missing)}")
    return found


def section_descriptions() -> dict[str, str]:
    """Section -> what it is about."""
    return {name: " ".join((model.__doc__ or "").split()) for name, model in sections().items()}


def _texts(model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    tree = ast.parse(inspect.getsource(sys.modules[model.__module__]))
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == model.__name__)
    for field, text in itertools.pairwise(body):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
        ):
            yield field.target.id, " ".join(str(text.value.value).split())
