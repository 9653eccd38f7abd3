"""What several chapters read: the window, counts, tables made of the fifteen questions. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from alerting.routing import Routes
from alerting.text import count
from streams.queries.conditions import EVERYTHING, Condition, at_time, both
from streams.queries.port import Hit, RecordReader, every
from streams.queries.questions import Asked, question
from streams.queries.reading import number_of, text_of
from streams.queries.report.model import Figure, Table, Tone
from streams.queries.results import Cell, Subject
from streams.sinks.fields import HOMES
from verifier.models import Micros

ROWS: Final = 50
"""Rows of one list; what is left out is said, with the command that shows it."""


class Wanted(msgspec.Struct, frozen=True):
    """One report as it is asked for."""

    start: Micros
    """Of the window for what happened; what is so is told as of `now`."""
    end: Micros
    now: Micros
    """The instant the record has reached."""
    live: Micros | None = None
    """The wall clock, to say which feeds are silent; None where only a recording's time passes."""
    images: tuple[Subject, ...] = ()
    """Images, digests … whose provenance is drawn; none: those that most has to do with."""
    routes: Routes = Routes()
    """Whose a namespace is, with the namespaces' labels of the record."""

    @property
    def window(self) -> Condition:
        """Documents of what happened in it."""
        return both(at_time("@timestamp", ">=", self.start), at_time("@timestamp", "<=", self.end))

    def asked(self, **more: Any) -> Asked:  # noqa: ANN401  # members of Asked, each with its own type
        """A question about what is so now."""
        return Asked(now=self.now, live=self.live, routes=self.routes, **{"limit": ROWS, **more})


def number(reader: RecordReader, home: str, where: Condition = EVERYTHING) -> int:
    """How many documents there are. Raises as `RecordReader.groups`."""
    return sum(group.count for group in reader.groups(HOMES[home], where, ("event.dataset",)))


def by_value(reader: RecordReader, home: str, where: Condition, field: str) -> dict[str, int]:
    """Value of a single-valued keyword field -> how many documents. Raises as `RecordReader.groups`."""
    return {group.values[0]: group.count for group in reader.groups(HOMES[home], where, (field,))}


def entries(reader: RecordReader, where: Condition) -> list[Hit]:
    """Entries of the trust log in its order. Raises as `RecordReader.find`."""
    return sorted(every(reader, HOMES["trust"], where), key=lambda hit: number_of(hit.body, "epoch"))


def asked_table(
    reader: RecordReader, name: str, asked: Asked, caption: str, columns: Iterable[str], *, empty: str = "none"
) -> Table:
    """Some columns of the answer to one of the fifteen questions; what feeds did not see, a chapter of its own says.

    Raises:
        InputError: nothing was recorded here.
        PlaceUnavailable: the store does not answer.
    """
    of = question(name)
    found = of.answer(reader, msgspec.structs.replace(asked, question=of.name))
    shown = [of.columns.index(column) for column in columns]
    more = f"there are more: `revet ask {of.name}`" if found.after else ""
    rows = tuple(tuple(row[n] for n in shown) for row in found.rows)
    return Table(caption, tuple(of.columns[n] for n in shown), rows, more, empty)


def cut(
    rows: Sequence[tuple[Cell, ...]], limit: int, what: str, how: str = "", plural: str = ""
) -> tuple[tuple[tuple[Cell, ...], ...], str]:
    """The first rows, and what is said of the rest: how many, and the command that shows them."""
    left = len(rows) - limit
    told = f"{count(left, what, plural)} more{f': `{how}`' if how else ''}" if left > 0 else ""
    return tuple(rows[:limit]), told


def figure(name: str, value: int, text: str = "", *, bad: bool = False, unknown: bool = False) -> Figure:
    """A number; `bad` or `unknown` where it is not zero."""
    tone: Tone = "plain" if not value else "bad" if bad else "unknown" if unknown else "plain"
    return Figure(name, f"{value:,}", text, tone)


def texts(hit: Hit, names: Iterable[str]) -> tuple[str, ...]:
    """Single values of a document by short or full name; empty where there is none."""
    return tuple(text_of(hit.body, name) for name in names)
