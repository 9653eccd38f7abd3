"""A cluster that never was: audit and pod-watch files of any size, in the shapes a real API server writes.

    recording = write_recording(folder, events=5_000, images=demo_images())
    recording.audit, recording.pods      two files of JSON lines, to be replayed together
    recording.planted                    a secret that stands in environments, arguments and annotations

Deployments roll, pods start, get ready and end; some requests are denied, let through unchecked or marked break-glass;
some pods run without an admission; leases and status patches are noise; a few lines are broken. All of it follows from
`seed`, so that two runs see the same bytes.
"""

from __future__ import annotations

import bisect
import json
import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import orjson

DEMO_DATA: Final = Path(__file__).resolve().parents[2] / "streams" / "demo_data"
START: Final = 1_795_000_000.0
"""2026-11-18, in seconds."""
PLANTED: Final = "hunter2-planted-secret-3f9a"
BROKEN: Final = b'{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Meta'


class Image(NamedTuple):
    """An image that containers run."""

    reference: str
    digest: str

    @property
    def repository(self) -> str:
        return self.reference.rsplit(":", 1)[0]


class Recording(NamedTuple):
    """What was written."""

    audit: Path
    pods: Path
    items: int
    """Lines of both files."""
    broken: int
    audit_ids: tuple[str, ...]
    """auditID of every event that tells of a decision about a pod."""
    pod_uids: tuple[str, ...]
    planted: str = PLANTED


def demo_images() -> list[Image]:
    """Real images with real signatures (`streams/demo_data/oci`), each reference once."""
    rows = json.loads((DEMO_DATA / "images.json").read_text())
    return list({row["reference"]: Image(row["reference"], row["digest"]) for row in rows}.values())


def made_images(count: int) -> list[Image]:
    """Images that exist nowhere."""
    return [Image(f"registry.example.com/made/app-{n}:1", f"sha256:{n:064x}") for n in range(count)]


@dataclass(eq=False)
class _Pod:
    name: str
    namespace: str
    uid: str
    owner: str
    image: Image
    created: float
    extra: dict[str, str] = field(default_factory=dict)
    version: int = 0
    started: float = 0.0
    phase: str = "Pending"
    debug: bool = False


@dataclass
class _Cluster:
    """The state of the cluster while it is told."""

    audit: BinaryIO
    watch: BinaryIO
    images: Sequence[Image]
    rng: random.Random
    namespaces: int
    pace: float
    now: float = START
    version: int = 1000
    serial: int = 0
    items: int = 0
    broken: int = 0
    audit_ids: list[str] = field(default_factory=list)
    pod_uids: list[str] = field(default_factory=list)
    alive: list[_Pod] = field(default_factory=list)
    later: list[tuple[float, str, _Pod]] = field(default_factory=list)

    # ------------------------------------------------------------------ writing

    def event(self, verb: str, pod: _Pod | None, code: int, **members: Any) -> None:
        self.serial += 1
        audit_id = f"{self.serial:08x}-0000-4000-8000-{self.rng.getrandbits(48):012x}"
        if pod is not None and members.get("subresource") != "status":
            self.audit_ids.append(audit_id)
        namespace = members.pop("namespace", pod.namespace if pod else "")
        resource, subresource = members.pop("resource", "pods"), members.pop("subresource", "")
        annotations = {"authorization.k8s.io/decision": "allow", **members.pop("annotations", {})}
        target = {"resource": resource, "namespace": namespace, "apiVersion": "v1"}
        if pod is not None:
            target["name"] = pod.name
        if subresource:
            target["subresource"] = subresource
        status: dict[str, Any] = {"metadata": {}, "code": code}
        if message := members.pop("message", ""):
            status |= {"status": "Failure", "reason": "Forbidden", "message": message}
        user = members.pop("user", "system:serviceaccount:kube-system:replicaset-controller")
        line = {
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": "RequestResponse" if pod else "Metadata",
            "auditID": audit_id,
            "stage": "ResponseComplete",
            "requestURI": f"/api/v1/namespaces/{namespace}/{resource}",
            "verb": verb,
            "user": {"username": user, "uid": "u", "groups": ["system:authenticated"]},
            "sourceIPs": ["10.128.0.2"],
            "userAgent": "kube-controller-manager/v1.35.0 (linux/amd64) kubernetes/$Format",
            "objectRef": target,
            "responseStatus": status,
            **members,
            "requestReceivedTimestamp": _micro(self.now),
            "stageTimestamp": _micro(self.now + 0.004),
            "annotations": annotations,
        }
        self._write(self.audit, orjson.dumps(line))

    def watched(self, kind: str, pod: _Pod) -> None:
        self.version += 1
        pod.version = self.version
        self._write(self.watch, orjson.dumps({"type": kind, "object": _stored(pod)}))

    def _write(self, file: BinaryIO, line: bytes) -> None:
        file.write(line + b"\n")
        self.items += 1

    # ------------------------------------------------------------------ what happens

    def begin(self) -> None:
        for number in range(self.namespaces):
            name = f"team-{number}"
            labels = {"kubernetes.io/metadata.name": name, **({"team": name} if number % 3 else {})}
            stored = {"kind": "Namespace", "apiVersion": "v1",
                      "metadata": {"name": name, "uid": f"ns-{number}", "labels": labels,
                                   "creationTimestamp": _second(self.now)}}  # fmt: skip
            self.event("create", None, 201, resource="namespaces", namespace=name, responseObject=stored,
                       level="RequestResponse", requestObject=stored)  # fmt: skip

    def step(self) -> None:
        self.now += self.rng.expovariate(1 / self.pace)
        while self.later and self.later[0][0] <= self.now:
            _, what, pod = self.later.pop(0)
            getattr(self, what)(pod)
        act = self.rng.choices(_ACTS, _WEIGHTS)[0]
        getattr(self, act)()

    def _soon(self, seconds: float, what: str, pod: _Pod) -> None:
        bisect.insort(self.later, (self.now + seconds, what, pod), key=lambda entry: entry[0])

    def _new(self, **extra: str) -> _Pod:
        number = self.rng.randrange(self.namespaces * 6)
        image = self.images[(number * 7 + self.rng.choice((0, 0, 0, 0, 0, 1))) % len(self.images)]
        suffix = f"7d4b9c6f5d-{self.rng.getrandbits(25):05x}"[:16]
        uid = f"{self.rng.getrandbits(32):08x}-1111-4222-8333-{self.rng.getrandbits(48):012x}"
        return _Pod(
            f"app-{number}-{suffix}", f"team-{number % self.namespaces}", uid, f"app-{number}", image, self.now, extra
        )

    def create(self) -> None:
        """The usual case: admitted, then seen."""
        pod = self._new()
        self.event("create", pod, 201, requestObject=_asked(pod), responseObject=_stored(pod))
        self._appear(pod)

    def failed_open(self) -> None:
        pod = self._new()
        hook = {"failed-open.validating.webhook.admission.k8s.io/round_0_index_0": "verify.example.com"}
        self.event("create", pod, 201, requestObject=_asked(pod), responseObject=_stored(pod), annotations=hook)
        self._appear(pod)

    def break_glass(self) -> None:
        pod = self._new(**{"revet.test/break-glass": "inc-4711"})
        self.event("create", pod, 201, requestObject=_asked(pod), responseObject=_stored(pod), user="alice@example.com")
        self._appear(pod)

    def smuggle(self) -> None:
        """Runs without an admission on record."""
        self._appear(self._new())

    def deny(self) -> None:
        pod = self._new()
        message = 'admission webhook "verify.example.com" denied the request: image is not signed'
        self.event("create", pod, 403, requestObject=_asked(pod), message=message)

    def debug(self) -> None:
        """An ephemeral container is added to something that runs."""
        running = [p for p in self.alive[-20:] if p.phase == "Running" and not p.debug]
        if running:
            pod = self.rng.choice(running)
            pod.debug = True
            self.event("patch", pod, 200, subresource="ephemeralcontainers", responseObject=_stored(pod))
            self.watched("MODIFIED", pod)

    def end(self) -> None:
        if len(self.alive) > self.namespaces * 8:
            pod = self.alive.pop(self.rng.randrange(len(self.alive)))
            self.event("delete", pod, 200, responseObject=_stored(pod))
            self._soon(self.rng.uniform(1, 30), "gone", pod)

    def noise(self) -> None:
        name = f"node-{self.rng.randrange(40)}"
        self.event("update", None, 200, resource="leases", namespace="kube-node-lease", user=f"system:node:{name}")

    def patch_status(self) -> None:
        if self.alive:
            pod = self.rng.choice(self.alive)
            self.event("patch", pod, 200, subresource="status", responseObject=_stored(pod))
            self.watched("MODIFIED", pod)

    def bookmark(self) -> None:
        meta = {"resourceVersion": str(self.version), "creationTimestamp": None}
        line = {"type": "BOOKMARK", "object": {"kind": "Pod", "apiVersion": "v1", "metadata": meta}}
        self._write(self.watch, orjson.dumps(line))

    def broken_line(self) -> None:
        self._write(self.audit, BROKEN + str(self.serial).encode())
        self.broken += 1

    def _appear(self, pod: _Pod) -> None:
        self.pod_uids.append(pod.uid)
        self.watched("ADDED", pod)
        self._soon(self.rng.uniform(0.5, 8), "run", pod)

    def run(self, pod: _Pod) -> None:
        pod.phase, pod.started = "Running", self.now
        self.alive.append(pod)
        self.watched("MODIFIED", pod)
        self._soon(self.rng.uniform(1, 4), "ready", pod)

    def ready(self, pod: _Pod) -> None:
        if pod in self.alive:
            self.watched("MODIFIED", pod)

    def gone(self, pod: _Pod) -> None:
        self.watched("DELETED", pod)


_ACTS: Final = ("create", "end", "patch_status", "noise", "deny", "failed_open", "break_glass", "smuggle", "debug",
                "bookmark", "broken_line")  # fmt: skip
_WEIGHTS: Final = (30, 24, 8, 20, 3, 2, 0.3, 0.5, 0.5, 2, 0.2)


def write_recording(
    folder: Path, *, events: int, images: Sequence[Image], seed: int = 1, namespaces: int = 12, pace: float = 0.4
) -> Recording:
    """Write `audit.jsonl` and `pods.jsonl` with about `events` lines together, something every `pace` seconds."""
    folder.mkdir(parents=True, exist_ok=True)
    audit, pods = folder / "audit.jsonl", folder / "pods.jsonl"
    with ExitStack() as files:
        made = _Cluster(
            files.enter_context(audit.open("wb")),
            files.enter_context(pods.open("wb")),
            images,
            random.Random(seed),
            namespaces,
            pace,
        )
        made.begin()
        while made.items < events:
            made.step()
    return Recording(audit, pods, made.items, made.broken, tuple(made.audit_ids), tuple(made.pod_uids))


TRUSTED: Final = frozenset({"dev", "sec", "ops", "release-2025", "build-2026"})
"""Keys of the demo's images that `write_trust` puts into the ring."""

_TRUST: Final = """\
apiVersion: revet/v1
kind: Policy
metadata: {name: signed}
spec:
  match: [{images: ["registry.example.com/**"]}]
  attestors: {any: {keys: [dev, sec, ops, release-2025, build-2026]}}
  require: {signedBy: any}
---
apiVersion: revet/v1
kind: Policy
metadata: {name: two-people}
spec:
  match: [{images: ["registry.example.com/payments/**"], namespaces: ["team-1*"]}]
  attestors: {dev: {keys: [dev]}, sec: {keys: [sec]}}
  require: {all: [{signedBy: dev}, {signedBy: sec}]}
---
apiVersion: revet/v1
kind: Cluster
metadata: {name: prod-eu}
spec: {id: c1, labels: {env: production}}
"""


def write_trust(folder: Path) -> Path:
    """Policies, a cluster and the public keys of the demo's images, as `revet trust apply` takes them."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "policies.yaml").write_text(_TRUST)
    for name in sorted(TRUSTED):
        (folder / f"{name}.pub").write_bytes((DEMO_DATA / "keys" / f"{name}.pub").read_bytes())
    return folder


def audit_batches(recording: Recording, size: int) -> Iterator[bytes]:
    """The audit file as the bodies that an API server posts: EventLists of `size` events, broken lines left out."""
    lines = [line for line in recording.audit.read_bytes().splitlines() if not line.startswith(BROKEN)]
    for start in range(0, len(lines), size):
        items = b",".join(lines[start : start + size])
        yield b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[' + items + b"]}"


# ------------------------------------------------------------------------------------------------------------- objects


def _asked(pod: _Pod) -> dict[str, Any]:
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"generateName": f"{pod.owner}-7d4b9c6f5d-", "namespace": pod.namespace, **_meta(pod)},
        "spec": _spec(pod),
        "status": {},
    }


def _stored(pod: _Pod) -> dict[str, Any]:
    meta = {"name": pod.name, "generateName": f"{pod.owner}-7d4b9c6f5d-", "namespace": pod.namespace, "uid": pod.uid,
            "resourceVersion": str(pod.version), "generation": 1, "creationTimestamp": _second(pod.created),
            **_meta(pod)}  # fmt: skip
    return {"kind": "Pod", "apiVersion": "v1", "metadata": meta, "spec": _spec(pod), "status": _status(pod)}


def _meta(pod: _Pod) -> dict[str, Any]:
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": f"{pod.owner}-7d4b9c6f5d", "uid": "rs",
             "controller": True, "blockOwnerDeletion": True}  # fmt: skip
    labels = {"app": pod.owner, "pod-template-hash": "7d4b9c6f5d", "team": pod.namespace, **pod.extra}
    notes = {"kubectl.kubernetes.io/last-applied-configuration": json.dumps({"token": PLANTED}),
             "prometheus.io/scrape": "true"}  # fmt: skip
    return {"labels": labels, "annotations": notes, "ownerReferences": [owner]}


def _spec(pod: _Pod) -> dict[str, Any]:
    probe = {"httpGet": {"path": "/healthz", "port": 8080, "scheme": "HTTP"}, "timeoutSeconds": 1, "periodSeconds": 10,
             "successThreshold": 1, "failureThreshold": 3}  # fmt: skip
    settings = [{"name": f"SETTING_{n}", "value": "x" * 30} for n in range(6)]
    container = {
        "name": "app",
        "image": pod.image.reference,
        "args": ["--listen=:8080", f"--password={PLANTED}"],
        "ports": [{"containerPort": 8080, "protocol": "TCP"}],
        "env": [{"name": "PASSWORD", "value": PLANTED}, *settings],
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
        "volumeMounts": [{"name": "token", "readOnly": True, "mountPath": "/var/run/secrets/kubernetes.io"}],
        "livenessProbe": probe,
        "readinessProbe": probe,
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "imagePullPolicy": "IfNotPresent",
    }
    spec: dict[str, Any] = {
        "volumes": [{"name": "token", "projected": {"defaultMode": 420, "sources": []}}],
        "containers": [container],
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "serviceAccountName": pod.owner,
        "nodeName": f"node-{int(pod.uid[:4], 16) % 40}",
        "securityContext": {},
        "schedulerName": "default-scheduler",
    }
    if pod.debug:
        spec["ephemeralContainers"] = [{"name": "dbg", "image": "registry.example.com/platform/busybox:1.36"}]
    return spec


def _status(pod: _Pod) -> dict[str, Any]:
    if pod.phase == "Pending":
        return {"phase": "Pending", "qosClass": "Burstable"}
    conditions = [
        {"type": kind, "status": "True", "lastProbeTime": None, "lastTransitionTime": _second(pod.started)}
        for kind in ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
    ]
    container = {
        "name": "app",
        "state": {"running": {"startedAt": _second(pod.started)}},
        "lastState": {},
        "ready": True,
        "restartCount": 0,
        "image": pod.image.reference,
        "imageID": f"{pod.image.repository}@{pod.image.digest}",
        "containerID": f"containerd://{pod.uid.replace('-', '') * 2}",
        "started": True,
    }
    return {"phase": "Running", "conditions": conditions, "hostIP": "10.128.0.7", "podIP": "10.4.0.248",
            "startTime": _second(pod.started), "containerStatuses": [container], "qosClass": "Burstable"}  # fmt: skip


def _micro(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _second(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
