"""Hostile evidence, each row named after the attack: always a fact with a named answer, no exception, no signer."""

# ruff: noqa: E501 - one attack, one row, one line

import hashlib
import json
from base64 import b64decode, b64encode
from typing import cast

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier.evidence import limits
from verifier.evidence.identity import SIGNATURE_ANNOTATION, check_evidence_id
from verifier.facts.candidates import KeySet, key_set
from verifier.facts.derive import READERS, derive_fact
from verifier.models import Evidence, EvidenceFormat, Fact
from verifier.reasons import REASONS
from verifier.testing import BUNDLE_TYPE, Signer, compact, make_evidence, simple_signing_payload, statement

REPOSITORY = "registry.example.com/payments/api"
DIGEST = "sha256:" + hashlib.sha256(b"manifest").hexdigest()
OTHER = "sha256:" + "0" * 64
DEV, OPS = Signer("dev"), Signer("ops")
KEYS: KeySet = key_set([("dev", DEV.public_key), ("ops", OPS.public_key)])
SUBJECT = {"digest": {"sha256": DIGEST[7:]}}
SIGN = "https://sigstore.dev/cosign/sign/v1"
LOG_ENTRY = {"logId": {"keyId": "AAAA"}, "kindVersion": {"kind": "a", "version": "1"}, "canonicalizedBody": ""}

GOOD_PAYLOAD = simple_signing_payload(REPOSITORY, DIGEST, {"env": "prod"})


def layer(payload: bytes, signature: bytes | str | None = None, **annotations: str) -> Evidence:
    """A `.sig` layer whose signature by dev is good, unless one is given (text: the annotation as it is)."""
    if not isinstance(signature, str):
        signature = b64encode(DEV.sign(payload) if signature is None else signature).decode()
    carried = {SIGNATURE_ANNOTATION: signature, **annotations}
    return make_evidence("cosign-simplesigning", REPOSITORY, DIGEST, payload, carried)


def edited(**changes: object) -> Evidence:
    """A `.sig` layer, signed by dev, with members of `critical` replaced."""
    payload = json.loads(GOOD_PAYLOAD)
    payload["critical"] |= changes
    return layer(compact(payload))


def envelope(**changes: object) -> Evidence:
    """A good attestation layer of dev, with members of the envelope replaced."""
    body = statement([SUBJECT], "https://spdx.dev/Document", {})
    return make_evidence("cosign-dsse", REPOSITORY, DIGEST, compact(DEV.envelope(body) | changes))


def stated(**changes: object) -> Evidence:
    """A bundle of dev around a statement with members replaced; dev signs what it says."""
    body = json.loads(statement([SUBJECT], SIGN, {})) | changes
    return bundled(DEV.envelope(compact({name: value for name, value in body.items() if value != "ABSENT"})))


def bundled(content: object, kind: str = "dsseEnvelope", **changes: object) -> Evidence:
    payload = json.loads(DEV.bundle({}, kind)) | {kind: content} | changes
    return make_evidence("sigstore-bundle", REPOSITORY, DIGEST, compact(payload))


def raw_bundle(payload: bytes) -> Evidence:
    return make_evidence("sigstore-bundle", REPOSITORY, DIGEST, payload)


ENVELOPE = DEV.envelope(statement([SUBJECT], SIGN, {}))
HINT = {"publicKey": {"hint": b64encode(bytes.fromhex(DEV.key_id)).decode()}}
MANIFEST_SIGNATURE = b64encode(DEV.sign(b"manifest")).decode()
DER = DEV.sign(GOOD_PAYLOAD)


def nested(depth: int) -> object:
    value: object = None
    for _ in range(depth):
        value = [value]
    return value


BROKEN = [
    # simple signing
    ("digest twice, the second another image's", layer(GOOD_PAYLOAD.replace(b'"}', b'","docker-manifest-digest":"' + OTHER.encode() + b'"}', 2)), "payload-malformed"),
    ("critical twice", layer(GOOD_PAYLOAD[:-1] + b',"critical":' + GOOD_PAYLOAD[12:]), "payload-malformed"),
    ("a second document behind the first", layer(GOOD_PAYLOAD + GOOD_PAYLOAD), "payload-malformed"),
    ("zeros behind the document", layer(GOOD_PAYLOAD + b"\0\0"), "payload-malformed"),
    ("members in capitals that Go would read", layer(GOOD_PAYLOAD.replace(b'"image"', b'"Image"')), "payload-malformed"),
    ("a second image in capitals", layer(GOOD_PAYLOAD.replace(b'"type"', b'"IMAGE":{"docker-manifest-digest":"x"},"type"')), "payload-malformed"),
    ("nested deeper than allowed", layer(compact({**json.loads(GOOD_PAYLOAD), "optional": {"a": nested(99)}})), "limit-exceeded"),
    ("nested a hundred thousand deep", layer(b"[" * 100_000), "limit-exceeded"),
    ("ten megabytes", layer(GOOD_PAYLOAD[:-1] + b" " * 10_000_000 + b"}"), "limit-exceeded"),
    ("invalid UTF-8", layer(GOOD_PAYLOAD.replace(b"prod", b"\xff\xfe")), "payload-malformed"),
    ("a lone surrogate", layer(GOOD_PAYLOAD.replace(b"prod", b"\\ud800")), "payload-malformed"),
    ("a byte-order mark", layer(b"\xef\xbb\xbf" + GOOD_PAYLOAD), "payload-malformed"),
    ("NaN", layer(GOOD_PAYLOAD.replace(b'"prod"', b"NaN")), "payload-malformed"),
    ("no document", layer(b""), "payload-malformed"),
    ("a list", layer(b"[]"), "payload-malformed"),
    ("no digest", edited(image={}), "payload-malformed"),
    ("a digest that is a number", edited(image={"docker-manifest-digest": 7}), "payload-malformed"),
    ("a digest in capitals", edited(image={"docker-manifest-digest": DIGEST.upper()}), "payload-malformed"),
    ("a digest with a line end", edited(image={"docker-manifest-digest": DIGEST + "\n"}), "payload-malformed"),
    ("no identity", edited(identity=None), "payload-malformed"),
    ("a reference of a megabyte", edited(identity={"docker-reference": "a" * 900_000}), "limit-exceeded"),
    ("annotations in a list", layer(GOOD_PAYLOAD.replace(b'{"env":"prod"}', b'["env"]')), "payload-malformed"),
    ("a thousand annotations", DEV.sign_simple(REPOSITORY, DIGEST, {f"a{n}": "x" for n in range(1000)}), "limit-exceeded"),
    ("an annotation of 100 KB", DEV.sign_simple(REPOSITORY, DIGEST, {"a": "x" * 100_000}), "limit-exceeded"),
    ("the type of another tool", edited(type="atomic container signature"), "unsupported-evidence"),
    ("a certificate beside an unknown signature", layer(GOOD_PAYLOAD, Signer("x").sign(GOOD_PAYLOAD), **{"dev.sigstore.cosign/certificate": "-----BEGIN"}), "certificate-malformed"),
    # the annotation
    ("no signature", make_evidence("cosign-simplesigning", REPOSITORY, DIGEST, GOOD_PAYLOAD), "signature-malformed"),
    ("an empty signature", layer(GOOD_PAYLOAD, ""), "signature-malformed"),
    ("white space for a signature", layer(GOOD_PAYLOAD, " \n"), "signature-malformed"),
    ("no base64", layer(GOOD_PAYLOAD, "MEUC*"), "signature-malformed"),
    ("base64 with left-over bits", layer(GOOD_PAYLOAD, "QR=="), "signature-malformed"),
    ("base64 with data behind the padding", layer(GOOD_PAYLOAD, b64encode(DER[:-1]).decode() + "AAAA"), "signature-malformed"),
    ("base64 of another script", layer(GOOD_PAYLOAD, "МЕUС"), "signature-malformed"),
    ("a lone surrogate for a signature", Evidence("sha256:x", "cosign-simplesigning", REPOSITORY, DIGEST, GOOD_PAYLOAD, {SIGNATURE_ANNOTATION: "\ud800"}), "signature-malformed"),
    ("a signature of 10 MB", layer(GOOD_PAYLOAD, "A" * 10_000_000), "limit-exceeded"),
    ("truncated DER", layer(GOOD_PAYLOAD, DER[:-1]), "signature-malformed"),
    ("DER with a byte behind it", layer(GOOD_PAYLOAD, DER + b"\0"), "signature-malformed"),
    ("DER with a long length", layer(GOOD_PAYLOAD, b"\x30\x81" + DER[1:]), "signature-malformed"),
    ("a DER length of 4 GB", layer(GOOD_PAYLOAD, b"\x30\x84\xff\xff\xff\xff" + DER[2:]), "signature-malformed"),
    ("negative r", layer(GOOD_PAYLOAD, bytes.fromhex("3006020181020101")), "signature-malformed"),
    ("a signature larger than any key", layer(GOOD_PAYLOAD, b"\1" * 4096), "signature-malformed"),
    # DSSE
    ("an envelope without signatures", envelope(signatures=[]), "signature-malformed"),
    ("an envelope of a thousand signatures", envelope(signatures=[{"sig": "AAAA"}] * 1000), "limit-exceeded"),
    ("a payload type nobody knows", envelope(payloadType="text/plain"), "unsupported-evidence"),
    ("a payload that is no text", envelope(payload=None), "payload-malformed"),
    ("a payload that is no base64", envelope(payload="*"), "payload-malformed"),
    ("an envelope member twice", make_evidence("cosign-dsse", REPOSITORY, DIGEST, envelope().payload[:-1] + b',"payload":"e30="}'), "payload-malformed"),
    ("an envelope beyond the limit", make_evidence("cosign-dsse", REPOSITORY, DIGEST, b" " * (limits.ENVELOPE_BYTES + 1)), "limit-exceeded"),
    ("a statement that is no JSON", bundled(DEV.envelope(b"statement")), "payload-malformed"),
    ("a statement with its subject twice", bundled(DEV.envelope(statement([SUBJECT], SIGN, {})[:-1] + b',"subject":[]}')), "payload-malformed"),
    ("duplicates inside a predicate nobody reads", bundled(DEV.envelope(statement([SUBJECT], SIGN, {})[:-3] + b'{"a":1,"a":2}}')), "payload-malformed"),
    ("a statement of no known type", stated(_type="https://in-toto.io/Statement/v2"), "unsupported-evidence"),
    ("a statement without subjects", stated(subject=[]), "payload-malformed"),
    ("a statement about nothing with SHA-256", stated(subject=[{"digest": {"gitCommit": "abc"}}]), "payload-malformed"),
    ("only null subjects", stated(subject=[None, None]), "payload-malformed"),
    ("a subject without digest", stated(subject=[{"name": REPOSITORY}]), "payload-malformed"),
    ("a subject digest with its algorithm in front", stated(subject=[{"digest": {"sha256": DIGEST}}]), "payload-malformed"),
    ("ten thousand subjects", stated(subject=[SUBJECT] * 10_000), "limit-exceeded"),
    ("two values of an annotation for one digest", stated(subject=[SUBJECT | {"annotations": {"env": e}} for e in ("dev", "prod")]), "payload-malformed"),
    ("no predicate type", stated(predicateType="ABSENT"), "payload-malformed"),
    ("an empty predicate type", stated(predicateType=""), "payload-malformed"),
    ("a predicate type of 2000 characters", stated(predicateType="x" * 2000), "limit-exceeded"),
    # bundles
    ("two DSSE signatures", bundled(ENVELOPE | {"signatures": ENVELOPE["signatures"] * 2}), "bundle-malformed"),
    ("no DSSE signature", bundled(ENVELOPE | {"signatures": []}), "bundle-malformed"),
    ("both contents", bundled(ENVELOPE, messageSignature={"signature": MANIFEST_SIGNATURE}), "bundle-malformed"),
    ("no content", bundled(None), "bundle-malformed"),
    ("no verification material", bundled(ENVELOPE, verificationMaterial=None), "bundle-malformed"),
    ("no signer", bundled(ENVELOPE, verificationMaterial={}), "bundle-malformed"),
    ("a key and a certificate", bundled(ENVELOPE, verificationMaterial=HINT | {"certificate": {"rawBytes": ""}}), "bundle-malformed"),
    ("a thousand log entries", bundled(ENVELOPE, verificationMaterial=HINT | {"tlogEntries": [LOG_ENTRY] * 1000}), "limit-exceeded"),
    ("a thousand timestamps", bundled(ENVELOPE, verificationMaterial=HINT | {"timestampVerificationData": {"rfc3161Timestamps": [{}] * 1000}}), "limit-exceeded"),
    ("a thousand certificates", bundled(ENVELOPE, verificationMaterial={"x509CertificateChain": {"certificates": [{}] * 1000}}), "limit-exceeded"),
    ("log entries that are no list", bundled(ENVELOPE, verificationMaterial=HINT | {"tlogEntries": {}}), "bundle-malformed"),
    ("a bundle of a later version", bundled(ENVELOPE, mediaType="application/vnd.dev.sigstore.bundle.v0.4+json"), "unsupported-evidence"),
    ("a media type that is no bundle's", bundled(ENVELOPE, mediaType="application/json"), "bundle-malformed"),
    ("URL base64 in a bundle", bundled(ENVELOPE | {"payload": "_-8="}), "payload-malformed"),
    ("a certificate, signed by nobody known", bundled(Signer("x").envelope(statement([SUBJECT], SIGN, {})), verificationMaterial={"certificate": {"rawBytes": "AAAA"}}), "certificate-malformed"),
    ("a bundle that is no JSON", raw_bundle(b"\x00\x01"), "bundle-malformed"),
    ("a bundle with a member twice", raw_bundle(DEV.bundle(ENVELOPE)[:-1] + b',"mediaType":"' + BUNDLE_TYPE.encode() + b'"}'), "bundle-malformed"),
    ("a signature over another manifest's digest", bundled({"signature": MANIFEST_SIGNATURE, "messageDigest": {"algorithm": "SHA2_256", "digest": b64encode(b"\0" * 32).decode()}}, "messageSignature"), "payload-digest-mismatch"),
    ("a digest of another algorithm", bundled({"signature": MANIFEST_SIGNATURE, "messageDigest": {"algorithm": "SHA2_512", "digest": "AAAA"}}, "messageSignature"), "unsupported-evidence"),
    # the frame
    ("a format nobody knows", Evidence("sha256:x", cast("EvidenceFormat", "notation"), REPOSITORY, DIGEST, b"{}"), "unsupported-evidence"),
    ("a manifest's signature, found for something that is no digest", Evidence("sha256:x", "sigstore-bundle", REPOSITORY, "latest", DEV.bundle({"signature": MANIFEST_SIGNATURE}, "messageSignature")), "unsupported-evidence"),
]  # fmt: skip


@pytest.mark.parametrize(("attack", "evidence", "code"), BROKEN, ids=[row[0] for row in BROKEN])
def test_broken_evidence_is_named(attack, evidence, code):
    fact = derive_fact(evidence, KEYS)
    assert fact.problem == code, fact.problem_detail
    assert fact.verified_by == ()
    assert fact.algorithm == ""
    assert code in REASONS
    assert fact.problem_detail
    assert fact.problem_detail.isprintable()
    assert fact.problem_detail.isascii()
    assert len(fact.problem_detail) < 300
    assert derive_fact(evidence, key_set([])).problem == code, "whatever the keys"


STRANGE = [
    ("a payload of another image", layer(simple_signing_payload(REPOSITORY, OTHER), DER), "readable, signed by nobody"),
    ("dev's signature on an edited payload", layer(GOOD_PAYLOAD.replace(b"prod", b"test"), DER), "the bytes differ"),
    ("dev's signature on the same document with spaces", layer(json.dumps(json.loads(GOOD_PAYLOAD)).encode(), DER), "bytes are signed, not meanings"),
    ("the hint names another key", bundled(OPS.envelope(statement([SUBJECT], SIGN, {}))), "ops signed, dev is hinted at"),
    ("an attestation's signature on a signature", bundled(ENVELOPE | {"payload": b64encode(statement([SUBJECT], SIGN, {"a": 1})).decode()}), ""),
    ("the envelope's signature without pre-authentication encoding", bundled(ENVELOPE | {"signatures": [{"sig": b64encode(DEV.sign(b64decode(str(ENVELOPE["payload"])))).decode()}]}), ""),
    ("a signature of zeros", layer(GOOD_PAYLOAD, bytes.fromhex("3006020100020100")), "r = s = 0"),
    ("raw zeros", layer(GOOD_PAYLOAD, b"\0" * 64), "r = s = 0, P1363"),
    ("a manifest's signature for another manifest", bundled({"signature": b64encode(DEV.sign(b"other")).decode()}, "messageSignature"), "found for DIGEST, made for another"),
]  # fmt: skip


@pytest.mark.parametrize(("attack", "evidence", "why"), STRANGE, ids=[row[0] for row in STRANGE])
def test_well_formed_evidence_that_nobody_signed(attack, evidence, why):
    fact = derive_fact(evidence, key_set([("dev", DEV.public_key)]))
    assert (fact.verified_by, fact.problem) == ((), ""), why


def test_a_wrong_hint_does_not_hide_the_signer():
    fact = derive_fact(bundled(OPS.envelope(statement([SUBJECT], SIGN, {}))), KEYS)
    assert (fact.verified_by, fact.key_hint) == ((OPS.key_id,), DEV.key_id)


@pytest.mark.parametrize("hint", ["", "AAAA", "not base64", None, "A" * 100_000])
def test_a_hint_that_is_no_key_id_is_no_hint(hint):
    fact = derive_fact(bundled(ENVELOPE, verificationMaterial={"publicKey": {"hint": hint}}), KEYS)
    assert (fact.verified_by, fact.key_hint) == ((DEV.key_id,), "")


def test_a_signature_for_any_digest_can_be_computed_and_is_not_believed():
    """ECDSA without the message: from the public key alone anybody gets (digest, signature) that verifies.

    r = x(u*G + v*Q), s = r/v, digest = u*r/v. So a bundle may only be checked against the digest it was found for.
    With v = 1 and u = 0 this is r = x(Q), s = r, digest = 0.
    """
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    key = load_pem_public_key(DEV.pem.encode())
    assert isinstance(key, ec.EllipticCurvePublicKey)
    r = key.public_numbers().x % order
    forged = encode_dss_signature(r, r)
    assert DEV.public_key.verify_digest(forged, b"\0" * 32) == "ecdsa-p256-sha256", "the forgery works on a bare digest"
    digest = {"algorithm": "SHA2_256", "digest": b64encode(b"\0" * 32).decode()}
    fact = derive_fact(
        bundled({"signature": b64encode(forged).decode(), "messageDigest": digest}, "messageSignature"), KEYS
    )
    assert (fact.verified_by, fact.problem) == ((), "payload-digest-mismatch")


# --------------------------------------------------------------------------------------------------------------- fuzz

VALID = [
    DEV.sign_simple(REPOSITORY, DIGEST, {"env": "prod"}),
    DEV.sign_bundle(REPOSITORY, DIGEST, {"env": "prod"}),
    DEV.attest(REPOSITORY, DIGEST),
    DEV.sign_manifest(REPOSITORY, DIGEST, b"manifest"),
]


def what_it_says(fact: Fact) -> tuple:
    return fact.kind, fact.subjects, fact.predicate_type, fact.annotations, fact.signed_repository


def with_payload(evidence: Evidence, payload: bytes, annotations: dict[str, str] | None = None) -> Evidence:
    carried = evidence.annotations if annotations is None else annotations
    return make_evidence(evidence.format, evidence.repository, evidence.subject, payload, carried)


@settings(max_examples=150)
@given(st.sampled_from(VALID), st.binary(max_size=200), st.text(max_size=100))
def test_arbitrary_bytes_are_answered(evidence, payload, text):
    fact = derive_fact(with_payload(evidence, payload, {SIGNATURE_ANNOTATION: text}), KEYS)
    assert fact.verified_by == ()
    assert fact.problem in REASONS


@settings(max_examples=200)
@given(st.sampled_from(VALID), st.data())
def test_changed_bytes_are_unsigned_or_say_the_same(evidence, data):
    """Bytes outside what is signed (spaces of a bundle, an unread member) may change; what the fact states may not."""
    payload = bytearray(evidence.payload)
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(payload) - 1))
        payload[position : position + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    fact = derive_fact(with_payload(evidence, bytes(payload)), KEYS)
    if fact.verified_by:
        assert what_it_says(fact) == what_it_says(derive_fact(evidence, KEYS))
        assert evidence.format != "cosign-simplesigning" or bytes(payload) == evidence.payload


@settings(max_examples=100)
@given(st.integers(0, 71), st.integers(0, 255))
def test_a_changed_signature_is_nobodys(position, byte):
    evidence = VALID[0]
    signature = bytearray(b64decode(evidence.annotations[SIGNATURE_ANNOTATION]))
    position %= len(signature)
    unchanged, signature[position] = signature[position] == byte, byte
    changed = with_payload(evidence, evidence.payload, {SIGNATURE_ANNOTATION: b64encode(signature).decode()})
    assert bool(derive_fact(changed, KEYS).verified_by) == unchanged


@settings(max_examples=100)
@given(
    st.sampled_from(VALID[1:]),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just("e30="),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
        max_leaves=6,
    ),
    st.data(),
)
def test_any_member_may_be_anything(evidence, value, data):
    """Types are checked everywhere: one member of the document, at any depth, is replaced by any JSON."""
    document = json.loads(evidence.payload)
    parent, keys = document, []
    while isinstance(parent, dict | list) and parent:
        keys.append(data.draw(st.sampled_from(sorted(parent) if isinstance(parent, dict) else range(len(parent)))))
        if data.draw(st.booleans()) or not isinstance(parent[keys[-1]], dict | list) or not parent[keys[-1]]:
            break
        parent = parent[keys[-1]]
    parent[keys[-1]] = value
    fact = derive_fact(with_payload(evidence, compact(document)), KEYS)
    if fact.verified_by:
        assert what_it_says(fact) == what_it_says(derive_fact(evidence, KEYS))


KNOWN = [row[:2] for row in BROKEN + STRANGE if row[1].format in READERS]


@pytest.mark.parametrize(("attack", "evidence"), KNOWN, ids=[row[0] for row in KNOWN])
def test_every_fact_survives_the_wire(attack, evidence):
    fact = derive_fact(evidence, KEYS)
    assert msgspec.json.decode(msgspec.json.encode(fact), type=Fact) == fact
    assert evidence.id == "sha256:x" or check_evidence_id(evidence)
