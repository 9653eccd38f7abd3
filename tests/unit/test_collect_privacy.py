"""Secrets of a cluster leave nowhere: not in observations, not in reduced originals, not in dead letters."""

import copy
import json
import re
from pathlib import Path

import msgspec
import pytest

from streams.collectors import CODES, Stream, reduced_original, wire
from streams.collectors import reduce as allowed
from streams.events import DeadLetter, DecisionObserved
from tests.helpers.audit_events import observe_all, read_items

SECRET = "s3cr3t-hunter2"
ROOT = Path(__file__).resolve().parents[2]


def spec():
    container = {
        "name": "app",
        "image": "r/api:1",
        "command": ["sh", "-c", SECRET],
        "args": [f"--token={SECRET}"],
        "env": [
            {"name": SECRET, "value": SECRET},
            {"name": "T", "valueFrom": {"secretKeyRef": {"name": SECRET, "key": "k"}}},
        ],
        "envFrom": [{"secretRef": {"name": SECRET}}],
        "livenessProbe": {"exec": {"command": [SECRET]}},
        "lifecycle": {"postStart": {"exec": {"command": [SECRET]}}},
        "workingDir": SECRET,
        "volumeMounts": [{"name": SECRET, "mountPath": SECRET}],
    }
    return {
        "containers": [container],
        "initContainers": [container | {"name": "init"}],
        "imagePullSecrets": [{"name": SECRET}],
        "ephemeralContainers": [container | {"name": "dbg"}],
        "volumes": [{"name": SECRET, "secret": {"secretName": SECRET}}, {"name": "m", "image": {"reference": "r/m:1"}}],
        "hostAliases": [{"ip": "192.0.2.1", "hostnames": [SECRET]}],
    }


def meta(**more):
    note = json.dumps({"env": SECRET})
    return {
        "name": "api",
        "namespace": "pay",
        "uid": "u",
        "labels": {"app": "api"},
        "generateName": "api-",
        "annotations": {
            "kubectl.kubernetes.io/last-applied-configuration": note,
            "vault/token": SECRET,
            "kyverno.io/verify-images": '{"r/api:1":"pass"}',
        },
        "managedFields": [{"manager": SECRET, "fieldsV1": {f"f:{SECRET}": {}}}],
        "finalizers": [SECRET],
    } | more


POD = {
    "kind": "Pod",
    "apiVersion": "v1",
    "metadata": meta(),
    "spec": spec(),
    "status": {
        "phase": "Running",
        "message": SECRET,
        "reason": SECRET,
        "conditions": [{"type": SECRET, "message": SECRET}],
        "containerStatuses": [
            {
                "name": "app",
                "image": SECRET,
                "imageID": "",
                "volumeMounts": [{"name": SECRET}],
                "state": {"waiting": {"reason": SECRET, "message": SECRET}},
                "lastState": {"terminated": {"message": SECRET}},
            }
        ],
    },
}
TEMPLATE = {"kind": "Deployment", "metadata": meta(), "spec": {"template": {"metadata": meta(), "spec": spec()}}}
CRON = {
    "kind": "CronJob",
    "metadata": meta(),
    "spec": {"jobTemplate": {"metadata": meta(), "spec": {"template": {"metadata": meta(), "spec": spec()}}}},
}
CONFIG = {
    "kind": "ConfigMap",
    "metadata": meta(labels={"x": SECRET}),
    "data": {"k": SECRET},
    "stringData": {"k": SECRET},
}
INJECTION = [
    {"op": "add", "path": "/spec/containers/-", "value": spec()["containers"][0]},
    {"op": "add", "path": "/spec/volumes", "value": spec()["volumes"]},
    {"op": "add", "path": "/spec/containers/0/env", "value": [{"name": "x", "value": SECRET}]},
    {"op": "replace", "path": "/spec/containers/0/image", "value": "r/api@sha256:" + "a" * 64},
    {"op": "add", "path": "/metadata/annotations/x", "value": SECRET},
    {"op": "add", "path": "/metadata/labels/x~1break-glass", "value": "inc-1"},
]


def event(resource="pods", *, group="", verb="create", code=201, message=None, uri=None, **members):
    patch = {"configuration": "c", "webhook": "w", "patch": INJECTION, "patchType": "JSONPatch"}
    return {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "RequestResponse",
        "auditID": "1",
        "stage": "ResponseComplete",
        "requestURI": uri or f"/api/v1/namespaces/pay/{resource}?fieldManager=k&token={SECRET}",
        "verb": verb,
        "user": {"username": "alice", "uid": SECRET, "groups": ["dev"], "extra": {"token": [SECRET]}},
        "objectRef": {"resource": resource, "apiGroup": group, "namespace": "pay", "name": "api"},
        "responseStatus": {"code": code, "message": message, "details": {"causes": [{"message": SECRET}]}},
        "requestReceivedTimestamp": "2026-11-20T18:51:44.136391Z",
        "annotations": {
            "authorization.k8s.io/decision": "allow",
            "authorization.k8s.io/reason": SECRET,
            "webhook.example.com/note": SECRET,
            "patch.webhook.admission.k8s.io/round_0_index_0": json.dumps(patch),
        },
    } | members


DIFF = f'Pod "api" is invalid: spec: Forbidden: no\n-  "Env": "{SECRET}"'
INPUTS = {
    "a pod": POD,
    "a watched pod": {"type": "MODIFIED", "object": POD},
    "a pod list": {"kind": "PodList", "metadata": {"selfLink": SECRET}, "items": [POD, POD]},
    "a pod created": event(requestObject=POD, responseObject=POD),
    "a pod created, level Request": event(requestObject=POD),
    "a pod denied": event(code=403, message='admission webhook "w" denied the request: no', requestObject=POD),
    "a pod invalid": event(code=422, message=DIFF, requestObject=POD),
    "a JSON patch": event(verb="patch", code=200, requestObject=INJECTION, responseObject=POD),
    "a deployment": event("deployments", group="apps", requestObject=TEMPLATE, responseObject=TEMPLATE),
    "a cron job": event("cronjobs", group="batch", requestObject=CRON, responseObject=CRON),
    "a secret": event("secrets", requestObject=CONFIG, responseObject=CONFIG),
    "a config map": event("configmaps", requestObject=CONFIG, responseObject=CONFIG),
    "a policy": event("clusterpolicies", group="kyverno.io", requestObject=CONFIG, responseObject=CONFIG),
    "an exec": event(
        verb="get",
        uri=f"/api/v1/namespaces/pay/pods/api/exec?command={SECRET}",
        objectRef={"resource": "pods", "subresource": "exec", "namespace": "pay", "name": "api"},
    ),
    "a namespace": event(
        "namespaces",
        requestObject={"kind": "Namespace", "metadata": meta(labels={"team": "pay"})},
        responseObject={"kind": "Namespace", "metadata": meta(labels={"team": "pay"})},
    ),
    "a review": {
        "kind": "AdmissionReview",
        "apiVersion": "admission.k8s.io/v1",
        "request": {"object": POD},
        SECRET: SECRET,
    },
    "another kind": {"kind": "Unheard", "apiVersion": f"{SECRET}/v1", SECRET: SECRET, "spec": spec()},
    "no kind": {SECRET: SECRET, "kind": [SECRET]},
    "a malformed pod": {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": [SECRET], SECRET: 1}},
    "a malformed event": event(requestObject={"spec": {"containers": SECRET}}),
    "a pod without uid": POD | {"metadata": meta(uid=None)},
    "an error of the watch": {"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": SECRET}},
}
BROKEN = {
    "cut off": json.dumps(POD)[:-20].encode(),
    "trailing text": json.dumps(POD).encode() + SECRET.encode(),
    "no JSON": f"password={SECRET}".encode(),
    "YAML": f"kind: Secret\ndata:\n  k: {SECRET}\n".encode(),
    "not UTF-8": b'{"kind":"Pod","apiVersion":"v1","metadata":{"name":"' + SECRET.encode() + b'\xff"}}',
}
CASES = {name: json.dumps(value).encode() for name, value in INPUTS.items()} | BROKEN


@pytest.mark.parametrize("name", CASES)
def test_planted_secrets_appear_nowhere(name):
    assert SECRET.encode() in CASES[name]
    stream = Stream(cluster="c1", source="file")
    for raw in read_items([CASES[name]]):
        kept = reduced_original(raw)
        assert SECRET.encode() not in kept
        for observation in stream.observe(raw):
            assert SECRET not in repr(observation)
            assert SECRET.encode() not in msgspec.json.encode(observation)
        again = observe_all(kept, cluster="c1", source="f") if kept else []
        first = observe_all(raw, cluster="c1", source="f")
        if kept and not any(isinstance(observation, DeadLetter) for observation in first):
            assert again == first, "a second reading differs"


def test_a_message_of_admission_is_kept_and_one_of_validation_is_not():
    kept = [reduced_original(raw) for value in ("a pod denied", "a pod invalid") for raw in read_items([CASES[value]])]
    assert b"denied the request: no" in kept[0]
    assert b"is invalid" not in kept[1]


def test_the_reduced_patch_of_a_webhook_still_tells_the_images():
    (raw,) = read_items([CASES["a pod created, level Request"]])
    (before,) = observe_all(raw, cluster="c", source="f")
    (after,) = observe_all(reduced_original(raw), cluster="c", source="f")
    assert isinstance(before, DecisionObserved)
    assert before == after
    assert {(image.container, image.stored) for image in after.images} >= {("app", "r/api:1")}


def test_reducing_twice_changes_nothing():
    for name, data in CASES.items():
        for raw in read_items([data]):
            once = reduced_original(raw)
            for again in read_items([once]):
                assert reduced_original(again) == once, name


def test_reducing_leaves_the_item_as_it_was():
    for raw in read_items([CASES["a pod"]]):
        before = copy.copy(raw.data)
        reduced_original(raw)
        assert raw.data == before


def test_the_privacy_page_names_every_allowed_name():
    page = (ROOT / "docs" / "privacy.md").read_text()
    names = {
        *allowed.OBJECT_ANNOTATIONS,
        *allowed.AUDIT_ANNOTATIONS,
        *allowed.AUDIT_PREFIXES,
        *allowed.NAMESPACE_ANNOTATIONS,
        *allowed.URI_PARAMETERS,
        *CODES,
        allowed.PATCH_PREFIX,
        allowed.BREAK_GLASS,
    }
    structs = [kind for kind in vars(wire).values() if isinstance(kind, type) and issubclass(kind, msgspec.Struct)]
    names |= {field.encode_name for kind in structs if kind is not wire.Head for field in msgspec.structs.fields(kind)}
    code = set(re.findall(r"`([^`]+)`", page))
    assert names <= code, sorted(names - code)
