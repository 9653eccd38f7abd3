"""The trust log on a broker, and what previews of its changes need: both read whole, by commands.

    door = TrustDoor(settings)
    door.trust().submit(proposal)                   what `revet trust apply` and the like write through
    door.standing(read)                             one shard that holds what all judges hold now, for previews

A preview is worked out on a copy in this process: it reads the topics of state and facts from the beginning, which
takes as long as restoring every shard.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from alerting.incidents import short_id
from alerting.models import IncidentPart, ShardReached
from alerting.routing import team_of
from streams.clustered import REACHED
from streams.engine.port import Record
from streams.engine.reading import read
from streams.engine.staterows import StateFold
from streams.events import EvidenceFound, NamespaceObserved, TrustChanged
from streams.handlers.evidence import learn
from streams.handlers.restoring import restored
from streams.kafka.producer import KafkaDoor
from streams.kafka.reading import KafkaLog
from streams.local.preview import Answer, stored_answers
from streams.outputs import output
from streams.places import open_store, registry_options
from streams.settings import KafkaSettings, Settings
from streams.state import ShardState
from streams.topics import CLUSTER_SIGHT, FACTS, PARTS, STATE, TRUST
from streams.trustlog import gate_of
from streams.trustwriting import ClusterTrust, Read
from verifier.errors import PlaceError

LOOK_EVERY: Final = 0.3
"""Seconds between two looks at how far the judges are."""


class KafkaTrustTopic:
    """Implements `TrustTopic`."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings

    def read(self) -> list[Record]:
        """See `TrustTopic`."""
        return list(KafkaLog(self._settings).read(TRUST))

    def append(self, events: Sequence[TrustChanged]) -> None:
        """See `TrustTopic`."""
        door = KafkaDoor(self._settings, part="trust")
        try:
            door.send([output(event) for event in events])
        finally:
            door.close()


_CLOCK: Final = "meta"
_PER_SHARD: Final = frozenset({REACHED, "part"})
"""Kinds of rows that say something of one shard alone: how far it is, what it last told the alerter."""


class TouchedIncident(NamedTuple):
    """One incident of which a shard told a new count."""

    short_id: str
    kind: str
    subject: str
    containers: int
    workloads: int


class Judged(NamedTuple):
    """How far the judges came with an epoch."""

    all_shards: bool
    incidents: tuple[TouchedIncident, ...]
    """Counts of the shards that told them since the mark."""


class TrustDoor:
    """Everything commands need of the brokers to change trust. Each call connects anew."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._log = KafkaLog(settings.kafka)

    def trust(self) -> ClusterTrust:
        """The trust log."""
        return ClusterTrust(KafkaTrustTopic(self._settings.kafka), lambda: gate_of(self._settings.administrators))

    # ------------------------------------------------------------------ previews

    def standing(self, found: Read) -> ShardState:
        """A shard that holds what all shards hold now, judged under the trust that was read.

        Raises:
            NewerSchemaError: a row or record was written by a newer revet. PlaceError: the broker does not answer.
        """
        state = ShardState()
        state.restore(_rows(self._log, state))
        state.trust = found.gate.trust
        for facts in _newest_facts(self._log):
            image = state.images.get((facts.set.repository, facts.set.digest))
            if image is not None:
                learn(state, image, facts)
        for _ in restored(state):
            pass
        return state

    @contextmanager
    def answers(self) -> Iterator[Answer | None]:
        """What the fetcher would answer about an added key; None where the store of evidence is not at hand here."""
        settings, named = self._settings.evidence, self._settings.evidence.store
        kind, _, place = named.partition(":")
        if not named or (kind != "oci" and not Path(place).exists()):  # opening one would make it
            yield None
            return
        with ExitStack() as stack:
            try:
                store = stack.enter_context(open_store(named, registry_options(settings)))
            except PlaceError:
                store = None
            yield stored_answers(store) if store is not None else None

    def teams(self) -> Mapping[tuple[str, str], str]:
        """(cluster, namespace) -> team, of every namespace that was seen. Raises as `standing`."""
        routes = self._settings.owners.routes()
        owned: dict[tuple[str, str], str] = {}
        for record in self._log.read(CLUSTER_SIGHT):
            seen = read(record)
            if isinstance(seen, NamespaceObserved):
                owner = team_of(seen.cluster, seen.namespace, dict(seen.labels), routes)
                owned[seen.cluster, seen.namespace] = owner.team
        return owned

    # ------------------------------------------------------------------ what came of it

    def mark(self) -> dict[int, int]:
        """Where what the judges tell stands now; for `judged`."""
        return self._log.end_offsets(PARTS)

    def judged(self, mark: Mapping[int, int], epoch: int, deadline: float) -> Judged:
        """Wait until every shard has judged under `epoch`, until `deadline` (monotonic seconds).

        Raises:
            PlaceError: the broker does not answer.
        """
        reached: dict[int, ShardReached] = {}
        parts: dict[tuple[str, int, str, str], IncidentPart] = {}
        position = dict(mark)
        while True:
            for record in self._log.read(PARTS, position):
                position[record.partition] = record.position + 1
                said = read(record)
                if isinstance(said, ShardReached) and said.epoch >= epoch:
                    reached[said.shard] = said
                elif isinstance(said, IncidentPart) and said.epoch >= epoch:
                    parts[said.incident, said.shard, said.cluster, said.namespace] = said
            done = _all_of(reached)
            if done or time.monotonic() > deadline:
                return Judged(done, tuple(_touched(parts.values())))
            time.sleep(LOOK_EVERY)


def _all_of(reached: Mapping[int, ShardReached]) -> bool:
    return bool(reached) and len(reached) >= max(said.shards for said in reached.values())


def _touched(parts: Iterable[IncidentPart]) -> Iterator[TouchedIncident]:
    sums: dict[str, tuple[IncidentPart, int, int]] = {}
    for part in parts:
        _, containers, workloads = sums.get(part.incident, (part, 0, 0))
        sums[part.incident] = (part, containers + part.containers, workloads + part.workloads)
    for name, (part, containers, workloads) in sorted(sums.items()):
        yield TouchedIncident(short_id(name), part.kind, part.subject, containers, workloads)


def _rows(log: KafkaLog, state: ShardState) -> Iterator[tuple[str, str, bytes]]:
    """The rows of all shards as those of one; `state` gets the clock of the shard that is furthest."""
    folds: dict[int, StateFold] = {}
    for record in log.read(STATE):
        folds.setdefault(record.partition, StateFold()).take(record)
    taken: set[tuple[str, str]] = set()
    for _, fold in sorted(folds.items()):
        for kind, key, value in fold.rows():
            if kind == _CLOCK:
                clock = ShardState()
                clock.restore([(kind, key, value)])
                state.now = max(state.now, clock.now)
            elif kind not in _PER_SHARD and (kind, key) not in taken:  # two shards may share a class
                taken.add((kind, key))
                yield kind, key, value


def _newest_facts(log: KafkaLog) -> Iterator[EvidenceFound]:
    newest = {record.key: record for record in log.read(FACTS)}
    for record in newest.values():
        found = read(record)
        if isinstance(found, EvidenceFound):
            yield found
