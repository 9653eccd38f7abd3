"""Plots as SVG, each with a title and a sentence that say what it shows; its numbers stand beside it in a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from alerting.text import cut, safe, utc
from dashboards.markup import Content, Element, e
from streams.queries.report.model import Bars, Graph, Node, Series, Trend

_WIDE: Final = 720
_BAR: Final = 26
_NAMES: Final = 150
_TALL: Final = 160


def _drawing(key: str, title: str, told: str, width: int, height: int, *shapes: Content) -> Element:
    return e(
        "svg", e("title", title, id=f"{key}-name"), e("desc", told, id=f"{key}-text"), *shapes,
        viewbox=f"0 0 {width} {height}", role="img", aria_labelledby=f"{key}-name", aria_describedby=f"{key}-text",
    )  # fmt: skip


def bars(block: Bars, key: str) -> Element:
    """Bars from the left, one below the other, each with its number."""
    most = max((bar.value for bar in block.bars), default=0) or 1
    room = _WIDE - _NAMES - 110
    shapes: list[Content] = []
    for row, bar in enumerate(block.bars):
        top, long = row * _BAR, max(round(room * bar.value / most), 1 if bar.value else 0)
        middle = top + _BAR - 9
        shapes += [
            e("text", _short(bar.name, 22), x=_NAMES - 8, y=middle, text_anchor="end"),
            e("rect", x=_NAMES, y=top + 4, width=long, height=_BAR - 8, rx=2, class_=f"fill-{bar.tone}"),
            e("text", f"{bar.value:,}", x=_NAMES + long + 8, y=middle),
        ]
    told = "; ".join(f"{bar.name}: {bar.value:,} {block.unit}" for bar in block.bars)
    return _drawing(key, block.title, told, _WIDE, max(len(block.bars), 1) * _BAR, *shapes)


def trend(block: Trend, key: str) -> Element:
    """Columns over time, the lines of an interval one upon the other."""
    number = max(len(block.starts), 1)
    sums = [sum(series.values[n] for series in block.series) for n in range(len(block.starts))]
    most = max(sums, default=0) or 1
    step = (_WIDE - 60) / number
    shapes: list[Content] = [e("line", x1=50, y1=_TALL + 10, x2=_WIDE, y2=_TALL + 10, class_="axis")]
    shapes += [e("text", f"{most:,}", x=44, y=20, text_anchor="end", class_="soft"),
               e("text", "0", x=44, y=_TALL + 12, text_anchor="end", class_="soft")]  # fmt: skip
    for n in range(number):
        shapes += _column(block.series, n, 50 + n * step, max(step - 2, 1), most)
    shapes += [
        e("text", utc(block.starts[0]), x=50, y=_TALL + 28, class_="soft"),
        e("text", utc(block.end), x=_WIDE, y=_TALL + 28, text_anchor="end", class_="soft"),
    ]
    told = "; ".join(
        f"{series.name}: {sum(series.values):,}, at most {max(series.values):,}" for series in block.series
    )
    return _drawing(
        key, block.title, f"From {utc(block.starts[0])} to {utc(block.end)}. {told}", _WIDE, _TALL + 36, *shapes
    )


def _column(series: Sequence[Series], n: int, left: float, width: float, most: int) -> Iterator[Element]:
    bottom = float(_TALL + 10)
    for line in series:
        tall = _TALL * line.values[n] / most
        if tall:
            bottom -= tall
            place = {"x": f"{left:.1f}", "y": f"{bottom:.1f}", "width": f"{width:.1f}", "height": f"{tall:.1f}"}
            yield e("rect", **place, class_=f"fill-{line.tone}")


_BOX: Final = (172, 48)
_GAP: Final = (28, 12)


def graph(block: Graph, key: str) -> Element:
    """Lanes from left to right; a line from each thing to those of the next lane that has any."""
    lanes = [(lane, [node for node in block.nodes if node.lane == lane]) for lane in block.lanes]
    most = max((len(of) for _, of in lanes), default=1) or 1
    width = len(lanes) * (_BOX[0] + _GAP[0]) - _GAP[0] + 4
    height = 30 + most * (_BOX[1] + _GAP[1])
    shapes: list[Content] = []
    places: list[list[tuple[float, float]]] = []
    boxes: list[Content] = []
    for column, (lane, nodes) in enumerate(lanes):
        left = 2 + column * (_BOX[0] + _GAP[0])
        shapes.append(e("text", lane, x=left, y=16, class_="soft"))
        first = 30 + (most - len(nodes)) * (_BOX[1] + _GAP[1]) / 2
        tops = [first + row * (_BOX[1] + _GAP[1]) for row in range(len(nodes))]
        boxes += [_box(node, left, top) for node, top in zip(nodes, tops, strict=True)]
        if not nodes:
            shapes.append(e("text", "nothing on record", x=left, y=36, class_="soft"))
        else:
            places.append([(left, top + _BOX[1] / 2) for top in tops])
    for before, after in pairwise(places):
        shapes += [_line(a, b) for a in before for b in after]
    told = "; ".join(f"{lane}: {', '.join(node.name for node in of) or 'nothing on record'}" for lane, of in lanes)
    return _drawing(key, block.title, told, width, round(height), *shapes, *boxes)


def _line(before: tuple[float, float], after: tuple[float, float]) -> Element:
    left, right = before[0] + _BOX[0], after[0]
    middle = (left + right) / 2
    bends = f"{middle:.0f} {before[1]:.0f} {middle:.0f} {after[1]:.0f}"
    curve = f"M{left:.0f} {before[1]:.0f} C{bends} {right:.0f} {after[1]:.0f}"
    return e("path", d=curve, class_="edge")


def _box(node: Node, left: float, top: float) -> Element:
    shapes: list[Content] = [
        e("title", f"{node.name} {node.detail}".strip()),
        e("rect", x=f"{left:.0f}", y=f"{top:.0f}", width=_BOX[0], height=_BOX[1], rx=4, class_=f"box box-{node.tone}"),
        e("text", _short(node.name, 20), x=f"{left + 8:.0f}", y=f"{top + (20 if node.detail else 29):.0f}"),
    ]
    if node.detail:
        detail = _short(node.detail, 25)
        shapes.append(e("text", detail, x=f"{left + 8:.0f}", y=f"{top + 38:.0f}", class_="soft"))
    return e("g", *shapes)


def _short(text: str, limit: int) -> str:
    """Short enough for its place; spelt out first, so that what is cut is never half an escape's meaning."""
    return cut(safe(text), limit)
