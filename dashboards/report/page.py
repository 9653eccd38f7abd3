"""A report as a page: landmarks, headings in order, tables with captions and scopes, plots with their numbers. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, assert_never

from alerting.text import utc
from dashboards.markup import Content, Element, e, rendered
from dashboards.report import plots
from dashboards.report.style import POLICY, STYLE
from streams.queries.report.model import (
    TIMES,
    Bars,
    Block,
    Figures,
    Graph,
    Part,
    Report,
    Section,
    Sentences,
    Table,
    Tone,
    Trend,
)
from streams.queries.results import Cell
from verifier.times import show_instant


def page(report: Report) -> str:
    """The whole file: UTF-8 text that opens from a disk and asks for nothing."""
    title = rendered(e("title", report.title))
    head = (
        '<meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="referrer" content="no-referrer"><meta name="robots" content="noindex">'
        f"{title}<style>{STYLE}</style>"
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>{rendered(_body(report))}</html>\n'


def _body(report: Report) -> Element:
    about = (("made", _time(report.made)), ("window", e("span", _time(report.start), " to ", _time(report.end))))
    told = [item for name, value in about for item in (e("dt", name), e("dd", value))]
    if report.about:
        told += [e("dt", "record"), e("dd", report.about)]
    links = (e("li", e("a", section.title, href=f"#{section.id}")) for section in report.sections)
    return e(
        "body",
        e("a", "Skip to the report", href="#report", class_="skip"),
        e("header", e("h1", report.title), e("dl", *told, class_="about")),
        e("nav", e("ul", *links), aria_label="Chapters"),
        e("main", *map(_section, report.sections), id="report", tabindex=-1),
        e("footer", e("p", "Made by revet. All times are UTC.")),
    )


def _section(section: Section) -> Element:
    parts = (block for n, part in enumerate(section.parts) for block in _part(part, f"{section.id}-{n}"))
    named = f"{section.id}-title"
    text = (e("p", section.text, class_="soft"),) if section.text else ()
    return e("section", e("h2", section.title, id=named), *text, *parts, id=section.id, aria_labelledby=named)


def _part(part: Part, key: str) -> Iterator[Content]:
    if part.title:
        yield e("h3", part.title)
    if part.text:
        yield e("p", part.text)
    for n, block in enumerate(part.blocks):
        yield from _block(block, f"{key}-{n}")


def _block(block: Block, key: str) -> Iterator[Content]:
    match block:
        case Sentences():
            yield _sentences(block)
        case Figures():
            yield _figures(block)
        case Table():
            yield _table(block)
        case Bars():
            yield e("figure", plots.bars(block, key), e("figcaption", block.title))
        case Trend():
            yield _trend(block, key)
        case Graph():
            yield _graph(block, key)
        case _:
            assert_never(block)


def _sentences(block: Sentences) -> Element:
    if not block.items:
        return e("p", block.empty)
    return e("ul", *(e("li", item) for item in block.items), class_=f"notes {block.tone}")


def _figures(block: Figures) -> Element:
    return e(
        "ul",
        *(
            e("li", e("strong", one.value), e("span", one.name), e("span", one.text, class_="soft"), class_=one.tone)
            for one in block.items
        ),
        class_="figures",
    )


def _trend(block: Trend, key: str) -> Element:
    if not block.series:
        return e("p", f"{block.title}: none in this window.")
    legend = e("ul", *(e("li", e("span", s.name, class_=s.tone)) for s in block.series), class_="legend")
    columns = ("time", *(series.name for series in block.series))
    rows = tuple((start, *(s.values[n] for s in block.series)) for n, start in enumerate(block.starts))
    numbers = _table(Table(f"{block.title}, by the start of each interval", columns, rows))
    return e(
        "figure", e("figcaption", block.title), legend, plots.trend(block, key),
        e("details", e("summary", f"Numbers: {block.title}"), numbers),
    )  # fmt: skip


def _graph(block: Graph, key: str) -> Element:
    rows = tuple((node.lane, node.name, node.detail) for node in block.nodes)
    listed = _table(Table(f"{block.title}, step by step", ("step", "name", "detail"), rows))
    left = (e("p", "; ".join(block.left_out), class_="soft"),) if block.left_out else ()
    return e(
        "figure", e("figcaption", block.title), plots.graph(block, key), *left,
        e("details", e("summary", f"As a list: {block.title}"), listed),
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ tables

_ALWAYS: Final = frozenset({"author", "approver", "approved_by"})
"""Columns that are shown even where they are empty: that nobody approved is something to see."""

_TONES: Final[dict[str, Tone]] = {
    **dict.fromkeys(("valid", "resolved", "fixed", "yes", "admitted"), "good"),
    **dict.fromkeys(("violates", "denied", "critical", "high"), "bad"),
    **dict.fromkeys(("unverifiable", "errored", "gap", "medium"), "unknown"),
}
_TOLD: Final = frozenset({"verdict", "last_verdict", "severity", "state", "decision", "kind", "shows"})
"""Columns whose words have a colour."""
_WIDTHS: Final = {
    **dict.fromkeys(("why", "sentence", "note", "policies", "repositories", "what_it_asks", "shows"), "prose"),
    **dict.fromkeys(("workload", "image", "rule", "about", "user", "id"), "name"),
}
"""Columns that hold sentences or long names."""


def _table(block: Table) -> Element:
    if not block.rows:
        return e("p", f"{block.caption}: {block.empty}.")
    kept = [
        n for n, name in enumerate(block.columns) if name in _ALWAYS or any(r[n] not in ("", None) for r in block.rows)
    ]
    numeric = {n for n in kept if _is_number(block, n)}
    head = (e("th", block.columns[n].replace("_", " "), scope="col", class_=_number(n, numeric)) for n in kept)
    rows = (e("tr", *_cells(block, row, kept, numeric)) for row in block.rows)
    table = e("table", e("caption", block.caption), e("thead", e("tr", *head)), e("tbody", *rows))
    more = (e("p", f"{block.left_out}.", class_="soft"),) if block.left_out else ()
    return e("div", e("div", table, class_="scroll", role="group", tabindex=0, aria_label=block.caption), *more)


def _is_number(block: Table, n: int) -> bool:
    return block.columns[n] not in TIMES and any(isinstance(row[n], int) for row in block.rows)


def _number(n: int, numeric: set[int]) -> str | None:
    return "number" if n in numeric else None


def _cells(block: Table, row: Sequence[Cell], kept: list[int], numeric: set[int]) -> Iterator[Element]:
    for place, n in enumerate(kept):
        shown = _shown(block.columns[n], row[n])
        if place == 0:
            yield e("th", shown, scope="row", class_=_number(n, numeric))
        else:
            yield e("td", shown, class_=_number(n, numeric) or _WIDTHS.get(block.columns[n]))


def _shown(column: str, cell: Cell) -> Content:
    if cell is None:
        return ""
    if isinstance(cell, int):
        return _time(cell) if column in TIMES else f"{cell:,}"
    tone = _TONES.get(cell) if column in _TOLD else None
    return e("span", cell, class_=tone) if tone else cell


def _time(micros: int) -> Element:
    return e("time", utc(micros), datetime=show_instant(micros))
