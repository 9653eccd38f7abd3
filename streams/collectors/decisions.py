"""What admission said about a request: the one place where an audit event becomes a decision.

`read_decision` is the algorithm, in the order in which it has to be asked: outcome first, marks second, because a
failed-open mark also stands on requests that failed later.

    1. stage        Panic                                   errored: the server died inside the request
    2. authority    decision `forbid`, code 401             no decision of admission
    3. admitted     code 2xx                                admitted; marks tell how (failed open, dry run, break glass)
    4. refused      the message's frame (engines.classify)  denied, or errored when the verifier could not tell
    5. the rest     409, 422, 429, 5xx without a frame      no decision of admission

That nothing failed open does not mean that somebody verified: the API server does not record that a validating webhook
said yes. Whether an image is signed is judged from evidence, never from here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

import msgspec

from streams.collectors import engines, wire
from streams.collectors.deadletters import Ignored
from streams.collectors.ids import text_id
from streams.collectors.images import images_asked
from streams.collectors.owners import ARGO_HASH_LABEL, controller_of, naked_owner, owner_of_name, top_owner
from streams.collectors.reduce import BREAK_GLASS, MAX_MESSAGE, MAX_NAME, is_break_glass, patched_mark, reduced_uri
from streams.events import DecisionObserved, ImageAsked, Owner

MAX_AUDITED: Final = 50
"""Violations kept per event; the API server itself writes at most 50 for policies."""

MAX_GROUPS: Final = 64
"""Groups of a user that are kept; directory services can have thousands."""

MAX_ADDRESSES: Final = 16
"""Source addresses that are kept; all but the last are the client's word."""

_ADMITTED: Final = engines.Judgement("admitted")
_PANIC: Final = engines.Judgement("errored", "api-server", "")


# --------------------------------------------------------------------------------------------------------- annotations


class _Call(msgspec.Struct):
    """Value of a `mutation.webhook…` annotation."""

    webhook: str | None = None
    mutated: bool | None = None


class _Failure(msgspec.Struct, rename="camel"):
    """One entry of `validation_failure`: what a ValidatingAdmissionPolicy in audit mode found."""

    policy: str | None = None
    binding: str | None = None
    message: str | None = None


_CALL: Final = msgspec.json.Decoder(_Call)
_FAILURES: Final = msgspec.json.Decoder(list[_Failure])
_MARKS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_SCOPED: Final = msgspec.json.Decoder(dict[str, dict[str, dict[str, str]]])


class Marks:
    """What the API server and its webhooks noted on the event. One pass over the annotations.

    The defaults belong to the class: most events set two or three of them, and this runs once per event.
    """

    decision = ""
    """`allow` or `forbid`, of authorization."""
    break_glass = ""
    exempt = ""
    truncated = False
    failed_open: Sequence[tuple[tuple[int, ...], str]] = ()
    mutated: Sequence[tuple[tuple[int, ...], str]] = ()
    patches: Sequence[tuple[tuple[int, ...], str]] = ()
    """Each with the (round, index) of its call, as yet unsorted."""
    audited: Sequence[str] = ()

    def __init__(self, annotations: dict[str, str] | None) -> None:
        if annotations:
            for key, value in annotations.items():
                note, name = _reader_of(key)
                if note:
                    note(self, name, value)


@lru_cache(maxsize=4096)
def _reader_of(key: str) -> tuple[Callable[[Marks, str, str], None] | None, str]:
    """(who reads a key, its name behind the `/`). A cluster writes the same few dozen keys over and over."""
    prefix, _, name = key.partition("/")
    return _NOTES.get(prefix), name


@lru_cache(maxsize=4096)
def _order(name: str) -> tuple[int, int]:
    """(round, index) of `round_0_index_10`, as numbers: 10 comes after 2."""
    parts = name.split("_")
    if len(parts) == 4 and parts[1].isdecimal() and parts[3].isdecimal() and len(name) < 40:
        return int(parts[1]), int(parts[3])
    return 0, 0


def _note_decision(marks: Marks, name: str, value: str) -> None:
    if name == "decision":
        marks.decision = value


@lru_cache(maxsize=4096)
def _mutating_webhook(value: str) -> str:
    """The webhook of a call that changed the object, empty for one that did not. Pods repeat the same few texts."""
    try:
        call = _CALL.decode(value)
    except wire.UNREADABLE:
        return ""  # not in the API server's form, so not its word
    return (call.webhook or "") if call.mutated else ""


def _note_mutation(marks: Marks, name: str, value: str) -> None:
    if webhook := _mutating_webhook(value):
        marks.mutated = (*marks.mutated, (_order(name), webhook))


def _note_patch(marks: Marks, name: str, value: str) -> None:
    marks.patches = (*marks.patches, (_order(name), value))


def _note_failed_mutation(marks: Marks, name: str, value: str) -> None:
    marks.failed_open = (*marks.failed_open, ((0, *_order(name)), value))


def _note_failed_validation(marks: Marks, name: str, value: str) -> None:
    marks.failed_open = (*marks.failed_open, ((1, *_order(name)), value))


def _note_policy_failure(marks: Marks, name: str, value: str) -> None:
    if name != "validation_failure":
        return
    try:
        failures = _FAILURES.decode(value)
    except wire.UNREADABLE:
        return
    found = (f"{f.policy or ''}/{f.binding or ''}: {f.message or ''}"[:MAX_MESSAGE] for f in failures)
    marks.audited = (*marks.audited, *found)


def _note_pod_security(marks: Marks, name: str, value: str) -> None:
    if name == "exempt":
        marks.exempt = f"pod-security:{value}"[:MAX_NAME]
    elif name == "audit-violations":
        marks.audited = (*marks.audited, f"pod-security: {value}"[:MAX_MESSAGE])


def _note_image_policy(marks: Marks, name: str, value: str) -> None:
    if name == "failed-open" and value == "true":
        marks.failed_open = (*marks.failed_open, ((2, 0, 0), "imagepolicywebhook"))
    elif name == "break-glass" and value == "true":
        marks.break_glass = "imagepolicywebhook.image-policy.k8s.io/break-glass=true"
    elif name in ("overridden-verification-result", "dry-run"):
        marks.audited = (*marks.audited, f"image-policy-webhook: {value}"[:MAX_MESSAGE])


def _note_truncated(marks: Marks, name: str, value: str) -> None:
    marks.truncated = marks.truncated or (name == "truncated" and value == "true")


_NOTES: Final[dict[str, Callable[[Marks, str, str], None]]] = {
    "audit.k8s.io": _note_truncated,
    "authorization.k8s.io": _note_decision,
    "failed-open.mutation.webhook.admission.k8s.io": _note_failed_mutation,
    "failed-open.validating.webhook.admission.k8s.io": _note_failed_validation,
    "image-policy.k8s.io": _note_image_policy,
    "imagepolicywebhook.image-policy.k8s.io": _note_image_policy,
    "mutation.webhook.admission.k8s.io": _note_mutation,
    "patch.webhook.admission.k8s.io": _note_patch,
    "pod-security.kubernetes.io": _note_pod_security,
    "validation.policy.admission.k8s.io": _note_policy_failure,
}
"""Prefix of the key, whole, -> who reads it. (A failed-open key *ends* in the mutation prefix; it does not begin with
it.)"""


# ------------------------------------------------------------------------------------------------------------- outcome


def judge(event: wire.Event, marks: Marks) -> engines.Judgement | Ignored:
    """Steps 1 to 5 of this module's docstring: the outcome, or why the event is no decision."""
    if event.stage == "Panic":
        return _PANIC
    status = event.response_status
    code = (status.code or 0) if status else 0
    if marks.decision == "forbid":
        return Ignored("forbidden")
    if 200 <= code < 300:
        return _ADMITTED
    if status is None or code < 400:
        return Ignored("no-status")
    if code == 401 and not marks.decision:
        return Ignored("unauthenticated")
    judgement = engines.classify((status.message or "")[:MAX_MESSAGE], code)
    if judgement is None:
        return Ignored(engines.NOT_A_DECISION.get(code, "server-error" if code >= 500 else "bad-request"))
    return Ignored(judgement.skipped) if judgement.skipped else judgement


def is_dry_run(event: wire.Event) -> bool:
    """Whether the request was only tried: `dryRun=All` in the query, or in the body of a deletion."""
    uri = event.request_uri or ""
    if "dryRun=All" in uri and "dryRun=All" in uri.partition("?")[2].split("&"):
        return True
    request = event.request_object
    return isinstance(request, wire.Object) and bool(request.dry_run)


# --------------------------------------------------------------------------------------------------------------- marks


def _mark_in(values: dict[str, msgspec.Raw] | None) -> str:
    if values:
        for key in values:
            if key.endswith(BREAK_GLASS) and is_break_glass(key):
                value = wire.text_of(values[key])
                if value == "true" or not key.endswith("image-policy.k8s.io/break-glass"):
                    return f"{key}={value}"[:MAX_NAME]  # Binary Authorization alone demands "true"
    return ""


def _mark_of(item: wire.Object | None) -> str:
    """The first break-glass mark on an object or on the pods it is a template of."""
    if item is None:
        return ""
    metas = [item.metadata]
    if spec := item.spec:
        job = spec.job_template.spec if spec.job_template else None
        template = spec.template or (job.template if job else None)
        metas.append(template.metadata if template else None)
    for meta in metas:
        if meta and (mark := _mark_in(meta.labels) or _mark_in(meta.annotations)):
            return mark
    return ""


def break_glass_of(event: wire.Event) -> str:
    """The label or annotation (`key=value`) that marks a deliberate bypass, of the request or the stored object.

    A bypass by a webhook's match conditions leaves no other trace, and none at level
    Metadata.
    """
    request = event.request_object
    if isinstance(request, list):
        for operation in request:
            if mark := patched_mark(operation):
                return f"{mark[0]}={mark[1]}"[:MAX_NAME]
        request = None
    return _mark_of(request) or _mark_of(event.response_object)


_KYVERNO_KEYS: Final = ("kyverno.io/verify-images", "kyverno.io/verify-images-scoped")
"""Image -> status, or the same by policy and rule; newer versions write both."""


def _kyverno_marks(item: wire.Object | None) -> list[tuple[str, str]]:
    """(image, pass | fail | skip) of Kyverno's own marks. A claim: users can write it, unless Kyverno guards it."""
    notes = (item.metadata.annotations if item and item.metadata else None) or {}
    found = (pair for key in _KYVERNO_KEYS if key in notes for pair in _kyverno_pairs(notes[key]))
    return list(dict.fromkeys(found))


def _kyverno_pairs(raw: msgspec.Raw) -> list[tuple[str, str]]:
    try:
        marks = _MARKS.decode(wire.text_of(raw))
        if "policies" not in marks:
            return [(image, wire.text_of(status)) for image, status in marks.items()]
        scoped = _SCOPED.decode(marks["policies"])
    except wire.UNREADABLE:
        return []
    return [pair for rules in scoped.values() for images in rules.values() for pair in images.items()]


# ------------------------------------------------------------------------------------------------------------ decision


def pod_owner(item: wire.Object | None, name: str) -> Owner:
    """Top owner of a pod in an audit event; from its name alone when the event carries no whole object."""
    meta = item.metadata if item else None
    if meta is None:
        return owner_of_name(name)
    if reference := controller_of(meta.owner_references):
        labels = meta.labels or {}
        argo = ARGO_HASH_LABEL in labels
        return top_owner(
            reference, wire.text_of(labels.get(ARGO_HASH_LABEL if argo else "pod-template-hash")), argo=argo
        )
    if meta.annotations and "kubernetes.io/config.mirror" in meta.annotations and item and item.spec:
        return Owner("Node", item.spec.node_name or "")
    return naked_owner(name, meta.generate_name or "")


def workload_owner(kind: str, item: wire.Object | None, name: str) -> Owner:
    """Top owner of a workload object: what manages it, else what its name says, else itself."""
    meta = item.metadata if item else None
    if meta and (reference := controller_of(meta.owner_references)):
        return Owner(reference.kind or "", reference.name or "")
    return top_owner(wire.OwnerRef(kind, name)) if meta is None or kind == "Job" else Owner(kind, name)


class Origin(msgspec.Struct, frozen=True, gc=False):
    """Who told it."""

    cluster: str
    """Stable id of the cluster, from the authenticated sender and never from the event."""
    source: str = ""
    """Of the stream: `file:NAME`, a connection."""
    server: str = ""
    """Name of the API server, where several have one audit log each."""


def decision_id(event: wire.Event, kind: str, origin: Origin, member: str = "") -> str:
    """The id of what an event says. The Audit-ID alone will not do: clients may choose it, and retries repeat it.

    Whoever could make two requests with one id would have the second left out as a repetition. So the id holds what the
    server alone says: the microseconds at which the request came and was answered, who asked, and the answer's code.
    All of it stands at level Metadata, so a copy that was cut has the same id. `member` tells the objects of one
    deletion of many apart.
    """
    uri = reduced_uri(event.request_uri or "") + (f"#{member}" if member else "")
    received = event.received or event.timestamp or (event.metadata.creation_timestamp if event.metadata else "") or ""
    audit_id, stage, verb = event.audit_id or "", event.stage or "", event.verb or ""
    asked_by = (event.user.username if event.user else None) or ""
    code = str((event.response_status.code if event.response_status else None) or 0)
    said = (audit_id, stage, received, event.staged or "", asked_by, code, verb, uri)
    return text_id(kind, origin.cluster, origin.server, *said)


def _whole(event: wire.Event, judgement: engines.Judgement) -> wire.Object | None:
    """The object as far as it is whole: what was stored, else what a create or update submitted."""
    if judgement.outcome == "admitted" and event.response_object and event.response_object.metadata:
        return event.response_object
    request = event.request_object
    return request if isinstance(request, wire.Object) and event.verb in ("create", "update") else None


def read_decision(
    event: wire.Event, kind: str, operation: str, time: int, origin: Origin
) -> list[DecisionObserved] | Ignored:
    """The decision an event holds about a workload of `kind`; several for a deletion of many.

    Args:
        event: of stage ResponseComplete or Panic.
        kind: `Pod`, `Deployment` …
        operation: `create`, `update`, `patch`, `delete`.
        time: microseconds.
        origin: who told it.
    """
    marks = Marks(event.annotations)
    judgement = judge(event, marks)
    if isinstance(judgement, Ignored):
        return judgement
    if event.verb == "deletecollection" and event.response_object and (items := event.response_object.items):
        metas = [(item, item.metadata or _NO_META) for item in items]
        return [
            _decision(event, marks, judgement, item, kind, operation, time, origin, meta.uid or meta.name or "")
            for item, meta in metas
        ]
    return [_decision(event, marks, judgement, _whole(event, judgement), kind, operation, time, origin)]


def _decision(
    event: wire.Event,
    marks: Marks,
    judgement: engines.Judgement,
    whole: wire.Object | None,
    kind: str,
    operation: str,
    time: int,
    origin: Origin,
    member: str = "",
) -> DecisionObserved:
    reference = event.object_ref or _NO_REFERENCE
    meta = (whole.metadata if whole else None) or _NO_META
    status = event.response_status or _NO_STATUS
    admitted, dry_run = judgement.outcome == "admitted", is_dry_run(event)
    name, changes = reference.name or (meta.name if admitted else "") or "", operation != "delete"
    user = event.user or _NO_USER
    actor = event.impersonated_user or user
    exempt, audited = marks.exempt, marks.audited
    if changes and admitted and (claims := _kyverno_marks(event.response_object)):
        exempt, audited = _with_kyverno(claims, exempt, audited)
    return DecisionObserved(
        id=decision_id(event, "decision", origin, member),
        time=time,
        cluster=origin.cluster,
        namespace=reference.namespace or meta.namespace or "",
        owner=pod_owner(whole, name) if kind == "Pod" else workload_owner(kind, whole, name),
        outcome=judgement.outcome,
        operation=operation,
        resource=f"{reference.resource}/{reference.subresource}" if reference.subresource else reference.resource or "",
        name=name,
        uid=(meta.uid or reference.uid or "") if admitted and not dry_run else "",
        user=(actor.username or "")[:MAX_NAME],
        groups=(actor.groups or ())[:MAX_GROUPS],
        user_agent=(event.user_agent or "")[:MAX_NAME],
        impersonated_by=(user.username or "")[:MAX_NAME] if event.impersonated_user else "",
        source_ips=(event.source_ips or ())[:MAX_ADDRESSES],
        code=status.code or 0,
        reason=status.reason or "",
        engine=judgement.engine,
        by=judgement.by,
        message="" if admitted else (status.message or "")[:MAX_MESSAGE],
        failed_open=_in_order(marks.failed_open),
        break_glass=(break_glass_of(event) or marks.break_glass) if changes else "",
        exempt=exempt,
        dry_run=dry_run,
        audited=tuple(audited[:MAX_AUDITED]),
        mutated_by=_in_order(marks.mutated),
        images=_images(event, marks, admitted=admitted) if changes else (),
        audit_id=(event.audit_id or "")[:MAX_NAME],
        level=event.level or "",
        truncated=marks.truncated,
        source=origin.source,
    )


_NO_REFERENCE: Final = wire.ObjectRef()
_NO_META: Final = wire.Meta()
_NO_STATUS: Final = wire.ResponseStatus()
_NO_USER: Final = wire.User()


def _images(event: wire.Event, marks: Marks, *, admitted: bool) -> tuple[ImageAsked, ...]:
    """What a refused request would have stored is nobody's business: only what it submitted."""
    if not admitted:
        return images_asked(event.request_object, None, ())
    return images_asked(event.request_object, event.response_object, _in_order(marks.patches))


def _in_order(noted: Sequence[tuple[tuple[int, ...], str]]) -> tuple[str, ...]:
    """Texts in order of their calls, each once."""
    if len(noted) < 2:
        return (noted[0][1],) if noted else ()
    return tuple(dict.fromkeys(text for _, text in sorted(noted)))


def _with_kyverno(claims: list[tuple[str, str]], exempt: str, audited: Sequence[str]) -> tuple[str, Sequence[str]]:
    for image, status in claims:
        if status == "skip":
            exempt = exempt or f"kyverno:{image}"[:MAX_NAME]
        elif status == "fail":
            audited = [*audited, f"kyverno: {image}"[:MAX_MESSAGE]]
    return exempt, audited
