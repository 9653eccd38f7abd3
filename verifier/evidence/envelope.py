"""What a Notary Project envelope says, whether it is written as JWS or as COSE (specs/signature-specification.md).

    Envelope(signed=b"...", signature=b"...", alg="ES256", scheme=SCHEME_X509, ...)

`jws` and `cose` make envelopes, `notation` applies the rules. Nothing here is verified.
"""

from __future__ import annotations

from typing import Final

import msgspec

from verifier.evidence.limits import KIB
from verifier.models import Micros

NOTATION_ENVELOPE_BYTES: Final = 128 * KIB
"""Bytes of one envelope. Real ones have 2 to 12 KiB; ten certificates of 8 KiB and a timestamp token, with the third
that base64 adds, stay below."""

PAYLOAD_BYTES: Final = 64 * KIB
"""Bytes of the signed payload. Real ones have 200 and what the signer annotates; every member of it is looked at."""

PROTECTED_BYTES: Final = 16 * KIB
"""Bytes of the signed header alone. Real ones have 200 to 400; every member of it is looked at."""

ATTRIBUTES: Final = 64
"""Signed attributes of one envelope, and entries of its list of critical ones. Real ones have 4 to 8."""

SIGNING_SCHEME: Final = "io.cncf.notary.signingScheme"
SIGNING_TIME: Final = "io.cncf.notary.signingTime"
AUTHENTIC_SIGNING_TIME: Final = "io.cncf.notary.authenticSigningTime"
EXPIRY: Final = "io.cncf.notary.expiry"
VERIFICATION_PLUGIN: Final = "io.cncf.notary.verificationPlugin"
VERIFICATION_PLUGIN_MIN_VERSION: Final = "io.cncf.notary.verificationPluginMinVersion"
TIMESTAMP_SIGNATURE: Final = "io.cncf.notary.timestampSignature"
SIGNING_AGENT: Final = "io.cncf.notary.signingAgent"

SCHEME_X509: Final = "notary.x509"
SCHEME_AUTHORITY: Final = "notary.x509.signingAuthority"


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """One envelope, read."""

    signed: bytes
    """The bytes the signature is over."""
    signature: bytes
    """The primitive signature: r||s, or an RSA signature. A timestamp token is over exactly these bytes."""
    alg: str
    """JOSE name: `PS256` … `ES512`, or what the envelope says instead."""
    content_type: str
    payload: bytes
    scheme: str
    signing_time: Micros | None
    authentic_signing_time: Micros | None
    expiry: Micros | None
    labels: frozenset[int | str]
    """Every signed attribute that is there, by its label."""
    critical: tuple[int | str, ...]
    """The attributes a verifier has to understand, as listed."""
    understood: frozenset[int | str]
    """Labels that the format itself defines and its reader has dealt with."""
    certificates: tuple[bytes, ...]
    """DER, leaf first."""
    timestamp: bytes | None
    """A bare RFC 3161 TimeStampToken."""
    agent: str
    """Unsigned, for people."""
