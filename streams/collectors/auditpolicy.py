"""What an API server has to be told so that revet gets what it reads, and no more: audit policy, webhook kubeconfig.

    print(audit_policy())                    --audit-policy-file
    print(webhook_kubeconfig(url, ...))      --audit-webhook-config-file

The lists of resources are those the reader has (`streams.collectors.audit`), so policy and reader cannot drift apart.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from streams.collectors.audit import CONFIGURATION, OPERATIONS, WORKLOADS

API_VERSION: Final = "audit.k8s.io/v1"
CHANGES: Final = tuple(OPERATIONS)
"""Verbs that store something."""
OLD_GROUPS: Final = frozenset({"extensions"})
"""Groups that no server has any more that reads this version of the policy."""
FLAGS: Final = (
    "--audit-policy-file=POLICY --audit-webhook-config-file=KUBECONFIG",
    "--audit-webhook-batch-max-wait=1s --audit-webhook-truncate-enabled=true",
    "--audit-webhook-truncate-max-event-size=2097152 --audit-webhook-truncate-max-batch-size=33554432",
)
"""Flags of kube-apiserver: a decision is there after a second in place of thirty, and what is too large comes cut in
place of not at all."""


class Rule(NamedTuple):
    """One rule of the policy."""

    level: str
    why: str
    verbs: Sequence[str] = ()
    resources: Sequence[tuple[str, Sequence[str]]] = ()
    """(API group, resources; none: all of the group)."""


def _workloads() -> Iterator[tuple[str, Sequence[str]]]:
    groups: dict[str, list[str]] = {}
    for group, resource in WORKLOADS:
        if group not in OLD_GROUPS:
            groups.setdefault(group, []).append(resource)
    for group, resources in groups.items():
        # A rule for pods does not match their parts: without its own entry `kubectl debug` is invisible.
        yield group, [*resources, "pods/ephemeralcontainers"] if "pods" in resources else resources


def _configuration() -> Iterator[tuple[str, Sequence[str]]]:
    yield from ((group, sorted(resources or ())) for group, resources in sorted(CONFIGURATION.items()))


def rules() -> tuple[Rule, ...]:
    """The rules in order: of those that match a request the first one counts."""
    return (
        Rule(
            "None",
            "Reading changes nothing, and is most of what an API server does.",
            ("get", "list", "watch"),
        ),
        Rule(
            "None",
            "Leases and events are signs of life, many per second, without an image in them.",
            (),
            (("coordination.k8s.io", ["leases"]), ("", ["events"]), ("events.k8s.io", ["events"])),
        ),
        Rule(
            "RequestResponse",
            "What is to run, and what admission said. Metadata is not enough: it has no image of a pod, not the new"
            " image of a patch, and no trace of a bypass by a webhook's match conditions, which only a label in the"
            " object tells. The request alone is not enough either: digests that a mutating webhook pinned, and the"
            " name and UID of a controller's pod, stand in the response. pods/ephemeralcontainers needs its own entry,"
            " or kubectl debug is invisible.",
            CHANGES,
            tuple(_workloads()),
        ),
        Rule(
            "RequestResponse",
            "A label can take a namespace out of verification (policy.sigstore.dev/include and the like), and says"
            " whose it is. Only the change of the namespace tells; the next bad pod looks like any other.",
            CHANGES,
            (("", ["namespaces"]),),
        ),
        Rule(
            "Metadata",
            "Who changed what admission asks for: webhooks, policies, bindings, exceptions. Their content is not read.",
            CHANGES,
            tuple(_configuration()),
        ),
        Rule("None", "Everything else: secrets, config maps, status reports. revet has no use for it."),
    )


def audit_policy() -> str:
    """The policy as YAML, with the reason of each rule above it."""
    lines = [
        "# Audit policy for revet. Of the rules that match a request the first one counts; if yours are to stay,",
        "# put these before them. Flags of kube-apiserver that belong to it:",
        *(f"#   {flags}" for flags in FLAGS),
        f"apiVersion: {API_VERSION}",
        "kind: Policy",
        "# Nothing is known before the response; the first stage would only double the events.",
        "omitStages: [RequestReceived]",
        "# Who owns which field is half of an object, and not read.",
        "omitManagedFields: true",
        "rules:",
    ]
    for rule in rules():
        lines += _rule(rule)
    return "\n".join(lines) + "\n"


def _rule(rule: Rule) -> Iterator[str]:
    yield from _comment(rule.why)
    yield f"  - level: {rule.level}"
    if rule.verbs:
        yield f"    verbs: {_flow(rule.verbs)}"
    if rule.resources:
        yield "    resources:"
        for group, resources in rule.resources:
            yield f"      - group: {json.dumps(group)}" + (
                f"\n        resources: {_flow(resources)}" if resources else ""
            )


def _comment(text: str) -> Iterator[str]:
    yield from (f"  # {line}" for line in textwrap.wrap(text, 112))


def _flow(values: Iterable[str]) -> str:
    return f"[{', '.join(values)}]"


def webhook_kubeconfig(url: str, *, ca_file: str = "", certificate_file: str = "", key_file: str = "") -> str:
    """The kubeconfig for `--audit-webhook-config-file`. Paths are those of the API server's machine.

    Args:
        url: of the receiver, path included.
        ca_file: CA of the receiver's certificate; empty: one the machine believes anyhow, or no TLS.
        certificate_file: the API server's client certificate; empty: it shows a token.
        key_file: key of that certificate.
    """
    cluster = {"server": url} | ({"certificate-authority": ca_file} if ca_file else {})
    user = (
        {"client-certificate": certificate_file, "client-key": key_file}
        if certificate_file
        else {"token": "PUT-THE-TOKEN-OF-listen.senders-HERE"}
    )
    lines = ["apiVersion: v1", "kind: Config"]
    for kind, name, body in (("clusters", "revet", {"cluster": cluster}), ("users", "apiserver", {"user": user})):
        lines += [f"{kind}:", f"  - name: {name}"]
        lines += [f"    {part}: {json.dumps(values)}" for part, values in body.items()]
    lines += [
        "contexts:",
        "  - name: revet",
        "    context: {cluster: revet, user: apiserver}",
        "current-context: revet",
    ]
    return "\n".join(lines) + "\n"
