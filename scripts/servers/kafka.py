"""A real Apache Kafka broker from its published jars: one node, no containers, ready in two to four seconds.

broker = Broker(Path("/tmp/broker"), port=9092)
broker.start()      # data of an earlier start in the same folder is kept
broker.bootstrap    # 127.0.0.1:9092
broker.stop()
"""

import hashlib
import os
import shutil
import socket
import struct
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scripts.servers.base import (
    HOW_TO_PREPARE,
    LOOPBACK,
    Java,
    Server,
    Trouble,
    cache,
    find_java,
    free_port,
    maven,
    prepared,
)

VERSION = "4.3.1"
MINIMUM_JAVA = 17
CLUSTER_ID = "MkU3OEVBNTcwNTJENDM2Qg"
"""Any 16 bytes; the same for all, since the formatted template is copied."""
QUIET = ("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",)
QUICK = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""Starts in half the time; for a server that runs for hours the JVM's own choice is better."""

POM = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>revet.dev</groupId><artifactId>kafka-broker</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
"""

SMALL = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "log.dirs": "data",
    "auto.create.topics.enable": "false",
    "offsets.topic.num.partitions": "1",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    "log.cleaner.dedupe.buffer.size": "1048577",
    # After a kill, a broker is let in again only when its old registration has expired: 9 s by default.
    "broker.session.timeout.ms": "1000",
    "broker.heartbeat.interval.ms": "250",
    "num.network.threads": "2",
    "num.io.threads": "2",
    "background.threads": "2",
}
"""One node with few threads. What one node cannot do (three replicas) is turned down, nothing else is changed."""


@dataclass(frozen=True)
class Secure:
    """A second listener that asks who is there; the first stays open for administration, as super user."""

    protocol: str
    """SASL_PLAINTEXT, SASL_SSL or SSL."""
    users: Mapping[str, str] = field(default_factory=dict)
    """Name -> password: each can log in with PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512."""
    keystore: Path | None = None
    """PEM: PKCS#8 key, then its certificate (subjectAltName IP:127.0.0.1). For the two protocols with SSL."""
    truststore: Path | None = None
    """PEM: who signs clients' certificates; clients must then show one."""
    port: int = field(default_factory=free_port)

    def properties(self) -> dict[str, str]:
        listener = f"listener.name.{self.protocol.lower()}"
        jaas = "org.apache.kafka.common.security"
        found = {
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
        }
        if self.protocol.startswith("SASL"):
            names = " ".join(f'user_{name}="{password}"' for name, password in self.users.items())
            found[f"{listener}.plain.sasl.jaas.config"] = f"{jaas}.plain.PlainLoginModule required {names};"
            for size in (256, 512):
                found[f"{listener}.scram-sha-{size}.sasl.jaas.config"] = f"{jaas}.scram.ScramLoginModule required;"
        if self.keystore:
            found |= {"ssl.keystore.type": "PEM", "ssl.keystore.location": str(self.keystore)}
        if self.truststore:
            found |= {"ssl.truststore.type": "PEM", "ssl.truststore.location": str(self.truststore)}
            found[f"{listener}.ssl.client.auth"] = "required"
        return found

    def credentials(self) -> list[str]:
        """Options of the formatter: SCRAM users exist from the first start on."""
        return [
            f"--add-scram=SCRAM-SHA-{size}=[name={name},password={password}]"
            for name, password in self.users.items()
            for size in (256, 512)
        ]


# ------------------------------------------------------------------------------------------------------- preparation


def home() -> Path:
    return cache() / f"kafka-{VERSION}"


def absent() -> str | None:
    """Why there is no broker to start, or None. Cheap: starts nothing, fetches nothing."""
    if not home().is_dir():
        return f"no Kafka {VERSION} in {cache()} ({HOW_TO_PREPARE})"
    try:
        find_java(MINIMUM_JAVA)
    except Trouble as error:
        return str(error)
    return None


def prepare() -> Path:
    """The jars, a formatted template, and for this Java an archive of loaded classes; all of it kept in the cache."""
    java = find_java(MINIMUM_JAVA)
    folder = prepared(home(), lambda work: _fetch(work, java))
    prepared(_archive(java).parent, lambda work: _record_classes(work, java))
    return folder


def _fetch(work: Path, java: Java) -> None:
    (work / "pom.xml").write_text(POM)
    maven(java, work, "copy-dependencies", includeScope="runtime", outputDirectory=str(work / "jars"))
    template = work / "template"
    template.mkdir()
    _write_properties(template, _properties(1, 2, None, SMALL))
    _format(java, work / "jars", template, [])


def _archive(java: Java) -> Path:
    """Per Java and set of jars: an archive made by another is ignored by the JVM."""
    name = hashlib.sha256(f"{java.home} {java.version} {home()}".encode()).hexdigest()[:12]
    return cache() / f"kafka-{VERSION}-classes-{name}" / "kafka.jsa"


def _record_classes(work: Path, java: Java) -> None:
    """Runs a broker once; at its end the JVM writes down which classes it loaded. Halves every later start."""
    broker = Broker(work / "broker", options=(f"-XX:ArchiveClassesAtExit={work / 'kafka.jsa'}",))
    broker.start(120)
    broker.stop(120)
    shutil.rmtree(broker.folder)
    if not (work / "kafka.jsa").is_file():
        raise Trouble(f"{java.home} wrote no class archive")


def _format(java: Java, jars: Path, folder: Path, options: list[str]) -> None:
    formatter = f"{jars}/*", "kafka.tools.StorageTool", "format"
    command = [str(java.tool("java")), "-Xmx64m", *QUICK, *QUIET, "-cp", *formatter]
    command += ["-g", "-t", CLUSTER_ID, "-c", "server.properties", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Trouble(f"Kafka could not format {folder}: {done.stdout}{done.stderr}")


# ------------------------------------------------------------------------------------------------------------ broker


def _properties(port: int, controller: int, secure: Secure | None, extra: Mapping[str, str]) -> dict[str, str]:
    listeners = {"PLAINTEXT": port}
    if secure:
        listeners[secure.protocol] = secure.port
    shown = ",".join(f"{name}://{LOOPBACK}:{number}" for name, number in listeners.items())
    return {
        "controller.quorum.voters": f"1@{LOOPBACK}:{controller}",
        "listeners": f"{shown},CONTROLLER://{LOOPBACK}:{controller}",
        "advertised.listeners": shown,
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "listener.security.protocol.map": ",".join(f"{name}:{name}" for name in listeners) + ",CONTROLLER:PLAINTEXT",
        **(secure.properties() if secure else {}),
        **extra,
    }


def _write_properties(folder: Path, properties: Mapping[str, str]) -> None:
    path = folder / "server.properties"
    path.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
    path.chmod(0o600)  # may hold passwords


class Broker(Server):
    """One KRaft node on loopback."""

    def __init__(
        self,
        folder: Path,
        port: int | None = None,
        *,
        controller_port: int | None = None,
        heap: str = "256m",
        secure: Secure | None = None,
        properties: Mapping[str, str] | None = None,
        defaults: Mapping[str, str] = SMALL,
        options: tuple[str, ...] = (),
        quick: bool = True,
    ) -> None:
        """Nothing runs yet. `properties` are Kafka's own, over `defaults`; `options` go to the JVM.

        `quick` starts sooner and computes slower: for tests, not for benchmarks and long runs.
        """
        folder = folder.absolute()
        super().__init__(folder, "Kafka", f"-Drevet.folder={folder}")
        self.port = port or free_port()
        self.controller_port = controller_port or free_port()
        self.heap = heap
        self.secure = secure
        self.properties = {**defaults, **(properties or {})}
        self.options = (*options, *(QUICK if quick else ()))

    @property
    def bootstrap(self) -> str:
        """Address of the open listener."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def secure_bootstrap(self) -> str:
        """Address of the listener that asks who is there."""
        if self.secure is None:
            raise Trouble("this broker has no second listener")
        return f"{LOOPBACK}:{self.secure.port}"

    def start(self, seconds: float = 60) -> None:
        """Returns when it answers requests; does nothing when it runs already."""
        if self.pid is not None:
            return
        if answers(self.port):
            raise Trouble(f"{self.bootstrap} is taken by another broker. Stop it, or choose another port.")
        java = find_java(MINIMUM_JAVA)
        self.folder.mkdir(parents=True, exist_ok=True)
        _write_properties(self.folder, _properties(self.port, self.controller_port, self.secure, self.properties))
        if not home().is_dir():
            raise Trouble(f"{absent()}")
        jars = home() / "jars"
        self._format_once(java, jars)
        archive = _archive(java)
        shared = [f"-XX:SharedArchiveFile={archive}"] if archive.is_file() else []
        memory = [f"-Xms{self.heap}", f"-Xmx{self.heap}"]
        command = [java.tool("java"), *memory, *QUIET, *shared, *self.options, self.marker, "-cp", f"{jars}/*"]
        self.launch([*command, "kafka.Kafka", "server.properties"], os.environ)
        self.wait_until(lambda: answers(self.port), seconds)

    def _format_once(self, java: Java, jars: Path) -> None:
        """A copy of the formatted template is as good as formatting, and a second faster; users need the real thing."""
        data = self.folder / "data"
        if (data / "meta.properties").exists():
            return
        if self.secure and self.secure.users:
            _format(java, jars, self.folder, self.secure.credentials())
        else:
            shutil.copytree(home() / "template" / "data", data, dirs_exist_ok=True)


def answers(port: int, seconds: float = 0.5) -> bool:
    """Does a broker answer ApiVersions there? The whole request and the head of the answer, without a client."""
    request = struct.pack(">hhih", 18, 0, 7, -1)  # ApiVersions, version 0, correlation 7, no client id
    try:
        with socket.create_connection((LOOPBACK, port), seconds) as connection:
            connection.settimeout(seconds)
            connection.sendall(struct.pack(">i", len(request)) + request)
            return struct.unpack(">iih", connection.recv(10))[1:] == (7, 0)
    except (OSError, struct.error):
        return False
