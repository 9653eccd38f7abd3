"""Parts of revet that stand still: silent after they were heard, without progress, or under older trust. Pure.

    watch = Watch(stalled_after)                    microseconds
    told = watch.heard(Heard("judge", "judge-7f", 3, position=17, lag=4, epoch=9), now)
    told = watch.tick(now)                          findings and parts that changed; when watch.next_due() has come

A shard is a subject of its own, whoever works on it; a process without shards is one by its name. A process that says
good-bye, or is followed by a new one of its kind, is not missed; the last of its kind is, however politely it left.

`now` is the alerter's clock. What a sender's clock says only ever helps it: neither a clock that is behind nor a
backlog of heartbeats makes anybody look silent. After a restart everybody has the whole time to speak again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from alerting.ownfindings import Own, Standing, Told, told
from alerting.text import count, utc
from verifier.canonical import canonical_json
from verifier.times import DAY

CODE: Final = "pipeline-stalled"
FORGET: Final = DAY
"""A silent process is forgotten after this time when others of its kind work."""
MAX_SUBJECTS: Final = 10_000
"""Subjects watched at a time; more come from somebody who makes names up."""


class Heard(msgspec.Struct, frozen=True):
    """What a part of revet says of itself."""

    component: str
    instance: str
    shard: int = -1
    """-1: the process as a whole."""
    position: int = 0
    lag: int = 0
    epoch: int = 0
    """0: it does not work under trust."""
    time: int = 0
    """Its own clock."""
    stopping: bool = False


class _Kept(msgspec.Struct):
    """What has to survive a restart."""

    last: Heard
    first: int
    reason: str = ""
    """Why it stands still; empty: it does not."""
    since: int = 0
    opened: int = 0
    sequence: int = 0


class _Seen(msgspec.Struct):
    kept: _Kept
    heard_at: int
    moved_at: int


_SILENT: Final = "was not heard"
_STUCK: Final = "does not move on"


def _restored(kept: _Kept, now: int) -> _Seen:
    """What stood still before a restart does so until it is heard."""
    silent, stuck = kept.reason.startswith(_SILENT), kept.reason.startswith(_STUCK)
    return _Seen(kept, kept.since if silent else now, kept.since if stuck else now)


class Watch:
    """Everything that was ever heard of. One owner drives it."""

    def __init__(self, stalled_after: int) -> None:
        self._after = stalled_after
        self._seen: dict[str, _Seen] = {}
        self._epoch = 0
        self._epoch_at = 0
        self._restored: dict[str, _Kept] = {}
        self._old: dict[str, int] = {}
        """Processes of whom one old word was heard -> its time."""
        self._dirty: set[str] = set()

    def heard(self, heard: Heard, now: int) -> Told:
        """A sign of life. Puts out what it changes for its own subject."""
        self._begin(now)
        key = _key(heard)
        if heard.shard < 0 and heard.stopping and self._others(heard.component, key, now):
            return self._forget(key, "replaced", now)
        seen = self._seen.get(key)
        if seen is None:
            if len(self._seen) >= MAX_SUBJECTS or self._is_old(key, heard, now):
                return Told()
            seen = self._seen[key] = _Seen(_Kept(heard, now), now, now)
            self._dirty.add(key)
        if heard.lag == 0 or heard.position != seen.kept.last.position:
            seen.moved_at = now
        if heard.instance != seen.kept.last.instance:
            self._dirty.add(key)
        seen.kept.last = heard
        seen.heard_at = max(seen.heard_at, now, min(heard.time, now + self._after))
        if heard.epoch > self._epoch:
            self._epoch, self._epoch_at = heard.epoch, now
        return self._said([key], now)

    def tick(self, now: int) -> Told:
        """Let time reach `now`."""
        self._begin(now)
        gone = [key for key in sorted(self._seen) if self._is_gone(key, now)]
        made = [self._forget(key, self._why_gone(key), now) for key in gone]
        made.append(self._said(sorted(self._seen), now))
        return Told(tuple(f for one in made for f in one.findings), tuple(p for one in made for p in one.parts))

    def next_due(self) -> int | None:
        """When `tick` has something new to say at the earliest; None when nothing is watched."""
        times = [seen.heard_at for seen in self._seen.values() if not seen.kept.reason]
        times += [s.moved_at for s in self._seen.values() if not s.kept.reason and s.kept.last.lag]
        times += [
            self._epoch_at for s in self._seen.values() if not s.kept.reason and 0 < s.kept.last.epoch < self._epoch
        ]
        return min(times) + self._after + 1 if times else None

    def silent_since(self, component: str, shard: int) -> int | None:
        """When a shard was heard last; None: never in this life of the watcher."""
        seen = self._seen.get(_key(Heard(component, "", shard)))
        return None if seen is None else seen.heard_at

    # ------------------------------------------------------------------ state in a store

    def dirty(self) -> dict[str, bytes | None]:
        """Rows that changed since `saved`; None: the row is gone. That somebody was heard again is no change."""
        return {
            key: msgspec.msgpack.encode(self._seen[key].kept) if key in self._seen else None
            for key in sorted(self._dirty)
        }

    def saved(self) -> None:
        """What `dirty` gave is stored."""
        self._dirty.clear()

    def load(self, rows: Iterable[tuple[str, bytes]]) -> None:
        """What `dirty` once gave. What did not stand still counts as heard when the next thing happens."""
        self._restored = {key: msgspec.msgpack.decode(value, type=_Kept) for key, value in rows}

    # ------------------------------------------------------------------ the parts

    def _begin(self, now: int) -> None:
        if self._restored:
            self._seen = {key: _restored(kept, now) for key, kept in self._restored.items()} | self._seen
            self._restored = {}

    def _is_old(self, key: str, heard: Heard, now: int) -> bool:
        """Is this the last word of a process that is gone? The log keeps the newest word of everybody for ever.

        A second, later word shows that it lives, whatever its clock says.
        """
        if heard.shard >= 0 or (now - heard.time <= self._after and not heard.stopping):
            return False
        before = self._old.get(key)
        if before is None and len(self._old) < MAX_SUBJECTS:
            self._old[key] = heard.time
        return heard.stopping or before is None or heard.time <= before

    def _others(self, component: str, key: str, now: int) -> bool:
        """Does another process of this kind work?"""
        return any(
            other != key and seen.kept.last.component == component and not self._reason(seen, now)[0]
            for other, seen in self._seen.items()
        )

    def _is_gone(self, key: str, now: int) -> bool:
        """A process that is silent, and whom a newer one of its kind follows, or who is long forgotten."""
        seen = self._seen[key]
        if seen.kept.last.shard >= 0 or now - seen.heard_at <= self._after:
            return False
        if not self._others(seen.kept.last.component, key, now):
            return False
        return self._why_gone(key) == "replaced" or now - seen.heard_at > FORGET

    def _why_gone(self, key: str) -> str:
        seen = self._seen[key]
        newer = (
            other.kept.first > seen.heard_at
            for name, other in self._seen.items()
            if name != key and other.kept.last.component == seen.kept.last.component
        )
        return "replaced" if any(newer) else "ended"

    def _forget(self, key: str, why: str, now: int) -> Told:
        seen = self._seen.pop(key, None)
        if seen is None:
            return Told()
        self._dirty.add(key)
        if not seen.kept.reason:
            return Told()
        seen.kept.sequence = _next(seen.kept.sequence, now)
        return _as_told([(seen.kept, seen.kept.reason, why)], now)

    def _said(self, keys: Iterable[str], now: int) -> Told:
        changed: list[tuple[_Kept, str, str]] = []
        for key in keys:
            kept = self._seen[key].kept
            reason, since = self._reason(self._seen[key], now)
            if _kind(reason) == _kind(kept.reason):
                continue
            if reason and not kept.reason:
                kept.opened = now
            before, kept.reason = kept.reason, reason
            kept.since = since if reason else kept.since
            kept.sequence = _next(kept.sequence, now)
            self._dirty.add(key)
            changed.append((kept, reason or before, "" if reason else "converged"))
        return _as_told(changed, now)

    def _reason(self, seen: _Seen, now: int) -> tuple[str, int]:
        """(why it stands still or empty, since when)."""
        last = seen.kept.last
        if now - seen.heard_at > self._after:
            return _SILENT, seen.heard_at
        if last.lag > 0 and now - seen.moved_at > self._after:
            return f"{_STUCK} with {count(last.lag, 'record')} waiting", seen.moved_at
        if 0 < last.epoch < self._epoch and now - self._epoch_at > self._after:
            return f"works under trust epoch {last.epoch}, others under {self._epoch}", self._epoch_at
        return "", 0


def _next(sequence: int, now: int) -> int:
    """Grows also where a subject was forgotten and comes again, so that nobody takes its next word for an old one."""
    return max(sequence + 1, now)


def _kind(reason: str) -> str:
    """Of a reason what makes it another one: not the numbers in it."""
    return " ".join(reason.split()[:2])


def _as_told(changed: Iterable[tuple[_Kept, str, str]], now: int) -> Told:
    pairs = [
        told(_own(kept, reason), Standing(kept.opened, kept.sequence, not why, why), now)
        for kept, reason, why in changed
    ]
    return Told(tuple(finding for finding, _ in pairs), tuple(part for _, part in pairs))


def _own(kept: _Kept, reason: str) -> Own:
    name = _name(kept.last)
    detail = (("component", name), ("reason", reason), ("since", utc(kept.since)))
    return Own(CODE, "component", _key(kept.last), name, "high", name, detail)


def _name(heard: Heard) -> str:
    return f"{heard.component} shard {heard.shard}" if heard.shard >= 0 else f"{heard.component} {heard.instance}"


def _key(heard: Heard) -> str:
    """A shard by its number, whoever works on it; a process by its name."""
    place: Iterator[object] = iter((heard.component, heard.shard, heard.instance if heard.shard < 0 else ""))
    return canonical_json(list(place)).decode()
