"""`revet policy import`: the policies of other tools as native documents, and what is lost on the way."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click
import yaml

from alerting.text import count
from streams.cli.common import EXIT_OK, read_text, say
from streams.cli.manifests import manifest_files
from streams.cli.named_files import text_of
from verifier.errors import InputError
from verifier.policy.documents import AnyDocument, plain, policy_document
from verifier.policy.importers.formats import IMPORTERS, detect, importer
from verifier.policy.importers.notes import ImportResult, LossNote, WeakeningImport

AUTO: Final = "auto"
"""The format is told from the documents."""


@click.command(
    "import",
    epilog="Example:\n\n\b\n  $ revet policy import --dialect kyverno clusterpolicies.yaml -d policies/\n"
    "  $ revet policy import policy.json",
)
@click.argument("files", nargs=-1, required=True, metavar="FILE|DIR...")
@click.option(
    "--dialect",
    type=click.Choice([AUTO, *IMPORTERS]),
    default=AUTO,
    show_default=True,
    help="Whose these are.",
)
@click.option("--accept-weaker", is_flag=True, help="Accept every loss that makes a policy ask less.")
@click.option("--accept", "accepted", multiple=True, metavar="CODE", help="Accept this kind of such losses.")
@click.option(
    "--key", "keys", multiple=True, metavar="REF=FILE", help="Public key behind a reference (k8s://…, kms://…, a path)."
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
    read = importer(detect(sources) if dialect == AUTO else dialect)
    try:
        result = read(sources, accept_weaker=accept_weaker or accepted, keys=dict(map(text_of, keys)), owner=owner)
    except WeakeningImport as error:
        _say_notes(error.notes)
        raise
    _say_notes(result.notes)
    _write(result, directory)
    return EXIT_OK


def _import_files(name: str) -> list[str]:
    files = manifest_files(name)
    if not files:
        raise InputError(f"{name}: no policy file in this folder")
    return files


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
