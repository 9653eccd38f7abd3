"""The report page by page: what the live page shows of one thing, or of one part. Values; who draws them is elsewhere.

    views.overview(reader, wanted)              what was not seen, what runs, incidents
    views.image(reader, wanted, subject)        one image: provenance, evidence, what happened to it
    views.found(reader, wanted, "verdict:violates", "containers")

Pure. The chapters are those of the report; every list has its limit and says what it leaves out.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from alerting.text import count
from streams.queries.columns import TITLES, columns_of
from streams.queries.conditions import EVERYTHING, values_of
from streams.queries.held import containers_of
from streams.queries.lists import evidence, incidents, search
from streams.queries.port import Hit, RecordReader, every
from streams.queries.reading import key_names, signatures_of
from streams.queries.report.common import ROWS, Wanted, cut, figure
from streams.queries.report.happened import happened
from streams.queries.report.model import Block, Figures, Part, Section, Sentences, Table
from streams.queries.report.posture import posture, running_now
from streams.queries.report.provenance import drawn, worst_verdicts
from streams.queries.report.seen import seen
from streams.queries.report.signers import signers as all_signers
from streams.queries.report.trusted import trusted
from streams.queries.report.worklist import incident_lists, one
from streams.queries.results import Cell, IncidentRow, Signature, Subject
from streams.queries.subjects import resolve
from streams.queries.trace import trace
from streams.sinks.document import shown_image
from streams.sinks.fields import FIELDS, HOMES
from verifier.errors import InputError
from verifier.times import parse_instant

HAPPENED: Final = 200
"""Rows of what happened to one image, the newest."""
FIRST: Final = 20
"""Incidents on the first page; the list has more."""
FOUND: Final = 100
"""Documents that a search shows."""
SIGNED: Final = 100
"""Images that a signer signed, those that run first."""

Sections = tuple[Section, ...]


def overview(reader: RecordReader, wanted: Wanted) -> Sections:
    """What was not seen, the incidents, what runs now. Raises as every view: InputError, PlaceUnavailable."""
    listed, _ = incident_lists(reader, wanted, FIRST)
    return (listed, posture(reader, wanted, running_now(reader, wanted)), seen(reader, wanted))


def incident_list(reader: RecordReader, wanted: Wanted) -> Sections:
    """All incidents that are open, and those of the window that ended."""
    listed, _ = incident_lists(reader, wanted)
    return (listed,)


def changes(reader: RecordReader, wanted: Wanted) -> Sections:
    """What happened in the window."""
    return (happened(reader, wanted),)


def signers(reader: RecordReader, wanted: Wanted) -> Sections:
    """Who signs what."""
    images = {(row.place.repository, row.place.digest) for row in running_now(reader, wanted) if row.place.digest}
    return (all_signers(reader, wanted, images),)


def trust(reader: RecordReader, wanted: Wanted) -> Sections:
    """What trust stands, and who changed it."""
    return (trusted(reader, wanted),)


# --------------------------------------------------------------------------------------------------------- one incident


def incident(reader: RecordReader, wanted: Wanted, name: str) -> Sections:
    """One incident: how it stands, whose it is, everything that was told and done.

    Raises:
        InputError: there is none of this name.
        PlaceUnavailable: the store does not answer.
    """
    subject = resolve(reader, name, ("incident",))
    rows = incidents(reader, f'incident:"{subject.values[0]}"', limit=1).rows
    if not rows:
        raise InputError(f"incident {name[:80]!r} is not one that anybody was to hear of")
    row = rows[0]
    told = one(reader, wanted, row)
    blocks: tuple[Block, ...] = (_standing(row), _teams(row), *told.blocks)
    part = Part(blocks, "", told.text, told.told)
    return (Section("incident", told.title, f"In a terminal: `revet incident show {row.short_id}`.", (part,)),)


def _standing(row: IncidentRow) -> Table:
    opened = parse_instant(row.opened) if row.opened else None
    ended = parse_instant(row.resolved) if row.resolved else None
    columns = ("incident", "severity", "state", "kind", "about", "policy", "opened", "ended", "acknowledged_by",
               "deployed_by", "good_image")  # fmt: skip
    cells: tuple[Cell, ...] = (
        *(row.short_id, row.severity, row.state, row.kind, row.subject, row.policy, opened, ended),
        *(row.acknowledged_by, row.deployed_by, row.good_image),
    )
    return Table("How it stands", columns, (cells,))


def _teams(row: IncidentRow) -> Table:
    rows = tuple((team or "nobody known", containers, workloads) for team, containers, workloads in row.teams)
    return Table("Whose it is", ("team", "containers", "workloads"), rows, empty="nothing is left of it")


# ------------------------------------------------------------------------------------------------------------ one image


def image(reader: RecordReader, wanted: Wanted, subject: Subject) -> Sections:
    """One image: where it comes from and runs, its evidence, what happened to it.

    Raises:
        InputError: nothing was recorded here.
        PlaceUnavailable: the store does not answer.
    """
    running = running_now(reader, wanted, containers_of(reader, subject))
    told = drawn(reader, wanted, subject, worst_verdicts(running))
    return (
        Section("provenance", "Provenance", told.text, (Part(told.blocks),)),
        Section("evidence", "Evidence", "What was fetched, and what each place that was asked answered.",
                (Part(_evidence(reader, subject)),)),
        Section("happened", "What happened to it", "", (Part((_happened(reader, wanted, subject),)),)),
    )  # fmt: skip


def _evidence(reader: RecordReader, subject: Subject) -> tuple[Block, ...]:
    known = evidence(reader, subject).images
    asked: list[tuple[Cell, ...]] = [
        (shown_image(row.repository, row.digest), place.get("place", ""), place.get("outcome", ""),
         place.get("code", ""), place.get("detail", ""), "yes" if row.complete else "no", row.fetched)
        for row in known
        for place in row.places
    ]  # fmt: skip
    places, left = cut(asked, ROWS, "answer")
    told = ("image", "place", "answer", "code", "detail", "all_answered", "fetched")
    problems = sorted({problem for row in known for problem in row.problems})
    return (
        Sentences(tuple(problems), "unknown", "Nothing about this evidence could not be read or asked for."),
        Table("Places that were asked", told, places, left, "nobody asked yet"),
    )


def _happened(reader: RecordReader, wanted: Wanted, subject: Subject) -> Table:
    timeline = trace(reader, subject, now=wanted.live)
    newest: list[tuple[Cell, ...]] = [
        (row.time, row.kind, *(row.ids.get(name, "") for name in ("namespace", "workload", "policy", "verdict")),
         row.ids.get("short_id", ""), row.ids.get("user", "") or row.ids.get("changed_by", ""), row.text)
        for row in reversed(timeline.rows)
    ]  # fmt: skip
    rows, more = cut(newest, HAPPENED, "row", f"revet trace {subject.name}")
    columns = ("time", "what", "namespace", "workload", "policy", "verdict", "incident", "who", "sentence")
    return Table("Everything on record of it, newest first", columns, rows, more)


# ----------------------------------------------------------------------------------------------------------- one signer


def signer(reader: RecordReader, wanted: Wanted, name: str, issuer: str = "") -> Sections:
    """One signer: the images with evidence of it, and how much of it runs. `issuer`: only with this one, where given.

    Raises:
        InputError: nobody of this name signed anything.
        PlaceUnavailable: the store does not answer.
    """
    names = key_names(reader)
    found: dict[tuple[str, str], list[Signature]] = {}
    for hit in every(reader, HOMES["images"], EVERYTHING):
        for signature in signatures_of(hit.body, names):
            if signature.signer == name and issuer in ("", signature.issuer):
                found.setdefault((signature.repository, signature.digest), []).append(signature)
    if not found:
        raise InputError(f"nothing on record is signed by {name[:120]!r}")
    runs: Counter[tuple[str, str]] = Counter()
    verdicts: dict[tuple[str, str], str] = {}
    for row in running_now(reader, wanted):
        image = (row.place.repository, row.place.digest)
        if image in found:
            runs[image] += row.number
            verdicts.setdefault(image, row.place.by)
    rows = [_signed(key, of, runs[key], verdicts.get(key, "")) for key, of in found.items()]
    rows.sort(key=lambda row: (-int(row[5] or 0), str(row[0])))
    shown, more = cut(rows, SIGNED, "image", "revet ask shares")
    figures = Figures(
        (
            figure("images", len(found), "with evidence of this signer"),
            figure("images that run", len(runs), count(sum(runs.values()), "container")),
            figure("repositories", len({repository for repository, _ in found}), ""),
            figure("with a problem", sum(any(s.problem for s in of) for of in found.values()), "", unknown=True),
        )
    )
    columns = ("image", "makes", "first", "trusted", "issuer", "containers", "verdict", "problem")
    table = Table("Images, those of most containers first", columns, shown, more)
    return (Section("signer", "What this signer signed", "", (Part((figures, table)),)),)


def _signed(key: tuple[str, str], of: list[Signature], runs: int, verdict: str) -> tuple[Cell, ...]:
    dated = [(s.time, s.time_kind) for s in of if s.time is not None]
    first, kind = min(dated, default=(None, "none"))
    makes = ", ".join(sorted({s.kind for s in of}))
    issuers = ", ".join(sorted({s.issuer for s in of} - {""}))
    problems = ", ".join(sorted({s.problem for s in of} - {""}))
    return (shown_image(*key), makes, first, kind, issuers, runs, verdict, problems)


# ------------------------------------------------------------------------------------------------------------ searching


def found(reader: RecordReader, wanted: Wanted, query: str, home: str) -> Sections:
    """Documents that a query finds, newest first.

    Raises:
        QueryError: it is no query of ours (an InputError).
        InputError: no such part of the record.
        PlaceUnavailable: the store does not answer.
    """
    columns = columns_of(home)
    result = search(reader, query, home, limit=FOUND, now=wanted.now)
    rows = tuple(tuple(_cell(hit, name) for name in columns) for hit in result.hits)
    more = f"there are more: `revet search --in {home} --limit 1000 …`" if result.after else ""
    caption = f"{count(len(rows), 'document')} of {home}{', the newest' if more else ''}"
    titles = tuple(_TITLE.get(name, TITLES.get(name, name)) for name in columns)
    return (Section("found", "Found", "", (Part((Table(caption, titles, rows, more, "nothing"),)),)),)


_TITLE: Final = {
    "@timestamp": "time",
    "provenance.incident.short_id": "incident",
    "provenance.key.name": "keys",
    "provenance.evidence.complete": "complete",
}
"""Columns under the names that the rest of the pages has for them."""


def _cell(hit: Hit, name: str) -> Cell:
    if name == "@timestamp":
        return hit.time
    values = values_of(name, hit.body)
    if name in FIELDS and FIELDS[name].type == "date" and len(values) == 1:
        return parse_instant(str(values[0]))
    return ", ".join("yes" if v is True else "no" if v is False else str(v) for v in values)
