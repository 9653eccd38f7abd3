"""`revet serve reports` between a real API server and a real broker: reports that come, change and go; a kill; kinds
that the cluster gets later; a version that is forgotten; and bodies over HTTP.
"""

import asyncio
import json
import urllib.request
from collections import Counter
from collections.abc import Iterator

import pytest
import yaml

from streams.codec import decode
from streams.collectors import reportwatch
from streams.collectors.apiserver import ApiServer
from streams.collectors.clusters import finder
from streams.collectors.podwatch import Ending
from streams.collectors.reportloop import ReportLoop, Told
from streams.events import ClaimObserved
from streams.topics import CLAIMS
from tests.helpers.kafkatopics import Place
from tests.helpers.process import ROOT, Revet
from tests.helpers.reportkinds import define, drop, put, result, served
from tests.helpers.servers import KafkaServer
from tests.helpers.watchedcluster import WatchedCluster
from verifier.errors import PlaceError

pytestmark = [pytest.mark.needs("kube", "kafka"), pytest.mark.timeout(600), pytest.mark.slow]

WAIT = 60.0


@pytest.fixture
def cluster(require, tmp_path) -> Iterator[WatchedCluster]:
    with WatchedCluster(require("kube"), tmp_path) as made:
        yield made


@pytest.fixture
def place(kafka_server: KafkaServer) -> Place:
    return Place(kafka_server.bootstrap).prepare()


def watcher(place: Place, cluster: WatchedCluster, token: str = "admin-token", **settings: str) -> Revet:
    file = cluster.kubeconfig(token, f"--token={token}")
    settings = {"REVET_SERVE_OPERATIONS": "127.0.0.1:0", **settings}
    return Revet("serve", "reports", cwd=ROOT, **place.environment(REVET_REPORTS_CLUSTERS=f"prod={file}", **settings))


def claims(place: Place) -> list[ClaimObserved]:
    events = [decode(record.value) for record in place.read(CLAIMS)]
    return [event for event in events if isinstance(event, ClaimObserved)]


def said(place: Place, name: str) -> list[tuple[str, str]]:
    return sorted((one.policy, one.result) for one in claims(place) if one.name == name)


def test_reports_come_change_and_go_and_a_kill_repeats_nothing(place, cluster):
    define(cluster, "policyreports")
    define(cluster, "clusterreports")
    put(cluster, "policyreports", "before", result("signed", "pass"), result("labels", "fail"))
    put(cluster, "clusterreports", "node", result("signed", "warn"))
    with watcher(place, cluster) as first:
        first.until(lambda: said(place, "before") and said(place, "node"))
        put(cluster, "policyreports", "api", result("signed", "fail"))
        first.until(lambda: said(place, "api") == [("signed", "fail")])
        put(cluster, "policyreports", "before", result("signed", "pass", 1_795_300_000), result("labels", "fail"))
        put(cluster, "policyreports", "api", result("signed", "pass", 1_795_300_000))
        first.until(lambda: said(place, "api") == [("signed", "fail"), ("signed", "pass")])
        assert said(place, "before") == [("labels", "fail"), ("signed", "pass")], "a scan that found the same"
        known = 'revet_reports{cluster="prod",resource="policyreports"} 2.0'
        first.until(lambda: known in first.operations("/metrics"))
        text = first.operations("/metrics")
        assert 'resource="reports"' not in text, "the cluster has none"
        assert "reports-absent" in first.err
        assert json.loads(first.operations("/healthz"))["troubles"] == []
        first.kill()
    drop(cluster, "policyreports", "before")
    put(cluster, "policyreports", "late", result("signed", "error"))
    with watcher(place, cluster) as second:
        second.until(lambda: said(place, "late"))
        assert second.end() == 0, second.err
    ids = Counter(one.id for one in claims(place))
    assert len(ids) == 6, "before 2, node 1, api 2, late 1; what was told again has the same ids"
    assert {one.cluster for one in claims(place)} == {"prod"}
    assert {one.name: (one.kind, one.namespace, one.uid) for one in claims(place)}["late"] == (
        "Pod", "default", "uid-late",
    )  # fmt: skip


def test_a_version_that_the_server_forgot_means_a_new_list_and_nothing_twice(place, cluster):
    define(cluster, "policyreports")
    put(cluster, "policyreports", "old", result("signed", "fail"))
    with watcher(place, cluster, REVET_PODS_SILENCE_SECONDS="5") as process:
        process.until(lambda: said(place, "old"))
        cluster.kill_server()
        cluster.compact()
        cluster.start_server()
        served(cluster, "policyreports")
        put(cluster, "policyreports", "new", result("signed", "pass"))
        process.until(lambda: said(place, "new"))
        assert process.end() == 0, process.err
    assert len(claims(place)) == 2


def test_kinds_that_the_cluster_gets_later_are_found(cluster, monkeypatch):
    """Here in this process, so that the minute between two looks can be a second."""
    monkeypatch.setattr(reportwatch, "ABSENT_SECONDS", 1.0)
    told: list[object] = []
    watch = reportwatch.ReportWatch("prod", reportwatch.Resource("openreports.io", "reports"))

    async def tell(some: Told) -> None:
        told.extend(some)

    def ended(found: reportwatch.ReportWatch, ending: Ending, detail: str, error: PlaceError | None) -> None:
        del found, ending, detail
        assert error is None

    async def day() -> None:
        server = ApiServer(finder(cluster.kubeconfig("admin", "--token=admin-token")), 5)
        running = asyncio.create_task(ReportLoop(watch, server, tell, ended).run())
        try:
            async with asyncio.timeout(WAIT):
                while not watch.absent:  # noqa: ASYNC110  # looked at from outside: nobody sets an event
                    await asyncio.sleep(0.05)
                await asyncio.to_thread(define, cluster, "reports")
                await asyncio.to_thread(put, cluster, "reports", "api", result("signed", "fail"))
                while not told:  # noqa: ASYNC110  # as above
                    await asyncio.sleep(0.05)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await server.close()

    asyncio.run(day())
    assert not watch.absent
    assert [(one.name, one.result) for one in told if isinstance(one, ClaimObserved)] == [("api", "fail")]


def test_who_may_not_list_is_told_and_what_is_printed_is_enough(place, cluster):
    define(cluster, "policyreports")
    put(cluster, "policyreports", "api", result("signed", "fail"))
    with watcher(place, cluster, "nobody-token") as process:
        process.until(lambda: "HTTP 403" in process.err)
        (trouble,) = json.loads(process.operations("/livez"))["troubles"]
        assert trouble["what"] == "reports of prod"
        assert "--print-rbac" in trouble["message"]
        granted = Revet("serve", "reports", "--print-rbac", cwd=ROOT)
        with granted:
            assert granted.wait() == 0, granted.err
        apply(cluster, granted.out)
        process.until(lambda: said(place, "api"))
        process.until(lambda: json.loads(process.operations("/livez"))["troubles"] == [])
        assert process.end() == 0, process.err
    assert "nobody-token" not in process.err


def apply(cluster: WatchedCluster, text: str) -> None:
    """What is printed for a service account, bound to the user `nobody` in its place."""
    for document in yaml.safe_load_all(text):
        if document["kind"] == "ClusterRoleBinding":
            document["subjects"] = [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "nobody"}]
        cluster.ask("POST", f"/apis/rbac.authorization.k8s.io/v1/{document['kind'].lower()}s", document)


def test_bodies_over_http_go_the_same_way(place):
    settings = {"REVET_REPORTS_ADDRESS": "127.0.0.1:0", "REVET_SERVE_OPERATIONS": "127.0.0.1:0"}
    alert = {"alert_message": "CONNAISSEUR rejected a request", "namespace": "shop", "images": "nginx:1"}
    with Revet("serve", "reports", cwd=ROOT, **place.environment(**settings)) as process:
        url = process.said(r"url=(\S+)")
        request = urllib.request.Request(f"{url}/prod-us", json.dumps(alert).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert answer.status == 200
        (claim,) = claims(place)
        assert (claim.cluster, claim.engine, claim.images) == ("prod-us", "connaisseur", ("nginx:1",))
        assert process.end() == 0, process.err


def test_without_a_cluster_and_an_address_there_is_nothing_to_do(place):
    with Revet("serve", "reports", cwd=ROOT, **place.environment()) as process:
        assert process.wait() == 2
    assert "reports.clusters" in process.err
