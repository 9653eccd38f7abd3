"""Questions 4, 5, 8 and 12: where it runs, where it ran, what nobody admitted, and when a tag moved. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

import msgspec

from streams.queries.asof import running_at
from streams.queries.conditions import EVERYTHING, Condition, Not, at_time, both, exists, one_of
from streams.queries.coverage import coverage
from streams.queries.port import Hit, RecordReader, every, one
from streams.queries.questions.common import (
    Placed,
    by_then,
    clusters_of,
    held_by,
    image,
    page_of_runs,
    placed,
    ran_between,
    runs,
    when,
    without_start,
)
from streams.queries.questions.model import Asked, Cells, Found, Keyed, paged
from streams.queries.reading import chunks, objects_of, text_of
from streams.queries.teams import Teams
from streams.sinks.document import Body, shown_image
from streams.sinks.fields import HOMES
from verifier.models import Micros
from verifier.oci.port import TAGGED
from verifier.times import show_instant

RUNNING: Final = (*("cluster", "namespace", "owner", "workload", "image", "containers", "nodes", "on", "digest"),)
RAN: Final = (
    *("started", "ended", "end_reason", "cluster", "namespace", "workload", "pod", "container", "image", "node"),
    *("digest", "instance"),
)
UNADMITTED: Final = ("started", "why", "cluster", "namespace", "workload", "pod", "container", "image", "instance")
MOVED: Final = ("tag", "image", "told_by", "first", "newest", "running", "clusters", "digest")

SHOWN_NODES: Final = 5
"""Nodes that are named; all of them are counted."""


# ------------------------------------------------------------------------------------------------ 4


def running(reader: RecordReader, asked: Asked) -> Found:
    """Where does it run? One row per workload and image, most containers first."""
    where = held_by(reader, asked)
    counts, names = Counter[Placed](), dict[str, str]()
    for place, number in placed(reader, asked, where).items():
        counts[place._replace(cluster_name="")] += number
        names[place.cluster] = place.cluster_name or place.cluster
    page, after = paged((Keyed((-number, *place), (place, number)) for place, number in counts.items()), asked)
    nodes = _nodes(reader, asked, where, {place for place, _ in page})
    teams = Teams(reader, asked.routes, ((place.cluster, place.namespace) for place, _ in page))
    rows: list[Cells] = []
    for place, number in page:
        on = sorted(nodes[place])
        more = f" and {len(on) - SHOWN_NODES} more" if len(on) > SHOWN_NODES else ""
        shown, team = shown_image(place.repository, place.digest), teams(place.cluster, place.namespace)
        listed = (number, len(on), ", ".join(on[:SHOWN_NODES]) + more, place.digest)
        rows.append((names[place.cluster], place.namespace, team, place.workload, shown, *listed))
    return Found(rows, after, frozenset(names), without_start(asked))


def _nodes(reader: RecordReader, asked: Asked, where: Condition, places: set[Placed]) -> dict[Placed, set[str]]:
    """The nodes that containers of some places run on."""
    nodes: dict[Placed, set[str]] = {place: set() for place in places}
    values = {"workload_id": {place.workload for place in places}, "digest": {place.digest for place in places}}
    narrowed = (one_of(name, found) for name, found in values.items() if "" not in found)
    for place in placed(reader, asked, both(where, *narrowed), by="node") if places else ():
        key = place._replace(cluster_name="", by="")
        if key in nodes and place.by:
            nodes[key].add(place.by)
    return nodes


# ------------------------------------------------------------------------------------------------ 5


def ran(reader: RecordReader, asked: Asked) -> Found:
    """Who ran it in a window? Every container that ran at some time of it; newest change first."""
    window = ran_between(asked) if asked.at is None else None
    page = page_of_runs(reader, asked, held_by(reader, asked), window)
    rows = [_ran(hit.body) for hit in page.hits]
    return Found(rows, page.after, clusters_of(h.body for h in page.hits), without_start(asked))


def _ran(body: Body) -> Cells:
    why = text_of(body, "end_reason")
    if (last := when(body, "provenance.run.ended_after")) is not None:
        why += f" (not seen; it ran at {show_instant(last)})"
    named = (text_of(body, name) for name in ("cluster", "namespace", "workload_id", "pod", "container"))
    ids = (text_of(body, name) for name in ("node", "digest", "instance"))
    node, digest, instance = ids
    return (when(body, "started"), when(body, "ended"), why, *named, image(body), node, digest, instance)


# ------------------------------------------------------------------------------------------------ 8


def unadmitted(reader: RecordReader, asked: Asked) -> Found:
    """Which running containers have no admission decision, and may that have a reason?"""
    where = held_by(reader, asked)
    if asked.known_at is None:
        page = page_of_runs(reader, asked, both(where, Not(exists("decision"))))
        hits, after = page.hits, page.after
    else:
        kept = _not_admitted_by(reader, asked, list(runs(reader, asked, where)))
        found, after = paged((Keyed((-hit.time, hit.id), hit) for hit in kept), asked)
        hits = tuple(found)
    clusters = clusters_of(hit.body for hit in hits)
    audited = {row.cluster: row.since for row in coverage(reader, clusters=clusters).rows if row.feed == "audit"}
    rows = [_unadmitted(hit.body, audited) for hit in hits]
    return Found(rows, after, clusters, without_start(asked))


def _not_admitted_by(reader: RecordReader, asked: Asked, hits: list[Hit]) -> Iterator[Hit]:
    """Those for which no decision was on record by then."""
    decided: dict[str, str] = {}
    for some in chunks({hit.id.removesuffix(":start") for hit in hits}):
        of_now = both(one_of("id", some), exists("decision"))
        decided |= {h.id: text_of(h.body, "decision") for h in every(reader, HOMES["containers"], of_now)}
    known: set[str] = set()
    for some in chunks(set(decided.values())):
        made = both(one_of("id", some), at_time("@timestamp", "<=", asked.known_at or 0))
        known |= {hit.id for hit in every(reader, HOMES["admission"], made)}
    return (hit for hit in hits if decided.get(hit.id.removesuffix(":start")) not in known)


def _unadmitted(body: Body, audited: dict[str, Micros]) -> Cells:
    cluster, started = text_of(body, "cluster"), when(body, "started")
    since = audited.get(cluster)
    why = ""
    if body.get("provenance.workload.static") is True:
        why = "static pod: nobody asks for it"
    elif since is None:
        why = "no admission of this cluster is seen"
    elif started is not None and started < since:
        why = f"it ran before admissions were seen ({show_instant(since)})"
    named = (text_of(body, name) for name in ("namespace", "workload_id", "pod", "container"))
    return (started, why, cluster, *named, image(body), text_of(body, "instance"))


# ------------------------------------------------------------------------------------------------ 12


class _Told(msgspec.Struct):
    """One digest under a tag, as containers or the registry showed it."""

    tag: str
    """`repository:tag`."""
    digest: str
    told_by: str
    first: Micros
    newest: Micros
    running: int = 0
    clusters: tuple[str, ...] = ()


def moved(reader: RecordReader, asked: Asked) -> Found:
    """When did the tag move, and who still runs the old digest? One row per digest, oldest first."""
    tags = _tags(reader, asked)
    told = [*_from_containers(reader, asked, tags), *_from_registry(reader, asked, tags)]
    page, after = paged((Keyed((t.tag, t.first, t.told_by, t.digest), t) for t in told), asked)
    cells = [
        (t.tag, shown_image(_repository(t.tag), t.digest), t.told_by, t.first, t.newest, t.running,
         ", ".join(t.clusters), t.digest)
        for t in page
    ]  # fmt: skip
    clusters = frozenset(name for t in told for name in t.clusters)
    limit = "a move is known from the first container that ran the new digest, or the first answer of the registry"
    return Found(cells, after, clusters, (limit,))


def _repository(tag: str) -> str:
    return tag.rpartition(":")[0]


def _tags(reader: RecordReader, asked: Asked) -> dict[str, list[str]]:
    """Tags the subject stands for -> the references that name them, with a digest behind the tag and without."""
    subject = asked.subject
    where = held_by(reader, asked)
    if subject is not None and subject.kind == "image":
        tagged = ":" in subject.name.rpartition("/")[2]
        where = both(one_of("repository", [_repository(subject.name) if tagged else subject.name]), asked.where)
    tags: dict[str, list[str]] = {}
    for group in reader.groups(HOMES["containers"], where, ("provenance.image.reference",)):
        tag = group.values[0].partition("@")[0]
        if ":" in tag.rpartition("/")[2] and (subject is None or subject.kind != "image" or _is_of(tag, subject.name)):
            tags.setdefault(tag, []).append(group.values[0])
    return tags


def _is_of(tag: str, name: str) -> bool:
    return name in (tag, _repository(tag))


def _from_containers(reader: RecordReader, asked: Asked, tags: dict[str, list[str]]) -> Iterator[_Told]:
    by = ("provenance.image.digest", "orchestrator.cluster.id")
    started = one_of("event.type", ["start"])
    known = EVERYTHING if asked.known_at is None else at_time("known_from", "<=", asked.known_at)
    for tag, references in tags.items():
        of = both(one_of("repository", [_repository(tag)]), one_of("image", references), asked.where)
        now = reader.groups(HOMES["containers"], both(of, running_at(asked.instant)), by)
        starts = both(of, started, known, by_then(asked))
        ran_in: dict[str, set[str]] = {}
        for group in reader.groups(HOMES["lifecycle"], starts, by):
            ran_in.setdefault(group.values[0], set()).add(group.values[1])
        for digest, clusters in sorted(ran_in.items()):
            first, newest = _edges(reader, both(starts, one_of("digest", [digest])))
            number = sum(group.count for group in now if group.values[0] == digest)
            yield _Told(tag, digest, "containers", first, newest, number, tuple(sorted(clusters)))


def _edges(reader: RecordReader, where: Condition) -> tuple[Micros, Micros]:
    first, newest = (one(reader, HOMES["lifecycle"], where, newest=last) for last in (False, True))
    return (first.time if first else 0), (newest.time if newest else 0)


def _from_registry(reader: RecordReader, asked: Asked, tags: dict[str, list[str]]) -> Iterator[_Told]:
    """What the registry said the tags mean, whenever it was asked about one of their digests."""
    told: dict[tuple[str, str], _Told] = {}
    for repository in sorted(set(map(_repository, tags))):
        for hit in every(reader, HOMES["evidence"], both(one_of("repository", [repository]), by_then(asked))):
            for tag, digest in _tagged(repository, hit.body):
                if tag in tags:
                    row = told.setdefault((tag, digest), _Told(tag, digest, "registry", hit.time, hit.time))
                    row.first, row.newest = min(row.first, hit.time), max(row.newest, hit.time)
    yield from told.values()


def _tagged(repository: str, body: Body) -> Iterator[tuple[str, str]]:
    for place in objects_of(body, "provenance.evidence.places"):
        if place.get("place") == TAGGED and place.get("outcome") == "found":
            yield f"{repository}:{place.get('detail')}", str(place.get("digest"))
