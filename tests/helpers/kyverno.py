"""Kyverno's policies as tests write them, and how the requirements that come of them read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from tests.helpers.imports import A, B, C
from verifier.models import ImageReference, Scope
from verifier.policy.importers.kyverno import import_kyverno
from verifier.policy.importers.notes import WeakeningImport
from verifier.policy.selection import compile_policy

H = "sha256:" + "a" * 64


def chain():
    """A leaf made by a root: (PEM, PEM)."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    pems = []
    for number, name, ca in ((22, "root", True), (21, "leaf", False)):
        key = ec.derive_private_key(number, ec.SECP256R1()).public_key()
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "root")]))
            .public_key(key)
            .serial_number(number)
            .not_valid_before(start)
            .not_valid_after(start + timedelta(days=3650))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        signed = builder.sign(ec.derive_private_key(22, ec.SECP256R1()), hashes.SHA256())
        pems.append(signed.public_bytes(Encoding.PEM).decode())
    return pems[1], pems[0]


NO_LOG = {"ignoreTlog": True, "url": ""}


def keys(pem, **more):
    return {"keys": {"publicKeys": pem, "rekor": NO_LOG}, **more}


def block(*entries, count=None, **more):
    attestors = [{"entries": list(entries)} | ({} if count is None else {"count": count})]
    return {"imageReferences": ["registry.example.com/*"], "attestors": attestors} | more


def cluster_policy(*blocks, name="signed", kind="ClusterPolicy", spec=None, metadata=None, **rule):
    match = {"any": [{"resources": {"kinds": ["Pod"], "namespaces": ["payments"]}}]}
    first = {"name": "check", "match": match, "verifyImages": list(blocks)} | rule
    return {
        "apiVersion": "kyverno.io/v1",
        "kind": kind,
        "metadata": {"name": name} | (metadata or {}),
        "spec": {"rules": [first]} | (spec or {}),
    }


def exception(*filters, name="legacy", policy="signed", rules=("check",), **spec):
    body = {"exceptions": [{"policyName": policy, "ruleNames": list(rules)}], "match": {"any": list(filters)}} | spec
    metadata = {"name": name, "namespace": "exceptions"}
    return {"apiVersion": "kyverno.io/v2", "kind": "PolicyException", "metadata": metadata, "spec": body}


def run(*documents, **options) -> Any:
    return import_kyverno([("k.yaml", yaml.safe_dump_all(documents))], **options)


def tree(require, policy):
    """A requirement with the attestors' generated names replaced by A, B, C, and by the name of a key elsewhere."""
    names = {pem: letter for letter, pem in (("A", A), ("B", B), ("C", C))}
    if require.attestor:
        attestor = policy.attestors[require.attestor]
        found = names.get(attestor.keys[0], attestor.keys[0]) if attestor.keys else require.attestor
        return found if require.signed_by else f"{require.predicate_type} by {found}"
    children = [tree(child, policy) for child in require.children]
    if require.at_least:
        return (f"{require.at_least.count} of", *children)
    return ("all" if require.all else "any", *children)


def signatures(result):
    assert len(result.policies) == 1
    return tree(result.policies[0].require, result.policies[0])


def weakened(document, **options):
    with pytest.raises(WeakeningImport) as caught:
        run(document, **options)
    return caught.value.codes


def scope(image="registry.example.com/a/b:1", namespace="payments", **labels):
    repository, _, tag = image.rpartition(":")
    registry, _, path = repository.partition("/")
    return Scope(ImageReference(registry, path, tag), namespace=namespace, labels=tuple(sorted(labels.items())))


def governs(document, where, **options):
    return any(compile_policy(p).governs(where, H) for p in run(document, **options).policies)


def resources(**members):
    return {"resources": {"kinds": ["Pod"]} | members}
