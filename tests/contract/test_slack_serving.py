"""Slack behind `revet serve alert` and `revet run`: intents durable before calls, takeovers, ends, nothing twice.

The clustered mode runs on the broker in memory, which the contract tests of engines hold to what real brokers do.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from alerting.models import IncidentAction, IncidentPart, ShardReached
from streams.engine.broker import Slot
from streams.engine.memory_broker import MemoryBroker
from streams.local.node import LocalNode, NodeSettings
from streams.local.service import Service
from streams.tellers import channels_of, courier_of, routes_of
from streams.telling import Copied, Direct
from streams.topics import PARTS
from tests.helpers.slack_server import Workspace
from tests.helpers.slackserving import Alerting, append, part, settings, states, until, wall, workspace
from tests.helpers.slackworld import SECURITY

pytestmark = pytest.mark.asyncio


async def test_an_intent_is_durable_before_the_call_and_the_lane_waits_for_no_answer() -> None:
    async with workspace() as slack:
        broker = MemoryBroker(1)
        slack.fault("chat.postMessage", "lost-slow")
        one = Alerting(broker, "alert-1")
        running = asyncio.create_task(one.run(settings(slack)))
        append(broker, ShardReached(0, 1, 5, wall()), part(3))
        await until(slack.stored.is_set, running)
        assert states(broker)[-1] == "posting"
        append(broker, part(9, 2))  # while the answer is still out, what comes in is handled
        read = Slot(PARTS, 0)
        await until(lambda: broker.positions("alert").get(read) == 3, running)
        one.stop.set()
        slack.released.set()
        await running


async def test_a_process_that_dies_within_a_call_is_followed_by_one_that_finds_the_message() -> None:
    async with workspace() as slack:
        broker = MemoryBroker(1)
        slack.fault("chat.postMessage", "lost-slow")
        running = asyncio.create_task(Alerting(broker, "alert-1").run(settings(slack)))
        append(broker, ShardReached(0, 1, 5, wall()), part(3))
        await until(slack.stored.is_set, running)
        running.cancel()
        await asyncio.wait([running])
        two = Alerting(broker, "alert-2")
        second = asyncio.create_task(two.run(settings(slack)))
        append(broker, part(8, 2))
        await until(lambda: "8 containers" in str([s.text for s in slack.parents(SECURITY)]), second)
        assert len(slack.parents(SECURITY)) == 1
        assert slack.calls["chat.postMessage"] == 1
        two.stop.set()
        await second


async def test_a_decent_end_writes_down_the_answers_that_are_there() -> None:
    async with workspace() as slack:
        broker = MemoryBroker(1)
        one = Alerting(broker, "alert-1")
        running = asyncio.create_task(one.run(settings(slack)))
        append(broker, ShardReached(0, 1, 5, wall()), part(3))
        await until(lambda: bool(slack.parents(SECURITY)), running)
        one.stop.set()
        await running
        assert states(broker)[-1] == "posted"
        two = Alerting(broker, "alert-2")
        second = asyncio.create_task(two.run(settings(slack)))
        append(broker, part(4, 2))
        await until(lambda: "4 containers" in slack.parents(SECURITY)[0].text, second)
        assert "conversations.history" not in slack.calls
        two.stop.set()
        await second


async def test_what_a_person_does_is_told_below_the_message() -> None:
    async with workspace() as slack:
        broker = MemoryBroker(1)
        one = Alerting(broker, "alert-1")
        running = asyncio.create_task(one.run(settings(slack)))
        append(broker, ShardReached(0, 1, 5, wall()), part(3))
        await until(lambda: bool(slack.parents(SECURITY)), running)
        append(broker, IncidentAction("a1", wall(), "v1:inc", "ack", "ann"))
        await until(lambda: bool(slack.replies(SECURITY)), running)
        assert "acknowledged by ann" in slack.replies(SECURITY)[0].text
        one.stop.set()
        await running


# ------------------------------------------------------------------------------------------------- one machine


@asynccontextmanager
async def _machine(path: Path, slack: Workspace) -> AsyncIterator[LocalNode]:
    given = settings(slack)
    channels = channels_of(given)
    assert channels is not None
    node = LocalNode.open(path, NodeSettings(routes=routes_of(given), channels=channels))
    node.keep_messages(None)
    kept = node.notifier
    assert kept is not None
    stop = asyncio.Event()
    async with courier_of(
        given, channels, Direct(kept), lambda: node.now, keep=lambda main: Copied(main, kept)
    ) as courier:
        running = asyncio.create_task(Service(node, courier).run(stop))
        try:
            yield node
        finally:
            stop.set()
            await running
            node.close()


def _happen(node: LocalNode, event: IncidentPart) -> None:
    """As if a class had been judged: the alerter's input, and its rows in one transaction."""
    alerter = node.processor.alerter
    list(alerter.handle(event, node.now))
    list(alerter.tick(node.now))
    with node.engine.transaction():
        node.engine.store(alerter.take_dirty())


async def test_one_machine_tells_slack_and_keeps_what_it_told(tmp_path: Path) -> None:
    async with workspace() as slack:
        path = tmp_path / "state.sqlite"
        async with _machine(path, slack) as node:
            _happen(node, part(3))
            await until(lambda: bool(slack.parents(SECURITY)))
            await until(lambda: node.messages() == 1)
        async with _machine(path, slack) as node:
            _happen(node, part(7, 2))
            await until(lambda: "7 containers" in slack.parents(SECURITY)[0].text)
        assert slack.calls["chat.postMessage"] == 1
        assert "conversations.history" not in slack.calls


async def test_a_command_beside_a_service_takes_over_none_of_its_messages(tmp_path: Path) -> None:
    """`revet incident ack` and the like work on the file without Slack: the parent stays where it is."""
    async with workspace() as slack:
        path = tmp_path / "state.sqlite"
        async with _machine(path, slack) as node:
            _happen(node, part(3))
            await until(lambda: bool(slack.parents(SECURITY)))
        command = LocalNode.open(path, NodeSettings())
        command.keep_messages(None)
        list(command.processor.alerter.handle(IncidentAction("a1", command.now, "v1:inc", "ack", "ann"), command.now))
        command.deliver()
        with command.engine.transaction():
            command.engine.store(command.processor.alerter.take_dirty())
        command.close()
        assert slack.replies(SECURITY) == []
        async with _machine(path, slack):
            await until(lambda: bool(slack.replies(SECURITY)))
        assert len(slack.parents(SECURITY)) == 1
