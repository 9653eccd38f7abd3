"""`revet dashboards`: what Kibana shows, written out, installed and compared."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import click
import msgspec

from alerting.text import count
from dashboards import installing
from dashboards.content import Content, files, made
from dashboards.installing import Kibana, Step
from streams.cli.common import (
    EXIT_OK,
    EXIT_VIOLATION,
    output_option,
    print_json,
    print_table,
    settings_option,
)
from streams.kibana import connect
from streams.settings import Settings
from streams.sinks.mapping import Names
from streams.sinks.roles import analyst_role
from verifier.errors import InputError

SCHEMA_INSTALL: Final = "revet.dashboards-install/v1"
SCHEMA_CHECK: Final = "revet.dashboards-check/v1"
SCHEMA_EXPORT: Final = "revet.dashboards-export/v1"

Work = Callable[[Kibana, Content], Awaitable[list[Step]]]


@click.group()
def command() -> None:
    """What Kibana shows: pages, saved searches, data views, a rule, a role. Write them out, install, compare."""


@command.command(
    "install",
    epilog="Examples:\n\n\b\n"
    "  $ REVET_KIBANA_URL=https://kibana.example.com:5601 revet dashboards install\n"
    "  $ revet dashboards install --settings /etc/revet/cluster.yaml -o json\n\n"
    "Needs Kibana 9.4 or newer. Safe to run again, and after every upgrade.",
)
@settings_option
@output_option
def install_(settings: Settings, output: str) -> int:
    """Put everything into the space `kibana.space`, and bring what is there up to date.

    Pages that were changed by hand become what this version has; copy a page to keep a change. Whether the detection
    rule is on, its actions and exceptions stay as they are. Exit code 1 when Kibana keeps a page otherwise than it was
    sent. Settings: `kibana`, `elasticsearch.namespace`.
    """
    steps = _worked(installing.install, settings)
    _print(steps, output, SCHEMA_INSTALL)
    return _code(steps)


@command.command(
    "check",
    epilog="Examples:\n\n\b\n"
    "  $ revet dashboards check\n"
    "  $ revet dashboards check -o json\n\n"
    "Exit code 1 when something is missing or differs; `revet dashboards install` mends it.",
)
@settings_option
@output_option
def check_(settings: Settings, output: str) -> int:
    """Compare what the Kibana has with what this version would install. Changes nothing."""
    steps = _worked(installing.check, settings)
    _print(steps, output, SCHEMA_CHECK)
    return _code(steps)


@command.command(
    "export",
    epilog="Examples:\n\n\b\n"
    "  $ revet dashboards export --to kibana/\n"
    "  $ REVET_ELASTICSEARCH_NAMESPACE=staging revet dashboards export --to kibana/ -o json\n\n"
    "For review, for Git, or for an installation by other means (docs/dashboards.md).",
)
@click.option(
    "--to",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    metavar="FOLDER",
    help="Where to write; made where it is not there. Files of these names are replaced, others left.",
)
@settings_option
@output_option
def export_(folder: Path, settings: Settings, output: str) -> int:
    """Write everything as the bodies that Kibana's APIs take, one file for each. Asks nobody."""
    written = files(content_of(settings))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in written.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"--to {folder}: {error.strerror or error}") from error
    if output == "json":
        print_json({"schema": SCHEMA_EXPORT, "folder": str(folder), "files": sorted(written)})
    else:
        click.echo(f"{count(len(written), 'file')} in {folder}: {', '.join(sorted(written))}")
    return EXIT_OK


def content_of(settings: Settings) -> Content:
    """What these settings install."""
    names = Names(settings.elasticsearch.namespace)
    return made(names, settings.kibana.space, analyst_role(names)["indices"])


def _worked(work: Work, settings: Settings) -> list[Step]:
    async def run() -> list[Step]:
        async with connect(settings.kibana) as kibana:
            return await work(kibana, content_of(settings))

    return asyncio.run(run())


def _code(steps: list[Step]) -> int:
    return EXIT_VIOLATION if any(step.done in installing.OPEN for step in steps) else EXIT_OK


def _print(steps: list[Step], output: str, schema: str) -> None:
    if output == "json":
        print_json({"schema": schema, "steps": msgspec.to_builtins(steps)})
        return
    told = [(step.done, step.what, step.note) for step in steps if step.done != "unchanged" or step.note]
    if told:
        print_table(("done", "what", ""), told)
    same = sum(step.done == "unchanged" for step in steps)
    click.echo(f"{count(same, 'thing')} as this version wants it, {len(steps) - same} other")
