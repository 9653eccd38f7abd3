"""JWS envelopes of the Notary Project: flattened JSON serialisation (specs/signature-envelope-jws.md, RFC 7515 7.2.2).

    read_jws(layer)        an Envelope whose `signed` is b"<protected>.<payload>", in base64url as stored

The signing input is made of the two texts that were parsed, never of a second encoding. Unencoded payloads (RFC 7797)
and the general serialisation with several signatures are refused; so are members that differ from a known one in
capitals only, which Go's decoder would read as that one.
"""

from __future__ import annotations

from typing import Final

import msgspec

from verifier.errors import EvidenceError
from verifier.evidence.base64text import decode_any_base64, decode_base64
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
from verifier.evidence.strictjson import StrictDecoder
from verifier.models import Micros
from verifier.times import parse_instant

ENVELOPE_COMMAS: Final = 256
"""Commas in one envelope, whose long parts are base64 and have none. Real ones have 5 to 20; each may part members, and
every member is looked at."""

_MALFORMED: Final = "envelope-malformed"
_DEFINED: Final = frozenset({"alg", "cty", "crit"})
"""Header parameters of RFC 7515 that are read here; section 4.1.11 forbids to list them as critical."""


# The fields stand in the order in which notation writes them: what is written like that needs no second look
# (`StrictDecoder`).


class _Header(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """`header`: not signed."""

    timestamp: str | None = msgspec.field(name=TIMESTAMP_SIGNATURE, default=None)
    x5c: tuple[str, ...]
    agent: str | None = msgspec.field(name=SIGNING_AGENT, default=None)


class _Flattened(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    payload: str
    protected: str
    header: _Header
    signature: str
    signatures: object = None
    """Of the general serialisation; a document that has both is two envelopes in one."""


class _Protected(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    alg: str
    crit: tuple[str, ...]
    cty: str
    authentic_signing_time: str | None = msgspec.field(name=AUTHENTIC_SIGNING_TIME, default=None)
    expiry: str | None = msgspec.field(name=EXPIRY, default=None)
    scheme: str = msgspec.field(name=SIGNING_SCHEME)
    signing_time: str | None = msgspec.field(name=SIGNING_TIME, default=None)


_FLATTENED: Final = StrictDecoder(_Flattened, _MALFORMED)
_PROTECTED: Final = StrictDecoder(_Protected, _MALFORMED)
_MEMBERS: Final = StrictDecoder(dict[str, object], _MALFORMED)


def read_jws(data: bytes) -> Envelope:
    """The envelope in a layer of type `application/jose+json`.

    Raises:
        EvidenceError: `envelope-malformed` or `limit-exceeded`.
    """
    if data.count(b",") > ENVELOPE_COMMAS:
        raise EvidenceError("limit-exceeded", f"JWS with more than {ENVELOPE_COMMAS} commas around its parts")
    written = _FLATTENED.decode(data, limit=NOTATION_ENVELOPE_BYTES)
    if written.signatures is not None:
        raise EvidenceError(_MALFORMED, "JWS: both `signature` and `signatures`")
    if len(written.header.x5c) > CERTIFICATES:
        raise EvidenceError("limit-exceeded", f"{len(written.header.x5c)} certificates, limit {CERTIFICATES}")
    raw = _base64url(written.protected, "protected")
    protected = _PROTECTED.decode(raw, limit=PROTECTED_BYTES)
    payload = _base64url(written.payload, "payload")
    token = written.header.timestamp
    return Envelope(
        signed=f"{written.protected}.{written.payload}".encode("ascii"),  # both were base64url, so they are ASCII
        signature=_base64url(written.signature, "signature"),
        alg=protected.alg,
        content_type=protected.cty,
        payload=payload,
        scheme=protected.scheme,
        signing_time=_instant(protected.signing_time, SIGNING_TIME),
        authentic_signing_time=_instant(protected.authentic_signing_time, AUTHENTIC_SIGNING_TIME),
        expiry=_instant(protected.expiry, EXPIRY),
        labels=_labels(raw),
        critical=_critical(protected.crit),
        understood=_DEFINED,
        certificates=tuple(decode_base64(text, "x5c", _MALFORMED) for text in written.header.x5c),
        timestamp=decode_base64(token, TIMESTAMP_SIGNATURE, _MALFORMED) if token else None,
        agent=written.header.agent or "",
    )


def _base64url(text: str, what: str) -> bytes:
    """RFC 7515 section 2: URL alphabet, no padding."""
    if not text.isascii() or any(mark in text for mark in "+/="):
        raise EvidenceError(_MALFORMED, f"JWS: {what} is not base64url without padding")
    return decode_any_base64(text, f"JWS: {what}", _MALFORMED)


def _labels(raw: bytes) -> frozenset[int | str]:
    """Attributes that are there; Go reads a member that is null as an absent one."""
    members = _MEMBERS.decode(raw, limit=PROTECTED_BYTES)
    if len(members) > ATTRIBUTES:
        raise EvidenceError("limit-exceeded", f"{len(members)} signed attributes, limit {ATTRIBUTES}")
    return frozenset(name for name, value in members.items() if value is not None)


def _critical(names: tuple[str, ...]) -> tuple[int | str, ...]:
    if len(names) > ATTRIBUTES:
        raise EvidenceError("limit-exceeded", f"{len(names)} critical attributes, limit {ATTRIBUTES}")
    if defined := _DEFINED.intersection(names):
        raise EvidenceError(_MALFORMED, f"JWS: crit lists {excerpt(min(defined))}, which RFC 7515 forbids")
    return names


def _instant(text: str | None, what: str) -> Micros | None:
    if text is None:
        return None
    try:
        return parse_instant(text)
    except ValueError as error:
        raise EvidenceError(_MALFORMED, f"JWS: {what} is {excerpt(text)}, expected RFC 3339") from error
