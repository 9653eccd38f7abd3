"""What several questions read: digests and containers of a subject, images as they were known, decisions. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from streams.queries.asof import known_runs, overlapping, running_at, verdicts_at
from streams.queries.conditions import (
    EVERYTHING,
    NOTHING,
    Condition,
    Not,
    at_time,
    both,
    exists,
    full_name,
    is_,
    one_of,
)
from streams.queries.held import BY_EVIDENCE, containers_of, images_of, running_images
from streams.queries.port import Hit, Page, RecordReader, every
from streams.queries.questions.model import READ, Asked, Keyed, paged
from streams.queries.reading import chunks, number_of, text_of, texts_of
from streams.sinks.document import LAST_TIME, Body, shown_image
from streams.sinks.fields import HOMES
from verifier.models import Micros, Outcome
from verifier.times import parse_instant, show_instant

_WHERE: Final = ("cluster", "cluster_name", "namespace", "workload_id", "repository", "digest")
"""Short names of what places a container; all of them have at most one value."""


class Placed(NamedTuple):
    """What containers share that run alike; an empty text where there is none."""

    cluster: str
    cluster_name: str
    namespace: str
    workload: str
    """Its id."""
    repository: str
    digest: str
    by: str = ""
    """The value of one more field they are counted by."""


VALUES: Final = 15_000
"""Values in one condition; SQLite takes a little more."""


def by_then(asked: Asked) -> Condition:
    """Documents of what had happened, in the window and by the two times."""
    parts = [] if asked.start is None else [at_time("@timestamp", ">=", asked.start)]
    parts += [] if asked.until is None else [at_time("@timestamp", "<=", asked.until)]
    return both(*parts)


def when(body: Body, name: str) -> Micros | None:
    """An instant in a document; None when it has none."""
    text = text_of(body, name)
    return parse_instant(text) if text else None


def image(body: Body) -> str:
    """Repository and short digest."""
    return shown_image(text_of(body, "repository"), text_of(body, "digest"), text_of(body, "spec_image"))


# ------------------------------------------------------------------------------------------------ containers


def held_by(reader: RecordReader, asked: Asked) -> Condition:
    """Containers of the subject and the narrowing; without a subject all of them. Raises as `RecordReader.find`."""
    subject = asked.subject
    if subject is None:
        return asked.where
    if subject.kind in BY_EVIDENCE:
        return both(asked.where, running_images(images_of(reader, subject)))
    if subject.kind == "policy" and asked.known_at is not None:  # starts and ends name no policies
        where = both(one_of("policy", subject.values), _answered_by(asked.until))
        judged = reader.groups(HOMES["verification"], where, ("provenance.class.id",))
        return both(asked.where, one_of("class", sorted(group.values[0] for group in judged)[:VALUES]))
    return both(asked.where, containers_of(reader, subject))


def runs(reader: RecordReader, asked: Asked, where: Condition, extra: Condition = EVERYTHING) -> Iterator[Hit]:
    """Containers as they ran at the instant asked for, by what was known then. `extra`: asked of documents of now
    alone. Raises as `RecordReader.find`.
    """
    if asked.known_at is None:
        yield from every(reader, HOMES["containers"], both(where, extra, running_at(asked.at)))
    else:
        instant = asked.instant
        then = None if instant is None else instant + 1  # what ended at the instant no longer runs
        yield from known_runs(reader, where, asked.known_at, then, instant)


def placed(
    reader: RecordReader, asked: Asked, where: Condition, *, extra: Condition = EVERYTHING, by: str = ""
) -> Counter[Placed]:
    """How many containers run at the instant asked for, by where and what they are, and by one more field (short name).
    `extra` as for `runs`. Raises as `RecordReader.find`.
    """
    names = (*_WHERE, by) if by else _WHERE
    counts: Counter[Placed] = Counter()
    if asked.known_at is not None:
        counts.update(Placed(*(text_of(hit.body, name) for name in names)) for hit in runs(reader, asked, where, extra))
    else:
        test = both(where, extra, running_at(asked.at))
        for group in reader.groups(HOMES["containers"], test, tuple(map(full_name, names))):
            counts[Placed(*group.values)] = group.count
    return counts


def page_of_runs(reader: RecordReader, asked: Asked, where: Condition, window: Condition | None = None) -> Page:
    """A page of containers, newest change first: those that ran in the window or at the instant. Raises as `find`."""
    if asked.known_at is None:
        test = both(where, running_at(asked.at) if window is None else window)
        return reader.find(HOMES["containers"], test, newest_first=True, limit=asked.limit, after=asked.after)
    if window is None:
        found = runs(reader, asked, where)
    else:
        found = known_runs(reader, where, asked.known_at, asked.start, asked.end)
    hits, after = paged((Keyed((-hit.time, hit.id), hit) for hit in found), asked)
    return Page(tuple(hits), after)


def ran_between(asked: Asked) -> Condition:
    """Containers that ran at some time of the window."""
    return overlapping(asked.start, asked.end)


def without_start(asked: Asked) -> tuple[str, ...]:
    """What is missing where only starts and ends are looked at."""
    told = "image volumes have no start on record, so --known-at does not find them"
    return (told,) if asked.known_at is not None else ()


# ------------------------------------------------------------------------------------------------ digests and images


def digests_of(reader: RecordReader, asked: Asked) -> tuple[str, ...]:
    """Digests of the subject, also those it no longer runs. Raises as `RecordReader.find`."""
    subject = asked.subject
    if subject is None:
        return ()
    if subject.kind in BY_EVIDENCE:
        return tuple(sorted({digest for _, digest in images_of(reader, subject)})[:VALUES])
    found = set(subject.values) if subject.kind in ("digest", "image") else set()
    where = containers_of(reader, subject)
    if where != NOTHING:
        groups = reader.groups(HOMES["containers"], where, ("provenance.image.digest",))
        found |= {group.values[0] for group in groups if group.values[0]}
    return tuple(sorted(found)[:VALUES])


def images(reader: RecordReader, digests: Iterable[str], asked: Asked) -> list[Body]:
    """What was known of the evidence of images, by (repository, digest). Raises as `RecordReader.find`."""
    newest: dict[tuple[str, str], Hit] = {}
    home = HOMES["images" if asked.until is None else "evidence"]
    for some in chunks(sorted(set(digests))):
        for hit in every(reader, home, both(one_of("digest", some), _answered_by(asked.until))):
            key = (text_of(hit.body, "repository"), text_of(hit.body, "digest"))
            if key not in newest or (hit.time, hit.id) > (newest[key].time, newest[key].id):
                newest[key] = hit
    return [newest[key].body for key in sorted(newest)]


def _answered_by(until: Micros | None) -> Condition:
    return EVERYTHING if until is None else at_time("@timestamp", "<=", until)


def incomplete(bodies: Iterable[Body]) -> tuple[str, ...]:
    """What was asked for and not answered."""
    return tuple(
        f"evidence of {image(body)} is not complete ({', '.join(texts_of(body, 'problem'))}),"
        f" as of {show_instant(parse_instant(text_of(body, 'fetched')))}"
        for body in bodies
        if body.get("provenance.evidence.complete") is False
    )


# ------------------------------------------------------------------------------------------------ classes, trust


def classes_of(reader: RecordReader, asked: Asked) -> dict[str, Body]:
    """Class -> the newest container of it on record (any that ever ran). Raises as `RecordReader.find`."""
    return {text_of(h.body, "class"): h.body for h in containers(reader, held_by(reader, asked)) if _judged(h)}


def _judged(hit: Hit) -> bool:
    return bool(text_of(hit.body, "class"))


def containers(reader: RecordReader, where: Condition) -> tuple[Hit, ...]:
    """The newest containers of a condition, ended or not, at most `READ`; the newest comes last. Raises as `find`."""
    test = both(where, exists("provenance.class.id"))
    page = reader.find(HOMES["containers"], test, newest_first=True, limit=READ)
    return page.hits[::-1]


def verdicts_of(reader: RecordReader, classes: Iterable[str], until: Micros | None) -> Iterator[Hit]:
    """Verdicts of classes up to an instant. Raises as `RecordReader.find`."""
    for some in chunks(sorted(set(classes))):
        yield from every(reader, HOMES["verification"], both(one_of("class", some), _answered_by(until)))


def judged_so(reader: RecordReader, classes: set[str], verdict: Outcome, until: Micros | None) -> set[str]:
    """Those classes of which some policy's last verdict up to an instant was this one.

    Of many classes only those are looked at that entered the verdict more often than they left it: every change is on
    record with the verdict before it. Raises as `RecordReader.find`.
    """
    if len(classes) > FEW:
        by, then = ("provenance.class.id", "provenance.policy.id"), _answered_by(until)
        is_so, was_so = is_("verdict", verdict), is_("previous", verdict)
        entered = _numbers(reader, both(is_so, Not(was_so), then), by)
        left = _numbers(reader, both(Not(is_so), was_so, then), by)
        classes = classes & {key[0] for key, number in entered.items() if number > left.get(key, 0)}
    said = verdicts_at(reader, classes, LAST_TIME if until is None else until)
    return {cls for cls, by in said.items() if any(v.outcome == verdict for v in by.values())}


FEW: Final = 500
"""Classes whose verdicts are looked at one by one."""


def _numbers(reader: RecordReader, where: Condition, by: tuple[str, ...]) -> dict[tuple[str, ...], int]:
    return {group.values: group.count for group in reader.groups(HOMES["verification"], where, by)}


def trust_entries(reader: RecordReader, where: Condition) -> list[Hit]:
    """Entries of the trust log in its order. Raises as `RecordReader.find`."""
    return sorted(every(reader, HOMES["trust"], where), key=lambda hit: number_of(hit.body, "epoch"))


def clusters_of(bodies: Iterable[Body]) -> frozenset[str]:
    """The clusters of some documents."""
    return frozenset(text_of(body, "cluster") for body in bodies) - {""}
