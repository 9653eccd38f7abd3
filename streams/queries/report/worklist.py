"""Incidents with what happened to them: those that are open, worst first, and those of the window that ended. Pure."""

from __future__ import annotations

from collections import Counter
from typing import Final

import msgspec

from alerting.text import count
from streams.queries.lists import incidents
from streams.queries.port import MAX_PAGE, RecordReader
from streams.queries.report.common import Wanted, asked_table, cut, figure
from streams.queries.report.model import Block, Figures, Part, Section, Table
from streams.queries.results import Cell, IncidentRow, Subject
from verifier.times import parse_instant

LISTED: Final = 100
"""Incidents in the list."""
TIMELINES: Final = 12
"""Incidents whose timeline is shown."""
STEPS: Final = 60
"""Steps of one timeline."""

_RANK: Final = {name: n for n, name in enumerate(("critical", "high", "medium", "low", "info"))}


def worklist(reader: RecordReader, wanted: Wanted) -> Section:
    """Incidents with their timelines.

    Raises:
        InputError: nothing was recorded here.
        PlaceUnavailable: the store does not answer.
    """
    listed, shown = incident_lists(reader, wanted)
    return msgspec.structs.replace(listed, parts=(*listed.parts, *(one(reader, wanted, row) for row in shown)))


def incident_lists(reader: RecordReader, wanted: Wanted, listed: int = LISTED) -> tuple[Section, list[IncidentRow]]:
    """The lists alone, of so many rows each, and the incidents that are told first. Raises as `worklist`."""
    active = sorted(incidents(reader, states=("open", "acknowledged"), limit=MAX_PAGE).rows, key=_worst)
    ended = [row for row in incidents(reader, states=("resolved",), limit=LISTED).rows if row.changed >= wanted.start]
    numbers = Counter(row.severity for row in active)
    figures = Figures(
        (
            figure("open incidents", len(active), f"{sum(r.state == 'acknowledged' for r in active):,} acknowledged"),
            *(figure(name, numbers[name], "open", bad=_RANK[name] < 2) for name in _RANK if numbers[name]),
            figure("ended in the window", len(ended), "resolved"),
        )
    )
    lists = (
        figures,
        _listed("Open incidents, worst first", active, listed),
        _listed("Incidents that ended", ended, listed),
    )
    text = "Findings of one cause are one incident; its members are counted, not listed."
    return Section("incidents", "Incidents", text, (Part(lists),)), [*active, *ended][:TIMELINES]


def _worst(row: IncidentRow) -> tuple[object, ...]:
    return (_RANK.get(row.severity, 9), -row.containers, row.opened, row.id)


_LIST: Final = ("incident", "severity", "state", "kind", "about", "containers", "peak", "workloads", "opened",
                "acknowledged_by", "teams")  # fmt: skip


def _listed(caption: str, rows: list[IncidentRow], limit: int) -> Table:
    shown, more = cut([_row(row) for row in rows], limit, "incident", "revet incident list")
    return Table(caption, _LIST, shown, more)


def _row(row: IncidentRow) -> tuple[Cell, ...]:
    teams = ", ".join(f"{team or 'nobody known'} ({containers})" for team, containers, _ in row.teams[:4])
    opened = parse_instant(row.opened) if row.opened else None
    numbers = (row.containers, row.peak, row.workloads)
    return (row.short_id, row.severity, row.state, row.kind, row.subject, *numbers, opened, row.acknowledged_by, teams)


def one(reader: RecordReader, wanted: Wanted, row: IncidentRow) -> Part:
    """One incident: its timeline, notes and silences. Raises as `worklist`."""
    subject = Subject("incident", row.short_id, (row.id,))
    columns = ("time", "what", "who", "why", "severity", "state", "containers", "sentence")
    asked = wanted.asked(subject=subject, limit=STEPS)
    steps = asked_table(reader, "told", asked, f"Timeline of {row.short_id}", columns)
    blocks: list[Block] = [steps]
    if row.notes:
        blocks.append(Table(f"Notes on {row.short_id}", ("time", "who", "note"), row.notes))
    if row.silences:
        silences = tuple((name, by, why, until) for name, by, why, until in row.silences)
        blocks.append(Table(f"Silences that cover some of {row.short_id}", ("silence", "by", "why", "until"), silences))
    places = (
        f"{count(row.workloads, 'workload')}, {count(row.namespaces, 'namespace')}, {count(row.clusters, 'cluster')}"
    )
    text = f"Now: {count(row.containers, 'container')} in {places}; at most {row.peak:,} at any time."
    return Part(tuple(blocks), f"{row.short_id}: {row.kind} ({row.severity}, {row.state})", text, row.message)
