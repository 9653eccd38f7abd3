"""The alerter about revet itself: refused entries of the trust log, and parts that stand still."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from alerting.models import Finding, Incident, IncidentAction
from streams.alerter import Alerter
from streams.engine.port import Record
from streams.events import ProgressSeen
from streams.topics import TRUST
from streams.trustlog import Refused
from tests.helpers.trustadmins import ALICE, MALLORY, Log, gate, key_put, next_of
from verifier.times import DAY, HOUR, MINUTE, SECOND
from verifier.trust.state import TrustState

T0 = 1_800_000_000 * SECOND


def refused(number: int) -> list[Refused]:
    """So many forged entries."""
    at, log = gate(ALICE), Log()
    for _ in range(number):
        log.put(*next_of(at, key_put(5), by=[MALLORY]))
    said = [at.take(record) for record in log.records]
    return [one for one in said if isinstance(one, Refused)]


def findings(outputs: Iterable[object]) -> list[tuple[str, str, str]]:
    return [(f.code, f.state, f.message) for f in outputs if isinstance(f, Finding)]


def restarted(alerter: Alerter) -> Alerter:
    again = Alerter(stalled_after=MINUTE)
    rows = [(kind, key, value) for kind, key, value in alerter.take_dirty() if value is not None]
    again.restore(rows, TrustState.empty())
    return again


@pytest.mark.scenario("trust-refused")
def test_forged_entries_are_one_critical_incident_that_closes_after_a_quiet_day():
    alerter = Alerter(stalled_after=MINUTE)
    said = [out for one in refused(3) for out in alerter.handle(one, T0)]
    assert [f[:2] for f in findings(said)] == [("trust-refused", "open")] * 3
    assert findings(said)[-1][2] == (
        "the trust log refused 3 entries; the last, at revet.trust/0:2: it is signed by a key that is no trust"
        " administrator's"
    )
    shown = [out for out in alerter.tick(T0 + MINUTE) if isinstance(out, Incident)]
    assert {(i.kind, i.severity, i.paging, i.subject) for i in shown} == {
        ("trust-refused", "critical", True, "the trust log")
    }
    assert findings(alerter.tick(T0 + DAY)) == []
    assert [f[:2] for f in findings(alerter.tick(T0 + DAY + 1))] == [("trust-refused", "closed")]
    resolved = [out.state for out in alerter.tick(T0 + DAY + HOUR) if isinstance(out, Incident)]
    assert resolved[-1:] == ["resolved"]


def test_reading_the_log_again_after_a_restart_tells_nothing_twice():
    alerter = Alerter(stalled_after=MINUTE)
    three = refused(3)
    for one in three[:2]:
        list(alerter.handle(one, T0))
    again = restarted(alerter)
    assert [findings(again.handle(one, T0 + HOUR)) for one in three[:2]] == [[], []]
    assert "refused 3 entries" in findings(again.handle(three[2], T0 + HOUR))[0][2]


def test_a_forged_time_neither_hides_an_entry_nor_keeps_it_open_for_ever():
    """Headers are chosen by whoever writes."""
    for time in (0, 1, 10**18):
        at = gate(ALICE)
        (event,) = next_of(at, key_put(5), by=[MALLORY])
        (record,) = Log().put(event)
        said = at.take(Record(0, TRUST, 0, "", "x", record.value, time))
        alerter = Alerter(stalled_after=MINUTE)
        assert findings(alerter.handle(said, T0))
        assert findings(alerter.tick(T0 + DAY + 1))[0][1] == "closed"


def test_closed_by_hand_it_opens_again_with_the_next_forged_entry():
    alerter = Alerter(stalled_after=MINUTE)
    three = refused(3)
    for one in three[:2]:
        list(alerter.handle(one, T0))
    (incident,) = alerter.book.incidents()
    list(alerter.handle(IncidentAction("a", T0 + MINUTE, incident.id, "close", "alice"), T0 + MINUTE))
    said = [*alerter.handle(three[2], T0 + HOUR), *alerter.tick(T0 + HOUR + MINUTE)]
    assert [out.reopened for out in said if isinstance(out, Incident)][-1] == 1


def beat(second: int, shard: int) -> ProgressSeen:
    return ProgressSeen(f"p{shard}-{second}", T0 + second * SECOND, "judge", "judge-a", shard)


def test_a_silent_shard_is_told_and_resolved_by_itself_while_the_rest_waits():
    alerter = Alerter(stalled_after=MINUTE)
    said = []
    for second in range(0, 3000, 10):
        shards = (0, 1) if not 100 < second < 1000 else (0,)
        for shard in shards:
            said += list(alerter.handle(beat(second, shard), T0 + second * SECOND))
        said += list(alerter.tick(T0 + second * SECOND))
    told = findings(said)
    assert [f[1] for f in told] == ["open", "closed"]
    assert told[0][2] == "judge shard 1 was not heard, since 2027-01-15 08:01:40Z"
    states = [out.state for out in said if isinstance(out, Incident)]
    assert states[-1] == "resolved"


def test_one_machine_watches_nobody():
    alerter = Alerter()
    assert list(alerter.handle(beat(0, 0), T0)) == []
    assert findings(alerter.tick(T0 + DAY)) == []
    assert {kind for kind, _, _ in alerter.take_dirty()} == {"alert-expiry"}
