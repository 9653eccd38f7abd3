"""Buttons pressed in messages become the acts that `revet incident` does: who may, what it is, durable before "done".

    presser = Pressing(people, take, clock, told)
    reaction = await presser.pressed(payload, team)         see `alerting.adapters.slacksocket.Listener`

Only people whom the settings name may press, and only in our own workspace. Their Slack ID goes into the record with
the name. A press carries its own time and person, so that one that comes twice is one act.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from alerting.models import ActionKind, IncidentAction
from alerting.presses import OpenForm, Press, Presser, PressError, Proposed, Reaction, Whisper, form, read
from verifier.canonical import stable_id
from verifier.times import MINUTE

DURABLE_SECONDS: Final = 2.2
"""What is not durable by then is not acknowledged: the service waits for three seconds."""
CLOCKS_DIFFER: Final = 5 * MINUTE
"""The service's own time of a press counts within this; beyond it, ours."""

Take = Callable[[IncidentAction], Awaitable[None]]
"""Makes an act durable. Raises PlaceError."""
Told = Callable[[str, str], None]
"""Hears of each press: what it was, and what came of it."""


class Pressing:
    """Implements `alerting.adapters.slacksocket.Listener`."""

    def __init__(self, people: Mapping[str, str], take: Take, clock: Callable[[], int], told: Told) -> None:
        """`people`: Slack user ID -> name, of everybody who may press. `clock`: microseconds UTC."""
        self._people = dict(people)
        self._take, self._clock, self._told = take, clock, told

    async def pressed(self, payload: Mapping[str, Any], team: str) -> Reaction:  # Any: JSON of the service
        """See `Listener.pressed`."""
        try:
            asked = read(payload)
        except PressError:
            self._told("unreadable", "refused")
            return Reaction()
        if asked is None:
            self._told("link", "passed")
            return Reaction()
        what = asked.kind if isinstance(asked, Press) else "propose"
        name = self._name_of(asked.who, team)
        if not name:
            self._told(what, "refused")
            return Reaction(then=_whisper(asked, REFUSED))
        if isinstance(asked, Press) and asked.kind == "ask":
            self._told(what, "done")
            return Reaction(then=OpenForm(asked.trigger, form(asked), _whisper(asked, TOO_LATE)))
        if isinstance(asked, Proposed) and asked.errors:
            self._told(what, "refused")
            return Reaction(payload={"response_action": "errors", "errors": dict(asked.errors)})
        done = await self._done(_action(asked, name, self._clock()))
        self._told(what, "done" if done else "not-durable")
        return Reaction() if done else _not_durable(asked)

    def _name_of(self, who: Presser, team: str) -> str:
        """How whoever pressed stands in the record; empty: they may not."""
        name = self._people.get(who.user, "")
        if not name or not team or who.team != team:
            return ""
        return f"{name} (slack:{who.user})"

    async def _done(self, action: IncidentAction) -> bool:
        try:
            async with asyncio.timeout(DURABLE_SECONDS):
                await self._take(action)
        except Exception:  # noqa: BLE001  # whoever pressed has to hear of it, whatever it was: it is not written down
            return False
        return True


REFUSED: Final = "You may not do that here: slack.people of revet's settings names who may."
TOO_LATE: Final = "The form could not be opened any more: press again, or use revet incident propose."
NOT_KEPT: Final = "That could not be written down just now, and was not done. Press again, or use revet incident."


def _action(asked: Press | Proposed, by: str, now: int) -> IncidentAction:
    """The act, with an id that the same press always has."""
    if isinstance(asked, Press):
        kind: ActionKind = "ack"
        at = asked.at if abs(asked.at - now) <= CLOCKS_DIFFER else now
        identity = stable_id("incident-action", asked.incident, kind, by, asked.at, "slack")
        return IncidentAction(identity, at, asked.incident, kind, by)
    identity = stable_id("incident-action", asked.incident, "propose", by, 0, asked.view)
    return IncidentAction(identity, now, asked.incident, "propose", by, asked.why, asked.days, asked.ticket)


def _not_durable(asked: Press | Proposed) -> Reaction:
    if isinstance(asked, Press):
        return Reaction(acknowledge=False, then=_whisper(asked, NOT_KEPT))
    return Reaction(payload={"response_action": "errors", "errors": {"why": NOT_KEPT}})


def _whisper(asked: Press | Proposed, text: str) -> Whisper:
    return Whisper(asked.channel, asked.who.user, text)
