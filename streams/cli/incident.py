"""`revet incident`: what people are told about: look at it, take it, write something down, close it."""

from __future__ import annotations

from typing import Final, NamedTuple

import click
import msgspec

from alerting.adapters.console import message_text
from alerting.findings import FINDINGS
from alerting.models import ActionKind, IncidentAction
from alerting.presses import MAX_TICKET
from alerting.render import Message
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
from streams.queries.conditions import is_
from streams.queries.lists import incidents
from streams.queries.looking import Look
from streams.queries.port import Hit, every
from streams.queries.reading import number_of, text_of
from streams.queries.results import IncidentRow, Incidents, Timeline, as_json
from streams.queries.trace import trace
from streams.sinks.document import shown_image
from streams.sinks.fields import HOMES
from verifier.canonical import stable_id
from verifier.errors import InputError
from verifier.policy.documents import DEFAULT_EXEMPTION_DAYS, MAX_EXEMPTION_DAYS

SCHEMA: Final = "revet.incident/v1"
ACTIVE: Final = ("open", "acknowledged")
TOLD: Final = frozenset({"trust", "incident", "finding", "admitted", "denied", "errored", "ended"})
"""Kinds of rows of its timeline that `show` prints; `revet trace` has the verdicts and starts as well."""
TEXT_LIMIT: Final = 480
"""Characters of one sentence in a table; JSON has all of it."""
MAX_TEXT: Final = 2000
"""Characters of a note or reason."""


class Shown(NamedTuple):
    """All that is shown of one incident."""

    row: IncidentRow
    message: Message | None
    timeline: Timeline
    members: tuple[Hit, ...]
    """Its findings, open ones first."""


@click.group()
def command() -> None:
    """Look at incidents, acknowledge, note, close."""


@command.command("list", epilog="Examples:\n\n\b\n  $ revet incident list\n  $ revet incident list --all -o json")
@click.option("--all", "everything", is_flag=True, help="Resolved ones too.")
@click.option("--query", default="", metavar="KQL", help="Only those that match, e.g. 'severity:critical'.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="Incidents at most.")
@click.option("--after", default="", metavar="CURSOR", help="Go on where an earlier answer stopped.")
@record_option
@output_option
def list_(everything: bool, query: str, limit: int, after: str, record: Record, output: str) -> int:
    """Incidents, the one that changed last first."""
    with looking(record, now()) as look:
        states = () if everything else ACTIVE
        found = incidents(look.reader, query, states=states, limit=limit, after=after, now=look.now)
    if output == "json":
        print_json(as_json(found))
    else:
        _print_list(found, everything)
    return EXIT_OK


@command.command(epilog="Example:\n\n\b\n  $ revet incident show INC-YV9J3G")
@click.argument("incident")
@record_option
@output_option
def show(incident: str, record: Record, output: str) -> int:
    """The message about INCIDENT as it would be told now, its timeline, and what it holds."""
    with looking(record, now()) as look:
        found = look_at(look, incident)
    if output == "json":
        print_json(_as_json(found))
    else:
        _print_shown(found)
    return EXIT_OK


def _action(
    name: ActionKind, incident: str, text: str, record: Record, output: str, *, days: int = 0, ticket: str = ""
) -> int:
    """Hand over what was asked for, wait until it is done, and say how the incident stands."""
    if len(text) > MAX_TEXT or len(ticket) > MAX_TICKET:
        raise InputError(f"{len(text)} characters of text; at most {MAX_TEXT}, and {MAX_TICKET} of a ticket")
    with looking(record, now()) as look:
        row = _row(look, _id(look, incident))
        if row.state == "resolved" and name != "note":
            raise InputError(f"{row.short_id} is resolved since {row.resolved}: nothing to {_VERBS[name]}")
        if name == "propose" and FINDINGS[row.kind].proof_of_compromise:
            raise InputError(f"{row.short_id} shows a compromise, and no exemption accepts that: {row.message}")
        time = look.stamp()
    by = local_author()
    made = stable_id("incident-action", row.id, name, by, time, text)
    done = _act(record, IncidentAction(made, time, row.id, name, by, text, days, ticket), row)
    with looking(record, now()) as look:
        after = _row(look, row.id)
    return _tell(name, after, done, output)


def _act(record: Record, action: IncidentAction, row: IncidentRow) -> DoneBy:
    """Hand it to who keeps the incidents: the log of the file, or the alerter of the cluster."""
    if isinstance(record, StateFile):
        return act(record.path, action)
    if action.action == "ack" and row.state == "acknowledged":
        return "service"  # nothing would come of it, and nothing could be waited for
    done: DoneBy = clustered("acting").act(record.settings, action)
    return done


_VERBS: Final = {"ack": "acknowledge", "note": "note", "close": "close", "propose": "propose"}


@command.command(epilog="Example:\n\n\b\n  $ revet incident ack INC-YV9J3G --note 'rolling back'")
@click.argument("incident")
@click.option("--note", default="", help="What you are about to do; kept with the incident.")
@record_option
@output_option
def ack(incident: str, note: str, record: Record, output: str) -> int:
    """Take INCIDENT: others see that somebody is at it. A worse severity voids it."""
    return _action("ack", incident, note, record, output)


@command.command(epilog="Example:\n\n\b\n  $ revet incident note INC-YV9J3G 'the key was on the old runner'")
@click.argument("incident")
@click.argument("text")
@record_option
@output_option
def note(incident: str, text: str, record: Record, output: str) -> int:
    """Write TEXT down with INCIDENT."""
    if not text.strip():
        raise click.UsageError("a note needs some text")
    return _action("note", incident, text, record, output)


@command.command(epilog="Example:\n\n\b\n  $ revet incident close INC-YV9J3G --reason 'test cluster, torn down'")
@click.argument("incident")
@click.option("--reason", required=True, help="Why it is over although something may be left; kept with it.")
@record_option
@output_option
def close(incident: str, reason: str, record: Record, output: str) -> int:
    """Close INCIDENT by hand. It opens again when more comes in than was left."""
    if not reason.strip():
        raise click.UsageError("a reason needs some text")
    return _action("close", incident, reason, record, output)


@command.command(
    epilog="Example:\n\n\b\n  $ revet incident propose INC-YV9J3G --why 'the vendor signs next week' --days 7"
)
@click.argument("incident")
@click.option("--why", required=True, help="Why it is not a problem; kept with it.")
@click.option("--ticket", default="", help="Where it is followed up.")
@click.option(
    "--days",
    type=click.IntRange(1, MAX_EXEMPTION_DAYS),
    default=DEFAULT_EXEMPTION_DAYS,
    show_default=True,
    help="How long it should be accepted.",
)
@record_option
@output_option
def propose(incident: str, why: str, ticket: str, days: int, record: Record, output: str) -> int:
    """Propose that INCIDENT be accepted for a time. Nothing is accepted by that.

    The message then holds the command with which a trust administrator accepts it: `revet exempt add`.
    """
    if not why.strip():
        raise click.UsageError("--why needs some text")
    return _action("propose", incident, why, record, output, days=days, ticket=ticket)


# ------------------------------------------------------------------------------------------------------------ looking


def look_at(look: Look, text: str) -> Shown:
    """One incident with what belongs to it.

    Raises:
        InputError: nothing, or several things, are called so.
        PlaceUnavailable: the record cannot be read.
    """
    incident = _id(look, text)
    subject = look.find(f"incident:{incident}", ("incident",))
    members = sorted(
        every(look.reader, HOMES["findings"], is_("incident", incident)),
        key=lambda hit: (text_of(hit.body, "state") != "open", text_of(hit.body, "workload_id"), hit.id),
    )
    timeline = trace(look.reader, subject, now=look.live)
    return Shown(_row(look, incident), look.message(incident), timeline, tuple(members))


def _id(look: Look, text: str) -> str:
    return look.find(text, ("incident",)).values[0]


def _row(look: Look, incident: str) -> IncidentRow:
    found = incidents(look.reader, f'incident:"{incident}"', limit=1).rows
    if not found:
        raise InputError(f"nobody was told about {incident} yet")
    return found[0]


# ------------------------------------------------------------------------------------------------------------ printing


def _print_list(found: Incidents, everything: bool) -> None:
    if not found.rows:
        say("no incident" if everything else "no incident is open (--all shows the resolved ones)")
        return
    columns = ("incident", "state", "severity", "kind", "n", "owners", "changed", "about")
    print_table(columns, [_listed(row) for row in found.rows])
    if found.after:
        say(f"{len(found.rows)} shown; there are more: --after {found.after}")


def _listed(row: IncidentRow) -> tuple[object, ...]:
    teams = ", ".join(f"{team} {containers}" for team, containers, _ in row.teams[:4])
    more = " …" if len(row.teams) > 4 else ""
    about = row.subject or row.cause
    return row.short_id, row.state, row.severity, row.kind, row.containers, teams + more, show_time(row.changed), about


def _print_shown(found: Shown) -> None:
    if found.message is not None:
        click.echo(message_text(found.message))
    else:
        click.echo(safe(f"{found.row.short_id} {found.row.state}, {found.row.severity}: {found.row.message}"))
        for _, by, why, until in found.row.silences:
            click.echo(safe(f"  silenced until {show_time(until)} by {by}: {why}"))
        for label, value in (("deployed", found.row.deployed_by), ("good", found.row.good_image)):
            if value:
                click.echo(safe(f"  {label}: {value}"))
        for time, by, why, days, ticket in found.row.proposals:
            more = f" ({ticket})" if ticket else ""
            click.echo(safe(f"  {show_time(time)} {by} proposes to accept it for {count(days, 'day')}{more}: {why}"))
    rows = [row for row in found.timeline.rows if row.kind in TOLD]
    click.echo()
    print_table(("time", "what", "sentence"), [(show_time(r.time), r.kind, safe(r.text, TEXT_LIMIT)) for r in rows])
    click.echo()
    columns = ("state", "finding", "cluster", "workload", "container", "n", "image", "ended as")
    print_table(columns, [_member(hit) for hit in found.members])
    left = len(found.timeline.rows) - len(rows)
    if left:
        click.echo(f"\n{count(left, 'more row')}: revet trace {found.row.short_id}")
    if found.timeline.blind_spots:
        click.echo("\nnot seen:")
    for sentence in found.timeline.blind_spots:
        click.echo(safe(f"  {sentence}"))


def _member(hit: Hit) -> tuple[object, ...]:
    body = hit.body
    workload = "/".join(text_of(body, name) for name in ("namespace", "provenance.workload.kind", "workload"))
    return (
        text_of(body, "state"),
        text_of(body, "finding"),
        text_of(body, "cluster_name") or text_of(body, "cluster"),
        workload.strip("/"),
        text_of(body, "container"),
        number_of(body, "provenance.finding.affected_count"),
        shown_image(text_of(body, "repository"), text_of(body, "digest"), text_of(body, "image")),
        text_of(body, "provenance.finding.close_reason"),
    )


def _as_json(found: Shown) -> dict[str, object]:
    listed = as_json(Incidents((found.row,), ""))
    timeline = as_json(found.timeline)
    return {
        "schema": SCHEMA,
        "incident": listed["rows"][0],  # type: ignore[index]  # a list of one
        "message": None if found.message is None else msgspec.to_builtins(found.message, enc_hook=str),
        "timeline": timeline["rows"],
        "members": [{"id": hit.id, **hit.body} for hit in found.members],
        "blind_spots": timeline["blind_spots"],
    }


def _tell(name: str, row: IncidentRow, done: DoneBy, output: str) -> int:
    """How the incident stands now; 4 when the service has not come to it in time."""
    if output == "json":
        listed = as_json(Incidents((row,), ""))
        plain = {"schema": SCHEMA, "action": name, "done_by": done, "incident": listed["rows"][0]}  # type: ignore[index]  # a list of one
        print_json(plain)
    else:
        by = f" by {row.acknowledged_by}" if row.state == "acknowledged" else ""
        left = f"{count(row.containers, 'container')} left" if row.state == "resolved" else ""
        click.echo(safe(f"{row.short_id} is {row.state}{by}" + (f", {left}" if left else "")))
        for time, who, text in row.notes[-1:]:
            click.echo(safe(f"  {show_time(time)} {who}: {text}"))
    if done == "nobody":
        say("revet: recorded, but the running service has not come to it yet")
        return EXIT_SERVICE
    return EXIT_OK
