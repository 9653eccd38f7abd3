"""Real servers for development and tests, without containers: `python -m scripts.servers COMMAND`, from the checkout.

    prepare [--if-possible]   fetch and build what is missing into the cache; nothing is started. `--full`: also an
                              Elasticsearch with more modules (API keys, roles over HTTP, scripts), 950 MB once
    up                        Kafka on 127.0.0.1:9092 and Elasticsearch on 127.0.0.1:9200, data kept from the last time;
                              where Docker with Compose answers, `docker compose up` instead (REVET_UP=jars: not)
    down                      stop what `up` started; `--wipe` throws the data away
    status                    what runs, where

Servers are kept in REVET_SERVERS (otherwise among the user's caches), data of `up` in REVET_SERVERS_DATA (otherwise
beside them).
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from scripts.servers import elasticsearch, kafka
from scripts.servers.base import Trouble, cache, locked

KAFKA_PORT, CONTROLLER_PORT, ELASTICSEARCH_PORT = 9092, 9093, 9200
KINDS = {"kafka": kafka, "elasticsearch": elasticsearch}
ROOT = Path(__file__).parents[2]
NEXT = f"""
Next, in the terminals that revet runs in:
  export REVET_KAFKA_BOOTSTRAP=127.0.0.1:{KAFKA_PORT}
  export REVET_ELASTICSEARCH_URL=http://127.0.0.1:{ELASTICSEARCH_PORT} REVET_ELASTICSEARCH_REPLICAS=0
  revet topics apply && revet index setup
  revet serve judge        and fetch, index, alert, audit, files: each in a terminal of its own

`make down` stops both and keeps the data. Neither asks who you are: they listen on this machine only."""


def data() -> Path:
    """Folder of the two servers that `up` starts."""
    return Path(os.environ.get("REVET_SERVERS_DATA") or cache() / "data").absolute()


def servers() -> tuple[kafka.Broker, elasticsearch.Node]:
    broker = kafka.Broker(data() / "kafka", KAFKA_PORT, controller_port=CONTROLLER_PORT, heap="512m", quick=False)
    return broker, elasticsearch.Node(data() / "elasticsearch", ELASTICSEARCH_PORT, heap="1g", quick=False)


def prepare(*, full: bool, if_possible: bool) -> int:
    """Fetches what is missing. A failure is an error; with `if_possible`, and outside CI, only a remark."""
    failed = False
    wanted: list[tuple[str, Callable[[], object]]] = [(name, kind.prepare) for name, kind in KINDS.items()]
    if full:
        wanted.append(("elasticsearch-full", lambda: elasticsearch.prepare(full=True)))
    for name, fetch in wanted:
        try:
            fetch()
        except Trouble as error:
            failed = True
            print(f"servers: no {name}: {error}", file=sys.stderr)
    if failed and if_possible and os.environ.get("CI") != "true":
        print("servers: tests that need what is missing will be skipped.", file=sys.stderr)
        return 0
    return int(failed)


def compose(*arguments: str) -> list[str] | None:
    """The command, where Docker and its Compose are there and answer; REVET_UP=jars says not to look."""
    if os.environ.get("REVET_UP") == "jars" or not shutil.which("docker"):
        return None
    for probe in (["docker", "compose", "version"], ["docker", "info"]):
        if subprocess.run(probe, capture_output=True, check=False).returncode != 0:
            return None
    return ["docker", "compose", *arguments]


def up() -> int:
    if command := compose("up", "--detach", "--build", "--wait"):
        print("Docker is here: the whole of docker-compose.yml (REVET_UP=jars: only the two servers, from their jars).")
        return subprocess.run(command, cwd=ROOT, check=False).returncode
    print("No Docker with Compose here: the same servers from their published jars.")
    kafka.prepare()
    elasticsearch.prepare()
    with locked(data() / ".lock"):
        for server in servers():
            state = "runs already" if server.pid is not None else "started"
            server.start()
            print(f"{server.name} {state}: {_where(server)}")
    print(NEXT)
    return 0


def down(*, wipe: bool) -> int:
    with locked(data() / ".lock"):
        for server in servers():
            print(f"{server.name} {'stopped' if server.stop() else 'was not running'}.")
            if wipe:
                shutil.rmtree(server.folder, ignore_errors=True)
    print(f"Their data is {'gone' if wipe else 'kept'}: {data()}")
    if command := compose("down", *(["--volumes"] if wipe else [])):
        return subprocess.run(command, cwd=ROOT, check=False).returncode
    return 0


def status() -> int:
    running = [server for server in servers() if server.pid is not None]
    for server in servers():
        print(f"{server.name}: {_where(server) if server in running else 'not running'}")
    for name, kind in KINDS.items():
        print(f"{name} in the cache: {kind.absent() or kind.home()}")
    return 0 if len(running) == len(servers()) else 1


def _where(server: kafka.Broker | elasticsearch.Node) -> str:
    address = server.bootstrap if isinstance(server, kafka.Broker) else server.url
    return f"{address} (process {server.pid}, data {server.folder}, log {server.log})"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.servers", description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    preparing = commands.add_parser("prepare")
    preparing.add_argument("--full", action="store_true")
    preparing.add_argument("--if-possible", action="store_true")
    commands.add_parser("up")
    commands.add_parser("down").add_argument("--wipe", action="store_true")
    commands.add_parser("status")
    chosen = parser.parse_args(arguments)
    try:
        match chosen.command:
            case "prepare":
                return prepare(full=chosen.full, if_possible=chosen.if_possible)
            case "up":
                return up()
            case "down":
                return down(wipe=chosen.wipe)
            case _:
                return status()
    except Trouble as error:
        print(f"servers: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
