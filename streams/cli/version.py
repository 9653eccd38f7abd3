"""`revet version`: what runs here, for bug reports and for scripts."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Final

import click
import msgspec

from streams.cli.common import output_option, print_json
from verifier.models import VERIFIER_VERSION

SCHEMA: Final = "revet.version/v1"
DISTRIBUTION: Final = "revet"


class Version(msgspec.Struct, frozen=True):
    """The document `revet version -o json` prints."""

    schema: str
    revet: str
    verifier: str
    """Version of the code that turns evidence into facts; part of every fact's id."""
    python: str
    platform: str


def installed_version() -> str:
    """Version of the installed distribution; `unknown` when it runs from a folder without one."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "unknown"


def this_version() -> Version:
    """All that is said of what runs here."""
    return Version(SCHEMA, installed_version(), VERIFIER_VERSION, platform.python_version(), platform.platform())


@click.command(epilog="\b\nExample:\n  $ revet version")
@output_option
def command(output: str) -> None:
    """Print the version."""
    found = this_version()
    if output == "json":
        print_json(found)
    else:
        click.echo(f"revet {found.revet} (verifier {found.verifier}, Python {found.python}, {found.platform})")
