"""`revet revoke`: key, digest or evidence. What it separates and how far it reaches is said before it is applied."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import click
import msgspec

from alerting.text import count, short_digest
from streams.cli.changing import (
    Outcome,
    Reading,
    asked_by,
    carry_out,
    confirm,
    evidence_option,
    exit_code,
    foresee,
    note_option,
    reading,
    tell,
    when_given,
)
from streams.cli.common import EXIT_OK, output_option, print_json, print_table, say, show_time, state_option
from streams.cli.render import safe
from streams.local.preview import Hit, Preview, Reach
from verifier.errors import TrustError
from verifier.trust.changes import revoke
from verifier.trust.describe import short
from verifier.trust.records import RevocationPut, RevocationReason
from verifier.trust.revocation import CLASS_OF
from verifier.trust.state import SubjectKind

F = TypeVar("F", bound=Callable[..., Any])  # Any: decorators take every command as it is

SHOWN: Final = 20
"""Signatures and workloads that a table shows; JSON holds all."""


class Request(NamedTuple):
    """A revocation as the command line asks for it."""

    reason: RevocationReason
    compromised_since: str | None
    effective: str | None
    all_signatures: bool
    dry_run: bool
    yes: bool
    note: str
    evidence: str
    state: Path
    output: str


@click.group()
def command() -> None:
    """Revoke a key, a digest or one piece of evidence."""


def _options(function: F) -> F:
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


_OPTIONS: Final = (
    click.option("--reason", type=click.Choice(list(CLASS_OF)), required=True, help="Why (RFC 5280 names and more)."),
    click.option("--compromised-since", metavar="TIME", help="Compromise: what is proven older than this stays good."),
    click.option("--effective", metavar="TIME", help="No compromise: from when on; default: now."),
    click.option("--all-signatures", is_flag=True, help="Compromise without a known time: none stays good."),
    click.option("--dry-run", is_flag=True, help="Print what would happen, apply nothing."),
    click.option("--yes", is_flag=True, help="Apply without asking."),
    note_option,
    evidence_option,
    state_option,
    output_option,
)


@command.command(
    epilog="Example:\n\n\b\n  $ revet revoke key build --reason keyCompromise --compromised-since 2026-11-17 --dry-run"
)
@click.argument("subject")
@_options
def key(subject: str, **options: Any) -> int:  # noqa: ANN401  # what click gives; `Request` says what it is
    """Revoke a key: its name, its id, or the beginning of its id.

    A compromise needs --compromised-since, or --all-signatures said aloud. To replace a key use `revet key rotate`.
    """
    return _run("key", subject, Request(**options))


@command.command(
    epilog="Example:\n\n\b\n  $ revet revoke digest sha256:9f86d081… --reason unspecified --note 'malware found'"
)
@click.argument("subject")
@_options
def digest(subject: str, **options: Any) -> int:  # noqa: ANN401  # as above
    """Deny an image by its digest (`sha256:…` or `NAME@sha256:…`), whatever is signed; an index denies its children."""
    return _run("digest", subject.rpartition("@")[2], Request(**options))


@command.command(epilog="Example:\n\n\b\n  $ revet revoke evidence v1:5c0f… --reason unspecified")
@click.argument("subject")
@_options
def evidence(subject: str, **options: Any) -> int:  # noqa: ANN401  # as above
    """Revoke one signature or attestation by its id (`revet evidence show IMAGE` lists ids)."""
    return _run("evidence", subject, Request(**options))


def _run(kind: SubjectKind, subject: str, request: Request) -> int:
    """Look, say, ask, apply: in this order."""
    found = reading(request.state)
    record = _record(found, kind, subject, request)
    foretold, hit = foresee(request.state, [record], found.now)
    if hit is None:
        raise TrustError("nothing can be foretold without a state")
    if request.output == "table":
        _print(record, _name(found, record), hit, foretold)
    if request.dry_run:
        return _looked(record, hit, foretold, request)
    if request.output == "json" and not request.yes:
        say(f"revet: {_summary(hit, foretold)}")
    confirm("apply this revocation?", yes=request.yes)
    outcome = carry_out(
        request.state,
        [record],
        found.now,
        expects=found.trust.epoch,
        evidence=request.evidence,
        what=f"revet revoke {kind}",
    )
    if request.output == "json":
        print_json({**_as_json(record, hit, foretold), "outcome": msgspec.to_builtins(outcome)})
        return exit_code(outcome)
    click.echo()
    return _applied(outcome, request)


def _record(found: Reading, kind: SubjectKind, subject: str, request: Request) -> RevocationPut:
    return revoke(
        found.trust,
        asked_by(found, request.note),
        kind,
        subject,
        reason=request.reason,
        effective=when_given(request.effective, found.now, "--effective"),
        compromised_since=when_given(request.compromised_since, found.now, "--compromised-since"),
        all_signatures=request.all_signatures,
    )


def _looked(record: RevocationPut, hit: Hit, foretold: Preview, request: Request) -> int:
    if request.output == "json":
        print_json(_as_json(record, hit, foretold))
    else:
        click.echo("\ndry run: nothing was applied")
    return EXIT_OK


def _applied(outcome: Outcome, request: Request) -> int:
    return tell(outcome, request.output, request.state)


def _as_json(record: RevocationPut, hit: Hit, foretold: Preview) -> dict[str, Any]:  # Any: what JSON holds
    return {
        "schema": "revet.revoke/v1",
        "revocation": record.model_dump(mode="json"),
        "split": msgspec.to_builtins(hit),
        "preview": msgspec.to_builtins(foretold),
    }


# ------------------------------------------------------------------------------------------------------------- in words


def _print(record: RevocationPut, name: str, hit: Hit, foretold: Preview) -> None:
    click.echo(safe(_title(record, name)))
    if record.subject_kind != "digest":
        _print_split(record, hit)
    click.echo()
    for line in _reach_lines(hit, foretold):
        click.echo(safe(line))
    rows = [
        (change.cluster, change.namespace, ", ".join(change.workloads), change.image, change.containers, change.policy)
        for change in foretold.changes
        if change.after == "violates" and change.before != "violates"
    ]
    if rows:
        print_table(("cluster", "namespace", "workloads", "image", "containers", "violates"), rows[:SHOWN])
        _more(len(rows))


def _name(found: Reading, record: RevocationPut) -> str:
    """Name of a key; empty for what has none."""
    return found.trust.name_of(record.subject) if record.subject_kind == "key" else ""


def _title(record: RevocationPut, name: str) -> str:
    named = f"{name} ({short(record.subject)})" if name else record.subject
    note = f": {record.note}" if record.note else ""
    return f"to revoke: {record.subject_kind} {named}, {record.reason}, {_timing(record)}{note}"


def _timing(record: RevocationPut) -> str:
    if record.compromised_since is not None:
        return f"compromised since {show_time(record.compromised_since)}"
    if record.subject_kind == "key" and CLASS_OF[record.reason] == "hard":
        return "all its signatures"
    return f"effective {show_time(record.effective)}"


def _print_split(record: RevocationPut, hit: Hit) -> None:
    """The split, worst part first."""
    click.echo(f"\nsignatures: {hit.before} before, {hit.after} after, {hit.unknown} of unknown time")
    rows = [
        (_PARTS[s.part], s.image, short_digest(s.digest), show_time(s.time), s.containers or "-")
        for s in hit.signatures[:SHOWN]
    ]
    if rows:
        print_table(("signed", "image", "digest", "proven by", "containers"), rows)
        _more(len(hit.signatures))
    if hit.unknown and record.compromised_since is not None:
        click.echo("without a proven time a signature cannot be told from a forged one, so it falls")


_PARTS: Final = {"before": "before", "after": "after", "unknown": "time unknown"}


def _more(number: int) -> None:
    if number > SHOWN:
        click.echo(f"… and {number - SHOWN} more; -o json shows all")


def _reach_lines(hit: Hit, foretold: Preview) -> Iterator[str]:
    yield f"in use by: {_reach(hit.uses)}"
    yield f"would begin to violate: {_reach(foretold.violating)}"
    for team, containers, workloads in foretold.violating.teams:
        yield f"  {team}: {count(containers, 'container')} of {count(workloads, 'workload')}"
    if foretold.closed:
        yield f"findings that would close: {len(foretold.closed)}"


def _reach(reach: Reach) -> str:
    if not reach.containers:
        return "nothing that runs"
    return (
        f"{count(reach.containers, 'container')} of {count(reach.workloads, 'workload')}"
        f" in {count(reach.namespaces, 'namespace')} of {count(reach.clusters, 'cluster')}"
    )


def _summary(hit: Hit, foretold: Preview) -> str:
    split = f"{hit.before} before, {hit.after} after, {hit.unknown} of unknown time"
    return f"{split}; would begin to violate: {_reach(foretold.violating)}"
