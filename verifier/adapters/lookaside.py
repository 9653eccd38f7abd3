r"""Evidence beside the registry: directories that podman and skopeo write (containers signature-protocols, `dir:`).

    place = LookasidePlace(Path("/var/lib/containers/sigstore"))
    collected = await place.collect(parse_reference("registry.example.com/payments/api:1.4.2"), digest)

Two layouts, told apart by what is there:

    lookaside     <namespaces>/<name>@sha256=<hex>/signature-1, -2 … up to the first that is missing; the host is not
                  part of the path, but a tree that begins with it (`<registry>/<namespaces>/…`) is read too
    dir:          manifest.json and its signature-1 …; <hex>.manifest.json and its <hex>.signature-1 …

A file that begins with a zero byte says what it is: `\0sigstore-json\n` is a cosign signature; everything else is an
OpenPGP message. Nothing outside of the folder is opened and no link is followed, wherever it leads.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from verifier.errors import EvidenceError, ImageReferenceError, PlaceRefused
from verifier.evidence.base64text import decode_base64
from verifier.evidence.identity import evidence_id
from verifier.evidence.limits import ENVELOPE_BYTES, LAYERS, MIB
from verifier.evidence.strictjson import StrictDecoder
from verifier.models import DigestClosure, Evidence, ImageReference, PlaceAsked
from verifier.oci.collect import check_reference
from verifier.oci.limits import KNOWN_INDEXES, MANIFEST_BYTES
from verifier.oci.manifests import Index, IndexChild, child_of_platform, children_of, parse_manifest
from verifier.oci.media import carrying, digest_of, evidence_format, is_image_digest
from verifier.oci.port import Collected
from verifier.oci.wire import Absent, Failed, Found, Response

PLACE: Final = "lookaside"

SIGNATURE_FILE_BYTES: Final = 4 * MIB
"""Bytes of one signature file, the limit of the containers tools. What a format accepts is less."""

SIGNATURE_FILES: Final = LAYERS
"""Signature files of one digest that are read."""

_DIR_VERSION: Final = b"Directory Transport Version: "
_TAGGED: Final = b"\x00"
_COSIGN: Final = b"\x00sigstore-json\n"


class _Tagged(msgspec.Struct, frozen=True, rename="camel"):
    """A cosign signature as the containers tools keep it outside of registries."""

    mime_type: str
    payload: str
    annotations: dict[str, str] = {}


_TAGGED_JSON: Final = StrictDecoder(_Tagged)


class LookasidePlace:
    """An `EvidencePlace` over a directory in one of the two layouts.

    Args:
        root: the directory.
        registry: when given, the only registry whose images it speaks about; for others nothing is kept here.

    Raises:
        PlaceRefused: `registry-not-found`, there is no such directory.
    """

    def __init__(self, root: Path, registry: str = "") -> None:
        self._root = open_root(root)
        self._registry = registry

    def __repr__(self) -> str:
        return f"LookasidePlace({str(self._root)!r})"

    async def collect(
        self,
        reference: ImageReference,
        digest: str,
        platform: str | None = None,
        indexes: tuple[str, ...] = (),
        names: tuple[str, ...] = (),
    ) -> Collected:
        """See `EvidencePlace.collect`. A lookaside knows no manifests: indexes are the given ones.

        Raises:
            ImageReferenceError: the reference or the digest cannot be asked for.
        """
        check_asked(reference, digest)
        del names  # a tag means nothing here
        return await asyncio.to_thread(self._collect, reference, digest, platform, indexes)

    async def resolve(self, reference: ImageReference) -> str:
        """See `EvidencePlace.resolve`. Only what is pinned has a digest here: signatures are kept by digest.

        Raises:
            PlaceRefused, ImageReferenceError: as the port says.
        """
        return resolve_pinned(reference)

    def _collect(
        self, reference: ImageReference, digest: str, platform: str | None, indexes: tuple[str, ...]
    ) -> Collected:
        if self._registry and reference.registry != self._registry:
            told = PlaceAsked(PLACE, digest, "absent", "", f"holds signatures of {self._registry} only")
            return Collected((), DigestClosure(digest), (told,))
        layout = _Layout(self._root)
        closure, children, places = layout.closure(digest, platform, indexes)
        found: dict[tuple[str, str], Evidence] = {}
        for subject in (closure.running, *closure.indexes, *closure.children):
            evidence, asked = layout.signatures(reference, subject)
            found |= {(piece.id, subject): piece for piece in evidence}
            places.append(asked)
        is_index = any(child.index == digest for child in children)
        return Collected(tuple(found.values()), closure, tuple(places), is_index, children)


class _Layout:
    """One look into the directory."""

    def __init__(self, root: Path) -> None:
        self._root = root
        version = read_within(root, ("version",), 64)
        self._is_dir = isinstance(version, Found) and version.body.startswith(_DIR_VERSION)
        main = read_within(root, ("manifest.json",), MANIFEST_BYTES) if self._is_dir else Absent()
        self._main = main if isinstance(main, Found) else None
        self._problem = main if isinstance(main, Failed) else None
        """Whose the signatures of a `dir:` layout are is then not known."""

    def closure(
        self, digest: str, platform: str | None, known: tuple[str, ...]
    ) -> tuple[DigestClosure, tuple[IndexChild, ...], list[PlaceAsked]]:
        """The closure from what is known, and in a `dir:` layout from its index."""
        places: list[PlaceAsked] = []
        indexes = list(dict.fromkeys(index for index in known if index != digest))
        if len(indexes) > KNOWN_INDEXES:
            detail = f"{len(indexes)} indexes list this digest, limit {KNOWN_INDEXES}"
            places.append(PlaceAsked(PLACE, digest, "error", "limit-exceeded", detail))
        children = self._children()
        if any(child.index == digest for child in children):
            child = child_of_platform(children, platform) if platform else ""
            return DigestClosure(digest, children=(child,) if child else ()), children, places
        listing = [child.index for child in children if child.digest == digest]
        closure = DigestClosure(digest, indexes=tuple(dict.fromkeys(listing + indexes))[:KNOWN_INDEXES])
        return closure, children if listing else (), places

    def _children(self) -> tuple[IndexChild, ...]:
        """Entries of the index that a `dir:` layout holds; none when it holds an image, or something unreadable."""
        if self._main is None:
            return ()
        try:
            content = parse_manifest(self._main.body)
        except EvidenceError:
            return ()
        return children_of(digest_of(self._main.body), content) if isinstance(content, Index) else ()

    def signatures(self, reference: ImageReference, subject: str) -> tuple[list[Evidence], PlaceAsked]:
        """The signatures of one digest, and the outcome."""
        frame = Evidence("", "openpgp-simplesigning", reference.repository, subject, b"", {}, "", PLACE)
        evidence: list[Evidence] = []
        problem = self._problem
        for folder, stem in self._folders(reference, subject):
            for answer in _numbered(self._root, folder, stem):
                kept = _evidence(frame, answer.body) if isinstance(answer, Found) else answer
                if isinstance(kept, Evidence):
                    evidence.append(kept)
                else:
                    problem = problem or kept
        if problem is not None:
            return evidence, PlaceAsked(PLACE, subject, "error", problem.code, problem.detail)
        return evidence, PlaceAsked(PLACE, subject, "found" if evidence else "absent")

    def _folders(self, reference: ImageReference, subject: str) -> Iterator[tuple[tuple[str, ...], str]]:
        """(folder, beginning of the file names) of the places where the tools write."""
        encoded = subject.removeprefix("sha256:")
        if self._is_dir:
            if self._main is not None and digest_of(self._main.body) == subject:
                yield (), "signature-"
            yield (), f"{encoded}.signature-"
            return
        *namespaces, name = reference.path.split("/")
        folder = (*namespaces, f"{name}@sha256={encoded}")
        yield folder, "signature-"
        yield (reference.registry, *folder), "signature-"


def _numbered(root: Path, folder: tuple[str, ...], stem: str) -> Iterator[Found | Failed]:
    """The files `<stem>1`, `<stem>2` and on, up to the first that is missing."""
    for number in range(1, SIGNATURE_FILES + 2):
        answer = read_within(root, (*folder, f"{stem}{number}"), SIGNATURE_FILE_BYTES)
        if isinstance(answer, Absent):
            return
        if number > SIGNATURE_FILES:
            yield Failed("limit-exceeded", f"more than {SIGNATURE_FILES} signatures of one digest")
            return
        yield answer


def _evidence(frame: Evidence, body: bytes) -> Evidence | Failed:
    """The evidence in a signature file; an unknown tag hides only this file, and is told."""
    if not body.startswith(_TAGGED):
        return _completed(frame, body, {})
    if not body.startswith(_COSIGN):
        return Failed("registry-protocol", "a signature file of a kind that is not known")
    try:
        tagged = _TAGGED_JSON.decode(body[len(_COSIGN) :], limit=SIGNATURE_FILE_BYTES)
        payload = decode_base64(tagged.payload, "payload", "payload-malformed")
    except EvidenceError:
        return Failed("registry-protocol", "a signature file that is not the JSON its tag announces")
    kind = evidence_format(tagged.mime_type)
    if kind is None:
        return Failed("registry-protocol", "a signature file of a media type that holds no evidence")
    if len(payload) > ENVELOPE_BYTES:
        return Failed("limit-exceeded", f"a payload of {len(payload)} bytes, limit {ENVELOPE_BYTES}")
    return _completed(msgspec.structs.replace(frame, format=kind), payload, carrying(kind, tagged.annotations))


def _completed(frame: Evidence, payload: bytes, annotations: dict[str, str]) -> Evidence | Failed:
    try:
        name = evidence_id(digest_of(payload), annotations)
    except EvidenceError as error:
        return Failed("registry-protocol", str(error))
    return msgspec.structs.replace(frame, id=name, payload=payload, annotations=annotations)


# ------------------------------------------------------------------------------------- what folders as places share


def check_asked(reference: ImageReference, digest: str) -> None:
    """Refuses what would become something else inside a path.

    Raises:
        ImageReferenceError: the reference is not of the grammar, or the digest is not `sha256:` and 64 hex digits.
    """
    check_reference(reference)
    if not is_image_digest(digest):
        raise ImageReferenceError(f"digest {digest[:80]!a}: expected sha256: and 64 lower-case hex digits")


def resolve_pinned(reference: ImageReference) -> str:
    """The digest a reference is pinned to.

    Raises:
        PlaceRefused: `registry-not-found`, it is not pinned: nothing here knows tags.
        ImageReferenceError: the reference cannot be asked for.
    """
    check_reference(reference)
    if reference.digest:
        return reference.digest
    raise PlaceRefused("registry-not-found", f"{reference}: this place knows no tags, only digests")


def open_root(root: Path) -> Path:
    """The directory, its own links resolved once.

    Raises:
        PlaceRefused: `registry-not-found`, it is none.
    """
    resolved = root.resolve()
    if not resolved.is_dir():
        raise PlaceRefused("registry-not-found", f"{root}: no such directory")
    return resolved


def read_within(root: Path, parts: tuple[str, ...], limit: int) -> Response:
    """A regular file of at most `limit` bytes below `root`, reached through real directories only.

    Every step is opened relative to the one before and without following a link, so that a link that leads outside is
    refused even when it is put there meanwhile. `parts` are single names; nothing with a slash, and no `..`.
    """
    if any(part in {"", ".", ".."} or "/" in part or "\x00" in part for part in parts):
        return Failed("registry-protocol", "a name that is no file name")
    try:
        descriptor = os.open(root, _DIRECTORY)
    except OSError as error:
        return Failed("registry-unavailable", f"the folder cannot be opened ({_why(error)})", retryable=True)
    try:
        for part in parts[:-1]:
            descriptor = _step(descriptor, part)
        return _read_regular(os.open(parts[-1], _FILE, dir_fd=descriptor), limit)
    except FileNotFoundError:
        return Absent()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return Absent()  # nothing can be kept under such a name
        return Failed("registry-protocol", f"something that cannot be opened, or is a link ({_why(error)})")
    finally:
        os.close(descriptor)


_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def _step(descriptor: int, part: str) -> int:
    """Goes one directory down. The descriptor given is closed only when there is another."""
    below = os.open(part, _DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
    os.close(descriptor)
    return below


def _read_regular(descriptor: int, limit: int) -> Response:
    with os.fdopen(descriptor, "rb", closefd=True) as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            return Failed("registry-protocol", "something that is no regular file")
        if found.st_size > limit:
            return Failed("limit-exceeded", f"a file of {found.st_size} bytes, limit {limit}")
        body = file.read(limit + 1)
    return Found(body) if len(body) <= limit else Failed("limit-exceeded", f"more than {limit} bytes")


def _why(error: OSError) -> str:
    return os.strerror(error.errno or 0)
