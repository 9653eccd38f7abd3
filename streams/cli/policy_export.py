"""`revet policy export`: native policies in a format that other programs enforce."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import click

from streams.cli.changing import read_documents
from streams.cli.common import EXIT_OK, EXIT_USAGE, read_text, safe_json, say
from streams.cli.named_files import text_of
from verifier.errors import InputError
from verifier.policy.documents import KeyDocument, PolicyDocument
from verifier.policy.export import DIALECTS, ExportNote, Material, WeakeningExport, export_containers


@click.command(
    "export",
    epilog="Example:\n\n\b\n  $ revet policy export policies/ keys/ --dialect containers-policy > policy.json",
)
@click.argument("files", nargs=-1, required=True, metavar="FILE|DIR...")
@click.option("--dialect", type=click.Choice(DIALECTS), default=DIALECTS[0], show_default=True, help="For whom.")
@click.option("--key", "keys", multiple=True, metavar="NAME=FILE", help="Public key behind a name of the policies.")
@click.option("--root", "roots", multiple=True, metavar="NAME=FILE", help="CA or key ring behind a name (PEM, armor).")
@click.option("--log-key", metavar="FILE", help="Public key (PEM) of the transparency log.")
@click.option(
    "--default",
    type=click.Choice(["reject", "accept"]),
    default="reject",
    show_default=True,
    help="What nodes do with images that no policy governs.",
)
@click.option("--accept", "accepted", multiple=True, metavar="CODE", help="Accept this kind of weakening losses.")
@click.option("--file", "target", type=click.Path(dir_okay=False, path_type=Path), help="Write there.")
def export(
    files: tuple[str, ...],
    dialect: str,
    keys: tuple[str, ...],
    roots: tuple[str, ...],
    log_key: str | None,
    default: Literal["reject", "accept"],
    accepted: tuple[str, ...],
    target: Path | None,
) -> int:
    """Write the policies of FILES (those that enforce) for nodes; Key documents in FILES give the keys.

    What the other format cannot ask for is an error (exit code 2) unless it is accepted.
    """
    del dialect  # one so far
    documents, errors = read_documents(files)
    for error in errors:
        say(f"revet: {error}")
    if errors:
        return EXIT_USAGE
    ring = {d.name: d.body.spec.pem for d in documents if isinstance(d.body, KeyDocument) and d.body.spec.pem}
    material = Material(
        {**ring, **dict(map(text_of, keys))}, dict(map(text_of, roots)), read_text(log_key) if log_key else ""
    )
    policies = [document.body.to_policy() for document in documents if isinstance(document.body, PolicyDocument)]
    try:
        result = export_containers(policies, material=material, default=default, accept_weaker=accepted)
    except WeakeningExport as error:
        _say_notes(error.notes)
        raise
    _say_notes(result.notes)
    _write(safe_json(json.dumps(result.document, indent=2, ensure_ascii=True)), target)
    return EXIT_OK


def _say_notes(notes: tuple[ExportNote, ...]) -> None:
    for note in notes:
        say(f"{note.policy}: {note.severity} [{note.code}]: {note.message}")


def _write(text: str, target: Path | None) -> None:
    if target is None:
        click.echo(text)
        return
    try:
        target.write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{target}: {error.strerror or error}") from error
