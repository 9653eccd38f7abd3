"""`revet revoke`: what it separates and how far it reaches is said before it is applied."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar

import click
import msgspec
from pydantic import ValidationError

from alerting.text import short_digest
from streams.cli.changing import (
    SHOWN,
    asked_by,
    breaking_lines,
    carry_out,
    confirm,
    evidence_option,
    exit_code,
    foresee,
    more,
    note_option,
    print_breaking,
    reach_text,
    reading,
    tell,
    when_given,
)
from streams.cli.common import EXIT_OK, PAIR, output_option, print_json, print_table, say, show_time
from streams.cli.outcomes import Outcome, Reading
from streams.cli.render import safe
from streams.cli.trust_files import sentence_of
from streams.cli.trustplace import Place, place_option, sign_options
from streams.local.preview import Hit, Preview
from verifier.errors import TrustError
from verifier.policy.identity import Identity
from verifier.trust.changes import revoke
from verifier.trust.describe import revoked_text, short, subject_of
from verifier.trust.records import RevocationPut, RevocationReason, SubjectKind
from verifier.trust.revocation import CLASS_OF, WHOLE

F = TypeVar("F", bound=Callable[..., Any])  # Any: decorators take every command as it is


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
    state: Place
    output: str


@click.group()
def command() -> None:
    """Revoke a key, digest, piece of evidence, identity, CA, builder, commit or log."""


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
    sign_options,
    place_option,
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


@command.command(
    epilog="Example:\n\n\b\n  $ revet revoke identity --issuer https://id.example.com --subject ci@example.com \\\n"
    "      --reason identityCompromise --compromised-since 2026-11-17 --dry-run"
)
@click.option("--issuer", default="", help="OIDC issuer, exactly.")
@click.option("--subject", default="", help="Subject alternative name, exactly (e-mail, URI, user name).")
@click.option("--subject-pattern", default="", help="As --subject; `*` is any run, `?` one character.")
@click.option("--subject-regexp", default="", help="As --subject; an RE2 expression over the whole text.")
@click.option(
    "--extension", "extensions", multiple=True, type=PAIR, metavar="NAME=VALUE", help="A Fulcio extension; repeatable."
)
@_options
def identity(
    issuer: str,
    subject: str,
    subject_pattern: str,
    subject_regexp: str,
    extensions: tuple[tuple[str, str], ...],
    **options: Any,  # noqa: ANN401  # as above
) -> int:
    """Revoke an identity: whoever has certificates for it may be somebody else."""
    pairs = dict(extensions)
    if len(pairs) < len(set(extensions)):
        raise click.UsageError("--extension: one name with two values; a certificate has one of them")
    members = {
        "issuer": issuer,
        "subject": subject,
        "subjectPattern": subject_pattern,
        "subjectRegExp": subject_regexp,
        "extensions": pairs,
    }
    given = {name: value for name, value in members.items() if value}
    try:
        Identity.model_validate(given)
    except ValidationError as error:
        raise click.UsageError(f"whose identity? {sentence_of(error)}") from error
    return _run("identity", msgspec.json.encode(given).decode(), Request(**options))


@command.command(
    epilog="Example:\n\n\b\n  $ revet revoke ca 3f2a91c04b7e --reason caCompromise --all-signatures --dry-run"
)
@click.argument("subject")
@_options
def ca(subject: str, **options: Any) -> int:  # noqa: ANN401  # as above
    """Revoke a CA or timestamp authority of a trust root: its key id, authority id or label (`trust show roots`)."""
    return _run("ca", subject, Request(**options))


@command.command(
    epilog="Example:\n\n\b\n  $ revet revoke builder https://github.com/example/ci/.github/workflows/b.yml@main \\\n"
    "      --reason keyCompromise --compromised-since 2026-11-17"
)
@click.argument("subject")
@_options
def builder(subject: str, **options: Any) -> int:  # noqa: ANN401  # as above
    """Revoke a builder: what its provenance or its certificates vouch for no longer counts."""
    return _run("builder", subject, Request(**options))


@command.command(epilog="Example:\n\n\b\n  $ revet revoke commit 9f86d081… --reason unspecified --all-signatures")
@click.argument("subject")
@_options
def commit(subject: str, **options: Any) -> int:  # noqa: ANN401  # as above
    """Revoke a source commit: provenance and certificates that name it no longer count."""
    return _run("commit", subject, Request(**options))


@command.command(
    epilog="Example:\n\n\b\n  $ revet revoke log c0d23d6ad406 --reason keyCompromise --last-good-index 120345"
)
@click.argument("subject")
@click.option("--last-good-index", type=click.IntRange(min=0), metavar="N", help="Entries up to this one stay good.")
@_options
def log(subject: str, last_good_index: int | None, **options: Any) -> int:  # noqa: ANN401  # as above
    """Revoke a transparency or CT log: what it said, when and of whom, no longer counts."""
    return _run("log", subject, Request(**options), last_good_index)


def _run(kind: SubjectKind, subject: str, request: Request, last_good_index: int | None = None) -> int:
    """Look, say, ask, apply: in this order."""
    found = reading(request.state)
    record = _record(found, kind, subject, request, last_good_index)
    foretold, hit = foresee(request.state, [record], found.now)
    if hit is None:
        raise TrustError("nothing can be foretold without a state")
    if request.output == "table":
        _print(record, revoked_text(record, found.trust), hit, foretold)
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


def _record(
    found: Reading, kind: SubjectKind, subject: str, request: Request, last_good_index: int | None
) -> RevocationPut:
    return revoke(
        found.trust,
        asked_by(found, request.note),
        kind,
        subject,
        reason=request.reason,
        effective=when_given(request.effective, found.now, "--effective"),
        compromised_since=when_given(request.compromised_since, found.now, "--compromised-since"),
        all_signatures=request.all_signatures,
        last_good_index=last_good_index,
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
    click.echo(safe(f"in use by: {reach_text(hit.uses)}"))
    for line in breaking_lines(foretold):
        click.echo(safe(line))
    print_breaking(foretold)


def _title(record: RevocationPut, name: str) -> str:
    """`name`: what people call it; of a key or CA that has a name the id stands behind it."""
    what = name if name == subject_of(record) else f"{name} ({short(record.subject)})"
    note = f": {record.note}" if record.note else ""
    return f"to revoke: {what}, {record.reason}, {_timing(record)}{note}"


def _timing(record: RevocationPut) -> str:
    if record.compromised_since is not None:
        return f"compromised since {show_time(record.compromised_since)}"
    if record.subject_kind not in WHOLE and CLASS_OF[record.reason] == "hard":
        return "all its signatures" if record.last_good_index is None else "later entries"
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
        more(len(hit.signatures))
    if hit.unknown and record.compromised_since is not None:
        click.echo("without a proven time a signature cannot be told from a forged one, so it falls")


_PARTS: Final = {"before": "before", "after": "after", "unknown": "time unknown"}


def _summary(hit: Hit, foretold: Preview) -> str:
    split = f"{hit.before} before, {hit.after} after, {hit.unknown} of unknown time"
    return f"{split}; would begin to violate: {reach_text(foretold.violating)}"
