"""Were we blind? Which feeds of which clusters were seen, since when, and where the gaps are.

Every answer about a window carries these sentences: what is not in the record cannot be told from what did not happen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from alerting.text import count
from streams.queries.conditions import EVERYTHING, Condition, at_time, both, one_of
from streams.queries.port import RecordReader, every
from streams.queries.reading import text_of
from streams.queries.results import Coverage, Sight
from streams.sinks.document import Body
from streams.sinks.fields import HOMES
from verifier.models import Micros
from verifier.times import parse_instant, show_instant

QUIET: Final[Micros] = 5 * 60_000_000
"""A feed that said nothing for this long is not known to be alive."""

_FEEDS: Final = {"audit": "admission decisions", "pods": "running containers"}
"""Feed -> what is not known without it."""


def coverage(
    reader: RecordReader,
    *,
    now: Micros | None = None,
    start: Micros | None = None,
    end: Micros | None = None,
    clusters: Iterable[str] | None = None,
) -> Coverage:
    """Sight of every feed, and what was not seen between `start` and `end`.

    `clusters`: only these; without it every cluster the record has heard of. `now`: to say which feeds are silent now;
    without it (a replay, an old record) silence at the end is not spoken of.

    Raises:
        InputError: nothing was recorded here.
        PlaceUnavailable: the store does not answer.
    """
    rows = _sights(reader)
    asked = sorted(set(clusters) if clusters is not None else _clusters(reader) | {row.cluster for row in rows})
    kept = tuple(row for row in rows if row.cluster in asked)
    blind = [sentence for name in asked for sentence in _blind(name, kept, start, end, now)]
    return Coverage(kept, (*blind, *_unread(reader, start, end)))


def _sights(reader: RecordReader) -> tuple[Sight, ...]:
    stretches: dict[tuple[str, str], list[Body]] = {}
    for hit in every(reader, HOMES["feeds"], EVERYTHING):
        stretches.setdefault((text_of(hit.body, "cluster"), text_of(hit.body, "feed")), []).append(hit.body)
    return tuple(_sight(cluster, feed, bodies) for (cluster, feed), bodies in sorted(stretches.items()))


def _sight(cluster: str, feed: str, bodies: list[Body]) -> Sight:
    spans = sorted((parse_instant(text_of(b, "since")), parse_instant(text_of(b, "last"))) for b in bodies)
    gaps: list[tuple[Micros, Micros]] = []
    seen_until = spans[0][1]
    for since, last in spans[1:]:
        if since > seen_until:
            gaps.append((seen_until, since))
        seen_until = max(seen_until, last)
    return Sight(cluster, text_of(bodies[-1], "cluster_name"), feed, spans[0][0], seen_until, tuple(gaps))


def _clusters(reader: RecordReader) -> set[str]:
    field = ("orchestrator.cluster.id",)
    homes = ("containers", "admission")
    return {g.values[0] for home in homes for g in reader.groups(HOMES[home], EVERYTHING, field) if g.values[0]}


def _blind(
    cluster: str, rows: tuple[Sight, ...], start: Micros | None, end: Micros | None, now: Micros | None
) -> Iterator[str]:
    seen = {row.feed: row for row in rows if row.cluster == cluster}
    for feed, what in _FEEDS.items():
        row = seen.get(feed)
        if row is None:
            yield f"cluster {cluster} has no feed of {what} ({feed}): nothing is known of them"
            continue
        if start is not None and row.since > start:
            yield f"no data for cluster {cluster} ({feed}) before {show_instant(row.since)}"
        for begin, until in row.gaps:
            if (end is None or begin <= end) and (start is None or until >= start):
                yield f"no data for cluster {cluster} ({feed}) {show_instant(begin)} to {show_instant(until)}"
        if now is not None and now - row.last > QUIET and (end is None or end > row.last):
            yield f"no data for cluster {cluster} ({feed}) since {show_instant(row.last)}"


def _unread(reader: RecordReader, start: Micros | None, end: Micros | None) -> Iterator[str]:
    where: list[Condition] = [one_of("state", ("open",))]
    if start is not None:
        where.append(at_time("@timestamp", ">=", start))
    if end is not None:
        where.append(at_time("@timestamp", "<=", end))
    number = sum(group.count for group in reader.groups(HOMES["deadletters"], both(*where), ("provenance.state",)))
    if number:
        yield f"{count(number, 'input')} could not be read (see `revet deadletter list`)"
