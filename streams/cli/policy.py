"""`revet policy`: are these policies sound, and what would they change here."""

from __future__ import annotations

import importlib
import keyword
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from alerting.text import count
from streams.cli.changing import SHOWN, asked_by, foresee, more, read_documents, reading, running_scopes, when_given
from streams.cli.common import (
    EXIT_OK,
    EXIT_USAGE,
    EXIT_VIOLATION,
    now,
    output_option,
    print_json,
    print_table,
    say,
    show_time,
)
from streams.cli.render import safe
from streams.cli.trustplace import Place, place_option
from streams.local.admissions import Rejudged, rejudge_recorded
from streams.local.plan import plan
from streams.local.preview import OUTCOMES, Preview, differences
from verifier.adapters.package_data import public_good_root
from verifier.errors import PolicyError
from verifier.policy.check import Problem, check_documents
from verifier.policy.documents import PolicyDocument
from verifier.policy.schema import schema_text

ELSEWHERE: Final = {
    "import": "streams.cli.policy_import",
    "export": "streams.cli.policy_export",
    "test": "streams.cli.policy_test",
    "starter": "streams.cli.policy_starter",
}
"""Sub-command -> module with a click command of that name. Imported when it is asked for."""


class _Group(click.Group):
    """The commands of this file, and those that stand in files of their own."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names, those of this file first."""
        return [*super().list_commands(ctx), *ELSEWHERE]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now."""
        if cmd_name not in ELSEWHERE:
            return super().get_command(ctx, cmd_name)
        name = f"{cmd_name}_" if keyword.iskeyword(cmd_name) else cmd_name
        found: click.Command = getattr(importlib.import_module(ELSEWHERE[cmd_name]), name)
        return found


@click.group(cls=_Group)
def command() -> None:
    """Check, import, export, test and preview policies."""


_FILES: Final = click.argument("files", nargs=-1, required=True, metavar="FILE|DIR...")


# -------------------------------------------------------------------------------------------------------------- check


@command.command(
    epilog="Example:\n\n\b\n  $ revet policy check policies/ keys/\n  $ revet policy check policies/ --against-state"
)
@_FILES
@click.option("--against-state", is_flag=True, help="Also name patterns that match nothing of what runs.")
@place_option
@output_option
def check(files: tuple[str, ...], against_state: bool, state: Place, output: str) -> int:
    """Say what is wrong or doubtful in FILES, each with file:line:column. Exit code 2 when something is wrong."""
    documents, errors = read_documents(files)
    known: dict[str, Any] = {"now": now()}  # Any: the arguments of check_documents
    if against_state:
        found = reading(state)
        known = {"now": found.now, "ring": found.trust.names, "policies": found.trust.policies}
        known["roots"] = found.trust.anchors.roots
        known["scopes"] = running_scopes(state)
    problems = sorted([*map(_as_problem, errors), *check_documents(documents, **known)], key=lambda p: p[1:4])
    wrong = any(problem.severity == "error" for problem in problems)
    if output == "json":
        told = [problem._asdict() for problem in problems]
        print_json(
            {"schema": "revet.policy-check/v1", "documents": len(documents), "sound": not wrong, "problems": told}
        )
    else:
        for problem in problems:
            click.echo(safe(_sentence(problem)))
        number = Counter(problem.severity for problem in problems)
        named = ", ".join(f"{number[s]} {s}{'s' * (number[s] != 1)}" for s in ("error", "warning") if number[s])
        click.echo(f"{count(len(documents), 'sound document')}: {named or 'nothing to say against'}")
    return EXIT_USAGE if wrong else EXIT_OK


def _as_problem(error: PolicyError) -> Problem:
    return Problem("error", error.file, error.line, error.column, error.field, error.message, "")


def _sentence(problem: Problem) -> str:
    field = f"{problem.field}: " if problem.field else ""
    todo = f"; {problem.todo}" if problem.todo else ""
    return f"{problem.file}:{problem.line}:{problem.column}: {problem.severity}: {field}{problem.message}{todo}"


# ------------------------------------------------------------------------------------------------------------ preview


@command.command(
    epilog="Examples:\n\n\b\n"
    "  $ revet policy preview policies/signed.yaml\n"
    "  $ revet policy preview policies/signed.yaml --from 7d"
)
@_FILES
@click.option("--prune", is_flag=True, help="As `trust apply --prune` would.")
@click.option(
    "--from",
    "since",
    metavar="TIME",
    help="Also judge what admission let in since then, as if FILES had been in force and enforced.",
)
@place_option
@output_option
def preview(files: tuple[str, ...], prune: bool, since: str | None, state: Place, output: str) -> int:
    """Show what would change for what runs now if FILES were applied. Changes nothing.

    Exit code 1 when something that is valid now would violate; past admissions do not change it.
    """
    if since is not None and not isinstance(state, Path):
        raise click.UsageError("--from asks the record of one machine; without it you see what runs now")
    documents, errors = read_documents(files)
    for error in errors:
        say(f"revet: {error}")
    if errors:
        return EXIT_USAGE
    found = reading(state)
    made = plan(found.trust, documents, asked_by(found), prune=prune, shipped=public_good_root())
    for sentence in made.notes:
        say(f"note: {sentence}")
    foretold, _ = foresee(state, made.records, found.now)
    names = [d.name for d in documents if isinstance(d.body, PolicyDocument)]
    start = when_given(since, found.now, "--from")
    past = None
    if start is not None and isinstance(state, Path):
        past = rejudge_recorded(state, made.records, start, found.now, names)
    if output == "json":
        told = msgspec.to_builtins(foretold) | ({"admissions": msgspec.to_builtins(past)} if past is not None else {})
        print_json({"schema": "revet.policy-preview/v1", "breaks": foretold.breaks, **told})
    else:
        _print(foretold, names)
        if past is not None:
            _print_past(past)
    return EXIT_VIOLATION if foretold.breaks else EXIT_OK


def _print(foretold: Preview, names: Sequence[str]) -> None:
    changed = {row.policy for row in foretold.policies}
    rows = [(row.policy or "all together", *differences(row)) for row in foretold.policies]
    print_table(("policy", *OUTCOMES), rows, title="containers")
    same = [name for name in names if name not in changed]
    if same:
        click.echo(safe(f"no difference for what runs: {', '.join(same)}"))
    if foretold.namespaces:
        spaces = [(n.cluster, n.namespace, n.team, *differences(n)) for n in foretold.namespaces[:SHOWN]]
        print_table(("cluster", "namespace", "team", *OUTCOMES), spaces, title="\nnamespaces")
        more(len(foretold.namespaces))
    _print_breaks(foretold)
    opened = Counter(finding.code for finding in foretold.opened)
    closed = Counter(finding.close_reason for finding in foretold.closed)
    click.echo(f"\nfindings that would open: {_numbers(opened)}; that would close: {_numbers(closed)}")
    if foretold.breaks:
        click.echo("something that is valid now would violate")


def _print_breaks(foretold: Preview) -> None:
    broken = [change for change in foretold.changes if change.breaks]
    if broken:
        rows = [
            (c.cluster, c.namespace, ", ".join(c.workloads), c.image, c.containers, c.policy, ", ".join(c.codes))
            for c in broken[:SHOWN]
        ]
        columns = ("cluster", "namespace", "workloads", "image", "containers", "policy", "why")
        print_table(columns, rows, title="\nvalid now, would violate")
        more(len(broken))


def _print_past(past: Rejudged) -> None:
    let_in = f"of {count(past.admissions, 'pod')} that admission let in since {show_time(past.since)}"
    click.echo(f"\n{let_in}: would have denied {past.denied:,}, could not tell {past.unknown:,}")
    if past.denied or past.unknown:
        print_table(("team", "let in", "would deny", "could not tell"), past.teams, title="\nby team")
        rows = [
            (show_time(t.time), t.namespace, t.team or "-", t.workload, t.image, t.policy, ", ".join(t.codes))
            for t in past.turned_away[:SHOWN]
        ]
        columns = ("admitted", "namespace", "team", "workload", "image", "policy", "why")
        print_table(columns, rows, title="\nlet in, would not be")
        more(len(past.turned_away))


def _numbers(values: Counter[str]) -> str:
    return ", ".join(f"{number} {name}" for name, number in sorted(values.items())) or "none"


# ------------------------------------------------------------------------------------------------------------- schema


@command.command(epilog="Example:\n\n\b\n  $ revet policy schema > policy.schema.json")
def schema() -> int:
    """Print the JSON Schema of every document kind, for editors and CI."""
    click.echo(schema_text(), nl=False)
    return EXIT_OK
