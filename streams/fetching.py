"""One request for evidence, answered: the same for the single-machine mode and for the fetcher of a cluster.

    answerer = EvidenceAnswerer(place, store, lambda: trust, wall_clock)
    answer = await answerer.ask(requests, known)                 about one digest
    found = answerer.found(requests[-1], answer, known, names=names_of(requests, known))

Requests about one digest are asked as one: tags and pinned indexes that the image was seen to run by are all
asked which index lists it, those of earlier requests too. So the answer does not depend on which one came first.

It takes three steps, so that whoever drives it decides what may wait and what belongs into a transaction:

    1  indexes       the store: which indexes are known to list the digest
    2  collect       the place: everything published now; the only step that waits for others
    3  found         the store: what came is kept, what is kept is judged under the candidates of this moment

`keys-added` needs no place: what is known is read again, from the store, under the newer candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from streams.codec import encode
from streams.events import EvidenceFound, EvidenceWanted
from verifier.adapters.fetch import Fetched, keep, moved_tags, rekey, version_of
from verifier.canonical import stable_id
from verifier.errors import ImageReferenceError, PlaceError, PlaceRefused, PlaceUnavailable
from verifier.facts.candidates import KeySet, key_set
from verifier.models import DigestClosure, Evidence, EvidenceSet, Fact, ImageReference, Micros, PlaceAsked
from verifier.oci.limits import KNOWN_NAMES
from verifier.oci.port import Collected, EvidencePlace, EvidenceStore
from verifier.reference import names_in, parse_reference
from verifier.trust.state import TrustState

FOUND_BYTES: Final = 64 * 1024
"""Bytes of an answer on a topic. The usual one has 2 KiB; every process holds all of them, so an image with hundreds of
attestations must not grow without end, and brokers refuse what is longer than they are told to take."""

SUBJECTS_KEPT: Final = 8
"""Of the digests that signed bytes name, those that are none of the image's own, in an answer that is too long."""

BOUND: Final = "answer"
"""`PlaceAsked.place` of the mark that an answer was cut."""

TRUST: Final = "trust"
"""`PlaceAsked.place` of the mark that an answer was made under an older trust than was asked for."""


class Known(NamedTuple):
    """What was answered before."""

    set: EvidenceSet
    facts: tuple[Fact, ...]


Answer = Collected | PlaceError
"""What a place said, or why it said nothing."""


class EvidenceAnswerer:
    """Asks a place, keeps what it has, and says what cryptography makes of it."""

    def __init__(
        self,
        place: EvidencePlace | None,
        store: EvidenceStore,
        trust: Callable[[], TrustState],
        clock: Callable[[], Micros],
        *,
        platform: str | None = None,
        date_of: Callable[[Evidence], Micros | None] | None = None,
    ) -> None:
        """What answers are made of.

        Args:
            place: where evidence is published; None: nowhere (`no-evidence-source`).
            store: where it is kept from first sight.
            trust: trust at the epoch reached; its candidates are what evidence is checked against.
            clock: now, microseconds UTC.
            platform: `os/arch[/variant]` of the nodes, so that of an index the child that runs is asked about too.
            date_of: for recordings, whose place is of today: when evidence was first seen then, if anybody knows.
                None: what is found now is seen now.
        """
        self.store = store
        self._place = place
        self._trust = trust
        self._clock = clock
        self._platform = platform
        self._date_of = date_of
        self._keys: tuple[str, KeySet] = ("", key_set(()))

    async def ask(self, group: Sequence[EvidenceWanted], known: Known | None = None) -> Answer | None:
        """The first two steps for requests about one digest; None: no place need be asked. Raises as `indexes`."""
        if known is not None and all(wanted.why == "keys-added" for wanted in group):
            return None
        return await self.collect(group[0], self.indexes(group[0]), names_of(group, known))

    def indexes(self, wanted: EvidenceWanted) -> tuple[str, ...]:
        """Indexes known to list the digest.

        Raises:
            PlaceUnavailable, PlaceRefused: the store failed.
        """
        return self.store.indexes_of(wanted.repository, wanted.digest)

    async def collect(self, wanted: EvidenceWanted, indexes: tuple[str, ...], names: tuple[str, ...]) -> Answer:
        """What the place has. Raises nothing: a place that fails is an answer."""
        if self._place is None:
            told = PlaceAsked("none", wanted.digest, "error", "no-evidence-source", "no evidence source is configured")
            return Collected((), DigestClosure(wanted.digest), (told,))
        try:
            return await self._place.collect(reference_of(wanted), wanted.digest, self._platform, indexes, names)
        except PlaceError as error:
            return error
        except ImageReferenceError as error:  # a digest of another kind than evidence is looked up by
            return PlaceRefused("reference-unparsable", str(error))

    def found(
        self,
        wanted: EvidenceWanted,
        answer: Answer | None,
        known: Known | None = None,
        now: Micros | None = None,
        *,
        names: tuple[str, ...] = (),
    ) -> EvidenceFound:
        """What the answer comes to; written to the store before this returns.

        Args:
            wanted: the request.
            answer: what the place said; None: `known` under the candidates of this moment.
            known: what was answered before; needed where `answer` is None.
            now: the instant of the answer; None: the clock's, but after the request's and what was answered before.
            names: what the place was asked about (`names_of`).

        Raises:
            PlaceUnavailable, PlaceRefused: the store failed; nothing is known then.
        """
        keys = self._keyset()
        if now is None:  # newer than what it replaces even where the clock stands still: the newest set wins
            now = max(self._clock(), wanted.time, 0 if known is None else known.set.fetched_at + 1)
        if answer is None and known is not None:
            return evidence_found(rekey(self.store, known.set, keys, now, known.facts), now)
        if isinstance(answer, Collected) and self._date_of is not None:
            for evidence in answer.evidence:
                self.store.put(evidence, self._date_of(evidence))
        # In a replay the place is of today and the record is of then: what is found proves no time by itself.
        observed = now if self._date_of is None else None
        if answer is None:  # what was known when it was asked for has been forgotten since
            answer = PlaceUnavailable("registry-unavailable", "what was known is gone; ask again")
        reference = reference_of(wanted)
        before = () if known is None else known.set.places
        # In a recording today's meaning of a tag says nothing of then.
        tags = moved_tags(answer, reference, before) if self._date_of is None else ()
        fetched = keep(
            self.store, answer, reference, wanted.digest, keys, keys.id, now, observed, self._platform, names, tags
        )
        return evidence_found(fetched, now)

    def _keyset(self) -> KeySet:
        trust = self._trust()
        if self._keys[0] != trust.keyset_id:
            self._keys = (trust.keyset_id, trust.candidate_set())
        return self._keys[1]


def reference_of(wanted: EvidenceWanted) -> ImageReference:
    """The reference a request is about; of its repository in any case, for that is what the answer is filed under."""
    try:
        reference = parse_reference(wanted.reference or f"{wanted.repository}@{wanted.digest}")
    except ImageReferenceError:
        reference = None
    if reference is None or reference.repository != wanted.repository:
        registry, _, path = wanted.repository.partition("/")
        return ImageReference(registry, path, digest=wanted.digest)
    return reference


def by_image(wanted: Iterable[EvidenceWanted]) -> dict[tuple[str, str], list[EvidenceWanted]]:
    """Requests of one batch by (repository, digest), in their order: what is asked about as one."""
    groups: dict[tuple[str, str], list[EvidenceWanted]] = {}
    for each in wanted:
        groups.setdefault((each.repository, each.digest), []).append(each)
    return groups


def names_of(group: Iterable[EvidenceWanted], known: Known | None) -> tuple[str, ...]:
    """Tags and pinned indexes to ask about: those of the requests, and the newest asked about before."""
    before = () if known is None else known.set.names
    own = tuple(dict.fromkeys(name for wanted in group for name in names_in(reference_of(wanted), wanted.digest)))
    return (*(name for name in before if name not in own), *own)[-KNOWN_NAMES:]


def left_out(
    answers: Iterable[tuple[Answer | None, EvidenceFound]], known: Callable[[str, str], EvidenceSet | None]
) -> Iterator[EvidenceWanted]:
    """Requests for images that were answered for before an index that lists them was known.

    An index is learned of by a tag, by a pinned digest, or because it runs itself; its signature covers what it lists.
    The request names the index, so it is made once (`EvidenceSet.names`).

    Args:
        answers: of one batch: what the place said, and what it came to.
        known: the newest set of (repository, digest) that is none of the batch's; None: nobody asked for it.
    """
    pairs = [(answer, found) for answer, found in answers if isinstance(answer, Collected)]
    own = {(found.set.repository, found.set.digest): found.set for _, found in pairs}
    said: set[tuple[str, str, str]] = set()
    for answer, found in pairs:
        repository = found.set.repository
        for child in answer.children:
            content = own.get((repository, child.digest)) or known(repository, child.digest)
            name = (repository, child.digest, child.index)
            if content is None or child.index in (*content.closure.indexes, *content.names) or name in said:
                continue
            if len(content.names) >= KNOWN_NAMES:  # each would push out another, without end
                continue
            said.add(name)
            reference, time = f"{repository}@{child.index}", max(found.time, content.fetched_at)
            yield EvidenceWanted(
                stable_id("evidence-wanted", *name, "index"), time, repository, child.digest, reference
            )


def evidence_found(fetched: Fetched, now: Micros) -> EvidenceFound:
    """What was fetched as the event that is broadcast."""
    found = fetched.set
    name = stable_id("evidence-found", found.repository, found.digest, found.version, now)
    return EvidenceFound(name, now, found, fetched.facts, fetched.first_seen)


# ------------------------------------------------------------------------------------------ what is too long, too early


def bounded(found: EvidenceFound, limit: int = FOUND_BYTES) -> EvidenceFound:
    """The answer within `limit` bytes, as a topic takes it; one that is short enough comes back as it is.

    First goes what no verdict looks at: digests that signed bytes name beside the image's own. Then pieces of evidence,
    those that vouch for something last; what is left out is said by the place `answer`, outcome `limit-exceeded`, and
    the set is not complete: nothing that is missing may count as absent. Lines about places are cut to the first ones,
    those that failed before the others.
    """
    if len(encode(found)) <= limit:
        return found
    closure = found.set.closure
    facts = tuple(_fewer_subjects(fact, closure) for fact in found.facts)
    shorter = _with(found, facts, found.set.places)
    if len(encode(shorter)) <= limit:
        return shorter
    places = _fewer_places(found.set.places, closure.running)
    shorter = _with(found, facts, places)
    if len(encode(shorter)) <= limit:
        return shorter
    marked = (*places, _mark(closure.running, len(facts), len(facts)))
    left = limit - len(encode(_with(found, (), marked))) - _PER_PIECE
    kept: set[str] = set()
    for fact in sorted(facts, key=_worth):
        cost = len(msgspec.msgpack.encode(fact)) + 2 * len(fact.evidence_id) + _PER_PIECE
        if cost <= left:
            kept.add(fact.evidence_id)
            left -= cost
    mark = _mark(closure.running, len(facts) - len(kept), len(facts))
    return _with(found, tuple(fact for fact in facts if fact.evidence_id in kept), (*places, mark))


def overtaken(found: EvidenceFound, asked: int, reached: int) -> EvidenceFound:
    """The answer to a request that was made under a later trust than this one is: not complete, and so asked again."""
    told = f"made under trust epoch {reached}, asked for under {asked}"
    mark = PlaceAsked(TRUST, found.set.digest, "error", "keys-pending", told)
    return _with(found, found.facts, (*found.set.places, mark))


def unbounded(known: Known) -> Known:
    """What was answered, without the marks of `bounded` and `overtaken`: it is made anew, from all the store has."""
    places = tuple(place for place in known.set.places if place.place not in {BOUND, TRUST})
    complete = all(place.outcome != "error" for place in places)
    return Known(msgspec.structs.replace(known.set, places=places, complete=complete), known.facts)


_PER_PIECE: Final = 32
"""Bytes around an evidence id in the set and in the dates, and the date itself."""
_PLACES_KEPT: Final = 64
"""Lines about places in an answer that is too long. An image with 16 indexes is asked about in 68."""
_DETAIL_KEPT: Final = 200
"""Characters of what such a line says."""


def _worth(fact: Fact) -> tuple[bool, bool, int, str]:
    """What says most, and is shortest, first; an order that does not depend on chance."""
    vouched = bool(fact.verified_by or fact.chains)
    return not vouched, bool(fact.problem), len(msgspec.msgpack.encode(fact)), fact.evidence_id


def _fewer_subjects(fact: Fact, closure: DigestClosure) -> Fact:
    own = tuple(digest for digest in fact.subjects if closure.via(digest) is not None)
    others = tuple(digest for digest in fact.subjects if closure.via(digest) is None)
    if len(others) <= SUBJECTS_KEPT:
        return fact
    return msgspec.structs.replace(fact, subjects=(*own, *others[:SUBJECTS_KEPT]))


def _fewer_places(places: tuple[PlaceAsked, ...], digest: str) -> tuple[PlaceAsked, ...]:
    """Errors first; what is left out said nothing that the set does not say, and is counted."""
    failed = [place for place in places if place.outcome == "error"]
    rest = [place for place in places if place.outcome != "error"]
    kept = [*failed, *rest][:_PLACES_KEPT]
    shown = tuple(msgspec.structs.replace(place, detail=place.detail[:_DETAIL_KEPT]) for place in kept)
    left_out = len(places) - len(kept)
    told = PlaceAsked(BOUND, digest, "found", "", f"{left_out} lines about places left out")
    return (*shown, told) if left_out else shown


def _mark(digest: str, left_out: int, of: int) -> PlaceAsked:
    told = f"{left_out} of {of} pieces of evidence left out: more than {FOUND_BYTES // 1024} KiB say too much at once"
    return PlaceAsked(BOUND, digest, "error", "limit-exceeded", told)


def _with(found: EvidenceFound, facts: tuple[Fact, ...], places: tuple[PlaceAsked, ...]) -> EvidenceFound:
    names = {fact.evidence_id for fact in facts}
    content = msgspec.structs.replace(
        found.set,
        evidence=tuple(name for name in found.set.evidence if name in names),
        places=places,
        complete=all(place.outcome != "error" for place in places),
    )
    content = msgspec.structs.replace(content, version=version_of(content))
    name = stable_id("evidence-found", content.repository, content.digest, content.version, found.time)
    seen = tuple(entry for entry in found.first_seen if entry[0] in names)
    return EvidenceFound(name, found.time, content, facts, seen)
