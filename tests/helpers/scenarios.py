"""What a scenario is said to raise and to close, held against what it does.

    @pytest.mark.scenario("unsigned")                       raises it, and closes it
    @pytest.mark.scenario(raises="baseline")                and closes="baseline" on another test

`tests/conftest.py` watches a test that is marked; `tests/unit/test_findings_scenarios.py` lists them.
"""

import ast
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from alerting import ownfindings
from alerting.models import Finding
from streams.handlers import findings

UNIT = Path(__file__).resolve().parents[1] / "unit"


class Says(NamedTuple):
    """One mark on a test."""

    test: str
    """`file.py::name`."""
    raises: frozenset[str]
    closes: frozenset[str]


class Told:
    """Codes of the findings that were made while it watched."""

    def __init__(self) -> None:
        self.raised: set[str] = set()
        self.closed: set[str] = set()

    def note(self, finding: Finding) -> Finding:
        codes = {finding.code} | ({"baseline"} if finding.cause.kind.startswith("baseline") else set())
        (self.closed if finding.state == "closed" else self.raised).update(codes)
        return finding


@contextmanager
def watched() -> Iterator[Told]:
    """Every place where findings are made, looked over the shoulder."""
    told = Told()
    with (
        _looking(findings, "_open", told),
        _looking(findings, "_close", told),
        _looking(ownfindings, "_finding", told),
    ):
        yield told


@contextmanager
def _looking(module: object, name: str, told: Told) -> Iterator[None]:
    made = getattr(module, name)
    with mock.patch.object(module, name, lambda *arguments: told.note(made(*arguments))):
        yield


def said(both: tuple[str, ...], raises: str = "", closes: str = "") -> tuple[frozenset[str], frozenset[str]]:
    """What the arguments of a mark say: codes that are raised, and that are closed."""
    return frozenset({*both, raises} - {""}), frozenset({*both, closes} - {""})


@cache
def listed(folder: Path = UNIT) -> tuple[Says, ...]:
    """Every mark, read from the syntax trees."""
    return tuple(_read(folder))


def _read(folder: Path) -> Iterator[Says]:
    for path in sorted(folder.glob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)) if "mark.scenario" in text else ():
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_"):
                for mark in filter(_is_mark, node.decorator_list):
                    assert isinstance(mark, ast.Call)
                    both = tuple(ast.literal_eval(argument) for argument in mark.args)
                    named = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in mark.keywords}
                    yield Says(f"{path.name}::{node.name}", *said(both, **named))


def _is_mark(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.scenario"
