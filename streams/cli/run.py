"""`revet run`: the single-machine mode, playing recordings, listening for audit events, or one after the other."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import click
import msgspec
from rich.progress import Progress as Bar
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

from alerting.calls import AsyncNotifier
from alerting.models import Incident, IncidentAction, IncidentContext
from streams.cli.changing import read_documents
from streams.cli.common import (
    EXIT_OK,
    INSTANT,
    console,
    default_state,
    local_author,
    output_option,
    print_json,
    print_table,
    say,
    show_time,
)
from streams.cli.outcomes import folded
from streams.cli.paging import shown
from streams.cli.recordings import print_limits, recordings
from streams.cli.sources import evidence_source
from streams.clock import wall_clock
from streams.collectors.notifications import NotificationOptions, NotificationServer
from streams.collectors.notified import Changed
from streams.collectors.server import Receiver
from streams.engine.sqlite import trust_log
from streams.garbage import settle_collector
from streams.knowing import Knowing
from streams.local.dated import first_seen_dates
from streams.local.lease import Lease, holder
from streams.local.ledgering import Keeper, LocalPlace
from streams.local.node import LocalNode, NodeSettings
from streams.local.plan import plan
from streams.local.replay import LookBacks, Progress, Replay, ReplaySource
from streams.local.service import LIVE_BATCH, Service, Summary, summary
from streams.local.sqlite import note_clock
from streams.local.watching import watching
from streams.outputs import output
from streams.places import EvidenceSource, opened, registry_options
from streams.queries.context import context_of
from streams.queries.history import limits
from streams.queries.sqlite import SqliteReader
from streams.serving.receiving import receiver_options
from streams.settings import Settings, host_and_port, is_loopback, load_settings, shown_address
from streams.tellers import Counter, channels_of, courier_of, pressing_of, routes_of
from streams.telling import Copied, Courier, Direct
from verifier.adapters.package_data import public_good_root
from verifier.errors import InputError, PlaceUnavailable
from verifier.oci.port import EvidencePlace
from verifier.policy.check import check_documents
from verifier.times import HOUR
from verifier.trust.changes import By
from verifier.trust.state import TrustState

SCHEMA: Final = "revet.run/v1"
EXIT_INTERRUPTED: Final = 130
LEASE_SECONDS: Final = 3.0
"""How long a start waits for a command that is just judging its own change."""
TELL_EVERY: Final = 5.0
"""Seconds between two lines of progress where there is no terminal."""
BEFORE: Final = 1_000_000
"""Trust that a replay brings along is in force this long before the recording: pods are dated to the second."""

_FILE: Final = click.Path(path_type=Path)


class Played(msgspec.Struct, frozen=True):
    """What a replay came to."""

    items: int = 0
    new: int = 0
    ignored: dict[str, int] = {}
    seconds: float = 0.0
    finished: bool = True


@click.command(
    epilog="Examples:\n\n\b\n"
    "  $ revet run --replay audit.jsonl --replay pods.jsonl --trust trust/ --evidence oci-layout:images\n"
    "  $ revet run --listen 127.0.0.1:9880 --cluster prod-eu --watch prod-eu=$HOME/.kube/config\n"
    "  $ revet run --ui 127.0.0.1:8090 --state lookback.sqlite\n\n"
    "Settings come from the command line, else REVET_* variables, else revet.yaml: docs/settings.md."
)
@click.option(
    "--replay",
    multiple=True,
    metavar="[CLUSTER=]FILE|DIR",
    help="Play a recording, or every file of a folder; `-` is standard input. Repeatable.",
)
@click.option(
    "--look-back", is_flag=True, help="With --replay: archives in any order are history, which is told to nobody."
)
@click.option("--until", type=INSTANT, metavar="TIME", help="Play up to here, and let time pass until then.")
@click.option("--listen", metavar="HOST:PORT", help="Take events of the API server's audit webhook.")
@click.option(
    "--watch", multiple=True, metavar="NAME=KUBECONFIG[#CONTEXT]", help="Watch the pods of a cluster. Repeatable."
)
@click.option("--ui", metavar="HOST:PORT", help="Show the record as a live page there; a loopback address.")
@click.option(
    "--ui-host", multiple=True, metavar="NAME",
    help="The page is asked for by this name too, behind something that asks people who they are; with it --ui may be"
    " another address. Repeatable.",
)  # fmt: skip
@click.option("--ui-names", is_flag=True, default=None, help="Name people on the page. Only for the security role.")
@click.option("--listen-token-file", type=_FILE, metavar="FILE", help="Bearer token that senders must show.")
@click.option("--cluster", metavar="NAME", help="Cluster of what names none.  [default: local]")
@click.option(
    "--state", type=_FILE, metavar="FILE", help="State file.  [default: $REVET_STATE or the user's state folder]"
)
@click.option("--trust", multiple=True, type=_FILE, metavar="FILE|DIR", help="Apply these documents first. Repeatable.")
@click.option(
    "--evidence", metavar="oci-layout:DIR|registry", help="Where signatures are looked for.  [default: registry]"
)
@click.option("--plain-http", is_flag=True, default=None, help="Speak HTTP without TLS to registries.")
@click.option("--ca-file", type=_FILE, metavar="FILE", help="PEM bundle of a private CA, beside the system's.")
@click.option(
    "--docker-config", type=_FILE, metavar="FILE", help="Docker config.json with credentials; else anonymous."
)
@click.option(
    "--mirror", multiple=True, metavar="HOST=URL", help="Ask this origin in the place of registry HOST. Repeatable."
)
@click.option("--platform", metavar="OS/ARCH", help="Of a multi-platform image, look at this child too.")
@click.option("--first-seen", type=_FILE, metavar="FILE", help="Dated first observations of evidence (JSON lines).")
@click.option("--quiet", is_flag=True, default=None, help="Print no messages; they are recorded all the same.")
@click.option(
    "--settings",
    "settings_file",
    type=_FILE,
    metavar="FILE",
    help="Settings file.  [default: revet.yaml, where it exists]",
)
@output_option
def command(
    replay: tuple[str, ...],
    look_back: bool,
    until: int | None,
    settings_file: Path | None,
    output: str,
    **flags: object,
) -> int:
    """The single-machine mode: nothing beside Python and one file.

    With --replay it plays recordings of audit events and pods in the order of their time, prints a summary and ends.
    With --listen it stays and takes events as they happen; with --watch it stays and reads the pods of clusters.
    Staying, it judges every trust change within a second. With --ui it shows the record as a page that keeps itself up
    to date, and stays; alone it only shows what the state file has.
    """
    settings = load_settings(settings_file, os.environ, _given(flags))
    sources = recordings(replay, settings.cluster, "--replay prod-eu=audit.jsonl", option="--replay ")
    stays = bool(settings.listen.address or settings.pods.clusters)
    if not sources and not stays and not settings.ui.address:
        raise click.UsageError("nothing to do: give --replay FILE; or --listen, --watch or --ui to stay")
    if until is not None and stays:
        raise click.UsageError("--until ends a replay; with --listen or --watch time goes on by itself")
    if look_back and (stays or until is not None or not sources):
        raise click.UsageError(
            "--look-back reads archives: give it --replay, and neither --listen, --watch nor --until"
        )
    state = settings.state or default_state()
    settle_collector()
    made = _Run(settings, state, sources, until, output)
    made.look_back = LookBacks(wall_clock()) if look_back else None
    code = EXIT_OK
    with shown(settings, state) as page:
        if sources or stays:
            with _lease(state):
                code = asyncio.run(made.run())
        if page and not stays and code == EXIT_OK:
            say(f"revet: {page} shows {state}; nothing else is done, and commands work beside it")
            if settings.trust and not sources:
                say("revet: note: trust is not applied: that needs --replay, --listen or --watch")
            asyncio.run(_signalled())
    return code


async def _signalled() -> None:
    """Until somebody ends it."""
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await ended.wait()


_PLACES: Final[dict[str, tuple[str, ...]]] = {
    "listen": ("listen", "address"),
    "watch": ("pods", "clusters"),
    "ui": ("ui", "address"),
    "ui_host": ("ui", "hosts"),
    "ui_names": ("ui", "names"),
    "listen_token_file": ("listen", "token_file"),
    "cluster": ("cluster",),
    "state": ("state",),
    "trust": ("trust",),
    "evidence": ("evidence", "source"),
    "plain_http": ("evidence", "plain_http"),
    "ca_file": ("evidence", "ca_file"),
    "docker_config": ("evidence", "docker_config"),
    "mirror": ("evidence", "mirrors"),
    "platform": ("evidence", "platform"),
    "first_seen": ("first_seen",),
    "quiet": ("quiet",),
}
"""Option -> its place in the settings tree."""


def _given(flags: Mapping[str, object]) -> dict[tuple[str, ...], object]:
    given: dict[tuple[str, ...], object] = {
        _PLACES[name]: value for name, value in flags.items() if value not in (None, ())
    }
    mirrors = given.get(("evidence", "mirrors"))
    if isinstance(mirrors, tuple):
        given["evidence", "mirrors"] = dict(str(text).partition("=")[::2] for text in mirrors)
    return given


@contextmanager
def _lease(state: Path) -> Iterator[None]:
    """Drive the state alone. Raises PlaceUnavailable while another process does."""
    deadline = time.monotonic() + LEASE_SECONDS
    while (lease := Lease.try_acquire(state, "revet run")) is None:
        if time.monotonic() > deadline:
            other = holder(state)
            who = f"{other.what or 'a process'} (pid {other.pid} on {other.host})" if other else "another process"
            advice = "commands work beside it; to run another one give it another --state"
            raise PlaceUnavailable("state-unavailable", f"{who} drives {state} already; {advice}")
        time.sleep(0.1)
    with lease:
        yield


class _Stdout:
    """Standard output as it is when something is written: a progress bar may stand in front of it."""

    encoding: str = getattr(sys.stdout, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        return sys.stdout.write(text)

    def flush(self) -> None:
        sys.stdout.flush()


class _Pressed(Counter):
    """Says on the terminal what goes wrong with buttons."""

    def connection(self, what: str, connections: int) -> None:
        """See `Counter`."""
        if what not in ("open", "refresh", "lost"):
            more = f" ({connections} connections)" if connections >= 0 else ""
            say(f"revet: warning: buttons in Slack are not heard now: {what}{more}")

    def pressed(self, what: str, outcome: str) -> None:
        """See `Counter`."""
        if outcome in ("refused", "not-durable"):
            say(f"revet: a button was pressed and not done: {what}: {outcome}")


class _Run:
    """One run of the command."""

    def __init__(
        self, settings: Settings, state: Path, sources: list[ReplaySource], until: int | None, output: str
    ) -> None:
        self.settings, self.state, self.sources, self.until, self.output = settings, state, sources, until, output
        self.look_back: LookBacks | None = None
        """The recordings are archives, read for what they say of long ago."""
        self.stop = asyncio.Event()

    async def run(self) -> int:
        self._watch_signals()
        self._announce()
        source = _evidence(self.settings)
        async with opened(source) as place:
            played = await self._play(place) if self.sources else None
            if played is not None and not played.finished:
                say(f"revet: stopped after {played.items:,} items; run it again to go on where it stopped")
                return EXIT_INTERRUPTED
            if self.settings.listen.address or self.settings.pods.clusters:
                await self._serve(place)
        return EXIT_OK

    def _announce(self) -> None:
        say("revet: single-machine mode: one process, one file, no other services")
        say(
            f"revet: state {self.state}, evidence from {self.settings.evidence.source}, cluster {self.settings.cluster}"
        )

    def _watch_signals(self) -> None:
        """The first signal ends after the batch, the second one at once: whatever is durable stays so."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, number)

    def _signalled(self, number: signal.Signals) -> None:
        if self.stop.is_set():
            os._exit(128 + number)
        say(f"revet: {number.name}: finishing what was begun; once more ends at once")
        self.stop.set()

    # ------------------------------------------------------------------ replay

    async def _play(self, place: EvidencePlace) -> Played:
        began = time.perf_counter()
        with self._opened(place, live=False) as node:
            recording = Replay(self.sources, self.until, self.look_back)
            if self.look_back is None:
                await self._apply_trust(node, recording.begins)
            else:  # trust, pods and the registry are of today
                node.tick(self.look_back.asked)
                await self._apply_trust(node, lambda: None)
            progress = Progress(0, 0, 0)
            with _telling() as tell:
                async with aclosing(recording.play(node)) as steps:
                    async for progress in steps:
                        tell(progress)
                        await asyncio.sleep(0)  # signals are heard between batches
                        if self.stop.is_set():
                            break
            self._keeper(node).step(force=True)
            finished = not self.stop.is_set()
            if finished and self.until is not None:
                await node.advance(self.until)
            seconds = time.perf_counter() - began
            played = Played(progress.items, progress.new, dict(recording.ignored), seconds, finished)
            if finished:
                self._print(played, summary(node), limits(SqliteReader(node.connection)))
            return played

    def _print(self, played: Played, found: Summary, past: tuple[str, ...]) -> None:
        if self.output == "json":
            told = {"limits": past} if self.look_back is not None else {}
            print_json({"schema": SCHEMA, "state": str(self.state), "replay": played, "summary": found, **told})
            return
        if self.look_back is not None:
            print_limits(past)
            click.echo()
        rows: list[tuple[str, str]] = [
            ("items read", f"{played.items:,} in {played.seconds:.1f} s"),
            ("observations new", f"{played.new:,}"),
            ("asked for nothing", _counts(played.ignored)),
            ("dead letters", f"{found.deadletters:,}"),
            ("clock", show_time(found.clock or None)),
            ("trust epoch", str(found.trust_epoch)),
            ("running containers", f"{found.containers:,} of {found.images:,} images"),
            ("verdicts", _counts(found.verdicts)),
            ("open findings", _counts(found.findings)),
            ("incidents", _counts(found.incidents)),
            ("messages", f"{found.messages:,}"),
        ]
        print_table(("", "whole state, after the replay"), rows)

    # ------------------------------------------------------------------ live

    async def _serve(self, place: EvidencePlace) -> None:
        with self._opened(place, live=True) as node:
            await self._apply_trust(node, lambda: None)
            async with self._telling(node) as courier:
                service = Service(node, courier, self._keeper(node))
                receiver = Receiver(service, receiver_options(self.settings), stale=_say_stale)
                service.quiet = receiver.quiet
                async with (
                    self._listening(receiver),
                    watching(service, self.settings.pods, say),
                    self._notified(node),
                ):
                    await service.run(self.stop)

    def _keeper(self, node: LocalNode) -> Keeper:
        return Keeper(node, LocalPlace(self.state, self.settings.ledger), lambda text: say(f"revet: {text}"))

    @asynccontextmanager
    async def _telling(self, node: LocalNode) -> AsyncIterator[Courier | None]:
        """In Slack, where the settings have it; what is told there is kept in the file and printed too."""
        channels, kept = node.settings.channels, node.notifier
        if channels is None or kept is None:
            yield None
            return
        say(f"revet: messages go to Slack, {len(channels.ids())} channels")

        def copied(slack: AsyncNotifier) -> AsyncNotifier:
            return Copied(slack, kept)

        async def take(event: IncidentAction | IncidentContext) -> None:
            node.engine.append([output(event)])

        knowing = _knowing(node, take)
        node.considers = knowing.consider
        async with (
            courier_of(self.settings, channels, Direct(kept), lambda: node.now, keep=copied) as courier,
            pressing_of(self.settings, take, lambda: node.now, _Pressed()),
        ):
            try:
                yield courier
            finally:
                knowing.cancel()

    @asynccontextmanager
    async def _notified(self, node: LocalNode) -> AsyncIterator[None]:
        """Hears registries, where the settings say so."""
        settings = self.settings.notifications
        if not settings.address:
            yield
            return

        async def take(said: tuple[Changed, ...]) -> int:
            return node.look_again(said)

        server = NotificationServer(take, NotificationOptions(settings.token_bytes(), settings.per_second))
        host, port = host_and_port(settings.address)
        async with server.listening(host, port) as bound:
            shown = shown_address(host, bound)
            say(f"revet: registries tell of pushes at http://{shown}/registry")
            yield

    @asynccontextmanager
    async def _listening(self, receiver: Receiver) -> AsyncIterator[None]:
        if not self.settings.listen.address:
            yield
            return
        host, port = host_and_port(self.settings.listen.address)
        async with receiver.listening(host, port) as bound:
            shown = shown_address(host, bound)
            listen = self.settings.listen
            scheme = "https" if listen.certificate_file else "http"
            say(f"revet: listening on {scheme}://{shown}/audit and /audit/CLUSTER")
            known = listen.senders or listen.token_text()
            if not is_loopback(host) and not known:
                say(f"revet: warning: whoever reaches {shown} can send events: --listen-token-file, or listen.senders")
            elif not is_loopback(host) and not listen.certificate_file:
                say(f"revet: warning: tokens come in clear text to {shown}: listen.certificate_file, or TLS in front")
            yield

    # ------------------------------------------------------------------ both

    @contextmanager
    def _opened(self, place: EvidencePlace, *, live: bool) -> Iterator[LocalNode]:
        made = NodeSettings(
            place=place,
            replay=not live,
            dates=first_seen_dates(self.settings.first_seen),
            routes=routes_of(self.settings) if live else self.settings.owners.routes(),
            channels=channels_of(self.settings) if live else None,
            platform=self.settings.evidence.platform,
            max_age=self.settings.evidence.max_age_hours * HOUR,
            batch=LIVE_BATCH if live else NodeSettings().batch,
        )
        node = LocalNode.open(self.state, made)
        try:
            stream = None if self.settings.quiet else sys.stderr if self.output == "json" else _Stdout()
            node.keep_messages(stream)
            note_clock(node.connection, recorded=not live)
            yield node
        finally:
            node.close()

    async def _apply_trust(self, node: LocalNode, begins: Callable[[], int | None]) -> None:
        """Bring trust to what the files say; in a replay, from just before the recording on."""
        if not self.settings.trust:
            return
        if node.settings.replay and not node.now:
            node.tick((begins() or wall_clock()) - BEFORE)
        whole = TrustState.empty()
        for entry in folded(trust_log(node.connection)):
            whole = entry.after
        documents, errors = read_documents([str(path) for path in self.settings.trust])
        roots = whole.anchors.roots
        problems = check_documents(documents, ring=whole.names, roots=roots, policies=whole.policies, now=node.now)
        wrong = [str(e) for e in errors]
        wrong += [f"{p.file}:{p.line}: {p.field}: {p.message}; {p.todo}" for p in problems if p.severity == "error"]
        for text in wrong[:-1]:
            say(f"revet: {text}")
        if wrong:
            raise InputError(wrong[-1])
        asked = By(local_author(), node.now, "run", "applied at start")
        made = plan(whole, documents, asked, shipped=public_good_root())
        for note in made.notes:
            say(f"revet: note: {note}")
        if made.records:
            node.change_trust(made.records, whole.epoch)
        say(f"revet: trust: {len(made.records)} written, {len(made.unchanged)} unchanged, epoch {made.after.epoch}")


def _knowing(node: LocalNode, take: Callable[[IncidentContext], Awaitable[None]]) -> Knowing:
    """What messages add, from the record in the same file."""
    reader = SqliteReader(node.connection)

    async def ask(incident: Incident) -> IncidentContext:
        return context_of(reader, incident, node.now)

    async def probe() -> None:
        """It is where everything else is: there is nothing to ask."""

    return Knowing(ask, take, probe)


def _evidence(settings: Settings) -> EvidenceSource:
    evidence = settings.evidence
    source = evidence_source(
        evidence.source,
        plain_http=evidence.plain_http,
        ca_file=evidence.ca_file,
        docker_config=evidence.docker_config,
        mirror=evidence.mirrors.items(),
        platform=evidence.platform,
    )
    return msgspec.structs.replace(source, registry=registry_options(evidence))


def _counts(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in sorted(numbers.items())) or "none"


@contextmanager
def _telling() -> Iterator[Callable[[Progress], None]]:
    """A bar on a terminal, a line now and then elsewhere."""
    shown = console(stderr=True)
    if shown.is_terminal:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        with Bar(*columns, console=shown, transient=True) as bar:
            task = bar.add_task("replaying", total=None)
            yield lambda p: bar.update(task, description=_line(p))
        return
    last = [time.monotonic()]

    def tell(progress: Progress) -> None:
        if time.monotonic() - last[0] >= TELL_EVERY:
            last[0] = time.monotonic()
            say(f"revet: {_line(progress)}")

    yield tell


def _line(progress: Progress) -> str:
    return f"replayed {progress.items:,} items, {progress.new:,} new, clock {show_time(progress.time or None)}"


def _say_stale(problem: str) -> None:
    """Of a certificate, key or token that cannot be read again."""
    if problem:
        say(f"revet: warning: what was in force stays in force: {problem}")
