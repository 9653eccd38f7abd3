"""What an API server says it sent, compared with what arrived."""

from __future__ import annotations

import pytest

from streams.collectors.delivery import UNDER_WAY, Compared, Counters, compare, read_counters

PAGE = """# HELP apiserver_audit_event_total [ALPHA] Counter of audit events generated and sent to the audit backend.
# TYPE apiserver_audit_event_total counter
apiserver_audit_event_total 4123
# TYPE apiserver_audit_error_total counter
apiserver_audit_error_total{plugin="webhook"} 400
apiserver_audit_error_total{plugin="buffered"} 12
apiserver_audit_level_total{level="Metadata"} 99
process_start_time_seconds 1.7952e+09
"""


def test_counters_are_read_from_the_page():
    assert read_counters(PAGE) == Counters(4123, 412, 1.7952e9)


@pytest.mark.parametrize(
    "text",
    ["", "up 1", "apiserver_audit_event_total x", "apiserver_audit_event_total NaN", "apiserver_audit_event_total -1",
     "\0" * 100, "<html>"],
)  # fmt: skip
def test_another_page_is_none(text):
    assert read_counters(text) is None


def at(sent: int, given_up: int = 0, started: float = 1.0) -> Counters:
    return Counters(sent, given_up, started)


CASES = {
    "all came": (at(100), at(600), 500, ("whole", 500, 0, 0)),
    "some are under way": (at(100), at(600), 480, ("whole", 500, 0, 0)),
    "more are missing than may be under way": (at(100), at(600), 100, ("missing", 500, 350, 0)),
    "a batch was given up": (at(100), at(600, 400), 100, ("given-up", 500, 400, 400)),
    "a few were given up, fewer than may be under way": (at(0), at(500, 20), 480, ("given-up", 500, 20, 20)),
    "more came than was sent": (at(100), at(150), 90, ("whole", 50, 0, 0)),
    "it began anew": (at(5_000), at(40, 0, 2.0), 700, ("restarted", 40, 0, 0)),
    "it began anew and has counted past the old number": (at(50), at(60, 0, 2.0), 0, ("restarted", 60, 0, 0)),
    "it could not be asked": (at(50), None, 7, ("unknown", 0, 0, 0)),
    "it was never asked before": (None, at(50), 7, ("unknown", 0, 0, 0)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_became_of_the_events(name):
    before, after, received, (word, sent, missing, given_up) = CASES[name]
    found = compare(before, after, received, under_way=50)
    assert (found.word, found.sent, found.missing, found.given_up) == (word, sent, missing, given_up)
    assert found.received == received


def test_what_is_late_is_missing_until_it_comes():
    compared = Compared()
    assert compared.look(Counters(1_000, 0, 1.0), 50).word == "unknown", "nothing to compare with yet"
    assert compared.look(Counters(9_000, 0, 1.0), 50).missing == 8_000 - UNDER_WAY
    assert compared.look(None, 50).word == "unknown"
    late = compared.look(Counters(9_100, 0, 1.0), 8_150)
    assert (late.word, late.missing, late.sent, late.received) == ("whole", 0, 8_100, 8_100)


def test_small_losses_add_up_over_looks():
    """Each is less than what may be under way."""
    compared = Compared()
    words = [compared.look(Counters(number * UNDER_WAY, 0, 1.0), 0).word for number in range(4)]
    assert words == ["unknown", "whole", "missing", "missing"]


def test_after_a_restart_it_is_compared_anew():
    compared = Compared()
    compared.look(Counters(5_000, 0, 1.0), 5_000)
    assert compared.look(Counters(10, 3, 2.0), 5_010).word == "restarted"
    again = compared.look(Counters(30, 3, 2.0), 5_030)
    assert (again.word, again.missing, again.given_up) == ("whole", 0, 0)
    assert compared.look(Counters(40, 5, 2.0), 5_038).given_up == 2
