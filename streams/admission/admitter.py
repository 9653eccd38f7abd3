"""Requests for admission, judged within a budget: facts at hand first, a registry only where it can change the answer.

    admitter = Admitter(view, fetcher, place, options, hand_on)
    answer = await admitter.answer(asked, conduct)

An image is asked about where nothing is known of it, where what is known is under fewer keys than there are now, and
where the answer is not good and is older than `again_seconds`: whoever has just signed must not be refused by what was
known before. One image is asked about once at a time, however many requests wait for it; the search goes on when they
have been answered, and the next one finds what came of it. A look-up that is not through within the budget is
`unverifiable: budget`; so is a request that would wait behind too many others.

What was found whole is handed on, so that everybody judges by it; what was found in part is not, for other processes
have more patience: they are asked to look.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, Protocol, TypeVar

import msgspec

from streams.admission.judging import (
    Answer,
    Conduct,
    Judge,
    JudgedImage,
    answered,
    is_pinned,
    out_of_scope,
    reference_of,
    scope_of,
)
from streams.clock import wall_clock
from streams.collectors.admission import Asked
from streams.engine.port import Output
from streams.events import EvidenceFound, EvidenceWanted, ImageAsked
from streams.fetcher import FetchWorker
from streams.outputs import output
from verifier.canonical import stable_id
from verifier.errors import ImageReferenceError, PlaceError, PlaceRefused
from verifier.models import ImageReference, Micros, Reason, Scope, Verdict
from verifier.oci.port import EvidencePlace
from verifier.reasons import REASONS, reason
from verifier.reference import names_in
from verifier.times import SECOND
from verifier.trust.state import TrustState
from verifier.verify import ImageEvidence

T = TypeVar("T")

FLIGHTS: Final = 256
"""Images and tags that are being looked up at a time; beyond, a new one is `unverifiable: budget` at once."""
TOGETHER: Final = 16
"""Images of one request that are judged at a time."""
TAGS: Final = 10_000
"""Resolutions remembered."""
_FINE: Final = frozenset({"valid", "ungoverned"})


class Admission(msgspec.Struct, frozen=True):
    """Limits of an admitter."""

    budget_seconds: float = 3.0
    """From the request to the answer."""
    at_once: int = 64
    """Requests that are judged at a time."""
    queue: int = 512
    """Requests that wait for their turn; one more is answered at once."""
    tag_seconds: float = 60.0
    """How long it is believed what a tag means."""
    again_seconds: float = 10.0
    """A registry is not asked again about what it was asked so lately."""
    stale_seconds: float = 30.0
    """A view of trust that is older is not judged by."""


class View(Protocol):
    """What the process has read whole."""

    @property
    def trust(self) -> TrustState:
        """At the epoch reached."""

    def evidence(self, repository: str, digest: str) -> EvidenceFound | None:
        """The newest answer about an image; None when nobody asked yet."""

    def lag(self) -> float:
        """Seconds for which it is not known that nothing newer is there."""


class OverBudgetError(Exception):
    """A look-up is not through, or was not begun; says why."""


class Admitter:
    """One per process; used in one event loop."""

    def __init__(
        self,
        view: View,
        fetcher: FetchWorker,
        place: EvidencePlace | None,
        options: Admission,
        hand_on: Callable[[Sequence[Output]], None],
        *,
        clock: Callable[[], Micros] = wall_clock,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`hand_on` takes what was learned; it must not block."""
        self._view, self._fetcher, self._place = view, fetcher, place
        self._options, self._hand_on = options, hand_on
        self._clock, self._monotonic = clock, monotonic
        self._gate = asyncio.Semaphore(options.at_once)
        self._waiting = 0
        self._flights: dict[tuple[str, ...], asyncio.Task[Any]] = {}
        self._tags: OrderedDict[tuple[str, str], tuple[float, str]] = OrderedDict()
        self._judge = Judge(view.trust)
        self.looked_up = 0
        """Look-ups begun since the start: images and tags for which a registry was asked."""

    async def close(self) -> None:
        """End what is being looked up; nobody waits for it any more."""
        flights = list(self._flights.values())
        for task in flights:
            task.cancel()
        if flights:
            await asyncio.wait(flights)

    async def answer(self, asked: Asked, conduct: Conduct, budget: float | None = None) -> Answer:
        """What to tell the API server, within the budget. Raises nothing of a registry or of the request's text."""
        if asked.skipped or out_of_scope(asked, conduct):
            return answered(asked, (), conduct, self._view.trust.epoch)
        deadline = self._monotonic() + (self._options.budget_seconds if budget is None else budget)
        instant, trust = self._clock(), self._view.trust
        judge = self._judge_of(trust)
        problem = self._stale()
        if problem is not None:
            images: Sequence[JudgedImage] = [self._told(judge, asked, i, instant, problem) for i in asked.images]
        else:
            images = await self._in_turn(judge, asked, instant, deadline)
        return answered(asked, images, conduct, max((v.epoch for i in images for v in i.verdicts), default=trust.epoch))

    def _judge_of(self, trust: TrustState) -> Judge:
        if self._judge.trust is not trust:
            self._judge = Judge(trust)
        return self._judge

    def _stale(self) -> Reason | None:
        lag = self._view.lag()
        return reason("trust-stale", detail=f"{lag:.0f} s") if lag > self._options.stale_seconds else None

    async def _in_turn(self, judge: Judge, asked: Asked, instant: Micros, deadline: float) -> Sequence[JudgedImage]:
        if self._gate.locked() and self._waiting >= self._options.queue:
            why = self._over(f"{self._waiting} requests wait already")
            return [self._told(judge, asked, image, instant, why) for image in asked.images]
        self._waiting += 1
        try:
            async with asyncio.timeout(max(0.0, deadline - self._monotonic())):
                await self._gate.acquire()
        except TimeoutError:
            why = self._over("other requests came first")
            return [self._told(judge, asked, image, instant, why) for image in asked.images]
        finally:
            self._waiting -= 1
        try:
            return await self._images(judge, asked, instant, deadline)
        finally:
            self._gate.release()

    async def _images(self, judge: Judge, asked: Asked, instant: Micros, deadline: float) -> Sequence[JudgedImage]:
        """Each distinct image once, some at a time: a request with hundreds does not hold up the others."""
        distinct = list({image.submitted: image for image in asked.images}.values())
        found: dict[str, JudgedImage] = {}
        for start in range(0, len(distinct), TOGETHER):
            some = distinct[start : start + TOGETHER]
            judged = await asyncio.gather(*(self._image(judge, asked, image, instant, deadline) for image in some))
            found.update((image.asked.submitted, image) for image in judged)
            await asyncio.sleep(0)
        return [found[image.submitted]._replace(asked=image) for image in asked.images]

    def _over(self, detail: str) -> Reason:
        return reason("budget", limit=f"{self._options.budget_seconds:g} s", detail=detail)

    # ------------------------------------------------------------------------------------------------------- one image

    def _told(
        self, judge: Judge, asked: Asked, image: ImageAsked, instant: Micros, problem: Reason, digest: str = ""
    ) -> JudgedImage:
        """What policies say of an image about which nothing can be asked."""
        reference, unreadable = reference_of(image.submitted)
        scope = scope_of(asked, reference, judge.trust)
        evidence = ImageEvidence(reference.repository, digest, problem=unreadable or problem)
        return JudgedImage(image, judge.verdicts(scope, evidence, instant), digest, is_pinned(reference))

    async def _image(
        self, judge: Judge, asked: Asked, image: ImageAsked, instant: Micros, deadline: float
    ) -> JudgedImage:
        reference, unreadable = reference_of(image.submitted)
        if unreadable is not None:
            return self._told(judge, asked, image, instant, unreadable)
        digest = ""
        try:
            digest = reference.digest or await self._tag(reference, deadline)
            verdicts = await self._verdicts(judge, scope_of(asked, reference, judge.trust), digest, instant, deadline)
        except OverBudgetError as error:
            return self._told(judge, asked, image, instant, self._over(str(error)), digest)
        except PlaceError as error:
            return self._told(judge, asked, image, instant, _said(error, reference), digest)
        return JudgedImage(image, verdicts, digest, is_pinned(reference))

    async def _verdicts(
        self, judge: Judge, scope: Scope, digest: str, instant: Micros, deadline: float
    ) -> tuple[Verdict, ...]:
        """By what is known, or by what a registry says now where that can change the answer.

        Raises:
            OverBudgetError: nothing is known, and the registry is slower than the budget.
            PlaceError: the evidence store failed.
        """
        known = self._known(scope.image, digest)
        verdicts = judge.verdicts(scope, known, instant)
        why = self._lacking(known, verdicts, scope.image)
        if not why:
            return verdicts
        try:
            await self._look(scope.image, digest, why, deadline)
        except (OverBudgetError, PlaceError):
            if any(verdict.outcome == "unverifiable" for verdict in verdicts):
                raise
            return verdicts  # known whole and not good: that stands until the registry says something else
        later = self._judge_of(self._view.trust)  # trust may have moved on, and facts with it
        return later.verdicts(scope, self._known(scope.image, digest), self._clock())

    def _known(self, reference: ImageReference, digest: str) -> ImageEvidence:
        found = self._fetcher.known(reference.repository, digest)
        if found is None:
            return ImageEvidence(reference.repository, digest)
        return ImageEvidence(reference.repository, digest, found.set, found.facts, dict(found.first_seen))

    def _lacking(self, known: ImageEvidence, verdicts: Sequence[Verdict], reference: ImageReference) -> str:
        """Why a registry, or the evidence store, has to be asked; empty: what is known suffices."""
        if all(verdict.outcome in _FINE for verdict in verdicts):
            return ""
        content = known.set
        if content is None:
            return "new-digest"
        if content.keyset != self._view.trust.keyset_id and any(
            said.code == "keys-pending" for verdict in verdicts for said in verdict.reasons
        ):
            return "keys-added"
        if not set(names_in(reference, known.digest)) <= set(content.names):
            return "new-digest"
        if self._clock() - content.fetched_at < self._options.again_seconds * SECOND:
            return ""
        return "stale" if content.complete else "retry"

    # -------------------------------------------------------------------------------------------------------- asking

    async def _look(self, reference: ImageReference, digest: str, why: str, deadline: float) -> None:
        """Raises as `_verdicts`."""
        key = ("image", reference.repository, digest, reference.tag)
        await self._flight(key, lambda: self._fetch(reference, digest, why), f"evidence of {digest}", deadline)

    async def _fetch(self, reference: ImageReference, digest: str, why: str) -> None:
        now = self._clock()
        wanted = EvidenceWanted(
            id=stable_id("evidence-wanted", reference.repository, digest, self._view.trust.keyset_id, now),
            time=now,
            repository=reference.repository,
            digest=digest,
            reference=str(reference),
            why=why,  # type: ignore[arg-type]  # `_lacking` gives the literals of EvidenceWanted.why
            epoch=self._view.trust.epoch,
        )
        try:
            found, more = await self._fetcher.ask(wanted)
        except PlaceError:
            self._hand_on([output(wanted)])
            raise
        if found is not None and found.set.complete:
            self._hand_on([output(found), *map(output, more)])
        elif found is not None and self._view.evidence(reference.repository, digest) is None:
            self._hand_on([output(wanted)])

    async def _tag(self, reference: ImageReference, deadline: float) -> str:
        """What a tag means, as far as is known within `tag_seconds`.

        Raises:
            OverBudgetError: the registry is slower than the budget.
            PlaceError: it refuses, or does not know the tag.
        """
        slot = (reference.repository, reference.tag)
        found = self._tags.get(slot)
        if found is not None and self._monotonic() - found[0] < self._options.tag_seconds:
            return found[1]
        digest = await self._flight(("tag", *slot), lambda: self._resolve(reference), f"tag of {reference}", deadline)
        return str(digest)

    async def _resolve(self, reference: ImageReference) -> str:
        if self._place is None:
            raise PlaceRefused("no-evidence-source", "no evidence source is configured")
        try:
            digest = await self._place.resolve(reference)
        except ImageReferenceError as error:
            raise PlaceRefused("reference-unparsable", str(error)) from error
        slot = (reference.repository, reference.tag)
        self._tags[slot] = (self._monotonic(), digest)
        self._tags.move_to_end(slot)
        while len(self._tags) > TAGS:
            self._tags.popitem(last=False)
        return digest

    async def _flight(
        self, key: tuple[str, ...], make: Callable[[], Coroutine[Any, Any, T]], what: str, deadline: float
    ) -> T:
        """The result of the one look-up of `key`, begun by whoever came first; it outlives those who wait for it.

        Raises:
            OverBudgetError: it is not through in time.
            Exception: what the look-up ended with.
        """
        task = self._flights.get(key)
        if task is None:
            if len(self._flights) >= FLIGHTS:
                raise OverBudgetError(f"{len(self._flights)} other images are being looked up")
            self.looked_up += 1
            task = self._flights[key] = asyncio.create_task(make())
            task.add_done_callback(lambda done: self._landed(key, done))
        await asyncio.wait([task], timeout=max(0.0, deadline - self._monotonic()))
        if not task.done() or task.cancelled():
            raise OverBudgetError(f"{what} is still being looked up")
        result: T = task.result()
        return result

    def _landed(self, key: tuple[str, ...], task: asyncio.Task[Any]) -> None:
        self._flights.pop(key, None)
        if not task.cancelled():
            task.exception()  # heard: those who waited were told, if anybody still did


def _said(error: PlaceError, reference: ImageReference) -> Reason:
    """A place's error as the reason of a verdict."""
    code = error.code if error.code in REASONS and REASONS[error.code].effect == "unverifiable" else _OTHER
    return reason(code, place=reference.repository, detail=str(error), found=str(reference), digest=reference.digest)


_OTHER: Final = "registry-unavailable"
