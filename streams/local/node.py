"""The node: one SQLite file, one processor, one place to ask for evidence, one notifier. Wiring and order, no rules.

    node = LocalNode.open(path, NodeSettings(place=layout))
    node.ingest(observations, progress=("audit.jsonl", "17"))     # durable when this returns
    await node.drain()                                            # judged, recorded, told

Time: live it is the wall clock; in a replay it is the newest time any input has told, so that a recording plays the
same at any speed, and a restart in the middle ends in the same state.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from alerting.adapters.sqlite import Here, SqliteNotifier, Stream
from alerting.calls import Find
from alerting.channels import Channels
from alerting.delivery import Notifier, deliver
from alerting.models import Incident
from alerting.routing import Routes
from streams.clock import wall_clock
from streams.collectors.notified import Changed, KnownImage, requests
from streams.engine.port import Output, Record
from streams.engine.reading import Unreadable, read
from streams.engine.sqlite import CONTROL, Connection, SqliteEngine, append_trust, connect, trust_log
from streams.events import EvidenceFound, EvidenceWanted
from streams.fetching import Answer, EvidenceAnswerer, Known, by_image, left_out, names_of
from streams.ledger.sqlite import LocalLedger
from streams.local.dated import Dates, mark_of
from streams.local.processor import RECORD, LocalProcessor
from streams.outputs import output
from streams.sinks.sqlite import SqliteRecord
from streams.telling import Courier
from streams.topics import REQUESTS
from verifier.adapters.sqlite import SqliteEvidenceStore, create_evidence_tables
from verifier.models import EvidenceSet
from verifier.oci.port import EvidencePlace
from verifier.trust.records import TRUST_RECORD, TrustRecord
from verifier.trust.state import TrustState

FETCHES_AT_ONCE: Final = 8
FETCHER: Final = "fetcher"


class NodeSettings(msgspec.Struct, frozen=True):
    """What a node is made of."""

    place: EvidencePlace | None = None
    """Where evidence is published; None: nowhere, so nothing can be verified (`no-evidence-source`)."""
    replay: bool = False
    """Recorded time instead of the wall clock; evidence is fetched before the next record, dated by `dates` only."""
    dates: Dates = Dates()
    """Dated first observations that came with a recording."""
    routes: Routes = Routes()
    channels: Channels | None = None
    """Where teams are told; None: one place takes everything."""
    platform: str | None = None
    """`os/arch` of the nodes, so that of an index the child that runs is asked about too."""
    notifier: Notifier | None = None
    max_age: int = 0
    """`ShardState.max_age`; nothing in a replay."""
    batch: int = 500
    clock: Callable[[], int] = wall_clock


class LocalNode:
    """The single-machine mode. One process at a time drives it; commands only append to its log and read its record."""

    def __init__(self, connection: Connection, settings: NodeSettings) -> None:
        self.connection = connection
        self.settings = settings
        create_evidence_tables(connection)
        self.record = SqliteRecord(connection)
        self.ledger = LocalLedger(connection)
        self.store = SqliteEvidenceStore(connection)
        self.processor = LocalProcessor(
            trust_log(connection, seen_by=CONTROL),
            settings.routes,
            replay=settings.replay,
            tells=settings.notifier is not None,
            channels=settings.channels,
        )
        self.processor.state.max_age = 0 if settings.replay else settings.max_age
        self.notifier = settings.notifier
        self.considers: Callable[[Incident | None], None] = _nobody
        """Hears which incident is about to be told of."""
        self.engine = SqliteEngine(connection, self.processor, {RECORD: self._write_record}, settings.batch)
        # In a replay the place is of today and the record is of then: only what came with it tells when.
        dates = settings.dates
        self.answerer = EvidenceAnswerer(
            settings.place,
            self.store,
            lambda: self.trust,
            lambda: 0 if settings.replay else self.now,  # a recording is as late as whoever asks says
            platform=settings.platform,
            date_of=(lambda evidence: dates.get(mark_of(evidence))) if settings.replay else None,
        )

    @classmethod
    def open(cls, path: Path, settings: NodeSettings) -> LocalNode:
        """Open or create the state file and restore from it.

        Raises:
            InputError: it is no state file, or of a newer version.
            PlaceUnavailable: it is locked or cannot be written.
        """
        node = cls(connect(path, create=True), settings)
        node.engine.restore()
        return node

    def keep_messages(self, stream: Stream | None) -> None:
        """Tell people by rows of the state file, printed on `stream` (None: kept only).

        Raises:
            PlaceUnavailable: the file cannot be written.
        """
        self.notifier = SqliteNotifier(self.connection, stream)
        self.processor.tells = True

    def close(self) -> None:
        """Close the file."""
        self.connection.close()

    # ------------------------------------------------------------------ in

    @property
    def now(self) -> int:
        """The node's clock."""
        return self.processor.now if self.settings.replay else max(self.settings.clock(), self.processor.now)

    def ingest(
        self, observations: Sequence[object], progress: Mapping[str, str] | None = None, originals: Sequence[bytes] = ()
    ) -> int:
        """Make observations durable; returns how many were new. Progress per source and the reduced originals go with
        them, so that a mended parser can be run over the originals again.
        """
        with self.engine.transaction():
            new = self.engine.append_inside([output(o) for o in observations])
            self.engine.keep_originals(originals)
            for source, position in (progress or {}).items():
                self.engine.keep_progress(source, position)
        return new

    def progress(self, source: str) -> str:
        """How far a source has been read; empty when it was never read."""
        return self.engine.progress(source)

    def change_trust(self, records: Sequence[TrustRecord], expects: int | None = None) -> list[int]:
        """Append trust records; returns their epochs.

        Raises:
            TrustError: the log has moved on since `expects`.
        """
        return append_trust(self.connection, [TRUST_RECORD.dump_json(r) for r in records], self.now, expects)

    @property
    def trust(self) -> TrustState:
        """Trust at the epoch the judge has reached."""
        return self.processor.trust

    # ------------------------------------------------------------------ work

    async def drain(self) -> None:
        """Work until nothing is left: records, evidence, sweeps, deliveries."""
        while await self.work():
            pass
        self.show_messages()

    async def work(self) -> bool:
        """One unit of work; False when there was none."""
        if self.settings.replay:  # what a record asks for or has to tell comes before the next record
            return await self.fetch_waiting() or self._replay_on()
        did = self.engine.run_once()
        did = await self.fetch_waiting() or did
        return did or self.deliver() > 0

    def _replay_on(self) -> bool:
        """Records, and what they have to tell, up to the next request for evidence.

        What is told in the state file itself needs no transaction of its own.
        """
        if not isinstance(self.notifier, SqliteNotifier):
            return self.deliver() > 0 or self.engine.run_once()
        did = False
        with self.engine.transaction():
            while not self.engine.waiting(REQUESTS, FETCHER, 1) and (self._deliver_here() or self.engine.step()):
                did = True
        return did

    def tick(self, now: int | None = None) -> None:
        """Let time reach `now` (default: the node's clock)."""
        with self.engine.transaction():
            self.engine.apply(self.processor.tick(self.now if now is None else now))

    async def advance(self, until: int) -> None:
        """Let time pass up to `until`, stopping at everything that is due on the way."""
        await self.drain()
        while (due := self.processor.next_due()) is not None and due <= until:
            self.tick(max(due, self.processor.now))
            await self.drain()
        self.tick(until)
        await self.drain()

    def deliver(self, limit: int = 100) -> int:
        """Send what the ledger says is due; returns the number of calls made.

        Every step is durable before the next. Where the channel is the state file itself, a step and its message are
        one transaction, so that none can be without the other.
        """
        if self.notifier is None or not self._has_news():
            return 0
        if not isinstance(self.notifier, SqliteNotifier):
            return self._deliver(self.notifier, self._save_durably, limit)
        with self.engine.transaction():
            return self._deliver(self.notifier, self._save, limit)

    def hand_over(self, courier: Courier) -> bool:
        """Take in what came back, and hand out what is due; durable before it is done. False: there was neither."""
        alerter, now = self.processor.alerter, self.now
        settled = courier.settle(alerter.ledger, now)
        calls = courier.take(alerter.ledger, alerter.message, now)
        for call in calls:
            self.considers(None if isinstance(call, Find) else alerter.book.incident(call.message.incident))
        if alerter.ledger.is_dirty:
            self._save_durably({})
        courier.begin(alerter.ledger, calls)
        return bool(settled or calls)

    def _deliver_here(self) -> bool:
        """`deliver` inside the caller's transaction."""
        return self.notifier is not None and self._has_news() and self._deliver(self.notifier, self._save) > 0

    def _has_news(self) -> bool:
        due = self.processor.alerter.ledger.next_due()
        return due is not None and due <= self.now

    def _deliver(self, notifier: Notifier, save: Callable[[Mapping[str, bytes]], None], limit: int = 100) -> int:
        alerter = self.processor.alerter
        pace = Here() if isinstance(notifier, SqliteNotifier) else None
        return deliver(alerter.ledger, notifier, alerter.message, save, lambda: self.now, limit=limit, pace=pace)

    def _save(self, _rows: Mapping[str, bytes]) -> None:
        self.engine.store(self.processor.alerter.take_ledger())

    def _save_durably(self, rows: Mapping[str, bytes]) -> None:
        with self.engine.transaction():
            self._save(rows)

    def messages(self) -> int:
        """How many messages are on record; 0 where the state file is not the channel."""
        return self.notifier.count() if isinstance(self.notifier, SqliteNotifier) else 0

    def show_messages(self) -> None:
        """Print messages that are on record and were not printed yet."""
        if isinstance(self.notifier, SqliteNotifier):
            self.notifier.print_waiting()

    # ------------------------------------------------------------------ evidence

    async def fetch_waiting(self) -> bool:
        """Answer requests for evidence that wait, in their order; False when there are none."""
        records = self.engine.waiting(REQUESTS, FETCHER, FETCHES_AT_ONCE)
        if not records:
            return False
        found = [read(r) for r in records]
        wanted = [w for w in found if isinstance(w, EvidenceWanted)]
        groups = list(by_image(wanted).values())
        answers = await asyncio.gather(*(self.answerer.ask(group, self._known(group[0])) for group in groups))
        with self.engine.transaction():
            self.engine.append_inside([output(u.letter) for u in found if isinstance(u, Unreadable)])
            self._take_answers(groups, answers)
            self.engine.move(FETCHER, records[-1].position)
        return True

    def look_again(self, said: Sequence[Changed]) -> int:
        """Ask again about images of which a registry says that something changed; durable when this returns. Gives
        how many. Raises PlaceUnavailable.
        """
        images = self.processor.state.images.values()
        known = (_known_image(image.evidence.set) for image in images if image.evidence.set is not None)
        wanted = list(requests(said, known, self.now, self.trust.epoch))
        self.engine.append([output(one) for one in wanted])
        return len(wanted)

    async def fetch(self, record: Record) -> None:
        """Answer one request for evidence; the answer is durable when this returns, the request is not ticked off."""
        wanted = read(record)
        if isinstance(wanted, Unreadable):
            self.engine.append([output(wanted.letter)])
        elif isinstance(wanted, EvidenceWanted):
            answer = await self.answerer.ask([wanted], self._known(wanted))
            with self.engine.transaction():
                self._take_answers([[wanted]], [answer])

    def _take_answers(self, groups: Sequence[Sequence[EvidenceWanted]], answers: Sequence[Answer | None]) -> None:
        """Inside a transaction."""
        made: list[tuple[Answer | None, EvidenceFound]] = []
        for group, answer in zip(groups, answers, strict=True):
            known = self._known(group[0])
            latest = max(group, key=lambda wanted: wanted.time)
            made.append((answer, self.answerer.found(latest, answer, known, names=names_of(group, known))))
        self.engine.append_inside([output(found) for _, found in made])
        self.engine.append_inside([output(again) for again in left_out(made, self._known_set)])

    def _known(self, wanted: EvidenceWanted) -> Known | None:
        image = self.processor.state.images.get((wanted.repository, wanted.digest))
        if image is None or image.evidence.set is None:
            return None
        return Known(image.evidence.set, image.evidence.facts)

    def _known_set(self, repository: str, digest: str) -> EvidenceSet | None:
        image = self.processor.state.images.get((repository, digest))
        return None if image is None else image.evidence.set

    def _write_record(self, outputs: Sequence[Output]) -> None:
        mark = self.ledger.mark() if self.ledger.is_begun else None
        self.record.write([o.event for o in outputs])  # type: ignore[misc]  # only documents are routed here
        if mark is not None:  # in the same transaction; when it was, not when it is about
            self.ledger.cover(mark, self.settings.clock())


def _nobody(_incident: Incident | None) -> None:
    """Nobody asks what the record adds."""


def _known_image(found: EvidenceSet) -> KnownImage:
    related = (*found.closure.indexes, *found.closure.children)
    return KnownImage(found.repository, found.digest, found.names, related)
