"""Stand-ins for the pipeline and the controllers of one cluster: they make the objects that the real ones would make.

Owners are real objects with real UIDs, names follow the controllers' rules (template hash, ordinal, job number), and
each request is made as the account that would make it.
"""

import hashlib
import json
import time

from cluster import Cluster, Json, Outcome, selector
from kubelet import Kubelets

SAFE = "bcdfghjklmnpqrstvwxz2456789"
"""The letters of generated names in Kubernetes: no vowels, so that no words appear."""


def template_hash(template: Json) -> str:
    number = int.from_bytes(hashlib.sha256(json.dumps(template, sort_keys=True).encode()).digest()[:8], "big")
    letters = ""
    for _ in range(10):
        number, rest = divmod(number, len(SAFE))
        letters += SAFE[rest]
    return letters


def pod_template(app: str, team: str, image: str, spec: Json | None = None, node: str = "worker-1") -> Json:
    """One container `app`, a service account of the application's name, on a node already: there is no scheduler."""
    body: Json = {"nodeName": node, "serviceAccountName": app, "containers": [{"name": "app", "image": image}]}
    return {"metadata": {"labels": {"app": app, "team": team}}, "spec": body | (spec or {})}


def pod_object(
    namespace: str, name: str, template: Json, *, owner: Json | None = None, generated: bool = False
) -> Json:
    metadata: Json = {"generateName" if generated else "name": name, "namespace": namespace} | template["metadata"]
    if owner:
        metadata["ownerReferences"] = [owner]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def owner_of(kind: str, made: Json) -> Json:
    group = {"ReplicaSet": "apps/v1", "StatefulSet": "apps/v1", "DaemonSet": "apps/v1", "Deployment": "apps/v1"}
    return {
        "apiVersion": group.get(kind, "batch/v1"),
        "kind": kind,
        "name": made["metadata"]["name"],
        "uid": made["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def labelled(template: Json, labels: dict[str, str]) -> Json:
    metadata = template["metadata"] | {"labels": template["metadata"]["labels"] | labels}
    return template | {"metadata": metadata}


class Controllers:
    def __init__(self, cluster: Cluster, kubelets: Kubelets) -> None:
        self.cluster = cluster
        self.kubelets = kubelets
        self._deployments: dict[tuple[str, str], tuple[Json, str]] = {}
        """By namespace and name: the pod template and the hash of the current ReplicaSet."""

    # ------------------------------------------------------------------------------------------------- deployments

    def deployment(self, namespace: str, name: str, template: Json) -> Outcome:
        """As the pipeline creates it; no pods yet."""
        spec = {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": without_node(template)}
        body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": namespace}}
        self._deployments[namespace, name] = (template, "")
        return self.cluster.kubectl("ci", "create", "-f", "-", stdin=body | {"spec": spec})

    def set_image(self, namespace: str, name: str, image: str) -> Outcome:
        """The start of a rollout."""
        template, digest = self._deployments[namespace, name]
        containers = [template["spec"]["containers"][0] | {"image": image}, *template["spec"]["containers"][1:]]
        renewed = template | {"spec": template["spec"] | {"containers": containers}}
        self._deployments[namespace, name] = (renewed, digest)
        return self.cluster.kubectl("ci", "-n", namespace, "set", "image", f"deployment/{name}", f"app={image}")

    def replicas(self, namespace: str, name: str, count: int = 1) -> Outcome:
        """The ReplicaSet of the present template, and that many more pods of it. Gives the last outcome."""
        template, current = self._deployments[namespace, name]
        digest = template_hash(template)
        labels = {"pod-template-hash": digest}
        if digest != current:
            self._replica_set(namespace, name, labelled(template, labels), digest)
            self._deployments[namespace, name] = (template, digest)
        path = f"/apis/apps/v1/namespaces/{namespace}/replicasets/{name}-{digest}"
        owner = owner_of("ReplicaSet", self.cluster.api("admin", "GET", path).json())
        pod = pod_object(namespace, f"{name}-{digest}-", labelled(template, labels), owner=owner, generated=True)
        outcome = Outcome(500, "no pod was asked for")
        for _ in range(count):
            outcome = self.cluster.api("replicaset", "POST", f"/api/v1/namespaces/{namespace}/pods", pod)
        return outcome

    def _replica_set(self, namespace: str, name: str, template: Json, digest: str) -> None:
        made = self.cluster.api("admin", "GET", f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}").json()
        labels = template["metadata"]["labels"]
        body = {
            "metadata": {
                "name": f"{name}-{digest}",
                "namespace": namespace,
                "labels": labels,
                "ownerReferences": [owner_of("Deployment", made)],
            },
            "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": without_node(template)},
        }
        outcome = self.cluster.api("deployment", "POST", f"/apis/apps/v1/namespaces/{namespace}/replicasets", body)
        if outcome.code != 201:
            raise RuntimeError(outcome.text)

    def current(self, namespace: str, name: str) -> dict[str, str]:
        """Labels that select the pods of the present ReplicaSet."""
        return {"app": name, "pod-template-hash": self._deployments[namespace, name][1]}

    def scale_down(self, namespace: str, labels: dict[str, str], *, user: str = "replicaset") -> Outcome:
        """Delete the pods with these labels, as their controller does, and let their nodes end them."""
        outcome = Outcome(404, "no pod has these labels")
        for pod in self.find(namespace, labels):
            outcome = self.delete(namespace, pod["metadata"]["name"], user)
        return outcome

    # ----------------------------------------------------------------------------------------------------- the rest

    def stateful_set(self, namespace: str, name: str, template: Json) -> Outcome:
        """One replica, with an ordinal for a name."""
        spec = {
            "serviceName": name,
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": without_node(template),
        }
        body = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": name, "namespace": namespace}}
        self.cluster.kubectl("ci", "create", "-f", "-", stdin=body | {"spec": spec})
        path = f"/apis/apps/v1/namespaces/{namespace}/statefulsets/{name}"
        owner = owner_of("StatefulSet", self.cluster.api("admin", "GET", path).json())
        labels = {
            "controller-revision-hash": f"{name}-{template_hash(template)}",
            "statefulset.kubernetes.io/pod-name": f"{name}-0",
        }
        pod = pod_object(namespace, f"{name}-0", labelled(template, labels), owner=owner)
        return self.cluster.api("statefulset", "POST", f"/api/v1/namespaces/{namespace}/pods", pod)

    def daemon_set(self, namespace: str, name: str, template: Json) -> Outcome:
        """A pod on the template's node."""
        spec = {"selector": {"matchLabels": {"app": name}}, "template": without_node(template)}
        body = {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": name, "namespace": namespace}}
        self.cluster.kubectl("ci", "create", "-f", "-", stdin=body | {"spec": spec})
        path = f"/apis/apps/v1/namespaces/{namespace}/daemonsets/{name}"
        owner = owner_of("DaemonSet", self.cluster.api("admin", "GET", path).json())
        labels = {"controller-revision-hash": template_hash(template), "pod-template-generation": "1"}
        pod = pod_object(namespace, f"{name}-", labelled(template, labels), owner=owner, generated=True)
        return self.cluster.api("daemonset", "POST", f"/api/v1/namespaces/{namespace}/pods", pod)

    def cron_job(self, namespace: str, name: str, template: Json) -> Outcome:
        """The CronJob, the Job of this minute, and its pod."""
        job_spec = {"template": without_node(template) | {"spec": without_node(template)["spec"]}}
        body = {
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"schedule": "*/5 * * * *", "jobTemplate": {"spec": job_spec}},
        }
        self.cluster.kubectl("ci", "create", "-f", "-", stdin=body)
        path = f"/apis/batch/v1/namespaces/{namespace}"
        owner = owner_of("CronJob", self.cluster.api("admin", "GET", f"{path}/cronjobs/{name}").json())
        job_name = f"{name}-{int(time.time()) // 60}"
        job = {"metadata": {"name": job_name, "namespace": namespace, "ownerReferences": [owner]}, "spec": job_spec}
        made = self.cluster.api("cronjob", "POST", f"{path}/jobs", job).json()
        labels = {
            "batch.kubernetes.io/controller-uid": made["metadata"]["uid"],
            "batch.kubernetes.io/job-name": job_name,
        }
        job_owner = owner_of("Job", made)
        pod = pod_object(namespace, f"{job_name}-", labelled(template, labels), owner=job_owner, generated=True)
        return self.cluster.api("job", "POST", f"/api/v1/namespaces/{namespace}/pods", pod)

    def find(self, namespace: str, labels: dict[str, str]) -> list[Json]:
        path = f"/api/v1/namespaces/{namespace}/pods?labelSelector={selector(labels)}"
        found: list[Json] = self.cluster.api("admin", "GET", path).json()["items"]
        return found

    def delete(self, namespace: str, name: str, user: str) -> Outcome:
        """A graceful delete; the node reports the end."""
        outcome = self.cluster.api(user, "DELETE", f"/api/v1/namespaces/{namespace}/pods/{name}")
        if outcome.code == 200:
            self.kubelets.remove(namespace, name)
        return outcome


def without_node(template: Json) -> Json:
    """What a person writes: the node is chosen later."""
    return template | {"spec": {name: value for name, value in template["spec"].items() if name != "nodeName"}}
