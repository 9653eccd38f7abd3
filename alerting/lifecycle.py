"""What the incident book puts out beside the incident rows: transitions, and intents to tell somebody."""

from __future__ import annotations

from typing import Literal

import msgspec

from alerting.models import Incident, IncidentState, Member, Severity, Silence

Transition = Literal[
    "opened",
    "changed",
    "severity-raised",
    "acknowledged",
    "noted",
    "resolved",
    "closed",
    "reopened",
    "refused",
    "silenced",
    "silence-ended",
    "exemption-proposed",
]
"""`closed`: by a person; `refused`: an action that changes nothing (acknowledging what is resolved). `silenced`,
`silence-ended`: a silence that covers some of it began or ended. `exemption-proposed`: somebody
says that it is not a problem."""

ReplyPurpose = Literal[
    "severity-raised",
    "acknowledged",
    "resolved",
    "closed",
    "reopened",
    "refused",
    "reminder",
    "silence-ended",
    "exemption-proposed",
]


class Lifecycle(msgspec.Struct, frozen=True, tag="lifecycle"):
    """One transition of an incident, with who and when: the alert lifecycle is itself an audit stream."""

    id: str
    """`<incident>:<revision>:<transition>`."""
    incident: str
    short_id: str
    transition: Transition
    time: int
    revision: int
    state: IncidentState
    severity: Severity
    containers: int
    workloads: int
    by: str = ""
    """Untrusted; empty when nobody in particular did it."""
    text: str = ""


class Reply(msgspec.Struct, frozen=True):
    """A message below the parent, which notifies; an edit of the parent does not."""

    id: str
    """`<purpose>-<revision>`: unique within one parent."""
    purpose: ReplyPurpose
    time: int
    severity: Severity
    containers: int
    by: str = ""
    broadcast: bool = False
    """Also show it in the channel (critical ones)."""


class Notification(msgspec.Struct, frozen=True, tag="notification"):
    """An intent: the parent of (incident, destination) shall show `revision` or newer. Rendered when it is sent."""

    incident: str
    destination: str
    """`security` or `team/<name>`."""
    episode: int
    """Counts the parents of one slice: an incident that comes back after a day starts a new one."""
    revision: int
    time: int
    severity: Severity
    paging: bool
    replies: tuple[Reply, ...] = ()
    resolved: bool = False


class Slice(msgspec.Struct, frozen=True):
    """What one destination gets to see of an incident, as it is now."""

    incident: Incident
    destination: str
    team: str
    """Empty: the whole incident."""
    containers: int
    workloads: int
    namespaces: int
    clusters: int
    examples: tuple[Member, ...]
    namespace_table: tuple[tuple[str, str, int, int], ...] = ()
    """(cluster, namespace, containers, workloads), largest first, at most 10."""


Output = Incident | Lifecycle | Notification | Silence
