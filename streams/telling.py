"""Calls under way between a delivery ledger and the places where people look. One event loop, no threads.

    courier = Courier(notifier, pacing, wake)
    courier.settle(ledger, now)                     what came back
    calls = courier.take(ledger, content, now)      what is due; the rows say so
    ...                                             make the ledger's rows durable
    courier.begin(calls)

Nothing waits for an answer: a place that is slow holds up what is told there, and nothing else. The work of whoever
drives it goes on meanwhile, and an answer wakes it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from alerting.calls import Answer, AsyncNotifier, Call, Failed, Notifier, Pace, Posted, ask
from alerting.delivery import FALLBACK, Content, Ledger

AT_ONCE: Final = 16
"""Calls under way at a time."""


class Courier:
    """Drives one ledger at a time; answers for a ledger that is gone are dropped, for the new one looks by itself."""

    def __init__(
        self, notifier: AsyncNotifier, pace: Pace | None = None, wake: Callable[[], None] | None = None,
        at_once: int = AT_ONCE,
    ) -> None:  # fmt: skip
        """`wake` is called when an answer is there."""
        self._notifier = notifier
        self._pace = pace
        self.wake = wake or _nobody
        self._at_once = at_once
        self._tasks: dict[asyncio.Task[None], Ledger] = {}
        self._answers: list[tuple[Ledger, Call, Answer]] = []

    @property
    def under_way(self) -> int:
        """Calls that were begun and not answered."""
        return len(self._tasks)

    def settle(self, ledger: Ledger, now: int) -> list[tuple[Call, Answer]]:
        """Tell the ledger what came back; gives it, for whoever counts."""
        answers, self._answers = self._answers, []
        mine = [(call, answer) for of, call, answer in answers if of is ledger]
        for call, answer in mine:
            ledger.settle(call, answer, now)
        return mine

    def take(self, ledger: Ledger, content: Content, now: int) -> list[Call]:
        """What is due now, as far as there is room. Every call must be given to `begin` once its row is durable."""
        ledger.reroute(now)
        calls: list[Call] = []
        while len(self._tasks) + len(calls) < self._at_once:
            call = ledger.next_call(now, content, self._pace)
            if call is None:
                break
            calls.append(call)
        return calls

    def begin(self, ledger: Ledger, calls: Sequence[Call]) -> None:
        """Make the calls."""
        for call in calls:
            task = asyncio.get_running_loop().create_task(self._one(ledger, call))
            self._tasks[task] = ledger
            task.add_done_callback(self._tasks.pop)

    async def drained(self, seconds: float) -> None:
        """Wait for what is under way, but no longer than this; what is not answered then is looked for later."""
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=seconds)

    def cancel(self) -> None:
        """Let go of what is under way."""
        for task in list(self._tasks):
            task.cancel()

    async def _one(self, ledger: Ledger, call: Call) -> None:
        try:
            answer = await self._notifier.answer(call)
        except Exception as error:  # noqa: BLE001  # a notifier must not raise; if it does, nobody knows what it did
            answer = Failed("ambiguous", type(error).__name__)
        self._answers.append((ledger, call, answer))
        self.wake()


class Switch:
    """Implements `AsyncNotifier`: what is told aside goes there, everything else to the main place."""

    def __init__(self, main: AsyncNotifier, aside: AsyncNotifier) -> None:
        self._main, self._aside = main, aside

    async def answer(self, call: Call) -> Answer:
        """See `AsyncNotifier.answer`."""
        return await (self._aside if call.destination == FALLBACK else self._main).answer(call)


class Direct:
    """A notifier that answers at once, such as a terminal, behind the port of those that do not."""

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier

    async def answer(self, call: Call) -> Answer:
        """See `AsyncNotifier.answer`."""
        return ask(self._notifier, call)


class Copied:
    """Hands calls on, and keeps a copy of what was told: the record of one machine, word for word."""

    def __init__(self, main: AsyncNotifier, copy: Notifier) -> None:
        self._main, self._copy = main, copy

    async def answer(self, call: Call) -> Answer:
        """See `AsyncNotifier.answer`."""
        answer = await self._main.answer(call)
        if isinstance(answer, Posted):
            ask(self._copy, call)
        return answer


def _nobody() -> None:
    """Nobody waits."""
