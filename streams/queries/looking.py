"""What commands look at: a record that answers, a clock, and trust; whatever store it is. Opens nothing.

look.find("key:build")                         the subject a text stands for
look.revocations(subject.values)               what stands against it
RecordLook(reader, now=wall, live=wall)        where the record is all there is, as beside a cluster
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Final

from pydantic import ValidationError

from alerting.render import Message
from streams.queries.conditions import EVERYTHING
from streams.queries.port import Hit, RecordReader, every
from streams.queries.reading import number_of, text_of
from streams.queries.results import Subject, SubjectKind
from streams.queries.subjects import KINDS, NothingCalledError, resolve
from streams.sinks.fields import HOMES
from verifier.errors import InputError
from verifier.models import Micros
from verifier.trust.records import TRUST_RECORD, RevocationPut
from verifier.trust.state import TrustState

_CUT_HEX: Final = re.compile(r"[0-9a-f]{8,63}")
"""The beginning of a digest as people copy it, without `sha256:`."""


class Look(ABC):
    """What commands look at."""

    reader: RecordReader
    now: Micros
    """The instant the record has reached: ages and `now` count from here."""
    live: Micros | None
    """To say which feeds are silent: the wall clock, or None where only a recording's time passes."""

    @abstractmethod
    def stamp(self) -> Micros:
        """An instant for what is done now: later than all that was done before."""

    @abstractmethod
    def trust(self) -> TrustState:
        """Trust as the whole log says.

        Raises:
            InputError: the log is not whole, or of a newer version.
            PlaceUnavailable: the store does not answer.
        """

    @abstractmethod
    def message(self, incident: str) -> Message | None:
        """The message about an incident as it would be told now; None where the alerter's book is not at hand.

        Raises:
            InputError: the alerter's rows are not readable by this version.
        """

    def find(self, text: str, kinds: Iterable[SubjectKind] = ()) -> Subject:
        """The subject a text stands for, of one of `kinds` (default: all).

        Raises:
            NothingCalledError: nothing in the record is called so.
            InputError: several things are.
            PlaceUnavailable: the store does not answer.
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
            PlaceUnavailable: the store does not answer.
        """
        try:
            return self.find(text, kinds)
        except NothingCalledError:
            return Subject(kinds[0] if len(kinds) == 1 else "image", text, (), known=False)

    def revocations(self, keys: Iterable[str]) -> tuple[RevocationPut, ...]:
        """Revocations of keys that are in the trust log and not withdrawn, in the order they were made. Raises as
        `trust`.
        """
        trust = self.trust()
        found = {r.id: r for key in keys for r in trust.revocations_of("key", key)}
        return tuple(sorted(found.values(), key=lambda r: (r.at, r.id)))


class RecordLook(Look):
    """A look where the record is all there is: trust is read out of its documents, the alerter's book is elsewhere."""

    def __init__(self, reader: RecordReader, *, now: Micros, live: Micros | None) -> None:
        self.reader, self.now, self.live = reader, now, live
        self._trust: TrustState | None = None

    def stamp(self) -> Micros:
        """See `Look.stamp`. In a recording's time the newest document has the time of `now` itself."""
        return self.now + 1

    def message(self, incident: str) -> Message | None:
        """See `Look.message`."""
        del incident
        return None

    def trust(self) -> TrustState:
        """See `Look.trust`."""
        if self._trust is None:
            self._trust = _folded(sorted(every(self.reader, HOMES["trust"], EVERYTHING), key=_epoch))
        return self._trust


def _epoch(hit: Hit) -> int:
    return number_of(hit.body, "epoch")


def _folded(hits: Iterable[Hit]) -> TrustState:
    trust = TrustState.empty()
    for hit in hits:
        epoch = _epoch(hit)
        if epoch > trust.epoch + 1:
            raise InputError(
                f"the record lacks entries {trust.epoch + 1} to {epoch - 1} of the trust log, so what is revoked"
                " cannot be told: they are not indexed yet, were deleted, or your role may not read them"
            )
        try:
            record = TRUST_RECORD.validate_json(text_of(hit.body, "event.original"))
        except ValidationError as error:
            raise InputError(f"entry {epoch} of the trust log is not readable by this version of revet") from error
        trust, _ = trust.apply(record, epoch)
    return trust
