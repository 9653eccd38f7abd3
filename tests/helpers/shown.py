"""Pages that show commands with their output: every `text` block that begins with a prompt is run and compared.

    session = Session(page, run)                 run: the line as it is typed -> what is printed
    session.check()                              `REVET_REGENERATE=1` writes the outputs instead

A block may hold several commands; what follows a prompt up to the next one is what is printed. `…` on a line of its own
stands for lines that are left out.
"""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

BLOCK = re.compile(r"^```text\n(\$ .*?)^```$", re.MULTILINE | re.DOTALL)
CALL = re.compile(r"^\$ ((?:[^\n]*\\\n)*[^\n]*)\n((?:(?!\$ )[^\n]*\n)*)", re.MULTILINE)
LEFT_OUT = "…\n"


class Shown(NamedTuple):
    """One command of a page."""

    line: str
    out: str


def shown(text: str) -> Iterator[Shown]:
    for block in BLOCK.finditer(text):
        for call in CALL.finditer(block[1]):
            yield Shown(re.sub(r"\\\n\s*", "", call[1]), call[2])


def stripped(text: str) -> str:
    """Without blanks at the ends of lines, and without the empty lines around."""
    return "".join(f"{line.rstrip()}\n" for line in text.strip("\n").splitlines())


def same(expected: str, printed: str) -> bool:
    """Is that what is shown, lines that are left out apart?"""
    pattern = ".*?".join(re.escape(part) for part in expected.split(LEFT_OUT))
    return re.fullmatch(pattern, printed, re.DOTALL) is not None


def check(page: Path, run: Callable[[str], str]) -> int:
    """Run every command of a page, in order; gives how many there are."""
    text = page.read_text(encoding="utf-8")
    made = [(one, stripped(run(one.line))) for one in shown(text)]
    if os.environ.get("REVET_REGENERATE") == "1":
        page.write_text(_rewritten(text, iter(made)), encoding="utf-8")
        return len(made)
    for one, printed in made:
        assert same(stripped(one.out), printed), (
            f"{page.name}: $ {one.line}\nstale: run with REVET_REGENERATE=1; printed:\n{printed}"
        )
    return len(made)


def _rewritten(text: str, made: Iterator[tuple[Shown, str]]) -> str:
    def block(found: re.Match[str]) -> str:
        return f"```text\n{CALL.sub(call, found[1]).rstrip()}\n```"

    def call(found: re.Match[str]) -> str:
        one, printed = next(made)
        kept = one.out if LEFT_OUT in one.out and same(stripped(one.out), printed) else printed
        return f"$ {found[1]}\n{kept.rstrip()}\n\n"

    return BLOCK.sub(block, text)
