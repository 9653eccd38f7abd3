"""Exactly once across rollovers: what `create` with an own id cannot see.

An id is unique within one backing index only: after a rollover the same document would be taken again. The guard knows
the write index of each data stream and since when it is that, and asks no more often than it must:

* A document produced well after the rollover cannot be in an older backing index: `create` alone is exact.
* An older one (a replay, an outage) is looked for by id first, and left out when it is there.
* A rollover between two looks is told by the answers, which name the index each document landed in. Then older copies
  are looked for afterwards, and the newer copy is deleted.

A search sees refreshed documents only, so a stream is refreshed when a rollover is noticed, and again as long as
requests from before it may still be under way.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from streams.elastic import Answer, AsyncServer, refusal, url_path
from streams.sinks.bulk import Item

MARGIN_MS: Final = 5 * 60_000
"""How far the clocks of producers and of the cluster may differ."""
LOOK_SECONDS: Final = 60.0
"""How long a write index is taken for granted."""
SETTLING_MS: Final = 2 * 60_000
"""After a rollover, requests that were sent before it may still arrive in the older index for so long."""


class _Stream(msgspec.Struct):
    """What is known of a data stream."""

    backing: tuple[str, ...]
    """Oldest first; the last one is written."""
    created_ms: int
    """When the write index was made, by the cluster's clock."""
    looked: float
    """Monotonic seconds of the last look."""
    refreshed_ms: int = 0
    """When it was last refreshed, by the clock here."""

    @property
    def write(self) -> str:
        return self.backing[-1]


class Assumed(NamedTuple):
    """What a look before sending came to."""

    known: set[int]
    """Positions of the items that are there already."""
    write: dict[str, str]
    """Stream -> the write index this is true for."""


class Guard:
    """Knows the data streams one writer writes to."""

    def __init__(self, server: AsyncServer) -> None:
        self._server = server
        self._streams: dict[str, _Stream] = {}
        self.looks = 0
        """Searches for earlier copies so far."""
        self.removed = 0
        """Newer copies deleted so far."""

    async def known_already(self, items: Sequence[Item]) -> Assumed:
        """Positions of those that an older backing index holds, and the write indices this is sure for.

        Raises as `AsyncServer.call`.
        """
        found: set[int] = set()
        write: dict[str, str] = {}
        for stream, places in _by_stream(items).items():
            known = await self._stream(stream)
            if known is None:
                continue
            write[stream] = known.write
            if len(known.backing) < 2:
                continue
            late = [n for n in places if items[n].versioned.timestamp_ms < known.created_ms + MARGIN_MS]
            if late:
                await self._refresh(stream, known)
                found |= await self._first_kept(stream, known, dict.fromkeys(late, known.write), items)
        return Assumed(found, write)

    async def landed(self, items: Sequence[Item], indices: Sequence[str], assumed: Assumed) -> set[int]:
        """Positions of those just stored (each in its index) that an older index holds as well; the newer copy is gone.

        `assumed` is what was told before they were sent: other writers may have noticed the rollover meanwhile.
        Raises as `AsyncServer.call`.
        """
        found: set[int] = set()
        for stream, places in _by_stream(items).items():
            moved = [n for n in places if indices[n] != assumed.write.get(stream)]
            if moved:
                known = await self._look(stream)
                if known is not None and len(known.backing) > 1:
                    await self._refresh(stream, known)
                    found |= await self._first_kept(stream, known, {n: indices[n] for n in moved}, items)
        return found

    async def _first_kept(self, stream: str, known: _Stream, landed: dict[int, str], items: Sequence[Item]) -> set[int]:
        """Positions (of `landed`: position -> index) of those that an older index holds. Of each, only the oldest copy
        is left: a crash between storing and looking leaves two.
        """
        order = {index: n for n, index in enumerate(known.backing)}
        copies = await self._copies(stream, [items[n].id for n in landed])
        found: set[int] = set()
        second: list[tuple[str, str]] = []
        for n, index in landed.items():
            there = sorted((i for i in copies.get(items[n].id, ()) if i in order), key=order.__getitem__)
            if there and order[there[0]] < order.get(index, -1):
                found.add(n)
                second += [(newer, items[n].id) for newer in there[1:]]
        if second:
            await self._delete(second)
        return found

    async def _delete(self, copies: list[tuple[str, str]]) -> None:
        lines = [msgspec.json.encode({"delete": {"_index": index, "_id": id_}}) for index, id_ in copies]
        params = {"filter_path": "errors,items.*.status,items.*.error.type,items.*.error.reason"}
        answer = await self._server.call("POST", "/_bulk", params=params, body=lines)
        for item in answer.body["items"]:
            told = item["delete"]
            if told["status"] not in (200, 404):
                what = "deleting a second copy after a rollover"
                raise refusal(Answer(told["status"], told), what, self._server.where)
        self.removed += len(copies)

    # -------------------------------------------------------------------------------------------------------- looks

    async def _stream(self, stream: str) -> _Stream | None:
        known = self._streams.get(stream)
        if known is not None and time.monotonic() - known.looked < LOOK_SECONDS:
            return known
        return await self._look(stream)

    async def _look(self, stream: str) -> _Stream | None:
        """Ask which index is written and since when; None: the stream is not there yet."""
        path = url_path("_resolve", "index", stream)
        params = {"filter_path": "data_streams.backing_indices"}
        answer = await self._server.call("GET", path, params=params, accept=(404,))
        streams = answer.body.get("data_streams", []) if answer.status == 200 else []
        if not streams:
            self._streams.pop(stream, None)
            return None
        backing = tuple(streams[0]["backing_indices"])
        known = self._streams.get(stream)
        if known is None or known.backing != backing:
            known = self._streams[stream] = _Stream(backing, await self._created(backing[-1]), 0.0)
        known.looked = time.monotonic()
        return known

    async def _created(self, index: str) -> int:
        params = {"filter_path": "*.settings.index.creation_date"}
        answer = await self._server.call("GET", url_path(index, "_settings", "index.creation_date"), params=params)
        return int(answer.body[index]["settings"]["index"]["creation_date"])

    async def _refresh(self, stream: str, known: _Stream) -> None:
        now = time.time_ns() // 1_000_000
        if known.refreshed_ms <= known.created_ms + SETTLING_MS:
            await self._server.call("POST", url_path(stream, "_refresh"))
            known.refreshed_ms = now

    async def _copies(self, stream: str, ids: list[str]) -> dict[str, list[str]]:
        """Where documents of these ids are."""
        self.looks += 1
        body = {"query": {"ids": {"values": ids}}, "_source": False, "size": 10_000, "track_total_hits": False}
        params = {"filter_path": "hits.hits._id,hits.hits._index", "allow_partial_search_results": "false"}
        answer = await self._server.call("POST", url_path(stream, "_search"), params=params, body=body)
        found: dict[str, list[str]] = {}
        for hit in answer.body.get("hits", {}).get("hits", ()):
            found.setdefault(hit["_id"], []).append(hit["_index"])
        return found


def _by_stream(items: Iterable[Item]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for n, item in enumerate(items):
        if item.is_history:
            found.setdefault(item.target, []).append(n)
    return found
