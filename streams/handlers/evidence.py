"""Evidence arrives: facts replace older ones, classes of the digest are judged again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from alerting.models import Finding
from streams.events import ContainerChanged, EvidenceFound, EvidenceWanted, VerdictReached
from streams.handlers.classes import image_of, want_evidence
from streams.handlers.findings import refresh
from streams.handlers.freshness import keep_fresh
from streams.handlers.judging import judge
from streams.handlers.pods import settle
from streams.handlers.shapes import identity_groups
from streams.handlers.signers import rolled_out
from streams.handlers.speaking import speak
from streams.state import Image, ShardState, WorkloadKey
from verifier.impact import outdated, rests_on
from verifier.models import EvidenceSet, Micros
from verifier.times import MINUTE
from verifier.verify import ImageEvidence

RETRY_AFTER: Final = (1 * MINUTE, 5 * MINUTE, 15 * MINUTE, 60 * MINUTE)
"""When an incomplete set is asked for again; the last one repeats."""

Output = ContainerChanged | EvidenceWanted | Finding | VerdictReached


def on_evidence(state: ShardState, event: EvidenceFound) -> Iterator[Output]:
    """A newer set for (repository, digest). Older or equal ones change nothing, whatever order they come in."""
    image = image_of(state, event.set.repository, event.set.digest)
    if not _newer(image.evidence, event):
        return
    learn(state, image, event)
    keep_fresh(state, image, f"{event.set.repository}\0{event.set.digest}")
    state.touch("image", f"{event.set.repository}\0{event.set.digest}")
    if not event.set.complete:
        wait = RETRY_AFTER[min(image.attempts, len(RETRY_AFTER)) - 1] if image.attempts else RETRY_AFTER[0]
        state.schedule(state.now + wait, "retry", f"{event.set.repository}\0{event.set.digest}")
    yield from _ask_again(state, image)
    yield from rejudge_image(state, image, "evidence", "evidence fetched")


def _ask_again(state: ShardState, image: Image) -> Iterator[EvidenceWanted]:
    """Trust moved on while the answer was made: what came was checked against fewer candidates than there are now.

    Nobody asked for it when the key was added, for it was not known yet. Once per epoch: a fetcher that is ahead of
    this shard needs no second question.
    """
    trust, found = state.trust, image.evidence
    if not image.classes or found.set is None or found.set.keyset == trust.keyset_id:
        return
    if image.asked_epoch < trust.epoch and outdated(found.facts, trust):
        scope = state.classes[min(image.classes)].row.scope
        yield from want_evidence(state, image, str(scope.image), "keys-added")


def _newer(known: ImageEvidence, event: EvidenceFound) -> bool:
    if known.set is None:
        return True
    if dict(event.first_seen) != known.first_seen and event.set.version == known.set.version:
        return True
    return _rank(event.set) > _rank(known.set)


def _rank(found: EvidenceSet) -> tuple[Micros, str]:
    return found.fetched_at, found.version


def learn(state: ShardState, image: Image, event: EvidenceFound) -> None:
    """Replace what is known; first sight stays the earliest ever heard."""
    known = image.evidence
    seen = dict(event.first_seen)
    for evidence_id, at in known.first_seen.items():
        seen[evidence_id] = min(at, seen.get(evidence_id, at))
    older = known.set is not None and _rank(event.set) < _rank(known.set)
    image.evidence = ImageEvidence(
        repository=known.repository,
        digest=known.digest,
        set=known.set if older else event.set,
        facts=known.facts if older else event.facts,
        first_seen=seen,
        problem=known.problem,
    )
    image.key_epoch = -1
    index_keys(state, image)


def index_keys(state: ShardState, image: Image) -> None:
    """Remember which keys, authorities, logs and identities this image's evidence rests on."""
    slot = (image.evidence.repository, image.evidence.digest)
    for fact in image.evidence.facts:
        for name in rests_on(fact):
            state.key_images.setdefault(name, set()).add(slot)
    for group in identity_groups(image.evidence.facts):
        state.key_images.setdefault(group, set()).add(slot)


def rejudge_image(state: ShardState, image: Image, trigger: str, cause: str) -> Iterator[Output]:
    """Judge every class of an image now, speak, and refresh the workloads that run it."""
    workloads: dict[WorkloadKey, None] = {}
    for class_id in sorted(image.classes):
        cls = state.classes[class_id]
        judge(state, cls, state.now)
        yield from speak(state, cls, trigger, cause)
        for key in sorted(set(cls.pods)):  # the closure may explain or prove a drift
            row = state.pod(key)
            if row is not None:
                settle(state, key, row, state.workload(row.workload))
        workloads.update(dict.fromkeys(cls.workloads))
    workloads.update(dict.fromkeys(rolled_out(state, (image,))))  # whoever ran it before compares with it
    for workload in sorted(workloads):
        yield from refresh(state, state.workload(workload))


def retry(state: ShardState, key: str) -> Iterator[Output]:
    """Ask again for a digest whose set is incomplete."""
    repository, _, digest = key.rpartition("\0")
    image = state.images.get((repository, digest))
    if image is None or not image.classes or image.evidence.set is None or image.evidence.set.complete:
        return
    scope = state.classes[min(image.classes)].row.scope
    yield from want_evidence(state, image, str(scope.image), "retry")
