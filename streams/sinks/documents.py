"""Documents of every event: what the record keeps of it, under the names of the field table. Pure.

    for made in documents(event): ...         nothing for events that another one covers (`PodObserved`)
    record.write(documents(event, KnownFromTrust(trust, owners)))

Ids come from the event, so a replay writes the same documents again and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from alerting.lifecycle import Lifecycle
from alerting.models import Finding, Incident, Silence
from streams.events import (
    ClaimObserved,
    ConfigurationObserved,
    ContainerChanged,
    DeadLetter,
    DecisionObserved,
    EvidenceFound,
    FeedSeen,
    NamespaceObserved,
    PastSeen,
    TrustChanged,
    VerdictReached,
)
from streams.sinks.claimed import of_claim
from streams.sinks.containers import of_container
from streams.sinks.document import Document
from streams.sinks.judged import of_evidence, of_finding, of_incident, of_lifecycle, of_silence, of_verdict
from streams.sinks.known import Known, KnownFromTrust, KnownNothing
from streams.sinks.observed import (
    of_configuration,
    of_deadletter,
    of_decision,
    of_feed,
    of_namespace,
)
from streams.sinks.trusted import of_trust

_MAKERS: Final[dict[type, Callable[[Any, Known], Iterator[Document]]]] = {
    DecisionObserved: of_decision,
    NamespaceObserved: of_namespace,
    ConfigurationObserved: of_configuration,
    ClaimObserved: of_claim,
    FeedSeen: of_feed,
    DeadLetter: of_deadletter,
    ContainerChanged: of_container,
    EvidenceFound: of_evidence,
    VerdictReached: of_verdict,
    Finding: of_finding,
    Incident: of_incident,
    Lifecycle: of_lifecycle,
    Silence: of_silence,
    TrustChanged: of_trust,
}
"""One maker per event that is kept. A pod's states are kept as its containers; ticks and requests are not kept."""


def _of_past(event: PastSeen, known: Known) -> Iterator[Document]:
    """The documents of what an archive says, marked: live, they were the same but for the mark."""
    for made in _MAKERS[type(event.what)](event.what, known):
        yield msgspec.structs.replace(made, body={**made.body, "provenance.looked_back": True})


_MAKERS[PastSeen] = _of_past
_NOTHING: Final = KnownNothing()


def documents(event: object, known: Known = _NOTHING) -> Iterator[Document]:
    """What the record keeps of an event.

    Raises:
        InputError: a trust record that no reader understands (it was never accepted by this program).
    """
    maker = _MAKERS.get(type(event))
    return maker(event, known) if maker is not None else iter(())


__all__ = ["Document", "Known", "KnownFromTrust", "documents"]
