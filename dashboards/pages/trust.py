"""Who changed trust, and what a change touched: revocations with their blast radius, policies, exemptions."""

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
    total,
    unique,
)
from dashboards.model import Control, Page, Panel, Row, Section
from dashboards.pages.common import freshness, helped, severity, where


def trust(source: Sources) -> Page:
    """The page."""
    return Page(
        "trust",
        "revet: Trust changes and blast radius",
        "The trust log, and what each change touches of what runs.",
        (),
        (
            _log(source),
            _radius(source),
            _images(source),
            freshness(source),
            helped(
                "Every entry of the trust log with its author, and what revocations and changed policies touch. Blast "
                "radius is counted from findings, so it is what runs; `revet blast-radius` also tells what ran in a "
                "window, and exports it."
            ),
        ),
        since="now-30d",
    )


def _log(source: Sources) -> Section:
    controls = (
        Control("record", "Kind of change", "trust"),
        Control("user.name", "Author", "trust"),
        Control("policy", "Policy", "trust"),
    )
    return Section("log", "The trust log", controls, (_changes(source), _standing(source), _entries(source)))


def _changes(source: Sources) -> Row:
    log = source("trust")
    by_kind = bars(log, over_time(), [count("Changes")], by=terms("record", "Kind", 8))
    return Row(
        12,
        (
            Panel("revocations", "Revocations", 8, metric(log, count("Revocations"), where="record:revocation-put")),
            Panel("epoch", "Newest entry", 8, metric(log, newest("epoch", "Epoch"))),
            Panel("changes", "Changes over time", 32, by_kind),
        ),
    )


def _standing(source: Sources) -> Row:
    revoked = table(
        source("trust"),
        [terms("revoked", "Revoked", 50)],
        [
            count("Revocations"),
            last("signer", "Key"),
            last("revocation_reason", "Reason"),
            last("provenance.revocation.compromised_since", "Compromised since"),
            last("user.name", "By"),
        ],
        where="record:revocation-put",
    )
    exempted = table(
        source("trust"),
        [terms("exemption", "Exemption", 50)],
        [
            count("Changes"),
            last("provenance.exemption.expires", "Ends"),
            last("approver", "Approved by"),
            last("ticket", "Ticket"),
            last("policy", "Policy"),
        ],
        where="record:exemption-put",
    )
    return Row(
        12,
        (
            Panel("revoked", "What was revoked, and why", 24, revoked),
            Panel("exemptions", "Exemptions and when they end", 24, exempted),
        ),
    )


def _entries(source: Sources) -> Row:
    log = source("trust")
    versions = table(
        log,
        [terms("policy", "Policy", 50)],
        [count("Changes"), last("policy_version", "Version"), last("mode", "Mode"), last("user.name", "By")],
        where="record:(policy-put or policy-removed)",
    )
    columns = ("epoch", "record", "user.name", "message", "why", "provenance.trust.origin")
    return Row(
        12,
        (
            Panel("policies", "Versions of policies", 18, versions),
            Panel("entries", "Entries", 30, documents(log, columns), "discover_session"),
        ),
    )


HIT = "state:open and cause_kind:*"
"""Findings that a change opened."""


def _radius(source: Sources) -> Section:
    controls = (*where("findings"), severity("findings"))
    return Section("radius", "Blast radius of what runs now", controls, (_causes(source), _touched(source)))


def _causes(source: Sources) -> Row:
    findings = source("findings")
    causes = table(
        findings,
        [terms("changed_by", "Change", 50)],
        [
            total("affected", "Containers"),
            unique("workload_id", "Workloads"),
            unique("digest", "Digests"),
            unique("namespace", "Namespaces"),
            unique("cluster", "Clusters"),
            oldest("opened", "Since"),
        ],
        where=HIT,
    )
    containers = [total("affected", "Containers")]
    whose = bars(findings, terms("team", "Team", 15), containers, where=HIT, by=terms("severity"))
    return Row(
        13,
        (
            Panel("causes", "What each change touches", 30, causes),
            Panel("teams", "Whose it is", 18, whose),
        ),
    )


def _touched(source: Sources) -> Row:
    digests = table(
        source("findings"),
        [terms("digest", "Digest", 100)],
        [
            total("affected", "Containers"),
            last("repository", "Repository"),
            last("changed_by", "Because of"),
            unique("namespace", "Namespaces"),
            last("team", "Team"),
        ],
        where=HIT,
    )
    return Row(12, (Panel("touched", "Digests that are touched", 48, digests, to=("investigate",)),))


def _images(source: Sources) -> Row:
    images = source("images")
    return Row(
        12,
        (
            Panel(
                "signers",
                "Who signs what (every image revet has seen)",
                24,
                table(
                    images,
                    [terms("signer", "Key", 50)],
                    [
                        unique("digest", "Digests"),
                        unique("repository", "Repositories"),
                        newest("fetched", "Last looked at"),
                    ],
                ),
            ),
            Panel(
                "identities",
                "Certificates were made for (every image revet has seen)",
                24,
                table(
                    images,
                    [terms("identity", "Identity", 50)],
                    [
                        unique("digest", "Digests"),
                        unique("repository", "Repositories"),
                        newest("fetched", "Last looked at"),
                    ],
                ),
            ),
        ),
    )
