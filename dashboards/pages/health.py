"""Is revet itself well: what it sees, what it could not read or verify, and whether its record holds."""

from __future__ import annotations

from dashboards.charts import (
    Sources,
    bars,
    count,
    documents,
    last,
    metric,
    newest,
    oldest,
    over_time,
    split,
    table,
    terms,
    unique,
)
from dashboards.model import Control, Page, Panel, Row, Section
from dashboards.pages.common import freshness, helped

OWN = "finding:(visibility-lost or pipeline-stalled or trust-refused or ledger-broken)"
"""Findings about revet, not about what runs."""


def health(source: Sources) -> Page:
    """The page."""
    return Page(
        "health",
        "revet: Pipeline health and integrity",
        "What revet sees, what it could not read or verify, and whether its record holds.",
        (),
        (
            _own(source),
            freshness(source),
            _sight(source),
            _unread(source),
            _evidence(source),
            helped(
                "What a green page elsewhere rests on. Lag, bulk latency, duplicates, the failure store and lost "
                "notifications are numbers of processes and not of the record: they are at `/metrics` of each process "
                "(docs/metrics.md). `revet index check` and `revet doctor` look at the installation itself."
            ),
        ),
    )


def _own(source: Sources) -> Row:
    findings = source("findings")
    open_ = f"{OWN} and state:open"
    named = [
        (code, f"finding:{code}") for code in ("visibility-lost", "pipeline-stalled", "trust-refused", "ledger-broken")
    ]
    return Row(
        10,
        (
            Panel("own-open", "Open findings about revet itself", 12, metric(findings, count("Open"), where=open_)),
            Panel(
                "own-kinds",
                "Which",
                16,
                bars(findings, split(*named), [count("Open", "state:open"), count("Closed", "state:closed")]),
            ),
            Panel(
                "own-list",
                "Since when",
                20,
                table(
                    findings,
                    [terms("finding", "Finding", 10), terms("cluster", "Cluster", 20)],
                    [count("Findings"), oldest("opened", "Since"), last("state", "State")],
                    where=open_,
                ),
            ),
        ),
    )


def _sight(source: Sources) -> Section:
    feeds = source("feeds")
    return Section(
        "sight",
        "Sight",
        (Control("cluster", "Cluster", "feeds"), Control("environment", "Environment", "feeds")),
        (
            Row(
                12,
                (
                    Panel("clusters", "Clusters with a feed", 10, metric(feeds, unique("cluster"))),
                    Panel(
                        "stretches",
                        "Stretches of sight, newest first",
                        38,
                        documents(feeds, ("cluster", "environment", "feed", "since", "last")),
                        "discover_session",
                        description="Between the end of one and the beginning of the next, nothing was seen.",
                    ),
                ),
            ),
        ),
    )


def _unread(source: Sources) -> Section:
    letters, now = source("deadletter"), source("deadletters")
    return Section(
        "unread",
        "What could not be read",
        (Control("error", "Why", "deadletters"),),
        (
            Row(
                12,
                (
                    Panel(
                        "letters",
                        "Over time",
                        20,
                        bars(letters, over_time(), [count("Inputs")], by=terms("error", "Why", 8)),
                    ),
                    Panel(
                        "codes",
                        "Open, by reason",
                        28,
                        table(
                            now,
                            [terms("error", "Why", 20)],
                            [count("Inputs"), newest("@timestamp", "Last"), last("source", "Where it stands")],
                            where="state:open",
                        ),
                    ),
                ),
            ),
        ),
    )


def _evidence(source: Sources) -> Section:
    images = source("images")
    return Section(
        "evidence",
        "What could not be verified",
        (Control("registry", "Registry", "images"), Control("repository", "Repository", "images")),
        (
            Row(
                12,
                (
                    Panel(
                        "incomplete",
                        "Images where not every place answered",
                        12,
                        metric(images, count("Images"), where="complete:false"),
                    ),
                    Panel("problems", "Why", 18, bars(images, terms("problem", "Problem", 15), [count("Images")])),
                    Panel(
                        "registries",
                        "Registries, and when they were last asked",
                        18,
                        table(
                            images,
                            [terms("registry", "Registry", 20)],
                            [count("Images"), count("Incomplete", "complete:false"), newest("fetched", "Last asked")],
                        ),
                    ),
                ),
            ),
        ),
    )
