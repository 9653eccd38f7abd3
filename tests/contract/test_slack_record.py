"""What messages add from the record, and what they say when it does not answer; told they are either way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from alerting.models import Incident, IncidentContext, IncidentPart, ShardReached
from alerting.render import RECORD_DOWN
from streams.codec import Event, decode
from streams.engine.broker import Slot
from streams.engine.memory_broker import MemoryBroker
from streams.events import DecisionObserved, ImageAsked, Owner
from streams.knowing import KEPT, Knowing
from streams.queries.conditions import EVERYTHING, Condition
from streams.queries.port import Group, Page, RecordReader, every
from streams.sinks.document import Document
from streams.sinks.documents import documents
from streams.sinks.fields import HOMES
from streams.topics import ACTIONS, INCIDENTS
from tests.helpers.recorded import RECORDS
from tests.helpers.slack_server import Workspace, words
from tests.helpers.slackserving import Alerting, append, part, settings, until, wall, workspace
from tests.helpers.slackworld import SECURITY
from verifier.errors import PlaceUnavailable

pytestmark = pytest.mark.asyncio


class Record:
    """A record that can be gone."""

    def __init__(self) -> None:
        self.sink, self._reader = RECORDS["memory"]()
        self.down = False
        self.asked = 0

    def find(
        self, home: str, where: Condition, *, newest_first: bool = False, limit: int = 100, after: str = ""
    ) -> Page:
        return self._up().find(home, where, newest_first=newest_first, limit=limit, after=after)

    def groups(self, home: str, where: Condition, by: tuple[str, ...]) -> list[Group]:
        return self._up().groups(home, where, by)

    def _up(self) -> RecordReader:
        self.asked += 1
        if self.down:
            raise PlaceUnavailable("record-unavailable", "connection refused")
        return self._reader


def admitted(user: str = "bob") -> DecisionObserved:
    """The decision that let in what `part` is about."""
    return DecisionObserved(
        "d1", wall(), "prod", "shop", Owner("Deployment", "shop"), "admitted", "update", "deployments", "shop",
        user=user, user_agent="argocd/v2.12", images=(ImageAsked("shop", "main", "reg.example/shop:1", ""),),
    )  # fmt: skip


@asynccontextmanager
async def alerting(slack: Workspace, broker: MemoryBroker, record: Record | None) -> AsyncIterator[asyncio.Task[None]]:
    process = Alerting(broker, "alert-1")
    process.record = record
    running = asyncio.create_task(process.run(settings(slack)))
    try:
        yield running
    finally:
        process.stop.set()
        await running


def events(broker: MemoryBroker, topic: str) -> Iterator[Event]:
    return (decode(record.value or b"") for record in broker.records(Slot(topic, 0)))


def indexed(broker: MemoryBroker) -> list[Document]:
    """What an indexer makes of all that was told."""
    return [made for event in events(broker, INCIDENTS) for made in documents(event)]


def story() -> list[IncidentPart | ShardReached]:
    return [ShardReached(0, 1, 5, wall()), part(3), part(5, 2)]


async def test_who_deployed_comes_from_the_record_and_becomes_a_record() -> None:
    async with workspace() as slack:
        broker, record = MemoryBroker(1), Record()
        record.sink.write(list(documents(admitted())))
        async with alerting(slack, broker, record) as running:
            append(broker, *story())
            await until(lambda: any("deployed: " in words(s) for s in slack.parents(SECURITY)), running)
            shown = words(slack.parents(SECURITY)[0])
            assert "bob with argocd/v2.12, update of deployments" in shown
            assert "who deployed it" not in shown  # no longer among what is not known
        (context,) = [event for event in events(broker, ACTIONS) if isinstance(event, IncidentContext)]
        assert context.deployed_by.startswith("bob with argocd/v2.12")


async def test_whoever_takes_over_knows_it_without_asking() -> None:
    async with workspace() as slack:
        broker, record = MemoryBroker(1), Record()
        record.sink.write(list(documents(admitted())))
        async with alerting(slack, broker, record) as running:
            append(broker, *story())
            await until(lambda: any("deployed: " in words(s) for s in slack.parents(SECURITY)), running)
        async with alerting(slack, broker, None) as running:
            append(broker, part(9, 3))
            await until(lambda: "9 containers" in slack.parents(SECURITY)[0].text, running)
            assert "bob with argocd/v2.12" in words(slack.parents(SECURITY)[0])


async def test_what_is_behind_is_asked_again_and_no_more_than_a_few_times() -> None:
    """The decision is indexed after the first message went out."""
    async with workspace() as slack:
        broker, record = MemoryBroker(1), Record()
        async with alerting(slack, broker, record) as running:
            append(broker, *story())
            await until(lambda: bool(slack.parents(SECURITY)), running)
            assert "who deployed it: the record names nobody so far" in words(slack.parents(SECURITY)[0])
            record.sink.write(list(documents(admitted())))
            await until(lambda: any("deployed: " in words(s) for s in slack.parents(SECURITY)), running)
            await asyncio.sleep(1.2)
            asked = record.asked
            append(broker, part(6, 3), part(7, 4))  # the same member: not asked about again
            await until(lambda: "7 containers" in slack.parents(SECURITY)[0].text, running)
            assert record.asked == asked


async def test_14_without_the_record_alerts_flow_and_say_so_and_all_is_indexed_later_under_the_same_ids() -> None:
    told = story()
    async with workspace() as slack:
        broker, record = MemoryBroker(1), Record()
        record.down = True
        record.sink.write(list(documents(admitted())))
        async with alerting(slack, broker, record) as running:
            append(broker, *told)
            await until(lambda: bool(slack.parents(SECURITY)), running)
            await until(lambda: RECORD_DOWN in words(slack.parents(SECURITY)[0]), running)
            assert "index is unavailable" in words(slack.parents(SECURITY)[0])
            await until(lambda: "5 containers" in slack.parents(SECURITY)[0].text, running)
            record.down = False
            await until(lambda: "deployed: " in words(slack.parents(SECURITY)[0]), running)
            assert RECORD_DOWN not in words(slack.parents(SECURITY)[0])
        late = indexed(broker)
    async with workspace() as slack:  # the same day with a record that was always there
        broker, up = MemoryBroker(1), Record()
        up.sink.write(list(documents(admitted())))
        async with alerting(slack, broker, up) as running:
            append(broker, *told)
            await until(lambda: any("5 containers" in s.text for s in slack.parents(SECURITY)), running)
            await until(lambda: "deployed: " in words(slack.parents(SECURITY)[0]), running)
        early = indexed(broker)
    assert {(d.home, d.id) for d in late} == {(d.home, d.id) for d in early}
    record.sink.write(late)
    record.sink.write(late)  # a replay of the backlog
    kept = [hit.id for home in ("incident", "incidents") for hit in every(record, HOMES[home], EVERYTHING)]
    assert sorted(kept) == sorted({d.id for d in early})


async def test_more_than_can_be_asked_about_holds_up_nothing() -> None:
    asked: list[str] = []

    async def ask(incident: object) -> IncidentContext:
        asked.append(str(incident))
        raise PlaceUnavailable("record-unavailable", "down")

    async def take(_found: IncidentContext) -> None:
        raise AssertionError

    async def probe() -> None:
        """Nothing."""

    async with workspace() as slack:
        broker = MemoryBroker(1)
        async with alerting(slack, broker, None) as running:
            append(broker, *story())
            await until(lambda: bool(slack.parents(SECURITY)), running)
        row = next(event for event in events(broker, INCIDENTS) if isinstance(event, Incident))
    knowing = Knowing(ask, take, probe, (0.0,))
    for number in range(KEPT + 1_000):
        knowing.consider(msgspec.structs.replace(row, id=f"v1:{number}"))
        if number % 100 == 0:
            await asyncio.sleep(0)
    knowing.consider(None)
    await asyncio.sleep(0.1)
    assert knowing.is_down
    assert len(knowing._asked) <= KEPT  # what is kept is bounded
    knowing.cancel()
