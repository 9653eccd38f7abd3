"""Pods: run intervals, class membership, and what a pod says of itself (drift, moved tags, ephemeral containers)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from alerting.models import Finding
from streams.events import ContainerChanged, EvidenceWanted, ObservedContainer, PodObserved, VerdictReached
from streams.handlers.classes import class_of, join, leave, runs_what, short_mark
from streams.handlers.findings import refresh
from streams.handlers.signers import note_running
from streams.handlers.speaking import container_changed, speak_live
from streams.state import (
    SEEN_KEPT,
    ContainerRow,
    PodKey,
    PodRow,
    ShardState,
    Suspect,
    Workload,
    WorkloadKey,
    pod_key,
    workload_text,
)
from verifier.errors import ImageReferenceError
from verifier.models import ImageReference
from verifier.oci.port import TAGGED
from verifier.reference import parse_reference
from verifier.times import MINUTE

UNADMITTED_GRACE: Final = 3 * MINUTE
"""Both feeds must have had this long to tell of an admission."""
ENDED_KEPT: Final = 10 * MINUTE
FINISHED_PHASES: Final = {"Succeeded": "completed", "Failed": "failed"}
_END_REASONS: Final = {
    "vanished": "pod-vanished",
    "excluded": "namespace-excluded",
    "cluster-retired": "cluster-retired",
}
"""How a pod's end is known, where nobody said that it was deleted -> why its containers ended."""

Output = ContainerChanged | EvidenceWanted | Finding | VerdictReached


def on_pod(state: ShardState, event: PodObserved) -> Iterator[Output]:
    """A pod state or its end. A state seen before changes nothing; nothing follows a pod's end."""
    key = pod_key(event.pod.cluster, event.pod.uid)
    before = state.pod(key)
    mark = short_mark(event.id)
    if before is not None and (mark in before.seen or before.gone is not None or _is_late(event, before)):
        return
    pod = event.pod
    workload = state.workload((pod.cluster, pod.namespace, pod.owner.kind, pod.owner.name))
    row = _row(event, before, mark)
    if before is None:
        _adopt_admission(state, workload, row)
        if not row.admitted_by and (row.cluster, "audit") in state.feeds:  # without that feed nothing is ever asked
            state.schedule(max(row.created, event.time) + UNADMITTED_GRACE, "admission", key.hex())
    wanted: list[EvidenceWanted] = []
    row.containers = _containers(state, event, row, before, wanted)
    yield from wanted
    ended = _move(state, key, workload, before, row)
    workload.alive += alive(row) - (before is not None and alive(before))
    state.put_pod(key, row)
    for class_id in dict.fromkeys(c.class_id for c in row.containers if c.class_id):
        yield from speak_live(state, state.classes[class_id])
    for container in (*ended, *_changed(before, row)):
        changed = container_changed(state, row, container)
        if event.gone_after and container.ended == event.time:  # nobody saw it end
            changed = msgspec.structs.replace(changed, ended_after=event.gone_after)
        yield changed
    settle(state, key, row, workload)
    yield from refresh(state, workload)


def _is_late(event: PodObserved, before: PodRow) -> bool:
    """Two watchers of one cluster may tell of the same changes, one behind the other: what is older than what is known
    is no news. Versions of one object are compared as numbers (KEP-5504). A list shows what is, whatever its version:
    a cluster that was restored from a backup counts from further back.
    """
    version, known = event.pod.resource_version, before.version
    return event.source == "watch" and version.isdecimal() and known.isdecimal() and int(version) < int(known)


def _row(event: PodObserved, before: PodRow | None, mark: bytes) -> PodRow:
    pod = event.pod
    return PodRow(
        cluster=pod.cluster,
        namespace=pod.namespace,
        name=pod.name,
        uid=pod.uid,
        owner=pod.owner,
        node=pod.node or (before.node if before is not None else ""),
        service_account=pod.service_account,
        labels=pod.labels,
        created=pod.created,
        mirror=pod.mirror,
        containers=[],
        seen=[*(before.seen if before is not None else []), mark][-SEEN_KEPT:],
        admitted_by=before.admitted_by if before is not None else "",
        denied_by=before.denied_by if before is not None else "",
        break_glass=before.break_glass if before is not None else "",
        unadmitted=before.unadmitted if before is not None else False,
        gone=event.time if event.gone else None,
        phase=pod.phase,
        version=pod.resource_version,
    )


def alive(row: PodRow) -> bool:
    """Does the pod run (or may it run again), as far as anybody said?"""
    return row.gone is None and row.phase not in FINISHED_PHASES


def _adopt_admission(state: ShardState, workload: Workload, row: PodRow) -> None:
    """Decisions may come before the pod: take what was kept for this uid or name."""
    kept = workload.row
    for name in (row.uid, f"name:{row.name}"):
        admitted, mark = kept.admissions.pop(name, ""), kept.break_glass.pop(name, "")
        row.admitted_by = row.admitted_by or admitted
        row.break_glass = row.break_glass or mark
        if admitted or mark:
            state.touch("workload", workload_text(workload.key))


def _containers(
    state: ShardState, event: PodObserved, row: PodRow, before: PodRow | None, wanted: list[EvidenceWanted]
) -> list[ContainerRow]:
    known = {(c.kind, c.name): c for c in before.containers} if before is not None else {}
    out = []
    for seen in event.pod.containers:
        previous = known.get((seen.kind, seen.name))
        if previous is not None and _patched_not_restarted(seen, previous):
            out.append(_ended_with_pod(event, row, previous))
            continue
        cls = class_of(state, row, seen, wanted)
        if cls is None and previous is not None and previous.class_id:
            out.append(_ended_with_pod(event, row, previous))  # a status that was lost does not undo what ran
            continue
        fresh = ContainerRow(
            kind=seen.kind,
            name=seen.name,
            digest=cls.row.digest if cls is not None else "",
            class_id=cls.id if cls is not None else "",
            state=seen.state,
            image=seen.image,
            started=_started(seen, previous),
            ended=seen.finished if seen.state == "terminated" else None,
            end_reason="completed" if seen.state == "terminated" else "",
            launched=seen.started,
        )
        out.append(_ended_with_pod(event, row, fresh))
    return out


def _patched_not_restarted(seen: ObservedContainer, previous: ContainerRow) -> bool:
    """The spec's image was changed on a running pod, and the status still tells of the old process: until the kubelet
    restarts the container, what runs is what ran (Kubernetes reference 2.2).
    """
    if not previous.class_id or seen.image == previous.image:
        return False
    restarted = (seen.started or 0) > (previous.launched or 0)
    return (seen.digest == previous.digest or not seen.digest) and not restarted


def _started(seen: ObservedContainer, previous: ContainerRow | None) -> int | None:
    """Start of the run interval: restarts with the same digest are one interval."""
    if previous is not None and previous.digest == seen.digest and previous.started is not None:
        return previous.started
    return seen.started


def _ended_with_pod(event: PodObserved, row: PodRow, container: ContainerRow) -> ContainerRow:
    if alive(row) or (container.ended is not None and container.end_reason not in ("", "completed")):
        return container
    return msgspec.structs.replace(
        container,
        state="terminated",
        ended=container.ended if container.ended is not None else event.time,
        end_reason=FINISHED_PHASES.get(row.phase, _END_REASONS.get(event.gone_reason, "pod-deleted")),
    )


def members(row: PodRow | None) -> dict[tuple[str, str], int]:
    """(class id, container name) of every instance of a pod that counts as running."""
    counts: dict[tuple[str, str], int] = {}
    if row is not None and alive(row):
        for c in row.containers:
            if c.class_id:
                name = f"volume:{c.name}" if c.kind == "image-volume" else c.name
                counts[(c.class_id, name)] = counts.get((c.class_id, name), 0) + 1
    return counts


def _move(state: ShardState, key: PodKey, workload: Workload, before: PodRow | None, row: PodRow) -> list[ContainerRow]:
    """Leave old classes, join new ones; returns the instances that ended because another one took their place."""
    old, new = members(before), members(row)
    for member in new:
        if member not in old:
            join(state.classes[member[0]], workload, key, member[1])
            note_running(state, workload, state.classes[member[0]], row.created or state.now)
    for member in old:
        if member not in new and member[0] in state.classes:
            leave(state, state.classes[member[0]], workload, key, member[1])
    if before is None:
        return []
    now_there = {(c.kind, c.name): c for c in row.containers}
    return [
        _succeeded(state, previous, now_there.get((previous.kind, previous.name)))
        for previous in before.containers
        if previous.ended is None and not _goes_on(previous, now_there.get((previous.kind, previous.name)))
    ]


def _goes_on(previous: ContainerRow, current: ContainerRow | None) -> bool:
    """Is it still the same instance, and so the same document?"""
    return current is not None and runs_what(previous) == runs_what(current)


def _succeeded(state: ShardState, previous: ContainerRow, current: ContainerRow | None) -> ContainerRow:
    """An instance whose place another one took. What waited for its image ends as `started` where that came."""
    came = not previous.class_id and current is not None and current.image == previous.image
    return msgspec.structs.replace(
        previous,
        state="terminated",
        ended=(current.started if current is not None else None) or state.now,
        end_reason="started" if came else "replaced",
    )


def end_pods_of(state: ShardState, cluster: str) -> Iterator[Output]:
    """A cluster was retired: whatever runs there has ended, with that as the reason, and its findings close."""
    workloads: dict[WorkloadKey, None] = {}
    for key in sorted(state.pods):
        before = state.pod(key)
        if before is None or before.cluster != cluster or before.gone is not None:
            continue
        row = msgspec.structs.replace(
            before, gone=state.now, containers=[_retired(state, c) for c in before.containers]
        )
        workload = state.workload(row.workload)
        _move(state, key, workload, before, row)
        workload.alive -= alive(before)
        state.put_pod(key, row)
        for container in _changed(before, row):
            yield container_changed(state, row, container)
        settle(state, key, row, workload)
        workloads[row.workload] = None
    for name in sorted(workloads):
        yield from refresh(state, state.workload(name))


def _retired(state: ShardState, container: ContainerRow) -> ContainerRow:
    if container.ended is not None:
        return container
    return msgspec.structs.replace(container, state="terminated", ended=state.now, end_reason="cluster-retired")


def _changed(before: PodRow | None, row: PodRow) -> list[ContainerRow]:
    """Containers whose document differs from what the pod's state before said."""
    if before is None or before.node != row.node or before.admitted_by != row.admitted_by:
        return list(row.containers)
    known = {(c.kind, c.name): c for c in before.containers}
    return [c for c in row.containers if known.get((c.kind, c.name)) != c]


# ------------------------------------------------------------------------------------ what a pod says of itself


def settle(state: ShardState, key: PodKey, row: PodRow, workload: Workload) -> None:
    """Keep the workload's list of suspicions in step with a pod."""
    suspects = tuple(_suspects(state, row, workload)) if alive(row) else ()
    if suspects:
        workload.suspects[key] = suspects
    else:
        workload.suspects.pop(key, None)
    if row.gone is not None:
        state.schedule(state.now + ENDED_KEPT, "pod", key.hex())


def _suspects(state: ShardState, row: PodRow, workload: Workload) -> Iterator[Suspect]:
    """Everything the pod itself gives away."""
    image = ("image", next((c.image for c in row.containers if c.kind == "main"), ""))
    if row.unadmitted and row.denied_by:
        yield Suspect("denied-but-running", detail=(("denied_by", row.denied_by), image))
    elif row.unadmitted:
        yield Suspect("unadmitted", detail=(image, ("pod", row.name)))
    if row.break_glass:
        user, _, mark = row.break_glass.partition("\0")
        yield Suspect("break-glass", detail=(image, ("mark", mark), ("user", user)))
    for container in row.containers:
        if container.kind == "ephemeral":
            yield Suspect("ephemeral-added", container.name, container.digest, (("image", container.image),))
        if container.digest:
            yield from _digest_suspects(state, container, workload)


def _digest_suspects(state: ShardState, container: ContainerRow, workload: Workload) -> Iterator[Suspect]:
    reference = _parsed(container.image)
    if reference is None:
        return
    if reference.digest:
        if not _same_image(state, container, reference.digest):
            yield Suspect("digest-drift", container.name, container.digest, (("expected", reference.digest),))
        return
    tag = f"{container.name}\0{reference}"
    first = workload.row.tags.get(tag)
    if first is None:
        workload.row.tags[tag] = container.digest
        state.touch("workload", workload_text(workload.key))
    elif not _same_image(state, container, first):
        detail = (("before", first), ("now", container.digest))
        yield Suspect("tag-moved", container.name, container.digest, detail)
        return
    moved = _moved_since(state, container, reference.tag)
    if moved:
        detail = (("before", container.digest), ("now", moved))
        yield Suspect("tag-moved", container.name, container.digest, detail)


def _moved_since(state: ShardState, container: ContainerRow, tag: str) -> str:
    """What the registry says that the tag means, when that is not what runs; empty when it is, or nobody asked."""
    cls = state.classes.get(container.class_id)
    found = cls.image.evidence.set if cls is not None else None
    if found is None:
        return ""
    named = [
        place.digest
        for place in found.places
        if place.place == TAGGED and place.outcome == "found" and place.detail == tag
    ]
    return next((digest for digest in named if found.closure.via(digest) is None), "")


def _parsed(image: str) -> ImageReference | None:
    try:
        return parse_reference(image)
    except ImageReferenceError:
        return None


def _same_image(state: ShardState, container: ContainerRow, expected: str) -> bool:
    """Equal, or index and platform manifest of one image. Before the evidence set is known, only equality is certain:
    a difference is then not yet held against the pod.
    """
    if container.digest == expected:
        return True
    cls = state.classes.get(container.class_id)
    if cls is None or cls.image.evidence.set is None:
        return True
    return cls.image.evidence.closure.via(expected) is not None
