"""What every page has: filters, how fresh it is, where it is blind, and what an empty page means. Pure."""

from __future__ import annotations

from typing import Final

from dashboards.charts import Sources, count, metric, newest, oldest, table, terms
from dashboards.model import Control, Panel, Row

QUIET_AFTER: Final = "5 minutes"
"""As `streams.queries.coverage.QUIET`: a feed that says nothing for so long is not known to be alive."""


def where(home: str) -> tuple[Control, ...]:
    """Filters by place: cluster, environment, team, namespace, with the values of one home."""
    return (
        Control("cluster", "Cluster", home),
        Control("environment", "Environment", home),
        Control("team", "Team", home),
        Control("namespace", "Namespace", home),
    )


def severity(home: str) -> Control:
    """A filter by severity."""
    return Control("severity", "Severity", home)


def finding_code(home: str) -> Control:
    """A filter by kind of finding."""
    return Control("finding", "Finding", home)


def freshness(source: Sources) -> Row:
    """How fresh what is shown is, and what could not be seen or read. Never filtered: who looks at one team has to know
    as well that a cluster is silent.
    """
    return Row(
        9,
        (
            Panel(
                "freshness",
                "How fresh is this? (all clusters)",
                28,
                table(
                    source("feeds"),
                    [terms("cluster", "Cluster", 50), terms("feed", "Feed", 5, rank="name")],
                    [
                        newest("last", "Last sign of life"),
                        oldest("since", "Seen since"),
                        count("Stretches of sight"),
                    ],
                ),
                description=f"A feed whose last sign of life is older than {QUIET_AFTER} is silent: what it would have "
                "told is missing on this page. More than one stretch of sight means gaps; `revet search --in feeds` "
                "lists them.",
                unfiltered=True,
            ),
            Panel(
                "unread",
                "Not readable (all clusters)",
                10,
                metric(source("deadletters"), count("Open dead letters"), where="state:open"),
                description="Inputs of which nothing is known; `revet deadletter list` shows them.",
                unfiltered=True,
            ),
            Panel(
                "blind",
                "Out of sight (all clusters)",
                10,
                metric(
                    source("findings"),
                    count("Open visibility-lost"),
                    where="finding:visibility-lost and state:open",
                ),
                description="Clusters whose feeds fell silent: their counts are those of the last look.",
                unfiltered=True,
            ),
        ),
    )


def helped(what: str, *, height: int = 6) -> Row:
    """A panel that says what the page is for, and what it means when it is empty."""
    text = (
        f"{what}\n\n**Empty?** No filter may be set that nothing fulfils. Where *How fresh is this?* shows no feed, "
        "nothing reaches the record: `revet doctor` says which part is missing. Where feeds are fresh, nothing of the "
        "kind is there.\n\nCounts of what *is* (running, open) do not depend on the time picker; what *happened* does. "
        "`unverifiable` is neither good nor bad: it could not be told, and says why."
    )
    config = {"content": text, "settings": {"open_links_in_new_tab": True}}
    return Row(height, (Panel("help", "About this page", 48, config, "markdown"),))
