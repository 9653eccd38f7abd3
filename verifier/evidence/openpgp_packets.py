"""OpenPGP packets (RFC 4880, and what RFC 9580 says of version 4): bytes in, keys and signatures out.

    for packet in read_packets(data):
        if packet.tag == SIGNATURE:
            signature = read_signature(packet.body)
            key.verifies(signature, message)         "rsa-pkcs1-sha256", or "" when it did not

Only version 4 is read; versions 3, 5 and 6 are refused by name. Nothing is decrypted, no private key is read, and a
packet says nothing about who may sign what: that is `verifier.evidence.openpgp`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from verifier.errors import EvidenceError
from verifier.evidence.limits import KIB, RSA_MAX_BITS, RSA_MIN_BITS
from verifier.models import Micros

# Packet types, RFC 9580 section 5.
SIGNATURE: Final = 2
ONE_PASS: Final = 4
SECRET_KEY: Final = 5
PUBLIC_KEY: Final = 6
SECRET_SUBKEY: Final = 7
COMPRESSED: Final = 8
MARKER: Final = 10
LITERAL: Final = 11
USER_ID: Final = 13
PUBLIC_SUBKEY: Final = 14
USER_ATTRIBUTE: Final = 17

# Signature types, RFC 9580 section 5.2.1.
BINARY: Final = 0x00
CERTIFICATIONS: Final = frozenset({0x10, 0x11, 0x12, 0x13})
SUBKEY_BINDING: Final = 0x18
PRIMARY_BINDING: Final = 0x19
DIRECT_KEY: Final = 0x1F
KEY_REVOCATION: Final = 0x20
SUBKEY_REVOCATION: Final = 0x28
CERTIFICATION_REVOCATION: Final = 0x30

PACKETS: Final = 4096
"""Packets of one sequence. A key with many certifications has some hundred; a ring holds some tens of keys."""

SIGNATURE_PACKET_BYTES: Final = 32 * KIB
"""Bytes of one signature packet: two areas of subpackets and the largest RSA signature fit several times."""

KEY_PACKET_BYTES: Final = 8 * KIB
"""Bytes of one public-key packet: RSA of 16384 bits needs 2 KiB."""

SUBPACKETS: Final = 256
"""Subpackets of one signature. Real ones have some ten."""

EXPONENT_BITS: Final = 32
"""Bits of an RSA exponent (65537 has 17): a check costs as much as it has bits."""

_SECOND: Final[Micros] = 1_000_000

_MALFORMED: Final = "openpgp-malformed"
_UNSUPPORTED: Final = "unsupported-evidence"


class _Hash(NamedTuple):
    name: str
    start: Callable[[bytes], hashlib._Hash]
    algorithm: hashes.HashAlgorithm


def _sha1(data: bytes) -> hashlib._Hash:
    return hashlib.sha1(data, usedforsecurity=False)


HASHES: Final[Mapping[int, _Hash]] = {
    2: _Hash("sha1", _sha1, hashes.SHA1()),  # noqa: S303 - old self-signatures only, see `SELF_HASHES`
    8: _Hash("sha256", hashlib.sha256, hashes.SHA256()),
    9: _Hash("sha384", hashlib.sha384, hashes.SHA384()),
    10: _Hash("sha512", hashlib.sha512, hashes.SHA512()),
    11: _Hash("sha224", hashlib.sha224, hashes.SHA224()),
}
"""RFC 9580 section 9.5; MD5 and RIPEMD-160 are not read."""

DATA_HASHES: Final = frozenset({8, 9, 10, 11})
"""Hashes accepted in signatures over an image: two payloads can be made to share a SHA-1 hash."""

SELF_HASHES: Final = frozenset(HASHES)
"""Hashes accepted in what a key says of itself. Vendors' keys of the 2000s bind their user ids with SHA-1; whoever
could profit from a collision there holds the key already."""

_HASH_NAMES: Final = {1: "MD5", 2: "SHA-1", 3: "RIPEMD-160", 12: "SHA3-256", 14: "SHA3-512"}


def hash_name(number: int) -> str:
    """The name of a hash by its number (RFC 9580 section 9.5), for messages."""
    return HASHES[number].name if number in HASHES else _HASH_NAMES.get(number, f"number {number}")


class Packet(NamedTuple):
    """One packet: its type and its body, partial lengths joined."""

    tag: int
    body: bytes


class Subpacket(NamedTuple):
    """One signature subpacket (RFC 9580 section 5.2.3.7)."""

    kind: int
    critical: bool
    body: bytes


def fail(message: str) -> EvidenceError:
    """The error of bytes that are no OpenPGP."""
    return EvidenceError(_MALFORMED, message)


class Reader:
    """Takes bytes from the front, and refuses to go past the end.

    Raises:
        EvidenceError: `openpgp-malformed`, with what was being read.
    """

    def __init__(self, data: bytes, what: str) -> None:
        self._data, self._at, self._what = data, 0, what

    @property
    def left(self) -> int:
        """Bytes not taken yet."""
        return len(self._data) - self._at

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        if count > self.left:
            raise fail(f"{self._what}: {count} bytes expected, {self.left} left")
        taken = self._data[self._at : self._at + count]
        self._at += count
        return taken

    def number(self, size: int) -> int:
        """The next `size` bytes as an unsigned number, most significant first."""
        return int.from_bytes(self.take(size))

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(self.left)

    def integer(self) -> int:
        """A multiprecision integer (RFC 9580 section 3.2): a count of bits, then the bytes."""
        bits = self.number(2)
        value = int.from_bytes(self.take((bits + 7) // 8))
        if value.bit_length() > bits:
            raise fail(f"{self._what}: a number longer than the {bits} bits it announces")
        return value

    def end(self) -> None:
        """Refuses bytes after the last field."""
        if self.left:
            raise fail(f"{self._what}: {self.left} bytes after its end")


# ---------------------------------------------------------------------------------------------------------- framing


def read_packets(data: bytes) -> tuple[Packet, ...]:
    """The packets of a sequence, old and new format, with partial and indeterminate lengths (section 4.2).

    Raises:
        EvidenceError: `openpgp-malformed` or `limit-exceeded`.
    """
    reader = Reader(data, "packet")
    packets: list[Packet] = []
    while reader.left:
        if len(packets) == PACKETS:
            raise EvidenceError("limit-exceeded", f"more than {PACKETS} OpenPGP packets")
        packets.append(_packet(reader))
    return tuple(packets)


def _packet(reader: Reader) -> Packet:
    header = reader.number(1)
    if not header & 0x80:
        raise fail("a packet whose first bit is not set: not binary OpenPGP")
    if header & 0x40:
        return Packet(header & 0x3F, _new_body(reader))
    length_type = header & 0x03
    # Type 3 has no length: the packet ends where the data ends. gpg writes compressed packets so.
    body = reader.rest() if length_type == 3 else reader.take(reader.number(1 << length_type))
    return Packet(header >> 2 & 0x0F, body)


def _new_body(reader: Reader) -> bytes:
    parts: list[bytes] = []
    while True:
        first = reader.number(1)
        if 224 <= first < 255:
            parts.append(reader.take(1 << (first & 0x1F)))
            if len(parts) > PACKETS:
                raise EvidenceError("limit-exceeded", f"a packet in more than {PACKETS} parts")
            continue
        parts.append(reader.take(_length(first, reader)))
        return b"".join(parts)


def _length(first: int, reader: Reader) -> int:
    """The length that begins with this byte (sections 4.2.1 and 5.2.3.7); partial lengths are the caller's."""
    if first < 192:
        return first
    return reader.number(4) if first == 255 else (first - 192 << 8) + reader.number(1) + 192


# ------------------------------------------------------------------------------------------------------- signatures

# Subpackets (section 5.2.3.7) whose meaning is acted on, here or in `openpgp`.
CREATED: Final = 2
EXPIRES_AFTER: Final = 3
KEY_EXPIRES_AFTER: Final = 9
REVOKER: Final = 12
ISSUER: Final = 16
KEY_FLAGS: Final = 27
REVOCATION_REASON: Final = 29
EMBEDDED: Final = 32
ISSUER_FINGERPRINT: Final = 33

_SINGLE: Final = frozenset({CREATED, EXPIRES_AFTER, KEY_EXPIRES_AFTER, KEY_FLAGS, REVOCATION_REASON})
"""Twice in one signature they would have two meanings."""
_FOUR_BYTES: Final = frozenset({CREATED, EXPIRES_AFTER, KEY_EXPIRES_AFTER})
_UNDERSTOOD: Final = frozenset({*range(2, 8), 9, 11, 12, 16, *range(21, 35)})
"""May be marked critical: acted on, or without weight for a verifier (preferences, policy addresses).
Notations (20) are not: a critical notation demands understanding of its name."""


@dataclass(frozen=True)
class Signature:
    """One version 4 signature packet, read; nothing in it is verified yet."""

    type: int
    algorithm: int
    """Public-key algorithm, section 9.1."""
    hash: int
    trailer: bytes
    """What is hashed after the data: the hashed part of the packet, and its length (section 5.2.4)."""
    hashed: tuple[Subpacket, ...]
    unhashed: tuple[Subpacket, ...]
    value: bytes
    """The algorithm's numbers, not yet taken apart."""

    def _only(self, kind: int) -> bytes | None:
        return next((s.body for s in self.hashed if s.kind == kind), None)

    def _seconds(self, kind: int) -> Micros | None:
        body = self._only(kind)
        return None if body is None else int.from_bytes(body) * _SECOND

    def states(self, kind: int) -> bool:
        """Whether the hashed area has a subpacket of this type."""
        return self._only(kind) is not None

    @cached_property
    def created(self) -> Micros | None:
        """Subpacket 2, hashed area: the signer's word."""
        return self._seconds(CREATED)

    @cached_property
    def ends(self) -> Micros | None:
        """Creation plus lifetime of the signature (subpacket 3); None when it has no end (a lifetime of 0 means so)."""
        lifetime = self._seconds(EXPIRES_AFTER)
        return (self.created or 0) + lifetime if lifetime else None

    @cached_property
    def key_expires_after(self) -> Micros | None:
        """Subpacket 9: lifetime of the key, from the key's creation; None when it has no end."""
        return self._seconds(KEY_EXPIRES_AFTER) or None

    @cached_property
    def key_flags(self) -> int | None:
        """First byte of subpacket 27; None when the signature does not say."""
        body = self._only(KEY_FLAGS)
        return None if body is None else int.from_bytes(body[:1])

    @cached_property
    def revocation_reason(self) -> int | None:
        """Code of subpacket 29 (section 5.2.3.31); None when no reason is given."""
        body = self._only(REVOCATION_REASON)
        return body[0] if body else None

    @cached_property
    def revokers(self) -> frozenset[bytes]:
        """Fingerprints of subpackets 12: keys that may revoke this one."""
        found = (s.body for s in self.hashed if s.kind == REVOKER and len(s.body) == 22)
        return frozenset(body[2:] for body in found if body[0] & 0x80)

    @cached_property
    def fingerprint_hint(self) -> bytes:
        """Subpacket 33: fingerprint of the issuer; empty when it is not there. A hint: only a good signature proves."""
        found = (s.body[1:] for s in (*self.hashed, *self.unhashed) if s.kind == ISSUER_FINGERPRINT)
        return next((body for body in found if len(body) == 20), b"")

    @cached_property
    def key_id_hint(self) -> bytes:
        """Key id of the issuer, 8 bytes, of subpacket 33 or 16; empty when neither is there."""
        if self.fingerprint_hint:
            return self.fingerprint_hint[-8:]
        found = (s.body for s in (*self.hashed, *self.unhashed) if s.kind == ISSUER)
        return next((body for body in found if len(body) == 8), b"")

    @cached_property
    def embedded(self) -> tuple[bytes, ...]:
        """Bodies of subpackets 32: signatures within this one."""
        return tuple(s.body for s in (*self.hashed, *self.unhashed) if s.kind == EMBEDDED)

    @cached_property
    def not_understood(self) -> int | None:
        """Type of a critical subpacket nobody here understands: such a signature is in error (section 5.2.3.7)."""
        return next((s.kind for s in self.hashed if s.critical and s.kind not in _UNDERSTOOD), None)

    @cached_property
    def ambiguous(self) -> int | None:
        """Type of a subpacket that gives a second meaning, or has the wrong size."""
        seen: set[int] = set()
        for kind, _, body in self.hashed:
            if kind in _SINGLE and (kind in seen or (kind in _FOUR_BYTES and len(body) != 4)):
                return kind
            seen.add(kind)
        return None


def read_signature(body: bytes) -> Signature:
    """A signature packet's body (section 5.2.3).

    Raises:
        EvidenceError: `openpgp-malformed`, `limit-exceeded`, or `unsupported-evidence` for versions 3, 5, 6 and others.
    """
    if len(body) > SIGNATURE_PACKET_BYTES:
        found = len(body)
        raise EvidenceError("limit-exceeded", f"a signature packet of {found} bytes, limit {SIGNATURE_PACKET_BYTES}")
    reader = Reader(body, "signature packet")
    check_version("signature", reader.number(1), 4)
    kind, algorithm, hash_ = reader.take(3)
    hashed = reader.take(reader.number(2))
    unhashed = reader.take(reader.number(2))
    reader.take(2)  # the first bits of the hash: they say nothing that the signature does not
    head = body[: 6 + len(hashed)]
    return Signature(
        type=kind,
        algorithm=algorithm,
        hash=hash_,
        trailer=head + b"\x04\xff" + len(head).to_bytes(4),
        hashed=_subpackets(hashed),
        unhashed=_subpackets(unhashed),
        value=reader.rest(),
    )


def check_version(what: str, found: int, expected: int) -> None:
    """Refuses other versions by name.

    Raises:
        EvidenceError: `unsupported-evidence`.
    """
    if found != expected:
        raise EvidenceError(_UNSUPPORTED, f"a version {found} {what} packet; only version {expected} is read")


def _subpackets(area: bytes) -> tuple[Subpacket, ...]:
    reader = Reader(area, "signature subpacket")
    found: list[Subpacket] = []
    while reader.left:
        if len(found) == SUBPACKETS:
            raise EvidenceError("limit-exceeded", f"more than {SUBPACKETS} subpackets in one signature")
        content = reader.take(_length(reader.number(1), reader))
        if not content:
            raise fail("a signature subpacket without a type")
        found.append(Subpacket(content[0] & 0x7F, bool(content[0] & 0x80), content[1:]))
    return tuple(found)


# ------------------------------------------------------------------------------------------------------------- keys

_RSA: Final = frozenset({1, 3})
_ECDSA: Final = 19
_EDDSA_LEGACY: Final = 22
_ED25519: Final = 27

_ED25519_OID: Final = bytes.fromhex("2b06010401da470f01")
_CURVES: Final[Mapping[bytes, tuple[ec.EllipticCurve, str]]] = {
    bytes.fromhex("2a8648ce3d030107"): (ec.SECP256R1(), "ecdsa-p256"),
    bytes.fromhex("2b81040022"): (ec.SECP384R1(), "ecdsa-p384"),
    bytes.fromhex("2b81040023"): (ec.SECP521R1(), "ecdsa-p521"),
}
"""Object identifiers of section 9.2, as they stand in the packet."""

_NAMES: Final = {2: "RSA for encryption", 16: "ElGamal", 17: "DSA", 18: "ECDH", 25: "X25519", 26: "X448", 28: "Ed448"}

_Crypto = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | Ed25519PublicKey


@dataclass(frozen=True)
class KeyPacket:
    """A version 4 public key or sub-key."""

    body: bytes
    created: Micros
    algorithm: int
    public: _Crypto | None
    """None when the algorithm or size is not accepted; `unusable` says why. Such a key still has a fingerprint."""
    name: str = ""
    """`ecdsa-p256`, `rsa-pkcs1`, `ed25519`."""
    unusable: str = ""

    @cached_property
    def hashable(self) -> bytes:
        """The form in which a key goes into fingerprints and signatures (section 5.2.4)."""
        return b"\x99" + len(self.body).to_bytes(2) + self.body

    @cached_property
    def fingerprint(self) -> bytes:
        """20 bytes (section 5.5.4.2)."""
        return _sha1(self.hashable).digest()

    @cached_property
    def spki(self) -> bytes:
        """DER SubjectPublicKeyInfo; empty when the key cannot be used."""
        return b"" if self.public is None else self.public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def verifies(self, signature: Signature, message: bytes, accepted: frozenset[int]) -> str:
        """The algorithm, when `signature` is this key's over `message`; empty when it is not.

        Args:
            signature: names the hash; its trailer is added here.
            message: what its type says is signed (section 5.2.4).
            accepted: the hashes that count for this purpose.
        """
        same = signature.algorithm == self.algorithm or {signature.algorithm, self.algorithm} <= _RSA
        if self.public is None or not same or signature.hash not in accepted:
            return ""
        hash_ = HASHES[signature.hash]
        digest = hash_.start(message + signature.trailer).digest()
        try:
            self._check(self.public, signature.value, digest, hash_.algorithm)
        except (InvalidSignature, ValueError, UnsupportedAlgorithm, EvidenceError):
            return ""
        return f"{self.name}-{hash_.name}"

    def _check(self, public: _Crypto, value: bytes, digest: bytes, algorithm: hashes.HashAlgorithm) -> None:
        reader = Reader(value, "signature value")
        if isinstance(public, Ed25519PublicKey):
            raw = reader.take(64) if self.algorithm == _ED25519 else _r_s(reader)
            reader.end()
            public.verify(raw, digest)
        elif isinstance(public, ec.EllipticCurvePublicKey):
            der = encode_dss_signature(reader.integer(), reader.integer())
            reader.end()
            public.verify(der, digest, ec.ECDSA(Prehashed(algorithm)))
        else:
            number = reader.integer()
            reader.end()
            size = (public.key_size + 7) // 8
            if number.bit_length() > 8 * size:
                raise InvalidSignature
            public.verify(number.to_bytes(size), digest, padding.PKCS1v15(), Prehashed(algorithm))


def _r_s(reader: Reader) -> bytes:
    """R and S of an EdDSA signature, written as numbers: leading zero bytes are gone (section 5.2.3.3)."""
    r, s = reader.integer(), reader.integer()
    if max(r.bit_length(), s.bit_length()) > 256:
        raise InvalidSignature
    return r.to_bytes(32) + s.to_bytes(32)


def read_key(body: bytes) -> KeyPacket:
    """A public-key or public-sub-key packet's body (section 5.5.2).

    A key of another algorithm, curve or size than is accepted is read, and cannot verify.

    Raises:
        EvidenceError: `openpgp-malformed`, `limit-exceeded`, or `unsupported-evidence` for other versions.
    """
    if len(body) > KEY_PACKET_BYTES:
        raise EvidenceError("limit-exceeded", f"a key packet of {len(body)} bytes, limit {KEY_PACKET_BYTES}")
    reader = Reader(body, "key packet")
    check_version("key", reader.number(1), 4)
    created, algorithm = reader.number(4) * _SECOND, reader.number(1)
    try:
        public, name = _public(algorithm, reader)
    except _UnusableError as unusable:
        return KeyPacket(body, created, algorithm, None, unusable=str(unusable))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise fail("a key packet whose numbers are no key") from error
    reader.end()
    return KeyPacket(body, created, algorithm, public, name)


class _UnusableError(Exception):
    """A key that is well formed and not accepted."""


def _public(algorithm: int, reader: Reader) -> tuple[_Crypto, str]:
    if algorithm in _RSA:
        return _rsa(reader), "rsa-pkcs1"
    if algorithm == _ECDSA:
        return _ecdsa(reader)
    if algorithm == _EDDSA_LEGACY:
        return _eddsa(reader), "ed25519"
    if algorithm == _ED25519:
        return Ed25519PublicKey.from_public_bytes(reader.take(32)), "ed25519"
    raise _UnusableError(f"algorithm {_NAMES.get(algorithm, algorithm)} makes no signatures that are accepted here")


def _rsa(reader: Reader) -> rsa.RSAPublicKey:
    modulus, exponent = reader.integer(), reader.integer()
    if not RSA_MIN_BITS <= modulus.bit_length() <= RSA_MAX_BITS:
        found = modulus.bit_length()
        raise _UnusableError(f"RSA of {found} bits; {RSA_MIN_BITS} to {RSA_MAX_BITS} are accepted")
    if exponent.bit_length() > EXPONENT_BITS:
        raise _UnusableError(f"RSA with an exponent of more than {EXPONENT_BITS} bits")
    return rsa.RSAPublicNumbers(exponent, modulus).public_key()


def _ecdsa(reader: Reader) -> tuple[ec.EllipticCurvePublicKey, str]:
    curve = _CURVES.get(_oid(reader))
    if curve is None:
        raise _UnusableError("an ECDSA curve other than P-256, P-384 and P-521")
    return ec.EllipticCurvePublicKey.from_encoded_point(curve[0], _point(reader)), curve[1]


def _eddsa(reader: Reader) -> Ed25519PublicKey:
    if _oid(reader) != _ED25519_OID:
        raise _UnusableError("an EdDSA curve other than Ed25519")
    point = _point(reader)
    if len(point) != 33 or point[0] != 0x40:
        raise fail("an Ed25519 key whose point is not 0x40 and 32 bytes")
    return Ed25519PublicKey.from_public_bytes(point[1:])


def _oid(reader: Reader) -> bytes:
    return reader.take(reader.number(1))


def _point(reader: Reader) -> bytes:
    number = reader.integer()
    return number.to_bytes((number.bit_length() + 7) // 8)
