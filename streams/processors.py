"""Processors: handlers behind the engine port. They only adapt: decode, call the handler, emit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from streams.codec import decode
from streams.engine.port import Effects, Record
from streams.events import Tick
from streams.handlers import HANDLERS, handle, restored, sweep_slice
from streams.outputs import output
from streams.state import ShardState
from streams.topics import CLUSTER_SIGHT, FACTS, OBSERVATIONS, TRUST
from verifier.trust.records import TRUST_RECORD


class JudgeProcessor:
    """One shard of the judge.

    Trust is folded from the log on restore (`trust_log`), because it is one log that every process reads whole.
    """

    topics = (TRUST, CLUSTER_SIGHT, FACTS, OBSERVATIONS)

    def __init__(self, shard: int = 0, shards: int = 1, trust_log: Iterable[tuple[int, bytes]] = ()) -> None:
        self.state = ShardState(shard, shards)
        self._trust_log = trust_log
        self._restoring: Iterator[list[object]] = iter(())

    def restore(self, state: Iterable[tuple[str, str, bytes]]) -> Effects:
        """Load stored state, fold trust, judge once; says only what differs from what was last said."""
        self.state.restore(state)
        for epoch, value in self._trust_log:
            self.state.trust, _ = self.state.trust.apply(TRUST_RECORD.validate_json(value), epoch)
        return self._effects(chain.from_iterable(restored(self.state)))

    def process(self, records: Sequence[Record]) -> Effects:
        """Handle records in order."""
        return self._effects(chain.from_iterable(self._handle(record) for record in records))

    def _handle(self, record: Record) -> Iterator[object]:
        event = decode(record.value)
        if type(event) in HANDLERS:
            yield from handle(self.state, event)  # type: ignore[arg-type]  # in HANDLERS, so one of Event

    def tick(self, now: int) -> Effects:
        """Let time reach `now`."""
        return self._effects(handle(self.state, Tick(id="", time=now)))

    def idle(self) -> Effects | None:
        """One slice of the running sweep."""
        outputs = sweep_slice(self.state)
        return None if outputs is None else self._effects(outputs)

    def _effects(self, outputs: Iterable[object]) -> Effects:
        made = tuple(output(o) for o in outputs)  # drives the handlers before the dirty set is taken
        return Effects(outputs=made, state=tuple(self.state.take_dirty()))
