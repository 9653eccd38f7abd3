"""The webhook and the audit log of one API server: each says of a request what the other does, and who asks shows a
certificate. A second API server over the etcd of the first, with an audit log and a client certificate for webhooks.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from streams.collectors.bodies import Bodies
from streams.events import DecisionObserved
from tests.helpers.command import DEMO
from tests.helpers.registry_server import push_whole, registry_process
from tests.helpers.watchedcluster import WatchedCluster
from tests.helpers.webhook import SIGNED, UNSIGNED, WebhookWorld, pod
from tests.integration.test_admission_kube import NAME, Hook, ask, create, of
from tests.integration.test_list_pods_kube import cluster

__all__ = ["cluster"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

AUDIT = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "RequestResponse", "resources": [{"group": "", "resources": ["pods"]}]}, {"level": "None"}],
}


@pytest.fixture
def audited(cluster: WatchedCluster, tmp_path: Path) -> Iterator[WatchedCluster]:
    """The same cluster through an API server that keeps an audit log (`audit.log`) and shows webhooks a certificate."""
    tls = cluster.tls
    client = {"client-certificate": str(tls.client_certificate), "client-key": str(tls.client_key)}
    hooks = {"apiVersion": "v1", "kind": "Config", "users": [{"name": "*", "user": client}]}
    configured = {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "WebhookAdmissionConfiguration",
        "kubeConfigFile": str(tmp_path / "hooks.yaml"),
    }
    plugins = [{"name": "ValidatingAdmissionWebhook", "configuration": configured}]
    control = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration", "plugins": plugins}
    for name, document in (("hooks", hooks), ("control", control), ("audit", AUDIT)):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(document))
    flags = (
        f"--audit-policy-file={tmp_path / 'audit.yaml'}",
        f"--audit-log-path={tmp_path / 'audit.log'}",
        f"--admission-control-config-file={tmp_path / 'control.yaml'}",
    )
    with cluster.second(*flags) as made:
        yield made


def events(log: Path, name: str) -> list[dict[str, Any]]:
    """Audit events about a pod of that name, once there is one."""
    deadline = time.monotonic() + 20
    while True:
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        found = [e for e in lines if name in (e["objectRef"].get("name"), named(e))]
        if found:
            return found
        assert time.monotonic() < deadline, lines
        time.sleep(0.1)


def named(event: dict[str, Any]) -> str:
    return str((event.get("requestObject") or {}).get("metadata", {}).get("name", ""))


def read(event: dict[str, Any]) -> DecisionObserved:
    """As revet's own collector reads an audit event."""
    found = Bodies(1 << 20).read("prod-eu", json.dumps(event).encode(), 0).observations
    (decision,) = [one for one in found if isinstance(one, DecisionObserved)]
    return decision


def test_the_audit_log_names_the_decision_and_is_read_as_it_was_recorded(audited, tmp_path, require):
    log = tmp_path / "audit.log"
    (tmp_path / "world").mkdir()
    with registry_process(require("registry")) as host:
        push_whole(DEMO / "oci", f"http://{host}")
        world = WebhookWorld(tmp_path / "world", host)
        options = {"mode": "enforce", "client_ca_file": str(audited.tls.ca)}
        ask(audited, "POST", "/api/v1/namespaces", {"metadata": {"name": "pay"}})
        with world.started_unready(**options) as running:
            with pytest.raises(OSError, match=r"(?i)certificate|reset|alert|eof|closed"):
                running.ask(b"{}")  # only who shows a certificate is heard
            with Hook(audited, world, running, **options):
                assert create(audited, pod("good", SIGNED)).code == 201
                assert create(audited, pod("bad", UNSIGNED)).code == 403
                good, bad = of(world, "good")[0], of(world, "bad")[0]
                (event,) = events(log, "good")
                assert event["annotations"][f"{NAME}/decision"] == good.id
                assert event["annotations"][f"{NAME}/outcome"] == "valid"
                (event,) = events(log, "bad")
                assert event["annotations"][f"{NAME}/reasons"] == "unsigned"
                told = read(event)
                assert (told.outcome, told.engine, told.by) == (bad.outcome, bad.engine, bad.by)
                assert told.message.endswith(bad.message)
                running.process.kill()
                assert create(audited, pod("unasked", UNSIGNED)).code == 201
                assert read(events(log, "unasked")[0]).failed_open == (NAME,)
