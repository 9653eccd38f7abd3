"""Events on their way out: topic, routing key and id for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from alerting.lifecycle import Lifecycle
from alerting.models import Finding, Incident, IncidentPart, ShardReached, Silence
from streams.engine.port import Output
from streams.events import ContainerChanged
from streams.topics import key_of, topic_of
from verifier.canonical import stable_id

_IDS: Final[dict[type, Callable[[Any], str]]] = {
    Finding: lambda e: stable_id("finding-transition", e.id, e.state, e.sequence),
    IncidentPart: lambda e: stable_id("part", e.incident, e.shard, e.cluster, e.namespace) + f":{e.sequence}",
    ShardReached: lambda e: f"reached:{e.shard}:{e.epoch}:{e.time}",
    Lifecycle: lambda e: e.id,  # names its revision already
    Incident: lambda e: f"{e.id}:{e.revision}",
    ContainerChanged: lambda e: f"{e.id}:{e.sequence}",
    Silence: lambda e: f"{e.id}:{e.sequence}:{e.state}",  # one that was refused is not counted
}
"""Ids of outputs that carry a subject's id; every other event carries its own."""


def output(event: Any) -> Output:  # noqa: ANN401  # any event of the tables above
    """An event with its topic, key and id."""
    made = _IDS.get(type(event))
    return Output(topic_of(event), key_of(event), made(event) if made is not None else event.id, _time(event), event)


def _time(event: Any) -> int:  # noqa: ANN401  # as above
    return int(event.changed if isinstance(event, (Finding, Incident)) else event.time)
