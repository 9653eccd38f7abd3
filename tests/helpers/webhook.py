"""The validating webhook as a process of its own: certificates, settings, what it recorded, and reviews to send it.

world = WebhookWorld(tmp_path, registry="127.0.0.1:5000")
with world.started(mode="enforce") as running:
    running.admit(review(pod("api", IMAGE)))["response"]["allowed"]
world.decisions()
"""

import json
import ssl
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from streams.codec import decode
from streams.engine.sqlite import Connection, connect
from streams.events import DecisionObserved
from streams.topics import OBSERVATIONS
from tests.helpers.command import DEMO, recorded_images, revet
from tests.helpers.process import Revet

IMAGES = {image["name"]: f"{image['reference'].rpartition(':')[0]}@{image['digest']}" for image in recorded_images()}
TAGGED = {image["name"]: image["reference"] for image in recorded_images()}
SIGNED, UNSIGNED = IMAGES["payments-api-1.4.2"], IMAGES["payments-fx-rates"]

POLICY = """
apiVersion: revet/v1
kind: Policy
metadata: {{name: {name}}}
spec:
  mode: {mode}
  match: [{{images: [registry.example.com/{path}/**]}}]
  attestors:
    dev: {{keys: [dev]}}
  require: {{signedBy: dev}}
"""


class Authority:
    """A CA whose certificates end when a test wants them to."""

    def __init__(self, name: str = "webhook ca") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        self.pem = self._sign(self._name, self._key.public_key(), 3600, [(constraints, True)])

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, seconds: float, extensions: list[tuple[Any, bool]]
    ) -> bytes:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(self._name, subject, key, x509.random_serial_number())
        builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(seconds=seconds))
        own = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        authority = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)
        subject_key = x509.SubjectKeyIdentifier.from_public_key(key)
        for extension, critical in [*extensions, (authority, False), (subject_key, False)]:
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def pair(self, seconds: float = 3600, *, client: bool = False) -> tuple[bytes, bytes]:
        """Certificate of 127.0.0.1 and its key, PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        usage = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
        host = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "revet")])
        certificate = self._sign(
            name, key.public_key(), seconds, [(x509.ExtendedKeyUsage([usage]), False), (host, False)]
        )
        return certificate, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def write(self, folder: Path, seconds: float = 3600) -> None:
        """Files of a fresh pair, put in place as a whole."""
        for name, data in zip(("tls.crt", "tls.key"), self.pair(seconds), strict=True):
            new = folder / f"{name}.new"
            new.write_bytes(data)
            new.replace(folder / name)


class Running:
    """A webhook that listens."""

    def __init__(self, process: Revet, port: int, ca: bytes) -> None:
        self.process, self.port = process, port
        self._context = ssl.create_default_context(cadata=ca.decode())

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}/admit"

    def ask(self, body: object, path: str = "admit") -> tuple[int, bytes]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        url = f"https://127.0.0.1:{self.port}/{path}"
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=30, context=self._context) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def admit(self, body: object, path: str = "admit?timeout=5s") -> dict[str, Any]:
        status, data = self.ask(body, path)
        assert status == 200, (status, data)
        found: dict[str, Any] = json.loads(data)["response"]
        return found

    def ready(self) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if "ready" in self.process.err and self.is_ready():
                return
            assert self.process.process.poll() is None, self.process.err
            time.sleep(0.05)
        raise AssertionError(self.process.err)

    def is_ready(self) -> bool:
        request = urllib.request.Request(f"https://127.0.0.1:{self.port}/readyz")
        try:
            with urllib.request.urlopen(request, timeout=5, context=self._context) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


class WebhookWorld:
    """State, trust, certificates and settings of one webhook beside a state file."""

    def __init__(self, folder: Path, registry: str, mode: str = "enforce") -> None:
        self.folder, self.registry = folder, registry
        self.state = folder / "revet.sqlite"
        self.operations = ""
        self.evidence: dict[str, object] = {}
        """Further settings of evidence."""
        self.authority = Authority()
        self.authority.write(folder)
        (folder / "ca.crt").write_bytes(self.authority.pem)
        trust = folder / "trust"
        trust.mkdir()
        for name in ("dev", "sec"):
            (trust / f"{name}.pub").write_bytes((DEMO / "keys" / f"{name}.pub").read_bytes())
        (trust / "payments.yaml").write_text(POLICY.format(name="payments-signed", mode=mode, path="payments"))
        (trust / "checkout.yaml").write_text(POLICY.format(name="checkout-signed", mode="audit", path="checkout"))
        self.apply()

    def apply(self) -> None:
        ran = revet("trust", "apply", self.folder / "trust", "--state", self.state)
        assert ran.code == 0, ran.err

    def settings(self, **admission: object) -> Path:
        """The settings file; the registry is asked in the place of registry.example.com."""
        own = {
            "address": "127.0.0.1:0",
            "certificate_file": str(self.folder / "tls.crt"),
            "key_file": str(self.folder / "tls.key"),
            "ca_file": str(self.folder / "ca.crt"),
            "spool": str(self.folder / "spool.sqlite"),
            **admission,
        }
        tree: Mapping[str, object] = {
            "state": str(self.state),
            "cluster": "prod-eu",
            "evidence": {"mirrors": {"registry.example.com": f"http://{self.registry}"}, **self.evidence},
            "serve": {"operations": self.operations},
            "admission": own,
        }
        file = self.folder / "revet.yaml"
        file.write_text(yaml.safe_dump(tree))
        return file

    @contextmanager
    def started_unready(self, **admission: object) -> Iterator[Running]:
        """Listening."""
        with Revet("serve", "admission", "--settings", str(self.settings(**admission))) as process:
            port = int(process.said(r"listening.*https://127\.0\.0\.1:(\d+)/admit"))
            yield Running(process, port, self.authority.pem)

    @contextmanager
    def started(self, **admission: object) -> Iterator[Running]:
        """Listening and ready."""
        with self.started_unready(**admission) as running:
            running.ready()
            yield running

    def decisions(self, connection: Connection | None = None) -> list[DecisionObserved]:
        """What is in the log of the state file, in its order."""
        if connection is None:
            with closing(connect(self.state, create=False)) as own:
                return self.decisions(own)
        rows = connection.execute("SELECT value FROM log WHERE topic = ? ORDER BY position", (OBSERVATIONS,))
        found = [decode(value) for (value,) in rows]
        return [event for event in found if isinstance(event, DecisionObserved)]

    def recorded(self, number: int, seconds: float = 20) -> list[DecisionObserved]:
        """The decisions, once there are so many."""
        deadline = time.monotonic() + seconds
        while len(found := self.decisions()) < number:
            assert time.monotonic() < deadline, found
            time.sleep(0.05)
        return found


# ------------------------------------------------------------------------------------------------------------- reviews


def pod(name: str, *images: str, **more: object) -> dict[str, Any]:
    containers = [{"name": f"c{n}", "image": image} for n, image in enumerate(images)]
    metadata: dict[str, Any] = {"name": name, "namespace": "pay", "uid": f"uid-{name}"}
    spec: dict[str, Any] = {"containers": containers, "serviceAccountName": "default", **more}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def review(item: object, operation: str = "CREATE", **request: object) -> dict[str, Any]:
    """As an API server writes it."""
    asked = {
        "uid": str(uuid.uuid4()),
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "namespace": "pay",
        "operation": operation,
        "userInfo": {"username": "alice", "groups": ["system:authenticated"]},
        "object": item,
        "oldObject": None,
        "dryRun": False,
        **request,
    }
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": asked}


__all__ = ["IMAGES", "SIGNED", "TAGGED", "UNSIGNED", "Authority", "Running", "WebhookWorld", "pod", "review"]
