"""What surrounds the pod watch: whose turn it is, what it may do, which clusters, and what it keeps of whom."""

from pathlib import Path

import msgspec
import pytest
import yaml

from streams.collectors import apiserver, login
from streams.collectors.clusters import finder, in_cluster
from streams.collectors.election import Election, read_lease
from streams.collectors.kubeconfig import Credential, Login, Secret
from streams.collectors.namespacelook import NamespaceLook
from streams.collectors.rbac import manifest
from streams.settings import WatchedCluster, load_settings
from streams.topics import PODS, TOPICS
from tests.helpers.command import revet
from verifier.errors import InputError

PLACE = ("revet", "revet-pods")
T0 = 1_795_200_000_123_456


# ------------------------------------------------------------------------------------------------------------ election


def lease(holder: str, renewed: str = "2026-11-21T10:00:00.000000Z", version: str = "7", seconds: int = 15) -> bytes:
    spec = {"holderIdentity": holder, "leaseDurationSeconds": seconds, "renewTime": renewed, "leaseTransitions": 3}
    return msgspec.json.encode({"kind": "Lease", "metadata": {"name": "x", "resourceVersion": version}, "spec": spec})


def test_a_lease_is_taken_when_nobody_has_it_and_renewed_when_it_is_ours():
    me = Election("a", 15)
    assert me.act(None, 0.0) == "take"
    assert me.act(read_lease(lease("")), 0.0) == "take"
    assert me.act(read_lease(lease("a")), 0.0) == "renew"
    assert me.act(read_lease(lease("b")), 0.0) == "wait"


def test_a_holder_is_dead_when_nothing_changed_for_its_time_seen_from_here():
    """Its own clock may be wrong by hours."""
    me = Election("a", 15)
    assert me.act(read_lease(lease("b", "1999-01-01T00:00:00.000000Z")), 100.0) == "wait"
    assert me.act(read_lease(lease("b", "1999-01-01T00:00:00.000000Z")), 114.9) == "wait"
    assert me.act(read_lease(lease("b", "1999-01-01T00:00:05.000000Z", "8")), 114.9) == "wait", "it renewed"
    assert me.act(read_lease(lease("b", "1999-01-01T00:00:05.000000Z", "8")), 130.0) == "take"


def test_who_cannot_renew_stops_before_anybody_else_begins():
    me = Election("a", 15)
    assert not me.leads(0.0)
    me.written(100.0)
    assert me.leads(109.0)
    assert not me.leads(110.0)
    assert me.pause < 5
    me.written(120.0)
    me.lost()
    assert not me.leads(120.1)


def test_what_is_written_counts_transitions_and_names_the_version_it_replaces():
    me = Election("a", 15)
    old = read_lease(lease("b"))
    found = read_lease(me.document(old, PLACE, T0))
    assert old is not None
    assert found is not None
    assert (found.metadata.resource_version, found.metadata.namespace, found.metadata.name) == ("7", *PLACE)
    assert (found.spec.holder_identity, found.spec.lease_transitions) == ("a", 4)
    assert found.spec.acquire_time == found.spec.renew_time == "2026-11-20T18:40:00.123456Z"
    again = read_lease(me.document(found, PLACE, T0 + 1))
    assert again is not None
    assert (again.spec.lease_transitions, again.spec.acquire_time) == (4, found.spec.acquire_time)
    freed = read_lease(me.released(again, T0))
    assert freed is not None
    assert (freed.spec.holder_identity, freed.spec.lease_duration_seconds) == ("", 1)


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'{"spec":7}', b"<html>"])
def test_what_is_no_lease_is_none(body):
    assert read_lease(body) is None


# ---------------------------------------------------------------------------------------------------------- namespaces


def listed(*namespaces: object, after: str = "") -> bytes:
    return msgspec.json.encode({"kind": "NamespaceList", "metadata": {"continue": after}, "items": namespaces})


def namespace(name: str, **labels: str) -> dict[str, object]:
    return {"metadata": {"name": name, "labels": labels, "annotations": {"example.com/team": "t", "other": "no"}}}


def told(look: NamespaceLook, body: bytes) -> list[tuple[str, bool]]:
    return [(found.namespace, found.gone) for found in look.page(body, T0) or ()]


def test_namespaces_are_told_when_they_come_change_and_go():
    look = NamespaceLook("c1")
    assert look.ask() == {"limit": "500"}
    assert told(look, listed(namespace("a"), after="more")) == [("a", False)]
    assert look.ask() == {"limit": "500", "continue": "more"}
    assert told(look, listed(namespace("b"))) == [("b", False)]
    assert look.whole
    assert dict(look.known["a"]) == {"example.com/team": "t"}
    assert told(look, listed(namespace("a"), namespace("b", team="x"))) == [("b", False)]
    assert told(look, listed(namespace("b", team="x"))) == [("a", True)]


def test_what_could_not_be_read_of_a_list_ends_nothing():
    look = NamespaceLook("c1")
    told(look, listed(namespace("a"), namespace("b")))
    assert told(look, listed(namespace("a"), {"metadata": 7})) == []
    assert (look.unreadable, sorted(look.known)) == (1, ["a", "b"])
    assert told(look, listed(namespace("a"), after="more")) == []
    look.failed()
    assert look.ask() == {"limit": "500"}
    assert look.page(b"<html>", T0) is None
    assert told(look, listed(namespace("b"))) == [("a", True)]


def event(kind: str, name: str, version: str, **labels: str) -> bytes:
    item = namespace(name, **labels)
    item["metadata"]["resourceVersion"] = version  # type: ignore[index]  # as it was made
    return msgspec.json.encode({"type": kind, "object": item})


def watched(look: NamespaceLook, *events: bytes) -> list[tuple[str, bool, str]]:
    for one in events:
        look.line(one, T0)
    return [(found.namespace, found.gone, found.source) for found in look.take()]


def test_after_the_list_the_watch_tells_what_changes_and_nothing_twice():
    look = NamespaceLook("c1")
    body = {"metadata": {"resourceVersion": "70"}, "items": [namespace("a"), namespace("b", team="x")]}
    look.page(msgspec.json.encode(body), T0)
    assert look.watch(30) == {
        "watch": "1", "allowWatchBookmarks": "true", "resourceVersion": "70", "timeoutSeconds": "30",
    }  # fmt: skip
    assert watched(look, event("ADDED", "a", "71"), event("MODIFIED", "b", "72", team="x")) == []
    assert watched(look, event("MODIFIED", "a", "73", team="y"), event("ADDED", "c", "74")) == [
        ("a", False, "watch:c1"), ("c", False, "watch:c1"),
    ]  # fmt: skip
    assert watched(look, event("DELETED", "b", "75"), event("DELETED", "b", "76"), event("DELETED", "z", "77")) == [
        ("b", True, "watch:c1")
    ]
    assert (
        watched(look, msgspec.json.encode({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "90"}}}))
        == []
    )
    assert (look.version, look.forgotten, sorted(look.known)) == ("90", False, ["a", "c"])
    body = {"metadata": {"resourceVersion": "95"}, "items": [namespace("a", team="y"), namespace("c")]}
    assert told(look, msgspec.json.encode(body)) == [], "what the watch told, the next list does not tell again"


@pytest.mark.parametrize(
    "data",
    [
        b'{"type": "ERROR", "object": {"kind": "Status", "code": 410}}',
        b'{"type": "ERROR"}',
        b"{",
        b'{"type": "MODIFIED", "object": {"metadata": {"labels": 7}}}',
        b"[" * 5000,
    ],
)
def test_what_ends_or_spoils_a_watch_has_the_list_begin_anew(data):
    look = NamespaceLook("c1")
    look.page(listed(namespace("a")), T0)
    look.line(data, T0)
    assert look.forgotten
    assert (look.take(), sorted(look.known)) == ([], ["a"])
    look.watch(30)
    assert not look.forgotten


# -------------------------------------------------------------------------------------------------------------- rights


def test_the_rights_are_the_least_and_each_says_why():
    text = manifest(("watchers", "w"), ("revet", "mine"))
    documents = list(yaml.safe_load_all(text))
    rules = [rule for d in documents for rule in d.get("rules", ())]
    granted = {(r["resources"][0], v) for r in rules for v in r["verbs"]}
    assert granted == {
        *(("pods", verb) for verb in ("list", "watch")),
        *(("namespaces", verb) for verb in ("get", "list", "watch")),
        *(("leases", verb) for verb in ("get", "update", "create")),
    }
    assert "*" not in text
    assert text.count("  # ") >= len(rules)
    assert [d["kind"] for d in documents] == ["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"]
    assert documents[1]["subjects"] == [{"kind": "ServiceAccount", "namespace": "watchers", "name": "w"}]
    assert len(list(yaml.safe_load_all(manifest(("a", "b"), None)))) == 2


def test_the_command_prints_them_and_needs_neither_brokers_nor_clusters(monkeypatch):
    monkeypatch.setenv("REVET_PODS_LEASE", "revet/x")
    ran = revet("serve", "pods", "--print-rbac", "--account", "a/b")
    assert ran.code == 0
    assert len(list(yaml.safe_load_all(ran.out))) == 4
    assert revet("serve", "pods", "--print-rbac", "--account", "nobody").code == 2


# ------------------------------------------------------------------------------------------------------------ settings


def places(text: str) -> tuple[WatchedCluster, ...]:
    return load_settings(None, {"REVET_PODS_CLUSTERS": text}, {}).pods.places()


def test_clusters_are_named_with_where_they_are():
    assert places("prod-eu=/k/config#prod,hub=in-cluster,us=./k") == (
        WatchedCluster("prod-eu", Path("/k/config"), "prod"),
        WatchedCluster("hub", None, ""),
        WatchedCluster("us", Path("k"), ""),
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("prod", "NAME=KUBECONFIG"),
        ("prod=", "NAME=KUBECONFIG"),
        ("a/b=k", "NAME=KUBECONFIG"),
        ("a=k,a=l", "twice"),
        ("a=in-cluster,b=in-cluster", "several names"),
    ],
)
def test_a_wrong_entry_is_told(text, says):
    with pytest.raises(InputError, match=says):
        places(text)


@pytest.mark.parametrize(
    ("name", "value"), [("LEASE", "revet"), ("EXCLUDE_NAMESPACES", "kube-*"), ("LEASE_SECONDS", "1")]
)
def test_a_wrong_setting_is_told(name, value):
    with pytest.raises(InputError, match=f"pods.{name.lower()}"):
        load_settings(None, {f"REVET_PODS_{name}": value}, {})


# ----------------------------------------------------------------------------------------------------------- who asks


def test_a_pod_asks_with_what_its_kubelet_gave_it(tmp_path):
    with pytest.raises(InputError, match="in-cluster"):
        in_cluster({}, tmp_path)
    environ = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}
    with pytest.raises(InputError, match="in-cluster"):
        in_cluster(environ, tmp_path)
    (tmp_path / "token").write_text("first\n")
    access = in_cluster(environ, tmp_path)
    assert (access.server, access.authority_file) == ("https://[fd00::1]:6443", "ca.crt")
    assert login.token_of(access.user, tmp_path) == Secret("first")
    (tmp_path / "token").write_text("second\n")
    assert login.token_of(access.user, tmp_path) == Secret("second"), "read anew each time"


def test_a_kubeconfig_that_is_not_there_is_told_with_its_setting(tmp_path):
    with pytest.raises(InputError, match=r"pods\.clusters"):
        finder(tmp_path / "none")()


def test_the_client_repeats_no_secret():
    assert "Secret(…)" in repr(login.with_credential(login_of("t0ken"), credential("other")))
    assert "t0ken" not in repr(login_of("t0ken"))
    assert "other" not in repr(credential("other"))
    assert "Authorization" not in apiserver._HEADERS


def login_of(token: str) -> Login:
    return Login(token=Secret(token))


def credential(token: str) -> Credential:
    return Credential(Secret(token), "", None)


# --------------------------------------------------------------------------------------------------------------- topic


def test_what_is_kept_of_pods_is_the_newest_of_each():
    topic = TOPICS[PODS]
    assert (topic.keep, topic.spread, topic.readers, topic.writers) == (
        "newest",
        "keyed",
        ("collectors",),
        ("collectors",),
    )
