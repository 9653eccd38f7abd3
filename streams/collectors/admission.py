"""AdmissionReview (admission.k8s.io/v1): a request of the API server in, what is to be judged out; and the answer back.

    asked = read_review(body, "prod-eu", received)         Asked | Problem
    body = answer_json(asked.uid, allowed=True, message="", warnings=(), annotations={})

Only images that are new are to be judged: of an update, those that differ from the old object's. To refuse an update
that changes no image would keep finalizers on a pod that nobody can delete any more. What no image can come in by (a
status, a scale, a binding) is understood and skipped by name.

Refuses to judge: that is `streams.admission.judging`'s. The cluster comes from whoever owns the address, never from
the review. No environment, argument or annotation is read (`wire`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from streams.collectors import wire
from streams.collectors.deadletters import Problem, decode_problem
from streams.collectors.decisions import MAX_GROUPS, break_glass_of, pod_owner, workload_owner
from streams.collectors.framing import too_deep
from streams.collectors.images import images_asked
from streams.collectors.owners import stable_labels
from streams.collectors.reduce import MAX_NAME
from streams.events import ImageAsked, Owner
from verifier.reference import REFERENCE_CHARACTERS

API_VERSION: Final = "admission.k8s.io/v1"
KIND: Final = "AdmissionReview"
MAX_UID: Final = 256
"""Characters of a request's uid; the API server sends 36."""
MAX_IMAGES: Final = 512
"""Distinct images of one request that are judged. Real pods have a few; an object can name 20,000."""
MAX_IMAGE: Final = REFERENCE_CHARACTERS + 1
"""Characters of an image that are kept: one more than a reference has, so that what was cut is none."""
MIRROR: Final = "kubernetes.io/config.mirror"

KINDS: Final[Mapping[tuple[str, str], str]] = {
    ("", "pods"): "Pod",
    ("", "replicationcontrollers"): "ReplicationController",
    ("apps", "deployments"): "Deployment",
    ("apps", "replicasets"): "ReplicaSet",
    ("apps", "statefulsets"): "StatefulSet",
    ("apps", "daemonsets"): "DaemonSet",
    ("batch", "jobs"): "Job",
    ("batch", "cronjobs"): "CronJob",
}
"""(API group, resource) -> kind, of what holds a pod or a template of one."""

SKIPPED: Final[Mapping[str, str]] = {
    "ending": "the object is being deleted",
    "resource": "a resource that holds no image",
    "subresource": "a part of an object that holds no image",
    "unchanged": "an update that changes no image",
    "operation": "neither CREATE nor UPDATE",
}
"""Why nothing of a request is judged. Counted; such a request is allowed, and no decision is recorded."""

_OPERATIONS: Final = {"CREATE": "create", "UPDATE": "update"}


# ------------------------------------------------------------------------------------------------------- the document


class _Spec(wire.PodSpec, gc=False, omit_defaults=True, rename="camel"):
    service_account_name: str | None = None


class _Template(wire.Template, gc=False, omit_defaults=True):
    spec: _Spec | None = None


class _JobSpec(wire.JobSpec, gc=False, omit_defaults=True):
    template: _Template | None = None


class _JobTemplate(wire.JobTemplate, gc=False, omit_defaults=True):
    spec: _JobSpec | None = None


class _WorkloadSpec(wire.WorkloadSpec, gc=False, omit_defaults=True, rename="camel"):
    template: _Template | None = None
    job_template: _JobTemplate | None = None
    service_account_name: str | None = None


class _Meta(wire.Meta, gc=False, omit_defaults=True, rename="camel"):
    deletion_timestamp: str | None = None


class _Object(wire.Object, gc=False, omit_defaults=True, rename="camel"):
    metadata: _Meta | None = None
    spec: _WorkloadSpec | None = None


class _Resource(msgspec.Struct, gc=False):
    group: str = ""
    resource: str = ""


class _Request(msgspec.Struct, gc=False, rename="camel"):
    uid: str = ""
    resource: _Resource | None = None
    sub_resource: str = ""
    name: str = ""
    namespace: str = ""
    operation: str = ""
    user_info: wire.User | None = None
    object: msgspec.Raw = wire.NO_VALUE
    """Undecoded: of resources that are not looked at, nothing about the object can be wrong."""
    old_object: msgspec.Raw = wire.NO_VALUE
    dry_run: bool | None = None


class _Review(msgspec.Struct, gc=False, rename="camel"):
    api_version: str = ""
    kind: str = ""
    request: _Request | None = None


_REVIEW: Final = msgspec.json.Decoder(_Review)
_OBJECT: Final = msgspec.json.Decoder(_Object | None)


# ---------------------------------------------------------------------------------------------------------- the request


class Asked(msgspec.Struct, frozen=True, gc=False):
    """A request for admission, reduced."""

    uid: str
    """Of the request; echoed in the answer."""
    cluster: str
    time: int
    """Microseconds UTC at which it came in."""
    resource: str
    """`pods`, `pods/ephemeralcontainers`, `deployments` …"""
    operation: str
    """`create` or `update`."""
    namespace: str
    name: str
    """Empty where the API server generates it."""
    object_uid: str
    owner: Owner
    service_account: str
    labels: tuple[tuple[str, str], ...]
    """Of the pods that it is about, as `stable_labels`."""
    images: tuple[ImageAsked, ...]
    """New or changed ones, at most `MAX_IMAGES` distinct ones."""
    user: str
    groups: tuple[str, ...]
    mirror: bool = False
    dry_run: bool = False
    break_glass: str = ""
    skipped: str = ""
    """Of `SKIPPED`; then there are no images."""
    left_out: int = 0
    """Images beyond `MAX_IMAGES`."""


def read_review(body: bytes, cluster: str, time: int) -> Asked | Problem:
    """What a review asks. Raises nothing: whatever is no review is a `Problem` with a named code.

    Args:
        body: as the API server posted it.
        cluster: stable id of its cluster, from whoever owns the address.
        time: microseconds UTC.
    """
    if too_deep(body):
        return Problem("too-deep")
    try:
        review = _REVIEW.decode(body)
    except wire.UNREADABLE as error:
        return decode_problem(error)
    if review.kind != KIND or review.api_version != API_VERSION:
        return Problem("kind-unexpected", f"expected {KIND} of {API_VERSION}")
    request = review.request
    if request is None or not request.uid or request.resource is None:
        return Problem("member-missing", "request, request.uid and request.resource")
    if len(request.uid) > MAX_UID or not request.uid.isprintable():
        return Problem("object-malformed", "$.request.uid")
    kind = KINDS.get((request.resource.group, request.resource.resource), "")
    if skipped := _skipped(request, request.resource, kind):
        return _asked(request, request.resource, "", None, (), skipped, cluster, time)
    try:
        item = _OBJECT.decode(request.object or b"null")
        old = _OBJECT.decode(request.old_object or b"null")
    except wire.UNREADABLE as error:
        return decode_problem(error)
    if item is None:
        return Problem("member-missing", "request.object")
    if item.metadata is not None and item.metadata.deletion_timestamp:
        return _asked(request, request.resource, kind, item, (), "ending", cluster, time)
    images = _new_images(item, None if request.operation == "CREATE" else old)
    kept = _bounded(images)
    made = _asked(request, request.resource, kind, item, kept, "" if images else "unchanged", cluster, time)
    return made if len(kept) == len(images) else msgspec.structs.replace(made, left_out=len(images) - len(kept))


def _asked(
    request: _Request,
    resource: _Resource,
    kind: str,
    item: _Object | None,
    images: tuple[ImageAsked, ...],
    skipped: str,
    cluster: str,
    time: int,
) -> Asked:
    name = request.name or (item.metadata.name if item and item.metadata else "") or ""
    user = request.user_info or wire.User()
    return Asked(
        uid=request.uid,
        cluster=cluster,
        time=time,
        resource=f"{resource.resource}/{request.sub_resource}" if request.sub_resource else resource.resource,
        operation=_OPERATIONS.get(request.operation, request.operation[:MAX_NAME].lower()),
        namespace=request.namespace[:MAX_NAME],
        name=name[:MAX_NAME],
        object_uid=((item.metadata.uid or "") if item and item.metadata else "")[:MAX_NAME],
        owner=pod_owner(item, name) if kind == "Pod" else workload_owner(kind, item, name),
        service_account=_service_account(kind, item.spec if item else None),
        labels=_labels(kind, item),
        images=images,
        user=(user.username or "")[:MAX_NAME],
        groups=(user.groups or ())[:MAX_GROUPS],
        mirror=_is_mirror(item),
        dry_run=bool(request.dry_run),
        break_glass=break_glass_of(wire.Event(request_object=item)) if item else "",
        skipped=skipped,
    )


def _skipped(request: _Request, resource: _Resource, kind: str) -> str:
    if request.operation not in _OPERATIONS:
        return "operation"
    if not kind:
        return "resource"
    if request.sub_resource and (resource.resource, request.sub_resource) != ("pods", "ephemeralcontainers"):
        return "subresource"
    return ""


def _new_images(item: _Object, old: _Object | None) -> tuple[ImageAsked, ...]:
    """Images of the object that the old one does not run under the same container."""
    known = set(images_asked(old, old, ()))
    return tuple(image for image in images_asked(item, item, ()) if image not in known)


def _bounded(images: Sequence[ImageAsked]) -> tuple[ImageAsked, ...]:
    """As many as are judged, each text as long as a reference may be."""
    distinct: set[str] = set()
    kept: list[ImageAsked] = []
    for image in images:
        text = image.submitted[:MAX_IMAGE]
        distinct.add(text)
        if len(distinct) > MAX_IMAGES:
            break
        kept.append(ImageAsked(image.container[:MAX_NAME], image.kind, text, text))
    return tuple(kept)


def _pods_spec(spec: _WorkloadSpec | None) -> _Spec | _WorkloadSpec | None:
    """The specification of the pods, wherever in the object it stands."""
    if spec is None:
        return None
    if spec.job_template is not None:
        job = spec.job_template.spec
        return job.template.spec if job is not None and job.template is not None else None
    return spec.template.spec if spec.template is not None else spec


def _service_account(kind: str, spec: _WorkloadSpec | None) -> str:
    """As the pods will have it: the API server writes `default` into a pod that names none."""
    pods = _pods_spec(spec)
    named = pods.service_account_name if pods is not None else None
    return (named or ("" if kind == "Pod" else "default"))[:MAX_NAME]


def _labels(kind: str, item: _Object | None) -> tuple[tuple[str, str], ...]:
    meta: wire.Meta | None = item.metadata if item else None
    spec = item.spec if item else None
    if kind != "Pod" and spec is not None:
        job = spec.job_template.spec if spec.job_template else None
        template = spec.template or (job.template if job else None)
        meta = template.metadata if template else None
    labels = (meta.labels if meta else None) or {}
    return stable_labels({key: wire.text_of(value) for key, value in labels.items()})


def _is_mirror(item: _Object | None) -> bool:
    meta = item.metadata if item else None
    return bool(meta and meta.annotations and MIRROR in meta.annotations)


# ----------------------------------------------------------------------------------------------------------- the answer


class _Status(msgspec.Struct, gc=False):
    code: int
    reason: str
    message: str


class _Response(msgspec.Struct, gc=False, omit_defaults=True, rename="camel"):
    uid: str
    allowed: bool
    status: _Status | None = None
    warnings: tuple[str, ...] = ()
    audit_annotations: dict[str, str] = {}


class _Answer(msgspec.Struct, gc=False, rename="camel"):
    api_version: str
    kind: str
    response: _Response


_ENCODER: Final = msgspec.json.Encoder()
FORBIDDEN: Final = 403


def answer_json(
    uid: str, *, allowed: bool, message: str, warnings: Sequence[str], annotations: Mapping[str, str]
) -> bytes:
    """The review that is sent back; a denial has code 403 and `message`."""
    status = None if allowed else _Status(FORBIDDEN, "Forbidden", message)
    response = _Response(uid, allowed, status, tuple(warnings), dict(annotations))
    return _ENCODER.encode(_Answer(API_VERSION, KIND, response))


__all__ = ["FORBIDDEN", "KINDS", "SKIPPED", "Asked", "answer_json", "read_review"]
