"""Findings, incident parts, incidents: frozen wire types. Times are microseconds since the Unix epoch, UTC."""

from __future__ import annotations

from typing import Literal

import msgspec

Severity = Literal["info", "low", "medium", "high", "critical"]
FindingState = Literal["open", "closed"]
CauseKind = Literal["revocation", "policy-change", "baseline-policy", "baseline-cluster", "none"]


class Cause(msgspec.Struct, frozen=True):
    """What changed. `kind` none: the finding speaks for itself (its subject rule names the incident)."""

    kind: CauseKind = "none"
    id: str = ""
    """Revocation: the revoked thing (`key:<id>`, `digest:<digest>`, `evidence:<id>`, `identity:<JSON>`, `ca:<id>`,
    `builder:<id>`, `commit:<hex>`, `log:<id>`). Policy change: `policy@version`, or `root:<name>@<epoch>` when it was a
    trust root that changed. Baseline: policy id or cluster id."""
    label: str = ""
    """For people: key name, identity, CA, policy id, name of the trust root, cluster name."""
    at: int = 0
    epoch: int = 0


class Finding(msgspec.Struct, frozen=True, tag="finding"):
    """Something a person may have to know of, per workload; container instances are its members.

    id = stable_id("finding", …) of `verifier.canonical` (never pod names, times, policy versions or texts).
    """

    id: str
    code: str
    state: FindingState
    severity: Severity
    cluster: str
    namespace: str
    owner_kind: str
    owner_name: str
    container: str
    policy: str
    digest: str
    """In the id only where the digest is what is wrong (`alerting.findings`)."""
    image: str
    repository: str
    cause: Cause
    incident: str
    """Incident id, from `alerting.findings.incident_of`."""
    opened: int
    changed: int
    closed: int | None = None
    close_reason: str = ""
    """`replaced`, `ended`, `valid-again`, `exempted`, `policy-removed`, `withdrawn`, `converged`, `admission-found`,
    `cluster-retired`, `quiet`."""
    members: int = 0
    """Running container instances (or pods) it holds now."""
    message: str = ""
    reasons: tuple[str, ...] = ()
    exempted_by: str = ""
    policy_version: str = ""
    epoch: int = 0
    sequence: int = 0
    """Counts the transitions of this finding; external version of its document."""
    detail: tuple[tuple[str, str], ...] = ()
    """Code-specific facts for people (expected digest, webhook name, user …), untrusted text."""


class Member(msgspec.Struct, frozen=True):
    """One workload of an incident part, as an example for messages."""

    cluster: str
    namespace: str
    owner: str
    container: str
    image: str
    digest: str
    count: int
    since: int


class IncidentPart(msgspec.Struct, frozen=True, tag="part"):
    """Absolute counts of one (incident, shard, cluster, namespace). The newest sequence replaces the older one.

    The alerter sums the newest parts; a part with zero containers and zero workloads says that nothing is left there.
    """

    incident: str
    kind: str
    """Incident kind = finding code, or `baseline`."""
    subject: str
    """What it is about, for people and for grouping (see the subject rules)."""
    cause: Cause
    policy: str
    severity: Severity
    shard: int
    cluster: str
    namespace: str
    epoch: int
    """Trust epoch this shard has reached."""
    sequence: int
    time: int
    containers: int
    workloads: int
    opened: int
    """When the first of its findings opened."""
    message: str = ""
    """Reason text of one finding, untrusted."""
    examples: tuple[Member, ...] = ()
    """At most 10, largest first."""
    closed: tuple[tuple[str, int], ...] = ()
    """How the findings that were in here ended: (close reason, count) since the incident opened."""


class ShardReached(msgspec.Struct, frozen=True, tag="reached"):
    """A shard has judged everything it holds under `epoch`: totals are final only when every shard said so."""

    shard: int
    shards: int
    epoch: int
    time: int


IncidentState = Literal["open", "acknowledged", "resolved"]


class Proposal(msgspec.Struct, frozen=True):
    """Somebody says that it is not a problem. Accepts nothing: that is a signed act of a trust administrator."""

    time: int
    by: str
    why: str
    days: int
    """How long it should be accepted."""
    ticket: str = ""


class Incident(msgspec.Struct, frozen=True, tag="incident"):
    """What a person is told about, once. Current state, one row per incident; the book's output."""

    id: str
    short_id: str
    kind: str
    subject: str
    cause: Cause
    policy: str
    severity: Severity
    state: IncidentState
    epoch: int
    revision: int
    opened: int
    changed: int
    resolved: int | None
    containers: int
    workloads: int
    namespaces: int
    clusters: int
    peak_containers: int
    teams: tuple[tuple[str, int, int], ...]
    """(team, containers, workloads), largest first; team `unowned` when no owner is known."""
    examples: tuple[Member, ...]
    closed: tuple[tuple[str, int], ...]
    message: str
    acknowledged_by: str = ""
    notes: tuple[tuple[int, str, str], ...] = ()
    reopened: int = 0
    final: bool = False
    """Every shard has reported an epoch at or after the cause."""
    paging: bool = True
    silences: tuple[tuple[str, str, str, int], ...] = ()
    """(id, by, why, until) of every silence that covers some of what is left."""
    silenced: tuple[int, int] = (0, 0)
    """(containers, workloads) that are covered."""
    unseen: tuple[tuple[str, int, int], ...] = ()
    """(cluster, last heard of, containers there) of every cluster it is in, or was, that is out of sight."""
    unknown: bool = False
    """Nothing of it is in sight: the counts are those of the last look, and nothing resolves."""
    proposals: tuple[Proposal, ...] = ()
    """That it be accepted; the newest last. Nobody's until a trust administrator acts."""
    deployed_by: str = ""
    """Who or what the largest member was admitted for; empty: the record did not say yet."""
    good_image: str = ""
    """Newest image of the largest member's repository that is valid now, by digest; empty: none is known."""


ActionKind = Literal["ack", "note", "close", "propose"]


class IncidentAction(msgspec.Struct, frozen=True, tag="action"):
    """What a person did: acknowledge, note, close, propose that it be accepted."""

    id: str
    time: int
    incident: str
    action: ActionKind
    by: str
    """Untrusted: a local user, or who pressed a button (`ann (slack:U0123ABCD)`)."""
    text: str = ""
    days: int = 0
    """Of a proposal: for how long."""
    ticket: str = ""
    """Of a proposal: where it is followed up."""


class IncidentContext(msgspec.Struct, frozen=True, tag="context"):
    """What the record adds to an incident: asked for by whoever tells of it, and then a record itself."""

    id: str
    time: int
    incident: str
    deployed_by: str = ""
    """Untrusted."""
    good_image: str = ""
    """Untrusted."""


class SilenceScope(msgspec.Struct, frozen=True):
    """What a silence is about: of one list any value, of several lists all of them.

    Values of the last four may end in `*` and are the beginning of a name then.
    """

    incidents: tuple[str, ...] = ()
    """Id or short id."""
    codes: tuple[str, ...] = ()
    """Finding codes, or `baseline` and `policy-changed`."""
    clusters: tuple[str, ...] = ()
    """Id or name."""
    namespaces: tuple[str, ...] = ()
    teams: tuple[str, ...] = ()
    policies: tuple[str, ...] = ()


class SilenceAction(msgspec.Struct, frozen=True, tag="silence-action"):
    """What a person asked for: that a silence begins, or ends before its time."""

    id: str
    time: int
    silence: str
    """Id of the silence."""
    action: Literal["add", "end"]
    by: str
    """Untrusted."""
    text: str = ""
    """Why. Untrusted."""
    scope: SilenceScope = SilenceScope()
    ends: int = 0


SilenceState = Literal["in-force", "ended", "expired", "refused"]
"""`ended`: by a person, before its time; `refused`: it never was."""


class Silence(msgspec.Struct, frozen=True, tag="silence"):
    """A silence as it is now; the book's row and output."""

    id: str
    scope: SilenceScope
    by: str
    why: str
    starts: int
    ends: int
    state: SilenceState = "in-force"
    time: int = 0
    """When it came into this state."""
    sequence: int = 1
    ended_by: str = ""
    note: str = ""
    """Why it was ended, or refused."""
    withheld: int = 0
    """Messages and replies that were not sent because of it."""
