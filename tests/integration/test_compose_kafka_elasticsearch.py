"""docker-compose.yml, run without Docker on the same versions of its servers: commands, environments, health, order.

That a real Compose parser takes the file, and what the file promises, is in tests/unit/test_compose.py.
"""

import asyncio
import json
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.servers import kafka
from scripts.servers.base import free_port
from streams.local.demo import DATA, Story
from tests.helpers import process
from tests.helpers.compose import ROOT, Running, load
from tests.helpers.fresh import fresh_namespace
from tests.helpers.servers import private_broker

pytestmark = [pytest.mark.needs("kafka", "elasticsearch", "compose-check"), pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def broker(require):
    """A broker with the properties that the image makes of the file's variables; ports and places are the test's."""
    given = load(require("compose-check"))["services"]["kafka"]["environment"]
    named = {key.removeprefix("KAFKA_").lower().replace("_", "."): value for key, value in given.items()}
    own = {key: str(value) for key, value in named.items() if key not in {"cluster.id", "heap.opts", "log.dirs"}}
    ports = {"9092": free_port(), "19092": free_port(), "9093": free_port()}
    for key in ("listeners", "advertised.listeners", "controller.quorum.voters"):
        own[key] = ",".join(_moved(part, ports) for part in own[key].split(","))
    options = {"properties": own, "defaults": {"log.dirs": "data"}}
    with private_broker(port=ports["9092"], controller_port=ports["9093"], **options) as running:
        yield running, ports["19092"]


def _moved(address: str, ports: dict[str, int]) -> str:
    """`PLAINTEXT://kafka:9092` on this machine; the address that the file gives to the host leads to port 19092."""
    head, _, port = address.rpartition(":")
    number = ports["19092" if address == "HOST://127.0.0.1:9092" else port]
    return f"{head.replace('kafka', '127.0.0.1').replace('localhost', '127.0.0.1')}:{number}"


def put_demo_pods(running: Running) -> int:
    """What an API server's audit webhook sends."""
    lines = (DATA / "clusters" / "prod-eu" / "audit.jsonl").read_text().splitlines()[:50]
    body = json.dumps({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "items": [json.loads(x) for x in lines]})
    url = f"http://127.0.0.1:{running.port('audit', 9880)}/audit/prod-eu"
    request = urllib.request.Request(url, body.encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.status


def test_the_whole_file_comes_up_plays_the_demo_and_stops(broker, elastic_server, require, tmp_path):
    running_broker, host_port = broker
    assert kafka.answers(host_port)  # the listener for this machine, as the file publishes it
    project = load(require("compose-check"), env_file=ROOT / "demo.env", profiles="demo,tools")
    servers = {"kafka:9092": running_broker.bootstrap, "elasticsearch:9200": elastic_server.url.removeprefix("http://")}
    namespace = fresh_namespace(elastic_server.url, "c")
    with Running(project, tmp_path, servers, REVET_ELASTICSEARCH_NAMESPACE=namespace) as running:
        running.up(apart=("cli",))
        assert running.started.index("kafka") < running.started.index("topics") < running.started.index("judge")
        assert running.started.index("index-setup") < running.started.index("index")
        assert running.started.index("demo-trust") < running.started.index("demo")
        assert same(lambda: on_record(running.run), one_process(tmp_path / "one.sqlite")), running.told()
        assert send_audit_events(running) == 200
        assert [name for name in PROCESSES if not running.healthy(name)] == []
        assert sealed(running) >= 0
        key = (tmp_path / "volumes" / "administrators" / "administrators").read_text()
        for job in ("administrator", "topics", "index-setup", "ledger-begin"):  # `docker compose up` again
            assert running.run(job, *running.services[job]["command"]).returncode == 0, job
        assert (tmp_path / "volumes" / "administrators" / "administrators").read_text() == key
        assert {name: running.stop(name) for name in PROCESSES} == dict.fromkeys(PROCESSES, 0), running.told()


PROCESSES = ("audit", "judge", "fetch", "index", "alert", "ledger", "reports")
Row = tuple[str, ...]
FIELDS = (
    "orchestrator.cluster.id",
    "kubernetes.pod.name",
    "container.name",
    "provenance.image.digest",
    "provenance.verdict",
    "provenance.policy.id",
)


def one_process(state: Path) -> set[Row]:
    """What the day comes to in the single-machine mode."""

    async def story() -> None:
        told = Story.open(state)
        await told.trust()
        await told.play("", lambda *_: None)
        told.node.close()

    asyncio.run(story())
    return on_record(lambda _, *arguments: process.run(*arguments, "--state", str(state)))  # a command of its own


def on_record(run: Callable[..., subprocess.CompletedProcess[str]]) -> set[Row]:
    """Running containers on record, each with its verdict.

    Not those that ended: the day takes seconds here, and some end before their evidence has been fetched.
    """
    done = run("cli", "search", "state:running", "--limit", "1000", "-o", "json")
    assert done.returncode == 0, done.stderr
    rows = (tuple(str(hit.get(field)) for field in FIELDS) for hit in json.loads(done.stdout)["hits"])
    return set(rows)


def same(look: Callable[[], set[Row]], expected: set[Row]) -> bool:
    """Waits until what is on record is what is expected."""
    assert expected
    deadline = time.monotonic() + 120
    while (found := look()) != expected:
        if time.monotonic() > deadline:
            pytest.fail(f"only in one process: {sorted(expected - found)}; only here: {sorted(found - expected)}")
        time.sleep(2)
    return True


def sealed(running: Running) -> int:
    """Waits until what is on record is as it was sealed, as somebody without the private key sees it."""
    deadline = time.monotonic() + 60
    while True:
        done = running.run("cli", "ledger", "verify", "-o", "json")
        if done.returncode == 0 or time.monotonic() > deadline:
            assert done.returncode == 0, (done.stdout[-2000:], done.stderr)
            report = json.loads(done.stdout)
            assert report["records"] > 0
            return int(report["signed"])
        time.sleep(2)


def send_audit_events(running: Running) -> int:
    """As an API server's audit webhook; the status of the answer."""
    lines = (DATA / "clusters" / "prod-eu" / "audit.jsonl").read_text().splitlines()[:50]
    body = json.dumps({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "items": [json.loads(x) for x in lines]})
    url = f"http://127.0.0.1:{running.port('audit', 9880)}/audit/prod-eu"
    request = urllib.request.Request(url, body.encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return int(answer.status)
