"""`revet serve pods`: the pods of every watched cluster, into Kafka.

Each cluster has a life of its own: it waits for its lease where there is one, brings back what was known, reads, and
makes durable. Whatever goes wrong with one cluster (its API server is gone, who asks is refused, its kubeconfig cannot
be read) is told and tried again, and the others do not notice.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections import Counter
from collections.abc import Coroutine
from contextlib import AsyncExitStack, suppress
from typing import Any, Final

import msgspec

from streams.clock import wall_clock
from streams.collectors.apiserver import ApiServer
from streams.collectors.clusters import finder
from streams.collectors.election import Election
from streams.collectors.leading import Leadership
from streams.collectors.namespacelook import NamespaceLook
from streams.collectors.podloop import LoopOptions, NamespaceLoop, PodLoop
from streams.collectors.podwatch import GONE, Ending, PodWatch, Position, Step
from streams.engine.wire import to_wire
from streams.events import NamespaceObserved
from streams.outputs import output
from streams.serving.collecting import DurableDoor, collector_door
from streams.serving.metrics import WATCH_AGE, WATCH_EVENTS, WATCH_LEADS, WATCH_PODS, WATCH_REQUESTS
from streams.serving.podkeeping import KafkaKeeper
from streams.serving.process import Process
from streams.settings import WatchedCluster
from verifier.errors import InputError, PlaceError, PlaceRefused, PlaceUnavailable

AGAIN_SECONDS: Final = 15.0
"""Between two lives of a cluster, half to whole of it, where one ended with an error."""
LOOK_SECONDS: Final = 2.0
"""How often metrics and health are brought up to date."""
RETIRED: Final = 1_000
"""Pods of a retired cluster that are ended in one step."""
IDENTITY: Final = "/api/v1/namespaces/kube-system"
"""The UID of this namespace is the identity of a cluster (Kubernetes community convention)."""


class _Meta(msgspec.Struct):
    uid: str = ""


class _Namespace(msgspec.Struct):
    metadata: _Meta = msgspec.field(default_factory=_Meta)


async def pods(process: Process, tell_again: bool = False) -> None:
    """Watch until the process is told to stop.

    Args:
        process: with its settings.
        tell_again: begin with a snapshot of each cluster that is told whole.

    Raises:
        InputError: no cluster is named; PlaceError: as `collector_door`.
    """
    places = process.settings.pods.places()
    if not places:
        raise InputError("pods.clusters: no cluster is named; example: pods.clusters: [prod-eu=/etc/revet/kubeconfig]")
    async with collector_door(process, "pods") as door:
        watched = [ClusterLife(process, door, place, tell_again=tell_again) for place in places]
        process.health.ready()
        looking = process.spawn("looks", _look(watched))
        try:
            await asyncio.gather(*(life.run() for life in watched))
        finally:
            process.end()
            looking.cancel()


async def retire(process: Process, cluster: str) -> None:
    """End what is known of a cluster that is watched no more; its intervals close with that reason. Then back.

    Raises:
        InputError: nothing is known of it; PlaceError: as `collector_door`, or the brokers went away.
    """
    async with collector_door(process, "pods") as door:
        keeper = KafkaKeeper(process.settings.kafka, door, cluster)
        known, position = await keeper.load()
        if not known:
            raise InputError(f"--retire {cluster}: no pod is known of a cluster of that name")
        watch, now = PodWatch(cluster, known, position), wall_clock()
        process.health.ready()
        left = True
        while left:
            left = watch.retire(now, RETIRED)
            step = watch.take()
            await keeper.tell(step)
            await keeper.keep(step)
        process.log.info("retired", cluster=cluster, pods=len(known))


async def _look(watched: list[ClusterLife]) -> None:
    while True:
        for life in watched:
            life.look()
        await asyncio.sleep(LOOK_SECONDS)


class ClusterLife:
    """One cluster. Implements `streams.collectors.podloop.Told`."""

    def __init__(self, process: Process, door: DurableDoor, place: WatchedCluster, *, tell_again: bool = False) -> None:
        self._process, self._settings = process, process.settings.pods
        self._name = place.name
        self._find = finder(place.kubeconfig, place.context)
        self._door = door
        self._keeper = KafkaKeeper(process.settings.kafka, door, place.name)
        self._trouble = f"cluster {place.name}"
        self._watch: PodWatch | None = None
        self._heard = 0.0
        self._steps = 0
        self._me = f"pods-{secrets.token_hex(4)}"
        self._counted: Counter[str] = Counter()
        self._is_troubled = False
        self._tell_again = tell_again

    async def run(self) -> None:
        """Until the process is to end. Raises nothing but a cancellation."""
        while not self._process.stop.is_set():
            try:
                await self._life()
            except (PlaceError, InputError) as error:
                self._in_trouble(str(error))
                self._process.log.warning("watch-ended", cluster=self._name, error=str(error))
            except Exception as error:  # noqa: BLE001  # a fault of ours that one cluster meets is not the others'
                self._in_trouble(type(error).__name__)
                self._process.log.failed("watch-failed", error, cluster=self._name)
            self.look()
            self._watch = None
            await self._pause(AGAIN_SECONDS * random.uniform(0.5, 1.0))  # noqa: S311  # spreads tries over time

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._process.stop.wait()

    # ------------------------------------------------------------------ one life

    async def _life(self) -> None:
        """From taking the lease to losing it, an error, or the end of the process."""
        async with AsyncExitStack() as stack:
            server = ApiServer(self._find, self._settings.connect_seconds)
            stack.push_async_callback(server.close)
            leader = self._leadership(stack)
            if leader is not None:
                self._process.metrics.set(WATCH_LEADS, 0, self._name)
                if not await self._until_stop(leader.win()):
                    return
                self._process.log.info("leads", cluster=self._name)
            self._process.metrics.set(WATCH_LEADS, 1, self._name)
            loop = await self._prepared(server)
            try:
                beside = [leader.hold()] if leader else []
                beside += [self._namespaces(stack)] if self._settings.namespaces_seconds else []
                finished = await self._until_stop(first_of(loop.run(), *beside))
            finally:
                self._process.metrics.set(WATCH_LEADS, 0, self._name)
            if not finished:
                await loop.finish()
                if leader is not None:
                    await leader.release()
            elif leader is not None:
                self._process.log.warning("lease-lost", cluster=self._name)

    async def _namespaces(self, stack: AsyncExitStack) -> None:
        """Namespaces beside the pods. That they cannot be listed is told, and pods are watched all the same."""
        server = ApiServer(self._find, self._settings.connect_seconds)
        stack.push_async_callback(server.close)
        look = NamespaceLook(self._name)
        shards = self._process.settings.kafka.partitions

        async def tell(told: list[NamespaceObserved]) -> None:
            await self._door.begin(to_wire(output(one), shards) for one in told)

        def failed(detail: str) -> None:
            self._process.log.warning("namespaces-not-listed", cluster=self._name, detail=detail)

        while True:
            try:
                every = float(self._settings.namespaces_seconds)
                await NamespaceLoop(look, server, every, tell, failed, self._options()).run()
            except (PlaceError, InputError) as error:
                self._process.log.warning("namespaces-not-listed", cluster=self._name, error=str(error))
                look = NamespaceLook(self._name)  # what was not durable is told again
            await asyncio.sleep(AGAIN_SECONDS)

    def _leadership(self, stack: AsyncExitStack) -> Leadership | None:
        if not self._settings.lease:
            return None
        namespace, _, name = self._settings.lease.partition("/")
        server = ApiServer(self._find, self._settings.connect_seconds)
        stack.push_async_callback(server.close)
        election = Election(self._me, self._settings.lease_seconds)
        return Leadership(server, election, (namespace, name), self._told_of_lease)

    def _told_of_lease(self, detail: str) -> None:
        if detail:
            self._in_trouble(f"lease {self._settings.lease}: {detail}")
        elif self._is_troubled:
            self._well()

    async def _prepared(self, server: ApiServer) -> PodLoop:
        """What was known is back, and it is of this cluster."""
        known, position = await self._keeper.load()
        identity = await self._identity(server)
        if identity and position.identity and identity != position.identity:
            self._process.log.warning("another-cluster", cluster=self._name, before=position.identity, now=identity)
            position = Position("", 0, position.last)  # versions of another cluster mean nothing; its pods are gone
        position = position._replace(identity=identity or position.identity)
        self._process.log.info(
            "watching", cluster=self._name, known=len(known), version=position.version or "none", identity=identity
        )
        watch = self._watch = PodWatch(self._name, known, position, self._settings.exclude_namespaces)
        if self._tell_again:
            watch.tell_again()
        self._counted = Counter()
        self._heard = time.monotonic()
        return PodLoop(watch, server, self._keeper, self, self._options())

    def _options(self) -> LoopOptions:
        return LoopOptions(float(self._settings.silence_seconds), self._settings.watch_seconds)

    async def _identity(self, server: ApiServer) -> str:
        """UID of the cluster; empty where that may not be asked.

        Raises:
            PlaceError: the API server does not answer, or does not know who asks.
        """
        status, body = await server.exchange("GET", IDENTITY, seconds=float(self._settings.connect_seconds) * 2)
        if status == 0:
            raise PlaceUnavailable("cluster-unavailable", f"the API server does not answer ({server.detail})")
        if status == 401:
            raise PlaceRefused("cluster-unauthorized", "the API server does not know who asks (HTTP 401)")
        if status != 200:
            self._process.log.warning("identity-unknown", cluster=self._name, status=status)
            return ""
        try:
            return msgspec.json.decode(body, type=_Namespace).metadata.uid
        except (msgspec.MsgspecError, ValueError):
            return ""

    async def _until_stop(self, work: Coroutine[Any, Any, None]) -> bool:
        """Do `work`; False: the process is to end, and it was cancelled. Raises what it raises."""
        doing = asyncio.ensure_future(work)
        stopping = asyncio.ensure_future(self._process.stop.wait())
        try:
            await asyncio.wait((doing, stopping), return_when=asyncio.FIRST_COMPLETED)
            if doing.done():
                doing.result()
                return True
            return False
        finally:
            for task in (doing, stopping):
                task.cancel()
            await asyncio.wait((doing, stopping))

    # ------------------------------------------------------------------ what the loop tells

    def ended(self, ending: Ending, detail: str, pause: float) -> None:
        """See `Told`."""
        shown = f"HTTP {ending.status}" if ending.how == "status" else ending.how
        self._process.metrics.add(WATCH_REQUESTS, 1, self._name, shown)
        if ending.how in ("unreachable", "too-large") or (ending.how == "status" and ending.status != GONE):
            self._in_trouble(_REFUSED.get(ending.status, detail or shown))
        if ending.how == "clean":
            self._process.log.debug("request-ended", cluster=self._name)
        else:
            self._process.log.warning(
                "request-ended", cluster=self._name, how=shown, detail=detail, pause_seconds=round(pause, 1)
            )

    def heard(self) -> None:
        """See `Told`."""
        self._heard = time.monotonic()
        if self._is_troubled:
            self._well()

    def durable(self, step: Step) -> None:
        """See `Told`."""
        self._steps += 1
        if self._watch is not None and self._watch.phase == "watch":
            self._tell_again = False  # all of it is durable
        self._process.health.progress("pods", self._name, self._steps)
        self._process.health.waiting(self._watch.pending if self._watch is not None else 0, "pods", self._name)
        self._process.health.well("kafka")
        del step

    def not_durable(self, error: PlaceError) -> None:
        """See `Told`."""
        self._process.health.trouble("kafka", str(error))
        self._process.log.warning("not-durable", cluster=self._name, error=str(error))

    def _in_trouble(self, message: str) -> None:
        self._is_troubled = True
        self._process.health.trouble(self._trouble, message)

    def _well(self) -> None:
        self._is_troubled = False
        self._process.health.well(self._trouble)

    # ------------------------------------------------------------------ what is looked at

    def look(self) -> None:
        """Bring metrics, health and the log up to date."""
        watch, metrics = self._watch, self._process.metrics
        if watch is None:
            metrics.drop(WATCH_AGE, self._name)
            self._process.health.waiting(0, "pods", self._name)
            return
        metrics.set(WATCH_PODS, len(watch.known), self._name)
        metrics.set(WATCH_AGE, time.monotonic() - self._heard, self._name)
        self._process.health.waiting(watch.pending, "pods", self._name)
        for outcome, number in watch.counts.items():
            metrics.add(WATCH_EVENTS, number - self._counted[outcome], self._name, outcome)
        self._counted = Counter(watch.counts)
        while watch.notes:
            event, fields = watch.notes.popleft()
            self._process.log.info(event, cluster=self._name, **fields)


_REFUSED: Final = {
    401: "the API server does not know who asks (HTTP 401)",
    403: "who asks may not list and watch pods (HTTP 403); `revet serve pods --print-rbac` prints what is needed",
}


async def first_of(*work: Coroutine[Any, Any, None]) -> None:
    """Until the first of several is through; the others are cancelled. Raises what it raises."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
