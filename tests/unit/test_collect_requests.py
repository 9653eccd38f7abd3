"""What a request asked for and what was stored: images, owners, namespaces, configuration, ids, hostile input."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.collectors import observe
from streams.collectors.ids import text_id
from streams.events import (
    ConfigurationObserved,
    NamespaceObserved,
    Owner,
)
from tests.helpers.audit_events import PINNED, TIME, decide, event, pod, read
from verifier.canonical import stable_id

# --------------------------------------------------------------------------------------------------------------- images


def shown(decision):
    return [(image.container, image.kind, image.submitted, image.stored) for image in decision.images]


def test_submitted_and_stored_differ_after_mutation():
    decision = decide(event(requestObject=pod("r/api:1"), responseObject=pod(PINNED, "r/injected:1", uid="u1")))
    assert decision.uid == "u1"
    assert shown(decision) == [("c0", "main", "r/api:1", PINNED), ("c1", "main", "", "r/injected:1")]


def test_every_kind_of_container_is_seen():
    whole = pod("r/main")
    whole["spec"] |= {
        "initContainers": [{"name": "i", "image": "r/i"}, {"name": "s", "image": "r/s", "restartPolicy": "Always"}],
        "ephemeralContainers": [{"name": "e", "image": "r/e"}],
        "volumes": [{"name": "v", "image": {"reference": "r/v"}}, {"name": "secret", "secret": {"secretName": "x"}}],
    }
    kinds = [(image.container, image.kind) for image in decide(event(requestObject=whole, responseObject=whole)).images]
    assert kinds == [("i", "init"), ("s", "sidecar"), ("c0", "main"), ("e", "ephemeral"), ("v", "image-volume")]


def patch_note(index, *operations):
    value = {"configuration": "c", "webhook": f"w{index}", "patch": list(operations), "patchType": "JSONPatch"}
    return {f"patch.webhook.admission.k8s.io/round_0_index_{index}": json.dumps(value)}


def test_at_level_request_the_patches_of_webhooks_tell_what_was_stored():
    notes = patch_note(2, {"op": "replace", "path": "/spec/containers/0/image", "value": PINNED})
    notes |= patch_note(10, {"op": "add", "path": "/spec/containers/-", "value": {"name": "proxy", "image": "r/proxy"}})
    notes |= patch_note(3, {"op": "add", "path": "/spec/initContainers", "value": [{"name": "i", "image": "r/i"}]})
    notes |= patch_note(4, {"op": "add", "path": "/metadata/labels/x", "value": "y"})
    decision = decide(event(level="Request", requestObject=pod("r/api:1"), annotations=notes))
    assert shown(decision) == [
        ("i", "init", "", "r/i"),
        ("c0", "main", "r/api:1", PINNED),
        ("proxy", "main", "", "r/proxy"),
    ]


def test_a_json_patch_is_a_list_and_finds_its_container_in_what_was_stored():
    operations = [
        {"op": "replace", "path": "/spec/containers/1/image", "value": "r/new"},
        {"op": "test", "path": "/spec/containers/0/image", "value": "r/x"},
        {"op": "remove", "path": "/spec/containers/0/env"},
    ]
    admitted = decide(event("patch", code=200, requestObject=operations, responseObject=pod("r/old", "r/new")))
    assert shown(admitted) == [("c0", "main", "", "r/old"), ("c1", "main", "r/new", "r/new")]
    message = 'admission webhook "w" denied the request: no'
    denied = decide(event("patch", code=403, message=message, requestObject=operations))
    assert shown(denied) == [("#1", "main", "r/new", "")]


def test_a_strategic_merge_has_only_what_changes():
    change = {
        "spec": {"$setElementOrder/containers": [{"name": "c1"}], "containers": [{"name": "c1", "image": "r/new"}]}
    }
    decision = decide(event("patch", code=200, requestObject=change, responseObject=pod("r/old", "r/new")))
    assert shown(decision) == [("c0", "main", "", "r/old"), ("c1", "main", "r/new", "r/new")]


@pytest.mark.parametrize(
    ("group", "resource", "kind", "spec"),
    [
        ("", "replicationcontrollers", "ReplicationController", {"template": pod("r/a")}),
        ("apps", "deployments", "Deployment", {"template": pod("r/a")}),
        ("apps", "statefulsets", "StatefulSet", {"template": pod("r/a")}),
        ("apps", "daemonsets", "DaemonSet", {"template": pod("r/a")}),
        ("apps", "replicasets", "ReplicaSet", {"template": pod("r/a")}),
        ("batch", "jobs", "Job", {"template": pod("r/a")}),
        ("batch", "cronjobs", "CronJob", {"jobTemplate": {"spec": {"template": pod("r/a")}}}),
        ("extensions", "deployments", "Deployment", {"template": pod("r/a")}),
    ],
)
def test_every_workload_with_a_pod_template_is_read(group, resource, kind, spec):
    whole = {"kind": kind, "metadata": {"name": "w", "uid": "u"}, "spec": spec}
    reference = {"resource": resource, "apiGroup": group, "name": "w"}
    decision = decide(event(reference=reference, requestObject=whole, responseObject=whole))
    assert (decision.resource, decision.owner, decision.uid) == (resource, Owner(kind, "w"), "u")
    assert shown(decision) == [("c0", "main", "r/a", "r/a")]


def test_a_collection_is_deleted_item_by_item():
    items = [pod("r/a", name=f"p{n}", uid=f"u{n}") | {"kind": None} for n in range(3)]
    value = event(
        "deletecollection", code=200, reference={"name": None}, responseObject={"kind": "PodList", "items": items}
    )
    found, _ = read(value)
    assert [(o.operation, o.name, o.uid, o.images) for o in found] == [
        ("delete", f"p{n}", f"u{n}", ()) for n in range(3)
    ]
    assert len({o.id for o in found}) == 3


OF_SET = [{"kind": "ReplicaSet", "name": "web-7d4b9c6f5d", "controller": True}]


def test_a_generated_name_is_known_only_when_it_was_stored():
    asked = pod("r/a", name=None, generateName="web-7d4b9c6f5d-", ownerReferences=OF_SET)
    stored = pod("r/a", name="web-7d4b9c6f5d-xxdwh", uid="u", generateName="web-7d4b9c6f5d-", ownerReferences=OF_SET)
    admitted = decide(event(reference={"name": None}, requestObject=asked, responseObject=stored))
    assert (admitted.name, admitted.uid, admitted.owner) == ("web-7d4b9c6f5d-xxdwh", "u", Owner("Deployment", "web"))
    message = (
        "pods \"web-7d4b9c6f5d-zzzzz\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: x"
    )
    denied = decide(event(code=422, message=message, reference={"name": None}, requestObject=asked))
    assert (denied.name, denied.owner) == ("", Owner("Deployment", "web"))  # the name in the message never existed


# ------------------------------------------------------------------------------------------- namespaces, configuration


def test_a_namespace_change_tells_labels_and_who_made_it():
    meta = {
        "name": "pay",
        "labels": {"provenance": "enforce"},
        "annotations": {"example.com/team": "pay", "secret": "s3cr3t"},
    }
    reference = {"resource": "namespaces", "name": "pay"}
    stored = {"kind": "Namespace", "metadata": meta}
    (labels, change), _ = read(event("patch", code=200, reference=reference, responseObject=stored))
    assert isinstance(labels, NamespaceObserved)
    assert labels.labels == (("example.com/team", "pay"), ("provenance", "enforce"))
    assert isinstance(change, ConfigurationObserved)
    assert (change.resource, change.user, change.operation) == ("namespaces", "alice", "patch")


@pytest.mark.parametrize(
    ("group", "resource"),
    [
        ("admissionregistration.k8s.io", "validatingwebhookconfigurations"),
        ("admissionregistration.k8s.io", "validatingadmissionpolicybindings"),
        ("kyverno.io", "clusterpolicies"),
        ("kyverno.io", "policyexceptions"),
        ("policies.kyverno.io", "imagevalidatingpolicies"),
        ("policy.sigstore.dev", "clusterimagepolicies"),
        ("constraints.gatekeeper.sh", "k8sallowedrepos"),
        ("templates.gatekeeper.sh", "constrainttemplates"),
    ],
)
def test_a_change_of_admission_configuration_is_told(group, resource):
    weird = {"kind": "X", "spec": {"containers": "a string", "template": 7}}
    reference = {"resource": resource, "apiGroup": group, "name": "p", "namespace": None}
    (change,), _ = read(event("patch", code=200, reference=reference, requestObject=weird, responseObject=weird))
    assert isinstance(change, ConfigurationObserved)
    assert (change.resource, change.name, change.outcome) == (resource, "p", "admitted")
    assert read(event("patch", code=200, reference=reference | {"subresource": "status"})) == ([], ["status"])


def test_a_custom_resource_of_any_shape_is_only_ignored():
    weird = {"metadata": [1], "spec": "x", "items": {"a": 1}}
    reference = {"resource": "widgets", "apiGroup": "example.com"}
    assert read(event(reference=reference, requestObject=weird, responseObject=weird)) == ([], ["resource"])


def test_a_pod_that_is_no_pod_is_a_dead_letter():
    (letter,), _ = read(event(requestObject={"spec": {"containers": "s3cr3t"}}))
    assert letter.code == "object-malformed"
    assert "s3cr3t" not in letter.message + letter.excerpt


# -------------------------------------------------------------------------------------------------------- id, versions


def test_time_is_when_the_request_was_received():
    assert decide(event()).time == TIME
    assert (
        decide(event(requestReceivedTimestamp=None, stageTimestamp="2026-11-20T18:51:45Z")).time
        == 1_795_200_705_000_000
    )
    old = event(
        requestReceivedTimestamp=None,
        apiVersion="audit.k8s.io/v1alpha1",
        metadata={"creationTimestamp": "2018-10-25T14:09:12Z"},
    )
    assert decide(old).time == 1_540_476_552_000_000
    (letter,), _ = read(event(requestReceivedTimestamp=None))
    assert letter.code == "time-missing"
    assert (
        observe(json.dumps(event(requestReceivedTimestamp=None)).encode(), cluster="c", source="s", received=7)[0].time
        == 7
    )


@pytest.mark.parametrize("version", ["audit.k8s.io/v1", "audit.k8s.io/v1beta1", "audit.k8s.io/v1alpha1", None])
def test_every_version_is_read(version):
    assert decide(event(apiVersion=version)).outcome == "admitted"


def test_the_last_of_duplicate_members_wins():
    text = json.dumps(event()).encode()
    doubled = text[:-1] + b',"verb":"delete","responseStatus":{"code":200}}'
    assert (decide(doubled).operation, decide(doubled).code) == ("delete", 200)
    other = text[:-1] + b',"kind":"Secret"}'
    (letter,), _ = read(other)
    assert letter.code == "kind-not-read"


def test_the_id_is_of_the_request_not_of_the_audit_id_alone():
    """Audit id, verb and URI are the client's choice; nobody's request is left out as a repetition of it."""
    one = decide(event()).id
    assert decide(event()).id == one
    assert (
        len(
            {
                one,
                decide(event(auditID="2")).id,
                decide(event("update")).id,
                decide(event(requestReceivedTimestamp="2026-11-20T18:51:44.136392Z")).id,
                decide(event(stageTimestamp="2026-11-20T18:51:44.999999Z")).id,
                decide(event(user={"username": "mallory"})).id,
                decide(event(requestURI="/api/v1/namespaces/pay/pods")).id,
            }
        )
        == 7
    )
    fields = (
        "c1",
        "",
        "11111111-2222",
        "ResponseComplete",
        "2026-11-20T18:51:44.136391Z",
        "",
        "alice",
        "201",
        "create",
        "/api/v1/namespaces/pay/pods?fieldManager=kubectl",
    )
    assert one == stable_id("decision", *fields)


@settings(max_examples=200)
@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=20), min_size=10, max_size=10))
def test_the_fast_id_is_the_stable_id(fields):
    assert text_id("decision", *fields) == stable_id("decision", *fields)


def test_the_fast_id_refuses_what_the_stable_id_refuses():
    with pytest.raises(ValueError, match="takes"):
        text_id("decision", "too few")
    with pytest.raises(KeyError):
        text_id("nothing")


HOSTILE = "\x1b[31mred\nline\u202eright-to-left"


def test_hostile_names_are_kept_as_data():
    decision = decide(event(user={"username": HOSTILE}, reference={"name": HOSTILE}))
    assert (decision.user, decision.name) == (HOSTILE, HOSTILE)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "kind",
                    "metadata",
                    "spec",
                    "containers",
                    "image",
                    "name",
                    "labels",
                    "items",
                    "template",
                    "op",
                    "path",
                    "value",
                    "code",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)


@settings(max_examples=200)
@given(st.sampled_from(sorted(event(requestObject=1, responseObject=1, impersonatedUser=1))), JSON)
def test_any_value_in_any_member_is_an_observation_a_reason_or_a_dead_letter(member, value):
    found, reasons = read(json.dumps(event() | {member: value}).encode())
    assert len(found) + len(reasons) >= 1
