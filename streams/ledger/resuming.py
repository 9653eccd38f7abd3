"""The fold of a ledger's topic that goes on where a process before it was: a start costs what came since.

    fold = Fold(file, "revet.ledger", folder)
    fold.trouble(end)                            "" or why this topic is not the one that was folded
    for record in topic from fold.start: fold.take(record)
    fold.save(published)                         durable when this returns

What is kept is small, whatever the ledger's size: the newest header and its place in the topic, and where the oldest
pack stands that is in no batch yet. It lies where the private key lies. So it is more than a shortcut: a process that
starts again knows what it sealed, and does not sign a topic that says something else, be it cut, made anew, or
rewritten while nobody looked.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Final

import msgspec

from streams.engine.port import Record
from streams.engine.reading import Unreadable, read
from streams.events import DeadLetter, LedgerSealed, LedgerWritten
from streams.files import replace_file
from streams.ledger.chain import Chain, Tip, header_hash
from verifier.errors import InputError, PlaceUnavailable

SCHEMA: Final = "revet.ledger-fold/v1"
UNAVAILABLE: Final = "ledger-state-unavailable"


class _Kept(msgspec.Struct, frozen=True):
    schema: str
    topic: str
    folder: str
    """Where checkpoints were published, and how many: another folder begins from nothing."""
    published: int
    told: str
    """The day that people were told of last."""
    header: int
    """Position of the newest header that counts."""
    waiting: int
    """Every pack from this position on is in no batch yet."""
    tip: Tip


class Fold:
    """One topic, followed by one process. `take` gets every record from `start` on, in order."""

    def __init__(self, file: Path | None, topic: str, folder: Path | None = None) -> None:
        """`file`: what was kept, or nothing yet; None: nothing is kept, and every start folds the topic whole.
        `topic`: its name on the brokers. `folder`: where checkpoints are published.

        Raises:
            InputError: the file is there and is something else, of another topic, or cannot be read.
        """
        self._file, self._topic, self._folder = file, topic, str(folder or "")
        self.chain = Chain()
        self.start = 0
        """Position to begin at."""
        self.published = 0
        """Batches whose checkpoints are in the folder."""
        self.told = ""
        self._header = self._waiting = -1
        self._packs: deque[int] = deque()
        """Positions of the packs that wait."""
        self._reached = 0
        self._differs = ""
        self._awaited = False
        """Is the header that was kept still to be seen?"""
        self._saved: _Kept | None = None
        kept = _load(file) if file is not None else None
        if kept is not None:
            self._resume(kept)

    def _resume(self, kept: _Kept) -> None:
        if kept.topic != self._topic:
            raise InputError(
                f"ledger.state {self._file}: it is of the topic {kept.topic}, not of {self._topic};"
                " name another file, or remove it"
            )
        self.told = kept.told
        if kept.folder != self._folder or kept.header < 0:
            return  # another folder gets every checkpoint there is: the topic is folded whole
        self.chain = Chain.resumed(kept.tip)
        self.published, self._header, self._waiting = kept.published, kept.header, kept.waiting
        self.start = self._reached = min(kept.header, kept.waiting)
        self._saved, self._awaited = kept, True

    def take(self, record: Record) -> DeadLetter | None:
        """The next record; gives the dead letter of one that cannot be read, which no batch covers.

        Raises:
            NewerSchemaError: a newer revet wrote it.
        """
        at, event = record.position, read(record)
        self._reached = at + 1
        if self._awaited and at >= self._header:
            self._awaited = False
            is_there = at == self._header and isinstance(event, LedgerSealed) and header_hash(event) == self.chain.head
            if not is_there:
                self._differs = f"position {self._header} of {self._topic} does not hold batch {self.chain.number - 1}"
        if isinstance(event, Unreadable):
            return event.letter
        if isinstance(event, LedgerWritten) and at < self._waiting:
            return None
        before = self.chain.number
        self.chain.take(event)
        if isinstance(event, LedgerWritten):
            self._packs.append(at)
        elif self.chain.number > before:
            self._header = at
        while len(self._packs) > self.chain.packs:
            self._packs.popleft()
        return None

    def trouble(self, end: int) -> str:
        """Why the topic, which ends at `end`, is not the one that was folded; empty: nothing speaks against it."""
        found = self._differs
        if self._awaited and end <= self._header:
            found = f"{self._topic} ends at {end}, before batch {self.chain.number - 1} at {self._header}"
        if not found:
            return ""
        return (
            f"{found}, which was sealed from there: the topic was cut, made anew or rewritten, and nothing more is"
            f" signed; `revet ledger verify` says what is left of it, and without {self._file} it is folded anew"
        )

    def save(self, published: int | None = None, told: str | None = None) -> None:
        """Keep how far it is, where something changed. `published`: batches whose checkpoints are in the folder; None:
        there is no folder.

        Raises:
            PlaceUnavailable: the file cannot be written; it goes on, and a start costs more.
        """
        self.published = self.chain.number if published is None else published
        self.told = self.told if told is None else told
        self.chain.forget(min(self.published, self.chain.number - 1))
        if self._file is None or self._awaited or self._differs:
            return
        waiting = self._packs[0] if self._packs else self._reached
        kept = _Kept(
            SCHEMA, self._topic, self._folder, self.published, self.told, self._header, waiting, self.chain.tip()
        )
        before = self._saved
        if before is not None and msgspec.structs.replace(kept, waiting=before.waiting) == before:
            return  # records that closed nothing are read again by whoever comes next
        try:
            replace_file(self._file, msgspec.msgpack.encode(kept))
        except OSError as error:
            raise PlaceUnavailable(UNAVAILABLE, f"ledger.state {self._file}: {error.strerror or error}") from error
        self._saved = kept


def _load(file: Path) -> _Kept | None:
    """What is in the file; None: there is none."""
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"ledger.state {file}: {error.strerror or error}") from error
    try:
        kept = msgspec.msgpack.decode(data, type=_Kept)
        Chain.resumed(kept.tip)
    except (msgspec.MsgspecError, InputError, ValueError) as error:
        raise InputError(f"ledger.state {file}: not the state of a ledger; name another file, or remove it") from error
    if kept.schema != SCHEMA:
        raise InputError(f"ledger.state {file}: written by another revet ({kept.schema[:40]}); remove it to fold anew")
    return kept


__all__ = ["Fold"]
