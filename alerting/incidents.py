"""The incident book: absolute parts in, incident rows, transitions and intents to tell out. Pure; time is an argument.

    book = IncidentBook(routes)
    out = book.apply(part, now)            # also: reached, act, own
    out = book.tick(now)                   # when book.next_due() has come
    store(book.dirty()); book.saved()      # after the outputs are acknowledged

What it keeps to:

1. The newest part of a (shard, cluster, namespace) replaces the older one; a duplicate or a late one changes nothing.
2. A trust event opens nothing. The first part with a count does; told at once when it is critical and has a cause.
3. `resolved` needs nothing left, every shard at or after the cause's epoch, and the hold; never a mere silence. Where
   shards send signs of life (`stale_after`), one that was not heard for longer is as unknown as one that never was.
4. An incident keeps its id for ever. Reopened within a day it keeps its message too.
5. Severity only rises while it is open; a rise voids the acknowledgement.
6. All timing is stored due-times, so a restart neither repeats nor skips anything.

7. Where reminders are wanted, what is critical or high and acknowledged by nobody is said again (`alerting.reminders`).
8. What is silenced is recorded as ever and told nobody (`alerting.silences`). What ends while something is left is told
   once; that it is acknowledged or over is told all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, Literal

import msgspec

from alerting.findings import severity_rank, worse_kind
from alerting.held import (
    HEAD,
    OWNER,
    PART,
    REACHED,
    SILENCE,
    Head,
    Held,
    encode,
    head_key,
    part_key,
    read_key,
    row_key,
    rows_of,
)
from alerting.lifecycle import Output, Reply, ReplyPurpose, Slice, Transition
from alerting.models import (
    Incident,
    IncidentAction,
    IncidentContext,
    IncidentPart,
    Proposal,
    Severity,
    ShardReached,
    Silence,
    SilenceAction,
)
from alerting.reminders import begin, fire, restart, stop, take
from alerting.routing import FALLBACK, UNOWNED, Routes, destinations, team_of_destination
from alerting.said import NOBODY, Who, intent_of, lifecycle_of, pages, reply_of, row_of, short_id, slice_made, who
from alerting.schedule import Agenda
from alerting.sight import Reach, Sight, unseen_of
from alerting.silences import NO_COVER, Cover, Silences
from alerting.tally import PartKey, PartState, Totals, is_live, key_of, succeed, totals
from alerting.timing import ROW_DELAY, SAME_THREAD, earlier, edit_interval, first_post_delay, has_come

__all__ = ["MAX_ACTED", "MAX_NOTES", "IncidentBook", "short_id"]

MAX_NOTES: Final = 100
MAX_ACTED: Final = 100
"""Newest notes and action ids kept per incident."""
MAX_PROPOSALS: Final = 3

_TOLD_ALL_THE_SAME: Final = frozenset({"acknowledged", "resolved", "closed", "refused", "exemption-proposed"})
"""Replies that pass through a silence: good news, and answers to a person."""


class IncidentBook:
    """All incidents of one alerter. Not thread-safe: one owner drives it."""

    def __init__(
        self,
        routes: Routes | None = None,
        stale_after: int | None = None,
        reaches: Callable[[str], bool] | None = None,
    ) -> None:
        """`stale_after`: microseconds of silence after which a shard is unknown; None: shards send no signs of life.
        `reaches`: see `alerting.routing.destinations`.
        """
        self._routes = routes or Routes()
        self._reaches = reaches
        self.beside: Callable[[Severity, set[str]], tuple[str, ...]] = lambda _severity, _clusters: ()
        """Who else is told of something in these clusters."""
        self._sight = Sight(stale_after)
        self._held: dict[str, Held] = {}
        self._owners: dict[tuple[str, str], str] = {}
        self._reach = Reach()
        self._unseen: dict[str, int] = {}
        self._agenda = Agenda()
        self._dirty: set[str] = set()
        self.silences = Silences(self._dirty)

    # What comes in.

    def apply(self, part: IncidentPart, now: int) -> list[Output]:
        """Take a part in."""
        held = self._held.get(part.incident)
        if held is None:
            held = Held(Head(id=part.incident, kind=part.kind, subject=part.subject, cause=part.cause))
        key = key_of(part)
        state = succeed(held.parts.get(key), part)
        if state is None:
            return []
        self._held[part.incident] = held
        held.put(key, state)
        self._dirty.add(part_key(part.incident, key))
        outputs = self._absorb(held, part, now)
        self._keep(held)
        return outputs

    def reached(self, reached: ShardReached, now: int) -> list[Output]:
        """A shard has judged everything under an epoch; totals may become final. Puts nothing out by itself."""
        if self._reach.take(reached):
            self._dirty.add(row_key(REACHED, str(reached.shard)))
            self._refinish(now)
        return []

    def heard(self, shard: int, now: int) -> None:
        """A shard gave a sign of life."""
        self._sight.heard(shard, now)
        self._look(now)

    def unseen(self, clusters: Mapping[str, int], now: int) -> None:
        """Which clusters are out of sight, and when they were heard of last: what is left there is unknown."""
        turned = self._unseen.keys() ^ clusters.keys()
        self._unseen = dict(clusters)
        for held in self._held.values():
            if held.head.active and any(cluster in turned for cluster, _ in held.spaces):
                self._changed(held, now)
                self._keep(held)

    def _look(self, now: int) -> None:
        """Who is out of sight may have changed."""
        lost = self._sight.lost
        if self._sight.changed(self._reach.shards(), now):
            self._refinish(now)
            for held in self._held.values():
                if lost != self._sight.lost and not held.own:
                    self._changed(held, now)
                self._schedule(held)

    def _refinish(self, now: int) -> None:
        for held in self._held.values():
            if held.head.active and held.head.final != self._is_final(held):
                held.head.final = not held.head.final
                self._changed(held, now)
                self._keep(held)

    def act(self, action: IncidentAction) -> list[Output]:
        """Do what a person asked for, once per action id. An unknown incident is not acted on."""
        held = self._held.get(action.incident)
        if held is None or held.head.state == "waiting" or action.id in held.head.acted:
            return []
        held.head.acted = (*held.head.acted, action.id)[-MAX_ACTED:]
        doing = {"ack": self._acknowledge, "note": self._note, "close": self._close, "propose": self._propose}
        outputs = doing[action.action](held, action)
        self._keep(held)
        return outputs

    def learn(self, found: IncidentContext, now: int) -> None:
        """What the record adds; the message says so with its next edit."""
        held = self._held.get(found.incident)
        if held is not None and held.head.active:
            held.head.deployed_by, held.head.good_image = found.deployed_by, found.good_image
            self._changed(held, now)
            self._keep(held)

    def silence(self, action: SilenceAction, now: int) -> list[Output]:
        """Begin or end a silence, once."""
        changed = self.silences.act(action, now)
        return [] if changed is None else [changed, *self._silence_changed(changed, now)]

    def own(self, cluster: str, namespace: str, team: str, now: int) -> None:
        """The team of a namespace, from `alerting.routing.team_of`; `unowned` when nobody is known."""
        if self._team(cluster, namespace) == team:
            return
        self._owners[cluster, namespace] = team
        self._dirty.add(row_key(OWNER, cluster, namespace))
        for held in self._held.values():
            if held.head.active and (cluster, namespace) in held.spaces:
                self._changed(held, now)
                self._keep(held)

    def tick(self, now: int) -> list[Output]:
        """Do everything that is due at `now`; overdue things are done once, late."""
        self._look(now)
        outputs: list[Output] = []
        for over in self.silences.expire(now):
            outputs += [over, *self._silence_changed(over, now)]
        while (incident := self._agenda.pop(now)) is not None:
            outputs += self._do_due(self._held[incident], now)
        return outputs

    def next_due(self) -> int | None:
        """When `tick` has something to do; None when nothing is scheduled."""
        sight = self._sight.next_due(self._reach.shards()) if self._held else None
        times = (self._agenda.next_due(), sight, self.silences.next_due())
        return min((time for time in times if time is not None), default=None)

    # What can be read.

    def incident(self, incident: str) -> Incident | None:
        """The newest row that was put out; None for an incident nobody was to hear of yet."""
        held = self._held.get(incident)
        return held.head.shown if held else None

    def incidents(self) -> Iterator[Incident]:
        """The newest row of every incident."""
        return (held.head.shown for held in self._held.values() if held.head.shown is not None)

    def slice_of(self, incident: str, destination: str) -> Slice | None:
        """What a destination gets to see now; None for an incident that is unknown."""
        held = self._held.get(incident)
        if held is None or held.head.shown is None:
            return None
        team = team_of_destination(destination)
        return slice_made(held.head.shown, destination, team, totals(self._states(held, team), self._team))

    # State in a store.

    def to_rows(self) -> dict[str, bytes]:
        """Every row."""
        rows = {key: value for held in self._held.values() for key, value in rows_of(held)}
        rows |= {row_key(OWNER, *key): encode(team) for key, team in self._owners.items()}
        rows |= {row_key(SILENCE, silence.id): encode(silence) for silence in self.silences}
        return rows | {row_key(REACHED, str(shard)): encode(reached) for shard, reached in self._reach.newest.items()}

    def dirty(self) -> dict[str, bytes | None]:
        """Rows that changed since `saved`; None: the row is gone."""
        return {key: self._row_value(key) for key in self._dirty}

    def saved(self) -> None:
        """What `dirty` gave is stored."""
        self._dirty.clear()

    @classmethod
    def from_rows(
        cls,
        rows: Iterable[tuple[str, bytes]],
        routes: Routes | None = None,
        stale_after: int | None = None,
        reaches: Callable[[str], bool] | None = None,
    ) -> IncidentBook:
        """The book as it was; puts nothing out by itself. Who was in sight is not kept: each shard has to speak again.

        Raises:
            msgspec.DecodeError: a row is not what `to_rows` wrote.
        """
        book = cls(routes, stale_after, reaches)
        parts: list[tuple[str, PartKey, PartState]] = []
        for text, value in rows:
            kind, *key = read_key(text)
            if kind == HEAD:
                book._held[key[0]] = Held(msgspec.json.decode(value, type=Head))
            elif kind == PART:
                parts.append((key[0], PartKey(int(key[1]), key[2], key[3]), msgspec.json.decode(value, type=PartState)))
            elif kind == OWNER:
                book._owners[key[0], key[1]] = msgspec.json.decode(value, type=str)
            elif kind == REACHED:
                book._reach.newest[int(key[0])] = msgspec.json.decode(value, type=ShardReached)
            elif kind == SILENCE:
                book.silences.load(msgspec.json.decode(value, type=Silence))
        for incident, part, state in parts:
            book._held[incident].put(part, state)
        for held in book._held.values():
            book._schedule(held)
        return book

    # Parts.

    def _absorb(self, held: Held, part: IncidentPart, now: int) -> list[Output]:
        """Let a part that is newer into the head. All that is kept is a maximum or a minimum: order does not matter."""
        head = held.head
        if part.cause.epoch > head.cause.epoch:
            head.cause = part.cause
        head.final = self._is_final(held)
        if not is_live(part):
            return self._changed(held, now)
        if head.state == "waiting":
            head.severity, head.kind, head.opened = part.severity, part.kind, part.opened
            return self._open(held, "opened", now)
        if head.state == "resolved":
            worse = severity_rank(part.severity) > severity_rank(head.severity)
            return self._reopen(held, part, now) if worse or held.exceeds_floor() else self._changed(held, now)
        head.kind = worse_kind(head.kind, part.kind)
        head.opened = min(head.opened, part.opened)
        if severity_rank(part.severity) > severity_rank(head.severity):
            return self._raise(held, part, now)
        return self._changed(held, now)

    def _open(self, held: Held, transition: Transition, now: int) -> list[Output]:
        held.head.state = "open"
        self._schedule_post(held, now)
        return self._show(held, now, transition)

    def _reopen(self, held: Held, part: IncidentPart, now: int) -> list[Output]:
        head = held.head
        same_thread = head.resolved is not None and now - head.resolved <= SAME_THREAD
        head.severity, head.kind, head.proposals = part.severity, part.kind, ()
        head.resolved, head.floor, head.acknowledged_by, head.void_before = None, (0, 0), "", now
        head.reopened += 1
        if not same_thread:
            head.episode, head.opened, head.told = head.episode + 1, part.opened, ()
            held.forget_peaks()
            self._dirty.update(part_key(head.id, key) for key in held.parts)
        restart(head, now, wanted=self._routes.reminders)
        if not head.posted:
            return self._open(held, "reopened", now)
        head.state = "open"
        return self._show(held, now, "reopened") + self._notify(held, now, "reopened")

    def _raise(self, held: Held, part: IncidentPart, now: int) -> list[Output]:
        head = held.head
        head.severity = part.severity
        if head.state == "acknowledged":
            head.state, head.acknowledged_by, head.void_before = "open", "", now
        outputs = self._show(held, now, "severity-raised")
        if head.posted:
            restart(head, now, wanted=self._routes.reminders)
            return outputs + self._notify(held, now, "severity-raised")
        self._schedule_post(held, now)
        return outputs

    def _changed(self, held: Held, now: int) -> list[Output]:
        """Counts changed, nothing else: gather before the row is written and the message edited."""
        head = held.head
        if head.state == "waiting":
            return []
        held.lower_floor()
        head.row_due = earlier(head.row_due, now + ROW_DELAY)
        if head.posted:
            interval = edit_interval(head.severity, now - head.opened)
            head.edit_due = earlier(head.edit_due, max(now, head.notified_at + interval))
        elif head.active and held.live:
            self._schedule_post(held, now)
        return []

    def _schedule_post(self, held: Held, now: int) -> None:
        """First post: with the next tick, or when its delay is over. A worse severity brings it forward.

        Even without a delay it waits for the tick of the same instant, so that what one trust event turns in one go is
        told with whole numbers.
        """
        head = held.head
        delay = first_post_delay(head.severity, caused=head.cause.kind != "none", paging=pages(head))
        if head.hushed:  # each change asks again whether it may be told
            delay = max(delay, ROW_DELAY)
        head.post_due = earlier(head.post_due, now + delay)

    # People.

    def _acknowledge(self, held: Held, action: IncidentAction) -> list[Output]:
        head = held.head
        if head.state == "resolved":
            return self._refuse(held, action)
        if head.state == "acknowledged" or action.time < head.void_before:
            return []
        head.state, head.acknowledged_by = "acknowledged", action.by
        take(head, action.time, wanted=self._routes.reminders)
        self._add_note(held, action)
        return self._told(held, action, "acknowledged")

    def _propose(self, held: Held, action: IncidentAction) -> list[Output]:
        """It is said to be no problem: kept and told. Nothing is accepted by that."""
        if held.head.state == "resolved":
            return self._refuse(held, action)
        proposal = Proposal(action.time, action.by, action.text, action.days, action.ticket)
        held.head.proposals = (*held.head.proposals, proposal)[-MAX_PROPOSALS:]
        return self._told(held, action, "exemption-proposed")

    def _told(
        self, held: Held, action: IncidentAction, as_: Literal["acknowledged", "exemption-proposed"]
    ) -> list[Output]:
        outputs = self._show(held, action.time, as_, who(action))
        return outputs + (self._notify(held, action.time, as_, who(action)) if held.head.posted else [])

    def _refuse(self, held: Held, action: IncidentAction) -> list[Output]:
        """It is over: nothing changes, and whoever asked is told."""
        reply = (reply_of(held, "refused", action.time, who(action)),)
        refused: list[Output] = [lifecycle_of(held, "refused", action.time, who(action))]
        return refused + [intent_of(held, target, action.time, reply) for target in held.head.told]

    def _note(self, held: Held, action: IncidentAction) -> list[Output]:
        self._add_note(held, action)
        outputs = self._show(held, action.time, "noted", who(action))
        self._changed(held, action.time)
        return outputs

    def _close(self, held: Held, action: IncidentAction) -> list[Output]:
        if not held.head.active:
            return []
        self._add_note(held, action)
        return self._resolve(held, action.time, "closed", who(action))

    def _add_note(self, held: Held, action: IncidentAction) -> None:
        if action.text:
            held.head.notes = (*held.head.notes, (action.time, action.by, action.text))[-MAX_NOTES:]

    def _silence_changed(self, silence: Silence, now: int) -> list[Output]:
        """What is silenced says so where it stands; what is not any more, and is left, is told."""
        outputs: list[Output] = []
        if silence.state != "refused":
            for held in self._held.values():
                if held.head.active:
                    outputs += self._silenced(held, silence, now)
        return outputs

    def _silenced(self, held: Held, silence: Silence, now: int) -> list[Output]:
        head, cover = held.head, self._cover(held)
        before = head.shown.silences if head.shown is not None else ()
        if silence.id not in (*cover.ids, *(row[0] for row in before)):
            return []
        if silence.state == "in-force":
            outputs = self._show(held, now, "silenced", Who(silence.id, silence.by, silence.why))
            targets = self._destinations(held) if head.posted or head.hushed else ()
            head.hushed = tuple(t for t in targets if cover.hushes(team_of_destination(t)))
            outputs += [intent_of(held, target, now) for target in head.told]
        else:
            ended = Who(f"{silence.id}.{silence.state}", silence.by, silence.note)
            outputs = self._show(held, now, "silence-ended", ended)
            if head.posted or (head.hushed and held.live):
                outputs += self._notify(held, now, "silence-ended", ended)
        self._keep(held)
        return outputs

    def _cover(self, held: Held) -> Cover:
        """What silences have to say about what is left of it."""
        if not (self.silences.in_force or held.head.hushed):
            return NO_COVER
        live = (state.part for state in held.parts.values() if is_live(state.part))
        return self.silences.cover(held.head.id, live, self._team)

    # Time.

    def _do_due(self, held: Held, now: int) -> list[Output]:
        head = held.head
        if has_come(held.forget_at(), now):
            self._forget(held)
            return []
        outputs: list[Output] = []
        if self._may_resolve(held) and has_come(held.resolve_at(), now):
            outputs = self._resolve(held, now, "resolved")
        elif has_come(head.post_due, now):
            outputs = self._first_post(held, now)
        elif has_come(head.remind_due, now):
            outputs = self._remind(held, now)
        elif has_come(head.edit_due, now):
            outputs = self._show(held, now, "changed") + self._notify(held, now)
        elif has_come(head.row_due, now):
            outputs = self._show(held, now, "changed")
        self._keep(held)
        return outputs

    def _first_post(self, held: Held, now: int) -> list[Output]:
        """What came and went within the first delay is told when it is critical or high, recorded otherwise."""
        held.head.post_due = None
        if not held.live and severity_rank(held.head.severity) < severity_rank("high"):
            return []
        return self._show(held, now, "changed") + self._notify(held, now)

    def _remind(self, held: Held, now: int) -> list[Output]:
        """Nobody has taken it. What has nothing left only waits for its end, and what wakes nobody is not repeated."""
        head = held.head
        if not (self._routes.reminders and head.active and head.posted and held.live and pages(head)):
            stop(head)
            return []
        due = fire(head, now)
        outputs = self._show(held, now, "changed") + self._notify(held, now, "reminder")
        if due.escalates and self._routes.escalates and not self._cover(held).hushes(""):
            outputs.append(intent_of(held, FALLBACK, now))
        return outputs

    def _resolve(self, held: Held, now: int, purpose: ReplyPurpose, by: Who = NOBODY) -> list[Output]:
        head = held.head
        head.state, head.resolved, head.floor = "resolved", now, (held.containers, held.workloads)
        head.post_due = None
        stop(head)
        outputs = self._show(held, now, "closed" if purpose == "closed" else "resolved", by)
        return outputs + (self._notify(held, now, purpose, by) if head.posted else [])

    def _forget(self, held: Held) -> None:
        del self._held[held.head.id]
        self._agenda.put(held.head.id, None)
        self._dirty.update(key for key, _ in rows_of(held))

    # Outputs.

    def _show(self, held: Held, now: int, transition: Transition, by: Who = NOBODY) -> list[Output]:
        """The row and its transition, when the row differs from the one that was put out last."""
        head = held.head
        head.row_due = None
        parts = (state.part for state in held.parts.values())
        unseen = unseen_of(parts, self._unseen, blind=bool(self._sight.lost) and not held.own)
        row = row_of(head, self._sums(held), self.silences.shown(self._cover(held)), unseen, now)
        if head.shown is not None and row == msgspec.structs.replace(head.shown, changed=now, epoch=row.epoch):
            return []
        head.revision += 1
        head.shown = msgspec.structs.replace(row, revision=head.revision)
        return [head.shown, lifecycle_of(held, transition, now, by)]

    def _notify(self, held: Held, now: int, purpose: ReplyPurpose | None = None, by: Who = NOBODY) -> list[Output]:
        """One intent per destination; replies only where a parent already stands. What is silenced is only edited."""
        head, cover, targets = held.head, self._cover(held), self._destinations(held)
        hushed = tuple(target for target in targets if cover.hushes(team_of_destination(target)))
        outputs: list[Output] = []
        withheld = 0
        for target in targets:
            if target in head.told:
                reply = self._reply(held, target, now, purpose, by, cover)
                kept = target in hushed and purpose is not None and purpose not in _TOLD_ALL_THE_SAME
                withheld += bool(kept and reply)
                outputs.append(intent_of(held, target, now, () if kept else reply))
            elif target in hushed:
                withheld += target not in head.hushed
            else:
                outputs.append(intent_of(held, target, now))
        self.silences.withheld(cover, withheld)
        head.told = tuple(target for target in targets if target in head.told or target not in hushed)
        head.hushed, head.notified_at, head.post_due, head.edit_due = hushed, now, None, None
        if self._routes.reminders and head.state == "open" and head.posted:
            begin(head, now)
        return outputs

    def _reply(
        self, held: Held, target: str, now: int, purpose: ReplyPurpose | None, by: Who, cover: Cover
    ) -> tuple[Reply, ...]:
        """What is said below one message. Where a silence has ended, that something is left."""
        lapsed = target in held.head.hushed and not cover.hushes(team_of_destination(target))
        if purpose is None or purpose == "silence-ended":
            told = lapsed and cover.concerns(team_of_destination(target))
            return (reply_of(held, "silence-ended", now, by),) if told else ()
        return (reply_of(held, purpose, now, by),)

    def _destinations(self, held: Held) -> tuple[str, ...]:
        """Who was told stays told; teams that came in meanwhile are added."""
        head = held.head
        if head.posted and not held.live:
            return head.told
        teams = tuple(row[0] for row in self._sums(held).teams)
        wanted = destinations(head.severity, teams, self._routes, self._reaches)
        wanted += self.beside(head.severity, {key.cluster for key, state in held.parts.items() if is_live(state.part)})
        return head.told + tuple(target for target in wanted if target not in head.told)

    # Small things.

    def _sums(self, held: Held) -> Totals:
        return totals(held.parts.values(), self._team)

    def _states(self, held: Held, team: str) -> list[PartState]:
        return [
            state for key, state in held.parts.items() if not team or self._team(key.cluster, key.namespace) == team
        ]

    def _team(self, cluster: str, namespace: str) -> str:
        return self._owners.get((cluster, namespace), UNOWNED)

    def _is_final(self, held: Held) -> bool:
        """Every shard has reached the cause's epoch. A shard that is not heard is unknown, never zero."""
        return bool(held.own and held.parts) or self._reach.all_at(held.head.cause.epoch, self._sight)

    def _may_resolve(self, held: Held) -> bool:
        """Nothing is known to be gone while a shard that may hold it, or a cluster it was in, is out of sight."""
        hidden = self._sight.blind or any(cluster in self._unseen for cluster, _ in held.spaces)
        return held.own or not hidden

    def _keep(self, held: Held) -> None:
        self._dirty.add(head_key(held.head.id))
        self._schedule(held)

    def _schedule(self, held: Held) -> None:
        self._agenda.put(held.head.id, held.due(may_resolve=self._may_resolve(held)))

    def _row_value(self, text: str) -> bytes | None:
        kind, *key = read_key(text)
        if kind == OWNER:
            return encode(self._owners[key[0], key[1]])
        if kind == REACHED:
            return encode(self._reach.newest[int(key[0])])
        if kind == SILENCE:
            return encode(silence) if (silence := self.silences.get(key[0])) is not None else None
        held = self._held.get(key[0])
        if held is None:
            return None
        return encode(held.head) if kind == HEAD else encode(held.parts[PartKey(int(key[1]), key[2], key[3])])
