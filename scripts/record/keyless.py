"""Record keyless signatures of a private Sigstore instance: real Fulcio, Rekor v2, timestamp authority and cosign.

    .venv/bin/python scripts/record/keyless.py          # writes tests/assets/keyless (`make oracles` first)

What is ours are two stubs of what the services lean on: an OIDC issuer, and a CT log that signs precertificates
(RFC 6962 sections 3.2 and 4.2). What is written: the bundles as cosign left them in a registry, the trust root, and
expectations.json with the exit code of real `cosign verify` for each bundle under each of `VARIATIONS`: changes to the
bundle, to the trust root or to the question, which the test makes again and puts before revet.
"""

import copy
import datetime as dt
import hashlib
import http.client
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from cosign_matrix import (  # noqa: E402 - the folder of this script must be importable first
    Registry,
    free_port,
    quiet_environment,
    run_registry,
    sha256_of,
    tools_folder,
)

RESULTS = HERE.parent.parent / "tests" / "assets" / "keyless"
HOST = "registry.example.com"
DEV, CI = "dev@corp.example", "ci@corp.example"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
MATERIAL = "verificationMaterial"
POISON = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.3")
START_SECONDS = 20
PROVENANCE = {"buildDefinition": {"buildType": "https://ci.corp.example/v1"}, "runDetails": {"builder": {"id": "x"}}}


# --------------------------------------------------------------------------------------------------------- variations


@dataclass
class Question:
    """What is put before a verifier."""

    bundle: dict[str, Any]
    root: dict[str, Any]
    identity: str
    issuer: str
    other: dict[str, Any]
    """The bundle of another image, by another identity."""


Change = Callable[[Question], None]


def _as_it_is(_: Question) -> None:
    """Nothing is changed."""


def _flip(text: str) -> str:
    raw = bytearray(b64decode(text))
    raw[-1] ^= 1
    return b64encode(bytes(raw)).decode()


def _tampered(question: Question) -> None:
    envelope = question.bundle["dsseEnvelope"]
    statement = b64decode(envelope["payload"])
    changed = statement.replace(b'"predicate":', b'"predicate" :')
    envelope["payload"] = b64encode(statement + b" " if changed == statement else changed).decode()


def _signature(question: Question) -> None:
    entry = question.bundle["dsseEnvelope"]["signatures"][0]
    entry["sig"] = _flip(entry["sig"])


def _ended(listing: str) -> Change:
    """The trust root's window ended long before anything was signed."""

    def change(question: Question) -> None:
        for entry in question.root[listing]:
            holder = entry.get("publicKey", entry)
            holder["validFor"] = {"start": "2020-01-01T00:00:00Z", "end": "2020-01-02T00:00:00Z"}

    return change


def _later(listing: str) -> Change:
    """The trust root's window starts long after everything was signed."""

    def change(question: Question) -> None:
        for entry in question.root[listing]:
            holder = entry.get("publicKey", entry)
            holder["validFor"] = {"start": "2099-01-01T00:00:00Z"}

    return change


def _other_root(question: Question) -> None:
    """A root whose Fulcio has the same names and another key."""
    key = ec.derive_private_key(7, ec.SECP384R1())
    authority = question.root["certificateAuthorities"][0]
    old = [x509.load_der_x509_certificate(b64decode(c["rawBytes"])) for c in authority["certChain"]["certificates"]]
    with warnings.catch_warnings():  # Fulcio writes the country as USA, which X.520 does not allow
        warnings.simplefilter("ignore")
        name = old[-1].subject
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1)
    builder = builder.not_valid_before(old[-1].not_valid_before_utc).not_valid_after(old[-1].not_valid_after_utc)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    usage = x509.KeyUsage(*(bit in {5, 6} for bit in range(9)))
    made = builder.add_extension(usage, critical=True).sign(key, hashes.SHA384(), ecdsa_deterministic=True)
    authority["certChain"]["certificates"] = [{"rawBytes": b64encode(made.public_bytes(Encoding.DER)).decode()}]


def _drop(*path: str) -> Change:
    def change(question: Question) -> None:
        holder: Any = question.bundle
        for name in path[:-1]:
            holder = holder[name]
        holder.pop(path[-1], None)

    return change


def _swap(*path: str) -> Change:
    """The same member of another image's bundle."""

    def change(question: Question) -> None:
        mine: Any = question.bundle
        theirs: Any = question.other
        for name in path[:-1]:
            mine, theirs = mine[name], theirs[name]
        mine[path[-1]] = copy.deepcopy(theirs[path[-1]])

    return change


def _ask(**members: str) -> Change:
    def change(question: Question) -> None:
        for name, value in members.items():
            setattr(question, name, value)

    return change


def _without(listing: str) -> Change:
    return lambda question: question.root.update({listing: []})


def _entry(change: Callable[[dict[str, Any]], None]) -> Change:
    def apply(question: Question) -> None:
        for entry in question.bundle[MATERIAL].get("tlogEntries", []):  # a bundle without a log entry stays as it is
            change(entry)

    return apply


def _set_root_hash(entry: dict[str, Any]) -> None:
    entry["inclusionProof"]["rootHash"] = _flip(entry["inclusionProof"]["rootHash"])


def _set_proof_index(entry: dict[str, Any]) -> None:
    entry["inclusionProof"]["logIndex"] = str(int(entry["inclusionProof"].get("logIndex", "0")) + 1)


VARIATIONS: dict[str, Change] = {
    "good": _as_it_is,
    "wrong identity": _ask(identity="mallory@corp.example"),
    "wrong issuer": _ask(issuer="https://idp.evil.example"),
    "payload tampered": _tampered,
    "signature tampered": _signature,
    "another root": _other_root,
    "timestamp stripped": _drop(MATERIAL, "timestampVerificationData"),
    "entry stripped": _drop(MATERIAL, "tlogEntries"),
    "timestamp of another bundle": _swap(MATERIAL, "timestampVerificationData"),
    "entry of another bundle": _swap(MATERIAL, "tlogEntries"),
    "certificate of another bundle": _swap(MATERIAL, "certificate"),
    "envelope of another bundle": _swap("dsseEnvelope"),
    "Fulcio window ended": _ended("certificateAuthorities"),
    "Fulcio window to come": _later("certificateAuthorities"),
    "TSA window ended": _ended("timestampAuthorities"),
    "TSA window to come": _later("timestampAuthorities"),
    "CT window ended": _ended("ctlogs"),
    "Rekor window ended": _ended("tlogs"),
    "Rekor window to come": _later("tlogs"),
    "TSA unknown": _without("timestampAuthorities"),
    "Rekor unknown": _without("tlogs"),
    "CT log unknown": _without("ctlogs"),
    "proof with another root hash": _entry(_set_root_hash),
    "proof with another index": _entry(_set_proof_index),
    "entry with another kind": _entry(lambda entry: entry.update(kindVersion={"kind": "dsse", "version": "0.0.1"})),
}
"""Name -> what is changed in a good question."""


def varied(name: str, bundle: bytes, other: bytes, root: str, identity: str, issuer: str) -> Question:
    """One question; the arguments are left as they are."""
    question = Question(json.loads(bundle), json.loads(root), identity, issuer, json.loads(other))
    VARIATIONS[name](question)
    return question


# --------------------------------------------------------------------------------------------------------------- stubs


def b64url(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


class _Quiet(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Says nothing."""

    def answer(self, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def served(handler: type[BaseHTTPRequestHandler], port: int) -> Iterator[None]:
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Issuer:
    """An OIDC issuer with one RSA key (OpenID Connect Discovery 1.0)."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.key = rsa.generate_private_key(65537, 2048)

    def handler(self) -> type[BaseHTTPRequestHandler]:
        numbers = self.key.public_key().public_numbers()
        jwk = {"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "1", "e": b64url(numbers.e.to_bytes(3))}
        jwk["n"] = b64url(numbers.n.to_bytes(256))
        about = {
            "issuer": self.url,
            "jwks_uri": f"{self.url}/keys",
            "authorization_endpoint": f"{self.url}/auth",
            "token_endpoint": f"{self.url}/token",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }

        class Handler(_Quiet):
            def do_GET(self) -> None:
                self.answer({"keys": [jwk]} if self.path == "/keys" else about)

        return Handler

    def token(self, email: str) -> str:
        now = int(time.time())
        claims = {"iss": self.url, "sub": email, "aud": "sigstore", "iat": now, "exp": now + 600, "nonce": "n"}
        claims |= {"email": email, "email_verified": True}
        head = {"alg": "RS256", "typ": "JWT", "kid": "1"}
        signed = ".".join(b64url(json.dumps(part).encode()) for part in (head, claims))
        return f"{signed}.{b64url(self.key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


class CtLog:
    """A CT log that promises and keeps nothing: the signed certificate timestamp is all that verifiers look at."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.spki = self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def handler(self) -> type[BaseHTTPRequestHandler]:
        log = self

        class Handler(_Quiet):
            def do_POST(self) -> None:
                document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.answer(log.add([b64decode(text) for text in document["chain"]]))

        return Handler

    def add(self, chain: Sequence[bytes]) -> dict[str, Any]:
        """RFC 6962 section 4.2: the precertificate without its poison, and the hash of its issuer's key."""
        certificate, issuer = map(x509.load_der_x509_certificate, chain[:2])
        certificate.extensions.get_extension_for_oid(POISON)
        tbs = tbs_without(certificate.tbs_certificate_bytes, b"\x06\x0a\x2b\x06\x01\x04\x01\xd6\x79\x02\x04\x03")
        key = issuer.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        millis = int(time.time() * 1000)
        entry = b"\0\1" + hashlib.sha256(key).digest() + len(tbs).to_bytes(3) + tbs + b"\0\0"
        signature = self.key.sign(b"\0\0" + millis.to_bytes(8) + entry, ec.ECDSA(hashes.SHA256()))
        named = b"\x04\x03" + len(signature).to_bytes(2) + signature
        return {
            "sct_version": 0,
            "id": b64encode(hashlib.sha256(self.spki).digest()).decode(),
            "timestamp": millis,
            "extensions": "",
            "signature": b64encode(named).decode(),
        }


def _element(data: bytes, at: int) -> tuple[int, int]:
    """(start of the content, end) of the DER element at `at`."""
    size, start = data[at + 1], at + 2
    if size & 0x80:
        width = size & 0x7F
        size, start = int.from_bytes(data[start : start + width]), start + width
    return start, start + size


def _wrapped(tag: int, body: bytes) -> bytes:
    if len(body) < 0x80:
        return bytes((tag, len(body))) + body
    size = len(body).to_bytes((len(body).bit_length() + 7) // 8)
    return bytes((tag, 0x80 | len(size))) + size + body


def tbs_without(tbs: bytes, oid: bytes) -> bytes:
    """A TBSCertificate without the extension of this (encoded) OID; every length above it is written again."""
    start, end = _element(tbs, 0)
    parts = []
    while start < end:
        inner, stop = _element(tbs, start)
        part = tbs[start:stop]
        if tbs[start] == 0xA3:
            at, last = _element(tbs, inner)
            kept = []
            while at < last:
                content, following = _element(tbs, at)
                if not tbs[content:].startswith(oid):
                    kept.append(tbs[at:following])
                at = following
            part = _wrapped(0xA3, _wrapped(0x30, b"".join(kept)))
        parts.append(part)
        start = stop
    return _wrapped(0x30, b"".join(parts))


# --------------------------------------------------------------------------------------------------------------- stack


class Stack:
    """The services, their ports and files."""

    def __init__(self, work: Path, tools: Path, stack: ExitStack) -> None:
        self.work, self.tools, self.stack = work, tools, stack
        names = ("registry", "tsa", "oidc", "ct", "fulcio", "grpc", "fulcio_metrics", "rekor", "rekor_grpc", "rekor_m")
        self.port = {name: free_port() for name in names}
        self.environment = quiet_environment(work)
        self.issuer, self.ct = Issuer(self.port["oidc"]), CtLog()
        self.registry: Registry = stack.enter_context(run_registry(tools / "registry", self.port["registry"]))
        stack.enter_context(served(self.issuer.handler(), self.port["oidc"]))
        stack.enter_context(served(self.ct.handler(), self.port["ct"]))
        self.tsa = f"http://127.0.0.1:{self.port['tsa']}/api/v1/timestamp"
        self.fulcio = f"http://127.0.0.1:{self.port['fulcio']}"
        self.rekor = f"http://localhost:{self.port['rekor']}"

    def start(self) -> None:
        """Each service, until it answers."""
        at = {name: str(port) for name, port in self.port.items()}
        key = Ed25519PrivateKey.generate()
        (self.work / "rekor.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (self.work / "rekor.pub").write_bytes(pem)
        ct = self.ct.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (self.work / "ct.pub").write_bytes(ct)
        # Block style: Fulcio takes what begins with a brace for its older format, which has other names.
        config = f'issuer-url: "{self.issuer.url}"\n    client-id: sigstore\n    type: email'
        (self.work / "fulcio.yaml").write_text(f'oidc-issuers:\n  "{self.issuer.url}":\n    {config}\n')
        (self.work / "tiles").mkdir()
        stamps = ["--timestamp-signer", "memory", "--disable-ntp-monitoring"]
        self.run("timestamp-server", "serve", "--host", "127.0.0.1", "--port", at["tsa"], *stamps)
        host = ["--host", "127.0.0.1", "--grpc-host", "127.0.0.1"]
        ports = ["--port", at["fulcio"], "--grpc-port", at["grpc"], "--metrics-port", at["fulcio_metrics"]]
        about = ["--ct-log-url", f"http://127.0.0.1:{at['ct']}", "--config-path", str(self.work / "fulcio.yaml")]
        self.run("fulcio", "serve", *host, *ports, "--ca", "ephemeralca", *about)
        ports = ["--http-port", at["rekor"], "--grpc-port", at["rekor_grpc"], "--http-metrics-port", at["rekor_m"]]
        files = ["--storage-dir", str(self.work / "tiles"), "--signer-filepath", str(self.work / "rekor.pem")]
        self.run("rekor-posix", "serve", *ports, "--hostname", "localhost", *files, "--checkpoint-interval", "1s")
        for service in ("tsa", "fulcio", "rekor"):
            self.wait(service)

    def run(self, name: str, *arguments: str) -> None:
        log = self.stack.enter_context((self.work / f"{name}.log").open("wb"))
        command = [str(self.tools / name), *arguments]
        process = subprocess.Popen(command, stdout=log, stderr=log, env=self.environment)
        self.stack.callback(process.wait, 10)
        self.stack.callback(process.terminate)

    def wait(self, service: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self.get(service, "/")
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                return

    def get(self, service: str, path: str) -> bytes:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port[service], timeout=10)) as connection:
            connection.request("GET", path)
            return connection.getresponse().read()

    def cosign(self, *arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = [str(self.tools / "cosign"), *map(str, arguments)]
        done = subprocess.run(
            command, env=self.environment, cwd=self.work, capture_output=True, text=True, check=False, timeout=120
        )
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(command)}: rc {done.returncode}\n{done.stderr}")
        return done

    def configure(self) -> None:
        """signing-config and trust root, made by cosign from what the services say of themselves."""
        chains = json.loads(self.get("fulcio", "/api/v2/trustBundle"))["chains"]
        (self.work / "fulcio.chain").write_text("".join(chains[0]["certificates"]))
        (self.work / "tsa.chain").write_bytes(self.get("tsa", "/api/v1/timestamp/certchain"))
        since = "start-time=2026-01-01T00:00:00Z"
        about = f"api-version=1,{since},operator=x"
        none = [f"--no-default-{name}" for name in ("fulcio", "oidc", "rekor", "tsa")]
        fulcio, oidc = f"--fulcio=url={self.fulcio},{about}", f"--oidc-provider=url={self.issuer.url},{about}"
        tsa = f"--tsa=url={self.tsa},{about}"
        rekor = f"--rekor=url={self.rekor},api-version=2,{since},operator=x"
        head = ["signing-config", "create", *none, fulcio, oidc, tsa, "--tsa-config=ANY"]
        self.cosign(*head, rekor, "--rekor-config=ANY", "--out", "logged.json")
        self.cosign(*head, "--out", "unlogged.json")
        self.cosign(
            *("trusted-root", "create", "--out", "root.json"),
            f"--fulcio=url={self.fulcio},certificate-chain=fulcio.chain",
            f"--ctfe=url=http://127.0.0.1:{self.port['ct']},public-key=ct.pub,{since}",
            f"--tsa=url={self.tsa},certificate-chain=tsa.chain",
            f"--rekor=url={self.rekor},public-key=rekor.pub,{since},origin=localhost",
        )

    def address(self, repository: str, digest: str) -> str:
        return f"127.0.0.1:{self.port['registry']}/{repository}@{digest}"

    def bundle(self, repository: str, digest: str) -> bytes:
        """The one bundle that hangs on an image."""
        listing = self.registry.manifest(repository, digest.replace(":", "-"))
        if listing is None:
            raise RuntimeError(f"{repository}: nothing was signed")
        (entry,) = json.loads(listing[0])["manifests"]
        manifest = self.registry.manifest(repository, entry["digest"])
        if manifest is None:
            raise RuntimeError(f"{repository}: the referrer is missing")
        return self.registry.blob(repository, json.loads(manifest[0])["layers"][0]["digest"])


# ----------------------------------------------------------------------------------------------------------- recording

SIGNED = {
    "signature": ("logged", DEV, ()),
    "signature-ci": ("logged", CI, ()),
    "signature-unlogged": ("unlogged", DEV, ("--insecure-ignore-tlog", "--use-signed-timestamps")),
    "attestation": ("logged", DEV, ()),
}
"""Name -> (signing configuration, who, what `cosign verify` must be told beside)."""

ATTESTED = "slsaprovenance1"


def attach(registry: Registry, repository: str, image: bytes, bundle: bytes) -> None:
    """Hangs one bundle on an image (the bytes of its manifest), in place of whatever hung there."""
    digest = sha256_of(image)
    empty = {"mediaType": "application/vnd.oci.empty.v1+json", "size": 2}
    empty |= {"digest": registry.put_blob(repository, b"{}")}
    layer = {"mediaType": BUNDLE, "digest": registry.put_blob(repository, bundle), "size": len(bundle)}
    subject = {"mediaType": MANIFEST, "digest": digest, "size": len(image)}
    document = {"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": BUNDLE, "config": empty}
    data = json.dumps(document | {"layers": [layer], "subject": subject}).encode()
    made = registry.put_manifest(repository, sha256_of(data), data, MANIFEST)
    entry = {"mediaType": MANIFEST, "digest": made, "size": len(data), "artifactType": BUNDLE}
    listing = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}).encode()
    registry.put_manifest(repository, digest.replace(":", "-"), listing, INDEX)


def question_for_cosign(name: str, question: Question, root: Path, target: str) -> list[str]:
    """The arguments by which `cosign` is asked; the trust root is written to `root`."""
    root.write_text(json.dumps(question.root))
    command = ["verify-attestation", "--type", ATTESTED] if name == "attestation" else ["verify"]
    who = ["--certificate-identity", question.identity, "--certificate-oidc-issuer", question.issuer]
    return [*command, "--trusted-root", str(root), *who, *SIGNED[name][2], target]


def image_manifest(name: str) -> tuple[bytes, bytes]:
    """(manifest, configuration) of the image that is signed under this name."""
    config = json.dumps({"name": name}).encode()
    about = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": sha256_of(config), "size": len(config)}
    return json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": about, "layers": []}).encode(), config


def put_image(registry: Registry, name: str) -> bytes:
    """Pushes the image; gives its manifest."""
    manifest, config = image_manifest(name)
    registry.put_blob(name, config)
    registry.put_manifest(name, sha256_of(manifest), manifest, MANIFEST)
    return manifest


def record(name: str, stack: Stack) -> tuple[str, bytes]:
    """(digest, bundle) of one image, signed by cosign."""
    config, who, _ = SIGNED[name]
    digest = sha256_of(put_image(stack.registry, name))
    how = ["--identity-token", stack.issuer.token(who), "--signing-config", f"{config}.json"]
    more = ["--trusted-root", "root.json", "--yes", stack.address(name, digest)]
    if name == "attestation":
        (stack.work / "predicate.json").write_text(json.dumps(PROVENANCE))
        stack.cosign("attest", *how, "--type", ATTESTED, "--predicate", "predicate.json", *more)
    else:
        stack.cosign("sign", *how, *more)
    return digest, stack.bundle(name, digest)


def answers(name: str, stack: Stack, bundle: bytes, other: bytes, root: str) -> dict[str, int]:
    """The exit code of cosign for every variation."""
    found = {}
    manifest = image_manifest(name)[0]
    target = stack.address(name, sha256_of(manifest))
    for variation in VARIATIONS:
        question = varied(variation, bundle, other, root, SIGNED[name][1], stack.issuer.url)
        attach(stack.registry, name, manifest, json.dumps(question.bundle).encode())
        asked = question_for_cosign(name, question, stack.work / "asked.json", target)
        found[variation] = stack.cosign(*asked, check=False).returncode
    return found


def write(stack: Stack, results: Path) -> None:
    made = {name: record(name, stack) for name in SIGNED}
    root = (stack.work / "root.json").read_text()
    expected: dict[str, Any] = {}
    for name, (digest, bundle) in made.items():
        other = made["signature" if name == "signature-ci" else "signature-ci"][1]
        codes = answers(name, stack, bundle, other, root)
        expected[name] = {"digest": digest, "identity": SIGNED[name][1], "cosign": codes}
        (results / f"{name}.sigstore.json").write_bytes(bundle)
    (results / "trusted_root.json").write_text(root)
    recorded = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    version = json.loads(stack.cosign("version", "--json").stdout)["gitVersion"]
    head: Mapping[str, Any] = {"recorded": recorded, "cosign": version, "issuer": stack.issuer.url}
    (results / "expectations.json").write_text(json.dumps({**head, "bundles": expected}, indent=1) + "\n")


def main() -> None:
    tools = tools_folder()
    needed = ("cosign", "registry", "fulcio", "rekor-posix", "timestamp-server")
    if missing := [name for name in needed if not os.access(tools / name, os.X_OK)]:
        sys.exit(f"keyless: {', '.join(missing)} missing in {tools}; `make oracles` builds them")
    results = Path(os.environ.get("REVET_RECORD_RESULTS") or RESULTS)
    work = Path(tempfile.mkdtemp(prefix="revet-keyless-"))
    try:
        with ExitStack() as services:
            stack = Stack(work, tools, services)
            stack.start()
            stack.configure()
            results.mkdir(parents=True, exist_ok=True)
            write(stack, results)
    except BaseException:
        print(f"keyless: logs are in {work}", file=sys.stderr)
        raise
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
