"""Judge and alerter as shards of the clustered mode: the handlers of every mode behind `streams.engine.lanes`. Pure.

What differs from one process on one file: broadcast topics are folded once per process (`streams.shared`), not stored
with a shard. A shard stores the trust epoch it has reached and, after a restart, goes through what came since as if it
came now, so that causes are the ones that were. Facts come from the broadcast topic, and no shard stores them again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Final

import msgspec

from alerting.channels import Channels
from alerting.models import IncidentAction, IncidentContext, IncidentPart, ShardReached, SilenceAction
from alerting.routing import Routes
from streams.alerter import KINDS, Alerter
from streams.codec import NewerSchemaError
from streams.engine.port import Effects, Record
from streams.engine.reading import Unreadable, read, trust_record
from streams.events import FeedSeen, LedgerChecked, LedgerDay, Tick, TrustChanged, VerdictReached
from streams.handlers import HANDLERS, finish_sweep, handle, restored, sweep_slice
from streams.handlers.evidence import RETRY_AFTER, learn
from streams.outputs import output
from streams.shared import Shared
from streams.state import Image, ShardState
from streams.topics import ACTIONS, CLUSTER_SIGHT, FACTS, OBSERVATIONS, PARTS, TRUST
from streams.trustlog import Ignored, Refused
from verifier.trust.state import TrustState

REACHED: Final = "reached"
"""Kind of the row that says which trust epoch a shard has come to."""
NOW: Final = "now"
"""Kind of the row that says how far the alerter's clock has come."""
_TELLS_TIME: Final = (
    IncidentPart,
    ShardReached,
    IncidentAction,
    IncidentContext,
    SilenceAction,
    TrustChanged,
    FeedSeen,
    LedgerChecked,
    LedgerDay,
    Tick,
)
"""Records by which the alerter's clock goes."""
_NOT_STORED: Final = frozenset({"image"})
"""Kinds of rows that the broadcast topic of facts has."""


class ClusterJudge:
    """One shard of the judge. Implements `Processor`."""

    topics = (TRUST, CLUSTER_SIGHT, FACTS, OBSERVATIONS)

    def __init__(
        self, shard: int, shards: int, shared: Shared, clock: Callable[[], int] | None = None, max_age: int = 0
    ) -> None:
        """`clock`: now, microseconds UTC; None: time comes with the records alone. `max_age`: `ShardState.max_age`."""
        self.state = ShardState(shard, shards)
        self.state.max_age = max_age
        self._clock = clock
        self.state.on_new_image = self._know
        self._shared = shared
        self._stored_epoch = -1

    # ------------------------------------------------------------------ Processor

    def restore(self, state: Iterable[tuple[str, str, bytes]]) -> Effects:
        """See `Processor.restore`: rows, facts, trust up to the stored epoch, one judgement, then what came since."""
        rows = list(state)
        self.state.restore(row for row in rows if row[0] not in _NOT_STORED | {REACHED})
        self._let_time_come()
        epoch = next((msgspec.msgpack.decode(value, type=int) for kind, _, value in rows if kind == REACHED), 0)
        self._stored_epoch = epoch
        for entry in self._shared.trust_entries()[:epoch]:
            self.state.trust, _ = self.state.trust.apply(trust_record(entry.epoch, entry.record), entry.epoch)
        self._learn_facts()
        said = chain(chain.from_iterable(restored(self.state)), self._since())
        return self._effects(said)

    def _let_time_come(self) -> None:
        """What is said again after a crash must not be dated before what a former owner said and did not store."""
        if self._clock is not None:
            self.state.now = max(self.state.now, self._clock())

    def _learn_facts(self) -> None:
        for (repository, digest), image in self.state.images.items():
            found = self._shared.evidence(repository, digest)
            if found is not None:
                learn(self.state, image, found)

    def _since(self) -> Iterator[object]:
        """Trust that changed while nobody held this shard, and what is seen of clusters now."""
        for entry in self._shared.trust_entries():
            yield from self._handled(entry)
            yield from finish_sweep(self.state)
        for refused in self._shared.refused():
            yield from self._handled(refused)
        for seen in self._shared.cluster_sight():
            yield from self._handled(seen)

    def catch_up(self) -> Effects:
        """After a time in which others held the shard and wrote nothing: what was broadcast meanwhile."""
        self._let_time_come()
        return self._effects(chain(self._newer_facts(), self._since()))

    def _newer_facts(self) -> Iterator[object]:
        for repository, digest in list(self.state.images):
            found = self._shared.evidence(repository, digest)
            if found is not None:
                yield from self._handled(found)

    def process(self, records: Sequence[Record]) -> Effects:
        """See `Processor.process`. Raises NewerSchemaError when the first record is a newer program's."""
        outputs: list[object] = []
        taken = 0
        for record in records:
            try:
                found = self._read(record)
            except NewerSchemaError:
                if not taken:
                    raise
                break
            outputs.extend(self._handled(found))
            taken += 1
        return self._effects(outputs, taken)

    def _read(self, record: Record) -> object:
        """What a record comes to; None for an answer about an image that no class of this shard has."""
        if record.topic == TRUST:
            return self._shared.trust_at(record)
        if record.topic == FACTS:
            repository, _, digest = record.key.rpartition("@")
            if (repository, digest) not in self.state.images:
                return None
        return read(record)

    def tick(self, now: int) -> Effects:
        """See `Processor.tick`."""
        due = self.state.next_due()
        if due is None or due > now:  # nothing is due: no row has to say that time passed
            self.state.now = max(self.state.now, now)
            return Effects()
        return self._effects(handle(self.state, Tick(id="", time=now)))

    def idle(self) -> Effects | None:
        """See `Processor.idle`."""
        outputs = sweep_slice(self.state)
        return None if outputs is None else self._effects(outputs)

    # ------------------------------------------------------------------ handling

    def _handled(self, found: object) -> Iterator[object]:
        if isinstance(found, Unreadable):
            yield found.letter
        elif isinstance(found, Refused):
            if self.state.shard == 0:  # every shard sees it; one says so
                yield found.letter
        elif type(found) in HANDLERS:
            yield from handle(self.state, found)  # type: ignore[arg-type]  # in HANDLERS: its event

    def _know(self, image: Image) -> None:
        """What other shards asked for is known here when the first class of an image comes up."""
        evidence = image.evidence
        found = self._shared.evidence(evidence.repository, evidence.digest) if evidence.problem is None else None
        if found is None:
            return
        learn(self.state, image, found)
        if found.set.keyset != self.state.trust.keyset_id:
            return  # its request goes out: what is known is read again under the candidates of now
        image.asked, image.attempts = self.state.now, 1
        if not found.set.complete:
            at = max(self.state.now, found.set.fetched_at) + RETRY_AFTER[0]
            self.state.schedule(at, "retry", f"{evidence.repository}\0{evidence.digest}")

    def _effects(self, outputs: Iterable[object], taken: int = 0) -> Effects:
        said = list(outputs)  # drives the handlers before the dirty set is taken
        read = tuple(sorted(self._shared.positions().items()))
        made = tuple(output(_with_positions(out, read)) for out in said)
        if made:
            self.state.touch("meta", "")  # whoever takes over says nothing that is dated before this
        rows = [row for row in self.state.take_dirty() if row[0] not in _NOT_STORED]
        if self.state.trust.epoch != self._stored_epoch:
            self._stored_epoch = self.state.trust.epoch
            rows.append((REACHED, "", msgspec.msgpack.encode(self._stored_epoch)))
        return Effects(made, tuple(rows), taken)


def _with_positions(out: object, read: tuple[tuple[str, int], ...]) -> object:
    """A verdict says what had been read."""
    return msgspec.structs.replace(out, read=read) if isinstance(out, VerdictReached) else out


class ClusterAlerter:
    """The alerter, behind the same port. There is one shard of it. Implements `Processor`."""

    topics = (TRUST, CLUSTER_SIGHT, ACTIONS, PARTS)

    def __init__(
        self,
        shared: Shared,
        routes: Routes | None = None,
        stalled_after: int | None = None,
        channels: Channels | None = None,
    ) -> None:
        """`stalled_after`: microseconds without progress after which a part of revet counts as stalled; None: never.
        `channels`: see `Alerter`.
        """
        self.alerter = Alerter(routes, stalled_after, channels)
        self.now = 0
        self._shared = shared
        self._trust = TrustState.empty()

    def restore(self, state: Iterable[tuple[str, str, bytes]]) -> Effects:
        """See `Processor.restore`."""
        rows = list(state)
        self.now = next((msgspec.msgpack.decode(value, type=int) for kind, _, value in rows if kind == NOW), 0)
        self._trust = self._shared.gate.trust
        self.alerter.restore((row for row in rows if row[0] in KINDS), self._trust)
        return self._effects(self._meanwhile())

    def catch_up(self) -> Effects:
        """After a time in which others held the shard and wrote nothing."""
        self._trust = self._shared.gate.trust
        return self._effects(self._meanwhile())

    def _meanwhile(self) -> Iterator[object]:
        """What was broadcast while nobody told; what was told before is no news."""
        yield from self.alerter.trust_changed(self._trust, self.now)
        for refused in self._shared.refused():
            yield from self.alerter.handle(refused, self.now)
        for seen in self._shared.cluster_sight():
            at = seen.time if isinstance(seen, FeedSeen) else self.now  # it was heard then, and not again since
            yield from self.alerter.handle(seen, at)

    def process(self, records: Sequence[Record]) -> Effects:
        """See `Processor.process`. Raises NewerSchemaError when the first record is a newer program's."""
        outputs: list[object] = []
        taken = 0
        for record in records:
            try:
                found = self._shared.trust_at(record) if record.topic == TRUST else read(record)
            except NewerSchemaError:
                if not taken:
                    raise
                break
            outputs.extend(self._handled(found))
            taken += 1
        return self._effects(outputs, taken)

    def _handled(self, found: object) -> Iterator[object]:
        if isinstance(found, Unreadable):
            yield found.letter
            return
        if isinstance(found, _TELLS_TIME):
            self.now = max(self.now, found.time)
        if isinstance(found, TrustChanged):
            self._trust = self._shared.gate.trust
            yield from self.alerter.trust_changed(self._trust, self.now)
        elif not isinstance(found, Ignored):
            yield from self.alerter.handle(found, self.now)
        yield from self.alerter.tick(self.now)

    def tick(self, now: int) -> Effects:
        """See `Processor.tick`."""
        self.now = max(self.now, now)
        due = self.alerter.next_due()
        if due is None or due > self.now:
            return Effects()
        return self._effects(self.alerter.tick(self.now))

    def idle(self) -> Effects | None:
        """See `Processor.idle`."""
        return None

    def _effects(self, outputs: Iterable[object], taken: int = 0) -> Effects:
        made = tuple(output(o) for o in outputs)
        rows = self.alerter.take_dirty()
        if made or rows:  # signs of life alone change nothing
            rows.append((NOW, "", msgspec.msgpack.encode(self.now)))
        return Effects(made, tuple(rows), taken)
