"""Kinds of reports on a real API server: their definitions, and reports in them.

define(cluster, "wgpolicyk8s.io", "v1alpha2", "policyreports", "PolicyReport")
put(cluster, "wgpolicyk8s.io", "v1alpha2", "policyreports", report("api-1", fail("signed")))
"""

import time
import urllib.error
from typing import Any

from tests.helpers.watchedcluster import WatchedCluster

KINDS = {
    "policyreports": ("wgpolicyk8s.io", "v1alpha2", "PolicyReport"),
    "clusterpolicyreports": ("wgpolicyk8s.io", "v1alpha2", "ClusterPolicyReport"),
    "reports": ("openreports.io", "v1alpha1", "Report"),
    "clusterreports": ("openreports.io", "v1alpha1", "ClusterReport"),
}
"""Plural -> group, version, kind; as the projects' own definitions have them."""
READY_SECONDS = 30


def place(plural: str) -> str:
    group, version, _ = KINDS[plural]
    return f"/apis/{group}/{version}/" + ("" if plural.startswith("cluster") else "namespaces/default/") + plural


def define(cluster: WatchedCluster, plural: str) -> None:
    """The API server serves this kind when this returns."""
    group, version, kind = KINDS[plural]
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    spec = {
        "group": group,
        "scope": "Cluster" if plural.startswith("cluster") else "Namespaced",
        "names": {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List"},
        "versions": [{"name": version, "served": True, "storage": True, "schema": schema}],
    }
    head = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}
    body = {**head, "metadata": {"name": f"{plural}.{group}"}, "spec": spec}
    cluster.ask("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", body)
    served(cluster, plural)


def served(cluster: WatchedCluster, plural: str) -> None:
    """Wait until the API server serves this kind, also after it was started anew."""
    end = time.monotonic() + READY_SECONDS
    while True:
        try:
            cluster.ask("GET", place(plural))
        except urllib.error.HTTPError:
            assert time.monotonic() < end
            time.sleep(0.2)
        else:
            return


def result(policy: str, says: str, seconds: int = 1_795_200_000) -> dict[str, Any]:
    stamp = {"seconds": seconds, "nanos": 0}
    return {"policy": policy, "rule": "check", "result": says, "source": "kyverno", "timestamp": stamp, "message": says}


def put(cluster: WatchedCluster, plural: str, name: str, *results: dict[str, Any]) -> None:
    """Make the report of an object of this name, or write it anew."""
    group, version, kind = KINDS[plural]
    scope = {"kind": "Pod", "namespace": "default", "name": name, "uid": f"uid-{name}"}
    body = {"apiVersion": f"{group}/{version}", "kind": kind, "metadata": {"name": name}, "scope": scope}
    try:
        old = cluster.ask("GET", f"{place(plural)}/{name}")
    except urllib.error.HTTPError:
        cluster.ask("POST", place(plural), {**body, "results": list(results)})
    else:
        cluster.ask("PUT", f"{place(plural)}/{name}", {**body, "metadata": old["metadata"], "results": list(results)})


def drop(cluster: WatchedCluster, plural: str, name: str) -> None:
    cluster.ask("DELETE", f"{place(plural)}/{name}")
