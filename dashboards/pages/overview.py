"""The wall of an operations centre: how much of what runs is proven, whose the rest is, and whether it gets better."""

from __future__ import annotations

from dashboards.charts import (
    Sources,
    bars,
    count,
    lines,
    marked,
    metric,
    net,
    oldest,
    over_time,
    ratio,
    table,
    terms,
    unique,
)
from dashboards.model import Page, Panel, Row, Section
from dashboards.pages.common import finding_code, freshness, helped, severity, where

RUNNING = "state:running"
OPENED, CLOSED = "action:finding-opened", "action:finding-closed"
JUDGED = "verdict:(valid or violates or unverifiable)"
"""Verdicts that say something of a policy; `ungoverned` says that there is none."""
RATE = ("verdict:valid", JUDGED, "Verified")


def overview(source: Sources) -> Page:
    """The page."""
    return Page(
        "overview",
        "revet: Overview",
        "What runs, how much of it is proven, and what is open.",
        where("containers"),
        (
            _numbers(source),
            _by_place(source),
            _trend(source),
            _findings(source),
            freshness(source),
            helped(
                "How much of what runs now is proven to be what its policies demand, whose the rest is, and whether it "
                "gets better. A click on a digest opens *Investigate a digest*, one on an incident *Incidents*."
            ),
        ),
    )


def _numbers(source: Sources) -> Row:
    running = source("containers")
    return Row(
        6,
        (
            Panel("running", "Running containers", 8, metric(running, count("Running"), where=RUNNING)),
            Panel(
                "rate",
                "Verification rate",
                8,
                metric(running, ratio(*RATE), where=RUNNING),
                description="Valid, of all running containers that a policy governs.",
            ),
            Panel(
                "violating",
                "Violating",
                8,
                metric(
                    running,
                    count("Violate a policy"),
                    where=f"{RUNNING} and verdict:violates",
                    second=count("exempted", "exemption:*"),
                ),
            ),
            Panel(
                "unverifiable",
                "Could not be told",
                8,
                metric(running, count("Unverifiable"), where=f"{RUNNING} and verdict:unverifiable"),
            ),
            Panel(
                "ungoverned",
                "No policy",
                8,
                metric(running, count("Ungoverned"), where=f"{RUNNING} and verdict:ungoverned"),
            ),
            Panel("images", "Distinct digests running", 8, metric(running, unique("digest"), where=RUNNING)),
        ),
    )


def _by_place(source: Sources) -> Row:
    running = source("containers")
    values = [
        count("Running"),
        count("Valid", "verdict:valid"),
        count("Violate", "verdict:violates"),
        count("Unverifiable", "verdict:unverifiable"),
        ratio(*RATE),
    ]
    return Row(
        14,
        (
            Panel(
                "by-cluster",
                "Running containers by cluster and verdict",
                20,
                bars(
                    running, terms("cluster", "Cluster", 20), [count("Containers")], where=RUNNING, by=terms("verdict")
                ),
            ),
            Panel(
                "by-team",
                "Verification rate per team",
                28,
                table(running, [terms("team", "Team", 50)], values, where=RUNNING),
                description="Valid, of all running containers of the team that a policy governs.",
            ),
        ),
    )


def _trend(source: Sources) -> Row:
    marks = [
        marked(source("trust"), "action:revoked", "Revoked", "bolt"),
        marked(source("trust"), "record:policy-put", "Policy changed", "flag"),
    ]
    rate = ratio(*RATE, of="provenance.class.members")
    return Row(
        14,
        (
            Panel(
                "compliance",
                "Compliance trend per team",
                24,
                lines(source("verification"), [rate], by=terms("team", "Team", 8, rank="documents"), marks=marks),
                description="Of the containers whose verdict changed in a step of time, the share that became valid. "
                "Marks: revocations and changed policies.",
            ),
            Panel(
                "open-trend",
                "Findings opened minus closed, per team",
                24,
                lines(
                    source("finding"),
                    [net(OPENED, CLOSED, "More open")],
                    by=terms("team", "Team", 8, rank="documents"),
                    marks=marks,
                ),
                description="Since the beginning of the time that is looked at: below zero, more was closed.",
            ),
        ),
    )


OPEN = "state:open"


def _findings(source: Sources) -> Section:
    controls = (severity("findings"), finding_code("findings"))
    return Section("findings", "Open findings", controls, (_open(source), _worst(source)))


def _open(source: Sources) -> Row:
    findings = source("findings")
    by_severity = bars(findings, terms("severity"), [count("Findings")], where=OPEN)
    over = bars(source("finding"), over_time(), [count("Opened", OPENED), count("Closed", CLOSED)])
    return Row(
        12,
        (
            Panel("open", "Open findings", 8, metric(findings, count("Open"), where=OPEN)),
            Panel("incidents", "Incidents behind them", 8, metric(findings, unique("incident"), where=OPEN)),
            Panel("by-severity", "By severity", 16, by_severity),
            Panel("over-time", "Opened and closed", 16, over),
        ),
    )


def _worst(source: Sources) -> Row:
    findings = source("findings")
    names = table(findings, [terms("namespace")], [count("Findings"), unique("incident")], where=OPEN)
    images = table(findings, [terms("digest")], [count("Findings"), unique("namespace")], where=OPEN)
    told = table(findings, [terms("incident")], [count("Findings"), oldest("opened", "Since")], where=OPEN)
    return Row(
        14,
        (
            Panel("namespaces", "Namespaces with the most open findings", 16, names),
            Panel("digests", "Images with the most open findings", 16, images, to=("investigate",)),
            Panel("open-incidents", "Incidents with the most open findings", 16, told, to=("incidents",)),
        ),
    )
