"""Trust roots in PEM: CA files and the trust stores of the Notary Project, as authorities.

    ca_authorities(pem)                      one authority per self-signed root, with the intermediates below it
    store_authorities(pem, "notation")       one authority per certificate

What it refuses to do: take a certificate for an anchor that nobody meant as one (a leaf, an intermediate whose root is
missing while others are there), skip a block it cannot read, or repeat a private key that was pasted by mistake.
Whether a certificate is still valid is not asked: windows are judged at the time of a signature.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from verifier.errors import EvidenceError, TrustError
from verifier.evidence.base64text import decode_spaced_base64
from verifier.evidence.certificates import Certificate, load_certificate
from verifier.evidence.content import excerpt
from verifier.evidence.limits import CERTIFICATES
from verifier.evidence.material import Authority, AuthorityUse, authority_id

ROOT_CERTIFICATES: Final = 256
"""Certificates in one document. The list of a whole operating system has some 150."""

SAME_SUBJECT: Final = 10
"""Certificates of one subject in one document: each is tried as the issuer of whoever names it, so numbers multiply."""

INTERMEDIATE_LABEL: Final = "intermediate as anchor: "
"""How the label of an authority begins whose anchor is not self-signed: whoever sees the name sees that too."""

_BLOCK: Final = re.compile(r"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]*+)-----END CERTIFICATE-----", re.ASCII)
_LABEL: Final = re.compile(r"-----BEGIN ([^-\n]{0,64})", re.ASCII)


def load(der: bytes, where: str) -> Certificate:
    """The certificate in `der`.

    Raises:
        TrustError: what `load_certificate` refuses (too long, malformed, a weak or unknown algorithm), with `where`.
    """
    try:
        return load_certificate(der)
    except EvidenceError as error:
        raise TrustError(f"{where}: {error}") from error


def issued_by(certificate: Certificate, issuer: Certificate) -> bool:
    """Whether `issuer` is named as the issuer and its key made the signature. Windows and constraints are not asked."""
    return certificate.issuer_name == issuer.subject_name and certificate.signed_by(issuer)


def label_of(certificate: Certificate) -> str:
    """The subject for people, escaped and cut."""
    return excerpt(certificate.subject)[1:-1]


def ca_authorities(pem: str) -> tuple[Authority, ...]:
    """One authority of use `signing` per self-signed certificate: what chains to it, deepest first, and itself last.

    Without any self-signed certificate the topmost ones are anchors, and their label says so.

    Raises:
        TrustError: no certificate, one that is not a CA's, or one that leads to no anchor of the text.
    """
    certificates = _certificates(pem)
    for number, certificate in enumerate(certificates, start=1):
        if not certificate.usage.ca:
            raise TrustError(
                f"certificate {number} ({label_of(certificate)}): expected a CA certificate (basicConstraints), got "
                "one that may not issue others; to trust one signer, trust its key or its identity"
            )
    issuers = _issuers(certificates)
    roots = [n for n, above in enumerate(issuers) if n in above]
    anchors = roots or [n for n, above in enumerate(issuers) if not above]
    found = [_authority(certificates, issuers, anchor, intermediate=not roots) for anchor in anchors]
    _all_reached(certificates, found)
    return tuple(found)


def store_authorities(pem: str, use: AuthorityUse) -> tuple[Authority, ...]:
    """One authority per certificate of a trust store (Notary Project trust-store-trust-policy.md, "Trust Store").

    Raises:
        TrustError: no certificate, or one the specification keeps out: neither a CA's nor self-signed; for
            `timestamping` not a self-signed CA's.
    """
    found = []
    for number, certificate in enumerate(_certificates(pem), start=1):
        own, ca = issued_by(certificate, certificate), certificate.usage.ca
        if not (own and ca if use == "timestamping" else own or ca):
            expected = "a self-signed CA certificate" if use == "timestamping" else "a CA or self-signed certificate"
            raise TrustError(f"certificate {number} ({label_of(certificate)}): a trust store holds {expected}s only")
        content = (certificate.der,)
        found.append(Authority(authority_id(use, content), use, content, label=label_of(certificate)))
    return tuple(found)


def _certificates(pem: str) -> list[Certificate]:
    """Every certificate once, in the order of the text. Text between blocks is a comment, as openssl writes it."""
    labels = _LABEL.findall(pem)
    if any("PRIVATE KEY" in label for label in labels):
        raise TrustError("expected certificates, got a private key; remove it from here, it is a secret")
    others = sorted({label for label in labels if label != "CERTIFICATE"})
    if others:
        raise TrustError(f"expected blocks BEGIN CERTIFICATE only, got {excerpt(', '.join(others))}")
    if len(labels) > ROOT_CERTIFICATES:
        raise TrustError(f"{len(labels)} certificates, limit {ROOT_CERTIFICATES}")
    blocks = _BLOCK.findall(pem)
    if not blocks or len(blocks) != len(labels):
        raise TrustError(f"expected PEM blocks BEGIN CERTIFICATE, {len(labels)} begin and {len(blocks)} are whole")
    ders = dict.fromkeys(_der(block, number) for number, block in enumerate(blocks, start=1))
    return [load(der, f"certificate {number}") for number, der in enumerate(ders, start=1)]


def _der(block: str, number: int) -> bytes:
    try:
        return decode_spaced_base64(block, f"certificate {number}", "")
    except EvidenceError as error:
        raise TrustError(str(error)) from error


def _issuers(certificates: Sequence[Certificate]) -> list[list[int]]:
    """For each certificate the places of those that issued it; a self-signed one is its own."""
    by_subject: dict[bytes, list[int]] = {}
    for number, certificate in enumerate(certificates):
        by_subject.setdefault(certificate.subject_name, []).append(number)
    if any(len(places) > SAME_SUBJECT for places in by_subject.values()):
        raise TrustError(f"more than {SAME_SUBJECT} certificates with one subject")
    return [
        [above for above in by_subject.get(one.issuer_name, ()) if issued_by(one, certificates[above])]
        for one in certificates
    ]


def _authority(
    certificates: Sequence[Certificate], issuers: list[list[int]], anchor: int, *, intermediate: bool
) -> Authority:
    """The anchor and everything below it; a self-signed certificate is below no other, also where keys were kept."""
    levels = [[anchor]]
    placed = {anchor}
    while levels[-1]:
        above = set(levels[-1])
        below = [n for n, up in enumerate(issuers) if n not in placed and n not in up and above.intersection(up)]
        placed.update(below)
        levels.append(below)
    order = [number for level in reversed(levels) for number in level]
    if len(order) > CERTIFICATES:
        whose = label_of(certificates[anchor])
        raise TrustError(f"{len(order)} certificates below and with {whose}, limit {CERTIFICATES} for one anchor")
    ders = tuple(certificates[number].der for number in order)
    label = (INTERMEDIATE_LABEL if intermediate else "") + label_of(certificates[anchor])
    return Authority(authority_id("signing", ders), "signing", ders, label=label)


def _all_reached(certificates: Sequence[Certificate], found: Iterable[Authority]) -> None:
    reached = {der for authority in found for der in authority.certificates}
    for number, certificate in enumerate(certificates, start=1):
        if certificate.der not in reached:
            raise TrustError(
                f"certificate {number} ({label_of(certificate)}): expected its issuer among the certificates, up to "
                "a self-signed root; add what is missing or remove it"
            )
