"""What runs now, and what is said of it. Containers are counted in the store, once, by place and image. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from streams.queries.conditions import EVERYTHING, Condition, full_name, is_, one_of
from streams.queries.port import RecordReader
from streams.queries.questions.common import Placed, placed
from streams.queries.report.common import Wanted, asked_table, cut, figure
from streams.queries.report.model import Bar, Bars, Figure, Figures, Part, Section, Table, Tone
from streams.queries.teams import Teams
from streams.sinks.document import shown_image
from streams.sinks.fields import HOMES

PLACES: Final = 25
"""Rows of each list of places."""

TONES: Final[dict[str, Tone]] = {"valid": "good", "violates": "bad", "unverifiable": "unknown", "ungoverned": "plain"}


class Running(NamedTuple):
    """Containers that share all this."""

    place: Placed
    """Counted by verdict."""
    number: int
    team: str


def running_now(reader: RecordReader, wanted: Wanted, where: Condition = EVERYTHING) -> list[Running]:
    """What runs now (of what fulfils `where`), counted by place, image and verdict. Raises as `RecordReader.groups`."""
    counts = placed(reader, wanted.asked(), where, by="verdict")
    places = {(place.cluster, place.namespace) for place in counts}
    teams = Teams(reader, wanted.routes, places)
    names = {place: teams(*place) for place in places}
    return [Running(place, number, names[place.cluster, place.namespace]) for place, number in counts.items()]


def posture(reader: RecordReader, wanted: Wanted, rows: list[Running]) -> Section:
    """Verdicts of what runs now, by cluster, team and namespace; open findings; what could not be told.

    Raises:
        InputError: nothing was recorded here.
        PlaceUnavailable: the store does not answer.
    """
    verdicts = _verdicts(rows)
    bars = tuple(
        Bar(name, verdicts[name], TONES.get(name, "plain"))
        for name in (*TONES, *sorted(verdicts.keys() - TONES.keys()))
    )
    return Section(
        "posture",
        "What runs now",
        "Containers that run at the instant this was made, each counted under the worst verdict of its policies.",
        (
            Part((Figures(_figures(rows, verdicts)), Bars("Running containers by verdict", "containers", bars))),
            Part((_places(rows, "By cluster", ("cluster",), lambda r: (r.place.cluster_name or r.place.cluster,)),
                  _places(rows, "By team", ("team",), lambda r: (r.team or "nobody known",))), "Whose it is"),
            Part((_worst(rows),), "Where policies are violated"),
            Part((_findings(reader),), "Open findings"),
            Part((_unverified(reader, wanted),), "What could not be verified",
                 "Not a pass and not a fail: it stays so until somebody can tell."),
            Part(_unadmitted(reader, wanted), "What nobody was seen to admit"),
        ),
    )  # fmt: skip


def _verdicts(rows: Iterable[Running]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for row in rows:
        counts[row.place.by or "not judged"] += row.number
    return counts


def _figures(rows: list[Running], verdicts: Counter[str]) -> tuple[Figure, ...]:
    governed = sum(verdicts[name] for name in ("valid", "violates", "unverifiable"))
    share = f"{100 * verdicts['valid'] / governed:.1f} %" if governed else "-"
    total = sum(row.number for row in rows)
    images = len({(row.place.repository, row.place.digest) for row in rows})
    return (
        Figure("running containers", f"{total:,}", f"of {images:,} images"),
        Figure("workloads", f"{len({row.place.workload for row in rows}):,}",
               f"in {len({(r.place.cluster, r.place.namespace) for r in rows}):,} namespaces of"
               f" {len({r.place.cluster for r in rows}):,} clusters"),
        Figure("verified", share, f"{verdicts['valid']:,} of {governed:,} that a policy is about", "good"),
        figure("violate a policy", verdicts["violates"], "exempted ones included", bad=True),
        figure("could not be told", verdicts["unverifiable"], "neither pass nor fail", unknown=True),
        figure("under no policy", verdicts["ungoverned"] + verdicts["not judged"], "nobody says what is right"),
    )  # fmt: skip


_COUNTED: Final = ("containers", "workloads", "valid", "violates", "unverifiable", "ungoverned")


def _places(
    rows: list[Running], caption: str, columns: tuple[str, ...], of: Callable[[Running], tuple[str, ...]]
) -> Table:
    groups: dict[tuple[str, ...], list[Running]] = {}
    for row in rows:
        groups.setdefault(of(row), []).append(row)
    listed = sorted(((key, _counts(found)) for key, found in groups.items()), key=lambda p: (-p[1][3], -p[1][0], p[0]))
    shown, more = cut([(*key, *counts) for key, counts in listed], PLACES, "row", "revet ask running -o csv")
    return Table(caption, (*columns, *_COUNTED), shown, more, "nothing runs")


def _counts(rows: list[Running]) -> tuple[int, ...]:
    verdicts = _verdicts(rows)
    told = (verdicts[name] for name in ("valid", "violates", "unverifiable"))
    others = verdicts["ungoverned"] + verdicts["not judged"]
    return (sum(row.number for row in rows), len({row.place.workload for row in rows}), *told, others)


def _worst(rows: list[Running]) -> Table:
    counts: Counter[tuple[str, ...]] = Counter()
    for place, number, team in rows:
        if place.by == "violates":
            cluster, image = place.cluster_name or place.cluster, shown_image(place.repository, place.digest)
            counts[cluster, place.namespace, team, place.workload.split("/", 2)[-1], image] += number
    listed = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    rows_, more = cut([(*key, found) for key, found in listed], PLACES, "row", "revet search verdict:violates")
    columns = ("cluster", "namespace", "team", "workload", "image", "containers")
    caption = "Workloads that run an image which violates a policy, most containers first"
    return Table(caption, columns, rows_, more, "nothing that runs violates a policy")


def _findings(reader: RecordReader) -> Table:
    by = tuple(map(full_name, ("severity", "finding", "rule.id")))
    found = reader.groups(HOMES["findings"], is_("state", "open"), by)
    listed = sorted(found, key=lambda g: (_RANK.get(g.values[0], 9), -g.count, g.values))
    rows, more = cut(
        [(*group.values, group.count) for group in listed], PLACES * 2, "row", "revet search --in findings"
    )
    columns = ("severity", "finding", "policy", "findings")
    return Table("Open findings, worst first: one per workload", columns, rows, more, "no finding is open")


_RANK: Final = {name: n for n, name in enumerate(("critical", "high", "medium", "low", "info"))}


_MAY_LACK: Final = one_of("verdict", ("unverifiable", "violates"))
"""Where one policy cannot be told, the worst verdict is one of these: the others need no closer look."""


def _unverified(reader: RecordReader, wanted: Wanted) -> Table:
    columns = ("since", "policy", "reasons", "why", "last_told", "last_verdict", "workload", "image",
               "containers")  # fmt: skip
    caption = "What a policy could not be told of, since when, and what was last known"
    return asked_table(
        reader, "unverified", wanted.asked(where=_MAY_LACK), caption, columns, empty="all of it could be told"
    )


def _unadmitted(reader: RecordReader, wanted: Wanted) -> tuple[Table, ...]:
    columns = ("started", "why", "workload", "pod", "container", "image")
    asked = wanted.asked(limit=PLACES)
    caption = "Running containers without an admission decision on record, newest first"
    return (asked_table(reader, "unadmitted", asked, caption, columns, empty="every one has its decision"),)
