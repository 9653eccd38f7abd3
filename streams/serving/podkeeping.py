"""Where the pod watcher's steps become durable: `revet.observations` and `revet.raw`, then `revet.pods`.

`revet.pods` keeps the newest row of each key, all rows of one cluster in one partition: what was told last of each pod
that is there, and how far the cluster was read. Whoever takes over, on whatever machine, goes on from there, and finds
what ended meanwhile. A row is written only after what it stands for is durable.
"""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from streams.collectors.podwatch import Known, Position, Step
from streams.engine.wire import WireRecord, partition_of, to_wire
from streams.events import Pod
from streams.kafka.reading import KafkaLog
from streams.kafka.records import records_of
from streams.outputs import output
from streams.serving.collecting import DurableDoor
from streams.settings import KafkaSettings
from streams.topics import PODS, TOPICS
from verifier.errors import InputError

FORMAT: Final = 1


class _Row(msgspec.Struct, array_like=True):
    format: int
    version: str
    mark: bytes
    packed: bytes


class _Place(msgspec.Struct, array_like=True):
    format: int
    version: str
    since: int
    last: int
    identity: str


_ENCODER: Final = msgspec.msgpack.Encoder()
_ROW: Final = msgspec.msgpack.Decoder(_Row)
_PLACE: Final = msgspec.msgpack.Decoder(_Place)
_POD: Final = msgspec.msgpack.Decoder(Pod)


class KafkaKeeper:
    """Of one cluster. Implements `streams.collectors.podloop.Keeper`."""

    def __init__(self, settings: KafkaSettings, door: DurableDoor, cluster: str) -> None:
        self._settings, self._door, self._cluster = settings, door, cluster
        self._partition = partition_of(cluster, TOPICS[PODS].partitions(settings.partitions))
        self.damaged = 0
        """Rows that could not be read: their pods are told of anew."""

    async def load(self) -> tuple[dict[str, Known], Position]:
        """See `Keeper`. Raises InputError too: a row was written by a newer revet."""
        return await asyncio.to_thread(self._load)

    async def tell(self, step: Step) -> None:
        """See `Keeper`."""
        shards, source = self._settings.partitions, f"watch:{self._cluster}"
        if step.first_sign is not None:
            await self._door.begin([to_wire(output(step.first_sign), shards)])
        if step.observations:
            await self._door.begin(
                records_of(step.observations, step.originals, source=source, cluster=self._cluster, shards=shards)
            )

    async def keep(self, step: Step) -> None:
        """See `Keeper`. Rows before the position, in one partition: where the position is, the rows are."""
        records = [self._record(uid, row) for uid, row in step.rows.items()]
        at = step.position
        place = _Place(FORMAT, at.version, at.since, at.last, at.identity)
        records.append(WireRecord(PODS, self._partition, self._key(""), _ENCODER.encode(place)))
        if step.sign is not None:
            records.append(to_wire(output(step.sign), self._settings.partitions))
        await self._door.begin(records)

    # ------------------------------------------------------------------ rows

    def _key(self, uid: str) -> bytes:
        return f"{self._cluster}/{uid}".encode()

    def _record(self, uid: str, row: Known | None) -> WireRecord:
        value = None if row is None else _ENCODER.encode(_Row(FORMAT, row.version, row.mark, row.packed))
        return WireRecord(PODS, self._partition, self._key(uid), value)

    def _load(self) -> tuple[dict[str, Known], Position]:
        known: dict[str, Known] = {}
        position = Position()
        for record in KafkaLog(self._settings).read(PODS, only=(self._partition,)):
            cluster, _, uid = record.key.partition("/")
            if cluster != self._cluster:
                continue
            if not uid:
                position = self._place(record.value) or position
            elif record.value and (row := self._known(record.value)) is not None:
                known[uid] = row
            else:
                known.pop(uid, None)
        return known, position

    def _known(self, value: bytes) -> Known | None:
        try:
            row = _ROW.decode(value)
            _POD.decode(row.packed)
        except (msgspec.MsgspecError, ValueError):
            self._not_newer(value)
            self.damaged += 1
            return None
        self._not_newer(value)
        return Known(row.version, row.mark, row.packed, row.version)

    def _place(self, value: bytes) -> Position | None:
        self._not_newer(value)
        try:
            place = _PLACE.decode(value)
        except (msgspec.MsgspecError, ValueError):
            self.damaged += 1
            return None
        return Position(place.version, place.since, place.last, place.identity)

    def _not_newer(self, value: bytes) -> None:
        try:
            found = msgspec.msgpack.decode(value)
        except (msgspec.MsgspecError, ValueError):
            return
        if isinstance(found, list) and found and isinstance(found[0], int) and found[0] > FORMAT:
            raise InputError(f"{PODS}: a row of {self._cluster} was written by a newer revet; use that one")
