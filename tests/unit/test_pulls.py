"""One budget of pulls for all fetchers: never exceeded, however many there are, and whatever happens to them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams import pulls
from streams.codec import encode
from streams.engine.memory_broker import MemoryBroker, MemoryLink
from streams.engine.port import Record
from streams.events import PullsTaken
from streams.pulls import AT_A_TIME, NOT_HEARD, USE_WITHIN, Pulls, SharedPulls
from streams.serving.pulling import Pulling
from streams.topics import PULLS
from verifier.errors import PlaceUnavailable
from verifier.oci.pacing import ASK_AGAIN, Quota, parse_quota
from verifier.times import HOUR, SECOND

HUB = "docker.io"
T0 = 1_800_000_000 * SECOND
FIFTY = {HUB: parse_quota("50/6h")}


def entry(number: int, at: int, id_: str) -> PullsTaken:
    return PullsTaken(id_, at, HUB, number, "fetch-1")


def test_entries_are_granted_in_order_while_there_is_room():
    budget = Pulls(FIFTY)
    granted = [budget.fold(entry(20, T0 + n, str(n))) for n in range(4)]
    assert granted == [True, True, False, False]
    assert budget.fold(entry(10, T0 + 5, "five")) is True, "a smaller one still fits"
    assert (budget.room(HUB, T0 + 6), budget.wait(HUB, T0 + 6)) == (0, ASK_AGAIN)
    later = T0 + 6 * HOUR + USE_WITHIN
    assert budget.room(HUB, later) == 20
    assert budget.fold(entry(20, later, "late")) is True


def test_an_entry_that_is_written_twice_counts_once():
    budget = Pulls(FIFTY)
    assert [budget.fold(entry(2, T0, "a")), budget.fold(entry(2, T0, "a"))] == [True, False]
    assert budget.room(HUB, T0) == 48


@pytest.mark.parametrize("number", [0, -5, 51, 10**12])
def test_impossible_numbers_take_nothing(number):
    budget = Pulls(FIFTY)
    assert budget.fold(entry(number, T0, "a")) is False
    assert budget.room(HUB, T0) == 50


def test_of_a_registry_without_a_budget_nothing_is_kept():
    budget = Pulls(FIFTY)
    assert budget.fold(PullsTaken("a", T0, "registry.example.com", 1, "x")) is False


def test_a_clock_that_is_behind_gains_nothing():
    budget = Pulls(FIFTY)
    assert budget.fold(entry(50, T0, "a"))
    assert not budget.fold(entry(1, T0 - 100 * HOUR, "b"))


times = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 3 * HOUR // SECOND)), max_size=60)


@given(times, st.integers(0, 30))
def test_no_window_ever_holds_more_than_the_quota(taken, most):
    budget, now, granted = Pulls({HUB: Quota(most, 6 * 3600)}), T0, []
    for number, (pulls_, gap) in enumerate(taken):
        now += gap * SECOND
        if budget.fold(entry(pulls_, now, str(number))):
            granted += [now] * pulls_
    for start in granted:
        assert sum(start <= at < start + 6 * HOUR for at in granted) <= most


# ------------------------------------------------------------------------------------------------------ many processes


class Clock:
    def __init__(self) -> None:
        self.now = T0

    def __call__(self) -> int:
        return self.now


class Fleet:
    """Fetchers that share a broker, each with a view of its own that is behind by as much as it likes."""

    def __init__(self, quota: str, seed: int = 1) -> None:
        self.clock = Clock()
        self.log: list[PullsTaken] = []
        self.quotas = {HUB: parse_quota(quota)}
        self.views: list[tuple[SharedPulls, list[int]]] = []
        self.made: list[int] = []
        self._chance = random.Random(seed)

    def join(self) -> SharedPulls:
        """One process more, which has read what there is."""

        async def send(taken: PullsTaken) -> None:
            self.log.append(taken)
            await asyncio.sleep(0)

        made = SharedPulls(Pulls(self.quotas), send, self.clock, f"fetch-{len(self.views)}")
        at = [0]
        self.views.append((made, at))
        self._read(made, at, len(self.log))
        return made

    def _read(self, one: SharedPulls, at: list[int], end: int) -> None:
        for taken in self.log[at[0] : end]:
            one.fold(taken)
        at[0] = end

    async def go_on(self) -> None:
        """Views come along, each at its own pace, until they are told to stop."""
        while True:
            for one, at in self.views:
                self._read(one, at, self._chance.randint(at[0], len(self.log)))
            await asyncio.sleep(0)

    async def pull(self, one: SharedPulls, tries: int) -> None:
        for _ in range(tries):
            if not await one.take(HUB):
                self.made.append(self.clock.now)
            if self._chance.random() < 0.2:
                self.clock.now += self._chance.randint(0, 1200) * SECOND

    def most_in_a_window(self) -> int:
        return max((sum(start <= at < start + 6 * HOUR for at in self.made) for start in self.made), default=0)


@pytest.mark.asyncio
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("fetchers", [1, 2, 7])
async def test_any_number_of_fetchers_stays_within_one_budget(fetchers, seed):
    fleet = Fleet("50/6h", seed)
    reading = asyncio.create_task(fleet.go_on())
    ones = [fleet.join() for _ in range(fetchers)]
    await asyncio.gather(*(fleet.pull(one, 140 // fetchers) for one in ones))
    await fleet.pull(fleet.join(), 40)  # somebody is started anew, who holds nothing and knows everything
    reading.cancel()
    assert 20 <= fleet.most_in_a_window() <= 50, "what lapsed is not made"


@pytest.mark.asyncio
async def test_a_process_that_is_started_again_and_again_gains_nothing():
    fleet = Fleet("50/6h")
    reading = asyncio.create_task(fleet.go_on())
    for _ in range(60):
        await fleet.pull(fleet.join(), 1)
        fleet.clock.now = T0 + len(fleet.views)
    reading.cancel()
    assert len(fleet.made) == 50 // (50 // pulls.SHARE), "what each took and did not use is spent"


@pytest.mark.asyncio
async def test_what_was_taken_is_used_soon_or_lapses():
    fleet = Fleet("50/6h")
    one = fleet.join()
    reading = asyncio.create_task(fleet.go_on())
    assert await one.take(HUB) == 0
    assert len(fleet.log) == 1
    fleet.clock.now += USE_WITHIN
    assert await one.take(HUB) == 0
    reading.cancel()
    assert len(fleet.log) == 2, "the second of the first entry was too late"
    assert all(taken.number <= AT_A_TIME for taken in fleet.log)


@pytest.mark.asyncio
async def test_without_brokers_nothing_is_pulled(monkeypatch):
    monkeypatch.setattr(pulls, "HEARD_SECONDS", 0.05)

    async def refused(taken: PullsTaken) -> None:
        raise PlaceUnavailable("kafka-unavailable", taken.id)

    async def unheard(taken: PullsTaken) -> None:
        del taken

    for send in (refused, unheard):
        one = SharedPulls(Pulls(FIFTY), send, lambda: T0, "fetch-1")
        assert await one.take(HUB) == NOT_HEARD
        assert await one.take("registry.example.com") == 0, "which has no budget"


def test_what_is_on_the_topic_and_is_no_entry_takes_nothing():
    taken: Sequence[bytes] = (b"", b"\xff" * 40, encode(entry(1, T0, "a"))[:-3])
    pulling = Pulling(FIFTY, MemoryLink(MemoryBroker(1)), 1, "fetch-1")
    pulling.take([Record(number, PULLS, 0, HUB, "x", value, T0) for number, value in enumerate(taken)])
