"""docker-compose.yml without Docker: each service of ours as the process that it describes, in the order it describes.

    project = load(compose_check, env_file=ROOT / "demo.env")
    with Running(project, tmp_path, {"kafka:9092": bootstrap, "elasticsearch:9200": host}) as running:
        running.up()                                    starts each service when its conditions are met
        running.state["judge"]                          "healthy", or "exited 0" for a job
        running.run("cli", "trace", "...")              docker compose run --rm cli trace ...
        running.stop("judge")                           SIGTERM; its exit code, within the grace period

What differs from a container: names of servers, ports and places of volumes are replaced by those of the test.
Command, environment, health check, order and grace period are the file's own. Servers count as healthy from the start.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

from scripts.servers.base import free_port

ROOT: Final = Path(__file__).parents[2]
IMAGE: Final = "revet:local"
POLL_SECONDS: Final = 0.3

Project = Mapping[str, Any]  # Any: as the Compose library writes it


def load(compose_check: Path, *, env_file: Path | None = None, profiles: str = "") -> Project:
    """The project as Docker Compose would load it. Raises AssertionError with the library's own words."""
    options = ["--env-file", str(env_file)] if env_file else []
    options += ["--profile", profiles] if profiles else []
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}  # nobody's settings
    done = subprocess.run(
        [compose_check, *options, ROOT / "docker-compose.yml"],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    project: Project = json.loads(done.stdout)
    return project


def seconds(text: str) -> float:
    """`1m30s` as Compose writes durations."""
    units = {"h": 3600, "m": 60, "s": 1, "ms": 0.001}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([\d.]+)(ms|h|m|s)", text))


class Running:
    """The services of a project as processes."""

    def __init__(self, project: Project, folder: Path, servers: Mapping[str, str], **extra: str) -> None:
        self.services: Mapping[str, Any] = project["services"]
        self.folder = folder
        self.servers = servers
        """NAME:PORT in the file -> HOST:PORT that is there."""
        self.extra = extra
        self.state: dict[str, str] = {}
        self.started: list[str] = []
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._ports: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait(30)

    # ------------------------------------------------------------------ what a service is

    def command(self, name: str, arguments: Sequence[str] | None = None) -> list[str]:
        """Program and arguments; `arguments` in the place of its own, as with `docker compose run`."""
        service = self.services[name]
        entry = service.get("entrypoint") or ["revet"]
        own = arguments if arguments is not None else service.get("command") or []
        return [self._placed(name, part) for part in (*entry, *own)]

    def environment(self, name: str) -> dict[str, str]:
        """As in the container, apart from places and addresses; a value of null is a variable that is not there."""
        given = {key: str(value) for key, value in self.services[name]["environment"].items() if value is not None}
        own = {key: self._placed(name, value) for key, value in given.items()}
        programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        operations = {"REVET_SERVE_OPERATIONS": f"127.0.0.1:{self.port(name, 9890)}"}
        return {"PATH": programs, "HOME": str(self.folder), "PYTHONPATH": str(ROOT), **operations, **own, **self.extra}

    def port(self, name: str, inside: int) -> int:
        """What the test listens on in the place of a service's port."""
        return self._ports.setdefault(f"{name}:{inside}", free_port())

    def _placed(self, name: str, text: str) -> str:
        """`text` with the test's folders, addresses and ports in the place of the container's."""
        root = self._root(name)
        mounted = "|".join({volume["target"].split("/")[1] for volume in self.services[name].get("volumes", ())})
        if mounted:
            text = re.sub(rf"(?<![\w./:-])/(?=(?:{mounted})\b)|(?<=:)/(?=(?:{mounted})\b)", f"{root}/", text)
        for address, real in self.servers.items():
            text = text.replace(address, real)
        text = re.sub(r"\b0\.0\.0\.0:(\d+)", lambda found: f"127.0.0.1:{self.port(name, int(found[1]))}", text)
        return text.replace("127.0.0.1:9890", f"127.0.0.1:{self.port(name, 9890)}")

    def _root(self, name: str) -> Path:
        """A folder with the service's volumes where its container has them; named ones are shared between services."""
        root = self.folder / "roots" / name
        for volume in self.services[name].get("volumes", ()):
            place = root / volume["target"].lstrip("/")
            if place.exists():
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            source = Path(volume["source"])
            if volume["type"] == "volume":
                source = self.folder / "volumes" / volume["source"]
                source.mkdir(parents=True, exist_ok=True)
            place.symlink_to(source)
        return root

    # ------------------------------------------------------------------ running

    def up(self, apart: Sequence[str] = (), limit: float = 300) -> None:
        """Starts every service once what it depends on is as it says; returns when all are as they should be."""
        deadline = time.monotonic() + limit
        services = {name: service for name, service in self.services.items() if name not in apart}
        while any(not self._done(name) for name in services):
            assert time.monotonic() < deadline, self.told()
            for name, service in services.items():
                if name not in self.state and all(
                    self._met(on, how["condition"]) for on, how in (service.get("depends_on") or {}).items()
                ):
                    self._start(name)
                self._look(name)
            time.sleep(POLL_SECONDS)

    def _done(self, name: str) -> bool:
        return self.state.get(name) in {"healthy", "exited 0"}

    def _met(self, name: str, condition: str) -> bool:
        expected = {"service_healthy": "healthy", "service_completed_successfully": "exited 0"}
        return self.state.get(name) == expected[condition]

    def _start(self, name: str) -> None:
        self.started.append(name)
        service = self.services[name]
        if service.get("image") != IMAGE:  # a server: the test has it already
            self.state[name] = "healthy"
            return
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                self.command(name), env=self.environment(name), cwd=self.folder, stdout=log, stderr=log
            )
        self.state[name] = "starting"

    def _look(self, name: str) -> None:
        process = self._processes.get(name)
        if process is None:
            return
        ended = process.poll()
        if ended is not None:
            self.state[name] = f"exited {ended}"
            assert ended == 0, self.told()
        elif self.state[name] == "starting" and "healthcheck" in self.services[name]:
            self.state[name] = "healthy" if self.healthy(name) else "starting"

    def healthy(self, name: str) -> bool:
        """What the service's health check says now."""
        check = self.services[name]["healthcheck"]
        kind, *command = (self._placed(name, part) for part in check["test"])
        assert kind == "CMD", f"{name}: a health check that needs a shell"
        limit = seconds(check["timeout"]) * 4  # containers have their processors to themselves
        done = subprocess.run(
            command, env=self.environment(name), cwd=self.folder, capture_output=True, timeout=limit, check=False
        )
        return done.returncode == 0

    def run(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """As `docker compose run --rm NAME ARGUMENTS`."""
        return subprocess.run(
            self.command(name, arguments), env=self.environment(name), cwd=self.folder, capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip

    def stop(self, name: str) -> int:
        """As `docker compose stop NAME`: SIGTERM, and no longer than the grace period."""
        process = self._processes[name]
        process.send_signal(signal.SIGTERM)
        return process.wait(seconds(self.services[name]["stop_grace_period"]))

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def told(self) -> str:
        """State of every service, and the last lines of those that are not well."""
        lines = [f"{name}: {self.state.get(name, 'waits')}" for name in self.services]
        for name in self._processes:
            if not self._done(name):
                lines += [f"--- {name}", *self.log(name).splitlines()[-15:]]
        return "\n".join(lines)
