"""Parts of a panel's `config`, as the Kibana Dashboards API (9.4) takes them: metrics, buckets, charts. Pure.

    table(source("findings"), [terms("severity")], [count("Findings")])
    metric(source("containers"), count("Running"), where="state:running")

Fields and queries are written with the names of the field table, short or full, and come out in full; what is not in
the table is an error when a page is made, not when somebody looks at it. Queries are those of `revet search`, which
mean the same in Kibana.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

from streams.queries.conditions import full_name
from streams.queries.kql import parse, render
from streams.sinks.mapping import FIELDS, HISTORY, Names

Json = dict[str, Any]  # Any: a tree of JSON

ROWS: Final = 10
"""Rows of a table or bars of a chart where nothing else is said: more is scrolled, not read."""

TIME: Final = "@timestamp"


class Sources:
    """Inline data views of one namespace, so that a page carries everything it needs to any Kibana."""

    def __init__(self, names: Names) -> None:
        self.names = names

    def __call__(self, home: str) -> Json:
        """A dataset with its time; a state without one: what is so now does not depend on the time picker."""
        spec: Json = {"type": "data_view_spec", "index_pattern": self.names.target(home)}
        return spec | {"time_field": TIME} if home in HISTORY else spec

    def everything(self) -> Json:
        """All that ever happened, over every dataset."""
        return {"type": "data_view_spec", "index_pattern": self.names.all_history, "time_field": TIME}


def kql(query: str) -> str:
    """A query with full names, as Kibana takes it.

    Raises:
        QueryError: it is none, or names a field that is not in the table.
    """
    return render(parse(query))


def query(text: str) -> Json:
    """A query as a member of a panel or metric."""
    return {"expression": kql(text), "language": "kql"}


def _name(field: str) -> str:
    return field if field == TIME else full_name(field)


def _short(field: str) -> str:
    """A field as people read it: its shortest name in the table."""
    row = FIELDS.get(_name(field))
    return row.short[0].replace("_", " ") if row is not None and row.short else _name(field).rpartition(".")[2]


# ------------------------------------------------------------------------------------------------------------ metrics


def _measured(operation: str, label: str, where: str, **more: object) -> Json:
    made: Json = {"operation": operation, **more}
    if label:
        made["label"] = label
    if where:
        made["filter"] = query(where)
    return made


def count(label: str = "", where: str = "") -> Json:
    """Documents; with `where` only those."""
    return _measured("count", label, where)


def unique(field: str, label: str = "", where: str = "") -> Json:
    """Distinct values."""
    return _measured("unique_count", label or f"Distinct {_short(field)}", where, field=_name(field))


def total(field: str, label: str, where: str = "") -> Json:
    """The sum of a number."""
    return _measured("sum", label, where, field=_name(field))


def newest(field: str, label: str, where: str = "") -> Json:
    """The largest value: of a date the latest."""
    return _measured("max", label, where, field=_name(field))


def oldest(field: str, label: str, where: str = "") -> Json:
    """The smallest value: of a date the earliest."""
    return _measured("min", label, where, field=_name(field))


def last(field: str, label: str = "") -> Json:
    """The value in the newest document of the row."""
    return _measured("last_value", label or _short(field).capitalize(), "", field=_name(field), time_field=TIME)


def ratio(part: str, whole: str, label: str, *, of: str = "") -> Json:
    """The share of `whole` that is `part`, in percent; with `of` weighted by that number. Nothing where there is no
    whole.
    """
    formula = f"{_counted(part, of)} / {_counted(whole, of)}"
    return {"operation": "formula", "formula": formula, "label": label, "format": {"type": "percent", "decimals": 1}}


def net(more: str, less: str, label: str) -> Json:
    """How many more of the one than of the other there were since the beginning of the time that is looked at."""
    formula = f"cumulative_sum({_counted(more, '')}) - cumulative_sum({_counted(less, '')})"
    return {"operation": "formula", "formula": formula, "label": label}


def _counted(where: str, of: str) -> str:
    escaped = kql(where).replace("'", "\\'")
    return f"sum({_name(of)}, kql='{escaped}')" if of else f"count(kql='{escaped}')"


# ------------------------------------------------------------------------------------------------------------ buckets


def terms(field: str, label: str = "", limit: int = ROWS, *, rank: Rank = "metric") -> Json:
    """A row per value. `rank`: those with the most of the first metric first, with the most documents (where the first
    metric is a formula, which cannot rank), or by name.
    """
    return {
        "operation": "terms",
        "fields": [_name(field)],
        "limit": limit,
        "label": label or _short(field).capitalize(),
        "rank_by": dict(_RANKS[rank]),
    }


Rank = Literal["metric", "documents", "name"]

_RANKS: Final[dict[Rank, Json]] = {
    "metric": {"type": "metric", "metric_index": 0, "direction": "desc"},
    "documents": {"type": "custom", "operation": "count", "field": "event.id", "direction": "desc"},
    "name": {"type": "alphabetical", "direction": "asc"},
}


def over_time(field: str = TIME) -> Json:
    """Steps of time; how long one is follows the time that is looked at."""
    return {
        "operation": "date_histogram",
        "field": _name(field),
        "suggested_interval": "auto",
        "include_empty_rows": True,
        "label": "Time",
    }


def split(*named: tuple[str, str]) -> Json:
    """A row per (label, query), in this order."""
    return {"operation": "filters", "filters": [{"filter": query(text), "label": label} for label, text in named]}


# ------------------------------------------------------------------------------------------------------------- charts


def metric(source: Json, value: Json, *, where: str = "", by: Json | None = None, second: Json | None = None) -> Json:
    """One number, or one per value of `by`; `second` stands smaller below."""
    metrics = [{"type": "primary", **value}] + ([{"type": "secondary", **second}] if second is not None else [])
    made: Json = {"type": "metric", "data_source": source, "metrics": metrics}
    if by is not None:
        made["breakdown_by"] = {**by, "columns": 4}
    return _asked(made, where)


def table(
    source: Json, rows: Sequence[Json], values: Sequence[Json], *, where: str = "", sort: int = 0, page: int = ROWS
) -> Json:
    """A row per value; the value number `sort` decides the order."""
    order = {"column_type": "metric", "index": sort, "direction": "desc"}
    made: Json = {
        "type": "data_table",
        "data_source": source,
        "rows": list(rows),
        "metrics": list(values),
        "styling": {"paging": page, "density": {"mode": "compact"}, "sort_by": order},
    }
    return _asked(made, where)


def bars(source: Json, x: Json, values: Sequence[Json], *, where: str = "", by: Json | None = None) -> Json:
    """Bars over time or values; with `by` stacked."""
    upright = x["operation"] == "date_histogram"
    kind = "bar_stacked" if upright else "bar_horizontal_stacked"
    return _drawn(kind, source, x, values, where, by, ())


def lines(
    source: Json,
    values: Sequence[Json],
    *,
    where: str = "",
    by: Json | None = None,
    marks: Sequence[Json] = (),
) -> Json:
    """Lines over time. `marks`: layers of annotations."""
    return _drawn("line", source, over_time(), values, where, by, marks)


def marked(source: Json, text: str, label: str, icon: str) -> Json:
    """A layer that marks when something happened, whatever is filtered."""
    event = {"type": "query", "query": query(text), "time_field": TIME, "label": label, "icon": icon}
    return {"type": "annotations", "data_source": source, "events": [event], "ignore_global_filters": True}


def _drawn(
    kind: str, source: Json, x: Json, values: Sequence[Json], where: str, by: Json | None, marks: Sequence[Json]
) -> Json:
    layer: Json = {"type": kind, "data_source": source, "x": x, "y": list(values)}
    if by is not None:
        layer["breakdown_by"] = by
    return _asked({"type": "xy", "layers": [layer, *marks]}, where)


def documents(
    source: Json, columns: Sequence[str], *, where: str = "", newest_first: bool = True, rows: int = 50
) -> Json:
    """Documents, one per row: a Discover session."""
    tab: Json = {
        "data_source": source,
        "column_order": [_name(column) for column in columns],
        "sort": [{"name": TIME, "direction": "desc" if newest_first else "asc"}],
        "rows_per_page": rows,
        "density": "compact",
    }
    return {"tabs": [tab | {"query": query(where)} if where else tab]}


def _asked(made: Json, where: str) -> Json:
    return made | {"query": query(where)} if where else made
