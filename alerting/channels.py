"""Destination -> channel of the chat service. Names come from the settings or, among those, from namespaces. Pure.

    channels = Channels({"security": "C0SEC0001", "team/pay": "C0PAY0001", "shop-alerts": "C0SHOP001"}, "security")
    channels.learn(("prod-eu", "shop"), "shop", "shop-alerts")       a label of the namespace named it
    channels.of("team/shop")                                         "C0SHOP001"

A namespace may only choose among the names of the settings: whoever can label one cannot send alerts anywhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from alerting.routing import name_beside, team_destination, team_of_destination

RESERVED: Final = ("canary",)
"""Names that are for something else; no namespace can choose them, nor the channel of security."""

Place = tuple[str, str]
"""(cluster, namespace)"""


class Channels:
    """The table, and what namespaces chose."""

    def __init__(self, table: Mapping[str, str], security: str) -> None:
        """`table`: name -> channel id. A destination's own name, `security` or `team/<name>`, needs no namespace."""
        self._table = dict(table)
        self.security = security
        self._chosen: dict[str, dict[Place, str]] = {}
        self._team_of: dict[Place, str] = {}

    def learn(self, place: Place, team: str, name: str) -> None:
        """A namespace is a team's, and names a channel (empty: none)."""
        before = self._team_of.get(place)
        if before is not None:
            self._chosen[before].pop(place, None)
        self._team_of[place] = team
        chosen = self._chosen.setdefault(team, {})
        if name:
            chosen[place] = name

    def of(self, destination: str) -> str:
        """The channel's id; empty: it has none. Of several that a team's namespaces name, the first by name."""
        own = self._table.get(name_beside(destination) or destination, "")
        if own:
            return own
        names = sorted(self._chosen.get(team_of_destination(destination), {}).values())
        return next((self._table[name] for name in names if self._may_choose(name)), "")

    def why(self, destination: str) -> str:
        """Where the answer comes from, for people."""
        own = name_beside(destination) or destination
        if own in self._table:
            return f"slack.channels: {own}"
        chosen = sorted(self._chosen.get(team_of_destination(destination), {}).items(), key=lambda item: item[1])
        found = next(((place, name) for place, name in chosen if self._may_choose(name)), None)
        return f"label of namespace {found[0][0]}/{found[0][1]}: {found[1]}" if found else "no channel"

    def _may_choose(self, name: str) -> bool:
        return name in self._table and name not in (self.security, *RESERVED)

    def reaches(self, team: str) -> bool:
        """Has a team a channel of its own?"""
        return bool(self.of(team_destination(team)))

    @property
    def default(self) -> str:
        """The channel of what cannot be told where it belongs."""
        return self._table.get(self.security, "")

    def names(self) -> tuple[str, ...]:
        """Every name of the settings, in their order."""
        return tuple(self._table)

    def ids(self) -> tuple[str, ...]:
        """Every channel there is, each once."""
        return tuple(dict.fromkeys(self._table.values()))
