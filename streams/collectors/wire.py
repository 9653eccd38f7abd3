"""What we read of Kubernetes' JSON, member by member, and nothing else.

Typed decoding is the first half of the reduction (`reduce.py` is the second): members that are not named here, such as
`env`, `args`, `command` or `managedFields`, are skipped by the decoder and never become Python objects. Rules of
Kubernetes that hold here: the last of duplicate members wins, `null` means absent, unknown members are no error.

    event = AUDIT.decode(line)            # raises ValueError or RecursionError; see UNREADABLE
    micros(event.received)                # 1795200704136391

Refuses to judge: whether an object makes sense is for `audit`, `pods` and `intake`. No struct here can be part of a
cycle, so none is tracked by the garbage collector (`gc=False`).
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Final

import msgspec

from verifier.times import since_epoch

UNREADABLE: Final = (ValueError, RecursionError)
"""What a decoder raises on content: malformed JSON, another type, invalid UTF-8 (all ValueError), nesting."""

NO_VALUE: Final = msgspec.Raw()
"""A member that was absent."""


class OwnerRef(msgspec.Struct, gc=False, omit_defaults=True):
    """`metadata.ownerReferences[]`."""

    kind: str | None = None
    name: str | None = None
    controller: bool | None = None


class Meta(msgspec.Struct, gc=False, omit_defaults=True, rename="camel"):
    """`metadata` of an object inside an audit event. Values of labels and annotations stay undecoded until wanted."""

    name: str | None = None
    generate_name: str | None = None
    namespace: str | None = None
    uid: str | None = None
    labels: dict[str, msgspec.Raw] | None = None
    annotations: dict[str, msgspec.Raw] | None = None
    owner_references: list[OwnerRef] | None = None


class Container(msgspec.Struct, gc=False, omit_defaults=True, rename="camel"):
    """One entry of `containers`, `initContainers` or `ephemeralContainers`."""

    name: str | None = None
    image: str | None = None
    restart_policy: str | None = None
    """`Always` makes an init container a sidecar."""


class ImageSource(msgspec.Struct, gc=False, omit_defaults=True):
    """`spec.volumes[].image`."""

    reference: str | None = None


class Volume(msgspec.Struct, gc=False, omit_defaults=True):
    """`spec.volumes[]`; only image volumes keep more than their name, so no secret's name is read."""

    name: str | None = None
    image: ImageSource | None = None


class PodSpec(msgspec.Struct, gc=False, omit_defaults=True, rename="camel"):
    """The images of a pod template."""

    containers: list[Container] | None = None
    init_containers: list[Container] | None = None
    ephemeral_containers: list[Container] | None = None
    volumes: list[Volume] | None = None


class Template(msgspec.Struct, gc=False, omit_defaults=True):
    """`spec.template`."""

    metadata: Meta | None = None
    spec: PodSpec | None = None


class JobSpec(msgspec.Struct, gc=False, omit_defaults=True):
    """`spec.jobTemplate.spec`."""

    template: Template | None = None


class JobTemplate(msgspec.Struct, gc=False, omit_defaults=True):
    """`spec.jobTemplate` of a CronJob."""

    metadata: Meta | None = None
    spec: JobSpec | None = None


class WorkloadSpec(PodSpec, gc=False, omit_defaults=True, rename="camel"):
    """`spec` of a pod, of a workload with a pod template, or of a CronJob."""

    template: Template | None = None
    job_template: JobTemplate | None = None
    node_name: str | None = None


class Object(msgspec.Struct, gc=False, omit_defaults=True, rename="camel"):
    """`requestObject` or `responseObject`, or one of `items`. A patch has only what it changes."""

    kind: str | None = None
    metadata: Meta | None = None
    spec: WorkloadSpec | None = None
    items: list[Object] | None = None
    dry_run: list[str] | None = None
    """Of DeleteOptions: a deletion is tried by its body as well as by its query."""


class PatchOp(msgspec.Struct, gc=False, omit_defaults=True):
    """One operation of a JSON patch (RFC 6902)."""

    op: str | None = None
    path: str | None = None
    value: msgspec.Raw = NO_VALUE


class User(msgspec.Struct, gc=False, omit_defaults=True):
    """`user` or `impersonatedUser`; uid and extra are not read."""

    username: str | None = None
    groups: tuple[str, ...] | None = None


class ObjectRef(msgspec.Struct, gc=False, omit_defaults=True, rename="camel"):
    """`objectRef`."""

    resource: str | None = None
    namespace: str | None = None
    name: str | None = None
    uid: str | None = None
    api_group: str | None = None
    subresource: str | None = None


class ResponseStatus(msgspec.Struct, gc=False, omit_defaults=True):
    """`responseStatus`."""

    code: int | None = None
    reason: str | None = None
    message: str | None = None


class Created(msgspec.Struct, gc=False, omit_defaults=True, rename="camel"):
    """`metadata` of an audit event of version v1alpha1 or v1beta1."""

    creation_timestamp: str | None = None


class EventHead(msgspec.Struct, gc=False, omit_defaults=True, rename="camel"):
    """An audit event (audit.k8s.io v1, v1beta1, v1alpha1) without the objects it may carry."""

    kind: str | None = None
    api_version: str | None = None
    level: str | None = None
    audit_id: str | None = msgspec.field(default=None, name="auditID")
    stage: str | None = None
    request_uri: str | None = msgspec.field(default=None, name="requestURI")
    verb: str | None = None
    user: User | None = None
    impersonated_user: User | None = None
    source_ips: tuple[str, ...] | None = msgspec.field(default=None, name="sourceIPs")
    user_agent: str | None = None
    object_ref: ObjectRef | None = None
    response_status: ResponseStatus | None = None
    received: str | None = msgspec.field(default=None, name="requestReceivedTimestamp")
    staged: str | None = msgspec.field(default=None, name="stageTimestamp")
    timestamp: str | None = None
    """v1alpha1 and v1beta1 of old servers; `requestReceivedTimestamp` came later."""
    metadata: Created | None = None
    annotations: dict[str, str] | None = None


class Event(EventHead, gc=False, omit_defaults=True, rename="camel"):
    """An audit event with its objects. A JSON patch makes `requestObject` a list."""

    request_object: Object | list[PatchOp] | None = None
    response_object: Object | None = None


class PodMeta(msgspec.Struct, gc=False, omit_defaults=True, rename="camel"):
    """`metadata` of a pod or namespace."""

    name: str | None = None
    generate_name: str | None = None
    namespace: str | None = None
    uid: str | None = None
    resource_version: str | None = None
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    deletion_grace_period_seconds: int | None = None
    """The deletion timestamp is this much later than the request."""
    labels: dict[str, str] | None = None
    annotations: dict[str, msgspec.Raw] | None = None
    owner_references: list[OwnerRef] | None = None


class RunningSpec(PodSpec, gc=False, omit_defaults=True, rename="camel"):
    """`spec` of a pod of the watch."""

    node_name: str | None = None
    service_account_name: str | None = None


class Running(msgspec.Struct, gc=False, omit_defaults=True, rename="camel"):
    """`state.running`."""

    started_at: str | None = None


class Terminated(msgspec.Struct, gc=False, omit_defaults=True, rename="camel"):
    """`state.terminated`; the exit message is not read."""

    started_at: str | None = None
    finished_at: str | None = None


class Waiting(msgspec.Struct, gc=False, omit_defaults=True):
    """`state.waiting`; nothing of it is read."""


class State(msgspec.Struct, gc=False, omit_defaults=True):
    """`containerStatuses[].state`."""

    running: Running | None = None
    terminated: Terminated | None = None
    waiting: Waiting | None = None


class MountedImage(msgspec.Struct, gc=False, omit_defaults=True, rename="camel"):
    """`volumeStatus.image` (KEP-5365): the digest of an image volume, in the form of an imageID."""

    image_ref: str | None = None


class VolumeStatus(msgspec.Struct, gc=False, omit_defaults=True):
    """`containerStatuses[].volumeMounts[].volumeStatus`."""

    image: MountedImage | None = None


class VolumeMount(msgspec.Struct, gc=False, omit_defaults=True, rename="camel"):
    """`containerStatuses[].volumeMounts[]`."""

    name: str | None = None
    volume_status: VolumeStatus | None = None


class ContainerStatus(msgspec.Struct, gc=False, omit_defaults=True, rename="camel"):
    """`containerStatuses[]`, also of init and ephemeral containers."""

    name: str | None = None
    image_id: str | None = msgspec.field(default=None, name="imageID")
    container_id: str | None = msgspec.field(default=None, name="containerID")
    restart_count: int | None = None
    state: State | None = None
    volume_mounts: list[VolumeMount] | None = None


class Condition(msgspec.Struct, gc=False, omit_defaults=True, rename="camel"):
    """`status.conditions[]`: only when it changed."""

    last_transition_time: str | None = None


class PodStatus(msgspec.Struct, gc=False, omit_defaults=True, rename="camel"):
    """`status` of a pod."""

    phase: str | None = None
    start_time: str | None = None
    conditions: list[Condition] | None = None
    container_statuses: list[ContainerStatus] | None = None
    init_container_statuses: list[ContainerStatus] | None = None
    ephemeral_container_statuses: list[ContainerStatus] | None = None


class Pod(msgspec.Struct, gc=False, omit_defaults=True, rename="camel"):
    """A pod of a list or watch. In a PodList the items have no kind."""

    kind: str | None = None
    api_version: str | None = None
    metadata: PodMeta | None = None
    spec: RunningSpec | None = None
    status: PodStatus | None = None


class WatchedPod(msgspec.Struct, gc=False, omit_defaults=True):
    """A watch event whose object is a pod."""

    type: str | None = None
    object: Pod | None = None


class Namespace(msgspec.Struct, gc=False, omit_defaults=True, rename="camel"):
    """A namespace of a list or watch."""

    kind: str | None = None
    api_version: str | None = None
    metadata: PodMeta | None = None


class WatchedNamespace(msgspec.Struct, gc=False, omit_defaults=True):
    """A watch event whose object is a namespace."""

    type: str | None = None
    object: Namespace | None = None


class StatusCode(msgspec.Struct, gc=False, omit_defaults=True):
    """The Status inside a watch event of type ERROR."""

    code: int | None = None


class Head(msgspec.Struct, gc=False, omit_defaults=True, rename="camel"):
    """Enough of any document to tell what it is. Everything is Raw, so no content can fail the type."""

    kind: msgspec.Raw = NO_VALUE
    api_version: msgspec.Raw = NO_VALUE
    items: msgspec.Raw = NO_VALUE
    audit_id: msgspec.Raw = msgspec.field(default=NO_VALUE, name="auditID")
    stage: msgspec.Raw = NO_VALUE
    type: msgspec.Raw = NO_VALUE
    object: msgspec.Raw = NO_VALUE
    metadata: msgspec.Raw = NO_VALUE
    spec: msgspec.Raw = NO_VALUE
    proto_payload: msgspec.Raw = NO_VALUE
    category: msgspec.Raw = NO_VALUE
    properties: msgspec.Raw = NO_VALUE
    records: msgspec.Raw = NO_VALUE
    request_id: msgspec.Raw = NO_VALUE
    message: msgspec.Raw = NO_VALUE
    subscription: msgspec.Raw = NO_VALUE
    message_type: msgspec.Raw = NO_VALUE
    log_stream: msgspec.Raw = NO_VALUE
    log_events: msgspec.Raw = NO_VALUE


AUDIT: Final = msgspec.json.Decoder(Event)
AUDIT_HEAD: Final = msgspec.json.Decoder(EventHead)
POD: Final = msgspec.json.Decoder(Pod)
WATCHED_POD: Final = msgspec.json.Decoder(WatchedPod)
NAMESPACE: Final = msgspec.json.Decoder(Namespace)
WATCHED_NAMESPACE: Final = msgspec.json.Decoder(WatchedNamespace)
STATUS_CODE: Final = msgspec.json.Decoder(StatusCode)
HEAD: Final = msgspec.json.Decoder(Head)
RAW_LIST: Final = msgspec.json.Decoder(list[msgspec.Raw])
TEXT: Final = msgspec.json.Decoder(str)
MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def text_of(raw: msgspec.Raw | None) -> str:
    """The string a Raw holds; empty for every other JSON value."""
    try:
        return TEXT.decode(raw) if raw else ""
    except UNREADABLE:
        return ""


def _moment(text: str | None) -> int | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None or not 1970 <= moment.year <= 2261:
        return None
    return since_epoch(moment)


micros: Final = lru_cache(maxsize=4096)(_moment)
"""Microseconds since the epoch of an RFC 3339 time, as Kubernetes writes it; None when it is absent or not a time.

Years outside 1970-2261 are no times of a cluster: Go writes year 1 for "never", and 64-bit nanoseconds end in 2262.
"""


def instant(text: str | None) -> int | None:
    """`micros` for an event's own time: microseconds do not repeat, but their seconds do."""
    if text and len(text) == 27 and text[19] == "." and text[26] == "Z" and (fraction := text[20:26]).isdecimal():
        second = micros(text[:19] + "Z")
        return None if second is None else second + int(fraction)
    return _moment(text)
