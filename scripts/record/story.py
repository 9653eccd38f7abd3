"""The recorded day, step by step: what happens in the clusters, and which outcome each step must have.

A step that turns out otherwise ends the recording: the tests and the demo rely on what is told here. The steps, their
times and what the client was told go into timeline.json.
"""

import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from cluster import STRATEGIC, Cluster, Json, Outcome, selector
from controllers import Controllers, pod_object, pod_template
from cosign_matrix import HOST
from kubelet import Kubelets, node_object, node_status
from signing import Studio
from tools import WEBHOOK_PORT, Command, Processes, now, say, wait_until

PACE = float(os.environ.get("REVET_RECORD_PACE") or 1)
"""1: about 25 minutes. 0: a rehearsal without waiting, in about three."""

MINUTES = {
    "morning": 2.0,
    "midday": 7.0,
    "compromise": 10.5,
    "afternoon": 12.5,
    "evening": 16.0,
    "revocation": 21.5,
    "after": 22.5,
}
"""When each part begins, counted from the start."""

TEAMS = ("payments", "checkout", "inventory", "data", "platform")
PROVENANCE = {"payments": "enforce", "checkout": "warn", "inventory": "audit"}
"""Label of a namespace in prod-eu: who checks what there, see manifests/policies.yaml."""
PLANTED = "PLANTED-SECRET"
"""Marks values that must never leave a receiver: tests look for them in everything that revet writes."""


def image(path: str) -> str:
    return f"{HOST}/{path}"


class Side:
    """One cluster with everything that acts on it."""

    def __init__(self, cluster: Cluster, studio: Studio) -> None:
        self.cluster = cluster
        self.kubelets = Kubelets(cluster, studio.registry)
        self.controllers = Controllers(cluster, self.kubelets)


class Story:
    def __init__(self, prod: Side, staging: Side, studio: Studio, processes: Processes, work: Path) -> None:
        self.prod = prod
        self.staging = staging
        self.studio = studio
        self._processes = processes
        self._pki = work / "pki"
        self._began = time.monotonic()
        self.steps: list[dict[str, Any]] = []
        self.times: dict[str, str] = {"started": now()}
        self.recording_started: dict[str, str] = {}

    # ---------------------------------------------------------------------------------------------------- the means

    def reach(self, part: str) -> None:
        """Wait until the part of the day begins, and note when it did."""
        wait_until(self._began + 60 * PACE * MINUTES[part])
        self.times[part] = now()
        say(f"----- {part}")

    def pause(self, seconds: float) -> None:
        time.sleep(0.2 + PACE * seconds)

    def step(self, side: Side, name: str, act: Callable[[], Outcome], *, fails: bool = False) -> Outcome:
        start = now()
        outcome = act()
        side.kubelets.settle()
        failed = outcome.code != 0 and not 200 <= outcome.code < 300
        text = outcome.text if failed or not outcome.text.startswith("{") else ""
        record = {"step": name, "cluster": side.cluster.name, "start": start, "end": now(), "code": outcome.code}
        self.steps.append(record | {"text": text[:500]})
        if failed is not fails:
            raise RuntimeError(f"step {name}: {outcome.code} {outcome.text[:1000]}")
        say(f"{side.cluster.name:8} {name:36} {outcome.code} {text[:110]}".rstrip())
        self.pause(1.5)
        return outcome

    def deploy(
        self,
        side: Side,
        team: str,
        app: str,
        path: str,
        count: int = 1,
        spec: Json | None = None,
        node: str = "worker-1",
    ) -> None:
        """A Deployment by the pipeline, its ReplicaSet, its pods."""
        controllers = side.controllers
        template = pod_template(app, team, image(path), spec, node)
        self.step(side, f"deploy-{app}", lambda: controllers.deployment(team, app, template))
        self.step(side, f"pods-{app}", lambda: controllers.replicas(team, app, count))

    def roll_out(self, side: Side, team: str, app: str, path: str, count: int = 1) -> None:
        """A new image: new ReplicaSet, new pods, then the old ones go."""
        controllers = side.controllers
        old = controllers.current(team, app)
        self.step(side, f"set-image-{app}", lambda: controllers.set_image(team, app, image(path)))
        self.step(side, f"pods-{app}-new", lambda: controllers.replicas(team, app, count))
        self.step(side, f"pods-{app}-old-deleted", lambda: controllers.scale_down(team, old))

    def create(
        self,
        side: Side,
        user: str,
        team: str,
        name: str,
        path: str,
        *,
        labels: dict[str, str] | None = None,
        spec: Json | None = None,
        node: str = "worker-1",
        options: tuple[str, ...] = (),
        annotations: dict[str, str] | None = None,
    ) -> Outcome:
        """A pod of nobody's, by kubectl. A path without our teams in front is a reference as it stands."""
        reference = image(path) if path.partition("/")[0] in TEAMS else path
        pod = pod_object(team, name, pod_template(name, team, reference, spec, node))
        pod["metadata"]["labels"] |= labels or {}
        if annotations:
            pod["metadata"]["annotations"] = annotations
        return side.cluster.kubectl(user, "create", *options, "-f", "-", stdin=pod)

    def webhook(self, *, up: bool) -> Outcome:
        if not up:
            self._processes.stop("webhook")
            return Outcome(0, "webhook stopped")
        command: Command = [
            sys.executable,
            Path(__file__).parent / "webhook.py",
            str(WEBHOOK_PORT),
            self._pki / "webhook.crt",
            self._pki / "webhook.key",
            self.studio.registry.address,
        ]
        self._processes.start("webhook", command)
        time.sleep(1.5)
        self._processes.check("webhook")
        return Outcome(0, "webhook started")

    # -------------------------------------------------------------------------------------------------------- setup

    def prepare(self) -> None:
        """Nodes and what already ran before anyone recorded; none of it is in the audit files."""
        self.webhook(up=True)
        for side, nodes in ((self.prod, 4), (self.staging, 1)):
            for number in range(1, nodes + 1):
                node = f"worker-{number}"
                side.cluster.kubectl("admin", "create", "-f", "-", stdin=node_object(node))
                side.cluster.api("admin", "PATCH", f"/api/v1/nodes/{node}/status", node_status(), STRATEGIC)
            side.cluster.install("common.yaml")
            side.cluster.kubectl("admin", "create", "namespace", "platform")
        self.prod.cluster.kubectl("admin", "label", "namespace", "platform", "team=platform")
        self.staging.cluster.kubectl("admin", "label", "namespace", "platform", "team=platform")
        template = pod_template("node-agent", "platform", image("platform/node-agent:2.0"))
        self.prod.controllers.daemon_set("platform", "node-agent", template)
        self.prod.kubelets.side_loaded.add("edge-proxy-worker-4")
        self._mirror_pod("platform", "edge-proxy-worker-4", image("platform/edge-proxy:1.8"))
        self.prod.kubelets.settle()
        for side in (self.prod, self.staging):
            side.cluster.record()
            self.recording_started[side.cluster.name] = now()

    def _mirror_pod(self, namespace: str, name: str, reference: str) -> None:
        """What a kubelet posts for a pod that it runs from a file."""
        node = self.prod.cluster.api("admin", "GET", "/api/v1/nodes/worker-4").json()
        owner = {
            "apiVersion": "v1",
            "kind": "Node",
            "name": "worker-4",
            "uid": node["metadata"]["uid"],
            "controller": True,
        }
        pod = pod_object(
            namespace, name, pod_template("edge-proxy", "platform", reference, node="worker-4"), owner=owner
        )
        del pod["spec"]["serviceAccountName"]  # refused for a mirror pod
        pod["metadata"]["annotations"] = {
            "kubernetes.io/config.mirror": "1f8a2cf08c9ad5d27d5e0e9d1d7a7a10",
            "kubernetes.io/config.hash": "1f8a2cf08c9ad5d27d5e0e9d1d7a7a10",
            "kubernetes.io/config.source": "file",
            "kubernetes.io/config.seen": now(),
        }
        outcome = self.prod.cluster.api("worker-4", "POST", f"/api/v1/namespaces/{namespace}/pods", pod)
        if outcome.code != 201:
            raise RuntimeError(outcome.text)

    def _namespaces(self, side: Side, teams: tuple[str, ...], provenance: dict[str, str]) -> Outcome:
        items = [
            {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {
                    "name": team,
                    "labels": {"team": team} | ({"provenance": provenance[team]} if team in provenance else {}),
                },
            }
            for team in teams
        ]
        outcome = side.cluster.kubectl("admin", "create", "-f", "-", stdin=as_list(items))
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "deployer"}
        group = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "developers"}
        bindings = [
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": {"name": "developers", "namespace": team},
                "roleRef": role,
                "subjects": [group],
            }
            for team in teams
        ]
        side.cluster.kubectl("admin", "create", "-f", "-", stdin=as_list(bindings))
        return outcome

    # -------------------------------------------------------------------------------------------------- the morning

    def morning(self) -> None:
        prod, staging = self.prod, self.staging
        self.step(prod, "namespaces", lambda: self._namespaces(prod, TEAMS[:4], PROVENANCE))
        self.step(staging, "namespaces", lambda: self._namespaces(staging, ("payments", "checkout", "data"), {}))
        self.step(prod, "policies", lambda: self._install(prod, "policies.yaml"))
        time.sleep(2)  # the API server takes a moment to compile a policy
        self._morning_payments()
        self._morning_checkout()
        self._morning_inventory()
        self._morning_data()
        self._morning_denials()
        self._morning_staging()

    def _install(self, side: Side, manifest: str) -> Outcome:
        side.cluster.install(manifest)
        return Outcome(0, f"{manifest} created")

    def _morning_payments(self) -> None:
        prod = self.prod
        helpers = {
            "initContainers": [
                {"name": "migrate", "image": image("payments/migrate:7")},
                {"name": "log-shipper", "image": image("platform/fluent-bit:3.1"), "restartPolicy": "Always"},
            ]
        }
        self.deploy(prod, "payments", "payments-api", "payments/api:1.4.2", 2, helpers)
        self.deploy(prod, "payments", "payments-fraud", "payments/fraud:1.0")
        self.deploy(prod, "payments", "payments-ledger", "payments/ledger:3.0")
        self.deploy(prod, "payments", "payments-notify", "payments/notify:2.0")
        writer = pod_template("payments-ledger-writer", "payments", image("payments/ledger-writer:2.0"))
        self.step(
            prod,
            "stateful-set-ledger-writer",
            lambda: prod.controllers.stateful_set("payments", "payments-ledger-writer", writer),
        )
        settle = pod_template("payments-settle", "payments", image("payments/settle:7.1"), {"restartPolicy": "Never"})
        made = self.step(
            prod, "cron-job-settle", lambda: prod.controllers.cron_job("payments", "payments-settle", settle)
        )
        self.pause(10)
        prod.kubelets.finish("payments", made.json()["metadata"]["name"])

    def _morning_checkout(self) -> None:
        prod = self.prod
        self.deploy(prod, "checkout", "checkout-web", "checkout/web:2026.11.3", 2)
        self.deploy(prod, "checkout", "checkout-pay-gateway", "checkout/pay-gateway:5.0")
        self.deploy(prod, "checkout", "checkout-cart", "checkout/cart:stable")
        self.deploy(prod, "checkout", "checkout-notify", "checkout/notify:2.0")
        self.deploy(prod, "checkout", "checkout-tracker", "checkout/tracker:1.0")
        self.deploy(prod, "checkout", "checkout-wallet", "checkout/wallet:1.2")
        container = {
            "name": "app",
            "image": image("checkout/web:2026.11.3"),
            "args": ["--token", f"{PLANTED}-args"],
            "env": [{"name": "DB_PASSWORD", "value": f"{PLANTED}-env"}],
        }
        self.step(
            prod,
            "pod-with-planted-secrets",
            lambda: self.create(
                prod,
                "ci",
                "checkout",
                "checkout-worker",
                "checkout/web:2026.11.3",
                spec={"containers": [container]},
                annotations={"example.com/note": f"{PLANTED}-annotation"},
            ),
        )

    def _morning_inventory(self) -> None:
        prod = self.prod
        self.deploy(prod, "inventory", "inventory-stock", "inventory/stock:2.2", 2)
        self.deploy(prod, "inventory", "inventory-search", "inventory/search:4.1.0")
        self.deploy(prod, "inventory", "inventory-scraper", "inventory/scraper:0.3")
        # A node with Docker reports docker-pullable://, one with CRI-O the platform's manifest instead of the index.
        self.deploy(prod, "inventory", "inventory-legacy", "inventory/stock:2.2", node="worker-2")
        self.deploy(prod, "inventory", "inventory-logs", "platform/fluent-bit:3.1", node="worker-3")
        self.step(
            prod,
            "pod-waits-for-an-image-that-is-not-there",
            lambda: self.create(prod, "ci", "inventory", "inventory-typo", "inventory/stock:9.9"),
        )
        self.step(
            prod,
            "pod-audited-and-warned-by-policy",
            lambda: self.create(prod, "alice", "inventory", "inventory-nginx", "nginx:1.27"),
        )

    def _morning_data(self) -> None:
        prod = self.prod
        warehouse = pod_template("data-warehouse", "data", image("data/warehouse:5.2"))
        self.step(
            prod, "stateful-set-warehouse", lambda: prod.controllers.stateful_set("data", "data-warehouse", warehouse)
        )
        self.deploy(prod, "data", "data-loader", "data/loader:4.0", 2)
        self.deploy(prod, "data", "data-etl", "data/etl:2.4")
        self.deploy(prod, "data", "data-report", "data/report:1.1")
        self.deploy(prod, "data", "data-exporter", "data/exporter:0.9")

    def _morning_denials(self) -> None:
        prod, create = self.prod, self.create
        dry = ("--dry-run=server",)

        def by_admin_as_bob() -> Outcome:
            options = ("--as=bob@example.com", "--as-group=developers")
            return create(prod, "admin", "checkout", "checkout-as-bob", "checkout/web:2026.11.3", options=options)

        self.step(
            prod, "denied-by-policy", lambda: create(prod, "alice", "payments", "debug-nginx", "nginx:1.27"), fails=True
        )
        self.step(
            prod,
            "denied-by-policy-mutable-tag",
            lambda: create(prod, "alice", "payments", "payments-canary", "payments/api:latest"),
            fails=True,
        )
        self.step(
            prod,
            "denied-by-policy-admitted-later",
            lambda: create(prod, "alice", "payments", "payments-import", "quay.io/acme/import:1"),
            fails=True,
        )
        self.step(
            prod,
            "denied-by-webhook",
            lambda: create(prod, "ci", "payments", "payments-fx-rates", "payments/fx-rates:1.0"),
            fails=True,
        )
        edge = pod_template("payments-edge", "payments", "docker.io/library/traefik:v3")
        self.step(
            prod,
            "deployment-denied-by-policy",
            lambda: prod.controllers.deployment("payments", "payments-edge", edge),
            fails=True,
        )
        self.step(
            prod,
            "dry-run-admitted",
            lambda: create(prod, "alice", "payments", "payments-dry", "payments/api:1.4.2", options=dry),
        )
        self.step(
            prod,
            "dry-run-denied",
            lambda: create(prod, "alice", "payments", "payments-dry", "redis:7", options=dry),
            fails=True,
        )
        self.step(
            prod,
            "break-glass",
            lambda: create(
                prod,
                "alice",
                "payments",
                "payments-hotfix",
                "nginx:1.27",
                labels={"revet.test/break-glass": "inc-4711"},
            ),
        )
        self.step(
            prod,
            "forbidden-by-rbac",
            lambda: create(prod, "alice", "kube-system", "sneaky", "payments/api:1.4.2"),
            fails=True,
        )
        self.step(
            prod,
            "already-exists",
            lambda: create(prod, "ci", "checkout", "checkout-worker", "checkout/web:2026.11.3"),
            fails=True,
        )
        self.step(prod, "impersonated", by_admin_as_bob)

    def _morning_staging(self) -> None:
        staging = self.staging
        self.deploy(staging, "payments", "payments-api", "payments/api:1.4.2")
        self.deploy(staging, "checkout", "checkout-web", "checkout/web:2026.11.3")
        self.deploy(staging, "data", "data-warehouse", "data/warehouse:5.2")
        self.deploy(staging, "data", "data-loader", "data/loader:4.0")
        pinned = self.studio.pushed["platform-fluent-bit-amd64"].digest
        self.deploy(staging, "platform", "log-shipper", f"platform/fluent-bit@{pinned}")
        self.deploy(staging, "checkout", "checkout-promo", "checkout/promo:1.0")

    # ------------------------------------------------------------------------------------------------------- midday

    def midday(self) -> None:
        """The registry has moved the tag `checkout/cart:stable` by now."""
        prod = self.prod
        self.step(prod, "replica-after-the-tag-moved", lambda: prod.controllers.replicas("checkout", "checkout-cart"))
        self.roll_out(prod, "payments", "payments-fraud", "payments/fraud:1.1")
        self.roll_out(prod, "payments", "payments-api", "payments/api:1.5.0", 2)
        self.step(
            prod,
            "image-patched-in-a-running-pod",
            lambda: prod.cluster.kubectl(
                "ci",
                "-n",
                "checkout",
                "set",
                "image",
                "pod/checkout-worker",
                f"app={image('checkout/web:2026.11.4')}",
            ),
        )
        self.step(
            prod,
            "image-json-patched-in-a-running-pod",
            lambda: prod.cluster.kubectl(
                "ci",
                "-n",
                "checkout",
                "patch",
                "pod",
                "checkout-as-bob",
                "--type=json",
                "-p",
                json_patch("/spec/containers/0/image", image("checkout/web:2026.11.4")),
            ),
        )
        self._ephemeral()
        self._opt_out()
        self._policy_window()

    def _ephemeral(self) -> None:
        prod = self.prod
        (pod, *_) = prod.controllers.find("payments", {"app": "payments-ledger"})
        debug = ("alice", "-n", "payments", "debug", pod["metadata"]["name"], "--target=app", "--profile=general")
        self.step(
            prod,
            "ephemeral-admitted",
            lambda: prod.cluster.kubectl(
                *debug, f"--image={image('platform/busybox:1.36')}", "-c", "debug-1", "--", "sh"
            ),
        )
        self.step(
            prod,
            "ephemeral-denied",
            lambda: prod.cluster.kubectl(*debug, "--image=busybox:1.36", "-c", "debug-2", "--", "sh"),
            fails=True,
        )

    def _opt_out(self) -> None:
        """With its label a namespace loses its checks: the next bad pod is an ordinary 201."""
        prod = self.prod
        label = ("admin", "label", "namespace", "inventory")
        self.step(prod, "namespace-opts-out", lambda: prod.cluster.kubectl(*label, "provenance-"))
        self.pause(2)
        self.step(
            prod, "pod-after-opt-out", lambda: self.create(prod, "alice", "inventory", "inventory-redis", "redis:7")
        )
        self.step(prod, "namespace-opts-in", lambda: prod.cluster.kubectl(*label, "provenance=audit"))

    def _policy_window(self) -> None:
        """Denied in the morning, admitted while the binding only audits: the decision on record is the later one."""
        prod = self.prod
        binding = (
            "admin",
            "patch",
            "validatingadmissionpolicybinding",
            "trusted-registries-enforce",
            "--type=merge",
            "-p",
        )
        self.step(
            prod, "policy-weakened", lambda: prod.cluster.kubectl(*binding, '{"spec":{"validationActions":["Audit"]}}')
        )
        time.sleep(3)
        self.step(
            prod,
            "admitted-while-weakened",
            lambda: self.create(prod, "alice", "payments", "payments-import", "quay.io/acme/import:1"),
        )
        self.step(
            prod, "policy-restored", lambda: prod.cluster.kubectl(*binding, '{"spec":{"validationActions":["Deny"]}}')
        )
        time.sleep(3)

    # ---------------------------------------------------------------------------------------------------- afternoon

    def afternoon(self) -> None:
        """Images signed with the key that is in other hands by now; at admission nobody can know."""
        prod, staging = self.prod, self.staging
        self.deploy(prod, "checkout", "checkout-api", "checkout/api:3.3", 2)
        self.deploy(prod, "checkout", "checkout-mail", "checkout/mail:2.1")
        self.deploy(prod, "inventory", "inventory-sync", "inventory/sync:1.6", 2)
        self.deploy(prod, "payments", "payments-refunds", "payments/refunds:2.3")
        self.deploy(staging, "checkout", "checkout-api", "checkout/api:3.3")
        self.deploy(staging, "payments", "payments-refunds", "payments/refunds:2.3")
        self.step(
            prod,
            "exec",
            lambda: prod.cluster.kubectl("alice", "-n", "checkout", "exec", "checkout-worker", "--", "id"),
            fails=True,  # there is no kubelet to run it; the audit log says 101 all the same
        )

    # ------------------------------------------------------------------------------------------------------ evening

    def evening(self) -> None:
        prod = self.prod
        self._behind_the_api_server()
        self.step(prod, "webhook-goes-down", lambda: self.webhook(up=False))
        self.deploy(prod, "checkout", "checkout-promo", "checkout/promo:1.0")  # fails open
        self.step(
            prod,
            "fails-closed",
            lambda: self.create(prod, "ci", "payments", "payments-batch", "payments/api:1.5.0"),
            fails=True,
        )
        self.pause(20)
        self.step(prod, "webhook-comes-back", lambda: self.webhook(up=True))
        self._digest_drift()
        self.step(prod, "evicted", self._evict)
        self.step(prod, "deleted-by-a-person", lambda: prod.controllers.delete("inventory", "inventory-redis", "alice"))
        self.step(prod, "deleted-as-a-collection", self._delete_collection)
        prod.kubelets.restart("checkout", "checkout-worker", "app")

    def _delete_collection(self) -> Outcome:
        prod = self.prod
        path = f"/api/v1/namespaces/inventory/pods?labelSelector={selector({'app': 'inventory-typo'})}"
        outcome = prod.cluster.api("admin", "DELETE", path)
        prod.kubelets.remove("inventory", "inventory-typo")
        return outcome

    def _behind_the_api_server(self) -> None:
        """Two pods that no API server admitted: one signed well, one that admission denied in the morning."""
        prod = self.prod
        warm = pod_template("inventory-cache", "inventory", image("platform/busybox:1.36"))
        rates = pod_template("payments-fx-rates", "payments", image("payments/fx-rates:1.0"))
        for team, name, template in (("inventory", "inventory-cache", warm), ("payments", "payments-fx-rates", rates)):
            pod = pod_object(team, name, complete(template))
            self.step(prod, f"written-into-etcd-{name}", partial(self._write, prod, pod))

    def _write(self, side: Side, pod: Json) -> Outcome:
        side.cluster.put_into_etcd(pod)
        time.sleep(1)
        return Outcome(0, "written into etcd")

    def _digest_drift(self) -> None:
        """The pod pins one digest; its node reports another of the same repository."""
        prod = self.prod
        pinned = self.studio.pushed["payments-api-1.5.0"].digest
        prod.kubelets.reports_instead["payments-drifted", "app"] = self.studio.pushed["payments-api-1.4.2"].digest
        self.step(
            prod,
            "pinned-pod-runs-another-digest",
            lambda: self.create(prod, "ci", "payments", "payments-drifted", f"payments/api@{pinned}"),
        )

    def _evict(self) -> Outcome:
        prod = self.prod
        name = "checkout-as-bob"
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": "checkout"}}
        outcome = prod.cluster.api("admin", "POST", f"/api/v1/namespaces/checkout/pods/{name}/eviction", body)
        prod.kubelets.remove("checkout", name)
        return outcome

    # -------------------------------------------------------------------------------------------------------- after

    def after(self) -> None:
        """Every workload whose signature does not count any more gets a fixed image.

        data-warehouse and payments-ledger-writer stay: their signatures are known to be older than the compromise.
        checkout-mail stays: another key signed it too.
        """
        prod, staging = self.prod, self.staging
        self.roll_out(prod, "checkout", "checkout-api", "checkout/api:3.4", 2)
        self.roll_out(prod, "inventory", "inventory-sync", "inventory/sync:1.7", 2)
        self.roll_out(prod, "payments", "payments-refunds", "payments/refunds:2.4")
        self.roll_out(prod, "data", "data-loader", "data/loader:4.1", 2)
        self.roll_out(staging, "checkout", "checkout-api", "checkout/api:3.4")
        self.roll_out(staging, "payments", "payments-refunds", "payments/refunds:2.4")
        self.roll_out(staging, "data", "data-loader", "data/loader:4.1")


def complete(template: Json) -> Json:
    """What the API server's defaults would have added, as far as a reader needs it."""
    containers = [
        {"imagePullPolicy": "IfNotPresent", "terminationMessagePath": "/dev/termination-log"}
        | {"terminationMessagePolicy": "File", "resources": {}}
        | container
        for container in template["spec"]["containers"]
    ]
    defaults = {
        "dnsPolicy": "ClusterFirst",
        "restartPolicy": "Always",
        "schedulerName": "default-scheduler",
        "securityContext": {},
        "terminationGracePeriodSeconds": 30,
    }
    return template | {"spec": defaults | template["spec"] | {"containers": containers}}


def as_list(items: list[Json]) -> Json:
    return {"apiVersion": "v1", "kind": "List", "items": items}


def json_patch(pointer: str, value: str) -> str:
    return f'[{{"op":"replace","path":"{pointer}","value":"{value}"}}]'
