"""Storms: many different incidents at once become a digest, one a minute; what is critical never does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from alerting.models import Severity
from alerting.storm import OPEN_LIMIT
from streams.alerter import Alerter
from tests.helpers.slack_server import block_trouble, words
from tests.helpers.slackworld import SECURITY, World, world
from verifier.times import HOUR, MINUTE, SECOND

pytestmark = pytest.mark.asyncio


@asynccontextmanager
async def stormy(after: int = 5) -> AsyncIterator[World]:
    async with world(storm_after=after) as w:
        w.reached()
        yield w


def several(w: World, number: int, *, severity: Severity = "high", first: int = 0, containers: int = 1) -> list[str]:
    """So many incidents, each of an image of its own."""
    return [
        w.part(f"n{n}", containers, cause=f"image {n}", kind="none", code="unsigned", severity=severity)
        for n in range(first, first + number)
    ]


def again(w: World, n: int, containers: int, incident: str, severity: Severity = "high") -> None:
    """News of one of them."""
    w.part(f"n{n}", containers, cause=f"image {n}", kind="none", code="unsigned", severity=severity, incident=incident)


def inside(w: World, incidents: list[str]) -> list[str]:
    """Which of them have no message of their own."""
    alone = {row.incident for row in w.alerter.ledger.rows()}
    return [incident for incident in incidents if incident not in alone]


def digests(w: World) -> list[str]:
    return [text for text in w.parents() if "DIGEST" in text]


async def test_beyond_five_a_minute_there_is_one_digest() -> None:
    async with stormy() as w:
        several(w, 30)
        await w.pump(3 * MINUTE)
        assert len(w.parents()) == 6
        (digest,) = digests(w)
        assert "DIGEST HIGH: 25 new incidents: 25 image runs without a signature" in digest
        shown = words(next(s for s in w.slack.parents(SECURITY) if "DIGEST" in s.text))
        assert shown.count("INC-") == 10  # the worst ten by name, and how many there are
        assert "10 of 25, the worst first" in shown
        assert "revet incident list" in shown
        assert "revet incident show DIG" not in shown


async def test_up_to_five_a_minute_there_is_none() -> None:
    async with stormy() as w:
        for minute in range(4):
            several(w, 5, first=5 * minute)
            await w.pump(2 * MINUTE)
        assert (len(w.parents()), digests(w)) == (20, [])


async def test_what_is_critical_always_stands_on_its_own() -> None:
    async with stormy() as w:
        several(w, 20)
        several(w, 8, severity="critical", first=50)
        await w.pump(3 * MINUTE)
        assert sum("CRITICAL" in text for text in w.parents()) == 8
        assert len(digests(w)) == 1


async def test_a_storm_that_lasts_makes_one_new_message_a_minute_and_few_edits() -> None:
    async with stormy() as w:
        for second in range(0, 300, 3):
            several(w, 2, first=10 * second)
            await w.pump(3 * SECOND)
        await w.pump(2 * MINUTE)
        told = len(w.parents())
        # 5 a minute of their own until 50 are open is the most there can be beside the digests
        assert len(digests(w)) in (5, 6)
        assert told - len(digests(w)) <= 5 * 6
        assert sum(s.edits for s in w.slack.parents(SECURITY) if "DIGEST" in s.text) <= 3 * len(digests(w))
        assert w.slack.limited["post"] == w.slack.limited["edit"] == 0
        named = sum(int(text.partition("DIGEST HIGH: ")[2].split()[0]) for text in digests(w))
        assert named + told - len(digests(w)) == 200  # each of them is in one message, and in one only


async def test_over_fifty_open_only_what_is_critical_is_told_alone() -> None:
    async with stormy() as w:
        for minute in range(OPEN_LIMIT // 5):
            several(w, 5, first=5 * minute)
            await w.pump(90 * SECOND)
        assert (len(w.parents()), digests(w)) == (OPEN_LIMIT, [])
        several(w, 1, first=900)
        several(w, 1, first=901, severity="critical")
        await w.pump(2 * MINUTE)
        assert len(w.parents()) == OPEN_LIMIT + 2
        assert len(digests(w)) == 1


async def test_what_becomes_critical_leaves_the_digest_at_once() -> None:
    async with stormy() as w:
        incidents = several(w, 12)
        await w.pump(2 * MINUTE)
        incident = inside(w, incidents)[0]
        assert not any("CRITICAL" in text for text in w.parents())
        again(w, incidents.index(incident), 5, incident, severity="critical")
        await w.pump(2 * MINUTE)
        (alone,) = [text for text in w.parents() if "CRITICAL" in text]
        assert "5 containers" in alone
        assert "6 new incidents" in digests(w)[0]


async def test_what_nobody_takes_comes_alone_when_it_is_calm_again() -> None:
    async with world(storm_after=5, reminders=True) as w:
        w.reached()
        several(w, 8)
        await w.pump(2 * MINUTE)
        assert (len(w.parents()), len(digests(w))) == (6, 1)
        await w.pump(HOUR + 5 * MINUTE)  # each is said again; five a minute of them come by themselves
        assert len(w.parents()) == 9
        assert len(w.slack.replies(SECURITY)) == 5


async def test_it_is_over_when_everything_in_it_is() -> None:
    async with stormy() as w:
        incidents = several(w, 8)
        await w.pump(2 * MINUTE)
        last = incidents.index(inside(w, incidents)[-1])
        for n in range(8):
            if n != last:
                again(w, n, 0, incidents[n])
        await w.pump(20 * MINUTE)
        assert "DIGEST HIGH: 1 of 3 new incidents open" in digests(w)[0]
        again(w, last, 0, incidents[last])
        await w.pump(20 * MINUTE)
        assert all("RESOLVED" in text for text in w.parents())
        again(w, last, 2, incidents[last])  # it is back: that is heard, so it comes alone
        await w.pump(2 * MINUTE)
        assert "2 containers" in w.parents()[-1]
        assert "DIGEST" not in w.parents()[-1]


async def test_a_restart_in_the_storm_posts_nothing_again_and_goes_on() -> None:
    async with stormy() as w:
        incidents = several(w, 30)
        await w.pump(2 * MINUTE)
        before, posts = w.parents(), w.slack.calls["chat.postMessage"]
        await w.restart()
        await w.pump(10 * MINUTE)
        assert (w.parents(), w.slack.calls["chat.postMessage"]) == (before, posts)
        moved = inside(w, incidents)[3]
        again(w, incidents.index(moved), 40, moved)
        await w.pump(10 * MINUTE)
        assert w.slack.calls["chat.postMessage"] == posts
        assert "64 containers" in words(next(s for s in w.slack.parents(SECURITY) if "DIGEST" in s.text))


async def test_a_digest_whose_answer_was_lost_is_found_and_stands_once() -> None:
    async with stormy(after=1) as w:
        several(w, 10)
        w.slack.fault("chat.postMessage", "drop-after", "drop-after")
        await w.pump(5 * MINUTE)
        assert (len(w.parents()), len(digests(w))) == (2, 1)


async def test_hostile_names_in_a_digest_do_nothing() -> None:
    async with stormy(after=1) as w:
        for n, text in enumerate(("<!channel>", "<https://evil.example|x>", "`*_~@", "\u202e\x1b[2J", "a" * 70_000)):
            w.part(f"n{n}", cause=f"{n}", text=text, kind="none", code="unsigned", severity="high")
        await w.pump(3 * MINUTE)
        digest = next(s for s in w.slack.parents(SECURITY) if "DIGEST" in s.text)
        assert not [t for block in digest.blocks for t in block_trouble(block)]
        assert "<!channel>" not in digest.text
        assert "\u202e" not in words(digest)


async def test_it_is_off_where_nobody_asked_for_it() -> None:
    async with stormy(after=0) as w:
        several(w, 30)
        await w.pump(5 * MINUTE)
        assert (len(w.parents()), digests(w)) == (30, [])
    assert Alerter().routes.storm_after == 0
