"""What both servers need: a cache, a Java, jars through Maven, and processes that outlive the one that started them.

Standard library only, so that `make up` works before anything is installed. Nothing here writes an address down: jars
come from wherever Maven is configured to find them.
"""

import contextlib
import fcntl
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

LOOPBACK = "127.0.0.1"
NOBODY = 65534
"""Elasticsearch refuses to run as the superuser; this user exists everywhere and owns nothing."""
PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"
POLL_SECONDS = 0.05
HOW_TO_PREPARE = "python -m scripts.servers prepare; needs Java and Maven"


class Trouble(Exception):
    """Something that has to be there is not, or a server did not start."""


# ------------------------------------------------------------------------------------------------------------- cache


def cache() -> Path:
    """Where prepared servers are kept: REVET_SERVERS, or a folder among the user's caches.

    For the superuser it is below /var/cache: Elasticsearch runs as another user, who cannot look into root's home.
    """
    if chosen := os.environ.get("REVET_SERVERS"):
        return Path(chosen).absolute()
    if os.geteuid() == 0:
        return Path("/var/cache/revet-servers")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "revet-servers"


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time; the lock ends with the process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def prepared(target: Path, build: Callable[[Path], None]) -> Path:
    """`target`, built beside it and moved into place at once: never half a server under the right name."""
    if target.is_dir():
        return target
    with locked(target.parent / f".{target.name}.lock"):
        if target.is_dir():  # another process built it while this one waited
            return target
        work = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        work.chmod(0o755)
        try:
            build(work)
            work.rename(target)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return target


# -------------------------------------------------------------------------------------------------------------- java


@dataclass(frozen=True)
class Java:
    """An installed Java, as its `release` file describes it."""

    home: Path
    major: int
    version: str
    modules: frozenset[str]

    def tool(self, name: str) -> Path:
        return self.home / "bin" / name


def javas() -> list[Java]:
    """What is installed, in the order of preference: named ones, then the newest."""
    named = [os.environ.get(name) for name in ("REVET_JAVA_HOME", "JAVA_HOME")]
    homes = [Path(home) for home in named if home]
    found = [java for home in homes if (java := read_java(home))]
    if on_path := shutil.which("java"):
        homes.append(Path(on_path).resolve().parent.parent)
    homes += [*Path("/usr/lib/jvm").glob("*"), *Path("/Library/Java/JavaVirtualMachines").glob("*/Contents/Home")]
    rest = {java.home: java for home in homes if (java := read_java(home))}
    return found + sorted(rest.values(), key=lambda java: (java.major, java.version), reverse=True)


def read_java(home: Path) -> Java | None:
    """Reads the `release` file, which every JDK since 9 has: no process is started."""
    home = home.resolve()
    if not os.access(home / "bin" / "java", os.X_OK) or not (home / "release").is_file():
        return None
    lines = (home / "release").read_text(errors="replace").splitlines()
    values = {key: value.strip('"') for key, _, value in (line.partition("=") for line in lines)}
    version = values.get("JAVA_VERSION", "")
    major = version.partition(".")[0].partition("-")[0]
    modules = frozenset(values.get("MODULES", "").split())
    return Java(home, int(major), version, modules) if major.isdigit() else None


def find_java(minimum: int, *modules: str) -> Java:
    """The first that is new enough and has the modules; otherwise says what was found and what to install."""
    installed = javas()
    for java in installed:
        if java.major >= minimum and java.modules.issuperset(modules):
            return java
    kind = "a full JDK (not a JRE)" if modules else "a Java"
    seen = ", ".join(f"{java.version} in {java.home}" for java in installed) or "none"
    raise Trouble(
        f"needs {kind}, {minimum} or newer; found: {seen}. Install one (Debian and Ubuntu: apt install "
        f"default-jdk-headless; where that is older than {minimum}: a Temurin or Oracle JDK), or name its folder with "
        "REVET_JAVA_HOME."
    )


def maven(java: Java, folder: Path, goal: str, **properties: str) -> None:
    """Runs one goal of Maven's dependency plugin in `folder`."""
    program = shutil.which("mvn")
    if program is None:
        raise Trouble("needs Maven (mvn on PATH) to fetch the servers' jars. Debian and Ubuntu: apt install maven")
    command = [program, "-q", "-B", f"{PLUGIN}:{goal}", *(f"-D{key}={value}" for key, value in properties.items())]
    environment = {**os.environ, "JAVA_HOME": str(java.home)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = "\n".join((done.stdout + done.stderr).splitlines()[:12])
        raise Trouble(f"Maven could not fetch {properties.get('artifact', 'the jars')}; it said:\n{said}")


# --------------------------------------------------------------------------------------------------------- processes

_CHILDREN: list[subprocess.Popen[bytes]] = []
"""Servers outlive the objects that started them; Python warns when a process object goes while its process runs."""


def free_port() -> int:
    """A port nobody listens on, below those that outgoing connections get: free again after a restart, too."""
    for _ in range(200):
        port = random.randrange(20_000, 30_000)  # noqa: S311 - spread over the range, not secret
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
    raise Trouble("no free port between 20000 and 30000 on 127.0.0.1")


@dataclass
class Server:
    """One server in its own folder and its own process group, found again through the folder by any later process."""

    folder: Path
    """Settings, data and logs; made when missing."""
    name: str
    marker: str
    """Part of the command line, by which a process id that was given to somebody else meanwhile is told apart."""
    _child: subprocess.Popen[bytes] | None = field(default=None, init=False, repr=False)

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    @property
    def _pid_file(self) -> Path:
        return self.folder / "server.pid"

    def launch(
        self,
        command: Sequence[str | Path],
        environment: Mapping[str, str],
        *,
        user: int | None = None,
        directory: Path | None = None,
    ) -> None:
        """Starts it detached: it survives the terminal, and its helpers end with it (one group)."""
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                [str(part) for part in command],
                cwd=directory or self.folder,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=user,
                group=user,
                extra_groups=None if user is None else (),
            )
        _CHILDREN.append(self._child)
        self._pid_file.write_text(str(self._child.pid))

    @property
    def pid(self) -> int | None:
        """Leader of the process group, while any of the group lives."""
        if self._child is not None and self._child.poll() is None:  # poll() reaps it: a dead one does not count
            return self._child.pid
        try:
            pid = int(self._pid_file.read_text())
            os.killpg(pid, 0)
        except (OSError, ValueError):
            return None
        return pid if self.marker in _command_line(pid) else None

    def wait_until(self, ready: Callable[[], bool], seconds: float) -> None:
        """Polls until the server answers; a server that ended, or took too long, is a Trouble with its last words."""
        deadline = time.monotonic() + seconds
        while not ready():
            if self.pid is None:
                raise Trouble(f"{self.name} ended while starting. {self.last_words()}")
            if time.monotonic() > deadline:
                self.kill()
                raise Trouble(f"{self.name} did not answer within {seconds:.0f} s. {self.last_words()}")
            time.sleep(POLL_SECONDS)

    def stop(self, seconds: float = 30) -> bool:
        """Asks it to end, insists after a while; False when it was not running."""
        return self._end(signal.SIGTERM, seconds)

    def kill(self) -> bool:
        """SIGKILL to it and its helpers, as a crash would; data stays."""
        return self._end(signal.SIGKILL, 30)

    def _end(self, how: signal.Signals, seconds: float) -> bool:
        pid = self.pid
        if pid is None:
            return False
        os.killpg(pid, how)
        deadline = time.monotonic() + seconds
        while self.pid is not None:
            if time.monotonic() > deadline:
                if how == signal.SIGKILL:
                    raise Trouble(f"{self.name} (process {pid}) does not end")
                return self._end(signal.SIGKILL, 30)
            time.sleep(POLL_SECONDS)
        self._pid_file.unlink(missing_ok=True)
        return True

    def last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join([f"Log: {self.log}", *lines[-20:]])


def _command_line(pid: int) -> str:
    proc = Path(f"/proc/{pid}/cmdline")
    if proc.parent.parent.joinpath("self").exists():
        try:
            return proc.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return ""
    done = subprocess.run(["ps", "-ww", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return done.stdout
