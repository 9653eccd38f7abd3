"""Fetching: ask a place, keep what it has, and say what cryptography makes of it. No IO of its own.

    fetched = await fetch(place, store, reference, digest, keyset, keyset.id, instant, observed_time, platform)
    fetched.set, fetched.facts, fetched.first_seen

Evidence is kept from first sight: what the store has and the place no longer shows stays in the set, and a line of
`places` says so. A place that fails adds nothing and takes nothing away, but the set is then not complete.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

import msgspec

from verifier.canonical import stable_id
from verifier.errors import PlaceError
from verifier.facts.candidates import KeySet
from verifier.facts.derive import derive_facts, is_open
from verifier.models import DigestClosure, Evidence, EvidenceSet, Fact, ImageReference, Micros, PlaceAsked
from verifier.oci.manifests import child_of_platform
from verifier.oci.port import KEPT, TAGGED, Collected, EvidencePlace, EvidenceStore

_ERROR_CODES: Final = frozenset(
    {
        "registry-unauthorized",
        "registry-not-allowed",
        "registry-not-found",
        "registry-rate-limited",
        "registry-unavailable",
        "registry-protocol",
        "limit-exceeded",
        "reference-unparsable",
    }
)


class Fetched(NamedTuple):
    """What is known about (repository, digest) after asking; the members of `EvidenceFound`."""

    set: EvidenceSet
    facts: tuple[Fact, ...]
    """In the order of `set.evidence`."""
    first_seen: tuple[tuple[str, Micros], ...]
    """(evidence id, time), in the order of `set.evidence`; undated evidence is missing."""
    retry_after: Micros | None = None
    """Longest wait a place asked for, in microseconds."""


async def fetch(
    place: EvidencePlace,
    store: EvidenceStore,
    reference: ImageReference,
    digest: str,
    keyset: KeySet,
    keyset_id: str,
    instant: Micros,
    observed_time: Micros | None,
    platform: str | None = None,
) -> Fetched:
    """Asks every place once, keeps what is new, and derives the facts of all that is known.

    Args:
        place: where evidence is published.
        store: where it is kept; written to before this returns.
        reference: from the pod's specification; names the repository.
        digest: the running digest.
        keyset: the candidate keys.
        keyset_id: id the set is filed under (`TrustState.keyset_id`); the same as `keyset.id`.
        instant: now, for `EvidenceSet.fetched_at`.
        observed_time: when the evidence is known to have been seen, for what has no earlier date; None: no date.
        platform: `os/arch[/variant]` of the node, when known.

    Raises:
        ImageReferenceError: the reference or the digest cannot be asked for.
        PlaceUnavailable, PlaceRefused: the *store* failed; nothing is known then.
    """
    known = store.indexes_of(reference.repository, digest)
    try:
        answer: Collected | PlaceError = await place.collect(reference, digest, platform, known)
    except PlaceError as error:
        answer = error
    return keep(store, answer, reference, digest, keyset, keyset_id, instant, observed_time, platform)


def keep(
    store: EvidenceStore,
    answer: Collected | PlaceError,
    reference: ImageReference,
    digest: str,
    keyset: KeySet,
    keyset_id: str,
    instant: Micros,
    observed_time: Micros | None,
    platform: str | None = None,
    names: tuple[str, ...] = (),
    tags: tuple[PlaceAsked, ...] = (),
) -> Fetched:
    """The second half of `fetch`, which waits for nothing but the store: what a place has answered, kept and judged.

    `names` are those asked about (`EvidenceSet.names`), `tags` what they mean by now, where that is something else.

    Raises:
        PlaceUnavailable, PlaceRefused: the store failed.
    """
    repository = reference.repository
    collected = (
        answer if isinstance(answer, Collected) else _failed(answer, digest, store.indexes_of(repository, digest))
    )
    store.link(repository, collected.children)
    for evidence in collected.evidence:
        store.put(evidence, observed_time)
    closure = _with_known_child(store, repository, collected, platform)
    found = _all_kept(store, repository, closure)
    shown = {evidence.id for evidence in collected.evidence}
    gone = [evidence for evidence in found if evidence.id not in shown]
    places = (*collected.places, *tags, *_kept_lines(gone))
    framed = _frame(repository, closure, places, instant, keyset_id, names)
    return _fetched(store, framed, found, keyset)._replace(retry_after=collected.retry_after)


def rekey(
    store: EvidenceStore, known: EvidenceSet, keyset: KeySet, instant: Micros, facts: Iterable[Fact] = ()
) -> Fetched:
    """`known` under other candidates: same closure, same answers of the places, evidence from the store. Asks no place.

    `facts` are those made before; of them only the open ones (`facts.is_open`) are made anew, so that an added key or
    root costs what it can decide and nothing else.

    Raises:
        PlaceUnavailable, PlaceRefused: the store failed.
    """
    # Newer than what it replaces even where a recording's clock stands still: the newest set wins.
    framed = msgspec.structs.replace(known, keyset=keyset.id, fetched_at=max(instant, known.fetched_at + 1))
    settled = {fact.evidence_id: fact for fact in facts if not is_open(fact, keyset)}
    return _fetched(store, framed, _all_kept(store, known.repository, known.closure), keyset, settled)


def moved_tags(
    answer: Collected | PlaceError, reference: ImageReference, before: Iterable[PlaceAsked] = ()
) -> tuple[PlaceAsked, ...]:
    """What the tags of an image mean by now, where it is another image: the reference's, as it was answered, and those
    that were told before (`before`, lines of the last set) and not asked about this time.
    """
    kept = tuple(place for place in before if place.place == TAGGED and place.outcome == "found")
    if not isinstance(answer, Collected) or not answer.tag_digest:
        return kept
    others = tuple(place for place in kept if place.detail != reference.tag)
    if answer.closure.via(answer.tag_digest) is not None:
        return others
    return (*others, PlaceAsked(TAGGED, answer.tag_digest, "found", "", reference.tag))


def _failed(error: PlaceError, digest: str, known: tuple[str, ...]) -> Collected:
    """A place that fails as a whole is one answer: nobody can tell."""
    code = error.code if error.code in _ERROR_CODES else "registry-unavailable"
    told = PlaceAsked("place", digest, "error", code, str(error))
    return Collected((), DigestClosure(digest, indexes=known), (told,))


def _with_known_child(
    store: EvidenceStore, repository: str, collected: Collected, platform: str | None
) -> DigestClosure:
    """The closure; of an index that could not be read today, the child is the one read in it before."""
    closure = collected.closure
    if closure.children or not platform or collected.is_index:
        return closure
    child = child_of_platform(store.children_of(repository, closure.running), platform)
    return msgspec.structs.replace(closure, children=(child,) if child else ())


def _all_kept(store: EvidenceStore, repository: str, closure: DigestClosure) -> list[Evidence]:
    """Everything the store has for the closure: the running digest's first, then by id."""
    subjects = (closure.running, *closure.indexes, *closure.children)
    return [evidence for subject in subjects for evidence in store.for_digest(repository, subject)]


def _kept_lines(gone: Iterable[Evidence]) -> list[PlaceAsked]:
    """Per subject, what is kept although no place shows it any more. No error: it takes nothing from completeness."""
    ids: dict[str, list[str]] = {}
    for evidence in gone:
        ids.setdefault(evidence.subject, []).append(evidence.id)
    return [
        PlaceAsked(
            KEPT, subject, "found", "", f"{len(names)} kept from first sight and not published now: {_listed(names)}"
        )
        for subject, names in ids.items()
    ]


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(name[:19] for name in names[:3]) + more


def _frame(
    repository: str,
    closure: DigestClosure,
    places: tuple[PlaceAsked, ...],
    instant: Micros,
    keyset: str,
    names: tuple[str, ...],
) -> EvidenceSet:
    """The set without its evidence."""
    complete = all(place.outcome != "error" for place in places)
    return EvidenceSet(repository, closure.running, (), closure, places, complete, instant, keyset, "", names)


def _fetched(
    store: EvidenceStore,
    framed: EvidenceSet,
    found: list[Evidence],
    keyset: KeySet,
    settled: Mapping[str, Fact] = MappingProxyType({}),
) -> Fetched:
    ids = tuple(dict.fromkeys(evidence.id for evidence in found))
    made = _facts([evidence for evidence in found if evidence.id not in settled], keyset)
    facts = {**settled, **{fact.evidence_id: fact for fact in made}}
    dates = store.first_seen(ids)
    filled = msgspec.structs.replace(framed, evidence=ids)
    return Fetched(
        msgspec.structs.replace(filled, version=version_of(filled)),
        tuple(facts[name] for name in ids),
        tuple((name, dates[name]) for name in ids if name in dates),
    )


def _facts(found: Iterable[Evidence], keyset: KeySet) -> tuple[Fact, ...]:
    """One fact per piece of evidence. Of the same bytes at two places, the fact that says most is kept.

    A signature copied beside another image of the closure is the same evidence: it counts for what it names.
    """
    best: dict[str, Fact] = {}
    for fact in derive_facts(list(found), keyset):
        before = best.get(fact.evidence_id)
        if before is None or _says(fact) > _says(before):
            best[fact.evidence_id] = fact
    return tuple(best.values())


def _says(fact: Fact) -> tuple[bool, bool]:
    return bool(fact.verified_by or fact.chains), fact.subject in fact.subjects


def version_of(content: EvidenceSet) -> str:
    """`EvidenceSet.version`: a hash of what verdicts depend on.

    When it was fetched, and in which words a place failed, is left out.
    """
    closure = content.closure
    return stable_id(
        "evidence-set",
        content.repository,
        content.digest,
        [
            sorted(content.evidence),
            [closure.running, sorted(closure.indexes), sorted(closure.children)],
            sorted([place.place, place.digest, place.outcome, place.code] for place in content.places),
            content.keyset,
        ],
    )
