"""Notary Project envelopes for tests, JWS and COSE, with every oddity an argument.

    leaf = Ca.root("corp").leaf("signer", "p384", subject=SUBJECT)
    data = envelope(leaf, "jws", expiry=T0 + DAY)
    read_notation(notation_evidence(data, "jws"))

The CBOR written here is written by its own few lines, so that it does not share a mistake with the reader under test.
"""

import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tests.helpers.pki import SECOND, T0, Leaf
from verifier.models import Evidence
from verifier.times import format_instant

DIGEST = "sha256:" + "a1" * 32
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
PAYLOAD_TYPE = "application/vnd.cncf.notary.payload.v1+json"
SUBJECT = "C=US,ST=WA,O=wabbit-networks.io,CN=signer"
PREFIX = "io.cncf.notary."
X509, AUTHORITY = "notary.x509", "notary.x509.signingAuthority"

KEY_TYPES = {
    "rsa2048": ("PS256", "rsa-pss-sha256"),
    "rsa3072": ("PS384", "rsa-pss-sha384"),
    "rsa4096": ("PS512", "rsa-pss-sha512"),
    "p256": ("ES256", "ecdsa-p256-sha256"),
    "p384": ("ES384", "ecdsa-p384-sha384"),
    "p521": ("ES512", "ecdsa-p521-sha512"),
}
"""pki's key type -> JOSE algorithm, label in facts."""

COSE_NUMBERS = {"PS256": -37, "PS384": -38, "PS512": -39, "ES256": -7, "ES384": -35, "ES512": -36}
_HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}


class Tag(NamedTuple):
    """A CBOR tag."""

    number: int
    value: Any


class Raw(NamedTuple):
    """CBOR that is encoded already."""

    data: bytes


def cbor(value: Any) -> bytes:
    """CBOR with shortest heads; maps in the order given; lists of pairs in `Pairs` may repeat keys."""
    if isinstance(value, Raw):
        return value.data
    if isinstance(value, Tag):
        return _head(6, value.number) + cbor(value.value)
    if value is None or isinstance(value, bool):
        return {False: b"\xf4", True: b"\xf5", None: b"\xf6"}[value]
    if isinstance(value, int):
        return _head(0, value) if value >= 0 else _head(1, -1 - value)
    if isinstance(value, bytes):
        return _head(2, len(value)) + value
    if isinstance(value, str):
        return _head(3, len(value.encode())) + value.encode()
    if isinstance(value, Mapping):
        return pairs(list(value.items()))
    return _head(4, len(value)) + b"".join(cbor(item) for item in value)


def pairs(items: Sequence[tuple[Any, Any]]) -> bytes:
    """A map whose keys may repeat."""
    return _head(5, len(items)) + b"".join(cbor(part) for item in items for part in item)


def _head(major: int, n: int) -> bytes:
    for limit, code, size in ((24, n, 0), (1 << 8, 24, 1), (1 << 16, 25, 2), (1 << 32, 26, 4), (1 << 64, 27, 8)):
        if n < limit:
            return bytes([major << 5 | code]) + (n.to_bytes(size) if size else b"")
    raise ValueError(n)


def b64url(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


def target(**changes: Any) -> dict[str, Any]:
    """A targetArtifact; None leaves a member out."""
    members = {"mediaType": MANIFEST, "digest": DIGEST, "size": 528} | changes
    return {name: value for name, value in members.items() if value is not None}


def primitive(key: Any, alg: str, message: bytes, *, salt: int | None = None) -> bytes:
    """A signature as JOSE and COSE want it; `salt` in bytes, None for the hash's length."""
    hash_ = _HASHES[alg[2:]]
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(message, padding.PSS(padding.MGF1(hash_), hash_.digest_size if salt is None else salt), hash_)
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(hash_)))
    size = (key.curve.key_size + 7) // 8
    return r.to_bytes(size) + s.to_bytes(size)


def implied(key: Any) -> str:
    if isinstance(key, rsa.RSAPrivateKey):
        return {2048: "PS256", 3072: "PS384", 4096: "PS512"}[key.key_size]
    return {256: "ES256", 384: "ES384", 521: "ES512"}[key.curve.key_size]


def protected_of(
    *,
    scheme: str = X509,
    at: int = T0,
    expiry: int | None = None,
    crit: Sequence[Any] | None = None,
    attributes: Mapping[Any, Any] | None = None,
) -> tuple[dict[Any, Any], list[Any]]:
    """Signed attributes by name (times in microseconds) and the list of critical ones, as notation writes them."""
    own = "authenticSigningTime" if scheme == AUTHORITY else "signingTime"
    members: dict[Any, Any] = {PREFIX + "signingScheme": scheme, PREFIX + own: at}
    critical: list[Any] = [PREFIX + "signingScheme"]
    if scheme == AUTHORITY:
        critical.append(PREFIX + own)
    if expiry is not None:
        members[PREFIX + "expiry"] = expiry
        critical.append(PREFIX + "expiry")
    return members | dict(attributes or {}), critical if crit is None else list(crit)


_TIMES = {PREFIX + "signingTime", PREFIX + "authenticSigningTime", PREFIX + "expiry"}


def envelope(
    leaf: Leaf,
    form: str,
    *,
    payload: bytes | None = None,
    alg: str = "",
    key: Any = None,
    salt: int | None = None,
    cty: str = PAYLOAD_TYPE,
    certificates: Sequence[bytes] | None = None,
    timestamp: bytes | None = None,
    stamp: Any = None,
    agent: str = "tests/1",
    drop: Sequence[str] = (),
    **attributes: Any,
) -> bytes:
    """An envelope.

    Args:
        leaf: signs, and whose chain goes in.
        form: `jws` or `cose`.
        payload: default: `target()`.
        alg: what it says; the signature is made with it if the key can, else with what the key implies.
        key: another key than the leaf's.
        salt: of PSS, bytes.
        cty: content type.
        certificates: DER; default: leaf and chain.
        timestamp: token.
        stamp: makes the token from the primitive signature.
        agent: signing agent.
        drop: signed attributes left out.
        attributes: as for `protected_of`.
    """
    key = key or leaf.key
    alg = alg or implied(key)
    usable = alg if alg in COSE_NUMBERS and (alg[0] == "P") == isinstance(key, rsa.RSAPrivateKey) else implied(key)
    members, crit = protected_of(**attributes)
    members = {name: value for name, value in members.items() if name not in drop}
    body = json.dumps({"targetArtifact": target()}).encode() if payload is None else payload
    chain = (leaf.certificate, *leaf.chain) if certificates is None else certificates
    build = _jws if form == "jws" else _cose
    protected, signed = build.signed(members, crit, alg, cty, body)
    signature = primitive(key, usable, signed, salt=salt)
    token = stamp(signature) if stamp else timestamp
    return build.written(protected, body, chain, signature, token, agent)


class _jws:  # noqa: N801 - two builders that are used as values
    @staticmethod
    def signed(members, crit, alg, cty, body):
        shown = {n: format_instant(v) if n in _TIMES and isinstance(v, int) else v for n, v in members.items()}
        protected = b64url(json.dumps({"alg": alg, "cty": cty, "crit": crit} | shown).encode())
        return protected, f"{protected}.{b64url(body)}".encode()

    @staticmethod
    def written(protected, body, chain, signature, token, agent):
        header: dict[str, Any] = {"x5c": [b64encode(der).decode() for der in chain]}
        if token is not None:
            header[PREFIX + "timestampSignature"] = b64encode(token).decode()
        if agent:
            header[PREFIX + "signingAgent"] = agent
        parts = {"payload": b64url(body), "protected": protected, "header": header, "signature": b64url(signature)}
        return json.dumps(parts).encode()


class _cose:  # noqa: N801 - two builders that are used as values
    @staticmethod
    def signed(members, crit, alg, cty, body):
        shown = {n: Tag(1, v // SECOND) if n in _TIMES and isinstance(v, int) else v for n, v in members.items()}
        protected = cbor({1: COSE_NUMBERS.get(alg, -257), 2: crit, 3: cty} | shown)
        return protected, cbor(["Signature1", protected, b"", body])

    @staticmethod
    def written(protected, body, chain, signature, token, agent):
        header: dict[Any, Any] = {33: list(chain)}
        if token is not None:
            header[PREFIX + "timestampSignature"] = token
        if agent:
            header[PREFIX + "signingAgent"] = agent
        return cbor(Tag(18, [protected, header, body, signature]))


def notation_evidence(data: bytes, form: str, *, subject: str = DIGEST, **annotations: str) -> Evidence:
    """Evidence of this form; annotations with `__` for the dots: `revet__subject__size="528"`."""
    named = {name.replace("__", "."): value for name, value in annotations.items()}
    return Evidence(
        id="evidence",
        format="notation-jws" if form == "jws" else "notation-cose",
        repository="registry.example.com/app",
        subject=subject,
        payload=data,
        annotations=named,
    )
