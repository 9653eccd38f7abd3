"""The alerter as one deterministic core: parts, owners, trust and actions in; incidents, transitions, deliveries out.

It holds the incident book, the delivery ledger and what was said about things that expire, stand still or were refused.
Sending is not in here: `streams.local` or `serve alert` asks the ledger what is due and calls a notifier.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Protocol

import msgspec

from alerting.channels import Channels
from alerting.daily import Day, Days
from alerting.delivery import Ledger
from alerting.expiry import Expiring, Known, expiring_soon, next_expiry
from alerting.held import SILENCE, read_key
from alerting.incidents import IncidentBook
from alerting.integrity import Check, Integrity
from alerting.lifecycle import Lifecycle, Notification
from alerting.losses import Counted, Losses
from alerting.models import (
    Finding,
    Incident,
    IncidentAction,
    IncidentContext,
    IncidentPart,
    Severity,
    ShardReached,
    Silence,
    SilenceAction,
)
from alerting.naming import named
from alerting.ownfindings import Told
from alerting.refusals import Refusals
from alerting.render import Message, render
from alerting.routing import ClusterNames, Ownership, Routes, beside, channel_destination, team_of
from alerting.sight import FEED_AFTER, Feeds
from alerting.stalled import Heard, Watch
from alerting.storm import Storms
from streams.events import AuditCounted, FeedSeen, LedgerChecked, LedgerDay, NamespaceObserved, ProgressSeen
from streams.trustlog import Refused
from verifier.times import show_instant
from verifier.trust.state import TrustState

Output = Incident | Lifecycle | Finding | Silence
BOOK: Final = "alert-book"
LEDGER: Final = "alert-ledger"
EXPIRY: Final = "alert-expiry"
OWNER: Final = "alert-owner"
WATCH: Final = "alert-watch"
REFUSALS: Final = "alert-refusals"
INTEGRITY: Final = "alert-integrity"
LOSSES: Final = "alert-losses"
DAYS: Final = "alert-days"
STORM: Final = "alert-storm"
KINDS: Final = frozenset({BOOK, LEDGER, EXPIRY, OWNER, WATCH, REFUSALS, INTEGRITY, LOSSES, STORM, DAYS})
"""Kinds of rows that are the alerter's."""


class Saving(Protocol):
    """Something with rows of its own."""

    def dirty(self) -> Mapping[str, bytes | None]:
        """Rows that changed since `saved`; None: the row is gone."""

    def saved(self) -> None:
        """What `dirty` gave is stored."""


class Keeper(Saving, Protocol):
    """One that its rows alone restore."""

    def load(self, rows: Iterable[tuple[str, bytes]]) -> None:
        """What `dirty` once gave."""


class Alerter:
    """One alerter. `handle` and `tick` change it; `take_dirty` says what must be stored."""

    def __init__(
        self, routes: Routes | None = None, stalled_after: int | None = None, channels: Channels | None = None
    ) -> None:
        """`stalled_after`: microseconds after which a part of revet that is silent, or does not move on, stands still;
        None: there are no parts that send signs of life (one process). `channels`: where teams are told; None: a place
        that takes everything.
        """
        self.routes = routes or Routes()
        self.channels = channels
        self._reaches = None if channels is None else channels.reaches
        self._stalled_after = stalled_after
        self.book = self._wired(IncidentBook(self.routes, stalled_after, self._reaches))
        self._watch = Watch(stalled_after) if stalled_after is not None else None
        self._feeds = Feeds(FEED_AFTER) if stalled_after is not None else None
        self._refusals = Refusals()
        self._losses = Losses()
        self._integrity = Integrity()
        self._days = Days()
        self.ledger = Ledger()
        self._storms = Storms(self.routes.storm_after)
        self.owners: dict[tuple[str, str], Ownership] = {}
        """(cluster, namespace) -> whose it is, and which rule said so."""
        self._owners_dirty: set[tuple[str, str]] = set()
        self._expiring: dict[str, Known] = {}
        self._expiry_due: int | None = None
        self._expiry_stored = b""
        self._trust = TrustState.empty()
        self.record_is_down = False
        """Whoever tells of incidents cannot reach the record: messages say so. Of now, so no part of the state."""

    def handle(self, event: object, now: int) -> Iterator[Output]:
        """One input; anything that is not for the alerter is passed over."""
        if isinstance(event, IncidentPart):
            yield from self._out(self.book.apply(event, now))
        elif isinstance(event, ShardReached):
            yield from self._out(self.book.reached(event, now))
        elif isinstance(event, IncidentAction):
            yield from self._out(self.book.act(event))
        elif isinstance(event, IncidentContext):
            self.book.learn(event, now)
        elif isinstance(event, SilenceAction):
            yield from self._out(self.book.silence(event, max(now, event.time)))
        elif isinstance(event, NamespaceObserved):
            owner = team_of(event.cluster, event.namespace, dict(event.labels), self.routes)
            if self.owners.get((event.cluster, event.namespace)) != owner:
                self._own((event.cluster, event.namespace), owner)
                self._owners_dirty.add((event.cluster, event.namespace))
            self.book.own(event.cluster, event.namespace, owner.team, now)
        elif isinstance(event, ProgressSeen) and self._watch is not None:
            if event.component == "judge" and event.shard >= 0:
                self.book.heard(event.shard, now)
            yield from self._told(self._watch.heard(_heard(event), now), now)
        elif isinstance(event, FeedSeen) and self._feeds is not None and event.feed == "pods":
            self._feeds.seen(event.cluster, now)  # its own clock may be wrong
        elif isinstance(event, AuditCounted):
            yield from self._told(self._losses.counted(_counted(event), now), now)
        elif isinstance(event, Refused):
            yield from self._told(self._refusals.refused(event.position, event.place, event.reason, now), now)
        elif isinstance(event, LedgerChecked):
            check = Check(event.scope, event.time, event.since, event.until, event.problems, event.worst)
            yield from self._told(self._integrity.checked(check, now), now)
        elif isinstance(event, LedgerDay) and self.routes.checkpoints:
            line = self._days.take(_day(event), channel_destination(self.routes.checkpoints))
            if line is not None:
                self.ledger.accept(line)

    def _wired(self, book: IncidentBook) -> IncidentBook:
        """A book that knows of clusters what trust knows."""
        book.beside = self._beside
        book.silences.names_of = self._names_of
        return book

    def _name_of(self, cluster: str) -> str:
        known = self._trust.clusters.get(cluster)
        return cluster if known is None else known.name or cluster

    def _is_retired(self, cluster: str) -> bool:
        known = self._trust.clusters.get(cluster)
        return known is not None and not known.enrolled

    def _names_of(self, cluster: str) -> tuple[str, ...]:
        known = self._trust.clusters.get(cluster)
        return (cluster,) if known is None else (cluster, known.name)

    def _beside(self, severity: Severity, clusters: set[str]) -> tuple[str, ...]:
        """Who else is told: rules over clusters as trust has them."""
        if not self.routes.also:
            return ()
        known = self._trust.clusters
        named = (
            ClusterNames(cluster, known[cluster].name, dict(known[cluster].labels))
            if cluster in known
            else ClusterNames(cluster, "", {})
            for cluster in sorted(clusters)
        )
        return beside(severity, named, self.routes)

    def _own(self, place: tuple[str, str], owner: Ownership) -> None:
        self.owners[place] = owner
        if self.channels is not None:
            self.channels.learn(place, owner.team, owner.channel)

    def trust_changed(self, trust: TrustState, now: int) -> Iterator[Output]:
        """Windows and exemptions may have moved."""
        self._trust = trust
        if self._feeds is not None:
            self._feeds.look_again()
        yield from self._look_at_expiry(now)

    def tick(self, now: int) -> Iterator[Output]:
        """Everything that is due."""
        if self._feeds is not None and self._feeds.changed(now, self._is_retired):
            self.book.unseen(self._feeds.lost, now)
        if self._expiry_due is not None and self._expiry_due <= now:
            yield from self._look_at_expiry(now)
        if self._watch is not None:
            yield from self._told(self._watch.tick(now), now)
        yield from self._told(self._refusals.tick(now), now)
        yield from self._told(self._losses.tick(now), now)
        yield from self._out(self.book.tick(now))
        for digest in self._storms.tick(now):
            self.ledger.accept(digest)

    def next_due(self) -> int | None:
        """When `tick` has something to do."""
        watch = self._watch.next_due() if self._watch is not None else None
        feeds = self._feeds.next_due() if self._feeds is not None else None
        own = (watch, feeds, self._refusals.next_due(), self._losses.next_due(), self._storms.next_due())
        due = (self.book.next_due(), self._expiry_due, self.ledger.next_due(), *own)
        return min((t for t in due if t is not None), default=None)

    def message(self, incident: str, destination: str) -> Message | None:
        """What a destination should read now (`alerting.delivery.Content`)."""
        own = self._storms.message(incident, self._row) or self._days.message(incident)
        if own is not None:
            return own
        found = self.book.slice_of(incident, destination)
        return None if found is None else render(named(found, self._name_of), record_is_down=self.record_is_down)

    def _row(self, incident: str) -> Incident | None:
        """An incident with the names of its clusters."""
        found = self.book.slice_of(incident, self.routes.security)
        return None if found is None else named(found, self._name_of).incident

    def _out(self, outputs: Iterable[Incident | Lifecycle | Notification | Silence]) -> Iterator[Output]:
        for out in outputs:
            if isinstance(out, Notification):
                known = self.ledger.newest(out.incident, out.destination)
                for intent in self._storms.sift(out, new=known is None or out.episode > known.episode):
                    self.ledger.accept(intent)
            else:
                yield out

    def _look_at_expiry(self, now: int) -> Iterator[Output]:
        things = list(_expiring(self._trust))
        result = expiring_soon(things, self._expiring, now)
        self._expiring = result.known
        self._expiry_due = next_expiry(things, now)
        yield from self._told(Told(result.findings, result.parts), now)

    def _told(self, told: Told, now: int) -> Iterator[Output]:
        yield from told.findings
        for part in told.parts:
            yield from self._out(self.book.apply(part, now))

    # ------------------------------------------------------------------ storing

    def take_dirty(self) -> list[tuple[str, str, bytes | None]]:
        """What changed since the last call."""
        rows: list[tuple[str, str, bytes | None]] = [(BOOK, key, value) for key, value in self.book.dirty().items()]
        self.book.saved()
        rows += self.take_ledger()
        rows += [
            (OWNER, msgspec.json.encode(place).decode(), msgspec.msgpack.encode(self.owners[place]))
            for place in sorted(self._owners_dirty)
        ]
        self._owners_dirty.clear()
        expiry = msgspec.msgpack.encode((self._expiring, self._expiry_due))
        if expiry != self._expiry_stored:
            self._expiry_stored = expiry
            rows.append((EXPIRY, "", expiry))
        keepers: list[tuple[str, Saving]] = [(STORM, self._storms), *self._own_rows()]
        for kind, keeper in keepers:
            rows += [(kind, key, value) for key, value in keeper.dirty().items()]
            keeper.saved()
        return rows

    def _own_rows(self) -> Iterator[tuple[str, Keeper]]:
        """Kind of row -> whoever keeps such rows and asks for nothing else to load them."""
        if self._watch is not None:
            yield WATCH, self._watch
        yield LOSSES, self._losses
        yield REFUSALS, self._refusals
        yield INTEGRITY, self._integrity
        yield DAYS, self._days

    def take_ledger(self) -> list[tuple[str, str, bytes | None]]:
        """What changed in the ledger alone (between deliveries)."""
        rows: list[tuple[str, str, bytes | None]] = [(LEDGER, key, value) for key, value in self.ledger.dirty().items()]
        self.ledger.saved()
        return rows

    def restore(self, entries: Iterable[tuple[str, str, bytes]], trust: TrustState) -> None:
        """Load what `take_dirty` once gave. Nothing is said again by itself."""
        self._trust = trust
        kept = list(entries)
        rows = [(k, v) for kind, k, v in kept if kind == BOOK]
        self.book = self._wired(IncidentBook.from_rows(rows, self.routes, self._stalled_after, self._reaches))
        for own, keeper in self._own_rows():
            keeper.load((k, v) for kind, k, v in kept if kind == own)
        self.ledger = Ledger.from_rows([(k, v) for kind, k, v in kept if kind == LEDGER])
        standing = ((row.incident, row.destination) for row in self.ledger.rows() if not row.resolved)
        self._storms = Storms(self.routes.storm_after)
        self._storms.load((value for kind, _, value in kept if kind == STORM), standing)
        for kind, key, value in kept:
            if kind == OWNER:
                place = msgspec.json.decode(key, type=tuple[str, str])
                self._own(place, msgspec.msgpack.decode(value, type=Ownership))
            if kind == EXPIRY:
                self._expiry_stored = value
                self._expiring, self._expiry_due = msgspec.msgpack.decode(
                    value, type=tuple[dict[str, Known], int | None]
                )


def silences_of(rows: Iterable[tuple[str, str, bytes]]) -> list[Silence]:
    """The silences among the rows of an alerter, those that end first on top.

    Raises:
        msgspec.DecodeError: a row is not what the book wrote.
    """
    kept = (value for kind, key, value in rows if kind == BOOK and read_key(key)[0] == SILENCE)
    return sorted((msgspec.json.decode(value, type=Silence) for value in kept), key=lambda s: (s.ends, s.id))


def _heard(event: ProgressSeen) -> Heard:
    return Heard(
        component=event.component,
        instance=event.instance,
        shard=event.shard,
        position=event.position,
        lag=event.lag,
        epoch=event.epoch,
        time=event.time,
        stopping=event.stopping,
    )


def _day(event: LedgerDay) -> Day:
    day = show_instant(event.time)[:10]
    return Day(event.ledger, day, event.time, event.number, event.size, event.head, event.key, event.signature)


def _counted(event: AuditCounted) -> Counted:
    return Counted(event.cluster, event.server, event.time, event.started, event.given_up, event.missing)


def _expiring(trust: TrustState) -> Iterator[Expiring]:
    """Keys with an end, and exemptions."""
    for key in trust.keys.values():
        if key.valid_until is not None and key.removed_at is None and key.superseded_at is None:
            yield Expiring("key", key.key_id, key.name, key.valid_until)
    for entry in trust.exemptions.values():
        if entry.ended_epoch is None:
            yield Expiring("exemption", entry.id, entry.record.policy or entry.id, entry.expires)
