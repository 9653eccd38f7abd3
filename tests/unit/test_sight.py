"""Sight of a feed: stretches, what joins them, and that a pod made while revet was blind is nobody's finding."""

import itertools

import msgspec
import pytest

from streams.sight import BRIDGED, DELIVERED, STRETCHES_KEPT, FeedRow
from tests.helpers.world import START, World
from verifier.times import MINUTE

HOUR = 60 * MINUTE


def row(*stretches: tuple[int, int]) -> FeedRow:
    (since, last), *rest = stretches
    made = FeedRow(since, last)
    for since, last in rest:
        made = made.seen(since, last)
    return made


@pytest.mark.parametrize(
    ("stretches", "expected"),
    [
        pytest.param([(0, 10), (0, 20)], [(0, 20)], id="one collector goes on"),
        pytest.param([(0, 10), (5, 30), (0, 20)], [(0, 30)], id="two collectors side by side"),
        pytest.param([(0, 10), (10 + BRIDGED, HOUR)], [(0, HOUR)], id="a break the sender outlasts"),
        pytest.param([(0, 10), (11 + BRIDGED, HOUR)], [(0, 10), (11 + BRIDGED, HOUR)], id="a longer one is a gap"),
        pytest.param([(0, 10), (HOUR, 2 * HOUR), (5, HOUR)], [(0, 2 * HOUR)], id="closed by one who saw it"),
        pytest.param([(HOUR, HOUR), (0, 0)], [(0, 0), (HOUR, HOUR)], id="told late"),
        pytest.param([(10, 10), (5, 1)], [(5, 10)], id="a clock that went back"),
    ],
)
def test_stretches_are_the_union_in_whatever_order_they_are_told(stretches, expected):
    for told in itertools.permutations(stretches):
        made = row(*told)
        assert [*made.earlier, (made.since, made.last)] == expected


def test_an_instant_lies_in_a_stretch_in_a_gap_or_before_everything():
    made = row((0, HOUR), (3 * HOUR, 4 * HOUR))
    assert made.around(-1) is None
    assert made.around(HOUR) == (0, HOUR)
    assert made.around(2 * HOUR) is None
    assert made.around(9 * HOUR) == (3 * HOUR, 4 * HOUR), "the newest has no end yet"


def test_the_first_stretch_is_kept_however_many_follow():
    made = row(*((n * HOUR, n * HOUR) for n in range(3 * STRETCHES_KEPT)))
    assert len(made.earlier) == STRETCHES_KEPT - 1
    assert made.first == 0
    assert made.since == (3 * STRETCHES_KEPT - 1) * HOUR


def test_a_row_that_an_earlier_version_stored_is_read():
    assert msgspec.msgpack.decode(msgspec.msgpack.encode([3, 4]), type=FeedRow) == FeedRow(3, 4)


# ------------------------------------------------------------------------------------------------------- no false alarm


def a_world_blind_for(minutes: int) -> World:
    """Both feeds were seen for ten minutes, then nothing for some, then both again."""
    world = World()
    for _ in range(10):
        world.feeds(since=START)
        world.now += MINUTE
    world.now += minutes * MINUTE
    return world


def look_later(world: World) -> list[str]:
    again = world.now
    for _ in range(10):
        world.feeds(since=again)
        world.wait(MINUTE)
    return world.open_codes()


def test_a_pod_made_while_revet_was_down_is_no_finding():
    """Its admission was given up by the API server; the list of pods of the new watch shows the pod."""
    world = a_world_blind_for(30)
    created = world.now - 15 * MINUTE
    world.send(world.pod("p", "made-in-the-dark", {"app": world.image("r.example/a:1")}, created=created))
    assert look_later(world) == []


def test_a_pod_made_just_before_the_receiver_died_is_no_finding():
    """Its audit event waited in the API server's batch."""
    world = World()
    world.feeds(since=START)
    world.now += 10 * MINUTE
    world.feeds(since=START)
    created = world.now - DELIVERED // 2
    world.send(world.pod("p", "made-too-late", {"app": world.image("r.example/a:1")}, created=created))
    world.wait(30 * MINUTE)
    assert world.open_codes() == []
    assert look_later(world) == []


def test_a_pod_made_in_sight_is_a_finding_also_when_it_is_seen_after_a_gap():
    world = a_world_blind_for(30)
    created = START + 5 * MINUTE
    world.send(world.pod("p", "made-in-sight", {"app": world.image("r.example/a:1")}, created=created))
    assert look_later(world) == ["unadmitted"]


def test_a_pod_made_after_the_gap_is_a_finding():
    world = a_world_blind_for(30)
    world.feeds()
    world.now += MINUTE
    world.send(world.pod("p", "made-after", {"app": world.image("r.example/a:1")}))
    assert look_later(world) == ["unadmitted"]
