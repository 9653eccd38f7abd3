"""`deploy/`: rendered by Kustomize, taken by a real API server, restricted as the namespace says, with the rights that
revet itself prints; and the settings in it are settings.
"""

import copy
import subprocess
import time
import urllib.error
from pathlib import Path

import pytest
import yaml
from click import Command, Context, Group

from streams.cli import cli
from streams.collectors.rbac import manifest, reports_manifest
from streams.settings import Settings, load_settings
from tests.helpers.process import ROOT
from tests.helpers.watchedcluster import WatchedCluster
from tests.integration.test_list_pods_kube import cluster

__all__ = ["cluster"]

DEPLOY = ROOT / "deploy"
PARTS = ("hub", "spoke", "examples/prod-eu")
SETTINGS = sorted(DEPLOY.rglob("revet.yaml"))
POD_OF = {"Deployment", "StatefulSet", "Job"}
WATCHERS = {"Deployment revet-pods", "Deployment revet-reports"}
"""What asks the API server for something."""
ACCOUNT = "system:serviceaccount:revet:{}"


def rendered(kubectl: Path, part: str) -> list[dict]:
    done = subprocess.run([kubectl, "kustomize", DEPLOY / part], capture_output=True, text=True, check=True)
    return list(yaml.safe_load_all(done.stdout))


@pytest.fixture(scope="module", params=PARTS)
def objects(request, require):
    return rendered(require("kube") / "kubectl", request.param)


@pytest.fixture(scope="module")
def installed(cluster, tmp_path_factory) -> WatchedCluster:
    """A cluster that has everything of `deploy/`."""
    for part in PARTS:
        for one in rendered(cluster.tools / "kubectl", part):
            put(cluster, one)
    return cluster


PATHS = {
    "Namespace": ("/api/v1", "namespaces"), "ConfigMap": ("/api/v1", "configmaps"), "Service": ("/api/v1", "services"),
    "ServiceAccount": ("/api/v1", "serviceaccounts"), "Deployment": ("/apis/apps/v1", "deployments"),
    "StatefulSet": ("/apis/apps/v1", "statefulsets"), "Job": ("/apis/batch/v1", "jobs"),
    "NetworkPolicy": ("/apis/networking.k8s.io/v1", "networkpolicies"),
    "PodDisruptionBudget": ("/apis/policy/v1", "poddisruptionbudgets"),
    "ClusterRole": ("/apis/rbac.authorization.k8s.io/v1", "clusterroles"),
    "ClusterRoleBinding": ("/apis/rbac.authorization.k8s.io/v1", "clusterrolebindings"),
    "Role": ("/apis/rbac.authorization.k8s.io/v1", "roles"),
    "RoleBinding": ("/apis/rbac.authorization.k8s.io/v1", "rolebindings"),
}  # fmt: skip


def put(cluster: WatchedCluster, one: dict) -> dict:
    """Server-side apply, unknown fields refused."""
    group, plural = PATHS[one["kind"]]
    space = f"/namespaces/{one['metadata']['namespace']}" if "namespace" in one["metadata"] else ""
    path = f"{group}{space}/{plural}/{one['metadata']['name']}?fieldManager=test&force=true&fieldValidation=Strict"
    try:
        return cluster.ask("PATCH", path, one, "application/apply-patch+yaml")
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{one['kind']} {one['metadata']['name']}: {error.read().decode()}") from error


def templates(objects: list[dict]) -> dict[str, dict]:
    return {
        f"{one['kind']} {one['metadata']['name']}": one["spec"]["template"] for one in objects if one["kind"] in POD_OF
    }


def claims(objects: list[dict]) -> dict[str, set[str]]:
    """Volumes that a stateful set claims."""
    return {
        f"{one['kind']} {one['metadata']['name']}": {c["metadata"]["name"] for c in one["spec"]["volumeClaimTemplates"]}
        for one in objects
        if "volumeClaimTemplates" in one.get("spec", {})
    }


def as_pod(template: dict) -> dict:
    """A claim's volume is added by the controller of stateful sets; here it is an empty one."""
    spec = copy.deepcopy(template["spec"])
    here = {volume["name"] for volume in spec["volumes"]}
    claims = {m["name"] for m in spec["containers"][0]["volumeMounts"]} - here
    spec["volumes"] += [{"name": name, "emptyDir": {}} for name in sorted(claims)]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "tried", "namespace": "revet"}, "spec": spec}


def try_pod(cluster: WatchedCluster, pod: dict) -> int:
    try:
        cluster.ask("POST", "/api/v1/namespaces/revet/pods?dryRun=All&fieldValidation=Strict", pod)
    except urllib.error.HTTPError as error:
        return error.code
    return 201


def test_the_namespace_admits_every_pod_and_nothing_weaker(installed, objects):
    """Pod Security `restricted` is enforced by the API server; a weaker pod is turned away, so the check can fail."""
    found = templates(objects)
    assert len(found) >= 2
    for name, template in found.items():
        assert try_pod(installed, as_pod(template)) == 201, name
        weaker = as_pod(template)
        weaker["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
        assert try_pod(installed, weaker) == 403, name


def test_every_process_is_a_command_and_runs_with_nothing_it_does_not_need(objects):
    claimed = claims(objects)
    for name, template in templates(objects).items():
        (container,) = template["spec"]["containers"]
        command: Command | None = cli
        for word in container["args"]:
            assert isinstance(command, Group), name
            command = command.get_command(Context(command), word)
        assert command is not None, name
        assert container["securityContext"]["readOnlyRootFilesystem"] is True, name
        assert template["spec"]["securityContext"]["runAsNonRoot"] is True, name
        assert container["resources"]["limits"].keys() == {"memory"}, name
        assert template["spec"].get("automountServiceAccountToken", False) is (name in WATCHERS), name
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in template["spec"]["volumes"]} | claimed.get(name, set()), name


def test_every_pod_is_named_by_a_policy_that_closes_it(objects):
    closed = [o for o in objects if o["kind"] == "NetworkPolicy" and o["metadata"]["name"] == "revet-closed"]
    (policy,) = closed
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    wanted = policy["spec"]["podSelector"]["matchLabels"].items()
    for name, template in templates(objects).items():
        assert wanted <= template["metadata"]["labels"].items(), name
    named = {
        o["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/name"] for o in objects if o["kind"] in POD_OF
    }
    for one in objects:
        if one["kind"] in ("Service", "PodDisruptionBudget"):
            selector = one["spec"]["selector"]
            assert selector.get("matchLabels", selector)["app.kubernetes.io/name"] in named, one["metadata"]["name"]


@pytest.mark.parametrize("file", SETTINGS, ids=[str(f.relative_to(DEPLOY).parent) for f in SETTINGS])
def test_settings_are_settings_and_their_secrets_are_mounted(file, require):
    settings = load_settings(file, {}, {})
    assert isinstance(settings, Settings)
    assert settings.serve.operations.endswith(":9890"), "the port that probes ask"
    objects = rendered(require("kube") / "kubectl", str(file.parent.relative_to(DEPLOY)))
    mounted = {
        mount["mountPath"] for t in templates(objects).values() for mount in t["spec"]["containers"][0]["volumeMounts"]
    }
    files = [str(value) for value in yaml_values(yaml.safe_load(file.read_text())) if str(value).startswith("/")]
    assert files
    assert [name for name in files if str(Path(name).parent) not in mounted] == []
    (told,) = [o for o in objects if o["kind"] == "ConfigMap"]
    assert yaml.safe_load(told["data"]["revet.yaml"]) == yaml.safe_load(file.read_text())


def yaml_values(tree: object) -> list[object]:
    if isinstance(tree, dict):
        return [found for value in tree.values() for found in yaml_values(value)]
    if isinstance(tree, list):
        return [found for value in tree for found in yaml_values(value)]
    return [tree]


def may(cluster: WatchedCluster, account: str, verb: str, resource: str, namespace: str = "", name: str = "") -> bool:
    """Has a service account of revet's own namespace the right? `resource`: with its group behind a dot."""
    plural, _, group = resource.partition(".")
    asked = {"verb": verb, "resource": plural, "namespace": namespace, "group": group, "name": name}
    review = {
        "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": {"user": ACCOUNT.format(account), "resourceAttributes": asked},
    }  # fmt: skip
    said = cluster.ask("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    allowed: bool = said["status"]["allowed"]
    return allowed


def of_file(*parts: str) -> list[dict]:
    return list(yaml.safe_load_all(DEPLOY.joinpath(*parts).read_text()))


LEASES = "leases.coordination.k8s.io"


def test_the_watcher_may_do_what_is_printed_and_nothing_else(installed):
    printed = list(yaml.safe_load_all(manifest(("revet", "revet-pods"), ("revet", "revet-pods"))))
    assert of_file("spoke", "rbac.yaml") == printed
    assert may(installed, "revet-pods", "watch", "pods")
    assert may(installed, "revet-pods", "list", "namespaces")
    assert may(installed, "revet-pods", "update", LEASES, "revet", "revet-pods")
    assert not may(installed, "revet-pods", "list", "secrets")
    assert not may(installed, "revet-pods", "create", "pods", "revet")
    assert not may(installed, "revet-pods", "get", "pods", "kube-system")
    assert not may(installed, "revet-pods", "update", LEASES, "kube-system", "kube-scheduler")


def test_whoever_reads_reports_may_read_nothing_else(installed):
    printed = list(yaml.safe_load_all(reports_manifest(("revet", "revet-reports"))))
    assert of_file("reports", "rbac.yaml") == printed
    assert may(installed, "revet-reports", "watch", "policyreports.wgpolicyk8s.io")
    assert may(installed, "revet-reports", "list", "clusterreports.openreports.io")
    for verb, resource in (
        ("list", "pods"), ("get", "secrets"), ("list", "namespaces"), ("update", "policyreports.wgpolicyk8s.io"),
    ):  # fmt: skip
        assert not may(installed, "revet-reports", verb, resource), (verb, resource)
    assert not may(installed, "revet-pods", "list", "policyreports.wgpolicyk8s.io"), "each has its own"


def test_pull_secrets_are_read_only_where_somebody_said_so(installed):
    """The example of one namespace: by default nobody may read any Secret."""
    assert not may(installed, "revet-fetch", "get", "secrets", "payments", "regcred")
    put(installed, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "payments"}})
    for one in of_file("examples", "pull-secrets.yaml"):
        put(installed, one)
    deadline = time.monotonic() + 30
    while not may(installed, "revet-fetch", "get", "secrets", "payments", "regcred"):
        assert time.monotonic() < deadline, "the API server learns of it within moments"
        time.sleep(0.1)
    assert may(installed, "revet-fetch", "list", "serviceaccounts", "payments")
    for verb, namespace, name in (
        ("get", "payments", "other"), ("list", "payments", ""), ("watch", "payments", ""), ("get", "shop", "regcred"),
        ("list", "", ""),
    ):  # fmt: skip
        assert not may(installed, "revet-fetch", verb, "secrets", namespace, name), (verb, namespace, name)


def test_every_part_of_a_cluster_says_that_it_is_of_the_cluster_by_its_id():
    """Under another word nobody would find the name, the labels and the declared feeds of the enrolment."""
    settings = load_settings(DEPLOY / "examples" / "prod-eu" / "revet.yaml", {}, {})
    named = [settings.cluster, *(place.name for place in settings.pods.places() + settings.reports.places())]
    named += [sender.cluster for sender in settings.listen.senders]
    named += [s.cluster for s in load_settings(DEPLOY / "hub" / "revet.yaml", {}, {}).listen.senders]
    (enrolled,) = set(named)
    assert f"revet cluster enroll prod-eu --id {enrolled}" in (ROOT / "docs" / "install.md").read_text()


def test_one_more_cluster_is_two_files():
    assert {file.name for file in (DEPLOY / "examples" / "prod-eu").iterdir()} == {"kustomization.yaml", "revet.yaml"}


def test_only_the_ledger_has_the_key_that_signs(require):
    """Whoever holds it can sign another history: no other process sees it."""
    hub = rendered(require("kube") / "kubectl", "hub")
    holders = {
        name
        for name, template in templates(hub).items()
        if any(v.get("secret", {}).get("secretName") == "revet-ledger" for v in template["spec"]["volumes"])
    }
    assert holders == {"StatefulSet revet-ledger"}
    policies = {
        o["metadata"]["name"]: o["spec"]
        for o in hub
        if o["kind"] == "NetworkPolicy" and "revet-ledger" in str(o["spec"]["podSelector"])
    }
    assert policies.keys() == {"revet-record"}, "it speaks to Kafka and Elasticsearch, and to nobody else"
