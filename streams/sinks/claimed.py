"""Documents of what other engines say. Pure.

A dataset of its own: nothing in it is a decision, a verdict or a finding.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from streams.events import ClaimObserved
from streams.sinks.document import Document, document, hashes, instant_or_none, prepared, reference_of
from streams.sinks.known import Known
from streams.sinks.observed import place

_OUTCOMES: Final = {"pass": "success", "fail": "failure"}
"""Result -> event.outcome. A warning, an error and a skip say neither."""
_SHOWN: Final = 3
"""Images that the sentence names."""


def of_claim(event: ClaimObserved, known: Known) -> Iterator[Document]:
    """One document per claim."""
    body: dict[str, object] = {
        "message": _sentence(event),
        "event.kind": "event",
        "event.action": f"engine-claimed-{event.result}",
        "event.outcome": _OUTCOMES.get(event.result, "unknown"),
        "event.reason": event.message,
        **place(event.cluster, event.namespace, known),
        "orchestrator.resource.type": event.kind,
        "orchestrator.resource.name": event.name,
        "orchestrator.resource.id": event.uid,
        "provenance.claim.result": event.result,
        "provenance.claim.engine": event.engine,
        "provenance.claim.policy": event.policy,
        "provenance.claim.rule": event.rule,
        "provenance.claim.feed": event.feed,
        "provenance.claim.at_admission": event.at_admission,
        "provenance.claim.said": instant_or_none(event.said),
        **_images(event),
    }
    if event.kind == "Pod":
        body["kubernetes.pod.name"], body["kubernetes.pod.uid"] = event.name, event.uid
    yield document("claim", event.id, event.time, prepared(body))


def _images(event: ClaimObserved) -> dict[str, object]:
    """Every image as it was written, normalised, and its digest; several of them make none *the* image."""
    parsed = [reference for reference in map(reference_of, event.images) if reference is not None]
    return {
        "provenance.image.asked": [*event.images, *map(str, parsed), *(r.digest for r in parsed)],
        "provenance.image.reference": [str(r) for r in parsed],
        "related.hash": hashes(*(r.digest for r in parsed)),
    }


def _sentence(event: ClaimObserved) -> str:
    thing = f"{event.kind or 'object'} {event.namespace}/{event.name}" if event.name else ""
    images = ", ".join(event.images[:_SHOWN])
    more = f" and {len(event.images) - _SHOWN} more" if len(event.images) > _SHOWN else ""
    about = thing or f"{images}{more}" or (f"namespace {event.namespace}" if event.namespace else "something")
    rule = "/".join(part for part in (event.policy, event.rule) if part)
    said = f"{event.engine or event.feed} says {event.result} of {about}" + (f" ({rule})" if rule else "")
    return f"{said}: {event.message}" if event.message else said
