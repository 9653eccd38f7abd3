"""Messages between a process and one it started, over standard input and output: a length, then so many bytes."""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import BinaryIO, Final

from streams.engine.wire import WireRecord

_LENGTH: Final = struct.Struct(">I")


WIDE: Final = 1024 * 1024
"""Bytes that may be on their way: a whole body, so that neither side waits for the other in the middle of one."""


class PackedRecord(WireRecord, array_like=True, frozen=True, gc=False):
    """A record as it goes from one process to the other: without names of members."""


def packed(record: WireRecord) -> PackedRecord:
    """The same record, in the shorter form."""
    return PackedRecord(record.topic, record.partition, record.key, record.value, record.headers, record.written)


def widen(descriptor: int) -> None:
    """Let more be on its way in a pipe, or in the socket that asyncio uses as one. Else it is slower."""
    with suppress(OSError):
        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, WIDE)
        return
    with suppress(OSError), closing(socket.socket(fileno=os.dup(descriptor))) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, WIDE)


def framed(message: bytes) -> bytes:
    """A message with its length before it."""
    return _LENGTH.pack(len(message)) + message


def write_frame(stream: BinaryIO, message: bytes) -> None:
    """One message, on its way at once. Raises OSError: nobody reads any more."""
    stream.write(framed(message))
    stream.flush()


def frames_of(stream: BinaryIO) -> Iterator[bytes]:
    """Messages until the stream ends; one that is cut by its end is none."""
    while len(head := stream.read(_LENGTH.size)) == _LENGTH.size:
        (length,) = _LENGTH.unpack(head)
        message = stream.read(length)
        if len(message) < length:
            return
        yield message


async def read_frame(stream: asyncio.StreamReader) -> bytes:
    """The next message.

    Raises:
        asyncio.IncompleteReadError: the stream has ended.
    """
    (length,) = _LENGTH.unpack(await stream.readexactly(_LENGTH.size))
    return await stream.readexactly(length)
