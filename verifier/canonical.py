"""One encoding and one table for every deterministic id.

Ids derive from inputs alone (never wall clock, offset, random or code version), so a replay repeats them:

    stable_id("finding", "unsigned", cluster, namespace, kind, name, container, policy, "")
"""

from __future__ import annotations

import hashlib
import json
from base64 import urlsafe_b64encode
from typing import Final

import msgspec

ID_PREFIX: Final = "v1:"
ID_LENGTH: Final = 27
"""Characters of base64url(SHA-256) kept: 162 bits, the length Elasticsearch-friendly ids use."""

_REQUEST: Final = (
    "cluster",
    "server",
    "audit_id",
    "stage",
    "received",
    "staged",
    "user",
    "code",
    "verb",
    "request_uri",
)
"""What tells one request from another. The client chooses audit id, verb and URI; the server alone says the rest."""

ID_FIELDS: Final[dict[str, tuple[str, ...]]] = {
    "decision": _REQUEST,
    "admission": ("cluster", "request_uid"),
    "pulls": ("instance", "registry", "number", "time"),
    "pod": ("cluster", "uid", "resource_version", "content", "gone"),
    "namespace": ("cluster", "name", "content", "time"),
    "configuration": _REQUEST,
    "claim": (
        "cluster",
        "feed",
        "engine",
        "policy",
        "rule",
        "result",
        "message",
        "kind",
        "namespace",
        "name",
        "uid",
        "images",
        "at_admission",
        "occasion",
    ),
    "feed": ("cluster", "feed", "time"),
    "archive-hour": ("cluster", "since"),
    "deadletter": ("source", "sha256"),
    "container": ("cluster", "pod_uid", "container_kind", "container_name", "digest"),
    "class": ("cluster", "namespace", "service_account", "labels", "image", "digest"),
    "evidence-set": ("repository", "digest", "content"),
    "evidence-wanted": ("repository", "digest", "keyset", "attempt"),
    "evidence-found": ("repository", "digest", "version", "time"),
    "fact": ("evidence", "keyset", "verifier"),
    "keyset": ("key_ids",),
    "candidates": ("key_ids", "material", "rules"),
    "material": ("ids",),
    "content-rule": ("rule", "predicate_types"),
    "verdict": ("class", "policy", "policy_version", "epoch", "evidence_set", "facts", "instant"),
    "trust": ("epoch", "record"),
    "policy-version": ("content",),
    "revocation": ("subject_kind", "subject", "reason", "at", "author"),
    "exemption": ("content", "at", "author"),
    "finding": ("code", "cluster", "namespace", "owner_kind", "owner_name", "container", "policy", "digest"),
    "finding-transition": ("finding", "transition", "sequence"),
    "incident": ("kind", "cause"),
    "incident-action": ("incident", "action", "by", "time", "text"),
    "silence": ("by", "time", "why", "scope"),
    "slice": ("incident", "destination"),
    "delivery": ("slice", "epoch"),
    "part": ("incident", "shard", "cluster", "namespace"),
    "tick": ("time",),
}
"""Per record type the canonical list of fields. Adding a type adds a row; changing one needs a new prefix."""


_ENCODER: Final = msgspec.json.Encoder(order="sorted")
"""Writes the same bytes as `canonical_json` for what ids are made of (text, integers, None, lists), but faster."""


def canonical_json(value: object) -> bytes:
    """Canonical bytes: sorted members, no spaces, UTF-8 without escapes of printable characters."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def stable_id(kind: str, *values: object) -> str:
    """The id of a record of `kind`; `values` in the order of `ID_FIELDS[kind]`.

    Raises:
        KeyError: `kind` has no row in the table.
        ValueError: the number of values is not the number of fields.
    """
    if len(values) != len(ID_FIELDS[kind]):
        raise ValueError(f"id of {kind} takes {ID_FIELDS[kind]}, got {len(values)} values")
    digest = hashlib.sha256(_ENCODER.encode([kind, *values])).digest()
    return ID_PREFIX + urlsafe_b64encode(digest).decode()[:ID_LENGTH]
