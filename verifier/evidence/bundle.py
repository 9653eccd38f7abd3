"""The Sigstore bundle as cosign v3 stores it beside an image (protobuf-specs sigstore_bundle.proto, JSON form).

    {"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
     "verificationMaterial": {"publicKey": {"hint": "<base64 of the key id>"}},
     "dsseEnvelope": {"payload": "…", "payloadType": "application/vnd.in-toto+json", "signatures": [{"sig": "…"}]}}

The hint is not authenticated: it says whose signature this claims to be and decides nothing. Log entries and timestamps
are counted and not read by this version; a bundle with a certificate is unsupported unless a given key matches.
"""

from __future__ import annotations

from typing import Final

import msgspec

from verifier.errors import EvidenceError
from verifier.evidence.base64text import decode_base64
from verifier.evidence.content import CERTIFICATE_UNREAD, SignedContent, excerpt
from verifier.evidence.dsse import Envelope, read_envelope
from verifier.evidence.limits import CERTIFICATES, ENVELOPE_BYTES, LOG_ENTRIES, TIMESTAMPS
from verifier.evidence.strictjson import StrictDecoder
from verifier.models import Evidence
from verifier.reference import is_digest

MEDIA_TYPES: Final = frozenset(
    {"application/vnd.dev.sigstore.bundle.v0.3+json"}
    | {f"application/vnd.dev.sigstore.bundle+json;version=0.{minor}" for minor in (1, 2, 3)}
)
MEDIA_TYPE_PREFIX: Final = "application/vnd.dev.sigstore.bundle"

_MALFORMED: Final = "bundle-malformed"
_KEY_ID_BYTES: Final = 32


class KeyHint(msgspec.Struct, frozen=True, gc=False):
    """`publicKey`: recommended, not required, is base64 of the SHA-256 of the SubjectPublicKeyInfo."""

    hint: str | None = None


class CertificateChain(msgspec.Struct, frozen=True, gc=False):
    """`x509CertificateChain`, counted only."""

    certificates: tuple[object, ...] = ()


class Timestamps(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """`timestampVerificationData`, counted only."""

    rfc3161_timestamps: tuple[object, ...] | None = msgspec.field(name="rfc3161Timestamps", default=None)


class Material(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """`verificationMaterial`; null is absence in protobuf's JSON."""

    public_key: KeyHint | None = None
    certificate: object = None
    x509_certificate_chain: CertificateChain | None = msgspec.field(name="x509CertificateChain", default=None)
    tlog_entries: tuple[object, ...] | None = None
    timestamp_verification_data: Timestamps | None = None


class MessageDigest(msgspec.Struct, frozen=True, gc=False):
    """`messageDigest`: identifies, proves nothing."""

    algorithm: str
    digest: str


class MessageSignature(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """`messageSignature`: over the artifact itself, here the manifest."""

    signature: str
    message_digest: MessageDigest | None = None


class Bundle(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """A bundle as written."""

    media_type: str
    verification_material: Material
    message_signature: MessageSignature | None = None
    dsse_envelope: Envelope | None = None


_BUNDLE: Final = StrictDecoder(Bundle, _MALFORMED)


def read_bundle(evidence: Evidence) -> SignedContent:
    """A bundle: one signer, one content, one signature (cosign specs/BUNDLE_SPEC.md).

    Raises:
        EvidenceError: `bundle-malformed`, `payload-malformed`, `payload-digest-mismatch`, `signature-malformed`,
            `unsupported-evidence` or `limit-exceeded`.
    """
    bundle = _BUNDLE.decode(evidence.payload, limit=ENVELOPE_BYTES)
    _check_media_type(bundle.media_type)
    _check_counts(bundle.verification_material)
    hint, unsupported = _signer(bundle.verification_material)
    envelope, message = bundle.dsse_envelope, bundle.message_signature
    if message is not None and envelope is None:
        return _message_signature(message, evidence.subject, hint, unsupported)
    if message is not None or envelope is None:
        raise EvidenceError(_MALFORMED, "expected exactly one of messageSignature and dsseEnvelope")
    if len(envelope.signatures) != 1:
        raise EvidenceError(_MALFORMED, f"a bundle has exactly one DSSE signature, got {len(envelope.signatures)}")
    return read_envelope(envelope, decode_base64, evidence.subject, key_hint=hint, unsupported=unsupported)


def _check_media_type(media_type: str) -> None:
    if media_type in MEDIA_TYPES:
        return
    if media_type.startswith(MEDIA_TYPE_PREFIX):
        raise EvidenceError("unsupported-evidence", f"bundle version {excerpt(media_type)} is not known")
    raise EvidenceError(_MALFORMED, f"mediaType {excerpt(media_type)} is no bundle's")


def _signer(material: Material) -> tuple[str, str]:
    """(key id hinted at, why it may be unsupported)."""
    given = [material.public_key, material.certificate, material.x509_certificate_chain]
    if sum(part is not None for part in given) != 1:
        raise EvidenceError(_MALFORMED, "expected exactly one of publicKey, certificate and x509CertificateChain")
    if material.public_key is not None:
        return _key_id(material.public_key.hint), ""
    return "", CERTIFICATE_UNREAD


def _key_id(hint: str | None) -> str:
    """The hint as a hex key id, if it is one: the format leaves its content to the signer."""
    try:
        raw = decode_base64(hint, "hint", _MALFORMED)
    except EvidenceError:
        return ""
    return raw.hex() if len(raw) == _KEY_ID_BYTES else ""


def _check_counts(material: Material) -> None:
    chain, stamps = material.x509_certificate_chain, material.timestamp_verification_data
    for what, entries, limit in (
        ("log entries", material.tlog_entries, LOG_ENTRIES),
        ("timestamps", stamps.rfc3161_timestamps if stamps else None, TIMESTAMPS),
        ("certificates", chain.certificates if chain else None, CERTIFICATES),
    ):
        if entries is not None and len(entries) > limit:
            raise EvidenceError("limit-exceeded", f"{len(entries)} {what}, limit {limit}")


def _message_signature(message: MessageSignature, subject: str, hint: str, unsupported: str) -> SignedContent:
    """A signature over the manifest itself, of which the digest it was found for is known.

    The digest inside the bundle only identifies: verifying against it would let anybody show a "good" signature, since
    for ECDSA a valid (digest, signature) pair can be computed from the public key alone. So it must be the subject's.
    """
    if not is_digest(subject):
        raise EvidenceError("unsupported-evidence", f"found for {excerpt(subject)}, expected sha256:<64 hex>")
    if message.message_digest is not None:
        _check_digest(message.message_digest, subject)
    return SignedContent(
        kind="signature",
        signatures=(decode_base64(message.signature, "messageSignature.signature", "signature-malformed"),),
        subjects=(subject,),
        message_sha256=bytes.fromhex(subject.removeprefix("sha256:")),
        key_hint=hint,
        unsupported=unsupported,
    )


def _check_digest(named: MessageDigest, subject: str) -> None:
    if named.algorithm != "SHA2_256":
        found = excerpt(named.algorithm)
        raise EvidenceError("unsupported-evidence", f"messageDigest.algorithm is {found}, expected SHA2_256")
    digest = "sha256:" + decode_base64(named.digest, "messageDigest.digest", _MALFORMED).hex()
    if digest != subject:
        raise EvidenceError("payload-digest-mismatch", f"messageDigest is {digest[:71]}, found for {subject}")
