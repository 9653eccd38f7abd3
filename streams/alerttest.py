"""Does a destination really get its messages? One message is sent there, looked for, edited and replied to.

    steps = await try_out(notifier, "team/payments", now)
    [step.ok for step in steps]

What may be missing shows here and not in the night: a scope, an invitation to the channel, a block the workspace lacks.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from alerting.calls import Answer, AsyncNotifier, Failed, Find, Found, Post, Posted, SendReply, Update
from alerting.delivery import LOOK_BACK, SEND_DEADLINE
from alerting.lifecycle import Reply
from alerting.models import IncidentState
from alerting.render import COLUMNS, Fact, Message, Table
from alerting.text import Untrusted, safe
from verifier.canonical import stable_id

ADVICE: Final = {
    "channel_not_found": "the ID is wrong, or the channel is private and the app is not in it: /invite it there",
    "not_in_channel": "invite the app to the channel: /invite @revet",
    "is_archived": "the channel is archived: choose another in slack.channels",
    "invalid_auth": "the token is none: slack.token_file",
    "token_revoked": "the token was revoked: install the app again, and renew slack.token_file",
    "account_inactive": "the app was removed from the workspace: install it again",
    "missing_scope": "a scope is missing: chat:write to post, channels:history and groups:history to look for messages",
    "ratelimited": "too often: try again in a minute",
    "no channel": "slack.channels names none for it",
    "ClientConnectorError": "nobody answers at slack.api: network, proxy or certificate",
    "not found": "it was posted and cannot be found: is channels:history or groups:history granted?",
}
"""Detail of a failure -> what mends it."""


BUTTON_ADVICE: Final = {
    "invalid_auth": "the app-level token is none: slack.app_token_file (it begins with xapp-)",
    "not_allowed_token_type": "that is another kind of token: make an app-level one (it begins with xapp-)",
    "missing_scope": "the app-level token lacks the scope connections:write",
    "token_revoked": "the app-level token was revoked: make another, and renew slack.app_token_file",
    "ClientConnectorError": "nobody answers at slack.api: network, proxy or certificate",
}
"""The same, for buttons."""


class Tried(NamedTuple):
    """One step of a trial."""

    step: str
    ok: bool
    detail: str
    advice: str = ""


async def try_out(notifier: AsyncNotifier, destination: str, now: int) -> list[Tried]:
    """Post, find, edit, reply; ends with the first step that fails and that others need."""
    delivery = stable_id("delivery", stable_id("slice", "alert-test", destination), now)
    until = now + SEND_DEADLINE
    posted = await notifier.answer(Post(delivery, destination, _message(destination, now, "open"), until))
    steps = [_tried("post", posted)]
    if not isinstance(posted, Posted):
        return steps
    found = await notifier.answer(Find(delivery, destination, until, now - LOOK_BACK, posted.channel))
    if isinstance(found, Found) and not found.posts:
        found = Failed("unavailable", "not found")
    steps.append(_tried("find", found))
    reply = Reply("test", "resolved", now, "info", 0)
    message = _message(destination, now, "resolved")
    steps.append(
        _tried(
            "reply",
            await notifier.answer(SendReply(delivery, destination, message, until, posted.channel, posted.ts, reply)),
        )
    )
    edited = await notifier.answer(Update(delivery, destination, message, until, posted.channel, posted.ts))
    steps.append(_tried("edit", edited))
    return steps


def _tried(step: str, answer: Answer) -> Tried:
    if isinstance(answer, Failed):
        return Tried(step, False, answer.detail, ADVICE.get(answer.detail, ""))
    where = answer.posts[0] if isinstance(answer, Found) else answer
    return Tried(step, True, f"channel {where.channel}, message {where.ts}")


def _message(destination: str, now: int, state: IncidentState) -> Message:
    said = f"TEST: a message for {safe(destination, 60)}; nothing happened [INC-000000]"
    return Message(
        incident=stable_id("incident", "alert-test", [destination]),
        short_id="INC-000000",
        kind="test",
        revision=1 if state == "open" else 2,
        severity="info",
        state=state,
        as_of=now,
        headline=("" if state == "open" else "RESOLVED ") + said,
        what=Untrusted("`revet alert test` was run"),
        facts=(Fact("whose", safe(destination, 60)),),
        table=Table(COLUMNS, ((Untrusted("none"),) * len(COLUMNS),), 0),
        benign="Always: it is a test.",
        todo="Nothing. If it stands in the wrong channel, change slack.channels.",
        commands=("revet alert routes --explain",),
        unknown=(),
        link="docs/slack.md",
        opened=now,
    )
