"""What a panel asks of Elasticsearch, and what it then shows: the part of Lens that our pages use. Pure.

    for search in asked(panel, Window(start, end, seconds)):     one per layer
        answer = POST search.target/_search with search.body
    shown(panel, answers)                                   rows of keys and values, as a table

Made from the rendered panel, so that what is installed is what is tried. Differences from Kibana are of form alone: one
search per layer instead of one per page, `top_hits` for a last value, a step of time that is chosen here, and an order
among documents of one instant.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from streams.queries.conditions import EVERYTHING, Condition
from streams.queries.dsl import compiled
from streams.queries.kql import parse

Json = dict[str, Any]  # Any: a tree of JSON
Key = str | int | float | bool | None

STEPS: Final = 24
"""Steps of time in a chart."""
DOCUMENTS: Final = 50
"""Documents that a list of them shows."""


class Window(NamedTuple):
    """The time that is looked at, RFC 3339, and what the filters of the page say."""

    start: str
    end: str
    seconds: int
    where: Condition = EVERYTHING


class Search(NamedTuple):
    """One search."""

    target: str
    """Index, alias or data stream."""
    body: Json


class Row(NamedTuple):
    """A row of a table: what it is about, and its numbers."""

    keys: tuple[Key, ...]
    values: tuple[Key, ...]


def asked(panel: Json, window: Window) -> list[Search]:
    """The searches of a rendered panel; none for a text or a filter.

    Raises:
        ValueError: it has something that this does not know: then Kibana would do what nobody tried.
    """
    kind, config = panel["type"], panel["config"]
    if kind in ("markdown", "options_list_control"):
        return []
    if kind == "discover_session":
        return [_documents(tab, window) for tab in config["tabs"]]
    if config["type"] == "xy":
        return [_layer(layer, config, window) for layer in config["layers"]]
    return [_chart(config, config, _buckets(config), window)]


def shown(panel: Json, answers: Sequence[Json]) -> list[list[Row]]:
    """What each search's answer says, in rows. Raises ValueError as `asked`."""
    kind, config = panel["type"], panel["config"]
    if kind == "discover_session":
        pairs = zip(config["tabs"], answers, strict=True)
        return [[_hit(tab["column_order"], hit) for hit in answer["hits"]["hits"]] for tab, answer in pairs]
    if config["type"] == "xy":
        return [_layer_rows(layer, answer) for layer, answer in zip(config["layers"], answers, strict=True)]
    return [_rows(_buckets(config), config["metrics"], answer) for answer in answers]


# ------------------------------------------------------------------------------------------------------------- asking


def _buckets(config: Json) -> list[Json]:
    if config["type"] == "data_table":
        return list(config["rows"])
    if config["type"] == "metric":
        return [config["breakdown_by"]] if "breakdown_by" in config else []
    raise ValueError(f"a chart of type {config['type']}")


def _layer(layer: Json, config: Json, window: Window) -> Search:
    if layer["type"] != "annotations":
        return _chart(layer, config, _axes(layer), window, metrics=layer["y"])
    body = {
        "size": 0,
        "query": _query(layer, config, window, marks=True),
        "aggs": {str(n): _mark(event) for n, event in enumerate(layer["events"])},
    }
    return Search(layer["data_source"]["index_pattern"], body)


def _axes(layer: Json) -> list[Json]:
    return [*([layer["breakdown_by"]] if "breakdown_by" in layer else []), layer["x"]]


def _mark(event: Json) -> Json:
    hits = {"size": 100, "sort": [{event["time_field"]: {"order": "asc"}}], "_source": [event["time_field"]]}
    return {"filter": _kql(event["query"]), "aggs": {"v": {"top_hits": hits}}}


def _chart(
    source: Json, config: Json, buckets: Sequence[Json], window: Window, metrics: Sequence[Json] | None = None
) -> Search:
    measured = config["metrics"] if metrics is None else metrics
    body = {"size": 0, "query": _query(source, config, window), "track_total_hits": True}
    aggregations = _nested(buckets, measured, window)
    return Search(source["data_source"]["index_pattern"], body | ({"aggs": aggregations} if aggregations else {}))


def _documents(tab: Json, window: Window) -> Search:
    body = {
        "size": min(tab["rows_per_page"], DOCUMENTS),
        "query": _query(tab, tab, window),
        "sort": [*({one["name"]: {"order": one["direction"]}} for one in tab["sort"]), {"event.id": {"order": "asc"}}],
        "_source": tab["column_order"],
    }
    return Search(tab["data_source"]["index_pattern"], body)


def _query(source: Json, config: Json, window: Window, *, marks: bool = False) -> Json:
    found: list[Json] = []
    time = source["data_source"].get("time_field")
    if time:
        found.append({"range": {time: {"gte": window.start, "lt": window.end}}})
    if "query" in config and not marks:
        found.append(_kql(config["query"]))
    if not source.get("ignore_global_filters") and window.where != EVERYTHING:
        found.append(compiled(window.where).query)
    return {"bool": {"filter": found}} if found else {"match_all": {}}


def _kql(query: Json) -> Json:
    return compiled(parse(query["expression"])).query


def _nested(buckets: Sequence[Json], metrics: Sequence[Json], window: Window) -> Json:
    """Every metric at every level: an order can only refer to what is right below it."""
    made: Json = {}
    for number, one in enumerate(metrics):
        made |= _measured(f"m{number}", one)
    if buckets:
        made["b"] = _bucket(buckets[0], metrics, window) | {"aggs": _nested(buckets[1:], metrics, window)}
        if buckets[0]["operation"] == "terms" and buckets[0]["rank_by"]["type"] == "custom":
            made["b"]["aggs"]["o"] = {"value_count": {"field": buckets[0]["rank_by"]["field"]}}
    return made


def _bucket(bucket: Json, metrics: Sequence[Json], window: Window) -> Json:
    match bucket["operation"]:
        case "terms":
            (field,) = bucket["fields"]
            return {"terms": {"field": field, "size": bucket["limit"], "order": _order(bucket["rank_by"], metrics)}}
        case "date_histogram":
            step = max(1, window.seconds // STEPS)
            bounds = {"min": window.start, "max": window.end}
            histogram = {"field": bucket["field"], "fixed_interval": f"{step}s", "extended_bounds": bounds}
            return {"date_histogram": histogram | {"hard_bounds": bounds, "min_doc_count": 0}}
        case "filters":
            return {"filters": {"filters": [_kql(one["filter"]) for one in bucket["filters"]]}}
    raise ValueError(f"buckets by {bucket['operation']}")


def _order(rank: Json, metrics: Sequence[Json]) -> list[Json]:
    if rank["type"] == "alphabetical":
        return [{"_key": rank["direction"]}]
    if rank["type"] == "custom":
        return [{"o": rank["direction"]}, {"_key": "asc"}]
    one = metrics[rank["metric_index"]]
    if one["operation"] in ("formula", "last_value"):
        raise ValueError(f"a {one['operation']} ranks nothing")
    path = f"m{rank['metric_index']}"
    if one["operation"] == "count":
        path = "_count" if "filter" not in one else path
    elif "filter" in one:
        path += ">v"
    return [{path: rank["direction"]}, {"_key": "asc"}]


# ------------------------------------------------------------------------------------------------------------ metrics

_PLAIN: Final = {"unique_count": "cardinality", "sum": "sum", "min": "min", "max": "max", "average": "avg"}
_OPERAND: Final = re.compile(r"(count|sum)\((?:([\w.@]+), )?kql='((?:[^'\\]|\\.)*)'\)")
_RATIO: Final = "# / #"
_NET: Final = "cumulative_sum(#) - cumulative_sum(#)"


def _measured(name: str, one: Json) -> Json:
    """The aggregations behind a metric, by name; none for a plain count."""
    match one["operation"]:
        case "count":
            return {name: {"filter": _kql(one["filter"])}} if "filter" in one else {}
        case "last_value":
            hits = {"size": 1, "sort": [{one["time_field"]: {"order": "desc"}}], "_source": [one["field"]]}
            found = {"v": {"top_hits": hits}}
            return {name: {"filter": {"exists": {"field": one["field"]}}, "aggs": found}}
        case "formula":
            return {f"{name}{n}": _operand(*operand) for n, operand in enumerate(_operands(one["formula"]))}
    value: Json = {_PLAIN[one["operation"]]: {"field": one["field"]}}
    return {name: {"filter": _kql(one["filter"]), "aggs": {"v": value}} if "filter" in one else value}


def _operands(formula: str) -> list[tuple[str, str, str]]:
    """(function, field, query) of a formula of a shape that pages use."""
    shape = _OPERAND.sub("#", formula)
    if shape not in (_RATIO, _NET):
        raise ValueError(f"a formula of the shape {shape!r}")
    return [(found[1], found[2] or "", found[3].replace("\\'", "'")) for found in _OPERAND.finditer(formula)]


def _operand(function: str, field: str, query: str) -> Json:
    made: Json = {"filter": compiled(parse(query)).query}
    return made | {"aggs": {"v": {"sum": {"field": field}}}} if function == "sum" else made


def _value(name: str, one: Json, found: Json, documents: int) -> Key:
    operation = one["operation"]
    if operation == "formula":
        first, second = (_weighed(found[f"{name}{n}"]) for n in (0, 1))
        if _OPERAND.sub("#", one["formula"]) == _NET:
            return first - second
        return first / second if second else None
    if operation == "count":
        return int(found[name]["doc_count"]) if "filter" in one else documents
    if operation == "last_value":
        hits = found[name]["v"]["hits"]["hits"]
        return _first(hits[0]["_source"].get(one["field"])) if hits else None
    value = found[name]["v"] if "filter" in one else found[name]
    return _number(value)


def _weighed(found: Json) -> float:
    return float(found["v"]["value"] if "v" in found else found["doc_count"])


def _number(value: Json) -> Key:
    if value.get("value") is None:
        return None
    if "value_as_string" in value:
        return str(value["value_as_string"])
    number = float(value["value"])
    return int(number) if number.is_integer() else number


def _first(value: object) -> Key:
    found = value[0] if isinstance(value, list) and value else value
    return found if isinstance(found, (str, int, float, bool)) else None


# ------------------------------------------------------------------------------------------------------------ reading


def _rows(buckets: Sequence[Json], metrics: Sequence[Json], answer: Json) -> list[Row]:
    whole = answer.get("aggregations", {}) | {"doc_count": answer["hits"]["total"]["value"]}
    return list(_walked(buckets, metrics, whole, ()))


def _walked(buckets: Sequence[Json], metrics: Sequence[Json], found: Json, keys: tuple[Key, ...]) -> Iterator[Row]:
    if not buckets:
        values = (_value(f"m{n}", one, found, found["doc_count"]) for n, one in enumerate(metrics))
        yield Row(keys, tuple(values))
        return
    for number, bucket in enumerate(found["b"]["buckets"]):
        yield from _walked(buckets[1:], metrics, bucket, (*keys, _key(buckets[0], bucket, number)))


def _key(asked_for: Json, bucket: Json, number: int) -> Key:
    if asked_for["operation"] == "filters":
        return str(asked_for["filters"][number]["label"])
    return _first(bucket.get("key_as_string", bucket["key"]))


def _layer_rows(layer: Json, answer: Json) -> list[Row]:
    if layer["type"] == "annotations":
        return [row for n, event in enumerate(layer["events"]) for row in _marks(event, answer["aggregations"][str(n)])]
    rows = _rows(_axes(layer), layer["y"], answer)
    for number, one in enumerate(layer["y"]):
        if one["operation"] == "formula" and _OPERAND.sub("#", one["formula"]) == _NET:
            rows = list(_cumulated(rows, number))
    return rows


def _marks(event: Json, found: Json) -> Iterator[Row]:
    for hit in found["v"]["hits"]["hits"]:
        yield Row((_first(hit["_source"][event["time_field"]]),), (event["label"],))


def _cumulated(rows: Iterable[Row], number: int) -> Iterator[Row]:
    """Sums along the last key, anew for each series."""
    series: tuple[Key, ...] | None = None
    so_far = 0.0
    for row in rows:
        if row.keys[:-1] != series:
            series, so_far = row.keys[:-1], 0.0
        here = row.values[number]
        so_far += here if isinstance(here, (int, float)) else 0.0
        yield Row(row.keys, (*row.values[:number], so_far, *row.values[number + 1 :]))


def _hit(columns: Sequence[str], hit: Json) -> Row:
    return Row((str(hit["_id"]),), tuple(_first(hit["_source"].get(column)) for column in columns))
