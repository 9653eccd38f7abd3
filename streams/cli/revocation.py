"""`revet revocation`: what is revoked, and taking a revocation back."""

from __future__ import annotations

from typing import Any

import click

from streams.cli.changing import asked_by, carry_out, evidence_option, note_option, reading, tell
from streams.cli.common import EXIT_OK, output_option, print_json, print_table, show_time
from streams.cli.trustplace import Place, place_option, sign_options
from verifier.models import Micros
from verifier.trust.changes import withdraw
from verifier.trust.describe import describe, subject_of
from verifier.trust.revocation import CLASS_OF
from verifier.trust.state import RevocationEntry, TrustState


@click.group()
def command() -> None:
    """List and withdraw revocations."""


@command.command("list", epilog="Example:\n\n\b\n  $ revet revocation list --all")
@click.option("--all", "everything", is_flag=True, help="Also withdrawn ones.")
@place_option
@output_option
def list_(everything: bool, state: Place, output: str) -> int:
    """List revocations."""
    found = reading(state)
    entries = sorted(found.trust.revocations.values(), key=lambda entry: entry.epoch)
    rows = [_row(found.trust, entry, found.now) for entry in entries if everything or entry.active]
    if output == "json":
        print_json({"schema": "revet.revocations/v1", "epoch": found.trust.epoch, "revocations": rows})
        return EXIT_OK
    columns = ("id", "subject", "name", "reason", "compromised_since", "effective", "status", "by")
    print_table(columns, [[row[c] for c in columns] for row in rows])
    return EXIT_OK


@command.command("withdraw", epilog="Example:\n\n\b\n  $ revet revocation withdraw v1:3f2a91c0 --note 'false alarm'")
@click.argument("revocation_id", metavar="ID")
@note_option
@evidence_option
@sign_options
@place_option
@output_option
def withdraw_(revocation_id: str, note: str, evidence: str, state: Place, output: str) -> int:
    """Take a revocation back (ID or the beginning of it); what was before is restored exactly."""
    found = reading(state)
    record = withdraw(found.trust, asked_by(found, note), revocation_id)
    outcome = carry_out(
        state, [record], found.now, expects=found.trust.epoch, evidence=evidence, what="revet revocation withdraw"
    )
    return tell(outcome, output, state)


def _row(trust: TrustState, entry: RevocationEntry, now: Micros) -> dict[str, Any]:  # Any: what JSON holds
    record = entry.record
    status = "in force" if record.effective <= now else "ahead"
    return {
        "id": entry.id,
        "subject": subject_of(record),
        "subject_kind": record.subject_kind,
        "subject_id": record.subject,
        "name": trust.name_of(record.subject) if record.subject_kind == "key" else "",
        "reason": record.reason,
        "class": CLASS_OF[record.reason],
        "compromised_since": show_time(record.compromised_since),
        "effective": show_time(record.effective),
        "status": status if entry.active else "withdrawn",
        "withdrawn": show_time(entry.withdrawn_at),
        "by": record.author,
        "note": record.note,
        "sentence": describe(record),
        "epoch": entry.epoch,
    }
