"""Moves a state index to a new one with today's mapping, while writers and readers go on. No server-side reindex.

1. A new index `…-v<n+1>` is made, marked as "being copied from the old one".
2. Every document of the old one is copied with its version: an older copy can never replace a newer one.
3. The alias moves, in one step: reads and writes go to the new index.
4. What the old one got meanwhile is copied; then the mark is taken away.

Killed at any instant, it is started again: the mark tells where it was, and a document that is copied
twice is the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec
import orjson

from streams.elastic import REFUSED, UNAVAILABLE, Answer, Server, reason_of, refusal, url_path
from streams.sinks.bulk import without_values
from streams.sinks.fields import CURRENT
from streams.sinks.mapping import Names, switch_alias
from streams.sinks.setup import COPYING, SETUP, write_index
from verifier.errors import InputError, PlaceRefused, PlaceUnavailable

BATCH: Final = 1_000
"""Documents of one search and one bulk."""
KEEP_ALIVE: Final = "5m"
SETTLING: Final = 1.0
"""Seconds without a late document, after which none is expected."""
PATIENCE: Final = 120.0
"""Seconds of back-pressure before it gives up; it can be started again."""


class Progress(msgspec.Struct, frozen=True):
    """How far it is."""

    step: str
    """`copying`, `switching`, `catching up`."""
    copied: int
    total: int


class Moved(msgspec.Struct, frozen=True):
    """What was done."""

    alias: str
    old: str
    new: str
    copied: int
    resumed: bool
    """An earlier run had been interrupted."""
    dropped: bool
    """The old index is deleted."""


def reindex(
    server: Server,
    names: Names,
    home: str,
    *,
    drop_old: bool = False,
    tell: Callable[[Progress], None] = lambda _: None,
) -> Moved:
    """Move one state index; `home` is its short name.

    Raises:
        InputError: no state index of that name.
        PlaceRefused: not set up, the account may not, or a document does not fit the new mapping (the alias then still
            points at the old index).
        PlaceUnavailable: no answer, or back-pressure for too long; start it again.
    """
    if home not in CURRENT:
        raise InputError(f"{home[:60]!a} is no state; there are {', '.join(CURRENT)}")
    alias = names.target(home)
    live = write_index(server, alias)
    if live is None:
        raise PlaceRefused(REFUSED, f"{server.where}: no alias {alias}; run `{SETUP}`")
    old = _mark(server, live)
    copied, resumed = 0, True
    if old is None:  # nothing was interrupted behind the switch
        old, new = live, names.index(home, names.version(live) + 1)
        resumed = not _made(server, new, old)
        start = _last_change(server, old)
        copied = _copy(server, old, new, -1, "copying", tell)
        tell(Progress("switching", copied, copied))
        server.call("POST", url_path(new, "_refresh"))
        server.call("POST", "/_aliases", body=switch_alias(alias, old, new))
    else:
        new, start = live, -1
    copied += _caught_up(server, old, new, start, tell)
    _unmark(server, new)
    if drop_old:
        server.call("DELETE", url_path(old))
    return Moved(alias, old, new, copied, resumed, drop_old)


# --------------------------------------------------------------------------------------------------------------- steps


def _made(server: Server, new: str, old: str) -> bool:
    """Make the new index with its mark; False: an interrupted run made it."""
    made = server.call("PUT", url_path(new), body={"mappings": {"_meta": {COPYING: old}}}, accept=(400,))
    if made.status == 200:
        return True
    if _mark(server, new) != old:
        kind, reason = reason_of(made.body)
        raise PlaceRefused(
            REFUSED, f"{server.where}: {new} is in the way: {kind}: {reason}; delete it, then start again"
        )
    return False


def _meta(server: Server, index: str) -> dict[str, Any]:
    found = server.call("GET", url_path(index, "_mapping"), params={"filter_path": "*.mappings._meta"})
    return dict(found.body.get(index, {}).get("mappings", {}).get("_meta", {}))


def _mark(server: Server, index: str) -> str | None:
    mark = _meta(server, index).get(COPYING)
    return None if mark is None else str(mark)


def _unmark(server: Server, index: str) -> None:
    kept = {name: value for name, value in _meta(server, index).items() if name != COPYING}
    server.call("PUT", url_path(index, "_mapping"), body={"_meta": kept})


def _last_change(server: Server, index: str) -> int:
    """A sequence number up to which every shard's documents are seen by a copy that begins now."""
    server.call("POST", url_path(index, "_refresh"))
    found = server.call("GET", url_path(index, "_stats"), params={"level": "shards", "filter_path": _SEQUENCE})
    shards = [copy for copies in found.body["indices"][index]["shards"].values() for copy in copies]
    return min(int(shard["seq_no"]["max_seq_no"]) for shard in shards)


_SEQUENCE: Final = "indices.*.shards.*.seq_no.max_seq_no"


def _copy(server: Server, old: str, new: str, after: int, step: str, tell: Callable[[Progress], None]) -> int:
    """Copy what changed behind a sequence number; how many documents that were."""
    server.call("POST", url_path(old, "_refresh"))
    copied = 0
    for hits, total in _pages(server, old, after):
        _bulk(server, new, hits)
        copied += len(hits)
        tell(Progress(step, copied, total))
    return copied


def _caught_up(server: Server, old: str, new: str, after: int, tell: Callable[[Progress], None]) -> int:
    """Copy what the old index got meanwhile, until it gets nothing more: requests that were under way when the alias
    moved may still arrive there.
    """
    copied, found = 0, 1
    while found:
        time.sleep(SETTLING)
        last = _last_change(server, old)
        found = _copy(server, old, new, after, "catching up", tell)
        copied, after = copied + found, last
    return copied


def _pages(server: Server, index: str, after: int) -> Iterator[tuple[list[dict[str, Any]], int]]:
    """The index as it is now, a page at a time, with the number there is."""
    path = url_path(index, "_pit")
    point = server.call("POST", path, params={"keep_alive": KEEP_ALIVE}).body["id"]
    try:
        asked: dict[str, Any] = {
            "size": BATCH,
            "version": True,
            "sort": ["_shard_doc"],
            "track_total_hits": True,
            "query": {"range": {"_seq_no": {"gt": after}}} if after >= 0 else {"match_all": {}},
        }
        total = 0
        while True:
            asked["pit"] = {"id": point, "keep_alive": KEEP_ALIVE}
            found = server.call("POST", "/_search", params={"allow_partial_search_results": "false"}, body=asked).body
            point = found.get("pit_id", point)
            hits = found["hits"]["hits"]
            total = total or found["hits"]["total"]["value"]
            if not hits:
                return
            yield hits, total
            asked["search_after"] = hits[-1]["sort"]
            asked["track_total_hits"] = False
    finally:
        server.call("DELETE", "/_pit", body={"id": point}, accept=(404,))


def _bulk(server: Server, new: str, hits: list[dict[str, Any]]) -> None:
    lines = []
    for hit in hits:
        action = {"_id": hit["_id"], "version": hit["_version"], "version_type": "external_gte"}
        lines += [orjson.dumps({"index": action}), orjson.dumps(hit["_source"])]
    end, pause = time.monotonic() + PATIENCE, 0.2
    while True:
        answer = server.call("POST", url_path(new, "_bulk"), params=_PARAMS, body=lines, accept=(429, 503))
        error = _refused(server, hits, answer)
        if error is None:
            return
        if time.monotonic() + pause > end:
            raise error
        time.sleep(pause)
        pause = min(pause * 2, 5.0)


_PARAMS: Final = {"filter_path": "items.*.status,items.*.error.type,items.*.error.reason"}


def _refused(server: Server, hits: list[dict[str, Any]], answer: Answer) -> PlaceUnavailable | None:
    """Why a chunk has to be sent again; None when all of it is there. A newer copy that is there already is fine."""
    if answer.status != 200:
        return PlaceUnavailable(UNAVAILABLE, str(refusal(answer, "POST /_bulk", server.where)))
    again = None
    for hit, item in zip(hits, answer.body["items"], strict=True):
        told = item["index"]
        if told["status"] in (200, 201, 409):
            continue
        error = told.get("error", {})
        said = f"{server.where}: document {hit['_id']}: {error.get('type')}: {without_values(str(error.get('reason')))}"
        if told["status"] != 429 and told["status"] < 500:
            raise PlaceRefused(REFUSED, f"{said}; the alias still points at the old index")
        again = PlaceUnavailable(UNAVAILABLE, said)
    return again
