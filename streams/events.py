"""Wire events and handler inputs/outputs: frozen msgspec structs, past tense. Nothing else crosses a topic.

Every input carries `time` (microseconds UTC; the broker's or the recording's time) and a deterministic id, so that a
replay repeats the same outputs. Unknown members are ignored on reading (a reader of version N reads N-1).
"""

from __future__ import annotations

from typing import Literal

import msgspec

from verifier.models import EvidenceSet, Fact, ImageIdKind, Verdict

ContainerKind = Literal["init", "sidecar", "main", "ephemeral", "image-volume"]
RunState = Literal["waiting", "running", "terminated"]


class Owner(msgspec.Struct, frozen=True, gc=False):
    """Top owner of a pod, computed from the observed object alone (template hash and job suffix stripped)."""

    kind: str
    name: str


class ObservedContainer(msgspec.Struct, frozen=True, gc=False):
    """One container (or image volume) of a pod, reduced."""

    kind: ContainerKind
    name: str
    image: str
    """`spec` image text as stored by the API server."""
    digest: str = ""
    """Running manifest or index digest (`sha256:…`), empty while waiting or when the runtime gave none."""
    image_id_kind: ImageIdKind = "empty"
    image_repository: str = ""
    """Repository the runtime named in imageID; may be an alias of the spec's."""
    state: RunState = "waiting"
    started: int | None = None
    finished: int | None = None
    container_id: str = ""
    restarts: int = 0


class Pod(msgspec.Struct, frozen=True, gc=False):
    """A pod, reduced to the allow-list: no environment, arguments, commands or unlisted annotations."""

    cluster: str
    namespace: str
    name: str
    uid: str
    owner: Owner
    resource_version: str = ""
    created: int = 0
    deleted: int | None = None
    node: str = ""
    service_account: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    """Sorted; labels that differ per pod or rollout (template hash, revision, job uid, pod name) are left out."""
    phase: str = ""
    mirror: bool = False
    """A mirror pod of a static pod (`kubernetes.io/config.mirror`)."""
    containers: tuple[ObservedContainer, ...] = ()


GoneReason = Literal["", "vanished", "deleted-unseen", "excluded", "cluster-retired"]
"""How a pod's end is known. Empty: the API server told of it. `vanished`: it was missing when pods were listed anew;
`deleted-unseen`: so, and it was being deleted when last seen; `excluded`: its namespace is watched no more;
`cluster-retired`: nobody watches its cluster any more."""


class PodObserved(msgspec.Struct, frozen=True, tag="pod", gc=False):
    """A pod state, or its end (`gone`), as the API server told it."""

    id: str
    time: int
    source: str
    """Where it came from: `watch`, `list`, `file:NAME`."""
    pod: Pod
    gone: bool = False
    truncated: bool = False
    """It was longer than a record of a broker may be; labels, texts or containers are missing."""
    gone_reason: GoneReason = ""
    gone_after: int = 0
    """Where the end was not told by the API server: last instant at which the pod is known to have been there. It ended
    between then and `time`."""


DecisionOutcome = Literal["admitted", "denied", "errored"]


class ImageAsked(msgspec.Struct, frozen=True, gc=False):
    """One image of an admission request: as submitted and as stored (after mutation, when known)."""

    container: str
    kind: ContainerKind
    submitted: str
    stored: str = ""


class DecisionObserved(msgspec.Struct, frozen=True, tag="decision", gc=False):
    """What admission said about one request, read out of an audit event."""

    id: str
    time: int
    cluster: str
    namespace: str
    owner: Owner
    outcome: DecisionOutcome
    operation: str
    """`create`, `update`, `patch`, `delete`."""
    resource: str
    """`pods`, `deployments`, `pods/ephemeralcontainers` …"""
    name: str = ""
    uid: str = ""
    """UID of the stored object; empty for denials, dry runs and level Metadata without a name."""
    user: str = ""
    groups: tuple[str, ...] = ()
    user_agent: str = ""
    impersonated_by: str = ""
    source_ips: tuple[str, ...] = ()
    code: int = 0
    reason: str = ""
    engine: str = ""
    """`webhook`, `validating-admission-policy`, `kyverno`, `gatekeeper`, `policy-controller`, `pod-security` …"""
    by: str = ""
    """Webhook or policy name that decided."""
    message: str = ""
    failed_open: tuple[str, ...] = ()
    """Names of webhooks that could not be asked and were ignored."""
    break_glass: str = ""
    """The label or annotation (`key=value`) that marks a break-glass request."""
    exempt: str = ""
    dry_run: bool = False
    audited: tuple[str, ...] = ()
    """Violations that an audit-mode policy only recorded."""
    mutated_by: tuple[str, ...] = ()
    images: tuple[ImageAsked, ...] = ()
    audit_id: str = ""
    level: str = ""
    truncated: bool = False
    source: str = ""


class NamespaceObserved(msgspec.Struct, frozen=True, tag="namespace", gc=False):
    """Labels of a namespace (allow-listed annotations merged in), for ownership."""

    id: str
    time: int
    cluster: str
    namespace: str
    labels: tuple[tuple[str, str], ...] = ()
    gone: bool = False
    source: str = ""


class ConfigurationObserved(msgspec.Struct, frozen=True, tag="configuration", gc=False):
    """A change of admission configuration (webhooks, policies, bindings, exceptions): who, what, when."""

    id: str
    time: int
    cluster: str
    operation: str
    resource: str
    name: str
    user: str = ""
    outcome: DecisionOutcome = "admitted"
    source: str = ""


ClaimResult = Literal["pass", "fail", "warn", "error", "skip"]


class ClaimObserved(msgspec.Struct, frozen=True, tag="claim", gc=False):
    """What another engine says of an image or an object: kept beside revet's verdict, and never part of it.

    Whoever may write a report may say anything in it; nothing here proves that something was verified.
    """

    id: str
    time: int
    """When it was received; `said` is the engine's own time."""
    cluster: str
    feed: Literal["policy-report", "gatekeeper", "ratify", "connaisseur", "opa"]
    """Which form it came in."""
    engine: str
    """As it names itself: `kyverno`, `gatekeeper`, `KyvernoImageValidatingPolicy` …"""
    result: ClaimResult
    policy: str = ""
    rule: str = ""
    message: str = ""
    kind: str = ""
    """Of the object it is about, as the engine writes it (`Pod`); empty: it is about images alone."""
    namespace: str = ""
    name: str = ""
    uid: str = ""
    images: tuple[str, ...] = ()
    at_admission: bool = False
    """Made while a request was decided, not by a later look."""
    said: int | None = None
    """When the engine says it looked, microseconds; None where it does not say."""
    source: str = ""
    """Where it came from: `reports:CLUSTER`."""


class FeedSeen(msgspec.Struct, frozen=True, tag="feed", gc=False):
    """A feed of a cluster showed life. `since` is the start of unbroken sight, for coverage and `unadmitted`."""

    id: str
    time: int
    cluster: str
    feed: Literal["audit", "pods"]
    since: int


class PastSeen(msgspec.Struct, frozen=True, tag="past", gc=False):
    """What an archive says of long ago (a look-back): on record, and part of nothing that is judged or told."""

    id: str
    """Of what it says: whoever saw it live has it on record under the same."""
    time: int
    what: DecisionObserved | NamespaceObserved | ConfigurationObserved | FeedSeen
    """A feed of an archive is told of by the hour: `since` is its beginning, `time` its end."""


class EvidenceFound(msgspec.Struct, frozen=True, tag="evidence", gc=False):
    """The fetcher asked every place about (repository, digest): the set, the facts, and when each was first seen."""

    id: str
    time: int
    set: EvidenceSet
    facts: tuple[Fact, ...]
    first_seen: tuple[tuple[str, int], ...] = ()
    """(evidence id, microseconds) from revet's own record; evidence that is missing here has no observed time."""


class TrustChanged(msgspec.Struct, frozen=True, tag="trust", gc=False):
    """Entry `epoch` of the trust log; `record` is its canonical JSON (see verifier.trust.records)."""

    id: str
    time: int
    epoch: int
    record: bytes
    previous: bytes = b""
    """With Kafka: SHA-256 over the signed form of the entry before it (`verifier.trust.signing`)."""
    signatures: tuple[tuple[str, bytes], ...] = ()
    """With Kafka: (administrator's key id, Ed25519 signature). On one machine the local user is believed."""


class ProgressSeen(msgspec.Struct, frozen=True, tag="progress", gc=False):
    """A process says how far it has come with one shard or partition, or that it lives. Sent every few seconds."""

    id: str
    time: int
    component: Literal["judge", "fetch", "index", "alert", "collector"]
    instance: str
    """Which process, unique per start: `judge-7f3a`."""
    shard: int = -1
    """Shard or partition; -1: the process as a whole."""
    position: int = 0
    """Next position to be read by whoever takes over: what is committed, not what was only looked at."""
    lag: int = 0
    """Records behind it that wait."""
    epoch: int = 0
    """Trust epoch it works under."""
    gate: str = ""
    """`TrustGate.fingerprint`: two processes that differ believe different administrators."""
    stopping: bool = False
    """It stops because it was asked to, and says good-bye."""


class PullsTaken(msgspec.Struct, frozen=True, tag="pulls-taken", gc=False):
    """A fetcher takes some of the pulls that a registry may cost (`evidence.budgets`). Whether it gets them is decided
    by what stands before it (`streams.pulls`).
    """

    id: str
    time: int
    registry: str
    number: int
    instance: str


class AuditCounted(msgspec.Struct, frozen=True, tag="audit-counted", gc=False):
    """What an API server says that became of the audit events it made, beside what came of them to a receiver."""

    id: str
    time: int
    """When the receiver looked, by its clock."""
    cluster: str
    server: str
    """Of the cluster's API servers the one; empty: it has no name of its own."""
    started: int
    """When the API server's process began, microseconds; 0 where it does not say."""
    given_up: int
    """Events that process gave up since then: no backend will ever see them."""
    missing: int = 0
    """Events it made and did not give up, that did not come to the receiver since it first looked; beyond what may be
    under way."""


class Tick(msgspec.Struct, frozen=True, tag="tick", gc=False):
    """Time is an input: the clock reached `time`."""

    id: str
    time: int


class DeadLetter(msgspec.Struct, frozen=True, tag="deadletter", gc=False):
    """An input that could not be read: where it stands, a named reason, and the reduced original when it is safe."""

    id: str
    time: int
    source: str
    """File or connection and line or item, e.g. `audit.jsonl:17`."""
    code: str
    message: str
    size: int
    sha256: str
    excerpt: str = ""
    """At most 256 characters of structure (kinds and member names only, never values)."""


Observation = (
    PodObserved
    | DecisionObserved
    | NamespaceObserved
    | ConfigurationObserved
    | ClaimObserved
    | FeedSeen
    | PastSeen
    | DeadLetter
)
"""What collectors produce."""


class EvidenceWanted(msgspec.Struct, frozen=True, tag="evidence-wanted", gc=False):
    """The judge asks the fetcher for a digest's evidence."""

    id: str
    time: int
    repository: str
    digest: str
    reference: str = ""
    why: Literal["new-digest", "keys-added", "retry", "stale", "notified"] = "new-digest"
    """`stale`: the daily sweep; `notified`: the registry says that something changed there."""
    epoch: int = 0
    """Trust epoch of the judge that asks: an answer under an older trust would not answer what was asked."""


class PolicyVerdict(msgspec.Struct, frozen=True, gc=False):
    """What one policy says of a container now; part of its current document."""

    policy: str
    version: str
    outcome: str
    codes: tuple[str, ...] = ()
    exempted_by: str = ""
    mode: str = "audit"


class ContainerChanged(msgspec.Struct, frozen=True, tag="container"):
    """Current state and run interval of one container instance. Newest `sequence` wins; an end is never deleted."""

    id: str
    time: int
    sequence: int
    cluster: str
    namespace: str
    pod: str
    pod_uid: str
    owner: Owner
    node: str
    service_account: str
    kind: ContainerKind
    name: str
    image: str
    repository: str
    digest: str
    state: RunState
    started: int | None
    ended: int | None
    end_reason: str
    class_id: str
    verdicts: tuple[PolicyVerdict, ...] = ()
    admitted_by: str = ""
    """Decision id, empty when none is on record."""
    mirror: bool = False
    labels: tuple[tuple[str, str], ...] = ()
    ended_after: int | None = None
    """Nobody saw it end: it was last known to run then, and ended between then and `ended`."""


class VerdictReached(msgspec.Struct, frozen=True, tag="verdict"):
    """One (class, policy) was judged and the answer differs from the one before."""

    id: str
    time: int
    class_id: str
    trigger: str
    """`new-class`, `evidence`, `trust`, `due`, `restore`."""
    previous: str
    cause: str
    """What changed, in words (`key dev revoked`, `policy payments v:…`, `first evidence`)."""
    members: int
    verdict: Verdict
    read: tuple[tuple[str, int], ...] = ()
    """With Kafka: (broadcast topic, position behind what the judge had read of it), by name."""


# ------------------------------------------------------------------------------------------------------------ ledger


class LedgerEntry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One leaf: a document of history, or an act. What is hashed of it: `streams.ledger.entries`."""

    kind: str
    """`record`, or of an act: `key`, `erased`, `expired`, `refused`, `restored`."""
    home: str
    """Dataset."""
    id: str
    time: int
    """The document's own."""
    sha256: bytes
    """Of the document's canonical bytes, 32 bytes."""
    note: str = ""
    """What an act says, canonical JSON."""


class LedgerWritten(msgspec.Struct, frozen=True, tag="ledger-entries", gc=False):
    """Entries, before their documents are written: whatever is in the record has one."""

    id: str
    """Of the content."""
    time: int
    entries: tuple[LedgerEntry, ...]


class LedgerSealed(msgspec.Struct, frozen=True, tag="ledger-batch", gc=False):
    """A batch of whole packs: its bounds and Merkle root, chained to the batch before."""

    id: str
    time: int
    """When it was sealed; never before the batch before it."""
    number: int
    """From 0."""
    first: int
    """Sequence of its first entry, from 0."""
    count: int
    root: bytes
    previous: bytes
    """Hash of the header before; of the first nothing."""
    earliest: int
    latest: int
    """Bounds of the times of its entries."""
    pack: str
    """Id of its last pack."""


class LedgerSigned(msgspec.Struct, frozen=True, tag="ledger-checkpoint", gc=False):
    """A checkpoint: a signed note that names the header of a batch, and with it all before."""

    id: str
    time: int
    number: int
    note: str


class LedgerDay(msgspec.Struct, frozen=True, tag="ledger-day", gc=False):
    """The newest checkpoint of a day, for people to be told: one of the places where it stands."""

    id: str
    """Of ledger and day: whoever says it again says the same."""
    time: int
    """When, microseconds: the day is this one's, UTC."""
    ledger: str
    number: int
    """Batch."""
    size: int
    """Entries up to and with it."""
    head: bytes
    """Hash of its header, 32 bytes."""
    key: str
    """Name of the key that signed."""
    signature: str
    """How the signature begins, in base64 as in the note."""


class LedgerChecked(msgspec.Struct, frozen=True, tag="ledger-checked", gc=False):
    """The record was compared with its ledger."""

    id: str
    time: int
    scope: Literal["recent", "random", "whole"]
    since: int
    until: int
    """Window of the records' times."""
    records: int
    problems: int
    """0: everything is as it was sealed."""
    worst: str = ""
    """The first problem, in words."""
