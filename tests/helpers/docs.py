"""Reading the documentation: fenced blocks, command lines, and whether a command line can be typed.

for fence in fences(path): fence.language, fence.commands
understood("revet verify --key dev.pub IMAGE")      raises click.UsageError when it cannot be typed
"""

import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click

from streams.cli import cli

ROOT = Path(__file__).parents[2]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
"""Every page of the project; the recording's own page is generated with it."""


class Fence(NamedTuple):
    file: str
    line: int
    language: str
    """`console`: everything in it is run; `sh`: shown, and every `revet` line can at least be typed."""
    text: str

    @property
    def commands(self) -> list[str]:
        return list(command_lines(self.text))


def fences(path: Path) -> Iterator[Fence]:
    text = path.read_text(encoding="utf-8")
    for found in re.finditer(r"^```(\w*)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
        line = text.count("\n", 0, found.start()) + 2
        yield Fence(path.relative_to(ROOT).as_posix(), line, found[1], found[2])


def command_lines(text: str) -> Iterator[str]:
    """What is typed: the lines behind a prompt, continued ones joined."""
    lines = iter(text.splitlines())
    for line in lines:
        if line.strip().startswith("$ "):
            typed = line.strip().removeprefix("$ ")
            while typed.endswith("\\"):
                typed = typed.removesuffix("\\") + next(lines).strip()
            yield typed


def revet_words(line: str) -> list[str] | None:
    """The words of the `revet` call in a line, behind the last pipe and settings of the environment, before a
    redirection; None when there is none.
    """
    words = shlex.split(line, comments=True)
    if "|" in words:
        words = words[len(words) - words[::-1].index("|") :]
    if ">" in words:
        words = words[: words.index(">")]
    words = [*itertools.dropwhile(re.compile(r"REVET_[A-Z_]+=").match, words)]
    return words[1:] if words[:1] == ["revet"] else None


def understood(line: str) -> None:
    """Whether a line can be typed: parsed by the command itself, not run. Files need not be there."""
    rest = revet_words(line)
    assert rest is not None, f"no call of revet: {line}"
    command: click.Command = cli
    context = click.Context(cli, info_name="revet")
    while isinstance(command, click.Group):
        assert rest, f"names no command: {line}"
        name, *rest = rest
        found = command.get_command(context, name)
        assert found is not None, f"no such command: {name}"
        command, context = found, click.Context(found, info_name=name, parent=context)
    try:
        command.make_context(command.name, list(rest), parent=context.parent)
    except click.BadParameter as error:
        if "does not exist" not in error.message:
            raise
    except click.exceptions.Exit:
        pass  # --help
