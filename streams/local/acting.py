"""What a person does is appended to the log of the state file; whoever drives the file does it.

    done = act(path, action)          "service": a running service took it, "command": this process did the work,
                                      "nobody": it is durable, and the service has not come to it in time

The same for observations that were read again. When no process drives the file, this one does, without asking a place
for evidence and without telling anyone: messages wait for the service, which sends them when it runs again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final, Literal

from alerting.models import IncidentAction, SilenceAction
from streams.engine.sqlite import SqliteEngine, connect
from streams.local.lease import Lease
from streams.local.node import LocalNode, NodeSettings
from streams.local.processor import LocalProcessor
from streams.local.sqlite import open_reading, recorded_clock
from streams.outputs import output

DoneBy = Literal["service", "command", "nobody"]

LOOK_EVERY: Final = 0.05
"""Seconds between two looks at how far the running service has come."""
GIVE_UP: Final = 10.0
"""Seconds after which a command no longer waits for the running service."""


def act(path: Path, action: IncidentAction | SilenceAction) -> DoneBy:
    """Append what a person did to an incident, or asked to be silent about, and see that it is done.

    Raises:
        InputError: there is no state file, or it is something else.
        PlaceUnavailable: it cannot be written now.
    """
    append(path, [action])
    return worked_off(path)


def append(path: Path, events: Sequence[object]) -> int:
    """Make events durable in the log; returns how many were new. Raises as `act`."""
    with closing(connect(path, create=False)) as connection:
        return SqliteEngine(connection, LocalProcessor()).append([output(event) for event in events])


def worked_off(path: Path, then: Callable[[LocalNode], None] | None = None) -> DoneBy:
    """See that everything in the log is worked off, and do it where nobody else does. Raises as `act`.

    `then` is called with the node when this process is the one; what it does is its own transaction.
    """
    deadline = time.monotonic() + GIVE_UP
    while time.monotonic() < deadline:
        lease = Lease.try_acquire(path, "command")
        if lease is not None:
            with lease:
                _drive(path, then)
            return "command"
        if not _waiting(path):
            return "service"
        time.sleep(LOOK_EVERY)
    return "nobody"


def _drive(path: Path, then: Callable[[LocalNode], None] | None) -> None:
    with open_reading(path) as connection:
        recorded = recorded_clock(connection)
    node = LocalNode.open(path, NodeSettings(replay=recorded))
    with closing(node):
        while node.engine.run_once():
            pass
        if then is not None:
            then(node)


def _waiting(path: Path) -> int:
    """Records that whoever drives the file has not come to."""
    with open_reading(path) as connection:
        return SqliteEngine(connection, LocalProcessor()).pending()
