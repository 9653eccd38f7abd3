"""One whole installation on real servers: an API server that audits and asks, a registry with signed images, brokers,
a record, a Slack, and every process of revet between them.

with Installation(Servers(kube, registry, bootstrap, url), tmp_path, slack) as day:
    day.create("api", "keyed"); day.runs("api", "keyed")      a pod, and what a kubelet says of it
    day.plant("ghost", "early", "web")                        a pod that came past the API server
    day.kill("judge"); day.start("judge")
    day.passes(11 * MINUTE)                                   for whoever judges and tells
    day.decisions(); day.reader()                             what stands in topics and record
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
import urllib.error
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from socket import create_connection
from typing import Any, NamedTuple, Self
from unittest import mock

import yaml
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from streams.codec import decode
from streams.collectors.auditpolicy import webhook_kubeconfig
from streams.events import DecisionObserved, FeedSeen, Tick
from streams.kafka.producer import KafkaDoor
from streams.kafka.reading import KafkaLog
from streams.outputs import output
from streams.queries.port import RecordReader
from streams.topics import CLUSTER_SIGHT, OBSERVATIONS
from tests.helpers.command import revet
from tests.helpers.oracle_world import IDENTITY, ISSUER, key
from tests.helpers.pipeline import Cluster
from tests.helpers.process import Revet
from tests.helpers.registry_server import push_whole
from tests.helpers.servingpki import ServingCa
from tests.helpers.signedshop import SignedShop
from tests.helpers.slack_server import Workspace
from tests.helpers.trustadmins import ALICE
from tests.helpers.watchedcluster import STRATEGIC, Proxy, WatchedCluster, free_port
from verifier.times import SECOND

IMAGES = ("keyed", "early", "late", "bare")
"""Signed with a key; by an identity, twice; not at all."""
WEBHOOK = "images.admission.revet"
VAP = "nothing-forbidden"
CLUSTER = "prod-eu"
PARTS = ("index", "fetch", "judge", "alert", "audit", "pods", "admission")
SAYS = {"audit": r"(listening)", "pods": r"(watching)"}
"""What a part says when it works, where that is not `ready`."""
CHANNELS = {"security": "C0SEC0001", "team/payments": "C0PAY0001"}
TEAMS = {"pay": "payments", "web": ""}
"""Namespace -> its team."""
RECORDED = {
    "lab-kyverno": ("audit-kyverno.jsonl", "kyverno-pods.jsonl"),
    "lab-gatekeeper": ("audit-gatekeeper.jsonl",),
}
"""Cluster whose day was recorded -> its files, in the folder of recordings."""
HOOKS = "/apis/admissionregistration.k8s.io/v1"
POLICY = {
    "apiVersion": "revet/v1",
    "kind": "Policy",
    "metadata": {"name": "images-signed"},
    "spec": {
        "mode": "enforce",
        "match": [{"images": ["registry.example.com/**"]}],
        "attestors": {
            "release": {"keys": ["dev"]},
            "ci": {"keyless": {"identities": [{"issuer": ISSUER, "subject": IDENTITY}], "roots": ["private"]}},
        },
        "require": {"any": [{"signedBy": "release"}, {"signedBy": "ci"}]},
    },
}


class Servers(NamedTuple):
    """What stands outside: folder of the Kubernetes programs, the registry's program, and who shares the test run."""

    kube: Path
    registry: Path
    bootstrap: str
    elastic: str


class Said(NamedTuple):
    code: int
    body: dict[str, Any]


class Registry:
    """A real registry on one address for as long as it likes; it remembers nothing, so what it had is pushed again."""

    def __init__(self, program: Path, layout: Path) -> None:
        self._program, self._layout = program, layout
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen([self._program, "-port", str(self.port)], stdout=quiet, stderr=quiet)
        end = time.monotonic() + 30
        while True:
            with suppress(OSError):
                create_connection(("127.0.0.1", self.port), timeout=1).close()
                break
            assert time.monotonic() < end, "the registry does not listen"
            time.sleep(0.05)
        push_whole(self._layout, f"http://127.0.0.1:{self.port}")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


class Hand:
    """Of the clock: once pushed forward it goes on, so that what is due in that time comes at its turn."""

    def __init__(self, door: KafkaDoor) -> None:
        self._door, self._ahead = door, 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._go, daemon=True)
        self._thread.start()

    def forward(self, micros: int) -> None:
        self._ahead += micros

    def _go(self) -> None:
        while not self._end.wait(0.5):
            if self._ahead:
                self._door.send([output(Tick("", time.time_ns() // 1000 + self._ahead))])

    def stop(self) -> None:
        self._end.set()
        self._thread.join(30)
        self._door.close()


class Installation:
    """Whole and ready inside the block."""

    def __init__(self, servers: Servers, folder: Path, slack: Workspace) -> None:
        self.folder, self.slack = folder, slack
        self.environ: dict[str, str] = {}
        self.shop = SignedShop(folder / "shop", IMAGES)
        self.registry = Registry(servers.registry, folder / "shop" / "oci")
        self._receiver, self._webhook = free_port(), free_port()
        (folder / "kube").mkdir()
        self._certificates()
        self.kube = WatchedCluster(servers.kube, folder / "kube", *self._flags())
        self.kafka = Cluster(servers.bootstrap, servers.elastic, folder / "cluster", shards=2)
        self.processes: dict[str, Revet] = {}
        self.uid = ""
        self.disturbed = "nothing yet"
        self.took: dict[str, float] = {}
        """Part of the day -> seconds."""
        self._began = time.monotonic()
        self._ended: list[str] = []

    # ------------------------------------------------------------------ what it is made of

    def _certificates(self) -> None:
        """Of the audit receiver and its sender, and of the webhook; and an administrator's key."""
        for ca, server, client in (("senders", "receiver", "cp-1"), ("webhooks", "webhook", "")):
            authority = ServingCa(ca)
            (self.folder / f"{ca}.crt").write_bytes(authority.pem)
            authority.pair(self.folder, server)
            if client:
                authority.pair(self.folder, client, client=True)
        secret = ALICE.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (self.folder / "alice.pem").touch(mode=0o600)
        (self.folder / "alice.pem").write_bytes(secret)
        (self.folder / "slack-token").write_text(self.slack.token)

    def _flags(self) -> list[str]:
        """As `docs/audit.md` has them, and a shorter pause before a batch is sent again."""
        (self.folder / "policy.yaml").write_text(self._said("serve", "audit", "--print-policy"))
        pair = {"certificate_file": str(self.folder / "cp-1.crt"), "key_file": str(self.folder / "cp-1.key")}
        url = f"https://127.0.0.1:{self._receiver}/audit"
        config = webhook_kubeconfig(url, ca_file=str(self.folder / "senders.crt"), **pair)
        (self.folder / "webhook.yaml").write_text(config)
        return [
            f"--audit-policy-file={self.folder / 'policy.yaml'}",
            f"--audit-webhook-config-file={self.folder / 'webhook.yaml'}",
            "--audit-webhook-batch-max-wait=1s",
            "--audit-webhook-initial-backoff=2s",
            "--audit-webhook-truncate-enabled=true",
            "--audit-webhook-truncate-max-event-size=2097152",
            "--audit-webhook-truncate-max-batch-size=33554432",
        ]

    def _evidence(self) -> dict[str, str]:
        return {"REVET_EVIDENCE_MIRRORS": f"registry.example.com=http://127.0.0.1:{self.registry.port}"}

    def _settings(self) -> dict[str, str]:
        """Variables of every process; who may send stands in a file, where alone it can."""
        folder = self.folder
        listen = {
            "address": f"127.0.0.1:{self._receiver}",
            "certificate_file": str(folder / "receiver.crt"),
            "key_file": str(folder / "receiver.key"),
            "client_ca_file": str(folder / "senders.crt"),
            "senders": [{"cluster": self.uid, "certificate": "cn:cp-1", "server": "cp-1"}],
        }
        (self.kafka.folder / "revet.yaml").write_text(yaml.safe_dump({"listen": listen}))
        config = self.kube.kubeconfig("admin", "--token=admin-token", port=self.proxy.port)
        return {
            **self.kafka.environ,
            "REVET_CLUSTER": self.uid,
            "REVET_PODS_CLUSTERS": f"{self.uid}={config}",
            "REVET_PODS_NAMESPACES_SECONDS": "2",
            **self._evidence(),
            "REVET_ADMISSION_ADDRESS": f"127.0.0.1:{self._webhook}",
            "REVET_ADMISSION_CERTIFICATE_FILE": str(folder / "webhook.crt"),
            "REVET_ADMISSION_KEY_FILE": str(folder / "webhook.key"),
            "REVET_ADMISSION_CA_FILE": str(folder / "webhooks.crt"),
            "REVET_ADMISSION_URL": f"https://127.0.0.1:{self._webhook}/admit",
            "REVET_ADMISSION_MODE": "enforce",
            "REVET_ADMISSION_SPOOL": str(folder / "admission.sqlite"),
            "REVET_SLACK_TOKEN_FILE": str(folder / "slack-token"),
            "REVET_SLACK_API": self.slack.url,
            "REVET_SLACK_CHANNELS": ",".join(f"{name}={channel}" for name, channel in CHANNELS.items()),
        }

    # ------------------------------------------------------------------ from start to end

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(self.registry.kill)
            stack.callback(self._end_all)
            with ThreadPoolExecutor() as at_once:
                started = at_once.submit(stack.enter_context, self.kube), at_once.submit(self.registry.start)
                self.kafka.prepare()
                self._launch("judge", "fetch", "index")  # these need nothing of the cluster
                for one in started:
                    one.result()
            self.proxy = stack.enter_context(Proxy(self.kube.port))
            self.uid = self.kube.ask("GET", "/api/v1/namespaces/kube-system")["metadata"]["uid"]
            self.environ = self._settings()
            self._hand = Hand(KafkaDoor(self.kafka.settings.kafka, part="judge"))
            stack.callback(self._hand.stop)
            self._launch("alert", "audit", "pods", "admission")
            self._works("judge")  # who changes trust is told when all shards have judged
            self._trust()
            self._works(*PARTS)
            self._configure()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _end_all(self) -> None:
        for process in self.processes.values():
            if process.process.poll() is None:
                process.process.kill()
            process.wait()

    def start(self, *parts: str) -> None:
        """Start them all, then wait for each."""
        self._launch(*parts)
        self._works(*parts)

    def _launch(self, *parts: str) -> None:
        environ = self.environ or self.kafka.environ | self._evidence()
        for part in parts:
            # Time that is pushed forward makes nobody silent: the alerter would take it for that.
            more = {"REVET_SERVE_STALLED_SECONDS": "86400"} if part == "alert" else {}
            self.processes[part] = Revet("serve", part, cwd=self.kafka.folder, **environ, **more)

    def _works(self, *parts: str) -> None:
        for part in parts:
            self.processes[part].said(SAYS.get(part, r"\b(ready)\b"), 120)

    def replay(self, folder: Path) -> None:
        """What was recorded of other clusters comes in beside the day; they are enrolled nowhere. Does not wait."""
        files = [f"{cluster}={folder / name}" for cluster, names in RECORDED.items() for name in names]
        progress = str(self.folder / "progress.json")
        sending = Revet("serve", "files", *files, "--progress", progress, cwd=self.kafka.folder, **self.environ)
        self.processes["files"] = sending

    def kill(self, *parts: str) -> None:
        """As power loss would."""
        for part in parts:
            process = self.processes.pop(part)
            process.kill()
            self._ended.append(process.err + process.out)

    def stop(self) -> dict[str, int]:
        """Ask all to end; their exit codes."""
        for process in self.processes.values():
            process.process.terminate()
        codes = {part: process.wait() for part, process in self.processes.items()}
        self._ended += [process.err + process.out for process in self.processes.values()]
        return codes

    def output(self) -> str:
        """Everything that everybody said."""
        return "\n".join([*self._ended, *(process.err + process.out for process in self.processes.values())])

    def done(self, part: str) -> None:
        """A part of the day is over."""
        now = time.monotonic()
        self.took[part], self._began = now - self._began, now

    def told(self) -> str:
        """What was disturbed, and the end of what each process said, for a failure."""
        return f"disturbed: {self.disturbed}\n{self.took}\n" + "\n".join(
            f"--- {part}\n{process.err[-1500:]}" for part, process in self.processes.items()
        )

    def revet(self, *args: str) -> str:
        """A command of an administrator that has to succeed; what it printed."""
        return self._said(*args, "--sign-with", str(self.folder / "alice.pem"))

    def _said(self, *args: str) -> str:
        with mock.patch.dict(os.environ, self.environ):
            done = revet(*args)
        assert done.code == 0, (args, done.out, done.err)
        return done.out

    def _trust(self) -> None:
        self.shop.write("trust/private.json", self.shop.root_json())
        self.shop.write("trust/images.yaml", json.dumps(POLICY))
        self.shop.write("trust/dev.pub", key().pem)
        self.revet("cluster", "enroll", CLUSTER, "--id", self.uid, "--label", "env=prod")
        self.revet("trust", "apply", str(self.shop.folder / "trust"))

    def _configure(self) -> None:
        """What an administrator of the cluster installs; then all of it is known to work."""
        until(lambda: {"pods"} <= {seen.feed for seen in self.feeds()}, self.told)
        for name, team in TEAMS.items():
            labels = {"team": team} if team else {}
            self.kube.ask("POST", "/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}})
        rules = [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]
        expression = "!has(object.metadata.labels) || !('forbidden' in object.metadata.labels)"
        policy = {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": rules},
            "validations": [{"expression": expression, "message": "such pods are forbidden"}],
        }
        binding = {"policyName": VAP, "validationActions": ["Deny"]}
        for plural, spec in (("validatingadmissionpolicies", policy), ("validatingadmissionpolicybindings", binding)):
            self.kube.ask("POST", f"{HOOKS}/{plural}", {"metadata": {"name": VAP}, "spec": spec})
        printed = yaml.safe_load(self._said("serve", "admission", "--print-webhook"))
        self.kube.ask("POST", f"{HOOKS}/validatingwebhookconfigurations", printed)
        self.admission_answers()
        until(lambda: self.probe("early", {"labels": {"forbidden": "yes"}}).code == 422, self.told)

    def admission_answers(self) -> None:
        """Wait until the API server is told no about what is not signed."""
        until(lambda: self.probe("bare").code == 403, self.told)

    def probe(self, image: str, metadata: Mapping[str, object] | None = None) -> Said:
        """A dry run under a name nobody looks at."""
        return self.create(f"probe-{uuid.uuid4().hex[:8]}", image, metadata=metadata, query="?dryRun=All")

    # ------------------------------------------------------------------ what happens in the cluster

    def ask(self, method: str, path: str, body: object = None, kind: str = "application/json") -> Said:
        """What the API server says; 200 stands for every success."""
        try:
            return Said(200, self.kube.ask(method, path, body, kind))
        except urllib.error.HTTPError as error:
            with error:
                return Said(error.code, json.load(error))

    def create(
        self,
        name: str,
        image: str,
        namespace: str = "pay",
        metadata: Mapping[str, object] | None = None,
        query: str = "",
    ) -> Said:
        item = self._pod(image, {"name": name, **(metadata or {})})
        return self.ask("POST", f"/api/v1/namespaces/{namespace}/pods{query}", item)

    def _pod(self, image: str, metadata: Mapping[str, object]) -> dict[str, Any]:
        container = {"name": "app", "image": self.shop.reference(image)}
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": dict(metadata),
            "spec": {"nodeName": "n1", "containers": [container]},
        }

    def runs(self, name: str, image: str, namespace: str = "pay", *, ephemeral: str = "") -> None:
        """What the kubelet says: the container runs, or the ephemeral one of that name."""
        told = self._status(ephemeral or "app", image)
        status = {"ephemeralContainerStatuses": [told]} if ephemeral else {"containerStatuses": [told]}
        path = f"/api/v1/namespaces/{namespace}/pods/{name}/status"
        said = self.ask("PATCH", path, {"status": {"phase": "Running", **status}}, STRATEGIC)
        assert said.code == 200, said

    def _status(self, container: str, image: str) -> dict[str, object]:
        reference = self.shop.reference(image)
        running = {"running": {"startedAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}}
        known = {"ready": True, "restartCount": 0, "image": reference, "imageID": reference}
        return {"name": container, "state": running, **known}

    def patch_image(self, name: str, image: str, namespace: str = "pay") -> Said:
        spec = {"containers": [{"name": "app", "image": self.shop.reference(image)}]}
        return self.ask("PATCH", f"/api/v1/namespaces/{namespace}/pods/{name}", {"spec": spec}, STRATEGIC)

    def debug(self, name: str, image: str, namespace: str = "pay") -> Said:
        """An ephemeral container, as `kubectl debug` adds it."""
        extra = [{"name": "debug", "image": self.shop.reference(image), "targetContainerName": "app"}]
        path = f"/api/v1/namespaces/{namespace}/pods/{name}/ephemeralcontainers"
        return self.ask("PATCH", path, {"spec": {"ephemeralContainers": extra}}, STRATEGIC)

    def delete(self, name: str, namespace: str = "pay") -> None:
        said = self.ask("DELETE", f"/api/v1/namespaces/{namespace}/pods/{name}", {"gracePeriodSeconds": 0})
        assert said.code == 200, said

    def plant(self, name: str, image: str, namespace: str = "pay") -> None:
        """A pod that runs and that the API server was never asked about."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        metadata = {"name": name, "namespace": namespace, "uid": str(uuid.uuid4()), "creationTimestamp": now}
        item = self._pod(image, metadata)
        item["status"] = {"phase": "Running", "containerStatuses": [self._status("app", image)]}
        self.kube.plant(f"/registry/pods/{namespace}/{name}", item)

    def passes(self, micros: int) -> None:
        """So much time passes at once, for whoever judges and tells."""
        self._hand.forward(micros)

    # ------------------------------------------------------------------ what is seen of it

    def feeds(self) -> list[FeedSeen]:
        """Signs of life of the cluster's feeds."""
        found = [decode(record.value) for record in KafkaLog(self.kafka.settings.kafka).read(CLUSTER_SIGHT)]
        return [event for event in found if isinstance(event, FeedSeen)]

    def decisions(self) -> dict[str, DecisionObserved]:
        """Each once, without those of probes."""
        found = [decode(record.value) for record in KafkaLog(self.kafka.settings.kafka).read(OBSERVATIONS)]
        kept = [event for event in found if isinstance(event, DecisionObserved)]
        own = (event for event in kept if event.cluster in RECORDED or event.namespace in TEAMS)
        return {event.id: event for event in own if not event.name.startswith("probe-")}

    def heard_since(self, instant: int) -> bool:
        """Has the audit feed been seen half a minute after that instant?"""
        return any(seen.feed == "audit" and seen.time >= instant + 31 * SECOND for seen in self.feeds())

    @contextmanager
    def reader(self) -> Iterator[RecordReader]:
        """The record, with everything that was written."""
        with self.kafka.reader() as reader:
            yield reader


def until(is_so: Callable[[], object], why: Callable[[], str], seconds: float = 90, pause: float = 0.4) -> None:
    """Wait for something; `why` says what was seen when it does not come."""
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, why()
        time.sleep(pause)


__all__ = ["CHANNELS", "CLUSTER", "PARTS", "RECORDED", "VAP", "WEBHOOK", "Installation", "Servers", "until"]
