"""Real servers for tests: one broker and one node per test run, and private ones for tests that break them.

    def test_a(kafka_server, elastic_server): kafka_server.bootstrap; elastic_server.url      shared by all workers
    def test_b(kafka_broker): broker = kafka_broker(properties={...}); broker.kill(); broker.start()
    def test_c(elastic_node): node = elastic_node(settings={"indexing_pressure.memory.limit": "300kb"})

    with private_broker(secure=...) as broker: ...                       the same with a scope of your own
    with secure_broker("SASL_SSL") as secured: secured.broker.secure_bootstrap; secured.tls.ca; secured.users
    with secure_node() as secured: secured.node.url; secured.tls.ca; secured.users
    with secure_node(full=True) as secured: ...     with API keys, roles over HTTP, scripts; needs("elasticsearch-full")

A private server keeps its port and its data over `kill()`, `stop()` and `start()`. Servers are what scripts/servers
gives; REVET_TEST_KAFKA (host:port) and REVET_TEST_ELASTICSEARCH (URL) name running ones to share instead. Whoever
shares a server uses topic prefixes and namespaces of its own. No server outlives the test run, even a killed one.
"""

import datetime as dt
import ipaddress
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from scripts.servers import base, elasticsearch, kafka
from tests.helpers import fresh

GUARD = """\
while kill -0 "$1" 2>/dev/null && [ -d "$2" ]; do sleep 1; done
[ -d "$2" ] || exit 0
kill -9 "-$(cat "$2/server.pid")" 2>/dev/null
rm -rf "$2"
"""
"""Waits for the test run to end, however it ends, and takes the server and its folder with it."""

UNSHAKEN = {"broker.session.timeout.ms": "60000"}
"""The broker of the whole run is never killed, and has a busy machine's pauses: they must not throw it out."""

T = TypeVar("T", kafka.Broker, elasticsearch.Node)


@dataclass(frozen=True)
class KafkaServer:
    """A broker shared with other tests."""

    bootstrap: str


@dataclass(frozen=True)
class ElasticServer:
    """A node shared with other tests; nothing asks who you are."""

    url: str


# ------------------------------------------------------------------------------------------------------ shared by all


def shared_broker(run: Path) -> KafkaServer:
    """The broker of this test run; the first who asks starts it. `run` is the folder all workers of the run share."""
    given = os.environ.get("REVET_TEST_KAFKA")
    start = partial(_start_broker, heap="512m", properties=UNSHAKEN)
    server = KafkaServer(given or _shared(run / "kafka", start, lambda broker: broker.bootstrap))
    fresh.SHARED.add(server.bootstrap)
    return server


def shared_node(run: Path) -> ElasticServer:
    """The node of this test run; the first who asks starts it."""
    given = os.environ.get("REVET_TEST_ELASTICSEARCH")
    server = ElasticServer(given or _shared(run / "elasticsearch", _start_node, lambda node: node.url))
    fresh.SHARED.add(server.url)
    return server


def _shared(note: Path, start: Callable[[int], T], address: Callable[[T], str]) -> str:
    with base.locked(note.with_suffix(".lock")):
        if not note.exists():
            note.write_text(address(start(_run_process())))
        return note.read_text()


def _run_process() -> int:
    """Process id of the whole run: under pytest-xdist, the one that started the workers."""
    return os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()


def _start_broker(owner: int, **options) -> kafka.Broker:
    kafka.prepare()
    broker = kafka.Broker(_folder("kafka", owner), **options)
    broker.start()
    return broker


def _start_node(owner: int, **options) -> elasticsearch.Node:
    elasticsearch.prepare(full=options.get("full", False))
    node = elasticsearch.Node(_folder("elasticsearch", owner), **options)
    node.start()
    return node


def _folder(name: str, owner: int) -> Path:
    """Not among pytest's folders: Elasticsearch, run by the superuser, is another user, who cannot enter those."""
    folder = Path(tempfile.mkdtemp(prefix=f"revet-{name}-"))
    subprocess.Popen(
        ["/bin/sh", "-c", GUARD, "guard", str(owner), str(folder)],
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # it outlives the run: must not hold the pipe that somebody reads to its end
        stderr=subprocess.DEVNULL,
    ).returncode = 0  # nobody waits for it
    return folder


# ------------------------------------------------------------------------------------------------------------ private


@contextmanager
def private_broker(**options) -> Iterator[kafka.Broker]:
    """A broker of one's own, started; takes the options of `scripts.servers.kafka.Broker`."""
    broker = _start_broker(os.getpid(), **options)
    try:
        yield broker
    finally:
        broker.kill()
        shutil.rmtree(broker.folder, ignore_errors=True)


@contextmanager
def private_node(**options) -> Iterator[elasticsearch.Node]:
    """A node of one's own, started; takes the options of `scripts.servers.elasticsearch.Node`."""
    node = _start_node(os.getpid(), **options)
    try:
        yield node
    finally:
        node.kill()
        shutil.rmtree(node.folder, ignore_errors=True)


# ------------------------------------------------------------------------------------------------------------- secure


@dataclass(frozen=True)
class Tls:
    """PEM files: a server's certificate for 127.0.0.1, a client's, who issued them, and somebody else's issuer."""

    ca: Path
    certificate: Path
    key: Path
    client_certificate: Path
    client_key: Path
    other_ca: Path

    @property
    def keystore(self) -> Path:
        """Key and certificate in one file, as Kafka reads it."""
        path = self.key.with_name("server-store.pem")
        path.write_text(self.key.read_text() + self.certificate.read_text())
        return path


@dataclass(frozen=True)
class SecureBroker:
    """A broker that asks on its second listener; ACLs are on, the first listener may administrate."""

    broker: kafka.Broker
    tls: Tls
    users: Mapping[str, str]


@dataclass(frozen=True)
class SecureNode:
    """A node with TLS and basic authentication."""

    node: elasticsearch.Node
    tls: Tls
    users: Mapping[str, str]


@contextmanager
def secure_broker(
    protocol: str = "SASL_SSL", users: Mapping[str, str] | None = None, *, client_certificates: bool = False, **options
) -> Iterator[SecureBroker]:
    """SASL_SSL, SASL_PLAINTEXT or SSL. By default one user `revet` with the password `kafka-secret`."""
    who = {"revet": "kafka-secret"} if users is None else users
    with tempfile.TemporaryDirectory(prefix="revet-tls-") as folder:
        tls = make_tls(Path(folder))
        store = tls.keystore if protocol.endswith("SSL") else None
        trusted = tls.ca if client_certificates else None
        secure = kafka.Secure(protocol, who if protocol.startswith("SASL") else {}, store, trusted)
        with private_broker(secure=secure, **options) as broker:
            yield SecureBroker(broker, tls, who)


@contextmanager
def secure_node(
    users: Mapping[str, str] | None = None,
    *,
    user_roles: Mapping[str, tuple[str, ...]] | None = None,
    roles: Mapping[str, object] | None = None,
    **options,
) -> Iterator[SecureNode]:
    """By default one superuser `revet` with the password `elastic-secret`. The first user must be a superuser."""
    who = {"revet": "elastic-secret"} if users is None else users
    with tempfile.TemporaryDirectory(prefix="revet-tls-") as folder:
        tls = make_tls(Path(folder))
        secure = elasticsearch.Secure(tls.certificate, tls.key, who, user_roles or {}, roles or {}, tls.ca)
        with private_node(secure=secure, **options) as node:
            yield SecureNode(node, tls, who)


def make_tls(folder: Path) -> Tls:
    """Fresh keys and certificates, valid for a day."""
    ca_key, ca = _certificate("revet test authority", None)
    _, other = _certificate("somebody else", None)
    server_key, server = _certificate("127.0.0.1", (ca_key, ca))
    client_key, client = _certificate("revet", (ca_key, ca))
    contents = {
        "ca.pem": _pem(ca),
        "other-ca.pem": _pem(other),
        "server.pem": _pem(server),
        "server.key": _pem(server_key),
        "client.pem": _pem(client),
        "client.key": _pem(client_key),
    }
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    names = ("ca.pem", "server.pem", "server.key", "client.pem", "client.key", "other-ca.pem")
    return Tls(*(folder / name for name in names))


Key = ec.EllipticCurvePrivateKey


def _certificate(name: str, issuer: tuple[Key, x509.Certificate] | None) -> tuple[Key, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer_key, issuer_name = (issuer[0], issuer[1].subject) if issuer else (key, subject)
    now = dt.datetime.now(dt.UTC)
    addresses = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer_name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(addresses), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if issuer is None:  # OpenSSL 3 in its strict mode, Python's default from 3.13 on, wants an authority to say so
        usage = dict.fromkeys(
            (
                "content_commitment",
                "key_encipherment",
                "data_encipherment",
                "key_agreement",
                "encipher_only",
                "decipher_only",
            ),
            False,
        )
        builder = builder.add_extension(
            x509.KeyUsage(digital_signature=True, key_cert_sign=True, crl_sign=True, **usage), critical=True
        )
    return key, builder.sign(issuer_key, hashes.SHA256())


def _pem(what: Key | x509.Certificate) -> bytes:
    if isinstance(what, x509.Certificate):
        return what.public_bytes(Encoding.PEM)
    return what.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
