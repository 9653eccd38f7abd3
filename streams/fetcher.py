"""The fetcher of the clustered mode: requests for evidence in, answers out. Neutral of the engine that drives it.

    worker = FetchWorker(answerer, shared, FetchOptions())
    effects = await worker.handle(records)       # a batch of one partition of `revet.evidence-requests`
    worker.trust_moved()                         # after the shared view has folded a record of the trust log

Every request is answered, or covered by an answer that is on the topic of facts already: shards ask for the same digest
at the same time, and one answer reaches them all. What a request needs:

    new-digest      a complete answer of the last minutes that asked about this tag (or pinned index) too, under the
                    candidates of now; else the registry
    keys-added      an answer under the candidates of now; else what is known, read again from the evidence store
    retry, stale    the registry, unless this worker has just asked it
    notified        the registry, unless it was asked since it spoke

An answer under an older trust than the request's would leave its image pending: the worker waits until its own trust
has come as far. Where that takes too long, or the epoch is none that ever was, the answer says so and is not complete,
so that the judge asks again. A registry that is down delays a batch by its budget once, and is then answered for at
once (`unverifiable`, asked again by the judge) until a single request, the probe, gets through. What is missing is
said, never left out: see `streams.fetching.bounded`.

Calls of the store may wait for a network, and cryptography keeps a processor busy: both run on threads.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Literal, NamedTuple, Protocol, TypeVar

import msgspec

from streams.clock import wall_clock
from streams.codec import NewerSchemaError
from streams.engine.port import Effects, Output, Record
from streams.engine.reading import Unreadable, read
from streams.events import EvidenceFound, EvidenceWanted
from streams.fetching import (
    Answer,
    EvidenceAnswerer,
    Known,
    bounded,
    by_image,
    evidence_found,
    left_out,
    names_of,
    overtaken,
    reference_of,
    unbounded,
)
from streams.outputs import output
from verifier.adapters.fetch import Fetched, version_of
from verifier.errors import PlaceRefused, PlaceUnavailable
from verifier.models import DigestClosure, EvidenceSet, Micros, PlaceAsked
from verifier.oci.port import KEPT, Collected
from verifier.reference import names_in
from verifier.times import SECOND
from verifier.trust.state import TrustState

T = TypeVar("T")
Slot = tuple[str, str]
"""(repository, digest)"""

Need = Literal["nothing", "candidates", "place"]
Outcome = Literal["ok", "incomplete", "down", "covered", "candidates", "damaged"]
"""What became of a request: every place answered; some did not; its registry is down and was not asked; there was an
answer already; read again under newer candidates; the store holds other bytes than it took."""

_DIGESTS_OWN: Final = frozenset({"payload-digest-mismatch", "limit-exceeded"})
"""Codes of a store that say something of one digest, not of the store."""
_PASSING: Final = frozenset({"registry-unavailable", "registry-rate-limited"})
"""Codes of failures that may be over in a moment."""
_BACK_OFF: Final = (1.0, 2.0, 4.0, 8.0)
"""Seconds before a registry, or the store, is asked again within the budget; the last one repeats."""
_OWN_KEPT: Final = 10_000
"""Answers remembered until the shared view shows them: some seconds of work."""


class FetchOptions(msgspec.Struct, frozen=True):
    """How requests are worked off."""

    at_once: int = 32
    """Digests asked about at a time."""
    per_registry: int = 8
    """Of these, of one registry."""
    budget_seconds: float = 20.0
    """For one digest, all repetitions and waits that a registry asks for included."""
    probe_seconds: float = 5.0
    """The same for the one request by which a registry that was down is tried again."""
    down_after: int = 3
    """Digests in a row for which a registry gave no answer at all, after which it counts as down."""
    down_seconds: float = 30.0
    """For so long it is not asked; less than the judge's shortest wait."""
    fresh_seconds: float = 300.0
    """How old an answer may be for a shard that meets the digest for the first time."""
    again_seconds: float = 30.0
    """A registry that was asked about a digest so lately is not asked again; less than the judge's shortest wait."""
    push_seconds: float = 2.0
    """How long a push may go on behind the word of the registry about it."""
    trust_seconds: float = 60.0
    """How long a request waits for the trust it was made under."""
    recorded: bool = False
    """Time is a recording's: it tells which of a request and an answer came first, however far they are apart."""
    threads: int = 8
    """For the store and for cryptography."""


class Seen(Protocol):
    """What the process has read whole: trust and facts."""

    @property
    def trust(self) -> TrustState:
        """At the epoch reached."""

    def evidence(self, repository: str, digest: str) -> EvidenceFound | None:
        """The newest answer about an image; None when nobody asked yet."""


class Meter(Protocol):
    """Who is told how it goes; nothing here depends on it."""

    def fetched(self, outcome: Outcome, seconds: float, registry: str) -> None:
        """A request was worked off."""


class _NoMeter:
    def fetched(self, outcome: Outcome, seconds: float, registry: str) -> None:
        """Tells nobody."""


class _Registry:
    """How one registry fares."""

    def __init__(self, at_once: int) -> None:
        self.gate = asyncio.Semaphore(at_once)
        self.failures = 0
        """Digests in a row without any answer."""
        self.closed_until = 0.0
        """Monotonic seconds until which it is not asked."""
        self.code = "registry-unavailable"
        self.probing = False


class _Asked(NamedTuple):
    answer: Answer
    outcome: Outcome


class FetchWorker:
    """One per process; used in one event loop."""

    def __init__(
        self,
        answerer: EvidenceAnswerer,
        seen: Seen,
        options: FetchOptions | None = None,
        *,
        meter: Meter | None = None,
        clock: Callable[[], Micros] = wall_clock,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._answerer = answerer
        self._seen = seen
        self._options = options or FetchOptions()
        self._meter = meter or _NoMeter()
        self._clock, self._monotonic, self._sleep = clock, monotonic, sleep
        self._gate = asyncio.Semaphore(self._options.at_once)
        self._registries: dict[str, _Registry] = {}
        self._own: OrderedDict[Slot, EvidenceFound] = OrderedDict()
        """Newest answers of this worker, until the shared view shows them. Nobody knows whether they are durable: the
        batch they belong to may come again, and then they are said again."""
        self._asked: OrderedDict[Slot, tuple[float, Micros]] = OrderedDict()
        """When a place was last asked (monotonic seconds), and when that answer was made."""
        self._trust_moved = asyncio.Event()
        self._missed: int | None = None
        """The epoch our trust is at, if a later one was waited for in vain: until it moves nobody waits again."""
        self._pool = ThreadPoolExecutor(self._options.threads, "evidence")
        self.waits_for_epoch = 0
        """The trust epoch that a request waits for; 0: none does."""

    def close(self) -> None:
        """Lets the threads end with what they are at; the store is closed after it."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def trust_moved(self) -> None:
        """Says that the shared view has read on in the trust log; from the worker's event loop."""
        self._trust_moved.set()
        self._trust_moved = asyncio.Event()

    async def handle(self, records: Sequence[Record]) -> Effects:
        """The answers to a batch, in the order of its requests. Batches of one partition come one after the other.

        A batch may be handled again, here or elsewhere: what it left behind is in the evidence store, and repeats.

        Raises:
            NewerSchemaError: the first record is one that a newer program has to read.
            PlaceUnavailable, PlaceRefused: the evidence store failed for longer than the budget.
        """
        outputs: dict[int, Output] = {}
        requests: list[EvidenceWanted] = []
        first: dict[Slot, int] = {}
        taken = 0
        for number, record in enumerate(records):
            try:
                event = read(record)
            except NewerSchemaError:
                if not number:
                    raise
                break
            taken = number + 1
            if isinstance(event, Unreadable):
                outputs[number] = output(event.letter)
            elif isinstance(event, EvidenceWanted):
                first.setdefault((event.repository, event.digest), number)
                requests.append(event)
        wanted = by_image(requests)
        answers = await _all(self._answer(slot, group) for slot, group in wanted.items())
        made: list[tuple[Answer | None, EvidenceFound]] = []
        for slot, (answer, found) in zip(wanted, answers, strict=True):
            if found is not None:
                outputs[first[slot]] = output(found)
                made.append((answer, found))
        asked = [output(again) for again in left_out(made, self._known_set)]
        return Effects((*(outputs[number] for number in sorted(outputs)), *asked), consumed=taken)

    # ------------------------------------------------------------------------------------------------- one digest

    def known(self, repository: str, digest: str) -> EvidenceFound | None:
        """The newest answer about an image, whether it has come back to us or not; None: nobody asked yet."""
        return self._known((repository, digest))

    async def ask(self, wanted: EvidenceWanted) -> tuple[EvidenceFound | None, tuple[EvidenceWanted, ...]]:
        """One request outside of any batch: the answer that is to be broadcast (None: it is already), and requests for
        images that an index lists.

        Raises:
            PlaceUnavailable, PlaceRefused: the evidence store failed for longer than the budget.
        """
        answer, found = await self._answer((wanted.repository, wanted.digest), [wanted])
        made = [(answer, found)] if found is not None else []
        return found, tuple(left_out(made, self._known_set))

    async def _answer(self, slot: Slot, group: Sequence[EvidenceWanted]) -> tuple[Answer | None, EvidenceFound | None]:
        """What the place said, and the one answer to all requests of a batch; None: there is one already."""
        begun = self._monotonic()
        epoch = max(wanted.epoch for wanted in group)
        late = not await self._trust_covers(epoch)
        known = self._known(slot)
        needs = [self._need(wanted, known) for wanted in group]
        need = max(needs, key=_NEEDS.index)
        asking = group[needs.index(need)]
        if late and need == "nothing":
            need = "candidates"
        wanted = msgspec.structs.replace(asking, time=max(each.time for each in group))
        registry = reference_of(wanted).registry
        if need == "nothing":
            self._meter.fetched("covered", self._monotonic() - begun, registry)
            return None, self._own.get(slot)
        answer, found, outcome = await self._made(wanted, group, known, ask=need == "place")
        found = bounded(overtaken(found, epoch, self._seen.trust.epoch) if late else found)
        _remember(self._own, slot, found)
        if outcome in {"ok", "incomplete", "down"}:
            _remember(self._asked, slot, (self._monotonic(), found.set.fetched_at))
        self._meter.fetched(outcome, self._monotonic() - begun, registry)
        return answer, found

    async def _trust_covers(self, epoch: int) -> bool:
        """True once our trust has come to the epoch; False when it did not in time, or did not just now for another."""
        while self._seen.trust.epoch < epoch:
            self.waits_for_epoch = max(epoch, self.waits_for_epoch)
            if self._missed == self._seen.trust.epoch:
                return False
            try:
                async with asyncio.timeout(self._options.trust_seconds):
                    await self._trust_moved.wait()
            except TimeoutError:
                self._missed = self._seen.trust.epoch
        if self.waits_for_epoch <= self._seen.trust.epoch:
            self.waits_for_epoch = 0
        return True

    def _known(self, slot: Slot) -> EvidenceFound | None:
        """The newest answer, whether it has come back to us or not."""
        shown, own = self._seen.evidence(*slot), self._own.get(slot)
        if own is None or (shown is not None and shown.set.fetched_at >= own.set.fetched_at):
            self._own.pop(slot, None)
            return shown
        return own

    def _known_set(self, repository: str, digest: str) -> EvidenceSet | None:
        known = self._known((repository, digest))
        return None if known is None else known.set

    def _need(self, wanted: EvidenceWanted, known: EvidenceFound | None) -> Need:
        if known is None:
            return "place"
        if wanted.why == "keys-added":
            enough = True
        elif wanted.why == "new-digest":
            grace = int(self._options.fresh_seconds * SECOND) if known.set.complete else 0
            heard = set(names_in(reference_of(wanted), wanted.digest)) <= set(known.set.names)
            enough = heard and known.set.fetched_at >= wanted.time - grace
        elif wanted.why == "notified":  # an answer from the middle of a push may have missed the end of it
            enough = known.set.fetched_at >= wanted.time + int(self._options.push_seconds * SECOND)
        else:
            asked, made = self._asked.get((wanted.repository, wanted.digest), (float("-inf"), 0))
            lately = self._monotonic() - asked < self._options.again_seconds
            behind = known.set.fetched_at - wanted.time
            # Several shards ask at the same instant. What is much further ahead is only a clock, but for recordings.
            answered = behind >= 0 and (self._options.recorded or behind < self._options.again_seconds * SECOND)
            enough = answered or (lately and known.set.fetched_at >= made)
        if not enough:
            return "place"
        return "nothing" if known.set.keyset == self._seen.trust.keyset_id else "candidates"

    async def _made(
        self, wanted: EvidenceWanted, group: Sequence[EvidenceWanted], known: EvidenceFound | None, *, ask: bool
    ) -> tuple[Answer | None, EvidenceFound, Outcome]:
        """What the place said and what it comes to, or from the store; `wanted` speaks for the group."""
        before = None if known is None else unbounded(Known(known.set, known.facts))
        names = names_of(group, before)
        try:
            asked: _Asked | None = None
            if ask:
                indexes = await self._stored(lambda: self._answerer.indexes(wanted))
                asked = await self._ask(wanted, indexes, names)
            answer = None if asked is None else asked.answer
            now = self._now(wanted, known)
            found = await self._stored(lambda: self._answerer.found(wanted, answer, before, now, names=names))
        except PlaceRefused as error:
            if error.code not in _DIGESTS_OWN:
                raise
            return None, self._damaged(wanted, known, error), "damaged"
        return answer, found, "candidates" if asked is None else asked.outcome

    def _now(self, wanted: EvidenceWanted, known: EvidenceFound | None) -> Micros:
        """Newer than what it replaces, whoever's clock that was made by: the newest answer wins."""
        return max(self._clock(), wanted.time, 0 if known is None else known.set.fetched_at + 1)

    def _damaged(self, wanted: EvidenceWanted, known: EvidenceFound | None, error: PlaceRefused) -> EvidenceFound:
        """The store cannot give what it took, of this digest: what was known stands, and it is said."""
        now = self._now(wanted, known)
        told = PlaceAsked(KEPT, wanted.digest, "error", error.code, str(error))
        if known is None:
            closure, keyset = DigestClosure(wanted.digest), self._seen.trust.keyset_id
            known = EvidenceFound(
                "", now, EvidenceSet(wanted.repository, wanted.digest, (), closure, (), False, now, keyset, ""), ()
            )
        content = known.set
        places = (*(place for place in content.places if place.code not in _DIGESTS_OWN), told)
        content = msgspec.structs.replace(content, places=places, complete=False, fetched_at=now)
        content = msgspec.structs.replace(content, version=version_of(content))
        return evidence_found(Fetched(content, known.facts, known.first_seen), now)

    async def _stored(self, work: Callable[[], T]) -> T:
        """A call of the store, on a thread; repeated while the store is away, up to the budget.

        Raises:
            PlaceUnavailable, PlaceRefused: what the store raised last.
        """
        deadline = self._monotonic() + self._options.budget_seconds
        attempt = 0
        while True:
            try:
                return await asyncio.get_running_loop().run_in_executor(self._pool, work)
            except PlaceUnavailable as error:
                wait = _wait(error.retry_after_us, attempt)
                if self._monotonic() + wait > deadline:
                    raise
            await self._sleep(wait)
            attempt += 1

    # ---------------------------------------------------------------------------------------------------- registries

    async def _ask(self, wanted: EvidenceWanted, indexes: tuple[str, ...], names: tuple[str, ...]) -> _Asked:
        name = reference_of(wanted).registry
        registry = self._registries.setdefault(name, _Registry(self._options.per_registry))
        if closed := self._closed(name, registry):
            return closed
        async with registry.gate:
            if closed := self._closed(name, registry):  # it went down while this one waited
                return closed
            probe = registry.failures >= self._options.down_after
            registry.probing = probe
            try:
                seconds = self._options.probe_seconds if probe else self._options.budget_seconds
                answer = await self._within(seconds, name, lambda: self._answerer.collect(wanted, indexes, names))
            finally:
                if probe:
                    registry.probing = False
            self._learn(registry, answer)
        complete = isinstance(answer, Collected) and answer.complete
        return _Asked(answer, "ok" if complete else "incomplete")

    def _closed(self, name: str, registry: _Registry) -> _Asked | None:
        """The answer for a registry that is not asked now; None: ask it."""
        left = registry.closed_until - self._monotonic()
        if left <= 0 and not registry.probing:
            return None
        wait = max(left, 1.0)
        why = "asked to be left alone" if registry.code == "registry-rate-limited" else "did not answer"
        told = f"{name} {why}; not asked for {wait:.0f} s"
        return _Asked(PlaceUnavailable(registry.code, told, retry_after_us=int(wait * SECOND)), "down")

    def _learn(self, registry: _Registry, answer: Answer) -> None:
        """From what came: is the registry there, and does it want to be left alone?"""
        now = self._monotonic()
        registry.failures = registry.failures + 1 if _is_outage(answer) else 0
        if registry.failures >= self._options.down_after:
            registry.closed_until, registry.code = now + self._options.down_seconds, "registry-unavailable"
        asked_for = _retry_after(answer)
        if asked_for is not None and now + asked_for / SECOND > registry.closed_until:
            registry.closed_until, registry.code = now + asked_for / SECOND, "registry-rate-limited"

    async def _within(self, seconds: float, name: str, collect: Callable[[], Awaitable[Answer]]) -> Answer:
        """The best answer within the budget: asked again while a failure may pass, as late as the registry says.

        The budget begins with the first attempt. Between attempts nothing of the process is held but the registry's own
        places, so that those that fail do not keep others from being asked.
        """
        deadline = float("inf")
        best: Answer | None = None
        attempt = 0
        while True:
            async with self._gate:
                deadline = min(deadline, self._monotonic() + seconds)
                left = deadline - self._monotonic()
                if best is not None and left <= 0:
                    return best
                answer = await self._within_once(left, seconds, name, collect)
            if best is None or _lacks(answer) <= _lacks(best):
                best = answer
            wait = _wait(_retry_after(answer), attempt)
            if not _may_pass(answer) or self._monotonic() + wait >= deadline:
                return best
            await self._sleep(wait)
            attempt += 1

    @staticmethod
    async def _within_once(left: float, seconds: float, name: str, collect: Callable[[], Awaitable[Answer]]) -> Answer:
        """One attempt, with what is left of the budget."""
        try:
            async with asyncio.timeout(max(0.0, left)):
                return await collect()
        except TimeoutError:
            return PlaceUnavailable("registry-unavailable", f"{name}: no answer within {seconds:g} s")


_NEEDS: Final[tuple[Need, ...]] = ("nothing", "candidates", "place")
"""From the least to the most."""


async def _all(work: Iterable[Awaitable[T]]) -> list[T]:
    """Every result, in order; the first error, after all have ended."""
    results = await asyncio.gather(*work, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]


def _remember(kept: OrderedDict[Slot, T], slot: Slot, value: T) -> None:
    kept[slot] = value
    kept.move_to_end(slot)
    while len(kept) > _OWN_KEPT:
        kept.popitem(last=False)


def _wait(asked_for: Micros | None, attempt: int) -> float:
    """Seconds before the next attempt: what was asked for, or longer and longer."""
    own = _BACK_OFF[min(attempt, len(_BACK_OFF) - 1)]
    return own if asked_for is None else max(asked_for / SECOND, 0.1)


def _errors(answer: Collected) -> list[PlaceAsked]:
    return [place for place in answer.places if place.outcome == "error"]


def _lacks(answer: Answer) -> tuple[float, int]:
    """How many places did not answer, all of them when the whole did not; of equals that which says more lacks less."""
    if not isinstance(answer, Collected):
        return float("inf"), 0
    errors = len(_errors(answer))
    return errors, errors - len(answer.places)


def _may_pass(answer: Answer) -> bool:
    if isinstance(answer, Collected):
        return any(place.code in _PASSING for place in _errors(answer))
    return answer.retryable


def _retry_after(answer: Answer) -> Micros | None:
    if isinstance(answer, Collected):
        return answer.retry_after
    return answer.retry_after_us if isinstance(answer, PlaceUnavailable) else None


def _is_outage(answer: Answer) -> bool:
    """Nothing of the registry answered."""
    if isinstance(answer, Collected):
        codes = [place.code if place.outcome == "error" else "" for place in answer.places]
        return bool(codes) and all(code == "registry-unavailable" for code in codes)
    return answer.code == "registry-unavailable"
