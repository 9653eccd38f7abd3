"""The allow-list: what of a cluster's records is kept, in one place. Everything else never leaves the receiver.

The first half of the reduction is the typed decoding of `wire.py`: a member that has no field there is never read. This
module holds the second half, for members whose *names or texts* are open (annotations, query parameters, patches,
messages), and writes the reduced original that `revet.raw` keeps, so that a mended parser can be run over it again:

    observe(reduced_original(item)) == observe(item)        # a property under test

docs/privacy.md tells the same in prose; a test compares the two.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

import msgspec

from streams.collectors import engines, wire

BREAK_GLASS: Final = "break-glass"
"""Name part (behind the `/`) of labels and annotations that mark a deliberate bypass, whatever the prefix."""

OBJECT_ANNOTATIONS: Final = frozenset(
    {
        "kubernetes.io/config.mirror",
        "kubernetes.io/config.source",
        "kyverno.io/verify-images",
        "kyverno.io/verify-images-scoped",
    }
)
"""Annotations of pods and workloads that are kept, beside the break-glass marks."""

NAMESPACE_ANNOTATIONS: Final = frozenset({"contact", "cost-center", "department", "owner", "team", "tenant"})
"""Name parts of namespace annotations that are kept, for ownership; e.g. `example.com/team`."""

AUDIT_ANNOTATIONS: Final = frozenset(
    {
        "audit.k8s.io/truncated",
        "authorization.k8s.io/decision",
        "pod-security.kubernetes.io/audit-violations",
        "pod-security.kubernetes.io/exempt",
        "validation.policy.admission.k8s.io/validation_failure",
    }
)
"""Annotations of audit events that are kept whole."""

AUDIT_PREFIXES: Final = frozenset(
    {
        "failed-open.mutation.webhook.admission.k8s.io",
        "failed-open.validating.webhook.admission.k8s.io",
        "image-policy.k8s.io",
        "imagepolicywebhook.image-policy.k8s.io",
        "mutation.webhook.admission.k8s.io",
    }
)
"""Prefixes (before the `/`) of annotations of audit events that are kept whole. A webhook's own are not: it may write
anything."""

PATCH_PREFIX: Final = "patch.webhook.admission.k8s.io"
"""The patch of a mutating webhook: kept without everything but images, since it may inject environment."""

URI_PARAMETERS: Final = frozenset(
    {"dryRun", "fieldManager", "fieldSelector", "fieldValidation", "force", "gracePeriodSeconds", "labelSelector",
     "orphanDependents", "propagationPolicy", "resourceVersion", "timeout"}
)  # fmt: skip
"""Query parameters that are kept; `command` of an exec, for one, is not."""

MAX_MESSAGE: Final = 2048
"""Characters of a message that are kept. Gatekeeper and Kyverno can write a paragraph per policy."""

MAX_NAME: Final = 512
"""Characters of a client's own words (user agent, user name) that are kept."""

MAX_PATH: Final = 2048
"""Characters of a request's path that are kept; names are at most 253 each."""


def is_break_glass(key: str) -> bool:
    """Whether a label or annotation key marks a break-glass request."""
    return key.endswith(BREAK_GLASS) and (len(key) == len(BREAK_GLASS) or key[-len(BREAK_GLASS) - 1] == "/")


def _reduced_query(query: str) -> str:
    kept = [pair[:MAX_NAME] for pair in query.split("&") if pair.partition("=")[0] in URI_PARAMETERS]
    return "?" + "&".join(kept) if kept else ""


_KNOWN_QUERY: Final = 128
_known_query: Final = lru_cache(maxsize=512)(_reduced_query)
"""Clients send the same few short queries over and over."""


def reduced_uri(uri: str) -> str:
    """A request URI with allowed parameters only, in their order. The decision's id is taken from this form."""
    path, mark, query = uri.partition("?")
    if not mark:
        return path[:MAX_PATH]
    return path[:MAX_PATH] + (_known_query(query) if len(query) <= _KNOWN_QUERY else _reduced_query(query))


# -------------------------------------------------------------------------------------------------------- JSON patches

_GROUPS: Final = "containers|initContainers|ephemeralContainers|volumes"
_ENTRY: Final = re.compile(
    r"/spec/(?:template/spec/|jobTemplate/spec/template/spec/)?"
    rf"({_GROUPS})(?:/(\d{{1,4}}|-))?(/image(?:/reference)?)?"
)


class PatchedEntry(msgspec.Struct, frozen=True, gc=False):
    """A container or image volume that an operation of a JSON patch sets, wholly or only its image."""

    group: str
    """Member of the pod's spec."""
    index: int | None
    """Position; None for the end (`-`)."""
    added: bool
    """A new entry, not a new image of an old one."""
    name: str
    image: str
    sidecar: bool = False


def patched_entries(operation: wire.PatchOp) -> list[PatchedEntry]:
    """The images an operation sets; nothing for every other operation."""
    found = _ENTRY.fullmatch(operation.path or "")
    if found is None or operation.op not in ("add", "replace"):
        return []
    group, position, image = found[1], found[2], found[3]
    index = None if position in (None, "-") else int(position)
    if image:
        return [PatchedEntry(group, index, False, "", wire.text_of(operation.value))]
    try:
        values = _entries(group, operation.value, many=position is None)
    except wire.UNREADABLE:
        return []
    added = operation.op == "add" or position is None
    return [
        PatchedEntry(group, number if position is None else index, added, name, image, sidecar)
        for number, (name, image, sidecar) in enumerate(values)
    ]


_CONTAINERS: Final = msgspec.json.Decoder(list[wire.Container])
_CONTAINER: Final = msgspec.json.Decoder(wire.Container)
_VOLUMES: Final = msgspec.json.Decoder(list[wire.Volume])
_VOLUME: Final = msgspec.json.Decoder(wire.Volume)


def _entries(group: str, value: msgspec.Raw, *, many: bool) -> list[tuple[str, str, bool]]:
    if group == "volumes":
        volumes = _VOLUMES.decode(value) if many else [_VOLUME.decode(value)]
        return [(v.name or "", v.image.reference or "", False) for v in volumes if v.image]
    containers = _CONTAINERS.decode(value) if many else [_CONTAINER.decode(value)]
    return [(c.name or "", c.image or "", c.restart_policy == "Always") for c in containers if c.image]


class WebhookPatch(msgspec.Struct, omit_defaults=True, rename="camel"):
    """Value of a `patch.webhook…` annotation (k8s.io/apiserver mutating/dispatcher.go)."""

    configuration: str | None = None
    webhook: str | None = None
    patch: list[wire.PatchOp] | None = None
    patch_type: str | None = None


_WEBHOOK_PATCH: Final = msgspec.json.Decoder(WebhookPatch)


def webhook_patch(text: str) -> WebhookPatch | None:
    """A `patch.webhook…` annotation, or None when it is not in its form."""
    try:
        return _WEBHOOK_PATCH.decode(text)
    except wire.UNREADABLE:
        return None


def _reduced_operation(operation: wire.PatchOp) -> wire.PatchOp | None:
    """The operation with images only; None when it is about something else."""
    entries = patched_entries(operation)
    if not entries:
        return operation if _marks_break_glass(operation) else None
    path = operation.path or ""
    if path.endswith(("/image", "/reference")):
        value: object = entries[0].image
    else:
        items = [_entry_value(entry) for entry in entries]
        value = items if _ENTRY.fullmatch(path)[2] is None else items[0]  # type: ignore[index] # it matched above
    return wire.PatchOp(operation.op, path, msgspec.Raw(msgspec.json.encode(value)))


def _entry_value(entry: PatchedEntry) -> wire.Volume | wire.Container:
    if entry.group == "volumes":
        return wire.Volume(entry.name, wire.ImageSource(entry.image))
    return wire.Container(entry.name, entry.image, "Always" if entry.sidecar else None)


_MARK: Final = re.compile(r"/metadata/(?:labels|annotations)/([^/]+)")


def patched_mark(operation: wire.PatchOp) -> tuple[str, str] | None:
    """The (key, value) of a break-glass mark that an operation sets, else None."""
    found = _MARK.fullmatch(operation.path or "")
    if found is None or operation.op not in ("add", "replace"):
        return None
    key = found[1].replace("~1", "/").replace("~0", "~")  # RFC 6901
    return (key, wire.text_of(operation.value)) if is_break_glass(key) else None


def _marks_break_glass(operation: wire.PatchOp) -> bool:
    return patched_mark(operation) is not None


def _reduced_operations(operations: list[wire.PatchOp]) -> list[wire.PatchOp]:
    return [kept for operation in operations if (kept := _reduced_operation(operation))]


# --------------------------------------------------------------------------------------------------- audit events


def _event_annotations(annotations: dict[str, str]) -> dict[str, str]:
    kept = {}
    for key, value in annotations.items():
        prefix = key.partition("/")[0]
        if key in AUDIT_ANNOTATIONS or prefix in AUDIT_PREFIXES:
            kept[key] = value
        elif prefix == PATCH_PREFIX and (patch := webhook_patch(value)):
            patch.patch = _reduced_operations(patch.patch or [])
            kept[key] = msgspec.json.encode(patch).decode()
    return kept


def _reduce_meta(meta: wire.Meta | None, *, namespace: bool = False) -> None:
    if meta and meta.annotations:
        meta.annotations = {
            k: v for k, v in meta.annotations.items() if keeps_annotation(k, namespace=namespace)
        } or None


def keeps_annotation(key: str, *, namespace: bool = False) -> bool:
    """Whether an annotation of an object is on the allow-list."""
    if namespace:
        return key.rpartition("/")[2] in NAMESPACE_ANNOTATIONS
    return key in OBJECT_ANNOTATIONS or is_break_glass(key)


def _reduce_object(item: wire.Object | None, *, namespace: bool) -> None:
    if item is None:
        return
    _reduce_meta(item.metadata, namespace=namespace)
    if item.spec:
        _reduce_volumes(item.spec)
        _reduce_template(item.spec.template)
        if item.spec.job_template:
            _reduce_meta(item.spec.job_template.metadata)
            _reduce_template(item.spec.job_template.spec.template if item.spec.job_template.spec else None)
    for member in item.items or ():
        _reduce_object(member, namespace=namespace)


def _reduce_template(template: wire.Template | None) -> None:
    if template:
        _reduce_meta(template.metadata)
        if template.spec:
            _reduce_volumes(template.spec)


def _reduce_volumes(spec: wire.PodSpec) -> None:
    spec.volumes = [volume for volume in spec.volumes or () if volume.image] or None


def reduce_event(event: wire.Event, *, objects: bool) -> bytes:
    """The reduced JSON of an audit event. `objects` is False when the event is about a resource nobody asks for."""
    event.request_uri = reduced_uri(event.request_uri or "")
    event.annotations = _event_annotations(event.annotations or {})
    namespace = bool(event.object_ref and event.object_ref.resource == "namespaces")
    request = event.request_object
    if not objects:
        event.request_object = event.response_object = None
    elif isinstance(request, list):
        event.request_object = _reduced_operations(request)
    else:
        _reduce_object(request, namespace=namespace)
    _reduce_object(event.response_object, namespace=namespace)
    status = event.response_status
    if status and status.message and not engines.classify(status.message, status.code or 0):
        status.message = None  # a validation error quotes the object it refuses
    return msgspec.json.encode(event)


# ------------------------------------------------------------------------------------------------ pods and namespaces


def reduce_pod(pod: wire.Pod) -> wire.Pod:
    """The pod itself, with allowed annotations and without volumes that are no images."""
    if pod.metadata and pod.metadata.annotations:
        pod.metadata.annotations = {k: v for k, v in pod.metadata.annotations.items() if keeps_annotation(k)} or None
    if pod.spec:
        _reduce_volumes(pod.spec)
    for statuses in _statuses(pod):
        for status in statuses or ():
            status.volume_mounts = [mount for mount in status.volume_mounts or () if mount.volume_status] or None
    return pod


def _statuses(pod: wire.Pod) -> tuple[list[wire.ContainerStatus] | None, ...]:
    status = pod.status
    if status is None:
        return ()
    return status.container_statuses, status.init_container_statuses, status.ephemeral_container_statuses


def reduce_namespace(namespace: wire.Namespace) -> wire.Namespace:
    """The namespace itself, with allowed annotations."""
    meta = namespace.metadata
    if meta and meta.annotations:
        meta.annotations = {k: v for k, v in meta.annotations.items() if keeps_annotation(k, namespace=True)} or None
    return namespace
