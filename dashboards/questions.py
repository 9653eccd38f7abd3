"""The fifteen questions (`streams.queries.questions`) as saved searches: one of Discover for each. Pure.

Number and wording are those of `revet ask`; a test holds what a search finds to what is answered there. Each shows
everything of its kind, newest first; the subject (a digest, a pod, an incident, a time) is added in the search bar, as
`example` shows. `search` is the type of saved object that every Kibana since 8 takes and migrates.
"""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec

from dashboards.charts import TIME, kql
from dashboards.model import stable, view_id
from streams.queries.conditions import full_name
from streams.queries.questions import QUESTIONS, Question
from streams.sinks.mapping import HOMES, Names

Json = dict[str, Any]  # Any: a tree of JSON


class Search(msgspec.Struct, frozen=True):
    """Where the answer to a question stands."""

    number: int
    """Of the question."""
    name: str
    """Names the saved search; never changed, or Kibana would have two."""
    home: str
    """Short name of the home that is searched; `history` for all datasets."""
    query: str
    columns: tuple[str, ...]
    example: str
    """What narrows it to one subject, in the same language."""
    blind: str
    """What the answer does not tell."""

    @property
    def asks(self) -> Question:
        """What `revet ask` answers."""
        return QUESTIONS[self.number - 1]

    @property
    def heading(self) -> str:
        """As Kibana lists it, in the order of the numbers."""
        return f"revet {self.number:02d} · {self.asks.text}"


_WHERE: Final = ("cluster", "namespace", "workload")
_RUNS: Final = (*_WHERE, "pod", "node", "digest", "started", "ended", "team")

SEARCHES: Final = (
    Search(
        1, "signed-by", "images", "",
        ("digest", "repository", "signed", "signer", "identity", "issuer", "log_entry", "first_seen"),
        'digest:"sha256:…"', "Only signatures that verify under a key or CA in trust have a name here.",
    ),
    Search(
        2, "built-from", "images", "builder:* or commit:*",
        ("digest", "repository", "builder", "commit", "predicate_type", "identity"),
        'digest:"sha256:…"', "What a provenance says, as its signer wrote it; images without one are not listed.",
    ),
    Search(
        3, "shares", "images",
        "signed:true or builder:* or commit:*",
        ("key", "identity", "builder", "commit", "repository", "digest"),
        'key:"dev"', "Images that revet has seen run or was asked to verify.",
    ),
    Search(
        4, "runs-now", "containers", "state:running", (*_RUNS, "verdict"),
        'digest:"sha256:…"', "Clusters out of sight show the last look.",
    ),
    Search(
        5, "ran-between", "containers", "started:*", _RUNS,
        'digest:"sha256:…" and started <= "2026-11-20T12:00:00Z" and (ended >= "2026-11-20T10:00:00Z" or not ended:*)',
        "Containers that started and ended while the pod feed was out of sight.",
    ),
    Search(
        6, "admitted", "admission", "",
        (*_WHERE, "admission", "engine", "webhook", "asked", "why", "user.name"),
        'related.hash:"sha256:…"', "Requests by tag stand under the tag; the pod that came of them has the digest.",
    ),
    Search(
        7, "created-by", "admission", 'resource:"pods"',
        (*_WHERE, "pod", "user.name", "user.roles", "agent", "ip", "decision"),
        'pod_uid:"…"', "A controller creates most pods: who changed its template is an entry of its own.",
    ),
    Search(
        8, "unadmitted", "containers",
        "state:running and not decision:* and not static:true", (*_RUNS, "verdict"),
        "namespace:shop", "What ran before the audit feed was there has none either.",
    ),
    Search(
        9, "let-in", "admission",
        "beside_rules:*",
        (*_WHERE, "image", "break_glass", "failed_open", "provenance.admission.exempt", "audited", "user.name"),
        'related.hash:"sha256:…"', "Exemptions of revet itself are entries of the trust log: `record:exemption-put`.",
    ),
    Search(
        10, "believed", "verification", "",
        ("digest", "policy", "policy_version", "verdict", "previous", "epoch", "provenance.evidence.set", "trigger"),
        '@timestamp <= "2026-11-20T12:00:00Z" and digest:"sha256:…"',
        "The newest row at or before the time is what was believed; `revet verdict replay ID` computes it again.",
    ),
    Search(
        11, "changed", "verification",
        "verdict:violates and previous:*",
        ("digest", "namespace", "policy", "previous", "verdict", "reason", "trigger", "changed_by", "epoch"),
        'digest:"sha256:…"', "The entry of the trust log with that epoch tells who and why.",
    ),
    Search(
        12, "tag-moved", "findings",
        "finding:(tag-moved or digest-drift or mixed-digests)",
        (*_WHERE, "image", "digest", "state", "opened", "closed", "affected"),
        'image:"registry.example/shop/api:1"', "Only where somebody looked at the tag, or pods of one workload differ.",
    ),
    Search(
        13, "unverified", "findings",
        "finding:unverifiable-too-long or finding:stale",
        (*_WHERE, "digest", "policy", "reason", "opened", "state", "team"),
        "namespace:payments and state:open", "What is younger than the deadline of the finding is not listed yet.",
    ),
    Search(
        14, "told", "incident", "",
        ("short_id", "transition", "user.name", "why", "severity", "containers", "message"),
        'short_id:"INC-…"', "Whether a message arrived is in the delivery ledger: `revet incident show ID`.",
    ),
    Search(
        15, "blind", "feeds", "",
        ("cluster", "environment", "feed", "since", "last"),
        'cluster:"prod-eu" and last >= "2026-11-20T10:00:00Z"',
        "Between the end of one stretch and the beginning of the next nothing was seen; a cluster without a row never "
        "had that feed.",
    ),
)  # fmt: skip

SEARCH_VERSION: Final = "8.0.0"
CORE_VERSION: Final = "8.8.0"
"""Versions the saved object is written in; Kibana migrates it from there (Saved objects API, import)."""


def search_id(names: Names, search: Search) -> str:
    """The id of the saved search in any Kibana."""
    return stable(names, "search", search.name)


def searches(names: Names) -> list[Json]:
    """One saved object per question, as `_import` takes them, a line each."""
    return [_search(names, search) for search in SEARCHES]


def _search(names: Names, search: Search) -> Json:
    source = {
        "query": {"query": kql(search.query) if search.query else "", "language": "kuery"},
        "filter": [],
        "indexRefName": _REFERENCE,
    }
    asked = f"In a terminal: revet ask {search.asks.name}"
    return {
        "type": "search",
        "id": search_id(names, search),
        "coreMigrationVersion": CORE_VERSION,
        "typeMigrationVersion": SEARCH_VERSION,
        "attributes": {
            "title": search.heading,
            "description": f"Narrow it with: {search.example}. Not told: {search.blind} {asked}",
            "columns": [full_name(column) for column in search.columns],
            "sort": [[TIME, "desc"]],
            "grid": {},
            "hideChart": search.home in STATES,
            "isTextBasedQuery": False,
            "kibanaSavedObjectMeta": {"searchSourceJSON": json.dumps(source, separators=(",", ":"))},
        },
        "references": [{"name": _REFERENCE, "type": "index-pattern", "id": view_id(names, search.home)}],
    }


_REFERENCE: Final = "kibanaSavedObjectMeta.searchSourceJSON.index"
STATES: Final = frozenset(name for name, home in HOMES.items() if home.startswith("revet-state-"))
"""Homes of what is so now: a chart over time would show when rows were last written."""
