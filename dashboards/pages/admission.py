"""What was let into the clusters: by whom asked, by what decided, and what went round it."""

from __future__ import annotations

from dashboards.charts import Sources, bars, count, documents, metric, over_time, table, terms, unique
from dashboards.model import Page, Panel, Row
from dashboards.pages.common import freshness, helped, where

DENIED = "admission:denied"


def admission(source: Sources) -> Page:
    """The page."""
    return Page(
        "admission",
        "revet: Admission decisions",
        "What was admitted and denied, why, for whom, and what was not asked.",
        where("admission"),
        (
            _numbers(source),
            _over_time(source),
            _why(source),
            _round(source),
            _configuration(source),
            freshness(source),
            helped(
                "Decisions of the API server about pods and what makes pods, whichever engine decided. *Failed open*: "
                "a webhook could not be asked and the request went through. How long webhooks take is not in the "
                "record; it is among the metrics of `revet serve admission` (docs/metrics.md)."
            ),
        ),
    )


def _numbers(source: Sources) -> Row:
    asked = source("admission")
    real = "dry_run:false"
    return Row(
        6,
        (
            Panel(
                "decisions",
                "Decisions",
                10,
                metric(asked, count("Decisions"), second=count("dry runs", "dry_run:true")),
            ),
            Panel("denied", "Denied", 10, metric(asked, count("Denied"), where=f"{DENIED} and {real}")),
            Panel("errored", "Could not be decided", 9, metric(asked, count("Errored"), where="admission:errored")),
            Panel("failed-open", "Failed open", 9, metric(asked, count("Failed open"), where="failed_open:*")),
            Panel("break-glass", "Break-glass", 10, metric(asked, count("Break-glass"), where="break_glass:true")),
        ),
    )


def _over_time(source: Sources) -> Row:
    asked = source("admission")
    return Row(
        13,
        (
            Panel(
                "over-time",
                "Decisions over time",
                28,
                bars(asked, over_time(), [count("Decisions")], by=terms("admission", "Decision", 3)),
            ),
            Panel(
                "engines",
                "What decided",
                20,
                table(
                    asked,
                    [terms("engine", "Engine"), terms("webhook", "Webhook or policy")],
                    [count("Decisions"), count("Denied", DENIED), count("Failed open", "failed_open:*")],
                ),
            ),
        ),
    )


def _why(source: Sources) -> Row:
    asked = source("admission")
    return Row(
        13,
        (
            Panel(
                "reasons",
                "Why requests were denied",
                20,
                table(asked, [terms("why", "Reason", 20)], [count("Denied"), unique("user", "Users")], where=DENIED),
            ),
            Panel(
                "users",
                "Who asked",
                14,
                table(asked, [terms("user.name", "User", 20)], [count("Requests"), count("Denied", DENIED)]),
            ),
            Panel(
                "images",
                "Images that were denied",
                14,
                bars(asked, terms("image", "Image", 15), [count("Denied")], where=DENIED),
            ),
        ),
    )


def _round(source: Sources) -> Row:
    columns = ("cluster", "namespace", "workload", "user.name", "image", "failed_open", "break_glass", "audited", "why")
    listed = "failed_open:* or break_glass:true or provenance.admission.exempt:* or audited:*"
    return Row(
        14,
        (
            Panel(
                "round",
                "Let in without a judgement, or in spite of one",
                48,
                documents(source("admission"), columns, where=listed),
                "discover_session",
                description="Failed open, break-glass, exempt by the engine, or only recorded.",
            ),
        ),
    )


def _configuration(source: Sources) -> Row:
    changes = source("configuration")
    return Row(
        11,
        (
            Panel(
                "configuration",
                "Who changed what admission is made of (all namespaces)",
                48,
                table(
                    changes,
                    [terms("user.name", "User", 20), terms("name", "Object", 10)],
                    [count("Changes"), count("Denied", "outcome:failure"), unique("cluster", "Clusters")],
                ),
                description="Webhook configurations, policies and bindings; they belong to no namespace.",
                unfiltered=True,
            ),
        ),
    )
