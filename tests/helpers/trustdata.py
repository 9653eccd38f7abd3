"""Repositories of Docker Content Trust, made on the spot: keys of every kind, thresholds, rotations, delegations.

    repository = TrustData("docker.io/library/alpine")
    repository.tag("3.20", digest)
    repository.delegate("targets/releases", [key])
    files = repository.files()

Written from the format alone and independent of the code under test: it has a canonical JSON of its own.
"""

import base64
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

LATER = "2036-01-01T00:00:00Z"
CREATED = datetime(2026, 1, 1, tzinfo=UTC)
CURVES = {"p256": ec.SECP256R1(), "p384": ec.SECP384R1(), "p521": ec.SECP521R1()}


def canonical(value: Any) -> bytes:
    if isinstance(value, dict):
        return b"{" + b",".join(canonical(k) + b":" + canonical(value[k]) for k in sorted(value)) + b"}"
    if isinstance(value, list):
        return b"[" + b",".join(map(canonical, value)) + b"]"
    if isinstance(value, str):
        return b'"' + value.replace("\\", "\\\\").replace('"', '\\"').encode() + b'"'
    return {"True": b"true", "False": b"false", "None": b"null"}.get(str(value)) or str(value).encode()


class SigningKey:
    """A key of one kind: `p256`, `p384`, `p521`, `rsa` or `ed25519`; with a certificate when `name` is given."""

    def __init__(self, kind: str = "p256", name: str = "", seed: int = 0, valid_for: timedelta = timedelta(days=3650)):
        self.kind = kind
        self.private: Any
        if kind in CURVES:
            self.private = ec.derive_private_key(seed, CURVES[kind]) if seed else ec.generate_private_key(CURVES[kind])
        elif kind == "rsa":
            self.private = rsa.generate_private_key(65537, 2048)
        else:
            self.private = ed25519.Ed25519PrivateKey.generate()
        self.certificate = self._certificate(name, valid_for) if name else None

    def _certificate(self, name: str, valid_for: timedelta) -> bytes:
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        builder = x509.CertificateBuilder(subject, subject, self.private.public_key(), 1 + len(name))
        builder = builder.not_valid_before(CREATED).not_valid_after(CREATED + valid_for)
        made = builder.sign(self.private, hashes.SHA256())
        return made.public_bytes(Encoding.PEM)

    def recertified(self, name: str) -> "SigningKey":
        """The same key in another certificate: another key id."""
        other = object.__new__(SigningKey)
        other.kind, other.private = self.kind, self.private
        other.certificate = other._certificate(name, timedelta(days=10))
        return other

    @property
    def spki(self) -> bytes:
        return self.private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    @property
    def pem(self) -> str:
        return self.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    @property
    def spki_id(self) -> str:
        return hashlib.sha256(self.spki).hexdigest()

    @property
    def listed(self) -> dict:
        base = {"rsa": "rsa", "ed25519": "ed25519"}.get(self.kind, "ecdsa")
        if self.certificate:
            content = self.certificate
        elif self.kind == "ed25519":
            content = self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        else:
            content = self.spki
        public = base64.b64encode(content).decode()
        return {"keytype": base + "-x509" * bool(self.certificate), "keyval": {"private": None, "public": public}}

    @property
    def id(self) -> str:
        return hashlib.sha256(canonical(self.listed)).hexdigest()

    def sign(self, message: bytes) -> dict:
        if self.kind in CURVES:
            size = (CURVES[self.kind].key_size + 7) // 8
            r, s = decode_dss_signature(self.private.sign(message, ec.ECDSA(hashes.SHA256())))
            method, raw = "ecdsa", r.to_bytes(size) + s.to_bytes(size)
        elif self.kind == "rsa":
            scheme = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
            method, raw = "rsapss", self.private.sign(message, scheme, hashes.SHA256())
        else:
            method, raw = "eddsa", self.private.sign(message)
        return {"keyid": self.id, "method": method, "sig": base64.b64encode(raw).decode()}


@dataclass
class Role:
    """Who may sign a role, and who does."""

    keys: list[SigningKey]
    threshold: int = 1
    signers: list[SigningKey] | None = None
    """None: all of the keys."""

    @property
    def signing(self) -> list[SigningKey]:
        return self.keys if self.signers is None else self.signers

    @property
    def listed(self) -> dict:
        return {"keyids": [key.id for key in self.keys], "threshold": self.threshold}


@dataclass
class Delegated:
    role: Role
    paths: list[str]
    targets: dict[str, dict] = field(default_factory=dict)
    expires: str = LATER
    published: bool = True


@dataclass
class TrustData:
    """One repository; everything in it may be changed before `files()`."""

    gun: str = "registry.example.com/payments/api"
    kind: str = "p256"
    root: Role = field(init=False)
    targets: Role = field(init=False)
    snapshot: Role = field(init=False)
    timestamp: Role = field(init=False)
    entries: dict[str, dict] = field(default_factory=dict)
    delegations: dict[str, Delegated] = field(default_factory=dict)
    expires: dict[str, str] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    extra_keys: list[SigningKey] = field(default_factory=list)

    def __post_init__(self):
        self.root = Role([SigningKey(self.kind, self.gun if self.kind != "ed25519" else "")])
        self.targets, self.snapshot, self.timestamp = (Role([SigningKey(self.kind)]) for _ in range(3))

    def tag(self, name: str, digest: str, role: str = "targets") -> None:
        raw = bytes.fromhex(digest.removeprefix("sha256:"))
        entries = self.entries if role == "targets" else self.delegations[role].targets
        entries[name] = {"hashes": {"sha256": base64.b64encode(raw).decode()}, "length": 1994}

    def delegate(self, name: str, keys: Iterable[SigningKey], paths: Iterable[str] = ("",), threshold: int = 1) -> None:
        self.delegations[name] = Delegated(Role(list(keys), threshold), list(paths))

    def files(self) -> dict[str, bytes]:
        root = self._root()
        made = {"root": root, "targets": self._targets("targets", self.entries, self.targets, LATER)}
        for name, delegated in self.delegations.items():
            if delegated.published:
                made[name] = self._targets(name, delegated.targets, delegated.role, delegated.expires)
        made["snapshot"] = self._signed("snapshot", "Snapshot", {"meta": meta(made)}, self.snapshot)
        made["timestamp"] = self._signed(
            "timestamp", "Timestamp", {"meta": meta({"snapshot": made["snapshot"]})}, self.timestamp
        )
        return {f"{name}.json": data for name, data in made.items()}

    def _root(self) -> bytes:
        roles = {name: getattr(self, name) for name in ("root", "targets", "snapshot", "timestamp")}
        keys = {key.id: key.listed for role in roles.values() for key in [*role.keys, *self.extra_keys]}
        listed = {name: role.listed for name, role in roles.items()}
        return self._signed("root", "Root", {"consistent_snapshot": False, "keys": keys, "roles": listed}, self.root)

    def _targets(self, name: str, entries: dict, role: Role, expires: str) -> bytes:
        below = {n: d for n, d in self.delegations.items() if n.rpartition("/")[0] == name}
        keys = {key.id: key.listed for d in below.values() for key in d.role.keys}
        roles = [{"name": n, "paths": d.paths, **d.role.listed} for n, d in below.items()]
        content = {"delegations": {"keys": keys, "roles": roles}, "targets": entries}
        return self._signed(name, "Targets", content, role, expires)

    def _signed(self, name: str, kind: str, content: dict, role: Role, expires: str = LATER) -> bytes:
        head = {"_type": kind, "expires": self.expires.get(name, expires), "version": self.versions.get(name, 1)}
        return signed_file(head | content, role.signing)


def signed_file(signed: dict, keys: Iterable[SigningKey]) -> bytes:
    message = canonical(signed)
    return json.dumps({"signed": signed, "signatures": [key.sign(message) for key in keys]}).encode()


def meta(files: dict[str, bytes]) -> dict:
    """What a snapshot or a timestamp says of files."""
    return {
        name: {
            "hashes": {
                "sha256": base64.b64encode(hashlib.sha256(data).digest()).decode(),
                "sha512": base64.b64encode(hashlib.sha512(data).digest()).decode(),
            },
            "length": len(data),
        }
        for name, data in files.items()
    }
