"""`revet trace`: where a thing came from, who let it in, what was judged and why it changed, and when it ended."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click
import msgspec

from alerting.text import count
from streams.cli.changing import when_given
from streams.cli.common import now, output_option, print_json, print_table, say, show_time
from streams.cli.exporting import Window, export_case, export_options, print_kibana_link
from streams.cli.looking import Record, looking, record_option
from streams.cli.render import safe
from streams.queries.held import BY_EVIDENCE
from streams.queries.looking import Look
from streams.queries.results import Row, Signature, Timeline, as_json
from streams.queries.trace import trace
from streams.sinks.document import shown_image
from verifier.models import Micros

TEXT_LIMIT: Final = 480
"""Characters of one sentence in the table; JSON has all of it."""

FOLLOWED_BY_RADIUS: Final = frozenset({"policy", *BY_EVIDENCE})
"""Kinds whose timeline follows no containers: `revet blast-radius` counts what they touch."""

_OWN: Final = ("verdict", "admitted", "denied", "errored")
_ID_OF: Final = {**dict.fromkeys(_OWN, ""), "finding": "finding_id", "incident": "short_id"}
"""Kind of row -> which of its ids to show; empty: the row's own."""

_PROOF: Final = {
    "attested": "trusted: a third party attests it",
    "observed": "revet's own first sight: it existed by then",
    "none": "nothing proves when",
}


@click.command(
    epilog="Examples:\n\n\b\n"
    "  $ revet trace registry.example.com/payments/refunds:2.3\n"
    "  $ revet trace payments/Deployment/payments-api --at 2026-11-21T13:26:50Z\n"
    "  $ revet trace key:build -o json\n"
    "  $ revet trace payments/Deployment/payments-api --export case-4711\n"
    "  $ revet trace 'identity:https://git.example.com/pay/*'",
)
@click.argument("subject")
@click.option("--at", metavar="TIME", help="What was on record at that time; ages (2h) count from the record's clock.")
@export_options
@record_option
@output_option
def command(subject: str, at: str | None, export: Path | None, kibana: bool, record: Record, output: str) -> int:
    """Where an image came from and where it ran.

    SUBJECT is a digest (8 hex digits or more of it), an image reference, a pod NAMESPACE/NAME, a workload
    NAMESPACE/KIND/NAME, a key's name or id, a policy, an incident, a finding, or what evidence rests on: an identity,
    CA, builder, commit or log. Say which in front when several are called so: `key:build`, `policy:build`.
    """
    with looking(record, now()) as look:
        instant = when_given(at, look.now, "--at")
        found = answer(look, subject, instant)
        window = Window(min((row.time for row in found.rows), default=None), instant)
        if kibana:
            print_kibana_link(record, look, found.subject, "", window)
            return 0
        if export is not None:
            export_case(export, "trace", record, look, found.subject, as_json(found), Window(None, instant))
    if output == "json":
        print_json(as_json(found))
    else:
        print_timeline(found)
    return 0


def answer(look: Look, text: str, at: Micros | None) -> Timeline:
    """The timeline of what a text stands for, up to an instant.

    Raises:
        InputError: several things are called so; nothing was recorded here.
        PlaceUnavailable: the record cannot be read.
    """
    found = trace(look.reader, look.find_or_nothing(text), end=at, now=look.live)
    return found if at is None else _as_of(found, at)


def _as_of(found: Timeline, at: Micros) -> Timeline:
    """Counts of then, out of the starts and ends by then; signatures that are proven by then, or never were."""
    starts = sum(row.kind == "started" for row in found.rows)
    ends = sum(row.kind == "ended" for row in found.rows)
    signatures = tuple(s for s in found.signatures if s.time is None or s.time <= at)
    first = found.first_seen if found.first_seen is not None and found.first_seen <= at else None
    return msgspec.structs.replace(
        found, running=max(starts - ends, 0), ended=ends, first_seen=first, signatures=signatures
    )


# ------------------------------------------------------------------------------------------------------------ printing


def print_timeline(found: Timeline) -> None:
    """Who signed, then everything in order, then what could not be seen."""
    subject = found.subject
    click.echo(safe(f"{subject.kind} {subject.name}" if subject.known else subject.name))
    if subject.values and subject.values != (subject.name,):
        click.echo(safe(f"  on record as {', '.join(subject.values[:6])}{' …' if len(subject.values) > 6 else ''}"))
    if not found.rows and not found.signatures:
        click.echo("nothing on record is called so" if not subject.values else "nothing is known of it")
    else:
        runs = f"; {count(found.running, 'container')} running, {found.ended} ended"
        if subject.kind in FOLLOWED_BY_RADIUS:
            runs = ""  # what it touches is another question
        click.echo(f"first known of {show_time(found.first_seen)}{runs}")
        _print_signatures(found.signatures)
        click.echo()
        print_table(("time", "what", "sentence", "id"), [_row(row) for row in found.rows])
    for dataset in found.left_out:
        say(f"only the first rows of {dataset} are shown; `revet search --in {dataset}` has the others")
    _print_blind(found.blind_spots)


def _print_signatures(signatures: tuple[Signature, ...]) -> None:
    click.echo()
    if not signatures:
        click.echo("no signature or attestation is on record")
        return
    rows = [
        (
            s.signer + (f" ({s.issuer})" if s.issuer else ""),
            s.kind + (f" ({s.problem})" if s.problem else ""),
            s.format,
            show_time(s.time),
            _PROOF[s.time_kind],
            shown_image(s.repository, s.digest),
        )
        for s in signatures
    ]
    print_table(("signed by", "kind", "format", "existed by", "proof of the time", "image"), rows)


def _row(row: Row) -> tuple[str, str, str, str]:
    named = _ID_OF.get(row.kind)
    shown = "" if named is None else row.ids.get(named, "") if named else row.id
    return show_time(row.time), row.kind, safe(row.text, TEXT_LIMIT), shown


def _print_blind(blind_spots: tuple[str, ...]) -> None:
    """Last, so that nobody takes silence for absence."""
    if blind_spots:
        click.echo("\nnot seen:")
    for sentence in blind_spots:
        click.echo(safe(f"  {sentence}"))
