"""Every panel of every page, asked of a real Elasticsearch over a small day, with answers worked out by hand.

The day is `tests/helpers/kibana_day.py`; the questions are made from what is installed. A panel without an expectation
fails: nothing is shown that nobody checked.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dashboards.asked import Row, asked, shown
from dashboards.model import rendered
from dashboards.pages import pages
from dashboards.questions import SEARCHES
from streams.elastic import url_path
from streams.queries.dsl import compiled
from streams.queries.kql import parse
from streams.sinks.mapping import Names
from tests.helpers.elasticspace import Space
from tests.helpers.kibana_day import DAY, WINDOW, A, B, C, D, day
from tests.helpers.kibana_preview import height_of, photograph, preview

pytestmark = [pytest.mark.needs("elasticsearch"), pytest.mark.slow]

Json = dict[str, Any]
PAGES = [page.slug for page in pages(Names())]


class Kept:
    """The day in a record, and the pages over it."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.bodies = {page.slug: rendered(page, space.names) for page in pages(space.names)}

    def panels(self, slug: str) -> dict[str, Json]:
        every = (one for block in self.bodies[slug]["panels"] for one in block.get("panels", [block]))
        return {one["config"]["title"]: one for one in every if one["type"] not in ("markdown", "options_list_control")}

    def search(self, target: str, body: Json) -> Json:
        found: Json = self.space.server.call("POST", url_path(target, "_search"), body=body).body
        assert found["_shards"]["failed"] == 0
        return found

    def look(self, slug: str, title: str, where: str = "") -> list[list[Row]]:
        panel = self.panels(slug)[title]
        window = WINDOW._replace(where=parse(where)) if where else WINDOW
        return shown(panel, [self.search(*question) for question in asked(panel, window)])


@pytest.fixture(scope="module")
def kept(elastic_server) -> Iterator[Kept]:
    space = Space.fresh(elastic_server.url)
    space.set_up()
    space.write(day())
    yield Kept(space)
    space.close()


def t(clock: str) -> str:
    """As Elasticsearch writes a time it computed."""
    return f"{DAY}T{clock}:00.000Z"


def stored(clock: str) -> str:
    """As a document has it."""
    return f"{DAY}T{clock}:00.000000Z"


def told(rows: list[Row]) -> list[tuple[object, ...]]:
    """Keys and values in one; steps of time in which nothing was are left out."""
    flat = [(*row.keys, *row.values) for row in rows]
    return [row for row, made in zip(flat, rows, strict=True) if any(value not in (None, 0) for value in made.values)]


def series(rows: list[Row]) -> dict[object, list[object]]:
    """Per series the values that it passes through, without repetitions."""
    found: dict[object, list[object]] = {}
    for row in rows:
        values = found.setdefault(row.keys[0], [])
        if not values or values[-1] != row.values[0]:
            values.append(row.values[0])
    return found


VALID, VIOLATES, UNVERIFIABLE, UNGOVERNED = "valid", "violates", "unverifiable", "ungoverned"
API, FX, WEB = "r.example/pay/api", "r.example/pay/fx", "r.example/shop/web"
EVERYWHERE = {
    "How fresh is this? (all clusters)": [
        ("c1", "audit", t("23:59"), t("00:00"), 1),
        ("c1", "pods", t("23:59"), t("00:00"), 2),
        ("c2", "pods", t("19:50"), t("00:00"), 1),
    ],
    "Not readable (all clusters)": [(3,)],
    "Out of sight (all clusters)": [(1,)],
}

EXPECTED: dict[str, dict[str, list[tuple[object, ...]]]] = {
    "overview": {
        "Running containers": [(9,)],
        "Verification rate": [(5 / 8,)],
        "Violating": [(2, 1)],
        "Could not be told": [(1,)],
        "No policy": [(1,)],
        "Distinct digests running": [(4,)],
        "Running containers by cluster and verdict": [
            (VALID, "c1", 4), (VALID, "c2", 1), (VIOLATES, "c1", 2), (UNGOVERNED, "c2", 1), (UNVERIFIABLE, "c1", 1),
        ],
        "Verification rate per team": [("payments", 6, 4, 2, 0, 4 / 6), ("shop", 3, 1, 0, 1, 1 / 2)],
        "Compliance trend per team": [
            ("payments", t("01:00"), 1.0), ("payments", t("13:00"), 1.0), ("shop", t("01:00"), 1.0),
        ],
        "Open findings": [(4,)],
        "Incidents behind them": [(4,)],
        "By severity": [("high", 2), ("critical", 1), ("medium", 1)],
        "Opened and closed": [
            (t("02:00"), 1, 0), (t("04:00"), 1, 0), (t("12:00"), 2, 0), (t("13:00"), 0, 1), (t("20:00"), 1, 0),
        ],
        "Namespaces with the most open findings": [("shop", 2, 2), ("pay", 1, 1)],
        "Images with the most open findings": [(A, 1, 1), (B, 1, 1), (C, 1, 1)],
        "Incidents with the most open findings": [
            ("i1", 1, t("02:00")), ("i2", 1, t("04:00")), ("i3", 1, t("12:00")), ("i4", 1, t("20:00")),
        ],
    },
    "posture": {
        "Running containers by verdict": [(VALID, 5), (VIOLATES, 2), (UNGOVERNED, 1), (UNVERIFIABLE, 1)],
        "Without an admission decision on record": [(2,)],
        "Under an exemption": [(1,)],
        "By digest": [
            (A, 5, API, VALID, 2, 2, t("01:00"), t("01:30")),
            (B, 2, FX, VIOLATES, 1, 1, t("02:00"), t("02:00")),
            (C, 1, WEB, UNVERIFIABLE, 1, 1, t("03:00"), t("03:00")),
            (D, 1, "q.example/tool", UNGOVERNED, 1, 1, t("04:00"), t("04:00")),
        ],
        "By workload": [
            ("pay", "api", 4, 0, 0, "payments"), ("pay", "fx", 2, 2, 0, "payments"),
            ("shop", "api", 1, 0, 0, "shop"), ("shop", "tool", 1, 0, 0, "shop"), ("shop", "web", 1, 0, 1, "shop"),
        ],
        "Why not valid": [(VIOLATES, "unsigned", 2), (UNVERIFIABLE, "registry-unavailable", 1)],
        "Which policies are violated": [("signed", 2)],
        "Where images come from": [
            (VALID, "r.example", 5), (VIOLATES, "r.example", 2), (UNGOVERNED, "q.example", 1),
            (UNVERIFIABLE, "r.example", 1),
        ],
        "Open findings by kind": [
            ("key-revoked", 1), ("unsigned", 1), ("unverifiable-too-long", 1), ("visibility-lost", 1),
        ],
        "What could not be verified, and since when": [(C, 1, t("04:00"), "registry-unavailable", "shop")],
    },
    "incidents": {
        "Nobody has it": [(2,)],
        "Somebody has it": [(1,)],
        "Oldest that is left": [(t("02:00"),)],
        "Containers in them": [(4,)],
        "Totals not final": [(1,)],
        "Worklist": [
            ("i3", 4, "critical", "INC-3", "key-revoked", "key dev", "open", None, "shop", t("12:00"), 1, 5),
            ("i1", 3, "high", "INC-1", "unsigned", f"signed {FX}", "open", None, "payments", t("02:00"), 2, 3),
            ("i2", 2, "medium", "INC-2", "unverifiable-too-long", "signed", "acknowledged", "alice", "shop",
             t("04:00"), 1, 1),
        ],
        "What is left, by kind": [
            ("critical", "key-revoked", 1), ("high", "unsigned", 1), ("medium", "unverifiable-too-long", 1),
        ],
        "Where": [("c1", "pay", 2, 1, 1, "payments"), ("c1", "shop", 1, 1, 1, "shop"), ("c2", "shop", 1, 1, 1, "shop")],
        "Digests": [
            (B, 2, 1, FX, "unsigned"), (A, 1, 1, API, "key-revoked"), (C, 1, 1, WEB, "unverifiable-too-long"),
        ],
    },
    "investigate": {
        "Runs now": [(9,)],
        "Ran, ended": [(1,)],
        "Clusters it ran in": [(2,)],
        "Open findings": [(4,)],
        "What is known of it": [
            (A, API, 1, True, "dev", None, "https://builder.example/1", "c0ffee", True, t("00:30"), t("00:40")),
            (B, FX, 1, False, None, None, None, None, True, None, t("00:40")),
            (C, WEB, 1, False, None, None, None, None, False, None, t("00:40")),
        ],
        "Workloads": [
            ("c1", "pay", "api", 4, 0, t("01:00"), None, VALID, "payments"),
            ("c1", "pay", "fx", 2, 1, t("02:00"), t("05:00"), VIOLATES, "payments"),
            ("c1", "shop", "web", 1, 0, t("03:00"), None, UNVERIFIABLE, "shop"),
            ("c2", "shop", "api", 1, 0, t("01:30"), None, VALID, "shop"),
            ("c2", "shop", "tool", 1, 0, t("04:00"), None, UNGOVERNED, "shop"),
        ],
        "Starts and ends": [
            ("container-started", t("01:00"), 5), ("container-started", t("02:00"), 3),
            ("container-started", t("03:00"), 1), ("container-started", t("04:00"), 1),
            ("container-terminated", t("05:00"), 1),
        ],
        "Verdicts that changed": [
            ("signed", VALID, 3, t("13:00"), None, "trust", "key dev revoked"),
            ("signed", VIOLATES, 2, t("12:00"), "unsigned", "trust", "key dev revoked"),
            ("signed", UNVERIFIABLE, 1, t("03:00"), "registry-unavailable", "new-class", None),
        ],
        "Findings": [
            ("key-revoked", "i3", 3, "closed", "replaced", t("13:00")), ("unsigned", "i1", 1, "open", None, t("02:00")),
            ("unverifiable-too-long", "i2", 1, "open", None, t("04:00")),
            ("visibility-lost", "i4", 1, "open", None, t("20:00")),
        ],
    },
    "admission": {
        "Decisions": [(10, 1)],
        "Denied": [(2,)],
        "Could not be decided": [],
        "Failed open": [(1,)],
        "Break-glass": [(1,)],
        "Decisions over time": [
            ("admitted", t("01:00"), 6), ("admitted", t("07:00"), 1), ("denied", t("06:00"), 3),
        ],
        "What decided": [("webhook", "verify", 9, 3, 0)],
        "Why requests were denied": [("no signature", 3, 1)],
        "Who asked": [("ci", 6, 0), ("bob", 3, 3), ("eve", 1, 0)],
        "Images that were denied": [("r.example/shop/x:1", 3)],
        "Who changed what admission is made of (all namespaces)": [("eve", "verify", 1, 0, 1)],
    },
    "trust": {
        "Revocations": [(1,)],
        "Newest entry": [(4,)],
        "Changes over time": [
            ("cluster-put", t("14:00"), 1), ("exemption-put", t("01:00"), 1), ("policy-removed", t("15:00"), 1),
            ("revocation-put", t("12:00"), 1),
        ],
        "What was revoked, and why": [("key:" + "1" * 64, 1, "dev", "keyCompromise", stored("11:00"), "ann")],
        "Exemptions and when they end": [("ex1", 1, stored("23:00"), "bea", "T-1", "signed")],
        "Versions of policies": [("old", 1, None, None, "ben")],
        "What each change touches": [("dev", 1, 1, 1, 1, 1, t("12:00"))],
        "Whose it is": [("critical", "shop", 1)],
        "Digests that are touched": [(A, 1, API, "dev", 1, "shop")],
        "Who signs what (every image revet has seen)": [("dev", 1, 1, t("00:40"))],
        "Certificates were made for (every image revet has seen)": [],
    },
    "health": {
        "Open findings about revet itself": [(1,)],
        "Which": [("visibility-lost", 1, 0)],
        "Since when": [("visibility-lost", "c2", 1, t("20:00"), "open")],
        "Clusters with a feed": [(2,)],
        "Over time": [("not-json", t("06:00"), 2), ("too-large", t("18:00"), 1)],
        "Open, by reason": [("not-json", 2, t("06:05"), "audit:1"), ("too-large", 1, t("18:00"), "audit:2")],
        "Images where not every place answered": [(1,)],
        "Why": [("registry-unavailable", 1)],
        "Registries, and when they were last asked": [("r.example", 3, 1, t("00:40"))],
    },
}  # fmt: skip
"""Page -> title -> rows: keys, then values."""

SERIES: dict[str, dict[str, dict[object, list[object]]]] = {
    "overview": {
        "Findings opened minus closed, per team": {"payments": [0.0, 1.0, 2.0, 1.0], "shop": [0.0, 1.0, 2.0]},
    },
    "incidents": {
        "Members, falling or rising": {
            "i3": [0.0, 2.0, 1.0], "i1": [0.0, 1.0], "i2": [0.0, 1.0], "i4": [0.0, 1.0],
        },
    },
}  # fmt: skip
"""Page -> title -> series -> the values it passes through."""

DOCUMENTS: dict[str, dict[str, int]] = {
    "posture": {"Running and not valid": 4},
    "incidents": {"Members": 4, "What happened to them, and who did it": 4},
    "investigate": {"Everything that happened to it": 45},
    "admission": {"Let in without a judgement, or in spite of one": 1},
    "trust": {"Entries": 4},
    "health": {"Stretches of sight, newest first": 4},
}
"""Page -> title -> how many documents are listed."""


@pytest.mark.parametrize("slug", PAGES)
def test_every_panel_has_an_expectation(slug):
    made = Kept.__new__(Kept)
    made.bodies = {page.slug: rendered(page, Names()) for page in pages(Names())}
    expected = {*EXPECTED[slug], *EVERYWHERE, *SERIES.get(slug, ()), *DOCUMENTS.get(slug, ())}
    assert set(made.panels(slug)) == expected


TABLES = [(slug, title) for slug in PAGES for title in (*EXPECTED[slug], *EVERYWHERE)]


@pytest.mark.parametrize(("slug", "title"), TABLES, ids=lambda value: value)
def test_a_panel_answers(kept, slug, title):
    found = told(kept.look(slug, title)[0])
    assert found == (EXPECTED[slug] | EVERYWHERE)[title]


@pytest.mark.parametrize(
    ("slug", "title"), [(s, one) for s, of in SERIES.items() for one in of], ids=lambda value: value
)
def test_a_line_goes_up_and_down(kept, slug, title):
    assert series(kept.look(slug, title)[0]) == SERIES[slug][title]


@pytest.mark.parametrize(
    ("slug", "title"), [(s, one) for s, of in DOCUMENTS.items() for one in of], ids=lambda value: value
)
def test_a_list_of_documents(kept, slug, title):
    (rows,) = kept.look(slug, title)
    assert len(rows) == DOCUMENTS[slug][title]
    assert all(any(value is not None for value in row.values) for row in rows)


def test_shares_that_fell_to_nothing_are_zero_and_not_missing(kept):
    """In the hour of the revocation nothing became valid; in hours without a verdict there is no share."""
    rows = {row.keys: row.values[0] for row in kept.look("overview", "Compliance trend per team")[0]}
    assert rows["payments", t("12:00")] == 0.0
    assert rows["payments", t("02:00")] == 0.0
    assert rows["payments", t("05:00")] is None


def test_the_revocation_is_marked(kept):
    marks = kept.look("overview", "Compliance trend per team")[1:]
    assert [[(row.keys[0], row.values[0]) for row in rows] for rows in marks] == [[(stored("12:00"), "Revoked")], []]


@pytest.mark.parametrize(
    ("where", "running", "rate"),
    [
        ("cluster:c2", 2, 1.0),
        ("environment:prod", 7, 4 / 7),
        ("environment:test", 2, 1.0),
        ("team:payments", 6, 4 / 6),
        ("namespace:shop", 3, 1 / 2),
        ("team:payments and cluster:c2", 0, None),
    ],
)
def test_filters_of_the_page_reach_its_panels(kept, where, running, rate):
    assert kept.look("overview", "Running containers", where)[0][0].values == (running,)
    assert kept.look("overview", "Verification rate", where)[0][0].values == (rate,)


def test_filters_do_not_reach_freshness(kept):
    rows = kept.look("overview", "How fresh is this? (all clusters)", "team:payments")[0]
    assert told(rows) == EVERYWHERE["How fresh is this? (all clusters)"]


def test_a_digest_is_investigated(kept):
    """What a click on a digest carries, and what then is on the page."""
    where = f'digest:"{A}"'
    assert kept.look("investigate", "Runs now", where)[0][0].values == (5,)
    assert kept.look("investigate", "Open findings", where)[0][0].values == (1,)
    assert [row.keys for row in kept.look("investigate", "What is known of it", where)[0]] == [(A, API)]
    listed = kept.look("investigate", "Everything that happened to it", where)[0]
    assert {row.values[0] for row in listed} == {"revet.lifecycle", "revet.verification", "revet.finding"}
    assert len(listed) == 5 + 4 + 3


def test_an_incident_is_opened(kept):
    where = "incident:i3"
    assert [row.keys for row in kept.look("incidents", "Worklist", where)[0]] == [("i3",)]
    assert kept.look("incidents", "Members", where)[0][0].values[0] == "i3"


def test_an_empty_record_is_empty_pages_and_no_errors(elastic_server):
    space = Space.fresh(elastic_server.url)
    space.set_up()
    empty = Kept(space)
    for slug in PAGES:
        for title, panel in empty.panels(slug).items():
            for question in asked(panel, WINDOW):
                answer = space.server.call(
                    "POST", url_path(question.target, "_search"), body=question.body, accept=(404,)
                )
                assert answer.status in (200, 404), title  # a data stream is made with its first document
    space.close()


# ----------------------------------------------------------------------------------------------------------- questions

FOUND = {
    "signed-by": 3, "built-from": 1, "shares": 1, "runs-now": 9, "ran-between": 10, "admitted": 10, "created-by": 10,
    "unadmitted": 2, "let-in": 1, "believed": 6, "changed": 1, "tag-moved": 0, "unverified": 1, "told": 4, "blind": 4,
}  # fmt: skip
"""Name of a question -> documents of the day that its saved search finds."""


@pytest.mark.parametrize("search", SEARCHES, ids=lambda search: search.name)
def test_a_saved_search_finds(kept, search):
    query = compiled(parse(search.query)).query
    found = kept.search(kept.space.names.target(search.home), {"size": 0, "query": query, "track_total_hits": True})
    assert found["hits"]["total"]["value"] == FOUND[search.name]


# ------------------------------------------------------------------------------------------------------------ pictures

IMAGES = Path(__file__).parents[2] / "docs" / "img"
DRAWN = IMAGES / "kibana.json"
"""Page -> hash of what its picture was drawn from. Pictures of two Chromiums differ, what is drawn does not."""


def test_the_pictures_of_the_documentation_are_of_these_pages(kept):
    """REVET_REGENERATE=1 draws them again, where Chromium is. Then somebody has to look at them."""
    found: dict[str, str] = {}
    for slug, body in kept.bodies.items():
        panels = kept.panels(slug)
        html = preview(body, {one["id"]: kept.look(slug, title) for title, one in panels.items()})
        found[slug] = hashlib.sha256(html.encode()).hexdigest()
        chromium = shutil.which("chromium")
        if os.environ.get("REVET_REGENERATE") == "1" and chromium:
            IMAGES.mkdir(exist_ok=True)
            photograph(Path(chromium), html, IMAGES / f"kibana-{slug}.png", height_of(body))
            DRAWN.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n")
    assert json.loads(DRAWN.read_text()) == found, "stale pictures: run this test with REVET_REGENERATE=1, and look"
    assert all((IMAGES / f"kibana-{slug}.png").stat().st_size > 10_000 for slug in found)
