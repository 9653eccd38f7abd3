"""Options of the form NAME=FILE: a name of a policy, and the file that holds the text behind it."""

from __future__ import annotations

import click

from streams.cli.common import read_text
from streams.cli.render import safe


def text_of(option: str) -> tuple[str, str]:
    """NAME=FILE as (name, text of the file). The name may hold `=`, the file may not.

    Raises:
        BadParameter: not of this form.
        InputError: the file cannot be read.
    """
    reference, equals, file = option.rpartition("=")
    if not equals or not reference or not file:
        raise click.BadParameter(f"{safe(option[:80])}: expected NAME=FILE")
    return reference, read_text(file)
