"""Certificate authorities, leaves, CT logs and timestamp authorities for tests, made on the spot.

    root = Ca.root("root"); ca = root.intermediate("issuing")
    log = CtLog("ct")
    leaf = ca.leaf(sans=["https://ci.example/w"], issuer="https://idp.example", extensions={11: "x"}, scts_by=[log])
    leaf.sign(b"message"); leaf.certificate; leaf.chain        DER; the chain is issuing CA first, root last
    tsa = Tsa.under(root.intermediate("tsa-ca", eku=TIMESTAMPING))
    tsa.token(b"signature", at=T0); tsa.response(b"signature", at=T0)

Keys follow from names (RSA apart, which is made once per name and process), so the same name is the same key. Times are
integer microseconds. Every oddity a hostile test needs is an argument, with an honest default.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import count
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

SECOND = 1_000_000
MINUTE = 60 * SECOND
DAY = 86_400 * SECOND

T0 = 1_767_225_600 * SECOND
"""2026-01-01T00:00:00Z: leaves are valid from here for ten minutes, as Fulcio's are."""
CA_FROM, CA_UNTIL = T0 - 5 * 365 * DAY, T0 + 10 * 365 * DAY

CODE_SIGNING = "1.3.6.1.5.5.7.3.3"
TIMESTAMPING = "1.3.6.1.5.5.7.3.8"
FULCIO = "1.3.6.1.4.1.57264.1"

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | Ed25519PrivateKey
Extra = tuple[str, bool, bytes]
"""An extension: dotted OID, critical, DER value."""

_CURVES = {"p224": ec.SECP224R1(), "p256": ec.SECP256R1(), "p384": ec.SECP384R1(), "p521": ec.SECP521R1()}
_HASHES: dict[str, hashes.SHA256 | hashes.SHA384 | hashes.SHA512] = {
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}
_serials = count(0x1000_0001)


# --------------------------------------------------------------------------------------------------------------- keys


@cache
def make_key(name: str, key_type: str = "p256") -> Key:
    """`p224`, `p256`, `p384`, `p521`, `ed25519` or `rsa2048` and the like."""
    seed = hashlib.sha512(f"{key_type}:{name}".encode()).digest()
    if key_type in _CURVES:
        return ec.derive_private_key(int.from_bytes(seed[:24]), _CURVES[key_type])
    if key_type == "ed25519":
        return Ed25519PrivateKey.from_private_bytes(seed[:32])
    return rsa.generate_private_key(65537, int(key_type.removeprefix("rsa")))


def spki(key: Key) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def sign(key: Key, message: bytes, hash_name: str = "", *, pss: bool = False) -> bytes:
    """ECDSA in DER, RSA PKCS#1 v1.5 (or PSS with a salt as long as the hash), Ed25519."""
    if isinstance(key, Ed25519PrivateKey):
        return key.sign(message)
    algorithm = _HASHES[hash_name or _implied_hash(key)]
    if isinstance(key, rsa.RSAPrivateKey):
        scheme = padding.PSS(padding.MGF1(algorithm), algorithm.digest_size) if pss else padding.PKCS1v15()
        return key.sign(message, scheme, algorithm)
    return key.sign(message, ec.ECDSA(algorithm, deterministic_signing=True))


def _implied_hash(key: Key) -> str:
    size = key.key_size if isinstance(key, ec.EllipticCurvePrivateKey) else 256
    return {384: "sha384", 521: "sha512"}.get(size, "sha256")


# ---------------------------------------------------------------------------------------------------------------- DER


def tlv(tag: int, *parts: bytes) -> bytes:
    """One DER element."""
    body = b"".join(parts)
    if len(body) < 0x80:
        return bytes((tag, len(body))) + body
    size = len(body).to_bytes((len(body).bit_length() + 7) // 8)
    return bytes((tag, 0x80 | len(size))) + size + body


def sequence(*parts: bytes) -> bytes:
    return tlv(0x30, *parts)


def integer(value: int) -> bytes:
    return tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1, signed=True))


def oid(dotted: str) -> bytes:
    first, second, *rest = map(int, dotted.split("."))
    body = b""
    for arc in (first * 40 + second, *rest):
        groups = [arc & 0x7F]
        while arc := arc >> 7:
            groups.append(0x80 | arc & 0x7F)
        body += bytes(reversed(groups))
    return tlv(0x06, body)


def utf8(text: str) -> bytes:
    return tlv(0x0C, text.encode())


# -------------------------------------------------------------------------------------------------------- certificates


def moment(instant: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=instant)


def _name(subject: str) -> x509.Name:
    return x509.Name.from_rfc4514_string(subject) if subject else x509.Name([])


@dataclass(frozen=True)
class CtLog:
    """A CT log: signs timestamps over precertificates."""

    name: str
    key_type: str = "p256"
    extensions: bytes = b""
    """CT extensions of its timestamps (static-CT logs put the leaf index here)."""

    @property
    def key(self) -> Key:
        return make_key(f"log {self.name}", self.key_type)

    @property
    def spki(self) -> bytes:
        return spki(self.key)

    @property
    def id(self) -> str:
        return hashlib.sha256(self.spki).hexdigest()

    def sct(self, tbs: bytes, issuer_spki: bytes, at: int, *, spoil: bool = False, version: int = 0) -> bytes:
        """One SerializedSCT (RFC 6962 section 3.2)."""
        millis = (at // 1000).to_bytes(8)
        extensions = len(self.extensions).to_bytes(2) + self.extensions
        entry = hashlib.sha256(issuer_spki).digest() + len(tbs).to_bytes(3) + tbs
        signed = bytes((version, 0)) + millis + b"\0\1" + entry + extensions
        signature = sign(self.key, signed + b"!" if spoil else signed, "sha256")
        algorithm = b"\4\1" if isinstance(self.key, rsa.RSAPrivateKey) else b"\4\3"
        head = bytes((version,)) + bytes.fromhex(self.id) + millis + extensions + algorithm
        return head + len(signature).to_bytes(2) + signature


def sct_list(scts: Iterable[bytes]) -> bytes:
    """The value of the SCT list extension."""
    body = b"".join(len(sct).to_bytes(2) + sct for sct in scts)
    return tlv(0x04, len(body).to_bytes(2) + body)


@dataclass(frozen=True)
class Leaf:
    """An end-entity certificate and its key."""

    certificate: bytes
    key: Key
    chain: tuple[bytes, ...] = ()
    """The CA certificates above it, issuing CA first, root last."""

    @property
    def key_id(self) -> str:
        return hashlib.sha256(spki(self.key)).hexdigest()

    @property
    def pem(self) -> str:
        return pem(self.certificate)

    def sign(self, message: bytes, hash_name: str = "", *, pss: bool = False) -> bytes:
        return sign(self.key, message, hash_name, pss=pss)


def pem(*certificates: bytes) -> str:
    loaded = (x509.load_der_x509_certificate(der) for der in certificates)
    return "".join(certificate.public_bytes(Encoding.PEM).decode() for certificate in loaded)


@dataclass(frozen=True)
class Ca:
    """A certificate authority."""

    name: str
    certificate: bytes
    key: Key
    above: tuple[bytes, ...] = ()

    @property
    def chain(self) -> tuple[bytes, ...]:
        """This CA first, root last: what stands above a leaf of this CA."""
        return (self.certificate, *self.above)

    @property
    def key_id(self) -> str:
        return hashlib.sha256(spki(self.key)).hexdigest()

    @property
    def subject(self) -> str:
        return f"CN={self.name},O=test"

    @staticmethod
    def root(name: str, key_type: str = "p256", **oddities) -> "Ca":
        """Self-signed. `oddities` as for `issue`."""
        key = make_key(f"ca {name}", key_type)
        subject = f"CN={name},O=test"
        return Ca(name, issue(subject, key, subject, key, **(_CA_DEFAULTS | oddities)), key)

    def intermediate(self, name: str, key_type: str = "p256", **oddities) -> "Ca":
        """A CA below this one. `oddities` as for `issue`."""
        key = make_key(f"ca {name}", key_type)
        made = issue(f"CN={name},O=test", key, self.subject, self.key, **(_CA_DEFAULTS | oddities))
        return Ca(name, made, key, self.chain)

    def leaf(
        self,
        name: str = "leaf",
        key_type: str = "p256",
        *,
        sans: Sequence[str | x509.GeneralName] = (),
        issuer: str = "",
        extensions: Mapping[int, str] | None = None,
        scts_by: Sequence[CtLog] = (),
        sct_at: int | None = None,
        spoil_scts: bool = False,
        extra: Sequence[Extra] = (),
        **oddities,
    ) -> Leaf:
        """A leaf for signing code.

        Args:
            name: names its key.
            key_type: as for `make_key`.
            sans: texts (URI when it has `://`, e-mail when it has `@`, else DNS) or general names.
            issuer: OIDC issuer, written as extension .8.
            extensions: last arc below Fulcio's OID -> text; 1 to 6 are written raw, the others as UTF8String.
            scts_by: logs that vouch for it.
            sct_at: when they did (default: the start of its validity).
            spoil_scts: makes their signatures bad.
            extra: further extensions.
            oddities: as for `issue`.
        """
        key = make_key(f"leaf {name}", key_type)
        fields = {**(extensions or {}), **({8: issuer} if issuer else {})}
        raw = [(f"{FULCIO}.{n}", False, v.encode() if n < 7 else utf8(v)) for n, v in sorted(fields.items())]
        options = _LEAF_DEFAULTS | oddities | {"sans": sans, "extra": [*raw, *extra]}
        subject = options.pop("subject", "")
        made = issue(subject, key, self.subject, self.key, **options)
        if scts_by:
            tbs = x509.load_der_x509_certificate(made).tbs_certificate_bytes
            at = options["not_before"] if sct_at is None else sct_at
            scts = sct_list(log.sct(tbs, spki(self.key), at, spoil=spoil_scts) for log in scts_by)
            serial = x509.load_der_x509_certificate(made).serial_number
            options |= {"serial": serial, "extra": [*options["extra"], (SCT_LIST, False, scts)]}
            made = issue(subject, key, self.subject, self.key, **options)
        return Leaf(made, key, self.chain)


SCT_LIST = "1.3.6.1.4.1.11129.2.4.2"
_CA_DEFAULTS: dict[str, Any] = {
    "ca": True,
    "key_usage": ("key_cert_sign", "crl_sign"),
    "not_before": CA_FROM,
    "not_after": CA_UNTIL,
}
_LEAF_DEFAULTS: dict[str, Any] = {
    "ca": None,
    "key_usage": ("digital_signature",),
    "eku": CODE_SIGNING,
    "not_before": T0,
    "not_after": T0 + 10 * MINUTE,
}
_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


def issue(
    subject: str,
    key: Key,
    issuer: str,
    issuer_key: Key,
    *,
    not_before: int,
    not_after: int,
    ca: bool | None = None,
    path_length: int | None = None,
    key_usage: Sequence[str] | None = None,
    eku: str | Sequence[str] = (),
    sans: Sequence[str | x509.GeneralName] = (),
    extra: Sequence[Extra] = (),
    serial: int | None = None,
    hash_name: str = "",
    pss: bool = False,
    critical: Mapping[str, bool] | None = None,
) -> bytes:
    """A certificate, DER.

    Args:
        subject: RFC 4514.
        key: whose it is.
        issuer: RFC 4514.
        issuer_key: signs it.
        not_before: microseconds, rounded down to seconds.
        not_after: the same.
        ca: value of BasicConstraints; None leaves the extension out.
        path_length: of BasicConstraints.
        key_usage: names of bits; None leaves the extension out.
        eku: dotted OID, or several; empty leaves the extension out.
        sans: as for `Ca.leaf`.
        extra: further extensions, last.
        serial: its number; default: the next one.
        hash_name: `sha256`, `sha384` or `sha512`; default: what the issuer's key implies.
        pss: RSA-PSS instead of PKCS#1 v1.5.
        critical: which of `bc`, `ku`, `eku`, `san` are critical; default: all but `eku`, which is for timestamping.
    """
    ekus = (eku,) if isinstance(eku, str) else tuple(eku)
    flags = {"bc": True, "ku": True, "eku": TIMESTAMPING in ekus and not ca, "san": True} | dict(critical or {})
    builder = x509.CertificateBuilder(
        issuer_name=_name(issuer),
        subject_name=_name(subject),
        public_key=key.public_key(),
        serial_number=next(_serials) if serial is None else serial,
        not_valid_before=moment(not_before),
        not_valid_after=moment(not_after),
    )
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca, path_length), flags["bc"])
    if key_usage is not None:
        builder = builder.add_extension(x509.KeyUsage(*(bit in key_usage for bit in _USAGES)), flags["ku"])
    if ekus:
        usage = x509.ExtendedKeyUsage([x509.ObjectIdentifier(dotted) for dotted in ekus])
        builder = builder.add_extension(usage, flags["eku"])
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    if sans:
        builder = builder.add_extension(x509.SubjectAlternativeName([_san(san) for san in sans]), flags["san"])
    for dotted, is_critical, der in extra:
        builder = builder.add_extension(x509.UnrecognizedExtension(x509.ObjectIdentifier(dotted), der), is_critical)
    if isinstance(issuer_key, Ed25519PrivateKey):
        return builder.sign(issuer_key, None).public_bytes(Encoding.DER)
    algorithm = _HASHES[hash_name or _implied_hash(issuer_key)]
    if isinstance(issuer_key, rsa.RSAPrivateKey):
        scheme = padding.PSS(padding.MGF1(algorithm), algorithm.digest_size) if pss else None
        return builder.sign(issuer_key, algorithm, rsa_padding=scheme).public_bytes(Encoding.DER)
    return builder.sign(issuer_key, algorithm, ecdsa_deterministic=True).public_bytes(Encoding.DER)


def _san(san: str | x509.GeneralName) -> x509.GeneralName:
    if isinstance(san, x509.GeneralName):
        return san
    if "://" in san:
        return x509.UniformResourceIdentifier(san)
    return x509.RFC822Name(san) if "@" in san else x509.DNSName(san)


def other_name(text: str) -> x509.OtherName:
    """Fulcio's OtherName: a user name that is no e-mail address."""
    return x509.OtherName(x509.ObjectIdentifier(f"{FULCIO}.7"), utf8(text))


# --------------------------------------------------------------------------------------------------------- timestamps

HASH_OIDS = {
    "md5": "1.2.840.113549.2.5",
    "sha1": "1.3.14.3.2.26",
    "sha256": "2.16.840.1.101.3.4.2.1",
    "sha384": "2.16.840.1.101.3.4.2.2",
    "sha512": "2.16.840.1.101.3.4.2.3",
}
_ECDSA_OIDS = {"sha256": "1.2.840.10045.4.3.2", "sha384": "1.2.840.10045.4.3.3", "sha512": "1.2.840.10045.4.3.4"}
_RSA_OIDS = {
    "sha256": "1.2.840.113549.1.1.11",
    "sha384": "1.2.840.113549.1.1.12",
    "sha512": "1.2.840.113549.1.1.13",
}
TST_INFO = "1.2.840.113549.1.9.16.1.4"
SIGNED_DATA = "1.2.840.113549.1.7.2"
CONTENT_TYPE = "1.2.840.113549.1.9.3"
MESSAGE_DIGEST = "1.2.840.113549.1.9.4"
ESS_V1 = "1.2.840.113549.1.9.16.2.12"
ESS_V2 = "1.2.840.113549.1.9.16.2.47"


def hash_algorithm(name: str) -> bytes:
    return sequence(oid(HASH_OIDS[name]))


def signature_algorithm(key: Key, hash_name: str, *, pss: bool = False) -> bytes:
    if isinstance(key, Ed25519PrivateKey):
        return sequence(oid("1.3.101.112"))
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return sequence(oid(_ECDSA_OIDS[hash_name]))
    if not pss:
        return sequence(oid(_RSA_OIDS[hash_name]), tlv(0x05))
    hash_ = hash_algorithm(hash_name)
    mgf = sequence(oid("1.2.840.113549.1.1.8"), hash_)
    salt = integer(hashlib.new(hash_name).digest_size)
    return sequence(oid("1.2.840.113549.1.1.10"), sequence(tlv(0xA0, hash_), tlv(0xA1, mgf), tlv(0xA2, salt)))


def ess_v2(certificate: bytes, hash_name: str = "sha256") -> bytes:
    """The SigningCertificateV2 attribute's value (RFC 5816); SHA-256 is its default and then left out."""
    algorithm = b"" if hash_name == "sha256" else hash_algorithm(hash_name)
    return sequence(sequence(sequence(algorithm, tlv(0x04, hashlib.new(hash_name, certificate).digest()))))


def ess_v1(certificate: bytes) -> bytes:
    return sequence(sequence(sequence(tlv(0x04, hashlib.sha1(certificate).digest()))))


def attribute(dotted: str, *values: bytes) -> bytes:
    return sequence(oid(dotted), tlv(0x31, *values))


def generalized(at: int) -> str:
    text = moment(at).strftime("%Y%m%d%H%M%S")
    fraction = f".{at % SECOND:06d}".rstrip("0") if at % SECOND else ""
    return f"{text}{fraction}Z"


@dataclass(frozen=True)
class Tsa:
    """A timestamp authority: a leaf for timestamping and what it makes."""

    leaf: Leaf
    issuer: str
    """RFC 4514 name of its CA."""
    serial: int = field(default=0, kw_only=True)

    @staticmethod
    def under(issuer: Ca, /, name: str = "tsa", key_type: str = "p256", **oddities) -> "Tsa":
        """`oddities` as for `issue`; by default the leaf is valid for a year from T0 - 1 day."""
        options: dict[str, Any] = {
            "eku": TIMESTAMPING,
            "not_before": T0 - DAY,
            "not_after": T0 + 365 * DAY,
            "subject": f"CN={name}",
        }
        leaf = issuer.leaf(f"tsa {name}", key_type, **(options | oddities))
        serial = x509.load_der_x509_certificate(leaf.certificate).serial_number
        return Tsa(leaf, issuer.subject, serial=serial)

    @property
    def certificate(self) -> bytes:
        return self.leaf.certificate

    @property
    def key(self) -> Key:
        return self.leaf.key

    @property
    def chain(self) -> tuple[bytes, ...]:
        """As a trust root lists it: TSA leaf first, root last."""
        return (self.leaf.certificate, *self.leaf.chain)

    def response(self, message: bytes, at: int, *, status: int = 0, **oddities) -> bytes:
        """A TimeStampResp; `oddities` as for `token`."""
        return sequence(sequence(integer(status)), self.token(message, at, **oddities))

    def tst_info(
        self,
        message: bytes,
        at: int,
        *,
        hash: str = "sha256",  # noqa: A002 - the word of the format
        imprint: bytes | None = None,
        accuracy: bytes | None = None,
        gen_time: str | None = None,
        version: int = 1,
        after: bytes = b"",
    ) -> bytes:
        """TSTInfo (RFC 3161 section 2.4.2). `accuracy` is DER; `after` stands behind the nonce."""
        algorithm = sequence(oid(HASH_OIDS[hash]), tlv(0x05))
        hashed = hashlib.new(hash, message).digest() if imprint is None else imprint
        return sequence(
            integer(version),
            oid("1.3.6.1.4.1.57264.2"),
            sequence(algorithm, tlv(0x04, hashed)),
            integer(0x1234),
            tlv(0x18, (gen_time or generalized(at)).encode()),
            sequence(integer(1)) if accuracy is None else accuracy,
            integer(0x5678),
            after,
        )

    def token(
        self,
        message: bytes,
        at: int,
        *,
        certificates: Sequence[bytes] | None = None,
        signer_hash: str = "",
        pss: bool = False,
        key: Key | None = None,
        content: bytes | None = None,
        content_type: str = TST_INFO,
        attributes: Sequence[bytes] | None = None,
        ski: bytes = b"",
        serial: int | None = None,
        spoil: bool = False,
        more_signers: int = 0,
        algorithm: bytes | None = None,
        **info,
    ) -> bytes:
        """A bare token (CMS ContentInfo).

        Args:
            message: what is stamped.
            at: genTime.
            certificates: embedded; default: the leaf and its chain; empty: none, and no field for them.
            signer_hash: hash of the signer; default: what its key implies (`sha512` for Ed25519).
            pss: RSA-PSS.
            key: signs instead of the TSA's.
            content: eContent instead of an honest TSTInfo.
            content_type: eContentType and the attribute contentType.
            attributes: signed attributes instead of contentType, messageDigest and ESSCertIDv2.
            ski: names the signer by this key identifier instead of issuer and serial.
            serial: names another serial.
            spoil: flips a bit of the signature.
            more_signers: copies of the SignerInfo.
            algorithm: signatureAlgorithm to declare.
            info: as for `tst_info`.
        """
        signing_key = key or self.key
        hash_name = (
            signer_hash
            or ("sha512" if isinstance(signing_key, Ed25519PrivateKey) else "")
            or _implied_hash(signing_key)
        )
        content = self.tst_info(message, at, **info) if content is None else content
        if attributes is None:
            attributes = self.attributes(content, hash_name, content_type)
        attrs = b"".join(sorted(attributes))
        signature = bytearray(sign(signing_key, tlv(0x31, attrs), hash_name, pss=pss))
        signature[-1] ^= spoil
        sid = tlv(0x80, ski) if ski else sequence(_name(self.issuer).public_bytes(), integer(serial or self.serial))
        signer = sequence(
            integer(3 if ski else 1),
            sid,
            hash_algorithm(hash_name),
            tlv(0xA0, attrs),
            signature_algorithm(signing_key, hash_name, pss=pss) if algorithm is None else algorithm,
            tlv(0x04, bytes(signature)),
        )
        embedded = self.chain if certificates is None else certificates
        signed_data = sequence(
            integer(3),
            tlv(0x31, hash_algorithm(hash_name)),
            sequence(oid(content_type), tlv(0xA0, tlv(0x04, content))),
            tlv(0xA0, *embedded) if embedded else b"",
            tlv(0x31, *([signer] * (1 + more_signers))),
        )
        return sequence(oid(SIGNED_DATA), tlv(0xA0, signed_data))

    def attributes(self, content: bytes, hash_name: str, content_type: str = TST_INFO) -> list[bytes]:
        """The honest signed attributes, for tests that change one of them."""
        return [
            attribute(CONTENT_TYPE, oid(content_type)),
            attribute(MESSAGE_DIGEST, tlv(0x04, hashlib.new(hash_name, content).digest())),
            attribute(ESS_V2, ess_v2(self.certificate)),
        ]
