"""Roles in Elasticsearch, as bodies for its role API. Pure.

Nobody gets more than their work needs: analysts and the ledger cannot write, the indexer can change neither mappings
nor templates. It may delete single documents of history, which the exactly-once guard needs after a rollover
(`streams.sinks.guard`); that nothing else was deleted is what the ledger proves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from streams.sinks.mapping import Names

Json = dict[str, Any]  # Any: a tree of JSON

_READ = ("read", "view_index_metadata")


def roles(names: Names, teams: Mapping[str, Iterable[str]] | None = None) -> dict[str, Json]:
    """Name -> body for PUT `/_security/role/<name>`. `teams`: name -> Kubernetes namespaces its analysts may see."""
    state, history = _state(names), [names.all_history]
    prefix = f"revet_{names.namespace}"
    made = {
        f"{prefix}_analyst": analyst_role(names),
        f"{prefix}_ledger": _role("reads the history to prove it", [_on(history, *_READ)]),
        f"{prefix}_indexer": _role(
            "writes the record",
            [
                _on(history, "create_doc", "delete", "maintenance", "auto_configure", *_READ),
                _on(state, "index", "maintenance", *_READ),
            ],
            cluster=["monitor"],
        ),
        f"{prefix}_operator": _role(
            "installs templates, rolls over, reindexes",
            [_on(history + state, "manage", "index", *_READ)],
            cluster=["monitor", "manage_index_templates"],
        ),
    }
    for team, namespaces in (teams or {}).items():
        made[f"{prefix}_analyst_{team}"] = team_role(names, team, namespaces)
    return made


def analyst_role(names: Names) -> Json:
    """Reads the whole record, and changes none of it."""
    return _role("reads the record", [_on([names.all_history, *_state(names)], *_READ)])


def _state(names: Names) -> list[str]:
    return [f"revet-state-*-{names.namespace}", names.all_state]


def team_role(names: Names, team: str, namespaces: Iterable[str]) -> Json:
    """Reads what is about these Kubernetes namespaces; and, whole, what no namespace owns but every answer needs: the
    trust log, images with their evidence, and where revet was blind. Not: incidents, which sum over namespaces.

    Document level security: a subscription feature; without it a search by this role is refused.
    """
    shown = sorted(set(namespaces))
    allowed = _on([names.all_history, *_state(names)], *_READ)
    query = {"query": {"terms": {"orchestrator.namespace": shown}}}
    shared = [pattern for home in _SHARED for pattern in (names.target(home), f"{names.target(home)}-v*")]
    whole = _on([names.target("trust"), *shared], *_READ)
    return _role(f"reads the record of {team}: {', '.join(shown)}", [allowed | query, whole])


_SHARED = ("images", "feeds", "deadletters")


def _on(indices: list[str], *privileges: str) -> Json:
    return {"names": indices, "privileges": list(privileges)}


def _role(description: str, indices: list[Json], cluster: list[str] | None = None) -> Json:
    return {"description": f"revet: {description}", "cluster": cluster or [], "indices": indices}
