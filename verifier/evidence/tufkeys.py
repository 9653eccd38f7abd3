"""Keys of Notary v1: as metadata lists them, and as an administrator pins them.

    keys = read_keys("root", root.keys)                by key id, which is recomputed
    keys[name].verifies("ecdsa", signature, message)   "ecdsa-p256-sha256", or "" when it did not
    read_root_keys(pem)                                pinned root keys, as authorities

A signature names its method, and no other is tried. Keys of kinds that are not accepted (weak RSA, other curves) are
left out, so that they count for no threshold; a key under a wrong id, or with its private half, spoils the file.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from verifier.errors import EvidenceError, PolicyError, TrustError
from verifier.evidence.base64text import decode_base64
from verifier.evidence.certificates import Certificate, load_pem_chain
from verifier.evidence.content import excerpt
from verifier.evidence.keys import PublicKey, load_public_key, public_key_from_spki
from verifier.evidence.limits import NAME_CHARACTERS, PUBLIC_KEY_BYTES
from verifier.evidence.material import Authority, authority_id
from verifier.evidence.olpcjson import canonical
from verifier.evidence.schemes import SignatureScheme, verify_signed
from verifier.models import Micros

FOREVER: Final[Micros] = 2**63 - 1
"""The end of a window that has none."""

KEYS: Final = 64
"""Keys that one metadata file lists. Repositories have one per role and per person who may push."""

ROOT_KEYS: Final = 32
"""Pinned root keys in one document."""

LABEL_CHARACTERS: Final = 120
"""Characters of a certificate's subject that are kept for display."""

MALFORMED: Final = "trust-data-malformed"
INVALID: Final = "trust-data-invalid"

_ED25519_SPKI: Final = bytes.fromhex("302a300506032b6570032100")
"""What stands before the 32 bytes of an Ed25519 key in a SubjectPublicKeyInfo (RFC 8410 section 4)."""

_FIELD_BYTES: Final = {"ecdsa-p256": 32, "ecdsa-p384": 48, "ecdsa-p521": 66}
_ECDSA: Final = SignatureScheme("ecdsa", "sha256")
_PSS: Final = SignatureScheme("pss", "sha256", 32)
_ED25519: Final = SignatureScheme("ed25519")

_COMMON_NAME: Final = re.compile(r"(?:^|,)CN=([^,+\\]{1,255})(?:,|$)")


class KeyValue(msgspec.Struct, frozen=True):
    """`keyval` of a listed key."""

    public: str
    """Base64: SubjectPublicKeyInfo, a PEM certificate for the `-x509` types, or 32 raw bytes for `ed25519`."""
    private: object = None


class ListedKey(msgspec.Struct, frozen=True):
    """A key as metadata lists it."""

    keytype: str
    keyval: KeyValue


@dataclass(frozen=True, slots=True)
class TufKey:
    """A key that can verify."""

    key: PublicKey
    spki: bytes
    certificate: Certificate | None

    @property
    def window(self) -> tuple[Micros, Micros]:
        """The certificate's closed window; without one, always."""
        return (0, FOREVER) if self.certificate is None else (self.certificate.not_before, self.certificate.not_after)

    @property
    def made_out_for(self) -> str:
        """The certificate's common name: Notary makes one per repository around a key that many share. Or empty."""
        name = None if self.certificate is None else _COMMON_NAME.search(self.certificate.subject)
        return "" if name is None else name[1][:NAME_CHARACTERS]

    def verifies(self, method: str, signature: bytes, message: bytes) -> str:
        """The algorithm, when this is the key's signature by exactly this method; empty otherwise.

        `ecdsa` is r and s side by side, each as long as the curve's field, over SHA-256 whatever the curve; `rsapss`
        is PSS with a salt of 32 bytes; `eddsa` is pure Ed25519.
        """
        size = _FIELD_BYTES.get(self.key.type, 0)
        if method == "ecdsa" and size and len(signature) == 2 * size:
            der = encode_dss_signature(int.from_bytes(signature[:size]), int.from_bytes(signature[size:]))
            return f"{self.key.type}-sha256" if verify_signed(self.spki, _ECDSA, der, message) else ""
        if method == "rsapss":
            return "rsa-pss-sha256" if verify_signed(self.spki, _PSS, signature, message) else ""
        if method == "eddsa":
            return "ed25519" if verify_signed(self.spki, _ED25519, signature, message) else ""
        return ""


def key_id(key: ListedKey) -> str:
    """Hex SHA-256 of the key's canonical form, in which the private half is null."""
    content = {"keytype": key.keytype, "keyval": {"private": None, "public": key.keyval.public}}
    return hashlib.sha256(canonical(content, MALFORMED)).hexdigest()


def read_keys(role: str, listed: Mapping[str, ListedKey]) -> dict[str, TufKey]:
    """The keys a role's file lists, by id, without those of kinds that are not accepted.

    Raises:
        EvidenceError: `trust-data-invalid`, an id that is not the key's; `trust-data-malformed`; `limit-exceeded`.
    """
    if len(listed) > KEYS:
        raise EvidenceError("limit-exceeded", f"{role}: {len(listed)} keys, limit {KEYS}")
    found = {}
    for name, key in listed.items():
        if key.keyval.private is not None and key.keyval.private != "":
            raise EvidenceError(MALFORMED, f"{role}: key {excerpt(name)} comes with a private half")
        if name != key_id(key):
            raise EvidenceError(INVALID, f"{role}: key {excerpt(name)} is listed under the id of another key")
        loaded = _load(role, key)
        if loaded is not None:
            found[name] = loaded
    return found


def _load(role: str, key: ListedKey) -> TufKey | None:
    if len(key.keyval.public) > 2 * PUBLIC_KEY_BYTES:
        found = len(key.keyval.public)
        raise EvidenceError("limit-exceeded", f"{role}: a key of {found} characters, limit {2 * PUBLIC_KEY_BYTES}")
    raw = decode_base64(key.keyval.public, f"{role}: public key", MALFORMED)
    try:
        if key.keytype in {"ecdsa-x509", "rsa-x509"}:
            certificate = load_pem_chain(raw)[0]
            return TufKey(certificate.key, certificate.spki, certificate)
        if key.keytype not in {"ecdsa", "rsa", "ed25519"}:
            return None
        spki = _ED25519_SPKI + raw if key.keytype == "ed25519" and len(raw) == 32 else raw
        return TufKey(public_key_from_spki(spki), spki, None)
    except (EvidenceError, PolicyError):
        return None


# --------------------------------------------------------------------------------------------------------- pinned keys


_BLOCK: Final = re.compile(r"-----BEGIN ([A-Z0-9 ]{1,40})-----[^-]*+-----END \1-----")


def read_root_keys(content: str) -> tuple[Authority, ...]:
    """Pinned root keys: PEM public keys or certificates, one or more; a certificate's window comes with it.

    One key in several blocks is one authority, as the first block says.

    Raises:
        TrustError: no block, a private key, a block that does not decode, a key that is not accepted, too many.
    """
    if "PRIVATE KEY" in content:
        raise TrustError("root keys: expected public keys, got a private key; remove it from here, it is a secret")
    if len(content) > ROOT_KEYS * PUBLIC_KEY_BYTES:
        raise TrustError(f"root keys: {len(content)} characters, limit {ROOT_KEYS * PUBLIC_KEY_BYTES}")
    blocks = list(_BLOCK.finditer(content))
    if len(blocks) != content.count("-----BEGIN") or not 1 <= len(blocks) <= ROOT_KEYS:
        raise TrustError(f"root keys: expected 1 to {ROOT_KEYS} whole PEM blocks, got {len(blocks)}")
    found: dict[str, Authority] = {}
    for number, block in enumerate(blocks, start=1):
        try:
            authority = _pinned(block[1], block[0])
        except (PolicyError, EvidenceError) as error:
            raise TrustError(f"root keys: block {number}: {error}"[:300]) from error
        found.setdefault(authority.id, authority)
    return tuple(found.values())


def _pinned(label: str, block: str) -> Authority:
    if label != "CERTIFICATE":
        key = load_public_key(block)
        return Authority(id=_pinned_id(key), use="tuf", key=key, label=f"root key {key.key_id[:12]}")
    certificate = load_pem_chain(block)[0]
    return Authority(
        id=_pinned_id(certificate.key),
        use="tuf",
        key=certificate.key,
        valid_from=certificate.not_before,
        valid_until=certificate.not_after,
        label="".join(c if c.isprintable() else "?" for c in certificate.subject[:LABEL_CHARACTERS]),
    )


def _pinned_id(key: PublicKey) -> str:
    """By the hash of the SPKI, which is the key's id: a key and its certificates are one authority."""
    return authority_id("tuf", (bytes.fromhex(key.key_id),))
