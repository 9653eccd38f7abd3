"""Answers out of Elasticsearch: conditions become its queries, documents come back as they were written.

    reader = ElasticsearchReader(connect(settings.elasticsearch), Names("default"))
    with reader.held():          one point in time for all that is asked inside, as a read transaction gives in SQLite
        reader.find("revet-state-containers", is_("namespace", "shop"))

A search sees what was refreshed: documents of the last second may be missing. An answer is whole or it is an error:
shards that do not answer are never left out silently.
"""

from __future__ import annotations

import binascii
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Annotated, Any, Final, NamedTuple

import msgspec

from streams.elastic import Answer, Server, reason_of, refusal, url_path
from streams.queries.conditions import Condition, matches, values_of
from streams.queries.dsl import Compiled, asked, compiled
from streams.queries.port import ALL_HISTORY, MAX_PAGE, Group, Hit, Page, every
from streams.sinks.fields import is_current
from streams.sinks.mapping import Names
from verifier.errors import InputError, PlaceError, PlaceUnavailable

Json = dict[str, Any]  # Any: a tree of JSON

BATCH: Final = 1000
"""Documents taken at a time where they have to be looked through here."""
GROUPS: Final = 30_000
"""Groups of one answer; the rest is asked for behind them. Each answer costs the server a walk over all that is found,
so few and large ones are many times faster; it refuses 65,536 and more.
"""
KEEP_ALIVE: Final = "5m"
"""How long the server keeps a point in time between two questions: an answer may be computed for a while."""
PAUSES: Final = (0.2, 1.0)
"""Seconds before a search is sent again: a node that restarts, and the next node of the list."""
GIVE_UP: Final = 10.0
"""Seconds after which nothing is sent again."""

_PARTS: Final = (
    "error,hits.hits._index,hits.hits._id,hits.hits._source,hits.hits.sort,_shards.total,aggregations,pit_id"
)
_MARK: Final = "e1."
"""Begins a cursor of this store, with the version of its form."""


class _Found(NamedTuple):
    hit: Hit
    sort: list[Any]
    """Where it stands: (time in nanoseconds, id, home)."""


class _Cursor(msgspec.Struct, frozen=True, array_like=True):
    home: str
    newest_first: bool
    sort: tuple[Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)], str | None, str | None]


class ElasticsearchReader:
    """Implements `RecordReader` on a server that the caller owns; never writes."""

    def __init__(self, server: Server, names: Names) -> None:
        self._server = server
        self._names = names
        self._points: dict[str, str | None] | None = None
        """Home -> point in time, None where there is nothing; None outside `held`."""

    def find(
        self, home: str, where: Condition, *, newest_first: bool = False, limit: int = 100, after: str = ""
    ) -> Page:
        """See `RecordReader.find`."""
        if not 1 <= limit <= MAX_PAGE:
            raise InputError(f"a page has 1 to {MAX_PAGE} documents, not {limit}")
        test, kept = compiled(where), list[_Found]()
        position = _position(after, home, newest_first=newest_first)
        while len(kept) <= limit:
            size = min(limit + 1 - len(kept), MAX_PAGE) if test.exact else BATCH
            found = self._search(home, test, newest_first=newest_first, size=size, after=position)
            kept += [f for f in found if test.exact or matches(where, f.hit.body)]
            if len(found) < size:
                break
            position = found[-1].sort
        more = len(kept) > limit
        after = _cursor(home, kept[limit - 1].sort, newest_first=newest_first) if more else ""
        return Page(tuple(f.hit for f in kept[:limit]), after)

    def groups(self, home: str, where: Condition, by: tuple[str, ...]) -> list[Group]:
        """See `RecordReader.groups`."""
        test = compiled(where)
        places = [asked(field) for field in by]
        if not test.exact or any(place.kind != "text" for place in places):
            return self._counted(home, where, by)
        sources = [{str(n): {"terms": {"field": p.name, "missing_bucket": True}}} for n, p in enumerate(places)]
        counts: Counter[tuple[str, ...]] = Counter()
        after: Json | None = None
        while True:
            composite = {"size": GROUPS, "sources": sources} | ({"after": after} if after else {})
            body = {"size": 0, "query": test.query, "aggs": {"by": {"composite": composite}}}
            found = self._ask(home, body).get("aggregations", {}).get("by", {})
            for bucket in found.get("buckets", ()):
                counts[tuple(bucket["key"][str(n)] or "" for n in range(len(by)))] += bucket["doc_count"]
            after = found.get("after_key")
            if after is None:
                return [Group(values, number) for values, number in sorted(counts.items())]

    def _counted(self, home: str, where: Condition, by: tuple[str, ...]) -> list[Group]:
        """Groups of what has to be looked through here."""
        found = (tuple(str(next(iter(values_of(f, hit.body)), "")) for f in by) for hit in every(self, home, where))
        return [Group(values, number) for values, number in sorted(Counter(found).items())]

    @contextmanager
    def held(self) -> Iterator[None]:
        """All that is asked inside is answered from one point in time of each home, as it was first asked.

        Raises: as `find`, inside.
        """
        self._points = {}
        try:
            yield
        finally:
            points, self._points = self._points, None
            with suppress(PlaceError):  # what is not closed now ends by itself
                for point in filter(None, points.values()):
                    self._server.call("DELETE", "/_pit", body={"id": point}, accept=(404,))

    def refresh(self) -> None:
        """Make everything that was written searchable now; for tests, since the server does it every second.

        Raises:
            PlaceUnavailable: the store does not answer.
        """
        for pattern in (self._names.all_history, self._names.all_state):
            self._server.call("POST", url_path(pattern, "_refresh"))

    # ------------------------------------------------------------------------------------------------ asking

    def _search(
        self, home: str, test: Compiled, *, newest_first: bool, size: int, after: list[Any] | None
    ) -> list[_Found]:
        order = "desc" if newest_first else "asc"
        sort = [{name: {"order": order}} for name in ("@timestamp", "event.id", "event.dataset")]
        body = {"size": size, "query": test.query, "sort": sort, "track_total_hits": False}
        found = self._ask(home, body | ({"search_after": after} if after else {}))
        return [self._hit(raw) for raw in found.get("hits", {}).get("hits", ())]

    def _hit(self, raw: Json) -> _Found:
        """A document as it was written. Where it stands is what the index says, also of one that is not ours."""
        nanos, id_, home = raw["sort"][:3]  # a point in time adds a number of its own
        hit = Hit(home or self._names.home(raw["_index"]), id_ or raw["_id"], (nanos or 0) // 1000, raw["_source"])
        return _Found(hit, [nanos, id_, home])

    def _ask(self, home: str, body: Json) -> Json:
        """The answer to a search; empty where nothing was ever written, which is no error once revet is set up."""
        target = self._names.all_history if home == ALL_HISTORY else self._names.target(home)
        params: Json = {"filter_path": _PARTS, "allow_partial_search_results": "false"}
        if self._points is None:
            answer = self._sent(url_path(target, "_search"), params, body)
            if self._is_empty(answer, target):
                self._nothing_there(home)
                return {}
            return self._answered(answer, target)
        point = self._point(home, target)
        if point is None:
            return {}
        answer = self._sent("/_search", params, body | {"pit": {"id": point, "keep_alive": KEEP_ALIVE}})
        if answer.status == 404:
            raise PlaceUnavailable(
                "record-unavailable", f"{self._server.where}: the answer took longer than {KEEP_ALIVE}; ask for less"
            )
        found = self._answered(answer, target)
        self._points[home] = found["pit_id"]
        return found

    def _point(self, home: str, target: str) -> str | None:
        points = self._points if self._points is not None else {}
        if home not in points:
            answer = self._sent(url_path(target, "_pit"), {"keep_alive": KEEP_ALIVE}, None)
            points[home] = None if self._is_empty(answer, target) else answer.body["id"]
            if points[home] is None:
                self._nothing_there(home)
        return points[home]

    def _is_empty(self, answer: Answer, target: str) -> bool:
        """Is there no index of that name, or none that a pattern stands for?"""
        if answer.status == 404 and reason_of(answer.body)[0] == "index_not_found_exception":
            return True
        return not self._answered(answer, target)["_shards"]["total"]

    def _sent(self, path: str, params: Json, body: Json | None) -> Answer:
        """Ask, and again where that may help: reading twice changes nothing."""
        started = time.monotonic()
        for pause in PAUSES:
            try:
                return self._server.call("POST", path, params=params, body=body, accept=(400, 404))
            except PlaceUnavailable:
                if time.monotonic() - started > GIVE_UP:
                    raise
            time.sleep(pause)
        return self._server.call("POST", path, params=params, body=body, accept=(400, 404))

    def _answered(self, answer: Answer, target: str) -> Json:
        """The body of an answer, or the error it is."""
        if answer.status < 400:
            body: Json = answer.body
            return body
        error = refusal(answer, f"search in {target}", self._server.where)
        if "No mapping found" in reason_of(answer.body)[1]:
            raise type(error)(error.code, f"{error}; this is no index of revet's: run `revet index check`")
        raise error

    def _nothing_there(self, home: str) -> None:
        """A dataset is made by its first document. A state index is made by the set-up, and is its mark."""
        mark = home if is_current(home) else "containers"
        alias = self._names.target(mark)
        if is_current(home) or self._server.call("GET", url_path("_alias", alias), accept=(404,)).status == 404:
            raise InputError(
                f"{self._server.where} has no {alias}: nothing is set up in namespace {self._names.namespace}; "
                "run `revet index setup`, or correct elasticsearch.namespace"
            )


# ------------------------------------------------------------------------------------------------ cursors


def _cursor(home: str, last: list[Any], *, newest_first: bool) -> str:
    made = _Cursor(home, newest_first, (last[0], last[1], last[2]))
    return _MARK + urlsafe_b64encode(msgspec.msgpack.encode(made)).rstrip(b"=").decode()


def _position(after: str, home: str, *, newest_first: bool) -> list[Any] | None:
    """Where the page before ended.

    Raises:
        InputError: not a cursor of this store, or one of another list.
    """
    if not after:
        return None
    try:
        data = after.removeprefix(_MARK).encode("ascii") if after.startswith(_MARK) else b"!"
        found = msgspec.msgpack.decode(urlsafe_b64decode(data + b"=" * (-len(data) % 4)), type=_Cursor)
    except (ValueError, binascii.Error, msgspec.MsgspecError) as error:
        raise InputError(f"{after[:60]!r} is no position of this record; leave --after away to begin anew") from error
    if (found.home, found.newest_first) != (home, newest_first):
        raise InputError(f"{after[:60]!r} is a position in another list; leave --after away to begin anew")
    return list(found.sort)
