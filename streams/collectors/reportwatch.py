"""The state machine of one kind of reports in one cluster, without sockets: answers in, claims and requests out.

    watch = ReportWatch("prod-eu", RESOURCES[0])
    ask = watch.ask(chance)                            which version there is, a page of a list, or a watch
    watch.found(body); watch.page(body, now); watch.line(data, now)      what was answered
    told = watch.take()                                what became known since the last call, in order
    pause = watch.ended(Ending("clean"), chance)       the request is over; seconds to wait before the next one

Reports are custom resources: a cluster may have none of a kind, or get it later. Then the API server answers 404, and
it is asked again every minute. Lists, versions, bookmarks and both forms of 410 are as for pods (`podwatch`), and
simpler: nothing is kept over a restart. A list that is read again gives claims with the same ids, which are on record
once.

Engines write a report anew at every scan. A claim is told when the report did not say it before, whatever its time; so
memory is a number for each claim of each report that is there.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection
from typing import Final, Literal, NamedTuple

import msgspec

from streams.collectors import wire
from streams.collectors.claims import REPORTS, claim_observed
from streams.collectors.deadletters import dead_letter, decode_problem
from streams.collectors.framing import Refused, refused
from streams.collectors.podwatch import GONE, LONGEST_ASKED, LONGEST_PAUSE, NOTES_KEPT, SILENT_TRIES, Ending, Note
from streams.collectors.reports import RESULTS, read_policy_report
from streams.events import ClaimObserved, DeadLetter

PAGE: Final = 500
"""Reports of one page, as kubectl asks for them; a quarter of it where a page is too long."""
WATCH_SECONDS: Final = 300
"""`timeoutSeconds` of a watch, at most; 80 to 100 % of it, so that many watches do not end together."""
ABSENT_SECONDS: Final = 60.0
"""Between two looks whether a cluster has these reports by now."""
BREATH_SECONDS: Final = 1.0
"""Between a watch that ended well and the next one: an API server that ends each at once is not asked without pause."""
MOST_REPORTS: Final = 200_000
"""Reports of one kind that are remembered. Those beyond are told each time they are written."""
NOT_FOUND: Final = 404

Phase = Literal["find", "list", "watch"]


class Resource(NamedTuple):
    """One kind of reports."""

    group: str
    plural: str


RESOURCES: Final = (
    Resource("wgpolicyk8s.io", "policyreports"),
    Resource("wgpolicyk8s.io", "clusterpolicyreports"),
    Resource("openreports.io", "reports"),
    Resource("openreports.io", "clusterreports"),
)
"""What is watched. Intermediate reports of engines (`reports.kyverno.io`) are not: what they say is in these soon."""


class Ask(NamedTuple):
    """A request: GET of this path with this query."""

    watch: bool
    path: str
    query: dict[str, str]


class _Version(msgspec.Struct):
    version: str = ""


class _Group(msgspec.Struct, rename="camel"):
    preferred_version: _Version | None = None


class _ListMeta(msgspec.Struct, rename="camel"):
    continue_: str | None = msgspec.field(default=None, name="continue")
    resource_version: str | None = None


class _Page(msgspec.Struct):
    items: list[msgspec.Raw] | None = None
    metadata: _ListMeta | None = None


class _Meta(msgspec.Struct, rename="camel"):
    uid: str = ""
    resource_version: str = ""


class _Named(msgspec.Struct):
    metadata: _Meta | None = None
    code: int = 0
    """Of an ERROR event, whose object is a Status."""


class _Watched(msgspec.Struct):
    type: str = ""
    object: msgspec.Raw = wire.NO_VALUE


_GROUP: Final = msgspec.json.Decoder(_Group)
_PAGE: Final = msgspec.json.Decoder(_Page)
_NAMED: Final = msgspec.json.Decoder(_Named)
_WATCHED: Final = msgspec.json.Decoder(_Watched)


class ReportWatch:
    """The watch of one kind of reports. Not thread-safe."""

    def __init__(self, cluster: str, resource: Resource, results: Collection[str] = frozenset(RESULTS)) -> None:
        """Claims with another result than `results` are not told."""
        self.cluster, self.resource = cluster, resource
        self.phase: Phase = "find"
        self.absent = False
        """The cluster has no such reports."""
        self.known: dict[str, frozenset[int]] = {}
        """UID of a report -> a number for each claim in it."""
        self.counts: Counter[str] = Counter()
        """Claims by what became of them: `told`, `same`, `other` (another result than was asked for), `unreadable`."""
        self.notes: deque[Note] = deque(maxlen=NOTES_KEPT)
        """What the log should say, the newest; whoever reads them takes them out."""
        self._results = frozenset(results)
        self._place = ""
        self._version = self._continue = ""
        self._limit = PAGE
        self._seen: set[str] = set()
        self._read = self._heard = self._gone = self._error = self._watching = False
        self._failures = self._silent = 0
        self._told: list[ClaimObserved | DeadLetter] = []

    @property
    def pending(self) -> int:
        """Observations that wait to be taken."""
        return len(self._told)

    def take(self) -> list[ClaimObserved | DeadLetter]:
        """What became known since the last call."""
        told, self._told = self._told, []
        return told

    def lost(self) -> None:
        """What was taken did not become durable: everything is told again, under the same ids."""
        self.known.clear()
        self._told.clear()
        self._begin("list", "not durable")

    # ------------------------------------------------------------------ requests

    def ask(self, chance: float, seconds: int = WATCH_SECONDS) -> Ask:
        """The next request. `chance`: 0 to 1; `seconds`: how long a watch may last at most."""
        self._read = self._heard = self._gone = self._error = False
        self._watching = self.phase == "watch"
        if self.phase == "find":
            return Ask(False, f"/apis/{self.resource.group}", {})
        if self.phase == "list":
            query = {"limit": str(self._limit)} | ({"continue": self._continue} if self._continue else {})
            return Ask(False, self._place, query)
        query = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": str(max(1, round(seconds * (0.8 + 0.2 * chance)))),
        }
        return Ask(True, self._place, query)

    def ended(self, ending: Ending, chance: float) -> float:
        """A request is over. Seconds to wait before the next one. `chance`: 0 to 1."""
        if ending.how == "status" and ending.status == NOT_FOUND:
            return self._is_absent(chance)
        if self._heard:
            self._failures = self._silent = 0
        if self._gone or (ending.how == "status" and ending.status == GONE):
            self._begin("list", "the version is forgotten")
            return BREATH_SECONDS * (0.5 + chance / 2)
        if ending.how == "clean" and (self._read or self._watching) and not self._error:
            self._failures = 0
            return BREATH_SECONDS * (0.5 + chance / 2) if self._watching else 0.0
        if ending.how == "too-large" and self.phase == "list" and self._limit > 1:
            self._limit = max(1, self._limit // 4)
        elif self.phase == "watch" and not self._heard:
            self._silent += ending.how == "silent"
            if self._silent >= SILENT_TRIES:
                self._begin("list", "silent watches")
        if self.phase == "list":
            self._begin("list", "")
        self._failures += 1
        backed = min(LONGEST_PAUSE, 2.0 ** min(self._failures, 10)) * (0.5 + chance / 2)
        return max(backed, min(ending.retry_after, LONGEST_ASKED))

    def _is_absent(self, chance: float) -> float:
        if not self.absent:
            self.notes.append(("reports-absent", {"group": self.resource.group, "resource": self.resource.plural}))
        self.absent = True
        self.known.clear()
        self._begin("find", "")
        return ABSENT_SECONDS * (0.8 + 0.2 * chance)

    def _begin(self, phase: Phase, why: str) -> None:
        if why:
            self.notes.append(("reports-listed-anew", {"resource": self.resource.plural, "why": why}))
        self.phase = phase
        self._continue, self._version = "", ""
        self._seen = set()
        self._silent = 0

    # ------------------------------------------------------------------ answers

    def found(self, body: bytes) -> None:
        """What the API server says of the group."""
        try:
            group = _GROUP.decode(body)
        except wire.UNREADABLE:
            return
        if group.preferred_version is None or not group.preferred_version.version.isalnum():
            return
        self._place = f"/apis/{self.resource.group}/{group.preferred_version.version}/{self.resource.plural}"
        self._read = True
        self._begin("list", "")

    def page(self, body: bytes, now: int) -> None:
        """A page of the list. `now`: microseconds."""
        try:
            page = _PAGE.decode(body)
        except wire.UNREADABLE:
            return
        if page.metadata is None:
            return
        self._read = self._heard = True
        self.absent = False
        for item in page.items or ():
            self._report(bytes(item), now)
        self._continue = page.metadata.continue_ or ""
        if self._continue:
            return
        for uid in self.known.keys() - self._seen:
            del self.known[uid]
        version = page.metadata.resource_version or ""
        self._begin("watch", "")
        self._version = version
        self.notes.append(("reports-listed", {"resource": self.resource.plural, "reports": len(self.known)}))

    def line(self, data: bytes, now: int) -> None:
        """An event of the watch."""
        if not data.strip():
            return
        try:
            event = _WATCHED.decode(data)
            named = _NAMED.decode(event.object) if event.object else _Named()
        except wire.UNREADABLE as error:
            problem = decode_problem(error)
            self._refuse(refused(problem.code, data, self.resource.plural, detail=problem.detail), now)
            return
        if event.type == "ERROR":
            self._gone = self._gone or named.code == GONE
            self._error = True
            return
        self._read = self._heard = True
        meta = named.metadata or _Meta()
        self._version = meta.resource_version or self._version
        if event.type == "DELETED":
            self.known.pop(meta.uid, None)
        elif event.type in ("ADDED", "MODIFIED"):
            self._report(bytes(event.object), now, meta)

    def too_long(self, size: int, beginning: bytes, now: int) -> None:
        """An event of the watch was too long to be read; `beginning` is what was kept of it."""
        self._heard = True
        letter = refused("event-too-large", beginning, self.resource.plural, detail=f"{size} bytes")
        self._refuse(msgspec.structs.replace(letter, size=size), now)

    # ------------------------------------------------------------------ claims

    def _report(self, data: bytes, now: int, meta: _Meta | None = None) -> None:
        if meta is None:
            try:
                meta = _NAMED.decode(data).metadata or _Meta()
            except wire.UNREADABLE:
                meta = _Meta()  # the reader of the report says what is wrong
        self._seen.add(meta.uid)
        before, now_says = self.known.get(meta.uid, frozenset()), set[int]()
        for found in read_policy_report(data, self.resource.plural):
            if isinstance(found, Refused):
                self._refuse(found, now)
                now_says |= before  # nobody knows what it says now; what it said is not news when it can be read again
                continue
            number = hash(msgspec.structs.replace(found, time=None))
            now_says.add(number)
            if found.result not in self._results:
                self.counts["other"] += 1
            elif number in before:
                self.counts["same"] += 1
            else:
                self.counts["told"] += 1
                occasion = f"{meta.uid}:{meta.resource_version}"
                self._told.append(claim_observed(found, cluster=self.cluster, received=now, occasion=occasion))
        if meta.uid and (meta.uid in self.known or len(self.known) < MOST_REPORTS):
            self.known[meta.uid] = frozenset(now_says)

    def _refuse(self, found: Refused, now: int) -> None:
        self.counts["unreadable"] += 1
        self._told.append(dead_letter(found, source=REPORTS + self.cluster, time=now))
