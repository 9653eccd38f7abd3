"""The gate before the trust log of the clustered mode: which entries count, the same in every process. Pure.

    gate = TrustGate(administrators, loosening=2, log="revet")
    found = gate.take(record)               TrustChanged | Refused | Ignored; records of `revet.trust` in log order
    gate.trust, gate.reached, gate.head     trust, epoch, and what the next entry has to name as the one before it

An entry counts when, in this order,

    1. it can be read, and its record says everything once;
    2. at least one trust administrator signed it                       else Refused: somebody wrote who may not
    3. it makes the next epoch of the history its author saw            else Ignored: the loser of a race, or a replay
    4. where it loosens trust, as many administrators as are asked for signed it                       else Refused

`take` remembers what it said of a position, so that several readers of one process may share a gate and each may read
the log from the beginning. What the broker knows is not believed: neither its key nor its headers take part.

What it refuses to do: count a record of a newer revet (NewerSchemaError: everything behind it waits), read a clock.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Literal, NamedTuple

import msgspec

from streams.codec import Event, NewerSchemaError, decode
from streams.collectors.deadletters import dead_letter
from streams.collectors.framing import refused
from streams.engine.port import Record
from streams.engine.reading import UNREADABLE, Unreadable, read, trust_record
from streams.events import DeadLetter, TrustChanged
from streams.settings import AdministratorSettings
from streams.topics import TRUST
from verifier.canonical import canonical_json, stable_id
from verifier.errors import EvidenceError, InputError, TrustError
from verifier.evidence.limits import MIB
from verifier.evidence.strictjson import loads_strict
from verifier.trust.loosening import loosens
from verifier.trust.records import TRUST_RECORD, TrustRecord
from verifier.trust.signing import Administrator, Signature, TrustEntry, check, entry_hash
from verifier.trust.state import Applied, TrustState

REFUSED: Final = "trust-refused"
"""Code of the dead letter (`streams.collectors.deadletters.CODES`) and of the finding."""

RECORD_BYTES: Final = 2 * MIB
"""One trust record: a root document has at most one MiB of characters."""


class Refused(msgspec.Struct, frozen=True):
    """An entry by somebody who may not write, or signed by too few. It changes nothing, and a person has to know."""

    position: int
    time: int
    place: str
    """`revet.trust/0:17`."""
    reason: str
    """What is wrong with it, in words without a value of it."""
    letter: DeadLetter
    """The same from every process: its id is of the place and the bytes."""


class Ignored(msgspec.Struct, frozen=True):
    """An entry that an administrator signed for another epoch or history. It changes nothing, and is no news."""

    position: int
    epoch: int
    """The one it was made for."""
    reached: int
    """Where the log was."""
    names: tuple[str, ...]


class Prepared(NamedTuple):
    """A change on its way to become an entry."""

    entry: TrustEntry
    change: TrustRecord
    applied: Applied
    """What every reader will make of it."""
    after: TrustState
    loosening: str
    """How it loosens trust, in words; empty when it does not."""
    needed: int
    """Administrators who have to sign it."""


Outcome = Literal["accepted", "ignored", "refused"]


class TrustGate:
    """Folds the trust topic. One per process; not thread-safe."""

    def __init__(
        self,
        administrators: Iterable[Administrator],
        loosening: int = 1,
        *,
        log: str = "revet",
        loosening_from: int = 1,
    ) -> None:
        self.administrators = tuple(administrators)
        if not self.administrators:
            raise TrustError(
                "administrators.keys names nobody, so nothing in the trust log counts: make a key with"
                " `revet trust keygen NAME` and put the line it prints into administrators.keys"
            )
        self.log = log
        self._loosening = loosening
        self._loosening_from = loosening_from
        self.trust = TrustState.empty()
        self.head = b""
        """`previous` of the entry to come."""
        self.position = 0
        """Behind the newest record that was taken."""
        self.counts: dict[Outcome, int] = {"accepted": 0, "ignored": 0, "refused": 0}
        self._said: dict[int, Refused | Ignored | None] = {}
        """Position -> what was said of it; None: it counts."""

    @property
    def reached(self) -> int:
        """The trust epoch."""
        return self.trust.epoch

    @property
    def fingerprint(self) -> str:
        """Short hash over who may change trust, and how: two processes that differ come to different trust."""
        who = sorted(administrator.line() for administrator in self.administrators)
        rule = canonical_json([self.log, who, self._loosening, self._loosening_from])
        return hashlib.sha256(rule).hexdigest()[:16]

    def take(self, record: Record) -> TrustChanged | Refused | Ignored:
        """The next record of the log, or one that was taken before.

        Raises:
            NewerSchemaError: a newer revet wrote it; it and everything behind it waits. Says where it stands.
            TrustError: records come in another order than they stand in the log.
        """
        if record.position not in self._said:
            if record.position < self.position:
                raise TrustError(f"{_at(record)} comes after {self.position - 1}: it was read out of order")
            self._said[record.position] = self._judge(record)
            self.position = record.position + 1
        said = self._said[record.position]
        if said is not None:
            return said
        event = decode(record.value)
        if not isinstance(event, TrustChanged):
            raise TrustError(f"{_at(record)} is another record than before")
        return msgspec.structs.replace(event, id=_id_of(event))  # the id is not signed, and documents bear it

    def _judge(self, record: Record) -> Refused | Ignored | None:
        event = _event_of(record)
        said = self._refusal(record, event) if isinstance(event, TrustChanged) else _refused(record, UNREADABLE, event)
        self.counts[_OUTCOMES[type(said)]] += 1
        return said

    def _refusal(self, record: Record, event: TrustChanged) -> Refused | Ignored | None:
        """Steps 2 to 4; None: it counts, and was folded."""
        entry = TrustEntry(self.log, event.previous, event.epoch, event.time, event.record)
        signed = check(entry, event.signatures, self.administrators)
        if not signed.names:
            return _refused(record, REFUSED, signed.problem)
        if event.epoch != self.reached + 1 or event.previous != self.head:
            return Ignored(record.position, event.epoch, self.reached, signed.names)
        change = _record_of(record, event)
        if change is None:
            return _refused(record, UNREADABLE, "its trust record is not JSON with one meaning")
        prepared = self._prepared(self.trust, entry, change)
        if len(signed.names) < prepared.needed:
            have = f"{len(signed.names)} of {prepared.needed} signatures"
            return _refused(record, REFUSED, f"it loosens trust and has {have}")
        self.trust, self.head = prepared.after, entry_hash(entry)
        return None

    def prepare(self, changes: Sequence[TrustRecord], time: int) -> tuple[Prepared, ...]:
        """What has to be signed for these changes to become the next entries. Changes nothing here. Raises nothing."""
        made: list[Prepared] = []
        trust, head = self.trust, self.head
        for change in changes:
            entry = TrustEntry(self.log, head, trust.epoch + 1, time, TRUST_RECORD.dump_json(change))
            made.append(self._prepared(trust, entry, change))
            trust, head = made[-1].after, entry_hash(entry)
        return tuple(made)

    def follow(self, entries: Sequence[TrustEntry]) -> tuple[Prepared, ...]:
        """What entries that somebody else prepared would come to as the next ones. Changes nothing here.

        Raises:
            TrustError: they are not the next ones, or not records of trust. NewerSchemaError: a newer revet made one.
        """
        made: list[Prepared] = []
        trust, head = self.trust, self.head
        for entry in entries:
            if (entry.log, entry.epoch, entry.previous) != (self.log, trust.epoch + 1, head):
                raise TrustError(_not_next(entry, self.log, trust.epoch))
            change = read_change(entry.epoch, entry.record)
            if change is None:
                raise TrustError(f"epoch {entry.epoch}: the record is not JSON with one meaning")
            made.append(self._prepared(trust, entry, change))
            trust, head = made[-1].after, entry_hash(entry)
        return tuple(made)

    def _prepared(self, trust: TrustState, entry: TrustEntry, change: TrustRecord) -> Prepared:
        after, applied = trust.apply(change, entry.epoch)
        why = loosens(trust, after, change)
        needed = self._loosening if why and entry.epoch >= self._loosening_from else 1
        return Prepared(entry, change, applied, after, why, needed)


def _not_next(entry: TrustEntry, log: str, reached: int) -> str:
    if entry.log != log:
        return f"this change is for the trust log {entry.log[:100]!r}, the settings name {log!r} (administrators.log)"
    seen = f"at {entry.epoch - 1}" if entry.epoch != reached + 1 else "for another history"
    return f"trust is at epoch {reached}, this change was prepared {seen}: look again, then repeat it"


def gate_of(settings: AdministratorSettings) -> TrustGate:
    """The gate that these settings ask for; files with keys are read.

    Raises:
        InputError: nobody is named, or a file cannot be used.
    """
    return TrustGate(
        settings.administrators(),
        settings.loosening,
        log=settings.log,
        loosening_from=settings.loosening_from,
    )


def event_of(entry: TrustEntry, signatures: Iterable[Signature]) -> TrustChanged:
    """The event that carries a signed entry. Its id is that of the same change on one machine."""
    values = tuple((signature.key_id, signature.value) for signature in signatures)
    return TrustChanged(_id_of(entry), entry.time, entry.epoch, entry.record, entry.previous, values)


def _id_of(entry: TrustEntry | TrustChanged) -> str:
    return stable_id("trust", entry.epoch, entry.record.decode())


Reader = Callable[[Record], Event | Unreadable | Refused | Ignored]


def gated(gate: TrustGate | None) -> Reader:
    """How a processor reads a record: of the trust log only what the gate lets through, of the rest what can be read.

    Without a gate (one machine) the local user is believed. Raises what `read` and `TrustGate.take` raise.
    """
    if gate is None:
        return read
    return lambda record: gate.take(record) if record.topic == TRUST else read(record)


_OUTCOMES: Final[dict[type, Outcome]] = {Refused: "refused", Ignored: "ignored", type(None): "accepted"}


def _event_of(record: Record) -> TrustChanged | str:
    """The entry in a record, or why there is none. Raises NewerSchemaError with its place."""
    try:
        event = decode(record.value)
    except NewerSchemaError as error:
        raise NewerSchemaError(f"{_at(record)}: {error}") from error
    except InputError:
        return ""
    return event if isinstance(event, TrustChanged) else f"{type(event).__name__} does not belong into {record.topic}"


def read_change(epoch: int, record: bytes) -> TrustRecord | None:
    """The trust record in these bytes; None when they are not JSON with one meaning.

    Raises:
        NewerSchemaError: of a kind, or with members, that this program does not know.
    """
    try:
        loads_strict(record, limit=RECORD_BYTES)
    except EvidenceError:
        return None
    return trust_record(epoch, record)


def _record_of(record: Record, event: TrustChanged) -> TrustRecord | None:
    """As `read_change`, of an entry that is signed; the error says where it stands."""
    try:
        return read_change(event.epoch, event.record)
    except NewerSchemaError as error:
        raise NewerSchemaError(f"{_at(record)}: {error}") from error


def _refused(record: Record, code: str, detail: str) -> Refused:
    letter = dead_letter(
        refused(code, record.value, str(record.position), detail=detail), source=_place(record), time=record.time
    )
    return Refused(record.position, record.time, _at(record), detail or "it cannot be read", letter)


def _place(record: Record) -> str:
    return f"{record.topic}/{record.partition}"


def _at(record: Record) -> str:
    return f"{_place(record)}:{record.position}"
