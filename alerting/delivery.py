"""The delivery ledger: one parent message per (incident, destination), edited in place, sent at least once.

Chat services have no idempotency key, so "exactly once" is not on offer. The ledger writes what it is about to do
before it does it, and settles every ambiguous outcome by looking into the channel:

    PENDING ──► POSTING ──► POSTED ⇄ UPDATING          POSTED ──► CLOSED   (resolved, everything said)
       ▲           │ ambiguous, or a crash                │
       │           ▼                                      └─ parent deleted by hand: next epoch, PENDING
       └──── RECONCILING ── found ──► POSTED             any ──► DEAD      (refused for good; shown by `revet doctor`)

    ledger = Ledger.from_rows(rows)
    ledger.accept(notification)
    while (call := ledger.next_call(now, content)) is not None:
        save(ledger.dirty())                  # POSTING is durable before anything is sent
        ledger.settle(call, answer, now)      # `deliver` does these three

The queue holds ids, never rendered messages: what is late is rendered from the state of the moment it is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, Literal

import msgspec

from alerting.calls import (
    Answer,
    Call,
    Failed,
    Find,
    Found,
    Notifier,
    Pace,
    Post,
    Posted,
    SendReply,
    Step,
    StepKind,
    Update,
    ask,
)
from alerting.findings import SEVERITIES, severity_rank
from alerting.lifecycle import Notification, Reply
from alerting.render import Message
from alerting.routing import FALLBACK, team_of_destination
from alerting.schedule import Schedule, Urgency
from verifier.canonical import stable_id
from verifier.times import MINUTE, SECOND

__all__ = [
    "ANSWER_TIMEOUT",
    "FALLBACK",
    "REROUTE_AFTER",
    "SEND_DEADLINE",
    "Answer",
    "Attempt",
    "Call",
    "Content",
    "DeliveryRow",
    "Failed",
    "Find",
    "Found",
    "Ledger",
    "Notifier",
    "Post",
    "Posted",
    "ReplyRow",
    "SendReply",
    "Update",
    "deliver",
]

DeliveryState = Literal["pending", "posting", "posted", "updating", "reconciling", "closed", "dead"]

SEND_DEADLINE: Final = 30 * SECOND
"""A call may begin this long after its intent was written; a process that was paused longer must not send."""

ANSWER_TIMEOUT: Final = 10 * SECOND
"""Longest wait for an answer, so that nothing can still arrive later than deadline + timeout."""

BACKOFF: Final = (2 * SECOND, 5 * SECOND, 15 * SECOND, MINUTE, 5 * MINUTE)
"""Waits after the first, second … failure; the last one repeats for ever: an alert is never given up by itself."""

REROUTE_AFTER: Final = 2 * MINUTE
"""After failing for so long a message goes to `FALLBACK` as well; at once where it was refused for good."""

SEARCH_AGAIN: Final = 5 * MINUTE
"""A search that the service asked to postpone is repeated up to so long after the deadline."""

STOPPED_RETRY: Final = 5 * MINUTE
"""A service that lets nobody in is tried again after this time: somebody may have mended it."""

LOOK_BACK: Final = 5 * SECOND
"""A channel is searched from this long before the attempt began: clocks differ."""


class Attempt(msgspec.Struct, frozen=True):
    """One message on its way: a parent or a reply."""

    state: DeliveryState = "pending"
    failures: int = 0
    started: int = 0
    due: int = 0
    """Nothing is done about it before."""
    ts: str = ""
    """The service's name of the message, unique within its channel."""
    error: str = ""
    possible_duplicate: bool = False
    """It was sent again without a look into the channel; the message says so."""
    over: bool = False
    """The service answered the attempt: an empty search is certain, also before the deadline."""
    reroute_at: int = 0
    """From then on it is told at `FALLBACK` too; 0: nothing went wrong."""


class ReplyRow(msgspec.Struct, frozen=True):
    """A reply that is to be sent, or was."""

    reply: Reply
    attempt: Attempt = Attempt()


class DeliveryRow(msgspec.Struct, frozen=True):
    """One parent message: what is wanted, what was sent. The row of one (incident, destination, epoch)."""

    id: str
    incident: str
    destination: str
    episode: int
    """The book's: an incident that comes back after a day gets a new parent."""
    epoch: int
    """Counts the parents of the slice: a new episode, or a parent that somebody deleted."""
    desired: int
    """Revision that is wanted."""
    rank: int
    """Severity, 0 … 4: the worst goes first."""
    attempt: Attempt = Attempt()
    channel: str = ""
    sent: int = 0
    """Revision that was sent."""
    hash: str = ""
    """Of the content that stands there: an edit that would change nothing is never sent."""
    resolved: bool = False
    previous: str = ""
    """Parent of the epoch before."""
    replies: tuple[ReplyRow, ...] = ()
    duplicates: int = 0
    """Further parents that turned up when the channel was searched; the oldest is kept."""


Content = Callable[[str, str], Message | None]
"""(incident, destination) -> the message as it should read now; None when the incident is unknown."""


class Ledger:
    """All deliveries of one alerter. Pure: it says what to do next, and is told what came of it."""

    def __init__(self) -> None:
        self._rows: dict[str, DeliveryRow] = {}
        self._newest: dict[tuple[str, str], str] = {}
        self._schedule = Schedule()
        self._dirty: set[str] = set()
        self._failing: set[str] = set()

    def accept(self, intent: Notification) -> None:
        """Take an intent in. One that is older than what is known, or known already, changes nothing.

        What is open at `FALLBACK` follows: whoever was told there hears of the end too.
        """
        aside = self.newest(intent.incident, FALLBACK)
        if aside is not None and aside.attempt.state != "closed" and intent.destination != FALLBACK:
            self._accept(msgspec.structs.replace(intent, destination=FALLBACK, replies=()))
        self._accept(intent)

    def reroute(self, now: int) -> int:
        """Tell at `FALLBACK` what could not be told where it belongs; how many incidents that newly are."""
        made = 0
        for key in sorted(self._failing):
            row = self._rows[key]
            at = _reroute_at(row)
            if row.destination == FALLBACK or not at or at > now:
                continue
            aside = self.newest(row.incident, FALLBACK)
            if aside is not None and (aside.episode, aside.desired) >= (row.episode, row.desired):
                continue
            made += aside is None or aside.episode < row.episode
            self._accept(_aside(row, now))
        return made

    def _accept(self, intent: Notification) -> None:
        row = self.newest(intent.incident, intent.destination)
        if row is None or intent.episode > row.episode:
            return self._begin(intent, row)
        if intent.episode < row.episode:
            return None
        known = {held.reply.id for held in row.replies}
        added = tuple(ReplyRow(reply) for reply in intent.replies if reply.id not in known)
        newer = intent.revision >= row.desired
        wanted = _set(
            row,
            desired=max(row.desired, intent.revision),
            rank=severity_rank(intent.severity) if newer else row.rank,
            resolved=intent.resolved if newer else row.resolved,
            replies=row.replies + added,
        )
        if wanted != row:
            self._put(_reopened(wanted))
        return None

    def next_call(self, now: int, content: Content, pace: Pace | None = None) -> Call | None:
        """What to do next, worst first; None when nothing is due. The row already says that it is being done.

        What `pace` has no room for is put off, and changes nothing in its row.
        """
        while (key := self._schedule.pop(now)) is not None:
            call = self._call(self._rows[key], now, content, pace)
            if call is not None:
                return call
        return None

    def settle(self, call: Call, answer: Answer, now: int) -> None:
        """What came of a call.

        Raises:
            KeyError: the ledger never asked for it.
        """
        row = self._rows[call.delivery]
        reply = call.reply.id if isinstance(call, SendReply) else call.reply if isinstance(call, Find) else ""
        if reply:
            replies = (_settled_reply(held, answer, now) if held.reply.id == reply else held for held in row.replies)
            self._put(_set(row, replies=tuple(replies)))
        elif row.attempt.state not in ("posting", "updating", "reconciling"):
            self._late(row, answer)
        elif isinstance(answer, Failed) and answer.kind == "gone":
            self._lost(row)
        else:
            self._put(_settled_parent(row, call, answer, now))

    def _late(self, row: DeliveryRow, answer: Answer) -> None:
        """Nobody waits for the answer any more (a new episode began): where it stands is noted, for the link to it."""
        if isinstance(answer, Posted) and not row.attempt.ts:
            self._put(_set(row, channel=answer.channel, attempt=_set(row.attempt, ts=answer.ts)))

    def next_due(self) -> int | None:
        """When `next_call` has something to do; None when everything is said."""
        return self._schedule.next_due()

    def newest(self, incident: str, destination: str) -> DeliveryRow | None:
        """The parent of a slice that counts now."""
        found = self._newest.get((incident, destination))
        return self._rows[found] if found else None

    def rows(self) -> Iterator[DeliveryRow]:
        """Every row, parents of former epochs too."""
        return iter(self._rows.values())

    def to_rows(self) -> dict[str, bytes]:
        """Every row, encoded, by delivery id."""
        return {key: _encode(row) for key, row in self._rows.items()}

    @property
    def is_dirty(self) -> bool:
        """Did anything change since `saved`?"""
        return bool(self._dirty)

    def dirty(self) -> dict[str, bytes]:
        """Rows that changed since `saved`."""
        return {key: _encode(self._rows[key]) for key in self._dirty}

    def saved(self) -> None:
        """What `dirty` gave is stored."""
        self._dirty.clear()

    @classmethod
    def from_rows(cls, rows: Iterable[tuple[str, bytes]]) -> Ledger:
        """The ledger after a start: what was being sent is looked for before it is sent again; an edit is repeated.

        Raises:
            msgspec.DecodeError: a row is not what `to_rows` wrote.
        """
        ledger = cls()
        for _, value in rows:
            row = msgspec.json.decode(value, type=DeliveryRow)
            replies = tuple(_set(held, attempt=_after_start(held.attempt)) for held in row.replies)
            ledger._load(_set(row, attempt=_after_start(row.attempt), replies=replies))
        return ledger

    def _load(self, row: DeliveryRow) -> None:
        self._rows[row.id] = row
        slice_ = (row.incident, row.destination)
        other = self._newest.get(slice_)
        if other is None or self._rows[other].epoch <= row.epoch:
            self._newest[slice_] = row.id
        (self._failing.add if _reroute_at(row) else self._failing.discard)(row.id)
        attempt = _open_attempt(row)
        self._schedule.put(row.id, attempt.due if attempt else None, _urgency(row))

    def _put(self, row: DeliveryRow) -> None:
        if self._finished(row):
            row = _set(row, attempt=_set(row.attempt, state="closed"))
        self._load(row)
        self._dirty.add(row.id)

    def _finished(self, row: DeliveryRow) -> bool:
        """Resolved, the newest content stands there, and every reply is sent (or refused)."""
        said = all(held.attempt.state in ("posted", "dead") for held in row.replies)
        return row.resolved and row.attempt.state == "posted" and row.sent >= row.desired and said

    def _begin(self, intent: Notification, before: DeliveryRow | None) -> None:
        epoch = before.epoch + 1 if before else 1
        if before:
            self._put(_set(before, attempt=_set(before.attempt, state="closed")))
        self._put(
            DeliveryRow(
                id=stable_id("delivery", stable_id("slice", intent.incident, intent.destination), epoch),
                incident=intent.incident,
                destination=intent.destination,
                episode=intent.episode,
                epoch=epoch,
                desired=intent.revision,
                rank=severity_rank(intent.severity),
                resolved=intent.resolved,
                previous=before.attempt.ts if before else "",
                replies=tuple(ReplyRow(reply) for reply in intent.replies),
            )
        )

    def _lost(self, row: DeliveryRow) -> None:
        """Somebody deleted the parent: post anew, once, with a link to what it replaces."""
        self._put(_set(row, attempt=_set(row.attempt, state="closed", error="gone")))
        identity = stable_id("delivery", stable_id("slice", row.incident, row.destination), row.epoch + 1)
        waiting = tuple(held for held in row.replies if held.attempt.state not in ("posted", "dead"))
        fresh = _set(
            row,
            id=identity,
            epoch=row.epoch + 1,
            previous=row.attempt.ts,
            attempt=Attempt(),
            channel="",
            sent=0,
            hash="",
        )
        self._put(_set(fresh, replies=waiting))

    def _call(self, row: DeliveryRow, now: int, content: Content, pace: Pace | None) -> Call | None:
        """The next call of a row that is due; brings it into the state that says so."""
        if row.attempt.state == "posted" and row.sent >= row.desired:
            return self._reply_call(row, now, content, pace)
        attempt = _after_start(row.attempt)  # if it was under way, its answer never came
        if attempt.state == "reconciling":
            if self._waits(row, "find", now, pace):
                return None
            self._put(_set(row, attempt=_set(attempt, due=now + SEND_DEADLINE + ANSWER_TIMEOUT)))
            return _find(row, attempt, "", now)
        return self._send(_set(row, attempt=attempt), now, content, pace)

    def _waits(self, row: DeliveryRow, kind: StepKind, now: int, pace: Pace | None) -> bool:
        """Is there no room for it now? Then it is put off."""
        wait = pace.wait(Step(kind, row.id, row.destination, row.channel, row.rank, row.resolved), now) if pace else 0
        if wait > 0:
            self._schedule.put(row.id, now + wait, _urgency(row))
        return wait > 0

    def _send(self, row: DeliveryRow, now: int, content: Content, pace: Pace | None) -> Call | None:
        message = content(row.incident, row.destination)
        if message is None:
            self._put(_set(row, attempt=_set(row.attempt, state="dead", error="the incident is unknown")))
            return None
        if row.attempt.state != "pending" and message.content_hash == row.hash:
            self._put(_set(row, sent=row.desired))
            return self._reply_call(self._rows[row.id], now, content, pace)
        state: DeliveryState = "posting" if row.attempt.state == "pending" else "updating"
        if self._waits(row, "post" if state == "posting" else "edit", now, pace):
            return None
        due, deadline = now + SEND_DEADLINE + ANSWER_TIMEOUT, now + SEND_DEADLINE
        self._put(_set(row, attempt=_set(row.attempt, state=state, started=now, due=due, over=False)))
        said = (row.previous, row.attempt.possible_duplicate)
        if state == "posting":
            return Post(row.id, row.destination, message, deadline, *said)
        return Update(row.id, row.destination, message, deadline, row.channel, row.attempt.ts, *said)

    def _reply_call(self, row: DeliveryRow, now: int, content: Content, pace: Pace | None) -> Call | None:
        """The oldest reply that is not sent: replies keep their order."""
        held = next((held for held in row.replies if held.attempt.state not in ("posted", "dead")), None)
        if held is None or held.attempt.due > now:
            return None
        attempt, over = _after_start(held.attempt), now + SEND_DEADLINE + ANSWER_TIMEOUT
        if self._waits(row, "find" if attempt.state == "reconciling" else "reply", now, pace):
            return None
        if attempt.state == "reconciling":
            self._put(_with_reply(row, _set(held, attempt=_set(attempt, due=over))))
            return _find(row, attempt, held.reply.id, now)
        message = content(row.incident, row.destination)
        if message is None:
            self._put(
                _with_reply(row, _set(held, attempt=_set(attempt, state="dead", error="the incident is unknown")))
            )
            return None
        started = _set(attempt, state="posting", started=now, due=over, over=False)
        self._put(_with_reply(row, _set(held, attempt=started)))
        deadline = now + SEND_DEADLINE
        return SendReply(row.id, row.destination, message, deadline, row.channel, row.attempt.ts, held.reply)


def deliver(
    ledger: Ledger,
    notifier: Notifier,
    content: Content,
    save: Callable[[Mapping[str, bytes]], None],
    clock: Callable[[], int],
    *,
    limit: int = 1000,
    pace: Pace | None = None,
) -> int:
    """Do what is due, at most `limit` calls; gives their number.

    `save` must make the rows durable before it returns; it is called before every call and after its answer. The clock
    is read again right before a call: one that comes too late (a paused process) is not made.
    """
    for made in range(limit):
        call = ledger.next_call(clock(), content, pace)
        _save(ledger, save)
        if call is None:
            return made
        answer = ask(notifier, call) if clock() <= call.deadline else Failed("not-sent", "the deadline was over")
        ledger.settle(call, answer, clock())
        _save(ledger, save)
    return limit


def _with_reply(row: DeliveryRow, held: ReplyRow) -> DeliveryRow:
    replies = (held if other.reply.id == held.reply.id else other for other in row.replies)
    return _set(row, replies=tuple(replies))


def _urgency(row: DeliveryRow) -> Urgency:
    """The worst first; then parents that were never sent; then the whole before its slices."""
    return -row.rank, row.attempt.state != "pending", bool(team_of_destination(row.destination)), row.id


def _save(ledger: Ledger, save: Callable[[Mapping[str, bytes]], None]) -> None:
    if rows := ledger.dirty():
        save(rows)
        ledger.saved()


def _settled_parent(row: DeliveryRow, call: Call, answer: Answer, now: int) -> DeliveryRow:
    if isinstance(answer, Posted) and isinstance(call, Post | Update):
        sent = _set(row, sent=call.message.revision, hash=call.message.content_hash, channel=answer.channel)
        return _set(sent, attempt=_stands(row.attempt, answer.ts))
    if isinstance(answer, Found) and answer.posts:
        # What stands there may be older than what is wanted: no hash, so that the next step edits it.
        first = answer.posts[0]
        kept = _set(row, channel=first.channel, sent=0, hash="", duplicates=len(answer.posts) - 1)
        return _set(kept, attempt=_stands(row.attempt, first.ts))
    return _set(row, attempt=_unsettled(row.attempt, answer, now))


def _settled_reply(held: ReplyRow, answer: Answer, now: int) -> ReplyRow:
    if isinstance(answer, Posted):
        return _set(held, attempt=_stands(held.attempt, answer.ts))
    if isinstance(answer, Found) and answer.posts:
        return _set(held, attempt=_stands(held.attempt, answer.posts[0].ts))
    if isinstance(answer, Failed) and answer.kind == "gone":
        return _set(held, attempt=_set(held.attempt, state="dead", error="the parent is gone"))
    return _set(held, attempt=_unsettled(held.attempt, answer, now))


def _stands(attempt: Attempt, ts: str) -> Attempt:
    """It is there; what led to it no longer matters, so that a ledger after a crash equals one without."""
    return Attempt(state="posted", ts=ts, possible_duplicate=attempt.possible_duplicate)


def _unsettled(attempt: Attempt, answer: Answer, now: int) -> Attempt:
    """It is not there, or nobody knows: the state to go on from, and when."""
    if not isinstance(answer, Failed):
        return _searched(attempt, now, certain=isinstance(answer, Found) and answer.certain, detail="not found")
    if attempt.state == "reconciling":
        return _unsearched(attempt, answer, now)
    hopeless = answer.kind in ("refused", "stopped")
    reroute_at = now if hopeless else attempt.reroute_at or now + REROUTE_AFTER
    attempt = _set(attempt, error=answer.detail, reroute_at=reroute_at)
    if answer.kind == "refused":
        return _set(attempt, state="dead")
    if answer.kind == "ambiguous" and attempt.state == "posting":
        return _set(attempt, state="reconciling", due=now + answer.retry_after, over=answer.over)
    wait = max(BACKOFF[min(attempt.failures, len(BACKOFF) - 1)], answer.retry_after)
    if answer.kind == "stopped":
        wait = max(wait, STOPPED_RETRY)
    state: DeliveryState = "posted" if attempt.state == "updating" else "pending"
    return _set(attempt, state=state, failures=attempt.failures + 1, due=now + wait)


def _unsearched(attempt: Attempt, answer: Failed, now: int) -> Attempt:
    """The channel could not be searched. After the deadline fail open: a second message is better than none. Where the
    service asked to wait, it is searched again first.
    """
    end = attempt.started + SEND_DEADLINE + ANSWER_TIMEOUT + SEARCH_AGAIN
    if answer.retry_after and now + answer.retry_after < end:
        return _set(attempt, due=now + answer.retry_after, error=answer.detail)
    return _searched(_set(attempt, over=False), now, certain=False, detail=answer.detail, blind=True)


def _searched(attempt: Attempt, now: int, *, certain: bool, detail: str, blind: bool = False) -> Attempt:
    """Not found: send again when nothing can still arrive, else search once more then."""
    over = attempt.started + SEND_DEADLINE + ANSWER_TIMEOUT
    if not certain and not attempt.over and now < over:
        return _set(attempt, due=over, error=detail)
    flagged = attempt.possible_duplicate or blind
    return _set(attempt, state="pending", due=now, error=detail, possible_duplicate=flagged)


def _reroute_at(row: DeliveryRow) -> int:
    """When the first thing that does not get through is to be told elsewhere; 0: everything does."""
    if row.attempt.state == "closed":
        return 0
    waiting = (held.attempt.reroute_at for held in row.replies if held.attempt.state != "posted")
    return min((at for at in (row.attempt.reroute_at, *waiting) if at), default=0)


def _aside(row: DeliveryRow, now: int) -> Notification:
    return Notification(
        incident=row.incident,
        destination=FALLBACK,
        episode=row.episode,
        revision=row.desired,
        time=now,
        severity=SEVERITIES[row.rank],
        paging=True,
        resolved=row.resolved,
    )


def _after_start(attempt: Attempt) -> Attempt:
    """An edit can be repeated; a post that was under way must be looked for first. Who sent it may still be at it until
    the deadline is over, so an empty search counts only then (`Found.certain` says when a notifier knows better).
    """
    if attempt.state == "posting":
        return _set(attempt, state="reconciling", due=0)
    return _set(attempt, state="posted", due=0) if attempt.state == "updating" else attempt


def _reopened(row: DeliveryRow) -> DeliveryRow:
    """A closed parent that has something to say again; one that was refused gets another try."""
    if row.attempt.state not in ("closed", "dead"):
        return row
    state: DeliveryState = "posted" if row.attempt.ts else "pending"
    return _set(row, attempt=_set(row.attempt, state=state, due=0))


def _open_attempt(row: DeliveryRow) -> Attempt | None:
    """What still wants something done: the parent first; replies wait for it, and for each other."""
    attempt = row.attempt
    if attempt.state in ("closed", "dead"):
        return None
    if attempt.state != "posted" or row.sent < row.desired:
        return attempt
    return next((held.attempt for held in row.replies if held.attempt.state not in ("posted", "dead")), None)


def _find(row: DeliveryRow, attempt: Attempt, reply: str, now: int) -> Find:
    return Find(
        delivery=row.id,
        destination=row.destination,
        deadline=now + SEND_DEADLINE,
        since=attempt.started - LOOK_BACK,
        channel=row.channel,
        parent=row.attempt.ts if reply else "",
        reply=reply,
    )


_encode: Final = msgspec.json.Encoder().encode
_set: Final = msgspec.structs.replace
