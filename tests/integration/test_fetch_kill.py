"""Fetchers that race for one evidence store, and that are killed: nothing is lost, nothing is seen first twice."""

import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streams.places import open_store
from tests.helpers.cluster import DEMO_DATA
from tests.helpers.fetch_child import DIGESTS, REPOSITORY, Child, images, links, pieces, time_of
from tests.helpers.fetching import digest
from tests.helpers.registry_server import push_whole, registry_process
from verifier.adapters.registry import RegistryOptions
from verifier.oci.port import EvidenceStore

pytestmark = [pytest.mark.needs("registry"), pytest.mark.kill]

WRITERS = 3
KILLS = 50 if os.environ.get("REVET_FAULTS") == "full" else 8
PLAIN = RegistryOptions(plain_http=frozenset("*"))


@pytest.fixture(scope="module")
def host(require: Callable[[str], Path]) -> Iterator[str]:
    with registry_process(require("registry")) as running:
        yield running


@pytest.fixture(params=["oci", "directory"])
def named(request: pytest.FixtureRequest, host: str, tmp_path: Path) -> str:
    """A store that nobody has used, shared by processes."""
    if request.param == "oci":
        return f"oci:{host}/revet/{tmp_path.name.replace('_', '-').lower()}"
    return f"directory:{tmp_path}/evidence"


def check_whole(store: EvidenceStore, writers: range) -> None:
    everything = {(piece.id, piece.subject): piece for piece in pieces()}
    found = [piece for number in range(DIGESTS) for piece in store.for_digest(REPOSITORY, digest(number))]
    assert {(piece.id, piece.subject): piece for piece in found} == everything
    assert len(found) == len(everything)
    earliest = {piece.id: min(time_of(piece, writer) for writer in writers) for piece in everything.values()}
    assert store.first_seen(earliest) == earliest
    for entry in links():
        assert store.indexes_of(REPOSITORY, entry.digest) == (entry.index,)
        assert entry in store.children_of(REPOSITORY, entry.index)


def test_writers_that_race_lose_nothing_and_the_earliest_sight_counts(named, tmp_path):
    writers = [Child(tmp_path, "write", named, number) for number in range(WRITERS)]
    for writer in writers:
        assert writer.finished()[-1] == "done"
    with open_store(named, PLAIN) as store:
        check_whole(store, range(WRITERS))


def test_what_a_killed_writer_has_said_is_there_and_what_is_there_is_whole(named, tmp_path):
    chance = random.Random(7)
    said: set[str] = set()
    for round_ in range(KILLS):
        running = [Child(tmp_path, "write", named, number) for number in range(2)]
        for process in running:
            said.update(process.killed(chance.randrange(1, 12), chance.random() * 0.05))
        if round_ % 2 == 0:
            with open_store(named, PLAIN) as store:
                legal = {piece.id: {time_of(piece, writer) for writer in range(2)} for piece in pieces()}
                for number in range(DIGESTS):
                    for piece in store.for_digest(REPOSITORY, digest(number)):
                        assert store.first_seen([piece.id])[piece.id] in legal[piece.id]
    with open_store(named, PLAIN) as store:
        for line in said - {"done"}:
            name, subject = line.split()
            assert name in {piece.id for piece in store.for_digest(REPOSITORY, subject)}
    for number in range(2):
        assert Child(tmp_path, "write", named, number).finished()[-1] == "done"
    with open_store(named, PLAIN) as store:
        check_whole(store, range(2))


def test_fetchers_killed_in_the_middle_answer_in_the_end_as_if_nothing_had_been(host, tmp_path):
    """Two at a time on one store, over the recorded images in a real registry."""
    push_whole(DEMO_DATA / "oci", f"http://{host}")
    undisturbed = answers(Child(tmp_path, "fetch", f"directory:{tmp_path}/calm", f"http://{host}", 1).finished())
    assert set(undisturbed) == {image for _, image in images()}
    assert all(answer["complete"] for answer in undisturbed.values())
    named = f"oci:{host}/revet/fetched"
    chance = random.Random(11)
    for seed in range(KILLS // 2):
        pair = [Child(tmp_path, "fetch", named, f"http://{host}", seed + number) for number in range(2)]
        for process in pair:
            for line in process.killed(chance.randrange(1, 20), chance.random() * 0.1):
                if line.startswith("{"):
                    one = json.loads(line)
                    assert one == undisturbed[one["digest"]]
    with open_store(named, PLAIN) as store:
        before = {fact[0] for answer in undisturbed.values() for fact in answer["facts"]}
        dates = store.first_seen(before)
    pair = [Child(tmp_path, "fetch", named, f"http://{host}", number) for number in range(2)]
    for process in pair:
        assert answers(process.finished()) == undisturbed
    with open_store(named, PLAIN) as store:
        assert dates.items() <= store.first_seen(before).items()
        assert set(store.first_seen(before)) == before


def answers(lines: list[str]) -> dict[str, dict]:
    found = [json.loads(line) for line in lines if line.startswith("{")]
    return {answer["digest"]: answer for answer in found}
