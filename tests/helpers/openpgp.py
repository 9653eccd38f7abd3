"""OpenPGP without gpg: keys, rings and signed messages, packet by packet.

    key = Key()
    ring = armored(primary(key))                   read_keyring(ring)
    data = message(key, document(digest=DIGEST))   a signature file as podman writes it

Every oddity a hostile test needs is an argument. Keys are made anew in every process.
"""

import base64
import hashlib
import json
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

DIGEST = f"sha256:{7:064x}"
SECOND = 1_000_000
T0 = 1_700_000_000
"""Seconds: when the keys of these tests are made."""


def packet(tag: int, body: bytes) -> bytes:
    return bytes([0xC0 | tag, 0xFF]) + len(body).to_bytes(4) + body


def integer(number: int | bytes) -> bytes:
    number = number if isinstance(number, int) else int.from_bytes(number)
    return number.bit_length().to_bytes(2) + number.to_bytes((number.bit_length() + 7) // 8)


def subpacket(kind: int, body: bytes, *, critical: bool = False) -> bytes:
    content = bytes([kind | 0x80 * critical]) + body
    return b"\xff" + len(content).to_bytes(4) + content


def created(seconds: int) -> bytes:
    return subpacket(2, seconds.to_bytes(4))


HASHES: dict[int, tuple[str, Any]] = {
    1: ("md5", None),
    2: ("sha1", hashes.SHA1()),
    8: ("sha256", hashes.SHA256()),
    10: ("sha512", hashes.SHA512()),
}


class Key:
    """A key pair of one kind."""

    def __init__(self, kind: str = "ed25519", at: int = T0, bits: int = 2048):
        self.kind, self.at = kind, at
        self.private: Any
        if kind == "rsa":
            self.private = rsa.generate_private_key(65537, bits)
        elif kind == "p256":
            self.private = ec.generate_private_key(ec.SECP256R1())
        else:
            self.private = ed25519.Ed25519PrivateKey.generate()
        self.algorithm, material = self._material()
        self.body = b"\x04" + at.to_bytes(4) + bytes([self.algorithm]) + material
        self.hashable = b"\x99" + len(self.body).to_bytes(2) + self.body
        self.fingerprint = hashlib.sha1(self.hashable).digest()
        self.hint = subpacket(16, self.fingerprint[-8:])

    def _material(self) -> tuple[int, bytes]:
        public = self.private.public_key()
        if self.kind == "rsa":
            return 1, integer(public.public_numbers().n) + integer(public.public_numbers().e)
        if self.kind == "p256":
            point = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
            return 19, b"\x08" + bytes.fromhex("2a8648ce3d030107") + integer(point)
        raw = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
        if self.kind == "ed25519-native":
            return 27, raw
        return 22, b"\x09" + bytes.fromhex("2b06010401da470f01") + integer(b"\x40" + raw)

    def sign(self, kind: int, message: bytes, *hashed: bytes, hash_: int = 8, unhashed: bytes | None = None) -> bytes:
        """A signature packet's body."""
        area = b"".join(hashed)
        other = self.hint if unhashed is None else unhashed
        head = bytes([4, kind, self.algorithm, hash_]) + len(area).to_bytes(2) + area
        name, algorithm = HASHES[hash_]
        digest = hashlib.new(name, message + head + b"\x04\xff" + len(head).to_bytes(4)).digest()
        return head + len(other).to_bytes(2) + other + digest[:2] + self._raw(digest, algorithm)

    def _raw(self, digest: bytes, algorithm: Any) -> bytes:
        if algorithm is None:  # MD5: nobody gets as far as to look at the signature
            return integer(1)
        if self.kind == "rsa":
            return integer(self.private.sign(digest, padding.PKCS1v15(), Prehashed(algorithm)))
        if self.kind == "p256":
            return b"".join(
                map(integer, decode_dss_signature(self.private.sign(digest, ec.ECDSA(Prehashed(algorithm)))))
            )
        raw = self.private.sign(digest)
        return raw if self.kind == "ed25519-native" else integer(raw[:32]) + integer(raw[32:])


def user_id(
    key: Key, *hashed: bytes, text: bytes = b"Build <build@example.com>", at: int = T0, signer: Key | None = None
) -> bytes:
    message = key.hashable + b"\xb4" + len(text).to_bytes(4) + text
    return packet(13, text) + packet(2, (signer or key).sign(0x13, message, created(at), *hashed))


def primary(key: Key, *hashed: bytes) -> bytes:
    return packet(6, key.body) + user_id(key, *hashed)


SIGNS = subpacket(27, b"\x02")
CERTIFIES = subpacket(27, b"\x01")


def subkey(key: Key, sub: Key, *hashed: bytes, back: bytes | None = None, at: int = T0) -> bytes:
    message = key.hashable + sub.hashable
    agreed = sub.sign(0x19, message, created(at)) if back is None else back
    embedded = subpacket(32, agreed) if agreed else b""
    return packet(14, sub.body) + packet(2, key.sign(0x18, message, created(at), SIGNS, embedded, *hashed))


def revocation(
    key: Key, reason: int | None = None, *, at: int = T0 + 5, signer: Key | None = None, **options: Any
) -> bytes:
    why = () if reason is None else (subpacket(29, bytes([reason]) + b"why"),)
    return packet(2, (signer or key).sign(0x20, key.hashable, created(at), *why, **options))


def armored(*sequences: bytes) -> str:
    return "\n".join(
        "-----BEGIN PGP PUBLIC KEY BLOCK-----\nComment: test\n\n"
        + base64.encodebytes(sequence).decode()
        + "=AAAA\n-----END PGP PUBLIC KEY BLOCK-----"
        for sequence in sequences
    )


def document(critical: dict | None = None, *, digest: str = DIGEST, **members: Any) -> bytes:
    """What is signed; `critical` and `members` replace parts of it."""
    known = {
        "type": "atomic container signature",
        "image": {"docker-manifest-digest": digest},
        "identity": {"docker-reference": "registry.example.com/payments/api:1.4.2"},
    }
    return json.dumps({"critical": known | (critical or {}), "optional": {}} | members).encode()


def literal(content: bytes) -> bytes:
    return packet(11, b"b\x04nameABCD" + content)


def one_pass(key: Key, *, last: int = 1, kind: int = 0, hash_: int = 8, version: int = 3) -> bytes:
    return packet(4, bytes([version, kind, hash_, key.algorithm]) + key.fingerprint[-8:] + bytes([last]))


def message(key: Key, content: bytes | None = None, *hashed: bytes, at: int = T0 + 10, **options: Any) -> bytes:
    content = document() if content is None else content
    body = key.sign(0, content, created(at), *hashed, **options)
    return one_pass(key, hash_=options.get("hash_", 8)) + literal(content) + packet(2, body)
