"""Looking into a state file: the record, the state's own clock, and the incident book, in one read transaction.

    with looking(path, wall) as look:
        look.find("key:build"); look.message(incident)

Nothing here writes, and a running service is never held up.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from msgspec.structs import replace

from alerting.incidents import IncidentBook
from alerting.models import Silence
from alerting.naming import named
from alerting.render import Message, render
from alerting.routing import Routes
from streams.alerter import BOOK, silences_of
from streams.engine.sqlite import Connection, trust_log
from streams.local.sqlite import newest_time, open_reading, recorded_clock, state_now
from streams.queries.context import context_of
from streams.queries.looking import Look
from streams.queries.sqlite import SqliteReader
from verifier.errors import InputError
from verifier.models import Micros
from verifier.trust.records import TRUST_RECORD
from verifier.trust.state import TrustState


class StateLook(Look):
    """A look into a state file. Valid inside `looking`."""

    def __init__(self, connection: Connection, wall: Micros) -> None:
        self.connection = connection
        self.reader = SqliteReader(connection)
        self.now = state_now(connection, wall)
        self.live = None if recorded_clock(connection) else wall

    def stamp(self) -> Micros:
        """See `Look.stamp`: later than everything in the log."""
        return max(self.now, newest_time(self.connection) + 1)

    def trust(self) -> TrustState:
        """See `Look.trust`."""
        trust = TrustState.empty()
        for epoch, value in trust_log(self.connection):
            trust, _ = trust.apply(TRUST_RECORD.validate_json(value), epoch)
        return trust

    def message(self, incident: str) -> Message | None:
        """See `Look.message`."""
        rows = self.connection.execute("SELECT key, value FROM state WHERE kind = ?", (BOOK,))
        try:
            book = IncidentBook.from_rows((str(key), bytes(value)) for key, value in rows)
        except msgspec.MsgspecError as error:
            raise InputError(f"the alerter's state is not readable by this version: {error}") from error
        found = book.slice_of(incident, Routes().security)
        if found is None:
            return None
        if found.incident.state != "resolved" and not found.incident.deployed_by:
            added = context_of(self.reader, found.incident, self.now)
            row = replace(found.incident, deployed_by=added.deployed_by, good_image=added.good_image)
            found = replace(found, incident=row)
        clusters = self.trust().clusters
        names = {id_: known.name for id_, known in clusters.items() if known.name}
        return render(named(found, lambda cluster: names.get(cluster, cluster)))


def silences(path: Path) -> list[Silence]:
    """Every silence that is known, those that end first on top. Raises as `looking`; InputError: of another version."""
    with open_reading(path) as connection:
        rows = connection.execute("SELECT kind, key, value FROM state WHERE kind = ?", (BOOK,)).fetchall()
    try:
        return silences_of((str(kind), str(key), bytes(value)) for kind, key, value in rows)
    except msgspec.MsgspecError as error:
        raise InputError(f"the alerter's state is not readable by this version: {error}") from error


@contextmanager
def looking(path: Path, wall: Micros, seconds: float | None = None) -> Iterator[StateLook]:
    """Look into a state file; `wall` is the wall clock, for states that live in it. `seconds`: see `open_reading`.

    Raises:
        InputError: there is no state file, or it is something else.
        PlaceUnavailable: it cannot be read now.
    """
    with open_reading(path, seconds) as connection:
        yield StateLook(connection, wall)
