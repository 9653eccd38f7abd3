"""What becomes of evidence that was seen: looked for again, gone, or not asked about for long.

Every image that runs is asked about again once in `ShardState.max_age`, at an instant of its own, so that a fleet is
asked for evenly and every shard asks at the same time (one answer reaches all). Between two sweeps registries say
themselves what is new (`streams.serving.notified`). Recordings are not swept: their place is of today.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from streams.events import EvidenceWanted
from streams.handlers.classes import want_evidence
from streams.state import Class, Image, ShardState
from verifier.models import EvidenceSet, Micros
from verifier.oci.port import KEPT

STALE_AFTER: Final = 2
"""Sweeps in a row without a complete answer, after which it is a finding."""
_ONLY_LOST: Final = frozenset({"registry-not-found"})
"""What a place may have answered with for evidence to be gone, and not only out of sight."""


def lost(found: EvidenceSet | None) -> str | None:
    """What was published and is not any more, in words; empty: nothing is missing; None: nobody can tell now."""
    if found is None or not all(p.code in _ONLY_LOST for p in found.places if p.outcome == "error"):
        return None
    return "; ".join(place.detail for place in found.places if place.place == KEPT and place.outcome == "found")


def next_sweep(state: ShardState, image: Image) -> Micros:
    """When an image is asked about again; the same for every shard."""
    phase = int(image.evidence.digest.rpartition(":")[2][:12] or "0", 16) % state.max_age
    return state.now + state.max_age - (state.now - phase) % state.max_age


def keep_fresh(state: ShardState, image: Image, key: str) -> None:
    """Have an image whose evidence is known looked at again in time. `key`: as `sweep` takes it."""
    found = image.evidence.set
    if not state.max_age or found is None:
        return
    state.schedule(next_sweep(state, image), "sweep", key)
    if found.complete:
        image.complete_at = max(image.complete_at, found.fetched_at)
    elif not image.complete_at:
        image.complete_at = found.fetched_at  # it was never asked about completely: counted from the first answer
    if not found.complete:
        state.schedule(max(state.now, stale_at(state, image)), "stale", key)


def stale_at(state: ShardState, image: Image) -> Micros:
    """When what is known of an image has become old, if no complete answer comes before."""
    return image.complete_at + STALE_AFTER * state.max_age


def is_stale(state: ShardState, cls: Class) -> bool:
    """Nobody could ask completely for long."""
    image = cls.image
    known = image.evidence.set
    return bool(state.max_age and known and not known.complete and state.now >= stale_at(state, image))


def why_not_asked(found: EvidenceSet | None) -> str:
    """The first place that did not answer, and how."""
    places = () if found is None else found.places
    failed = next((place for place in places if place.outcome == "error"), None)
    return "" if failed is None else f"{failed.place}: {failed.detail or failed.code}"


def sweep(state: ShardState, key: str) -> Iterator[EvidenceWanted]:
    """Ask about an image again, unless that was just done."""
    image = _image(state, key)
    if image is None or not image.classes or not state.max_age:
        return
    state.schedule(next_sweep(state, image), "sweep", key)
    found = image.evidence.set
    if found is not None and state.now - found.fetched_at >= state.max_age // 4:
        scope = state.classes[min(image.classes)].row.scope
        yield from want_evidence(state, image, str(scope.image), "stale")


def _image(state: ShardState, key: str) -> Image | None:
    repository, _, digest = key.rpartition("\0")
    return state.images.get((repository, digest))


def workloads_of(state: ShardState, key: str) -> list[tuple[str, str, str, str]]:
    """Who runs an image."""
    image = _image(state, key)
    classes = () if image is None else image.classes
    return sorted({workload for name in classes for workload in state.classes[name].workloads})
