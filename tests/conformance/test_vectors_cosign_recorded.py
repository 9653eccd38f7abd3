"""What real cosign wrote (streams/demo_data, re-made by scripts/record) and what the facts say about it."""

import hashlib
import json
from base64 import b64decode
from functools import cache
from pathlib import Path

import pytest

from verifier.evidence.identity import SIGNATURE_ANNOTATION, check_evidence_id
from verifier.evidence.keys import load_public_key
from verifier.facts.candidates import KeySet, key_set
from verifier.facts.derive import derive_fact
from verifier.models import Evidence, EvidenceFormat, Fact
from verifier.testing import Signer, make_evidence, simple_signing_payload

DATA = Path(__file__).parents[2] / "streams" / "demo_data"
FORMATS: dict[str, EvidenceFormat] = {
    "classic": "cosign-simplesigning",
    "bundle": "sigstore-bundle",
    "bundle-attestation": "sigstore-bundle",
}
ALGORITHMS = {"p384": "ecdsa-p384-sha384", "ed25519": "ed25519ph"}
"""What cosign signs with where it is not P-256 with SHA-256."""

IMAGES = json.loads((DATA / "images.json").read_text())
SIGNED = [(image["name"], number) for image in IMAGES for number in range(len(image["signers"]))]


@cache
def ring() -> KeySet:
    """Every key of the recording."""
    return key_set((path.stem, load_public_key(path.read_bytes())) for path in (DATA / "keys").glob("*.pub"))


def blob(digest: str) -> bytes:
    data = (DATA / "oci" / "blobs" / "sha256" / digest.removeprefix("sha256:")).read_bytes()
    assert "sha256:" + hashlib.sha256(data).hexdigest() == digest
    return data


def recorded(name: str, number: int) -> tuple[dict, dict, Evidence]:
    """(image, signer, evidence) of one recorded signature, found by layer digest and signature annotation."""
    image = next(image for image in IMAGES if image["name"] == name)
    signer = image["signers"][number]
    layers = [
        layer
        for layer in json.loads(blob(signer["artifact"]))["layers"]
        if layer["digest"] == signer["layer"] and _signature_hash(layer) == signer["annotation_signature_sha256"]
    ]
    assert len(layers) == 1
    repository = image["reference"].rpartition(":")[0]
    evidence = make_evidence(
        FORMATS[signer["format"]], repository, image["digest"], blob(signer["layer"]), layers[0].get("annotations")
    )
    assert check_evidence_id(evidence)
    return image, signer, evidence


def _signature_hash(layer: dict) -> str:
    text = layer.get("annotations", {}).get(SIGNATURE_ANNOTATION, "")
    return hashlib.sha256(text.encode()).hexdigest() if text else ""


def names(fact: Fact) -> list[str]:
    return [ring().names[key_id] for key_id in fact.verified_by]


@pytest.mark.parametrize(("name", "number"), SIGNED, ids=[f"{name}-{number}" for name, number in SIGNED])
def test_cosign_output_is_read_as_recorded(name, number):
    image, signer, evidence = recorded(name, number)
    fact = derive_fact(evidence, ring())
    assert fact.problem == "", fact.problem_detail
    assert fact.kind == ("attestation" if signer["format"] == "bundle-attestation" else "signature")
    if signer["good"]:
        assert names(fact) == [signer["key"]]
        assert fact.subjects == (image["digest"],)
        assert fact.algorithm == ALGORITHMS.get(signer["key"], "ecdsa-p256-sha256")
    if signer["format"] == "classic":
        assert fact.signed_repository == evidence.repository
    else:
        assert ring().names[fact.key_hint] == signer["key"]


def test_the_recording_has_both_generations_and_every_kind_of_key():
    seen = {(signer["format"], signer["key"]) for image in IMAGES for signer in image["signers"]}
    assert {fmt for fmt, _ in seen} == set(FORMATS)
    assert {
        ("classic", "p384"),
        ("bundle", "p384"),
        ("classic", "ed25519"),
        ("classic", "dev"),
        ("bundle", "dev"),
    } <= seen


def test_one_changed_byte_is_nobodys_signature_though_the_hint_names_dev():
    fact = derive_fact(recorded("checkout-tracker", 0)[2], ring())
    assert fact.verified_by == ()
    assert ring().names[fact.key_hint] == "dev"


def test_a_copied_signature_is_good_and_names_another_image():
    image, _, evidence = recorded("data-report", 0)
    fact = derive_fact(evidence, ring())
    assert names(fact) == ["dev"]
    signed = next(entry for entry in IMAGES if entry["name"] == "data-report-signed")
    assert fact.subjects == (signed["digest"],) != (image["digest"],)


def test_three_layers_of_one_digest_are_three_pieces_of_evidence():
    ids = {recorded("payments-settle", number)[2].id for number in range(3)}
    layers = {recorded("payments-settle", number)[1]["layer"] for number in range(3)}
    assert (len(ids), len(layers)) == (3, 1)


@pytest.mark.parametrize("name", ["payments-notify", "checkout-notify"])
def test_annotations_are_read_from_both_generations(name):
    assert dict(derive_fact(recorded(name, 0)[2], ring()).annotations)["env"] == "prod"


@pytest.mark.parametrize(("name", "number"), SIGNED, ids=[f"{name}-{number}" for name, number in SIGNED])
def test_without_the_key_it_is_nobodys(name, number):
    _, signer, evidence = recorded(name, number)
    others = key_set((ring().names[i], key) for i, key in ring().keys.items() if ring().names[i] != signer["key"])
    fact = derive_fact(evidence, others)
    assert (fact.verified_by, fact.problem) == ((), "")


def test_the_test_signer_writes_what_cosign_writes():
    """verifier.testing is byte-compatible: the same payload for the same claims, and the same members in a bundle."""
    image, _, classic = recorded("payments-notify", 0)
    optional = json.loads(classic.payload)["optional"]
    assert simple_signing_payload(classic.repository, image["digest"], optional) == classic.payload
    image, _, bundle = recorded("checkout-notify", 0)
    theirs, ours = (
        json.loads(e.payload) for e in (bundle, Signer("dev").sign_bundle("r", image["digest"], {"env": "prod"}))
    )
    assert shape(theirs) == shape(ours)
    bodies = [json.loads(b64decode(document["dsseEnvelope"]["payload"])) for document in (theirs, ours)]
    assert bodies[0] == bodies[1]


def shape(value: object) -> object:
    """Member names and types, without the values and without members of no consequence."""
    if isinstance(value, dict):
        return {name: shape(part) for name, part in value.items() if name != "keyid"}
    return [shape(part) for part in value] if isinstance(value, list) else type(value).__name__
