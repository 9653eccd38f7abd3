"""The monitor that trusts no engine: positions of a partition follow each other, or records were skipped.

    monitor.expect(slot, 17); fresh = monitor.new(slot, records)

What was skipped is read again from where it is missing, a few times; only what is not in the log any more is lost.
Topics that keep only the newest record of a key have holes by nature, and are not looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from streams.engine.broker import RecordsLost, Slot
from streams.engine.port import Record
from streams.topics import TOPICS

READ_AGAIN: Final = 3
"""How often one gap is read again before its records count as lost: a client may skip once more, a log stays."""


class Contiguity:
    """One per owner of partitions."""

    def __init__(
        self,
        again: Callable[[Slot, int], None],
        tell: Callable[[Slot, int, int, bool], None],
        accept_gaps: bool = False,
    ) -> None:
        """`again` is `Source.again`, `tell` is `Meter.skipped`."""
        self._again, self._tell, self._accept = again, tell, accept_gaps
        self._expected: dict[Slot, int | None] = {}
        self._tries: dict[Slot, tuple[int, int]] = {}
        """Partition -> the position that did not come, and how often it was asked for."""

    def expect(self, slot: Slot, position: int | None) -> None:
        """Delivery begins here; None: with the oldest record there is."""
        self._expected[slot] = position
        self._tries.pop(slot, None)

    def new(self, slot: Slot, records: Sequence[Record]) -> Sequence[Record]:
        """The records that were not delivered before, up to the first gap; what comes behind one is asked for again.

        Raises:
            RecordsLost: records are missing before one of these, and were not there when they were asked for.
        """
        expected = self._expected.get(slot)
        if expected is not None and records and records[0].position < expected:
            records = [r for r in records if r.position >= expected]
        if not records:
            return records
        positions = [record.position for record in records]
        begin = positions[0] if expected is None else expected
        if positions != list(range(begin, begin + len(positions))) and TOPICS[slot.topic].keep != "newest":
            records = self._up_to_gap(slot, records, begin)
        if records:
            self._expected[slot] = records[-1].position + 1
        return records

    def _up_to_gap(self, slot: Slot, records: Sequence[Record], begin: int) -> Sequence[Record]:
        """These do not follow each other: read again, or accept, or say that records are lost."""
        before = next(n for n, record in enumerate(records) if record.position != begin + n)
        wanted, found = begin + before, records[before].position
        at, tries = self._tries.get(slot, (wanted, 0))
        if at != wanted:
            tries = 0
        is_gone = tries >= READ_AGAIN
        self._tell(slot, wanted, found, is_gone)
        if not is_gone:
            self._tries[slot] = (wanted, tries + 1)
            self._again(slot, wanted)
            return records[:before]
        if self._accept:
            return records
        raise RecordsLost(
            f"{slot} goes on at {found}, expected {wanted}: {found - wanted} records were not delivered. See"
            " docs/operations.md, 'records lost': reconcile, then start with serve.accept_gaps"
        )
