"""Pods asked of a real API server, with kubeconfigs that kubectl wrote: a token, an embedded certificate, files."""

import asyncio
import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from ssl import create_default_context
from typing import Any, NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from streams.collectors import watch
from streams.collectors.kubeconfig import read_kubeconfig
from streams.collectors.watch import list_pods
from streams.events import Pod
from tests.helpers.command import DEMO, revet
from tests.integration.test_list_pods import Pki
from verifier.errors import PlaceRefused

API = "registry.example.com/payments/api"
DIGEST = "sha256:df5aa0f8edba1670736b443b968cbf29911b4ac7e10de5a5fb8704a458f4418f"
PODS = 7
READY_SECONDS = 90


class Cluster(NamedTuple):
    kubectl: Path
    server: str
    folder: Path
    pki: Pki

    def ask(self, method: str, path: str, body: object = None, kind: str = "application/json") -> Any:
        headers = {"Authorization": "Bearer admin-token", "Content-Type": kind}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.server}{path}", data, headers, method=method)
        context = create_default_context(cadata=self.pki.ca)
        with urllib.request.urlopen(request, timeout=20, context=context) as answer:
            return json.load(answer)

    def kubeconfig(self, name: str, *credentials: str) -> Path:
        """A kubeconfig as kubectl writes it."""
        file = self.folder / name
        for arguments in (
            ("set-cluster", "c", f"--server={self.server}", f"--certificate-authority={self.folder / 'ca.crt'}"),
            ("set-credentials", "u", *credentials),
            ("set-context", "x", "--cluster=c", "--user=u"),
            ("use-context", "x"),
        ):
            subprocess.run(
                [self.kubectl, "config", f"--kubeconfig={file}", *arguments], check=True, capture_output=True
            )
        return file


def free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture(scope="module")
def cluster(require, tmp_path_factory) -> Iterator[Cluster]:
    tools, folder, pki = require("kube"), tmp_path_factory.mktemp("kube"), Pki()
    client, peer, port = free_ports(3)
    (folder / "ca.crt").write_text(pki.ca)
    (folder / "tokens.csv").write_text('admin-token,admin,1,"system:masters"\nnobody-token,nobody,2\n')
    account = ec.generate_private_key(ec.SECP256R1())
    secret = account.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    (folder / "sa.key").write_bytes(secret)
    for name, (certificate, key) in {"server": pki.server, "client": pki.client}.items():
        (folder / f"{name}.crt").write_text(certificate)
        (folder / f"{name}.key").write_text(key)
    etcd, peers = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
    commands = (
        [
            *(tools / "etcd", f"--data-dir={folder / 'etcd'}", f"--listen-client-urls={etcd}"),
            *(
                f"--advertise-client-urls={etcd}",
                f"--listen-peer-urls={peers}",
                "--unsafe-no-fsync",
                "--log-level=error",
            ),
            *(f"--initial-advertise-peer-urls={peers}", f"--initial-cluster=default={peers}"),
        ],
        [
            *(tools / "kube-apiserver", f"--etcd-servers={etcd}", "--bind-address=127.0.0.1", f"--secure-port={port}"),
            *(
                "--advertise-address=127.0.0.1",
                "--endpoint-reconciler-type=none",
                "--service-cluster-ip-range=10.0.0.0/24",
            ),
            *(f"--client-ca-file={folder / 'ca.crt'}", f"--tls-cert-file={folder / 'server.crt'}"),
            *(f"--tls-private-key-file={folder / 'server.key'}", f"--token-auth-file={folder / 'tokens.csv'}"),
            *("--service-account-issuer=https://kubernetes.default.svc", "--authorization-mode=RBAC"),
            *(
                f"--service-account-key-file={folder / 'sa.key'}",
                f"--service-account-signing-key-file={folder / 'sa.key'}",
            ),
            "--disable-admission-plugins=ServiceAccount",
        ],
    )
    with (folder / "log").open("wb") as log:
        running = [subprocess.Popen([str(part) for part in c], stdout=log, stderr=log) for c in commands]
        try:
            made = Cluster(tools / "kubectl", f"https://127.0.0.1:{port}", folder, pki)
            wait(made, running)
            fill(made)
            allow(made)
            yield made
        finally:
            for process in reversed(running):
                process.kill()
                process.wait()


def wait(cluster: Cluster, running: list[subprocess.Popen[bytes]]) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and all(process.poll() is None for process in running):
        try:
            cluster.ask("GET", "/api/v1/namespaces/default")
            return
        except (OSError, urllib.error.URLError):
            time.sleep(0.5)
    pytest.fail((cluster.folder / "log").read_text(errors="replace")[-2000:])


def fill(cluster: Cluster) -> None:
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


def allow(cluster: Cluster) -> None:
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
    "embedded": ("--client-certificate={0}/client.crt", "--client-key={0}/client.key", "--embed-certs=true"),
    "files": ("--client-certificate={0}/client.crt", "--client-key={0}/client.key"),
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
        printed = subprocess.run(
            [cluster.kubectl, f"--kubeconfig={file}", "get", "pods", "-A", "-o", output],
            check=True,
            capture_output=True,
        ).stdout
        assert revet("survey", *options, stdin=printed).json == asked.json
    assert (asked.code, asked.json["pods"], asked.json["waiting"], asked.json["digests"]["signed"]) == (0, PODS, 1, 1)
