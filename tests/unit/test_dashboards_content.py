"""Pages of Kibana: fresh, within the contract of its API, and true to the field table. Every lint is shown to find."""

import copy
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dashboards.charts import Sources, count, metric, terms
from dashboards.content import RULE_ID, files, made
from dashboards.model import COLUMNS, Section, dashboard_id, rendered
from dashboards.pages import pages
from dashboards.questions import SEARCHES, STATES, searches
from streams.queries.kql import QueryError, parse
from streams.settings import Settings
from streams.sinks.mapping import HISTORY, HOMES, Names
from streams.sinks.roles import roles
from tests.helpers import kibana_lints
from tests.helpers.kibana_contract import violations
from tests.helpers.kibana_lints import LINTS, has, lints
from verifier.errors import InputError

Json = dict[str, Any]
ROOT = Path(__file__).parents[2]
EXPORT = ROOT / "dashboards" / "export"
NAMES = Names()
PAGES = pages(NAMES)
BODIES = {page.slug: rendered(page, NAMES) for page in PAGES}
HOW = "stale: run `revet dashboards export --to dashboards/export`, or this test with REVET_REGENERATE=1"


def content():
    from streams.cli.dashboards import content_of  # noqa: PLC0415  # it imports the HTTP client, which asks for a socket

    return content_of(Settings())


# ---------------------------------------------------------------------------------------------------------------- fresh


def test_the_committed_files_are_what_is_rendered():
    written = files(content())
    if os.environ.get("REVET_REGENERATE") == "1":
        EXPORT.mkdir(exist_ok=True)
        for name, text in written.items():
            (EXPORT / name).write_text(text, encoding="utf-8")
    assert {path.name: path.read_text(encoding="utf-8") for path in EXPORT.iterdir()} == written, HOW


def test_there_are_seven_pages():
    assert [page.slug for page in PAGES] == [
        *("overview", "posture", "incidents", "investigate", "admission", "trust", "health"),
    ]  # fmt: skip


def test_ids_never_change():
    """Links in messages and bookmarks hold them. A changed id is a page that is there twice."""
    assert dashboard_id(NAMES, "overview") == "249e51b1-785e-5320-8ea1-9e50dd899ede"
    assert dashboard_id(Names("staging"), "overview") != dashboard_id(NAMES, "overview")


# ------------------------------------------------------------------------------------------------------------- contract


@pytest.mark.parametrize("slug", BODIES)
def test_a_page_is_within_the_contract(slug):
    assert violations(BODIES[slug]) == []


def panel(body: Json, title: str) -> Json:
    every = [one for block in body["panels"] for one in block.get("panels", [block])]
    return next(one for one in every if one["config"].get("title", "").startswith(title))


def wrong(**change: object) -> Callable[[Json], None]:
    return lambda body: panel(body, "Running containers")["config"].update(change)


BREACHES: dict[str, Callable[[Json], object]] = {
    "no title": lambda body: body.pop("title"),
    "unknown member": wrong(colour="red"),
    "unknown chart": wrong(type="vega"),
    "a metric without operation": wrong(metrics=[{"type": "primary"}]),
    "a sum without field": wrong(metrics=[{"type": "primary", "operation": "sum"}]),
    "a metric that is secondary alone": wrong(metrics=[{"type": "secondary", "operation": "count"}]),
    "query of another language": wrong(query={"expression": "a:b", "language": "kuery"}),
    "too wide": lambda body: panel(body, "Running containers")["grid"].update(x=40, w=20),
    "an old name of terms' size": lambda body: panel(body, "Verification rate per team")["config"]["rows"][0].update(
        size=5
    ),
    "sorted by a column that is not there": lambda body: panel(body, "Verification rate per team")["config"]["styling"][
        "sort_by"
    ].update(index=9),
    "a hundred and one panels": lambda body: body["panels"].extend([body["panels"][0]] * 101),
}


@pytest.mark.parametrize("name", BREACHES)
def test_the_contract_refuses(name):
    body = copy.deepcopy(BODIES["overview"])
    BREACHES[name](body)
    assert violations(body) != []


# ---------------------------------------------------------------------------------------------------------------- lints


def test_the_pages_pass_every_lint():
    assert lints(PAGES, NAMES) == []


def test_another_namespace_is_another_set_of_indices_and_ids():
    other = Names("staging")
    assert lints(pages(other), other) == []
    assert "-default" not in json.dumps([rendered(page, other) for page in pages(other)])


def first(body: Json, title: str) -> Json:
    found: Json = panel(body, title)["config"]
    return found


def without_help(body: Json) -> None:
    body["panels"] = [one for one in body["panels"] if one.get("type") != "markdown"]


def severity_for_all(body: Json) -> None:
    control = copy.deepcopy(body["pinned_panels"][0])
    control["config"]["field_name"] = "provenance.severity"
    control["id"] = "x"
    body["pinned_panels"].append(control)


MISTAKES: dict[str, tuple[str, Callable[[Json], object]]] = {
    "another index": ("known_sources", lambda b: first(b, "Running")["data_source"].update(index_pattern="logs-*")),
    "state with a time": (
        "known_sources",
        lambda b: first(b, "Running")["data_source"].update(time_field="@timestamp"),
    ),
    "no such field": (
        "fields",
        lambda b: first(b, "Distinct digests")["metrics"][0].update(field="provenance.image.digst"),
    ),
    "a field of another home": (
        "fields",
        lambda b: first(b, "Distinct digests")["metrics"][0].update(field="provenance.severity"),
    ),
    "a sum of words": (
        "fields",
        lambda b: first(b, "Distinct digests")["metrics"][0].update(operation="sum"),
    ),
    "terms of a text": ("fields", lambda b: first(b, "Verification rate per")["rows"][0].update(fields=["message"])),
    "a query that is none": ("queries", lambda b: first(b, "Running")["query"].update(expression="verdict:")),
    "a query of another home": (
        "queries",
        lambda b: first(b, "Running")["query"].update(expression="provenance.severity:high"),
    ),
    "a formula of another home": (
        "queries",
        lambda b: first(b, "Verification rate")["metrics"][0].update(
            formula="count(kql='provenance.severity: \"high\"') / count(kql='*')"
        ),
    ),
    "two in one place": ("layout", lambda b: panel(b, "Running")["grid"].update(x=8)),
    "one id twice": ("identities", lambda b: panel(b, "Running").update(id=panel(b, "Violating")["id"])),
    "no help": ("everywhere", without_help),
    "a filter that empties panels": ("filters", severity_for_all),
    "unfiltered in silence": ("unfiltered", lambda b: first(b, "Running").update(ignore_global_filters=True)),
    "a drill-down to nowhere": (
        "drilldowns",
        lambda b: first(b, "Images with the most")["drilldowns"][0].update(dashboard_id="x"),
    ),
    "a drill-down without its value": (
        "drilldowns",
        lambda b: first(b, "Images with the most")["rows"][0].update(fields=["orchestrator.namespace"]),
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_lint_finds(name):
    lint, mistake = MISTAKES[name]
    bodies = copy.deepcopy(BODIES)
    mistake(bodies["overview"])
    assert list(getattr(kibana_lints, lint)(bodies, NAMES)) != []


def test_every_lint_is_shown_to_find():
    assert {lint for lint, _ in MISTAKES.values()} == {lint.__name__ for lint in LINTS}


# ---------------------------------------------------------------------------------------------------- making a panel


def test_a_field_that_is_not_in_the_table_is_an_error_when_the_page_is_made():
    with pytest.raises(InputError, match="no field 'digst'"):
        terms("digst")
    with pytest.raises(QueryError, match="no field 'verdikt'"):
        metric(Sources(NAMES)("containers"), count(), where="verdikt:valid")


def test_short_names_come_out_in_full():
    made_table = metric(Sources(NAMES)("containers"), count("x", "verdict:valid"), where="namespace:pay*")
    assert made_table["query"] == {"expression": "orchestrator.namespace:pay*", "language": "kql"}
    assert made_table["metrics"][0]["filter"]["expression"] == 'provenance.verdict:"valid"'


def test_a_row_is_as_wide_as_the_grid():
    """A gap would be filled by Kibana, and pages look torn."""
    for page in PAGES:
        for block in page.blocks:
            for row in block.rows if isinstance(block, Section) else (block,):
                assert sum(one.width for one in row.panels) == COLUMNS, (page.slug, [one.slug for one in row.panels])


# ---------------------------------------------------------------------------------------------------------- questions


def test_there_is_a_saved_search_for_each_of_the_fifteen_questions():
    assert [search.number for search in SEARCHES] == list(range(1, 16))
    assert len({search.name for search in SEARCHES}) == 15
    titles = [one["attributes"]["title"] for one in searches(NAMES)]
    assert titles == sorted(titles), "Kibana lists them by name: that is the order of the questions"


@pytest.mark.parametrize("search", SEARCHES, ids=lambda search: search.name)
def test_a_question_asks_its_home_for_fields_that_it_has(search):
    for column in search.columns:
        assert has(search.home, column), column
    for text in (search.query, search.example.replace("…", "x")):
        assert list(kibana_lints.wrong_query(text, search.home, search.name)) == []
        parse(text)


def test_a_saved_search_refers_to_a_data_view_that_is_installed():
    content_made = made(NAMES)
    for one in content_made.searches:
        (reference,) = one["references"]
        assert reference["id"] in content_made.views
        source = json.loads(one["attributes"]["kibanaSavedObjectMeta"]["searchSourceJSON"])
        assert source["indexRefName"] == reference["name"]
        parse(source["query"]["query"])


# ------------------------------------------------------------------------------------------- views, rule, role, space


def test_there_is_a_data_view_for_every_home_and_one_for_all_history():
    views = made(NAMES).views
    assert {view["title"] for view in views.values()} == {*(NAMES.target(home) for home in HOMES), NAMES.all_history}
    assert all(id_ == view["id"] for id_, view in views.items())
    timed = {view["title"] for view in views.values() if "timeFieldName" in view}
    assert timed == {*(NAMES.target(home) for home in HISTORY), NAMES.all_history}
    assert not STATES & set(HISTORY)


def test_the_role_reads_and_does_nothing_else():
    made_content = content()
    role = made_content.role
    assert role["kibana"] == [{"base": ["read"], "feature": {}, "spaces": ["revet"]}]
    assert role["elasticsearch"]["indices"] == roles(NAMES)["revet_default_analyst"]["indices"]
    privileges = {name for one in role["elasticsearch"]["indices"] for name in one["privileges"]}
    assert privileges == {"read", "view_index_metadata"}
    assert role["elasticsearch"]["cluster"] == []


def test_the_rule_promotes_findings_that_open():
    rule = made(NAMES).rule
    assert rule["rule_id"] == RULE_ID
    assert rule["index"] == ["logs-revet.finding-default"]
    assert list(kibana_lints.wrong_query(rule["query"], "finding", "rule")) == []
    assert {one["value"] for one in rule["severity_mapping"]} == {"low", "medium", "high", "critical"}
    assert not rule["enabled"], "who installs pages does not start alerts"
    assert made(Names("staging")).rule["rule_id"] == f"{RULE_ID}-staging"


def test_no_file_holds_markup_of_strangers_or_a_machine():
    text = "".join(files(content()).values())
    assert "<script" not in text
    assert "localhost" not in text
