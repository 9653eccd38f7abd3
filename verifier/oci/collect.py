"""All evidence about one digest: which places are asked, in which order, and what their answers mean.

    machine = collect(reference, digest, platform="linux/amd64")
    collected = run(machine, answer)

The steps:

    1  what the tag means now
    2  the manifest of the digest itself
    3  the closure: indexes that list the digest, or the child of it that the node runs
    4  four places for each digest of the closure: referrers API, referrers tag, `.sig` tag, `.att` tag

Every referrer is opened: what a listing says of types is written by the registry or by a client, and is wrong often
enough (go-containerregistry reports the configuration's type). What one broken referrer or layer hides is only itself.

It refuses to conclude: a place that failed is an error with a reason, and absence is what a place has answered.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Final, NamedTuple, TypeVar

import msgspec

from verifier.errors import EvidenceError, ImageReferenceError, PlaceError, PlaceRefused, PlaceUnavailable
from verifier.evidence.identity import evidence_id
from verifier.evidence.notation import SUBJECT_MEDIA_TYPE, SUBJECT_SIZE
from verifier.models import DigestClosure, Evidence, ImageReference, Micros, PlaceAsked
from verifier.oci.limits import KNOWN_INDEXES, REFERRER_PAGES, Limits
from verifier.oci.manifests import (
    Descriptor,
    Index,
    IndexChild,
    Manifest,
    child_of_platform,
    children_of,
    media_type_of,
    parse_manifest,
)
from verifier.oci.media import (
    attestation_tag,
    carrying,
    digest_of,
    evidence_format,
    is_image_digest,
    matches_digest,
    referrers_tag,
    signature_tag,
)
from verifier.oci.port import BASE, Collected
from verifier.oci.wire import Absent, Failed, FailureCode, Found, Kind, Request, Response
from verifier.reference import parse_reference

T = TypeVar("T")
Steps = Generator[Request, Response, T]
"""A part of the machine that returns a T."""

EVIDENCE_PLACES: Final = ("referrers-api", "referrers-tag", "sig-tag", "att-tag")
"""Places of `Evidence.place` and `PlaceAsked.place`, in the order they are asked."""


def collect(
    reference: ImageReference,
    digest: str,
    platform: str | None = None,
    indexes: tuple[str, ...] = (),
    names: tuple[str, ...] = (),
    limits: Limits | None = None,
) -> Steps[Collected]:
    """The machine behind `EvidencePlace.collect`; see there for the arguments.

    Raises:
        ImageReferenceError: at the first step, when reference or digest cannot be asked for.
    """
    check_reference(reference)
    if not is_image_digest(digest):
        raise ImageReferenceError(f"digest {digest[:80]!a}: expected sha256: and 64 lower-case hex digits")
    collector = _Collector(reference, digest, limits or Limits())
    return (yield from collector.run(platform, indexes, names))


def resolve(reference: ImageReference, limits: Limits | None = None) -> Steps[str | Absent | Failed]:
    """The machine behind `EvidencePlace.resolve`: the digest of the bytes the tag names now.

    Raises:
        ImageReferenceError: at the first step, when the reference cannot be asked for.
    """
    check_reference(reference)
    if reference.digest:
        return reference.digest
    opened = yield from _Collector(reference, "", limits or Limits()).open(reference.tag or "latest")
    return opened.digest if isinstance(opened, Opened) else opened


def place_error(answer: Absent | Failed, what: str) -> PlaceError:
    """The exception of an answer that stops a look-up: worth asking again (`PlaceUnavailable`) or not."""
    if isinstance(answer, Absent):
        return PlaceRefused("registry-not-found", f"{what}: not there")
    message = f"{what}: {answer.detail}"
    if answer.retryable:
        return PlaceUnavailable(answer.code, message, retry_after_us=answer.retry_after)
    return PlaceRefused(answer.code, message)


def check_reference(reference: ImageReference) -> None:
    """Refuses names that would become something else inside a URL or a path.

    Raises:
        ImageReferenceError: registry, path, tag or digest is not of the grammar of `verifier.reference`.
    """
    if parse_reference(str(reference)).repository != reference.repository:
        raise ImageReferenceError(f"reference {str(reference)[:200]!a} is not normalised")


class Opened(msgspec.Struct, frozen=True):
    """A manifest or index whose bytes are the ones its digest names."""

    digest: str
    content: Manifest | Index
    size: int = 0
    """Bytes."""
    media_type: str = ""


class _Problem(NamedTuple):
    code: FailureCode
    detail: str


_FIRST_TOLD: Final[tuple[FailureCode, ...]] = (
    "registry-rate-limited",
    "registry-unavailable",
    "registry-not-allowed",
    "registry-unauthorized",
    "registry-not-found",
    "registry-protocol",
    "limit-exceeded",
)
"""Which of several problems a place is reported with: what passes by itself first, since it says to ask again."""


class _Tally:
    """What one place brought for one digest."""

    def __init__(self) -> None:
        self.found = 0
        self.problems: list[_Problem] = []
        self.notes: dict[str, int] = {}

    def problem(self, code: FailureCode, detail: str) -> None:
        self.problems.append(_Problem(code, detail))

    def note(self, what: str) -> None:
        """Something seen and left aside, which changes no outcome."""
        self.notes[what] = self.notes.get(what, 0) + 1

    def outcome(self, place: str, digest: str) -> PlaceAsked:
        if self.problems:
            told = min(self.problems, key=lambda problem: _FIRST_TOLD.index(problem.code))
            more = f"; and {len(self.problems) - 1} more" if len(self.problems) > 1 else ""
            return PlaceAsked(place, digest, "error", told.code, told.detail + more)
        notes = "; ".join(f"{count} {what}" for what, count in self.notes.items())
        return PlaceAsked(place, digest, "found" if self.found else "absent", "", notes)


class _Collector:
    """State of one round: what was opened, found and answered so far."""

    def __init__(self, reference: ImageReference, digest: str, limits: Limits) -> None:
        self._reference = reference
        self._digest = digest
        self._limits = limits
        self._opened: dict[str, Opened | Absent | Failed] = {}
        self._blobs: dict[str, Response] = {}
        self._evidence: dict[tuple[str, str], Evidence] = {}
        self._places: list[PlaceAsked] = []
        self._children: dict[IndexChild, None] = {}
        self._bytes = 0
        self._retry_after: Micros | None = None
        self._repository_seen = False

    def run(self, platform: str | None, indexes: tuple[str, ...], names: tuple[str, ...]) -> Steps[Collected]:
        # 1 what the tag means now
        tag = (yield from self.open(self._reference.tag)) if self._reference.tag else None
        # 2 the manifest itself (already open when the tag names it)
        image = yield from self.open(self._digest)
        self._report_manifest(self._digest, image)
        # 3 the closure
        if isinstance(image, Opened) and isinstance(image.content, Index):
            child = child_of_platform(self._link(image.digest, image.content), platform) if platform else ""
            closure = DigestClosure(self._digest, children=(child,) if child else ())
        else:
            closure = DigestClosure(self._digest, indexes=(yield from self._indexes(names, indexes)))
        # 4 four places for each digest
        for subject in (closure.running, *closure.indexes, *closure.children):
            yield from self._ask_places(subject)
        return Collected(
            evidence=tuple(self._evidence.values()),
            closure=closure,
            places=(*self._places, *self._bases(closure)),
            is_index=isinstance(image, Opened) and isinstance(image.content, Index),
            children=tuple(self._children),
            tag_digest=tag.digest if isinstance(tag, Opened) else "",
            retry_after=self._retry_after,
        )

    def _bases(self, closure: DigestClosure) -> Iterator[PlaceAsked]:
        """What the manifests of the closure say they are built on; each base once."""
        opened = (self._opened.get(subject) for subject in (closure.running, *closure.indexes, *closure.children))
        told = [found.content.base for found in opened if isinstance(found, Opened)]
        for digest, name in dict(base for base in reversed(told) if base is not None).items():
            yield PlaceAsked(BASE, digest, "found", "", name)

    # ------------------------------------------------------------------------------------------------- asking

    def _ask(self, kind: Kind, reference: str, limit: int, page: str = "") -> Steps[Response]:
        left = self._limits.total - self._bytes
        if left <= 0:
            return Failed("limit-exceeded", f"more than {self._limits.total} bytes of evidence in all")
        request = Request(kind, self._reference.registry, self._reference.path, reference, min(limit, left), page)
        response = yield request
        if isinstance(response, Found):
            self._bytes += len(response.body)
            if len(response.body) > request.limit:
                return Failed("limit-exceeded", f"more than {request.limit} bytes")
        elif isinstance(response, Failed) and response.retry_after is not None:
            self._retry_after = max(self._retry_after or 0, response.retry_after)
        return response

    def open(self, name: str) -> Steps[Opened | Absent | Failed]:
        """The manifest or index under a tag or digest; asked once, its bytes compared with the digest."""
        if name not in self._opened:
            response = yield from self._ask("manifest", name, self._limits.manifest)
            self._opened[name] = opened = _opened(name, response, self._limits.manifest)
            if isinstance(opened, Opened):
                self._repository_seen = True
                self._opened[opened.digest] = opened
        return self._opened[name]

    def _blob(self, digest: str, limit: int) -> Steps[Response]:
        """A blob; asked once, since the layers of two signatures may share their bytes."""
        if digest not in self._blobs:
            self._blobs[digest] = yield from self._ask("blob", digest, limit)
        return self._blobs[digest]

    # ---------------------------------------------------------------------------------------------- closure

    def _link(self, index: str, content: Index) -> tuple[IndexChild, ...]:
        children = children_of(index, content)
        self._children.update(dict.fromkeys(children))
        return children

    def _indexes(self, names: tuple[str, ...], known: tuple[str, ...]) -> Steps[tuple[str, ...]]:
        """Indexes that list the digest: those known from earlier, pinned ones, and those that tags name now."""
        found = dict.fromkeys(known)
        own = (self._reference.digest, self._reference.tag)  # the last is the newest
        for name in dict.fromkeys(name for name in (*names, *own) if name and name != self._digest):
            if not is_image_digest(name):
                yield from self._index_of_tag(name, found)
            elif name not in found:
                opened = yield from self.open(name)
                self._report_manifest(name, opened)
                self._add_index(opened, found)
        indexes = [index for index in reversed(found) if index != self._digest]  # the newest first
        if len(indexes) > KNOWN_INDEXES:
            detail = f"{len(indexes)} indexes list this digest, limit {KNOWN_INDEXES}"
            self._places.append(PlaceAsked("tag", self._digest, "error", "limit-exceeded", detail))
        return tuple(indexes[:KNOWN_INDEXES])

    def _index_of_tag(self, tag: str, found: dict[str, None]) -> Steps[None]:
        if ":" in tag:  # a digest of another kind than evidence is looked up by
            return
        opened = yield from self.open(tag)
        if isinstance(opened, Failed):
            # The index the tag names may carry the signature: not knowing it is not knowing.
            self._places.append(PlaceAsked("tag", self._digest, "error", opened.code, opened.detail))
        self._add_index(opened, found)

    def _add_index(self, opened: Opened | Absent | Failed | None, found: dict[str, None]) -> None:
        if not isinstance(opened, Opened) or not isinstance(opened.content, Index):
            return
        if any(child.digest == self._digest for child in self._link(opened.digest, opened.content)):
            found.pop(opened.digest, None)
            found[opened.digest] = None  # last, which is newest

    def _report_manifest(self, digest: str, opened: Opened | Absent | Failed) -> None:
        """An image that is not there, or cannot be read, is told; one that was read needs no line."""
        if isinstance(opened, Absent):
            detail = f"{_short(digest)} is not there"
            self._places.append(PlaceAsked("manifest", digest, "error", "registry-not-found", detail))
        elif isinstance(opened, Failed):
            self._places.append(PlaceAsked("manifest", digest, "error", opened.code, opened.detail))

    # ----------------------------------------------------------------------------------------------- places

    def _ask_places(self, subject: str) -> Steps[None]:
        questions: tuple[Callable[[str, _Tally], Steps[None]], ...] = (
            self._referrers_api,
            self._referrers_tag,
            self._signature_tag,
            self._attestation_tag,
        )
        for place, question in zip(EVIDENCE_PLACES, questions, strict=True):
            tally = _Tally()
            yield from question(subject, tally)
            self._places.append(tally.outcome(place, subject))

    def _referrers_api(self, subject: str, tally: _Tally) -> Steps[None]:
        """OCI distribution specification 1.1, listing referrers; a registry may not offer it."""
        listed: list[Descriptor] = []
        page = ""
        for number in range(1, REFERRER_PAGES + 2):
            if number > REFERRER_PAGES:
                tally.problem("limit-exceeded", f"more than {REFERRER_PAGES} pages of referrers")
                break
            response = yield from self._ask("referrers", subject, self._limits.manifest, page)
            if isinstance(response, Absent) and number == 1:
                self._absent(response, tally)
                break
            index = _listing(response, self._limits.manifest)
            if isinstance(index, Failed):
                tally.problem(index.code, index.detail)
                break
            listed += index.children
            page = response.next_page if isinstance(response, Found) else ""
            if not page:
                break
        yield from self._open_referrers("referrers-api", subject, listed, tally)

    def _referrers_tag(self, subject: str, tally: _Tally) -> Steps[None]:
        """The referrers tag schema, kept by clients where the API is missing; asked even when it is not."""
        opened = yield from self._open_place(referrers_tag(subject), tally)
        if opened is None:
            return
        if isinstance(opened.content, Index):
            yield from self._open_referrers("referrers-tag", subject, opened.content.children, tally)
        else:
            tally.problem("registry-protocol", "the referrers tag names a manifest, expected an index")

    def _signature_tag(self, subject: str, tally: _Tally) -> Steps[None]:
        yield from self._layers_of_tag("sig-tag", signature_tag(subject), subject, tally)

    def _attestation_tag(self, subject: str, tally: _Tally) -> Steps[None]:
        yield from self._layers_of_tag("att-tag", attestation_tag(subject), subject, tally)

    def _layers_of_tag(self, place: str, tag: str, subject: str, tally: _Tally) -> Steps[None]:
        """cosign's own scheme: one manifest under a tag made of the digest, one layer per signature."""
        opened = yield from self._open_place(tag, tally)
        if opened is None:
            return
        if isinstance(opened.content, Manifest):
            yield from self._layers(place, subject, opened.digest, opened.content, tally)
        else:
            tally.problem("registry-protocol", f"the {place} names an index, expected a manifest")

    def _open_place(self, tag: str, tally: _Tally) -> Steps[Opened | None]:
        opened = yield from self.open(tag)
        if isinstance(opened, Opened):
            return opened
        if isinstance(opened, Failed):
            tally.problem(opened.code, opened.detail)
        else:
            self._absent(opened, tally)
        return None

    def _absent(self, response: Absent, tally: _Tally) -> None:
        """Nothing there; but a repository nobody has seen, and of which the place knows nothing, tells nothing."""
        if response.code == "NAME_UNKNOWN" and not self._repository_seen:
            tally.problem("registry-not-found", "the repository is not known here")

    def _open_referrers(self, place: str, subject: str, listed: Iterable[Descriptor], tally: _Tally) -> Steps[None]:
        names = list(dict.fromkeys(descriptor.digest for descriptor in listed))
        if len(names) > self._limits.referrers:
            tally.problem("limit-exceeded", f"{len(names)} referrers, limit {self._limits.referrers}")
        for name in names[: self._limits.referrers]:
            opened = yield from self.open(name)
            if isinstance(opened, Failed):
                tally.problem(opened.code, f"referrer {_short(name)}: {opened.detail}")
            elif isinstance(opened, Absent):
                # Something was said about the image, and nobody can tell what.
                tally.problem("registry-protocol", f"referrer {_short(name)} is listed and not there")
            elif isinstance(opened.content, Index):
                tally.note("indexes left aside")
            elif opened.content.subject != subject:
                tally.note("listed but about another image")
            else:
                yield from self._layers(place, subject, opened.digest, opened.content, tally)

    # ----------------------------------------------------------------------------------------------- layers

    def _layers(self, place: str, subject: str, artifact: str, manifest: Manifest, tally: _Tally) -> Steps[None]:
        """Evidence of one manifest, each layer by itself: what is wrong with one takes nothing from the others."""
        count, limit = len(manifest.layers), self._limits.layers
        if count > limit:
            tally.problem("limit-exceeded", f"{_short(artifact)} has {count} layers, limit {limit}")
        for number, layer in enumerate(manifest.layers[:limit], start=1):
            where = f"layer {number} of {count} in {_short(artifact)}"
            kind = evidence_format(layer.media_type, manifest.artifact_type)
            if kind is not None:
                about = self._about(subject) if kind in {"notation-jws", "notation-cose"} else {}
                frame = Evidence("", kind, self._reference.repository, subject, b"", about, artifact, place)
                yield from self._layer(layer, where, frame, tally)
            elif place in {"sig-tag", "att-tag"}:
                tally.problem("registry-protocol", f"{where} is of a type that holds no evidence")
            else:
                tally.note("layers of other kinds left aside")

    def _layer(self, layer: Descriptor, where: str, frame: Evidence, tally: _Tally) -> Steps[None]:
        simple = frame.format == "cosign-simplesigning"
        limit = self._limits.simple_signing if simple else self._limits.envelope
        if layer.size > limit:
            tally.problem("limit-exceeded", f"{where} has {layer.size} bytes, limit {limit}")
            return
        response = yield from self._blob(layer.digest, limit)
        if isinstance(response, Failed):
            tally.problem(response.code, f"{where}: {response.detail}")
        elif isinstance(response, Absent):
            tally.problem("registry-protocol", f"{where}: its bytes are not there")
        elif len(response.body) != layer.size or not matches_digest(response.body, layer.digest):
            tally.problem("registry-protocol", f"{where}: the bytes received are not the ones its digest names")
        else:
            tally.found += 1
            self._keep(frame, response.body, frame.annotations | carrying(frame.format, layer.annotations or {}))

    def _about(self, subject: str) -> dict[str, str]:
        """Size and media type of the subject's manifest, which Notary Project signatures cover beside its digest."""
        opened = self._opened.get(subject)
        if not isinstance(opened, Opened):
            return {}
        known = {SUBJECT_SIZE: str(opened.size), SUBJECT_MEDIA_TYPE: opened.media_type}
        return {name: text for name, text in known.items() if text}

    def _keep(self, frame: Evidence, payload: bytes, annotations: dict[str, str]) -> None:
        name = evidence_id(digest_of(payload), annotations)
        # Found by API and by tag, it is one piece of evidence, told with the place that was asked first.
        self._evidence.setdefault(
            (name, frame.subject),
            msgspec.structs.replace(frame, id=name, payload=payload, annotations=annotations),
        )


def _opened(name: str, response: Response, limit: int) -> Opened | Absent | Failed:
    if not isinstance(response, Found):
        return response
    digest = digest_of(response.body)
    if ":" in name and not matches_digest(response.body, name):
        return Failed("registry-protocol", f"asked for {_short(name)}, received bytes of {_short(digest)}")
    try:
        content = parse_manifest(response.body, response.media_type, limit=limit)
    except EvidenceError as error:
        return _failed(error)
    media_type = media_type_of(response.body) or response.media_type.partition(";")[0].strip()
    return Opened(name if ":" in name else digest, content, len(response.body), media_type)


def _listing(response: Response, limit: int) -> Index | Failed:
    if isinstance(response, Failed):
        return response
    if isinstance(response, Absent):
        return Failed("registry-protocol", "a page of the referrers listing is not there")
    try:
        content = parse_manifest(response.body, response.media_type, limit=limit)
    except EvidenceError as error:
        return _failed(error)
    return content if isinstance(content, Index) else Failed("registry-protocol", "referrers: expected an index")


def _failed(error: EvidenceError) -> Failed:
    return Failed("limit-exceeded" if error.code == "limit-exceeded" else "registry-protocol", str(error))


def _short(digest: str) -> str:
    return digest[:19]
