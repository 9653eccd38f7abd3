"""What every command that changes trust shares: read trust, foresee, append, wait until judged, say what came of it.

    at = reading(state)                              trust as the whole log says, and the instant on the state's clock
    outcome = carry_out(state, records, at.now, expects=at.trust.epoch)
    return tell(outcome, output)

A running `revet run` polls the log and judges within a second. When none holds the lease on the state file, the command
is the node for as long as it takes. Either way the entry is durable before anything is judged, and is never taken back.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import click
import msgspec

from alerting.text import count
from streams.cli.common import (
    EXIT_OK,
    EXIT_SERVICE,
    EXIT_USAGE,
    TIME_EXPECTED,
    by,
    now,
    parse_time,
    print_json,
    print_table,
    read_text,
    say,
)
from streams.cli.manifests import manifest_files
from streams.cli.outcomes import Outcome, Proposed, Reading, folded, line_of
from streams.cli.render import safe
from streams.cli.sources import evidence_source
from streams.cli.trust_files import ROOT_SUFFIXES, RootFile, is_named, is_root, named_files, roots_of, with_file
from streams.cli.trustplace import Cluster, Place
from streams.codec import readable
from streams.engine.sqlite import CONTROL, append_trust, connect, trust_log
from streams.events import EvidenceWanted
from streams.local.lease import Lease, holder
from streams.local.node import FETCHER, FETCHES_AT_ONCE, LocalNode, NodeSettings
from streams.local.plan import BARE_KEY
from streams.local.preview import Hit, Preview, Reach, catch_up, preview, shard_copy, signatures_hit, stored_answers
from streams.local.sqlite import (
    Came,
    Progress,
    Told,
    came_of,
    open_reading,
    progress,
    record_mark,
    recorded_clock,
    state_now,
    stored_shard,
    team_names,
)
from streams.places import opened
from streams.topics import REQUESTS
from verifier.adapters.sqlite import SqliteEvidenceStore
from verifier.errors import InputError, PolicyError
from verifier.models import Micros, Scope
from verifier.policy.documents import API_VERSION, Document, load_documents
from verifier.trust.changes import By
from verifier.trust.records import TRUST_RECORD, RevocationPut, TrustRecord
from verifier.trust.state import TrustState

F = TypeVar("F", bound=Callable[..., Any])  # Any: decorators take every command as it is

LOOK_EVERY: Final = 0.05
"""Seconds between two looks at how far the running service has come."""
GIVE_UP: Final = 20.0
"""Seconds after which a command no longer waits for the running service."""
SETTLE: Final = 5.0
"""Seconds a command waits for the record to stop growing after every incident was told."""


# ------------------------------------------------------------------------------------------------------------- options


def note_option(function: F) -> F:
    """`--note TEXT`."""
    return click.option("--note", default="", help="Why, in words; kept with the change.")(function)


def evidence_option(function: F) -> F:
    """`--evidence PLACE`: used only when no service drives the state file."""
    return click.option(
        "--evidence",
        metavar="PLACE",
        default="",
        help="Where signatures are, for when no service runs: registry or oci-layout:DIR[,lookaside:DIR,...].",
    )(function)


def when(text: str, now: Micros, option: str) -> Micros:
    """A time from the command line; ages (`2h`) count from the state's own clock, not from the wall.

    Raises:
        click.BadParameter: it is none.
    """
    try:
        return parse_time(text, now)
    except ValueError as error:
        raise click.BadParameter(f"{safe(text[:80])} is no time; {TIME_EXPECTED}", param_hint=option) from error


def when_given(text: str | None, now: Micros, option: str) -> Micros | None:
    """As `when`; None when the option was not given."""
    return None if text is None else when(text, now, option)


def confirm(question: str, *, yes: bool) -> None:
    """Ask on a terminal. Where nobody can answer, `--yes` must have been given.

    Raises:
        click.UsageError: nobody can answer.
        click.Abort: the answer was no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("nobody can be asked here (no terminal): give --yes to apply it, or --dry-run to look")
    click.confirm(safe(question), abort=True, err=True)


# ------------------------------------------------------------------------------------------------------------- reading


def reading(place: Place, *, create: bool = False) -> Reading:
    """Read the trust log of a state file or cluster. With `create`, a file that is not there yet is empty.

    Raises:
        InputError: there is no state file, it is something else, or the log holds records of a newer version.
        PlaceError: it cannot be read now.
    """
    if isinstance(place, Cluster):
        return place.reading()
    path = place
    if create and not path.exists():
        return Reading(TrustState.empty(), now())
    with open_reading(path) as connection:
        entries = tuple(folded(trust_log(connection)))
        trust = entries[-1].after if entries else TrustState.empty()
        return Reading(trust, state_now(connection, now()), entries)


def asked_by(found: Reading, note: str = "", origin: str = "cli") -> By:
    """Who asks for a change, at the state's own time.

    A recording's clock stands still, and ids of revocations and exemptions hold their time: at an instant of its own
    each, what was withdrawn a moment ago can be asked for again.
    """
    taken = {entry.record.at for entry in found.entries}
    at = found.now
    while at in taken:
        at -= 1
    asked = by(at, note, origin)
    return asked._replace(author=found.author) if found.author else asked


SUFFIXES: Final = (".yaml", ".yml", ".json", BARE_KEY, *ROOT_SUFFIXES)
"""What is read of a folder."""


def read_documents(names: Sequence[str]) -> tuple[tuple[Document, ...], tuple[PolicyError, ...]]:
    """Every document of files, folders (with what is below, hidden files left out) and `-`, and every error in them.

    Raises:
        InputError: a file that cannot be read, or a folder with nothing to read in it.
    """
    documents: list[Document] = []
    errors: list[PolicyError] = []
    files = list({file if file == "-" else Path(file).absolute(): file for n in names for file in _files(n)}.values())
    bare = [file for file in files if file.endswith(BARE_KEY) or (file != "-" and is_root(file))]
    for file in (file for file in files if file not in bare):
        _take(load_documents(file, read_text(file)), documents, errors)
    named = named_files(documents)
    bare = [file for file in bare if not is_named(file, named)]
    for root in roots_of(file for file in bare if not file.endswith(BARE_KEY)):
        _take(load_documents(root.file, _root_document(root)), documents, errors)
    for file in (file for file in bare if file.endswith(BARE_KEY)):
        _take(load_documents(file, _key_document(file, read_text(file))), documents, errors)
    return tuple(_filled(documents, errors)), tuple(errors)


def _take(
    loaded: tuple[Sequence[Document], Sequence[PolicyError]], documents: list[Document], errors: list[PolicyError]
) -> None:
    documents += loaded[0]
    errors += loaded[1]


def _filled(documents: Iterable[Document], errors: list[PolicyError]) -> Iterator[Document]:
    """The documents with the files they name; one whose file is no good is an error."""
    for document in documents:
        try:
            yield with_file(document)
        except PolicyError as error:
            errors.append(error)


def _files(name: str) -> list[str]:
    files = manifest_files(name, SUFFIXES)
    if not files:
        raise InputError(f"{name}: no {', '.join(SUFFIXES)} file in this folder")
    return files


def _root_document(root: RootFile) -> str:
    """A bare trust root as the document it stands for: its name is the file's, or that of its trust store."""
    head = {"apiVersion": API_VERSION, "kind": "TrustRoot", "metadata": {"name": root.name.rpartition(":")[2]}}
    return msgspec.json.encode({**head, "spec": {"format": root.format, "content": root.content}}).decode()


def _key_document(file: str, pem: str) -> str:
    """A bare key file as the document it stands for: its name is the file's."""
    name = Path(file).name.removesuffix(BARE_KEY)
    head = {"apiVersion": API_VERSION, "kind": "Key", "metadata": {"name": name}}
    return msgspec.json.encode({**head, "spec": {"pem": pem}}).decode()


# ----------------------------------------------------------------------------------------------------------- foreseeing


def foresee(place: Place, records: Sequence[TrustRecord], at: Micros) -> tuple[Preview, Hit | None]:
    """What records would come to, on a copy of what is judged now; the split when they begin with a revocation.

    A state file that is not there yet holds nothing. Raises what `reading` raises.
    """
    if isinstance(place, Cluster):
        return place.foresee(records, at)
    path = place
    first = records[0] if records and isinstance(records[0], RevocationPut) else None
    if not path.exists():
        return preview(shard_copy((), TrustState.empty()), records, at), None
    with open_reading(path) as connection:
        log = trust_log(connection)
        judged = TrustState.empty()
        for entry in folded(trust_log(connection, seen_by=CONTROL)):
            judged = entry.after
        state = shard_copy(stored_shard(connection), judged)
        answer = stored_answers(SqliteEvidenceStore(connection))
        waiting = [TRUST_RECORD.validate_json(value) for epoch, value in log if epoch > judged.epoch]
        catch_up(state, waiting, answer)
        teams = team_names(connection)
        hit = signatures_hit(state, first, teams) if first is not None else None
        return preview(state, records, at, answer, teams), hit


def running_scopes(place: Place) -> list[tuple[Scope, str]]:
    """(scope, running digest) of every class that runs, for checks of patterns. Raises what `reading` raises."""
    if isinstance(place, Cluster):
        return place.scopes()
    with open_reading(place) as connection:
        state = shard_copy(stored_shard(connection), TrustState.empty())
    return [(cls.row.scope, cls.row.digest) for cls in state.classes.values() if cls.members]


SHOWN: Final = 20
"""Rows that a table shows; JSON holds all."""


def reach_text(reach: Reach) -> str:
    """How far something reaches, for people."""
    if not reach.containers:
        return "nothing that runs"
    return (
        f"{count(reach.containers, 'container')} of {count(reach.workloads, 'workload')}"
        f" in {count(reach.namespaces, 'namespace')} of {count(reach.clusters, 'cluster')}"
    )


def breaking_lines(foretold: Preview) -> Iterator[str]:
    """What would begin to violate, by team, and which findings would close."""
    yield f"would begin to violate: {reach_text(foretold.violating)}"
    for team, containers, workloads in foretold.violating.teams:
        yield f"  {team}: {count(containers, 'container')} of {count(workloads, 'workload')}"
    if foretold.closed:
        yield f"findings that would close: {len(foretold.closed)}"


def print_breaking(foretold: Preview) -> None:
    """The workloads that would begin to violate."""
    rows = [
        (change.cluster, change.namespace, ", ".join(change.workloads), change.image, change.containers, change.policy)
        for change in foretold.changes
        if change.after == "violates" and change.before != "violates"
    ]
    if rows:
        print_table(("cluster", "namespace", "workloads", "image", "containers", "violates"), rows[:SHOWN])
        more(len(rows))


def more(number: int) -> None:
    """Say how many rows a table left out."""
    if number > SHOWN:
        click.echo(f"… and {number - SHOWN} more; -o json shows all")


# ------------------------------------------------------------------------------------------------------------ applying


def carry_out(
    place: Place, records: Sequence[TrustRecord], at: Micros, *, expects: int | None, evidence: str = "", what: str = ""
) -> Outcome:
    """Append records to the trust log, all or none, and wait until they are judged, or judge them.

    In a cluster they are signed, and `--propose` writes them to a file instead.

    Raises:
        TrustError: the log has moved on since `expects`, or a signature is missing; nothing of it counts.
        InputError, PlaceError: the state file, the broker or the evidence place cannot be used.
        click.UsageError: `evidence` names no place.
    """
    if isinstance(place, Cluster):
        return place.carry_out(records, expects=expects)
    path = place
    if evidence:
        asyncio.run(_check_place(evidence))  # a wrong place is an error before anything is written
    with closing(connect(path, create=True)) as connection:
        mark = record_mark(connection)
        epochs = append_trust(connection, [TRUST_RECORD.dump_json(r) for r in records], at, expects)
    judged_by, judged = _judged(path, epochs[-1], evidence, what)
    with open_reading(path) as connection:
        entries = [line_of(e) for e in folded(trust_log(connection)) if e.epoch in epochs]
        waiting = progress(connection).unanswered
        return Outcome(tuple(entries), judged_by, judged, came_of(connection, mark, epochs), waiting)


def _judged(path: Path, epoch: int, evidence: str, what: str) -> tuple[Literal["service", "command", "nobody"], bool]:
    """Whoever holds the lease judges; who finds it free takes it and judges himself."""
    deadline = time.monotonic() + GIVE_UP
    goal = _Goal(epoch)
    while time.monotonic() < deadline:
        lease = Lease.try_acquire(path, what)
        if lease is not None:
            with lease:
                asyncio.run(_drive(path, evidence))
            return "command", True
        with open_reading(path) as connection:
            if goal.met(progress(connection)):
                _settle(path)
                return "service", True
        time.sleep(LOOK_EVERY)
    return "nobody", False


class _Goal:
    """Judged under an epoch, and the evidence it asked for fetched and judged too. A step that was met stays met."""

    def __init__(self, epoch: int) -> None:
        self._epoch = epoch
        self._requests: int | None = None
        self._facts: int | None = None

    def met(self, at: Progress) -> bool:
        """Has the service come this far?"""
        if at.epoch < self._epoch:
            return False
        if self._requests is None:
            self._requests = at.requests
        if at.fetched < self._requests:
            return False
        if self._facts is None:
            self._facts = at.facts
        return at.judged >= self._facts


def _settle(path: Path) -> None:
    """Incidents come before the rewrite of documents; what is counted from the record waits for it, within reason."""
    deadline = time.monotonic() + SETTLE
    known = -1
    while time.monotonic() < deadline:
        with open_reading(path) as connection:
            mark = record_mark(connection)
        if mark == known:
            return
        known = mark
        time.sleep(4 * LOOK_EVERY)


async def _check_place(evidence: str) -> None:
    async with opened(evidence_source(evidence)):
        pass


async def _drive(path: Path, evidence: str) -> None:
    with open_reading(path) as connection:
        recorded = recorded_clock(connection)
    async with AsyncExitStack() as stack:
        place = await stack.enter_async_context(opened(evidence_source(evidence))) if evidence else None
        node = LocalNode.open(path, NodeSettings(place=place, replay=recorded))
        stack.callback(node.close)
        while await _unit(node):
            pass


async def _unit(node: LocalNode) -> bool:
    """One unit of the node's work, without telling anyone: messages are for the service to send when it runs again."""
    fetched = await node.fetch_waiting() if _can_fetch(node) else False
    return node.engine.run_once() or fetched


def _can_fetch(node: LocalNode) -> bool:
    """Without a place only stored evidence can be looked at; asking nobody would be taken for an answer."""
    if node.settings.place is not None:
        return True
    wanted = readable(r.value for r in node.engine.waiting(REQUESTS, FETCHER, FETCHES_AT_ONCE))
    return all(isinstance(w, EvidenceWanted) and w.why == "keys-added" for w in wanted)


# -------------------------------------------------------------------------------------------------------------- telling


def exit_code(outcome: Outcome) -> int:
    """0 applied and judged, or proposed; 2 an entry was ignored; 4 nobody has judged it in time."""
    if not all(line.applied for line in outcome.entries):
        return EXIT_USAGE
    return EXIT_OK if outcome.judged else EXIT_SERVICE


def tell(outcome: Outcome, output: str, place: Place) -> int:
    """Print what came of a change; returns the exit code."""
    if output == "json":
        print_json({"schema": "revet.change/v1", **msgspec.to_builtins(outcome)})
        return exit_code(outcome)
    for sentence in sentences(outcome):
        click.echo(safe(sentence))
    if not outcome.judged and isinstance(place, Cluster):
        say("revet: it counts, and not every shard has judged under it yet; see `revet doctor`")
    elif not outcome.judged and isinstance(place, Path):
        who = holder(place)
        named = f" (process {who.pid} on {who.host})" if who is not None else ""
        say(f"revet: recorded, but the running service{named} has not judged it yet; see `revet trust history`")
    return exit_code(outcome)


def sentences(outcome: Outcome) -> list[str]:
    """What came of a change, for people."""
    lines = []
    for entry in outcome.entries:
        signed = f" (signed by {', '.join(entry.signed)})" if entry.signed else ""
        lines.append(f"epoch {entry.epoch}: {entry.sentence}{signed}")
        if not entry.applied:
            lines.append(f"  ignored ({entry.code}): {entry.why}")
    came = outcome.came
    if outcome.proposed is not None:
        return [*lines, *_proposed(outcome.proposed)]
    if outcome.judged and outcome.judged_by == "cluster":
        lines.append("every shard has judged under it; `revet incident list` and `revet search` show what came of it")
        return [
            *lines,
            *(f"incident {one.short_id}: {one.kind} {one.subject}: {_reach(one)}" for one in came.incidents),
        ]
    if outcome.judged:
        told = _numbers(came.verdicts) or "no verdict changed"
        lines.append(f"re-judged: {count(came.classes, 'class', 'classes')} changed: {told}" if came.classes else told)
        lines.append(f"findings: opened {_numbers(came.opened) or '0'}; closed {_numbers(came.closed) or '0'}")
    lines += [f"incident {one.short_id}: {one.kind} {one.subject}: {_stands(one)}" for one in came.incidents]
    if outcome.waiting:
        lines.append(f"{count(outcome.waiting, 'request')} for evidence wait for `revet run`, or for --evidence")
    return lines


def _proposed(proposed: Proposed) -> list[str]:
    """What is to be done with a proposal."""
    file = proposed.file
    if not proposed.missing:
        return [f"written to {file}, nothing is applied; it has the signatures it needs: revet trust submit {file}"]
    others = count(proposed.missing, "more administrator")
    return [f"written to {file}, nothing is applied; {others} must sign it: revet trust sign {file}, then submit"]


def _reach(one: Told) -> str:
    return count(one.containers, "container") if one.state == "open" else "nothing is left in it"


def _stands(one: Told) -> str:
    """How an incident stands. It stays open for a while after the last of it has closed."""
    changed = [f"{n} {word}" for n, word in ((one.opened, "opened"), (one.closed, "closed")) if n]
    reach = f", {count(one.containers, 'container')}" if not one.closed else ""
    return f"{one.state}{reach} (findings: {', '.join(changed)})"


def _numbers(values: dict[str, int]) -> str:
    return ", ".join(f"{number} {name}" for name, number in sorted(values.items()))


def nothing_to_do(output: str, sentence: str) -> int:
    """Nothing was changed; says so."""
    if output == "json":
        print_json({"schema": "revet.change/v1", **msgspec.to_builtins(Outcome((), "nobody", True, Came()))})
    else:
        click.echo(safe(sentence))
    return EXIT_OK
