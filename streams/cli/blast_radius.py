"""`revet blast-radius`: what a key, identity, CA, image, policy or incident touches: what runs, what ran, whose."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, cast

import click
import msgspec

from alerting.text import count
from streams.cli import exporting
from streams.cli.changing import when_given
from streams.cli.common import now, output_option, print_json, print_table, show_time
from streams.cli.looking import Record, looking, record_option
from streams.cli.recordings import print_limits
from streams.cli.render import safe
from streams.queries.blast import blast_radius
from streams.queries.held import NOT_REVOCABLE
from streams.queries.looking import Look
from streams.queries.reading import certificates_of, with_values
from streams.queries.results import BlastRadius, History, ImageCount, Place, Subject, SubjectKind, as_json
from streams.queries.subjects import FIELD_OF
from streams.sinks.document import instant, shown_image
from streams.sinks.known import KnownFromTrust
from verifier.models import Micros
from verifier.policy.identity import matches
from verifier.trust.hits import identity_of
from verifier.trust.records import RevocationPut
from verifier.trust.records import SubjectKind as RevokedKind
from verifier.trust.revocation import NEVER_SOUND, class_of
from verifier.trust.state import TrustState

KINDS: Final[dict[str, tuple[SubjectKind, ...]]] = {
    "key": ("key",),
    "digest": ("digest", "image"),
    "policy_id": ("policy",),
    "incident": ("incident",),
    **{kind: (kind,) for kind in FIELD_OF},
}
"""Option -> what it may name."""


class Window(msgspec.Struct, frozen=True):
    """Times as they were given; ages count from the record's clock."""

    at: str | None
    start: str | None
    end: str | None


@click.command(
    epilog="Examples:\n\n\b\n"
    "  $ revet blast-radius --key build\n"
    "  $ revet blast-radius --key build --from 2026-11-21T13:26:00Z --to 2026-11-21T13:30:00Z\n"
    "  $ revet blast-radius --identity 'https://git.example.com/pay/*'\n"
    "  $ revet blast-radius --key build --export case-4711\n"
    "  $ revet blast-radius --base sha256:3acb414d8f57\n"
    "  $ revet blast-radius --policy-id shop-signed -o json",
)
@click.option("--key", metavar="NAME|ID", help="Containers whose image carries a signature of this key.")
@click.option("--identity", metavar="SUBJECT", help="… whose evidence was made with a certificate for it (`*` works).")
@click.option("--ca", metavar="NAME|ID", help="… whose evidence leads to this CA or timestamp authority.")
@click.option("--builder", metavar="ID", help="… whose evidence names this builder (`*` works).")
@click.option("--commit", metavar="HEX", help="… whose evidence names this source commit.")
@click.option("--log", metavar="ID", help="… whose evidence rests on this transparency or CT log.")
@click.option("--base", metavar="DIGEST", help="… whose annotations or provenance say it is built on this image.")
@click.option("--digest", metavar="DIGEST|REFERENCE", help="Containers that run it, or a child of it.")
@click.option("--policy-id", metavar="ID", help="Containers that violate this policy.")
@click.option("--incident", metavar="ID", help="Containers of this incident.")
@click.option("--at", metavar="TIME", help="What ran then, under the verdicts of then.")
@click.option("--from", "start", metavar="TIME", help="Count what ended since then beside what runs.")
@click.option("--to", "end", metavar="TIME", help="End of that window.")
@exporting.export_options
@record_option
@output_option
def command(  # one per option
    at: str | None,
    start: str | None,
    end: str | None,
    export: Path | None,
    kibana: bool,
    record: Record,
    output: str,
    **subjects: str | None,
) -> int:
    """What a key, identity, CA, builder, commit, log, base, digest, policy or incident touches: what runs, what ran in
    a window, whose it is.
    """
    given = {name: text for name, text in subjects.items() if text is not None}
    if len(given) != 1:
        raise click.UsageError(f"give one of {', '.join('--' + name.replace('_', '-') for name in KINDS)}")
    ((name, text),) = given.items()
    with looking(record, now()) as look:
        found, revocations = answer(look, text, KINDS[name], Window(at, start, end))
        plain = {**as_json(found), "revocations": [_revocation(r) for r in revocations]}
        window = exporting.Window(found.start if at is None else found.at, found.end if at is None else found.at)
        if kibana:
            exporting.print_kibana_link(record, look, found.subject, "containers", exporting.Window())
            return 0
        if export is not None:
            exporting.export_case(export, "blast-radius", record, look, found.subject, plain, window)
    if output == "json":
        print_json(plain)
    else:
        print_radius(found, revocations)
    return 0


def answer(
    look: Look, text: str, kinds: tuple[SubjectKind, ...], window: Window
) -> tuple[BlastRadius, tuple[RevocationPut, ...]]:
    """The answer, and the revocations that stand when it is about something that can be revoked.

    Raises:
        InputError: several things are called so; nothing was recorded here.
        PlaceUnavailable: the record cannot be read.
    """
    subject = look.find_or_nothing(text, kinds)
    revocations = standing_revocations(look, subject)
    found = blast_radius(
        look.reader,
        subject,
        at=when_given(window.at, look.now, "--at"),
        start=when_given(window.start, look.now, "--from"),
        end=when_given(window.end, look.now, "--to"),
        since=_since(revocations),
        now=look.live,
    )
    return found, revocations


def standing_revocations(look: Look, subject: Subject) -> tuple[RevocationPut, ...]:
    """Revocations of the subject, or of what covers it, that are not withdrawn, in the order they were made.

    Raises:
        PlaceUnavailable: the record cannot be read.
    """
    if subject.kind == "key":
        return look.revocations(subject.values)
    if subject.kind not in FIELD_OF or subject.kind in NOT_REVOCABLE:
        return ()
    trust, wanted = look.trust(), set(subject.values)
    if subject.kind == "identity":
        found = _of_identities(look, trust, wanted)
    else:
        by_subject = trust.by_subject[cast("RevokedKind", subject.kind)]
        names = KnownFromTrust(trust).ca_names if subject.kind == "ca" else lambda _: ()
        found = (r for name, rs in by_subject.items() if not wanted.isdisjoint((name, *names(name))) for r in rs)
    return tuple(sorted(found, key=lambda record: (record.at, record.id)))


def _of_identities(look: Look, trust: TrustState, wanted: set[str]) -> Iterator[RevocationPut]:
    """A revoked identity may be a pattern: it is asked of the certificates that were really seen."""
    records = trust.by_subject["identity"]
    if not records:
        return
    hits = {hit.id: hit for hit in with_values(look.reader, "images", FIELD_OF["identity"], wanted)}
    seen = {leaf for hit in hits.values() for leaf in certificates_of(hit.body) if not wanted.isdisjoint(leaf.sans)}
    for subject, found in records.items():
        identity = identity_of(subject)
        if any(matches(identity, leaf) for leaf in seen):
            yield from found


def _since(revocations: tuple[RevocationPut, ...]) -> Micros | None:
    """Signatures proven to be older than this stay good; None: there is no revocation, or none stays good."""
    times: list[Micros] = []
    for record in revocations:
        kind = class_of(record)
        if record.last_good_index is not None:  # the log's order decides there, not a time
            continue
        if kind == "hard" and (record.compromised_since is None or record.reason in NEVER_SOUND):
            return None
        if kind != "hold":  # a hold suspends everything, and decides nothing of the past
            times.append(record.effective if record.compromised_since is None else record.compromised_since)
    return min(times, default=None)


def _revocation(record: RevocationPut) -> dict[str, object]:
    since = record.compromised_since
    return {
        "id": record.id,
        **({"key": record.subject} if record.subject_kind == "key" else {}),
        "subject": f"{record.subject_kind}:{record.subject}",
        "reason": record.reason,
        "effective": instant(record.effective),
        "compromised_since": None if since is None else instant(since),
        **({} if record.last_good_index is None else {"last_good_index": record.last_good_index}),
    }


# ------------------------------------------------------------------------------------------------------------ printing


def print_radius(found: BlastRadius, revocations: tuple[RevocationPut, ...]) -> None:
    """Totals, the split of a key's signatures, then places, owners and images; what could not be seen comes last."""
    subject = found.subject
    click.echo(safe(f"{subject.kind} {subject.name}"))
    if not subject.values:
        click.echo("nothing on record is called so")
        return
    for record in revocations:
        since = record.compromised_since
        extent = f", compromised since {show_time(since)}" if since is not None else ""
        extent += "" if record.last_good_index is None else f", entries after {record.last_good_index}"
        click.echo(safe(f"  revoked ({record.reason}) as of {show_time(record.effective)}{extent}"))
    click.echo()
    if found.history is not None:
        print_limits(found.history.limits)
        click.echo()
    for line in totals(found):
        click.echo(safe(line))
    for line in split(found, revocations):
        click.echo(safe(line))
    if found.history is not None:
        _print_history(found.history)
    if found.containers or found.ended:
        _tables(found)
    if found.blind_spots:
        click.echo("\nnot seen:")
    for sentence in found.blind_spots:
        click.echo(safe(f"  {sentence}"))


def _print_history(past: History) -> None:
    pods = f"{count(past.pods, 'pod')} of {count(past.workloads, 'workload')} by digest"
    click.echo(f"admitted in the past: {pods}, {past.maybe} more by a tag that may have meant it; denied {past.denied}")
    if past.first is not None and past.last is not None:
        click.echo(f"first asked for {show_time(past.first)}, last {show_time(past.last)}")
    if past.by_namespace:
        rows = [(p.cluster, p.namespace, p.team, p.pods, p.workloads, p.maybe, p.denied) for p in past.by_namespace]
        click.echo()
        print_table(("cluster", "namespace", "owner", "admitted", "workloads", "may be", "denied"), rows)


def totals(found: BlastRadius) -> list[str]:
    """How much runs, what is said of it, and how much ended."""
    when = "runs now" if found.at is None else f"ran at {show_time(found.at)}"
    if found.containers:
        where = f"{count(found.namespaces, 'namespace')} of {count(found.clusters, 'cluster')}"
        runs = f"{count(found.containers, 'container')} of {count(found.workloads, 'workload')} in {where}"
        verdicts = ", ".join(f"{number} {verdict}" for verdict, number in found.verdicts.items())
        lines = [f"{when}: {runs} ({verdicts})"]
    else:
        lines = [f"{when}: nothing"]
    if found.start is not None or found.end is not None:
        window = f" between {_edge(found.start, 'the beginning')} and {_edge(found.end, 'now')}"
    else:
        window = ""
    if found.at is None or window:
        lines.append(f"ran{window} and has ended: {count(found.ended, 'container')}")
    return lines


def _edge(time: Micros | None, otherwise: str) -> str:
    return otherwise if time is None else show_time(time)


def split(found: BlastRadius, revocations: tuple[RevocationPut, ...]) -> list[str]:
    """Signatures that rest on it by what is proven of their time."""
    parts = found.signatures
    if parts is None:
        return []
    told = f"signatures of it: {parts.total}"
    if parts.since is None:
        kinds = f"{parts.attested} with an attested time, {parts.observed} observed, {parts.undated} undated"
        none_stays = any(class_of(r) == "hard" and r.last_good_index is None for r in revocations)
        return [f"{told} ({kinds}){'; none of them stays good' if none_stays else ''}"]
    before = f"{parts.before} proven before {show_time(parts.since)}"
    return [f"{told}: {before}, {parts.after} after, {parts.undated} of unknown time"]


def _tables(found: BlastRadius) -> None:
    click.echo()
    counts = ("containers", "workloads", "ended")
    print_table(("cluster", *counts), [(_cluster(p), p.containers, p.workloads, p.ended) for p in found.by_cluster])
    click.echo()
    print_table(("cluster", "namespace", "owner", *counts), [_place(p) for p in found.by_namespace])
    click.echo()
    print_table(("owner", *counts), [(p.team, p.containers, p.workloads, p.ended) for p in found.by_team])
    click.echo()
    print_table(("image", "containers", "ended"), [_image(i) for i in found.images])


def _cluster(place: Place) -> str:
    return place.cluster_name or place.cluster


def _place(place: Place) -> tuple[object, ...]:
    return _cluster(place), place.namespace, place.team, place.containers, place.workloads, place.ended


def _image(image: ImageCount) -> tuple[object, ...]:
    return shown_image(image.repository, image.digest), image.containers, image.ended
