"""Briefs say what the documents say: while they are written, when they are made anew, and when they are asked."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing

import orjson
import pytest

import streams.sinks.sqlite as record_tables
from streams.queries.asof import running_at
from streams.queries.conditions import Condition, Not, at_time, both, either, exists, full_name, is_, one_of
from streams.queries.kql import parse
from streams.queries.memory import MemoryRecord
from streams.queries.port import Hit, every
from streams.queries.sqlite import WALKED, SqliteReader
from streams.sinks.briefs import BRIEFS
from streams.sinks.document import Document, document, prepared
from streams.sinks.fields import FIELDS, HOMES
from streams.sinks.sqlite import Briefs, SqliteRecord, has_brief
from tests.helpers.questionday import at, played
from tests.helpers.state_dump import briefs
from verifier.errors import PlaceUnavailable


@pytest.fixture(scope="module")
def day() -> list[Document]:
    return played("memory").written


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as made:
        yield made


def from_documents(documents: Iterable[Document]) -> dict[str, list[str]]:
    memory = MemoryRecord()
    memory.write(documents)
    return {b.table: sorted(repr(_brief(hit)) for hit in every(memory, home, both())) for home, b in BRIEFS.items()}


def _brief(hit: Hit) -> tuple[object, ...]:
    brief = BRIEFS[hit.home]
    values = (hit.body.get(name) for name in (*brief.words, *brief.dates))
    return (hit.id, hit.time, *values, *(1 if name in hit.body else None for name in brief.flags))


def strip(connection: sqlite3.Connection) -> None:
    """The file as a version without briefs would have written it."""
    for kind in ("trigger", "table"):
        asked = "SELECT name FROM sqlite_master WHERE type = ? AND (name GLOB 'record_brief*' OR name = 'record_words')"
        for (name,) in connection.execute(asked, (kind,)).fetchall():
            connection.execute(f"DROP {kind} {name}")


def test_a_word_has_one_value_at_most(day):
    for one in day:
        brief = BRIEFS.get(one.home)
        for name in () if brief is None else (*brief.words, *brief.dates):
            assert isinstance(one.body.get(name, ""), str), (one.home, name)


def test_fields_of_a_brief_are_of_its_home():
    short = {home: name for name, home in HOMES.items()}
    for home, brief in BRIEFS.items():
        assert len(set(brief.columns)) == len(brief.columns)
        for name in (*brief.words, *brief.dates, *brief.flags):
            assert short[home] in FIELDS[name].homes, name
        assert all(FIELDS[name].type == "date" for name in brief.dates)


def test_triggers_keep_them(connection, day):
    SqliteRecord(connection).write(day)
    assert briefs(connection) == from_documents(day)


def test_one_by_one_and_twice_is_the_same(connection, day):
    record = SqliteRecord(connection)
    for one in [*day, *day]:
        record.write([one])
    assert briefs(connection) == from_documents(day)


def test_a_file_of_before_gets_them(connection, day):
    record = SqliteRecord(connection)
    strip(connection)
    record.write(day)
    SqliteRecord(connection)
    assert briefs(connection) == from_documents(day)
    record.write([container(1, at(70), state="terminated")])
    assert briefs(connection) == from_documents([*day, container(1, at(70), state="terminated")])


def test_a_file_of_before_is_answered_from_its_documents(connection, day):
    record = SqliteRecord(connection)
    strip(connection)
    record.write(day)
    reader = SqliteReader(connection)
    before = [reader.groups(HOMES["containers"], where, BY) for where in WHERES]
    SqliteRecord(connection)
    assert before == [reader.groups(HOMES["containers"], where, BY) for where in WHERES]


def test_another_shape_is_made_anew(connection, day):
    """A later version has other columns: what is there is not read as if it had them."""
    brief = BRIEFS[HOMES["containers"]]
    SqliteRecord(connection).write(day)
    connection.execute(f"ALTER TABLE {brief.table} ADD COLUMN later INTEGER")
    assert not has_brief(connection, brief)
    SqliteRecord(connection)
    assert has_brief(connection, brief)
    assert briefs(connection) == from_documents(day)


@pytest.mark.parametrize("inside", [False, True], ids=["alone", "in a transaction"])
def test_what_ends_in_the_middle_leaves_nothing(connection, day, monkeypatch, inside):
    SqliteRecord(connection).write(day)
    strip(connection)
    monkeypatch.setattr(record_tables, "filling", lambda brief: ("SELECT * FROM nowhere",))
    if inside:
        connection.execute("BEGIN IMMEDIATE")
    with pytest.raises(PlaceUnavailable, match="no such table: nowhere"):
        SqliteRecord(connection)
    assert connection.in_transaction is inside
    assert not has_brief(connection, BRIEFS[HOMES["containers"]])
    if inside:
        connection.execute("ROLLBACK")
    monkeypatch.undo()
    SqliteRecord(connection)
    assert briefs(connection) == from_documents(day)


def test_a_document_that_goes_takes_its_brief_along(connection, day):
    SqliteRecord(connection).write(day)
    connection.execute("DELETE FROM record")
    for brief in BRIEFS.values():
        assert connection.execute(f"SELECT count(*) FROM {brief.table}").fetchone() == (0,)


def test_a_body_that_is_no_json_stops_no_writer(connection, day):
    SqliteRecord(connection).write(day)
    connection.execute("UPDATE record SET body = '{' WHERE home = ?", (HOMES["containers"],))
    assert list(Briefs(connection).alone()) == []


# ------------------------------------------------------------------------------------------------ asked

BY = tuple(map(full_name, ("cluster", "namespace", "workload_id", "digest", "verdict", "node")))
WHERES: list[Condition] = [
    both(),
    running_at(None),
    running_at(at(12)),
    running_at(at(45)),
    both(running_at(None), Not(exists("decision"))),
    either(is_("verdict", "unverifiable"), exists("unverifiable")),
    one_of("namespace", ["shop", "nowhere"]),
    one_of("namespace", []),
    Not(is_("namespace", "shop")),
    Not(is_("cluster_name", "nobody")),
    parse("namespace:s* and not verdict:v*"),
    parse("namespace < shop or namespace >= shop"),
    parse("workload_id:*DEPLOYMENT*"),
    both(is_("state", "running"), at_time("@timestamp", ">", at(30))),
    parse('ended:"2026-11-18T11:51:40.000000Z" or not ended:*'),
    parse("labels.app:x or namespace:shop"),
]


@pytest.mark.parametrize("where", WHERES, ids=str)
def test_what_is_asked_of_a_brief_is_what_the_documents_say(connection, day, where):
    SqliteRecord(connection).write(day)
    memory, reader = MemoryRecord(), SqliteReader(connection)
    memory.write(day)
    home = HOMES["containers"]
    assert reader.groups(home, where, BY) == memory.groups(home, where, BY)
    for newest_first in (False, True):
        found = reader.find(home, where, newest_first=newest_first)
        assert found.hits == memory.find(home, where, newest_first=newest_first).hits


def container(number: int, time: int, state: str = "running") -> Document:
    values = {"provenance.state": state, "provenance.class.id": "c", "orchestrator.namespace": "shop"}
    return document("containers", f"i{number:04}", time, prepared({**values, "kubernetes.node.name": "n"}), version=1)


@pytest.mark.parametrize("limit", [1, 7, 50, 500, WALKED])
@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("times", [1, 3, 240], ids=["one instant", "three instants", "many"])
def test_pages_are_whole_whatever_happened_at_one_instant(connection, limit, newest_first, times):
    made = [container(number, number * 31 % times, "running" if number % 4 else "waiting") for number in range(240)]
    SqliteRecord(connection).write(made)
    reader, where, found, after = SqliteReader(connection), is_("state", "running"), list[Hit](), ""
    while True:
        page = reader.find(HOMES["containers"], where, newest_first=newest_first, limit=limit, after=after)
        assert len(page.hits) == limit or not page.after
        found += page.hits
        if not (after := page.after):
            break
    wanted = sorted(((d.time, d.id) for d in made if d.body["provenance.state"] == "running"), reverse=newest_first)
    assert [(hit.time, hit.id) for hit in found] == wanted


def test_counting_reads_no_document(connection, day):
    """What the briefs are for: neither a count nor a page looks through the record."""
    SqliteRecord(connection).write(day)
    reader, asked = SqliteReader(connection), list[str]()
    connection.set_trace_callback(asked.append)
    reader.groups(HOMES["containers"], running_at(at(12)), BY)
    reader.find(HOMES["containers"], both(running_at(None), Not(exists("decision"))), newest_first=True)
    connection.set_trace_callback(None)
    for statement in asked:
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}")]
        assert not [step for step in plan if step.startswith("SCAN record ") or step == "SCAN record"], statement


def test_texts_of_all_kinds_are_words(connection):
    """Names come from clusters: nothing in them is read as SQL or JSON."""
    names = ["o'neill", 'say "x"', "%_*?[", "a\\b", "ünï", "x" * 5000, "--", "{}", "null"]
    values = {"provenance.class.id": "c"}
    SqliteRecord(connection).write(
        document("containers", f"i{n}", n, prepared({**values, "kubernetes.node.name": name}), version=1)
        for n, name in enumerate(names)
    )
    groups = SqliteReader(connection).groups(HOMES["containers"], both(), ("kubernetes.node.name",))
    written = [orjson.loads(b)["kubernetes.node.name"] for (b,) in connection.execute("SELECT body FROM record")]
    assert [group.values[0] for group in groups] == sorted(written)
    for name in written:
        assert len(SqliteReader(connection).find(HOMES["containers"], is_("node", name)).hits) == 1
