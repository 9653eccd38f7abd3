"""Ed25519ph (RFC 8032 section 5.1 with a SHA-512 pre-hash), which the cryptography package does not offer.

cosign signs with it whenever the key is Ed25519. The pre-hashed form puts `dom2` in front of every hash, so it cannot
be expressed through a library call for pure Ed25519: this is the curve arithmetic, for public data only. It is not
constant-time and must never see a private key outside tests. About 4 ms per verification; such keys are rare.

    verify_ph(public_key_bytes, signature, message)          True or False, never an error
"""

from __future__ import annotations

import hashlib
from typing import Final

# Domain parameters, RFC 8032 section 5.1.
P: Final = 2**255 - 19
ORDER: Final = 2**252 + 27742317777372353535851937790883648493
D: Final = -121665 * pow(121666, P - 2, P) % P
_SQRT_MINUS_ONE: Final = pow(2, (P - 1) // 4, P)
_BITS: Final = 255
_SIGN: Final = 1 << _BITS

PH_PREFIX: Final = b"SigEd25519 no Ed25519 collisions" + bytes([1, 0])
"""`dom2(phflag=1, context="")`, RFC 8032 section 2."""

KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64

Point = tuple[int, int, int, int]
"""Extended homogeneous coordinates (X, Y, Z, T): x = X/Z, y = Y/Z, x*y = T/Z."""

_NEUTRAL: Final[Point] = (0, 1, 1, 0)
_BASE_X: Final = 15112221349535400772501151409588531511454012693041857206046113283949847762202
_BASE_Y: Final = 46316835694926478169428394003475163141307993866256225615783033603165251855960
BASE: Final[Point] = (_BASE_X, _BASE_Y, 1, _BASE_X * _BASE_Y % P)
"""B of RFC 8032 section 5.1."""


def verify_ph(public_key: bytes, signature: bytes, message: bytes) -> bool:
    """RFC 8032 section 5.1.7 for Ed25519ph with an empty context."""
    return verify_with_prefix(public_key, signature, hashlib.sha512(message).digest(), PH_PREFIX)


def verify_with_prefix(public_key: bytes, signature: bytes, hashed: bytes, prefix: bytes) -> bool:
    """The equation S*B = R + k*A without cofactor, as in Go and OpenSSL: R is computed anew and compared as bytes.

    `prefix` is `dom2`; empty gives pure Ed25519 over `hashed`, which is how the arithmetic is tested against vectors.
    """
    if len(public_key) != KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    key = decode_point(public_key)
    s = int.from_bytes(signature[32:], "little")
    if key is None or s >= ORDER:  # S beyond the order: a second signature from a first (malleability)
        return False
    k = int.from_bytes(hashlib.sha512(prefix + signature[:32] + public_key + hashed).digest(), "little") % ORDER
    x, y, z, t = key
    recomputed = add(multiply(s, BASE), multiply(k, (-x % P, y, z, -t % P)))
    return encode_point(recomputed) == signature[:32]


def add(p: Point, q: Point) -> Point:
    """RFC 8032 section 5.1.4."""
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def multiply(scalar: int, point: Point) -> Point:
    """Double and add."""
    result = _NEUTRAL
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point = add(point, point)
        scalar >>= 1
    return result


def encode_point(point: Point) -> bytes:
    """RFC 8032 section 5.1.2."""
    inverse = pow(point[2], P - 2, P)
    x, y = point[0] * inverse % P, point[1] * inverse % P
    return (y | (x & 1) << _BITS).to_bytes(KEY_BYTES, "little")


def decode_point(data: bytes) -> Point | None:
    """RFC 8032 section 5.1.3; None for bytes that are no point, also for a y that is not reduced."""
    number = int.from_bytes(data, "little")
    y, odd = number & (_SIGN - 1), number >> _BITS
    if y >= P:
        return None
    x = _recover_x(y)
    if x is None or (x == 0 and odd):
        return None
    if x & 1 != odd:
        x = P - x
    return (x, y, 1, x * y % P)


def _recover_x(y: int) -> int | None:
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * _SQRT_MINUS_ONE % P
    return x if (x * x - square) % P == 0 else None
