"""`revet policy`: are these policies sound, what would they change here, and what becomes of another tool's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import click
import msgspec
import yaml

from alerting.text import count
from streams.cli.changing import asked_by, foresee, read_documents, reading, running_scopes
from streams.cli.common import (
    EXIT_OK,
    EXIT_USAGE,
    EXIT_VIOLATION,
    now,
    output_option,
    print_json,
    print_table,
    read_text,
    say,
    state_option,
)
from streams.cli.manifests import manifest_files
from streams.cli.render import safe
from streams.local.plan import plan
from streams.local.preview import Counts, NamespaceCounts, PolicyCounts, Preview
from verifier.errors import InputError, PolicyError
from verifier.policy.check import Problem, check_documents
from verifier.policy.documents import AnyDocument, PolicyDocument, plain, policy_document
from verifier.policy.importers.kyverno import import_kyverno
from verifier.policy.importers.notes import ImportResult, LossNote, WeakeningImport
from verifier.policy.schema import schema_text

SHOWN: Final = 20
"""Rows of one kind that a table shows; JSON holds all."""


@click.group()
def command() -> None:
    """Check, import and preview policies."""


_FILES: Final = click.argument("files", nargs=-1, required=True, metavar="FILE|DIR...")


# -------------------------------------------------------------------------------------------------------------- check


@command.command(
    epilog="Example:\n\n\b\n  $ revet policy check policies/ keys/\n  $ revet policy check policies/ --against-state"
)
@_FILES
@click.option("--against-state", is_flag=True, help="Also name patterns that match nothing of what runs.")
@state_option
@output_option
def check(files: tuple[str, ...], against_state: bool, state: Path, output: str) -> int:
    """Say what is wrong or doubtful in FILES, each with file:line:column. Exit code 2 when something is wrong."""
    documents, errors = read_documents(files)
    known: dict[str, Any] = {"now": now()}  # Any: the arguments of check_documents
    if against_state:
        found = reading(state)
        known = {"now": found.now, "ring": found.trust.names, "policies": found.trust.policies}
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


# ------------------------------------------------------------------------------------------------------------- import


@command.command(
    "import",
    epilog="Example:\n\n\b\n  $ revet policy import --dialect kyverno clusterpolicies.yaml -d policies/",
)
@_FILES
@click.option("--dialect", type=click.Choice(["kyverno"]), required=True, help="Whose policies these are.")
@click.option("--accept-weaker", is_flag=True, help="Accept every loss that makes a policy ask less.")
@click.option("--accept", "accepted", multiple=True, metavar="CODE", help="Accept this kind of such losses.")
@click.option(
    "--key", "keys", multiple=True, metavar="REF=FILE", help="Public key behind a reference (k8s://…, kms://…)."
)
@click.option("-d", "--directory", type=click.Path(file_okay=False, path_type=Path), help="Write one file each there.")
@click.option("--owner", default="imported", show_default=True, help="Owner written into exemptions.")
def import_(
    files: tuple[str, ...],
    dialect: str,
    accept_weaker: bool,
    accepted: tuple[str, ...],
    keys: tuple[str, ...],
    directory: Path | None,
    owner: str,
) -> int:
    """Rewrite another tool's policies as native documents; what is lost on the way goes to standard error.

    A loss that weakens a check is an error (exit code 2) unless it is accepted.
    """
    sources = [(file, read_text(file)) for name in files for file in _import_files(name)]
    try:
        result = _IMPORTERS[dialect](
            sources, accept_weaker=accept_weaker or accepted, keys=dict(map(_key_of, keys)), owner=owner
        )
    except WeakeningImport as error:
        _say_notes(error.notes)
        raise
    _say_notes(result.notes)
    _write(result, directory)
    return EXIT_OK


_IMPORTERS: Final[dict[str, Callable[..., ImportResult]]] = {"kyverno": import_kyverno}
"""Dialect -> importer. A new dialect is a row here."""


def _import_files(name: str) -> list[str]:
    files = manifest_files(name)
    if not files:
        raise InputError(f"{name}: no policy file in this folder")
    return files


def _key_of(text: str) -> tuple[str, str]:
    reference, equals, file = text.rpartition("=")
    if not equals or not reference or not file:
        raise click.BadParameter(f"{safe(text[:80])}: expected REF=FILE", param_hint="--key")
    return reference, read_text(file)


def _say_notes(notes: Sequence[LossNote]) -> None:
    for note in notes:
        code = f" [{note.code}]" if note.code else ""
        say(f"{note.file}:{note.line}: {note.severity}{code}: {note.field}: {note.message}")


def _write(result: ImportResult, directory: Path | None) -> None:
    documents: list[AnyDocument] = [*map(policy_document, result.policies), *result.exemptions]
    if not documents:
        say("revet: nothing in there that checks images")
    texts = {f"{d.kind.lower()}-{d.metadata.name}.yaml": _yaml(plain(d)) for d in documents}
    if directory is None:
        click.echo("---\n".join(texts.values()), nl=False)
        return
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (directory / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{directory}: {error.strerror or error}") from error
    say(f"revet: wrote {count(len(texts), 'document')} into {directory}")


class _Dumper(yaml.SafeDumper):
    """YAML as people write it: lists indented below their name, several lines as a block, no aliases."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        del indentless
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: object) -> bool:
        del data
        return True


def _block(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _block)


def _yaml(value: object) -> str:
    # allow_unicode=False: what came from a stranger's file reaches the terminal as escapes
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=False, width=110)


# ------------------------------------------------------------------------------------------------------------ preview


@command.command(epilog="Example:\n\n\b\n  $ revet policy preview policies/signed.yaml")
@_FILES
@click.option("--prune", is_flag=True, help="As `trust apply --prune` would.")
@state_option
@output_option
def preview(files: tuple[str, ...], prune: bool, state: Path, output: str) -> int:
    """Show what would change for what runs now if FILES were applied. Changes nothing.

    Exit code 1 when something that is valid now would violate.
    """
    documents, errors = read_documents(files)
    for error in errors:
        say(f"revet: {error}")
    if errors:
        return EXIT_USAGE
    found = reading(state)
    made = plan(found.trust, documents, asked_by(found), prune=prune)
    for sentence in made.notes:
        say(f"note: {sentence}")
    foretold, _ = foresee(state, made.records, found.now)
    names = [d.name for d in documents if isinstance(d.body, PolicyDocument)]
    if output == "json":
        print_json({"schema": "revet.policy-preview/v1", "breaks": foretold.breaks, **msgspec.to_builtins(foretold)})
    else:
        _print(foretold, names)
    return EXIT_VIOLATION if foretold.breaks else EXIT_OK


_OUTCOMES: Final = ("valid", "violates", "unverifiable", "ungoverned")


def _print(foretold: Preview, names: Sequence[str]) -> None:
    changed = {row.policy for row in foretold.policies}
    rows = [(row.policy or "all together", *_cells(row)) for row in foretold.policies]
    print_table(("policy", *_OUTCOMES), rows, title="containers")
    same = [name for name in names if name not in changed]
    if same:
        click.echo(safe(f"no difference for what runs: {', '.join(same)}"))
    if foretold.namespaces:
        spaces = [(n.cluster, n.namespace, n.team, *_cells(n)) for n in foretold.namespaces[:SHOWN]]
        print_table(("cluster", "namespace", "team", *_OUTCOMES), spaces, title="\nnamespaces")
        _more(len(foretold.namespaces))
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
        _more(len(broken))


def _cells(row: PolicyCounts | NamespaceCounts) -> list[str]:
    return [_cell(row.before, row.after, outcome) for outcome in _OUTCOMES]


def _cell(before: Counts, after: Counts, outcome: str) -> str:
    old, new = getattr(before, outcome), getattr(after, outcome)
    return f"{old:,}" if old == new else f"{old:,} → {new:,}"


def _more(number: int) -> None:
    if number > SHOWN:
        click.echo(f"… and {number - SHOWN} more; -o json shows all")


def _numbers(values: Counter[str]) -> str:
    return ", ".join(f"{number} {name}" for name, number in sorted(values.items())) or "none"


# ------------------------------------------------------------------------------------------------------------- schema


@command.command(epilog="Example:\n\n\b\n  $ revet policy schema > policy.schema.json")
def schema() -> int:
    """Print the JSON Schema of every document kind, for editors and CI."""
    click.echo(schema_text(), nl=False)
    return EXIT_OK
