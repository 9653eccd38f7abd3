"""The command reference is the commands' own help, every command shows an example, and every example can be typed.

`REVET_REGENERATE=1` writes docs/cli.md and the demo's output in the README instead of comparing them.
"""

import os

import click
import pytest

from scripts.generate_cli_docs import (
    CLI,
    DEMO_BEGIN,
    DEMO_END,
    EXIT_CODES,
    README,
    demo_output,
    entries,
    excerpt,
    reference,
)
from scripts.generate_cli_docs import readme as readme_with
from streams.cli import COMMANDS, cli, common
from tests.helpers.docs import command_lines, understood

HOW = "stale: run `python scripts/generate_cli_docs.py`, or this test with REVET_REGENERATE=1"
ENTRIES = {" ".join(entry.path): entry for entry in entries()}
LEAVES = {name: entry for name, entry in ENTRIES.items() if not isinstance(entry.command, click.Group)}


def committed(path, text) -> str:
    """The text in the checkout; with REVET_REGENERATE=1 it is written first."""
    if os.environ.get("REVET_REGENERATE") == "1":
        path.write_text(text, encoding="utf-8")
    return path.read_text(encoding="utf-8") if path.exists() else ""


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_the_help_of_each_says_first(name):
    """The list is written apart, so that `revet --help` need not import every command."""
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    first, _, _ = (command.help or "").partition("\n\n")
    assert COMMANDS[name][1] == " ".join(first.split())


# ------------------------------------------------------------------------------------------------------- generated text


def test_the_reference_is_fresh():
    text = reference()
    assert committed(CLI, text) == text, HOW


@pytest.mark.slow
def test_the_readme_shows_what_the_demo_prints():
    text = readme_with(README.read_text(encoding="utf-8"), demo_output())
    assert committed(README, text) == text, HOW


def test_the_excerpt_holds_the_chapters_it_names():
    text = excerpt("intro\n1. Trust\nx\n\n5. What would it do?  \nsplit   \n\n6. It is revoked\nmessage\n")
    assert text == f"{DEMO_BEGIN}\n```text\n5. What would it do?\nsplit\n\n6. It is revoked\nmessage\n```\n{DEMO_END}"


def test_the_excerpt_leaves_out_the_list_of_workloads_and_nothing_else():
    text = excerpt("6. It is revoked\n  as of now\n\n    cluster  namespace\n    a        b\n\n  harmless?\n")
    assert text.splitlines()[2:-2] == ["6. It is revoked", "  as of now", "", "    …", "", "  harmless?"]


def test_a_readme_without_the_markers_is_an_error():
    with pytest.raises(ValueError, match="has no <!-- what"):
        readme_with("# revet\n", "5. x\n")


def test_the_exit_codes_of_the_page_are_the_constants():
    constants = {value for name, value in vars(common).items() if name.startswith("EXIT_")}
    assert {code for code, _ in EXIT_CODES} == constants


# ------------------------------------------------------------------------------------------------------------- commands


@pytest.mark.parametrize("name", LEAVES)
def test_the_help_shows_an_example_of_itself(name):
    shown = list(command_lines(LEAVES[name].help))
    assert any(name in line for line in shown), f"{name} --help shows no `$ {name} …`"


@pytest.mark.parametrize(
    ("name", "line"), [(name, line) for name, entry in LEAVES.items() for line in command_lines(entry.help)]
)
def test_the_example_can_be_typed(name, line):
    """Through the real parser, without running it: unknown options, missing arguments and wrong values fail."""
    understood(line)


@pytest.mark.parametrize("name", LEAVES)
def test_every_option_says_what_it_does(name):
    options = [p for p in LEAVES[name].command.params if isinstance(p, click.Option) and not p.hidden]
    assert [option.name for option in options if not option.help] == []
