"""A log entry, read: what readers of evidence hand on and `verifier.evidence.rekor` checks.

    LogEntry(log_id="c0d23d6a…", index=79571823, kind="hashedrekord/0.0.1", body=b'{"apiVersion":…')

It stands apart from its reader and its checker because everything that carries evidence holds entries, and none of that
needs to know how they are verified. Nothing in here is verified, and nothing here verifies.
"""

from __future__ import annotations

import msgspec


class InclusionProof(msgspec.Struct, frozen=True, gc=False):
    """An audit path and the checkpoint it should lead to. `index` counts within the tree, not within the whole log."""

    index: int
    size: int
    root: bytes
    path: tuple[bytes, ...]
    """Sibling hashes, lowest first."""
    checkpoint: str
    """A signed note; empty when there is none."""


class LogEntry(msgspec.Struct, frozen=True, gc=False):
    """A log entry, read. Nothing in here is verified yet."""

    log_id: str
    """Lower-case hex."""
    index: int
    """Global index; authenticated by the SET (Rekor v1) or by being the proof's (v2)."""
    kind: str
    """`hashedrekord/0.0.1` …, as the body says."""
    body: bytes
    """The canonicalized body: what the log hashed."""
    integrated_time: int = 0
    """Seconds since the epoch; 0 when there is none. Means something only under a good SET."""
    set: bytes = b""
    """The signed entry timestamp; empty when there is none."""
    proof: InclusionProof | None = None
