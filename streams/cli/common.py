"""What every command shares: options, output as table or JSON, times, errors, exit codes."""

from __future__ import annotations

import functools
import getpass
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from alerting.text import is_hidden
from streams.cli.render import safe
from streams.clock import wall_clock
from streams.settings import Loaded, load, load_settings
from verifier.errors import InputError, RevetError
from verifier.models import Micros
from verifier.times import FIRST, parse_age, parse_instant, parse_utc, show_instant
from verifier.trust.changes import By

EXIT_OK: Final = 0
EXIT_VIOLATION: Final = 1
EXIT_USAGE: Final = 2
EXIT_UNKNOWN: Final = 3
EXIT_SERVICE: Final = 4
EXIT_INTERNAL: Final = 70

DEFAULT_STATE: Final = "revet.sqlite"
F = TypeVar("F", bound=Callable[..., Any])


def default_state() -> Path:
    """The state file nobody named: of the profile, else $REVET_STATE, else revet.sqlite in the user's folder (XDG).

    Raises:
        InputError: the profile is not there, or names no state.
    """
    context = click.get_current_context(silent=True)
    profile = context.meta.get(PROFILE) if context is not None else None
    if profile:
        return profile_state(profile)
    named = os.environ.get("REVET_STATE")
    if named:
        return Path(named)
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "revet" / DEFAULT_STATE


PROFILE: Final = "revet.profile"


def profile_file(profile: str) -> Path:
    """The settings file of a profile: a path, or NAME.yaml in the user's configuration folder (XDG).

    Raises:
        InputError: there is none; says where it was looked for.
    """
    base = Path(os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")) / "revet"
    file = Path(profile) if "/" in profile or profile.endswith((".yaml", ".yml")) else base / f"{profile}.yaml"
    if not file.is_file():
        known = ", ".join(sorted(f.stem for f in base.glob("*.yaml"))) or "none"
        raise InputError(f"no profile {profile}: {file} is not there; profiles in {base}: {known}")
    return file


def profile_state(profile: str) -> Path:
    """The state file a profile's settings name. Raises InputError as `profile_file`, or when it names none."""
    file = profile_file(profile)
    state = load_settings(file, {}, {}).state
    if state is None:
        raise InputError(f"{file}: profile {profile} names no state; add `state: /path/to/revet.sqlite`")
    return state


def state_option(function: F) -> F:
    """`--state FILE` and `--profile NAME`; on a terminal the command says which state it speaks to."""
    with_state = click.option(
        "--state",
        type=click.Path(dir_okay=False, path_type=Path),
        default=default_state,
        show_default="of the profile, $REVET_STATE, or ~/.local/state/revet/revet.sqlite",
        callback=_say_which,
        help="State file of the single-machine mode.",
    )(function)
    return profile_option("state")(with_state)


def profile_option(what: str) -> Callable[[F], F]:
    """`--profile NAME`, read before what else names the `what` that a command speaks to; kept under `PROFILE`."""
    return click.option(
        "--profile",
        metavar="NAME",
        envvar="REVET_PROFILE",
        expose_value=False,
        is_eager=True,
        callback=_keep_profile,
        help=f"Settings that name the {what}: a file, or NAME.yaml in ~/.config/revet.  [env: REVET_PROFILE]",
    )


def _keep_profile(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    if value:
        context.meta[PROFILE] = value


def _say_which(context: click.Context, _parameter: click.Parameter, value: Path) -> Path:
    if sys.stderr.isatty():
        profile = context.meta.get(PROFILE)
        say(f"revet: state {value}" + (f" (profile {profile})" if profile else ""))
    return value


def settings_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--settings FILE` and `--profile NAME`; the command takes `settings: Settings`, checked and complete.

    The file is the one named, else the profile's, else $REVET_PROFILE's, else `revet.yaml` where it exists; variables
    win over it, as in `revet run`.
    """

    @functools.wraps(function)
    def with_settings(*args: object, settings_file: Path | None, profile: str | None, **named: object) -> object:
        return function(*args, settings=named_settings(settings_file, profile).settings, **named)

    return settings_flags(with_settings)


def settings_flags(function: F) -> F:
    """The flags of `settings_option` for a command that calls `named_settings` itself."""
    with_file = click.option(
        "--settings",
        "settings_file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Settings file.  [default: of the profile, else revet.yaml where it exists]",
    )(function)
    return click.option(
        "--profile",
        metavar="NAME",
        envvar="REVET_PROFILE",
        help="Settings of that name: a file, or NAME.yaml in ~/.config/revet.  [env: REVET_PROFILE]",
    )(with_file)


def named_settings(file: Path | None, profile: str | None) -> Loaded:
    """The settings that `--settings` and `--profile` name, with where each value came from.

    Raises:
        InputError: there is no such profile, or as `streams.settings.load`.
    """
    if file is None and profile:
        file = profile_file(profile)
    return load(file, os.environ, {})


def output_option(function: F) -> F:
    """`--output table|json`."""
    return click.option(
        "-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True, help="How to print."
    )(function)


PIPE_WIDTH: Final = 200
"""Columns of a table that goes into a file or a pipe: names are not broken where a program looks for them."""


def console(*, stderr: bool = False) -> Console:
    """A console that colours only on a terminal and never reads markup from data."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
    return Console(stderr=stderr, markup=False, highlight=False, emoji=False, soft_wrap=False, width=width)


def print_json(value: object) -> None:
    """One JSON document on standard output: sorted, indented, ASCII-safe against terminals."""
    data = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    click.echo(safe_json(data))


def encodable(text: str) -> str:
    """Text that UTF-8 can hold: an argument of other bytes has lone surrogates, which no JSON writer takes."""
    return text.encode("utf-8", "backslashreplace").decode()


def safe_json(text: str) -> str:
    """JSON text without raw control, bidirectional or other invisible characters (escaped as JSON does)."""
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    return "".join(c if c == "\n" or not is_hidden(c) else "".join(f"\\u{u:04x}" for u in _utf16(c)) for c in text)


def _utf16(character: str) -> Iterable[int]:
    data = character.encode("utf-16-be", "surrogatepass")
    return (int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "") -> None:
    """A plain table; every cell is escaped. A `Text` is taken as it is: whoever styles a text has escaped it."""
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(safe(str(cell))) for cell in row))
    console().print(table)


def say(text: str) -> None:
    """One line for people on standard error, escaped."""
    console(stderr=True).print(Text(safe(text)), soft_wrap=True)


def report_error(error: BaseException) -> int:
    """Print what went wrong and where to look; returns the exit code."""
    if isinstance(error, RevetError):
        say(f"revet: {error}")
        return error.exit_code
    say(f"revet: internal error: {type(error).__name__}: {error}")
    if os.environ.get("REVET_DEBUG"):
        traceback.print_exception(error)
    else:
        say("revet: please report it; REVET_DEBUG=1 shows where it happened")
    return EXIT_INTERNAL


class Instant(click.ParamType):
    """A time: RFC 3339 (`2026-11-21T13:00:00Z`), a date, or an age (`90s`, `2h`, `3d` ago). Gives microseconds UTC."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Parse; a wrong value is a usage error that says what is expected."""
        if isinstance(value, int):
            return value
        try:
            return parse_time(str(value), now())
        except ValueError:
            self.fail(f"{value!r} is no time; {TIME_EXPECTED}", param, ctx)


TIME_EXPECTED: Final = "give 2026-11-21T13:00:00Z, 2026-11-21, or an age like 90s, 2h, 3d"


def parse_time(text: str, now: Micros) -> Micros:
    """Microseconds UTC of a time as `Instant` takes it; ages count back from `now`.

    Raises:
        ValueError: it is no time, or an age that reaches beyond the calendar.
    """
    age = parse_age(text)
    if age is None:
        return parse_utc(text)
    if now - age < FIRST:
        raise ValueError("older than the calendar")
    return now - age


INSTANT: Final = Instant()


class Pair(click.ParamType):
    """`key=value`, as annotations and labels are written. Gives (key, value)."""

    name = "key=value"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Parse; the value may be empty and may hold further `=`."""
        if isinstance(value, tuple):
            return (str(value[0]), str(value[1]))
        key, equals, text = encodable(str(value)).partition("=")
        if not key or not equals:
            self.fail(f"{value!r} is not KEY=VALUE", param, ctx)
        return key, text


PAIR: Final = Pair()


def now() -> int:
    """The wall clock, microseconds UTC: read once per command, at its edge."""
    return wall_clock()


ZONE: Final = "revet.zone"
"""Where a command keeps the zone that times are shown in."""


def show_time(micros: Micros | None) -> str:
    """RFC 3339 to the second, UTC or in the zone of `--tz`; `-` for none."""
    if micros is None:
        return "-"
    zone = _zone()
    return show_instant(micros, "seconds") if zone is None else _in_zone(micros, zone, "seconds")


def zoned(value: object) -> str:
    """An instant as documents write it, in the zone of `--tz`; without one, and anything else, as it is."""
    zone = _zone()
    try:
        return str(value) if zone is None else _in_zone(parse_instant(str(value)), zone, "microseconds")
    except ValueError:
        return str(value)


def _zone() -> tzinfo | None:
    context = click.get_current_context(silent=True)
    return context.meta.get(ZONE) if context is not None else None


def _in_zone(micros: Micros, zone: tzinfo, precision: Literal["seconds", "microseconds"]) -> str:
    try:
        return (_EPOCH + timedelta(microseconds=micros)).astimezone(zone).isoformat(timespec=precision)
    except OverflowError:  # where the calendar ends
        return show_instant(micros, precision)


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def local_author() -> str:
    """The local user, said openly: on one machine nobody signs trust changes."""
    try:
        return f"local:{getpass.getuser()}"
    except (KeyError, OSError):
        return "local:unknown"


def by(now: int, note: str = "", origin: str = "cli") -> By:
    """Who asks, for `verifier.trust.changes`."""
    return By(author=local_author(), at=now, origin=origin, note=note)


def read_text(name: str) -> str:
    """The text of a file, or of standard input for `-`.

    Raises:
        InputError: it cannot be read, or is not UTF-8.
    """
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        return data.decode()
    except OSError as error:
        raise InputError(f"{name}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: not UTF-8 text (byte {error.start})") from error


_ACCOUNT: Final = re.compile(r"([a-z0-9][a-z0-9-]{0,62})/([a-z0-9][a-z0-9.-]{0,252})")


def account_of(text: str, example: str) -> tuple[str, str]:
    """NAMESPACE/NAME of a service account in two parts. Raises InputError with an example when it is none."""
    found = _ACCOUNT.fullmatch(text)
    if found is None:
        raise InputError(f"--account {text}: expected NAMESPACE/NAME; example: --account {example}")
    return found[1], found[2]
