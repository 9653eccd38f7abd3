"""`revet report`: the record as one HTML file, or as JSON."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from alerting.routing import Routes
from alerting.text import count
from dashboards.report import page
from streams.cli.changing import when_given
from streams.cli.common import now, print_json, say
from streams.cli.looking import Cluster, Record, looking, record_option
from streams.queries.compliance import FRAMEWORKS, Sampling, compliance
from streams.queries.looking import Look
from streams.queries.report import Wanted, report
from streams.queries.report.model import Report, as_json
from streams.queries.results import Subject, SubjectKind
from verifier.errors import InputError
from verifier.models import Micros
from verifier.times import DAY

WINDOW: Final[Micros] = 7 * DAY
"""How far back the window begins when nobody says."""
DEFAULT_FILE: Final = "revet-report.html"
MAX_IMAGES: Final = 20
"""Images that are drawn in one report."""
MAX_SAMPLE: Final = 1000

_DRAWN: Final[tuple[SubjectKind, ...]] = ("digest", "image", "pod", "workload")


class Given(msgspec.Struct, frozen=True):
    """Options as they were typed; ages count from the record's clock."""

    start: str | None
    end: str | None
    images: tuple[str, ...]
    compliance: str | None
    sampling: Sampling


@click.command(
    epilog="Exit codes: 0 it was written, whatever it says; 2 wrong usage; 4 the record cannot be read.\n\n"
    "Examples:\n\n\b\n"
    "  $ revet report\n"
    "  $ revet report --from 2026-11-01T00:00:00Z --to 2026-11-21T14:00:00Z -O november.html\n"
    "  $ revet report --image registry.example.com/payments/refunds:2.3 -O refunds.html\n"
    "  $ revet report --compliance pci-dss --from 90d --sample 25 --seed 7 -O evidence.html\n"
    "  $ revet report --from 30d -o json",
)
@click.option(
    "--from", "start", metavar="TIME", help="Start of the window for what happened.  [default: 7 days before]"
)
@click.option("--to", "end", metavar="TIME", help="End of that window.  [default: the newest on record]")
@click.option(
    "--image", "images", metavar="SUBJECT", multiple=True,
    help="Draw where this image, digest, pod or workload comes from; repeatable.  [default: three that run]",
)  # fmt: skip
@click.option(
    "--compliance", type=click.Choice(sorted(FRAMEWORKS)),
    help="In its place, what the record shows for the controls of a framework.",
)  # fmt: skip
@click.option(
    "--sample", type=click.IntRange(0, MAX_SAMPLE), default=25, show_default=True,
    help="With --compliance: documents drawn per control.",
)  # fmt: skip
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="With --compliance: draws the sample."
)
@click.option("--names", is_flag=True, help="With --compliance: name people. Only for the security role.")
@click.option(
    "-O", "--output-file", "file", metavar="FILE", default=DEFAULT_FILE, show_default=True,
    help="Where the page goes, in place of what is there; `-` for standard output.",
)  # fmt: skip
@click.option(
    "-o", "--output", type=click.Choice(["html", "json"]), default="html", show_default=True,
    help="The page, or what is on it as JSON on standard output.",
)  # fmt: skip
@record_option
def command(images: tuple[str, ...], file: str, output: str, record: Record, **given: Any) -> int:  # noqa: ANN401  # options of `Given` and `Sampling`, as they were typed
    """Write the record as one HTML file: what was not seen, what runs, incidents, trust, signers, provenance.

    The file asks nothing of the network and opens from a disk. It holds names of images, workloads and people: give it
    only to those who may see them.
    """
    sampling = Sampling(given.pop("sample"), given.pop("seed"), given.pop("names"))
    asked = Given(images=images, sampling=sampling, **given)
    if asked.compliance is not None and images:
        raise click.UsageError("--image is drawn in the report, not with --compliance")
    if sampling.names and asked.compliance is None:
        raise click.UsageError("--names goes with --compliance; the report names people anyway")
    with looking(record, now()) as look:
        made = answer(look, asked, record)
    if output == "json":
        print_json(as_json(made))
    else:
        write_page(page(made), file)
    return 0


def answer(look: Look, given: Given, record: Record) -> Report:
    """The report as it was asked for.

    Raises:
        InputError: a wrong time or window; several things are called so, or nothing is.
        PlaceUnavailable: the record cannot be read.
    """
    end = when_given(given.end, look.now, "--to")
    until = look.now if end is None else end
    start = when_given(given.start, look.now, "--from")
    since = until - WINDOW if start is None else start
    if since > until:
        raise InputError("--from is later than --to")
    if len(given.images) > MAX_IMAGES:
        raise InputError(f"{len(given.images)} images to draw; give at most {MAX_IMAGES} in one report")
    routes = record.settings.owners.routes() if isinstance(record, Cluster) else Routes()
    wanted = Wanted(since, until, look.now, look.live, tuple(_subject(look, text) for text in given.images), routes)
    if given.compliance is not None:
        return compliance(look.reader, wanted, given.compliance, given.sampling, about=_named(record))
    return report(look.reader, wanted, about=_named(record))


def _subject(look: Look, text: str) -> Subject:
    return look.find(text, _DRAWN)


def _named(record: Record) -> str:
    """The record without the folders of this machine: the page goes to others."""
    return str(record) if isinstance(record, Cluster) else f"state file {record.path.name}"


def write_page(text: str, file: str) -> None:
    """Write it beside its place and put it there whole, readable for its owner alone.

    Raises:
        InputError: it cannot be written there.
    """
    data = text.encode("utf-8", "replace")
    if file == "-":
        sys.stdout.write(data.decode())
        return
    target = Path(file)
    if target.is_dir():
        raise InputError(f"{file} is a folder; name a file, such as -O {target / DEFAULT_FILE}")
    try:
        descriptor, made = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
            Path(made).replace(target)
        except BaseException:
            Path(made).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise InputError(f"{file}: {error.strerror or error}") from error
    say(f"{file}: {count(-(-len(data) // 1024), 'KiB', 'KiB')}, for its owner alone; open it in a browser")
