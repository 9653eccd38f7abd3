"""What a writer of documents may know beside the event: whose a namespace is, how a key or cluster is called. Pure.

It only adds names to documents; ids, versions and answers never depend on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from alerting.routing import Ownership
from verifier.evidence.x509 import ca_keys
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

    def ca_names(self, ca: str) -> tuple[str, ...]:
        """What a CA or timestamp authority, by id or key id, is called: its own label, and the roots that list it."""


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

    def ca_names(self, ca: str) -> tuple[str, ...]:
        """See `Known`."""
        del ca
        return ()


class KnownFromTrust:
    """Names from the trust of an epoch, owners from a map the caller keeps up to date."""

    def __init__(self, trust: TrustState, owners: Mapping[tuple[str, str], Ownership] | None = None) -> None:
        self._trust = trust
        self._owners = {} if owners is None else owners  # an empty one is filled later
        self._cas: dict[str, tuple[str, ...]] | None = None

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

    def ca_names(self, ca: str) -> tuple[str, ...]:
        """See `Known`."""
        if self._cas is None:
            self._cas = _ca_names(self._trust)
        return self._cas.get(ca, ())


def _ca_names(trust: TrustState) -> dict[str, tuple[str, ...]]:
    names: dict[str, dict[str, None]] = {}
    for authority in trust.anchors.material.authorities.values():
        roots = [anchor.root for anchor in trust.anchors.authorities.get(authority.id, ())]
        own = dict.fromkeys(name for name in (*roots, authority.label) if name)
        names.setdefault(authority.id, {}).update(own)
        for key_id in ca_keys(authority):
            names.setdefault(key_id, {}).update(own)
    return {ca: tuple(found) for ca, found in names.items()}
