"""`revet config`: the settings as they count here and now, secrets hidden."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import click
from pydantic import BaseModel

from streams.cli.common import EXIT_OK, named_settings, output_option, print_json, print_table, settings_flags
from streams.serving.logs import Hiding
from streams.settings import Leaf, Loaded, leaves
from streams.settings.described import descriptions

SCHEMA: Final = "revet.config/v1"
SET: Final = "(set)"
"""Stands for a secret that is given."""


@click.group()
def command() -> None:
    """Show every setting, its value, and where it came from."""


@command.command(
    epilog="Examples:\n\n\b\n"
    "  $ revet config show\n"
    "  $ revet config show --settings /etc/revet/cluster.yaml --changed\n\n"
    "What each one means: docs/settings.md, or the JSON."
)
@settings_flags
@click.option("--changed", is_flag=True, help="Leave out what stands at its default.")
@output_option
def show(settings_file: Path | None, profile: str | None, changed: bool, output: str) -> int:
    """Show every setting: file, variable or default, as a process started here would take it. Secrets are hidden."""
    loaded = named_settings(settings_file, profile)
    rows = [row for row in _rows(loaded) if not changed or row["from"] != "default"]
    if output == "json":
        print_json({"schema": SCHEMA, "settings": rows})
    else:
        cells = [(row["setting"], _cell(row["value"]), row["from"]) for row in rows]
        print_table(("SETTING", "VALUE", "FROM"), cells)
    return EXIT_OK


def _rows(loaded: Loaded) -> list[dict[str, object]]:
    meanings = descriptions()
    hiding = Hiding(())
    return [
        {
            "setting": leaf.name,
            "value": _value(leaf, loaded, hiding),
            "from": loaded.origins[leaf.place],
            "variable": leaf.variable,
            "meaning": meanings[leaf.name],
        }
        for leaf in leaves()
    ]


def _value(leaf: Leaf, loaded: Loaded, hiding: Hiding) -> object:
    """As JSON has it; None: not given. A secret is never looked into."""
    value = leaf.of(loaded.settings)
    if leaf.is_secret:
        return None if value is None else SET
    return _plain(value, hiding)


def _plain(value: object, hiding: Hiding) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(name): _plain(inner, hiding) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner, hiding) for inner in value]
    if isinstance(value, BaseModel):
        return _plain(value.model_dump(), hiding)
    return hiding(str(value))  # a mirror may be written with a name and a password


def _cell(value: object) -> str:
    if value is None or value in ("", [], {}):
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return ", ".join(f"{name}={inner}" for name, inner in value.items())
    if isinstance(value, list):
        return ", ".join(_cell(inner) for inner in value)
    return str(value)
