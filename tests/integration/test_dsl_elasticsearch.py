"""Conditions mean the same everywhere: what Elasticsearch and SQLite find is what `conditions.matches` says."""

from __future__ import annotations

import sqlite3
import uuid

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from streams.queries.conditions import (
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
    is_,
    matches,
)
from streams.queries.dsl import DEEPEST, LONGEST, compiled
from streams.queries.elasticsearch import ElasticsearchReader
from streams.queries.port import every
from streams.queries.sqlite import SqliteReader
from streams.sinks.document import LAST_TIME, Body, Document, document, instant, prepared
from streams.sinks.sqlite import SqliteRecord
from tests.helpers.elastic import Space, elastic_record, use

pytestmark = [pytest.mark.needs("elasticsearch"), pytest.mark.slow]

HOME = "revet-state-containers"
ROUND = "provenance.admission.id"
"""A keyword that tells the documents of one round from those of all others."""


@pytest.fixture(scope="module")
def record(elastic_server) -> tuple[Space, ElasticsearchReader]:
    use(elastic_server.url)
    sink, reader = elastic_record()
    assert isinstance(sink, Space)
    assert isinstance(reader, ElasticsearchReader)
    return sink, reader


# ------------------------------------------------------------------------------------------------ documents at random

ALPHABET = 'abAB*?\\.:/ "é\nÄäſ\u212aİ[]zZ\ue000\U0001f600\U0010ffff'
"""Letters of two cases, or whose other case is ASCII (ſ, the Kelvin sign); what patterns and stores trip over."""

words = st.text(ALPHABET, max_size=6) | st.sampled_from(["pay", "PAY", "pay-1", "x*y", "x\\*y", "a" * 90])
times = st.sampled_from([0, 1, 999, 1000, 1001, 1_763_000_000_000_001, 1_763_000_000_000_002, LAST_TIME])
wide_times = times | st.sampled_from([-62_135_596_800_000_000, -1, LAST_TIME + 1, 253_402_300_799_999_999])
numbers = st.sampled_from([-5, 0, 1, 7, 2**53 + 1, 2**62])
addresses = st.sampled_from(["10.0.0.1", "10.0.0.2", "2001:db8::1", "fe80::1"])
maps = st.dictionaries(st.sampled_from(["env", "a.b/c", "app"]), words, max_size=3)

FIELDS_OF = {
    HOME: {
        "orchestrator.namespace": words,
        "provenance.policy.id": st.lists(words, max_size=3),
        "message": words,
        "kubernetes.labels": maps,
        "provenance.cluster.labels": maps,
        "provenance.workload.static": st.booleans(),
        "event.sequence": numbers,
        "provenance.run.started": wide_times.map(instant),
        "provenance.run.ended": wide_times.map(instant),
    },
    "revet.admission": {
        "orchestrator.namespace": words,
        "user.roles": st.lists(words, max_size=3),
        "message": words,
        "provenance.cluster.labels": maps,
        "provenance.admission.dry_run": st.booleans(),
        "http.response.status_code": numbers,
        "source.ip": addresses,
        "related.ip": st.lists(addresses, max_size=3),
    },
}
INNER = {"kubernetes.labels": ("env", "a.b/c", "nobody"), "provenance.cluster.labels": ("env", "app")}


def bodies(home: str) -> st.SearchStrategy[Body]:
    return st.fixed_dictionaries({}, optional=FIELDS_OF[home]).map(prepared)


@st.composite
def rounds(draw: st.DrawFn, home: str) -> tuple[list[tuple[int, Body]], list[Condition]]:
    """Some documents (time, body) and some conditions."""
    found = draw(st.lists(st.tuples(times, bodies(home)), min_size=1, max_size=8))
    return found, draw(st.lists(conditions(home), min_size=1, max_size=12))


# ------------------------------------------------------------------------------------------------ conditions at random


@st.composite
def leaves(draw: st.DrawFn, home: str) -> Condition:
    name = draw(st.sampled_from([*FIELDS_OF[home], "@timestamp", "event.id"]))
    own: dict[str, st.SearchStrategy] = {"@timestamp": times.map(instant), "event.id": words}
    values = own[name] if name in own else FIELDS_OF[home][name]
    if name in INNER:
        name, values = f"{name}.{draw(st.sampled_from(INNER[name]))}", words
    value = draw(values)
    if isinstance(value, list):
        value = value[0] if value else ""
    kinds = [Is, Exists, OneOf, Compare]
    if isinstance(value, str) and name != "@timestamp":
        kinds += [Like, Says, Like, Says]
    kind = draw(st.sampled_from(kinds))
    if kind is Exists:
        return Exists(name)
    if kind is OneOf:
        more = draw(values)
        return OneOf(name, tuple(more) if isinstance(more, list) else (value, more))
    if kind is Compare:
        return Compare(name, draw(st.sampled_from(["<", "<=", ">", ">="])), value)
    if kind is Says:
        return Says(name, value[draw(st.integers(0, 2)) :])
    if kind is Like:
        cut = draw(st.integers(0, len(value)))
        shapes = [(value,), ("", value), (value, ""), (value[:cut], "", value[cut:]), ("", value, "")]
        return Like(name, draw(st.sampled_from(shapes)))
    return Is(name, value)


def conditions(home: str) -> st.SearchStrategy[Condition]:
    def wider(inner: st.SearchStrategy[Condition]) -> st.SearchStrategy[Condition]:
        many = st.lists(inner, max_size=3).map(tuple)
        return inner.map(Not) | many.map(AllOf) | many.map(AnyOf)

    return st.recursive(leaves(home) | st.just(Everything()), wider, max_leaves=6)


def nested(depth: int, leaf: Condition) -> Condition:
    for level in range(depth):
        leaf = AllOf((leaf, Exists("message"))) if level % 2 else AnyOf((leaf, Is("event.id", "nothing")))
    return leaf


@pytest.mark.parametrize("home", sorted(FIELDS_OF))
def test_both_stores_find_what_the_condition_says(record, home):
    """Every kind of field and of condition; the wildcards, the cases, the orders and the times."""
    sink, reader = record
    connection = sqlite3.connect(":memory:", isolation_level=None)
    small_sink, small = SqliteRecord(connection), SqliteReader(connection)

    @settings(max_examples=60, suppress_health_check=list(HealthCheck))
    @given(rounds(home))
    @example(([(0, prepared({"message": "a" * 90 + "b"}))], [Says("message", "A" * 90 + c) for c in "bc"]))
    @example(([(0, prepared({"message": "x"}))], [Not(nested(DEEPEST + 3, Says("message", "X")))]))
    def run(drawn: tuple[list[tuple[int, Body]], list[Condition]]) -> None:
        found, asked = drawn
        mark = uuid.uuid4().hex
        made = [written(home, mark, n, time, body) for n, (time, body) in enumerate(found)]
        sink.write(made)
        small_sink.write(made)
        for condition in asked:
            expected = {d.id for d in made if matches(condition, d.body)}
            where = both(is_(ROUND, mark), condition)
            assert {hit.id for hit in every(reader, home, where)} == expected, condition
            assert {hit.id for hit in every(small, home, where)} == expected, condition

    run()


def written(home: str, mark: str, number: int, time: int, body: Body) -> Document:
    short = {HOME: "containers"}.get(home, "admission")
    return document(short, f"{mark}-{number}", time, body, {ROUND: mark}, version=1 if home == HOME else None)


def test_what_is_asked_too_widely_is_looked_through(record):
    """Wildcards inside maps, long words, deep trees: said to be inexact, found exactly, counted and paged exactly."""
    sink, reader = record
    mark = uuid.uuid4().hex
    values = ["prod", "staging", "preprod", "x", "prod-2"] * 3
    labelled = [
        prepared({"kubernetes.labels": {"env": v, "app": "prod"}, "orchestrator.namespace": "x"}) for v in values
    ]
    made = [written(HOME, mark, n, n, body) for n, body in enumerate(labelled)]
    sink.write(made)
    condition = Like("kubernetes.labels.env", ("", "prod", ""))
    assert not compiled(condition).exact
    where = both(is_(ROUND, mark), condition)
    pages, after = [], ""
    while True:
        page = reader.find(HOME, where, limit=4, after=after)
        pages.append([hit.time for hit in page.hits])
        after = page.after
        if not after:
            break
    assert [len(page) for page in pages] == [4, 4, 1]
    assert [time for page in pages for time in page] == [n for n in range(15) if n % 5 in (0, 2, 4)]
    assert [(g.values, g.count) for g in reader.groups(HOME, where, ("orchestrator.namespace",))] == [(("x",), 9)]
    long = Says("message", "x" * (LONGEST + 1))
    assert [compiled(c).exact for c in (long, Not(long), AnyOf((Everything(), long)))] == [False, False, True]
