"""After a restart: rebuild what was not stored, judge once at the current epoch, say only what differs."""

from __future__ import annotations

from collections.abc import Iterator

from alerting.findings import FINDINGS
from streams.handlers.classes import EMPTY_CLASS_KEPT, join, want_evidence
from streams.handlers.decisions import FAILED_OPEN_QUIET
from streams.handlers.evidence import RETRY_AFTER, index_keys
from streams.handlers.findings import REOPEN_WITHIN, Slot
from streams.handlers.freshness import keep_fresh
from streams.handlers.judging import UNVERIFIABLE_AFTER, govern
from streams.handlers.pods import ENDED_KEPT, UNADMITTED_GRACE, alive, members, settle
from streams.handlers.signers import index_rollouts
from streams.handlers.trust import Output, sweep
from streams.state import ShardState, workload_text
from verifier.reference import names_in


def restored(state: ShardState) -> Iterator[list[Output]]:
    """Call once after `ShardState.restore` and after trust was folded up to `state.trust`; yields slices of outputs.

    A crash inside a sweep therefore costs nothing: what was judged but not said is judged and said now.
    """
    _members(state)
    _timers(state)
    for finding in state.findings.values():
        if finding.state == "open":
            slot = Slot(finding.code, finding.container, finding.policy, _slot_digest(finding.code, finding.digest))
            key = (finding.cluster, finding.namespace, finding.owner_kind, finding.owner_name)
            state.workload(key).findings["\0".join(slot)] = finding.id
    for image in state.images.values():
        index_keys(state, image)
    index_rollouts(state)
    for cls in state.classes.values():
        govern(state, cls)
    yield _ask_again(state)
    yield from sweep(state, list(state.classes.values()), "restored", everything=True)


def _ask_again(state: ShardState) -> list[Output]:
    """Evidence that was asked for and never came, or by another tag only (`classes.covered`).

    Who knows that it was asked for (`Image.asked`, where requests are kept with the state) has the request still.
    """
    wanted: list[Output] = []
    for image in state.images.values():
        if image.asked is not None:
            continue
        found = image.evidence
        heard = None if found.set is None else set(found.set.names)
        for key in sorted(image.classes):
            reference = state.classes[key].row.scope.image
            names = set(names_in(reference, found.digest))
            if heard is None or not names <= heard:
                wanted.extend(want_evidence(state, image, str(reference), "new-digest"))
                heard = names | (heard or set())
    return wanted


def _slot_digest(code: str, digest: str) -> str:
    return digest if FINDINGS[code].digest_in_id else ""


def _members(state: ShardState) -> None:
    """Who runs what, what pods give away by themselves, and when they are looked at again; every pod is read once."""
    for key in list(state.pods):
        row = state.pod(key)
        if row is None:
            continue
        workload = state.workload(row.workload)
        workload.alive += alive(row)
        for class_id, name in members(row):
            join(state.classes[class_id], workload, key, name)
        settle(state, key, row, workload)
        if row.gone is not None:
            state.schedule(row.gone + ENDED_KEPT, "pod", key.hex())
        elif alive(row) and not row.admitted_by and not row.unadmitted:
            state.schedule(row.created + UNADMITTED_GRACE, "admission", key.hex())


def _timers(state: ShardState) -> None:
    """Due times are derived from what is stored, never stored themselves. Those of pods: `_members`."""
    for cls in state.classes.values():
        if cls.row.uncertain_since is not None:
            state.schedule(cls.row.uncertain_since + UNVERIFIABLE_AFTER, "uncertain", cls.id)
        if not cls.members:
            state.schedule(state.now + EMPTY_CLASS_KEPT, "class-empty", cls.id)
    for workload in state.workloads.values():
        for at, _image in workload.row.failed_open.values():
            state.schedule(at + FAILED_OPEN_QUIET, "failed-open", workload_text(workload.key))
    for finding in state.findings.values():
        if finding.closed is not None:
            state.schedule(finding.closed + REOPEN_WITHIN, "finding", finding.id)
    for (repository, digest), image in state.images.items():
        keep_fresh(state, image, f"{repository}\0{digest}")
        if image.evidence.set is not None and not image.evidence.set.complete:
            state.schedule(state.now + RETRY_AFTER[0], "retry", f"{repository}\0{digest}")
