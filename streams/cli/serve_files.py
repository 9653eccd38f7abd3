"""`revet serve files`: recordings of audit events and pods, into Kafka."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import click

from streams.cli.common import settings_option
from streams.collectors.server import CLUSTER
from streams.local.replay import STDIN, ReplaySource
from streams.serving.collecting import files
from streams.serving.process import run_process
from streams.settings import Settings
from verifier.errors import InputError


@click.command(
    epilog="Examples:\n\n\b\n"
    "  $ revet serve files audit.jsonl pods.jsonl\n"
    "  $ revet serve files prod-eu=audit.jsonl prod-us=/var/log/audit.jsonl.gz --progress /var/lib/revet/files.json",
)
@click.argument("recordings", nargs=-1, required=True, metavar="[CLUSTER=]FILE…")
@click.option(
    "--progress",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Where it is kept how far each file is.  [default: revet/files-progress.json in the user's state folder]",
)
@settings_option
def command(recordings: tuple[str, ...], progress: Path | None, settings: Settings) -> int:
    """Send recordings of audit events and pods to Kafka, in the order of their time, and end.

    It goes on where it was: what the brokers acknowledged is not sent again, and a file that grew is read on. `-` is
    standard input. Settings: `cluster`, `kafka`, `serve`.
    """
    sources = [_source(text, settings.cluster) for text in recordings]
    return run_process("files", settings, partial(files, sources=sources, progress=progress or _default_progress()))


def _source(text: str, cluster: str) -> ReplaySource:
    """`prod-eu=audit.jsonl`, or a path alone. A file whose own name has `=` in it is taken as a file."""
    name, equals, path = text.partition("=")
    if equals and not Path(text).exists() and CLUSTER.fullmatch(name):
        cluster, text = name, path
    if text != str(STDIN) and not Path(text).is_file():
        raise InputError(f"{text}: no such file; example: revet serve files prod-eu=audit.jsonl")
    return ReplaySource(cluster, Path(text))


def _default_progress() -> Path:
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "revet" / "files-progress.json"
