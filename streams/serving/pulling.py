"""Budgets of pulls that all fetchers share, over the topic `revet.pulls`: `serve fetch`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from streams.clock import wall_clock
from streams.engine.broker import Link
from streams.engine.port import Record
from streams.engine.reading import read
from streams.engine.wire import to_wire
from streams.events import PullsTaken
from streams.outputs import output
from streams.pulls import Pulls, SharedPulls
from streams.topics import PULLS
from verifier.oci.pacing import Allowance, Quota


class Pulling:
    """The budgets of one process. `take` it what the topic holds, in its order."""

    def __init__(self, budgets: Mapping[str, Quota], link: Link, shards: int, instance: str) -> None:
        async def send(taken: PullsTaken) -> None:
            await (await link.send(to_wire(output(taken), shards)))

        self._shared = SharedPulls(Pulls(budgets), send, wall_clock, instance)

    @property
    def allowance(self) -> Allowance:
        """For `RegistryPlace.share`."""
        return self._shared

    def take(self, records: Sequence[Record]) -> None:
        """Records of the topics of a view, in their order. What cannot be read takes no pulls.

        Raises:
            NewerSchemaError: an entry was written by a newer revet.
        """
        for record in records:
            found = read(record) if record.topic == PULLS else None
            if isinstance(found, PullsTaken):
                self._shared.fold(found)
