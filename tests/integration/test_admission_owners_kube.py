"""The webhook on a real API server about what is no plain pod: images of several platforms, mirror pods, and pods that
custom resources own.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streams.events import Owner
from tests.helpers.watchedcluster import WatchedCluster
from tests.helpers.webhook import IMAGES, POLICY, SIGNED, UNSIGNED, WebhookWorld, pod
from tests.integration.test_admission_kube import Hook, Said, ask, bare, create, namespace, of, registry
from tests.integration.test_list_pods_kube import cluster

__all__ = ["cluster", "namespace", "registry"]

pytestmark = [pytest.mark.needs("kube", "registry"), pytest.mark.slow, pytest.mark.timeout(240)]

MIRROR = "kubernetes.io/config.mirror"
HASH = "7d4b9c6f5d"


@pytest.fixture
def world(tmp_path: Path, registry: str) -> WebhookWorld:
    made = WebhookWorld(tmp_path, registry)
    (tmp_path / "trust" / "platform.yaml").write_text(
        POLICY.format(name="platform-signed", mode="enforce", path="platform")
    )
    made.apply()
    return made


# ---------------------------------------------------------------------------------------------------------- platforms


def under(tag: str, child: str) -> str:
    """`registry/repository:TAG@sha256:…` of another image's digest."""
    repository, _, digest = IMAGES[child].partition("@")
    return f"{repository}:{tag}@{digest}"


def test_a_signed_index_covers_its_children_and_a_signed_child_covers_nothing_else(
    cluster: WatchedCluster, world: WebhookWorld
) -> None:
    wanted = {
        "index": (IMAGES["platform-fluent-bit"], 201),
        "index-child-amd64": (under("3.1", "platform-fluent-bit-amd64"), 201),
        "index-child-arm64": (under("3.1", "platform-fluent-bit-arm64"), 201),
        "unsigned-index": (IMAGES["platform-node-agent"], 403),
        "its-signed-child": (under("2.0", "platform-node-agent-amd64"), 201),
        "its-other-child": (under("2.0", "platform-node-agent-arm64"), 403),
    }
    with world.started(mode="enforce") as running, Hook(cluster, world, running, mode="enforce"):
        said = {name: create(cluster, pod(name, image)) for name, (image, _) in wanted.items()}
        answers = {name: one.code for name, one in said.items()}
        assert answers == {name: code for name, (_, code) in wanted.items()}, said
        for name, (image, code) in wanted.items():
            (decision,) = of(world, name)
            assert (decision.outcome, decision.images[0].submitted) == ("admitted" if code == 201 else "denied", image)
        assert "platform-signed" in said["unsigned-index"].message


# -------------------------------------------------------------------------------------------------------- mirror pods


def mirror(name: str) -> dict[str, Any]:
    """As a kubelet makes it of a file."""
    item = bare(pod(name, UNSIGNED, nodeName="n1"))
    del item["spec"]["serviceAccountName"]  # a mirror pod may refer to nothing
    return {**item, "metadata": {**item["metadata"], "annotations": {MIRROR: "5f3c9f0e2a6b4f0e", "x": "y"}}}


def test_mirror_pods_are_not_asked_about_unless_they_are_named(cluster: WatchedCluster, world: WebhookWorld) -> None:
    with world.started(mode="enforce") as running, Hook(cluster, world, running, mode="enforce"):
        assert create(cluster, mirror("static-web-n1")).code == 201
        assert create(cluster, pod("no-mirror", UNSIGNED)).code == 403
        of(world, "no-mirror")
        assert [d.name for d in world.decisions() if d.name == "static-web-n1"] == []
    named = {"mode": "enforce", "in_scope": ["mirror-pods"]}
    with world.started(**named) as running, Hook(cluster, world, running, **named):
        said = create(cluster, mirror("static-named-n1"))
        assert (said.code, "unsigned" in said.message) == (403, True)
        assert of(world, "static-named-n1")[0].outcome == "denied"


# --------------------------------------------------------------------------------------------------- custom resources


CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
ROLLOUTS = "/apis/argoproj.io/v1alpha1/namespaces/pay/rollouts"
RUNNERS = "/apis/ci.example.com/v1/namespaces/pay/runners"


@pytest.fixture(scope="module")
def kinds(cluster: WatchedCluster, namespace: None) -> Iterator[None]:
    """Two kinds of custom resources: one like Argo's Rollout, one whose controller makes pods itself."""
    for group, version, kind in (("argoproj.io", "v1alpha1", "Rollout"), ("ci.example.com", "v1", "Runner")):
        plural = f"{kind.lower()}s"
        loose = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        spec = {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": plural, "singular": kind.lower(), "kind": kind},
            "versions": [{"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": loose}}],
        }
        made = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "spec": spec}
        assert ask(cluster, "POST", CRDS, {**made, "metadata": {"name": f"{plural}.{group}"}}).code == 201
    deadline = time.monotonic() + 30
    while any(_refused(cluster, path) for path in (ROLLOUTS, RUNNERS)):
        assert time.monotonic() < deadline, "the API server never served them"
        time.sleep(0.2)
    yield
    for name in ("rollouts.argoproj.io", "runners.ci.example.com"):
        ask(cluster, "DELETE", f"{CRDS}/{name}")


def _refused(cluster: WatchedCluster, path: str) -> bool:
    return ask(cluster, "GET", path).code != 200


def owned(name: str, image: str, owner: dict[str, Any], **labels: str) -> dict[str, Any]:
    item = bare(pod(name, image))
    metadata = {**item["metadata"], "labels": labels, "ownerReferences": [{"controller": True, **owner}]}
    return {**item, "metadata": metadata}


def reference(said: Said) -> dict[str, Any]:
    """To an object that was made."""
    body = said.body
    return {
        "apiVersion": body["apiVersion"], "kind": body["kind"],
        "name": body["metadata"]["name"], "uid": body["metadata"]["uid"],
    }  # fmt: skip


def rollout(cluster: WatchedCluster, name: str, image: str) -> Said:
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "app", "image": image}]}}
    body = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": name}}
    return ask(cluster, "POST", ROLLOUTS, {**body, "spec": {"template": template, "strategy": {"canary": {}}}})


def replica_set(cluster: WatchedCluster, of_: Said, image: str) -> Said:
    """What Argo's controller makes of a rollout: a ReplicaSet that it owns, labelled with its own hash."""
    name = of_.body["metadata"]["name"]
    labels = {"app": name, "rollouts-pod-template-hash": HASH}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "app", "image": image}]}}
    metadata = {
        "name": f"{name}-{HASH}", "labels": labels, "ownerReferences": [{**reference(of_), "controller": True}],
    }  # fmt: skip
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}
    return ask(cluster, "POST", "/apis/apps/v1/namespaces/pay/replicasets", {"metadata": metadata, "spec": spec})


@pytest.mark.usefixtures("kinds")
def test_pods_of_a_rollout_are_judged_as_the_rollout_s(cluster: WatchedCluster, world: WebhookWorld) -> None:
    """Nobody asks about the custom resource, whose form only its controller knows; its pods do not get past."""
    with world.started(mode="enforce") as running, Hook(cluster, world, running, mode="enforce"):
        for name, image, code in (("argo-good", SIGNED, 201), ("argo-bad", UNSIGNED, 403)):
            made = rollout(cluster, name, image)
            assert made.code == 201, made
            replicas = replica_set(cluster, made, image)
            assert replicas.code == 201, replicas
            labels = {"app": name, "rollouts-pod-template-hash": HASH}
            said = create(cluster, owned(f"{name}-{HASH}-x7k2p", image, reference(replicas), **labels))
            assert said.code == code, said
            (decision,) = of(world, f"{name}-{HASH}-x7k2p")
            assert decision.owner == Owner("Rollout", name)
        names = {d.name for d in world.decisions()}
        assert not names & {"argo-good", "argo-bad", f"argo-good-{HASH}", f"argo-bad-{HASH}"}


@pytest.mark.usefixtures("kinds")
def test_pods_that_a_custom_resource_owns_are_its_own(cluster: WatchedCluster, world: WebhookWorld) -> None:
    with world.started(mode="enforce") as running, Hook(cluster, world, running, mode="enforce"):
        body = {"apiVersion": "ci.example.com/v1", "kind": "Runner", "metadata": {"name": "linux"}}
        runner = ask(cluster, "POST", RUNNERS, {**body, "spec": {"anything": [1, {"image": UNSIGNED}]}})
        assert runner.code == 201
        assert create(cluster, owned("linux-1", SIGNED, reference(runner))).code == 201
        said = create(cluster, owned("linux-2", UNSIGNED, reference(runner)))
        assert (said.code, "unsigned" in said.message) == (403, True)
        assert {of(world, name)[0].owner for name in ("linux-1", "linux-2")} == {Owner("Runner", "linux")}
