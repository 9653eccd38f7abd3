"""The bulk loop on a real server: every outcome provoked, nothing lost, nothing twice, no value in a reason."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from typing import Any

import msgspec
import pytest

from streams.elastic import url_path
from streams.sinks.bulk import MALFORMED, PARKED, POISON, Encoder, Item, Refused, Versioned
from streams.sinks.elasticsearch import BLOCKED, MISSING, ElasticRecord, ElasticSink, Limits
from tests.helpers.elasticspace import QUICK, Space, history, state, versioned
from verifier.errors import PlaceRefused, PlaceUnavailable

pytestmark = pytest.mark.needs("elasticsearch")
SECRET = "hunter2-in-a-field"
IMPATIENT = msgspec.structs.replace(QUICK, patience=0.5)


@pytest.fixture(scope="module")
def made(elastic_server) -> Iterator[Space]:
    space = Space.fresh(elastic_server.url)
    space.set_up()
    yield space
    space.close()


@pytest.fixture
def space(made) -> Space:
    """A namespace shared by the module: every test uses ids or homes of its own."""
    return made


def test_history_and_state_are_stored_and_a_replay_changes_nothing(space):
    """Duplicates and stale versions are counted, not failures."""
    documents = [*(history(f"r{n}") for n in range(25)), *(state(f"r{n}", 5) for n in range(25))]
    assert msgspec.structs.astuple(space.write(documents)) == (50, 0, 0, ())
    again = space.write(documents)
    assert (again.stored, again.duplicate, again.stale) == (25, 25, 0)  # an equal version is taken again
    older = space.write([state(f"r{n}", 4, message="late") for n in range(25)])
    assert (older.stored, older.stale) == (0, 25)
    assert {hit["_version"] for hit in space.hits("containers", {"prefix": {"event.id": "r"}})} == {5}


def test_nothing_is_written_for_nothing(space):
    """An empty batch asks nobody."""
    assert space.write([]).stored == 0


def test_several_chunks_in_flight_store_everything(space):
    """Small chunks, so that there are many."""
    limits = Limits(documents=7, first_wait=0.01, patience=60)
    written = space.write([history(f"c{n}", "incident") for n in range(200)], limits)
    assert written.stored == space.count("incident") == 200


def test_bytes_come_back_as_they_were_sent(space):
    """`_source` is what was written, also evidence far beyond the size of a term."""
    original = "é" * 100_000
    made = history("big", "trust", event__original=original, message="x", event__reason="\u2028 \x1b[0m")
    made.body["event.original"] = original  # as the makers do, uncut
    assert space.write([made]).stored == 1
    (hit,) = space.hits("trust", {"ids": {"values": ["big"]}})
    assert hit["_source"] == made.body


def test_an_id_of_any_length_is_stored_once(space):
    """Beyond 512 bytes it is hashed."""
    long = history("é" * 400, "evidence")
    assert space.write([long]).stored == 1
    assert space.write([long]).duplicate == 1
    (hit,) = space.hits("evidence")
    assert hit["_source"]["event.id"] == "é" * 400


def test_what_does_not_fit_a_data_stream_is_parked_and_told(space):
    """The server says "created"; it is a dead letter all the same. The others are stored."""
    wrong = history("p1", "finding")
    wrong.body["event.severity"] = SECRET
    written = space.write([history("p0", "finding"), wrong, history("p2", "finding")])
    assert (written.stored, written.parked, written.poison) == (2, 1, 0)
    (refused,) = written.refused
    assert (refused.code, refused.item.document.id) == (PARKED, "p1")
    assert SECRET not in refused.reason
    failures = f"/{space.names.target('finding')}::failures"
    space.server.call("POST", f"{failures}/_refresh")
    (parked,) = space.server.call("GET", f"{failures}/_search").body["hits"]["hits"]
    assert parked["_source"]["document"]["source"]["event.id"] == "p1"
    assert set(space.copies("finding")) == {"p0", "p2"}


@pytest.mark.parametrize("name", ["event.severity", "provenance.unknown", "unknown", "event"])
def test_what_does_not_fit_a_state_is_poison_and_the_rest_is_stored(space, name):
    """A wrong type, a name without a row, a value where an object is: named without its value."""
    wrong = state("w", 1, "findings")
    wrong.body[name] = SECRET
    written = space.write([*(state(f"w{n}", 1, "findings") for n in range(20)), wrong])
    (refused,) = written.refused
    assert (written.stored, refused.outcome, refused.code) == (20, "poison", POISON)
    assert SECRET not in refused.reason
    assert refused.reason.startswith("400 " if refused.reason[0] == "4" else ("strict", "document", "mapper"))


def test_unknown_fields_of_history_are_kept_and_not_mapped(space):
    """The mapping cannot grow by what arrives."""
    odd = history("odd", "configuration")
    odd.body["surprise.deep"] = "x"
    assert space.write([odd]).stored == 1
    (hit,) = space.hits("configuration", {"ids": {"values": ["odd"]}})
    assert hit["_source"]["surprise.deep"] == "x"
    assert space.hits("configuration", {"term": {"surprise.deep": "x"}}) == []


def test_bad_versions_and_values_never_reach_the_server(space):
    """One of them would have the whole request refused."""
    huge = history("h1", "lifecycle")
    huge.body["event.sequence"] = 2**70
    written = space.write([state("v", -1), state("v2", 2**63), huge, history("h2", "lifecycle")])
    assert (written.stored, {refused.code for refused in written.refused}) == (1, {MALFORMED})
    assert len(written.refused) == 3


class Malformed(Encoder):
    """Breaks the line of one document, as a defect of ours would."""

    def item(self, versioned: Versioned) -> Item | Refused:
        made = super().item(versioned)
        if isinstance(made, Item) and made.id == "broken":
            made.data = made.data.replace(b'"create"', b'"crate"')
        return made


def test_one_item_that_spoils_the_request_is_found_and_the_others_are_stored(space):
    """The whole request is refused (400); halves of it are not, but one."""

    async def work(record: ElasticRecord) -> Any:
        record._encoder = Malformed(space.names)
        return await record.write(
            versioned([*(history(f"m{n}", "namespace") for n in range(33)), history("broken", "namespace")])
        )

    written = asyncio.run(space.writing(work))
    (refused,) = written.refused
    assert (written.stored, refused.item.document.id) == (33, "broken")
    assert "Malformed action" in refused.reason


def test_what_was_never_set_up_stops_the_writer(elastic_server):
    """Rather than making an index with a guessed mapping."""
    bare = Space.fresh(elastic_server.url)
    for documents in ([history("a")], [state("a", 1)]):
        with pytest.raises(PlaceRefused, match="run `revet index setup`") as caught:
            bare.write(documents)
        assert caught.value.code == MISSING
    assert bare.hits("admission") == bare.hits("containers") == []
    bare.close()


@pytest.mark.parametrize("block", ["blocks__write", "blocks__read_only_allow_delete"])
def test_a_block_is_for_the_operator_and_nothing_is_lost(space, block):
    """A full disk answers 429 like back-pressure, a write block 403 like a missing right: told apart by type."""
    index = space.names.index("images")
    documents = [state(f"{block}{n}", 1, "images") for n in range(5)]
    space.put_settings(index, **{block: True})
    try:
        with pytest.raises(PlaceUnavailable, match="writing is blocked") as caught:
            space.write(documents, IMPATIENT)
        assert caught.value.code == BLOCKED
    finally:
        space.put_settings(index, **{block: None})
    assert space.write(documents).stored == 5


def test_a_writer_without_end_of_patience_waits_for_room_and_goes_on(space):
    """As the indexer does: it says what it waits for, steps over nothing, and needs nobody to start it again."""
    index = space.names.index("images")
    documents = versioned([state(f"room{n}", 1, "images") for n in range(5)])
    said: list[str] = []
    told = asyncio.Event()

    def paused(why: str) -> None:
        said.append(why)
        told.set()

    async def work(record: ElasticRecord) -> Any:
        writing = asyncio.create_task(record.write(documents))
        async with asyncio.timeout(30):
            await told.wait()
        assert not writing.done()
        await asyncio.to_thread(space.put_settings, index, blocks__read_only_allow_delete=None)
        return await writing

    space.put_settings(index, blocks__read_only_allow_delete=True)
    try:
        written = asyncio.run(space.writing(work, msgspec.structs.replace(QUICK, patience=None), paused=paused))
    finally:
        space.put_settings(index, blocks__read_only_allow_delete=None)
    assert written.stored == 5
    assert said[0].startswith(f"{BLOCKED}: ")
    assert said[-1] == ""


def test_a_closed_index_is_for_the_operator(space):
    """400, like poison; but it says nothing about the document."""
    index = space.names.index("incidents")
    space.server.call("POST", url_path(index, "_close"))
    try:
        with pytest.raises(PlaceUnavailable, match="index_closed_exception"):
            space.write([state("x", 1, "incidents")], IMPATIENT)
    finally:
        space.server.call("POST", url_path(index, "_open"))


def test_an_alias_that_takes_no_writes_stops_the_writer(space):
    """400 illegal argument, like poison; but it says nothing about the document."""
    alias, index = space.names.target("feeds"), space.names.index("feeds")
    actions = [{"add": {"index": index, "alias": alias, "is_write_index": False}}]
    space.server.call("POST", "/_aliases", body={"actions": actions})
    try:
        with pytest.raises(PlaceRefused, match="no write index") as caught:
            space.write([state("x", 1, "feeds")])
        assert caught.value.code == MISSING
    finally:
        actions[0]["add"]["is_write_index"] = True
        space.server.call("POST", "/_aliases", body={"actions": actions})


def test_nobody_answers(elastic_server):
    """It waits, says that it waits, and ends when its patience does."""
    said: list[str] = []
    space = Space.fresh("http://127.0.0.1:9")
    write = partial(ElasticRecord.write, documents=[Versioned(history("a"))])
    with pytest.raises(PlaceUnavailable, match=r"127\.0\.0\.1:9"):
        asyncio.run(space.writing(write, IMPATIENT, paused=said.append))
    assert ": http://127.0.0.1:9: " in said[0]
    assert said[-1] == ""


def test_a_write_that_is_given_up_leaves_no_request_behind(space):
    """Cancelled in the middle, as a process that ends does; done again, it is complete."""

    async def work(record: ElasticRecord) -> Any:
        documents = versioned([history(f"cancel{n}", "verification") for n in range(3000)])
        task = asyncio.create_task(record.write(documents))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await record.write(documents)

    written = asyncio.run(space.writing(work))
    assert written.stored + written.duplicate == 3000
    assert space.count("verification") == 3000


def test_the_sink_without_an_event_loop(space):
    """As commands and tests use it; what does not fit is an error that names the document."""
    with ElasticSink(space.settings, QUICK, refresh=True) as sink:
        sink.write(iter([history("s1", "deadletter"), state("s1", 1, "deadletters")]))
        assert set(space.copies("deadletter")) == set(space.copies("deadletters")) == {"s1"}
        wrong = state("s2", 1, "deadletters")
        wrong.body["nonsense"] = "x"
        with pytest.raises(PlaceRefused, match="1 documents refused; the first, s2"):
            sink.write([wrong])


# ------------------------------------------------------------------------------------------------------------- Kibana


def query(text: str) -> dict[str, Any]:
    return {"query_string": {"query": text}}


@pytest.mark.parametrize(
    "text",
    [
        "verdict:violates",
        "provenance.verdict:violates",
        "namespace:shop AND state:running",
        "labels.app:api",
        "kubernetes.labels.app:api",
        'digest:"sha256:aa"',
        "started:[2026-01-01 TO 2027-01-01]",
        "message:needle",
    ],
)
def test_short_and_full_names_find_the_same_in_kibanas_way(space, text):
    """Aliases of the mapping, also into maps."""
    body: dict[str, Any] = {
        "orchestrator__namespace": "shop",
        "provenance__state": "running",
        "provenance__verdict": "violates",
        "provenance__image__digest": "sha256:aa",
        "provenance__run__started": "2026-11-20T10:00:00.000001Z",
        "kubernetes__labels": {"app": "api"},
        "message": "a needle in it",
    }
    space.write([state("findme", 1, **body), state("other", 1, orchestrator__namespace="lab")])
    assert [hit["_id"] for hit in space.hits("containers", query(text))] == ["findme"]
