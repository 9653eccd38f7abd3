"""The command reference is the commands' own help, every command shows an example, and every example can be typed.

`REVET_REGENERATE=1` writes docs/cli.md and the demo's output in the README instead of comparing them.
"""

import os
import shlex

import click
import pytest

from scripts.generate_cli_docs import CLI, DEMO_BEGIN, DEMO_END, EXIT_CODES, README, Entry, demo_output, entries, excerpt
from scripts.generate_cli_docs import readme as readme_with
from scripts.generate_cli_docs import reference
from streams.cli import COMMANDS, cli, common
from tests.helpers.docs import DOCUMENTS, understood, unfenced

HOW = "stale: run `python scripts/generate_cli_docs.py` (or the tests with REVET_REGENERATE=1)"
ENTRIES = {" ".join(entry.path): entry for entry in entries()}
LEAVES = {name: entry for name, entry in ENTRIES.items() if not isinstance(entry.command, click.Group)}


def regenerated(path, text) -> str:
    """The committed text; with REVET_REGENERATE=1 it is written first."""
    if os.environ.get("REVET_REGENERATE") == "1":
        path.write_text(text, encoding="utf-8")
    return path.read_text(encoding="utf-8")


# ------------------------------------------------------------------------------------------------------- generated text


def test_the_reference_is_fresh():
    text = reference()
    assert regenerated(CLI, text) == text, HOW


@pytest.mark.slow
def test_the_readme_shows_what_the_demo_prints():
    before = README.read_text(encoding="utf-8")
    text = readme_with(before, demo_output())
    assert regenerated(README, text) == text, HOW


def test_the_excerpt_holds_the_chapters_it_names_and_nothing_of_this_machine():
    text = excerpt("intro\n1. Trust\nx\n\n5. What would it do?  \nsplit   \n\n6. It is revoked\nmessage\n")
    assert text == f"{DEMO_BEGIN}\n```text\n5. What would it do?\nsplit\n\n6. It is revoked\nmessage\n```\n{DEMO_END}"


def test_the_exit_codes_of_the_page_are_the_constants():
    constants = {value for name, value in vars(common).items() if name.startswith("EXIT_")}
    assert {code for code, _ in EXIT_CODES} == constants


# ------------------------------------------------------------------------------------------------------------- commands


@pytest.mark.parametrize("name", COMMANDS)
def test_the_table_tells_what_the_command_says_of_itself(name):
    """`revet --help` imports nothing, so it repeats each command's first sentence; the two must not drift apart."""
    entry = ENTRIES[f"revet {name}"]
    assert COMMANDS[name][1].removesuffix(".") in " ".join((entry.command.help or "").split())


@pytest.mark.parametrize("name", LEAVES)
def test_the_help_shows_an_example_of_itself(name):
    assert any(f"{name} " in f"{line} " for line in LEAVES[name].examples), f"{name} --help has no example"


EXAMPLES = [(name, line) for name, entry in ENTRIES.items() for line in complete(entry.examples)] if False else []


@pytest.mark.parametrize("name", LEAVES)
def test_the_options_have_a_sentence(name):
    options = [p for p in LEAVES[name].command.params if isinstance(p, click.Option) and not p.hidden]
    assert [option.name for option in options if not option.help] == []
