"""Trust changes: fold the record, find what it touches, judge that again in slices between live events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

import msgspec

from alerting.models import Finding, IncidentPart, ShardReached
from streams.events import ContainerChanged, EvidenceWanted, TrustChanged, VerdictReached
from streams.handlers.causes import note_root
from streams.handlers.classes import want_evidence
from streams.handlers.findings import flush_parts, refresh
from streams.handlers.judging import govern, judge
from streams.handlers.pods import end_pods_of
from streams.handlers.shapes import found_by_index
from streams.handlers.signers import rolled_out
from streams.handlers.speaking import CAUSE, speak
from streams.state import Class, Image, Judged, ShardState, WorkloadKey
from verifier.impact import Impact, touched
from verifier.trust.describe import describe
from verifier.trust.records import TRUST_RECORD, PolicyPut, PolicyRemoved, TrustRecord

JUDGE_SLICE: Final = 2000
"""Classes judged per slice (some milliseconds; a slice must stay under 20 ms)."""
REFRESH_SLICE: Final = 200
"""Workloads refreshed, or classes spoken for, per slice."""

Output = ContainerChanged | EvidenceWanted | Finding | IncidentPart | ShardReached | VerdictReached


def on_trust(state: ShardState, event: TrustChanged) -> Iterator[Output]:
    """One entry of the trust log. An entry at or before the epoch reached is a redelivery."""
    if event.epoch <= state.trust.epoch:
        return
    yield from finish_sweep(state)  # sweeps never overlap: what was touched is judged under its own cause first
    record = TRUST_RECORD.validate_json(event.record)
    before = state.trust
    state.trust, _applied = before.apply(record, event.epoch)
    note_root(state, before, record, event.epoch)
    if record.kind == "cluster-retired" and state.trust.clusters is not before.clusters:
        yield from end_pods_of(state, record.cluster_id)
    impact = touched(before, state.trust, record)
    images = list(_touched_images(state, impact))
    classes = _touched_classes(state, impact, record, images)
    yield from _want_crypto(state, impact)
    # A policy's mode or version changes what is said and told even where the answer stays the same.
    spoken_anew = isinstance(record, PolicyPut | PolicyRemoved)
    also = rolled_out(state, images)  # what they run now may be compared with a touched image that ran before
    state.memory[CAUSE] = described = describe(record)
    state.sweep = sweep(state, classes, described, everything=spoken_anew, also=also)


def _touched_classes(state: ShardState, impact: Impact, record: TrustRecord, images: list[Image]) -> list[Class]:
    if record.kind == "cluster-put":
        _relabel(state, record.cluster_id)
    found: dict[str, Class] = {}
    if impact.everything:
        found = dict(state.classes)
        for cls in found.values():
            govern(state, cls)
    elif impact.policies:
        for class_id, cls in state.classes.items():
            before = cls.policies
            govern(state, cls, impact.policies)
            if before != cls.policies or any(p in impact.policies for p in cls.policies):
                found[class_id] = cls
    if impact.clusters:
        for class_id, cls in state.classes.items():
            if cls.row.scope.cluster in impact.clusters:
                govern(state, cls)
                found[class_id] = cls
    for image in images:
        image.key_epoch = -1
        found.update((class_id, state.classes[class_id]) for class_id in sorted(image.classes))
    return list(found.values())


def _touched_images(state: ShardState, impact: Impact) -> Iterator[Image]:
    slots: set[tuple[str, str]] = set()
    for key_id in (*impact.key_ids, *impact.anchors):
        slots |= state.key_images.get(key_id, set())
    unfound = []
    for record in impact.records:
        found = found_by_index(state, record)
        if found is None:
            unfound.append(record)
        else:
            slots |= found
    yield from (state.images[s] for s in sorted(slots) if s in state.images)  # the same order in every process
    looked = replace(impact, records=tuple(unfound))
    if looked.digests or looked.evidence or looked.records or looked.needs_crypto or looked.new_rules:
        for slot, image in state.images.items():
            if slot not in slots and looked.hits_image(image.evidence.closure, image.evidence.facts):
                yield image


def _want_crypto(state: ShardState, impact: Impact) -> Iterator[EvidenceWanted]:
    """A key, root or content rule was added: only evidence it may decide costs new cryptography."""
    if not (impact.needs_crypto or impact.new_rules):
        return
    for image in state.images.values():
        if image.classes and impact.wants_crypto(image.evidence.facts):
            reference = str(state.classes[min(image.classes)].row.scope.image)
            yield from want_evidence(state, image, reference, "keys-added")


def _relabel(state: ShardState, cluster: str) -> None:
    """A cluster's name or labels changed: policies see that through the scope of its classes."""
    entry = state.trust.clusters.get(cluster)
    if entry is None:  # the record was refused
        return
    for cls in state.classes.values():
        if cls.row.scope.cluster == cluster:
            labels = entry.labels
            cls.row.scope = msgspec.structs.replace(cls.row.scope, cluster_name=entry.name, cluster_labels=labels)
            state.touch("class", cls.id)


def sweep(
    state: ShardState,
    classes: list[Class],
    cause: str,
    *,
    everything: bool = False,
    also: Iterable[WorkloadKey] = (),
) -> Iterator[list[Output]]:
    """Judge, then tell incidents, then rewrite documents: the alert never waits for the rewrite.

    With `everything`, classes whose answer did not change are looked at too (after a restore, when what was judged may
    not have been said). `also`: workloads whose findings may change though no class of theirs was judged again.
    """
    # Live events judge classes before the sweep comes to them; what changed is told by what they held when it began.
    return _swept(state, [(cls, cls.judged) for cls in classes], cause, everything, also)


def _swept(
    state: ShardState,
    classes: Sequence[tuple[Class, Mapping[str, Judged]]],
    cause: str,
    everything: bool,
    also: Iterable[WorkloadKey],
) -> Iterator[list[Output]]:
    changed: list[Class] = []
    for number, (cls, held) in enumerate(classes, start=1):
        if cls.id in state.classes:
            judge(state, cls, state.now)
            if everything or (cls.judged is not held and cls.judged != held):
                changed.append(cls)
        if number % JUDGE_SLICE == 0:
            yield []
    yield []
    workloads: dict[WorkloadKey, None] = dict.fromkeys(also)
    for cls in changed:
        workloads.update(dict.fromkeys(cls.workloads))
    yield from _tell(state, sorted(workloads))
    for start in range(0, len(changed), REFRESH_SLICE):
        out: list[Output] = []
        for cls in changed[start : start + REFRESH_SLICE]:
            if cls.id in state.classes:
                out.extend(speak(state, cls, "trust", cause))
        yield out


def _tell(state: ShardState, workloads: list[WorkloadKey]) -> Iterator[list[Output]]:
    """Refresh findings; parts go out after 1, 2, 4, 8 … slices, so that the first is early and the sum is cheap. With
    the last ones goes the word that this shard has judged everything, so that totals are final at once.
    """
    for slices, start in enumerate(range(0, len(workloads), REFRESH_SLICE), start=1):
        out: list[Output] = []
        for key in workloads[start : start + REFRESH_SLICE]:
            out.extend(refresh(state, state.workload(key)))
        if start + REFRESH_SLICE >= len(workloads):
            yield [*out, *_told(state)]
            return
        if slices & (slices - 1) == 0:
            out.extend(flush_parts(state))
        yield out
    yield _told(state)


def _told(state: ShardState) -> list[Output]:
    reached = ShardReached(shard=state.shard, shards=state.shards, epoch=state.trust.epoch, time=state.now)
    return [*flush_parts(state), reached]


def sweep_slice(state: ShardState) -> list[Output] | None:
    """One slice of the running sweep; None when nothing is left to do."""
    if state.sweep is None:
        return None
    outputs = next(state.sweep, None)
    if outputs is None:
        state.sweep = None
        return None
    return list(outputs)  # type: ignore[arg-type]  # the generator yields Output


def finish_sweep(state: ShardState) -> Iterator[Output]:
    """All that is left of the running sweep."""
    while (outputs := sweep_slice(state)) is not None:
        yield from outputs
