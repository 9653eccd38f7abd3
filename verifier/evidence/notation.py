"""Signatures of the Notary Project: the rules both envelopes share (specs/signature-specification.md, v1.1).

    content = read_notation(evidence)                 parsed, every rule of the envelope checked
    check_target(content, evidence)                   it is about this manifest: digest, size, media type
    verify_envelope(content)                          "ecdsa-p256-sha256", or "" when the signature is bad
    notation_fact_parts(evidence, material)           all of it, with chains and timestamps, for a fact

The algorithm is the one the leaf key implies, nothing else: not what the envelope would like. Verification plugins are
not run, so a signature that asks for one is refused by name, as is one with a critical attribute nobody here knows
(notation 1.3.2 lets such attributes pass). Whether a chain is in time, an expiry past or a certificate revoked is
judged later, in `verifier.policy.notary`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, Literal, NamedTuple

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.x509 import load_der_x509_certificate

from verifier.errors import EvidenceError
from verifier.evidence.content import excerpt, text_annotations
from verifier.evidence.cose import read_cose
from verifier.evidence.crl import names_revocation_source
from verifier.evidence.envelope import (
    AUTHENTIC_SIGNING_TIME,
    EXPIRY,
    PAYLOAD_BYTES,
    SCHEME_AUTHORITY,
    SCHEME_X509,
    SIGNING_SCHEME,
    SIGNING_TIME,
    VERIFICATION_PLUGIN,
    VERIFICATION_PLUGIN_MIN_VERSION,
    Envelope,
)
from verifier.evidence.jws import read_jws
from verifier.evidence.limits import NAME_CHARACTERS
from verifier.evidence.material import Material
from verifier.evidence.strictjson import StrictDecoder
from verifier.evidence.timestamps import verify_timestamp
from verifier.evidence.x509 import Certificate, find_chains, load_certificate, read_leaf
from verifier.models import ChainClaim, Evidence, LeafCertificate, Micros, TimeClaim
from verifier.reference import is_digest

PAYLOAD_TYPE: Final = "application/vnd.cncf.notary.payload.v1+json"
SUBJECT_SIZE: Final = "revet.subject.size"
"""Annotation of `Evidence`: bytes of the subject's manifest, decimal; put there by whoever fetched it."""
SUBJECT_MEDIA_TYPE: Final = "revet.subject.mediaType"
"""Annotation of `Evidence`: media type of the subject's manifest."""

_MALFORMED: Final = "envelope-malformed"
_READERS: Final = {"notation-jws": read_jws, "notation-cose": read_cose}
_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,18}")


class _Algorithm(NamedTuple):
    """What a key of one type signs with (signature-specification.md, Algorithm Selection)."""

    name: str
    label: str
    hash: hashes.HashAlgorithm
    field_bytes: int = 0
    """Of the curve; 0 for RSA."""


_SHA256, _SHA384, _SHA512 = hashes.SHA256(), hashes.SHA384(), hashes.SHA512()

ALGORITHMS: Final = {
    "rsa-2048": _Algorithm("PS256", "rsa-pss-sha256", _SHA256),
    "rsa-3072": _Algorithm("PS384", "rsa-pss-sha384", _SHA384),
    "rsa-4096": _Algorithm("PS512", "rsa-pss-sha512", _SHA512),
    "ecdsa-p256": _Algorithm("ES256", "ecdsa-p256-sha256", _SHA256, 32),
    "ecdsa-p384": _Algorithm("ES384", "ecdsa-p384-sha384", _SHA384, 48),
    "ecdsa-p521": _Algorithm("ES512", "ecdsa-p521-sha512", _SHA512, 66),
}
"""`PublicKey.type` -> the only algorithm it may be used with."""


class Target(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """`targetArtifact`, an OCI descriptor: what is signed. In the order in which notation writes it."""

    annotations: dict[str, str] | None = None
    digest: str
    media_type: str = msgspec.field(name="mediaType")
    size: int


class _Payload(msgspec.Struct, frozen=True, gc=False):
    target: Target = msgspec.field(name="targetArtifact")


_PAYLOAD: Final = StrictDecoder(_Payload, _MALFORMED)


class NotationContent(msgspec.Struct, frozen=True):
    """One signature, read, its rules checked. Nothing in here is verified yet."""

    signed: bytes
    """The bytes the signature is over."""
    signature: bytes
    """The primitive signature, which a timestamp token is over."""
    alg: str
    """`PS256` … `ES512`; what the leaf key implies."""
    certificates: tuple[bytes, ...]
    """DER, leaf first, at least one."""
    scheme: str
    """`notary.x509` or `notary.x509.signingAuthority`."""
    claimed_time: Micros
    """`signingTime`, which is the signer's word, or `authenticSigningTime`, which is the signing authority's."""
    expiry: Micros | None
    target: Target
    annotations: tuple[tuple[str, str], ...]
    """Annotations of the target (user metadata), sorted."""
    timestamp: bytes | None
    """Bare CMS token. Unsigned: anybody may have added or taken it away."""
    agent: str
    """Unsigned, for people."""


class NotationParts(msgspec.Struct, frozen=True):
    """What a fact about one notation signature is made of."""

    subjects: tuple[str, ...]
    annotations: tuple[tuple[str, str], ...]
    scheme: str
    claimed_time: Micros
    expires: Micros | None
    kind: Literal["signature"] = "signature"
    signature_good: bool = False
    algorithm: str = ""
    """Empty when the signature is bad; then nothing below is set."""
    certificate: LeafCertificate | None = None
    chains: tuple[ChainClaim, ...] = ()
    chains_problem: str = ""
    """Why there is no chain."""
    times: tuple[TimeClaim, ...] = ()
    timestamp_problem: str = ""
    """`<code>: <sentence>` when there is a token and it is broken. Not an error of the signature: the token is not
    signed, and a policy without timestamp authorities does not look at it."""
    undecided: tuple[str, ...] = ()
    window: tuple[Micros, Micros] = (0, 0)
    """Closed interval in which every certificate of the envelope is valid, whoever issued them; may be empty."""
    revocable: tuple[str, ...] = ()
    """Those of all `chains[].serials` that name a CRL or an OCSP responder: `verifier.evidence.crl.status_of`."""


def read_notation(evidence: Evidence) -> NotationContent:
    """The signature in a layer of format `notation-jws` or `notation-cose`.

    Raises:
        EvidenceError: `envelope-malformed`, `critical-attribute-unknown`, `verification-plugin-required`,
            `algorithm-mismatch`, `limit-exceeded`, `unsupported-evidence`, or `certificate-malformed` for the leaf.
    """
    reader = _READERS.get(evidence.format)
    if reader is None:
        raise EvidenceError("unsupported-evidence", f"format {evidence.format} is no notation envelope")
    envelope = reader(evidence.payload)
    _check_attributes(envelope)
    time = _signing_time(envelope)
    if envelope.content_type != PAYLOAD_TYPE:
        found = excerpt(envelope.content_type)
        raise EvidenceError("unsupported-evidence", f"content type {found}, expected {PAYLOAD_TYPE}")
    _check_algorithm(envelope)
    target = _target(envelope.payload)
    return NotationContent(
        signed=envelope.signed,
        signature=envelope.signature,
        alg=envelope.alg,
        certificates=envelope.certificates,
        scheme=envelope.scheme,
        claimed_time=time,
        expiry=envelope.expiry,
        target=target,
        annotations=text_annotations(target.annotations),
        timestamp=envelope.timestamp,
        agent=envelope.agent[:NAME_CHARACTERS],
    )


def _check_attributes(envelope: Envelope) -> None:
    """What must be critical is, and what is critical is understood (section Signed Attributes)."""
    plugin = envelope.labels.union(envelope.critical) & {VERIFICATION_PLUGIN, VERIFICATION_PLUGIN_MIN_VERSION}
    if plugin:
        raise EvidenceError(
            "verification-plugin-required",
            f"the signature carries {min(plugin)}; plugins are not run, so it is not judged",
        )
    if len(set(envelope.critical)) != len(envelope.critical):
        raise EvidenceError(_MALFORMED, "an attribute is listed as critical twice")
    known = envelope.understood | {SIGNING_SCHEME, SIGNING_TIME, AUTHENTIC_SIGNING_TIME, EXPIRY}
    for label in envelope.critical:
        if label not in known:
            raise EvidenceError("critical-attribute-unknown", f"critical attribute {excerpt(label)} is not known here")
        if label not in envelope.labels:
            raise EvidenceError(_MALFORMED, f"attribute {excerpt(label)} is listed as critical and absent")
    for label in sorted(envelope.labels & {SIGNING_SCHEME, AUTHENTIC_SIGNING_TIME, EXPIRY}, key=str):
        if label not in envelope.critical:
            raise EvidenceError(_MALFORMED, f"attribute {label} is not marked critical")


def _signing_time(envelope: Envelope) -> Micros:
    """Each scheme has its own time and must not carry the other's (specs/signing-scheme.md)."""
    times = {SCHEME_X509: envelope.signing_time, SCHEME_AUTHORITY: envelope.authentic_signing_time}
    if envelope.scheme not in times:
        raise EvidenceError("unsupported-evidence", f"signing scheme {excerpt(envelope.scheme)} is not known")
    time = times.pop(envelope.scheme)
    if time is None or any(other is not None for other in times.values()):
        raise EvidenceError(_MALFORMED, f"the signing time is not the one that scheme {envelope.scheme} demands")
    if envelope.expiry is not None and envelope.expiry <= time:
        raise EvidenceError(_MALFORMED, "the signature expires before it is made")
    return time


def _check_algorithm(envelope: Envelope) -> None:
    if not envelope.certificates:
        raise EvidenceError(_MALFORMED, "no certificate")
    if not envelope.signature:
        raise EvidenceError(_MALFORMED, "no signature")
    key = load_certificate(envelope.certificates[0]).key
    implied = ALGORITHMS.get(key.type)
    if implied is None:
        raise EvidenceError(
            "unsupported-evidence", f"a key of type {key.type}; the Notary Project has no algorithm for it"
        )
    if envelope.alg != implied.name:
        found = excerpt(envelope.alg)
        raise EvidenceError(
            "algorithm-mismatch", f"algorithm {found}, but a key of type {key.type} means {implied.name}"
        )


def _target(payload: bytes) -> Target:
    target = _PAYLOAD.decode(payload, limit=PAYLOAD_BYTES).target
    if not is_digest(target.digest):
        found = excerpt(target.digest)
        raise EvidenceError("unsupported-evidence", f"target digest {found}, expected sha256:<64 lower-case hex>")
    if target.size < 0 or not target.media_type:
        raise EvidenceError(_MALFORMED, "the target's size or media type is not one")
    if len(target.media_type) > NAME_CHARACTERS:
        found_characters = len(target.media_type)
        raise EvidenceError("limit-exceeded", f"a media type of {found_characters} characters, limit {NAME_CHARACTERS}")
    return target


def check_target(content: NotationContent, evidence: Evidence) -> None:
    """The target is the manifest the evidence was found for; size and media type too, where the fetcher gave them.

    Raises:
        EvidenceError: `payload-digest-mismatch` (section Payload: all three MUST match).
    """
    target = content.target
    rows = [
        ("digest", target.digest, evidence.subject),
        ("size", str(target.size), evidence.annotations.get(SUBJECT_SIZE)),
        ("media type", target.media_type, evidence.annotations.get(SUBJECT_MEDIA_TYPE)),
    ]
    for what, signed, actual in rows:
        if what == "size" and actual is not None and not _DECIMAL.fullmatch(actual):
            raise EvidenceError("payload-digest-mismatch", f"{SUBJECT_SIZE} is {excerpt(actual)}, expected a decimal")
        if actual is not None and signed != actual:
            raise EvidenceError(
                "payload-digest-mismatch",
                f"the signed {what} is {excerpt(signed)}, the manifest's is {excerpt(actual)}",
            )


@lru_cache(maxsize=1024)
def _leaf_key(der: bytes) -> rsa.RSAPublicKey | ec.EllipticCurvePublicKey:
    """The key of a certificate that `load_certificate` has accepted; signers are few and sign often."""
    key = load_der_x509_certificate(der).public_key()
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        raise EvidenceError("unsupported-evidence", "the leaf key is neither RSA nor EC")
    return key


def verify_envelope(content: NotationContent) -> str:
    """The algorithm under which the leaf key made the signature; empty when it did not.

    PSS salts are as long as the hash, exactly (RFC 7518 section 3.5, RFC 8230 section 2); ECDSA signatures are r||s of
    twice the field's length, exactly.

    Raises:
        EvidenceError: the leaf certificate is not one that `read_notation` accepts.
    """
    algorithm = ALGORITHMS.get(load_certificate(content.certificates[0]).key.type)
    if algorithm is None:
        raise EvidenceError("unsupported-evidence", "the leaf key has no algorithm in the Notary Project")
    key = _leaf_key(content.certificates[0])
    try:
        if isinstance(key, rsa.RSAPublicKey):
            pss = padding.PSS(padding.MGF1(algorithm.hash), padding.PSS.DIGEST_LENGTH)
            key.verify(content.signature, content.signed, pss, algorithm.hash)
        else:
            key.verify(_der_of(content.signature, algorithm.field_bytes), content.signed, ec.ECDSA(algorithm.hash))
    except InvalidSignature:
        return ""
    return algorithm.label


def _der_of(signature: bytes, field_bytes: int) -> bytes:
    if len(signature) != 2 * field_bytes:
        raise InvalidSignature
    return encode_dss_signature(int.from_bytes(signature[:field_bytes]), int.from_bytes(signature[field_bytes:]))


def notation_fact_parts(evidence: Evidence, material: Material) -> NotationParts:
    """Everything cryptography says about one notation signature under this material; no clock is involved.

    `undecided` has `authority` when no chain leads to an authority of use `notation`, and `timestamp` when no
    authority of use `timestamping` is known for the token. The time of a signing authority is attested by its own
    signature, so it is worth what the authority is: a verdict may use it only with a trust store of that type.

    Raises:
        EvidenceError: as `read_notation` and `check_target`, and `certificate-malformed` for the rest of the chain.
    """
    content = read_notation(evidence)
    check_target(content, evidence)
    parts = NotationParts(
        subjects=(content.target.digest,),
        annotations=content.annotations,
        scheme=content.scheme,
        claimed_time=content.claimed_time,
        expires=content.expiry,
    )
    algorithm = verify_envelope(content)
    if not algorithm:
        return parts
    given = tuple(load_certificate(der) for der in content.certificates)
    chains, why = find_chains(given[0], given[1:], material.used_for("notation"), "notation")
    times, broken, known = _times(content, given[0], material)
    gaps = {"authority": not chains, "timestamp": not known}
    return msgspec.structs.replace(
        parts,
        signature_good=True,
        algorithm=algorithm,
        certificate=read_leaf(given[0]),
        chains=chains,
        chains_problem="" if chains else why,
        times=times,
        timestamp_problem=broken,
        undecided=tuple(name for name, open_ in gaps.items() if open_),
        window=(max(c.not_before for c in given), min(c.not_after for c in given)),
        revocable=_revocable(given, chains, material),
    )


def _times(content: NotationContent, leaf: Certificate, material: Material) -> tuple[tuple[TimeClaim, ...], str, bool]:
    """Time claims, what is wrong with the token, and whether its authority is known (True without a token).

    Tokens belong to scheme `notary.x509` only: the other scheme has its own authentic time, and notation ignores them.
    """
    if content.scheme == SCHEME_AUTHORITY:
        claim = TimeClaim("signing-authority", "attested", content.claimed_time, source_key=leaf.key_id)
        return (claim,), "", True
    if content.timestamp is None:
        return (), "", True
    try:
        stamp = verify_timestamp(
            content.timestamp, content.signature, material.used_for("timestamping"), response=False
        )
    except EvidenceError as error:
        return (), f"{error.code}: {error}", True
    return stamp.claims, "", stamp.known


def _revocable(given: tuple[Certificate, ...], chains: tuple[ChainClaim, ...], material: Material) -> tuple[str, ...]:
    """`<issuer's key id>:<serial>` of the certificates that say where their revocation is told.

    Serials repeat among issuers, and the envelope may hold certificates that are in no chain: one that names no source
    must not hide one that does. So a serial counts as soon as one of its certificates does, or none is found.
    """
    found: dict[str, None] = {}
    for chain in chains:
        authority = material.authorities.get(chain.authority)
        stored = tuple(load_certificate(der) for der in authority.certificates) if authority else ()
        for serial in chain.serials:
            candidates = [c for c in (*given, *stored) if c.serial == serial.partition(":")[2]]
            if not candidates or any(names_revocation_source(c.der) for c in candidates):
                found[serial] = None
    return tuple(found)
