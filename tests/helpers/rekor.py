"""Transparency logs in memory: entries of every kind with their SETs, proofs, checkpoints and witness lines.

    log = MemoryLog("rekor.example")                     Rekor v1: ECDSA, SETs, a global index that runs ahead
    tiles = MemoryLog("tiles.example", version=2)        Rekor v2: Ed25519, proofs only
    alice = Signer("alice", certified=True)
    payload = b"…"
    written = log.entry(hashedrekord1(payload, alice.sign(payload), alice))
    check_entry(read(written), alice.signed(payload, signature), Material.of((), [log.log]), need_proof=True)

Keys follow from names. What comes out are the documents as a bundle or an annotation holds them, so that a test spoils
what an attacker would: a member of a dict, a line of a note.
"""

import hashlib
import json
from base64 import b64encode
from dataclasses import dataclass, field
from functools import cached_property

import msgspec
import pytest

from tests.helpers.pki import CODE_SIGNING, T0, Ca, make_key, sign, spki
from tests.helpers.pki import pem as certificate_pem
from verifier.errors import EvidenceError
from verifier.evidence.dsse import pae
from verifier.evidence.keys import load_public_key
from verifier.evidence.logentry import LogEntry
from verifier.evidence.material import Log, Material
from verifier.evidence.rekor import TlogEntry, bundle_entry, check_entry
from verifier.evidence.rekorbody import Signed
from verifier.models import LogClaim

SIGNED_AT = T0 // 1_000_000 + 60
"""`integratedTime` unless said otherwise: seconds, within the validity of the leaves of `tests.helpers.pki`."""


def b64(data: bytes) -> str:
    return b64encode(data).decode()


def key_pem(der: bytes) -> str:
    return f"-----BEGIN PUBLIC KEY-----\n{b64(der)}\n-----END PUBLIC KEY-----\n"


def read(written: dict) -> LogEntry:
    """As a bundle's reader would: typed first."""
    return bundle_entry(msgspec.convert(written, TlogEntry))


# ------------------------------------------------------------------------------------------------------------ signers


@dataclass(frozen=True)
class Signer:
    """Somebody with a key, and a certificate when `certified`."""

    name: str
    key_type: str = "p256"
    certified: bool = False

    @cached_property
    def key(self):
        return make_key(f"leaf {self.name}", self.key_type)

    @cached_property
    def spki(self) -> bytes:
        return spki(self.key)

    @cached_property
    def certificate(self) -> bytes:
        ca = Ca.root("rekor tests")
        return ca.leaf(
            self.name, self.key_type, sans=[f"{self.name}@example.com"], eku=CODE_SIGNING, serial=7
        ).certificate

    @cached_property
    def key_id(self) -> str:
        return hashlib.sha256(self.spki).hexdigest()

    @property
    def pem(self) -> str:
        """What the signer showed the log."""
        return certificate_pem(self.certificate) if self.certified else key_pem(self.spki)

    def sign(self, message: bytes) -> bytes:
        return sign(self.key, message)

    def signed(self, message: bytes, signature: bytes, **members) -> Signed:
        certificate = self.certificate if self.certified else None
        return Signed(signature=signature, key_id=self.key_id, certificate=certificate, message=message, **members)


# ------------------------------------------------------------------------------------------------------------- bodies


def _hash(content: bytes, algorithm: str = "sha256") -> dict:
    return {"algorithm": algorithm, "value": hashlib.new(algorithm, content).hexdigest()}


def hashedrekord1(message: bytes, signature: bytes, signer: Signer, algorithm: str = "sha256") -> dict:
    shown = {"content": b64(signature), "publicKey": {"content": b64(signer.pem.encode())}}
    spec = {"data": {"hash": _hash(message, algorithm)}, "signature": shown}
    return {"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": spec}


def rekord1(message: bytes, signature: bytes, signer: Signer) -> dict:
    body = hashedrekord1(message, signature, signer)
    body["spec"]["signature"]["format"] = "x509"
    return body | {"kind": "rekord"}


def dsse1(payload: bytes, envelope: bytes, signatures: list[tuple[bytes, Signer]]) -> dict:
    shown = [{"signature": b64(sig), "verifier": b64(signer.pem.encode())} for sig, signer in signatures]
    spec = {"envelopeHash": _hash(envelope), "payloadHash": _hash(payload), "signatures": shown}
    return {"apiVersion": "0.0.1", "kind": "dsse", "spec": spec}


def intoto1(payload: bytes, envelope: bytes, signer: Signer) -> dict:
    content = {"hash": _hash(envelope), "payloadHash": _hash(payload)}
    spec = {"content": content, "publicKey": b64(signer.pem.encode())}
    return {"apiVersion": "0.0.1", "kind": "intoto", "spec": spec}


def intoto2(payload: bytes, envelope: bytes, signatures: list[tuple[bytes, Signer]]) -> dict:
    """The signatures are base64 twice."""
    shown = [{"publicKey": b64(signer.pem.encode()), "sig": b64(b64(sig).encode())} for sig, signer in signatures]
    wrapped = {"payloadType": "application/vnd.in-toto+json", "signatures": shown}
    spec = {"content": {"envelope": wrapped, "hash": _hash(envelope), "payloadHash": _hash(payload)}}
    return {"apiVersion": "0.0.2", "kind": "intoto", "spec": spec}


def hashedrekord2(
    message: bytes,
    signature: bytes,
    signer: Signer,
    algorithm: str = "SHA2_256",
    key_details: str = "PKIX_ECDSA_P256_SHA_256",
) -> dict:
    name, raw = ("x509Certificate", signer.certificate) if signer.certified else ("publicKey", signer.spki)
    digest = hashlib.new(algorithm.replace("SHA2_", "sha"), message).digest()
    content = {
        "data": {"algorithm": algorithm, "digest": b64(digest)},
        "signature": {
            "content": b64(signature),
            "verifier": {"keyDetails": key_details, name: {"rawBytes": b64(raw)}},
        },
    }
    return {"apiVersion": "0.0.2", "kind": "hashedrekord", "spec": {"hashedRekordV002": content}}


def canonical(body: dict) -> bytes:
    """RFC 8785 for what bodies hold."""
    return json.dumps(body, sort_keys=True, separators=(",", ":")).encode()


# --------------------------------------------------------------------------------------------------------------- trees


def tree_root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962 section 2.1, as it is defined: by halves, the left one a power of two."""
    if len(leaves) < 2:
        return hashlib.sha256(b"\x00" + leaves[0] if leaves else b"").digest()
    split = _split(len(leaves))
    return hashlib.sha256(b"\x01" + tree_root(leaves[:split]) + tree_root(leaves[split:])).digest()


def audit_path(index: int, leaves: list[bytes]) -> list[bytes]:
    """PATH of RFC 6962 section 2.1.1."""
    if len(leaves) < 2:
        return []
    split = _split(len(leaves))
    if index < split:
        return [*audit_path(index, leaves[:split]), tree_root(leaves[split:])]
    return [*audit_path(index - split, leaves[split:]), tree_root(leaves[:split])]


def _split(count: int) -> int:
    return 1 << (count - 1).bit_length() - 1


# ---------------------------------------------------------------------------------------------------------------- logs


@dataclass
class MemoryLog:
    """A log that starts with a few entries of others."""

    host: str
    version: int = 1
    key_type: str = ""
    """`p256` for version 1 and `ed25519` for version 2 unless said otherwise."""
    offset: int = 1_000_000
    """Global index of the first leaf of the present tree (Rekor v1)."""
    leaves: list[bytes] = field(default_factory=lambda: [b"entry %d of somebody" % n for n in range(5)])

    @cached_property
    def key(self):
        return make_key(f"log {self.host}", self.key_type or {1: "p256", 2: "ed25519"}[self.version])

    @cached_property
    def spki(self) -> bytes:
        return spki(self.key)

    @cached_property
    def id(self) -> str:
        if self.version == 2 and not self.key_type:
            return hashlib.sha256(self.host.encode() + b"\n\x01" + self.spki[-32:]).hexdigest()
        return hashlib.sha256(self.spki).hexdigest()

    @property
    def log(self) -> Log:
        return Log(self.id, "transparency", load_public_key(key_pem(self.spki)), self.host)

    @property
    def origin(self) -> str:
        return f"{self.host} - 2605736670972794746" if self.version == 1 else self.host

    def entry(self, body: dict, at: int = SIGNED_AT, *, promised: bool = True, proven: bool = True) -> dict:
        """Appended and written as a bundle's `tlogEntries` has it; version 2 leaves time and promise out."""
        raw = canonical(body)
        self.leaves.append(raw)
        local = len(self.leaves) - 1
        index = local + self.offset if self.version == 1 else local
        written = {
            "logIndex": str(index),
            "logId": {"keyId": b64(bytes.fromhex(self.id))},
            "kindVersion": {"kind": body["kind"], "version": body["apiVersion"]},
            "canonicalizedBody": b64(raw),
        }
        if self.version == 1:
            written["integratedTime"] = str(at)
        if self.version == 1 and promised:
            written["inclusionPromise"] = {"signedEntryTimestamp": b64(self.promise(raw, index, at))}
        if proven:
            written["inclusionProof"] = self.proof(local)
        return written

    def promise(self, raw: bytes, index: int, at: int) -> bytes:
        """The SET over the four members, canonical."""
        return sign(self.key, canonical({"body": b64(raw), "integratedTime": at, "logID": self.id, "logIndex": index}))

    def annotation(self, body: dict, at: int = SIGNED_AT) -> str:
        """The classic annotation `dev.sigstore.cosign/bundle`."""
        raw = canonical(body)
        self.leaves.append(raw)
        index = len(self.leaves) - 1 + self.offset
        payload = {"body": b64(raw), "integratedTime": at, "logIndex": index, "logID": self.id}
        return json.dumps({"SignedEntryTimestamp": b64(self.promise(raw, index, at)), "Payload": payload})

    def proof(self, index: int) -> dict:
        return {
            "logIndex": str(index),
            "rootHash": b64(tree_root(self.leaves)),
            "treeSize": str(len(self.leaves)),
            "hashes": [b64(part) for part in audit_path(index, self.leaves)],
            "checkpoint": {"envelope": self.checkpoint()},
        }

    def head(self) -> str:
        return f"{self.origin}\n{len(self.leaves)}\n{b64(tree_root(self.leaves))}\n"

    def line(self, text: str, *, name: str = "", hint: bytes = b"") -> str:
        """This log's signature line over `text`."""
        hint = hint or bytes.fromhex(self.id)[:4]
        return f"\u2014 {name or self.host} {b64(hint + sign(self.key, text.encode()))}\n"

    def checkpoint(self, *others: str) -> str:
        """The note, with the lines of others behind the log's own."""
        head = self.head()
        return f"{head}\n{self.line(head)}{''.join(others)}"


def witness_line(text: str, name: str = "witness.example", at: int = SIGNED_AT) -> str:
    """A cosignature (C2SP tlog-cosignature.md): hint, time and Ed25519 signature over time and note."""
    key = make_key(f"witness {name}", "ed25519")
    message = f"cosignature/v1\ntime {at}\n{text}".encode()
    hint = hashlib.sha256(name.encode() + b"\n\x04" + spki(key)[-32:]).digest()[:4]
    return f"\u2014 {name} {b64(hint + at.to_bytes(8) + sign(key, message))}\n"


# -------------------------------------------------------------------------------------------------------------- scenes

ALICE, MALLORY = Signer("alice"), Signer("mallory")
ALICE_CERTIFIED, MALLORY_CERTIFIED = Signer("alice", certified=True), Signer("mallory", certified=True)

PAYLOAD = b'{"_type":"https://in-toto.io/Statement/v1"}'
MESSAGE = pae("application/vnd.in-toto+json", PAYLOAD)
CONTENT = b'{"critical":{}}'

V1_KINDS = ("hashedrekord/0.0.1", "rekord/0.0.1", "dsse/0.0.1", "intoto/0.0.1", "intoto/0.0.2")
KINDS = (*V1_KINDS, "hashedrekord/0.0.2")


def fresh(kind: str) -> MemoryLog:
    return MemoryLog("tiles.example", version=2) if kind == "hashedrekord/0.0.2" else MemoryLog("rekor.example")


def body_of(kind: str, message: bytes, payload: bytes, envelope: bytes, signature: bytes, signer: Signer) -> dict:
    return {
        "hashedrekord/0.0.1": lambda: hashedrekord1(message, signature, signer),
        "rekord/0.0.1": lambda: rekord1(message, signature, signer),
        "dsse/0.0.1": lambda: dsse1(payload, envelope, [(signature, signer)]),
        "intoto/0.0.1": lambda: intoto1(payload, envelope, signer),
        "intoto/0.0.2": lambda: intoto2(payload, envelope, [(signature, signer)]),
        "hashedrekord/0.0.2": lambda: hashedrekord2(message, signature, signer),
    }[kind]()


def envelope_of(payload: bytes, signature: bytes) -> bytes:
    return json.dumps({"payload": b64(payload), "signatures": [{"sig": b64(signature)}]}).encode()


class Scene:
    """A DSSE attestation of `signer`, its entry in a log, and what the log knows."""

    def __init__(self, kind: str, signer: Signer = ALICE, **entry) -> None:
        self.log = fresh(kind)
        self.signature = signer.sign(MESSAGE)
        self.envelope = envelope_of(PAYLOAD, self.signature)
        self.signed = signer.signed(MESSAGE, self.signature, payload=PAYLOAD, envelope=self.envelope)
        self.body = body_of(kind, MESSAGE, PAYLOAD, self.envelope, self.signature, signer)
        self.written = self.log.entry(self.body, **entry)
        self.material = Material.of((), [self.log.log])

    def check(self, *, need_proof: bool = False) -> LogClaim | str:
        return check_entry(read(self.written), self.signed, self.material, need_proof=need_proof)

    def code(self, *, need_proof: bool = False) -> str:
        """The code of the refusal."""
        with pytest.raises(EvidenceError) as caught:
            self.check(need_proof=need_proof)
        return caught.value.code


def put(path: str, value: object):
    """A change to one member of the entry; None takes it away."""

    def change(written: dict) -> None:
        *above, last = path.split(".")
        for name in above:
            written = written[name]
        if value is None:
            del written[last]
        else:
            written[last] = value(written[last]) if callable(value) else value

    return change
