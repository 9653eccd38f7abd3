"""Bytes on a topic: a version and one event. A reader of version N reads N-1 and holds N+1 instead of dropping it.

decode(encode(event)) == event
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from alerting.lifecycle import Lifecycle
from alerting.models import (
    Finding,
    Incident,
    IncidentAction,
    IncidentContext,
    IncidentPart,
    ShardReached,
    Silence,
    SilenceAction,
)
from streams.events import (
    AuditCounted,
    ClaimObserved,
    ConfigurationObserved,
    ContainerChanged,
    DeadLetter,
    DecisionObserved,
    EvidenceFound,
    EvidenceWanted,
    FeedSeen,
    LedgerChecked,
    LedgerDay,
    LedgerSealed,
    LedgerSigned,
    LedgerWritten,
    NamespaceObserved,
    PastSeen,
    PodObserved,
    ProgressSeen,
    PullsTaken,
    Tick,
    TrustChanged,
    VerdictReached,
)
from verifier.errors import InputError

SCHEMA_VERSION: Final = 5
"""Written. 2: signed trust records, transitions of incidents, signs of life. 3: how a pod's unseen end is known. 4:
silences. 5: proposals to accept an incident, what the record adds to one, counters of API servers, what a provenance
says of its build. A new kind of record on a topic of its own needs no new version: who does not know it does not read
it. Samples of every version: tests/assets."""
OLDEST_VERSION: Final = 1
"""Still read. A version is dropped once nothing that is kept can hold it."""

Event = (
    PodObserved
    | DecisionObserved
    | NamespaceObserved
    | ConfigurationObserved
    | ClaimObserved
    | FeedSeen
    | PastSeen
    | DeadLetter
    | EvidenceWanted
    | EvidenceFound
    | TrustChanged
    | ProgressSeen
    | AuditCounted
    | PullsTaken
    | Tick
    | ContainerChanged
    | VerdictReached
    | Finding
    | IncidentPart
    | ShardReached
    | Incident
    | IncidentAction
    | IncidentContext
    | Lifecycle
    | SilenceAction
    | Silence
    | LedgerWritten
    | LedgerSealed
    | LedgerSigned
    | LedgerChecked
    | LedgerDay
)


class _Envelope(msgspec.Struct, array_like=True, frozen=True):
    version: int
    event: Event


class _Head(msgspec.Struct, array_like=True, frozen=True):
    version: int
    event: msgspec.Raw


class NewerSchemaError(InputError):
    """A record was written by a newer revet; hold it, never dead-letter it."""


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(_Envelope)
_HEAD = msgspec.msgpack.Decoder(_Head)
_BROKEN: Final = (msgspec.MsgspecError, ValueError, RecursionError)
"""What the decoder raises: also UnicodeDecodeError, and RecursionError for what is nested without end."""


def encode(event: object) -> bytes:
    """One event with the schema version in front. Raises KeyError when it is none of ours."""
    if not isinstance(event, Event):
        raise KeyError(type(event).__name__)
    return _ENCODER.encode(_Envelope(SCHEMA_VERSION, event))


def decode(data: bytes) -> Event:
    """The event in `data`.

    Raises:
        NewerSchemaError: written under a later schema version, whether or not its members look familiar.
        InputError: not one of our records. The message names no value of it.
    """
    try:
        envelope = _DECODER.decode(data)
    except _BROKEN as error:
        _refuse_newer(data)
        raise InputError(f"not a record of schema {SCHEMA_VERSION}") from error
    if not OLDEST_VERSION <= envelope.version <= SCHEMA_VERSION:  # a newer one may mean more than its known members
        _refuse_version(envelope.version)
    return envelope.event


def refuse_newer(data: bytes) -> None:
    """Look at the schema version of a record and at nothing else; silent about what is none of our records.

    Raises:
        NewerSchemaError: it is newer than this program.
    """
    try:
        version = _HEAD.decode(data).version
    except _BROKEN:
        return
    if version > SCHEMA_VERSION:
        _refuse_version(version)


def _refuse_newer(data: bytes) -> None:
    try:
        version = _HEAD.decode(data).version
    except _BROKEN:
        return
    _refuse_version(version)


def _refuse_version(version: int) -> None:
    if version > SCHEMA_VERSION:
        raise NewerSchemaError(f"record has schema {version}, this program reads up to {SCHEMA_VERSION}: upgrade first")
    if version < OLDEST_VERSION:
        raise InputError(f"not a record of schema {OLDEST_VERSION} to {SCHEMA_VERSION}: it says {version}")


def readable(values: Iterable[bytes]) -> Iterator[Event]:
    """The events among stored values. What cannot be read is left out: it is a dead letter, or will be one.

    Raises:
        NewerSchemaError: a value was written by a newer revet.
    """
    for value in values:
        try:
            yield decode(value)
        except NewerSchemaError:
            raise
        except InputError:
            continue
