"""What a look-back makes of archived audit events: history for the record, and requests for evidence of today. Pure.

    look = LookBack("prod-eu", asked=now)
    for raw in read_stream(chunks, source=name): made = look.of(stream.decoded, stream.observe(raw))

Nothing of it depends on the order of events: ids derive from what was observed, and sight of an archive is told by the
hour, whatever files it came in. Refuses to tell anybody: what ended long ago is no news (`PastSeen` has no handler).
Pods, namespaces that are listed, and dead letters are of today, and go their way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from streams.collectors import wire
from streams.collectors.audit import event_time
from streams.events import (
    ConfigurationObserved,
    DecisionObserved,
    EvidenceWanted,
    FeedSeen,
    NamespaceObserved,
    Observation,
    PastSeen,
)
from verifier.canonical import stable_id
from verifier.errors import ImageReferenceError
from verifier.models import Micros
from verifier.reference import is_digest, parse_reference
from verifier.times import HOUR

_Past = DecisionObserved | NamespaceObserved | ConfigurationObserved


class LookBack:
    """What one run has told of the archives of one cluster."""

    def __init__(self, cluster: str, asked: Micros) -> None:
        """`asked`: when evidence is asked for. It is of that day, and not of the archives'."""
        self._cluster, self._asked = cluster, asked
        self._hours: set[Micros] = set()
        self._images: set[tuple[str, str]] = set()

    def of(self, event: wire.Event | None, observed: Iterable[Observation]) -> Iterator[Observation | EvidenceWanted]:
        """What becomes of the observations of one item.

        Args:
            event: the audit event they are of (`Stream.decoded`); None: the item is something else.
            observed: as `Stream.observe` gave them.
        """
        time = event_time(event) if event is not None else None
        if time is not None:
            yield from self._seen(time)
        for one in observed:
            if isinstance(one, FeedSeen) and one.feed == "audit":
                continue  # told by the hour
            if event is None or not isinstance(one, _Past):
                yield one
                continue
            yield PastSeen(one.id, one.time, one)
            if isinstance(one, DecisionObserved) and one.outcome == "admitted" and not one.dry_run:
                yield from self._wanted(one)

    def _seen(self, time: Micros) -> Iterator[PastSeen]:
        """An hour of which something is archived, once."""
        since = time - time % HOUR
        if since not in self._hours:
            self._hours.add(since)
            name = stable_id("archive-hour", self._cluster, since)
            seen = FeedSeen(id=name, time=since + HOUR, cluster=self._cluster, feed="audit", since=since)
            yield PastSeen(name, seen.time, seen)

    def _wanted(self, decision: DecisionObserved) -> Iterator[EvidenceWanted]:
        """The evidence of images that are named by digest, each asked for once. What a tag meant nobody can ask."""
        for text in (text for image in decision.images for text in (image.submitted, image.stored)):
            try:
                reference = parse_reference(text)
            except ImageReferenceError:
                continue
            image = (reference.repository, reference.digest)
            if is_digest(reference.digest) and image not in self._images:
                self._images.add(image)
                name = stable_id("evidence-wanted", *image, "look-back", self._asked)
                yield EvidenceWanted(name, self._asked, *image)
