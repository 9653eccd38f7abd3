"""Audit events of a Kubernetes API server -> observations. Which events matter; what they say is for `decisions`.

Reads audit.k8s.io v1, v1beta1 and v1alpha1. An event is a decision about a workload, a namespace's labels, a change of
admission configuration, or `Ignored` with a reason that is counted: an event never disappears.

    read_event(wire.AUDIT.decode(line), Origin("c1"))      # [DecisionObserved(outcome="denied", …)]
"""

from __future__ import annotations

from typing import Final

from streams.collectors import wire
from streams.collectors.deadletters import Ignored, Problem
from streams.collectors.decisions import Marks, Origin, decision_id, is_dry_run, judge, read_decision
from streams.collectors.namespaces import namespace_observed
from streams.collectors.reduce import MAX_NAME, keeps_annotation
from streams.events import ConfigurationObserved, DecisionObserved, NamespaceObserved

AuditObservation = DecisionObserved | NamespaceObserved | ConfigurationObserved

WORKLOADS: Final[dict[tuple[str, str], str]] = {
    ("", "pods"): "Pod",
    ("", "replicationcontrollers"): "ReplicationController",
    ("apps", "deployments"): "Deployment",
    ("apps", "statefulsets"): "StatefulSet",
    ("apps", "daemonsets"): "DaemonSet",
    ("apps", "replicasets"): "ReplicaSet",
    ("batch", "jobs"): "Job",
    ("batch", "cronjobs"): "CronJob",
    ("extensions", "deployments"): "Deployment",  # before 1.16
    ("extensions", "daemonsets"): "DaemonSet",
    ("extensions", "replicasets"): "ReplicaSet",
}
"""(API group, resource) -> kind of everything that holds pods' images."""

CONFIGURATION: Final[dict[str, frozenset[str] | None]] = {
    "admissionregistration.k8s.io": None,
    "config.gatekeeper.sh": None,
    "config.ratify.deislabs.io": None,
    "constraints.gatekeeper.sh": None,
    "externaldata.gatekeeper.sh": None,
    "kyverno.io": frozenset({"clusterpolicies", "policies", "policyexceptions"}),
    "mutations.gatekeeper.sh": None,
    "policies.kubewarden.io": None,
    "policies.kyverno.io": None,
    "policy.sigstore.dev": None,
    "templates.gatekeeper.sh": None,
}
"""API group -> resources (None: all) that say what admission asks for. A change here can switch verification off."""

OPERATIONS: Final[dict[str, str]] = {
    "create": "create",
    "update": "update",
    "patch": "patch",
    "delete": "delete",
    "deletecollection": "delete",
}

_READS: Final = frozenset({"get", "list", "watch"})
_DECIDED: Final = frozenset({"ResponseComplete", "Panic"})
"""Stages that have an outcome. The others (RequestReceived, ResponseStarted) come before it."""

_SUBRESOURCES: Final[dict[str, str]] = {
    "attach": "attach",
    "binding": "binding",
    "eviction": "eviction",
    "exec": "exec",  # verb get or create; code 101 even when it failed
    "finalize": "finalize",
    "portforward": "portforward",
    "proxy": "proxy",
    "resize": "resize",
    "scale": "scale",
    "status": "status",
    "token": "token",
}


def event_time(event: wire.Event) -> int | None:
    """Microseconds: when the request was received, else the stage's time, else what older versions wrote."""
    if (received := wire.instant(event.received)) is not None:
        return received
    created = event.metadata.creation_timestamp if event.metadata else None
    for text in (event.staged, event.timestamp, created):
        if text and (time := wire.instant(text)) is not None:
            return time
    return None


def is_watched(reference: wire.ObjectRef | None) -> bool:
    """Whether the objects of an event about this resource are kept at all."""
    if reference is None:
        return False
    key = (reference.api_group or "", reference.resource or "")
    return key in WORKLOADS or key == ("", "namespaces")


def read_event(
    event: wire.Event, origin: Origin, *, received: int | None = None
) -> list[AuditObservation] | Ignored | Problem:
    """The observations of one event, or why there are none.

    Args:
        event: decoded by `wire.AUDIT`.
        origin: who told it.
        received: microseconds; taken as the time of an event that has none.
    """
    if event.stage not in _DECIDED:
        return Ignored("stage") if event.stage else Problem("member-missing", "stage")
    reference = event.object_ref
    if reference is None or not reference.resource:
        return Ignored("no-object")
    resource, verb = reference.resource, event.verb or ""
    key = (reference.api_group or "", resource)
    if reference.subresource and (resource, reference.subresource) != ("pods", "ephemeralcontainers"):
        return Ignored(_SUBRESOURCES.get(reference.subresource, "subresource"))
    if (operation := OPERATIONS.get(verb)) is None:
        return Ignored("read" if verb in _READS else "verb")
    kind = WORKLOADS.get(key)
    configuration = kind is None and _is_configuration(*key)
    if kind is None and not configuration and key != ("", "namespaces"):
        return Ignored("resource")
    time = event_time(event)
    time = received if time is None else time
    if time is None:
        return Problem("time-missing")
    if kind:
        return read_decision(event, kind, operation, time, origin)  # type: ignore[return-value] # members of the union
    if configuration:
        return _configuration(event, operation, time, origin)
    return _namespace(event, operation, time, origin)


def _is_configuration(group: str, resource: str) -> bool:
    if group not in CONFIGURATION:
        return False
    resources = CONFIGURATION[group]
    return resources is None or resource in resources


def _configuration(event: wire.Event, operation: str, time: int, origin: Origin) -> list[AuditObservation] | Ignored:
    judgement = judge(event, Marks(event.annotations))
    if isinstance(judgement, Ignored):
        return judgement
    if is_dry_run(event):
        return Ignored("dry-run-configuration")
    reference, actor = event.object_ref or wire.ObjectRef(), event.impersonated_user or event.user
    return [
        ConfigurationObserved(
            id=decision_id(event, "configuration", origin),
            time=time,
            cluster=origin.cluster,
            operation=operation,
            resource=reference.resource or "",
            name=reference.name or "",
            user=((actor.username if actor else None) or "")[:MAX_NAME],
            outcome=judgement.outcome,
            source=origin.source,
        )
    ]


def _namespace(event: wire.Event, operation: str, time: int, origin: Origin) -> list[AuditObservation] | Ignored:
    """A namespace's labels, and for a change also who made it: a label can take a namespace out of verification."""
    judgement = judge(event, Marks(event.annotations))
    if isinstance(judgement, Ignored):
        return judgement
    if judgement.outcome != "admitted":
        return Ignored("namespace-refused")
    if is_dry_run(event):
        return Ignored("dry-run-configuration")
    observed: list[AuditObservation] = []
    stored = event.response_object
    if stored is None and operation in ("create", "update") and isinstance(event.request_object, wire.Object):
        stored = event.request_object  # level Request
    meta = stored.metadata if stored and stored.kind == "Namespace" else None
    if meta and meta.name:
        labels = {key: wire.text_of(value) for key, value in (meta.labels or {}).items()}
        notes = {key: value for key, value in (meta.annotations or {}).items() if keeps_annotation(key, namespace=True)}
        observed.append(
            namespace_observed(meta.name, labels, notes, cluster=origin.cluster, source=origin.source, time=time)
        )
    if operation != "create" or not observed:
        changes = _configuration(event, operation, time, origin)
        observed.extend(changes if isinstance(changes, list) else [])
    return observed
