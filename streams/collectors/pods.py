"""Pods of lists and watches -> observations.

    read_pod(wire.POD.decode(line), cluster="c1", source="watch", time=1795200704000000)

Identity is the uid, never the name: a StatefulSet reuses names. Policy scope comes from `spec`, content from
`imageID`; the two are joined by container name, and may name different repositories.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final

import msgspec

from streams.collectors import wire
from streams.collectors.deadletters import Problem
from streams.collectors.owners import ARGO_HASH_LABEL, controller_of, naked_owner, stable_labels, top_owner
from streams.events import (
    ContainerKind,
    ObservedContainer,
    Owner,
    Pod,
    PodObserved,
    RunState,
)
from verifier.canonical import stable_id
from verifier.reference import parse_image_id

_ENCODER: Final = msgspec.json.Encoder()
_NO_STATUS: Final = wire.PodStatus()
_NO_SPEC: Final = wire.RunningSpec()
_STATIC_SOURCES: Final = frozenset({"file", "http"})
"""`kubernetes.io/config.source` of pods the kubelet makes by itself; a kubelet's own list has no mirror mark."""


# ---------------------------------------------------------------------------------------------------------------- time


def newest(pod: wire.Pod) -> int | None:
    """The newest instant that stands in a pod: a recording has no times of its own. None when there is none.

    A deletion timestamp lies in the future by the grace period, which is taken off.
    """
    found = [time for text in _times(pod) if (time := wire.micros(text)) is not None]
    meta = pod.metadata
    if meta and (deleted := wire.micros(meta.deletion_timestamp)):
        found.append(deleted - (meta.deletion_grace_period_seconds or 0) * 1_000_000)
    return max(found, default=None)


def _times(pod: wire.Pod) -> Iterator[str | None]:
    if pod.metadata:
        yield pod.metadata.creation_timestamp
    status = pod.status
    if status is None:
        return
    yield status.start_time
    for condition in status.conditions or ():
        yield condition.last_transition_time
    for statuses in (status.container_statuses, status.init_container_statuses, status.ephemeral_container_statuses):
        for container in statuses or ():
            if state := container.state:
                yield state.running.started_at if state.running else None
                yield state.terminated.started_at if state.terminated else None
                yield state.terminated.finished_at if state.terminated else None


# ---------------------------------------------------------------------------------------------------------- containers


def _state(status: wire.ContainerStatus) -> tuple[RunState, int | None, int | None]:
    """(state, started, finished). A container without a state has not started (API conventions of ContainerState)."""
    state = status.state
    if state and state.running:
        return "running", wire.micros(state.running.started_at), None
    if state and state.terminated:
        return "terminated", wire.micros(state.terminated.started_at), wire.micros(state.terminated.finished_at)
    return "waiting", None, None


def _container(kind: ContainerKind, name: str, image: str, status: wire.ContainerStatus | None) -> ObservedContainer:
    if status is None:
        return ObservedContainer(kind, name, image)
    running = parse_image_id(status.image_id or "")
    state, started, finished = _state(status)
    return ObservedContainer(
        kind=kind,
        name=name,
        image=image,
        digest=running.digest if running.kind == "repo-digest" else "",
        image_id_kind=running.kind,
        image_repository=running.repository,
        state=state,
        started=started,
        finished=finished,
        container_id=status.container_id or "",
        restarts=status.restart_count or 0,
    )


def _joined(
    kind: ContainerKind, specs: list[wire.Container] | None, statuses: list[wire.ContainerStatus] | None
) -> Iterator[ObservedContainer]:
    """Spec and status by name. A status without a spec is shown too: it runs."""
    by_name = {status.name or "": status for status in statuses or ()}
    for spec in specs or ():
        name = spec.name or ""
        actual: ContainerKind = "sidecar" if kind == "init" and spec.restart_policy == "Always" else kind
        yield _container(actual, name, spec.image or "", by_name.pop(name, None))
    for name, status in by_name.items():
        yield _container(kind, name, "", status)


_RUN_STATES: Final[dict[str, RunState]] = {"Running": "running", "Succeeded": "terminated", "Failed": "terminated"}


def _image_volumes(spec: wire.PodSpec, status: wire.PodStatus) -> Iterator[ObservedContainer]:
    """Image volumes: mounted as long as the pod runs; their digest only where the kubelet reports it (KEP-5365)."""
    volumes = [volume for volume in spec.volumes or () if volume.image]
    if not volumes:
        return
    mounted = {
        mount.name: mount.volume_status.image.image_ref or ""
        for container in status.container_statuses or ()
        for mount in container.volume_mounts or ()
        if mount.volume_status and mount.volume_status.image
    }
    for volume in volumes:
        running = parse_image_id(mounted.get(volume.name, ""))
        yield ObservedContainer(
            kind="image-volume",
            name=volume.name or "",
            image=(volume.image.reference if volume.image else None) or "",
            digest=running.digest if running.kind == "repo-digest" else "",
            image_id_kind=running.kind,
            image_repository=running.repository,
            state=_RUN_STATES.get(status.phase or "", "waiting"),
            started=wire.micros(status.start_time) if status.phase in _RUN_STATES else None,
        )


def _containers(spec: wire.RunningSpec, status: wire.PodStatus) -> Iterator[ObservedContainer]:
    yield from _joined("init", spec.init_containers, status.init_container_statuses)
    yield from _joined("main", spec.containers, status.container_statuses)
    yield from _joined("ephemeral", spec.ephemeral_containers, status.ephemeral_container_statuses)
    yield from _image_volumes(spec, status)


# ----------------------------------------------------------------------------------------------------------------- pod


def _is_static(annotations: dict[str, msgspec.Raw] | None) -> bool:
    if not annotations:
        return False
    source = annotations.get("kubernetes.io/config.source")
    return "kubernetes.io/config.mirror" in annotations or wire.text_of(source) in _STATIC_SOURCES


def _owner(meta: wire.PodMeta, node: str, *, static: bool) -> Owner:
    if reference := controller_of(meta.owner_references):
        labels = meta.labels or {}
        argo = ARGO_HASH_LABEL in labels
        return top_owner(reference, labels.get(ARGO_HASH_LABEL if argo else "pod-template-hash", ""), argo=argo)
    if static:
        return Owner("Node", node)
    return naked_owner(meta.name or "", meta.generate_name or "")


def reduced_pod(pod: wire.Pod, cluster: str) -> Pod | Problem:
    """What is kept of a pod of `cluster`."""
    meta = pod.metadata
    if meta is None or not meta.uid or not meta.name or not meta.namespace:
        return Problem("member-missing", "metadata.uid, metadata.name and metadata.namespace")
    spec, status = pod.spec or _NO_SPEC, pod.status or _NO_STATUS
    node, static = spec.node_name or "", _is_static(meta.annotations)
    return Pod(
        cluster=cluster,
        namespace=meta.namespace,
        name=meta.name,
        uid=meta.uid,
        owner=_owner(meta, node, static=static),
        resource_version=meta.resource_version or "",
        created=wire.micros(meta.creation_timestamp) or 0,
        deleted=wire.micros(meta.deletion_timestamp),
        node=node,
        service_account=spec.service_account_name or "",
        labels=stable_labels(meta.labels),
        phase=status.phase or "",
        mirror=static,
        containers=tuple(_containers(spec, status)),
    )


def observed_pod(reduced: Pod, *, source: str, time: int, gone: bool = False) -> PodObserved:
    """The observation of a reduced pod; the same state has the same id, whoever tells of it."""
    content = hashlib.sha256(_ENCODER.encode(reduced)).hexdigest()
    return PodObserved(
        id=stable_id("pod", reduced.cluster, reduced.uid, reduced.resource_version, content, gone),
        time=time,
        source=source,
        pod=reduced,
        gone=gone,
    )


def read_pod(pod: wire.Pod, *, cluster: str, source: str, time: int, gone: bool = False) -> PodObserved | Problem:
    """A pod state.

    Args:
        pod: decoded by `wire.POD` or `wire.WATCHED_POD`.
        cluster: stable id of the cluster.
        source: `watch`, `list`, `file:NAME`.
        time: microseconds; see `newest`.
        gone: the last state of a deleted pod.
    """
    reduced = reduced_pod(pod, cluster)
    return reduced if isinstance(reduced, Problem) else observed_pod(reduced, source=source, time=time, gone=gone)
