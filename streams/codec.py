"""Bytes on a topic: a version and one event. A reader of version N reads N-1 and holds N+1 instead of dropping it.

decode(encode(event)) == event
"""

from __future__ import annotations

from typing import Final

import msgspec

from alerting.models import Finding, Incident, IncidentAction, IncidentPart, ShardReached
from streams.events import (
    ConfigurationObserved,
    ContainerChanged,
    DeadLetter,
    DecisionObserved,
    EvidenceFound,
    EvidenceWanted,
    FeedSeen,
    NamespaceObserved,
    PodObserved,
    Tick,
    TrustChanged,
    VerdictReached,
)
from verifier.errors import InputError

SCHEMA_VERSION: Final = 1

Event = (
    PodObserved
    | DecisionObserved
    | NamespaceObserved
    | ConfigurationObserved
    | FeedSeen
    | DeadLetter
    | EvidenceWanted
    | EvidenceFound
    | TrustChanged
    | Tick
    | ContainerChanged
    | VerdictReached
    | Finding
    | IncidentPart
    | ShardReached
    | Incident
    | IncidentAction
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


def encode(event: object) -> bytes:
    """One event with the schema version in front. Raises KeyError when it is none of ours."""
    if not isinstance(event, Event):
        raise KeyError(type(event).__name__)
    return _ENCODER.encode(_Envelope(SCHEMA_VERSION, event))


def decode(data: bytes) -> Event:
    """The event in `data`.

    Raises:
        NewerSchemaError: written under a later schema version.
        InputError: not one of our records.
    """
    try:
        return _DECODER.decode(data).event
    except msgspec.MsgspecError as error:
        _refuse_newer(data)
        raise InputError(f"not a record of schema {SCHEMA_VERSION}: {error}") from error


def _refuse_newer(data: bytes) -> None:
    try:
        version = _HEAD.decode(data).version
    except msgspec.MsgspecError:
        return
    if version > SCHEMA_VERSION:
        raise NewerSchemaError(f"record has schema {version}, this program reads up to {SCHEMA_VERSION}: upgrade first")
