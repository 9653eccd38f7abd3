"""`revet exempt`: a violation that somebody accepts for a time. The verdict stays; the finding closes, and reopens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from streams.cli.changing import asked_by, carry_out, evidence_option, note_option, reading, tell, when
from streams.cli.common import EXIT_OK, output_option, print_json, print_table, show_time
from streams.cli.trustplace import Place, place_option, sign_options
from verifier.models import Micros
from verifier.policy.documents import DEFAULT_EXEMPTION_DAYS, MAX_EXEMPTION_DAYS
from verifier.times import DAY
from verifier.trust.changes import ExemptionScope, end_exemption, exempt
from verifier.trust.exemptions import ExemptionEntry


@click.group()
def command() -> None:
    """Accept a finding for a time."""


F = TypeVar("F", bound=Callable[..., Any])  # Any: decorators take every command as it is


def _many(flag: str, name: str, metavar: str, about: str) -> Callable[[F], F]:
    """An option that may be repeated."""
    return click.option(flag, name, metavar=metavar, multiple=True, help=about)


@command.command(
    epilog="Example:\n\n\b\n  $ revet exempt add --policy signed --namespace legacy --why 'vendor signs soon' \\\n"
    "      --owner payments --approver alice --ticket SEC-12 --days 60"
)
@click.option("--policy", default="", help="Policy covered; left out: every policy, and then a scope is required.")
@_many("--reason", "reasons", "CODE", "Reason codes covered; default: all but compromise.")
@_many("--namespace", "namespaces", "PATTERN", "Namespaces covered.")
@_many("--image", "images", "PATTERN", "Images covered.")
@_many("--digest", "digests", "DIGEST", "Digests covered.")
@_many("--cluster", "clusters", "PATTERN", "Clusters covered (id or name).")
@click.option("--why", required=True, help="Why it is accepted, in words.")
@click.option("--owner", required=True, help="Who has to end the need for it.")
@click.option("--approver", required=True, help="Who accepted it.")
@click.option("--ticket", default="", help="Where it is followed up.")
@click.option("--days", type=click.IntRange(1, MAX_EXEMPTION_DAYS), help=f"How long; default {DEFAULT_EXEMPTION_DAYS}.")
@click.option("--until", metavar="TIME", help="Instead of --days: when it ends.")
@evidence_option
@sign_options
@place_option
@output_option
def add(
    policy: str,
    reasons: tuple[str, ...],
    namespaces: tuple[str, ...],
    images: tuple[str, ...],
    digests: tuple[str, ...],
    clusters: tuple[str, ...],
    why: str,
    owner: str,
    approver: str,
    ticket: str,
    days: int | None,
    until: str | None,
    evidence: str,
    state: Place,
    output: str,
) -> int:
    """Accept what a scope violates, for at most 180 days. Options that list may be repeated."""
    if days is not None and until is not None:
        raise click.UsageError("give --days or --until, not both")
    found = reading(state)
    ends = _end(found.now, days, until)
    record = exempt(
        found.trust,
        asked_by(found, why),
        ExemptionScope(policy, reasons, namespaces, images, clusters, digests),
        owner=owner,
        approver=approver,
        ticket=ticket,
        expires=ends,
    )
    outcome = carry_out(state, [record], found.now, expects=found.trust.epoch, evidence=evidence, what="revet exempt")
    return tell(outcome, output, state)


def _end(now: Micros, days: int | None, until: str | None) -> Micros:
    if until is not None:
        return when(until, now, "--until")
    return now + (days or DEFAULT_EXEMPTION_DAYS) * DAY


@command.command("list", epilog="Example:\n\n\b\n  $ revet exempt list --all")
@click.option("--all", "everything", is_flag=True, help="Also those that are over.")
@place_option
@output_option
def list_(everything: bool, state: Place, output: str) -> int:
    """List exemptions, those that end first on top."""
    found = reading(state)
    entries = sorted(found.trust.exemptions.values(), key=lambda entry: (entry.expires, entry.id))
    rows = [_row(entry, found.now) for entry in entries if everything or not _is_over(entry, found.now)]
    if output == "json":
        print_json({"schema": "revet.exemptions/v1", "epoch": found.trust.epoch, "exemptions": rows})
        return EXIT_OK
    columns = ("id", "policy", "scope", "why", "owner", "approver", "expires", "status")
    print_table(columns, [[row[c] for c in columns] for row in rows])
    return EXIT_OK


@command.command(epilog="Example:\n\n\b\n  $ revet exempt end v1:77aa0c12 --note 'signed since build 412'")
@click.argument("exemption_id", metavar="ID")
@note_option
@evidence_option
@sign_options
@place_option
@output_option
def end(exemption_id: str, note: str, evidence: str, state: Place, output: str) -> int:
    """End an exemption now (ID or the beginning of it); its findings reopen."""
    found = reading(state)
    record = end_exemption(found.trust, asked_by(found, note), exemption_id)
    outcome = carry_out(state, [record], found.now, expects=found.trust.epoch, evidence=evidence, what="revet exempt")
    return tell(outcome, output, state)


def _is_over(entry: ExemptionEntry, now: Micros) -> bool:
    return entry.ended_epoch is not None or entry.expires <= now


def _row(entry: ExemptionEntry, now: Micros) -> dict[str, Any]:  # Any: what JSON holds
    record = entry.record
    members = ("reasons", "clusters", "namespaces", "images", "digests")
    lists: dict[str, tuple[str, ...]] = {name: getattr(record, name) for name in members}
    scope = "; ".join(f"{name} {', '.join(values)}" for name, values in lists.items() if values)
    return {
        "id": entry.id,
        "policy": record.policy,
        "scope": scope or "all of the policy",
        **lists,
        "why": record.note,
        "owner": record.owner,
        "approver": record.approver,
        "ticket": record.ticket,
        "by": record.author,
        "origin": record.origin,
        "starts": show_time(entry.starts),
        "expires": show_time(entry.expires),
        "status": _status(entry, now),
        "epoch": entry.epoch,
    }


def _status(entry: ExemptionEntry, now: Micros) -> str:
    if entry.ended_epoch is not None:
        return f"ended {show_time(entry.ended_at)}"
    if entry.expires <= now:
        return "expired"
    return "in force" if entry.starts <= now else "ahead"
