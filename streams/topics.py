"""Topics, in one table: what is in each, how it is keyed, who writes and who reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal, NamedTuple

from alerting.lifecycle import Lifecycle
from alerting.models import (
    Finding,
    Incident,
    IncidentAction,
    IncidentContext,
    IncidentPart,
    ShardReached,
    Silence,
    SilenceAction,
)
from streams.events import (
    AuditCounted,
    ClaimObserved,
    ConfigurationObserved,
    ContainerChanged,
    DeadLetter,
    DecisionObserved,
    EvidenceFound,
    EvidenceWanted,
    FeedSeen,
    LedgerChecked,
    LedgerDay,
    LedgerSealed,
    LedgerSigned,
    LedgerWritten,
    NamespaceObserved,
    PastSeen,
    PodObserved,
    ProgressSeen,
    PullsTaken,
    Tick,
    TrustChanged,
    VerdictReached,
)

Keep = Literal["days", "newest", "forever"]


class Topic(NamedTuple):
    """One topic. Its writers and readers are parts of the program, whether they share a process or not."""

    name: str
    key: str
    spread: Literal["keyed", "broadcast", "single"]
    """How records reach readers. `keyed`: as many partitions as there are shards, each read by one worker; `broadcast`:
    one partition that every process reads whole; `single`: one partition, one reader at a time."""
    holds: tuple[type, ...]
    """Events on it; none: rows of state (`streams.engine.staterows`) or reduced originals."""
    writers: tuple[str, ...]
    readers: tuple[str, ...]
    keep: Keep = "days"
    """What a broker does with old records. `days`: removed after `days`; `newest`: the newest of a key stays;
    `forever`: nothing is ever removed."""
    days: int = 7
    """With `keep` days: for how long. Whatever was lost further down can be made again from what is kept this long."""
    indexed: tuple[type, ...] = ()
    """Of `holds`, what is written to Elasticsearch."""

    def partitions(self, shards: int) -> int:
        """How many partitions it has where there are `shards` shards."""
        return shards if self.spread == "keyed" else 1


OBSERVATIONS: Final = "revet.observations"
CLAIMS: Final = "revet.claims"
HISTORY: Final = "revet.history"
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
RAW: Final = "revet.raw"
STATE: Final = "revet.state"
ALERTS: Final = "revet.alerts"
PODS: Final = "revet.pods"
PULLS: Final = "revet.pulls"
LEDGER: Final = "revet.ledger"

TOPICS: Final[dict[str, Topic]] = {
    t.name: t
    for t in (
        Topic(
            OBSERVATIONS, "cluster/namespace/owner", "keyed", (PodObserved, DecisionObserved),
            ("collectors", "admission"), ("judge", "indexer"), indexed=(DecisionObserved,),
        ),
        # What other engines say: apart from observations, so that nothing that judges ever reads it.
        Topic(
            CLAIMS, "cluster/namespace/object", "keyed", (ClaimObserved,), ("collectors",), ("indexer",),
            indexed=(ClaimObserved,),
        ),
        # What archives say of long ago: apart for the same reason, and so that no alert is raised about what is over.
        Topic(
            HISTORY, "cluster/namespace/owner", "keyed", (PastSeen,), ("collectors",), ("indexer",),
            indexed=(PastSeen,),
        ),
        Topic(
            CLUSTER_SIGHT, "cluster/what", "broadcast",
            (
                *(FeedSeen, NamespaceObserved, ConfigurationObserved, ProgressSeen, AuditCounted),
                *(LedgerChecked, LedgerDay, Tick),
            ),
            ("collectors", "admission", "judge", "fetcher", "indexer", "alerter", "ledger"),
            ("judge", "alerter", "indexer"),
            keep="newest",
            indexed=(FeedSeen, NamespaceObserved, ConfigurationObserved),
        ),
        Topic(
            TRUST, "", "broadcast", (TrustChanged,), ("cli",),
            ("judge", "alerter", "fetcher", "indexer", "admission"), keep="forever", indexed=(TrustChanged,),
        ),
        Topic(
            FACTS, "repository@digest", "broadcast", (EvidenceFound,), ("fetcher", "admission"),
            ("judge", "fetcher", "indexer", "admission"), keep="newest", indexed=(EvidenceFound,),
        ),
        # By repository: one fetcher learns of an index and answers for the images it lists, in an order.
        Topic(
            REQUESTS, "repository", "keyed", (EvidenceWanted,), ("judge", "fetcher", "admission", "collectors"),
            ("fetcher",),
        ),
        Topic(
            ACTIONS, "incident or silence", "single", (IncidentAction, SilenceAction, IncidentContext),
            ("cli", "alerter"), ("alerter",), days=30,
        ),
        Topic(
            VERDICTS, "class", "keyed", (VerdictReached,), ("judge",), ("indexer",), indexed=(VerdictReached,),
        ),
        Topic(
            CONTAINERS, "container", "keyed", (ContainerChanged,), ("judge",), ("indexer",),
            indexed=(ContainerChanged,),
        ),
        Topic(FINDINGS, "finding", "keyed", (Finding,), ("judge", "alerter"), ("indexer",), indexed=(Finding,)),
        Topic(PARTS, "incident", "single", (IncidentPart, ShardReached), ("judge",), ("alerter",), days=30),
        Topic(
            INCIDENTS, "incident or silence", "single", (Incident, Lifecycle, Silence), ("alerter",), ("indexer",),
            days=30, indexed=(Incident, Lifecycle, Silence),
        ),
        Topic(
            DEADLETTERS, "source", "single", (DeadLetter,),
            ("collectors", "admission", "judge", "alerter", "fetcher", "indexer", "ledger"), ("indexer",), days=30,
            indexed=(DeadLetter,),
        ),
        Topic(RAW, "source", "keyed", (), ("collectors",), ("cli",)),
        # What a pod watcher told last of each pod, and how far it is: whoever takes over finds what ended meanwhile.
        Topic(PODS, "cluster/uid", "keyed", (), ("collectors",), ("collectors",), keep="newest"),
        # Who may pull from a registry with a budget: in one order, and for longer than any window of a budget. The
        # indexer puts on record what cannot be read there, for fetchers read it anew at every start.
        Topic(PULLS, "registry", "broadcast", (PullsTaken,), ("fetcher",), ("fetcher", "indexer"), days=30),
        Topic(STATE, "kind/key", "keyed", (), ("judge",), ("judge", "cli"), keep="newest"),
        # One partition: its order decides which of two sealers was first.
        Topic(
            LEDGER, "", "single", (LedgerWritten, LedgerSealed, LedgerSigned), ("indexer", "ledger", "cli"),
            ("ledger", "cli"), keep="forever",
        ),
        Topic(ALERTS, "kind/key", "single", (), ("alerter",), ("alerter", "cli"), keep="newest"),
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
    ClaimObserved: lambda e: f"{e.cluster}/{e.namespace}/{e.kind}/{e.name}",
    FeedSeen: lambda e: f"{e.cluster}/feed/{e.feed}",  # the newest of a key is kept: each thing has a key of its own
    NamespaceObserved: lambda e: f"{e.cluster}/namespace/{e.namespace}",
    ConfigurationObserved: lambda e: f"{e.cluster}/configuration/{e.id}",
    PastSeen: lambda e: key_of(e.what),
    PullsTaken: lambda e: e.registry,
    AuditCounted: lambda e: f"{e.cluster}/audit-counted/{e.server}",
    LedgerChecked: lambda e: f"ledger/{e.scope}",
    LedgerDay: lambda e: f"ledger/day/{e.ledger}",
    Tick: lambda _: "clock",
    ProgressSeen: lambda e: f"process/{e.component}/{e.shard if e.shard >= 0 else e.instance}",
    EvidenceFound: lambda e: f"{e.set.repository}@{e.set.digest}",
    EvidenceWanted: lambda e: e.repository,
    IncidentAction: lambda e: e.incident,
    IncidentContext: lambda e: e.incident,
    SilenceAction: lambda e: e.silence,
    Silence: lambda e: e.id,
    IncidentPart: lambda e: e.incident,
    Incident: lambda e: e.id,
    Lifecycle: lambda e: e.incident,
    Finding: lambda e: e.id,
    VerdictReached: lambda e: e.class_id,
    ContainerChanged: lambda e: e.id,
    DeadLetter: lambda e: e.source,
}


def key_of(event: object) -> str:
    """The routing key of an event: what must stay in order and, on keyed topics, in one shard."""
    key = _KEYS.get(type(event))
    return key(event) if key is not None else ""
