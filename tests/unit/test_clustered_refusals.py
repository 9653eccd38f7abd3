"""An entry of the trust log that was forged while a process was away: whoever comes back or takes over tells of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from alerting.models import Finding
from streams.clustered import ClusterAlerter, ClusterJudge
from streams.engine.port import Effects
from streams.events import DeadLetter
from streams.shared import REFUSED_KEPT, Shared
from tests.helpers.trustadmins import ALICE, MALLORY, Log, gate, key_put, next_of


def letters(effects: Effects) -> set[str]:
    return {out.event.id for out in effects.outputs if isinstance(out.event, DeadLetter)}


def findings(effects: Effects) -> list[str]:
    return [out.event.message for out in effects.outputs if isinstance(out.event, Finding)]


class Forged:
    """A trust log that somebody writes to who may not."""

    def __init__(self) -> None:
        self.shared, self._log = Shared(gate(ALICE)), Log()

    def forge(self, number: int) -> None:
        for _ in range(number):
            self.shared.take(self._log.put(*next_of(gate(ALICE), key_put(5), by=[MALLORY])))


Back = Callable[[ClusterJudge | ClusterAlerter], Effects]


@pytest.fixture(params=["restore", "catch_up"])
def back(request: pytest.FixtureRequest) -> Back:
    """How a process comes back to a shard: with its rows, or with what it kept in memory."""
    return lambda one: one.restore(()) if request.param == "restore" else one.catch_up()


def test_the_first_shard_says_the_dead_letters_and_no_other_does(back):
    world = Forged()
    first, second = (ClusterJudge(shard, 2, world.shared) for shard in (0, 1))
    world.forge(3)
    said = letters(back(first))
    assert len(said) == 3
    assert letters(back(first)) == said, "the same ids: the record has each once"
    assert letters(back(second)) == set()


def test_the_alerter_tells_of_it_once(back):
    world = Forged()
    alerter = ClusterAlerter(world.shared)
    world.forge(2)
    told = back(alerter)
    assert "refused 2 entries" in findings(told)[-1]
    rows = [(kind, key, value) for kind, key, value in told.state if value is not None]
    again = ClusterAlerter(world.shared)
    assert findings(again.restore(rows)) == []
    world.forge(1)
    assert "refused 3 entries" in findings(again.catch_up())[-1]


def test_a_flood_costs_a_bounded_memory():
    world = Forged()
    world.forge(REFUSED_KEPT + 5)
    assert len(tuple(world.shared.refused())) == REFUSED_KEPT
