"""What collectors write to a broker: a record per observation, and the reduced originals packed and compressed.

    records = records_of(observations, originals, source="audit:prod-eu", cluster="prod-eu", shards=24)

Originals (`revet.raw`) are JSON documents, a line each, compressed by zlib (header `encoding`), of one cluster (header
`cluster`). One that does not fit into a record goes over several (header `part`: `2/5`), one behind the other.
`originals_of` reads them again.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Final

from streams.engine.wire import MAX_RECORD_BYTES, WireRecord, partition_of, to_wire
from streams.events import EvidenceWanted, Observation
from streams.kafka.bounds import fit
from streams.outputs import output
from streams.topics import RAW, TOPICS

COLLECTED: Final = tuple(topic.name for topic in TOPICS.values() if "collectors" in topic.writers)
"""Topics that collectors write."""
ROOM: Final = MAX_RECORD_BYTES - 1024
"""Bytes of a value, beside its key and headers."""
PACKED: Final = 192 * 1024
"""Bytes of originals that are compressed together. They shrink to a tenth, as a rule."""
MOST: Final = 16 * 1024 * 1024
"""Bytes that are decompressed of one group: far above what is ever written."""
LEVEL: Final = 1
"""Of zlib: three times as fast as its default, and a tenth larger."""


def records_of(
    observations: Sequence[Observation | EvidenceWanted],
    originals: Sequence[bytes],
    *,
    source: str,
    cluster: str,
    shards: int,
) -> list[WireRecord]:
    """The records of a batch, in its order, originals behind them. Each is at most 64 KiB."""
    records: list[WireRecord] = []
    for observation in observations:
        record = to_wire(output(observation), shards)
        if len(record.value or b"") > ROOM and not isinstance(observation, EvidenceWanted):
            fitted, letter = fit(observation)
            record = to_wire(output(fitted), shards)
            if letter is not None:
                records.append(to_wire(output(letter), shards))
        records.append(record)
    records += _raw(originals, source, cluster, shards)
    return records


def _raw(originals: Sequence[bytes], source: str, cluster: str, shards: int) -> Iterator[WireRecord]:
    key, partition = source.encode(), partition_of(source, TOPICS[RAW].partitions(shards))
    common = (("cluster", cluster.encode()), ("encoding", b"zlib"))
    for value in _packed(originals):
        named = hashlib.sha256(value).hexdigest()[:32].encode()
        if len(value) <= ROOM:
            yield WireRecord(RAW, partition, key, value, (("id", named), *common))
            continue
        parts = [value[at : at + ROOM] for at in range(0, len(value), ROOM)]
        for number, part in enumerate(parts, 1):
            said = b"%d/%d" % (number, len(parts))
            yield WireRecord(RAW, partition, key, part, (("id", b"%b:%b" % (named, said)), *common, ("part", said)))


def _packed(originals: Sequence[bytes]) -> Iterator[bytes]:
    """Compressed groups of originals, each as large as a record takes, or a single original that is longer."""
    waiting: list[bytes] = []
    size = 0
    for original in originals:
        if waiting and size + len(original) > PACKED:
            yield from _pressed(waiting)
            waiting, size = [], 0
        waiting.append(original)
        size += len(original) + 1
    if waiting:
        yield from _pressed(waiting)


def _pressed(originals: list[bytes]) -> Iterator[bytes]:
    value = zlib.compress(b"\n".join(originals), LEVEL)
    if len(value) <= ROOM or len(originals) == 1:
        yield value
        return
    half = len(originals) // 2
    yield from _pressed(originals[:half])
    yield from _pressed(originals[half:])


def originals_of(records: Iterable[tuple[bytes, Mapping[str, bytes]]]) -> Iterator[bytes]:
    """Originals out of (value, headers) of one partition of `revet.raw`, in its order.

    Several writers may have mixed their records. What is damaged or not there whole is left out.
    """
    begun: dict[bytes, list[bytes]] = {}
    for value, headers in records:
        number, _, count = headers.get("part", b"1/1").partition(b"/")
        name = headers.get("id", b"").partition(b":")[0]
        parts = begun.setdefault(name, []) if number != b"1" else []
        begun[name] = parts
        if b"%d" % (len(parts) + 1) != number:
            del begun[name]
            continue
        parts.append(value)
        if number == count:
            del begun[name]
            yield from _unpressed(b"".join(parts))


def _unpressed(value: bytes) -> Iterator[bytes]:
    engine = zlib.decompressobj()
    with suppress(zlib.error):
        plain = engine.decompress(value, MOST)
        if engine.eof:
            yield from plain.split(b"\n")
