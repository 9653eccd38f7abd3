"""Whose is it, and who is told: from namespace metadata and a table, never from pods.

A pod's author could otherwise reroute the alert about their own pod. Order: (1) a label of the namespace from a
list of keys; (2) the owner table (globs over cluster, namespace, and the application that a delivery tool's label
names); (3) nobody, which is shown as a defect and goes to security.

    team_of("prod-eu", "payments", {"team": "pay"}, Routes())  ->  Ownership(team="pay", source="label:team")
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

from alerting.findings import severity_rank
from alerting.models import Severity

UNOWNED: Final = "unowned"
FALLBACK: Final = "fallback"
"""Destination of what could not be told where it belongs; the whole incident, once, whoever was to be told."""
OTHERS: Final = "(others)"
"""Teams beyond `MAX_TEAMS` in one row; no team can have this name."""

_TEAM: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._@-]{0,61}[A-Za-z0-9])?")
"""Grammar of a team name: that of a label value, and `@`. Anything else is not a team."""


class OwnerRule(BaseModel):
    """One row of the owner table; `*` and `?` are wildcards. The first row that matches wins."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cluster: str = "*"
    namespace: str = "*"
    application: str = "*"
    """The application that a label of Argo CD, Flux or Helm names (`Routes.application_keys`)."""
    team: str = Field(pattern=f"^{_TEAM.pattern}$")

    @model_validator(mode="after")
    def _says_something(self) -> OwnerRule:
        if self.namespace == self.application == "*":
            raise ValueError("a row names a namespace or an application; one for everything would own everything")
        return self

    def matches(self, cluster: str, namespace: str, application: str) -> bool:
        """Is it about this namespace?"""
        of_application = self.application == "*" or bool(application and _glob(self.application).fullmatch(application))
        return of_application and all(
            _glob(pattern).fullmatch(name) for pattern, name in ((self.cluster, cluster), (self.namespace, namespace))
        )


class RouteRule(BaseModel):
    """Who else is told, of what happens in some clusters; every rule that matches counts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cluster: str = "*"
    """Id or name of the cluster; `*` and `?` are wildcards."""
    labels: dict[str, str] = {}
    """Labels of the cluster, all of them; values may have wildcards."""
    severity: Severity = "high"
    """From this severity on."""
    to: str = Field(pattern=r"^[A-Za-z0-9](?:[A-Za-z0-9._@-]{0,61}[A-Za-z0-9])?$")
    """Name of a channel of the settings."""

    def matches(self, severity: Severity, cluster: ClusterNames) -> bool:
        """Is it about this?"""
        return (
            severity_rank(severity) >= severity_rank(self.severity)
            and any(_glob(self.cluster).fullmatch(name) for name in (cluster.id, cluster.name))
            and all(_glob(value).fullmatch(cluster.labels.get(key, "")) for key, value in self.labels.items())
        )


class ClusterNames(NamedTuple):
    """What rules may ask of a cluster."""

    id: str
    name: str
    labels: Mapping[str, str]


class Routes(BaseModel):
    """Settings of routing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label_keys: tuple[str, ...] = ("team", "owner")
    """Namespace labels that name the team, in order. Application names (`app.kubernetes.io/part-of`) are not teams; who
    uses them so adds the key."""
    application_keys: tuple[str, ...] = (
        "argocd.argoproj.io/instance",
        "kustomize.toolkit.fluxcd.io/name",
        "helm.toolkit.fluxcd.io/name",
    )
    """Namespace labels that name the application of a delivery tool, in order; the owner table says whose it is."""
    channel_keys: tuple[str, ...] = ("slack-channel",)
    """Namespace labels that name the team's channel, among those the settings have."""
    owners: tuple[OwnerRule, ...] = ()
    security: str = "security"
    """Destination of every critical and high incident, and of what nobody owns."""
    team_slices: bool = True
    """False: everything goes to `security` alone; for one terminal, which needs no second copy per team."""
    also: tuple[RouteRule, ...] = ()
    """Who else gets the whole incident."""
    checkpoints: str = ""
    """Name of a channel of the settings that gets the ledger's checkpoint once a day; empty: none does."""
    reminders: bool = False
    """Say again what is critical or high and nobody acknowledges; off for a terminal, which may scroll by unseen."""
    escalates: bool = False
    """The second reminder of what is critical goes to the fallback too."""
    storm_after: int = Field(default=0, ge=0)
    """New messages of one minute and destination, beyond which incidents are gathered in a digest
    (`alerting.storm`); 0: never, for a terminal."""
    max_teams: int = Field(default=50, ge=1)
    """Team messages per incident; beyond it the parent at `security` carries the table."""


class Ownership(NamedTuple):
    """A team, and the rule that named it (`label:team`, `table:3`, `default`)."""

    team: str
    source: str
    channel: str = ""
    """Name of a channel that the namespace chose; it counts when the settings have it."""


def team_of(cluster: str, namespace: str, labels: Mapping[str, str], routes: Routes) -> Ownership:
    """The team of a namespace. A label whose value is no team name counts as missing."""
    channel = next((labels[key] for key in routes.channel_keys if _TEAM.fullmatch(labels.get(key, ""))), "")
    for key in routes.label_keys:
        if _TEAM.fullmatch(labels.get(key, "")):
            return Ownership(labels[key], f"label:{key}", channel)
    application = next((labels[key] for key in routes.application_keys if labels.get(key)), "")
    for index, rule in enumerate(routes.owners):
        if rule.matches(cluster, namespace, application):
            return Ownership(rule.team, f"table:{index}", channel)
    return Ownership(UNOWNED, "default", channel)


def destinations(
    severity: Severity, teams: tuple[str, ...], routes: Routes, reaches: Callable[[str], bool] | None = None
) -> tuple[str, ...]:
    """Destinations of an incident: `security` for critical and high, for what nobody owns or whose team cannot be
    reached, and when there are more teams than `max_teams`; one slice per team, largest first as given.

    `reaches`: whether a team has a place of its own; None: every team has.
    """
    if not routes.team_slices:
        return (routes.security,)
    owned = [team for team in teams if team not in (UNOWNED, OTHERS) and (reaches is None or reaches(team))]
    parent = (
        severity_rank(severity) >= severity_rank("high") or len(owned) < len(teams) or len(owned) > routes.max_teams
    )
    slices = [team_destination(team) for team in owned[: routes.max_teams]]
    return ((routes.security,) if parent or not slices else ()) + tuple(slices)


def beside(severity: Severity, clusters: Iterable[ClusterNames], routes: Routes) -> tuple[str, ...]:
    """Further destinations of the whole incident, by the clusters it is in; in the order of the rules."""
    known = list(clusters)
    wanted = (rule.to for rule in routes.also if any(rule.matches(severity, cluster) for cluster in known))
    return tuple(dict.fromkeys(map(channel_destination, wanted)))


def channel_destination(name: str) -> str:
    """The destination that a channel of the settings is, whoever is told there."""
    return f"also/{name}"


def name_beside(destination: str) -> str:
    """The channel's name of such a destination; empty: it is none."""
    prefix, _, name = destination.partition("/")
    return name if prefix == "also" else ""


def team_destination(team: str) -> str:
    """`team/<name>`; the prefix keeps a team called `security` away from the security channel."""
    return f"team/{team}"


def team_of_destination(destination: str) -> str:
    """The team a destination is the slice of; empty for the whole incident."""
    prefix, slash, team = destination.partition("/")
    return team if slash and prefix == "team" else ""


@lru_cache(maxsize=1024)
def _glob(pattern: str) -> re.Pattern[str]:
    return re.compile(
        "".join({"*": ".*", "?": "."}.get(character, re.escape(character)) for character in pattern), re.DOTALL
    )
