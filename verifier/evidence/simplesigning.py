"""cosign's classic signature: one layer of a `.sig` manifest (cosign specs/SIGNATURE_SPEC.md).

The payload is signed as it is; the signature travels in an annotation:

    {"critical": {"identity": {"docker-reference": "registry.example.com/app"},
                  "image": {"docker-manifest-digest": "sha256:…"},
                  "type": "cosign container image signature"},
     "optional": {"env": "prod"}}

Certificate, chain, log entry and timestamp stand in other annotations; `verifier.facts.proofs` checks them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final, TypedDict

import msgspec

from verifier.errors import EvidenceError, ImageReferenceError
from verifier.evidence.base64text import decode_spaced_base64
from verifier.evidence.content import excerpt, text_annotations
from verifier.evidence.identity import SIGNATURE_ANNOTATION
from verifier.evidence.limits import ANNOTATION_BYTES, CERTIFICATES, NAME_CHARACTERS, SIMPLE_SIGNING_BYTES
from verifier.evidence.rekor import LogEntry, annotation_entry
from verifier.evidence.signed import SignedContent
from verifier.evidence.strictjson import StrictDecoder
from verifier.evidence.x509 import load_pem_chain
from verifier.models import Evidence, Micros
from verifier.reference import is_digest, parse_reference

SIGNATURE_TYPE: Final = "cosign container image signature"
CERTIFICATE_ANNOTATION: Final = "dev.sigstore.cosign/certificate"
CHAIN_ANNOTATION: Final = "dev.sigstore.cosign/chain"
LOG_ANNOTATION: Final = "dev.sigstore.cosign/bundle"
TIMESTAMP_ANNOTATION: Final = "dev.sigstore.cosign/rfc3161timestamp"

_SIGNATURE: Final = f"annotation {SIGNATURE_ANNOTATION}"

_REPOSITORIES_CACHED: Final = 4096
"""Signed repository names kept normalised; at most 4 MB of names."""

_SECOND: Final = 1_000_000
_LATEST_SECOND: Final = 253_402_300_799
"""9999-12-31T23:59:59Z; a later claim is no time."""


class Identity(msgspec.Struct, frozen=True, gc=False, rename={"reference": "docker-reference"}):
    """`critical.identity`."""

    reference: str


class Image(msgspec.Struct, frozen=True, gc=False, rename={"digest": "docker-manifest-digest"}):
    """`critical.image`."""

    digest: str


class Critical(msgspec.Struct, frozen=True, gc=False):
    """`critical`: what every verifier must understand."""

    identity: Identity
    image: Image
    type: str


class Payload(msgspec.Struct, frozen=True, gc=False):
    """The signed document, members in the order cosign writes them."""

    critical: Critical
    optional: dict[str, object] | None = None


_PAYLOAD: Final = StrictDecoder(Payload)


def read_simple_signing(evidence: Evidence) -> SignedContent:
    """The layer. That its bytes have the digest of its descriptor was checked by whoever fetched it.

    Raises:
        EvidenceError: `signature-malformed`, `payload-malformed` or `limit-exceeded`.
    """
    signature = _signature(evidence.annotations)
    payload = _PAYLOAD.decode(evidence.payload, limit=SIMPLE_SIGNING_BYTES)
    critical, optional = payload.critical, payload.optional
    digest = critical.image.digest
    if not is_digest(digest):
        raise EvidenceError("payload-malformed", f"docker-manifest-digest {excerpt(digest)} is not sha256:<64 hex>")
    return SignedContent(
        kind="signature" if critical.type == SIGNATURE_TYPE else "unknown",
        signatures=(signature,),
        subjects=(digest,),
        message=evidence.payload,
        signed_repository=signed_repository(critical.identity.reference),
        annotations=text_annotations(optional),
        claimed_time=_claimed_time(optional["timestamp"]) if optional and "timestamp" in optional else None,
        unsupported=_unsupported(critical.type),
        stamped=signature,
        **read_carried(evidence.annotations),
    )


def _signature(annotations: Mapping[str, str]) -> bytes:
    text = annotations.get(SIGNATURE_ANNOTATION, "")
    if not text:
        raise EvidenceError("signature-malformed", f"{_SIGNATURE} is absent or empty")
    if len(text) > ANNOTATION_BYTES:
        raise EvidenceError("limit-exceeded", f"a signature annotation of {len(text)} bytes, limit {ANNOTATION_BYTES}")
    return decode_spaced_base64(text, _SIGNATURE, "signature-malformed")


@lru_cache(maxsize=_REPOSITORIES_CACHED)
def signed_repository(text: str) -> str:
    """The repository the signer named, normalised; as written when it is no reference, so that it equals none."""
    if len(text) > NAME_CHARACTERS:
        raise EvidenceError("limit-exceeded", f"a docker-reference of {len(text)} characters, limit {NAME_CHARACTERS}")
    try:
        return parse_reference(text).repository if text else ""
    except ImageReferenceError:
        return text


def _claimed_time(seconds: object) -> Micros | None:
    """`optional.timestamp`, whole seconds; anything else claims nothing. It is never trusted."""
    if isinstance(seconds, int) and not isinstance(seconds, bool) and 0 < seconds <= _LATEST_SECOND:
        return seconds * _SECOND
    return None


def _unsupported(found: str) -> str:
    return "" if found == SIGNATURE_TYPE else f"critical.type is {excerpt(found)}, expected {SIGNATURE_TYPE!r}"


class Carried(TypedDict, total=False):
    """Members of `SignedContent` that stand in annotations."""

    certificates: tuple[bytes, ...]
    entries: tuple[LogEntry, ...]
    timestamps: tuple[bytes, ...]


class _Timestamp(msgspec.Struct, frozen=True, gc=False):
    """`dev.sigstore.cosign/rfc3161timestamp`."""

    response: str = msgspec.field(name="SignedRFC3161Timestamp")


_TIMESTAMP: Final = StrictDecoder(_Timestamp, "timestamp-malformed")


def read_carried(annotations: Mapping[str, str]) -> Carried:
    """Certificate, chain, log entry and timestamp of the classic formats (cosign specs/SIGNATURE_SPEC.md).

    Raises:
        EvidenceError: `certificate-malformed`, `log-entry-malformed`, `timestamp-malformed` or `limit-exceeded`.
    """
    names = (CERTIFICATE_ANNOTATION, CHAIN_ANNOTATION, LOG_ANNOTATION, TIMESTAMP_ANNOTATION)
    leaf, chain, entry, stamp = (annotations.get(name, "") for name in names)
    carried = Carried()
    for name, text in zip(names, (leaf, chain, entry, stamp), strict=True):
        if len(text) > ANNOTATION_BYTES:
            raise EvidenceError("limit-exceeded", f"{name} of {len(text)} bytes, limit {ANNOTATION_BYTES}")
    if leaf:
        found = (*load_pem_chain(leaf), *(load_pem_chain(chain) if chain else ()))
        carried["certificates"] = tuple(certificate.der for certificate in found[:CERTIFICATES])
    if entry:
        carried["entries"] = (annotation_entry(entry),)
    if stamp:
        written = _TIMESTAMP.decode(stamp.encode("utf-8", "surrogatepass"), limit=ANNOTATION_BYTES).response
        carried["timestamps"] = (decode_spaced_base64(written, TIMESTAMP_ANNOTATION, "timestamp-malformed"),)
    return carried
