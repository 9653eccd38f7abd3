"""People as numbers: whoever may see what runs need not see who did what. Pure.

    people = People()
    people.hidden(section)          the same chapter: `person 1` in the place of names and of e-mail addresses
    people.name("person 1")         back, for whoever asks about that one

A number is that of one `People`. What a person wrote (notes, reasons) may name anybody, so it is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, TypeVar, cast

import msgspec

from streams.queries.report.model import Block, Section, Table
from streams.queries.results import Cell

_T = TypeVar("_T")

PERSONS: Final = frozenset(
    [
        *("author", "approver", "approved_by", "acknowledged_by", "who", "user", "by", "impersonated_by"),
        *("deployed_by", "noted_by", "silenced_by"),
    ]
)
"""Columns whose values are names of people, or of accounts that act for them."""

WRITTEN: Final = frozenset({"why", "note"})
"""Columns with words of people, where a person stands in the same row."""

_NUMBERED: Final = re.compile(r"person [0-9]{1,9}")
_MAIL: Final = re.compile(r"(?<![\w@.+-])(?!git@)[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w.@-]*@)")


class People:
    """Who is who, for one reader of one place."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._names: list[str] = []

    def called(self, name: str) -> str:
        """The number of a name; of no name, nothing."""
        if not name or _NUMBERED.fullmatch(name):
            return name
        number = self._numbers.get(name)
        if number is None:
            self._names.append(name)
            number = self._numbers[name] = len(self._names)
        return f"person {number}"

    def name(self, text: str) -> str:
        """What was called so; any other text stays as it is."""
        if _NUMBERED.fullmatch(text):
            number = int(text.partition(" ")[2])
            if 0 < number <= len(self._names):
                return self._names[number - 1]
        return text

    def hidden(self, section: Section) -> Section:
        """The same chapter without names, without e-mail addresses, and without what people wrote."""
        parts = [msgspec.structs.replace(part, blocks=tuple(map(self._block, part.blocks))) for part in section.parts]
        told = [
            msgspec.structs.replace(
                p, title=self._text(p.title), text=self._text(p.text), told="", blocks=tuple(map(self._deep, p.blocks))
            )
            for p in parts
        ]
        return msgspec.structs.replace(section, parts=tuple(told))

    def _block(self, block: Block) -> Block:
        """Names in their columns first: what is learned there is hidden in sentences elsewhere."""
        if not isinstance(block, Table):
            return block
        people = not PERSONS.isdisjoint(block.columns)
        left_out = {"message"} | (WRITTEN if people else set()) | ({"sentence"} if "who" in block.columns else set())
        kept = [n for n, name in enumerate(block.columns) if name not in left_out]
        rows = tuple(self._row(block.columns, row, kept) for row in block.rows)
        return msgspec.structs.replace(block, columns=tuple(block.columns[n] for n in kept), rows=rows)

    def _row(self, columns: tuple[str, ...], row: tuple[Cell, ...], kept: list[int]) -> tuple[Cell, ...]:
        words = [str(row[n]) for n, name in enumerate(columns) if name in WRITTEN and row[n]]
        return tuple(_without(self._cell(columns[n], row[n]), words, columns[n]) for n in kept)

    def _cell(self, column: str, cell: Cell) -> Cell:
        return self.called(cell) if column in PERSONS and isinstance(cell, str) else cell

    def _deep(self, value: _T) -> _T:
        """The same, every text of it as `_text` has it."""
        made: object = value
        if isinstance(value, msgspec.Struct):
            members = {name: self._deep(getattr(value, name)) for name in value.__struct_fields__ if name not in _OURS}
            made = msgspec.structs.replace(value, **members)
        elif isinstance(value, tuple):
            made = tuple(map(self._deep, value))
        elif isinstance(value, str):
            made = self._text(value)
        return cast("_T", made)

    def _text(self, text: str) -> str:
        """A sentence: e-mail addresses anywhere, and names that are known by now where they stand as a word."""
        if "@" in text:
            text = _MAIL.sub(lambda found: self.called(found[0]), text)
        for name in self._names:
            if len(name) > 1 and name in text:
                text = re.sub(rf"(?<![\w:/@-]){re.escape(name)}(?![\w:/@-])", self.called(name), text)
        return text


def _without(cell: Cell, words: Iterable[str], column: str) -> Cell:
    """A sentence that repeats what a person wrote, without it."""
    for written in words if column == "sentence" else ():
        cell = cell.replace(written, "…") if isinstance(cell, str) else cell
    return cell


_OURS: Final = frozenset({"tone", "lanes", "lane", "columns", "caption", "unit"})
"""Members with words of ours."""
