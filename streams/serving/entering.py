"""Entries of the ledger on their way: durable before their documents are written, so that none is without one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from streams.clock import wall_clock
from streams.engine.broker import Link
from streams.engine.port import Output
from streams.engine.wire import to_wire
from streams.events import LedgerEntry
from streams.ledger.entries import act, entries_of, packed
from streams.outputs import output
from streams.sinks.bulk import Refused, Versioned
from streams.sinks.fields import is_current


class Entering:
    """Writes entries. One per process."""

    def __init__(self, link: Link, *, enabled: bool, clock: Callable[[], int] = wall_clock) -> None:
        """`enabled`: there is a ledger (`ledger.enabled`); without one nothing is written."""
        self._link, self._enabled, self._clock = link, enabled, clock

    async def before(self, documents: Sequence[Versioned]) -> None:
        """Entries of the history among these; back when the broker has them.

        Raises:
            PlaceUnavailable, PlaceRefused: the broker did not take them; the documents must not be written then.
        """
        if not self._enabled:
            return
        now = self._clock()
        packs = packed(entries_of(one.document for one in documents), now)
        sent = [await self._link.send(to_wire(output(pack), 1, 0, now // 1000)) for pack in packs]
        await asyncio.gather(*sent)

    def refused(self, documents: Sequence[Refused]) -> list[Output]:
        """The acts that say which documents no store took, though they have an entry."""
        entries = (_act(one) for one in documents if self._enabled and not is_current(one.item.document.home))
        return [output(pack) for pack in packed(entries, self._clock())]


def _act(one: Refused) -> LedgerEntry:
    document = one.item.document
    return act("refused", {"act": "refused", "code": one.code}, document.time, home=document.home, id_=document.id)
