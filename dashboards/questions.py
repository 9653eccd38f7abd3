"""The fifteen questions of an incident responder as saved searches: one of Discover for each. Pure.

Each shows everything of its kind, newest first; the subject (a digest, a pod, an incident, a time) is added in the
search bar, as `example` shows. `search` is the type of saved object that every Kibana since 8 takes and migrates.
"""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec

from dashboards.charts import TIME, kql
from dashboards.model import stable, view_id
from streams.queries.conditions import full_name
from streams.sinks.mapping import HOMES, Names

Json = dict[str, Any]  # Any: a tree of JSON


class Question(msgspec.Struct, frozen=True):
    """A question, and where its answer stands."""

    number: int
    name: str
    title: str
    home: str
    """Short name of the home that is searched; `history` for all datasets."""
    query: str
    columns: tuple[str, ...]
    example: str
    """What narrows it to one subject, in the same language."""
    blind: str
    """What the answer does not tell."""

    @property
    def heading(self) -> str:
        """As Kibana lists it, in the order of the numbers."""
        return f"revet {self.number:02d} · {self.title}"


_WHERE: Final = ("cluster", "namespace", "workload")
_RUNS: Final = (*_WHERE, "pod", "node", "digest", "started", "ended", "team")

QUESTIONS: Final = (
    Question(
        1, "signed-by", "Who signed this digest, when, and is that time trusted?", "images", "",
        ("digest", "repository", "signed", "signer", "identity", "issuer", "log_entry", "first_seen"),
        'digest:"sha256:…"', "Only signatures that verify under a key or CA in trust have a name here.",
    ),
    Question(
        2, "built-from", "From which commit and builder was it built?", "images", "builder:* or commit:*",
        ("digest", "repository", "builder", "commit", "predicate_type", "identity"),
        'digest:"sha256:…"', "What a provenance says, as its signer wrote it; images without one are not listed.",
    ),
    Question(
        3, "shares", "Which other digests share that signer, builder or commit?", "images",
        "signed:true or builder:* or commit:*",
        ("key", "identity", "builder", "commit", "repository", "digest"),
        'key:"dev"', "Images that revet has seen run or was asked to verify.",
    ),
    Question(
        4, "runs-now", "Where is it running now?", "containers", "state:running", (*_RUNS, "verdict"),
        'digest:"sha256:…"', "Clusters out of sight show the last look.",
    ),
    Question(
        5, "ran-between", "Who ran it between two times?", "containers", "started:*", _RUNS,
        'digest:"sha256:…" and started <= "2026-11-20T12:00:00Z" and (ended >= "2026-11-20T10:00:00Z" or not ended:*)',
        "Containers that started and ended while the pod feed was out of sight.",
    ),
    Question(
        6, "admitted", "Was it admitted, by which policy, with what message?", "admission", "",
        (*_WHERE, "admission", "engine", "webhook", "asked", "why", "user.name"),
        'related.hash:"sha256:…"', "Requests by tag stand under the tag; the pod that came of them has the digest.",
    ),
    Question(
        7, "created-by", "Who or what created the pod?", "admission", 'resource:"pods"',
        (*_WHERE, "pod", "user.name", "user.roles", "agent", "ip", "decision"),
        'pod_uid:"…"', "A controller creates most pods: who changed its template is an entry of its own.",
    ),
    Question(
        8, "unadmitted", "Which running pods have no admission decision?", "containers",
        "state:running and not decision:* and not static:true", (*_RUNS, "verdict"),
        "namespace:shop", "What ran before the audit feed was there has none either.",
    ),
    Question(
        9, "let-in", "Which exemptions, break-glass or failed-open admissions let it in?", "admission",
        "break_glass:true or failed_open:* or provenance.admission.exempt:* or audited:*",
        (*_WHERE, "image", "break_glass", "failed_open", "provenance.admission.exempt", "audited", "user.name"),
        'related.hash:"sha256:…"', "Exemptions of revet itself are entries of the trust log: `record:exemption-put`.",
    ),
    Question(
        10, "believed", "What did we believe at a time, and from which inputs?", "verification", "",
        ("digest", "policy", "policy_version", "verdict", "previous", "epoch", "provenance.evidence.set", "trigger"),
        '@timestamp <= "2026-11-20T12:00:00Z" and digest:"sha256:…"',
        "The newest row at or before the time is what was believed; `revet verdict replay ID` computes it again.",
    ),
    Question(
        11, "changed", "What changed between the last pass and the first fail?", "verification",
        "verdict:violates and previous:*",
        ("digest", "namespace", "policy", "previous", "verdict", "reason", "trigger", "changed_by", "epoch"),
        'digest:"sha256:…"', "The entry of the trust log with that epoch tells who and why.",
    ),
    Question(
        12, "tag-moved", "When did the tag move, and who still runs the old digest?", "findings",
        "finding:(tag-moved or digest-drift or mixed-digests)",
        (*_WHERE, "image", "digest", "state", "opened", "closed", "affected"),
        'image:"registry.example/shop/api:1"', "Only where somebody looked at the tag, or pods of one workload differ.",
    ),
    Question(
        13, "unverified", "What could not be verified, why, since when?", "findings",
        "finding:unverifiable-too-long or finding:stale",
        (*_WHERE, "digest", "policy", "reason", "opened", "state", "team"),
        "namespace:payments and state:open", "What is younger than the deadline of the finding is not listed yet.",
    ),
    Question(
        14, "told", "Who was told, when, who acknowledged, silenced, resolved?", "incident", "",
        ("short_id", "transition", "user.name", "why", "severity", "containers", "message"),
        'short_id:"INC-…"', "Whether a message arrived is in the delivery ledger: `revet incident show ID`.",
    ),
    Question(
        15, "blind", "Were we blind in that window?", "feeds", "",
        ("cluster", "environment", "feed", "since", "last"),
        'cluster:"prod-eu" and last >= "2026-11-20T10:00:00Z"',
        "Between the end of one stretch and the beginning of the next nothing was seen; a cluster without a row never "
        "had that feed.",
    ),
)  # fmt: skip

SEARCH_VERSION: Final = "8.0.0"
CORE_VERSION: Final = "8.8.0"
"""Versions the saved object is written in; Kibana migrates it from there (Saved objects API, import)."""


def search_id(names: Names, question: Question) -> str:
    """The id of the saved search in any Kibana."""
    return stable(names, "search", question.name)


def searches(names: Names) -> list[Json]:
    """One saved object per question, as `_import` takes them, a line each."""
    return [_search(names, question) for question in QUESTIONS]


def _search(names: Names, question: Question) -> Json:
    source = {
        "query": {"query": kql(question.query) if question.query else "", "language": "kuery"},
        "filter": [],
        "indexRefName": _REFERENCE,
    }
    return {
        "type": "search",
        "id": search_id(names, question),
        "coreMigrationVersion": CORE_VERSION,
        "typeMigrationVersion": SEARCH_VERSION,
        "attributes": {
            "title": question.heading,
            "description": f"Narrow it with: {question.example}. Not told: {question.blind}",
            "columns": [full_name(column) for column in question.columns],
            "sort": [[TIME, "desc"]],
            "grid": {},
            "hideChart": question.home in STATES,
            "isTextBasedQuery": False,
            "kibanaSavedObjectMeta": {"searchSourceJSON": json.dumps(source, separators=(",", ":"))},
        },
        "references": [{"name": _REFERENCE, "type": "index-pattern", "id": view_id(names, question.home)}],
    }


_REFERENCE: Final = "kibanaSavedObjectMeta.searchSourceJSON.index"
STATES: Final = frozenset(name for name, home in HOMES.items() if home.startswith("revet-state-"))
"""Homes of what is so now: a chart over time would show when rows were last written."""
