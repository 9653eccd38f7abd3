"""The record in the state file: its place in the caller's transaction, and what it says when the file is in trouble."""

from __future__ import annotations

import sqlite3

import pytest

from streams.engine.sqlite import connect
from streams.queries.conditions import EVERYTHING, is_
from streams.queries.sqlite import SqliteReader
from streams.queries.subjects import resolve
from streams.sinks.document import Document, document, prepared
from streams.sinks.sqlite import SqliteRecord
from verifier.errors import InputError, PlaceUnavailable

HOME = "revet-state-containers"


def container(version: int, namespace: str = "shop", **body: object) -> Document:
    return document("containers", "k1", 5, prepared({"orchestrator.namespace": namespace, **body}), version=version)


@pytest.fixture
def connection():
    made = sqlite3.connect(":memory:", isolation_level=None)
    yield made
    made.close()


def test_writing_is_part_of_the_callers_transaction(connection):
    """Rolled back with everything else."""
    record = SqliteRecord(connection)
    connection.execute("BEGIN IMMEDIATE")
    record.write([container(1)])
    connection.execute("ROLLBACK")
    assert SqliteReader(connection).find(HOME, EVERYTHING).hits == ()


def test_making_the_tables_does_not_end_a_transaction(connection):
    """A second process may open the record while the node is writing."""
    connection.execute("BEGIN IMMEDIATE")
    SqliteRecord(connection)
    assert connection.in_transaction
    connection.execute("ROLLBACK")


def test_a_term_of_an_older_version_finds_nothing(connection):
    """The term table may lag behind; the body decides."""
    record, reader = SqliteRecord(connection), SqliteReader(connection)
    old = document("images", "i", 1, prepared({"provenance.key.related": ["dev", "ops"]}), version=1)
    new = document("images", "i", 2, prepared({"provenance.key.related": ["ops"]}), version=2)
    record.write([old])
    record.write([new])
    assert reader.find("revet-state-images", is_("key", "dev")).hits == ()
    assert len(reader.find("revet-state-images", is_("key", "ops")).hits) == 1


def test_columns_follow_the_newest_version(connection):
    """What an index finds is what the body says."""
    record, reader = SqliteRecord(connection), SqliteReader(connection)
    record.write([container(1, "shop"), container(2, "pay")])
    assert reader.find(HOME, is_("namespace", "shop")).hits == ()
    assert reader.find(HOME, is_("namespace", "pay")).hits[0].body["orchestrator.namespace"] == "pay"


@pytest.mark.parametrize(
    ("field", "index"),
    [
        ("digest", "record_digest"),
        ("finding_id", "record_finding"),
        ("incident", "record_incident"),
        ("workload_id", "record_workload"),
        ("pod", "record_pod"),
        ("class", "record_class"),
        ("repository", "record_repository"),
        ("namespace", "record_namespace"),
        ("id", "record_id"),
        ("key", "record_terms"),
    ],
)
def test_questions_are_answered_from_an_index(connection, field, index):
    """No scan for what people ask by."""
    SqliteRecord(connection)
    asked: list[str] = []
    connection.set_trace_callback(asked.append)
    SqliteReader(connection).find(HOME, is_(field, "x"))
    connection.set_trace_callback(None)
    plan = " ".join(str(row[3]) for row in connection.execute(f"EXPLAIN QUERY PLAN {asked[-1]}"))
    assert index in plan
    assert "SCAN record" not in plan.replace("SCAN record_terms", "")


def test_a_file_without_a_record_says_so(connection):
    """Not an internal error."""
    with pytest.raises(InputError, match="nothing has been recorded"):
        SqliteReader(connection).find(HOME, EVERYTHING)
    with pytest.raises(InputError, match="nothing has been recorded"):
        resolve(SqliteReader(connection), "key:dev")


def test_a_file_that_cannot_be_written_is_a_place_that_is_unavailable(tmp_path):
    """Retryable, with what SQLite said."""
    connection = connect(tmp_path / "state.sqlite", create=True)
    record = SqliteRecord(connection)
    connection.execute("PRAGMA query_only = ON")
    with pytest.raises(PlaceUnavailable, match="the record cannot be written"):
        record.write([container(1)])
    connection.execute("PRAGMA query_only = OFF")
    connection.execute("DROP TABLE record")
    connection.execute("PRAGMA query_only = ON")
    with pytest.raises(PlaceUnavailable, match="the record cannot be made"):
        SqliteRecord(connection)
    connection.close()


def test_a_broken_file_is_a_place_that_is_unavailable(tmp_path):
    """Answers are refused, not invented."""
    path = tmp_path / "state.sqlite"
    connection = connect(path, create=True)
    SqliteRecord(connection).write([container(n) for n in range(1)])
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(bytes(data))
    broken = sqlite3.connect(path)
    with pytest.raises(PlaceUnavailable, match="the record cannot be read"):
        SqliteReader(broken).find(HOME, EVERYTHING)
    broken.close()


@pytest.mark.parametrize(("limit", "after"), [(0, ""), (10_001, ""), (1, "rubbish"), (1, "x:1")])
def test_wrong_pages_are_refused(connection, limit, after):
    """What did not come from here is no position."""
    SqliteRecord(connection)
    with pytest.raises(InputError):
        SqliteReader(connection).find(HOME, EVERYTHING, limit=limit, after=after)
