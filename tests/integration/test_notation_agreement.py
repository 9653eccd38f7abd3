"""Real notation and revet on the same envelopes under the same trust policy: where they differ, and why.

Half of the envelopes are signed by notation itself (every algorithm, JWS and COSE, own CA, expiry, user metadata), half
by tests/helpers/notation.py, which makes what notation refuses to make. Each hangs on an image of its own in a real
registry, so that every answer is notation's about this one envelope. The differences are exactly the rows of DIFFERENT.
"""

import hashlib
import http.client
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.helpers import pki
from tests.helpers.notation import (
    AUTHORITY,
    KEY_TYPES,
    MANIFEST,
    PREFIX,
    SUBJECT,
    b64url,
    envelope,
    notation_evidence,
    primitive,
    target,
)
from tests.helpers.pki import DAY, MINUTE, SECOND, Ca, Leaf, Tsa, moment, sequence, tlv
from verifier.errors import EvidenceError
from verifier.evidence.base64text import decode_any_base64
from verifier.evidence.crl import RevocationMode, read_crl, revocation_time, status_of
from verifier.evidence.material import Authority, Material, authority_id
from verifier.evidence.notation import notation_fact_parts
from verifier.evidence.x509 import load_certificate
from verifier.policy.notary import (
    NotaryJudgement,
    NotaryRules,
    NotarySignature,
    VerifyTimestamp,
    actions_of,
    judge,
    parse_trusted_identity,
    store_type,
)

pytestmark = pytest.mark.needs("notation", "registry")

FORMS = ("jws", "cose")
NOW = int(time.time()) * SECOND
MEDIA = {"jws": "application/jose+json", "cose": "application/cose"}
SIGNATURE = "application/vnd.cncf.notary.signature"
INDEX = "application/vnd.oci.image.index.v1+json"
IDENTITY = "x509.subject: C=US, ST=WA, O=wabbit-networks.io"
WIDE: dict[str, Any] = {"not_before": NOW - 400 * DAY, "not_after": NOW + 400 * DAY}
SIGNER: dict[str, Any] = {"subject": SUBJECT, "not_before": NOW - 30 * DAY, "not_after": NOW + 30 * DAY}
EXPIRED: dict[str, Any] = SIGNER | {"not_after": NOW - 5 * DAY}
AT = NOW - 20 * DAY
"""Every signer is valid then."""


@cache
def made_root(name: str) -> Ca:
    return Ca.root(name, **WIDE)


def root(name: str = "corp") -> Ca:
    """The same certificate however it is asked for: a cache takes `f()` and `f("corp")` for two calls."""
    return made_root(name)


@cache
def tsa(name: str) -> Tsa:
    return Tsa.under(root(f"{name} root"), name, not_before=NOW - 300 * DAY, not_after=NOW + 300 * DAY)


# ------------------------------------------------------------------------------------------------------------- a policy


class Policy(NamedTuple):
    """A trust policy both sides understand."""

    level: str = "strict"
    override: tuple[tuple[str, str], ...] = ()
    stores: tuple[tuple[str, str], ...] = (("ca", "corp"),)
    identities: tuple[str, ...] = ("*",)
    timestamp: VerifyTimestamp | None = None

    def document(self) -> dict[str, Any]:
        verification: dict[str, Any] = {"level": self.level}
        if self.override:
            verification["override"] = dict(self.override)
        if self.timestamp:
            verification["verifyTimestamp"] = self.timestamp
        statement = {
            "name": "only",
            "registryScopes": ["*"],
            "signatureVerification": verification,
            "trustStores": [f"{kind}:{name}" for kind, name in self.stores],
            "trustedIdentities": list(self.identities),
        }
        return {"version": "1.0", "trustPolicies": [statement]}


def stored(kind: str, name: str) -> bytes:
    """The one certificate of a trust store: of this CA, or of its self-signed namesake."""
    if name == "alone":
        return alone().certificate
    return root(f"{name} root").certificate if kind == "tsa" else root(name).certificate


STAMPED = (("ca", "corp"), ("tsa", "stamps"))


# ---------------------------------------------------------------------------------------------------- the real notation


@dataclass
class Place:
    """A registry and notation, with a configuration for each policy."""

    notation: Path
    folder: Path
    address: str
    names: Iterator[int] = field(default_factory=count)

    def request(self, method: str, path: str, body: bytes | None = None, kind: str = "") -> tuple[int, bytes, str]:
        with closing(http.client.HTTPConnection(self.address, timeout=10)) as connection:
            connection.request(method, path, body, {"Content-Type": kind, "Accept": f"{MANIFEST}, {INDEX}"})
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers.get("Location", "")

    def blob(self, repository: str, data: bytes) -> dict[str, Any]:
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        location = self.request("POST", f"/v2/{repository}/blobs/uploads/")[2]
        mark = "&" if "?" in location else "?"
        assert self.request("PUT", f"{location}{mark}digest={digest}", data, "application/octet-stream")[0] == 201
        return {"digest": digest, "size": len(data)}

    def manifest(self, repository: str, document: Any, tag: str = "") -> dict[str, Any]:
        data = json.dumps(document).encode()
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        kind = document["mediaType"]
        assert self.request("PUT", f"/v2/{repository}/manifests/{tag or digest}", data, kind)[0] == 201
        return {"mediaType": kind, "digest": digest, "size": len(data)}

    def image(self) -> tuple[str, dict[str, Any]]:
        """A new image in a repository of its own."""
        repository = f"app{next(self.names)}"
        empty = self.blob(repository, b"{}") | {"mediaType": "application/vnd.oci.image.config.v1+json"}
        layer = self.blob(repository, repository.encode()) | {"mediaType": "application/vnd.oci.image.layer.v1.tar"}
        document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": empty, "layers": [layer]}
        return repository, self.manifest(repository, document)

    def attach(self, repository: str, subject: dict[str, Any], data: bytes, form: str) -> None:
        """A signature manifest under the referrers tag, as notation leaves it."""
        config = self.blob(repository, b"{}") | {"mediaType": SIGNATURE}
        layer = self.blob(repository, data) | {"mediaType": MEDIA[form]}
        document = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config,
            "layers": [layer],
            "subject": subject,
            "annotations": {"io.cncf.notary.x509chain.thumbprint#S256": json.dumps(["00" * 32])},
        }
        entry = self.manifest(repository, document) | {"artifactType": SIGNATURE}
        listing = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}
        self.manifest(repository, listing, subject["digest"].replace(":", "-"))

    def signature(self, repository: str, subject: dict[str, Any]) -> bytes:
        """The one envelope that hangs on an image."""
        tag = subject["digest"].replace(":", "-")
        (entry,) = json.loads(self.request("GET", f"/v2/{repository}/manifests/{tag}")[1])["manifests"]
        found = json.loads(self.request("GET", f"/v2/{repository}/manifests/{entry['digest']}")[1])
        return self.request("GET", f"/v2/{repository}/blobs/{found['layers'][0]['digest']}")[1]

    def run(self, policy: Policy, *arguments: str) -> subprocess.CompletedProcess[str]:
        """notation, with nothing of the caller's configuration and no cache of an earlier run."""
        config = self.configuration(policy)
        folders = {"XDG_CONFIG_HOME": str(config), "XDG_CACHE_HOME": str(config / f"cache{next(self.names)}")}
        environment = folders | {"HOME": str(config), "PATH": os.environ["PATH"], "DOCKER_CONFIG": str(config)}
        command = [str(self.notation), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)

    def configuration(self, policy: Policy) -> Path:
        document = json.dumps(policy.document())
        config = self.folder / hashlib.sha256(document.encode()).hexdigest()[:16]
        if config.exists():
            return config
        own = config / "notation"
        own.mkdir(parents=True)
        (own / "trustpolicy.json").write_text(document)
        (own / "trustpolicy.json").chmod(0o600)
        for kind, name in policy.stores:
            store = own / "truststore" / "x509" / kind / name
            store.mkdir(parents=True)
            (store / "root.pem").write_text(pki.pem(stored(kind, name)))
        return config

    def passes(self, policy: Policy, repository: str, subject: dict[str, Any], *more: str) -> bool:
        reference = f"{self.address}/{repository}@{subject['digest']}"
        done = self.run(policy, "verify", "--insecure-registry", "-v", *more, reference)
        assert done.returncode in {0, 1}, done.stderr
        wanted = "Successfully verified" if done.returncode == 0 else "verification failed for all the signatures"
        assert wanted in done.stdout + done.stderr
        self.said = done.stdout + done.stderr
        return done.returncode == 0

    said: str = ""


@contextmanager
def running_registry(binary: Path) -> Iterator[str]:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([binary, "-port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with closing(socket.socket()) as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None
            time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="module")
def place(require, tmp_path_factory) -> Iterator[Place]:
    with running_registry(require("registry")) as address:
        yield Place(require("notation"), tmp_path_factory.mktemp("notation"), address)


# ----------------------------------------------------------------------------------------------------------- our answer


def authority(kind: str, name: str) -> Authority:
    use = "timestamping" if kind == "tsa" else "notation"
    ders = (stored(kind, name),)
    return Authority(authority_id(use, ders), use, ders)  # type: ignore[arg-type]  # one of two literals


def ours(
    policy: Policy,
    subject: dict[str, Any],
    data: bytes,
    form: str,
    lists: tuple[bytes, ...] = (),
    mode: RevocationMode = "notation",
) -> NotaryJudgement:
    """The verdict on one envelope; what cannot be read fails integrity."""
    rules = NotaryRules(
        actions=actions_of(policy.level, dict(policy.override)),
        identities=tuple(parse_trusted_identity(text) for text in policy.identities),
        timestamped=any(kind == "tsa" for kind, _ in policy.stores),
        verify_timestamp=policy.timestamp or "always",
    )
    evidence = notation_evidence(data, form, subject=subject["digest"], **_described(subject))
    authorities = {(kind, name): authority(kind, name) for kind, name in policy.stores}
    try:
        parts = notation_fact_parts(evidence, Material.of(authorities.values()))
    except EvidenceError:
        parts = None
    if parts is None or parts.certificate is None:
        bad = NotarySignature(good=False, scheme="", subject="", windows=(), untrusted_window=(0, 0))
        return judge(rules, bad, NOW)
    trusted = {a.id for (kind, _), a in authorities.items() if kind == store_type(parts.scheme)}
    chains = [chain for chain in parts.chains if chain.authority in trusted]
    crls = [read_crl(crl, load_certificate(root().certificate)) for crl in lists]
    serials = chains[0].serials if chains else ()
    at = revocation_time(mode, parts.scheme, parts.times)
    return judge(
        rules,
        NotarySignature(
            good=parts.signature_good,
            scheme=parts.scheme,
            subject=parts.certificate.subject,
            windows=tuple((chain.valid_from, chain.valid_until) for chain in chains),
            untrusted_window=parts.window,
            times=parts.times,
            timestamp_problem=parts.timestamp_problem,
            expires=parts.expires,
            revocation=status_of(serials, crls, at, instant=NOW, revocable=parts.revocable),
        ),
        NOW,
    )


def _described(subject: dict[str, Any]) -> dict[str, str]:
    return {"revet__subject__size": str(subject["size"]), "revet__subject__mediaType": subject["mediaType"]}


# -------------------------------------------------------------------------------------------------- notation's own ones


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_what_notation_signs(place, form, key_type):
    signer = root().leaf(f"notation {key_type}", key_type, **SIGNER)
    config = place.configuration(Policy()) / "notation"
    pem = signer.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (config / f"{key_type}.key").write_bytes(pem)
    (config / f"{key_type}.pem").write_text(pki.pem(signer.certificate, *signer.chain))
    paths = {"keyPath": str(config / f"{key_type}.key"), "certPath": str(config / f"{key_type}.pem")}
    (config / "signingkeys.json").write_text(json.dumps({"default": "k", "keys": [{"name": "k"} | paths]}))
    repository, subject = place.image()
    reference = f"{place.address}/{repository}@{subject['digest']}"
    options = ["--signature-format", form, "--expiry", "24h", "-m", "team=payments", "-m", "build=7"]
    done = place.run(Policy(), "sign", "--insecure-registry", *options, reference)
    assert done.returncode == 0, done.stderr
    data = place.signature(repository, subject)
    parts = notation_fact_parts(
        notation_evidence(data, form, subject=subject["digest"], **_described(subject)),
        Material.of([authority("ca", "corp")]),
    )
    assert (parts.signature_good, parts.algorithm) == (True, KEY_TYPES[key_type][1])
    assert parts.annotations == (("build", "7"), ("team", "payments"))
    assert parts.expires == parts.claimed_time + DAY
    assert abs(parts.claimed_time - int(time.time()) * SECOND) < 10 * MINUTE
    assert [chain.authority for chain in parts.chains] == [authority("ca", "corp").id]
    assert (place.passes(Policy(), repository, subject), ours(Policy(), subject, data, form).ok) == (True, True)
    assert place.passes(Policy(), repository, subject, "-m", "team=payments")
    assert not place.passes(Policy(), repository, subject, "-m", "team=other")
    elsewhere = Policy(stores=(("ca", "other"),))
    assert (place.passes(elsewhere, repository, subject), ours(elsewhere, subject, data, form).ok) == (False, False)
    # the same envelope on another image
    other, moved = place.image()
    place.attach(other, moved, data, form)
    assert (place.passes(Policy(), other, moved), ours(Policy(), moved, data, form).ok) == (False, False)


# ------------------------------------------------------------------------------------------------------------- our ones


class Case(NamedTuple):
    """An envelope and a policy; `make` is given the target's members and the form."""

    make: Callable[[dict[str, Any], str], bytes]
    policy: Policy = Policy()


def made(leaf: Callable[[], Leaf], **options: Any) -> Callable[[dict[str, Any], str], bytes]:
    def make(subject: dict[str, Any], form: str) -> bytes:
        changes = options.get("target", {})
        payload = json.dumps({"targetArtifact": target(**subject | changes)}).encode()
        rest = {name: value for name, value in options.items() if name != "target"}
        everything: dict[str, Any] = {"at": AT, "payload": payload} | rest
        return envelope(leaf(), form, **everything)

    return make


def signer(key_type: str = "p256", name: str = "signer", **oddities: Any) -> Callable[[], Leaf]:
    return lambda: root().leaf(name, key_type, **SIGNER | oddities)


def alone() -> Leaf:
    return _alone()


@cache
def _alone() -> Leaf:
    key = pki.make_key("alone")
    usage: dict[str, Any] = {"key_usage": ("digital_signature",)}
    times = {name: SIGNER[name] for name in ("not_before", "not_after")}
    return Leaf(pki.issue(SUBJECT, key, SUBJECT, key, **usage, **times), key)


def below(**oddities: Any) -> Callable[[], Leaf]:
    return lambda: root().intermediate("middle", **WIDE | oddities).leaf("deep", **SIGNER)


def changed(case: Callable[[dict[str, Any], str], bytes], change: Callable[[bytes], bytes]) -> Any:
    return lambda subject, form: change(case(subject, form))


def flip(at: int) -> Callable[[bytes], bytes]:
    """One bit of the JSON text's signature or of the last bytes of COSE, which are the signature."""

    def change(data: bytes) -> bytes:
        if data[:1] == b"{":
            parts = json.loads(data)
            text = parts["signature"]
            swapped = "B" if text[at] != "B" else "C"
            parts["signature"] = text[:at] + swapped + text[at + 1 :]
            return json.dumps(parts).encode()
        return data[: -10 + at % 3] + bytes([data[-10 + at % 3] ^ 1]) + data[-9 + at % 3 :]

    return change


def other_payload(subject: dict[str, Any], form: str) -> bytes:
    """The signature of a payload about another image, with the payload of this one put in its place."""
    this, other = (
        json.dumps({"targetArtifact": t}).encode() for t in (subject, subject | {"digest": "sha256:" + "7" * 64})
    )
    good = envelope(signer()(), form, at=AT, payload=other)
    if form == "jws":
        return json.dumps(json.loads(good) | {"payload": b64url(this)}).encode()
    assert good.count(other) == 1
    return good.replace(other, this)


def later_expiry(subject: dict[str, Any], form: str) -> bytes:
    """An expired signature with the protected header of one that is not."""
    payload = json.dumps({"targetArtifact": subject}).encode()
    old, new = (envelope(signer()(), form, at=AT, payload=payload, expiry=NOW + n * DAY) for n in (-1, 9))
    if form == "jws":
        return json.dumps(json.loads(old) | {"protected": json.loads(new)["protected"]}).encode()
    before, after = ((NOW + n * DAY) // SECOND for n in (-1, 9))
    assert old.count(before.to_bytes(4)) == 1
    return old.replace(before.to_bytes(4), after.to_bytes(4))


def stamp(at: int, by: str = "stamps", over: bytes = b"", **options: Any) -> Callable[[bytes], bytes]:
    return lambda signature: tsa(by).token(over or signature, at, **options)


def accuracy(seconds: int) -> bytes:
    return sequence(pki.integer(seconds))


def rewritten(change: Callable[[str], str]) -> Callable[[dict[str, Any], str], bytes]:
    """A good JWS, expired since yesterday, whose protected header is rewritten as text and signed again."""

    def make(subject: dict[str, Any], form: str) -> bytes:
        leaf = signer()()
        payload = json.dumps({"targetArtifact": subject}).encode()
        parts = json.loads(envelope(leaf, form, at=AT, payload=payload, expiry=NOW - DAY))
        raw = decode_any_base64(parts["protected"], "protected", "x").decode()
        protected = b64url(change(raw).encode())
        signature = primitive(leaf.key, "ES256", f"{protected}.{parts['payload']}".encode())
        return json.dumps(parts | {"protected": protected, "signature": b64url(signature)}).encode()

    return make


CRITICAL = [PREFIX + "signingScheme"]
GOOD = made(signer())
TSA_ONLY_AFTER = Policy(stores=STAMPED, timestamp="afterCertExpiry")
AUTHORITIES = Policy(stores=(("signingAuthority", "corp"),))

CASES: dict[str, Case] = {
    **{f"good {key_type}": Case(made(signer(key_type))) for key_type in KEY_TYPES},
    "good intermediate": Case(made(below())),
    "good self-signed leaf": Case(made(alone), Policy(stores=(("ca", "alone"),))),
    "good future expiry": Case(made(signer(), expiry=NOW + DAY)),
    "good two stores": Case(GOOD, Policy(stores=(("ca", "other"), ("ca", "corp")))),
    # authenticity
    "wrong store": Case(GOOD, Policy(stores=(("ca", "other"),))),
    "wrong store, permissive": Case(GOOD, Policy("permissive", stores=(("ca", "other"),))),
    "wrong store, audit": Case(GOOD, Policy("audit", stores=(("ca", "other"),))),
    "wrong store, authenticity logged": Case(
        GOOD, Policy(override=(("authenticity", "log"),), stores=(("ca", "other"),))
    ),
    "wrong store type": Case(GOOD, AUTHORITIES),
    "identity": Case(GOOD, Policy(identities=(IDENTITY,))),
    "identity, S for ST": Case(GOOD, Policy(identities=("x509.subject: O=wabbit-networks.io,S=WA,C=US",))),
    "identity, escaped": Case(
        made(signer(subject=r"C=US,ST=WA,O=Wabbit\, Inc.,CN=x")),
        Policy(identities=(r"x509.subject: C=US, ST=WA, O=Wabbit\, Inc.",)),
    ),
    "identity, more": Case(GOOD, Policy(identities=(IDENTITY + ", CN=signer",))),
    "identity, other": Case(GOOD, Policy(identities=("x509.subject: C=US, ST=WA, O=other",))),
    "identity, other of two": Case(
        GOOD, Policy(identities=("x509.subject: C=US, ST=WA, O=other", IDENTITY + ", CN=signer"))
    ),
    "identity, other capitals": Case(GOOD, Policy(identities=("x509.subject: C=US, ST=WA, O=Wabbit-Networks.io",))),
    "identity, other and audit": Case(GOOD, Policy("audit", identities=("x509.subject: C=US, ST=WA, O=other",))),
    "identity, subject with two OU": Case(
        made(signer(subject="C=US,ST=WA,O=wabbit-networks.io,OU=a,OU=b")), Policy(identities=(IDENTITY,))
    ),
    "identity, subject hides it in CN": Case(
        made(signer(subject=r"CN=x\,O=wabbit-networks.io\,ST=WA\,C=US")), Policy(identities=(IDENTITY,))
    ),
    "identity, e-mail address in the subject": Case(
        made(signer(subject="C=US,ST=WA,O=wabbit-networks.io,1.2.840.113549.1.9.1=a@b.test")),
        Policy(identities=(IDENTITY,)),
    ),
    # integrity
    "signature changed at its start": Case(changed(GOOD, flip(0))),
    "signature changed inside": Case(changed(GOOD, flip(40))),
    "signature changed, audit": Case(changed(GOOD, flip(0)), Policy("audit")),
    "payload changed": Case(other_payload),
    "payload changed, audit": Case(other_payload, Policy("audit")),
    "expiry changed": Case(later_expiry),
    "somebody else's key": Case(made(signer(), key=pki.make_key("thief"))),
    "algorithm of another curve": Case(made(signer(), alg="ES384")),
    "algorithm of another RSA size": Case(made(signer("rsa2048"), alg="PS384")),
    "salt of another length": Case(made(signer("rsa2048"), salt=20)),
    "content type": Case(made(signer(), cty="application/json")),
    "critical list empty": Case(made(signer(), crit=[])),
    "expiry not critical": Case(made(signer(), crit=CRITICAL, expiry=NOW + DAY)),
    "expiry before signing": Case(made(signer(), expiry=AT - DAY)),
    "no signing time": Case(made(signer(), drop=[PREFIX + "signingTime"])),
    "unknown scheme": Case(made(signer(), scheme="notary.x510")),
    "unknown attribute": Case(made(signer(), attributes={"com.example.note": "x"})),
    "unknown critical attribute": Case(
        made(signer(), attributes={"com.example.must": "x"}, crit=[*CRITICAL, "com.example.must"])
    ),
    "critical and absent": Case(made(signer(), crit=[*CRITICAL, "com.example.must"])),
    "signing time listed as critical": Case(made(signer(), crit=[*CRITICAL, PREFIX + "signingTime"])),
    "plugin": Case(
        made(
            signer(),
            attributes={PREFIX + "verificationPlugin": "com.example.p"},
            crit=[*CRITICAL, PREFIX + "verificationPlugin"],
        )
    ),
    "plugin not critical": Case(made(signer(), attributes={PREFIX + "verificationPlugin": "com.example.p"})),
    # the target
    "another digest": Case(made(signer(), target={"digest": "sha256:" + "7" * 64})),
    "another size": Case(made(signer(), target={"size": 7})),
    "another media type": Case(made(signer(), target={"mediaType": INDEX})),
    "more in the target": Case(made(signer(), target={"artifactType": "x/y", "annotations": {"a": "b"}})),
    # certificates
    "chain without root": Case(made(below(), certificates=[below()().certificate, below()().chain[0]])),
    "chain out of order": Case(
        made(below(), certificates=[below()().certificate, root().certificate, below()().chain[0]])
    ),
    "leaf alone": Case(made(signer(), certificates=[signer()().certificate])),
    "root of another CA behind the leaf": Case(
        made(signer(), certificates=[signer()().certificate, root("other").certificate])
    ),
    "leaf with key encipherment": Case(made(signer(key_usage=("digital_signature", "key_encipherment")))),
    "leaf with content commitment": Case(made(signer(key_usage=("digital_signature", "content_commitment")))),
    "leaf without key usage": Case(made(signer(key_usage=None))),
    "leaf with key usage not critical": Case(made(signer(critical={"ku": False}))),
    "leaf that is a CA": Case(made(signer(ca=True, key_usage=("digital_signature", "key_cert_sign")))),
    "leaf for servers": Case(made(signer(eku="1.3.6.1.5.5.7.3.1"))),
    "leaf for code": Case(made(signer(eku="1.3.6.1.5.5.7.3.3"))),
    "leaf for code and servers": Case(made(signer(eku=("1.3.6.1.5.5.7.3.3", "1.3.6.1.5.5.7.3.1")))),
    "leaf for anything": Case(made(signer(eku="2.5.29.37.0"))),
    "leaf without purpose": Case(made(signer(eku=()))),
    "intermediate without keyCertSign": Case(made(below(key_usage=("crl_sign",)))),
    "intermediate that is no CA": Case(made(below(ca=False))),
    # time
    "expired": Case(made(signer(), expiry=NOW - DAY)),
    "expired, permissive": Case(made(signer(), expiry=NOW - DAY), Policy("permissive")),
    "expired, enforced": Case(made(signer(), expiry=NOW - DAY), Policy("audit", (("expiry", "enforce"),))),
    "chain expired": Case(made(signer(**EXPIRED))),
    "chain expired, permissive": Case(made(signer(**EXPIRED)), Policy("permissive")),
    "chain expired, token and no store": Case(made(signer(**EXPIRED), stamp=stamp(AT))),
    "chain not yet valid": Case(made(signer(not_before=NOW + DAY))),
    "chain not yet valid, after expiry": Case(made(signer(not_before=NOW + DAY), stamp=stamp(AT)), TSA_ONLY_AFTER),
    "token": Case(made(signer(), stamp=stamp(AT)), Policy(stores=STAMPED)),
    "token, RSA": Case(made(signer("rsa2048"), stamp=stamp(AT)), Policy(stores=STAMPED)),
    "token, chain expired": Case(made(signer(**EXPIRED), stamp=stamp(AT)), Policy(stores=STAMPED)),
    "token, chain expired, after expiry": Case(made(signer(**EXPIRED), stamp=stamp(AT)), TSA_ONLY_AFTER),
    "token missing": Case(GOOD, Policy(stores=STAMPED)),
    "token missing, after expiry": Case(GOOD, TSA_ONLY_AFTER),
    "token missing, chain expired, after expiry": Case(made(signer(**EXPIRED)), TSA_ONLY_AFTER),
    "token after the chain": Case(made(signer(**EXPIRED), stamp=stamp(NOW - DAY)), Policy(stores=STAMPED)),
    "token before the chain": Case(made(signer(), stamp=stamp(NOW - 40 * DAY)), Policy(stores=STAMPED)),
    "token at the last second": Case(
        made(signer(**EXPIRED), stamp=stamp(EXPIRED["not_after"], accuracy=accuracy(0))), Policy(stores=STAMPED)
    ),
    "token whose accuracy ends with the chain": Case(
        made(signer(**EXPIRED), stamp=stamp(EXPIRED["not_after"] - 60 * SECOND, accuracy=accuracy(60))),
        Policy(stores=STAMPED),
    ),
    "token whose accuracy ends a second later": Case(
        made(signer(**EXPIRED), stamp=stamp(EXPIRED["not_after"] - 60 * SECOND, accuracy=accuracy(61))),
        Policy(stores=STAMPED),
    ),
    "token whose accuracy begins before the chain": Case(
        made(signer(), stamp=stamp(SIGNER["not_before"] + 60 * SECOND, accuracy=accuracy(61))), Policy(stores=STAMPED)
    ),
    "token of another signature": Case(made(signer(), stamp=stamp(AT, over=b"other")), Policy(stores=STAMPED)),
    "token of an unknown authority": Case(made(signer(), stamp=stamp(AT, "strangers")), Policy(stores=STAMPED)),
    "token that is none": Case(made(signer(), timestamp=b"junk"), Policy(stores=STAMPED)),
    "token that is none and nobody asks": Case(made(signer(), timestamp=b"junk")),
    "token that is none, logged": Case(made(signer(), timestamp=b"junk"), Policy("permissive", stores=STAMPED)),
    # signing authorities
    "authority": Case(made(signer(), scheme=AUTHORITY), AUTHORITIES),
    "authority in a store of type ca": Case(made(signer(), scheme=AUTHORITY)),
    "authority, chain expired": Case(made(signer(**EXPIRED), scheme=AUTHORITY), AUTHORITIES),
    "authority, time after the chain": Case(made(signer(**EXPIRED), scheme=AUTHORITY, at=NOW - DAY), AUTHORITIES),
    "authority, time before the chain": Case(made(signer(), scheme=AUTHORITY, at=NOW - 40 * DAY), AUTHORITIES),
    "authority with a token that is none": Case(
        made(signer(), scheme=AUTHORITY, timestamp=b"junk"), Policy(stores=(*AUTHORITIES.stores, ("tsa", "stamps")))
    ),
    "authority, time not critical": Case(made(signer(), scheme=AUTHORITY, crit=CRITICAL), AUTHORITIES),
    "authority with both times": Case(
        made(signer(), scheme=AUTHORITY, attributes={PREFIX + "signingTime": AT}), AUTHORITIES
    ),
}

JSON_CASES: dict[str, Case] = {
    "expired, in other spelling": Case(rewritten(lambda text: text)),
    "expiry twice": Case(rewritten(lambda text: text[:-1] + f', "{PREFIX}expiry": "2999-01-01T00:00:00Z"}}')),
    "expiry again in capitals": Case(
        rewritten(lambda text: text[:-1] + f', "{PREFIX}EXPIRY": "2999-01-01T00:00:00Z"}}')
    ),
    "algorithm twice": Case(rewritten(lambda text: text[:-1] + ', "alg": "ES256"}'), Policy("permissive")),
    "payload in capitals too": Case(changed(GOOD, lambda data: data[:-1] + b', "Payload": "e30"}')),
}

_CRITICAL = "notation looks at critical attributes only when there is a plugin to ask"
_SALT = "notation's JWS reader takes a salt of any length, RFC 7518 section 3.5 (and its COSE reader) that of the hash"
_BOTH = "notation's COSE reader takes the time of the scheme and overlooks the other; its JWS reader refuses both"
_ANY = "the specification forbids a leaf for any purpose, notation does not look for it"
_UNDERSTOOD = "notation's JWS reader takes an attribute it knows and does not want critical for an absent one"
_TWICE = "Go takes the last of two members, other parsers the first"
_CAPITALS = "Go takes a member in other capitals for the same one"

DIFFERENT: dict[tuple[str, str], tuple[bool, bool, str]] = {
    ("unknown critical attribute", "jws"): (True, False, _CRITICAL),
    ("unknown critical attribute", "cose"): (True, False, _CRITICAL),
    ("salt of another length", "jws"): (True, False, _SALT),
    ("authority with both times", "cose"): (True, False, _BOTH),
    ("leaf for anything", "jws"): (True, False, _ANY),
    ("leaf for anything", "cose"): (True, False, _ANY),
    ("signing time listed as critical", "jws"): (False, True, _UNDERSTOOD),
    ("expiry twice", "jws"): (True, False, _TWICE),
    ("expiry again in capitals", "jws"): (True, False, _CAPITALS),
    ("algorithm twice", "jws"): (True, False, _TWICE),
}
"""(case, form) -> what notation says, what revet says, why."""


def verdicts(place: Place, case: Case, form: str) -> tuple[bool, bool, str]:
    repository, subject = place.image()
    data = case.make(subject, form)
    place.attach(repository, subject, data, form)
    theirs = place.passes(case.policy, repository, subject)
    judged = ours(case.policy, subject, data, form)
    return theirs, judged.ok, f"{place.said[-600:]}\n{judged}"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", CASES)
def test_the_same_answer(place, form, name):
    theirs, mine, said = verdicts(place, CASES[name], form)
    assert (theirs, mine) == DIFFERENT.get((name, form), (theirs, theirs))[:2], said
    assert theirs or not name.startswith("good"), said


@pytest.mark.parametrize("name", JSON_CASES)
def test_the_same_answer_about_json(place, name):
    theirs, mine, said = verdicts(place, JSON_CASES[name], "jws")
    assert (theirs, mine) == DIFFERENT.get((name, "jws"), (theirs, theirs))[:2], said


def test_both_answers_are_given_often_enough():
    assert len(CASES) > 80
    assert {name for name, _ in DIFFERENT} <= CASES.keys() | JSON_CASES.keys()


# ----------------------------------------------------------------------------------------------------------- revocation


@pytest.fixture(scope="module")
def crls() -> Iterator[tuple[int, dict[str, bytes]]]:
    """A server of CRLs: its port, and path -> bytes."""
    served: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = served.get(self.path)
            self.send_response(200 if data is not None else 404)
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1], served
    server.shutdown()
    server.server_close()
    thread.join()


class Statement(NamedTuple):
    """One entry of the list, times in days from AT."""

    reason: str = ""
    at: int = 1
    invalid: int | None = None


def crl_of(serial: int, statements: tuple[Statement, ...], *, until: int, key: Any = None) -> bytes:
    name = x509.load_der_x509_certificate(root().certificate).subject
    entries = []
    for stated in statements:
        entry = x509.RevokedCertificateBuilder(serial, moment(AT + stated.at * DAY))
        if stated.reason:
            entry = entry.add_extension(x509.CRLReason(x509.ReasonFlags(stated.reason)), critical=False)
        if stated.invalid is not None:
            entry = entry.add_extension(x509.InvalidityDate(moment(AT + stated.invalid * DAY)), critical=False)
        entries.append(entry.build())
    built = x509.CertificateRevocationListBuilder(name, moment(AT), moment(until), [], entries)
    signed = built.add_extension(x509.CRLNumber(1), critical=False).sign(key or root().key, hashes.SHA256())
    return signed.public_bytes(Encoding.DER)


class Revoked(NamedTuple):
    """A list, a policy, and what both say."""

    statements: tuple[Statement, ...]
    ok: bool
    policy: Policy = Policy()
    scheme: str = ""
    until: int = NOW + DAY
    delivered: bool = True


HELD, FREED = "certificateHold", "removeFromCRL"
REVOKED: dict[str, Revoked] = {
    "listed nowhere": Revoked((), True),
    "compromised": Revoked((Statement("keyCompromise"),), False),
    "no reason": Revoked((Statement(),), False),
    "superseded": Revoked((Statement("superseded"),), False),
    "permissive": Revoked((Statement("keyCompromise"),), True, Policy("permissive")),
    "skipped": Revoked((Statement("keyCompromise"),), True, Policy(override=(("revocation", "skip"),))),
    "hold": Revoked((Statement(HELD),), False),
    "hold, then removed": Revoked((Statement(HELD), Statement(FREED, 2)), True),
    "removed, then hold": Revoked((Statement(FREED), Statement(HELD, 2)), False),
    "list expired": Revoked((), False, until=NOW - DAY),
    "list missing": Revoked((), False, delivered=False),
    "x509, signed before the key was stolen": Revoked(
        (Statement("keyCompromise", 9, 5),), False, Policy(stores=STAMPED)
    ),
    "authority, before": Revoked((Statement("keyCompromise", 9, 5),), True, AUTHORITIES, AUTHORITY),
    "authority, at": Revoked((Statement("keyCompromise", 9, 0),), False, AUTHORITIES, AUTHORITY),
    "authority, after": Revoked((Statement("keyCompromise", 9, -3),), False, AUTHORITIES, AUTHORITY),
    "authority, no invalidity date": Revoked((Statement("keyCompromise", 9),), False, AUTHORITIES, AUTHORITY),
}


def revoked_signature(place: Place, crls: Any, case: Revoked) -> tuple[str, dict[str, Any], bytes, tuple[bytes, ...]]:
    port, served = crls
    serial = 0x5000_0000 + next(place.names)
    uri = f"http://127.0.0.1:{port}/{serial}.crl".encode()
    points = sequence(sequence(tlv(0xA0, tlv(0xA0, tlv(0x86, uri)))))
    leaf = root().leaf("revocable", **SIGNER, serial=serial, extra=[("2.5.29.31", False, points)])
    data = crl_of(serial, case.statements, until=case.until)
    if case.delivered:
        served[f"/{serial}.crl"] = data
    repository, subject = place.image()
    payload = json.dumps({"targetArtifact": subject}).encode()
    options: dict[str, Any] = {"scheme": case.scheme} if case.scheme else {}
    signed = envelope(leaf, "jws", at=AT, payload=payload, stamp=None if case.scheme else stamp(AT), **options)
    place.attach(repository, subject, signed, "jws")
    return repository, subject, signed, (data,) if case.delivered else ()


@pytest.mark.parametrize("name", REVOKED)
def test_the_same_answer_about_revocation(place, crls, name):
    case = REVOKED[name]
    repository, subject, signed, lists = revoked_signature(place, crls, case)
    theirs = place.passes(case.policy, repository, subject)
    mine = ours(case.policy, subject, signed, "jws", lists)
    assert (theirs, mine.ok) == (case.ok, case.ok), f"{place.said[-600:]}\n{mine}"


def test_the_specification_differs_from_notation_where_finding_5_says(place, crls):
    """A timestamp proves the signature older than the theft: the specification accepts it, notation does not."""
    case = REVOKED["x509, signed before the key was stolen"]
    repository, subject, signed, lists = revoked_signature(place, crls, case)
    assert not place.passes(case.policy, repository, subject)
    assert "is revoked" in place.said
    assert not ours(case.policy, subject, signed, "jws", lists, "notation").ok
    assert ours(case.policy, subject, signed, "jws", lists, "specification").ok
