"""The ValidatingWebhookConfiguration to install, as YAML with the reason of each choice beside it. Pure.

text = webhook_configuration(settings, ca_bundle)
"""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Final

from streams.admission.judging import MIRROR_PODS, SYSTEM
from streams.collectors.admission import MIRROR
from streams.settings.admission import AdmissionSettings, service_parts
from verifier.errors import InputError

_HEAD: Final = """\
# Printed by `revet serve admission --print-webhook`; the settings `admission.*` decide what is in it.
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata:
  name: {name}
webhooks:
  - name: {name}
    admissionReviewVersions: [v1]
    # Nothing is changed in the cluster. Decisions are recorded, those of a dry run as what they are.
    sideEffects: NoneOnDryRun
    # Also objects that come in by another version of their API are converted and asked about.
    matchPolicy: Equivalent
    # {failure}
    failurePolicy: {failure_policy}
    # Longer than revet's budget of {budget:g} s, which answers `unverifiable: budget` before the API server gives up.
    timeoutSeconds: {timeout}
"""

_FAILURES: Final = {
    "Ignore": "Without an answer the request goes on, and the audit event says failed-open: no outage of revet stops"
    " a cluster.",
    "Fail": "Without an answer the request is refused: an outage of revet stops new pods in every namespace below.",
}

_RULES: Final = """\
    # What brings images in. Pods are what runs; templates are told of before any pod is made of them.
    rules:
      - operations: [CREATE, UPDATE]
        apiGroups: [""]
        apiVersions: [v1]
        resources: [pods, pods/ephemeralcontainers, replicationcontrollers]
        scope: Namespaced
      - operations: [CREATE, UPDATE]
        apiGroups: [apps]
        apiVersions: [v1]
        resources: [deployments, replicasets, statefulsets, daemonsets]
        scope: Namespaced
      - operations: [CREATE, UPDATE]
        apiGroups: [batch]
        apiVersions: [v1]
        resources: [jobs, cronjobs]
        scope: Namespaced
"""

_CONDITIONS: Final = """\
    # Asked in the API server, so that these requests do not wait for revet.
    matchConditions:
      # To refuse what is being deleted would keep it for ever.
      - name: is-not-being-deleted
        expression: "!has(object.metadata.deletionTimestamp)"
      # What a controller makes of a template was asked about as the template; pods are asked about in any case.
      - name: is-not-made-of-a-template
        expression: >-
          request.resource.resource == 'pods' || !has(object.metadata.ownerReferences) ||
          !object.metadata.ownerReferences.exists(o, has(o.controller) && o.controller)
"""

_NO_MIRROR: Final = f"""\
      # Kubelets make these of files of their node, and nobody can keep them from running. The mark is no way past
      # revet: a kubelet deletes a pod that has it and that it did not make.
      - name: is-no-mirror-pod
        expression: >-
          !has(object.metadata.annotations) || !('{MIRROR}' in object.metadata.annotations)
"""


def webhook_configuration(settings: AdmissionSettings, ca_bundle: bytes | None) -> str:
    """The configuration as a YAML document.

    Args:
        settings: names, modes and where the API server finds the webhook.
        ca_bundle: PEM certificates the API server checks ours with; None: those of its own system.

    Raises:
        InputError: neither a service nor a URL is named.
    """
    parts = [
        _HEAD.format(
            name=settings.webhook,
            failure=_FAILURES[settings.failure_policy],
            failure_policy=settings.failure_policy,
            budget=settings.budget_seconds,
            timeout=settings.timeout_seconds,
        ),
        _client(settings, ca_bundle),
        _RULES,
        _namespaces(settings),
        _CONDITIONS,
        "" if MIRROR_PODS in settings.in_scope else _NO_MIRROR,
    ]
    return "".join(parts)


def _client(settings: AdmissionSettings, ca_bundle: bytes | None) -> str:
    lines = ["    clientConfig:"]
    if settings.service:
        namespace, name, port = service_parts(settings.service)
        lines.append(f"      service: {{namespace: {namespace}, name: {name}, port: {port}, path: /admit}}")
    elif settings.url:
        lines.append(f"      url: {json.dumps(settings.url)}")
    else:
        example = "example: admission.service: revet/admission"
        raise InputError(f"admission.service or admission.url: where does the API server find the webhook? {example}")
    if ca_bundle is not None:
        lines.append(f"      caBundle: {b64encode(ca_bundle).decode()}")
    else:
        lines.append("      # No caBundle: admission.ca_file names none, so the API server asks its system's CAs.")
    return "\n".join(lines) + "\n"


def _namespaces(settings: AdmissionSettings) -> str:
    excluded = [n for n in dict.fromkeys((SYSTEM, settings.namespace)) if n not in settings.in_scope]
    if not excluded:
        return ""
    return (
        "    # The cluster's own namespace and revet's, by the label that the API server itself sets and guards: a\n"
        "    # cluster that cannot start its own parts cannot start revet either. To name one into scope:\n"
        "    # admission.in_scope.\n"
        "    namespaceSelector:\n"
        "      matchExpressions:\n"
        "        - key: kubernetes.io/metadata.name\n"
        "          operator: NotIn\n"
        f"          values: [{', '.join(excluded)}]\n"
    )
