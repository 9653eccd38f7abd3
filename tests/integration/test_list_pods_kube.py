"""Pods asked of a real API server, with kubeconfigs that kubectl wrote: a token, an embedded certificate, files."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.collectors import watch
from streams.collectors.kubeconfig import read_kubeconfig
from streams.collectors.watch import list_pods
from streams.events import Pod
from tests.helpers.command import DEMO, revet
from tests.helpers.watchedcluster import READY_SECONDS, WatchedCluster
from verifier.errors import PlaceRefused

API = "registry.example.com/payments/api"
DIGEST = "sha256:df5aa0f8edba1670736b443b968cbf29911b4ac7e10de5a5fb8704a458f4418f"
PODS = 7


@pytest.fixture(scope="module")
def cluster(require, tmp_path_factory) -> Iterator[WatchedCluster]:
    """With some pods, and somebody who may list them."""
    with WatchedCluster(require("kube"), tmp_path_factory.mktemp("kube")) as made:
        fill(made)
        allow(made)
        yield made


def fill(cluster: WatchedCluster) -> None:
    """Pods as kubelets would report them; one is still waiting."""
    containers = [{"name": "app", "image": f"{API}:1.4.2"}]
    for number in range(PODS):
        metadata = {"name": f"p{number}", "namespace": "default"}
        cluster.ask(
            "POST", "/api/v1/namespaces/default/pods", {"metadata": metadata, "spec": {"containers": containers}}
        )
        if number:
            state = {"name": "app", "image": f"{API}:1.4.2", "imageID": f"{API}@{DIGEST}", "state": {"running": {}}}
            ready = {"ready": True, "restartCount": 0, **state}
            patch = {"status": {"phase": "Running", "containerStatuses": [ready]}}
            path = f"/api/v1/namespaces/default/pods/p{number}/status"
            cluster.ask("PATCH", path, patch, "application/merge-patch+json")


RBAC = "/apis/rbac.authorization.k8s.io/v1"


def allow(cluster: WatchedCluster) -> None:
    """What revet needs of a cluster: to list pods, nothing else. The API server learns of it within moments."""
    rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}
    cluster.ask("POST", f"{RBAC}/clusterroles", {"metadata": {"name": "revet"}, "rules": [rule]})
    group = "rbac.authorization.k8s.io"
    binding = {
        "metadata": {"name": "revet"},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "revet"},
        "subjects": [{"apiGroup": group, "kind": "User", "name": "revet"}],
    }
    cluster.ask("POST", f"{RBAC}/clusterrolebindings", binding)
    asked = {"spec": {"user": "revet", "resourceAttributes": {"verb": "list", "resource": "pods"}}}
    deadline = time.monotonic() + READY_SECONDS
    while not cluster.ask("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", asked)["status"]["allowed"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def pods_of(file: Path) -> list[Pod]:
    access = read_kubeconfig(file.read_text(), str(file))

    async def listed() -> list[Pod]:
        return [pod async for pod in list_pods(access, file.parent) if isinstance(pod, Pod)]

    return asyncio.run(listed())


CREDENTIALS = {
    "token": ("--token=admin-token",),
    "embedded": ("--client-certificate={0}/client.pem", "--client-key={0}/client.key", "--embed-certs=true"),
    "files": ("--client-certificate={0}/client.pem", "--client-key={0}/client.key"),
}


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", CREDENTIALS)
def test_every_pod_page_by_page(cluster, monkeypatch, name):
    monkeypatch.setattr(watch, "PAGE", 3)
    file = cluster.kubeconfig(name, *(text.format(cluster.folder) for text in CREDENTIALS[name]))
    pods = pods_of(file)
    assert sorted(pod.name for pod in pods) == [f"p{n}" for n in range(PODS)]
    assert [pod.containers[0].digest for pod in sorted(pods, key=lambda p: p.name)] == ["", *([DIGEST] * (PODS - 1))]


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_who_may_not_list_is_told_so(cluster):
    with pytest.raises(PlaceRefused, match="may not list pods"):
        pods_of(cluster.kubeconfig("nobody", "--token=nobody-token"))
    with pytest.raises(PlaceRefused, match="not known to it"):
        pods_of(cluster.kubeconfig("stranger", "--token=forged"))


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_answer_is_that_of_kubectl(cluster):
    file = cluster.kubeconfig("same", "--token=admin-token")
    options = ("--trust", DEMO / "keys", "--evidence", f"oci-layout:{DEMO / 'oci'}", "-o", "json")
    asked = revet("survey", "--kubeconfig", file, *options)
    for output in ("json", "yaml"):
        printed = cluster.kubectl(f"--kubeconfig={file}", "get", "pods", "-A", "-o", output).stdout
        assert revet("survey", *options, stdin=printed).json == asked.json
    assert (asked.code, asked.json["pods"], asked.json["waiting"], asked.json["digests"]["signed"]) == (0, PODS, 1, 1)
