"""One cluster: a real kube-apiserver on a real etcd, no controller manager, no scheduler, no kubelet.

People and pipelines use kubectl; controllers and kubelets are stood in for by requests with their tokens. While the
recording runs, the audit log is written by the API server itself and a pod watch stays open.
"""

import base64
import http.client
import json
import os
import ssl
import threading
import time
import urllib.parse
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kube import Files, apiserver_command, etcd_command
from tools import API_PORTS, ETCD_PORTS, HERE, MANIFESTS, WEBHOOK_PORT, Processes, fresh, now, run, tool

KUBERNETES = "v1.36.3"
STRATEGIC = "application/strategic-merge-patch+json"
WATCH = (
    "/api/v1/pods?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
    "&allowWatchBookmarks=true&timeoutSeconds=7200"
)
READY_SECONDS = 90
Json = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What a client was told: an HTTP status, or the exit code of kubectl."""

    code: int
    text: str

    def json(self) -> Json:
        found: Json = json.loads(self.text)
        return found


class Cluster:
    """Start it with `start`, end it by ending `processes`."""

    def __init__(self, name: str, work: Path, processes: Processes) -> None:
        self.name = name
        self.folder = fresh(work / name)
        self.audit = self.folder / "audit.jsonl"
        self.pods = self.folder / "pods.jsonl"
        self._arrivals: list[str] = []
        self._watcher: threading.Thread | None = None
        self._pki = work / "pki"
        self._processes = processes
        self._etcd, self._peer = ETCD_PORTS[name]
        self._port = API_PORTS[name]
        self._audit_start = 0
        self._audit_day = self._pods_day = 0

    # ------------------------------------------------------------------------------------------------------ servers

    def start(self) -> None:
        etcd = etcd_command(tool("etcd"), self.folder / "etcd", self._etcd, self._peer)
        self._processes.start(f"{self.name}-etcd", etcd)
        if not (self._pki / "sa.key").exists():
            run([HERE / "certs.sh", self._pki])
        pki = self._pki
        files = Files(
            pki / "ca.crt", pki / "apiserver.crt", pki / "apiserver.key", MANIFESTS / "tokens.csv", pki / "sa.key"
        )
        server = apiserver_command(
            tool("kube-apiserver"),
            f"http://127.0.0.1:{self._etcd}",
            self._port,
            files,
            f"--kubelet-client-certificate={pki / 'kubelet-client.crt'}",
            f"--kubelet-client-key={pki / 'kubelet-client.key'}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            f"--audit-policy-file={MANIFESTS / 'audit-policy.yaml'}",
            f"--audit-log-path={self.audit}",
            "--audit-log-maxsize=1000",
        )
        self._processes.start(f"{self.name}-apiserver", server)
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            self._processes.check(f"{self.name}-apiserver")
            try:
                if self.api("admin", "GET", "/readyz").code == 200 and self._has_namespaces():
                    return
            except OSError:
                pass
            time.sleep(0.3)
        raise RuntimeError(f"{self.name}: the API server is not ready after {READY_SECONDS} s")

    def _has_namespaces(self) -> bool:
        """kube-system is made a moment after /readyz says yes; the cluster's identity is its UID."""
        return self.api("admin", "GET", "/api/v1/namespaces/kube-system").code == 200

    def identity(self) -> str:
        uid: str = self.api("admin", "GET", "/api/v1/namespaces/kube-system").json()["metadata"]["uid"]
        return uid

    # ------------------------------------------------------------------------------------------------------ clients

    def _connect(self, timeout: float | None) -> http.client.HTTPSConnection:
        context = ssl.create_default_context(cafile=str(self._pki / "ca.crt"))
        return http.client.HTTPSConnection("127.0.0.1", self._port, timeout=timeout, context=context)

    def api(
        self, user: str, method: str, path: str, body: object = None, content_type: str = "application/json"
    ) -> Outcome:
        """One request as a component: its token, its user agent."""
        headers = {"Authorization": f"Bearer {user}-token", "User-Agent": agent(user), "Content-Type": content_type}
        connection = self._connect(60)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            return Outcome(answer.status, answer.read().decode())
        finally:
            connection.close()

    def kubectl(self, user: str, *arguments: str, stdin: object = None) -> Outcome:
        """kubectl as a person or a pipeline, with an object (or several, as a list) on its input."""
        config = self._kubeconfig(user)
        done = run(
            [tool("kubectl"), f"--kubeconfig={config}", *arguments],
            stdin=None if stdin is None else json.dumps(stdin),
            env={"HOME": str(self.folder), "PATH": os.environ.get("PATH", "")},
            check=False,
        )
        return Outcome(done.returncode, (done.stdout + done.stderr).strip())

    def _kubeconfig(self, user: str) -> Path:
        path = self.folder / f"kubeconfig-{user}"
        server = f"https://127.0.0.1:{self._port}"
        cluster = {"server": server, "certificate-authority": str(self._pki / "ca.crt")}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": self.name, "cluster": cluster}],
            "users": [{"name": user, "user": {"token": f"{user}-token"}}],
            "contexts": [{"name": self.name, "context": {"cluster": self.name, "user": user}}],
            "current-context": self.name,
        }
        path.write_text(json.dumps(config))
        return path

    def install(self, manifest: str) -> None:
        """Create what a manifest lists, as the administrator."""
        text = (MANIFESTS / manifest).read_text()
        authority = base64.b64encode((self._pki / "ca.crt").read_bytes()).decode()
        text = text.replace("@CA@", authority).replace("@WEBHOOK@", f"https://127.0.0.1:{WEBHOOK_PORT}")
        path = self.folder / manifest
        path.write_text(text)
        outcome = self.kubectl("admin", "create", "-f", str(path))
        if outcome.code:
            raise RuntimeError(outcome.text)

    def put_into_etcd(self, pod: Json) -> None:
        """Write a pod behind the API server's back: no authentication, no admission, no audit event."""
        name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
        key = f"/registry/pods/{namespace}/{name}"
        metadata = pod["metadata"] | {"uid": str(uuid.uuid4()), "creationTimestamp": now()[:19] + "Z"}
        value = json.dumps({"apiVersion": "v1", "kind": "Pod"} | pod | {"metadata": metadata})
        body = {"key": base64.b64encode(key.encode()).decode(), "value": base64.b64encode(value.encode()).decode()}
        connection = http.client.HTTPConnection("127.0.0.1", self._etcd, timeout=30)
        try:
            connection.request("POST", "/v3/kv/put", json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 200:
                raise RuntimeError(f"etcd: {answer.status} {text!r}")
        finally:
            connection.close()

    # ---------------------------------------------------------------------------------------------------- recording

    def record(self) -> None:
        """From here on the audit log counts, and the watch is open."""
        self._audit_start = lines(self.audit)
        started = threading.Event()
        self._watcher = threading.Thread(target=self._watch, args=(started,), daemon=True)
        self._watcher.start()
        if not started.wait(30):
            raise RuntimeError(f"{self.name}: the pod watch did not start")

    def _watch(self, started: threading.Event) -> None:
        """The stream's lines as they come, unparsed. It ends with the API server."""
        headers = {"Authorization": "Bearer admin-token", "User-Agent": "recorder"}
        connection = self._connect(None)
        connection.request("GET", WATCH, headers=headers)
        answer = connection.getresponse()
        if answer.status != 200:
            raise RuntimeError(f"watch: {answer.status} {answer.read()!r}")
        with self.pods.open("wb") as out:
            started.set()
            try:
                for line in answer:
                    self._arrivals.append(now())
                    out.write(line)
                    out.flush()
            except (OSError, http.client.HTTPException):
                return

    def end_of_day(self) -> None:
        """What comes later goes into the *-after files."""
        self._audit_day, self._pods_day = lines(self.audit), lines(self.pods)

    def namespaces(self) -> str:
        """As the server lists them, owners in their labels."""
        return self.api("admin", "GET", "/api/v1/namespaces").text

    def save(self, folder: Path) -> None:
        """Cut the recorded text at the two marks; not a byte of a line is changed."""
        if self._watcher is None or not self._watcher.is_alive():
            raise RuntimeError(f"{self.name}: the pod watch ended before the recording did")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "namespaces.json").write_text(self.namespaces())
        audit = self.audit.read_bytes().splitlines(keepends=True)
        pods = self.pods.read_bytes().splitlines(keepends=True)
        (folder / "audit.jsonl").write_bytes(b"".join(audit[self._audit_start : self._audit_day]))
        (folder / "audit-after.jsonl").write_bytes(b"".join(audit[self._audit_day :]))
        (folder / "pods.jsonl").write_bytes(b"".join(pods[: self._pods_day]))
        (folder / "pods-after.jsonl").write_bytes(b"".join(pods[self._pods_day :]))
        # A watch event carries no time of its own.
        (folder / "pods.times").write_text("".join(f"{at}\n" for at in self._arrivals[: self._pods_day]))
        (folder / "pods-after.times").write_text(
            "".join(f"{at}\n" for at in self._arrivals[self._pods_day : len(pods)])
        )


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


AGENTS: Mapping[str, str] = {
    "deployment": "deployment-controller",
    "replicaset": "replicaset-controller",
    "statefulset": "statefulset-controller",
    "daemonset": "daemon-set-controller",
    "cronjob": "cronjob-controller",
    "job": "job-controller",
}


def agent(user: str) -> str:
    """The user agent that the component itself would send."""
    if user in AGENTS:
        account = f"system:serviceaccount:kube-system:{AGENTS[user]}"
        return f"kube-controller-manager/{KUBERNETES} (linux/amd64) kubernetes/record/{account}"
    if user.startswith("worker-"):
        return f"kubelet/{KUBERNETES} (linux/amd64) kubernetes/record"
    return "record"


def selector(labels: Mapping[str, str]) -> str:
    return urllib.parse.quote(",".join(f"{name}={value}" for name, value in labels.items()))
