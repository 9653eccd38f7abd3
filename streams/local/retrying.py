"""Reading again with today's parsers what was kept: reduced originals, and files whose items could not be read.

    report = retry(path, now)
    report.read_again, report.new, report.letters

What cannot be retried, and is said so: the bytes of an unreadable input are not kept, because nobody can say what
secrets are in them; only where it came from a file that is still there, unchanged at that place, it is read again.
A kept original names no cluster: with several clusters it counts only where the log knows its audit event or its pod.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final, Literal, NamedTuple

import msgspec

from streams.codec import readable
from streams.collectors import Stream, read_stream
from streams.engine.sqlite import Connection, SqliteEngine, connect
from streams.events import ConfigurationObserved, DecisionObserved, NamespaceObserved, PodObserved
from streams.local.acting import DoneBy, worked_off
from streams.local.node import LocalNode
from streams.local.processor import LocalProcessor
from streams.local.replay import CHUNK, ReplaySource, read_items
from streams.outputs import output
from streams.queries.conditions import is_
from streams.queries.port import Hit, every
from streams.queries.reading import text_of
from streams.queries.sqlite import SqliteReader
from streams.sinks.document import Body, Document, instant
from streams.sinks.fields import HOMES
from streams.topics import CLUSTER_SIGHT, OBSERVATIONS
from verifier.models import Micros

LetterResult = Literal["read", "unreadable", "changed", "gone", "not-kept"]
RESULTS: Final[dict[LetterResult, str]] = {
    "read": "is read now",
    "unreadable": "still cannot be read",
    "changed": "the file has something else at that place now",
    "gone": "the file is not there any more",
    "not-kept": "came over a connection; the bytes of unreadable input are not kept, for privacy",
}
"""What became of a dead letter, and how it is said."""

AT_ONCE: Final = 1000
"""Observations per transaction."""

Read = PodObserved | DecisionObserved | NamespaceObserved | ConfigurationObserved
"""What a retry may add. Signs of life are not among it: the past is not seen again."""


class Letter(msgspec.Struct, frozen=True):
    """What became of one dead letter."""

    id: str
    source: str
    code: str
    result: LetterResult


class Retried(msgspec.Struct, frozen=True):
    """What a retry came to."""

    originals: int
    """Kept originals that were read again."""
    not_placed: int
    """Kept originals of which nothing says which cluster they are of."""
    same: int
    """Observations that are in the log already, read the same way."""
    differently: int
    """Observations that are in the log already and are read differently now; the log keeps what was read first."""
    new: int
    """Observations that were added, of originals and of files."""
    letters: tuple[Letter, ...]
    done_by: DoneBy


def retry(path: Path, now: Micros) -> Retried:
    """Read again what can be read again, and see that what is new is judged.

    Raises:
        InputError: there is no state file, or it is something else; a file that is there cannot be read.
        PlaceUnavailable: it cannot be written now.
    """
    with closing(connect(path, create=False)) as connection:
        engine = SqliteEngine(connection, LocalProcessor())
        counts = _Counts(engine)
        _originals(engine, counts)
        letters = [_letter(hit, counts) for hit in _open_letters(connection)]
        counts.flush()
    read = {letter.id for letter in letters if letter.result == "read"}

    def close(node: LocalNode) -> None:
        """Letters that are read now wait for nobody; only who drives the file writes its record."""
        hits = [hit for hit in _open_letters(node.connection) if hit.id in read]
        with node.engine.transaction():
            node.record.write([_closed(hit, now) for hit in hits])

    done = worked_off(path, close) if counts.new or read else "command"
    told = (counts.originals, counts.not_placed, counts.same, counts.differently, counts.new)
    return Retried(*told, tuple(letters), done)


class _Counts:
    """Adds observations to the log and counts what became of them."""

    def __init__(self, engine: SqliteEngine) -> None:
        self.engine = engine
        self.originals = self.not_placed = self.same = self.differently = self.new = 0
        self._held: list[Read] = []

    def take(self, observation: Read) -> None:
        """New: to be added. Known: compared with what the log has."""
        made = output(observation)
        query = "SELECT value FROM log WHERE topic = ? AND id = ?"
        row = self.engine.connection.execute(query, (made.topic, made.id)).fetchone()
        if row is None:
            self._held.append(observation)
            if len(self._held) >= AT_ONCE:
                self.flush()
        elif _content(next(readable(row), None)) == _content(observation):
            self.same += 1
        else:
            self.differently += 1

    def flush(self) -> None:
        """Make durable what was taken."""
        self.new += self.engine.append([output(o) for o in self._held])
        self._held.clear()


def _content(event: object) -> object:
    """An observation without where and when it was received."""
    if isinstance(event, (PodObserved, DecisionObserved, NamespaceObserved, ConfigurationObserved)):
        return msgspec.structs.replace(event, source="", time=0)
    return event


# ------------------------------------------------------------------------------------------------ kept originals


class _Meta(msgspec.Struct):
    uid: str = ""


class _Object(msgspec.Struct):
    metadata: _Meta = msgspec.field(default_factory=_Meta)


class _Marks(msgspec.Struct):
    """What tells whose an original is: an audit event's id, or a pod's UID."""

    audit_id: str = msgspec.field(default="", name="auditID")
    metadata: _Meta = msgspec.field(default_factory=_Meta)
    object: _Object = msgspec.field(default_factory=_Object)


class _Places(NamedTuple):
    """Which cluster an original is of."""

    only: str
    """The state's only cluster; empty when it has several."""
    known: dict[str, str]
    """Audit id or pod UID -> cluster, as the log has it."""

    def of(self, original: bytes) -> str:
        """The cluster, or empty when nothing tells."""
        if self.only:
            return self.only
        try:
            marks = msgspec.json.decode(original, type=_Marks)
        except msgspec.MsgspecError:
            return ""
        ids = (marks.audit_id, marks.metadata.uid, marks.object.metadata.uid)
        return next((self.known[i] for i in ids if i in self.known), "")


def _originals(engine: SqliteEngine, counts: _Counts) -> None:
    places, namespaces = _places(engine.connection)
    streams: dict[str, Stream] = {}
    for original in engine.originals():
        cluster = places.of(original)
        if not cluster:
            counts.not_placed += 1
            continue
        counts.originals += 1
        stream = streams.setdefault(cluster, Stream(cluster=cluster, source="kept"))
        for raw in read_stream([original]):
            for found in stream.observe(raw):
                if isinstance(found, NamespaceObserved) and _said(found) in namespaces:
                    counts.same += 1  # its id holds the time it arrived, which is not kept
                elif isinstance(found, Read):
                    counts.take(found)


def _places(connection: Connection) -> tuple[_Places, set[tuple[object, ...]]]:
    """Whose originals are, and what is known of namespaces, out of the log."""
    clusters: set[str] = set()
    known: dict[str, str] = {}
    namespaces: set[tuple[object, ...]] = set()
    query = "SELECT value FROM log WHERE topic IN (?, ?)"
    for event in readable(value for (value,) in connection.execute(query, (OBSERVATIONS, CLUSTER_SIGHT))):
        if isinstance(event, PodObserved):
            clusters.add(event.pod.cluster)
            known[event.pod.uid] = event.pod.cluster
        elif isinstance(event, DecisionObserved):
            clusters.add(event.cluster)
            known[event.audit_id] = event.cluster
        elif isinstance(event, NamespaceObserved):
            clusters.add(event.cluster)
            namespaces.add(_said(event))
    known.pop("", None)
    return _Places(next(iter(clusters)) if len(clusters) == 1 else "", known), namespaces


def _said(event: NamespaceObserved) -> tuple[object, ...]:
    return event.cluster, event.namespace, event.labels, event.gone


# ------------------------------------------------------------------------------------------------ dead letters


def _open_letters(connection: Connection) -> list[Hit]:
    return list(every(SqliteReader(connection), HOMES["deadletters"], is_("state", "open")))


def _letter(hit: Hit, counts: _Counts) -> Letter:
    """Read the place of a dead letter again, where there is one."""
    place = text_of(hit.body, "provenance.deadletter.source")
    result = _read_again(place, text_of(hit.body, "provenance.deadletter.sha256"), counts)
    return Letter(hit.id, place, text_of(hit.body, "event.code"), result)


def _read_again(place: str, sha256: str, counts: _Counts) -> LetterResult:
    name, colon, position = place.rpartition(":")
    cluster, equals, file = name.partition("=")
    if not (colon and equals and file) or file == "-":
        return "not-kept"
    source = ReplaySource(cluster, Path(file))
    if not source.path.is_file():
        return "gone"
    number = _number(source, position, sha256)
    if number is None:
        return "changed"
    item = next((i for i in read_items(source, Counter()) if i.place == 2 * number), None)
    found = [o for o in item.observations if isinstance(o, Read)] if item is not None else []
    for observation in found:
        counts.take(observation)
    return "read" if found else "unreadable"


def _number(source: ReplaySource, position: str, sha256: str) -> int | None:
    """Number of the item at a position, when its bytes are those of the dead letter."""
    for number, raw in enumerate(read_stream(_chunks(source.path), source=source.name, kind=source.kind), start=1):
        if raw.position == position:
            found = getattr(raw, "sha256", "") or hashlib.sha256(getattr(raw, "data", b"")).hexdigest()
            return number if found == sha256 else None
    return None


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


def _closed(hit: Hit, now: Micros) -> Document:
    body: Body = {**hit.body, "provenance.state": "retried", "@timestamp": instant(hit.time)}
    return Document(hit.home, hit.id, hit.time, body, max(now, hit.time))
