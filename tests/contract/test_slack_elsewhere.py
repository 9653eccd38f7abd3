"""Where messages go when Slack takes none: a webhook, PagerDuty, Alertmanager; each by its published contract."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import pytest
from aiohttp import web

from alerting.adapters.webhook import Every, HttpNotifier, alertmanager, pagerduty, webhook
from alerting.calls import Answer, AsyncNotifier, Failed, Find, Found, Post, Posted, Update
from alerting.delivery import SEND_DEADLINE
from alerting.elsewhere import pagerduty_body
from alerting.render import Message
from tests.helpers.slackworld import LINKS, T0, world
from verifier.times import MINUTE, SECOND

pytestmark = pytest.mark.asyncio

KEY = "PDKEY-of-the-test"


class Place:
    """An HTTP service that remembers what it was told, and checks it where there is a contract."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any, str]] = []
        self.statuses: list[int] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.told.append((request.path, body, request.headers.get("Idempotency-Key", "")))
        status = self.statuses.pop(0) if self.statuses else 202
        if status == 0 and request.transport is not None:
            request.transport.abort()
        if status == 302:
            return web.Response(status=302, headers={"Location": "https://evil.example/"})
        return web.Response(status=status or 200, headers={"Retry-After": "7"} if status == 429 else {})


@asynccontextmanager
async def place() -> AsyncIterator[Place]:
    one = Place()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", one.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    one.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield one
    finally:
        await runner.cleanup()


async def message(state: str = "open", text: str = "x") -> Message:
    async with world() as w:
        w.reached()
        incident = w.part(containers=3, text=text)
        list(w.alerter.tick(w.now))
        if state == "resolved":
            w.part(containers=0)
            w.now += 11 * MINUTE
            list(w.alerter.tick(w.now))
        found = w.alerter.message(incident, "fallback")
        assert found is not None
        return found


def post(text: Message, now: int = T0) -> Post:
    return Post("v1:delivery", "fallback", text, now + SEND_DEADLINE)


def update(text: Message, now: int = T0) -> Update:
    return Update("v1:delivery", "fallback", text, now + SEND_DEADLINE, "webhook", "x")


async def test_a_webhook_is_told_everything_as_data() -> None:
    async with place() as one:
        notifier = webhook(one.url + "/hook", LINKS, lambda: T0)
        hostile = await message(text="<!channel> https://evil.example")
        assert await notifier.answer(post(hostile)) == Posted("webhook", "v1:delivery")
        ((path, body, key),) = one.told
        assert (path, key) == ("/hook", f"v1:delivery/{hostile.revision}")
        assert body["schema"] == "revet.alert/v1"
        assert (body["event"], body["state"], body["severity"]) == ("opened", "open", "critical")
        assert set(body["links"]) == {"docs", "members", "timeline"}
        assert all(
            url.startswith(("https://docs.example/", "https://kibana.example/")) for url in body["links"].values()
        )


async def test_pagerduty_is_triggered_and_resolved_under_one_key() -> None:
    """Events API v2: routing_key, event_action, dedup_key <= 255, payload with summary <= 1024, source, severity."""
    async with place() as one:
        notifier = pagerduty(one.url, KEY, LINKS, lambda: T0 + 11 * MINUTE)
        opened, over = await message(), await message("resolved")
        assert isinstance(await notifier.answer(post(opened, T0 + 11 * MINUTE)), Posted)
        assert isinstance(await notifier.answer(update(over, T0 + 11 * MINUTE)), Posted)
        first, second = (body for _, body, _ in one.told)
        assert (first["event_action"], second["event_action"]) == ("trigger", "resolve")
        assert first["dedup_key"] == second["dedup_key"] == opened.incident
        assert len(first["dedup_key"]) <= 255
        assert first["routing_key"] == KEY
        assert len(first["payload"]["summary"]) <= 1024
        assert first["payload"]["severity"] in {"critical", "error", "warning", "info"}
        datetime.fromisoformat(first["payload"]["timestamp"])


async def test_alertmanager_gets_an_alert_that_ends_when_it_is_over() -> None:
    """API v2: a list of alerts; labels are strings; a resolved one ends in the past or now."""
    async with place() as one:
        notifier = alertmanager(one.url + "/", LINKS, lambda: T0 + 11 * MINUTE)
        opened, over = await message(), await message("resolved")
        for call in (post(opened, T0 + 11 * MINUTE), update(over, T0 + 11 * MINUTE)):
            assert isinstance(await notifier.answer(call), Posted)
        assert {path for path, _, _ in one.told} == {"/api/v2/alerts"}
        (first,), (second,) = (body for _, body, _ in one.told)
        assert first["labels"] == second["labels"], "the same alert"
        assert all(isinstance(value, str) for value in first["labels"].values())
        begin, end = datetime.fromisoformat(first["startsAt"]), datetime.fromisoformat(first["endsAt"])
        assert begin < end
        assert datetime.fromisoformat(second["endsAt"]).timestamp() * SECOND == over.as_of


@pytest.mark.parametrize(
    ("status", "kind", "wait"),
    [
        (400, "refused", 0), (401, "stopped", 0), (403, "stopped", 0), (404, "refused", 0), (302, "refused", 0),
        (429, "not-sent", 7 * SECOND), (500, "not-sent", 0), (503, "not-sent", 0), (0, "ambiguous", 0),
    ],
)  # fmt: skip
async def test_what_an_answer_means(status: int, kind: str, wait: int) -> None:
    """A redirect is not followed: it would carry the message, and the key, somewhere else."""
    async with place() as one:
        one.statuses = [status]
        notifier = pagerduty(one.url, KEY, LINKS, lambda: T0)
        answer = await notifier.answer(post(await message()))
        assert isinstance(answer, Failed)
        assert (answer.kind, answer.retry_after) == (kind, wait)
        assert KEY not in repr(answer) + repr(notifier)
        assert one.url not in repr(answer) + repr(notifier)


async def test_nobody_listens_and_deadlines_count() -> None:
    gone = webhook("http://127.0.0.1:1/SECRET", LINKS, lambda: T0)
    answer = await gone.answer(post(await message()))
    assert answer == Failed("not-sent", "webhook: ClientConnectorError")
    assert await gone.answer(post(await message(), T0 - MINUTE)) == Failed("not-sent", "the deadline was over")
    assert await gone.answer(Find("d", "fallback", T0, T0)) == Found((), certain=True)
    assert "SECRET" not in repr(gone)


class Says:
    def __init__(self, answer: Answer) -> None:
        self.said = answer

    async def answer(self, call: object) -> Answer:
        return self.said


OK, AGAIN, NEVER = Posted("c", "1"), Failed("not-sent"), Failed("refused")


@pytest.mark.parametrize(
    ("answers", "whole"),
    [
        ([OK, OK], OK), ([OK, NEVER], OK), ([NEVER, OK], OK), ([OK, AGAIN], AGAIN), ([AGAIN, NEVER], AGAIN),
        ([NEVER, NEVER], NEVER),
    ],
)  # fmt: skip
async def test_one_that_refuses_for_good_holds_up_nobody(answers: list[Answer], whole: Answer) -> None:
    places: list[AsyncNotifier] = [Says(answer) for answer in answers]
    assert await Every(places).answer(post(await message())) == whole


async def test_an_outage_of_slack_triggers_and_resolves_at_pagerduty() -> None:
    """Acceptance 13, with a service instead of a terminal: what was opened there is closed there."""
    async with world() as w, place() as one:
        w.aside = pagerduty(one.url, KEY, LINKS, lambda: w.now)
        await w.restart()
        w.slack.token_error = "token_revoked"
        w.reached()
        w.part(containers=3)
        await w.pump()
        assert [body["event_action"] for _, body, _ in one.told] == ["trigger"]
        w.slack.token_error = ""
        w.part(containers=0)
        await w.pump(30 * MINUTE)
        actions = [body["event_action"] for _, body, _ in one.told]
        assert (actions[0], actions.index("resolve"), actions.count("resolve")) == ("trigger", len(actions) - 1, 1)
        assert w.parents()[0].startswith("RESOLVED")


async def test_news_of_one_incident_elsewhere_come_once_a_minute_at_most() -> None:
    async with world() as w, place() as one:
        w.aside = webhook(one.url, LINKS, lambda: w.now)
        await w.restart()
        w.slack.token_error = "token_revoked"
        w.reached()
        for containers in range(1, 60):
            w.part(containers=containers)
            await w.pump(3 * SECOND)
        assert 2 <= len(one.told) <= 5
        assert "59 containers" in json.dumps(one.told[-1][1]) or len(one.told) >= 3


async def test_a_body_holds_the_key_and_nothing_else_does() -> None:
    body = pagerduty_body(post(await message()), LINKS, KEY)
    assert [name for name, value in body.items() if KEY in json.dumps(value)] == ["routing_key"]
    assert KEY not in repr(HttpNotifier("x", "https://x", lambda _: None, lambda: 0))
