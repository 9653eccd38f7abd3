"""Parsing in processes of their own, so that one core parses while another one writes to the brokers.

    async with Parsers(1, max_body, shards) as parsers:
        batch = await parsers.read("prod-eu", body, received)     records ready for the brokers

Kafka's client takes about as long for a record as parsing takes for the event behind it, and both hold the lock of the
interpreter. A process reads requests from its standard input and answers on its standard output, in order; it ends when
its input does, so it never outlives whoever started it. Bodies of one cluster go to one process, which knows since when
the cluster's feed is unbroken. What it says on standard error goes where ours goes.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import zlib
from collections import deque
from collections.abc import Sequence
from typing import BinaryIO, Final, Self

import msgspec

from streams.collectors.bodies import AUDIT, Batch, Bodies, BodyKind
from streams.engine.wire import WireRecord
from streams.garbage import settle_collector
from streams.kafka.records import records_of
from streams.serving.pipes import WIDE, PackedRecord, framed, frames_of, packed, read_frame, widen, write_frame
from verifier.errors import PlaceUnavailable

_CODE: Final = "from streams.serving.parsing import main; main()"
ENDED: Final = "parser-ended"
END_SECONDS: Final = 5.0
"""How long a process may take to end once its input has."""


class _Asked(msgspec.Struct, array_like=True):
    cluster: str
    received: int
    body: bytes
    kind: BodyKind = "audit"


class _Answer(msgspec.Struct, array_like=True):
    cluster: str
    records: list[PackedRecord]
    observed: int
    events: int
    ignored: dict[str, int]
    letters: dict[str, int]


_ENCODER: Final = msgspec.msgpack.Encoder()
_ASKED: Final = msgspec.msgpack.Decoder(_Asked)
_ANSWER: Final = msgspec.msgpack.Decoder(_Answer)


# ------------------------------------------------------------------------------------------------- in the other process


def main() -> None:
    """The other process: arguments are the longest document in bytes, and the number of shards."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # who started us hears them too, and closes our input when it is done
    settle_collector()
    widen(sys.stdout.fileno())
    max_body, shards = (int(argument) for argument in sys.argv[1:3])
    work(sys.stdin.buffer, sys.stdout.buffer, Bodies(max_body), shards)


def work(requests: BinaryIO, answers: BinaryIO, bodies: Bodies, shards: int) -> None:
    """Answer every request until there are no more."""
    for request in frames_of(requests):
        write_frame(answers, _ENCODER.encode(answered(_ASKED.decode(request), bodies, shards)))


def answered(asked: _Asked, bodies: Bodies, shards: int) -> _Answer:
    """One body, read and made into records."""
    batch = bodies.read(asked.cluster, asked.body, asked.received, asked.kind)
    return _Answer(
        batch.cluster,
        [packed(record) for record in batch_records(batch, shards)],
        batch.observed,
        batch.events,
        dict(batch.ignored),
        dict(batch.letters),
    )


def batch_records(batch: Batch, shards: int) -> Sequence[WireRecord]:
    """The records of a batch, also of one that was read in this process."""
    if batch.records:
        return [record for record in batch.records if isinstance(record, WireRecord)]
    source = AUDIT + batch.cluster
    return records_of(batch.observations, batch.originals, source=source, cluster=batch.cluster, shards=shards)


# ------------------------------------------------------------------------------------------------- in the first process


class _Parser:
    """One other process. Answers come in the order of the requests."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._waiting: deque[asyncio.Future[_Answer]] = deque()
        self._writing = asyncio.Lock()
        self._reading = asyncio.create_task(self._read())
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def ask(self, asked: _Asked) -> _Answer:
        request = _ENCODER.encode(asked)
        future: asyncio.Future[_Answer] = asyncio.get_running_loop().create_future()
        async with self._writing:
            if self._process.stdin is None or self.ended.done():
                raise _ended(self._process)
            self._waiting.append(future)
            try:
                self._process.stdin.write(framed(request))
                await self._process.stdin.drain()
            except OSError as error:
                raise _ended(self._process) from error
        return await future

    async def _read(self) -> None:
        out = self._process.stdout
        try:
            while out is not None:
                answer = _ANSWER.decode(await read_frame(out))
                future = self._waiting.popleft()
                if not future.done():  # who asked may have gone
                    future.set_result(answer)
        except asyncio.IncompleteReadError:
            pass
        finally:
            if not self.ended.done():
                self.ended.set_result(None)
            for future in self._waiting:
                if not future.done():
                    future.set_exception(_ended(self._process))
            self._waiting.clear()

    async def close(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            async with asyncio.timeout(END_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        await self._reading


def _ended(process: asyncio.subprocess.Process) -> PlaceUnavailable:
    code = process.returncode
    told = f"with code {code}" if code is not None else "without a word"
    return PlaceUnavailable(ENDED, f"a process that parses ended {told}; was it out of memory? Start this one anew")


class Parsers:
    """So many other processes. Implements `streams.collectors.server.Reading`."""

    def __init__(self, processes: int, max_body: int, shards: int) -> None:
        self._count, self._max_body, self._shards = processes, max_body, shards
        self._parsers: list[_Parser] = []
        self._closing = False

    async def __aenter__(self) -> Self:
        """Started."""
        for _ in range(self._count):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", _CODE, str(self._max_body), str(self._shards),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=4 * WIDE,
            )  # fmt: skip
            if process.stdin is not None:
                widen(process.stdin.transport.get_extra_info("pipe").fileno())
            self._parsers.append(_Parser(process))
        return self

    async def __aexit__(self, *_: object) -> None:
        """Ended."""
        self._closing = True
        for parser in self._parsers:
            await parser.close()

    async def read(self, cluster: str, body: bytes, received: int, kind: BodyKind = "audit") -> Batch:
        """See `Reading.read`.

        Raises:
            PlaceUnavailable: the process has ended.
        """
        parser = self._parsers[zlib.crc32(cluster.encode()) % len(self._parsers)]
        answer = await parser.ask(_Asked(cluster, received, body, kind))
        return Batch(
            cluster=cluster,
            records=answer.records,
            observed=answer.observed,
            events=answer.events,
            ignored=answer.ignored,
            letters=answer.letters,
        )

    async def watch(self) -> None:
        """Back when they were ended.

        Raises:
            PlaceUnavailable: one has ended though nobody asked it to.
        """
        await asyncio.wait([parser.ended for parser in self._parsers], return_when=asyncio.FIRST_COMPLETED)
        if not self._closing:
            message = "a process that parses has ended; was it out of memory? Start this one anew"
            raise PlaceUnavailable(ENDED, message)
