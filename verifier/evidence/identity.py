"""What makes two pieces of evidence the same one.

    evidence_id("sha256:…", {"dev.cosignproject.cosign/signature": "MEUC…"})      "sha256:…"

Two layers of one `.sig` manifest often have the same bytes (same image, same claims) and differ in the annotation that
carries the signature; so the id covers both. Annotations that describe (dates, predicate types) do not take part.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

from verifier.canonical import canonical_json
from verifier.errors import EvidenceError
from verifier.models import Evidence

SIGNATURE_ANNOTATION: Final = "dev.cosignproject.cosign/signature"
CARRYING_PREFIX: Final = "dev.sigstore.cosign/"
"""`certificate`, `chain`, `bundle` and `rfc3161timestamp` come under it."""

_DIGEST_PREFIX: Final = "sha256:"


def evidence_id(payload_sha256: str, annotations: Mapping[str, str]) -> str:
    """The id of evidence: `sha256:<hex>` over the layer digest and the annotations that carry the signature.

    Args:
        payload_sha256: SHA-256 of the payload, with or without `sha256:` in front.
        annotations: all annotations of the layer; those that carry nothing, or are empty, are left out.

    Raises:
        EvidenceError: `signature-malformed`, an annotation is no Unicode text (it holds a lone surrogate).
    """
    carrying = {name: text for name, text in annotations.items() if text and _carries(name)}
    digest = _DIGEST_PREFIX + payload_sha256.removeprefix(_DIGEST_PREFIX)
    try:
        content = canonical_json([digest, carrying])
    except UnicodeEncodeError as error:
        raise EvidenceError("signature-malformed", "an annotation that carries the signature is no text") from error
    return _DIGEST_PREFIX + hashlib.sha256(content).hexdigest()


def check_evidence_id(evidence: Evidence) -> bool:
    """True when `evidence.id` is the id of its bytes: for stores that may have been changed behind our back.

    Raises:
        EvidenceError: as `evidence_id`.
    """
    return evidence.id == evidence_id(hashlib.sha256(evidence.payload).hexdigest(), evidence.annotations)


def _carries(name: str) -> bool:
    return name == SIGNATURE_ANNOTATION or name.startswith(CARRYING_PREFIX)
