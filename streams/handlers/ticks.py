"""Time is an input: what is due when the clock reaches an instant."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from streams.events import Tick
from streams.handlers import evidence, freshness
from streams.handlers.classes import forget_class, forget_image
from streams.handlers.decisions import check_admission, quiet_again
from streams.handlers.findings import refresh
from streams.handlers.judging import judge, rules
from streams.handlers.speaking import speak
from streams.handlers.trust import Output
from streams.state import ShardState, workload_key


def on_tick(state: ShardState, event: Tick) -> Iterator[Output]:
    """Everything due at or before `event.time`, each at its own instant, earliest first."""
    for at, kind, key in state.due_until(event.time):
        state.now = max(state.now, at)
        yield from DUE[kind](state, key)
    state.now = max(state.now, event.time)


def _class(state: ShardState, key: str) -> Iterator[Output]:
    """A verdict's `valid_until` has come."""
    cls = state.classes.get(key)
    if cls is None or not any(j.valid_until is not None and j.valid_until <= state.now for j in cls.judged.values()):
        return
    cls.image.key_epoch = -1
    rules(state).forget_times()  # decisions depend on the instant through exactly these due times
    if judge(state, cls, state.now):
        yield from speak(state, cls, "due", "time passed")
    for workload in list(cls.workloads):
        yield from refresh(state, state.workload(workload))


def _uncertain(state: ShardState, key: str) -> Iterator[Output]:
    """Could-not-tell has lasted long enough to tell somebody."""
    cls = state.classes.get(key)
    if cls is None or cls.row.uncertain_since is None:
        return
    for workload in list(cls.workloads):
        yield from refresh(state, state.workload(workload))


def _admission(state: ShardState, key: str) -> Iterator[Output]:
    yield from check_admission(state, bytes.fromhex(key))


def _pod(state: ShardState, key: str) -> Iterator[Output]:
    row = state.pod(bytes.fromhex(key))
    if row is not None and row.gone is not None:
        state.drop_pod(bytes.fromhex(key))
    yield from ()


def _class_empty(state: ShardState, key: str) -> Iterator[Output]:
    forget_class(state, key)
    yield from ()


def _image(state: ShardState, key: str) -> Iterator[Output]:
    forget_image(state, key)
    yield from ()


def _finding(state: ShardState, key: str) -> Iterator[Output]:
    """A closed finding is remembered for a while, so that it can reopen as itself; then it is forgotten here."""
    finding = state.findings.get(key)
    if finding is not None and finding.state == "closed":
        del state.findings[key]
        state.touch("finding", key)
    yield from ()


def _failed_open(state: ShardState, key: str) -> Iterator[Output]:
    workload = state.workload(workload_key(key))
    quiet_again(state, workload)
    yield from refresh(state, workload)


def _signer(state: ShardState, key: str) -> Iterator[Output]:
    """A new signer may be an established one by now."""
    yield from refresh(state, state.workload(workload_key(key)))


def _stale(state: ShardState, key: str) -> Iterator[Output]:
    """Nobody could ask about an image for long enough to tell somebody."""
    for workload in freshness.workloads_of(state, key):
        yield from refresh(state, state.workload(workload))


DUE: Final[dict[str, Callable[[ShardState, str], Iterator[Output]]]] = {
    "class": _class,
    "uncertain": _uncertain,
    "admission": _admission,
    "pod": _pod,
    "class-empty": _class_empty,
    "image": _image,
    "finding": _finding,
    "failed-open": _failed_open,
    "retry": evidence.retry,
    "signer": _signer,
    "sweep": freshness.sweep,
    "stale": _stale,
}
"""What can be due; `ShardState.schedule` takes these kinds."""
