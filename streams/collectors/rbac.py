"""What watchers may do in a cluster: the least that they need, each rule with its reason. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

NAME: Final = "revet-pods"


class Rule(NamedTuple):
    """One rule, and why."""

    group: str
    resource: str
    """One, or several with `, ` between."""
    verbs: tuple[str, ...]
    why: str
    names: tuple[str, ...] = ()


PODS: Final = Rule(
    "", "pods", ("list", "watch"),
    "What runs, in every namespace. Not `get`: no pod is ever asked for by name. Nothing of it can be written, and"
    " secrets, configuration, logs and exec stay out of reach.",
)  # fmt: skip
IDENTITY: Final = Rule(
    "", "namespaces", ("get",),
    "The UID of this one namespace tells one cluster from another that was made anew behind the same address. Without"
    " it the watcher works, and cannot tell.",
    ("kube-system",),
)  # fmt: skip
NAMESPACES: Final = Rule(
    "", "namespaces", ("list", "watch"),
    "Labels and a few annotations of namespaces say whose they are. Not needed with `pods.namespaces_seconds: 0`.",
)  # fmt: skip
LEASE: Final = Rule(
    "coordination.k8s.io", "leases", ("get", "update"),
    "Of several watchers one reads. Only this lease.",
)  # fmt: skip
LEASE_MADE: Final = Rule(
    "coordination.k8s.io", "leases", ("create",),
    "The lease is made when it is not there yet. Kubernetes cannot limit `create` to a name; in this namespace only.",
)  # fmt: skip


REPORTS: Final = "revet-reports"
POLICY_REPORTS: Final = Rule(
    "wgpolicyk8s.io", "policyreports, clusterpolicyreports", ("list", "watch"),
    "What Kyverno, Kubewarden, Trivy and others say of what runs. Harmless where the cluster has no such resources.",
)  # fmt: skip
OPEN_REPORTS: Final = Rule(
    "openreports.io", "reports, clusterreports", ("list", "watch"),
    "The same in its newer form. Nothing of either can be written, and no other resource can be read.",
)  # fmt: skip


def reports_manifest(account: tuple[str, str]) -> str:
    """YAML for `kubectl apply`. `account`: (namespace, name) of a service account."""
    documents = [
        _role("ClusterRole", REPORTS, "", (POLICY_REPORTS, OPEN_REPORTS)),
        _binding("ClusterRoleBinding", "ClusterRole", REPORTS, "", account),
    ]
    return "---\n".join(documents)


def manifest(account: tuple[str, str], lease: tuple[str, str] | None) -> str:
    """YAML for `kubectl apply`. `account`: (namespace, name) of a service account; `lease`: the same of a Lease."""
    documents = [
        _role("ClusterRole", NAME, "", (PODS, NAMESPACES, IDENTITY)),
        _binding("ClusterRoleBinding", "ClusterRole", NAME, "", account),
    ]
    if lease is not None:
        namespace, name = lease
        rules = (LEASE._replace(names=(name,)), LEASE_MADE)
        documents += [
            _role("Role", name, namespace, rules),
            _binding("RoleBinding", "Role", name, namespace, account),
        ]
    return "---\n".join(documents)


def _role(kind: str, name: str, namespace: str, rules: tuple[Rule, ...]) -> str:
    lines = [*_head(kind, name, namespace), "rules:"]
    for rule in rules:
        lines += [f"  # {line}" for line in _wrapped(rule.why)]
        resources = ", ".join(f'"{one}"' for one in rule.resource.split(", "))
        lines += [f'  - apiGroups: ["{rule.group}"]', f"    resources: [{resources}]"]
        if rule.names:
            lines.append(f"    resourceNames: [{', '.join(rule.names)}]")
        lines.append(f"    verbs: [{', '.join(rule.verbs)}]")
    return "\n".join(lines) + "\n"


def _binding(kind: str, role: str, name: str, namespace: str, account: tuple[str, str]) -> str:
    lines = [
        *_head(kind, name, namespace),
        "roleRef:",
        "  apiGroup: rbac.authorization.k8s.io",
        f"  kind: {role}",
        f"  name: {name}",
        "subjects:",
        "  - kind: ServiceAccount",
        f"    namespace: {account[0]}",
        f"    name: {account[1]}",
    ]
    return "\n".join(lines) + "\n"


def _head(kind: str, name: str, namespace: str) -> list[str]:
    lines = ["apiVersion: rbac.authorization.k8s.io/v1", f"kind: {kind}", "metadata:", f"  name: {name}"]
    return [*lines, f"  namespace: {namespace}"] if namespace else lines


WIDTH: Final = 110


def _wrapped(text: str) -> list[str]:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) > WIDTH:
            lines.append("")
        lines[-1] += f"{' ' if lines[-1] else ''}{word}"
    return lines
