"""Every `revet` line of the CI snippets runs, in the repository that the page describes."""

import os
import re
from pathlib import Path

import pytest
import yaml

from tests.helpers.command import revet
from tests.helpers.docs import Fence, fences, revet_words

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "ci.md"
EXAMPLE = ROOT / "docs" / "examples" / "ci"
SNIPPETS = [fence for fence in fences(PAGE) if fence.language in ("yaml", "groovy")]


def lines_of(fence: Fence) -> list[str]:
    """What is typed: a list item, a `run:`, or a line of a block."""
    stripped = (re.sub(r"^(?:- )?(?:run: )?", "", line.strip()) for line in fence.text.splitlines())
    return [line for line in stripped if line.startswith("revet ")]


LINES = [(f"{fence.file}:{fence.line}", line) for fence in SNIPPETS for line in lines_of(fence)]


@pytest.fixture
def repository(monkeypatch):
    monkeypatch.chdir(EXAMPLE)
    monkeypatch.setenv("EVIDENCE", "oci-layout:../../../streams/demo_data/oci")


@pytest.mark.parametrize(("place", "line"), LINES)
def test_a_line_of_a_pipeline_passes(repository, place, line):
    words = revet_words(line)
    assert words is not None
    ran = revet(*map(os.path.expandvars, words))
    assert ran.code == 0, f"{place}: {line}\n{ran.out}\n{ran.err}"


def test_no_line_is_overlooked():
    """Whatever looks like a call of revet is one of the lines that are run."""
    called = [
        call for fence in SNIPPETS for call in re.findall(r"\brevet (?:verify|policy|survey|trust)\b", fence.text)
    ]
    assert len(LINES) == len(called) == 10


@pytest.mark.parametrize("name", ["GitHub Actions", "GitLab CI", "Jenkins", "Argo CD, before a sync"])
def test_every_system_has_a_snippet_that_verifies(name):
    _, _, after = PAGE.read_text(encoding="utf-8").partition(f"\n## {name}\n")
    assert "revet verify -f deploy/" in after.partition("\n## ")[0]


@pytest.mark.parametrize("fence", [f for f in SNIPPETS if f.language == "yaml"], ids=lambda f: str(f.line))
def test_a_snippet_is_yaml(fence):
    assert isinstance(yaml.safe_load(fence.text), dict)


def test_the_gate_does_stop_something(repository):
    """The same line with an image that nobody signed: the gate is no decoration."""
    manifest = (EXAMPLE / "deploy" / "api.yaml").read_text().replace("payments/api:1.4.2", "payments/fx-rates:1.0")
    options = ("--policy", "policies/", "--trust", "keys/", "--evidence", "oci-layout:../../../streams/demo_data/oci")
    assert revet("verify", "-f", "-", *options, stdin=manifest).code == 1


def test_every_folder_of_the_page_is_there():
    text = PAGE.read_text(encoding="utf-8")
    named = re.findall(r"^\| `([a-z-]+)/` \|", text, flags=re.MULTILINE)
    assert sorted(named) == sorted(folder.name for folder in EXAMPLE.iterdir())
