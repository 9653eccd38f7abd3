"""The ledger's checkpoint in Slack: one line a day, wherever a process dies and however often it is said."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from alerting.blocks import Layout, lay_out
from alerting.daily import KEPT
from streams.events import LedgerDay
from tests.helpers.slackworld import LINKS, SECURITY, T0, Died, World, world
from verifier.times import DAY, HOUR, MINUTE, show_instant

pytestmark = pytest.mark.asyncio

LEDGER = "C0LEDGER1"
HEAD = bytes(range(32))
ROOT = base64.b64encode(HEAD).decode()


def day(at: int, size: int = 12_345, head: bytes = HEAD, key: str = "ledger-3f2a9c01") -> LedgerDay:
    made = f"ledger-day:revet-ledger/9f86d081:{show_instant(at)[:10]}"
    return LedgerDay(made, at, "revet-ledger/9f86d081", 17, size, head, key, "q83vEjRWeJq83vEjRWeJ")


@asynccontextmanager
async def daily() -> AsyncIterator[World]:
    async with world(table={"ledger": LEDGER}) as w:
        w.routes = w.routes.model_copy(update={"checkpoints": "ledger"})
        await w.restart()
        w.reached()
        yield w


def said(w: World, event: LedgerDay) -> None:
    assert list(w.alerter.handle(event, w.now)) == []
    w.save()


async def test_root_size_signature_and_link_stand_in_their_channel_once_a_day() -> None:
    async with daily() as w:
        for hours in range(0, 48, 6):
            said(w, day(T0 + hours * HOUR, 1000 + hours))
            await w.pump(HOUR)
        days = {show_instant(T0 + hours * HOUR)[:10] for hours in range(0, 48, 6)}
        lines = w.parents(LEDGER)
        assert len(lines) == len(days) == 3
        assert w.parents(SECURITY) == []
        assert f"1,000 entries, root {ROOT}" in lines[0]
        shown = w.slack.parents(LEDGER)[0]
        text = json.dumps(shown.blocks, ensure_ascii=False)
        for part in (
            ROOT,
            "1,000 entries in 18 batches",
            "ledger-3f2a9c01",
            "q83vEjRWeJq83vEjRWeJ…",
            "revet ledger verify",
        ):
            assert part in text
        (url,) = [e["url"] for b in shown.blocks if b["type"] == "actions" for e in b["elements"]]
        assert url == "https://docs.example/revet/ledger.md"
        assert "RESOLVED" not in text
        assert w.slack.refused == []
        assert {row.attempt.state for row in w.alerter.ledger.rows()} == {"closed"}


@pytest.mark.parametrize("edge", range(1, 9))
@pytest.mark.parametrize("fault", ["", "drop-after", "429-stored"])
async def test_a_kill_at_any_edge_leaves_one_line(edge: int, fault: str) -> None:
    """And whoever seals says it again after each of its own starts."""
    async with daily() as w:
        if fault:
            w.slack.fault("chat.postMessage", fault)
        w.die_at = w.saves + edge
        for _ in range(3):
            said(w, day(w.now))
            try:
                await w.pump(5 * MINUTE)
            except Died:
                await w.restart()
        await w.pump(20 * MINUTE)
        assert len(w.parents(LEDGER)) == 1


async def test_the_first_of_a_day_counts_and_an_older_day_is_no_news() -> None:
    """Two that seal, or a topic that is read again."""
    async with daily() as w:
        said(w, day(T0 + DAY, 5))
        said(w, day(T0 + DAY + 1, 6))
        said(w, day(T0, 4))
        await w.pump()
        (line,) = w.parents(LEDGER)
        assert " 5 entries" in line


async def test_lines_wait_while_the_service_is_away_and_come_each() -> None:
    async with daily() as w:
        w.slack.fault("chat.postMessage", *["500"] * 40)
        for number in range(3):
            said(w, day(T0 + number * DAY))
            await w.pump(DAY)
        await w.pump(DAY)
        assert len(set(w.parents(LEDGER))) == len(w.parents(LEDGER)) == 3


async def test_nobody_asked_for_it() -> None:
    async with world(table={"ledger": LEDGER}) as w:
        said(w, day(T0))
        await w.pump()
        assert w.parents(LEDGER) == w.parents(SECURITY) == []


async def test_what_is_kept_does_not_grow() -> None:
    async with daily() as w:
        for number in range(3 * KEPT):
            said(w, day(T0 + number * DAY))
        stored = w.store["alert-days", ""]
        said(w, day(T0 + 99 * DAY))
        assert abs(len(w.store["alert-days", ""]) - len(stored)) < 8


@pytest.mark.parametrize("layout", Layout)
async def test_a_hostile_name_is_text(layout: Layout) -> None:
    """Names are of whoever may write the topic."""
    async with daily() as w:
        event = day(T0, key="<!channel> *bold* <https://evil.example|x>")
        said(w, event)
        (row,) = w.alerter.ledger.rows()
        message = w.alerter.message(row.incident, row.destination)
        assert message is not None
        laid = lay_out(message, layout, LINKS)
        assert "<!channel>" not in laid.text
        mrkdwn = [e["text"] for b in laid.blocks if b["type"] == "context" for e in b["elements"]]
        assert not [text for text in mrkdwn if "evil" in text or "channel" in text]
