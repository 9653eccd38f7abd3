"""`revet serve pods` between a real API server and a real broker: killed, started again, two at a time, one cluster
away: nothing is lost, nothing has two ids, and what ended meanwhile is found.
"""

import json
from collections import Counter
from collections.abc import Iterator

import pytest

from streams.codec import decode
from streams.events import FeedSeen, NamespaceObserved, PodObserved
from streams.topics import CLUSTER_SIGHT, OBSERVATIONS, PODS
from tests.helpers.kafkatopics import Place
from tests.helpers.process import ROOT, Revet
from tests.helpers.servers import KafkaServer
from tests.helpers.watchedcluster import IMAGE, WatchedCluster

pytestmark = [pytest.mark.needs("kube", "kafka"), pytest.mark.timeout(600), pytest.mark.slow]

WAIT = 60.0


@pytest.fixture(scope="module")
def cluster(require, tmp_path_factory) -> Iterator[WatchedCluster]:
    with WatchedCluster(require("kube"), tmp_path_factory.mktemp("kube")) as made:
        yield made


@pytest.fixture
def place(kafka_server: KafkaServer) -> Place:
    return Place(kafka_server.bootstrap).prepare()


def watcher(place: Place, cluster: WatchedCluster, *more: str, **settings: str) -> Revet:
    file = cluster.kubeconfig("admin", "--token=admin-token")
    clusters = ",".join([f"prod={file}", *more])
    settings = {"REVET_SERVE_OPERATIONS": "127.0.0.1:0", **settings}
    return Revet("serve", "pods", cwd=ROOT, **place.environment(REVET_PODS_CLUSTERS=clusters, **settings))


def pods_of(place: Place) -> list[PodObserved]:
    events = [decode(record.value) for record in place.read(OBSERVATIONS)]
    return [event for event in events if isinstance(event, PodObserved)]


def told(place: Place, name: str, *, gone: bool = False) -> list[PodObserved]:
    return [event for event in pods_of(place) if event.pod.name == name and event.gone == gone]


def test_killed_and_started_again_nothing_is_lost_or_told_under_two_ids(place, cluster):
    for name in ("stays", "goes", "changes"):
        cluster.run(name)
    with watcher(place, cluster) as first:
        first.until(lambda: len(pods_of(place)) >= 3)
        cluster.change_image("changes", "2")
        first.until(lambda: any(o.pod.containers[0].image == f"{IMAGE}:2" for o in told(place, "changes")))
        report = json.loads(first.operations("/healthz"))
        assert (report["status"], report["ready"], report["troubles"]) == ("ok", True, [])
        first.until(lambda: 'revet_watch_pods{cluster="prod"} 3.0' in first.operations("/metrics"))
        first.kill()
    cluster.delete("goes")
    cluster.run("short-lived")
    cluster.delete("short-lived")
    cluster.change_image("changes", "3")
    cluster.run("comes")
    with watcher(place, cluster) as second:
        second.until(lambda: told(place, "comes") and told(place, "goes", gone=True))
        second.until(lambda: any(o.pod.containers[0].image == f"{IMAGE}:3" for o in told(place, "changes")))
        assert told(place, "short-lived"), "what came and went while nobody looked, in the API server's memory"
        assert second.end() == 0, second.err
    found = pods_of(place)
    ids = Counter(o.id for o in found)
    states = Counter((o.pod.uid, o.pod.resource_version, o.gone) for o in found)
    assert len(ids) == len(states), "one state, one id"
    assert told(place, "stays", gone=True) == []
    signs = [s for r in place.read(CLUSTER_SIGHT) if isinstance(s := decode(r.value), FeedSeen)]
    assert {s.cluster for s in signs} == {"prod"}
    for name in ("stays", "changes", "comes"):
        cluster.delete(name)


def test_pods_that_ended_while_nobody_looked_and_the_server_forgot_are_found(place, cluster):
    for name in ("stays", "goes"):
        cluster.run(name)
    with watcher(place, cluster) as first:
        first.until(lambda: len(pods_of(place)) >= 2)
        first.kill()
    before = {o.id for o in pods_of(place)}
    cluster.delete("goes")
    cluster.kill_server()
    cluster.compact()
    cluster.start_server()
    with watcher(place, cluster) as second:
        second.until(lambda: told(place, "goes", gone=True))
        assert second.end() == 0, second.err
    gone = told(place, "goes", gone=True)[0]
    assert gone.gone_reason in ("", "vanished")
    if gone.gone_reason:
        assert 0 < gone.gone_after < gone.time
    assert {o.id for o in pods_of(place)} - before == {o.id for o in told(place, "goes", gone=True)}
    newest = {record.key: record.value for record in place.read(PODS)}
    assert sum(bool(value) for key, value in newest.items() if not key.endswith("/")) == 1
    cluster.delete("stays")


def test_what_ran_in_a_cluster_that_was_made_anew_behind_the_same_name_has_ended(place, cluster, require, tmp_path):
    """Versions of one cluster mean nothing in another: going on from one would leave out what came before it."""
    cluster.run("old")
    with watcher(place, cluster) as first:
        first.until(lambda: told(place, "old"))
        assert first.end() == 0, first.err
    cluster.delete("old")
    with WatchedCluster(require("kube"), tmp_path) as other:
        other.run("new")
        with watcher(place, other) as second:
            second.until(lambda: told(place, "new") and told(place, "old", gone=True))
            assert "another-cluster" in second.err
            assert second.end() == 0, second.err
    assert told(place, "old", gone=True)[0].gone_reason == "vanished"
    settings = place.environment(REVET_PODS_CLUSTERS="")
    with Revet("serve", "pods", "--retire", "prod", cwd=ROOT, **settings) as third:
        assert third.wait() == 0, third.err
    assert [o.gone_reason for o in told(place, "new", gone=True)] == ["cluster-retired"]
    with Revet("serve", "pods", "--retire", "prod", cwd=ROOT, **settings) as fourth:
        assert fourth.wait() == 2, "nothing is left to retire"


def test_one_cluster_that_is_away_does_not_disturb_another(place, cluster, tmp_path):
    nowhere = tmp_path / "nowhere"
    nowhere.write_text(
        cluster.kubeconfig("admin", "--token=very-secret-token").read_text().replace(str(cluster.port), "1")
    )
    cluster.run("seen")
    more = (f"away={nowhere}", f"missing={tmp_path / 'no-such-file'}")
    with watcher(place, cluster, *more) as process:
        process.until(lambda: told(place, "seen"))
        report = json.loads(process.operations("/livez"))
        assert sorted(trouble["what"] for trouble in report["troubles"]) == ["cluster away", "cluster missing"]
        assert process.end() == 0
    assert "very-secret-token" not in process.err
    assert "admin-token" not in process.err
    cluster.delete("seen")


def test_of_two_watchers_one_tells_and_the_other_takes_over(place, cluster):
    lease = {"REVET_PODS_LEASE": "default/revet-pods", "REVET_PODS_LEASE_SECONDS": "5"}
    cluster.run("one")
    with watcher(place, cluster, **lease) as first:
        first.said(r"pods (leads) cluster=prod")
        with watcher(place, cluster, **lease) as second:
            second.said(r"pods (started)")
            first.until(lambda: told(place, "one"))
            cluster.run("two")
            first.until(lambda: told(place, "two"))
            assert "leads" not in second.err
            first.kill()
            second.said(r"pods (leads) cluster=prod", WAIT)
            cluster.run("three")
            second.until(lambda: told(place, "three"))
            assert second.end() == 0, second.err
    ids = Counter(o.id for o in pods_of(place))
    assert all(number == 1 for number in ids.values()), "who took over knew what had been told"
    for name in ("one", "two", "three"):
        cluster.delete(name)


def namespaces(place: Place) -> dict[str, NamespaceObserved]:
    """The newest word of each."""
    events = [decode(record.value) for record in place.read(CLUSTER_SIGHT)]
    return {event.namespace: event for event in events if isinstance(event, NamespaceObserved)}


def label(cluster: WatchedCluster, team: str) -> None:
    patch = {"metadata": {"labels": {"team": team}, "annotations": {"example.com/note": "not-kept"}}}
    cluster.ask("PATCH", "/api/v1/namespaces/default", patch, "application/merge-patch+json")


def team(place: Place) -> str:
    found = namespaces(place).get("default")
    return dict(found.labels).get("team", "") if found is not None else ""


def test_another_owner_of_a_namespace_is_told_at_once_also_behind_a_restart_of_the_api_server(place, cluster):
    """By the watch alone: the next list is an hour away."""
    label(cluster, "before")
    with watcher(place, cluster, REVET_PODS_NAMESPACES_SECONDS="3600") as process:
        process.until(lambda: {"default", "kube-system"} <= namespaces(place).keys())
        label(cluster, "payments")
        process.until(lambda: team(place) == "payments", 10)
        found = namespaces(place)["default"]
        assert found.source == "watch:prod"
        assert "example.com/note" not in dict(found.labels)
        cluster.kill_server()
        cluster.start_server()
        process.until(lambda: "request-ended" in process.err)
        cluster.ask("POST", "/api/v1/namespaces", {"metadata": {"name": "new", "labels": {"team": "new"}}})
        process.until(lambda: "new" in namespaces(place))
        cluster.delete_namespace("new")
        process.until(lambda: namespaces(place)["new"].gone)
        label(cluster, "shop")
        process.until(lambda: team(place) == "shop", 30)
        assert process.end() == 0, process.err
    told_ = [decode(record.value) for record in place.read(CLUSTER_SIGHT)]
    words = [dict(e.labels).get("team") for e in told_ if isinstance(e, NamespaceObserved) and e.namespace == "default"]
    assert words == ["before", "payments", "shop"], "each once, whatever was read again"


def test_who_may_list_namespaces_and_not_watch_them_has_them_listed(place, cluster):
    """Rights that were given before namespaces were watched."""
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    rules = [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]},
        {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["list", "get"]},
    ]
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "older"}
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "nobody"}
    cluster.ask("POST", f"{rbac}/clusterroles", {"metadata": {"name": "older"}, "rules": rules})
    cluster.ask(
        "POST", f"{rbac}/clusterrolebindings",
        {"metadata": {"name": "older"}, "roleRef": reference, "subjects": [subject]},
    )  # fmt: skip
    label(cluster, "before")
    file = cluster.kubeconfig("older", "--token=nobody-token")
    settings = {"REVET_PODS_CLUSTERS": f"prod={file}", "REVET_PODS_NAMESPACES_SECONDS": "1"}
    with Revet("serve", "pods", cwd=ROOT, **place.environment(**settings)) as process:
        process.until(lambda: team(place) == "before")
        process.until(lambda: "watching is refused (HTTP 403)" in process.err)
        label(cluster, "payments")
        process.until(lambda: team(place) == "payments")
        assert namespaces(place)["default"].source == "list:prod"
        assert process.end() == 0, process.err


def test_a_watcher_without_clusters_or_topics_says_so(place, kafka_server):
    with Revet("serve", "pods", cwd=ROOT, **place.environment()) as process:
        assert process.wait() == 2
    assert "pods.clusters" in process.err
