"""What watchers tell late, twice, or only after the fact, and what the judge makes of it."""

import msgspec
import pytest

from streams.events import PodObserved
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
