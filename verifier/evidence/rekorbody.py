"""What a log entry's body says it is about, compared with a signature at hand, kind by kind.

    kind = kind_of(body)                       "hashedrekord/0.0.1"
    check_body(kind, body, signed)             nothing, or EvidenceError("log-entry-mismatch", …)

A body is compared in three parts: content (by hash), signature and signer. All three must be this signature's: without
the signer an entry of somebody else's signature over the same image would do, without the signature one entry would
vouch for every later signature of the key. Values are compared as bytes after decoding, never as base64 or PEM text.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, NoReturn

import msgspec

from verifier.errors import EvidenceError
from verifier.evidence.base64text import decode_any_base64, decode_base64
from verifier.evidence.content import excerpt
from verifier.evidence.der import SEQUENCE, Der
from verifier.evidence.limits import ENVELOPE_SIGNATURES, MIB
from verifier.evidence.strictjson import StrictDecoder

_MALFORMED: Final = "log-entry-malformed"
_MISMATCH: Final = "log-entry-mismatch"
_LIMIT: Final = MIB
"""Bytes of a body here; readers of entries allow less."""
_EXPLICIT_VERSION: Final = 0xA0
"""Tag of the version of a certificate, which version 1 leaves out."""
_SPKI: Final = 5
"""Place of `subjectPublicKeyInfo` behind the version: serial, algorithm, issuer, validity and subject come first."""
_WHITESPACE: Final = b" \t\r\n"
_PEM: Final = re.compile(rb"-----BEGIN (CERTIFICATE|PUBLIC KEY)-----([A-Za-z0-9+/=\s]++)-----END \1-----")
_HASHES: Final = MappingProxyType({"256": hashlib.sha256, "384": hashlib.sha384, "512": hashlib.sha512})
_HASH_NAME: Final = re.compile(r"(?:sha|SHA2_)(256|384|512)", re.ASCII)
_IMPLIED_HASH: Final = re.compile(r"SHA_?(256|384|512)\Z", re.ASCII)
"""How `keyDetails` ends when it names a hash: `PKIX_ECDSA_P384_SHA_384`, `PKIX_RSA_PKCS1V15_3072_SHA256`."""


class Signed(msgspec.Struct, frozen=True, gc=False):
    """One signature, verified elsewhere, that an entry should be about."""

    signature: bytes
    """Raw."""
    key_id: str
    """Hex SHA-256 of the signer's SubjectPublicKeyInfo."""
    certificate: bytes | None = None
    """DER of the signing certificate when the signer is believed for its certificate: the entry must then show that
    certificate. None for a key that is trusted as such: the entry may show it bare, or in any certificate."""
    message: bytes | None = None
    """What the signature is over: a simple-signing payload, or the pre-authentication encoding of a DSSE envelope."""
    message_sha256: bytes = b""
    """Set when `message` is None: its SHA-256, 32 bytes."""
    payload: bytes | None = None
    """The payload of a DSSE envelope; None when the signature is not in one."""
    envelope: bytes | None = None
    """The envelope's bytes as stored, which only a classic attestation layer preserves."""


# ------------------------------------------------------------------------------------------------------- as written


class _Body(msgspec.Struct, frozen=True, gc=False):
    api_version: str = msgspec.field(name="apiVersion")
    kind: str
    spec: msgspec.Raw


class _Hash(msgspec.Struct, frozen=True, gc=False):
    algorithm: str
    value: str


class _Data(msgspec.Struct, frozen=True, gc=False):
    hash: _Hash


class _PublicKey(msgspec.Struct, frozen=True, gc=False):
    content: str


class _Signature(msgspec.Struct, frozen=True, gc=False):
    content: str
    public_key: _PublicKey = msgspec.field(name="publicKey")


class _HashedRekord1(msgspec.Struct, frozen=True, gc=False):
    data: _Data
    signature: _Signature


class _DsseSignature(msgspec.Struct, frozen=True, gc=False):
    signature: str
    verifier: str


class _Dsse1(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    payload_hash: _Hash
    signatures: tuple[_DsseSignature, ...]
    envelope_hash: _Hash | None = None


class _IntotoContent1(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    hash: _Hash
    payload_hash: _Hash | None = None


class _Intoto1(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    content: _IntotoContent1
    public_key: str


class _IntotoSignature(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    sig: str
    public_key: str


class _IntotoEnvelope(msgspec.Struct, frozen=True, gc=False):
    signatures: tuple[_IntotoSignature, ...]


class _IntotoContent2(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    payload_hash: _Hash
    envelope: _IntotoEnvelope


class _Intoto2(msgspec.Struct, frozen=True, gc=False):
    content: _IntotoContent2


class _Digest(msgspec.Struct, frozen=True, gc=False):
    algorithm: str
    digest: str


class _RawBytes(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    raw_bytes: str


class _Verifier(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    key_details: str = ""
    public_key: _RawBytes | None = None
    certificate: _RawBytes | None = msgspec.field(name="x509Certificate", default=None)


class _Signature2(msgspec.Struct, frozen=True, gc=False):
    content: str
    verifier: _Verifier


class _HashedRekord2Content(msgspec.Struct, frozen=True, gc=False):
    data: _Digest
    signature: _Signature2


class _HashedRekord2(msgspec.Struct, frozen=True, gc=False):
    content: _HashedRekord2Content = msgspec.field(name="hashedRekordV002")


_BODY: Final = StrictDecoder(_Body, _MALFORMED)
_HASHEDREKORD1: Final = StrictDecoder(_HashedRekord1, _MALFORMED)
_HASHEDREKORD2: Final = StrictDecoder(_HashedRekord2, _MALFORMED)
_DSSE1: Final = StrictDecoder(_Dsse1, _MALFORMED)
_INTOTO1: Final = StrictDecoder(_Intoto1, _MALFORMED)
_INTOTO2: Final = StrictDecoder(_Intoto2, _MALFORMED)


# ----------------------------------------------------------------------------------------------------------- compare


def kind_of(body: bytes) -> str:
    """`kind/apiVersion` as the body states them.

    Raises:
        EvidenceError: `log-entry-malformed`: not JSON, or without kind, version or content; `limit-exceeded`.
    """
    read = _BODY.decode(body, limit=_LIMIT)
    return f"{read.kind}/{read.api_version}"


def check_body(kind: str, body: bytes, signed: Signed) -> None:
    """Compares content, signature and signer (verification by kind: sigstore rekor-v2-spec.md 6.1.4, Rekor v1 schemas).

    Raises:
        EvidenceError: `log-entry-mismatch`: of another kind than `kind`, of a kind that cannot be compared, or about
            something else; `log-entry-malformed` or `limit-exceeded`.
    """
    read = _BODY.decode(body, limit=_LIMIT)
    if f"{read.kind}/{read.api_version}" != kind:
        _mismatch(f"a body of {excerpt(f'{read.kind}/{read.api_version}')}, expected {excerpt(kind)}")
    compare = _COMPARE.get(kind)
    if compare is None:
        draft = ", a draft of Rekor v2 that no log writes any more" if kind == "dsse/0.0.2" else ""
        _mismatch(f"entries of {excerpt(kind)}{draft} cannot be compared with a signature")
    compare(bytes(read.spec), signed)


def _mismatch(what: str) -> NoReturn:
    raise EvidenceError(_MISMATCH, f"log entry: {what}")


def _hashedrekord1(spec: bytes, signed: Signed) -> None:
    """Also the older `rekord`, whose members of these names mean the same."""
    read = _HASHEDREKORD1.decode(spec, limit=_LIMIT)
    _same_hash(read.data.hash, signed.message, signed.message_sha256, "the signed content")
    _same_signature(read.signature.content, signed)
    _same_pem(read.signature.public_key.content, signed)


def _hashedrekord2(spec: bytes, signed: Signed) -> None:
    read = _HASHEDREKORD2.decode(spec, limit=_LIMIT).content
    verifier = read.signature.verifier
    _check_prehash(verifier.key_details, read.data.algorithm)
    value = decode_base64(read.data.digest, "log entry: digest", _MALFORMED).hex()
    _same_hash(_Hash(read.data.algorithm, value), signed.message, signed.message_sha256, "the signed content")
    _same_signature(read.signature.content, signed)
    shown = verifier.certificate or verifier.public_key
    if shown is None or (verifier.certificate and verifier.public_key):
        raise EvidenceError(_MALFORMED, "log entry: expected exactly one of x509Certificate and publicKey")
    der = decode_base64(shown.raw_bytes, "log entry: verifier", _MALFORMED)
    _same_signer(der, signed, certificate=verifier.certificate is not None)


def _check_prehash(key_details: str, algorithm: str) -> None:
    """The entry's hash is the one its key signs with; a key that takes whole messages has no place in such an entry."""
    implied = "512" if key_details == "PKIX_ED25519_PH" else "".join(_IMPLIED_HASH.findall(key_details))
    if key_details == "PKIX_ED25519":
        _mismatch("pure Ed25519 signs no digest, so an entry of a digest cannot be its")
    if implied and algorithm != f"SHA2_{implied}":
        _mismatch(f"a digest of {excerpt(algorithm)} under a key of {excerpt(key_details)}")


def _dsse1(spec: bytes, signed: Signed) -> None:
    read = _DSSE1.decode(spec, limit=_LIMIT)
    _same_payload(read.payload_hash, signed)
    if read.envelope_hash is not None and signed.envelope is not None:
        _same_hash(read.envelope_hash, signed.envelope, b"", "the envelope")
    _any_signature(signed, [(entry.signature, entry.verifier) for entry in read.signatures])


def _intoto1(spec: bytes, signed: Signed) -> None:
    """Has no signature: the hash of the whole envelope stands for it, so the envelope's bytes must be at hand."""
    read = _INTOTO1.decode(spec, limit=_LIMIT)
    if signed.envelope is None:
        _mismatch("an intoto/0.0.1 entry names a whole envelope, whose bytes this evidence does not preserve")
    _same_hash(read.content.hash, signed.envelope, b"", "the envelope")
    if read.content.payload_hash is not None:
        _same_payload(read.content.payload_hash, signed)
    _same_pem(read.public_key, signed)


def _intoto2(spec: bytes, signed: Signed) -> None:
    """Signatures are base64 twice: of the text in the envelope, which is base64 already."""
    read = _INTOTO2.decode(spec, limit=_LIMIT)
    _same_payload(read.content.payload_hash, signed)
    pairs = [(entry.sig, entry.public_key) for entry in read.content.envelope.signatures]
    _any_signature(signed, [(_once_decoded(sig), key) for sig, key in pairs])


def _once_decoded(sig: str) -> str:
    text = decode_base64(sig, "log entry: sig", _MALFORMED)
    return text.decode("ascii", "replace")  # what is not ASCII is refused as base64 later


_COMPARE: Final[Mapping[str, Callable[[bytes, Signed], None]]] = MappingProxyType(
    {
        "hashedrekord/0.0.1": _hashedrekord1,
        "hashedrekord/0.0.2": _hashedrekord2,
        "rekord/0.0.1": _hashedrekord1,
        "dsse/0.0.1": _dsse1,
        "intoto/0.0.1": _intoto1,
        "intoto/0.0.2": _intoto2,
    }
)


# ------------------------------------------------------------------------------------------------------------- parts


def _same_payload(named: _Hash, signed: Signed) -> None:
    if signed.payload is None:
        _mismatch("about a DSSE envelope, while this signature is not in one")
    _same_hash(named, signed.payload, b"", "the payload")


def _same_hash(named: _Hash, content: bytes | None, sha256: bytes, what: str) -> None:
    """`sha256` stands for content that is not at hand; other hashes of it cannot be compared, and do not match then."""
    found = _HASH_NAME.fullmatch(named.algorithm)
    if found is None:
        _mismatch(f"hash algorithm {excerpt(named.algorithm)}, expected SHA-256, 384 or 512")
    if content is not None:
        expected = _HASHES[found[1]](content).hexdigest()
    elif found[1] == "256":
        expected = sha256.hex()
    else:
        _mismatch(f"a hash of SHA-{found[1]}, while only the SHA-256 of {what} is known")
    if named.value != expected:
        _mismatch(f"the hash of {what} is {excerpt(named.value)}, expected {expected}")


def _any_signature(signed: Signed, pairs: list[tuple[str, str]]) -> None:
    """One (signature, signer) of several is this one; a second signer of the same envelope takes nothing from it."""
    if len(pairs) > ENVELOPE_SIGNATURES:
        raise EvidenceError("limit-exceeded", f"{len(pairs)} signatures in one entry, limit {ENVELOPE_SIGNATURES}")
    same = [key for text, key in pairs if _decoded(text) == signed.signature]
    if not same:
        _mismatch("about another signature")
    _same_pem(same[0], signed)


def _same_signature(text: str, signed: Signed) -> None:
    if _decoded(text) != signed.signature:
        _mismatch("about another signature")


def _decoded(text: str) -> bytes:
    """DSSE leaves the alphabet to the writer, and Rekor keeps what it was given. What does not decode is not ours."""
    return decode_any_base64(text, "log entry: signature", _MISMATCH)


def _same_pem(text: str, signed: Signed) -> None:
    """The signer as base64 of PEM; of a chain the first certificate is the signer's."""
    pem = decode_base64(text, "log entry: public key", _MALFORMED)
    found = _PEM.match(pem.lstrip(_WHITESPACE))
    if found is None:
        _mismatch(f"a signer of another form than PEM key or certificate: {excerpt(pem[:40].decode('latin-1'))}")
    inner = found[2].translate(None, _WHITESPACE).decode("ascii", "replace")
    _same_signer(decode_base64(inner, "log entry: PEM", _MALFORMED), signed, certificate=found[1] == b"CERTIFICATE")


def _same_signer(der: bytes, signed: Signed, *, certificate: bool) -> None:
    if signed.certificate is not None:
        if not certificate or der != signed.certificate:
            _mismatch("about another certificate than the signature's")
        return
    key_id = _key_id_of_certificate(der) if certificate else hashlib.sha256(der).hexdigest()
    if key_id != signed.key_id:
        _mismatch(f"about a signature of key {key_id[:12]}, expected {signed.key_id[:12]}")


def _key_id_of_certificate(data: bytes) -> str:
    """Hash of `subjectPublicKeyInfo`, the seventh member of a TBSCertificate (RFC 5280 4.1); nothing else is asked."""
    doc = Der(data, _MALFORMED)
    certificate = doc.children(doc.root(SEQUENCE))
    fields = doc.children(certificate[0]) if certificate else []
    if fields and fields[0][0] == _EXPLICIT_VERSION:
        del fields[0]
    if len(fields) <= _SPKI or fields[_SPKI][0] != SEQUENCE:
        raise EvidenceError(_MALFORMED, "log entry: a certificate without subjectPublicKeyInfo")
    return hashlib.sha256(doc.raw(fields[_SPKI])).hexdigest()
