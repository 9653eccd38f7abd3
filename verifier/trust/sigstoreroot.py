"""Sigstore's `trusted_root.json` (protobuf-specs sigstore_trustroot.proto, JSON form) as authorities and logs.

    authorities, logs = read_trusted_root(text)

    {"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
     "tlogs": […], "ctlogs": […], "certificateAuthorities": […], "timestampAuthorities": […]}

A document is taken whole or not at all. Leaving out an entry that cannot be read would turn a mistake into evidence
"of an unknown log", and a missing start into "since ever". Signing configurations and log operators are not read.
"""

from __future__ import annotations

import hashlib
from base64 import encodebytes
from collections.abc import Callable
from types import MappingProxyType
from typing import Final, Literal, TypeVar
from urllib.parse import urlsplit

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from verifier.errors import EvidenceError, PolicyError, TrustError
from verifier.evidence.base64text import decode_base64
from verifier.evidence.content import excerpt
from verifier.evidence.keys import PublicKey, load_public_key
from verifier.evidence.limits import CERTIFICATES, MIB
from verifier.evidence.material import Authority, AuthorityUse, Log, LogUse, authority_id
from verifier.evidence.strictjson import StrictDecoder
from verifier.models import Micros
from verifier.times import parse_instant
from verifier.trust.pemroots import issued_by, label_of, load

MEDIA_TYPES: Final = frozenset(
    {
        "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
        "application/vnd.dev.sigstore.trustedroot.v0.1+json",
        "application/vnd.dev.sigstore.trustedroot.v0.2+json",
    }
)

TRUSTED_ROOT_BYTES: Final = MIB
"""Bytes of a document. The public one has 7 KiB."""

ROOT_ENTRIES: Final = 256
"""Logs, or authorities, of one kind in one document. The public one has two of each; old ones stay listed."""

_CODE: Final = "trust-root-malformed"
"""Code of errors that never leave this module as such: they become `TrustError`."""
_LOG_ID_BYTES: Final = 32
_HINT_BYTES: Final = 4
_ED25519_NOTE: Final = b"\n\x01"
"""What stands between origin and key in the id of an Ed25519 note key (C2SP signed-note.md)."""

T = TypeVar("T")

_Encoding = Literal["PUBLIC KEY", "RSA PUBLIC KEY"]
_KEY_DETAILS: Final = MappingProxyType(
    {
        "PKIX_ECDSA_P256_SHA_256": ("PUBLIC KEY", "ecdsa-p256"),
        "PKIX_ECDSA_P384_SHA_256": ("PUBLIC KEY", "ecdsa-p384"),
        "PKIX_ECDSA_P384_SHA_384": ("PUBLIC KEY", "ecdsa-p384"),
        "PKIX_ECDSA_P521_SHA_256": ("PUBLIC KEY", "ecdsa-p521"),
        "PKIX_ECDSA_P521_SHA_512": ("PUBLIC KEY", "ecdsa-p521"),
        "PKIX_ED25519": ("PUBLIC KEY", "ed25519"),
        "PKIX_ED25519_PH": ("PUBLIC KEY", "ed25519"),
        "PKIX_RSA_PKCS1V5": ("PUBLIC KEY", "rsa-"),
        "PKIX_RSA_PSS": ("PUBLIC KEY", "rsa-"),
        "PKCS1_RSA_PKCS1V5": ("RSA PUBLIC KEY", "rsa-"),
        "PKCS1_RSA_PSS": ("RSA PUBLIC KEY", "rsa-"),
    }
    | {
        f"PKIX_RSA_{scheme}_{bits}_SHA256": ("PUBLIC KEY", f"rsa-{bits}")
        for scheme in ("PKCS1V15", "PSS")
        for bits in (2048, 3072, 4096)
    }
)
"""`keyDetails` -> (how the bytes are encoded, how the type of the key begins), sigstore_common.proto."""


# --------------------------------------------------------------------------------------------------------- as written


class _TimeRange(msgspec.Struct, frozen=True, gc=False):
    start: str
    end: str | None = None


class _PublicKey(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    raw_bytes: str
    key_details: str
    valid_for: _TimeRange


class _LogId(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    key_id: str


class _Log(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    base_url: str
    hash_algorithm: str
    public_key: _PublicKey
    log_id: _LogId
    checkpoint_key_id: _LogId | None = None


class _Certificate(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    raw_bytes: str


class _Chain(msgspec.Struct, frozen=True, gc=False):
    certificates: tuple[_Certificate, ...]


class _Authority(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    cert_chain: _Chain
    valid_for: _TimeRange
    uri: str | None = None


class _TrustedRoot(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    media_type: str
    tlogs: tuple[_Log, ...] | None = None
    ctlogs: tuple[_Log, ...] | None = None
    certificate_authorities: tuple[_Authority, ...] | None = None
    timestamp_authorities: tuple[_Authority, ...] | None = None


_DOCUMENT: Final = StrictDecoder(_TrustedRoot, _CODE)


# --------------------------------------------------------------------------------------------------------------- read


def read_trusted_root(content: str) -> tuple[tuple[Authority, ...], tuple[Log, ...]]:
    """The authorities and logs of a document.

    Raises:
        TrustError: with the JSON path of what is wrong, what was found and what was expected.
    """
    try:
        document = _DOCUMENT.decode(content.encode("utf-8", "surrogatepass"), limit=TRUSTED_ROOT_BYTES)
    except EvidenceError as error:
        raise TrustError(f"trusted root: {error}") from error
    if document.media_type not in MEDIA_TYPES:
        raise TrustError(f"mediaType: {excerpt(document.media_type)} is no known version of a Sigstore trusted root")
    logs = (
        *_each("tlogs", document.tlogs, lambda where, log: _log(where, log, "transparency")),
        *_each("ctlogs", document.ctlogs, lambda where, log: _log(where, log, "ct")),
    )
    authorities = (
        *_each("certificateAuthorities", document.certificate_authorities, lambda w, ca: _authority(w, ca, "signing")),
        *_each("timestampAuthorities", document.timestamp_authorities, lambda w, ca: _authority(w, ca, "timestamping")),
    )
    if not authorities and not logs:
        raise TrustError("trusted root: expected authorities or logs, found none")
    _check_ids(logs)
    return authorities, logs


_Written = TypeVar("_Written")


def _each(name: str, entries: tuple[_Written, ...] | None, read: Callable[[str, _Written], T]) -> list[T]:
    entries = entries or ()
    if len(entries) > ROOT_ENTRIES:
        raise TrustError(f"{name}: {len(entries)} entries, limit {ROOT_ENTRIES}")
    return [read(f"{name}[{number}]", entry) for number, entry in enumerate(entries)]


def _check_ids(logs: tuple[Log, ...]) -> None:
    """One key of a log, one entry: of two windows for one key the second would silently not count."""
    seen: set[tuple[str, str]] = set()
    for log in logs:
        if (log.use, log.id) in seen:
            raise TrustError(f"two {log.use} logs with id {log.id}: expected one entry per key")
        seen.add((log.use, log.id))


def _log(where: str, written: _Log, use: LogUse) -> Log:
    if written.hash_algorithm != "SHA2_256":
        found = excerpt(written.hash_algorithm)
        raise TrustError(f"{where}.hashAlgorithm: {found}, expected SHA2_256, the only hash trees are read with")
    key, spki = _key(f"{where}.publicKey", written.public_key)
    host, host_and_port = _hosts(f"{where}.baseUrl", written.base_url)
    named = _decode(f"{where}.logId.keyId", written.log_id.key_id)
    origin = host
    if named != hashlib.sha256(spki).digest():
        origin = _note_origin(f"{where}.logId.keyId", named, key, spki, (host, host_and_port), use)
    _check_hint(f"{where}.checkpointKeyId.keyId", written.checkpoint_key_id, named)
    start, end = _window(f"{where}.publicKey.validFor", written.public_key.valid_for)
    return Log(named.hex(), use, key, origin, start, end)


def _note_origin(where: str, named: bytes, key: PublicKey, spki: bytes, hosts: tuple[str, str], use: LogUse) -> str:
    """The origin under which a log's id is that of its note key; only transparency logs with Ed25519 have such ids."""
    if use == "transparency" and key.type == "ed25519":
        raw = spki[-32:]  # RFC 8410: the key is the end of its SubjectPublicKeyInfo
        for origin in hosts:
            if named == hashlib.sha256(origin.encode() + _ED25519_NOTE + raw).digest():
                return origin
    raise TrustError(f"{where}: {named[:_LOG_ID_BYTES].hex()} is not the id of this key (SHA-256, RFC 6962 3.2)")


def _check_hint(where: str, written: _LogId | None, log_id: bytes) -> None:
    """The id of the checkpoint key is the log's own, whole or cut to the length of a hint."""
    if written is None:
        return
    found = _decode(where, written.key_id)
    if found not in (log_id, log_id[:_HINT_BYTES]):
        raise TrustError(f"{where}: {found[:_LOG_ID_BYTES].hex()} is not the log's id, as whose checkpoints are read")


def _hosts(where: str, url: str) -> tuple[str, str]:
    """The host of a URL, without and with its port."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise TrustError(f"{where}: {excerpt(url)} is no URL") from error
    if parts.scheme not in {"http", "https"} or not host or not host.isascii():
        raise TrustError(f"{where}: {excerpt(url)}, expected an http or https URL with a host")
    return host, f"{host}:{port}" if port else host


def _key(where: str, written: _PublicKey) -> tuple[PublicKey, bytes]:
    """The key, and its DER SubjectPublicKeyInfo."""
    details = _KEY_DETAILS.get(written.key_details)
    if details is None:
        raise TrustError(f"{where}.keyDetails: {excerpt(written.key_details)} is no kind of key that is supported")
    label, expected = details
    raw = _decode(f"{where}.rawBytes", written.raw_bytes)
    pem = f"-----BEGIN {label}-----\n{encodebytes(raw).decode()}-----END {label}-----\n"
    try:
        key = load_public_key(pem)
    except PolicyError as error:
        raise TrustError(f"{where}.rawBytes: {error}") from error
    if not key.type.startswith(expected):
        raise TrustError(f"{where}.keyDetails: {written.key_details}, but the key is {key.type}")
    spki = load_pem_public_key(pem.encode()).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return key, spki


def _authority(where: str, written: _Authority, use: AuthorityUse) -> Authority:
    entries = written.cert_chain.certificates
    if not 0 < len(entries) <= CERTIFICATES:
        raise TrustError(f"{where}.certChain: {len(entries)} certificates, expected 1 to {CERTIFICATES}")
    places = [f"{where}.certChain.certificates[{number}]" for number in range(len(entries))]
    ders = tuple(_decode(f"{place}.rawBytes", entry.raw_bytes) for place, entry in zip(places, entries, strict=True))
    chain = [load(der, place) for place, der in zip(places, ders, strict=True)]
    for place, below, above in zip(places, chain, chain[1:], strict=False):
        if not issued_by(below, above):
            raise TrustError(f"{place}: expected a chain, leaf first; it is not issued by the certificate after it")
    start, end = _window(f"{where}.validFor", written.valid_for)
    label = excerpt(written.uri)[1:-1] if written.uri else label_of(chain[-1])
    return Authority(authority_id(use, ders), use, ders, valid_from=start, valid_until=end, label=label)


def _window(where: str, written: _TimeRange) -> tuple[Micros, Micros | None]:
    """A closed interval; without an end it is open."""
    start = _instant(f"{where}.start", written.start)
    end = _instant(f"{where}.end", written.end) if written.end is not None else None
    if end is not None and end < start:
        raise TrustError(f"{where}: ends before it starts")
    return start, end


def _instant(where: str, text: str) -> Micros:
    try:
        return parse_instant(text)
    except ValueError as error:
        raise TrustError(f"{where}: {error}") from error


def _decode(where: str, text: str) -> bytes:
    try:
        return decode_base64(text, where, _CODE)
    except EvidenceError as error:
        raise TrustError(str(error)) from error
