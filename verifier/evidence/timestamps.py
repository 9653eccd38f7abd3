"""RFC 3161 timestamps: proof by an authority that bytes existed at some time.

    stamp = verify_timestamp(der, signature, material.used_for("timestamping"), response=True)
    stamp.claims[0].time           genTime plus accuracy, microseconds: at the latest then the bytes existed
    stamp.known                    False: nobody here knows who made it

The steps of `verify_timestamp` are those of RFC 3161 section 2.2 and RFC 5652 section 5.4: read, compare the imprint,
find the signer, check its chain at genTime, check its signature. Certificates inside a token are helpers and never
anchors; where the authority's own leaf is known they are not even read. The window that a trust root gives an authority
is not judged here, nor whether the stamped signature's certificate was valid: verdicts do that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from msgspec.structs import replace

from verifier.errors import EvidenceError
from verifier.evidence.certificates import Certificate, load_certificate
from verifier.evidence.content import excerpt
from verifier.evidence.der import (
    BOOLEAN,
    GENERALIZED_TIME,
    INTEGER,
    OCTET_STRING,
    OID,
    OPTIONAL,
    SEQUENCE,
    SET,
    Der,
    Node,
    finished,
    oid_content,
    optional,
    required,
)
from verifier.evidence.keys import HashObject
from verifier.evidence.limits import CERTIFICATES, KIB
from verifier.evidence.material import Authority
from verifier.evidence.schemes import SignatureScheme, hash_of, signature_scheme, verify_signed
from verifier.evidence.x509 import chain_to, find_chains
from verifier.models import ChainClaim, Micros, TimeClaim
from verifier.times import DAY, SECOND, show_instant

TIMESTAMP_BYTES: Final = 64 * KIB
"""Bytes of one token or response. Sigstore's have 0.7 to 1.3 KiB, commercial ones with their chains up to 7."""

ATTRIBUTES: Final = 32
"""Signed attributes of one token. Real ones have 3 to 6."""

ACCURACY: Final[Micros] = DAY
"""The largest accuracy that is believed, microseconds: who knows the time no better proves nothing, and the claim's
interval must stay within what an instant can hold."""

MALFORMED: Final = "timestamp-malformed"
INVALID: Final = "timestamp-invalid"

_KEY_IDENTIFIER: Final = 0x80
"""Tag of SignerIdentifier's subjectKeyIdentifier."""

_SIGNED_DATA: Final = oid_content("1.2.840.113549.1.7.2")
_TST_INFO: Final = oid_content("1.2.840.113549.1.9.16.1.4")
_TST_INFO_OID: Final = bytes((OID, len(_TST_INFO))) + _TST_INFO
_CONTENT_TYPE: Final = oid_content("1.2.840.113549.1.9.3")
_MESSAGE_DIGEST: Final = oid_content("1.2.840.113549.1.9.4")
_SIGNING_CERTIFICATE: Final = oid_content("1.2.840.113549.1.9.16.2.12")
_SIGNING_CERTIFICATE_V2: Final = oid_content("1.2.840.113549.1.9.16.2.47")


_HASHES: Final[Mapping[str, Callable[[bytes], HashObject]]] = {
    "sha256": hashlib.sha256,
    "sha384": hashlib.sha384,
    "sha512": hashlib.sha512,
}


class Stamp(NamedTuple):
    """What a token proves."""

    claims: tuple[TimeClaim, ...]
    """One for each authority that vouches for it."""
    known: bool
    """Whether an authority is known at all; when not, one that is added later may be."""


class _Info(NamedTuple):
    """TSTInfo (RFC 3161 section 2.4.2), as far as it decides something."""

    hash: str
    imprint: bytes
    time: Micros
    accuracy: Micros


class _Signer(NamedTuple):
    """The SignerInfo (RFC 5652 section 5.3)."""

    identifier: bytes
    """DER SignerIdentifier: issuer and serial, or [0] a key identifier."""
    hash: str
    attributes: dict[bytes, bytes]
    """Content of the OID -> its one value, DER."""
    signed: bytes
    """The attributes as they are signed: tagged SET OF."""
    algorithm: bytes
    signature: bytes

    def is_named(self, certificate: Certificate) -> bool:
        """Whether this certificate is the one that SignerIdentifier names."""
        if self.identifier[0] == SEQUENCE:
            return self.identifier == _issuer_and_serial(certificate)
        doc = Der(self.identifier, MALFORMED)
        return bool(certificate.subject_key) and doc.content(doc.root(_KEY_IDENTIFIER)) == certificate.subject_key


@lru_cache(maxsize=256)
def _issuer_and_serial(certificate: Certificate) -> bytes:
    """The SignerIdentifier of a certificate: DER has one spelling, so comparing bytes is comparing names."""
    serial = int(certificate.serial, 16)
    size = serial.bit_length() // 8 + 1
    body = certificate.issuer_name + bytes((INTEGER, size)) + serial.to_bytes(size)
    length = len(body).to_bytes(4).lstrip(b"\x00")
    head = length if len(body) < 0x80 else bytes((0x80 | len(length),)) + length
    return bytes((SEQUENCE,)) + head + body


class _Token(NamedTuple):
    doc: Der
    content: bytes
    info: _Info
    embedded: tuple[Node, ...]
    signer: _Signer


def verify_timestamp(der: bytes, imprinted: bytes, authorities: Iterable[Authority], *, response: bool) -> Stamp:
    """What the timestamp `der` proves about the bytes `imprinted`.

    An authority whose first certificate is a leaf vouches for tokens of exactly that leaf. Any other one
    vouches for tokens whose embedded signer leads to its anchor. In both cases every certificate of the chain, leaf and
    anchor included, must be valid at genTime.

    Args:
        der: a TimeStampResp with status granted or grantedWithMods (`response`), or a bare token, a CMS ContentInfo.
        imprinted: what was stamped (for Sigstore and the Notary Project: the signature's bytes).
        authorities: those of use "timestamping" count, others are skipped.
        response: which of the two forms.

    Raises:
        EvidenceError: `timestamp-malformed`; `limit-exceeded`; `timestamp-invalid`: other bytes were stamped, the
            signature or what it binds is not good, or a certificate of a known authority was not valid at genTime.
    """
    token = _read(der, response=response)
    _check_imprint(token.info, imprinted)
    claims, problem, known = [], "", False
    checked: dict[Certificate, str] = {}  # a signer that is both pinned and led to by its CA is one signature
    for signer, chains in _signers(token, [a for a in authorities if a.use == "timestamping"]):
        known = True
        if signer not in checked:
            checked[signer] = _signature_problem(token, signer)
        wrong = checked[signer]
        for chain in chains:
            if wrong or not chain.valid_from <= token.info.time <= chain.valid_until:
                problem = problem or wrong or _outside(token.info, signer, chain)
            else:
                claims.append(_claim(token.info, signer, chain))
    if problem and not claims:
        raise EvidenceError(INVALID, problem)
    return Stamp(tuple(claims), known)


def _claim(info: _Info, signer: Certificate, chain: ChainClaim) -> TimeClaim:
    return TimeClaim("tsa", "attested", info.time + info.accuracy, signer.key_id, chain.authority, info.accuracy)


def _outside(info: _Info, signer: Certificate, chain: ChainClaim) -> str:
    when = show_instant(info.time)
    window = f"{show_instant(chain.valid_from)} to {show_instant(chain.valid_until)}"
    return f"stamped at {when}, but the chain of {excerpt(signer.subject)} is valid from {window}"


# ------------------------------------------------------------------------------------------------------------- signers


def _signers(token: _Token, authorities: Sequence[Authority]) -> Iterator[tuple[Certificate, tuple[ChainClaim, ...]]]:
    """The certificates that the token names as its signer, each with its chains to authorities; none without one."""
    pinned: dict[Certificate, list[ChainClaim]] = {}
    open_ones = []
    for authority in authorities:
        own = _own_leaf(authority.certificates)
        if own is None:
            open_ones.append(authority)
        elif own.chain is not None and token.signer.is_named(own.certificate):
            claim = replace(own.chain, authority=authority.id)
            pinned.setdefault(own.certificate, []).append(claim)
    for leaf, chains in pinned.items():
        yield leaf, tuple(chains)
    if open_ones:
        embedded = _embedded(token)
        for signer in _named(token, embedded):
            found, _ = find_chains(signer, embedded, open_ones, "timestamping")
            if found:
                yield signer, found


class _OwnLeaf(NamedTuple):
    """The leaf that an authority lists, and its chain to the authority's anchor, if there is one."""

    certificate: Certificate
    chain: ChainClaim | None


@lru_cache(maxsize=256)
def _own_leaf(certificates: tuple[bytes, ...]) -> _OwnLeaf | None:
    """The leaf that stands first in an authority; None when its first certificate is a CA. The same for every token.

    A leaf that is none for timestamping stays the only signer, and has no chain: it must not open the authority to
    every other leaf of its CA. Neither does one that cannot be read: then no chain of this authority can be.
    """
    try:
        first = load_certificate(certificates[0]) if certificates else None
    except EvidenceError:
        return None
    if first is None or first.usage.ca:
        return None
    chain = chain_to(first, (), Authority("", "timestamping", certificates), "timestamping")
    return _OwnLeaf(first, chain if isinstance(chain, ChainClaim) else None)


def _embedded(token: _Token) -> tuple[Certificate, ...]:
    """The certificates inside the token; those that nobody here could use are left out."""
    found = []
    for node in token.embedded:
        try:
            found.append(load_certificate(token.doc.raw(node)))
        except EvidenceError:  # an old root in SHA-1 beside a sound leaf is common
            continue
    return tuple(dict.fromkeys(found))


def _named(token: _Token, embedded: Iterable[Certificate]) -> Iterable[Certificate]:
    """The signer among the embedded certificates. Of several with its name and number, the one that is also bound."""
    named = [certificate for certificate in embedded if token.signer.is_named(certificate)]
    if len(named) > 1:
        named = [certificate for certificate in named if not _binding_problem(token, certificate)]
    return named[:1]


def _signature_problem(token: _Token, signer: Certificate) -> str:
    """Why the token is not this certificate's; empty when it is (RFC 5652 section 5.4, RFC 5816).

    The attributes bind content and certificate, the signature binds the attributes.
    """
    parts = token.signer
    start = _HASHES.get(parts.hash)
    if start is None:
        return _weak(parts.hash, "message digest")
    if parts.attributes.get(_CONTENT_TYPE) != _TST_INFO_OID:
        return "the signed attributes do not say that a timestamp was signed"
    digest = start(token.content).digest()
    if parts.attributes.get(_MESSAGE_DIGEST) != bytes((OCTET_STRING, len(digest))) + digest:
        return "the signed attributes bind other content than the token holds"
    scheme = _scheme(parts)
    if isinstance(scheme, str):
        return scheme
    if not verify_signed(signer.spki, scheme, parts.signature, parts.signed):
        return f"the token is not signed by {excerpt(signer.subject)}, which it names"
    return _binding_problem(token, signer)


def _scheme(parts: _Signer) -> SignatureScheme | str:
    """The declared scheme, or why it cannot be used."""
    scheme = signature_scheme(parts.algorithm)
    if isinstance(scheme, str):
        return scheme
    if scheme.kind == "rsa-bare":
        return SignatureScheme("rsa", parts.hash)
    if scheme.hash and scheme.hash != parts.hash:
        return f"the signer hashes with {parts.hash} and signs with {scheme.hash}"
    return scheme


def _binding_problem(token: _Token, signer: Certificate) -> str:
    """Why the token does not bind this certificate (ESSCertID); empty when it does (RFC 5816 section 2.2.1).

    One binding is required, and each that is there must hold. The first version is SHA-1 by definition (RFC 2634
    section 5.4.1): it only says which of the certificates that lead to a known authority is meant, and nobody gains by
    a second one with the same hash.
    """
    attributes = token.signer.attributes
    first, second = attributes.get(_SIGNING_CERTIFICATE), attributes.get(_SIGNING_CERTIFICATE_V2)
    if first is None and second is None:
        return "the token does not bind the certificate of its signer (ESSCertID)"
    for version, value in (("sha1", first), ("", second)):
        if value is None:
            continue
        hash_name, expected = _certificate_hash(value, version)
        if not version and hash_name not in _HASHES:
            return _weak(hash_name, "certificate hash")
        if _fingerprint(signer, hash_name) != expected:
            return "the token binds another certificate than that of its signer (ESSCertID)"
    return ""


@lru_cache(maxsize=256)
def _fingerprint(certificate: Certificate, hash_name: str) -> bytes:
    return hashlib.new(hash_name, certificate.der, usedforsecurity=False).digest()


@lru_cache(maxsize=256)
def _certificate_hash(value: bytes, version_hash: str) -> tuple[str, bytes]:
    """(hash, value) of the first ESSCertID or ESSCertIDv2; further ones may describe the rest of the chain.

    Kept: an authority writes the same bytes into every token.
    """
    doc = Der(value, MALFORMED)
    outer = doc.children(doc.root(SEQUENCE))
    entries = doc.children(required(outer, SEQUENCE, doc, "SigningCertificate.certs"))
    fields = doc.children(required(entries, SEQUENCE, doc, "ESSCertID"))
    named = None if version_hash else optional(fields, SEQUENCE)
    hash_name = version_hash or "sha256"
    if named is not None:
        hash_name = hash_of(doc, named)
    return hash_name, doc.content(required(fields, OCTET_STRING, doc, "certHash"))


def _weak(hash_name: str, what: str) -> str:
    return f"{what} in {excerpt(hash_name)}; expected one of {', '.join(_HASHES)}"


def _check_imprint(info: _Info, imprinted: bytes) -> None:
    start = _HASHES.get(info.hash)
    if start is None:
        raise EvidenceError(INVALID, _weak(info.hash, "message imprint"))
    if start(imprinted).digest() != info.imprint:
        raise EvidenceError(INVALID, "the timestamp is about other bytes: its imprint does not match")


# --------------------------------------------------------------------------------------------------------------- forms


def _read(der: bytes, *, response: bool) -> _Token:
    if len(der) > TIMESTAMP_BYTES:
        raise EvidenceError("limit-exceeded", f"a timestamp of {len(der)} bytes, limit {TIMESTAMP_BYTES}")
    doc = Der(der, MALFORMED)
    root = doc.root(SEQUENCE)
    return _read_token(doc, _granted(doc, root) if response else root)


def _granted(doc: Der, root: Node) -> Node:
    """The token of a TimeStampResp (RFC 3161 section 2.4.2)."""
    fields = doc.children(root)
    status = doc.children(required(fields, SEQUENCE, doc, "PKIStatusInfo"))
    code = doc.unsigned(required(status, INTEGER, doc, "status"), "status")
    if code not in {0, 1}:
        raise EvidenceError(INVALID, f"the authority did not grant a timestamp (status {excerpt(code)})")
    token = required(fields, SEQUENCE, doc, "timeStampToken")
    finished(fields, doc, "TimeStampResp")
    return token


def _read_token(doc: Der, info: Node) -> _Token:
    """ContentInfo and SignedData (RFC 5652 sections 3 and 5.1). CRLs are skipped: revocation is not asked here."""
    kind, wrapped = doc.fields(info, "ContentInfo", (OID, 0xA0))
    if doc.content(kind) != _SIGNED_DATA:
        raise doc.refuse("the token is not CMS SignedData")
    _, _, encapsulated, certificates, _, signers = doc.fields(
        doc.only_child(wrapped, SEQUENCE, "SignedData"),
        "SignedData",
        (INTEGER, SET, SEQUENCE, OPTIONAL | 0xA0, OPTIONAL | 0xA1, SET),
    )
    content = _content(doc, encapsulated)
    # RFC 3161 section 2.4.2: the authority's signature and no other
    signer = doc.only_child(signers, SEQUENCE, "a timestamp token needs exactly one signer")
    return _Token(doc, content, _read_info(content), _certificate_nodes(doc, certificates), _signer(doc, signer))


def _content(doc: Der, node: Node) -> bytes:
    kind, wrapped = doc.fields(node, "encapContentInfo", (OID, 0xA0))
    if doc.content(kind) != _TST_INFO:
        raise doc.refuse("the token holds no timestamp (eContentType)")
    return doc.content(doc.only_child(wrapped, OCTET_STRING, "eContent"))


def _certificate_nodes(doc: Der, certificates: Node) -> tuple[Node, ...]:
    """The X.509 certificates of the set, which may be in any order; not parsed before somebody needs them."""
    nodes = doc.children(certificates) if certificates[0] else []
    if len(nodes) > CERTIFICATES:
        raise EvidenceError("limit-exceeded", f"{len(nodes)} certificates in a timestamp, limit {CERTIFICATES}")
    return tuple(node for node in nodes if node[0] == SEQUENCE)


_SIGNER_LAYOUT: Final = (
    INTEGER,  # version
    OPTIONAL
    | SEQUENCE,  # issuerAndSerialNumber; without it and the next, digestAlgorithm is taken for it, and missing then
    OPTIONAL | _KEY_IDENTIFIER,
    SEQUENCE,  # digestAlgorithm
    0xA0,  # signedAttrs
    SEQUENCE,  # signatureAlgorithm
    OCTET_STRING,
    OPTIONAL | 0xA1,  # unsignedAttrs
)


def _signer(doc: Der, node: Node) -> _Signer:
    """The SignerInfo. Its unsigned attributes are skipped: nothing in there is vouched for."""
    _, by_name, by_key, digest, attributes, algorithm, signature, _ = doc.fields(node, "SignerInfo", _SIGNER_LAYOUT)
    if by_name[0] and by_key[0]:
        raise doc.refuse("SignerInfo names its signer twice")
    identifier = by_name if by_name[0] else by_key
    return _Signer(
        doc.raw(identifier),
        hash_of(doc, digest),
        _attributes(doc, attributes),
        b"\x31" + doc.raw(attributes)[1:],
        doc.raw(algorithm),
        doc.content(signature),
    )


def _attributes(doc: Der, node: Node) -> dict[bytes, bytes]:
    """Each attribute once, each with one value (RFC 5652 section 11)."""
    entries = doc.children(node)
    if len(entries) > ATTRIBUTES:
        raise EvidenceError("limit-exceeded", f"{len(entries)} signed attributes, limit {ATTRIBUTES}")
    found: dict[bytes, bytes] = {}
    for entry in entries:
        name, values = doc.fields(entry, "a signed attribute", (OID, SET))
        if len(doc.children(values)) != 1:
            raise doc.refuse("a signed attribute that has not exactly one value")
        found[doc.content(name)] = doc.content(values)
    if len(found) != len(entries):
        raise doc.refuse("a signed attribute stands twice")
    return found


_TST_INFO_LAYOUT: Final = (
    INTEGER,  # version
    OID,  # policy: which promises the authority made is not asked
    SEQUENCE,  # messageImprint
    INTEGER,  # serialNumber
    GENERALIZED_TIME,
    OPTIONAL | SEQUENCE,  # accuracy
    OPTIONAL | BOOLEAN,  # ordering
    OPTIONAL | INTEGER,  # nonce: nobody here sent a request
    OPTIONAL | 0xA0,  # tsa: the certificate says better who signed
    OPTIONAL | 0xA1,  # extensions
)


def _read_info(content: bytes) -> _Info:
    doc = Der(content, MALFORMED)
    version, _, imprint, _, moment, accuracy, _, _, _, extensions = doc.fields(
        doc.root(SEQUENCE), "TSTInfo", _TST_INFO_LAYOUT
    )
    if doc.content(version) != b"\x01":
        raise doc.refuse("TSTInfo of a version other than 1")
    if extensions[0] and _any_critical(doc, extensions):
        raise doc.refuse("TSTInfo has a critical extension that is not understood")
    algorithm, hashed = doc.fields(imprint, "messageImprint", (SEQUENCE, OCTET_STRING))
    return _Info(
        hash_of(doc, algorithm),
        doc.content(hashed),
        doc.time(moment, "genTime"),
        _accuracy(doc.raw(accuracy)) if accuracy[0] else 0,
    )


@lru_cache(maxsize=256)
def _accuracy(raw: bytes) -> Micros:
    """Accuracy: seconds, [0] millis, [1] micros, each optional; the small ones are below 1000. Kept, as it repeats."""
    doc = Der(raw, MALFORMED)
    fields = doc.fields(doc.root(SEQUENCE), "accuracy", (OPTIONAL | INTEGER, OPTIONAL | 0x80, OPTIONAL | 0x81))
    total = 0
    for part, unit, most in zip(fields, (SECOND, 1000, 1), (ACCURACY // SECOND, 999, 999), strict=True):
        value = doc.unsigned(part, "accuracy") if part[0] else 0
        if value > most:
            raise EvidenceError("limit-exceeded", f"a timestamp's accuracy of more than {most} units of {unit} µs")
        total += value * unit
    return total


def _any_critical(doc: Der, extensions: Node) -> bool:
    """Whether one of TSTInfo's extensions is critical ([1] IMPLICIT SEQUENCE OF Extension)."""
    for entry in doc.children(extensions):
        parts = doc.children(entry)
        required(parts, OID, doc, "extnID")
        flag = optional(parts, BOOLEAN)
        if flag is not None and doc.true(flag):
            return True
    return False
