"""A shard that is out of sight is unknown: nothing is resolved, and nothing is final, until it speaks again."""

from __future__ import annotations

import msgspec
import pytest

from alerting.incidents import IncidentBook
from alerting.models import Cause, Incident, IncidentAction, IncidentPart, ShardReached
from alerting.ownfindings import Own, Standing, told
from alerting.sight import FEED_AFTER, Feeds, Sight, unseen_of
from verifier.times import HOUR, MINUTE, SECOND

T0 = 1_767_225_600 * SECOND
AFTER = MINUTE
HOLD = 10 * MINUTE
CAUSE = Cause("revocation", "key:aa", "dev", T0, 5)


def part(containers: int, sequence: int, shard: int = 0, at: int = T0) -> IncidentPart:
    return IncidentPart(
        incident="i1", kind="key-revoked", subject="key dev", cause=CAUSE, policy="", severity="critical", shard=shard,
        cluster="c", namespace="n", epoch=5, sequence=sequence, time=at, containers=containers, workloads=containers,
        opened=T0,
    )  # fmt: skip


def reached(book: IncidentBook, shards: int = 2, now: int = T0) -> None:
    for shard in range(shards):
        book.reached(ShardReached(shard, shards, 5, now), now)


def states(book: IncidentBook, start: int, end: int, speak: dict[int, tuple[int, int]]) -> list[str]:
    """States while time goes on from `start` to `end` (minutes); `speak`: shard -> the minutes in which it does."""
    seen: list[str] = []
    for quarter in range(start * 4, end * 4):
        now = T0 + quarter * MINUTE // 4
        for shard, (since, until) in speak.items():
            if since * 4 <= quarter < until * 4:
                book.heard(shard, now)
        seen += [out.state for out in book.tick(now) if isinstance(out, Incident)]
    return seen


def opened(stale_after: int | None = AFTER) -> IncidentBook:
    book = IncidentBook(stale_after=stale_after)
    reached(book)
    for shard in range(2):
        book.heard(shard, T0)
    book.apply(part(3, 1), T0)
    book.apply(part(0, 2, at=T0 + SECOND), T0 + SECOND)
    return book


def test_all_shards_in_sight_resolve_it():
    assert states(opened(), 0, 15, {0: (0, 15), 1: (0, 15)})[-1] == "resolved"


def test_one_silent_shard_keeps_everything_open():
    book = opened()
    assert "resolved" not in states(book, 0, 60, {0: (0, 60)})
    found = book.incident("i1")
    assert found is not None
    assert not found.final
    assert "resolved" in states(book, 60, 61, {0: (60, 61), 1: (60, 61)})


def test_a_short_silence_is_none():
    assert "resolved" in states(opened(), 0, 12, {0: (0, 12), 1: (0, 12)})


def test_without_signs_of_life_nothing_changes():
    """One process on one file: nobody sends any."""
    assert states(opened(None), 0, 15, {})[-1] == "resolved"


def test_after_a_restart_each_shard_has_to_speak_before_anything_is_resolved():
    rows = list(opened().to_rows().items())
    book = IncidentBook.from_rows(rows, stale_after=AFTER)
    assert "resolved" not in states(book, 20, 40, {0: (20, 40)})
    assert "resolved" in states(book, 40, 41, {0: (40, 41), 1: (40, 41)})


def test_a_restart_alone_does_not_make_totals_preliminary():
    book = IncidentBook(stale_after=AFTER)
    reached(book)
    book.heard(0, T0)
    book.heard(1, T0)
    book.apply(part(3, 1), T0)
    states(book, 0, 2, {0: (0, 2), 1: (0, 2)})
    again = IncidentBook.from_rows(list(book.to_rows().items()), stale_after=AFTER)
    again.heard(0, T0 + 2 * MINUTE)
    again.tick(T0 + 2 * MINUTE)
    found = again.incident("i1")
    assert found is not None
    assert found.final


def test_a_person_may_close_what_cannot_be_known():
    book = opened()
    states(book, 0, 30, {0: (0, 30)})
    closed = book.act(IncidentAction("a1", T0 + 30 * MINUTE, "i1", "close", "alice"))
    assert [out.state for out in closed if isinstance(out, Incident)] == ["resolved"]


def test_an_incident_about_revet_itself_needs_no_shard():
    """What the alerter knows by itself it may resolve, also while a shard is silent: that is what it told of."""
    book = opened()
    own = Own("pipeline-stalled", "component", "x", "judge shard 0", "high", "judge shard 0", (("component", "x"),))
    for standing in (Standing(T0, 1, open=True), Standing(T0, 2, open=False, why_closed="converged")):
        book.apply(told(own, standing, T0 + standing.sequence)[1], T0 + standing.sequence)
    states(book, 0, 30, {0: (0, 30)})
    kinds = {i.kind: i.state for i in book.incidents()}
    assert kinds == {"key-revoked": "open", "pipeline-stalled": "resolved"}


def test_the_clock_stops_nothing():
    """`tick` is asked as often as its due time says, and comes to an end each time."""
    book = opened()
    now, asked = T0, 0
    while (due := book.next_due()) is not None and asked < 100 and now < T0 + 60 * MINUTE:
        assert due > now or asked == 0
        now = max(due, now)
        book.tick(now)
        asked += 1
    assert asked < 100


@pytest.mark.parametrize(
    ("shards", "heard", "blind"), [(0, (), False), (2, (), True), (2, (0,), True), (2, (0, 1), False)]
)
def test_who_never_spoke_is_out_of_sight(shards, heard, blind):
    sight = Sight(AFTER)
    for shard in heard:
        sight.heard(shard, T0)
    sight.changed(shards, T0)
    assert sight.blind == blind


# ---------------------------------------------------------------------------------------------------- clusters


def nobody(_cluster: str) -> bool:
    return False


def test_a_cluster_that_is_not_heard_is_lost_until_it_speaks():
    feeds = Feeds(FEED_AFTER)
    assert feeds.next_due() is None
    feeds.seen("prod", T0)
    assert not feeds.changed(T0 + FEED_AFTER, nobody)
    due = feeds.next_due()
    assert due == T0 + FEED_AFTER + 1
    assert feeds.changed(due, nobody)
    assert feeds.lost == {"prod": T0}
    assert feeds.next_due() is None  # nothing more can be lost
    feeds.seen("prod", T0 + HOUR)
    assert feeds.changed(T0 + HOUR, nobody)
    assert feeds.lost == {}


def test_a_cluster_that_is_retired_is_not_missed_and_wakes_nobody():
    feeds = Feeds(FEED_AFTER)
    feeds.seen("prod", T0)
    assert not feeds.changed(T0 + HOUR, lambda name: name == "prod")
    assert feeds.next_due() is None
    feeds.look_again()
    assert feeds.changed(T0 + HOUR, nobody)


def test_a_watcher_whose_clock_is_ahead_is_missed_all_the_same():
    feeds = Feeds(FEED_AFTER)
    feeds.seen("other", T0)
    feeds.seen("prod", T0 + 1000 * HOUR)
    feeds.changed(T0 + FEED_AFTER + 1, nobody)
    feeds.changed(T0 + 2 * FEED_AFTER + 2, nobody)
    assert set(feeds.lost) == {"other", "prod"}


@pytest.mark.parametrize(
    ("lost", "clusters", "everything"),
    [
        ({}, [], False),
        ({"c": T0}, ["c"], False),
        ({"c": T0, "d": T0}, ["c", "d"], True),
        ({"x": T0}, [], False),
    ],
)
def test_what_is_in_sight_elsewhere_is_known(lost, clusters, everything):
    parts = [part(3, 1), msgspec.structs.replace(part(2, 1), cluster="d")]
    found = unseen_of(parts, lost, blind=False)
    assert ([name for name, *_ in found.clusters], found.all) == (clusters, everything)
    assert unseen_of(parts, lost, blind=True).all


def test_nothing_left_in_a_cluster_that_is_not_seen_is_not_known_to_be_nothing():
    found = unseen_of([part(0, 1)], {"c": T0}, blind=False)
    assert (found.clusters, found.all) == ((("c", T0, 0),), True)
