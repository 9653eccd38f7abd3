"""The ledger of the single-machine mode while it runs: batches closed and signed, the record compared with it.

    keeper = Keeper(node, path, settings.ledger, tell)
    keeper.step()                     between two slices of work; cheap when nothing is due
    await keeper.watch(stop)          beside the work: checks now and then, on a connection of its own

What a check finds is an event in the log like any other, so that it is told once, by whom people are told everything.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from streams.clock import wall_clock
from streams.engine.sqlite import Connection, connect
from streams.events import LedgerChecked, LedgerEntry
from streams.ledger.custody import default_folder, default_key_file
from streams.ledger.place import LedgerPlace, Scope, checked, window_of
from streams.ledger.places import Folder
from streams.ledger.port import KeptStore, LedgerLog
from streams.ledger.sealing import Sealer, today
from streams.ledger.sqlite import (
    LocalLedger,
    SqliteLedgerLog,
    SqliteStore,
    append_act,
    append_event,
    begin,
    put_in_place,
)
from streams.local.lease import Lease
from streams.local.node import LocalNode
from streams.local.sqlite import open_reading
from streams.outputs import output
from streams.settings import LedgerSettings
from streams.sinks.document import Document
from streams.sinks.sqlite import create_record_tables
from verifier.errors import InputError, PlaceUnavailable
from verifier.models import Micros

STEP_EVERY: Final = 1.0
"""Seconds between two looks whether a batch is due."""

Tell = Callable[[str], None]


class LocalPlace(LedgerPlace):
    """The ledger of a state file."""

    def __init__(self, state: Path, settings: LedgerSettings) -> None:
        folder = Folder(settings.directory or default_folder(state))
        super().__init__(settings, settings.key_file or default_key_file(state), folder)
        self.state, self.checkpoints = state, folder

    @contextmanager
    def reading(self) -> Iterator[tuple[LedgerLog, KeptStore]]:
        """See `LedgerPlace`."""
        with open_reading(self.state) as connection:
            yield SqliteLedgerLog(connection), SqliteStore(connection)

    def begin(self, entry: LedgerEntry, now: Micros) -> int:
        """See `LedgerPlace`. Nobody may drive the file meanwhile."""
        with self._alone(), closing(connect(self.state, create=False)) as connection:
            create_record_tables(connection)
            return begin(connection, entry, now)

    def append(self, entry: LedgerEntry, now: Micros) -> None:
        """See `LedgerPlace`."""
        with self._begun() as (connection, _):
            append_act(connection, entry, now)

    def seal(self, sealer: Sealer, now: Micros) -> int:
        """See `LedgerPlace`."""
        with self._begun() as (_, ledger):
            made = ledger.seal(sealer, now, force=True)
            publish(ledger, self.checkpoints)
            return len(made)

    def put(self, document: Document, entry: LedgerEntry, now: Micros) -> bool:
        """See `LedgerPlace`. What the log keeps of the observation loses its persons too."""
        with self._begun() as (connection, _):
            return put_in_place(connection, document, entry, now)

    def tell(self, event: LedgerChecked) -> None:
        """See `LedgerPlace`."""
        with self._begun() as (connection, _):
            append_event(connection, output(event))

    @contextmanager
    def _begun(self) -> Iterator[tuple[Connection, LocalLedger]]:
        with closing(connect(self.state, create=False)) as connection:
            ledger = LocalLedger(connection)
            if not ledger.is_begun:
                raise InputError("there is no ledger here: begin one with `revet ledger init`")
            yield connection, ledger

    @contextmanager
    def _alone(self) -> Iterator[None]:
        lease = Lease.try_acquire(self.state, "revet ledger init")
        if lease is None:
            raise PlaceUnavailable(
                "state-unavailable", f"a process drives {self.state}; stop it, then begin the ledger"
            )
        with lease:
            yield


def publish(ledger: LocalLedger, folder: Folder) -> int:
    """Put every checkpoint of the log into the folder; those that are there stay. Gives how many are new.

    Raises:
        PlaceUnavailable: the folder cannot be written.
    """
    return sum(folder.publish(note.note) for notes in ledger.follow().checkpoints.values() for note in notes)


class Keeper:
    """Keeps the ledger of a node that runs."""

    def __init__(self, node: LocalNode, place: LocalPlace, tell: Tell) -> None:
        self._node, self._place, self._tell = node, place, tell
        self._sealer: Sealer | None = None
        self._next = 0.0
        self._troubles: dict[str, str] = {}
        self._published = -1
        self._told = ""

    def step(self, *, force: bool = False) -> None:
        """Close and sign what is due. What goes wrong with key or folder is told once, and tried again.

        Raises:
            PlaceUnavailable: the state file cannot be written.
        """
        if (not force and time.monotonic() < self._next) or not self._node.ledger.is_begun:
            return
        self._next = time.monotonic() + STEP_EVERY
        ledger = self._node.ledger
        try:
            self._sealer = self._sealer or self._place.sealer()
        except InputError as error:
            self._say("key", f"{error}; batches are closed and not signed")
        now = wall_clock()
        sealer = self._sealer or Sealer(None)
        ledger.seal(sealer, now, force=force)
        chain = ledger.follow()
        day = sealer.day(chain, now, self._told) if self._place.settings.slack else None
        if day is not None:
            self._node.engine.append([output(day)])  # told twice a day it is in the log once
            self._told = today(now)
        if chain.number > self._published and chain.checkpoints:
            try:
                publish(ledger, self._place.checkpoints)
                self._published = chain.number
                self._troubles.pop("folder", None)
            except PlaceUnavailable as error:
                self._say("folder", str(error))

    def _say(self, what: str, trouble: str) -> None:
        """Once, as long as it stays the same."""
        if self._troubles.get(what) != trouble:
            self._troubles[what] = trouble
            self._tell(f"ledger: {trouble}")

    async def watch(self) -> None:
        """Check at the start and every `ledger.verify_minutes`, without end. Whole, as long as something is wrong."""
        minutes = self._place.settings.verify_minutes
        rounds = 0
        fine = True
        while minutes:
            if self._node.ledger.is_begun:
                fine = await self._check("recent" if fine else "whole")
                if fine and rounds % max(1, 24 * 60 // minutes) == 0:
                    fine = await self._check("random")
                rounds += 1
            await asyncio.sleep(minutes * 60)

    async def _check(self, scope: Scope) -> bool:
        now = wall_clock()
        since, until = window_of(scope, self._node.ledger.follow().first_time, now)
        try:
            report = await asyncio.to_thread(self._place.check, self._place.pinned(), since, until, now)
        except (InputError, PlaceUnavailable) as error:
            self._say("check", f"the record cannot be checked: {error}")
            return True
        made = checked(report, scope, since, until, now)
        if made.problems:
            self._tell(f"ledger: {made.problems} problems, the first: {made.worst}")
        self._node.engine.append([output(made)])
        return not made.problems
