"""The saved searches of Kibana and `revet ask`: two ways to one answer, on every record, over the day of the questions.

Kibana cannot join, so a search shows documents where an answer shows rows. What is compared is what both name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

import msgspec
import pytest

from dashboards.questions import SEARCHES
from streams.queries.conditions import Condition, at_time, both, full_name, is_, one_of
from streams.queries.kql import parse
from streams.queries.port import Hit, every
from streams.queries.questions import Asked, ask
from streams.queries.reading import texts_of
from streams.queries.results import as_json
from streams.queries.subjects import resolve
from streams.sinks.fields import HOMES
from tests.helpers.questionday import API, ONE, TWO, at, played
from tests.helpers.recorded import RecordedWorld
from tests.helpers.stores import STORES, opened

Row = dict[str, Any]


@pytest.fixture(scope="module", params=STORES)
def world(request) -> RecordedWorld:
    return played(opened(request))


class Compared(NamedTuple):
    """How a search is narrowed as its question is asked, and what both tell of it."""

    narrowed: Condition
    of_hits: Callable[[list[Hit]], set[Any]]
    of_rows: Callable[[list[Row]], set[Any]]
    subject: str = ""
    asked: Asked = Asked()


def named(*names: str) -> Callable[[list[Hit]], set[Any]]:
    """The combinations of values that documents have."""

    def found(hits: list[Hit]) -> set[Any]:
        return {values for hit in hits for values in _combined([texts_of(hit.body, name) for name in names])}

    return found


def _combined(of: list[tuple[str, ...]]) -> Iterable[tuple[str, ...]]:
    if not of:
        return [()]
    return [(first, *rest) for first in of[0] for rest in _combined(of[1:])]


def columns(*names: str) -> Callable[[list[Row]], set[Any]]:
    return lambda rows: {tuple(row[name] for name in names) for row in rows}


def ids(hits: list[Hit]) -> set[Any]:
    return {(hit.id,) for hit in hits}


def newest(hits: list[Hit]) -> set[Any]:
    """Of each class and policy the last document."""
    return set({named("class", "policy")([hit]).pop(): (hit.id,) for hit in hits}.values())


IMAGES: Final = one_of("digest", (ONE, TWO))
COMPARED: Final = {
    "signed-by": Compared(IMAGES, named("digest", "signer"), columns("digest", "signed_by"), API),
    "built-from": Compared(IMAGES, named("digest", "builder", "commit"), columns("digest", "builder", "commit"), API),
    "shares": Compared(
        is_("key", "build"), lambda hits: named("digest")(hits) - {(ONE,), (TWO,)}, columns("digest"), API
    ),
    "runs-now": Compared(
        is_("namespace", "shop"), named("workload_id", "digest"),
        lambda rows: {(row["workload"], row["digest"]) for row in rows if row["namespace"] == "shop"},
    ),
    "ran-between": Compared(
        both(at_time("started", "<=", at(14)), parse('ended >= "2026-01-01T00:00:00Z" or not ended:*')),
        named("pod"), columns("pod"), asked=Asked(start=at(5), end=at(14)),
    ),
    "admitted": Compared(is_("asked", API), ids, columns("id"), API),
    "created-by": Compared(is_("pod", "api-1"), ids, columns("id"), "shop/api-1"),
    "unadmitted": Compared(is_("namespace", "shop"), named("instance"), columns("instance")),
    "let-in": Compared(
        is_("namespace", "shop"), ids, lambda rows: {(row["id"],) for row in rows if row["how"] == "break-glass"}
    ),
    "believed": Compared(
        both(IMAGES, at_time("@timestamp", "<=", at(20))), newest, columns("id"), API, Asked(at=at(20))
    ),
    "changed": Compared(
        one_of("digest", [ONE]), ids, lambda rows: {(row["id"],) for row in rows if row["what"] == "first fail"},
        "shop/api-1",
    ),
    "told": Compared(
        one_of("digest", []), ids, lambda rows: {(row["id"],) for row in rows if row["what"] != "exempted"}, API
    ),
    "blind": Compared(is_("cluster", "prod-eu"), named("cluster", "feed"), columns("cluster", "feed")),
}  # fmt: skip
"""Name of a search -> how it is compared. `tag-moved` and `unverified` are not: there a search looks at findings, which
come after a deadline or are not raised at all, and says so (`blind`)."""


def test_every_search_is_compared_or_says_why_it_cannot_be():
    assert {search.name for search in SEARCHES} - COMPARED.keys() == {"tag-moved", "unverified"}


@pytest.mark.parametrize("search", [s for s in SEARCHES if s.name in COMPARED], ids=lambda search: search.name)
def test_a_search_finds_what_is_answered(world, search):
    compared = COMPARED[search.name]
    narrowed = _incidents(world) if search.name == "told" else compared.narrowed
    where = both(parse(search.query) if search.query else both(), narrowed)
    hits = list(every(world.reader, HOMES[search.home], where))
    subject = resolve(world.reader, compared.subject) if compared.subject else None
    asked = msgspec.structs.replace(compared.asked, subject=subject, now=world.now)
    answer: dict[str, Any] = as_json(ask(world.reader, search.asks, asked))
    found = compared.of_hits(hits)
    assert found == compared.of_rows(answer["rows"])
    assert found, "two empty answers show nothing"


def _incidents(world: RecordedWorld) -> Condition:
    """Those of the image: in Kibana a drill-down by finding."""
    groups = world.reader.groups(HOMES["findings"], IMAGES, (full_name("incident"),))
    return one_of("incident", [group.values[0] for group in groups])


@pytest.mark.parametrize("search", SEARCHES, ids=lambda search: search.name)
def test_number_and_wording_are_those_of_the_question(search):
    assert search.asks.number == search.number
    assert search.heading == f"revet {search.number:02d} · {search.asks.text}"
