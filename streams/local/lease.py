"""Who drives a state file: at most one process at a time, by a lock of the operating system on `<state>.lock`.

    lease = Lease.try_acquire(path)        None: another process drives it
    with lease: ...                        released on close, and by the kernel when the process dies

The file says who holds it, for messages only; what counts is the lock. It is never deleted: two processes could
otherwise hold locks on two files of one name.
"""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from verifier.errors import PlaceUnavailable


class Holder(msgspec.Struct, frozen=True):
    """Who holds, or last held, a lease."""

    pid: int
    host: str
    what: str
    """`run`, `demo`, or the command that made a change."""


class Lease:
    """A lease that is held until `close`."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    @classmethod
    def try_acquire(cls, path: Path, what: str = "") -> Lease | None:
        """The lease of the state file at `path`, or None when another process (or this one) holds it.

        Raises:
            PlaceUnavailable: the lock file cannot be made or locked at all.
        """
        name = lock_path(path)
        try:
            name.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise PlaceUnavailable("state-unavailable", f"{name}: {error.strerror or error}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, msgspec.json.encode(Holder(os.getpid(), socket.gethostname(), what)), 0)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError as error:
            os.close(descriptor)
            raise PlaceUnavailable("state-unavailable", f"{name}: {error.strerror or error}") from error
        return cls(descriptor)

    def close(self) -> None:
        """Let another process drive. Closing twice does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def lock_path(path: Path) -> Path:
    """The lock file of a state file."""
    return path.with_name(path.name + ".lock")


def holder(path: Path) -> Holder | None:
    """Who wrote himself into the lock file last; None when nobody did or it cannot be read. Proves nothing."""
    try:
        return msgspec.json.decode(lock_path(path).read_bytes(), type=Holder)
    except (OSError, msgspec.MsgspecError):
        return None
