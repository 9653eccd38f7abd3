"""Manifests and indexes, from bytes to frozen models.

    parse_manifest(body, "application/vnd.oci.image.index.v1+json")   -> Index(children=…)

The bytes decide, not the headers: a document is what its own `mediaType` says, and a `Content-Type` that says otherwise
is refused, as is a document that is manifest and index at once (CVE-2021-41190: two readers, two images, one digest).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

from verifier.errors import EvidenceError
from verifier.evidence.strictjson import loads_strict
from verifier.oci.limits import INDEX_CHILDREN, MANIFEST_BYTES, MANIFEST_DEPTH
from verifier.oci.media import INDEXES, MANIFESTS, UNREADABLE, is_digest


class Platform(msgspec.Struct, frozen=True, gc=False):
    """Platform of an index entry (OCI image index, `platform`)."""

    os: str = ""
    architecture: str = ""
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


class Descriptor(msgspec.Struct, frozen=True, rename="camel"):
    """A pointer to content: type, digest, size (OCI image specification, descriptor)."""

    media_type: str
    digest: str
    size: int
    """Bytes."""
    annotations: dict[str, str] | None = None
    platform: Platform | None = None


class Base(NamedTuple):
    """What a manifest's annotations say it is built on (OCI image specification, annotations)."""

    digest: str
    name: str
    """Reference of the base, as its maker wrote it, cut; may be empty."""


class Manifest(msgspec.Struct, frozen=True):
    """An image manifest: an image, or the carrier of evidence."""

    layers: tuple[Descriptor, ...] = ()
    subject: str = ""
    """Digest of the manifest this one says something about; empty for an image."""
    artifact_type: str = ""
    """What the artifact is: its `artifactType`, or else the media type of its configuration."""
    base: Base | None = None


class Index(msgspec.Struct, frozen=True):
    """An image index (or Docker manifest list)."""

    children: tuple[Descriptor, ...] = ()
    base: Base | None = None


class _Typed(msgspec.Struct, frozen=True, rename="camel"):
    media_type: str = ""


class _Document(msgspec.Struct, frozen=True, rename="camel"):
    """What either kind may hold; the rest of the members is of no interest here."""

    schema_version: int = 2
    media_type: str = ""
    layers: list[Descriptor] | None = None
    manifests: list[Descriptor] | None = None
    subject: Descriptor | None = None
    artifact_type: str = ""
    config: _Typed | None = None
    annotations: object = None
    """Read leniently: they are decoration, and no manifest is refused for them."""


_KINDS: Final = {**dict.fromkeys(MANIFESTS, "manifest"), **dict.fromkeys(INDEXES, "index")}


def parse_manifest(body: bytes, content_type: str = "", *, limit: int = MANIFEST_BYTES) -> Manifest | Index:
    """The manifest or index in `body`.

    Args:
        body: the exact bytes that were hashed.
        content_type: what the place called it; only a known type is compared with what the document says of itself.
        limit: most bytes accepted.

    Raises:
        EvidenceError: `limit-exceeded`, or `registry-protocol` when it is no manifest, or two things at once.
    """
    try:
        document = msgspec.convert(loads_strict(body, limit=limit, max_depth=MANIFEST_DEPTH), _Document)
    except msgspec.ValidationError as error:
        raise EvidenceError("registry-protocol", f"not a manifest: {_place_of(error)}") from error
    except EvidenceError as error:
        code = "limit-exceeded" if error.code == "limit-exceeded" else "registry-protocol"
        raise EvidenceError(code, f"not a manifest: {error}") from error
    kind = _kind(document, content_type.partition(";")[0].strip().lower())
    if kind == "index":
        return Index(_checked(document.manifests or [], INDEX_CHILDREN, "children"), _base(document.annotations))
    subject = "" if document.subject is None else document.subject.digest
    config = "" if document.config is None else document.config.media_type
    layers = _checked(document.layers or [], None, "layers")
    return Manifest(layers, subject, document.artifact_type or config, _base(document.annotations))


_BASE: Final = "org.opencontainers.image.base."
_BASE_NAME: Final = 256
"""Characters of the name of a base that are kept."""


def _base(annotations: object) -> Base | None:
    """What annotations say; nothing unless they name a whole digest."""
    if not isinstance(annotations, dict):
        return None
    digest, name = annotations.get(f"{_BASE}digest"), annotations.get(f"{_BASE}name")
    if not isinstance(digest, str) or not is_digest(digest):
        return None
    return Base(digest, name[:_BASE_NAME] if isinstance(name, str) else "")


_TYPED: Final = msgspec.json.Decoder(_Typed)


def media_type_of(body: bytes) -> str:
    """What a manifest that was parsed says it is; empty when it says nothing, as old ones do. Raises nothing."""
    try:
        return _TYPED.decode(body).media_type
    except (msgspec.MsgspecError, ValueError, RecursionError):  # no UTF-8; nested deeper than anything parsed
        return ""


def _place_of(error: msgspec.ValidationError) -> str:
    """The part of msgspec's message that holds no text of the document."""
    _, found, where = str(error).rpartition(" - at ")
    return f"wrong type at {where.strip('`')[:80]}" if found else "not an object"


def _kind(document: _Document, content_type: str) -> str:
    if document.schema_version != 2:
        raise EvidenceError("registry-protocol", f"manifest schema {document.schema_version}, expected 2")
    if document.layers is not None and document.manifests is not None:
        raise EvidenceError("registry-protocol", "a document that is manifest and index at once")
    unreadable = UNREADABLE & {document.media_type, content_type}
    if unreadable:
        raise EvidenceError("registry-protocol", f"a manifest of type {min(unreadable)}, which is not read")
    kinds = {
        "Content-Type": _KINDS.get(content_type),
        "mediaType": _KINDS.get(document.media_type),
        "content": "index" if document.manifests is not None else "manifest" if document.layers is not None else None,
    }
    said = {source: kind for source, kind in kinds.items() if kind is not None}
    if len(set(said.values())) > 1:
        raise EvidenceError("registry-protocol", " but ".join(f"{source} says {kind}" for source, kind in said.items()))
    if "mediaType" not in said and "content" not in said:
        raise EvidenceError("registry-protocol", "neither layers nor manifests")
    return next(iter(said.values()))


def _checked(descriptors: list[Descriptor], most: int | None, what: str) -> tuple[Descriptor, ...]:
    if most is not None and len(descriptors) > most:
        raise EvidenceError("limit-exceeded", f"{len(descriptors)} {what}, limit {most}")
    for descriptor in descriptors:
        if not is_digest(descriptor.digest) or descriptor.size < 0:
            raise EvidenceError("registry-protocol", f"{what}: a descriptor without a canonical digest and size")
    return tuple(descriptors)


_DEFAULT_VARIANT: Final = {"arm": "v7", "arm64": "v8", "amd64": "v1"}
"""The variant that an empty one means (containerd's platform normalisation)."""


def _normal(platform: str) -> tuple[str, str, str]:
    system, architecture, variant = [*platform.split("/"), "", ""][:3]
    return system, architecture, variant or _DEFAULT_VARIANT.get(architecture, "")


class IndexChild(msgspec.Struct, frozen=True, gc=False):
    """One entry of an index. What an index lists never changes, so it can be kept."""

    index: str
    digest: str
    platform: str = ""
    """`os/arch[/variant]`; empty when the index does not say."""


def children_of(digest: str, content: Index) -> tuple[IndexChild, ...]:
    """The entries of the index `digest`."""
    return tuple(IndexChild(digest, child.digest, str(child.platform or "")) for child in content.children)


def child_of_platform(children: Iterable[IndexChild], platform: str) -> str:
    """Digest of the child that a node of `platform` (`os/arch[/variant]`) runs; empty when none or not decidable.

    Two children that fit equally well (Windows builds of several versions) give none: a signature on the one that does
    not run must not count.
    """
    wanted = _normal(platform)
    same = {child.digest: found for child in children if (found := _normal(child.platform))[:2] == wanted[:2]}
    exact = [digest for digest, found in same.items() if found == wanted]
    fitting = exact or list(same)
    return fitting[0] if len(fitting) == 1 else ""
