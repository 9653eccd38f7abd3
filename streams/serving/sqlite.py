"""Batches of a receiver that wait on disk until the brokers have them: one SQLite file.

    with opened_batches(path, max_bytes) as spool:
        spool.add(records)                 durable when this returns
        waiting = spool.oldest(after, 8)
        spool.remove(waiting[0].position)  after the brokers acknowledged

Bounded: where the file may not grow any more, `add` says so and what is kept stays. Calls wait for the disk, and are
for threads.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from streams.admission.sqlite import Connection, alone, bounded_file
from streams.engine.wire import WireRecord
from streams.serving.pipes import PackedRecord, packed

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS batches (
  position INTEGER PRIMARY KEY AUTOINCREMENT, size INTEGER NOT NULL, body BLOB NOT NULL);
"""
_WHAT: Final = "the receiver's spool"
_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(list[PackedRecord])


class Waiting(NamedTuple):
    """One batch that waits."""

    position: int
    records: Sequence[WireRecord]


class BatchSpool:
    """Batches in the order in which they came. Safe to use from several threads."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def add(self, records: Sequence[WireRecord]) -> None:
        """Make a batch durable.

        Raises:
            PlaceUnavailable: the disk, or the spool, is full, or the file cannot be written.
        """
        body = _ENCODER.encode([packed(record) for record in records])
        with alone(self._connection, self._lock, _WHAT) as connection:
            connection.execute("INSERT INTO batches (size, body) VALUES (?, ?)", (len(body), body))

    def oldest(self, after: int, limit: int) -> list[Waiting]:
        """Batches behind a position. Raises as `add`."""
        with alone(self._connection, self._lock, _WHAT) as connection:
            rows = connection.execute(
                "SELECT position, body FROM batches WHERE position > ? ORDER BY position LIMIT ?", (after, limit)
            ).fetchall()
        return [Waiting(position, _DECODER.decode(body)) for position, body in rows]

    def remove(self, position: int) -> None:
        """Forget a batch that is durable elsewhere. Raises as `add`."""
        with alone(self._connection, self._lock, _WHAT) as connection:
            connection.execute("DELETE FROM batches WHERE position = ?", (position,))

    def waiting(self) -> tuple[int, int]:
        """How many batches wait, and their bytes. Raises as `add`."""
        with alone(self._connection, self._lock, _WHAT) as connection:
            number, size = connection.execute("SELECT count(*), coalesce(sum(size), 0) FROM batches").fetchone()
        return int(number), int(size)


@contextmanager
def opened_batches(path: Path, max_bytes: int) -> Iterator[BatchSpool]:
    """The file, made when missing, for its owner only. Raises as `bounded_file`."""
    with bounded_file(path, max_bytes, _SCHEMA) as connection:
        yield BatchSpool(connection)
