"""Everything about one digest: where it runs and ran, what was proven, what was judged, what was raised."""

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
    table,
    terms,
    unique,
)
from dashboards.model import Control, Page, Panel, Row, Section
from dashboards.pages.common import finding_code, freshness, helped, severity, where


def investigate(source: Sources) -> Page:
    """The page."""
    return Page(
        "investigate",
        "revet: Investigate a digest",
        "Where a digest runs and ran, its evidence, its verdicts, its findings, in one line of time.",
        (Control("digest", "Digest", "images"), Control("repository", "Repository", "images")),
        (
            _numbers(source),
            _evidence(source),
            _runs(source),
            _judged(source),
            _raised(source),
            _time(source),
            freshness(source),
            helped(
                "Choose a digest above, or come here by a click on one. Without a choice it shows everything. What "
                "admission said of it stands under the names it was asked for: open the saved search *revet 06* "
                'and add `related.hash: "sha256:…"`. `revet trace DIGEST` tells the same in a terminal.'
            ),
        ),
        since="now-7d",
    )


def _numbers(source: Sources) -> Row:
    running, findings = source("containers"), source("findings")
    return Row(
        6,
        (
            Panel("running", "Runs now", 12, metric(running, count("Containers"), where="state:running")),
            Panel("ended", "Ran, ended", 12, metric(running, count("Containers"), where="state:terminated")),
            Panel("clusters", "Clusters it ran in", 12, metric(running, unique("cluster"))),
            Panel("open", "Open findings", 12, metric(findings, count("Open"), where="state:open")),
        ),
    )


def _evidence(source: Sources) -> Row:
    images = source("images")
    return Row(
        11,
        (
            Panel(
                "evidence",
                "What is known of it",
                48,
                table(
                    images,
                    [terms("digest", "Digest", 20), terms("repository", "Repository", 5)],
                    [
                        count("Images"),
                        last("signed", "Signed"),
                        last("signer", "Keys"),
                        last("identity", "Identities"),
                        last("builder", "Builder"),
                        last("commit", "Commit"),
                        last("complete", "Every place answered"),
                        oldest("first_seen", "First seen"),
                        newest("fetched", "Last looked at"),
                    ],
                ),
                description="Several keys or builders: the first is shown; `revet evidence show` tells all.",
            ),
        ),
    )


def _runs(source: Sources) -> Section:
    running = source("containers")
    return Section(
        "runs",
        "Where it runs, and ran",
        where("containers"),
        (
            Row(
                13,
                (
                    Panel(
                        "workloads",
                        "Workloads",
                        28,
                        table(
                            running,
                            [
                                terms("cluster", "Cluster", 20),
                                terms("namespace", "Namespace", 20),
                                terms("workload", "Workload", 20),
                            ],
                            [
                                count("Running", "state:running"),
                                count("Ended", "state:terminated"),
                                oldest("started", "From"),
                                newest("ended", "Last end"),
                                last("verdict", "Verdict"),
                                last("team", "Team"),
                            ],
                        ),
                    ),
                    Panel(
                        "starts",
                        "Starts and ends",
                        20,
                        bars(source("lifecycle"), over_time(), [count("Containers")], by=terms("action", "What", 2)),
                    ),
                ),
            ),
        ),
    )


def _judged(source: Sources) -> Row:
    verdicts = table(
        source("verification"),
        [terms("policy", "Policy", 20), terms("verdict", "Verdict", 4)],
        [
            count("Verdicts"),
            newest("@timestamp", "Last reached"),
            last("reason", "Reason"),
            last("trigger", "Judged because of"),
            last("changed_by", "What changed"),
        ],
    )
    return Row(13, (Panel("verdicts", "Verdicts that changed", 48, verdicts),))


def _raised(source: Sources) -> Section:
    found = table(
        source("finding"),
        [terms("finding", "Finding", 20), terms("incident", "Incident", 10)],
        [
            count("Transitions"),
            last("state", "State"),
            last("close_reason", "Closed because"),
            newest("@timestamp", "Last"),
        ],
    )
    panel = Panel("findings", "Findings", 48, found, to=("incidents",))
    return Section("raised", "What was raised", (severity("finding"), finding_code("finding")), (Row(12, (panel,)),))


def _time(source: Sources) -> Row:
    columns = ("event.dataset", "action", "message", "cluster", "namespace")
    return Row(
        18,
        (
            Panel(
                "timeline",
                "Everything that happened to it",
                48,
                documents(source.everything(), columns),
                "discover_session",
            ),
        ),
    )
