"""The evidence store as a directory, content-addressed, made to be copied, compared and looked into.

    blobs/sha256/<hex>                         payloads, exactly as received
    evidence/<hex of the id>.json              id, format, payload digest, annotations
    places/<hex of repository and subject>/<hex of the id>.json
    first-seen/<hex of the id>/<microseconds>  empty; the smallest name is the date
    indexes/<hex of repository and child>/<hex of the entry>.json, and children/<hex of repository and index>/…

Every file is written once, under a name that follows from its content, so two writers need no lock: they write the same
bytes, or different names. A file appears whole or not at all.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from verifier.errors import EvidenceError, PlaceRefused, PlaceUnavailable
from verifier.evidence.identity import check_evidence_id
from verifier.models import Evidence, EvidenceFormat, Micros
from verifier.oci.manifests import IndexChild

T = TypeVar("T")

_TIME: Final = re.compile(r"-?[0-9]{1,19}")

_HEX: Final = re.compile(r"[0-9a-f]{64}")


class _Record(msgspec.Struct, frozen=True):
    id: str
    format: EvidenceFormat
    payload: str
    """SHA-256 of the payload, hex."""
    annotations: dict[str, str]


class _Place(msgspec.Struct, frozen=True):
    id: str
    repository: str
    subject: str
    artifact: str
    place: str


class DirectoryEvidenceStore:
    """An `EvidenceStore` over a directory, which is made when missing; raises what the port says.

    Processes of several machines may share one, on a file system that has hard links.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def check(self) -> None:
        """Makes the directory where there is none, and finds out whether it can be written.

        Raises:
            PlaceUnavailable: it cannot.
        """
        with _translated():
            self._root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self._root, prefix=".") as folder:
                _publish(Path(tempfile.mkstemp(dir=folder)[1]), Path(folder) / "linked")

    def put(self, evidence: Evidence, first_seen: Micros | None) -> bool:
        """See `EvidenceStore.put`."""
        payload = hashlib.sha256(evidence.payload).hexdigest()
        record = _Record(evidence.id, evidence.format, payload, evidence.annotations)
        place = _Place(evidence.id, evidence.repository, evidence.subject, evidence.artifact, evidence.place)
        with _translated():
            # The place last: what a listing finds is whole, wherever the writer was stopped.
            self._write("blobs", "sha256", payload, content=evidence.payload)
            self._write("evidence", f"{_name(evidence.id)}.json", content=_encoded(record))
            if first_seen is not None:
                self._date(evidence.id, first_seen)
            folder = _name(evidence.repository, evidence.subject)
            return self._write("places", folder, f"{_name(evidence.id)}.json", content=_encoded(place))

    def get(self, evidence_id: str) -> Evidence | None:
        """See `EvidenceStore.get`. Looks into every folder of places: meant for looking up one, not many."""
        with _translated():
            paths = list((self._root / "places").glob(f"*/{_name(evidence_id)}.json"))
            found = [_decoded(path, _Place) for path in paths]
            first = min(found, key=lambda place: (place.repository, place.subject), default=None)
            return None if first is None else self._read(first)

    def for_digest(self, repository: str, digest: str) -> tuple[Evidence, ...]:
        """See `EvidenceStore.for_digest`."""
        folder = self._root / "places" / _name(repository, digest)
        with _translated():
            places = [_decoded(path, _Place) for path in folder.glob("*.json")]
            return tuple(self._read(place) for place in sorted(places, key=lambda place: place.id))

    def first_seen(self, evidence_ids: Iterable[str]) -> dict[str, Micros]:
        """See `EvidenceStore.first_seen`."""
        with _translated():
            dates = {name: self._dates(name) for name in evidence_ids}
        return {name: min(times) for name, times in dates.items() if times}

    def link(self, repository: str, children: Iterable[IndexChild]) -> None:
        """See `EvidenceStore.link`."""
        with _translated():
            for child in children:
                content, name = _encoded(child), f"{_name(child.index, child.digest, child.platform)}.json"
                self._write("indexes", _name(repository, child.digest), name, content=content)
                self._write("children", _name(repository, child.index), name, content=content)

    def indexes_of(self, repository: str, child: str) -> tuple[str, ...]:
        """See `EvidenceStore.indexes_of`."""
        return tuple(sorted({entry.index for entry in self._entries("indexes", _name(repository, child))}))

    def children_of(self, repository: str, index: str) -> tuple[IndexChild, ...]:
        """See `EvidenceStore.children_of`."""
        found = self._entries("children", _name(repository, index))
        return tuple(sorted(found, key=lambda entry: (entry.digest, entry.platform)))

    def _entries(self, *folder: str) -> list[IndexChild]:
        with _translated():
            return [_decoded(path, IndexChild) for path in self._root.joinpath(*folder).glob("*.json")]

    def _date(self, evidence_id: str, first_seen: Micros) -> None:
        times = self._dates(evidence_id)
        if not times or first_seen < min(times):
            self._write("first-seen", _name(evidence_id), str(first_seen), content=b"")

    def _dates(self, evidence_id: str) -> list[Micros]:
        folder = self._root / "first-seen" / _name(evidence_id)
        return [int(path.name) for path in folder.glob("*") if _TIME.fullmatch(path.name)]

    def _read(self, place: _Place) -> Evidence:
        record = _decoded(self._root / "evidence" / f"{_name(place.id)}.json", _Record)
        payload = self._blob(record.payload)
        evidence = Evidence(
            place.id,
            record.format,
            place.repository,
            place.subject,
            payload,
            record.annotations,
            place.artifact,
            place.place,
        )
        if not check_evidence_id(evidence):
            raise PlaceRefused(
                "payload-digest-mismatch", f"evidence store: {place.id[:80]} holds other bytes than it took"
            )
        return evidence

    def _blob(self, digest: str) -> bytes:
        if not _HEX.fullmatch(digest):
            raise EvidenceError("payload-digest-mismatch", "a record names no SHA-256")
        return (self._root / "blobs" / "sha256" / digest).read_bytes()

    def _write(self, *names: str, content: bytes) -> bool:
        """The file, whole and durable, unless it is there already. True when it was written."""
        path = self._root.joinpath(*names)
        if path.exists():
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            return _publish(Path(temporary), path)
        finally:
            Path(temporary).unlink(missing_ok=True)


def _publish(temporary: Path, path: Path) -> bool:
    """Gives the file its name, and the folder's entry to the disk. False when another writer was first."""
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        return False
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return True


def _name(*parts: str) -> str:
    """A file name for any text: ids and repositories hold characters a file system takes for something else."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _encoded(record: _Record | _Place | IndexChild) -> bytes:
    return msgspec.json.encode(record, order="sorted") + b"\n"


def _decoded(path: Path, kind: type[T]) -> T:
    return msgspec.json.decode(path.read_bytes(), type=kind)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PlaceUnavailable("registry-unavailable", f"evidence store: {error.strerror or 'no access'}") from error
    except (msgspec.MsgspecError, EvidenceError, UnicodeDecodeError) as error:
        raise PlaceRefused("payload-digest-mismatch", "evidence store: a file cannot be read back") from error
