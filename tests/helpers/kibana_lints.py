"""What has to hold of our pages beyond the contract of the API. Each lint gives sentences; none means that it holds.

lints(pages(names), names)
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from dashboards.model import Page, dashboard_id, rendered, view_id
from streams.queries.kql import QueryError, parse
from streams.sinks.fields import field_of
from streams.sinks.mapping import FIELDS, HISTORY, HOMES, Names
from tests.helpers.kibana_contract import panels

Json = dict[str, Any]


class Seen(NamedTuple):
    """One rendered panel, where it stands, and what it looks at."""

    page: str
    section: Json | None
    panel: Json

    @property
    def name(self) -> str:
        return f"{self.page} / {self.panel['config'].get('title', self.panel['id'])}"


def lints(made: tuple[Page, ...], names: Names) -> list[str]:
    bodies = {page.slug: rendered(page, names) for page in made}
    return [sentence for lint in LINTS for sentence in lint(bodies, names)]


def seen(bodies: dict[str, Json]) -> Iterator[Seen]:
    for slug, body in bodies.items():
        for block in body["panels"]:
            for panel in block.get("panels", (block,)):
                yield Seen(slug, block if "panels" in block else None, panel)


def sources(panel: Json) -> list[Json]:
    """Everything in a panel that has a data source of its own."""
    config = panel["config"]
    return [one for one in (config, *config.get("layers", ()), *config.get("tabs", ())) if "data_source" in one]


def home_of(source: Json, names: Names) -> str:
    """Short name of the home; `history` for all of them."""
    pattern = source["data_source"]["index_pattern"]
    targets = {names.target(home): home for home in HOMES} | {names.all_history: "history"}
    return targets.get(pattern, "")


def has(home: str, field: str) -> bool:
    """May documents of that home have the field?"""
    found = field_of(field)
    if found is None:
        return False
    return bool(set(found.field.homes) & set(HISTORY)) if home == "history" else home in found.field.homes


# --------------------------------------------------------------------------------------------------------- the lints


def known_sources(bodies: dict[str, Json], names: Names) -> Iterator[str]:
    """Inline, over a home of ours, timed exactly where it is history."""
    for one in seen(bodies):
        for source in sources(one.panel):
            home = home_of(source, names)
            if not home:
                yield f"{one.name}: {source['data_source']} is no home"
            elif ("time_field" in source["data_source"]) != (home in HISTORY or home == "history"):
                yield f"{one.name}: time of {home}"


_AGGREGATABLE = {
    "terms": {"keyword", "boolean", "long", "ip"},
    "date_histogram": {"date"},
    "unique_count": {"keyword", "boolean", "long", "ip", "date"},
    "count": {"keyword", "boolean", "long", "ip", "date"},
    "sum": {"long"},
    "average": {"long"},
    "min": {"long", "date"},
    "max": {"long", "date"},
    "last_value": {"keyword", "boolean", "long", "ip", "date"},
}


def fields(bodies: dict[str, Json], names: Names) -> Iterator[str]:
    """Every field is in the table, its home has it, and what is done with it can be done with its type."""
    for one in seen(bodies):
        for source in sources(one.panel):
            home = home_of(source, names)
            for operation, field in operations(source):
                row = FIELDS.get(field)
                if row is None or not has(home, field):
                    yield f"{one.name}: {home} has no field {field}"
                elif operation and row.type not in _AGGREGATABLE[operation]:
                    yield f"{one.name}: {operation} of {field}, a {row.type}"


def operations(source: Json) -> Iterator[tuple[str, str]]:
    """(operation, field) of everything that is measured, grouped or shown; no operation for a column."""
    for one in walked(source):
        if "operation" in one:
            if "field" in one:
                yield one["operation"], one["field"]
            for field in one.get("fields", ()):
                yield one["operation"], field
            if "time_field" in one:
                yield "max", one["time_field"]
            for function, field in re.findall(r"\b(sum|average|min|max)\(([\w.@]+)", one.get("formula", "")):
                yield function, field
    for column in source.get("column_order", ()):
        yield "", column
    for event in source.get("events", ()):
        yield "max", event["time_field"]


def walked(value: object) -> Iterator[Json]:
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from walked(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from walked(inner)


def queries(bodies: dict[str, Json], names: Names) -> Iterator[str]:
    """Every query parses, and its fields are fields of the home it is asked of."""
    for one in seen(bodies):
        config = one.panel["config"]
        for source in sources(one.panel):
            home = home_of(source, names)
            texts = [inner["expression"] for inner in walked(source) if "expression" in inner]
            texts += (
                [config["query"]["expression"]] if "query" in config and source.get("type") != "annotations" else []
            )
            for inner in walked(source):
                texts += [
                    text.replace("\\'", "'")
                    for text in re.findall(r"kql='((?:[^'\\]|\\.)*)'", inner.get("formula", ""))
                ]
            for text in texts:
                yield from wrong_query(text, home, one.name)


def wrong_query(text: str, home: str, name: str) -> Iterator[str]:
    try:
        condition = parse(text)
    except QueryError as error:
        yield f"{name}: {error}"
        return
    for field in set(re.findall(r"field='([^']+)'", repr(condition))):
        if not has(home, field):
            yield f"{name}: {text!r} asks {home} for {field}"


def layout(bodies: dict[str, Json], names: Names) -> Iterator[str]:
    """Nothing overlaps, nothing is wider than the grid, pages and sections begin at the top."""
    del names
    for slug, body in bodies.items():
        top = [block for block in body["panels"] if "panels" not in block]
        for where, group in [
            (slug, top),
            *((f"{slug}/{b['title']}", b["panels"]) for b in body["panels"] if "panels" in b),
        ]:
            taken: dict[tuple[int, int], str] = {}
            for panel in group:
                grid = panel["grid"]
                cells = [
                    (x, y)
                    for x in range(grid["x"], grid["x"] + grid["w"])
                    for y in range(grid["y"], grid["y"] + grid["h"])
                ]
                if grid["x"] + grid["w"] > 48 or any(cell in taken for cell in cells):
                    yield f"{where}: {panel['id']} overlaps or is too wide"
                taken |= dict.fromkeys(cells, panel["id"])


def identities(bodies: dict[str, Json], names: Names) -> Iterator[str]:
    """Ids are there, and each only once in all pages."""
    del names
    found: set[str] = set()
    for body in bodies.values():
        for one in (*body["pinned_panels"], *body["panels"], *(p for b in body["panels"] for p in b.get("panels", ()))):
            if one["id"] in found:
                yield f"id {one['id']} twice"
            found.add(one["id"])


def everywhere(bodies: dict[str, Json], names: Names) -> Iterator[str]:
    """Every page has a time range, a panel of help that explains emptiness, freshness and blind spots, and filters."""
    for slug, body in bodies.items():
        every = list(panels(body))
        texts = [panel["config"]["content"] for panel in every if panel["type"] == "markdown"]
        if not any("Empty?" in text and "revet doctor" in text for text in texts):
            yield f"{slug}: nothing explains an empty page"
        homes = {home_of(source, names) for panel in every for source in sources(panel)}
        for needed in ("feeds", "deadletters"):
            if needed not in homes:
                yield f"{slug}: nothing of {needed}"
        if not body.get("time_range") or not (body["pinned_panels"] or any("panels" in b for b in body["panels"])):
            yield f"{slug}: no time range or no filter"


def filters(bodies: dict[str, Json], names: Names) -> Iterator[str]:
    """A filter reaches only panels whose documents have its field; the others say that they show everything. Otherwise
    choosing a severity would empty a panel of containers, which have none.
    """
    views = {view_id(names, home): home for home in (*HOMES, "history")}
    for slug, body in bodies.items():
        for block in body["panels"]:
            inside = block.get("panels", [block])
            own = [panel["config"] for panel in inside if panel["type"] == "options_list_control"]
            for control in [*(pinned["config"] for pinned in body["pinned_panels"]), *own]:
                field = control["field_name"]
                if (
                    not has(views.get(control["data_view_id"], ""), field)
                    or FIELDS[field].type not in _AGGREGATABLE["terms"]
                ):
                    yield f"{slug}: {control['title']} cannot be offered"
                for panel in inside:
                    for source in sources(panel):
                        if not source.get("ignore_global_filters") and not has(home_of(source, names), field):
                            yield f"{slug}: {panel['config']['title']} has no {field} to filter by"


def unfiltered(bodies: dict[str, Json], names: Names) -> Iterator[str]:
    """What no filter reaches says so in its title."""
    del names
    for one in seen(bodies):
        charts = [source for source in sources(one.panel) if source.get("type") != "annotations"]
        if (
            any(source.get("ignore_global_filters") for source in charts)
            and "(all " not in one.panel["config"]["title"]
        ):
            yield f"{one.name}: ignores filters and does not say so"


_DRILLS = {"investigate": "provenance.image.digest", "incidents": "provenance.incident.id"}


def drilldowns(bodies: dict[str, Json], names: Names) -> Iterator[str]:
    """They lead to pages of ours, from panels that have the value to carry, to panels that can be filtered by it."""
    slugs = {dashboard_id(names, slug): slug for slug in bodies}
    for one in seen(bodies):
        rows = {field for bucket in one.panel["config"].get("rows", ()) for field in bucket.get("fields", ())}
        for drill in one.panel["config"].get("drilldowns", ()):
            slug = slugs.get(drill["dashboard_id"])
            if slug is None or _DRILLS.get(slug) not in rows:
                yield f"{one.name}: a drill-down to {slug} without its value"


LINTS: tuple[Callable[[dict[str, Json], Names], Iterator[str]], ...] = (
    known_sources,
    fields,
    queries,
    layout,
    identities,
    everywhere,
    filters,
    unfiltered,
    drilldowns,
)
