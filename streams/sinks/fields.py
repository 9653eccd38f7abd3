"""The field table: every name a document may use, its type, who uses it, and the short name queries know it by. Pure.

Mappings, documents, dashboards, `docs/fields.md` and the query language are checked against, or made from, this table.
Names are those of ECS 9.4 where ECS has one, of the Elastic Kubernetes integrations for `kubernetes.*`, and ours below
`provenance.*`. Adding a field is adding a row; a test fails when a document uses a name or a home that has no row here.

    field_of("digest")  ->  Resolved(FIELDS["provenance.image.digest"], "")
    field_of("provenance.cluster.labels.env").inner  ->  "env"
"""

from __future__ import annotations

import difflib
import zlib
from typing import Final, Literal, NamedTuple

from verifier.errors import InputError

ECS_VERSION: Final = "9.4.0"

HISTORY_PREFIX: Final = "revet."
CURRENT_PREFIX: Final = "revet-state-"

HISTORY: Final[dict[str, str]] = {
    "admission": "one admission decision",
    "claim": "what another engine said of an object or an image",
    "lifecycle": "a container instance started or ended",
    "verification": "a verdict that differs from the one before",
    "finding": "a transition of a finding",
    "incident": "a transition of an incident",
    "trust": "one entry of the trust log",
    "evidence": "an answer about the evidence of an image",
    "configuration": "a change of admission configuration",
    "namespace": "the labels of a namespace",
    "deadletter": "an input that could not be read",
}
"""Datasets: what happened, never changed afterwards. Home `revet.<name>`."""

CURRENT: Final[dict[str, str]] = {
    "containers": "one container instance with all its policies; ended ones stay",
    "findings": "one finding",
    "incidents": "one incident",
    "images": "one (repository, digest) with its evidence",
    "namespaces": "one namespace and whose it is",
    "feeds": "one unbroken stretch of sight of a feed of a cluster",
    "deadletters": "one input that could not be read",
}
"""State: what is so now, the newest version wins. Home `revet-state-<name>`."""

HOMES: Final[dict[str, str]] = {
    **{name: HISTORY_PREFIX + name for name in HISTORY},
    **{name: CURRENT_PREFIX + name for name in CURRENT},
}
"""Short name -> dataset or index."""

FieldType = Literal["keyword", "text", "date", "long", "boolean", "ip", "flattened", "object", "unindexed"]
"""`object`: kept for reading, mapped with `enabled: false`; `unindexed`: a keyword that is neither indexed nor in doc
values. Both cannot be searched. `flattened`: a map whose members are keywords (`labels.env`)."""

SEARCHABLE: Final = frozenset({"keyword", "text", "date", "long", "boolean", "ip", "flattened"})


class Field(NamedTuple):
    """One row."""

    name: str
    type: FieldType
    homes: tuple[str, ...]
    """Short names of the datasets and indices that may use it."""
    text: str
    short: tuple[str, ...] = ()
    """Names queries may use instead; in Elasticsearch fields of type `alias`."""
    column: str = ""
    """Column of the SQLite record that holds it; only for fields with at most one value."""
    terms: bool = False
    """Many values, looked up by value: has rows in the term table of the SQLite record."""


class Resolved(NamedTuple):
    """A field, and which member of it when it is flattened."""

    field: Field
    inner: str


_ALL = " ".join(HOMES)
_POD = "containers lifecycle admission"
_JUDGED = "containers verification finding findings"
_IMAGE = "containers lifecycle verification finding findings evidence images"
_WHERE = f"{_POD} verification finding findings"
_PLACED = f"{_WHERE} claim namespace namespaces"
_CERTIFIED = "verification evidence images trust"
_KEYED = "verification evidence images trust finding findings incident incidents"


def _row(
    name: str, kind: FieldType, homes: str, text: str, short: str = "", *, column: str = "", terms: bool = False
) -> Field:
    return Field(name, kind, tuple(homes.split()), text, tuple(short.split()), column, terms)


_ROWS: Final = (
    # what every document has
    _row("@timestamp", "date", _ALL, "When it happened (event time, UTC).", "time", column="time"),
    _row("message", "text", _ALL, "One sentence for people. Holds untrusted text."),
    _row("ecs.version", "keyword", _ALL, "Version of ECS the names follow."),
    _row("event.id", "keyword", _ALL, "Id of the document; derived from the input alone.", "id", column="id"),
    _row("event.kind", "keyword", _ALL, "`event`, `state`, `alert` or `pipeline_error`."),
    _row("event.module", "keyword", _ALL, "Always `revet`."),
    _row("event.dataset", "keyword", _ALL, "Dataset or state index.", "dataset"),
    _row("event.category", "keyword", _ALL, "ECS category, where ECS has one."),
    _row("event.type", "keyword", _ALL, "ECS type, within the category."),
    _row("event.action", "keyword", _ALL, "What was done, e.g. `image-admission-denied`.", "action"),
    _row("event.outcome", "keyword", _ALL, "`success`, `failure` or `unknown` (could not be told).", "outcome"),
    _row("event.code", "keyword", "finding findings deadletter deadletters incident incidents", "Code.", "code"),
    _row("event.reason", "keyword", f"{_ALL}", "Why, in words.", "why"),
    _row("event.severity", "long", "finding findings incident incidents", "0 (info) to 4 (critical), for sorting."),
    _row("event.sequence", "long", f"{_JUDGED} lifecycle incident incidents", "Order of versions of one thing."),
    _row("event.original", "unindexed", "verification trust evidence", "The record itself, byte for byte."),
    _row("related.hash", "keyword", f"{_IMAGE} admission claim trust deadletter deadletters incident incidents",
         "Every digest it is about, as `sha256:…` and as bare hex: either paste works.", "hash"),
    _row("related.user", "keyword", "admission configuration trust incident incidents", "Every user it is about."),
    _row("related.ip", "ip", "admission", "Every address it is about."),
    # who
    _row("user.name", "keyword", "admission configuration trust incident incidents", "Who did it.", "user"),
    _row("user.roles", "keyword", "admission", "Groups of the user."),
    _row("user_agent.original", "keyword", "admission", "Client program.", "agent"),
    _row("source.ip", "ip", "admission", "Address the request came from (the first one told).", "ip"),
    _row("http.response.status_code", "long", "admission", "Status the API server answered."),
    # where
    _row("orchestrator.type", "keyword", f"{_PLACED} configuration feeds", "Always `kubernetes`."),
    _row("orchestrator.cluster.id", "keyword", f"{_PLACED} configuration feeds trust",
         "Cluster id.", "cluster", column="cluster"),
    _row("orchestrator.cluster.name", "keyword", f"{_PLACED} configuration feeds trust",
         "Name of the cluster in trust.", "cluster_name"),
    _row("provenance.cluster.labels", "flattened", f"{_PLACED} configuration feeds trust",
         "Labels of the cluster in trust (`provenance.cluster.labels.env`).", "cluster_labels"),
    _row("provenance.cluster.environment", "keyword", f"{_PLACED} configuration feeds trust",
         "Environment of the cluster: its label `env`, else `environment`.", "environment"),
    _row("orchestrator.namespace", "keyword", _PLACED, "Namespace.", "namespace",
         column="namespace"),
    _row("orchestrator.resource.type", "keyword", "admission configuration claim",
         "Resource, e.g. `pods`; of a claim the kind, e.g. `Pod`.", "resource"),
    _row("orchestrator.resource.name", "keyword", "admission configuration claim", "Name of the object.", "name"),
    _row("orchestrator.resource.id", "keyword", "admission claim", "UID of the object."),
    _row("kubernetes.pod.name", "keyword", f"{_POD} claim", "Pod.", "pod", column="pod"),
    _row("kubernetes.pod.uid", "keyword", f"{_POD} claim", "UID of the pod.", "pod_uid"),
    _row("kubernetes.node.name", "keyword", "containers lifecycle", "Node.", "node"),
    _row("kubernetes.labels", "flattened", "containers", "Labels of the pod, without those that differ per rollout.",
         "labels"),
    _row("kubernetes.namespace_labels", "flattened", "namespace namespaces", "Labels of the namespace."),
    _row("kubernetes.audit.auditID", "keyword", "admission", "Joins with the API server's audit log.", "audit_id"),
    _row("provenance.workload.id", "keyword", _WHERE, "`cluster/namespace/kind/name` of the top owner.", "workload_id",
         column="workload"),
    _row("provenance.workload.kind", "keyword", _WHERE, "Kind of the top owner."),
    _row("provenance.workload.name", "keyword", _WHERE, "Name of the top owner.", "workload"),
    _row("provenance.workload.service_account", "keyword", "containers lifecycle verification", "Service account.",
         "service_account"),
    _row("provenance.workload.static", "boolean", "containers lifecycle", "A static pod's mirror.", "static"),
    _row("provenance.owner.team", "keyword", f"{_PLACED} incident incidents",
         "Team that owns the namespace, as known when this was written.", "owner team"),
    _row("provenance.owner.source", "keyword", _PLACED, "Which rule named the team."),
    # what runs
    _row("container.name", "keyword", f"{_WHERE}", "Container.", "container"),
    _row("container.image.name", "keyword", f"{_WHERE}", "Image as the spec writes it.", "spec_image"),
    _row("container.image.hash.all", "keyword", "containers lifecycle", "Running digest."),
    _row("provenance.container.id", "keyword", "containers lifecycle", "Container instance.", "instance"),
    _row("provenance.container.kind", "keyword", "containers lifecycle admission",
         "`init`, `sidecar`, `main`, `ephemeral` or `image-volume`.", "kind"),
    _row("provenance.class.id", "keyword", "containers lifecycle verification",
         "Containers with one class are judged alike.", "class", column="class"),
    _row("provenance.class.members", "long", "verification", "Running containers of the class at that time."),
    _row("provenance.state", "keyword", "containers findings incidents deadletters finding incident namespaces",
         "Container: `waiting`, `running`, `terminated`. Finding: `open`, `closed`. Incident: `open`, `acknowledged`, "
         "`resolved`.", "state", column="state"),
    _row("provenance.run.started", "date", "containers lifecycle", "Start of the run interval.", "started"),
    _row("provenance.run.ended", "date", "containers lifecycle", "End of the run interval; missing while it runs.",
         "ended"),
    _row("provenance.run.ended_after", "date", "containers lifecycle",
         "Where nobody saw it end: last known to run then; it ended between then and the end of the run interval."),
    _row("provenance.run.known_from", "date", "lifecycle",
         "When the start or end was first told: as known before then, it had not happened.", "known_from"),
    _row("provenance.run.end_reason", "keyword", "containers lifecycle",
         "`replaced`, `completed`, `failed`, `pod-deleted`, `pod-vanished`, `namespace-excluded`, `cluster-retired`; "
         "`started`: it waited for its image, and what runs now is told of under its digest.",
         "end_reason"),
    _row("provenance.image.reference", "keyword", f"{_IMAGE} admission claim", "Image reference, normalised.", "image"),
    _row("provenance.image.registry", "keyword", _IMAGE, "Registry.", "registry"),
    _row("provenance.image.repository", "keyword", _IMAGE, "Repository (`registry/path`).", "repository",
         column="repository"),
    _row("provenance.image.digest", "keyword", _IMAGE, "Running digest.", "digest", column="digest"),
    _row("provenance.image.index_digest", "keyword", "images evidence verification",
         "Indexes that list the digest.", "index", terms=True),
    _row("provenance.image.asked", "keyword", "admission claim",
         "Every image of the request: as submitted, as stored, normalised, and its digest when it names one. Of a claim"
         " every image it names.", "asked", terms=True),
    _row("provenance.image.unresolved", "keyword", "admission",
         "Repositories of images that were asked for without a digest: what their tags meant then is not known here.",
         "unresolved", terms=True),
    _row("provenance.image.count", "long", "admission", "Images in the request."),
    _row("provenance.images", "object", "admission", "Images of the request, for reading."),
    # admission
    _row("provenance.admission.id", "keyword", "containers admission",
         "Decision that admitted it; missing when none is on record.", "decision"),
    _row("provenance.admission.decision", "keyword", "admission", "`admitted`, `denied`, `errored`.", "admission"),
    _row("provenance.admission.operation", "keyword", "admission configuration", "`create`, `update` …", "operation"),
    _row("provenance.admission.engine", "keyword", "admission", "What kind of thing decided.", "engine"),
    _row("provenance.admission.webhook", "keyword", "admission", "Webhook or policy that decided.", "webhook"),
    _row("provenance.admission.dry_run", "boolean", "admission", "Nothing was persisted.", "dry_run"),
    _row("provenance.admission.break_glass", "boolean", "admission", "A break-glass request.", "break_glass"),
    _row("provenance.admission.beside_rules", "keyword", "admission",
         "How it came in beside the rules: `break-glass`, `failed-open`, `engine-exemption`, `engine-audit`.",
         "beside_rules", terms=True),
    _row("provenance.admission.mark", "keyword", "admission", "The label or annotation that marks break-glass."),
    _row("provenance.admission.failed_open", "keyword", "admission", "Webhooks that could not be asked.",
         "failed_open"),
    _row("provenance.admission.exempt", "keyword", "admission", "Exception of the admission engine that let it in."),
    _row("provenance.admission.audited", "keyword", "admission", "Violations that were only recorded.", "audited"),
    _row("provenance.admission.mutated_by", "keyword", "admission", "Webhooks that changed the object."),
    _row("provenance.admission.impersonated_by", "keyword", "admission", "Real user behind an impersonation."),
    _row("provenance.admission.truncated", "boolean", "admission", "The audit event was cut.", "truncated"),
    _row("provenance.looked_back", "boolean", "admission configuration namespace namespaces feeds",
         "Read out of an archive by a look-back, and judged by nobody.", "looked_back"),
    # what other engines say
    _row("provenance.claim.result", "keyword", "claim", "`pass`, `fail`, `warn`, `error`, `skip`.", "claim"),
    _row("provenance.claim.engine", "keyword", "claim", "Engine that says it, as it names itself.", "claim_engine"),
    _row("provenance.claim.policy", "keyword", "claim", "Its policy, constraint or verifier.", "claim_policy"),
    _row("provenance.claim.rule", "keyword", "claim", "Its rule, constraint kind or artifact type.", "claim_rule"),
    _row("provenance.claim.feed", "keyword", "claim",
         "Form it came in: `policy-report`, `gatekeeper`, `ratify`, `connaisseur`, `opa`.", "claim_feed"),
    _row("provenance.claim.at_admission", "boolean", "claim",
         "Said while a request was decided, not by a later look.", "at_admission"),
    _row("provenance.claim.said", "date", "claim", "When the engine says it looked; the time is when it was heard.",
         "said"),
    # judged
    _row("provenance.verdict", "keyword", "containers verification",
         "`valid`, `violates`, `unverifiable`, `ungoverned`; of a container the worst of its policies.", "verdict",
         column="verdict"),
    _row("provenance.previous_verdict", "keyword", "verification", "The verdict before.", "previous"),
    _row("provenance.reason.code", "keyword", _JUDGED, "Reasons of the verdict (`revet explain CODE`).", "reason"),
    _row("provenance.policy.id", "keyword", f"{_JUDGED} trust incident incidents", "Policies.", "policy"),
    _row("provenance.policy.version", "keyword", "verification finding findings trust", "Version of the policy.",
         "policy_version"),
    _row("provenance.policy.mode", "keyword", "verification trust", "`trial`, `audit`, `enforce`.", "mode"),
    _row("provenance.policy.violated", "keyword", "containers", "Policies that it violates, exempted or not.",
         "violates"),
    _row("provenance.policy.unverifiable", "keyword", "containers", "Policies that could not be told.", "unverifiable"),
    _row("provenance.policies", "object", "containers", "Every policy's verdict, for reading."),
    _row("rule.id", "keyword", "verification finding findings", "The policy, under its ECS name."),
    _row("rule.version", "keyword", "verification finding findings", "The policy's version, under its ECS name."),
    _row("provenance.exemption.id", "keyword", f"{_JUDGED} trust", "Exemption that covers it.", "exemption"),
    _row("provenance.evaluation.trigger", "keyword", "verification",
         "`new-class`, `evidence`, `trust`, `due`, `restore`.", "trigger"),
    _row("provenance.evaluation.valid_until", "date", "verification", "When it must be judged again."),
    _row("provenance.evaluation.engine_version", "keyword", "verification", "Version of the judging code."),
    _row("provenance.cause.kind", "keyword", "finding findings incident incidents", "`revocation`, `policy-change` …",
         "cause_kind"),
    _row("provenance.cause.id", "keyword", "finding findings incident incidents", "The thing that changed.", "cause"),
    _row("provenance.cause.label", "keyword", "finding findings incident incidents verification",
         "What changed, in words.", "changed_by"),
    _row("provenance.trust.epoch", "long", "verification trust finding findings incident incidents",
         "Ordinal in the trust log.", "epoch"),
    # signatures and keys
    _row("provenance.signatures", "object", "verification evidence images", "Every signature, for reading."),
    _row("provenance.signature.exists", "boolean", "verification images evidence", "There is a signature.", "signed"),
    _row("provenance.signature.trusted", "boolean", "verification", "One counts for this policy.", "trusted"),
    _row("provenance.signature.status", "keyword", "verification", "How its signatures stand.", "signature"),
    _row("provenance.signature.kind", "keyword", "verification images evidence", "Formats found.", "format"),
    _row("provenance.signature.identity", "keyword", _CERTIFIED,
         "Whom signing certificates were made for: alternative names, else the subject.", "identity", terms=True),
    _row("provenance.signature.issuer", "keyword", _CERTIFIED, "OIDC issuers of signing certificates.", "issuer"),
    _row("provenance.signature.predicate_type", "keyword", "verification images evidence",
         "Predicate types of attestations.", "predicate_type"),
    _row("provenance.signature.expires", "date", "images evidence", "When the first signature expires by itself."),
    _row("provenance.certificate.sha256", "keyword", "images evidence", "Fingerprints of signing certificates (DER).",
         "certificate", terms=True),
    _row("provenance.certificate.serial_number", "keyword", "images evidence",
         "Serial numbers, as ECS `x509.serial_number`.", "serial"),
    _row("provenance.certificate.subject", "keyword", "images evidence",
         "Distinguished names, as ECS `x509.subject.distinguished_name`."),
    _row("provenance.ca.related", "keyword", "images evidence trust",
         "CAs and timestamp authorities it rests on: id of the authority, key ids of its certificates, name.", "ca",
         terms=True),
    _row("provenance.log.id", "keyword", "images evidence trust", "Transparency and CT logs it rests on (hex).", "log",
         terms=True),
    _row("provenance.log.entry", "keyword", "images evidence", "Entries: `<log id>:<index>`.", "log_entry"),
    _row("provenance.builder", "keyword", "images evidence trust", "Builders that provenance or certificates name.",
         "builder", terms=True),
    _row("provenance.commit", "keyword", "images evidence trust", "Source commits they name (hex).", "commit",
         terms=True),
    _row("provenance.build.type", "keyword", "images evidence", "Build types that provenance names."),
    _row("provenance.build.run", "keyword", "images evidence", "CI runs that provenance or certificates name.", "run",
         terms=True),
    _row("provenance.build.source", "keyword", "images evidence",
         "Sources that provenance or certificates name (`uri` or `uri@ref`).", "source_uri"),
    _row("provenance.image.base", "keyword", "images evidence",
         "Digests it says it is built on: OCI base annotations, images among the materials of provenance.", "base",
         terms=True),
    _row("provenance.rule.held", "keyword", "images evidence", "Content rules (by id) that an attestation obeys."),
    _row("provenance.rule.broken", "keyword", "images evidence", "Content rules (by id) that an attestation breaks.",
         "broken_rule"),
    _row("provenance.key.id", "keyword", _KEYED, "Key ids (hex SHA-256 of the public key)."),
    _row("provenance.key.name", "keyword", _KEYED, "Key names.", "signer"),
    _row("provenance.key.related", "keyword", _KEYED, "Names and ids of every key it is about: either works.", "key",
         terms=True),
    _row("provenance.evidence.id", "keyword", "images evidence trust", "Evidence ids.", "evidence"),
    _row("provenance.evidence.set", "keyword", "images evidence verification", "Version of the evidence set."),
    _row("provenance.evidence.count", "long", "images evidence", "Pieces of evidence."),
    _row("provenance.evidence.complete", "boolean", "images evidence", "Every place answered; absence is known.",
         "complete"),
    _row("provenance.evidence.problem", "keyword", "images evidence", "Why it is not complete, or what is broken.",
         "problem"),
    _row("provenance.evidence.first_seen", "date", "images evidence", "Earliest first sight of any of it.",
         "first_seen"),
    _row("provenance.evidence.fetched_at", "date", "images evidence", "When the places were asked.", "fetched"),
    _row("provenance.evidence.places", "object", "images evidence", "Every place and its answer, for reading."),
    # trust
    _row("provenance.trust.record", "keyword", "trust", "Kind of the entry, e.g. `revocation-put`.", "record"),
    _row("provenance.trust.origin", "keyword", "trust", "Where the entry came from.", "origin"),
    _row("provenance.revocation.id", "keyword", "trust", "Revocation.", "revocation"),
    _row("provenance.revocation.subject", "keyword", "trust",
         "What is revoked (`key:…`, `digest:…`, `identity:{…}`, `ca:…`, `builder:…`, `commit:…`, `log:…`).", "revoked"),
    _row("provenance.revocation.last_good_index", "long", "trust", "Log entries up to this one stay good."),
    _row("provenance.trust.root", "keyword", "trust", "Name of the trust root.", "root"),
    _row("provenance.trust.format", "keyword", "trust", "What the trust root or list is written in."),
    _row("provenance.revocation.reason", "keyword", "trust", "Reason of the revocation.", "revocation_reason"),
    _row("provenance.revocation.effective", "date", "trust", "From when on."),
    _row("provenance.revocation.compromised_since", "date", "trust", "Signatures proven before stay good."),
    _row("provenance.exemption.expires", "date", "trust", "When the exemption ends."),
    _row("provenance.exemption.ticket", "keyword", "trust", "Ticket.", "ticket"),
    _row("provenance.exemption.approver", "keyword", "trust", "Who approved.", "approver"),
    # findings and incidents
    _row("provenance.severity", "keyword", "finding findings incident incidents",
         "`info`, `low`, `medium`, `high`, `critical`.", "severity"),
    _row("provenance.finding.id", "keyword", "finding findings", "Finding.", "finding_id", column="finding"),
    _row("provenance.finding.type", "keyword", "finding findings", "Code of the finding, e.g. `unsigned`.", "finding"),
    _row("provenance.finding.status", "keyword", "finding findings", "`open`, `fixed`, `reopened`, `suppressed`."),
    _row("provenance.finding.opened_at", "date", "finding findings", "When it opened.", "opened"),
    _row("provenance.finding.closed_at", "date", "finding findings", "When it closed.", "closed"),
    _row("provenance.finding.close_reason", "keyword", "finding findings", "Why it closed.", "close_reason"),
    _row("provenance.finding.affected_count", "long", "finding findings", "Running containers it holds.", "affected"),
    _row("provenance.finding.detail", "flattened", "finding findings", "Facts of this kind of finding.", "detail"),
    _row("provenance.incident.id", "keyword", "finding findings incident incidents", "Incident.", "incident",
         column="incident"),
    _row("provenance.incident.short_id", "keyword", "incident incidents", "Id for people (`INC-…`).", "short_id"),
    _row("provenance.incident.kind", "keyword", "incident incidents", "Code of its findings, or `baseline`.",
         "incident_kind"),
    _row("provenance.incident.subject", "keyword", "incident incidents", "What it is about.", "subject"),
    _row("provenance.incident.cause", "keyword", "incident incidents", "The thing that changed."),
    _row("provenance.incident.state", "keyword", "incident incidents", "`open`, `acknowledged`, `resolved`."),
    _row("provenance.incident.transition", "keyword", "incident", "What happened to it.", "transition"),
    _row("provenance.incident.opened_at", "date", "incident incidents", "When it opened."),
    _row("provenance.incident.resolved_at", "date", "incident incidents", "When it was resolved.", "resolved"),
    _row("provenance.incident.containers", "long", "incident incidents", "Running containers now.", "containers"),
    _row("provenance.incident.workloads", "long", "incident incidents", "Workloads now.", "workloads"),
    _row("provenance.incident.namespaces", "long", "incidents", "Namespaces now."),
    _row("provenance.incident.clusters", "long", "incidents", "Clusters now."),
    _row("provenance.incident.peak", "long", "incidents", "Most containers at any time.", "peak"),
    _row("provenance.incident.final", "boolean", "incidents", "Every shard has reported.", "final"),
    _row("provenance.incident.paging", "boolean", "incidents", "May wake somebody.", "paging"),
    _row("provenance.incident.revision", "long", "incident incidents", "Version of its row.", "revision"),
    _row("provenance.incident.breakdown", "object", "incidents", "Teams, examples, notes, silences, for reading."),
    # feeds and dead letters
    _row("provenance.feed.name", "keyword", "feeds", "`audit` or `pods`.", "feed"),
    _row("provenance.feed.since", "date", "feeds", "Start of unbroken sight.", "since"),
    _row("provenance.feed.last", "date", "feeds", "Newest sign of life.", "last"),
    _row("error.code", "keyword", "deadletter deadletters", "Why it could not be read.", "error"),
    _row("error.message", "text", "deadletter deadletters", "The same, in words."),
    _row("provenance.deadletter.source", "keyword", "deadletter deadletters", "Where the input stands.", "source"),
    _row("provenance.deadletter.size", "long", "deadletter deadletters", "Bytes.", "size"),
    _row("provenance.deadletter.sha256", "keyword", "deadletter deadletters", "Hash of the input."),
    _row("provenance.deadletter.excerpt", "keyword", "deadletter deadletters", "Its structure, without values.",
         "excerpt"),
)  # fmt: skip

FIELDS: Final[dict[str, Field]] = {row.name: row for row in _ROWS}
"""Name -> row."""

SHORT_NAMES: Final[dict[str, str]] = {short: row.name for row in _ROWS for short in row.short}
"""Short name -> full name. A short name and a full name are never the same."""

TERMINAL_ONLY: Final = frozenset(SHORT_NAMES) & {row.name.partition(".")[0] for row in _ROWS}
"""Short names that Elasticsearch cannot have as a field alias, because an object of ECS has that name (`user`)."""

COLUMNS: Final[dict[str, str]] = {row.name: row.column for row in _ROWS if row.column}
"""Full name -> column of the SQLite record."""

INDEXED: Final = frozenset({"namespace", "workload", "pod", "class", "repository", "digest", "finding", "incident"})
"""Columns of the SQLite record that are looked up by value; the others narrow a scan."""

TERM_FIELDS: Final[tuple[str, ...]] = tuple(row.name for row in _ROWS if row.terms)

_FLATTENED: Final = tuple(row.name for row in _ROWS if row.type == "flattened")


def field_of(name: str) -> Resolved | None:
    """The field a full or short name stands for, with the member of a flattened one; None when there is none."""
    full = SHORT_NAMES.get(name, name)
    row = FIELDS.get(full)
    if row is not None:
        return Resolved(row, "")
    for outer in _FLATTENED:
        for prefix in (outer, *FIELDS[outer].short):
            if name.startswith(f"{prefix}.") and len(name) > len(prefix) + 1:
                return Resolved(FIELDS[outer], name[len(prefix) + 1 :])
    return None


def similar_names(name: str) -> list[str]:
    """Names that somebody who wrote `name` may have meant, best first; at most three."""
    return difflib.get_close_matches(name, [*SHORT_NAMES, *FIELDS], n=3, cutoff=0.6)


def home_of(name: str) -> str:
    """Dataset or index of a short or full name: `containers` -> `revet-state-containers`.

    Raises:
        InputError: there is none; the message names those there are.
    """
    if name in HOMES:
        return HOMES[name]
    if name in HOMES.values():
        return name
    known = f"state: {', '.join(CURRENT)}; history: {', '.join(HISTORY)}"
    raise InputError(f"{name[:60]!r} is no part of the record; {known}")


def mark(value: str) -> int:
    """A small number that stands for a text in an index of the SQLite record; equal texts have equal marks."""
    return zlib.crc32(value.encode()) & 0x7FFFFFFF


def term_mark(field: str, value: str) -> int:
    """The mark of one value of a field in the term table."""
    return mark(f"{field}\0{value}")


def is_current(home: str) -> bool:
    """Does this home hold what is so now (newest version wins), rather than what happened?"""
    return home.startswith(CURRENT_PREFIX)
