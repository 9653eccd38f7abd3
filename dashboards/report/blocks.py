"""Chapters of a report as elements: headings in order, tables with captions and scopes, plots with their numbers. Pure.

Blocks().section(section)                        leads nowhere: a file that is mailed
Blocks(link=address_of).section(section)         cells lead where `address_of(column, text)` says: a page that is served
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple, assert_never

from alerting.text import utc
from dashboards.markup import Content, Element, e
from dashboards.report import plots
from streams.queries.report.model import (
    TIMES,
    Bars,
    Block,
    Figures,
    Graph,
    Part,
    Section,
    Sentences,
    Table,
    Tone,
    Trend,
)
from streams.queries.results import Cell
from verifier.times import show_instant


def nowhere(_column: str, _text: str) -> str:
    """Leads nowhere."""
    return ""


class Blocks(NamedTuple):
    """Makes elements of what a report is made of."""

    link: Callable[[str, str], str] = nowhere
    """(column, text of a cell) -> the address it leads to; empty: nowhere."""

    def section(self, section: Section) -> Element:
        """A chapter under a heading of level 2."""
        parts = (block for n, part in enumerate(section.parts) for block in self._part(part, f"{section.id}-{n}"))
        named = f"{section.id}-title"
        text = (e("p", section.text, class_="soft"),) if section.text else ()
        return e("section", e("h2", section.title, id=named), *text, *parts, id=section.id, aria_labelledby=named)

    def _part(self, part: Part, key: str) -> Iterator[Content]:
        if part.title:
            yield e("h3", part.title)
        if told := f"{part.told} {part.text}".strip():
            yield e("p", told)
        for n, block in enumerate(part.blocks):
            yield self._block(block, f"{key}-{n}")

    def _block(self, block: Block, key: str) -> Element:
        match block:
            case Sentences():
                return _sentences(block)
            case Figures():
                return _figures(block)
            case Table():
                return self.table(block)
            case Bars():
                return e("figure", plots.bars(block, key), e("figcaption", block.title))
            case Trend():
                return self._trend(block, key)
            case Graph():
                return self._graph(block, key)
            case _:
                assert_never(block)

    def _trend(self, block: Trend, key: str) -> Element:
        if not block.series:
            return e("p", f"{block.title}: none in this window.")
        legend = e("ul", *(e("li", e("span", s.name, class_=s.tone)) for s in block.series), class_="legend")
        columns = ("time", *(series.name for series in block.series))
        rows = tuple((start, *(s.values[n] for s in block.series)) for n, start in enumerate(block.starts))
        numbers = self.table(Table(f"{block.title}, by the start of each interval", columns, rows))
        return e(
            "figure", e("figcaption", block.title), legend, plots.trend(block, key),
            e("details", e("summary", f"Numbers: {block.title}"), numbers),
        )  # fmt: skip

    def _graph(self, block: Graph, key: str) -> Element:
        rows = tuple((node.lane, node.name, node.detail) for node in block.nodes)
        listed = self.table(Table(f"{block.title}, step by step", ("step", "name", "detail"), rows))
        left = (e("p", "; ".join(block.left_out), class_="soft"),) if block.left_out else ()
        return e(
            "figure", e("figcaption", block.title), plots.graph(block, key), *left,
            e("details", e("summary", f"As a list: {block.title}"), listed),
        )  # fmt: skip

    # -------------------------------------------------------------------------------------------------------- tables

    def table(self, block: Table) -> Element:
        """Rows under a caption; a column without any value is left out."""
        if not block.rows:
            return e("p", f"{block.caption}: {block.empty}.")
        kept = [
            n
            for n, name in enumerate(block.columns)
            if name in _ALWAYS or any(r[n] not in ("", None) for r in block.rows)
        ]
        numeric = {n for n in kept if _is_number(block, n)}
        head = (e("th", block.columns[n].replace("_", " "), scope="col", class_=_number(n, numeric)) for n in kept)
        rows = (e("tr", *self._cells(block, row, kept, numeric)) for row in block.rows)
        table = e("table", e("caption", block.caption), e("thead", e("tr", *head)), e("tbody", *rows))
        more = (e("p", f"{block.left_out}.", class_="soft"),) if block.left_out else ()
        return e("div", e("div", table, class_="scroll", role="group", tabindex=0, aria_label=block.caption), *more)

    def _cells(self, block: Table, row: Sequence[Cell], kept: list[int], numeric: set[int]) -> Iterator[Element]:
        for place, n in enumerate(kept):
            shown = self._shown(block.columns[n], row[n])
            if place == 0:
                named = "short" if block.columns[n] == "incident" else None
                yield e("th", shown, scope="row", class_=_number(n, numeric) or named)
            else:
                yield e("td", shown, class_=_number(n, numeric) or _WIDTHS.get(block.columns[n]))

    def _shown(self, column: str, cell: Cell) -> Content:
        if cell is None:
            return ""
        if isinstance(cell, int):
            return time_of(cell) if column in TIMES else f"{cell:,}"
        if cell and (address := self.link(column, cell)):
            return e("a", cell, href=address)
        tone = _TONES.get(cell) if column in _TOLD else None
        return e("span", cell, class_=tone) if tone else cell


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


def _is_number(block: Table, n: int) -> bool:
    return block.columns[n] not in TIMES and any(isinstance(row[n], int) for row in block.rows)


def _number(n: int, numeric: set[int]) -> str | None:
    return "number" if n in numeric else None


def time_of(micros: int) -> Element:
    """An instant, for people and for programs."""
    return e("time", utc(micros), datetime=show_instant(micros))
