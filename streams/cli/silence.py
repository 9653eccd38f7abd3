"""`revet silence`: for a time, nobody is told about something. It is judged and recorded as ever."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from alerting.models import Silence, SilenceAction, SilenceScope
from alerting.silences import DEFAULT_LENGTH, MAX_LENGTH, MAX_TEXT, NAMED_ONLY, refusal, scope_text
from alerting.text import count
from streams.cli.common import (
    EXIT_OK,
    EXIT_SERVICE,
    local_author,
    now,
    output_option,
    print_json,
    print_table,
    say,
    show_time,
)
from streams.cli.looking import Record, StateFile, clustered, looking, record_option
from streams.cli.render import safe
from streams.local.acting import DoneBy, act
from streams.local.looking import silences as silences_of_file
from streams.queries.lists import incidents
from streams.queries.looking import Look
from verifier.canonical import stable_id
from verifier.errors import InputError
from verifier.models import Micros
from verifier.times import DAY, parse_age

SCHEMA: Final = "revet.silence/v1"
SCHEMA_LIST: Final = "revet.silences/v1"
ACTIVE: Final = ("open", "acknowledged")
SHOWN: Final = 20
"""Incidents named after a silence was made."""

F = TypeVar("F", bound=Callable[..., Any])  # Any: decorators take every command as it is


@click.group()
def command() -> None:
    """Tell nobody about something for a time."""


def _many(flag: str, name: str, metavar: str, about: str) -> Callable[[F], F]:
    """An option that may be repeated."""
    return click.option(flag, name, metavar=metavar, multiple=True, help=about)


class Length(click.ParamType):
    """`90m`, `2h`, `3d`; gives microseconds."""

    name = "length"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Micros:
        """See `click.ParamType`."""
        found = value if isinstance(value, int) else parse_age(str(value))
        if not found:
            self.fail(f"{str(value)[:40]!a} is no length of time; give one like 90m, 2h or 3d", param, ctx)
        return found


@command.command(
    epilog="Example:\n\n\b\n  $ revet silence add --namespace 'legacy*' --finding unsigned --for 4h \\\n"
    "      --why 'moving to the signed base image, SEC-12'"
)
@_many("--incident", "names", "INC", "Incidents, by id or short id.")
@_many("--finding", "codes", "CODE", "Findings, by code.")
@_many("--cluster", "clusters", "NAME", "Clusters, by id or name; NAME* is the beginning of one.")
@_many("--namespace", "namespaces", "NAME", "Namespaces; NAME* is the beginning of one.")
@_many("--team", "teams", "NAME", "Teams that own a namespace; NAME* is the beginning of one.")
@_many("--policy", "policies", "NAME", "Policies; NAME* is the beginning of one.")
@click.option("--why", required=True, help="Why nobody has to hear of it, in words; kept with it, and shown.")
@click.option(
    "--for", "length", type=Length(), metavar="LENGTH", default=DEFAULT_LENGTH, show_default="1h",
    help=f"How long: 90m, 2h, 3d; at most {MAX_LENGTH // DAY}d.",
)  # fmt: skip
@record_option
@output_option
def add(
    names: tuple[str, ...],
    codes: tuple[str, ...],
    clusters: tuple[str, ...],
    namespaces: tuple[str, ...],
    teams: tuple[str, ...],
    policies: tuple[str, ...],
    why: str,
    length: Micros,
    record: Record,
    output: str,
) -> int:
    """Tell nobody about what is in a scope, for a time. Of one option any value counts, of several options all.

    What shows a compromise, and what says that revet is blind, is only silenced by its --finding or its --incident.
    """
    with looking(record, now()) as look:
        found = tuple(look.find(name, ("incident",)).values[0] for name in names)
        time = look.stamp()
    scope = SilenceScope(found, codes, clusters, namespaces, teams, policies)
    by = local_author()
    name = stable_id("silence", by, time, why, [list(values) for values in _lists(scope).values()])
    action = SilenceAction(f"{name}:add", time, name, "add", by, why, scope, time + length)
    refused = refusal(action)
    if refused:
        raise InputError(f"no silence was made: {refused}")
    return _done(action, _hand_over(record, action), record, output)


@command.command("list", epilog="Example:\n\n\b\n  $ revet silence list --all")
@click.option("--all", "everything", is_flag=True, help="Also those that are over.")
@record_option
@output_option
def list_(everything: bool, record: Record, output: str) -> int:
    """List silences, those that end first on top."""
    rows = [_row(one) for one in _silences(record) if everything or one.state == "in-force"]
    if output == "json":
        print_json({"schema": SCHEMA_LIST, "silences": rows})
    elif not rows:
        say("no silence is known" if everything else "no silence is in force (--all shows those that are over)")
    else:
        columns = ("id", "scope", "why", "by", "until", "state", "withheld")
        print_table(columns, [[row[column] for column in columns] for row in rows])
    return EXIT_OK


@command.command(epilog="Example:\n\n\b\n  $ revet silence end v1:77aa0c12 --note 'all signed'")
@click.argument("silence_id", metavar="ID")
@click.option("--note", default="", help="Why it is over; kept with it.")
@record_option
@output_option
def end(silence_id: str, note: str, record: Record, output: str) -> int:
    """End a silence now (ID or the beginning of it); what is left of what it was about is told, once."""
    if len(note) > MAX_TEXT:
        raise InputError(f"{len(note)} characters of text; at most {MAX_TEXT}")
    found = _named(_silences(record), silence_id)
    if found.state != "in-force":
        raise InputError(f"silence {found.id} is over since {show_time(found.time)}")
    with looking(record, now()) as look:
        time = max(look.stamp(), found.time + 1)
    action = SilenceAction(f"{found.id}:end", time, found.id, "end", local_author(), note)
    return _done(action, _hand_over(record, action), record, output)


# ------------------------------------------------------------------------------------------------------------ doing


def _hand_over(record: Record, action: SilenceAction) -> DoneBy:
    """To who keeps the incidents: the log of the file, or the alerter of the cluster."""
    if isinstance(record, StateFile):
        return act(record.path, action)
    done: DoneBy = clustered("silencing").act(record.settings, action)
    return done


def _silences(record: Record) -> list[Silence]:
    if isinstance(record, StateFile):
        return silences_of_file(record.path)
    found: list[Silence] = clustered("silencing").silences(record.settings)
    return found


def _named(known: list[Silence], name: str) -> Silence:
    found = [one for one in known if one.id == name] or [one for one in known if one.id.startswith(name)]
    if not found:
        raise InputError(f"no silence is called {name[:60]!a}: `revet silence list --all` names them")
    if len(found) > 1:
        raise InputError(f"{count(len(found), 'silence')} begin with {name[:60]!a}: give more of the id")
    return found[0]


# ------------------------------------------------------------------------------------------------------------ telling


def _done(action: SilenceAction, done: DoneBy, record: Record, output: str) -> int:
    """How it stands now; 4 when the service has not come to it in time."""
    found = next((one for one in _silences(record) if one.id == action.silence), None)
    if done != "nobody" and found is None:
        raise InputError("no silence was made: there are too many, or its end came first; `revet silence list`")
    with looking(record, now()) as look:
        covered = _covered(look, action.silence) if action.action == "add" else []
    if output == "json":
        row = None if found is None else _row(found)
        print_json({"schema": SCHEMA, "action": action.action, "done_by": done, "silence": row, "covers": covered})
    elif found is not None:
        click.echo(safe(f"{found.id} {found.state}, until {show_time(found.ends)}: {scope_text(found.scope)}", 2000))
        for name in covered[:SHOWN]:
            click.echo(f"  covers {name}")
        if action.action == "add" and not (action.scope.codes or action.scope.incidents):
            say(f"note: told all the same, unless named: {', '.join(sorted(NAMED_ONLY))}")
    if done == "nobody":
        say("revet: recorded, but the running service has not come to it yet")
        return EXIT_SERVICE
    return EXIT_OK


def _covered(look: Look, silence: str) -> list[str]:
    """Short ids of the incidents of which it covers something, as the record has them."""
    rows = incidents(look.reader, states=ACTIVE, limit=1000).rows
    return [row.short_id for row in rows if any(name == silence for name, *_ in row.silences)]


def _lists(scope: SilenceScope) -> dict[str, tuple[str, ...]]:
    return {name: getattr(scope, name) for name in SilenceScope.__struct_fields__}


def _row(one: Silence) -> dict[str, Any]:  # Any: what JSON holds
    return {
        "id": one.id,
        "scope": scope_text(one.scope),
        **_lists(one.scope),
        "why": one.why,
        "by": one.by,
        "since": show_time(one.starts),
        "until": show_time(one.ends),
        "state": one.state,
        "changed": show_time(one.time),
        "ended_by": one.ended_by,
        "note": one.note,
        "withheld": one.withheld,
    }
