"""Saying what changed: verdict records and container documents, each only when it differs from what was last said."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from streams.events import ContainerChanged, PolicyVerdict, VerdictReached
from streams.handlers.classes import container_id
from streams.handlers.judging import policy_verdicts, rules
from streams.state import Class, ContainerRow, PodRow, ShardState
from verifier.models import Verdict
from verifier.verify import ungoverned, verify

CAUSE: Final = "cause"
"""In `ShardState.memory`: the last change of trust, in words."""


def speak_live(state: ShardState, cls: Class) -> Iterator[VerdictReached | ContainerChanged]:
    """Emit the verdicts of a class that a live event made, or judged before the sweep of a change of trust came to it.

    Of a class that was spoken of before there are other containers, and their documents are rewritten here: the sweep
    will find that everything was said.
    """
    if cls.row.spoken:
        yield from speak(state, cls, "trust", state.memory.get(CAUSE, ""))
    else:
        yield from speak(state, cls, "new-class", containers=False)


def speak(
    state: ShardState, cls: Class, trigger: str, cause: str = "", *, containers: bool = True
) -> Iterator[VerdictReached | ContainerChanged]:
    """Emit the verdicts of a class that differ from the last ones, and its containers' documents when any did."""
    said = cls.row.spoken
    now_saying: dict[str, tuple[str, str, tuple[str, ...], str]] = {}
    changed = False
    # The record knows no other order than times. Two things may reach us at one instant of ours: what a clock says that
    # is behind does not turn our time back, and after a restore everything is said at once.
    time = max(state.now, cls.row.spoken_at + 1)
    for answer in policy_verdicts(state, cls):
        content = (answer.version, answer.outcome, answer.codes, answer.exempted_by)
        now_saying[answer.policy] = content
        before = said.get(answer.policy)
        if before == content:
            continue
        changed = True
        yield VerdictReached(
            id=(verdict := _verdict(state, cls, answer.policy)).id,
            time=time,
            class_id=cls.id,
            trigger=trigger,
            previous=before[1] if before is not None else "",
            cause=cause,
            members=cls.members,
            verdict=verdict,
        )
    if changed or len(said) != len(now_saying):
        same = state.memory.setdefault("spoken", {})  # many classes say the same; it is kept once
        cls.row.spoken = same.setdefault(tuple(now_saying.items()), now_saying)
        cls.row.spoken_at = time
        state.touch("class", cls.id)
        if containers:
            yield from member_documents(state, cls)


def _verdict(state: ShardState, cls: Class, policy_id: str) -> Verdict:
    evidence, scope = cls.image.evidence, cls.row.scope
    compiled = rules(state).compiled.get(policy_id)
    if compiled is None:
        return ungoverned(scope, evidence, state.trust, state.now)
    return verify(compiled, scope, evidence, state.trust, state.now, rules(state).timelines)


def member_documents(state: ShardState, cls: Class) -> Iterator[ContainerChanged]:
    """The documents of every container of a class."""
    verdicts = policy_verdicts(state, cls)
    for key in sorted(set(cls.pods)):  # the same order after a restart
        pod = state.pod(key)
        if pod is None:
            continue
        for container in pod.containers:
            if container.class_id == cls.id and container.ended is None:
                yield container_changed(state, pod, container, verdicts)


def container_changed(
    state: ShardState, pod: PodRow, container: ContainerRow, verdicts: tuple[PolicyVerdict, ...] | None = None
) -> ContainerChanged:
    """The document of one container instance as it is now; `verdicts` of its class, when the caller has them."""
    cls = state.classes.get(container.class_id)
    state.sequence += 1
    state.touch("meta", "")
    return ContainerChanged(
        id=container_id(pod, container),
        time=state.now,
        sequence=state.sequence,
        cluster=pod.cluster,
        namespace=pod.namespace,
        pod=pod.name,
        pod_uid=pod.uid,
        owner=pod.owner,
        node=pod.node,
        service_account=pod.service_account,
        kind=container.kind,
        name=container.name,
        image=container.image,
        repository=cls.row.repository if cls is not None else "",
        digest=container.digest,
        state=container.state,
        started=container.started,
        ended=container.ended,
        end_reason=container.end_reason,
        class_id=container.class_id,
        verdicts=verdicts if verdicts is not None else policy_verdicts(state, cls) if cls is not None else (),
        admitted_by=pod.admitted_by,
        mirror=pod.mirror,
        labels=pod.labels,
    )
