"""`revet search`: a query in a subset of KQL over the record; the same text finds the same in Kibana."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from typing import Final

import click

from streams.cli.changing import when_given
from streams.cli.common import EXIT_USAGE, now, output_option, print_json, print_table, say, show_time, zoned
from streams.cli.looking import Record, looking, record_option
from streams.cli.render import safe
from streams.queries.columns import HISTORY, TITLES, columns_of
from streams.queries.conditions import full_name, values_of
from streams.queries.kql import QueryError
from streams.queries.lists import search
from streams.queries.port import MAX_PAGE, Hit
from streams.queries.results import SearchResult, as_json
from streams.sinks.fields import FIELDS, SEARCHABLE, home_of
from verifier.errors import InputError

CELL_LIMIT: Final = 240
"""Characters of one value in the table; JSON has all of them."""


@click.command(
    epilog="Examples:\n\n\b\n"
    "  $ revet search 'verdict:violates and namespace:payments'\n"
    "  $ revet search 'image:registry.example.com/* and not reason:unsigned' --fields pod,image,reason\n"
    "  $ revet search 'decision:* and user:alice*' --in admission --limit 20 -o json\n"
    "  $ revet search --list-fields --in findings",
)
@click.argument("query", required=False)
@click.option(
    "--in", "home", default="containers", show_default=True, metavar="DATASET",
    help="Part of the record to search; `history` for all that happened.",
)  # fmt: skip
@click.option("--limit", type=click.IntRange(1, MAX_PAGE), default=50, show_default=True, help="Documents at most.")
@click.option("--after", default="", metavar="CURSOR", help="Go on where an earlier answer stopped.")
@click.option("--at", metavar="TIME", help="Containers only: what ran then, under the verdicts of then.")
@click.option("--fields", metavar="A,B", help="Fields to show, short or full names.")
@click.option("--list-fields", is_flag=True, help="Name every field that can be searched, and stop.")
@record_option
@output_option
def command(
    query: str | None,
    home: str,
    limit: int,
    after: str,
    at: str | None,
    fields: str | None,
    list_fields: bool,
    record: Record,
    output: str,
) -> int:
    """Search the record with a subset of KQL.

    QUERY knows `field:value`, `and`, `or`, `not`, `*`, `<` `>` and "quotes"; an empty one ("") finds everything. Newest
    first.
    """
    if list_fields:
        return print_fields("" if home == "containers" else home, output)
    if query is None:
        raise click.UsageError("give a QUERY (for everything: ''), or --list-fields")
    columns = _columns(home, fields)
    with looking(record, now()) as look:
        instant = when_given(at, look.now, "--at")
        try:
            found = search(look.reader, query, home, limit=limit, after=after, at=instant, now=look.now)
        except QueryError as error:
            return point_at(error)
    if output == "json":
        print_json(_only(found, fields, columns))
    else:
        print_hits(found, columns)
    return 0


def _columns(home: str, fields: str | None) -> tuple[str, ...]:
    """Full names of the columns to show.

    Raises:
        InputError: no such field, or no such part of the record.
    """
    if fields is None:
        return columns_of(home)
    names = [name.strip() for name in fields.split(",") if name.strip()]
    if not names:
        raise InputError("--fields names no field; give --fields pod,image")
    return tuple(full_name(name) for name in names)


def point_at(error: QueryError) -> int:
    """Say what is wrong in a query, with a mark below the place; returns the exit code."""
    say(f"revet: {error}")
    before, after = error.query[: error.column - 1], error.query[error.column - 1 :]
    start = safe(before[-_AROUND:])
    say(f"  {start}{safe(after[:_AROUND])}")
    say(f"  {' ' * len(start)}^")
    return EXIT_USAGE


_AROUND: Final = 60
"""Characters of the query shown on both sides of an error."""


# ------------------------------------------------------------------------------------------------------------ printing


def print_hits(found: SearchResult, columns: Sequence[str]) -> None:
    """One line per document; how to go on comes last."""
    if not found.hits:
        say("nothing found")
        return
    titles = [TITLES.get(name, name) for name in columns]
    print_table(titles, [[_cell(hit, name) for name in columns] for hit in found.hits])
    if found.after:
        say(f"{len(found.hits)} shown; there is more: --after {shlex.quote(found.after)}")


def _cell(hit: Hit, name: str) -> str:
    if name == "@timestamp":
        return show_time(hit.time)
    shown = zoned if name in FIELDS and FIELDS[name].type == "date" else str
    return safe(", ".join(map(shown, values_of(name, hit.body))), CELL_LIMIT)


def _only(found: SearchResult, fields: str | None, columns: Iterable[str]) -> dict[str, object]:
    """The answer as plain data; with --fields, documents have only these."""
    plain = as_json(found)
    if fields is not None:
        plain["hits"] = [
            {"home": hit.home, "id": hit.id, **{n: _value(hit, n) for n in columns if values_of(n, hit.body)}}
            for hit in found.hits
        ]
    return plain


def _value(hit: Hit, name: str) -> object:
    """As the document has it; of a map, the one member that was asked for."""
    return hit.body[name] if name in hit.body else values_of(name, hit.body)[0]


def print_fields(home: str, output: str) -> int:
    """Every field that can be searched, or those of one part of the record.

    Raises:
        InputError: there is no such part.
    """
    short = home_of(home).removeprefix("revet-state-").removeprefix("revet.") if home and home != HISTORY else ""
    rows = [f for f in FIELDS.values() if f.type in SEARCHABLE and (not short or short in f.homes)]
    if output == "json":
        listed = [{"name": f.name, "short": f.short, "type": f.type, "in": f.homes, "text": f.text} for f in rows]
        print_json({"schema": "revet.fields/v1", "fields": listed})
    else:
        print_table(("short", "field", "type", "what"), [(", ".join(f.short), f.name, f.type, f.text) for f in rows])
    return 0
