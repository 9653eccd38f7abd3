"""`docs/fields.md`: the field table and the query language for people. Pure; a script of the checkout writes it."""

from __future__ import annotations

from typing import Final

from streams.sinks.fields import (
    CURRENT,
    ECS_VERSION,
    FIELDS,
    HISTORY,
    HOMES,
    SEARCHABLE,
    TERMINAL_ONLY,
    Field,
)

GENERATED: Final = "<!-- generated from streams/sinks/fields.py: `python scripts/generate_fields_docs.py` -->"

_GROUPS: Final = (
    ("Every document", ("@timestamp", "message", "ecs.", "event.", "related.")),
    ("Who", ("user", "source.", "http.")),
    ("Where", ("orchestrator.", "kubernetes.", "provenance.cluster", "provenance.workload", "provenance.owner")),
    ("What runs", ("container.", "provenance.container", "provenance.class", "provenance.state", "provenance.run",
                   "provenance.image")),
    ("Admission", ("provenance.admission", "provenance.looked_back")),
    ("What other engines say", ("provenance.claim",)),
    ("Verdicts", ("provenance.verdict", "provenance.previous", "provenance.reason", "provenance.polic", "rule.",
                  "provenance.exemption.id", "provenance.evaluation", "provenance.cause")),
    ("Signatures, keys, evidence", ("provenance.signature", "provenance.key", "provenance.certificate",
                                    "provenance.ca.", "provenance.log.", "provenance.build", "provenance.commit",
                                    "provenance.rule.", "provenance.evidence")),
    ("Trust", ("provenance.trust", "provenance.revocation", "provenance.exemption")),
    ("Findings and incidents", ("provenance.severity", "provenance.finding", "provenance.incident")),
    ("Feeds and dead letters", ("provenance.feed", "error.", "provenance.deadletter")),
)  # fmt: skip
"""Title and the beginnings of the names in it; a field belongs to the first group that fits."""

_HEAD: Final = f"""# Fields of the record, and how to search it

{GENERATED}

Documents use the names of ECS {ECS_VERSION}, of the Elastic Kubernetes integrations below `kubernetes.`, and our own
below `provenance.`. They are the same in the SQLite file of the single-machine mode and in Elasticsearch. Field values
that come from clusters, registries and signatures are untrusted text.

## What there is

A query is asked of one of these, by its name; `history` is everything that happened.
"""

_LANGUAGE: Final = """
## The query language

A strict subset of the Kibana Query Language: what is accepted here means the same in Kibana. Short names work in the
terminal and, except those marked ¹, as field aliases in Elasticsearch; full names work everywhere.

| write | finds |
|---|---|
| `verdict:violates` | a field with this value; of several values one is enough |
| `digest:"sha256:4f5c…"` | quotation marks around what holds `: ( ) < > { }` or a space; inside them `\\"`, `\\\\` |
| `namespace:pay*` | a wildcard, anywhere in an unquoted value; only for fields of type keyword |
| `exemption:*` | the field has a value |
| `namespace:(shop or payments)` | one of these values |
| `state:running and verdict:violates and not owner:web` | `and` binds tighter than `or`; parentheses group |
| `affected >= 10`, `started > now-2d`, `time < "2026-11-20T00:00:00Z"` | ranges over numbers, times and keywords |
| `provenance.cluster.labels.env:prod` | a member of a map (type flattened) |
| `timeout`, `"time out"` | the words in `message`, whatever the case |

Left out, with an error that names the column: two words side by side without `and`, `or` or quotation marks;
wildcards in field names and in texts; networks of addresses; nested fields (`{ }`); a day instead of an instant. A
search in `message` finds the words wherever they stand, in either store; Kibana finds whole words.
"""


def fields_page() -> str:
    """The whole page."""
    parts = [_HEAD, _homes(), _LANGUAGE, "\n## Fields\n"]
    left = dict(FIELDS)
    for title, beginnings in _GROUPS:
        rows = [left.pop(name) for name in list(left) if name.startswith(beginnings)]
        parts.append(_group(title, rows))
    if left:
        raise ValueError(f"fields without a group in streams/sinks/pages.py: {', '.join(left)}")
    parts.append("\n¹ In the terminal only: an object of ECS has this name; Elasticsearch cannot have the alias.\n")
    return "".join(parts)


def _homes() -> str:
    rows = [f"| `{name}` | `{HOMES[name]}` | now | {text} |" for name, text in CURRENT.items()]
    rows += [f"| `{name}` | `{HOMES[name]}` | history | {text} |" for name, text in HISTORY.items()]
    return "\n".join(["\n| name | dataset or index | | one document is |", "|---|---|---|---|", *rows, ""])


def _group(title: str, rows: list[Field]) -> str:
    lines = [f"\n### {title}\n", "| field | short | type | in | |", "|---|---|---|---|---|", *map(_line, rows), ""]
    return "\n".join(lines)


def _line(row: Field) -> str:
    short = ", ".join(f"`{name}`{'¹' if name in TERMINAL_ONLY else ''}" for name in row.short)
    kind = row.type if row.type in SEARCHABLE else f"{row.type} (not searched)"
    homes = "all" if len(row.homes) >= len(HOMES) else " ".join(row.homes)
    return f"| `{row.name}` | {short} | {kind} | {homes} | {row.text} |"
