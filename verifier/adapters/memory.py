"""The evidence store in memory: for tests, for `revet verify` without state, and to read what the port means."""

from __future__ import annotations

from collections.abc import Iterable

from verifier.models import Evidence, Micros
from verifier.oci.manifests import IndexChild


class MemoryEvidenceStore:
    """An `EvidenceStore` that ends with the process. Its methods raise nothing."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str, str], Evidence] = {}
        """(id, repository, subject) -> evidence."""
        self._first_seen: dict[str, Micros] = {}
        self._children: set[tuple[str, IndexChild]] = set()
        """(repository, entry)."""

    def put(self, evidence: Evidence, first_seen: Micros | None) -> bool:
        """See `EvidenceStore.put`."""
        if first_seen is not None:
            self._first_seen[evidence.id] = min(first_seen, self._first_seen.get(evidence.id, first_seen))
        key = (evidence.id, evidence.repository, evidence.subject)
        known = key in self._found
        self._found.setdefault(key, evidence)
        return not known

    def get(self, evidence_id: str) -> Evidence | None:
        """See `EvidenceStore.get`."""
        places = sorted(key for key in self._found if key[0] == evidence_id)
        return self._found[places[0]] if places else None

    def for_digest(self, repository: str, digest: str) -> tuple[Evidence, ...]:
        """See `EvidenceStore.for_digest`."""
        return tuple(self._found[key] for key in sorted(self._found) if key[1:] == (repository, digest))

    def first_seen(self, evidence_ids: Iterable[str]) -> dict[str, Micros]:
        """See `EvidenceStore.first_seen`."""
        return {name: self._first_seen[name] for name in evidence_ids if name in self._first_seen}

    def link(self, repository: str, children: Iterable[IndexChild]) -> None:
        """See `EvidenceStore.link`."""
        self._children.update((repository, child) for child in children)

    def indexes_of(self, repository: str, child: str) -> tuple[str, ...]:
        """See `EvidenceStore.indexes_of`."""
        found = {entry.index for owner, entry in self._children if (owner, entry.digest) == (repository, child)}
        return tuple(sorted(found))

    def children_of(self, repository: str, index: str) -> tuple[IndexChild, ...]:
        """See `EvidenceStore.children_of`."""
        found = [entry for owner, entry in self._children if (owner, entry.index) == (repository, index)]
        return tuple(sorted(found, key=lambda entry: (entry.digest, entry.platform)))
