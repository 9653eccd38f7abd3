"""`revet demo`: tell the story of a recorded day on the terminal."""

from __future__ import annotations

import asyncio
import shlex
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from alerting.findings import message_of
from alerting.models import Incident
from streams.cli.common import EXIT_OK, console, default_state, print_table, show_time
from streams.cli.render import safe
from streams.events import DecisionObserved
from streams.local.demo import DATA, Story
from streams.local.preview import Hit, Preview, Reach
from verifier.times import MINUTE
from verifier.trust.records import RevocationPut


@click.command(
    epilog="Examples:\n\n\b\n  $ revet demo\n  $ revet demo --state /tmp/demo.sqlite --brief",
)
@click.option(
    "--state",
    type=click.Path(dir_okay=False, path_type=Path),
    default=lambda: default_state().with_name("demo.sqlite"),
    show_default="demo.sqlite beside the default state",
    help="State file the demo makes anew and leaves for a look around.",
)
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), default=DATA, hidden=True)
@click.option("--brief", is_flag=True, help="Shorter tables.")
def command(state: Path, data: Path, brief: bool) -> int:
    """Play a recorded day: verdicts, a revocation, and the one message that tells what it means.

    Real audit events and pods of two API servers, and images signed with real cosign, go through the same code as
    `revet run`, on a virtual clock. Nothing is contacted.
    """
    asyncio.run(_tell(Story.open(state, data), state, brief))
    return EXIT_OK


async def _tell(story: Story, state: Path, brief: bool) -> None:
    _line("revet re-vets what runs the moment trust changes. This is the single-machine mode, playing a recording:")
    _line(f"two clusters ({', '.join(story.clusters)}), images signed by real cosign. State: {state}")
    await _trust(story)
    await _day(story)
    _admissions(story.decisions())
    _running(story, brief)
    _incidents("Incidents at the end of the day, one per cause", story.incidents())
    _worth_a_look(story)
    story.heard.take()
    record = story.revocation()
    await _revocation(story, record)
    await _rotation(story)
    await _after(story)
    _look_further(state, story)
    story.node.close()


# ------------------------------------------------------------------ chapters


async def _trust(story: Story) -> None:
    _chapter(1, "Trust", story.timeline.phases["morning"] - MINUTE)
    keys, policies = await story.trust()
    _line(f"Keys: {', '.join(keys)}. Nobody trusts `rogue`.")
    print_table(("policy", "mode", "asks"), policies)


async def _day(story: Story) -> None:
    _chapter(2, "A recorded day", story.timeline.phases["morning"])
    with _progress("playing") as tell:
        items = await story.play("", tell)
    await story.settle(max(story.timeline.revoked_at, story.node.now))
    _line(
        f"{items} audit events and pod states, durable, judged and told; the clock shows {show_time(story.node.now)}."
    )


def _admissions(decisions: list[DecisionObserved]) -> None:
    _chapter(3, "Who was let in, and by whom")
    kinds = Counter((_outcome(d), d.engine or "-", d.user) for d in decisions if d.resource == "pods" and _asked(d))
    rows = [(outcome, engine, user, count) for (outcome, engine, user), count in sorted(kinds.items())]
    print_table(("outcome", "decided by", "asked by", "pods"), rows)
    marked = [d for d in decisions if d.failed_open or d.break_glass]
    for d in marked:
        why = f"{', '.join(d.failed_open)} did not answer" if d.failed_open else f"break-glass {d.break_glass}"
        image = d.images[0].submitted if d.images else "-"
        _line(f"  let in unchecked: {d.cluster} {d.namespace}/{d.name or d.owner.name} ({image}) by {d.user}: {why}")


def _asked(d: DecisionObserved) -> bool:
    return d.operation in ("create", "patch") and bool(d.images)


def _outcome(d: DecisionObserved) -> str:
    return f"{d.outcome} (dry run)" if d.dry_run else d.outcome


def _running(story: Story, brief: bool) -> None:
    _chapter(4, "What runs, and what it is worth")
    rows = story.images()
    shown = [r for r in rows if r.outcome != "valid"] if brief else rows
    print_table(
        ("image", "digest", "runs in", "n", "verdict", "why"),
        [(r.image, r.digest[7:15] or "-", r.clusters, r.containers, r.outcome, r.why) for r in shown],
    )
    counts = Counter(r.outcome for r in rows)
    _line("images: " + ", ".join(f"{n} {outcome}" for outcome, n in sorted(counts.items())))


def _worth_a_look(story: Story) -> None:
    """The findings that no signature would show, each in its own sentence."""
    _line("")
    _line("Worth a look:")
    for code in ("denied-but-running", "unadmitted", "tag-moved", "digest-drift"):
        for finding in story.open_findings():
            if finding.code == code:
                _line(f"  {code}: {message_of(finding)}")


async def _revocation(story: Story, record: RevocationPut) -> None:
    _chapter(5, "Key `build` was stolen: what would a revocation do?", story.node.now)
    since = show_time(story.timeline.compromised_since)
    _command(f"revet revoke key build --reason keyCompromise --compromised-since {since} --dry-run")
    hit, foretold = story.dry_run(record)
    _split(hit)
    _blast(hit, foretold)
    _chapter(6, "It is revoked", story.node.now)
    await story.apply(record)
    messages = story.heard.take()
    _line(f"Messages sent: {len(messages)}. {'Here it is:' if len(messages) == 1 else ''}")
    for _, text in messages:
        for line in text.splitlines():
            _line("  " + line)


def _split(hit: Hit) -> None:
    words = {"before": "before: stays good", "after": "after: falls", "unknown": "time unknown: falls"}
    rows = [
        (words[s.part], show_time(s.time), s.image.removeprefix("registry.example.com/"), s.containers)
        for s in sorted(hit.signatures, key=lambda s: (s.part, s.image))
    ]
    _line(
        f"Signatures of the key: {hit.before} before the compromise, {hit.after} after, {hit.unknown} of unknown time."
    )
    print_table(("signed", "proven to exist by", "image", "running containers"), rows)


def _blast(hit: Hit, foretold: Preview) -> None:
    _line(f"Runs with a signature of it:  {_reach(hit.uses)}")
    _line(f"Would begin to violate:       {_reach(foretold.violating)}")
    _line("Nothing was stored.")


def _reach(reach: Reach) -> str:
    teams = ", ".join(f"{team} {containers}" for team, containers, _ in reach.teams)
    return (
        f"{reach.containers} containers of {reach.workloads} workloads in {reach.namespaces} namespaces"
        f" of {reach.clusters} clusters ({teams})"
    )


async def _rotation(story: Story) -> None:
    _chapter(7, "Key `release` is rotated: rotation is not revocation", story.node.now)
    _command("revet key rotate release --new release-2026.pub")
    opened, closed = await story.rotate()
    _line(f"Findings opened: {len(opened)}. Closed: {len(closed)}. Messages sent: {len(story.heard.take())}.")
    for finding in closed:
        image = finding.image.removeprefix("registry.example.com/").partition("@")[0]
        _line(f"  closed: {finding.code} of {image}, which the successor signed")
    _line("What release-2025 signed stays good; release-2026 counts from now on.")


async def _after(story: Story) -> None:
    _chapter(8, "Fixed images roll out", story.node.now)
    with _progress("playing") as tell:
        await story.play("-after", tell)
    for incident in story.incidents():
        if incident.kind == "key-revoked":
            _line(f"{incident.short_id}: {incident.peak_containers} containers at first, {story.live(incident)} left.")
    await story.settle(story.node.now + 11 * MINUTE)
    _line(f"Ten quiet minutes later ({show_time(story.node.now)}):")
    for headline, text in story.heard.take():
        if "revoked key" in headline:
            _line("  " + text)
    _incidents("", [i for i in story.incidents() if i.kind == "key-revoked"])


def _look_further(state: Path, story: Story) -> None:
    _chapter(9, "Look further; the state is still there")
    incident = next((i for i in story.incidents() if i.kind == "key-revoked"), None)
    if shutil.which("revet") is None:  # installed into a folder of its own, as `make demo` does
        _command(f"export PATH={shlex.quote(str(Path(sys.argv[0]).resolve().parent))}:$PATH")
    _command(f"export REVET_STATE={shlex.quote(str(state))}")
    for text in (
        "revet trace registry.example.com/payments/refunds:2.3",
        "revet blast-radius --key build",
        "revet search 'verdict:violates and namespace:payments'",
        f"revet incident show {incident.short_id}" if incident is not None else "revet incident list",
        "revet explain key-revoked-time-unknown",
        "revet trust history",
        "revet revocation list",
    ):
        _command(text)


# ------------------------------------------------------------------ printing


def _incidents(title: str, incidents: list[Incident]) -> None:
    if title:
        _line("")
        _line(title)
    rows = [
        (
            i.short_id,
            i.state,
            i.severity,
            i.kind,
            i.containers,
            _teams(i),
            i.subject if not i.cause.label else i.cause.label,
        )
        for i in incidents
    ]
    print_table(("incident", "state", "severity", "kind", "n", "owners", "about"), rows)


def _teams(incident: Incident) -> str:
    return ", ".join(f"{team} {containers}" for team, containers, _ in incident.teams)


def _chapter(number: int, title: str, clock: int | None = None) -> None:
    out = console()
    when = f"   [clock {show_time(clock)}]" if clock is not None else ""
    out.print()
    out.print(Text(f"{number}. {title}", style="bold") + Text(when, style="dim"))


def _command(text: str) -> None:
    console().print(Text(f"  $ {safe(text)}", style="cyan"), soft_wrap=True)


def _line(text: str) -> None:
    console().print(Text(safe(text)), soft_wrap=True)


@contextmanager
def _progress(label: str) -> Iterator[Callable[[int, int, str], None]]:
    """A moving clock on a terminal; elsewhere one line per part of the day."""
    out = console()
    if out.is_terminal:
        columns = (
            TextColumn("  {task.description}"),
            BarColumn(),
            TextColumn("{task.fields[clock]} {task.fields[phase]}"),
        )
        with Progress(*columns, console=out, transient=True) as bar:
            task = bar.add_task(label, total=None, clock="", phase="")
            yield lambda items, clock, phase: bar.update(task, completed=items, clock=show_time(clock), phase=phase)
        return
    said: set[str] = set()

    def tell(items: int, clock: int, phase: str) -> None:
        if phase not in said:
            said.add(phase)
            _line(f"  clock {show_time(clock)}  {phase}  ({items} items)")

    yield tell
