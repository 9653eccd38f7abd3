"""What changed in the window: how much of what happened, when, and which images were new. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from streams.queries.conditions import Condition, at_time, both, compare, full_name, is_, one_of
from streams.queries.port import RecordReader
from streams.queries.questions.common import when
from streams.queries.reading import chunks, text_of, texts_of
from streams.queries.report.common import ROWS, Wanted, by_value, number
from streams.queries.report.model import Part, Section, Series, Table, Tone, Trend
from streams.queries.results import Cell
from streams.sinks.document import instant, shown_image
from streams.sinks.fields import HOMES
from verifier.models import Micros
from verifier.times import DAY, HOUR, MINUTE

INTERVALS: Final = 40
"""Intervals of a plot at most; each is one question per line."""
_WIDTHS: Final = (*(MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, 6 * HOUR, DAY, 7 * DAY, 30 * DAY, 90 * DAY),)

_LINES: Final[tuple[tuple[str, str, dict[str, Tone]], ...]] = (
    ("verification", "provenance.verdict", {"valid": "good", "violates": "bad", "unverifiable": "unknown"}),
    (
        "finding",
        "provenance.finding.status",
        {"open": "bad", "reopened": "bad", "fixed": "good", "suppressed": "plain"},
    ),
    ("admission", "provenance.admission.decision", {"admitted": "good", "denied": "bad", "errored": "unknown"}),
)
"""Dataset -> the field whose values are the lines of its plot."""

_TITLES: Final = {
    "verification": "Verdicts that differ from the one before",
    "finding": "Findings that opened, closed or were exempted",
    "admission": "Admission decisions",
}

_COUNTED: Final = (
    ("incident", "incident", "provenance.incident.transition"),
    ("trust entry", "trust", "provenance.trust.record"),
    ("admission configuration", "configuration", "event.action"),
    ("input nobody could read", "deadletter", "error.code"),
)
"""What else is counted -> its dataset, and the field that tells its kinds."""


def happened(reader: RecordReader, wanted: Wanted) -> Section:
    """Counts of what happened, over time and in all.

    Raises:
        InputError: nothing was recorded here.
        PlaceUnavailable: the store does not answer.
    """
    starts = intervals(wanted.start, wanted.end)
    counts = {home: _by_interval(reader, home, field, starts, wanted.end) for home, field, _ in _LINES}
    plots = tuple(_plot(home, counts[home], tones, starts, wanted.end) for home, _, tones in _LINES)
    return Section(
        "changes",
        "What changed",
        "What happened in the window of this report.",
        (
            Part(plots),
            Part((_counts(reader, wanted, counts),), "In numbers"),
            Part((_new(reader, wanted),), "New images"),
        ),
    )


def intervals(start: Micros, end: Micros) -> tuple[Micros, ...]:
    """Where the intervals of a plot begin: round widths, `INTERVALS` at most; the first begins with the window."""
    length = max(end - start, 1)
    width = next((w for w in _WIDTHS if length <= w * (INTERVALS - 1)), -(-length // (INTERVALS - 1)))
    first = start - start % width
    return (start, *range(first + width, end, width))


def _by_interval(
    reader: RecordReader, home: str, field: str, starts: tuple[Micros, ...], end: Micros
) -> list[dict[str, int]]:
    return [by_value(reader, home, where, field) for where in _spans(starts, end)]


def _plot(
    home: str, counts: list[dict[str, int]], tones: dict[str, Tone], starts: tuple[Micros, ...], end: Micros
) -> Trend:
    series = tuple(Series(name, tuple(found.get(name, 0) for found in counts), tone) for name, tone in tones.items())
    return Trend(_TITLES[home], starts, end, tuple(s for s in series if any(s.values)))


def _spans(starts: tuple[Micros, ...], end: Micros) -> Iterator[Condition]:
    for begin, until in zip(starts, (*starts[1:], None), strict=True):
        last = at_time("@timestamp", "<=", end) if until is None else compare("@timestamp", "<", instant(until))
        yield both(at_time("@timestamp", ">=", begin), last)


def _counts(reader: RecordReader, wanted: Wanted, plotted: dict[str, list[dict[str, int]]]) -> Table:
    """What the plots show is not counted again: a dataset of a large fleet is looked through once."""
    sums = {home: Counter[str]() for home in plotted}
    for home, counts in plotted.items():
        for found in counts:
            sums[home].update(found)
    told = [("admission decision", sums["admission"]), ("verdict", sums["verification"]), ("finding", sums["finding"])]
    told += [(what, Counter(by_value(reader, home, wanted.window, field))) for what, home, field in _COUNTED]
    told.append(("start or end of a container", Counter({"": number(reader, "lifecycle", wanted.window)})))
    rows = tuple((what, kind or "-", found) for what, kinds in told for kind, found in kinds.most_common() if found)
    return Table("Everything on record of the window, by kind", ("what", "kind", "number"), rows)


def _new(reader: RecordReader, wanted: Wanted) -> Table:
    """Images of which revet had never seen any evidence, or that nobody had asked about, before the window."""
    asked = both(wanted.window, is_("event.kind", "event"))
    page = reader.find(HOMES["evidence"], asked, limit=ROWS * 20)
    first: dict[tuple[str, str], tuple[Cell, ...]] = {}
    for hit in page.hits:
        key = (text_of(hit.body, "repository"), text_of(hit.body, "digest"))
        signed = "yes" if hit.body.get("provenance.signature.exists") is True else "no"
        signers = ", ".join(texts_of(hit.body, "provenance.key.name"))
        first.setdefault(key, (hit.time, shown_image(*key), signed, signers, when(hit.body, "first_seen")))
    known = _known_before(reader, list(first), wanted)
    rows = [row for key, row in first.items() if key not in known][-ROWS:]
    more = f"the first {ROWS * 20:,} answers about images were looked through" if page.after else ""
    columns = ("time", "image", "signed", "keys", "first_seen")
    return Table("Images first asked about in the window", columns, tuple(rows), more)


def _known_before(reader: RecordReader, images: list[tuple[str, str]], wanted: Wanted) -> set[tuple[str, str]]:
    from_before = at_time("@timestamp", "<", wanted.start)
    known: set[tuple[str, str]] = set()
    by = (full_name("repository"), full_name("digest"))
    for some in chunks([digest for _, digest in images]):
        groups = reader.groups(HOMES["evidence"], both(one_of("digest", some), from_before), by)
        known |= {(group.values[0], group.values[1]) for group in groups}
    return known
