"""Documents of containers. Pure.

Half of what the record is told are containers, and most of what is said of one is said of many: those parts of a body
are made once and shared. The caches are of pure functions, so nothing depends on what is in them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from alerting.routing import Ownership
from streams.events import ContainerChanged, Owner, PolicyVerdict
from streams.sinks.document import (
    Body,
    Document,
    clean,
    document,
    hashes,
    image_fields,
    instant,
    instant_or_none,
    prepared,
    shown_image,
)
from streams.sinks.known import Known, Labels
from streams.sinks.observed import place_of, workload
from verifier.models import Outcome
from verifier.verify import worst

_SHARED: Final = 16_384
"""Bodies of one kind kept: workloads, images, verdicts in use; each a kilobyte or two."""


def of_container(event: ContainerChanged, known: Known) -> Iterator[Document]:
    """The instance as it is now, and its start and its end as history (each once, whatever is said of it later)."""
    owner = known.owner(event.cluster, event.namespace) if event.namespace else None
    shared = (
        _where(event.cluster, event.namespace, event.owner, owner, *known.cluster(event.cluster)),
        _what(event.image, event.repository, event.digest),
        prepared(_itself(event)),
    )
    tell = _Sentence(event)
    verdict, judged = _judged(event.verdicts)
    now = prepared(_now(event, tell.that(f"is {event.state}, {verdict or 'not judged'}")))
    labels = _labels(event.labels)
    yield document("containers", event.id, event.time, *shared, judged, labels, now, version=event.sequence)
    if not event.class_id:
        return
    if event.started is not None:
        started = _edge(event, "container-started", "start", tell.that("started"))
        yield document("lifecycle", f"{event.id}:start", event.started, *shared, started)
    if event.ended is not None:
        why = f"ended ({event.end_reason})" if event.end_reason else "ended"
        ended = _edge(event, "container-terminated", "end", tell.that(why))
        made = (*shared, ended, prepared(_run_end(event)))
        yield document("lifecycle", f"{event.id}:end:{event.ended}", event.ended, *made)


@lru_cache(maxsize=_SHARED)
def _where(cluster: str, namespace: str, owner: Owner, team: Ownership | None, name: str, labels: Labels) -> Body:
    """Cluster, namespace and workload."""
    return prepared({**place_of(cluster, namespace, team, name, labels), **workload(cluster, namespace, owner)})


@lru_cache(maxsize=_SHARED)
def _what(image: str, repository: str, digest: str) -> Body:
    """The image that runs."""
    found: dict[str, object] = {"container.image.hash.all": digest, "related.hash": hashes(digest)}
    return {**prepared(found), **image_fields(image, repository, digest)}


@lru_cache(maxsize=_SHARED)
def _labels(labels: Labels) -> Body:
    """Labels of the pod."""
    return prepared({"kubernetes.labels": dict(labels)})


@lru_cache(maxsize=_SHARED)
def _judged(verdicts: tuple[PolicyVerdict, ...]) -> tuple[str, Body]:
    """The verdict of a container, the worst of its policies, and what each says; an exemption changes none."""
    outcomes: list[Outcome] = [v.outcome for v in verdicts]  # type: ignore[misc]  # written by the judge
    verdict = worst(outcomes) if outcomes else ""
    return verdict, prepared(
        {
            "provenance.verdict": verdict,
            "provenance.reason.code": [code for v in verdicts for code in v.codes],
            "provenance.policy.id": [v.policy for v in verdicts],
            "provenance.policy.violated": [v.policy for v in verdicts if v.outcome == "violates"],
            "provenance.policy.unverifiable": [v.policy for v in verdicts if v.outcome == "unverifiable"],
            "provenance.exemption.id": [v.exempted_by for v in verdicts],
            "provenance.policies": [
                {
                    "policy": v.policy,
                    "version": v.version,
                    "mode": v.mode,
                    "verdict": v.outcome,
                    "reasons": list(v.codes),
                    "exempted_by": v.exempted_by,
                }
                for v in verdicts
            ],
        }
    )


def _itself(event: ContainerChanged) -> dict[str, object]:
    """What never changes about an instance."""
    return {
        "container.name": event.name,
        "kubernetes.pod.name": event.pod,
        "kubernetes.pod.uid": event.pod_uid,
        "kubernetes.node.name": event.node,
        "provenance.container.id": event.id,
        "provenance.container.kind": event.kind,
        "provenance.class.id": event.class_id,
        "provenance.workload.service_account": event.service_account,
        "provenance.workload.static": event.mirror or None,
        "provenance.run.started": instant_or_none(event.started),
    }


def _now(event: ContainerChanged, sentence: str) -> dict[str, object]:
    """State."""
    return {
        "message": sentence,
        "event.kind": "state",
        "event.category": "process",
        "event.type": "info",
        "event.sequence": event.sequence,
        "provenance.admission.id": event.admitted_by,
        "provenance.state": event.state,
        **_run_end(event),
    }


def _run_end(event: ContainerChanged) -> dict[str, object]:
    return {
        "provenance.run.ended": instant_or_none(event.ended),
        "provenance.run.ended_after": instant_or_none(event.ended_after),
        "provenance.run.end_reason": event.end_reason,
    }


def _edge(event: ContainerChanged, action: str, kind: str, sentence: str) -> Body:
    """A start or end. The first one that is written stays, so it holds when this was first known."""
    return {
        "provenance.run.known_from": instant(event.time),
        "message": clean(sentence),
        "event.kind": "event",
        "event.category": "process",
        "event.type": kind,
        "event.action": action,
        "event.outcome": "success",
    }


class _Sentence:
    """What is said of one container, but for the verb."""

    __slots__ = ("_image", "_who")

    def __init__(self, event: ContainerChanged) -> None:
        owner = event.owner
        where = f"{event.namespace}/{owner.kind}/{owner.name}" if owner.name else event.namespace
        self._who = f"{event.name} of {where} (pod {event.pod}, cluster {event.cluster})"
        self._image = shown_image(event.repository, event.digest, event.image)

    def that(self, verb: str) -> str:
        return f"{self._who} {verb}: {self._image}"
