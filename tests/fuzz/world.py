"""One small world of signers, authorities and logs, and a good piece of evidence of every format in it.

    TRUST.candidate_set()       keys, roots and content rules that vouch for all of it
    good()["keyless, Rekor v2"]      Evidence

Made when asked for, from names: keys are the same in every run (RSA, and keys of the trust data, apart).
"""

import base64
import hashlib
import json
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.helpers import notation, pki, rekor
from tests.helpers.pki import DAY, MINUTE, SECOND, T0, TIMESTAMPING, Ca, CtLog, Leaf, Tsa
from tests.helpers.rekor import MemoryLog, b64
from tests.helpers.trustdata import TrustData
from verifier.content.model import ContentRule
from verifier.content.predicates import CYCLONEDX, SLSA_V1
from verifier.evidence.dsse import pae
from verifier.evidence.trustdata import pack_trust_data
from verifier.models import DigestClosure, Evidence, EvidenceFormat, EvidenceSet, Fact, Scope, Verdict
from verifier.policy.attestors import Attestor, Keyless, Notary, OpenPgp
from verifier.policy.attestors import TrustData as PinnedRoots
from verifier.policy.identity import Identity
from verifier.policy.model import MatchRule, Policy, Requirement, with_version
from verifier.policy.selection import compile_policy
from verifier.reference import parse_reference
from verifier.testing import BUNDLE_TYPE, Signer, compact, make_evidence, simple_signing_payload, statement
from verifier.trust.records import KeyPut, PolicyPut, RootPut, TrustRecord
from verifier.trust.state import TrustState
from verifier.verify import ImageEvidence, verify

REPOSITORY = "registry.example.com/payments/api"
MANIFEST = b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}'
DIGEST = "sha256:" + hashlib.sha256(MANIFEST).hexdigest()
NOW = T0 + DAY
WORKFLOW, ISSUER = "https://ci.example/build.yml@refs/heads/main", "https://idp.example"
IN_TOTO = "application/vnd.in-toto+json"
SIGN = "https://sigstore.dev/cosign/sign/v1"

DEV = Signer("dev")
ROOT = Ca.root("fuzz root", "p384")
ISSUING = ROOT.intermediate("fuzz issuing", "p384")
CT = CtLog("fuzz ct")
TSA = Tsa.under(ROOT.intermediate("fuzz tsa ca", eku=TIMESTAMPING))
REKOR, TILES = MemoryLog("rekor.example"), MemoryLog("tiles.example", version=2)
NOTARY = Ca.root("fuzz notary root")
NOTARY_LEAF = NOTARY.leaf("fuzz signer", subject=notation.SUBJECT, not_before=T0, not_after=T0 + 365 * DAY)
LEAF = ISSUING.leaf(
    "fuzz keyless", sans=[WORKFLOW], issuer=ISSUER, extensions={11: "https://ci.example", 12: "x"}, scts_by=[CT]
)
SIGNED_AT = T0 + MINUTE

PREDICATES: dict[str, object] = {
    SLSA_V1: {
        "buildDefinition": {
            "buildType": "https://actions.github.io/buildtypes/workflow/v1",
            "externalParameters": {"workflow": {"ref": "refs/heads/main", "repository": "https://ci.example/acme/app"}},
            "resolvedDependencies": [
                {"uri": "git+https://ci.example/acme/app@refs/heads/main", "digest": {"gitCommit": "9f2c" * 10}}
            ],
        },
        "runDetails": {
            "builder": {"id": "https://ci.example/runner"},
            "metadata": {"finishedOn": "2026-01-01T00:10:00Z"},
        },
    },
    CYCLONEDX: {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "metadata": {"timestamp": "2026-01-01T00:00:00Z"},
        "components": [{"type": "library", "name": "a", "version": "1", "purl": "pkg:npm/a@1", "licenses": []}],
    },
}
RULES: dict[str, ContentRule] = {
    SLSA_V1: ContentRule.model_validate(
        {"slsa": {"builders": ["https://ci.example/*"], "sources": ["https://ci.example/**"]}}
    ),
    CYCLONEDX: ContentRule.model_validate({"sbom": {"forbidComponents": ["pkg:*/bad*"], "minComponents": 1}}),
}


# -------------------------------------------------------------------------------------------------------- trust root


def _log(log: MemoryLog | CtLog, host: str, details: str = "PKIX_ECDSA_P256_SHA_256") -> dict[str, object]:
    return {
        "baseUrl": f"https://{host}",
        "hashAlgorithm": "SHA2_256",
        "publicKey": {"rawBytes": b64(log.spki), "keyDetails": details, "validFor": {"start": "2025-01-01T00:00:00Z"}},
        "logId": {"keyId": b64(bytes.fromhex(log.id))},
    }


def _authority(*ders: bytes) -> dict[str, object]:
    chain = {"certificates": [{"rawBytes": b64(der)} for der in ders]}
    return {"uri": "https://ca.example", "certChain": chain, "validFor": {"start": "2025-01-01T00:00:00Z"}}


@cache
def trusted_root() -> str:
    """The `trusted_root.json` of this world."""
    return json.dumps(
        {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [_log(REKOR, REKOR.host), _log(TILES, TILES.host, "PKIX_ED25519")],
            "ctlogs": [_log(CT, "ct.example")],
            "certificateAuthorities": [_authority(*ISSUING.chain)],
            "timestampAuthorities": [_authority(*TSA.chain)],
        }
    )


# ------------------------------------------------------------------------------------------------------------ OpenPGP


def packet(tag: int, body: bytes) -> bytes:
    """An OpenPGP packet in the new format with a length of five bytes."""
    return bytes([0xC0 | tag, 0xFF]) + len(body).to_bytes(4) + body


def subpacket(kind: int, body: bytes) -> bytes:
    return b"\xff" + (len(body) + 1).to_bytes(4) + bytes([kind]) + body


def mpi(number: int) -> bytes:
    return number.bit_length().to_bytes(2) + number.to_bytes((number.bit_length() + 7) // 8)


class PgpKey:
    """A version 4 key: `p256` or `ed25519`."""

    def __init__(self, name: str, kind: str = "p256") -> None:
        key = pki.make_key(f"pgp {name}", kind)
        public = key.public_key()
        self.key = key
        if isinstance(key, ed25519.Ed25519PrivateKey):
            raw = b"\x40" + public.public_bytes(Encoding.Raw, PublicFormat.Raw)
            self.number, curve = 22, bytes.fromhex("2b06010401da470f01")
        else:
            raw = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
            self.number, curve = 19, bytes.fromhex("2a8648ce3d030107")
        material = bytes([len(curve)]) + curve + mpi(int.from_bytes(raw))
        self.body = b"\x04" + (T0 // SECOND).to_bytes(4) + bytes([self.number]) + material
        self.hashable = b"\x99" + len(self.body).to_bytes(2) + self.body
        self.id = hashlib.sha1(self.hashable).digest()[-8:]

    def signature(self, kind: int, message: bytes, *hashed: bytes) -> bytes:
        """The body of a signature packet."""
        area, other = b"".join(hashed), subpacket(16, self.id)
        head = bytes([4, kind, self.number, 8]) + len(area).to_bytes(2) + area
        digest = hashlib.sha256(message + head + b"\x04\xff" + len(head).to_bytes(4)).digest()
        if isinstance(self.key, ec.EllipticCurvePrivateKey):
            made = self.key.sign(digest, ec.ECDSA(Prehashed(SHA256()), deterministic_signing=True))
            r, s = decode_dss_signature(made)
        else:
            raw = self.key.sign(digest)  # type: ignore[call-arg]  # Ed25519: the union has RSA too
            r, s = int.from_bytes(raw[:32]), int.from_bytes(raw[32:])
        return head + len(other).to_bytes(2) + other + digest[:2] + mpi(r) + mpi(s)

    def ring(self) -> bytes:
        """Key and self-certified user id."""
        text = b"Build <build@example.com>"
        message = self.hashable + b"\xb4" + len(text).to_bytes(4) + text
        made = self.signature(0x13, message, _created(T0), subpacket(27, b"\x03"))
        return packet(6, self.body) + packet(13, text) + packet(2, made)

    def message(self, content: bytes) -> bytes:
        """A signed message around `content`."""
        head = packet(4, bytes([3, 0, 8, self.number]) + self.id + b"\x01")
        return (
            head + packet(11, b"b\0" + b"\0" * 4 + content) + packet(2, self.signature(0, content, _created(SIGNED_AT)))
        )


def _created(at: int) -> bytes:
    return subpacket(2, (at // SECOND).to_bytes(4))


def armored(*rings: bytes) -> str:
    blocks = (base64.encodebytes(ring).decode() for ring in rings)
    begin, end = "-----BEGIN PGP PUBLIC KEY BLOCK-----", "-----END PGP PUBLIC KEY BLOCK-----"
    return "\n".join(f"{begin}\n\n{block}{end}\n" for block in blocks)


PGP, PGP_EDWARDS = PgpKey("build"), PgpKey("release", "ed25519")


def pgp_document() -> bytes:
    image, identity = {"docker-manifest-digest": DIGEST}, {"docker-reference": f"{REPOSITORY}:1"}
    critical = {"type": "atomic container signature", "image": image, "identity": identity}
    return json.dumps({"critical": critical, "optional": {"creator": "tests", "timestamp": T0 // SECOND}}).encode()


# ------------------------------------------------------------------------------------------------------------ evidence


def keyless_bundle(  # a bundle as cosign v3 writes it, with everything a test may want to vary
    *,
    leaf: Leaf = LEAF,
    log: MemoryLog | None = REKOR,
    stamped: bool = False,
    body: bytes = b"",
    predicate_type: str = SIGN,
) -> bytes:
    """A DSSE bundle with a certificate, an entry of `log` and, if `stamped`, a timestamp."""
    body = body or statement([{"digest": {"sha256": DIGEST[7:]}}], predicate_type, PREDICATES.get(predicate_type, {}))
    message = pae(IN_TOTO, body)
    signature = leaf.sign(message)
    envelope = {"payload": b64(body), "payloadType": IN_TOTO, "signatures": [{"sig": b64(signature)}]}
    written = _written(leaf, log, signature, message, rekor.dsse1(body, compact(envelope), [(signature, _Shown(leaf))]))  # type: ignore[list-item]  # a signer only shows its PEM
    return _bundle(leaf, written, signature, stamped=stamped, dsseEnvelope=envelope)


def manifest_bundle(*, leaf: Leaf = LEAF, log: MemoryLog = REKOR, stamped: bool = False) -> bytes:
    """A bundle with a message signature over the manifest."""
    signature = leaf.sign(MANIFEST)
    message = {
        "messageDigest": {"algorithm": "SHA2_256", "digest": b64(hashlib.sha256(MANIFEST).digest())},
        "signature": b64(signature),
    }
    shown = _Shown(leaf)
    written = _written(leaf, log, signature, MANIFEST, rekor.hashedrekord1(MANIFEST, signature, shown))  # type: ignore[arg-type]  # as above
    return _bundle(leaf, written, signature, stamped=stamped, messageSignature=message)


class _Shown:
    """What the log is shown of a signer."""

    certified = True

    def __init__(self, leaf: Leaf) -> None:
        self.pem, self.certificate = leaf.pem, leaf.certificate


def _written(leaf: Leaf, log: MemoryLog | None, signature: bytes, message: bytes, v1: dict) -> list[dict]:
    if log is None:
        return []
    if log.version == 1:
        return [log.entry(v1, SIGNED_AT // SECOND)]
    return [log.entry(rekor.hashedrekord2(message, signature, _Shown(leaf)))]  # type: ignore[arg-type]  # as above


def _bundle(leaf: Leaf, entries: list[dict], signature: bytes, *, stamped: bool, **content: object) -> bytes:
    material: dict[str, object] = {"certificate": {"rawBytes": b64(leaf.certificate)}, "tlogEntries": entries}
    if stamped:
        stamps = [{"signedTimestamp": b64(TSA.response(signature, SIGNED_AT))}]
        material["timestampVerificationData"] = {"rfc3161Timestamps": stamps}
    return compact({"mediaType": BUNDLE_TYPE, "verificationMaterial": material, **content})


def classic_keyless() -> Evidence:
    """A `.sig` layer with certificate, chain, SET and timestamp in its annotations."""
    payload = simple_signing_payload(REPOSITORY, DIGEST, {"env": "prod"})
    signature = LEAF.sign(payload)
    body = rekor.hashedrekord1(payload, signature, _Shown(LEAF))  # type: ignore[arg-type]  # as above
    carried = {
        "dev.cosignproject.cosign/signature": b64(signature),
        "dev.sigstore.cosign/certificate": LEAF.pem,
        "dev.sigstore.cosign/chain": pki.pem(*ISSUING.chain),
        "dev.sigstore.cosign/bundle": REKOR.annotation(body, SIGNED_AT // SECOND),
        "dev.sigstore.cosign/rfc3161timestamp": json.dumps(
            {"SignedRFC3161Timestamp": b64(TSA.response(signature, SIGNED_AT))}
        ),
    }
    return make_evidence("cosign-simplesigning", REPOSITORY, DIGEST, payload, carried)


def notation_signature(form: str, **options: object) -> bytes:
    payload = json.dumps({"targetArtifact": notation.target() | {"digest": DIGEST, "size": len(MANIFEST)}}).encode()
    stamp = lambda signature: TSA.token(signature, SIGNED_AT)  # noqa: E731 - one argument of one call
    return notation.envelope(NOTARY_LEAF, form, payload=payload, stamp=stamp, expiry=T0 + 300 * DAY, **options)  # type: ignore[arg-type]  # oddities


@cache
def trust_data() -> TrustData:
    made = TrustData(REPOSITORY)
    made.tag("1.4.2", DIGEST)
    return made


def offline(format_: EvidenceFormat, payload: bytes) -> Evidence:
    """Evidence of a format that has no layer."""
    name = "sha256:" + hashlib.sha256(payload).hexdigest()
    size = {"revet.subject.size": str(len(MANIFEST))} if format_.startswith("notation") else {}
    return Evidence(name, format_, REPOSITORY, DIGEST, payload, size)


@cache
def good() -> dict[str, Evidence]:
    """Evidence that `TRUST` vouches for, by what it is."""
    edwards = Signer("dev", "ed25519")
    found = {
        "keyed, simple signing": DEV.sign_simple(REPOSITORY, DIGEST, {"env": "prod"}),
        "keyed, bundle": DEV.sign_bundle(REPOSITORY, DIGEST, {"env": "prod"}),
        "keyed, message signature": DEV.sign_manifest(REPOSITORY, DIGEST, MANIFEST),
        "keyed, Ed25519": edwards.sign_simple(REPOSITORY, DIGEST),
        "keyless, annotations": classic_keyless(),
        "notation, JWS": offline("notation-jws", notation_signature("jws")),
        "notation, COSE": offline("notation-cose", notation_signature("cose")),
        "OpenPGP": offline("openpgp-simplesigning", PGP.message(pgp_document())),
        "OpenPGP, EdDSA": offline("openpgp-simplesigning", PGP_EDWARDS.message(pgp_document())),
        "trust data": offline("tuf-trust-data", pack_trust_data(REPOSITORY, trust_data().files())),
    }
    for kind, predicate in PREDICATES.items():
        name = kind.rpartition("/")[0].rpartition("/")[2] or kind
        found[f"attestation, {name}"] = DEV.attest(REPOSITORY, DIGEST, kind, predicate)
        found[f"attestation bundle, {name}"] = bundle(keyless_bundle(predicate_type=kind))
    found |= {
        "keyless, Rekor v1": bundle(keyless_bundle()),
        "keyless, Rekor v1, message signature": bundle(manifest_bundle()),
        "keyless, Rekor v1, timestamp": bundle(keyless_bundle(stamped=True)),
        "keyless, Rekor v2": bundle(keyless_bundle(log=TILES, stamped=True)),
        "keyless, Rekor v2, message signature": bundle(manifest_bundle(log=TILES, stamped=True)),
    }
    return found


def bundle(payload: bytes) -> Evidence:
    return make_evidence("sigstore-bundle", REPOSITORY, DIGEST, payload)


# --------------------------------------------------------------------------------------------------------------- trust

_EVERYTHING = (MatchRule(images=("**",)),)
_KEYLESS = Attestor(keyless=Keyless(identities=(Identity(issuer=ISSUER, subject=WORKFLOW),), roots=("sigstore",)))


def _attestors() -> dict[str, tuple[Attestor, tuple[str, ...]]]:
    """Attestor -> what of `good` it is asked for."""
    keyless = tuple(name for name in good() if name.startswith("keyless"))
    return {
        "key": (Attestor(keys=("dev",)), ("keyed, simple signing", "keyed, bundle", "keyed, message signature")),
        "keyless": (_KEYLESS, keyless),
        "notary": (
            Attestor(notary=Notary(stores=("ca:corp", "tsa:stamps"), identities=("*",), level="permissive")),
            ("notation, JWS", "notation, COSE"),
        ),
        "openpgp": (Attestor(openpgp=OpenPgp(keyrings=("ring",))), ("OpenPGP", "OpenPGP, EdDSA")),
        "pinned": (Attestor(trust_data=PinnedRoots(roots=("pinned",))), ("trust data",)),
    }


@cache
def policies() -> dict[str, tuple[Policy, tuple[str, ...]]]:
    """Policy by the name of its attestor, and the evidence that meets it by itself."""
    made = {
        name: (_policy(name, attestor, Requirement(signed_by="signer")), evidence)
        for name, (attestor, evidence) in _attestors().items()
    }
    for kind, rule in RULES.items():
        name = kind.rpartition("/")[0].rpartition("/")[2] or kind
        for who, attestor in (("attestation", Attestor(keys=("dev",))), ("attestation bundle", _KEYLESS)):
            needed = Requirement(attested_by="signer", predicate_type=kind, rule=rule)
            identity = f"{who.replace(' ', '-')}-{len(made)}"
            made[identity] = (_policy(identity, attestor, needed), (f"{who}, {name}",))
    return made


def _policy(name: str, attestor: Attestor, require: Requirement) -> Policy:
    return with_version(Policy(id=f"p-{name}", match=_EVERYTHING, attestors={"signer": attestor}, require=require))


@cache
def trust() -> TrustState:
    """Everything that vouches for `good()`, and the policies."""
    head: dict[str, Any] = {"author": "tests", "at": T0}
    edwards = Signer("dev", "ed25519")
    roots = (
        RootPut(name="sigstore", format="sigstore-trusted-root", content=trusted_root(), **head),
        RootPut(name="ca:corp", format="notation-ca", content=pki.pem(NOTARY.certificate), **head),
        RootPut(name="tsa:stamps", format="notation-tsa", content=pki.pem(ROOT.certificate), **head),
        RootPut(name="ring", format="openpgp", content=armored(PGP.ring(), PGP_EDWARDS.ring()), **head),
        RootPut(name="pinned", format="tuf-root-keys", content=trust_data().root.keys[0].pem, **head),
    )
    keys = (
        KeyPut(name="dev", key_id=DEV.key_id, pem=DEV.pem, **head),
        KeyPut(name="dev-edwards", key_id=edwards.key_id, pem=edwards.pem, **head),
    )
    puts = tuple(PolicyPut(policy=policy, **head) for policy, _ in policies().values())
    records: tuple[TrustRecord, ...] = (*roots, *keys, *puts)
    state = TrustState.empty()
    for epoch, record in enumerate(records, start=1):
        state, applied = state.apply(record, epoch)
        if not applied.applied:
            raise AssertionError(f"{record.kind}: {applied.message}")
    return state


def judge(policy: Policy, facts: tuple[Fact, ...]) -> Verdict:
    """The verdict over these facts alone."""
    ids = tuple(fact.evidence_id for fact in facts)
    state = trust()
    found = EvidenceSet(
        REPOSITORY, DIGEST, ids, DigestClosure(DIGEST), (), complete=True, fetched_at=NOW, keyset=state.keyset_id,
        version="1",
    )  # fmt: skip
    image = ImageEvidence(REPOSITORY, DIGEST, found, facts)
    scope = Scope(image=parse_reference(f"{REPOSITORY}@{DIGEST}"))
    return verify(compile_policy(policy), scope, image, state, NOW)
