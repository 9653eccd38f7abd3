"""Sight is lost: the message says UNKNOWN, nothing resolves, and once it is back things go on as they stood."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streams.events import FeedSeen, ProgressSeen
from tests.helpers.slackworld import World, world
from verifier.times import HOUR, MINUTE, SECOND
from verifier.trust.state import ClusterEntry, TrustState

BEAT = 20 * SECOND


def _beat(w: World, *, judge: bool, feed: bool) -> None:
    """Signs of life of the shard, and of the watcher of the cluster's pods."""
    if judge:
        seen = ProgressSeen(f"p{w.now}", w.now, "judge", "judge-1", 0, 1, 0, 5, "")
        list(w.alerter.handle(seen, w.now))
    if feed:
        list(w.alerter.handle(FeedSeen(f"f{w.now}", w.now, "prod", "pods", w.now), w.now))


async def live(w: World, length: int, *, judge: bool = True, feed: bool = True) -> None:
    end = w.now + length
    while w.now < end:
        _beat(w, judge=judge, feed=feed)
        await w.pump(BEAT)


async def told(w: World) -> None:
    w.reached()
    _beat(w, judge=True, feed=True)
    w.part(containers=3)
    await live(w, MINUTE)
    assert w.parents()[0].startswith("CRITICAL")


def header(w: World) -> str:
    parent = next(p for p in w.slack.parents("C0SEC0001") if "pipeline" not in p.text)
    line: str = parent.blocks[1]["elements"][0]["text"]
    return line.partition(" · ")[0] + "|" + parent.text


@pytest.mark.asyncio
async def test_pods_that_are_gone_resolve_after_the_hold() -> None:
    async with world(stalled_after=MINUTE) as w:
        await told(w)
        w.part(containers=0)
        await live(w, 9 * MINUTE)
        assert header(w).startswith("OPEN|CRITICAL")
        await live(w, 3 * MINUTE)
        assert header(w).startswith("RESOLVED|RESOLVED")


@pytest.mark.asyncio
async def test_a_cluster_that_is_not_heard_is_unknown_and_never_resolved_and_goes_on_when_it_is_back() -> None:
    async with world(stalled_after=MINUTE) as w:
        await told(w)
        await live(w, 20 * MINUTE, feed=False)
        assert header(w).startswith("UNKNOWN OPEN|UNKNOWN CRITICAL")
        (parent,) = w.slack.parents("C0SEC0001")
        assert "cluster prod since" in str(parent.blocks)
        await live(w, 2 * HOUR, feed=False)
        assert header(w).startswith("UNKNOWN OPEN")
        await live(w, 10 * MINUTE)
        assert header(w).startswith("OPEN|CRITICAL")
        w.part(containers=0)
        await live(w, 12 * MINUTE)
        assert header(w).startswith("RESOLVED")
        assert len(w.slack.parents("C0SEC0001")) == 1


@pytest.mark.asyncio
async def test_sight_that_is_lost_within_the_hold_keeps_it_open() -> None:
    async with world(stalled_after=MINUTE) as w:
        await told(w)
        w.part(containers=0)
        await live(w, HOUR, feed=False)
        assert header(w).startswith("UNKNOWN OPEN|UNKNOWN CRITICAL")
        await live(w, 12 * MINUTE)
        assert header(w).startswith("RESOLVED")


@pytest.mark.asyncio
async def test_a_shard_that_is_not_heard_is_unknown_too() -> None:
    async with world(stalled_after=MINUTE) as w:
        await told(w)
        w.part(containers=0)
        await live(w, HOUR, judge=False)
        assert header(w).startswith("UNKNOWN OPEN")
        await live(w, 12 * MINUTE)
        assert header(w).startswith("RESOLVED")


@pytest.mark.asyncio
async def test_a_cluster_that_is_retired_is_not_missed() -> None:
    async with world(stalled_after=MINUTE) as w:
        await told(w)
        gone = ClusterEntry("prod", "prod-eu", (), ("pods",), 1, 1, 2, 2, retired_at=2)
        list(w.alerter.trust_changed(replace(TrustState.empty(), clusters={"prod": gone}), w.now))
        await live(w, 20 * MINUTE, feed=False)
        assert header(w).startswith("OPEN|CRITICAL")


@pytest.mark.asyncio
async def test_what_is_left_elsewhere_is_known_and_the_rest_is_named() -> None:
    async with world(stalled_after=MINUTE) as w:
        w.reached()
        _beat(w, judge=True, feed=True)
        list(w.alerter.handle(FeedSeen("f", w.now, "other", "pods", w.now), w.now))
        incident = w.part(containers=3)
        w.part("shop2", containers=2, incident=incident)
        await live(w, 10 * MINUTE)
        assert header(w).startswith("OPEN|CRITICAL")  # the other cluster has nothing in it
