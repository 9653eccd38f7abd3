"""Bulk requests as bytes, and what each item's answer means. Pure.

One table (`outcome_of`) holds the whole policy. Four groups: kept or known already (the caller moves on), refused for
what it is (the caller tells a dead letter and moves on), not now (sent again), and somebody has to act (nothing goes
on).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

import msgspec
import orjson

from streams.sinks.document import Document
from streams.sinks.fields import is_current
from streams.sinks.mapping import Names, record_id

Outcome = Literal["stored", "duplicate", "stale", "parked", "poison", "again", "blocked", "missing", "forbidden"]
"""What became of a document. The first five are final. `stale`: a newer version is there. `parked`: it does not fit the
mapping and lies in the failure store. `poison`: refused for what it is."""

MAX_VERSION: Final = 2**63 - 1
"""Above it the server's own arithmetic wraps."""

POISON: Final = "document-refused"
MALFORMED: Final = "document-malformed"
PARKED: Final = "document-parked"
"""Codes of dead letters."""


class Versioned(msgspec.Struct, frozen=True, gc=False):
    """A document with what its record on Kafka adds to it."""

    document: Document
    version: int | None = None
    """External version of a state document, in the place of the document's own."""
    timestamp_ms: int = 0
    """When it was first produced. 0: unknown, which costs a look for earlier copies after every rollover."""
    source: str = ""
    """Where it comes from (`revet.findings[3]:17`), for dead letters."""


class Refused(msgspec.Struct, frozen=True):
    """A document that is not in the record, and why: a dead letter to be told."""

    item: Versioned
    outcome: Literal["parked", "poison"]
    code: str
    reason: str
    """Type and reason of the server, without values of the document."""

    def __repr__(self) -> str:
        return f"Refused({self.item.document.home}, {self.item.document.id!r}, {self.code}, {self.reason!r})"


class Item(msgspec.Struct, gc=False):
    """One line pair of a bulk request on its way."""

    versioned: Versioned
    target: str
    id: str
    data: bytes
    attempts: int = 0
    """Answers of the kind "internal error" so far."""

    @property
    def is_history(self) -> bool:
        """Goes into a data stream."""
        return not is_current(self.versioned.document.home)


class Encoder:
    """Makes items; everything but id, version and body of a line is made once per target."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._heads: dict[str, tuple[str, bytes]] = {}

    def item(self, versioned: Versioned) -> Item | Refused:
        """The item, or why the server could not take it: found here, since one such item spoils a whole request."""
        document = versioned.document
        target, head = self._heads.get(document.home) or self._head(document.home)
        if not document.id:
            return Refused(versioned, "poison", MALFORMED, "it has no id")
        id_ = record_id(document.id)
        line = head + orjson.dumps(id_)
        if is_current(document.home):
            version = document.version if versioned.version is None else versioned.version
            if version is None or not 0 <= version <= MAX_VERSION:
                return Refused(versioned, "poison", MALFORMED, f"its version, {version}, is not within 0 and 2^63-1")
            line += b',"version":%d' % version
        try:
            # Members in their order, as the SQLite record has them: a search shows the same document the same way.
            body = orjson.dumps(document.body, option=orjson.OPT_SORT_KEYS)
        except (orjson.JSONEncodeError, UnicodeEncodeError) as error:
            return Refused(versioned, "poison", MALFORMED, f"cannot be written as JSON: {error}")
        return Item(versioned, target, id_, line + b"}}\n" + body + b"\n")

    def _head(self, home: str) -> tuple[str, bytes]:
        target = self._names.target(home)
        quoted = orjson.dumps(target)
        if is_current(home):
            head = b'{"index":{"_index":' + quoted + b',"require_alias":true,"version_type":"external_gte","_id":'
        else:
            head = b'{"create":{"_index":' + quoted + b',"require_data_stream":true,"_id":'
        self._heads[home] = (target, head)
        return self._heads[home]


def newest(documents: Iterable[Versioned]) -> tuple[list[Versioned], int, int]:
    """What one after the other would leave: the first of an id of history, the newest version of a state.

    Returns what to send, how many of history and how many of state are covered by others. So no two items of one write
    are about the same document, and chunks may travel in any order.
    """
    kept: dict[tuple[str, str], Versioned] = {}
    duplicates = stale = 0
    for made in documents:
        key = (made.document.home, made.document.id)
        known = kept.get(key)
        if known is None:
            kept[key] = made
        elif not is_current(made.document.home):
            duplicates += 1
        else:
            stale += 1
            if _version(made) >= _version(known):
                kept[key] = made
    return list(kept.values()), duplicates, stale


def _version(made: Versioned) -> int:
    return made.version if made.version is not None else made.document.version or 0


def chunks(items: list[Item], documents: int, size: int) -> list[list[Item]]:
    """In order, at most so many documents and bytes each; one that is larger goes alone."""
    made: list[list[Item]] = []
    room = 0
    for item in items:
        if not made or len(made[-1]) >= documents or len(item.data) > room:
            made.append([])
            room = size
        made[-1].append(item)
        room -= len(item.data)
    return made


# ------------------------------------------------------------------------------------------------------------ answers

_OPERATOR: Final = frozenset({"cluster_block_exception", "index_closed_exception", "validation_exception"})
"""Types that say nothing about the document, whatever the status: a full disk (429) or a write block (403), a closed
index (400), no more shards allowed (400)."""

_NO_WRITE_INDEX: Final = re.compile(r"no write index is defined|only write ops with an op_type of create")
"""Reasons of `illegal_argument_exception` that tell of a name which is not what it should be."""


def outcome_of(status: int, kind: str, reason: str, *, history: bool) -> Outcome:
    """What an item's error means, by its status, type and reason."""
    if kind in _OPERATOR:
        return "blocked"
    if status == 409:
        return "duplicate" if history else "stale"
    if status == 404 or (kind == "illegal_argument_exception" and _NO_WRITE_INDEX.search(reason)):
        return "missing"
    if status in (401, 403):
        return "forbidden"
    if status in (408, 429) or status >= 500:
        return "again"
    return "poison"


class Told(msgspec.Struct, frozen=True, gc=False):
    """An item's answer, read."""

    outcome: Outcome
    status: int
    index: str = ""
    """Where it landed: a backing index, for history."""
    why: str = ""


def read_answer(items: list[Item], answers: object) -> list[Told]:
    """The answers in the order of the items.

    Raises:
        ValueError: not as many answers as items, or of another shape.
    """
    if not isinstance(answers, list) or len(answers) != len(items):
        raise ValueError(f"not one answer for each of {len(items)} items")
    try:
        return [_told(item, next(iter(answer.values()))) for item, answer in zip(items, answers, strict=True)]
    except (AttributeError, KeyError, StopIteration, TypeError) as error:
        raise ValueError(f"an item's answer is of another shape: {type(error).__name__}") from error


def _told(item: Item, answer: Mapping[str, Any]) -> Told:  # Any: JSON of the server
    status, index = int(answer["status"]), str(answer.get("_index", ""))
    error = answer.get("error")
    if error is None:
        parked = answer.get("failure_store") == "used"
        why = f"does not fit the mapping; see {item.target}::failures" if parked else ""
        return Told("parked" if parked else "stored", status, index, why)
    kind, reason = str(error.get("type", "")), without_values(str(error.get("reason", "")))
    return Told(outcome_of(status, kind, reason, history=item.is_history), status, index, f"{kind}: {reason}")


SHOWN: Final = 300
"""Characters of a reason that are repeated."""


def without_values(reason: str) -> str:
    """A reason without the preview of the document's value that some of them hold."""
    return " ".join(reason.partition("Preview of field's value")[0].split())[:SHOWN]
