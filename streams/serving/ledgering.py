"""`revet serve ledger`: closes batches of entries, signs them, publishes checkpoints, compares the record with them.

One works; another one beside it is harmless: of two headers for one batch the first in the topic counts, for everybody,
and whoever was second goes on behind it. How far it is stands in `ledger.state`, so that a start folds what came since;
without the file a start folds the topic whole (`streams.ledger.resuming`).
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from streams.clock import wall_clock
from streams.engine.broker import Slot
from streams.engine.link import KafkaLink
from streams.engine.port import Record
from streams.engine.wire import to_wire
from streams.ledger.chain import Chain
from streams.ledger.place import LedgerPlace, Scope, checked, window_of
from streams.ledger.resuming import Fold
from streams.ledger.sealing import Sealer, expiries, today
from streams.outputs import output
from streams.serving.ledgerplace import ClusterPlace
from streams.serving.process import Process
from streams.settings import ElasticsearchSettings
from streams.sinks.fields import HISTORY, HOMES
from streams.sinks.mapping import KEPT, REPEATED
from streams.topics import LEDGER, TOPICS
from verifier.errors import InputError, PlaceError, PlaceUnavailable
from verifier.times import DAY

NEEDED: Final = tuple(t.name for t in TOPICS.values() if "ledger" in t.writers + t.readers)
_SLOT: Final = Slot(LEDGER, 0)
RETRY_SECONDS: Final = 60.0
"""After a check that could not be made."""


async def ledger(process: Process) -> None:
    """Until the process is told to stop. Raises InputError where there is no ledger (`ledger.enabled`) and for a key
    that cannot be used; as `KafkaLink`.
    """
    if not process.settings.ledger.enabled:
        raise InputError(
            "ledger.enabled: indexers write no entries, so there is nothing to seal; example: ledger.enabled: true"
        )
    place = ClusterPlace(process.settings)
    link = KafkaLink(process.settings.kafka, NEEDED)
    await link.start()
    try:
        work = Ledgering(process, place, link)
        workers = [process.spawn("ledger", work.run()), process.spawn("checks", work.check())]
        await process.stopping()
        await asyncio.wait(workers)  # what was begun needs the link
    finally:
        await link.stop()


class Ledgering:
    """One process."""

    def __init__(self, process: Process, place: LedgerPlace, link: KafkaLink) -> None:
        self._process, self._place, self._link = process, place, link
        settings = process.settings
        folder = place.folder.path if place.folder is not None else None
        self._fold = Fold(settings.ledger.state, settings.kafka.topic(LEDGER), folder)
        self._sealer: Sealer = place.sealer()
        self._reached = 0
        """Position behind the newest record of the topic that was folded."""
        self._wanted = 0
        """Position that has to be reached before anything else is written: what we wrote ourselves is read back."""
        self._is_ready = False
        if place.signing() is None:
            process.log.warning("ledger-unsigned", why="ledger.key_file is not there: batches are closed, not signed")

    async def run(self) -> None:
        """Follow the topic and do what is due. Ends when the process does."""
        self._wanted = (await self._link.ends([_SLOT]))[_SLOT]
        if await self._refused():
            return
        async for followed in self._link.follow([_SLOT], {_SLOT: self._fold.start}):
            for record in followed.records:
                await self._take(record)
            self._reached = followed.positions[_SLOT]
            self._process.health.progress("ledger", 0, self._reached)
            self._process.health.waiting(self.chain.pending, "ledger", 0)
            if self._process.stop.is_set() or await self._refused():
                return
            if self._reached >= self._wanted:
                self._ready()
                await self._step()

    async def _take(self, record: Record) -> None:
        """The next record; one that cannot be read is a dead letter, of the same id whoever finds it again."""
        letter = self._fold.take(record)
        if letter is not None:
            await (await self._link.send(to_wire(output(letter), 1, 0, wall_clock() // 1000)))

    def _ready(self) -> None:
        """What was there at the start is folded."""
        self._process.health.ready()
        if not self._is_ready:
            self._is_ready = True
            folded = self._reached - self._fold.start
            self._process.log.info("ready", batches=self.chain.number, entries=self.chain.size, folded=folded)

    @property
    def chain(self) -> Chain:
        """As far as the topic was folded."""
        return self._fold.chain

    async def _refused(self) -> bool:
        """Is the topic not the one that was sealed from here? Then nothing is written; checks go on and say so."""
        why = self._fold.trouble(self._wanted)
        if why:
            self._process.health.trouble("ledger-state", why)
            self._process.log.error("ledger-topic-differs", reason=why)
            await self._process.stopping()
        return bool(why)

    async def _step(self) -> None:
        """At most one record is written, and then read back, before the next."""
        now = wall_clock()
        gone = list(expiries(self.chain, retention(self._process.settings.elasticsearch), now))
        for entry in gone:
            await asyncio.to_thread(self._place.append, entry, now)
        if gone:
            self._wanted = (await self._link.ends([_SLOT]))[_SLOT]
            return
        event = self._sealer.checkpoint(self.chain) or self._sealer.batch(self.chain, now)
        if event is not None:
            future = await self._link.send(to_wire(output(event), 1, 0, now // 1000))
            self._wanted = await future + 1
        day = self._sealer.day(self.chain, now, self._fold.told) if self._place.settings.slack else None
        if day is not None:
            await (await self._link.send(to_wire(output(day), 1, 0, now // 1000)))
        await self._keep(await self._publish(), today(now) if day is not None else None)

    async def _publish(self) -> int | None:
        """New checkpoints into the folder; one that cannot be written is told, and tried again. Gives how many batches
        are there; None: there is no folder.
        """
        folder, published, chain = self._place.folder, self._fold.published, self.chain
        if folder is None or published >= chain.number:
            return None if folder is None else published
        notes = [n.note for batch, found in chain.checkpoints.items() if batch >= published for n in found]
        try:
            for note in notes:
                await asyncio.to_thread(folder.publish, note)
        except PlaceUnavailable as error:
            self._process.health.trouble("ledger", str(error))
            return published
        self._process.health.well("ledger")
        return chain.number - (0 if chain.number - 1 in chain.checkpoints else 1)

    async def _keep(self, published: int | None, told: str | None) -> None:
        """How far it is, for the next start; a file that cannot be written is told, and tried again."""
        try:
            await asyncio.to_thread(self._fold.save, published, told)
        except PlaceUnavailable as error:
            self._process.health.trouble("ledger-state", str(error))
        else:
            self._process.health.well("ledger-state")

    # ------------------------------------------------------------------ checks

    async def check(self) -> None:
        """Compare now and then, in a thread: the last day, once a day another; everything while something is wrong."""
        minutes = self._place.settings.verify_minutes
        if not minutes:
            await self._process.stopping()
        next_random, fine = time.monotonic(), True
        while not self._process.stop.is_set():
            await self._pause(1.0)
            if not self.chain.number:
                continue
            made = await self._one("recent" if fine else "whole")
            if made and time.monotonic() >= next_random:
                made = await self._one("random")
                next_random = time.monotonic() + 24 * 3600
            fine = made is not False
            await self._pause(minutes * 60 if made is not None else RETRY_SECONDS)

    async def _one(self, scope: Scope) -> bool | None:
        """Was everything as it was sealed? None: it could not be checked."""
        now = wall_clock()
        since, until = window_of(scope, self.chain.first_time, now)
        try:
            report = await asyncio.to_thread(self._place.check, self._place.pinned(), since, until, now)
        except (InputError, PlaceError) as error:
            self._process.health.trouble("ledger-check", str(error))
            self._process.log.warning("ledger-not-checked", reason=str(error))
            return None
        self._process.health.well("ledger-check")
        made = checked(report, scope, since, until, now)
        await (await self._link.send(to_wire(output(made), 1, 0, now // 1000)))
        say = self._process.log.error if made.problems else self._process.log.info
        say("ledger-checked", scope=scope, records=report.records, problems=made.problems, worst=made.worst)
        return not made.problems

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._process.stopping()
        except TimeoutError:
            return


def retention(settings: ElasticsearchSettings) -> dict[str, int]:
    """Dataset -> how long it is kept, microseconds; of what is kept for ever nothing."""
    days = {HOMES[name]: settings.retention_days for name in HISTORY}
    days |= dict.fromkeys(REPEATED, settings.repeated_days)
    return {home: number * DAY for home, number in days.items() if home not in KEPT}
