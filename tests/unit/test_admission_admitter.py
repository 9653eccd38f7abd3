"""Requests within a budget: when a registry is asked, how often, and what is said when it is slow. Time moves by hand
where it is a clock's, and for real where it is a wait's.
"""

import asyncio
import json

import pytest
import pytest_asyncio

from streams.admission.admitter import Admission, Admitter
from streams.admission.judging import Answer, Conduct
from streams.collectors.admission import Asked, read_review
from streams.engine.port import Output
from streams.events import EvidenceFound, EvidenceWanted
from streams.fetcher import FetchOptions
from tests.helpers.fetching import SECOND, Bench, digest
from tests.helpers.webhook import pod, review
from tests.helpers.world import policy
from verifier.errors import PlaceRefused, PlaceUnavailable
from verifier.models import ImageReference
from verifier.testing import Signer
from verifier.trust.records import PolicyPut

pytestmark = pytest.mark.asyncio

REPOSITORY = "r.example/app"
ENFORCE = Conduct(mode="enforce")
FETCH = FetchOptions(threads=1, again_seconds=10)


class Seen:
    """The view of a bench, with an age."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self.age = 0.0

    @property
    def trust(self):
        return self._bench.seen.trust

    def evidence(self, repository: str, name: str) -> EvidenceFound | None:
        return self._bench.seen.evidence(repository, name)

    def lag(self) -> float:
        return self.age


class World:
    """An admitter over the fetcher's bench; the policy demands the signature of dev."""

    def __init__(self, **limits: object) -> None:
        self.bench = Bench()
        self.signer = Signer("dev")
        self.bench.add_key(self.signer)
        self.apply(policy("signed", signed_by=("dev",), mode="enforce"))
        self.seen = Seen(self.bench)
        self.handed: list[Output] = []
        self.resolved = 0
        self.bench.place.resolve = self._resolve  # type: ignore[method-assign]  # counts, and fails on demand
        self.tags: dict[str, str | Exception] = {}
        options = Admission(**{"budget_seconds": 0.5, **limits})  # type: ignore[arg-type]  # a table of limits
        self.admitter = Admitter(
            self.seen, self.bench.worker(FETCH), self.bench.place, options, self.handed.extend,
            clock=lambda: self.bench.now,
        )  # fmt: skip

    def apply(self, wanted) -> None:
        epoch = self.bench.seen.trust.epoch + 1
        record = PolicyPut(author="test", at=self.bench.now, policy=wanted)
        self.bench.seen.trust, _ = self.bench.seen.trust.apply(record, epoch)

    async def _resolve(self, reference: ImageReference) -> str:
        self.resolved += 1
        found = self.tags.get(reference.tag, PlaceRefused("registry-not-found", "no such tag"))
        if isinstance(found, Exception):
            raise found
        return found

    def sign(self, number: int = 1) -> str:
        self.bench.publish(self.signer.sign_simple(REPOSITORY, digest(number)))
        return f"{REPOSITORY}@{digest(number)}"

    def asked(self, *images: str) -> Asked:
        found = read_review(json.dumps(review(pod("p", *images))).encode(), "c", self.bench.now)
        assert isinstance(found, Asked)
        return found

    async def admit(self, *images: str, conduct: Conduct = ENFORCE) -> Answer:
        return await self.admitter.answer(self.asked(*images), conduct)

    async def close(self) -> None:
        await self.admitter.close()
        self.bench.close()

    @property
    def asked_for(self) -> int:
        return len(self.bench.place.asked)


@pytest_asyncio.fixture
async def world():
    made = World()
    yield made
    await made.close()


async def test_a_cold_image_is_fetched_judged_and_handed_on_and_then_known(world):
    image = world.sign()
    assert (await world.admit(image)).outcome == "valid"
    assert [type(out.event) for out in world.handed] == [EvidenceFound]
    assert (await world.admit(image)).outcome == "valid"
    assert (world.asked_for, len(world.handed)) == (1, 1)


async def test_facts_that_others_found_ask_no_registry(world):
    image = world.sign()
    effects = await world.bench.worker().handle(world.bench.records(world.bench.wanted(REPOSITORY, digest(1))))
    world.bench.seen.take(effects)
    assert (await world.admit(image)).outcome == "valid"
    assert world.asked_for == 1


async def test_what_no_policy_asks_about_asks_no_registry(world):
    world.apply(policy("signed", signed_by=("dev",), images=("elsewhere.example/**",)))
    assert (await world.admit(f"{REPOSITORY}@{digest(1)}")).outcome == "ungoverned"
    assert world.asked_for == 0


async def test_many_that_wait_for_one_image_ask_once(world):
    image = world.sign()
    world.bench.place.slow["r.example"] = 0.05
    answers = await asyncio.gather(*(world.admit(image) for _ in range(50)))
    assert {answer.outcome for answer in answers} == {"valid"}
    assert (world.asked_for, world.admitter.looked_up) == (1, 1)


async def test_a_slow_registry_costs_the_budget_and_the_search_goes_on(world):
    image = world.sign()
    world.bench.place.slow["r.example"] = 0.8
    answer = await world.admit(image)
    assert (answer.allowed, answer.outcome) == (True, "unverifiable")
    assert "budget" in answer.annotations["reasons"]
    denied = await world.admit(image, conduct=Conduct(mode="enforce", unverifiable="deny"))
    assert denied.allowed or "budget" in denied.message  # through by now, or not
    await asyncio.sleep(0.5)
    assert (await world.admit(image)).outcome == "valid"
    assert world.asked_for == 1


async def test_who_signs_after_a_refusal_is_let_in_after_again_seconds(world):
    image = f"{REPOSITORY}@{digest(1)}"
    assert not (await world.admit(image)).allowed
    world.sign()
    assert not (await world.admit(image)).allowed  # known so lately that nobody asks
    assert world.asked_for == 1
    world.bench.now += 11 * SECOND
    assert (await world.admit(image)).allowed
    assert world.asked_for == 2


async def test_a_violation_that_is_known_stands_while_the_registry_is_away(world):
    image = f"{REPOSITORY}@{digest(1)}"
    assert not (await world.admit(image)).allowed
    world.bench.now += 11 * SECOND
    world.bench.place.slow["r.example"] = 5
    answer = await world.admit(image)
    assert (answer.allowed, answer.outcome) == (False, "violates")
    assert "unsigned" in answer.message


async def test_an_answer_that_is_not_whole_is_not_handed_on_but_asked_for(world):
    image = world.sign()
    world.bench.place.faults["r.example"] = lambda _: PlaceRefused("registry-unauthorized", "no")
    answer = await world.admit(image)
    assert "registry-unauthorized" in answer.annotations["reasons"]
    assert [type(out.event) for out in world.handed] == [EvidenceWanted]


async def test_a_store_that_fails_is_a_reason_and_others_are_asked_to_look(world):
    image = world.sign()

    def broken(*_: object) -> bool:
        raise PlaceUnavailable("registry-unavailable", "disk full")

    world.bench.store.put = broken
    answer = await world.admit(image)
    assert (answer.allowed, answer.outcome) == (True, "unverifiable")
    assert all(isinstance(out.event, EvidenceWanted) for out in world.handed)


async def test_a_tag_is_resolved_once_while_it_is_believed(world):
    world.sign()
    world.tags["v1"] = digest(1)
    for _ in range(3):
        answer = await world.admit(f"{REPOSITORY}:v1")
        assert (answer.outcome, answer.annotations["digests"]) == ("valid", digest(1))
        assert answer.annotations["unpinned"] == f"{REPOSITORY}:v1"
    assert world.resolved == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (PlaceRefused("registry-not-found", "no"), "registry-not-found"),
        (PlaceRefused("registry-unauthorized", "no"), "registry-unauthorized"),
        (PlaceUnavailable("registry-unavailable", "down"), "registry-unavailable"),
        (PlaceRefused("something-else", "odd"), "registry-unavailable"),
    ],
)
async def test_a_tag_that_nobody_can_resolve_is_unverifiable_by_its_reason(world, error, code):
    world.tags["v1"] = error
    answer = await world.admit(f"{REPOSITORY}:v1")
    assert answer.outcome == "unverifiable"
    assert code in answer.annotations["reasons"]


async def test_a_view_of_trust_that_is_old_is_not_judged_by(world):
    image = world.sign()
    assert (await world.admit(image)).outcome == "valid"
    world.seen.age = 31.0
    answer = await world.admit(image)
    assert (answer.allowed, answer.outcome, answer.annotations["reasons"]) == (True, "unverifiable", "trust-stale")
    assert not (await world.admit(image, conduct=Conduct(mode="enforce", unverifiable="deny"))).allowed


async def test_requests_beyond_the_queue_are_answered_at_once():
    world = World(at_once=2, queue=3, budget_seconds=0.3)
    image = world.sign()
    world.bench.place.slow["r.example"] = 5
    answers = await asyncio.gather(*(world.admit(image) for _ in range(20)))
    assert {answer.outcome for answer in answers} == {"unverifiable"}
    decisions = [answer.decision for answer in answers if answer.decision is not None]
    assert sum("requests wait already" in decision.audited[0] for decision in decisions) == 15
    await world.close()


async def test_a_new_key_counts_for_what_is_known_without_asking_a_registry(world):
    late = Signer("late")
    world.apply(policy("signed", signed_by=("late",), mode="enforce"))
    world.bench.publish(late.sign_simple(REPOSITORY, digest(1)))
    image = f"{REPOSITORY}@{digest(1)}"
    assert not (await world.admit(image)).allowed
    world.bench.add_key(late)
    assert (await world.admit(image)).outcome == "valid"
    assert world.asked_for == 1


async def test_one_bad_image_of_several_is_told_and_the_good_ones_are_not(world):
    good, bad = world.sign(1), f"{REPOSITORY}@{digest(2)}"
    answer = await world.admit(good, bad, "not a reference")
    assert not answer.allowed
    assert digest(2) in answer.message
    assert digest(1) not in answer.message


async def test_a_request_with_hundreds_of_images_does_not_hold_up_another(world):
    good = world.sign()
    many = [f"{REPOSITORY}@{digest(number)}" for number in range(2, 302)]
    world.bench.place.slow["r.example"] = 0.001
    hostile = asyncio.create_task(world.admit(*many))
    await asyncio.sleep(0)
    assert (await world.admit(good)).outcome == "valid"
    assert not hostile.done()
    answer = await hostile
    assert not answer.allowed
    assert len(answer.decision.images) == 300
