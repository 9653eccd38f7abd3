"""Plain functions: event in, events out, over a shard's state. Delete every engine in your head: this is the behaviour.

for output in handle(state, event): ...
while (outputs := sweep_slice(state)) is not None: ...
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from alerting.models import ShardReached
from streams.events import DecisionObserved, EvidenceFound, FeedSeen, PodObserved, Tick, TrustChanged
from streams.handlers.decisions import on_decision, on_feed
from streams.handlers.evidence import on_evidence
from streams.handlers.findings import flush_parts
from streams.handlers.pods import on_pod
from streams.handlers.restoring import restored
from streams.handlers.ticks import on_tick
from streams.handlers.trust import Output, finish_sweep, on_trust, sweep_slice
from streams.state import ShardState

Event = PodObserved | DecisionObserved | FeedSeen | EvidenceFound | TrustChanged | Tick

HANDLERS: Final[dict[type, Callable[..., Iterator[Output]]]] = {
    PodObserved: on_pod,
    DecisionObserved: on_decision,
    FeedSeen: on_feed,
    EvidenceFound: on_evidence,
    TrustChanged: on_trust,
    Tick: on_tick,
}
"""One handler per input. Inputs that are only recorded (namespaces, configuration, dead letters) have none here."""


def handle(state: ShardState, event: Event) -> Iterator[Output]:
    """Handle one input: first what was due before it, then the event, then the counts that changed."""
    if event.time > state.now and not isinstance(event, Tick):
        yield from on_tick(state, Tick(id="", time=event.time))
    yield from HANDLERS[type(event)](state, event)
    yield from flush_parts(state)


__all__ = ["HANDLERS", "Event", "Output", "ShardReached", "finish_sweep", "handle", "restored", "sweep_slice"]
