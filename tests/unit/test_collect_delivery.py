"""What an API server says it sent, compared with what arrived."""

from __future__ import annotations

import pytest

from streams.collectors.delivery import Counters, compare, read_counters

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
