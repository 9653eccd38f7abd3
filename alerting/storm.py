"""Many different incidents at once: a digest in the place of a message each. Pure; time is an argument.

    storms = Storms(after=5)
    for intent in storms.sift(notification, new=True): …      what is told by a message of its own
    for intent in storms.tick(now): …                         digests that are due
    storms.message(digest, book.incident)                     what a digest says now

Of one destination the first `after` new messages of a minute stand on their own; what comes beyond them, or while 50
of its messages are open, goes into a digest: one new message a minute, edited at most once a minute. What is critical
is never in one. When it is calm again, whatever has to be heard of one of them (worse, back again, nobody takes it)
comes as a message of its own. A digest is over when everything in it is. Nothing is discarded: each incident is
recorded as ever.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import msgspec

from alerting.findings import FINDINGS, SEVERITIES, severity_rank
from alerting.lifecycle import Notification
from alerting.models import Incident, Severity
from alerting.render import HEADLINE_LIMIT, Fact, Message, Table, about
from alerting.routing import FALLBACK
from alerting.said import short_id
from alerting.text import Untrusted, count, cut
from alerting.timing import earlier, has_come
from verifier.canonical import stable_id
from verifier.times import DAY, MINUTE, SECOND

OPEN_LIMIT: Final = 50
"""Open messages of one destination, beyond which only what is critical gets another."""
GATHER: Final = 15 * SECOND
"""A digest waits so long for more before it is posted."""
LONGEST: Final = MINUTE
"""It takes in what is new for so long; then the next one begins."""
EDIT_EVERY: Final = MINUTE
KEEP: Final = DAY
"""One that is over is forgotten after this time."""
TOP: Final = 10
"""Incidents named in a message."""
MAX_LINKED: Final = 40
COLUMNS: Final = ("incident", "severity", "what", "about", "containers", "state")
PREFIX: Final = "DIG-"


class Item(msgspec.Struct):
    """An incident in a digest."""

    incident: str
    severity: Severity
    resolved: bool = False


class Digest(msgspec.Struct):
    """One message that stands for several incidents."""

    id: str
    destination: str
    began: int
    items: dict[str, Item] = {}
    revision: int = 0
    due: int | None = None
    posted_at: int = 0
    over_at: int | None = None


class Storms:
    """All digests of one alerter."""

    def __init__(self, after: int = 0) -> None:
        """`after`: new messages of one minute and destination that stand on their own; 0: there are no digests."""
        self._after = after
        self._digests: dict[str, Digest] = {}
        self._place: dict[tuple[str, str], str] = {}
        """(incident, destination) -> the digest it is in."""
        self._current: dict[str, str] = {}
        self._recent: dict[str, list[int]] = {}
        self._open: dict[str, set[str]] = {}
        self._dirty: set[str] = set()

    # ------------------------------------------------------------------ in

    def sift(self, intent: Notification, *, new: bool) -> list[Notification]:
        """What of an intent is told by a message of its own. `new`: it has none yet, or begins another."""
        if not self._after or intent.destination == FALLBACK or intent.incident in self._digests:
            return [intent]
        held = self._place.get((intent.incident, intent.destination))
        if held is not None:
            return self._held(self._digests[held], intent)
        if new and not intent.resolved and intent.severity != "critical" and not self._is_calm(intent):
            self._join(intent)
            return []
        return [self._own(intent, new=new)]

    def _held(self, digest: Digest, intent: Notification) -> list[Notification]:
        heard = bool(intent.replies) and not intent.resolved and self._is_calm(intent)
        if intent.severity == "critical" or heard:
            del digest.items[intent.incident], self._place[intent.incident, intent.destination]
            self._changed(digest, intent.time)
            return [self._own(msgspec.structs.replace(intent, replies=()), new=True)]
        digest.items[intent.incident] = Item(intent.incident, intent.severity, intent.resolved)
        self._changed(digest, intent.time)
        return []

    def _own(self, intent: Notification, *, new: bool) -> Notification:
        """It has a message of its own, which counts."""
        if new:
            self._recent.setdefault(intent.destination, []).append(intent.time)
        standing = self._open.setdefault(intent.destination, set())
        (standing.discard if intent.resolved else standing.add)(intent.incident)
        return intent

    def _is_calm(self, intent: Notification) -> bool:
        """Is there room for another message at this destination?"""
        recent = [at for at in self._recent.get(intent.destination, ()) if intent.time - at < MINUTE]
        self._recent[intent.destination] = recent
        return len(recent) < self._after and len(self._open.get(intent.destination, ())) < OPEN_LIMIT

    def _join(self, intent: Notification) -> None:
        digest = self._digests.get(self._current.get(intent.destination, ""))
        if digest is None or intent.time - digest.began >= LONGEST:
            identity = stable_id("incident", "digest", [intent.destination, intent.time])
            digest = Digest(identity, intent.destination, intent.time, {}, due=intent.time + GATHER)
            self._digests[identity] = digest
            self._current[intent.destination] = identity
        digest.items[intent.incident] = Item(intent.incident, intent.severity)
        self._place[intent.incident, intent.destination] = digest.id
        self._changed(digest, intent.time)

    def _changed(self, digest: Digest, now: int) -> None:
        is_over = all(item.resolved for item in digest.items.values())
        digest.over_at = (digest.over_at or now) if is_over else None
        if digest.posted_at:
            digest.due = earlier(digest.due, max(now, digest.posted_at + EDIT_EVERY))
        self._dirty.add(digest.id)

    # ------------------------------------------------------------------ time

    def tick(self, now: int) -> list[Notification]:
        """Digests that are to be told, or told again."""
        told = []
        for digest in [d for d in self._digests.values() if has_come(d.due, now)]:
            digest.due, digest.posted_at, digest.revision = None, now, digest.revision + 1
            self._dirty.add(digest.id)
            told.append(self._intent(digest, now))
        for digest in [d for d in self._digests.values() if has_come(_forgotten_at(d), now)]:
            self._forget(digest)
        return told

    def next_due(self) -> int | None:
        """When `tick` has something to do."""
        times = (time for digest in self._digests.values() for time in (digest.due, _forgotten_at(digest)))
        return min((time for time in times if time is not None), default=None)

    def _intent(self, digest: Digest, now: int) -> Notification:
        return Notification(
            incident=digest.id,
            destination=digest.destination,
            episode=1,
            revision=digest.revision,
            time=now,
            severity=_worst(digest),
            paging=False,
            resolved=digest.over_at is not None,
        )

    def _forget(self, digest: Digest) -> None:
        del self._digests[digest.id]
        self._dirty.add(digest.id)
        for incident in digest.items:
            del self._place[incident, digest.destination]

    # ------------------------------------------------------------------ what it says

    def message(self, identity: str, incident_of: Callable[[str], Incident | None]) -> Message | None:
        """What a digest says now; None: it is none."""
        digest = self._digests.get(identity)
        if digest is None:
            return None
        found = [row for row in map(incident_of, digest.items) if row is not None]
        rows = sorted(found, key=_order)
        return Message(
            incident=digest.id,
            short_id=PREFIX + short_id(digest.id).partition("-")[2],
            kind="digest",
            revision=digest.revision,
            severity=_worst(digest),
            state="open" if digest.over_at is None else "resolved",
            as_of=digest.posted_at or digest.began,
            headline=_headline(digest, rows),
            what=Untrusted(f"more new incidents at once than {count(self._after, 'message')} of one minute can tell"),
            facts=_facts(rows),
            table=Table(COLUMNS, tuple(_row(row) for row in rows[:TOP]), 0),
            benign="A policy that took effect, or a registry that could not be read, reaches many images at once.",
            todo="Look at the worst first. What is critical, or needs to be heard again, has a message of its own.",
            commands=("revet incident list",),
            unknown=(),
            link="docs/slack.md",
            opened=digest.began,
            incidents=tuple(row.id for row in rows[:MAX_LINKED]),
        )

    # ------------------------------------------------------------------ storing

    def dirty(self) -> dict[str, bytes | None]:
        """Rows that changed since `saved`; None: the row is gone."""
        known = self._digests
        return {key: msgspec.json.encode(known[key]) if key in known else None for key in self._dirty}

    def saved(self) -> None:
        """What `dirty` gave is stored."""
        self._dirty.clear()

    def load(self, rows: Iterable[bytes], standing: Iterable[tuple[str, str]]) -> None:
        """Take in what `dirty` once gave. `standing`: (incident, destination) of every open message.

        Raises:
            msgspec.DecodeError: a row is not what `dirty` gave.
        """
        for value in rows:
            digest = msgspec.json.decode(value, type=Digest)
            self._digests[digest.id] = digest
            self._place |= {(incident, digest.destination): digest.id for incident in digest.items}
            newest = self._digests.get(self._current.get(digest.destination, ""))
            if newest is None or newest.began < digest.began:
                self._current[digest.destination] = digest.id
        for incident, destination in standing:
            if incident not in self._digests:
                self._open.setdefault(destination, set()).add(incident)


def _worst(digest: Digest) -> Severity:
    ranks = (severity_rank(item.severity) for item in digest.items.values())
    return SEVERITIES[max(ranks, default=0)]


def _forgotten_at(digest: Digest) -> int | None:
    return None if digest.over_at is None or digest.due is not None else digest.over_at + KEEP


def _order(row: Incident) -> tuple[bool, int, int, str]:
    return row.state == "resolved", -severity_rank(row.severity), -row.containers, row.id


def _headline(digest: Digest, rows: list[Incident]) -> str:
    left = sum(row.state != "resolved" for row in rows)
    state = "" if digest.over_at is None else "RESOLVED "
    of = f"{left} of {count(len(rows), 'new incident')} open" if left < len(rows) else count(len(rows), "new incident")
    ending = f" [{PREFIX}{short_id(digest.id).partition('-')[2]}]"
    text = f"{state}DIGEST {_worst(digest).upper()}: {of}: {', '.join(_reasons(rows))}"
    return cut(text, HEADLINE_LIMIT - len(ending)) + ending


def _reasons(rows: list[Incident]) -> Iterator[str]:
    for kind, number in Counter(row.kind for row in rows).most_common():
        yield f"{number} {FINDINGS[kind].title}"


def _facts(rows: list[Incident]) -> tuple[Fact, ...]:
    by_severity = Counter(row.severity for row in rows)
    severities = ", ".join(f"{by_severity[name]} {name}" for name in reversed(SEVERITIES) if by_severity[name])
    containers = sum(row.containers for row in rows)
    shown = (
        Fact("how bad", severities),
        Fact("how much", count(containers, "container")),
        Fact("what", "; ".join(_reasons(rows))),
        Fact("shown", f"{min(TOP, len(rows))} of {len(rows)}, the worst first"),
    )
    return tuple(fact for fact in shown if fact.value)


def _row(row: Incident) -> tuple[Untrusted, ...]:
    cells = (row.short_id, row.severity, FINDINGS[row.kind].title, about(row), f"{row.containers:,}", row.state)
    return tuple(Untrusted(cell) for cell in cells)
