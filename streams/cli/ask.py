"""`revet ask`: the fifteen questions, one call each, as a table, JSON or CSV."""

from __future__ import annotations

import csv
import shlex
import sys
from typing import Final

import click
import msgspec

from streams.casefile import field
from streams.cli.changing import when_given
from streams.cli.common import now, print_json, print_table, say, show_time
from streams.cli.looking import Record, looking, record_option
from streams.cli.render import safe
from streams.queries.conditions import Condition, both, either, is_
from streams.queries.looking import Look
from streams.queries.port import MAX_PAGE
from streams.queries.questions import QUESTIONS, Asked, Question, ask, question
from streams.queries.results import TIME_COLUMNS, Cell, QuestionAnswer, as_json
from streams.sinks.document import instant
from verifier.errors import InputError

CELL_LIMIT: Final = 240
"""Characters of one value in the table; JSON and CSV have all of them."""
NOT_IN_TABLES: Final = frozenset({"digest", "evidence", "instance", "evidence_set", "code_version"})
"""Columns that programs ask on with; a table has the short form beside them, or no room."""
SCHEMA_LIST: Final = "revet.questions/v1"


class Given(msgspec.Struct, frozen=True):
    """Options as they were typed; ages count from the record's clock."""

    subject: str | None
    at: str | None
    known_at: str | None
    start: str | None
    end: str | None
    cluster: str | None
    namespace: str | None
    limit: int
    after: str


@click.command(
    epilog="QUESTION is a number or a name:\n\n\b\n"
    + "\n".join(f"  {one.number:>2} {one.name:<11} {one.text}" for one in QUESTIONS)
    + "\n\nExit codes: 0 it was answered, whatever the answer is; 2 wrong usage; 4 the record cannot be read.\n\n"
    "Examples:\n\n\b\n"
    "  $ revet ask signed registry.example.com/payments/refunds:2.3\n"
    "  $ revet ask running key:build --at 2026-11-21T13:20:00Z\n"
    "  $ revet ask ran payments/Deployment/payments-api --from 2026-11-21T13:00:00Z --to 2026-11-21T13:30:00Z\n"
    "  $ revet ask believed sha256:49024d919c --at 2026-11-21T13:20:00Z --known-at 2026-11-21T13:30:00Z\n"
    "  $ revet ask 13 --namespace payments -o csv\n"
    "  $ revet ask 15 --from 2026-11-21T13:00:00Z -o json"
)
@click.argument("number_or_name", metavar="QUESTION", required=False)
@click.argument("subject", required=False)
@click.option("--at", metavar="TIME", help="What was so then.  [default: now, or what --known-at says]")
@click.option("--known-at", metavar="TIME", help="As known by then.  [default: all that is on record]")
@click.option("--from", "start", metavar="TIME", help="Start of the window, for questions about what happened.")
@click.option("--to", "end", metavar="TIME", help="End of that window.")
@click.option("--cluster", metavar="ID|NAME", help="Only there.")
@click.option("--namespace", metavar="NAME", help="Only there.")
@click.option("--limit", type=click.IntRange(1, MAX_PAGE), default=100, show_default=True, help="Rows at most.")
@click.option("--after", default="", metavar="CURSOR", help="Go on where an earlier answer stopped.")
@click.option("--list", "list_all", is_flag=True, help="List the questions, and stop.")
@record_option
@click.option(
    "-o", "--output", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True,
    help="How to print.",
)  # fmt: skip
def command(number_or_name: str | None, list_all: bool, record: Record, output: str, **given: str | int | None) -> int:
    """Ask one of fifteen questions of the record.

    SUBJECT is what `revet trace` takes: a digest, image, pod, workload, incident, finding; for most questions also a
    policy, key, identity, CA, builder, commit or log. Say which in front when several are called so: `key:build`.
    """
    if list_all or number_or_name is None:
        if not list_all:
            raise click.UsageError("give a QUESTION, or --list")
        return _print_list(output)
    of = question(number_or_name)
    with looking(record, now()) as look:
        found = answer(look, of, msgspec.convert(given, Given))
    if output == "json":
        print_json(as_json(found))
    elif output == "csv":
        _print_csv(found)
    else:
        print_answer(found)
    return 0


def answer(look: Look, of: Question, given: Given) -> QuestionAnswer:
    """The answer to a question as it was typed.

    Raises:
        InputError: the question needs a subject, or takes none; several things are called so; a wrong time or cursor.
        PlaceUnavailable: the record cannot be read.
    """
    if given.subject is not None and not of.subjects:
        raise InputError(f"`{of.name}` is about feeds of clusters and takes no subject; narrow it with --cluster")
    subject = None if given.subject is None else look.find_or_nothing(given.subject, of.subjects)
    at, known_at = when_given(given.at, look.now, "--at"), when_given(given.known_at, look.now, "--known-at")
    start, end = when_given(given.start, look.now, "--from"), when_given(given.end, look.now, "--to")
    if at is not None and (start is not None or end is not None):
        raise InputError("--at is an instant, --from and --to are a window: give one of both")
    if of.of_instant and (start is not None or end is not None):
        raise InputError(f"`{of.name}` is about an instant: give --at; `ask ran` and `ask blind` are about a window")
    if start is not None and end is not None and start > end:
        raise InputError("--from is later than --to")
    asked = Asked(
        subject=subject,
        where=_narrowing(given),
        cluster=given.cluster or "",
        at=at,
        known_at=known_at,
        start=start,
        end=end,
        limit=given.limit,
        after=given.after,
        now=look.now,
        live=look.live,
    )
    return ask(look.reader, of, asked)


def _narrowing(given: Given) -> Condition:
    parts: list[Condition] = []
    if given.cluster:
        parts.append(either(is_("cluster", given.cluster), is_("cluster_name", given.cluster)))
    if given.namespace:
        parts.append(is_("namespace", given.namespace))
    return both(*parts)


# ------------------------------------------------------------------------------------------------------------ printing


def print_answer(found: QuestionAnswer) -> None:
    """The rows, how to go on, what the answer cannot hold, and what was not seen: last, so that nobody takes silence
    for absence.
    """
    about = f": {found.subject.kind} {found.subject.name}" if found.subject is not None else ""
    click.echo(safe(f"{found.number} {found.question}{about}"))
    if found.subject is not None and not found.subject.known:
        click.echo("nothing on record is called so")
    elif not found.rows:
        click.echo("nothing found")
    else:
        used = [name for n, name in enumerate(found.columns) if any(row[n] not in ("", None) for row in found.rows)]
        columns = [found.columns.index(name) for name in used if name not in NOT_IN_TABLES]
        rows = [[_shown(found.columns[n], row[n]) for n in columns] for row in found.rows]
        print_table([found.columns[n].replace("_", " ") for n in columns], rows)
    if found.after:
        say(f"{len(found.rows)} shown; there is more: --after {shlex.quote(found.after)}")
    for title, sentences in (("to know", found.limits), ("not seen", found.blind_spots)):
        if sentences:
            click.echo(f"\n{title}:")
            for sentence in sentences:
                click.echo(safe(f"  {sentence}"))


def _shown(column: str, cell: Cell) -> str:
    if isinstance(cell, int) and column in TIME_COLUMNS:
        return show_time(cell)
    return "" if cell is None else safe(str(cell), CELL_LIMIT)


def _print_csv(found: QuestionAnswer) -> None:
    """RFC 4180, times as RFC 3339; what is no row goes to standard error."""
    writer = csv.writer(sys.stdout, lineterminator="\r\n")
    writer.writerow(found.columns)
    for row in found.rows:
        writer.writerow([_field(name, cell) for name, cell in zip(found.columns, row, strict=True)])
    if found.after:
        say(f"{len(found.rows)} rows; there is more: --after {shlex.quote(found.after)}")
    for sentence in (*found.limits, *(f"not seen: {sentence}" for sentence in found.blind_spots)):
        say(sentence)


def _field(column: str, cell: Cell) -> str | int:
    if isinstance(cell, int):
        return instant(cell) if column in TIME_COLUMNS else cell
    return field(safe(cell or ""))


def _print_list(output: str) -> int:
    if output == "json":
        print_json(
            {
                "schema": SCHEMA_LIST,
                "questions": [
                    {"number": q.number, "name": q.name, "question": q.text, "subjects": q.subjects,
                     "needs_subject": q.needs_subject, "columns": q.columns}
                    for q in QUESTIONS
                ],
            }
        )  # fmt: skip
        return 0
    rows = [(q.number, q.name, q.text, _subjects(q)) for q in QUESTIONS]
    if output == "csv":
        csv.writer(sys.stdout, lineterminator="\r\n").writerows([("number", "name", "question", "about"), *rows])
    else:
        print_table(("", "name", "question", "about"), rows)
    return 0


def _subjects(of: Question) -> str:
    listed = ", ".join(of.subjects)
    return listed if of.needs_subject or not listed else f"everything, or: {listed}"
