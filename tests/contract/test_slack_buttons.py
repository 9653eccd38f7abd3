"""Buttons over Socket Mode: the real client against the published protocol, with what goes wrong in it.

What is pressed ends as the act that `revet incident` does, durable before it is acknowledged, once, with who pressed.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from alerting.adapters import slacksocket
from alerting.lifecycle import Lifecycle
from alerting.models import Incident, IncidentAction, ShardReached
from alerting.presses import PressError, read
from streams.codec import decode
from streams.engine.broker import Slot
from streams.engine.memory_broker import MemoryBroker
from streams.pressing import NOT_KEPT, REFUSED, TOO_LATE, Pressing
from streams.serving.metrics import SLACK_CONNECTIONS, SLACK_ENVELOPES, SLACK_PRESSES, SLACK_SOCKET
from streams.topics import ACTIONS, INCIDENTS
from tests.helpers.slack_server import words
from tests.helpers.slack_socket import ANN, BEN, Click, Sockets
from tests.helpers.slackserving import Alerting, append, part, settings, until, wall, with_buttons
from tests.helpers.slackworld import SECURITY
from verifier.errors import PlaceUnavailable

pytestmark = pytest.mark.asyncio

ACKNOWLEDGE, NO_PROBLEM = "Acknowledge", "Not a problem…"


class Scene:
    """A running `serve alert` with one message out, and the people who look at it."""

    def __init__(self, sockets: Sockets, broker: MemoryBroker, process: Alerting, task: asyncio.Task[None]) -> None:
        self.sockets, self.broker, self.process, self.task = sockets, broker, process, task
        self.slack = sockets.workspace

    async def until(self, condition: Any) -> None:
        await until(condition, self.task)

    def actions(self) -> list[IncidentAction]:
        found = [decode(record.value or b"") for record in self.broker.records(Slot(ACTIONS, 0))]
        return [event for event in found if isinstance(event, IncidentAction)]

    def told(self) -> list[Incident | Lifecycle]:
        found = [decode(record.value or b"") for record in self.broker.records(Slot(INCIDENTS, 0))]
        return [event for event in found if isinstance(event, (Incident, Lifecycle))]

    def counted(self, metric: Any, *labels: str) -> float:
        assert self.process.process is not None
        return self.process.process.metrics.value(metric, *labels)

    async def form(self) -> Click:
        click = self.sockets.press(SECURITY, NO_PROBLEM)
        await self.until(lambda: bool(self.sockets.views))
        return click


@asynccontextmanager
async def scene(code: str = "key-revoked") -> AsyncIterator[Scene]:
    async with with_buttons() as sockets:
        broker, process = MemoryBroker(1), Alerting(MemoryBroker(1), "alert-1")
        process.broker = broker
        running = asyncio.create_task(process.run(settings(sockets.workspace, buttons=True)))
        append(broker, ShardReached(0, 1, 5, wall()), part(3, code=code))
        made = Scene(sockets, broker, process, running)
        await made.until(lambda: bool(sockets.workspace.parents(SECURITY)) and bool(sockets.live))
        try:
            yield made
        finally:
            process.stop.set()
            await running
    assert sockets.strange == []
    assert not [
        refused for refused in sockets.workspace.refused if refused[0] not in ("views.open", "apps.connections.open")
    ]


# ------------------------------------------------------------------------------------------------- acknowledging


async def test_a_press_is_the_act_of_the_command_with_who_pressed() -> None:
    async with scene() as s:
        click = s.sockets.press(SECURITY, ACKNOWLEDGE)
        assert await click.settled()
        assert [(a.action, a.incident, a.by) for a in s.actions()] == [("ack", "v1:inc", f"ann (slack:{ANN})")]
        await s.until(lambda: bool(s.slack.replies(SECURITY)))
        assert f"acknowledged by ann (slack:{ANN})" in words(s.slack.replies(SECURITY)[0])
        await s.until(lambda: "ACKNOWLEDGED" in s.slack.parents(SECURITY)[0].text)
        with pytest.raises(KeyError):  # what is taken is not offered again
            s.sockets.button(SECURITY, ACKNOWLEDGE)
        row = [event for event in s.told() if isinstance(event, Incident)][-1]
        assert (row.state, row.acknowledged_by) == ("acknowledged", f"ann (slack:{ANN})")


async def test_it_is_durable_before_it_is_acknowledged() -> None:
    """An acknowledgement is a promise: the log of actions has it at that moment, whatever happens to us then."""
    async with scene() as s:
        click = s.sockets.press(SECURITY, ACKNOWLEDGE)
        await click.acked.wait()
        assert len(s.actions()) == 1
        assert click.after < 1.0


async def test_an_envelope_that_comes_twice_is_answered_twice_and_done_once() -> None:
    async with scene() as s:
        click = s.sockets.press(SECURITY, ACKNOWLEDGE)
        s.sockets.again(click)
        await s.until(lambda: len(click.acks) == 2)
        s.sockets.again(click)
        await s.until(lambda: len(click.acks) == 3)
        assert len(s.actions()) == 1
        assert s.counted(SLACK_ENVELOPES, "again") == 2
        assert s.counted(SLACK_PRESSES, "ack", "done") == 1


async def test_the_same_press_through_another_process_is_one_act() -> None:
    """Each process remembers its own envelopes; the act's id is that of the press, so that two are one."""
    async with scene() as s:
        other = Alerting(s.broker, "alert-2")
        second = asyncio.create_task(other.run(settings(s.slack, buttons=True)))
        await until(lambda: len(s.sockets.live) == 2, second, s.task)
        click = s.sockets.press(SECURITY, ACKNOWLEDGE, to=0)
        await click.settled()
        s.sockets.again(click, to=1)
        await s.until(lambda: len(click.acks) == 2)
        assert len({action.id for action in s.actions()}) == 1
        await s.until(lambda: bool(s.slack.replies(SECURITY)))
        await asyncio.sleep(0.3)
        assert len(s.slack.replies(SECURITY)) == 1
        other.stop.set()
        await second


async def test_a_press_on_what_is_over_says_so_and_changes_nothing() -> None:
    async with scene() as s:
        button = s.slack.parents(SECURITY)[0]
        old = type(button)(button.ts, button.text, list(button.blocks), button.metadata)
        append(s.broker, IncidentAction("c1", wall(), "v1:inc", "close", "ben", "a test"))
        await s.until(lambda: "RESOLVED" in s.slack.parents(SECURITY)[0].text)
        with pytest.raises(KeyError):
            s.sockets.button(SECURITY, ACKNOWLEDGE)
        click = s.sockets.press(SECURITY, ACKNOWLEDGE, shown=old)  # the page was open since before
        assert await click.settled()
        await s.until(lambda: any("already resolved" in words(reply) for reply in s.slack.replies(SECURITY)))
        assert "RESOLVED" in s.slack.parents(SECURITY)[0].text


# ------------------------------------------------------------------------------------------------- who may


@pytest.mark.parametrize(("user", "team"), [(BEN, "T0TEST001"), (ANN, "T0OTHER01"), (ANN, "")])
async def test_who_is_not_named_is_told_so_and_nothing_is_done(user: str, team: str) -> None:
    async with scene() as s:
        click = s.sockets.press(SECURITY, ACKNOWLEDGE, user=user, team=team or "T0OTHER01")
        assert await click.settled()
        await s.until(lambda: bool(s.slack.whispers))
        assert s.slack.whispers == [(SECURITY, user, REFUSED)]
        assert s.actions() == []
        assert s.counted(SLACK_PRESSES, "ack", "refused") == 1


async def test_a_link_asks_for_nothing_and_is_answered() -> None:
    async with scene() as s:
        action = {"type": "button", "action_id": "open-docs", "action_ts": "1.000001"}
        payload = {"type": "block_actions", "user": {"id": BEN}, "actions": [action]}
        assert await s.sockets.send(payload).settled()
        assert s.actions() == []
        assert s.slack.whispers == []


# ------------------------------------------------------------------------------------------------- not a problem


async def test_not_a_problem_proposes_and_grants_nothing() -> None:
    async with scene("unsigned") as s:
        assert await (await s.form()).settled()
        assert s.actions() == []
        sent = s.sockets.submit(why="the vendor signs next week", days="7", ticket="SEC-12")
        assert await sent.settled()
        (action,) = s.actions()
        assert (action.action, action.by, action.text) == (
            "propose",
            f"ann (slack:{ANN})",
            "the vendor signs next week",
        )
        assert (action.days, action.ticket) == (7, "SEC-12")
        await s.until(lambda: "SEC-12" in words(s.slack.parents(SECURITY)[0]))
        shown = words(s.slack.parents(SECURITY)[0])
        assert "accept it for 7 days" in shown
        assert "a trust administrator decides" in shown
        assert "revet exempt add --policy p --cluster prod --namespace shop" in shown
        await s.until(lambda: any("nothing is accepted yet" in words(one) for one in s.slack.replies(SECURITY)))
        row = [event for event in s.told() if isinstance(event, Incident)][-1]
        assert (row.state, row.containers) == ("open", 3)  # it stays what it was
        (proposed,) = [e for e in s.told() if isinstance(e, Lifecycle) and e.transition == "exemption-proposed"]
        assert (proposed.by, "7 days" in proposed.text) == (f"ann (slack:{ANN})", True)


async def test_a_proposal_that_is_sent_twice_is_one() -> None:
    async with scene("unsigned") as s:
        await s.form()
        first, again = s.sockets.submit(why="x"), s.sockets.submit(why="x")
        assert await first.settled()
        assert await again.settled()
        assert len({action.id for action in s.actions()}) == 1


async def test_a_form_without_a_reason_says_what_is_missing() -> None:
    async with scene("unsigned") as s:
        await s.form()
        sent = s.sockets.submit(why="  ", days="7000", ticket="x" * 200)
        assert await sent.settled()
        errors = sent.acks[0]["errors"]
        assert (sent.acks[0]["response_action"], sorted(errors)) == ("errors", ["days", "ticket", "why"])
        assert s.actions() == []


async def test_what_shows_a_compromise_has_no_such_button() -> None:
    async with scene("key-revoked") as s:
        with pytest.raises(KeyError):
            s.sockets.button(SECURITY, NO_PROBLEM)


async def test_a_form_that_opens_too_late_says_so() -> None:
    async with scene("unsigned") as s:
        click = s.sockets.press(SECURITY, NO_PROBLEM)
        s.sockets.expire()
        assert await click.settled()
        await s.until(lambda: bool(s.slack.whispers))
        assert s.slack.whispers == [(SECURITY, ANN, TOO_LATE)]
        assert s.sockets.views == []


# ------------------------------------------------------------------------------------------------- connections


async def test_the_service_asks_for_another_connection_and_no_click_falls_between() -> None:
    async with scene() as s:
        await s.sockets.refresh(close_after=1.0)
        click = s.sockets.press(SECURITY, ACKNOWLEDGE, to=0)  # still over the old one
        assert await click.settled()
        await s.until(lambda: s.sockets.opened == 2 and len(s.sockets.live) == 1)
        s.sockets.again(click)
        await s.until(lambda: len(click.acks) == 2)
        assert len(s.actions()) == 1
        assert (s.counted(SLACK_SOCKET, "refresh"), s.counted(SLACK_SOCKET, "lost")) == (1, 0)


async def test_a_connection_that_is_cut_is_followed_by_another() -> None:
    async with scene() as s:
        await s.sockets.cut()
        await s.until(lambda: s.sockets.opened == 2 and bool(s.sockets.live))
        assert await s.sockets.press(SECURITY, ACKNOWLEDGE).settled()
        assert len(s.actions()) == 1


async def test_cut_before_the_acknowledgement_it_is_done_and_answered_when_it_comes_again() -> None:
    async with scene() as s:
        s.sockets.deaf = True
        click = s.sockets.press(SECURITY, ACKNOWLEDGE)
        await s.until(lambda: bool(s.actions()))
        await s.sockets.cut()
        s.sockets.deaf = False
        assert not click.acks
        await s.until(lambda: s.sockets.opened == 2 and bool(s.sockets.live))
        s.sockets.again(click)
        await click.acked.wait()
        assert len(s.actions()) == 1


async def test_an_address_that_leads_nowhere_is_not_knocked_at_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slacksocket, "CONNECT_SECONDS", 0.5)
    async with scene() as s:
        s.sockets.dead_tickets = 2
        await s.sockets.cut()
        await s.until(lambda: s.sockets.opened == 2 and bool(s.sockets.live))
        assert s.slack.calls["apps.connections.open"] == 4
        assert s.counted(SLACK_SOCKET, "no-connection") == 2
        assert await s.sockets.press(SECURITY, ACKNOWLEDGE).settled()


async def test_a_token_that_counts_no_more_stops_buttons_and_nothing_else() -> None:
    async with scene() as s:
        s.slack.app_token = "xapp-another"
        await s.sockets.cut()
        await s.until(lambda: s.counted(SLACK_SOCKET, "invalid_auth") >= 2)
        append(s.broker, part(9, 2))
        await s.until(lambda: "9 containers" in s.slack.parents(SECURITY)[0].text)
        calls = s.slack.calls["apps.connections.open"]
        await asyncio.sleep(1.0)
        assert s.slack.calls["apps.connections.open"] - calls <= 1  # less and less often


async def test_10_an_ack_lost_in_ghosts_is_done_by_the_command_and_the_watchdog_says_so() -> None:
    async with scene() as s:
        s.sockets.ghosts = 8
        await s.sockets.cut()
        await s.until(lambda: s.counted(SLACK_SOCKET, "ghosts") == 1)
        assert s.counted(SLACK_CONNECTIONS) == 9
        click = s.sockets.press(SECURITY, ACKNOWLEDGE)
        assert not await click.settled(0.5)
        assert s.actions() == []
        append(s.broker, IncidentAction("cli", wall(), "v1:inc", "ack", "local:ann"))
        await s.until(lambda: bool(s.slack.replies(SECURITY)))
        assert "acknowledged by local:ann" in words(s.slack.replies(SECURITY)[0])


# ------------------------------------------------------------------------------------------------- what is hostile


GARBAGE: list[Any] = [
    None, 7, "text", [], {}, {"type": "block_actions"}, {"type": "block_actions", "actions": [None]},
    {"type": "block_actions", "actions": [{"action_id": "revet-ack"}]},
    {"type": "block_actions", "user": {"id": "x" * 999}, "actions": [
        {"action_id": "revet-ack", "value": "1 v1:inc 1"}]},
    {"type": "block_actions", "user": {"id": ANN}, "actions": [{"action_id": "revet-ack", "value": "1 v1:inc 1 1"}]},
    {"type": "block_actions", "user": {"id": ANN}, "actions": [
        {"action_id": "revet-ack", "value": "1 v1:inc 1", "action_ts": "9" * 30}]},
    {"type": "block_actions", "user": {"id": ANN}, "actions": [
        {"action_id": "revet-propose", "value": "1 v1:inc 1", "action_ts": "1.000001" }], "trigger_id": {"a": 1}},
    {"type": "view_submission", "view": {"callback_id": "revet-proposal"}},
    {"type": "view_submission", "user": {"id": ANN}, "view": {
        "callback_id": "revet-proposal", "id": "V1", "private_metadata": "1 v1:inc 1\nC1", "state": {"values": 3}}},
]  # fmt: skip


@pytest.mark.parametrize("payload", GARBAGE, ids=range(len(GARBAGE)))
async def test_a_payload_that_is_none_is_answered_and_does_nothing(payload: Any) -> None:
    taken: list[IncidentAction] = []

    async def take(action: IncidentAction) -> None:
        taken.append(action)

    told: list[tuple[str, str]] = []
    pressing = Pressing({ANN: "ann"}, take, wall, lambda *said: told.append(said))
    reaction = await pressing.pressed(payload, "T0TEST001")
    assert reaction.acknowledge
    assert (taken, len(told)) == ([], 1)


async def test_garbage_on_the_connection_ends_nothing() -> None:
    async with scene() as s:
        for text in (
            "",
            "{",
            "[]",
            "null",
            '{"type":"interactive"}',
            '{"type":3,"envelope_id":[],"payload":7}',
            "\ud7ff",
        ):
            s.sockets.raw(text)
        for payload in GARBAGE:
            s.sockets.send(payload)
        s.sockets.send({"type": "block_actions"}, kind="slash_commands")
        assert await s.sockets.press(SECURITY, ACKNOWLEDGE).settled()
        assert len(s.actions()) == 1
        assert s.sockets.opened == 1


async def test_what_a_payload_says_beside_the_id_is_not_believed() -> None:
    """The incident's name, state and text are the book's; an incident that is unknown is not acted on."""
    async with scene() as s:
        action = {"type": "button", "action_id": "revet-ack", "action_ts": "1.000001", "value": "1 v1:nobody 1"}
        who = {"id": ANN, "team_id": "T0TEST001"}
        await s.sockets.send({"type": "block_actions", "user": who, "actions": [action]}).settled()
        await s.until(lambda: len(s.actions()) == 1)
        await asyncio.sleep(0.2)
        assert s.slack.replies(SECURITY) == []


# ------------------------------------------------------------------------------------------------- what is not durable


async def _pressing(seconds: float, error: Exception | None = None) -> tuple[Pressing, list[tuple[str, str]]]:
    told: list[tuple[str, str]] = []

    async def take(_action: IncidentAction) -> None:
        await asyncio.sleep(seconds)
        if error is not None:
            raise error

    return Pressing({ANN: "ann"}, take, wall, lambda *said: told.append(said)), told


def _ack() -> dict[str, Any]:
    action = {"type": "button", "action_id": "revet-ack", "action_ts": "1.000001", "value": "1 v1:inc 1"}
    who = {"id": ANN, "team_id": "T0TEST001"}
    return {"type": "block_actions", "user": who, "actions": [action], "channel": {"id": SECURITY}}


@pytest.mark.parametrize("error", [None, PlaceUnavailable("x", "down"), RuntimeError("a slip of ours")])
async def test_what_cannot_be_written_down_is_not_acknowledged(
    error: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.pressing.DURABLE_SECONDS", 0.1)
    pressing, told = await _pressing(9.0 if error is None else 0.0, error)
    reaction = await pressing.pressed(_ack(), "T0TEST001")
    assert not reaction.acknowledge
    assert reaction.then is not None
    assert reaction.then == (SECURITY, ANN, NOT_KEPT)
    assert told == [("ack", "not-durable")]


# ------------------------------------------------------------------------------------------------- secrets


async def test_no_token_and_no_address_is_said_anywhere(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slacksocket, "CONNECT_SECONDS", 0.3)
    caplog.set_level(logging.DEBUG)
    async with scene("unsigned") as s:
        await s.form()
        s.sockets.dead_tickets = 1
        await s.sockets.cut()
        await s.until(lambda: s.sockets.opened == 2)
        given = settings(s.slack, buttons=True)
        said = [repr(given), given.model_dump_json(), json.dumps([repr(e) for e in s.told()])]
        options = slacksocket.SocketOptions(s.slack.app_token, s.slack.token, s.slack.url)
        said += [repr(options), *(words(shown) for shown in s.slack.everything())]
    out = capfd.readouterr()
    logged = [record.getMessage() for record in caplog.records if record.name != "aiohttp.access"]  # of the workspace
    everything = "\n".join([*said, out.out, out.err, *logged])
    for secret in ("xapp-0000", "xoxb-0000", "secret-ticket"):
        assert secret not in everything


async def test_a_press_error_names_no_value() -> None:
    with pytest.raises(PressError) as caught:
        read({"type": "block_actions", "user": {"id": "<!channel>"}, "actions": [{"action_id": "revet-ack"}]})
    assert "<!channel>" not in str(caught.value)
