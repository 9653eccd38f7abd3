"""Namespaces of a watched cluster, for ownership: listed now and then, and told when their labels changed. Pure.

    look = NamespaceLook("prod-eu")
    look.ask()                    query of the next page of `GET /api/v1/namespaces`
    look.page(body, now)          what it tells; None: it is no page, and the list begins anew
    look.whole                    the list was read to its end; the next `ask` begins another one

A look once a minute is enough: the audit feed tells of changes at once, and whose a namespace is seldom changes. Who
starts anew tells every namespace again.
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


class _Meta(msgspec.Struct):
    continue_: str | None = msgspec.field(default=None, name="continue")


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
        """Namespaces that could not be read in the last list; they count as unchanged."""
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
            found += self._gone(now)
            unreadable = self.unreadable
            self._begin()
            self.unreadable, self.whole = unreadable, True
        return found

    def failed(self) -> None:
        """A page did not come: the list begins anew."""
        self._begin()

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
        notes = {k: v for k, v in (meta.annotations or {}).items() if reduce.keeps_annotation(k, namespace=True)}
        told = namespace_observed(
            meta.name, meta.labels or {}, notes, cluster=self.cluster, source=f"list:{self.cluster}", time=now
        )
        if self.known.get(meta.name) == told.labels:
            return None
        self.known[meta.name] = told.labels
        return told

    def _gone(self, now: int) -> list[NamespaceObserved]:
        """Those that are there no more. Where something could not be read, nobody knows."""
        if self._unsure:
            return []
        missing = [name for name in self.known if name not in self._seen]
        return [
            namespace_observed(
                name, dict(self.known.pop(name)), {}, cluster=self.cluster, source=f"list:{self.cluster}", time=now,
                gone=True,
            )
            for name in missing
        ]  # fmt: skip
