"""Audit events and pods made by hand, as small as they can be, and what the collectors make of them."""

import json
from collections import Counter

from streams.collectors import observe, read_stream
from streams.events import DecisionObserved

PINNED = "registry.example.com/pay/api:1@sha256:" + "a" * 64
TIME = 1_795_200_704_136_391


def pod(*images, kind="Pod", **meta):
    containers = [
        {"name": f"c{n}", "image": image, "env": [{"name": "K", "value": "V"}]} for n, image in enumerate(images)
    ]
    return {
        "kind": kind,
        "apiVersion": "v1",
        "metadata": {"name": "api", "namespace": "pay", **meta},
        "spec": {"containers": containers},
    }


def event(verb="create", *, code=201, message=None, reference=None, annotations=None, **members):
    notes = {"authorization.k8s.io/decision": "allow"} | (annotations or {})
    whole = {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "RequestResponse",
        "auditID": "11111111-2222",
        "stage": "ResponseComplete",
        "requestURI": "/api/v1/namespaces/pay/pods?fieldManager=kubectl",
        "verb": verb,
        "user": {"username": "alice", "groups": ["dev"]},
        "sourceIPs": ["192.0.2.1"],
        "userAgent": "kubectl",
        "objectRef": {"resource": "pods", "namespace": "pay", "name": "api", "apiVersion": "v1", **(reference or {})},
        "responseStatus": {"code": code, "message": message},
        "requestReceivedTimestamp": "2026-11-20T18:51:44.136391Z",
        "annotations": {key: value for key, value in notes.items() if value is not None},
    }
    return whole | members


def read(value):
    """(observations, ignored reasons)."""
    reasons: Counter[str] = Counter()
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    found = observe(data, cluster="c1", source="test", ignored=reasons)
    return found, list(reasons)


def decide(value):
    (decision,), reasons = read(value)
    assert isinstance(decision, DecisionObserved)
    assert not reasons
    return decision


# Untyped on purpose: a test knows which observation it expects, and says so by looking at its members.


def read_items(chunks, **options):
    return list(read_stream(chunks, **options))


def observe_all(raw, **options):
    return observe(raw, **options)


def take(stream, raw, **options):
    return stream.observe(raw, **options)
