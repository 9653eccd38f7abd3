"""Attacks on who signed and when, each with real cryptography: what an enemy would do to get a wrong "valid".

Every test first shows that the honest neighbour of the attack is accepted, so that nothing is refused for another
reason than the attack. The name of a test is the attack.
"""

import json

import pytest

from tests.helpers import openpgp
from tests.helpers.notation import AUTHORITY
from tests.helpers.pki import DAY, SECOND, T0, TIMESTAMPING, Ca, Tsa, make_key, pem, spki
from tests.helpers.rekor import MemoryLog
from tests.helpers.scene import (
    ALICE,
    BOB,
    FROM,
    ISSUER,
    NOW,
    SIGNED,
    UNTIL,
    VSA,
    Instance,
    Logged,
    Stamped,
    accuracy,
    ask,
    bundle,
    certificates,
    crl,
    envelope_of,
    evidence,
    fact_of,
    gpg,
    keyless,
    keys,
    listed,
    notary,
    notary_attestor,
    notary_leaf,
    openpgp_attestor,
    own_leaf,
    own_root,
    policy,
    revoked,
    ring_key,
    root,
    serial_of,
    trust_of,
)
from verifier.models import DigestClosure, Evidence
from verifier.policy.attestors import Attestor

ALPHA, BETA = Instance("alpha"), Instance("beta")
TRUST = trust_of(ALPHA.root(), policy(ci=keyless("alpha")))
BOTH = trust_of(ALPHA.root(), BETA.root(), policy(ci=keyless("alpha")))
CORP = Ca.root("corp")
OTHER = "sha256:" + "0b" * 32
MINUTE = 60 * SECOND


def edited(made: Evidence, change) -> Evidence:
    """The bundle with its JSON changed."""
    document = json.loads(made.payload)
    change(document)
    return evidence(made.format, json.dumps(document).encode(), made.subject, made.annotations)


def part_of(made: Evidence, *path):
    found = json.loads(made.payload)
    for name in path:
        found = found[name]
    return found


ENTRIES = ("verificationMaterial", "tlogEntries")
STAMPS = ("verificationMaterial", "timestampVerificationData", "rfc3161Timestamps")


def accepted(trust, *made, **more) -> None:
    answer = ask(trust, *made, **more)
    assert answer.outcome == "valid", answer.verdict.reasons


def refused(trust, *made, code: str, **more) -> None:
    answer = ask(trust, *made, **more)
    assert (answer.outcome, answer.codes) == ("violates", (code,)), answer.verdict.reasons


@pytest.fixture(scope="module", autouse=True)
def honest():
    accepted(TRUST, ALPHA.sign())
    accepted(TRUST, ALPHA.sign(logs=(Logged(ALPHA.tiles),), stamps=(Stamped(ALPHA.tsa),)))


# ------------------------------------------------------------------------------------------------- transplanted proofs


def test_log_entry_of_another_signature_of_the_same_person():
    """CVE-2026-22703: a sound entry, about something else."""
    other = part_of(ALPHA.sign(digest=OTHER), *ENTRIES)
    refused(TRUST, ALPHA.sign(entries=other), code="signature-invalid")


def test_log_entry_of_the_same_payload_by_somebody_else():
    refused(TRUST, ALPHA.sign(entries=part_of(ALPHA.sign(BOB), *ENTRIES)), code="signature-invalid")


def test_timestamp_of_another_signature():
    tokens = [ALPHA.tsa.response(b"another signature", SIGNED)]
    refused(TRUST, ALPHA.sign(tokens=tokens), code="signature-invalid")


def test_log_entry_of_a_log_of_another_instance():
    refused(BOTH, ALPHA.sign(logs=(Logged(BETA.rekor),)), code="outside-certificate-window")
    refused(BOTH, ALPHA.sign(logs=(Logged(BETA.rekor),), stamps=(Stamped(ALPHA.tsa),)), code="log-entry-missing")


def test_timestamp_authority_of_another_instance_dates_nothing():
    refused(BOTH, ALPHA.sign(logs=(), stamps=(Stamped(BETA.tsa),)), code="outside-certificate-window")
    late = NOW
    made = ALPHA.sign(logs=(Logged(ALPHA.tiles, NOW),), stamps=(Stamped(BETA.tsa), Stamped(ALPHA.tsa, late)))
    refused(BOTH, made, code="outside-certificate-window")


def test_sct_of_a_ct_log_of_another_instance():
    leaf = ALPHA.ca.leaf("alice beta-ct", sans=[ALICE], issuer=ISSUER, scts_by=[BETA.ct])
    refused(BOTH, ALPHA.sign(leaf=leaf), code="sct-missing")


def test_forged_sct():
    refused(TRUST, ALPHA.sign(spoil_scts=True), code="signature-invalid")


def test_entry_of_an_old_signature_dates_one_that_was_added_to_the_envelope():
    """Dev's key is compromised since T0 + 1 day; Ops signed and logged before. Dev's forgery joins Ops' envelope."""
    ops, dev = ALPHA.leaf("ops"), ALPHA.leaf("dev")
    ring = trust_of(
        *(ALPHA.root(), ring_key("ops", ops), ring_key("dev", dev)),
        revoked("key", dev.key_id, compromised_since=T0 + DAY),
        policy({"attestedBy": "dev", "predicateType": VSA}, dev=keys("dev")),
    )
    accepted(ring, envelope_of([dev], logged=ALPHA.rekor))
    refused(ring, envelope_of([ops, dev], logged=ALPHA.rekor), code="key-revoked-time-unknown")
    refused(ring, envelope_of([dev, ops], logged=ALPHA.rekor, by=1), code="key-revoked-time-unknown")


def test_timestamp_over_the_whole_envelope_dates_every_signature_in_it():
    """The neighbour of the attack above: here the stamp covers what was added."""
    ops, dev = ALPHA.leaf("ops"), ALPHA.leaf("dev")
    ring = trust_of(
        *(ALPHA.root(), ring_key("ops", ops), ring_key("dev", dev)),
        revoked("key", dev.key_id, compromised_since=T0 + DAY),
        policy({"attestedBy": "dev", "predicateType": VSA}, dev=keys("dev")),
    )
    accepted(ring, envelope_of([ops, dev], stamps=(Stamped(ALPHA.tsa),)))


# ------------------------------------------------------------------------------------------------------ stolen leaves


def test_leaf_key_used_after_the_certificate_ended():
    refused(TRUST, ALPHA.sign(logs=(Logged(ALPHA.rekor, T0 + 11 * MINUTE),)), code="outside-certificate-window")


def test_second_timestamp_inside_the_window_beside_an_honest_late_one():
    """Both must lie within; a compromised source could else be added to any late signature."""
    made = ALPHA.sign(logs=(Logged(ALPHA.rekor, SIGNED),), stamps=(Stamped(ALPHA.tsa, NOW),))
    refused(TRUST, made, code="outside-certificate-window")


def test_integrated_time_without_the_logs_word_for_it():
    """An inclusion proof alone does not cover the time that the entry states."""
    made = ALPHA.sign(logs=(Logged(ALPHA.rekor, promised=False),))
    assert fact_of(made, TRUST).times == ()
    refused(TRUST, made, code="outside-certificate-window")


def test_observed_time_stands_in_for_the_attested_one():
    """revet saw it in time, but keyless demands that a log or a timestamp authority did."""
    refused(TRUST, ALPHA.sign(logs=()), code="time-unproven", seen=SIGNED)


def test_timestamp_so_inexact_that_it_may_be_later_than_the_compromise():
    dev = ALPHA.leaf("dev")
    made = bundle(dev, keyed=True, stamps=(Stamped(ALPHA.tsa, SIGNED, accuracy(3600)),))
    head = (ALPHA.root(), ring_key("dev", dev), policy(dev=keys("dev")))
    upper = SIGNED + 3600 * SECOND
    accepted(trust_of(*head, revoked("key", dev.key_id, compromised_since=upper + 1)), made)
    refused(trust_of(*head, revoked("key", dev.key_id, compromised_since=upper)), made, code="key-revoked")


# ------------------------------------------------------------------------------------------------- other CAs


def test_certificate_of_another_instance_with_the_same_identity():
    refused(BOTH, BETA.sign(), code="wrong-signer")
    accepted(trust_of(ALPHA.root(), BETA.root(), policy(ci=keyless("alpha", "beta"))), BETA.sign())


def test_certificate_with_the_same_subject_from_another_issuer():
    refused(TRUST, ALPHA.sign(issuer="https://evil.example"), code="wrong-signer")


def test_ca_brought_along_with_the_evidence():
    """A chain up to the attacker's own root, which is in no trust."""
    evil = Ca.root("alpha root evil").intermediate("alpha issuing evil")
    leaf = evil.leaf("alice", sans=[ALICE], issuer=ISSUER)
    refused(TRUST, bundle(leaf, given=leaf.chain, logs=(Logged(ALPHA.rekor),)), code="wrong-signer")


def test_leaf_signs_as_a_ca():
    """A leaf's key issues a certificate for somebody else."""
    mine = ALPHA.leaf(BOB)
    fake_ca = Ca("alice by bob", mine.certificate, mine.key, mine.chain)
    leaf = fake_ca.leaf("x", sans=[ALICE], issuer=ISSUER)
    refused(TRUST, bundle(leaf, given=(mine.certificate,), logs=(Logged(ALPHA.rekor),)), code="wrong-signer")


def test_timestamp_authority_signs_an_image():
    """Its leaf leads to the same root, but it may stamp only."""
    made = bundle(ALPHA.tsa.leaf, logs=(Logged(ALPHA.rekor),))
    refused(TRUST, made, code="wrong-signer")


def test_signature_by_a_ring_key_with_a_strangers_certificate_beside_it():
    """The certificate names Alice, the signature is Dev's: it counts for Dev, and for nobody in the certificate."""
    dev, alice = ALPHA.leaf("dev"), ALPHA.leaf(ALICE)
    made = bundle(dev, keyed=True)

    def dress(document):
        document["verificationMaterial"] = {"certificate": part_of(ALPHA.sign(), "verificationMaterial", "certificate")}

    mixed = edited(made, dress)
    trust = trust_of(ALPHA.root(), ring_key("dev", dev), policy(ci=keyless("alpha"), dev=keys("dev")))
    refused(trust, mixed, code="wrong-signer")
    assert fact_of(mixed, trust).chains == ()
    accepted(trust_of(ALPHA.root(), ring_key("dev", dev), policy(dev=keys("dev"))), mixed)
    assert alice.key_id != dev.key_id


# --------------------------------------------------------------------------------------------------------- identities


@pytest.mark.parametrize(
    "name",
    [
        "https://git.example/alice/ci.yml@main.evil.example",
        "https://evil.example/?https://git.example/alice/ci.yml@main",
        "https://git.example/alice/ci.yml@main/",
        "HTTPS://git.example/alice/ci.yml@main",
        "https://git.example/alice/ci.yml%40main",
    ],
)
def test_identity_that_only_looks_like_the_one_expected(name):
    refused(TRUST, ALPHA.sign(name, key="looks-like"), code="wrong-signer")


def test_regular_expression_is_met_by_a_part_of_a_name():
    wanted = [{"issuer": ISSUER, "subjectRegExp": "https://git.example/alice/.*"}]
    trust = trust_of(
        ALPHA.root(), policy(ci=Attestor.model_validate({"keyless": {"roots": ["alpha"], "identities": wanted}}))
    )
    accepted(trust, ALPHA.sign())
    refused(trust, ALPHA.sign("https://evil.example/?q=https://git.example/alice/x", key="part"), code="wrong-signer")


def test_dot_of_a_host_is_any_character_of_an_unanchored_expression_and_nothing_of_an_exact_name():
    refused(TRUST, ALPHA.sign("https://gitxexample/alice/ci.yml@main", key="dot"), code="wrong-signer")


def test_wanted_name_among_others_in_one_certificate_counts_once():
    """Two names in one certificate are one signer: not two of two."""
    made = ALPHA.sign(ALICE, key="two names", sans=(ALICE, BOB))
    trust = trust_of(
        ALPHA.root(),
        policy(
            {"atLeast": {"count": 2, "of": [{"signedBy": "alice"}, {"signedBy": "bob"}]}},
            alice=keyless("alpha"),
            bob=keyless("alpha", who=(BOB,)),
        ),
    )
    accepted(trust, ALPHA.sign(ALICE), ALPHA.sign(BOB))
    refused(trust, made, code="wrong-signer")


def test_one_signature_under_a_key_and_a_certificate_counts_for_two():
    leaf = ALPHA.leaf(ALICE)
    trust = trust_of(
        *(ALPHA.root(), ring_key("dev", leaf)),
        policy(
            {"atLeast": {"count": 2, "of": [{"signedBy": "dev"}, {"signedBy": "alice"}]}},
            dev=keys("dev"),
            alice=keyless("alpha"),
        ),
    )
    assert len(ask(trust, ALPHA.sign()).verdict.signatures) == 2, "it stands under both"
    refused(trust, ALPHA.sign(), code="wrong-signer")


def test_one_person_signs_twice_with_fresh_keys():
    made = ALPHA.sign(ALICE, key="first"), ALPHA.sign(ALICE, key="second")
    wild = Attestor.model_validate(
        {"keyless": {"roots": ["alpha"], "identities": [{"issuer": ISSUER, "subjectPattern": "*"}]}}
    )
    tree = {"atLeast": {"count": 2, "of": [{"signedBy": "one"}, {"signedBy": "two"}]}}
    trust = trust_of(ALPHA.root(), policy(tree, one=wild, two=wild))
    accepted(trust, made[0], ALPHA.sign(BOB))
    refused(trust, *made, code="wrong-signer")


def test_attestation_passes_for_a_signature():
    refused(TRUST, ALPHA.sign(predicate_type=VSA), code="attestation-only")


def test_signature_of_another_image_is_moved_here():
    refused(TRUST, ALPHA.sign(digest=OTHER, at="sha256:" + "a1" * 32), code="subject-mismatch")


def test_signature_of_a_child_covers_the_index():
    closure = DigestClosure("sha256:" + "a1" * 32, indexes=(OTHER,))
    accepted(TRUST, ALPHA.sign(digest=OTHER), closure=closure)
    turned = DigestClosure(OTHER, indexes=())
    refused(TRUST, ALPHA.sign(), closure=turned, code="subject-mismatch")


# ------------------------------------------------------------------------------------------------------- compromised


def test_compromised_timestamp_authority_lies_about_the_past():
    dev = ALPHA.leaf("dev")
    made = bundle(dev, keyed=True, stamps=(Stamped(ALPHA.tsa),))
    head = (
        ALPHA.root(),
        ring_key("dev", dev),
        policy(dev=keys("dev")),
        revoked("key", dev.key_id, compromised_since=NOW),
    )
    accepted(trust_of(*head), made)
    for subject in (ALPHA.tsa.leaf.key_id, ALPHA.tsa_ca.key_id, ALPHA.anchor.key_id):
        hard = revoked("ca", subject, "caCompromise", compromised_since=NOW + 1)
        refused(trust_of(*head, hard), made, code="key-revoked-time-unknown")


def test_compromised_ca_above_a_timestamp_authority_makes_a_new_leaf():
    """Only the CA stands in the trust store, and it is what was revoked."""
    store = Ca.root("stamping root")
    token = Tsa.under(store, "minted", not_before=FROM, not_after=UNTIL)
    leaf = notary_leaf(CORP)
    made = notary(leaf, stamp=lambda signature: token.token(signature, SIGNED))
    attestor = notary_attestor("ca:corp", "tsa:stamps")
    head = (
        root("ca:corp", pem(CORP.certificate), "notation-ca"),
        root("tsa:stamps", pem(store.certificate), "notation-tsa"),
        policy(ops=attestor),
    )
    accepted(trust_of(*head), made, now=T0 + 200 * DAY)
    hard = revoked("ca", store.key_id, "caCompromise", compromised_since=T0 + 100 * DAY)
    answer = ask(trust_of(*head, hard), made, now=T0 + 200 * DAY)
    assert (answer.outcome, answer.codes) == ("violates", ("outside-certificate-window",))


def test_compromised_ca_back_dates_its_leaves():
    """No time proves that the signature is older than C: a compromised CA writes any notBefore."""
    hard = revoked("ca", ALPHA.ca.key_id, "caCompromise", compromised_since=SIGNED)
    accepted(trust_of(hard, start=TRUST), ALPHA.sign(logs=(Logged(ALPHA.rekor, SIGNED - SECOND),)))
    answer = ask(trust_of(hard, start=TRUST), ALPHA.sign())
    assert (answer.outcome, answer.codes, answer.states) == ("violates", ("identity-revoked",), ("revoked",))


def test_compromised_signing_authority_dates_its_own_forgeries():
    """authenticSigningTime is the word of the very key, identity or CA that was lost."""
    store = root("signingAuthority:aws", pem(CORP.certificate), "notation-signing-authority")
    head = (store, policy(ops=notary_attestor("signingAuthority:aws")))
    leaf = notary_leaf(CORP)
    made = notary(leaf, scheme=AUTHORITY)
    accepted(trust_of(*head), made)
    identity = json.dumps({"subject": "signer@example.com"})
    named = notary_leaf(CORP, "named", sans=("signer@example.com",))
    for subject, kind, signature in (
        (leaf.key_id, "key", made),
        (CORP.key_id, "ca", made),
        (identity, "identity", notary(named, scheme=AUTHORITY)),
    ):
        hard = revoked(kind, subject, compromised_since=NOW)
        answer = ask(trust_of(*head, hard), signature)
        assert (answer.outcome, answer.states) == ("violates", ("revoked-time-unknown",)), kind


def test_entry_behind_the_last_good_one_of_a_log_for_a_key():
    dev = ALPHA.leaf("dev")
    log = MemoryLog(ALPHA.rekor.host, offset=100)
    trust = trust_of(ALPHA.root(), ring_key("dev", dev), policy(dev=keys("dev", log="required")))
    made = bundle(dev, keyed=True, logs=(Logged(log),))
    (entry,) = fact_of(made, trust).logs
    for good, code in ((entry.index, ""), (entry.index - 1, "source-revoked")):
        after = trust_of(revoked("log", log.id, last_good_index=good), start=trust)
        answer = ask(after, made)
        assert (answer.outcome == "valid") == (not code)
        assert answer.codes == ((code,) if code else ("satisfied",))


def test_time_of_an_entry_behind_the_last_good_one():
    """The clock of that log lies: its SET dates a stolen key's signature before the theft."""
    dev = ALPHA.leaf("dev")
    log = MemoryLog(ALPHA.rekor.host, offset=100)
    made = bundle(dev, keyed=True, logs=(Logged(log, SIGNED),))
    head = (
        ALPHA.root(),
        ring_key("dev", dev),
        policy(dev=keys("dev")),
        revoked("key", dev.key_id, compromised_since=NOW),
    )
    accepted(trust_of(*head, revoked("log", log.id, last_good_index=10_000)), made)
    refused(trust_of(*head, revoked("log", log.id, last_good_index=3)), made, code="key-revoked-time-unknown")


def test_entry_that_states_an_index_nobody_signed():
    """A Rekor v1 entry without SET can state any index, also one before the log went bad."""
    log = MemoryLog(ALPHA.rekor.host, offset=100)
    made = ALPHA.sign(logs=(Logged(log, promised=False, claimed=1),), stamps=(Stamped(ALPHA.tsa),))
    accepted(TRUST, made)
    after = trust_of(revoked("log", log.id, last_good_index=50), start=TRUST)
    refused(after, made, code="source-revoked")


def test_key_of_a_retired_log_of_the_second_generation():
    """Rekor v2 entries have no time. The window of the log's key is asked at the signature's."""
    ended = trust_of(ALPHA.root(tiles=(FROM, SIGNED - 1)), policy(ci=keyless("alpha")))
    made = ALPHA.sign(logs=(Logged(ALPHA.tiles),), stamps=(Stamped(ALPHA.tsa),))
    refused(ended, made, code="log-entry-missing")
    accepted(trust_of(ALPHA.root(tiles=(FROM, SIGNED)), policy(ci=keyless("alpha"))), made)
    dev = ALPHA.leaf("dev")
    head = (ALPHA.root(tiles=(FROM, SIGNED)), ring_key("dev", dev), policy(dev=keys("dev", log="required")))
    undated = bundle(dev, keyed=True, logs=(Logged(ALPHA.tiles),))
    accepted(trust_of(*head), undated, now=SIGNED)
    refused(trust_of(*head), undated, now=SIGNED + 1, code="log-entry-missing")
    accepted(trust_of(*head), undated, now=NOW, seen=SIGNED)


def test_provenance_of_a_compromised_builder_under_a_plain_key():
    """No certificate is needed to name a builder."""
    dev = ALPHA.leaf("dev")
    slsa = "https://slsa.dev/provenance/v1"
    predicate = {
        "buildDefinition": {"buildType": "https://ci.example/t", "externalParameters": {}},
        "runDetails": {"builder": {"id": "https://ci.example/bad"}},
    }
    made = bundle(dev, keyed=True, predicate_type=slsa, predicate=predicate)
    head = (ring_key("dev", dev), policy({"attestedBy": "dev", "predicateType": slsa}, dev=keys("dev")))
    accepted(trust_of(*head), made)
    refused(trust_of(*head, revoked("builder", "https://ci.example/bad")), made, code="identity-revoked")
    accepted(trust_of(*head, revoked("builder", "https://ci.example/good")), made)


def test_revoked_certificate_waits_until_the_list_has_ended():
    leaf = own_leaf(CORP)
    data = crl(CORP, (serial_of(leaf.certificate), "keyCompromise", None), at=T0, until=T0 + 7 * DAY)
    trust = trust_of(own_root(CORP), policy(ops=certificates("corp")))
    accepted(trust, bundle(leaf))
    after = trust_of(listed(CORP, data), start=trust)
    for now in (T0 + DAY, T0 + 7 * DAY, T0 + 7 * DAY + 1, T0 + 100 * DAY):
        refused(after, bundle(leaf), now=now, code="certificate-revoked")


def test_list_of_cas_takes_the_list_of_signers_away():
    leaf = own_leaf(CORP)
    users = crl(CORP, (serial_of(leaf.certificate), "keyCompromise", None), at=T0, only="users")
    authorities = crl(CORP, at=T0 + DAY, only="authorities")
    trust = trust_of(own_root(CORP), policy(ops=certificates("corp")), listed(CORP, users), listed(CORP, authorities))
    refused(trust, bundle(leaf), code="certificate-revoked")


def test_timestamp_of_a_store_that_the_policy_does_not_name_saves_a_revoked_certificate():
    stranger = Tsa.under(Ca.root("stranger stamps"), "stranger", not_before=FROM, not_after=UNTIL)
    leaf = notary_leaf(CORP)
    made = notary(leaf, stamp=lambda signature: stranger.token(signature, SIGNED))
    gone = crl(CORP, (serial_of(leaf.certificate), "keyCompromise", T0 + 10 * DAY))
    head = (
        root("ca:corp", pem(CORP.certificate), "notation-ca"),
        root("tsa:dev", pem(stranger.leaf.chain[-1]), "notation-tsa"),
        listed(CORP, gone),
    )
    accepted(trust_of(*head, policy(ops=notary_attestor("ca:corp", "tsa:dev"))), made)
    refused(trust_of(*head, policy(ops=notary_attestor("ca:corp"))), made, code="certificate-revoked")


# -------------------------------------------------------------------------------------------- two roots, mixed stores


def test_window_of_one_root_beside_the_timestamps_of_another():
    """Staging lists production's CA for a short window and has a timestamp authority of its own."""
    staging = ALPHA.document(ca=(FROM, SIGNED - 1), stamping=BETA.tsa, without=("tlogs", "ctlogs"))
    trust = trust_of(
        ALPHA.root(), root("staging", staging), policy(ci=keyless("alpha", log="optional", sct="optional"))
    )
    accepted(trust, ALPHA.sign(logs=(), stamps=(Stamped(ALPHA.tsa),)))
    refused(trust, ALPHA.sign(logs=(), stamps=(Stamped(BETA.tsa),)), code="outside-certificate-window")


def test_ca_store_vouches_for_a_signing_authority():
    leaf = notary_leaf(CORP)
    text = pem(CORP.certificate)
    mixed = notary_attestor("ca:corp", "signingAuthority:other")
    other = Ca.root("other")
    head = (
        root("ca:corp", text, "notation-ca"),
        root("signingAuthority:other", pem(other.certificate), "notation-signing-authority"),
        policy(ops=mixed),
    )
    accepted(trust_of(*head), notary(leaf))
    refused(trust_of(*head), notary(leaf, scheme=AUTHORITY), code="wrong-signer")
    turned = (
        root("signingAuthority:corp", text, "notation-signing-authority"),
        policy(ops=notary_attestor("signingAuthority:corp")),
    )
    accepted(trust_of(*turned), notary(leaf, scheme=AUTHORITY))
    refused(trust_of(*turned), notary(leaf), code="wrong-signer")


def test_notary_signature_passes_for_a_signature_by_certificate():
    """The same CA serves both; the scheme tells them apart."""
    leaf = own_leaf(CORP, sans=("build@example.com",))
    trust = trust_of(
        root("ca:corp", pem(CORP.certificate), "notation-ca"), own_root(CORP), policy(ops=certificates("corp"))
    )
    accepted(trust, bundle(leaf))
    refused(trust, notary(leaf), code="wrong-signer")


def test_root_of_a_policy_is_taken_for_another_policys():
    """Text in a policy makes nobody an authority elsewhere."""
    mine = policy(name="mine", ops=certificates(pem(CORP.certificate)))
    trust = trust_of(mine, policy(name="p", ops=certificates(pem(Ca.root("else").certificate))))
    accepted(trust, bundle(own_leaf(CORP)), name="mine")
    refused(trust, bundle(own_leaf(CORP)), name="p", code="wrong-signer")


def test_expired_openpgp_signature_and_key_outside_the_fingerprints():
    mine, other = openpgp.Key(), openpgp.Key()
    ring = root("distro", openpgp.armored(openpgp.primary(mine) + openpgp.primary(other)), "openpgp")
    trust = trust_of(ring, policy(distro=openpgp_attestor("distro")))
    short_lived = openpgp.subpacket(3, (3600).to_bytes(4))
    accepted(trust, gpg(mine))
    accepted(trust, gpg(mine, short_lived), now=T0 + 30 * MINUTE)
    refused(trust, gpg(mine, short_lived), code="signature-expired")
    only = trust_of(ring, policy(distro=openpgp_attestor("distro", fingerprints=[mine.fingerprint.hex()])))
    accepted(only, gpg(mine))
    refused(only, gpg(other), code="wrong-signer")


def test_key_ring_key_signs_for_a_ring_it_is_not_in():
    mine, other = openpgp.Key(), openpgp.Key()
    trust = trust_of(
        root("mine", openpgp.armored(openpgp.primary(mine)), "openpgp"),
        root("theirs", openpgp.armored(openpgp.primary(other)), "openpgp"),
        policy(distro=openpgp_attestor("mine")),
    )
    accepted(trust, gpg(mine))
    refused(trust, gpg(other), code="wrong-signer")


def test_stamping_ca_signs_code():
    """A CA that is limited to timestamping issues a certificate for code signing."""
    limited = ALPHA.anchor.intermediate("limited", eku=TIMESTAMPING)
    leaf = limited.leaf("x", sans=[ALICE], issuer=ISSUER)
    made = bundle(leaf, given=(limited.certificate,), logs=(Logged(ALPHA.rekor),))
    refused(TRUST, made, code="wrong-signer")


def test_spki_of_a_known_key_in_a_certificate_of_nobody():
    """The key is in the ring, so what it signs counts for the key; the certificate adds no identity."""
    leaf = Ca.root("nobody").leaf("alice", sans=[ALICE], issuer=ISSUER)
    trust = trust_of(ALPHA.root(), ring_key("dev", leaf), policy(ci=keyless("alpha")))
    made = bundle(leaf, logs=(Logged(ALPHA.rekor),))
    assert fact_of(made, trust).verified_by == (leaf.key_id,)
    refused(trust, made, code="wrong-signer")
    assert spki(leaf.key) == spki(make_key("leaf alice"))
