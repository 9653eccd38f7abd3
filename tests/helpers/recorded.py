"""The small world with a record: every input and output becomes documents, parts become incidents.

world = RecordedWorld(keys=("dev",))
world.send(world.pod("shop", "api-1", {"app": image}))
world.reader.find("revet-state-containers", EVERYTHING)
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field

from alerting.models import IncidentPart, ShardReached
from alerting.routing import Ownership, Routes, team_of
from streams.alerter import Alerter
from streams.events import NamespaceObserved
from streams.queries.memory import MemoryRecord
from streams.queries.port import RecordReader
from streams.queries.sqlite import SqliteReader
from streams.sinks.document import Document
from streams.sinks.documents import KnownFromTrust, documents
from streams.sinks.port import RecordSink
from streams.sinks.sqlite import SqliteRecord
from tests.helpers.world import World
from verifier.canonical import stable_id


def sqlite_record() -> tuple[RecordSink, RecordReader]:
    """A record in memory, in SQLite."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    return SqliteRecord(connection), SqliteReader(connection)


def memory_record() -> tuple[RecordSink, RecordReader]:
    """A record in memory, in plain Python."""
    record = MemoryRecord()
    return record, record


RECORDS = {"sqlite": sqlite_record, "memory": memory_record}
"""Every implementation of the two ports; the contract suite runs on each."""


@dataclass
class RecordedWorld(World):
    """A world whose every event is kept."""

    store: str = "sqlite"
    written: list[Document] = field(default_factory=list)
    owners: dict[tuple[str, str], Ownership] = field(default_factory=dict)
    alerter: Alerter = field(default_factory=Alerter)

    def __post_init__(self) -> None:
        self.sink, self._reader = RECORDS[self.store]()
        self._late: list[Document] = []
        super().__post_init__()

    @property
    def reader(self) -> RecordReader:
        """Answers. What was kept since the last time is written now, in one go: a server takes a while for each."""
        if self._late:
            self.sink.write(self._late)
            self._late = []
        return self._reader

    def send(self, *events: object) -> list[object]:
        """As the world does, and keeps what it was sent."""
        start = len(self.outputs)
        for event in events:
            self.keep(event)
            super().send(event)
            for out in self.alerter.tick(self.now):
                self.keep(out)
        return self.outputs[start:]

    def observe(self, *events: object) -> None:
        """Inputs that are only kept (namespaces, configuration, dead letters)."""
        for event in events:
            if isinstance(event, NamespaceObserved):
                owner = team_of(event.cluster, event.namespace, dict(event.labels), Routes())
                self.owners[event.cluster, event.namespace] = owner
                for out in self.alerter.handle(event, self.now):
                    self.keep(out)
            self.keep(event)

    def namespace(self, name: str, **labels: str) -> None:
        """A namespace and its labels."""
        made = stable_id("namespace", self.cluster, name, str(sorted(labels.items())), self.now)
        self.observe(NamespaceObserved(made, self.now, self.cluster, name, tuple(sorted(labels.items()))))

    def keep(self, event: object) -> None:
        """Keep an event's documents; they are written before anything is read."""
        made = list(documents(event, KnownFromTrust(self.state.trust, self.owners)))
        self.written += made
        self._late += made

    def _take(self, outputs: list[object]) -> None:
        for out in outputs:
            self.keep(out)
            if isinstance(out, (IncidentPart, ShardReached)):
                for told in self.alerter.handle(out, self.now):
                    self.keep(told)
        super()._take(outputs)
