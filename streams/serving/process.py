"""The life of a process of the clustered mode: start, work, a decent end.

    async def main(process: Process) -> None:
        process.spawn("judge", loop(process))         ends the process when it ends with an error
        process.health.ready()
        await process.stopping()                      or work until process.stop is set

    code = run_process("judge", settings, main)

The first SIGTERM or SIGINT sets `process.stop`: what was begun is finished within `serve.stop_seconds`, then the rest
is cancelled. The second one ends at once, which is safe: nothing counts that is not durable. The exit code is 0 only
after a decent end; a worker that died makes it another one, so that whoever started the process starts it again.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import ExitStack
from types import FrameType
from typing import Any, Final

from streams.garbage import settle_collector
from streams.serving.health import Health
from streams.serving.logs import EventLog, LogOptions, Repeats, configure, logger, secrets_of, tell_silenced
from streams.serving.metrics import LOG_SUPPRESSED, Metrics
from streams.serving.operations import Operations
from streams.settings import Settings
from verifier.errors import RevetError

EXIT_INTERNAL: Final = 70
EXIT_SERVICE: Final = 4
CANCEL_SECONDS: Final = 3.0
"""After the budget is over: how long cancelled work may take to let go."""
CHORES_SECONDS: Final = 10.0


class Process:
    """What the parts of a process share."""

    def __init__(self, name: str, settings: Settings) -> None:
        self.name, self.settings = name, settings
        self.health = Health(name, stalled_seconds=settings.serve.stalled_seconds)
        self.metrics = Metrics(name)
        self.log: EventLog = logger(name)
        self.stop = asyncio.Event()
        """Set when the process is to end: take nothing new, finish what was begun."""
        self.operations_address = ""
        """HOST:PORT of the operations server as bound; empty: there is none."""
        self._workers: set[asyncio.Task[None]] = set()
        self._died: asyncio.Future[BaseException] | None = None
        self.told: BaseException | None = None
        """The error the log has told already."""

    def spawn(self, worker: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `work` beside the rest. An error in it ends the process; so does an end before anybody asked for it."""
        task = asyncio.get_running_loop().create_task(work, name=worker)
        self._workers.add(task)
        task.add_done_callback(self._ended)
        return task

    async def stopping(self) -> None:
        """Wait until the process is to end."""
        await self.stop.wait()

    def end(self) -> None:
        """End decently, as after a signal."""
        self.stop.set()

    # ------------------------------------------------------------------ for run_process

    async def watched(self, main: Callable[[Process], Awaitable[None]]) -> None:
        """`main` and its workers, until they are done, an error comes, or the budget after `stop` is over.

        Raises:
            RevetError, Exception: what `main` or a worker ended with.
            StopBudgetError: what was begun was not finished in time.
        """
        loop = asyncio.get_running_loop()
        self._died = loop.create_future()
        body = asyncio.ensure_future(self._whole(main))
        budget = loop.create_task(self._over_budget())
        chosen: set[asyncio.Future[Any]] = {body, self._died, budget}
        try:
            await asyncio.wait(chosen, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.stop.set()
            self.health.ready(False, "ending")
            outcome = self._outcome(body, budget)
            await self._let_go([body, budget, *self._workers])
        if outcome is not None:
            raise outcome

    async def _whole(self, main: Callable[[Process], Awaitable[None]]) -> None:
        await main(self)
        self.stop.set()  # `main` is through: an end of a worker is no surprise any more
        while pending := [task for task in self._workers if not task.done()]:
            await asyncio.wait(pending)

    async def _over_budget(self) -> None:
        await self.stop.wait()
        await asyncio.sleep(self.settings.serve.stop_seconds)

    def _outcome(self, body: asyncio.Future[None], budget: asyncio.Task[None]) -> BaseException | None:
        if self._died is not None and self._died.done():
            return self._died.result()
        if body.done():
            return None if body.cancelled() else body.exception()
        if budget.done():
            return StopBudgetError(f"not finished {self.settings.serve.stop_seconds} s after it was told to end")
        return None

    async def _let_go(self, tasks: list[asyncio.Future[Any]]) -> None:
        for task in tasks:
            task.cancel()
        _, stuck = await asyncio.wait(tasks, timeout=CANCEL_SECONDS)
        for task in tasks:
            if task.done() and not task.cancelled():
                task.exception()  # looked at: the first one is the one that is told
        if stuck:
            names = [task.get_name() for task in stuck if isinstance(task, asyncio.Task)]
            self.log.warning("work-does-not-let-go", workers=names)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._workers.discard(task)
        if task.cancelled() and self.stop.is_set():
            return
        error = None if task.cancelled() else task.exception()
        if error is None and self.stop.is_set():
            return
        worker = task.get_name()
        error = error if error is not None else WorkerEndedError(f"{worker} ended though nobody asked it to")
        self.health.failed(worker, f"{type(error).__name__}: {error}")
        self.log.failed("worker-died", error, worker=worker)
        self.told = error
        if self._died is not None and not self._died.done():
            self._died.set_result(error)
        self.stop.set()


class WorkerEndedError(RevetError):
    """A worker ended without an error and without having been asked to: the process would do nothing any more."""

    exit_code = EXIT_INTERNAL


class StopBudgetError(RevetError):
    """What was begun was not finished in the time the settings give. Nothing durable is lost; the rest comes again."""

    exit_code = EXIT_SERVICE


def run_process(name: str, settings: Settings, main: Callable[[Process], Awaitable[None]]) -> int:
    """Run a process until it ends; gives its exit code (0, that of a RevetError, or 70).

    Raises:
        InputError: a file with a secret cannot be read, before anything was begun.
        PlaceUnavailable: the operations server cannot listen.
    """
    options = LogOptions(settings.serve.log, settings.serve.log_level, secrets_of(settings))
    try:
        return asyncio.run(_living(name, settings, main, options))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


async def _living(
    name: str, settings: Settings, main: Callable[[Process], Awaitable[None]], options: LogOptions
) -> int:
    settle_collector()
    process = Process(name, settings)
    repeats = configure(options, lambda of: process.metrics.add(LOG_SUPPRESSED, 1, of))
    _hear_everything(process)
    _watch_signals(process)
    with ExitStack() as stack:
        if settings.serve.operations:
            server = Operations(process.health, process.metrics)
            process.operations_address = stack.enter_context(server.listening(settings.serve.operations))
        process.log.info("started", pid=os.getpid(), operations=process.operations_address or "none")
        chores = asyncio.create_task(_chores(process, repeats))
        try:
            code = await _coded(process, main)
        finally:
            _end_anyway(2 * CANCEL_SECONDS)
            chores.cancel()
            tell_silenced(repeats, process.log)
    process.log.info("ended", exit_code=code)
    return code


async def _coded(process: Process, main: Callable[[Process], Awaitable[None]]) -> int:
    try:
        await process.watched(main)
    except Exception as error:  # noqa: BLE001  # the boundary: named in the log, and the process ends
        if error is not process.told:
            process.log.failed("failed", error)
        return error.exit_code if isinstance(error, RevetError) else EXIT_INTERNAL
    return 0


async def _chores(process: Process, repeats: Repeats) -> None:
    while True:
        await asyncio.sleep(CHORES_SECONDS)
        tell_silenced(repeats, process.log)


def _watch_signals(process: Process) -> None:
    """Handlers of the interpreter, not of the loop: a loop that hangs in a computation must not outlive two signals."""
    loop = asyncio.get_running_loop()
    heard: list[int] = []

    def on_signal(number: int, _frame: FrameType | None) -> None:
        if heard:
            os.write(2, b"revet: ended at once\n")  # no log: its locks may be held by what was interrupted
            os._exit(128 + number)
        heard.append(number)
        _end_anyway(process.settings.serve.stop_seconds + 2 * CANCEL_SECONDS)
        loop.call_soon_threadsafe(_signalled, process, signal.Signals(number))

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)


def _signalled(process: Process, number: signal.Signals) -> None:
    process.log.info("stopping", signal=number.name, budget_seconds=process.settings.serve.stop_seconds)
    process.health.ready(False, "ending")  # a load balancer goes elsewhere while what was begun is finished
    process.stop.set()


def _end_anyway(seconds: float) -> None:
    """The kernel ends the process (SIGALRM) when even cancelled work does not let go by then, a thread for instance."""
    signal.setitimer(signal.ITIMER_REAL, seconds)


def _hear_everything(process: Process) -> None:
    """What nobody awaited or caught is a line of the log like any other, secrets hidden."""

    def in_loop(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        process.log.failed("task-failed", context.get("exception"), what=context.get("message", ""))

    def in_thread(args: threading.ExceptHookArgs) -> None:
        process.log.failed("thread-failed", args.exc_value, thread=args.thread.name if args.thread else "")

    def anywhere(_kind: type[BaseException], error: BaseException, _trace: object) -> None:
        process.log.failed("failed", error)

    asyncio.get_running_loop().set_exception_handler(in_loop)
    threading.excepthook = in_thread
    sys.excepthook = anywhere
