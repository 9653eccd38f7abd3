"""Revocation of certificates as data: CRLs (RFC 5280 section 5) and OCSP responses (RFC 6960) that somebody delivered.

    crl = read_crl(data, issuer)                          signature and issuer checked
    answer = read_ocsp(data, issuer, instant=now)         signed by the issuer or its delegate, not expired
    status_of(chain.serials, (crl, answer), at=None, instant=now)       good, revoked or unknown, and since when

Nothing is fetched here. Refused by name: delta and indirect CRLs, CRLs for some reasons or for attribute certificates
only, critical extensions nobody here knows, SHA-1 signatures. Freshness is judged at the instant of the verdict, so a
stored list turns to "unknown" by itself; `RevocationStatus.valid_until` says when.

A delegated OCSP responder's own revocation is not asked for (its certificate usually says that it need not be,
RFC 6960 section 4.2.2.2.1).
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Final, Literal, NamedTuple, TypeVar

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp
from cryptography.x509.oid import (
    AuthorityInformationAccessOID,
    CRLEntryExtensionOID,
    ExtendedKeyUsageOID,
    ExtensionOID,
    SignatureAlgorithmOID,
)

from verifier.errors import EvidenceError
from verifier.evidence.envelope import SCHEME_AUTHORITY
from verifier.evidence.limits import KIB, MIB
from verifier.evidence.x509 import Certificate
from verifier.models import Micros, TimeClaim
from verifier.times import show_instant, since_epoch

E = TypeVar("E", bound=x509.ExtensionType)

CRL_BYTES: Final = 8 * MIB
"""Bytes of one CRL. Lists of code-signing CAs have kilobytes; the largest public ones of web CAs about 10 MiB."""

CRL_ENTRIES: Final = 100_000
"""Entries of one CRL: some 30 MB in memory, about 10 us each. They are read after the signature is found good, so only
the issuer itself could spend them."""

OCSP_BYTES: Final = 64 * KIB
"""Bytes of one OCSP response. Real ones have 0.5 to 5 KiB, the rest is certificates."""

OCSP_CERTIFICATES: Final = 4
"""Certificates in one OCSP response. A delegate needs one."""

_MALFORMED: Final = "revocation-malformed"
_INVALID: Final = "revocation-invalid"
_UNSUPPORTED: Final = "unsupported-evidence"

_UNREADABLE: Final = (
    ValueError,
    TypeError,
    OverflowError,
    UserWarning,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
    x509.InvalidVersion,
)
"""What `cryptography` raises for bytes it does not like; warnings are errors where Python is told so."""

HOLD: Final = "certificateHold"
REMOVED: Final = "removeFromCRL"

RevocationState = Literal["good", "revoked", "unknown"]
RevocationMode = Literal["specification", "notation"]
"""Which time an InvalidityDate is compared with, where the Notary specification and notation's code disagree:
`specification`: the trusted time of the signature, whatever the scheme; `notation`: `authenticSigningTime` of a
signing authority, and none for `notary.x509`, so that there every revoked certificate fails."""


class Revocation(NamedTuple):
    """One statement that a certificate is revoked."""

    date: Micros
    """When the issuer processed it."""
    reason: str = "unspecified"
    """RFC 5280 section 5.3.1: `keyCompromise` …"""
    invalid_since: Micros | None = None
    """InvalidityDate: since when the key is suspect."""


Scope = Literal["all", "users", "authorities"]


class RevocationList(msgspec.Struct, frozen=True):
    """A CRL whose signature by `issuer` is good."""

    issuer: str
    """Key id (SPKI) of the CA."""
    this_update: Micros
    next_update: Micros
    """Last instant at which it may be used."""
    entries: dict[str, tuple[Revocation, ...]]
    """Serial in lower-case hex -> statements, in the order of the list."""
    scope: Scope = "all"
    """Which certificates it is about: all, end entities only, CAs only."""


class OcspStatus(msgspec.Struct, frozen=True):
    """An OCSP answer about one certificate whose signature is good."""

    issuer: str
    serial: str
    """Lower-case hex."""
    state: RevocationState
    this_update: Micros
    next_update: Micros
    revocation: Revocation | None = None
    responder: str = ""
    """Key id (SPKI) of who signed: the issuer or its delegate."""


class RevocationStatus(msgspec.Struct, frozen=True):
    """What is known of a chain at an instant."""

    state: RevocationState
    detail: str = ""
    """One sentence; empty when good."""
    certificate: str = ""
    """`<issuer's key id>:<serial>` of the certificate that decided; empty when good."""
    revocation: Revocation | None = None
    valid_until: Micros | None = None
    """The answer may change by itself at this instant: a list expires, or begins to be valid."""


def read_crl(data: bytes, issuer: Certificate) -> RevocationList:
    """The CRL in `data` (DER or PEM), if `issuer` signed it and may.

    Raises:
        EvidenceError: `limit-exceeded`, `revocation-malformed`, `revocation-invalid` (another issuer, a bad signature,
            a certificate that may not sign CRLs), `unsupported-evidence` (see the module).
    """
    if len(data) > CRL_BYTES:
        raise EvidenceError("limit-exceeded", f"a CRL of {len(data)} bytes, limit {CRL_BYTES}")
    try:
        with _quiet():
            return _crl(data, issuer)
    except _UNREADABLE as error:
        raise EvidenceError(_MALFORMED, f"not a CRL that can be read: {type(error).__name__}") from error


def _crl(data: bytes, issuer: Certificate) -> RevocationList:
    pem = data.lstrip().startswith(b"-----BEGIN")
    crl = x509.load_pem_x509_crl(data) if pem else x509.load_der_x509_crl(data)
    signer = _parsed(issuer.der)
    if crl.issuer.public_bytes() != signer.subject.public_bytes():
        raise EvidenceError(_INVALID, "the CRL names another issuer")
    _check_may_sign_crls(signer)
    _check_hash(crl.signature_algorithm_oid)
    key = signer.public_key()
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey):
        raise EvidenceError(_UNSUPPORTED, "the CRL's issuer has a key of a type that is not read")
    if not crl.is_signature_valid(key):
        raise EvidenceError(_INVALID, "the CRL's signature is bad")
    scope = _scope(crl.extensions)
    if crl.next_update_utc is None:
        raise EvidenceError(_MALFORMED, "the CRL has no nextUpdate, which RFC 5280 section 5.1.2.5 demands")
    return RevocationList(
        issuer=issuer.key_id,
        this_update=since_epoch(crl.last_update_utc),
        next_update=since_epoch(crl.next_update_utc),
        entries=_entries(crl),
        scope=scope,
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """The library warns of odd names on standard error; whoever made the name must not be able to write there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@lru_cache(maxsize=256)
def _parsed(der: bytes) -> x509.Certificate:
    """Of certificates that `load_certificate` accepted."""
    return x509.load_der_x509_certificate(der)


def _check_may_sign_crls(signer: x509.Certificate) -> None:
    """RFC 5280 section 6.3.3 (f): a CA, and cRLSign where key usage is stated."""
    constraints = _extension(signer.extensions, x509.BasicConstraints)
    if constraints is None or not constraints.ca:
        raise EvidenceError(_INVALID, "the CRL's issuer is no CA")
    usage = _extension(signer.extensions, x509.KeyUsage)
    if usage is not None and not usage.crl_sign:
        raise EvidenceError(_INVALID, "the key usage of the CRL's issuer does not allow to sign CRLs")


def _check_hash(oid: x509.ObjectIdentifier) -> None:
    weak = {
        SignatureAlgorithmOID.RSA_WITH_MD5,
        SignatureAlgorithmOID.RSA_WITH_SHA1,
        SignatureAlgorithmOID.ECDSA_WITH_SHA1,
    }
    if oid in weak:
        raise EvidenceError(_UNSUPPORTED, "signed over SHA-1 or MD5, which can be forged")


def _scope(extensions: x509.Extensions) -> Scope:
    scope: Scope = "all"
    for extension in extensions:
        value = extension.value
        if isinstance(value, x509.DeltaCRLIndicator):
            raise EvidenceError(_UNSUPPORTED, "a delta CRL; deliver complete ones")
        if isinstance(value, x509.IssuingDistributionPoint):
            scope = _part(value)
        elif extension.critical and not isinstance(value, x509.CRLNumber | x509.AuthorityKeyIdentifier):
            oid = extension.oid.dotted_string
            raise EvidenceError(_UNSUPPORTED, f"the CRL has the critical extension {oid}, which is not known here")
    return scope


def _part(point: x509.IssuingDistributionPoint) -> Scope:
    """Lists that leave certificates of this issuer or reasons out cannot say that a certificate is good.

    A distribution point's name is not looked at, as in notation: give every list of an issuer that splits them by name.
    """
    if point.indirect_crl:
        raise EvidenceError(_UNSUPPORTED, "an indirect CRL, which names certificates of other issuers")
    if point.only_some_reasons or point.only_contains_attribute_certs:
        raise EvidenceError(_UNSUPPORTED, "a CRL for some reasons or for attribute certificates only")
    if point.only_contains_user_certs:
        return "users"
    return "authorities" if point.only_contains_ca_certs else "all"


def _entries(crl: x509.CertificateRevocationList) -> dict[str, tuple[Revocation, ...]]:
    if len(crl) > CRL_ENTRIES:
        raise EvidenceError("limit-exceeded", f"a CRL of {len(crl)} entries, limit {CRL_ENTRIES}")
    found: dict[str, tuple[Revocation, ...]] = {}
    for entry in crl:
        serial = f"{entry.serial_number:x}"
        stated = _revocation(since_epoch(entry.revocation_date_utc), entry.extensions)
        found[serial] = (*found.get(serial, ()), stated)
    return found


_ENTRY_EXTENSIONS: Final = frozenset({CRLEntryExtensionOID.CRL_REASON, CRLEntryExtensionOID.INVALIDITY_DATE})


def _revocation(date: Micros, extensions: x509.Extensions) -> Revocation:
    """RFC 5280 section 5.3: a list with a critical entry extension one cannot process must not be used at all."""
    for extension in extensions:
        if extension.critical and extension.oid not in _ENTRY_EXTENSIONS:
            oid = extension.oid.dotted_string
            raise EvidenceError(_UNSUPPORTED, f"an entry has the critical extension {oid}, which is not known here")
    reason = _extension(extensions, x509.CRLReason)
    invalidity = _extension(extensions, x509.InvalidityDate)
    return Revocation(
        date,
        "unspecified" if reason is None else reason.reason.value,
        None if invalidity is None else since_epoch(invalidity.invalidity_date_utc),
    )


def _extension(extensions: x509.Extensions, kind: type[E]) -> E | None:
    return next((extension.value for extension in extensions if isinstance(extension.value, kind)), None)


def read_ocsp(data: bytes, issuer: Certificate, *, instant: Micros) -> OcspStatus:
    """The one answer in an OCSP response (DER), if `issuer` or its delegate signed it and it is in time at `instant`.

    Raises:
        EvidenceError: `limit-exceeded`, `revocation-malformed`, `revocation-invalid` (an error response, another
            issuer, a signer who is neither the issuer nor its delegate, a bad signature, not in time),
            `unsupported-evidence`.
    """
    if len(data) > OCSP_BYTES:
        raise EvidenceError("limit-exceeded", f"an OCSP response of {len(data)} bytes, limit {OCSP_BYTES}")
    try:
        with _quiet():
            return _ocsp(ocsp.load_der_ocsp_response(data), issuer, instant)
    except _UNREADABLE as error:
        raise EvidenceError(_MALFORMED, f"not an OCSP response that can be read: {type(error).__name__}") from error


def _ocsp(response: ocsp.OCSPResponse, issuer: Certificate, instant: Micros) -> OcspStatus:
    if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        raise EvidenceError(_INVALID, f"the OCSP responder answered {response.response_status.name}")
    answers = list(response.responses)
    if len(answers) != 1:
        raise EvidenceError(_UNSUPPORTED, f"an OCSP response about {len(answers)} certificates, expected one")
    signer = _parsed(issuer.der)
    _check_is_about(answers[0], signer)
    responder = _responder(response, signer, instant)
    _check_hash(response.signature_algorithm_oid)
    _check_signature(responder.public_key(), response)
    _check_ocsp_extensions(response)
    status = _answer(response, answers[0], issuer, responder)
    if not status.this_update <= instant <= status.next_update:
        until = show_instant(status.next_update)
        raise EvidenceError(_INVALID, f"the OCSP response is not valid at {show_instant(instant)}; it ends at {until}")
    return status


def _answer(
    response: ocsp.OCSPResponse, answer: ocsp.OCSPSingleResponse, issuer: Certificate, responder: x509.Certificate
) -> OcspStatus:
    if answer.next_update_utc is None:
        raise EvidenceError(_UNSUPPORTED, "an OCSP response without nextUpdate never ends; it cannot be kept")
    return OcspStatus(
        issuer=issuer.key_id,
        serial=f"{answer.serial_number:x}",
        state=_STATES[answer.certificate_status],
        this_update=since_epoch(answer.this_update_utc),
        next_update=since_epoch(answer.next_update_utc),
        revocation=_ocsp_revocation(response),
        responder=hashlib.sha256(_spki(responder)).hexdigest(),
    )


_STATES: Final[dict[ocsp.OCSPCertStatus, RevocationState]] = {
    ocsp.OCSPCertStatus.GOOD: "good",
    ocsp.OCSPCertStatus.REVOKED: "revoked",
    ocsp.OCSPCertStatus.UNKNOWN: "unknown",
}


def _spki(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _check_is_about(answer: ocsp.OCSPSingleResponse, issuer: x509.Certificate) -> None:
    """RFC 6960 section 4.1.1: an issuer is named by the hashes of its name and of its key's bits. SHA-1 is usual here
    and harmless: both hashes are compared with those of an issuer that is known already.
    """

    def hashed(content: bytes) -> bytes:
        return hashlib.new(answer.hash_algorithm.name, content, usedforsecurity=False).digest()

    wanted = hashed(issuer.subject.public_bytes()), hashed(_key_bits(issuer.public_key()))
    if (answer.issuer_name_hash, answer.issuer_key_hash) != wanted:
        raise EvidenceError(_INVALID, "the OCSP response names another issuer")


def _key_bits(key: PublicKeyTypes) -> bytes:
    """The BIT STRING of a SubjectPublicKeyInfo."""
    if isinstance(key, rsa.RSAPublicKey):
        return key.public_bytes(Encoding.DER, PublicFormat.PKCS1)
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def _responder(response: ocsp.OCSPResponse, issuer: x509.Certificate, instant: Micros) -> x509.Certificate:
    """RFC 6960 section 4.2.2.2: the issuer itself, or whom the issuer's own key certified for this."""
    if len(response.certificates) > OCSP_CERTIFICATES:
        found = len(response.certificates)
        raise EvidenceError("limit-exceeded", f"{found} certificates in an OCSP response, limit {OCSP_CERTIFICATES}")
    for certificate in (issuer, *response.certificates):
        if _is_named(response, certificate):
            if certificate != issuer:
                _check_delegate(certificate, issuer, instant)
            return certificate
    raise EvidenceError(_INVALID, "the OCSP response is signed by nobody who is known here")


def _is_named(response: ocsp.OCSPResponse, certificate: x509.Certificate) -> bool:
    if response.responder_name is not None:
        return response.responder_name.public_bytes() == certificate.subject.public_bytes()
    bits = _key_bits(certificate.public_key())
    return response.responder_key_hash == hashlib.sha1(bits, usedforsecurity=False).digest()


def _check_delegate(delegate: x509.Certificate, issuer: x509.Certificate, instant: Micros) -> None:
    _check_hash(delegate.signature_algorithm_oid)
    try:
        delegate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError) as error:  # a signature, a name, a type of key
        raise EvidenceError(_INVALID, "the OCSP responder's certificate is not of this issuer") from error
    usage = _extension(delegate.extensions, x509.ExtendedKeyUsage)
    if usage is None or ExtendedKeyUsageOID.OCSP_SIGNING not in usage:
        raise EvidenceError(_INVALID, "the OCSP responder's certificate is not for OCSP signing")
    bits = _extension(delegate.extensions, x509.KeyUsage)
    if bits is not None and not bits.digital_signature:
        raise EvidenceError(_INVALID, "the key usage of the OCSP responder does not allow signatures")
    if any(e.critical and isinstance(e.value, x509.UnrecognizedExtension) for e in delegate.extensions):
        raise EvidenceError(_UNSUPPORTED, "the OCSP responder's certificate has a critical extension not known here")
    if not since_epoch(delegate.not_valid_before_utc) <= instant <= since_epoch(delegate.not_valid_after_utc):
        raise EvidenceError(_INVALID, "the OCSP responder's certificate is not valid at this instant")


def _check_signature(key: PublicKeyTypes, response: ocsp.OCSPResponse) -> None:
    hash_ = response.signature_hash_algorithm
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(response.signature, response.tbs_response_bytes)
        elif isinstance(key, rsa.RSAPublicKey) and hash_ is not None and response.signature_algorithm_oid in _PKCS1:
            key.verify(response.signature, response.tbs_response_bytes, padding.PKCS1v15(), hash_)
        elif isinstance(key, ec.EllipticCurvePublicKey) and hash_ is not None:
            key.verify(response.signature, response.tbs_response_bytes, ec.ECDSA(hash_))
        else:
            raise EvidenceError(_UNSUPPORTED, "an OCSP signature other than RSA PKCS#1, ECDSA or Ed25519")
    except InvalidSignature as error:
        raise EvidenceError(_INVALID, "the OCSP response's signature is bad") from error


_PKCS1: Final = frozenset(
    {
        SignatureAlgorithmOID.RSA_WITH_SHA256,
        SignatureAlgorithmOID.RSA_WITH_SHA384,
        SignatureAlgorithmOID.RSA_WITH_SHA512,
    }
)


def _check_ocsp_extensions(response: ocsp.OCSPResponse) -> None:
    for extension in response.extensions:
        if extension.critical and not isinstance(extension.value, x509.OCSPNonce):
            oid = extension.oid.dotted_string
            raise EvidenceError(_UNSUPPORTED, f"the OCSP response has the critical extension {oid}, not known here")


def _ocsp_revocation(response: ocsp.OCSPResponse) -> Revocation | None:
    if response.revocation_time_utc is None:
        return None
    stated = _revocation(since_epoch(response.revocation_time_utc), response.single_extensions)
    reason = response.revocation_reason
    return stated if reason is None else stated._replace(reason=reason.value)


def names_revocation_source(der: bytes) -> bool:
    """Whether a certificate that `load_certificate` accepted names a CRL or an OCSP responder.

    Certificates that name neither count as not revoked (specs/trust-store-trust-policy.md, Certificate Revocation
    Evaluation); that is right only if this is known, and unreadable extensions count as naming one.
    """
    try:
        extensions = _parsed(der).extensions
    except _UNREADABLE:
        return True
    access = _extension(extensions, x509.AuthorityInformationAccess)
    if access is not None and any(a.access_method == AuthorityInformationAccessOID.OCSP for a in access):
        return True
    return any(e.oid in {ExtensionOID.CRL_DISTRIBUTION_POINTS, ExtensionOID.FRESHEST_CRL} for e in extensions)


def revocation_time(mode: RevocationMode, scheme: str, times: Iterable[TimeClaim]) -> Micros | None:
    """The signing time an InvalidityDate is compared with, or None: then every revoked certificate fails.

    Args:
        mode: see `RevocationMode`; say in what you show which one was active.
        scheme: of the signature.
        times: its claims whose authority the policy trusts; of several the earliest counts, each being a proof.
    """
    source = "signing-authority" if scheme == SCHEME_AUTHORITY else "tsa"
    if mode == "notation" and scheme != SCHEME_AUTHORITY:
        return None
    return min((claim.time for claim in times if claim.source == source), default=None)


def status_of(
    serials: Iterable[str],
    lists: Iterable[RevocationList | OcspStatus],
    at: Micros | None,
    *,
    instant: Micros,
    revocable: Collection[str] | None = None,
) -> RevocationStatus:
    """What is known at `instant` of the certificates of a chain: revoked beats unknown, unknown beats good.

    Args:
        serials: `ChainClaim.serials`: `<issuer's key id>:<serial>`, the leaf's first.
        lists: CRLs and OCSP answers, in any order. Of an issuer's CRLs give the newest of each distribution point: a
            hold is lifted by a newer list that no longer has it.
        at: signing time (`revocation_time`). A statement whose InvalidityDate is later than it does not count.
        instant: when this is asked; lists that begin later or have ended do not count.
        revocable: certificates that name a CRL or OCSP responder (`NotationParts.revocable`). A certificate about which
            nothing usable was given is unknown if it is in here and good if not; without `revocable` it is unknown,
            since serials alone cannot tell.

    Where notation's answer depends on an order the stricter reading holds: revoked by OCSP or by a CRL is revoked, of
    two statements about one certificate each is judged by itself, a hold and a removal at one instant are a hold.
    """
    given = tuple(lists)
    answers = [
        _status_of_one(serial, _about(serial, given, leaf=index == 0), at, instant, revocable)
        for index, serial in enumerate(serials)
    ]
    due = min((a.valid_until for a in answers if a.valid_until is not None), default=None)
    for state in ("revoked", "unknown"):
        for answer in answers:
            if answer.state == state:
                return msgspec.structs.replace(answer, valid_until=due)
    return RevocationStatus("good", valid_until=due)


def _about(
    serial: str, lists: tuple[RevocationList | OcspStatus, ...], *, leaf: bool
) -> Iterator[RevocationList | OcspStatus]:
    issuer, _, number = serial.partition(":")
    for item in lists:
        if isinstance(item, OcspStatus):
            if (item.issuer, item.serial) == (issuer, number):
                yield item
        elif item.issuer == issuer and item.scope != ("authorities" if leaf else "users"):
            yield item


def _status_of_one(
    serial: str,
    about: Iterable[RevocationList | OcspStatus],
    at: Micros | None,
    instant: Micros,
    revocable: Collection[str] | None,
) -> RevocationStatus:
    everything = tuple(about)
    usable = [item for item in everything if item.this_update <= instant <= item.next_update]
    later = [item.this_update for item in everything if item.this_update > instant]
    due = min([*later, *(item.next_update + 1 for item in usable)], default=None)
    number = serial.partition(":")[2]
    statements = _statements(usable, number)
    if statements is None:
        return _without_list(serial, due, asked=bool(everything), revocable=revocable)
    decisive = _decisive(statements, at)
    if decisive is None:
        return RevocationStatus("good", valid_until=due)
    detail = (
        f"certificate {serial.partition(':')[2]} is revoked since {show_instant(decisive.date)} ({decisive.reason})"
    )
    return RevocationStatus("revoked", detail, serial, decisive, due)


def _statements(usable: Iterable[RevocationList | OcspStatus], number: str) -> list[Revocation] | None:
    """Every statement about the certificate; None when there is nothing that could have made one."""
    given = tuple(usable)
    answer = _newest_answer(given)
    rows = [item for item in given if isinstance(item, RevocationList)]
    if answer is None and not rows:
        return None
    found = [statement for row in rows for statement in row.entries.get(number, ())]
    if answer is not None and answer.state == "revoked":
        found.append(answer.revocation or Revocation(answer.this_update))
    return found


def _newest_answer(usable: Iterable[RevocationList | OcspStatus]) -> OcspStatus | None:
    """The newest OCSP answer that knows the certificate; of two at one instant the one that revokes."""
    answers = [item for item in usable if isinstance(item, OcspStatus) and item.state != "unknown"]
    return max(answers, key=lambda a: (a.this_update, a.state == "revoked"), default=None)


def _without_list(
    serial: str, due: Micros | None, *, asked: bool, revocable: Collection[str] | None
) -> RevocationStatus:
    if not asked and revocable is not None and serial not in revocable:
        return RevocationStatus("good", valid_until=due)
    why = (
        "what was given about it is not valid at this instant" if asked else "no CRL or OCSP answer about it was given"
    )
    return RevocationStatus("unknown", f"certificate {serial.partition(':')[2]}: {why}", serial, None, due)


def _decisive(statements: Iterable[Revocation], at: Micros | None) -> Revocation | None:
    """The statement by which the certificate is revoked, if it is (RFC 5280 sections 5.3.1 and 5.3.2)."""
    counting = [s for s in statements if at is None or s.invalid_since is None or at >= s.invalid_since]
    final = next((s for s in counting if s.reason not in {HOLD, REMOVED}), None)
    if final is not None:
        return final
    latest = max(counting, key=lambda s: (s.date, s.reason == HOLD), default=None)
    return latest if latest is not None and latest.reason == HOLD else None
