"""`revet key`: the trust ring. revet holds public keys only; it never signs."""

from __future__ import annotations

from typing import Any

import click

from streams.cli.changing import (
    asked_by,
    carry_out,
    confirm,
    evidence_option,
    foresee,
    note_option,
    reading,
    tell,
    when_given,
)
from streams.cli.common import EXIT_OK, output_option, print_json, print_table, read_text, show_time
from streams.cli.trustplace import Place, place_option, sign_options
from verifier.models import Micros
from verifier.trust.changes import add_key, remove_key, rotate_key
from verifier.trust.describe import short
from verifier.trust.state import ManagedKey, TrustState


@click.group()
def command() -> None:
    """Add, rotate, remove and list public keys."""


@command.command(epilog="Example:\n\n\b\n  $ revet key add build --pem build.pub --owner platform")
@click.argument("name")
@click.option("--pem", required=True, metavar="FILE", help="The public key (PEM); `-` reads standard input.")
@click.option("--owner", default="", help="Whose it is.")
@click.option("--valid-from", metavar="TIME", help="Start of its window, judged at the proven signing time.")
@click.option("--valid-until", metavar="TIME", help="End of its window.")
@note_option
@evidence_option
@sign_options
@place_option
@output_option
def add(
    name: str,
    pem: str,
    owner: str,
    valid_from: str | None,
    valid_until: str | None,
    note: str,
    evidence: str,
    state: Place,
    output: str,
) -> int:
    """Put a public key into the ring under NAME, or change its owner or window."""
    found = reading(state, create=True)
    record = add_key(
        found.trust,
        asked_by(found, note),
        name,
        read_text(pem),
        owner=owner,
        valid_from=when_given(valid_from, found.now, "--valid-from"),
        valid_until=when_given(valid_until, found.now, "--valid-until"),
    )
    outcome = carry_out(state, [record], found.now, expects=found.trust.epoch, evidence=evidence, what="revet key add")
    return tell(outcome, output, state)


@command.command(epilog="Example:\n\n\b\n  $ revet key rotate release --new release-2026.pub")
@click.argument("name")
@click.option("--new", "new", required=True, metavar="FILE", help="The key that takes the name over (PEM).")
@click.option("--effective", metavar="TIME", help="From when on; default: now. What was signed before stays good.")
@note_option
@evidence_option
@sign_options
@place_option
@output_option
def rotate(name: str, new: str, effective: str | None, note: str, evidence: str, state: Place, output: str) -> int:
    """Let NAME mean another key from now on. Rotation is not revocation: nothing becomes a violation by it."""
    found = reading(state)
    since = when_given(effective, found.now, "--effective")
    record = rotate_key(found.trust, asked_by(found, note), name, read_text(new), effective=since)
    outcome = carry_out(
        state, [record], found.now, expects=found.trust.epoch, evidence=evidence, what="revet key rotate"
    )
    return tell(outcome, output, state)


@command.command(epilog="Example:\n\n\b\n  $ revet key remove old-ci --yes")
@click.argument("key")
@click.option("--yes", is_flag=True, help="Do not ask.")
@note_option
@evidence_option
@sign_options
@place_option
@output_option
def remove(key: str, yes: bool, note: str, evidence: str, state: Place, output: str) -> int:
    """Take a key (name, id, or the beginning of an id) out of the ring.

    It is no longer authorised, and not revoked: what it signed fails where the key is required.
    """
    found = reading(state)
    record = remove_key(found.trust, asked_by(found, note), key)
    foretold, _ = foresee(state, [record], found.now)
    reach = foretold.violating
    if output == "table":
        click.echo(f"would begin to violate: {reach.containers} containers of {reach.workloads} workloads")
    confirm(f"remove key {key} from the ring?", yes=yes or not reach.containers)
    outcome = carry_out(
        state, [record], found.now, expects=found.trust.epoch, evidence=evidence, what="revet key remove"
    )
    return tell(outcome, output, state)


@command.command("list", epilog="Example:\n\n\b\n  $ revet key list --all")
@click.option("--all", "everything", is_flag=True, help="Also keys that are no longer in the ring.")
@place_option
@output_option
def list_(everything: bool, state: Place, output: str) -> int:
    """List the keys of the ring; superseded ones are among them, since what they signed stays good."""
    trust = reading(state).trust
    keys = sorted(trust.keys.values(), key=lambda key: (key.name, key.added_epoch))
    rows = [_row(trust, key) for key in keys if everything or key.removed_at is None]
    if output == "json":
        print_json({"schema": "revet.keys/v1", "epoch": trust.epoch, "keys": rows})
        return EXIT_OK
    columns = ("name", "key", "status", "owner", "window")
    print_table(columns, [[row[c] for c in columns] for row in rows])
    return EXIT_OK


def _row(trust: TrustState, key: ManagedKey) -> dict[str, Any]:  # Any: what JSON holds
    return {
        "name": key.name,
        "key": short(key.key_id),
        "key_id": key.key_id,
        "status": _status(trust, key),
        "owner": key.owner,
        "window": _window(key.valid_from, key.valid_until),
        "valid_from": show_time(key.valid_from),
        "valid_until": show_time(key.valid_until),
        "superseded": show_time(key.superseded_at),
        "removed": show_time(key.removed_at),
        "revocations": [record.id for record in trust.revocations_of("key", key.key_id)],
        "epoch": key.added_epoch,
    }


def _status(trust: TrustState, key: ManagedKey) -> str:
    if trust.revocations_of("key", key.key_id):
        return "revoked"
    if key.removed_at is not None:
        return "removed"
    return "current" if key.superseded_at is None else "superseded"


def _window(start: Micros | None, end: Micros | None) -> str:
    return "always" if start is None and end is None else f"{show_time(start)} to {show_time(end)}"
