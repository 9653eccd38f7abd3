"""The pages about settings and metrics are what the tables in the code give, and their examples are settings.

`REVET_REGENERATE=1` writes docs/settings.md and docs/metrics.md instead of comparing them.
"""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path

import pytest

from scripts.generate_operations_docs import PAGES
from streams.serving import metrics
from streams.serving.metrics import METRICS, Metric
from streams.settings import documented, load_settings
from tests.helpers.docs import ROOT, fences

SETTINGS = ROOT / "docs" / "settings.md"
OPERATIONS = ROOT / "docs" / "operations.md"
HOW = "stale: run `python scripts/generate_operations_docs.py`, or this test with REVET_REGENERATE=1"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_page_is_fresh(page):
    text = PAGES[page]()
    if os.environ.get("REVET_REGENERATE") == "1":
        page.write_text(text, encoding="utf-8")
    assert page.read_text(encoding="utf-8") == text, HOW


def test_the_page_names_every_setting_with_its_variable():
    page = SETTINGS.read_text(encoding="utf-8")
    assert [name for name, variable, _ in documented() if f"| `{name}` | `{variable}` |" not in page] == []


def test_the_examples_of_the_page_are_settings_files(tmp_path):
    one, cluster = [fence.text for fence in fences(SETTINGS) if fence.language == "yaml"]
    (tmp_path / "one.yaml").write_text(one)
    settings = load_settings(tmp_path / "one.yaml", {}, {})
    assert settings.listen.address == "127.0.0.1:9880"
    assert settings.owners.routes().owners[0].team == "payments"
    (tmp_path / "cluster.yaml").write_text(cluster)
    settings = load_settings(tmp_path / "cluster.yaml", {}, {})
    assert settings.clustered
    assert settings.kafka.uses_tls


def test_what_the_page_says_of_settings_exists():
    """`kafka.…`, `serve.…` and the like, wherever a page names one."""
    names = {name for name, _, _ in documented()}
    sections = {name.partition(".")[0] for name in names if "." in name}
    for page in (OPERATIONS, ROOT / "docs" / "metrics.md", SETTINGS):
        named = re.findall(rf"`((?:{'|'.join(sections)})\.[a-z_]+)[`:]", page.read_text(encoding="utf-8"))
        assert sorted(set(named) - names) == [], page.name


def test_what_the_page_says_of_metrics_exists():
    names = {metric.name for metric in METRICS}
    for page in (OPERATIONS, ROOT / "docs" / "one-machine.md"):
        for name in re.findall(r"`(revet_[a-z_]+)", page.read_text(encoding="utf-8")):
            assert name in names or f"`{name}`" in (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")


def test_every_metric_of_the_table_is_counted_somewhere():
    """A row nobody counts would promise a number that never comes."""
    constants = {name for name, value in vars(metrics).items() if isinstance(value, Metric)}
    used: set[str] = set()
    for file in (ROOT / "streams").rglob("*.py"):
        if file != Path(metrics.__file__):
            tree = ast.parse(file.read_text(encoding="utf-8"))
            used |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} & constants
            used |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)} & constants
    assert sorted(constants - used - {"BUILD"}) == []
