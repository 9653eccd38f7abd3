"""The reader of Elasticsearch where the contract suite does not reach: cursors, what is missing or does not answer."""

import socket
import time
import uuid
from contextlib import nullcontext
from typing import Any

import pytest

from streams.elastic import connect, url_path
from streams.queries import elasticsearch as reading
from streams.queries.conditions import EVERYTHING, AnyOf, Like, both, is_
from streams.queries.elasticsearch import ElasticsearchReader
from streams.queries.port import ALL_HISTORY, MAX_PAGE, every
from streams.settings import ElasticsearchSettings
from streams.sinks.document import document, prepared
from streams.sinks.mapping import Names
from tests.helpers.elastic import Space, elastic_record, use
from tests.helpers.servers import secure_node
from verifier.errors import InputError, PlaceRefused, PlaceUnavailable

pytestmark = pytest.mark.needs("elasticsearch")

CONTAINERS = "revet-state-containers"


@pytest.fixture
def space(elastic_server) -> tuple[Space, ElasticsearchReader]:
    use(elastic_server.url)
    sink, reader = elastic_record()
    assert isinstance(sink, Space)
    assert isinstance(reader, ElasticsearchReader)
    return sink, reader


def container(id_: str, at: int, version: int = 1, **body: object):
    return document("containers", id_, at, prepared(body), version=version)


def reader_of(url: str, namespace: str = "default", **more: Any) -> ElasticsearchReader:
    return ElasticsearchReader(connect(ElasticsearchSettings(url=url, **more)), Names(namespace))


# ------------------------------------------------------------------------------------------------------------- cursors


def test_a_cursor_is_good_in_another_process(space):
    """It holds where the page ended, and nothing that the server would forget."""
    sink, reader = space
    sink.write([container(f"{n}", n // 3) for n in range(9)])
    page = reader.find(CONTAINERS, EVERYTHING, limit=4)
    with reader.held():
        assert reader.find(CONTAINERS, EVERYTHING, limit=4).after == page.after
    again = ElasticsearchReader(sink.server, sink.names)
    assert [h.id for h in again.find(CONTAINERS, EVERYTHING, after=page.after).hits] == ["4", "5", "6", "7", "8"]


@pytest.mark.parametrize(
    "after", ["x", "e1.", "e1.!!", "e1.gA", "1763000:abc", "e1." + "A" * 4000, "é", "e1.\udcff", "e9.kwA"]
)
def test_what_is_no_cursor_is_said(space, after):
    """A typing mistake, a cursor of SQLite, garbage."""
    _, reader = space
    with pytest.raises(InputError, match="is no position of this record"):
        reader.find(CONTAINERS, EVERYTHING, after=after)


def test_a_cursor_of_another_list_is_said(space):
    """Another part of the record, or the other direction: going on would skip documents."""
    sink, reader = space
    sink.write([container(f"{n}", n) for n in range(3)])
    after = reader.find(CONTAINERS, EVERYTHING, limit=1).after
    for home, newest_first in ((CONTAINERS, True), ("revet-state-images", False)):
        with pytest.raises(InputError, match="position in another list"):
            reader.find(home, EVERYTHING, newest_first=newest_first, after=after)


def test_the_longest_page_and_one_more(space, monkeypatch):
    """As many documents as one answer may have, and the knowledge that there is another."""
    sink, reader = space
    sink.write([container(f"{n:05}", n) for n in range(MAX_PAGE + 1)])
    page = reader.find(CONTAINERS, EVERYTHING, limit=MAX_PAGE)
    assert (len(page.hits), page.hits[-1].id, bool(page.after)) == (MAX_PAGE, f"{MAX_PAGE - 1:05}", True)
    rest = reader.find(CONTAINERS, EVERYTHING, limit=MAX_PAGE, after=page.after)
    assert ([h.id for h in rest.hits], rest.after) == ([f"{MAX_PAGE:05}"], "")
    monkeypatch.setattr(reading, "GROUPS", 3000)  # several answers
    groups = reader.groups(CONTAINERS, EVERYTHING, ("event.id", "provenance.verdict"))
    assert (len(groups), groups[0].values, groups[-1].count) == (MAX_PAGE + 1, ("00000", ""), 1)


# ------------------------------------------------------------------------------------------------- one point in time


def test_what_is_held_does_not_move(space):
    """What changes while a command computes is seen by the next one, as in a read transaction."""
    sink, reader = space
    sink.write([container("a", 1), container("b", 2)])
    with reader.held():
        first = reader.find(CONTAINERS, EVERYTHING, limit=1)
        sink.write([container("a", 3, version=2), container("c", 4)])
        assert [h.id for h in reader.find(CONTAINERS, EVERYTHING, after=first.after).hits] == ["b"]
        assert [g.values for g in reader.groups(CONTAINERS, EVERYTHING, ("event.id",))] == [("a",), ("b",)]
    assert [h.id for h in reader.find(CONTAINERS, EVERYTHING).hits] == ["b", "a", "c"]


def open_contexts(space: Space) -> int:
    nodes = space.server.call("GET", "/_nodes/stats/indices/search").body["nodes"]
    return int(next(iter(nodes.values()))["indices"]["search"]["open_contexts"])


def test_points_in_time_are_given_back(space):
    """The server keeps few of them."""
    sink, reader = space
    sink.write([container("a", 1)])
    before = open_contexts(sink)
    for _ in range(20):
        with reader.held():
            reader.find(CONTAINERS, EVERYTHING)
            reader.find(ALL_HISTORY, EVERYTHING)
    time.sleep(0.2)
    assert open_contexts(sink) < before + 10  # others use this server too


# --------------------------------------------------------------------------------------------------------- not there


def test_a_dataset_nothing_was_written_to_is_empty(space):
    """Data streams are made by their first document."""
    _, reader = space
    fresh = [h for h in ("revet.configuration", "revet.deadletter") if not list(every(reader, h, EVERYTHING))]
    assert fresh
    with reader.held():
        assert reader.groups(fresh[0], EVERYTHING, ("event.action",)) == []
        assert reader.find(fresh[0], EVERYTHING).hits == ()


@pytest.mark.parametrize("home", [CONTAINERS, "revet.admission", ALL_HISTORY])
@pytest.mark.parametrize("held", [False, True])
def test_a_namespace_that_is_not_set_up_is_named_with_what_mends_it(elastic_server, home, held):
    """An empty answer would say that nothing runs."""
    reader = reader_of(elastic_server.url, name := f"n{uuid.uuid4().hex[:8]}")
    with reader.held() if held else nullcontext(), pytest.raises(InputError, match="run `revet index setup`") as caught:
        reader.find(home, EVERYTHING)
    assert f"nothing is set up in namespace {name}" in str(caught.value)


def test_a_closed_index_is_no_empty_answer(space):
    """Somebody closed it: the answer is an error, not silence."""
    sink, reader = space
    index = url_path(sink.names.index("namespaces"))
    sink.server.call("POST", f"{index}/_close")
    try:
        with pytest.raises(PlaceRefused, match="closed"):
            reader.find("revet-state-namespaces", EVERYTHING)
    finally:
        sink.server.call("POST", f"{index}/_open", params={"wait_for_active_shards": "1"})


def test_an_index_that_is_not_ours_is_named(elastic_server):
    """Made by a careless write, without our mapping."""
    reader = reader_of(elastic_server.url, name := f"n{uuid.uuid4().hex[:8]}")
    server = connect(ElasticsearchSettings(url=elastic_server.url))
    server.call("PUT", url_path(f"revet-state-images-{name}", "_doc", "1"), params={"refresh": "true"}, body={"a": 1})
    with pytest.raises(PlaceRefused, match="run `revet index check`"):
        reader.find("revet-state-images", EVERYTHING)


def test_nobody_listens(monkeypatch):
    """Retryable, and says where; asked again before it is given up."""
    monkeypatch.setattr(reading, "PAUSES", (0.01, 0.01))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    with pytest.raises(PlaceUnavailable, match=f"127.0.0.1:{port}"):
        reader_of(f"http://127.0.0.1:{port}").find(CONTAINERS, EVERYTHING)


def test_a_question_the_server_refuses_is_told_with_its_reason(space):
    """More clauses than it takes: its reason, not a trace."""
    _, reader = space
    where = AnyOf(tuple(both(is_("namespace", f"n{n}"), is_("container", "c")) for n in range(40_000)))
    with pytest.raises(PlaceRefused, match="clause"):
        reader.find(CONTAINERS, where)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_who_may_not_read_is_told_and_no_secret_with_it():
    """401 for a wrong password, 403 for an account without the role."""
    roles: dict[str, dict[str, list[str]]] = {"nobody": {"cluster": [], "indices": []}}
    with secure_node(
        {"revet": "elastic-secret", "guest": "guest-secret"}, user_roles={"guest": ("nobody",)}, roles=roles
    ) as secured:
        url, ca = secured.node.url, secured.tls.ca
        for user, password, status in (("revet", "wrong-secret", "401"), ("guest", "guest-secret", "403")):
            reader = reader_of(url, username=user, password=password, ca_file=ca)
            with pytest.raises(PlaceRefused) as caught:
                reader.find(CONTAINERS, EVERYTHING)
            assert status in str(caught.value)
            assert "secret" not in f"{caught.value} {caught.value!r} {reader!r}"


# -------------------------------------------------------------------------------------------------------- while it dies


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_node_that_comes_back_answers_what_was_asked(elastic_node):
    """Killed between two questions; the next one waits for it as long as a person would."""
    node = elastic_node()
    server = connect(ElasticsearchSettings(url=node.url))
    server.call("PUT", url_path("revet-state-containers-default"), body={"mappings": {"properties": MAPPED}})
    reader = ElasticsearchReader(server, Names())
    body = {"@timestamp": "2026-01-01T00:00:00.000000Z", "event.id": "a", "event.dataset": CONTAINERS}
    server.call("PUT", url_path("revet-state-containers-default", "_doc", "a"), params={"refresh": "true"}, body=body)
    assert len(reader.find(CONTAINERS, Like("event.id", ("", "a"))).hits) == 1
    node.kill()
    with pytest.raises(PlaceUnavailable):
        reader.find(CONTAINERS, EVERYTHING)
    node.start()
    assert len(reader.find(CONTAINERS, EVERYTHING).hits) == 1


MAPPED = {
    "@timestamp": {"type": "date_nanos"},
    "event": {"properties": {"id": {"type": "keyword"}, "dataset": {"type": "keyword"}}},
}
