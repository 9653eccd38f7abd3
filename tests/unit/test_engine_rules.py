"""Faust is used in one file, and there only in the way that loses nothing (docs/decisions/0019-faust-narrowly.md).

Read from the syntax trees; that no other file imports it is also a row of tests/unit/test_imports.py.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WRAPPER = "streams/engine/faust.py"
FORBIDDEN = frozenset(
    [
        *("take", "take_events", "take_with_timestamp", "noack_take"),  # acknowledge batches that failed
        *("group_by", "through", "filter", "echo", "combine", "join", "inner_join", "left_join", "outer_join"),
        *("Table", "GlobalTable", "SetTable", "SetGlobalTable", "tumbling", "hopping"),  # changelogs nobody awaits
        *("send", "send_soon", "cast", "ask", "forward"),  # fire and forget: `KafkaLink` alone sends
        *("timer", "crontab", "task", "page", "command"),
    ]
)
"""Methods of Faust's that lose records, or do what the engine does otherwise."""
SETTINGS = {
    "agent_supervisor": "CrashingSupervisor",
    "stream_wait_empty": "False",
    "topic_disable_leader": "True",
    "topic_allow_declare": "False",
    "web_enabled": "False",
    "consumer_auto_offset_reset": "'earliest'",
    "autodiscover": "False",
}


def wrong(path: str, source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        yield from _import(path, node) if path != WRAPPER else _use(path, node)


def _import(path: str, node: ast.AST) -> Iterator[str]:
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        for name in names:
            if name.partition(".")[0] in {"faust", "mode"}:
                yield f"{path}:{node.lineno}: {name} is imported in {WRAPPER} only"
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        for one in node.decorator_list:
            called = one.func if isinstance(one, ast.Call) else one
            if isinstance(called, ast.Attribute) and called.attr == "agent":
                yield f"{path}:{one.lineno}: an agent outside of {WRAPPER}"


def _use(path: str, node: ast.AST) -> Iterator[str]:
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return
    if node.func.attr in FORBIDDEN:
        yield f"{path}:{node.lineno}: .{node.func.attr}() of Faust loses records"
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
    if node.func.attr == "agent" and given.get("concurrency") != "1":
        yield f"{path}:{node.lineno}: an agent without concurrency=1"
    if node.func.attr == "agent" and "sink" in given:
        yield f"{path}:{node.lineno}: an agent with sinks"
    if node.func.attr == "events" and ".noack()" not in ast.unparse(node.func.value):
        yield f"{path}:{node.lineno}: a stream that acknowledges by itself"
    if node.func.attr == "App":
        for name, value in SETTINGS.items():
            if given.get(name) != value:
                yield f"{path}:{node.lineno}: faust.App without {name}={value}"


def test_faust_is_used_in_one_file_and_in_one_way():
    tops = ("verifier", "alerting", "streams", "dashboards")
    files = [file for top in tops for file in sorted((ROOT / top).rglob("*.py"))]
    found = [one for file in files for one in wrong(file.relative_to(ROOT).as_posix(), file.read_text())]
    assert not found, "\n".join(["", *found])


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("streams/app.py", "import faust"),
        ("streams/app.py", "def f():\n    from mode.supervisors import CrashingSupervisor"),
        ("streams/app.py", "@app.agent(topic)\nasync def f(stream): ..."),
        ("streams/app.py", "@app.agent\nasync def f(stream): ..."),
        (WRAPPER, "stream.take(10, within=1)"),
        (WRAPPER, "stream.noack().noack_take(10, within=1)"),
        (WRAPPER, "stream.group_by(key)"),
        (WRAPPER, "app.Table('counts')"),
        (WRAPPER, "topic.send(value=1)"),
        (WRAPPER, "app.agent(topic)(body)"),
        (WRAPPER, "app.agent(topic, concurrency=4)(body)"),
        (WRAPPER, "app.agent(topic, concurrency=1, sink=[other])(body)"),
        (WRAPPER, "stream.events()"),
        (WRAPPER, "faust.App('x', agent_supervisor=CrashingSupervisor)"),
    ],
)
def test_the_rules_bite(path, source):
    assert list(wrong(path, source))


def test_the_wrapper_is_there_and_has_an_agent_and_an_app():
    source = (ROOT / WRAPPER).read_text()
    assert "concurrency=1" in source
    assert "faust.App(" in source
    assert ".noack().events()" in source
