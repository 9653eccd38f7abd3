"""What every process of the clustered mode reads whole: trust, facts, what is seen of clusters. Folded once a process.

    shared = Shared(gate)
    shared.take(records)                     # from `streams.engine.view.BroadcastView`, in the order of each topic
    shared.trust_at(position)                # what an entry of the trust log comes to
    shared.evidence(repository, digest)      # the newest answer about an image
    shared.cluster_sight()                   # the newest of every feed, namespace and configuration

Facts are kept packed: a worker holds those of the whole fleet and reads those of the images its shards run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from streams.codec import NewerSchemaError
from streams.engine.port import Record
from streams.engine.reading import Unreadable, read
from streams.events import EvidenceFound, ProgressSeen, Tick, TrustChanged
from streams.topics import CLUSTER_SIGHT, FACTS, TRUST
from streams.trustlog import Ignored, Refused, TrustGate
from verifier.trust.state import TrustState

REFUSED_KEPT: Final = 1000
"""Refused entries that whoever takes over a shard tells of again, since its former owner may not have; the record knows
their ids."""


class Shared:
    """One per process; not thread-safe."""

    topics = (TRUST, FACTS, CLUSTER_SIGHT)

    def __init__(self, gate: TrustGate) -> None:
        self.gate = gate
        self._entries: list[TrustChanged] = []
        self._refused: deque[Refused] = deque(maxlen=REFUSED_KEPT)
        self._facts: dict[str, Record] = {}
        self._sight: dict[str, Record] = {}
        self._positions: dict[str, int] = {}
        self._by_path: dict[str, dict[str, None]] | None = None
        """Repository without its host -> keys of facts; None: nobody asked yet."""
        self.waits_for: NewerSchemaError | None = None
        """A record of a newer program stands in one of the topics: nothing may be decided without it."""

    def take(self, records: Sequence[Record]) -> None:
        """Fold records.

        Raises:
            NewerSchemaError: one was written by a newer revet. Whoever works by this view stops.
            TrustError: the trust log came out of order.
        """
        for record in records:
            if record.topic == TRUST:
                found = self.gate.take(record)
                if isinstance(found, TrustChanged):
                    self._entries.append(found)
                elif isinstance(found, Refused):
                    self._refused.append(found)
            elif record.topic == FACTS:
                self._facts[record.key] = record
                if self._by_path is not None:
                    self._by_path.setdefault(_path_of(record.key), {})[record.key] = None
            elif record.topic == CLUSTER_SIGHT:
                self._sight[record.key] = record
            self._positions[record.topic] = record.position + 1

    @property
    def trust(self) -> TrustState:
        """At the epoch reached."""
        return self.gate.trust

    def trust_at(self, record: Record) -> TrustChanged | Refused | Ignored:
        """What a record of the trust log comes to."""
        return self.gate.take(record)

    def trust_entries(self) -> Sequence[TrustChanged]:
        """Entries that count, in order: entry N has epoch N."""
        return self._entries

    def refused(self) -> Iterable[Refused]:
        """The newest entries that do not count and have to be told of."""
        return tuple(self._refused)

    def evidence(self, repository: str, digest: str) -> EvidenceFound | None:
        """The newest answer about an image; None when nobody asked yet.

        Raises:
            NewerSchemaError: it was written by a newer revet.
        """
        record = self._facts.get(f"{repository}@{digest}")
        if record is None:
            return None
        found = read(record)
        return found if isinstance(found, EvidenceFound) else None

    def images_of(self, path: str) -> Iterator[EvidenceFound]:
        """The newest answers about images of a repository, whatever its host. What cannot be read is left out."""
        if self._by_path is None:
            self._by_path = {}
            for key in self._facts:
                self._by_path.setdefault(_path_of(key), {})[key] = None
        for key in tuple(self._by_path.get(path, ())):
            repository, _, digest = key.rpartition("@")
            found = self.evidence(repository, digest)
            if found is not None:
                yield found

    def cluster_sight(self) -> Iterator[object]:
        """The newest of every feed, namespace and configuration. Signs of life of our own processes are left out.

        Raises:
            NewerSchemaError: one was written by a newer revet.
        """
        for record in list(self._sight.values()):
            found = read(record)
            if not isinstance(found, (ProgressSeen, Tick, Unreadable)):
                yield found

    def positions(self) -> Mapping[str, int]:
        """Topic -> position behind what was taken."""
        return self._positions


def _path_of(key: str) -> str:
    """`payments/api` of `registry.example.com/payments/api@sha256:…`."""
    return key.rpartition("@")[0].partition("/")[2]
