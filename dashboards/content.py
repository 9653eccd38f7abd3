r"""Everything that is put into a Kibana, as the bodies its APIs take, and as files. Pure.

    content = made(Names("default"), space="revet", reads=[{"names": [...], "privileges": ["read", ...]}])
    files(content)             ->  {"overview.json": "{…}\n", …}: what `revet dashboards export` writes

Data views have ids of ours, because filters refer to one by id; charts carry theirs inline. Nothing refers to what
Kibana itself numbered, so pages move between installations.
"""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec

from dashboards.charts import TIME, kql
from dashboards.model import dashboard_id, rendered, view_id
from dashboards.pages import pages
from dashboards.questions import searches
from streams.sinks.mapping import CURRENT, HISTORY, HOMES, Names

Json = dict[str, Any]  # Any: a tree of JSON

SPACE: Final = "revet"
"""The space that pages are put into unless another one is named."""

RULE_ID: Final = "revet-findings"
"""Id of the detection rule; with the namespace behind it where that is not the default one."""

_SEVERITIES: Final = {"low": 21, "medium": 47, "high": 73, "critical": 99}
"""Severity -> risk score, as Elastic's own rules have them. `info` is `low` there."""


class Content(msgspec.Struct, frozen=True):
    """What an installation consists of."""

    space: str
    space_body: Json
    views: dict[str, Json]
    """Id -> data view."""
    dashboards: dict[str, Json]
    """Id -> body of PUT `/api/dashboards/{id}`."""
    slugs: dict[str, str]
    """Id of a dashboard -> its name in files and messages."""
    searches: list[Json]
    """Saved objects."""
    rule: Json
    role_name: str
    role: Json


def made(names: Names, space: str = SPACE, reads: list[Json] | None = None) -> Content:
    """All of it for one namespace. `reads`: what an analyst may read in Elasticsearch, as roles have it there."""
    all_pages = pages(names)
    return Content(
        space,
        _space(space),
        dict(_views(names)),
        {dashboard_id(names, page.slug): rendered(page, names) for page in all_pages},
        {dashboard_id(names, page.slug): page.slug for page in all_pages},
        searches(names),
        _rule(names),
        f"revet_{names.namespace}_kibana_analyst",
        _role(names, space, reads or []),
    )


def _space(space: str) -> Json:
    return {
        "id": space,
        "name": "revet" if space == SPACE else space,
        "description": "Which running images are proven to be what policies demand, and since when not.",
        "color": "#0B64DD",
        "initials": "rv",
        "disabledFeatures": [],
    }


def _views(names: Names) -> list[tuple[str, Json]]:
    made_views = [(home, names.target(home), home in HISTORY) for home in HOMES]
    made_views.append(("history", names.all_history, True))
    return [(view_id(names, home), _view(names, home, pattern, timed=timed)) for home, pattern, timed in made_views]


def _view(names: Names, home: str, pattern: str, *, timed: bool) -> Json:
    text = HISTORY.get(home) or CURRENT.get(home) or "everything that happened"
    view: Json = {"id": view_id(names, home), "name": f"revet: {home} ({text})", "title": pattern, "allowNoIndex": True}
    return view | {"timeFieldName": TIME} if timed else view


def _rule(names: Names) -> Json:
    """One rule: what revet found is an alert of the security solution too. It finds nothing by itself."""
    default = names.namespace == "default"
    return {
        "rule_id": RULE_ID if default else f"{RULE_ID}-{names.namespace}",
        "name": "revet finding",
        "description": "A running image violates a policy, went round admission, or could not be verified, or revet "
        "itself lost sight. Each alert is a finding of revet that opened.",
        "type": "query",
        "language": "kuery",
        "index": [names.target("finding")],
        "query": kql("event.kind:alert and event.module:revet and action:finding-opened"),
        "enabled": False,
        "interval": "5m",
        "from": "now-10m",
        "to": "now",
        "max_signals": 500,
        "severity": "medium",
        "severity_mapping": [
            {"field": "provenance.severity", "operator": "equals", "value": name, "severity": name}
            for name in _SEVERITIES
        ],
        "risk_score": _SEVERITIES["medium"],
        "risk_score_mapping": [],
        "rule_name_override": "message",
        "tags": ["revet", "Use Case: Supply Chain"],
        "false_positives": ["Each kind of finding says why it may be harmless: `revet explain CODE`."],
        "note": "Open *revet: Investigate a digest*, or run `revet trace DIGEST`. Incidents are acknowledged in revet: "
        "`revet incident ack ID`.",
        "threat": [_ATTACK],
    }


_MITRE: Final = "https://attack.mitre.org"
_ATTACK: Final = {
    "framework": "MITRE ATT&CK",
    "tactic": {"id": "TA0001", "name": "Initial Access", "reference": f"{_MITRE}/tactics/TA0001/"},
    "technique": [
        {
            "id": "T1195",
            "name": "Supply Chain Compromise",
            "reference": f"{_MITRE}/techniques/T1195/",
            "subtechnique": [
                {
                    "id": "T1195.002",
                    "name": "Compromise Software Supply Chain",
                    "reference": f"{_MITRE}/techniques/T1195/002/",
                }
            ],
        }
    ],
}


def _role(names: Names, space: str, reads: list[Json]) -> Json:
    """Reads the record and looks at the pages; changes neither."""
    return {
        "description": f"revet: looks at the pages of space {space} and reads the record of {names.namespace}",
        "elasticsearch": {"cluster": [], "indices": reads, "run_as": []},
        "kibana": [{"base": ["read"], "feature": {}, "spaces": [space]}],
    }


# --------------------------------------------------------------------------------------------------------------- files


def files(content: Content) -> dict[str, str]:
    """Name -> text. Sorted and indented, so that a change shows as what it is."""
    found = {f"{content.slugs[id_]}.json": _text({"id": id_, "data": body}) for id_, body in content.dashboards.items()}
    found["data-views.json"] = _text(list(content.views.values()))
    found["searches.ndjson"] = "".join(f"{line}\n" for line in import_lines(content))
    found["rule.json"] = _text(content.rule)
    found["space.json"] = _text(content.space_body)
    found["role.json"] = _text({"name": content.role_name, **content.role})
    return found


def import_lines(content: Content) -> list[str]:
    """The saved searches as the import API takes them: one object per line."""
    return [json.dumps(one, sort_keys=True, ensure_ascii=False) for one in content.searches]


def _text(value: object) -> str:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


__all__ = ["RULE_ID", "SPACE", "Content", "files", "import_lines", "made"]
