"""`revet serve files`: recordings of audit events and pods, into Kafka."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import click

from streams.cli.common import settings_option
from streams.collectors.server import CLUSTER
from streams.local.replay import STDIN, ReplaySource
from streams.serving import following
from streams.serving.collecting import files
from streams.serving.process import run_process
from streams.settings import Settings
from verifier.errors import InputError


@click.command(
    epilog="Examples:\n\n\b\n"
    "  $ revet serve files audit.jsonl pods.jsonl\n"
    "  $ revet serve files prod-eu=audit.jsonl prod-us=/var/log/audit.jsonl.gz --progress /var/lib/revet/files.json\n"
    "  $ revet serve files --follow prod-eu=/var/log/kubernetes/audit.log",
)
@click.argument("recordings", nargs=-1, required=True, metavar="[CLUSTER=]FILE…")
@click.option(
    "--progress",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Where it is kept how far each file is.  [default: revet/files-progress.json in the user's state folder]",
)
@click.option(
    "--follow",
    is_flag=True,
    help="Follow audit logs as they grow and through their rotations (renamed, copied and truncated, compressed).",
)
@settings_option
def command(recordings: tuple[str, ...], progress: Path | None, follow: bool, settings: Settings) -> int:
    """Send recordings of audit events and pods to Kafka, in the order of their time, and end.

    With `--follow` files are audit logs that somebody writes; it stays until SIGTERM. It goes on where it was: what
    the brokers acknowledged is not sent again, and a file that grew is read on. `-` is standard input.
    Settings: `cluster`, `kafka`, `serve`.
    """
    sources = [_source(text, settings.cluster, follow) for text in recordings]
    kept = progress or _default_progress()
    if follow and any(source.path == STDIN for source in sources):
        raise click.UsageError("standard input cannot be followed; name the log")
    work = following.follow if follow else files
    return run_process("files", settings, partial(work, sources=sources, progress=kept))


def _source(text: str, cluster: str, follow: bool) -> ReplaySource:
    """`prod-eu=audit.jsonl`, or a path alone. A file whose own name has `=` in it is taken as a file.

    A log that is to be followed need not be there yet, but its folder must.
    """
    name, equals, path = text.partition("=")
    if equals and not Path(text).exists() and CLUSTER.fullmatch(name):
        cluster, text = name, path
    there = Path(text).parent.is_dir() if follow else Path(text).is_file()
    if text != str(STDIN) and not there:
        raise InputError(f"{text}: no such file; example: revet serve files prod-eu=audit.jsonl")
    return ReplaySource(cluster, Path(text))


def _default_progress() -> Path:
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "revet" / "files-progress.json"
