"""A stand-in for the nodes' kubelets: reports containers as running, with the digests the registry has at that moment.

Nothing is pulled or run, but a tag is resolved when a container starts, as a real node does: a tag that moves gives the
next replica another digest. What a node reports depends on its runtime, in the shapes that real runtimes use.
"""

import hashlib
import json
from typing import Any

from cluster import STRATEGIC, Cluster, Json
from cosign_matrix import HOST, INDEX_TYPES, Registry
from tools import now

RUNTIMES = {"worker-1": "containerd", "worker-2": "docker", "worker-3": "cri-o", "worker-4": "containerd"}
ADDRESSES = {node: f"10.128.0.{number}" for number, node in enumerate(RUNTIMES, 11)}


def node_object(name: str) -> Json:
    labels = {"kubernetes.io/hostname": name, "kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux"}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}


def node_status() -> Json:
    """An address where nobody listens: an exec is upgraded and then fails, as it does when a node is out of reach."""
    return {
        "status": {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        }
    }


def hex_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class Kubelets:
    """All nodes of one cluster."""

    def __init__(self, cluster: Cluster, registry: Registry) -> None:
        self._cluster = cluster
        self._registry = registry
        self._reported: dict[str, dict[str, Json]] = {}
        """By pod UID and container name: the status last reported."""
        self._finished: set[str] = set()
        self.side_loaded: set[str] = set()
        """Pods whose images were never pulled: their runtime knows no repository digest, only the image's own ID."""
        self.reports_instead: dict[tuple[str, str], str] = {}
        """By pod and container name: the digest a node reports although the pod asks for another."""

    def settle(self) -> None:
        """Report every container that is new or has another image than reported; leave all others alone."""
        for pod in self._pods():
            if pod["spec"].get("nodeName") and pod["metadata"]["uid"] not in self._finished:
                self._report(pod)

    def restart(self, namespace: str, name: str, container: str) -> None:
        """The container crashed and was started again; a tag is resolved anew."""
        pod = self._pod(namespace, name)
        reported = self._reported[pod["metadata"]["uid"]][container]
        self._report(pod, again={container: reported["restartCount"] + 1})

    def finish(self, namespace: str, name: str, exit_code: int = 0) -> None:
        """All its containers end, and with them the pod."""
        pod = self._pod(namespace, name)
        uid = pod["metadata"]["uid"]
        known = self._reported[uid]
        for container, status in known.items():
            if "running" in status["state"]:
                known[container] = self._ended(status, exit_code) | {"asked": status["asked"], "kind": status["kind"]}
        self._patch(pod, {"phase": "Failed" if exit_code else "Succeeded"} | lists(known))
        self._finished.add(uid)

    def remove(self, namespace: str, name: str) -> None:
        """The last acts for a deleted pod: its containers end, so the object may go."""
        pod = self._pod(namespace, name)
        if any("running" in status["state"] for status in self._reported[pod["metadata"]["uid"]].values()):
            self.finish(namespace, name)
        body = {
            "kind": "DeleteOptions",
            "apiVersion": "v1",
            "gracePeriodSeconds": 0,
            "preconditions": {"uid": pod["metadata"]["uid"]},
        }
        path = f"/api/v1/namespaces/{namespace}/pods/{name}"
        outcome = self._cluster.api(pod["spec"]["nodeName"], "DELETE", path, body)
        if outcome.code != 200:
            raise RuntimeError(outcome.text)

    # --------------------------------------------------------------------------------------------------- the reports

    def _pods(self) -> list[Json]:
        found: list[Json] = self._cluster.api("admin", "GET", "/api/v1/pods").json()["items"]
        return found

    def _pod(self, namespace: str, name: str) -> Json:
        return self._cluster.api("admin", "GET", f"/api/v1/namespaces/{namespace}/pods/{name}").json()

    def _report(self, pod: Json, again: dict[str, int] | None = None) -> None:
        uid, spec = pod["metadata"]["uid"], pod["spec"]
        known = self._reported.setdefault(uid, {})
        changed = False
        for kind in ("initContainers", "containers", "ephemeralContainers"):
            for container in spec.get(kind, []):
                name, image = container["name"], container["image"]
                before = known.get(name)
                restarts = (again or {}).get(name)
                if before and before["asked"] == image and restarts is None:
                    continue
                status = self._started(pod, container)
                if before:
                    status["restartCount"] = restarts if restarts is not None else before["restartCount"] + 1
                    status["lastState"] = self._ended(before, 0 if restarts is None else 137)["state"]
                if kind == "initContainers" and container.get("restartPolicy") != "Always":
                    status = self._ended(status, 0) | {"ready": True}
                known[name] = status | {"asked": image, "kind": kind}
                changed = True
        if changed:
            self._patch(pod, self._running(pod, known))

    def _running(self, pod: Json, known: dict[str, Json]) -> Json:
        number = int(pod["metadata"]["uid"][:2], 16)
        ready = all("waiting" not in status["state"] for status in known.values())
        status: Json = {
            "phase": "Running" if ready else "Pending",
            "hostIP": ADDRESSES[pod["spec"]["nodeName"]],
            "podIP": f"10.4.0.{number}",
            "startTime": pod["metadata"]["creationTimestamp"],
            "conditions": [
                {"type": "PodScheduled", "status": "True", "lastTransitionTime": seconds()},
                {"type": "Ready", "status": str(ready), "lastTransitionTime": seconds()},
            ],
        }
        return status | lists(known)

    def _patch(self, pod: Json, status: Json) -> None:
        path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}/status"
        body = {"metadata": {"uid": pod["metadata"]["uid"]}, "status": status}
        outcome = self._cluster.api(pod["spec"]["nodeName"], "PATCH", path, body, STRATEGIC)
        if outcome.code != 200:
            raise RuntimeError(outcome.text)

    def _ended(self, status: Json, exit_code: int) -> Json:
        state = {
            "exitCode": exit_code,
            "reason": "Error" if exit_code else "Completed",
            "startedAt": status["state"]["running"]["startedAt"],
            "finishedAt": seconds(),
            "containerID": status["containerID"],
        }
        return clean(status) | {"ready": False, "started": False, "state": {"terminated": state}}

    def _started(self, pod: Json, container: Json) -> Json:
        metadata, image = pod["metadata"], normal(container["image"])
        runtime = RUNTIMES[pod["spec"]["nodeName"]]
        run = f"{metadata['uid']} {container['name']} {image} {now()}"
        found = self._resolve(image)
        if found is None:
            return self._waiting(container["name"], image)
        digest, platform, config = found
        repository = image.partition("@")[0].rpartition(":")[0] or image.partition("@")[0]
        shown = config if "@" in image else image  # a reference pinned by digest leaves no tag on the node
        digest = self.reports_instead.get((metadata["name"], container["name"]), digest)
        reported = {
            "containerd": f"{repository}@{digest}",
            "docker": f"docker-pullable://{repository}@{digest}",
            "cri-o": f"{repository}@{platform}",
        }[runtime]
        if metadata["name"] in self.side_loaded:
            reported = shown = config
        return {
            "name": container["name"],
            "image": shown,
            "imageID": reported,
            "containerID": f"{runtime}://{hex_of(run)}",
            "ready": True,
            "started": True,
            "restartCount": 0,
            "state": {"running": {"startedAt": seconds()}},
        }

    def _waiting(self, name: str, image: str) -> Json:
        reason = {"reason": "ImagePullBackOff", "message": f'Back-off pulling image "{image}"'}
        return {
            "name": name,
            "image": image,
            "imageID": "",
            "ready": False,
            "started": False,
            "restartCount": 0,
            "state": {"waiting": reason},
        }

    def _resolve(self, image: str) -> tuple[str, str, str] | None:
        """Digests of what the reference names, of its amd64 manifest, and of that one's config; None: not there.

        Other registries cannot be asked: a digest is made of the name.
        """
        name, _, digest = image.removeprefix(f"{HOST}/").partition("@")
        repository, _, tag = name.rpartition(":") if ":" in name else (name, "", "")
        if not image.startswith(f"{HOST}/"):
            made = f"sha256:{hex_of(image)}"
            return digest or made, digest or made, f"sha256:{hex_of(image + ' config')}"
        found = self._registry.manifest(repository, digest or tag)
        if found is None:
            return None
        data, media_type = found
        top = platform = f"sha256:{hashlib.sha256(data).hexdigest()}"
        if media_type in INDEX_TYPES:
            children: list[dict[str, Any]] = json.loads(data)["manifests"]
            platform = next(c["digest"] for c in children if c["platform"]["architecture"] == "amd64")
            child = self._registry.manifest(repository, platform)
            data = child[0] if child else b"{}"
        config: str = json.loads(data)["config"]["digest"]
        return top, platform, config


def seconds() -> str:
    """Kubernetes' times have no fraction."""
    return now()[:19] + "Z"


def normal(image: str) -> str:
    """As runtimes write it: with a registry, and with a tag unless there is a digest."""
    if "/" not in image:
        image = f"library/{image}"
    if "." not in image.partition("/")[0]:
        image = f"docker.io/{image}"
    return image if "@" in image or ":" in image.rpartition("/")[2] else f"{image}:latest"


LISTS = {
    "initContainers": "initContainerStatuses",
    "containers": "containerStatuses",
    "ephemeralContainers": "ephemeralContainerStatuses",
}


def lists(known: dict[str, Json]) -> Json:
    """The status lists of a pod; a merge replaces each list as a whole."""
    found = {
        field: [clean(entry) for entry in known.values() if entry["kind"] == kind] for kind, field in LISTS.items()
    }
    return {field: entries for field, entries in found.items() if entries}


def clean(status: Json) -> Json:
    """Without our own notes."""
    return {name: value for name, value in status.items() if name not in ("asked", "kind")}
