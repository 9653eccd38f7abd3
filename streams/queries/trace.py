"""`trace`: all the record knows of one thing, in order: who signed, who let it in, what was judged, when it ended.

    timeline = trace(reader, resolve(reader, "registry.example.com/payments/api:1.4.2"))

The subject becomes one condition per dataset; a document becomes a row with its own sentence. Nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from alerting.findings import ROOT_CAUSE
from streams.queries.asof import running_at
from streams.queries.conditions import NOTHING, Condition, both, either, exists, is_, one_of
from streams.queries.coverage import coverage
from streams.queries.held import VALUES_FOLLOWED, containers_of, pods_of
from streams.queries.port import Hit, RecordReader, every
from streams.queries.reading import key_names, signatures_of, text_of, texts_of, with_values
from streams.queries.results import Row, Signature, Subject, SubjectKind, Timeline
from streams.queries.subjects import FIELD_OF
from streams.sinks.document import shown_image
from streams.sinks.fields import HOMES
from verifier.models import Micros
from verifier.times import show_instant

ROWS_PER_DATASET: Final = 1000
"""Rows of one dataset in a timeline; what is left out is named."""
CONTAINERS_READ: Final = 5000
"""Containers whose pods, classes and decisions are followed."""

_REVOCATIONS: Final = (
    *("revocation-put", "revocation-withdrawn", "key-put", "key-rotated", "key-removed"),
    *("root-put", "root-removed", "status-list-put"),
)

Plan = dict[str, Condition]
"""Short name of a dataset -> which of its documents belong to the subject."""


class Around(msgspec.Struct, frozen=True):
    """What containers lead to."""

    digests: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    workloads: tuple[str, ...] = ()
    decisions: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    clusters: tuple[str, ...] = ()
    running: int = 0
    ended: int = 0


def trace(
    reader: RecordReader,
    subject: Subject,
    *,
    start: Micros | None = None,
    end: Micros | None = None,
    now: Micros | None = None,
) -> Timeline:
    """The timeline of a subject; `start` and `end` cut the rows, `now` lets it say which feeds are silent.

    Raises:
        InputError: nothing was recorded here.
        PlaceUnavailable: the store does not answer.
    """
    around = _around(reader, containers_of(reader, subject))
    plan = _PLANS[subject.kind](reader, subject, around)
    rows, left_out = _rows(reader, plan)
    signatures = _signatures(reader, subject, around)
    rows += [row for signature in signatures if (row := _signed(signature)) is not None]
    first = min((row.time for row in rows if row.kind != "trust"), default=None)
    if first is not None:
        rows.append(Row(first, "first-seen", f"{subject.name} is first known of", "", ""))
    shown = [r for r in rows if (start is None or r.time >= start) and (end is None or r.time <= end)]
    seen = coverage(reader, now=now, start=start, end=end, clusters=around.clusters)
    return Timeline(
        subject=subject,
        first_seen=first,
        running=around.running,
        ended=around.ended,
        signatures=tuple(signatures),
        rows=tuple(sorted(shown, key=_order)),
        left_out=tuple(left_out),
        blind_spots=(*seen.blind_spots, *_incomplete(reader, around)),
    )


# ------------------------------------------------------------------------------------------------ what they lead to


def _around(reader: RecordReader, where: Condition) -> Around:
    if where == NOTHING:
        return Around()
    home = HOMES["containers"]
    page = reader.find(home, where, newest_first=True, limit=CONTAINERS_READ)

    def values(name: str) -> tuple[str, ...]:
        found = {text_of(hit.body, name) for hit in page.hits}
        return tuple(sorted(found - {""})[:VALUES_FOLLOWED])

    def number(more: Condition) -> int:
        return sum(g.count for g in reader.groups(home, both(where, more), ("orchestrator.cluster.id",)))

    return Around(
        digests=values("digest"),
        classes=values("class"),
        workloads=values("workload_id"),
        decisions=values("decision"),
        images=values("spec_image"),
        clusters=values("cluster"),
        running=number(running_at(None)),
        ended=number(exists("provenance.run.ended")),
    )


# ------------------------------------------------------------------------------------------------ which documents


def _image_plan(reader: RecordReader, subject: Subject, around: Around) -> Plan:
    """Denials are found by the name of the image: what was denied has no digest on record."""
    digests = tuple(sorted({*subject.values, *around.digests}))[:VALUES_FOLLOWED]
    asked = [*around.images, *([subject.name] if subject.kind == "image" else [])]
    denied = both(one_of("admission", ("denied", "errored")), one_of("asked", asked))
    return {
        **_evidence_plan(reader, digests),
        "lifecycle": one_of("digest", digests),
        "verification": one_of("digest", digests),
        "admission": either(one_of("id", around.decisions), denied, one_of("asked", digests)),
        **_finding_plan(reader, one_of("digest", digests)),
    }


def _pod_plan(reader: RecordReader, subject: Subject, around: Around) -> Plan:
    denials = both(one_of("workload_id", around.workloads), is_("admission", "denied"))  # they name no UID
    pods = pods_of(subject)
    return _placed_plan(reader, around, pods, either(pods, one_of("id", around.decisions), denials))


def _workload_plan(reader: RecordReader, subject: Subject, around: Around) -> Plan:
    where = one_of("workload_id", subject.values)
    return _placed_plan(reader, around, where, where)


def _placed_plan(reader: RecordReader, around: Around, lifecycle: Condition, admission: Condition) -> Plan:
    return {
        **_evidence_plan(reader, around.digests),
        "lifecycle": lifecycle,
        "verification": one_of("class", around.classes),
        "admission": admission,
        **_finding_plan(reader, one_of("workload_id", around.workloads)),
    }


def _key_plan(reader: RecordReader, subject: Subject, around: Around) -> Plan:
    del around
    where = one_of("key", subject.values)
    return {"evidence": where, "verification": where, "trust": where, **_finding_plan(reader, where)}


def _rests_on_plan(reader: RecordReader, subject: Subject, around: Around) -> Plan:
    """What was found to rest on it, what trust said of it, and the findings that it caused."""
    del around
    where = one_of(FIELD_OF[subject.kind], subject.values)
    revoked = reader.find(HOMES["trust"], both(where, exists("revoked")), limit=VALUES_FOLLOWED).hits
    causes = one_of("cause", sorted({text_of(hit.body, "revoked") for hit in revoked}))
    plan = {"evidence": where, "trust": where, **_finding_plan(reader, causes)}
    return plan | {"verification": where} if subject.kind == "identity" else plan


def _policy_plan(reader: RecordReader, subject: Subject, around: Around) -> Plan:
    del around
    where = one_of("policy", subject.values)
    return {"verification": where, "trust": where, **_finding_plan(reader, where)}


def _incident_plan(reader: RecordReader, subject: Subject, around: Around) -> Plan:
    where = one_of("incident", subject.values)
    return {**_finding_plan(reader, where), **_cause_plan(reader, where), **_verdict_plan(reader, where, around)}


def _told_plan(reader: RecordReader, subject: Subject, around: Around) -> Plan:
    where = one_of("finding_id", subject.values)
    return {
        **_evidence_plan(reader, around.digests),
        **_finding_plan(reader, where),
        **_cause_plan(reader, where),
        **_verdict_plan(reader, where, around),
        "lifecycle": one_of("workload_id", around.workloads),
        "admission": one_of("id", around.decisions),
    }


_PLANS: Final[dict[SubjectKind, Callable[[RecordReader, Subject, Around], Plan]]] = {
    "digest": _image_plan,
    "image": _image_plan,
    "pod": _pod_plan,
    "workload": _workload_plan,
    "key": _key_plan,
    **dict.fromkeys(FIELD_OF, _rests_on_plan),
    "policy": _policy_plan,
    "incident": _incident_plan,
    "finding": _told_plan,
}


def _evidence_plan(reader: RecordReader, digests: tuple[str, ...]) -> Plan:
    """Evidence of the digests and of their indexes; what became of the keys that signed; denials of a digest."""
    images = list(with_values(reader, "images", "provenance.image.digest", digests))
    keys = sorted({key for hit in images for key in texts_of(hit.body, "provenance.key.id")})[:VALUES_FOLLOWED]
    indexes = {index for hit in images for index in texts_of(hit.body, "index")}
    tied = sorted({*digests, *indexes})[:VALUES_FOLLOWED]
    rests = (
        one_of(field, sorted({value for hit in images for value in texts_of(hit.body, field)})[:VALUES_FOLLOWED])
        for field in FIELD_OF.values()
    )
    changed = both(either(one_of("key", keys), *rests), one_of("record", _REVOCATIONS))
    return {"evidence": one_of("digest", tied), "trust": either(one_of("hash", tied), changed)}


def _finding_plan(reader: RecordReader, where: Condition) -> Plan:
    groups = reader.groups(HOMES["findings"], where, ("provenance.incident.id",))
    incidents = [g.values[0] for g in groups if g.values[0]][:VALUES_FOLLOWED]
    return {"finding": where, "incident": one_of("incident", incidents)}


def _cause_plan(reader: RecordReader, where: Condition) -> Plan:
    """The trust entries behind an incident or finding: its revocation, or its policy's versions."""
    hits = list(every(reader, HOMES["findings"], where))[:VALUES_FOLLOWED]
    revoked = {text_of(h.body, "cause") for h in hits if text_of(h.body, "cause_kind") == "revocation"}
    others = [text_of(h.body, "cause") for h in hits if text_of(h.body, "cause_kind") == "policy-change"]
    roots = {c.removeprefix(ROOT_CAUSE).rpartition("@")[0] for c in others if c.startswith(ROOT_CAUSE)}
    policies = {p for h in hits for p in texts_of(h.body, "policy") if text_of(h.body, "cause_kind") != "revocation"}
    return {"trust": either(one_of("revoked", revoked), one_of("policy", policies), one_of("root", roots))}


def _verdict_plan(reader: RecordReader, where: Condition, around: Around) -> Plan:
    groups = reader.groups(HOMES["findings"], where, ("orchestrator.cluster.id",))
    hits = reader.find(HOMES["findings"], where, limit=VALUES_FOLLOWED).hits if groups else ()
    policies = {p for hit in hits for p in texts_of(hit.body, "policy")}
    return {"verification": both(one_of("class", around.classes), one_of("policy", policies))}


# ------------------------------------------------------------------------------------------------ rows

_KINDS: Final[dict[str, Callable[[Hit], str]]] = {
    "admission": lambda hit: text_of(hit.body, "provenance.admission.decision"),
    "lifecycle": lambda hit: "ended" if text_of(hit.body, "event.type") == "end" else "started",
    "verification": lambda _: "verdict",
    "finding": lambda _: "finding",
    "incident": lambda _: "incident",
    "trust": lambda _: "trust",
    "evidence": lambda _: "evidence",
}

_RANK: Final = {
    kind: rank
    for rank, kind in enumerate(
        ("first-seen", "trust", "signed", "admitted", "denied", "errored", "started", "first verdict", "evidence",
         "verdict", "ended", "finding", "incident")
    )
}  # fmt: skip
"""Order within one instant: causes before what follows from them."""

_IDS: Final = (
    *("cluster", "namespace", "workload", "pod", "container", "digest", "policy", "verdict", "previous", "decision"),
    *("user", "finding", "finding_id", "incident", "short_id", "severity", "state", "key", "signer", "revocation"),
    *("changed_by", "trigger", "exemption", "webhook", "engine", "end_reason", "epoch"),
    *("identity", "issuer", "ca", "log", "builder", "commit", "root"),
)
"""Short names of the fields a row carries along."""


def _rows(reader: RecordReader, plan: Plan) -> tuple[list[Row], list[str]]:
    rows: list[Row] = []
    left_out: list[str] = []
    for dataset, where in plan.items():
        page = reader.find(HOMES[dataset], where, limit=ROWS_PER_DATASET)
        rows += [_row(dataset, hit) for hit in page.hits]
        if page.after:
            left_out.append(dataset)
    return rows, left_out


def _row(dataset: str, hit: Hit) -> Row:
    ids = {name: text for name in _IDS if (text := text_of(hit.body, name))}
    return Row(hit.time, _KINDS[dataset](hit), text_of(hit.body, "message"), hit.home, hit.id, ids)


def _order(row: Row) -> tuple[object, ...]:
    """Time, then causes first: of one instant the first verdict comes before the evidence that changes it."""
    kind = "first verdict" if row.kind == "verdict" and not row.ids.get("previous") else row.kind
    return (row.time, _RANK[kind], int(row.ids.get("epoch") or 0), row.id)


def _signatures(reader: RecordReader, subject: Subject, around: Around) -> list[Signature]:
    names = key_names(reader)
    if subject.kind == "key":
        hits = with_values(reader, "images", "provenance.key.related", subject.values)
        return [s for hit in hits for s in signatures_of(hit.body, names) if s.key in subject.values]
    if subject.kind in FIELD_OF:
        found = {h.id: h for h in with_values(reader, "images", FIELD_OF[subject.kind], subject.values)}
        made = (s for hit in found.values() for s in signatures_of(hit.body, names))
        return [s for s in made if not set(subject.values).isdisjoint(s.rests_on)]
    digests = {*around.digests, *(subject.values if subject.kind in ("digest", "image") else ())}
    hits = with_values(reader, "images", "provenance.image.digest", digests)
    return [s for hit in hits for s in signatures_of(hit.body, names)]


_PROOF: Final = {"attested": "a third party attests that it existed by then", "observed": "revet first saw it then"}


def _signed(signature: Signature) -> Row | None:
    """A row for a signature whose time is proven; an undated one is only listed."""
    if signature.time is None:
        return None
    what = "signed" if signature.kind == "signature" else "attested"
    image = shown_image(signature.repository, signature.digest)
    text = f"{image} {what} by {signature.signer} ({signature.format}): {_PROOF[signature.time_kind]}"
    ids = {"digest": signature.digest, "key": signature.key, "signer": signature.signer}
    ids |= {"issuer": signature.issuer} if signature.issuer else {}
    return Row(signature.time, "signed", text, HOMES["images"], signature.evidence, ids)


def _incomplete(reader: RecordReader, around: Around) -> Iterator[str]:
    for hit in with_values(reader, "images", "provenance.image.digest", around.digests):
        if hit.body.get("provenance.evidence.complete") is False:
            image = shown_image(text_of(hit.body, "repository"), text_of(hit.body, "digest"))
            why = ", ".join(texts_of(hit.body, "problem"))
            yield f"evidence of {image} is not complete ({why}), as of {show_instant(hit.time)}"
