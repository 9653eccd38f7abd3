"""An alerter that tells a workspace: the real core, ledger, courier and client; time is moved by hand.

async with world() as w:
    w.part("payments", containers=3)
    await w.pump()
    assert len(w.slack.parents(SECURITY)) == 1
"""

import asyncio
import io
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from alerting.adapters.console import ConsoleNotifier
from alerting.adapters.slack import SlackNotifier, SlackOptions
from alerting.blocks import Links
from alerting.calls import AsyncNotifier, Call, StepKind
from alerting.channels import Channels
from alerting.models import Cause, CauseKind, IncidentAction, IncidentPart, Member, Severity, ShardReached
from alerting.pacing import Pacing
from alerting.quiet import Quiet
from alerting.routing import Routes
from streams.alerter import Alerter
from streams.events import NamespaceObserved
from streams.telling import Courier, Direct, Switch
from tests.helpers.slack_server import Workspace, serving
from verifier.canonical import stable_id
from verifier.times import MINUTE, SECOND
from verifier.trust.state import TrustState

T0 = 1_795_000_000 * SECOND
SECURITY = "C0SEC0001"
DIGEST = "sha256:" + "ab" * 32
LINKS = Links("https://docs.example/revet", "https://kibana.example/s/sec", members="findings*", timeline="alerts*")


class Died(BaseException):
    """The process ends here."""


class World:
    """One alerter at a time, its store, and the workspace it tells."""

    def __init__(
        self,
        slack: Workspace,
        teams: int = 0,
        quiet: Quiet | None = None,
        table: dict[str, str] | None = None,
        reminders: bool = False,
        stalled_after: int | None = None,
        storm_after: int = 0,
    ) -> None:
        self.slack = slack
        self.stalled_after = stalled_after
        self.now = T0
        self.quiet = quiet
        self.table = {"security": SECURITY, **{f"team/t{n}": f"C0TEAM{n:03}" for n in range(teams)}, **(table or {})}
        self.slack.know(*self.table.values())
        self.routes = Routes(team_slices=True, reminders=reminders, escalates=True, storm_after=storm_after)
        self.store: dict[tuple[str, str], bytes] = {}
        self.paper = io.StringIO()
        self.aside: AsyncNotifier = Direct(ConsoleNotifier(self.paper))
        self.mentions: tuple[str, ...] = ()
        self.groups: dict[str, str] = {}
        self.timeout = 5.0
        self.steps: list[str] = []
        self.outcomes: list[tuple[str, str]] = []
        self.die_at: int | None = None
        self.saves = 0
        self.sequence = 0
        self.start()

    # ------------------------------------------------------------------ the process

    def start(self) -> None:
        """A process begins, from what the one before stored."""
        self.channels = Channels(self.table, "security")
        self.alerter = Alerter(self.routes, self.stalled_after, self.channels)
        self.alerter.restore([(k, key, v) for (k, key), v in self.store.items()], TrustState.empty())
        self.pacing = Pacing(self.channels.of, self.quiet)
        options = SlackOptions(
            self.slack.token, self.slack.url, "", LINKS, self.mentions, self.groups, timeout=self.timeout
        )
        self.notifier = SlackNotifier(options, self.channels, lambda: self.now, self)
        self.courier = Courier(Switch(self.notifier, self.aside), self.pacing)

    async def restart(self) -> None:
        """The process is killed, and another one begins."""
        self.courier.cancel()
        await self.notifier.close()
        self.start()

    def called(self, method: str, outcome: str) -> None:
        self.outcomes.append((method, outcome))

    def limited(self, kind: StepKind, channel: str, retry_after: int) -> None:
        self.pacing.limited(kind, channel, self.now, retry_after)

    def degraded(self, step: str) -> None:
        self.steps.append(step)

    def save(self) -> None:
        for kind, key, value in self.alerter.take_dirty():
            if value is None:
                self.store.pop((kind, key), None)
            else:
                self.store[kind, key] = value

    def _edge(self) -> None:
        """A place where a process may die."""
        self.saves += 1
        if self.die_at == self.saves:
            self.die_at = None
            raise Died

    # ------------------------------------------------------------------ what happens

    def reached(self, epoch: int = 5) -> None:
        list(self.alerter.handle(ShardReached(0, 1, epoch, self.now), self.now))

    def own(self, namespace: str, **labels: str) -> None:
        named = tuple((key.replace("_", "-"), value) for key, value in labels.items())
        list(self.alerter.handle(NamespaceObserved(f"n:{namespace}", self.now, "prod", namespace, named), self.now))

    def part(
        self, namespace: str = "shop", containers: int = 1, *, cause: str = "key:K", severity: Severity = "critical",
        text: str = "", kind: CauseKind = "revocation", code: str = "key-revoked", incident: str = "",
    ) -> str:  # fmt: skip
        self.sequence += 1
        name = text or "shop"
        of = incident or stable_id("incident", kind, [cause])
        member = Member("prod", namespace, f"Deployment/{name}", name, f"reg.example/{name}:1", DIGEST, containers, T0)
        why = Cause(kind, cause, text or "release key", T0, 5) if kind != "none" else Cause()
        list(
            self.alerter.handle(
                IncidentPart(
                    of,
                    code,
                    text or cause,
                    why,
                    "policy",
                    severity,
                    0,
                    "prod",
                    namespace,
                    5,
                    self.sequence,
                    self.now,
                    containers,
                    1 if containers else 0,
                    self.now,
                    text or "signed with a revoked key",
                    (member,) if containers else (),
                    (("replaced", 1),) if not containers else (),
                ),
                self.now,
            )
        )
        return of

    def act(self, incident: str, what: str, by: str = "ann") -> None:
        action = IncidentAction(f"a{self.sequence}{what}{self.now}", self.now, incident, what, by)  # type: ignore[arg-type]  # a test's word
        list(self.alerter.handle(action, self.now))

    # ------------------------------------------------------------------ time

    async def step(self) -> int:
        """What is due at this instant, once; how many calls were made."""
        list(self.alerter.tick(self.now))
        self.courier.settle(self.alerter.ledger, self.now)
        calls: list[Call] = self.courier.take(self.alerter.ledger, self.alerter.message, self.now)
        self._edge()
        self.save()
        self._edge()
        self.courier.begin(self.alerter.ledger, calls)
        if self.courier.under_way:
            await self.courier.drained(self.timeout + 5)
            self._edge()
        self.courier.settle(self.alerter.ledger, self.now)
        self.save()
        return len(calls)

    async def pump(self, until: int = 2 * MINUTE, each: Callable[[], None] | None = None) -> None:
        """Let time pass, stopping at everything that is due on the way."""
        end = self.now + until
        while True:
            while await self.step():
                if each is not None:
                    each()
            due = self.alerter.next_due()
            if due is None or due > end:
                break
            self.now = max(due, self.now + 1)
        self.now = end
        await self.step()

    # ------------------------------------------------------------------ what is seen

    def parents(self, channel: str = SECURITY) -> list[str]:
        return [shown.text for shown in self.slack.parents(channel)]

    def rows(self) -> Mapping[str, str]:
        return {row.destination: row.attempt.state for row in self.alerter.ledger.rows()}


@asynccontextmanager
async def world(
    teams: int = 0,
    *,
    tables: bool = True,
    history: bool = True,
    quiet: Quiet | None = None,
    table: dict[str, str] | None = None,
    reminders: bool = False,
    stalled_after: int | None = None,
    storm_after: int = 0,
) -> AsyncIterator[World]:
    """A world whose workspace shares its clock."""
    made: list[World] = []
    workspace = Workspace(lambda: made[0].now if made else T0, tables=tables, history=history)
    async with serving(workspace):
        made.append(
            World(
                workspace,
                teams,
                quiet,
                table,
                reminders=reminders,
                stalled_after=stalled_after,
                storm_after=storm_after,
            )
        )
        try:
            yield made[0]
        finally:
            made[0].courier.cancel()
            await asyncio.sleep(0)
            await made[0].notifier.close()
