"""Judge, alerter and indexer behind one engine port, so that one transaction covers a batch and all it comes to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from alerting.channels import Channels
from alerting.models import IncidentAction, IncidentContext, IncidentPart, ShardReached, SilenceAction
from alerting.routing import Routes
from streams.alerter import KINDS, Alerter
from streams.engine.port import Effects, Output, Record
from streams.engine.reading import Unreadable, events_of, trust_record
from streams.events import EvidenceWanted, LedgerChecked, LedgerDay, NamespaceObserved, Tick, TrustChanged
from streams.handlers import HANDLERS, Event, finish_sweep, handle, restored, sweep_slice
from streams.local.kept import KEPT_KINDS, KeptState
from streams.outputs import output
from streams.sinks.document import Document
from streams.sinks.documents import documents
from streams.sinks.known import KnownFromTrust
from streams.topics import ACTIONS, CLAIMS, CLUSTER_SIGHT, DEADLETTERS, FACTS, HISTORY, OBSERVATIONS, TRUST
from verifier.trust.state import TrustState

RECORD = "record"
"""Name of the sink that takes documents; not a topic."""

_FOR_PEOPLE: Final = (NamespaceObserved, IncidentAction, IncidentContext, SilenceAction, LedgerChecked, LedgerDay)
"""What the alerter hears as it came."""


class LocalProcessor:
    """Everything between the durable log and the record."""

    topics = (TRUST, FACTS, ACTIONS, CLUSTER_SIGHT, OBSERVATIONS, CLAIMS, HISTORY, DEADLETTERS)

    def __init__(
        self,
        trust_log: Iterable[tuple[int, bytes]] = (),
        routes: Routes | None = None,
        *,
        replay: bool = False,
        tells: bool = True,
        channels: Channels | None = None,
    ) -> None:
        self.state = KeptState()
        self.alerter = Alerter(routes, channels=channels)
        self._known: tuple[TrustState | None, KnownFromTrust] = (None, KnownFromTrust(self.state.trust))
        self._trust_log = trust_log
        self._replay = replay
        """In a replay evidence is fetched, and people are told, before the next record, so that batches and restarts
        change nothing."""
        self.tells = tells
        """Somebody delivers what the ledger says."""
        self._stored_now = 0

    @property
    def trust(self) -> TrustState:
        """Trust at the epoch reached."""
        return self.state.trust

    @property
    def now(self) -> int:
        """The clock as far as inputs have told it."""
        return self.state.now

    def restore(self, state: Iterable[tuple[str, str, bytes]]) -> Effects:
        """Load state; judge once; say only what differs from what was last said."""
        entries = list(state)
        self.state.restore(e for e in entries if e[0] not in KINDS | KEPT_KINDS)
        for epoch, value in self._trust_log:
            self.state.trust, _ = self.state.trust.apply(trust_record(epoch, value), epoch)
        self.alerter.restore((e for e in entries if e[0] in KINDS), self.state.trust)
        self.state.load_asked(entries)
        said = [out for slice_ in restored(self.state) for out in slice_]
        self.state.load_due(entries)
        self._stored_now = self.state.now
        return self._finished(list(self._follow(said)), 0)

    def process(self, records: Sequence[Record]) -> Effects:
        """Handle records in order; in a replay up to and with the first that asks for evidence or has news to tell.

        Raises:
            NewerSchemaError: the first record is one that a newer program has to read. What stands before such a record
                is handled; it and the rest wait.
        """
        outputs: list[Output] = []
        number = 0
        for number, found in enumerate(events_of(records), start=1):  # noqa: B007  # its last value is used below
            made = list(self._one(found))
            outputs.extend(made)
            if self._replay and (self._has_news() or any(isinstance(o.event, EvidenceWanted) for o in made)):
                break
        return self._finished(outputs, number)

    def _has_news(self) -> bool:
        due = self.alerter.ledger.next_due() if self.tells else None
        return due is not None and due <= self.now

    def tick(self, now: int) -> Effects:
        """Let time reach `now`."""
        outputs = list(self._follow(handle(self.state, Tick(id="", time=now))))
        outputs += [_document(d) for out in self.alerter.tick(now) for d in self._documents(out)]
        return self._finished(outputs, 0)

    def idle(self) -> Effects | None:
        """One slice of the running sweep, and what the alerter has to say about it."""
        outputs = sweep_slice(self.state)
        if outputs is None:
            return None
        made = list(self._follow(outputs))
        made += [_document(d) for out in self.alerter.tick(self.now) for d in self._documents(out)]
        return self._finished(made, 0)

    def next_due(self) -> int | None:
        """When `tick` has something to do."""
        return min((t for t in (self.state.next_due(), self.alerter.next_due()) if t is not None), default=None)

    def _one(self, event: object) -> Iterator[Output]:
        if isinstance(event, Unreadable):  # it becomes a document when the log of dead letters is read
            yield output(event.letter)
            return
        yield from (_document(d) for d in self._documents(event))
        if isinstance(event, _FOR_PEOPLE):
            yield from self._alert(event)
        if type(event) in HANDLERS:
            yield from self._follow(handle(self.state, self._timely(event)))
        if isinstance(event, TrustChanged):
            if self._replay:  # nothing lies between a trust change and what it comes to, wherever a batch ends
                yield from self._follow(finish_sweep(self.state))
            said = self.alerter.trust_changed(self.state.trust, self.now)
            yield from (_document(d) for out in said for d in self._documents(out))
        yield from (_document(d) for out in self.alerter.tick(self.now) for d in self._documents(out))

    def _timely(self, event: object) -> Event:
        """A trust change that is made beside a recording is made now, and now is what the recording says."""
        if self._replay and isinstance(event, TrustChanged):
            event = msgspec.structs.replace(event, time=self.now)
        return event  # type: ignore[return-value]  # the caller has looked it up in HANDLERS

    def _follow(self, outputs: Iterable[object]) -> Iterator[Output]:
        for out in outputs:
            if isinstance(out, (IncidentPart, ShardReached)):
                yield from self._alert(out)
            elif isinstance(out, EvidenceWanted):
                self.state.asked(out.repository, out.digest)
                yield output(out)
            else:
                yield from (_document(d) for d in self._documents(out))

    def _documents(self, event: object) -> Iterator[Document]:
        """The documents of an event, with the names that trust and namespaces give to its ids."""
        if self._known[0] is not self.state.trust:
            self._known = (self.state.trust, KnownFromTrust(self.state.trust, self.alerter.owners))
        return documents(event, self._known[1])

    def _alert(self, event: object) -> Iterator[Output]:
        yield from (_document(d) for out in self.alerter.handle(event, self.now) for d in self._documents(out))

    def _finished(self, outputs: list[Output], consumed: int) -> Effects:
        if self.state.now != self._stored_now:
            self.state.touch("meta", "")  # also time that passed without an output has passed
            self._stored_now = self.state.now
        state = (*self.state.take_dirty(), *self.alerter.take_dirty())
        return Effects(outputs=tuple(outputs), state=state, consumed=consumed)


def _document(document: object) -> Output:
    return Output(RECORD, "", "", 0, document)
