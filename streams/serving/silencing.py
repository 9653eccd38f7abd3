"""Silences of a cluster: asked for through Kafka, and shown as the alerter keeps them.

done = act(settings, SilenceAction(...))        "service": the alerter did it; "nobody": durable, not done in time
silences(settings)                              every one the alerter knows
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import closing
from typing import Final, Literal

import msgspec

from alerting.models import Silence, SilenceAction
from streams.alerter import silences_of
from streams.engine.port import Record
from streams.engine.staterows import StateFold
from streams.kafka.producer import KafkaDoor
from streams.kafka.reading import KafkaLog
from streams.outputs import output
from streams.settings import Settings
from streams.topics import ALERTS
from verifier.errors import InputError

LOOK_EVERY: Final = 0.25
"""Seconds between two looks at what the alerter keeps."""
GIVE_UP: Final = 15.0
"""Seconds after which a command no longer waits for the alerter."""


def act(settings: Settings, action: SilenceAction) -> Literal["service", "nobody"]:
    """Hand it over to the alerter, and wait until it is done.

    Raises:
        InputError: the settings name no Kafka. PlaceUnavailable: Kafka does not answer; PlaceRefused: it does not let
            us in.
    """
    _needs_kafka(settings)
    with closing(KafkaDoor(settings.kafka, part="cli")) as door:
        door.send([output(action)])
    deadline = time.monotonic() + GIVE_UP
    while time.monotonic() < deadline:
        if is_done(action, silences(settings)):
            return "service"
        time.sleep(LOOK_EVERY)
    return "nobody"


def silences(settings: Settings) -> list[Silence]:
    """Every silence the alerter knows, those that end first on top. Raises as `act`; NewerSchemaError."""
    _needs_kafka(settings)
    return kept(KafkaLog(settings.kafka).read(ALERTS))


def kept(records: Iterable[Record]) -> list[Silence]:
    """The silences among the alerter's rows.

    Raises:
        InputError: they are of another version. NewerSchemaError: of a newer one.
    """
    fold = StateFold()
    for record in records:
        fold.take(record)
    try:
        return silences_of(fold.rows())
    except msgspec.MsgspecError as error:
        raise InputError(f"the alerter's state is not readable by this version: {error}") from error


def is_done(action: SilenceAction, known: Iterable[Silence]) -> bool:
    """Has the alerter come to it?"""
    found = next((silence for silence in known if silence.id == action.silence), None)
    return found is not None and (action.action == "add" or found.state != "in-force")


def _needs_kafka(settings: Settings) -> None:
    if not settings.kafka.bootstrap:
        raise InputError(
            "kafka.bootstrap: silences are kept by the alerter, behind Kafka, and the settings name none; example:"
            " kafka: {bootstrap: kafka-1:9092}"
        )
