"""`revet index`: the record's templates, indices and roles in Elasticsearch."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Final

import click
import msgspec

from alerting.text import count
from streams.cli.common import (
    EXIT_OK,
    EXIT_VIOLATION,
    INSTANT,
    output_option,
    print_json,
    print_table,
    say,
    settings_option,
)
from streams.elastic import Server, connect
from streams.serving.reconcile import Reconciled, reconcile
from streams.settings import Settings
from streams.sinks.fields import CURRENT
from streams.sinks.mapping import Names
from streams.sinks.probe import Probe
from streams.sinks.reindex import Moved, Progress, reindex
from streams.sinks.setup import Checked, Report, check, setup

SCHEMA_SETUP: Final = "revet.index-setup/v1"
SCHEMA_CHECK: Final = "revet.index-check/v1"
SCHEMA_RECONCILE: Final = "revet.index-reconcile/v1"
SCHEMA_REINDEX: Final = "revet.index-reindex/v1"
TELL_EVERY: Final = 5.0
"""Seconds between two lines of progress."""

Teams = dict[str, tuple[str, ...]]


class _Team(click.ParamType):
    """`NAME=NAMESPACE,…`."""

    name = "name=namespaces"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, tuple[str, ...]]:
        """Parse; the name becomes a part of the role's."""
        name, _, rest = str(value).partition("=")
        namespaces = tuple(part.strip() for part in rest.split(",") if part.strip())
        if not namespaces or not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
            self.fail(f"{value!r} is not NAME=NAMESPACE,…; example: payments=pay,pay-staging", param, ctx)
        return name, namespaces


def _team_option(function: Callable[..., int]) -> Callable[..., int]:
    return click.option(
        "--team",
        "teams",
        type=_Team(),
        multiple=True,
        metavar="NAME=NAMESPACE,…",
        help="Also a role for analysts who see these Kubernetes namespaces only. Repeatable.",
    )(function)


@click.group()
def command() -> None:
    """The record in Elasticsearch: set it up, check it, move it to a changed mapping."""


@command.command(
    "setup",
    epilog="Examples:\n\n\b\n"
    "  $ revet index setup --profile prod\n"
    "  $ revet index setup --team payments=pay,pay-staging -o json\n\n"
    "Running processes go on meanwhile. Safe to run again, and after every upgrade.",
)
@_team_option
@settings_option
@output_option
def setup_(settings: Settings, teams: tuple[tuple[str, tuple[str, ...]], ...], output: str) -> int:
    """Install templates, state indices, aliases and roles; bring what exists up to date."""
    with _connected(settings) as server:
        report = setup(server, settings.elasticsearch, teams=dict(teams), tell=_teller(output))
    if output == "json":
        print_json({"schema": SCHEMA_SETUP, **_builtins(report)})
    else:
        _print_setup(report)
    return EXIT_OK


@command.command(
    "check",
    epilog="Examples:\n\n\b\n"
    "  $ revet index check\n"
    "  $ revet index check -o json\n\n"
    "Exit code 1 when something differs; the last column is the command that mends it.",
)
@_team_option
@settings_option
@output_option
def check_(settings: Settings, teams: tuple[tuple[str, tuple[str, ...]], ...], output: str) -> int:
    """Compare what is installed, and every live index, with what this version wants. Changes nothing."""
    with _connected(settings) as server:
        found = check(server, settings.elasticsearch, teams=dict(teams))
    if output == "json":
        print_json({"schema": SCHEMA_CHECK, **_builtins(found)})
    else:
        _print_check(found)
    return EXIT_VIOLATION if found.drift else EXIT_OK


@command.command(
    "reindex",
    epilog="Examples:\n\n\b\n"
    "  $ revet index reindex containers\n"
    "  $ revet index reindex findings incidents --drop-old\n\n"
    "Writers and readers go on. Interrupted, it is started again with the same words.",
)
@click.argument("states", nargs=-1, required=True, type=click.Choice(tuple(CURRENT)), metavar="STATE...")
@click.option("--drop-old", is_flag=True, help="Delete the old index when everything is copied.")
@settings_option
@output_option
def reindex_(settings: Settings, states: tuple[str, ...], drop_old: bool, output: str) -> int:
    """Move a STATE index to a new one with today's mapping: containers, findings, incidents and so on."""
    names = Names(settings.elasticsearch.namespace)
    moved: list[Moved] = []
    with _connected(settings) as server:
        for state in dict.fromkeys(states):
            done = reindex(server, names, state, drop_old=drop_old, tell=_progress(state))
            moved.append(done)
            if output == "table":
                _print_moved(done)
    if output == "json":
        print_json({"schema": SCHEMA_REINDEX, "moved": msgspec.to_builtins(moved)})
    return EXIT_OK


@command.command(
    "reconcile",
    epilog="Examples:\n\n\b\n"
    "  $ revet index reconcile --since 2h --check\n"
    "  $ revet index reconcile --since 2026-11-21T10:00:00Z --until 2026-11-21T12:00:00Z -o json\n\n"
    "Exit code 1 when something was missing and was not mended.",
)
@click.option("--since", type=INSTANT, metavar="TIME", help="Records first written at or after TIME.")
@click.option("--until", type=INSTANT, metavar="TIME", help="Records first written before TIME.")
@click.option("--check", "check_only", is_flag=True, help="Only say what is missing.")
@settings_option
@output_option
def reconcile_(settings: Settings, since: int | None, until: int | None, check_only: bool, output: str) -> int:
    """Compare the record with the topics, document by document, and write what is missing.

    Reads the topics again, outside of every consumer group, up to where the indexer has come. Harmless at any time.
    """
    found = asyncio.run(reconcile(settings, since, until, mend=not check_only, tell=_teller(output)))
    if output == "json":
        print_json({"schema": SCHEMA_RECONCILE, "partitions": msgspec.to_builtins(found)})
    else:
        _print_reconciled(found)
    return EXIT_VIOLATION if any(one.missing > one.mended for one in found) else EXIT_OK


# ------------------------------------------------------------------------------------------------------------ printing


def _connected(settings: Settings) -> Server:
    return connect(settings.elasticsearch)


def _builtins(value: object) -> dict[str, object]:
    made: dict[str, object] = msgspec.to_builtins(value)
    return made


def _teller(output: str) -> Callable[[str], None]:
    return (lambda _: None) if output == "json" else (lambda line: say(f"revet: {line}"))


def _print_setup(report: Report) -> None:
    changed = [(step.done, step.what, step.note) for step in report.steps if step.done != "unchanged"]
    if changed:
        print_table(("done", "what", ""), changed)
    same = sum(step.done == "unchanged" for step in report.steps)
    click.echo(f"{count(same, 'thing')} as wanted already, {len(changed)} made or changed")
    _print_probe(report.found)


def _print_check(found: Checked) -> None:
    if found.drift:
        print_table(("what", "differs", "mend with"), [(d.what, d.why, d.mend) for d in found.drift])
    else:
        click.echo("everything is as this version wants it")
    _print_probe(found.found)


def _print_probe(found: Probe) -> None:
    click.echo(f"Elasticsearch {found.version}, profile {found.profile}")
    if found.missing:
        print_table(("it lacks", "which costs"), [(m.feature, m.cost) for m in found.missing])
    if found.unknown:
        click.echo(f"this account may not ask about: {', '.join(found.unknown)}")


def _print_moved(done: Moved) -> None:
    rest = "deleted" if done.dropped else f"kept; delete it when nobody misses anything: DELETE /{done.old}"
    again = ", an interrupted run was finished" if done.resumed else ""
    click.echo(f"{done.alias}: {count(done.copied, 'document')} copied, now {done.new}{again}; {done.old} is {rest}")


def _progress(state: str) -> Callable[[Progress], None]:
    last = [time.monotonic()]

    def tell(progress: Progress) -> None:
        if time.monotonic() - last[0] >= TELL_EVERY:
            last[0] = time.monotonic()
            say(f"revet: {state}: {progress.step}, {progress.copied:,} of {progress.total:,}")

    return tell


def _print_reconciled(found: Iterable[Reconciled]) -> None:
    """One line per topic; the partitions only where something was missing."""
    rows: dict[str, list[int]] = {}
    for one in found:
        row = rows.setdefault(one.topic, [0] * 5)
        for n, number in enumerate((one.records, one.documents, one.missing, one.mended, one.gap)):
            row[n] += number
    columns = ("topic", "records", "documents", "missing", "mended", "removed by retention")
    print_table(columns, [(topic, *(f"{number:,}" for number in row)) for topic, row in rows.items()])
    for one in found:
        if one.missing:
            say(f"{one.topic}/{one.partition}: {one.missing:,} missing, {one.mended:,} mended")
