"""What the tests of importers share: keys, certificates, and how a requirement reads with its attestors filled in."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from verifier.models import Scope
from verifier.policy.importers.formats import importer
from verifier.policy.importers.notes import ImportResult
from verifier.policy.model import Policy, Requirement
from verifier.policy.selection import compile_policy
from verifier.reference import parse_reference

DIGEST = "sha256:" + "a" * 64


def public_key(number: int) -> str:
    key = ec.derive_private_key(number, ec.SECP256R1()).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def certificate(number: int = 31, name: str = "root") -> str:
    """A self-signed CA certificate in PEM."""
    key = ec.derive_private_key(number, ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    start = datetime(2026, 1, 1, tzinfo=UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(number)
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


A, B, C = public_key(11), public_key(12), public_key(13)
CA = certificate()
LETTERS = {A: "A", B: "B", C: "C"}


def read(name: str, *texts: str, **options: object) -> Any:
    return importer(name)([(f"f{number}.yaml", text) for number, text in enumerate(texts, start=1)], **options)


def tree(policy: Policy, node: Requirement | None = None) -> Any:
    """The requirement: keys as A, B, C, other signers by the name of their attestor."""
    node = policy.require if node is None else node
    if node.denied is not None:
        return f"denied: {node.denied}"
    if node.attestor:
        keys = policy.attestors[node.attestor].keys
        found = "+".join(LETTERS.get(key, key) for key in keys) if keys else node.attestor
        return found if node.signed_by else f"{node.predicate_type} by {found}"
    children = [tree(policy, child) for child in node.children]
    if node.at_least:
        return (f"{node.at_least.count} of", *children)
    return ("all" if node.all else "any", *children)


def trees(result: ImportResult) -> dict[str, Any]:
    return {policy.id: tree(policy) for policy in result.policies}


def governing(
    result: ImportResult, image: str, namespace: str = "", labels: Mapping[str, str] | None = None
) -> list[str]:
    """Ids of the policies that govern an image."""
    scope = Scope(parse_reference(image), namespace=namespace, labels=tuple(sorted((labels or {}).items())))
    return [policy.id for policy in result.policies if compile_policy(policy).governs(scope, DIGEST)]


def codes(result: ImportResult, severity: str = "") -> list[str]:
    return [note.code for note in result.notes if not severity or note.severity == severity]
