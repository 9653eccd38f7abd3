"""What ends soon is said in time, once per stage, and taken back when it no longer ends."""

from __future__ import annotations

import pytest

from alerting.expiry import Expiring, Known, expiring_soon, next_expiry
from alerting.incidents import IncidentBook
from alerting.models import ShardReached
from verifier.times import DAY, HOUR, SECOND

T0 = 1_767_225_600 * SECOND
KEY = Expiring("key", "aa", "payments-ops", T0 + 40 * DAY)
EXEMPTION = Expiring("exemption", "x1", "x1", T0 + 5 * DAY)


def story(things, times):
    known: dict[str, Known] = {}
    told = []
    for now in times:
        result = expiring_soon(things(now), known, now)
        known = result.known
        told += [
            (finding.state, finding.severity, finding.close_reason, finding.sequence) for finding in result.findings
        ]
        assert [part.sequence for part in result.parts] == [finding.sequence for finding in result.findings]
    return told


def test_low_at_thirty_days_high_at_seven_closed_at_the_end():
    days = [T0 + day * DAY for day in range(60)]
    assert story(lambda _: [KEY], days) == [
        ("open", "low", "", 1),
        ("open", "high", "", 2),
        ("closed", "high", "ended", 3),
    ]


@pytest.mark.parametrize(
    ("left", "severity"),
    [(30 * DAY + 1, None), (30 * DAY, "low"), (7 * DAY + 1, "low"), (7 * DAY, "high"), (1, "high"), (0, None)],
)
def test_the_edges(left, severity):
    told = story(lambda now: [Expiring("key", "aa", "k", now + left)], [T0])
    assert told == ([] if severity is None else [("open", severity, "", 1)])


def test_a_longer_window_closes_it_and_a_shorter_one_opens_it_again():
    def things(now):
        longer = T0 + DAY <= now < T0 + 2 * DAY
        return [Expiring("exemption", "x1", "x1", T0 + (90 if longer else 10) * DAY)]

    assert story(things, [T0, T0 + DAY, T0 + 2 * DAY]) == [
        ("open", "low", "", 1),
        ("closed", "low", "valid-again", 2),
        ("open", "low", "", 3),
    ]


def test_what_is_taken_away_has_ended():
    assert story(lambda now: [EXEMPTION] if now == T0 else [], [T0, T0 + DAY, T0 + 2 * DAY])[-1] == (
        "closed",
        "high",
        "ended",
        2,
    )


def test_asking_again_says_nothing_new():
    assert len(story(lambda _: [KEY, EXEMPTION], [T0, T0, T0 + HOUR])) == 1


def test_the_clock_is_told_when_to_come_back():
    assert next_expiry([KEY, EXEMPTION], T0) == T0 + 5 * DAY
    assert next_expiry([KEY], T0) == T0 + 10 * DAY
    assert next_expiry([KEY], T0 + 10 * DAY) == T0 + 33 * DAY
    assert next_expiry([KEY], T0 + 40 * DAY) is None


def test_the_book_takes_the_parts_and_resolves_them():
    book = IncidentBook()
    book.reached(ShardReached(0, 1, 0, T0), T0)
    known: dict[str, Known] = {}
    for now in (T0, T0 + 12 * DAY, T0 + 34 * DAY, T0 + 41 * DAY):
        result = expiring_soon([KEY], known, now)
        known = result.known
        for part in result.parts:
            book.apply(part, now)
        while (due := book.next_due()) is not None and due <= now + DAY:
            book.tick(due)
    (row,) = book.incidents()
    assert (row.state, row.severity, row.kind, row.paging, row.workloads) == (
        "resolved",
        "high",
        "expires-soon",
        False,
        0,
    )
    assert row.message == "key payments-ops ends at 2026-02-10 00:00:00Z"
    assert row.closed == (("ended", 1),)
