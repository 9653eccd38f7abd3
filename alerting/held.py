"""State of one incident while the book holds it: its head, its parts, and their rows in a store.

The rows are small and many: one per head and one per part, so that a store writes only what changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

import msgspec

from alerting.models import Cause, Incident, IncidentPart, Proposal, Severity
from alerting.tally import PartKey, PartState, is_live
from alerting.timing import KEEP_RESOLVED, TIMINGS
from verifier.canonical import canonical_json

HeldState = Literal["waiting", "open", "acknowledged", "resolved"]
"""`waiting`: parts are known, and none ever had a count; nobody was told."""


class Head(msgspec.Struct):
    """What the book remembers of an incident beside its parts."""

    id: str
    kind: str
    subject: str
    cause: Cause
    severity: Severity = "info"
    state: HeldState = "waiting"
    revision: int = 0
    episode: int = 1
    opened: int = 0
    resolved: int | None = None
    reopened: int = 0
    acknowledged_by: str = ""
    void_before: int = 0
    """Acknowledgements given before this time no longer count (it was reopened, or became worse)."""
    notes: tuple[tuple[int, str, str], ...] = ()
    acted: tuple[str, ...] = ()
    """Ids of the newest actions, so that none is done twice."""
    floor: tuple[int, int] = (0, 0)
    """(containers, workloads) left when it was resolved; more than that reopens it."""
    final: bool = False
    told: tuple[str, ...] = ()
    """Destinations that have a parent message of this episode."""
    notified_at: int = 0
    zero_last: int = 0
    """When the last of its parts that has nothing left began to have nothing left."""
    row_due: int | None = None
    post_due: int | None = None
    edit_due: int | None = None
    reminded: int = 0
    """How often it was said again since somebody was told, or acknowledged it."""
    remind_due: int | None = None
    shown: Incident | None = None
    """The row that was put out last."""
    proposals: tuple[Proposal, ...] = ()
    """That it be accepted, of this episode."""
    deployed_by: str = ""
    good_image: str = ""
    """What the record adds (`alerting.models.Incident`)."""
    hushed: tuple[str, ...] = ()
    """Destinations that were told nothing when it was last looked, because all they have in it is silenced."""

    @property
    def posted(self) -> bool:
        """Whether anybody was told in this episode."""
        return bool(self.told)

    @property
    def active(self) -> bool:
        """Open or acknowledged."""
        return self.state in ("open", "acknowledged")


class Held:
    """One incident: head, newest parts, and running sums over them."""

    def __init__(self, head: Head) -> None:
        self.head = head
        self.parts: dict[PartKey, PartState] = {}
        self.spaces: set[tuple[str, str]] = set()
        """(cluster, namespace) of every part, live or not."""
        self.own = True
        """Every part comes from the alerter itself, so no shard of workloads has a word in it."""
        self.live = 0
        self.containers = 0
        self.workloads = 0

    def put(self, key: PartKey, state: PartState) -> None:
        """Replace the part of `key` and keep the sums."""
        older = self.parts.get(key)
        if older is not None:
            self._add(older.part, -1)
        self.parts[key] = state
        self._add(state.part, 1)
        self.own = self.own and key.shard < 0
        self.spaces.add((key.cluster, key.namespace))
        self.head.zero_last = max(self.head.zero_last, state.zero_since or 0)

    def _add(self, part: IncidentPart, sign: int) -> None:
        self.live += sign * is_live(part)
        self.containers += sign * part.containers
        self.workloads += sign * part.workloads

    def forget_peaks(self) -> None:
        """A new episode counts its own peak."""
        self.parts = {
            key: PartState(state.part, state.part.containers, state.zero_since) for key, state in self.parts.items()
        }

    def exceeds_floor(self) -> bool:
        """Whether more is left than when it was resolved."""
        return self.containers > self.head.floor[0] or self.workloads > self.head.floor[1]

    def lower_floor(self) -> None:
        """What went away after a close by hand must not come back unseen."""
        self.head.floor = (min(self.head.floor[0], self.containers), min(self.head.floor[1], self.workloads))

    def resolve_at(self) -> int | None:
        """When it may be resolved: nothing left, every shard heard, and the hold over. Never by mere silence."""
        head = self.head
        if not head.active or self.live or not head.final:
            return None
        return head.zero_last + TIMINGS[head.severity].hold

    def forget_at(self) -> int | None:
        """When it may be forgotten; never while anything is left in it."""
        if self.head.state != "resolved" or self.live or self.head.resolved is None:
            return None
        return self.head.resolved + KEEP_RESOLVED

    def due(self, *, may_resolve: bool) -> int | None:
        """The next instant at which `IncidentBook.tick` has something to do here."""
        head = self.head
        resolve = self.resolve_at() if may_resolve else None
        times = (head.row_due, head.post_due, head.edit_due, head.remind_due, resolve, self.forget_at())
        return min((time for time in times if time is not None), default=None)


RowKey = tuple[str, ...]
"""`("head", incident)`, `("part", incident, shard, cluster, namespace)`, `("owner", cluster, namespace)`,
`("reached", shard)`, `("silence", id)`; as text it is the canonical JSON of the list."""

HEAD: Final = "head"
PART: Final = "part"
OWNER: Final = "owner"
REACHED: Final = "reached"
SILENCE: Final = "silence"

encode: Final = msgspec.json.Encoder().encode


def row_key(*values: str) -> str:
    """The text of a row key; no name can imitate another row's key."""
    return canonical_json(list(values)).decode()


def read_key(text: str) -> RowKey:
    """The inverse of `row_key`."""
    return msgspec.json.decode(text, type=RowKey)


def head_key(incident: str) -> str:
    """Row key of a head."""
    return row_key(HEAD, incident)


def part_key(incident: str, key: PartKey) -> str:
    """Row key of a part."""
    return row_key(PART, incident, str(key.shard), key.cluster, key.namespace)


def rows_of(held: Held) -> Iterator[tuple[str, bytes]]:
    """Every row of one incident."""
    yield head_key(held.head.id), encode(held.head)
    for key, state in held.parts.items():
        yield part_key(held.head.id, key), encode(state)
