"""X.509 certificates, read strictly (RFC 5280 section 4). Re-exported by `x509`, which decides what they are worth.

    leaf = load_certificate(der)
    leaf.subject, leaf.key_id, leaf.not_after          "CN=build,O=example", hex, microseconds
    leaf.signed_by(issuer)                             one signature, one scheme: the declared one

Two parsers read every certificate: ours, which decides, and the one of `cryptography`, which must accept it too. What
has two readings is refused: BER, an extension twice, two signature algorithms, versions without extensions. Weak keys
and signature algorithms are refused by name, in anchors too. Usage, chains, windows and revocation are not judged here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from verifier.errors import EvidenceError, PolicyError
from verifier.evidence.base64text import decode_spaced_base64
from verifier.evidence.content import excerpt
from verifier.evidence.der import (
    BIT_STRING,
    BOOLEAN,
    INTEGER,
    OCTET_STRING,
    OID,
    OPTIONAL,
    SEQUENCE,
    SET,
    Der,
    Node,
    finished,
    optional,
    required,
)
from verifier.evidence.keys import PublicKey, public_key_from_spki
from verifier.evidence.limits import CERTIFICATES, KIB
from verifier.evidence.schemes import UNSUPPORTED, SignatureScheme, signature_scheme, verify_signed
from verifier.models import Micros

CERTIFICATE_BYTES: Final = 32 * KIB
"""Bytes of one certificate. Fulcio's have 1 to 2 KiB, those of CAs with long policies some 4."""

EXTENSIONS: Final = 64
"""Extensions of one certificate. Fulcio writes up to 24."""

NAME_PARTS: Final = 32
"""Parts (RDNs) of one name, and attributes of one part. Real names have 1 to 8."""

_CERTIFICATES_CACHED: Final = 512
"""Parsed certificates kept: CAs, and leaves while their evidence is read. Some 8 KiB each, 100 KiB if made to be."""

MALFORMED: Final = "certificate-malformed"


class Extension(NamedTuple):
    """One extension (RFC 5280 section 4.1): `value` is the content of its OCTET STRING."""

    critical: bool
    value: bytes


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate, read. Nothing in here is believed before a chain leads to an authority. Equal by content."""

    sha256: str
    """Hex SHA-256 of `der`."""
    der: bytes = field(compare=False, repr=False)
    key: PublicKey = field(compare=False)
    subject: str = field(compare=False)
    """RFC 4514."""
    issuer: str = field(compare=False)
    """RFC 4514."""
    serial: str = field(compare=False)
    """Lower-case hex, no leading zeros."""
    not_before: Micros = field(compare=False)
    not_after: Micros = field(compare=False)
    """Closed interval [not_before, not_after]."""
    subject_name: bytes = field(compare=False, repr=False)
    """DER Name; chains compare names byte by byte."""
    issuer_name: bytes = field(compare=False, repr=False)
    spki: bytes = field(compare=False, repr=False)
    """DER SubjectPublicKeyInfo."""
    scheme: SignatureScheme = field(compare=False, repr=False)
    """How its issuer signed it."""
    extensions: Mapping[str, Extension] = field(compare=False, repr=False)
    """By dotted OID."""
    usage: Usage = field(compare=False, repr=False)
    _tbs: bytes = field(compare=False, repr=False)
    _signature: bytes = field(compare=False, repr=False)
    _parsed: x509.Certificate = field(compare=False, repr=False)

    @property
    def key_id(self) -> str:
        """Hex SHA-256 of the SubjectPublicKeyInfo."""
        return self.key.key_id

    @property
    def self_issued(self) -> bool:
        """Issuer and subject are the same name: a root, or a CA between two of its own keys."""
        return self.subject_name == self.issuer_name

    @property
    def subject_key(self) -> bytes:
        """SubjectKeyIdentifier (RFC 5280 section 4.2.1.2); empty when there is none."""
        extension = self.extensions.get("2.5.29.14")
        return _octets(extension.value) if extension else b""

    def precertificate(self) -> bytes:
        """TBSCertificate without the SCT list: what CT logs sign (RFC 6962 section 3.2).

        Raises:
            EvidenceError: `certificate-malformed`, there is no SCT list.
        """
        try:
            return self._parsed.tbs_precertificate_bytes
        except ValueError as error:
            raise EvidenceError(MALFORMED, "no precertificate can be made from the certificate") from error

    def signed_by(self, issuer: Certificate) -> bool:
        """Whether the key of `issuer` made the signature of this certificate; nothing else is compared."""
        return verify_signed(issuer.spki, self.scheme, self._signature, self._tbs)


class Usage(NamedTuple):
    """What a certificate may be used for, as its extensions say."""

    ca: bool = False
    """BasicConstraints cA."""
    path_length: int | None = None
    key_usage: int | None = None
    """Bits of KeyUsage, bit 0 (digitalSignature) in the place of 1; None without the extension."""
    extended: frozenset[str] | None = None
    """Dotted OIDs of ExtendedKeyUsage; None without the extension."""


BASIC_CONSTRAINTS: Final = "2.5.29.19"
KEY_USAGE: Final = "2.5.29.15"
EXTENDED_KEY_USAGE: Final = "2.5.29.37"
ALTERNATIVE_NAME: Final = "2.5.29.17"
_NOT_A_CERTIFICATE: Final = (ValueError, TypeError, UserWarning, UnsupportedAlgorithm, x509.InvalidVersion)
"""What `cryptography` raises while it loads; warnings are errors where Python is told so."""


def load_certificate(der: bytes) -> Certificate:
    """The certificate in `der`; the same bytes give the same object (RFC 5280 section 4.1).

    Raises:
        EvidenceError: `limit-exceeded`; `certificate-malformed`, not DER, not version 3, an extension twice or not what
            its definition says, two signature algorithms; `unsupported-evidence`, a key or a signature algorithm that
            is not accepted (RSA below 2048 bits, SHA-1, a curve other than P-256, P-384 and P-521).
    """
    if len(der) > CERTIFICATE_BYTES:
        raise EvidenceError("limit-exceeded", f"a certificate of {len(der)} bytes, limit {CERTIFICATE_BYTES}")
    return _load(der)


_TBS: Final = (
    OPTIONAL | 0xA0,  # version; absent means 1
    INTEGER,  # serialNumber
    SEQUENCE,  # signature
    SEQUENCE,  # issuer
    SEQUENCE,  # validity
    SEQUENCE,  # subject
    SEQUENCE,  # subjectPublicKeyInfo
    OPTIONAL | 0x81,  # issuerUniqueID
    OPTIONAL | 0x82,  # subjectUniqueID
    OPTIONAL | 0xA3,  # extensions
)


@lru_cache(maxsize=_CERTIFICATES_CACHED)
def _load(der: bytes) -> Certificate:
    doc = Der(der, MALFORMED)
    tbs, algorithm, value = doc.fields(doc.root(SEQUENCE), "Certificate", (SEQUENCE, SEQUENCE, BIT_STRING))
    unused, signature = doc.bits(value, "signatureValue")
    version, number, inner, issuer, validity, subject, key, _, _, wrapped = doc.fields(tbs, "tbsCertificate", _TBS)
    if not version[0] or doc.content(doc.only_child(version, INTEGER, "version")) != b"\x02":
        raise doc.refuse("not an X.509 certificate of version 3")
    if doc.raw(inner) != doc.raw(algorithm) or unused:
        raise doc.refuse("the signature algorithm inside the signed part is not the one outside")
    times = doc.children(validity)
    if len(times) != 2:
        raise doc.refuse("validity is not two times")
    extensions = _extensions(doc, wrapped) if wrapped[0] else {}
    spki = doc.raw(key)
    return Certificate(
        sha256=hashlib.sha256(der).hexdigest(),
        der=der,
        key=_key(spki),
        subject=_name_text(doc.raw(subject)),
        issuer=_name_text(doc.raw(issuer)),
        serial=_serial(doc, number),
        not_before=doc.time(times[0], "notBefore"),
        not_after=doc.time(times[1], "notAfter"),
        subject_name=doc.raw(subject),
        issuer_name=doc.raw(issuer),
        spki=spki,
        scheme=_accepted_scheme(doc.raw(algorithm)),
        extensions=MappingProxyType(extensions),
        usage=_usage(extensions),
        _tbs=doc.raw(tbs),
        _signature=signature,
        _parsed=_second_opinion(der),
    )


def load_pem_chain(text: str | bytes) -> tuple[Certificate, ...]:
    """The certificates of a PEM text, in its order (RFC 7468); text between the blocks is ignored.

    Raises:
        EvidenceError: as `load_certificate`; `certificate-malformed` for no block, a block of another kind, bytes that
            are not ASCII; `limit-exceeded` for more than `CERTIFICATES`.
    """
    limit = 2 * CERTIFICATES * CERTIFICATE_BYTES
    if len(text) > limit:
        raise EvidenceError("limit-exceeded", f"a chain of {len(text)} bytes in PEM, limit {limit}")
    try:
        plain = text.decode("ascii") if isinstance(text, bytes) else text
    except UnicodeDecodeError as error:
        raise EvidenceError(MALFORMED, "a chain in PEM that is not ASCII") from error
    first, *blocks = plain.split("-----BEGIN ")
    if len(blocks) > CERTIFICATES:
        raise EvidenceError("limit-exceeded", f"{len(blocks)} certificates, limit {CERTIFICATES}")
    if not blocks:
        raise EvidenceError(MALFORMED, f"expected certificates in PEM, got {excerpt(first)}")
    return tuple(load_certificate(_pem_block(block)) for block in blocks)


def _pem_block(block: str) -> bytes:
    label, dashes, rest = block.partition("-----")
    body, end, _ = rest.partition("-----END CERTIFICATE-----")
    if label != "CERTIFICATE" or not dashes or not end:
        raise EvidenceError(MALFORMED, f"expected a PEM block CERTIFICATE, got {excerpt(label)}")
    return decode_spaced_base64(body, "certificate", MALFORMED)


def _serial(doc: Der, node: Node) -> str:
    """RFC 5280 section 4.1.2.2: positive, at most 20 octets."""
    serial = doc.unsigned(node, "serialNumber")
    if serial == 0 or node[3] - node[2] > 20:
        raise doc.refuse("a serial number that is zero or longer than 20 bytes")
    return f"{serial:x}"


def _key(spki: bytes) -> PublicKey:
    """The key, if it is written as it would write itself: a second spelling would be one key with two ids."""
    try:
        key = public_key_from_spki(spki)
    except PolicyError as error:
        raise EvidenceError(UNSUPPORTED, f"a certificate's key: {error}") from error
    if key.key_id != hashlib.sha256(spki).hexdigest():
        raise EvidenceError(UNSUPPORTED, "a certificate's key is not in its usual form (a compressed point, PSS only)")
    return key


def _accepted_scheme(algorithm: bytes) -> SignatureScheme:
    scheme = signature_scheme(algorithm)
    if isinstance(scheme, str) or scheme.kind == "rsa-bare":
        raise EvidenceError(UNSUPPORTED, f"a certificate's {scheme}" if isinstance(scheme, str) else "a bare RSA name")
    return scheme


def _second_opinion(der: bytes) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(der)
    except _NOT_A_CERTIFICATE as error:
        raise EvidenceError(MALFORMED, f"not an X.509 certificate: {excerpt(error)}") from error


def _extensions(doc: Der, wrapped: Node) -> dict[str, Extension]:
    entries = doc.children(doc.only_child(wrapped, SEQUENCE, "extensions"))
    if len(entries) > EXTENSIONS:
        raise EvidenceError("limit-exceeded", f"{len(entries)} extensions, limit {EXTENSIONS}")
    found = dict(_extension(doc, entry) for entry in entries)
    if len(found) != len(entries):
        raise doc.refuse("an extension stands twice in one certificate")
    return found


_EXTENSION: Final = (OID, OPTIONAL | BOOLEAN, OCTET_STRING)


def _extension(doc: Der, entry: Node) -> tuple[str, Extension]:
    name, flag, value = doc.fields(entry, "Extension", _EXTENSION)
    return doc.oid(name), Extension(bool(flag[0]) and doc.true(flag), doc.content(value))


def _usage(extensions: Mapping[str, Extension]) -> Usage:
    ca, path_length = False, None
    if constraints := extensions.get(BASIC_CONSTRAINTS):
        ca, path_length = _constraints(Der(constraints.value, MALFORMED))
    usage, extended = extensions.get(KEY_USAGE), extensions.get(EXTENDED_KEY_USAGE)
    return Usage(
        ca,
        path_length,
        None if usage is None else _usage_bits(Der(usage.value, MALFORMED)),
        None if extended is None else frozenset(_oids(Der(extended.value, MALFORMED))),
    )


def _constraints(doc: Der) -> tuple[bool, int | None]:
    """BasicConstraints (RFC 5280 section 4.2.1.9)."""
    fields = doc.children(doc.root(SEQUENCE))
    flag, length = optional(fields, BOOLEAN), optional(fields, INTEGER)
    finished(fields, doc, "BasicConstraints")
    return flag is not None and doc.true(flag), None if length is None else doc.unsigned(length, "pathLenConstraint")


def _usage_bits(doc: Der) -> int:
    """KeyUsage (RFC 5280 section 4.2.1.3): at least one bit."""
    _, body = doc.bits(doc.root(BIT_STRING), "KeyUsage")
    if not any(body) or len(body) > 2:
        raise doc.refuse("KeyUsage without a bit, or with bits that nobody defined")
    return sum(1 << i for i in range(8 * len(body)) if body[i // 8] & (0x80 >> i % 8))


def _oids(doc: Der) -> Iterator[str]:
    """ExtendedKeyUsage (RFC 5280 section 4.2.1.12)."""
    nodes = doc.children(doc.root(SEQUENCE))
    if not nodes or len(nodes) > EXTENSIONS or any(node[0] != OID for node in nodes):
        raise doc.refuse("ExtendedKeyUsage is not a list of purposes")
    return (doc.oid(node) for node in nodes)


def _octets(value: bytes) -> bytes:
    doc = Der(value, MALFORMED)
    return doc.content(doc.root(OCTET_STRING))


# --------------------------------------------------------------------------------------------------------------- names

_SHORT: Final = {
    "2.5.4.3": "CN",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "STREET",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "0.9.2342.19200300.100.1.1": "UID",
    "0.9.2342.19200300.100.1.25": "DC",
}
"""Attribute types with a short name (RFC 4514 section 3)."""
_STRINGS: Final = {0x0C: "utf-8", 0x12: "ascii", 0x13: "ascii", 0x16: "ascii", 0x14: "latin-1", 0x1E: "utf-16-be"}
"""Tag of a string type -> how its characters are written."""
_ESCAPED: Final = str.maketrans({c: f"\\{c}" for c in ',+"\\<>;'} | {"\0": "\\00"})


@lru_cache(maxsize=256)
def _name_text(name: bytes) -> str:
    """RFC 4514 section 2: the last RDN first; what has no short name or no text is written in hex."""
    doc = Der(name, MALFORMED)
    parts = doc.children(doc.root(SEQUENCE))
    if len(parts) > NAME_PARTS:
        raise EvidenceError("limit-exceeded", f"a name of {len(parts)} parts, limit {NAME_PARTS}")
    return ",".join(_rdn_text(doc, part) for part in reversed(parts))


def _rdn_text(doc: Der, part: Node) -> str:
    attributes = doc.children(part)
    if part[0] != SET or not attributes or len(attributes) > NAME_PARTS:
        raise doc.refuse("a name that is not a sequence of sets of attributes")
    return "+".join(_attribute_text(doc, attribute) for attribute in attributes)


def _attribute_text(doc: Der, attribute: Node) -> str:
    fields = doc.children(attribute)
    kind = doc.oid(required(fields, OID, doc, "attribute type"))
    if len(fields) != 1:
        raise doc.refuse("an attribute of a name without one value")
    value = fields[0]
    short, encoding = _SHORT.get(kind), _STRINGS.get(value[0])
    if short is None or encoding is None:
        return f"{short or kind}=#{doc.raw(value).hex()}"
    try:
        text = doc.content(value).decode(encoding)
    except UnicodeDecodeError as error:
        raise doc.refuse("a name with characters that its string type does not have") from error
    return f"{short}={_escape(text)}"


def _escape(text: str) -> str:
    escaped = text.translate(_ESCAPED)
    if text.startswith(("#", " ")):
        escaped = "\\" + escaped
    return escaped[:-1] + "\\ " if text.endswith(" ") and len(text) > 1 else escaped
