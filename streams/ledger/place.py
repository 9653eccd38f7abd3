"""A ledger where it lives, as commands and standing jobs use it: on one machine, or beside Kafka and Elasticsearch.

What both have in common is here; where log, store and key are, each says itself (`streams.local.ledgering`,
`streams.serving.ledgerplace`).
"""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, Literal, NamedTuple

import msgspec

from streams.engine.reading import read
from streams.events import LedgerChecked, LedgerEntry, LedgerWritten
from streams.ledger.chain import name_in
from streams.ledger.checking import Checker, Progress, silent
from streams.ledger.custody import begun, load_key, lost, new_key, new_name, pinned_keys, rotated
from streams.ledger.entries import act, body_hash
from streams.ledger.found import Report
from streams.ledger.notes import LedgerKey, Signing
from streams.ledger.places import Folder
from streams.ledger.port import Kept, KeptStore, LedgerLog
from streams.ledger.restoring import Losses, restored
from streams.ledger.sealing import Pace, Sealer
from streams.settings import LedgerSettings
from streams.sinks.document import Body, Document
from verifier.errors import InputError
from verifier.models import Micros
from verifier.times import DAY

Scope = Literal["recent", "random", "whole"]
ERASED: Final = "Erased: personal data was removed from this document; its entry in the ledger stays."
_OF_A_RESTORE: Final = frozenset({"record-missing", "restored", "tail-cut", "checkpoint-forked", "unsigned"})
"""Problems that a record, or a log, which was put back from an older copy has."""
_STAYS: Final = ("@timestamp", "ecs.version", "event.id", "event.module", "event.dataset")


class Begun(NamedTuple):
    """A ledger that was begun, or a key that was changed."""

    ledger: str
    key: LedgerKey
    key_file: Path
    entries: int


class LedgerPlace(ABC):
    """One ledger."""

    ahead: Micros = 0
    """See `Checker`."""

    def __init__(self, settings: LedgerSettings, key_file: Path | None, folder: Folder | None) -> None:
        self.settings, self.key_file, self.folder = settings, key_file, folder

    @abstractmethod
    def reading(self) -> AbstractContextManager[tuple[LedgerLog, KeptStore]]:
        """Log and record, to be read. Raises InputError where there are none, PlaceUnavailable."""

    @abstractmethod
    def begin(self, entry: LedgerEntry, now: Micros) -> int:
        """Write the first act, with entries of what is there already where these are made here; gives how many.

        Raises:
            InputError: there is a ledger here already. PlaceUnavailable.
        """

    @abstractmethod
    def append(self, entry: LedgerEntry, now: Micros) -> None:
        """Write one more act. Raises InputError where there is no ledger, PlaceUnavailable."""

    @abstractmethod
    def seal(self, sealer: Sealer, now: Micros) -> int:
        """Close and sign whatever waits, and publish every checkpoint; gives how many were signed.

        Raises:
            InputError: there is no ledger. PlaceUnavailable: log or folder cannot be written.
        """

    @abstractmethod
    def put(self, document: Document, entry: LedgerEntry, now: Micros) -> bool:
        """Put a document in the place of the one of its id, and the act about it into the log; False: there is none.

        Raises: PlaceUnavailable.
        """

    @abstractmethod
    def tell(self, event: LedgerChecked) -> None:
        """Hand a result to whoever tells people. Raises PlaceUnavailable."""

    # ------------------------------------------------------------------------------------------------ keys

    def signing(self) -> Signing | None:
        """The private key, where it is at hand. Raises InputError for a file that is no key."""
        return load_key(self.key_file) if self.key_file is not None and self.key_file.exists() else None

    def sealer(self) -> Sealer:
        """Closes batches, and signs them where the key is at hand. Raises as `signing`."""
        return Sealer(self.signing(), Pace(self.settings.entries, self.settings.seconds))

    def pinned(self, named: Sequence[str] = ()) -> tuple[LedgerKey, ...]:
        """Whose checkpoints are believed: keys named here, else those of the settings, else the one that signs.

        Raises:
            InputError: there is none, or one cannot be read.
        """
        entries = tuple(named) or self.settings.keys
        if entries:
            return pinned_keys(entries)
        own = self.signing()
        if own is None:
            where = f"{self.key_file} is not there" if self.key_file is not None else "ledger.key_file is not set"
            raise InputError(
                f"nobody says whose checkpoints to believe: {where}; give --key NAME=KEY, as `revet ledger init`"
                " printed it, or set ledger.keys"
            )
        return (own.key,)

    def _new_key(self) -> tuple[Signing, Path]:
        if self.key_file is None:
            raise InputError("no file for the private key is named: give --key-file, or set ledger.key_file")
        return new_key(self.key_file), self.key_file

    def init(self, by: str, now: Micros) -> Begun:
        """Make a key and begin the ledger.

        Raises:
            InputError: there is a ledger or a key file already. PlaceUnavailable.
        """
        signing, file = self._new_key()
        name = new_name()
        try:
            entries = self.begin(begun(name, signing.key, by, now), now)
        except BaseException:
            file.unlink()  # made a moment ago, and nobody has it
            raise
        self.seal(Sealer(signing), now)
        return Begun(name, signing.key, file, entries)

    def rotate(self, file: Path, by: str, reason: str, now: Micros) -> Begun:
        """Put a new key in the place of the one that signs: an act, under a checkpoint of the old key, then of the new.

        Raises:
            InputError: the old key is not at hand, or the new file is there already. PlaceUnavailable.
        """
        old = self.signing()
        if old is None:
            raise InputError(f"{self.key_file} is not there; if the key is lost: `revet ledger lost`")
        name = self.name()
        fresh = new_key(file)
        self.append(rotated(name, fresh.key, old, by, reason, now), now)
        self.seal(Sealer(old), now)
        return Begun(name, fresh.key, file, 1)

    def declare_lost(self, gone: str, by: str, reason: str, now: Micros) -> Begun:
        """Go on under a new key that nobody vouches for; who checks has to name it by hand.

        Raises:
            InputError: the key is there, or there is no ledger. PlaceUnavailable.
        """
        name = self.name()
        signing, file = self._new_key()
        self.append(lost(name, signing.key, gone, by, reason, now), now)
        self.seal(Sealer(signing), now)
        return Begun(name, signing.key, file, 1)

    def name(self) -> str:
        """The ledger's name. Raises InputError where there is none, PlaceUnavailable."""
        with self.reading() as (log, _):
            return name_of(log)

    # ------------------------------------------------------------------------------------------------ checking

    def check(
        self, pinned: Iterable[LedgerKey], since: Micros | None, until: Micros | None, now: Micros,
        progress: Progress = silent,
    ) -> Report:  # fmt: skip
        """Compare the record with the ledger. Raises as `Checker.check`."""
        notes = list(self.folder.notes()) if self.folder is not None else []
        with self.reading() as (log, store):
            return Checker(log, store, pinned, notes, progress, ahead=self.ahead).check(since, until, now)

    # ------------------------------------------------------------------------------------------------ restores

    def losses(self, pinned: Iterable[LedgerKey], now: Micros, progress: Progress = silent) -> Losses:
        """What a restore has lost: documents, and the end of the log.

        Raises:
            InputError: nothing is lost, or something else is wrong as well, which no restore explains.
            As `Checker.check`.
        """
        notes = list(self.folder.notes()) if self.folder is not None else []
        with self.reading() as (log, store):
            checker = Checker(log, store, pinned, notes, progress, ahead=self.ahead)
            counts = checker.check(None, None, now).counts
        other = {kind: number for kind, number in counts.items() if kind not in _OF_A_RESTORE}
        if other:
            named = ", ".join(f"{number:,} {kind}" for kind, number in sorted(other.items()))
            raise InputError(
                f"a restore does not explain everything: {named}; `revet ledger verify` says what and where"
            )
        if not checker.losses.documents and not checker.losses.abandoned:
            raise InputError("nothing is missing, so there is no restore to accept")
        return checker.losses

    def accept(self, losses: Losses, by: str, reason: str, now: Micros) -> int:
        """Accept what was lost: acts, signed by the key at hand, then sealed; gives how many acts.

        Raises:
            InputError: the key is not at hand. PlaceUnavailable.
        """
        signing = self.signing()
        if signing is None:
            raise InputError(f"only the ledger's own key can accept a restore, and {self.key_file} is not there")
        acts = list(restored(losses, self.name(), by, reason, now, signing))
        for entry in acts:
            self.append(entry, now)
        self.seal(Sealer(signing), now)
        return len(acts)

    # ------------------------------------------------------------------------------------------------ erasing

    def erase(self, kept: Kept, by: str, reason: str, now: Micros) -> bool:
        """Put a mark in the place of a document, and say so in the ledger. False: it is not there.

        Raises: PlaceUnavailable.
        """
        body: Body = {name: kept.body[name] for name in _STAYS if name in kept.body} | {"message": ERASED}
        made = act("erased", {"act": "erased", "by": by, "reason": reason}, kept.time, home=kept.home, id_=kept.id)
        entry = msgspec.structs.replace(made, sha256=body_hash(body))
        return self.put(Document(kept.home, kept.id, kept.time, body), entry, now)


def name_of(log: LedgerLog) -> str:
    """The name that the first act of a log gives. Raises InputError where there is none."""
    for record in log.read():
        event = read(record)
        name = name_in(event.entries) if isinstance(event, LedgerWritten) else ""
        if name:
            return name
    raise InputError("there is no ledger here: begin one with `revet ledger init`")


def window_of(scope: Scope, first: Micros, now: Micros) -> tuple[Micros, Micros]:
    """What a check of the standing job looks at: the last day, a day of the past chosen by chance, or everything."""
    if scope == "whole":
        return 0, now + DAY
    if scope == "recent":
        return now - DAY, now + DAY  # events may be ahead of this clock
    begin = first + secrets.randbelow(max(1, (now - first) // DAY)) * DAY
    return begin, begin + DAY


def checked(report: Report, scope: Scope, since: Micros, until: Micros, now: Micros) -> LedgerChecked:
    """A report as an event."""
    number = sum(report.counts.values())
    return LedgerChecked(f"ledger:{scope}:{now}", now, scope, since, until, report.records, number, _worst(report))


def _worst(report: Report) -> str:
    """What the first problem is and where, in words."""
    if not report.problems:
        return ""
    found = report.problems[0]
    thing = f"{found.home} {found.id}: " if found.id else f"batch {found.batch}: " if found.batch is not None else ""
    return f"{found.kind}: {thing}{found.detail}"[:500]
