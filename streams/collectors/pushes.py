"""How cloud services sign in and want to be answered: Google Pub/Sub push and Amazon Data Firehose over HTTP.

*Pub/Sub* sends `Authorization: Bearer JWT`, signed by Google (RS256) for an audience and a service account that the
subscription names (cloud.google.com/pubsub/docs/authenticate-push-subscriptions). Google's keys are read from a file
(JWKS, `https://www.googleapis.com/oauth2/v3/certs`), which somebody else keeps fresh: this receiver calls nobody.

*Firehose* sends its access key in `X-Amz-Firehose-Access-Key`, and takes an answer only when it is JSON with the id of
the request (docs.aws.amazon.com/firehose/latest/dev/httpdeliveryrequestresponse.html).
"""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers
from cryptography.hazmat.primitives.hashes import SHA256

from streams.collectors.marks import mark_of
from verifier.errors import InputError

ISSUERS: Final = frozenset({"https://accounts.google.com", "accounts.google.com"})
MAX_TOKEN: Final = 8 * 1024
"""Characters of a JWT; Google's have about a thousand."""
MAX_KEYS_FILE: Final = 256 * 1024
MAX_KEYS: Final = 32
MIN_MODULUS: Final = 2048
MAX_MODULUS: Final = 8192
"""Bits. Beyond it a signature costs too much to look at."""
LEEWAY: Final = 60
"""Seconds two clocks may differ."""
MAX_REQUEST_ID: Final = 512
"""Characters of a Firehose request id that are repeated; a real one is a UUID."""


class _Key(msgspec.Struct):
    kty: str = ""
    kid: str = ""
    n: str = ""
    e: str = ""


class _Keys(msgspec.Struct):
    keys: list[_Key]


class _Header(msgspec.Struct):
    alg: str = ""
    kid: str = ""


class _Claims(msgspec.Struct):
    """What is read of a token. Times are seconds."""

    iss: str = ""
    aud: str = ""
    exp: int = 0
    iat: int = 0
    email: str = ""
    email_verified: bool = False


class PushKeys:
    """Google's public keys of the day, by id, and the audience that pushes must be for."""

    def __init__(self, file: Path, audience: str) -> None:
        """Raises InputError: the file cannot be read, or holds no key."""
        self._file, self.audience = file, audience
        self._keys: dict[str, RSAPublicKey] = {}
        self._seen: object = None
        self.refresh()

    def refresh(self) -> bool:
        """Read the file when it changed; what was known stays when that fails. Raises InputError."""
        where = f"listen.push_keys_file: {self._file}"
        try:
            seen = mark_of(self._file.stat())
            if seen == self._seen:
                return False
            with self._file.open("rb") as stream:
                data = stream.read(MAX_KEYS_FILE + 1)
        except OSError as error:
            raise InputError(f"{where}: {error.strerror or error}") from error
        found = read_keys(data) if len(data) <= MAX_KEYS_FILE else {}
        if not found:
            raise InputError(f"{where}: no RSA key of at least {MIN_MODULUS} bits in it; expected a JWKS document")
        self._keys, self._seen = found, seen
        return True

    def key(self, key_id: str) -> RSAPublicKey | None:
        """The key of this id."""
        return self._keys.get(key_id)


def read_keys(data: bytes) -> dict[str, RSAPublicKey]:
    """The RSA keys of a JWKS document (RFC 7517) by id; what is no such key is left out. Raises nothing."""
    try:
        document = msgspec.json.decode(data, type=_Keys)
    except (ValueError, RecursionError):
        return {}
    found: dict[str, RSAPublicKey] = {}
    for key in document.keys[:MAX_KEYS]:
        n, e = (int.from_bytes(_part(text), "big") for text in (key.n, key.e))
        if key.kty == "RSA" and key.kid and MIN_MODULUS <= n.bit_length() <= MAX_MODULUS and e == 65537:
            try:
                found[key.kid] = RSAPublicNumbers(e, n).public_key()
            except ValueError:
                continue
    return found


def push_account(token: bytes, keys: PushKeys, now: int) -> str:
    """The service account that signed a push for our audience; empty for everything else.

    Args:
        token: the JWT (RFC 7519, compact form).
        keys: who may have signed it, and for whom.
        now: microseconds.
    """
    if len(token) > MAX_TOKEN or token.count(b".") != 2:
        return ""
    signed, _, signature = token.rpartition(b".")
    head, _, body = signed.partition(b".")
    try:
        header = msgspec.json.decode(_part(head), type=_Header)
        claims = msgspec.json.decode(_part(body), type=_Claims)
    except (ValueError, RecursionError):
        return ""
    key = keys.key(header.kid) if header.alg == "RS256" else None  # the key says how it signs, never the token
    if key is None:
        return ""
    try:
        key.verify(_part(signature), signed, PKCS1v15(), SHA256())
    except InvalidSignature:
        return ""
    seconds = now // 1_000_000
    timely = claims.iat - LEEWAY <= seconds <= claims.exp + LEEWAY
    ours = claims.iss in ISSUERS and claims.aud == keys.audience and claims.email_verified
    return claims.email if timely and ours else ""


def _part(text: bytes | str) -> bytes:
    """Base64url without padding; empty when it is none."""
    data = text.encode("utf-8", "replace") if isinstance(text, str) else text
    try:
        return urlsafe_b64decode(data + b"=" * (-len(data) % 4))
    except (binascii.Error, ValueError):
        return b""


def firehose_answer(request_id: str, now: int, error: str = "") -> bytes:
    """The JSON that Firehose waits for; `now` in milliseconds. With an `error` it sends the records again."""
    told: dict[str, object] = {"requestId": request_id[:MAX_REQUEST_ID], "timestamp": now}
    return msgspec.json.encode({**told, "errorMessage": error} if error else told)
