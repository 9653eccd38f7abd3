"""What watchers tell late, twice, or only after the fact, and what the judge makes of it."""

from collections.abc import Callable, Iterable

import msgspec
import pytest

from streams.clustered import ClusterJudge
from streams.codec import encode
from streams.engine.port import Effects, Record
from streams.events import ContainerChanged, PodObserved
from streams.local.processor import LocalProcessor
from streams.outputs import output
from streams.shared import Shared
from streams.sinks.document import Document
from streams.sinks.documents import documents
from streams.sinks.fields import HOMES
from tests.helpers.trustadmins import ALICE, gate
from tests.helpers.world import World
from verifier.times import MINUTE, SECOND


def at(event: PodObserved, version: str, source: str = "watch", **changes: object) -> PodObserved:
    """The same, as the API server's version `version` of it."""
    pod = msgspec.structs.replace(event.pod, resource_version=version)
    named = f"{event.pod.name}:{version}:{event.gone}"
    return msgspec.structs.replace(event, id=named, source=source, pod=pod, **changes)


def test_an_older_state_that_a_second_watcher_tells_later_changes_nothing():
    world = World()
    old, new = world.image("r.example/a:1"), world.image("r.example/a:2")
    first = at(world.pod("p", "a-1", {"app": old}), "9")
    second = at(world.pod("p", "a-1", {"app": new}), "10")
    world.send(second)
    assert world.send(first) == []
    assert {c.digest for c in world.containers().values()} == {new[1]}


@pytest.mark.parametrize("version", ["11", "9", "", "opaque"])
def test_a_list_and_what_has_no_number_are_believed(version):
    """After a restore from a backup the cluster counts from further back."""
    world = World()
    old, new = world.image("r.example/a:1"), world.image("r.example/a:2")
    world.send(at(world.pod("p", "a-1", {"app": old}), "10"))
    source = "list" if version.isdecimal() else "watch"
    world.now += SECOND
    world.send(at(world.pod("p", "a-1", {"app": new}), version, source))
    assert {c.digest for c in world.containers().values() if c.state == "running"} == {new[1]}


@pytest.mark.parametrize(
    ("why", "reason"),
    [
        ("vanished", "pod-vanished"),
        ("deleted-unseen", "pod-deleted"),
        ("excluded", "namespace-excluded"),
        ("cluster-retired", "cluster-retired"),
    ],
)
def test_an_end_that_nobody_saw_has_its_reason_and_both_bounds(why, reason):
    world = World()
    api = world.image("r.example/a:1")
    world.send(at(world.pod("p", "a-1", {"app": api}), "10"))
    seen = world.now
    world.now += 5 * MINUTE
    end = at(world.pod("p", "a-1", {"app": api}, gone=True), "10", "list", gone_reason=why, gone_after=seen)
    world.send(end)
    (container,) = world.containers().values()
    assert (container.end_reason, container.ended, container.ended_after) == (reason, world.now, seen)
    assert world.send(msgspec.structs.replace(end, id="told by another one")) == []


def test_an_end_that_was_told_has_no_bound():
    world = World()
    api = world.image("r.example/a:1")
    world.send(at(world.pod("p", "a-1", {"app": api}), "10"))
    world.send(at(world.pod("p", "a-1", {"app": api}, gone=True), "11"))
    (container,) = world.containers().values()
    assert (container.end_reason, container.ended_after) == ("pod-deleted", None)


# ------------------------------------------------------------------------------- one document per container instance


def waits(event: PodObserved, image: str = "") -> PodObserved:
    """The same before its image is here: the status names no digest, and nothing has started."""
    asked = [
        msgspec.structs.replace(
            one, digest="", image=image or one.image, image_id_kind="empty", state="waiting", started=None
        )
        for one in event.pod.containers
    ]
    return msgspec.structs.replace(event, pod=msgspec.structs.replace(event.pod, containers=tuple(asked)))


def states(world: World) -> list[tuple[str, bool, str]]:
    """State, whether it has a digest, why it ended: of the newest document of each id."""
    return sorted((c.state, bool(c.digest), c.end_reason) for c in world.containers().values())


@pytest.mark.parametrize("source", ["watch", "list"])
def test_what_waited_for_its_image_has_ended_when_that_runs(source):
    world = World()
    api = world.image("r.example/a:1")
    world.send(at(waits(world.pod("p", "a-1", {"app": api})), "10", source))
    assert states(world) == [("waiting", False, "")]
    world.now += SECOND
    running = at(world.pod("p", "a-1", {"app": api}), "11", source)
    world.send(running)
    assert states(world) == [("running", True, ""), ("terminated", False, "started")]
    ended = next(c for c in world.containers().values() if not c.digest)
    assert ended.ended == running.pod.containers[0].started
    assert world.send(running) == [], "told twice, said once"
    world.send(at(world.pod("p", "a-1", {"app": api}, gone=True), "12", source))
    assert states(world) == [("terminated", False, "started"), ("terminated", True, "pod-deleted")]


def test_what_waits_under_another_image_takes_the_place_of_the_first():
    world = World()
    api = world.image("r.example/a:1")
    world.send(at(waits(world.pod("p", "a-1", {"app": api})), "10"))
    world.send(at(waits(world.pod("p", "a-1", {"app": api}), "r.example/a:2"), "11"))
    assert states(world) == [("terminated", False, "replaced"), ("waiting", False, "")]
    world.send(at(waits(world.pod("p", "a-1", {"app": api}, gone=True), "r.example/a:2"), "12"))
    assert states(world) == [("terminated", False, "pod-deleted"), ("terminated", False, "replaced")]


def test_a_status_that_is_lost_for_a_moment_makes_no_second_instance():
    world = World()
    api = world.image("r.example/a:1")
    world.send(at(world.pod("p", "a-1", {"app": api}), "10"))
    world.send(at(waits(world.pod("p", "a-1", {"app": api})), "11"))
    assert states(world) == [("running", True, "")]


def test_after_a_restart_what_waited_still_ends():
    """The row that is kept says what was told last."""
    world = World()
    api = world.image("r.example/a:1")
    waiting = at(waits(world.pod("p", "a-1", {"app": api})), "10")
    running = at(world.pod("p", "a-1", {"app": api}), "11")
    first, second = judge(), judge()
    effects = first.process([record(waiting, 0)])
    second.restore([(kind, key, value) for kind, key, value in effects.state if value is not None])
    said = [out.event for out in second.process([record(running, 1)]).outputs]
    told = {one.id: one for one in said if isinstance(one, ContainerChanged)}
    assert sorted((c.state, c.end_reason) for c in told.values()) == [("running", ""), ("terminated", "started")]


def record(event: PodObserved, position: int) -> Record:
    made = output(event)
    return Record(position, made.topic, 0, made.key, made.id, encode(event), made.time)


def judge() -> ClusterJudge:
    made = ClusterJudge(0, 1, Shared(gate(ALICE)))
    made.restore(())
    return made


def local() -> LocalProcessor:
    made = LocalProcessor()
    made.restore(())
    return made


def of_local(effects: Effects) -> Iterable[Document]:
    return [out.event for out in effects.outputs if isinstance(out.event, Document)]


def of_shard(effects: Effects) -> Iterable[Document]:
    return [made for out in effects.outputs for made in documents(out.event)]


@pytest.mark.parametrize(("make", "made_of"), [(local, of_local), (judge, of_shard)], ids=["one process", "a shard"])
def test_both_modes_write_the_same_of_it(
    make: Callable[[], LocalProcessor | ClusterJudge], made_of: Callable[[Effects], Iterable[Document]]
):
    world = World()
    api = world.image("r.example/a:1")
    waiting = at(waits(world.pod("p", "a-1", {"app": api})), "10")
    running = at(world.pod("p", "a-1", {"app": api}), "11")
    under_test, newest = make(), {}
    for number, event in enumerate((waiting, running)):
        for document in made_of(under_test.process([record(event, number)])):
            if document.home == HOMES["containers"]:
                newest[document.id] = document.body
    said = sorted((b["provenance.state"], b.get("provenance.run.end_reason", "")) for b in newest.values())
    assert said == [("running", ""), ("terminated", "started")]
