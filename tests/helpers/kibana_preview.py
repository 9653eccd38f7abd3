"""Pages of Kibana as plain HTML, drawn from what Elasticsearch answered: to be looked at where no Kibana is.

    html = preview(body, answers)          answers: id of a panel -> rows of each of its searches
    photograph(chromium, html, Path("overview.png"))

The layout is the page's own grid. Colours, fonts and the steps of axes are not Kibana's, and the picture says so.
"""

import html as markup
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dashboards.asked import Row

Json = dict[str, Any]
Answers = Mapping[str, Sequence[Sequence[Row]]]

UNIT_W, UNIT_H = 33, 20
WIDTH = 48 * UNIT_W
COLOURS = ("#0b64dd", "#d6409f", "#e5a000", "#16a37b", "#7c5cff", "#c2410c", "#5b6b7f", "#0891b2")
FIXED = {
    "valid": "#16a37b", "violates": "#c62828", "unverifiable": "#e5a000", "ungoverned": "#8a94a3",
    "critical": "#8b1e3f", "high": "#c62828", "medium": "#e5a000", "low": "#5b8def",
    "admitted": "#16a37b", "denied": "#c62828",
}  # fmt: skip
"""Values that mean good or bad; Kibana gives them colours of its own."""

STYLE = """
*{box-sizing:border-box;margin:0}body{font:13px 'DejaVu Sans',sans-serif;background:#f6f9fc;color:#1d2a3e;width:WIDTHpx}
h1{font-size:18px;padding:10px 12px}small{color:#5a6d8a}.bar{display:flex;gap:8px;padding:0 8px 8px}
.control{border:1px solid #cad3e2;border-radius:4px;padding:5px 10px;background:#fff;flex:1}.grid{position:relative}
.panel{position:absolute;background:#fff;border:1px solid #d9e1ee;border-radius:6px;padding:6px 8px;overflow:hidden}
.panel h2{font-size:12px;margin-bottom:4px;white-space:nowrap}.number{font-size:30px;font-weight:bold}
.tiles{display:flex;gap:24px}table{border-collapse:collapse;font-size:10.5px;width:100%}
td,th{padding:1px 8px 1px 0;text-align:left;white-space:nowrap;overflow:hidden;max-width:230px;text-overflow:ellipsis}
th{color:#5a6d8a;border-bottom:1px solid #e3e9f3}.section{padding:8px 12px;font-weight:bold}p{margin-bottom:4px}
.note{padding:8px 12px;color:#5a6d8a}svg text{font:10px 'DejaVu Sans',sans-serif;fill:#5a6d8a}.none{color:#8a94a3}
""".replace("WIDTH", str(WIDTH))

NOTE = (
    "Drawn by revet's tests from what Elasticsearch answered over a small made-up day (2026-11-20). Layout, questions "
    "and numbers are those of the page; Kibana draws them in its own way."
)


def preview(body: Json, answers: Answers) -> str:
    """One page."""
    parts = [f"<h1>{e(body['title'])} <small>{e(body['description'])}</small></h1>", _controls(body["pinned_panels"])]
    top = [block for block in body["panels"] if "panels" not in block]
    done = 0
    for block in sorted(body["panels"], key=lambda one: one["grid"]["y"]):
        if "panels" in block:
            parts.append(f'<div class="section">▾ {e(block["title"])}</div>')
            own = [one for one in block["panels"] if one["type"] == "options_list_control"]
            parts += [_controls(own), _grid([one for one in block["panels"] if one not in own], answers)]
        elif block["grid"]["y"] >= done:
            row = [one for one in top if one["grid"]["y"] == block["grid"]["y"]]
            parts.append(_grid(row, answers))
            done = block["grid"]["y"] + 1
    parts.append(f'<div class="note">{e(NOTE)}</div>')
    return f"<!doctype html><meta charset=utf-8><style>{STYLE}</style><body>{''.join(parts)}"


def e(value: object) -> str:
    return markup.escape(str(value))


def _controls(found: list[Json]) -> str:
    boxes = "".join(f'<div class="control">{e(one["config"]["title"])} <small>any</small></div>' for one in found)
    return f'<div class="bar">{boxes}</div>' if boxes else ""


def _grid(panels: list[Json], answers: Answers) -> str:
    if not panels:
        return ""
    top = min(one["grid"]["y"] for one in panels)
    height = max(one["grid"]["y"] + one["grid"]["h"] for one in panels) - top
    made = []
    for one in panels:
        grid = one["grid"]
        place = (
            f"left:{grid['x'] * UNIT_W + 4}px;top:{(grid['y'] - top) * UNIT_H + 2}px;"
            f"width:{grid['w'] * UNIT_W - 8}px;height:{grid['h'] * UNIT_H - 4}px"
        )
        inside = _drawn(one, answers.get(one["id"], ()))
        made.append(f'<div class="panel" style="{place}"><h2>{e(one["config"]["title"])}</h2>{inside}</div>')
    return f'<div class="grid" style="height:{height * UNIT_H + 4}px">{"".join(made)}</div>'


def _drawn(panel: Json, answers: Sequence[Sequence[Row]]) -> str:
    config = panel["config"]
    if panel["type"] == "markdown":
        return _text(config["content"])
    if panel["type"] == "discover_session":
        return _table(
            [name.rpartition(".")[2] for name in config["tabs"][0]["column_order"]], [r.values for r in answers[0]]
        )
    if config["type"] == "metric":
        return _metric(config, answers[0])
    if config["type"] == "data_table":
        heads = [one.get("label", one["operation"]) for one in (*config["rows"], *config["metrics"])]
        formats = [None] * len(config["rows"]) + [one.get("format") for one in config["metrics"]]
        return _table(heads, [(*row.keys, *row.values) for row in answers[0]], formats)
    layer = config["layers"][0]
    if layer["x"]["operation"] == "date_histogram":
        return _over_time(layer, answers, panel["grid"])
    return _bars(layer, answers[0], panel["grid"])


def _text(content: str) -> str:
    bold = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", e(content))
    return "".join(f"<p>{re.sub(r'[*`]', '', line)}</p>" for line in bold.split("\n\n"))


def _metric(config: Json, rows: Sequence[Row]) -> str:
    tiles = []
    for row in rows:
        first, *second = config["metrics"]
        below = f"<br><small>{e(shown(row.values[1]))} {e(second[0].get('label', ''))}</small>" if second else ""
        label = row.keys[0] if row.keys else first.get("label", "")
        number = e(shown(row.values[0], first.get("format")))
        tiles.append(f'<div><span class="number">{number}</span><br>{e(label)}{below}</div>')
    return f'<div class="tiles">{"".join(tiles)}</div>' if tiles else '<div class="none">nothing</div>'


def shown(value: object, form: Json | None = None) -> str:
    """A value as people read it."""
    if value is None:
        return "-"
    if form and form["type"] == "percent" and isinstance(value, (int, float)):
        return f"{value:.1%}"
    text = str(value)
    time = re.fullmatch(r"\d{4}-(\d\d-\d\d)T(\d\d:\d\d).*", text)
    if time is not None:
        return f"{time[1]} {time[2]}"
    return f"{text[:19]}…" if text.startswith("sha256:") else text[:60]


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]], formats: Sequence[Json | None] = ()) -> str:
    if not rows:
        return '<div class="none">no results</div>'
    forms = [*formats, *[None] * (len(heads) - len(formats))]
    head = "".join(f"<th>{e(one)}</th>" for one in heads)
    lines = ("".join(f"<td>{e(shown(v, f))}</td>" for v, f in zip(row, forms, strict=True)) for row in rows)
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _colour(name: object, number: int) -> str:
    return FIXED.get(str(name), COLOURS[number % len(COLOURS)])


def _series(layer: Json, rows: Sequence[Row]) -> dict[str, dict[object, float]]:
    """Name of a series -> x -> value. Without a breakdown a series per metric."""
    found: dict[str, dict[object, float]] = {}
    for row in rows:
        for number, one in enumerate(layer["y"]):
            value = row.values[number]
            name = str(row.keys[0]) if "breakdown_by" in layer else one.get("label", "count")
            if isinstance(value, (int, float)):
                found.setdefault(name, {})[row.keys[-1]] = float(value)
    return found


def _legend(names: Sequence[str], y: float) -> str:
    made, x = "", 4.0
    for number, name in enumerate(names):
        made += f'<rect x="{x}" y="{y - 8}" width="9" height="9" fill="{_colour(name, number)}"/>'
        made += f'<text x="{x + 13}" y="{y}">{e(shown(name))}</text>'
        x += 26 + 6.6 * len(shown(name))
    return made


def _bars(layer: Json, rows: Sequence[Row], grid: Json) -> str:
    found = _series(layer, rows)
    labels = list(dict.fromkeys(row.keys[-1] for row in rows if any(row.values)))
    if not labels:
        return '<div class="none">no results</div>'
    width, height = grid["w"] * UNIT_W - 28, grid["h"] * UNIT_H - 34
    step = min(26.0, (height - 22) / len(labels))
    most = max(sum(one.get(label, 0.0) for one in found.values()) for label in labels) or 1.0
    made = ""
    for line, label in enumerate(labels):
        x, y = 150.0, line * step
        made += f'<text x="144" y="{y + step * 0.62:.1f}" text-anchor="end">{e(shown(label))[:24]}</text>'
        for number, (name, values) in enumerate(found.items()):
            long = values.get(label, 0.0) / most * (width - 200)
            made += _box(x, y + 2, long, step - 4, _colour(name, number))
            x += long
        total = sum(one.get(label, 0.0) for one in found.values())
        made += f'<text x="{x + 6:.1f}" y="{y + step * 0.62:.1f}">{total:g}</text>'
    return f'<svg width="{width}" height="{height}">{made}{_legend(list(found), height - 3)}</svg>'


def _box(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'


def _over_time(layer: Json, answers: Sequence[Sequence[Row]], grid: Json) -> str:
    rows = answers[0]
    found = _series(layer, rows)
    steps = sorted({str(row.keys[-1]) for row in rows})
    if not found:
        return '<div class="none">no results</div>'
    width, height = grid["w"] * UNIT_W - 28, grid["h"] * UNIT_H - 34
    wide, high = (width - 40) / max(1, len(steps)), height - 40
    stacked = layer["type"] != "line"
    most = max(
        (sum(s.get(t, 0.0) for s in found.values()) if stacked else max(s.get(t, 0.0) for s in found.values()))
        for t in steps
    )
    most = most or 1.0
    made = f'<text x="0" y="10">{most:g}</text><line x1="30" y1="{high}" x2="{width}" y2="{high}" stroke="#cad3e2"/>'
    for number, step in enumerate(steps):
        if number % 4 == 0:
            made += f'<text x="{30 + number * wide:.1f}" y="{high + 12}">{shown(step)[6:]}</text>'
    below = dict.fromkeys(steps, 0.0)
    for number, (name, values) in enumerate(found.items()):
        if stacked:
            made += _stack(values, steps, below, (wide, high, most), _colour(name, number))
        else:
            places = [
                (30 + (n + 0.5) * wide, high - values[t] / most * (high - 12))
                for n, t in enumerate(steps)
                if t in values
            ]
            points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
            made += f'<polyline points="{points}" fill="none" stroke="{_colour(name, number)}" stroke-width="2"/>'
            made += "".join(
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{_colour(name, number)}"/>' for x, y in places
            )
    made += _marks([row for marks in answers[1:] for row in marks], steps, wide, high)
    return f'<svg width="{width}" height="{height}">{made}{_legend(list(found), height - 3)}</svg>'


def _stack(
    values: Mapping[object, float],
    steps: list[str],
    below: dict[str, float],
    scale: tuple[float, float, float],
    colour: str,
) -> str:
    wide, high, most = scale
    made = ""
    for number, step in enumerate(steps):
        tall = values.get(step, 0.0) / most * (high - 12)
        if tall:
            made += _box(31 + number * wide, high - below[step] - tall, wide - 2, tall, colour)
        below[step] += tall
    return made


def _marks(rows: Sequence[Row], steps: list[str], wide: float, high: float) -> str:
    made = ""
    for row in rows:
        number = sum(step[:19] <= str(row.keys[0])[:19] for step in steps) - 1
        x = 30 + (number + 0.5) * wide
        made += f'<line x1="{x:.1f}" y1="8" x2="{x:.1f}" y2="{high}" stroke="#c62828" stroke-dasharray="3 3"/>'
        made += f'<text x="{x + 4:.1f}" y="16">{e(row.values[0])}</text>'
    return made


def height_of(body: Json) -> int:
    """Pixels of the whole page."""
    total = 130
    rows = {block["grid"]["y"]: block["grid"]["h"] for block in body["panels"] if "panels" not in block}
    total += sum(h * UNIT_H + 4 for h in rows.values())
    for block in body["panels"]:
        if "panels" in block:
            inside = [one["grid"] for one in block["panels"] if one["type"] != "options_list_control"]
            tall = max(g["y"] + g["h"] for g in inside) - min(g["y"] for g in inside)
            total += tall * UNIT_H + 90
    return total


def photograph(chromium: Path, html: str, to: Path, height: int) -> None:
    """A picture of the page by headless Chromium."""
    page = to.with_suffix(".html")
    page.write_text(html, encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={WIDTH},{height}"]
    command = [str(chromium), *options, f"--screenshot={to}", page.as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=110)
    page.unlink()
