"""The evidence store in an OCI registry: many writers and readers, and no database beside it.

    with OciEvidenceStore("registry.example.com/revet/evidence", RegistryOptions(docker_config=…)) as store:
        store.check()                           # can it be written to? an error with the reason, if not
        store.put(evidence, first_seen)

A registry has no compare-and-set: who puts a tag replaces what it named. So a tag is never put twice with two contents.
What a tag means is in its name, and what is to be found together has a common beginning:

    p-<place>-<evidence>-<content>     evidence at a place; place: repository and subject; content: of the manifest
    e-<evidence>-<content>             a place where the evidence lies
    t-<evidence>-<time>                a first sight; of several the earliest counts, and it sorts first
    i-<child>-<index>                  an index that lists the child; <index> is its digest
    c-<index>-<content>                what was read in an index
    z-revet-evidence                   a repository of the store; the last of all, so that every search has an end

Writers who race put different tags, or the same with the same content: nothing is lost, and readers agree. Every part
is a hash in base 32 (a tag has 128 characters), times are 16 hexadecimal digits in which order is order. A manifest
holds one payload as its layer, so that other tools can look into it.

A registry reads all tags of a repository to list some: at ten thousand that takes a tenth of a second. So the store is
256 repositories, `registry.example.com/revet/evidence/00` to `…/ff`, and the first hash in a tag says which.

What it relies on: repositories come into being by the first push; tags are listed in order and in pages (`n` and
`last`, OCI distribution 1.1), and where they are not, that is noticed, and the repository is listed whole. Retention
rules of the registry must leave it alone; whoever may write to it may forge dates in it. Calls wait for the registry:
in an event loop, call it from a thread.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from base64 import b32decode, b32encode
from collections.abc import Callable, Coroutine, Generator, Iterable
from concurrent.futures import CancelledError
from functools import partial
from itertools import pairwise
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import msgspec

from verifier.adapters.registry import RegistryClient, RegistryOptions
from verifier.errors import EvidenceError, ImageReferenceError, InputError, PlaceError, PlaceRefused, PlaceUnavailable
from verifier.evidence.identity import check_evidence_id
from verifier.evidence.limits import MIB
from verifier.models import Evidence, EvidenceFormat, Micros
from verifier.oci.collect import place_error
from verifier.oci.http import Endpoint, HttpRequest, Login, Outcome, exchange
from verifier.oci.limits import MANIFEST_BYTES, TOTAL_BYTES
from verifier.oci.manifests import IndexChild
from verifier.oci.media import OCI_MANIFEST, digest_of, is_image_digest, matches_digest
from verifier.oci.wire import Absent, Failed, Found, Kind, Request
from verifier.oci.writing import At, Tags, has_blob, list_tags, put_blob, put_manifest
from verifier.reference import parse_reference

T = TypeVar("T")

MARK: Final = "z-revet-evidence"
PAGE: Final = 100
"""Tags per page. A digest has a handful of signatures; the page that holds them ends behind them."""
LISTED: Final = 100_000
"""Tags of one repository read of a registry that cannot be asked for a part: more would be read for every question."""
SHORT: Final = 32 * 1024
"""Bytes of a payload that is sent without asking whether it is there; signatures are shorter, SBOMs longer."""
KEPT_BYTES: Final = 64 * MIB
"""Evidence kept in memory, for keys that are added later. A tag never means something else than it did."""
CALL_SECONDS: Final = 60
"""One call with all its requests: evidence of one digest has tens of them."""
_ARTIFACT: Final = "application/vnd.revet.evidence.v1"
_RECORD: Final = "dev.revet.evidence"
"""Annotation of a manifest: what a layer does not say."""
_EMPTY_TYPE: Final = "application/vnd.oci.empty.v1+json"
_EMPTY: Final = b"{}"
_PAYLOAD: Final = "application/octet-stream"
_CHILDREN: Final = "application/vnd.revet.index-children.v1+json"
_ZERO: Final = 1 << 63
"""Added to a time so that negative ones sort too."""

Machine = Callable[[At], Generator[HttpRequest, Outcome, T]]


class _Record(msgspec.Struct, frozen=True):
    id: str
    format: EvidenceFormat
    repository: str
    subject: str
    artifact: str
    place: str


class _Layer(msgspec.Struct, frozen=True, rename="camel"):
    media_type: str
    digest: str
    size: int
    annotations: dict[str, str] | None = None


class _Document(msgspec.Struct, frozen=True, rename="camel"):
    """A manifest as it is written here."""

    schema_version: int
    media_type: str
    artifact_type: str
    config: _Layer
    layers: list[_Layer]
    annotations: dict[str, str] = {}


class OciEvidenceStore:
    """An `EvidenceStore` over HTTP; raises what the port says. Safe to use from several threads.

    Raises:
        InputError: the repository is no `registry/path`, or the options cannot be used.
        PlaceRefused: `registry-unauthorized`, the Docker configuration cannot be read.
    """

    def __init__(self, repository: str, options: RegistryOptions | None = None) -> None:
        self._registry, self._path = _registry_and_path(repository)
        # Which hosts may be asked about images says nothing of the one evidence is kept in: it was named for that.
        chosen = options or RegistryOptions()
        reach = chosen.reach.with_hosts((self._registry,))
        self._client = RegistryClient(msgspec.structs.replace(chosen, reach=reach))
        self._loop = _Loop()
        self._ready: set[str] = set()
        """Repositories that are known to have their mark."""
        self._kept: dict[str, Evidence] = {}
        """Tag -> what it names, the newest last; only the loop's own thread touches it."""
        self._kept_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes all connections; the store is not used again, and calls that still wait end with PlaceUnavailable."""
        self._loop.close(self._client.close())

    def check(self) -> None:
        """Finds out whether the store can be written, by making the first of its repositories where there is none.

        Raises:
            PlaceUnavailable, PlaceRefused: the registry does not answer, or it cannot be written.
        """
        self._loop.run(self._prepare(f"{self._path}/00"))

    def put(self, evidence: Evidence, first_seen: Micros | None) -> bool:
        """See `EvidenceStore.put`."""
        return self._loop.run(self._put(evidence, first_seen))

    def get(self, evidence_id: str) -> Evidence | None:
        """See `EvidenceStore.get`."""
        for repository, subject in self._loop.run(self._places(evidence_id)):
            for piece in self.for_digest(repository, subject):
                if piece.id == evidence_id:
                    return piece
        return None

    def for_digest(self, repository: str, digest: str) -> tuple[Evidence, ...]:
        """See `EvidenceStore.for_digest`."""
        found = self._loop.run(self._found(f"p-{_name(repository, digest)}-"))
        here = [piece for piece in found if (piece.repository, piece.subject) == (repository, digest)]
        return tuple(sorted(here, key=lambda piece: piece.id))

    def first_seen(self, evidence_ids: Iterable[str]) -> dict[str, Micros]:
        """See `EvidenceStore.first_seen`."""
        names = list(dict.fromkeys(evidence_ids))
        dates = self._loop.run(self._dates(names))
        return {name: date for name, date in zip(names, dates, strict=True) if date is not None}

    def link(self, repository: str, children: Iterable[IndexChild]) -> None:
        """See `EvidenceStore.link`. Raises PlaceRefused for an index that is not known by a SHA-256 digest, too."""
        by_index: dict[str, list[IndexChild]] = {}
        for child in children:
            by_index.setdefault(child.index, []).append(child)
        for index, entries in by_index.items():
            self._loop.run(self._link(repository, index, entries))

    def indexes_of(self, repository: str, child: str) -> tuple[str, ...]:
        """See `EvidenceStore.indexes_of`."""
        tags = self._loop.run(self._tags(f"i-{_name(repository, child)}-"))
        return tuple(sorted(_digest(tag.rpartition("-")[2]) for tag in tags))

    def children_of(self, repository: str, index: str) -> tuple[IndexChild, ...]:
        """See `EvidenceStore.children_of`."""
        found = self._loop.run(self._entries(f"c-{_name(repository, index)}-"))
        here = {entry for entry in found if entry.index == index}
        return tuple(sorted(here, key=lambda entry: (entry.digest, entry.platform)))

    # ----------------------------------------------------------------------------------------------------- writing

    async def _prepare(self, path: str) -> None:
        if path not in self._ready:
            await self._ask(path, lambda at: put_blob(at, _EMPTY))
            await self._ask(path, lambda at: put_manifest(at, MARK, _MARK_DOCUMENT))
            self._ready.add(path)

    async def _put(self, evidence: Evidence, first_seen: Micros | None) -> bool:
        if first_seen is not None:
            await self._date(evidence.id, first_seen)
        name = _name(evidence.id)
        beside = f"p-{_name(evidence.repository, evidence.subject)}-{name}-"
        if await self._tags(beside):
            return False
        layer = _Layer(_PAYLOAD, digest_of(evidence.payload), len(evidence.payload), evidence.annotations)
        document, found_by = _document(evidence, [layer]), _document(evidence, [_EMPTY_LAYER])
        if len(document) > MANIFEST_BYTES:
            told = f"evidence store: annotations of {len(document)} bytes, limit {MANIFEST_BYTES}"
            raise PlaceRefused("limit-exceeded", told)
        # The place last: what a search for a place finds is whole, wherever the writer was stopped.
        await self._manifest(f"e-{name}-{_content(found_by)}", found_by)
        await self._manifest(beside + _content(document), document, evidence.payload)
        return True

    async def _date(self, evidence_id: str, first_seen: Micros) -> None:
        (known,) = await self._dates([evidence_id])
        if known is None or first_seen < known:
            await self._mark(f"t-{_name(evidence_id)}-{first_seen + _ZERO:016x}")

    async def _link(self, repository: str, index: str, entries: list[IndexChild]) -> None:
        if not is_image_digest(index):
            raise PlaceRefused("registry-protocol", f"evidence store: index {index[:80]!a} is no SHA-256 digest")
        content = msgspec.json.encode(sorted(entries, key=lambda entry: (entry.digest, entry.platform)))
        tag = f"c-{_name(repository, index)}-{_name_of(content)}"
        if isinstance(await self._answer("manifest", tag, tag, MANIFEST_BYTES), Found):
            return
        number = _spelt(bytes.fromhex(index.removeprefix("sha256:")))
        for child in dict.fromkeys(entry.digest for entry in entries):
            await self._mark(f"i-{_name(repository, child)}-{number}")
        layer = _Layer(_CHILDREN, digest_of(content), len(content))
        await self._manifest(tag, _encoded([layer]), content)  # last: it says that all the others are there

    async def _mark(self, tag: str) -> None:
        """A tag that says everything by its name."""
        await self._manifest(tag, _MARK_DOCUMENT)

    async def _manifest(self, tag: str, document: bytes, blob: bytes = _EMPTY) -> None:
        """A manifest under a tag, its blob before it."""
        path = self._at(tag)
        await self._prepare(path)
        known = blob == _EMPTY
        if len(blob) >= SHORT:  # to ask whether a short one is there costs as much as to send it
            known = await self._ask(path, lambda at: has_blob(at, digest_of(blob)))
        if not known:
            await self._ask(path, lambda at: put_blob(at, blob))
        await self._ask(path, lambda at: put_manifest(at, tag, document))

    # ----------------------------------------------------------------------------------------------------- reading

    def _at(self, tag: str) -> str:
        """The repository of a tag, by the first byte of the first hash in it."""
        return f"{self._path}/{b32decode(tag[2:10].upper())[0]:02x}"

    async def _tags(self, beginning: str) -> list[str]:
        """Every tag that begins so, sorted. A tag behind them ends the search, and `MARK` is behind all."""
        path = self._at(beginning)
        found: list[str] = []
        after = beginning
        while True:
            answer = await self._ask(path, partial(list_tags, after=after, most=PAGE))
            page = answer.tags if isinstance(answer, Tags) else ()
            if not page:
                return self._unmarked(path, found)
            self._ready.add(path)  # who writes begins with the mark
            if not _ascending((after, *page)):
                return [tag for tag in await self._all_tags(path) if tag.startswith(beginning)]
            found += (tag for tag in page if tag.startswith(beginning))
            if not page[-1].startswith(beginning):
                return found
            after = page[-1]

    async def _all_tags(self, path: str) -> list[str]:
        """All tags, sorted, of a registry that cannot be asked for a part."""
        found: set[str] = set()
        page = ""
        while True:
            answer = await self._ask(path, partial(list_tags, page=page))
            before = len(found)
            found.update(answer.tags if isinstance(answer, Tags) else ())
            if len(found) > LISTED:
                told = f"evidence store: {self._registry} lists no part of its tags, and all are more than {LISTED}"
                raise PlaceRefused("limit-exceeded", told)
            page = answer.next_page if isinstance(answer, Tags) else ""
            if not page or len(found) == before:
                return sorted(found) if MARK in found else self._unmarked(path, sorted(found))

    def _unmarked(self, path: str, found: list[str]) -> list[str]:
        """Nothing was ever kept there, or it is gone: that must not count as nothing."""
        if path in self._ready:
            told = f"evidence store: {self._registry}/{path} is not what it was: its mark is gone"
            raise PlaceRefused("registry-not-found", told)
        return found

    async def _found(self, beginning: str) -> list[Evidence]:
        """What lies under these tags; of one piece of evidence the first tag counts, for every reader."""
        first: dict[str, str] = {}
        for tag in await self._tags(beginning):
            first.setdefault(tag.rpartition("-")[0], tag)
        return await asyncio.gather(*map(self._evidence, first.values()))

    async def _places(self, evidence_id: str) -> list[tuple[str, str]]:
        """(repository, subject) wherever the evidence was found, in order."""
        tags = await self._tags(f"e-{_name(evidence_id)}-")
        records = [record for record, _ in await asyncio.gather(*map(self._read_manifest, tags))]
        return sorted({(record.repository, record.subject) for record in records if record.id == evidence_id})

    async def _evidence(self, tag: str) -> Evidence:
        known = self._kept.get(tag)
        if known is None:
            known = await self._opened(tag)
            self._keep(tag, known)
        return known

    def _keep(self, tag: str, piece: Evidence) -> None:
        if tag not in self._kept:
            self._kept[tag] = piece
            self._kept_bytes += len(piece.payload)
        while self._kept_bytes > KEPT_BYTES:
            self._kept_bytes -= len(self._kept.pop(next(iter(self._kept))).payload)

    async def _opened(self, tag: str) -> Evidence:
        record, layer = await self._read_manifest(tag)
        payload = await self._read("blob", layer.digest, tag, TOTAL_BYTES)
        evidence = Evidence(
            record.id,
            record.format,
            record.repository,
            record.subject,
            payload,
            layer.annotations or {},
            record.artifact,
            record.place,
        )
        try:
            sound = matches_digest(payload, layer.digest) and check_evidence_id(evidence)
        except EvidenceError as error:
            raise _changed(tag) from error
        if not sound:
            raise _changed(record.id)
        return evidence

    async def _read_manifest(self, tag: str) -> tuple[_Record, _Layer]:
        body = await self._read("manifest", tag, tag, MANIFEST_BYTES)
        if not tag.endswith("-" + _content(body)):
            raise _changed(tag)
        try:
            document = msgspec.json.decode(body, type=_Document)
            (layer,) = document.layers
            return msgspec.json.decode(document.annotations[_RECORD], type=_Record), layer
        except (msgspec.MsgspecError, LookupError, ValueError) as error:
            raise _changed(tag) from error

    async def _entries(self, beginning: str) -> list[IndexChild]:
        found: list[IndexChild] = []
        for tag in await self._tags(beginning):
            try:
                document = msgspec.json.decode(await self._read("manifest", tag, tag, MANIFEST_BYTES), type=_Document)
                body = await self._read("blob", document.layers[0].digest, tag, MANIFEST_BYTES)
                if not tag.endswith("-" + _name_of(body)):
                    raise _changed(tag)
                found += msgspec.json.decode(body, type=list[IndexChild])
            except (msgspec.MsgspecError, LookupError) as error:
                raise _changed(tag) from error
        return found

    async def _dates(self, evidence_ids: Iterable[str]) -> list[Micros | None]:
        return await asyncio.gather(*map(self._earliest, evidence_ids))

    async def _earliest(self, evidence_id: str) -> Micros | None:
        beginning = f"t-{_name(evidence_id)}-"
        times = await self._tags(beginning)
        try:
            return int(times[0].removeprefix(beginning), 16) - _ZERO if times else None
        except ValueError as error:
            raise _changed(times[0]) from error

    async def _read(self, kind: Kind, reference: str, tag: str, limit: int) -> bytes:
        answer = await self._answer(kind, reference, tag, limit)
        if not isinstance(answer, Found):
            raise _changed(reference)
        return answer.body

    async def _answer(self, kind: Kind, reference: str, tag: str, limit: int) -> Found | Absent:
        """What is behind a reference in the repository of a tag."""
        request = Request(kind, self._registry, self._at(tag), reference, limit)
        return await self._ask(request.path, lambda at: exchange(request, at.endpoint, at.login))

    async def _ask(self, path: str, machine: Machine[T | Failed]) -> T:
        def at(endpoint: Endpoint, login: Login) -> Generator[HttpRequest, Outcome, T | Failed]:
            return machine(At(endpoint, path, login))

        answer = await self._client.drive(self._registry, at, self._client.deadline())
        if isinstance(answer, Failed):
            raise place_error(answer, f"evidence store {self._registry}/{path}")
        return answer


class _Loop:
    """An event loop on a thread of its own: the port is synchronous, its callers may be on another loop."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._loop.run_forever, name="evidence-store", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What the coroutine returns; raises what it raises, PlaceUnavailable when it takes too long or is closed."""
        with self._lock:
            if self._closed:
                work.close()
                raise _unavailable("closed")
            future = asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, CALL_SECONDS), self._loop)
        try:
            return future.result()
        except TimeoutError as error:
            raise _unavailable(f"not done within {CALL_SECONDS} s") from error
        except CancelledError as error:
            raise _unavailable("closed") from error
        except BaseException:
            future.cancel()
            raise

    def close(self, last: Coroutine[Any, Any, None]) -> None:
        """Ends what is under way: whoever waits for it is told."""
        with self._lock:
            self._closed = True
        asyncio.run_coroutine_threadsafe(self._end(last), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self, last: Coroutine[Any, Any, None]) -> None:
        under_way = asyncio.all_tasks() - {asyncio.current_task()}
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        await last


def _registry_and_path(repository: str) -> tuple[str, str]:
    try:
        parsed = parse_reference(repository)
    except ImageReferenceError as error:
        raise InputError(f"evidence store {repository[:200]!a}: {error}") from error
    if parsed.repository != repository:  # a tag, a digest, or a name that Docker would complete
        told = "expected registry/path, such as registry.example.com/revet/evidence"
        raise InputError(f"evidence store {repository[:200]!a}: {told}")
    return parsed.registry, parsed.path


def _name(*parts: str) -> str:
    """A part of a tag for any text: ids and repositories hold characters a tag cannot have."""
    return _name_of(msgspec.json.encode(parts))


def _name_of(data: bytes) -> str:
    return _spelt(hashlib.sha256(data).digest())


def _content(document: bytes) -> str:
    """The end of a tag: 100 bits of the hash of its manifest."""
    return _name_of(document)[:20]


def _spelt(digest: bytes) -> str:
    """52 characters of base 32, in lower case: some registries keep tags as file names."""
    return b32encode(digest).decode().rstrip("=").lower()


def _digest(spelt: str) -> str:
    try:
        return "sha256:" + b32decode(spelt.upper() + "====").hex()
    except ValueError as error:
        raise _changed(spelt) from error


def _ascending(tags: tuple[str, ...]) -> bool:
    return all(one < two for one, two in pairwise(tags))


def _unavailable(why: str) -> PlaceError:
    return PlaceUnavailable("registry-unavailable", f"evidence store: {why}")


def _changed(what: str) -> PlaceError:
    return PlaceRefused("payload-digest-mismatch", f"evidence store: {what[:80]} is not what was kept there")


def _document(evidence: Evidence, layers: list[_Layer]) -> bytes:
    record = _Record(
        evidence.id, evidence.format, evidence.repository, evidence.subject, evidence.artifact, evidence.place
    )
    return _encoded(layers, {_RECORD: msgspec.json.encode(record).decode()})


def _encoded(layers: list[_Layer], annotations: dict[str, str] | None = None) -> bytes:
    config = _Layer(_EMPTY_TYPE, digest_of(_EMPTY), len(_EMPTY), {})
    document = _Document(2, OCI_MANIFEST, _ARTIFACT, config, layers, annotations or {})
    return msgspec.json.encode(document, order="sorted")


_EMPTY_LAYER: Final = _Layer(_EMPTY_TYPE, digest_of(_EMPTY), len(_EMPTY), {})
_MARK_DOCUMENT: Final = _encoded([_EMPTY_LAYER])
