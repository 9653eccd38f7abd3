"""Recordings as they are named on a command line (`prod-eu=audit.jsonl`, or a path alone); the limits of archives."""

from __future__ import annotations

from pathlib import Path

import click

from streams.cli.render import safe
from streams.collectors.server import CLUSTER
from streams.local.replay import STDIN, ReplaySource
from verifier.errors import InputError


def recordings(
    texts: tuple[str, ...], cluster: str, example: str, *, option: str = "", awaited: bool = False
) -> list[ReplaySource]:
    """The recordings that are named. A folder stands for the files in it and below it, except the times of recordings.

    Args:
        texts: `[CLUSTER=]FILE` or `[CLUSTER=]FOLDER`. A file whose own name has `=` in it is taken as a file.
        cluster: of what names none.
        example: how to write it, for the error.
        option: what stands before each, for the error.
        awaited: a file need not be there yet, but its folder must.

    Raises:
        InputError: a file is not there, or a folder holds none.
    """
    return [source for text in texts for source in _named(text, cluster, example, option=option, awaited=awaited)]


def _named(text: str, cluster: str, example: str, *, option: str, awaited: bool) -> list[ReplaySource]:
    name, equals, path = text.partition("=")
    if equals and not Path(text).exists() and CLUSTER.fullmatch(name):
        cluster, text = name, path
    place = Path(text)
    if place.is_dir():
        files = sorted(file for file in place.rglob("*") if file.is_file() and file.suffix != ".times")
        if not files or awaited:
            raise InputError(f"{option}{text}: a folder{'' if awaited else ' without files'}; example: {example}")
        return [ReplaySource(cluster, file) for file in files]
    there = place.parent.is_dir() if awaited else place.is_file()
    if place != STDIN and not there:
        raise InputError(f"{option}{text}: no such file; example: {example}")
    return [ReplaySource(cluster, place)]


def print_limits(limits: tuple[str, ...]) -> None:
    """What a look-back can and cannot show."""
    click.echo("looked back at, within these limits:")
    for sentence in limits:
        click.echo(safe(f"  {sentence}"))
