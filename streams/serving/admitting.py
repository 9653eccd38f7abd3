"""`revet serve admission`: the validating webhook, with Kafka or beside the state file of one machine.

Ready once trust and facts are read whole. A decision is on disk before it is answered, and goes on from there. What is
slow or gone costs what it says here, and never more than the budget:

    a registry            `unverifiable: budget`, then its own reason while it is down; the settings say what is done
    trust is stale        `unverifiable: trust-stale`; the same
    the spool's disk      the answer stands (`admission.unrecorded`), the decision waits in memory and is tried again
    Kafka, the state file decisions wait in the spool, up to `admission.spool_mib`; then as above
    this process          the API server goes by failurePolicy
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

from streams.admission.admitter import Admission, Admitter
from streams.admission.judging import SOURCE, Answer, Conduct
from streams.admission.spooling import Outlet, Spooling
from streams.admission.sqlite import Kept, opened_spool
from streams.clock import wall_clock
from streams.collectors.admission import Asked
from streams.collectors.certificates import Certificates
from streams.collectors.deadletters import Problem, dead_letter
from streams.collectors.framing import refused
from streams.collectors.webhook import WebhookOptions, WebhookServer
from streams.engine.reading import Unreadable, read
from streams.engine.wire import WireRecord, to_wire
from streams.events import DeadLetter, DecisionObserved
from streams.fetcher import FetchOptions, FetchWorker
from streams.fetching import EvidenceAnswerer
from streams.kafka.records import records_of
from streams.outputs import output
from streams.places import SQLITE, open_store, opened, registry_options, source_of
from streams.serving.collecting import DurableDoor, collector_door
from streams.serving.fetching import FetchMeter
from streams.serving.known import FileKnown, KafkaKnown, Known
from streams.serving.metrics import (
    ADMISSION_CERTIFICATE,
    ADMISSION_LOOKUPS,
    ADMISSION_REVIEWS,
    ADMISSION_SECONDS,
    ADMISSION_SPOOL,
    ADMISSION_UNRECORDED,
    BROADCAST_LAG,
    DEADLETTERS,
    TRUST_EPOCH,
)
from streams.serving.process import Process
from streams.settings import AdmissionSettings, Settings, host_and_port
from streams.topics import FACTS, TOPICS
from verifier.errors import InputError
from verifier.oci.port import EvidencePlace

WRITTEN: Final = tuple(t.name for t in TOPICS.values() if "admission" in t.writers)
LOOK_SECONDS: Final = 1.0
"""How often certificate files, and the age of what is known, are looked at."""
RENEW_SECONDS: Final = 24 * 3600.0
"""So long before its end a certificate is a trouble that health names."""
LEAST_SECONDS: Final = 0.25
"""For the spool, of a budget that a registry has used up."""
DRAIN_SECONDS: Final = 2.0
"""After it was told to end: requests are still answered, while `/readyz` sends new ones elsewhere."""
MIB: Final = 1024 * 1024
UNRECORDED: Final = "revet cannot record its decision now (admission.unrecorded: deny); see its log"


async def admission(process: Process) -> None:
    """Answer the API server until the process is told to stop.

    Raises:
        InputError: a setting is wrong, or a file with a certificate cannot be used.
        PlaceError: no broker answers at the start, a topic is missing, the spool or the evidence store cannot be
            opened, or the address cannot be listened on.
    """
    settings = process.settings
    host, port, certificates = served(settings.admission)
    async with _ends(process) as (known, outlet), _evidence(process, known) as (fetcher, place):
        told = _Told(process)
        with opened_spool(_spool(settings), settings.admission.spool_mib * MIB) as spool:
            async with Spooling(spool, outlet, told) as spooling:
                deciding = Deciding(process, known, fetcher, place, spooling)
                watching = (("spool", spooling.watch()), ("watch", _watch(process, known, certificates)))
                try:
                    with ExitStack() as stack:
                        for name, work in watching:
                            stack.enter_context(_beside(process, name, work))
                        await _answer(process, known, certificates, deciding, (host, port))
                finally:
                    await deciding.close()


@contextmanager
def _beside(process: Process, name: str, work: Coroutine[Any, Any, None]) -> Iterator[None]:
    """`work` beside the block; an end of it ends the process, and the end of the block ends it."""
    task = process.spawn(name, work)
    try:
        yield
    finally:
        process.end()  # so that its end is no surprise
        task.cancel()


async def _answer(
    process: Process, known: Known, certificates: Certificates, deciding: Deciding, address: tuple[str, int]
) -> None:
    """Listen; ready as soon as everything is read whole."""
    options = WebhookOptions(cluster=process.settings.cluster)
    server = WebhookServer(deciding, options, certificates.front, known.is_whole, process.stop.is_set)
    async with server.listening(*address) as bound:
        shown = f"[{address[0]}]:{bound}" if ":" in address[0] else f"{address[0]}:{bound}"
        process.log.info("listening", url=f"https://{shown}/admit", mode=process.settings.admission.mode)
        await process.stopping()
        await asyncio.sleep(DRAIN_SECONDS)  # who has not heard yet that it ends is still answered


async def _watch(process: Process, known: Known, certificates: Certificates) -> None:
    """Look, every second, at what changes by itself."""
    began, ready = time.monotonic(), False
    while True:
        if known.is_whole() and not ready:
            ready = True
            process.health.ready()
            process.log.info("ready", seconds=round(time.monotonic() - began, 3), epoch=known.trust.epoch)
        _tell(process, known)
        _renew(process, certificates)
        await asyncio.sleep(LOOK_SECONDS if ready else 0.05)


def _tell(process: Process, known: Known) -> None:
    health, lag = process.health, known.lag()
    process.metrics.set(TRUST_EPOCH, known.trust.epoch)
    if known.is_whole():
        process.metrics.set(BROADCAST_LAG, lag, FACTS)
    if known.is_whole() and lag > process.settings.serve.stale_trust_seconds:
        health.trouble("trust", f"what this process must have read is {lag:.0f} s old; nothing is judged by it")
    else:
        health.well("trust")


def _renew(process: Process, certificates: Certificates) -> None:
    """Serve what the files hold now; what is wrong with them is told, and what was served is served on."""
    try:
        if certificates.look():
            process.log.info("certificate-renewed", seconds_left=round(certificates.seconds_left()))
    except InputError as error:
        process.health.trouble("certificate", str(error))
        process.log.warning("certificate-unusable", error=str(error))
        return
    left = certificates.seconds_left()
    process.metrics.set(ADMISSION_CERTIFICATE, left)
    if left < RENEW_SECONDS:
        process.health.trouble("certificate", f"the certificate that is served ends in {left:.0f} s")
    else:
        process.health.well("certificate")


# ------------------------------------------------------------------------------------------------------------- deciding


def conduct_of(settings: AdmissionSettings) -> Conduct:
    """How requests are answered, as the settings say."""
    return Conduct(
        mode=settings.mode,
        unverifiable=settings.unverifiable,
        ungoverned=settings.ungoverned,
        refuse_unpinned=settings.refuse_unpinned,
        namespace=settings.namespace,
        named=settings.in_scope,
        webhook=settings.webhook,
    )


def limits_of(settings: Settings) -> Admission:
    """Limits, as the settings say."""
    own = settings.admission
    return Admission(
        budget_seconds=own.budget_seconds,
        at_once=own.at_once,
        queue=own.queue,
        tag_seconds=own.tag_seconds,
        again_seconds=own.again_seconds,
        stale_seconds=float(settings.serve.stale_trust_seconds),
    )


class Deciding:
    """Decides, records, counts. Implements `streams.collectors.webhook.Deciding`."""

    def __init__(
        self, process: Process, known: Known, fetcher: FetchWorker, place: EvidencePlace, spooling: Spooling
    ) -> None:
        self._process, self._spooling = process, spooling
        self._own = process.settings.admission
        self._conduct = conduct_of(self._own)
        self._admitter = Admitter(known, fetcher, place, limits_of(process.settings), spooling.later)
        process.metrics.watch(ADMISSION_LOOKUPS, lambda: {(): float(self._admitter.looked_up)})

    async def close(self) -> None:
        """End what is being looked up."""
        await self._admitter.close()

    async def decide(self, asked: Asked, seconds: float | None) -> Answer:
        """See `streams.collectors.webhook.Deciding`."""
        begun = time.monotonic()
        budget = min(self._own.budget_seconds, self._own.budget_seconds if seconds is None else seconds)
        answer = await self._admitter.answer(asked, self._conduct, max(budget - LEAST_SECONDS, budget / 2))
        if answer.decision is not None:
            left = budget - (time.monotonic() - begun)
            if not await self._spooling.keep(output(answer.decision), left):
                answer = self._unrecorded(answer)
        self._count(answer, time.monotonic() - begun)
        return answer

    def _unrecorded(self, answer: Answer) -> Answer:
        """The decision is not on disk. It is held, and tried again; what is answered, the settings say."""
        self._process.metrics.add(ADMISSION_UNRECORDED, 1, "late")
        annotations = {**answer.annotations, "unrecorded": "true"}
        if self._own.unrecorded == "deny" and self._own.mode == "enforce" and answer.allowed:
            return answer._replace(allowed=False, message=UNRECORDED, warnings=(), annotations=annotations)
        return answer._replace(annotations=annotations)

    def _count(self, answer: Answer, seconds: float) -> None:
        said = "denied" if not answer.allowed else "warned" if answer.warnings else "allowed"
        self._process.metrics.add(ADMISSION_REVIEWS, 1, answer.outcome, said)
        self._process.metrics.observe(ADMISSION_SECONDS, seconds)
        decision = answer.decision
        if decision is not None and said != "allowed":
            self._process.log.info(
                said,
                namespace=decision.namespace,
                resource=decision.resource,
                name=decision.name,
                decision=decision.id,
                outcome=answer.outcome,
                reasons=answer.annotations.get("reasons", ""),
                dry_run=decision.dry_run,
            )

    def refused(self, problem: Problem, body: bytes) -> None:
        """See `streams.collectors.webhook.Deciding`: a dead letter, which repeats no value."""
        self._process.metrics.add(ADMISSION_REVIEWS, 1, "unreadable", "error")
        self._process.metrics.add(DEADLETTERS, 1, "admission", problem.code)
        self._process.log.warning("unreadable", code=problem.code, bytes=len(body))
        source = f"{SOURCE}:{self._process.settings.cluster}"
        letter = dead_letter(refused(problem.code, body, "", detail=problem.detail), source=source, time=wall_clock())
        self._spooling.later([output(letter)])

    def failed(self, error: Exception) -> None:
        """See `streams.collectors.webhook.Deciding`."""
        self._process.metrics.add(ADMISSION_REVIEWS, 1, "failed", "error")
        self._process.log.failed("decision-failed", error)


class _Told:
    """Health and metrics of a spool. Implements `streams.admission.spooling.Told`."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._down: set[str] = set()

    def trouble(self, what: str, message: str) -> None:
        self._process.health.trouble(what, message)
        if what not in self._down:
            self._down.add(what)
            self._process.log.warning("unavailable", what=what, error=message)

    def well(self, what: str) -> None:
        self._process.health.well(what)
        if what in self._down:
            self._down.discard(what)
            self._process.log.info("available-again", what=what)

    def lost(self, number: int) -> None:
        self._process.metrics.add(ADMISSION_UNRECORDED, number, "lost")
        self._process.log.error("decisions-lost", number=number)

    def waits(self, number: int) -> None:
        self._process.metrics.set(ADMISSION_SPOOL, number)
        self._process.health.waiting(number, "admission")

    def delivered(self, kept: Sequence[Kept]) -> None:
        self._process.health.progress("admission", "", kept[-1].position)


# ---------------------------------------------------------------------------------------------------------- both ends


class KafkaOutlet:
    """The brokers. Implements `streams.admission.spooling.Outlet`."""

    def __init__(self, door: DurableDoor, shards: int, cluster: str) -> None:
        self._door, self._shards, self._cluster = door, shards, cluster

    async def deliver(self, kept: Sequence[Kept]) -> None:
        """See `Outlet`."""
        await self._door.begin(record for one in kept for record in self._records(one))

    def _records(self, kept: Kept) -> Sequence[WireRecord]:
        found = read(kept.record())
        event = found.letter if isinstance(found, Unreadable) else found
        if isinstance(event, (DecisionObserved, DeadLetter)):
            return records_of([event], (), source=SOURCE, cluster=self._cluster, shards=self._shards)
        return [to_wire(output(event), self._shards)]


@asynccontextmanager
async def _ends(process: Process) -> AsyncIterator[tuple[Known, Outlet]]:
    """Where trust and facts come from, and where decisions go."""
    settings = process.settings
    if settings.kafka.brokers:
        known = KafkaKnown(settings)
        async with collector_door(process, "admission", WRITTEN) as door:
            yield known, KafkaOutlet(door, settings.kafka.partitions, settings.cluster)
        return
    if settings.state is None:
        raise InputError("state: which state file? example: state: /var/lib/revet/revet.sqlite")
    file = FileKnown(settings.state)
    try:
        yield file, file
    finally:
        file.close()


@asynccontextmanager
async def _evidence(process: Process, known: Known) -> AsyncIterator[tuple[FetchWorker, EvidencePlace]]:
    """What asks registries, reading on in trust and facts beside it."""
    settings = process.settings
    store_name = settings.evidence.store
    if settings.kafka.brokers and store_name.startswith(SQLITE):
        process.log.warning("evidence-store-not-shared", store=store_name)
    if not settings.kafka.brokers and not store_name:
        store_name = f"{SQLITE}{settings.state}"
    with open_store(store_name, registry_options(settings.evidence)) as store:
        async with opened(source_of(settings.evidence)) as place:
            answerer = EvidenceAnswerer(
                place, store, lambda: known.trust, wall_clock, platform=settings.evidence.platform
            )
            options = FetchOptions(again_seconds=settings.admission.again_seconds)
            fetcher = FetchWorker(answerer, known, options, meter=FetchMeter(process))
            try:
                with _beside(process, "view", known.run(fetcher.trust_moved)):
                    yield fetcher, place
            finally:
                fetcher.close()


def served(settings: AdmissionSettings) -> tuple[str, int, Certificates]:
    """Where to listen, and what to show there. Raises InputError: a setting is missing, or a file cannot be used."""
    if not settings.address:
        raise InputError("admission.address: nothing to listen on; example: admission.address: 0.0.0.0:9443")
    if settings.certificate_file is None or settings.key_file is None:
        example = "certificate_file: /run/secrets/admission/tls.crt, key_file: /run/secrets/admission/tls.key"
        raise InputError(f"admission.certificate_file: an API server asks over TLS only; example: {example}")
    host, port = host_and_port(settings.address)
    return host, port, Certificates(settings.certificate_file, settings.key_file, settings.client_ca_file)


def _spool(settings: Settings) -> Path:
    if settings.admission.spool is None:
        raise InputError("admission.spool: where do decisions wait? example: /var/lib/revet/admission.sqlite")
    return settings.admission.spool
