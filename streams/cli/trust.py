"""`revet trust`: bring trust to what files say, look at it, at its history, and at what differs."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import click
import yaml

from streams.cli.changing import (
    asked_by,
    carry_out,
    evidence_option,
    note_option,
    nothing_to_do,
    read_documents,
    reading,
    tell,
    when_given,
)
from streams.cli.common import EXIT_OK, EXIT_USAGE, output_option, print_json, print_table, say, show_time
from streams.cli.outcomes import Entry, Reading
from streams.cli.render import safe
from streams.cli.trust_root import crl, fetch_root, root
from streams.cli.trust_signing import keygen, sign_, submit
from streams.cli.trustplace import Place, place_option, sign_options
from streams.local.plan import Plan, plan
from verifier.adapters.package_data import public_good_root
from verifier.errors import TrustError
from verifier.evidence.material import Authority, Log
from verifier.evidence.x509 import ca_keys
from verifier.models import Micros
from verifier.policy.check import check_documents
from verifier.policy.documents import Document, plain, policy_document
from verifier.trust.changes import By
from verifier.trust.describe import Change, describe, diff, short, subject_of
from verifier.trust.roots import window_note
from verifier.trust.state import ManagedKey, TrustState

Rows = list[dict[str, Any]]  # Any: what JSON holds; every kind of thing has its own columns


@click.group()
def command() -> None:
    """Apply and look at trust: policies, keys, trust roots, clusters, exemptions."""


command.add_command(root)
command.add_command(fetch_root)
command.add_command(crl)
command.add_command(keygen)
command.add_command(sign_)
command.add_command(submit)

# -------------------------------------------------------------------------------------------------------------- apply

_FILES: Final = click.argument("files", nargs=-1, required=True, metavar="FILE|DIR...")


_COMMIT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{3,199}")


def _commit(_context: click.Context, _option: click.Parameter, value: str | None) -> str:
    """Where a change comes from, in the words that trust records use."""
    if value is None:
        return "cli"
    if not _COMMIT.fullmatch(value):
        raise click.BadParameter(
            "a commit is 4 to 200 of A-Z a-z 0-9 . _ : / @ + -, such as the output of `git rev-parse HEAD`"
        )
    return f"git:{value}"


@command.command(
    epilog="Examples:\n\n\b\n  $ revet trust apply policies/ keys/dev.pub --note 'first policies'\n"
    "  $ revet trust apply trust/ --prune --commit 4f0c1d2"
)
@_FILES
@click.option("--prune", is_flag=True, help="Remove what the files leave out, of the kinds they hold.")
@click.option("--dry-run", is_flag=True, help="Say what would be written, write nothing.")
@click.option(
    "--commit", "origin", metavar="ID", callback=_commit,
    help="The commit FILES come from; kept as the origin of the change.",
)  # fmt: skip
@click.option("--expects", type=int, metavar="EPOCH", help="Refuse unless trust is at this epoch.")
@click.option("--at", "at", metavar="TIME", help="For a state without events yet: when the recording to come begins.")
@note_option
@evidence_option
@sign_options
@place_option
@output_option
def apply(
    files: tuple[str, ...],
    prune: bool,
    dry_run: bool,
    origin: str,
    expects: int | None,
    at: str | None,
    note: str,
    evidence: str,
    state: Place,
    output: str,
) -> int:
    """Bring trust to what FILES say; only differences are written.

    Documents of the kinds Policy, Key, TrustRoot, Exemption and Cluster (YAML or JSON), and bare public keys
    (NAME.pub). `-` reads standard input.
    """
    found = _at(reading(state, create=True), at)
    if expects is not None and expects != found.trust.epoch:
        raise TrustError(f"trust is at epoch {found.trust.epoch}, expected {expects}: look again, then repeat it")
    made = _planned(found, files, asked_by(found, note, origin), prune=prune)
    if made is None:
        return EXIT_USAGE
    for sentence in made.notes:
        say(f"note: {sentence}")
    if dry_run:
        return _show_plan(made, found, output)
    if not made.records:
        return nothing_to_do(output, f"nothing to do: {len(made.unchanged)} documents say what is already so")
    outcome = carry_out(
        state, made.records, found.now, expects=found.trust.epoch, evidence=evidence, what="revet trust apply"
    )
    return tell(outcome, output, state)


def _at(found: Reading, at: str | None) -> Reading:
    """Trust before anything was heard of may be dated back, so that a recording finds it in force."""
    now = when_given(at, found.now, "--at")
    if now is None:
        return found
    if found.entries and now < found.now:
        raise click.BadParameter(f"this state has already come to {show_time(found.now)}", param_hint="--at")
    return found._replace(now=now)


def _planned(found: Reading, files: Sequence[str], by: By, *, prune: bool) -> Plan | None:
    """The plan; None when a document is wrong, and everything wrong is said."""
    documents, errors = read_documents(files)
    for error in errors:
        say(f"revet: {error}")
    if errors or not _sound(found, documents):
        return None
    return plan(found.trust, documents, by, prune=prune, shipped=public_good_root())


def _sound(found: Reading, documents: Sequence[Document]) -> bool:
    problems = check_documents(
        documents,
        ring=found.trust.names,
        roots=found.trust.anchors.roots,
        policies=found.trust.policies,
        now=found.now,
    )
    for problem in problems:
        if problem.severity != "info":
            where = f"{problem.file}:{problem.line}:{problem.column}"
            say(f"{where}: {problem.severity}: {problem.field}: {problem.message}; {problem.todo}")
    return not any(problem.severity == "error" for problem in problems)


def _show_plan(made: Plan, found: Reading, output: str) -> int:
    changes = diff(found.trust, made.after)
    if output == "json":
        print_json(
            {
                "schema": "revet.trust-plan/v1",
                "epoch": found.trust.epoch,
                "records": [record.model_dump(mode="json") for record in made.records],
                "changes": [change._asdict() for change in changes],
                "unchanged": made.unchanged,
                "notes": made.notes,
            }
        )
        return EXIT_OK
    for record in made.records:
        click.echo(safe(f"would write: {describe(record)}"))
    click.echo(f"{len(made.records)} to write, {len(made.unchanged)} unchanged")
    return EXIT_OK


# --------------------------------------------------------------------------------------------------------------- show


class _View(NamedTuple):
    """How one kind of thing is shown."""

    columns: tuple[str, ...]
    """Members shown in a table; JSON holds all."""
    rows: Callable[[TrustState, Micros], Rows]


@command.command(epilog="Example:\n\n\b\n  $ revet trust show\n  $ revet trust show keys -o json")
@click.argument(
    "what", type=click.Choice(["policies", "keys", "roots", "exemptions", "clusters", "revocations"]), required=False
)
@place_option
@output_option
def show(what: str | None, state: Place, output: str) -> int:
    """Show what is trusted and distrusted now."""
    found = reading(state)
    views = {what: _VIEWS[what]} if what else _VIEWS
    rows = {name: view.rows(found.trust, found.now) for name, view in views.items()}
    if output == "json":
        print_json({"schema": "revet.trust/v1", "epoch": found.trust.epoch, "at": show_time(found.now), **rows})
        return EXIT_OK
    click.echo(f"trust epoch {found.trust.epoch}, {show_time(found.now)}")
    for name, view in views.items():
        if rows[name] or what:
            print_table(view.columns, [[row[c] for c in view.columns] for row in rows[name]], title=f"\n{name}")
    return EXIT_OK


def _policies(trust: TrustState, _now: Micros) -> Rows:
    return [
        {
            "id": name,
            "mode": entry.policy.mode,
            "version": entry.policy.version,
            "since": show_time(entry.first_at),
            "changed": show_time(entry.at),
            "epoch": entry.epoch,
            "source": entry.policy.source,
            "description": entry.policy.description,
            "document": plain(policy_document(entry.policy)),
        }
        for name, entry in sorted(trust.policies.items())
    ]


def _keys(trust: TrustState, _now: Micros) -> Rows:
    ordered = sorted(trust.keys.values(), key=lambda key: (key.name, key.added_epoch))
    return [
        {
            "name": key.name,
            "key": short(key.key_id),
            "key_id": key.key_id,
            "status": _status(trust, key),
            "owner": key.owner,
            "valid_from": show_time(key.valid_from),
            "valid_until": show_time(key.valid_until),
            "epoch": key.added_epoch,
        }
        for key in ordered
    ]


def _status(trust: TrustState, key: ManagedKey) -> str:
    if trust.revocations_of("key", key.key_id):
        return "revoked"
    if key.removed_at is not None:
        return f"removed {show_time(key.removed_at)}"
    return "current" if key.superseded_at is None else f"superseded {show_time(key.superseded_at)}"


def _roots(trust: TrustState, now: Micros) -> Rows:
    return [
        {
            "name": root.name,
            "format": root.format,
            "authorities": len(root.document.authorities),
            "logs": len(root.document.logs),
            "since": show_time(root.at),
            "epoch": root.epoch,
            "note": "; ".join(window_note(root.document, now)) or "-",
            "holds": [
                {"id": a.id, "use": a.use, "label": a.label, "key_ids": list(ca_keys(a)), **_window(a)}
                for a in root.document.authorities
            ],
            "log_ids": [
                {"id": log.id, "use": log.use, "origin": log.origin, **_window(log)} for log in root.document.logs
            ],
        }
        for root in trust.anchors.walk()
    ]


def _window(thing: Authority | Log) -> dict[str, Any]:  # Any: what JSON holds
    return {"valid_from": show_time(thing.valid_from), "valid_until": show_time(thing.valid_until)}


def _exemptions(trust: TrustState, now: Micros) -> Rows:
    return [
        {
            "id": entry.id,
            "policy": entry.record.policy or "-",
            "scope": _scope(entry.record.model_dump()),
            "why": entry.record.note,
            "owner": entry.record.owner,
            "approver": entry.record.approver,
            "ticket": entry.record.ticket,
            "starts": show_time(entry.starts),
            "expires": show_time(entry.expires),
            "status": "in force" if entry.in_force(now) else "ended" if entry.ended_epoch else "not in force",
            "epoch": entry.epoch,
        }
        for entry in sorted(trust.exemptions.values(), key=lambda entry: entry.epoch)
    ]


def _scope(record: dict[str, Any]) -> str:  # Any: a record as plain values
    members = ("reasons", "clusters", "namespaces", "images", "digests")
    return "; ".join(f"{name} {', '.join(record[name])}" for name in members if record[name]) or "all of it"


def _clusters(trust: TrustState, _now: Micros) -> Rows:
    return [
        {
            "name": entry.name,
            "id": entry.cluster_id,
            "labels": ", ".join(f"{key}={value}" for key, value in entry.labels) or "-",
            "feeds": ", ".join(entry.feeds),
            "since": show_time(entry.first_at),
            "epoch": entry.epoch,
        }
        for entry in sorted(trust.clusters.values(), key=lambda entry: entry.name)
        if entry.enrolled
    ]


def _revocations(trust: TrustState, _now: Micros) -> Rows:
    return [
        {
            "id": entry.id,
            "subject": subject_of(entry.record),
            "name": trust.name_of(entry.record.subject) if entry.record.subject_kind == "key" else "",
            "reason": entry.record.reason,
            "compromised_since": show_time(entry.record.compromised_since),
            "effective": show_time(entry.record.effective),
            "status": "active" if entry.active else f"withdrawn {show_time(entry.withdrawn_at)}",
            "by": entry.record.author,
            "note": entry.record.note,
            "epoch": entry.epoch,
        }
        for entry in sorted(trust.revocations.values(), key=lambda entry: entry.epoch)
    ]


_VIEWS: Final[dict[str, _View]] = {
    "policies": _View(("id", "mode", "version", "since", "changed"), _policies),
    "keys": _View(("name", "key", "status", "owner", "valid_from", "valid_until"), _keys),
    "roots": _View(("name", "format", "authorities", "logs", "note"), _roots),
    "exemptions": _View(("id", "policy", "scope", "why", "owner", "expires", "status"), _exemptions),
    "clusters": _View(("name", "id", "labels", "feeds", "since"), _clusters),
    "revocations": _View(("id", "subject", "name", "reason", "compromised_since", "status"), _revocations),
}


# ------------------------------------------------------------------------------------------------------------- history


@command.command(epilog="Example:\n\n\b\n  $ revet trust history --limit 5")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Newest entries to show.")
@place_option
@output_option
def history(limit: int, state: Place, output: str) -> int:
    """Show who changed what, newest first, and what was ignored."""
    found = reading(state)
    entries = found.entries[::-1][:limit]
    ignored, refused = found.uncounted
    if output == "json":
        told = {"entries": [_told(entry) for entry in entries], "ignored": ignored, "refused": refused}
        print_json({"schema": "revet.trust-history/v1", **told})
        return EXIT_OK
    if ignored or refused:
        say(f"in the log and without effect: {ignored} lost races or repetitions, {refused} refused")
    clustered = not isinstance(state, Path)
    rows = [
        (e.epoch, show_time(e.record.at), e.record.author, *([", ".join(e.signed)] if clustered else []), _deed(e),
         e.record.origin)
        for e in entries
    ]  # fmt: skip
    print_table(("epoch", "time", "author", *(["signed by"] if clustered else []), "what", "origin"), rows)
    return EXIT_OK


def _deed(entry: Entry) -> str:
    sentence = describe(entry.record).removeprefix(f"{entry.record.author} ")
    return sentence if entry.applied.applied else f"{sentence} (ignored, {entry.applied.code}: {entry.applied.message})"


def _told(entry: Entry) -> dict[str, Any]:  # Any: a record as plain JSON
    return {
        "epoch": entry.epoch,
        "time": show_time(entry.record.at),
        "what": _deed(entry),
        **entry.applied._asdict(),
        "signed": list(entry.signed),
        "record": entry.record.model_dump(mode="json"),
    }


# ---------------------------------------------------------------------------------------------------------------- diff


@command.command(
    "diff",
    epilog="Example:\n\n\b\n  $ revet trust diff policies/ keys/\n  $ revet trust diff --from 3 --to 7",
)
@click.argument("files", nargs=-1, metavar="[FILE|DIR...]")
@click.option("--prune", is_flag=True, help="As `trust apply --prune` would.")
@click.option("--from", "start", type=click.IntRange(min=0), metavar="EPOCH", help="Compare two epochs: the earlier.")
@click.option("--to", "end", type=click.IntRange(min=0), metavar="EPOCH", help="The later; default: now.")
@place_option
@output_option
def diff_(files: tuple[str, ...], prune: bool, start: int | None, end: int | None, state: Place, output: str) -> int:
    """Show what `trust apply` of FILES would change, or what changed between two epochs."""
    if bool(files) == (start is not None):
        raise click.UsageError("give files to compare trust with, or --from EPOCH (and --to EPOCH)")
    found = reading(state, create=bool(files))
    if files:
        made = _planned(found, files, asked_by(found), prune=prune)
        if made is None:
            return EXIT_USAGE
        before, after = found.trust, made.after
    else:
        before, after = _as_of(found, start or 0, "--from"), _as_of(found, end, "--to")
    return _show_diff(before, after, output)


def _as_of(found: Reading, epoch: int | None, option: str) -> TrustState:
    if epoch is None:
        return found.trust
    if epoch > found.trust.epoch:
        raise click.BadParameter(f"trust is at epoch {found.trust.epoch}", param_hint=option)
    return found.entries[epoch - 1].after if epoch else TrustState.empty()


def _show_diff(before: TrustState, after: TrustState, output: str) -> int:
    changes = diff(before, after)
    if output == "json":
        told = [{**c._asdict(), "lines": list(_lines(c, before, after))} for c in changes]
        print_json({"schema": "revet.trust-diff/v1", "from": before.epoch, "to": after.epoch, "changes": told})
        return EXIT_OK
    if not changes:
        click.echo("no difference")
    for change in changes:
        click.echo(safe(f"{_SIGNS.get(change.kind, '~')} {change.what} {_named(change)}: {change.kind}: {change.text}"))
        for line in _lines(change, before, after):
            click.echo(safe(f"    {line}"))
    return EXIT_OK


_SIGNS: Final = {"added": "+", "removed": "-"}


def _named(change: Change) -> str:
    return short(change.id) if change.what == "key" else change.id


def _lines(change: Change, before: TrustState, after: TrustState) -> Iterator[str]:
    """What differs in the text of a policy that was changed."""
    if change.what != "policy" or change.kind != "changed":
        return
    old, new = (_text(trust, change.id) for trust in (before, after))
    yield from _without_head(difflib.unified_diff(old, new, lineterm="", n=1))


def _text(trust: TrustState, policy: str) -> list[str]:
    document = plain(policy_document(trust.policies[policy].policy))
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=False).splitlines()


def _without_head(lines: Iterable[str]) -> Iterator[str]:
    return (line for line in lines if not line.startswith(("---", "+++", "@@")))
