"""Records of topics as documents of the record, with the names that trust and namespaces give. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from alerting.routing import Ownership, Routes, team_of
from streams.engine.port import Record
from streams.engine.reading import Unreadable, read
from streams.events import NamespaceObserved, TrustChanged
from streams.shared import Shared
from streams.sinks.documents import documents
from streams.sinks.elasticsearch import Versioned
from streams.sinks.known import KnownFromTrust
from streams.topics import CLUSTER_SIGHT, TRUST
from verifier.trust.state import TrustState


class Documenting:
    """One per process. Names are those of now: a document made again later may have other names, never another id."""

    def __init__(self, shared: Shared, routes: Routes) -> None:
        self._shared = shared
        self._routes = routes
        self._owners: dict[tuple[str, str], Ownership] = {}
        self._known: tuple[TrustState | None, KnownFromTrust] = (None, KnownFromTrust(shared.trust))

    def learn(self, records: Sequence[Record]) -> None:
        """Whose namespaces are, from the view that every process has: it is ahead of every group."""
        for record in records:
            found = read(record) if record.topic == CLUSTER_SIGHT else None
            if isinstance(found, NamespaceObserved):
                owner = team_of(found.cluster, found.namespace, dict(found.labels), self._routes)
                self._owners[found.cluster, found.namespace] = owner

    def of(self, record: Record) -> Iterator[Versioned]:
        """The documents of a record. Of the trust log only what counts; of what cannot be read, that it cannot.

        Raises:
            NewerSchemaError: a newer revet wrote it.
        """
        for document in documents(self._event(record), self._names()):
            version = record.version if document.version is not None and record.version else None
            # What a recording tells again was produced now, and may be on record since it happened.
            produced = min(record.written, document.time // 1000)
            yield Versioned(document, version, produced, f"{record.topic}[{record.partition}]:{record.position}")

    def _event(self, record: Record) -> object:
        found = self._shared.trust_at(record) if record.topic == TRUST else read(record)
        if isinstance(found, Unreadable):
            return found.letter
        return found if record.topic != TRUST or isinstance(found, TrustChanged) else None

    def _names(self) -> KnownFromTrust:
        if self._known[0] is not self._shared.trust:
            self._known = (self._shared.trust, KnownFromTrust(self._shared.trust, self._owners))
        return self._known[1]
