"""What a panel asks: true to what Kibana is told, refused where nobody tried it. And what counts as a difference."""

import copy
import json
from typing import Any

import pytest

from dashboards.asked import Window, asked, shown
from dashboards.charts import Sources, count, metric, net, over_time, ratio, table, terms
from dashboards.installing import _difference, _search_difference
from dashboards.questions import searches
from streams.queries.kql import parse
from streams.sinks.mapping import Names

Json = dict[str, Any]
SOURCE = Sources(Names())
WINDOW = Window("2026-11-20T00:00:00Z", "2026-11-21T00:00:00Z", 86_400)
CONTAINERS = SOURCE("containers")


def panel(config: Json, kind: str = "vis") -> Json:
    return {"type": kind, "config": config}


def body(config: Json, window: Window = WINDOW) -> Json:
    (search,) = asked(panel(config), window)
    return search.body


def test_state_is_not_asked_for_a_time_and_history_is():
    assert body(metric(CONTAINERS, count()))["query"] == {"match_all": {}}
    (only,) = body(metric(SOURCE("finding"), count()))["query"]["bool"]["filter"]
    assert only == {"range": {"@timestamp": {"gte": WINDOW.start, "lt": WINDOW.end}}}


def test_filters_of_the_page_are_asked_unless_the_panel_shows_everything():
    window = WINDOW._replace(where=parse("namespace:pay"))
    chart = metric(CONTAINERS, count())
    assert body(chart, window)["query"] == {"bool": {"filter": [{"term": {"orchestrator.namespace": "pay"}}]}}
    assert body(chart | {"ignore_global_filters": True}, window)["query"] == {"match_all": {}}


def test_texts_and_filters_ask_nothing():
    assert asked(panel({"content": "x"}, "markdown"), WINDOW) == []
    assert asked(panel({}, "options_list_control"), WINDOW) == []


def test_rows_are_ordered_by_the_metric_that_kibana_is_told_of():
    chart = table(CONTAINERS, [terms("namespace")], [count("x", "verdict:valid"), count()])
    assert body(chart)["aggs"]["b"]["terms"]["order"] == [{"m0": "desc"}, {"_key": "asc"}]
    by_name = table(CONTAINERS, [terms("namespace", rank="name")], [count()])
    assert body(by_name)["aggs"]["b"]["terms"]["order"] == [{"_key": "asc"}]


@pytest.mark.parametrize(
    "config",
    [
        {"type": "vega", "data_source": CONTAINERS, "metrics": []},
        table(CONTAINERS, [terms("namespace")], [ratio("verdict:valid", "verdict:*", "a share ranks nothing")]),
        metric(CONTAINERS, {"operation": "formula", "formula": "count() * 2", "label": "x"}),
        metric(CONTAINERS, count(), by={"operation": "histogram", "field": "event.severity"}),
    ],
    ids=["a chart nobody tried", "ranked by a formula", "another formula", "another bucket"],
)
def test_what_nobody_tried_is_refused(config):
    with pytest.raises(ValueError, match=r"."):
        asked(panel(config), WINDOW)


def test_an_apostrophe_in_a_query_does_not_end_the_formula():
    share = ratio("""reason:"it's" """, "reason:*", "x")
    assert share["formula"].startswith("count(kql='provenance.reason.code:\"it\\'s\"')")
    assert body(metric(CONTAINERS, share))["aggs"]["m00"] == {"filter": {"term": {"provenance.reason.code": "it's"}}}


def test_sums_begin_anew_with_each_series():
    layer: Json = {"type": "line", "data_source": SOURCE("finding"), "x": over_time(), "breakdown_by": terms("team")}
    layer["y"] = [net("state:open", "state:closed", "x")]
    steps = [
        {"key": 0, "doc_count": 3, "m00": {"doc_count": opened}, "m01": {"doc_count": closed}}
        for opened, closed in ((2, 0), (0, 1), (0, 0))
    ]
    buckets = [{"key": team, "doc_count": 3, "b": {"buckets": steps}} for team in ("a", "b")]
    answer = {"hits": {"total": {"value": 6}}, "aggregations": {"b": {"buckets": buckets}}}
    (rows,) = shown(panel({"type": "xy", "layers": [layer]}), [answer])
    assert [row.values[0] for row in rows] == [2.0, 1.0, 1.0] * 2


# --------------------------------------------------------------------------------------------------------- differences

WANTED: Json = {"title": "x", "panels": [{"id": "a", "w": 8, "on": True}, {"id": "b"}]}


def changed(**change: object) -> Json:
    found: Json = copy.deepcopy(WANTED)
    found["panels"][0].update(change)
    return found


@pytest.mark.parametrize(
    ("found", "where"),
    [
        (WANTED, ""),
        (WANTED | {"added": 1}, ""),
        (changed(more="a default"), ""),
        (changed(w=8.0), ""),
        (changed(w=9), "panels.0.w"),
        (changed(w=True), "panels.0.w"),
        (changed(on=1), "panels.0.on"),
        ({"title": "x"}, "panels"),
        ({"title": "x", "panels": WANTED["panels"][:1]}, "panels"),
        ({"title": "x", "panels": [*WANTED["panels"], {"id": "c"}]}, "panels"),
        ({"title": "x", "panels": list(reversed(WANTED["panels"]))}, "panels.0.id"),
        ("<html>", "all of it"),
        (None, "all of it"),
    ],
)
def test_what_kibana_adds_is_no_difference_and_everything_else_is(found, where):
    assert _difference(WANTED, found) == where


SEARCHES = searches(Names())


def lines(*found: Json) -> str:
    return "\n".join(json.dumps(one) for one in found)


def in_a_tab(search: Json) -> Json:
    """As newer Kibanas keep a saved search."""
    moved = ("columns", "sort", "kibanaSavedObjectMeta", "grid", "hideChart")
    attributes = dict(search["attributes"])
    tab = {"id": "t", "label": "", "attributes": {name: attributes.pop(name) for name in moved}}
    reference = search["references"][0] | {"name": "tab_t.kibanaSavedObjectMeta.searchSourceJSON.index"}
    return search | {"attributes": attributes | {"tabs": [tab]}, "references": [reference]}


def with_query(search: Json, query: str) -> Json:
    source = json.loads(search["attributes"]["kibanaSavedObjectMeta"]["searchSourceJSON"])
    source["query"]["query"] = query
    meta = {"searchSourceJSON": json.dumps(source)}
    return search | {"attributes": search["attributes"] | {"kibanaSavedObjectMeta": meta}}


def test_a_saved_search_is_the_same_in_either_form_of_kibana():
    assert _search_difference(SEARCHES, lines(*SEARCHES)) == ""
    assert _search_difference(SEARCHES, lines(*map(in_a_tab, SEARCHES))) == ""


@pytest.mark.parametrize("form", [lambda one: one, in_a_tab], ids=["plain", "in a tab"])
def test_a_saved_search_that_asks_something_else_differs(form):
    changed_one = with_query(SEARCHES[3], "*")
    assert ".query" in (_search_difference(SEARCHES, lines(*SEARCHES[:3], form(changed_one), *SEARCHES[4:])) or "")
    elsewhere = SEARCHES[0] | {"references": SEARCHES[5]["references"]}
    assert ".data view" in (_search_difference(SEARCHES, lines(form(elsewhere), *SEARCHES[1:])) or "")


@pytest.mark.parametrize("body", ["not json", '{"id": 1}\n[]', '{"id": "x", "attributes": 3}', None, 7])
def test_an_export_that_is_none_is_no_crash(body):
    assert _search_difference(SEARCHES, body) in (None, "the export is not readable")


def test_a_saved_search_that_is_not_there_is_missing():
    assert _search_difference(SEARCHES, lines(*SEARCHES[1:])) is None
