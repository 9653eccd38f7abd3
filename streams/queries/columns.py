"""Which columns of each part of the record are shown when nobody names some. Pure."""

from __future__ import annotations

from typing import Final

from streams.sinks.fields import SHORT_NAMES, home_of

HISTORY: Final = "history"
"""All that happened, as a part of the record."""

COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "containers": ("state", "cluster", "namespace", "pod", "container", "image", "verdict", "reason"),
    "findings": ("state", "severity", "finding", "cluster", "namespace", "workload", "image"),
    "incidents": ("short_id", "state", "severity", "incident_kind", "subject", "containers"),
    "images": ("image", "provenance.evidence.complete", "provenance.key.name"),
    "namespaces": ("cluster", "namespace", "owner"),
    "feeds": ("cluster", "feed", "since", "last"),
    "deadletters": ("state", "code", "source"),
    "admission": ("time", "admission", "cluster", "namespace", "workload", "user", "asked"),
    "claim": ("time", "claim", "claim_engine", "claim_policy", "cluster", "namespace", "resource", "name", "asked"),
    "lifecycle": ("time", "action", "cluster", "namespace", "pod", "container", "image"),
    "verification": ("time", "image", "namespace", "policy", "previous", "verdict", "reason"),
    "finding": ("time", "action", "finding", "cluster", "namespace", "workload", "image"),
    "incident": ("time", "action", "short_id", "severity", "subject"),
    "trust": ("time", "user", "message"),
    HISTORY: ("time", "dataset", "action", "message"),
}
"""Dataset -> columns of its table; others are shown as `history` is."""

TITLES: Final = {full: short for short, full in reversed(SHORT_NAMES.items())}
"""Full name -> the first of its short names."""


def columns_of(home: str) -> tuple[str, ...]:
    """Full names of the columns of a part of the record, by its short or full name.

    Raises:
        InputError: no such part.
    """
    short = home if home == HISTORY else home_of(home).removeprefix("revet-state-").removeprefix("revet.")
    return tuple(SHORT_NAMES.get(name, name) for name in COLUMNS.get(short, COLUMNS[HISTORY]))
