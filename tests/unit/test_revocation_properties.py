"""The revocation algebra over arbitrary times, records, windows, rotations and removals."""

from functools import partial
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier.evidence.keys import load_public_key
from verifier.models import DigestClosure, Fact, Standing, TimeClaim
from verifier.policy.model import SoftUnproven
from verifier.trust.changes import By, withdraw
from verifier.trust.records import KeyPut, KeyRemoved, KeyRotated, RevocationPut, TrustRecord
from verifier.trust.revocation import CLASS_OF, RANK, TimeProof, counts
from verifier.trust.standing import compile_key, key_state, standings
from verifier.trust.state import TrustState, fold


def pem(number: int) -> str:
    key = ec.derive_private_key(number, ec.SECP256R1()).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


PEM, NEXT_PEM = pem(11), pem(12)
SIGNER, NEXT = load_public_key(PEM).key_id, load_public_key(NEXT_PEM).key_id
SOURCE_KEYS = ("bb" * 32, "cc" * 32)
DIGEST = "sha256:" + "d" * 64
CLOSURE = DigestClosure(running=DIGEST)
EVIDENCE = "sha256:" + "e" * 64
SOFT: tuple[SoftUnproven, ...] = ("allow", "warn", "deny")

few = settings(max_examples=100)
times = st.integers(0, 40)
no_time = st.none()
head: dict[str, Any] = {"author": "hypothesis", "at": 0}


@st.composite
def revocations(draw, subjects=((("key", SIGNER)), ("evidence", EVIDENCE)), effective=times):
    reason = draw(st.sampled_from(sorted(CLASS_OF)))
    since = draw(st.none() | times) if CLASS_OF[reason] == "hard" else None
    kind, subject = draw(st.sampled_from(subjects))
    name = draw(st.uuids())
    return RevocationPut(
        id=str(name),
        subject_kind=kind,
        subject=subject,
        reason=reason,
        effective=draw(effective),
        compromised_since=since,
        **head,
    )


source_revocations = revocations(subjects=[("key", key) for key in SOURCE_KEYS])


@st.composite
def key_lives(draw, starts=no_time):
    """The records of a key's life: added with a window, perhaps rotated, perhaps removed."""
    start, end = draw(starts), draw(st.none() | times)
    life: list[TrustRecord] = [
        KeyPut(name="dev", key_id=SIGNER, pem=PEM, valid_from=start, valid_until=end, **head),
    ]
    if draw(st.booleans()):
        life.append(
            KeyRotated(name="dev", old_key_id=SIGNER, new_key_id=NEXT, new_pem=NEXT_PEM, effective=draw(times), **head)
        )
    if draw(st.integers(0, 4)) == 0:
        life.append(KeyRemoved(key_id=SIGNER, **head))
    return life


claims = st.lists(
    st.builds(
        TimeClaim,
        source=st.just("tsa"),
        kind=st.sampled_from(["attested", "observed"]),
        time=times,
        source_key=st.sampled_from(["", *SOURCE_KEYS]),
    ),
    max_size=3,
).map(tuple)


def fact(of: tuple[TimeClaim, ...]) -> Fact:
    return Fact(
        id="f",
        evidence_id=EVIDENCE,
        format="sigstore-bundle",
        kind="signature",
        repository="r.example/a",
        subject=DIGEST,
        subjects=(DIGEST,),
        verified_by=(SIGNER,),
        keyset="",
        times=of,
    )


def judge(trust: TrustState, of: tuple[TimeClaim, ...], seen: int | None, now: int) -> Standing:
    first_seen = {} if seen is None else {EVIDENCE: seen}
    (standing,) = standings([fact(of)], CLOSURE, first_seen, trust, now)
    return standing


def no_better(after: Standing, before: Standing) -> bool:
    return RANK[after.state] >= RANK[before.state] and counts_no_better(after, before)


def counts_no_better(after: Standing, before: Standing) -> bool:
    return all(counts(before.state, soft) or not counts(after.state, soft) for soft in SOFT)


anything = partial(
    given,
    life=key_lives(),
    records=st.lists(revocations(), max_size=3),
    of_sources=st.lists(source_revocations, max_size=2),
    of=claims,
    seen=st.none() | times,
    now=st.integers(0, 60),
)


@few
@anything(more=revocations() | source_revocations)
def test_1_adding_a_record_never_improves(life, records, of_sources, of, seen, now, more):
    before = fold([*life, *records, *of_sources])
    after = fold([more], before)
    of_source = more.subject in SOURCE_KEYS  # may turn late into unproven, which counts alike
    compare = counts_no_better if of_source else no_better
    assert compare(judge(after, of, seen, now), judge(before, of, seen, now))


@few
@anything(more=st.just(None))
def test_1_removing_the_key_never_improves(life, records, of_sources, of, seen, now, more):
    before = fold([*life, *records, *of_sources])
    after = fold([KeyRemoved(key_id=SIGNER, **head)], before)
    assert no_better(judge(after, of, seen, now), judge(before, of, seen, now))


@few
@anything(since=times, earlier=st.none() | times)
def test_2_an_earlier_compromise_never_improves(life, records, of_sources, of, seen, now, since, earlier):
    known = RevocationPut(
        id="c",
        subject_kind="key",
        subject=SIGNER,
        reason="keyCompromise",
        effective=20,
        compromised_since=since,
        **head,
    )
    moved = known.model_copy(update={"compromised_since": None if earlier is None else min(since, earlier)})
    one, other = (fold([*life, *records, *of_sources, r]) for r in (known, moved))
    assert no_better(judge(other, of, seen, now), judge(one, of, seen, now))


@few
@anything(index=st.integers(0, 3))
def test_3_stripping_a_time_never_helps(life, records, of_sources, of, seen, now, index):
    """Keys with a window that has an end, but no start: the start is the one bound that stripping can hide."""
    trust = fold([*life, *records, *of_sources])
    full = judge(trust, of, seen, now)
    if index < len(of):
        assert counts_no_better(judge(trust, of[:index] + of[index + 1 :], seen, now), full)
    assert counts_no_better(judge(trust, of, None, now), full)


@few
@anything(key=st.sampled_from(SOURCE_KEYS), since=st.none() | times)
def test_3_compromising_a_source_never_helps(life, records, of_sources, of, seen, now, key, since):
    before = fold([*life, *records, *of_sources])
    hard = RevocationPut(
        id="h", subject_kind="key", subject=key, reason="keyCompromise", effective=0, compromised_since=since, **head
    )
    assert counts_no_better(judge(fold([hard], before), of, seen, now), judge(before, of, seen, now))


@few
@anything(shuffled=st.randoms(use_true_random=False))
def test_4_the_order_of_revocations_and_times_does_not_matter(life, records, of_sources, of, seen, now, shuffled):
    every = [*records, *of_sources]
    other, of_other = list(every), list(of)
    shuffled.shuffle(other)
    shuffled.shuffle(of_other)
    assert judge(fold([*life, *every]), of, seen, now) == judge(fold([*life, *other]), tuple(of_other), seen, now)


@few
@anything(more=revocations() | source_revocations)
def test_5_withdrawal_restores_exactly(life, records, of_sources, of, seen, now, more):
    before = fold([*life, *records, *of_sources])
    put = fold([more], before)
    back = fold([withdraw(put, By("bob", 9), more.id)], put)
    assert judge(back, of, seen, now) == judge(before, of, seen, now)
    assert back.by_subject == before.by_subject
    assert not back.revocations[more.id].active


@few
@anything(known_at=st.integers(0, 8))
def test_6_what_was_known_then_gives_what_was_said_then(life, records, of_sources, of, seen, now, known_at):
    log = [*life, *records, *of_sources]
    said, state = [], TrustState.empty()
    for record in log:
        state = fold([record], state)
        said.append((state, judge(state, of, seen, now)))
    index = min(known_at, len(log) - 1)
    kept, then = said[index]
    assert judge(fold(log[: index + 1]), of, seen, now) == then
    assert judge(kept, of, seen, now) == then  # later records left the older value alone


@few
@anything(since=st.none() | times)
def test_7_compromise_of_every_source_is_no_source(life, records, of_sources, of, seen, now, since):
    hard = [
        RevocationPut(
            id=key,
            subject_kind="key",
            subject=key,
            reason="keyCompromise",
            effective=0,
            compromised_since=since,
            **head,
        )
        for key in SOURCE_KEYS
    ]
    trust = fold([*life, *records])
    keyless = tuple(claim for claim in of if not claim.source_key)
    assert judge(fold(hard, trust), of, seen, now) == judge(trust, keyless, seen, now)


@few
@anything(effective=times)
def test_8_since_unknown_is_since_ever(life, records, of_sources, of, seen, now, effective):
    unknown = RevocationPut(
        id="h", subject_kind="key", subject=SIGNER, reason="keyCompromise", effective=effective, **head
    )
    ever = unknown.model_copy(update={"compromised_since": -(10**18)})
    one, other = (judge(fold([*life, *records, *of_sources, r]), of, seen, now) for r in (unknown, ever))
    assert counts_no_better(one, other)
    assert counts_no_better(other, one)
    assert one.time is None or one == other


@few
@anything(later=st.integers(0, 60))
def test_9_time_changes_a_standing_only_when_it_said_so(life, records, of_sources, of, seen, now, later):
    trust = fold([*life, *records, *of_sources])
    was, then = judge(trust, of, seen, now), now + later
    if was.valid_until is None or then < was.valid_until:
        assert judge(trust, of, seen, then) == was
    assert was.valid_until is None or was.valid_until > now
    assert judge(trust, of, seen, now) == was


@few
@given(
    life=key_lives(starts=st.none() | times),
    records=st.lists(revocations(), max_size=4),
    t_le=st.none() | st.integers(-1, 42),
    kind=st.sampled_from(["attested", "observed"]),
    now=st.integers(0, 60),
    later=st.integers(0, 20),
)
def test_a_timeline_answers_as_the_rules_do(life, records, t_le, kind, now, later):
    """The compiled answer is the same for every proven time, and for every instant it says it holds."""
    trust = fold([*life, *records])
    timeline = compile_key(SIGNER, trust, now)
    t_kind: TimeProof = "none" if t_le is None else kind
    assert timeline.holds(trust, now)
    for instant in (now, now + later, now - later):
        if timeline.holds(trust, instant):
            assert timeline.at(t_le, t_kind) == key_state(SIGNER, t_le, t_kind, trust, instant)
    assert not timeline.holds(fold([], trust.apply(KeyRemoved(key_id="x", **head), 99)[0]), now)


@pytest.mark.parametrize("soft", SOFT)
def test_the_known_exception_a_window_that_begins_late(soft):
    """Proven older than its key's window: refused. Without the proof: unproven. revet's own first sight closes it."""
    trust = fold([KeyPut(name="dev", key_id=SIGNER, pem=PEM, valid_from=10, **head)])
    old = (TimeClaim("tsa", "attested", 5),)
    assert judge(trust, old, None, 50).state == "outside-window"
    assert judge(trust, (), None, 50).state == "trusted"
    assert judge(trust, (), 6, 50).state == "outside-window"
