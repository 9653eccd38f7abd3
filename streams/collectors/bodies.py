"""Bodies of requests -> batches: every event observed, its reduced original, and what was counted on the way.

    bodies = Bodies(max_body=32 * MIB)
    batch = bodies.read("prod-eu", body, received=now)
    batch = bodies.read("prod-eu", body, received=now, kind="reports")     claims of other engines

One stream per cluster (its feed, its unbroken sight), so bodies of a cluster are read by one of these.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec

from streams.collectors.claims import REPORTS, claim_observed
from streams.collectors.deadletters import dead_letter
from streams.collectors.framing import MAX_BODY_BYTES, Refused
from streams.collectors.intake import Stream, read_stream
from streams.collectors.originals import reduced_original
from streams.collectors.reports import read_reports
from streams.events import DeadLetter, Observation

AUDIT: Final = "audit:"
"""Before the name of a cluster: the source of what its API servers sent."""


class Batch(msgspec.Struct, frozen=True):
    """What one body came to."""

    cluster: str
    observations: Sequence[Observation] = ()
    originals: Sequence[bytes] = ()
    records: Sequence[object] = ()
    """In the place of both, where another process made records for a broker of them."""
    observed: int = 0
    """How many observations it has."""
    events: int = 0
    """Events it held, also those that ask for nothing."""
    ignored: Mapping[str, int] = {}
    """Reason (of `deadletters.IGNORED`) -> events that made no observation."""
    letters: Mapping[str, int] = {}
    """Code (of `deadletters.CODES`) -> dead letters among the observations."""


BodyKind = Literal["audit", "reports"]
"""What a body holds: audit events, or what other engines say. The path says which."""


class Bodies:
    """Reads bodies of audit events and of reports."""

    def __init__(self, max_body: int = MAX_BODY_BYTES) -> None:
        """Each document in a body may have `max_body` bytes, after decompression."""
        self._max_body = max_body
        self._streams: dict[str, Stream] = {}

    def read(self, cluster: str, body: bytes, received: int, kind: BodyKind = "audit") -> Batch:
        """All of one body; `received` is when it came, microseconds. Never raises on content."""
        return self._audit(cluster, body, received) if kind == "audit" else self._reports(cluster, body, received)

    def _reports(self, cluster: str, body: bytes, received: int) -> Batch:
        """No originals: a claim is all that may be kept of a report, and holds all of it."""
        observations: list[Observation] = [
            dead_letter(found, source=REPORTS + cluster, time=received)
            if isinstance(found, Refused)
            else claim_observed(found, cluster=cluster, received=received)
            for found in read_reports([body], self._max_body)
        ]
        return Batch(
            cluster=cluster,
            observations=observations,
            observed=len(observations),
            events=len(observations),
            letters=_letters(observations),
        )

    def _audit(self, cluster: str, body: bytes, received: int) -> Batch:
        stream = self._streams.get(cluster)
        if stream is None:
            stream = self._streams[cluster] = Stream(cluster=cluster, source=AUDIT + cluster)
        before = Counter(stream.ignored)
        observations: list[Observation] = []
        originals: list[bytes] = []
        events = 0
        for raw in read_stream([body], source=stream.source, kind="audit", max_body=self._max_body):
            events += 1
            observations += stream.observe(raw, received=received)
            if not isinstance(raw, Refused) and (original := reduced_original(raw, stream.decoded)):
                originals.append(original)
        return Batch(
            cluster=cluster,
            observations=observations,
            originals=originals,
            observed=len(observations),
            events=events,
            ignored=dict(stream.ignored - before),
            letters=_letters(observations),
        )


def _letters(observations: Sequence[Observation]) -> dict[str, int]:
    return dict(Counter(o.code for o in observations if isinstance(o, DeadLetter)))
