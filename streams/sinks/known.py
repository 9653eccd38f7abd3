"""What a writer of documents may know beside the event: whose a namespace is, how a key or cluster is called. Pure.

It only adds names to documents; ids, versions and answers never depend on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from alerting.routing import Ownership
from verifier.trust.state import TrustState

Labels = tuple[tuple[str, str], ...]


class Known(Protocol):
    """Names for what events carry as ids."""

    def owner(self, cluster: str, namespace: str) -> Ownership | None:
        """Whose a namespace is; None when nobody said."""

    def key_name(self, key_id: str) -> str:
        """Name of a key; empty when it has none."""

    def cluster(self, cluster: str) -> tuple[str, Labels]:
        """Name and labels of a cluster; empty when it is not enrolled."""


class KnownNothing:
    """Nobody told us anything."""

    def owner(self, cluster: str, namespace: str) -> Ownership | None:
        """See `Known`."""
        del cluster, namespace
        return None

    def key_name(self, key_id: str) -> str:
        """See `Known`."""
        del key_id
        return ""

    def cluster(self, cluster: str) -> tuple[str, Labels]:
        """See `Known`."""
        del cluster
        return "", ()


class KnownFromTrust:
    """Names from the trust of an epoch, owners from a map the caller keeps up to date."""

    def __init__(self, trust: TrustState, owners: Mapping[tuple[str, str], Ownership] | None = None) -> None:
        self._trust = trust
        self._owners = {} if owners is None else owners  # an empty one is filled later

    def owner(self, cluster: str, namespace: str) -> Ownership | None:
        """See `Known`."""
        return self._owners.get((cluster, namespace))

    def key_name(self, key_id: str) -> str:
        """See `Known`."""
        key = self._trust.keys.get(key_id)
        return key.name if key is not None else ""

    def cluster(self, cluster: str) -> tuple[str, Labels]:
        """See `Known`."""
        entry = self._trust.clusters.get(cluster)
        return (entry.name, entry.labels) if entry is not None else ("", ())
