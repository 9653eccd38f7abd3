"""`revet doctor`: what revet needs, whether it is there, and what mends it.

It only looks: nothing is written or created, and a running service is not held up. Of the single-machine mode nothing
is asked over a network but Slack, where it is set; of the clustered mode every dependency is.
"""

from __future__ import annotations

import importlib
import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import click
import msgspec
from rich.text import Text

from streams.cli.common import (
    EXIT_OK,
    EXIT_SERVICE,
    default_state,
    named_settings,
    now,
    output_option,
    print_json,
    print_table,
    say,
    settings_flags,
    show_time,
)
from streams.cli.render import safe
from streams.engine.sqlite import FILE_VERSION, Connection, trust_log
from streams.local.sqlite import newest_time, open_reading, progress, recorded_clock
from streams.serving.checks import Check, Diagnosis, Status
from streams.serving.probe import EXAMPLE, probe
from streams.settings import Loaded, Settings
from streams.sight import FeedRow
from verifier.errors import InputError, RevetError
from verifier.trust.records import TRUST_RECORD
from verifier.trust.state import TrustState

SCHEMA: Final = "revet.doctor/v1"

OLDEST_PYTHON: Final = (3, 11)
TOO_NEW_PYTHON: Final = (3, 14)

PACKAGES: Final = ("aiohttp", "click", "cryptography", "msgspec", "orjson", "pydantic", "rich", "yaml")
"""Modules revet cannot do without."""

MIB: Final = 1024 * 1024
DISK_WARN: Final = 1024 * MIB
"""Bytes free on the state's disk, below which there is a warning."""
DISK_FAIL: Final = 100 * MIB
"""Below this a batch may not be writable any more."""

FEED_SILENT_US: Final = 10 * 60 * 1_000_000
"""Microseconds after which a live feed counts as silent: an API server is quiet for a minute, not for ten."""

_STYLE: Final[dict[Status, str]] = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def diagnose(state: Path, *, wanted: bool, at: int) -> Diagnosis:
    """Every check. Raises nothing: what cannot be looked at is a check that fails.

    Args:
        state: the state file.
        wanted: somebody named it, so that its absence is a failure and not just a fresh start.
        at: the wall clock, microseconds UTC.
    """
    checks = [_python(), _packages(), *_disk(state), *_state_file(state, wanted=wanted)]
    if state.exists():
        try:
            checks += _contents(state, at)
        except (RevetError, ValueError) as error:  # ValueError: bytes in it that are not what revet writes
            mend = "restore it from a copy, or move it away and start anew"
            checks.append(Check("state", "fail", str(error), mend))
    return Diagnosis(tuple(checks))


# ----------------------------------------------------------------------------------------------------- the surroundings


def _python() -> Check:
    found = sys.version_info[:2]
    text = ".".join(map(str, sys.version_info[:3]))
    if OLDEST_PYTHON <= found < TOO_NEW_PYTHON:
        return Check("python", "ok", text)
    return Check("python", "fail", f"{text} is not supported", "install Python 3.11, 3.12 or 3.13")


def _packages() -> Check:
    missing = [name for name in PACKAGES if not _importable(name)]
    if not missing:
        return Check("packages", "ok", f"{len(PACKAGES)} importable")
    return Check("packages", "fail", f"cannot import {', '.join(missing)}", "install revet again: make install")


def _importable(name: str) -> bool:
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True


def _disk(state: Path) -> Iterator[Check]:
    folder = next(folder for folder in state.absolute().parents if folder.is_dir())
    free = shutil.disk_usage(folder).free
    status: Status = "fail" if free < DISK_FAIL else "warn" if free < DISK_WARN else "ok"
    mend = "" if status == "ok" else "free space, or put the state elsewhere with --state"
    yield Check("disk", status, f"{free // MIB:,} MiB free at {folder}", mend)


# ------------------------------------------------------------------------------------------------------- the state file


def _state_file(state: Path, *, wanted: bool) -> Iterator[Check]:
    if not state.exists():
        status: Status = "fail" if wanted else "warn"
        yield Check("state", status, f"no state at {state}", "start with `revet demo` or `revet run`")
        return
    if not os.access(state, os.R_OK | os.W_OK):
        yield Check("state", "fail", f"{state} cannot be read and written", f"chown or chmod {state}")
    loose = [p.name for p in _files_of(state) if p.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)]
    if loose:
        message = f"others may open {', '.join(loose)}, which names what runs and what is wrong with it"
        yield Check("permissions", "warn", message, f"chmod 600 {state}*")
    else:
        yield Check("permissions", "ok", "for its owner only")


def _files_of(state: Path) -> list[Path]:
    return [p for suffix in ("", "-wal", "-shm") if (p := state.with_name(state.name + suffix)).exists()]


def _contents(state: Path, at: int) -> list[Check]:
    """Raises what `open_reading` raises, and ValueError for rows of another form."""
    with open_reading(state) as connection:
        return [check for look in _LOOKS for check in look(connection, state, at)]


def _sound(connection: Connection, state: Path, at: int) -> Iterator[Check]:
    del at
    problems = [str(row[0]) for row in connection.execute("PRAGMA quick_check(5)") if row[0] != "ok"]
    if problems:
        yield Check("state", "fail", f"{state} is damaged: {problems[0]}", "restore it from a copy")
        return
    row = connection.execute("SELECT value FROM meta WHERE key = 'file-version'").fetchone()
    version = int(str(row[0])) if row else 0
    if version > FILE_VERSION:
        yield Check("state", "fail", f"{state} is of file version {version}", "use the revet that wrote it, or newer")
    else:
        yield Check("state", "ok", f"{state}, file version {version}, {state.stat().st_size // MIB:,} MiB")


def _journal(connection: Connection, state: Path, at: int) -> Iterator[Check]:
    del state, at
    row = connection.execute("PRAGMA journal_mode").fetchone()
    mode = str(row[0]) if row else "unknown"
    if mode == "wal":
        yield Check("journal", "ok", "write-ahead log: commands work beside a running service")
    else:
        mend = "`revet run` turns it on; network file systems cannot do it"
        yield Check("journal", "warn", f"mode {mode}, so readers and the service wait for each other", mend)


def _trust(connection: Connection, state: Path, at: int) -> Iterator[Check]:
    del state, at
    trust = _folded(connection)
    keys = sum(key.removed_at is None for key in trust.keys.values())
    message = f"epoch {trust.epoch}: policies {len(trust.policies)}, keys {keys}, clusters {len(trust.clusters)}"
    if trust.policies:
        yield Check("trust", "ok", message)
    else:
        yield Check("trust", "warn", f"{message}; everything is ungoverned", "revet trust apply FILE")


def _folded(connection: Connection) -> TrustState:
    trust = TrustState.empty()
    for epoch, value in trust_log(connection):
        trust, _ = trust.apply(TRUST_RECORD.validate_json(value), epoch)
    return trust


def _feeds(connection: Connection, state: Path, at: int) -> Iterator[Check]:
    del state
    recorded = recorded_clock(connection)
    clock = newest_time(connection) if recorded else at
    names = {entry.cluster_id: entry for entry in _folded(connection).clusters.values()}
    heard: set[tuple[str, str]] = set()
    for key, value in connection.execute("SELECT key, value FROM state WHERE kind = 'feed' ORDER BY key"):
        cluster, _, feed = str(key).rpartition("\0")
        heard.add((cluster, feed))
        if cluster in names and not names[cluster].enrolled:
            continue  # retired: silence is what was asked for
        row = msgspec.msgpack.decode(value, type=FeedRow)
        yield _feed(names[cluster].name if cluster in names else cluster, feed, row.last, clock, recorded=recorded)
    here = [entry for entry in names.values() if entry.enrolled]
    missing = [(entry.name, f) for entry in here for f in entry.feeds if (entry.cluster_id, f) not in heard]
    for name, feed in missing:
        yield Check(
            "feed", "warn", f"{name} {feed}: declared, never heard", "connect it, or enrol the cluster without it"
        )
    if not heard and not missing:
        yield Check("feed", "warn", "none heard yet", "give `revet run` a recording, or let it listen")


def _feed(cluster: str, feed: str, last: int, clock: int, *, recorded: bool) -> Check:
    age = max(clock - last, 0) // 1_000_000
    since = "of the recording's end" if recorded else "ago"
    message = f"{cluster} {feed}: last heard {show_time(last)}, {age:,} s {since}"
    if recorded or clock - last < FEED_SILENT_US:
        return Check("feed", "ok", message)
    return Check("feed", "warn", message, "look at what sends it; nothing it would tell is known meanwhile")


def _requests(connection: Connection, state: Path, at: int) -> Iterator[Check]:
    del state, at
    waiting = progress(connection).unanswered
    if waiting:
        mend = "start `revet run` with --evidence; until then the verdicts are unverifiable"
        yield Check("requests", "warn", f"{waiting} requests for evidence wait", mend)
    else:
        yield Check("requests", "ok", "no request for evidence waits")


def _record(connection: Connection, state: Path, at: int) -> Iterator[Check]:
    del state, at
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'record'").fetchone() is None:
        yield Check("record", "warn", "no record yet: nothing was judged in this state", "start `revet run`")
        return
    row = connection.execute("SELECT count(*), max(time) FROM record").fetchone() or (0, None)
    newest = show_time(int(str(row[1]))) if row[1] is not None else "-"
    yield Check("record", "ok", f"{int(str(row[0])):,} documents, newest {newest}")


_LOOKS: Final[tuple[Callable[[Connection, Path, int], Iterator[Check]], ...]] = (
    _sound,
    _journal,
    _trust,
    _feeds,
    _requests,
    _record,
)
"""What is looked at inside a state file. A new check is a function and a row here."""


# ------------------------------------------------------------------------------------------------------------- command


@click.command(
    epilog="\b\nExit codes: 0 nothing fails (warnings do not count); 4 something fails.\n\n"
    "\b\nExamples:\n"
    "  $ revet doctor --state revet.sqlite\n"
    "  $ revet doctor --settings /etc/revet/cluster.yaml\n"
    f"  $ revet doctor --probe {EXAMPLE}"
)
@settings_flags
@click.option(
    "--state",
    type=click.Path(dir_okay=False, path_type=Path),
    show_default="of the settings or profile, $REVET_STATE, or ~/.local/state/revet/revet.sqlite",
    help="State file of the single-machine mode.",
)
@click.option(
    "--probe", "address", metavar="URL", help="Ask one process of the clustered mode how it is, nothing else."
)
@output_option
@click.pass_context
def command(
    context: click.Context,
    settings_file: Path | None,
    profile: str | None,
    state: Path | None,
    address: str | None,
    output: str,
) -> None:
    """Check what revet needs, and say what mends it.

    With settings that name Kafka or Elasticsearch it checks the clustered mode: brokers, topics, rights, clocks, the
    record, the evidence store, administrators, and every process by its signs of life. Else the state file.
    In both: the webhook's spool and certificate, and what the token of Slack may (`auth.test`), where they are set.
    """
    if address is not None:
        code, line = probe(address)
        click.echo(line)
        context.exit(code)
    diagnosis = Diagnosis(tuple(_checks(settings_file, profile, state)))
    if output == "json":
        print_json({"schema": SCHEMA, "checks": diagnosis.checks})
    else:
        rows = [[Text(c.status, _STYLE[c.status]), c.name, c.message, c.mend] for c in diagnosis.checks]
        print_table(["STATUS", "CHECK", "FOUND", "WHAT MENDS IT"], rows)
        if not diagnosis.sound:
            say(safe("revet: something fails; see above"))
    context.exit(EXIT_OK if diagnosis.sound else EXIT_SERVICE)


def _checks(settings_file: Path | None, profile: str | None, state: Path | None) -> Iterator[Check]:
    """Of the settings, then of the clustered mode where they are of it, then of the state file where one is meant.

    Raises:
        InputError: somebody named settings that are not there or wrong. Settings nobody named are a line.
    """
    try:
        loaded = named_settings(settings_file, profile)
    except InputError as error:
        if settings_file is not None or profile:
            raise
        yield Check("settings", "fail", str(error), "mend what it names; docs/settings.md has every setting")
        loaded = Loaded(Settings(), {})
    settings = loaded.settings
    if settings.clustered:
        yield Check("settings", "ok", _origin(loaded))
        yield _python()
        yield from importlib.import_module("streams.serving.dependencies").look(settings)
    if settings.admission.address or settings.slack.wanted:
        yield from importlib.import_module("streams.serving.around").look(settings)
    if state is None and settings.clustered and settings.state is None:
        return
    file = state or settings.state or default_state()
    if sys.stderr.isatty():
        say(f"revet: state {file}" + (f" (profile {profile})" if profile else ""))
    yield from diagnose(file, wanted=state is not None, at=now()).checks


def _origin(loaded: Loaded) -> str:
    """Where the settings came from, in short: files and how many variables."""
    origins = [origin for origin in loaded.origins.values() if origin != "default"]
    files = sorted({origin.rpartition(":")[0] for origin in origins if ":" in origin})
    variables = sum(origin.startswith("REVET_") for origin in origins)
    return ", ".join([*files, f"{variables} variables"]) if origins else "defaults"
