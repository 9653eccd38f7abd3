"""Slack as a place where people look.

    async with SlackNotifier(SlackOptions(token=…), channels) as slack:
        answer = await slack.answer(call)

What an error means stands in `alerting.slackwords`; what is unclear is answered as `ambiguous`, and the ledger then
looks for the message by the metadata that went along with it. A layout that the workspace refuses is followed by a
simpler one; a channel that takes nothing by the default channel, with a line that says for whom it was.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType, TracebackType
from typing import Any, Final, NamedTuple, Protocol, Self

from alerting.adapters.slackclient import Access, Body, Failure, SlackWeb
from alerting.blocks import Block, Laid, Layout, Links, Marks, lay_out, lay_out_reply
from alerting.calls import Answer, Call, Failed, Find, Found, Post, Posted, SendReply, StepKind, Update
from alerting.channels import Channels
from alerting.delivery import ANSWER_TIMEOUT
from alerting.findings import severity_rank
from alerting.slackwords import Meaning
from verifier.times import SECOND

API: Final = "https://slack.com/api/"
EVENT: Final = "revet_alert"
"""Type of the metadata that goes with every message."""
PAGE: Final = 200
MAX_PAGES: Final = 20
"""Pages of one search; beyond them the answer is that it could not be searched."""
_CHANNEL_START: Final = ("C", "G", "D")
_NAMESPACE: Final = uuid.UUID("6f1c2f0e-6a2f-5b7e-9d53-7c1a54c1f0aa")
_READ: Final = ("conversations.history", "conversations.replies")


class SlackOptions(NamedTuple):
    """What the adapter is made of."""

    token: str
    base_url: str = API
    proxy: str = ""
    links: Links = Links()
    mentions: tuple[str, ...] = ()
    """Who is called when a critical incident opens, gets worse or comes back: ids from the settings."""
    groups: Mapping[str, str] = MappingProxyType({})
    """Destination -> the user group of its owners, called there in the place of `mentions`."""
    pressable: bool = False
    """Somebody hears buttons (`alerting.adapters.slacksocket`)."""
    timeout: float = ANSWER_TIMEOUT / SECOND
    """Seconds one call may take; no longer than the ledger believes."""

    def __repr__(self) -> str:
        """Without the token."""
        return f"SlackOptions(base_url={self.base_url!r})"


class Observer(Protocol):
    """Who is told what happened; counts and logs."""

    def called(self, method: str, outcome: str) -> None:
        """One HTTP call and what came of it: `ok` or an error's name."""

    def limited(self, kind: StepKind, channel: str, retry_after: int) -> None:
        """The service said: too often."""

    def degraded(self, step: str) -> None:
        """Something simpler was sent: `block`, `plain`, `text`, or `channel` for another channel."""


class Unobserved:
    """Tells nobody."""

    def called(self, method: str, outcome: str) -> None:
        """See `Observer`."""

    def limited(self, kind: StepKind, channel: str, retry_after: int) -> None:
        """See `Observer`."""

    def degraded(self, step: str) -> None:
        """See `Observer`."""


class SlackNotifier:
    """Implements `alerting.calls.AsyncNotifier` on one workspace."""

    def __init__(
        self, options: SlackOptions, channels: Channels, clock: Callable[[], int], observer: Observer | None = None
    ) -> None:
        """`clock`: microseconds UTC; looked at right before every call, so that nothing goes out after its deadline."""
        self._options = options
        self._channels = channels
        self._clock = clock
        self._observer: Observer = observer or Unobserved()
        self._web = SlackWeb(options.token, options.base_url, options.proxy, options.timeout, self._observer.called)
        self._richest = Layout.RICH
        self._bot_id: str | None = None

    def __repr__(self) -> str:
        """Without the token."""
        return f"SlackNotifier({self._options!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Let go of the connections."""
        await self._web.close()

    # ------------------------------------------------------------------ the port

    async def answer(self, call: Call) -> Answer:
        """See `AsyncNotifier.answer`."""
        if self._clock() > call.deadline:
            return Failed("not-sent", "the deadline was over")
        if isinstance(call, Post):
            return await self._post(call)
        if isinstance(call, Update):
            return await self._update(call)
        if isinstance(call, SendReply):
            return await self._reply(call)
        return await self._find(call)

    async def _post(self, call: Post) -> Posted | Failed:
        own, default = self._channels.of(call.destination), self._channels.default
        answer: Posted | Failed = Failed("refused", "no channel")
        for channel in dict.fromkeys(name for name in (own, default) if name):
            marks = Marks(
                possible_duplicate=call.possible_duplicate,
                previous=call.previous,
                meant_for="" if channel == own else call.destination,
                mentions=self._mentions(call) if call.message.severity == "critical" else (),
                pressable=self._options.pressable,
            )
            if channel != own:
                self._observer.degraded("channel")
            given = {
                "channel": channel,
                "metadata": _metadata(call.delivery, "", call.message.revision),
                "client_msg_id": str(uuid.uuid5(_NAMESPACE, f"{call.delivery}/{channel}")),
                "unfurl_links": False,
                "unfurl_media": False,
                "mrkdwn": False,
            }
            found = await self._ladder("chat.postMessage", call, given, partial(self._laid, call, marks))
            if not isinstance(found, Failure):
                return found
            answer = _answered(found)
            if found.meaning is not Meaning.DESTINATION:
                break
        return answer

    async def _update(self, call: Update) -> Posted | Failed:
        if not call.channel.startswith(_CHANNEL_START):
            return Failed("gone", "it stands elsewhere")
        own = self._channels.of(call.destination)
        marks = Marks(
            possible_duplicate=call.possible_duplicate,
            previous=call.previous,
            meant_for="" if call.channel == own else call.destination,
            pressable=self._options.pressable,
        )
        given = {
            "channel": call.channel,
            "ts": call.ts,
            "metadata": _metadata(call.delivery, "", call.message.revision),
        }
        found = await self._ladder("chat.update", call, given, partial(self._laid, call, marks))
        if not isinstance(found, Failure):
            return found
        if found.meaning is Meaning.DESTINATION:  # the channel was archived, or we were thrown out of it
            return Failed("gone", found.code)
        return _answered(found)

    async def _reply(self, call: SendReply) -> Posted | Failed:
        if not call.channel.startswith(_CHANNEL_START):
            return Failed("gone", "its parent stands elsewhere")
        loud = call.reply.broadcast or severity_rank(call.reply.severity) >= severity_rank("critical")
        calls_people = loud and call.reply.purpose in ("reopened", "severity-raised", "reminder")
        mentions = self._mentions(call) if calls_people else ()
        given = {
            "channel": call.channel,
            "thread_ts": call.parent,
            "reply_broadcast": call.reply.broadcast,
            "metadata": _metadata(call.delivery, call.reply.id, call.message.revision),
            "client_msg_id": str(uuid.uuid5(_NAMESPACE, f"{call.delivery}/{call.channel}/{call.reply.id}")),
            "unfurl_links": False,
            "unfurl_media": False,
            "mrkdwn": False,
        }
        found = await self._ladder(
            "chat.postMessage", call, given, lambda way: lay_out_reply(call.reply, call.message, way, mentions)
        )
        if not isinstance(found, Failure):
            return found
        if found.meaning is Meaning.DESTINATION:
            return Failed("gone", found.code)
        return _answered(found)

    async def _find(self, call: Find) -> Found | Failed:
        """Look through what was posted since the attempt began."""
        own = call.channel or self._channels.of(call.destination)
        channels = [own] if call.reply else list(dict.fromkeys((own, self._channels.default)))
        posts: list[Posted] = []
        searched = False
        for channel in channels:
            if not channel.startswith(_CHANNEL_START):
                continue
            found = await self._search(channel, call)
            if isinstance(found, Failure):
                if found.meaning is Meaning.DESTINATION:
                    continue  # what takes no message of ours holds none
                return Failed("unavailable", found.code, found.retry_after)
            searched = True
            posts += found
        if not searched:
            return Found((), certain=True)
        return Found(tuple(sorted(posts, key=lambda post: _number(post.ts))), certain=False)

    # ------------------------------------------------------------------ sending

    def _mentions(self, call: Post | SendReply) -> tuple[str, ...]:
        """Who is called there, when somebody is."""
        group = self._options.groups.get(call.destination)
        return (group,) if group else self._options.mentions

    def _laid(self, call: Post | Update, marks: Marks, layout: Layout) -> Laid:
        return lay_out(call.message, layout, self._options.links, marks)

    async def _ladder(
        self, method: str, call: Post | Update | SendReply, given: dict[str, Any], make: Callable[[Layout], Laid]
    ) -> Posted | Failure:
        """Send; where the content is refused, something simpler, down to text alone."""
        failure, richest = Failure(None, "nothing was tried"), self._richest
        for layout in (way for way in Layout if way >= richest):
            if layout > richest:
                self._observer.degraded("text" if layout is Layout.TEXT else "plain")
            laid = make(layout)
            found = await self._send(method, call, given, laid)
            if isinstance(found, Failure) and found.meaning is Meaning.CONTENT:
                found = await self._without(method, call, given, laid, found)
            if not isinstance(found, Failure):
                return found
            failure = found
            if failure.meaning is not Meaning.CONTENT:
                break
        return failure

    async def _without(
        self, method: str, call: Post | Update | SendReply, given: dict[str, Any], laid: Laid, refused: Failure
    ) -> Posted | Failure:
        """Once more without the block the service names."""
        index = refused.block
        if index is None or index >= len(laid.blocks) or len(laid.blocks) < 2:
            return refused
        if laid.blocks[index]["type"] == "table":
            self._richest = Layout.PLAIN  # this workspace has no tables: do not try again each time
            return refused
        self._observer.degraded("block")
        rest: list[Block] = [*laid.blocks[:index], *laid.blocks[index + 1 :]]
        return await self._send(method, call, given, Laid(laid.text, rest))

    async def _send(
        self, method: str, call: Post | Update | SendReply, given: dict[str, Any], laid: Laid
    ) -> Posted | Failure:
        if self._clock() > call.deadline:
            return Failure(None, "the deadline was over")
        shown: dict[str, Any] = {"text": laid.text, "parse": "none", "link_names": False}
        # An edit to text alone has to say that there are no blocks, or the old ones stay.
        shown["blocks"] = laid.blocks or ([] if method == "chat.update" else None)
        kind: StepKind = "edit" if isinstance(call, Update) else "reply" if isinstance(call, SendReply) else "post"
        found = await self._ask(method, {**given, **shown}, kind, given["channel"])
        if isinstance(found, Failure):
            return found
        channel, ts = found.get("channel"), found.get("ts")
        if not isinstance(channel, str) or not isinstance(ts, str):
            return Failure(Meaning.AMBIGUOUS, "unreadable answer")
        return Posted(channel, ts)

    # ------------------------------------------------------------------ searching

    async def _search(self, channel: str, call: Find) -> list[Posted] | Failure:
        method = "conversations.replies" if call.reply else "conversations.history"
        given: dict[str, Any] = {
            "channel": channel,
            "oldest": f"{max(0, call.since) / SECOND:.6f}",
            "inclusive": True,
            "limit": PAGE,
            "include_all_metadata": True,
        }
        if call.reply:
            given["ts"] = call.parent
        bot = await self._bot()
        posts: list[Posted] = []
        for _ in range(MAX_PAGES):
            found = await self._ask(method, given, "find", channel)
            if isinstance(found, Failure):
                if found.meaning is Meaning.GONE and call.reply:
                    return []  # no thread, no reply
                return found
            posts += _ours(found, channel, call, bot)
            cursor = (found.get("response_metadata") or {}).get("next_cursor")
            if not found.get("has_more") or not cursor:
                return posts
            given["cursor"] = cursor
        return Failure(Meaning.AMBIGUOUS, "too many messages")

    async def _bot(self) -> str:
        """Our own id, so that nobody else's message counts as ours; empty: it could not be asked."""
        if self._bot_id is None:
            found = await self._ask("auth.test", {}, "find", "")
            if isinstance(found, Failure):
                return ""
            self._bot_id = str(found.get("bot_id") or "")
        return self._bot_id

    async def access(self) -> Access:
        """Who the token is, and what it may. Raises nothing."""
        return await self._web.access()

    # ------------------------------------------------------------------ one HTTP call

    async def _ask(self, method: str, given: Body, kind: StepKind, channel: str) -> Body | Failure:
        """Call a method, and say so when it is called too often."""
        found = await self._web.ask(method, given, get=method in _READ)
        if isinstance(found, Failure) and found.meaning is Meaning.RATE:
            self._observer.limited(kind, channel, found.retry_after)
        return found


def _metadata(delivery: str, reply: str, revision: int) -> dict[str, Any]:
    """Ids alone: everybody in the workspace can read it."""
    payload = {"v": 1, "delivery_id": delivery, "reply": reply, "revision": revision}
    return {"event_type": EVENT, "event_payload": payload}


def _ours(found: Body, channel: str, call: Find, bot: str) -> list[Posted]:
    posts: list[Posted] = []
    messages = found.get("messages")
    for message in messages if isinstance(messages, list) else ():
        metadata = message.get("metadata") if isinstance(message, dict) else None
        if not isinstance(metadata, dict) or metadata.get("event_type") != EVENT:
            continue
        payload = metadata.get("event_payload")
        told = (payload.get("delivery_id"), payload.get("reply", "")) if isinstance(payload, dict) else None
        if told != (call.delivery, call.reply) or (bot and message.get("bot_id") not in (None, bot)):
            continue
        posts.append(Posted(channel, str(message.get("ts"))))
    return posts


def _answered(failure: Failure) -> Failed:
    """In the words of the ledger."""
    if failure.meaning is None:
        return Failed("not-sent", failure.code)
    if failure.meaning is Meaning.RATE:
        return Failed("ambiguous", failure.code, failure.retry_after, over=True)
    kinds: dict[Meaning, Failed] = {
        Meaning.AUTH: Failed("stopped", failure.code),
        Meaning.DESTINATION: Failed("refused", failure.code),
        Meaning.CONTENT: Failed("refused", failure.code),
        Meaning.GONE: Failed("gone", failure.code),
    }
    return kinds.get(failure.meaning, Failed("ambiguous", failure.code, failure.retry_after))


def _number(ts: str) -> tuple[int, str]:
    """Order of two `ts`: by their value, not as text."""
    whole, _, part = ts.partition(".")
    return (int(whole) if whole.isascii() and whole.isdigit() else 0), part
