"""Audit events in the envelopes of clouds: what is inside is read, what is broken is named, a cluster is never read."""

from __future__ import annotations

import gzip
import json
from base64 import b64encode
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.collectors import CODES, IGNORED, Stream, read_stream, reduced_original
from streams.events import DeadLetter, DecisionObserved, FeedSeen
from tests.helpers.audit_events import PINNED, event, pod

EVENT = event()
LINE = json.dumps(EVENT)


def b64(data: str | bytes) -> str:
    return b64encode(data.encode() if isinstance(data, str) else data).decode()


def cloudwatch(*messages: str, stream: str = "kube-apiserver-audit-0a1b", kind: str = "DATA_MESSAGE") -> dict[str, Any]:
    lines = [{"id": str(n), "timestamp": 1, "message": message} for n, message in enumerate(messages)]
    return {
        "messageType": kind,
        "owner": "1",
        "logGroup": "/aws/eks/c/cluster",
        "logStream": stream,
        "logEvents": lines,
    }


def firehose(*payloads: bytes) -> dict[str, Any]:
    return {"requestId": "ed4a", "timestamp": 1, "records": [{"data": b64(payload)} for payload in payloads]}


def nested(times: int) -> dict[str, Any]:
    body = firehose(b"{}")
    for _ in range(times):
        body = firehose(json.dumps(body).encode())
    return body


def azure(log: Any, category: str = "kube-audit-admin") -> dict[str, Any]:
    return {"category": category, "operationName": "x", "properties": {"log": log, "stream": "stdout"}, "time": "t"}


def google(method: str = "io.k8s.core.v1.pods.create", resource: str = "", **payload: Any) -> dict[str, Any]:
    return {
        "protoPayload": {
            "@type": "type.googleapis.com/google.cloud.audit.AuditLog",
            "serviceName": "k8s.io",
            "methodName": method,
            "resourceName": resource or "core/v1/namespaces/pay/pods/api",
            "authenticationInfo": {"principalEmail": "alice@example.com"},
            "requestMetadata": {"callerIp": "192.0.2.1", "callerSuppliedUserAgent": "kubectl"},
            "status": {},
            **payload,
        },
        "insertId": "a-1",
        "operation": {"id": "a-1", "producer": "k8s.io", "first": True, "last": True},
        "resource": {"type": "k8s_cluster", "labels": {"cluster_name": "lie"}},
        "timestamp": "2026-11-20T18:51:44.136391Z",
        "labels": {"authorization.k8s.io/decision": "allow"},
    }


def pubsub(entry: dict[str, Any]) -> dict[str, Any]:
    return {"message": {"data": b64(json.dumps(entry)), "messageId": "1"}, "subscription": "projects/p/subscriptions/s"}


def seen(body: Any) -> tuple[list[Any], Counter[str]]:
    stream, found = Stream(cluster="mine", source="s"), []
    for raw in read_stream([body if isinstance(body, bytes) else json.dumps(body).encode()], kind="audit"):
        found += [o for o in stream.observe(raw, received=1) if not isinstance(o, FeedSeen)]
    return found, stream.ignored


WRAPPED = {
    "a CloudWatch subscription": (cloudwatch(LINE, LINE.replace("11111111", "2")), 2),
    "Firehose with compressed CloudWatch data": (firehose(gzip.compress(json.dumps(cloudwatch(LINE)).encode())), 1),
    "Firehose with plain messages": (firehose(LINE.encode() + b"\n" + LINE.encode(), LINE.encode()), 3),
    "an Azure record with the event as text": (azure(LINE), 1),
    "an Azure record with the event as an object": (azure(EVENT, "kube-audit"), 1),
    "a batch of Event Hubs": ({"records": [azure(LINE), azure(EVENT)]}, 2),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_what_is_inside_is_what_was_sent(name):
    """The same decision as without the envelope, down to its id: a copy that came another way is on record once."""
    body, number = WRAPPED[name]
    (bare,), _ = seen(EVENT)
    found, ignored = seen(body)
    assert [type(o) for o in found] == [DecisionObserved] * number
    assert found[0].id == bare.id
    assert not ignored
    assert {o.cluster for o in found} == {"mine"}


def test_gke_has_request_response_and_who():
    entry = google(request=pod(PINNED), response=pod(PINNED, uid="u-1"))
    for body in (entry, pubsub(entry)):
        (decision,), _ = seen(body)
        assert (decision.outcome, decision.operation, decision.resource) == ("admitted", "create", "pods")
        assert (decision.namespace, decision.name, decision.uid) == ("pay", "api", "u-1")
        assert (decision.user, decision.source_ips, decision.audit_id) == ("alice@example.com", ("192.0.2.1",), "a-1")
        assert (decision.level, decision.cluster) == ("RequestResponse", "mine")
        assert [image.stored for image in decision.images]


def test_gke_denied_by_binary_authorization():
    words = 'pods "api" is forbidden: image policy webhook backend denied one or more images: no attestor'
    answer = {"@type": "core.k8s.io/v1.Status", "kind": "Status", "code": 403, "reason": "Forbidden", "message": words}
    (decision,), _ = seen(google(request=pod(PINNED), response=answer, status={"code": 7, "message": "Forbidden"}))
    assert (decision.outcome, decision.engine, decision.code) == ("denied", "image-policy-webhook", 403)
    assert decision.uid == ""


PLACES = {
    "core/v1/namespaces/pay/pods/api/ephemeralcontainers": (
        "io.k8s.core.v1.pods.ephemeralcontainers.patch", "pay", "pods/ephemeralcontainers"
    ),
    "apps/v1/namespaces/pay/deployments/web": ("io.k8s.apps.v1.deployments.update", "pay", "deployments"),
    "core/v1/namespaces/pay/pods": ("io.k8s.core.v1.pods.create", "pay", "pods"),
}  # fmt: skip


@pytest.mark.parametrize("resource", PLACES)
def test_gke_names_what_it_is_about_in_one_text(resource):
    method, namespace, expected = PLACES[resource]
    (decision,), _ = seen(google(method, resource))
    assert (decision.namespace, decision.resource) == (namespace, expected)


def test_gke_namespaces_themselves():
    stored = {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "pay", "labels": {"team": "pay"}}}
    found, _ = seen(google("io.k8s.core.v1.namespaces.patch", "core/v1/namespaces/pay", response=stored))
    assert found[0].labels == (("team", "pay"),)


OTHERS = {
    "an authenticator's stream": cloudwatch("time=1 level=info", stream="authenticator-0a1b"),
    "CloudWatch saying hello": cloudwatch("CWL CONTROL MESSAGE", stream="", kind="CONTROL_MESSAGE"),
    "Azure's guard": azure("I0101 text", "guard"),
    "another Google service": google(serviceName="compute.googleapis.com"),
    "a health check": google("io.k8s.get", "readyz"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_log_asks_for_nothing_and_is_counted(name):
    found, ignored = seen(OTHERS[name])
    assert (found, dict(ignored)) == ([], {"other-log": 1})


BROKEN = {
    "base64 that is none": ({"requestId": "x", "records": [{"data": "*"}]}, "envelope-malformed"),
    "records that are no list": ({"records": 7}, "envelope-malformed"),
    "a message without data": ({"message": 1, "subscription": "s"}, "envelope-malformed"),
    "a message cut by CloudWatch": (cloudwatch(LINE[:80]), "json-malformed"),
    "a message that is no JSON": (cloudwatch("I0101 00:00:00 text"), "not-an-object"),
    "an Azure record without a log": (azure(None), "not-an-object"),
    "a log entry of another shape": ({"protoPayload": {"serviceName": 7}}, "envelope-malformed"),
    "compressed data that is damaged": (firehose(gzip.compress(bytes(range(256)) * 4)[:60]), "gzip-truncated"),
    "a bomb": (firehose(gzip.compress(b" " * 50_000_000)), "gzip-expands"),
    "envelopes without an end": (nested(5), "kind-not-read"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_named_and_the_next_is_read(name):
    body, code = BROKEN[name]
    found, _ = seen(json.dumps(body).encode() + b"\n" + LINE.encode())
    assert code in [letter.code for letter in found if isinstance(letter, DeadLetter)]
    assert isinstance(found[-1], DecisionObserved)


def test_one_broken_record_does_not_cost_the_others():
    found, _ = seen(cloudwatch(LINE, "{", LINE.replace("11111111", "2")))
    assert [type(o).__name__ for o in found] == ["DecisionObserved", "DeadLetter", "DecisionObserved"]


def test_nothing_of_a_value_is_in_a_dead_letter():
    found, _ = seen({"requestId": "hunter2", "records": [{"data": "hunter2*"}], "hunter2": 1})
    assert "hunter2" not in repr(found)


def test_what_is_kept_stands_alone():
    (raw,) = read_stream([json.dumps(google(request=pod(PINNED), response=pod(PINNED, uid="u"))).encode()])
    (decision,), _ = seen(google(request=pod(PINNED), response=pod(PINNED, uid="u")))
    (again,), _ = seen(reduced_original(raw))
    assert again.id == decision.id


MEMBERS = st.sampled_from(
    ["records", "data", "requestId", "message", "subscription", "messageType", "logStream", "logEvents", "category",
     "properties", "log", "protoPayload", "serviceName", "resourceName", "response", "request", "status", "labels"]
)  # fmt: skip
LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=8)
JSON = st.recursive(
    LEAVES | st.sampled_from([b64("x"), "kube-audit", "k8s.io", LINE]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(MEMBERS, inner, max_size=5),
    max_leaves=20,
)


@settings(max_examples=300)
@given(st.dictionaries(MEMBERS, JSON, max_size=6))
def test_garbage_never_stops_anything(body):
    found, ignored = seen(body)
    assert {o.code for o in found if isinstance(o, DeadLetter)} <= set(CODES)
    assert set(ignored) <= set(IGNORED)
    assert found or ignored
