"""What a person does to an incident, in a cluster: an action for the alerter, durable before anything else is said.

done = act(settings, IncidentAction(...))       "service": the record shows it; "nobody": durable, not shown in time
"""

from __future__ import annotations

import time
from contextlib import closing
from typing import Final, Literal

from alerting.models import IncidentAction
from streams.elastic import connect
from streams.kafka.producer import KafkaDoor
from streams.outputs import output
from streams.queries.conditions import Is, both, is_
from streams.queries.elasticsearch import ElasticsearchReader
from streams.queries.port import RecordReader, one
from streams.queries.reading import number_of
from streams.settings import Settings
from streams.sinks.document import instant
from streams.sinks.fields import HOMES
from streams.sinks.mapping import Names
from verifier.errors import InputError

LOOK_EVERY: Final = 0.25
"""Seconds between two looks into the record."""
GIVE_UP: Final = 15.0
"""Seconds after which a command no longer waits for the alerter, the indexer and the record's refresh."""


def act(settings: Settings, action: IncidentAction) -> Literal["service", "nobody"]:
    """Hand an action over to the alerter, and wait until the record shows what came of it.

    Raises:
        InputError: the settings name no Kafka.
        PlaceUnavailable: Kafka did not take it, or the record does not answer; PlaceRefused: one does not let us in.
    """
    if not settings.kafka.bootstrap:
        raise InputError(
            "kafka.bootstrap: what is done to an incident goes through Kafka, and the settings name none; example:"
            " kafka: {bootstrap: kafka-1:9092}"
        )
    with closing(KafkaDoor(settings.kafka, part="cli")) as door:
        door.send([output(action)])
    with connect(settings.elasticsearch) as server:
        reader = ElasticsearchReader(server, Names(settings.elasticsearch.namespace))
        deadline = time.monotonic() + GIVE_UP
        while time.monotonic() < deadline:
            if _shows(reader, action):
                return "service"
            time.sleep(LOOK_EVERY)
    return "nobody"


def _shows(reader: RecordReader, action: IncidentAction) -> bool:
    """Is the transition there, which has the time of the action, and the row of its revision?"""
    about = is_("incident", action.incident)
    told = one(reader, HOMES["incident"], both(about, Is("@timestamp", instant(action.time))))
    row = one(reader, HOMES["incidents"], about)
    return told is not None and row is not None and number_of(row.body, "revision") >= number_of(told.body, "revision")
