"""`revet explain CODE`: what a reason, a finding or a dead letter means, and what to do.

The texts are those of the tables in code, which messages, documents and pages are made from as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Final

import click
import msgspec
from rich.text import Text

from alerting.findings import FINDINGS, FindingRow
from streams.cli.common import console, output_option, print_json, print_table
from streams.collectors.deadletters import CODES
from verifier.errors import InputError
from verifier.reasons import REASONS, ReasonRow

SCHEMA: Final = "revet.explain/v1"


class Explanation(msgspec.Struct, frozen=True):
    """One row of one of the tables. Empty members have nothing to say."""

    code: str
    table: str
    """`reason`, `finding` or `dead letter`."""
    effect: str
    """The verdict a reason argues for, or the default severity of a finding."""
    title: str
    meaning: str
    sentence: str = ""
    """How it reads in a message; {placeholders} are filled in there."""
    benign: str = ""
    todo: str = ""
    closes: str = ""
    page: str = ""


def explanations() -> Iterator[Explanation]:
    """Every row of every table: reasons, findings, dead letters."""
    yield from (_reason(code, row) for code, row in REASONS.items())
    yield from (_finding(code, row) for code, row in FINDINGS.items())
    yield from (Explanation(code, "dead letter", "", text, _DEAD_LETTER) for code, text in CODES.items())


_DEAD_LETTER: Final = "An input could not be read. It is kept as a dead letter; nothing else was held up by it."


def explain(code: str) -> tuple[Explanation, ...]:
    """Every row with this code; a finding may have the name of a reason.

    Raises:
        InputError: no table has it; the message names the closest codes.
    """
    found = tuple(row for row in explanations() if row.code == code)
    if found:
        return found
    near = get_close_matches(code, sorted({row.code for row in explanations()}), n=3, cutoff=0.5)
    advice = f"did you mean {', '.join(near)}?" if near else "`revet explain --list` names them all"
    raise InputError(f"no code {code[:80]!r}; {advice}")


def _reason(code: str, row: ReasonRow) -> Explanation:
    title = row.sentence if row.sentence != "{detail}" else row.meaning
    effect = row.effect or "evidence"
    return Explanation(code, "reason", effect, title, row.meaning, sentence=row.sentence, todo=row.todo)


def _finding(code: str, row: FindingRow) -> Explanation:
    return Explanation(
        code=code,
        table="finding",
        effect=row.severity,
        title=row.title,
        meaning=row.meaning,
        sentence=row.sentence,
        benign=row.benign,
        todo=row.todo,
        closes=row.closes_when,
        page=f"docs/findings/{code}.md",
    )


_LABELS: Final = {
    "sentence": "Reads",
    "meaning": "Means",
    "benign": "May be harmless",
    "todo": "What to do",
    "closes": "Closed by",
    "page": "More",
}


def _print(row: Explanation) -> None:
    effect = f", {row.effect}" if row.effect else ""
    lines = [Text(f"{row.code} ({row.table}{effect})", "bold"), Text(row.title if row.title != row.sentence else "")]
    for member, label in _LABELS.items():
        text = getattr(row, member)
        if text:
            lines += [Text(label, "bold"), Text(f"  {text}")]
    console().print(Text("\n").join(line for line in lines if line), soft_wrap=True)


@click.command(epilog="\b\nExamples:\n  $ revet explain key-revoked\n  $ revet explain --list")
@click.argument("code", required=False)
@click.option("--list", "listing", is_flag=True, help="Name every code.")
@output_option
def command(code: str | None, listing: bool, output: str) -> None:
    """What a reason, finding or dead letter CODE means and what to do."""
    if (code is None) != listing:
        raise click.UsageError("give a CODE, or --list")
    rows = tuple(explanations()) if code is None else explain(code)
    if output == "json":
        print_json({"schema": SCHEMA, "entries": rows})
    elif listing:
        print_table(["CODE", "TABLE", "EFFECT", "WHAT"], [[r.code, r.table, r.effect or "-", r.title] for r in rows])
    else:
        for position, row in enumerate(rows):
            if position:
                click.echo()
            _print(row)
