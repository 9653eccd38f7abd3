"""What runs now, workload by workload: digest, verdict, reason, since when, whose."""

from __future__ import annotations

from dashboards.charts import Sources, bars, count, documents, last, metric, newest, oldest, table, terms, unique
from dashboards.model import Page, Panel, Row, Section
from dashboards.pages.common import finding_code, freshness, helped, severity, where

RUNNING = "state:running"


def posture(source: Sources) -> Page:
    """The page."""
    return Page(
        "posture",
        "revet: Workload posture",
        "The running state: which workload runs which digest under which verdict.",
        where("containers"),
        (
            _numbers(source),
            _digests(source),
            _reasons(source),
            _list(source),
            _unproven(source),
            freshness(source),
            helped(
                "What runs now and what was made of it: by digest (one bad digest on 500 pods is one row), by workload "
                "and by reason. A click on a digest opens *Investigate a digest*."
            ),
        ),
    )


def _numbers(source: Sources) -> Row:
    running = source("containers")
    return Row(
        6,
        (
            Panel(
                "verdicts",
                "Running containers by verdict",
                24,
                metric(running, count("Containers"), where=RUNNING, by=terms("verdict", "Verdict", 4)),
            ),
            Panel(
                "unadmitted",
                "Without an admission decision on record",
                12,
                metric(running, count("Containers"), where=f"{RUNNING} and not decision:*"),
                description="Not all of them are findings: what ran before revet looked has none either.",
            ),
            Panel(
                "exempted",
                "Under an exemption",
                12,
                metric(running, count("Containers"), where=f"{RUNNING} and exemption:*"),
            ),
        ),
    )


def _digests(source: Sources) -> Row:
    running = source("containers")
    return Row(
        16,
        (
            Panel(
                "digests",
                "By digest",
                26,
                table(
                    running,
                    [terms("digest", "Digest", 100)],
                    [
                        count("Containers"),
                        last("repository", "Repository"),
                        last("verdict", "Verdict"),
                        unique("namespace", "Namespaces"),
                        unique("cluster", "Clusters"),
                        oldest("started", "Runs since"),
                        newest("@timestamp", "Last change"),
                    ],
                    where=RUNNING,
                ),
                to=("investigate",),
            ),
            Panel(
                "workloads",
                "By workload",
                22,
                table(
                    running,
                    [terms("namespace", "Namespace", 50), terms("workload", "Workload", 20)],
                    [
                        count("Containers"),
                        count("Violate", "verdict:violates"),
                        count("Unverifiable", "verdict:unverifiable"),
                        last("team", "Team"),
                    ],
                    where=RUNNING,
                ),
            ),
        ),
    )


def _reasons(source: Sources) -> Row:
    running = source("containers")
    bad = f"{RUNNING} and not verdict:valid"
    return Row(
        12,
        (
            Panel(
                "reasons",
                "Why not valid",
                16,
                bars(running, terms("reason", "Reason", 15), [count("Containers")], where=bad, by=terms("verdict")),
            ),
            Panel(
                "policies",
                "Which policies are violated",
                16,
                bars(running, terms("violates", "Policy", 15), [count("Containers")], where=RUNNING),
            ),
            Panel(
                "registries",
                "Where images come from",
                16,
                bars(
                    running,
                    terms("registry", "Registry", 15),
                    [count("Containers")],
                    where=RUNNING,
                    by=terms("verdict"),
                ),
            ),
        ),
    )


def _list(source: Sources) -> Row:
    columns = (
        "cluster",
        "namespace",
        "workload",
        "pod",
        "spec_image",
        "digest",
        "verdict",
        "reason",
        "started",
        "team",
    )
    listed = documents(source("containers"), columns, where=f"{RUNNING} and not verdict:valid")
    return Row(16, (Panel("list", "Running and not valid", 48, listed, "discover_session"),))


def _unproven(source: Sources) -> Section:
    open_ = "state:open"
    return Section(
        "findings",
        "What became of it",
        (severity("findings"), finding_code("findings")),
        (
            Row(
                12,
                (
                    Panel(
                        "codes",
                        "Open findings by kind",
                        24,
                        bars(source("findings"), terms("finding", "Finding", 20), [count("Findings")], where=open_),
                    ),
                    Panel(
                        "unverifiable-since",
                        "What could not be verified, and since when",
                        24,
                        table(
                            source("findings"),
                            [terms("digest", "Digest", 50)],
                            [count("Findings"), oldest("opened", "Since"), last("reason", "Why"), last("team", "Team")],
                            where=f"{open_} and finding:unverifiable-too-long",
                        ),
                        to=("investigate",),
                    ),
                ),
            ),
        ),
        collapsed=True,
    )
