"""Public keys: loaded once, named by their content, and asked one question: did this key sign these bytes?

    key = load_public_key(pem)
    key.key_id                            hex SHA-256 of the DER SubjectPublicKeyInfo
    key.verify(signature, message)        "ecdsa-p256-sha256", or "" when it did not

A key is tried with the hash its size implies and then with SHA-256, because tools disagree: cosign signs with a P-384
key over SHA-384 and verifies over SHA-256. The answer says what matched. Certificates are no keys: they carry
validity, usage and a chain that nobody here would check, so they are refused by name.
"""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final, NamedTuple, Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.asymmetric.utils import (
    Prehashed,
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
)

from verifier.errors import PolicyError
from verifier.evidence.ed25519ph import verify_ph
from verifier.evidence.limits import PUBLIC_KEY_BYTES, RSA_MAX_BITS, RSA_MIN_BITS, SIGNATURE_BYTES

_KEYS_CACHED: Final = 4096
"""Parsed keys kept, by PEM text."""

_EXPONENT_BITS: Final = 32
"""Bits of the exponent of an RSA key that came as evidence (65537 has 17): a check costs as much as it has bits."""

_PEM_LABEL: Final = re.compile(r"-----BEGIN ([^-\n]{1,64})-----")
_KEY_LABELS: Final = frozenset({"PUBLIC KEY", "RSA PUBLIC KEY"})


class HashObject(Protocol):
    """What hashlib's constructors return."""

    def digest(self) -> bytes:
        """The hash."""


class _Hash(NamedTuple):
    """A hash by name, in hashlib and in cryptography; hashing in hashlib is quicker than inside `verify`."""

    name: str
    start: Callable[[bytes], HashObject]
    prehashed: Prehashed


_SHA256: Final = _Hash("sha256", hashlib.sha256, Prehashed(hashes.SHA256()))
_SHA384: Final = _Hash("sha384", hashlib.sha384, Prehashed(hashes.SHA384()))
_SHA512: Final = _Hash("sha512", hashlib.sha512, Prehashed(hashes.SHA512()))


class PublicKey(ABC):
    """One public key. Equal keys have equal `key_id`."""

    def __init__(self, key_id: str, key_type: str, *, signs_sha256: bool) -> None:
        self.key_id = key_id
        """Hex SHA-256 of the DER SubjectPublicKeyInfo."""
        self.type = key_type
        """`ecdsa-p256`, `ecdsa-p384`, `ecdsa-p521`, `rsa-<bits>` or `ed25519`."""
        self.signs_sha256 = signs_sha256
        """SHA-256 is the hash this key implies; if not, `verify_digest` misses most of its signatures."""

    @abstractmethod
    def verify(self, signature: bytes, message: bytes) -> str:
        """The algorithm under which `signature` is this key's over `message`; empty when there is none."""

    @abstractmethod
    def verify_digest(self, signature: bytes, sha256: bytes) -> str:
        """As `verify`, for a message of which only the SHA-256 digest (32 bytes) is known; Ed25519 cannot."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and other.key_id == self.key_id

    def __hash__(self) -> int:
        return hash(self.key_id)

    def __repr__(self) -> str:
        return f"PublicKey({self.type}, {self.key_id[:12]})"


class _Curve(NamedTuple):
    type: str
    field_bytes: int
    hashes: tuple[_Hash, ...]


_CURVES: Final = {
    "secp256r1": _Curve("ecdsa-p256", 32, (_SHA256,)),
    "secp384r1": _Curve("ecdsa-p384", 48, (_SHA384, _SHA256)),
    "secp521r1": _Curve("ecdsa-p521", 66, (_SHA512, _SHA256)),
}
_WAYS: Final = {
    curve: tuple((h.start, ec.ECDSA(h.prehashed), f"{curve.type}-{h.name}") for h in curve.hashes)
    for curve in _CURVES.values()
}
"""How keys of a curve are tried: (hash, algorithm, label). Made once, as every keyless signature brings a new key."""


class _EcdsaKey(PublicKey):
    """ECDSA, DER signatures; raw r||s only where DER is out of the question."""

    def __init__(self, key_id: str, key: ec.EllipticCurvePublicKey, curve: _Curve) -> None:
        super().__init__(key_id, curve.type, signs_sha256=curve.hashes[0] is _SHA256)
        self._verify = key.verify
        self._field_bytes = curve.field_bytes
        self._hashes = _WAYS[curve]

    def verify(self, signature: bytes, message: bytes) -> str:
        for start, algorithm, label in self._hashes:
            digest = start(message).digest()
            try:
                self._verify(signature, digest, algorithm)
            except InvalidSignature:
                if self._matches_raw(signature, digest, algorithm):
                    return f"{label}-p1363"
            else:
                return label
        return ""

    def verify_digest(self, signature: bytes, sha256: bytes) -> str:
        _, algorithm, label = self._hashes[-1]  # SHA-256 is the last one of every curve
        if self._matches(signature, sha256, algorithm):
            return label
        return f"{label}-p1363" if self._matches_raw(signature, sha256, algorithm) else ""

    def _matches(self, signature: bytes, digest: bytes, algorithm: ec.ECDSA) -> bool:
        try:
            self._verify(signature, digest, algorithm)
        except InvalidSignature:
            return False
        return True

    def _matches_raw(self, signature: bytes, digest: bytes, algorithm: ec.ECDSA) -> bool:
        raw = self._raw_to_der(signature)
        return raw is not None and self._matches(raw, digest, algorithm)

    def _raw_to_der(self, signature: bytes) -> bytes | None:
        """r||s (IEEE P1363) as DER, if the length is exactly right and the bytes are not DER themselves."""
        size = self._field_bytes
        if len(signature) != 2 * size or _is_der_signature(signature):
            return None
        return encode_dss_signature(int.from_bytes(signature[:size]), int.from_bytes(signature[size:]))


class _RsaKey(PublicKey):
    """RSA: PKCS#1 v1.5, then PSS; SHA-256, then the longer hashes some signers choose for long keys."""

    _HASHES: Final = (_SHA256, _SHA512, _SHA384)
    _MGF_HASH: Final = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}

    def __init__(self, key_id: str, key: rsa.RSAPublicKey) -> None:
        super().__init__(key_id, f"rsa-{key.key_size}", signs_sha256=True)
        self._key = key
        self._length = (key.key_size + 7) // 8

    def verify(self, signature: bytes, message: bytes) -> str:
        return self._try_all(signature, {h: h.start(message).digest() for h in self._HASHES})

    def verify_digest(self, signature: bytes, sha256: bytes) -> str:
        return self._try_all(signature, {_SHA256: sha256})

    def _try_all(self, signature: bytes, digests: Mapping[_Hash, bytes]) -> str:
        if len(signature) != self._length:
            return ""
        for scheme in ("pkcs1", "pss"):
            for hash_, digest in digests.items():
                if self._try(signature, digest, scheme, hash_):
                    return f"rsa-{scheme}-{hash_.name}"
        return ""

    def _try(self, signature: bytes, digest: bytes, scheme: str, hash_: _Hash) -> bool:
        try:
            self._key.verify(signature, digest, self._padding(scheme, hash_), hash_.prehashed)
        except InvalidSignature:
            return False
        return True

    def _padding(self, scheme: str, hash_: _Hash) -> padding.AsymmetricPadding:
        if scheme == "pkcs1":
            return padding.PKCS1v15()
        # Any salt length: Go signers use the longest that fits, others the hash's; the length carries no security.
        return padding.PSS(padding.MGF1(self._MGF_HASH[hash_.name]), padding.PSS.AUTO)


class _Ed25519Key(PublicKey):
    """Ed25519 over the message itself, then Ed25519ph (what cosign writes)."""

    def __init__(self, key_id: str, key: Ed25519PublicKey) -> None:
        super().__init__(key_id, "ed25519", signs_sha256=False)
        self._key = key
        self._raw = key.public_bytes(Encoding.Raw, PublicFormat.Raw)

    def verify(self, signature: bytes, message: bytes) -> str:
        try:
            self._key.verify(signature, message)
        except InvalidSignature:
            return "ed25519ph" if verify_ph(self._raw, signature, message) else ""
        return "ed25519"

    def verify_digest(self, signature: bytes, sha256: bytes) -> str:  # noqa: ARG002 - the port's signature
        """Never: Ed25519 hashes the message together with R and the key, Ed25519ph hashes it with SHA-512."""
        return ""


def load_public_key(pem: str | bytes) -> PublicKey:
    """The key in `pem` (SubjectPublicKeyInfo, or PKCS#1 for RSA); the same text gives the same object.

    Raises:
        PolicyError: no PEM, a certificate, a private key, several blocks, a curve, type or size that is not accepted.
    """
    if len(pem) > PUBLIC_KEY_BYTES:
        raise PolicyError(f"a public key of {len(pem)} bytes, limit {PUBLIC_KEY_BYTES}")
    try:
        text = pem if isinstance(pem, str) else pem.decode("ascii")
    except UnicodeDecodeError as error:
        raise PolicyError("expected a public key in PEM, got bytes that are not ASCII text") from error
    return _load(text.strip())


@lru_cache(maxsize=_KEYS_CACHED)
def _load(text: str) -> PublicKey:
    _check_labels(_PEM_LABEL.findall(text))
    try:
        key = load_pem_public_key(text.encode("ascii"))
        spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise PolicyError("expected a public key in PEM, got a block that does not decode to one") from error
    return _of_type(key, hashlib.sha256(spki).hexdigest())


@lru_cache(maxsize=_KEYS_CACHED)
def public_key_from_spki(der: bytes) -> PublicKey:
    """The key of a DER SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7); the same bytes give the same object.

    As in PEM, PKCS#1 is accepted for RSA (trust roots list a CT log so), and `key_id` is the hash of the key's own DER
    form: a caller that needs exactly one spelling compares it with the hash of `der`.

    Raises:
        PolicyError: not such a structure; a curve, type, size or exponent that is not accepted.
    """
    if len(der) > PUBLIC_KEY_BYTES:
        raise PolicyError(f"a public key of {len(der)} bytes, limit {PUBLIC_KEY_BYTES}")
    try:
        key = load_der_public_key(der)
        canonical = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise PolicyError("expected a public key in DER (SubjectPublicKeyInfo), got bytes that are none") from error
    if isinstance(key, rsa.RSAPublicKey) and (bits := key.public_numbers().e.bit_length()) > _EXPONENT_BITS:
        raise PolicyError(f"expected an RSA exponent of at most {_EXPONENT_BITS} bits, got {bits}")
    return _of_type(key, hashlib.sha256(canonical).hexdigest())


def _check_labels(labels: list[str]) -> None:
    """What a person pastes by mistake is named, and never echoed."""
    for label in labels:
        if "PRIVATE KEY" in label:
            raise PolicyError("expected a public key, got a private key; remove it from here, it is a secret")
        if "CERTIFICATE" in label:
            raise PolicyError(
                "expected a public key, got a certificate; its validity and chain would go unchecked. "
                "Extract the key if you mean the key: openssl x509 -pubkey -noout"
            )
    if len(labels) != 1 or labels[0] not in _KEY_LABELS:
        found = "".join(c if c.isprintable() else "?" for c in ", ".join(labels)[:80]) or "none"
        raise PolicyError(f"expected one PEM block BEGIN PUBLIC KEY, got {found}")


def _of_type(key: PublicKeyTypes, key_id: str) -> PublicKey:
    if isinstance(key, ec.EllipticCurvePublicKey):
        curve = _CURVES.get(key.curve.name)
        if curve is None:
            raise PolicyError(f"expected curve P-256, P-384 or P-521, got {key.curve.name}")
        return _EcdsaKey(key_id, key, curve)
    if isinstance(key, rsa.RSAPublicKey):
        if not RSA_MIN_BITS <= key.key_size <= RSA_MAX_BITS:
            raise PolicyError(f"expected RSA of {RSA_MIN_BITS} to {RSA_MAX_BITS} bits, got {key.key_size}")
        return _RsaKey(key_id, key)
    if isinstance(key, Ed25519PublicKey):
        return _Ed25519Key(key_id, key)
    raise PolicyError(f"expected an ECDSA, RSA or Ed25519 key, got {type(key).__name__}")


def looks_like_signature(signature: bytes) -> bool:
    """True for bytes that some accepted key could have made: DER, raw r||s or Ed25519, or RSA by their length."""
    if len(signature) > SIGNATURE_BYTES:
        return False
    raw_lengths = {2 * curve.field_bytes for curve in _CURVES.values()}
    return len(signature) in raw_lengths or len(signature) >= RSA_MIN_BITS // 8 or _is_der_signature(signature)


def _is_der_signature(signature: bytes) -> bool:
    try:
        decode_dss_signature(signature)
    except ValueError:
        return False
    return True
