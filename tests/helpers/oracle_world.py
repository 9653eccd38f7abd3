"""A private world of keys, authorities and logs, and what signers leave in it beside an image.

    world = World(now)
    made = make(world, image, Recipe("bundle", certified="keyless", log=2, stamped=True))
    made.signature = flip(made.signature)             what an attacker would change
    made.part()                                       bytes for a registry

Built on tests/helpers/pki.py and rekor.py; `World.root()` is the one trust root both revet and the tools are given.
"""

import copy
import hashlib
import json
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.helpers import pki
from tests.helpers.pki import CODE_SIGNING, DAY, MINUTE, SECOND, TIMESTAMPING, Ca, CtLog, Leaf, Tsa, make_key, pem, spki
from tests.helpers.rekor import MemoryLog, dsse1, hashedrekord1, hashedrekord2, key_pem
from verifier.evidence.dsse import IN_TOTO_TYPE, SIGN_PREDICATE, pae
from verifier.evidence.identity import SIGNATURE_ANNOTATION
from verifier.evidence.simplesigning import (
    CERTIFICATE_ANNOTATION,
    CHAIN_ANNOTATION,
    LOG_ANNOTATION,
    TIMESTAMP_ANNOTATION,
)
from verifier.testing import BUNDLE_TYPE, sign_ph, simple_signing_payload, statement
from verifier.times import format_instant

IDENTITY, OTHER_IDENTITY = "dev@corp.example", "mallory@corp.example"
ISSUER = "https://idp.example"
REKOR1, REKOR2 = "rekor.example", "tiles.example"
ROOT_TYPE = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"
PSS, PH = "rsa2048-pss", "ed25519ph"
KEY_TYPES = ("p256", "p384", "p521", "rsa2048", "rsa3072", "rsa4096", PSS, "ed25519", PH)


def b64(data: bytes) -> str:
    return b64encode(data).decode()


def compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def flip(data: bytes) -> bytes:
    """Another last byte."""
    return data[:-1] + bytes([data[-1] ^ 1])


@dataclass(frozen=True)
class Image:
    """What is signed."""

    repository: str
    digest: str
    size: int


@dataclass(frozen=True)
class Key:
    """A signing key as cosign would use it."""

    name: str
    type: str

    @cached_property
    def private(self) -> Any:
        return make_key(f"oracle {self.name}", self.type.removesuffix("-pss").removesuffix("ph"))

    @property
    def pem(self) -> str:
        return key_pem(spki(self.private))

    def sign(self, message: bytes) -> bytes:
        return sign_with(self.private, message, self.type)


def sign_with(private: Any, message: bytes, key_type: str) -> bytes:
    if isinstance(private, Ed25519PrivateKey) and key_type == PH:
        return sign_ph(private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()), message)
    if isinstance(private, RSAPrivateKey):
        return pki.sign(private, message, "sha256", pss=key_type == PSS)
    return pki.sign(private, message)


class Shown(NamedTuple):
    """What a signer shows a log; the members tests/helpers/rekor.py asks for."""

    certified: bool
    certificate: bytes
    spki: bytes

    @property
    def pem(self) -> str:
        return pem(self.certificate) if self.certified else key_pem(self.spki)


# --------------------------------------------------------------------------------------------------------------- world


class World:
    """Authorities and logs, all made for this `now` (microseconds)."""

    def __init__(self, now: int) -> None:
        self.now = now
        self.signed_at = now - 20 * DAY
        """Keyless certificates are valid from here for ten minutes."""
        self.wide: dict[str, Any] = {"not_before": now - 400 * DAY, "not_after": now + 400 * DAY}
        self.ct, self.unknown_ct = CtLog("oracle"), CtLog("nobody's")
        self.logs = {1: MemoryLog(REKOR1), 2: MemoryLog(REKOR2, version=2)}

    @cached_property
    def anchor(self) -> Ca:
        return Ca.root("oracle root", **self.wide)

    @cached_property
    def issuing(self) -> Ca:
        return self.anchor.intermediate("oracle issuing", eku=CODE_SIGNING, **self.wide)

    @cached_property
    def rogue(self) -> Ca:
        """The same names, other keys."""
        root = Ca.root("oracle root", "p384", **self.wide)
        return root.intermediate("oracle issuing", "p384", eku=CODE_SIGNING, **self.wide)

    @cached_property
    def corp(self) -> Ca:
        """Of Notary Project signers."""
        return Ca.root("oracle corp", **self.wide)

    @cached_property
    def tsa(self) -> Tsa:
        return self._tsa("oracle")

    @cached_property
    def rogue_tsa(self) -> Tsa:
        return self._tsa("rogue")

    def _tsa(self, name: str) -> Tsa:
        root = Ca.root(f"{name} tsa root", **self.wide)
        below = root.intermediate(f"{name} tsa", eku=TIMESTAMPING, **self.wide)
        return Tsa.under(below, name, not_before=self.now - 300 * DAY, not_after=self.now + 300 * DAY)

    @cached_property
    def _document(self) -> dict[str, Any]:
        start = {"validFor": {"start": format_instant(self.now - 390 * DAY)}}
        details = {1: "PKIX_ECDSA_P256_SHA_256", 2: "PKIX_ED25519"}

        def log(url: str, key: bytes, kind: str, log_id: str) -> dict[str, Any]:
            public = {"rawBytes": b64(key), "keyDetails": kind, **copy.deepcopy(start)}
            identity = {"keyId": b64(bytes.fromhex(log_id))}
            return {"baseUrl": url, "hashAlgorithm": "SHA2_256", "publicKey": public, "logId": identity}

        def authority(uri: str, *ders: bytes) -> dict[str, Any]:
            chain = {"certificates": [{"rawBytes": b64(der)} for der in ders]}
            about = {"organization": "oracle", "commonName": "oracle"}
            return {"subject": about, "uri": uri, "certChain": chain, **copy.deepcopy(start)}

        return {
            "mediaType": ROOT_TYPE,
            "tlogs": [log(f"https://{m.host}", m.spki, details[v], m.id) for v, m in self.logs.items()],
            "certificateAuthorities": [authority("https://ca.example", *self.issuing.chain)],
            "ctlogs": [log("https://ct.example", self.ct.spki, details[1], self.ct.id)],
            "timestampAuthorities": [authority("https://tsa.example", *self.tsa.chain)],
        }

    def root(self) -> dict[str, Any]:
        """The trust root, for the caller to change."""
        return copy.deepcopy(self._document)

    def leaf(self, recipe: "Recipe") -> Leaf:
        """The signer's certificate."""
        options = dict(recipe.leaf)
        ca = self.rogue if options.pop("rogue", False) else self.issuing
        if recipe.certified == "keyless":
            times = {"not_before": self.signed_at, "not_after": self.signed_at + 10 * MINUTE}
            options = {"issuer": ISSUER, "extensions": {1: ISSUER}, "scts_by": [self.ct], **times} | options
        else:
            options = {"not_before": self.now - 30 * DAY, "not_after": self.now + 30 * DAY} | options
        options = {"sans": [IDENTITY]} | options
        return ca.leaf(f"oracle {recipe.signer}", recipe.key_type.removesuffix("-pss").removesuffix("ph"), **options)


@dataclass(frozen=True)
class Recipe:
    """Who signs what, how."""

    style: str
    """`classic` (`.sig` and `.att` layers) or `bundle`."""
    key_type: str = "p256"
    signer: str = "dev"
    predicate: str = ""
    """An attestation of this type (URI); empty: a signature."""
    certified: str = ""
    """Empty: a bare key; `byo`: a certificate of one's own CA; `keyless`: one as Fulcio issues it."""
    leaf: Mapping[str, Any] = field(default_factory=dict)
    """Options of `pki.Ca.leaf`; `rogue` takes another CA of the same name."""
    log: int = 0
    """Version of the Rekor log that has an entry."""
    stamped: bool = False
    later: int = MINUTE
    """Log and timestamp authority saw it so long after the certificate's (or the day's) start."""
    stamp_later: int | None = None
    """The timestamp authority alone."""
    annotations: Mapping[str, str] = field(default_factory=dict)
    claims: str = ""
    """Repository named in a classic payload, if another."""
    digest: str = ""
    """Image named, if another."""
    chained: bool = True
    """The intermediate certificates come along, where the format has a place for them."""


# ---------------------------------------------------------------------------------------------------------------- made


class Layer(NamedTuple):
    """A layer of the `.sig` or `.att` tag."""

    attestation: bool
    payload: bytes
    annotations: Mapping[str, str]


class Referrer(NamedTuple):
    """An artifact with one layer that refers to the image: a bundle, or a Notary Project envelope."""

    media_type: str
    payload: bytes


Part = Layer | Referrer


@dataclass
class Made:
    """One signature before it is written; every member may be changed."""

    recipe: Recipe
    payload: bytes
    signature: bytes
    hint: str = ""
    certificates: list[bytes] = field(default_factory=list)
    entry: dict[str, Any] | None = None
    """As a bundle writes it, or the classic annotation's document."""
    stamps: list[bytes] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)
    """Further members of a bundle."""

    @property
    def envelope(self) -> dict[str, Any]:
        signatures = [{"keyid": "", "sig": b64(self.signature)}] if self.recipe.style == "classic" else None
        body = {"payloadType": IN_TOTO_TYPE, "payload": b64(self.payload)}
        return body | {"signatures": signatures or [{"sig": b64(self.signature)}]}

    def part(self) -> Part:
        return self._layer() if self.recipe.style == "classic" else Referrer(BUNDLE_TYPE, compact(self.bundle()))

    def _layer(self) -> Layer:
        attested = bool(self.recipe.predicate)
        carried = {SIGNATURE_ANNOTATION: "" if attested else b64(self.signature)}
        if attested:
            carried["predicateType"] = self.recipe.predicate
        if self.certificates:
            carried[CERTIFICATE_ANNOTATION] = pem(self.certificates[0])
        if self.certificates[1:]:
            carried[CHAIN_ANNOTATION] = pem(*self.certificates[1:])
        if self.entry is not None:
            carried[LOG_ANNOTATION] = compact(self.entry).decode()
        for stamp in self.stamps[:1]:
            carried[TIMESTAMP_ANNOTATION] = compact({"SignedRFC3161Timestamp": b64(stamp)}).decode()
        return Layer(attested, compact(self.envelope) if attested else self.payload, carried)

    def bundle(self) -> dict[str, Any]:
        material: dict[str, Any] = {}
        written = [{"rawBytes": b64(der)} for der in self.certificates]
        if not written:
            material["publicKey"] = {"hint": self.hint}
        elif self.recipe.certified == "byo":
            material["x509CertificateChain"] = {"certificates": written}
        else:
            material["certificate"] = written[0]
        if self.entry is not None:
            material["tlogEntries"] = [self.entry]
        if self.stamps:
            stamps = [{"signedTimestamp": b64(stamp)} for stamp in self.stamps]
            material["timestampVerificationData"] = {"rfc3161Timestamps": stamps}
        bundle = {"mediaType": BUNDLE_TYPE, "verificationMaterial": material, "dsseEnvelope": self.envelope}
        return bundle | self.extra


# ---------------------------------------------------------------------------------------------------------------- asked


@dataclass(frozen=True)
class Question:
    """What a verifier is asked to accept."""

    keys: tuple[str, ...] = ()
    """Public keys in PEM, each of whose owners signs (`every`), or any of them."""
    every: bool = False
    annotations: Mapping[str, str] = field(default_factory=dict)
    attestation: str = ""
    """cosign's short name of a predicate type; empty: a signature."""
    root: Mapping[str, Any] | None = None
    """A Sigstore trusted root."""
    identity: str = ""
    issuer: str = ""
    """Empty: a CA of one's own."""
    log: bool = False
    sct: bool = False
    stamps: bool = False
    store: str = ""
    """PEM of a Notary Project trust store."""
    trusted: tuple[str, ...] = ("*",)
    """Trusted identities of the Notary Project's policy."""


Hang = Callable[[Image], Sequence[Part]]


@dataclass(frozen=True)
class Case:
    """One image with what hangs on it, and one question."""

    name: str
    parts: Hang
    question: Question
    good: bool
    windowed: bool = False
    """The answer depends on windows of the trust root, which cosign 2 cannot be told of for classic signatures."""

    @property
    def family(self) -> str:
        return self.name.partition("/")[0]

    @property
    def repository(self) -> str:
        """A name a registry accepts."""
        kept = "".join(c if c.isalnum() else "-" for c in self.name.lower())
        return "-".join(filter(None, kept.split("-")))


# --------------------------------------------------------------------------------------------------------------- making


def payload_of(image: Image, recipe: Recipe) -> bytes:
    digest = recipe.digest or image.digest
    if recipe.style == "classic" and not recipe.predicate:
        return simple_signing_payload(recipe.claims or image.repository, digest, dict(recipe.annotations) or None)
    subject: dict[str, Any] = {"digest": {"sha256": digest.removeprefix("sha256:")}}
    if recipe.annotations:
        subject["annotations"] = dict(recipe.annotations)
    if recipe.predicate:
        named = {"name": image.repository, **subject}
        return statement([named], recipe.predicate, {"spdxVersion": "SPDX-2.3"}, version="v0.1")
    return statement([subject], SIGN_PREDICATE, {})


def message_of(made: Made) -> bytes:
    """What is signed."""
    if made.recipe.style == "classic" and not made.recipe.predicate:
        return made.payload
    return pae(IN_TOTO_TYPE, made.payload)


@cache
def _key(name: str, key_type: str) -> Key:
    return Key(name, key_type)


def key(name: str = "dev", key_type: str = "p256") -> Key:
    """The key of a name and type, the same in one process."""
    return _key(name, key_type)


def make(world: World, image: Image, recipe: Recipe) -> Made:
    """A good signature as the recipe has it."""
    leaf = world.leaf(recipe) if recipe.certified else None
    private = leaf.key if leaf is not None else key(recipe.signer, recipe.key_type).private
    made = Made(recipe, payload_of(image, recipe), b"")
    made.signature = sign_with(private, message_of(made), recipe.key_type)
    made.hint = b64(hashlib.sha256(spki(private)).digest())
    if leaf is not None:
        made.certificates = [leaf.certificate, *(leaf.chain[:-1] if recipe.chained else ())]
    shown = Shown(leaf is not None, leaf.certificate if leaf is not None else b"", spki(private))
    if recipe.log:
        made.entry = entry_of(world, made, shown)
    if recipe.stamped:
        after = recipe.later if recipe.stamp_later is None else recipe.stamp_later
        made.stamps = [world.tsa.response(stamped_bytes(made), world.signed_at + after)]
    return made


def stamped_bytes(made: Made) -> bytes:
    """What a timestamp is over: of a classic attestation the whole envelope."""
    classic_attestation = made.recipe.style == "classic" and made.recipe.predicate
    return compact(made.envelope) if classic_attestation else made.signature


_IN_V2 = {
    "p384": ("SHA2_384", "PKIX_ECDSA_P384_SHA_384"),
    "p521": ("SHA2_512", "PKIX_ECDSA_P521_SHA_512"),
    "rsa2048": ("SHA2_256", "PKIX_RSA_PKCS1V15_2048_SHA256"),
    "rsa4096": ("SHA2_256", "PKIX_RSA_PKCS1V15_4096_SHA256"),
}
"""Type of key -> hash and `keyDetails` of a Rekor v2 entry."""


def entry_of(world: World, made: Made, shown: Shown) -> dict[str, Any]:
    """The log's entry about this signature."""
    log, signer = world.logs[made.recipe.log], shown
    at = (world.signed_at + made.recipe.later) // SECOND
    message = message_of(made)
    if made.recipe.log == 2:
        how = _IN_V2.get(made.recipe.key_type, ("SHA2_256", "PKIX_ECDSA_P256_SHA_256"))
        body = hashedrekord2(message, made.signature, signer, *how)  # type: ignore[arg-type]  # the members it reads
    elif message is made.payload:
        body = hashedrekord1(message, made.signature, signer)  # type: ignore[arg-type]  # the members it reads
    else:
        body = dsse1(made.payload, compact(made.envelope), [(made.signature, signer)])  # type: ignore[list-item]  # as above
    if made.recipe.style == "classic":
        written: dict[str, Any] = json.loads(log.annotation(body, at))
        return written
    return log.entry(body, at)


__all__ = ["KEY_TYPES", "Image", "Key", "Layer", "Made", "Recipe", "Referrer", "World", "key", "make"]
