"""What `revet serve admission` knows: trust and facts, from the broadcast topics or from a state file."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from streams.admission.admitter import View
from streams.admission.sqlite import Kept, StateFile
from streams.engine.link import KafkaLink
from streams.engine.port import Record
from streams.engine.view import BroadcastView
from streams.events import EvidenceFound
from streams.settings import Settings
from streams.shared import Shared
from streams.topics import FACTS, TOPICS, TRUST
from streams.trustlog import gate_of
from verifier.errors import PlaceError
from verifier.trust.state import TrustState

NEEDED: Final = tuple(t.name for t in TOPICS.values() if "admission" in t.readers + t.writers)
FILE_SECONDS: Final = 0.15
"""How often the state file is looked at for what another process wrote."""


class Known(View, Protocol):
    """A view that keeps itself up to date."""

    def is_whole(self) -> bool:
        """Everything that was there at the start is read."""
        ...

    async def run(self, moved: Callable[[], None]) -> None:
        """Read on, without end; `moved` is called when trust may have changed."""
        ...


class KafkaKnown:
    """Trust and facts from the broadcast topics. Implements `Known`."""

    def __init__(self, settings: Settings) -> None:
        """Raises InputError: nobody is named who may change trust."""
        self._shared = Shared(gate_of(settings.administrators))
        self._link = KafkaLink(settings.kafka, NEEDED)
        self._moved: Callable[[], None] | None = None
        self._view = BroadcastView(self._link, (TRUST, FACTS), self._take)

    @property
    def trust(self) -> TrustState:
        """See `View`."""
        return self._shared.trust

    def evidence(self, repository: str, digest: str) -> EvidenceFound | None:
        """See `View`."""
        return self._shared.evidence(repository, digest)

    def lag(self) -> float:
        """See `View`."""
        return self._view.lag()

    def is_whole(self) -> bool:
        """See `Known`."""
        return self._view.is_whole

    async def run(self, moved: Callable[[], None]) -> None:
        """See `Known`. Raises as `Link.start` and `BroadcastView.run`."""
        self._moved = moved
        await self._link.start()
        try:
            await self._view.run()
        finally:
            await self._link.stop()

    def _take(self, records: Sequence[Record]) -> None:
        self._shared.take(records)
        if self._moved is not None and any(record.topic == TRUST for record in records):
            self._moved()


class FileKnown:
    """Trust and facts of the state file, beside `revet run`. Implements `Known`, and `Outlet`: its log."""

    def __init__(self, path: Path) -> None:
        """Raises as `StateFile`."""
        self._file = StateFile(path)
        self._looked: float | None = None

    @property
    def trust(self) -> TrustState:
        """See `View`."""
        return self._file.trust

    def evidence(self, repository: str, digest: str) -> EvidenceFound | None:
        """See `View`."""
        return self._file.evidence(repository, digest)

    def lag(self) -> float:
        """See `View`."""
        return float("inf") if self._looked is None else max(0.0, time.monotonic() - self._looked - FILE_SECONDS)

    def is_whole(self) -> bool:
        """See `Known`."""
        return self._looked is not None

    async def run(self, moved: Callable[[], None]) -> None:
        """See `Known`. A file that cannot be read now makes the view old.

        Raises:
            NewerSchemaError: an entry was written by a newer revet.
            TrustError: the trust log is out of order.
        """
        while True:
            begun, before = time.monotonic(), self._file.trust
            with suppress(PlaceError):  # told by its age
                await asyncio.to_thread(self._file.look)
                self._looked = begun
            if self._file.trust is not before:
                moved()
            await asyncio.sleep(FILE_SECONDS)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    async def deliver(self, kept: Sequence[Kept]) -> None:
        """See `Outlet`."""
        await asyncio.to_thread(self._file.append, kept)
