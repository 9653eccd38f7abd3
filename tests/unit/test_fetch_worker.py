"""The fetcher of the clustered mode: what is asked, what is not; what a failing registry, store or clock changes."""

import asyncio
from collections.abc import Iterator

import msgspec
import pytest

from streams.codec import SCHEMA_VERSION, NewerSchemaError
from streams.events import DeadLetter, EvidenceFound
from streams.fetcher import FetchOptions
from tests.helpers.fetching import SECOND, START, Bench, digest
from verifier.adapters.memory import MemoryEvidenceStore
from verifier.errors import PlaceRefused, PlaceUnavailable
from verifier.models import DigestClosure, Evidence, PlaceAsked
from verifier.oci.port import Collected
from verifier.testing import Signer

pytestmark = pytest.mark.asyncio

A, B = "r.example/a", "other.example/b"
ONE = digest(1)
DEV, OPS = Signer("dev"), Signer("ops")


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    made.add_key(DEV)
    made.publish(DEV.sign_simple(A, ONE, {}))
    yield made
    made.close()


def found(effects) -> list[EvidenceFound]:
    return [out.event for out in effects.outputs]


def failed(code: str, *, retry_after: int | None = None):
    def fault(digest: str) -> Collected:
        told = PlaceAsked("sig-tag", digest, "error", code, "planted")
        return Collected((), DigestClosure(digest), (told,), retry_after=retry_after)

    return fault


# ----------------------------------------------------------------------------------------------- what is asked, and not


async def test_shards_that_ask_for_one_digest_at_once_get_one_answer(bench):
    worker = bench.worker()
    effects = await worker.handle(bench.records(*[bench.wanted(A, ONE) for _ in range(24)], bench.wanted(B, ONE)))
    assert [event.set.repository for event in found(effects)] == [A, B]
    assert effects.taken(25) == 25
    assert sorted(bench.place.asked) == [(B, ONE), (A, ONE)]
    first = found(effects)[0]
    assert first.set.complete
    assert first.set.keyset == bench.seen.trust.keyset_id
    assert [fact.verified_by for fact in first.facts] == [(DEV.key_id,)]
    assert dict(first.first_seen) == {first.facts[0].evidence_id: bench.now}


async def test_a_batch_that_comes_again_at_the_same_time_gives_the_same_ids(bench):
    batch = bench.records(bench.wanted(A, ONE), bench.wanted(B, ONE))
    one = await bench.worker().handle(batch)
    two = await bench.worker().handle(batch)
    assert [out.id for out in one.outputs] == [out.id for out in two.outputs]
    assert one == two


async def test_an_answer_that_everybody_has_seen_is_not_given_again(bench):
    worker = bench.worker()
    bench.seen.take(await worker.handle(bench.records(bench.wanted(A, ONE))))
    bench.now += 60 * SECOND
    again = await worker.handle(bench.records(bench.wanted(A, ONE)))
    assert (again.outputs, again.taken(1)) == ((), 1)
    bench.now += 300 * SECOND
    assert len(found(await worker.handle(bench.records(bench.wanted(A, ONE))))) == 1
    assert bench.place.asked == [(A, ONE)] * 2


async def test_an_answer_nobody_has_seen_yet_is_said_again_and_the_registry_left_alone(bench):
    """It may never have become durable: the batch it was made in was given up, and this one comes in its place."""
    worker = bench.worker()
    one = await worker.handle(bench.records(bench.wanted(A, ONE)))
    two = await worker.handle(bench.records(bench.wanted(A, ONE)))
    assert one.outputs == two.outputs
    assert bench.place.asked == [(A, ONE)]


async def test_an_incomplete_answer_does_for_nobody_who_asks_after_it(bench):
    worker = bench.worker(FetchOptions(threads=1, budget_seconds=0.5))
    bench.place.faults["r.example"] = failed("registry-unauthorized")
    (incomplete,) = bench.seen.take(await worker.handle(bench.records(bench.wanted(A, ONE))))
    assert not incomplete.set.complete
    bench.place.faults.clear()
    bench.now += SECOND
    (complete,) = found(await worker.handle(bench.records(bench.wanted(A, ONE))))
    assert complete.set.complete


async def test_a_retry_asks_the_registry_and_that_of_every_other_shard_does_not(bench):
    worker = bench.worker(FetchOptions(threads=1, budget_seconds=0.5, down_after=100))
    bench.place.faults["r.example"] = failed("registry-unavailable")
    bench.seen.take(await worker.handle(bench.records(bench.wanted(A, ONE))))
    for _ in range(3):
        bench.now += 60 * SECOND
        for _shard in range(4):
            bench.now += SECOND
            bench.seen.take(await worker.handle(bench.records(bench.wanted(A, ONE, "retry"))))
    assert bench.place.asked == [(A, ONE)] * 4
    assert bench.outcomes == ["incomplete"] + ["incomplete", *["covered"] * 3] * 3


async def test_a_key_added_is_tried_on_stored_evidence_without_any_registry(bench):
    worker = bench.worker()
    bench.publish(OPS.sign_simple(A, ONE, {}))
    (before,) = bench.seen.take(await worker.handle(bench.records(bench.wanted(A, ONE))))
    bench.add_key(OPS)
    bench.place.published.clear()
    (after,) = bench.seen.take(await worker.handle(bench.records(bench.wanted(A, ONE, "keys-added"))))
    assert {key for fact in after.facts for key in fact.verified_by} == {DEV.key_id, OPS.key_id}
    assert after.set.keyset == bench.seen.trust.keyset_id != before.set.keyset
    assert after.set.fetched_at > before.set.fetched_at
    assert (after.set.complete, after.first_seen) == (True, before.first_seen)
    assert bench.place.asked == [(A, ONE)]
    nothing = await worker.handle(bench.records(*[bench.wanted(A, ONE, "keys-added") for _ in range(24)]))
    assert nothing.outputs == ()
    assert bench.outcomes == ["ok", "candidates", "covered"]


async def test_keys_added_for_what_nobody_knows_asks_the_registry(bench):
    (answer,) = found(await bench.worker().handle(bench.records(bench.wanted(A, ONE, "keys-added"))))
    assert answer.set.evidence
    assert bench.place.asked == [(A, ONE)]


async def test_of_several_requests_for_a_digest_the_one_that_needs_most_counts(bench):
    worker = bench.worker()
    bench.seen.take(await worker.handle(bench.records(bench.wanted(A, ONE))))
    bench.now += 60 * SECOND
    wanted = [bench.wanted(A, ONE), bench.wanted(A, ONE, "keys-added"), bench.wanted(A, ONE, "retry")]
    assert len(found(await worker.handle(bench.records(*wanted)))) == 1
    assert bench.place.asked == [(A, ONE)] * 2


@pytest.mark.parametrize("ahead", [0, 20, 40])
async def test_a_retry_is_covered_by_an_answer_of_its_instant_and_by_no_clock_that_is_ahead(bench, ahead):
    bench.now += ahead * SECOND
    bench.seen.take(await bench.worker().handle(bench.records(bench.wanted(A, ONE))))
    other = bench.worker()  # another process: it has asked nobody
    effects = await other.handle(bench.records(bench.wanted(A, ONE, "retry", time=START)))
    assert (len(effects.outputs) == 0) is (ahead < 30)


async def test_in_a_recording_an_answer_of_its_time_or_later_is_enough(bench):
    worker = bench.worker(FetchOptions(threads=1, recorded=True, again_seconds=0))
    late = bench.wanted(A, ONE, time=START + 3600 * SECOND)
    bench.seen.take(await worker.handle(bench.records(late)))
    assert (await worker.handle(bench.records(bench.wanted(A, ONE, "retry")))).outputs == ()
    assert found(await worker.handle(bench.records(bench.wanted(A, ONE, "retry", time=late.time + 1))))


async def test_the_newer_answer_is_newer_whoevers_clock_is_behind(bench):
    """After a rebalance the fetcher with the slow clock must not be overruled by what the fast one said before."""
    (first,) = bench.seen.take(await bench.worker().handle(bench.records(bench.wanted(A, ONE))))
    bench.publish(OPS.sign_simple(A, ONE, {}))
    bench.now -= 3600 * SECOND
    slow = bench.worker()
    (second,) = found(await slow.handle(bench.records(bench.wanted(A, ONE, "retry"))))
    assert second.set.fetched_at > first.set.fetched_at
    assert len(second.set.evidence) == 2


# ----------------------------------------------------------------------------------------------------- trust comes late


async def test_a_request_waits_for_the_trust_it_was_made_under(bench):
    """The judge knows the new key, the fetcher does not yet: an answer under the old keys would be pending for ever."""
    worker = bench.worker()
    bench.publish(OPS.sign_simple(A, ONE, {}))
    bench.seen.take(await worker.handle(bench.records(bench.wanted(A, ONE))))
    asked = asyncio.create_task(worker.handle(bench.records(bench.wanted(A, ONE, "keys-added", epoch=3))))
    await asyncio.sleep(0.01)
    bench.add_key(OPS)
    worker.trust_moved()
    await asyncio.sleep(0.01)
    assert (asked.done(), worker.waits_for_epoch) == (False, 3)
    bench.add_key(Signer("third"))
    worker.trust_moved()
    (answer,) = found(await asked)
    assert answer.set.keyset == bench.seen.trust.keyset_id
    assert worker.waits_for_epoch == 0


async def test_an_epoch_that_never_comes_holds_nobody_up_for_long_and_is_no_final_answer(bench):
    """A forged request, or a view that is stuck: what is answered is not complete, so the judge asks again."""
    worker = bench.worker(FetchOptions(threads=1, trust_seconds=0.05))
    bench.publish(OPS.sign_simple(A, ONE, {}))
    bench.seen.take(await worker.handle(bench.records(bench.wanted(A, ONE))))
    forged = [bench.wanted(A, ONE, "keys-added", epoch=1 << 60), bench.wanted(B, ONE, epoch=9), bench.wanted(A, ONE)]
    answers = bench.seen.take(await worker.handle(bench.records(*forged)))
    assert [event.set.complete for event in answers] == [False, False]
    assert {place.code for event in answers for place in event.set.places if place.outcome == "error"} == {
        "keys-pending"
    }
    assert worker.waits_for_epoch == 1 << 60
    waited: list[float] = []
    worker._trust_moved.wait = lambda: waited.append(1)
    bench.now += 60 * SECOND
    bench.seen.take(await worker.handle(bench.records(bench.wanted(A, ONE, "keys-added", epoch=9))))
    assert waited == []
    bench.add_key(OPS)
    worker.trust_moved()
    (answer,) = bench.seen.take(await worker.handle(bench.records(bench.wanted(A, ONE, "keys-added"))))
    assert answer.set.complete
    assert OPS.key_id in {key for fact in answer.facts for key in fact.verified_by}


async def test_a_worker_that_waits_for_trust_can_be_ended(bench):
    worker = bench.worker()
    asked = asyncio.create_task(worker.handle(bench.records(bench.wanted(A, ONE, epoch=99))))
    await asyncio.sleep(0.01)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert bench.place.asked == []


async def test_an_answer_that_was_given_up_half_way_is_asked_for_again(bench):
    worker = bench.worker()
    bench.place.faults["r.example"] = failed("registry-unauthorized")
    bench.seen.take(await worker.handle(bench.records(bench.wanted(A, ONE))))
    bench.place.faults.clear()
    bench.place.slow["r.example"] = 5
    bench.now += 60 * SECOND
    retry = bench.records(bench.wanted(A, ONE, "retry"))
    given_up = asyncio.create_task(worker.handle(retry))
    await asyncio.sleep(0.05)
    given_up.cancel()
    await asyncio.gather(given_up, return_exceptions=True)
    bench.place.slow.clear()
    (answer,) = found(await worker.handle(retry))
    assert answer.set.complete


# ------------------------------------------------------------------------------------------------- registries that fail


async def test_what_asks_to_wait_is_waited_for_as_long_as_it_says(bench):
    answers = [failed("registry-rate-limited", retry_after=7 * SECOND)(ONE), None]
    bench.place.faults["r.example"] = lambda digest: answers.pop(0)
    (answer,) = found(await bench.worker().handle(bench.records(bench.wanted(A, ONE))))
    assert answer.set.complete
    assert bench.slept == [7.0]


async def test_a_longer_wait_is_an_incomplete_answer_now_and_no_question_until_it_is_over(bench):
    worker = bench.worker()
    bench.place.faults["r.example"] = lambda digest: PlaceUnavailable(
        "registry-rate-limited", "planted", retry_after_us=600 * SECOND
    )
    (answer,) = bench.seen.take(await worker.handle(bench.records(bench.wanted(A, ONE))))
    assert [place.code for place in answer.set.places] == ["registry-rate-limited"]
    assert (answer.set.complete, bench.slept) == (False, [])
    bench.place.faults.clear()
    bench.now += 560 * SECOND
    (answer,) = bench.seen.take(await worker.handle(bench.records(bench.wanted(A, ONE, "retry"))))
    assert "asked to be left alone" in answer.set.places[0].detail
    bench.now += 41 * SECOND
    (answer,) = bench.seen.take(await worker.handle(bench.records(bench.wanted(A, ONE, "retry"))))
    assert answer.set.complete
    assert bench.place.asked == [(A, ONE)] * 2


async def test_a_short_fault_is_ridden_out_within_the_budget(bench):
    answers = [failed("registry-unavailable")(ONE), failed("registry-unavailable")(ONE), None]
    bench.place.faults["r.example"] = lambda digest: answers.pop(0)
    (answer,) = found(await bench.worker().handle(bench.records(bench.wanted(A, ONE))))
    assert answer.set.complete
    assert bench.slept == [1.0, 2.0]


async def test_what_nobody_can_change_by_waiting_is_not_asked_twice(bench):
    bench.place.faults["r.example"] = lambda digest: PlaceRefused("registry-unauthorized", "planted")
    (answer,) = found(await bench.worker().handle(bench.records(bench.wanted(A, ONE))))
    assert [place.code for place in answer.set.places] == ["registry-unauthorized"]
    assert (bench.place.asked, bench.slept) == ([(A, ONE)], [])


async def test_of_several_answers_within_the_budget_the_best_one_counts(bench):
    half = Collected(
        (DEV.sign_simple(A, ONE, {}),),
        DigestClosure(ONE),
        (PlaceAsked("sig-tag", ONE, "found"), PlaceAsked("att-tag", ONE, "error", "registry-unavailable", "planted")),
    )
    answers = [half]
    bench.place.faults["r.example"] = lambda digest: answers.pop() if answers else failed("registry-unavailable")(ONE)
    (answer,) = found(await bench.worker().handle(bench.records(bench.wanted(A, ONE))))
    assert [place.outcome for place in answer.set.places] == ["found", "error"]
    assert len(answer.set.evidence) == 1


async def test_a_registry_that_says_nothing_holds_up_a_batch_once_and_no_other_registry(bench):
    bench.place.slow["dead.example"] = 3600
    options = FetchOptions(threads=1, budget_seconds=0.2, per_registry=4, at_once=8)
    worker = bench.worker(options)
    dead = [bench.wanted("dead.example/x", digest(number)) for number in range(100)]
    alive = [bench.wanted(A, digest(number)) for number in range(100)]
    both = [event for pair in zip(dead, alive, strict=True) for event in pair]
    answers = found(await worker.handle(bench.records(*both)))
    assert len(answers) == 200
    assert all(event.set.complete for event in answers if event.set.repository == A)
    gone = [event for event in answers if event.set.repository != A]
    assert {place.code for event in gone for place in event.set.places} == {"registry-unavailable"}
    assert not any(event.set.complete for event in gone)
    asked = [repository for repository, _ in bench.place.asked if repository != A]
    # Four at a time find it down; on a busy machine not all at once, and each that is early lets one more ask.
    assert 4 <= len(asked) < 4 + options.down_after, "the others were answered for"
    assert bench.outcomes.count("down") == 100 - len(asked)


async def test_a_registry_that_fails_holds_no_place_while_it_is_left_alone(bench, monkeypatch):
    async def until_the_other_was_asked(seconds: float) -> None:
        bench.now += int(seconds * SECOND)
        for _ in range(5000):
            if (B, ONE) in bench.place.asked:
                return
            await asyncio.sleep(0.001)
        pytest.fail("the other registry waits for the one that fails")

    monkeypatch.setattr(bench, "_sleep", until_the_other_was_asked)
    bench.place.faults["r.example"] = failed("registry-unavailable")
    worker = bench.worker(FetchOptions(threads=1, at_once=1))
    await worker.handle(bench.records(bench.wanted(A, ONE), bench.wanted(B, ONE)))
    assert bench.place.asked.count((A, ONE)) > 1, "it is asked again"


async def test_a_registry_that_is_down_is_tried_by_one_request_until_it_answers(bench):
    worker = bench.worker(FetchOptions(threads=1, budget_seconds=0.5, probe_seconds=0.5))
    bench.place.faults["r.example"] = failed("registry-unavailable")
    many = [bench.wanted(A, digest(number)) for number in range(50)]
    await worker.handle(bench.records(*many))
    asked = len(bench.place.asked)
    for _ in range(3):
        bench.now += 31 * SECOND
        await worker.handle(bench.records(*(bench.wanted(A, w.digest, "retry") for w in many)))
        assert len(bench.place.asked) == asked + 1
        asked += 1
    bench.place.faults.clear()
    bench.now += 31 * SECOND
    answers = found(await worker.handle(bench.records(*(bench.wanted(A, w.digest, "retry") for w in many))))
    bench.now += 31 * SECOND
    answers += found(await worker.handle(bench.records(*(bench.wanted(A, w.digest, "retry") for w in many))))
    assert {event.set.digest for event in answers if event.set.complete} == {digest(number) for number in range(50)}


async def test_requests_at_a_time_are_bounded_for_each_registry_and_for_all(bench):
    hosts = [f"r{number}.example" for number in range(4)]
    bench.place.slow = dict.fromkeys(hosts, 0.002)
    worker = bench.worker(FetchOptions(threads=1, at_once=6, per_registry=2))
    wanted = [bench.wanted(f"{host}/a", digest(number)) for number in range(10) for host in hosts]
    assert len(found(await worker.handle(bench.records(*wanted)))) == 40
    assert max(bench.place.most_at_once.values()) == 2
    assert len(bench.place.asked) == 40


# --------------------------------------------------------------------------------------------------------- odd requests


async def test_a_record_nobody_can_read_is_put_aside_and_the_rest_is_answered(bench):
    effects = await bench.worker().handle(bench.records(b"\xc1 garbage", bench.wanted(A, ONE), b""))
    kinds = [type(out.event) for out in effects.outputs]
    assert kinds == [DeadLetter, EvidenceFound, DeadLetter]
    assert effects.taken(3) == 3


async def test_a_record_of_a_newer_revet_holds_what_is_behind_it_and_nothing_else(bench):
    newer = msgspec.msgpack.encode([SCHEMA_VERSION + 1, {"type": "evidence-wanted"}])
    batch = bench.records(bench.wanted(A, ONE), newer, bench.wanted(B, ONE))
    effects = await bench.worker().handle(batch)
    assert ([event.set.repository for event in found(effects)], effects.taken(3)) == ([A], 1)
    with pytest.raises(NewerSchemaError):
        await bench.worker().handle(batch[1:])


@pytest.mark.parametrize(
    ("repository", "asked_for", "reference"),
    [
        (A, "sha512:" + "a" * 128, ""),
        (A, "no digest", "r.example/a:1"),
        ("r.example/UPPER CASE", ONE, "r.example/UPPER CASE"),
        ("r.example/../../etc", ONE, ""),
        ("r.example/", "", "\x00"),
    ],
)
async def test_what_no_registry_can_be_asked_is_answered_under_its_own_name(bench, repository, asked_for, reference):
    odd = bench.wanted(repository, asked_for, reference=reference)
    (answer, good) = found(await bench.worker().handle(bench.records(odd, bench.wanted(B, ONE))))
    assert (answer.set.repository, answer.set.digest) == (repository, asked_for)
    assert [(place.outcome, place.code) for place in answer.set.places] == [("error", "reference-unparsable")]
    assert not answer.set.complete
    assert good.set.complete


async def test_a_reference_of_another_repository_is_not_followed(bench):
    """What is found would be filed under a name that nobody asked about."""
    odd = bench.wanted(A, ONE, reference=f"{B}:latest")
    (answer,) = found(await bench.worker().handle(bench.records(odd)))
    assert (answer.set.repository, bench.place.asked) == (A, [(A, ONE)])


# ------------------------------------------------------------------------------------------------------ the store fails


class FailingStore(MemoryEvidenceStore):
    """Fails so many times, in a way of choice."""

    def __init__(self, *errors: Exception) -> None:
        super().__init__()
        self.errors = list(errors)
        self.damaged: set[str] = set()

    def indexes_of(self, repository: str, child: str) -> tuple[str, ...]:
        if self.errors:
            raise self.errors.pop(0)
        return super().indexes_of(repository, child)

    def for_digest(self, repository: str, digest: str) -> tuple[Evidence, ...]:
        if digest in self.damaged:
            raise PlaceRefused("payload-digest-mismatch", "evidence store: holds other bytes than it took")
        return super().for_digest(repository, digest)


@pytest.fixture
def failing() -> Iterator[Bench]:
    made = Bench(FailingStore())
    made.add_key(DEV)
    made.publish(DEV.sign_simple(A, ONE, {}))
    yield made
    made.close()


async def test_a_store_that_is_away_for_a_moment_costs_a_wait(failing):
    failing.store.errors = [PlaceUnavailable("registry-unavailable", "planted")] * 3
    (answer,) = found(await failing.worker().handle(failing.records(failing.wanted(A, ONE))))
    assert answer.set.complete
    assert failing.slept == [1.0, 2.0, 4.0]


@pytest.mark.parametrize(
    "error",
    [PlaceUnavailable("registry-unavailable", "planted"), PlaceRefused("registry-unauthorized", "planted")],
    ids=["away", "refuses"],
)
async def test_a_store_that_stays_away_ends_the_batch_with_nothing_said(failing, error):
    failing.store.errors = [error] * 100
    with pytest.raises(type(error), match="planted"):
        await failing.worker().handle(failing.records(failing.wanted(A, ONE), failing.wanted(B, ONE)))


async def test_damaged_evidence_of_one_digest_stops_no_other_and_takes_nothing_away(failing):
    worker = failing.worker()
    (before,) = failing.seen.take(await worker.handle(failing.records(failing.wanted(A, ONE))))
    failing.store.damaged = {ONE, digest(2)}
    failing.add_key(OPS)
    failing.now += 60 * SECOND
    asked = [failing.wanted(A, ONE, "retry"), failing.wanted(A, digest(2)), failing.wanted(A, digest(3))]
    known, unknown, fine = failing.seen.take(await worker.handle(failing.records(*asked)))
    assert known.facts == before.facts
    for answer in (known, unknown):
        assert not answer.set.complete
        assert [p.code for p in answer.set.places if p.outcome == "error"] == ["payload-digest-mismatch"]
        assert answer.set.fetched_at > before.set.fetched_at
    assert fine.set.complete
    failing.store.damaged.clear()
    failing.now += 60 * SECOND
    (mended,) = found(await worker.handle(failing.records(failing.wanted(A, ONE, "retry"))))
    assert mended.set.complete
    assert failing.outcomes == ["ok", "damaged", "damaged", "ok", "ok"]


async def test_time_starts_where_the_request_does(bench):
    """A request of a judge whose clock is ahead: its answer is not older than it."""
    (answer,) = found(await bench.worker().handle(bench.records(bench.wanted(A, ONE, time=START + 90 * SECOND))))
    assert answer.time == answer.set.fetched_at == START + 90 * SECOND
