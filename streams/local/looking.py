"""Looking into a state file: the record, the state's own clock, and the incident book, in one read transaction.

    with looking(path, wall) as look:
        resolve(look.reader, "key:build"); look.book().slice_of(incident, "security")

Nothing here writes, and a running service is never held up.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from alerting.incidents import IncidentBook
from alerting.render import Message, render
from alerting.routing import Routes
from streams.alerter import BOOK
from streams.engine.sqlite import Connection, trust_log
from streams.local.sqlite import newest_time, open_reading, recorded_clock, state_now
from streams.queries.results import Subject, SubjectKind
from streams.queries.sqlite import SqliteReader
from streams.queries.subjects import KINDS, NothingCalledError, resolve
from verifier.errors import InputError
from verifier.models import Micros
from verifier.trust.records import TRUST_RECORD, RevocationPut
from verifier.trust.state import TrustState

_CUT_HEX: Final = re.compile(r"[0-9a-f]{8,63}")
"""The beginning of a digest as people copy it, without `sha256:`."""


class Look:
    """What commands look at. Valid inside `looking`."""

    def __init__(self, connection: Connection, wall: Micros) -> None:
        self.connection = connection
        self.reader = SqliteReader(connection)
        self.now = state_now(connection, wall)
        """The instant the state has reached: ages and `now` count from here."""
        self.live = None if recorded_clock(connection) else wall
        """To say which feeds are silent: the wall clock, or None where only a recording's time passes."""

    def stamp(self) -> Micros:
        """An instant later than everything in the log: what is done now comes after what was done before."""
        return max(self.now, newest_time(self.connection) + 1)

    def find(self, text: str, kinds: Iterable[SubjectKind] = ()) -> Subject:
        """The subject a text stands for, of one of `kinds` (default: all).

        Raises:
            NothingCalledError: nothing in the record is called so.
            InputError: several things are.
            PlaceUnavailable: the state cannot be read.
        """
        allowed = tuple(kinds) or KINDS
        try:
            return resolve(self.reader, text, allowed)
        except NothingCalledError:
            if "digest" in allowed and _CUT_HEX.fullmatch(text):
                return resolve(self.reader, f"sha256:{text}", ("digest",))
            raise

    def find_or_nothing(self, text: str, kinds: Sequence[SubjectKind] = ()) -> Subject:
        """As `find`; a name that nothing has is a subject that the record does not know.

        Raises:
            InputError: several things are called so.
            PlaceUnavailable: the state cannot be read.
        """
        try:
            return self.find(text, kinds)
        except NothingCalledError:
            return Subject(kinds[0] if len(kinds) == 1 else "image", text, (), known=False)

    def revocations(self, keys: Iterable[str]) -> tuple[RevocationPut, ...]:
        """Revocations of keys that are in the trust log and not withdrawn, in the order they were made."""
        trust = self.trust()
        found = {r.id: r for key in keys for r in trust.revocations_of("key", key)}
        return tuple(sorted(found.values(), key=lambda r: (r.at, r.id)))

    def trust(self) -> TrustState:
        """Trust as the whole log says."""
        trust = TrustState.empty()
        for epoch, value in trust_log(self.connection):
            trust, _ = trust.apply(TRUST_RECORD.validate_json(value), epoch)
        return trust

    def message(self, incident: str) -> Message | None:
        """The message about an incident as it would be told now; None when the alerter no longer holds it.

        Raises:
            InputError: the alerter's rows are not readable by this version.
        """
        rows = self.connection.execute("SELECT key, value FROM state WHERE kind = ?", (BOOK,))
        try:
            book = IncidentBook.from_rows((str(key), bytes(value)) for key, value in rows)
        except msgspec.MsgspecError as error:
            raise InputError(f"the alerter's state is not readable by this version: {error}") from error
        found = book.slice_of(incident, Routes().security)
        return render(found) if found is not None else None


@contextmanager
def looking(path: Path, wall: Micros) -> Iterator[Look]:
    """Look into a state file; `wall` is the wall clock, for states that live in it.

    Raises:
        InputError: there is no state file, or it is something else.
        PlaceUnavailable: it cannot be read now.
    """
    with open_reading(path) as connection:
        yield Look(connection, wall)
