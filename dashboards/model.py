"""What a page of Kibana is made of, and how it is laid out. Pure.

    page = Page("overview", "…", "…", pinned=(CLUSTER,), blocks=(Row(10, (Panel("running", "…", 12, config),)), …))
    rendered(page, names)      ->  the body of PUT /api/dashboards/{id}

A page says rows of panels and their widths; where they stand follows. Ids derive from namespace, page and panel, so
they are the same in every Kibana and a link outlives an update.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal

import msgspec

from streams.queries.conditions import full_name
from streams.sinks.mapping import Names

Json = dict[str, Any]  # Any: a tree of JSON

COLUMNS: Final = 48
"""Width of the grid of a dashboard (Dashboards API)."""
MAX_PANELS: Final = 100
"""Entries the API takes in `panels`, of a page and of a section."""

_IDS: Final = uuid.uuid5(uuid.NAMESPACE_URL, "https://revet.invalid/kibana")

Kind = Literal["vis", "markdown", "discover_session"]


class Control(msgspec.Struct, frozen=True):
    """A list of values to filter by."""

    field: str
    title: str
    home: str
    """Whose values are offered: the short name of a home."""


class Panel(msgspec.Struct, frozen=True):
    """One thing to look at."""

    slug: str
    title: str
    width: int
    config: Json
    kind: Kind = "vis"
    description: str = ""
    unfiltered: bool = False
    """It shows everything, whatever is filtered: what it looks at has not the fields that pages filter by."""
    to: tuple[str, ...] = ()
    """Pages (by slug) that a click on a value leads to."""


class Row(msgspec.Struct, frozen=True):
    """Panels side by side."""

    height: int
    panels: tuple[Panel, ...]


class Section(msgspec.Struct, frozen=True):
    """A part of a page with filters of its own, which reach no further."""

    slug: str
    title: str
    controls: tuple[Control, ...]
    rows: tuple[Row, ...]
    collapsed: bool = False


class Page(msgspec.Struct, frozen=True):
    """A dashboard."""

    slug: str
    title: str
    description: str
    pinned: tuple[Control, ...]
    """Filters of the whole page."""
    blocks: tuple[Row | Section, ...]
    since: str = "now-24h"

    def panels(self) -> Iterator[tuple[Section | None, Panel]]:
        """Every panel with the section it is in."""
        for block in self.blocks:
            for row in block.rows if isinstance(block, Section) else (block,):
                for panel in row.panels:
                    yield (block if isinstance(block, Section) else None), panel


def stable(names: Names, *parts: str) -> str:
    """The id of a thing of ours in any Kibana; another one for another namespace."""
    return str(uuid.uuid5(_IDS, "/".join((names.namespace, *parts))))


def dashboard_id(names: Names, slug: str) -> str:
    """The id of a page."""
    return stable(names, "dashboard", slug)


def view_id(names: Names, home: str) -> str:
    """The id of the data view of a home, or of `history`."""
    return stable(names, "data-view", home)


DRILL_LABELS: Final = {"investigate": "Investigate this digest", "incidents": "Open this incident"}
"""Page -> what the menu of a value says."""


def rendered(page: Page, names: Names) -> Json:
    """The body of PUT `/api/dashboards/{dashboard_id(names, page.slug)}`."""
    return {
        "title": page.title,
        "description": page.description,
        "time_range": {"from": page.since, "to": "now"},
        "refresh_interval": {"pause": False, "value": 60_000},
        "options": {"use_margins": True, "sync_colors": True, "sync_cursor": True},
        "pinned_panels": [_pinned(page, control, names) for control in page.pinned],
        "panels": list(_placed(page, page.blocks, names)),
    }


def _placed(page: Page, blocks: Iterable[Row | Section], names: Names) -> Iterator[Json]:
    y = 0
    for block in blocks:
        if isinstance(block, Row):
            yield from _row(page, block, y, names)
            y += block.height
        else:
            yield _section(page, block, y, names)
            y += 1


def _section(page: Page, section: Section, y: int, names: Names) -> Json:
    panels: list[Json] = []
    width = COLUMNS // max(1, len(section.controls))
    for number, control in enumerate(section.controls):
        panel = {
            "id": stable(names, "panel", page.slug, section.slug, "control", control.field),
            "grid": {"x": number * width, "y": 0, "w": width, "h": CONTROL_HEIGHT},
            "type": "options_list_control",
            "config": _control(control, names),
        }
        panels.append(panel)
    below = CONTROL_HEIGHT if section.controls else 0
    for row in section.rows:
        panels += _row(page, row, below, names)
        below += row.height
    named = stable(names, "section", page.slug, section.slug)
    return {
        "id": named, "title": section.title, "collapsed": section.collapsed, "grid": {"y": y}, "panels": panels,
    }  # fmt: skip


CONTROL_HEIGHT: Final = 2
"""Rows of the grid that a filter within a section takes."""


def _row(page: Page, row: Row, y: int, names: Names) -> Iterator[Json]:
    x = 0
    for panel in row.panels:
        grid = {"x": x, "y": y, "w": panel.width, "h": row.height}
        named = stable(names, "panel", page.slug, panel.slug)
        yield {"id": named, "grid": grid, "type": panel.kind, "config": _config(panel, names)}
        x += panel.width


def _config(panel: Panel, names: Names) -> Json:
    config: Json = {"title": panel.title, **({"description": panel.description} if panel.description else {})}
    config |= panel.config
    if panel.unfiltered:
        config = _unfiltered(config)
    if panel.to:
        config["drilldowns"] = [_drill(slug, names) for slug in panel.to]
    return config


def _unfiltered(config: Json) -> Json:
    """A chart over axes says so in each of its layers, every other one once."""
    if config["type"] != "xy":
        return config | {"ignore_global_filters": True}
    return config | {"layers": [layer | {"ignore_global_filters": True} for layer in config["layers"]]}


def _drill(slug: str, names: Names) -> Json:
    return {
        "type": "dashboard_drilldown",
        "trigger": "on_apply_filter",
        "label": DRILL_LABELS[slug],
        "dashboard_id": dashboard_id(names, slug),
        "use_filters": True,
        "use_time_range": True,
        "open_in_new_tab": False,
    }


def _pinned(page: Page, control: Control, names: Names) -> Json:
    return {
        "id": stable(names, "panel", page.slug, "pinned", control.field),
        "type": "options_list_control",
        "width": "medium",
        "grow": True,
        "config": _control(control, names),
    }


def _control(control: Control, names: Names) -> Json:
    return {
        "title": control.title,
        "data_view_id": view_id(names, control.home),
        "field_name": full_name(control.field),
        "sort": {"by": "_key", "direction": "asc"},
        "display_settings": {"placeholder": "any"},
    }
