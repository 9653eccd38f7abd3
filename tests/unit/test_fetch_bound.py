"""An answer of the fetcher stays within what a topic takes; what is left out is said, and never counts as absent."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.codec import encode
from streams.events import EvidenceFound
from streams.fetching import BOUND, FOUND_BYTES, SUBJECTS_KEPT, Known, bounded, evidence_found, unbounded
from tests.helpers.fetching import START, Bench, digest
from verifier.adapters.fetch import Fetched, version_of
from verifier.models import DigestClosure, EvidenceSet, Fact, PlaceAsked, RuleClaim
from verifier.testing import Signer

RUNNING = digest(1)
INDEXES = tuple(digest(number) for number in range(900, 916))


def fact(number: int, *, vouched: bool = True, subjects: int = 1, size: int = 0) -> Fact:
    name = f"sha256:{number:064x}"
    return Fact(
        id=f"fact-{number}",
        evidence_id=name,
        format="sigstore-bundle",
        kind="attestation",
        repository="r.example/a",
        subject=RUNNING,
        subjects=(RUNNING, *(digest(10_000 + other) for other in range(subjects - 1))),
        verified_by=("a" * 64,) if vouched else (),
        keyset="keyset",
        annotations=(("note", "x" * size),) if size else (),
        rules=(RuleClaim("rule", True),),
    )


def answer(facts: list[Fact], places: tuple[PlaceAsked, ...] = (PlaceAsked("referrers-api", RUNNING, "found"),)):
    names = tuple(each.evidence_id for each in facts)
    closure = DigestClosure(RUNNING, indexes=INDEXES)
    complete = all(place.outcome != "error" for place in places)
    content = EvidenceSet("r.example/a", RUNNING, names, closure, places, complete, START, "keyset", "")
    content = msgspec.structs.replace(content, version=version_of(content))
    return evidence_found(Fetched(content, tuple(facts), tuple((name, START) for name in names)), START)


def mark(found: EvidenceFound) -> PlaceAsked | None:
    return next((place for place in found.set.places if place.place == BOUND), None)


def test_the_usual_answer_is_left_as_it_is():
    found = answer([fact(number) for number in range(5)])
    assert bounded(found) is found
    assert len(encode(found)) < FOUND_BYTES / 10


def test_names_of_other_artifacts_go_first_and_nothing_else_with_them():
    """A provenance may name hundreds of files beside the image; no verdict looks at them."""
    found = answer([fact(number, subjects=256) for number in range(20)])
    assert len(encode(found)) > FOUND_BYTES
    short = bounded(found)
    assert len(encode(short)) <= FOUND_BYTES
    assert [each.subjects[0] for each in short.facts] == [RUNNING] * 20
    assert {len(each.subjects) for each in short.facts} == {1 + SUBJECTS_KEPT}
    assert (short.set, short.first_seen) == (found.set, found.first_seen)


def test_then_goes_what_vouches_for_nothing_and_the_set_says_so():
    found = answer([fact(number, vouched=number % 8 == 0, size=500) for number in range(200)])
    short = bounded(found)
    assert len(encode(short)) <= FOUND_BYTES
    kept = {each.evidence_id for each in short.facts}
    assert kept >= {each.evidence_id for each in found.facts if each.verified_by}
    assert short.set.evidence == tuple(name for name in found.set.evidence if name in kept)
    assert [name for name, _ in short.first_seen] == list(short.set.evidence)
    assert [each.evidence_id for each in short.facts] == list(short.set.evidence)
    assert not short.set.complete
    told = mark(short)
    assert told is not None
    assert (told.outcome, told.code, told.digest) == ("error", "limit-exceeded", RUNNING)
    assert told.detail.startswith(f"{200 - len(kept)} of 200 pieces of evidence left out")
    assert short.id != found.id
    assert short.set.version != found.set.version
    assert len(encode(short)) > FOUND_BYTES * 0.9, "no more is left out than must be"


def test_the_same_answer_is_cut_in_the_same_way():
    facts = [fact(number, size=500) for number in range(200)]
    assert bounded(answer(facts)) == bounded(answer(facts))


def test_what_failed_is_told_even_where_hundreds_of_places_are():
    many = tuple(PlaceAsked("sig-tag", digest(number), "absent", "", "y" * 5000) for number in range(300))
    failed = PlaceAsked("att-tag", RUNNING, "error", "registry-unauthorized", "z" * 5000)
    short = bounded(answer([fact(1)], (*many, failed)))
    assert len(encode(short)) <= FOUND_BYTES
    assert short.set.places[0].code == "registry-unauthorized"
    assert len(short.facts) == 1


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 256), st.integers(0, 70_000)), max_size=300, unique=True),
    st.integers(0, 100),
)
def test_no_answer_is_too_long(rows, places):
    facts = [fact(n, vouched=v, subjects=s, size=size) for n, (v, s, size) in enumerate(rows)]
    found = answer(facts, tuple(PlaceAsked("sig-tag", digest(n), "found", "", "d" * 500) for n in range(places)))
    short = bounded(found)
    assert len(encode(short)) <= FOUND_BYTES
    if len(short.facts) < len(facts):
        assert mark(short) is not None
        assert not short.set.complete
    else:
        assert short.set.complete


@pytest.mark.asyncio
async def test_an_answer_that_was_cut_is_made_anew_from_all_that_is_kept():
    """A key that comes later may be the one that vouches for what was left out."""
    bench = Bench()
    dev, ops = Signer("dev"), Signer("ops")
    bench.add_key(dev)
    for number in range(300):
        bench.publish(dev.sign_simple("r.example/a", RUNNING, {"serial": str(number), "note": "x" * 300}))
    shorter = {"serial": "0", "note": "x" * 290}  # comes first once it is vouched for, and fits no gap before
    late = bench.publish(ops.sign_simple("r.example/a", RUNNING, shorter))
    worker = bench.worker()
    (first,) = bench.seen.take(await worker.handle(bench.records(bench.wanted("r.example/a", RUNNING))))
    assert mark(first) is not None
    assert late.id not in first.set.evidence
    bench.add_key(ops)
    asked = bench.wanted("r.example/a", RUNNING, "keys-added")
    (second,) = bench.seen.take(await worker.handle(bench.records(asked)))
    assert late.id in second.set.evidence
    assert [place for place in second.set.places if place.place == BOUND] == [mark(second)]
    assert len(encode(second)) <= FOUND_BYTES
    bench.close()


def test_the_mark_goes_when_all_fits_again():
    cut = bounded(answer([fact(number, size=500) for number in range(200)]))
    known = unbounded(Known(cut.set, cut.facts))
    assert known.set.complete
    assert mark(evidence_found(Fetched(known.set, known.facts, ()), START)) is None
    failed = msgspec.structs.replace(
        cut.set, places=(*cut.set.places, PlaceAsked("sig-tag", RUNNING, "error", "registry-unavailable"))
    )
    assert not unbounded(Known(failed, cut.facts)).set.complete
