"""Signatures of trust administrators: only what they signed counts in a log that others can write to.

What is signed (Ed25519, RFC 8032) is one byte string in the manner of DSSE's pre-authentication encoding. Every part
stands behind its length, so no two entries have the same form:

    "revet trust entry v1" then for each of (log, previous, epoch, time, record): " " LENGTH " " BYTES

    log       name of the trust log (setting `administrators.log`): an entry for staging counts nowhere else
    previous  SHA-256 over the form of the entry before it, 32 bytes; of the first entry nothing. So an entry stands for
              the whole history its author saw: what was prepared beside another history is the loser of a race
    epoch     the epoch this entry makes, decimal; time: microseconds UTC, decimal
    record    the bytes of the trust record as they lie in the log: parsed once, never written anew

    entry = TrustEntry("revet", gate.head, gate.reached + 1, now, record)
    signature = sign(entry, private_key)
    check(entry, (signature,), administrators).names            ("alice",)

Two keys of one administrator are one administrator. What it refuses to do: read files, know what a record means
(`verifier.trust.loosening` does), decide how many signatures are enough (`streams.trustlog`).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from verifier.errors import TrustError
from verifier.models import Micros

DOMAIN: Final = b"revet trust entry v1"
KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
MAX_SIGNATURES: Final = 16
"""Signatures of one entry that are looked at: nobody has that many administrators sign one change."""
MAX_ADMINISTRATORS: Final = 64

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,127}", re.ASCII)
_WINDOW: Final = re.compile(r"(from|until)=([1-9][0-9]{0,17})", re.ASCII)


class TrustEntry(NamedTuple):
    """What an administrator signs."""

    log: str
    previous: bytes
    epoch: int
    time: Micros
    record: bytes


class Signature(NamedTuple):
    """One signature and whose key made it."""

    key_id: str
    """Hex SHA-256 of the public key's SubjectPublicKeyInfo, as of every key revet knows."""
    value: bytes


class Administrator(NamedTuple):
    """Somebody who may change trust, with one key."""

    name: str
    key: bytes
    """Ed25519 public key, 32 bytes."""
    since: int = 1
    """First epoch this key may sign for."""
    until: int | None = None
    """Last epoch; None: no end. What it signed up to there stays good when its owner leaves."""

    @property
    def key_id(self) -> str:
        """Hex SHA-256 of the SubjectPublicKeyInfo."""
        return key_id_of(Ed25519PublicKey.from_public_bytes(self.key))

    def may_sign(self, epoch: int) -> bool:
        """Is `epoch` within what this key may sign for?"""
        return self.since <= epoch and (self.until is None or epoch <= self.until)

    def line(self) -> str:
        """As the settings have it: `alice=KEY from=5 until=9`."""
        start = f" from={self.since}" if self.since != 1 else ""
        end = f" until={self.until}" if self.until is not None else ""
        return f"{self.name}={base64.b64encode(self.key).decode()}{start}{end}"


class Checked(NamedTuple):
    """Who signed an entry."""

    names: tuple[str, ...]
    """Different administrators with a valid signature, sorted."""
    problem: str = ""
    """With nobody: what is wrong with the best of the signatures, in words without a value of the entry."""


# ------------------------------------------------------------------------------------------------------- the signature


def signed_form(entry: TrustEntry) -> bytes:
    """The bytes that are signed."""
    parts = (
        entry.log.encode(), entry.previous, str(entry.epoch).encode(), str(entry.time).encode(), entry.record,
    )  # fmt: skip
    return DOMAIN + b"".join(b" %d %b" % (len(part), part) for part in parts)


def entry_hash(entry: TrustEntry) -> bytes:
    """SHA-256 of the signed form: `previous` of the entry behind it."""
    return hashlib.sha256(signed_form(entry)).digest()


def sign(entry: TrustEntry, key: Ed25519PrivateKey) -> Signature:
    """An administrator's signature."""
    return Signature(key_id_of(key.public_key()), key.sign(signed_form(entry)))


def check(
    entry: TrustEntry, signatures: Iterable[tuple[str, bytes]], administrators: Iterable[Administrator]
) -> Checked:
    """Who of the administrators signed this entry. Signatures that do not count are passed over: they prove nothing.

    Raises nothing.
    """
    known = {administrator.key_id: administrator for administrator in administrators}
    form = signed_form(entry)
    names: set[str] = set()
    problems: list[str] = []
    for key_id, value in tuple(signatures)[:MAX_SIGNATURES]:
        administrator = known.get(key_id)
        if administrator is None:
            problems.append(_UNKNOWN)
        elif not _signed(administrator.key, value, form):
            problems.append(_WRONG)
        elif not administrator.may_sign(entry.epoch):
            problems.append(_OUTSIDE)
        else:
            names.add(administrator.name)
    if names:
        return Checked(tuple(sorted(names)))
    return Checked((), max(problems, key=_BY_WEIGHT.index, default=_UNSIGNED))


_UNSIGNED: Final = "it is not signed"
_UNKNOWN: Final = "it is signed by a key that is no trust administrator's"
_WRONG: Final = "its signature is not of this entry in this log"
_OUTSIDE: Final = "it is signed by a key that may not sign for this epoch"
_BY_WEIGHT: Final = (_UNSIGNED, _UNKNOWN, _WRONG, _OUTSIDE)


def _signed(key: bytes, signature: bytes, form: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, form)
    except InvalidSignature:
        return False
    return True


# ------------------------------------------------------------------------------------------------- who may, in settings


def read_administrators(lines: Iterable[str]) -> tuple[Administrator, ...]:
    """Administrators of lines `NAME=KEY`, KEY the base64 of an Ed25519 public key, optionally with ` from=EPOCH` and
    ` until=EPOCH` behind it. One name may have several keys; one key has one name.

    Raises:
        ValueError: a line is something else, or a key comes twice. Says which by its number: what stands in it may be a
            private key.
    """
    found: list[Administrator] = []
    owners: dict[bytes, str] = {}
    for number, line in enumerate(lines, 1):
        administrator = _administrator(line)
        if administrator is None:
            raise ValueError(
                f"key {number} is not NAME=KEY with the base64 of a public key's {KEY_BYTES} bytes (as `revet trust"
                " keygen NAME` prints it), optionally with from=EPOCH and until=EPOCH behind it"
            )
        if administrator.key in owners:
            other = owners[administrator.key]
            same = "comes twice" if other == administrator.name else f"has the key of {other}; they would count as two"
            raise ValueError(f"key {number}: {administrator.name} {same}")
        owners[administrator.key] = administrator.name
        found.append(administrator)
    if len(found) > MAX_ADMINISTRATORS:
        raise ValueError(f"{len(found)} keys, at most {MAX_ADMINISTRATORS}")
    return tuple(found)


def _administrator(line: str) -> Administrator | None:
    head, *rest = line.split()[:4] or [""]
    name, _, text = head.partition("=")
    key = _public_key(text)
    window = [_WINDOW.fullmatch(word) for word in rest]
    if _NAME.fullmatch(name) is None or key is None or not all(window):
        return None
    epochs = {match[1]: int(match[2]) for match in window if match is not None}
    since, until = epochs.get("from", 1), epochs.get("until")
    if len(epochs) != len(rest) or (until is not None and until < since):
        return None
    return Administrator(name, key, since, until)


def _public_key(text: str) -> bytes | None:
    try:
        key = base64.b64decode(text, validate=True)
        usable = len(key) == KEY_BYTES and key not in _SMALL_ORDER and Ed25519PublicKey.from_public_bytes(key)
    except (binascii.Error, ValueError):
        return None
    return key if usable else None


def _small_order() -> frozenset[bytes]:
    """Encodings of the points of small order: under such a key one signature fits many messages, whoever made it."""
    p = 2**255 - 19
    y8 = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
    ys = (0, 1, p - 1, p, p + 1, y8, p - y8)
    return frozenset((y | sign << 255).to_bytes(KEY_BYTES, "little") for y in ys for sign in (0, 1))


_SMALL_ORDER: Final = _small_order()


def key_id_of(key: Ed25519PublicKey) -> str:
    """Hex SHA-256 of the SubjectPublicKeyInfo (DER)."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


# --------------------------------------------------------------------------------------------------------- private keys


def generate(passphrase: bytes | None = None) -> tuple[bytes, bytes]:
    """A new key: (private part as PKCS #8 PEM, encrypted when there is a passphrase; public part, 32 bytes)."""
    key = Ed25519PrivateKey.generate()
    how: KeySerializationEncryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how)
    return pem, key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def is_encrypted(pem: bytes) -> bool:
    """Does this private key ask for a passphrase?"""
    return b"-----BEGIN ENCRYPTED PRIVATE KEY-----" in pem


def load_private_key(pem: bytes, passphrase: bytes | None = None) -> Ed25519PrivateKey:
    """An administrator's key.

    Raises:
        TrustError: it is none, of another kind, or the passphrase is wrong. The message holds nothing of the key.
    """
    try:
        key = load_pem_private_key(pem, passphrase if is_encrypted(pem) else None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        wrong = "cannot be opened with this passphrase" if is_encrypted(pem) else "is no private key in PEM (PKCS #8)"
        raise TrustError(f"the signing key {wrong}; `revet trust keygen NAME` makes one") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise TrustError("the signing key is not Ed25519; `revet trust keygen NAME` makes one")
    return key
