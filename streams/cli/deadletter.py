"""`revet deadletter`: inputs that could not be read: which, why, and what of them can be read again."""

from __future__ import annotations

from typing import Final

import click
import msgspec

from alerting.text import count
from streams.cli.common import (
    EXIT_OK,
    EXIT_SERVICE,
    now,
    output_option,
    print_json,
    print_table,
    say,
    show_time,
)
from streams.cli.looking import Record, StateFile, looking, record_option
from streams.cli.render import safe
from streams.collectors.deadletters import CODES
from streams.local.retrying import RESULTS, Retried, retry
from streams.queries.kql import quoted
from streams.queries.lists import deadletters
from streams.queries.results import DeadLetterRow, DeadLetters, as_json
from verifier.errors import InputError

OPEN: Final = "state:open"
SCHEMA_SHOW: Final = "revet.deadletter/v1"
SCHEMA_RETRY: Final = "revet.deadletter-retry/v1"


@click.group()
def command() -> None:
    """Inputs that could not be read."""


@command.command("list", epilog="Examples:\n\n\b\n  $ revet deadletter list\n  $ revet deadletter list --all -o json")
@click.option("--all", "everything", is_flag=True, help="Also those that could be read later.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="Dead letters at most.")
@click.option("--after", default="", metavar="CURSOR", help="Go on where an earlier answer stopped.")
@record_option
@output_option
def list_(everything: bool, limit: int, after: str, record: Record, output: str) -> int:
    """Inputs that could not be read, newest first."""
    with looking(record, now()) as look:
        found = deadletters(look.reader, "" if everything else OPEN, limit=limit, after=after)
    if output == "json":
        print_json(as_json(found))
    elif not found.rows:
        say("no dead letter: everything that came in was understood")
    else:
        rows = [(r.id, show_time(r.time), r.code, r.size, r.source, r.state) for r in found.rows]
        print_table(("id", "time", "code", "bytes", "source", "state"), rows)
        if found.after:
            say(f"{len(found.rows)} shown; there are more: --after {found.after}")
    return EXIT_OK


@command.command(epilog="Example:\n\n\b\n  $ revet deadletter show v1:2lg0XD_2UBdVuUeRYcsd4y8dkOZ")
@click.argument("letter")
@record_option
@output_option
def show(letter: str, record: Record, output: str) -> int:
    """One LETTER: where it stands, why it could not be read, what its structure is."""
    with looking(record, now()) as look:
        rows = deadletters(look.reader, f"id:{quoted(letter)}", limit=1).rows
    if not rows:
        raise InputError(f"no dead letter {letter[:80]!r}; `revet deadletter list` names them")
    if output == "json":
        listed = as_json(DeadLetters(rows, ""))
        print_json({"schema": SCHEMA_SHOW, "deadletter": listed["rows"][0]})  # type: ignore[index]  # a list of one
    else:
        _print_letter(rows[0])
    return EXIT_OK


@command.command("retry", epilog="Example:\n\n\b\n  $ revet deadletter retry")
@record_option
@output_option
def retry_(record: Record, output: str) -> int:
    """Read again with this version what was kept: reduced originals, and files that are still there.

    The bytes of unreadable input are not kept, for privacy: what came over a connection cannot be retried.
    """
    if not isinstance(record, StateFile):
        raise InputError(
            "retry is for the state of the single-machine mode (--state FILE); in a cluster feed the file again with"
            " `revet serve files`: what was read before is known by its id, and only what is new counts"
        )
    with looking(record, now()) as look:
        instant = look.now
    done = retry(record.path, instant)
    if output == "json":
        print_json({"schema": SCHEMA_RETRY, **msgspec.to_builtins(done)})
    else:
        _print_retried(done)
    if done.done_by == "nobody":
        say("revet: recorded, but the running service has not come to it yet")
        return EXIT_SERVICE
    return EXIT_OK


# ------------------------------------------------------------------------------------------------------------ printing


def _print_letter(row: DeadLetterRow) -> None:
    lines = {
        "source": row.source,
        "time": show_time(row.time),
        "code": row.code,
        "why": row.message,
        "means": CODES.get(row.code, ""),
        "bytes": str(row.size),
        "sha256": row.sha256,
        "structure": row.excerpt or "(it cannot be decoded)",
        "state": row.state,
    }
    click.echo(safe(row.id))
    for label, text in lines.items():
        if text:
            click.echo(f"{label:<10} {safe(text)}")
    click.echo("The bytes themselves are not kept: nobody can say what secrets are in what cannot be read.")


def _print_retried(done: Retried) -> None:
    told = f"{count(done.originals, 'kept original')} read again: {count(done.new, 'observation')} added"
    click.echo(f"{told}, {done.same} as before, {done.differently} read differently now")
    if done.differently:
        click.echo("  what was read first stays in the log; to have it judged anew, replay into a new state file")
    if done.not_placed:
        click.echo(f"  {count(done.not_placed, 'kept original')} left out: nothing tells which cluster they are of")
    if not done.letters:
        click.echo("no dead letter is open")
        return
    print_table(("id", "code", "source", "result"), [(x.id, x.code, x.source, RESULTS[x.result]) for x in done.letters])
