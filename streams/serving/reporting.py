"""`revet serve reports`: what other engines say of watched clusters, into Kafka; and a receiver for what is sent.

Each cluster has a life of its own, as in `revet serve pods`, and needs no lease: several watchers tell the same under
the same ids. Nothing that is said here changes a verdict, a finding or an incident: the judge does not read its topic.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Final

from streams.collectors.apiserver import ApiServer
from streams.collectors.claims import REPORTS
from streams.collectors.clusters import finder
from streams.collectors.podloop import LoopOptions
from streams.collectors.podwatch import GONE, Ending
from streams.collectors.reportloop import ReportLoop, Told
from streams.collectors.reportwatch import NOT_FOUND, RESOURCES, ReportWatch
from streams.kafka.records import records_of
from streams.serving.auditing import KafkaIntake, receiving
from streams.serving.collecting import DurableDoor, collector_door
from streams.serving.metrics import REPORT_CLAIMS, REPORT_REQUESTS, REPORTS_KNOWN
from streams.serving.process import Process
from streams.serving.receiving import receiver_options
from streams.serving.watching import first_of
from streams.settings import WatchedCluster, host_and_port
from verifier.errors import InputError, PlaceError

AGAIN_SECONDS: Final = 15.0
"""Between two lives of a cluster, half to whole of it, where one ended with an error."""
LOOK_SECONDS: Final = 2.0
"""How often metrics and the log are brought up to date."""


async def reports(process: Process) -> None:
    """Watch and receive until the process is told to stop.

    Raises:
        InputError: neither a cluster nor an address is named; PlaceError: as `collector_door`, or the address cannot be
            listened on.
    """
    places = process.settings.reports.places()
    if not places and not process.settings.reports.address:
        raise InputError(
            "reports.clusters: no cluster is named, and reports.address is empty; example: reports.clusters:"
            " [prod-eu=/etc/revet/kubeconfig]"
        )
    async with collector_door(process, "reports") as door, _received(process, door):
        lives = [ReportLife(process, door, place) for place in places]
        working = [process.spawn(f"reports {life.name}", life.run()) for life in lives]
        working.append(process.spawn("looks", _look(lives)))
        process.health.ready()
        await process.stopping()
        for work in working:  # nothing to finish: what is not durable is read again
            work.cancel()
        await asyncio.gather(*working, return_exceptions=True)


async def _look(lives: list[ReportLife]) -> None:
    while True:
        for life in lives:
            life.look()
        await asyncio.sleep(LOOK_SECONDS)


@asynccontextmanager
async def _received(process: Process, door: DurableDoor) -> AsyncIterator[None]:
    if not process.settings.reports.address:
        yield
        return
    address = host_and_port(process.settings.reports.address)
    options = receiver_options(process.settings)
    async with receiving(process, KafkaIntake(process, door), options, address, "reports"):
        yield


class ReportLife:
    """One cluster."""

    def __init__(self, process: Process, door: DurableDoor, place: WatchedCluster) -> None:
        self._process, self._door = process, door
        self.name = self._name = place.name
        self._find = finder(place.kubeconfig, place.context, "reports.clusters")
        self._trouble = f"reports of {place.name}"
        self._troubled: set[str] = set()
        """Kinds of reports whose last request failed."""
        self._counted: dict[str, Counter[str]] = {}
        self._watches: list[ReportWatch] = []

    async def run(self) -> None:
        """Until the process is to end. Raises nothing but a cancellation."""
        while not self._process.stop.is_set():
            try:
                await self._life()
            except (PlaceError, InputError) as error:
                self._process.health.trouble(self._trouble, str(error))
                self._process.log.warning("reports-ended", cluster=self._name, error=str(error))
            except Exception as error:  # noqa: BLE001  # a fault of ours that one cluster meets is not the others'
                self._process.health.trouble(self._trouble, type(error).__name__)
                self._process.log.failed("reports-failed", error, cluster=self._name)
            with suppress(TimeoutError):
                async with asyncio.timeout(AGAIN_SECONDS * random.uniform(0.5, 1.0)):  # noqa: S311  # spreads tries
                    await self._process.stop.wait()

    async def _life(self) -> None:
        """Until one kind of reports ends with an error; the others are cancelled then."""
        settings = self._process.settings
        options = LoopOptions(float(settings.pods.silence_seconds), settings.pods.watch_seconds)
        self._counted.clear()
        self._troubled.clear()
        async with AsyncExitStack() as stack:
            loops: list[ReportLoop] = []
            for resource in RESOURCES:
                server = ApiServer(self._find, settings.pods.connect_seconds)
                stack.push_async_callback(server.close)
                watch = ReportWatch(self._name, resource, settings.reports.results)
                loops.append(ReportLoop(watch, server, self._tell, self._ended, options))
            self._watches = [loop.watch for loop in loops]
            await first_of(*(loop.run() for loop in loops))

    async def _tell(self, told: Told) -> None:
        shards = self._process.settings.kafka.partitions
        records = records_of(told, (), source=REPORTS + self._name, cluster=self._name, shards=shards)
        await self._door.begin(records)

    # ------------------------------------------------------------------ what the loops tell

    def _ended(self, watch: ReportWatch, ending: Ending, detail: str, error: PlaceError | None) -> None:
        process, kind = self._process, watch.resource.plural
        shown = f"HTTP {ending.status}" if ending.how == "status" else ending.how
        process.metrics.add(REPORT_REQUESTS, 1, self._name, shown)
        if error is not None:
            process.health.trouble("kafka", str(error))
            process.log.warning("not-durable", cluster=self._name, error=str(error))
        elif _is_trouble(ending):
            self._troubled.add(kind)
            process.health.trouble(self._trouble, _REFUSED.get(ending.status, detail or shown))
            process.log.warning("request-ended", cluster=self._name, resource=kind, how=shown, detail=detail)
        else:
            process.health.well("kafka")
            self._troubled.discard(kind)
            if not self._troubled:
                process.health.well(self._trouble)

    def look(self) -> None:
        """Bring metrics and the log up to date."""
        for watch in self._watches:
            self._count(watch)
            while watch.notes:
                event, fields = watch.notes.popleft()
                self._process.log.info(event, cluster=self._name, **fields)

    def _count(self, watch: ReportWatch) -> None:
        kind, metrics = watch.resource.plural, self._process.metrics
        before = self._counted.get(kind, Counter())
        for outcome, number in watch.counts.items():
            metrics.add(REPORT_CLAIMS, number - before[outcome], self._name, outcome)
        self._counted[kind] = Counter(watch.counts)
        if watch.phase == "find":
            metrics.drop(REPORTS_KNOWN, self._name, kind)
        elif watch.phase == "watch":
            metrics.set(REPORTS_KNOWN, len(watch.known), self._name, kind)


def _is_trouble(ending: Ending) -> bool:
    if ending.how == "status":
        return ending.status not in (NOT_FOUND, GONE)
    return ending.how in ("unreachable", "too-large")


_REFUSED: Final = {
    401: "the API server does not know who asks (HTTP 401)",
    403: "who asks may not list and watch reports (HTTP 403); `revet serve reports --print-rbac` prints what is needed",
}
