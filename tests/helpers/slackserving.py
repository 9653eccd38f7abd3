"""`revet serve alert` on a broker in memory, with Slack and its buttons beside it."""

import asyncio
import io
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from alerting.adapters.console import ConsoleNotifier
from alerting.models import Cause, Incident, IncidentContext, IncidentPart, Member, Severity
from streams.clustered import ClusterAlerter
from streams.engine.broker import Slot
from streams.engine.lanes import LaneOptions, ShardSpec
from streams.engine.memory_broker import MemoryBroker, MemoryLink, MemorySource
from streams.engine.port import Record
from streams.engine.view import BroadcastView
from streams.engine.wire import to_wire
from streams.engine.worker import ShardWorker
from streams.knowing import Knowing
from streams.outputs import output
from streams.queries.conditions import EVERYTHING
from streams.queries.context import context_of
from streams.queries.port import RecordReader
from streams.serving.alerting import Counted, SlackTeller, _Now
from streams.serving.asking import taking
from streams.serving.process import Process
from streams.settings import Settings
from streams.shared import Shared
from streams.sinks.fields import HOMES
from streams.tellers import channels_of, courier_of, pressing_of, routes_of
from streams.telling import Direct
from streams.topics import ACTIONS, ALERTS, PARTS
from tests.helpers.slack_server import Workspace, serving
from tests.helpers.slack_socket import ANN, Sockets
from tests.helpers.slackworld import DIGEST, SECURITY
from tests.helpers.trustadmins import ALICE, gate

ALERTER = Slot(ALERTS, 0)


def wall() -> int:
    return time.time_ns() // 1000


def settings(slack: Workspace, *, buttons: bool = False) -> Settings:
    slack_ = {"token": slack.token, "api": slack.url, "channels": {"security": SECURITY}}
    if buttons:
        slack_ |= {"app_token": slack.app_token, "people": {ANN: "ann"}}
    return Settings.model_validate({"slack": slack_})


@asynccontextmanager
async def workspace() -> AsyncIterator[Workspace]:
    slack = Workspace(wall)
    slack.know(SECURITY)
    async with serving(slack):
        yield slack


@asynccontextmanager
async def with_buttons() -> AsyncIterator[Sockets]:
    """The workspace, and its side of Socket Mode."""
    slack = Workspace(wall)
    slack.know(SECURITY)
    sockets = Sockets(slack)
    async with serving(slack, *sockets.routes()):
        yield sockets


def part(
    containers: int,
    sequence: int = 1,
    incident: str = "v1:inc",
    code: str = "key-revoked",
    severity: Severity = "critical",
) -> IncidentPart:
    now = wall()
    why = Cause("revocation", "key:K", "release key", now, 5) if code == "key-revoked" else Cause()
    member = Member("prod", "shop", "Deployment/shop", "shop", "reg.example/shop:1", DIGEST, containers, now)
    return IncidentPart(
        incident, code, "key:K", why, "p", severity, 0, "prod", "shop", 5, sequence, now, containers,
        min(containers, 1), now, "signed with a revoked key", (member,) if containers else (),
    )  # fmt: skip


class Alerting:
    """One process of `serve alert` on a broker in memory."""

    def __init__(self, broker: MemoryBroker, name: str) -> None:
        self.broker, self.name = broker, name
        self.stop = asyncio.Event()
        self.process: Process | None = None
        self.record: RecordReader | None = None
        """Asked for what messages add; None: there is none."""

    async def run(self, given: Settings) -> None:
        shared, link = Shared(gate(ALICE)), MemoryLink(self.broker)
        process, channels, now = Process("alert", given), channels_of(given), _Now(wall=True)
        assert channels is not None

        def take(records: Sequence[Record]) -> None:
            shared.take(records)
            worker.broadcast(records)

        worker = ShardWorker(
            ShardSpec((PARTS, ACTIONS), ALERTS, 1, self.name), link,
            MemorySource(self.broker, "alert", (PARTS, ACTIONS)),
            lambda _: ClusterAlerter(shared, routes_of(given), None, channels),
            view=BroadcastView(link, Shared.topics, take), options=LaneOptions(tick_seconds=0.02),
        )  # fmt: skip
        terminal, counted = Direct(ConsoleNotifier(io.StringIO())), Counted(process)
        self.process = process
        async with AsyncExitStack() as stack:
            courier = await stack.enter_async_context(courier_of(given, channels, terminal, now, counted))
            await stack.enter_async_context(pressing_of(given, taking(link, 1), wall, counted))
            knowing = self._knowing(taking(link, 1), stack)
            worker.prepare = SlackTeller(process, courier, now, knowing).prepare
            await worker.run(self.stop)

    def _knowing(self, take: Callable[[IncidentContext], Awaitable[None]], stack: AsyncExitStack) -> Knowing | None:
        record = self.record
        if record is None:
            return None

        async def ask(incident: Incident) -> IncidentContext:
            return context_of(record, incident, wall())

        async def probe() -> None:
            record.find(HOMES["incidents"], EVERYTHING, limit=1)

        knowing = Knowing(ask, take, probe, (0.0, 0.2, 0.2, 0.2, 0.2, 0.2))
        running = asyncio.create_task(knowing.run())
        stack.callback(running.cancel)
        stack.callback(knowing.cancel)
        return knowing


def append(broker: MemoryBroker, *events: object) -> None:
    for event in events:
        broker.append(to_wire(output(event), 1))


async def until(condition: Callable[[], bool], *watched: asyncio.Task[None]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            for task in watched:
                if task.done():
                    task.result()
            await asyncio.sleep(0.01)


def states(broker: MemoryBroker) -> list[str]:
    """States of the parent's row, as they became durable."""
    rows = [record.value for record in broker.records(ALERTER) if b'"destination"' in (record.value or b"")]
    found: list[str] = []
    for row in rows:
        state = row.split(b'"attempt":{"state":"', 1)[1].split(b'"', 1)[0].decode()
        if not found or found[-1] != state:
            found.append(state)
    return found
