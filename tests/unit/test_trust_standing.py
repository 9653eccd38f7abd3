"""Standings: the order of the rules, the digest closure, proven time, and that keeping timelines changes nothing."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier.evidence.keys import load_public_key
from verifier.models import DigestClosure, Fact, TimeClaim, TimeKind
from verifier.trust.records import KeyPut, KeyRemoved, KeyRotated, RevocationPut, SubjectKind
from verifier.trust.sources import proven_time
from verifier.trust.standing import KeyTimeline, standings
from verifier.trust.state import TrustState, fold

HEAD: dict[str, Any] = {"author": "alice", "at": 0}
NOW = 1_000


def pem(number: int) -> str:
    key = ec.derive_private_key(number, ec.SECP256R1()).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


DEV, OPS, TSA = (load_public_key(pem(n)).key_id for n in (1, 2, 3))
NEXT = load_public_key(pem(9)).key_id
STRANGER = "99" * 32
KEYS = [KeyPut(name=n, key_id=k, pem=pem(i), **HEAD) for n, k, i in (("dev", DEV, 1), ("ops", OPS, 2), ("tsa", TSA, 3))]
RING = fold(KEYS)

RUNNING, INDEX, CHILD, OTHER = ("sha256:" + c * 64 for c in "1234")


def fact(**more) -> Fact:
    fields: dict[str, Any] = {
        "id": "fact",
        "evidence_id": "e1",
        "format": "cosign-simplesigning",
        "kind": "signature",
        "repository": "registry.example/app",
        "subject": RUNNING,
        "subjects": (RUNNING,),
        "verified_by": (DEV,),
        "keyset": "",
    }
    return Fact(**{**fields, **more})


def revoked(subject: str = DEV, kind: SubjectKind = "key", **more) -> RevocationPut:
    fields: dict[str, Any] = {"id": f"r-{subject[:8]}", "reason": "keyCompromise", "effective": 0, **more}
    return RevocationPut(subject_kind=kind, subject=subject, **fields, **HEAD)


def stand(*facts: Fact, closure: DigestClosure | None = None, seen=None, trust: TrustState = RING, now: int = NOW):
    return standings(facts, closure or DigestClosure(running=RUNNING), seen or {}, trust, now)


ORDER = [
    ("verified", fact(), "trusted", DEV),
    ("broken evidence", fact(problem="payload-malformed"), "invalid", ""),
    ("broken evidence that names a known key", fact(problem="signature-malformed", key_hint=OPS), "invalid", OPS),
    ("another image, by a known key", fact(subjects=(OTHER,)), "subject-mismatch", DEV),
    ("no image at all, by a known key", fact(subjects=()), "subject-mismatch", DEV),
    ("another image, by nobody known", fact(subjects=(OTHER,), verified_by=()), "unknown-key", ""),
    ("another image, naming a known key", fact(subjects=(OTHER,), verified_by=(), key_hint=DEV), "unknown-key", ""),
    ("claims a known key and does not hold", fact(verified_by=(), key_hint=DEV), "invalid", DEV),
    ("claims a key nobody knows", fact(verified_by=(), key_hint=STRANGER), "unknown-key", ""),
    ("by nobody known", fact(verified_by=()), "unknown-key", ""),
    ("verified by a key this trust does not know", fact(verified_by=(STRANGER,)), "unknown-key", ""),
]


@pytest.mark.parametrize(("one", "state", "key_id"), [o[1:] for o in ORDER], ids=[o[0] for o in ORDER])
def test_the_first_rule_that_holds(one, state, key_id):
    (standing,) = stand(one)
    assert (standing.state, standing.key_id) == (state, key_id)
    assert standing.problem == one.problem


@pytest.mark.parametrize(
    ("subjects", "closure", "via"),
    [
        ((RUNNING,), DigestClosure(RUNNING, (INDEX,)), "exact"),
        ((INDEX,), DigestClosure(RUNNING, (INDEX,)), "index_of"),
        ((INDEX, RUNNING), DigestClosure(RUNNING, (INDEX,)), "exact"),
        ((CHILD,), DigestClosure(INDEX, (), (CHILD,)), "child_of"),
        ((CHILD, INDEX), DigestClosure(INDEX, (), (CHILD,)), "exact"),
        ((OTHER,), DigestClosure(RUNNING, (INDEX,)), None),
        ((CHILD,), DigestClosure(RUNNING, (INDEX,)), None),
    ],
    ids=["itself", "its index", "both", "its platform", "platform and itself", "another", "a sibling"],
)
def test_evidence_on_an_index_covers_its_children_never_the_reverse(subjects, closure, via):
    (standing,) = stand(fact(subjects=subjects), closure=closure)
    assert standing.via == via
    assert standing.state == ("trusted" if via else "subject-mismatch")


def test_every_known_key_that_verified_stands_for_itself():
    trust = fold([revoked(OPS)], RING)
    found = stand(fact(verified_by=(DEV, OPS, STRANGER)), trust=trust)
    assert [(s.key_id, s.state, s.revocation) for s in found] == [
        (DEV, "trusted", ""),
        (OPS, "revoked", f"r-{OPS[:8]}"),
    ]


def test_a_moved_signature_of_a_compromised_key_is_still_a_moved_signature():
    (standing,) = stand(fact(subjects=(OTHER,)), trust=fold([revoked()], RING))
    assert standing.state == "subject-mismatch"


def test_what_a_standing_carries():
    one = fact(annotations=(("env", "prod"),), predicate_type="https://example/p", kind="attestation")
    (standing,) = stand(one, seen={"e1": 5})
    assert (standing.annotations, standing.predicate_type, standing.kind) == (
        one.annotations,
        one.predicate_type,
        one.kind,
    )
    assert (standing.evidence, standing.fact, standing.time, standing.time_kind) == ("e1", "fact", 5, "observed")


# ------------------------------------------------------------------------------------------- the signed repository

CLAIMS = [
    ("", None),
    ("registry.example/app", True),
    ("registry.example/app:1.0", True),
    ("Registry.Example/app", True),
    ("registry.example/other", False),
    ("other.example/app", False),
    ("not a repository", False),
]


@pytest.mark.parametrize(("claimed", "expected"), CLAIMS)
def test_repository_claim(claimed, expected):
    assert stand(fact(signed_repository=claimed))[0].repository_claim is expected


def test_docker_hub_has_two_names():
    one = fact(repository="docker.io/library/nginx", signed_repository="index.docker.io/library/nginx")
    assert stand(one)[0].repository_claim is True


# ----------------------------------------------------------------------------------------------------- proven time


def claim(time: int, kind: TimeKind = "attested", key: str = "") -> TimeClaim:
    return TimeClaim("tsa", kind, time, key)


@pytest.mark.parametrize(
    ("times", "seen", "expected"),
    [
        ((), None, (None, "none")),
        ((), 5, (5, "observed")),
        ((claim(7),), None, (7, "attested")),
        ((claim(7),), 5, (5, "observed")),
        ((claim(5),), 7, (5, "attested")),
        ((claim(5),), 5, (5, "attested")),
        ((claim(5, "observed"), claim(5)), None, (5, "attested")),
        ((claim(5), claim(5, "observed")), None, (5, "attested")),
        ((claim(9), claim(3), claim(6)), 4, (3, "attested")),
    ],
)
def test_the_earliest_time_counts_and_says_of_what_kind_it_is(times, seen, expected):
    assert proven_time(times, seen, RING, NOW)[:2] == expected


def test_a_time_the_signer_claims_is_never_looked_at():
    (standing,) = stand(fact(claimed_time=1), trust=fold([revoked(compromised_since=10)], RING))
    assert (standing.state, standing.time) == ("revoked-time-unknown", None)


SOURCES = [
    ("unknown to the ring: verified when the fact was made", [], "99" * 32, 5, True),
    ("sound", [], TSA, 5, True),
    ("compromised later: it can lie about the past", [revoked(TSA, compromised_since=500)], TSA, 5, False),
    ("on hold", [revoked(TSA, reason="certificateHold")], TSA, 5, False),
    ("removed", [KeyRemoved(key_id=TSA, **HEAD)], TSA, 5, False),
    ("retired after", [revoked(TSA, reason="superseded", effective=5)], TSA, 5, True),
    ("retired before", [revoked(TSA, reason="superseded", effective=4)], TSA, 5, False),
    (
        "rotated before",
        [KeyRotated(name="tsa", old_key_id=TSA, new_key_id=NEXT, new_pem=pem(9), effective=4, **HEAD)],
        TSA,
        5,
        False,
    ),
    ("at the end of its window", [KEYS[2].model_copy(update={"valid_until": 5})], TSA, 5, True),
    ("after its window", [KEYS[2].model_copy(update={"valid_until": 4})], TSA, 5, False),
    ("at the start of its window", [KEYS[2].model_copy(update={"valid_from": 5})], TSA, 5, True),
    ("before its window", [KEYS[2].model_copy(update={"valid_from": 6})], TSA, 5, False),
]


@pytest.mark.parametrize(("records", "key", "time", "accepted"), [s[1:] for s in SOURCES], ids=[s[0] for s in SOURCES])
def test_which_sources_are_accepted(records, key, time, accepted):
    found = proven_time((claim(time, key=key),), None, fold(records, RING), NOW)
    assert found[:2] == ((time, "attested") if accepted else (None, "none"))


def test_a_source_that_will_be_revoked_says_when():
    trust = fold([revoked(TSA, effective=NOW + 5)], RING)
    (standing,) = stand(fact(times=(claim(5, key=TSA),)), trust=trust)
    assert (standing.time, standing.valid_until) == (5, NOW + 5)


# -------------------------------------------------------------------------------------------- evidence and windows


def test_one_piece_of_evidence_can_be_revoked_by_itself():
    trust = fold([revoked("e1", "evidence", id="r1")], RING)
    found = stand(fact(), fact(evidence_id="e2"), trust=trust)
    assert [(s.state, s.revocation) for s in found] == [("revoked", "r1"), ("trusted", "")]


def test_the_first_thing_to_change_is_announced():
    trust = fold(
        [
            KEYS[0].model_copy(update={"valid_until": NOW + 30}),
            revoked(effective=NOW + 20),
            revoked("e1", "evidence", effective=NOW + 10),
        ],
        RING,
    )
    assert stand(fact(), trust=trust)[0].valid_until == NOW + 10
    assert stand(fact(evidence_id="e2"), trust=trust)[0].valid_until == NOW + 20


@pytest.mark.parametrize(
    ("seen", "state"), [(9, "outside-window"), (10, "trusted"), (20, "trusted"), (21, "outside-window")]
)
def test_a_closed_window_at_the_proven_time(seen, state):
    trust = fold([KEYS[0].model_copy(update={"valid_from": 10, "valid_until": 20})], RING)
    assert stand(fact(), seen={"e1": seen}, trust=trust)[0].state == state


def test_deleting_the_late_proof_does_not_bring_an_ended_key_back():
    """GHSA-wqqc-jjcq-vfxm: without a time the window was not looked at."""
    trust = fold([KEYS[0].model_copy(update={"valid_until": 20})], RING)
    late, stripped = fact(times=(claim(30),)), fact()
    assert stand(late, trust=trust)[0].state == stand(stripped, trust=trust)[0].state == "outside-window"


# ------------------------------------------------------------------------------------------------------- timelines


@settings(max_examples=60)
@given(
    steps=st.lists(
        st.tuples(st.integers(0, 40), st.none() | st.integers(0, 40), st.sampled_from(["", "r", "s", "h", "k"])),
        max_size=6,
    )
)
def test_keeping_timelines_changes_nothing(steps):
    """Also when time goes back, as it does between partitions, and when trust changes in between."""
    trust = RING
    kept: dict[str, KeyTimeline] = {}
    for number, (now, seen, change) in enumerate(steps):
        reason = {"r": "keyCompromise", "s": "superseded", "h": "certificateHold"}.get(change)
        if reason:
            trust = fold([revoked(id=str(number), reason=reason, effective=(7 * number) % 40)], trust)
        if change == "k":
            trust = fold([KEYS[0].model_copy(update={"valid_from": 5, "valid_until": 10 + number})], trust)
        first_seen = {} if seen is None else {"e1": seen}
        arguments = ([fact()], DigestClosure(RUNNING), first_seen, trust, now)
        assert standings(*arguments, kept) == standings(*arguments)
