"""What workers need of a broker, in two ports: a link that writes and reads whole partitions, and a source that hands
out the records of a consumer group. Adapters know nothing of shards, state or handlers; workers nothing of clients.

    link: send(record) -> acknowledged later, in order per partition · read(slot, start, end) · ends(slots)
    source: assigned, deliver, revoked -> a listener · ack(slot, next position) · pause, resume

At least once is kept by three rules. Positions are acknowledged in order and after their effects are durable; what was
not acknowledged is delivered again; whatever cannot be handled ends the process instead of being stepped over.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

from streams.engine.port import Record
from streams.engine.wire import WireRecord
from verifier.errors import RevetError


class Slot(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        """`revet.observations/3`."""
        return f"{self.topic}/{self.partition}"


class Followed(NamedTuple):
    """Some records, in the order of their partitions, and the positions reached with them (over holes too)."""

    records: Sequence[Record]
    positions: dict[Slot, int]


class RecordsLost(RevetError):
    """A partition goes on behind records nobody handled: retention was shorter than an outage, or they were skipped.

    The process ends: going on would hide it. docs/operations.md says how to reconcile, and how to go on.
    """

    exit_code = 4


class ShardTaken(RevetError):
    """Somebody else claimed a shard that is ours, or was: one of us was stopped for longer than its session.

    Whoever notices works on it no more. Nothing of the batch is acknowledged, so nothing is lost.
    """

    exit_code = 4


class Link(Protocol):
    """Writes records and reads partitions from any position, outside every group."""

    async def start(self) -> None:
        """Connect.

        Raises:
            PlaceUnavailable: no broker answers; PlaceRefused: it does not let us in.
        """

    async def stop(self) -> None:
        """Send what waits, and disconnect."""

    async def send(self, record: WireRecord) -> asyncio.Future[int]:
        """Hand a record over; the future gives its position once it is durable.

        Records of one partition become durable in the order of the calls. The future raises PlaceUnavailable or
        PlaceRefused when the broker did not take the record; then nothing behind it may be acknowledged either.
        """

    async def ends(self, slots: Collection[Slot]) -> dict[Slot, int]:
        """The position behind the newest record of each.

        Raises:
            PlaceUnavailable: the broker does not answer, or there is no such topic.
        """

    def read(self, slot: Slot, start: int, end: int) -> AsyncIterator[Sequence[Record]]:
        """Records from `start` (or the oldest there is) up to before `end`, in order. Raises as `ends`."""

    def follow(self, slots: Collection[Slot], start: Mapping[Slot, int] | None = None) -> AsyncIterator[Followed]:
        """Every record of these partitions, without end; now and then none, as a sign of life. Raises as `ends`.

        `start`: where to begin; the oldest record of those that are not named.
        """


class Listener(Protocol):
    """Whom a source tells."""

    async def assigned(self, slots: Collection[Slot]) -> None:
        """These partitions are ours; delivery begins when this returns."""

    async def revoked(self, slots: Collection[Slot]) -> None:
        """These are not ours any more once this returns; what is finished in here may still be acknowledged.

        It takes a bounded time, well below the session timeout.
        """

    def deliver(self, slot: Slot, records: Sequence[Record]) -> None:
        """Records in order. A listener that has enough pauses the partition.

        Raises:
            RecordsLost: records are missing before these.
        """

    def failed(self, error: BaseException) -> None:
        """The source cannot go on."""


class Source(Protocol):
    """Hands out the partitions of a consumer group."""

    async def start(self, listener: Listener) -> None:
        """Join the group. Raises as `Link.start`."""

    async def stop(self) -> None:
        """Store what was acknowledged, leave the group."""

    def ack(self, slot: Slot, position: int) -> None:
        """Everything before `position` is done with. Called in order; stored soon, and before a partition is
        given up.
        """

    def pause(self, slot: Slot) -> None:
        """Deliver nothing more of this partition for now; at most what is on its way still comes."""

    def resume(self, slot: Slot) -> None:
        """Go on."""

    def again(self, slot: Slot, position: int) -> None:
        """Deliver this partition from `position` on (or from the oldest record there is behind it). Whatever was on its
        way is not delivered. Callable from within `Listener.deliver`.
        """

    async def committed(self, slots: Collection[Slot]) -> dict[Slot, int | None]:
        """Stored positions of the group for partitions that are ours; None where there is none.

        Raises:
            PlaceUnavailable, PlaceRefused: the broker does not answer, or does not let us ask.
        """
