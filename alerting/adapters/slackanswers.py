"""What follows a press: forms that open, words that one person sees; and whose workspace it is.

answers = SlackAnswers(web)
await answers.team()               our workspace; empty: nobody could say
await answers.follow(reaction)     after the acknowledgement
"""

from __future__ import annotations

from alerting.adapters.slackclient import Failure, SlackWeb
from alerting.presses import OpenForm, Reaction


class SlackAnswers:
    """Speaks with the bot token."""

    def __init__(self, web: SlackWeb) -> None:
        self._web = web
        self._team = ""

    async def team(self) -> str:
        """Id of the workspace that the token is of; asked until it is known."""
        if not self._team:
            found = await self._web.ask("auth.test", {})
            self._team = "" if isinstance(found, Failure) else str(found.get("team_id") or "")
        return self._team

    async def follow(self, reaction: Reaction) -> None:
        """Open the form, or say the word; a form that does not open any more is followed by a word."""
        then = reaction.then
        if isinstance(then, OpenForm):
            found = await self._web.ask("views.open", {"trigger_id": then.trigger, "view": then.view})
            then = then.too_late if isinstance(found, Failure) else None
        if then is not None and then.channel:
            given = {"channel": then.channel, "user": then.user, "text": then.text, "parse": "none"}
            await self._web.ask("chat.postEphemeral", given)  # counted; a word that is not said changes nothing
