"""Evidence from an OCI image layout: a directory, as `cosign save`, `skopeo copy` or a recording make it.

    place = OciLayoutPlace(Path("streams/demo_data/oci"))
    collected = await place.collect(parse_reference("registry.example.com/payments/api:1.4.2"), digest)

`index.json` names manifests by the annotation `org.opencontainers.image.ref.name`: a full name belongs to its
repository; a bare tag, or no name, belongs to whichever repository is asked about (the layout then holds only one).
Referrers are what manifests of the layout say of themselves (`subject`), and the referrers tag like any other tag.

The directory may come from anywhere: nothing outside it is opened, no link is followed, nothing but regular files read.
"""

from __future__ import annotations

import asyncio
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from verifier.errors import EvidenceError, ImageReferenceError, PlaceRefused
from verifier.evidence.limits import MIB
from verifier.evidence.strictjson import loads_strict
from verifier.models import ImageReference
from verifier.oci.collect import collect, place_error, resolve
from verifier.oci.limits import MANIFEST_BYTES, Limits
from verifier.oci.manifests import Index, Manifest, parse_manifest
from verifier.oci.media import INDEXES, MANIFESTS, OCI_INDEX, is_digest
from verifier.oci.port import Collected
from verifier.oci.wire import Absent, Failed, Found, Request, Response, run
from verifier.reference import parse_reference

REF_NAME: Final = "org.opencontainers.image.ref.name"
INDEX_BYTES: Final = 16 * MIB
"""Bytes of `index.json`: one entry has some 300, so 50,000 images fit."""
ENTRIES: Final = 50_000
"""Manifests of one layout that are looked at."""
_DEPTH: Final = 16
_NOBODY: Final = "?"
"""No repository has this name."""


class _Entry(msgspec.Struct, frozen=True, rename="camel"):
    media_type: str
    digest: str
    size: int = 0
    annotations: dict[str, str] | None = None


class _LayoutIndex(msgspec.Struct, frozen=True):
    manifests: list[_Entry] = []


@dataclass
class _Catalogue:
    """What the layout holds, read once: names, and who refers to whom. The empty repository is "any"."""

    tags: dict[tuple[str, str], str] = field(default_factory=dict)
    """(repository, tag) -> digest."""
    members: dict[str, dict[str, str]] = field(default_factory=dict)
    """repository -> digest -> media type."""
    referrers: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    """(repository, subject) -> digest -> media type."""
    unread: dict[str, dict[str, str]] = field(default_factory=dict)
    """repository -> digest -> media type of what could not be looked at. It might refer to anything, so it is listed
    for every subject; whoever opens it is told what is wrong with it, and knows that not all is known."""

    def knows(self, repository: str) -> bool:
        return repository in self.members or "" in self.members

    def add_member(self, repository: str, digest: str, media_type: str) -> None:
        self.members.setdefault(repository, {}).setdefault(digest, media_type)


class OciLayoutPlace:
    """An `EvidencePlace` over a directory.

    Raises:
        PlaceRefused: `registry-not-found`, the directory is no OCI image layout.
    """

    def __init__(self, root: Path, limits: Limits | None = None) -> None:
        self._root = root.resolve()
        self._limits = limits or Limits()
        self._read: tuple[tuple[int, int], _Catalogue] | None = None
        self._catalogue()

    def __repr__(self) -> str:
        return f"OciLayoutPlace({str(self._root)!r})"

    async def collect(
        self,
        reference: ImageReference,
        digest: str,
        platform: str | None = None,
        indexes: tuple[str, ...] = (),
        names: tuple[str, ...] = (),
    ) -> Collected:
        """See `EvidencePlace.collect`.

        Raises:
            ImageReferenceError: the reference or the digest cannot be asked for.
            PlaceRefused: the directory is no OCI image layout any more.
        """
        machine = collect(reference, digest, platform, indexes, names, self._limits)
        return await asyncio.to_thread(run, machine, self._answering())

    async def resolve(self, reference: ImageReference) -> str:
        """See `EvidencePlace.resolve`.

        Raises:
            PlaceUnavailable, PlaceRefused, ImageReferenceError: as the port says.
        """
        answer = await asyncio.to_thread(run, resolve(reference, self._limits), self._answering())
        if isinstance(answer, str):
            return answer
        raise place_error(answer, str(reference))

    def _answering(self) -> _Answering:
        return _Answering(self._root, self._catalogue())

    def _catalogue(self) -> _Catalogue:
        """The catalogue of the `index.json` that is there now."""
        try:
            found = (self._root / "index.json").lstat()
        except OSError as error:
            raise PlaceRefused("registry-not-found", f"no OCI layout: {self._root} has no index.json") from error
        state = (found.st_mtime_ns, found.st_size)
        if self._read is None or self._read[0] != state:
            self._read = (state, _read_catalogue(self._root))
        return self._read[1]


class _Answering:
    """Answers the machine's requests from the files."""

    def __init__(self, root: Path, catalogue: _Catalogue) -> None:
        self._root = root
        self._catalogue = catalogue

    def __call__(self, request: Request) -> Response:
        repository = f"{request.registry}/{request.path}"
        if not self._catalogue.knows(repository):
            return Absent("NAME_UNKNOWN")
        if request.kind == "blob":
            return _read_blob(self._root, request.reference, request.limit)
        if request.kind == "referrers":
            return self._referrers(repository, request)
        return self._manifest(repository, request)

    def _manifest(self, repository: str, request: Request) -> Response:
        for owner in (repository, ""):
            digest = self._catalogue.tags.get((owner, request.reference), request.reference)
            media_type = self._catalogue.members.get(owner, {}).get(digest)
            if media_type is not None:
                answer = _read_blob(self._root, digest, request.limit)
                return msgspec.structs.replace(answer, media_type=media_type) if isinstance(answer, Found) else answer
        return Absent("MANIFEST_UNKNOWN")

    def _referrers(self, repository: str, request: Request) -> Response:
        found: dict[str, str] = {}
        for owner in (repository, ""):
            found |= self._catalogue.referrers.get((owner, request.reference), {})
            found |= self._catalogue.unread.get(owner, {})
        listing = [{"mediaType": media_type, "digest": digest, "size": 0} for digest, media_type in found.items()]
        return Found(msgspec.json.encode({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listing}), OCI_INDEX)


def _read_catalogue(root: Path) -> _Catalogue:
    answer = _read_file(root / "index.json", INDEX_BYTES)
    if not isinstance(answer, Found):
        raise PlaceRefused("registry-not-found", f"no OCI layout: {root}/index.json cannot be read")
    try:
        document = msgspec.convert(loads_strict(answer.body, limit=INDEX_BYTES, max_depth=_DEPTH), _LayoutIndex)
    except (EvidenceError, msgspec.ValidationError) as error:
        raise PlaceRefused("registry-protocol", f"{root}/index.json is no OCI image index") from error
    if len(document.manifests) > ENTRIES:
        raise PlaceRefused(
            "limit-exceeded", f"{root}/index.json has {len(document.manifests)} entries, limit {ENTRIES}"
        )
    catalogue = _Catalogue()
    for entry in document.manifests:
        _add_entry(root, catalogue, entry)
    return catalogue


def _add_entry(root: Path, catalogue: _Catalogue, entry: _Entry) -> None:
    repository, tag = _name(entry)
    catalogue.add_member(repository, entry.digest, entry.media_type)
    if tag:
        catalogue.tags[repository, tag] = entry.digest
    if entry.media_type not in MANIFESTS | INDEXES:
        return
    content = _look(root, catalogue, repository, entry.digest, entry.media_type)
    if isinstance(content, Index):
        for child in content.children:
            if child.media_type in MANIFESTS | INDEXES:
                catalogue.add_member(repository, child.digest, child.media_type)
                _look(root, catalogue, repository, child.digest, child.media_type)


def _look(root: Path, catalogue: _Catalogue, repository: str, digest: str, media_type: str) -> Manifest | Index | None:
    """The manifest, its `subject` noted. One that is not there refers to nothing; one that is broken might."""
    answer = _read_blob(root, digest, MANIFEST_BYTES)
    if isinstance(answer, Absent):
        return None
    content = _parsed(answer, media_type)
    if content is None:
        catalogue.unread.setdefault(repository, {})[digest] = media_type
    elif isinstance(content, Manifest) and content.subject:
        catalogue.referrers.setdefault((repository, content.subject), {})[digest] = media_type
    return content


def _parsed(answer: Found | Failed, media_type: str) -> Manifest | Index | None:
    if isinstance(answer, Failed):
        return None
    try:
        return parse_manifest(answer.body, media_type)
    except EvidenceError:
        return None  # not forgotten: listed as unread, and the reason told when it is opened


def _name(entry: _Entry) -> tuple[str, str]:
    """Repository and tag an entry is listed under; both empty when it has no name, nobody's when it has a wrong one."""
    name = (entry.annotations or {}).get(REF_NAME, "")
    if "/" not in name:
        return "", name
    try:
        reference = parse_reference(name)
    except ImageReferenceError:
        return _NOBODY, ""
    return reference.repository, reference.tag


def _read_blob(root: Path, digest: str, limit: int) -> Response:
    if not is_digest(digest):  # also what keeps `../` out of the path
        return Absent("MANIFEST_UNKNOWN")
    algorithm, _, encoded = digest.partition(":")
    path = root / "blobs" / algorithm / encoded
    if path.parent.resolve() != root / "blobs" / algorithm:
        return Failed("registry-protocol", "the layout's blobs lie outside of it")
    return _read_file(path, limit)


def _read_file(path: Path, limit: int) -> Response:
    """A regular file of at most `limit` bytes. Opened without following a link and without waiting on a pipe."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return Absent("BLOB_UNKNOWN")
    except OSError as error:
        return Failed("registry-protocol", f"a file that cannot be opened ({os.strerror(error.errno or 0)})")
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            return Failed("registry-protocol", "something that is no regular file")
        if found.st_size > limit:
            return Failed("limit-exceeded", f"a file of {found.st_size} bytes, limit {limit}")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return Found(file.read(limit + 1))
    except OSError as error:
        return Failed("registry-unavailable", f"a file that cannot be read ({os.strerror(error.errno or 0)})", True)
    finally:
        os.close(descriptor)
