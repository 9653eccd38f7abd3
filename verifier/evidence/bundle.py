"""The Sigstore bundle as cosign v3 stores it beside an image (protobuf-specs sigstore_bundle.proto, JSON form).

    {"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
     "verificationMaterial": {"publicKey": {"hint": "<base64 of the key id>"}},
     "dsseEnvelope": {"payload": "…", "payloadType": "application/vnd.in-toto+json", "signatures": [{"sig": "…"}]}}

The hint is not authenticated: it says whose signature this claims to be and decides nothing. Certificates, log entries
and timestamps are read here and believed nowhere: `verifier.facts.proofs` checks them.
"""

from __future__ import annotations

from typing import Final

import msgspec

from verifier.errors import EvidenceError
from verifier.evidence.base64text import decode_base64
from verifier.evidence.content import excerpt
from verifier.evidence.dsse import Envelope, read_envelope
from verifier.evidence.limits import CERTIFICATES, ENVELOPE_BYTES, LOG_ENTRIES, TIMESTAMPS
from verifier.evidence.rekor import TlogEntry, bundle_entry, check_distinct
from verifier.evidence.signed import SignedContent
from verifier.evidence.strictjson import StrictDecoder
from verifier.evidence.x509 import load_certificate
from verifier.models import Evidence
from verifier.reference import is_digest

MEDIA_TYPES: Final = frozenset(
    {"application/vnd.dev.sigstore.bundle.v0.3+json"}
    | {f"application/vnd.dev.sigstore.bundle+json;version=0.{minor}" for minor in (1, 2, 3)}
)
MEDIA_TYPE_PREFIX: Final = "application/vnd.dev.sigstore.bundle"

PROMISE_SUFFICES: Final = frozenset({"application/vnd.dev.sigstore.bundle+json;version=0.1"})
"""Media types in which a log entry may do with a signed entry timestamp (sigstore_bundle.proto, `tlog_entries`)."""

NO_ROOT_INSIDE: Final = frozenset(f"application/vnd.dev.sigstore.bundle+json;version=0.{minor}" for minor in (1, 2))

_MALFORMED: Final = "bundle-malformed"
_KEY_ID_BYTES: Final = 32


class KeyHint(msgspec.Struct, frozen=True, gc=False):
    """`publicKey`: recommended, not required, is base64 of the SHA-256 of the SubjectPublicKeyInfo."""

    hint: str | None = None


class RawCertificate(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """`X509Certificate` (sigstore_common.proto)."""

    raw_bytes: str = ""


class CertificateChain(msgspec.Struct, frozen=True, gc=False):
    """`x509CertificateChain`, the signer's certificate first."""

    certificates: tuple[RawCertificate, ...] = ()


class SignedTimestamp(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """`RFC3161SignedTimestamp`: a TimeStampResp."""

    signed_timestamp: str = ""


class Timestamps(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """`timestampVerificationData`."""

    rfc3161_timestamps: tuple[SignedTimestamp, ...] | None = msgspec.field(name="rfc3161Timestamps", default=None)


class Material(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """`verificationMaterial`; null is absence in protobuf's JSON."""

    public_key: KeyHint | None = None
    certificate: RawCertificate | None = None
    x509_certificate_chain: CertificateChain | None = msgspec.field(name="x509CertificateChain", default=None)
    tlog_entries: tuple[TlogEntry, ...] | None = None
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
    material = bundle.verification_material
    _check_counts(material)
    content = _content(bundle, evidence.subject, _hint(material))
    stamps = material.timestamp_verification_data
    entries = tuple(bundle_entry(entry) for entry in material.tlog_entries or ())
    check_distinct(entries)
    return msgspec.structs.replace(
        content,
        certificates=_certificates(material, bundle.media_type),
        entries=entries,
        proof_needed=bundle.media_type not in PROMISE_SUFFICES,
        timestamps=tuple(
            decode_base64(stamp.signed_timestamp, "signedTimestamp", "timestamp-malformed")
            for stamp in (stamps.rfc3161_timestamps if stamps is not None else None) or ()
        ),
        stamped=content.signatures[0],
    )


def _content(bundle: Bundle, subject: str, hint: str) -> SignedContent:
    envelope, message = bundle.dsse_envelope, bundle.message_signature
    if message is not None and envelope is None:
        return _message_signature(message, subject, hint)
    if message is not None or envelope is None:
        raise EvidenceError(_MALFORMED, "expected exactly one of messageSignature and dsseEnvelope")
    if len(envelope.signatures) != 1:
        raise EvidenceError(_MALFORMED, f"a bundle has exactly one DSSE signature, got {len(envelope.signatures)}")
    return read_envelope(envelope, decode_base64, subject, key_hint=hint)


def _check_media_type(media_type: str) -> None:
    if media_type in MEDIA_TYPES:
        return
    if media_type.startswith(MEDIA_TYPE_PREFIX):
        raise EvidenceError("unsupported-evidence", f"bundle version {excerpt(media_type)} is not known")
    raise EvidenceError(_MALFORMED, f"mediaType {excerpt(media_type)} is no bundle's")


def _hint(material: Material) -> str:
    """The key id hinted at; empty for a certificate."""
    given = [material.public_key, material.certificate, material.x509_certificate_chain]
    if sum(part is not None for part in given) != 1:
        raise EvidenceError(_MALFORMED, "expected exactly one of publicKey, certificate and x509CertificateChain")
    return _key_id(material.public_key.hint) if material.public_key is not None else ""


def _certificates(material: Material, media_type: str) -> tuple[bytes, ...]:
    """The signer's certificate, and what came with it. A root inside is refused where the format forbids it."""
    if material.public_key is not None:
        return ()
    chain = material.x509_certificate_chain
    written = (material.certificate,) if material.certificate is not None else chain.certificates if chain else ()
    if not written:
        raise EvidenceError(_MALFORMED, "an empty certificate chain")
    found = tuple(load_certificate(decode_base64(c.raw_bytes, "rawBytes", "certificate-malformed")) for c in written)
    if media_type in NO_ROOT_INSIDE and any(c.subject == c.issuer for c in found[1:]):
        raise EvidenceError(_MALFORMED, "the certificate chain holds a root, which bundles before 0.3 must not")
    return tuple(certificate.der for certificate in found)


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


def _message_signature(message: MessageSignature, subject: str, hint: str) -> SignedContent:
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
    )


def _check_digest(named: MessageDigest, subject: str) -> None:
    if named.algorithm != "SHA2_256":
        found = excerpt(named.algorithm)
        raise EvidenceError("unsupported-evidence", f"messageDigest.algorithm is {found}, expected SHA2_256")
    digest = "sha256:" + decode_base64(named.digest, "messageDigest.digest", _MALFORMED).hex()
    if digest != subject:
        raise EvidenceError("payload-digest-mismatch", f"messageDigest is {digest[:71]}, found for {subject}")
