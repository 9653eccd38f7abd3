"""`listen.counters`: what a real API server says it sent, beside what came; and what it gave up, which is a finding."""

import re
from pathlib import Path

import pytest

from alerting.models import Finding
from streams.alerter import Alerter
from streams.codec import decode
from streams.events import AuditCounted
from streams.topics import CLUSTER_SIGHT
from tests.helpers.command import revet
from tests.helpers.kafkatopics import Place
from tests.helpers.process import ROOT, Revet
from tests.helpers.servers import KafkaServer
from tests.helpers.watchedcluster import WatchedCluster, free_port

pytestmark = [pytest.mark.needs("kube", "kafka"), pytest.mark.timeout(300), pytest.mark.slow]


@pytest.fixture
def place(kafka_server: KafkaServer) -> Place:
    return Place(kafka_server.bootstrap).prepare()


def cluster_of(tools: Path, folder: Path, port: int, *more: str) -> WatchedCluster:
    """An API server that sends its audit events to this port."""
    (folder / "policy.yaml").write_text(revet("serve", "audit", "--print-policy").out)
    target = f"{{clusters: [{{name: r, cluster: {{server: 'http://127.0.0.1:{port}/audit/prod'}}}}], users: [],"
    (folder / "webhook").write_text(
        f"{target} contexts: [{{name: r, context: {{cluster: r, user: ''}}}}], current-context: r}}"
    )
    files = (f"--audit-policy-file={folder / 'policy.yaml'}", f"--audit-webhook-config-file={folder / 'webhook'}")
    return WatchedCluster(tools, folder, *files, "--audit-webhook-batch-max-wait=1s", *more)


def receiver(place: Place, cluster: WatchedCluster, port: int) -> Revet:
    file = cluster.kubeconfig("admin", "--token=admin-token")
    settings = {
        "REVET_LISTEN_ADDRESS": f"127.0.0.1:{port}",
        "REVET_LISTEN_COUNTERS": f"prod={file}",
        "REVET_LISTEN_COUNTERS_SECONDS": "1",
        "REVET_SERVE_OPERATIONS": "127.0.0.1:0",
    }
    return Revet("serve", "audit", cwd=ROOT, **place.environment(**settings))


def metric(process: Revet, name: str, more: str = "") -> float:
    text = process.operations("/metrics")
    found = re.search(rf'^{name}{{source="prod"{more}}} (\S+)', text, re.MULTILINE)
    return float(found[1]) if found else -1.0


def counted(place: Place) -> list[AuditCounted]:
    """What the alerter is told."""
    found = [decode(record.value) for record in place.read(CLUSTER_SIGHT)]
    return [event for event in found if isinstance(event, AuditCounted)]


def lost(alerter: Alerter, events: list[AuditCounted]) -> list[tuple[str, str, str]]:
    said = [out for event in events for out in alerter.handle(event, event.time)]
    return [(f.code, f.cluster, f.message) for f in said if isinstance(f, Finding)]


def test_everything_that_was_sent_came(place, require, tmp_path):
    port = free_port()
    with cluster_of(require("kube"), tmp_path, port) as cluster, receiver(place, cluster, port) as process:
        process.until(lambda: metric(process, "revet_audit_compared_total", ',word="unknown"') >= 1)
        for number in range(20):
            cluster.run(f"pod-{number}")
        process.until(lambda: metric(process, "revet_audit_compared_total", ',word="whole"') >= 5)
        assert metric(process, "revet_audit_missing") == 0
        assert metric(process, "revet_audit_given_up") == 0
        assert lost(Alerter(), counted(place)) == []
        cluster.kill_server()
        cluster.start_server()
        process.until(lambda: len({event.started for event in counted(place)}) == 2)
        assert lost(Alerter(), counted(place)) == [], "a server that was restarted counts from 0"
        assert process.end() == 0, process.err
    assert "audit-events" not in process.err
    assert "admin-token" not in process.err


def test_what_an_api_server_gives_up_is_told(place, require, tmp_path):
    """Its buffer holds one event, and it may send a batch every ten seconds."""
    port = free_port()
    narrow = ("--audit-webhook-batch-buffer-size=1", "--audit-webhook-batch-max-size=1")
    slow = ("--audit-webhook-batch-throttle-qps=0.1", "--audit-webhook-batch-throttle-burst=1")
    with (
        cluster_of(require("kube"), tmp_path, port, *narrow, *slow) as cluster,
        receiver(place, cluster, port) as process,
    ):
        process.until(lambda: metric(process, "revet_audit_compared_total", ',word="unknown"') >= 1)
        for number in range(20):
            cluster.run(f"pod-{number}")
        process.until(lambda: metric(process, "revet_audit_given_up") >= 10)
        assert "audit-events-lost" in process.err
        process.kill()
        alerter = Alerter()
        assert lost(alerter, counted(place))[0][:2] == ("visibility-lost", "prod")
        known = {event.id for event in counted(place)}
        for number in range(20):  # nobody is there to be told, or to look
            cluster.run(f"late-{number}")
        with receiver(place, cluster, port) as second:
            second.until(lambda: metric(second, "revet_audit_compared_total", ',word="unknown"') >= 1)
            second.until(lambda: counted(place)[-1].id not in known)
            (first_word, *_) = [event for event in counted(place) if event.id not in known]
            ((code, _, message),) = lost(alerter, [first_word])
            second.kill()
    assert (code, "of prod were given up by the API server" in message) == ("visibility-lost", True)
