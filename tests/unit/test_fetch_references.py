"""An image whose index alone is signed: found whichever of its references is asked about first, in either mode."""

import asyncio
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path

import pytest

from streams.events import EvidenceFound, EvidenceWanted
from streams.handlers.restoring import restored
from streams.local.node import LocalNode, NodeSettings
from tests.helpers.fetching import SECOND, START, Bench, digest
from tests.helpers.world import World, policy
from verifier.errors import PlaceUnavailable
from verifier.oci.limits import KNOWN_NAMES
from verifier.testing import Signer
from verifier.trust.records import KeyPut, PolicyPut

A = "r.example/team/a"
CHILD, INDEX, OTHER = digest(1), digest(2), digest(3)
DEV = Signer("dev")
BY_DIGEST, BY_TAG, PINNED = f"{A}@{CHILD}", f"{A}:1.2", f"{A}@{INDEX}"


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    made.add_key(DEV)
    publish(made)
    yield made
    made.close()


def publish(bench: Bench) -> None:
    """An index of one image; the index is signed, the image is not."""
    bench.publish(DEV.sign_simple(A, INDEX, {}))
    bench.place.lists[A, "1.2"] = (INDEX, CHILD)
    bench.place.lists[A, INDEX] = (INDEX, CHILD)


def handle(bench: Bench, worker, *references: str, why: str = "new-digest") -> list[EvidenceFound]:
    wanted = [bench.wanted(A, CHILD, why, reference=reference) for reference in references]
    return answers(bench, worker, wanted)


def answers(bench: Bench, worker, wanted: list[EvidenceWanted]) -> list[EvidenceFound]:
    """To these requests, and to those that the fetcher makes itself."""
    found: list[EvidenceFound] = []
    while wanted:
        effects = asyncio.run(worker.handle(bench.records(*wanted)))
        events = [out.event for out in effects.outputs]
        found += (event for event in events if isinstance(event, EvidenceFound))
        bench.seen.facts.update(((each.set.repository, each.set.digest), each) for each in found)
        wanted = [event for event in events if isinstance(event, EvidenceWanted)]
        bench.now += SECOND
        assert len(found) < 50
    return found


@pytest.mark.parametrize("named", [BY_TAG, PINNED])
def test_a_reference_that_was_not_asked_about_is_asked_though_there_is_an_answer(bench, named):
    worker = bench.worker()
    (first,) = handle(bench, worker, BY_DIGEST)
    assert (first.set.complete, first.facts) == (True, ())
    (second,) = handle(bench, worker, named)
    assert second.set.closure.indexes == (INDEX,)
    assert [fact.verified_by for fact in second.facts] == [(DEV.key_id,)]
    assert handle(bench, worker, named, BY_DIGEST) == [], "what has been asked about is covered"
    assert handle(bench, bench.worker(), BY_DIGEST, named) == [], "by another worker too"
    assert len(bench.place.asked) == 2


@pytest.mark.parametrize("order", list(permutations([BY_DIGEST, BY_TAG, PINNED])))
@pytest.mark.parametrize("batches", [1, 3])
def test_the_order_of_requests_does_not_matter(bench, order, batches):
    worker = bench.worker()
    for number in range(batches):
        handle(bench, worker, *(order if batches == 1 else order[number : number + 1]))
    last = bench.seen.evidence(A, CHILD)
    assert last is not None
    assert set(last.set.names) == {"1.2", INDEX}
    assert last.set.closure.indexes == (INDEX,)
    assert len(last.facts) == 1


SIBLING = digest(4)


@pytest.mark.parametrize(
    "order", list(permutations([(CHILD, BY_DIGEST), (SIBLING, f"{A}@{SIBLING}"), (INDEX, BY_TAG)]))
)
@pytest.mark.parametrize("together", [True, False])
def test_an_index_that_runs_itself_speaks_for_what_it_lists_whoever_came_first(bench, order, together):
    bench.place.lists[A, "arm"] = (INDEX, SIBLING)
    worker = bench.worker()
    wanted = [bench.wanted(A, running, reference=reference) for running, reference in order]
    for batch in [wanted] if together else [[one] for one in wanted]:
        answers(bench, worker, batch)
    for running in (CHILD, SIBLING):
        last = bench.seen.evidence(A, running)
        assert last is not None
        assert (last.set.closure.indexes, len(last.facts)) == ((INDEX,), 1)
    quiet = len(bench.place.asked)
    answers(bench, worker, wanted)
    assert len(bench.place.asked) == quiet, "and then it is known"


def test_images_with_more_indexes_than_are_remembered_are_not_asked_about_without_end(bench):
    """Each index lists both images; what names it is a tag of its own."""
    for number in range(KNOWN_NAMES + 4):
        bench.place.lists[A, f"a{number}"] = (digest(100 + number), CHILD)
        bench.place.lists[A, f"b{number}"] = (digest(100 + number), SIBLING)
        bench.place.lists[A, digest(100 + number)] = (digest(100 + number), CHILD)
    worker = bench.worker()
    for number in range(KNOWN_NAMES + 4):
        for running, tag in ((CHILD, "a"), (SIBLING, "b")):
            answers(bench, worker, [bench.wanted(A, running, reference=f"{A}:{tag}{number}")])
    assert len(bench.place.asked) <= 4 * (KNOWN_NAMES + 4)


def test_a_tag_that_names_another_index_later_is_followed_whoever_asks(bench):
    worker = bench.worker()
    handle(bench, worker, BY_TAG)
    bench.publish(Signer("ops").sign_simple(A, OTHER, {}))
    bench.place.lists[A, "1.2"] = (OTHER, CHILD)
    bench.now += 3600 * SECOND
    (found,) = handle(bench, worker, BY_DIGEST, why="stale")
    assert set(found.set.closure.indexes) == {INDEX, OTHER}


def test_tags_of_a_registry_that_is_down_are_asked_about_when_it_is_back(bench):
    worker = bench.worker()
    bench.place.faults["r.example"] = lambda _: PlaceUnavailable("registry-unavailable", "down")
    (down,) = handle(bench, worker, BY_TAG)
    assert (down.set.complete, down.set.names) == (False, ("1.2",))
    bench.place.faults.clear()
    bench.now += 60 * SECOND
    (back,) = handle(bench, bench.worker(), BY_DIGEST, why="retry")
    assert (back.set.complete, back.set.closure.indexes) == (True, (INDEX,))


def test_of_many_tags_the_newest_are_remembered(bench):
    worker = bench.worker()
    for number in range(KNOWN_NAMES + 5):
        handle(bench, worker, f"{A}:{number}")
    last = bench.seen.evidence(A, CHILD)
    assert last is not None
    assert last.set.names == tuple(str(number) for number in range(5, KNOWN_NAMES + 5))


@pytest.mark.parametrize("order", list(permutations([BY_DIGEST, BY_TAG])))
@pytest.mark.parametrize("together", [True, False])
def test_on_one_machine_pods_in_any_order_come_to_the_same_verdict(tmp_path: Path, bench, order, together):
    world = World(keys=())
    pods = [world.pod("ns", f"pod-{number}", {"main": (ref, CHILD)}) for number, ref in enumerate(order)]

    async def run() -> set[str]:
        node = LocalNode.open(tmp_path / "state.sqlite", NodeSettings(place=bench.place, replay=True))
        node.change_trust(
            [
                KeyPut(author="t", at=START, name="dev", key_id=DEV.key_id, pem=DEV.pem),
                PolicyPut(author="t", at=START, policy=policy("signed", signed_by=["dev"])),
            ]
        )
        for batch in [pods] if together else [[pod] for pod in pods]:
            node.ingest(batch)
            await node.drain()
        judged = [cls.judged for cls in node.processor.state.classes.values()]
        node.close()
        return {found.decided.outcome for each in judged for found in each.values()}

    assert asyncio.run(run()) == {"valid"}


def test_a_shard_asks_once_for_every_tag_and_after_a_restart_for_those_without_an_answer():
    world = World(auto_fetch=False)
    for number, reference in enumerate([BY_DIGEST, BY_TAG, BY_TAG, f"{A}:1"]):
        world.send(world.pod(f"ns-{number}", "pod", {"main": (reference, CHILD)}))
    assert [asked.reference for asked in world.wanted] == [BY_DIGEST, BY_TAG, f"{A}:1"]

    world.names[A, CHILD] = ("1.2",)
    world.send(world.fetch(A, CHILD))
    again = World(keys=())
    again.state.restore([(kind, key, value) for kind, key, value in world.state.take_dirty() if value is not None])
    again.state.trust = world.state.trust
    said = [out for part in restored(again.state) for out in part]
    assert [out.reference for out in said if isinstance(out, EvidenceWanted)] == [f"{A}:1"]
