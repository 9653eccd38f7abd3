"""Who may import what. The picture is in docs/architecture.md; this is what keeps it true.

    dashboards -> streams.sinks.mapping, streams.queries, alerting.text, verifier.errors, verifier.times
    streams    -> alerting -> verifier
    streams.cli alone -> dashboards

Further: each third-party client behind one door; what decides does no IO and asks no clock; siblings do not know each
other; nothing goes round in circles. All of it is read from the syntax trees: nothing is imported.
"""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = ("verifier", "alerting", "streams", "dashboards")


# ------------------------------------------------------------------------------------------------------ reading code


@dataclass(frozen=True)
class Module:
    name: str
    path: str
    """Relative to the root, with slashes."""
    tree: ast.Module


@dataclass(frozen=True)
class Import:
    target: str
    """Dotted: `verifier.models.Verdict` for `from verifier.models import Verdict`."""
    line: int
    level: int = 0


def parse(path: str, source: str) -> Module:
    name = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    return Module(name, path, ast.parse(source))


def modules() -> list[Module]:
    files = (file for top in OURS for file in sorted((ROOT / top).rglob("*.py")))
    return [parse(file.relative_to(ROOT).as_posix(), file.read_text()) for file in files]


def imports(module: Module) -> Iterator[Import]:
    """Every import wherever it stands, in functions and under TYPE_CHECKING too: a hidden dependency is one."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            yield from (Import(f"{base}.{alias.name}", node.lineno, node.level) for alias in node.names)


def within(name: str, *prefixes: str) -> bool:
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def top(name: str) -> str:
    return name.partition(".")[0]


# --------------------------------------------------------------------------------------------------------- the rules

MAY_IMPORT = {
    "verifier": ("verifier",),
    "alerting": ("alerting", "verifier"),
    "streams": ("streams", "alerting", "verifier"),
    "streams.cli": ("streams", "alerting", "verifier", "dashboards"),
    "dashboards": (
        "dashboards",
        "streams.sinks.mapping",
        "streams.queries",
        "alerting.text",
        "verifier.errors",
        "verifier.times",
    ),
}
"""The most specific row that matches a module is the one that counts."""

DOORS = {
    "faust": ("streams/engine/faust.py",),
    "mode": ("streams/engine/faust.py",),
    "aiokafka": ("streams/engine/aiokafka.py", "streams/engine/link.py"),
    "kafka": ("streams/kafka/*.py",),
    "elasticsearch": ("streams/elastic.py",),
    "elastic_transport": ("streams/elastic.py",),
    "slack_sdk": ("alerting/adapters/slackclient.py", "alerting/adapters/slacksocket.py"),
    "sqlite3": ("*/sqlite.py",),
    "aiohttp": (
        "verifier/adapters/registry.py",
        "alerting/adapters/*.py",
        "streams/collectors/keysources.py",
        "streams/collectors/listening.py",
        "streams/collectors/notifications.py",
        "streams/collectors/pressed.py",
        "streams/collectors/server.py",
        "streams/collectors/webhook.py",
        "streams/collectors/watch.py",
        "streams/collectors/apiserver.py",
        "streams/local/page.py",
        "streams/serving/operations.py",
        "streams/kibana.py",
    ),
    "prometheus_client": ("streams/serving/metrics.py",),
    "yarl": ("verifier/adapters/registry.py",),
    "tuf": ("verifier/adapters/tuf_root.py",),
    "cel_expr_python": ("verifier/content/custom.py",),
    "jsonpath": ("verifier/content/custom.py",),
    "re2": ("verifier/policy/identity.py",),
    "click": ("streams/cli/*.py",),
    "rich": ("streams/cli/*.py",),
}
"""Third-party (or IO) package -> the files that may import it. The rest of the code must not know it exists."""

PURE = (
    "verifier",
    "alerting",
    "streams.events",
    "streams.state",
    "streams.handlers",
    "streams.collectors.audit",
    "streams.collectors.admission",
    "streams.collectors.notified",
    "streams.collectors.pods",
    "streams.collectors.podwatch",
    "streams.collectors.lines",
    "streams.collectors.namespacelook",
    "streams.collectors.election",
    "streams.collectors.rbac",
    "streams.admission.judging",
    "streams.admission.configuration",
    "streams.sinks.bulk",
    "streams.sinks.documents",
    "streams.sinks.mapping",
    "streams.sinks.roles",
    "dashboards",
)
"""What decides: bytes and models in, answers out. `adapters` below these are where IO lives."""

IO_MODULES = frozenset(
    [
        *("asyncio", "concurrent", "fcntl", "fileinput", "ftplib", "getpass", "glob", "http", "mmap"),
        *("multiprocessing", "os", "pathlib", "pty", "random", "secrets", "select", "selectors", "shelve"),
        *("shutil", "signal", "smtplib", "socket", "socketserver", "sqlite3", "ssl", "subprocess"),
        *("tempfile", "threading", "time", "urllib.error", "urllib.request", "webbrowser"),
    ]
)
"""Files, sockets, processes, clocks, chance. `io` is looked at by name: its in-memory types are fine."""

IO_TYPES = frozenset({"io.BytesIO", "io.StringIO", "io.BufferedIOBase", "io.RawIOBase", "io.TextIOBase"})

SIBLINGS = (
    ("streams.collectors.audit", "streams.collectors.admission", "streams.collectors.pods"),
    ("streams.sinks.elasticsearch", "streams.sinks.sqlite"),
    ("streams.engine.faust", "streams.engine.aiokafka", "streams.engine.memory"),
    ("alerting.adapters.console", "alerting.adapters.slack", "alerting.adapters.webhook"),
)
"""Each of a row can be read, replaced or deleted without the others."""


def direction(module: Module) -> Iterator[str]:
    row = max((name for name in MAY_IMPORT if within(module.name, name)), key=len)
    for found in imports(module):
        if top(found.target) in OURS and not within(found.target, *MAY_IMPORT[row]):
            yield f"{module.path}:{found.line}: {row} must not import {found.target}"


def doors(module: Module) -> Iterator[str]:
    for found in imports(module):
        allowed = DOORS.get(top(found.target))
        if allowed is not None and not any(matches(module.path, pattern) for pattern in allowed):
            yield f"{module.path}:{found.line}: {top(found.target)} is imported only in {', '.join(allowed)}"


def matches(path: str, pattern: str) -> bool:
    """`a/*.py`: in that folder or below; `*/x.py`: any file of that name."""
    head, _, tail = pattern.rpartition("*")
    return path.startswith(head) and path.endswith(tail)


def absolute(module: Module) -> Iterator[str]:
    for found in imports(module):
        if found.level:
            yield f"{module.path}:{found.line}: relative import; write the whole name"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.path":
            yield f"{module.path}:{node.lineno}: sys.path is not ours to edit"


def is_pure(module: Module) -> bool:
    return within(module.name, *PURE) and "adapters" not in module.name.split(".")


def purity(module: Module) -> Iterator[str]:
    if not is_pure(module):
        return
    for found in imports(module):
        if within(found.target, *IO_MODULES) or (top(found.target) == "io" and found.target not in IO_TYPES | {"io"}):
            yield f"{module.path}:{found.line}: {found.target} is IO, a clock or chance; it belongs into an adapter"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and (what := reaches_out(node.func)):
            yield f"{module.path}:{node.lineno}: {what} in code that decides; pass bytes and the instant in"


def reaches_out(function: ast.expr) -> str:
    """The call, if it is one that opens a file, reads a clock or asks a person."""
    if isinstance(function, ast.Name) and function.id in {"open", "input", "print", "breakpoint"}:
        return f"{function.id}()"
    if isinstance(function, ast.Attribute):
        if function.attr in {"now", "utcnow", "today"} and "date" in ast.unparse(function.value):
            return f"{ast.unparse(function)}()"
        if ast.unparse(function) in {"time.time", "time.time_ns", "time.monotonic", "io.open"}:
            return f"{ast.unparse(function)}()"
    return ""


def siblings(module: Module) -> Iterator[str]:
    for row in SIBLINGS:
        if module.name not in row:
            continue
        others = [name for name in row if name != module.name]
        for found in imports(module):
            if within(found.target, *others):
                yield f"{module.path}:{found.line}: {module.name} and {found.target} are siblings"


def commands(module: Module) -> Iterator[str]:
    """One file per command; what two of them share stands in a file of its own (`SHARED_BY_COMMANDS`)."""
    parts = module.name.split(".")
    if parts[:2] != ["streams", "cli"] or len(parts) < 3 or parts[-1] in SHARED_BY_COMMANDS:
        return
    for found in imports(module):
        target = found.target.split(".")
        if target[:2] == ["streams", "cli"] and len(target) > 2 and target[2] not in SHARED_BY_COMMANDS:
            yield f"{module.path}:{found.line}: the commands {module.name} and {found.target} are siblings"


SHARED_BY_COMMANDS = frozenset(
    [
        *("common", "looking", "render", "sources", "manifests", "changing", "named_files", "explained"),
        *("exporting", "paging", "composing", "recordings", "trust_files", "trust_root"),
        *("trust_signing", "trustplace", "outcomes"),
    ]
)
"""Modules of streams/cli that are no command."""

RULES = (direction, doors, absolute, purity, siblings, commands)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule(rule):
    broken = [sentence for module in modules() for sentence in rule(module)]
    assert not broken, "\n".join(["", *broken])


def test_there_is_something_to_check():
    assert {top(module.name) for module in modules()} == set(OURS)


# ------------------------------------------------------------------------------------------------------------ cycles


def graph(all_modules: Iterable[Module]) -> dict[str, set[str]]:
    """Module -> the modules it imports. `from a.b import c` means module a.b.c where there is one, else a.b."""
    all_modules = list(all_modules)
    names = {module.name for module in all_modules}

    def resolve(target: str) -> str | None:
        while target and target not in names:
            target = target.rpartition(".")[0]
        return target or None

    edges: dict[str, set[str]] = {}
    for module in all_modules:
        targets = {resolve(found.target) for found in imports(module) if top(found.target) in OURS}
        edges[module.name] = {target for target in targets if target and target != module.name}
    return edges


def cycles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Groups of nodes that reach each other."""

    def reach(start: str) -> set[str]:
        seen: set[str] = set()
        todo = [*edges.get(start, ())]
        while todo:
            if (node := todo.pop()) not in seen:
                seen.add(node)
                todo += edges.get(node, ())
        return seen

    reached = {node: reach(node) for node in edges}
    groups = {frozenset(m for m in reached[n] if n in reached.get(m, ())) for n in edges if n in reached[n]}
    return sorted(sorted(group) for group in groups)


def folded(edges: dict[str, set[str]]) -> dict[str, set[str]]:
    """The same graph between sub-packages: `verifier.policy.model` counts as `verifier.policy`."""

    def fold(name: str) -> str:
        return ".".join(name.split(".")[:2])

    result: dict[str, set[str]] = {}
    for source, targets in edges.items():
        result.setdefault(fold(source), set()).update(fold(t) for t in targets if fold(t) != fold(source))
    return result


def test_no_modules_import_in_a_circle():
    found = cycles(graph(modules()))
    assert not found, "\n".join(["", *(" <-> ".join(group) for group in found)])


def test_no_two_sub_packages_import_each_other():
    edges = folded(graph(modules()))
    mutual = {tuple(sorted((a, b))) for a, targets in edges.items() for b in targets if a in edges.get(b, ())}
    assert not mutual, "\n".join(["", *(" <-> ".join(pair) for pair in sorted(mutual))])


# -------------------------------------------------------------------------------------------------- the rules do bite


@pytest.mark.parametrize(
    ("rule", "path", "source"),
    [
        (direction, "verifier/verify.py", "import alerting"),
        (direction, "verifier/verify.py", "def f():\n    from streams.events import Event"),
        (direction, "alerting/findings.py", "from streams.sinks import mapping"),
        (direction, "streams/app.py", "import dashboards.report"),
        (direction, "dashboards/kibana.py", "from streams.handlers import judge"),
        (direction, "dashboards/kibana.py", "from verifier.models import Verdict"),
        (doors, "streams/app.py", "import faust"),
        (doors, "streams/engine/memory.py", "from aiokafka import AIOKafkaConsumer"),
        (doors, "streams/queries/store.py", "import sqlite3"),
        (doors, "verifier/oci/client.py", "import aiohttp"),
        (doors, "streams/local/run.py", "import click"),
        (absolute, "verifier/policy/model.py", "from . import other"),
        (absolute, "streams/app.py", "import sys\nsys.path.insert(0, '.')"),
        (purity, "verifier/verify.py", "import os.path"),
        (purity, "verifier/verify.py", "from pathlib import Path"),
        (purity, "verifier/verify.py", "from io import open"),
        (purity, "verifier/verify.py", "x = open('f')"),
        (purity, "verifier/verify.py", "import datetime\nx = datetime.datetime.now(datetime.UTC)"),
        (purity, "alerting/incidents.py", "import time\n"),
        (purity, "streams/handlers/judge.py", "import random"),
        (siblings, "streams/collectors/audit.py", "from streams.collectors.pods import parse"),
        (commands, "streams/cli/trace.py", "from streams.cli.search import render"),
    ],
)
def test_rule_finds(rule, path, source):
    assert list(rule(parse(path, source)))


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("verifier/verify.py", "from io import BytesIO\nfrom datetime import UTC, datetime\nimport pydantic"),
        ("verifier/adapters/registry.py", "import aiohttp, os, time"),
        ("verifier/adapters/sqlite.py", "import sqlite3"),
        ("alerting/adapters/slackclient.py", "import slack_sdk\nimport aiohttp\nfrom verifier.models import Verdict"),
        ("streams/cli/common.py", "import click\nfrom rich.console import Console\nimport dashboards"),
        ("streams/cli/verify.py", "from streams.cli.common import print_table\nfrom streams.cli import common"),
        ("dashboards/kibana.py", "from streams.sinks.mapping import FIELDS\nfrom streams import queries"),
    ],
)
def test_rules_leave_alone(path, source):
    assert [sentence for rule in RULES for sentence in rule(parse(path, source))] == []


def test_circles_are_found():
    edges = graph(
        [
            parse("verifier/__init__.py", ""),
            parse("verifier/a.py", "from verifier import b"),
            parse("verifier/b.py", "def f():\n    import verifier.c"),
            parse("verifier/c.py", "from verifier.a import x"),
            parse("verifier/d.py", "from verifier import a"),
        ]
    )
    assert cycles(edges) == [["verifier.a", "verifier.b", "verifier.c"]]
