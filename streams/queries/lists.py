"""`search` and the lists: incidents, dead letters, evidence of an image, one verdict for a replay."""

from __future__ import annotations

from collections.abc import Iterable

from streams.queries import kql
from streams.queries.asof import as_it_was, running_at, verdicts_at
from streams.queries.conditions import Condition, both, is_, matches, one_of
from streams.queries.port import Hit, RecordReader, one
from streams.queries.reading import key_names, number_of, objects_of, signatures_of, text_of, texts_of, with_values
from streams.queries.results import (
    DeadLetterRow,
    DeadLetters,
    EvidenceAnswer,
    ImageEvidenceRow,
    IncidentRow,
    Incidents,
    SearchResult,
    Subject,
)
from streams.sinks.fields import HOMES, home_of
from verifier.errors import InputError
from verifier.models import Micros


def search(
    reader: RecordReader,
    query: str,
    home: str = "containers",
    *,
    limit: int = 100,
    after: str = "",
    at: Micros | None = None,
    now: Micros | None = None,
    newest_first: bool = True,
) -> SearchResult:
    """Documents that a query finds (`streams.queries.kql`). `home`: a short or full name, or `history` for all of it.

    `at`, for containers only: those that ran then, with the verdicts of then. `now` is what `now` in the query means.

    Raises:
        QueryError: the query is not one of ours (an InputError).
        InputError: no such part of the record, nothing recorded here, or `at` for something else than containers.
        PlaceUnavailable: the store does not answer.
    """
    condition = kql.parse(query, now)
    full = "" if home == "history" else home_of(home)
    if at is not None:
        if full != HOMES["containers"]:
            raise InputError("a time to look back to (--at) is for containers; history has the time of each document")
        hits, after = _search_then(reader, condition, at, limit, after)
        return SearchResult(query, kql.render(condition), full, at, hits, after)
    page = reader.find(full, condition, newest_first=newest_first, limit=limit, after=after)
    return SearchResult(query, kql.render(condition), full or "history", None, page.hits, page.after)


def _search_then(
    reader: RecordReader, condition: Condition, at: Micros, limit: int, after: str
) -> tuple[tuple[Hit, ...], str]:
    """Page by page: what ran then is found by the store, what was said of it then is looked at here."""
    found: list[Hit] = []
    while True:
        page = reader.find(HOMES["containers"], running_at(at), limit=max(limit, 1), after=after)
        said = verdicts_at(reader, (text_of(hit.body, "class") for hit in page.hits), at)
        for hit in page.hits:
            body = as_it_was(hit.body, said.get(text_of(hit.body, "class"), {}))
            if matches(condition, body):
                found.append(Hit(hit.home, hit.id, hit.time, body))
        after = page.after
        if not after or len(found) >= limit:
            return tuple(found), after


def incidents(
    reader: RecordReader,
    query: str = "",
    *,
    states: Iterable[str] = (),
    limit: int = 100,
    after: str = "",
    now: Micros | None = None,
) -> Incidents:
    """Incidents as they are now, newest change first; `states` narrows (`open`, `acknowledged`, `resolved`).

    Raises: as `search`.
    """
    wanted = tuple(states)
    where = both(kql.parse(query, now), *([one_of("state", wanted)] if wanted else []))
    page = reader.find(HOMES["incidents"], where, newest_first=True, limit=limit, after=after)
    return Incidents(tuple(map(_incident, page.hits)), page.after)


def _incident(hit: Hit) -> IncidentRow:
    body = hit.body
    told = next(iter(objects_of(body, "provenance.incident.breakdown")), {})
    return IncidentRow(
        id=hit.id,
        short_id=text_of(body, "short_id"),
        kind=text_of(body, "incident_kind"),
        subject=text_of(body, "subject"),
        severity=text_of(body, "severity"),
        state=text_of(body, "state"),
        policy=text_of(body, "policy"),
        cause=text_of(body, "cause"),
        opened=text_of(body, "provenance.incident.opened_at"),
        changed=hit.time,
        resolved=text_of(body, "resolved"),
        containers=number_of(body, "containers"),
        workloads=number_of(body, "workloads"),
        namespaces=number_of(body, "provenance.incident.namespaces"),
        clusters=number_of(body, "provenance.incident.clusters"),
        peak=number_of(body, "peak"),
        final=body.get("provenance.incident.final") is True,
        acknowledged_by=text_of(body, "user"),
        teams=tuple((team, containers, workloads) for team, containers, workloads in told.get("teams", ())),
        notes=tuple((time, by, text) for time, by, text in told.get("notes", ())),
        message=text_of(body, "message"),
        silences=tuple((name, by, why, until) for name, by, why, until in told.get("silences", ())),
        proposals=tuple((time, by, why, days, ticket) for time, by, why, days, ticket in told.get("proposals", ())),
        deployed_by=told.get("deployed_by", ""),
        good_image=told.get("good_image", ""),
    )


def deadletters(
    reader: RecordReader, query: str = "", *, limit: int = 100, after: str = "", now: Micros | None = None
) -> DeadLetters:
    """Inputs that could not be read, newest first. Raises: as `search`."""
    where = kql.parse(query, now)
    page = reader.find(HOMES["deadletters"], where, newest_first=True, limit=limit, after=after)
    return DeadLetters(tuple(map(_deadletter, page.hits)), page.after)


def _deadletter(hit: Hit) -> DeadLetterRow:
    body = hit.body
    return DeadLetterRow(
        id=hit.id,
        time=hit.time,
        source=text_of(body, "source"),
        code=text_of(body, "error"),
        message=text_of(body, "error.message"),
        size=number_of(body, "size"),
        sha256=text_of(body, "provenance.deadletter.sha256"),
        excerpt=text_of(body, "excerpt"),
        state=text_of(body, "state"),
    )


def evidence(reader: RecordReader, subject: Subject) -> EvidenceAnswer:
    """What is known of the evidence of a digest or image, and of the indexes that list it.

    Raises:
        InputError: nothing was recorded here.
        PlaceUnavailable: the store does not answer.
    """
    names = key_names(reader)
    hits = list(with_values(reader, "images", "provenance.image.digest", subject.values))
    rows = tuple(
        ImageEvidenceRow(
            repository=text_of(hit.body, "repository"),
            digest=text_of(hit.body, "digest"),
            indexes=texts_of(hit.body, "index"),
            complete=hit.body.get("provenance.evidence.complete") is True,
            problems=texts_of(hit.body, "problem"),
            fetched=text_of(hit.body, "fetched"),
            signatures=tuple(signatures_of(hit.body, names)),
            places=tuple(objects_of(hit.body, "provenance.evidence.places")),
        )
        for hit in hits
    )
    return EvidenceAnswer(subject, rows)


def verdict_document(reader: RecordReader, verdict: str) -> Hit:
    """The stored verdict with this id; `event.original` holds all of it (`streams.sinks.judged.stored_verdict`).

    Raises:
        InputError: there is none.
        PlaceUnavailable: the store does not answer.
    """
    hit = one(reader, HOMES["verification"], is_("id", verdict))
    if hit is None:
        raise InputError(f"the record has no verdict {verdict[:80]!r}; `revet trace` lists them")
    return hit
