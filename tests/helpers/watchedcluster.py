"""A real kube-apiserver on a real etcd that a test may kill, start again and compact; and a proxy that can be cut.

with WatchedCluster(tools, folder) as cluster:
    cluster.ask("POST", "/api/v1/namespaces/default/pods", {...})
    file = cluster.kubeconfig("k", "--token=admin-token")
    cluster.kill_server(); cluster.start_server(); cluster.compact()
    with cluster.second("--audit-log-path=…") as other: ...      another API server over the same etcd
with Proxy(cluster.port) as proxy: proxy.cut(); proxy.deaf = True
"""

import copy
import json
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from ssl import create_default_context
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from scripts.record.kube import Files, apiserver_command, etcd_command
from tests.helpers.servers import make_tls

READY_SECONDS = 90
STRATEGIC = "application/strategic-merge-patch+json"
IMAGE = "registry.example.com/payments/api"
DIGEST = "sha256:df5aa0f8edba1670736b443b968cbf29911b4ac7e10de5a5fb8704a458f4418f"
TOKENS = 'admin-token,admin,1,"system:masters"\nnobody-token,nobody,2\n'


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


class WatchedCluster:
    """No controllers, no kubelet: what they do is done by requests."""

    def __init__(self, tools: Path, folder: Path, *extra: str) -> None:
        self.tools, self.folder, self.extra = tools, folder, extra
        self.client, self.peer, self.port = free_port(), free_port(), free_port()
        self.tls = make_tls(folder)
        (folder / "tokens.csv").write_text(TOKENS)
        account = ec.generate_private_key(ec.SECP256R1())
        key = account.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        (folder / "sa.key").write_bytes(key)
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._stack = ExitStack()
        self.trusts = create_default_context(cafile=str(self.tls.ca))
        """For clients of it."""

    # ------------------------------------------------------------------ servers

    def __enter__(self) -> Self:
        self._log = self._stack.enter_context((self.folder / "log").open("wb"))
        self._start("etcd", etcd_command(self.tools / "etcd", self.folder / "etcd", self.client, self.peer))
        try:
            self.start_server()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._running.values()):
            process.kill()
            process.wait()
        self._stack.close()

    def start_server(self) -> None:
        """Start the API server, and wait until it answers."""
        folder, tls, etcd = self.folder, self.tls, f"http://127.0.0.1:{self.client}"
        files = Files(tls.ca, tls.certificate, tls.key, folder / "tokens.csv", folder / "sa.key")
        more = ("--authorization-mode=RBAC", *self.extra)
        self._start("kube-apiserver", apiserver_command(self.tools / "kube-apiserver", etcd, self.port, files, *more))
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline and self._running["kube-apiserver"].poll() is None:
            with suppress(OSError, urllib.error.URLError):
                self.ask("GET", "/api/v1/namespaces/kube-system")
                self.ask("GET", "/api/v1/namespaces/default")
                return
            time.sleep(0.3)
        raise RuntimeError((folder / "log").read_text(errors="replace")[-2000:])

    @property
    def server(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @contextmanager
    def second(self, *extra: str) -> Iterator[Self]:
        """Another API server over the same etcd, with flags of its own."""
        made = copy.copy(self)
        made.port, made.extra, made._running = free_port(), extra, {}
        try:
            made.start_server()
            yield made
        finally:
            if made._running:
                made.kill_server()

    def kill_server(self) -> None:
        """As power loss would. What watches had been promised is gone with its cache."""
        process = self._running.pop("kube-apiserver")
        process.kill()
        process.wait()

    def stop_server(self) -> subprocess.Popen[bytes]:
        """Ask it to stop, which takes it a minute in which its watches say nothing."""
        process = self._running.pop("kube-apiserver")
        process.terminate()
        return process

    def compact(self) -> None:
        """etcd forgets everything but the newest of each key."""
        now = self._etcd("/v3/kv/range", {"key": "AA=="})["header"]["revision"]
        self._etcd("/v3/kv/compaction", {"revision": now, "physical": True})

    def plant(self, key: str, item: object) -> None:
        """An object put into etcd by somebody who can reach it: no admission, no audit event, and everybody sees it."""
        name, value = (b64encode(text.encode()).decode() for text in (key, json.dumps(item)))
        self._etcd("/v3/kv/put", {"key": name, "value": value})

    def _etcd(self, path: str, body: object) -> Any:
        request = urllib.request.Request(f"http://127.0.0.1:{self.client}{path}", json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def _start(self, name: str, command: list[str]) -> None:
        self._running[name] = subprocess.Popen(command, stdout=self._log, stderr=self._log)

    # ------------------------------------------------------------------ clients

    def ask(self, method: str, path: str, body: object = None, kind: str = "application/json") -> Any:
        headers = {"Authorization": "Bearer admin-token", "Content-Type": kind}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.server}{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=20, context=self.trusts) as answer:
            return json.load(answer)

    def metrics(self) -> str:
        """Its page of metrics."""
        request = urllib.request.Request(f"{self.server}/metrics", headers={"Authorization": "Bearer admin-token"})
        with urllib.request.urlopen(request, timeout=20, context=self.trusts) as answer:
            text: str = answer.read().decode()
            return text

    def kubeconfig(self, name: str, *credentials: str, port: int = 0) -> Path:
        """A kubeconfig as kubectl writes it; `port`: of a proxy."""
        file, server = self.folder / name, f"--server=https://127.0.0.1:{port or self.port}"
        for arguments in (
            ("set-cluster", "c", server, f"--certificate-authority={self.tls.ca}"),
            ("set-credentials", "u", *credentials),
            ("set-context", "x", "--cluster=c", "--user=u"),
            ("use-context", "x"),
        ):
            self.kubectl("config", f"--kubeconfig={file}", *arguments)
        return file

    def kubectl(self, *arguments: str, stdin: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.tools / "kubectl", *arguments], input=stdin, text=True, check=check, capture_output=True
        )

    # ------------------------------------------------------------------ pods

    def run(self, name: str, tag: str = "1", namespace: str = "default") -> str:
        """A pod that runs; gives its uid."""
        spec = {"nodeName": "n1", "containers": [{"name": "app", "image": f"{IMAGE}:{tag}"}]}
        path = f"/api/v1/namespaces/{namespace}/pods"
        made = self.ask("POST", path, {"metadata": {"name": name}, "spec": spec})
        self.report(name, {"name": "app", "image": f"{IMAGE}:{tag}", "imageID": f"{IMAGE}@{DIGEST}"}, namespace)
        uid: str = made["metadata"]["uid"]
        return uid

    def report(self, name: str, status: dict[str, object], namespace: str = "default") -> None:
        """What a kubelet says."""
        known = {"ready": True, "restartCount": 0, "state": {"running": {"startedAt": "2026-11-21T10:00:00Z"}}}
        patch = {"status": {"phase": "Running", "containerStatuses": [known | status]}}
        path = f"/api/v1/namespaces/{namespace}/pods/{name}/status"
        self.ask("PATCH", path, patch, STRATEGIC)

    def touch(self, name: str, time_: str) -> None:
        """A condition that changes: nothing of it is told."""
        patch = {"status": {"conditions": [{"type": "Ready", "status": "True", "lastProbeTime": time_}]}}
        self.ask("PATCH", f"/api/v1/namespaces/default/pods/{name}/status", patch, STRATEGIC)

    def change_image(self, name: str, tag: str) -> None:
        patch = {"spec": {"containers": [{"name": "app", "image": f"{IMAGE}:{tag}"}]}}
        self.ask("PATCH", f"/api/v1/namespaces/default/pods/{name}", patch, STRATEGIC)

    def debug(self, name: str) -> None:
        """An ephemeral container, as `kubectl debug` adds it."""
        patch = {"spec": {"ephemeralContainers": [{"name": "debugger", "image": "busybox:1"}]}}
        self.ask("PATCH", f"/api/v1/namespaces/default/pods/{name}/ephemeralcontainers", patch, STRATEGIC)

    def delete(self, name: str) -> None:
        self.delete_in("default", "pods", name)

    def delete_in(self, namespace: str, plural: str, name: str) -> None:
        """At once, whatever it is."""
        self.ask("DELETE", f"/api/v1/namespaces/{namespace}/{plural}/{name}", {"gracePeriodSeconds": 0})

    def delete_namespace(self, name: str) -> None:
        """With what its controller would do first."""
        path = f"/api/v1/namespaces/{name}"
        self.ask("DELETE", path)
        item = self.ask("GET", path)
        self.ask("PUT", f"{path}/finalize", item | {"spec": {"finalizers": []}})


class Proxy:
    """Bytes from one port to another, until it is told otherwise."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.deaf = False
        """Nothing is passed on, and nobody is told."""
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """End every connection, in the middle of whatever it says."""
        with self._lock:
            taken, self._open = self._open, []
        for one in taken:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self.target), timeout=5)
            except OSError:
                if self._listener.fileno() < 0:
                    return
                continue
            far.settimeout(None)
            self.connections += 1
            with self._lock:
                self._open += [near, far]
            for pair in ((near, far), (far, near)):
                threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(64 * 1024):
                while self.deaf:
                    time.sleep(0.05)
                target.sendall(data)
            target.shutdown(socket.SHUT_RDWR)
