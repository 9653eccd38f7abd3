"""The report: what runs, what changed, who signs, who let what in, and first of all what was not seen. Pure.

    report(reader, Wanted(start=monday, end=sunday, now=now))  ->  Report(sections=…)

It is values (`streams.queries.report.model`): the command prints them as JSON, `dashboards.report` draws the page.
Every list has a limit, says what it leaves out and how to see it, so that the page of a large fleet stays readable.
"""

from __future__ import annotations

from streams.queries.port import RecordReader
from streams.queries.report.common import Wanted
from streams.queries.report.happened import happened
from streams.queries.report.model import Part, Report, Section, Sentences
from streams.queries.report.posture import posture, running_now
from streams.queries.report.provenance import provenance
from streams.queries.report.seen import seen
from streams.queries.report.signers import signers
from streams.queries.report.trusted import trusted
from streams.queries.report.worklist import worklist

__all__ = ["Wanted", "report"]


def report(reader: RecordReader, wanted: Wanted, *, about: str = "") -> Report:
    """All chapters. `about`: which record this is, in words.

    Raises:
        InputError: nothing was recorded here.
        PlaceUnavailable: the store does not answer.
    """
    running = running_now(reader, wanted)
    images = {(row.place.repository, row.place.digest) for row in running if row.place.digest}
    sections = (
        seen(reader, wanted),
        posture(reader, wanted, running),
        worklist(reader, wanted),
        happened(reader, wanted),
        trusted(reader, wanted),
        signers(reader, wanted, images),
        provenance(reader, wanted, running),
        _limits(),
    )
    return Report("Provenance of running images", about, wanted.now, wanted.start, wanted.end, sections)


def _limits() -> Section:
    told = (
        "What runs, open findings, standing exemptions and signers are as of the instant this was made.",
        "What changed, incidents that ended and entries of trust are of the window.",
        "A list that leaves rows out says how many, and the command that shows them all.",
        "Names are shown as the record has them; what cannot be seen is spelt out, what is long is cut in the middle.",
        "Nothing here proves that no document of the record was changed: `revet ledger verify` does.",
        "The page asks nothing of the network: it has no script, no picture and no address outside itself.",
    )
    return Section("limits", "What this page cannot tell", "", (Part((Sentences(told),)),))
