"""The published contract of the Dashboards API as far as our pages go: a schema, and the rules that no schema says.

violations(body)     sentences; what Kibana would answer 400 to
"""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # ships no types

Json = dict[str, Any]
SCHEMA = Path(__file__).parents[1] / "assets" / "kibana" / "dashboard.schema.json"


@cache
def _validator() -> jsonschema.Draft202012Validator:
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def violations(body: object) -> list[str]:
    """Empty when Kibana would take it."""
    found = [f"{error.json_path}: {error.message[:200]}" for error in _validator().iter_errors(body)]
    if found or not isinstance(body, dict):
        return found
    return [*_ids(body), *(text for panel in panels(body) for text in _bounds(panel))]


def panels(body: Json) -> Iterator[Json]:
    """Every panel, those of sections too."""
    for panel in body["panels"]:
        yield from panel.get("panels", (panel,))


def _ids(body: Json) -> Iterator[str]:
    seen: set[str] = set()
    for one in (*body.get("pinned_panels", ()), *body["panels"], *panels(body)):
        if one.get("id") in seen and "panels" not in one and one not in body["panels"]:
            yield f"id {one['id']} twice"
        seen.add(one.get("id", ""))


def _bounds(panel: Json) -> Iterator[str]:
    grid = panel["grid"]
    if grid["x"] + grid["w"] > 48:
        yield f"{panel['id']}: beyond the 48 columns"
    config = panel["config"]
    sort = config.get("styling", {}).get("sort_by")
    if sort and sort["index"] >= len(config["metrics" if sort["column_type"] == "metric" else "rows"]):
        yield f"{panel['id']}: sort_by.index is out of bounds"
