"""Queries of Elasticsearch: what is asked, where, and when the answer has to be looked through."""

import pytest

from streams.queries.conditions import (
    NOTHING,
    AllOf,
    AnyOf,
    Compare,
    Condition,
    Everything,
    Exists,
    Is,
    Like,
    Not,
    OneOf,
    Says,
    both,
    exists,
    is_,
)
from streams.queries.dsl import ALL, DEEPEST, LONGEST, NONE, Compiled, asked, compiled
from streams.queries.kql import MAX_DEPTH, MAX_TERMS, parse
from streams.sinks.document import LAST_TIME, instant
from streams.sinks.fields import FIELDS, SEARCHABLE
from verifier.errors import InputError

NS = "orchestrator.namespace"
TIME = "@timestamp"


@pytest.mark.parametrize(
    ("condition", "query"),
    [
        (Everything(), {"match_all": {}}),
        (NOTHING, {"match_none": {}}),
        (Is(NS, "shop"), {"term": {NS: "shop"}}),
        (OneOf(NS, ("a", "b")), {"terms": {NS: ["a", "b"]}}),
        (OneOf(NS, ()), {"match_none": {}}),
        (Is("message", "x"), {"term": {"message.raw": "x"}}),
        (Says("message", "a*b"), {"wildcard": {"message.raw": {"value": "*a\\*b*", "case_insensitive": True}}}),
        (Like(NS, ("pay", "")), {"prefix": {NS: {"value": "pay"}}}),
        (Like(NS, ("a?", "\\", "")), {"wildcard": {NS: {"value": "a\\?*\\\\*"}}}),
        (Like(NS, ("", "")), {"exists": {"field": NS}}),
        (Like(NS, ("a*",)), {"term": {NS: "a*"}}),
        (Compare(NS, ">=", "m"), {"range": {NS: {"gte": "m"}}}),
        (Compare("provenance.run.started", "<", instant(0)),
         {"range": {"provenance.run.started.raw": {"lt": "1970-01-01T00:00:00.000000Z"}}}),
        (Compare(TIME, "<", instant(1)), {"range": {TIME: {"lt": "1970-01-01T00:00:00.000001000Z"}}}),
        (Compare(TIME, "<", instant(LAST_TIME + 1)), {"exists": {"field": TIME}}),
        (Compare(TIME, ">", instant(LAST_TIME + 1)), {"match_none": {}}),
        (Compare(TIME, ">=", instant(-1)), {"exists": {"field": TIME}}),
        (Is(TIME, instant(-1)), {"match_none": {}}),
        (Is("source.ip", "10.0.0.1"), {"term": {"source.ip": "10.0.0.1"}}),
        (Is("source.ip", "10.0.0.1/8"), {"match_none": {}}),
        (Is("source.ip", "2001:DB8::1"), {"match_none": {}}),
        (Is("event.sequence", 5), {"term": {"event.sequence": 5}}),
        (Is("event.sequence", "5"), {"match_none": {}}),
        (Is(NS, "\0"), {"match_none": {}}),
        (Is(NS, "\ud800"), {"match_none": {}}),
        (Exists("kubernetes.labels.a.b/c"), {"exists": {"field": "kubernetes.labels.a.b/c"}}),
        (Not(Not(Is(NS, "a"))), {"term": {NS: "a"}}),
        (Not(Is(NS, "a")), {"bool": {"must_not": [{"term": {NS: "a"}}]}}),
        (Not(AllOf((Is(NS, "a"), Not(Is(NS, "b"))))),
         {"bool": {"should": [{"bool": {"must_not": [{"term": {NS: "a"}}]}}, {"term": {NS: "b"}}],
                   "minimum_should_match": 1}}),
        (both(is_("namespace", "a"), exists("pod")),
         {"bool": {"filter": [{"term": {NS: "a"}}, {"exists": {"field": "kubernetes.pod.name"}}]}}),
    ],
)  # fmt: skip
def test_what_is_asked(condition, query):
    assert compiled(condition) == Compiled(query, exact=True)


@pytest.mark.parametrize(
    "condition",
    [
        Like("kubernetes.labels.env", ("", "prod")),
        Says("kubernetes.labels.env", "prod"),
        Says("message", "x" * (LONGEST + 1)),
        Like(NS, ("x" * LONGEST, "y", "")),
        Like(TIME, ("2026", "")),
        Compare("source.ip", "<", "10.0.0.1"),
        Compare("event.sequence", "<", "x"),
    ],
)
def test_what_cannot_be_said_is_found_too_widely_and_never_denied(condition):
    """The opposite of "too much" would be too little: everything is looked through then."""
    found = compiled(condition)
    assert not found.exact
    assert found.query != ALL.query
    assert compiled(Not(condition)) == ALL._replace(exact=False)
    assert compiled(AllOf((Is(NS, "a"), Not(condition)))) == Compiled({"term": {NS: "a"}}, exact=False)
    assert compiled(AnyOf((Is(NS, "a"), Not(condition)))) == ALL._replace(exact=False)
    assert compiled(AnyOf((Everything(), condition))) == ALL
    assert compiled(AllOf((NOTHING, condition))) == NONE


def depth(query: object) -> int:
    """Levels of queries inside each other, as Elasticsearch counts them."""
    if isinstance(query, list):
        return max(map(depth, query), default=0)
    if isinstance(query, dict):
        return max((depth(v) + (k == "bool") for k, v in query.items()), default=0)
    return 0


def test_what_people_may_write_stays_within_the_limits_of_the_server():
    """30 levels, and clauses by the thousand."""
    deep = "namespace:a"
    for level in range(MAX_DEPTH):
        deep = f"({deep} {'and' if level % 2 else 'or'} pod:b)"
    for query in (deep, f"not {deep[1:-1]}", "not " * MAX_DEPTH + "pod:b"):
        assert depth(compiled(parse(query)).query) <= DEEPEST + 2 < 28
    many = compiled(parse(" or ".join(f"pod:p{n}" for n in range(MAX_TERMS))))
    assert many.exact
    assert depth(many.query) == 1


def test_every_field_that_can_be_searched_has_a_place():
    """A new type in the table needs a decision here."""
    for row in FIELDS.values():
        if row.type == "flattened":
            assert asked(f"{row.name}.x").kind == "member"
        elif row.type in SEARCHABLE:
            place = asked(row.name)
            assert place.name == row.name + (".raw" if row.type in ("text", "date") and row.name != TIME else "")
            every: tuple[Condition, ...] = (Exists(row.name), Not(Exists(row.name)))
            assert all(compiled(condition).exact for condition in every)


@pytest.mark.parametrize("field", ["nobody", "kubernetes.labels."])
def test_a_field_nobody_has_is_an_error(field):
    with pytest.raises(InputError):
        compiled(Is(field, "x"))
