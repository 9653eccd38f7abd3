"""Media types, tag names and digests: the vocabulary of the registry, in tables.

OCI image specification (manifest, image index, descriptor), cosign SIGNATURE_SPEC and BUNDLE_SPEC.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Final

from verifier.evidence.identity import CARRYING_PREFIX, SIGNATURE_ANNOTATION
from verifier.models import EvidenceFormat

OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"

MANIFESTS: Final = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
INDEXES: Final = frozenset({OCI_INDEX, DOCKER_LIST})
UNREADABLE: Final = frozenset(
    {
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        "application/vnd.oci.artifact.manifest.v1+json",
    }
)
"""Manifest types that exist and are not read: Docker schema 1 (its digest is not over the bytes served) and the
artifact manifest, which was withdrawn before OCI 1.1."""

ACCEPT: Final = (OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST)
"""Asked for with every manifest request: a registry without it may convert, and so serve another digest."""

SIMPLE_SIGNING: Final = "application/vnd.dev.cosign.simplesigning.v1+json"
DSSE: Final = "application/vnd.dsse.envelope.v1+json"
BUNDLE_PREFIX: Final = "application/vnd.dev.sigstore.bundle"
"""`…bundle.v0.3+json` and the older `…bundle+json;version=0.1`."""

NOTATION: Final = "application/vnd.cncf.notary.signature"
"""Artifact type of a Notary Project signature; before version 1.1 the type of its configuration."""

_ENVELOPES: Final[dict[str, EvidenceFormat]] = {
    "application/jose+json": "notation-jws",
    "application/cose": "notation-cose",
}
_SHA256: Final = re.compile(r"sha256:[0-9a-f]{64}")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_HASHES: Final = {"sha256": hashlib.sha256, "sha512": hashlib.sha512}


def evidence_format(media_type: str, artifact_type: str = "") -> EvidenceFormat | None:
    """The evidence format a layer of this media type holds, or None when it holds none that is read.

    Notary Project envelopes have media types that others use too; so the type of their artifact has to say it.
    """
    if artifact_type == NOTATION:
        return _ENVELOPES.get(media_type)
    if media_type == SIMPLE_SIGNING:
        return "cosign-simplesigning"
    if media_type == DSSE:
        return "cosign-dsse"
    return "sigstore-bundle" if media_type.startswith(BUNDLE_PREFIX) else None


def carrying(kind: EvidenceFormat, annotations: Mapping[str, str]) -> dict[str, str]:
    """The layer annotations that are part of the evidence; the others are decoration anybody may change.

    Bundles and envelopes carry everything in their bytes.
    """
    if kind not in {"cosign-simplesigning", "cosign-dsse"}:
        return {}
    return {n: text for n, text in annotations.items() if n == SIGNATURE_ANNOTATION or n.startswith(CARRYING_PREFIX)}


def is_image_digest(text: str) -> bool:
    """True for `sha256:<64 hex>`, the form images are known by."""
    return _SHA256.fullmatch(text) is not None


def is_digest(text: str) -> bool:
    """True for a digest of an algorithm registered by the OCI image specification, in its canonical spelling."""
    return _DIGEST.fullmatch(text) is not None


def digest_of(data: bytes) -> str:
    """The `sha256:` digest of bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def matches_digest(data: bytes, digest: str) -> bool:
    """Whether the bytes received are the ones the digest names."""
    algorithm, _, expected = digest.partition(":")
    return is_digest(digest) and _HASHES[algorithm](data).hexdigest() == expected


def referrers_tag(digest: str) -> str:
    """The fallback tag of the referrers tag schema: `sha256-<hex>` (OCI distribution specification 1.1)."""
    return digest.replace(":", "-", 1)


def signature_tag(digest: str) -> str:
    """cosign's tag for classic signatures: `sha256-<hex>.sig`."""
    return referrers_tag(digest) + ".sig"


def attestation_tag(digest: str) -> str:
    """cosign's tag for classic attestations: `sha256-<hex>.att`."""
    return referrers_tag(digest) + ".att"
