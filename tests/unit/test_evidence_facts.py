"""Facts: what each format says when it is good, and the algebra of adding keys."""

import hashlib
import json
from base64 import b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier.canonical import stable_id
from verifier.evidence.identity import SIGNATURE_ANNOTATION, check_evidence_id, evidence_id
from verifier.facts.candidates import KeySet, key_set
from verifier.facts.derive import BATCH, READERS, _fact_id, derive_fact, derive_facts, is_open
from verifier.models import VERIFIER_VERSION, Evidence
from verifier.testing import KeyType, Signer, compact, make_evidence, simple_signing_payload, statement

REPOSITORY = "registry.example.com/payments/api"
MANIFEST = b'{"schemaVersion":2}'
DIGEST = "sha256:" + hashlib.sha256(MANIFEST).hexdigest()
OTHER = "sha256:" + "0" * 64
DEV, OPS, SEC = Signer("dev"), Signer("ops"), Signer("sec", "ed25519ph")
TYPES: tuple[KeyType, ...] = ("ecdsa-p256", "ecdsa-p384", "ecdsa-p521", "rsa", "ed25519", "ed25519ph")
EVERY_TYPE = [Signer("dev", kind) for kind in TYPES]


def ring(*signers: Signer) -> KeySet:
    return key_set((signer.name, signer.public_key) for signer in signers)


def made_by(signer: Signer) -> list[Evidence]:
    return [
        signer.sign_simple(REPOSITORY, DIGEST, {"env": "prod"}),
        signer.sign_bundle(REPOSITORY, DIGEST, {"env": "prod"}),
        signer.attest(REPOSITORY, DIGEST),
        signer.attest(REPOSITORY, DIGEST, format="sigstore-bundle"),
        signer.sign_manifest(REPOSITORY, DIGEST, MANIFEST),
    ]


@pytest.mark.parametrize("signer", EVERY_TYPE, ids=[signer.type for signer in EVERY_TYPE])
@pytest.mark.parametrize(
    "number", range(4), ids=["simple signing", "bundle", "attestation layer", "attestation bundle"]
)
def test_good_evidence_of_every_format_and_type_of_key(signer, number):
    evidence = made_by(signer)[number]
    fact = derive_fact(evidence, ring(OPS, signer))
    assert fact.verified_by == (signer.key_id,)
    assert fact.subjects == (DIGEST,)
    assert fact.kind == ("signature" if number < 2 else "attestation")
    assert (fact.problem, fact.problem_detail) == ("", "")
    assert fact.annotations == ((("env", "prod"),) if number < 2 else ())
    assert derive_fact(evidence, ring(OPS)).verified_by == ()


def test_every_format_has_a_reader():
    assert set(READERS) == {"cosign-simplesigning", "cosign-dsse", "sigstore-bundle"}


def test_what_a_simple_signing_fact_states():
    evidence = DEV.sign_simple("nginx", DIGEST, {"env": "prod", "build": 7, "timestamp": 1_700_000_000, "x": None})
    fact = derive_fact(evidence, ring(DEV))
    assert fact.signed_repository == "docker.io/library/nginx", "in the spelling repositories are compared in"
    assert fact.annotations == (("env", "prod"),), "only text can equal what a policy asks for"
    assert fact.claimed_time == 1_700_000_000_000_000
    assert fact.algorithm == "ecdsa-p256-sha256"
    assert fact.times == ()
    assert fact.id == stable_id("fact", evidence.id, ring(DEV).id, VERIFIER_VERSION)
    assert (fact.evidence_id, fact.subject, fact.keyset) == (evidence.id, DIGEST, ring(DEV).id)


def test_what_a_bundle_fact_states():
    fact = derive_fact(DEV.sign_bundle(REPOSITORY, DIGEST), ring(OPS))
    assert fact.key_hint == DEV.key_id
    assert fact.predicate_type == "https://sigstore.dev/cosign/sign/v1"
    assert fact.signed_repository == ""


@pytest.mark.parametrize("seconds", [0, -1, 10**12, 1.5, "1700000000", True, None])
def test_a_time_that_is_none_claims_nothing(seconds):
    assert (
        derive_fact(DEV.sign_simple(REPOSITORY, DIGEST, {"timestamp": seconds, "a": "b"}), ring(DEV)).claimed_time
        is None
    )


@pytest.mark.parametrize("signer", EVERY_TYPE, ids=[signer.type for signer in EVERY_TYPE])
def test_a_signature_over_the_manifest_itself(signer):
    """The manifest is known by its SHA-256 only; where that does not suffice the answer is neither good nor forged."""
    fact = derive_fact(signer.sign_manifest(REPOSITORY, DIGEST, MANIFEST), ring(signer))
    if signer.public_key.signs_sha256:
        assert fact.verified_by == (signer.key_id,)
        assert fact.subjects == (DIGEST,)
    else:
        assert (fact.verified_by, fact.problem) == ((), "unsupported-evidence")


def test_the_hint_decides_whether_a_digest_suffices():
    """A P-256 key that claims the signature could be checked, and fails; what else is in the set changes nothing."""
    signature = b64encode(DEV.sign(b"another manifest")).decode()
    payload = DEV.bundle({"signature": signature}, "messageSignature")
    evidence = make_evidence("sigstore-bundle", REPOSITORY, DIGEST, payload)
    for keys, problem in ((ring(DEV, SEC), ""), (ring(OPS), ""), (ring(OPS, SEC), "unsupported-evidence")):
        fact = derive_fact(evidence, keys)
        assert (fact.verified_by, fact.key_hint, fact.problem) == ((), DEV.key_id, problem)


def test_a_good_signature_of_another_image_states_that_image():
    """Whether the image is the right one is the verdict's to say; the fact says what is signed and by whom."""
    for evidence in (DEV.sign_simple(REPOSITORY, OTHER, at=DIGEST), DEV.sign_bundle(REPOSITORY, OTHER, at=DIGEST)):
        fact = derive_fact(evidence, ring(DEV))
        assert (fact.verified_by, fact.subject, fact.subjects) == ((DEV.key_id,), DIGEST, (OTHER,))


def test_annotations_are_those_of_the_subject_it_was_found_for():
    subjects = [
        {"digest": {"sha256": OTHER[7:]}, "annotations": {"env": "dev"}},
        None,
        {"digest": {"sha512": "x"}},
        {"digest": {"sha256": DIGEST[7:], "gitCommit": "abc"}, "annotations": {"env": "prod"}},
    ]
    body = statement(subjects, "https://sigstore.dev/cosign/sign/v1", {})
    evidence = make_evidence("sigstore-bundle", REPOSITORY, DIGEST, DEV.bundle(DEV.envelope(body)))
    fact = derive_fact(evidence, ring(DEV))
    assert fact.subjects == (OTHER, DIGEST)
    assert fact.annotations == (("env", "prod"),)
    assert derive_fact(evidence, ring(DEV)).verified_by == (DEV.key_id,)


def test_an_envelope_of_several_signers_counts_for_each():
    body = statement([{"digest": {"sha256": DIGEST[7:]}}], "https://spdx.dev/Document", {}, version="v0.1")
    envelope = DEV.envelope(body) | {
        "signatures": [*DEV.envelope(body)["signatures"], *OPS.envelope(body)["signatures"]]
    }
    fact = derive_fact(make_evidence("cosign-dsse", REPOSITORY, DIGEST, compact(envelope)), ring(DEV, OPS, SEC))
    assert fact.verified_by == tuple(sorted([DEV.key_id, OPS.key_id]))


def test_signatures_with_line_ends_as_openssl_writes_them():
    evidence = DEV.sign_simple(REPOSITORY, DIGEST)
    text = evidence.annotations[SIGNATURE_ANNOTATION]
    wrapped = {SIGNATURE_ANNOTATION: text[:64] + "\n" + text[64:] + "\n"}
    again = make_evidence("cosign-simplesigning", REPOSITORY, DIGEST, evidence.payload, wrapped)
    assert derive_fact(again, ring(DEV)).verified_by == (DEV.key_id,)


# ------------------------------------------------------------------------------------------------------------ algebra

SIGNERS = (DEV, OPS, SEC, Signer("legacy", "rsa"))
EVIDENCE = [
    *[evidence for signer in SIGNERS for evidence in made_by(signer)],
    DEV.sign_simple(REPOSITORY, OTHER, at=DIGEST),
    make_evidence("cosign-simplesigning", REPOSITORY, DIGEST, b"{", {SIGNATURE_ANNOTATION: "AAAA"}),
    make_evidence(
        "cosign-simplesigning",
        REPOSITORY,
        DIGEST,
        DEV.sign_simple(REPOSITORY, DIGEST).payload,
        DEV.sign_simple(REPOSITORY, DIGEST).annotations | {"dev.sigstore.cosign/certificate": "PEM"},
    ),
]
subsets = st.sets(st.sampled_from(range(len(SIGNERS))))


@settings(max_examples=100)
@given(st.sampled_from(EVIDENCE), subsets, subsets)
def test_a_fact_that_is_not_open_says_the_same_about_added_keys(evidence, before, added):
    """What is kept when keys are added is what would be derived again, but for further signers of the same bytes."""
    previous, keys = (ring(*(SIGNERS[n] for n in sorted(chosen))) for chosen in (before, before | added))
    fact, again = derive_fact(evidence, previous), derive_fact(evidence, keys)
    if is_open(fact, keys):
        assert fact.verified_by == ()
    else:
        assert (fact.problem, set(fact.verified_by) <= set(again.verified_by)) == (again.problem, True)


@settings(max_examples=60)
@given(st.sampled_from(EVIDENCE), subsets, subsets)
def test_signers_under_two_sets_are_the_signers_under_both_together(evidence, one, two):
    facts = [derive_fact(evidence, ring(*(SIGNERS[n] for n in chosen))) for chosen in (one, two, one | two)]
    assert set(facts[0].verified_by) | set(facts[1].verified_by) == set(facts[2].verified_by)


def test_a_batch_gives_what_single_pieces_give():
    many = EVIDENCE * (BATCH // len(EVIDENCE) + 2)
    keys = ring(DEV, OPS)
    assert derive_facts(many, keys) == [derive_fact(evidence, keys) for evidence in many]
    assert derive_facts([], keys) == []


def test_the_same_bytes_beside_another_image_are_another_fact():
    keys = ring(DEV)
    here = DEV.sign_manifest(REPOSITORY, DIGEST, MANIFEST)
    undated = json.loads(here.payload)
    del undated["messageSignature"]["messageDigest"]
    here, there = (make_evidence("sigstore-bundle", REPOSITORY, at, compact(undated)) for at in (DIGEST, OTHER))
    assert here.id == there.id
    assert derive_fact(here, keys).verified_by == (DEV.key_id,)
    assert derive_fact(there, keys).verified_by == ()


@given(st.text(max_size=80), st.text(max_size=40))
def test_fact_ids_are_the_stable_ids(evidence, keyset):
    """The quicker encoder writes what the canonical one writes."""
    assert _fact_id(evidence, keyset) == stable_id("fact", evidence, keyset, VERIFIER_VERSION)


# ----------------------------------------------------------------------------------------------------------- identity


def test_two_layers_with_the_same_bytes_are_two_pieces_of_evidence():
    one, two = DEV.sign_simple(REPOSITORY, DIGEST), OPS.sign_simple(REPOSITORY, DIGEST)
    assert one.payload == two.payload == simple_signing_payload(REPOSITORY, DIGEST)
    assert one.id != two.id


CARRYING = [
    (SIGNATURE_ANNOTATION, True),
    ("dev.sigstore.cosign/certificate", True),
    ("dev.sigstore.cosign/chain", True),
    ("dev.sigstore.cosign/bundle", True),
    ("dev.sigstore.cosign/rfc3161timestamp", True),
    ("predicateType", False),
    ("dev.sigstore.bundle.content", False),
    ("org.opencontainers.image.created", False),
]


@pytest.mark.parametrize(("name", "carries"), CARRYING)
def test_annotations_that_carry_the_signature_are_part_of_the_id(name, carries):
    plain = evidence_id(DIGEST, {})
    assert (evidence_id(DIGEST, {name: "x"}) != plain) == carries
    assert evidence_id(DIGEST, {name: ""}) == plain, "empty is absent"


def test_ids_are_written_in_stone():
    """Stored evidence is found again by these."""
    assert evidence_id(DIGEST, {SIGNATURE_ANNOTATION: "MEUC"}) == evidence_id(
        DIGEST[7:], {SIGNATURE_ANNOTATION: "MEUC", "x": "y"}
    )
    assert evidence_id("sha256:" + "a" * 64, {SIGNATURE_ANNOTATION: "MEUC"}) == (
        "sha256:"
        + hashlib.sha256(b'["sha256:' + b"a" * 64 + b'",{"dev.cosignproject.cosign/signature":"MEUC"}]').hexdigest()
    )


def test_changed_evidence_no_longer_has_its_id():
    evidence = DEV.sign_simple(REPOSITORY, DIGEST)
    assert check_evidence_id(evidence)
    changed = Evidence(evidence.id, evidence.format, evidence.repository, evidence.subject, evidence.payload + b" ")
    assert not check_evidence_id(changed)


def test_the_same_name_makes_the_same_signer():
    one, two = Signer("dev", "rsa"), Signer("dev", "rsa-pss")
    assert one.key_id == two.key_id != Signer("ops", "rsa").key_id
    assert DEV.sign_simple(REPOSITORY, DIGEST) == Signer("dev").sign_simple(REPOSITORY, DIGEST)
