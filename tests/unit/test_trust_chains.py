"""Chains: every step of `judge_chain`, every window with its ends, every kind of revocation, and several roots."""

import json
from typing import Any

import pytest

from tests.helpers import openpgp
from tests.helpers.pki import DAY, SECOND, T0, Ca
from tests.helpers.scene import (
    ALICE,
    BOB,
    FROM,
    ISSUER,
    NOW,
    SIGNED,
    UNTIL,
    Instance,
    Logged,
    Stamped,
    bundle,
    crl,
    fact_of,
    gpg,
    listed,
    own_leaf,
    own_root,
    revoked,
    root,
    serial_of,
    trust_of,
    unroot,
    withdrawn,
)
from verifier.trust.chains import chain_key, judge_chain

ALPHA, BETA = Instance("alpha"), Instance("beta")
CORP = Ca.root("corp")
LEAF_FROM, LEAF_UNTIL = T0, T0 + 600 * SECOND


def stand(trust, made, *, seen=None, now=NOW, number=0):
    fact = fact_of(made, trust)
    return judge_chain(fact, fact.chains[number], seen, trust, now)


def state(trust, made, **more) -> str:
    return stand(trust, made, **more).judged.state


ALONE = trust_of(ALPHA.root())


# -------------------------------------------------------------------------------------------------------------- windows


@pytest.mark.parametrize("source", ["set", "tsa"])
@pytest.mark.parametrize(
    ("at", "good"),
    [
        (LEAF_FROM, True),
        (LEAF_UNTIL, True),
        (LEAF_FROM - SECOND, False),
        (LEAF_UNTIL + SECOND, False),
    ],
)
def test_the_leafs_window_is_closed(source, at, good):
    made = ALPHA.sign(
        logs=(Logged(ALPHA.rekor, at),) if source == "set" else (),
        stamps=(Stamped(ALPHA.tsa, at),) if source == "tsa" else (),
    )
    assert state(ALONE, made) == ("trusted" if good else "outside-window")


@pytest.mark.parametrize(("at", "good"), [(0, True), (-1, False), (600 * SECOND, True), (600 * SECOND + 1, False)])
def test_the_leafs_window_to_the_microsecond(at, good):
    assert (state(ALONE, ALPHA.sign(logs=(), stamps=(Stamped(ALPHA.tsa, T0 + at),))) == "trusted") is good


@pytest.mark.parametrize(
    ("window", "good"),
    [
        ((SIGNED, SIGNED), True),
        ((FROM, SIGNED), True),
        ((SIGNED, UNTIL), True),
        ((SIGNED, None), True),
        ((SIGNED + 1, UNTIL), False),
        ((FROM, SIGNED - 1), False),
        ((UNTIL + 1, UNTIL + 2), False),
    ],
)
def test_the_roots_window_is_closed(window, good):
    assert state(trust_of(ALPHA.root(ca=window)), ALPHA.sign()) == ("trusted" if good else "outside-window")


def test_an_intermediate_that_ended_before_the_leaf_did():
    short = ALPHA.anchor.intermediate("short", not_before=T0, not_after=SIGNED - SECOND)
    trust = trust_of(root("short", ALPHA.document(chain=short.chain)))
    leaf = short.leaf("alice", sans=[ALICE], issuer=ISSUER)
    assert state(trust, bundle(leaf, logs=(Logged(ALPHA.rekor, SIGNED - SECOND),))) == "trusted"
    assert state(trust, bundle(leaf, logs=(Logged(ALPHA.rekor, SIGNED),))) == "outside-window"


def test_of_two_times_both_have_to_lie_within():
    inside, outside = Stamped(ALPHA.tsa, SIGNED), Stamped(ALPHA.tsa, LEAF_UNTIL + 1)
    assert state(ALONE, ALPHA.sign(logs=(), stamps=(inside,))) == "trusted"
    assert state(ALONE, ALPHA.sign(logs=(), stamps=(inside, outside))) == "outside-window"
    assert state(ALONE, ALPHA.sign(logs=(), stamps=(outside,))) == "outside-window"


def test_without_attested_time_the_observed_one_decides_and_then_the_instant():
    made = bundle(own_leaf(CORP))
    trust = trust_of(own_root(CORP))
    end = T0 + 180 * DAY
    assert stand(trust, made, now=end).judged[:3:2] == ("trusted", end + 1)
    assert stand(trust, made, now=end + 1).judged[:3:2] == ("outside-window", None)
    assert stand(trust, made, now=end + DAY, seen=end).judged[:3:2] == ("trusted", None)
    assert stand(trust, made, now=end + DAY, seen=end + 1).judged.state == "outside-window"
    assert stand(trust, made, now=T0 - 200 * DAY).judged[:3:2] == ("outside-window", T0 - 180 * DAY)


# ---------------------------------------------------------------------------------------------------------- revocations

IDENTITY = json.dumps({"issuer": ISSUER, "subject": ALICE})


def subjects():
    leaf = ALPHA.leaf()
    (authority,) = ALONE.anchors.resolve("alpha", "signing")
    return [
        ("key", leaf.key_id),
        ("key", ALPHA.ca.key_id),
        ("identity", IDENTITY),
        ("identity", json.dumps({"subjectPattern": "https://git.example/alice/*"})),
        ("ca", ALPHA.ca.key_id),
        ("ca", ALPHA.anchor.key_id),
        ("ca", authority),
        ("evidence", ALPHA.sign().id),
    ]


ROWS: list[tuple[str, dict[str, Any], str]] = [
    ("keyCompromise", {}, "revoked"),
    ("keyCompromise", {"compromised_since": SIGNED}, "revoked"),
    ("keyCompromise", {"compromised_since": SIGNED + 1}, "trusted-before-compromise"),
    ("weakKey", {}, "revoked"),
    ("superseded", {"effective": SIGNED}, "trusted-before-retirement"),
    ("superseded", {"effective": SIGNED - 1}, "retired-late"),
    ("certificateHold", {}, "suspended"),
    ("keyCompromise", {"effective": NOW + 1}, "trusted"),
]


@pytest.mark.parametrize(("kind", "subject"), subjects(), ids=lambda s: str(s)[:20])
def test_every_subject_under_every_row_of_the_verdict_table(kind, subject):
    made = ALPHA.sign()
    for reason, times, expected in ROWS:
        record = revoked(kind, subject, reason, **times)
        after = trust_of(record, start=ALONE)
        found = stand(after, made)
        # the anchor also stands above the timestamp authority, which dates nothing here
        assert found.judged.state == expected, (reason, times)
        assert found.judged.revocation == ("" if expected == "trusted" else record.id)
        assert found.judged.valid_until == (NOW + 1 if expected == "trusted" else None)
        assert stand(trust_of(withdrawn(record), start=after), made) == stand(ALONE, made)


@pytest.mark.parametrize(
    ("kind", "subject"),
    [
        ("identity", json.dumps({"issuer": ISSUER, "subject": BOB})),
        ("identity", json.dumps({"issuer": "https://other.example", "subject": ALICE})),
        ("ca", BETA.ca.key_id),
        ("ca", CORP.key_id),
        ("key", ALPHA.leaf(BOB).key_id),
        ("builder", "https://ci.example/b"),
        ("commit", "c" * 40),
        ("evidence", "e1"),
        ("log", BETA.rekor.id),
        ("digest", "sha256:" + "0b" * 32),
    ],
)
def test_revocations_of_others_change_nothing(kind, subject):
    assert stand(trust_of(revoked(kind, subject), start=ALONE), ALPHA.sign()) == stand(ALONE, ALPHA.sign())


def test_builder_and_commit_in_the_certificate():
    made = ALPHA.sign(key="built", extensions={9: "https://ci.example/b", 13: "c" * 40})
    for kind, subject in (("builder", "https://ci.example/b"), ("commit", "c" * 40)):
        assert state(trust_of(revoked(kind, subject), start=ALONE), made) == "revoked"
        assert state(trust_of(revoked(kind, subject, compromised_since=SIGNED + 1), start=ALONE), made) == (
            "trusted-before-compromise"
        )


def test_a_compromised_ca_with_no_time_left_to_prove_anything():
    """C known, and every attested time is gone with its log: revoked, and nothing says whether it was before."""
    hard = revoked("ca", ALPHA.ca.key_id, "caCompromise", compromised_since=NOW)
    gone = revoked("log", ALPHA.rekor.id, "unspecified")
    found = stand(trust_of(hard, gone, start=ALONE), ALPHA.sign())
    assert (found.judged.state, found.proven.kind, found.lost) == ("revoked-time-unknown", "none", gone.id)


# ------------------------------------------------------------------------------------------------------- the CAs' lists


@pytest.mark.parametrize(
    ("reason", "since", "stamped", "expected"),
    [
        ("keyCompromise", None, None, "revoked"),
        ("keyCompromise", SIGNED + SECOND, None, "revoked"),
        ("keyCompromise", SIGNED + SECOND, SIGNED, "trusted"),
        ("keyCompromise", SIGNED, SIGNED, "revoked"),
        ("keyCompromise", None, SIGNED, "revoked"),
        ("certificateHold", None, SIGNED, "revoked"),
        ("removeFromCRL", None, None, "trusted"),
    ],
)
def test_a_list_of_the_ca(reason, since, stamped, expected):
    """An invalidity date is C: proven strictly older stays good (RFC 5280 section 5.3.2)."""
    leaf = own_leaf(CORP)
    trust = trust_of(
        own_root(CORP), ALPHA.root(), listed(CORP, crl(CORP, (serial_of(leaf.certificate), reason, since)))
    )
    made = bundle(leaf, stamps=() if stamped is None else (Stamped(ALPHA.tsa, stamped),))
    assert state(trust, made) == expected


def test_a_list_wakes_the_verdict_when_it_ends_and_a_newer_one_lifts_a_hold():
    leaf = own_leaf(CORP)
    serial = serial_of(leaf.certificate)
    trust = trust_of(own_root(CORP), listed(CORP, crl(CORP, (serial, "certificateHold", None), until=NOW + DAY)))
    assert stand(trust, bundle(leaf)).judged == ("revoked", "", NOW + DAY + 1)
    assert state(trust, bundle(leaf), now=NOW + 9 * DAY) == "revoked", "the list has ended, and nothing newer came"
    lifted = trust_of(listed(CORP, crl(CORP, at=T0 + DAY, until=NOW + 20 * DAY)), start=trust)
    assert state(lifted, bundle(leaf), now=NOW + 9 * DAY) == "trusted"


def test_a_list_of_another_ca_with_the_same_serial_is_about_others():
    other = Ca.root("other")
    leaf = own_leaf(CORP)
    data = crl(other, (serial_of(leaf.certificate), "keyCompromise", None))
    trust = trust_of(own_root(CORP), own_root(other, "other"), listed(other, data))
    assert state(trust, bundle(leaf)) == "trusted"


# ------------------------------------------------------------------------------------------------------ several roots


def test_in_no_root_is_not_authorised_and_back_again():
    gone = trust_of(unroot("alpha"), start=ALONE)
    fact = fact_of(ALPHA.sign(), ALONE)
    assert judge_chain(fact, fact.chains[0], SIGNED, gone, NOW).judged.state == "not-authorised"
    back = trust_of(ALPHA.root(), start=gone)
    assert judge_chain(fact, fact.chains[0], None, back, NOW) == stand(ALONE, ALPHA.sign())


@pytest.mark.parametrize("order", [("wide", "narrow"), ("narrow", "wide")])
def test_one_authority_in_two_roots_with_different_windows(order):
    """In force while one of them is; which came first makes no difference."""
    windows = {"wide": (FROM, UNTIL), "narrow": (FROM, SIGNED - 1)}
    trust = trust_of(*(ALPHA.root(name, ca=windows[name]) for name in order))
    assert state(trust, ALPHA.sign()) == "trusted"
    assert state(trust_of(unroot("wide"), start=trust), ALPHA.sign()) == "outside-window"
    assert state(trust_of(unroot("narrow"), start=trust), ALPHA.sign()) == "trusted"
    narrowed = trust_of(ALPHA.root("wide", ca=(SIGNED + 1, UNTIL)), start=trust)
    assert state(narrowed, ALPHA.sign()) == "outside-window"


def test_a_closed_root_beside_an_open_one():
    """The open root lets any timestamp authority in trust date its signatures; the closed one only its own."""
    made = ALPHA.sign(logs=(), stamps=(Stamped(BETA.tsa),))
    closed = trust_of(ALPHA.root(), BETA.root())
    assert state(closed, made) == "outside-window"
    (pinned,) = closed.anchors.resolve("alpha", "signing")
    opened = trust_of(own_root(ALPHA.ca), start=closed)
    assert pinned in opened.anchors.resolve("corp", "signing"), "the same certificates are the same authority"
    assert state(opened, made) == "trusted"
    assert stand(opened, made).sources.times == fact_of(made, opened).times


def test_the_best_root_is_told_with_the_due_instants_of_all():
    later = (NOW + DAY, UNTIL)
    trust = trust_of(ALPHA.root("a", ca=(FROM, SIGNED - 1)), own_root(ALPHA.ca, "b"), revoked("key", "0" * 64))
    assert state(trust, ALPHA.sign()) == "trusted"
    assert later[0] > NOW


# ------------------------------------------------------------------------------------------------------------- openpgp

GPG = openpgp.Key()


def ring(*more: bytes) -> str:
    return openpgp.armored(openpgp.primary(GPG) + b"".join(more))


def test_an_openpgp_signature_expires():
    trust = trust_of(root("ring", ring(), "openpgp"))
    made = gpg(GPG, openpgp.subpacket(3, (60).to_bytes(4)))
    end = T0 + 120 * SECOND
    assert stand(trust, made, now=end).judged[:3:2] == ("trusted", end + 1)
    assert stand(trust, made, now=end + 1).judged.state == "expired"
    fact = fact_of(made, trust)
    key = trust.anchors.material.authorities[fact.chains[0].authority].key
    assert key is not None
    assert chain_key(fact, fact.chains[0], trust) == key.key_id


@pytest.mark.parametrize(
    ("reason", "seen", "expected"),
    [
        (2, None, "revoked"),
        (2, SIGNED, "revoked"),
        (None, SIGNED, "revoked"),
        (1, (openpgp.T0 + 5) * SECOND, "trusted-before-retirement"),
        (1, (openpgp.T0 + 5) * SECOND + 1, "retired-unproven"),
        (3, None, "retired-unproven"),
    ],
)
def test_a_revocation_inside_the_key_ring(reason, seen, expected):
    """Hard reasons take everything; superseded (1) and retired (3) leave what is proven older."""
    trust = trust_of(
        root(
            "ring",
            openpgp.armored(openpgp.packet(6, GPG.body) + openpgp.revocation(GPG, reason) + openpgp.user_id(GPG)),
            "openpgp",
        )
    )
    assert state(trust, gpg(GPG), seen=seen) == expected


def test_a_ring_that_was_prolonged_counts_without_new_cryptography():
    """The fact is from the day of the short ring; the windows are those of the ring in force."""
    short = root(
        "ring", openpgp.armored(openpgp.primary(GPG, openpgp.subpacket(9, (60 * 86400).to_bytes(4)))), "openpgp"
    )
    before = trust_of(short)
    made = gpg(GPG)
    fact = fact_of(made, before)
    assert judge_chain(fact, fact.chains[0], None, before, NOW).judged.state == "outside-window"
    after = trust_of(root("ring", ring(), "openpgp"), start=before)
    assert after.keyset_id == before.keyset_id
    assert judge_chain(fact, fact.chains[0], None, after, NOW).judged.state == "trusted"
