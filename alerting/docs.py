"""Pages of the documentation that come from the findings table: a generated frame around written text. Pure.

A page has a generated part and written sections. Generating again replaces the first and keeps the second:

    page = finding_page(code, existing_text)
    index = findings_index()

`scripts/generate_findings_docs.py` writes them; a test fails when a page is stale, missing, or without written text.
"""

from __future__ import annotations

import re
from typing import Final

from alerting.table import FINDINGS, REASON_FINDINGS, FindingRow
from verifier.reasons import REASONS

GENERATED_BEGIN: Final = "<!-- generated from alerting/table.py: `python scripts/generate_findings_docs.py` -->"
GENERATED_END: Final = "<!-- end of the generated part -->"
WRITTEN_SECTIONS: Final = ("How it comes about", "What to look at", "Example")
"""Sections that people write; each page has them in this order, between markers."""

TO_WRITE: Final = "*To be written.*"

_SUBJECTS: Final = {
    "revoked-thing": "the revoked thing: all it touches is one incident",
    "policy-version": "the version of the policy: all it turns is one incident",
    "digest": "the digest",
    "policy-repository": "the policy and the repository: rollouts open nothing new",
    "workload": "the workload",
    "cluster-webhook": "the cluster and the webhook",
    "expiring-thing": "the thing that ends",
    "baseline": "the policy that first took effect, or the cluster that was added",
    "repository-identity": "the repository and the new signer",
    "component": "the part of revet it is about",
    "audit-feed": "the API server whose events they were",
}


def finding_page(code: str, existing: str = "") -> str:
    """The page of a finding: frame from the table, written sections from `existing`.

    Raises:
        KeyError: the code has no row.
    """
    row = FINDINGS[code]
    written = [_section(name, written_section(existing, name) or TO_WRITE) for name in WRITTEN_SECTIONS]
    return "\n".join([f"# {code}: {row.title}", "", GENERATED_BEGIN, *_frame(code, row), GENERATED_END, "", *written])


def written_section(page: str, name: str) -> str:
    """The text between the markers of a written section, stripped; empty when there is none."""
    found = re.search(rf"{re.escape(_begin(name))}\n(.*?)\n{re.escape(_end(name))}", page, re.DOTALL)
    return found[1].strip() if found else ""


def findings_index() -> str:
    """The page that lists every finding, worst first."""
    lines = [
        "# Findings",
        "",
        GENERATED_BEGIN,
        "",
        "What revet tells people about, worst first. The severity is the default; a cluster labelled `env: prod` (or",
        "`production`) raises it by one step, `env: sandbox` lowers it. `revet explain CODE` prints the same texts.",
        "",
        "| finding | severity | what is wrong | feeds it needs |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| [{code}]({code}.md) | {row.severity} | {row.title} | {_feeds(row)} |" for code, row in FINDINGS.items()
    ]
    lines += [
        "",
        "A finding whose feed a cluster does not have is never raised there, and the coverage of the cluster says so.",
        "",
        GENERATED_END,
        "",
    ]
    return "\n".join(lines)


def _frame(code: str, row: FindingRow) -> list[str]:
    reasons = [reason for reason, finding in REASON_FINDINGS.items() if finding == code]
    flags = [
        "may wake somebody" if row.paging else "wakes nobody",
        *(["proof of compromise: never part of a baseline"] if row.proof_of_compromise else []),
        *(["another digest is another finding"] if row.digest_in_id else []),
    ]
    lines = [
        "",
        f"> {row.sentence}",
        "",
        "| | |",
        "|---|---|",
        f"| severity | {row.severity} (default) |",
        f"| feeds it needs | {_feeds(row)} |",
        f"| one incident per | {_SUBJECTS[row.subject]} |",
        f"| alerting | {'; '.join(flags)} |",
        f"| close reasons | {', '.join(f'`{why}`' for why in row.closes)} |",
        "",
        f"**What it means.** {row.meaning}",
        "",
        f"**Why it may be harmless.** {row.benign}",
        "",
        f"**What to do.** {row.todo}",
        "",
        f"**What closes it.** {row.closes_when}",
        "",
    ]
    return lines + (_reasons(reasons) if reasons else [])


def _reasons(reasons: list[str]) -> list[str]:
    rows = [f"| `{reason}` | {REASONS[reason].meaning} | {REASONS[reason].todo} |" for reason in reasons]
    return [
        "Reasons of a verdict that become this finding:",
        "",
        "| reason | meaning | what to do |",
        "|---|---|---|",
        *rows,
        "",
    ]


def _feeds(row: FindingRow) -> str:
    return ", ".join(row.feeds) if row.feeds else "none"


def _section(name: str, text: str) -> str:
    return f"## {name}\n\n{_begin(name)}\n{text}\n{_end(name)}\n"


def _begin(name: str) -> str:
    return f"<!-- written: {name} -->"


def _end(name: str) -> str:
    return f"<!-- end: {name} -->"
