"""Clusters in trust: found by name or id, and retired. Enrolling is `changes.put_cluster`."""

from __future__ import annotations

from verifier.errors import TrustError
from verifier.trust.changes import By, record_head
from verifier.trust.records import ClusterRetired
from verifier.trust.state import ClusterEntry, TrustState


def find_cluster(trust: TrustState, text: str) -> ClusterEntry:
    """The cluster of this name or id; of several with a name, the one that is enrolled.

    Raises:
        TrustError: there is none.
    """
    found = trust.clusters.get(text)
    if found is not None:
        return found
    named = [entry for entry in trust.clusters.values() if entry.name == text]
    if not named:
        known = (entry.name for entry in trust.clusters.values())
        raise TrustError(f"there is no cluster {text[:80]!r}; known: {', '.join(sorted(known)) or 'none'}")
    return max(named, key=lambda entry: (entry.enrolled, entry.epoch))


def retire_cluster(trust: TrustState, by: By, text: str) -> ClusterRetired:
    """Say that a cluster (name or id) is no more.

    Raises:
        TrustError: there is none, or it is retired already.
    """
    entry = find_cluster(trust, text)
    if not entry.enrolled:
        raise TrustError(f"cluster {entry.name} already is retired")
    return ClusterRetired(cluster_id=entry.cluster_id, **record_head(trust, by))
