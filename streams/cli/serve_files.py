"""`revet serve files`: recordings of audit events and pods, into Kafka."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import click

from streams.cli.common import settings_option
from streams.cli.recordings import recordings
from streams.local.replay import STDIN
from streams.serving import following
from streams.serving.collecting import files
from streams.serving.process import run_process
from streams.settings import Settings


@click.command(
    epilog="Examples:\n\n\b\n"
    "  $ revet serve files audit.jsonl pods.jsonl\n"
    "  $ revet serve files prod-eu=audit.jsonl prod-us=/var/log/audit.jsonl.gz --progress /var/lib/revet/files.json\n"
    "  $ revet serve files --follow prod-eu=/var/log/kubernetes/audit.log\n"
    "  $ revet serve files --look-back prod-eu=/archive/prod-eu/audit",
)
@click.argument("named", nargs=-1, required=True, metavar="[CLUSTER=]FILE|FOLDER…")
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
@click.option(
    "--look-back",
    is_flag=True,
    help="Archives of long ago, in any order: audit events become history that is on record and alerts nobody.",
)
@settings_option
def command(named: tuple[str, ...], progress: Path | None, follow: bool, look_back: bool, settings: Settings) -> int:
    """Send recordings of audit events and pods to Kafka, in the order of their time, and end.

    With `--follow` files are audit logs that somebody writes; it stays until SIGTERM. It goes on where it was: what
    the brokers acknowledged is not sent again, and a file that grew is read on. `-` is standard input, a folder stands
    for the files in it. Settings: `cluster`, `kafka`, `serve`.
    """
    if follow and look_back:
        raise click.UsageError("a log that is followed is of today; --look-back takes what is archived")
    sources = recordings(named, settings.cluster, "revet serve files prod-eu=audit.jsonl", awaited=follow)
    kept = progress or _default_progress()
    if follow and any(source.path == STDIN for source in sources):
        raise click.UsageError("standard input cannot be followed; name the log")
    work = following.follow if follow else partial(files, look_back=look_back)
    return run_process("files", settings, partial(work, sources=sources, progress=kept))


def _default_progress() -> Path:
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "revet" / "files-progress.json"
