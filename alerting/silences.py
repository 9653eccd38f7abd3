"""Silences: for a time, about a scope, nobody is told. Pure; time is an argument.

    silences = Silences(dirty)
    changed = silences.act(action, now)          began, ended or refused; None: it was done before, or there is none
    changed = silences.expire(now)               those whose end has come
    cover = silences.cover(incident, parts, team_of)
    cover.hushes("pay")                          all that team has in it is silenced; "" asks about the whole

A silence withholds messages and replies. It never stops recording, judging, edits of what stands in a channel, or the
word that something was acknowledged or is over. What it is about is matched part by part, so an incident of which
something is not silenced is told.

What is critical by its nature, and what says that revet itself is blind, is only silenced by name: by its code or by
its incident. A silence of a namespace must not hide that a revoked key runs there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

import msgspec

from alerting.findings import FINDINGS
from alerting.held import SILENCE, row_key
from alerting.models import IncidentPart, Silence, SilenceAction, SilenceScope
from alerting.said import Silenced, short_id
from verifier.times import DAY, HOUR

DEFAULT_LENGTH: Final = HOUR
MAX_LENGTH: Final = 7 * DAY
"""Who says that they add one is not proven, so nobody can approve a longer one for another: that is an exemption."""
MAX_IN_FORCE: Final = 200
MAX_VALUES: Final = 50
"""Values of one list of a scope."""
MAX_TEXT: Final = 2000
"""Characters of a reason."""
KEEP_ENDED: Final = 90 * DAY
"""One that is over is forgotten after this time; its record stays."""

NAMED_ONLY: Final = frozenset(
    code
    for code, row in FINDINGS.items()
    if row.proof_of_compromise or row.severity == "critical" or row.subject in ("component", "audit-feed")
)
"""Codes that only a silence covers which names them, or the incident."""

_NAME: Final = re.compile(r"[!-)+-~]{1,253}")
"""Printable ASCII without space and `*`."""


class Cover(NamedTuple):
    """What silences have to say about one incident."""

    ids: tuple[str, ...] = ()
    """Those that cover some of it."""
    containers: int = 0
    workloads: int = 0
    """How much of it they cover."""
    teams: frozenset[str] = frozenset()
    """Who has something in it."""
    loud: frozenset[str] = frozenset()
    """Who has something in it that is not covered."""

    def hushes(self, team: str) -> bool:
        """Is all of it covered that a team has in it? Empty: all of it."""
        return self.concerns(team) and not (team in self.loud if team else self.loud)

    def concerns(self, team: str) -> bool:
        """Has a team anything in it? Empty: anybody."""
        return team in self.teams if team else bool(self.teams)


NO_COVER: Final = Cover()


class Silences:
    """All silences of one alerter. Not thread-safe: the incident book drives it."""

    def __init__(self, dirty: set[str]) -> None:
        """`dirty`: takes the keys of rows that changed."""
        self.names_of: Callable[[str], tuple[str, ...]] = lambda cluster: (cluster,)
        """What a cluster is called: its id, and its name where it has one."""
        self._all: dict[str, Silence] = {}
        self._in_force: dict[str, Silence] = {}
        self._dirty = dirty

    def __iter__(self) -> Iterator[Silence]:
        return iter(self._all.values())

    def act(self, action: SilenceAction, now: int) -> Silence | None:
        """Do what a person asked for, once. What cannot be is said as a silence that is `refused`."""
        known = self._all.get(action.silence)
        if action.action == "end":
            if known is None or known.state != "in-force":
                return None
            return self._put(_over(known, "ended", now, action.by, action.text))
        if known is not None:
            return None
        asked = Silence(action.silence, action.scope, action.by, action.text, action.time, action.ends, time=now)
        why = refusal(action) or ("" if len(self._in_force) < MAX_IN_FORCE else f"{MAX_IN_FORCE} are in force already")
        if not why and action.ends <= now:
            why = "its end has come already"
        return msgspec.structs.replace(asked, state="refused", note=why) if why else self._put(asked)

    def expire(self, now: int) -> list[Silence]:
        """End those whose end has come, and forget those that are over for long."""
        for old in [s for s in self._all.values() if s.state != "in-force" and s.time + KEEP_ENDED <= now]:
            del self._all[old.id]
            self._dirty.add(row_key(SILENCE, old.id))
        due = sorted(s.id for s in self._in_force.values() if s.ends <= now)
        return [self._put(_over(self._in_force[name], "expired", now)) for name in due]

    def next_due(self) -> int | None:
        """When `expire` has something to do."""
        times = (s.ends if s.state == "in-force" else s.time + KEEP_ENDED for s in self._all.values())
        return min(times, default=None)

    def cover(self, incident: str, parts: Iterable[IncidentPart], team_of: Callable[[str, str], str]) -> Cover:
        """Which of these parts, of one incident, are covered; only parts that have something left are asked about."""
        names, ids = (incident, short_id(incident)), dict[str, None]()
        teams, loud, containers, workloads = set[str](), set[str](), 0, 0
        for part in parts:
            team = team_of(part.cluster, part.namespace)
            teams.add(team)
            found = [s.id for s in self._in_force.values() if self._covers(s.scope, names, part, team)]
            if not found:
                loud.add(team)
                continue
            ids.update(dict.fromkeys(found))
            containers, workloads = containers + part.containers, workloads + part.workloads
        return Cover(tuple(sorted(ids)), containers, workloads, frozenset(teams), frozenset(loud))

    def shown(self, cover: Cover) -> Silenced:
        """The same, for the row of the incident."""
        told = ((s.id, s.by, s.why, s.ends) for s in map(self._all.__getitem__, cover.ids))
        return Silenced(tuple(told), (cover.containers, cover.workloads))

    def withheld(self, cover: Cover, number: int) -> None:
        """So many messages were not sent."""
        for name in cover.ids if number else ():
            known = self._all[name]
            self._put(msgspec.structs.replace(known, withheld=known.withheld + number))

    def load(self, silence: Silence) -> None:
        """One that was stored."""
        self._all[silence.id] = silence
        if silence.state == "in-force":
            self._in_force[silence.id] = silence
        else:
            self._in_force.pop(silence.id, None)

    def get(self, silence: str) -> Silence | None:
        """By its id."""
        return self._all.get(silence)

    @property
    def in_force(self) -> bool:
        """Is there any?"""
        return bool(self._in_force)

    def _put(self, silence: Silence) -> Silence:
        self.load(silence)
        self._dirty.add(row_key(SILENCE, silence.id))
        return silence

    def _covers(self, scope: SilenceScope, incident: tuple[str, str], part: IncidentPart, team: str) -> bool:
        if part.kind in NAMED_ONLY and not (scope.incidents or part.kind in scope.codes):
            return False
        asked = (
            (scope.incidents, incident),
            (scope.codes, (part.kind,)),
            (scope.clusters, self.names_of(part.cluster) if scope.clusters else ()),
            (scope.namespaces, (part.namespace,)),
            (scope.teams, (team,)),
            (scope.policies, (part.policy,)),
        )
        return all(not wanted or _fits(wanted, names) for wanted, names in asked)


def refusal(action: SilenceAction) -> str:
    """Why a silence cannot be; empty when it can."""
    length = action.ends - action.time
    if not action.text.strip():
        return "it needs a reason"
    if len(action.text) > MAX_TEXT:
        return f"its reason has {len(action.text)} characters; at most {MAX_TEXT}"
    if length <= 0:
        return "it would be over before it begins"
    if length > MAX_LENGTH:
        return f"it would last longer than {MAX_LENGTH // DAY} days; what is accepted for longer is an exemption"
    return _scope_refusal(action.scope)


def scope_text(scope: SilenceScope) -> str:
    """`namespaces legacy*; teams pay`: for people, values as they were given."""
    given = ((name, getattr(scope, name)) for name in SilenceScope.__struct_fields__)
    return "; ".join(f"{name} {', '.join(values)}" for name, values in given if values)


def _scope_refusal(scope: SilenceScope) -> str:
    lists = {name: getattr(scope, name) for name in SilenceScope.__struct_fields__}
    if not any(lists.values()):
        return "it would silence everything; name an incident, finding, cluster, namespace, team or policy"
    for name, values in lists.items():
        if len(values) > MAX_VALUES:
            return f"it lists {len(values)} {name}; at most {MAX_VALUES}"
        for value in values:
            why = _value_refusal(name, value)
            if why:
                return why
    return ""


def _value_refusal(name: str, value: str) -> str:
    if value == "*":
        return f"`*` alone would be all {name}; leave them out, and name something else"
    if name in ("incidents", "codes"):
        if not _NAME.fullmatch(value):
            return f"{value[:60]!a} is none of the {name}; those are given in full"
        return f"no finding is called {value[:60]!a}" if name == "codes" and value not in FINDINGS else ""
    fine = _NAME.fullmatch(value.removesuffix("*"))
    return "" if fine else f"{value[:60]!a} is no name, and no beginning of one that ends in `*`"


def _fits(wanted: tuple[str, ...], names: tuple[str, ...]) -> bool:
    """Is any of the names wanted? One that ends in `*` is the beginning of a name."""
    return any(
        name.startswith(text[:-1]) if text.endswith("*") else name == text for text in wanted for name in names if name
    )


def _over(silence: Silence, state: str, now: int, by: str = "", note: str = "") -> Silence:
    return msgspec.structs.replace(
        silence, state=state, time=now, ended_by=by, note=note, sequence=silence.sequence + 1
    )
