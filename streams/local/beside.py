"""A process beside this one, for work that must never hold it up: started anew when it ends, gone when this one is.

    with beside(serve, (bound, options), say) as process: ...

What it needs is given to it at its start (sockets too). It learns of our end, also of a `kill -9`, by the pipe between
us, which the system closes.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Final

TRIES: Final = 5
"""Times it is started anew; what ends so often ends for a reason."""
PAUSE: Final = 1.0
"""Seconds before it is started anew, times the number of tries."""
STOP_SECONDS: Final = 5.0

Work = Callable[..., None]


@contextmanager
def beside(work: Work, given: tuple[Any, ...], name: str, say: Callable[[str], None]) -> Iterator[None]:
    """Run `work(*given)` in a process of its own until the block ends. `work` is a function of a module; `say` is told
    when it ended by itself.
    """
    ending = threading.Event()
    keeper = threading.Thread(target=_keep, args=(work, given, name, say, ending), name=name, daemon=True)
    keeper.start()
    try:
        yield
    finally:
        ending.set()
        keeper.join(STOP_SECONDS * 2)


def _keep(work: Work, given: tuple[Any, ...], name: str, say: Callable[[str], None], ending: threading.Event) -> None:
    context = get_context("spawn")  # a copy of this process would hold its files and locks
    for attempt in range(1, TRIES + 1):
        theirs, ours = context.Pipe(duplex=False)
        process = context.Process(target=_run, args=(theirs, work, given), name=name, daemon=True)
        process.start()
        theirs.close()
        while process.is_alive() and not ending.is_set():
            process.join(0.2)
        ours.close()
        if ending.is_set():
            process.terminate()
            process.join(STOP_SECONDS)
            return
        again = attempt < TRIES
        say(f"revet: warning: {name} ended (code {process.exitcode}){'; it is started anew' if again else ''}")
        if not again or ending.wait(PAUSE * attempt):
            return


def _run(parent: Connection, work: Work, given: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal's whole group: who started us decides
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    work(*given)


def _end_with(parent: Connection) -> None:
    """The other end is closed when whoever holds it ends, in whatever way; nothing is ever sent."""
    try:
        parent.recv_bytes()
    except (EOFError, OSError):
        os._exit(0)
