"""COSE envelopes of the Notary Project: tagged COSE_Sign1 (specs/signature-envelope-cose.md, RFC 9052 section 4.2).

    read_cose(layer)       an Envelope whose `signed` is the Sig_structure of RFC 9052 section 4.4

Untagged messages, detached payloads, external data and labels that stand both in the signed and in the unsigned
header are refused.
"""

from __future__ import annotations

from typing import Final, TypeVar

from verifier.errors import EvidenceError
from verifier.evidence.cbor import (
    COSE_SIGN1,
    EPOCH_TIME,
    Label,
    Tagged,
    decode_cbor,
    encode_array,
    encode_bytes,
    encode_text,
)
from verifier.evidence.content import excerpt
from verifier.evidence.envelope import (
    ATTRIBUTES,
    AUTHENTIC_SIGNING_TIME,
    EXPIRY,
    NOTATION_ENVELOPE_BYTES,
    PROTECTED_BYTES,
    SIGNING_AGENT,
    SIGNING_SCHEME,
    SIGNING_TIME,
    TIMESTAMP_SIGNATURE,
    Envelope,
)
from verifier.evidence.limits import CERTIFICATES
from verifier.models import Micros
from verifier.times import FIRST, LAST, SECOND

T = TypeVar("T")

_MALFORMED: Final = "envelope-malformed"
_ALG, _CRIT, _CONTENT_TYPE, _X5CHAIN = 1, 2, 3, 33
"""Labels of RFC 9052 section 3.1 and RFC 9360 section 2."""

ALGORITHMS: Final = {-37: "PS256", -38: "PS384", -39: "PS512", -7: "ES256", -35: "ES384", -36: "ES512"}
"""COSE algorithm identifier -> JOSE name (RFC 8230, RFC 9053)."""


def read_cose(data: bytes) -> Envelope:
    """The envelope in a layer of type `application/cose`.

    Raises:
        EvidenceError: `envelope-malformed` or `limit-exceeded`.
    """
    protected, unprotected, payload, signature = _parts(decode_cbor(data, limit=NOTATION_ENVELOPE_BYTES))
    header = _header(decode_cbor(protected, limit=PROTECTED_BYTES), unprotected)
    alg = _member(header, _ALG, int)
    return Envelope(
        signed=encode_array(
            encode_text("Signature1"), encode_bytes(protected), encode_bytes(b""), encode_bytes(payload)
        ),
        signature=signature,
        alg=ALGORITHMS.get(alg, str(alg)),
        content_type=_member(header, _CONTENT_TYPE, str),
        payload=payload,
        scheme=_member(header, SIGNING_SCHEME, str),
        signing_time=_time(header, SIGNING_TIME),
        authentic_signing_time=_time(header, AUTHENTIC_SIGNING_TIME),
        expiry=_time(header, EXPIRY),
        labels=frozenset(header),
        critical=_critical(_member(header, _CRIT, list)),
        understood=frozenset({_ALG, _CRIT, _CONTENT_TYPE}),
        certificates=_certificates(_member(unprotected, _X5CHAIN, list)),
        timestamp=_member(unprotected, TIMESTAMP_SIGNATURE, bytes, b"") or None,
        agent=_member(unprotected, SIGNING_AGENT, str, ""),
    )


def _parts(message: object) -> tuple[bytes, dict[Label, object], bytes, bytes]:
    """COSE_Sign1 = [protected: bstr, unprotected: map, payload: bstr, signature: bstr]."""
    if not isinstance(message, Tagged) or message.tag != COSE_SIGN1:
        raise EvidenceError(_MALFORMED, f"COSE: no COSE_Sign1 message with tag {COSE_SIGN1}")
    parts = message.value
    if not isinstance(parts, list) or len(parts) != 4:
        raise EvidenceError(_MALFORMED, "COSE: COSE_Sign1 is not an array of four")
    protected, unprotected, payload, signature = parts
    if payload is None:
        raise EvidenceError(_MALFORMED, "COSE: the payload is detached; the Notary Project carries it inside")
    found = [type(part) for part in parts]
    if found != [bytes, dict, bytes, bytes]:
        raise EvidenceError(_MALFORMED, "COSE: expected byte string, map, byte string, byte string")
    return protected, unprotected, payload, signature


def _header(header: object, unprotected: dict[Label, object]) -> dict[Label, object]:
    """The signed header; RFC 9052 section 3 wants each label once in both headers together."""
    if not isinstance(header, dict):
        raise EvidenceError(_MALFORMED, "COSE: the protected header is not a map")
    if len(header) > ATTRIBUTES or len(unprotected) > ATTRIBUTES:
        found = max(len(header), len(unprotected))
        raise EvidenceError("limit-exceeded", f"{found} attributes in one header, limit {ATTRIBUTES}")
    if both := header.keys() & unprotected.keys():
        label = min(both, key=str)
        raise EvidenceError(_MALFORMED, f"COSE: {excerpt(label)} is in the signed and in the unsigned header")
    return header


def _member(header: dict[Label, object], label: Label, kind: type[T], default: T | None = None) -> T:
    """The member of this type; a default only stands in for one that is absent."""
    value = header.get(label, default)
    if type(value) is not kind:
        found = "nothing" if value is None else type(value).__name__
        raise EvidenceError(_MALFORMED, f"COSE: header {label} is {found}, expected {kind.__name__}")
    return value


def _critical(labels: list[object]) -> tuple[int | str, ...]:
    """RFC 9052 section 3.1: labels are integers or text."""
    if len(labels) > ATTRIBUTES:
        raise EvidenceError("limit-exceeded", f"{len(labels)} critical attributes, limit {ATTRIBUTES}")
    found: list[int | str] = []
    for label in labels:
        if isinstance(label, bool) or not isinstance(label, int | str):
            raise EvidenceError(_MALFORMED, f"COSE: crit lists a {type(label).__name__}, expected int or text")
        found.append(label)
    return tuple(found)


def _certificates(entries: list[object]) -> tuple[bytes, ...]:
    if len(entries) > CERTIFICATES:
        raise EvidenceError("limit-exceeded", f"{len(entries)} certificates, limit {CERTIFICATES}")
    chain = tuple(entry for entry in entries if isinstance(entry, bytes))
    if len(chain) != len(entries):
        raise EvidenceError(_MALFORMED, "COSE: x5chain holds something else than byte strings")
    return chain


def _time(header: dict[Label, object], label: str) -> Micros | None:
    """A time is whole seconds with tag 1, in the years that RFC 3339 can write."""
    if label not in header:
        return None
    value = header[label]
    if not isinstance(value, Tagged) or value.tag != EPOCH_TIME or not isinstance(value.value, int):
        raise EvidenceError(_MALFORMED, f"COSE: {label} has no tag {EPOCH_TIME}")
    time = value.value * SECOND
    if not FIRST <= time <= LAST:
        raise EvidenceError(_MALFORMED, f"COSE: {label} is not in the years 1 to 9999")
    return time
