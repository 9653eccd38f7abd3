"""What other engines report of themselves: their results as claims, to be seen beside revet's verdict. Pure.

    for claim in read_reports([body]): ...           Claim(engine="kyverno", result="fail", policy=…), or Refused
    for claim in read_policy_report(item, place): …  one report of a list or a watch, whose kind the request named

| read                                                             | by               |
|------------------------------------------------------------------|------------------|
| PolicyReport, ClusterPolicyReport (wgpolicyk8s.io)               | `policy-report`  |
| Report, ClusterReport (openreports.io)                           | `policy-report`  |
| EphemeralReport, ClusterEphemeralReport (reports.kyverno.io)     | `policy-report`  |
| Gatekeeper's export messages and log lines about violations      | `gatekeeper`     |
| Ratify's verify responses, versions 1 and 2                      | `ratify`         |
| Connaisseur's alerts, from a template with its variables by name | `connaisseur`    |
| OPA's decision logs whose input is an AdmissionReview            | `opa`            |

A claim is what somebody says. Reports can be written by whoever may write them, describe only objects that exist still,
and are made hours later: nothing here proves that anything was verified, and a report is never a decision. Objects
inside (OPA's input) are read for their names alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, Literal

import msgspec

from streams.collectors import wire
from streams.collectors.deadletters import Problem, decode_problem, excerpt
from streams.collectors.framing import MAX_BODY_BYTES, MAX_EVENT_BYTES, Refused, refused, split, too_deep
from streams.collectors.reduce import MAX_MESSAGE, MAX_NAME
from verifier.times import SECOND

Feed = Literal["policy-report", "gatekeeper", "ratify", "connaisseur", "opa"]
Result = Literal["pass", "fail", "warn", "error", "skip"]

RESULTS: Final[dict[str, Result]] = {"pass": "pass", "fail": "fail", "warn": "warn", "error": "error", "skip": "skip"}
MAX_CLAIMS: Final = 10_000
"""Of one document."""
MAX_NESTED: Final = 8
"""Artifacts about artifacts about an image, in Ratify's answers."""
MAX_IMAGES: Final = 100


class Subject(msgspec.Struct, frozen=True, gc=False):
    """The object a claim is about; empty where it does not say."""

    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""


class Claim(msgspec.Struct, frozen=True, gc=False):
    """One result of another engine."""

    feed: Feed
    engine: str
    result: Result
    policy: str = ""
    rule: str = ""
    message: str = ""
    subject: Subject = Subject()
    images: tuple[str, ...] = ()
    time: int | None = None
    """Microseconds; None where it does not say."""
    at_admission: bool = False
    """Made while a request was decided, not by a later look."""


# ------------------------------------------------------------------------------------------------------ policy reports


class _Moment(msgspec.Struct, gc=False):
    seconds: float = 0
    """Fractions occur in the wild."""
    nanos: int = 0


class _Reference(msgspec.Struct, gc=False):
    kind: str | None = None
    namespace: str | None = None
    name: str | None = None
    uid: str | None = None


class _Result(msgspec.Struct, gc=False):
    policy: str | None = None
    rule: str | None = None
    message: str | None = None
    description: str | None = None
    """openreports' word for the message."""
    result: str | None = None
    source: str | None = None
    timestamp: _Moment | None = None
    resources: list[_Reference] | None = None
    subjects: list[_Reference] | None = None
    properties: dict[str, msgspec.Raw] | None = None


class _Spec(msgspec.Struct, gc=False):
    results: list[_Result] | None = None


class _ReportMeta(msgspec.Struct, gc=False):
    namespace: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, msgspec.Raw] | None = None


class _Report(msgspec.Struct, gc=False):
    metadata: _ReportMeta | None = None
    scope: _Reference | None = None
    source: str | None = None
    results: list[_Result] | None = None
    spec: _Spec | None = None


_OF_RESOURCE: Final = "audit.kyverno.io/resource."


def _of_policy_report(data: bytes) -> Iterator[Claim]:
    report = _REPORT.decode(data)
    meta = report.metadata or _ReportMeta()
    whole = _subject(report.scope, meta.namespace or "") if report.scope else _labelled(meta)
    results = report.results if report.results is not None else report.spec.results if report.spec else None
    for one in results or ():
        named = next(iter(one.resources or one.subjects or ()), None)
        process = wire.text_of((one.properties or {}).get("process"))
        yield Claim(
            feed="policy-report",
            engine=_short(one.source or report.source or ""),
            result=RESULTS.get(one.result or "", "error"),
            policy=_short(one.policy),
            rule=_short(one.rule),
            message=_words(one.message or one.description),
            subject=_subject(named, whole.namespace) if named else whole,
            time=_micros(one.timestamp),
            at_admission=process == "admission review",
        )


def _labelled(meta: _ReportMeta) -> Subject:
    """Kyverno's ephemeral reports name what they are about in labels and annotations."""
    labels = meta.labels or {}
    notes = {key: wire.text_of(value) for key, value in (meta.annotations or {}).items() if _OF_RESOURCE in key}
    kind, uid = labels.get(f"{_OF_RESOURCE}kind", ""), labels.get(f"{_OF_RESOURCE}uid", "")
    namespace = notes.get(f"{_OF_RESOURCE}namespace", "") or meta.namespace or ""
    return Subject(_short(kind), _short(namespace), _short(notes.get(f"{_OF_RESOURCE}name", "")), _short(uid))


def _subject(named: _Reference, namespace: str) -> Subject:
    return Subject(_short(named.kind), _short(named.namespace or namespace), _short(named.name), _short(named.uid))


def _micros(moment: _Moment | None) -> int | None:
    if moment is None or not 0 <= moment.seconds < 2**33 or not 0 <= moment.nanos < 10**9:
        return None
    return int(moment.seconds * SECOND) + moment.nanos // 1000


# ----------------------------------------------------------------------------------------------------------- gatekeeper


class _Exported(msgspec.Struct, gc=False, rename="camel"):
    """A message of Gatekeeper's export."""

    id: str | None = None
    event_type: str | None = None
    kind: str | None = None
    name: str | None = None
    message: str | None = None
    enforcement_action: str | None = None
    resource_kind: str | None = None
    resource_namespace: str | None = None
    resource_name: str | None = None
    timestamp: str | None = None


class _Details(msgspec.Struct, gc=False):
    image: str | None = None


class _Logged(msgspec.Struct, gc=False):
    """A line of Gatekeeper's own log."""

    ts: float | None = None
    msg: str | None = None
    process: str | None = None
    event_type: str | None = None
    constraint_kind: str | None = None
    constraint_name: str | None = None
    constraint_action: str | None = None
    resource_kind: str | None = None
    resource_namespace: str | None = None
    resource_name: str | None = None
    details: msgspec.Raw = wire.NO_VALUE


_ACTIONS: Final[dict[str, Result]] = {"deny": "fail", "warn": "warn", "dryrun": "warn"}


def _of_export(data: bytes) -> Iterator[Claim]:
    said = _EXPORTED.decode(data)
    at_admission = said.event_type == "violation_admission"
    yield Claim(
        feed="gatekeeper",
        engine="gatekeeper",
        result=_ACTIONS.get(said.enforcement_action or "deny", "fail"),
        policy=_short(said.name),
        rule=_short(said.kind),
        message=_words(said.message),
        subject=Subject(_short(said.resource_kind), _short(said.resource_namespace), _short(said.resource_name)),
        time=wire.instant(said.timestamp or said.id),  # the id of an audit's message is the time of its run
        at_admission=at_admission,
    )


def _of_log(data: bytes) -> Iterator[Claim]:
    said = _LOGGED.decode(data)
    image = _image_in(said.details)
    yield Claim(
        feed="gatekeeper",
        engine="gatekeeper",
        result=_ACTIONS.get(said.constraint_action or "deny", "fail"),
        policy=_short(said.constraint_name),
        rule=_short(said.constraint_kind),
        message=_words(said.msg),
        subject=Subject(_short(said.resource_kind), _short(said.resource_namespace), _short(said.resource_name)),
        images=(image,) if image else (),
        time=None if said.ts is None else _micros(_Moment(said.ts)),
        at_admission=said.process == "admission",
    )


def _image_in(details: msgspec.Raw) -> str:
    """What constraint templates put there is theirs; many name the image."""
    try:
        return _short(_DETAILS.decode(details).image) if details else ""
    except wire.UNREADABLE:
        return ""


# --------------------------------------------------------------------------------------------------------------- ratify


class _Verified(msgspec.Struct, gc=False, rename="camel"):
    """One verifier's word (version 1) or result (version 2)."""

    verifier_name: str | None = None
    name: str | None = None
    is_success: bool | None = None
    message: str | None = None
    description: str | None = None
    error_reason: str | None = None


class _Artifact(msgspec.Struct, gc=False, rename="camel"):
    """One artifact about a subject, and what is about it in turn."""

    subject: str | None = None
    artifact_type: str | None = None
    verifier_reports: list[_Verified] | None = None
    results: list[_Verified] | None = None
    nested_reports: list[_Artifact] | None = None
    artifact_reports: list[_Artifact] | None = None


class _Ratified(msgspec.Struct, gc=False, rename="camel"):
    timestamp: str | None = None
    verifier_reports: list[_Artifact] | None = None
    artifact_reports: list[_Artifact] | None = None


def _of_ratify(data: bytes) -> Iterator[Claim]:
    said = _RATIFIED.decode(data)
    time = wire.instant(said.timestamp)
    for artifact in (*(said.verifier_reports or ()), *(said.artifact_reports or ())):
        yield from _of_artifact(artifact, time, 0)


def _of_artifact(artifact: _Artifact, time: int | None, depth: int) -> Iterator[Claim]:
    for verified in (*(artifact.verifier_reports or ()), *(artifact.results or ())):
        good = verified.is_success if verified.is_success is not None else not verified.error_reason
        yield Claim(
            feed="ratify",
            engine="ratify",
            result="pass" if good else "fail",
            policy=_short(verified.verifier_name or verified.name),
            rule=_short(artifact.artifact_type),
            message=_words(verified.message or verified.error_reason or verified.description),
            images=(_short(artifact.subject),) if artifact.subject else (),
            time=time,
        )
    for inner in (*(artifact.nested_reports or ()), *(artifact.artifact_reports or ())) if depth < MAX_NESTED else ():
        yield from _of_artifact(inner, time, depth + 1)


# ------------------------------------------------------------------------------------------------- connaisseur and opa


class _Alert(msgspec.Struct, gc=False):
    """An alert whose template has Connaisseur's variables under their own names."""

    alert_message: str = ""
    namespace: str | None = None
    request_id: str | None = None
    images: str | list[str] | None = None
    timestamp: str | None = None


_ADMITTED: Final = "admitted a request"
"""Connaisseur's alert_message is one of two sentences; event types of its bundled templates are not to be trusted."""


def _of_alert(data: bytes) -> Iterator[Claim]:
    said = _ALERT.decode(data)
    images = said.images.split(",") if isinstance(said.images, str) else said.images or []
    yield Claim(
        feed="connaisseur",
        engine="connaisseur",
        result="pass" if _ADMITTED in said.alert_message.lower() else "fail",
        message=_words(said.alert_message),
        subject=Subject(namespace=_short(said.namespace), uid=""),
        images=tuple(_short(image.strip()) for image in images[:MAX_IMAGES] if image.strip()),
        time=wire.instant(said.timestamp),
        at_admission=True,
    )


class _Asked(msgspec.Struct, gc=False):
    kind: _Reference | None = None
    namespace: str | None = None
    name: str | None = None


class _Input(msgspec.Struct, gc=False):
    request: _Asked | None = None


class _AnswerStatus(msgspec.Struct, gc=False):
    message: str | None = None
    reason: str | None = None


class _Response(msgspec.Struct, gc=False):
    allowed: bool | None = None
    status: _AnswerStatus | None = None


class _Outcome(msgspec.Struct, gc=False):
    response: _Response | None = None


class _Decision(msgspec.Struct, gc=False):
    """An entry of OPA's decision log. Result and input are whatever the policy makes and takes."""

    decision_id: str = ""
    path: str | None = None
    timestamp: str | None = None
    input: msgspec.Raw = wire.NO_VALUE
    result: msgspec.Raw = wire.NO_VALUE


def _of_opa(data: bytes) -> Iterator[Claim]:
    said = _DECISION.decode(data)
    try:
        asked = _INPUT.decode(said.input).request if said.input else None
        answer = _OUTCOME.decode(said.result).response if said.result else None
    except wire.UNREADABLE:
        return  # a decision about something else than an admission
    if asked is None or answer is None or answer.allowed is None:
        return
    status = answer.status or _AnswerStatus()
    kind = asked.kind.kind if asked.kind else ""
    yield Claim(
        feed="opa",
        engine="opa",
        result="pass" if answer.allowed else "fail",
        policy=_short(said.path),
        message=_words(status.message or status.reason),
        subject=Subject(_short(kind), _short(asked.namespace), _short(asked.name)),
        time=wire.instant(said.timestamp),
        at_admission=True,
    )


# ------------------------------------------------------------------------------------------------------------- the door

_REPORT: Final = msgspec.json.Decoder(_Report)
_EXPORTED: Final = msgspec.json.Decoder(_Exported)
_LOGGED: Final = msgspec.json.Decoder(_Logged)
_DETAILS: Final = msgspec.json.Decoder(_Details)
_RATIFIED: Final = msgspec.json.Decoder(_Ratified)
_ALERT: Final = msgspec.json.Decoder(_Alert)
_DECISION: Final = msgspec.json.Decoder(_Decision)
_INPUT: Final = msgspec.json.Decoder(_Input)
_OUTCOME: Final = msgspec.json.Decoder(_Outcome)

_KINDS: Final = {
    "PolicyReport": "wgpolicyk8s.io",
    "ClusterPolicyReport": "wgpolicyk8s.io",
    "Report": "openreports.io",
    "ClusterReport": "openreports.io",
    "EphemeralReport": "reports.kyverno.io",
    "ClusterEphemeralReport": "reports.kyverno.io",
}
"""Kind -> API group of reports."""

_BY_MEMBERS: Final[tuple[tuple[frozenset[str], Callable[[bytes], Iterator[Claim]]], ...]] = (
    (frozenset({"eventType", "enforcementAction"}), _of_export),
    (frozenset({"event_type", "constraint_kind"}), _of_log),
    (frozenset({"isSuccess", "verifierReports"}), _of_ratify),
    (frozenset({"succeeded", "artifactReports"}), _of_ratify),
    (frozenset({"alert_message"}), _of_alert),
    (frozenset({"decision_id"}), _of_opa),
)
"""Members by which a document without a kind of Kubernetes is known, and who reads it."""


def read_reports(chunks: Iterable[bytes], max_body: int = MAX_BODY_BYTES) -> Iterator[Claim | Refused]:
    """Every claim of documents, lists and arrays, gzip or not, in order; refusals in between. Raises nothing.

    A document may have `max_body` bytes, after decompression.
    """
    for frame in split(chunks, max_body=max_body):
        if isinstance(frame, Refused):
            yield frame
        elif too_deep(frame.data):
            yield refused("too-deep", frame.data, frame.position)
        else:
            yield from _documents(frame.data, frame.position, 0)


def read_policy_report(data: bytes, position: str) -> Iterator[Claim | Refused]:
    """The claims of one report, whatever kind it says it is: items of a list may say none. Raises nothing."""
    if too_deep(data):
        yield refused("too-deep", data, position)
    else:
        yield from _read(_of_policy_report, data, position)


def _documents(data: bytes, position: str, depth: int) -> Iterator[Claim | Refused]:
    try:
        if data[:1] == b"[":
            elements: list[msgspec.Raw] | None = wire.RAW_LIST.decode(data)
        else:
            head = wire.HEAD.decode(data)
            listed = head.items and wire.text_of(head.kind).endswith("List")
            elements = wire.RAW_LIST.decode(head.items) if listed else None
        if elements is None:
            yield from _claims(data, position)
            return
    except wire.UNREADABLE as error:
        yield _refused(decode_problem(error), data, position)
        return
    if depth > 1:
        yield _refused(Problem("kind-not-read", "lists inside lists"), data, position)
        return
    for number, element in enumerate(elements):
        yield from _documents(bytes(element), f"{position}[{number}]", depth + 1)


def _claims(data: bytes, position: str) -> Iterator[Claim | Refused]:
    reader = _reader_of(wire.MEMBERS.decode(data))
    if reader is None:
        yield _refused(Problem("kind-missing"), data, position)
    else:
        yield from _read(reader, data, position)


def _read(reader: Callable[[bytes], Iterator[Claim]], data: bytes, position: str) -> Iterator[Claim | Refused]:
    if len(data) > MAX_EVENT_BYTES:
        yield refused("event-too-large", data, position)
        return
    found: list[Claim | Refused] = []
    try:
        for claim in reader(data):
            found.append(claim)
            if len(found) >= MAX_CLAIMS:
                break
    except wire.UNREADABLE as error:
        found = [_refused(decode_problem(error), data, position)]
    yield from found


def _reader_of(members: dict[str, msgspec.Raw]) -> Callable[[bytes], Iterator[Claim]] | None:
    kind, version = wire.text_of(members.get("kind")), wire.text_of(members.get("apiVersion"))
    if kind in _KINDS and version.startswith(f"{_KINDS[kind]}/"):
        return _of_policy_report
    return next((reader for names, reader in _BY_MEMBERS if names <= members.keys()), None)


def _refused(problem: Problem, data: bytes, position: str) -> Refused:
    return refused(problem.code, data, position, detail=problem.detail, excerpt=excerpt(data))


def _short(text: str | None) -> str:
    return (text or "")[:MAX_NAME]


def _words(text: str | None) -> str:
    return (text or "")[:MAX_MESSAGE]
