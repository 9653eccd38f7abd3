"""One finding for the record: open while something is not as it was sealed, closed by a check that covers it."""

from __future__ import annotations

import pytest

from alerting.integrity import Check, Integrity
from alerting.models import Incident
from alerting.ownfindings import Told
from streams.alerter import Alerter
from streams.events import LedgerChecked
from verifier.times import DAY, HOUR
from verifier.trust.state import TrustState

T0 = 1_795_000_000_000_000


def check(time: int, problems: int, since: int, until: int, scope: str = "recent") -> Check:
    return Check(scope, time, since, until, problems, "record-missing: x" if problems else "")


def states(told: Told) -> list[tuple[str, str, str]]:
    return [(f.code, f.state, f.close_reason) for f in told.findings]


@pytest.mark.scenario("ledger-broken")
def test_it_opens_once_and_closes_by_a_check_that_covers_it() -> None:
    found = Integrity()
    assert not states(found.checked(check(T0, 0, T0 - DAY, T0), T0))
    assert states(found.checked(check(T0 + 1, 3, T0 - DAY, T0), T0 + 1)) == [("ledger-broken", "open", "")]
    assert not states(found.checked(check(T0 + 2, 3, T0 - DAY, T0), T0 + 2)), "the same again is no news"
    assert states(found.checked(check(T0 + 3, 5, T0 - DAY, T0), T0 + 3)) == [("ledger-broken", "open", "")]
    assert not states(found.checked(check(T0 + HOUR, 0, T0 - DAY + HOUR, T0 + HOUR), T0 + HOUR)), "covers less"
    assert not states(found.checked(check(T0 + HOUR, 0, T0 - 9 * DAY, T0 - 8 * DAY, "random"), T0 + HOUR))
    closed = found.checked(check(T0 + 2 * HOUR, 0, 0, T0 + DAY, "whole"), T0 + 2 * HOUR)
    assert states(closed) == [("ledger-broken", "closed", "valid-again")]
    assert states(found.checked(check(T0 + DAY, 1, T0, T0 + DAY), T0 + DAY)) == [("ledger-broken", "open", "")]


def test_what_was_taken_before_is_no_news_after_a_restart() -> None:
    found = Integrity()
    found.checked(check(T0, 3, T0 - DAY, T0), T0)
    kept = found.dirty()
    assert kept
    again = Integrity()
    again.load(kept.items())
    assert not states(again.checked(check(T0, 3, T0 - DAY, T0), T0 + HOUR))
    assert not states(again.checked(check(T0 - HOUR, 0, 0, T0 + DAY), T0 + HOUR))
    assert [s[1] for s in states(again.checked(check(T0 + HOUR, 0, 0, T0 + DAY), T0 + HOUR))] == ["closed"]


def test_two_kinds_of_window_do_not_hide_each_other() -> None:
    """The newest of each is broadcast; the older of the two may come second."""
    found = Integrity()
    found.checked(check(T0 + HOUR, 0, T0 - DAY, T0), T0)
    assert states(found.checked(check(T0, 1, T0 - 90 * DAY, T0 - 89 * DAY, "random"), T0)) == [
        ("ledger-broken", "open", "")
    ]


def test_the_alerter_tells_it_and_keeps_it() -> None:
    alerter = Alerter()
    event = LedgerChecked(
        "ledger:recent:1", T0, "recent", T0 - DAY, T0 + DAY, 100, 2, "record-changed: revet.admission v1:x"
    )
    said = list(alerter.handle(event, T0))
    (incident,) = [out for out in said if isinstance(out, Incident)]
    assert (incident.kind, incident.severity, incident.state) == ("ledger-broken", "critical", "open")
    rows = [(kind, key, value) for kind, key, value in alerter.take_dirty() if value is not None]
    again = Alerter()
    again.restore(rows, TrustState.empty())
    assert not list(again.handle(event, T0 + 1))
