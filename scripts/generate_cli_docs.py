"""Write docs/cli.md from the commands' own help, and the demo's output into README.md. `--check`: say what is stale.

Tests compare both with what is committed; tests/unit/test_docs_cli.py writes them too, with REVET_REGENERATE=1.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import click  # noqa: E402 the checkout must be importable first

from streams.cli import cli  # noqa: E402 the same

CLI: Final = ROOT / "docs" / "cli.md"
README: Final = ROOT / "README.md"
WIDTH: Final = 100
"""Columns of help and of the demo's tables on the page."""
SHOWN: Final = (5, 6, 7, 8)
"""Chapters of the demo that the README shows; all nine are on the terminal."""
DEMO_BEGIN: Final = "<!-- what `revet demo` prints: scripts/generate_cli_docs.py -->"
DEMO_END: Final = "<!-- end of the demo's output -->"

EXIT_CODES: Final = (
    (0, "fine"),
    (1, "a violation (beats 3)"),
    (2, "wrong usage, or a document that cannot be used"),
    (3, "could not tell, or no policy governs and `--allow-ungoverned` was not given"),
    (4, "something that is needed (state file, registry, running service) failed"),
    (70, "an internal error: please report it"),
)
"""What every command ends with, unless its own help says otherwise."""


# ----------------------------------------------------------------------------------------------------------- commands


class Entry(NamedTuple):
    """One command with its place in the tree."""

    path: tuple[str, ...]
    command: click.Command
    context: click.Context

    @property
    def help(self) -> str:
        """What `--help` prints, at the width of the page."""
        return self.command.get_help(self.context)


def entries(command: click.Command = cli, parent: click.Context | None = None, name: str = "revet") -> Iterator[Entry]:
    """The command and everything below it, in the order of the help."""
    settings = {**command.context_settings, "terminal_width": WIDTH, "max_content_width": WIDTH}
    context = command.context_class(command, parent=parent, info_name=name, **settings)
    path = tuple(context.command_path.split())
    yield Entry(path, command, context)
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            if (found := command.get_command(context, below)) is not None and not found.hidden:
                yield from entries(found, context, below)


def reference() -> str:
    """The page of all commands."""
    found = list(entries())
    leaves = [entry for entry in found if not isinstance(entry.command, click.Group)]
    lines = [
        "# Commands",
        "",
        "<!-- generated from the commands' own help: `python scripts/generate_cli_docs.py` -->",
        "",
        "Every command takes `--help` and shows an example. `--output json` is for programs, and names its",
        "schema. Times are RFC 3339 (`2026-11-21T13:00:00Z`), dates, or ages (`90s`, `2h`, `3d`).",
        "",
        "| exit code | meaning |",
        "|---|---|",
        *(f"| {code} | {meaning} |" for code, meaning in EXIT_CODES),
        "",
        "| command | |",
        "|---|---|",
        *(f"| [{' '.join(e.path)}](#{_anchor(e)}) | {e.command.get_short_help_str(limit=200)} |" for e in leaves),
        "",
    ]
    for entry in found[1:]:
        lines += [f"{'##' if len(entry.path) == 2 else '###'} {' '.join(entry.path)}", "", *_body(entry), ""]
    return "\n".join(lines)


def _anchor(entry: Entry) -> str:
    return "-".join(entry.path)


def _body(entry: Entry) -> list[str]:
    if isinstance(entry.command, click.Group):
        return [entry.command.get_short_help_str(limit=200)]
    return ["```text", *(line.rstrip() for line in entry.help.splitlines()), "```"]


# --------------------------------------------------------------------------------------------------------------- demo


def demo_output() -> str:
    """What `revet demo` prints into a pipe, with the one thing that differs from machine to machine made the same."""
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "demo.sqlite"
        done = subprocess.run(
            [sys.executable, "-c", "from streams.cli import main; main()", "demo", "--state", str(state)],
            cwd=ROOT,
            env={**os.environ, "COLUMNS": str(WIDTH), "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
    return done.stdout.replace(str(state), "demo.sqlite")


def excerpt(output: str) -> str:
    """The chapters of SHOWN, between markers; the message's list of workloads is left out."""
    chapters = re.split(r"\n(?=\d\. )", output)
    shown = [text.strip() for text in chapters if text[:1].isdigit() and int(text[0]) in SHOWN]
    body = "\n".join(line.rstrip() for text in shown for line in (*text.splitlines(), ""))
    body = re.sub(r"(?m)^    cluster  namespace.*\n(?:.+\n)+", "    …\n", body)
    return f"{DEMO_BEGIN}\n```text\n{body.rstrip()}\n```\n{DEMO_END}"


def readme(text: str, output: str) -> str:
    """The README with this output in it.

    Raises:
        ValueError: the markers are not there.
    """
    before, begin, rest = text.partition(DEMO_BEGIN)
    _, end, after = rest.partition(DEMO_END)
    if not begin or not end:
        raise ValueError(f"README.md has no {DEMO_BEGIN} … {DEMO_END}")
    return before + excerpt(output) + after


def main(arguments: list[str]) -> int:
    pages = {CLI: reference(), README: readme(README.read_text(encoding="utf-8"), demo_output())}
    stale = [path for path, text in pages.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        print(f"{'stale' if '--check' in arguments else 'wrote'}: {path.relative_to(ROOT)}")
        if "--check" not in arguments:
            path.write_text(pages[path], encoding="utf-8")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
