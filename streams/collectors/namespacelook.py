"""Namespaces of a watched cluster, for ownership: listed, then watched, and told when their labels changed. Pure.

    look = NamespaceLook("prod-eu")
    look.ask()                    query of the next page of `GET /api/v1/namespaces`
    look.page(body, now)          what it tells; None: it is no page, and the list begins anew
    look.whole                    the list was read to its end; the next `ask` begins another one
    look.watch(seconds)           query of a watch from where the list, or the last event, was
    look.line(data, now)          one event of it; look.take() gives what is told
    look.forgotten                the watch ended with an error (410: the version is too old): list anew

Only what differs from what was told before is told, by whichever way it comes. Who starts anew tells every namespace
again.
"""

from __future__ import annotations

from typing import Final

import msgspec

from streams.collectors import reduce, wire
from streams.collectors.namespaces import namespace_observed
from streams.events import NamespaceObserved

PATH: Final = "/api/v1/namespaces"
PAGE: Final = 500
Labels = tuple[tuple[str, str], ...]


class _Meta(msgspec.Struct, rename="camel"):
    continue_: str | None = msgspec.field(default=None, name="continue")
    resource_version: str | None = None


class _Page(msgspec.Struct):
    items: list[msgspec.Raw] | None = None
    metadata: _Meta | None = None


_PAGE: Final = msgspec.json.Decoder(_Page)


class NamespaceLook:
    """What was told of a cluster's namespaces."""

    def __init__(self, cluster: str) -> None:
        self.cluster = cluster
        self.known: dict[str, Labels] = {}
        self.whole = False
        self.unreadable = 0
        """Namespaces that could not be read in the last list, or since; they count as unchanged."""
        self.version = ""
        """Where a watch goes on; empty: nobody knows."""
        self.forgotten = False
        self._told: list[NamespaceObserved] = []
        self._begin()

    def _begin(self) -> None:
        self._after, self._seen, self._unsure = "", set[str](), False
        self.unreadable = 0

    def ask(self) -> dict[str, str]:
        """Query of the next page."""
        self.whole = False
        return {"limit": str(PAGE)} | ({"continue": self._after} if self._after else {})

    def page(self, body: bytes, now: int) -> list[NamespaceObserved] | None:
        """What a page tells. `now`: microseconds."""
        try:
            page = _PAGE.decode(body)
        except wire.UNREADABLE:
            self._begin()
            return None
        if page.metadata is None:
            self._begin()
            return None
        found = [told for item in page.items or () if (told := self._item(item, now)) is not None]
        self._after = page.metadata.continue_ or ""
        if not self._after:
            self.version = page.metadata.resource_version or ""
            found += self._gone(now)
            unreadable = self.unreadable
            self._begin()
            self.unreadable, self.whole = unreadable, True
        return found

    def failed(self) -> None:
        """A page did not come: the list begins anew."""
        self._begin()

    # ------------------------------------------------------------------ the watch

    def watch(self, seconds: int) -> dict[str, str]:
        """Query of a watch that lasts so long at most."""
        self.forgotten = False
        return {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": self.version,
            "timeoutSeconds": str(seconds),
        }

    def line(self, data: bytes, now: int) -> None:
        """An event of the watch. One that cannot be read is counted; the next list says what it would have said."""
        if not data.strip():
            return
        try:
            event = wire.WATCHED_NAMESPACE.decode(data)
        except wire.UNREADABLE:
            self.too_long(len(data), b"", now)
            return
        meta = event.object.metadata if event.object is not None else None
        if event.type == "ERROR" or meta is None:
            self.forgotten = self.forgotten or event.type == "ERROR"
            return
        self.version = meta.resource_version or self.version
        if event.type == "DELETED" and meta.name:
            told: NamespaceObserved | None = self._end(meta.name, "watch", now) if meta.name in self.known else None
        else:
            told = self._changed(meta, "watch", now) if event.type in ("ADDED", "MODIFIED") else None
        if told is not None:
            self._told.append(told)

    def too_long(self, size: int, beginning: bytes, now: int) -> None:
        """An event of the watch that was not kept, or could not be read."""
        del size, beginning, now
        self.unreadable += 1
        self.forgotten = True

    def take(self) -> list[NamespaceObserved]:
        """What the watch told since the last call."""
        told, self._told = self._told, []
        return told

    # ------------------------------------------------------------------ what is told

    def _item(self, item: msgspec.Raw, now: int) -> NamespaceObserved | None:
        try:
            meta = wire.NAMESPACE.decode(item).metadata
        except wire.UNREADABLE:
            meta = None
        if meta is None or not meta.name:
            self.unreadable += 1
            self._unsure = True
            return None
        self._seen.add(meta.name)
        return self._changed(meta, "list", now)

    def _changed(self, meta: wire.PodMeta, source: str, now: int) -> NamespaceObserved | None:
        """A namespace as it is now, where that is not what was told."""
        if not meta.name:
            return None
        notes = {k: v for k, v in (meta.annotations or {}).items() if reduce.keeps_annotation(k, namespace=True)}
        told = namespace_observed(
            meta.name, meta.labels or {}, notes, cluster=self.cluster, source=f"{source}:{self.cluster}", time=now
        )
        if self.known.get(meta.name) == told.labels:
            return None
        self.known[meta.name] = told.labels
        return told

    def _gone(self, now: int) -> list[NamespaceObserved]:
        """Those that are there no more. Where something could not be read, nobody knows."""
        if self._unsure:
            return []
        return [self._end(name, "list", now) for name in sorted(self.known.keys() - self._seen)]

    def _end(self, name: str, source: str, now: int) -> NamespaceObserved:
        labels = dict(self.known.pop(name))
        return namespace_observed(
            name, labels, {}, cluster=self.cluster, source=f"{source}:{self.cluster}", time=now, gone=True
        )
