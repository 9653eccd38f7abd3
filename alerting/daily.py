"""The ledger's checkpoint in the chat, once a day: one more place where it stands, which nobody who changes the record
can change. Pure.

    days = Days()
    intent = days.take(day, "also/ledger")          to be accepted by the delivery ledger; None: it was told
    days.message(intent.incident)

A line of a day is said once: the first that comes counts, whoever says it again and however often. It asks for
nothing, so it is over as soon as it stands there.
"""

from __future__ import annotations

import base64
from typing import Final

import msgspec

from alerting.lifecycle import Notification
from alerting.ownfindings import OneRow
from alerting.render import CHECKPOINT, HEADLINE_LIMIT, Fact, Message, Table
from alerting.said import short_id
from alerting.text import Untrusted, cut, safe, utc
from verifier.canonical import stable_id

KEPT: Final = 14
"""Days that can still be rendered: a chat may be away for so long."""
PREFIX: Final = "CKP-"


class Day(msgspec.Struct, frozen=True):
    """The newest checkpoint of a day."""

    ledger: str
    day: str
    """`2026-11-22`, UTC."""
    time: int
    """When it was taken note of, microseconds."""
    number: int
    """Batch."""
    size: int
    """Entries up to and with it."""
    head: bytes
    """Hash of its header, which everything before follows from."""
    key: str
    """Name of the key that signed."""
    signature: str
    """How the signature begins, in base64 as in the note."""

    @property
    def identity(self) -> str:
        """For the delivery ledger."""
        return stable_id("incident", "checkpoint", [self.ledger, self.day])


class _Kept(msgspec.Struct):
    """As it is stored."""

    days: list[Day] = msgspec.field(default_factory=list)
    """Oldest first."""


class Days(OneRow[_Kept]):
    """What was told."""

    def __init__(self) -> None:
        super().__init__(_Kept())

    def take(self, day: Day, destination: str) -> Notification | None:
        """The line of a day; None where that day, or a later one, of the same ledger was told."""
        if any(known.ledger == day.ledger and known.day >= day.day for known in self._kept.days):
            return None
        self._kept.days = [*self._kept.days, day][-KEPT:]
        self._changed = True
        return Notification(day.identity, destination, 1, 1, day.time, "info", paging=False, resolved=True)

    def message(self, identity: str) -> Message | None:
        """What the line says; None: it is none of ours."""
        day = next((known for known in self._kept.days if known.identity == identity), None)
        return None if day is None else _message(day)


def _message(day: Day) -> Message:
    name = PREFIX + short_id(day.identity).partition("-")[2]
    root = base64.b64encode(day.head).decode()
    text = f"LEDGER {day.day}: {day.size:,} entries, root {root}"
    facts = (
        Fact("root", root),
        Fact("size", f"{day.size:,} entries in {day.number + 1:,} batches"),
        Fact("ledger", Untrusted(day.ledger)),
        Fact("signed by", Untrusted(day.key)),
        Fact("signature", f"{safe(day.signature)}…"),
        Fact("as of", utc(day.time)),
    )
    return Message(
        incident=day.identity,
        short_id=name,
        kind=CHECKPOINT,
        revision=1,
        severity="info",
        state="resolved",
        as_of=day.time,
        headline=cut(text, HEADLINE_LIMIT - len(name) - 3) + f" [{name}]",
        what=Untrusted("a checkpoint of the ledger: no history but the one it stands for leads to this root"),
        facts=facts,
        table=Table((), (), 0),
        benign="",
        todo="",
        commands=(),
        unknown=(),
        link="docs/ledger.md",
        opened=day.time,
    )
