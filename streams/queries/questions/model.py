"""What a question is, how it is asked, and what is found. Pure.

Two times: `at` is when something was so, `known_at` by when it was known. A start that was told late had happened
`at` an instant at which it was not yet `known`; a revocation of today changes nothing of what was known yesterday.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from alerting.routing import Routes
from streams.queries.conditions import EVERYTHING, Condition
from streams.queries.port import MAX_PAGE, RecordReader
from streams.queries.results import Cell, Subject, SubjectKind
from verifier.errors import InputError
from verifier.models import Micros

READ: Final = MAX_PAGE
"""Documents of one kind that an answer is worked out from where they are not counted in the store; more are named."""

Cells = tuple[Cell, ...]


class Asked(msgspec.Struct, frozen=True):
    """One question as it is asked."""

    question: str = ""
    """Name of the question; its cursors are of it alone."""
    subject: Subject | None = None
    where: Condition = EVERYTHING
    """Narrows containers and decisions: cluster, namespace."""
    cluster: str = ""
    """Id or name of the cluster it is narrowed to: blind spots are of this one."""
    at: Micros | None = None
    known_at: Micros | None = None
    start: Micros | None = None
    end: Micros | None = None
    limit: int = 100
    after: str = ""
    now: Micros = 0
    """The instant the record has reached."""
    live: Micros | None = None
    """The wall clock, to say which feeds are silent; None where only a recording's time passes."""
    routes: Routes = Routes()

    @property
    def instant(self) -> Micros | None:
        """The instant a state is asked for; None: now. Without `at`, what was known by `known_at` of that time."""
        return self.at if self.at is not None else self.known_at

    @property
    def until(self) -> Micros | None:
        """Nothing later than this is told: happenings are known when they happen."""
        return min((t for t in (self.at, self.known_at, self.end) if t is not None), default=None)


class Found(NamedTuple):
    """What a question finds."""

    rows: Sequence[Cells]
    after: str = ""
    clusters: frozenset[str] = frozenset()
    """Clusters the answer is about; empty: every one, since nothing found may be nothing seen."""
    limits: tuple[str, ...] = ()
    blind_spots: tuple[str, ...] = ()
    """Of what was read for it; those of the feeds are added by whoever asks."""


class Question(NamedTuple):
    """One of the fifteen."""

    number: int
    name: str
    text: str
    columns: tuple[str, ...]
    answer: Callable[[RecordReader, Asked], Found]
    subjects: tuple[SubjectKind, ...] = ()
    """Kinds it can be asked about; none: it is about clusters."""
    needs_subject: bool = True
    of_instant: bool = False
    """It is about what is so at an instant: only gaps at that instant matter."""


# ------------------------------------------------------------------------------------------------ pages

_MARK: Final = "q1."
_CURSOR: Final = msgspec.msgpack.Decoder(tuple[str, tuple[int | str, ...]])

Key = tuple[int | str, ...]


class Keyed(NamedTuple):
    """A row and where it stands; no two rows of an answer have one key."""

    key: Key
    cells: Any
    """Cells, or what they will be made of."""


def paged(rows: Iterable[Keyed], asked: Asked) -> tuple[list[Any], str]:
    """The rows of the page that is asked for, in the order of their keys, and where the next one begins.

    Raises:
        InputError: `after` is no position of this answer.
    """
    kept = sorted(rows, key=lambda row: row.key)
    if asked.after:
        position = _position(asked)
        try:
            kept = [row for row in kept if row.key > position]
        except TypeError as error:
            raise InputError(_NO_POSITION.format(asked.after[:60])) from error
    page = kept[: asked.limit]
    more = len(kept) > len(page)
    return [row.cells for row in page], cursor(asked, page[-1].key) if more else ""


def is_cursor(after: str) -> bool:
    """Is it one of `paged`, and no store's?"""
    return after.startswith(_MARK)


def cursor(asked: Asked, key: Key) -> str:
    """Where the row of this key ends."""
    return _MARK + urlsafe_b64encode(msgspec.msgpack.encode((asked.question, key))).rstrip(b"=").decode()


def _position(asked: Asked) -> Key:
    try:
        if not is_cursor(asked.after):
            raise ValueError(asked.after)
        data = asked.after.removeprefix(_MARK).encode("ascii")
        name, key = _CURSOR.decode(urlsafe_b64decode(data + b"=" * (-len(data) % 4)))
    except (ValueError, msgspec.MsgspecError) as error:
        raise InputError(_NO_POSITION.format(asked.after[:60])) from error
    if name != asked.question or not key:
        raise InputError(_NO_POSITION.format(asked.after[:60]))
    return key


_NO_POSITION: Final = "{!r} is no position of this answer; leave --after away to begin anew"
