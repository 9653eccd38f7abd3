"""Instants and ages: one writer, and readers that say what they leave open."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifier.times import (
    DAY,
    FIRST,
    HOUR,
    LAST,
    MINUTE,
    SECOND,
    format_instant,
    parse_age,
    parse_instant,
    parse_utc,
    show_instant,
    since_epoch,
)

T = 1_767_225_600_000_000
"""2026-01-01T00:00:00Z"""


@given(st.integers(FIRST, LAST))
def test_instants_survive_being_written(instant):
    assert parse_instant(format_instant(instant)) == instant
    assert parse_instant(format_instant(instant, "microseconds")) == instant
    assert parse_instant(format_instant(instant, "seconds")) == instant - instant % SECOND
    assert parse_utc(format_instant(instant)) == instant


@given(st.integers(FIRST, LAST), st.integers(FIRST, LAST))
def test_with_all_digits_texts_sort_as_times(one, other):
    texts = [format_instant(instant, "microseconds") for instant in (one, other)]
    assert (texts[0] < texts[1]) is (one < other)


@pytest.mark.parametrize(
    ("instant", "shortest", "seconds", "microseconds"),
    [
        (0, "1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000000Z"),
        (T + 1, "2026-01-01T00:00:00.000001Z", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00.000001Z"),
        (T + 500_000, "2026-01-01T00:00:00.5Z", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00.500000Z"),
        (T + 999_999, "2026-01-01T00:00:00.999999Z", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00.999999Z"),
        (-1, "1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59Z", "1969-12-31T23:59:59.999999Z"),
        (FIRST, "0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000Z"),
        (LAST, "9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_the_three_ways_to_write_an_instant(instant, shortest, seconds, microseconds):
    assert format_instant(instant) == shortest
    assert format_instant(instant, "seconds") == seconds
    assert format_instant(instant, "microseconds") == microseconds


@pytest.mark.parametrize("instant", [FIRST - 1, LAST + 1, -(10**20), 10**30])
def test_beyond_the_calendar_people_see_the_number(instant):
    assert show_instant(instant) == show_instant(instant, "seconds") == f"{instant} µs"
    with pytest.raises(OverflowError):
        format_instant(instant)


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1970-01-01t00:00:00.000001999z", 1),
        ("1970-01-01 00:00:00.5Z", 500_000),
        ("1969-12-31T23:59:59.999999Z", -1),
    ],
)
def test_instants_are_rfc_3339(text, micros):
    assert parse_instant(text) == micros
    assert parse_utc(text.upper()) == micros


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2026-01-01", "names a day, not an instant"),
        ("2026-01-01T00:00:00", "expected a time with zone"),
        ("2026-02-30T00:00:00Z", "not a time that exists"),
        ("2026-01-01T24:00:01Z", "not a time that exists"),
        ("1767225600", "expected a time with zone"),
        ("٢٠٢٦-01-01T00:00:00Z", "expected a time with zone"),
        ("", "expected a time with zone"),
    ],
)
def test_what_leaves_a_question_open_is_refused(text, words):
    with pytest.raises(ValueError, match=words):
        parse_instant(text)


@pytest.mark.parametrize(
    ("text", "micros"),
    [("2026-01-01", T), ("2026-01-01T00:00:00", T), ("2026-01-01T01:00+01:00", T), ("2026-01-02T12:00", T + 36 * HOUR)],
)
def test_at_a_prompt_utc_and_midnight_stand_for_what_is_left_out(text, micros):
    assert parse_utc(text) == micros


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "12:00", "1767225600"])
def test_at_a_prompt_too_it_has_to_be_a_time(text):
    with pytest.raises(ValueError, match=r".+"):
        parse_utc(text)


@pytest.mark.parametrize(
    ("text", "length"),
    [("90s", 90 * SECOND), ("15m", 15 * MINUTE), ("2h", 2 * HOUR), ("3d", 3 * DAY), ("0s", 0), ("007m", 7 * MINUTE)],
)
def test_ages(text, length):
    assert parse_age(text) == length


@pytest.mark.parametrize(
    "text", ["", "s", "90", "1w", "-1h", "1.5h", "1 h", "²h", "٣d", "1h\n", "1h2m", "9" * 16 + "s"]
)
def test_what_is_no_age(text):
    assert parse_age(text) is None


def test_units_are_what_they_are_called():
    assert (SECOND, MINUTE, HOUR, DAY) == (1_000_000, 60_000_000, 3_600_000_000, 86_400_000_000)


def test_the_ends_of_the_calendar():
    assert since_epoch(datetime.min.replace(tzinfo=UTC)) == FIRST
    assert since_epoch(datetime.max.replace(tzinfo=UTC)) == LAST
