"""Sums over incident parts. Every sum is a function of the newest part per (shard, cluster, namespace), so the order in
which shards report does not matter, and a part that comes twice changes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

import msgspec

from alerting.models import IncidentPart, Member
from alerting.routing import OTHERS

MAX_EXAMPLES: Final = 10
MAX_NAMESPACES: Final = 10
MAX_TEAMS: Final = 100
"""Teams listed in an incident's row; the rest is summed, so that the row does not grow with the fleet."""

Teams = tuple[tuple[str, int, int], ...]
Owners = Callable[[str, str], str]
"""(cluster, namespace) -> team."""


class PartKey(NamedTuple):
    """What a part replaces: the older one of the same shard, cluster and namespace."""

    shard: int
    cluster: str
    namespace: str


class PartState(msgspec.Struct, frozen=True, gc=False):
    """The newest part of one key, and what has to be remembered of the older ones."""

    part: IncidentPart
    peak: int
    """Largest container count of this key since the incident opened."""
    zero_since: int | None
    """When this key began to have nothing left; None while it has something."""


class Totals(NamedTuple):
    """What is left of an incident (or of one team's slice of it), now."""

    containers: int
    workloads: int
    namespaces: int
    clusters: int
    peak: int
    """Sum of the keys' largest counts: at most so many at one time, whatever the order of reports."""
    teams: Teams
    examples: tuple[Member, ...]
    namespace_table: tuple[tuple[str, str, int, int], ...]
    closed: tuple[tuple[str, int], ...]
    message: str
    policy: str
    """Empty when parts of several policies meet in one incident."""
    epoch: int
    """Newest trust epoch any of the parts was counted under."""


def key_of(part: IncidentPart) -> PartKey:
    """The key whose newest part this one may become."""
    return PartKey(part.shard, part.cluster, part.namespace)


def is_live(part: IncidentPart) -> bool:
    """Whether anything is left in it."""
    return part.containers > 0 or part.workloads > 0


def succeed(older: PartState | None, part: IncidentPart) -> PartState | None:
    """State after `part`; None when it is not newer than what is known."""
    if older is not None and part.sequence <= older.part.sequence:
        return None
    zero_since = None
    if not is_live(part):
        zero_since = part.time if older is None or older.zero_since is None else older.zero_since
    return PartState(part, max(part.containers, older.peak if older else 0), zero_since)


def totals(states: Iterable[PartState], owners: Owners) -> Totals:
    """Sum the newest parts."""
    listed = tuple(states)
    parts = [state.part for state in listed]
    live = [part for part in parts if is_live(part)]
    spaces = _by_namespace(live)
    return Totals(
        containers=sum(part.containers for part in live),
        workloads=sum(part.workloads for part in live),
        namespaces=len(spaces),
        clusters=len({cluster for cluster, _ in spaces}),
        peak=sum(state.peak for state in listed),
        teams=_teams(spaces, owners),
        examples=_examples(live),
        namespace_table=_largest(spaces),
        closed=_closed(parts),
        message=_message(live or parts),
        policy=_only({part.policy for part in live or parts}),
        epoch=max((part.epoch for part in parts), default=0),
    )


_Spaces = dict[tuple[str, str], tuple[int, int]]


def _by_namespace(live: list[IncidentPart]) -> _Spaces:
    spaces: _Spaces = {}
    for part in live:
        containers, workloads = spaces.get((part.cluster, part.namespace), (0, 0))
        spaces[part.cluster, part.namespace] = (containers + part.containers, workloads + part.workloads)
    return spaces


def _teams(spaces: _Spaces, owners: Owners) -> Teams:
    containers: Counter[str] = Counter()
    workloads: Counter[str] = Counter()
    for (cluster, namespace), (held, owned) in spaces.items():
        team = owners(cluster, namespace)
        containers[team] += held
        workloads[team] += owned
    listed = sorted(
        ((team, containers[team], workloads[team]) for team in containers), key=lambda row: (-row[1], -row[2], row[0])
    )
    rest = listed[MAX_TEAMS:]
    if rest:
        listed[MAX_TEAMS:] = [(OTHERS, sum(row[1] for row in rest), sum(row[2] for row in rest))]
    return tuple(listed)


def _largest(spaces: _Spaces) -> tuple[tuple[str, str, int, int], ...]:
    rows = sorted((-held, -owned, cluster, space) for (cluster, space), (held, owned) in spaces.items())
    return tuple((cluster, space, -held, -owned) for held, owned, cluster, space in rows[:MAX_NAMESPACES])


def _examples(live: list[IncidentPart]) -> tuple[Member, ...]:
    members = (member for part in live for member in part.examples)
    return tuple(sorted(members, key=_member_order)[:MAX_EXAMPLES])


def _member_order(member: Member) -> tuple[int, tuple[str, ...], int]:
    """Largest first; then by everything else a member has, so that the choice never depends on the order of reports."""
    names = (member.cluster, member.namespace, member.owner, member.container, member.digest, member.image)
    return -member.count, names, member.since


def _closed(parts: list[IncidentPart]) -> tuple[tuple[str, int], ...]:
    counts: Counter[str] = Counter()
    for part in parts:
        for why, count in part.closed:
            counts[why] += count
    return tuple(sorted(counts.items()))


def _message(parts: list[IncidentPart]) -> str:
    """The text of the largest part that has one; the choice does not depend on the order of reports."""
    told = [part for part in parts if part.message]
    return min(told, key=lambda part: (-part.containers, key_of(part))).message if told else ""


def _only(values: set[str]) -> str:
    return next(iter(values)) if len(values) == 1 else ""
