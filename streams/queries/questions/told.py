"""Questions 14 and 15: who was told and what they did, and where nothing was seen. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from streams.queries.conditions import Condition, both, is_, one_of
from streams.queries.coverage import coverage
from streams.queries.port import Hit, RecordReader, every
from streams.queries.questions.common import by_then, held_by
from streams.queries.questions.model import Asked, Cells, Found, Keyed, paged
from streams.queries.reading import number_of, text_of
from streams.queries.results import Sight
from streams.sinks.fields import HOMES
from verifier.models import Micros

TOLD: Final = ("time", "incident", "what", "who", "why", "severity", "state", "containers", "sentence", "id")
BLIND: Final = ("cluster", "name", "feed", "since", "last", "blind_from", "blind_to")


# ------------------------------------------------------------------------------------------------ 14


def told(reader: RecordReader, asked: Asked) -> Found:
    """What happened to the incidents of it: opened, acknowledged, silenced, exempted, resolved; by whom, and when."""
    incidents = _incidents(reader, asked)
    names = {hit.id: text_of(hit.body, "short_id") for hit in every(reader, HOMES["incidents"], _of(incidents))}
    happened = every(reader, HOMES["incident"], both(_of(incidents), by_then(asked)))
    exempted = both(is_("close_reason", "exempted"), _of(incidents), by_then(asked))
    hits = [*happened, *every(reader, HOMES["finding"], exempted)]
    page, after = paged((Keyed((hit.time, hit.id), hit) for hit in hits), asked)
    limit = "messages and their delivery stand in the alerter's own ledger, which is no part of the record"
    return Found([_told(hit, names) for hit in page], after, frozenset(), (limit,))


def _incidents(reader: RecordReader, asked: Asked) -> list[str]:
    subject = asked.subject
    if subject is None:
        return []
    if subject.kind == "incident":
        return list(subject.values)
    if subject.kind == "finding":
        where = one_of("finding_id", subject.values)
    elif subject.kind in ("digest", "image"):
        where = one_of("digest", subject.values)
    else:
        by = ("provenance.workload.id",)
        groups = reader.groups(HOMES["containers"], held_by(reader, asked), by)
        where = one_of("workload_id", [group.values[0] for group in groups if group.values[0]])
    found = reader.groups(HOMES["findings"], where, ("provenance.incident.id",))
    return [group.values[0] for group in found if group.values[0]]


def _of(incidents: list[str]) -> Condition:
    return one_of("incident", incidents)


def _told(hit: Hit, names: dict[str, str]) -> Cells:
    body = hit.body
    exempted = text_of(body, "close_reason") == "exempted"
    incident = text_of(body, "incident")
    return (
        hit.time,
        text_of(body, "short_id") or names.get(incident, incident),
        "exempted" if exempted else text_of(body, "transition") or text_of(body, "action"),
        text_of(body, "exemption") if exempted else text_of(body, "user"),
        text_of(body, "why"),
        text_of(body, "severity"),
        text_of(body, "state"),
        number_of(body, "affected" if exempted else "containers"),
        text_of(body, "message"),
        hit.id,
    )


# ------------------------------------------------------------------------------------------------ 15


def blind(reader: RecordReader, asked: Asked) -> Found:
    """Which feeds of which clusters were seen, and where are the gaps? One row per gap; one without where none is."""
    start = asked.start if asked.start is not None else asked.at
    seen = coverage(reader, start=start, end=asked.until)
    rows = [
        Keyed((row.cluster, row.feed, gap[0] if gap else 0), _blind(row, gap))
        for row in seen.rows
        if asked.until is None or row.since <= asked.until
        if asked.cluster in ("", row.cluster, row.cluster_name)
        for gap in _gaps(row, start, asked)
    ]
    page, after = paged(rows, asked)
    return Found(page, after, frozenset(str(cells[0]) for cells in page))


def _gaps(row: Sight, start: Micros | None, asked: Asked) -> Iterator[tuple[Micros, Micros] | None]:
    end = asked.until
    found = [g for g in row.gaps if (end is None or g[0] <= end) and (start is None or g[1] >= start)]
    yield from found
    if not found:
        yield None


def _blind(row: Sight, gap: tuple[Micros, Micros] | None) -> Cells:
    return (row.cluster, row.cluster_name, row.feed, row.since, row.last, *(gap or (None, None)))
