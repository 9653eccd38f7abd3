"""Signed certificate timestamps inside a Fulcio leaf: proof that a CT log saw the certificate (RFC 6962 section 3).

    verify_scts(leaf, issuer, material)       ((SctClaim(log, time), ...), (ids of unknown logs, ...))

Only the list inside the certificate is read, and only version 1. The window of a log's key is not judged here, nor how
many logs are enough. A timestamp of a log that nobody knows is no error; a bad signature of a known one is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final, NamedTuple

from verifier.errors import EvidenceError
from verifier.evidence.certificates import MALFORMED, Certificate
from verifier.evidence.der import OCTET_STRING, Der
from verifier.evidence.material import Log, Material
from verifier.models import Micros, SctClaim

SCTS: Final = 16
"""Timestamps of one certificate. Fulcio embeds one; each of a known log costs a verification."""

SCT_LIST: Final = "1.3.6.1.4.1.11129.2.4.2"

_HEADER: Final = 1 + 32 + 8
"""Bytes of version, log id and time."""
_PRECERTIFICATE: Final = b"\x00\x01"
"""LogEntryType precert_entry."""
_SCHEMES: Final = {b"\x04\x03": "ecdsa", b"\x04\x01": "rsa", b"\x08\x07": "ed25519"}
"""HashAlgorithm and SignatureAlgorithm (RFC 5246 section 7.4.1.4.1, RFC 8422 section 5.1.3): SHA-256 with ECDSA or
RSA, which RFC 6962 section 2.1.4 allows, and Ed25519."""


class _Sct(NamedTuple):
    log: str
    millis: bytes
    extensions: bytes
    """With their two bytes of length: they are signed as they stand (static-CT logs put the leaf index here)."""
    scheme: bytes
    signature: bytes

    @property
    def time(self) -> Micros:
        return int.from_bytes(self.millis) * 1000


def verify_scts(
    leaf: Certificate, issuer: Certificate, material: Material
) -> tuple[tuple[SctClaim, ...], tuple[str, ...]]:
    """(the good timestamps, one for each log; hex ids of the logs that are unknown), in the order of the certificate.

    Args:
        leaf: the certificate with the list; without one the answer is empty.
        issuer: the CA that signed it: its key is part of what logs sign.
        material: where the CT logs are. Of several timestamps of one log the earliest stands.

    Raises:
        EvidenceError: `sct-invalid`, the signature of a known log is not good; `certificate-malformed`, the list cannot
            be read; `unsupported-evidence`, a version other than 1; `limit-exceeded`, more than `SCTS`.
    """
    extension = leaf.extensions.get(SCT_LIST)
    if extension is None:
        return (), ()
    claims: dict[str, SctClaim] = {}
    unknown: dict[str, None] = {}
    for sct in dict.fromkeys(_read_list(extension.value)):
        log = material.log("ct", sct.log)
        if log is None:
            unknown[sct.log] = None
        elif not _is_good(sct, log, leaf, issuer):
            raise EvidenceError("sct-invalid", f"the timestamp of CT log {sct.log[:12]} is not signed by it")
        elif sct.log not in claims or sct.time < claims[sct.log].time:
            claims[sct.log] = SctClaim(sct.log, sct.time)
    return tuple(claims.values()), tuple(unknown)


def _is_good(sct: _Sct, log: Log, leaf: Certificate, issuer: Certificate) -> bool:
    """RFC 6962 section 3.2, the structure that is signed for a precertificate."""
    tbs = leaf.precertificate()
    entry = hashlib.sha256(issuer.spki).digest() + len(tbs).to_bytes(3) + tbs
    signed = b"\x00\x00" + sct.millis + _PRECERTIFICATE + entry + sct.extensions
    declared = _SCHEMES.get(sct.scheme, "")
    expected = {"ecdsa": f"{log.key.type}-sha256", "rsa": "rsa-pkcs1-sha256", "ed25519": "ed25519"}.get(declared)
    return log.key.verify(sct.signature, signed) == expected


def _read_list(value: bytes) -> Iterator[_Sct]:
    """SignedCertificateTimestampList (RFC 6962 section 3.3): a TLS vector of vectors inside an OCTET STRING."""
    doc = Der(value, MALFORMED)
    data = doc.content(doc.root(OCTET_STRING))
    entries, rest = _vector(data)
    if rest or not entries:
        raise EvidenceError(MALFORMED, "the list of certificate timestamps is empty or has bytes behind it")
    count = 0
    while entries:
        one, entries = _vector(entries)
        count += 1
        if count > SCTS:
            raise EvidenceError("limit-exceeded", f"more than {SCTS} certificate timestamps")
        yield _read(one)


def _read(data: bytes) -> _Sct:
    if data[:1] != b"\x00":
        raise EvidenceError("unsupported-evidence", "a certificate timestamp of a version other than 1")
    _, rest = _vector(data[_HEADER:])
    extensions = data[_HEADER : len(data) - len(rest)]
    signature, after = _vector(rest[2:])
    if after or not signature:
        raise EvidenceError(MALFORMED, "a certificate timestamp without a signature, or with bytes behind it")
    return _Sct(data[1:33].hex(), data[33:_HEADER], extensions, rest[:2], signature)


def _vector(data: bytes) -> tuple[bytes, bytes]:
    """A TLS vector with two bytes of length, and what stands behind it (RFC 5246 section 4.3)."""
    size = 2 + int.from_bytes(data[:2])
    if len(data) < 2 or len(data) < size:
        raise EvidenceError(MALFORMED, "a list of certificate timestamps that ends too early")
    return data[2:size], data[size:]
