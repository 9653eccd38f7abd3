"""The single-machine mode as a service: recordings first, then live, one writer, everything durable before it counts.

    service = Service(node, ServiceOptions())
    await service.run(stop)                  # until `stop` is set: finish the batch, then return

One event loop and one connection write. Bodies that arrive together become one transaction; between two slices of
judging, senders get their turn; evidence is asked for in the background. Trust records that another process appended
are seen by a cheap look at the file several times a second.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import msgspec

from alerting.models import Incident
from streams.collectors.bodies import Batch
from streams.collectors.server import Progress
from streams.engine.port import Record
from streams.local.ledgering import Keeper
from streams.local.node import FETCHER, LocalNode
from streams.telling import Courier
from streams.topics import DEADLETTERS, REQUESTS
from verifier.errors import PlaceUnavailable
from verifier.verify import worst

LOOK_EVERY: Final = 0.15
"""Seconds between looks for what another process appended; a change is judged within one second of it."""
LIVE_BATCH: Final = 200
"""Records per transaction when live: some tens of milliseconds, in which nothing else is done."""
SENDERS_FIRST: Final = 0.1
"""Longest pause between two slices of judging while bodies arrive, seconds."""
FINISH_SECONDS: Final = 3.0
"""How long an end waits for answers of places where people are told."""
FETCHES: Final = 32
"""Digests whose evidence is asked for at a time; a registry that does not answer holds up only its own."""


class Summary(msgspec.Struct, frozen=True):
    """Where a state stands. Counts are of the whole state, not of one run."""

    clock: int
    """Newest time heard of, microseconds UTC."""
    trust_epoch: int
    containers: int
    """Running container instances."""
    images: int
    """Distinct digests that run."""
    verdicts: dict[str, int]
    """Outcome -> running containers, by the worst of all policies."""
    findings: dict[str, int]
    """Code -> open findings."""
    incidents: dict[str, int]
    """State -> incidents somebody was to hear of."""
    deadletters: int
    messages: int


def summary(node: LocalNode) -> Summary:
    """Where the state of a node stands."""
    state = node.processor.state
    classes = [cls for cls in state.classes.values() if cls.members]
    verdicts: Counter[str] = Counter()
    for cls in classes:
        verdicts[worst([judged.decided.outcome for judged in cls.judged.values()])] += cls.members
    incidents: list[Incident] = list(node.processor.alerter.book.incidents())
    return Summary(
        clock=node.processor.now,
        trust_epoch=node.trust.epoch,
        containers=sum(cls.members for cls in classes),
        images=len({cls.row.digest for cls in classes}),
        verdicts=dict(sorted(verdicts.items())),
        findings=dict(sorted(Counter(f.code for f in state.findings.values() if f.state == "open").items())),
        incidents=dict(sorted(Counter(i.state for i in incidents).items())),
        deadletters=node.engine.count(DEADLETTERS),
        messages=node.messages(),
    )


class _Waiting(msgspec.Struct):
    """A batch and who waits for it to be durable."""

    batch: Batch
    durable: asyncio.Future[int]


class Service:
    """Drives a node that runs on the wall clock. Implements `streams.collectors.server.Intake`."""

    def __init__(self, node: LocalNode, courier: Courier | None = None, keeper: Keeper | None = None) -> None:
        """`courier`: tells people over a network, beside the work; None: the node tells them by itself. `keeper`: keeps
        the ledger.
        """
        self.node = node
        self._keeper = keeper
        self._courier = courier
        self.quiet = asyncio.Event()
        """Set while nobody is sending: who sends goes before judging. A receiver puts its own here."""
        self.quiet.set()
        self._wake = asyncio.Event()
        if courier is not None:
            courier.wake = self._wake.set
        self._queue: list[_Waiting] = []
        self._failure: Exception | None = None
        self._progressed = time.monotonic()
        self._ready = False

    # ------------------------------------------------------------------ intake

    async def accept(self, batch: Batch) -> int:
        """See `Intake.accept`. Batches that wait at the same time become durable together."""
        if self._failure is not None:
            raise PlaceUnavailable("state-unavailable", "the service is ending")
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(batch, future))
        if len(self._queue) == 1:
            asyncio.get_running_loop().call_soon(self._commit)
        return await future

    def progress(self) -> Progress:
        """See `Intake.progress`."""
        backlog = self.node.engine.pending()
        stalled = time.monotonic() - self._progressed if backlog else 0.0
        return Progress(self._ready, backlog, stalled, self.node.trust.epoch)

    def _commit(self) -> None:
        """One transaction for every batch that waits."""
        taken, self._queue = self._queue, []
        if not taken:
            return
        observations = [o for w in taken for o in w.batch.observations]
        originals = [o for w in taken for o in w.batch.originals]
        try:
            new = self.node.ingest(observations, originals=originals)
        except PlaceUnavailable as error:
            self._fail(error)
            for waiting in taken:
                waiting.durable.set_exception(PlaceUnavailable(error.code, str(error)))
            return
        for number, waiting in enumerate(taken):
            if not waiting.durable.done():  # the sender may have gone
                waiting.durable.set_result(new if number == 0 else 0)
        self._wake.set()

    def _fail(self, error: Exception) -> None:
        self._failure = self._failure or error
        self._wake.set()

    # ------------------------------------------------------------------ work

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; what was begun is finished and durable when this returns.

        Raises:
            PlaceUnavailable: the state file cannot be written; whatever was answered is durable.
        """
        async with self._background():
            self._ready = True
            while not stop.is_set() and self._failure is None:
                did = self._slice()
                if did:
                    self._progressed = time.monotonic()
                    await self._give_way()
                else:
                    await self._sleep(stop)
            self._ready = False
        self._commit()  # senders that were still waiting get their answer
        await self._say_good_bye()
        if self._keeper is not None and self._failure is None:
            self._keeper.step(force=True)
        self.node.show_messages()
        if self._failure is not None:
            raise self._failure

    async def _say_good_bye(self) -> None:
        """Answers that are under way are worth waiting for: what is known needs no search at the next start."""
        if self._courier is None:
            return
        await self._courier.drained(FINISH_SECONDS)
        self._courier.settle(self.node.processor.alerter.ledger, self.node.now)
        with self.node.engine.transaction():
            self.node.engine.store(self.node.processor.alerter.take_ledger())

    def _slice(self) -> bool:
        """One unit of work; False when there is nothing to do now."""
        node = self.node
        due = node.processor.next_due()
        if due is not None and due <= node.now:
            node.tick()
        did = node.engine.run_once() if node.engine.stirred() else False
        if self._keeper is not None:
            self._keeper.step()
        did = (node.hand_over(self._courier) if self._courier is not None else node.deliver() > 0) or did
        if not did:
            self._progressed = time.monotonic()
            node.show_messages()
        return did

    async def _give_way(self) -> None:
        """Let senders go first, but not for ever: a revocation is judged while events pour in."""
        await asyncio.sleep(0)
        if not self.quiet.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(SENDERS_FIRST):  # `wait_for` may swallow a cancellation (Python 3.11)
                    await self.quiet.wait()

    async def _sleep(self, stop: asyncio.Event) -> None:
        """Until something came in, something is due, or it is time to look at the file."""
        due = self.node.processor.next_due()
        wait = LOOK_EVERY if due is None else min(LOOK_EVERY, max(0.0, (due - self.node.now) / 1_000_000))
        waiters = [asyncio.ensure_future(self._wake.wait()), asyncio.ensure_future(stop.wait())]
        await asyncio.wait(waiters, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
        for waiter in waiters:
            waiter.cancel()
        self._wake.clear()

    # ------------------------------------------------------------------ evidence

    @asynccontextmanager
    async def _background(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self._fetch())]
        if self._keeper is not None:
            tasks.append(asyncio.create_task(self._watch(self._keeper)))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)  # answers that are not durable yet are asked for again

    async def _watch(self, keeper: Keeper) -> None:
        try:
            await keeper.watch()
        except Exception as error:  # noqa: BLE001  # a task's error must reach `run`, which raises it
            self._fail(error)

    async def _fetch(self) -> None:
        """Ask for evidence, several at a time; an answer is durable as soon as it is there."""
        running: dict[asyncio.Task[None], Record] = {}
        last = self.node.engine.position(FETCHER)
        try:
            while True:
                room = FETCHES - len(running)
                fresh = self.node.engine.after(REQUESTS, last, room) if room else []
                for record in fresh:
                    running[asyncio.create_task(self.node.fetch(record))] = record
                    last = record.position
                if not running:
                    await asyncio.sleep(LOOK_EVERY / 3)
                    continue
                done, _ = await asyncio.wait(running, timeout=LOOK_EVERY, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    del running[task]
                    task.result()
                oldest = min((r.position for r in running.values()), default=last + 1)
                if done:
                    self._move(oldest - 1)
        except Exception as error:  # noqa: BLE001  # a task's error must reach `run`, which raises it
            self._fail(error)
        finally:
            for task in running:
                task.cancel()

    def _move(self, position: int) -> None:
        """Requests up to here are answered; later ones that are too are asked again after a crash, which is fine."""
        with self.node.engine.transaction():
            self.node.engine.move(FETCHER, position)
        self._wake.set()
