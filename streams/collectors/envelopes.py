"""Audit events as clouds deliver them: what is wrapped around them, taken off. Pure: bytes in, bytes out.

    unwrap(head, data)       what is inside; an `Opened` without pieces for another log; None: no envelope

| delivered by                 | looks like                                           | inside                    |
|------------------------------|------------------------------------------------------|---------------------------|
| Google Pub/Sub, push         | `{message: {data: base64}, subscription}`            | a LogEntry                |
| Google Cloud Logging (GKE)   | `{protoPayload: {serviceName: k8s.io, …}}`           | made into an audit event  |
| Amazon Data Firehose         | `{requestId, records: [{data: base64}]}`             | what CloudWatch sent      |
| Amazon CloudWatch Logs (EKS) | `{messageType, logStream, logEvents: [{message}]}`   | an audit event each       |
| Azure Event Hubs (AKS)       | `{records: […]}`                                     | diagnostic records        |
| Azure diagnostic record      | `{category: kube-audit, properties: {log}}`          | an audit event            |

Which cluster it is about is never taken from here: the sender says that.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Iterator
from typing import Final

import msgspec

from streams.collectors import wire
from streams.collectors.deadletters import Problem


class Opened(msgspec.Struct, frozen=True, gc=False):
    """An envelope that was opened."""

    pieces: tuple[bytes, ...] = ()
    """What was in it; documents, perhaps compressed. None: a log that has nothing to do with audit."""


OTHER: Final = Opened()


class _Record(msgspec.Struct, gc=False):
    data: str = ""


class _LogLine(msgspec.Struct, gc=False):
    message: str = ""


class _Properties(msgspec.Struct, gc=False):
    log: msgspec.Raw = wire.NO_VALUE


class _Who(msgspec.Struct, gc=False, rename="camel"):
    principal_email: str = ""


class _Request(msgspec.Struct, gc=False, rename="camel"):
    caller_ip: str = ""
    caller_supplied_user_agent: str = ""


class _Status(msgspec.Struct, gc=False):
    code: int | None = None
    message: str = ""


class _Payload(msgspec.Struct, gc=False, rename="camel"):
    """google.cloud.audit.AuditLog, as GKE fills it."""

    service_name: str = ""
    method_name: str = ""
    resource_name: str = ""
    authentication_info: _Who = msgspec.field(default_factory=_Who)
    request_metadata: _Request = msgspec.field(default_factory=_Request)
    request: msgspec.Raw = wire.NO_VALUE
    response: msgspec.Raw = wire.NO_VALUE
    status: _Status = msgspec.field(default_factory=_Status)


class _Operation(msgspec.Struct, gc=False):
    id: str = ""
    first: bool = False
    last: bool = False


class _LogEntry(msgspec.Struct, gc=False, rename="camel"):
    proto_payload: _Payload
    insert_id: str = ""
    timestamp: str = ""
    labels: dict[str, str] = {}
    operation: _Operation | None = None


class _Answer(msgspec.Struct, gc=False):
    kind: str = ""
    code: int | None = None
    reason: str = ""
    message: str = ""


_RECORDS: Final = msgspec.json.Decoder(list[_Record])
_LINES: Final = msgspec.json.Decoder(list[_LogLine])
_PROPERTIES: Final = msgspec.json.Decoder(_Properties)
_ENTRY: Final = msgspec.json.Decoder(_LogEntry)
_MESSAGE: Final = msgspec.json.Decoder(_Record)
_ANSWER: Final = msgspec.json.Decoder(_Answer)

KUBERNETES: Final = "k8s.io"
AUDIT_STREAM: Final = "kube-apiserver-audit"
"""Beginning of the names of CloudWatch streams with audit events."""
AUDIT_CATEGORIES: Final = frozenset({"kube-audit", "kube-audit-admin"})
HTTP_OF_RPC: Final = {0: 200, 3: 400, 5: 404, 6: 409, 7: 403, 8: 429, 9: 422, 10: 409, 13: 500, 14: 503, 16: 401}
"""google.rpc.Code -> the code Kubernetes answers with. Only where the response itself does not say."""


def unwrap(head: wire.Head, data: bytes) -> Opened | Problem | None:
    """What is in an envelope, a problem when it is one and is broken, None when it is none. Raises nothing."""
    try:
        if head.proto_payload:
            return _of_google(data)
        if head.category and head.properties:
            return _of_azure(head)
        if head.records:
            return _of_records(head)
        if head.message_type and (head.log_events or head.log_stream):
            return _of_cloudwatch(head)
        if head.message and head.subscription:
            return _decoded([_MESSAGE.decode(head.message)])
    except wire.UNREADABLE:
        return Problem("envelope-malformed")
    return None


def _of_azure(head: wire.Head) -> Opened | Problem:
    if wire.text_of(head.category) not in AUDIT_CATEGORIES:
        return OTHER
    log = _PROPERTIES.decode(head.properties).log
    if not log:
        return Problem("envelope-malformed", "properties.log")
    text = bytes(log)
    return Opened((wire.TEXT.decode(log).encode() if text.startswith(b'"') else text,))


def _of_records(head: wire.Head) -> Opened | Problem:
    """Of Event Hubs the records are objects of their own; those of Firehose have bytes in base64."""
    if head.request_id:
        return _decoded(_RECORDS.decode(head.records))
    return Opened(tuple(bytes(record) for record in wire.RAW_LIST.decode(head.records)))


def _decoded(records: list[_Record]) -> Opened | Problem:
    try:
        return Opened(tuple(b64decode(record.data, validate=True) for record in records))
    except (binascii.Error, ValueError):
        return Problem("envelope-malformed", "data is not base64")


def _of_cloudwatch(head: wire.Head) -> Opened:
    if wire.text_of(head.message_type) != "DATA_MESSAGE" or not wire.text_of(head.log_stream).startswith(AUDIT_STREAM):
        return OTHER
    return Opened(tuple(line.message.encode() for line in _LINES.decode(head.log_events)))


# ----------------------------------------------------------------------------------------------------------------- GKE


def _of_google(data: bytes) -> Opened | Problem:
    entry = _ENTRY.decode(data)
    if entry.proto_payload.service_name != KUBERNETES:
        return OTHER
    place = _Place.of(entry.proto_payload.resource_name)
    if place is None:
        return OTHER  # `readyz` and the like: no object
    return Opened((msgspec.json.encode(dict(_event(entry, place))),))


class _Place(msgspec.Struct, frozen=True, gc=False):
    """What `core/v1/namespaces/shop/pods/api/ephemeralcontainers` names."""

    group: str
    version: str
    namespace: str
    resource: str
    name: str
    subresource: str

    @classmethod
    def of(cls, text: str) -> _Place | None:
        """None when it names no resource."""
        group, _, rest = text.partition("/")
        version, _, rest = rest.partition("/")
        parts = rest.split("/") if rest else []
        namespace = ""
        if len(parts) > 2 and parts[0] == "namespaces" and parts[2] not in ("status", "finalize"):
            namespace, parts = parts[1], parts[2:]
        if not parts:
            return None
        name, subresource = (*parts[1:3], "", "")[:2]
        return cls("" if group == "core" else group, version, namespace, parts[0], name, subresource)

    def uri(self) -> str:
        """Where the API server has it."""
        base = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        inside = ("namespaces", self.namespace) if self.namespace else ()
        return "/".join((base, *inside, *(p for p in (self.resource, self.name, self.subresource) if p)))


def _event(entry: _LogEntry, place: _Place) -> Iterator[tuple[str, object]]:
    """Members of the audit event that Cloud Logging made the entry of, as far as it kept them."""
    payload, operation = entry.proto_payload, entry.operation
    answer = _answer_of(payload)
    begun = operation is not None and operation.first and not operation.last
    level = "RequestResponse" if payload.response else "Request" if payload.request else "Metadata"
    yield from (("kind", "Event"), ("apiVersion", "audit.k8s.io/v1"), ("level", level))
    yield "auditID", (operation.id if operation else "") or entry.insert_id
    yield "stage", "ResponseStarted" if begun else "ResponseComplete"
    yield "requestURI", place.uri()
    yield "verb", payload.method_name.rpartition(".")[2]
    yield "user", {"username": payload.authentication_info.principal_email}
    yield "sourceIPs", [payload.request_metadata.caller_ip] if payload.request_metadata.caller_ip else []
    yield "userAgent", payload.request_metadata.caller_supplied_user_agent
    reference = {"resource": place.resource, "namespace": place.namespace, "name": place.name}
    yield "objectRef", {**reference, "apiGroup": place.group, "subresource": place.subresource}
    yield "responseStatus", {"code": answer.code, "reason": answer.reason, "message": answer.message}
    if payload.request:
        yield "requestObject", payload.request
    if payload.response and (answer.code or 0) < 400:
        yield "responseObject", payload.response
    yield from (("requestReceivedTimestamp", entry.timestamp), ("annotations", entry.labels))


def _answer_of(payload: _Payload) -> _Answer:
    said = _ANSWER.decode(payload.response) if payload.response else _Answer()
    if said.kind == "Status" and said.code:
        return said
    return _Answer("", HTTP_OF_RPC.get(payload.status.code or 0, 500), "", payload.status.message)
