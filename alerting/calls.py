"""The words between the delivery ledger and a place where people look: what to do there, and what came of it.

answer = await notifier.answer(call)         Post, Update, SendReply or Find -> Posted, Found or Failed
"""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec

from alerting.lifecycle import Reply
from alerting.render import Message


class Posted(msgspec.Struct, frozen=True):
    """The message stands in the channel."""

    channel: str
    ts: str


class Found(msgspec.Struct, frozen=True):
    """What a search of the channel gave, oldest first; empty: it is not there."""

    posts: tuple[Posted, ...]
    certain: bool = True
    """False: messages of the attempt may still turn up until its deadline is over."""


FailureKind = Literal["not-sent", "ambiguous", "gone", "refused", "unavailable", "stopped"]


class Failed(msgspec.Struct, frozen=True):
    """No message, or nobody knows.

    not-sent: certainly not there, try again; ambiguous: it may be there, search; gone: the parent was deleted; refused:
    for good; unavailable: the channel cannot be searched; stopped: nobody is let in (a token that counts no more), try
    again now and then, and tell it elsewhere at once.
    """

    kind: FailureKind
    detail: str = ""
    retry_after: int = 0
    """Microseconds the service asked to wait."""
    over: bool = False
    """The service itself has answered: what is not there now will not turn up later."""


Answer = Posted | Found | Failed


class Post(msgspec.Struct, frozen=True):
    """Send a new parent. `delivery` goes along as metadata, so that `find` can recognise it."""

    delivery: str
    destination: str
    message: Message
    deadline: int
    previous: str = ""
    possible_duplicate: bool = False


class Update(msgspec.Struct, frozen=True):
    """Edit the parent in place. What was said beside it once is said again: an edit replaces everything."""

    delivery: str
    destination: str
    message: Message
    deadline: int
    channel: str
    ts: str
    previous: str = ""
    possible_duplicate: bool = False


class SendReply(msgspec.Struct, frozen=True):
    """Send a reply below the parent."""

    delivery: str
    destination: str
    message: Message
    deadline: int
    channel: str
    parent: str
    reply: Reply


class Find(msgspec.Struct, frozen=True):
    """Search the channel for a parent (`reply` empty) or a reply of a delivery."""

    delivery: str
    destination: str
    deadline: int
    since: int
    channel: str = ""
    parent: str = ""
    reply: str = ""


Call = Post | Update | SendReply | Find


StepKind = Literal["post", "edit", "reply", "find"]


class Step(msgspec.Struct, frozen=True):
    """What the ledger is about to do, before it is rendered: enough to say whether there is room for it now."""

    kind: StepKind
    delivery: str
    destination: str
    channel: str
    """Where the parent stands; empty before the first post."""
    rank: int
    """Severity, 0 … 4."""
    resolved: bool = False


class Pace(Protocol):
    """Whose turn it is. What has to wait is rendered when it goes, so that waiting edits become one."""

    def wait(self, step: Step, now: int) -> int:
        """Microseconds until the step may be made. 0: now, and it is counted as made."""
        ...


class AsyncNotifier(Protocol):
    """Port to a place that is reached over a network. Answers instead of raising."""

    async def answer(self, call: Call) -> Answer:
        """Do what a call says."""
        ...


class Notifier(Protocol):
    """Port to a place where people look. Answers instead of raising; whatever it cannot classify is `ambiguous`."""

    def post(self, call: Post) -> Posted | Failed:
        """Send a new message."""
        ...

    def update(self, call: Update) -> Posted | Failed:
        """Edit a message."""
        ...

    def reply(self, call: SendReply) -> Posted | Failed:
        """Send a reply."""
        ...

    def find(self, call: Find) -> Found | Failed:
        """Search for a message that may have been sent."""
        ...


def ask(notifier: Notifier, call: Call) -> Answer:
    """Hand a call over to the method of its kind."""
    if isinstance(call, Post):
        return notifier.post(call)
    if isinstance(call, Update):
        return notifier.update(call)
    if isinstance(call, SendReply):
        return notifier.reply(call)
    return notifier.find(call)
