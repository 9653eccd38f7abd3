"""The canary, and the dead man's switch: is there still somebody who could tell people, and does it arrive?

    canary = Canary(notifier, heart, is_active, wall_clock)
    await canary.run(seconds)              without end

Every so often a test message is posted in the channel `canary`, found, replied to and edited. Only then the address of
an outside watchman is called. When that call does not come, for whatever reason, the watchman wakes somebody: it knows
neither Slack nor this cluster, and works when both are gone. A process that stands by sings nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Literal

from alerting.calls import AsyncNotifier
from streams.alerttest import Tried, try_out

CANARY: Final = "canary"
"""Name of its channel in the settings."""

LOOK_AGAIN: Final = 10.0
"""Seconds after which a process that stands by looks whether it is active now."""

Outcome = Literal["ok", "failed", "unheard", "standby"]
"""`unheard`: Slack showed it, and the watchman did not answer."""


class Canary:
    """Sings in Slack, and tells the watchman."""

    def __init__(
        self, notifier: AsyncNotifier, heart: Callable[[], Awaitable[bool]] | None, is_active: Callable[[], bool],
        clock: Callable[[], int], tell: Callable[[Outcome, str], None],
    ) -> None:  # fmt: skip
        """`heart` calls the watchman, and says whether it answered; None: there is none. `tell`: outcome and detail."""
        self._notifier = notifier
        self._heart = heart
        self._is_active = is_active
        self._clock = clock
        self._tell = tell

    async def run(self, seconds: float) -> None:
        """Sing, wait, and so on."""
        while True:
            outcome = await self.sing()
            await asyncio.sleep(min(seconds, LOOK_AGAIN) if outcome == "standby" else seconds)

    async def sing(self) -> Outcome:
        """Once."""
        outcome, detail = await self._sung()
        self._tell(outcome, detail)
        return outcome

    async def _sung(self) -> tuple[Outcome, str]:
        if not self._is_active():
            return "standby", ""
        steps: list[Tried] = await try_out(self._notifier, CANARY, self._clock())
        failed = next((step for step in steps if not step.ok), None)
        if failed is not None:
            return "failed", f"{failed.step}: {failed.detail}"
        if self._heart is not None and not await self._heart():
            return "unheard", "the watchman did not answer"
        return "ok", ""
