"""Records as a broker keeps them, and back. Pure: no client of any broker is known here.

    wire = to_wire(output(event), shards=24, written=now_ms)     topic, explicit partition, key, value, headers
    record = from_wire("revet.observations", 3, 17, key, value, headers, timestamp_ms)

Key: the routing key in UTF-8. Value: `streams.codec.encode`. Headers: `id`, `time` (the record's own, microseconds) and
for documents of current state, `v` (their version). The broker's timestamp tells when it was first produced.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

import msgspec

from streams.codec import encode
from streams.engine.port import Output, Record
from streams.topics import TOPICS

MAX_RECORD_BYTES: Final = 64 * 1024
"""Goal for one record; larger ones are bounded where they are made."""


class WireRecord(msgspec.Struct, frozen=True, gc=False):
    """One record on its way to a broker."""

    topic: str
    partition: int
    key: bytes
    value: bytes | None
    """None: a tombstone, which removes the key from a topic that keeps the newest."""
    headers: tuple[tuple[str, bytes], ...] = ()
    written: int | None = None
    """Milliseconds since the Unix epoch; None: the producer's clock."""


def to_wire(out: Output, shards: int, version: int = 0, written: int | None = None) -> WireRecord:
    """An output as a record of its topic, for a broker whose keyed topics have `shards` partitions."""
    headers = [("id", out.id.encode()), ("time", b"%d" % out.time)]
    if version:
        headers.append(("v", b"%d" % version))
    partition = partition_of(out.key, TOPICS[out.topic].partitions(shards))
    return WireRecord(out.topic, partition, out.key.encode(), encode(out.event), tuple(headers), written)


def from_wire(
    topic: str,
    partition: int,
    offset: int,
    key: bytes | None,
    value: bytes | None,
    headers: Iterable[tuple[str, bytes]],
    timestamp: int,
) -> Record:
    """What stood on a broker. Headers that are missing or damaged are made up from the place: the value decides."""
    name = time = version = b""
    for said, data in headers:
        if said == "id":
            name = data
        elif said == "time":
            time = data
        elif said == "v":
            version = data
    return Record(
        offset,
        topic,
        partition,
        key.decode("utf-8", "replace") if key else "",
        name.decode("utf-8", "replace") or f"{topic}/{partition}/{offset}",
        value or b"",
        int(time) if _is_number(time) else timestamp * 1000,
        int(version) if _is_number(version) else 0,
        timestamp,
    )


def _is_number(text: bytes) -> bool:
    return text.isdigit() and len(text) <= 19


@lru_cache(maxsize=65_536)
def partition_of(key: str, partitions: int) -> int:
    """Partition of a key: murmur2 of its UTF-8 bytes, as the default partitioner of Kafka's own client."""
    return 0 if partitions == 1 else (murmur2(key.encode()) & 0x7FFFFFFF) % partitions


def murmur2(data: bytes) -> int:
    """The 32-bit hash by which Kafka's clients choose a partition (unsigned)."""
    length, mask, multiplier = len(data), 0xFFFFFFFF, 0x5BD1E995
    found = 0x9747B28C ^ length
    whole = length - length % 4
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * multiplier & mask
        k = (k ^ k >> 24) * multiplier & mask
        found = found * multiplier & mask ^ k
    if length > whole:
        found = (found ^ int.from_bytes(data[whole:], "little")) * multiplier & mask
    found = (found ^ found >> 13) * multiplier & mask
    return found ^ found >> 15
