"""Processors: handlers behind the engine port. They only adapt: decode, call the handler, emit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from streams.codec import Event
from streams.engine.port import Effects, Record
from streams.engine.reading import Unreadable, held, trust_record
from streams.events import Tick
from streams.handlers import HANDLERS, handle, restored, sweep_slice
from streams.outputs import output
from streams.state import ShardState
from streams.topics import CLUSTER_SIGHT, FACTS, OBSERVATIONS, TRUST
from streams.trustlog import Ignored, Refused, TrustGate, gated


class JudgeProcessor:
    """One shard of the judge.

    Trust is folded from the log on restore (`trust_log`), because it is one log that every process reads whole. Where
    others can write to that log, `gate` says which of its entries count.
    """

    topics = (TRUST, CLUSTER_SIGHT, FACTS, OBSERVATIONS)

    def __init__(
        self,
        shard: int = 0,
        shards: int = 1,
        trust_log: Iterable[tuple[int, bytes]] = (),
        gate: TrustGate | None = None,
    ) -> None:
        self.state = ShardState(shard, shards)
        self._reader = gated(gate)
        self._trust_log = trust_log
        self._restoring: Iterator[list[object]] = iter(())

    def restore(self, state: Iterable[tuple[str, str, bytes]]) -> Effects:
        """Load stored state, fold trust, judge once; says only what differs from what was last said."""
        self.state.restore(state)
        for epoch, value in self._trust_log:
            self.state.trust, _ = self.state.trust.apply(trust_record(epoch, value), epoch)
        return self._effects(chain.from_iterable(restored(self.state)))

    def process(self, records: Sequence[Record]) -> Effects:
        """Handle records in order; what cannot be read becomes a dead letter.

        Raises:
            NewerSchemaError: the first record is one that a newer program has to read. What stands before such a record
                is handled; it and the rest wait.
        """
        outputs: list[object] = []
        taken = 0
        for taken, found in enumerate(held(records, self._reader), start=1):  # noqa: B007  # its last value is the answer
            outputs.extend(self._handle(found))
        return self._effects(outputs, taken)

    def _handle(self, found: Event | Unreadable | Refused | Ignored) -> Iterator[object]:
        if isinstance(found, Unreadable):
            yield found.letter
        elif isinstance(found, Refused):
            if self.state.shard == 0:  # every shard reads the trust log: one says so
                yield found.letter
        elif type(found) in HANDLERS:
            yield from handle(self.state, found)  # type: ignore[arg-type]  # in HANDLERS, so one of its events

    def tick(self, now: int) -> Effects:
        """Let time reach `now`."""
        return self._effects(handle(self.state, Tick(id="", time=now)))

    def idle(self) -> Effects | None:
        """One slice of the running sweep."""
        outputs = sweep_slice(self.state)
        return None if outputs is None else self._effects(outputs)

    def _effects(self, outputs: Iterable[object], taken: int = 0) -> Effects:
        made = tuple(output(o) for o in outputs)  # drives the handlers before the dirty set is taken
        return Effects(outputs=made, state=tuple(self.state.take_dirty()), consumed=taken)
