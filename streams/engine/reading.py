"""What is in a record of a log. What a later program will understand is held, what nobody can read is put aside.

read(record)             the event; `Unreadable` with its dead letter; NewerSchemaError for what waits for an upgrade
events_of(records)       the same for a batch, up to a record that has to wait

Held means: with everything behind it, and with a named error; to skip a record of a newer program is to lose it.
Put aside means: a dead letter with place, size and hash, and the rest goes on; one bad record stops nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

import msgspec
from pydantic import ValidationError

from streams import codec
from streams.codec import Event, NewerSchemaError, decode
from streams.collectors.deadletters import dead_letter
from streams.collectors.framing import refused
from streams.engine.port import Record
from streams.events import DeadLetter, TrustChanged
from streams.topics import TOPICS
from verifier.errors import InputError
from verifier.trust.records import TRUST_RECORD, TrustRecord

T = TypeVar("T")

UNREADABLE: Final = "record-unreadable"
"""Code of the dead letter (`streams.collectors.deadletters.CODES`)."""


class Unreadable(msgspec.Struct, frozen=True):
    """A record that is none of ours, or damaged: what is said of it instead. Reading goes on behind it."""

    letter: DeadLetter


def read(record: Record) -> Event | Unreadable:
    """What is in a record of a log: an event its topic holds, or why it is none.

    Raises:
        NewerSchemaError: written by a newer revet; the message says where it stands.
    """
    try:
        event = decode(record.value)
    except NewerSchemaError as error:
        raise NewerSchemaError(f"{_place(record)}:{record.position}: {error}") from error
    except InputError:
        return _unreadable(record)
    if not isinstance(event, TOPICS[record.topic].holds):
        return _unreadable(record, f"{type(event).__name__} does not belong into {record.topic}")
    if isinstance(event, TrustChanged) and not _has_record(event):
        return _unreadable(record, "its trust record is not JSON")
    return event


def refuse_newer(record: Record) -> None:
    """Look whether a record was written by a newer revet, without reading it.

    Raises:
        NewerSchemaError: it was; the message says where it stands.
    """
    try:
        codec.refuse_newer(record.value)
    except NewerSchemaError as error:
        raise NewerSchemaError(f"{_place(record)}:{record.position}: {error}") from error


def events_of(records: Sequence[Record]) -> Iterator[Event | Unreadable]:
    """What is in a batch, up to a record that has to wait for a newer program. Raises as `held`."""
    return held(records, read)


def held(records: Sequence[Record], reader: Callable[[Record], T]) -> Iterator[T]:
    """What `reader` makes of each record of a batch, up to one that has to wait for a newer program.

    Raises:
        NewerSchemaError: that record is the first. So nothing was changed in this batch yet, and the position stays:
            whoever drives the processor ends with this error, and nothing is lost.
    """
    for number, record in enumerate(records):
        try:
            found = reader(record)
        except NewerSchemaError:
            if number:
                return
            raise
        yield found


def trust_record(epoch: int, value: bytes) -> TrustRecord:
    """The trust record of an entry of the trust log.

    Raises:
        NewerSchemaError: of a kind, or with members, that this program does not know. Trust without it would be wrong.
    """
    try:
        return TRUST_RECORD.validate_json(value)
    except ValidationError as error:
        raise NewerSchemaError(
            f"entry {epoch} of the trust log is of a kind this program does not know: upgrade first"
        ) from error


def _has_record(event: TrustChanged) -> bool:
    """False when its bytes are no JSON at all; JSON of an unknown kind raises NewerSchemaError."""
    try:
        trust_record(event.epoch, event.record)
    except NewerSchemaError as error:
        cause = error.__cause__
        if isinstance(cause, ValidationError) and cause.errors()[0]["type"] == "json_invalid":
            return False
        raise
    return True


def _place(record: Record) -> str:
    return f"{record.topic}/{record.partition}"


def _unreadable(record: Record, detail: str = "") -> Unreadable:
    refusal = refused(UNREADABLE, record.value, str(record.position), detail=detail)
    return Unreadable(dead_letter(refusal, source=_place(record), time=record.time))
