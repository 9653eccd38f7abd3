"""The monitor that trusts no engine: positions of a partition follow each other, or records were lost.

    monitor.expect(slot, 17); fresh = monitor.new(slot, records)

Topics that keep only the newest record of a key have holes by nature, and are not looked at.
"""

from __future__ import annotations

from collections.abc import Sequence

from streams.engine.broker import RecordsLost, Slot
from streams.engine.port import Record
from streams.topics import TOPICS


class Contiguity:
    """One per owner of partitions."""

    def __init__(self, accept_gaps: bool = False) -> None:
        self._accept = accept_gaps
        self._expected: dict[Slot, int | None] = {}

    def expect(self, slot: Slot, position: int | None) -> None:
        """Delivery begins here; None: with the oldest record there is."""
        self._expected[slot] = position

    def new(self, slot: Slot, records: Sequence[Record]) -> Sequence[Record]:
        """The records that were not delivered before.

        Raises:
            RecordsLost: records are missing before one of these.
        """
        expected = self._expected.get(slot)
        if expected is not None and records and records[0].position < expected:
            records = [r for r in records if r.position >= expected]
        if not records:
            return records
        positions = [record.position for record in records]
        begin = positions[0] if expected is None else expected
        if positions != list(range(begin, begin + len(positions))):
            self._look(slot, positions, begin)
        self._expected[slot] = positions[-1] + 1
        return records

    def _look(self, slot: Slot, positions: Sequence[int], expected: int) -> None:
        """These do not follow each other: is that as it should be?"""
        if self._accept or TOPICS[slot.topic].keep == "newest":
            return
        found = next(at for number, at in enumerate(positions, start=expected) if at != number)
        wanted = expected + positions.index(found)
        raise RecordsLost(
            f"{slot} goes on at {found}, expected {wanted}: {found - wanted} records were not delivered. See"
            " docs/operations.md, 'records lost': reconcile, then start with serve.accept_gaps"
        )
