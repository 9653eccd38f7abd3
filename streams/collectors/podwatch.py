"""The state machine of a pod watch, without sockets: lines and pages in, observations and the next request out.

    watch = PodWatch("prod-eu", kept, position)        what was known and durable when it last ran
    ask = watch.ask(chance)                            a request of the API server: a watch, or a page of a list
    watch.line(data, now); watch.page(body, now)       what it answered
    step = watch.take()                                what became known since the last call, in order
    pause = watch.ended(Ending("clean"), now, chance)  the request is over; seconds to wait before the next one

Kubernetes' rules that it keeps ("Efficient detection of changes", KEP-3157 for `sendInitialEvents`): a sync is a
consistent snapshot, then every change after its resource version; a version that the API server has forgotten is HTTP
410, or HTTP 200 with an ERROR event of code 410, and means a new sync. What was known and is missing in a sync has
ended between the last sign of life and now, and is told so. Bookmarks move the version and are no pods.

A state is told only when its reduced form differs from the one told before: kubelets rewrite conditions and probes all
the time. Memory is the reduced form of every pod, at most `MAX_KEPT` bytes of each.
"""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from typing import Final, Literal, NamedTuple

import msgspec

from streams.collectors import reduce, wire
from streams.collectors.deadletters import Problem, dead_letter, decode_problem, excerpt
from streams.collectors.framing import refused
from streams.collectors.pods import observed_pod, reduced_pod
from streams.events import DeadLetter, FeedSeen, GoneReason, Pod, PodObserved
from streams.kafka.bounds import fit
from verifier.canonical import stable_id

PAGE: Final = 500
"""Pods of one page, as kubectl asks for them."""
MAX_KEPT: Final = 48 * 1024
"""Bytes of one pod's reduced form that are kept. Real ones have one or two thousand; of a longer one the rest is cut,
and its mark is that of the whole."""
FEED_INTERVAL: Final = 30_000_000
"""Microseconds between two signs of life of the feed, at least: the API server sends a bookmark every minute."""
MEND_INTERVAL: Final = 15 * 60_000_000
"""Microseconds between two syncs whose only reason is that something could not be read."""
LONGEST_PAUSE: Final = 30.0
"""Seconds between two tries, at most, unless the API server asks for more."""
LONGEST_ASKED: Final = 300.0
"""Seconds of a Retry-After that are believed."""
SILENT_TRIES: Final = 2
"""Watches in a row that said nothing at all, after which the version itself is doubted: one of a cluster that was
restored from a backup lies in the future, and is waited for without a word."""
NOTES_KEPT: Final = 64
GONE: Final = 410
WATCH_SECONDS: Final = 300
"""`timeoutSeconds` of a watch, at most; 80 to 100 % of it, so that many watches do not end together."""

Phase = Literal["stream-sync", "page-sync", "watch"]
How = Literal["clean", "cut", "silent", "status", "unreachable", "too-large"]


class Known(msgspec.Struct, gc=False):
    """One pod as it was last told of."""

    version: str
    """Its resource version then."""
    mark: bytes
    """Hash of its reduced form without the version."""
    packed: bytes
    """The reduced form, without the version."""
    newest: str = ""
    """Newest version seen, told or not."""


class Position(NamedTuple):
    """How far a cluster was read."""

    version: str = ""
    """Resource version to go on from; empty: nothing was read whole yet."""
    since: int = 0
    """Start of unbroken sight, microseconds."""
    last: int = 0
    """Newest sign of life, microseconds: what was known existed then."""
    identity: str = ""
    """UID of the cluster's namespace kube-system: whose versions these are. Empty: not known."""


NOWHERE: Final = Position()


class Ask(NamedTuple):
    """A request: `GET /api/v1/pods` with this query."""

    watch: bool
    query: dict[str, str]


class Ending(NamedTuple):
    """How a request ended."""

    how: How
    status: int = 0
    """HTTP status, where it is not 200."""
    retry_after: float = 0.0
    """Seconds the server asks for."""


class Step(NamedTuple):
    """What became known, in the order in which it has to become durable."""

    observations: list[PodObserved | DeadLetter]
    originals: list[bytes]
    rows: dict[str, Known | None]
    """uid -> what is known of it now; None: it has ended."""
    position: Position
    sign: FeedSeen | None
    """To be told once the rest is durable."""
    first_sign: FeedSeen | None = None
    """To be told before the rest: what a snapshot shows was there when sight began, and is judged as such."""


Note = tuple[str, dict[str, str | int | float]]
"""(event, fields) for the log."""


class _Identity(msgspec.Struct, gc=False):
    metadata: wire.PodMeta | None = None


class _WatchedIdentity(msgspec.Struct, gc=False):
    object: _Identity | None = None


class _ListMeta(msgspec.Struct, rename="camel"):
    continue_: str | None = msgspec.field(default=None, name="continue")
    resource_version: str | None = None


class _Page(msgspec.Struct):
    items: list[wire.Pod] | None = None
    metadata: _ListMeta | None = None


class _RawPage(msgspec.Struct):
    items: list[msgspec.Raw] | None = None
    metadata: _ListMeta | None = None


_IDENTITY: Final = msgspec.json.Decoder(_Identity)
_WATCHED_IDENTITY: Final = msgspec.json.Decoder(_WatchedIdentity)
_PAGE: Final = msgspec.json.Decoder(_Page)
_RAW_PAGE: Final = msgspec.json.Decoder(_RawPage)
_PACK: Final = msgspec.msgpack.Encoder()
_UNPACK: Final = msgspec.msgpack.Decoder(Pod)
_ERROR: Final = b'{"type":"ERROR"'
_TOLD: Final = ("changed", "vanished")
_INITIAL_END: Final = "k8s.io/initial-events-end"


def _is_older(version: str, known: str) -> bool:
    """Versions of one resource are compared as numbers (KEP-5504); what is no number is never older."""
    return version.isdecimal() and known.isdecimal() and int(version) <= int(known)


class PodWatch:
    """The watch of one cluster. Not thread-safe."""

    def __init__(
        self,
        cluster: str,
        kept: Mapping[str, Known] | None = None,
        position: Position = NOWHERE,
        excluded: Iterable[str] = (),
    ) -> None:
        """Go on from `kept` and `position`; pods of `excluded` namespaces are not asked for."""
        self.cluster = cluster
        self.known: dict[str, Known] = dict(kept or {})
        """uid -> pod, of all that are there."""
        self.position = position
        self.phase: Phase = "watch" if position.version else "stream-sync"
        self.counts: Counter[str] = Counter()
        """Events by what became of them: `changed`, `same`, `older`, `gone`, `vanished`, `bookmark`, `unreadable`."""
        self.notes: deque[Note] = deque(maxlen=NOTES_KEPT)
        """What the log should say, the newest; whoever reads them takes them out."""
        self.synced = bool(position.version)
        """A snapshot was read whole, now or in an earlier life."""
        self._excluded = frozenset(excluded)
        self._streams = True
        self._paging = False
        self._limit = PAGE
        self._error = 0
        self._heard = False
        self._failures = self._silent = 0
        self._damaged_at: int | None = None
        self._mended = 0
        self._told = 0
        self._sign: FeedSeen | None = None
        self._first_sign: FeedSeen | None = None
        self._observations: list[PodObserved | DeadLetter] = []
        self._originals: list[bytes] = []
        self._rows: dict[str, Known | None] = {}
        self._begin("stream-sync", "first")
        if position.version:
            self.phase = "watch"

    def tell_again(self) -> None:
        """Whoever listened has forgotten: take a new snapshot, and tell of every pod in it as if it were new."""
        for known in self.known.values():
            known.mark = b""
        self._begin("stream-sync", "asked")

    def retire(self, now: int, most: int) -> bool:
        """Nobody watches this cluster any more: end what was known of it, at most so many pods. False: none is left."""
        for known in list(self.known.values())[:most]:
            self._end(_pod_of(known), "list", now, "cluster-retired", self.position.last)
        self.position = self.position._replace(version="")
        return bool(self.known)

    # ------------------------------------------------------------------ requests

    def ask(self, chance: float, seconds: int = WATCH_SECONDS) -> Ask:
        """The next request. `chance`: 0 to 1; `seconds`: how long a watch may last at most."""
        selector = ",".join(f"metadata.namespace!={name}" for name in sorted(self._excluded))
        query = {"fieldSelector": selector} if selector else {}
        self._paging = self.phase == "page-sync"
        if self._paging:
            return Ask(
                False, query | {"limit": str(self._limit)} | ({"continue": self._continue} if self._continue else {})
            )
        query |= {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(max(1, round(seconds * (0.8 + 0.2 * chance)))),
        }
        if self.phase == "stream-sync":
            return Ask(True, query | {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"})
        return Ask(True, query | {"resourceVersion": self.position.version})

    def ended(self, ending: Ending, now: int, chance: float) -> float:
        """The request is over. Gives the seconds to wait before the next one; `chance`: 0 to 1."""
        error, self._error = self._error, 0
        expired = GONE in (error, ending.status)
        heard, self._heard = self._heard, False
        self._silent = 0 if heard or ending.how != "silent" else self._silent + 1
        fine = ending.how == "clean" and not error and (heard or self.phase == "watch")
        self._failures = 0 if heard or fine else self._failures + 1
        self._next_phase(ending, error, now, expired=expired)
        if fine and self._paging:
            return 0.0
        if (fine or expired) and self._failures <= 1:
            return 0.5 * chance
        pause = min(LONGEST_PAUSE, 2.0 ** min(self._failures, 10)) * (0.5 + 0.5 * chance)
        return max(pause, min(ending.retry_after, LONGEST_ASKED))

    def _next_phase(self, ending: Ending, error: int, now: int, *, expired: bool) -> None:
        if self.phase == "watch":
            if expired:
                self._begin("stream-sync", "expired")
            elif self._silent >= SILENT_TRIES:
                self._silent = 0
                self._begin("stream-sync", "silent")
            elif self._damaged_at is not None and now - self._mended >= MEND_INTERVAL:
                self._mended = now
                self._begin("stream-sync", "unreadable")
        elif self.phase == "stream-sync":
            # Old servers refuse it, ignore it, or cannot do it with their etcd (KEP-3157): pages work everywhere.
            refuses = ending.status in (400, 404, 406, 422)
            unmarked = ending.how == "clean" and not expired
            self._streams = not (refuses or unmarked or (error and not expired))
            self._begin("stream-sync" if self._streams else "page-sync", self._why)
        elif ending.how == "too-large":
            self._limit = max(1, self._limit // 4)
        elif expired:
            self._begin("page-sync", self._why)  # the list took longer than the API server remembers

    def _begin(self, phase: Phase, why: str) -> None:
        """A new snapshot; nothing of an unfinished one counts."""
        self.phase, self._why = phase, why
        self._seen: set[str] = set()
        self._unsure = False
        """Something in the snapshot could not be told apart: what is missing may only be unreadable."""
        self._continue = ""
        self._since = 0
        """When the first of the snapshot was read: it shows what is at that time or just before, and what is not in it
        follows as a change. So sight is unbroken from here."""
        self._before = [self.counts[name] for name in _TOLD]

    # ------------------------------------------------------------------ answers

    def line(self, data: bytes, now: int) -> None:
        """One line of a watch. Never raises on content. `now`: microseconds."""
        if not data or data.isspace():
            return
        if data.startswith(_ERROR):
            self._ended_with(data)
            return
        try:
            event = wire.WATCHED_POD.decode(data)
        except wire.UNREADABLE as error:
            if wire.text_of(_head(data).type) == "ERROR":
                self._ended_with(data)
            else:
                self._unreadable(data, decode_problem(error), _identity(data, watched=True), now)
            return
        kind, pod = event.type, event.object
        if kind == "BOOKMARK":
            self._bookmark(pod, now)
        elif pod is None or (pod.kind or "Pod") != "Pod" or kind not in ("ADDED", "MODIFIED", "DELETED"):
            self._unreadable(data, Problem("kind-missing"), pod.metadata if pod else None, now)
        else:
            self._pod(data, event, pod, now)

    def too_long(self, size: int, head: bytes, now: int) -> None:
        """A line that is longer than events are (`lines.MAX_LINE`) was passed over; `head` is its beginning."""
        self._unreadable(head, Problem("event-too-large", f"{size:,} bytes"), None, now)

    def page(self, body: bytes, now: int) -> bool:
        """One page of a list; False when it is none. One bad pod is a dead letter, the others count."""
        try:
            page = _PAGE.decode(body)
            items: Iterable[tuple[wire.Pod, bytes]] = [(pod, b"") for pod in page.items or ()]
            meta = page.metadata
        except wire.UNREADABLE:
            try:
                raw = _RAW_PAGE.decode(body)
            except wire.UNREADABLE:
                return False
            items, meta = self._one_by_one(raw.items or [], now), raw.metadata
        if meta is None or not meta.resource_version:
            return False
        for pod, data in items:
            self._snapshot(pod, data, now)
        self._alive(now)
        self._continue = meta.continue_ or ""
        if not self._continue:
            self._streams = True
            self._whole(meta.resource_version, now)
        return True

    def _one_by_one(self, items: list[msgspec.Raw], now: int) -> list[tuple[wire.Pod, bytes]]:
        found = []
        for item in items:
            try:
                found.append((wire.POD.decode(item), bytes(item)))
            except wire.UNREADABLE as error:
                self._unreadable(bytes(item), decode_problem(error), _identity(bytes(item), watched=False), now)
        return found

    # ------------------------------------------------------------------ events

    def _ended_with(self, data: bytes) -> None:
        try:
            self._error = wire.STATUS_CODE.decode(_head(data).object).code or 500
        except wire.UNREADABLE:
            self._error = 500
        self.notes.append(("watch-error", {"code": self._error}))

    def _bookmark(self, pod: wire.Pod | None, now: int) -> None:
        self.counts["bookmark"] += 1
        self._alive(now)
        meta = pod.metadata if pod is not None else None
        version = meta.resource_version if meta is not None else None
        if meta is None or not version:
            return
        if self.phase == "watch":
            self._move(version, now)
        elif wire.text_of((meta.annotations or {}).get(_INITIAL_END)) == "true":
            self._whole(version, now)

    def _pod(self, data: bytes, event: wire.WatchedPod, pod: wire.Pod, now: int) -> None:
        if self.phase != "watch" and event.type != "DELETED":
            self._snapshot(pod, data, now)
            self._alive(now)
            return
        reduced = reduced_pod(pod, self.cluster)
        if isinstance(reduced, Problem):
            self._unreadable(data, reduced, pod.metadata, now)
            return
        self._alive(now)
        known = self.known.get(reduced.uid)
        if known is not None and _is_older(reduced.resource_version, known.newest or known.version):
            self.counts["older"] += 1
        elif event.type == "DELETED":
            self._end(reduced, "watch", now)
            self._original(event)
        elif self._changed(reduced, "watch", now):
            self._original(event)
        if self.phase == "watch":
            self._move(reduced.resource_version, now)

    def _sees(self, now: int) -> None:
        """The first of a snapshot: the feed lives."""
        if not self._since:
            self._since = now
            self._first_sign = self._life(now, now)

    def _snapshot(self, pod: wire.Pod, data: bytes, now: int) -> None:
        """A pod of a list, or of the beginning of a watch that serves as one. In no order of versions."""
        self._sees(now)
        reduced = reduced_pod(pod, self.cluster)
        if isinstance(reduced, Problem):
            self._unreadable(data or msgspec.json.encode(pod), reduced, pod.metadata, now)
            return
        self._seen.add(reduced.uid)
        if self._changed(reduced, "list", now):
            pod.kind, pod.api_version = "Pod", "v1"  # an item of a list has none, and stands alone from here on
            self._originals.append(msgspec.json.encode(reduce.reduce_pod(pod)))

    def _changed(self, reduced: Pod, source: str, now: int) -> bool:
        """Tell of a state, if it differs from what was told before."""
        bare = msgspec.structs.replace(reduced, resource_version="")
        packed = _PACK.encode(bare)
        mark = hashlib.blake2b(packed, digest_size=16).digest()
        known = self.known.get(reduced.uid)
        if known is not None and known.mark == mark:
            known.newest = reduced.resource_version
            self.counts["same"] += 1
            return False
        told = observed_pod(reduced, source=source, time=now)
        if len(packed) > MAX_KEPT:
            packed = _PACK.encode(_cut(told))
        self._observations.append(told)
        row = Known(reduced.resource_version, mark, packed, reduced.resource_version)
        self.known[reduced.uid] = self._rows[reduced.uid] = row
        self.counts["changed"] += 1
        return True

    def _end(self, pod: Pod, source: str, now: int, why: GoneReason = "", after: int = 0) -> None:
        told = observed_pod(pod, source=source, time=now, gone=True)
        if why:
            told = msgspec.structs.replace(told, gone_reason=why, gone_after=after)
        self._observations.append(told)
        self.known.pop(pod.uid, None)
        self._seen.discard(pod.uid)
        self._rows[pod.uid] = None
        self.counts["vanished" if why else "gone"] += 1

    def _whole(self, version: str, now: int) -> None:
        """A snapshot was read whole: what is missing in it has ended meanwhile."""
        self._sees(now)
        if self._unsure:
            self._damaged_at = now
        else:
            self._damaged_at = None
            for uid in [uid for uid in self.known if uid not in self._seen]:
                self._vanished(self.known[uid], now)
        changed, vanished = (self.counts[name] - before for name, before in zip(_TOLD, self._before, strict=True))
        fields: dict[str, str | int | float] = {"why": self._why, "by": self.phase, "pods": len(self.known)}
        fields |= {"changed": changed, "ended": vanished}
        self.notes.append(("synced", fields))
        self.phase, self.synced, self._seen = "watch", True, set()
        self.position = Position(version, self._since, now, self.position.identity)
        self._tell(now)

    def _vanished(self, known: Known, now: int) -> None:
        pod = _pod_of(known)
        if pod.namespace in self._excluded:
            why: GoneReason = "excluded"
        else:
            why = "deleted-unseen" if pod.deleted is not None else "vanished"
        self._end(pod, "list", now, why, self.position.last)

    def _move(self, version: str, now: int) -> None:
        self.position = self.position._replace(version=version or self.position.version, last=now)
        if now - self._told >= FEED_INTERVAL:
            self._tell(now)

    def _alive(self, now: int) -> None:
        self._heard = True
        if self.phase == "watch" and self.position.version:
            self.position = self.position._replace(last=max(now, self.position.last))

    def _tell(self, now: int) -> None:
        self._told = now
        self._sign = self._life(self.position.since, now)

    def _life(self, since: int, now: int) -> FeedSeen:
        named = stable_id("feed", self.cluster, "pods", now)
        return FeedSeen(id=named, time=now, cluster=self.cluster, feed="pods", since=since)

    def _original(self, event: wire.WatchedPod) -> None:
        if event.object is not None:
            reduce.reduce_pod(event.object)
        self._originals.append(msgspec.json.encode(event))

    def _unreadable(self, data: bytes, problem: Problem, meta: wire.PodMeta | None, now: int) -> None:
        """A dead letter. What was known of the pod stays known: it is there, only not readable."""
        self._heard = True
        self.counts["unreadable"] += 1
        uid = meta.uid if meta is not None else None
        if uid:
            self._seen.add(uid)
        else:
            self._unsure = True
            self._damaged_at = self._damaged_at or now
        letter = refused(problem.code, data, "", detail=problem.detail, excerpt=excerpt(data))
        self._observations.append(dead_letter(letter, source=f"watch:{self.cluster}", time=now))

    # ------------------------------------------------------------------ what came of it

    @property
    def pending(self) -> int:
        """Observations that wait to be taken."""
        return len(self._observations)

    @property
    def stirred(self) -> bool:
        """Whether there is anything to take."""
        return bool(self._observations or self._rows or self._sign is not None or self._first_sign is not None)

    def take(self) -> Step:
        """What became known since the last call."""
        step = Step(self._observations, self._originals, self._rows, self.position, self._sign, self._first_sign)
        self._observations, self._originals, self._rows = [], [], {}
        self._sign = self._first_sign = None
        return step


def _pod_of(known: Known) -> Pod:
    """The pod as it was last told of."""
    return msgspec.structs.replace(_UNPACK.decode(known.packed), resource_version=known.version)


def _cut(told: PodObserved) -> Pod:
    fitted, _ = fit(told)
    pod = fitted.pod if isinstance(fitted, PodObserved) else told.pod
    return msgspec.structs.replace(pod, resource_version="")


_NO_HEAD: Final = wire.Head()


def _head(data: bytes) -> wire.Head:
    try:
        return wire.HEAD.decode(data)
    except wire.UNREADABLE:
        return _NO_HEAD


def _identity(data: bytes, *, watched: bool) -> wire.PodMeta | None:
    """Whose object it is, where at least that can be read."""
    try:
        found = _WATCHED_IDENTITY.decode(data).object if watched else _IDENTITY.decode(data)
    except wire.UNREADABLE:
        return None
    return found.metadata if found is not None else None
