"""The alerter as one thing: the incident book and the delivery ledger behind it, with one state to store.

alerter = Alerter.from_rows(rows, routes)
outputs = alerter.handle(event, now)                # incident parts, shards that reached an epoch, actions
outputs += alerter.tick(now)                        # when alerter.next_due() has come
store(alerter.dirty()); alerter.saved()             # one transaction, with the position of the input
alerter.deliver(notifier, save, clock)              # then, and only then, tell people
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, assert_never

from alerting.delivery import Ledger, Notifier, deliver
from alerting.incidents import IncidentBook
from alerting.lifecycle import Notification, Output
from alerting.models import IncidentAction, IncidentPart, ShardReached
from alerting.render import Message, render
from alerting.routing import Routes, team_of

_BOOK: Final = "book "
_DELIVERY: Final = "delivery "

Event = IncidentPart | ShardReached | IncidentAction


class Alerter:
    """Incidents and their deliveries. Pure but for what `deliver` is given."""

    def __init__(self, routes: Routes | None = None) -> None:
        self.routes = routes or Routes()
        self.book = IncidentBook(self.routes)
        self.ledger = Ledger()

    def handle(self, event: Event, now: int) -> list[Output]:
        """Take an event in; gives incident rows, transitions and intents (which the ledger has taken already)."""
        match event:
            case IncidentPart():
                return self._told(self.book.apply(event, now))
            case ShardReached():
                return self._told(self.book.reached(event, now))
            case IncidentAction():
                return self._told(self.book.act(event))
            case _:
                assert_never(event)

    def namespace(self, cluster: str, namespace: str, labels: Mapping[str, str], now: int) -> None:
        """Labels of a namespace, for ownership."""
        self.book.own(cluster, namespace, team_of(cluster, namespace, labels, self.routes).team, now)

    def tick(self, now: int) -> list[Output]:
        """Do everything that is due."""
        return self._told(self.book.tick(now))

    def next_due(self) -> int | None:
        """When `tick` or `deliver` has something to do; None when nothing is scheduled."""
        return min((due for due in (self.book.next_due(), self.ledger.next_due()) if due is not None), default=None)

    def content(self, incident: str, destination: str) -> Message | None:
        """The message of a slice as it should read now."""
        slice_ = self.book.slice_of(incident, destination)
        return render(slice_) if slice_ else None

    def deliver(
        self,
        notifier: Notifier,
        save: Callable[[Mapping[str, bytes]], None],
        clock: Callable[[], int],
        limit: int = 1000,
    ) -> int:
        """Tell people what is due; `save` makes rows durable, before and after every call. Gives the number of calls."""

        def save_rows(rows: Mapping[str, bytes]) -> None:
            save({_DELIVERY + key: value for key, value in rows.items()})

        return deliver(self.ledger, notifier, self.content, save_rows, clock, limit=limit)

    def dirty(self) -> dict[str, bytes | None]:
        """Rows that changed since `saved`; None: the row is gone."""
        rows: dict[str, bytes | None] = {_BOOK + key: value for key, value in self.book.dirty().items()}
        return rows | {_DELIVERY + key: value for key, value in self.ledger.dirty().items()}

    def saved(self) -> None:
        """What `dirty` gave is stored."""
        self.book.saved()
        self.ledger.saved()

    def to_rows(self) -> dict[str, bytes]:
        """Every row."""
        rows = {_BOOK + key: value for key, value in self.book.to_rows().items()}
        return rows | {_DELIVERY + key: value for key, value in self.ledger.to_rows().items()}

    @classmethod
    def from_rows(cls, rows: Iterable[tuple[str, bytes]], routes: Routes | None = None) -> Alerter:
        """The alerter as it was.

        Raises:
            msgspec.DecodeError: a row is not what `to_rows` wrote.
        """
        alerter = cls(routes)
        listed = dict(rows)
        alerter.book = IncidentBook.from_rows(_stripped(listed, _BOOK), alerter.routes)
        alerter.ledger = Ledger.from_rows(_stripped(listed, _DELIVERY))
        return alerter

    def _told(self, outputs: list[Output]) -> list[Output]:
        for output in outputs:
            if isinstance(output, Notification):
                self.ledger.accept(output)
        return outputs


def _stripped(rows: Mapping[str, bytes], prefix: str) -> Iterable[tuple[str, bytes]]:
    return ((key.removeprefix(prefix), value) for key, value in rows.items() if key.startswith(prefix))
