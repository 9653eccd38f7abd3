"""Topics, in one table: what is in each, how it is keyed, who writes and who reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal, NamedTuple

from alerting.models import Finding, Incident, IncidentAction, IncidentPart, ShardReached
from streams.events import (
    ConfigurationObserved,
    ContainerChanged,
    DeadLetter,
    DecisionObserved,
    EvidenceFound,
    EvidenceWanted,
    FeedSeen,
    NamespaceObserved,
    PodObserved,
    TrustChanged,
    VerdictReached,
)


class Topic(NamedTuple):
    """One topic. Its writers and readers are parts of the program, whether they share a process or not."""

    name: str
    key: str
    spread: Literal["keyed", "broadcast", "single"]
    """How records reach shards: `keyed` to one, `broadcast` to all, `single` to one reader."""
    holds: tuple[type, ...]
    writers: tuple[str, ...]
    readers: tuple[str, ...]


OBSERVATIONS: Final = "revet.observations"
TRUST: Final = "revet.trust"
FACTS: Final = "revet.facts"
REQUESTS: Final = "revet.evidence-requests"
ACTIONS: Final = "revet.actions"
DEADLETTERS: Final = "revet.deadletters"
VERDICTS: Final = "revet.verdicts"
CONTAINERS: Final = "revet.containers"
FINDINGS: Final = "revet.findings"
PARTS: Final = "revet.incident-parts"
INCIDENTS: Final = "revet.alert-lifecycle"
CLUSTER_SIGHT: Final = "revet.heartbeats"

TOPICS: Final[dict[str, Topic]] = {
    t.name: t
    for t in (
        Topic(
            OBSERVATIONS, "cluster/namespace/owner", "keyed", (PodObserved, DecisionObserved),
            ("collectors",), ("judge", "indexer"),
        ),
        Topic(
            CLUSTER_SIGHT, "cluster", "broadcast", (FeedSeen, NamespaceObserved, ConfigurationObserved),
            ("collectors",), ("judge", "alerter", "indexer"),
        ),
        Topic(TRUST, "", "broadcast", (TrustChanged,), ("cli",), ("judge", "alerter", "fetcher", "indexer")),
        Topic(FACTS, "repository@digest", "broadcast", (EvidenceFound,), ("fetcher",), ("judge", "indexer")),
        Topic(REQUESTS, "repository@digest", "keyed", (EvidenceWanted,), ("judge",), ("fetcher",)),
        Topic(ACTIONS, "incident", "single", (IncidentAction,), ("cli",), ("alerter",)),
        Topic(VERDICTS, "class", "single", (VerdictReached,), ("judge",), ("indexer",)),
        Topic(CONTAINERS, "container", "single", (ContainerChanged,), ("judge",), ("indexer",)),
        Topic(FINDINGS, "finding", "single", (Finding,), ("judge", "alerter"), ("indexer",)),
        Topic(PARTS, "incident", "single", (IncidentPart, ShardReached), ("judge",), ("alerter",)),
        Topic(INCIDENTS, "incident", "single", (Incident,), ("alerter",), ("indexer",)),
        Topic(DEADLETTERS, "source", "single", (DeadLetter,), ("collectors",), ("indexer",)),
    )
}  # fmt: skip


def topic_of(event: object) -> str:
    """The topic an event belongs to.

    Raises:
        KeyError: the event belongs to none.
    """
    return _TOPIC_OF[type(event)]


_TOPIC_OF: Final[dict[type, str]] = {kind: topic.name for topic in TOPICS.values() for kind in topic.holds}

_KEYS: Final[dict[type, Callable[[Any], str]]] = {
    PodObserved: lambda e: f"{e.pod.cluster}/{e.pod.namespace}/{e.pod.owner.kind}/{e.pod.owner.name}",
    DecisionObserved: lambda e: f"{e.cluster}/{e.namespace}/{e.owner.kind}/{e.owner.name}",
    FeedSeen: lambda e: e.cluster,
    NamespaceObserved: lambda e: e.cluster,
    ConfigurationObserved: lambda e: e.cluster,
    EvidenceFound: lambda e: f"{e.set.repository}@{e.set.digest}",
    EvidenceWanted: lambda e: f"{e.repository}@{e.digest}",
    IncidentAction: lambda e: e.incident,
    IncidentPart: lambda e: e.incident,
    Incident: lambda e: e.id,
    Finding: lambda e: e.id,
    VerdictReached: lambda e: e.class_id,
    ContainerChanged: lambda e: e.id,
    DeadLetter: lambda e: e.source,
}


def key_of(event: object) -> str:
    """The routing key of an event: what must stay in order and, on keyed topics, in one shard."""
    key = _KEYS.get(type(event))
    return key(event) if key is not None else ""
