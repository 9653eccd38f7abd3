"""What a look-back can tell of a subject: who was let in with it, long ago. Nothing here is a verdict.

    found = history(reader, subject, start=march, end=june)       None: nothing in this record was looked back at
    found.limits                                                  first: what archives can and cannot show

Archived audit logs name images as they were asked for. A digest in the request is certain; a tag may have meant the
image, and nobody resolved it then. Decisions that were seen live count as well: an archive may hold them once more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from alerting.routing import Routes
from alerting.text import count
from streams.queries.conditions import (
    Condition,
    Not,
    at_time,
    both,
    exists,
    full_name,
    is_,
    one_of,
)
from streams.queries.held import BY_EVIDENCE, images_of
from streams.queries.port import RecordReader, one
from streams.queries.reading import chunks, text_of, texts_of, with_values
from streams.queries.results import AskedPlace, History, Subject
from streams.queries.teams import Teams
from streams.sinks.document import reference_of
from streams.sinks.fields import HOMES
from verifier.models import Micros
from verifier.times import show_instant

_ADMISSION: Final = HOMES["admission"]
_MARKED: Final = is_("looked_back", value=True)
_BY: Final = (
    *map(full_name, ("cluster", "namespace", "workload_id", "admission", "resource")),
    "orchestrator.resource.id",
    "orchestrator.resource.name",
)
_WHOLE: Final = ("orchestrator.cluster.id",)
"""To count: a field that every decision has."""

ABOUT: Final = frozenset({"digest", "image", *BY_EVIDENCE})
"""Kinds of subjects that an archive can be asked about; of the others it says nothing, for it was never judged."""


class _Asked(NamedTuple):
    """One object that asked for an image, in the order of `_BY`."""

    cluster: str
    namespace: str
    workload: str
    outcome: str
    resource: str
    uid: str
    name: str

    @property
    def is_pod(self) -> bool:
        return self.resource.partition("/")[0] == "pods"


def history(
    reader: RecordReader,
    subject: Subject,
    *,
    start: Micros | None = None,
    end: Micros | None = None,
    routes: Routes | None = None,
) -> History | None:
    """Requests for the images of a subject between two instants; None where nothing was looked back at, or the subject
    is of a kind that archives do not know. `routes`: whose a namespace is, by its labels of today.

    Raises:
        InputError: nothing was recorded here.
        PlaceUnavailable: the store does not answer.
    """
    if subject.kind not in ABOUT or not _looked_back(reader):
        return None
    digests = _digests(reader, subject)
    when = both(*_window(start, end), Not(is_("dry_run", value=True)), Not(is_("operation", "delete")))
    named = [both(one_of("asked", some), when) for some in chunks(sorted(digests))]
    repositories = _repositories(reader, subject, digests, named)
    tagged = [both(one_of("unresolved", some), when) for some in chunks(sorted(repositories))]
    certain = _asked(reader, named)
    maybe = {asked: number for asked, number in _asked(reader, tagged).items() if asked not in certain}
    let_in = [asked for asked in certain if asked.outcome == "admitted"]
    return History(
        limits=tuple(_limits(reader)),
        first=_edge(reader, named, newest=False),
        last=_edge(reader, named, newest=True),
        pods=sum(asked.is_pod for asked in let_in),
        workloads=len({asked.workload for asked in let_in}),
        maybe=sum(asked.is_pod and asked.outcome == "admitted" for asked in maybe),
        denied=sum(number for asked, number in certain.items() if asked.outcome == "denied"),
        images=len(digests),
        by_namespace=_places(reader, certain, maybe, routes or Routes()),
    )


def _window(start: Micros | None, end: Micros | None) -> Iterator[Condition]:
    if start is not None:
        yield at_time("@timestamp", ">=", start)
    if end is not None:
        yield at_time("@timestamp", "<=", end)


# ------------------------------------------------------------------------------------------------ which images


def _digests(reader: RecordReader, subject: Subject) -> set[str]:
    """Digests under which its images may have been asked for: what runs is one platform of the index that is named."""
    own = {d for _, d in images_of(reader, subject)} if subject.kind in BY_EVIDENCE else set(subject.values)
    children = {text_of(hit.body, "digest") for hit in with_values(reader, "images", full_name("index"), own)}
    if subject.kind in BY_EVIDENCE:  # evidence on a platform's manifest says nothing of its index
        return own | children
    indexes = {index for hit in with_values(reader, "images", "digest", own) for index in texts_of(hit.body, "index")}
    return own | children | indexes


def _repositories(reader: RecordReader, subject: Subject, digests: set[str], named: Iterable[Condition]) -> set[str]:
    """Repositories that hold them, as evidence and requests name them."""
    found = {text_of(hit.body, "repository") for hit in with_values(reader, "images", "digest", digests)}
    if subject.kind == "image" and (reference := reference_of(subject.name)) is not None:
        found.add(reference.repository)
    for where in named:
        for group in reader.groups(_ADMISSION, both(where, is_("provenance.image.count", 1)), _BY_ONE):
            reference = reference_of(group.values[0])
            if reference is not None and reference.digest in digests:
                found.add(reference.repository)
    return found - {""}


_BY_ONE: Final = ("container.image.name",)
"""Set where a request is about one image."""


# ------------------------------------------------------------------------------------------------ counting


def _asked(reader: RecordReader, conditions: Iterable[Condition]) -> dict[_Asked, int]:
    """Objects and how many requests each made; one that several conditions find is one."""
    found: dict[_Asked, int] = {}
    for where in conditions:
        for group in reader.groups(_ADMISSION, where, _BY):
            asked = _Asked(*group.values)
            found[asked] = max(found.get(asked, 0), group.count)
    return found


def _edge(reader: RecordReader, conditions: Iterable[Condition], *, newest: bool) -> Micros | None:
    hits = (one(reader, _ADMISSION, where, newest=newest) for where in conditions)
    times = [hit.time for hit in hits if hit is not None]
    return (max(times) if newest else min(times)) if times else None


class _Tally:
    """Requests of one namespace, as they are counted."""

    def __init__(self) -> None:
        self.pods = self.maybe = self.denied = 0
        self.workloads: set[str] = set()


def _places(
    reader: RecordReader, certain: dict[_Asked, int], maybe: dict[_Asked, int], routes: Routes
) -> tuple[AskedPlace, ...]:
    found: dict[tuple[str, str], _Tally] = {}
    for asked, number in certain.items():
        tally = found.setdefault((asked.cluster, asked.namespace), _Tally())
        if asked.outcome == "admitted":
            tally.pods += asked.is_pod
            tally.workloads.add(asked.workload)
        elif asked.outcome == "denied":
            tally.denied += number
    for asked in maybe:
        tally = found.setdefault((asked.cluster, asked.namespace), _Tally())
        tally.maybe += asked.is_pod and asked.outcome == "admitted"
    teams = Teams(reader, routes, found)
    made = [
        AskedPlace(cluster, namespace, teams(cluster, namespace), t.pods, len(t.workloads), t.maybe, t.denied)
        for (cluster, namespace), t in found.items()
    ]
    return tuple(sorted(made, key=lambda p: (-p.pods, -p.maybe, p.cluster, p.namespace)))


# ------------------------------------------------------------------------------------------------ limits


def limits(reader: RecordReader) -> tuple[str, ...]:
    """What the archives of this record can and cannot show; empty where nothing was looked back at.

    Raises:
        InputError: nothing was recorded here.
        PlaceUnavailable: the store does not answer.
    """
    return tuple(_limits(reader)) if _looked_back(reader) else ()


def _looked_back(reader: RecordReader) -> bool:
    """Asked of the feeds, of which there are few: every archive leaves its hours there."""
    return one(reader, HOMES["feeds"], _MARKED) is not None


def _limits(reader: RecordReader) -> Iterator[str]:
    first, last = (one(reader, _ADMISSION, _MARKED, newest=newest) for newest in (False, True))
    if first is None or last is None:
        return
    number = _number(reader, _MARKED)
    span = f"between {show_instant(first.time)} and {show_instant(last.time)}"
    yield f"{count(number, 'decision')} of archived audit logs, {span}; what no archive holds cannot be told"
    yield "an admission is not a run: an archive does not say that a container started, or when it ended"
    created = both(_MARKED, is_("admission", "admitted"), is_("resource", "pods"), is_("operation", "create"))
    if unnamed := _number(reader, both(created, Not(exists("asked")))):
        yield f"{count(unnamed, 'admitted pod')} without images: archived at level Metadata, what ran is not known"
    if tagged := _number(reader, both(created, exists("unresolved"))):
        told = count(tagged, "admitted pod")
        yield f"{told} with an image by tag: nobody resolved it then; such pods are counted apart, as `may be`"
    if cut := _number(reader, both(_MARKED, is_("truncated", value=True))):
        yield f"{count(cut, 'decision')} cut by the API server: images may be missing"
    yield "signatures, trust and owners are of today: what was there then and is gone, or has moved, is not told"
    if silent := _number(reader, is_("complete", value=False), "images", full_name("digest")):
        yield f"evidence of {count(silent, 'image')} could not be had in full: who else signed them is not known"


def _number(reader: RecordReader, where: Condition, home: str = "admission", by: str = _WHOLE[0]) -> int:
    return sum(group.count for group in reader.groups(HOMES[home], where, (by,)))
