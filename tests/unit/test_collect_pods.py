"""Pods of lists and watches: owners by name alone, spec and status joined, times that never run backwards."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.collectors import Stream, observe_stream
from streams.collectors.owners import (
    NAME_ALPHABET,
    TEMPLATE_HASH_ALPHABET,
    naked_owner,
    owner_of_name,
    top_owner,
)
from streams.collectors.wire import OwnerRef, instant, micros
from streams.events import DeadLetter, FeedSeen, NamespaceObserved, Owner, PodObserved
from tests.helpers.audit_events import observe_all, read_items, take

DIGEST = "sha256:" + "a" * 64
NOON = 1_795_176_000_000_000  # 2026-11-20T12:00:00Z


@pytest.mark.parametrize(
    ("kind", "name", "label", "owner"),
    [
        pytest.param("ReplicaSet", "web-7d4b9c6f5d", "7d4b9c6f5d", Owner("Deployment", "web"), id="a Deployment's"),
        pytest.param(
            "ReplicaSet", "web-57f4659995", "1390215551", Owner("Deployment", "web"), id="label holds the number"
        ),
        pytest.param(
            "ReplicaSet", "web-1390215551", "1390215551", Owner("Deployment", "web"), id="so does an old name"
        ),
        pytest.param("ReplicaSet", "web-7d4b9c6f5d", "", Owner("Deployment", "web"), id="no label"),
        pytest.param("ReplicaSet", "frontend", "", Owner("ReplicaSet", "frontend"), id="of its own"),
        pytest.param("ReplicaSet", "web-https", "", Owner("ReplicaSet", "web-https"), id="a word is no hash"),
        pytest.param("Job", "settle-29472159", "", Owner("CronJob", "settle"), id="a CronJob's, minutes"),
        pytest.param("Job", "settle-1685499600", "", Owner("CronJob", "settle"), id="a CronJob's, seconds"),
        pytest.param("Job", "backup-20260101", "", Owner("Job", "backup-20260101"), id="a date is no schedule"),
        pytest.param("Job", "migrate", "", Owner("Job", "migrate"), id="a Job"),
        pytest.param("StatefulSet", "db", "", Owner("StatefulSet", "db"), id="a StatefulSet"),
        pytest.param("DaemonSet", "agent", "", Owner("DaemonSet", "agent"), id="a DaemonSet"),
        pytest.param("ReplicationController", "old", "", Owner("ReplicationController", "old"), id="a controller"),
        pytest.param("Node", "worker-1", "", Owner("Node", "worker-1"), id="a static pod's node"),
        pytest.param("Workflow", "w", "", Owner("Workflow", "w"), id="a custom resource"),
    ],
)
def test_the_top_owner_is_told_by_names_alone(kind, name, label, owner):
    assert top_owner(OwnerRef(kind, name), label) == owner


def test_a_rollout_of_argo_is_named_as_such():
    assert top_owner(OwnerRef("ReplicaSet", "web-7d4b9c6f5d"), "7d4b9c6f5d", argo=True) == Owner("Rollout", "web")


@pytest.mark.parametrize(
    ("name", "prefix", "owner"),
    [
        pytest.param("tool-x7k2p", "tool-", "tool", id="generated"),
        pytest.param("", "tool-", "tool", id="denied before it had a name"),
        pytest.param("tool-https", "", "tool-https", id="chosen, though the suffix could be generated"),
        pytest.param("chosen", "tool-", "chosen", id="chosen beside a prefix"),
        pytest.param("n" * 58 + "x7k2p", "n" * 60 + "-", "n" * 60, id="prefix shortened by the server"),
    ],
)
def test_a_naked_pod_is_its_own_owner(name, prefix, owner):
    assert naked_owner(name, prefix) == Owner("Pod", owner)


def test_from_a_name_alone_the_owner_is_a_guess_that_fits():
    assert owner_of_name("web-7d4b9c6f5d-xxdwh") == Owner("Deployment", "web")
    assert owner_of_name("settle-29472159-q4smw") == Owner("CronJob", "settle")
    assert owner_of_name("payments-worker") == Owner("Pod", "payments-worker")
    assert owner_of_name("") == Owner("Pod", "")


@settings(max_examples=100)
@given(st.integers(10_000, 2**32 - 1), st.text(NAME_ALPHABET, min_size=5, max_size=5))
def test_every_hash_kubernetes_can_make_is_recognised(number, suffix):
    encoded = "".join(NAME_ALPHABET[ord(digit) % len(NAME_ALPHABET)] for digit in str(number))  # SafeEncodeString
    assert set(encoded) <= set(TEMPLATE_HASH_ALPHABET)
    assert top_owner(OwnerRef("ReplicaSet", f"my-app-{encoded}")) == Owner("Deployment", "my-app")
    assert owner_of_name(f"my-app-{encoded}-{suffix}") == Owner("Deployment", "my-app")


@settings(max_examples=100)
@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=10))
def test_any_name_has_an_owner(name, prefix, label):
    for kind in ("ReplicaSet", "Job", "Pod", ""):
        assert isinstance(top_owner(OwnerRef(kind, name), label), Owner)
    assert isinstance(naked_owner(name, prefix), Owner)
    assert isinstance(owner_of_name(name), Owner)


# ----------------------------------------------------------------------------------------------------------------- pod


def pod(**members):
    whole = {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {
            "name": "api-0",
            "namespace": "pay",
            "uid": "u1",
            "resourceVersion": "7",
            "creationTimestamp": "2026-11-20T12:00:00Z",
            "labels": {"app": "api", "pod-template-hash": "x"},
        },
        "spec": {"nodeName": "n1", "serviceAccountName": "sa", "containers": [{"name": "app", "image": "r/api:1"}]},
        "status": {"phase": "Pending"},
    }
    for member, change in members.items():
        whole[member] = whole[member] | change
    return whole


def status(name="app", image_id=f"docker.io/r/api@{DIGEST}", **state):
    return {"name": name, "imageID": image_id, "containerID": "containerd://c", "restartCount": 2, "state": state}


def one(value, **options):
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    (found,) = observe_all(data, cluster="c1", source="watch", **options)
    return found


def test_a_pod_is_reduced_to_what_judging_needs():
    found = one(pod())
    assert found.time == NOON
    assert found.pod.labels == (("app", "api"),)
    assert (found.pod.owner, found.pod.node, found.pod.service_account) == (Owner("Pod", "api-0"), "n1", "sa")
    (container,) = found.pod.containers
    assert (container.kind, container.image, container.digest, container.state) == ("main", "r/api:1", "", "waiting")


def test_spec_and_status_are_joined_by_name():
    spec = {
        "initContainers": [{"name": "i", "image": "r/i"}, {"name": "s", "image": "r/s", "restartPolicy": "Always"}],
        "containers": [{"name": "app", "image": "r/api:1"}, {"name": "late", "image": "r/late"}],
        "ephemeralContainers": [{"name": "dbg", "image": "busybox"}],
        "volumes": [{"name": "model", "image": {"reference": "r/model:1"}}, {"name": "secret", "secret": {}}],
    }
    running = {"startedAt": "2026-11-20T12:00:05Z"}
    ended = {"startedAt": "2026-11-20T12:00:01Z", "finishedAt": "2026-11-20T12:00:04Z"}
    mount = {"name": "model", "volumeStatus": {"image": {"imageRef": f"r/model@{DIGEST}"}}}
    state = {
        "phase": "Running",
        "startTime": "2026-11-20T12:00:00Z",
        "initContainerStatuses": [status("s", running=running), status("i", terminated=ended)],
        "containerStatuses": [
            status("late", "", waiting={"reason": "ErrImagePull"}),
            status(running=running) | {"volumeMounts": [mount]},
        ],
        "ephemeralContainerStatuses": [status("dbg", "sha256:" + "b" * 64, running=running)],
    }
    found = one(pod(spec=spec, status=state)).pod.containers
    assert [(c.kind, c.name, c.state, c.image_id_kind, c.digest[:9]) for c in found] == [
        ("init", "i", "terminated", "repo-digest", "sha256:aa"),
        ("sidecar", "s", "running", "repo-digest", "sha256:aa"),
        ("main", "app", "running", "repo-digest", "sha256:aa"),
        ("main", "late", "waiting", "empty", ""),
        ("ephemeral", "dbg", "running", "config-digest", ""),
        ("image-volume", "model", "running", "repo-digest", "sha256:aa"),
    ]
    assert (found[0].started, found[0].finished) == (NOON + 1_000_000, NOON + 4_000_000)
    assert (found[2].restarts, found[2].container_id, found[2].image_repository) == (
        2,
        "containerd://c",
        "docker.io/r/api",
    )


def test_static_pods_are_marked_and_belong_to_their_node():
    for key, value in (("kubernetes.io/config.mirror", "x"), ("kubernetes.io/config.source", "file")):
        found = one(pod(metadata={"annotations": {key: value}})).pod
        assert (found.mirror, found.owner) == (True, Owner("Node", "n1"))
    assert not one(pod(metadata={"annotations": {"kubernetes.io/config.source": "api"}})).pod.mirror


def test_time_is_the_newest_instant_in_the_object():
    conditions = [{"lastTransitionTime": "2026-11-20T12:00:09Z"}, {"lastTransitionTime": None}]
    assert one(pod(status={"conditions": conditions})).time == NOON + 9_000_000
    deleted = {"deletionTimestamp": "2026-11-20T12:01:00Z", "deletionGracePeriodSeconds": 30}
    assert one(pod(metadata=deleted)).time == NOON + 30_000_000  # the timestamp lies ahead by the grace period
    assert one(pod(), received=5).time == 5


def test_time_never_goes_backwards_within_a_stream():
    lines = b"\n".join(
        json.dumps(pod(metadata={"uid": f"u{n}", "creationTimestamp": f"2026-11-20T12:00:0{9 - n}Z"})).encode()
        for n in range(5)
    )
    times = [o.time for o in observe_stream([lines], cluster="c", source="s")]
    assert times == sorted(times)


def test_watch_events_tell_changes_and_the_end():
    events = [{"type": kind, "object": pod()} for kind in ("ADDED", "MODIFIED", "DELETED")]
    found = [one(event) for event in events]
    assert [o.gone for o in found] == [False, False, True]
    assert found[0].id == found[1].id != found[2].id


def test_a_bookmark_is_life_and_no_pod():
    bookmark = {
        "type": "BOOKMARK",
        "object": {
            "kind": "Pod",
            "apiVersion": "v1",
            "metadata": {"resourceVersion": "9"},
            "spec": {"containers": None},
            "status": {},
        },
    }
    stream = Stream(cluster="c", source="watch")
    (raw,) = read_items([json.dumps(bookmark).encode()])
    assert stream.observe(raw) == []
    assert dict(stream.ignored) == {"bookmark": 1}  # a recording's first bookmark has no time
    (seen,) = take(stream, raw, received=50)
    assert (seen.feed, seen.time, seen.since) == ("pods", 50, 50)
    assert take(stream, raw, received=90)[0].since == 50


def test_the_end_of_a_watch_breaks_sight():
    stream = Stream(cluster="c", source="watch")
    error = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old resource version: 1 (237)"}}
    lines = [json.dumps(pod()).encode(), json.dumps(error).encode(), json.dumps(pod()).encode()]
    first, (letter,), second = (
        stream.observe(raw, received=n) for n, raw in enumerate(read_items([b"\n".join(lines)]), 1)
    )
    assert isinstance(letter, DeadLetter)
    assert (letter.code, letter.message.endswith("(code 410)")) == ("watch-error", True)
    assert [o.since for o in (*first, *second) if isinstance(o, FeedSeen)] == [1, 3]


@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(lambda a, b: {"kind": "PodList", "apiVersion": "v1", "items": [a, b]}, id="PodList"),
        pytest.param(lambda a, b: {"apiVersion": "v1", "items": [a, b], "kind": "PodList"}, id="kind behind the items"),
        pytest.param(
            lambda a, b: {"kind": "List", "apiVersion": "v1", "items": [a | {"kind": "Pod"}, b | {"kind": "Pod"}]},
            id="List",
        ),
        pytest.param(lambda a, b: [a, b], id="array"),
        pytest.param(
            lambda a, b: [{"kind": "PodList", "items": [a]}, {"kind": "PodList", "items": [b]}], id="array of lists"
        ),
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_every_list_gives_its_pods(wrap, indent):
    items = [pod(metadata={"uid": f"u{n}"}) for n in range(2)]
    for item in items:
        del item["kind"], item["apiVersion"]
    body = json.dumps(wrap(*items), indent=indent).encode()
    found = observe_all(body, cluster="c", source="list")
    assert [o.pod.uid for o in found] == ["u0", "u1"]


def test_one_bad_item_of_a_list_is_named_and_the_others_are_read():
    items = [
        pod(),
        {"kind": "Pod", "metadata": {"name": "x"}},
        {"kind": "Pod", "metadata": 7},
        pod(metadata={"uid": "u2"}),
    ]
    found = observe_all(json.dumps({"kind": "PodList", "items": items}).encode(), cluster="c", source="f")
    assert [getattr(o, "code", "pod") for o in found] == ["pod", "member-missing", "object-malformed", "pod"]
    assert found[1].source == "f:1[1]"


def test_empty_lists_are_counted():
    for items in (b"[]", b"null"):
        stream = Stream(cluster="c", source="f")
        for raw in read_items([b'{"kind":"PodList","items":' + items + b"}"]):
            assert stream.observe(raw) == []
        assert dict(stream.ignored) == {"empty-list": 1}


def test_namespaces_of_a_list_or_watch_are_read():
    space = {
        "kind": "Namespace",
        "apiVersion": "v1",
        "metadata": {
            "name": "pay",
            "labels": {"team": "pay"},
            "creationTimestamp": "2026-11-20T12:00:00Z",
            "annotations": {"example.com/owner": "o", "x/token": "s3cr3t"},
        },
    }
    found = one(space)
    assert isinstance(found, NamespaceObserved)
    assert (found.labels, found.time, found.gone) == ((("example.com/owner", "o"), ("team", "pay")), NOON, False)
    assert one({"type": "DELETED", "object": space}).gone


def test_a_feed_refuses_what_belongs_to_the_other():
    (raw,) = read_items([json.dumps(pod()).encode()], kind="audit")
    assert raw.code == "kind-unexpected"
    (raw,) = read_items([b'{"kind":"Event","apiVersion":"audit.k8s.io/v1"}'], kind="pods")
    assert raw.code == "kind-unexpected"


def test_the_id_is_of_the_content():
    base = one(pod()).id
    assert one(pod()).id == base
    assert one(pod(metadata={"managedFields": [{"x": 1}]})).id == base
    assert one(pod(status={"phase": "Running"})).id != base
    assert one(pod(metadata={"resourceVersion": "8"})).id != base


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-20T12:00:00Z", NOON),
        ("2026-11-20T12:00:00.000001Z", NOON + 1),
        ("2026-11-20T12:00:00.123456789Z", NOON + 123_456),
        ("2026-11-20T13:00:00+01:00", NOON),
        ("0001-01-01T00:00:00Z", None),
        ("2026-11-20T12:00:00", None),
        ("9999-12-31T23:59:59Z", None),
        ("yesterday", None),
        ("", None),
        (None, None),
    ],
)
def test_times_are_rfc_3339_or_none(text, expected):
    assert micros(text) == instant(text) == expected


@settings(max_examples=150)
@given(st.permutations(range(4)), st.lists(st.integers(0, 3), max_size=3))
def test_order_and_repetition_of_lines_change_neither_content_nor_ids(order, repeated):
    lines = [json.dumps(pod(metadata={"uid": f"u{n}", "name": f"p{n}"})).encode() for n in range(4)]
    mixed = [lines[n] for n in [*order, *repeated]]
    plain = {o.id: o.pod for o in observe_all(b"\n".join(lines), cluster="c", source="s") if isinstance(o, PodObserved)}
    found = {o.id: o.pod for o in observe_all(b"\n".join(mixed), cluster="c", source="s") if isinstance(o, PodObserved)}
    assert found == plain


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "name",
                    "image",
                    "state",
                    "running",
                    "startedAt",
                    "imageID",
                    "containers",
                    "reference",
                    "metadata",
                    "items",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)


@settings(max_examples=200)
@given(st.sampled_from(["kind", "metadata", "spec", "status", "items", "type", "object"]), JSON)
def test_any_value_in_any_member_is_an_observation_or_a_dead_letter(member, value):
    body = json.dumps(pod() | {member: value}).encode()
    stream = Stream(cluster="c", source="s")
    found = [o for raw in read_items([body]) for o in stream.observe(raw)]
    assert found or stream.ignored


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_without_exception(data):
    for prefix in (
        b"",
        b'{"kind":"Pod","apiVersion":"v1"',
        b'{"type":"ADDED","object":{"kind":"Pod","apiVersion":"v1"',
    ):
        list(observe_stream([prefix + data], cluster="c", source="s"))
