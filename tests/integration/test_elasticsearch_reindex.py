"""Moving a state index while it is written, and while whoever moves it is killed: the newest versions are there."""

from __future__ import annotations

import asyncio
import random
import subprocess
import threading
import time
from collections.abc import Iterator

import msgspec
import pytest

from streams.elastic import Server, url_path
from streams.sinks import reindex as moving
from streams.sinks.bulk import Versioned
from streams.sinks.reindex import Progress, reindex
from streams.sinks.setup import COPYING, check, write_index
from tests.helpers.elasticspace import Space, history, state
from tests.helpers.process import command, environment
from verifier.errors import InputError, PlaceRefused

pytestmark = [pytest.mark.needs("elasticsearch"), pytest.mark.slow]


@pytest.fixture(scope="module")
def made(elastic_server) -> Iterator[Space]:
    space = Space.fresh(elastic_server.url)
    space.set_up()
    yield space
    space.close()


@pytest.fixture
def space(made) -> Space:
    return made


def versions(space: Space, home: str) -> dict[str, tuple[int, object]]:
    return {hit["_id"]: (hit["_version"], hit["_source"].get("message")) for hit in space.hits(home)}


def live(space: Space, home: str) -> str | None:
    return write_index(space.server, space.names.target(home))


def test_documents_move_with_their_versions(space):
    """Twice: v1 to v2 to v3; the older indices stay until somebody deletes them."""
    documents = [state(f"a{n}", n, "images", message=f"m{n}") for n in range(2500)]
    space.write(documents)
    before = versions(space, "images")
    steps: list[Progress] = []
    first = reindex(space.server, space.names, "images", tell=steps.append)
    assert (first.copied, first.resumed, first.dropped) == (2500, False, False)
    assert {step.step for step in steps} == {"copying", "switching"}
    assert all(step.copied <= step.total for step in steps)
    second = reindex(space.server, space.names, "images", drop_old=True)
    assert live(space, "images") == second.new == space.names.index("images", 3)
    assert versions(space, "images") == before
    assert space.write([state("a5", 4, "images", message="stale")]).stale == 1
    assert check(space.server, space.settings).drift == ()


def test_what_is_written_meanwhile_is_not_lost(space):
    """Writers go on behind the alias, before and after the switch; the newest version of each is in the new index."""
    space.write([state(f"w{n}", 1, message="1") for n in range(2000)])
    stop = threading.Event()
    newest: dict[str, int] = {f"w{n}": 1 for n in range(2000)}

    async def work(record) -> None:
        chance, version = random.Random(3), 1
        while not stop.is_set():
            version += 1
            some = [f"w{n}" for n in chance.sample(range(2000), 100)] + [f"new{version}"]
            await record.write([_versioned(id_, version) for id_ in some])
            newest.update(dict.fromkeys(some, version))

    writer = threading.Thread(target=lambda: asyncio.run(space.writing(work)))
    writer.start()
    time.sleep(0.5)
    moved = reindex(space.server, space.names, "containers")
    time.sleep(0.5)
    stop.set()
    writer.join()
    space.server.call("POST", url_path(space.names.target("containers"), "_refresh"))
    assert live(space, "containers") == moved.new
    assert {id_: version for id_, (version, _) in versions(space, "containers").items()} == newest


def _versioned(id_: str, version: int) -> Versioned:
    return Versioned(state(id_, version, message=str(version)))


@pytest.mark.kill
def test_killed_and_started_again_it_comes_to_the_same(space):
    """kill -9 at random instants, then once to the end."""
    documents = [state(f"k{n}", n, "findings", message="x" * 500) for n in range(6000)]
    space.write(documents)
    chance = random.Random(5)
    settings = {
        "REVET_ELASTICSEARCH_URL": space.settings.url,
        "REVET_ELASTICSEARCH_NAMESPACE": space.settings.namespace,
        "REVET_ELASTICSEARCH_REPLICAS": "0",
    }
    words = command("index", "reindex", "findings")
    for _ in range(4):
        process = subprocess.Popen(words, env=environment(**settings), stdout=subprocess.DEVNULL)
        time.sleep(chance.uniform(0.8, 3.0))
        process.kill()
        process.wait()
    done = subprocess.run(words, env=environment(**settings), capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    space.server.call("POST", url_path(space.names.target("findings"), "_refresh"))
    assert space.count("findings") == 6000
    assert check(space.server, space.settings).drift == ()
    assert {version for version, _ in versions(space, "findings").values()} <= set(range(6000))


def test_an_interruption_behind_the_switch_is_finished_first(space, monkeypatch):
    """The alias has moved, the late documents have not: the mark on the new index says so."""
    space.write([state(f"b{n}", 1, "incidents") for n in range(20)])
    monkeypatch.setattr(moving, "_unmark", _dies)
    with pytest.raises(KeyboardInterrupt):
        reindex(space.server, space.names, "incidents")
    monkeypatch.undo()
    (drift,) = check(space.server, space.settings).drift
    assert (drift.what, drift.mend) == (space.names.index("incidents", 2), "revet index reindex incidents")
    old = space.names.index("incidents")
    line = {"index": {"_index": old, "_id": "late", "version": 7, "version_type": "external_gte"}}
    _bulk(space.server, line, state("late", 7, "incidents").body)  # a writer's request that arrived there last
    moved = reindex(space.server, space.names, "incidents")
    assert (moved.old, moved.new, moved.resumed) == (old, space.names.index("incidents", 2), True)
    space.server.call("POST", url_path(moved.new, "_refresh"))
    assert "late" in versions(space, "incidents")
    meta = space.server.call("GET", url_path(moved.new, "_mapping")).body[moved.new]["mappings"]["_meta"]
    assert COPYING not in meta


def _dies(server: Server, index: str) -> None:
    raise KeyboardInterrupt


def _bulk(server: Server, *lines: object) -> None:
    assert server.call("POST", "/_bulk", body=[msgspec.json.encode(line) for line in lines]).body["errors"] is False


def test_a_document_that_does_not_fit_stops_it_before_the_switch(space):
    """Named; readers and writers still have the old index. Mended, it goes on."""
    old = live(space, "feeds")
    assert old is not None
    space.server.call("PUT", url_path(old, "_mapping"), body={"dynamic": False})
    odd = state("odd", 1, "feeds")
    odd.body["of.another.version"] = "x"
    space.write([state("even", 1, "feeds"), odd])
    with pytest.raises(PlaceRefused, match=r"document odd: .*strict.*; the alias still points at the old index"):
        reindex(space.server, space.names, "feeds")
    assert live(space, "feeds") == old
    space.server.call("DELETE", f"/{old}/_doc/odd")
    assert reindex(space.server, space.names, "feeds").resumed is True
    assert set(versions(space, "feeds")) == {"even"}


def test_what_is_no_state_cannot_be_moved(space):
    """History is never rewritten."""
    with pytest.raises(InputError, match="'trust' is no state; there are containers"):
        reindex(space.server, space.names, "trust")
    space.write([history("h", "trust")])


def test_an_index_in_the_way_is_named(space):
    """Somebody made the next one by hand."""
    space.server.call("PUT", url_path(space.names.index("deadletters", 2)))
    with pytest.raises(PlaceRefused, match=r"is in the way: .*delete it, then start again"):
        reindex(space.server, space.names, "deadletters")
