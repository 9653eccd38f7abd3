"""`revet ledger`: prove that the record holds what was written, or name what it does not."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from alerting.text import count
from streams.cli.common import (
    EXIT_OK,
    EXIT_UNKNOWN,
    EXIT_VIOLATION,
    INSTANT,
    local_author,
    named_settings,
    now,
    output_option,
    print_json,
    print_table,
    say,
    show_time,
)
from streams.cli.looking import Record, StateFile, clustered, record_option
from streams.cli.render import safe
from streams.ledger import checker
from streams.ledger.checking import Checker, Progress
from streams.ledger.exporting import Exported, ExportFile, export
from streams.ledger.found import KINDS, Report
from streams.ledger.place import Begun, LedgerPlace, checked
from streams.ledger.proving import prove
from streams.ledger.restoring import Losses, Restore
from streams.local.ledgering import LocalPlace
from streams.settings import LedgerSettings
from verifier.errors import InputError
from verifier.models import Micros
from verifier.times import DAY

SCHEMA_BEGUN: Final = "revet.ledger-key/v1"
SCHEMA_VERIFY: Final = "revet.ledger-verify/v1"
SCHEMA_EXPORT: Final = "revet.ledger-export/v1"
SCHEMA_RESTORE: Final = "revet.ledger-restore/v1"
SCHEMA_ERASE: Final = "revet.ledger-erase/v1"
SHOWN: Final = 50
"""Problems that are printed; all of them are in JSON."""
TELL_EVERY: Final = 5.0
"""Seconds between two lines of progress."""

_FILE: Final = click.Path(dir_okay=False, path_type=Path)
Option = Callable[[Callable[..., Any]], Callable[..., Any]]  # Any: decorators take every command as it is


@click.group()
def command() -> None:
    """Prove that the record holds what was written, or name what it does not."""


def _place(record: Record, key_file: Path | None = None) -> LedgerPlace:
    """The ledger of a record."""
    if isinstance(record, StateFile):
        settings = named_settings(None, None).settings.ledger
        return LocalPlace(record.path, _with_key(settings, key_file))
    made: LedgerPlace = clustered("ledgerplace").ClusterPlace(
        record.settings, _with_key(record.settings.ledger, key_file)
    )
    return made


def _with_key(settings: LedgerSettings, key_file: Path | None) -> LedgerSettings:
    return settings if key_file is None else settings.model_copy(update={"key_file": key_file})


_key_file: Final[Option] = click.option(
    "--key-file",
    type=_FILE,
    metavar="FILE",
    help="The private key.  [default: ledger.key_file, or beside the state file]",
)
_keys: Final[Option] = click.option(
    "--key",
    "keys",
    multiple=True,
    metavar="NAME=KEY",
    help="Whose checkpoints to believe: the line that `revet ledger init` printed, or a file with such lines."
    " Repeatable.  [default: ledger.keys, or the key that signs]",
)
_since: Final[Option] = click.option("--from", "since", type=INSTANT, metavar="TIME", help="Records from TIME on.")
_until: Final[Option] = click.option("--to", "until", type=INSTANT, metavar="TIME", help="Records before TIME.")
_reason: Final[Option] = click.option("--reason", required=True, metavar="TEXT", help="Why; it stays in the ledger.")


# ------------------------------------------------------------------------------------------------------------- keys


@command.command(
    epilog="Examples:\n\n\b\n"
    "  $ revet ledger init\n"
    "  $ revet ledger init --key-file /run/secrets/ledger-key.pem -o json\n\n"
    "Write the printed line down where whoever can change the record cannot: who checks needs it."
)
@_key_file
@record_option
@output_option
def init(key_file: Path | None, record: Record, output: str) -> int:
    """Make the key that signs, and begin the ledger.

    What is in a state file already gets its entries now, as it is found. Elsewhere entries begin with what is written.
    """
    place = _place(record, key_file)
    _print_begun(place.init(local_author(), now()), place, output)
    return EXIT_OK


@command.command(epilog="Example:\n\n\b\n  $ revet ledger rotate --new-key-file ledger-2027.pem --reason 'yearly'")
@click.option("--new-key-file", type=_FILE, required=True, metavar="FILE", help="Where the new private key goes.")
@_reason
@_key_file
@record_option
@output_option
def rotate(new_key_file: Path, reason: str, key_file: Path | None, record: Record, output: str) -> int:
    """Put a new key in the place of the one that signs.

    The old key signs once more, over an entry that names the new one; so who has the old line written down can follow.
    Then set ledger.key_file to the new file, and destroy the old one.
    """
    place = _place(record, key_file)
    made = place.rotate(new_key_file, local_author(), reason, now())
    _print_begun(made, place, output)
    say(f"revet: now set ledger.key_file to {made.key_file}; the old key signs nothing any more")
    return EXIT_OK


@command.command(
    epilog="Example:\n\n\b\n  $ revet ledger lost ledger-3f2a9c01 --key-file ledger-new.pem --reason 'disk died'"
)
@click.argument("name")
@_reason
@_key_file
@record_option
@output_option
def lost(name: str, reason: str, key_file: Path | None, record: Record, output: str) -> int:
    """Go on under a new key after the key NAME was lost.

    Nothing vouches for the new key: whoever checks has to name it as well, and this entry says why.
    """
    place = _place(record, key_file)
    _print_begun(place.declare_lost(name, local_author(), reason, now()), place, output)
    return EXIT_OK


def _print_begun(made: Begun, place: LedgerPlace, output: str) -> None:
    folder = str(place.folder.path) if place.folder is not None else None
    if output == "json":
        print_json(
            {
                "schema": SCHEMA_BEGUN, "ledger": made.ledger, "key": made.key.line(), "key_file": str(made.key_file),
                "entries": made.entries, "directory": folder,
            }
        )  # fmt: skip
        return
    click.echo(made.key.line())
    say(f"revet: {made.ledger}: {count(made.entries, 'entry', 'entries')}; private key {made.key_file}")
    say(f"revet: checkpoints: {folder or 'in the topic alone; set ledger.directory'}")
    say("revet: keep the line above, and copies of the checkpoints, where nobody who can change the record can")


@command.command(epilog="Example:\n\n\b\n  $ revet ledger seal --state revet.sqlite")
@_key_file
@record_option
def seal(key_file: Path | None, record: Record) -> int:
    """Close and sign whatever waits, and put every checkpoint into its folder.

    `revet run` and `revet serve ledger` do this by themselves.
    """
    place = _place(record, key_file)
    made = place.seal(place.sealer(), now())
    click.echo(count(made, "checkpoint") + " signed" if made else "nothing to sign, or no key at hand")
    return EXIT_OK


# ------------------------------------------------------------------------------------------------------------- checks


@command.command(
    epilog="Examples:\n\n\b\n"
    "  $ revet ledger verify\n"
    "  $ revet ledger verify --from 7d --key ledger-3f2a9c01=Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE= -o json\n"
    "  $ revet ledger verify --export ledger.jsonl.gz --key auditor-keys.txt\n\n"
    "Exit code 0: everything is as it was sealed; 1: something is not; 3: nothing is signed yet, so nobody can tell."
)
@click.option("--export", "file", type=_FILE, metavar="FILE", help="Check an export instead of the record.")
@_since
@_until
@_keys
@click.option("--tell", is_flag=True, help="Open or close the finding ledger-broken by the result. Needs no window.")
@record_option
@output_option
def verify(
    file: Path | None, since: Micros | None, until: Micros | None, keys: tuple[str, ...], tell: bool, record: Record,
    output: str,
) -> int:  # fmt: skip
    """Compare the record with its ledger, document by document, and the ledger with its checkpoints.

    --from and --to are a window over the time of the records; the chain of batches is always checked whole.
    """
    if tell and (file or since is not None or until is not None):
        raise click.UsageError("--tell is of a check of the whole record: without --export, --from and --to")
    at = now()
    progress = _progress()
    if file is not None:
        opened = ExportFile(file)
        bounds = _narrower(opened, since, until)
        report = Checker(opened, opened, _pinned(record, keys), (), progress).check(*bounds, at)
    else:
        place = _place(record)
        report = place.check(place.pinned(keys), since, until, at, progress)
        if tell:
            place.tell(checked(report, "whole", 0, at + DAY, at))
    if output == "json":
        print_json({"schema": SCHEMA_VERIFY, "fine": report.fine, **_builtins(report)})
    else:
        _print_report(report)
    if report.counts:
        return EXIT_VIOLATION
    return EXIT_OK if report.signed >= 0 else EXIT_UNKNOWN


def _pinned(record: Record, keys: tuple[str, ...]) -> Any:  # noqa: ANN401  # the keys of notes
    return _place(record).pinned(keys)


def _narrower(opened: ExportFile, since: Micros | None, until: Micros | None) -> tuple[Micros | None, Micros | None]:
    """What both the file and the person want."""
    window = opened.window
    begin = max((t for t in (since, window.since) if t is not None), default=None)
    return begin, min((t for t in (until, window.until) if t is not None), default=None)


def _progress() -> Progress:
    last = [time.monotonic()]

    def tell(step: str, done: int, of: int) -> None:
        if time.monotonic() - last[0] >= TELL_EVERY:
            last[0] = time.monotonic()
            say(f"revet: {step}: {done:,}" + (f" of {of:,}" if of else ""))

    return tell


def _print_report(report: Report) -> None:
    if report.problems:
        rows = [
            (p.kind, "-" if p.batch is None else p.batch, "-" if p.sequence is None else p.sequence,
             show_time(p.time), f"{p.home} {p.id}".strip() or "-", p.detail)
            for p in report.problems[:SHOWN]
        ]  # fmt: skip
        print_table(("problem", "batch", "entry", "time", "document", "what"), rows)
        for kind, number in sorted(report.counts.items()):
            say(f"{kind}: {number:,}: {KINDS.get(kind, kind)}")
    window = f"{show_time(report.since)} to {show_time(report.until)}" if report.since or report.until else "whole"
    counted = [
        ("ledger", report.ledger), ("window", window),
        ("batches", f"{report.batches:,}"), ("signed up to batch", str(report.signed) if report.signed >= 0 else "-"),
        ("signed by", ", ".join(report.keys) or "nobody whose key is known"), ("entries", f"{report.entries:,}"),
        ("records as sealed", f"{report.records:,} in {report.seconds:.1f} s"),
        ("written again", f"{report.repeated:,}"),
        ("erased", f"{report.erased:,}"), ("expired", f"{report.expired:,}"), ("refused", f"{report.refused:,}"),
        ("in no batch yet", f"{report.waiting:,}"), ("under way", f"{report.under_way:,}"),
        ("lost in a restore, accepted", f"{report.lost:,}"),
    ]  # fmt: skip
    print_table(("", "compared"), counted)
    for restore in report.restores:
        click.echo(safe(_told(restore)))
    word = "everything is as it was sealed" if report.signed >= 0 else "nothing is signed yet, so nobody can tell"
    click.echo("NOT as it was sealed" if report.counts else word)


def _told(restore: Restore) -> str:
    """An accepted restore, for people; names and reasons are somebody's own words."""
    what = [count(restore.documents, "document")] if restore.documents else []
    if restore.abandoned:
        notes = count(len(restore.abandoned), "checkpoint")
        what.append(f"{count(restore.entries, 'entry', 'entries')} and {notes} of the log")
    by = f"{restore.by}: {restore.reason} (signed {restore.key})"
    return f"restore accepted {show_time(restore.time)}, lost {', '.join(what) or 'nothing'}, by {by}"


# ------------------------------------------------------------------------------------------------------------- exports


@command.command(
    "export",
    epilog="Examples:\n\n\b\n"
    "  $ revet ledger export ledger.jsonl.gz --from 2026-10-01 --to 2026-11-01 --checker check_ledger.py\n"
    "  $ revet ledger verify --export ledger.jsonl.gz --key auditor-keys.txt\n\n"
    "Without revet: python check_ledger.py FILE --key NAME=KEY. The file holds what the record holds, names of"
    " persons too: it is for whoever may see that.",
)
@click.argument("file", type=_FILE)
@_since
@_until
@_keys
@click.option(
    "--checker", "copy", type=_FILE, metavar="FILE", help="Also write the checker that needs nothing of revet."
)
@record_option
@output_option
def export_(
    file: Path, since: Micros | None, until: Micros | None, keys: tuple[str, ...], copy: Path | None, record: Record,
    output: str,
) -> int:  # fmt: skip
    """Write the ledger, and the documents of a window, into one FILE that can be checked without revet."""
    place = _place(record)
    pinned = place.pinned(keys)
    with place.reading() as (log, store):
        made = export(file, log, store, pinned, since, until, place.name())
    if copy is not None:
        _write_checker(copy)
    if output == "json":
        print_json({"schema": SCHEMA_EXPORT, "file": str(file), **_builtins(made)})
    else:
        click.echo(f"{safe(str(file))}: {_counted(made)}")
        say("revet: check it: python check_ledger.py FILE --key NAME=KEY, with a key that did not come with the file")
    return EXIT_OK


def _write_checker(file: Path) -> None:
    try:
        file.write_bytes(Path(checker.__file__).read_bytes())
    except OSError as error:
        raise InputError(f"{file}: {error.strerror or error}") from error


def _counted(made: Exported) -> str:
    return ", ".join(
        (
            count(made.documents, "document"), count(made.entries, "entry", "entries"),
            count(made.batches, "batch", "batches"), count(made.checkpoints, "checkpoint"),
        )
    )  # fmt: skip


@command.command(
    "prove",
    epilog="Example:\n\n\b\n  $ revet ledger prove v1:2lg0XD_2UBdVuUeRYcsd4y8dkOZ > proof.json\n\n"
    "`revet ledger export --checker FILE` writes the program that checks it.",
)
@click.argument("id_", metavar="ID")
@click.option("--dataset", default="", metavar="NAME", help="Where an id is in several, e.g. revet.trust.")
@_keys
@record_option
def prove_(id_: str, dataset: str, keys: tuple[str, ...], record: Record) -> int:
    """Print the proof that the record ID is in the ledger: entry, way to the root, signed checkpoint."""
    place = _place(record)
    with place.reading() as (log, store):
        print_json(prove(log, store, place.pinned(keys), id_, dataset))
    return EXIT_OK


@command.command(
    "accept-restore",
    epilog="Examples:\n\n\b\n"
    "  $ revet ledger accept-restore --reason 'disk of es-2 died, snapshot of 04:00, ticket 4711'\n"
    "  $ revet ledger accept-restore --reason 'ticket 4711' --yes -o json\n\n"
    "Exit code 2: nothing is missing, or something is wrong that a restore does not explain. docs/ledger.md says when.",
)
@_reason
@click.option("--yes", is_flag=True, help="Do not ask.")
@_key_file
@_keys
@record_option
@output_option
def accept_restore(
    reason: str, yes: bool, key_file: Path | None, keys: tuple[str, ...], record: Record, output: str
) -> int:
    """Accept that a record was put back from a backup, and what was lost with it.

    What is missing now is named in the ledger, one by one, with you, the reason and the key's signature. Checks then
    say so instead of finding it missing; what goes missing later is found as ever. What the topics still have comes
    back by `revet index reconcile`: do that first.
    """
    place = _place(record, key_file)
    at = now()
    losses = place.losses(place.pinned(keys), at, _progress())
    say(f"revet: lost: {_lost(losses)}")
    if not yes:
        click.confirm("Accept this for ever, under your name?", abort=True, err=True)
    acts = place.accept(losses, local_author(), reason, at)
    if output == "json":
        print_json(
            {
                "schema": SCHEMA_RESTORE, "acts": acts, "documents": len(losses.documents), "homes": losses.homes,
                "entries": losses.entries, "checkpoints": len(losses.abandoned), "by": local_author(), "reason": reason,
            }
        )  # fmt: skip
    else:
        click.echo(f"accepted in {count(acts, 'act')}: {_lost(losses)}")
        if losses.abandoned and not isinstance(record, StateFile):
            say("revet: `revet serve ledger` remembers the log as it was: stop it, remove ledger.state, start it")
    return EXIT_OK


def _lost(losses: Losses) -> str:
    """What was lost, in words."""
    times = [lost.time for lost in losses.documents]
    named = ", ".join(f"{home} {number:,}" for home, number in losses.homes.items())
    parts = []
    if times:
        parts = [f"{count(len(times), 'document')} ({named}) of {show_time(min(times))} to {show_time(max(times))}"]
    if losses.abandoned:
        ahead, notes = count(losses.entries, "entry", "entries"), count(len(losses.abandoned), "checkpoint")
        parts.append(f"the end of the log: {ahead} behind what is left, under {notes}")
    return "; ".join(parts)


@command.command(
    "erase",
    epilog="Example:\n\n\b\n  $ revet ledger erase v1:2lg0XD_2UBdVuUeRYcsd4y8dkOZ --reason 'request 4711' --yes\n\n"
    "Find them with `revet search 'user:ann@example.com' -o json`. docs/ledger.md says what is kept elsewhere.",
)
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@click.option("--dataset", default="revet.admission", show_default=True, metavar="NAME", help="Where they are.")
@_reason
@click.option("--yes", is_flag=True, help="Do not ask.")
@record_option
@output_option
def erase(ids: tuple[str, ...], dataset: str, reason: str, yes: bool, record: Record, output: str) -> int:
    """Erase the content of records for ever, e.g. of somebody who asks for it; their entries stay.

    In the place of each document stays that it was erased, with its id and time. The ledger says who did it and why,
    so no check misses it. Do not write a person's name into the reason.
    """
    place = _place(record)
    with place.reading() as (_, store):
        found = {kept.id: kept for kept in store.lookup([(dataset, id_) for id_ in dict.fromkeys(ids)])}
    missing = [id_ for id_ in ids if id_ not in found]
    if missing:
        raise InputError(f"{dataset[:80]} has no document {missing[0][:200]}; nothing was erased")
    if not yes:
        click.confirm(f"Erase {count(len(found), 'document')} of {dataset} for ever?", abort=True, err=True)
    for kept in found.values():
        place.erase(kept, local_author(), reason, now())
    if output == "json":
        print_json({"schema": SCHEMA_ERASE, "erased": sorted(found)})
    else:
        click.echo(f"{count(len(found), 'document')} erased")
    return EXIT_OK


def _builtins(value: object) -> dict[str, object]:
    made: dict[str, object] = msgspec.to_builtins(value)
    return made
