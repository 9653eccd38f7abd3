"""`blast_radius`: what a key, identity, image, policy, incident … touches: what runs, what ran, whose it is.

    answer = blast_radius(reader, resolve(reader, "key:release"), start=tuesday)
    answer = blast_radius(reader, resolve(reader, "payments-signed"), at=yesterday)

Containers are counted in the store, by place and image; only counts travel.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from alerting.findings import FINDINGS
from alerting.routing import Routes
from streams.queries.asof import NOT_STARTED, ended_between, running_at, verdicts_at
from streams.queries.conditions import Condition, both, full_name, is_, one_of
from streams.queries.coverage import coverage
from streams.queries.held import BY_EVIDENCE, NOT_REVOCABLE, images_of, pods_of
from streams.queries.history import history
from streams.queries.port import RecordReader
from streams.queries.reading import chunks, key_names, signatures_of, text_of, with_values
from streams.queries.results import BlastRadius, ImageCount, Place, SignatureSplit, Subject, SubjectKind
from streams.queries.subjects import FIELD_OF, tagged
from streams.queries.teams import Teams
from streams.sinks.document import Scalar
from streams.sinks.fields import HOMES
from verifier.models import Micros
from verifier.verify import worst

_NAMES: Final = ("cluster", "cluster_name", "namespace", "workload_id", "container")
_BY: Final = tuple(map(full_name, (*_NAMES, "repository", "digest", "class", "verdict")))


class Counted(msgspec.Struct, frozen=True):
    """How many containers share all this (in the order of `_BY`)."""

    cluster: str
    cluster_name: str
    namespace: str
    workload: str
    container: str
    repository: str
    digest: str
    class_id: str
    verdict: str
    number: int


class Affected(NamedTuple):
    """Which containers: conditions that together find them (each container by at most one), and a closer look."""

    conditions: tuple[Condition, ...]
    keep: Callable[[Counted], bool] = lambda _: True


def blast_radius(
    reader: RecordReader,
    subject: Subject,
    *,
    start: Micros | None = None,
    end: Micros | None = None,
    at: Micros | None = None,
    since: Micros | None = None,
    now: Micros | None = None,
    routes: Routes | None = None,
) -> BlastRadius:
    """What the subject touches.

    `at`: what ran then, under the verdicts of then (default: now). `start`, `end`: containers that ran in this window
    and have ended are counted beside. `since`: splits its signatures into proven older, later and unknown. `now`:
    to say which feeds are silent. `routes`: whose a namespace is (with the namespaces' labels of the record).

    Raises:
        InputError: nothing was recorded here.
        PlaceUnavailable: the store does not answer.
    """
    affected = _AFFECTED[subject.kind](reader, subject, at)
    running = list(_counted(reader, affected, running_at(at)))
    ended = list(_counted(reader, affected, ended_between(start, end)))
    if at is not None:
        ended = [row for row in ended if start is not None or end is not None]
        running = _judged_then(reader, running, at)
    teams = Teams(reader, routes or Routes(), ((row.cluster, row.namespace) for row in (*running, *ended)))

    def team(row: Counted) -> str:
        return teams(row.cluster, row.namespace)

    past = history(reader, subject, start=start, end=end if at is None else at, routes=routes)
    clusters = {row.cluster for row in (*running, *ended)}
    if past is not None:
        clusters |= {place.cluster for place in past.by_namespace}
    seen = coverage(reader, now=now, start=start, end=at if at is not None else end, clusters=clusters)
    return BlastRadius(
        subject=subject,
        at=at,
        start=start,
        end=end,
        containers=_sum(running),
        workloads=len({row.workload for row in running}),
        namespaces=len({(row.cluster, row.namespace) for row in running}),
        clusters=len({row.cluster for row in running}),
        ended=_sum(ended),
        verdicts=_verdicts(running),
        by_cluster=_places(running, ended, lambda row: (row.cluster, "", "")),
        by_namespace=_places(running, ended, lambda row: (row.cluster, row.namespace, team(row))),
        by_team=_places(running, ended, lambda row: ("", "", team(row))),
        images=_images(running, ended),
        signatures=_split(reader, subject, since) if subject.kind in BY_EVIDENCE - NOT_REVOCABLE else None,
        blind_spots=(*seen.blind_spots, *_unknown_starts(reader, affected, at)),
        history=past,
    )


# ------------------------------------------------------------------------------------------------ which containers


def _in_chunks(field: str, values: Iterable[Scalar]) -> tuple[Condition, ...]:
    return tuple(one_of(field, some) for some in chunks(sorted(set(values), key=str)))


def _of_evidence(reader: RecordReader, subject: Subject, _at: Micros | None) -> Affected:
    """Containers whose image carries evidence that rests on it, whether or not other evidence does not."""
    images = images_of(reader, subject)
    return Affected(_in_chunks("digest", (d for _, d in images)), lambda row: (row.repository, row.digest) in images)


def _of_digest(reader: RecordReader, subject: Subject, _at: Micros | None) -> Affected:
    """Containers that run one of the digests, or a platform manifest of one that is an index."""
    hits = with_values(reader, "images", full_name("index"), subject.values)
    return Affected(_in_chunks("digest", {*subject.values, *(text_of(hit.body, "digest") for hit in hits)}))


def _of_image(_reader: RecordReader, subject: Subject, _at: Micros | None) -> Affected:
    """Containers of the reference, or of the repository when no tag was named."""
    if ":" in subject.name.rpartition("/")[2]:
        return Affected((tagged(subject.name),))
    return Affected((is_("repository", subject.name),))


def _of_policy(reader: RecordReader, subject: Subject, at: Micros | None) -> Affected:
    """Containers that violate the policy, exempted or not."""
    if at is None:
        return Affected(tuple(both(is_("verdict", "violates"), is_("violates", policy)) for policy in subject.values))
    where = one_of("policy", subject.values)
    classes = [group.values[0] for group in reader.groups(HOMES["verification"], where, (full_name("class"),))]
    said = verdicts_at(reader, classes, at)
    violating = {
        c for c, by in said.items() if any(v.outcome == "violates" for p, v in by.items() if p in subject.values)
    }
    return Affected(_in_chunks("class", violating))


def _of_findings(field: str) -> Callable[[RecordReader, Subject, Micros | None], Affected]:
    def find(reader: RecordReader, subject: Subject, _at: Micros | None) -> Affected:
        """Containers that findings hold. Where the digest is what is wrong, only those that run it; a finding that is
        closed held what ran then, not what took its place.
        """
        named = (*map(full_name, ("workload_id", "container", "digest", "finding")), "provenance.finding.status")
        held: dict[tuple[str, str], set[str]] = {}
        for workload, container, digest, code, status in (
            group.values for group in reader.groups(HOMES["findings"], one_of(field, subject.values), named)
        ):
            exact = status == "fixed" or (code in FINDINGS and FINDINGS[code].digest_in_id)
            held.setdefault((workload, container), set()).add(digest if exact else "")
        return Affected(_in_chunks("workload_id", (w for w, _ in held if w)), lambda row: _held(row, held))

    return find


def _held(row: Counted, held: dict[tuple[str, str], set[str]]) -> bool:
    digests = held.get((row.workload, row.container), set()) | held.get((row.workload, ""), set())
    return "" in digests or row.digest in digests


_AFFECTED: Final[dict[SubjectKind, Callable[[RecordReader, Subject, Micros | None], Affected]]] = {
    "digest": _of_digest,
    "image": _of_image,
    "policy": _of_policy,
    "incident": _of_findings("incident"),
    "finding": _of_findings("finding_id"),
    "workload": lambda _r, s, _a: Affected(_in_chunks("workload_id", s.values)),
    **dict.fromkeys(BY_EVIDENCE, _of_evidence),
    "pod": lambda _r, s, _a: Affected((pods_of(s),)),
}


# ------------------------------------------------------------------------------------------------ counting


def _counted(reader: RecordReader, affected: Affected, when: Condition) -> Iterator[Counted]:
    for where in affected.conditions:
        for group in reader.groups(HOMES["containers"], both(where, when), _BY):
            row = Counted(*group.values, group.count)  # type: ignore[call-arg, arg-type]  # one per name of _BY
            if affected.keep(row):
                yield row


def _judged_then(reader: RecordReader, rows: Sequence[Counted], at: Micros) -> list[Counted]:
    """Rows with the verdicts of an instant instead of today's."""
    said = verdicts_at(reader, (row.class_id for row in rows), at)
    then = {c: worst([v.outcome for v in by.values()]) for c, by in said.items() if by}
    return [msgspec.structs.replace(row, verdict=then.get(row.class_id, "")) for row in rows]


def _sum(rows: Iterable[Counted]) -> int:
    return sum(row.number for row in rows)


def _verdicts(rows: Iterable[Counted]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for row in rows:
        counts[row.verdict or "not judged"] += row.number
    return dict(sorted(counts.items()))


def _places(
    running: Sequence[Counted], ended: Sequence[Counted], of: Callable[[Counted], tuple[str, str, str]]
) -> tuple[Place, ...]:
    """Counts per (cluster, namespace, team), most containers first."""
    rows: dict[tuple[str, str, str], list[Counted]] = {}
    gone: Counter[tuple[str, str, str]] = Counter()
    for row in running:
        rows.setdefault(of(row), []).append(row)
    for row in ended:
        rows.setdefault(of(row), [])
        gone[of(row)] += row.number
    names = {row.cluster: row.cluster_name for row in (*running, *ended)}
    made = [
        Place(
            cluster=cluster,
            cluster_name=names.get(cluster, ""),
            namespace=namespace,
            team=team,
            containers=_sum(found),
            workloads=len({row.workload for row in found}),
            namespaces=len({(row.cluster, row.namespace) for row in found}),
            ended=gone[(cluster, namespace, team)],
        )
        for (cluster, namespace, team), found in rows.items()
    ]
    return tuple(sorted(made, key=lambda p: (-p.containers, -p.ended, p.cluster, p.namespace, p.team)))


def _images(running: Iterable[Counted], ended: Iterable[Counted]) -> tuple[ImageCount, ...]:
    counts: dict[tuple[str, str], list[int]] = {}
    for column, rows in enumerate((running, ended)):
        for row in rows:
            counts.setdefault((row.repository, row.digest), [0, 0])[column] += row.number
    made = [ImageCount(repository, digest, *numbers) for (repository, digest), numbers in counts.items()]
    return tuple(sorted(made, key=lambda i: (-i.containers, -i.ended, i.repository, i.digest)))


# ------------------------------------------------------------------------------------------------ beside the counts


def _split(reader: RecordReader, subject: Subject, since: Micros | None) -> SignatureSplit:
    """Signatures that rest on it, each once: two images of one evidence are two signatures' worth of trouble."""
    names, wanted = key_names(reader), set(subject.values)
    field = FIELD_OF.get(subject.kind, full_name("key"))
    hits = {hit.id: hit for hit in with_values(reader, "images", field, subject.values)}
    all_of_them = (s for hit in hits.values() for s in signatures_of(hit.body, names) if s.kind == "signature")
    found = [s for s in all_of_them if s.key in wanted or not wanted.isdisjoint(s.rests_on)]
    kinds = Counter(s.time_kind for s in found)
    dated = [s.time for s in found if s.time is not None]
    return SignatureSplit(
        total=len(found),
        attested=kinds["attested"],
        observed=kinds["observed"],
        undated=kinds["none"],
        since=since,
        before=sum(time < since for time in dated) if since is not None else 0,
        after=sum(time >= since for time in dated) if since is not None else 0,
    )


def _unknown_starts(reader: RecordReader, affected: Affected, at: Micros | None) -> Iterator[str]:
    if at is None:
        return
    when = both(running_at(at), NOT_STARTED)
    number = sum(row.number for row in _counted(reader, affected, when))
    if number:
        yield f"the start of {number} of these containers is not known; they are counted as if they ran then"
