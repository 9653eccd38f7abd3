"""What was not seen: the first chapter, because everything behind it holds only for what was. Pure."""

from __future__ import annotations

from typing import Final

from streams.queries.conditions import is_
from streams.queries.coverage import coverage
from streams.queries.port import RecordReader
from streams.queries.report.common import Wanted, by_value, cut
from streams.queries.report.model import Part, Section, Sentences, Table
from streams.queries.results import Sight

SENTENCES: Final = 200
"""Gaps that are named one by one."""
FEEDS: Final = 100


def seen(reader: RecordReader, wanted: Wanted) -> Section:
    """Gaps of feeds, inputs nobody could read, and evidence that places did not answer about.

    Raises:
        InputError: nothing was recorded here.
        PlaceUnavailable: the store does not answer.
    """
    live = wanted.live if wanted.live is not None and wanted.end >= wanted.now else None
    found = coverage(reader, now=live, start=wanted.start, end=wanted.end)
    blind = found.blind_spots[:SENTENCES]
    if len(found.blind_spots) > SENTENCES:
        blind = (*blind, f"and {len(found.blind_spots) - SENTENCES:,} more: `revet ask blind`")
    rows, more = cut([_feed(row, wanted) for row in found.rows], FEEDS, "feed", "revet ask blind")
    feeds = Table("Feeds of clusters, and since when each is seen", _FEED, rows, more, "no feed was ever seen")
    return Section(
        "coverage",
        "What was not seen",
        "Read this first: where nothing was seen, nothing in the other chapters tells whether something happened.",
        (
            Part((Sentences(blind, "unknown", "No gap in this window: every feed was seen throughout."),)),
            Part((feeds,), "Feeds"),
            Part((_unanswered(reader),), "Evidence that could not be asked for"),
        ),
    )


_FEED: Final = ("cluster", "name", "feed", "since", "last", "gaps_in_window")


def _feed(row: Sight, wanted: Wanted) -> tuple[str | int, ...]:
    gaps = sum(1 for begin, until in row.gaps if begin <= wanted.end and until >= wanted.start)
    return (row.cluster, row.cluster_name, row.feed, row.since, row.last, gaps)


def _unanswered(reader: RecordReader) -> Table:
    lacking = is_("complete", value=False)
    found = by_value(reader, "images", lacking, "provenance.image.registry")
    listed = sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))
    rows, more = cut([(registry, number) for registry, number in listed], FEEDS, "registry")
    caption = "Images whose evidence is not complete, by registry: what is absent there is not known to be absent"
    return Table(caption, ("registry", "images"), rows, more, "every place answered about every image")
