"""`revet verdict replay`: judge again what was judged, from the recorded inputs, and compare the bytes."""

from __future__ import annotations

from collections import Counter
from typing import Final

import click
import msgspec

from alerting.text import count
from streams.cli.common import (
    EXIT_OK,
    EXIT_UNKNOWN,
    EXIT_VIOLATION,
    now,
    output_option,
    print_json,
    print_table,
    say,
)
from streams.cli.looking import Record, looking, record_option
from streams.cli.render import safe
from streams.local.inputs import LogInputs
from streams.local.looking import StateLook
from streams.queries.lists import verdict_document
from streams.queries.looking import Look
from streams.replaying import Inputs, RecordInputs, Replayed, Replayer

SCHEMA: Final = "revet.verdict-replay/v1"
SHOWN: Final = 20
"""Verdicts that are told one by one with --all; JSON has every one that is not the same."""

_EXIT: Final = {"same": EXIT_OK, "differs": EXIT_VIOLATION, "inputs-missing": EXIT_UNKNOWN}
_SENTENCES: Final = {
    "same": "same byte for byte",
    "differs": "differs",
    "inputs-missing": "cannot be replayed: its inputs are not on record",
}


@click.group()
def command() -> None:
    """Replay a recorded verdict."""


@command.command(
    epilog="Exit codes: 0 the same; 1 something differs; 3 inputs are not on record.\n\n"
    "Examples:\n\n\b\n"
    "  $ revet verdict replay v1:Go3C1E6_YzGbMdxeTDiSAjpAxQi\n"
    "  $ revet verdict replay --all",
)
@click.argument("verdict", required=False)
@click.option("--all", "everything", is_flag=True, help="Every verdict of the record; says how many are the same.")
@record_option
@output_option
def replay(verdict: str | None, everything: bool, record: Record, output: str) -> int:
    """Recompute VERDICT (ids: `revet trace`) from its recorded inputs and compare it byte for byte."""
    if (verdict is None) != everything:
        raise click.UsageError("give the id of a verdict, or --all")
    with looking(record, now()) as look:
        replayer = Replayer(_inputs(look))
        if verdict is not None:
            return _tell_one(replayer.replay(verdict_document(look.reader, verdict)), output)
        counts: Counter[str] = Counter()
        wrong: list[Replayed] = []
        for replayed in replayer.replay_all(look.reader):
            counts[replayed.result] += 1
            if replayed.result != "same":
                wrong.append(replayed)
    return _tell_all(counts, wrong, output)


def _inputs(look: Look) -> Inputs:
    """A state file has the inputs themselves; elsewhere the documents of the record hold them."""
    return LogInputs(look.connection) if isinstance(look, StateLook) else RecordInputs(look.reader)


def _tell_one(replayed: Replayed, output: str) -> int:
    if output == "json":
        print_json({"schema": SCHEMA, **msgspec.to_builtins(replayed)})
    else:
        policy = f" under {replayed.policy}" if replayed.policy else ""
        click.echo(safe(f"{replayed.id}: {replayed.image}{policy}: {replayed.verdict or 'unreadable'}"))
        click.echo(_SENTENCES[replayed.result])
        _print_details(replayed)
    return _EXIT[replayed.result]


def _tell_all(counts: Counter[str], wrong: list[Replayed], output: str) -> int:
    total = sum(counts.values())
    if output == "json":
        numbers = {name: counts[name] for name in _EXIT}
        print_json({"schema": SCHEMA, "total": total, **numbers, "not_same": msgspec.to_builtins(wrong)})
    else:
        told = f"{count(total, 'verdict')} replayed: {counts['same']} same byte for byte"
        click.echo(f"{told}, {counts['differs']} differ, {counts['inputs-missing']} without inputs on record")
        for replayed in wrong[:SHOWN]:
            click.echo()
            click.echo(safe(f"{replayed.id}: {replayed.image}: {_SENTENCES[replayed.result]}"))
            _print_details(replayed)
        if len(wrong) > SHOWN:
            say(f"{len(wrong) - SHOWN} more are not the same; -o json names all of them")
    if counts["differs"]:
        return EXIT_VIOLATION  # beats "could not tell"
    return EXIT_UNKNOWN if counts["inputs-missing"] else EXIT_OK


def _print_details(replayed: Replayed) -> None:
    for sentence in replayed.missing:
        click.echo(safe(f"  {sentence}"))
    if replayed.differences:
        rows = [(d.where, safe(d.recorded, 200), safe(d.recomputed, 200)) for d in replayed.differences]
        print_table(("where", "recorded", "recomputed"), rows)
    if replayed.made_by and replayed.made_by != replayed.code:
        click.echo(safe(f"  judged by code version {replayed.made_by}, replayed by {replayed.code}"))
