"""Documents of what was observed: decisions, namespaces, configuration, feeds, dead letters. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from alerting.findings import environment_of
from alerting.routing import Ownership, Routes, team_of
from streams.events import (
    ConfigurationObserved,
    DeadLetter,
    DecisionObserved,
    FeedSeen,
    NamespaceObserved,
    Owner,
)
from streams.sinks.document import (
    Document,
    address,
    document,
    hashes,
    instant,
    path_id,
    prepared,
    reference_of,
)
from streams.sinks.known import Known, Labels
from verifier.models import ImageReference

_DECISIONS: Final = {
    "admitted": ("image-admission-allowed", "success", "allowed"),
    "denied": ("image-admission-denied", "failure", "denied"),
    "errored": ("image-admission-errored", "unknown", "info"),
}
"""Outcome -> (event.action, event.outcome, event.type)."""

_CHANGES: Final = {"create": "creation", "delete": "deletion"}
"""Operation -> ECS type; every other one is a change."""

_ROUTES: Final = Routes()
"""Routing of a namespace for which the writer was told no owner."""


def place(cluster: str, namespace: str, known: Known) -> dict[str, object]:
    """Where: cluster, namespace, owner."""
    return place_of(cluster, namespace, known.owner(cluster, namespace) if namespace else None, *known.cluster(cluster))


def place_of(cluster: str, namespace: str, owner: Ownership | None, name: str, labels: Labels) -> dict[str, object]:
    """`place`, from what is known of it."""
    body: dict[str, object] = {
        "orchestrator.type": "kubernetes",
        "orchestrator.cluster.id": cluster,
        "orchestrator.cluster.name": name,
        "orchestrator.namespace": namespace,
        **labelled(labels),
    }
    return body | owned(owner) if owner is not None else body


def labelled(labels: Labels) -> dict[str, object]:
    """The labels of a cluster, and the environment they name under a name of its own: members of a map cannot be
    offered to choose from.
    """
    return {"provenance.cluster.labels": dict(labels), "provenance.cluster.environment": environment_of(dict(labels))}


def owned(owner: Ownership) -> dict[str, object]:
    """Whose."""
    return {"provenance.owner.team": owner.team, "provenance.owner.source": owner.source}


def workload(cluster: str, namespace: str, owner: Owner) -> dict[str, object]:
    """Top owner of a pod; nothing when there is none."""
    if not owner.name:
        return {}
    return {
        "provenance.workload.id": path_id(cluster, namespace, owner.kind, owner.name),
        "provenance.workload.kind": owner.kind,
        "provenance.workload.name": owner.name,
    }


# ------------------------------------------------------------------------------------------------ decisions


def of_decision(event: DecisionObserved, known: Known) -> Iterator[Document]:
    """One admission document per decision. Several images stay values of `…asked`: none of them is *the* image."""
    action, outcome, kind = _DECISIONS[event.outcome]
    body: dict[str, object] = {
        "message": _decision_sentence(event),
        "event.kind": "event",
        "event.category": "api",
        "event.type": [_CHANGES.get(event.operation, "change"), kind],
        "event.action": action,
        "event.outcome": outcome,
        "event.reason": event.message or event.reason,
        **place(event.cluster, event.namespace, known),
        **workload(event.cluster, event.namespace, event.owner),
        **_asked(event),
        **_who(event),
        "orchestrator.resource.type": event.resource,
        "orchestrator.resource.name": event.name,
        "orchestrator.resource.id": event.uid,
        "kubernetes.audit.auditID": event.audit_id,
        "http.response.status_code": event.code or None,
        "provenance.admission.id": event.id,
        "provenance.admission.decision": event.outcome,
        "provenance.admission.operation": event.operation,
        "provenance.admission.engine": event.engine,
        "provenance.admission.webhook": event.by,
        "provenance.admission.dry_run": event.dry_run,
        "provenance.admission.break_glass": bool(event.break_glass),
        "provenance.admission.beside_rules": list(_beside_rules(event)),
        "provenance.admission.mark": event.break_glass,
        "provenance.admission.failed_open": event.failed_open,
        "provenance.admission.exempt": event.exempt,
        "provenance.admission.audited": event.audited,
        "provenance.admission.mutated_by": event.mutated_by,
        "provenance.admission.impersonated_by": event.impersonated_by,
        "provenance.admission.truncated": event.truncated,
    }
    if event.resource.partition("/")[0] == "pods":
        body["kubernetes.pod.name"], body["kubernetes.pod.uid"] = event.name, event.uid
    yield document("admission", event.id, event.time, prepared(body))


def _beside_rules(event: DecisionObserved) -> Iterator[str]:
    """How an admitted request came in although a rule spoke, or might have spoken, against it."""
    if event.outcome == "admitted":
        told = (event.break_glass, event.failed_open, event.exempt, event.audited)
        yield from (name for name, found in zip(BESIDE_RULES, told, strict=True) if found)


BESIDE_RULES: Final = ("break-glass", "failed-open", "engine-exemption", "engine-audit")
"""Values of `provenance.admission.beside_rules`."""


def _who(event: DecisionObserved) -> dict[str, object]:
    addresses = [a for a in map(_address, event.source_ips) if a]
    return {
        "user.name": event.user,
        "user.roles": event.groups,
        "user_agent.original": event.user_agent,
        "source.ip": addresses[0] if addresses else "",
        "related.ip": addresses,
        "related.user": [event.user, event.impersonated_by],
    }


def _address(text: str) -> str:
    """An address in its shortest form; empty when it is none: Elasticsearch refuses a whole document for a bad one."""
    try:
        return address(text)
    except ValueError:
        return ""


def _asked(event: DecisionObserved) -> dict[str, object]:
    texts = [text for image in event.images for text in (image.submitted, image.stored) if text]
    parsed = [reference for reference in map(reference_of, texts) if reference is not None]
    body: dict[str, object] = {
        "provenance.image.asked": [*texts, *map(str, parsed), *(r.digest for r in parsed)],
        "provenance.image.unresolved": [r.repository for r in _as_admitted(event) if not r.digest],
        "provenance.image.count": len(event.images),
        "provenance.images": [
            {"container": i.container, "kind": i.kind, "submitted": i.submitted, "stored": i.stored}
            for i in event.images
        ],
        "related.hash": hashes(*(r.digest for r in parsed)),
        "provenance.image.reference": [str(r) for r in parsed],
    }
    if len(event.images) == 1:
        body["container.name"] = event.images[0].container
        body["container.image.name"] = event.images[0].stored or event.images[0].submitted
        body["provenance.container.kind"] = event.images[0].kind
    return body


def _as_admitted(event: DecisionObserved) -> Iterator[ImageReference]:
    """Images as they were stored, where that is known: a webhook may have put a digest in the place of a tag."""
    found = (reference_of(image.stored or image.submitted) for image in event.images)
    return (reference for reference in found if reference is not None)


def _decision_sentence(event: DecisionObserved) -> str:
    what = f"{event.operation} {event.resource} {event.namespace}/{event.name or event.owner.name or '(unnamed)'}"
    by = f" by {event.by} ({event.engine})" if event.by else f" by {event.engine}" if event.engine else ""
    outcome = event.outcome if event.outcome == "admitted" else f"{event.outcome}{by}"
    parts = [f"{what} {outcome}, asked for by {event.user or 'nobody'}"]
    if event.images:
        shown = ", ".join(i.stored or i.submitted for i in event.images[:3])
        parts.append(f"images {shown}" + (f" and {len(event.images) - 3} more" if len(event.images) > 3 else ""))
    if event.failed_open:
        parts.append(f"not asked: {', '.join(event.failed_open)}")
    if event.break_glass:
        parts.append(f"break-glass {event.break_glass}")
    if event.exempt:
        parts.append(f"exempt: {event.exempt}")
    if event.dry_run:
        parts.append("a dry run")
    if event.outcome != "admitted" and event.message:
        parts.append(event.message)
    return "; ".join(parts)


# ------------------------------------------------------------------------------------------------ cluster


def of_namespace(event: NamespaceObserved, known: Known) -> Iterator[Document]:
    """What was said, and whose it is now. One that is gone keeps its last row: its ended containers had an owner."""
    owner = known.owner(event.cluster, event.namespace)
    owner = owner or team_of(event.cluster, event.namespace, dict(event.labels), _ROUTES)
    body: dict[str, object] = {
        "message": f"namespace {event.namespace} of cluster {event.cluster} "
        + ("is gone" if event.gone else f"belongs to {owner.team} ({owner.source})"),
        "event.kind": "state",
        "event.category": "configuration",
        "event.type": "deletion" if event.gone else "info",
        "event.action": "namespace-gone" if event.gone else "namespace-observed",
        "provenance.state": "gone" if event.gone else "",
        **place_of(event.cluster, event.namespace, owner, *known.cluster(event.cluster)),
        "kubernetes.namespace_labels": dict(event.labels),
    }
    made = prepared(body)
    yield document("namespace", event.id, event.time, made)
    if not event.gone:
        yield document("namespaces", path_id(event.cluster, event.namespace), event.time, made, version=event.time)


def of_configuration(event: ConfigurationObserved, known: Known) -> Iterator[Document]:
    """Who changed what admission is made of."""
    _, outcome, kind = _DECISIONS[event.outcome]
    tried = "" if event.outcome == "admitted" else f" ({event.outcome})"
    body = prepared(
        {
            "message": f"{event.user or 'nobody'} did {event.operation} {event.resource} {event.name}{tried}",
            "event.kind": "event",
            "event.category": "configuration",
            "event.type": [_CHANGES.get(event.operation, "change"), *(["denied"] if kind == "denied" else [])],
            "event.action": f"admission-configuration-{event.operation}",
            "event.outcome": outcome,
            **place(event.cluster, "", known),
            "orchestrator.resource.type": event.resource,
            "orchestrator.resource.name": event.name,
            "provenance.admission.operation": event.operation,
            "user.name": event.user,
            "related.user": [event.user],
        }
    )
    yield document("configuration", event.id, event.time, body)


def of_feed(event: FeedSeen, known: Known) -> Iterator[Document]:
    """One row per unbroken stretch of sight: what lies between two of them is a gap."""
    body = prepared(
        {
            "message": f"feed {event.feed} of cluster {event.cluster} is seen since {instant(event.since)}",
            "event.kind": "state",
            "event.action": "feed-seen",
            **place(event.cluster, "", known),
            "provenance.feed.name": event.feed,
            "provenance.feed.since": instant(event.since),
            "provenance.feed.last": instant(max(event.time, event.since)),
        }
    )
    named = path_id(event.cluster, event.feed, str(event.since))
    yield document("feeds", named, event.time, body, version=event.time)


def of_deadletter(event: DeadLetter, known: Known) -> Iterator[Document]:
    """What could not be read: an event, and a thing to be dealt with."""
    del known
    body: dict[str, object] = {
        "message": f"{event.source} could not be read ({event.code}): {event.message}",
        "event.kind": "pipeline_error",
        "event.action": "input-refused",
        "event.outcome": "failure",
        "event.code": event.code,
        "event.reason": event.message,
        "error.code": event.code,
        "error.message": event.message,
        "provenance.deadletter.source": event.source,
        "provenance.deadletter.size": event.size,
        "provenance.deadletter.sha256": event.sha256,
        "provenance.deadletter.excerpt": event.excerpt,
        "related.hash": hashes(f"sha256:{event.sha256}" if event.sha256 else ""),
    }
    made = prepared(body)
    yield document("deadletter", event.id, event.time, made)
    yield document("deadletters", event.id, event.time, made, {"provenance.state": "open"}, version=event.time)
