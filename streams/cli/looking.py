"""Which record a command looks into: a state file, or the Elasticsearch that the settings name; and in which zone it
shows times.

    @record_option                                 --state, --profile, --tz; the command takes `record: Record`
    def command(record: Record) -> int:
        with looking(record, now()) as look: ...

A file named by hand comes first, then a profile, then $REVET_STATE, then the settings at hand (revet.yaml, variables).
"""

from __future__ import annotations

import importlib
import os
import sys
import zoneinfo
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import click

from streams.cli.common import PROFILE, ZONE, default_state, named_settings, profile_option, say
from streams.local.looking import looking as looking_into_file
from streams.queries.looking import Look
from streams.settings import Settings
from verifier.errors import InputError
from verifier.models import Micros

F = TypeVar("F", bound=Callable[..., Any])  # Any: decorators take every command as it is


class StateFile(NamedTuple):
    """The state of the single-machine mode."""

    path: Path

    def __str__(self) -> str:
        return f"state {self.path}"


class Cluster(NamedTuple):
    """The record beside Kafka and Elasticsearch."""

    settings: Settings

    def __str__(self) -> str:
        found = self.settings.elasticsearch
        return f"Elasticsearch {', '.join(found.nodes)}, namespace {found.namespace}"


Record = StateFile | Cluster


@contextmanager
def looking(record: Record, wall: Micros) -> Iterator[Look]:
    """Look into a record; `wall` is the wall clock.

    Raises:
        InputError: there is no such record, or what reads it is not installed.
        PlaceUnavailable: it cannot be read now; PlaceRefused: it does not let us in.
    """
    if isinstance(record, StateFile):
        with looking_into_file(record.path, wall) as look:
            yield look
    else:
        with clustered("looking").looking(record.settings, wall) as look:
            yield look


def clustered(module: str) -> Any:  # noqa: ANN401  # a module: it is imported only where its libraries are wanted
    """A module of `streams.serving`, imported now: the single-machine mode runs without the libraries it needs.

    Raises:
        InputError: they are not installed.
    """
    try:
        return importlib.import_module(f"streams.serving.{module}")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] in ("streams", "alerting", "verifier"):
            raise
        raise InputError(f"the clustered mode needs {error.name}: install revet with its extra `cluster`") from error


# ------------------------------------------------------------------------------------------------------------- options


def record_option(function: F) -> F:
    """`--state FILE`, `--profile NAME` and `--tz NAME`; on a terminal the command says which record it speaks to."""
    with_zone = click.option(
        "--tz",
        metavar="NAME",
        expose_value=False,
        callback=_keep_zone,
        help="Show times in this zone, such as Europe/Berlin; in JSON they stay UTC.  [default: UTC]",
    )(function)
    with_record = click.option(
        "--state",
        "record",
        metavar="FILE",
        type=click.Path(dir_okay=False, path_type=Path),
        callback=_record,
        help="State file of the single-machine mode.  [default: of the profile, $REVET_STATE, the Elasticsearch of"
        " revet.yaml or $REVET_ELASTICSEARCH_URL, or ~/.local/state/revet/revet.sqlite]",
    )(with_zone)
    return profile_option("record")(with_record)


def _record(context: click.Context, _parameter: click.Parameter, value: Path | None) -> Record:
    profile = context.meta.get(PROFILE)
    record = StateFile(value) if value is not None else _default(profile)
    if sys.stderr.isatty():
        say(f"revet: {record}" + (f" (profile {profile})" if profile and value is None else ""))
    return record


def _default(profile: str | None) -> Record:
    """The record nobody named with --state.

    Raises:
        InputError: the settings are wrong, or the profile names no record.
    """
    if profile or not os.environ.get("REVET_STATE"):
        settings = named_settings(None, profile).settings
        if settings.elasticsearch.url:
            return Cluster(settings)
    return StateFile(default_state())


_UTC: Final = ("UTC", "Z")
"""Names that need no data of the system."""


def _keep_zone(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value:
        context.meta[ZONE] = _zone(value, context, parameter)


def _zone(name: str, context: click.Context, parameter: click.Parameter) -> tzinfo:
    if name.upper() in _UTC:
        return UTC
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:  # a folder, or a path out of the data
        advice = "give a name such as Europe/Berlin or UTC"
        if not zoneinfo.available_timezones():
            advice = "this system has no time zone data (package tzdata); UTC always works"
        raise click.BadParameter(f"{name[:60]!a} is no time zone; {advice}", context, parameter) from error
