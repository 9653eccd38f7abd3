"""The audit policy and webhook kubeconfig that revet prints, on a real kube-apiserver: what arrives is enough.

etcd and kube-apiserver run here; the receiver is ours, over mutual TLS. Each step of a day is asked of the API server,
and what revet reads of the events it sent is compared with what was done.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streams.collectors.auditpolicy import audit_policy, webhook_kubeconfig
from streams.collectors.delivery import Counters, compare, read_counters
from streams.collectors.senders import SenderRule, Senders
from streams.collectors.server import Receiver, ReceiverOptions
from streams.collectors.tls import ServerTls
from streams.events import ConfigurationObserved, DecisionObserved, NamespaceObserved
from tests.helpers.servingpki import ServingCa
from tests.helpers.watchedcluster import WatchedCluster
from tests.integration.test_listen import Taken

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240), pytest.mark.asyncio]

IMAGE = "registry.example.com/payments/api:1.4.2"
PODS = "/api/v1/namespaces/default/pods"


def server_of(tools: Path, folder: Path, receiver: str) -> WatchedCluster:
    """A kube-apiserver with the printed policy and kubeconfig."""
    (folder / "policy.yaml").write_text(audit_policy())
    mine = {"certificate_file": str(folder / "cp-1.crt"), "key_file": str(folder / "cp-1.key")}
    (folder / "webhook").write_text(webhook_kubeconfig(receiver, ca_file=str(folder / "senders.crt"), **mine))
    return WatchedCluster(
        tools, folder,
        f"--audit-policy-file={folder / 'policy.yaml'}", f"--audit-webhook-config-file={folder / 'webhook'}",
        "--audit-webhook-batch-max-wait=1s", "--audit-webhook-truncate-enabled=true",
        "--audit-webhook-truncate-max-event-size=2097152", "--audit-webhook-truncate-max-batch-size=33554432",
    )  # fmt: skip


def a_day(server: WatchedCluster) -> None:
    """What somebody does; and much that revet must not be told of."""
    ask = server.ask
    spec = {"containers": [{"name": "app", "image": IMAGE}]}
    ask("POST", PODS, {"metadata": {"name": "api"}, "spec": spec})
    ask("POST", PODS, {"metadata": {"generateName": "job-"}, "spec": spec})
    ask("POST", PODS + "?dryRun=All", {"metadata": {"name": "tried"}, "spec": spec})
    merge = "application/strategic-merge-patch+json"
    newer = {"spec": {"containers": [{"name": "app", "image": IMAGE[:-1] + "3"}]}}
    ask("PATCH", f"{PODS}/api", newer, merge)
    debug = {"spec": {"ephemeralContainers": [{"name": "dbg", "image": "busybox:1.36", "targetContainerName": "app"}]}}
    ask("PATCH", f"{PODS}/api/ephemeralcontainers", debug, merge)
    status = {"status": {"phase": "Running"}}
    ask("PATCH", f"{PODS}/api/status", status, "application/merge-patch+json")
    label = {"metadata": {"labels": {"policy.sigstore.dev/include": "true"}}}
    ask("PATCH", "/api/v1/namespaces/default", label, "application/merge-patch+json")
    hook = {
        "name": "v.example.com",
        "clientConfig": {"url": "https://127.0.0.1:1/x"},
        "admissionReviewVersions": ["v1"],
    }
    hook |= {"sideEffects": "None", "failurePolicy": "Ignore"}
    hooks = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
    ask("POST", hooks, {"metadata": {"name": "verifier"}, "webhooks": [hook]})
    ask(
        "POST", "/api/v1/namespaces/default/secrets", {"metadata": {"name": "s"}, "stringData": {"k": "hunter2-secret"}}
    )
    ask("POST", "/api/v1/namespaces/default/configmaps", {"metadata": {"name": "c"}, "data": {"k": "hunter2-config"}})
    ask("GET", PODS)
    deployed = {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}}
    deployed |= {"template": {"metadata": {"labels": {"a": "b"}}, "spec": spec}}
    ask("POST", "/apis/apps/v1/namespaces/default/deployments", {"metadata": {"name": "web"}, "spec": deployed})
    ask("DELETE", f"{PODS}/api?gracePeriodSeconds=0")


class Seen:
    """What was read of everything that arrived. Bodies are kept to look for what must not be in them."""

    def __init__(self, taken: Taken) -> None:
        self._taken = taken

    def of(self, kind: type, where: Callable[[Any], bool] = lambda _: True) -> list[Any]:
        return [o for b in self._taken.batches for o in b.observations if isinstance(o, kind) and where(o)]

    def decisions(self) -> list[tuple[str, str, str]]:
        # The API server makes objects of its own at its start, but neither pods nor workloads.
        return [(d.operation, d.resource, ",".join(i.stored for i in d.images)) for d in self.of(DecisionObserved)]


async def test_a_real_api_server_takes_the_policy_and_delivers_what_revet_reads(require, tmp_path) -> None:
    tools = require("kube")
    ca = ServingCa("senders")
    (tmp_path / "senders.crt").write_bytes(ca.pem)
    own = ca.pair(tmp_path, "receiver")
    ca.pair(tmp_path, "cp-1", client=True)
    taken = Taken()
    senders = Senders((SenderRule(cluster="kube-1", certificate="cn:cp-1", server="cp-1"),))
    tls = ServerTls(own.certificate, own.key, tmp_path / "senders.crt")
    receiver = Receiver(taken, ReceiverOptions(senders=senders, tls=tls))
    seen = Seen(taken)
    async with receiver.listening("127.0.0.1", 0) as port:
        server = server_of(tools, tmp_path, f"https://127.0.0.1:{port}/audit")
        await asyncio.to_thread(server.__enter__)  # the receiver answers meanwhile
        try:
            await asyncio.to_thread(a_day, server)
            deadline = time.monotonic() + 60
            while not any(d[0] == "delete" for d in seen.decisions()):
                assert time.monotonic() < deadline, seen.decisions()
                await asyncio.sleep(0.2)
            counters = await asyncio.to_thread(server.metrics)
        finally:
            server.__exit__()
    newer = IMAGE[:-1] + "3"
    assert sorted(seen.decisions()) == sorted(
        [
            ("create", "pods", IMAGE),
            ("create", "pods", IMAGE),
            ("create", "pods", IMAGE),
            ("patch", "pods", newer),
            ("patch", "pods/ephemeralcontainers", f"{newer},busybox:1.36"),
            ("create", "deployments", IMAGE),
            ("delete", "pods", ""),
        ]
    )
    assert [d.dry_run for d in seen.of(DecisionObserved) if d.name == "tried"] == [True]
    assert all(d.level == "RequestResponse" for d in seen.of(DecisionObserved))
    assert all(d.uid for d in seen.of(DecisionObserved) if not d.dry_run)
    assert ("policy.sigstore.dev/include", "true") in [
        pair for n in seen.of(NamespaceObserved, _default) for pair in n.labels
    ]
    assert [c.name for c in seen.of(ConfigurationObserved, lambda c: "webhook" in c.resource)] == ["verifier"]
    ignored: set[str] = set()
    for batch in taken.batches:
        ignored |= set(batch.ignored)
        assert not batch.letters
    assert not ignored & {"read", "resource", "stage", "status"}, "the policy sends what nobody reads"
    assert {b.cluster for b in taken.batches} == {"kube-1"}
    originals = b"".join(o for b in taken.batches for o in b.originals)
    assert b"hunter2" not in originals
    said = read_counters(counters)
    assert said is not None
    whole = compare(Counters(0, 0, said.started), said, sum(b.events for b in taken.batches), under_way=10)
    assert (whole.word, whole.given_up) == ("whole", 0)
    assert whole.sent >= len(seen.decisions())
    lost = compare(Counters(0, 0, said.started), said, 0, under_way=0)
    assert (lost.word, lost.missing) == ("missing", said.sent), "the comparison can fail"


def _default(namespace: NamespaceObserved) -> bool:
    return namespace.namespace == "default"
