"""Signature algorithms as X.509 and CMS declare them (RFC 4055, 5754, 5758, 8410), and the check under exactly one.

    scheme = signature_scheme(algorithm_identifier)         SignatureScheme("ecdsa", "sha384"), or why it is refused
    verify_signed(spki, scheme, signature, message)         True

A key of `keys` is tried with every scheme it could have used; here the signer said which one, and no other is tried.
MD5 and SHA-1 are refused by name. Parameters have one spelling: NULL where the standards say so, else nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final, Literal, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from verifier.evidence.der import INTEGER, OID, SEQUENCE, Der, Node, dotted, finished, oid_content, optional, required

UNSUPPORTED: Final = "unsupported-evidence"

_KEYS_CACHED: Final = 512
"""Key objects kept, by SubjectPublicKeyInfo."""

_SALT_BYTES: Final = 64
"""Bytes of an RSA-PSS salt: the longest accepted hash."""


class SignatureScheme(NamedTuple):
    """An algorithm as an AlgorithmIdentifier declares it; nothing else is tried."""

    kind: Literal["ecdsa", "rsa", "pss", "ed25519", "rsa-bare"]
    """`rsa-bare`: rsaEncryption in a SignerInfo, the hash stands beside it (RFC 3370 section 3.2)."""
    hash: str = ""
    salt: int = 0


HASHES: Final[Mapping[str, hashes.HashAlgorithm]] = {
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}
"""The hashes that are accepted anywhere in certificates and timestamps."""

HASH_OIDS: Final = {
    oid_content("2.16.840.1.101.3.4.2.1"): "sha256",
    oid_content("2.16.840.1.101.3.4.2.2"): "sha384",
    oid_content("2.16.840.1.101.3.4.2.3"): "sha512",
    oid_content("1.3.14.3.2.26"): "sha1",
    oid_content("1.2.840.113549.2.5"): "md5",
}
"""Content of the OID -> name; the weak ones are known in order to be refused by name."""

_NULL: Final = b"\x05\x00"
_SPELLED: Final = {
    bytes((SEQUENCE, 2 + len(name) + len(parameters), OID, len(name))) + name + parameters: known
    for name, known in HASH_OIDS.items()
    for parameters in (b"", _NULL)
}
"""Whole AlgorithmIdentifiers: both spellings are in use (RFC 5754 section 2)."""

_BARE_SCHEMES: Final = {
    oid_content("1.2.840.10045.4.3.2"): SignatureScheme("ecdsa", "sha256"),
    oid_content("1.2.840.10045.4.3.3"): SignatureScheme("ecdsa", "sha384"),
    oid_content("1.2.840.10045.4.3.4"): SignatureScheme("ecdsa", "sha512"),
    oid_content("1.3.101.112"): SignatureScheme("ed25519"),
}
"""Algorithms without parameters (RFC 5758 section 3.2, RFC 8410 section 3)."""

_NULL_SCHEMES: Final = {
    oid_content("1.2.840.113549.1.1.1"): SignatureScheme("rsa-bare"),
    oid_content("1.2.840.113549.1.1.11"): SignatureScheme("rsa", "sha256"),
    oid_content("1.2.840.113549.1.1.12"): SignatureScheme("rsa", "sha384"),
    oid_content("1.2.840.113549.1.1.13"): SignatureScheme("rsa", "sha512"),
}
"""Algorithms whose parameters are NULL (RFC 4055 section 5)."""

_WEAK_SCHEMES: Final = {
    oid_content("1.2.840.113549.1.1.4"): "MD5 with RSA",
    oid_content("1.2.840.113549.1.1.5"): "SHA-1 with RSA",
    oid_content("1.3.14.3.2.29"): "SHA-1 with RSA",
    oid_content("1.2.840.10045.4.1"): "SHA-1 with ECDSA",
    oid_content("1.2.840.10040.4.3"): "SHA-1 with DSA",
}
_PSS: Final = oid_content("1.2.840.113549.1.1.10")
_MGF1: Final = oid_content("1.2.840.113549.1.1.8")


@lru_cache(maxsize=256)
def signature_scheme(raw: bytes) -> SignatureScheme | str:
    """The scheme of a DER AlgorithmIdentifier, or why it is not accepted.

    Raises:
        EvidenceError: `unsupported-evidence`, it is not one.
    """
    doc = Der(raw, UNSUPPORTED)
    fields = doc.children(doc.root(SEQUENCE))
    name = doc.content(required(fields, OID, doc, "algorithm"))
    parameters = raw[fields[0][1] :] if fields else b""
    if name == _PSS:
        return _pss_scheme(doc, fields)
    if name in _BARE_SCHEMES and not parameters:
        return _BARE_SCHEMES[name]
    if name in _NULL_SCHEMES and parameters == _NULL:
        return _NULL_SCHEMES[name]
    if name in _WEAK_SCHEMES:
        return f"signature algorithm {_WEAK_SCHEMES[name]} is too weak"
    return f"signature algorithm {dotted(name) or 'without a name'} is not accepted with these parameters"


def _pss_scheme(doc: Der, fields: list[Node]) -> SignatureScheme | str:
    """RSASSA-PSS-params (RFC 4055 section 3.1): one hash for both uses; the defaults would be SHA-1."""
    refused = "RSA-PSS is accepted with MGF1 and one of SHA-256, SHA-384, SHA-512 for both hashes"
    parts = doc.children(required(fields, SEQUENCE, doc, "parameters"))
    finished(fields, doc, "AlgorithmIdentifier")
    named, mask, salt = optional(parts, 0xA0), optional(parts, 0xA1), optional(parts, 0xA2)
    if named is None or mask is None or parts:
        return refused
    hash_name = hash_of(doc, doc.only_child(named, SEQUENCE, "hashAlgorithm"))
    generator = doc.children(doc.only_child(mask, SEQUENCE, "maskGenAlgorithm"))
    if doc.content(required(generator, OID, doc, "maskGenAlgorithm")) != _MGF1 or hash_name not in HASHES:
        return refused
    if hash_of(doc, required(generator, SEQUENCE, doc, "MGF1 hash")) != hash_name:
        return refused
    length = 20 if salt is None else doc.unsigned(doc.only_child(salt, INTEGER, "saltLength"), "saltLength")
    return (
        SignatureScheme("pss", hash_name, length) if length <= _SALT_BYTES else "an RSA-PSS salt longer than any hash"
    )


def hash_of(doc: Der, algorithm: Node) -> str:
    """The name of a hash AlgorithmIdentifier: of `HASH_OIDS`, or its dotted OID.

    Raises:
        EvidenceError: with the document's code: not one, or with parameters other than NULL (RFC 5754 section 2).
    """
    known = _SPELLED.get(doc.raw(algorithm))
    if known is not None:
        return known
    fields = doc.children(algorithm)
    name = doc.content(required(fields, OID, doc, "hash algorithm"))
    if fields and (len(fields) > 1 or doc.raw(fields[0]) != _NULL):
        raise doc.refuse("a hash algorithm with parameters")
    return HASH_OIDS.get(name) or dotted(name) or "none"


def verify_signed(spki: bytes, scheme: SignatureScheme, signature: bytes, message: bytes) -> bool:
    """Whether `signature` over `message` is good under the key of a SubjectPublicKeyInfo and exactly this scheme.

    The caller has loaded the key before (`public_key_from_spki`), which refuses weak and malformed ones.
    """
    key = _openssl_key(spki)
    try:
        if scheme.kind == "ecdsa" and isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, message, _ECDSA[scheme.hash])
        elif scheme.kind in {"rsa", "pss"} and isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, message, _padding(scheme), HASHES[scheme.hash])
        elif scheme.kind == "ed25519" and isinstance(key, Ed25519PublicKey):
            key.verify(signature, message)
        else:
            return False
    except (InvalidSignature, ValueError):
        return False
    return True


_ECDSA: Final = {name: ec.ECDSA(algorithm) for name, algorithm in HASHES.items()}


def _padding(scheme: SignatureScheme) -> padding.AsymmetricPadding:
    if scheme.kind == "rsa":
        return padding.PKCS1v15()
    return padding.PSS(padding.MGF1(HASHES[scheme.hash]), scheme.salt)


@lru_cache(maxsize=_KEYS_CACHED)
def _openssl_key(spki: bytes) -> object:
    """The library's own key object: `PublicKey` tries the schemes of a key, a certificate names the one that counts."""
    return load_der_public_key(spki)
