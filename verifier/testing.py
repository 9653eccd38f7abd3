"""A signer for tests, yours and ours: real keys, real signatures, in the byte formats cosign writes.

    dev = Signer("dev")
    evidence = dev.sign_simple("registry.example.com/app", "sha256:…", {"env": "prod"})
    derive_fact(evidence, key_set([("dev", dev.public_key)])).verified_by == (dev.key_id,)

Keys are made from the signer's name, so that ids and (except for PSS) signatures are the same in every run. Whoever
knows the name knows the private key: never trust such a key outside a test.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from math import gcd
from typing import Final, Literal, TypedDict

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from verifier.evidence.dsse import IN_TOTO_TYPE, SIGN_PREDICATE, pae
from verifier.evidence.ed25519ph import BASE, ORDER, PH_PREFIX, encode_point, multiply
from verifier.evidence.identity import SIGNATURE_ANNOTATION, evidence_id
from verifier.evidence.keys import PublicKey, load_public_key
from verifier.evidence.simplesigning import SIGNATURE_TYPE
from verifier.models import Evidence, EvidenceFormat

KeyType = Literal["ecdsa-p256", "ecdsa-p384", "ecdsa-p521", "rsa", "rsa-pss", "ed25519", "ed25519ph"]

BUNDLE_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
SBOM_PREDICATE: Final = "https://spdx.dev/Document"

_CURVES: Final[dict[str, tuple[ec.EllipticCurve, hashes.HashAlgorithm, int]]] = {
    "ecdsa-p256": (ec.SECP256R1(), hashes.SHA256(), 32),
    "ecdsa-p384": (ec.SECP384R1(), hashes.SHA384(), 48),
    "ecdsa-p521": (ec.SECP521R1(), hashes.SHA512(), 65),  # 65: surely below the order of the curve
}
_RSA_BITS: Final = 2048
_RSA_EXPONENT: Final = 65537
_PRIME_ROUNDS: Final = 8
_PLACES: Final[dict[EvidenceFormat, str]] = {
    "cosign-simplesigning": "sig-tag",
    "cosign-dsse": "att-tag",
    "sigstore-bundle": "referrers-api",
}

SignFunction = Callable[[bytes], bytes]


class EnvelopeDocument(TypedDict):
    """A DSSE envelope as JSON."""

    payload: str
    payloadType: str
    signatures: list[dict[str, str]]


class Signer:
    """One key pair and the evidence it can make."""

    def __init__(self, name: str, key_type: KeyType = "ecdsa-p256") -> None:
        self.name = name
        self.type = key_type
        pem, self.sign = _key_pair(name, key_type)
        """`sign(message)` gives the raw signature, hashed as cosign hashes for this type of key."""
        self.pem = pem
        """The public key, PEM."""

    @property
    def public_key(self) -> PublicKey:
        """The public key, as the verifier loads it."""
        return load_public_key(self.pem)

    @property
    def key_id(self) -> str:
        """Hex SHA-256 of the SubjectPublicKeyInfo."""
        return self.public_key.key_id

    def sign_simple(
        self, repository: str, digest: str, annotations: Mapping[str, object] | None = None, *, at: str = ""
    ) -> Evidence:
        """A layer of a `.sig` manifest: `cosign sign` before v3. `at`: digest it is found at, if not `digest`."""
        payload = simple_signing_payload(repository, digest, annotations)
        carried = {SIGNATURE_ANNOTATION: b64encode(self.sign(payload)).decode()}
        return make_evidence("cosign-simplesigning", repository, at or digest, payload, carried)

    def sign_bundle(
        self, repository: str, digest: str, annotations: Mapping[str, str] | None = None, *, at: str = ""
    ) -> Evidence:
        """A bundle with a `sign/v1` statement: `cosign sign` since v3."""
        subject: dict[str, object] = {"digest": {"sha256": digest.removeprefix("sha256:")}}
        if annotations:
            subject["annotations"] = dict(annotations)
        body = statement([subject], SIGN_PREDICATE, {})
        return make_evidence("sigstore-bundle", repository, at or digest, self.bundle(self.envelope(body)))

    def sign_manifest(self, repository: str, digest: str, manifest: bytes) -> Evidence:
        """A bundle with a `messageSignature` over the manifest itself: allowed by the format, not written by cosign."""
        message = {
            "messageDigest": {"algorithm": "SHA2_256", "digest": b64encode(hashlib.sha256(manifest).digest()).decode()},
            "signature": b64encode(self.sign(manifest)).decode(),
        }
        return make_evidence("sigstore-bundle", repository, digest, self.bundle(message, "messageSignature"))

    def attest(
        self,
        repository: str,
        digest: str,
        predicate_type: str = SBOM_PREDICATE,
        predicate: object = None,
        *,
        format: EvidenceFormat = "cosign-dsse",  # noqa: A002 - the word the models use
    ) -> Evidence:
        """An attestation, as a layer of `.att` (default) or as a bundle: `cosign attest`."""
        subject = {"name": repository, "digest": {"sha256": digest.removeprefix("sha256:")}}
        body = statement([subject], predicate_type, predicate or {}, version="v0.1")
        envelope = self.envelope(body)
        if format == "sigstore-bundle":
            return make_evidence(format, repository, digest, self.bundle(envelope))
        carried = {SIGNATURE_ANNOTATION: "", "predicateType": predicate_type}
        return make_evidence("cosign-dsse", repository, digest, compact(envelope), carried)

    def envelope(self, body: bytes, payload_type: str = IN_TOTO_TYPE) -> EnvelopeDocument:
        """A DSSE envelope around `body`."""
        signature = b64encode(self.sign(pae(payload_type, body))).decode()
        payload = b64encode(body).decode()
        return {"payload": payload, "payloadType": payload_type, "signatures": [{"sig": signature}]}

    def bundle(self, content: Mapping[str, object], kind: str = "dsseEnvelope") -> bytes:
        """A v0.3 bundle around an envelope or message signature, with the hint cosign writes."""
        hint = b64encode(bytes.fromhex(self.key_id)).decode()
        return compact({"mediaType": BUNDLE_TYPE, "verificationMaterial": {"publicKey": {"hint": hint}}, kind: content})


def simple_signing_payload(repository: str, digest: str, annotations: Mapping[str, object] | None = None) -> bytes:
    """The JSON that classic cosign signs; without annotations `optional` is null."""
    identity, image = {"docker-reference": repository}, {"docker-manifest-digest": digest}
    critical = {"identity": identity, "image": image, "type": SIGNATURE_TYPE}
    return compact({"critical": critical, "optional": dict(annotations) if annotations else None})


def statement(subjects: Sequence[object], predicate_type: str, predicate: object, *, version: str = "v1") -> bytes:
    """An in-toto statement."""
    kind = f"https://in-toto.io/Statement/{version}"
    return compact({"_type": kind, "subject": subjects, "predicateType": predicate_type, "predicate": predicate})


def make_evidence(
    format: EvidenceFormat,  # noqa: A002 - the word the models use
    repository: str,
    subject: str,
    payload: bytes,
    annotations: Mapping[str, str] | None = None,
) -> Evidence:
    """Evidence with the id of its bytes."""
    carried = dict(annotations or {})
    return Evidence(
        id=evidence_id(hashlib.sha256(payload).hexdigest(), carried),
        format=format,
        repository=repository,
        subject=subject,
        payload=payload,
        annotations=carried,
        place=_PLACES[format],
    )


def compact(value: object) -> bytes:
    """JSON without spaces, members in the order given, as Go writes it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


@lru_cache(maxsize=64)
def _key_pair(name: str, key_type: KeyType) -> tuple[str, SignFunction]:
    if key_type in _CURVES:
        return _ecdsa_pair(name, key_type)
    if key_type in {"rsa", "rsa-pss"}:
        return _rsa_pair(name, pss=key_type == "rsa-pss")
    return _ed25519_pair(name, prehashed=key_type == "ed25519ph")


def _ecdsa_pair(name: str, key_type: KeyType) -> tuple[str, SignFunction]:
    curve, hash_, size = _CURVES[key_type]
    scalar = int.from_bytes(_bytes_of(name, size)) >> 1 | 1
    key = ec.derive_private_key(scalar, curve)
    return _pem(key.public_key()), lambda message: key.sign(message, ec.ECDSA(hash_, deterministic_signing=True))


def _rsa_pair(name: str, *, pss: bool) -> tuple[str, SignFunction]:
    key = _rsa_key(name)
    salted = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
    scheme: padding.AsymmetricPadding = salted if pss else padding.PKCS1v15()
    return _pem(key.public_key()), lambda message: key.sign(message, scheme, hashes.SHA256())


def _ed25519_pair(name: str, *, prehashed: bool) -> tuple[str, SignFunction]:
    seed = _bytes_of(name, 32)
    key = Ed25519PrivateKey.from_private_bytes(seed)
    return _pem(key.public_key()), (lambda message: sign_ph(seed, message)) if prehashed else key.sign


def sign_ph(seed: bytes, message: bytes) -> bytes:
    """Ed25519ph with an empty context (RFC 8032 section 5.1.6). Not constant-time: for tests only."""
    expanded = hashlib.sha512(seed).digest()
    scalar = int.from_bytes(expanded[:32], "little") & (1 << 254) - 8 | 1 << 254
    public, hashed = encode_point(multiply(scalar, BASE)), hashlib.sha512(message).digest()
    nonce = int.from_bytes(hashlib.sha512(PH_PREFIX + expanded[32:] + hashed).digest(), "little") % ORDER
    commitment = encode_point(multiply(nonce, BASE))
    k = int.from_bytes(hashlib.sha512(PH_PREFIX + commitment + public + hashed).digest(), "little")
    return commitment + ((nonce + k * scalar) % ORDER).to_bytes(32, "little")


@lru_cache(maxsize=16)
def _rsa_key(name: str) -> rsa.RSAPrivateKey:
    """RSA from a name: primes searched upwards from the name's bytes."""
    p, q = (_prime(int.from_bytes(_bytes_of(f"{name} {part}", _RSA_BITS // 16))) for part in "pq")
    totient = (p - 1) * (q - 1) // gcd(p - 1, q - 1)
    d = pow(_RSA_EXPONENT, -1, totient)
    public = rsa.RSAPublicNumbers(_RSA_EXPONENT, p * q)
    parts = rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q)
    return rsa.RSAPrivateNumbers(p, q, d, *parts, public).private_key()


def _prime(start: int) -> int:
    candidate = start | 3 << (_RSA_BITS // 2 - 2) | 1  # both top bits: the product has the full length
    while not (candidate % _RSA_EXPONENT > 1 and _is_prime(candidate)):
        candidate += 2
    return candidate


def _is_prime(n: int) -> bool:
    """Miller-Rabin with small bases, after trial division; starting points are no adversary's."""
    if any(n % small == 0 for small in range(3, 2000, 2)):
        return False
    twos = (n - 1 & 1 - n).bit_length() - 1
    return all(_passes(n, base, (n - 1) >> twos, twos) for base in range(2, 2 + _PRIME_ROUNDS))


def _passes(n: int, base: int, odd: int, twos: int) -> bool:
    x = pow(base, odd, n)
    return x in {1, n - 1} or any((x := x * x % n) == n - 1 for _ in range(twos - 1))


def _bytes_of(name: str, length: int) -> bytes:
    return hashlib.shake_256(f"revet test key {name}".encode()).digest(length)


def _pem(key: PublicKeyTypes) -> str:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
