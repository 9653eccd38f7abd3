"""`visibility-lost`: what an API server gave up or never delivered is told once, and nothing else is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import pytest

from alerting.losses import LATE, LOOKS, MAX_SOURCES, MAX_STARTS, QUIET, Counted, Losses
from alerting.models import Finding, Incident, IncidentAction
from streams.alerter import Alerter
from streams.events import AuditCounted
from verifier.times import HOUR, MINUTE, SECOND
from verifier.trust.state import TrustState

T0 = 1_800_000_000 * SECOND
BEGAN = T0 - HOUR
T = TypeVar("T")


def look(
    minute: float, given_up: int = 0, missing: int = 0, *, started: int = BEGAN, server: str = "cp-1"
) -> AuditCounted:
    at = T0 + round(minute * MINUTE)
    return AuditCounted(f"look:{server}:{at}", at, "prod-eu", server, started, given_up, missing)


class Told:
    """An alerter, and what it said of these looks."""

    def __init__(self) -> None:
        self.alerter = Alerter(stalled_after=MINUTE)
        self.said: list[object] = []

    def hears(self, *looks: AuditCounted) -> None:
        for one in looks:
            self.said += self.alerter.handle(one, one.time)
            self.said += self.alerter.tick(one.time)

    def passes(self, minute: float) -> None:
        self.said += self.alerter.tick(T0 + round(minute * MINUTE))

    def restarts(self) -> None:
        rows = [(kind, key, value) for kind, key, value in self.alerter.take_dirty() if value is not None]
        self.alerter = Alerter(stalled_after=MINUTE)
        self.alerter.restore(rows, TrustState.empty())

    def findings(self) -> list[tuple[str, str]]:
        return [(f.state, f.message) for f in only(Finding, self.said) if f.code == "visibility-lost"]

    def incidents(self) -> list[Incident]:
        return [i for i in only(Incident, self.said) if i.kind == "visibility-lost"]


def only(kind: type[T], said: Iterable[object]) -> list[T]:
    return [one for one in said if isinstance(one, kind)]


def opened(number: str, words: str = "were given up by the API server", since: str = "08:01:00Z") -> tuple[str, str]:
    return "open", f"{number} of prod-eu/cp-1 {words}, since 2027-01-15 {since}"


@pytest.mark.scenario("visibility-lost")
def test_what_is_given_up_is_one_incident_that_closes_after_a_quiet_hour():
    told = Told()
    told.hears(look(0), look(1, 400), look(2, 400), look(3, 425))
    assert told.findings() == [opened("400 events"), opened("425 events")]
    (finding, *_) = only(Finding, told.said)
    assert (finding.cluster, finding.severity, finding.owner_name) == ("prod-eu", "high", "prod-eu/cp-1")
    assert len({i.id for i in told.incidents()}) == 1
    told.hears(*(look(minute, 425) for minute in range(4, 63)))
    assert len(told.findings()) == 2, "nothing more was lost"
    told.passes(3 + 61)
    assert told.findings()[-1] == ("closed", opened("425 events")[1])
    told.passes(3 + 61 + 60)
    assert told.incidents()[-1].state == "resolved"


def test_it_is_told_once():
    told = Told()
    told.hears(look(0), look(1, 400), *(look(minute, 400 + minute) for minute in range(2, 20)))
    (delivery,) = told.alerter.ledger.rows()
    assert (delivery.episode, delivery.epoch) == (1, 1), "one parent, whose text is edited"
    assert sum(i.reopened for i in told.incidents()) == 0
    assert {i.state for i in told.incidents()} == {"open"}


NO_LOSS = {
    "what was given up before anybody looked": [look(0, 9_000), look(1, 9_000)],
    "the API server was restarted, and counts from 0": [
        look(0, 9_000), look(1, 0, started=T0 + 30 * SECOND), look(2, 0, started=T0 + 30 * SECOND),
    ],
    "it does not say when it began, and counts from 0": [look(0, 9_000, started=0), look(1, 0, started=0)],
    "the receiver was restarted: what came before is not counted": [
        look(0), look(1, missing=700), look(2), look(3, missing=700), look(4), look(9, missing=700),
    ],
    "a delay of four minutes": [look(0), *(look(m, missing=5_000) for m in (1, 2, 3, 4, 5)), look(5.5)],
    "two delays with no look between them": [look(0), look(1, missing=5_000), look(30, missing=4_000), look(31)],
    "old words again": [look(0), look(1), look(2), look(0), look(1, 3_000), look(2, 3_000)],
    "two servers behind one address, both old": [
        look(0, 50), *(look(m, 70 if m % 2 else 50, started=BEGAN - m % 2) for m in range(1, 20)),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", NO_LOSS)
def test_no_false_alarm(name):
    told = Told()
    told.hears(*NO_LOSS[name])
    assert told.findings() == []
    told.passes(600)
    assert told.incidents() == []


def test_a_new_process_that_gives_up_is_told():
    """Its counter began at 0 after the last look."""
    told = Told()
    told.hears(look(0, 9_000), look(1, 12, started=T0 + 10 * SECOND))
    assert told.findings() == [opened("12 events")]


def test_what_is_given_up_while_the_receiver_is_away_is_told_by_the_next_one():
    told = Told()
    told.hears(look(0, 5))
    told.restarts()
    told.hears(look(30, 4_005))
    assert told.findings() == [opened("4,000 events", since="08:30:00Z")]


def test_what_stays_missing_is_lost_and_only_once():
    told = Told()
    told.hears(look(0), *(look(minute, missing=900 - minute) for minute in range(1, 30)))
    assert told.findings()[0] == opened("894 events", "were sent and never came", "08:06:00Z")
    assert len(told.findings()) == 1
    told.hears(*(look(minute, missing=1_871) for minute in range(30, 45)))
    assert len(told.findings()) == 2, "more is missing"


def test_a_restart_of_the_alerter_tells_nothing_twice():
    told = Told()
    told.hears(look(0), look(1, 400))
    told.restarts()
    told.hears(look(1, 400), look(2, 400))
    assert len(told.findings()) == 1
    told.hears(look(3, 401))
    assert told.findings()[-1] == opened("401 events")


def test_servers_of_one_cluster_are_apart():
    told = Told()
    told.hears(look(0), look(0, server="cp-2"), look(1, 7), look(1, server="cp-2"), look(2, 7, server="cp-2"))
    assert [message.split(" were")[0] for _, message in told.findings()] == [
        "7 events of prod-eu/cp-1", "7 events of prod-eu/cp-2",
    ]  # fmt: skip
    assert len({i.id for i in told.incidents()}) == 2


def test_closed_by_hand_it_opens_again_when_more_is_lost():
    told = Told()
    told.hears(look(0), look(1, 400))
    incident = next(i for i in told.alerter.book.incidents() if i.kind == "visibility-lost")
    told.said += told.alerter.handle(IncidentAction("a", T0 + 2 * MINUTE, incident.id, "close", "ann"), T0 + 2 * MINUTE)
    told.hears(look(3, 400))
    assert told.incidents()[-1].state != "open"
    told.hears(look(4, 500), look(5, 500))
    assert told.incidents()[-1].reopened == 1


def test_what_is_kept_is_bounded():
    losses = Losses()
    for number in range(MAX_SOURCES + 5):
        losses.counted(Counted("c", str(number), T0, BEGAN, 0, 0), T0)
    assert len(losses.dirty()) == MAX_SOURCES
    for number in range(MAX_STARTS * 3):
        losses.counted(Counted("c", "0", T0 + number, BEGAN - number, 0, 0), T0)
    assert len(losses.dirty()['["c","0"]']) < 400


def test_what_is_under_way_for_longer_than_an_api_server_tries_is_lost():
    assert LATE > 100 * SECOND, "services-kubernetes: given up after 75 to 100 s"
    assert LOOKS >= 3
    assert QUIET >= LATE
