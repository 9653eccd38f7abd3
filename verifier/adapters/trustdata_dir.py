"""Stored TUF metadata of Docker Content Trust: a directory as the Docker client keeps it.

    place = TrustDataPlace(Path("~/.docker/trust/tuf").expanduser())
    collected = await place.collect(parse_reference("docker.io/library/alpine:3.20"), digest)

    <gun>/metadata/root.json, targets.json, snapshot.json, timestamp.json, targets/releases.json …

The metadata is about the repository. It is evidence for an image only when one of its files lists the digest; which of
it is to be believed is for `verifier.evidence.trustdata` to say. Nothing outside of the folder is opened, no link is
followed, and file names come from the snapshot only where they are role names.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Final

import msgspec

from verifier.adapters.lookaside import check_asked, open_root, read_within, resolve_pinned
from verifier.errors import EvidenceError
from verifier.evidence.identity import evidence_id
from verifier.evidence.strictjson import loads_strict
from verifier.evidence.trustdata import FILE_BYTES, FILES, listed_digests, pack_trust_data
from verifier.models import DigestClosure, Evidence, ImageReference, PlaceAsked
from verifier.oci.limits import KNOWN_INDEXES
from verifier.oci.media import digest_of
from verifier.oci.port import Collected
from verifier.oci.wire import Absent, Failed, Found

PLACE: Final = "trust-data"

_ROLES: Final = ("root", "targets", "snapshot", "timestamp")
_DELEGATION: Final = re.compile(r"targets(?:/[a-z0-9_-]{1,64}){1,8}")


class TrustDataPlace:
    """An `EvidencePlace` over a directory of trust data.

    Raises:
        PlaceRefused: `registry-not-found`, there is no such directory.
    """

    def __init__(self, root: Path) -> None:
        self._root = open_root(root)

    def __repr__(self) -> str:
        return f"TrustDataPlace({str(self._root)!r})"

    async def collect(
        self,
        reference: ImageReference,
        digest: str,
        platform: str | None = None,
        indexes: tuple[str, ...] = (),
        names: tuple[str, ...] = (),
    ) -> Collected:
        """See `EvidencePlace.collect`. Tags are taken from no one here: indexes are the given ones.

        Raises:
            ImageReferenceError: the reference or the digest cannot be asked for.
        """
        check_asked(reference, digest)
        del platform, names  # trust data knows no platforms, and what a tag means is not asked here
        return await asyncio.to_thread(self._collect, reference, digest, indexes)

    async def resolve(self, reference: ImageReference) -> str:
        """See `EvidencePlace.resolve`. Only what is pinned has a digest here: a tag would be believed unverified.

        Raises:
            PlaceRefused, ImageReferenceError: as the port says.
        """
        return resolve_pinned(reference)

    def _collect(self, reference: ImageReference, digest: str, indexes: tuple[str, ...]) -> Collected:
        known = tuple(dict.fromkeys(index for index in indexes if index != digest))
        closure = DigestClosure(digest, indexes=known[:KNOWN_INDEXES])
        places: list[PlaceAsked] = []
        if len(known) > KNOWN_INDEXES:
            detail = f"{len(known)} indexes list this digest, limit {KNOWN_INDEXES}"
            places.append(PlaceAsked(PLACE, digest, "error", "limit-exceeded", detail))
        payload = self._payload(reference)
        listed = listed_digests(payload) if isinstance(payload, bytes) and payload else frozenset()
        evidence = []
        for subject in (digest, *closure.indexes):
            if isinstance(payload, Failed):
                places.append(PlaceAsked(PLACE, subject, "error", payload.code, payload.detail))
            elif listed is None or subject in listed:
                places.append(PlaceAsked(PLACE, subject, "found"))
                evidence.append(_evidence(reference, subject, payload))
            else:
                places.append(PlaceAsked(PLACE, subject, "absent"))
        return Collected(tuple(evidence), closure, tuple(places))

    def _payload(self, reference: ImageReference) -> bytes | Failed:
        """The packed metadata of the repository; empty when there is none."""
        folder = (reference.registry, *reference.path.split("/"), "metadata")
        files: dict[str, bytes] = {}
        missing = []
        for role in _ROLES:
            answer = read_within(self._root, (*folder, f"{role}.json"), FILE_BYTES)
            if isinstance(answer, Failed):
                return Failed(answer.code, f"{role}.json: {answer.detail}", answer.retryable)
            if isinstance(answer, Absent):
                missing.append(role)
            else:
                files[f"{role}.json"] = answer.body
        if missing:
            told = Failed("registry-protocol", f"trust data without {', '.join(f'{role}.json' for role in missing)}")
            return told if files else b""
        return self._with_delegations(folder, files)

    def _with_delegations(self, folder: tuple[str, ...], files: dict[str, bytes]) -> bytes | Failed:
        """The files the snapshot names; one that is missing here is missed by the verifier, which names it."""
        names = _published(files["snapshot.json"])
        if len(names) > FILES - len(_ROLES):
            return Failed("limit-exceeded", f"{len(names)} delegations, limit {FILES - len(_ROLES)}")
        for name in names:
            *parents, last = name.split("/")
            answer = read_within(self._root, (*folder, *parents, f"{last}.json"), FILE_BYTES)
            if isinstance(answer, Failed):
                return Failed(answer.code, f"{name}.json: {answer.detail}", answer.retryable)
            if isinstance(answer, Found):
                files[f"{name}.json"] = answer.body
        try:
            return pack_trust_data("/".join(folder[:-1]), files)
        except EvidenceError as error:
            return Failed("limit-exceeded", str(error))


def _published(snapshot: bytes) -> list[str]:
    """Names of delegations in a snapshot, unverified; none when it cannot be read, which the verifier will say."""
    try:
        document = msgspec.convert(loads_strict(snapshot, limit=FILE_BYTES), _File)
    except (EvidenceError, msgspec.ValidationError):
        return []
    return sorted(name for name in document.signed.meta if _DELEGATION.fullmatch(name) is not None)


class _Signed(msgspec.Struct, frozen=True):
    meta: dict[str, object]


class _File(msgspec.Struct, frozen=True):
    signed: _Signed


def _evidence(reference: ImageReference, subject: str, payload: bytes) -> Evidence:
    return Evidence(
        evidence_id(digest_of(payload), {}), "tuf-trust-data", reference.repository, subject, payload, {}, "", PLACE
    )
