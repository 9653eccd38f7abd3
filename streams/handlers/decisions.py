"""Admission decisions joined with pods: who let it in, what was denied and runs anyway, what was let in unchecked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from alerting.models import Finding
from streams.collectors.engines import NOT_PROVENANCE
from streams.events import ContainerChanged, DecisionObserved, FeedSeen
from streams.handlers.findings import refresh
from streams.handlers.pods import UNADMITTED_GRACE, alive, settle
from streams.handlers.speaking import container_changed
from streams.sight import DELIVERED, FeedRow
from streams.state import DeniedRow, PodKey, PodRow, ShardState, Workload, pod_key, workload_text
from verifier.times import MINUTE

CREATED: Final = 201
ADMISSIONS_KEPT: Final = 4096
DENIALS_KEPT: Final = 64
DENIAL_AGE: Final = 24 * 60 * MINUTE
POD_RESOURCES: Final = frozenset({"pods", "pods/ephemeralcontainers"})
FAILED_OPEN_QUIET: Final = 60 * MINUTE
"""A failed-open finding closes when the webhook let nothing through unchecked for this long."""


def on_decision(state: ShardState, event: DecisionObserved) -> Iterator[Finding | ContainerChanged]:
    """What admission said. A dry run persists nothing and is only recorded."""
    if event.dry_run:
        return
    workload = state.workload((event.cluster, event.namespace, event.owner.kind, event.owner.name))
    if event.outcome == "admitted":
        yield from _admitted(state, workload, event)
    elif event.outcome == "denied" and event.resource == "pods" and event.operation in ("create", "patch"):
        _denied(state, workload, event)
    yield from refresh(state, workload)


def _admitted(state: ShardState, workload: Workload, event: DecisionObserved) -> Iterator[ContainerChanged]:
    if event.failed_open:
        _failed_open(state, workload, event)
    if event.resource not in POD_RESOURCES or event.operation == "delete":
        return
    created = event.operation == "create" or event.code == CREATED  # server-side apply creates by a patch
    key = _known_pod(state, workload, event)
    if key is None:
        name = event.uid or (f"name:{event.name}" if event.name else "")
        if name and created:
            _keep(workload.row.admissions, name, event.id)
            if event.break_glass:
                _keep(workload.row.break_glass, name, f"{event.user}\0{event.break_glass}")
            state.touch("workload", workload_text(workload.key))
        return
    row = state.pod(key)
    if row is None:
        return
    if created:
        known = row.admitted_by
        row.admitted_by = min(filter(None, (known, event.id)))  # the same whichever of two came first
        row.unadmitted, row.denied_by = False, ""
    if event.break_glass:
        row.break_glass = row.break_glass or f"{event.user}\0{event.break_glass}"
    state.put_pod(key, row)
    settle(state, key, row, workload)
    for container in row.containers:
        yield container_changed(state, row, container)


def _known_pod(state: ShardState, workload: Workload, event: DecisionObserved) -> PodKey | None:
    if event.uid:
        key = pod_key(event.cluster, event.uid)
        return key if key in state.pods else None
    for key in sorted({k for class_id in workload.classes for k in state.classes[class_id].pods}):
        row = state.pod(key)  # level Metadata: only the name is known
        if row is not None and event.name and row.name == event.name:
            return key
    return None


def _keep(kept: dict[str, str], name: str, value: str) -> None:
    if name in kept:
        value = min(kept[name], value)
    kept[name] = value
    while len(kept) > ADMISSIONS_KEPT:
        kept.pop(next(iter(kept)))


def _denied(state: ShardState, workload: Workload, event: DecisionObserved) -> None:
    if event.engine in NOT_PROVENANCE:  # a quota says nothing about the image, and the next try may well pass
        return
    images = tuple(sorted({i.submitted for i in event.images}))
    denial = DeniedRow(event.id, event.time, event.name, images, event.by)
    kept = [d for d in workload.row.denials if d.time > event.time - DENIAL_AGE and d.decision != event.id]
    workload.row.denials = sorted([*kept, denial], key=lambda d: (d.time, d.decision))[-DENIALS_KEPT:]
    state.touch("workload", workload_text(workload.key))


def _failed_open(state: ShardState, workload: Workload, event: DecisionObserved) -> None:
    for webhook in event.failed_open:
        image = event.images[0].submitted if event.images else ""
        before, kept = workload.row.failed_open.get(webhook, (0, image))
        workload.row.failed_open[webhook] = (event.time, image) if event.time >= before else (before, kept)
        key = workload_text(workload.key)
        state.touch("workload", key)
        state.schedule(max(before, event.time) + FAILED_OPEN_QUIET, "failed-open", key)


def quiet_again(state: ShardState, workload: Workload) -> None:
    """Forget webhooks that let nothing through for FAILED_OPEN_QUIET."""
    kept = {w: last for w, last in workload.row.failed_open.items() if state.now - last[0] < FAILED_OPEN_QUIET}
    if kept != workload.row.failed_open:
        workload.row.failed_open = kept
        state.touch("workload", workload_text(workload.key))


# ------------------------------------------------------------------------------------------------ unadmitted


def check_admission(state: ShardState, key: PodKey) -> Iterator[Finding]:
    """The grace is over: is there an admission on record? Asked only where the audit feed was seen when the pod was
    created and until its event must have come; what was created while revet was blind is neither innocent nor guilty.
    """
    row = state.pod(key)
    if row is None or row.admitted_by or row.unadmitted or not alive(row):
        return
    audit, pods = state.feeds.get((row.cluster, "audit")), state.feeds.get((row.cluster, "pods"))
    stretch = audit.around(row.created) if audit is not None else None
    if audit is None or pods is None or stretch is None:
        return
    since, last = stretch
    ready = max(row.created, since, pods.since) + UNADMITTED_GRACE
    if state.now < ready:
        state.schedule(ready, "admission", key.hex())
        return
    if last < row.created + DELIVERED:
        if since == audit.since:  # nothing was heard since; it may still be
            state.schedule(state.now + UNADMITTED_GRACE, "admission", key.hex())
        return
    workload = state.workload(row.workload)
    row.unadmitted = True
    row.denied_by = _matching_denial(workload, row)
    state.put_pod(key, row)
    settle(state, key, row, workload)
    yield from refresh(state, workload)


def _matching_denial(workload: Workload, row: PodRow) -> str:
    images = {c.image for c in row.containers}
    for denial in reversed(workload.row.denials):
        same_name = not denial.name or denial.name == row.name or row.name.startswith(denial.name)
        if same_name and (not denial.images or images >= set(denial.images)):
            return f"{denial.by or 'admission'}, decision {denial.decision}"
    return ""


def on_feed(state: ShardState, event: FeedSeen) -> Iterator[Finding]:
    """A feed showed life. The first sight of a feed starts the grace of pods created after it."""
    slot = (event.cluster, event.feed)
    before = state.feeds.get(slot)
    if before is None:
        state.feeds[slot] = FeedRow(event.since, event.time)
        for key in list(state.pods):
            row = state.pod(key)
            if row is None or row.cluster != event.cluster or row.created < event.since:
                continue
            if not row.admitted_by and alive(row):
                state.schedule(max(row.created, event.since, state.now) + UNADMITTED_GRACE, "admission", key.hex())
    else:
        state.feeds[slot] = before.seen(event.since, event.time)
    state.touch("feed", f"{event.cluster}\0{event.feed}")
    yield from ()
