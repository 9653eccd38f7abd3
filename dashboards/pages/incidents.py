"""The worklist: what is open, how old, whose, who looks at it, and whether it shrinks."""

from __future__ import annotations

from dashboards.charts import (
    Sources,
    bars,
    count,
    documents,
    last,
    lines,
    metric,
    net,
    newest,
    oldest,
    table,
    terms,
    total,
    unique,
)
from dashboards.model import Control, Page, Panel, Row, Section
from dashboards.pages.common import finding_code, freshness, helped, severity

LEFT = "provenance.incident.state:(open or acknowledged)"
OPEN = "provenance.incident.state:open"


def incidents(source: Sources) -> Page:
    """The page."""
    return Page(
        "incidents",
        "revet: Incidents",
        "What people were told about, how old it is, who has it, and whether its members fall.",
        (severity("incidents"), Control("team", "Team", "incidents"), Control("incident", "Incident", "incidents")),
        (
            _numbers(source),
            _worklist(source),
            _falling(source),
            _behind(source),
            _told(source),
            freshness(source),
            helped(
                "One incident is findings of one cause or subject. *Containers* falls while it is worked off, *peak* "
                "does not. It resolves by itself when nothing is left; `revet incident ack|note|close ID` act on it."
            ),
        ),
        since="now-7d",
    )


def _numbers(source: Sources) -> Row:
    book = source("incidents")
    return Row(
        6,
        (
            Panel("open", "Nobody has it", 10, metric(book, count("Open"), where=OPEN)),
            Panel(
                "acknowledged",
                "Somebody has it",
                10,
                metric(book, count("Acknowledged"), where="provenance.incident.state:acknowledged"),
            ),
            Panel(
                "oldest",
                "Oldest that is left",
                10,
                metric(book, oldest("provenance.incident.opened_at", "Since"), where=LEFT),
            ),
            Panel("containers", "Containers in them", 9, metric(book, total("containers", "Containers"), where=LEFT)),
            Panel(
                "unfinished",
                "Totals not final",
                9,
                metric(book, count("Incidents"), where=f"{LEFT} and final:false"),
                description="Not every shard has reported since the cause.",
            ),
        ),
    )


def _worklist(source: Sources) -> Row:
    values = [
        newest("event.severity", "Rank"),
        last("severity", "Severity"),
        last("short_id", "Short id"),
        last("incident_kind", "Kind"),
        last("subject", "About"),
        last("provenance.incident.state", "State"),
        last("user.name", "Who has it"),
        last("team", "Team"),
        oldest("provenance.incident.opened_at", "Since"),
        total("containers", "Containers"),
        total("peak", "Peak"),
    ]
    listed = table(source("incidents"), [terms("incident", "Incident", 100)], values, where=LEFT, page=20)
    return Row(16, (Panel("worklist", "Worklist", 48, listed, description="Several teams: the largest is shown."),))


def _falling(source: Sources) -> Row:
    remaining = net("action:finding-opened", "action:finding-closed", "More open")
    return Row(
        13,
        (
            Panel(
                "falling",
                "Members, falling or rising",
                26,
                lines(source("finding"), [remaining], by=terms("incident", "Incident", 8, rank="documents")),
                description="Findings opened minus closed since the beginning of the time that is looked at.",
            ),
            Panel(
                "kinds",
                "What is left, by kind",
                22,
                bars(
                    source("incidents"),
                    terms("incident_kind", "Kind", 20),
                    [count("Incidents")],
                    where=LEFT,
                    by=terms("severity"),
                ),
            ),
        ),
    )


def _behind(source: Sources) -> Section:
    controls = (
        Control("cluster", "Cluster", "findings"),
        Control("environment", "Environment", "findings"),
        Control("namespace", "Namespace", "findings"),
        finding_code("findings"),
    )
    return Section("behind", "Findings behind them", controls, (_places(source), _members(source)))


STILL = "state:open"


def _places(source: Sources) -> Row:
    findings = source("findings")
    containers = total("affected", "Containers")
    places = table(
        findings,
        [terms("cluster", "Cluster", 20), terms("namespace", "Namespace", 20)],
        [containers, count("Findings"), unique("incident", "Incidents"), last("team", "Team")],
        where=STILL,
    )
    digests = table(
        findings,
        [terms("digest", "Digest", 50)],
        [containers, count("Findings"), last("repository", "Repository"), last("finding", "Finding")],
        where=STILL,
    )
    return Row(
        13, (Panel("places", "Where", 24, places), Panel("digests", "Digests", 24, digests, to=("investigate",)))
    )


def _members(source: Sources) -> Row:
    columns = (
        *("incident", "finding", "severity", "cluster", "namespace", "workload", "digest", "affected", "opened"),
        "team",
    )
    listed = documents(source("findings"), columns, where=STILL)
    return Row(15, (Panel("members", "Members", 48, listed, "discover_session"),))


def _told(source: Sources) -> Row:
    columns = ("short_id", "transition", "user.name", "why", "severity", "containers", "message")
    told = documents(source("incident"), columns)
    panel = Panel("told", "What happened to them, and who did it", 48, told, "discover_session")
    return Row(14, (panel,))
