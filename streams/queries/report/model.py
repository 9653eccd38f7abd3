"""What a report is made of: sections of tables, figures, plots and timelines, as values. Who draws them is elsewhere.

A report holds names from clusters and registries as they are: whoever shows them escapes them. Columns are named as in
answers (`streams.queries.results`), so an instant is told by its column. Pure.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from streams.queries.results import TIME_COLUMNS, Cell
from streams.sinks.document import instant
from verifier.models import Micros

SCHEMA: Final = "revet.report/v1"

Tone = Literal["good", "bad", "unknown", "plain"]
"""How a value is to be taken. Colour follows it, and words say the same."""

TIMES: Final = TIME_COLUMNS | {"expires", "opened", "oldest"}
"""Columns that are instants."""


class Sentences(msgspec.Struct, frozen=True, tag="sentences"):
    """What a reader has to know."""

    items: tuple[str, ...]
    tone: Tone = "plain"
    empty: str = ""
    """Said where there is none."""


class Figure(msgspec.Struct, frozen=True):
    """One number."""

    name: str
    value: str
    text: str = ""
    tone: Tone = "plain"


class Figures(msgspec.Struct, frozen=True, tag="figures"):
    """Numbers that are read first."""

    items: tuple[Figure, ...]


class Table(msgspec.Struct, frozen=True, tag="table"):
    """Rows under a caption."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    left_out: str = ""
    """What the limit of the list leaves out, and how to see it."""
    empty: str = "none"
    """Said where there is no row."""


class Bar(msgspec.Struct, frozen=True):
    """One bar."""

    name: str
    value: int
    tone: Tone = "plain"


class Bars(msgspec.Struct, frozen=True, tag="bars"):
    """Numbers beside each other."""

    title: str
    unit: str
    bars: tuple[Bar, ...]


class Series(msgspec.Struct, frozen=True):
    """One number per interval."""

    name: str
    values: tuple[int, ...]
    tone: Tone = "plain"


class Trend(msgspec.Struct, frozen=True, tag="trend"):
    """Numbers over time."""

    title: str
    starts: tuple[Micros, ...]
    """Where each interval begins; the last one ends at `end`."""
    end: Micros
    series: tuple[Series, ...]


class Node(msgspec.Struct, frozen=True):
    """One thing in a graph."""

    lane: str
    name: str
    detail: str = ""
    tone: Tone = "plain"


class Graph(msgspec.Struct, frozen=True, tag="graph"):
    """Things in lanes from left to right; each leads to every thing of the next lane that is not empty."""

    title: str
    lanes: tuple[str, ...]
    nodes: tuple[Node, ...]
    left_out: tuple[str, ...] = ()


Block = Sentences | Figures | Table | Bars | Trend | Graph


class Part(msgspec.Struct, frozen=True):
    """Blocks under a heading of their own; without a title, directly under that of the section."""

    blocks: tuple[Block, ...]
    title: str = ""
    text: str = ""
    told: str = ""
    """In front of the text: a sentence of the record, which may name people."""


class Section(msgspec.Struct, frozen=True):
    """One chapter."""

    id: str
    """Its place on the page: small letters, digits, hyphens."""
    title: str
    text: str
    parts: tuple[Part, ...]


class Report(msgspec.Struct, frozen=True):
    """All of it."""

    title: str
    about: str
    made: Micros
    """The instant the record has reached."""
    start: Micros
    end: Micros
    sections: tuple[Section, ...]


def as_json(report: Report) -> dict[str, object]:
    """The report as plain data: `schema` first, instants as RFC 3339 UTC, rows by the names of their columns."""
    plain = {name: getattr(report, name) for name in ("title", "about")}
    times = {name: instant(getattr(report, name)) for name in ("made", "start", "end")}
    return {"schema": SCHEMA, **plain, **times, "sections": [_section(one) for one in report.sections]}


def _section(section: Section) -> dict[str, object]:
    parts = [
        {"title": p.title, "text": f"{p.told} {p.text}".strip(), "blocks": [_block(b) for b in p.blocks]}
        for p in section.parts
    ]
    return {"id": section.id, "title": section.title, "text": section.text, "parts": parts}


def _block(block: Block) -> dict[str, object]:
    plain: dict[str, object] = msgspec.to_builtins(block)
    if isinstance(block, Table):
        plain["rows"] = [
            {name: _cell(name, cell) for name, cell in zip(block.columns, row, strict=True)} for row in block.rows
        ]
    elif isinstance(block, Trend):
        plain |= {"starts": [instant(t) for t in block.starts], "end": instant(block.end)}
    return plain


def _cell(column: str, value: Cell) -> Cell:
    return instant(value) if isinstance(value, int) and column in TIMES else value
