"""What decides opens no file and no socket, starts nothing, and reads no clock: watched while it runs, and read in
the code.

tests/unit/test_imports.py keeps modules of IO out of `verifier`; here is what is left: calls by other names, and the
run itself.
"""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.watched import DEEDS

ROOT = Path(__file__).parents[2]


def watched(*deeds: str) -> dict:
    command = [sys.executable, "-m", "tests.fuzz.watched", *deeds]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_all_formats_become_facts_and_verdicts_without_touching_the_world():
    report = watched()
    assert report["seen"] == {}
    assert report["same"]
    assert report["facts"] >= 19
    assert report["outcomes"] == ["valid"], "what was watched is the whole way, not an early refusal"


def test_the_watch_sees_every_deed():
    seen = "\n".join(watched(*DEEDS)["seen"])
    for trace in (
        *("audit open", "audit os.listdir", "audit socket.__new__", "audit import ('this_module_does_not_exist'"),
        *("call time.time", "call time.monotonic", ".now", ".random", "call posix.urandom"),
    ):
        assert trace in seen, trace


# --------------------------------------------------------------------------------------------------------- in the code

IO_ATTRIBUTES = frozenset(
    {
        *("read_text", "read_bytes", "write_text", "write_bytes", "urlopen", "getenv", "environ", "urandom", "system"),
        *("now", "utcnow", "today", "monotonic", "perf_counter", "time_ns", "process_time", "randbytes", "token_bytes"),
        *("uuid1", "uuid4", "import_module", "setitimer", "fromtimestamp"),
    }
)
"""Whatever they are called on: none of them is in code that decides."""

IO_NAMES = frozenset({"open", "input", "print", "exec", "eval", "compile", "__import__", "breakpoint"})

MORE_IO_MODULES = frozenset(
    {
        *("uuid", "logging", "importlib", "ctypes", "atexit", "gc", "tracemalloc", "resource", "platform"),
        *("locale", "pickle", "marshal", "runpy", "code", "zipfile", "tarfile", "csv", "configparser", "netrc"),
        *("http", "urllib.request", "xmlrpc", "asyncore", "queue", "sched", "zoneinfo", "calendar", "tempfile"),
    }
)
"""Beside those that tests/unit/test_imports.py names: they reach files, the environment, other code, or the zone of
the machine."""


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted((ROOT / "verifier").rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith("verifier/adapters/"):
            yield name, ast.parse(path.read_text())


def reaching(name: str, tree: ast.Module) -> Iterator[str]:
    """Everything in one module that could reach out."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            targets = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            for target in targets:
                if any(target == module or target.startswith(f"{module}.") for module in MORE_IO_MODULES):
                    yield f"{name}:{node.lineno}: imports {target}"
        elif isinstance(node, ast.Attribute) and node.attr in IO_ATTRIBUTES and is_foreign(node):
            yield f"{name}:{node.lineno}: {ast.unparse(node)}"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in IO_NAMES:
            yield f"{name}:{node.lineno}: {node.func.id}()"


def is_foreign(node: ast.Attribute) -> bool:
    """Members of our own that have such a name (`setup.now`, `self.now`: instants that were given) are none."""
    return not (
        node.attr in {"now", "today"} and ast.unparse(node.value) in {"self", "setup", "self._setup", "context"}
    )


def test_nothing_in_verifier_reaches_out():
    found = [line for name, tree in modules() for line in reaching(name, tree)]
    assert found == []


def test_there_is_something_to_read():
    assert len(list(modules())) > 80


@pytest.mark.parametrize(
    "source",
    [
        "import uuid",
        "from importlib import resources",
        "import zoneinfo",
        "x = clock.monotonic()",
        "x = datetime.now(UTC)",
        "x = date.today()",
        "x = Path('f').read_text()",
        "x = os.environ['HOME']",
        "x = open('f')",
        "x = eval('1')",
        "x = __import__('os')",
        "x = uuid4.uuid4()",
        "x = datetime.fromtimestamp(0)",
    ],
)
def test_the_reading_finds(source):
    assert list(reaching("verifier/x.py", ast.parse(source)))


@pytest.mark.parametrize("source", ["x = setup.now", "import datetime", "x = re.compile('a')", "x = fact.time"])
def test_the_reading_leaves_alone(source):
    assert list(reaching("verifier/x.py", ast.parse(source))) == []
