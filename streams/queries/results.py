"""Answers: frozen, typed, and the same in every store. `as_json` gives the form that leaves the process. Pure.

Texts hold names from clusters and registries: who prints them escapes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from streams.queries.port import Hit
from streams.sinks.document import instant
from verifier.models import Micros

SubjectKind = Literal[
    "digest",
    "image",
    "pod",
    "workload",
    "key",
    "policy",
    "incident",
    "finding",
    "identity",
    "ca",
    "builder",
    "commit",
    "log",
    "base",
]
TimeKind = Literal["attested", "observed", "none"]


class Subject(msgspec.Struct, frozen=True):
    """What is asked about."""

    kind: SubjectKind
    name: str
    """As people call it."""
    values: tuple[str, ...]
    """What the record calls it: digests, pod UIDs, workload ids, key ids, a policy, incident or finding id."""
    known: bool = True
    """Does the record hold anything of it?"""


class Signature(msgspec.Struct, frozen=True):
    """One signature by one key, as the newest evidence tells."""

    repository: str
    digest: str
    signer: str
    """Name of the key, else whom the certificate was made for, else `key:<12 hex>`, else `unknown`."""
    key: str
    evidence: str
    format: str
    kind: str
    """`signature` or `attestation`."""
    time: Micros | None
    """Earliest proof that it existed at or before; None: nothing proves when it was made."""
    time_kind: TimeKind
    """`attested` by a third party, or `observed` by revet itself (it existed by then, nothing more)."""
    problem: str = ""
    issuer: str = ""
    """OIDC issuer of the certificate; empty without one."""
    rests_on: tuple[str, ...] = ()
    """What is believed of it beside the key: identities, CAs, logs, builders, commits, as the record has them."""


class Row(msgspec.Struct, frozen=True):
    """One thing that happened."""

    time: Micros
    kind: str
    """`first-seen`, `evidence`, `signed`, `admitted`, `denied`, `errored`, `started`, `ended`, `verdict`, `finding`,
    `incident`, `trust`."""
    text: str
    home: str
    id: str
    ids: dict[str, str] = {}
    """Short name of a field -> its value: what to ask next about."""


class Timeline(msgspec.Struct, frozen=True):
    """Everything the record knows of a subject, in order."""

    subject: Subject
    first_seen: Micros | None
    running: int
    """Containers of it that run now."""
    ended: int
    signatures: tuple[Signature, ...]
    rows: tuple[Row, ...]
    left_out: tuple[str, ...]
    """Datasets of which only the first rows are shown."""
    blind_spots: tuple[str, ...]


class Place(msgspec.Struct, frozen=True):
    """Counts at one place; `namespace` and `team` are empty where the row is about more than one."""

    cluster: str
    cluster_name: str
    namespace: str
    team: str
    containers: int
    workloads: int
    namespaces: int
    ended: int


class ImageCount(msgspec.Struct, frozen=True):
    """Counts of one image."""

    repository: str
    digest: str
    containers: int
    ended: int


class SignatureSplit(msgspec.Struct, frozen=True):
    """Signatures of a subject by what is proven of their time; `before` and `after` count when an instant was given."""

    total: int
    attested: int
    observed: int
    undated: int
    since: Micros | None = None
    before: int = 0
    after: int = 0


class AskedPlace(msgspec.Struct, frozen=True):
    """Requests of one namespace."""

    cluster: str
    namespace: str
    team: str
    pods: int
    workloads: int
    maybe: int
    denied: int


class History(msgspec.Struct, frozen=True):
    """What archived audit logs say of the images of a subject."""

    limits: tuple[str, ...]
    """What archives can and cannot show, in sentences."""
    first: Micros | None
    last: Micros | None
    """The first and the last request that named one of them by digest."""
    pods: int
    """Pods that were admitted with one of them, by digest."""
    workloads: int
    maybe: int
    """Pods that were admitted with another name of one of the repositories: it may have meant one of them."""
    denied: int
    """Requests that named one of them and were denied."""
    images: int
    """Digests that were looked for."""
    by_namespace: tuple[AskedPlace, ...]


class BlastRadius(msgspec.Struct, frozen=True):
    """What something touches: what runs (now, or at an instant), and what ran in a window and has ended."""

    subject: Subject
    at: Micros | None
    start: Micros | None
    end: Micros | None
    containers: int
    workloads: int
    namespaces: int
    clusters: int
    ended: int
    verdicts: dict[str, int]
    """Running containers by verdict."""
    by_cluster: tuple[Place, ...]
    by_namespace: tuple[Place, ...]
    by_team: tuple[Place, ...]
    images: tuple[ImageCount, ...]
    signatures: SignatureSplit | None
    blind_spots: tuple[str, ...]
    history: History | None = None
    """What was let in before revet saw it; None: this record holds no archives, or they say nothing of this kind."""


class SearchResult(msgspec.Struct, frozen=True):
    """Documents that a query found."""

    query: str
    full_query: str
    """The same with full names, for Kibana."""
    home: str
    at: Micros | None
    hits: tuple[Hit, ...]
    after: str


class IncidentRow(msgspec.Struct, frozen=True):
    """One incident as it is now."""

    id: str
    short_id: str
    kind: str
    subject: str
    severity: str
    state: str
    policy: str
    cause: str
    opened: str
    changed: Micros
    resolved: str
    containers: int
    workloads: int
    namespaces: int
    clusters: int
    peak: int
    final: bool
    acknowledged_by: str
    teams: tuple[tuple[str, int, int], ...]
    """(team, containers, workloads)."""
    notes: tuple[tuple[int, str, str], ...]
    """(time, who, text)."""
    message: str
    silences: tuple[tuple[str, str, str, int], ...] = ()
    """(id, by, why, until) of every silence that covers some of it."""
    proposals: tuple[tuple[int, str, str, int, str], ...] = ()
    """(time, who, why, days, ticket): that it be accepted."""
    deployed_by: str = ""
    good_image: str = ""
    """What the record added when it was told."""


class Incidents(msgspec.Struct, frozen=True):
    """Incidents, newest change first."""

    rows: tuple[IncidentRow, ...]
    after: str


class DeadLetterRow(msgspec.Struct, frozen=True):
    """One input that could not be read."""

    id: str
    time: Micros
    source: str
    code: str
    message: str
    size: int
    sha256: str
    excerpt: str
    state: str


class DeadLetters(msgspec.Struct, frozen=True):
    """Inputs that could not be read, newest first."""

    rows: tuple[DeadLetterRow, ...]
    after: str


class Sight(msgspec.Struct, frozen=True):
    """One feed of one cluster: since when it is seen, until when, and the gaps between."""

    cluster: str
    cluster_name: str
    feed: str
    since: Micros
    last: Micros
    gaps: tuple[tuple[Micros, Micros], ...] = ()


class Coverage(msgspec.Struct, frozen=True):
    """What was seen, and sentences about what was not."""

    rows: tuple[Sight, ...]
    blind_spots: tuple[str, ...]


class ImageEvidenceRow(msgspec.Struct, frozen=True):
    """What is known of one image's evidence."""

    repository: str
    digest: str
    indexes: tuple[str, ...]
    complete: bool
    problems: tuple[str, ...]
    fetched: str
    signatures: tuple[Signature, ...]
    places: tuple[dict[str, str], ...]


class EvidenceAnswer(msgspec.Struct, frozen=True):
    """Evidence of the images a subject stands for."""

    subject: Subject
    images: tuple[ImageEvidenceRow, ...]


Cell = str | int | None
"""One value of a table: a text, a number, or an instant (in `TIME_COLUMNS`)."""


class QuestionAnswer(msgspec.Struct, frozen=True):
    """The answer to one of the fifteen questions (`streams.queries.questions`)."""

    number: int
    name: str
    question: str
    subject: Subject | None
    at: Micros | None
    """What was so then; None: now."""
    known_at: Micros | None
    """As known by then; None: by all that is on record."""
    start: Micros | None
    end: Micros | None
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    after: str
    limits: tuple[str, ...]
    """What this answer cannot hold, whatever is on record."""
    blind_spots: tuple[str, ...]
    """What the record did not see."""


SCHEMAS: Final[dict[type, str]] = {
    QuestionAnswer: "revet.ask/v1",
    Timeline: "revet.trace/v1",
    BlastRadius: "revet.blast-radius/v1",
    SearchResult: "revet.search/v1",
    Incidents: "revet.incidents/v1",
    DeadLetters: "revet.deadletters/v1",
    Coverage: "revet.coverage/v1",
    EvidenceAnswer: "revet.evidence/v1",
}

TIMES: Final = frozenset({"time", "first_seen", "at", "known_at", "start", "end", "since", "first", "last", "changed"})
"""Members that are instants: RFC 3339 in JSON."""

TIME_COLUMNS: Final = TIMES | {
    *("started", "ended", "judged", "until", "existed_by", "blind_from", "blind_to", "last_told", "newest")
}
"""Columns of a question's answer that are instants."""

Answer = Timeline | BlastRadius | SearchResult | Incidents | DeadLetters | Coverage | EvidenceAnswer | QuestionAnswer


def as_json(answer: Answer) -> dict[str, object]:
    """The answer as plain data: `schema` first, instants as RFC 3339 UTC."""
    plain = {name: _plain(name, getattr(answer, name)) for name in answer.__struct_fields__}
    if isinstance(answer, QuestionAnswer):
        plain["rows"] = [
            {name: _cell(name, cell) for name, cell in zip(answer.columns, row, strict=True)} for row in answer.rows
        ]
    return {"schema": SCHEMAS[type(answer)], **plain}


def _cell(column: str, value: Cell) -> Cell:
    return instant(value) if isinstance(value, int) and column in TIME_COLUMNS else value


def _plain(name: str, value: object) -> object:
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return instant(value) if name in TIMES else value
    if isinstance(value, Hit):
        return {"home": value.home, "id": value.id, **value.body}
    if isinstance(value, msgspec.Struct):
        return {field: _plain(field, getattr(value, field)) for field in value.__struct_fields__}
    if name == "gaps" and isinstance(value, tuple):
        return [{"from": instant(start), "to": instant(end)} for start, end in value]
    if name == "notes" and isinstance(value, tuple):
        return [{"time": instant(time), "by": by, "text": text} for time, by, text in value]
    if name == "silences" and isinstance(value, tuple):
        return [{"id": id_, "by": by, "why": why, "until": instant(until)} for id_, by, why, until in value]
    if isinstance(value, tuple):
        return [_plain("", item) for item in value]
    if isinstance(value, Mapping):
        return dict(value)
    return value
