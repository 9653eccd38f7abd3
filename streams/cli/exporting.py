"""What `trace` and `blast-radius` share: `--export DIR` writes a case file, `--kibana` prints where Kibana shows it.

@export_options                                  export: Path | None, kibana: bool
written = export_case(export, "trace", record, look, subject, plain, window)
link = kibana_link(record, look, subject, home="", window)
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import click

from alerting.blocks import Links, discover_url
from alerting.text import count
from streams.casefile import CaseFile
from streams.cli.common import PROFILE, named_settings, now, say, show_time
from streams.cli.looking import Record, StateFile
from streams.local.looking import StateLook
from streams.places import open_store, registry_options
from streams.queries import kql
from streams.queries.conditions import Condition, one_of
from streams.queries.held import BY_EVIDENCE, containers_of, images_of, running_images
from streams.queries.looking import Look
from streams.queries.port import MAX_PAGE, Hit, every
from streams.queries.questions import Asked, ask, question
from streams.queries.reading import chunks, texts_of, with_values
from streams.queries.results import QuestionAnswer, Subject, as_json
from streams.queries.subjects import FIELD_OF
from streams.settings import Settings
from streams.sinks.document import instant
from streams.sinks.mapping import Names
from verifier.adapters.sqlite import SqliteEvidenceStore
from verifier.errors import InputError, PlaceError
from verifier.models import Evidence, Micros
from verifier.oci.port import EvidenceStore

F = TypeVar("F", bound=Callable[..., Any])  # Any: decorators take every command as it is

LONGEST_LINK: Final = 8_000
"""Characters; what proxies and browsers take."""
QUARTER: Final[Micros] = 15 * 60_000_000


class Window(NamedTuple):
    """The times an answer is about; None: without limit."""

    start: Micros | None = None
    end: Micros | None = None


def export_options(function: F) -> F:
    """`--export DIR` and `--kibana`."""
    with_link = click.option("--kibana", is_flag=True, help="Print where Kibana shows it, and stop.")(function)
    return click.option(
        "--export",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Write a case file there too: answer, members, documents, evidence bytes, hashes, a README.",
    )(with_link)


# ------------------------------------------------------------------------------------------------------------- exports


def export_case(
    folder: Path, command: str, record: Record, look: Look, subject: Subject, plain: dict[str, Any], window: Window
) -> None:
    """Write a case file about a subject; says on standard error what it holds.

    Raises:
        InputError: the folder holds something.
        PlaceUnavailable: it cannot be written, or the record cannot be read.
    """
    case = CaseFile(folder)
    case.answer(f"{command}.json", plain)
    columns, members = _members(look, subject, window)
    told = [f"{command}.json: the answer of `revet {command}`, as it was printed with -o json"]
    number = case.table("members.csv", columns, members)
    told.append(f"members.csv: {count(number, 'container')} of it that ran, with start and end")
    hits = list(_documents(look, subject, plain))
    case.table("timeline.csv", ("time", "what", "sentence", "dataset", "id"), map(_line, sorted(hits, key=_order)))
    number = case.documents("documents.ndjson", hits)
    told.append(f"timeline.csv, documents.ndjson: {count(number, 'document')} of the record, in short and in full")
    wanted = _evidence_ids(look, subject, hits)
    kept, missing = _export_evidence(case, record, look, wanted)
    told.append(f"evidence/: {kept} of {count(len(wanted), 'piece')} of evidence, each as its bytes and what is known")
    case.finish(_readme(command, record, look, subject, told, [*plain.get("blind_spots", ()), *missing]))
    say(f"revet: {folder}: {count(len(case.files()), 'file')}, {kept} of {len(wanted)} pieces of evidence")


def _members(look: Look, subject: Subject, window: Window) -> tuple[tuple[str, ...], Iterator[tuple[object, ...]]]:
    of = question("ran")

    def rows() -> Iterator[tuple[object, ...]]:
        after = ""
        while True:
            asked = Asked(
                subject=subject, start=window.start, end=window.end, limit=MAX_PAGE, after=after, now=look.now
            )
            found: QuestionAnswer = ask(look.reader, of, asked)
            plain: list[dict[str, object]] = as_json(found)["rows"]  # type: ignore[assignment]  # rows are objects
            yield from (tuple(row.values()) for row in plain)
            after = found.after
            if not after:
                return

    return of.columns, rows()


def _documents(look: Look, subject: Subject, plain: dict[str, Any]) -> Iterator[Hit]:
    """Every document a timeline names; of a blast radius the evidence and trust entries about the subject."""
    ids: dict[str, set[str]] = {}
    for row in plain.get("rows", ()):
        if row["id"] and row["home"]:
            ids.setdefault(row["home"], set()).add(row["id"])
    for home, wanted in sorted(ids.items()):
        for some in chunks(sorted(wanted)):
            yield from every(look.reader, home, one_of("id", some))
    if not ids:
        field = subject_field(subject)
        for home in ("images", "trust", "findings", "incidents"):
            yield from with_values(look.reader, home, field, subject.values)


def _line(hit: Hit) -> tuple[object, ...]:
    return instant(hit.time), hit.body.get("event.action", ""), hit.body.get("message", ""), hit.home, hit.id


def _order(hit: Hit) -> tuple[Micros, str, str]:
    return hit.time, hit.home, hit.id


def _evidence_ids(look: Look, subject: Subject, hits: Iterable[Hit]) -> list[str]:
    """Evidence of every image the documents are about, and of those whose evidence rests on the subject."""
    digests = {text for hit in hits for text in texts_of(hit.body, "digest")}
    if subject.kind in BY_EVIDENCE:
        digests |= {digest for _, digest in images_of(look.reader, subject)}
    images = with_values(look.reader, "images", "provenance.image.digest", digests)
    return sorted({name for hit in images for name in texts_of(hit.body, "provenance.evidence.id")})


def _export_evidence(case: CaseFile, record: Record, look: Look, wanted: list[str]) -> tuple[int, list[str]]:
    """Write the bytes that are at hand; returns how many, and why others are not there."""
    if not wanted:
        return 0, []
    kept, missing = 0, list[str]()
    try:
        with _store(record, look) as store:
            for name in wanted:
                found: Evidence | None = store.get(name)
                if found is None:
                    missing.append(f"{name}: the evidence store does not hold it")
                else:
                    case.evidence(found)
                    kept += 1
    except (PlaceError, InputError) as error:
        missing.append(f"the evidence store could not be read: {error}")
    return kept, missing


@contextmanager
def _store(record: Record, look: Look) -> Iterator[EvidenceStore]:
    """The evidence store beside the record.

    Raises:
        InputError: no store is named. PlaceError: it cannot be opened.
    """
    settings = settings_of(record)
    if isinstance(look, StateLook) and not settings.evidence.store:
        yield SqliteEvidenceStore(look.connection)
    else:
        with open_store(settings.evidence.store, registry_options(settings.evidence)) as store:
            yield store


_CHECKED: Final = (
    "`sha256sum -c SHA256SUMS` in this folder compares every file with its hash. The id of a piece of evidence is"
    " SHA-256 over the canonical JSON of [payload digest, annotations that carry the signature]; the payload's own"
    " SHA-256 stands beside it. A verdict's `event.original` is what `revet verdict replay` judges again."
)


def _readme(command: str, record: Record, look: Look, subject: Subject, told: list[str], unseen: list[str]) -> str:
    """What the folder holds, where it came from, how it is checked, and what it cannot hold."""
    made = f"Made {instant(now())} by `revet {command}` out of {_shown(str(record))}"
    parts = [
        f"# Case file: {subject.kind} {_shown(subject.name)}",
        f"{made}; the record had reached {instant(look.now)}.",
        "## What is here",
        "\n".join(f"* {line}" for line in told),
        "## How it is checked",
        _CHECKED,
        "## What is not here",
        "\n".join(f"* {_shown(line)}" for line in unseen) or "* nothing that revet knows of",
    ]
    return "\n\n".join(parts) + "\n"


def _shown(text: str) -> str:
    """Untrusted text as plain Markdown on one line."""
    plain = " ".join(text.split())
    return "".join(f"\\{c}" if c in "\\`*_[]<>#|" else c for c in plain if c.isprintable())


# -------------------------------------------------------------------------------------------------------------- kibana


def settings_of(record: Record) -> Settings:
    """The settings that stand beside a record. Raises InputError as `named_settings`."""
    if not isinstance(record, StateFile):
        return record.settings
    profile = click.get_current_context().meta.get(PROFILE)
    return named_settings(None, profile).settings


def print_kibana_link(record: Record, look: Look, subject: Subject, home: str, window: Window) -> None:
    """Print where Kibana shows what belongs to a subject: documents of `home`, or everything that happened.

    Raises:
        InputError: no Kibana is set, or there is too much to be said in a link.
        PlaceUnavailable: the record cannot be read.
    """
    settings = settings_of(record)
    if not settings.alerting.kibana_url:
        raise InputError("no Kibana is set; give its address with the space: REVET_ALERTING_KIBANA_URL=https://…")
    names = Names(settings.elasticsearch.namespace)
    links = Links(kibana=settings.alerting.kibana_url, kibana_version=settings.alerting.kibana_version)
    where = _containers(look, subject) if home else one_of(subject_field(subject), subject.values)
    begin = 0 if window.start is None else window.start - QUARTER
    end = (look.now if window.end is None else window.end) + QUARTER
    pattern = names.target(home) if home else names.all_history
    link = discover_url(links, pattern, kql.render(where), begin, end)
    if len(link) > LONGEST_LINK:
        raise InputError(
            f"the link would have {len(link)} characters, of which {LONGEST_LINK} work; ask about less, or search"
            f" {pattern} for what `-o json` names"
        )
    click.echo(link)
    if sys.stdout.isatty():
        say(f"from {show_time(begin)} to {show_time(end)}")


def _containers(look: Look, subject: Subject) -> Condition:
    if subject.kind not in BY_EVIDENCE:
        return containers_of(look.reader, subject)
    return running_images(images_of(look.reader, subject))


FIELDS: Final = {
    "digest": "related.hash",
    "image": "related.hash",
    "pod": "kubernetes.pod.uid",
    "workload": "provenance.workload.id",
    "key": "provenance.key.related",
    "policy": "provenance.policy.id",
    "incident": "provenance.incident.id",
    "finding": "provenance.finding.id",
    **FIELD_OF,
}
"""Kind of a subject -> the field that names it wherever it is spoken of."""


def subject_field(subject: Subject) -> str:
    """The field by which documents name a subject."""
    return FIELDS[subject.kind]
