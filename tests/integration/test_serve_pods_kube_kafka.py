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


def test_namespaces_are_told_when_their_labels_change(place, cluster):
    def seen() -> dict[str, dict[str, str]]:
        events = [decode(record.value) for record in place.read(CLUSTER_SIGHT)]
        return {e.namespace: dict(e.labels) for e in events if isinstance(e, NamespaceObserved) and not e.gone}

    with watcher(place, cluster, REVET_PODS_NAMESPACES_SECONDS="1") as process:
        process.until(lambda: {"default", "kube-system"} <= seen().keys())
        patch = {"metadata": {"labels": {"team": "payments"}, "annotations": {"example.com/note": "not-kept"}}}
        cluster.ask("PATCH", "/api/v1/namespaces/default", patch, "application/merge-patch+json")
        process.until(lambda: seen()["default"].get("team") == "payments")
        assert "example.com/note" not in seen()["default"]
        assert process.end() == 0, process.err


def test_a_watcher_without_clusters_or_topics_says_so(place, kafka_server):
    with Revet("serve", "pods", cwd=ROOT, **place.environment()) as process:
        assert process.wait() == 2
    assert "pods.clusters" in process.err
