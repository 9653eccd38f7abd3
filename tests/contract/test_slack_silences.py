"""Silences in a workspace: nothing makes a noise, what stands says so, the end is told once; a kill changes nothing."""

from __future__ import annotations

import pytest

from alerting.models import SilenceAction, SilenceScope
from tests.helpers.slackworld import SECURITY, T0, World, world
from verifier.times import HOUR, MINUTE, SECOND

CODE = SilenceScope(codes=("key-revoked",))


def silence(w: World, scope: SilenceScope = CODE, *, name: str = "s1", length: int = HOUR, by: str = "ann") -> None:
    action = SilenceAction(f"{name}:add", w.now, name, "add", by, "a drill", scope, w.now + length)
    list(w.alerter.handle(action, w.now))


def end(w: World, name: str = "s1") -> None:
    list(w.alerter.handle(SilenceAction(f"{name}:end", w.now, name, "end", "ben", "over"), w.now))


def replies(w: World, channel: str = SECURITY) -> list[str]:
    (parent,) = w.slack.parents(channel)
    return [reply.text for reply in w.slack.replies(channel, parent.ts)]


@pytest.mark.asyncio
async def test_nobody_hears_of_it_until_the_silence_expires_and_then_once() -> None:
    async with world() as w:
        w.reached()
        silence(w)
        w.part(containers=3)
        await w.pump(59 * MINUTE)
        assert w.parents() == []
        await w.pump(10 * MINUTE)
        (parent,) = w.parents()
        assert parent.startswith("CRITICAL")
        await w.pump(2 * HOUR)
        assert len(w.parents()) == 1
        assert replies(w) == []


@pytest.mark.asyncio
async def test_a_message_that_stands_says_that_it_is_silenced_and_what_is_left_at_the_end() -> None:
    async with world(reminders=True) as w:
        w.reached()
        w.part(containers=3)
        await w.pump(MINUTE)
        silence(w)
        await w.pump(59 * MINUTE)
        (parent,) = w.parents()
        assert parent.startswith("SILENCED CRITICAL")
        assert replies(w) == []  # three reminders would have been due
        end(w)
        await w.pump(MINUTE)
        (said,) = replies(w)
        assert "the silence by ann has ended: 3 containers still open" in said
        assert w.parents()[0].startswith("CRITICAL")


@pytest.mark.asyncio
async def test_resolved_and_acknowledged_pass_through() -> None:
    async with world() as w:
        w.reached()
        incident = w.part(containers=3)
        await w.pump(MINUTE)
        silence(w)
        w.act(incident, "ack")
        w.part(containers=0)
        await w.pump(30 * MINUTE)
        assert ["acknowledged" in text or "resolved" in text for text in replies(w)] == [True, True]
        assert w.parents()[0].startswith("RESOLVED")


@pytest.mark.asyncio
async def test_a_silence_of_everything_is_refused_and_silences_nothing() -> None:
    async with world() as w:
        w.reached()
        silence(w, SilenceScope())
        silence(w, SilenceScope(namespaces=("*",)), name="s2")
        w.part(containers=3)
        await w.pump(MINUTE)
        assert len(w.parents()) == 1


@pytest.mark.asyncio
async def test_one_team_is_left_alone_and_the_others_are_told() -> None:
    async with world(2) as w:
        w.reached()
        for number in range(2):
            w.own(f"n{number}", team=f"t{number}")
        silence(w, SilenceScope(codes=("key-revoked",), teams=("t0",)))
        for number in range(2):
            w.part(f"n{number}", containers=3)
        await w.pump(10 * MINUTE)
        assert [len(w.parents(channel)) for channel in (SECURITY, "C0TEAM000", "C0TEAM001")] == [1, 0, 1]
        await w.pump(HOUR)
        assert [len(w.parents(channel)) for channel in (SECURITY, "C0TEAM000", "C0TEAM001")] == [1, 1, 1]


@pytest.mark.asyncio
async def test_a_kill_loses_no_silence_and_tells_its_end_once() -> None:
    async with world() as w:
        w.reached()
        w.part(containers=3)
        await w.pump(MINUTE)
        silence(w)
        await w.pump(MINUTE)
        await w.restart()
        w.reached()
        await w.pump(30 * MINUTE)
        assert w.parents()[0].startswith("SILENCED")
        await w.restart()
        w.reached()
        await w.pump(HOUR)
        await w.restart()
        w.reached()
        await w.pump(10 * MINUTE)
        (said,) = replies(w)
        assert "has ended" in said
        assert w.now - T0 > 100 * SECOND
