"""Looking into the record of a cluster: Elasticsearch, from one point in time, on the clock the processes go by.

with looking(settings, wall) as look:
    look.find("key:build")
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from streams.elastic import connect
from streams.queries.conditions import EVERYTHING
from streams.queries.elasticsearch import ElasticsearchReader
from streams.queries.looking import RecordLook
from streams.queries.port import ALL_HISTORY, one
from streams.settings import Settings
from streams.sinks.mapping import Names
from verifier.models import Micros


@contextmanager
def looking(settings: Settings, wall: Micros) -> Iterator[RecordLook]:
    """Look into the record; all that is asked belongs together, as far as it was searchable when first asked.

    With `serve.clock: recorded` it is as late as the newest document says, and no feed is called silent.

    Raises:
        InputError: a setting is wrong, or nothing is set up; the latter also while looking.
        PlaceUnavailable: no node answers; PlaceRefused: none lets us in. Both also while looking.
    """
    with connect(settings.elasticsearch) as server:
        reader = ElasticsearchReader(server, Names(settings.elasticsearch.namespace))
        with reader.held():
            if settings.serve.clock == "wall":
                yield RecordLook(reader, now=wall, live=wall)
            else:
                newest = one(reader, ALL_HISTORY, EVERYTHING)
                yield RecordLook(reader, now=newest.time if newest is not None else wall, live=None)
