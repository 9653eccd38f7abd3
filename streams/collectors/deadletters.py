"""Why an input was not read, and why an input that was read asks for nothing: two closed lists.

A dead letter says where, how long, which hash, and the structure (kinds and known member names). It never repeats a
value, so no secret of an input can reach a log or a screen this way.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from streams.collectors import wire
from streams.collectors.framing import MAX_BODY_BYTES, MAX_EVENT_BYTES, MAX_NESTING, Refused
from streams.events import DeadLetter
from verifier.canonical import stable_id

CODES: Final[dict[str, str]] = {
    "body-too-large": f"longer than {MAX_BODY_BYTES:,} bytes; give lists in pages, or as JSON lines",
    "document-malformed": "a document of the record that Elasticsearch could not be sent: a defect of revet; report it",
    "document-parked": "a document that does not fit its mapping and lies in the failure store; `revet index check`",
    "document-refused": "a document that Elasticsearch refuses for what it is; `revet index check`",
    "envelope-malformed": "a cloud's envelope with nothing in it that can be read",
    "event-too-large": f"one event or object longer than {MAX_EVENT_BYTES:,} bytes",
    "gzip-broken": "the compressed data is damaged",
    "gzip-expands": "the compressed data expands far more than JSON does",
    "gzip-truncated": "the compressed data ends early",
    "invalid-utf8": "a text is not UTF-8",
    "json-malformed": "not JSON",
    "json-truncated": "the JSON ends early",
    "kind-missing": "a document without a kind that can be recognised",
    "kind-not-read": "a kind this version does not read",
    "kind-unexpected": "a kind that does not belong into this feed",
    "member-missing": "a member is missing without which the object cannot be placed",
    "not-an-object": "neither a JSON object nor an array",
    "not-utf-8": "another encoding than UTF-8; convert it first",
    "object-malformed": "a member has another type than Kubernetes gives it",
    "record-too-large": "an observation longer than a record may be; it was cut, and what is left of it is judged",
    "record-unreadable": "a record of the log that is none of ours, or damaged; whoever wrote it has to write it again",
    "time-missing": "no time in it, and none given by the receiver",
    "trust-refused": "an entry of the trust log that does not count; see `revet explain trust-refused`",
    "too-deep": f"nested deeper than {MAX_NESTING} levels",
    "watch-error": "the API server ended the watch; the pods have to be listed anew",
    "yaml-not-read": "YAML; give JSON (kubectl ... -o json)",
}
"""Code -> what it means and, where there is something to do, what."""

IGNORED: Final[dict[str, str]] = {
    "attach": "somebody attached to a container; the image does not change",
    "bad-request": "refused as malformed before or after admission",
    "binding": "a pod was given a node",
    "bookmark": "a sign of life at the start of a recording, before any time is known",
    "conflict": "the object existed already, or had changed",
    "dry-run-configuration": "a change of configuration that was only tried",
    "dry-run-unsupported": "a webhook could not be asked because it has side effects",
    "empty-list": "a list without items",
    "eviction": "a pod was evicted; the deletion follows in the pod watch",
    "exec": "somebody ran a command in a container; the image does not change",
    "finalize": "a finalizer was removed",
    "forbidden": "refused by authorization, before admission",
    "invalid": "refused by validation, no matter what admission says",
    "namespace-refused": "a namespace was not created or changed",
    "no-object": "a request for no object, such as a health check",
    "no-status": "an event without an outcome",
    "not-found": "the object did not exist",
    "other-log": "a log of a control plane that is not the audit log",
    "portforward": "somebody opened a port of a pod; the image does not change",
    "proxy": "somebody spoke to a pod through the API server; the image does not change",
    "read": "somebody read; nothing changed",
    "resize": "resources of a running pod; images do not change",
    "resource": "a resource revet does not judge",
    "scale": "a number of replicas",
    "server-error": "the API server failed for a reason that is not admission",
    "stage": "an earlier stage of a request; the outcome comes with ResponseComplete",
    "status": "a status report; the pod watch tells more",
    "subresource": "a part of an object that holds no image",
    "token": "a token was asked for",
    "too-large": "refused for its size",
    "too-many-requests": "refused to protect the API server",
    "unauthenticated": "refused by authentication, before admission",
    "verb": "a verb that stores nothing",
}
"""Reason -> why an understood input makes no observation. Counted, so that nothing is left out unseen."""


class Ignored(msgspec.Struct, frozen=True, gc=False):
    """Understood, and no observation follows. `reason` is of `IGNORED`."""

    reason: str


class Problem(msgspec.Struct, frozen=True, gc=False):
    """Not understood. `code` is of `CODES`."""

    code: str
    detail: str = ""


MAX_EXCERPT: Final = 256
"""Characters of structure in a dead letter."""

_MEMBERS: Final = frozenset(
    {
        "annotations",
        "apiVersion",
        "auditID",
        "category",
        "details",
        "items",
        "kind",
        "level",
        "log",
        "message",
        "metadata",
        "object",
        "objectRef",
        "oldObject",
        "operation",
        "operationName",
        "properties",
        "protoPayload",
        "reason",
        "records",
        "request",
        "requestObject",
        "requestURI",
        "resource",
        "response",
        "responseObject",
        "responseStatus",
        "results",
        "scope",
        "source",
        "spec",
        "stage",
        "status",
        "summary",
        "type",
        "user",
        "verb",
    }
)
"""Member names that may be shown in an excerpt."""

_KIND: Final = re.compile(r"[A-Z][A-Za-z0-9]{0,62}\Z")


def kind_name(text: str) -> str:
    """A kind that may be shown: it has the form Kubernetes demands of kinds. Empty otherwise."""
    return text if _KIND.match(text) else ""


def excerpt(data: bytes) -> str:
    """The structure of a document: its kind and the names of known members. Empty when it cannot be decoded."""
    try:
        members = wire.MEMBERS.decode(data)
    except wire.UNREADABLE:
        return ""
    known = sorted(member for member in members if member in _MEMBERS)
    unknown = len(members) - len(known)
    shown = [f"kind {kind_name(wire.text_of(members.get('kind'))) or 'none'}", *known]
    return (" ".join(shown) + (f" +{unknown}" if unknown else ""))[:MAX_EXCERPT]


def decode_problem(error: Exception) -> Problem:
    """Which problem a decoder's error is. Its text is used only where it holds no value: the path of a wrong type."""
    if isinstance(error, RecursionError):
        return Problem("too-deep")
    if isinstance(error, msgspec.ValidationError):
        _, _, path = str(error).rpartition(" - at ")
        return Problem("object-malformed", path.strip("`"))
    if isinstance(error, UnicodeDecodeError):
        return Problem("invalid-utf8")
    return Problem("json-truncated" if "truncated" in str(error) else "json-malformed")


def dead_letter(refusal: Refused, *, source: str, time: int) -> DeadLetter:
    """The dead letter of a refusal; `source` is the stream, the refusal adds the position."""
    place = f"{source}:{refusal.position}" if refusal.position else source
    return DeadLetter(
        id=stable_id("deadletter", place, refusal.sha256),
        time=time,
        source=place,
        code=refusal.code,
        message=CODES[refusal.code] + (f" ({refusal.detail})" if refusal.detail else ""),
        size=refusal.size,
        sha256=refusal.sha256,
        excerpt=refusal.excerpt,
    )
