"""The inputs of verdicts in the log of a state file. Implements `streams.replaying.Inputs`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from streams.codec import readable
from streams.engine.sqlite import Connection, trust_log
from streams.events import EvidenceFound, PodObserved
from streams.replaying import without_digest
from streams.topics import FACTS, OBSERVATIONS
from verifier.models import Micros, Reason


class LogInputs:
    """Reads each topic once, when it is first asked for."""

    facts = FACTS
    observations = OBSERVATIONS

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._evidence: dict[tuple[str, str], list[EvidenceFound]] | None = None
        self._problems: dict[str, dict[Reason, Micros]] | None = None

    def trust(self) -> Sequence[tuple[int, bytes]]:
        """See `Inputs.trust`. Raises InputError."""
        return trust_log(self._connection)

    def evidence(self, repository: str, digest: str) -> Sequence[EvidenceFound]:
        """See `Inputs.evidence`. Raises NewerSchemaError, an InputError."""
        if self._evidence is None:
            self._evidence = {}
            for event in self._events(FACTS):
                if isinstance(event, EvidenceFound):
                    self._evidence.setdefault((event.set.repository, event.set.digest), []).append(event)
        return self._evidence.get((repository, digest), ())

    def without_digest(self, repository: str) -> Sequence[tuple[Micros, Reason]]:
        """See `Inputs.without_digest`. Raises as `evidence`."""
        if self._problems is None:
            self._problems = {}
            for event in self._events(OBSERVATIONS):
                if isinstance(event, PodObserved):
                    for found, problem in without_digest(event.pod.containers):
                        times = self._problems.setdefault(found, {})
                        times[problem] = min(event.time, times.get(problem, event.time))
        return [(time, problem) for problem, time in self._problems.get(repository, {}).items()]

    def _events(self, topic: str) -> Iterator[object]:
        rows = self._connection.execute("SELECT value FROM log WHERE topic = ? ORDER BY position", (topic,))
        return readable(value for (value,) in rows)
