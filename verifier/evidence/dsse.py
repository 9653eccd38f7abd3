"""DSSE envelopes and in-toto statements (secure-systems-lab/dsse protocol.md; in-toto Statement v0.1 and v1).

    read_dsse(evidence)                   one layer of a classic `.att` manifest
    pae("application/vnd.in-toto+json", body)      the bytes a DSSE signature is over

Only a statement of type `https://sigstore.dev/cosign/sign/v1` is a signature of the image; every other statement says
something about the image and is an attestation, whoever signed it. Predicates are not interpreted here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from verifier.errors import EvidenceError
from verifier.evidence.base64text import decode_any_base64
from verifier.evidence.content import excerpt, text_annotations
from verifier.evidence.limits import ENVELOPE_BYTES, ENVELOPE_SIGNATURES, NAME_CHARACTERS, SUBJECTS
from verifier.evidence.signed import SignedContent
from verifier.evidence.simplesigning import read_carried
from verifier.evidence.strictjson import StrictDecoder
from verifier.models import Evidence
from verifier.reference import is_digest

IN_TOTO_TYPE: Final = "application/vnd.in-toto+json"
STATEMENT_TYPES: Final = frozenset({"https://in-toto.io/Statement/v0.1", "https://in-toto.io/Statement/v1"})
SIGN_PREDICATE: Final = "https://sigstore.dev/cosign/sign/v1"
"""Predicate type of what `cosign sign` writes since v3."""


class EnvelopeSignature(msgspec.Struct, frozen=True, gc=False):
    """One entry of `signatures`. Its `keyid` is an unauthenticated hint in no fixed form, and is not read."""

    sig: str


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """A DSSE envelope as written."""

    payload: str
    payload_type: str = msgspec.field(name="payloadType")
    signatures: tuple[EnvelopeSignature, ...]


class Subject(msgspec.Struct, frozen=True, gc=False):
    """One entry of `subject`; `name` is the signer's word and decides nothing."""

    digest: dict[str, str]
    annotations: dict[str, object] | None = None


class Statement(msgspec.Struct, frozen=True, gc=False):
    """An in-toto statement; the predicate stays what it is until a policy needs it."""

    type: str = msgspec.field(name="_type")
    subject: tuple[Subject | None, ...]
    predicate_type: str = msgspec.field(name="predicateType")
    predicate: object = None


_ENVELOPE: Final = StrictDecoder(Envelope)
_STATEMENT: Final = StrictDecoder(Statement)

Base64Reader = Callable[[object, str, str], bytes]


def pae(payload_type: str, body: bytes) -> bytes:
    """Pre-authentication encoding, DSSE protocol.md: lengths are decimal byte counts."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(body), body)


def read_dsse(evidence: Evidence) -> SignedContent:
    """A classic attestation layer: the envelope is the layer's bytes, as stored (cosign specs/ATTESTATION_SPEC.md).

    Raises:
        EvidenceError: `payload-malformed`, `signature-malformed`, `unsupported-evidence` or `limit-exceeded`.
    """
    envelope = _ENVELOPE.decode(evidence.payload, limit=ENVELOPE_BYTES)
    if len(envelope.signatures) > ENVELOPE_SIGNATURES:
        raise EvidenceError(
            "limit-exceeded", f"{len(envelope.signatures)} signatures in one envelope, limit {ENVELOPE_SIGNATURES}"
        )
    content = read_envelope(envelope, decode_any_base64, evidence.subject)
    carried = read_carried(evidence.annotations)
    # cosign stamps the whole envelope here, because the annotation that elsewhere carries the signature is empty.
    return msgspec.structs.replace(content, envelope=evidence.payload, stamped=evidence.payload, **carried)


def read_envelope(envelope: Envelope, base64: Base64Reader, located_at: str, *, key_hint: str = "") -> SignedContent:
    """What an envelope signs.

    Args:
        envelope: payload and signatures still in base64.
        base64: the spelling of base64 its format allows.
        located_at: digest the evidence was found for; annotations are those of this subject.
        key_hint: key id the evidence names, if any.

    Raises:
        EvidenceError: `payload-malformed`, `signature-malformed`, `unsupported-evidence` or `limit-exceeded`.
    """
    if envelope.payload_type != IN_TOTO_TYPE:
        found = excerpt(envelope.payload_type)
        raise EvidenceError("unsupported-evidence", f"payloadType is {found}, expected {IN_TOTO_TYPE}")
    if not envelope.signatures:
        raise EvidenceError("signature-malformed", "an envelope without signatures")
    payload = base64(envelope.payload, "payload", "payload-malformed")
    statement = _STATEMENT.decode(payload, limit=ENVELOPE_BYTES)
    _check_types(statement)
    subjects = _sha256_subjects(statement.subject)
    return SignedContent(
        kind="signature" if statement.predicate_type == SIGN_PREDICATE else "attestation",
        signatures=tuple(base64(entry.sig, "sig", "signature-malformed") for entry in envelope.signatures),
        subjects=tuple(dict.fromkeys(digest for digest, _ in subjects)),
        message=pae(envelope.payload_type, payload),
        payload=payload,
        predicate=statement.predicate,
        predicate_type=statement.predicate_type,
        annotations=text_annotations(_annotations(subjects, located_at)),
        key_hint=key_hint,
    )


def _check_types(statement: Statement) -> None:
    if statement.type not in STATEMENT_TYPES:
        raise EvidenceError("unsupported-evidence", f"_type {excerpt(statement.type)} is no known statement")
    if not statement.predicate_type:
        raise EvidenceError("payload-malformed", "predicateType is empty")
    if len(statement.predicate_type) > NAME_CHARACTERS:
        found = len(statement.predicate_type)
        raise EvidenceError("limit-exceeded", f"a predicateType of {found} characters, limit {NAME_CHARACTERS}")


def _sha256_subjects(entries: tuple[Subject | None, ...]) -> list[tuple[str, Subject]]:
    """(digest, subject) of the subjects that have a SHA-256 digest; nulls and other hashes are skipped."""
    if len(entries) > SUBJECTS:
        raise EvidenceError("limit-exceeded", f"{len(entries)} subjects, limit {SUBJECTS}")
    found = []
    for subject in entries:
        if subject is not None and "sha256" in subject.digest:
            digest = f"sha256:{subject.digest['sha256']}"
            if not is_digest(digest):
                raise EvidenceError("payload-malformed", f"subject digest {excerpt(digest)} is not sha256:<64 hex>")
            found.append((digest, subject))
    if not found:
        raise EvidenceError("payload-malformed", "the statement names no subject with a sha256 digest")
    return found


def _annotations(subjects: list[tuple[str, Subject]], located_at: str) -> dict[str, object]:
    """Annotations of the subject the evidence was found for, or of the only one; contradictions are refused."""
    merged: dict[str, object] = {}
    for digest, subject in subjects:
        if digest != located_at and len(subjects) > 1:
            continue
        for name, value in (subject.annotations or {}).items():
            if merged.setdefault(name, value) != value:
                raise EvidenceError("payload-malformed", f"annotation {excerpt(name)} has two values for one digest")
    return merged
