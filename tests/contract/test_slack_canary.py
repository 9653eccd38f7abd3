"""Slack: the canary sings where it can be seen, and the watchman is called only then."""

from __future__ import annotations

import asyncio
import time

import pytest

from alerting.adapters.webhook import ping
from streams.canary import Canary
from streams.serving.alerting import SlackTeller, _Now, canary_of
from streams.serving.process import Process
from streams.settings import Settings
from streams.tellers import channels_of
from streams.telling import Courier
from tests.helpers.slack_server import Workspace, serving
from tests.helpers.slackworld import SECURITY, World, world

pytestmark = pytest.mark.asyncio

CHANNEL = "C0CANARY1"


class Watchman:
    def __init__(self, answers: bool = True) -> None:
        self.calls, self.answers = 0, answers

    async def __call__(self) -> bool:
        self.calls += 1
        return self.answers


def canary(w: World, watchman: Watchman, *, active: bool = True) -> tuple[Canary, list[tuple[str, str]]]:
    said: list[tuple[str, str]] = []
    return Canary(w.notifier, watchman, lambda: active, lambda: w.now, lambda *one: said.append(one)), said


async def test_a_canary_that_arrived_calls_the_watchman() -> None:
    async with world(table={"canary": CHANNEL}) as w:
        watchman = Watchman()
        one, said = canary(w, watchman)
        assert await one.sing() == "ok"
        assert (watchman.calls, said) == (1, [("ok", "")])
        assert [shown.text.startswith("RESOLVED TEST") for shown in w.slack.parents(CHANNEL)] == [True]
        assert w.parents() == []


@pytest.mark.parametrize(
    ("method", "fault", "step"),
    [
        ("chat.postMessage", "invalid_auth", "post: invalid_auth"),
        ("chat.postMessage", "drop-before", "post: ServerDisconnectedError"),
        ("conversations.history", "missing_scope", "find: missing_scope"),
        ("chat.update", "500", "edit: internal_error"),
    ],
)
async def test_a_canary_that_nobody_sees_does_not_call_the_watchman(method: str, fault: str, step: str) -> None:
    async with world(table={"canary": CHANNEL}) as w:
        w.slack.fault(method, fault)
        watchman = Watchman()
        one, said = canary(w, watchman)
        assert await one.sing() == "failed"
        assert (watchman.calls, said) == (0, [("failed", step)])


async def test_who_stands_by_sings_nothing_and_a_watchman_who_sleeps_is_told_of() -> None:
    async with world(table={"canary": CHANNEL}) as w:
        watchman = Watchman(answers=False)
        assert await canary(w, watchman, active=False)[0].sing() == "standby"
        assert w.slack.parents(CHANNEL) == []
        assert watchman.calls == 0
        assert await canary(w, watchman)[0].sing() == "unheard"


async def test_who_becomes_active_sings_soon_and_not_at_the_next_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that starts is not active yet: a quarter of an hour of silence would wake somebody for nothing."""
    monkeypatch.setattr("streams.canary.LOOK_AGAIN", 0.01)
    async with world(table={"canary": CHANNEL}) as w:
        looks = [False, False]
        said: list[str] = []
        one = Canary(
            w.notifier, None, lambda: looks.pop() if looks else True, lambda: w.now, lambda o, _: said.append(o)
        )
        singing = asyncio.create_task(one.run(900))
        async with asyncio.timeout(20):
            while "ok" not in said:  # noqa: ASYNC110  # no event tells of it
                await asyncio.sleep(0.01)
        singing.cancel()
        assert said == ["standby", "standby", "ok"]


async def test_an_address_that_does_not_answer_is_no_call() -> None:
    assert not await ping("http://127.0.0.1:1/SECRET", 1)
    async with world() as w:
        assert not await ping(w.slack.url + "auth.test?x", 1) or w.slack.calls["auth.test"] == 1


async def test_a_process_sings_only_while_it_works() -> None:
    """Acceptance 18, the second half: when the alerter does not come to its work, the watchman hears nothing."""
    slack = Workspace(lambda: time.time_ns() // 1000)
    slack.know(SECURITY, CHANNEL)
    async with serving(slack):
        given = Settings.model_validate(
            {"slack": {"token": slack.token, "api": slack.url, "channels": {"security": SECURITY, "canary": CHANNEL}}}
        )
        channels, process = channels_of(given), Process("alert", given)
        assert channels is not None
        async with world() as w:
            teller = SlackTeller(process, Courier(w.notifier), _Now(wall=True))
        assert not teller.is_active()
        async with canary_of(process, channels, teller) as singing:
            await asyncio.sleep(0.1)
            assert slack.parents(CHANNEL) == []
            singing.cancel()
        teller._worked = time.monotonic()
        async with canary_of(process, channels, teller) as singing, asyncio.timeout(20):
            while not slack.parents(CHANNEL) or not slack.parents(CHANNEL)[0].edits:  # noqa: ASYNC110  # no event tells of it
                await asyncio.sleep(0.02)
            singing.cancel()
